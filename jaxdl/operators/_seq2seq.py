# SPDX-License-Identifier: Apache-2.0
"""Recurrent encoder and decoder, the sequence baseline of DeepONet."""

import functools

import chex
import flax.linen as nn
import jax.numpy as jnp

from jaxdl import networks
from jaxdl.core import checks
from jaxdl.core.types import Network

_CELLS = {'lstm': nn.OptimizedLSTMCell, 'gru': nn.GRUCell}


def _orthogonal(key, shape, dtype):
  """Orthogonal kernels in half precision too, which has no decomposition."""
  full = jnp.promote_types(dtype, jnp.float32)
  return nn.initializers.orthogonal()(key, shape, full).astype(dtype)


class _Seq2Seq(nn.Module):
  width: int
  cell: str
  out_features: int

  @nn.compact
  def __call__(self, u: chex.Array, y: chex.Array) -> chex.Array:
    if u.ndim == 2:
      u = u[..., None]
    if y.ndim == 2:
      y = jnp.broadcast_to(y[None], (u.shape[0], *y.shape))
    dtype = networks.functional.parameter_dtype(u, y)
    make = functools.partial(
      _CELLS[self.cell], param_dtype=dtype, recurrent_kernel_init=_orthogonal
    )
    encoder = nn.RNN(make(self.width, name='encoder'), return_carry=True)
    decoder = nn.RNN(make(self.width, name='decoder'))
    carry, _ = encoder(u)
    states = decoder(y, initial_carry=carry)
    return networks.Dense(self.out_features, name='head')(states)


def seq2seq(
  *, channels: int = 40, cell: str = 'lstm', out_channels: int = 1
) -> Network:
  """Builds a recurrent network from sensor values to values at query points.

  The encoder reads the sensors in order; the decoder starts from its last state
  and reads the query points in order.

  Args:
    channels: size of the recurrent state.
    cell: 'lstm' or 'gru'.
    out_channels: C.

  Returns:
    A `Network` with `apply(params, u f[N, m], y f[Q, d]) -> f[N, Q, C]`; own
    points per function, y f[N, Q, d], work too.

  Source: Lu et al. 2021 (https://arxiv.org/abs/1910.03193), baselines.
  """
  checks.integer(channels, name='channels', low=1)
  checks.integer(out_channels, name='out_channels', low=1)
  checks.choice(cell, tuple(_CELLS), name='cell')

  def check(u, y):
    if jnp.ndim(u) not in (2, 3) or jnp.ndim(y) not in (2, 3):
      raise ValueError(
        'need u [functions, sensors] and y [points, d]; got shapes '
        f'{jnp.shape(u)} and {jnp.shape(y)}.'
      )

  net = networks.from_linen(
    _Seq2Seq(channels, cell, out_channels), kernel_init='glorot', check=check
  )

  def apply(params, u, y, *, aligned=True, train=False, key=None):
    del train, key
    if not aligned:
      raise ValueError(
        'seq2seq needs aligned data, all functions at the same points (or own '
        'sequences of points [N, Q, d]).'
      )
    return net.apply(params, u, y)

  return Network(net.init, apply)
