# SPDX-License-Identifier: Apache-2.0
"""Choices by rules: which items, vertices and nodes of a tour are taken."""

import functools
from collections.abc import Callable
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp

from jaxdl.combinatorial import _problem
from jaxdl.combinatorial.classical import _costs, _tours

# What a weight or a length may exceed its bound by: rounding.
SLACK = 1e-5


def greedy_ratio(instance: _problem.Instance) -> _problem.Subset:
  """Takes items by value per weight, as long as they fit.

  Items that do not fit are passed over.

  Args:
    instance: `weights f[N]`, `values f[N]`, `capacity f[]`.

  Returns:
    The choice; ties go to the lowest index.

  Cost: O(N log N).

  Example:
    >>> greedy_ratio(
    ...   {
    ...     'weights': jnp.array([2.0, 1, 3]),
    ...     'values': jnp.array([1.0, 2, 2]),
    ...     'capacity': 3.0,
    ...   }
    ... ).chosen.tolist()
    [True, True, False]
  """
  weights, values = jnp.asarray(instance['weights']), instance['values']
  return _greedy_ratio(weights, jnp.asarray(values), instance['capacity'])


@jax.jit
def _greedy_ratio(weights, values, capacity):
  tiny = jnp.finfo(weights.dtype).tiny
  ranks = jnp.argsort(-values / jnp.maximum(weights, tiny), stable=True)
  # Sums of many small weights keep their digits.
  wide = jnp.promote_types(weights.dtype, jnp.float32)

  def step(left, item):
    weight = weights[item].astype(wide)
    taken = weight <= left
    return left - jnp.where(taken, weight, 0), taken

  left = jnp.asarray(capacity).astype(wide)
  _, taken = jax.lax.scan(step, left, ranks)
  return _problem.Subset(jnp.zeros(len(ranks), bool).at[ranks].set(taken))


def minimum_degree(instance: _problem.Instance) -> _problem.Subset:
  """Takes the vertex with the fewest free neighbors, which drop out.

  Args:
    instance: `edges i32[E, 2]`, each once, padded by (N, N), and
      `nodes bool[N]`.

  Returns:
    A maximal independent set; ties go to the lowest index.

  Cost: O(E + N) time per chosen vertex, O(E + N) memory.

  Example:
    >>> path = jnp.array([[0, 1], [1, 2], [2, 3]])
    >>> minimum_degree(
    ...   {'edges': path, 'nodes': jnp.ones(4, bool)}
    ... ).chosen.tolist()
    [True, False, True, False]
  """
  return _minimum_degree(
    jnp.asarray(instance['edges']), jnp.asarray(instance['nodes'], bool)
  )


@jax.jit
def _minimum_degree(edges, nodes):
  num = len(nodes)
  # Two ways of each edge; what pads them falls into the last, a spare place.
  a = jnp.concatenate([edges[:, 0], edges[:, 1]])
  b = jnp.concatenate([edges[:, 1], edges[:, 0]])

  def step(state):
    free, chosen = state
    spare = jnp.append(free, False)
    degrees = jax.ops.segment_sum(
      spare[b].astype(jnp.int32), a, num_segments=num + 1
    )[:num]
    node = jnp.argmin(jnp.where(free, degrees, num + 1))
    blocked = (
      jnp.zeros(num + 1, bool).at[jnp.where(a == node, b, num)].set(True)
    )
    free = (free & ~blocked[:num]).at[node].set(False)
    return free, chosen.at[node].set(True)

  start = (nodes, jnp.zeros(num, bool))
  _, chosen = jax.lax.while_loop(lambda s: s[0].any(), step, start)
  return _problem.Subset(chosen)


def insert_prizes(instance: _problem.Instance) -> _problem.Visits:
  """Inserts the node with the most prize per added length, while it fits.

  Args:
    instance: `points f[N, 2]`, `prizes f[N]`, `length f[]`.

  Returns:
    The tour; the depot alone where nothing fits.

  Cost: O(N²) time per node of the tour, O(N²) memory.

  Example:
    >>> points = jnp.array([[0.0, 0], [1, 0], [3, 0], [0.5, 0]])
    >>> prizes = jnp.array([0.0, 1, 9, 1])
    >>> insert_prizes(
    ...   {'points': points, 'prizes': prizes, 'length': 2.0}
    ... ).visited.sum().item()
    3
  """
  prizes = jnp.asarray(instance['prizes'])
  limit = jnp.asarray(instance['length'])
  costs = _costs.costs_of(instance)
  return _inserted(costs, prizes, (prizes, limit), score=_per_length)


