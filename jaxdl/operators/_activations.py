# SPDX-License-Identifier: Apache-2.0
"""Named activations."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from jaxdl.core import checks


def gelu(x: jax.Array) -> jax.Array:
  """Exact GELU, x times the normal distribution function.

  By erf, not erfc as in `jax.nn.gelu`: three times faster on CPU; very negative
  values round to zero a little earlier (absolute error 1e-7 in float32).
  """
  return 0.5 * x * (1 + jax.lax.erf(x * 0.5**0.5))


ACTIVATIONS: dict[str, Callable[[jax.Array], jax.Array]] = {
  'relu': jax.nn.relu,
  'gelu': gelu,
  'tanh': jnp.tanh,
  'silu': jax.nn.silu,
  'softplus': jax.nn.softplus,
  'sin': jnp.sin,
  'identity': lambda x: x,
}


def activation(
  name: str | Callable[[jax.Array], jax.Array],
) -> Callable[[jax.Array], jax.Array]:
  """Returns the activation of that name; a callable passes through."""
  if callable(name):
    return name
  checks.choice(name, tuple(ACTIVATIONS), name='activation')
  return ACTIVATIONS[name]
