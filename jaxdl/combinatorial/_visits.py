# SPDX-License-Identifier: Apache-2.0
"""What problems share whose tours go through some of the nodes."""

from collections.abc import Callable
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp

from jaxdl.combinatorial import _geometry, _problem, _tours
from jaxdl.core import checks

# What a length or a prize may miss its bound by: rounding. Of a piece it is
# less, since many stages add up.
SLACK = 1e-5
PIECE_SLACK = 1e-6


def starts(
  instance: _problem.Instance, key: chex.PRNGKey, num_samples: int
) -> chex.Array:
  """First nodes, i32[A]: the depot."""
  del instance, key
  return jnp.zeros((num_samples,), jnp.int32)


def start(num_nodes: int, first: chex.Array, **extra: Any) -> _problem.Cursor:
  """A construction at its first node.

  Args:
    num_nodes: N.
    first: i32[].
    **extra: sums that the problem keeps.

  Returns:
    The cursor.
  """
  visited = jnp.arange(num_nodes) == first
  first = jnp.asarray(first, jnp.int32)
  return _problem.Cursor(first, first, visited, jnp.all(visited), extra)


def move(
  cursor: _problem.Cursor, action: chex.Array, **extra: Any
) -> _problem.Cursor:
  """Goes to a node; back at the depot, or without nodes left, all is done."""
  visited = cursor.visited.at[action].set(True)
  done = cursor.done | (action == 0) | jnp.all(visited)
  return _problem.Cursor(
    cursor.first, jnp.asarray(action, jnp.int32), visited, done, extra
  )


def or_home(
  cursor: _problem.Cursor, may: chex.Array, home: chex.Numeric
) -> chex.Array:
  """Adds the way back to the depot to what is allowed.

  Args:
    cursor: where the construction stands.
    may: bool[N], nodes that could be next.
    home: bool[], whether the tour may end here in any case. It also ends where
      nothing else is left.

  Returns:
    bool[N], never all false; the depot alone when all is done.
  """
  may = may & ~cursor.visited & ~cursor.done
  return may.at[0].set(jnp.asarray(home) | ~jnp.any(may))


def finish(num_nodes: int, actions: chex.Array) -> _problem.Visits:
  """The tour of N - 1 decisions, from the depot.

  Args:
    num_nodes: N.
    actions: i32[T], 0 from where the tour is closed.

  Returns:
    Nodes of the tour in turn, then the others by index.

  Example:
    >>> order, visited = finish(4, jnp.array([2, 1, 0]))
    >>> order.tolist(), visited.tolist()
    ([0, 2, 1, 3], [True, True, True, False])
  """
  depot = jnp.zeros((1,), jnp.int32)
  nodes = jnp.concatenate([depot, actions.astype(jnp.int32)])
  return in_turn(nodes, (nodes != 0).at[0].set(True), num_nodes)


def in_turn(
  nodes: chex.Array, there: chex.Array, num_nodes: int
) -> _problem.Visits:
  """Puts decided nodes in turn, then the others by index.

  Args:
    nodes: i32[T], different ones where `there`.
    there: bool[T], which decisions count.
    num_nodes: N.

  Returns:
    The tour or path, leaves [N].

  Cost: O(N + T).

  Example:
    >>> in_turn(jnp.array([2, 1, 2]), jnp.array([True, True, False]), 4).order
    Array([2, 1, 0, 3], dtype=int32)
  """
  at = jnp.arange(num_nodes, dtype=jnp.int32)
  where = jnp.where(there, nodes, num_nodes)
  inside = jnp.zeros((num_nodes,), bool).at[where].set(True, mode='drop')
  place = jnp.where(there, jnp.cumsum(there) - 1, num_nodes)
  order = jnp.zeros((num_nodes,), jnp.int32).at[place].set(nodes, mode='drop')
  count = jnp.sum(there)
  rest = jnp.where(inside, num_nodes, count - 1 + jnp.cumsum(~inside))
  return _problem.Visits(order.at[rest].set(at, mode='drop'), at < count)


