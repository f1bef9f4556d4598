# SPDX-License-Identifier: Apache-2.0
"""Variances of weights and biases at which signals neither explode nor fade.

Susceptibilities say how a layer passes on perturbations of its kernel; at the
critical point of an activation they are one.
"""

import functools
from collections.abc import Callable
from typing import NamedTuple

import chex
import jax.numpy as jnp
import numpy as np

from jaxdl.core import checks
from jaxdl.networks.functional import _activations, _gaussian

KINDS = ('scale_invariant', 'zero_kernel', 'half_stable')
BRACKET = (1e-2, 1e2)
# How negative a variance of biases may be by rounding.
_ROUNDING = 1e-12
_GRID = 200
# Below this share of a susceptibility a difference of two is rounding.
_FLAT = 1e-10


class Susceptibilities(NamedTuple):
  """How a layer passes on perturbations of its kernel, each f[].

  Attributes:
    parallel: chi_par, derivative of the next kernel in this one.
    perpendicular: chi_perp, growth of the distance of nearby inputs of one
      norm.
    mixed: h, half the derivative of chi_perp in the kernel.
    fourth: j = C_W E s(z)^2 (z^4 / K^2 - 6 z^2 / K + 3).
  """

  parallel: chex.Array
  perpendicular: chex.Array
  mixed: chex.Array
  fourth: chex.Array


class Critical(NamedTuple):
  """The critical point of an activation; Python numbers.

  Attributes:
    kind: one of 'scale_invariant', 'zero_kernel' (the fixed point is zero) and
      'half_stable'.
    kernel: K*, the fixed point; NaN where every kernel is one.
    weight_variance: C_W.
    bias_variance: C_b.
    vertex_slope: nu, by which V / K^2 grows per layer.
    exponent: p_perp, with which distances fall as powers of the layer, zero
      where they stay; NaN where the activation has a kink at zero that makes
      another power.
    curvature: second derivative of the kernel map at K*: a perturbation decays
      from above if negative, from below if positive (half-stable), NaN for
      other kinds.
  """

  kind: str
  kernel: float
  weight_variance: float
  bias_variance: float
  vertex_slope: float
  exponent: float
  curvature: float


def _formulas(line, root, c_w):
  """Susceptibilities on nodes; arrays of jax or NumPy."""
  g, s, d = line.nodes, line.values, line.slopes
  he2, he3 = g * g - 1, g * g * g - 3 * g
  sq = c_w / (root * root)
  # By parts once, which cancels less at small kernels.
  return Susceptibilities(
    c_w / root * line.mean(g * s * d),
    c_w * line.mean(d * d),
    0.25 * sq * line.mean(d * d * he2),
    2 * c_w * root * line.mean(s * d * he3),
  )


def susceptibilities(
  activation: _activations.Activation,
  kernel: chex.Numeric,
  *,
  weight_variance: chex.Numeric,
  num_nodes: int = _gaussian.NUM_NODES,
) -> Susceptibilities:
  """How perturbations of the kernel pass through a layer.

  Args:
    activation: s, continuous: name or elementwise function (static).
    kernel: K > 0, f[] (traced).
    weight_variance: C_W > 0, f[] (traced); weights have C_W / fan_in.
    num_nodes: of the quadrature, on each side of zero (static).

  Returns:
    `Susceptibilities`, of the dtype of the kernel. A residual branch adds its
    square factor to the first two.

  Raises:
    ValueError: if K or C_W is not positive.

  Example:
    >>> chi = susceptibilities('relu', 3.0, weight_variance=2.0)
    >>> [round(float(x), 4) for x in chi[:2]]
    [1.0, 1.0]

  Source: Roberts, Yaida & Hanin 2022 (https://arxiv.org/abs/2106.10165),
    chapters 5 and 10.
  """
  check_positive(kernel, 'kernel')
  check_positive(weight_variance, 'weight_variance')
  line = _gaussian.line_values(activation, kernel, num_nodes=num_nodes)
  root = jnp.sqrt(_gaussian.float_array(kernel))
  return _formulas(line, root, jnp.asarray(weight_variance, root.dtype))


def check_positive(value: chex.Numeric, name: str) -> None:
  """Raises ValueError unless a number that is known is positive."""
  checks.number(value, name=name, low=0.0, open_low=True)


class _Host:
  """Averages of one activation in float64, on the host."""

  def __init__(self, fn: Callable, num_nodes: int):
    self.fn = fn
    self.nodes, self.weights = _gaussian.gaussian_nodes(num_nodes)

  def line(self, kernel):
    kernel = np.asarray(kernel, np.float64)
    z = np.sqrt(kernel)[..., None] * self.nodes
    values, slopes = _gaussian.on_host(self.fn, z)
    return _gaussian.LineValues(self.nodes, self.weights, values, slopes)

  def chi(self, kernel, c_w=1.0):
    return _formulas(self.line(kernel), np.sqrt(kernel), c_w)

  def square(self, kernel):
    line = self.line(kernel)
    return line.mean(line.values**2)

  def slope(self, kernel, c_w):
    """Slope of the vertex at a fixed point."""
    line = self.line(kernel)
    spread = line.mean(line.values**4) - line.mean(line.values**2) ** 2
    return float((c_w / kernel) ** 2 * spread)


