# SPDX-License-Identifier: Apache-2.0
"""What agents on a network send each other, honest and not."""

from collections.abc import Callable
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np

from jaxdl import aggregators, attacks, mixing
from jaxdl.core import checks, trees, types


class LinkState(NamedTuple):
  """A network between two exchanges.

  Attributes:
    round: i32[], exchanges so far.
    sent: i32[], messages so far.
    rule: memory of the rule, a row per receiver, or an empty tuple.
    attack: memory of the adversaries, or an empty tuple.
  """

  round: chex.Array
  sent: chex.Array
  rule: Any
  attack: Any


class Link(NamedTuple):
  """A network of N learners, the last F of which send what an attack says.

  Attributes:
    init: `init(stacked) -> LinkState`, leaves [N, ...].
    apply: `apply(stacked, state, *, key) -> (stacked, state)`, an exchange.
      Adversaries keep what they have.
    num_agents: N.
    num_byzantine: F.
  """

  init: Callable[..., LinkState]
  apply: Callable[..., Any]
  num_agents: int
  num_byzantine: int


def make_link(
  topology: str,
  num_agents: int,
  *,
  rule: str | None = None,
  attack: str | types.Attack | None = None,
  num_byzantine: int = 0,
  seed: int = 0,
) -> Link:
  """Makes a network by name.

  Args:
    topology: a part of `mixing.TOPOLOGIES`, such as
      'ring(weights=lazy_metropolis)'.
    num_agents: N.
    rule: a part of `aggregators.RULES` (or a chain) that takes the place of
      weighted means, on fixed graphs; it is told F. An agent's own row is the
      first that the rule sees. Rules with a memory need graphs of one degree.
    attack: what the last F learners send, a part of `attacks.ATTACKS` or an
      attack; they are honest if None.
    num_byzantine: F < N.
    seed: of random graphs.

  Returns:
    The network.

  Raises:
    ValueError: if a name is unknown, counts do not fit, a neighborhood is too
      small for the rule, or weights are those of push-sum.

  Example:
    >>> link = make_link('complete', 3)
    >>> x = jnp.array([[0.0], [3.0], [6.0]])
    >>> out, state = link.apply(x, link.init(x), key=jax.random.key(0))
    >>> out.ravel().tolist(), int(state.sent)
    ([3.0, 3.0, 3.0], 6)
  """
  n = checks.integer(num_agents, name='num_agents', low=1)
  f = checks.integer(num_byzantine, name='num_byzantine', low=0, high=n - 1)
  checks.integer(seed, name='seed', low=0)
  h = n - f
  if rule is None:
    start, mix = _weighted(topology, n, seed)
  else:
    start, mix = _by_rule(topology, n, rule, f, seed)

  def damage(honest, sent):
    """How far an exchange moves the honest mean."""
    full = _joined(honest, sent)
    mixed, _, _ = mix(full, start(full), jnp.int32(0), jax.random.key(0))
    weights = jnp.full((h,), 1.0 / h)
    gap = jax.tree.map(lambda a, b: a[:h] - b[:h], mixed, full)
    return trees.global_norm(trees.combine(weights, gap))

  adversary = None
  if attack is not None and f:
    context: dict[str, Any] = {}
    if isinstance(attack, str):
      name = attacks.ATTACKS.part(attack).name
      if checks.takes(attacks.ATTACKS[name], 'damage'):
        context['damage'] = damage
    adversary = attacks.as_attack(
      attack, num_clients=n, num_byzantine=f, **context
    )
    if adversary is not None and adversary.poison is not None:
      raise ValueError(
        f'attack={attack!r} poisons data, which agents do not have: choose one '
        'that changes what is sent, such as sign_flip.'
      )

  def init(stacked):
    one = jax.tree.map(lambda x: x[0], stacked)
    memory = () if adversary is None else adversary.init(one)
    zero = jnp.zeros((), jnp.int32)
    return LinkState(zero, jnp.copy(zero), start(stacked), memory)

  def apply(stacked, state, *, key):
    mix_key, attack_key = jax.random.split(key)
    sent, memory = stacked, state.attack
    if adversary is not None:
      honest = jax.tree.map(lambda x: x[:h], stacked)
      own = jax.tree.map(lambda x: x[h:], stacked)
      wrong, memory = adversary.apply(
        honest, state.attack, own=own, key=attack_key
      )
      sent = _joined(honest, wrong)
    mixed, kept, links = mix(sent, state.rule, state.round, mix_key)
    if f:
      mixed = jax.tree.map(
        lambda new, own: jnp.concatenate([new[:h], own[h:]]), mixed, stacked
      )
    state = LinkState(state.round + 1, state.sent + links, kept, memory)
    return mixed, state

  return Link(init, apply, n, f)


def check_link(link: Any, *, name: str = 'link') -> None:
  """Raises TypeError unless something is a network, as `make_link` makes."""
  if not isinstance(link, Link):
    raise TypeError(
      f'{name} must be an agents.networked.Link, as make_link makes; got '
      f'{checks.described(link)}.'
    )


def _joined(honest, sent):
  return jax.tree.map(lambda a, b: jnp.concatenate([a, b]), honest, sent)


def _weighted(topology, n, seed):
  """Weighted means; `mix(stacked, memory, round, key)` counts messages too."""
  mixer = mixing.make_mixer(topology, n, seed=seed)
  if mixer.stochastic == 'column':
    raise ValueError(
      f'topology={topology!r} has the weights of push-sum, which lose the mean '
      'of agents: choose others, such as weights=lazy_metropolis.'
    )

  def mix(stacked, memory, round, key):
    links = mixing.num_messages(mixer.matrix(round, key=key))
    return mixer.apply(stacked, round, key=key), memory, links

  return lambda stacked: (), mix


def _by_rule(topology, n, rule, f, seed):
  """A rule of one's own row and those received."""
  graph = mixing.make_graph(topology, n, seed=seed)
  degrees = graph.sum(axis=1)
  links = jnp.int32(int(degrees.sum()))
  if (degrees != degrees[0]).any():
    made = aggregators.as_rule(rule, num_byzantine=f)
    mixer = mixing.robust_mixer(graph, made)
    return lambda stacked: (), lambda stacked, memory, round, key: (
      mixer.apply(stacked, round), memory, links,
    )  # fmt: skip
  table = np.array([[i, *np.flatnonzero(graph[i])] for i in range(n)])
  try:
    server = aggregators.make_aggregator(
      rule, num_clients=table.shape[1], num_byzantine=f
    )
  except ValueError as error:
    raise ValueError(
      f'each agent receives of {table.shape[1] - 1} others on {topology}, so '
      f'that the rule sees {table.shape[1]} rows: {error}'
    ) from error

  def start(stacked):
    one = lambda x: server.init(x)
    return jax.vmap(one)(stacked)

  def mix(stacked, memory, round, key):
    del round

    def one(ids, memory, own_key):
      received = trees.take_rows(stacked, ids)
      return server.apply(received, memory, key=own_key)

    keys = jax.random.split(key, n)
    mixed, memory = jax.vmap(one)(jnp.asarray(table), memory, keys)
    return mixed, memory, links

  return start, mix
