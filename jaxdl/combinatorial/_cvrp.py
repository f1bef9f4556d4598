# SPDX-License-Identifier: Apache-2.0
"""Vehicles of one capacity: CVRP, and OVRP, whose vehicles need not return."""

import math

import chex
import jax
import jax.numpy as jnp
import numpy as np

from jaxdl.combinatorial import _geometry, _problem, _route_pieces, _routes
from jaxdl.core import checks

_MOST_DEMAND = 9


def cvrp(
  *,
  capacity: int | str | tuple[int, int] = (100, 200),
  distribution: str = 'uniform',
  long_routes: str = 'path',
) -> _problem.CombinatorialProblem:
  """Shortest routes of vehicles whose loads are limited.

  An instance is `points`, f[N + 1, 2] with the depot first, and `demands`, f[N
  + 1], in units of what a vehicle holds; perhaps `routes`, of
  `routes_bound`.
  Loads are right up to 1e-5.

  A piece is n customers in a row. Its first one stays first; its last one stays
  last, unless the depot comes after it. A route that the border of two pieces
  cuts is shared, each piece gets a budget (`border_budgets`).

  Args:
    capacity: of generated instances, whose demands are 1..9: a number, a range
      to draw from, or 'table', 100 below 1000 customers, 200 below 2000, 300
      from there on.
    distribution: of the points of generated instances, a part of
      `DISTRIBUTIONS`.
    long_routes: what happens to pieces in the middle of one route: 'path'
      solves them as a path, which may not visit the depot, 'keep' leaves them.

  Returns:
    The problem; its solutions are `Routes`.

  Raises:
    ValueError: if an option is out of range.

  Example:
    >>> problem = cvrp(capacity=20)
    >>> instance = problem.generate(jax.random.key(0), 3)
    >>> alone = _problem.Routes(jnp.array([1, 2, 3]), jnp.ones(3, bool))
    >>> problem.check(instance)
    >>> bool(problem.feasible(instance, alone))
    True

  Source: Zheng et al. 2024 (https://arxiv.org/abs/2407.00312), CVRP.
  """
  return _vehicles('cvrp', capacity, distribution, long_routes, True)


def ovrp(
  *,
  capacity: int | str | tuple[int, int] = (100, 200),
  distribution: str = 'uniform',
  long_routes: str = 'path',
) -> _problem.CombinatorialProblem:
  """As `cvrp`, with open routes: legs back to the depot cost nothing.

  Args:
    capacity: as of `cvrp`.
    distribution: as of `cvrp`.
    long_routes: as of `cvrp`.

  Returns:
    The problem; its solutions are `Routes`.

  Raises:
    ValueError: if an option is out of range.

  Example:
    >>> problem = ovrp()
    >>> points = jnp.array([[0.0, 0.0], [3.0, 4.0]])
    >>> instance = {'points': points, 'demands': jnp.array([0.0, 0.5])}
    >>> once = _problem.Routes(jnp.array([1]), jnp.array([True]))
    >>> float(problem.objective(instance, once))
    5.0

  Source: Zheng et al. 2024 (https://arxiv.org/abs/2407.00312), OVRP.
  """
  return _vehicles('ovrp', capacity, distribution, long_routes, False)


def routes_bound(demands: chex.Array) -> int:
  """The most routes that a construction opens, whatever its policy.

  Returns that are not forced stop once what is left fills the vehicles that are
  left of the least possible number and one more.

  Args:
    demands: f[N + 1] in units of the capacity, known numbers.

  Returns:
    R, at most one per customer: the length of `routes` of an instance.

  Example:
    >>> routes_bound(np.array([0.0, 0.3, 0.3, 0.3, 0.3, 0.3, 0.3]))
    5
  """
  found = np.asarray(demands, np.float64)[1:]
  return _bound(len(found), float(found.sum()), float(found.max(initial=0.0)))


