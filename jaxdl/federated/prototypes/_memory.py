# SPDX-License-Identifier: Apache-2.0
"""What is known of each class: the mean of its embeddings, and their number.

Memories are a monoid: `merge_prototypes` is associative and commutative up to
rounding, and `empty_memory` its neutral element. So the memory of many clients
is that of their pooled data, however it is split, ordered or sent.
"""

from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np

from jaxdl.core import checks, trees
from jaxdl.federated.prototypes import _checking
from jaxdl.networks import DISTANCES

# Of `classify`, where no class is known.
UNKNOWN = -1


class PrototypeMemory(NamedTuple):
  """Means of the embeddings of C classes; C never changes.

  Attributes:
    mean: f[C, d], zero for classes that have not been met.
    count: i32[C], embeddings in each mean; zero for those.

  Where values are concrete, every function here refuses negative counts and
  means of known classes that are not finite. Under `jit` such a mean spoils
  what is merged into its class, and nothing else: it counts as known and is
  never the nearest.
  """

  mean: chex.Array
  count: chex.Array


def empty_memory(
  capacity: int, dimension: int, dtype: Any = jnp.float32
) -> PrototypeMemory:
  """Makes a memory that knows nothing.

  Args:
    capacity: C, classes there may ever be (static).
    dimension: d of the embeddings (static).
    dtype: of the means.

  Returns:
    The memory.

  Raises:
    ValueError: if a number is below one.

  Example:
    >>> empty_memory(3, 2).count.tolist()
    [0, 0, 0]
  """
  capacity = checks.integer(capacity, name='capacity', low=1)
  dimension = checks.integer(dimension, name='dimension', low=1)
  return PrototypeMemory(
    jnp.zeros((capacity, dimension), dtype), jnp.zeros((capacity,), jnp.int32)
  )


def prototype_delta(
  embeddings: chex.Array,
  labels: chex.Array,
  capacity: int,
  *,
  mask: chex.Array | None = None,
) -> PrototypeMemory:
  """Turns examples into a memory of their own, what a client sends.

  Args:
    embeddings: f[B, d].
    labels: int[B] in [0, C).
    capacity: C (static).
    mask: bool[B]; false rows have no effect, whatever they hold.

  Returns:
    The memory: means in the accumulator's dtype of the embeddings (float32 for
    bfloat16), the exact numbers of rows.

  Raises:
    TypeError: if labels are no integers.
    ValueError: if shapes do not fit; and, where values are concrete, if a label
      is outside of [0, C) or an embedding is not finite. Under `jit` a row with
      such a label has no effect, and a row that is not finite makes the mean of
      its class, and of no other, not finite.

  Cost: O(B d) work; two passes, so that means of many embeddings keep their
  digits.

  Example:
    >>> delta = prototype_delta(
    ...   jnp.array([[1.0], [4.0], [2.0]]), jnp.array([0, 2, 0]), 3
    ... )
    >>> delta.mean.tolist(), delta.count.tolist()
    ([[1.5], [0.0], [4.0]], [2, 0, 1])

  Source: Hendryx et al. 2021 (https://arxiv.org/abs/2109.00150), the update of
  a class mean by a batch.
  """
  capacity = checks.integer(capacity, name='capacity', low=1)
  embeddings, labels = jnp.asarray(embeddings), jnp.asarray(labels)
  if not jnp.issubdtype(labels.dtype, jnp.integer):
    raise TypeError(f'labels must be integers; got {labels.dtype}.')
  if embeddings.ndim != 2 or labels.shape != embeddings.shape[:1]:
    raise ValueError(
      'embeddings must be [B, d] with one label each, [B]; got shapes '
      f'{embeddings.shape} and {labels.shape}.'
    )
  if mask is not None:
    mask = jnp.asarray(mask).astype(bool)
    if mask.shape != labels.shape:
      raise ValueError(
        f'mask must have shape [B] = {labels.shape}; got {mask.shape}.'
      )
  _checking.check_examples(embeddings, labels, mask, capacity)
  wide = trees.accumulator(embeddings.dtype)
  real = (labels >= 0) & (labels < capacity)
  if mask is not None:
    real &= mask
  # Rows that do not count go to a place of their own.
  place = jnp.where(real, labels, capacity).astype(jnp.int32)
  add = lambda x: jax.ops.segment_sum(x, place, capacity + 1)
  count = add(jnp.ones(labels.shape, jnp.int32))
  x = trees.where_rows(real, embeddings.astype(wide), 0.0)
  share = (1.0 / jnp.maximum(count, 1)).astype(wide)[:, None]
  rough = add(x) * jnp.broadcast_to(share, (capacity + 1, x.shape[1]))
  gaps = trees.where_rows(real, x - rough[place], 0.0)
  rest = add(gaps) * jnp.broadcast_to(share, rough.shape)
  return PrototypeMemory((rough + rest)[:capacity], count[:capacity])


