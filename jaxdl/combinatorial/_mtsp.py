# SPDX-License-Identifier: Apache-2.0
"""Salesmen who share the customers so that the longest route is short: mTSP."""

from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np

from jaxdl.combinatorial import _geometry, _problem, _route_pieces, _routes
from jaxdl.core import checks


def mtsp(
  *,
  num_salesmen: int | tuple[int, int] | None = None,
  distribution: str = 'uniform',
) -> _problem.CombinatorialProblem:
  """Routes of M salesmen from one depot, whose longest is as short as it gets.

  An instance is `points`, f[N + 1, 2] with the depot first, and `num_salesmen`,
  i32[], M <= N; `routes` besides, whose length is at least M. Every salesman
  has a customer.

  A piece is n customers in a row, between the first and the last one, which
  stay, or the depot; it keeps the number of its routes. What it is worth is the
  longest route that touches it, with the parts of it that lie outside. As two
  pieces can lengthen the route that their border cuts, the best of four is
  kept: all pieces, every other one, the rest of them, none.

  Args:
    num_salesmen: M of generated instances, or a range to draw from, bounded by
      N. None is 30 to 50, and in proportion fewer below 500 customers.
    distribution: of the points of generated instances, a part of
      `DISTRIBUTIONS`.

  Returns:
    The problem; its solutions are `Routes`.

  Raises:
    ValueError: if an option is out of range.

  Example:
    >>> problem = mtsp(num_salesmen=2)
    >>> points = jnp.array([[0.0, 0.0], [3.0, 4.0], [0.0, 1.0]])
    >>> instance = {'points': points, 'num_salesmen': jnp.array(2)}
    >>> both = _problem.Routes(jnp.array([1, 2]), jnp.array([True, True]))
    >>> problem.objective(instance, both), problem.feasible(instance, both)
    (Array(10., dtype=float32), Array(True, dtype=bool))

  Source: Zheng et al. 2024 (https://arxiv.org/abs/2407.00312), min-max mTSP.
  """
  _range_of(num_salesmen, 1)
  _geometry.DISTRIBUTIONS.make(distribution)

  def generate(key, num_nodes):
    checks.integer(num_nodes, name='num_nodes', low=1)
    points_key, number_key = jax.random.split(key)
    low, high = _range_of(num_salesmen, num_nodes)
    return {
      'points': _geometry.points(distribution, points_key, num_nodes + 1),
      'num_salesmen': jnp.minimum(
        jax.random.randint(number_key, (), low, high + 1), num_nodes
      ),
      'routes': jnp.ones((min(high, num_nodes),), bool),
    }

  return _problem.CombinatorialProblem(
    name='mtsp',
    generate=generate,
    check=check,
    objective=objective,
    feasible=feasible,
    maximize=False,
    divide=_routes.divide(neighbors, start, allowed, move),
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
      num_features=2,
      num_extra=8,
      network='dpn',
      piece_steps=_route_pieces.piece_steps,
    ),
    merge=merge,
    sizes=_routes.sizes,
    piece_size=100,
  )


def check(instance: _problem.Instance) -> None:
  """Checks an instance on the host.

  Args:
    instance: with `points` and `num_salesmen`.

  Raises:
    ValueError: if a field is missing, of another shape or no number, or the
      salesmen are none or more than customers or than `routes` has place for.
  """
  count = _routes.check_points(instance)
  if 'num_salesmen' not in instance:
    raise ValueError(
      f"instance must have 'num_salesmen'; got {sorted(instance)}."
    )
  found = checks.host_array(instance['num_salesmen'], name='num_salesmen')
  if found.shape or found.dtype.kind not in 'iu':
    raise ValueError(
      'num_salesmen must be i32[]; got '
      f'{checks.described(instance["num_salesmen"])}.'
    )
  if not 1 <= found <= count:
    raise ValueError(
      f'num_salesmen must be at least 1 and at most {count}, one per customer; '
      f'got {int(found)}.'
    )
  if found > _routes.most_routes(instance):
    raise ValueError(
      f'routes must have a place for each of num_salesmen={int(found)}; got '
      f'shape {np.shape(instance["routes"])}.'
    )


def objective(
  instance: _problem.Instance, routes: _problem.Routes
) -> chex.Array:
  """Length of the longest route, f[]."""
  return jnp.max(_routes.lengths(instance['points'], routes)[0])


def feasible(
  instance: _problem.Instance, routes: _problem.Routes
) -> chex.Array:
  """Whether all customers are served by exactly M routes, bool[]."""
  count = _routes.num_customers(instance)
  return _routes.serves_all(routes, count) & (
    jnp.sum(routes.last) == instance['num_salesmen']
  )


