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

# Operands: weights [E, H], dense [M, H, W]; columns, rows i32[E], starts
# i32[R + 1] and order i32[E] of the matrix; the same four of its transpose.
_TURNS, _WIDE = 4, 256
_product_p = core.Primitive('graph_product')


def product(weights, x, matrix, transposed) -> chex.Array:
  """Computes the rows `sum of weights[e, h] x[columns[e], h]`.

  Args:
    weights: f[E, H], of the dtype of x; a matrix for each of H heads.
    x: f[M, H, W], single or double precision.
    matrix: (columns, rows, starts, order), integers of shapes [E], [E],
      [R + 1], [E]: rows ascend, entries from `starts[-1]` on do not count, and
      order says which entry of the matrix is that of its transpose.
    transposed: likewise of the transpose.

  Returns:
    f[R, H, W].
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
  sent = weights[..., None] * x[columns]
  sent = jnp.where(_counted(starts, len(rows))[:, None, None], sent, 0)
  return jax.ops.segment_sum(
    sent, rows, len(starts) - 1, indices_are_sorted=True
  )


def _blocks(columns, rows, starts, order, *, count, height, width, shift):
  """So many matrices along a diagonal; entries that do not count join rows."""
  edges = columns.shape[-1]
  begun = shift(starts[..., :-1], edges)
  end = jnp.full(1, count * edges, starts.dtype)
  return (
    shift(columns, width),
    shift(rows, height),
    jnp.concatenate([begun, end]),
    shift(order, edges),
  )


def _by_rows(weights, x, columns, rows, starts, order, *others):
  """The kernel of BCSR, on heads that are blocks of one matrix."""
  del others
  outer, heads = len(starts) - 1, x.shape[1]
  if heads == 1:
    shape = (outer, len(x))
    matrix = sparse.BCSR((weights[:, 0], columns, starts), shape=shape)
    return (matrix @ x[:, 0])[:, None]
  ranks = jnp.arange(heads, dtype=columns.dtype)[:, None]
  shift = lambda a, by: (a[None] + by * ranks).reshape(-1)
  columns, _, starts_of_all, _ = _blocks(
    *(columns, rows, starts, order),
    count=heads,
    height=outer,
    width=len(x),
    shift=shift,
  )
  weights = jnp.where(_counted(starts, len(rows))[:, None], weights, 0)
  shape = (heads * outer, heads * len(x))
  matrix = sparse.BCSR(
    (weights.T.reshape(-1), columns, starts_of_all), shape=shape
  )
  out = matrix @ jnp.moveaxis(x, 1, 0).reshape(-1, x.shape[2])
  out = jnp.moveaxis(out.reshape(heads, outer, -1), 0, 1)
  return _without_others(out, starts)


def _shape(weights, x, columns, rows, starts, *others):
  del weights, columns, rows, others
  return x.update(shape=(starts.shape[0] - 1, *x.shape[1:]))


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
  both = _of_pairs(cotangent, x, rows, columns)
  both = jnp.where(_counted(starts, len(rows))[:, None], both, 0)
  return (both, None, *nothing)


def _of_pairs(a, b, i, j):
  """The products of the vectors of pairs, `sum of a[i] b[j]`, [E, H].

  In a few turns of a loop: before one a and b are written down, where they
  would be computed once more for every pair otherwise.
  """
  if len(i) < _TURNS * _WIDE:
    return (a[i] * b[j]).sum(-1)
  pairs = jnp.pad(jnp.stack([i, j]), ((0, 0), (0, -len(i) % _TURNS)))
  turns = jnp.moveaxis(pairs.reshape(2, _TURNS, -1), 1, 0)
  out = jax.lax.map(lambda p: (a[p[0]] * b[p[1]]).sum(-1), turns)
  return out.reshape(-1, out.shape[-1])[: len(i)]


def _batched(args, dims):
  """Columns side by side if only x varies, else blocks along the diagonal."""
  pairs = list(zip(args, dims, strict=True))
  size = next(a.shape[d] for a, d in pairs if d is not None)
  varies = [d is not None for d in dims]
  if varies[1] and sum(varies) == 1:
    x = jnp.moveaxis(args[1], dims[1], -1)
    out = _product_p.bind(args[0], x.reshape(*x.shape[:2], -1), *args[2:])
    return out.reshape(len(out), *x.shape[1:]), 3
  weights, x, *operands = (
    jnp.broadcast_to(a, (size, *a.shape))
    if d is None
    else jnp.moveaxis(a, d, 0)
    for a, d in pairs
  )
  inner, outer = x.shape[1], operands[2].shape[1] - 1
  ranks = jnp.arange(size)[:, None]
  shift = lambda a, by: (a + by * ranks.astype(a.dtype)).reshape(-1)
  there = jax.vmap(lambda s: _counted(s, weights.shape[1]))(operands[2])
  weights = jnp.where(there[..., None], weights, 0)
  blocks = lambda four, height, width: _blocks(
    *four, count=size, height=height, width=width, shift=shift
  )
  out = product(
    weights.reshape(-1, weights.shape[2]),
    x.reshape(-1, *x.shape[2:]),
    blocks(operands[:4], outer, inner),
    blocks(operands[4:], inner, outer),
  )
  out = out.reshape(size, outer, *out.shape[1:])
  return jax.vmap(_without_others)(out, operands[2]), 0


def _without_others(out, starts):
  """Zeros in the last row where only entries that do not count joined it."""
  is_empty = starts[-1] == starts[-2]
  return out.at[-1].set(jnp.where(is_empty, 0, out[-1]))


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