def _derivatives(fn):
  """s, s', s'' and s''' at zero, in float64."""
  out = []
  for _ in range(4):
    out.append(float(_gaussian.on_host(fn, np.zeros(()))[0]))
    fn = _next(fn)
  return out


def _next(fn):
  def derivative(x):
    return _gaussian.with_slope(fn, x)[1]

  return derivative


def _at_zero(fn, host):
  """The critical point at K* = 0, or None."""
  value, first, second, third = _derivatives(fn)
  if abs(value) > _ROUNDING or not abs(first) > _ROUNDING:
    return None
  c_w = 1 / first**2
  small = np.array([1e-4, 1e-3])
  # How the map leaves the diagonal, per K^2: must lie below it.
  bend = (c_w * host.square(small) - small) / small**2
  if not np.all(bend < 0):
    return None
  a1 = third / first + 0.75 * (second / first) ** 2
  b1 = third / first + (second / first) ** 2
  smooth = abs(bend[0] / a1 - 1) < 0.05 if a1 else False
  exponent = b1 / a1 if smooth else np.nan
  return Critical(
    'zero_kernel', 0.0, c_w, 0.0, 2 / 3, float(exponent), float('nan')
  )


def find_critical(
  activation: _activations.Activation,
  *,
  bracket: tuple[float, float] = BRACKET,
  num_nodes: int = _gaussian.NUM_NODES,
) -> Critical:
  """Finds the variances at which both susceptibilities are one.

  On the host, in float64: C_W and C_b such that the kernel K* is a fixed point
  and perturbations neither grow nor fade exponentially with depth.

  Args:
    activation: name or elementwise function, continuous and, but for zero,
      smooth.
    bracket: kernels between which a fixed point away from zero is looked for;
      the smallest admissible one counts.
    num_nodes: of the quadrature, on each side of zero.

  Returns:
    `Critical`.

  Raises:
    ValueError: if there is none in the bracket: softplus and sigmoid have none
      at all.

  Cost: some 300 averages; the result is kept.

  Example:
    >>> point = find_critical('gelu')
    >>> point.kind, round(point.weight_variance, 6), round(point.kernel, 6)
    ('half_stable', 1.983058, 3.561553)

  Source: Roberts, Yaida & Hanin 2022 (https://arxiv.org/abs/2106.10165),
    chapter 5.
  """
  if not isinstance(bracket, (tuple, list)) or len(bracket) != 2:
    raise ValueError(
      f'bracket must be two kernels, as (0.01, 100); got {bracket!r}.'
    )
  low, high = bracket
  check_positive(low, 'bracket')
  checks.number(high, name='bracket', low=low, open_low=True)
  if not isinstance(activation, str) and not callable(activation):
    _activations.activation(activation)  # Says what is wrong.
  return _found(activation, (float(low), float(high)), num_nodes)


@functools.lru_cache(maxsize=256)
def _found(activation, bracket, num_nodes):
  from scipy import optimize

  low, high = bracket
  fn = _gaussian.elementwise(activation)
  host = _Host(fn, num_nodes)
  slopes = _gaussian.homogeneous_slopes(activation)
  if slopes is not None:
    a2, a4 = ((slopes[0] ** p + slopes[1] ** p) / 2 for p in (2, 4))
    return Critical(
      *('scale_invariant', float('nan'), 1 / a2, 0.0),
      *(3 * a4 / a2**2 - 1, 0.0, float('nan')),
    )
  found = _at_zero(fn, host)
  if found is not None:
    return found
  grid = np.geomspace(low, high, _GRID)
  chi = host.chi(grid)
  gap = chi.parallel - chi.perpendicular
  gap = np.where(np.abs(gap) > _FLAT * chi.perpendicular, gap, 0.0)
  refused = []

  def difference(kernel):
    chi = host.chi(kernel)
    return float(chi.parallel - chi.perpendicular)

  for k in np.flatnonzero(gap[:-1] * gap[1:] < 0):
    kernel = optimize.brentq(difference, grid[k], grid[k + 1], xtol=1e-13)
    c_w = 1 / float(host.chi(kernel).perpendicular)
    c_b = kernel - c_w * float(host.square(kernel))
    if c_b < -_ROUNDING:
      refused.append((kernel, c_b))
      continue
    curvature = float(host.chi(kernel, c_w).fourth) / (4 * kernel**2)
    nu = host.slope(kernel, c_w)
    return Critical(
      'half_stable', kernel, c_w, max(c_b, 0.0), nu, 0.0, curvature
    )
  why = (
    ': both susceptibilities agree nowhere.'
    if not refused
    else f': at K = {refused[0][0]:.4g} biases would need the variance '
    f'{refused[0][1]:.3g}.'
  )
  shown = activation if isinstance(activation, str) else None
  raise ValueError(
    f'activation={shown or checks.described(activation)} has no critical point '
    f'in bracket ({low:g}, {high:g}){why}'
  )
