# SPDX-License-Identifier: Apache-2.0
"""A view of the clients in Gram space: rules compose without touching data.

A `View` stands for M vectors that are linear combinations of N client rows. It
knows their inner products, so a rule that is invariant under rotations works on
M x M numbers, and a pre-aggregator returns another view instead of M new big
vectors. However long the chain, the client rows are read twice: once for the
Gram matrix, once for the final combination.

  view = core.view.view(updates)
  update = aggregators.krum(aggregators.nnm(view, num_byzantine=2),
                            num_byzantine=2)
"""

import dataclasses
import functools
from collections.abc import Sequence

import chex
import jax
import jax.numpy as jnp

from jaxdl.core import checks, gram as gram_lib, trees

_CANCELS = 2.0**-10  # Ten of the 24 bits of a square may be lost.


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class View:
  """M vectors, each a linear combination of N client rows.

  Attributes:
    base: stacked tree, leaves [N, ...] (this device's rows of it inside a
      mapped axis).
    frame: f32[N+1, N+1] inner products of the rows around a center c and of c
      itself, divided by the square of `unit`; rows that are not finite are
      zero.
    finite: bool[N], false for client rows that are not finite, or so far away
      (more than 2^62 units) that they cannot be compared with the others.
    coefficients: f32[M, N], or None where the vectors are the rows themselves.
    present: bool[M], or None if no row is padding.
    axis_name: mapped axis over which clients are split, if any (static).
    split_over: mapped axes over which coordinates are split, if any (static);
      `base` is then this device's share of them, and so are sums.
    anchored: whether c is the vector that the caller named (static).
    unit: f32[], the length in which everything here is measured, a power of
      two near the typical length; a radius is divided by it before it meets
      a distance.
    reads_weights: whether `combine` answers with the weights on the client rows
      instead of the sum, so that a rule tells whom it listens to (static).
  """

  base: chex.ArrayTree
  frame: chex.Array
  finite: chex.Array
  coefficients: chex.Array | None = None
  present: chex.Array | None = None
  axis_name: str | None = dataclasses.field(
    default=None, metadata={'static': True}
  )
  split_over: tuple[str, ...] = dataclasses.field(
    default=(), metadata={'static': True}
  )
  anchored: bool = dataclasses.field(default=False, metadata={'static': True})
  unit: chex.Array | float = 1.0
  reads_weights: bool = dataclasses.field(
    default=False, metadata={'static': True}
  )

  @property
  def size(self) -> int:
    """M, padding included."""
    if self.coefficients is None:
      return self.finite.shape[0]
    return self.coefficients.shape[0]

  @property
  def count(self) -> int | chex.Array:
    """Vectors that are not padding: a Python int unless there is a mask."""
    return self.size if self.present is None else jnp.sum(self.present)

  @property
  def valid(self) -> chex.Array:
    """bool[M]: present and built from finite rows only."""
    valid = self.finite
    if self.coefficients is not None:
      used = self.coefficients != 0
      valid = ~jnp.any(used & ~self.finite[None, :], axis=1)
    return valid if self.present is None else valid & self.present

  def augmented(self) -> chex.Array:
    """f32[M, N+1]: the vectors in terms of the frame's N+1 vectors."""
    n = self.finite.shape[0]
    eye = jnp.eye(n, dtype=self.frame.dtype)
    c = eye if self.coefficients is None else self.coefficients
    return jnp.concatenate([c, jnp.sum(c, axis=1, keepdims=True)], axis=1)

  def products(self) -> chex.Array:
    """f32[M, M] inner products in units²; zero for vectors that are not valid.

    Where some vectors are much shorter than the center, the rows are read once
    more: their products would be lost beside its square.
    """
    c = self.augmented()
    valid = self.valid
    both = valid[:, None] & valid[None, :]
    out = jnp.where(both, _quadratic(c, self.frame), 0)
    short = jnp.diagonal(out) < _CANCELS * self.frame[-1, -1]
    rows = c[:, :-1]
    return jax.lax.cond(
      jnp.any(valid & short),
      lambda kept: jnp.where(both, _quadratic(rows, self._from_origin()), 0),
      lambda kept: kept,
      out,
    )

  def _from_origin(self) -> chex.Array:
    """f32[N, N] inner products of the client rows around zero, in units²."""
    rows = self.base
    if self.axis_name is not None:
      rows = coordinate_shards(rows, self.axis_name)
    scale = jnp.where(self.finite, 1 / jnp.asarray(self.unit), 0)
    out = gram_lib.gram(rows, scale=scale)
    axes = self.split_over or self.axis_name
    return jax.lax.psum(out, axes) if axes else out

  def products_with(self, vector: chex.ArrayTree) -> chex.Array:
    """Inner products of the M vectors with another one, around zero.

    Args:
      vector: leaves [...], structure of one client row.

    Returns:
      f32[M], in units².

    Cost: one pass over the client rows.
    """
    inverse = 1 / jnp.asarray(self.unit)
    finite = self.finite
    if self.axis_name is not None:
      n = checks.num_clients(self.base)
      start = jax.lax.axis_index(self.axis_name) * n
      finite = jax.lax.dynamic_slice_in_dim(finite, start, n)

    def leaf(x, v):
      acc = inverse.dtype
      x = x.reshape(x.shape[0], -1).astype(acc)
      x = jnp.where(finite[:, None], x * inverse, 0)
      v = v.reshape(-1).astype(acc) * inverse
      return jnp.matmul(x, v, precision='highest')

    parts = jax.tree.leaves(jax.tree.map(leaf, self.base, vector))
    out = functools.reduce(jnp.add, parts)
    if self.split_over:
      out = jax.lax.psum(out, self.split_over)
    if self.axis_name is not None:
      out = jax.lax.all_gather(out, self.axis_name, tiled=True)
    if self.coefficients is None:
      return out
    return jnp.matmul(self.coefficients, out, precision='highest')

  def sq_norms(self) -> chex.Array:
    """f32[M] squared norms in units²; +inf for vectors that are not valid."""
    out = jnp.maximum(jnp.diagonal(self.products()), 0)
    return jnp.where(self.valid, out, jnp.inf)

  def norms(self) -> chex.Array:
    """f32[M] norms in units; +inf for vectors that are not valid.

    The gradient of a zero vector's norm is zero.
    """
    squares = self.sq_norms()
    usable = self.valid & (squares > 0)
    return jnp.where(usable, jnp.sqrt(jnp.where(usable, squares, 1)), squares)

  def centered_products(self) -> chex.Array:
    """f32[M, M] inner products around a common point near the middle, units².

    Only differences between vectors carry meaning. The point is a vector that
    fewer than half of them cannot move. Zero for vectors that are not valid.
    """
    valid = self.valid
    both = valid[:, None] & valid[None, :]
    if self.coefficients is None:
      n = self.finite.shape[0]
      return jnp.where(both, self.frame[:n, :n], 0)
    # Combinations may agree much better than the rows they are made of. What
    # two of them share drops out of their difference exactly, also the share
    # of a row that is far away.
    c = self.augmented()
    about = jnp.where(both, _quadratic(c, self.frame), 0)
    middle = gram_lib.medoid(gram_lib.squared_distances(about), mask=valid)
    c = c - jnp.take(c, middle, axis=0)[None, :]
    return jnp.where(both, _quadratic(c, self.frame), 0)

  def sq_distances(self) -> chex.Array:
    """f32[M, M] squared distances in units².

    Zero diagonal, also for vectors that are not valid; those are at +inf from
    every other vector.
    """
    out = gram_lib.squared_distances(self.centered_products())
    valid = self.valid
    out = jnp.where(valid[:, None] & valid[None, :], out, jnp.inf)
    return jnp.where(jnp.eye(self.size, dtype=bool), 0, out)

  def sq_distances_to(self, point: chex.Array) -> chex.Array:
    """Squared distances from the M vectors to one point, in units².

    Args:
      point: f32[N+1], the point in terms of the frame's N+1 vectors.

    Returns:
      f32[M], +inf for vectors that are not valid.
    """
    difference = self.augmented() - point[None, :]
    moved = jnp.matmul(difference, self.frame, precision='highest')
    out = jnp.maximum(jnp.sum(moved * difference, axis=1), 0)
    return jnp.where(self.valid, out, jnp.inf)

  def pull(self, weights: chex.Array) -> chex.Array:
    """Turns weights on the M vectors into weights on the N client rows.

    Args:
      weights: f32[M] or f32[K, M].

    Returns:
      f32[N] or f32[K, N].
    """
    if self.coefficients is None:
      return weights
    return jnp.matmul(weights, self.coefficients, precision='highest')

  def mix(
    self, matrix: chex.Array, *, present: chex.Array | None = None
  ) -> 'View':
    """The view of K linear combinations of the M vectors; reads no data.

    Args:
      matrix: f32[K, M].
      present: bool[K], or None to keep this view's mask (if K = M).

    Returns:
      A view of K vectors.
    """
    if present is None and matrix.shape[0] == self.size:
      present = self.present
    return dataclasses.replace(
      self, coefficients=self.pull(matrix), present=present
    )

  def combine(self, weights: chex.Array) -> chex.ArrayTree:
    """Weighted sums of the M vectors as trees; the only pass over the data.

    Client rows that are not finite count as zero, whatever their weight.

    Args:
      weights: f32[M] or f32[K, M].

    Returns:
      Leaves [...] or [K, ...], dtypes of the client rows; f32[N] or f32[K, N]
      if this view reads weights.
    """
    pulled = self.pull(weights)
    return pulled if self.reads_weights else self._sum(pulled)

  def _sum(self, pulled):
    return combine_finite(
      pulled, self.base, self.finite, axis_name=self.axis_name
    )

  def materialize(self) -> chex.ArrayTree:
    """The M vectors as a stacked tree, leaves [M, ...]."""
    if self.coefficients is None:
      return self.base
    return self._sum(self.pull(jnp.eye(self.size, dtype=self.frame.dtype)))

  def own_mask(self) -> chex.Array | None:
    """`present` of the rows in `base`: a share of it inside a mapped axis."""
    if self.present is None or self.axis_name is None:
      return self.present
    n = checks.num_clients(self.base)
    start = jax.lax.axis_index(self.axis_name) * n
    return jax.lax.dynamic_slice_in_dim(self.present, start, n)


