# SPDX-License-Identifier: Apache-2.0
"""What infinitely wide networks predict, by Bayes' rule or gradient descent."""

from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp

from jaxdl.core import checks
from jaxdl.networks import functional


class Posterior(NamedTuple):
  """Predictions of a Gaussian process.

  Attributes:
    mean: f[B, K].
    covariance: f[B, B], the same for all outputs.
  """

  mean: chex.Array
  covariance: chex.Array


def _check_blocks(train, cross, targets):
  m = jnp.shape(train)[0] if jnp.ndim(train) else 0
  if jnp.shape(train) != (m, m) or not m:
    raise ValueError(f'train must be [M, M]; got {jnp.shape(train)}.')
  if jnp.ndim(cross) != 2 or jnp.shape(cross)[1] != m:
    raise ValueError(
      f'cross must be [B, M] with M = {m}; got {jnp.shape(cross)}.'
    )
  if jnp.ndim(targets) != 2 or jnp.shape(targets)[0] != m:
    raise ValueError(
      f'targets must be [M, K] with M = {m}; got {jnp.shape(targets)}.'
    )
  functional.check_kernel(train, name='train')


def gp_posterior(
  train: chex.Array,
  cross: chex.Array,
  test: chex.Array,
  targets: chex.Array,
  *,
  noise_variance: chex.Numeric = 0.0,
) -> Posterior:
  """Bayesian predictions of an infinitely wide network.

  Args:
    train: kernel of the training inputs, f[M, M].
    cross: of test and training inputs, f[B, M].
    test: of the test inputs, f[B, B].
    targets: f[M, K].
    noise_variance: s^2 >= 0 on the diagonal of `train` (traced).

  Returns:
    `Posterior`. NaN if the kernel has no Cholesky factor in its precision: give
    it some noise, or float64.

  Raises:
    ValueError: if shapes do not fit, or the kernel is known and not positive
      semidefinite.

  Cost: O(M³ + M² (B + K)).

  Example:
    >>> one = jnp.ones((1, 1))
    >>> posterior = gp_posterior(one, 0.5 * one, one, 4 * one)
    >>> float(posterior.mean[0, 0]), float(posterior.covariance[0, 0])
    (2.0, 0.75)

  Source: Roberts, Yaida & Hanin 2022 (https://arxiv.org/abs/2106.10165),
    section 6.3.
  """
  _check_blocks(train, cross, targets)
  b = jnp.shape(cross)[0]
  if jnp.shape(test) != (b, b):
    raise ValueError(f'test must be [B, B] = {(b, b)}; got {jnp.shape(test)}.')
  checks.number(noise_variance, name='noise_variance', low=0.0)
  train, cross, test = (functional.float_array(x) for x in (train, cross, test))
  noisy = train + noise_variance * jnp.eye(len(train), dtype=train.dtype)
  factor = jax.scipy.linalg.cho_factor(noisy, lower=True)
  solve = lambda x: jax.scipy.linalg.cho_solve(factor, x)
  product = lambda x, y: jnp.matmul(x, y, precision='highest')
  return Posterior(
    product(cross, solve(jnp.asarray(targets, train.dtype))),
    test - product(cross, solve(cross.T)),
  )


def ntk_predict(
  train: chex.Array,
  cross: chex.Array,
  targets: chex.Array,
  time: chex.Numeric,
  *,
  learning_rate: chex.Numeric | None = None,
  initial_train: chex.Array | None = None,
  initial_test: chex.Array | None = None,
) -> chex.Array:
  """Outputs of an infinitely wide network that learns with squared loss.

  The loss is the sum over examples of half the squared distance.

  Args:
    train: tangent kernel of the training inputs, f[M, M].
    cross: of test and training inputs, f[B, M].
    targets: y, f[M, K].
    time: of gradient flow, >= 0 and up to infinity, or steps of gradient
      descent where there is a learning rate (traced).
    learning_rate: eta of gradient descent (traced); stable below
      `largest_learning_rate`.
    initial_train: outputs at the start, f[M, K]; zero if None.
    initial_test: likewise, f[B, K].

  Returns:
    f[B, K], z(0) + H_ba H_aa^-1 (1 - exp(-H_aa t)) (y - z_a(0)), or with
    (1 - eta H_aa)^t. Directions that the kernel does not see are left alone.

  Raises:
    ValueError: if shapes do not fit, the kernel is known and not positive
      semidefinite, or a number is out of range.

  Cost: O(M³), one eigendecomposition.

  Example:
    >>> one = jnp.ones((1, 1))
    >>> float(ntk_predict(one, one, 2 * one, 1.0, learning_rate=0.5)[0, 0])
    1.0

  Source: Roberts, Yaida & Hanin 2022 (https://arxiv.org/abs/2106.10165),
    sections 10.2 and 10.3.
  """
  _check_blocks(train, cross, targets)
  # Infinite times are the end of gradient flow.
  flows = learning_rate is None
  checks.number(time, name='time', low=0.0, finite=not flows)
  known = not isinstance(time, jax.core.Tracer)
  if known and not flows and float(time) % 1:
    raise ValueError(
      f'time must be a whole number of steps where there is a learning rate; '
      f'got {float(time):g}.'
    )
  b, k = jnp.shape(cross)[0], jnp.shape(targets)[1]
  starts = {
    'initial_train': (initial_train, (len(train), k)),
    'initial_test': (initial_test, (b, k)),
  }
  for name, (value, shape) in starts.items():
    if value is not None and jnp.shape(value) != shape:
      raise ValueError(f'{name} must be {shape}; got {jnp.shape(value)}.')
  train, cross = functional.float_array(train), functional.float_array(cross)
  values, vectors = jnp.linalg.eigh(train)
  # What rounding has made of zero.
  least = values[-1] * len(train) * jnp.finfo(train.dtype).eps
  seen = values > least
  safe = jnp.where(seen, values, 1.0)
  time = jnp.asarray(time, train.dtype)
  if flows:
    learned = -jnp.expm1(-safe * time)
  else:
    checks.number(learning_rate, name='learning_rate', low=0.0)
    learned = 1 - _power(1 - learning_rate * safe, time)
  share = jnp.where(seen, learned / safe, 0.0)
  gap = jnp.asarray(targets, train.dtype)
  if initial_train is not None:
    gap = gap - initial_train
  product = lambda x, y: jnp.matmul(x, y, precision='highest')
  moved = product(vectors, share[:, None] * product(vectors.T, gap))
  out = product(cross, moved)
  return out if initial_test is None else initial_test + out


def _power(base, steps):
  """A power whose base may be negative; steps are whole."""
  sign = jnp.where((base < 0) & (steps % 2 == 1), -1.0, 1.0)
  return sign * jnp.abs(base) ** steps


def largest_learning_rate(train: chex.Array) -> chex.Array:
  """Learning rate below which gradient descent is stable.

  Args:
    train: tangent kernel of the training inputs, f[M, M].

  Returns:
    f[], two over the largest eigenvalue.

  Raises:
    ValueError: if the kernel is not [M, M] or, if it is known, not positive
      semidefinite.

  Example:
    >>> float(largest_learning_rate(jnp.diag(jnp.array([1.0, 4.0]))))
    0.5
  """
  if jnp.ndim(train) != 2:
    raise ValueError(f'train must be [M, M]; got {jnp.shape(train)}.')
  functional.check_kernel(train, name='train')
  return 2 / jnp.linalg.eigvalsh(functional.float_array(train))[-1]
