# SPDX-License-Identifier: Apache-2.0
"""One hidden layer whose weights are drawn from a bounded set, and frozen."""

from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np
from absl import logging

from jaxdl.core import checks, keys, registry
from jaxdl.core.types import Network
from jaxdl.networks import _dense, functional
from jaxdl.networks.features import (
  _arrays as arrays,
  _bundling as bundling,
  _constants as constants,
  _random_features as random_features,
)

# They come back, however large the bias.
_PERIODIC = ('cos', 'sin')
_LEAST_SLOPE = 0.01

BiasRange = chex.Numeric | tuple[chex.Numeric, chex.Numeric] | None


class Hidden(NamedTuple):
  """A hidden layer s(a . x - b).

  Attributes:
    weights: f[n, d], a row a per unit.
    biases: f[n], b.
  """

  weights: chex.Array
  biases: chex.Array


def _uniform_box(key, num_hidden, dim):
  """Every weight uniform on [-1, 1]."""
  return jax.random.uniform(key, (num_hidden, dim), minval=-1.0, maxval=1.0)


def _uniform_ball(key, num_hidden, dim):
  """Uniform in the unit ball."""
  return jax.random.ball(key, dim, shape=(num_hidden,))


def _gaussian(key, num_hidden, dim, *, orthogonal: bool = False):
  """Independent normal weights, not bounded; or orthogonal rows."""
  return random_features.gaussian_projection(
    key, num_hidden, dim, orthogonal=orthogonal
  )


# How weights of scale one are drawn.
DISTRIBUTIONS = registry.Registry(
  'dist',
  {
    'gaussian': _gaussian,
    'uniform_ball': _uniform_ball,
    'uniform_box': _uniform_box,
  },
  given=('key', 'num_hidden', 'dim'),
)


def bias_ends(
  scale: chex.Numeric, bias_range: BiasRange = None
) -> tuple[chex.Numeric, chex.Numeric]:
  """Returns the ends of the interval that biases are drawn from.

  Args:
    scale: lambda.
    bias_range: r for [-r, r], a pair (low, high), or None for r = lambda.

  Returns:
    Low and high.

  Raises:
    ValueError: if r <= 0 or high < low.

  Example:
    >>> bias_ends(2.0), bias_ends(2.0, 3.0), bias_ends(2.0, (0.0, 1.0))
    ((-2.0, 2.0), (-3.0, 3.0), (0.0, 1.0))
  """
  checks.number(scale, name='scale', low=0.0, open_low=True)
  if bias_range is None:
    return -scale, scale
  if not isinstance(bias_range, (tuple, list)):
    checks.number(bias_range, name='bias_range', low=0.0, open_low=True)
    return -bias_range, bias_range
  if len(bias_range) != 2:
    raise ValueError(
      f'bias_range must be a number or (low, high); got {bias_range}.'
    )
  low, high = bias_range
  checks.number(low, name='bias_range')
  known = not bundling.is_traced(low)
  checks.number(high, name='bias_range', low=float(low) if known else None)
  return low, high


def sample_hidden(
  key: chex.PRNGKey,
  num_hidden: int,
  dim: int,
  *,
  scale: chex.Numeric,
  dist: str = 'uniform_box',
  bias_range: BiasRange = None,
) -> Hidden:
  """Draws the hidden layer of a random net.

  The same key gives the same units at every scale, so nets may be compared
  over scales with `vmap`.

  Args:
    key: consumed.
    num_hidden: n units (static).
    dim: d, length of the inputs (static).
    scale: lambda > 0, of the weights; may be traced.
    dist: a part of `DISTRIBUTIONS` (static): 'uniform_box' draws each weight
      from [-lambda, lambda], 'uniform_ball' |a| <= lambda, 'gaussian' from
      N(0, lambda^2), which has no bound.
    bias_range: biases are uniform on [-bias_range, bias_range], or (low,
      high); by default on [-lambda, lambda]. They should reach as far as a . x
      does over the data, or all units are on one side (`warn_of_saturation`).

  Returns:
    `Hidden`, in JAX's default precision (float64 under `jax.enable_x64`).

  Raises:
    ValueError: if a number is out of range or the distribution unknown.
    TypeError: if the key is no typed key.

  Example:
    >>> hidden = sample_hidden(jax.random.key(0), 5, 3, scale=2.0)
    >>> hidden.weights.shape, hidden.biases.shape
    ((5, 3), (5,))
    >>> bool(jnp.abs(hidden.weights).max() <= 2.0)
    True

  Source: Li et al. 2023 (https://arxiv.org/abs/2008.08427), random nets with
  bandlimited weights.
  """
  keys.check_key(key)
  checks.integer(num_hidden, name='num_hidden', low=1)
  checks.integer(dim, name='dim', low=1)
  low, high = bias_ends(scale, bias_range)
  weight_key, bias_key = jax.random.split(key)
  unit = DISTRIBUTIONS.make(dist, weight_key, num_hidden, dim)
  share = jax.random.uniform(bias_key, (num_hidden,), unit.dtype)
  low, high = (jnp.asarray(end, unit.dtype) for end in (low, high))
  return Hidden(
    jnp.asarray(scale, unit.dtype) * unit, low + (high - low) * share
  )