def _quadratic(c, frame):
  return jnp.linalg.multi_dot([c, frame, c.T], precision='highest')


def combine_finite(
  weights: chex.Array,
  stacked: chex.ArrayTree,
  finite: chex.Array,
  *,
  units: chex.Array | None = None,
  axis_name: str | None = None,
) -> chex.ArrayTree:
  """Contracts the client axis, leaving out rows that are not finite.

  Args:
    weights: f32[N] or f32[M, N].
    stacked: leaves [N, ...], this device's rows if `axis_name` is given.
    finite: bool[N], false for rows to leave out (they may hold NaN or inf).
    units: f32[N], powers of two that rows are divided by before they meet their
      weights, where a weight alone would leave the range; ones by default.
    axis_name: mapped axis over which the clients are split; `weights`, `finite`
      and `units` are still those of all clients.

  Returns:
    Leaves [...] or [M, ...], dtypes of `stacked`.

  Cost: that of `trees.combine` if all rows are finite and all units one, a copy
    of `stacked` more if not.
  """
  if units is None:
    scale = finite.astype(jnp.float32)
  else:
    scale = jnp.where(finite, 1 / units, 0)
  return _combine(weights, stacked, jax.lax.stop_gradient(scale), axis_name)


def _combine(weights, stacked, scale, axis_name):
  if axis_name is not None:
    n = checks.num_clients(stacked)
    start = jax.lax.axis_index(axis_name) * n
    weights = jax.lax.dynamic_slice_in_dim(weights, start, n, -1)
    scale = jax.lax.dynamic_slice_in_dim(scale, start, n, 0)
    # Round once, after the sum over devices.
    wide = jax.tree.map(lambda x: x.astype(trees.accumulator(x.dtype)), stacked)
    total = jax.lax.psum(_combine_scaled(weights, wide, scale), axis_name)
    return trees.cast_like(total, stacked)
  return _combine_scaled(weights, stacked, scale)


