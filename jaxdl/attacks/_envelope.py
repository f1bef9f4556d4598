# SPDX-License-Identifier: Apache-2.0
"""Adversaries that go as far as the honest clients differ, in closed form."""

import chex
import jax
import jax.numpy as jnp

from jaxdl.attacks import _honest
from jaxdl.core import checks, view


def min_max(
  honest: chex.ArrayTree,
  *,
  num_byzantine: int,
  direction: str = 'std',
  ddof: int = 1,
  axis_name: str | None = None,
) -> chex.ArrayTree:
  """Leaves the mean as far as the two most distant honest clients allow.

  Sends m = mean + γ p with the largest γ for which no honest client is
  farther from m than D, the largest distance between two honest clients. The
  condition is a quadratic inequality per client, so γ is the smallest of H
  roots; no search is needed.

  Args:
    honest: leaves [H, ...], floating point.
    num_byzantine: attackers F >= 1 (static).
    direction: p: 'unit' -mean/|mean|, 'sign' -sign(mean), 'std' minus the
      standard deviation, 'mean' -mean (static).
    ddof: 0 or 1, for 'std'.
    axis_name: mapped axis over which honest clients are split, if any.

  Returns:
    Leaves [F, ...], all rows equal; the mean if H = 1 or p = 0.

  Raises:
    ValueError, TypeError: if an argument is malformed.

  Cost: O(H² · D) work, one Gram matrix and at most three passes more.

  Example:
    >>> min_max(
    ...   jnp.array([[1.0], [3.0]]), num_byzantine=1, direction='unit'
    ... )
    Array([[1.]], dtype=float32)

  Source: Shejwalkar & Houmansadr 2021, Manipulating the Byzantine, equation
  9; the closed form replaces their bisection.
  """
  mean, p, sq, products = _prepare(
    honest, num_byzantine, direction, ddof, axis_name
  )
  seen = view.view(honest, axis_name=axis_name)
  diameter_sq = jnp.max(seen.sq_distances()) * jnp.square(seen.unit)
  a = _sq_norm(p)
  c = jnp.minimum(sq - diameter_sq, 0)
  root = jnp.sqrt(jnp.square(products) - a * c)
  # The two forms of the root are equal; each is stable where it is taken.
  ahead = products > 0
  roots = jnp.where(
    ahead,
    -c / jnp.where(ahead, products + root, 1),
    (root - products) / jnp.where(a > 0, a, 1),
  )
  gamma = -_largest(-roots, axis_name)
  vector = _honest.add(mean, jnp.where(a > 0, gamma, 0), p)
  return _honest.send(vector, honest, num_byzantine)


def min_sum(
  honest: chex.ArrayTree,
  *,
  num_byzantine: int,
  direction: str = 'std',
  bound: str = 'max',
  ddof: int = 1,
  axis_name: str | None = None,
) -> chex.ArrayTree:
  """Leaves the mean as far as the summed squared distances allow.

  Sends m = mean + γ p with the largest γ for which the squared distances from
  m to all honest clients sum to no more than those from the most remote honest
  client. Sums of squared distances split into spread and offset, so
  γ = max_i |x_i - mean| / |p|.

  Args:
    honest: leaves [H, ...], floating point.
    num_byzantine: attackers F >= 1 (static).
    direction: p: 'unit' -mean/|mean|, 'sign' -sign(mean), 'std' minus the
      standard deviation, 'mean' -mean (static).
    bound: 'max' compares with the most remote honest client (the paper), 'min'
      with the most central one, as the authors' notebooks do (static).
    ddof: 0 or 1, for 'std'.
    axis_name: mapped axis over which honest clients are split, if any.

  Returns:
    Leaves [F, ...], all rows equal; the mean if H = 1 or p = 0.

  Raises:
    ValueError, TypeError: if an argument is malformed.

  Cost: O(H · D) work, at most three passes over `honest`.

  Example:
    >>> min_sum(
    ...   jnp.array([[1.0], [3.0]]), num_byzantine=1, direction='unit'
    ... )
    Array([[1.]], dtype=float32)

  Source: Shejwalkar & Houmansadr 2021, Manipulating the Byzantine, equation
  10; the closed form replaces their bisection.
  """
  checks.choice(bound, ('max', 'min'), name='bound')
  mean, p, sq, _ = _prepare(honest, num_byzantine, direction, ddof, axis_name)
  offset_sq = (
    _largest(sq, axis_name) if bound == 'max' else -_largest(-sq, axis_name)
  )
  a = _sq_norm(p)
  gamma = jnp.where(a > 0, jnp.sqrt(offset_sq / jnp.where(a > 0, a, 1)), 0)
  vector = _honest.add(mean, gamma, p)
  return _honest.send(vector, honest, num_byzantine)


def _prepare(honest, num_byzantine, direction, ddof, axis_name):
  _honest.check(honest, num_byzantine, axis_name)
  mean = _honest.mean(honest, axis_name)
  p = _honest.direction(honest, mean, direction, ddof=ddof, axis_name=axis_name)
  return mean, p, *_honest.residuals(honest, mean, p)


def _sq_norm(p):
  return sum(jnp.sum(jnp.square(x)) for x in jax.tree.leaves(p))


def _largest(x, axis_name):
  x = jnp.max(x)
  return x if axis_name is None else jax.lax.pmax(x, axis_name)
