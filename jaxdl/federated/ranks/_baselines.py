# SPDX-License-Identifier: Apache-2.0
"""Averaging of trained models, to compare rankings with.

Here the number of malicious voters changes from round to round, and rules and
attacks are told it as a traced number, so that one program serves all rounds;
those of `jaxdl.aggregators` and `jaxdl.attacks` take it as a static one.
"""

import functools
from collections.abc import Callable
from typing import NamedTuple

import chex
import jax
import jax.flatten_util
import jax.numpy as jnp
import optax

from jaxdl import local, networks
from jaxdl.core import (
  checks,
  clients as clients_lib,
  gram,
  keys,
  order,
  registry,
  types,
)
from jaxdl.federated.ranks import _learning

_STRENGTHS = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 8.0, 10.0)


class AveragingState(NamedTuple):
  """Everything that training needs to go on.

  Attributes:
    params: the server's model.
    round: i32[], how many are done.
  """

  params: chex.ArrayTree
  round: chex.Array


def mean(updates: chex.Array, num_malicious: chex.Array) -> chex.Array:
  """Averages f[M, D]."""
  del num_malicious
  return jnp.mean(updates, axis=0)


def trimmed_mean(updates: chex.Array, num_malicious: chex.Array) -> chex.Array:
  """Drops f[M, D]'s f largest and smallest numbers per coordinate."""
  m = updates.shape[0]
  f = jnp.minimum(num_malicious, (m - 1) // 2)
  rows = order.sort(updates)
  index = jnp.arange(m)
  inside = ((index >= f) & (index < m - f)).astype(rows.dtype)
  rows = jnp.where(inside[:, None] > 0, rows, 0.0)
  return jnp.sum(rows, axis=0) / jnp.sum(inside)


def multi_krum(updates: chex.Array, num_malicious: chex.Array) -> chex.Array:
  """Averages what Krum takes, one after the other, until 2 f + 2 are left.

  Source: Shejwalkar & Houmansadr 2021, Manipulating the Byzantine, code.
  """
  m = updates.shape[0]
  f = num_malicious
  products = gram.centered_gram(updates).products[:m, :m]
  apart = gram.squared_distances(products)

  def take(_, left):
    count = jnp.sum(left, dtype=jnp.int32)
    rows = jnp.sort(jnp.where(left[None], apart, jnp.inf), axis=1)
    # The first is the distance to itself.
    near = jnp.arange(m) < jnp.maximum(count - 2 - f, 1) + 1
    scores = jnp.sum(jnp.where(near[None], rows, 0.0), axis=1)
    best = jnp.argmin(jnp.where(left, scores, jnp.inf))
    more = (count > 2 * f + 2) | (count == m)
    return left.at[best].set(jnp.where(more, False, left[best]))

  left = jax.lax.fori_loop(0, m, take, jnp.ones(m, bool))
  weights = (~left).astype(updates.dtype)
  return weights @ jnp.where(left[:, None], 0.0, updates) / jnp.sum(weights)


def sign_majority(
  updates: chex.Array, num_malicious: chex.Array, *, step: float = 0.003
) -> chex.Array:
  """Takes a step of one size per coordinate, to where most clients point."""
  del num_malicious
  return step * jnp.sign(jnp.sum(jnp.sign(updates), axis=0))


def top_k(
  updates: chex.Array, num_malicious: chex.Array, *, keep: float = 0.5
) -> chex.Array:
  """Averages the largest entries of every client's update."""
  del num_malicious
  mask = jax.vmap(lambda x: networks.topk_mask(jnp.abs(x), keep))(updates)
  return jnp.mean(jnp.where(mask, updates, 0.0), axis=0)


AVERAGING_RULES = registry.Registry(
  'rule',
  {
    'mean': mean,
    'trimmed_mean': trimmed_mean,
    'multi_krum': multi_krum,
    'sign_majority': sign_majority,
    'top_k': top_k,
  },
  given=('updates', 'num_malicious'),
)


def blow_up(updates, malicious, params, rule, *, scale=1e5):
  """Malicious clients send the server's model, so many times."""
  del updates, malicious, rule
  return scale * params


def tailored(updates, malicious, params, rule):
  """They send mean - γ std of the honest, with the γ that hurts the rule most.

  Source: Shejwalkar & Houmansadr 2021, Manipulating the Byzantine, section IV;
    γ is of a grid.
  """
  del params
  honest = (~malicious).astype(updates.dtype)
  share = honest / jnp.maximum(jnp.sum(honest), 1.0)
  center = share @ updates
  spread = jnp.sqrt(share @ jnp.square(updates - center[None]))

  def damage(strength):
    sent = center - strength * spread
    got = rule(jnp.where(malicious[:, None], sent[None], updates))
    return jnp.sum(jnp.square(got - center))

  strengths = jnp.asarray(_STRENGTHS, updates.dtype)
  found = jax.lax.map(damage, strengths)
  return center - strengths[jnp.argmax(found)] * spread


# What each rule is attacked by, unless it is said.
_USUAL = {'trimmed_mean': tailored, 'multi_krum': tailored}


def averaging(
  task: types.Task,
  clients: clients_lib.Clients | int,
  *,
  optimizer: optax.GradientTransformation,
  batch_size: int = 8,
  num_epochs: int = 2,
  decay: chex.Numeric = 0.9995,
  aggregator: str = 'mean',
  attacked: bool = True,
  num_malicious: int = 0,
  num_advisors: int = 0,
) -> types.Algorithm:
  """Trains at the clients and aggregates what their models changed by.

  Args:
    task: parameters and loss.
    clients: rows of a cohort, see `rank_learning`; advisors are not looked at.
    optimizer: starts afresh in every round.
    batch_size: B (static).
    num_epochs: E (static).
    decay: factor of the step size per round.
    aggregator: a part of `AVERAGING_RULES`; trimmed mean and Multi-Krum know
      how many voters are malicious.
    attacked: whether malicious clients attack (static): those rules by the
      `tailored` attack, others by sending 100 000 times the server's model.
    num_malicious: F: clients with an id below are malicious (static).
    num_advisors: C, last rows of a cohort (static).

  Returns:
    An `Algorithm`; cohorts as in `rank_learning`, where all voters are present.
    Metrics: `loss` and `num_malicious`.

  Raises:
    ValueError: if an option is out of range.

  Source: Mozaffari et al. 2021 (https://arxiv.org/abs/2110.04350), the
    baselines of its experiments and code.
  """
  checks.task(task)
  checks.number(decay, name='decay', low=0.0, high=1.0, open_low=True)
  checks.integer(batch_size, name='batch_size', low=1)
  checks.integer(num_epochs, name='num_epochs', low=1)
  checks.integer(num_malicious, name='num_malicious', low=0)
  clients = clients_lib.as_clients(clients)
  rows = clients.num_clients
  voters = rows - checks.integer(
    num_advisors, name='num_advisors', low=0, high=rows - 1
  )
  part = AVERAGING_RULES.part(aggregator, name='aggregator')
  rule: Callable[..., chex.Array] = AVERAGING_RULES.partial(part)
  attack = _USUAL.get(part.name, blow_up)

  def init(key):
    return AveragingState(task.init(key), jnp.zeros((), jnp.int32))

  def client(params, rate, limit, data, real, key):
    scaled = optax.chain(optimizer, optax.scale(rate))
    run = local.local_training(
      task, scaled, batch_size=batch_size, num_epochs=num_epochs
    )
    out = run(params, data, real, key, limit=limit)
    change = jax.tree.map(jnp.subtract, out.params, params)
    steps = _learning.num_steps(jnp.sum(real), batch_size, num_epochs)
    return change, jnp.sum(out.losses) / jnp.maximum(steps, 1)

  one = clients.replace(num_clients=voters)
  trained = one.map(client, in_axes=(None, None, None, 0, 0, 0))

  def step(state, cohort, *, key):
    clients.check(cohort, why='M voters, then C advisors')
    cohort = jax.tree.map(lambda x: x[:voters], cohort)
    data, real = _learning.examples(cohort)
    counts = jnp.sum(real, axis=1, dtype=jnp.int32)
    updates, losses = trained(
      state.params,
      decay ** state.round.astype(jnp.float32),
      _learning.num_steps(jnp.max(counts), batch_size, num_epochs),
      data,
      real,
      keys.client_keys(key, cohort.client_ids),
    )
    flat, unravel = jax.flatten_util.ravel_pytree(state.params)
    updates = one.replicate(
      jax.vmap(lambda x: jax.flatten_util.ravel_pytree(x)[0])(updates)
    )
    malicious = cohort.client_ids < num_malicious
    count = jnp.sum(malicious, dtype=jnp.int32)
    known = functools.partial(rule, num_malicious=count)
    if attacked and num_malicious:
      sent = attack(updates, malicious, flat, known)
      updates = jnp.where(malicious[:, None], sent[None], updates)
    params = unravel(flat + known(updates))
    loss = _learning.mean(losses, ~malicious & (counts > 0))
    metrics = {'loss': loss, 'num_malicious': count}
    return AveragingState(params, state.round + 1), metrics

  return checks.algorithm(
    init, step, lambda state: state.params, state=AveragingState
  )
