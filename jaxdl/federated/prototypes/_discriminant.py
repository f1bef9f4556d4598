# SPDX-License-Identifier: Apache-2.0
"""Streaming linear discriminants: prototypes and one scatter for all classes.

The scatter is a second sufficient statistic, and merges as exactly as means do:
linear discriminant analysis of what many clients have seen is that of the pool.
"""

from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp

from jaxdl.core import checks, trees
from jaxdl.federated.prototypes import _checking, _memory, _merging
from jaxdl.federated.prototypes._memory import PrototypeMemory

PRIORS = ('uniform', 'counts')


class DiscriminantMemory(NamedTuple):
  """What linear discriminant analysis needs of C classes.

  Attributes:
    classes: their means f[C, d] and counts i32[C].
    scatter: f[d, d], sum over all examples of the square of their gap to the
      mean of their own class.
  """

  classes: PrototypeMemory
  scatter: chex.Array


def empty_discriminant(
  capacity: int, dimension: int, dtype: Any = jnp.float32
) -> DiscriminantMemory:
  """Makes a memory that knows nothing.

  Args:
    capacity: C, classes there may ever be (static).
    dimension: d of the embeddings (static).
    dtype: of means and scatter.

  Returns:
    The memory.

  Raises:
    ValueError: if a number is below one.

  Example:
    >>> empty_discriminant(3, 2).scatter.tolist()
    [[0.0, 0.0], [0.0, 0.0]]
  """
  classes = _memory.empty_memory(capacity, dimension, dtype)
  return DiscriminantMemory(classes, jnp.zeros((dimension, dimension), dtype))


def discriminant_delta(
  embeddings: chex.Array,
  labels: chex.Array,
  capacity: int,
  *,
  mask: chex.Array | None = None,
) -> DiscriminantMemory:
  """Turns examples into a memory of their own, what a client sends.

  Args:
    embeddings: f[B, d].
    labels: int[B] in [0, C).
    capacity: C (static).
    mask: bool[B]; false rows have no effect, whatever they hold.

  Returns:
    The memory.

  Raises:
    TypeError, ValueError: as `prototype_delta`. Under `jit` a row that is not
      finite makes the whole scatter not finite.

  Cost: O(B d^2) work; the symmetric scatter is d (d + 1) / 2 numbers to send.

  Example:
    >>> delta = discriminant_delta(
    ...   jnp.array([[1.0], [3.0], [9.0]]), jnp.array([0, 0, 1]), 2
    ... )
    >>> delta.scatter.tolist()
    [[2.0]]

  Source: Hayes and Kanan 2020 (https://arxiv.org/abs/1909.01520).
  """
  classes = _memory.prototype_delta(embeddings, labels, capacity, mask=mask)
  labels = jnp.asarray(labels)
  real = (labels >= 0) & (labels < capacity)
  if mask is not None:
    real &= jnp.asarray(mask).astype(bool)
  own = classes.mean[jnp.where(real, labels, 0)]
  x = jnp.asarray(embeddings).astype(classes.mean.dtype)
  gaps = trees.where_rows(real, x - own, 0.0)
  return DiscriminantMemory(classes, _square(gaps))


def merge_discriminants(
  stacked: DiscriminantMemory, *, axis_name: str | None = None
) -> DiscriminantMemory:
  """Merges the memories of many clients into that of their pooled examples.

  The scatter of the pool is the sum of scatters, and of what the clients'
  means of a class differ from the merged one.

  Args:
    stacked: means f[N, C, d], counts i32[N, C], scatters f[N, d, d].
    axis_name: of an axis over whose shards the clients are spread (static).

  Returns:
    The memory.

  Raises:
    TypeError, ValueError: as `merge_many`, or if scatters have another shape.

  Cost: O(N C d^2) work, O(C d + d^2) sent for each device.

  Example:
    >>> one = lambda x: discriminant_delta(
    ...   jnp.array([[x]]), jnp.array([0]), 1
    ... )
    >>> both = jax.tree.map(lambda *xs: jnp.stack(xs), one(1.0), one(3.0))
    >>> merge_discriminants(both).scatter.tolist()
    [[2.0]]
  """
  classes, scatter = stacked
  merged = _merging.merge_many(classes, axis_name=axis_name)
  mean, count = jnp.asarray(classes.mean), jnp.asarray(classes.count)
  n, _, d = mean.shape
  if jnp.shape(scatter) != (n, d, d):
    raise ValueError(
      f'stacked must have scatters [N, d, d] = {(n, d, d)}; got shape '
      f'{jnp.shape(scatter)}.'
    )
  whole = jnp.broadcast_to(merged.mean, mean.shape)
  met = jnp.broadcast_to((count > 0)[..., None], mean.shape)
  roots = jnp.sqrt(count.astype(mean.dtype))[..., None]
  gaps = jnp.where(met, mean - whole, 0.0) * jnp.broadcast_to(roots, met.shape)
  # What nobody has met adds nothing, whatever its scatter holds.
  some = jnp.any(count > 0, axis=1)
  own = jnp.sum(trees.where_rows(some, scatter, 0.0), axis=0)
  total = own + _square(gaps.reshape(-1, d))
  if axis_name is not None:
    total = jax.lax.psum(total, axis_name)
  return DiscriminantMemory(merged, total)


