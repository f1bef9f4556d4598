# SPDX-License-Identifier: Apache-2.0
"""A vote on which neurons take part: clients play, the server counts."""

import dataclasses
from collections.abc import Sequence

import jax
import jax.numpy as jnp

from jaxdl import local, pruning
from jaxdl.core import checks, types
from jaxdl.federated.server import _averaging, _method

VOTES = ('participation', 'majority')
# Sums of votes that are none but for rounding.
_TIE = 1e-5


def pruning_game(
  task: types.Task,
  work: local.LocalWork,
  *,
  benefit: float = 100.0,
  l2: float = 0.001,
  l1: float = 0.1,
  competition: float = 0.0,
  rate: float | str = 0.003,
  benefit_sign: int = -1,
  normalize: bool = False,
  gradient_at: str = 'scaled',
  decay: float = 0.9,
  unit_norm: bool = False,
  threshold: float = 0.01,
  vote: str = 'participation',
  granularity: str = 'unit',
  ungated: Sequence[str] | None = None,
) -> _method.Method:
  """Neurons play for their place on the data of every client.

  The server holds θ and participations s. A client trains θ by `work`, in the
  same steps its players climb their utility on its data (`pruning.game`), and
  it sends what both changed. The channel makes one of all, a mean or any rule,
  so that with `aggregator=median` participations are those of the median
  client; s <- clip(s + Δs, 0, 1). Under 'majority' clients also say of every
  player whether it stays, +1/2 or -1/2, and who has a negative sum is out; of
  a tie one stays.

  Args:
    task: parameters with layers, kernels and biases, and a loss.
    work: what a client does; running means of g_i start afresh with its
      optimizer in every round.
    benefit: α, see `pruning.game` for this and the next.
    l2: β.
    l1: γ.
    competition: η.
    rate: η_s.
    benefit_sign: -1, or +1 as printed.
    normalize: whether benefits are measured by their mean.
    gradient_at: 'scaled' or 'effective'.
    decay: of running means.
    unit_norm: whether players count as of length one.
    threshold: ε, participations below are out.
    vote: 'participation' or 'majority' (static).
    granularity: players, see `pruning.init_participation` (static).
    ungated: layers without gates; if None, the last by path.

  Returns:
    The method. Its model is the effective one, s θ without players below the
    threshold; memory is {'network', 'gates'}, θ and s, and `sparsity`, the
    share of players that are out, is told in every round. A round without any
    client leaves both.

  Raises:
    ValueError: if an option is out of range; from `init`, if nothing can be
      gated.

  Source: the game of Shah and Khan 2025 (https://arxiv.org/abs/2512.22106); the
    vote is ours.
  """
  checks.choice(vote, VOTES, name='vote')
  checks.choice(granularity, pruning.GRANULARITIES, name='granularity')
  rule = pruning.game(
    benefit=benefit,
    l2=l2,
    l1=l1,
    competition=competition,
    rate=rate,
    benefit_sign=benefit_sign,
    normalize=normalize,
    gradient_at=gradient_at,
    decay=decay,
    unit_norm=unit_norm,
    threshold=threshold,
  )
  options = {'granularity': granularity, 'ungated': ungated}
  local.check_work(work)
  both = dataclasses.replace(
    work, optimizer=pruning.with_gates(work.optimizer, rule)
  )
  run = both.trainer(pruning.gated_task(task, **options))

  def gates_of(params):
    # Where nothing is a layer `init` says so.
    if not pruning.layers_of(params):
      return {}
    return pruning.init_participation(params, **options)

  def init(params, num_clients):
    del num_clients
    gates = pruning.init_participation(params, **options)
    return {'network': params, 'gates': gates}

  def message(params):
    gates = gates_of(params)
    votes = {'votes': gates} if vote == 'majority' else {}
    return {'network': params, 'gates': gates} | votes

  def train(shared, own, data, key):
    trained = run(shared, data, key)
    change = _averaging.difference(trained.params, shared)
    if vote == 'majority':
      # Who did nothing has no say.
      there = (trained.num_steps > 0) * 0.5
      change['votes'] = jax.tree.map(
        lambda s: jnp.where(s >= threshold, there, -there).astype(s.dtype),
        trained.params['gates'],
      )
    return _method.Sent(change, own, _averaging.facts_of(trained))

  def absorb(params, memory, update, round):
    del params, round
    network = jax.tree.map(jnp.add, memory['network'], update['network'])
    gates = jax.tree.map(
      lambda s, u: jnp.clip(s + u, 0, 1), memory['gates'], update['gates']
    )
    if vote == 'majority':
      gates = jax.tree.map(
        lambda s, v: jnp.where(v < -_TIE, 0, s), gates, update['votes']
      )
    memory = {'network': network, 'gates': gates}
    pruned = pruning.prune(memory, threshold=threshold)
    return pruning.scale(pruned['network'], pruned['gates']), memory

  return _method.Method(
    start=task.init,
    init=init,
    own=_method.no_state,
    share=lambda params, memory: memory,
    train=train,
    absorb=absorb,
    message=message,
    tell=lambda params, memory: {
      'sparsity': pruning.sparsity(memory['gates'], threshold=threshold)
    },
    name='pruning_game',
  )