def neighbors(
  instance: _problem.Instance, num_neighbors: int
) -> _problem.Neighbors:
  """The nearest nodes, the depot among them.

  Args:
    instance: one.
    num_neighbors: K.

  Returns:
    Features are coordinates, and of edges twice the negative distance.
  """
  points = instance['points']
  ids = _routes.rows_with_depot(
    lambda ids: _geometry.distance(points[ids][:, None], points[None]),
    points.shape[0],
    num_neighbors,
  )
  far = _geometry.distance(points[:, None], points[ids])
  edges = jnp.stack([-far, -far], axis=-1).astype(points.dtype)
  return _problem.Neighbors(points, ids, edges)


def start(instance: _problem.Instance, first: chex.Array) -> _problem.Cursor:
  """The first salesman at the depot."""
  del first
  num = instance['points'].shape[0]
  return _routes.start(num, {'salesmen': instance['num_salesmen'] - 1})


def allowed(instance: _problem.Instance, cursor: _problem.Cursor) -> chex.Array:
  """Customers while enough are left for later salesmen, then the depot."""
  del instance
  left = cursor.extra['salesmen']
  waiting = ~cursor.visited
  return _who(waiting, waiting, left, cursor.last == 0, cursor.done)


def move(
  instance: _problem.Instance, cursor: _problem.Cursor, action: chex.Array
) -> _problem.Cursor:
  """Goes to a customer, or the next salesman starts."""
  del instance
  visited = cursor.visited.at[action].set(True)
  left = cursor.extra['salesmen'] - (action == 0)
  moved = cursor._replace(
    last=action,
    visited=visited,
    done=jnp.all(visited),
    extra={'salesmen': left},
  )
  return jax.tree.map(lambda a, b: jnp.where(cursor.done, a, b), cursor, moved)


def split(
  instance: _problem.Instance,
  routes: _problem.Routes,
  size: int,
  shift: chex.Numeric,
  key: Any,
) -> tuple[dict[str, chex.Array], _problem.Routes]:
  """Pieces of `_route_pieces.cut` and what their border routes have outside.

  Args:
    instance: one.
    routes: feasible.
    size: n (static).
    shift: traced.
    key: not read.

  Returns:
    Pieces, with the length before the first customer, the leg to him included,
    as `before`: f[P], and that behind the last one as `after`; and the rolled
    routes.
  """
  del key
  points = instance['points']
  pieces, rolled = _route_pieces.cut(instance, routes, size, shift)
  count = pieces['last'].shape[0]
  done = _covered(points, rolled)
  total, numbers = _routes.lengths(points, rolled)
  rest = total[numbers] - done
  at = jnp.arange(count) * size
  return pieces | {'before': done[at], 'after': rest[at + size - 1]}, rolled


def merge(
  instance: _problem.Instance,
  rolled: _problem.Routes,
  pieces: dict[str, chex.Array],
  parts: _route_pieces.Part,
) -> _problem.Routes:
  """Puts back all pieces, or every other one, or none: what is best.

  Args:
    instance: one.
    rolled: routes as they were cut.
    pieces: of them.
    parts: candidates.

  Returns:
    Routes no longer than they were; of equal ones the most that is new.
  """
  count, n = parts.order.shape
  at = jnp.arange(count)
  now = _route_pieces.Part(
    jnp.broadcast_to(jnp.arange(1, n + 1), (count, n)), pieces['last']
  )
  chosen = jnp.stack([at >= 0, at % 2 == 0, at % 2 == 1, at < 0])

  def put(chosen):
    mixed = jax.tree.map(
      lambda new, old: jnp.where(chosen[:, None], new, old), parts, now
    )
    return _route_pieces.merge(rolled, pieces, mixed)

  found = jax.vmap(put)(chosen)
  values = jax.vmap(lambda routes: objective(instance, routes))(found)
  best = jnp.argmin(values)
  return jax.tree.map(lambda x: x[best], found)


def value(piece: dict[str, chex.Array], part: _route_pieces.Part) -> chex.Array:
  """Length of the longest route that touches a piece, f[].

  Args:
    piece: one.
    part: a candidate.

  Returns:
    It, with what lies outside.
  """
  legs = _route_pieces.arrivals(piece, part)
  legs = legs.at[0].set(piece['before']) + _route_pieces.homes(piece, part)
  legs = legs.at[-1].add(jnp.where(piece['closed'], 0, piece['after']))
  ends = part.last.astype(jnp.int32)
  return jnp.max(_routes.sums(legs, jnp.cumsum(ends) - ends))


