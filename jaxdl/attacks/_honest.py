# SPDX-License-Identifier: Apache-2.0
"""What an adversary measures on the honest clients.

Trees here are in the accumulator's dtype (float32, or float64 for float64
leaves); `send` casts back. With `axis_name`, leaves are this device's share of
the honest clients and every result is that of the whole set.
"""

from collections.abc import Callable

import chex
import jax
import jax.numpy as jnp

from jaxdl.core import checks, trees, view

DIRECTIONS = ('unit', 'sign', 'std', 'mean')


def check(
  honest: chex.ArrayTree, num_byzantine: int, axis_name: str | None = None
) -> int:
  """Checks the arguments that all attacks share.

  Args:
    honest: stacked tree, leaves [H, ...], floating point.
    num_byzantine: F >= 1 (static).
    axis_name: mapped axis over which honest clients are split, if any.

  Returns:
    H, over all devices.

  Raises:
    ValueError: if the tree is malformed or F < 1.
    TypeError: if a leaf is not floating point or F not an integer.
  """
  checks.integer(num_byzantine, name='num_byzantine', low=1)
  view.check_floating(honest, name='honest')
  count = checks.num_clients(honest, name='honest')
  return count * (1 if axis_name is None else checks.axis_size(axis_name))


def check_ddof(ddof: int) -> None:
  """Checks the divisor of a standard deviation, H - ddof.

  Args:
    ddof: 0 or 1.

  Raises:
    ValueError: if it is anything else.
  """
  checks.choice(ddof, (0, 1), name='ddof')


def total(x: chex.ArrayTree, axis_name: str | None) -> chex.ArrayTree:
  """Sums over devices, if there are several."""
  return x if axis_name is None else jax.lax.psum(x, axis_name)


def reduce_rows(
  op: Callable[[chex.Array, chex.Array], chex.Array],
  whole: Callable[[chex.Array], chex.Array],
  x: chex.Array,
  term: Callable[[chex.Array], chex.Array] = lambda row: row,
) -> chex.Array:
  """Reduces a leaf over its client axis at memory speed.

  On CPU, a reduction over the leading axis runs ten times slower than the
  memory it reads; row by row it does not. Accelerators, where rows may lie on
  different devices, take it whole.

  Args:
    op: associative, maps two rows to one.
    whole: the same reduction of a stack of rows.
    x: [N, ...].
    term: applied to each row first.

  Returns:
    [...].
  """
  x = jnp.asarray(x)  # Rows of NumPy's arrays cannot be traced.
  if jax.default_backend() != 'cpu':
    return whole(jax.vmap(term)(x))
  return jax.lax.fori_loop(
    1,
    x.shape[0],
    lambda i, total: op(total, term(x[i])),
    term(x[0]),
    unroll=8,  # Eight rows are read per pass over the total.
  )


def mean(honest: chex.ArrayTree, axis_name: str | None) -> chex.ArrayTree:
  """Mean over clients, leaves [...]."""
  n = check(honest, 1, axis_name)

  def leaf(x):
    x = x.astype(trees.accumulator(x.dtype))
    ones = jnp.ones(x.shape[0], x.dtype)
    return jnp.tensordot(ones, x, axes=1, precision='highest')

  sums = total(jax.tree.map(leaf, honest), axis_name)
  return jax.tree.map(lambda x: x / n, sums)


def std(
  honest: chex.ArrayTree,
  center: chex.ArrayTree,
  ddof: int,
  axis_name: str | None,
) -> chex.ArrayTree:
  """Standard deviation per coordinate, leaves [...]; zero for one client."""
  n = check(honest, 1, axis_name)

  def leaf(x, c):
    return reduce_rows(
      jnp.add,
      lambda y: jnp.sum(y, axis=0),
      x,
      lambda row: jnp.square(row.astype(c.dtype) - c),
    )

  sums = total(jax.tree.map(leaf, honest, center), axis_name)
  return jax.tree.map(lambda x: jnp.sqrt(x / max(n - ddof, 1)), sums)


def direction(
  honest: chex.ArrayTree,
  center: chex.ArrayTree,
  kind: str,
  *,
  ddof: int,
  axis_name: str | None,
) -> chex.ArrayTree:
  """A direction p away from the honest mean.

  Args:
    honest: leaves [H, ...].
    center: the honest mean, leaves [...].
    kind: 'unit' for -mean/|mean|, 'sign' for -sign(mean), 'std' for the
      negative standard deviation, 'mean' for -mean (static).
    ddof: for 'std'.
    axis_name: mapped axis, if any.

  Returns:
    Leaves [...]; zero where the direction is undefined.
  """
  checks.choice(kind, DIRECTIONS, name='direction')
  check_ddof(ddof)
  if kind == 'std':
    p = std(honest, center, ddof, axis_name)
  elif kind == 'sign':
    p = jax.tree.map(jnp.sign, center)
  elif kind == 'mean':
    p = center
  else:
    norm = trees.global_norm(center)
    factor = jnp.where(norm > 0, 1 / jnp.where(norm > 0, norm, 1), 0)
    p = jax.tree.map(lambda x: factor * x, center)
  return jax.tree.map(jnp.negative, p)


def residuals(
  honest: chex.ArrayTree, center: chex.ArrayTree, vector: chex.ArrayTree
) -> tuple[chex.Array, chex.Array]:
  """Lengths of c - x_i and their inner products with a vector.

  Differences are taken before products, so that nearly equal clients do not
  cancel.

  Args:
    honest: leaves [H, ...]; this device's share inside a mapped axis.
    center: c, leaves [...].
    vector: p, leaves [...].

  Returns:
    f32[H] squared lengths, f32[H] inner products.
  """
  acc = trees.common_accumulator(honest)

  def row(x):
    diff = jax.tree.map(lambda c, y: c.astype(acc) - y.astype(acc), center, x)
    squares = trees.sum_leaves(lambda d: jnp.sum(jnp.square(d)), diff)
    products = jax.tree.map(lambda d, p: jnp.sum(d * p), diff, vector)
    return squares, trees.sum_leaves(lambda x: x, products)

  if jax.default_backend() != 'cpu':
    return jax.vmap(row)(honest)
  return jax.lax.map(row, honest)  # One fused loop per row is much faster.


def add(
  x: chex.ArrayTree, scale: chex.Numeric, y: chex.ArrayTree
) -> chex.ArrayTree:
  """The tree x + scale * y."""
  return jax.tree.map(lambda a, b: a + scale * b, x, y)


def send(
  vector: chex.ArrayTree, honest: chex.ArrayTree, num_byzantine: int
) -> chex.ArrayTree:
  """Gives every attacker one vector.

  Args:
    vector: leaves [...].
    honest: leaves [H, ...], whose dtypes are taken.
    num_byzantine: F.

  Returns:
    Leaves [F, ...], all rows equal.
  """
  return jax.tree.map(
    lambda v, x: jnp.broadcast_to(
      v.astype(x.dtype)[None], (num_byzantine, *v.shape)
    ),
    vector,
    honest,
  )