def packed(
  order: chex.Array, visited: chex.Array
) -> tuple[chex.Array, chex.Array]:
  """Puts the nodes of a tour first, in their order.

  Args:
    order: i32[N].
    visited: bool[N] along it.

  Returns:
    i32[N], nodes of the tour in turn, then the others; and i32[], how many
    there are in the tour.

  Cost: O(N).

  Example:
    >>> packed(jnp.array([3, 0, 2]), jnp.array([False, True, True]))[0].tolist()
    [0, 2, 3]
  """
  inside = jnp.cumsum(visited)
  count = inside[-1]
  place = jnp.where(visited, inside - 1, count - 1 + jnp.cumsum(~visited))
  return jnp.zeros_like(order).at[place].set(order), count


def members(solution: _problem.Visits) -> chex.Array:
  """Which nodes are in a tour, bool[N] by node."""
  none = jnp.zeros(solution.order.shape, bool)
  return none.at[solution.order].set(solution.visited)


def total(values: chex.Array, inside: chex.Array) -> chex.Array:
  """Sum of values f[N] of some nodes bool[N], in float32 at least.

  It does not depend on the order in which a tour goes through them.
  """
  kind = jnp.promote_types(values.dtype, jnp.float32)
  return jnp.sum(jnp.where(inside, values, 0), dtype=kind)


def away(points: chex.Array, node: chex.Numeric) -> chex.Array:
  """How far all points f[N, 2] are from one of them, f[N]."""
  return _geometry.distance(points, points[node][None])


def tour_length(points: chex.Array, solution: _problem.Visits) -> chex.Array:
  """Length of the closed tour through the visited nodes.

  Args:
    points: f[N, 2].
    solution: a tour.

  Returns:
    f[]; 0 of the depot alone.

  Example:
    >>> points = jnp.array([[0.0, 0.0], [3.0, 4.0], [9.0, 9.0]])
    >>> order, visited = jnp.arange(3), jnp.array([True, True, False])
    >>> tour_length(points, _problem.Visits(order, visited))
    Array(10., dtype=float32)
  """
  nodes, count = packed(*solution)
  nodes = jnp.where(jnp.arange(nodes.shape[0]) < count, nodes, nodes[0])
  return _geometry.tour_length(points[nodes])


def is_tour(solution: _problem.Visits, num_nodes: int) -> chex.Array:
  """Whether every node stands in a solution once and the depot is visited."""
  proper = _tours.is_tour(solution.order, num_nodes)
  return proper & members(solution)[0]


class Parts(NamedTuple):
  """Where a tour was cut.

  Attributes:
    nodes: i32[P, n].
    visited: bool[P, n] along them; those of one piece follow one another in the
      tour. Where there are two at least, they come first and last.
    rolled: the whole solution in that order.
  """

  nodes: chex.Array
  visited: chex.Array
  rolled: _problem.Visits


def split(
  solution: _problem.Visits,
  size: int,
  shift: chex.Numeric,
  key: chex.PRNGKey,
) -> Parts:
  """Cuts a tour into pieces and mixes them with nodes outside of it.

  All nodes are permuted at random; the places that nodes of the tour have then
  are filled with them in the order of the rolled tour.

  Args:
    solution: of N nodes.
    size: n.
    shift: by how many places the solution is rolled, traced.
    key: consumed.

  Returns:
    The pieces.

  Raises:
    ValueError: if there is not one piece.

  Source: Zheng et al. 2024 (https://arxiv.org/abs/2407.00312), appendix, OP.
  """
  num_nodes = solution.order.shape[0]
  n = _tours.check_piece(size, num_nodes)
  order, visited = (jnp.roll(x, shift) for x in solution)
  nodes, _ = packed(order, visited)
  mixed = jax.random.permutation(key, num_nodes).astype(order.dtype)
  inside = members(solution)[mixed]
  order = jnp.where(inside, nodes[jnp.cumsum(inside) - 1], mixed)
  count = num_nodes // n
  cut = lambda x: x[: count * n].reshape(count, n)
  places = jax.vmap(_outward)(cut(inside))
  turned = lambda x: jnp.take_along_axis(cut(x), places, axis=1)
  nodes, visited = turned(order), turned(inside)
  whole = lambda part, x: jnp.concatenate([part.ravel(), x[count * n :]])
  rolled = _problem.Visits(whole(nodes, order), whole(visited, inside))
  return Parts(nodes, visited, rolled)


