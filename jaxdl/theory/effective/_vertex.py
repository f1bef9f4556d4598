# SPDX-License-Identifier: Apache-2.0
"""First order in 1 / width: how neurons of one layer depend on each other."""

import functools
from collections.abc import Sequence
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np

from jaxdl.core import checks
from jaxdl.networks import functional
from jaxdl.theory.effective import _kernels


class VertexFlow(NamedTuple):
  """Moments of preactivations at width n, layer by layer, each f[L].

  Attributes:
    kernel: K; E z_i^2 = K + G1 / n.
    vertex: V; Cov(z_i^2, z_j^2) = V / n for i != j.
    correction: G1.
    third: T; E z_i z_j^2 = T / n, zero without residual connections.
  """

  kernel: chex.Array
  vertex: chex.Array
  correction: chex.Array
  third: chex.Array


def vertex_flow(
  activation: functional.Activation,
  kernel: chex.Numeric,
  depth: int,
  *,
  weight_variance: chex.Numeric,
  bias_variance: chex.Numeric = 0.0,
  residual: chex.Numeric = 0.0,
  widths: Sequence[int] | None = None,
  num_nodes: int = 64,
) -> VertexFlow:
  """Fluctuations of preactivations to first order in 1 / width, one input.

  The expansion is one in depth over width times `Critical.vertex_slope`. The
  excess kurtosis of a neuron is 3 V / (n K^2), see `excess_kurtosis`.

  Args:
    activation: s, name or elementwise function, continuous (static).
    kernel: K > 0 of the first layer, f[] (traced); float64 is kept.
    depth: L >= 1 (static).
    weight_variance: C_W > 0 (traced).
    bias_variance: C_b >= 0 (traced).
    residual: gamma, by which preactivations are carried on (traced).
    widths: neurons of every layer, L of them, if they differ (static); the
      corrections of a layer are then those over the width of the layer before
      it.
    num_nodes: of the quadrature, on each side of zero (static).

  Returns:
    `VertexFlow`; its first entries are (K, 0, 0, 0).

  Raises:
    ValueError: if a number is out of range or widths do not fit.

  Cost: L times 2 `num_nodes` evaluations.

  Example:
    >>> flow = vertex_flow('relu', 1.0, 4, weight_variance=2.0)
    >>> [round(float(x), 3) for x in flow.vertex]
    [0.0, 5.0, 10.0, 15.0]

  Source: Roberts, Yaida & Hanin 2022 (https://arxiv.org/abs/2106.10165),
    sections 4.3 and 5.4. What a residual connection adds for activations that
    are not odd (T, and its part in V and G1) was derived here.
  """
  _kernels.check_layer(weight_variance, bias_variance, residual)
  _kernels.check_positive_kernel(kernel)
  depth = checks.integer(depth, name='depth', low=1)
  ratios = _ratios(widths, depth, residual)
  kernel = functional.float_array(kernel)
  zero = jnp.zeros_like(kernel)
  return _flow(
    VertexFlow(kernel, zero, zero, zero),
    jnp.asarray(ratios, kernel.dtype),
    weight_variance,
    bias_variance,
    residual,
    activation=activation,
    num_nodes=num_nodes,
  )


def _ratios(widths, depth, residual):
  """Width of a layer over that of the one before: terms are carried so."""
  if widths is None:
    return np.ones(depth)
  widths = functional.check_sizes(widths, 'widths')
  if len(widths) != depth:
    raise ValueError(
      f'widths has {len(widths)} entries, but there are depth={depth} layers.'
    )
  if isinstance(residual, jax.core.Tracer) or float(residual):
    raise ValueError(
      'widths must be left out where there are residual connections, which '
      'need equal ones.'
    )
  widths = np.array(widths, float)
  return np.concatenate([[1.0], widths[1:] / widths[:-1]])


@functools.partial(jax.jit, static_argnames=('activation', 'num_nodes'))
def _flow(start, ratios, c_w, c_b, residual, *, activation, num_nodes):
  gamma = residual

  def body(now, ratio):
    k, v, g1, t = now
    line = functional.line_values(activation, k, num_nodes=num_nodes)
    g, s = line.nodes, line.values
    mean, root = line.mean, jnp.sqrt(k)
    chi = functional.susceptibilities(
      activation, k, weight_variance=c_w, num_nodes=num_nodes
    )
    square = mean(s**2)
    spread = c_w**2 * (mean(s**4) - square**2)
    # Derivatives of s^2, averaged; the second is 2 chi_par / C_W.
    first = mean(s**2 * g) / root
    third = mean(s**2 * (g**3 - 3 * g)) / root**3
    parallel = chi.parallel + gamma**2
    vertex = parallel**2 * v * ratio + spread
    vertex += 4 * gamma**2 * k**2 * chi.parallel
    vertex += 2 * c_w * first * (chi.parallel + gamma**2) * t
    correction = parallel * g1 * ratio
    correction += (chi.fourth / (8 * k**2)) * v * ratio
    correction += 0.5 * c_w * third * t
    new = VertexFlow(
      c_b + c_w * square + gamma**2 * k,
      vertex,
      correction,
      gamma * parallel * t + gamma * c_w * root * mean(s**2 * g),
    )
    return jax.tree.map(lambda x, y: x.astype(y.dtype), new, now), now

  return jax.lax.scan(body, start, ratios)[1]


