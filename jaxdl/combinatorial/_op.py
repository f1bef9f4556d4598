# SPDX-License-Identifier: Apache-2.0
"""Orienteering: the most prize on a tour of bounded length."""

import jax.numpy as jnp

from jaxdl.combinatorial import (
  _geometry,
  _neighbors,
  _paths,
  _problem,
  _visits,
)
from jaxdl.core import checks

# How much of its prize a piece gives for the shortest path, at equal prizes.
_TIE = 1e-4


def op(
  *,
  length: float = 4.0,
  distribution: str = 'uniform',
  training: bool = False,
) -> _problem.CombinatorialProblem:
  """Closed tours through the depot that collect prizes.

  An instance is `points f[N, 2]`, row 0 is the depot, `prizes f[N]`, and
  `length f[]`, the most a tour may have. Generated prizes grow with the
  distance from the depot, in steps of 0.01 up to 1. A tour ends where no node
  with a prize can be reached any more; if there is none at all, the depot alone
  is the answer.

  A piece is a part of the tour, mixed with nodes outside of it: a path between
  two fixed ends, through the depot if that is in it, not longer than it is.
  The first piece that is solved gets the length that the tour leaves over. At
  equal prizes the shorter path is better.

  Args:
    length: T of generated instances.
    distribution: of their points, a part of `DISTRIBUTIONS`.
    training: whether pieces are those that the authors train with: more than
      three nodes of the tour, the depot among them, and nothing is left over.
      Else there must be more than two.

  Returns:
    The problem; its solutions are `Visits`.

  Raises:
    TypeError, ValueError: if an option is out of range.

  Example:
    >>> import jax
    >>> problem = op(length=2.0)
    >>> instance = problem.generate(jax.random.key(0), 5)
    >>> tour = _problem.Visits(jnp.arange(5), jnp.arange(5) < 1)
    >>> float(problem.objective(instance, tour))
    0.0

  Source: Zheng et al. 2024 (https://arxiv.org/abs/2407.00312), appendix; prizes
    as in Kool et al. 2019 (https://arxiv.org/abs/1803.08475), appendix C.
  """
  checks.number(length, name='length', low=0.0)
  checks.flag(training, name='training')
  _geometry.DISTRIBUTIONS.make(distribution)
  slack = lambda instance: _visits.SLACK * jnp.maximum(instance['length'], 1)

  def generate(key, num_nodes):
    points = _geometry.points(distribution, key, num_nodes)
    far = _visits.away(points, 0)
    most = jnp.max(far)
    share = far / jnp.where(most > 0, most, 1)
    share = share.at[jnp.argmax(far)].set(1)
    prizes = ((1 + jnp.floor(99 * share)) / 100).at[0].set(0)
    return {'points': points, 'prizes': prizes, 'length': jnp.float32(length)}

  def objective(instance, tour):
    return _visits.total(instance['prizes'], _visits.members(tour))

  def feasible(instance, tour):
    points = instance['points']
    far = _visits.tour_length(points, tour)
    short = far <= instance['length'] + slack(instance)
    return _visits.is_tour(tour, points.shape[0]) & short

  def neighbors(instance, num_neighbors):
    prizes = instance['prizes']
    most = jnp.max(prizes)
    nodes = prizes / jnp.where(most > 0, most, 1)
    points = instance['points']
    return _neighbors.knn_graph(points, num_neighbors, nodes=nodes[:, None])

  def start(instance, first):
    kind = jnp.promote_types(instance['points'].dtype, jnp.float32)
    count = instance['points'].shape[0]
    return _visits.start(count, first, length=jnp.zeros((), kind))

  def allowed(instance, cursor):
    points = instance['points']
    there = _visits.away(points, cursor.last)
    back = _visits.away(points, 0)
    far = cursor.extra['length'] + there + back
    fits = far <= instance['length'] + slack(instance)
    return _visits.or_home(cursor, fits & (instance['prizes'] > 0), False)

  def move(instance, cursor, action):
    points = instance['points']
    step = _geometry.distance(points[cursor.last], points[action])
    far = cursor.extra['length'] + step
    return _visits.move(cursor, action, length=far)

  def split(instance, tour, size, shift, key):
    nodes, visited, rolled = _visits.split(tour, size, shift, key)
    count = jnp.sum(visited, axis=1)
    depot = nodes == 0
    active = count > 2
    if training:
      active = (count > 3) & jnp.any(depot & visited, axis=1)
    points = instance['points'][nodes]
    budget = _paths.lengths(points, visited)
    if not training:
      whole = _visits.tour_length(instance['points'], rolled)
      budget = _visits.to_first(active, budget, instance['length'] - whole)
    prizes = instance['prizes'][nodes]
    pieces = {
      'points': points,
      'prizes': prizes,
      'most': jnp.broadcast_to(jnp.max(instance['prizes']), active.shape),
      'visited': visited,
      'depot': depot,
      'budget': budget,
      'active': active,
    }
    return pieces, rolled

  def inputs(piece):
    points = _geometry.normalized(piece['points'])
    prizes = piece['prizes'] / jnp.where(piece['most'] > 0, piece['most'], 1)
    columns = [prizes, piece['depot'].astype(points.dtype)]
    features = jnp.concatenate([points, jnp.stack(columns, axis=1)], axis=1)
    return features, _geometry.distances(points)

  def context(piece, state):
    points, budget = piece['points'], piece['budget']
    to = lambda i: _visits.away(points, i)
    missing = piece['depot'] & ~state.visited
    owed, depot = jnp.any(missing), jnp.argmax(missing)
    # The way from a node to the end, by the depot where that is still to come.
    rest = to(state.end)
    around = to(depot) + rest[depot]
    rest = jnp.where(owed & ~missing, around, rest)
    far = state.used + to(state.last) + rest
    fits = far <= budget * (1 + _visits.PIECE_SLACK)
    may = _paths.or_end(
      piece, state, fits & ((piece['prizes'] > 0) | missing), False
    )
    scale = _paths.extent(points)
    extra = jnp.stack([state.used, budget]) / scale
    return _problem.Context(state.last, state.end, extra, may)

  def value(piece, candidate):
    inside = _visits.members(candidate)
    prize = _visits.total(piece['prizes'], inside)
    now = _visits.total(piece['prizes'], piece['visited'])
    far = _paths.length(piece['points'], candidate)
    budget = piece['budget']
    share = jnp.where(budget > 0, far / jnp.where(budget > 0, budget, 1), 0)
    # Never worth more than any prize: what collects less than now is behind
    # whatever is not longer than allowed.
    behind = jnp.where(prize < now, 1, 0) + jnp.clip(share, 0, 1)
    return _TIE * now * behind - prize

  def merge(instance, rolled, pieces, candidates):
    del pieces
    merged = _visits.merge(rolled, candidates)
    return _visits.kept_if(feasible(instance, merged), merged, rolled)

  return _problem.CombinatorialProblem(
    name='op',
    generate=generate,
    check=lambda instance: _visits.check(instance, ('prizes',), 'length'),
    objective=objective,
    feasible=feasible,
    maximize=True,
    divide=_visits.divide(
      neighbors=neighbors, start=start, allowed=allowed, move=move
    ),
    split=split,
    solve=_paths.solve(
      inputs=inputs, context=context, value=value, num_features=4
    ),
    merge=merge,
    sizes=_visits.sizes,
    piece_size=100,
  )