@jax.custom_jvp
def _combine_scaled(weights, stacked, scale):
  return jax.lax.cond(
    jnp.all(scale == 1),
    trees.combine,
    lambda w, x: trees.combine(jnp.where(scale > 0, w, 0), _scaled(x, scale)),
    weights,
    stacked,
  )


def _scaled(stacked, scale):
  # A product with zero would keep what is not finite.
  return trees.scale_rows(scale, trees.where_rows(scale > 0, stacked, 0.0))


@functools.partial(_combine_scaled.defjvp, symbolic_zeros=True)
def _combine_scaled_slope(primals, tangents):
  """Safe in both branches, which `vmap` takes; what stands still is free."""
  weights, stacked, scale = primals
  moved, rows_moved, _ = tangents
  out = _combine_scaled(weights, stacked, scale)
  still = lambda t: isinstance(t, jax.custom_derivatives.SymbolicZero)
  slope = jax.tree.map(jnp.zeros_like, out)
  if not still(moved):
    slope = trees.combine(
      jnp.where(scale > 0, moved, 0), _scaled(stacked, scale)
    )
  if not all(still(t) for t in jax.tree.leaves(rows_moved)):
    rows = jax.tree.map(
      lambda t: jnp.zeros(t.shape, t.dtype) if still(t) else t, rows_moved
    )
    kept = jnp.where(scale > 0, weights, 0)
    turned = trees.combine(kept, trees.scale_rows(scale, rows))
    slope = jax.tree.map(jnp.add, slope, turned)
  return out, slope


