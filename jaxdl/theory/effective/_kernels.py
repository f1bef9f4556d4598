# SPDX-License-Identifier: Apache-2.0
"""Infinite width: how the covariance of preactivations flows with depth."""

import functools
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp

from jaxdl.core import checks
from jaxdl.networks import functional


def check_layer(
  weight_variance: chex.Numeric,
  bias_variance: chex.Numeric,
  residual: chex.Numeric = 0.0,
) -> None:
  """Raises ValueError unless C_W > 0 and C_b >= 0, as far as they are known."""
  checks.number(weight_variance, name='weight_variance', low=0.0, open_low=True)
  checks.number(bias_variance, name='bias_variance', low=0.0)
  checks.number(residual, name='residual')


def check_positive_kernel(kernel: chex.Numeric) -> None:
  """Raises ValueError unless K is a scalar, and positive if it is known."""
  if jnp.shape(kernel):
    raise ValueError(
      f'kernel must be a scalar, that of one input; got {jnp.shape(kernel)}.'
    )
  checks.number(kernel, name='kernel', low=0.0, open_low=True)


def input_kernel(
  inputs: chex.Array,
  *,
  weight_variance: chex.Numeric,
  bias_variance: chex.Numeric = 0.0,
) -> chex.Array:
  """Covariance of the preactivations of the first layer.

  Args:
    inputs: f[M, I].
    weight_variance: C_W > 0, f[] (traced). With learning rates lambda_W and
      lambda_b in place of variances it is the first tangent kernel.
    bias_variance: C_b >= 0, f[] (traced).

  Returns:
    f[M, M], C_b + C_W x_a . x_b / I.

  Raises:
    ValueError: if inputs have other axes or, as far as they are known, are not
      finite, or a variance is out of range.

  Example:
    >>> input_kernel(jnp.array([[1.0, 0.0], [1.0, 1.0]]), weight_variance=2.0)
    Array([[1., 1.],
           [1., 2.]], dtype=float32)

  Source: Roberts, Yaida & Hanin 2022 (https://arxiv.org/abs/2106.10165),
    chapter 4.
  """
  if jnp.ndim(inputs) != 2 or 0 in jnp.shape(inputs):
    raise ValueError(f'inputs must be [M, I]; got {jnp.shape(inputs)}.')
  checks.known(inputs, name='inputs')
  check_layer(weight_variance, bias_variance)
  x = functional.float_array(inputs)
  product = jnp.matmul(x, x.T, precision='highest') / x.shape[1]
  return weight_variance * product + bias_variance


def kernel_step(
  activation: functional.Activation,
  kernel: chex.Array,
  *,
  weight_variance: chex.Numeric,
  bias_variance: chex.Numeric = 0.0,
  residual: chex.Numeric = 0.0,
  num_nodes: int = 64,
) -> chex.Array:
  """Covariance of the preactivations of the next layer.

  Args:
    activation: s, name or elementwise function (static).
    kernel: K, f[] of one input or f[M, M] (traced).
    weight_variance: C_W > 0 (traced).
    bias_variance: C_b >= 0 (traced).
    residual: gamma, by which preactivations are carried on (traced).
    num_nodes: of the quadrature, on each side of zero (static).

  Returns:
    C_b + C_W E s_a s_b + gamma^2 K, of the kernel's shape.

  Raises:
    ValueError: if a variance is out of range, the kernel is no covariance, or
      the activation returns another shape.

  Cost: see `functional.pair_moments`.

  Example:
    >>> float(kernel_step('relu', 3.0, weight_variance=2.0))
    3.0

  Source: Roberts, Yaida & Hanin 2022 (https://arxiv.org/abs/2106.10165),
    chapter 4.
  """
  check_layer(weight_variance, bias_variance, residual)
  functional.check_kernel(kernel)
  kernel = functional.float_array(kernel)
  values, _ = functional.pair_moments(activation, kernel, num_nodes=num_nodes)
  return bias_variance + weight_variance * values + residual**2 * kernel