def _bound(count, total, most):
  """R of N customers, their sum and the largest of them."""
  least = max(1, math.ceil(total - _routes.TOLERANCE))
  # Forced ones leave less than the largest demand; two of them are over 1.
  loose = 2 * least + 1
  if most < 1:
    loose = min(loose, int(least / (1 - most)) + 3)
  return max(1, min(count, loose))


def _vehicles(name, capacity, distribution, long_routes, way_back):
  """Both problems."""
  _check_capacity(capacity)
  _geometry.DISTRIBUTIONS.make(distribution)
  checks.choice(long_routes, ('path', 'keep'), name='long_routes')

  def generate(key, num_nodes):
    checks.integer(num_nodes, name='num_nodes', low=1)
    points_key, demand_key, capacity_key = jax.random.split(key, 3)
    points = _geometry.points(distribution, points_key, num_nodes + 1)
    low, high = _range_of(capacity, num_nodes)
    size = jax.random.randint(capacity_key, (), low, high + 1)
    drawn = jax.random.randint(demand_key, (num_nodes,), 1, _MOST_DEMAND + 1)
    demands = jnp.pad(drawn, (1, 0)) / size
    # Ten standard deviations of a sum of uniform ones.
    total = 5 * num_nodes + 10 * math.sqrt(20 / 3 * num_nodes)
    total = min(total, _MOST_DEMAND * num_nodes) / low
    most = _bound(num_nodes, total, _MOST_DEMAND / low)
    routes = jnp.ones((most,), bool)
    return {'points': points, 'demands': demands, 'routes': routes}

  def objective(instance, routes):
    points = instance['points']
    return jnp.sum(_routes.legs(points, routes, way_back=way_back))

  def value(piece, part):
    legs = _route_pieces.arrivals(piece, part)
    if way_back:
      legs = legs + _route_pieces.homes(piece, part)
    return jnp.sum(legs)

  def split(instance, routes, size, shift, key):
    del key
    pieces, rolled = _route_pieces.cut(instance, routes, size, shift)
    demands = instance['demands']
    head, tail = _route_pieces.borders(demands, rolled, pieces)
    loads = demands[pieces['ids']].astype(head.dtype)
    return pieces | {'demands': loads, 'head': head, 'tail': tail}, rolled

  def active(piece):
    return ~piece['whole'] if long_routes == 'keep' else jnp.array(True)

  def inputs(piece):
    coords = _geometry.normalized(piece['points'])
    loads = piece['demands'][:, None].astype(coords.dtype)
    return (
      jnp.concatenate([coords, loads], axis=1),
      _geometry.distances(coords),
    )

  return _problem.CombinatorialProblem(
    name=name,
    generate=generate,
    check=check,
    objective=objective,
    feasible=feasible,
    maximize=False,
    divide=_routes.divide(neighbors, start, allowed, move, has_depot=True),
    split=split,
    solve=_problem.Solve(
      inputs=inputs,
      start=piece_start,
      context=piece_context,
      move=piece_move,
      num_steps=_route_pieces.num_steps,
      finish=lambda piece, walk, actions: _route_pieces.finish(
        piece, walk.done, actions
      ),
      current=_route_pieces.current,
      value=value,
      active=active,
      both_ways=False,
      num_features=3,
      num_extra=2,
      network='icam',
      piece_steps=_route_pieces.piece_steps,
    ),
    merge=lambda instance, rolled, pieces, parts: _route_pieces.merge(
      rolled, pieces, parts
    ),
    sizes=_routes.sizes,
    piece_size=100,
  )


