# SPDX-License-Identifier: Apache-2.0
"""The two families of rules; each wrapper carries tree, dtype, mask and axis.

Gram rules turn a `core.view.View` into weights on its vectors. Coordinate rules
turn one block [N, B] into [B]. The rules themselves never see pytrees, devices
or dtypes.
"""

import functools
import math
from collections.abc import Callable
from typing import NamedTuple, TypeVar

import chex
import jax
import jax.numpy as jnp

from jaxdl.core import checks, gram as gram_lib, order, trees, view as view_lib

Updates = chex.ArrayTree | view_lib.View
WeightsFn = Callable[[view_lib.View], chex.Array]
MatrixFn = Callable[[view_lib.View], tuple[chex.Array, chex.Array | None]]
Kernel = Callable[[chex.Array, int | chex.Array], 'Average']
T = TypeVar('T')
_LONG = 2.0**60


class Average(NamedTuple):
  """What a coordinate rule makes of one block: the mean of a sorted window.

  Attributes:
    value: [B], the result, possibly wider than the block.
    low: [B], the smallest entry that was averaged.
    high: [B], the largest one.
    start: index of the smallest one in sorted order; i32[B], i32[] or static.
    kept: how many entries were averaged; i32[] or static.
  """

  value: chex.Array
  low: chex.Array
  high: chex.Array
  start: int | chex.Array
  kept: int | chex.Array


def num_vectors(updates: Updates, axis_name: str | None = None) -> int:
  """N over all devices (M for a view), a Python int.

  Args:
    updates: stacked tree or view.
    axis_name: mapped axis over which the tree's clients are split.

  Returns:
    The static number of vectors, padding included.
  """
  if isinstance(updates, view_lib.View):
    return updates.size
  n = checks.num_clients(updates)
  return n if axis_name is None else n * checks.axis_size(axis_name)


def check_tolerance(
  rule: str, n: int, num_byzantine: int, *, factor: int = 2, extra: int = 1
) -> int:
  """Checks n >= factor * f + extra; f = 0 is always possible.

  Args:
    rule: name for the message.
    n: vectors at hand.
    num_byzantine: f.
    factor: of f in the requirement.
    extra: constant in the requirement.

  Returns:
    f as an int.

  Raises:
    TypeError: if f is not an integer.
    ValueError: if f is negative or too large for n.
  """
  f = checks.integer(num_byzantine, name='num_byzantine', low=0)
  if f and n < factor * f + extra:
    raise ValueError(
      f'{rule} needs n >= {factor}f+{extra} (n={n}, f={f}): lower '
      'num_byzantine or add clients.'
    )
  return f


def check_static(value: object, *, name: str) -> None:
  """Refuses a traced number where it decides about shapes or counts.

  Args:
    value: the number.
    name: the argument's name, for the message.

  Raises:
    TypeError: if it is being traced.
  """
  if isinstance(value, jax.core.Tracer):
    raise TypeError(
      f'{name} is static but is being traced: give a Python number, bound by '
      'functools.partial or named in static_argnames of jax.jit.'
    )


def no_weights(rule: str, weights: chex.Array | None) -> None:
  """Refuses importances where a rule would not listen to them.

  Args:
    rule: name for the message.
    weights: must be None.

  Raises:
    ValueError: if there are weights.
  """
  if weights is not None:
    raise ValueError(
      f'weights: {rule} takes no importances of clients: leave weights out, or '
      'take mean without pre-aggregators.'
    )


def full_precision(fn: Callable[..., T]) -> Callable[..., T]:
  """Makes every matrix product in a function a full-precision one.

  Accelerators round float32 factors to 10 bits by default, which reorders
  neighbors; the matrices here are at most N x N.

  Args:
    fn: any function of arrays.

  Returns:
    The function.
  """

  @functools.wraps(fn)
  def exact(*args, **kwargs):
    with jax.default_matmul_precision('highest'):
      return fn(*args, **kwargs)

  return exact


def gram_rule(
  updates: Updates,
  weights_fn: WeightsFn,
  *,
  mask: chex.Array | None,
  axis_name: str | None,
) -> chex.ArrayTree:
  """Applies a Gram rule.

  Args:
    updates: stacked tree or view.
    weights_fn: the rule, on a view of M vectors: f32[M].
    mask: bool[N] or None.
    axis_name: mapped axis or None.

  Returns:
    Leaves [...].
  """
  seen = view_lib.view(updates, mask=mask, axis_name=axis_name)
  return seen.combine(full_precision(weights_fn)(seen))


