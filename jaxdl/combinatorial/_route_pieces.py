# SPDX-License-Identifier: Apache-2.0
"""Pieces of routes: n customers in a row, and what the rest allows them."""

from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp

from jaxdl.combinatorial import _geometry, _problem, _routes

# Of loads in pieces, so that both halves of a route that is cut stay within
# the tolerance of a whole one.
MARGIN = 2.5e-6


class Part(NamedTuple):
  """How a piece is served.

  Attributes:
    order: i32[n], its customers, nodes 1..n of the piece.
    last: bool[n], whether the depot comes after this customer.
  """

  order: chex.Array
  last: chex.Array


def cut(
  instance: _problem.Instance,
  routes: _problem.Routes,
  size: int,
  shift: chex.Numeric,
) -> tuple[dict[str, chex.Array], _problem.Routes]:
  """Sorts routes by angle, rolls them and cuts them into pieces.

  Args:
    instance: with `points`, the depot first.
    routes: that serve all customers.
    size: n (static).
    shift: by how many places, traced.

  Returns:
    P = N // n pieces, and the rolled routes. Of each piece,

    - `ids`: i32[n + 1], its nodes, the depot first; `points` likewise.
    - `last`: bool[n], where its routes end.
    - `closed`: bool[], whether it ends at the depot.
    - `whole`: bool[], whether no route ends in it: it is the middle of one.
    - `visits`: bool[V], whose length is the most visits to the depot; 1.5 times
      the average share of a piece and 3 more.

  Raises:
    ValueError: if there is not one piece.
  """
  count = _routes.num_customers(instance)
  _routes.check_piece(size, count)
  routes = _routes.by_angle(instance['points'], routes)
  rolled = jax.tree.map(lambda x: jnp.roll(x, shift), routes)
  num = count // size
  order = rolled.order[: num * size].reshape(num, size)
  last = rolled.last[: num * size].reshape(num, size)
  ids = jnp.pad(order, ((0, 0), (1, 0)))
  share = -(-3 * size * _routes.most_routes(instance) // (2 * count))
  pieces = {
    'ids': ids,
    'points': instance['points'][ids],
    'last': last,
    'closed': last[:, -1],
    'whole': ~jnp.any(last, axis=1),
    'visits': jnp.ones((num, min(size, share + 3)), bool),
  }
  return pieces, rolled


def border_budgets(
  tail: chex.Array, head: chex.Array, capacity: chex.Numeric = 1.0
) -> tuple[chex.Array, chex.Array]:
  """Shares the capacity of a route that the border of two pieces cuts.

  Each side gets half, or what it has now where that is more; all of it where
  the other side has nothing.

  Args:
    tail: f[...], demand before the border, in the piece that ends there.
    head: f[...], demand behind it; `tail + head <= capacity`.
    capacity: f[...], what others leave of the vehicle.

  Returns:
    The most that either side may have, f[...] each; they sum to the capacity.

  Example:
    >>> print(*border_budgets(jnp.array(0.7), jnp.array(0.2)))
    0.7 0.3

  Source: Zheng et al. 2024 (https://arxiv.org/abs/2407.00312), pieces of CVRP.
  """
  half = capacity / 2
  first = jnp.where(head >= half, capacity - head, half)
  first = jnp.where(tail >= half, tail, first)
  first = jnp.where(tail > 0, first, 0)
  first = jnp.where((head > 0) | (tail <= 0), first, capacity)
  return first, capacity - first


def borders(
  demands: chex.Array,
  routes: _problem.Routes,
  pieces: dict[str, chex.Array],
) -> tuple[chex.Array, chex.Array]:
  """The loads that the first and the last route of pieces may have.

  A route that is cut has a tail in one piece, a head in another and perhaps
  customers in between that stay as they are: in pieces that it covers wholly,
  and in the rest that is in no piece.

  Args:
    demands: f[N + 1] of an instance.
    routes: rolled.
    pieces: of `cut`.

  Returns:
    Budgets of heads and of tails, f[P] each; 1 for a head that starts at the
    depot, 0 for a tail of a piece that ends there.
  """
  count, size = pieces['last'].shape
  num = routes.order.shape[0]
  numbers = _routes.route_numbers(routes.last)
  dtype = jnp.promote_types(demands.dtype, jnp.float32)
  demand = demands[routes.order].astype(dtype)
  whole = jnp.pad(jnp.repeat(pieces['whole'], size), (0, num - count * size),
    constant_values=True)  # fmt: skip
  fixed = jnp.minimum(_routes.sums(jnp.where(whole, demand, 0), numbers), 1)
  here = demand[: count * size].reshape(count, size)
  ends = pieces['last'].astype(jnp.int32)
  past = jnp.cumsum(ends, axis=1)
  heads = jnp.sum(jnp.where(past - ends == 0, here, 0), axis=1)
  tails = jnp.sum(jnp.where(past - ends == past[:, -1:], here, 0), axis=1)
  firsts = numbers[: count * size : size]
  finals = numbers[size - 1 : count * size : size]
  fresh = jnp.roll(routes.last, 1)[: count * size : size]
  cut_head = ~fresh & ~pieces['whole']
  cut_tail = ~pieces['closed'] & ~pieces['whole']
  of_route = lambda which, cut, values: (
    jnp.zeros((num,), dtype)
    .at[jnp.where(cut, which, num)]
    .set(values, mode='drop')
  )
  tail, head = border_budgets(
    of_route(finals, cut_tail, tails), of_route(firsts, cut_head, heads),
    1 - fixed,
  )  # fmt: skip
  return (
    jnp.where(cut_head, head[firsts], 1),
    jnp.where(cut_tail, tail[finals], 0),
  )


def size_of(piece: dict[str, chex.Array]) -> int:
  """n, from shapes."""
  return piece['last'].shape[0]


def num_steps(n: int) -> int:
  """Decisions on n - 1 customers and as many visits to the depot."""
  return 2 * (n - 1)


def piece_steps(piece: dict[str, chex.Array]) -> int:
  """Decisions on n - 1 customers and V visits to the depot."""
  return size_of(piece) - 1 + piece['visits'].shape[-1]


def current(piece: dict[str, chex.Array]) -> Part:
  """A piece as it is."""
  n = size_of(piece)
  return Part(jnp.arange(1, n + 1, dtype=jnp.int32), piece['last'])


def finish(
  piece: dict[str, chex.Array], done: chex.Array, actions: chex.Array
) -> Part:
  """The routes of decisions; the piece as it is where they do not suffice.

  Args:
    piece: one.
    done: bool[], whether all customers are served.
    actions: i32[T], those after the first customer.

  Returns:
    The candidate.
  """
  n = size_of(piece)
  first = jnp.ones((1,), actions.dtype)
  found = _routes.from_actions(jnp.concatenate([first, actions]), n)
  last = found.last.at[-1].set(piece['closed'])
  part = Part(found.order.astype(jnp.int32), last)
  return jax.tree.map(lambda a, b: jnp.where(done, a, b), part, current(piece))


def merge(
  rolled: _problem.Routes, pieces: dict[str, chex.Array], parts: Part
) -> _problem.Routes:
  """Puts pieces back, each as its candidate says."""
  order = jnp.take_along_axis(pieces['ids'], parts.order, axis=1)
  done = order.size
  return _problem.Routes(
    jnp.concatenate([order.ravel(), rolled.order[done:]]),
    jnp.concatenate([parts.last.ravel(), rolled.last[done:]]),
  )


def arrivals(piece: dict[str, chex.Array], part: Part) -> chex.Array:
  """Legs to each customer but the first, which comes from outside: f[n]."""
  legs = _routes.arrivals(piece['points'], part)
  return legs.at[0].set(0)


def homes(piece: dict[str, chex.Array], part: Part) -> chex.Array:
  """Legs back to the depot where routes end, f[n]."""
  points = piece['points']
  back = _geometry.distance(points[part.order], points[:1])
  return jnp.where(part.last, back, 0)


class Walk(NamedTuple):
  """Where the decisions on a piece stand.

  Attributes:
    last: i32[], the node decided last.
    visited: bool[n + 1], nodes that are served; the depot counts as such.
    done: bool[], whether all are.
    extra: what the problem keeps besides.
  """

  last: chex.Array
  visited: chex.Array
  done: chex.Array
  extra: Any


def walk_start(piece: dict[str, chex.Array], extra: Any) -> Walk:
  """At the first customer, which stays first."""
  visited = jnp.arange(size_of(piece) + 1) < 2
  return Walk(jnp.ones((), jnp.int32), visited, jnp.all(visited), extra)


def waiting(piece: dict[str, chex.Array], walk: Walk) -> chex.Array:
  """Customers who wait and may be last but one: bool[n + 1].

  The last customer of a piece that does not end at the depot is no such one.
  """
  at = jnp.arange(walk.visited.shape[0])
  kept = (at == walk.visited.shape[0] - 1) & ~piece['closed']
  return ~walk.visited & ~kept


def walk_move(walk: Walk, action: chex.Array, extra: Any) -> Walk:
  """Goes to a node; nothing changes where all is done."""
  visited = walk.visited.at[action].set(True)
  moved = Walk(action.astype(jnp.int32), visited, jnp.all(visited), extra)
  return jax.tree.map(lambda a, b: jnp.where(walk.done, a, b), walk, moved)


def end(piece: dict[str, chex.Array]) -> chex.Array:
  """The node a piece must end at: its last customer or the depot."""
  return jnp.where(piece['closed'], 0, size_of(piece)).astype(jnp.int32)