def coordinate_shards(
  stacked: chex.ArrayTree, axis_name: str
) -> chex.ArrayTree:
  """Exchanges a share of the clients for a share of the coordinates.

  Args:
    stacked: leaves [N / P, ...], this device's clients on an axis of size P.
    axis_name: the mapped axis.

  Returns:
    Leaves [N, S] with S = ceil(D / P); the last share is padded with zeros.
  """
  devices = checks.axis_size(axis_name)

  def leaf(x):
    flat = x.reshape(x.shape[0], -1)
    pad = -flat.shape[1] % devices
    flat = jnp.pad(flat, ((0, 0), (0, pad)))
    return jax.lax.all_to_all(flat, axis_name, 1, 0, tiled=True)

  return jax.tree.map(leaf, stacked)


def own_coordinates(tree: chex.ArrayTree, axis_name: str) -> chex.ArrayTree:
  """Cuts this device's coordinates out of a vector that every device holds.

  Args:
    tree: leaves [...], the same on every device.
    axis_name: the mapped axis, of size P.

  Returns:
    Leaves [S], S = ceil(D / P), as in `coordinate_shards`.
  """
  devices = checks.axis_size(axis_name)

  def leaf(x):
    flat = jnp.pad(x.reshape(-1), (0, -x.size % devices))
    size = flat.shape[0] // devices
    start = jax.lax.axis_index(axis_name) * size
    return jax.lax.dynamic_slice_in_dim(flat, start, size)

  return jax.tree.map(leaf, tree)


