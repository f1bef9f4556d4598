# SPDX-License-Identifier: Apache-2.0
"""The traveling salesman in the plane."""

import jax.numpy as jnp

from jaxdl.combinatorial import _geometry, _neighbors, _problem, _tours
from jaxdl.core import checks


def tsp(*, distribution: str = 'uniform') -> _problem.CombinatorialProblem:
  """Shortest closed tours through points of the plane.

  An instance is `points`, f[N, 2]. A piece is a path whose ends stay: it is
  solved from either end.

  Args:
    distribution: of the points of generated instances, a part of
      `DISTRIBUTIONS`.

  Returns:
    The problem; its solutions are `Tour`s.

  Raises:
    ValueError: if the distribution is unknown.

  Example:
    >>> import jax
    >>> problem = tsp()
    >>> instance = problem.generate(jax.random.key(0), 4)
    >>> tour = _problem.Tour(jnp.arange(4))
    >>> problem.objective(instance, tour).shape, bool(
    ...   problem.feasible(instance, tour)
    ... )
    ((), True)

  Source: Zheng et al. 2024 (https://arxiv.org/abs/2407.00312).
  """
  _geometry.DISTRIBUTIONS.make(distribution)
  num_nodes = lambda instance: instance['points'].shape[0]

  def generate(key, num_nodes):
    return {'points': _geometry.points(distribution, key, num_nodes)}

  def objective(instance, tour):
    return _geometry.tour_length(instance['points'][tour.order])

  def neighbors(instance, num_neighbors):
    return _neighbors.knn_graph(instance['points'], num_neighbors)

  def split(instance, tour, size, shift, key):
    del key
    nodes, tour = _tours.split(tour, size, shift)
    return {'points': instance['points'][nodes]}, tour

  def inputs(piece):
    coords = _geometry.normalized(piece['points'])
    return coords, _geometry.distances(coords)

  size = lambda piece: piece['points'].shape[0]
  return _problem.CombinatorialProblem(
    name='tsp',
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
      start=lambda piece, reverse: _tours.path_start(size(piece), reverse),
      context=lambda piece, state: _tours.path_context(state),
      move=lambda piece, state, action: _tours.path_move(state, action),
      num_steps=lambda n: n - 2,
      finish=lambda piece, state, actions: _tours.path_finish(state, actions),
      current=lambda piece: jnp.arange(size(piece)),
      value=lambda piece, path: _geometry.path_length(piece['points'][path]),
      active=lambda piece: jnp.array(True),
      both_ways=True,
      num_features=2,
      num_extra=0,
      network='icam',
    ),
    merge=lambda instance, rolled, pieces, paths: _tours.merge(rolled, paths),
    sizes=_tours.multiples,
    piece_size=100,
  )


def check(instance):
  """Raises ValueError unless an instance has points."""
  if 'points' not in instance:
    raise ValueError(f"instance must have 'points'; got {sorted(instance)}.")
  _geometry.check_coords(instance['points'])
  checks.integer(len(instance['points']), name='num_nodes', low=1)
