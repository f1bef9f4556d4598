# SPDX-License-Identifier: Apache-2.0
"""Named activations."""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp

from jaxdl.core import checks

ACTIVATIONS: dict[str, Callable[[jax.Array], jax.Array]] = {
  'relu': jax.nn.relu,
  'gelu': functools.partial(jax.nn.gelu, approximate=False),
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
