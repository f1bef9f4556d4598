# SPDX-License-Identifier: Apache-2.0
"""The neural tangent kernel: its mean, and its fluctuations at finite width."""

import functools
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp

from jaxdl.core import checks
from jaxdl.networks import functional
from jaxdl.theory.effective import _kernels


class TangentFlow(NamedTuple):
  """Kernels of infinite width, layer by layer, each f[L, M, M].

  Attributes:
    kernel: covariance K of the preactivations.
    tangent: mean H of the neural tangent kernel.
  """

  kernel: chex.Array
  tangent: chex.Array


def layer_rates(
  rate: chex.Numeric, depth: int, name: str, dtype: jax.typing.DTypeLike
) -> jax.Array:
  """Learning rates of every layer.

  Args:
    rate: f[], that of all, or f[L].
    depth: L.
    name: of the argument, for messages.
    dtype: of the result.

  Returns:
    f[L].

  Raises:
    ValueError: if there are other numbers of them, or one is negative.
  """
  shape = jnp.shape(rate)
  if shape not in ((), (depth,)):
    raise ValueError(
      f'{name} must be a number or one for each of depth={depth} layers; got '
      f'shape {shape}.'
    )
  checks.known(rate, name=name, low=0.0)
  return jnp.broadcast_to(jnp.asarray(rate, dtype), (depth,))


def tangent_step(
  activation: functional.Activation,
  kernel: chex.Array,
  tangent: chex.Array,
  *,
  weight_variance: chex.Numeric,
  bias_variance: chex.Numeric = 0.0,
  weight_rate: chex.Numeric = 1.0,
  bias_rate: chex.Numeric = 1.0,
  residual: chex.Numeric = 0.0,
  num_nodes: int = 64,
) -> tuple[chex.Array, chex.Array]:
  """Kernel and tangent kernel of the next layer, at infinite width.

  Args:
    activation: s, name or elementwise function (static).
    kernel: K, f[] or f[M, M] (traced).
    tangent: H, of the same shape (traced).
    weight_variance: C_W > 0 (traced).
    bias_variance: C_b >= 0 (traced).
    weight_rate: lambda_W; weights learn with lambda_W / fan_in (traced).
    bias_rate: lambda_b (traced).
    residual: gamma (traced).
    num_nodes: of the quadrature, on each side of zero (static).

  Returns:
    Both, with H' = lambda_b + lambda_W E s_a s_b + (C_W E s'_a s'_b +
    gamma^2) H.

  Raises:
    ValueError: if a number is out of range or shapes differ.

  Source: Roberts, Yaida & Hanin 2022 (https://arxiv.org/abs/2106.10165),
    section 8.1.
  """
  _kernels.check_layer(weight_variance, bias_variance, residual)
  functional.check_kernel(kernel)
  if jnp.shape(kernel) != jnp.shape(tangent):
    raise ValueError(
      f'tangent must have the shape of kernel, {jnp.shape(kernel)}; got '
      f'{jnp.shape(tangent)}.'
    )
  kernel = functional.float_array(kernel)
  values, slopes = functional.pair_moments(
    activation, kernel, num_nodes=num_nodes
  )
  return (
    bias_variance + weight_variance * values + residual**2 * kernel,
    bias_rate
    + weight_rate * values
    + (weight_variance * slopes + residual**2) * tangent,
  )


