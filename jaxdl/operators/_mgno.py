# SPDX-License-Identifier: Apache-2.0
"""Networks whose weights are multigrid V-cycles."""

from collections.abc import Sequence
from typing import Any

from jaxdl.core import checks
from jaxdl.core.types import Network
from jaxdl.networks import functional
from jaxdl.operators import _cnn as cnn, _v_cycle as v_cycles

NORMS = ('none', 'sum', 'layer')


def mgno(
  *,
  channels: int = 24,
  num_layers: int = 4,
  iterations: str | Sequence[Any] = '10,10,10,10,10,20',
  out_channels: int = 1,
  padding: str = 'zeros',
  transfer: str = 'plain',
  coarsening: str = 'padded',
  channel_growth: bool = False,
  skip: bool = True,
  bias: bool = False,
  norm: str = 'none',
  head: str = 'linear',
  head_bias: bool = False,
  residual_output: bool = False,
  activation: functional.Activation = 'gelu',
  periodic_prolongation: bool | None = None,
  method: str = 'conv',
) -> Network:
  """Builds a fully connected network of multigrid operators.

  Every layer is `u <- act(W u + B u)`, W a V-cycle (see `v_cycle`) and B a
  pointwise affine map; the output is linear in the last u. Without layer
  normalization the parameters serve every resolution that coarsens alike.

  `apply(params, f[B, *grid, I]) -> f[B, *grid, out_channels]`, one to three
  grid axes. `params` is {'layers': [{'cycle', 'skip', 'norm'}], 'head'}.

  Args:
    channels: width c of every layer.
    num_layers: number of layers L.
    iterations: smoothing counts per level, see `parse_iterations`.
    out_channels: number of output functions.
    padding: boundary condition, see `v_cycle`.
    transfer: what is restricted, see `v_cycle`.
    coarsening: how grids shrink, see `v_cycle`.
    channel_growth: whether level l has (l + 1) times the channels.
    skip: whether layers have the pointwise affine map.
    bias: whether the stencils S and A carry a bias (breaks linearity).
    norm: 'none', 'sum' (layer normalization of every upward sum) or 'layer'
      (of every layer's output); both tie the parameters to one resolution.
    head: 'linear' (pointwise) or 'cycle' (one more V-cycle).
    head_bias: whether a linear head has a bias.
    residual_output: whether the input is added to the output, for time steps.
    activation: name or function; exact GELU by default.
    periodic_prolongation: see `v_cycle`.
    method: see `v_cycle`.

  Returns:
    A `Network`.

  Raises:
    ValueError: if an option, a count or a size does not fit.

  Example:
    >>> net = mgno(channels=24)
    >>> params = net.init(jax.random.key(0), jnp.zeros((1, 64, 64, 1)))
    >>> sum(x.size for x in jax.tree.leaves(params))
    572661

  Source: He, Liu and Xu 2024 (https://arxiv.org/abs/2310.19809);
    kernels start uniform on +-1/sqrt(fan_in), as in the authors' code.
  """
  checks.integer(channels, name='channels', low=1)
  checks.num_layers(num_layers)
  checks.integer(out_channels, name='out_channels', low=1)
  checks.choice(padding, functional.PADDINGS, name='padding')
  checks.choice(transfer, v_cycles.TRANSFERS, name='transfer')
  checks.choice(coarsening, v_cycles.COARSENINGS, name='coarsening')
  checks.choice(norm, NORMS, name='norm')
  checks.choice(head, ('linear', 'cycle'), name='head')
  counts = v_cycles.parse_iterations(iterations)
  act = functional.activation(activation)

  def cycle_leaves(grid, c_in, c_out, norm):
    return v_cycles.v_cycle_leaves(
      grid,
      in_channels=c_in,
      channels=c_out,
      iterations=counts,
      transfer=transfer,
      coarsening=coarsening,
      channel_growth=channel_growth,
      bias=bias,
      norm=norm,
    )

  def cycle(params, f):
    return v_cycles.v_cycle(
      params,
      f,
      padding=padding,
      transfer=transfer,
      coarsening=coarsening,
      periodic_prolongation=periodic_prolongation,
      method=method,
    )

  def pointwise_leaves(c_in, c_out, biased):
    return functional.layer_leaves(
      (c_in, c_out),
      kernel_init='pytorch',
      bias_init='pytorch' if biased else None,
    )

  def init(key, f):
    cnn.grid_rank(f)
    grid, c_in = f.shape[1:-1], f.shape[-1]
    if residual_output and c_in not in (1, out_channels):
      raise ValueError(
        f'residual_output adds {c_in} input channels to {out_channels} outputs:'
        ' need equally many, or one input channel.'
      )
    layers = []
    for _ in range(num_layers):
      layer: dict[str, Any] = {
        'cycle': cycle_leaves(
          grid, c_in, channels, norm if norm == 'sum' else 'none'
        )
      }
      if skip:
        layer['skip'] = pointwise_leaves(c_in, channels, True)
      if norm == 'layer':
        layer['norm'] = functional.scale_leaves((*grid, channels))
      layers.append(layer)
      c_in = channels
    if head == 'linear':
      last = pointwise_leaves(channels, out_channels, head_bias)
    else:
      last = cycle_leaves(grid, channels, out_channels, 'none')
    leaves = {'layers': layers, 'head': last}
    return functional.draw(key, leaves, functional.parameter_dtype(f))

  def apply(params, f, *, train=False, key=None):
    del train, key
    u = f
    for layer in params['layers']:
      v = cycle(layer['cycle'], u)
      if 'skip' in layer:
        v = v + functional.dense(layer['skip'], u)
      if 'norm' in layer:
        v = v_cycles.layer_norm(v, layer['norm'])
      u = act(v)
    u = (
      functional.dense(params['head'], u)
      if head == 'linear'
      else cycle(params['head'], u)
    )
    return u + f if residual_output else u

  return Network(init, apply)


