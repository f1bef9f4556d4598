# SPDX-License-Identifier: Apache-2.0
"""Knapsack: the most value whose weight fits."""

import jax
import jax.numpy as jnp
import numpy as np

from jaxdl.combinatorial import _neighbors, _problem, _subsets, _tours
from jaxdl.core import checks

# Numbers of items for which capacities are drawn, and from where.
_DRAWN = (500, 1000)
_CAPACITIES = (50, 100)


def kp(
  *, capacity: float | None = None, training: bool = False
) -> _problem.CombinatorialProblem:
  """Choices of items with the most value that a capacity holds.

  An instance is `weights f[N]`, `values f[N]` and `capacity f[]`; generated
  weights and values are uniform. A construction walks from item to item: near
  are those whose value per weight, taken together, is high. It starts at an
  item without weight and value, node N of the graph, and stops there once
  nothing else fits.

  A piece is a random block of items with the capacity that its chosen ones use
  now; the first one also gets what the whole choice leaves over.

  Args:
    capacity: of generated instances; None draws from 50, ..., 100 for 500 to
      1000 items, as in training, and is N / 10 else.
    training: whether pieces are those that the authors train with: what is left
      over stays so.

  Returns:
    The problem; its solutions are `Subset`s.

  Raises:
    TypeError, ValueError: if an option is out of range.

  Example:
    >>> problem = kp()
    >>> instance = {
    ...   'weights': jnp.array([2.0, 1.0]),
    ...   'values': jnp.array([3.0, 1.0]),
    ...   'capacity': 2.5,
    ... }
    >>> first = _problem.Subset(jnp.array([True, False]))
    >>> float(problem.objective(instance, first)), bool(
    ...   problem.feasible(instance, first)
    ... )
    (3.0, True)

  Source: Zheng et al. 2024 (https://arxiv.org/abs/2407.00312), appendix.
  """
  if capacity is not None:
    checks.number(capacity, name='capacity', low=0.0)
  checks.flag(training, name='training')

  def generate(key, num_nodes):
    weights_key, values_key, key = jax.random.split(key, 3)
    if capacity is not None:
      room = jnp.float32(capacity)
    elif _DRAWN[0] <= num_nodes <= _DRAWN[1]:
      low, high = _CAPACITIES
      room = jax.random.randint(key, (), low, high + 1).astype(jnp.float32)
    else:
      room = jnp.float32(num_nodes / 10)
    return {
      'weights': jax.random.uniform(weights_key, (num_nodes,)),
      'values': jax.random.uniform(values_key, (num_nodes,)),
      'capacity': room,
    }

  def split(instance, subset, size, shift, key):
    weights, chosen = instance['weights'], subset.chosen
    nodes = _subsets.blocks(weights.shape[0], size, shift, key)
    used = jax.vmap(_weight)(weights[nodes], chosen[nodes])
    if not training:
      left = instance['capacity'] - _weight(weights, chosen)
      used = used.at[0].add(left)
    pieces = {
      'weights': weights[nodes],
      'values': instance['values'][nodes],
      'chosen': chosen[nodes],
      'nodes': nodes,
      'capacity': used,
    }
    return pieces, subset

  def merge(instance, rolled, pieces, candidates):
    merged = _subsets.merge(rolled.chosen, pieces['nodes'], candidates)
    merged = _problem.Subset(merged)
    fine = _feasible(instance, merged)
    return jax.tree.map(lambda a, b: jnp.where(fine, a, b), merged, rolled)

  return _problem.CombinatorialProblem(
    name='kp',
    generate=generate,
    check=_check,
    objective=lambda instance, subset: _weight(
      instance['values'], subset.chosen
    ),
    feasible=_feasible,
    maximize=True,
    divide=_problem.Divide(
      neighbors=_graph,
      starts=_starts,
      start=_divide_start,
      allowed=_divide_allowed,
      move=_divide_move,
      num_steps=lambda instance: instance['weights'].shape[0],
      finish=_divide_finish,
      single_start=True,
    ),
    split=split,
    solve=_problem.Solve(
      inputs=_inputs,
      start=_start,
      context=lambda piece, state: _subsets.context(
        state, _fits(piece, state), state.free[None]
      ),
      move=_move,
      num_steps=lambda n: n,
      finish=lambda piece, state, actions: state.chosen,
      current=lambda piece: piece['chosen'],
      value=lambda piece, chosen: -_weight(piece['values'], chosen),
      active=lambda piece: jnp.array(True),
      both_ways=False,
      num_features=2,
      num_extra=1,
      network='icam',
    ),
    merge=merge,
    sizes=_tours.multiples,
    piece_size=100,
  )


def _weight(values, chosen):
  """Sum of the chosen ones, in float32 at least."""
  kind = jnp.promote_types(values.dtype, jnp.float32)
  return jnp.sum(jnp.where(chosen, values, 0), dtype=kind)


