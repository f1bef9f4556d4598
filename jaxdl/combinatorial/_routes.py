# SPDX-License-Identifier: Apache-2.0
"""Routes from one depot: what CVRP, OVRP and mTSP share.

Solutions are read cyclically: a stage leaves them rolled, in the middle of a
route perhaps, so that positions of a route may stand at both ends of `order`.
"""

from collections.abc import Callable
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np

from jaxdl.combinatorial import _geometry, _neighbors, _problem
from jaxdl.core import checks

# A load may be so much above 1, of rounding.
TOLERANCE = 1e-5


def num_customers(instance: _problem.Instance) -> int:
  """N, from shapes."""
  return instance['points'].shape[0] - 1


def most_routes(instance: _problem.Instance) -> int:
  """R, the most routes by the shape of `routes`, one per customer without."""
  count = num_customers(instance)
  if 'routes' not in instance:
    return count
  return min(count, instance['routes'].shape[0])


def route_numbers(last: chex.Array) -> chex.Array:
  """Numbers the routes that a cycle is cut into.

  Args:
    last: bool[N], where routes end.

  Returns:
    i32[N], the route of each position; 0 is that of the first one, which goes
    on at the far end of the array unless it ends there.

  Example:
    >>> route_numbers(jnp.array([False, True, False, True, False])).tolist()
    [0, 0, 1, 1, 0]
  """
  ends = last.astype(jnp.int32)
  before = jnp.cumsum(ends) - ends
  return jnp.where(before == jnp.sum(ends), 0, before)


def sums(values: chex.Array, numbers: chex.Array) -> chex.Array:
  """Sums of positions by route, f[N], zero beyond the routes there are."""
  return jax.ops.segment_sum(values, numbers, num_segments=values.shape[0])


def legs(
  points: chex.Array, routes: _problem.Routes, *, way_back: bool = True
) -> chex.Array:
  """Lengths from each customer to the one that follows.

  Args:
    points: f[N + 1, 2], the depot first.
    routes: that serve all of them.
    way_back: whether the leg to the depot counts (static).

  Returns:
    f[N], by the depot where a route ends.

  Example:
    >>> points = jnp.array([[0.0, 0.0], [3.0, 4.0], [0.0, 1.0]])
    >>> once = _problem.Routes(jnp.array([1, 2]), jnp.array([True, True]))
    >>> legs(points, once), legs(points, once, way_back=False)
    (Array([6., 6.], dtype=float32), Array([1., 5.], dtype=float32))
  """
  here = points[routes.order]
  then = jnp.roll(here, -1, axis=0)
  around = _geometry.distance(points[:1], then)
  if way_back:
    around = around + _geometry.distance(here, points[:1])
  return jnp.where(routes.last, around, _geometry.distance(here, then))


def arrivals(points: chex.Array, routes: _problem.Routes) -> chex.Array:
  """Lengths of the leg to each customer, from the depot where a route starts.

  Args:
    points: f[N + 1, 2], the depot first.
    routes: that serve all of them.

  Returns:
    f[N].
  """
  here = points[routes.order]
  before = jnp.where(
    jnp.roll(routes.last, 1)[:, None], points[:1], jnp.roll(here, 1, axis=0)
  )
  return _geometry.distance(before, here)


def lengths(
  points: chex.Array, routes: _problem.Routes
) -> tuple[chex.Array, chex.Array]:
  """Lengths of all routes.

  Args:
    points: f[N + 1, 2], the depot first.
    routes: that serve all of them.

  Returns:
    f[N] by the number of a route, zero beyond, and `route_numbers`.

  Example:
    >>> points = jnp.array([[0.0, 0.0], [3.0, 4.0], [0.0, 1.0]])
    >>> once = _problem.Routes(jnp.array([1, 2]), jnp.array([True, True]))
    >>> lengths(points, once)[0]
    Array([10.,  2.], dtype=float32)
  """
  numbers = route_numbers(routes.last)
  home = _geometry.distance(points[routes.order], points[:1])
  back = jnp.where(routes.last, home, 0)
  return sums(arrivals(points, routes) + back, numbers), numbers


