# SPDX-License-Identifier: Apache-2.0
"""Routes from a depot by rules: nearest neighbor, savings, sweep."""

import functools
import math

import chex
import jax
import jax.numpy as jnp

from jaxdl.combinatorial import _problem
from jaxdl.combinatorial.classical import _costs
from jaxdl.core import checks

# What a load may exceed the capacity by: rounding.
SLACK = 1e-5


def nearest_customer(instance: _problem.Instance) -> _problem.Routes:
  """Goes to the nearest customer whose demand still fits, else to the depot.

  Args:
    instance: `points f[N + 1, 2]` and `demands f[N + 1]`, none above 1.

  Returns:
    The routes; ties go to the lowest index.

  Cost: O(N²) time, O(N) memory.

  Example:
    >>> points = jnp.array([[0.0, 0], [1, 0], [2, 0], [0, 3]])
    >>> demands = jnp.array([0.0, 0.5, 0.5, 0.5])
    >>> routes = nearest_customer({'points': points, 'demands': demands})
    >>> print(routes.order, routes.last)
    [1 2 3] [False  True  True]
  """
  demands = jnp.asarray(instance['demands'])
  return _nearest_customer(_costs.costs_of(instance), demands)


@jax.jit
def _nearest_customer(costs, demands):
  num = costs.num_nodes
  free = jnp.ones(num, bool).at[0].set(False)

  def step(carry, _):
    current, left, free = carry
    fits = free & (demands <= left + SLACK)
    back = ~fits.any()
    current, left = jnp.where(back, 0, current), jnp.where(back, 1, left)
    fits = free & (demands <= left + SLACK)
    row = jnp.where(fits, costs.leaving(current), jnp.inf)
    node = jnp.argmin(row).astype(jnp.int32)
    left = left - demands[node]
    return (node, left, free.at[node].set(False)), (node, back)

  start = (jnp.int32(0), jnp.ones((), demands.dtype), free)
  _, (order, opened) = jax.lax.scan(step, start, length=num - 1)
  # A way back before a customer is one after the customer before.
  return _problem.Routes(order, jnp.roll(opened.at[0].set(True), -1))


def savings(
  instance: _problem.Instance,
  *,
  back: bool = True,
  num_neighbors: int = 100,
) -> _problem.Routes:
  """Joins routes of one customer where that saves most, as long as they fit.

  Args:
    instance: `points f[N + 1, 2]` and `demands f[N + 1]`, none above 1.
    back: whether the way back to the depot counts (static); without, a route
      keeps its direction, and joining i to j saves d(0, j) - d(i, j).
    num_neighbors: only pairs (i, j) with j among so many nearest of i are
      joined (static); all pairs where it is at least N - 1.

  Returns:
    The routes.

  Raises:
    ValueError: if there is no neighbor.

  Cost: O(N²) time for neighbors, O(N K log N K) for K of them, O(N K) memory.

  Example:
    >>> points = jnp.array([[0.0, 0], [4, 0], [4, 1], [0, 3]])
    >>> demands = jnp.array([0.0, 0.5, 0.5, 0.5])
    >>> routes = savings({'points': points, 'demands': demands})
    >>> print(routes.order, routes.last)
    [1 2 3] [False  True  True]

  Source: Clarke and Wright 1964.
  """
  checks.integer(num_neighbors, name='num_neighbors', low=1)
  back = checks.flag(back, name='back')
  costs = _costs.costs_of(instance)
  return _savings(
    costs,
    jnp.asarray(instance['demands']),
    back=back,
    num_neighbors=min(num_neighbors, costs.num_nodes - 2),
  )


def _nearest_rows(costs, count):
  """Nearest customers of each customer, i32[N, K], without itself."""
  nodes = jnp.arange(1, costs.num_nodes)

  def row(i):
    blocked = (jnp.arange(costs.num_nodes) == i).at[0].set(True)
    near = jnp.where(blocked, -jnp.inf, -costs.leaving(i))
    return jax.lax.top_k(near, count)[1].astype(jnp.int32)

  return jax.lax.map(row, nodes, batch_size=256)