def tangent_flow(
  activation: functional.Activation,
  inputs: chex.Array,
  depth: int,
  *,
  weight_variance: chex.Numeric,
  bias_variance: chex.Numeric = 0.0,
  weight_rate: chex.Numeric | None = None,
  bias_rate: chex.Numeric | None = None,
  residual: chex.Numeric = 0.0,
  num_nodes: int = 64,
) -> TangentFlow:
  """Kernels of every layer at infinite width, one scan.

  Rates equal to the variances, the default, give the kernels of networks whose
  weights and biases are standard normal numbers times their standard deviation
  ('NTK parameterization'). For networks of variance C_W / fan_in that learn
  with one rate eta, the weight rate of a layer is eta times its fan_in.

  Args:
    activation: name or elementwise function (static).
    inputs: f[M, I] (traced); float64 is kept.
    depth: L, weight layers, >= 1 (static).
    weight_variance: C_W > 0 (traced).
    bias_variance: C_b >= 0 (traced).
    weight_rate: lambda_W, f[] or f[L] (traced); C_W if None.
    bias_rate: lambda_b, f[] or f[L] (traced); C_b if None.
    residual: gamma (traced).
    num_nodes: of the quadrature, on each side of zero (static).

  Returns:
    `TangentFlow`.

  Raises:
    ValueError: if a number is out of range.

  Cost: L times that of `functional.pair_moments`.

  Example:
    >>> x = jnp.array([[1.0, 0.0, 2.0], [0.0, 1.0, 1.0]])
    >>> tangent_flow('relu', x, 2, weight_variance=2.0).tangent[1].round(4)
    Array([[6.6667, 2.4343],
           [2.4343, 2.6667]], dtype=float32)

  Source: Roberts, Yaida & Hanin 2022 (https://arxiv.org/abs/2106.10165),
    section 8.1.
  """
  depth = checks.integer(depth, name='depth', low=1)
  first = _kernels.input_kernel(
    inputs, weight_variance=weight_variance, bias_variance=bias_variance
  )
  checks.number(residual, name='residual')
  weight_rate = weight_variance if weight_rate is None else weight_rate
  bias_rate = bias_variance if bias_rate is None else bias_rate
  rates = (
    layer_rates(weight_rate, depth, 'weight_rate', first.dtype),
    layer_rates(bias_rate, depth, 'bias_rate', first.dtype),
  )
  return _flow(
    functional.float_array(inputs),
    first,
    *rates,
    weight_variance,
    bias_variance,
    residual,
    activation=activation,
    num_nodes=num_nodes,
  )


@functools.partial(jax.jit, static_argnames=('activation', 'num_nodes'))
def _flow(
  inputs, kernel, lam_w, lam_b, c_w, c_b, gamma, *, activation, num_nodes
):
  product = jnp.matmul(inputs, inputs.T, precision='highest')
  tangent = lam_b[0] + lam_w[0] * product / inputs.shape[1]

  def body(now, rates):
    new = tangent_step(
      activation,
      *now,
      weight_variance=c_w,
      bias_variance=c_b,
      weight_rate=rates[0],
      bias_rate=rates[1],
      residual=gamma,
      num_nodes=num_nodes,
    )
    new = TangentFlow(*(x.astype(kernel.dtype) for x in new))
    return new, new

  first = TangentFlow(kernel, tangent)
  _, rest = jax.lax.scan(body, first, (lam_w[1:], lam_b[1:]))
  return jax.tree.map(lambda x, xs: jnp.concatenate([x[None], xs]), first, rest)


class FluctuationFlow(NamedTuple):
  """One input at width n, layer by layer, each f[L]; i, j and k differ.

  Attributes:
    kernel: K.
    tangent: mean of H_ii.
    vertex: V; Cov(z_i^2, z_j^2) = V / n.
    tangent_square: D; Cov(H_ii, z_k^2) = D / n.
    tangent_product: F; E H_ij z_i z_j = F / n.
    tangent_diagonal: A; Cov(H_ii, H_kk) = A / n.
    tangent_offdiagonal: B; E H_ij^2 = B / n.
  """

  kernel: chex.Array
  tangent: chex.Array
  vertex: chex.Array
  tangent_square: chex.Array
  tangent_product: chex.Array
  tangent_diagonal: chex.Array
  tangent_offdiagonal: chex.Array


