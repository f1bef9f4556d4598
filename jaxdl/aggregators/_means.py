# SPDX-License-Identifier: Apache-2.0
"""The plain mean, the upper line of every comparison without adversaries."""

import chex
import jax
import jax.numpy as jnp
import numpy as np

from jaxdl.aggregators import _facts, _families
from jaxdl.core import checks, registry, trees, view as view_lib


@registry.known(_facts.Facts(family='mean', byzantine=None, factor=0))
def mean(
  updates: _families.Updates,
  *,
  weights: chex.Array | None = None,
  mask: chex.Array | None = None,
  axis_name: str | None = None,
) -> chex.ArrayTree:
  """Averages the clients, by importance if weights are given.

  Not robust: one client moves it anywhere, and non-finite entries pass through
  (padding excepted; in a view, such clients count as zero).

  Args:
    updates: stacked tree, leaves [N, ...], floating point, or a view.
    weights: f32[N], non-negative importances; equal by default.
    mask: bool[N], false for padding rows.
    axis_name: mapped axis over which the clients are split.

  Returns:
    Leaves [...], dtypes of the input; zeros if the total weight is zero.

  Raises:
    ValueError: if client axes differ, or `weights` has another shape or, as
      far as values are known, one that is negative or not finite.

  Cost: O(N · D), one pass.

  Example:
    >>> mean(jnp.array([[1.0], [3.0]]), weights=jnp.array([3.0, 1.0]))
    Array([1.5], dtype=float32)
  """
  if isinstance(updates, view_lib.View):
    return updates.combine(_shares(updates, weights, mask, axis_name))
  updates = view_lib.check_floating(updates)
  shares = _shares(updates, weights, mask, axis_name)
  if mask is not None:
    updates = trees.where_rows(mask, updates, 0.0)
  if axis_name is None:
    return trees.combine(shares, updates)
  # Round once, after the sum over devices.
  wide = jax.tree.map(lambda x: x.astype(trees.accumulator(x.dtype)), updates)
  total = jax.lax.psum(trees.combine(shares, wide), axis_name)
  return trees.cast_like(total, updates)


def _importances(weights, mask, n):
  """Importances as an array; values that are at hand are looked at."""
  if not isinstance(weights, jax.Array):
    weights = checks.host_array(weights, name='weights')
  if jnp.shape(weights) != (n,):
    raise ValueError(
      f'weights must have shape [{n}]; got {jnp.shape(weights)}.'
    )
  for x in (weights, mask):
    if isinstance(x, jax.core.Tracer) or not getattr(
      x, 'is_fully_addressable', True
    ):
      return weights
  values = checks.host_array(weights, name='weights')
  bad = ~np.isfinite(values) | (values < 0)
  if mask is not None:  # Whatever padding holds.
    bad &= np.asarray(mask)
  if bad.any():
    first = np.argmax(bad)
    raise ValueError(
      f'weights must be finite and at least 0; client {first} has '
      f'{values[first]}: importances only count, a client that should not has '
      'weight 0.'
    )
  return weights


def _shares(updates, weights, mask, axis_name):
  if isinstance(updates, view_lib.View):
    view_lib.check_settled(mask=mask, axis_name=axis_name)
    n, dtype, mask = updates.size, updates.frame.dtype, updates.present
  else:
    _families.num_vectors(updates, axis_name)
    n, dtype = checks.num_clients(updates), trees.common_accumulator(updates)
    mask = view_lib.check_mask(mask, n)
  if weights is None:
    shares = jnp.ones((n,), dtype)
  else:
    shares = jnp.asarray(_importances(weights, mask, n), dtype)
  if mask is not None:
    shares = jnp.where(mask, shares, 0)
  total = jnp.sum(shares)
  if axis_name is not None:
    total = jax.lax.psum(total, axis_name)
  return jnp.where(total > 0, shares / jnp.where(total > 0, total, 1), 0)