def update_discriminant(
  memory: DiscriminantMemory, deltas: DiscriminantMemory
) -> DiscriminantMemory:
  """Adds what clients found to a memory; equals pooling.

  Args:
    memory: of C classes.
    deltas: of N clients, leaves [N, ...].

  Returns:
    The memory.

  Raises:
    TypeError, ValueError: as `merge_discriminants`.

  Example:
    >>> one = discriminant_delta(jnp.array([[3.0]]), jnp.array([0]), 1)
    >>> deltas = jax.tree.map(lambda x: x[None], one)
    >>> memory = update_discriminant(empty_discriminant(1, 1), deltas)
    >>> update_discriminant(memory, deltas).classes.count.tolist()
    [2]
  """
  join = lambda one, many: jnp.concatenate([one[None], many])
  found = merge_discriminants(jax.tree.map(join, memory, deltas))
  # As prototypes: what nobody has met keeps its bits.
  classes = _merging.exact_merge(memory.classes, deltas.classes)
  return found._replace(classes=classes)


def discriminant_scores(
  memory: DiscriminantMemory,
  x: chex.Array,
  *,
  shrinkage: chex.Numeric = 0.5,
  priors: str = 'uniform',
) -> chex.Array:
  """Scores classes by a linear discriminant with one covariance.

  With S the scatter over n, the number of examples, shrunk to
  `(1 - shrinkage) S + shrinkage trace(S) / d I`, the score of class k is
  `x' S^-1 m_k - m_k' S^-1 m_k / 2 + log prior_k`, up to what all share.

  Args:
    memory: of C classes.
    x: f[B, d], embeddings.
    shrinkage: in [0, 1]; one is a scaled Euclidean distance, zero needs a
      scatter of full rank. Little of it hurts where examples are few.
    priors: 'uniform', or 'counts', shares of the examples.

  Returns:
    f[B, C]; -inf for classes that are not known. Without any scatter, as after
    one example of each class, or with one that is not finite, the covariance
    is the identity, and the highest score that of the nearest mean.

  Raises:
    ValueError: if shapes do not fit or an option is out of range; and, where
      values are concrete, as `check_memory` of the means.

  Cost: O(d^3 + C d^2 + B C d) work, d steps one after another.

  Example:
    >>> memory = discriminant_delta(
    ...   jnp.array([[-1.0], [1.0], [3.0], [5.0]]), jnp.array([0, 0, 1, 1]), 2
    ... )
    >>> discriminant_scores(memory, jnp.array([[0.0], [4.0]])).argmax(1)
    Array([0, 1], dtype=int32)

  Source: Hayes and Kanan 2020 (https://arxiv.org/abs/1909.01520), equations 1
  to 4; Ledoit and Wolf 2004 (https://doi.org/10.1016/S0047-259X(03)00096-4)
  for the target.
  """
  classes, scatter = memory
  _checking.check_memory(classes, name='memory')
  checks.choice(priors, PRIORS, name='priors')
  if _checking.is_concrete(shrinkage):
    checks.number(shrinkage, name='shrinkage', low=0.0, high=1.0)
  d = classes.mean.shape[1]
  x = jnp.asarray(x)
  if x.ndim != 2 or x.shape[1] != d or jnp.shape(scatter) != (d, d):
    raise ValueError(
      f'x must be [B, {d}] and the scatter [{d}, {d}]; got shapes {x.shape} '
      f'and {jnp.shape(scatter)}.'
    )
  wide = trees.accumulator(jnp.result_type(x, classes.mean))
  known = (classes.count > 0) & jnp.isfinite(classes.mean).all(axis=1)
  mean = trees.where_rows(known, classes.mean.astype(wide), 0.0)
  count = jnp.where(known, classes.count, 0).astype(wide)
  total, number = jnp.sum(count), jnp.sum(known)
  covariance = scatter.astype(wide) / jnp.maximum(total, 1)
  size = jnp.trace(covariance) / d
  eye = jnp.eye(d, dtype=wide)
  shrunk = (1.0 - shrinkage) * covariance + shrinkage * size * eye
  shrunk = jnp.where(size > 0, shrunk, eye)
  # From the middle of the means, so that digits are those of their gaps.
  middle = jnp.sum(mean, axis=0) / jnp.maximum(number, 1)
  row = lambda v, like: jnp.broadcast_to(v, like.shape)
  gaps = trees.where_rows(known, mean - row(middle, mean), 0.0)
  weights = _solved(shrunk, gaps.T)
  x = x.astype(wide)
  scores = jnp.matmul(x - row(middle, x), weights, precision='highest')
  bias = -0.5 * jnp.sum(gaps * weights.T, axis=1)
  if priors == 'counts':
    bias = bias + jnp.log(jnp.maximum(count, 1) / jnp.maximum(total, 1))
  return jnp.where(row(known, scores), scores + row(bias, scores), -jnp.inf)


def _solved(matrix, columns):
  """Solves with a positive definite f[d, d], by elimination; NaN if singular.

  Not by LAPACK: under `vmap`, as over clients and seeds, its triangular solves
  wait for threads of a pool that they occupy themselves. Two in one program on
  two cores stood still for good (jax 0.10.1).
  """
  d = matrix.shape[0]
  table = jnp.concatenate([matrix, columns], axis=1)

  def eliminate(k, table):
    row = table[k] / table[k, k]
    column = table[:, k].at[k].set(0.0)
    return (table - jnp.outer(column, row)).at[k].set(row)

  return jax.lax.fori_loop(0, d, eliminate, table)[:, d:]


def _square(rows):
  return jnp.matmul(rows.T, rows, precision='highest')