def length_rule(
  updates: Updates,
  weights_fn: Callable[['Lengths'], chex.Array],
  *,
  mask: chex.Array | None,
  axis_name: str | None,
) -> chex.ArrayTree:
  """Applies a rule that looks at nothing but the clients' norms.

  Args:
    updates: stacked tree or view.
    weights_fn: the rule, on `Lengths` of M vectors: f32[M].
    mask: bool[N] or None.
    axis_name: mapped axis or None.

  Returns:
    Leaves [...].

  Cost: no Gram matrix on a tree.
  """
  if axis_name is None and not isinstance(updates, view_lib.View):
    found = lengths(updates, mask=mask)
    return view_lib.combine_finite(weights_fn(found), updates, found.finite)
  seen = view_lib.view(updates, mask=mask, axis_name=axis_name)
  return seen.combine(weights_fn(lengths(seen)))


def gram_matrix(
  updates: Updates,
  matrix_fn: MatrixFn,
  *,
  mask: chex.Array | None,
  axis_name: str | None,
) -> Updates:
  """Applies a pre-aggregator: a view stays one, a tree becomes M rows.

  Args:
    updates: stacked tree or view.
    matrix_fn: maps a view of M vectors to (f32[K, M], bool[K] or None).
    mask: bool[N] or None.
    axis_name: mapped axis or None.

  Returns:
    A view if a view came in, otherwise leaves [K, ...].
  """
  seen = view_lib.view(updates, mask=mask, axis_name=axis_name)
  matrix, present = full_precision(matrix_fn)(seen)
  out = seen.mix(matrix, present=present)
  return out if isinstance(updates, view_lib.View) else out.materialize()


def coordinate_rule(
  updates: Updates,
  kernel: Kernel,
  *,
  mask: chex.Array | None,
  axis_name: str | None,
) -> chex.ArrayTree:
  """Applies a rule that treats every coordinate on its own.

  Args:
    updates: stacked tree or view (whose M vectors are then written out;
      those that are not valid as +inf).
    kernel: maps a block [N, B] and the number of present rows to an `Average`.
      Absent rows hold +inf.
    mask: bool[N] or None; this device's share of it if `axis_name` is given.
    axis_name: mapped axis or None; clients are exchanged for coordinates by
      one all-to-all, the result is gathered.

  Returns:
    Leaves [...], dtypes of the input.
  """
  if isinstance(updates, view_lib.View):
    view_lib.check_settled(mask=mask, axis_name=axis_name)
    if updates.reads_weights:
      return _coordinate_weights(updates, kernel)
    view, mask = updates, updates.present
    updates = view.materialize()
    if view.coefficients is None:
      axis_name = view.axis_name
    else:
      updates = trees.where_rows(view.valid, updates, math.inf)
  else:
    updates = view_lib.check_floating(updates)
    num_vectors(updates, axis_name)
    if axis_name is not None and mask is not None:
      mask = jax.lax.all_gather(mask, axis_name, tiled=True)
  local = updates
  if axis_name is not None:
    local = view_lib.coordinate_shards(updates, axis_name)
  n = checks.num_clients(local)
  mask = view_lib.check_mask(mask, n)
  count = n if mask is None else jnp.sum(mask)

  def leaf(x):
    if mask is not None:
      x = order.absent_last(x, mask)
    return order.by_blocks(lambda block: _average(kernel, block, count), x)

  out = jax.tree.map(leaf, local)
  if mask is not None:  # Nobody there: keep still.
    out = jax.tree.map(lambda x: jnp.where(count > 0, x, 0), out)
  if axis_name is None:
    return out
  return view_lib.from_coordinate_shards(out, updates, axis_name)


def _coordinate_weights(view, kernel):
  """f32[N], averages over coordinates of the weights there."""
  rows = view.materialize()
  if view.axis_name is not None and view.coefficients is None:
    # Only here does a device hold the updates of all clients.
    rows = jax.lax.all_gather(rows, view.axis_name, tiled=True)
  rule = lambda rows: coordinate_rule(
    rows, kernel, mask=view.present, axis_name=None
  )
  return view.pull(merge_shares(rule, rows))