def update_memory(
  memory: PrototypeMemory,
  embeddings: chex.Array,
  labels: chex.Array,
  *,
  mask: chex.Array | None = None,
) -> PrototypeMemory:
  """Adds examples to a memory, one by one or many at once.

  Args:
    memory: of C classes.
    embeddings: f[B, d].
    labels: int[B] in [0, C).
    mask: bool[B]; false rows have no effect.

  Returns:
    The memory of all examples; classes without any new one keep their very
    bits.

  Raises:
    TypeError, ValueError: as `prototype_delta` and `merge_prototypes`.

  Example:
    >>> memory = empty_memory(2, 1)
    >>> for x in (1.0, 2.0, 6.0):
    ...   memory = update_memory(memory, jnp.array([[x]]), jnp.array([1]))
    >>> float(memory.mean[1, 0]), memory.count.tolist()
    (3.0, [0, 3])

  Source: Hendryx et al. 2021 (https://arxiv.org/abs/2109.00150), with West's
  stable form of the running mean.
  """
  delta = prototype_delta(embeddings, labels, memory.mean.shape[0], mask=mask)
  return merge_prototypes(memory, delta)


def merge_prototypes(a: PrototypeMemory, b: PrototypeMemory) -> PrototypeMemory:
  """Merges two memories into that of their pooled examples.

  `n = n_a + n_b` and `mean = mean_a + (n_b / n) (mean_b - mean_a)`, which is
  `(n_a mean_a + n_b mean_b) / n` without a sum that grows.

  Args:
    a: a memory; its dtype is that of the result.
    b: another, of as many classes.

  Returns:
    The memory. A class that one of them lacks keeps the bits of the other.

  Raises:
    TypeError: if counts are no integers.
    ValueError: if capacities or dimensions differ; and, where values are
      concrete, if counts are negative or a known mean is not finite.

  Example:
    >>> one = lambda x, n: PrototypeMemory(jnp.full((1, 1), x), jnp.array([n]))
    >>> merged = merge_prototypes(one(1.0, 2), one(4.0, 1))
    >>> merged.mean.tolist(), merged.count.tolist()
    ([[2.0]], [3])

  Source: Hendryx et al. 2021 (https://arxiv.org/abs/2109.00150), with weights
  that make it exact for any number of clients, see `reference_merge`.
  """
  _checking.check_memory(a, name='a')
  _checking.check_memory(b, name='b')
  if a.mean.shape != b.mean.shape:
    raise ValueError(
      f'a and b must have equal shapes [C, d]; got {a.mean.shape} and '
      f'{b.mean.shape}.'
    )
  count = a.count + b.count
  mean, other = a.mean, jnp.asarray(b.mean).astype(a.mean.dtype)
  share = b.count / jnp.maximum(count, 1)
  share = jnp.broadcast_to(share.astype(mean.dtype)[:, None], mean.shape)
  moved = mean + share * (other - mean)
  met = lambda n: jnp.broadcast_to((n > 0)[:, None], mean.shape)
  merged = jnp.where(met(a.count), moved, other)
  return PrototypeMemory(jnp.where(met(b.count), merged, mean), count)