def check(instance: _problem.Instance) -> None:
  """Checks an instance on the host.

  Args:
    instance: with `points` and `demands`.

  Raises:
    ValueError: if a field is missing, of another shape or no number, the depot
      demands something, or a customer less than nothing or more than a vehicle
      holds; the message names the customer.
  """
  count = _routes.check_points(instance)
  if 'demands' not in instance:
    raise ValueError(f"instance must have 'demands'; got {sorted(instance)}.")
  found = checks.host_array(instance['demands'], name='demands')
  if found.shape != (count + 1,):
    raise ValueError(
      f'demands must be f[N + 1] = {(count + 1,)}, like points; got shape '
      f'{found.shape}.'
    )
  checks.known(instance['demands'], name='demands')
  if found[0]:
    raise ValueError(f'demands must be 0 of the depot; got {found[0]:g}.')
  for wrong, rule in ((found < 0, 'at least 0'), (found > 1 + 1e-5, 'at most '
    '1, what a vehicle holds')):  # fmt: skip
    if wrong.any():
      which = int(np.argmax(wrong))
      raise ValueError(
        f'demands must be {rule}: customer {which} has {found[which]:g}.'
      )


def feasible(
  instance: _problem.Instance, routes: _problem.Routes
) -> chex.Array:
  """Whether all customers are served and no vehicle holds too much, bool[]."""
  count = _routes.num_customers(instance)
  return _routes.serves_all(routes, count) & jnp.all(
    loads(instance, routes) <= 1 + _routes.TOLERANCE
  )


def loads(instance: _problem.Instance, routes: _problem.Routes) -> chex.Array:
  """What vehicles hold, f[N] by the number of a route, zero beyond."""
  demands = instance['demands']
  dtype = jnp.promote_types(demands.dtype, jnp.float32)
  numbers = _routes.route_numbers(routes.last)
  return _routes.sums(demands[routes.order].astype(dtype), numbers)


def neighbors(
  instance: _problem.Instance, num_neighbors: int
) -> _problem.Neighbors:
  """Customers in similar directions, of the depot those that are near.

  The depot is a neighbor of all.

  Args:
    instance: one.
    num_neighbors: K.

  Returns:
    Features (demand, radius, angle) of nodes; of edges twice the cosine of
    their directions, 0 to and from the depot.
  """
  points = instance['points']
  num = points.shape[0]
  radius, angle = _routes.polar(points)
  units = jnp.stack([jnp.cos(angle), jnp.sin(angle)], axis=1)

  def rows(ids):
    far = _geometry.distance(points[:1], points)[None]
    return jnp.where(ids[:, None] == 0, far, -cosines(units[ids], units[None]))

  def cosines(a, b):
    return a[:, :1] * b[..., 0] + a[:, 1:] * b[..., 1]

  ids = _routes.rows_with_depot(rows, num, num_neighbors)
  depot = (ids == 0) | (jnp.arange(num) == 0)[:, None]
  same = ids == jnp.arange(num)[:, None]
  edges = jnp.where(depot, 0, cosines(units, units[ids]))
  edges = jnp.where(same, 1, edges)
  edges = jnp.stack([edges, edges], axis=-1).astype(points.dtype)
  nodes = jnp.stack([instance['demands'], radius, angle], axis=1)
  return _problem.Neighbors(nodes.astype(points.dtype), ids, edges)


def start(instance: _problem.Instance, first: chex.Array) -> _problem.Cursor:
  """A vehicle at the depot, with nothing in it."""
  del first
  demands = instance['demands']
  total = jnp.sum(demands, dtype=jnp.promote_types(demands.dtype, jnp.float32))
  extra = {
    'room': jnp.ones_like(total),
    'total': total,
    'most': jnp.ceil(total - _routes.TOLERANCE) + 1,
    'routes': jnp.ones_like(total),
  }
  return _routes.start(demands.shape[0], extra)


def allowed(instance: _problem.Instance, cursor: _problem.Cursor) -> chex.Array:
  """Customers that fit, and the depot where it does not waste vehicles."""
  extra = cursor.extra
  fits = instance['demands'] <= extra['room'] + _routes.TOLERANCE / 2
  able = ~cursor.visited & fits
  back = (cursor.last != 0) & (
    extra['total'] <= extra['most'] - extra['routes']
  )
  return able.at[0].set(cursor.done | back | ~jnp.any(able))