def _average(kernel, block, count):
  """The kernel's result, differentiated as the average that it is.

  The derivative gives equal shares to the entries of the kernel's window, and
  entries that equal one of its ends share what the window holds of them: they
  cannot be told apart. Differentiating through the sorting network would give
  the same, except at ties, but compiles and runs many times slower.
  """
  static = isinstance(count, int)

  def whole(x, traced):
    out = kernel(x, count if static else traced)
    return out._replace(value=out.value.astype(x.dtype))

  @jax.custom_jvp
  def value(block, count):
    return whole(block, count).value

  @value.defjvp
  def derivative(primals, tangents):
    block, moved = primals[0], tangents[0]
    out = whole(*primals)
    # Without the barrier the network would be fused into every row's loop.
    low, high = jax.lax.optimization_barrier((out.low, out.high))
    dtype = block.dtype
    kept = jnp.asarray(out.kept, dtype)
    # The ends are copies of entries, so equality means the same entry's value.
    at_low, at_high = block == low[None], block == high[None]
    below, inside = (
      block < low[None],
      (block > low[None]) & (block < high[None]),
    )
    number = lambda marks: jnp.sum(marks, axis=0).astype(dtype)
    start = jnp.asarray(out.start, dtype)
    num_low, num_high = number(at_low), number(at_high)
    one_value = low >= high
    from_low = number(below) + num_low - start
    from_high = kept - from_low - number(inside)
    low_share = jnp.where(one_value, kept, from_low) / jnp.maximum(num_low, 1)
    high_share = jnp.where(one_value, 0, from_high) / jnp.maximum(num_high, 1)
    share = jnp.where(
      inside,
      jnp.ones((), dtype),
      at_low * low_share[None] + (at_high * high_share[None]),
    )
    total = jnp.sum(share * moved, axis=0)
    return out.value, total / jnp.maximum(kept, 1)

  return value(block, 0 if static else count)


class Directions(NamedTuple):
  """Unit vectors and lengths of M vectors, seen from the origin.

  Attributes:
    cosines: f32[M, M]; ones on the diagonal of usable vectors, zeros in rows
      and columns of others.
    lengths: f32[M], in terms of `units`; zero where not usable.
    units: f32[M], powers of two: a vector is `lengths * units` long.
    usable: bool[M], finite and not zero.
    finite: bool[M], neither padding nor broken.
    present: bool[M], or None if no row is padding.
  """

  cosines: chex.Array
  lengths: chex.Array
  units: chex.Array
  usable: chex.Array
  finite: chex.Array
  present: chex.Array | None

  @property
  def num_present(self) -> int | chex.Array:
    """Vectors that are not padding: a Python int unless there is a mask."""
    m = self.lengths.shape[0]
    return m if self.present is None else jnp.sum(self.present)

  def inverse(self) -> chex.Array:
    """f32[M], one over the length in units; zero where not usable."""
    safe = jnp.where(self.usable, self.lengths, 1)
    return jnp.where(self.usable, 1 / safe, 0)

  def relative(self) -> tuple[chex.Array, chex.Array]:
    """f32[M], lengths in one common unit near the typical one; that unit."""
    size = self.lengths * self.units
    unit = trees.power_of_two(gram_lib.typical(size, self.usable))
    return self.lengths * (self.units / unit), unit