def hidden_features(
  x: chex.Array,
  hidden: Hidden,
  activation: functional.Activation = 'tanh',
  *,
  direct: bool = False,
) -> chex.Array:
  """Sends inputs through a hidden layer: s(a_i . x - b_i) / sqrt(n).

  Args:
    x: f[..., d].
    hidden: n units.
    activation: s, a part of `functional.ACTIVATIONS` or an elementwise
      function.
    direct: whether x itself and a one follow, the direct links of RVFL nets.

  Returns:
    f[..., n], or f[..., n + d + 1] with direct links.

  Raises:
    ValueError: if lengths differ or the activation is unknown.
    TypeError: if inputs hold no real numbers.

  Example:
    >>> hidden = Hidden(jnp.eye(2), jnp.zeros(2))
    >>> x = jnp.array([3.0, -1.0])
    >>> h = hidden_features(x, hidden, 'relu', direct=True)
    >>> [round(float(value), 3) for value in h]
    [2.121, 0.0, 3.0, -1.0, 1.0]
  """
  fn = functional.activation(activation)
  num_hidden, dim = hidden.weights.shape
  x = arrays.real(x, name='x')
  if x.ndim == 0 or x.shape[-1] != dim:
    raise ValueError(
      f'hidden was drawn for d={dim} but x has shape {x.shape}: need '
      f'[..., {dim}].'
    )
  z = jnp.matmul(x, hidden.weights.T, precision='highest')
  h = fn(z - jnp.broadcast_to(hidden.biases, z.shape)) / num_hidden**0.5
  if not direct:
    return h
  one = jnp.ones((*x.shape[:-1], 1), h.dtype)
  return jnp.concatenate([h, x.astype(h.dtype), one], axis=-1)


def saturated(
  x: chex.Array, hidden: Hidden, activation: functional.Activation = 'tanh'
) -> chex.Array:
  """Tells units that are nearly constant, with the bias beyond all data.

  Args:
    x: f[N, d].
    hidden: n units.
    activation: s.

  Returns:
    bool[n]: b lies outside of what a . x takes on the data, and the mean slope
    of s in between is below 0.01.

  Raises:
    ValueError: if there are no data, or of another length.

  Example:
    >>> hidden = Hidden(jnp.ones((2, 1)), jnp.array([0.5, 9.0]))
    >>> saturated(jnp.array([[-1.0], [1.0]]), hidden).tolist()
    [False, True]
  """
  x = arrays.real(x, name='x')
  if x.ndim != 2 or not x.shape[0]:
    raise ValueError(f'x must be [N, d] with N >= 1; got {x.shape}.')
  h = hidden_features(x, hidden, activation) * hidden.biases.shape[0] ** 0.5
  z = jnp.matmul(x, hidden.weights.T, precision='highest')
  b = hidden.biases
  outside = (b < z.min(axis=0)) | (b > z.max(axis=0))
  run = z.max(axis=0) - z.min(axis=0)
  return outside & (h.max(axis=0) - h.min(axis=0) < _LEAST_SLOPE * run)


def warn_of_saturation(
  x: chex.Array, hidden: Hidden, activation: functional.Activation = 'tanh'
) -> None:
  """Logs a warning if every unit is saturated; traced arrays pass.

  Args:
    x: f[N, d].
    hidden: n units.
    activation: s; periodic ones never are.
  """
  if activation in _PERIODIC or bundling.is_traced(x, *hidden):
    return
  if bool(saturated(x, hidden, activation).all()):
    reach = float(jnp.abs(jnp.matmul(x, hidden.weights.T)).max())
    ends = np.asarray(hidden.biases)
    logging.log_first_n(
      logging.WARNING,
      'all hidden units saturated: biases in [%.3g, %.3g] are beyond a . x, '
      'which reaches %.3g: choose a bias_range that covers it.',
      1,
      ends.min(),
      ends.max(),
      reach,
    )


def random_network(
  dim: int,
  num_outputs: int,
  num_hidden: int,
  *,
  scale: float,
  activation: functional.Activation = 'tanh',
  dist: str = 'uniform_box',
  bias_range: BiasRange = None,
  direct: bool = False,
) -> Network:
  """Builds a random net whose read-out any algorithm may train.

  Parameters are {'frozen': `Hidden`, 'trained'}, see `trained_only`; the loss
  is convex in what is trained. `fit` solves for it instead.

  Args:
    dim: d.
    num_outputs: o.
    num_hidden: n.
    scale: see `sample_hidden`.
    activation: see `hidden_features`.
    dist: see `sample_hidden`.
    bias_range: see `sample_hidden`.
    direct: see `hidden_features`.

  Returns:
    A `Network` from f[..., d] to f[..., o].

  Example:
    >>> network = random_network(3, 2, 8, scale=1.0)
    >>> params = network.init(jax.random.key(0), jnp.zeros((1, 3)))
    >>> network.apply(params, jnp.ones((4, 3))).shape
    (4, 2)

  Source: Li et al. 2023 (https://arxiv.org/abs/2008.08427).
  """
  checks.integer(num_outputs, name='num_outputs', low=1)
  checks.integer(num_hidden, name='num_hidden', low=1)
  functional.activation(activation)
  DISTRIBUTIONS.check(dist)
  bias_ends(scale, bias_range)

  def draw(key: Any) -> Hidden:
    return sample_hidden(
      key, num_hidden, dim, scale=scale, dist=dist, bias_range=bias_range
    )

  def build(frozen):
    linear = _dense.mlp((), num_outputs, kernel_init='zeros', flatten=False)
    lift = lambda x: hidden_features(x, frozen, activation, direct=direct)
    return Network(
      lambda key, x: linear.init(key, lift(x)),
      lambda params, x, **options: linear.apply(params, lift(x), **options),
    )

  return constants.with_constants(draw, build)