def serves_all(routes: _problem.Routes, num_customers: int) -> chex.Array:
  """Whether every customer stands in some route once, bool[]."""
  order = routes.order
  inside = (order >= 1) & (order <= num_customers)
  times = jnp.zeros((num_customers + 1,), jnp.int32).at[order].add(inside)
  return jnp.all(times[1:] == 1) & jnp.all(inside) & jnp.any(routes.last)


def by_angle(points: chex.Array, routes: _problem.Routes) -> _problem.Routes:
  """Sorts routes by the polar angle of their centroids about the depot.

  The first customer stays first, wherever in its route, so that cuts of
  successive stages lie where they should; the other routes follow
  counterclockwise, equal ones in the order they had.

  Args:
    points: f[N + 1, 2], the depot first.
    routes: that serve all of them.

  Returns:
    The same routes.

  Cost: O(N log N).

  Example:
    >>> points = jnp.array([[0.0, 0.0], [1.0, 0.0], [0.0, -1.0], [0.0, 1.0]])
    >>> alone = _problem.Routes(jnp.array([1, 2, 3]), jnp.ones(3, bool))
    >>> by_angle(points, alone).order.tolist()
    [1, 3, 2]

  Source: Zheng et al. 2024 (https://arxiv.org/abs/2407.00312), pieces of CVRP.
  """
  size = routes.order.shape[0]
  at = jnp.arange(size)
  numbers = route_numbers(routes.last)
  around = _relative(points)[routes.order]
  x, y = (sums(around[:, i], numbers) for i in range(2))  # Scale is no matter.
  angle = jnp.arctan2(y, x)
  ahead = jnp.mod(angle - angle[0], 2 * jnp.pi)
  count = jnp.max(numbers) + 1
  ahead = jnp.where(at == 0, -1, jnp.where(at < count, ahead, jnp.inf))
  rank = jnp.argsort(jnp.argsort(ahead, stable=True), stable=True)[numbers]
  # What the first route has before the first customer.
  ended = jnp.cumsum(routes.last) - routes.last
  rank = jnp.where((numbers == 0) & (ended > 0), size, rank)
  order = jnp.argsort(rank, stable=True)
  return jax.tree.map(lambda x: x[order], routes)


def from_actions(actions: chex.Array, num_customers: int) -> _problem.Routes:
  """Reads routes from decisions.

  Args:
    actions: i32[T], customers, and 0 for the depot.
    num_customers: N.

  Returns:
    The routes. Customers that no decision serves follow on routes of their own,
    so that all are served in any case.

  Example:
    >>> routes = from_actions(jnp.array([2, 0, 4, 1, 0, 0]), 4)
    >>> routes.order.tolist(), routes.last.tolist()
    ([2, 4, 1, 3], [True, False, True, True])
  """
  actions = actions.astype(jnp.int32)
  served = actions > 0
  place = jnp.cumsum(served) - 1
  count = place[-1] + 1
  out = num_customers
  order = jnp.zeros((out,), jnp.int32)
  order = order.at[jnp.where(served, place, out)].set(actions, mode='drop')
  last = jnp.zeros((out,), bool)
  ends = jnp.where(served | (place < 0), out, place)
  last = last.at[ends].set(True, mode='drop')
  left = jnp.ones((out + 1,), bool).at[actions].set(False)[1:]
  places = jnp.where(left, count + jnp.cumsum(left) - 1, out)
  order = order.at[places].set(
    jnp.arange(1, out + 1, dtype=jnp.int32), mode='drop'
  )
  return _problem.Routes(order, last | (jnp.arange(out) >= count - 1))


