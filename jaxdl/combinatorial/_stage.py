# SPDX-License-Identifier: Apache-2.0
"""One conquering stage: all pieces of a solution are solved anew."""

from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp

from jaxdl.combinatorial import _problem, _rollout
from jaxdl.core import checks


class StageInfo(NamedTuple):
  """What a stage tells, of P pieces with R rollouts each.

  Attributes:
    returns: f32[P, R], larger is better; without gradients.
    logp: f32[P, R], differentiable.
    gain: f32[P], by how much pieces improved, >= 0.
    active: bool[P], false where a piece is left as it is.
  """

  returns: chex.Array
  logp: chex.Array
  gain: chex.Array
  active: chex.Array


def conquer(
  problem: _problem.CombinatorialProblem,
  conqueror: Any,
  params: chex.ArrayTree,
  instance: _problem.Instance,
  solution: Any,
  key: chex.PRNGKey,
  *,
  size: int,
  shift: chex.Numeric,
  num_rollouts: int | None = None,
  greedy: bool = False,
  chunk: int | None = None,
  remat: bool = False,
  sharding: jax.sharding.Sharding | None = None,
) -> tuple[Any, StageInfo]:
  """Cuts a solution into pieces, solves them all and keeps what is better.

  A piece keeps what it had unless a candidate is strictly better; then the best
  one, the first of equals. The stage as a whole is kept unless the objective
  got worse, so that a solution never does, whatever pieces share.

  Args:
    problem: of the instance.
    conqueror: a `Conqueror`.
    params: of it; differentiable in `StageInfo.logp`.
    instance: one.
    solution: one, feasible.
    key: consumed.
    size: n, nodes of a piece (static).
    shift: i[], by how many places the solution is rolled before it is cut,
      traced.
    num_rollouts: R (static), candidates of a piece; even where pieces are
      solved from both ends; None for one per direction.
    greedy: whether candidates are the likeliest ones (static).
    chunk: pieces that are solved at a time (static); all if None.
    remat: see `rollouts`.
    sharding: of the pieces over devices, P divisible by them; None for none.

  Returns:
    The solution, rolled, and what the stage tells.

  Raises:
    ValueError: if a number is out of range, or odd where it must be even.

  Example:
    >>> import jaxdl.combinatorial as co
    >>> problem = co.make_problem('tsp')
    >>> policies = co.make_policies(
    ...   problem, divider='uniform', conqueror='icam(width=8, depth=1)'
    ... )
    >>> params = co.init_params(jax.random.key(0), problem, policies, size=5)
    >>> instance = problem.generate(jax.random.key(1), 10)
    >>> tour = co.Tour(jnp.arange(10))
    >>> better, info = co.conquer(
    ...   problem, policies.conqueror, params['conqueror'], instance, tour,
    ...   jax.random.key(2), size=5, shift=2, num_rollouts=4,
    ... )
    >>> lengths = [problem.objective(instance, t) for t in (tour, better)]
    >>> bool(lengths[1] <= lengths[0]), info.gain.shape
    (True, (2,))

  Source: Zheng et al. 2024 (https://arxiv.org/abs/2407.00312), the conquering
  stage.
  """
  num_rollouts = _rollout.check_rollouts(problem, num_rollouts)
  if chunk is not None:
    checks.integer(chunk, name='chunk', low=1)
  split_key, key = jax.random.split(key)
  solve = problem.solve
  pieces, rolled = problem.split(instance, solution, size, shift, split_key)
  count = jax.tree.leaves(pieces)[0].shape[0]

  def one(piece, key):
    found, logp = _rollout.rollouts(
      problem,
      conqueror,
      params,
      piece,
      key,
      size=size,
      num_rollouts=num_rollouts,
      greedy=greedy,
      remat=remat,
    )
    now = solve.current(piece)
    values = jax.vmap(lambda c: solve.value(piece, c))(found)
    before = solve.value(piece, now)
    # The current one comes first, so that it wins ties.
    both = jnp.concatenate([before[None], values])
    active = solve.active(piece)
    best = jnp.where(active, jnp.argmin(_ranked(both)), 0)
    chosen = jax.tree.map(
      lambda a, b: jnp.concatenate([a[None], b])[best], now, found
    )
    gain = jnp.where(best == 0, 0, before - both[best])
    return chosen, StageInfo(-values, logp, gain, active)

  keys = jax.random.split(key, count)
  if sharding is not None:
    pieces, keys = jax.lax.with_sharding_constraint((pieces, keys), sharding)
  if chunk is None or chunk >= count:
    chosen, info = jax.vmap(one)(pieces, keys)
  else:
    chosen, info = jax.lax.map(
      lambda both: one(*both), (pieces, keys), batch_size=chunk
    )
  merged = problem.merge(instance, rolled, pieces, chosen)
  before, after = (problem.objective(instance, s) for s in (rolled, merged))
  keep = after >= before if problem.maximize else after <= before
  kept = jax.tree.map(lambda a, b: jnp.where(keep, a, b), merged, rolled)
  still = jax.lax.stop_gradient
  info = info._replace(returns=still(info.returns), gain=still(info.gain))
  return kept, info


def reinforce(info: StageInfo) -> chex.Array:
  """The loss whose gradient is REINFORCE with the mean of a piece as baseline.

  Args:
    info: of a stage.

  Returns:
    f32[], the mean over active pieces and rollouts of -(R - mean R) log p.

  Example:
    >>> info = StageInfo(
    ...   jnp.array([[1.0, 0.0]]), jnp.log(jnp.array([[0.25, 0.75]])),
    ...   jnp.zeros(1), jnp.ones(1, bool),
    ... )
    >>> reinforce(info).round(3)  # -(log 1/4 - log 3/4) / 4
    Array(0.275, dtype=float32)

  Source: Zheng et al. 2024 (https://arxiv.org/abs/2407.00312), the conquering
  loss.
  """
  returns = info.returns
  ahead = returns - jnp.mean(returns, axis=-1, keepdims=True)
  terms = -jnp.mean(ahead * info.logp, axis=-1)
  count = jnp.maximum(jnp.sum(info.active), 1)
  return jnp.sum(jnp.where(info.active, terms, 0)) / count


def _ranked(values):
  """Values without NaN, which would win."""
  return jnp.where(jnp.isnan(values), jnp.inf, values)
