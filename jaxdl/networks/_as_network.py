# SPDX-License-Identifier: Apache-2.0
"""Modules of layer libraries where a network is wanted."""

import sys
from typing import Any

import flax.linen as nn

from jaxdl.core import checks
from jaxdl.core.types import Network
from jaxdl.networks import _linen, _nnx


def as_network(network: Any, *, name: str = 'network') -> Network:
  """Turns what stands for a network into a `Network`.

  Every task calls it, so that a flax module may be given as it is.

  Args:
    network: a `Network` or a pair `(init, apply)` of its functions; a
      flax.linen module; a flax.nnx module, whose values are the start whatever
      the key (`from_nnx` of a factory draws one).
    name: the argument's name, for messages.

  Returns:
    A network.

  Raises:
    TypeError: if it is anything else; the message says what to call.

  Example:
    >>> import jax, jax.numpy as jnp
    >>> network = as_network(nn.Dense(2))
    >>> params = network.init(jax.random.key(0), jnp.zeros((1, 3)))
    >>> network.apply(params, jnp.zeros((4, 3))).shape
    (4, 2)
  """
  if isinstance(network, Network):
    return network
  if isinstance(network, nn.Module):
    return _linen.from_linen(network)
  # A module of flax.nnx can only be there once that is imported.
  nnx = sys.modules.get('flax.nnx')
  if nnx is not None and isinstance(network, nnx.Module):
    return _nnx.from_nnx(network)
  if type(network) is tuple and [callable(f) for f in network] == [True, True]:
    return Network(*network)
  hint = (
    'pass a flax module, networks.from_nnx(lambda rngs: MyModule(rngs=rngs)), '
    'or core.types.Network(init, apply)'
  )
  if isinstance(network, str):
    hint = f'call networks.make_network({network!r}, input_shape, num_outputs)'
  elif (
    nnx is not None
    and isinstance(network, type)
    and issubclass(network, nnx.Module)
  ):
    hint = f'call networks.from_nnx(lambda rngs: {network.__name__}(..., rngs))'
  elif isinstance(network, type) and issubclass(network, nn.Module):
    hint = f'make one, {network.__name__}(...)'
  elif hasattr(network, 'loss'):
    hint = 'a task has its network inside; use it as it is'
  raise TypeError(
    f'{name} must be a Network; got {checks.described(network)}: {hint}.'
  )
