# SPDX-License-Identifier: Apache-2.0
"""Inner products between clients, summed over leaves, blocks and shards."""

import functools
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp

from jaxdl.core import checks, trees

_BLOCK = 2048  # Coordinates; 20 rows of them stay in a core's nearest cache.
_SAMPLE = 1024


class Range(NamedTuple):
  """Lengths that a dtype holds the squares of.

  Attributes:
    far: rows up to this many units long have squares, and distances of two
      such rows too: 2^62 in float32.
    small: squares below this may have lost parts, 2^-63 in float32.
    large: where the typical square is smaller, what overflows is farther than
      `far`.
  """

  far: float
  small: float
  large: float


def square_range(dtype: jnp.dtype) -> Range:
  """What may be squared in a dtype.

  Args:
    dtype: float32 or float64.

  Returns:
    A `Range`.

  Example:
    >>> square_range(jnp.float32).far == 2.0**62
    True
  """
  info = jnp.finfo(dtype)
  return Range(2.0 ** (info.maxexp // 2 - 2), 2.0 ** (info.minexp // 2), 4.0)


def gram(
  stacked: chex.ArrayTree,
  *,
  center: chex.ArrayTree | None = None,
  scale: chex.Array | None = None,
) -> chex.Array:
  """Inner products between all client rows.

  On CPU the coordinates are read block by block, which is several times faster
  than one `X @ X.T` of a wide matrix; accelerators take one contraction.

  Args:
    stacked: leaves [N, ...], floating point.
    center: leaves [...], a row that is subtracted from every client's first
      and that becomes row N of the result; None subtracts nothing.
    scale: f32[N] factors on the rows, applied before the center is subtracted
      and anything is squared; a row whose factor is zero counts as the center
      (as zero without one), whatever it holds.

  Returns:
    f32[N, N], or f32[N+1, N+1] with a center (float64 if a leaf is float64).
    Entries that are not finite make products that are not, and have no slope.

  Cost: O(N² · D) work, one pass over `stacked`.

  Example:
    >>> gram(jnp.array([[1.0, 0.0], [1.0, 2.0]]))
    Array([[1., 1.],
           [1., 5.]], dtype=float32)
  """
  n = checks.num_clients(stacked, name='stacked')
  acc = trees.common_accumulator(stacked)
  leaves = jax.tree.leaves(stacked)
  centers = [None] * len(leaves) if center is None else jax.tree.leaves(center)
  parts = [
    _leaf_gram(
      x.reshape(n, -1), None if c is None else c.reshape(-1), scale, acc
    )
    for x, c in zip(leaves, centers, strict=True)
  ]
  total = parts[0]
  for part in parts[1:]:
    total = total + part
  return total


def _outer(x, y):
  return jax.lax.dot_general(
    x, y, (((1,), (1,)), ((), ())), precision='highest'
  )


@jax.custom_jvp
def _products(x):
  return _outer(x, x)


@_products.defjvp
def _products_slope(primals, tangents):
  (x,), (moved,) = primals, tangents
  half = _outer(moved, trees.finite_or_zero(x))
  return _products(x), half + half.T


def _dense_gram(x, c, scale, acc, about=None):
  x = x.astype(acc)
  if about is not None:
    own = (jnp.arange(x.shape[0]) == about)[:, None]
    center = jax.lax.dynamic_index_in_dim(x, about, 0)
    return _products(jnp.where(own, x, x - center))
  if c is not None:
    c = c.astype(acc)[None]
  if scale is not None:
    factor = scale.astype(acc)[:, None]
    x = jnp.where(factor > 0, x * factor, 0 if c is None else c)
  if c is not None:
    x = jnp.concatenate([x - c, c], axis=0)
  return _products(x)


def _leaf_gram(x, c, scale, acc, about=None):
  n, size = x.shape
  block = _BLOCK
  if size <= block or jax.default_backend() != 'cpu':
    return _dense_gram(x, c, scale, acc, about)
  whole = size // block

  def body(i, total):
    part = jax.lax.dynamic_slice_in_dim(x, i * block, block, 1)
    shift = None
    if c is not None:
      shift = jax.lax.dynamic_slice_in_dim(c, i * block, block, 0)
    return total + _dense_gram(part, shift, scale, acc, about)

  rows = n if c is None else n + 1
  total = jax.lax.fori_loop(0, whole, body, jnp.zeros((rows, rows), acc))
  if whole * block == size:
    return total
  tail = None if c is None else c[whole * block :]
  return total + _dense_gram(x[:, whole * block :], tail, scale, acc, about)


def _gram_about(stacked, index):
  """As `gram` with one of the rows as the center, which costs no more row."""
  n = checks.num_clients(stacked)
  acc = trees.common_accumulator(stacked)
  total = trees.sum_leaves(
    lambda x: _leaf_gram(x.reshape(n, -1), None, None, acc, index), stacked
  )
  # The center stands where its own difference, zero, would have stood.
  own = jnp.arange(n) == index
  inner = jnp.where(own[:, None] | own[None, :], 0, total)
  row = jnp.where(own, 0, total[index])
  corner = total[index, index]
  return jnp.block([[inner, row[:, None]], [row[None], corner[None, None]]])


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


class Frame(NamedTuple):
  """Inner products in a unit of length that suits the rows.

  Attributes:
    products: inner products divided by the unit's square; NaN where a row is
      not finite or too far to be compared.
    unit: f32[], a power of two.
  """

  products: chex.Array
  unit: chex.Array


def row_sizes(
  stacked: chex.ArrayTree, *, axis_name: str | None = None
) -> tuple[chex.Array, chex.Array]:
  """Largest absolute entry of every row, and which rows are finite.

  Args:
    stacked: leaves [N, ...]; a share of the coordinates if `axis_name` is
      given.
    axis_name: mapped axis over which coordinates are split, if any.

  Returns:
    f32[N], zero for rows that are not finite, and bool[N].
  """
  acc = trees.common_accumulator(stacked)
  largest, broken = [], []
  for x in jax.tree.leaves(stacked):
    x = jnp.abs(x.reshape(x.shape[0], -1).astype(acc))
    finite = jnp.isfinite(x)
    largest.append(jnp.max(jnp.where(finite, x, 0), axis=1, initial=0))
    broken.append(jnp.any(~finite, axis=1))
  # Before the maximum over devices, which has no derivative.
  size = jax.lax.stop_gradient(functools.reduce(jnp.maximum, largest))
  bad = functools.reduce(jnp.logical_or, broken)
  if axis_name is not None:
    size = jax.lax.pmax(size, axis_name)
    bad = jax.lax.pmax(bad.astype(jnp.int32), axis_name) > 0
  return jnp.where(bad, 0, size), ~bad


def row_norms(
  stacked: chex.ArrayTree, *, mask: chex.Array
) -> tuple[chex.Array, chex.Array, chex.Array]:
  """Euclidean norms of rows of any magnitude.

  Args:
    stacked: leaves [N, ...].
    mask: bool[N], rows that anybody asks for.

  Returns:
    f32[N] norms and f32[N] units, powers of two: a row is `norm * unit` long;
    bool[N], which rows are finite (norms of others are zero). The gradient of
    a zero row's norm is zero.

  Cost: one pass over `stacked`, two more where a square leaves the range.
  """
  first = trees.sq_norms(stacked)
  small = square_range(first.dtype).small
  fits = (first > small) & (first < 1 / small)
  good = jnp.all(fits | ~mask)

  def again(_):
    size, finite = row_sizes(stacked)
    unit = trees.power_of_two(size)
    scale = jnp.where(finite & (size > 0), 1 / unit, 0)
    # A product with zero would keep what is not finite.
    rows = trees.scale_rows(scale, trees.where_rows(scale > 0, stacked, 0.0))
    return trees.sq_norms(rows), unit, finite

  squares, unit, finite = jax.lax.cond(
    good,
    lambda kept: (kept, jnp.ones_like(kept), jnp.ones_like(kept, bool)),
    again,
    first,
  )
  positive = squares > 0
  norms = jnp.sqrt(jnp.where(positive & finite, squares, 1))
  return jnp.where(positive & finite, norms, 0), unit, finite


def typical(sizes: chex.Array, usable: chex.Array) -> chex.Array:
  """Lower median of the sizes; fewer than half can neither raise nor lower it.

  Args:
    sizes: f32[N], non-negative; NaN counts as infinite.
    usable: bool[N], rows that count.

  Returns:
    f32[]: the median. Where that is zero, since half of the rows vanish or
    coincide, the smallest positive size, or zero if there is none.
  """
  ordered, middle = _median(sizes, usable)
  positive = jnp.min(jnp.where(ordered > 0, ordered, jnp.inf))
  smallest = jnp.where(jnp.isfinite(positive), positive, 0)
  return jnp.where(middle > 0, middle, smallest)


def _median(sizes, usable):
  counted = usable & ~jnp.isnan(sizes)
  ordered = jnp.sort(jnp.where(counted, sizes, jnp.inf))
  number = jnp.sum(usable)
  middle = jnp.take(ordered, jnp.maximum(number - 1, 0) // 2)
  return ordered, jnp.where(number > 0, middle, 0)


def row_scales(
  stacked: chex.ArrayTree,
  *,
  mask: chex.Array | None = None,
  axis_name: str | None = None,
) -> tuple[chex.Array, chex.Array]:
  """Factors that bring rows of any magnitude to about one.

  Args:
    stacked: leaves [N, ...]; a share of the coordinates if `axis_name` is
      given.
    mask: bool[N], rows whose sizes count.
    axis_name: mapped axis over which coordinates are split, if any.

  Returns:
    f32[N]: the inverse of the unit, or zero for rows that are not finite or
    more than 2^62 units large; and the unit, f32[], a power of two.
  """
  size, finite = row_sizes(stacked, axis_name=axis_name)
  usable = finite if mask is None else finite & mask
  unit = trees.power_of_two(typical(size, usable))
  near = finite & (size / unit <= square_range(size.dtype).far)
  return jnp.where(near, 1 / unit, 0), unit


def in_units(products: chex.Array, unit: chex.Array, usable: chex.Array):
  """Frame whose unit is the typical length among its rows.

  Args:
    products: f32[N+1, N+1], the last row that of the center.
    unit: f32[], what the lengths are measured in so far.
    usable: bool[N], rows that count.

  Returns:
    A `Frame`; rows more than 2^62 units long are NaN.
  """
  squares = jnp.diagonal(products)
  n = usable.shape[0]
  usable = usable & jnp.isfinite(squares[:n])
  # Where half of the rows coincide, the length of the center is the measure.
  size = jnp.maximum(_median(squares[:n], usable)[1], squares[n])
  size = jnp.where(size > 0, size, typical(squares[:n], usable))
  root = trees.power_of_two(jnp.sqrt(size))
  products = products / (root * root)
  far = jnp.diagonal(products) > square_range(products.dtype).far ** 2
  products = jnp.where(far[:, None] | far[None, :], jnp.nan, products)
  return Frame(products, unit * root)


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


def _present(n, mask):
  return jnp.ones(n, bool) if mask is None else mask


def _fits(frame, mask):
  """Whether no square overflowed or vanished that somebody could miss."""
  n = mask.shape[0]
  squares = jnp.diagonal(frame)
  # Rows whose squares overflowed or vanished have their say in it.
  size = jnp.maximum(_median(squares[:n], mask)[1], squares[n])
  lost = jnp.any(mask & jnp.isinf(squares[:n]))
  # What overflows beside short rows is too far to be compared in any unit.
  limits = square_range(frame.dtype)
  fits = (size < limits.large) | (~lost & jnp.isfinite(size))
  return (size > limits.small) & fits


def centered_gram(
  stacked: chex.ArrayTree,
  *,
  mask: chex.Array | None = None,
  axis_name: str | None = None,
) -> Frame:
  """Gram matrix of the rows around one of them, safe at any magnitude.

  Distances taken from a plain float32 Gram matrix are noise once the updates
  agree better than their length times 1e-3, and their squares overflow or
  vanish at lengths of 1e19 and 1e-19. Here a row near the middle of the crowd,
  which fewer than half of the rows cannot move, is subtracted first. It is
  guessed from a small sample of coordinates and checked against the result. In
  the rare case that the guess turns out to be an outlier or not finite, or that
  squares left the range, rows are brought to about one and the center is chosen
  anew from all coordinates.

  Args:
    stacked: leaves [N, ...]; this device's share of the *coordinates* of all
      clients if `axis_name` is given.
    mask: bool[N], rows that may serve as the center.
    axis_name: mapped axis over which coordinates are split, if any.

  Returns:
    A `Frame` with f32[N+1, N+1]: inner products of (x_1 - c, ..., x_N - c, c).
    Its unit is the larger of the typical distance to c and the length of c.
    Rows more than 2^62 units away are NaN, like rows that are not finite.
    Distances below 1e-18 of the largest entry of a typical row count as zero.

  Cost: one pass over `stacked`, four in the rare case.
  """
  n = checks.num_clients(stacked, name='stacked')
  present = _present(n, mask)
  sample = jax.tree.map(
    lambda x: x.reshape(n, -1)[:, : min(_SAMPLE, x.size // n)], stacked
  )
  guess, _ = _central(_sum(gram(sample), axis_name), mask)
  first = _sum(_gram_about(stacked, guess), axis_name)
  _, middle = _central(first[:n, :n], mask)
  # Where the center is not finite nothing is, and every distance infinite.
  good = jnp.isfinite(first[n, n]) & (middle[guess] <= 16.0 * jnp.min(middle))
  good &= _fits(first, present)

  def again(_):
    scale, unit = row_scales(stacked, mask=mask, axis_name=axis_name)
    near = scale > 0
    best, _ = _central(
      _sum(gram(stacked, scale=scale), axis_name), present & near
    )
    frame = gram(stacked, center=_scaled_row(stacked, best, unit), scale=scale)
    return _without(_sum(frame, axis_name), near), unit

  products, unit = jax.lax.cond(
    good, lambda kept: (kept, jnp.ones_like(kept[0, 0])), again, first
  )
  return in_units(products, unit, present)


def _scaled_row(stacked, index, unit):
  """One row over the unit, in the dtype of sums; zero if it is too large."""

  def leaf(x):
    x = x.astype(trees.accumulator(x.dtype)) / unit
    return jnp.where(jnp.isfinite(x), x, 0)

  return jax.tree.map(leaf, _row(stacked, index))


def _without(frame, near):
  """Marks the rows that are too far; the center is none of them."""
  lost = jnp.append(~near, False)
  return jnp.where(lost[:, None] | lost[None, :], jnp.nan, frame)


def anchored_gram(
  stacked: chex.ArrayTree,
  anchor: chex.ArrayTree,
  *,
  mask: chex.Array | None = None,
  axis_name: str | None = None,
) -> Frame:
  """Gram matrix of the rows around a given vector, safe at any magnitude.

  Args:
    stacked: leaves [N, ...]; a share of the coordinates if `axis_name` is
      given.
    anchor: leaves [...], likewise.
    mask: bool[N], rows whose sizes count.
    axis_name: mapped axis over which coordinates are split, if any.

  Returns:
    A `Frame` as in `centered_gram` with the anchor as c.

  Cost: one pass over `stacked`, three where squares leave the range.
  """
  n = checks.num_clients(stacked, name='stacked')
  present = _present(n, mask)
  first = _sum(gram(stacked, center=anchor), axis_name)
  good = jnp.isfinite(first[n, n]) & _fits(first, present)

  def again(_):
    scale, unit = row_scales(stacked, mask=mask, axis_name=axis_name)
    one = jax.tree.map(lambda x: x[None], anchor)
    size, finite = row_sizes(one, axis_name=axis_name)
    # An anchor may be longer than the rows, never beyond comparison.
    larger = trees.power_of_two(size[0]) / square_range(size.dtype).far * 1024
    grown = jnp.maximum(unit, larger)
    scale = jnp.where(scale > 0, 1 / grown, 0)
    frame = gram(stacked, center=_scaled_row(one, 0, grown), scale=scale)
    frame = _without(_sum(frame, axis_name), scale > 0)
    return jnp.where(finite[0], frame, jnp.nan), grown

  products, unit = jax.lax.cond(
    good, lambda kept: (kept, jnp.ones_like(kept[0, 0])), again, first
  )
  return in_units(products, unit, present)


def directions(
  stacked: chex.ArrayTree,
  *,
  mask: chex.Array | None = None,
  axis_name: str | None = None,
) -> tuple[chex.Array, chex.Array, chex.Array, chex.Array, chex.Array]:
  """Cosines and lengths of the rows, each row measured in its own unit.

  Args:
    stacked: leaves [N, ...]; a share of the coordinates if `axis_name` is
      given.
    mask: bool[N], rows that anybody asks for; others are not usable.
    axis_name: mapped axis over which coordinates are split, if any.

  Returns:
    f32[N, N] cosines, with ones on the diagonal of usable rows and zeros in
    the rows and columns of others; f32[N] lengths and f32[N] units: a row is
    `length * unit` long; bool[N], which rows are usable (finite and not zero),
    and bool[N], which are finite.

  Cost: one pass over `stacked`, three where a square leaves the range.
  """
  first = _sum(gram(stacked), axis_name)
  squares = jnp.diagonal(first)
  n = squares.shape[0]
  small = square_range(squares.dtype).small
  fits = (squares > small) & (squares < 1 / small)
  good = jnp.all(fits | ~_present(n, mask))

  def again(_):
    size, finite = row_sizes(stacked, axis_name=axis_name)
    unit = trees.power_of_two(size)
    scale = jnp.where(finite & (size > 0), 1 / unit, 0)
    return _sum(gram(stacked, scale=scale), axis_name), unit, finite

  products, unit, finite = jax.lax.cond(
    good,
    lambda kept: (kept, jnp.ones_like(kept[0]), jnp.ones_like(kept[0], bool)),
    again,
    first,
  )
  squares = jnp.diagonal(products)
  usable = (squares > 0) & _present(n, mask)
  length = jnp.where(usable, jnp.sqrt(jnp.where(usable, squares, 1)), 0)
  inverse = jnp.where(usable, 1 / jnp.where(usable, length, 1), 0)
  # Whatever padding holds, it must not meet the slopes of others.
  both = usable[:, None] & usable[None, :]
  products = jnp.where(both, products, 0)
  cosines = jnp.clip(inverse[:, None] * products * inverse[None, :], -1, 1)
  own = jnp.eye(n, dtype=bool) & usable[:, None]
  return jnp.where(own, 1, cosines), length, unit, usable, finite