@functools.partial(jax.jit, static_argnames=('back', 'num_neighbors'))
def _savings(costs, demands, *, back, num_neighbors):
  num = costs.num_nodes
  ids = jnp.arange(num, dtype=jnp.int32)
  if num_neighbors < 1:  # One customer.
    return _problem.Routes(ids[1:], jnp.ones(num - 1, bool))
  near = _nearest_rows(costs, num_neighbors)
  i, j = jnp.repeat(ids[1:], num_neighbors), near.ravel()
  home = costs.leaving(0)
  saved = (home[i] if back else 0) + home[j] - costs.between(i, j)
  ranks = jnp.argsort(-saved, stable=True)

  def step(state, pair):
    """Joins the end i of a route to the end j of another."""
    i, j, saved = pair
    links, ends, loads = state
    # links[:, 1] follows and links[:, 0] comes before; where ways back count
    # routes have no direction, and any free side will do.
    side_i = jnp.where(back & (links[i, 1] > 0), 0, 1)
    side_j = jnp.where(back & (links[j, 0] > 0), 1, 0)
    open_ = (links[i, side_i] == 0) & (links[j, side_j] == 0)
    fits = loads[i] + loads[j] <= 1 + SLACK
    joined = (saved > 0) & open_ & (ends[i] != j) & fits
    put = lambda x, where, value: x.at[where].set(
      jnp.where(joined, value, x[where])
    )
    a, b, load = ends[i], ends[j], loads[i] + loads[j]
    links = put(put(links, (i, side_i), j), (j, side_j), i)
    ends = put(put(ends, a, b), b, a)
    loads = put(put(loads, a, load), b, load)
    return (links, ends, loads), None

  start = (jnp.zeros((num, 2), jnp.int32), ids, demands)
  pairs = (i[ranks], j[ranks], saved[ranks])
  (links, ends, _), _ = jax.lax.scan(step, start, pairs)
  return _walk_routes(links, ends, directed=not back)


def _walk_routes(links, ends, *, directed):
  """Reads routes out of links between customers, lowest end first."""
  num = len(links)
  ids = jnp.arange(num, dtype=jnp.int32)
  single = (links == 0).all(1)
  end = (links == 0).any(1)
  first = (links[:, 0] == 0) if directed else end & (single | (ids < ends))
  first = first.at[0].set(False)
  # The start of the next route, by the lowest index after each.
  following = jax.lax.cummin(jnp.where(first, ids, num), reverse=True)

  def step(carry, _):
    node, before, fresh = carry
    a, b = links[node, 0], links[node, 1]
    onward = b if directed else jnp.where(a == before, b, a)
    # The first of a route has one link, on either side.
    onward = jnp.where(
      (before == 0) & (not directed), jnp.maximum(a, b), onward
    )
    last = onward == 0
    opened = following[jnp.minimum(fresh + 1, num - 1)]
    opened = jnp.minimum(opened, num - 1).astype(jnp.int32)
    carry = (
      jnp.where(last, opened, onward),
      jnp.where(last, 0, node),
      jnp.where(last, opened, fresh),
    )
    return carry, (node, last)

  opened = following[1].astype(jnp.int32)
  start = (opened, jnp.int32(0), opened)
  _, (order, last) = jax.lax.scan(step, start, length=num - 1)
  return _problem.Routes(order, last)


