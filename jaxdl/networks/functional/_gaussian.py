# SPDX-License-Identifier: Apache-2.0
"""Averages of activations over normal preactivations.

Both rules split where an argument is zero, so that kinks there (relu, elu) cost
no accuracy: Gauss-Legendre on two half-lines for one preactivation, in polar
coordinates on four arcs for two. With 64 nodes the error of the moments of
tanh, silu and gelu is below 1e-11 up to variance 14; Gauss-Hermite with 100
nodes has 3e-2 there.
"""

import functools
from collections.abc import Callable
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np

from jaxdl.core import checks
from jaxdl.networks.functional import _activations

NUM_NODES = 64
# Standard deviations that are integrated over: the rest weighs 1e-31.
_REACH = 12.0
_RADIUS_NODES = 40
_ARC_NODES = 32
# How far an activation may be from scaling, in units of its values.
_SCALING = 1e-12
# Pairs of inputs that are averaged together.
_PAIRS = 64


class LineValues(NamedTuple):
  """An activation on the nodes of one normal preactivation z = sqrt(K) g.

  Attributes:
    nodes: f[Q], g.
    weights: f[Q], they sum to one.
    values: f[Q], sigma(z).
    slopes: f[Q], sigma'(z).
  """

  nodes: chex.Array
  weights: chex.Array
  values: chex.Array
  slopes: chex.Array

  def mean(self, x: chex.Array) -> chex.Array:
    """The average of what is given on the nodes, f[Q] -> f[]."""
    return (self.weights * x).sum(-1)


def float_array(value: chex.Numeric) -> jax.Array:
  """Makes numbers an array of float32 or float64, whichever holds them.

  Args:
    value: numbers.

  Returns:
    f[...]; integers and Python numbers take the default floating-point type.
  """
  value = jnp.asarray(value)
  floating = jnp.issubdtype(value.dtype, jnp.floating)
  dtype = value.dtype if floating else jnp.result_type(float)
  return value.astype(jnp.promote_types(dtype, jnp.float32))


@functools.cache
def _legendre(num_nodes, reach):
  x, w = np.polynomial.legendre.leggauss(num_nodes)
  return reach * (x + 1) / 2, reach * w / 2


def gaussian_nodes(
  num_nodes: int = NUM_NODES,
) -> tuple[np.ndarray, np.ndarray]:
  """Nodes and weights of averages over a standard normal number.

  Args:
    num_nodes: on each side of zero, >= 2 (static).

  Returns:
    f64[2 num_nodes] nodes from left to right, and weights that sum to one.

  Raises:
    TypeError, ValueError: if the number is no integer from 2.

  Example:
    >>> g, w = gaussian_nodes()
    >>> round(float((w * g**4).sum()), 12)
    3.0
  """
  num_nodes = checks.integer(num_nodes, name='num_nodes', low=2)
  x, w = _legendre(num_nodes, _REACH)
  w = w * np.exp(-0.5 * x * x)
  g = np.concatenate([-x[::-1], x])
  weights = np.concatenate([w[::-1], w])
  return g, weights / weights.sum()


def elementwise(
  activation: _activations.Activation, *, sloped: bool = True
) -> Callable[[jax.Array], jax.Array]:
  """Reads an activation and checks that it keeps shapes.

  Args:
    activation: a part of `ACTIVATIONS` or a function.
    sloped: whether it must return real floating-point numbers, which have
      slopes.

  Returns:
    f[...] -> f[...].

  Raises:
    ValueError: if the name is unknown or it returns another shape.
    TypeError: if it is neither text nor a function, is not written for jax, or
      returns other numbers.
  """
  fn = _activations.activation(activation)
  given = jax.ShapeDtypeStruct((3,), jnp.float32)
  try:
    # A function of its own: those of NumPy cannot be looked into.
    got = jax.eval_shape(lambda x: fn(x), given)
  except (TypeError, jax.errors.JAXTypeError) as error:
    raise TypeError(
      'activation must be an elementwise function written in jax.numpy; '
      f'{checks.described(activation)} cannot be traced: '
      f'{str(error).splitlines()[0]}'
    ) from error
  if getattr(got, 'shape', None) != (3,):
    raise ValueError(
      'activation must be elementwise, f[3] -> f[3]; got '
      f'{checks.described(activation)} that returns '
      f'{getattr(got, "shape", checks.described(got))}.'
    )
  if sloped and not jnp.issubdtype(got.dtype, jnp.floating):
    raise TypeError(
      'activation must return real floating-point numbers, which have slopes; '
      f'got {checks.described(activation)} that returns {got.dtype}.'
    )
  return fn


