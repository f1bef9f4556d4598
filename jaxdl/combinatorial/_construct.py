# SPDX-License-Identifier: Apache-2.0
"""Whole solutions, constructed by a dividing policy."""

from typing import Any

import chex
import jax
import jax.numpy as jnp

from jaxdl.combinatorial import _heat, _problem
from jaxdl.core import checks


def construct(
  problem: _problem.CombinatorialProblem,
  divider: Any,
  params: chex.ArrayTree,
  instance: _problem.Instance,
  key: chex.PRNGKey,
  *,
  num_samples: int,
  greedy: bool = False,
  every: int | None = None,
  train: bool = False,
) -> tuple[Any, chex.Array]:
  """Builds solutions of one instance, side by side.

  The network runs once; the heat map depends on what was decided and is renewed
  every few decisions. In between a decision reads one of its rows.

  Args:
    problem: of the instance.
    divider: a `Divider`.
    params: of it; differentiable in the log-probabilities.
    instance: one.
    key: consumed.
    num_samples: A (static). First nodes are different ones as far as there are
      enough, or those with the most heat where heat is of nodes.
    greedy: whether the likeliest action is taken (static), the lowest of equal
      ones, instead of a random one. Constructions whose first node an earlier
      one had, as where there is a depot, take random ones all the same: they
      would be alike otherwise.
    every: decisions between heat maps (static); n of the problem's pieces if
      None.
    train: whether the network runs as in training (static).

  Returns:
    The solutions, leaves [A, ...], and their log-probabilities given the first
    node, f32[A].

  Raises:
    ValueError: if a number is out of range.

  Cost: O(A N (K + N)) work and O(A N K) memory; a gradient keeps what stands
  between two heat maps and computes the decisions anew.

  Source: Zheng et al. 2024 (https://arxiv.org/abs/2407.00312), the dividing
  stage.
  """
  checks.integer(num_samples, name='num_samples', low=1)
  every = problem.piece_size if every is None else every
  checks.integer(every, name='every', low=1)
  embedding = embed(problem, divider, params, instance, train=train)
  return decide(
    problem,
    divider,
    params,
    embedding,
    instance,
    key,
    num_samples=num_samples,
    greedy=greedy,
    every=every,
  )


def embed(
  problem: _problem.CombinatorialProblem,
  divider: Any,
  params: chex.ArrayTree,
  instance: _problem.Instance,
  *,
  train: bool = False,
) -> tuple[_problem.Neighbors, Any]:
  """Runs the network of a dividing policy.

  Args:
    problem: of the instance.
    divider: a `Divider`.
    params: of it.
    instance: one.
    train: whether it runs as in training (static).

  Returns:
    The sparse graph and what the network makes of it.
  """
  neighbors = problem.divide.neighbors(instance, divider.num_neighbors)
  return neighbors, divider.embed(params, neighbors, train=train)


def decide(
  problem: _problem.CombinatorialProblem,
  divider: Any,
  params: chex.ArrayTree,
  embedded: tuple[_problem.Neighbors, Any],
  instance: _problem.Instance,
  key: chex.PRNGKey,
  *,
  num_samples: int,
  greedy: bool,
  every: int,
) -> tuple[Any, chex.Array]:
  """Builds solutions with what `embed` returned; see `construct`."""
  neighbors, embedding = embedded
  divide = problem.divide
  start_key, key = jax.random.split(key)
  steps = divide.num_steps(instance)
  every = max(1, min(every, steps))
  num_blocks = -(-steps // every)
  heat = lambda cursor: divider.heat(params, embedding, cursor)
  may_repeat = num_samples > 1 and (
    divide.single_start
    or not divider.rows
    or num_samples > neighbors.ids.shape[0]
  )

  def act(seen, key, random):
    """The likeliest action or a random one."""
    if greedy and not may_repeat:
      return jnp.argmax(seen)
    drawn = jax.random.categorical(key, seen)
    return jnp.where(random, drawn, jnp.argmax(seen)) if greedy else drawn

  def step(cursor, key, rows, random):
    """One decision by the heat that there is."""
    weights = rows if not divider.rows else _heat.row_of(
      rows, neighbors.ids, cursor.last
    )  # fmt: skip
    may = divide.allowed(instance, cursor)
    # Heat of nodes may be as small as zero; what is allowed stays so.
    weights = jnp.maximum(weights, jnp.finfo(weights.dtype).tiny)
    logits = jnp.where(may, jnp.log(weights), -jnp.inf)
    seen = jax.lax.stop_gradient(logits)
    action = act(seen, key, random).astype(jnp.int32)
    logp = logits[action] - jax.nn.logsumexp(logits)
    return divide.move(instance, cursor, action), (action, logp)

  @jax.checkpoint
  def block(cursor, keys, random):
    rows = heat(cursor)
    return jax.lax.scan(lambda c, k: step(c, k, rows, random), cursor, keys)

  def one(first, key, random):
    cursor = divide.start(instance, first)
    keys = jax.random.split(key, (num_blocks, every))
    _, (actions, logp) = jax.lax.scan(
      lambda c, k: block(c, k, random), cursor, keys
    )
    actions = actions.reshape(-1)[:steps]
    return divide.finish(instance, first, actions), jnp.sum(logp)

  firsts = _firsts(divide, divider, heat, instance, start_key, num_samples)
  same = jnp.tril(firsts[:, None] == firsts[None, :], -1)
  own = jax.random.split(key, num_samples)
  return jax.vmap(one)(firsts, own, jnp.any(same, axis=1))


def _firsts(divide, divider, heat, instance, key, num_samples):
  """First nodes, i32[A]."""
  firsts = divide.starts(instance, key, num_samples)
  if divider.rows:
    return firsts
  hot = jax.lax.stop_gradient(heat(divide.start(instance, firsts[0])))
  # All that may be first, in any order.
  some = divide.starts(instance, key, hot.shape[0])
  able = jnp.zeros(hot.shape, bool).at[some].set(True)
  hot = jnp.where(able, hot, -jnp.inf)
  _, order = jax.lax.top_k(hot, min(num_samples, hot.shape[0]))
  count = jnp.minimum(order.shape[0], jnp.sum(able))
  return order[jnp.arange(num_samples) % count].astype(jnp.int32)