def polar(points: chex.Array) -> tuple[chex.Array, chex.Array]:
  """Distance and angle of all nodes about the depot, f[N + 1] each."""
  around = _relative(points)
  radius = _geometry.distance(around, jnp.zeros_like(around))
  return radius, jnp.arctan2(around[:, 1], around[:, 0])


def rows_with_depot(
  rows: Callable[[chex.Array], chex.Array], num_nodes: int, num_neighbors: int
) -> chex.Array:
  """The K nearest of each node, the node itself and the depot among them.

  A return to the depot would have no weight otherwise, where it is far.

  Args:
    rows: `rows(ids) -> f[B, M]`, costs of at least -1.
    num_nodes: M.
    num_neighbors: K.

  Returns:
    i32[M, min(K, M)].
  """
  depot = jnp.arange(num_nodes)[None] == 0
  ids, _ = _neighbors.smallest(
    lambda ids: jnp.where(depot, -2, rows(ids)), num_nodes, num_neighbors
  )
  return ids


def starts(num_samples: int) -> chex.Array:
  """Every construction starts at the depot, i32[A]."""
  return jnp.zeros((num_samples,), jnp.int32)


def start(num_nodes: int, extra: Any) -> _problem.Cursor:
  """A construction at the depot."""
  depot = jnp.zeros((), jnp.int32)
  visited = jnp.arange(num_nodes) == 0
  return _problem.Cursor(depot, depot, visited, jnp.all(visited), extra)


def check_points(instance: _problem.Instance) -> int:
  """Checks places on the host.

  Args:
    instance: with `points`, the depot first.

  Returns:
    N, the number of customers.

  Raises:
    ValueError: if there is none, or a coordinate is no number.
  """
  if 'points' not in instance:
    raise ValueError(f"instance must have 'points'; got {sorted(instance)}.")
  count = _geometry.check_coords(instance['points']) - 1
  if count < 1:
    raise ValueError(
      'points must be the depot and at least one customer; got shape '
      f'{np.shape(instance["points"])}.'
    )
  if np.ndim(instance.get('routes', np.ones(1))) != 1:
    raise ValueError(
      'routes must be bool[R], whose length is the most routes; got shape '
      f'{np.shape(instance["routes"])}.'
    )
  return count


def sizes(num_nodes: int, size: int) -> None:
  """Raises ValueError unless pieces of one size cover all customers."""
  checks.integer(num_nodes, name='num_nodes', low=1)
  check_piece(size, num_nodes)
  if num_nodes % size:
    below = num_nodes - num_nodes % size
    raise ValueError(
      'num_nodes must be a multiple of size in training; got '
      f'num_nodes={num_nodes} and size={size}: take {below} or {below + size}.'
    )


def check_piece(size: int, num_customers: int) -> None:
  """Raises ValueError unless there is a piece with something to solve."""
  checks.integer(size, name='size', low=3)
  if size > num_customers:
    raise ValueError(
      f'size={size} leaves no piece: need size <= num_nodes = {num_customers}.'
    )


def _relative(points):
  """Places about the depot, float32 at least."""
  dtype = jnp.promote_types(points.dtype, jnp.float32)
  points = points.astype(dtype)
  return points - points[:1]


def divide(
  neighbors: Any,
  start: Any,
  allowed: Any,
  move: Any,
  *,
  has_depot: bool = False,
) -> _problem.Divide:
  """How routes are constructed: all begin at the depot.

  Args:
    neighbors: see `Divide`, like the others.
    start: likewise.
    allowed: likewise.
    move: likewise.
    has_depot: likewise.

  Returns:
    The functions.
  """
  return _problem.Divide(
    neighbors=neighbors,
    starts=lambda instance, key, num_samples: starts(num_samples),
    start=start,
    allowed=allowed,
    move=move,
    num_steps=lambda instance: (
      num_customers(instance) + most_routes(instance) - 1
    ),
    finish=lambda instance, first, actions: from_actions(
      actions, num_customers(instance)
    ),
    has_depot=has_depot,
    single_start=True,
  )