def with_slope(
  fn: Callable[[jax.Array], jax.Array], x: chex.Array
) -> tuple[jax.Array, jax.Array]:
  """An elementwise function and its derivative.

  Args:
    fn: f[...] -> f[...].
    x: f[...].

  Returns:
    Both, f[...].

  Example:
    >>> with_slope(jnp.sin, jnp.zeros(()))[1].item()
    1.0
  """
  return jax.jvp(fn, (x,), (jnp.ones_like(x),))


def line_values(
  activation: _activations.Activation,
  kernel: chex.Numeric,
  *,
  num_nodes: int = NUM_NODES,
) -> LineValues:
  """An activation and its slope on the nodes of z ~ N(0, K).

  Args:
    activation: name or elementwise function (static).
    kernel: K >= 0, f[] (traced).
    num_nodes: on each side of zero (static).

  Returns:
    `LineValues` of the dtype of the kernel.

  Raises:
    ValueError: if K is negative, not a scalar, or the activation misfits.
  """
  checks.number(kernel, name='kernel', low=0.0)
  fn = elementwise(activation)
  kernel = float_array(kernel)
  g, w = (jnp.asarray(x, kernel.dtype) for x in gaussian_nodes(num_nodes))
  return LineValues(g, w, *with_slope(fn, jnp.sqrt(kernel) * g))


def gaussian_expectation(
  fn: _activations.Activation,
  kernel: chex.Numeric,
  *,
  num_nodes: int = NUM_NODES,
) -> chex.Array:
  """Averages an elementwise function over z ~ N(0, K).

  Args:
    fn: name or function; kinks at zero cost no accuracy (static).
    kernel: variance K >= 0, f[] (traced).
    num_nodes: on each side of zero (static).

  Returns:
    f[], of the dtype of the kernel.

  Raises:
    ValueError: if K is negative, or the function returns another shape.

  Example:
    >>> round(float(gaussian_expectation(lambda z: z**4, 2.0)), 3)
    12.0

  Source: Roberts, Yaida & Hanin 2022 (https://arxiv.org/abs/2106.10165), the
    averages in brackets.
  """
  checks.number(kernel, name='kernel', low=0.0)
  fn = elementwise(fn, sloped=False)
  kernel = float_array(kernel)
  g, w = (jnp.asarray(x, kernel.dtype) for x in gaussian_nodes(num_nodes))
  return (w * fn(jnp.sqrt(kernel) * g)).sum()


def pair_nodes(
  kernel: chex.Array,
) -> tuple[chex.Array, chex.Array, chex.Array]:
  """Nodes and weights of averages over two normal preactivations.

  Polar coordinates, cut where one of the two is zero; equal and opposite
  preactivations are no exception.

  Args:
    kernel: f[2, 2], positive semidefinite (traced); correlations beyond one
      count as one.

  Returns:
    z_a and z_b, f[Q], and weights f[Q] that sum to one.
  """
  sd = jnp.sqrt(jnp.diagonal(kernel))
  product = sd[0] * sd[1]
  safe = jnp.where(product > 0, product, 1.0)
  angle = jnp.arccos(jnp.clip(kernel[0, 1] / safe, -1.0, 1.0))
  r, w_r = _legendre(_RADIUS_NODES, _REACH)
  w_r = w_r * r * np.exp(-0.5 * r * r)
  t, w_t = _legendre(_ARC_NODES, 1.0)
  r, w_r, t, w_t = (
    jnp.asarray(x, kernel.dtype) for x in (r, w_r / w_r.sum() / 2, t, w_t)
  )
  # From -pi/2 to angle - pi/2, and on to pi/2; the other half is opposite.
  phi = jnp.concatenate([angle * t, angle + (np.pi - angle) * t])
  phi = phi - 0.5 * np.pi
  w_phi = jnp.concatenate([angle * w_t, (np.pi - angle) * w_t]) / np.pi
  a = (r[:, None] * jnp.cos(phi)[None, :]).reshape(-1)
  b = (r[:, None] * jnp.cos(phi - angle)[None, :]).reshape(-1)
  w = (w_r[:, None] * w_phi[None, :]).reshape(-1)
  both = lambda x: jnp.concatenate([x, -x])
  return sd[0] * both(a), sd[1] * both(b), jnp.concatenate([w, w])