def excess_kurtosis(
  kernel: chex.Array, vertex: chex.Array, width: chex.Numeric
) -> chex.Array:
  """Excess kurtosis of one neuron, to first order in 1 / width.

  Args:
    kernel: K > 0, f[...].
    vertex: V, f[...].
    width: n >= 1.

  Returns:
    3 V / (n K^2), f[...].

  Raises:
    ValueError: if a number is known and out of range.

  Example:
    >>> float(excess_kurtosis(2.0, 20.0, 60))
    0.25
  """
  checks.number(width, name='width', low=1)
  checks.known(kernel, name='kernel', low=0.0, open_low=True)
  return 3 * jnp.asarray(vertex) / (width * jnp.asarray(kernel) ** 2)


class PairVertexFlow(NamedTuple):
  """Moments of preactivations of two inputs, layer by layer.

  Attributes:
    kernel: K, f[L, 2, 2].
    vertex: V, f[L, 2, 2, 2, 2]; Cov(z_i;a z_i;b, z_j;c z_j;d) = V[a, b, c, d]
      / n for i != j.
  """

  kernel: chex.Array
  vertex: chex.Array


def pair_vertex_flow(
  activation: functional.Activation,
  kernel: chex.Array,
  depth: int,
  *,
  weight_variance: chex.Numeric,
  bias_variance: chex.Numeric = 0.0,
) -> PairVertexFlow:
  """Fluctuations of preactivations of two inputs, to first order in 1 / width.

  Args:
    activation: s, name or elementwise function (static).
    kernel: of the first layer, f[2, 2], positive definite (traced): inputs must
      not be parallel.
    depth: L >= 1 (static).
    weight_variance: C_W > 0 (traced).
    bias_variance: C_b >= 0 (traced).

  Returns:
    `PairVertexFlow`; the first vertex is zero.

  Raises:
    ValueError: if the kernel is not [2, 2] or, as far as it is known, not
      positive definite, or a number is out of range.

  Cost: L times 10240 evaluations.

  Example:
    >>> kernel = jnp.array([[1.0, 0.5], [0.5, 1.0]])
    >>> flow = pair_vertex_flow('identity', kernel, 2, weight_variance=1.0)
    >>> float(flow.vertex[1, 0, 0, 0, 0].round(4))
    2.0

  Source: Roberts, Yaida & Hanin 2022 (https://arxiv.org/abs/2106.10165),
    equation 4.90.
  """
  _kernels.check_layer(weight_variance, bias_variance)
  if jnp.shape(kernel) != (2, 2):
    raise ValueError(f'kernel must be [2, 2]; got {jnp.shape(kernel)}.')
  functional.check_kernel(kernel)
  if not isinstance(kernel, jax.core.Tracer):
    least, most = np.linalg.eigvalsh(np.asarray(kernel, np.float64))
    if not least > 1e-6 * most:
      raise ValueError(
        'kernel must be positive definite, of two inputs that are not parallel;'
        f' its eigenvalues are {least:.3g} and {most:.3g}.'
      )
  kernel = functional.float_array(kernel)
  return _pair_flow(
    PairVertexFlow(kernel, jnp.zeros((2, 2, 2, 2), kernel.dtype)),
    weight_variance,
    bias_variance,
    activation=activation,
    depth=checks.integer(depth, name='depth', low=1),
  )


@functools.partial(jax.jit, static_argnames=('activation', 'depth'))
def _pair_flow(start, c_w, c_b, *, activation, depth):
  fn = functional.elementwise(activation)
  product = functools.partial(jnp.einsum, precision='highest')

  def body(now, _):
    k, v = now
    a, b, w = functional.pair_nodes(k)
    z = jnp.stack([a, b])
    s = fn(z)
    pairs = s[:, None] * s[None]
    inverse = jnp.linalg.inv(k)
    y = product('ef,fq->eq', inverse, z)
    # Second derivatives of s_a s_b in the preactivations, averaged.
    bent = product('q,abq,eq,fq->abef', w, pairs, y, y)
    square = product('q,abq->ab', w, pairs)
    bent -= square[:, :, None, None] * inverse[None, None]
    fourth = product('q,abq,cdq->abcd', w, pairs, pairs)
    spread = fourth - square[:, :, None, None] * square[None, None]
    carried = product('abef,efgh,cdgh->abcd', bent, v, bent)
    new = PairVertexFlow(c_b + c_w * square, c_w**2 * (spread + 0.25 * carried))
    return jax.tree.map(lambda x, y: x.astype(y.dtype), new, now), now

  return jax.lax.scan(body, start, length=depth)[1]