def from_coordinate_shards(
  shards: chex.ArrayTree, like: chex.ArrayTree, axis_name: str
) -> chex.ArrayTree:
  """Joins per-device coordinates of one vector into the whole vector.

  Args:
    shards: leaves [S], this device's coordinates.
    like: stacked tree whose leaves [n, ...] give the shapes.
    axis_name: the mapped axis.

  Returns:
    Leaves [...], the same on every device.
  """

  def leaf(x, y):
    whole = jax.lax.all_gather(x, axis_name, tiled=True)
    return whole[: y.size // y.shape[0]].reshape(y.shape[1:])

  return jax.tree.map(leaf, shards, like)


def view(
  updates: chex.ArrayTree | View,
  *,
  mask: chex.Array | None = None,
  anchor: chex.ArrayTree | None = None,
  axis_name: str | None = None,
) -> View:
  """Reads the clients once and returns their view in Gram space.

  Args:
    updates: stacked tree, leaves [N, ...], floating point; a view is returned
      as it is (its mask and anchor are its own).
    mask: bool[N], false for padding rows, which never move a result.
    anchor: leaves [...], a vector that rules may use beside the clients (a
      trusted gradient, the last update); the center of the frame.
    axis_name: axis of an enclosing `pmap`, `shard_map` or `vmap`; leaves (and
      `mask`) are then this device's share of the clients, and the view is of
      all clients. Data moves by one all-to-all and one sum of N x N numbers.

  Returns:
    A `View` of the N rows.

  Raises:
    ValueError: if client axes differ, `mask` or `anchor` do not fit,
      `axis_name` is not mapped, or one of them comes with a view.
    TypeError: if a leaf is not floating point or `mask` is not boolean.

  Range: all of the dtype. A row more than 2^62 times longer than a typical one
  counts as not finite, as an adversary's NaN does.
  """
  if isinstance(updates, View):
    check_settled(mask=mask, anchor=anchor, axis_name=axis_name)
    return updates
  updates = check_floating(updates)
  n = checks.num_clients(updates)
  shared = updates
  if axis_name is not None:
    shared = coordinate_shards(updates, axis_name)
    n = n * checks.axis_size(axis_name)
    if mask is not None:
      mask = jax.lax.all_gather(mask, axis_name, tiled=True)
  mask = check_mask(mask, n)
  if anchor is None:
    frame = gram_lib.centered_gram(shared, mask=mask, axis_name=axis_name)
  else:
    anchor = check_anchor(anchor, updates)
    if axis_name is not None:
      anchor = own_coordinates(anchor, axis_name)
    frame = gram_lib.anchored_gram(
      shared, anchor, mask=mask, axis_name=axis_name
    )
  return _of_frame(
    updates, frame, mask, axis_name=axis_name, anchored=anchor is not None
  )


def _of_frame(base, frame, mask, **how):
  finite = jnp.isfinite(jnp.diagonal(frame.products))
  both = finite[:, None] & finite[None, :]
  return View(
    base=base,
    frame=jnp.where(both, frame.products, 0),
    finite=finite[:-1] & finite[-1],
    present=mask,
    unit=frame.unit,
    **how,
  )


def coordinate_view(
  shards: chex.ArrayTree,
  axes: str | Sequence[str],
  *,
  mask: chex.Array | None = None,
) -> View:
  """As `view`, where every device has some coordinates of all clients.

  Sums of the view, and what it writes out, are this device's coordinates:
  rules on coordinates may follow without any exchange.

  Args:
    shards: leaves [N, ...], this device's share of the coordinates.
    axes: mapped axes over which coordinates are split.
    mask: bool[N], false for padding rows; the same on every device.

  Returns:
    A `View` of the N rows, whose numbers are the same on every device.

  Raises:
    ValueError: if client axes differ or `mask` does not fit.
    TypeError: if a leaf is not floating point or `mask` is not boolean.

  Cost: one pass over `shards` and two sums of N x N numbers over devices.
  """
  shards = check_floating(shards, name='shards')
  axes = (axes,) if isinstance(axes, str) else tuple(axes)
  n = checks.num_clients(shards, name='shards')
  mask = check_mask(mask, n)
  frame = gram_lib.centered_gram(shards, mask=mask, axis_name=axes)
  return _of_frame(shards, frame, mask, split_over=axes)


def check_floating(
  updates: chex.ArrayTree, *, name: str = 'updates'
) -> chex.ArrayTree:
  """Checks that every leaf is floating point.

  Args:
    updates: any tree of arrays.
    name: what the caller calls it.

  Returns:
    The tree with leaves that are JAX arrays.

  Raises:
    TypeError: if a leaf is not, naming it.
  """
  for path, leaf in jax.tree_util.tree_leaves_with_path(updates):
    dtype = jnp.result_type(leaf)
    if not jnp.issubdtype(dtype, jnp.floating):
      raise TypeError(
        f'{name}{jax.tree_util.keystr(path)} must be floating point; got '
        f'{dtype}.'
      )
  return jax.tree.map(jnp.asarray, updates)


def check_mask(mask: chex.Array | None, n: int) -> chex.Array | None:
  """Checks a mask of padding rows.

  Args:
    mask: bool[N] or None.
    n: N.

  Returns:
    The mask as a JAX array.

  Raises:
    ValueError: if its shape is not [N].
    TypeError: if it is not boolean.
  """
  if mask is None:
    return None
  if jnp.shape(mask) != (n,):
    raise ValueError(f'mask must have shape [{n}]; got {jnp.shape(mask)}.')
  if jnp.result_type(mask) != jnp.bool_:
    raise TypeError(f'mask must be boolean; got {jnp.result_type(mask)}.')
  return jnp.asarray(mask)


def check_settled(**given: object) -> None:
  """Refuses beside a view what must be said when it is made.

  Args:
    **given: arguments that came with a view, None if absent.

  Raises:
    ValueError: if one is there.
  """
  for name, value in given.items():
    if value is not None:
      raise ValueError(
        f'{name} comes with a view, which has its own: pass it to '
        'core.view.view.'
      )


def check_anchor(
  anchor: chex.ArrayTree, updates: chex.ArrayTree
) -> chex.ArrayTree:
  """Checks that a vector looks like one update.

  Args:
    anchor: leaves [...].
    updates: stacked tree, leaves [N, ...].

  Returns:
    The vector with leaves that are JAX arrays.

  Raises:
    ValueError: if its structure or a shape differs.
  """
  want = [x.shape[1:] for x in jax.tree.leaves(updates)]
  got = [jnp.shape(x) for x in jax.tree.leaves(anchor)]
  same = jax.tree.structure(anchor) == jax.tree.structure(updates)
  if not same or want != got:
    raise ValueError(
      f'the reference vector must look like one update, with leaves {want}; '
      f'got leaves {got}{"" if same else " in another structure"}.'
    )
  return jax.tree.map(jnp.asarray, anchor)
