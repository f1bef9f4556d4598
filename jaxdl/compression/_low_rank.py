# SPDX-License-Identifier: Apache-2.0
"""Matrices as products of two thin ones."""

import math

import chex
import jax
import jax.numpy as jnp

from jaxdl.compression import _arrays
from jaxdl.core import trees


def power_sgd(
  x: chex.Array, factor: chex.Array
) -> tuple[chex.Array, chex.Array]:
  """Approximates a matrix by one step of subspace iteration.

  P = orth(M Q), Q' = Mᵀ P, and P Q'ᵀ is what the receivers decode: the
  projection of M on the columns of P. Exact if the rank of M is at most r (and
  Q is not deficient for it); started from Q' again and again, the best
  approximation of rank r. It never is longer than M, nor is its error.

  Args:
    x: M, f[a, b].
    factor: Q, f[b, r] with r <= min(a, b), that of the last round.

  Returns:
    f[a, b] of M's dtype, and f32[b, r], Q' for the next round, up to a power of
    two.

  Raises:
    TypeError: if one is not floating point.
    ValueError: if x is no matrix, or the factor does not fit.

  Cost: O(a b r) and a QR of [a, r].

  Example:
    >>> m = jnp.outer(jnp.array([1.0, 2.0]), jnp.array([3.0, 0.0, 1.0]))
    >>> sent, _ = power_sgd(m, jnp.ones((3, 1)))
    >>> bool(jnp.allclose(sent, m, atol=1e-6))
    True

  Source: Vogels et al. 2019 (https://arxiv.org/abs/1905.13727), algorithm 1.
  """
  x, factor = _arrays.floating(x), _arrays.floating(factor)
  if x.ndim != 2:
    raise ValueError(
      f'PowerSGD on an array of shape {x.shape}: need a matrix; vectors are '
      'sent raw.'
    )
  a, b = x.shape
  if factor.ndim != 2 or factor.shape[0] != b or factor.shape[1] > min(a, b):
    raise ValueError(
      f'factor must have shape [{b}, r] with r <= {min(a, b)} for a matrix of '
      f'shape {x.shape}; got {factor.shape}.'
    )
  acc = trees.accumulator(x.dtype)
  wide = x.astype(acc)
  # Of its own size, squares neither overflow nor vanish.
  unit = trees.power_of_two(jnp.max(jnp.abs(wide), initial=0))
  wide = wide * (1 / unit)
  with jax.default_matmul_precision('highest'):
    basis, _ = jnp.linalg.qr(wide @ factor.astype(acc))
    after = wide.T @ basis
    sent = basis @ after.T
  return (sent * unit).astype(x.dtype), after


def matrix_shape(shape: tuple[int, ...]) -> tuple[int, int] | None:
  """How an array is read as a matrix: axes cut where it is least lopsided.

  Of equal cuts the first. [a, b] stays; kernels [3, 3, 32, 64] are [288, 64],
  and [64, 32, 3, 3] is [64, 288].

  Args:
    shape: of the array.

  Returns:
    (a, b), or None for vectors and numbers.
  """
  if len(shape) < 2:
    return None
  cuts = [
    (math.prod(shape[:i]), math.prod(shape[i:])) for i in range(1, len(shape))
  ]
  return min(cuts, key=sum)


def first_factor(key: chex.PRNGKey, columns: int, rank: int) -> chex.Array:
  """f32[b, r] of standard normal entries."""
  return jax.random.normal(key, (columns, rank))