def mgno_navier_stokes(
  *,
  channels: int = 24,
  num_layers: int = 5,
  iterations: str | Sequence[Any] = '11,11,11,11,11',
  out_channels: int = 1,
  padding: str = 'circular',
  transfer: str = 'plain',
  norm: str = 'sum',
  residual_output: bool = True,
  activation: functional.Activation = 'gelu',
  method: str = 'conv',
) -> Network:
  """Builds the time stepper of the Navier-Stokes study.

  `mgno` without pointwise maps, with biased stencils, periodic padding,
  normalized upward sums and the input added to the output.

  Args:
    channels: see `mgno`.
    num_layers: see `mgno`.
    iterations: see `mgno`.
    out_channels: see `mgno`.
    padding: see `mgno`.
    transfer: see `mgno`.
    norm: see `mgno`.
    residual_output: see `mgno`.
    activation: see `mgno`.
    method: see `mgno`.

  Returns:
    A `Network`; its parameters belong to one resolution.

  Source: He, Liu and Xu 2024 (https://arxiv.org/abs/2310.19809).
  """
  return mgno(
    channels=channels,
    num_layers=num_layers,
    iterations=iterations,
    out_channels=out_channels,
    padding=padding,
    transfer=transfer,
    skip=False,
    bias=True,
    norm=norm,
    residual_output=residual_output,
    activation=activation,
    method=method,
  )


def mgno_helmholtz(
  *,
  channels: int = 24,
  num_layers: int = 4,
  iterations: str | Sequence[Any] = '10,10,10,10,20',
  out_channels: int = 1,
  padding: str = 'reflect',
  transfer: str = 'plain',
  norm: str = 'layer',
  activation: functional.Activation = 'gelu',
  method: str = 'conv',
) -> Network:
  """Builds the network of the Helmholtz study.

  `mgno` with mirrored padding, unpadded coarsening (101, 50, 24, 11, 5),
  channels that grow with the level, biased stencils, normalized layers, no
  pointwise maps and a V-cycle as its head.

  Args:
    channels: see `mgno`.
    num_layers: see `mgno`.
    iterations: see `mgno`.
    out_channels: see `mgno`.
    padding: see `mgno`.
    transfer: see `mgno`.
    norm: see `mgno`.
    activation: see `mgno`.
    method: see `mgno`.

  Returns:
    A `Network`; its parameters belong to one resolution.

  Source: He, Liu and Xu 2024 (https://arxiv.org/abs/2310.19809).
  """
  return mgno(
    channels=channels,
    num_layers=num_layers,
    iterations=iterations,
    out_channels=out_channels,
    padding=padding,
    transfer=transfer,
    coarsening='unpadded',
    channel_growth=True,
    skip=False,
    bias=True,
    norm=norm,
    head='cycle',
    activation=activation,
    method=method,
  )
