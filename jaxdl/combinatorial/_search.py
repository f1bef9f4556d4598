# SPDX-License-Identifier: Apache-2.0
"""Solves instances: constructs solutions, then conquers them stage by stage."""

from typing import Any

import chex
import jax
import jax.numpy as jnp

from jaxdl.combinatorial import _construct, _policies, _problem, _stage
from jaxdl.core import checks

# What policies keep of the pieces that are solved at a time on CPU; more do not
# stay in the cache, where every decision reads them.
_CACHED = 4 << 20


def solve(
  problem: _problem.CombinatorialProblem,
  policies: _policies.Policies,
  params: dict[str, chex.ArrayTree],
  instance: _problem.Instance,
  key: chex.PRNGKey,
  *,
  size: int | None = None,
  num_starts: int = 1,
  num_stages: int = 10,
  start: Any = None,
  num_rollouts: int | None = None,
  greedy: bool = True,
  every: int | None = None,
  chunk: int | None = None,
  mesh: jax.sharding.Mesh | None = None,
) -> tuple[Any, chex.Array]:
  """Solves one instance; pure, one program for `jit` and `vmap`.

  Stages 1 and 2 roll by half a piece, so that the second one cuts in the middle
  of what the first one solved; later ones roll by a random number, each start
  by its own. Of a given solution all starts but the first one do so from the
  beginning, since they would be alike otherwise.

  Args:
    problem: of the instance.
    policies: of `make_policies`.
    params: of them, a dict of 'divider' and 'conqueror'.
    instance: one; over instances, vmap.
    key: consumed.
    size: n, nodes of a piece (static); the problem's if None. Where it does not
      divide the solution, a rest is left over in every stage.
    num_starts: alpha, solutions that are improved side by side (static).
    num_stages: r, conquering stages (static).
    start: a solution to begin with, feasible, in place of constructed ones.
    num_rollouts: see `conquer`.
    greedy: whether policies take the likeliest actions (static); see
      `construct` for starts at one node.
    every: see `construct`; n if None.
    chunk: pieces that are solved at a time (static), those of all starts
      counted; None for what suits the processor: on CPU as many as stay in its
      cache, 4 MiB of what the policy keeps of them; all elsewhere, and with a
      mesh.
    mesh: of one axis, over which the starts are dealt (alpha divisible by its
      devices); None for none.

  Returns:
    The best solution, and the history f32[r + 1]: the objective of the best one
    before the first stage and after each. It never gets worse.

  Raises:
    ValueError: if a number is out of range or starts do not fit the mesh.

  Cost: O(alpha N n) work per stage times the width of a decision.

  Example:
    >>> import jaxdl.combinatorial as co
    >>> problem = co.make_problem('tsp')
    >>> policies = co.make_policies(
    ...   problem, divider='none', conqueror='icam(width=8, depth=1)'
    ... )
    >>> params = co.init_params(jax.random.key(0), problem, policies, size=5)
    >>> instance = problem.generate(jax.random.key(1), 10)
    >>> tour, history = solve(
    ...   problem, policies, params, instance, jax.random.key(2), size=5,
    ...   num_starts=2, num_stages=3,
    ... )
    >>> history.shape, bool(history[-1] <= history[0])
    ((4,), True)

  Source: Zheng et al. 2024 (https://arxiv.org/abs/2407.00312), section 3.
  """
  size = problem.piece_size if size is None else size
  checks.integer(size, name='size', low=3)
  checks.integer(num_starts, name='num_starts', low=1)
  checks.integer(num_stages, name='num_stages', low=0)
  construct_key, key = jax.random.split(key)
  if start is None:
    solutions, _ = _construct.construct(
      problem,
      policies.divider,
      params['divider'],
      instance,
      construct_key,
      num_samples=num_starts,
      greedy=greedy,
      every=size if every is None else every,
    )
  else:
    solutions = jax.tree.map(
      lambda x: jnp.broadcast_to(
        jnp.asarray(x)[None], (num_starts, *jnp.shape(x))
      ),
      start,
    )
  solutions = _dealt(solutions, num_starts, mesh)
  best_of = lambda values: (
    jnp.argmax(values) if problem.maximize else jnp.argmin(values)
  )
  score = jax.vmap(lambda s: problem.objective(instance, s))
  first = score(solutions)
  history = jnp.full((num_stages + 1,), first[best_of(first)])

  # Whether the first two stages roll by half a piece.
  halved = (jnp.arange(num_starts) == 0) | (start is None)

  def stage(number, carry):
    solutions, history = carry
    shift_key, own = jax.random.split(jax.random.fold_in(key, number))
    drawn = jax.random.randint(shift_key, (num_starts,), 1, size + 1)
    shifts = jnp.where((number < 2) & halved, size // 2, drawn)
    keys = jax.random.split(own, num_starts)
    solutions = conquer_all(
      problem,
      policies.conqueror,
      params['conqueror'],
      instance,
      solutions,
      shifts,
      keys,
      size=size,
      num_rollouts=num_rollouts,
      greedy=greedy,
      chunk=chunk,
      mesh=mesh,
    )
    values = score(solutions)
    return solutions, history.at[number + 1].set(values[best_of(values)])

  solutions, history = jax.lax.fori_loop(
    0, num_stages, stage, (solutions, history)
  )
  best = best_of(score(solutions))
  return jax.tree.map(lambda x: x[best], solutions), history


def conquer_all(
  problem: _problem.CombinatorialProblem,
  conqueror: Any,
  params: chex.ArrayTree,
  instance: _problem.Instance,
  solutions: Any,
  shifts: chex.Array,
  keys: chex.PRNGKey,
  *,
  size: int,
  num_rollouts: int | None = None,
  greedy: bool = True,
  chunk: int | None = None,
  mesh: jax.sharding.Mesh | None = None,
) -> Any:
  """One stage of many solutions of an instance, so many pieces at a time.

  Args:
    problem: see `conquer`.
    conqueror: see there.
    params: see there.
    instance: see there.
    solutions: leaves [alpha, ...].
    shifts: i[alpha].
    keys: [alpha], consumed.
    size: see there.
    num_rollouts: see there.
    greedy: see there.
    chunk: see `solve`.
    mesh: see there.

  Returns:
    The solutions.
  """
  cut = lambda s, key: problem.split(instance, s, size, 0, key)[0]
  first = jax.tree.map(lambda x: x[0], (solutions, keys))
  pieces = jax.eval_shape(cut, *first)
  if chunk is not None:
    checks.integer(chunk, name='chunk', low=1)
  elif mesh is None and jax.default_backend() == 'cpu':
    chunk = _cached(problem, conqueror, params, pieces, keys)
  starts, chunk = _at_a_time(len(keys), pieces, chunk, mesh)

  def one(solution, shift, key):
    return _stage.conquer(
      problem,
      conqueror,
      params,
      instance,
      solution,
      key,
      size=size,
      shift=shift,
      num_rollouts=num_rollouts,
      greedy=greedy,
      chunk=chunk,
    )[0]

  if starts is None:
    return jax.vmap(one)(solutions, shifts, keys)
  return jax.lax.map(
    lambda rows: one(*rows), (solutions, shifts, keys), batch_size=starts
  )


def _cached(problem, conqueror, params, pieces, keys):
  """How many pieces of a policy the cache has room for."""

  def encode(piece, key):
    return conqueror.encode(params, *problem.solve.inputs(piece), key=key)

  one = jax.tree.map(
    lambda x: jax.ShapeDtypeStruct(x.shape[1:], x.dtype), pieces
  )
  memory = jax.eval_shape(encode, one, keys[0])
  size = sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(memory))
  return max(1, _CACHED // max(size, 1))


def _at_a_time(num_starts, pieces, chunk, mesh):
  """How many starts, and how many pieces of one, are solved at a time."""
  if chunk is None:
    return None, None
  count = jax.tree.leaves(pieces)[0].shape[0]
  # Divisors, since a rest would be one more program.
  some = min(chunk, count)
  even = [d for d in range((some + 1) // 2, some + 1) if not count % d]
  some = max(even, default=some)
  if mesh is not None:
    return None, some
  most = min(max(1, chunk // count), num_starts)
  starts = max(d for d in range(1, most + 1) if not num_starts % d)
  return (None if starts == num_starts else starts), some


def _dealt(solutions, count, mesh):
  """Solutions, a block of them on each device."""
  if mesh is None:
    return solutions
  if len(mesh.shape) != 1 or count % mesh.size:
    raise ValueError(
      f'mesh must have one axis whose devices divide num_starts = {count}; got '
      f'{dict(mesh.shape)}.'
    )
  place = jax.NamedSharding(mesh, jax.P(mesh.axis_names[0]))
  return jax.lax.with_sharding_constraint(solutions, place)
