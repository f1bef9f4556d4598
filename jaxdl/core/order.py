# SPDX-License-Identifier: Apache-2.0
"""Order statistics over the client axis by sorting networks.

`jnp.sort` along a short leading axis is hundreds of times slower than the
memory it touches. A sorting network of minima and maxima runs at memory speed:
up to `UNROLLED` rows every comparator is one instruction of a single fused
loop, and comparators that no output needs are never computed. Larger N goes in
log² N stages over whole arrays, block by block of coordinates so that a block
stays in cache; that compiles in seconds for any N.

NaN counts as +inf, so that non-finite entries are extremes. All functions work
on one block [N, ...], keep its dtype, and accept `count`, the number of rows
that are present when the rest are padding at +inf (see `absent_last`).
"""

import functools
from collections.abc import Callable

import chex
import jax
import jax.numpy as jnp

from jaxdl.core import trees

UNROLLED = 128
SMALL = 8
BLOCK = 2048

Rows = list[chex.Array] | chex.Array


@functools.cache
def comparators(size: int) -> tuple[tuple[int, int], ...]:
  """Lists the comparators of a sorting network, Batcher's odd-even merge sort.

  Args:
    size: number of wires, N >= 1.

  Returns:
    Pairs (i, j) with i < j: put the minimum on wire i, the maximum on wire j.
    63 pairs for 16 wires, 543 for 64.

  Example:
    >>> comparators(3)
    ((0, 1), (0, 2), (1, 2))

  Source: Batcher 1968, "Sorting networks and their applications".
  """
  pairs = []
  width = 1
  while width < size:
    step = width
    while step >= 1:
      for j in range(step % width, size - step, 2 * step):
        for i in range(min(step, size - j - step)):
          if (i + j) // (2 * width) == (i + j + step) // (2 * width):
            pairs.append((i + j, i + j + step))
      step //= 2
    width *= 2
  return tuple(pairs)


def nan_last(x: chex.Array) -> chex.Array:
  """Replaces NaN by +inf.

  Args:
    x: any floating-point array.

  Returns:
    The array without NaN.
  """
  return jnp.where(jnp.isnan(x), jnp.asarray(jnp.inf, x.dtype), x)


def absent_last(x: chex.Array, mask: chex.Array | None) -> chex.Array:
  """Replaces the rows of absent clients by +inf, so that they sort last.

  Args:
    x: [N, ...].
    mask: bool[N] or None for everyone present.

  Returns:
    [N, ...].
  """
  if mask is None:
    return x
  return jnp.where(trees.expand(mask, x), x, jnp.asarray(jnp.inf, x.dtype))


def _exchange(a: chex.Array, b: chex.Array) -> tuple[chex.Array, chex.Array]:
  """Smaller and larger entries of two arrays without NaN.

  A minimum that hands on NaN takes several instructions; a selection takes one.
  """
  below = jax.lax.lt(a, b)
  return jax.lax.select(below, a, b), jax.lax.select(below, b, a)


def _unrolled(rows: list[chex.Array]) -> list[chex.Array]:
  rows = list(rows)
  for i, j in comparators(len(rows)):
    rows[i], rows[j] = _exchange(rows[i], rows[j])
  return rows


def _halved(rows: list[chex.Array]) -> list[chex.Array]:
  """Half-cleaners of strides len(rows) / 2, ..., 2, 1."""
  rows = list(rows)
  stride = len(rows) // 2
  while stride:
    for i in range(len(rows)):
      if not i & stride:
        rows[i], rows[i + stride] = _exchange(rows[i], rows[i + stride])
    stride //= 2
  return rows


