# SPDX-License-Identifier: Apache-2.0
"""Paths through some nodes of a piece, from its first to its last one."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp

from jaxdl.combinatorial import _geometry, _problem, _visits


class State(NamedTuple):
  """A path through some nodes of a piece, from one end of it to the other.

  Attributes:
    last: i32[], where it has come to.
    end: i32[], where it must end.
    visited: bool[n], both ends among them.
    used: f[], its length so far.
    done: bool[], whether it has ended.
    reverse: bool[], whether it runs from the far end.
  """

  last: chex.Array
  end: chex.Array
  visited: chex.Array
  used: chex.Array
  done: chex.Array
  reverse: chex.Array


def start(piece: Mapping[str, chex.Array], reverse: chex.Numeric) -> State:
  """A path at its first node."""
  n = piece['visited'].shape[0]
  at = jnp.arange(n)
  reverse = jnp.asarray(reverse, bool)
  last = jnp.where(reverse, n - 1, 0).astype(jnp.int32)
  return State(
    last=last,
    end=n - 1 - last,
    visited=(at == 0) | (at == n - 1),
    used=jnp.zeros((), jnp.promote_types(piece['points'].dtype, jnp.float32)),
    done=jnp.array(False),
    reverse=reverse,
  )


def move(
  piece: Mapping[str, chex.Array], state: State, action: chex.Array
) -> State:
  """Goes to a node; nothing changes once the path has ended."""
  points = piece['points']
  step = _geometry.distance(points[state.last], points[action])
  action = jnp.asarray(action, jnp.int32)
  return state._replace(
    last=jnp.where(state.done, state.last, action),
    visited=state.visited.at[action].max(~state.done),
    used=state.used + jnp.where(state.done, 0, step),
    done=state.done | (action == state.end),
  )


def or_end(
  piece: Mapping[str, chex.Array],
  state: State,
  may: chex.Array,
  end: chex.Numeric,
) -> chex.Array:
  """Adds the end of a path to what is allowed.

  Args:
    piece: `depot: bool[n]` says where the depot is, which must be visited.
    state: of the path.
    may: bool[n], nodes that could be next.
    end: bool[], whether the path may end here in any case.

  Returns:
    bool[n], never all false: where nothing is left it is the depot, if it was
    not visited, else the end.
  """
  at = jnp.arange(may.shape[0])
  missing = piece['depot'] & ~state.visited
  owed = jnp.any(missing)
  may = may & ~state.visited
  stuck = ~jnp.any(may)
  may = (may | (stuck & missing)) & ~state.done
  closing = (at == state.end) & ~owed & (jnp.asarray(end) | stuck)
  return may | jnp.where(state.done, at == state.end, closing)


def finish(state: State, actions: chex.Array) -> _problem.Visits:
  """The candidate of n - 2 decisions, in the direction of the piece.

  Args:
    state: after them.
    actions: i32[T]; the end from where the path has ended.

  Returns:
    Places of the path in turn, then the others; leaves [n].
  """
  n = state.visited.shape[0]
  ends = jnp.stack([n - 1 - state.end, state.end])
  nodes = jnp.concatenate([ends[:1], actions.astype(jnp.int32), ends[1:]])
  there = (nodes != state.end).at[-1].set(True)
  turned = lambda x: jnp.where(state.reverse, x[::-1], x)
  return _visits.in_turn(turned(nodes), turned(there), n)


def current(piece: Mapping[str, chex.Array]) -> _problem.Visits:
  """What a piece is now."""
  visited = piece['visited']
  return _problem.Visits(jnp.arange(visited.shape[0], dtype=jnp.int32), visited)


def length(points: chex.Array, candidate: _problem.Visits) -> chex.Array:
  """Length of the open path of a candidate, f[]."""
  nodes, count = _visits.packed(*candidate)
  last = nodes[jnp.maximum(count - 1, 0)]
  nodes = jnp.where(jnp.arange(nodes.shape[0]) < count, nodes, last)
  return _geometry.path_length(points[nodes])


def lengths(points: chex.Array, visited: chex.Array) -> chex.Array:
  """Lengths of pieces as they are, f[P, n, 2] and bool[P, n] -> f[P]."""
  at = jnp.arange(visited.shape[1], dtype=jnp.int32)
  one = lambda x, inside: length(x, _problem.Visits(at, inside))
  return jax.vmap(one)(points, visited)


def extent(points: chex.Array) -> chex.Array:
  """What `normalized` divides by: the wider extent of points, f[]."""
  wide = jnp.max(points, axis=0) - jnp.min(points, axis=0)
  return jnp.max(wide) + jnp.asarray(1e-10, wide.dtype)


def solve(
  *,
  inputs: Callable[..., tuple[chex.Array, chex.Array]],
  context: Callable[..., _problem.Context],
  value: Callable[..., chex.Array],
  num_features: int,
) -> _problem.Solve:
  """A `Solve` of what is particular to a problem."""
  return _problem.Solve(
    inputs=inputs,
    start=start,
    context=context,
    move=move,
    num_steps=lambda n: n - 2,
    finish=lambda piece, state, actions: finish(state, actions),
    current=current,
    value=value,
    active=lambda piece: piece['active'],
    both_ways=True,
    num_features=num_features,
    num_extra=2,
    network='attention',
  )
