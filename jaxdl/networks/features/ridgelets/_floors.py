# SPDX-License-Identifier: Apache-2.0
"""What random nets of a hidden distribution cannot do, however large."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np

from jaxdl.core import checks
from jaxdl.networks import functional
from jaxdl.networks.features import _arrays as arrays
from jaxdl.networks.features.shallow import _fit as fit_lib, _hidden as hidden

_ON_A_LINE = ('uniform_box', 'uniform_ball', 'gaussian')

# Two sets of inputs [N, d], [Q, d] -> [N, Q].
Kernel = Callable[[chex.Array, chex.Array], chex.Array]


def cos_kernel(scale: chex.Numeric, *, dist: str = 'uniform_box') -> Kernel:
  """Returns E[cos(a . x - b) cos(a . x' - b)] with b uniform on a period.

  Args:
    scale: lambda > 0.
    dist: 'uniform_box' (a product of sin(lambda D_j) / (lambda D_j), halved) or
      'gaussian' (exp(-lambda^2 |D|^2 / 2), halved), D = x - x'.

  Returns:
    A `Kernel`.

  Raises:
    ValueError: if lambda is not positive or the distribution another; from the
      kernel, if inputs are of different lengths.

  Example:
    >>> kernel = cos_kernel(2.0)
    >>> found = kernel(jnp.zeros((1, 1)), jnp.array([[0.0], [1.0]]))
    >>> [round(float(value), 4) for value in found[0]]
    [0.5, 0.2273]
  """
  checks.number(scale, name='scale', low=0.0, open_low=True)
  checks.choice(dist, ('uniform_box', 'gaussian'), name='dist')

  def kernel(x, z):
    x, z = arrays.real(x, name='x'), arrays.real(z, name='z')
    if x.ndim != 2 or z.ndim != 2 or x.shape[1] != z.shape[1]:
      raise ValueError(
        f'x and z must be [N, d] and [Q, d]; got {x.shape} and {z.shape}.'
      )
    gap = jnp.asarray(x)[:, None, :] - jnp.asarray(z)[None, :, :]
    if dist == 'gaussian':
      return 0.5 * jnp.exp(-0.5 * scale**2 * jnp.sum(gap * gap, axis=-1))
    return 0.5 * jnp.prod(jnp.sinc(scale * gap / jnp.pi), axis=-1)

  return kernel


class Nodes(NamedTuple):
  """Hidden units that stand for a distribution.

  Attributes:
    hidden: n units.
    shares: f[n], of the distribution that each stands for; they sum to one.
  """

  hidden: hidden.Hidden
  shares: chex.Array


def quadrature_nodes(
  num_nodes: int = 128,
  *,
  scale: chex.Numeric,
  dist: str = 'uniform_box',
  bias_range: hidden.BiasRange = None,
) -> Nodes:
  """Places units by Gauss quadrature, for inputs of one dimension.

  Args:
    num_nodes: of the weights, and of the biases; lambda max|x| / 2 is enough
      for smooth activations.
    scale: see `shallow.sample_hidden`.
    dist: a distribution of one dimension without options.
    bias_range: see `shallow.sample_hidden`.

  Returns:
    num_nodes^2 `Nodes`.

  Raises:
    ValueError: if a number is out of range.
  """
  checks.integer(num_nodes, name='num_nodes', low=1)
  checks.choice(dist, _ON_A_LINE, name='dist')
  low, high = hidden.bias_ends(scale, bias_range)
  line, even = np.polynomial.legendre.leggauss(num_nodes)
  a, of_a = line, even / 2
  if dist == 'gaussian':
    a, of_a = np.polynomial.hermite_e.hermegauss(num_nodes)
    of_a = of_a / math.sqrt(2 * math.pi)
  a, of_a, b, of_b = map(jnp.asarray, (a, of_a, (line + 1) / 2, even / 2))
  low, high = jnp.asarray(low, b.dtype), jnp.asarray(high, b.dtype)
  weights = jnp.repeat(jnp.asarray(scale, a.dtype) * a, num_nodes)[:, None]
  biases = jnp.tile(low + (high - low) * b, num_nodes)
  return Nodes(
    hidden.Hidden(weights, biases), jnp.outer(of_a, of_b).reshape(-1)
  )


def random_nodes(
  key: chex.PRNGKey, num_nodes: int, dim: int, **options: Any
) -> Nodes:
  """Draws units that stand for their distribution, in any dimension.

  Args:
    key: consumed.
    num_nodes: n; errors of the kernel fall as n^(-1/2).
    dim: d.
    **options: of `shallow.sample_hidden`.

  Returns:
    `Nodes` of equal shares.
  """
  units = hidden.sample_hidden(key, num_nodes, dim, **options)
  share = jnp.full((num_nodes,), 1 / num_nodes, units.biases.dtype)
  return Nodes(units, share)


def limit_kernel(
  nodes: Nodes,
  activation: functional.Activation = 'tanh',
  *,
  chunk: int = 4096,
) -> Kernel:
  """Returns k(x, x') = E[s(a . x - b) s(a . x' - b)], that of infinite nets.

  Args:
    nodes: from `quadrature_nodes` or `random_nodes`.
    activation: s.
    chunk: units at a time.

  Returns:
    A `Kernel`; O(N Q n) work, O((N + Q) chunk) memory.

  Example:
    >>> nodes = quadrature_nodes(32, scale=2.0, bias_range=float(np.pi))
    >>> kernel = limit_kernel(nodes, 'cos')
    >>> round(float(kernel(jnp.zeros((1, 1)), jnp.ones((1, 1)))[0, 0]), 4)
    0.2273
  """
  checks.integer(chunk, name='chunk', low=1)
  functional.activation(activation)
  count = nodes.shares.shape[0]
  steps = -(-count // chunk)
  size = -(-count // steps)

  def parts(leaf):
    # What fills up the last part has no share.
    pad = [(0, steps * size - count)] + [(0, 0)] * (leaf.ndim - 1)
    return jnp.pad(leaf, pad).reshape(steps, size, *leaf.shape[1:])

  def kernel(x, z):
    x, z = (jnp.asarray(arrays.real(v, name='inputs')) for v in (x, z))

    def add(total, part):
      units, shares = part
      lift = lambda x: hidden.hidden_features(x, units, activation)
      left = lift(x) * (size * shares)[None]
      return total + jnp.matmul(left, lift(z).T, precision='highest'), None

    zero = jnp.zeros((x.shape[0], z.shape[0]), jnp.result_type(x, nodes.shares))
    return jax.lax.scan(add, zero, jax.tree.map(parts, tuple(nodes)))[0]

  return kernel


def limit_of(
  key: chex.PRNGKey,
  dim: int,
  *,
  scale: chex.Numeric,
  activation: functional.Activation = 'tanh',
  dist: str = 'uniform_box',
  bias_range: hidden.BiasRange = None,
  num_nodes: int = 0,
) -> Kernel:
  """Returns the kernel of infinite nets, by quadrature where there is one.

  Args:
    key: consumed where units are drawn: inputs of several dimensions, or a
      distribution with options.
    dim: d.
    scale: see `shallow.sample_hidden`.
    activation: s.
    dist: see `shallow.sample_hidden`.
    bias_range: see `shallow.sample_hidden`.
    num_nodes: of each axis of a quadrature (64 if 0), or drawn (8192 if 0).

  Returns:
    A `Kernel`.

  Raises:
    ValueError: as `quadrature_nodes`.
  """
  checks.integer(num_nodes, name='num_nodes', low=0)
  options: dict[str, Any] = {
    'scale': scale,
    'dist': dist,
    'bias_range': bias_range,
  }
  if dim == 1 and dist in _ON_A_LINE:
    nodes = quadrature_nodes(num_nodes or 64, **options)
  else:
    nodes = random_nodes(key, num_nodes or 8192, dim, **options)
  return limit_kernel(nodes, activation)


class Floor(NamedTuple):
  """The limit of ridge nets as the number of units grows.

  Attributes:
    rmse: f[], the weighted root mean square residual, over all outputs.
    norm: f[], |c|: what it costs.
    residual: f[N, o].
  """

  rmse: chex.Array
  norm: chex.Array
  residual: chex.Array


def budgeted_floor(
  kernel: Kernel,
  x: chex.Array,
  y: chex.Array,
  *,
  ridge: chex.Numeric,
  weights: chex.Array | None = None,
) -> Floor:
  """Computes the residual that ridge nets keep, however many units they have.

  With eigenpairs (e_k, u_k) of the kernel under the weights of the data and f_k
  = <y, u_k>, the residual has the coefficients ridge / (e_k + ridge) f_k. Nets
  of n units come to it at the rate n^(-1/2). It is a floor of the given budget:
  on finitely many points, and on a compact set with an analytic activation, it
  goes to zero as the ridge does, while |c| explodes; so look at `norm`.

  Args:
    kernel: k of the hidden distribution, `cos_kernel` or `limit_kernel`; its
      scale may be traced, over which to `vmap`.
    x: f[N, d].
    y: f[N] or f[N, o].
    ridge: mu >= 0; at zero what is outside of the range of the kernel remains.
    weights: f[N] >= 0, of the squared errors in the objective; 1 by default, as
      of `fit_readout`. Quadrature weights make it an integral. What has none
      is predicted: its residual does not count.

  Returns:
    A `Floor`. Concrete arrays are solved in float64, traced ones in theirs.

  Raises:
    ValueError: if shapes disagree, the ridge is negative, concrete arrays are
      not finite, or all concrete weights are zero.
    TypeError: if data hold no real numbers.

  Cost: O(N^3).

  Example:
    >>> x = np.linspace(-1, 1, 200)[:, None]
    >>> y = np.sin(2 * np.pi * x[:, 0])
    >>> floors = [
    ...   budgeted_floor(cos_kernel(scale), x, y, ridge=1e-3).rmse
    ...   for scale in (2.0, 5.0, 10.0)
    ... ]
    >>> [round(float(floor), 3) for floor in floors]
    [0.578, 0.076, 0.001]

  Source: derived here (kernel ridge regression as the limit); not the theorem
  of Li et al. 2023 (https://arxiv.org/abs/2008.08427).
  """
  checks.number(ridge, name='ridge', low=0.0)
  x, y = _examples(x, y)
  weights = arrays.example_weights(weights, x.shape[0])
  xp: Any = np
  if _is_traced(x, y, ridge, weights):
    xp, kernel_of = jnp, kernel(x, x)
  else:
    arrays.check_kept(None, x=x, y=y)
    if weights is not None and not (np.asarray(weights) > 0).any():
      raise ValueError('weights are all zero: nothing is fitted.')
    double = np.asarray(x, np.float64)
    with jax.enable_x64(True):
      kernel_of = kernel(double, double)
    if _is_traced(kernel_of):  # By its scale.
      xp, kernel_of = jnp, kernel(x, x)
  dtype = np.float64 if xp is np else arrays.solvable(kernel_of, y)
  kernel_of, y = xp.asarray(kernel_of, dtype), xp.asarray(y, dtype)
  ridge = float(ridge) if xp is np else ridge
  w = xp.ones_like(y[:, 0]) if weights is None else xp.asarray(weights, y.dtype)
  root = xp.sqrt(w)
  gram = kernel_of * root[:, None] * root[None, :]
  values, vectors = xp.linalg.eigh((gram + gram.T) / 2)
  f = vectors.T @ (root[:, None] * y)
  cut = float(np.finfo(gram.dtype).eps) * len(x) * xp.maximum(values[-1], 0)
  values = xp.where(values > cut, values, 0)
  shifted = values + ridge
  safe = xp.where(shifted > 0, shifted, 1)
  kept = xp.where(shifted > 0, ridge / safe, 1)
  spent = xp.where(values > 0, xp.sqrt(values) / safe, 0)
  inside = root[:, None] > 0
  residual = (vectors @ (kept[:, None] * f)) / xp.where(
    inside, root[:, None], 1
  )
  if weights is not None:
    inverse = xp.where(values > 0, 1 / safe, 0)
    alpha = vectors @ (inverse[:, None] * f)
    predicted = kernel_of @ (root[:, None] * alpha)
    residual = xp.where(inside, residual, y - predicted)
  square = xp.sum(xp.square(kept[:, None] * f))
  return Floor(
    xp.sqrt(square / (xp.sum(w) * y.shape[1])),
    xp.sqrt(xp.sum(xp.square(spent[:, None] * f))),
    residual,
  )


def _examples(x, y):
  x, y = arrays.real(x, name='x'), arrays.real(y, name='y')
  if x.ndim != 2 or not x.shape[0] or x.shape[0] != y.shape[0]:
    raise ValueError(
      f'x and y must hold N >= 1 examples, x of shape [N, d]; got {x.shape} '
      f'and {y.shape}.'
    )
  return x, fit_lib.targets(y)


def _is_traced(*values):
  return any(isinstance(v, jax.core.Tracer) for v in values)


def kernel_ridge(
  kernel: Kernel, x: chex.Array, y: chex.Array, *, ridge: chex.Numeric
) -> Callable[[chex.Array], chex.Array]:
  """Fits the net of infinitely many units: kernel ridge regression.

  Args:
    kernel: k.
    x: f[N, d].
    y: f[N] or f[N, o].
    ridge: mu > 0.

  Returns:
    A function of x f[Q, d] that gives f[Q, o].

  Raises:
    ValueError: if the ridge is not positive, shapes disagree, or concrete data
      are not finite.
    TypeError: if data hold no real numbers.

  Cost: O(N^3), in the precision of the input; half precision in float32.
  """
  checks.number(ridge, name='ridge', low=0.0, open_low=True)
  x, y = _examples(x, y)
  arrays.check_kept(None, x=x, y=y)
  gram = kernel(x, x)
  gram = jnp.asarray(gram, arrays.solvable(gram, y))
  regular = gram + jnp.asarray(ridge, gram.dtype) * jnp.eye(
    x.shape[0], dtype=gram.dtype
  )
  alpha = jax.scipy.linalg.solve(regular, jnp.asarray(y), assume_a='pos')
  return lambda z: jnp.matmul(kernel(z, x), alpha, precision='highest')


def usable_directions(scale: chex.Numeric, width: chex.Numeric) -> chex.Numeric:
  """Counts the functions that cosine nets of bounded weights can tell apart.

  About lambda |K| / pi eigenvalues of `cos_kernel` are not tiny, so sin(2 pi k
  x) needs lambda >= 2 pi k.

  Args:
    scale: lambda.
    width: |K|, length of the interval of the data.

  Returns:
    The number, not rounded.

  Example:
    >>> round(usable_directions(10.0, 2.0), 2)
    6.37

  Raises:
    ValueError: if a number is not positive.

  Source: Slepian & Pollak 1961.
  """
  checks.number(scale, name='scale', low=0.0, open_low=True)
  checks.number(width, name='width', low=0.0, open_low=True)
  return scale * width / math.pi