def directions(
  updates: Updates,
  *,
  mask: chex.Array | None = None,
  axis_name: str | None = None,
) -> Directions:
  """Directions of the clients, each right whatever the lengths of others.

  Args:
    updates: stacked tree or view.
    mask: bool[N] or None.
    axis_name: mapped axis or None.

  Returns:
    `Directions` of the M vectors.
  """
  if isinstance(updates, view_lib.View):
    view_lib.check_settled(mask=mask, axis_name=axis_name)
    products = updates.products()
    squares = jnp.diagonal(products)
    usable = updates.valid & (squares > 0)
    lengths = jnp.where(usable, jnp.sqrt(jnp.where(usable, squares, 1)), 0)
    inverse = jnp.where(usable, 1 / jnp.where(usable, lengths, 1), 0)
    cosines = jnp.clip(inverse[:, None] * products * inverse[None, :], -1, 1)
    own = jnp.eye(updates.size, dtype=bool) & usable[:, None]
    units = jnp.full_like(lengths, updates.unit)
    return Directions(
      jnp.where(own, 1, cosines), lengths, units, usable, updates.valid,
      updates.present,
    )  # fmt: skip
  updates = view_lib.check_floating(updates)
  n, shared = checks.num_clients(updates), updates
  if axis_name is not None:
    shared = view_lib.coordinate_shards(updates, axis_name)
    n = n * checks.axis_size(axis_name)
    if mask is not None:
      mask = jax.lax.all_gather(mask, axis_name, tiled=True)
  mask = view_lib.check_mask(mask, n)
  cosines, lengths, units, usable, finite = gram_lib.directions(
    shared, mask=mask, axis_name=axis_name
  )
  if mask is not None:
    usable, finite = usable & mask, finite & mask
    both = usable[:, None] & usable[None, :]
    cosines = jnp.where(both, cosines, 0)
    lengths = jnp.where(usable, lengths, 0)
  return Directions(cosines, lengths, units, usable, finite, mask)


class Lengths(NamedTuple):
  """Norms of M vectors over the whole range of their dtype.

  Attributes:
    values: f32[M], in terms of `units`; zero where not finite.
    units: f32[M], powers of two.
    finite: bool[M], neither padding nor broken.
    present: bool[M], or None if no row is padding.
  """

  values: chex.Array
  units: chex.Array
  finite: chex.Array
  present: chex.Array | None

  @property
  def num_present(self) -> int | chex.Array:
    """Vectors that are not padding: a Python int unless there is a mask."""
    m = self.values.shape[0]
    return m if self.present is None else jnp.sum(self.present)

  def relative(self) -> chex.Array:
    """f32[M], in one common unit; +inf for vectors that are not finite."""
    size = self.values * self.units
    unit = trees.power_of_two(gram_lib.typical(size, self.finite))
    return jnp.where(self.finite, self.values * (self.units / unit), jnp.inf)


def lengths(updates: Updates, *, mask: chex.Array | None = None) -> Lengths:
  """Norms of the clients.

  Args:
    updates: stacked tree or view.
    mask: bool[N] or None.

  Returns:
    `Lengths` of the M vectors.

  Cost: one pass over a tree, two if a square leaves the range.
  """
  if isinstance(updates, view_lib.View):
    view_lib.check_settled(mask=mask)
    norms = jnp.where(updates.valid, updates.norms(), 0)
    units = jnp.full_like(norms, updates.unit)
    return Lengths(norms, units, updates.valid, updates.present)
  updates = view_lib.check_floating(updates)
  n = checks.num_clients(updates)
  mask = view_lib.check_mask(mask, n)
  present = jnp.ones(n, bool) if mask is None else mask
  values, units, finite = gram_lib.row_norms(updates, mask=present)
  return Lengths(
    jnp.where(finite & present, values, 0), units, finite & present, mask
  )


# The weights meet vectors that were divided by their units; the factor
# multiplies the sum.
DirectionFn = Callable[[Directions], tuple[chex.Array, chex.Numeric]]


def direction_rule(
  updates: Updates,
  weights_fn: DirectionFn,
  *,
  mask: chex.Array | None,
  axis_name: str | None,
) -> chex.ArrayTree:
  """Applies a rule that looks at directions from the origin.

  Args:
    updates: stacked tree or view.
    weights_fn: the rule, on `Directions` of M vectors: f32[M] and a factor.
    mask: bool[N] or None.
    axis_name: mapped axis or None.

  Returns:
    Leaves [...]; f32[N] for a view that reads weights.
  """
  found = directions(updates, mask=mask, axis_name=axis_name)
  weights, factor = full_precision(weights_fn)(found)
  if not isinstance(updates, view_lib.View):
    return combine_in_units(
      weights, updates, found.units, found.finite, factor, axis_name=axis_name
    )
  if updates.reads_weights:
    weights = weights / found.units * factor
    # Of rows near the ends of the range they may not be numbers of it.
    return updates.pull(jnp.where(jnp.isfinite(weights), weights, 0))
  unit = jnp.asarray(updates.unit)
  # Only where weights would leave the range: it costs a copy of the rows.
  extreme = (unit > _LONG) | (unit < 1 / _LONG)
  outer = jnp.where(extreme, unit, 1)
  return combine_in_units(
    updates.pull(weights / (unit / outer)),
    updates.base,
    jnp.full(updates.finite.shape, outer),
    updates.finite,
    factor,
    axis_name=updates.axis_name,
  )