def active(piece: dict[str, chex.Array]) -> chex.Array:
  """False where a piece has more routes than decisions have place for."""
  return jnp.sum(piece['last'][:-1]) <= piece['visits'].shape[-1]


def inputs(piece: dict[str, chex.Array]) -> tuple[chex.Array, chex.Array]:
  """Coordinates in the frame of the piece and their distances."""
  coords = _geometry.normalized(piece['points'])
  return coords, _geometry.distances(coords)


def piece_start(
  piece: dict[str, chex.Array], reverse: chex.Array
) -> _route_pieces.Walk:
  """A salesman at the first customer of a piece."""
  del reverse
  return _route_pieces.walk_start(
    piece,
    {
      'visits': jnp.sum(piece['last'][:-1].astype(jnp.int32)),
      'length': piece['before'],
      'longest': jnp.zeros_like(piece['before']),
    },
  )


def piece_context(
  piece: dict[str, chex.Array], walk: _route_pieces.Walk
) -> _problem.Context:
  """Who may come next, and eight numbers.

  They are the routes that are closed, as shares of n salesmen and customers
  left, and in the frame of the piece the lengths of the route so far, of the
  longest one so far and of what the last one has behind the piece, and how far
  from the depot customers are at most, all and those left.
  """
  n, extra = _route_pieces.size_of(piece), walk.extra
  points = piece['points']
  left = ~walk.visited
  waiting = _route_pieces.waiting(piece, walk)
  # The last customer comes when all others and all salesmen are through.
  last = left & ~waiting & ~jnp.any(waiting) & (extra['visits'] == 0)
  able = _who(left, waiting | last, extra['visits'], walk.last == 0, walk.done)
  far = _geometry.distance(points, points[:1])
  extent = jnp.max(jnp.max(points, axis=0) - jnp.min(points, axis=0)) + 1e-10
  lengths = (
    extra['length'],
    extra['longest'],
    jnp.where(piece['closed'], 0, piece['after']),
    jnp.max(far),
    jnp.max(jnp.where(left, far, 0)),
  )
  closed = jnp.sum(piece['last'][:-1]) - extra['visits']
  shares = (extra['visits'] / n, jnp.sum(left) / n)
  numbers = [closed, *shares, *(x / extent for x in lengths)]
  numbers = jnp.stack([x.astype(far.dtype) for x in numbers])
  return _problem.Context(walk.last, _route_pieces.end(piece), numbers, able)


def piece_move(
  piece: dict[str, chex.Array], walk: _route_pieces.Walk, action: chex.Array
) -> _route_pieces.Walk:
  """Goes to a customer of a piece, or the next salesman starts."""
  extra, home = walk.extra, action == 0
  points = piece['points']
  length = extra['length'] + _geometry.distance(
    points[walk.last], points[action]
  )
  return _route_pieces.walk_move(
    walk,
    action,
    {
      'visits': extra['visits'] - home,
      'length': jnp.where(home, 0, length),
      'longest': jnp.where(
        home, jnp.maximum(extra['longest'], length), extra['longest']
      ),
    },
  )


def _who(left, able, salesmen, home, done):
  """Whom one may visit next: bool[m], never none.

  `left` are all customers left, `able` those who may come before others.
  """
  few = ~home & (jnp.sum(left) <= salesmen)
  able = able & ~few
  back = (~home & (salesmen > 0)) | done | ~jnp.any(able)
  return able.at[0].set(back)


def _covered(points, routes):
  """Length of its route up to each customer, f[N]."""
  # A route starts at the front, so that none goes around the end.
  turn = jnp.argmax(routes.last) + 1
  legs = jnp.roll(_routes.arrivals(points, routes), -turn)
  first = jnp.roll(jnp.roll(routes.last, 1), -turn)

  def add(a, b):
    return jnp.where(b[1], b[0], a[0] + b[0]), a[1] | b[1]

  done, _ = jax.lax.associative_scan(add, (legs, first))
  return jnp.roll(done, turn)


def _range_of(num_salesmen, num_nodes):
  """The least and the largest number of salesmen."""
  if num_salesmen is None:
    share = min(1.0, num_nodes / 500)
    return max(1, round(30 * share)), max(1, round(50 * share))
  if not isinstance(num_salesmen, (tuple, list)):
    one = checks.integer(num_salesmen, name='num_salesmen', low=1)
    return one, one
  if len(num_salesmen) != 2 or num_salesmen[0] > num_salesmen[1]:
    raise ValueError(
      'num_salesmen must be a number or a range (low, high); got '
      f'{num_salesmen!r}.'
    )
  low, high = (
    checks.integer(x, name='num_salesmen', low=1) for x in num_salesmen
  )
  return low, high
