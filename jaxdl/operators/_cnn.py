# SPDX-License-Identifier: Apache-2.0
"""Plain convolutional networks, the local baseline."""

import chex
import jax.numpy as jnp

from jaxdl.core import checks
from jaxdl.core.types import Network
from jaxdl.networks import functional


def conv_leaves(
  rank: int, c_in: int, c_out: int, *, size: int = 3
) -> dict[str, functional.Leaf]:
  """Describes a convolution with PyTorch's uniform start."""
  shape = (size,) * rank + (c_in, c_out)
  return functional.layer_leaves(
    shape, kernel_init='pytorch', bias_init='pytorch'
  )


def grid_rank(f: chex.Array) -> int:
  """Returns the number of grid axes of f[B, *grid, C], one to three."""
  if jnp.ndim(f) not in (3, 4, 5):
    raise ValueError(
      'the input must be [batch, one to three grid axes, channels]; got shape '
      f'{jnp.shape(f)}.'
    )
  return jnp.ndim(f) - 2


def cnn(
  *,
  channels: int = 24,
  num_layers: int = 6,
  out_channels: int = 1,
  padding: str = 'zeros',
  activation: functional.Activation = 'gelu',
  method: str = 'conv',
) -> Network:
  """Builds a stack of 3-point convolutions.

  Args:
    channels: width.
    num_layers: number of convolutions, >= 2; its reach is `num_layers` cells.
    out_channels: number of output functions.
    padding: boundary condition, see `v_cycle`.
    activation: between convolutions.
    method: see `v_cycle`.

  Returns:
    A `Network` from f[B, *grid, I] to f[B, *grid, out_channels].

  Example:
    >>> import jax
    >>> net = cnn()
    >>> params = net.init(jax.random.key(0), jnp.zeros((1, 8, 8, 1)))
    >>> sum(x.size for x in jax.tree.leaves(params))
    21289
  """
  checks.integer(channels, name='channels', low=1)
  checks.num_layers(num_layers, low=2)
  checks.choice(padding, functional.PADDINGS, name='padding')
  act = functional.activation(activation)

  def init(key, f):
    rank = grid_rank(f)
    sizes = (f.shape[-1], *(channels,) * (num_layers - 1), out_channels)
    leaves = [
      conv_leaves(rank, a, b)
      for a, b in zip(sizes[:-1], sizes[1:], strict=True)
    ]
    return functional.draw(key, leaves, functional.parameter_dtype(f))

  def apply(params, f, *, train=False, key=None):
    del train, key
    x = f
    for i, layer in enumerate(params):
      x = functional.convolve(
        x,
        layer['kernel'],
        layer['bias'],
        width=1,
        padding=padding,
        method=method,
      )
      if i < len(params) - 1:
        x = act(x)
    return x

  return Network(init, apply)
