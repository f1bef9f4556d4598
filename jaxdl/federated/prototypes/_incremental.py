# SPDX-License-Identifier: Apache-2.0
"""Accuracy as classes are added one after another, in one pass."""

import chex
import jax
import jax.numpy as jnp

from jaxdl.core import checks
from jaxdl.federated.prototypes import _checking, _memory
from jaxdl.federated.prototypes._memory import PrototypeMemory


def class_incremental_accuracy(
  memory: PrototypeMemory,
  embeddings: chex.Array,
  labels: chex.Array,
  order: chex.Array,
  *,
  distance: str = 'euclidean',
) -> chex.Array:
  """Measures accuracy over all classes so far, after each one that is added.

  A prototype does not change as others come, so one table of distances says
  what the nearest one is at every stage; `vmap` over `order` gives many runs.

  Args:
    memory: of C classes, all of them.
    embeddings: f[Q, d], of test examples.
    labels: int[Q], their classes; other numbers than classes never count.
    order: int[T], classes in the order in which they come, all different.
    distance: as of `class_distances`.

  Returns:
    f32[T], share of right answers among the test examples of the first classes,
    where only those are possible answers; of equal distances the lowest class.
    A class that the memory does not know is never answered; NaN while there is
    no test example.

  Raises:
    TypeError: if labels or the order are no integers.
    ValueError: if shapes do not fit, the distance is unknown, or, where values
      are concrete, the order names a class twice or one that does not exist.

  Cost: O(Q C d) work for the distances, O(Q T) after them, O(Q C) memory.

  Example:
    >>> memory = PrototypeMemory(
    ...   jnp.array([[0.0], [2.0], [3.0]]), jnp.ones(3, jnp.int32)
    ... )
    >>> class_incremental_accuracy(
    ...   memory, jnp.array([[0.1], [2.9]]), jnp.array([0, 1]), jnp.arange(3)
    ... ).tolist()
    [1.0, 1.0, 0.5]

  Source: Hendryx et al. 2021 (https://arxiv.org/abs/2109.00150), the
  class-incremental protocol.
  """
  labels, order = jnp.asarray(labels), jnp.asarray(order)
  for name, value in (('labels', labels), ('order', order)):
    if value.ndim != 1 or not jnp.issubdtype(value.dtype, jnp.integer):
      raise TypeError(
        f'{name} must be one axis of integers; got {value.dtype} of shape '
        f'{value.shape}.'
      )
  distances = _memory.class_distances(memory, embeddings, distance=distance)
  q, capacity = distances.shape
  if labels.shape != (q,):
    raise ValueError(
      f'labels must be [Q] = {(q,)}, one for each embedding; got shape '
      f'{labels.shape}.'
    )
  if _checking.is_concrete(order):
    _check_order(order, capacity)

  def add(carry, c):
    nearest, answer, counted = carry
    own = jnp.take(distances, c, axis=1)
    # Ranked by distance, then by class; what is infinitely far is no answer.
    closer = (own < nearest) | ((own == nearest) & (c < answer))
    closer &= jnp.isfinite(own)
    nearest = jnp.where(closer, own, nearest)
    answer = jnp.where(closer, c, answer)
    counted |= labels == c
    right = jnp.sum(counted & (answer == labels))
    return (nearest, answer, counted), right / jnp.sum(counted)

  start = (
    jnp.full((q,), jnp.inf, distances.dtype),
    jnp.full((q,), _memory.UNKNOWN, jnp.int32),
    jnp.zeros((q,), bool),
  )
  return jax.lax.scan(add, start, order.astype(jnp.int32))[1]


def _check_order(order, capacity):
  order = checks.host_array(order, name='order').tolist()
  for c in order:
    if not 0 <= c < capacity:
      raise ValueError(
        f'order has class {c}: need 0 <= class < capacity {capacity}.'
      )
  if len(set(order)) < len(order):
    twice = next(c for c in order if order.count(c) > 1)
    raise ValueError(f'order names class {twice} twice.')
