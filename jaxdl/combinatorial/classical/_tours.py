# SPDX-License-Identifier: Apache-2.0
"""Tours by rules that need no training: nearest neighbor and insertion."""

import functools
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp

from jaxdl.combinatorial import _problem
from jaxdl.combinatorial.classical import _costs
from jaxdl.core import checks, keys


def tour_length(instance: _problem.Instance, order: chex.Array) -> chex.Array:
  """Measures a closed tour.

  Args:
    instance: with `points` or `costs`.
    order: i32[L], nodes in turn.

  Returns:
    f[]; the sum in float32 at least.

  Example:
    >>> square = {'points': jnp.array([[0.0, 0], [1, 0], [1, 1], [0, 1]])}
    >>> print(tour_length(square, jnp.arange(4)))
    4.0
  """
  costs = _costs.costs_of(instance)
  legs = costs.between(order, jnp.roll(order, -1))
  return legs.astype(jnp.promote_types(costs.dtype, jnp.float32)).sum()


def nearest_neighbor(
  instance: _problem.Instance, *, start: int | None = 0, key=None
) -> _problem.Tour:
  """Goes to the nearest node that was not visited yet, from a first one on.

  Args:
    instance: `points f[N, 2]` or `costs f[N, N]`.
    start: the first node; None for a random one.
    key: consumed where `start` is None.

  Returns:
    The tour; ties go to the lowest index.

  Raises:
    ValueError: if `start` is no node.

  Cost: O(N²) time, O(N) memory.

  Example:
    >>> line = {'points': jnp.array([[0.0, 0], [3, 0], [1, 0], [2, 0]])}
    >>> print(nearest_neighbor(line).order)
    [0 2 3 1]
  """
  costs = _costs.costs_of(instance)
  first = _first(start, costs.num_nodes, key)
  return _problem.Tour(_nearest(costs, first))


def _first(start, num_nodes, key):
  if start is None:
    keys.check_key(key)
    return jax.random.randint(key, (), 0, num_nodes)
  return jnp.int32(
    checks.integer(start, name='start', low=0, high=num_nodes - 1)
  )


@jax.jit
def _nearest(costs, first):
  free = jnp.ones(costs.num_nodes, bool).at[first].set(False)

  def step(carry, _):
    current, free = carry
    row = jnp.where(free, costs.leaving(current), jnp.inf)
    following = jnp.argmin(row).astype(jnp.int32)
    return (following, free.at[following].set(False)), following

  first = first.astype(jnp.int32)
  _, rest = jax.lax.scan(step, (first, free), length=costs.num_nodes - 1)
  return jnp.concatenate([first[None], rest])


class Ring(NamedTuple):
  """A closed tour as a linked list.

  Attributes:
    following: i32[M], the next node; of nodes outside, themselves.
    inside: bool[M].
    legs: f[M], cost to the next node; infinite outside.
  """

  following: chex.Array
  inside: chex.Array
  legs: chex.Array


def ring(costs: _costs.Costs, first: chex.Array) -> Ring:
  """The tour of one node."""
  ids = jnp.arange(costs.num_nodes, dtype=jnp.int32)
  inside = ids == first
  return Ring(ids, inside, jnp.where(inside, 0, jnp.inf).astype(costs.dtype))


def insert(costs: _costs.Costs, tour: Ring, node: chex.Array) -> Ring:
  """Puts a node where it costs least.

  Args:
    costs: of the instance.
    tour: without the node.
    node: i32[].

  Returns:
    The longer tour.

  Cost: O(M).
  """
  there, back = costs.reaching(node), costs.leaving(node)
  added = there + back[tour.following] - tour.legs
  place = jnp.argmin(jnp.where(tour.inside, added, jnp.inf))
  after = tour.following[place]
  return Ring(
    tour.following.at[place].set(node).at[node].set(after),
    tour.inside.at[node].set(True),
    tour.legs.at[place].set(there[place]).at[node].set(back[after]),
  )


def walk(tour: Ring, first: chex.Array) -> chex.Array:
  """Nodes of a ring in turn, i32[M]; after a whole round, again."""

  def step(node, _):
    return tour.following[node], node

  first = jnp.asarray(first, jnp.int32)
  return jax.lax.scan(step, first, length=len(tour.following))[1]


def random_insertion(
  instance: _problem.Instance, *, key: chex.PRNGKey
) -> _problem.Tour:
  """Puts nodes in random order where each costs least.

  Args:
    instance: `points f[N, 2]` or `costs f[N, N]`.
    key: consumed.

  Returns:
    The tour.

  Cost: O(N²) time, O(N) memory.

  Example:
    >>> points = jax.random.uniform(jax.random.key(0), (30, 2))
    >>> tour = random_insertion({'points': points}, key=jax.random.key(1))
    >>> sorted(tour.order.tolist()) == list(range(30))
    True

  Source: Rosenkrantz, Stearns and Lewis 1977, section 4.
  """
  costs = _costs.costs_of(instance)
  keys.check_key(key)
  ids = jnp.arange(costs.num_nodes, dtype=jnp.int32)
  return _problem.Tour(_inserted(costs, jax.random.permutation(key, ids)))


