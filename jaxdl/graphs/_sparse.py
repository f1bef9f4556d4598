# SPDX-License-Identifier: Apache-2.0
"""The product of a sparse matrix in rows with a dense one, differentiable.

On CPU it is the kernel of `jax.experimental.sparse.BCSR`, which the gradient
uses as well, on the transposed matrix whose order is known beforehand; a loop
over scattered rows, what XLA makes of a segment sum there, is ten times slower.
Elsewhere it is a sum over sorted segments.
"""

import chex
import jax
import jax.numpy as jnp
from jax.experimental import sparse
from jax.extend import core
from jax.interpreters import ad, batching, mlir

# Operands: weights [E], dense [M, F]; columns, rows i32[E], starts i32[R + 1]
# and order i32[E] of the matrix; the same four of its transpose.
_product_p = core.Primitive('graph_product')


def product(weights, x, matrix, transposed) -> chex.Array:
  """Computes the rows `sum of weights[e] x[columns[e]]`.

  Args:
    weights: f[E], of the dtype of x.
    x: f[M, F], single or double precision.
    matrix: (columns, rows, starts, order), integers of shapes [E], [E],
      [R + 1], [E]: rows ascend, entries from `starts[-1]` on do not count, and
      order says which entry of the matrix is that of its transpose.
    transposed: likewise of the transpose.

  Returns:
    f[R, F].
  """
  return _product_p.bind(weights, x, *matrix, *transposed)


def is_plain(*arrays: chex.Array) -> bool:
  """Whether no array varies over, or is split along, an axis of a mesh."""
  for x in arrays:
    kind = jax.typeof(x)
    if getattr(kind, 'vma', None):
      return False
    spec = getattr(getattr(kind, 'sharding', None), 'spec', None)
    if spec is not None and any(axis is not None for axis in spec):
      return False
  return True


def _counted(starts, size):
  """Entries that count."""
  return jnp.arange(size, dtype=starts.dtype) < starts[-1]


def _by_segments(weights, x, columns, rows, starts, *others):
  del others
  sent = weights[:, None] * x[columns]
  sent = jnp.where(_counted(starts, len(rows))[:, None], sent, 0)
  return jax.ops.segment_sum(
    sent, rows, len(starts) - 1, indices_are_sorted=True
  )


def _by_rows(weights, x, columns, rows, starts, *others):
  del rows, others
  shape = (len(starts) - 1, len(x))
  matrix = sparse.BCSR((weights, columns, starts), shape=shape)
  return matrix @ x


def _shape(weights, x, columns, rows, starts, *others):
  del weights, columns, rows, others
  return x.update(shape=(starts.shape[0] - 1, x.shape[1]))


def _transpose(cotangent, weights, x, *operands):
  matrix, transposed = operands[:4], operands[4:]
  nothing = (None,) * 8
  if isinstance(cotangent, ad.Zero):
    return (None, None, *nothing)
  if ad.is_undefined_primal(x):
    # The weights of the transpose, in its order.
    turned = weights[matrix[3]]
    return (None, product(turned, cotangent, transposed, matrix), *nothing)
  columns, rows, starts, _ = matrix
  both = (cotangent[rows] * x[columns]).sum(-1)
  both = jnp.where(_counted(starts, len(rows)), both, 0)
  return (both, None, *nothing)


def _batched(args, dims):
  """Columns side by side if only x varies, else blocks along the diagonal."""
  size = next(
    a.shape[d] for a, d in zip(args, dims, strict=True) if d is not None
  )
  varies = [d is not None for d in dims]
  if varies[1] and sum(varies) == 1:
    x = jnp.moveaxis(args[1], dims[1], -1)
    out = _product_p.bind(args[0], x.reshape(len(x), -1), *args[2:])
    return out.reshape(len(out), *x.shape[1:]), 2
  full = [
    jnp.moveaxis(a, d, 0)
    if d is not None
    else jnp.broadcast_to(a, (size, *a.shape))
    for a, d in zip(args, dims, strict=True)
  ]
  weights, x, *operands = full
  edges, inner = weights.shape[1], x.shape[1]
  outer = operands[2].shape[1] - 1
  shift = lambda a, by: (
    a + by * jnp.arange(size, dtype=a.dtype)[:, None]
  ).reshape(-1)

  def blocks(columns, rows, starts, order, width, height):
    # Entries that do not count join the last row of a block.
    begun = shift(starts[:, :-1], edges)
    end = jnp.full(1, size * edges, starts.dtype)
    return (
      shift(columns, width),
      shift(rows, height),
      jnp.concatenate([begun, end]),
      shift(order, edges),
    )

  there = jax.vmap(lambda s: _counted(s, edges))(operands[2])
  weights = jnp.where(there, weights, 0).reshape(-1)
  out = product(
    weights,
    x.reshape(-1, x.shape[2]),
    blocks(*operands[:4], inner, outer),
    blocks(*operands[4:], outer, inner),
  )
  return out.reshape(size, outer, -1), 0


_bound = jax.jit(lambda *args: _product_p.bind(*args))
_product_p.def_impl(_bound)
_product_p.def_abstract_eval(_shape)
ad.defjvp(
  _product_p,
  lambda t, w, x, *o: _product_p.bind(t, x, *o),
  lambda t, w, x, *o: _product_p.bind(w, t, *o),
  *(None,) * 8,
)
ad.primitive_transposes[_product_p] = _transpose
batching.primitive_batchers[_product_p] = _batched
mlir.register_lowering(
  _product_p, mlir.lower_fun(_by_segments, multiple_results=False)
)
mlir.register_lowering(
  _product_p,
  mlir.lower_fun(_by_rows, multiple_results=False),
  platform='cpu',
)
