# SPDX-License-Identifier: Apache-2.0
"""Named activations."""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp

from jaxdl.core import registry

Activation = str | Callable[[jax.Array], jax.Array]


def gelu(x: jax.Array) -> jax.Array:
  """Exact GELU, x times the normal distribution function.

  By erf, not erfc as in `jax.nn.gelu`: three times faster on CPU; very negative
  values round to zero a little earlier (absolute error 1e-7 in float32).

  Args:
    x: f[...].

  Returns:
    f[...].

  Example:
    >>> float(gelu(jnp.zeros(())))
    0.0

  Source: Hendrycks & Gimpel 2016 (https://arxiv.org/abs/1606.08415).
  """
  return 0.5 * x * (1 + jax.lax.erf(x * 0.5**0.5))


def _gelu_tanh(x: jax.Array) -> jax.Array:
  """GELU with the normal distribution function replaced by a tanh."""
  return jax.nn.gelu(x)


def _identity(x: jax.Array) -> jax.Array:
  return x


def _gaussian(x: jax.Array) -> jax.Array:
  return jnp.exp(-0.5 * x * x)


def _leaky_relu(x: jax.Array, *, slope: float = 0.01) -> jax.Array:
  return jax.nn.leaky_relu(x, slope)


def _sech(x: jax.Array) -> jax.Array:
  return 1.0 / jnp.cosh(x)


def _sinc(x: jax.Array) -> jax.Array:
  """Whose Fourier transform is zero beyond frequency 1: sin(x) / x."""
  return jnp.sinc(x / jnp.pi)


ACTIVATIONS = registry.Registry(
  'activation',
  {
    'cos': jnp.cos,
    'elu': jax.nn.elu,
    'erf': jax.lax.erf,
    'gaussian': _gaussian,
    'gelu': gelu,
    'gelu_tanh': _gelu_tanh,
    'identity': _identity,
    'leaky_relu': _leaky_relu,
    'relu': jax.nn.relu,
    'sech': _sech,
    'sigmoid': jax.nn.sigmoid,
    'silu': jax.nn.silu,
    'sin': jnp.sin,
    'sinc': _sinc,
    'softplus': jax.nn.softplus,
    'tanh': jnp.tanh,
  },
  given=('x',),
)


def activation(spec: Activation) -> Callable[[jax.Array], jax.Array]:
  """Returns the activation of a name.

  Args:
    spec: an entry of `ACTIVATIONS`, with options or without; an elementwise
      function passes through.

  Returns:
    f[...] -> f[...].

  Raises:
    ValueError: if there is no such entry or option.
    TypeError: if it is neither text nor a function.

  Example:
    >>> activation('relu')(jnp.array([-1.0, 2.0])).tolist()
    [0.0, 2.0]
    >>> float(activation('elu(alpha=2.0)')(jnp.array(-100.0)))
    -2.0
  """
  if callable(spec):
    return spec
  part = ACTIVATIONS.part(spec)
  fn = ACTIVATIONS[part.name]
  return functools.partial(fn, **part.options) if part.options else fn