def pair_expectation(
  fn: _activations.Activation,
  other: _activations.Activation,
  kernel: chex.Array,
) -> chex.Array:
  """Averages f(z_a) g(z_b) over two normal preactivations.

  Args:
    fn: f, name or elementwise function (static).
    other: g, likewise.
    kernel: their covariance f[2, 2], positive semidefinite (traced).

  Returns:
    f[].

  Raises:
    ValueError: if the kernel is not [2, 2], known and not positive
      semidefinite, or a function returns another shape.

  Cost: 5120 evaluations of each function.

  Example:
    >>> kernel = jnp.array([[1.0, 1.0], [1.0, 1.0]])
    >>> round(float(pair_expectation('relu', 'relu', kernel)), 4)
    0.5
  """
  fn, other = (elementwise(f, sloped=False) for f in (fn, other))
  if jnp.shape(kernel) != (2, 2):
    raise ValueError(f'kernel must be [2, 2]; got {jnp.shape(kernel)}.')
  check_kernel(kernel)
  a, b, w = pair_nodes(float_array(kernel))
  return (w * fn(a) * other(b)).sum()


def check_kernel(kernel: chex.Array, *, name: str = 'kernel') -> None:
  """Checks that a covariance is positive semidefinite, if it is known.

  Args:
    kernel: f[M, M], or a scalar; tracers pass.
    name: of the argument, for messages.

  Raises:
    ValueError: if it is not square, not symmetric, or has a negative eigenvalue
      beyond rounding.
  """
  shape = jnp.shape(kernel)
  if shape and (len(shape) != 2 or shape[0] != shape[1] or not shape[0]):
    raise ValueError(f'{name} must be a scalar or [M, M]; got {shape}.')
  if isinstance(kernel, jax.core.Tracer):
    return
  matrix = checks.host_array(kernel, name=name).astype(np.float64)
  matrix = np.atleast_2d(matrix)
  size = max(float(np.abs(matrix).max()), np.finfo(np.float64).tiny)
  if not np.all(np.isfinite(matrix)):
    raise ValueError(f'{name} must be finite.')
  if np.abs(matrix - matrix.T).max() > 1e-5 * size:
    raise ValueError(f'{name} must be symmetric.')
  least = float(np.linalg.eigvalsh(matrix).min())
  if least < -1e-5 * size:
    raise ValueError(
      f'{name} must be positive semidefinite; its least eigenvalue is '
      f'{least:.3g}.'
    )


