# SPDX-License-Identifier: Apache-2.0
"""Candidates for one piece, decoded by a conquering policy."""

from typing import Any

import chex
import jax
import jax.numpy as jnp

from jaxdl.combinatorial import _problem
from jaxdl.core import checks


def check_rollouts(
  problem: _problem.CombinatorialProblem, num_rollouts: int | None
) -> int:
  """Checks how often a piece is solved.

  Args:
    problem: whose.
    num_rollouts: R; None for one in each direction that has a meaning.

  Returns:
    R.

  Raises:
    ValueError: if it is odd and half of them run in each direction.
  """
  both = problem.solve.both_ways
  if num_rollouts is None:
    return 2 if both else 1
  checks.integer(num_rollouts, name='num_rollouts', low=1)
  if both and num_rollouts % 2:
    raise ValueError(
      f'num_rollouts={num_rollouts} must be even: pieces of {problem.name} are '
      'solved from both ends, by half of them each.'
    )
  return num_rollouts


def num_decisions(
  problem: _problem.CombinatorialProblem, piece: Any, size: int
) -> int:
  """Decisions that a piece takes, from shapes alone.

  Args:
    problem: whose.
    piece: one, unbatched.
    size: n.

  Returns:
    T.
  """
  solve = problem.solve
  if solve.piece_steps is not None:
    return solve.piece_steps(piece)
  return solve.num_steps(size)


def rollouts(
  problem: _problem.CombinatorialProblem,
  conqueror: Any,
  params: chex.ArrayTree,
  piece: Any,
  key: chex.PRNGKey,
  *,
  size: int,
  num_rollouts: int,
  greedy: bool = False,
  remat: bool = False,
) -> tuple[Any, chex.Array]:
  """Solves one piece several times.

  The network encodes once and decodes every decision of every rollout. The
  first half of the rollouts starts at the near end, the other half at the far
  one, where direction has a meaning.

  Args:
    problem: whose.
    conqueror: a `Conqueror`.
    params: of it; differentiable in the log-probabilities.
    piece: one, unbatched.
    key: consumed.
    size: n (static).
    num_rollouts: R (static).
    greedy: whether the likeliest action is taken (static), the lowest of equal
      ones.
    remat: whether a gradient computes decisions anew instead of keeping what
      they need (static).

  Returns:
    Candidates, leaves [R, ...], and their log-probabilities f32[R].
  """
  solve = problem.solve
  encode_key, key = jax.random.split(key)
  features, distances = solve.inputs(piece)
  memory = conqueror.encode(params, features, distances, key=encode_key)
  steps = num_decisions(problem, piece, size)

  def step(state, key):
    context = solve.context(piece, state)
    logits = conqueror.decode(params, memory, context)
    seen = jax.lax.stop_gradient(logits)
    draw = lambda: jax.random.categorical(key, seen)
    action = (jnp.argmax(seen) if greedy else draw()).astype(jnp.int32)
    logp = logits[action] - jax.nn.logsumexp(logits)
    return solve.move(piece, state, action), (action, logp)

  body = jax.checkpoint(step) if remat else step

  def one(key, reverse):
    state, (actions, logp) = jax.lax.scan(
      body, solve.start(piece, reverse), jax.random.split(key, steps)
    )
    return solve.finish(piece, state, actions), jnp.sum(logp)

  half = num_rollouts // 2 if solve.both_ways else num_rollouts
  reverse = jnp.arange(num_rollouts) >= half
  return jax.vmap(one)(jax.random.split(key, num_rollouts), reverse)