def sweep(
  instance: _problem.Instance, *, start: float = 0.0
) -> _problem.Routes:
  """Cuts customers in the order of their angle about the depot into routes.

  A vehicle takes customers as long as they fit; where salesmen are counted,
  each gets equally many, but for one. Inside of a route the nearest comes
  next.

  Args:
    instance: `points f[N + 1, 2]`, and `demands f[N + 1]` or `num_salesmen`.
    start: angle of the first, in radians (traced).

  Returns:
    The routes.

  Cost: O(N²) time, O(N) memory.

  Example:
    >>> points = jnp.array([[0.0, 0], [1, 1], [-1, -1], [1, 2]])
    >>> routes = sweep({'points': points, 'num_salesmen': jnp.int32(2)})
    >>> print(routes.order, routes.last)
    [1 3 2] [False  True  True]

  Source: Gillett and Miller 1974.
  """
  checks.number(start, name='start')
  costs = _costs.costs_of(instance)
  rays = costs.points[1:] - costs.points[:1]
  angle = jnp.mod(jnp.arctan2(rays[:, 1], rays[:, 0]) - start, 2 * math.pi)
  order = 1 + jnp.argsort(angle, stable=True).astype(jnp.int32)
  num = len(order)
  if 'num_salesmen' in instance:
    cuts = jnp.arange(num) * jnp.asarray(instance['num_salesmen']) // num
  else:
    cuts = _cut(jnp.asarray(instance['demands'])[order])
  return _nearest_inside(
    costs, jnp.zeros_like(order, shape=num + 1).at[order].set(cuts)
  )


def _cut(demands):
  """Number of the route of each customer, when filled in turn."""

  def step(carry, demand):
    load, route = carry
    full = load + demand > 1 + SLACK
    route = route + full
    return (jnp.where(full, demand, load + demand), route), route

  start = (jnp.zeros((), demands.dtype), jnp.int32(0))
  return jax.lax.scan(step, start, demands)[1]


@jax.jit
def _nearest_inside(costs, routes):
  """One route after the other, the nearest of its customers next."""
  num = costs.num_nodes
  free = jnp.ones(num, bool).at[0].set(False)

  def step(carry, _):
    current, route, free = carry
    inside = free & (routes == route)
    done = ~inside.any()
    route, current = route + done, jnp.where(done, 0, current)
    inside = free & (routes == route)
    row = jnp.where(inside, costs.leaving(current), jnp.inf)
    node = jnp.argmin(row).astype(jnp.int32)
    return (node, route, free.at[node].set(False)), (node, done)

  start = (jnp.int32(0), routes[0] * 0, free)
  _, (order, opened) = jax.lax.scan(step, start, length=num - 1)
  return _problem.Routes(order, jnp.roll(opened.at[0].set(True), -1))


def shortest_route_next(
  instance: _problem.Instance, *, max_routes: int | None = None
) -> _problem.Routes:
  """Gives salesmen customers, one at a time, so that the route is shortest.

  Of all routes and all free customers it takes the pair whose route, with the
  customer at its end and the way back, is shortest. Every salesman gets one.

  Args:
    instance: `points f[N + 1, 2]` and `num_salesmen i32[]`, at most N.
    max_routes: most salesmen there may be (static); None for what
      `num_salesmen` says, or N where it is traced.

  Returns:
    The routes; ties go to the lowest route, then customer.

  Cost: O(N² M) time for M salesmen, O(N M) memory.

  Example:
    >>> points = jnp.array([[0.0, 0], [1, 0], [2, 0], [-2, 0]])
    >>> routes = shortest_route_next({'points': points, 'num_salesmen': 2})
    >>> print(routes.order, routes.last)
    [1 2 3] [False  True  True]
  """
  costs = _costs.costs_of(instance)
  salesmen = instance['num_salesmen']
  if max_routes is None:
    known = not isinstance(salesmen, jax.core.Tracer)
    max_routes = int(salesmen) if known else costs.num_nodes - 1
  checks.integer(max_routes, name='max_routes', low=1, high=costs.num_nodes - 1)
  return _shortest_next(costs, jnp.asarray(salesmen), max_routes=max_routes)


