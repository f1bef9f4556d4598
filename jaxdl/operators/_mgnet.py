# SPDX-License-Identifier: Apache-2.0
"""Multigrid networks with nonlinear smoothing."""

from collections.abc import Sequence
from typing import Any

from jaxdl.core import checks
from jaxdl.core.types import Network
from jaxdl.networks import functional
from jaxdl.operators import _cnn as cnn, _v_cycle as v_cycles


def mgnet(
  *,
  channels: int = 24,
  iterations: str | Sequence[Any] = '22,22,22,40',
  num_cycles: int = 1,
  out_channels: int = 1,
  padding: str = 'zeros',
  transfer: str = 'residual',
  activation: functional.Activation = 'relu',
  method: str = 'conv',
) -> Network:
  """Builds V-cycles with the steps u <- u + act(S act(f - A u)).

  A 3-point lift makes f; cycles follow each other, each on the result of the
  one before; a pointwise layer reads the result. The relative of `mgno` in
  which the nonlinearity sits inside the cycle.

  Args:
    channels: width.
    iterations: smoothing counts per level, see `parse_iterations`.
    num_cycles: number of V-cycles.
    out_channels: number of output functions.
    padding: boundary condition, see `v_cycle`.
    transfer: see `v_cycle`.
    activation: name or function.
    method: see `v_cycle`.

  Returns:
    A `Network` from f[B, *grid, I] to f[B, *grid, out_channels].

  Source: He and Xu 2019 (https://arxiv.org/abs/1901.10415), the smoothing and
    transfers; the upward half is the one of `v_cycle`.
  """
  checks.integer(channels, name='channels', low=1)
  checks.num_layers(num_cycles, name='num_cycles')
  checks.integer(out_channels, name='out_channels', low=1)
  checks.choice(padding, functional.PADDINGS, name='padding')
  checks.choice(transfer, v_cycles.TRANSFERS, name='transfer')
  counts = v_cycles.parse_iterations(iterations)
  act = functional.activation(activation)

  def init(key, f):
    rank = cnn.grid_rank(f)
    leaves = {
      'lift': cnn.conv_leaves(rank, f.shape[-1], channels),
      'cycles': [
        v_cycles.v_cycle_leaves(
          f.shape[1:-1],
          in_channels=channels,
          channels=channels,
          iterations=counts,
          transfer=transfer,
        )
        for _ in range(num_cycles)
      ],
      'head': cnn.conv_leaves(rank, channels, out_channels, size=1),
    }
    return functional.draw(key, leaves, functional.parameter_dtype(f))

  def apply(params, f, *, train=False, key=None):
    del train, key
    lift, head = params['lift'], params['head']
    x = functional.convolve(
      f,
      lift['kernel'],
      lift['bias'],
      width=1,
      padding=padding,
      method=method,
    )
    for cycle in params['cycles']:
      x = v_cycles.v_cycle(
        cycle,
        x,
        padding=padding,
        transfer=transfer,
        smoother_activation=act,
        method=method,
      )
    return functional.convolve(x, head['kernel'], head['bias'], method=method)

  return Network(init, apply)