def fluctuation_flow(
  activation: functional.Activation,
  kernel: chex.Numeric,
  depth: int,
  *,
  weight_variance: chex.Numeric,
  bias_variance: chex.Numeric = 0.0,
  weight_rate: chex.Numeric | None = None,
  bias_rate: chex.Numeric | None = None,
  num_nodes: int = 64,
) -> FluctuationFlow:
  """Fluctuations of the tangent kernel to first order in 1 / width, one input.

  Args:
    activation: s, name or elementwise function, continuous (static).
    kernel: K > C_b of the first layer, f[] (traced); float64 is kept.
    depth: L >= 1 (static).
    weight_variance: C_W > 0 (traced).
    bias_variance: C_b >= 0 (traced).
    weight_rate: lambda_W, f[] or f[L] (traced); C_W if None.
    bias_rate: lambda_b, f[] or f[L] (traced); C_b if None.
    num_nodes: of the quadrature, on each side of zero (static).

  Returns:
    `FluctuationFlow`; all but K and H are zero in the first layer.

  Raises:
    ValueError: if a number is out of range.

  Cost: L times 2 `num_nodes` evaluations.

  Example:
    >>> flow = fluctuation_flow(
    ...   'relu', 1.0, 2, weight_variance=2.0, weight_rate=1.0, bias_rate=0.5
    ... )
    >>> [round(float(x[1]), 4) for x in flow]
    [1.0, 2.0, 5.0, 3.5, 2.0, 3.25, 2.0]

  Source: Roberts, Yaida & Hanin 2022 (https://arxiv.org/abs/2106.10165),
    sections 8.2 and 8.3.
  """
  _kernels.check_layer(weight_variance, bias_variance)
  _kernels.check_positive_kernel(kernel)
  depth = checks.integer(depth, name='depth', low=1)
  known = not any(
    isinstance(x, jax.core.Tracer) for x in (kernel, bias_variance)
  )
  if known and float(kernel) < float(bias_variance):
    raise ValueError(
      f'kernel must be at least bias_variance={float(bias_variance):g}, which '
      f'biases alone give; got {float(kernel):g}.'
    )
  kernel = functional.float_array(kernel)
  weight_rate = weight_variance if weight_rate is None else weight_rate
  bias_rate = bias_variance if bias_rate is None else bias_rate
  return _fluctuations(
    kernel,
    layer_rates(weight_rate, depth, 'weight_rate', kernel.dtype),
    layer_rates(bias_rate, depth, 'bias_rate', kernel.dtype),
    weight_variance,
    bias_variance,
    activation=activation,
    num_nodes=num_nodes,
  )


@functools.partial(jax.jit, static_argnames=('activation', 'num_nodes'))
def _fluctuations(kernel, lam_w, lam_b, c_w, c_b, *, activation, num_nodes):
  tangent = lam_b[0] + lam_w[0] * (kernel - c_b) / c_w
  first = FluctuationFlow(kernel, tangent, *[jnp.zeros_like(kernel)] * 5)

  def body(now, rates):
    k, h, v, d, f, a, b = now
    rate_w, rate_b = rates
    line = functional.line_values(activation, k, num_nodes=num_nodes)
    s2, d2, mean = line.values**2, line.slopes**2, line.mean
    chi = functional.susceptibilities(
      activation, k, weight_variance=c_w, num_nodes=num_nodes
    )
    par, perp = chi.parallel, chi.perpendicular
    omega = rate_w * s2 + c_w * h * d2
    # How the mean of omega moves with the kernel.
    u = rate_w * par / c_w + 2 * h * chi.mixed
    square, total = mean(s2), mean(omega)
    new = FluctuationFlow(
      c_b + c_w * square,
      rate_b + total,
      par**2 * v + c_w**2 * (mean(s2**2) - square**2),
      c_w * (mean(omega * s2) - total * square) + par * u * v + par * perp * d,
      c_w**2 * mean(s2 * d2) * h + par**2 * f,
      mean(omega**2) - total**2 + u**2 * v + 2 * u * perp * d + perp**2 * a,
      c_w**2 * mean(d2**2) * h**2 + perp**2 * b,
    )
    new = jax.tree.map(lambda x, y: x.astype(y.dtype), new, now)
    return new, new

  _, rest = jax.lax.scan(body, first, (lam_w[1:], lam_b[1:]))
  return jax.tree.map(lambda x, xs: jnp.concatenate([x[None], xs]), first, rest)