def move(
  instance: _problem.Instance, cursor: _problem.Cursor, action: chex.Array
) -> _problem.Cursor:
  """Serves a customer, or returns and starts anew."""
  extra, home = cursor.extra, action == 0
  demand = instance['demands'][action].astype(extra['room'].dtype)
  visited = cursor.visited.at[action].set(True)
  moved = cursor._replace(
    last=action,
    visited=visited,
    done=jnp.all(visited),
    extra=extra
    | {
      'room': jnp.where(home, 1, extra['room'] - demand),
      'total': extra['total'] - demand,
      'routes': extra['routes'] + (home & (cursor.last != 0)),
    },
  )
  return jax.tree.map(lambda a, b: jnp.where(cursor.done, a, b), cursor, moved)


def piece_start(
  piece: dict[str, chex.Array], reverse: chex.Array
) -> _route_pieces.Walk:
  """A vehicle that has served the first customer of a piece."""
  del reverse
  demands = piece['demands']
  total = jnp.sum(demands)
  now = jnp.sum(piece['last'][:-1]) + 2
  extra = {
    'room': piece['head'] - demands[1],
    'total': total - demands[1],
    'most': jnp.maximum(jnp.ceil(total - _routes.TOLERANCE) + 1, now),
    'routes': jnp.ones_like(total),
  }
  return _route_pieces.walk_start(piece, extra)


def piece_context(
  piece: dict[str, chex.Array], walk: _route_pieces.Walk
) -> _problem.Context:
  """Load left and the budget of the last route; who may come next."""
  extra, demands, whole = walk.extra, piece['demands'], piece['whole']
  margin = _route_pieces.MARGIN
  waiting = _route_pieces.waiting(piece, walk)
  able = waiting & (whole | (demands <= extra['room'] + margin))
  # The last customer and those before him on his route share its budget; alone
  # he always fits.
  alone = (walk.last == 0) | whole
  used = 1 - extra['room'] + demands[-1]
  ends = ~walk.visited[-1] & ~piece['closed'] & ~jnp.any(waiting) & (
    alone | ((extra['routes'] > 1) & (used <= piece['tail'] + margin))
  )  # fmt: skip
  able = able.at[-1].set(able[-1] | ends)
  back = (walk.last != 0) & (extra['total'] <= extra['most'] - extra['routes'])
  able = able.at[0].set(walk.done | (back & ~whole) | ~jnp.any(able))
  numbers = jnp.stack([extra['room'], piece['tail']])
  return _problem.Context(walk.last, _route_pieces.end(piece), numbers, able)


def piece_move(
  piece: dict[str, chex.Array], walk: _route_pieces.Walk, action: chex.Array
) -> _route_pieces.Walk:
  """Serves a customer of a piece, or returns and starts anew."""
  extra, home = walk.extra, action == 0
  demand = piece['demands'][action]
  return _route_pieces.walk_move(
    walk,
    action,
    {
      'room': jnp.where(home, 1, extra['room'] - demand),
      'total': extra['total'] - demand,
      'most': extra['most'],
      'routes': extra['routes'] + (home & (walk.last != 0)),
    },
  )


def _check_capacity(capacity):
  """Raises ValueError unless generated customers fit."""
  if isinstance(capacity, str):
    checks.choice(capacity, ('table',), name='capacity')
    return
  ends = capacity if isinstance(capacity, (tuple, list)) else (capacity,) * 2
  if len(ends) != 2:
    raise ValueError(
      "capacity must be a number, a range (low, high) or 'table'; got "
      f'{capacity!r}.'
    )
  low, high = (
    checks.integer(x, name='capacity', low=_MOST_DEMAND) for x in ends
  )
  if low > high:
    raise ValueError(f'capacity must be a range (low, high); got {capacity!r}.')


def _range_of(capacity, num_nodes):
  """The least and the largest capacity."""
  if capacity == 'table':
    at = 100 if num_nodes < 1000 else 200 if num_nodes < 2000 else 300
    return at, at
  if isinstance(capacity, (tuple, list)):
    return int(capacity[0]), int(capacity[1])
  return int(capacity), int(capacity)
