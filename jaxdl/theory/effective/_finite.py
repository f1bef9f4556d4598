# SPDX-License-Identifier: Apache-2.0
"""What follows from the expansion: depth over width, and scales of rates."""

import chex
import jax.numpy as jnp

from jaxdl.core import checks
from jaxdl.networks import functional

_EDGE = 20.0


def mutual_information(
  ratio: chex.Numeric, num_first: int, num_second: int
) -> chex.Array:
  """Information that two groups of neurons of the last layer share, in nats.

  The first two orders in tau; beyond tau of about one they mean nothing.

  Args:
    ratio: tau = V / (n K^2) >= 0, which is nu L / n at criticality, f[...].
    num_first: neurons of one group, >= 1.
    num_second: of the other, >= 1.

  Returns:
    f[...], n_1 n_2 / 8 (tau^2 - (20 + 3 (n_1 + n_2)) / 6 tau^3).

  Raises:
    ValueError: if a group is empty, or the ratio is known and negative.

  Example:
    >>> round(float(mutual_information(0.1, 1, 1)), 6)
    0.000708

  Source: Roberts, Yaida & Hanin 2022 (https://arxiv.org/abs/2106.10165),
    appendix A.3.
  """
  checks.integer(num_first, name='num_first', low=1)
  checks.integer(num_second, name='num_second', low=1)
  checks.known(ratio, name='ratio', low=0.0)
  tau = functional.float_array(ratio)
  third = (_EDGE + 3 * (num_first + num_second)) / 6
  return num_first * num_second / 8 * (tau**2 - third * tau**3)


def optimal_aspect_ratio(
  vertex_slope: chex.Numeric, num_outputs: int = 1
) -> chex.Numeric:
  """Depth over width at which groups of neurons share most information.

  Args:
    vertex_slope: nu > 0, by which V / K^2 grows per layer, see
      `functional.Critical`.
    num_outputs: n_L, neurons of the last layer in both groups, >= 1; the
      formula makes sense from 2 and is quoted for 1.

  Returns:
    4 / ((20 + 3 n_L) nu).

  Raises:
    ValueError: if a number is out of range.

  Example:
    >>> round(optimal_aspect_ratio(5.0), 4)
    0.0348

  Source: Roberts, Yaida & Hanin 2022 (https://arxiv.org/abs/2106.10165),
    appendix A.3.
  """
  checks.number(vertex_slope, name='vertex_slope', low=0.0, open_low=True)
  checks.integer(num_outputs, name='num_outputs', low=1)
  return 4 / ((_EDGE + 3 * num_outputs) * vertex_slope)


def residual_slope(
  activation: functional.Activation, residual: chex.Numeric
) -> chex.Numeric:
  """Growth of V / K^2 per layer at criticality with residual connections.

  Without the three-point vertex, which vanishes for odd activations and is
  part of `vertex_flow` for others.

  Args:
    activation: one that is linear on both sides of zero.
    residual: gamma in [0, 1] (traced).

  Returns:
    nu = (1 - gamma^2) ((3 A4 / A2^2 - 1) (1 - gamma^2) + 4 gamma^2).

  Raises:
    ValueError: if the activation is another, or gamma is out of range.

  Example:
    >>> residual_slope('identity', 0.5)
    1.875

  Source: Roberts, Yaida & Hanin 2022 (https://arxiv.org/abs/2106.10165),
    appendix B.
  """
  checks.number(residual, name='residual', low=0.0, high=1.0)
  slopes = functional.homogeneous_slopes(activation)
  if slopes is None:
    raise ValueError(
      'activation must be linear on both sides of zero, as relu; got '
      f'{checks.described(activation)}: follow vertex_flow instead.'
    )
  a2, a4 = ((slopes[0] ** p + slopes[1] ** p) / 2 for p in (2, 4))
  square = residual**2
  return (1 - square) * ((3 * a4 / a2**2 - 1) * (1 - square) + 4 * square)


def training_rates(
  point: functional.Critical,
  depth: int,
  *,
  weight_rate: chex.Numeric = 1.0,
  bias_rate: chex.Numeric = 1.0,
) -> tuple[chex.Array, chex.Array]:
  """Learning rates by layer that keep the tangent kernel of order one.

  So scaled, all layers contribute alike at criticality, whatever the depth.
  Weights of a layer learn with lambda_W / fan_in, see `scale_by_rates`.

  Args:
    point: from `functional.find_critical`.
    depth: L >= 1 (static).
    weight_rate: c_W >= 0 (traced).
    bias_rate: c_b >= 0 (traced).

  Returns:
    lambda_W and lambda_b, f[L] each: c / L, or for a fixed point at zero
    c_W (L / l)^(p - 1) and c_b l^-p L^(p - 1) with p = p_perp.

  Raises:
    ValueError: if the depth is below 1, a rate is out of range, or the power
      of the activation is not known.
    TypeError: if the point is none.

  Example:
    >>> point = functional.find_critical('tanh')
    >>> [r.round(2).tolist() for r in training_rates(point, 2)]
    [[1.0, 1.0], [1.0, 0.5]]

  Source: Roberts, Yaida & Hanin 2022 (https://arxiv.org/abs/2106.10165),
    section 9.4.
  """
  if not isinstance(point, functional.Critical):
    raise TypeError(
      f'point must be a Critical; got {checks.described(point)}: find it by '
      'functional.find_critical(activation).'
    )
  depth = checks.integer(depth, name='depth', low=1)
  checks.number(weight_rate, name='weight_rate', low=0.0)
  checks.number(bias_rate, name='bias_rate', low=0.0)
  ones = jnp.ones((depth,))
  if point.kind != 'zero_kernel':
    return weight_rate / depth * ones, bias_rate / depth * ones
  p = point.exponent
  if p != p:
    raise ValueError(
      'point has no exponent: its activation has a kink at zero that decays '
      'with another power; set the rates of its layers yourself.'
    )
  layer = jnp.arange(1, depth + 1, dtype=ones.dtype)
  return (
    weight_rate * (depth / layer) ** (p - 1),
    bias_rate * layer**-p * depth ** (p - 1),
  )
