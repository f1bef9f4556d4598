# SPDX-License-Identifier: Apache-2.0
"""What problems share whose solutions are closed tours through all nodes."""

from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp

from jaxdl.combinatorial import _problem
from jaxdl.core import checks


def starts(key: chex.PRNGKey, num_nodes: int, num_samples: int) -> chex.Array:
  """Random first nodes, different as far as there are enough.

  Args:
    key: consumed.
    num_nodes: N.
    num_samples: A.

  Returns:
    i32[A].
  """
  order = jax.random.permutation(key, num_nodes)
  return order[jnp.arange(num_samples) % num_nodes].astype(jnp.int32)


def start(num_nodes: int, first: chex.Array) -> _problem.Cursor:
  """A construction that has reached its first node."""
  visited = jnp.arange(num_nodes) == first
  return _problem.Cursor(first, first, visited, jnp.all(visited))


def allowed(cursor: _problem.Cursor) -> chex.Array:
  """Nodes not yet visited; the last one when all are."""
  here = jnp.arange(cursor.visited.shape[0]) == cursor.last
  return jnp.where(cursor.done, here, ~cursor.visited)


def move(cursor: _problem.Cursor, action: chex.Array) -> _problem.Cursor:
  """Goes to a node."""
  visited = cursor.visited.at[action].set(True)
  return cursor._replace(last=action, visited=visited, done=jnp.all(visited))


def finish(first: chex.Array, actions: chex.Array) -> _problem.Tour:
  """The tour of N - 1 decisions."""
  return _problem.Tour(jnp.concatenate([first[None], actions]))


def is_tour(order: chex.Array, num_nodes: int) -> chex.Array:
  """Whether every node stands in an order once."""
  inside = (order >= 0) & (order < num_nodes)
  times = jnp.zeros((num_nodes,), jnp.int32).at[order].add(inside)
  return jnp.all(times == 1) & jnp.all(inside)


def split(
  tour: _problem.Tour, size: int, shift: chex.Array
) -> tuple[chex.Array, _problem.Tour]:
  """Cuts a tour that was rolled.

  Args:
    tour: of N nodes.
    size: n.
    shift: by how many places, traced.

  Returns:
    Nodes of the pieces, i32[N // n, n], and the rolled tour.

  Raises:
    ValueError: if there is not one piece.
  """
  n = check_piece(size, tour.order.shape[0])
  order = jnp.roll(tour.order, shift)
  count = order.shape[0] // n
  return order[: count * n].reshape(count, n), _problem.Tour(order)


def merge(rolled: _problem.Tour, candidates: chex.Array) -> _problem.Tour:
  """Puts pieces back, each in the order of its candidate, i32[P, n]."""
  count, n = candidates.shape
  nodes = rolled.order[: count * n].reshape(count, n)
  nodes = jnp.take_along_axis(nodes, candidates, axis=1)
  rest = rolled.order[count * n :]
  return _problem.Tour(jnp.concatenate([nodes.ravel(), rest]))


class PathState(NamedTuple):
  """An open path through a piece, from one of its ends to the other.

  Attributes:
    last: i32[], where it has come to.
    end: i32[], where it must end.
    visited: bool[n], the end among them.
    reverse: bool[], whether it runs from the far end.
  """

  last: chex.Array
  end: chex.Array
  visited: chex.Array
  reverse: chex.Array


def path_start(n: int, reverse: chex.Array) -> PathState:
  """A path at its first node."""
  at = jnp.arange(n)
  reverse = jnp.asarray(reverse, bool)
  last = jnp.where(reverse, n - 1, 0).astype(jnp.int32)
  return PathState(last, n - 1 - last, (at == 0) | (at == n - 1), reverse)


def path_context(state: PathState) -> _problem.Context:
  """What a network is asked; no numbers besides."""
  return _problem.Context(
    state.last, state.end, jnp.zeros((0,)), ~state.visited
  )


def path_move(state: PathState, action: chex.Array) -> PathState:
  """Goes to a node."""
  visited = state.visited.at[action].set(True)
  return state._replace(last=action, visited=visited)


def path_finish(state: PathState, actions: chex.Array) -> chex.Array:
  """The path of n - 2 decisions in the direction of the piece, i32[n]."""
  n = state.visited.shape[0]
  first = n - 1 - state.end
  path = jnp.concatenate([first[None], actions, state.end[None]])
  return jnp.where(state.reverse, path[::-1], path)


def check_piece(size: Any, num_nodes: int) -> int:
  """Checks how many nodes a piece has.

  Args:
    size: n.
    num_nodes: N.

  Returns:
    n.

  Raises:
    ValueError: if a piece has nothing to solve or there is not one.
  """
  n = checks.integer(size, name='size', low=3)
  if n > num_nodes:
    raise ValueError(
      f'size={n} leaves no piece: need size <= num_nodes = {num_nodes}.'
    )
  return n


def multiples(num_nodes: int, size: int) -> None:
  """Raises ValueError unless pieces of one size cover all nodes."""
  check_piece(size, num_nodes)
  if num_nodes % size:
    below = num_nodes - num_nodes % size
    raise ValueError(
      'num_nodes must be a multiple of size in training; got '
      f'num_nodes={num_nodes} and size={size}: take {below} or {below + size}.'
    )


def divide(neighbors: Any, num_nodes: Any) -> _problem.Divide:
  """How closed tours are constructed, node by node from any first one.

  Args:
    neighbors: see `Divide.neighbors`.
    num_nodes: `num_nodes(instance) -> int`, from shapes.

  Returns:
    The functions.
  """
  return _problem.Divide(
    neighbors=neighbors,
    starts=lambda instance, key, num_samples: starts(
      key, num_nodes(instance), num_samples
    ),
    start=lambda instance, first: start(num_nodes(instance), first),
    allowed=lambda instance, cursor: allowed(cursor),
    move=lambda instance, cursor, action: move(cursor, action),
    num_steps=lambda instance: num_nodes(instance) - 1,
    finish=lambda instance, first, actions: finish(first, actions),
  )