def on_host(
  fn: Callable[[jax.Array], jax.Array], x: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
  """An elementwise function and its slope in float64, also while tracing.

  Args:
    fn: f[...] -> f[...].
    x: f64[...].

  Returns:
    Both, f64[...].
  """
  cpu = jax.local_devices(backend='cpu')[0]
  with (
    jax.ensure_compile_time_eval(),
    jax.enable_x64(True),
    jax.default_device(cpu),
  ):
    # As a program of its own, which no transformation around it sees.
    run = jax.jit(functools.partial(with_slope, fn))
    values = run(jnp.asarray(x, jnp.float64))
    return tuple(np.asarray(v, np.float64) for v in values)


@functools.lru_cache(maxsize=256)
def homogeneous_slopes(
  activation: _activations.Activation,
) -> tuple[float, float] | None:
  """Slopes of an activation that is a z for z > 0 and b z for z < 0.

  Found by trying it on the host, to 1e-12.

  Args:
    activation: name or elementwise function.

  Returns:
    (a, b), or None if it is another.

  Example:
    >>> homogeneous_slopes('relu'), homogeneous_slopes('tanh')
    ((1.0, 0.0), None)
  """
  fn = elementwise(activation)
  x = np.array([1e-3, 0.1, 0.7, 1.0, 3.0, 50.0])
  right, left = on_host(fn, x)[0], on_host(fn, -x)[0]
  slopes = right[3], -left[3]
  size = max(abs(slopes[0]), abs(slopes[1]))
  gap = max(
    np.abs(right / x - slopes[0]).max(), np.abs(left / -x - slopes[1]).max()
  )
  if not size > 0 or not gap <= _SCALING * size:
    return None
  # No negative zeros.
  return float(slopes[0]) + 0.0, float(slopes[1]) + 0.0


def _is_erf(activation):
  fn = _activations.activation(activation)
  return fn in (jax.lax.erf, jax.scipy.special.erf)


def _homogeneous_pair(slopes, kernel):
  """Closed forms: sigma(z) = odd z + even |z|."""
  odd, even = (slopes[0] + slopes[1]) / 2, (slopes[0] - slopes[1]) / 2
  scale = jnp.sqrt(kernel[0, 0] * kernel[1, 1])
  safe = jnp.where(scale > 0, scale, 1.0)
  cos = jnp.clip(kernel[0, 1] / safe, -1.0, 1.0)
  angle = jnp.arccos(cos)
  # E |z_a z_b| and E sgn z_a sgn z_b.
  size = (2 / np.pi) * scale * (jnp.sin(angle) + (np.pi / 2 - angle) * cos)
  sign = 1 - 2 * angle / np.pi
  return odd**2 * kernel[0, 1] + even**2 * size, odd**2 + even**2 * sign


def _erf_pair(kernel):
  product = (1 + 2 * kernel[0, 0]) * (1 + 2 * kernel[1, 1])
  value = jnp.arcsin(2 * kernel[0, 1] / jnp.sqrt(product))
  slope = 2 / jnp.sqrt(product - 4 * kernel[0, 1] ** 2)
  return 2 / np.pi * value, 2 / np.pi * slope


def pair_moments(
  activation: _activations.Activation,
  kernel: chex.Array,
  *,
  num_nodes: int = NUM_NODES,
  closed_forms: bool = True,
) -> tuple[chex.Array, chex.Array]:
  """Averages E s(z_a) s(z_b) and E s'(z_a) s'(z_b) for all pairs of inputs.

  Closed forms for erf and for what is linear on both sides of zero (relu: the
  arc-cosine kernels), quadrature otherwise.

  Args:
    activation: s, name or elementwise function (static).
    kernel: covariance f[M, M] of the preactivations, or a variance f[]
      (traced).
    num_nodes: of single inputs, on each side of zero (static).
    closed_forms: whether they are used (static).

  Returns:
    Both averages, of the shape of the kernel.

  Raises:
    ValueError: if the shape or the activation misfits.

  Cost: O(M²) closed forms, or 10240 evaluations for each of M (M - 1) / 2
    pairs.

  Example:
    >>> kernel = jnp.array([[1.0, 0.0], [0.0, 1.0]])
    >>> values, _ = pair_moments('relu', kernel)
    >>> values.round(4).tolist()
    [[0.5, 0.15919999778270721], [0.15919999778270721, 0.5]]

  Source: Cho & Saul 2009, equations 5 and 6; Williams 1997, equation 11.
  """
  kernel = float_array(kernel)
  fn = elementwise(activation)
  slopes = homogeneous_slopes(activation) if closed_forms else None
  erf = closed_forms and _is_erf(activation)

  def one(k):
    if slopes is not None:
      half = (slopes[0] ** 2 + slopes[1] ** 2) / 2
      return half * k, jnp.full_like(k, half)
    if erf:
      return _erf_pair(jnp.broadcast_to(k, (2, 2)))
    line = line_values(fn, k, num_nodes=num_nodes)
    return line.mean(line.values**2), line.mean(line.slopes**2)

  def two(k):
    if slopes is not None:
      return _homogeneous_pair(slopes, k)
    if erf:
      return _erf_pair(k)
    a, b, w = pair_nodes(k)
    (s_a, d_a), (s_b, d_b) = with_slope(fn, a), with_slope(fn, b)
    return (w * s_a * s_b).sum(), (w * d_a * d_b).sum()

  if not kernel.shape:
    return one(kernel)
  m = kernel.shape[0]
  values, derivatives = jax.vmap(one)(jnp.diagonal(kernel))
  if m == 1:
    return values[:, None], derivatives[:, None]
  rows, columns = np.triu_indices(m, 1)
  pick = lambda i, j: kernel[i, j]
  blocks = jnp.stack(
    [
      jnp.stack([pick(rows, rows), pick(rows, columns)], -1),
      jnp.stack([pick(rows, columns), pick(columns, columns)], -1),
    ],
    -2,
  )
  if slopes is None and not erf and len(rows) > _PAIRS:
    upper = jax.lax.map(two, blocks, batch_size=_PAIRS)
  else:
    upper = jax.vmap(two)(blocks)

  def whole(diagonal, pairs):
    out = jnp.diag(diagonal).at[rows, columns].set(pairs)
    return out.at[columns, rows].set(pairs)

  return whole(values, upper[0]), whole(derivatives, upper[1])
