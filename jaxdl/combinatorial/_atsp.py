# SPDX-License-Identifier: Apache-2.0
"""The traveling salesman whose way back costs something else."""

import jax
import jax.numpy as jnp
import numpy as np

from jaxdl.combinatorial import _neighbors, _problem, _tours
from jaxdl.core import checks

_LARGEST = 1_000_000


def atsp() -> _problem.CombinatorialProblem:
  """Cheapest closed tours by a matrix of costs, read forward only.

  An instance is `costs`, f[N, N], from row to column, >= 0. Generated ones are
  integers below 10^6, closed under the triangle inequality, in units of 10^6.

  Returns:
    The problem; its solutions are `Tour`s.

  Example:
    >>> problem = atsp()
    >>> costs = [[0.0, 1.0, 9.0], [9.0, 0.0, 1.0], [1.0, 9.0, 0.0]]
    >>> instance = {'costs': jnp.array(costs)}
    >>> ways = ([0, 1, 2], [0, 2, 1])
    >>> [
    ...   float(problem.objective(instance, _problem.Tour(jnp.array(way))))
    ...   for way in ways
    ... ]
    [3.0, 27.0]

  Source: Zheng et al. 2024 (https://arxiv.org/abs/2407.00312).
  """
  num_nodes = lambda instance: instance['costs'].shape[0]

  def generate(key, num_nodes):
    checks.integer(num_nodes, name='num_nodes', low=1)
    costs = jax.random.randint(key, (num_nodes, num_nodes), 0, _LARGEST)
    costs = jnp.where(jnp.eye(num_nodes, dtype=bool), 0, costs)
    return {'costs': closed(costs).astype(jnp.float32) / _LARGEST}

  def objective(instance, tour):
    return _total(instance['costs'], tour.order, jnp.roll(tour.order, -1))

  def neighbors(instance, num_neighbors):
    costs = instance['costs']
    ids, apart = _neighbors.smallest(
      lambda rows: costs[rows], costs.shape[0], num_neighbors
    )
    nodes = jnp.ones((costs.shape[0], 2), costs.dtype)
    return _problem.Neighbors(nodes, ids, jnp.stack([-apart, -apart], axis=-1))

  def split(instance, tour, size, shift, key):
    del key
    nodes, tour = _tours.split(tour, size, shift)
    costs = instance['costs'][nodes[:, :, None], nodes[:, None, :]]
    return {'costs': costs}, tour

  def inputs(piece):
    costs = piece['costs']
    largest = jnp.max(costs)
    ones = jnp.ones((costs.shape[0], 1), costs.dtype)
    return ones, costs / jnp.where(largest > 0, largest, 1)

  size = lambda piece: piece['costs'].shape[0]
  return _problem.CombinatorialProblem(
    name='atsp',
    generate=generate,
    check=check,
    objective=objective,
    feasible=lambda instance, tour: _tours.is_tour(
      tour.order, num_nodes(instance)
    ),
    maximize=False,
    divide=_tours.divide(neighbors, num_nodes),
    split=split,
    solve=_problem.Solve(
      inputs=inputs,
      start=lambda piece, reverse: _tours.path_start(size(piece), False),
      context=lambda piece, state: _tours.path_context(state),
      move=lambda piece, state, action: _tours.path_move(state, action),
      num_steps=lambda n: n - 2,
      finish=lambda piece, state, actions: _tours.path_finish(state, actions),
      current=lambda piece: jnp.arange(size(piece)),
      value=lambda piece, path: _total(piece['costs'], path[:-1], path[1:]),
      active=lambda piece: jnp.array(True),
      both_ways=False,
      num_features=1,
      num_extra=0,
      network='matnet',
    ),
    merge=lambda instance, rolled, pieces, paths: _tours.merge(rolled, paths),
    sizes=_tours.multiples,
    piece_size=50,
  )


def closed(costs):
  """Closes costs [N, N] under the triangle inequality, in N steps."""

  def through(k, costs):
    row, column = costs[k], costs[:, k]
    return jnp.minimum(costs, column[:, None] + row[None, :])

  return jax.lax.fori_loop(0, len(costs), through, costs)


def check(instance):
  """Raises ValueError unless an instance has a matrix of costs."""
  if 'costs' not in instance:
    raise ValueError(f"instance must have 'costs'; got {sorted(instance)}.")
  costs = checks.host_array(instance['costs'], name='costs')
  if costs.ndim != 2 or costs.shape[0] != costs.shape[1] or not len(costs):
    raise ValueError(
      f'costs must be a square matrix, f[N, N]; got shape {costs.shape}.'
    )
  bad = ~(np.isfinite(costs) & (costs >= 0))
  if bad.any():
    row, column = np.argwhere(bad)[0]
    raise ValueError(
      'costs must be finite and >= 0; got '
      f'costs[{row}, {column}] = {costs[row, column]}.'
    )


def _total(costs, rows, columns):
  dtype = jnp.promote_types(costs.dtype, jnp.float32)
  return jnp.sum(costs[rows, columns].astype(dtype))