def _feasible(instance, subset):
  """Whether the chosen items fit, up to rounding."""
  capacity = instance['capacity']
  slack = _subsets.SLACK * jnp.maximum(capacity, 1)
  return _weight(instance['weights'], subset.chosen) <= capacity + slack


def _check(instance):
  """Checks an instance on the host."""
  for name in ('weights', 'values', 'capacity'):
    if name not in instance:
      raise ValueError(f'instance has no {name!r}; it has {sorted(instance)}.')
    checks.known(instance[name], name=name, low=0.0)
  shapes = [np.shape(instance[name]) for name in ('weights', 'values')]
  if len(shapes[0]) != 1 or not shapes[0][0] or shapes[0] != shapes[1]:
    raise ValueError(
      'weights and values must be f[N], a number per item, N >= 1; got shapes '
      f'{shapes[0]} and {shapes[1]}.'
    )
  if np.ndim(instance['capacity']):
    raise ValueError(
      f'capacity must be one number; got shape '
      f'{np.shape(instance["capacity"])}.'
    )


def _ratios(weights, values, others_weights, others_values):
  """Value per weight of every two items together, f[B, N]."""
  weight = weights[:, None] + others_weights[None]
  value = values[:, None] + others_values[None]
  return value / (weight + jnp.asarray(1e-10, weight.dtype))


def _nearness(ratios):
  """One less the ratio in units of the largest one of the row."""
  most = jnp.max(ratios, axis=1, keepdims=True)
  return 1 - ratios / jnp.where(most > 0, most, 1)


def _graph(instance, num_neighbors):
  """Items and the dummy, which is the last node."""
  weights, values = (
    jnp.pad(instance[k], (0, 1)) for k in ('weights', 'values')
  )

  def rows(ids):
    return _nearness(_ratios(weights[ids], values[ids], weights, values))

  count = weights.shape[0]
  ids, apart = _neighbors.smallest(rows, count, num_neighbors)
  edges = jnp.stack([-apart, -apart], axis=-1)
  return _problem.Neighbors(jnp.stack([weights, values], 1), ids, edges)


def _starts(instance, key, num_samples):
  """The dummy, i32[A]."""
  del key
  return jnp.full((num_samples,), instance['weights'].shape[0], jnp.int32)


def _left(instance, left, taken):
  """Which items still fit, bool[N]."""
  weights = instance['weights'].astype(left.dtype)
  slack = _subsets.PIECE_SLACK * jnp.maximum(instance['capacity'], 1)
  return ~taken & (weights <= left + slack)


def _divide_start(instance, first):
  capacity = instance['capacity']
  kind = jnp.promote_types(instance['weights'].dtype, jnp.float32)
  left = jnp.asarray(capacity, kind)
  num_items = instance['weights'].shape[0]
  visited = _subsets.only(first, num_items + 1)
  done = ~jnp.any(_left(instance, left, visited[:-1]))
  return _problem.Cursor(first, first, visited, done, {'left': left})


def _divide_allowed(instance, cursor):
  fits = _left(instance, cursor.extra['left'], cursor.visited[:-1])
  return jnp.append(fits, ~jnp.any(fits))


def _divide_move(instance, cursor, action):
  num_items = instance['weights'].shape[0]
  fits = _divide_allowed(instance, cursor)[:-1]
  taken = _subsets.only(action, num_items) & fits
  weight = jnp.sum(jnp.where(taken, instance['weights'], 0))
  left = cursor.extra['left'] - weight.astype(cursor.extra['left'].dtype)
  visited = cursor.visited.at[action].set(True)
  done = ~jnp.any(_left(instance, left, visited[:-1]))
  return _problem.Cursor(
    cursor.first, jnp.asarray(action, jnp.int32), visited, done, {'left': left}
  )


def _divide_finish(instance, first, actions):
  del first
  num_items = instance['weights'].shape[0]
  chosen = jnp.zeros((num_items + 1,), bool).at[actions].set(True)
  return _problem.Subset(chosen[:num_items])


def _inputs(piece):
  """Weights and values; how far two items are from the best pair."""
  weights, values = piece['weights'], piece['values']
  ratios = _ratios(weights, values, weights, values)
  return jnp.stack([weights, values], axis=1), _nearness(ratios)


def _start(piece, reverse):
  """Nothing is chosen."""
  del reverse
  return _subsets.ItemState(
    jnp.int32(-1), jnp.zeros_like(piece['chosen']), piece['capacity']
  )


def _fits(piece, state):
  """Which items still fit, bool[n]."""
  return _left(piece, state.free, state.chosen)


def _move(piece, state, action):
  """Takes an item if it fits."""
  taken = _subsets.only(action, state.chosen.shape[0]) & _fits(piece, state)
  weight = jnp.sum(jnp.where(taken, piece['weights'], 0))
  last = jnp.where(jnp.any(taken), action, state.last).astype(jnp.int32)
  return _subsets.ItemState(
    last, state.chosen | taken, state.free - weight.astype(state.free.dtype)
  )
