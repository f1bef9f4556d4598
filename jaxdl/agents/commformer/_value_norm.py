# SPDX-License-Identifier: Apache-2.0
"""Mean and variance of returns, so that critics predict numbers of size one."""

from typing import NamedTuple

import chex
import jax.numpy as jnp

DECAY = 0.99999
_LOWEST_MASS = 1e-5
_LOWEST_VARIANCE = 1e-2


class ValueNorm(NamedTuple):
  """Moving averages of returns, f32[] each.

  Attributes:
    first: of returns.
    second: of their squares.
    mass: of ones, which undoes the start at zero.
  """

  first: chex.Array
  second: chex.Array
  mass: chex.Array


def init_value_norm() -> ValueNorm:
  """Returns averages of nothing."""
  return ValueNorm(*(jnp.zeros((), jnp.float32) for _ in range(3)))


def mean_and_std(norm: ValueNorm) -> tuple[chex.Array, chex.Array]:
  """Returns mean and deviation, f[] each, without the bias of the start.

  Args:
    norm: the averages.

  Returns:
    The mean, and the root of the variance, which is .01 at least; 0 and .1
    before there were returns.

  Example:
    >>> norm = update_value_norm(init_value_norm(), jnp.full(4, 3.0))
    >>> [round(float(x), 4) for x in mean_and_std(norm)]
    [3.0, 0.1]
  """
  mass = jnp.maximum(norm.mass, _LOWEST_MASS)
  mean = norm.first / mass
  variance = norm.second / mass - mean * mean
  return mean, jnp.sqrt(jnp.maximum(variance, _LOWEST_VARIANCE))


def update_value_norm(
  norm: ValueNorm, returns: chex.Array, *, mask: chex.Array | None = None
) -> ValueNorm:
  """Adds returns to the averages.

  Args:
    norm: the averages.
    returns: f[...].
    mask: bool[...], which count; None for all. Nothing changes if none does.

  Returns:
    The averages.

  Source: Yu et al. 2022 (https://arxiv.org/abs/2103.01955), value
  normalization, as in the release of CommFormer.
  """
  # The variance is a difference of two averages.
  returns = returns.astype(jnp.promote_types(returns.dtype, norm.first.dtype))
  if mask is None:
    weights = jnp.ones_like(returns)
  else:
    weights = mask.astype(returns.dtype)
  total = jnp.sum(weights)
  mean_of = lambda x: jnp.sum(weights * x) / jnp.maximum(total, 1.0)
  rate = jnp.where(total > 0, 1.0 - DECAY, 0.0)
  move = lambda old, new: (old + rate * (new - old)).astype(old.dtype)
  return ValueNorm(
    move(norm.first, mean_of(returns)),
    move(norm.second, mean_of(returns * returns)),
    move(norm.mass, jnp.ones((), norm.mass.dtype)),
  )