def _per_length(added, state, given):
  prizes, limit = given
  fits = (state.length + added <= limit + SLACK) & (prizes > 0)
  return jnp.where(fits, prizes / jnp.maximum(added, 1e-9), -jnp.inf)


def insert_penalties(instance: _problem.Instance) -> _problem.Visits:
  """Inserts nodes until the prize is collected, then while that pays.

  First it takes the node whose added length less penalty is least per prize;
  once there is enough prize, whose penalty exceeds the added length most.
  With `real_prizes` these are what is collected, and known of nodes of the
  tour only.

  Args:
    instance: `points f[N, 2]`, `prizes f[N]`, `penalties f[N]`, `target f[]`
      and perhaps `real_prizes f[N]`.

  Returns:
    The tour.

  Cost: O(N²) time per node of the tour, O(N²) memory.

  Example:
    >>> points = jnp.array([[0.0, 0], [1, 0], [3, 0], [0, 0.1]])
    >>> tour = insert_penalties(
    ...   {
    ...     'points': points,
    ...     'prizes': jnp.array([0.0, 1, 1, 0]),
    ...     'penalties': jnp.array([0.0, 0, 0, 1]),
    ...     'target': 1.0,
    ...   }
    ... )
    >>> sorted(tour.order[tour.visited].tolist())
    [0, 1, 3]
  """
  prizes = jnp.asarray(instance['prizes'])
  given = tuple(jnp.asarray(instance[k]) for k in ('penalties', 'target'))
  real = jnp.asarray(instance.get('real_prizes', prizes))
  costs = _costs.costs_of(instance)
  return _inserted(costs, real, (prizes, *given), score=_per_prize)


def _per_prize(added, state, given):
  prizes, penalties, target = given
  pays = penalties - added
  # Least per prize is most, with the sign turned.
  need = pays / jnp.maximum(prizes, 1e-9)
  more = jnp.where(pays > 0, pays, -jnp.inf)
  return jnp.where(state.collected < target, need, more)


class _Growing(NamedTuple):
  """A tour to which nodes are added.

  Attributes:
    ring: of nodes so far.
    length: f[], of the tour.
    collected: f[], prize of its nodes.
    done: bool[].
  """

  ring: _tours.Ring
  length: chex.Array
  collected: chex.Array
  done: chex.Array


@functools.partial(jax.jit, static_argnames='score')
def _inserted(
  costs: _costs.Costs,
  prizes: chex.Array,
  given: tuple[chex.Array, ...],
  *,
  score: Callable[..., chex.Array],
) -> _problem.Visits:
  """Adds the node of the highest score until all are -inf."""
  num = costs.num_nodes
  ids = jnp.arange(num)
  pairs = jax.vmap(costs.leaving)(ids)

  def step(state):
    ring = state.ring
    legs = jnp.where(ring.inside, ring.legs, 0)
    ways = pairs[:, ring.following] + pairs.T - legs[None]
    added = jnp.where(ring.inside[None], ways, jnp.inf).min(axis=1)
    scores = jnp.where(ring.inside, -jnp.inf, score(added, state, given))
    node = jnp.argmax(scores).astype(jnp.int32)
    fresh = _Growing(
      _tours.insert(costs, ring, node),
      state.length + added[node],
      state.collected + prizes[node],
      state.done,
    )
    done = scores[node] == -jnp.inf
    kept = jax.tree.map(lambda a, b: jnp.where(done, a, b), state, fresh)
    return kept._replace(done=done | kept.ring.inside.all())

  zero = jnp.zeros((), costs.dtype)
  start = _Growing(
    _tours.ring(costs, jnp.int32(0)),
    zero,
    zero + prizes[0],
    jnp.bool_(num == 1),
  )
  ring = jax.lax.while_loop(lambda s: ~s.done, step, start).ring
  # Nodes of the tour in turn, then the others by index.
  order = _tours.walk(ring, 0)
  place = jnp.full(num, num).at[order[::-1]].set(jnp.arange(num)[::-1])
  ranks = jnp.argsort(jnp.where(ring.inside, place, num + ids), stable=True)
  ranks = ranks.astype(jnp.int32)
  return _problem.Visits(ranks, ring.inside[ranks])