def _staged(x: chex.Array) -> chex.Array:
  """Bitonic merge sort; a pass over the block compares along two strides.

  The first runs of eight are sorted in one fused pass instead of six stages.
  """
  n, rest = x.shape[0], x.shape[1:]
  total = 1 << (n - 1).bit_length()
  pad = jnp.full((total - n, *rest), jnp.inf, x.dtype)
  x = jnp.concatenate([x, pad], axis=0)
  first = min(8, total)
  y = x.reshape(total // first, first, *rest)
  # Without the barrier the network would be computed anew for every row.
  rows = jax.lax.optimization_barrier(
    _unrolled([y[:, i] for i in range(first)])
  )
  x = jnp.stack(rows, axis=1).reshape(total, *rest)
  size = 2 * first
  while size <= total:
    # Comparing with the mirror image merges two ascending halves.
    y = x.reshape(total // size, 2, size // 2, *rest)
    low, high = y[:, 0], y[:, 1, ::-1]
    low, high = _exchange(low, high)
    x = jnp.stack([low, high[:, ::-1]], axis=1).reshape(total, *rest)
    stride = size // 4
    while stride:
      # Two strides at once where there are two: half as many passes.
      width = min(4, 2 * stride)
      y = x.reshape(total // (2 * stride), width, -1, *rest)
      rows = _halved([y[:, i] for i in range(width)])
      x = jnp.stack(rows, axis=1).reshape(total, *rest)
      stride //= width
    size *= 2
  return x[:n]


def sorted_rows(x: chex.Array) -> Rows:
  """Sorts one block over its leading axis, ascending, NaN counted as +inf.

  Args:
    x: [N, ...] floating point.

  Returns:
    A list of N arrays [...] for N <= UNROLLED (so that unused order
    statistics cost nothing), otherwise one array [N, ...].
  """
  if x.shape[0] <= UNROLLED:
    # Row by row: on the whole block it would not fuse with the network.
    return _unrolled([nan_last(x[i]) for i in range(x.shape[0])])
  return _staged(nan_last(x))


def sort(x: chex.Array) -> chex.Array:
  """Sorts an array over its leading axis, ascending, NaN counted as +inf.

  Args:
    x: [N, ...] floating point.

  Returns:
    [N, ...], same dtype.

  Example:
    >>> sort(jnp.array([3.0, 1.0, 2.0]))
    Array([1., 2., 3.], dtype=float32)
  """
  if x.shape[0] <= SMALL:
    return jnp.stack(sorted_rows(x))
  # With every row an output, the unrolled network is compiled once per row.
  return _staged(nan_last(x))


def widen(rows: Rows) -> Rows:
  """Casts sorted rows to the dtype in which sums over clients are taken.

  Args:
    rows: what `sorted_rows` returned.

  Returns:
    The rows in float32 or float64.
  """
  acc = trees.accumulator(rows[0].dtype)
  if isinstance(rows, list):
    return [row.astype(acc) for row in rows]
  return rows.astype(acc)


def pick(rows: Rows, index: int | chex.Array) -> chex.Array:
  """Takes one order statistic.

  Args:
    rows: what `sorted_rows` returned.
    index: static or traced i32[], 0 for the smallest.

  Returns:
    [...].
  """
  if isinstance(index, int):
    return rows[index]
  if isinstance(rows, list):
    # Selecting row by row stays in one loop with the network; a stack of all
    # rows would not, and compiles and runs tens of times slower.
    out = rows[0]
    for i, row in enumerate(rows[1:], 1):
      out = jnp.where(index >= i, row, out)
    return out
  return jax.lax.dynamic_index_in_dim(rows, index, 0, keepdims=False)


def _shrink(rows):
  """Powers of two that keep sums of the rows from overflowing, and N of them.

  Ones unless an entry is large or infinite; either way sums come out the same
  to the bit, but for entries that are nearly subnormal beside such ones.
  """
  acc = trees.accumulator(rows[0].dtype)
  n = len(rows)
  largest = jnp.maximum(jnp.abs(rows[0]), jnp.abs(rows[-1])).astype(acc)
  large = jnp.asarray(jnp.finfo(acc).max, acc) / (2 * n)
  return jnp.where(largest > large, jnp.asarray(0.5 ** n.bit_length(), acc), 1)


def window_mean(
  rows: Rows, start: int | chex.Array, stop: int | chex.Array
) -> chex.Array:
  """Averages the order statistics `start <= i < stop`.

  Entries outside the window never enter, be they infinite.

  Args:
    rows: what `sorted_rows` returned, N rows.
    start: static int, or traced i32 of shape [] or [...].
    stop: likewise; `start < stop`.

  Returns:
    [...], dtype of the rows; the sum is taken in float32 or float64.
  """
  dtype = rows[0].dtype
  acc = trees.accumulator(dtype)
  shrink = _shrink(rows)
  if isinstance(start, int) and isinstance(stop, int):
    kept = rows[start:stop]
    if isinstance(kept, list):
      total = functools.reduce(jnp.add, [r.astype(acc) * shrink for r in kept])
    else:
      total = jnp.sum(kept.astype(acc) * shrink[None], axis=0)
    return (total / ((stop - start) * shrink)).astype(dtype)
  shape = rows[0].shape
  start = jnp.broadcast_to(jnp.asarray(start), shape)
  stop = jnp.broadcast_to(jnp.asarray(stop), shape)
  if isinstance(rows, list):
    total = jnp.zeros(shape, acc)
    for i, row in enumerate(rows):
      inside = (start <= i) & (i < stop)
      total = total + jnp.where(inside, row.astype(acc) * shrink, 0)
  else:
    ids = jnp.arange(rows.shape[0]).reshape((-1,) + (1,) * len(shape))
    inside = (start[None] <= ids) & (ids < stop[None])
    wide = rows.astype(acc) * shrink[None]
    total = jnp.sum(jnp.where(inside, wide, 0), axis=0)
  number = jnp.maximum(stop - start, 1).astype(acc)
  return (total / (number * shrink)).astype(dtype)


def median_of(
  rows: Rows, *, kind: str = 'average', count: int | chex.Array | None = None
) -> chex.Array:
  """Median of sorted rows.

  Args:
    rows: what `sorted_rows` returned.
    kind: 'average' of the two middle entries or the 'lower' one (static).
    count: rows present, all of them by default; static or traced.

  Returns:
    [...].
  """
  n = len(rows) if count is None else count
  low = pick(rows, (n - 1) // 2)
  if kind == 'lower':
    return low
  high = pick(rows, n // 2)
  # Halving first avoids overflow, by factors of two signs, as a compiler takes
  # a common one out again; the guard keeps inf - inf out of it.
  half = jnp.asarray(0.5, low.dtype)
  middle = low * half - high * -half
  return jnp.where((low == high) | jnp.isinf(low), low, middle)


def nearest_mean(
  rows: Rows,
  center: chex.Array,
  num_kept: int | chex.Array,
  *,
  max_moves: int | None = None,
) -> chex.Array:
  """Averages, per coordinate, the entries nearest to a center.

  The kept entries are consecutive in sorted order: starting from the smallest
  ones, the window moves up past entry j while entry j + num_kept is nearer.
  Equal distances keep the smaller entry. Absent rows sit at +inf, where the
  window never goes.

  Args:
    rows: what `sorted_rows` returned, N rows.
    center: [...].
    num_kept: entries to average, 1 <= num_kept <= N; static or traced.
    max_moves: how many entries are present beyond `num_kept`, at most (static);
      N by default. A small number is faster where `num_kept` is traced.

  Returns:
    [...], dtype of the rows; the sum is taken in float32 or float64.
  """
  n = len(rows)
  dtype = rows[0].dtype
  acc = trees.accumulator(dtype)
  if isinstance(num_kept, int) and isinstance(rows, list):
    k = num_kept
    shrink = _shrink(rows)
    up = [_is_nearer(rows[j + k], rows[j], center) for j in range(n - k)]
    total = jnp.zeros(center.shape, acc)
    for i in range(n):
      kept = rows[i].astype(acc) * shrink
      if i < n - k:  # Dropped once the window has moved past it.
        kept = jnp.where(up[i], 0, kept)
      if i >= k:  # Only reached when the window has moved up to it.
        kept = jnp.where(up[i - k], kept, 0)
      total = total + kept
    return (total / (k * shrink)).astype(dtype)
  start = jnp.zeros(center.shape, jnp.int32)
  for up, _, _ in _moves(rows, center, num_kept, max_moves):
    start = start + up
  return window_mean(rows, start, start + num_kept)


def _is_nearer(above, below, center):
  """Whether the entry above a center is nearer; halves do not overflow."""
  # Factors of two signs: a compiler takes a common one out again.
  half = jnp.asarray(0.5, center.dtype)
  return above * half + center * -half < center * half + below * -half


def _moves(rows, center, num_kept, max_moves):
  """Whether the window moves up past entry j, and its new ends if it does."""
  n = len(rows)
  moves = n - 1 if max_moves is None else min(max_moves, n - 1)
  if isinstance(num_kept, int):
    moves = min(moves, n - num_kept)
  for j in range(moves):
    ahead = j + num_kept
    if isinstance(num_kept, int):
      above = pick(rows, ahead)
      up = _is_nearer(above, rows[j], center)
    else:  # A traced window may have no room left.
      above = pick(rows, jnp.minimum(ahead, n - 1))
      up = _is_nearer(above, rows[j], center) & (ahead < n)
    yield up, rows[j + 1], above


def window_of(
  rows: Rows, start: int | chex.Array, stop: int | chex.Array
) -> tuple[chex.Array, chex.Array]:
  """Smallest and largest entry of a window of order statistics.

  Args:
    rows: what `sorted_rows` returned.
    start: first index; static or traced i32[].
    stop: index after the last.

  Returns:
    Two arrays [...].
  """
  return pick(rows, start), pick(rows, stop - 1)


def nearest_window(
  rows: Rows,
  center: chex.Array,
  num_kept: int | chex.Array,
  *,
  max_moves: int | None = None,
) -> tuple[chex.Array, chex.Array, chex.Array]:
  """Ends of the window of entries that `nearest_mean` averages.

  Args:
    rows: what `sorted_rows` returned, N rows.
    center: [...].
    num_kept: as in `nearest_mean`.
    max_moves: as in `nearest_mean`.

  Returns:
    Smallest and largest entry and i32, the index of the smallest in sorted
    order, each [...].
  """
  low, high = pick(rows, 0), pick(rows, num_kept - 1)
  start = jnp.zeros(center.shape, jnp.int32)
  for up, below, above in _moves(rows, center, num_kept, max_moves):
    low = jnp.where(up, below, low)
    high = jnp.where(up, above, high)
    start = start + up
  return low, high, start


def by_blocks(
  kernel: Callable[[chex.Array], chex.Array], x: chex.Array
) -> chex.Array:
  """Applies a coordinate-wise kernel to one leaf.

  Small N runs as one fused loop; larger N goes block by block of coordinates
  on CPU so that the stages stay in cache. Accelerators take the whole leaf.

  Args:
    kernel: maps [N, B] to [B], each coordinate on its own.
    x: [N, ...].

  Returns:
    [...].
  """
  n, shape = x.shape[0], x.shape[1:]
  flat = x.reshape(n, -1)
  size = flat.shape[1]
  if n <= UNROLLED or size <= BLOCK or jax.default_backend() != 'cpu':
    return kernel(flat).reshape(shape)

  # The last block starts earlier instead of being padded: overlaps are
  # computed twice with the same result.
  starts = [min(i, size - BLOCK) for i in range(0, size, BLOCK)]
  blocks = jax.lax.map(
    lambda s: kernel(jax.lax.dynamic_slice_in_dim(flat, s, BLOCK, 1)),
    jnp.asarray(starts),
  )
  out = blocks[:-1].reshape(-1)
  tail = size - out.shape[0]
  return jnp.concatenate([out, blocks[-1][BLOCK - tail :]]).reshape(shape)
