# SPDX-License-Identifier: Apache-2.0
"""How far clients are apart, and how far an update is from the honest mean."""

import functools

import chex
import jax
import jax.numpy as jnp

from jaxdl.core import checks, trees


def _deviations(stacked):
  n = checks.num_clients(stacked, name='stacked')
  weights = jnp.full((n,), 1.0 / n)
  mean = trees.combine(weights, stacked)
  return mean, jax.tree.map(lambda x, m: x - m[None], stacked, mean)


def consensus_distance(
  stacked: chex.ArrayTree, *, axis_name: str | None = None
) -> chex.Array:
  """Mean squared distance of the clients to their mean.

  Args:
    stacked: leaves [N, ...], floating point.
    axis_name: mapped axis that holds the other clients, if any.

  Returns:
    f32[], (1/N) Σᵢ ‖xᵢ - x̄‖² over all leaves (Ξ²).

  Example:
    >>> consensus_distance(jnp.array([[1.0], [0.0]]))
    Array(0.25, dtype=float32)
  """
  n = checks.num_clients(stacked, name='stacked')
  uniform = jnp.full((n,), 1.0 / n)

  def leaf(x):
    x = x.astype(trees.accumulator(x.dtype))
    mean = trees.combine(uniform, x)
    if axis_name is not None:
      mean = jax.lax.pmean(mean, axis_name)
    return x - mean[None]

  centered = jax.tree.map(leaf, stacked)
  result = jnp.mean(trees.sq_norms(centered))
  return result if axis_name is None else jax.lax.pmean(result, axis_name)


def aggregation_error(
  update: chex.ArrayTree, honest: chex.ArrayTree
) -> chex.Array:
  """Squared distance from the honest mean per honest variance.

  An (f, kappa)-robust rule keeps this below kappa.

  Args:
    update: leaves [...], what the server took.
    honest: leaves [H, ...], what honest clients sent.

  Returns:
    f32[], |update - mean|² / ((1/H) sum |x_i - mean|²); zero where the
    variance is, NaN where an update is not finite.

  Example:
    >>> aggregation_error(jnp.array([2.0]), jnp.array([[0.0], [2.0]]))
    Array(1., dtype=float32)

  Source: Allouah et al. 2023 (https://arxiv.org/abs/2302.01772), Definition 2.
  """
  mean, deviations = _deviations(honest)
  # In units of the spread, so that squares neither over- nor underflow.
  largest = jax.tree.map(lambda x: jnp.max(jnp.abs(x)), deviations)
  unit = trees.power_of_two(
    functools.reduce(jnp.maximum, jax.tree.leaves(largest))
  )
  spread = jnp.mean(
    trees.sq_norms(jax.tree.map(lambda x: x / unit, deviations))
  )
  gap = trees.sum_leaves(
    jnp.sum, jax.tree.map(lambda u, m: jnp.square((u - m) / unit), update, mean)
  )
  none = spread == 0
  # Of NaN the error is NaN.
  return jnp.where(none, 0.0, gap / jnp.where(none, 1.0, spread))