@functools.partial(jax.jit, static_argnames='max_routes')
def _shortest_next(costs, salesmen, *, max_routes):
  num = costs.num_nodes
  home = costs.leaving(0)
  exists = jnp.arange(max_routes) < salesmen

  def step(state, k):
    at, lengths, free = state
    rows = jax.vmap(costs.leaving)(at)
    closed = lengths[:, None] + rows + home[None]
    needed = (exists & (at == 0)).sum()
    opens = exists & ((at == 0) | (num - 1 - k > needed))
    closed = jnp.where(opens[:, None] & free[None], closed, jnp.inf)
    route, node = jnp.divmod(jnp.argmin(closed), num)
    length = lengths[route] + rows[route, node]
    state = (
      at.at[route].set(node.astype(jnp.int32)),
      lengths.at[route].set(length),
      free.at[node].set(False),
    )
    return state, (node.astype(jnp.int32), route)

  start = (
    jnp.zeros(max_routes, jnp.int32),
    jnp.zeros(max_routes, costs.dtype),
    jnp.ones(num, bool).at[0].set(False),
  )
  _, (nodes, routes) = jax.lax.scan(step, start, jnp.arange(num - 1))
  ranks = jnp.argsort(routes, stable=True)
  routes = routes[ranks]
  last = (routes != jnp.roll(routes, -1)).at[-1].set(True)
  return _problem.Routes(nodes[ranks], last)


def routes_of(solution: _problem.Routes) -> list[list[int]]:
  """Lists routes on the host.

  Args:
    solution: order and ends, perhaps rolled.

  Returns:
    Customers of each route; a route of which a part stands at the end is the
    first one.

  Example:
    >>> order, last = jnp.array([3, 1, 2]), jnp.array([False, True, True])
    >>> routes_of(_problem.Routes(order, last))
    [[3, 1], [2]]
  """
  out: list[list[int]] = [[]]
  for node, last in zip(
    map(int, solution.order), map(bool, solution.last), strict=True
  ):
    out[-1].append(node)
    if last:
      out.append([])
  # What stands at the end goes on at the beginning.
  tail = out.pop()
  if tail:
    out = [tail + out[0], *out[1:]] if out else [tail]
  return out


def from_routes(routes: list[list[int]]) -> _problem.Routes:
  """Makes a solution of lists of customers.

  Args:
    routes: customers of each; empty ones are left out.

  Returns:
    The solution.

  Example:
    >>> from_routes([[3, 1], [], [2]]).last.tolist()
    [False, True, True]
  """
  full = [r for r in routes if len(r)]
  order = [int(c) for r in full for c in r]
  last = [k == len(r) - 1 for r in full for k in range(len(r))]
  return _problem.Routes(jnp.asarray(order, jnp.int32), jnp.asarray(last, bool))


def routes_length(
  instance: _problem.Instance, solution: _problem.Routes, *, back: bool = True
) -> chex.Array:
  """Lengths of the routes by their last customers.

  Args:
    instance: with `points f[N + 1, 2]`.
    solution: routes, perhaps rolled.
    back: whether the way back to the depot counts (static).

  Returns:
    f[N]: at the position of the last customer of a route its length, 0
    elsewhere; the sum in float32 at least.

  Example:
    >>> points = jnp.array([[0.0, 0], [1, 0], [2, 0], [-2, 0]])
    >>> routes = from_routes([[1, 2], [3]])
    >>> print(routes_length({'points': points}, routes))
    [0. 4. 4.]
  """
  costs = _costs.costs_of(instance)
  order, last = solution.order, solution.last
  before = jnp.where(jnp.roll(last, 1), 0, jnp.roll(order, 1))
  legs = costs.between(before, order)
  if back:
    legs = legs + jnp.where(last, costs.leaving(0)[order], 0)
  legs = legs.astype(jnp.promote_types(costs.dtype, jnp.float32))
  # The number of the route of each position; the last may be the first.
  number = (jnp.cumsum(last) - last) % jnp.maximum(last.sum(), 1)
  totals = jax.ops.segment_sum(legs, number, num_segments=len(order))
  return jnp.where(last, totals[number], 0)
