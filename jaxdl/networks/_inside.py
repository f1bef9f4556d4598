# SPDX-License-Identifier: Apache-2.0
"""What the layers of a network make of an input."""

import fnmatch
from collections.abc import Sequence
from typing import Any

import chex
import jax.numpy as jnp

from jaxdl.core import checks, types
from jaxdl.networks import _as_network, _taps


def activations(
  network: types.Network | Any,
  params: chex.ArrayTree,
  *inputs: chex.Array,
  layers: str | Sequence[str] | None = None,
) -> dict[str, chex.Array]:
  """Runs a network and returns what its layers make, by name.

  Our networks name what comes out of a layer's nonlinearity: 'dense_1',
  'conv_1', 'conv_2', ... in the order of computation, the output not among
  them. Modules of flax.linen also show what each of their submodules returns,
  under its path, such as 'Dense_0' or 'block_0/Conv_1' (before a nonlinearity
  that is no module), and what they `sow` as 'intermediates'; those are the
  layers of a module that names none. In modules of your own, of flax.nnx too,
  `tap` names a value.

  Args:
    network: any `Network`, or a flax module. Its `apply` must not be compiled
      itself, nor name values inside of a scan or a checkpoint.
    params: its parameters; traced or not.
    *inputs: as its `apply` takes them.
    layers: names, or patterns such as 'conv_*'; all that the network names
      itself if None (static).

  Returns:
    Dict of f[B, ..., C], units along the last axis; a channel of a convolution
    is one unit.

  Raises:
    ValueError: if nothing has such a name (the message lists those that
      exist), or the network names nothing.
    TypeError: if it is no network.

  Cost: one evaluation of the network; inside jit, layers that are not returned
  are not computed.

  Example:
    >>> import jax
    >>> from jaxdl import networks
    >>> network = networks.mlp((8, 4), 3)
    >>> params = network.init(jax.random.key(0), jnp.zeros((1, 5)))
    >>> found = activations(network, params, jnp.zeros((2, 5)))
    >>> {name: x.shape for name, x in found.items()}
    {'dense_1': (2, 8), 'dense_2': (2, 4)}
  """
  net = _as_network.as_network(network)
  with _taps.recording() as record:
    net.apply(params, *inputs)
  taps, modules = record.taps, record.modules
  found = taps | {k: v for k, v in modules.items() if k not in taps}
  if not found:
    raise ValueError(
      'network names none of its layers: call networks.tap(x, name) where it '
      'makes them, outside of functions that are compiled by themselves.'
    )
  if layers is None:
    chosen = list(taps or modules)
  else:
    chosen = _chosen(layers, list(found))
  return {name: jnp.asarray(found[name]) for name in chosen}


def _chosen(layers, names):
  patterns = (layers,) if isinstance(layers, str) else tuple(layers)
  for pattern in patterns:
    if not isinstance(pattern, str):
      raise TypeError(f'layers must be names; got {checks.described(pattern)}.')
    if not fnmatch.filter(names, pattern):
      checks.choice(pattern, names, name='layers')
  if not patterns:
    raise ValueError(
      f'layers is empty: name some of {", ".join(map(repr, names))}.'
    )
  return [n for n in names if any(fnmatch.fnmatchcase(n, p) for p in patterns)]