def _outward(visited):
  """Places of a piece, such that nodes of the tour come first and last.

  Only two nodes outside of the tour change places with them.
  """
  n = visited.shape[0]
  at = jnp.arange(n)
  first, last = jnp.argmax(visited), n - 1 - jnp.argmax(visited[::-1])
  swap = lambda a, b: jnp.where(at == a, b, jnp.where(at == b, a, at))
  return jnp.where(first < last, swap(0, first)[swap(n - 1, last)], at)


def merge(
  rolled: _problem.Visits, candidates: _problem.Visits
) -> _problem.Visits:
  """Puts pieces back.

  Args:
    rolled: of `split`.
    candidates: leaves [P, n], orders of places within a piece.

  Returns:
    The whole solution.
  """
  count, n = candidates.order.shape
  nodes = rolled.order[: count * n].reshape(count, n)
  nodes = jnp.take_along_axis(nodes, candidates.order, axis=1)
  put = lambda new, old: jnp.concatenate([new.ravel(), old[count * n :]])
  return _problem.Visits(
    put(nodes, rolled.order), put(candidates.visited, rolled.visited)
  )


def kept_if(
  fine: chex.Array, new: _problem.Visits, old: _problem.Visits
) -> _problem.Visits:
  """The new solution where it is fine, else the old one."""
  return jax.tree.map(lambda a, b: jnp.where(fine, a, b), new, old)


def to_first(
  active: chex.Array, amounts: chex.Array, more: chex.Array
) -> chex.Array:
  """Gives what is left over to the first active piece.

  Args:
    active: bool[P].
    amounts: f[P].
    more: f[].

  Returns:
    f[P]; nobody gets it if no piece is active.

  Example:
    >>> to_first(jnp.array([False, True, True]), jnp.zeros(3), 2.0).tolist()
    [0.0, 2.0, 0.0]
  """
  here = jnp.arange(active.shape[0]) == jnp.argmax(active)
  return amounts + jnp.where(here & active, more, 0)


def sizes(num_nodes: int, size: int) -> None:
  """Raises ValueError unless pieces of one size cover all nodes."""
  _tours.multiples(num_nodes, size)


def num_steps(instance: _problem.Instance) -> int:
  """Decisions of a construction: the depot is there already."""
  return instance['points'].shape[0] - 1


def check(
  instance: _problem.Instance, numbers: tuple[str, ...], bound: str
) -> None:
  """Checks what instances of these problems hold, on the host.

  Args:
    instance: with `points`, row 0 is the depot.
    numbers: names of arrays f[N] besides, finite and >= 0, 0 of the depot.
    bound: name of a number >= 0.

  Raises:
    ValueError: if something is missing, has another shape or is out of range.
  """
  for name in ('points', *numbers, bound):
    if name not in instance:
      raise ValueError(f'instance has no {name!r}; it has {sorted(instance)}.')
  num_nodes = _geometry.check_coords(instance['points'])
  for name in numbers:
    values = checks.host_array(instance[name], name=name)
    if values.shape != (num_nodes,):
      raise ValueError(
        f'{name} must be f[N], a number per point, N = {num_nodes}; got shape '
        f'{values.shape}.'
      )
    checks.known(values, name=name, low=0.0)
    if values[0] != 0:
      raise ValueError(
        f'{name}[0] must be 0, node 0 is the depot; got {float(values[0])}.'
      )
  shape = checks.host_array(instance[bound], name=bound).shape
  if shape != ():
    raise ValueError(f'{bound} must be one number; got shape {shape}.')
  checks.known(instance[bound], name=bound, low=0.0)


def divide(
  *,
  neighbors: Callable[..., _problem.Neighbors],
  start: Callable[..., _problem.Cursor],
  allowed: Callable[..., chex.Array],
  move: Callable[..., _problem.Cursor],
) -> _problem.Divide:
  """A `Divide` of what is particular to a problem."""
  return _problem.Divide(
    neighbors=neighbors,
    starts=starts,
    start=start,
    allowed=allowed,
    move=move,
    num_steps=num_steps,
    finish=lambda instance, first, actions: finish(
      instance['points'].shape[0], actions
    ),
    single_start=True,
  )