def combine_in_units(
  weights: chex.Array,
  stacked: chex.ArrayTree,
  units: chex.Array,
  finite: chex.Array,
  factor: chex.Numeric,
  *,
  axis_name: str | None,
) -> chex.ArrayTree:
  """A multiple of the weighted sum of rows over their units.

  Args:
    weights: f32[N], on rows that were divided by their units.
    stacked: leaves [N, ...].
    units: f32[N], powers of two.
    finite: bool[N].
    factor: of the sum; a Python 1 costs nothing.
    axis_name: mapped axis or None.

  Returns:
    Leaves [...], right wherever it is a number of its dtype.
  """
  out = view_lib.combine_finite(
    weights, stacked, finite, units=units, axis_name=axis_name
  )
  if isinstance(factor, (int, float)) and factor == 1:
    return out
  return jax.tree.map(
    lambda x: (x.astype(trees.accumulator(x.dtype)) * factor).astype(x.dtype),
    out,
  )


def smallest(
  scores: chex.Array, count: int | chex.Array, valid: chex.Array
) -> chex.Array:
  """Marks the `count` smallest scores among valid vectors.

  Ties go to the lower index; infinite scores of valid vectors come before
  invalid vectors, which are never marked.

  Args:
    scores: f32[M], NaN counts as +inf.
    count: how many; static or traced.
    valid: bool[M].

  Returns:
    bool[M].
  """
  scores = jnp.where(jnp.isnan(scores), jnp.inf, scores)
  scores = jnp.minimum(scores, jnp.finfo(scores.dtype).max)
  scores = jnp.where(valid, scores, jnp.inf)
  ranks = jnp.argsort(jnp.argsort(scores, stable=True))
  return (ranks < count) & valid


def num_kept(count: int | chex.Array, num_dropped: int) -> int | chex.Array:
  """How many of the vectors that are there stay: at least one.

  Args:
    count: vectors that are there; traced if a mask says which.
    num_dropped: how many a rule leaves out where there are enough.

  Returns:
    As `count`.
  """
  if isinstance(count, int):
    return max(count - num_dropped, 1)
  return jnp.maximum(count - num_dropped, 1)


def num_cut(count: int | chex.Array, most: int) -> int | chex.Array:
  """How many go at either end of a sorted list, so that at least one stays.

  Args:
    count: as of `num_kept`.
    most: how many go where there are enough.

  Returns:
    As `count`.
  """
  if isinstance(count, int):
    return min(most, max(count - 1, 0) // 2)
  return jnp.minimum(most, jnp.maximum(count - 1, 0) // 2)


def average(mask: chex.Array, dtype: jnp.dtype) -> chex.Array:
  """Equal weights on the marked vectors; zeros if none is marked.

  Args:
    mask: bool[M].
    dtype: of the result.

  Returns:
    f32[M].
  """
  chosen = mask.astype(dtype)
  return chosen / jnp.maximum(jnp.sum(chosen), 1)


def merge_shares(
  rule: Callable[[chex.ArrayTree], chex.ArrayTree], updates: chex.ArrayTree
) -> chex.Array:
  """Average weight that a coordinate rule gives to each client.

  Coordinate rules are piecewise linear, so the derivative of the sum of all
  output coordinates is that weight.

  Args:
    rule: maps a stacked tree to a tree.
    updates: leaves [N, ...].

  Returns:
    f32[N], each the mean over coordinates of the client's weight there.
  """
  out, pull = jax.vjp(rule, updates)
  (shares,) = pull(jax.tree.map(jnp.ones_like, out))
  size = sum(x.size for x in jax.tree.leaves(out))
  return (
    trees.sum_leaves(
      lambda x: jnp.sum(
        x.astype(trees.accumulator(x.dtype)), axis=tuple(range(1, x.ndim))
      ),
      shares,
    )
    / size
  )