def subtract_prototypes(
  after: PrototypeMemory, before: PrototypeMemory
) -> PrototypeMemory:
  """Recovers what was merged into a memory; undoes `merge_prototypes`.

  Args:
    after: the memory afterwards.
    before: the same one before.

  Returns:
    What was added, `(n_after mean_after - n_before mean_before) / n` with
    `n = n_after - n_before`, computed as a correction of `mean_after`. Exact
    but for rounding, which grows with n_before / n.

  Raises:
    TypeError: if counts are no integers.
    ValueError: if shapes differ; and, where values are concrete, if a count has
      fallen or a known mean is not finite.

  Example:
    >>> one = lambda x, n: PrototypeMemory(jnp.full((1, 1), x), jnp.array([n]))
    >>> added = subtract_prototypes(one(0.5, 2), one(0.0, 1))
    >>> added.mean.tolist(), added.count.tolist()
    ([[1.0]], [1])

  Source: Hendryx et al. 2021 (https://arxiv.org/abs/2109.00150): what clients
  of its code send are their memories after the update.
  """
  _checking.check_memory(after, name='after')
  _checking.check_memory(before, name='before')
  if after.mean.shape != before.mean.shape:
    raise ValueError(
      f'after and before must have equal shapes [C, d]; got '
      f'{after.mean.shape} and {before.mean.shape}.'
    )
  count = after.count - before.count
  if _checking.is_concrete(count) and (np.asarray(count) < 0).any():
    k = int(np.argmax(np.asarray(count) < 0))
    raise ValueError(
      f'after has {int(after.count[k])} examples of class {k} but before has '
      f'{int(before.count[k])}: counts never fall.'
    )
  mean = after.mean
  share = (before.count / jnp.maximum(count, 1)).astype(mean.dtype)[:, None]
  # A class that was not known has no mean to compare with.
  known = jnp.broadcast_to((before.count > 0)[:, None], mean.shape)
  gap = jnp.where(known, mean - before.mean.astype(mean.dtype), 0.0)
  added = mean + jnp.broadcast_to(share, mean.shape) * gap
  some = jnp.broadcast_to((count > 0)[:, None], mean.shape)
  return PrototypeMemory(jnp.where(some, added, 0.0), count)


def class_distances(
  memory: PrototypeMemory, x: chex.Array, *, distance: str = 'euclidean'
) -> chex.Array:
  """Measures squared distances to the prototypes.

  Args:
    memory: of C classes.
    x: f[B, d], embeddings.
    distance: 'euclidean', or 'mahalanobis' for embeddings whose second half are
      log-variances (`networks.mahalanobis_distances`).

  Returns:
    f[B, C], inf for classes that are not known or whose mean is not finite.

  Raises:
    ValueError: if dimensions differ or the distance is unknown; and, where
      values are concrete, if counts are negative or a known mean is not finite.

  Example:
    >>> memory = PrototypeMemory(jnp.array([[3.0], [0.0]]), jnp.array([1, 0]))
    >>> class_distances(memory, jnp.array([[1.0]])).tolist()
    [[4.0, inf]]
  """
  _checking.check_memory(memory, name='memory')
  checks.choice(distance, DISTANCES, name='distance')
  known = (memory.count > 0) & jnp.isfinite(memory.mean).all(axis=1)
  # They must not move the origin of the distances either.
  filler = jnp.sum(trees.where_rows(known, memory.mean, 0.0), axis=0)
  filler = filler / jnp.maximum(jnp.sum(known), 1).astype(filler.dtype)
  mean = jnp.where(
    jnp.broadcast_to(known[:, None], memory.mean.shape),
    memory.mean,
    jnp.broadcast_to(filler, memory.mean.shape),
  )
  distances = DISTANCES[distance](x, mean)
  return jnp.where(jnp.broadcast_to(known, distances.shape), distances, jnp.inf)


def classify(
  memory: PrototypeMemory, x: chex.Array, *, distance: str = 'euclidean'
) -> chex.Array:
  """Assigns each embedding to the nearest prototype.

  Args:
    memory: of C classes.
    x: f[B, d], embeddings.
    distance: as of `class_distances`.

  Returns:
    i32[B], classes that are known; of equal distances the lowest. Embeddings
    that are not finite, and all under `jit` where no class is known, get -1
    (`UNKNOWN`).

  Raises:
    ValueError: if dimensions differ or the distance is unknown; and, where
      values are concrete, if the memory is empty, counts are negative or a
      known mean is not finite.

  Cost: one matrix product, O(B C d).

  Example:
    >>> memory = PrototypeMemory(jnp.array([[0.0], [4.0]]), jnp.array([1, 3]))
    >>> classify(memory, jnp.array([[1.0], [3.0], [2.0]])).tolist()
    [0, 1, 0]

  Source: Snell et al. 2017 (https://arxiv.org/abs/1703.05175), section 2.2.
  """
  _checking.check_memory(memory, name='memory')
  if (
    _checking.is_concrete(memory.count)
    and not (np.asarray(memory.count) > 0).any()
  ):
    raise ValueError(
      'memory is empty: no class is known, so nothing can be classified; add '
      'examples by update_memory first.'
    )
  return nearest_known(memory, x, distance=distance)


def nearest_known(
  memory: PrototypeMemory, x: chex.Array, *, distance: str = 'euclidean'
) -> chex.Array:
  """As `classify`, but an empty memory always gives -1."""
  distances = class_distances(memory, x, distance=distance)
  nearest = jnp.argmin(distances, axis=1).astype(jnp.int32)
  finite = jnp.isfinite(jnp.min(distances, axis=1))
  return jnp.where(finite, nearest, UNKNOWN)