def kernel_flow(
  activation: functional.Activation,
  kernel: chex.Array,
  depth: int,
  *,
  weight_variance: chex.Numeric,
  bias_variance: chex.Numeric = 0.0,
  residual: chex.Numeric = 0.0,
  num_nodes: int = 64,
) -> chex.Array:
  """Covariance of the preactivations of every layer, one scan.

  Off criticality it explodes or vanishes exponentially with depth: that is no
  fault of the numbers. Float64 kernels are computed in float64.

  Args:
    activation: see `kernel_step`.
    kernel: K of the first layer, f[] or f[M, M], see `input_kernel` (traced).
    depth: L, weight layers, >= 1 (static).
    weight_variance: C_W > 0 (traced).
    bias_variance: C_b >= 0 (traced).
    residual: gamma (traced).
    num_nodes: of the quadrature, on each side of zero (static).

  Returns:
    f[L] or f[L, M, M]; the first entry is `kernel`.

  Raises:
    ValueError: as `kernel_step`, or if the depth is below 1.

  Cost: L steps; one program whatever the depth.

  Example:
    >>> flow = kernel_flow('tanh', 1.0, 3, weight_variance=1.0)
    >>> [round(float(x), 4) for x in flow]
    [1.0, 0.3943, 0.2365]

  Source: Roberts, Yaida & Hanin 2022 (https://arxiv.org/abs/2106.10165),
    chapters 4 and 5.
  """
  check_layer(weight_variance, bias_variance, residual)
  functional.check_kernel(kernel)
  return _flow(
    functional.float_array(kernel),
    weight_variance,
    bias_variance,
    residual,
    activation=activation,
    depth=checks.integer(depth, name='depth', low=1),
    num_nodes=num_nodes,
  )


@functools.partial(
  jax.jit, static_argnames=('activation', 'depth', 'num_nodes')
)
def _flow(kernel, c_w, c_b, residual, *, activation, depth, num_nodes):
  def body(k, _):
    new = kernel_step(
      activation,
      k,
      weight_variance=c_w,
      bias_variance=c_b,
      residual=residual,
      num_nodes=num_nodes,
    )
    return new.astype(k.dtype), k

  return jax.lax.scan(body, kernel, length=depth)[1]


class NearbyFlow(NamedTuple):
  """Two nearby inputs x_+ and x_-, layer by layer, each f[L].

  Attributes:
    middle: K0 = E (z_+ + z_-)^2 / 4.
    parallel: dK1 = (K_++ - K_--) / 2.
    perpendicular: ddK2 = E (z_+ - z_-)^2 / 4.
  """

  middle: chex.Array
  parallel: chex.Array
  perpendicular: chex.Array


def nearby_flow(
  activation: functional.Activation,
  middle: chex.Numeric,
  parallel: chex.Numeric,
  perpendicular: chex.Numeric,
  depth: int,
  *,
  weight_variance: chex.Numeric,
  bias_variance: chex.Numeric = 0.0,
  residual: chex.Numeric = 0.0,
  num_nodes: int = 64,
) -> NearbyFlow:
  """How nearby inputs move apart or together, to second order in the distance.

  Args:
    activation: name or elementwise function (static).
    middle: K0 > 0 of the first layer, f[] (traced).
    parallel: dK1 of the first layer, f[] (traced).
    perpendicular: ddK2 >= 0 of the first layer, f[] (traced).
    depth: L >= 1 (static).
    weight_variance: C_W > 0 (traced).
    bias_variance: C_b >= 0 (traced).
    residual: gamma (traced).
    num_nodes: of the quadrature, on each side of zero (static).

  Returns:
    `NearbyFlow`; chi_par moves norms, chi_perp distances.

  Raises:
    ValueError: if a number is out of range.

  Example:
    >>> flow = nearby_flow('relu', 1.0, 0.1, 0.1, 3, weight_variance=2.0)
    >>> [round(float(x), 4) for x in flow.parallel]
    [0.1, 0.1, 0.1]

  Source: Roberts, Yaida & Hanin 2022 (https://arxiv.org/abs/2106.10165),
    section 5.1.
  """
  check_layer(weight_variance, bias_variance, residual)
  check_positive_kernel(middle)
  checks.number(parallel, name='parallel')
  checks.number(perpendicular, name='perpendicular', low=0.0)
  middle = functional.float_array(middle)
  cast = lambda x: jnp.asarray(x, middle.dtype)
  return _nearby(
    NearbyFlow(middle, cast(parallel), cast(perpendicular)),
    weight_variance,
    bias_variance,
    residual,
    activation=activation,
    depth=checks.integer(depth, name='depth', low=1),
    num_nodes=num_nodes,
  )


@functools.partial(
  jax.jit, static_argnames=('activation', 'depth', 'num_nodes')
)
def _nearby(start, c_w, c_b, residual, *, activation, depth, num_nodes):
  def body(now, _):
    chi = functional.susceptibilities(
      activation, now.middle, weight_variance=c_w, num_nodes=num_nodes
    )
    new = NearbyFlow(
      kernel_step(
        activation,
        now.middle,
        weight_variance=c_w,
        bias_variance=c_b,
        residual=residual,
        num_nodes=num_nodes,
      ),
      (chi.parallel + residual**2) * now.parallel,
      (chi.perpendicular + residual**2) * now.perpendicular
      + chi.mixed * now.parallel**2,
    )
    return jax.tree.map(lambda x, y: x.astype(y.dtype), new, now), now

  return jax.lax.scan(body, start, length=depth)[1]
