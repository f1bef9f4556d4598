# SPDX-License-Identifier: Apache-2.0
"""Inner products between clients, summed over leaves, blocks and shards."""

import chex
import jax
import jax.numpy as jnp

from jaxdl.core import checks, trees

_BLOCK_ELEMENTS = 1 << 18  # 1 MiB of float32 stays in a core's cache.
_SAMPLE = 1024


def gram(
  stacked: chex.ArrayTree, *, centre: chex.ArrayTree | None = None
) -> chex.Array:
  """Inner products between all client rows.

  On CPU the coordinates are read block by block, which is several times faster
  than one `X @ X.T` of a wide matrix; accelerators take one contraction.

  Args:
    stacked: leaves [N, ...], floating point.
    centre: leaves [...], a row that is subtracted from every client's first
      and that becomes row N of the result; None subtracts nothing.

  Returns:
    f32[N, N], or f32[N+1, N+1] with a centre (float64 if a leaf is float64).

  Cost: O(N² · D) work, one pass over `stacked`.

  Example:
    >>> gram(jnp.array([[1.0, 0.0], [1.0, 2.0]]))
    Array([[1., 1.],
           [1., 5.]], dtype=float32)
  """
  n = checks.num_clients(stacked, name='stacked')
  acc = trees.common_accumulator(stacked)
  leaves = jax.tree.leaves(stacked)
  centres = [None] * len(leaves) if centre is None else jax.tree.leaves(centre)
  parts = [
    _leaf_gram(x.reshape(n, -1), None if c is None else c.reshape(-1), acc)
    for x, c in zip(leaves, centres, strict=True)
  ]
  total = parts[0]
  for part in parts[1:]:
    total = total + part
  return total


def _dense_gram(x, c, acc):
  x = x.astype(acc)
  if c is not None:
    c = c.astype(acc)[None]
    x = jnp.concatenate([x - c, c], axis=0)
  return jax.lax.dot_general(
    x, x, (((1,), (1,)), ((), ())), precision='highest'
  )


def _leaf_gram(x, c, acc):
  n, size = x.shape
  block = max(256, _BLOCK_ELEMENTS // n)
  if size <= block or jax.default_backend() != 'cpu':
    return _dense_gram(x, c, acc)
  whole = size // block

  def body(i, total):
    part = jax.lax.dynamic_slice_in_dim(x, i * block, block, 1)
    shift = None
    if c is not None:
      shift = jax.lax.dynamic_slice_in_dim(c, i * block, block, 0)
    return total + _dense_gram(part, shift, acc)

  rows = n if c is None else n + 1
  total = jax.lax.fori_loop(0, whole, body, jnp.zeros((rows, rows), acc))
  if whole * block == size:
    return total
  tail = None if c is None else c[whole * block :]
  return total + _dense_gram(x[:, whole * block :], tail, acc)


def squared_distances(products: chex.Array) -> chex.Array:
  """Squared Euclidean distances from inner products.

  Args:
    products: f32[N, N] Gram matrix.

  Returns:
    f32[N, N], non-negative, exactly symmetric (so that ties between two rows
    do not hang on rounding), zero diagonal, NaN replaced by +inf.

  Example:
    >>> squared_distances(jnp.array([[1.0, 1.0], [1.0, 5.0]]))
    Array([[0., 4.],
           [4., 0.]], dtype=float32)
  """
  sq = jnp.diagonal(products)
  out = jnp.maximum(sq[:, None] + sq[None, :] - (products + products.T), 0)
  out = jnp.where(jnp.isnan(out), jnp.inf, out)
  return jnp.where(jnp.eye(out.shape[0], dtype=bool), 0, out)


def medoid(
  distances: chex.Array, *, mask: chex.Array | None = None
) -> chex.Array:
  """The row whose median distance to the others is smallest.

  Args:
    distances: f32[N, N], may hold +inf.
    mask: bool[N], rows that may be chosen and that count.

  Returns:
    i32[], the row; 0 if no row may be chosen.
  """
  return jnp.argmin(_median_distances(distances, mask))


def _median_distances(distances, mask):
  if mask is None:
    mask = jnp.ones(distances.shape[0], bool)
  distances = jnp.where(mask[None, :], distances, jnp.inf)
  ordered = jnp.sort(distances, axis=1)
  middle = jnp.take(ordered, jnp.maximum(jnp.sum(mask) - 1, 0) // 2, axis=1)
  return jnp.where(mask, middle, jnp.inf)


def _central(products, mask):
  """Medoid of the rows that are finite, and all median distances."""
  usable = jnp.isfinite(jnp.diagonal(products))
  if mask is not None:
    usable &= mask
  middle = _median_distances(squared_distances(products), usable)
  return jnp.argmin(middle), middle


def _row(stacked, index):
  return jax.tree.map(
    lambda x: jax.lax.dynamic_index_in_dim(x, index, 0, keepdims=False),
    stacked,
  )


def _sum(x, axis_name):
  return x if axis_name is None else jax.lax.psum(x, axis_name)


def centred_gram(
  stacked: chex.ArrayTree,
  *,
  mask: chex.Array | None = None,
  axis_name: str | None = None,
) -> chex.Array:
  """Gram matrix of the rows around one of them, safe against cancellation.

  Distances taken from a plain float32 Gram matrix are noise once the updates
  agree better than their length times 1e-3. Here a row near the middle of the
  crowd is subtracted first. It is guessed from a small sample of coordinates,
  checked against the result, and chosen anew from all coordinates in the rare
  case that the guess turns out to be an outlier or not finite.

  Args:
    stacked: leaves [N, ...]; this device's share of the *coordinates* of all
      clients if `axis_name` is given.
    mask: bool[N], rows that may serve as the centre.
    axis_name: mapped axis over which coordinates are split, if any.

  Returns:
    f32[N+1, N+1]: inner products of (x_1 - c, ..., x_N - c, c).

  Cost: one pass over `stacked`, three in the rare case.
  """
  n = checks.num_clients(stacked, name='stacked')
  sample = jax.tree.map(
    lambda x: x.reshape(n, -1)[:, : min(_SAMPLE, x.size // n)], stacked
  )
  guess, _ = _central(_sum(gram(sample), axis_name), mask)
  first = _sum(gram(stacked, centre=_row(stacked, guess)), axis_name)
  _, middle = _central(first[:n, :n], mask)
  # Where the centre is not finite nothing is, and every distance infinite.
  good = jnp.isfinite(first[n, n]) & (middle[guess] <= 16.0 * jnp.min(middle))

  def again(_):
    best, _ = _central(_sum(gram(stacked), axis_name), mask)
    return _sum(gram(stacked, centre=_row(stacked, best)), axis_name)

  return jax.lax.cond(good, lambda kept: kept, again, first)