@jax.jit
def _inserted(costs, nodes):
  step = lambda tour, node: (insert(costs, tour, node), None)
  tour, _ = jax.lax.scan(step, ring(costs, nodes[0]), nodes[1:])
  return walk(tour, nodes[0])


def farthest_insertion(
  instance: _problem.Instance, *, start: int | None = 0, key=None
) -> _problem.Tour:
  """Puts the node that is farthest from the tour where it costs least.

  Far is who has the longest way to the nearest node of the tour, or from it
  where costs are asymmetric and that is more.

  Args:
    instance: `points f[N, 2]` or `costs f[N, N]`.
    start: the first node; None for a random one.
    key: consumed where `start` is None.

  Returns:
    The tour; ties go to the lowest index.

  Raises:
    ValueError: if `start` is no node.

  Cost: O(N²) time, O(N) memory.

  Example:
    >>> points = jax.random.uniform(jax.random.key(0), (30, 2))
    >>> tour = farthest_insertion({'points': points})
    >>> sorted(tour.order.tolist()) == list(range(30))
    True

  Source: Rosenkrantz, Stearns and Lewis 1977, section 4.
  """
  costs = _costs.costs_of(instance)
  return _problem.Tour(_farthest(costs, _first(start, costs.num_nodes, key)))


@jax.jit
def _farthest(costs, first):
  apart = lambda node: jnp.maximum(costs.leaving(node), costs.reaching(node))

  def step(carry, _):
    tour, nearest = carry
    node = jnp.argmax(jnp.where(tour.inside, -jnp.inf, nearest))
    node = node.astype(jnp.int32)
    tour = insert(costs, tour, node)
    return (tour, jnp.minimum(nearest, apart(node))), None

  first = first.astype(jnp.int32)
  start = (ring(costs, first), apart(first))
  (tour, _), _ = jax.lax.scan(step, start, length=costs.num_nodes - 1)
  return walk(tour, first)


def two_opt(
  instance: _problem.Instance,
  tour: _problem.Tour,
  *,
  max_moves: int = 100_000,
) -> _problem.Tour:
  """Turns round the part of a tour that saves most, until none saves.

  Args:
    instance: `points f[N, 2]`, or symmetric `costs f[N, N]`.
    tour: where to start.
    max_moves: most parts that are turned round (static).

  Returns:
    A tour that is no longer; up to `max_moves` one that no move of two edges
    makes shorter by more than rounding.

  Raises:
    ValueError: if `max_moves` is negative.

  Cost: O(N²) per move, and about N / 3 moves from a nearest-neighbor tour.

  Example:
    >>> square = {'points': jnp.array([[0.0, 0], [1, 0], [1, 1], [0, 1]])}
    >>> crossed = _problem.Tour(jnp.array([0, 2, 1, 3]))
    >>> print(tour_length(square, two_opt(square, crossed).order))
    4.0

  Source: Croes 1958.
  """
  checks.integer(max_moves, name='max_moves', low=0)
  costs = _costs.costs_of(instance)
  order = jnp.asarray(tour.order, jnp.int32)
  if costs.num_nodes < 4:
    return _problem.Tour(order)
  return _problem.Tour(_two_opt(costs, order, max_moves=max_moves))


@functools.partial(jax.jit, static_argnames='max_moves')
def _two_opt(costs, order, *, max_moves):
  num = costs.num_nodes
  at = jnp.arange(num, dtype=jnp.int32)
  legs = costs.between(order, jnp.roll(order, -1))
  # Rounding must not turn a part to and fro.
  least = 16 * jnp.finfo(legs.dtype).eps * legs.max()

  def saved(order, legs, i):
    """What turning i + 1 ... j saves, for all j."""
    after = jnp.roll(order, -1)
    new = costs.between(order[i], order) + costs.between(after[i], after)
    return jnp.where(at > i, legs[i] + legs - new, -jnp.inf)

  def best(order):
    legs = costs.between(order, jnp.roll(order, -1))
    rows = jax.vmap(lambda i: saved(order, legs, i).max())(at)
    i = jnp.argmax(rows).astype(jnp.int32)
    j = jnp.argmax(saved(order, legs, i)).astype(jnp.int32)
    return rows[i], i, j

  def step(state):
    order, (_, i, j), moves = state
    turned = jnp.where((at > i) & (at <= j), order[i + 1 + j - at], order)
    return turned, best(turned), moves + 1

  def wanted(state):
    return (state[1][0] > least) & (state[2] < max_moves)

  return jax.lax.while_loop(wanted, step, (order, best(order), 0))[0]
