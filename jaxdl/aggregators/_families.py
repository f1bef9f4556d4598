# SPDX-License-Identifier: Apache-2.0
"""The two families of rules; each wrapper carries tree, dtype, mask and axis.

Gram rules turn a `core.view.View` into weights on its vectors. Coordinate rules
turn one block [N, B] into [B]. The rules themselves never see pytrees, devices
or dtypes.
"""

import functools
import math
from collections.abc import Callable
from typing import TypeVar

import chex
import jax
import jax.numpy as jnp

from jaxdl.core import checks, order, trees, view as view_lib

Updates = chex.ArrayTree | view_lib.View
WeightsFn = Callable[[view_lib.View], chex.Array]
MatrixFn = Callable[[view_lib.View], tuple[chex.Array, chex.Array | None]]
Kernel = Callable[
  [chex.Array, int | chex.Array], tuple[chex.Array, chex.Array, chex.Array]
]
T = TypeVar('T')


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
  return n if axis_name is None else n * jax.lax.axis_size(axis_name)


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


def full_precision(fn: Callable[..., T]) -> Callable[..., T]:
  """Makes every matrix product in a function a full-precision one.

  Accelerators round float32 factors to 10 bits by default, which reorders
  neighbours; the matrices here are at most N x N.

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


def gram_weights(
  updates: Updates,
  weights_fn: WeightsFn,
  *,
  mask: chex.Array | None,
  axis_name: str | None,
) -> chex.Array:
  """Weights that a Gram rule puts on the client rows.

  Args:
    updates: stacked tree or view.
    weights_fn: the rule, on a view of M vectors: f32[M].
    mask: bool[N] or None.
    axis_name: mapped axis or None.

  Returns:
    f32[N].
  """
  seen = view_lib.view(updates, mask=mask, axis_name=axis_name)
  return seen.pull(full_precision(weights_fn)(seen))


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
    kernel: maps a block [N, B] and the number of present rows to three arrays
      [B]: the result and the smallest and largest entry that it averages,
      all of them possibly wider than the block. Absent rows hold +inf.
    mask: bool[N] or None; this device's share of it if `axis_name` is given.
    axis_name: mapped axis or None; clients are exchanged for coordinates by
      one all-to-all, the result is gathered.

  Returns:
    Leaves [...], dtypes of the input.
  """
  if isinstance(updates, view_lib.View):
    view_lib.check_settled(mask=mask)
    view, mask, axis_name = updates, updates.present, None
    updates = view.materialize()
    if view.coefficients is None:
      axis_name = view.axis_name
    else:
      updates = trees.where_rows(view.valid, updates, math.inf)
  else:
    updates = view_lib.check_floating(updates)
    checks.num_clients(updates)
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


def _average(kernel, block, count):
  """The kernel's result, differentiated as the average that it is.

  The derivative gives equal shares to the entries within the kernel's bounds.
  Differentiating through the sorting network would give the same, except at
  ties, but compiles and runs many times slower.
  """
  static = isinstance(count, int)

  def whole(x, traced):
    result, low, high = kernel(x, count if static else traced)
    return result.astype(x.dtype), low, high

  @jax.custom_jvp
  def value(block, count):
    return whole(block, count)[0]

  @value.defjvp
  def derivative(primals, tangents):
    block = primals[0]
    result, low, high = whole(*primals)
    # Without the barrier the network would be fused into every row's loop.
    low, high = jax.lax.optimization_barrier((low, high))
    inside = (block >= low[None]) & (block <= high[None])
    number = jnp.maximum(jnp.sum(inside, axis=0), 1).astype(block.dtype)
    moved = jnp.sum(jnp.where(inside, tangents[0], 0), axis=0)
    return result, moved / number

  return value(block, 0 if static else count)


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
