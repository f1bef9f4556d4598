# SPDX-License-Identifier: Apache-2.0
"""Ways to apply one mixing matrix to one leaf [N, ...].

All accumulate in float32 (float64 for float64 leaves) and return the dtype of
the input.
"""

import chex
import jax
import jax.numpy as jnp
import numpy as np

from jaxdl.core import trees

# Longer neighbor lists run in blocks: the program stays short and each block
# is one fused pass.
_BLOCK = 16


def dense(matrix: chex.Array | np.ndarray, x: chex.Array) -> chex.Array:
  """Plain contraction, any matrix [M, N]."""
  return trees.combine(jnp.asarray(matrix, trees.accumulator(x.dtype)), x)


def mean(x: chex.Array) -> chex.Array:
  """Every client gets the uniform average."""
  acc = trees.accumulator(x.dtype)
  total = dense(np.ones((1, x.shape[0])), x.astype(acc))
  # Weights 1 / N would not add up to one in floating point.
  return jnp.broadcast_to(total / x.shape[0], x.shape).astype(x.dtype)


def shifts(
  hops: tuple[int, ...], weights: tuple[float, ...], x: chex.Array
) -> chex.Array:
  """Client i receives from i + hop; hops and weights are static."""
  acc = trees.accumulator(x.dtype)
  y = 0.0
  for hop, weight in zip(hops, weights, strict=True):
    y = y + weight * (jnp.roll(x, -hop, axis=0) if hop else x).astype(acc)
  return jnp.asarray(y, x.dtype)


def flips(
  masks: tuple[int, ...], weights: tuple[float, ...], x: chex.Array
) -> chex.Array:
  """Client i receives from i XOR mask by reversing axes of size two."""
  acc = trees.accumulator(x.dtype)
  n, y = x.shape[0], 0.0
  cube = x.reshape((2,) * (n.bit_length() - 1) + x.shape[1:])
  digits = range(n.bit_length() - 1)
  for mask, weight in zip(masks, weights, strict=True):
    # Axis 0 of the cube is the most significant digit.
    axes = [len(digits) - 1 - d for d in digits if mask >> d & 1]
    y = y + weight * (jnp.flip(cube, axes) if axes else cube).astype(acc)
  return jnp.asarray(y, x.dtype).reshape(x.shape)


def gather(
  indices: chex.Array, weights: chex.Array, x: chex.Array
) -> chex.Array:
  """Row i becomes the sum over k of weights[i, k] · x[indices[i, k]].

  Args:
    indices: i32[M, K], all within range.
    weights: f32[M, K].
    x: [N, ...].

  Returns:
    [M, ...].
  """
  acc = trees.accumulator(x.dtype)
  indices = jnp.asarray(indices)
  weights = jnp.asarray(weights, acc)

  def block(idx, w):
    y = 0.0
    for k in range(idx.shape[1]):
      rows = x.at[idx[:, k]].get(mode='promise_in_bounds').astype(acc)
      y = y + trees.expand(w[:, k], rows) * rows
    return y

  length = indices.shape[1]
  y = block(indices[:, : length % _BLOCK], weights[:, : length % _BLOCK])
  if length >= _BLOCK:

    def split(a):
      a = a[:, length % _BLOCK :].reshape(a.shape[0], -1, _BLOCK)
      return jnp.swapaxes(a, 0, 1)

    chunks = split(indices), split(weights)
    first = block(chunks[0][0], chunks[1][0]) + y
    y, _ = jax.lax.scan(
      lambda total, chunk: (total + block(*chunk), None),
      first,
      (chunks[0][1:], chunks[1][1:]),
    )
  return jnp.asarray(y, x.dtype)


def representable(values: np.ndarray | float) -> np.ndarray:
  """Rounds to a grid on which float32 holds the values and sums up to one.

  Args:
    values: float64, any shape.

  Returns:
    float64 multiples of the float32 spacing at the largest magnitude.
  """
  values = np.asarray(values, np.float64)
  _, exponent = np.frexp(np.abs(values).max())
  return np.ldexp(np.round(np.ldexp(values, 24 - exponent)), exponent - 24)


def round_to_float32(matrices: np.ndarray, stochastic: str) -> np.ndarray:
  """Rounds weights so that their sums in float32 are exactly one; host.

  Plain rounding of 1/3 makes rows sum to 1 + 3e-8, and the mean over clients
  drifts by that factor in every round. The own weight (or the largest, where
  that is zero) takes up the difference. Symmetric and circulant matrices stay
  what they are.

  Args:
    matrices: float64[T, N, N].
    stochastic: which sums are one; rows unless 'column'; 'any' only rounds.

  Returns:
    float64[T, N, N] of float32 numbers.
  """
  if stochastic == 'any':
    return matrices.astype(np.float32).astype(np.float64)
  if stochastic == 'column':
    return np.swapaxes(
      round_to_float32(np.swapaxes(matrices, 1, 2), 'row'), 1, 2
    )
  rounded = representable(matrices)
  own = np.arange(matrices.shape[-1])[None, :]
  largest = np.abs(matrices).argmax(axis=-1)
  diagonal = np.diagonal(matrices, axis1=1, axis2=2)
  at = np.where(diagonal != 0, own, largest)[..., None]
  slack = 1.0 - rounded.sum(axis=-1, keepdims=True)
  entry = np.take_along_axis(rounded, at, axis=-1)
  np.put_along_axis(rounded, at, entry + slack, axis=-1)
  return rounded


def neighbor_table(matrices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  """Non-zero entries of each row as padded lists; host.

  Args:
    matrices: [T, M, N].

  Returns:
    `(indices: i32[T, M, K], weights: float64[T, M, K])`; padding points at the
    row's largest entry with weight zero.
  """
  used = matrices != 0
  length = max(int(used.sum(axis=-1).max()), 1)
  order = np.argsort(~used, axis=-1, kind='stable')[..., :length]
  weights = np.take_along_axis(matrices, order, axis=-1)
  fallback = np.abs(matrices).argmax(axis=-1)[..., None]
  order = np.where(weights != 0, order, fallback)
  return order.astype(np.int32), weights


def scatter_table(
  indices: chex.Array, weights: chex.Array, num_clients: int
) -> chex.Array:
  """The matrix f32[M, N] of a neighbor table [M, K]."""
  rows = jnp.broadcast_to(jnp.arange(indices.shape[0])[:, None], indices.shape)
  out = jnp.zeros((indices.shape[0], num_clients), jnp.float32)
  return out.at[rows, indices].add(jnp.asarray(weights, jnp.float32))
