# SPDX-License-Identifier: Apache-2.0
"""Operator networks by name, for flags."""

from collections.abc import Callable, Sequence
from typing import Any

import jax

from jaxdl.core import checks
from jaxdl.core.types import Network
from jaxdl.operators import (
  _cnn as cnn,
  _deeponet as deeponet,
  _dilated_resnet as dilated_resnet,
  _fnn as fnn,
  _fno as fno,
  _mgnet as mgnet,
  _mgno as mgno,
  _pod as pod,
  _seq2seq as seq2seq,
  _unet as unet,
)


def _deeponet(o: dict[str, Any]) -> Network:
  return deeponet.deeponet(
    o['branch_layers'],
    o['trunk_layers'],
    num_outputs=o['out_channels'],
    multi_output=o['multi_output'],
    use_bias=o['use_bias'],
    activation=o['activation'] or 'relu',
  )


def _stacked_deeponet(o: dict[str, Any]) -> Network:
  act = o['activation'] or 'relu'
  return deeponet.deeponet(
    fnn.stacked_branch(
      o['trunk_layers'][-1], o['stacked_layers'], activation=act
    ),
    o['trunk_layers'],
    num_outputs=o['out_channels'],
    use_bias=o['use_bias'],
    activation=act,
  )


def _pod_deeponet(o: dict[str, Any]) -> Network:
  if o['basis'] is None:
    raise ValueError(
      "name='pod_deeponet' needs basis=pod_basis(training_outputs, num_modes)."
    )
  return pod.pod_deeponet(
    o['branch_layers'], o['basis'], activation=o['activation'] or 'tanh'
  )


def _mgno(build: Callable[..., Network]) -> Callable[[dict[str, Any]], Network]:
  def make(o: dict[str, Any]) -> Network:
    given = {
      'channels': o['channels'] or 24,
      'num_layers': o['num_layers'],
      'iterations': o['iterations'],
      'padding': o['padding'],
      'transfer': o['transfer'],
      'out_channels': o['out_channels'],
      'activation': o['activation'],
      'method': o['method'],
    }
    return build(**{k: v for k, v in given.items() if v is not None})

  return make


def _mgnet(o: dict[str, Any]) -> Network:
  given = {'iterations': o['iterations'], 'transfer': o['transfer']}
  return mgnet.mgnet(
    channels=o['channels'] or 24,
    num_cycles=o['num_layers'] or 1,
    **_local(o, 'relu'),
    **{k: v for k, v in given.items() if v is not None},
  )


def _local(o: dict[str, Any], activation: str) -> dict[str, Any]:
  return {
    'out_channels': o['out_channels'],
    'padding': o['padding'] or 'zeros',
    'activation': o['activation'] or activation,
    'method': o['method'],
  }


def _fno(convention: str) -> Callable[[dict[str, Any]], Network]:
  return lambda o: fno.fno(
    o['modes'],
    width=o['channels'] or 32,
    num_blocks=o['num_layers'] or 4,
    out_channels=o['out_channels'],
    convention=convention,
    activation=o['activation'] or 'gelu',
    padding=o['fourier_padding'],
  )


_BUILDERS: dict[str, Callable[[dict[str, Any]], Network]] = {
  'cnn': lambda o: cnn.cnn(
    channels=o['channels'] or 24,
    num_layers=o['num_layers'] or 6,
    **_local(o, 'gelu'),
  ),
  'deeponet': _deeponet,
  'dilated_resnet': lambda o: dilated_resnet.dilated_resnet(
    channels=o['channels'] or 48,
    num_blocks=4 if o['num_layers'] is None else o['num_layers'],
    **_local(o, 'relu'),
  ),
  'fnn': lambda o: fnn.fnn(
    (*o['hidden_layers'], o['out_channels']),
    activation=o['activation'] or 'relu',
  ),
  'fno': _fno('original'),
  'fno_neuralop': _fno('neuralop'),
  'mgnet': _mgnet,
  'mgno': _mgno(mgno.mgno),
  'mgno_helmholtz': _mgno(mgno.mgno_helmholtz),
  'mgno_navier_stokes': _mgno(mgno.mgno_navier_stokes),
  'pod_deeponet': _pod_deeponet,
  'resnet': lambda o: fnn.resnet(
    width=o['channels'] or 128,
    num_blocks=2 if o['num_layers'] is None else o['num_layers'],
    out_features=o['out_channels'],
    activation=o['activation'] or 'relu',
  ),
  'seq2seq': lambda o: seq2seq.seq2seq(
    width=o['channels'] or 40, out_features=o['out_channels']
  ),
  'stacked_deeponet': _stacked_deeponet,
  'unet': lambda o: unet.unet(
    channels=o['channels'] or 16,
    num_levels=o['num_layers'] or 4,
    **_local(o, 'relu'),
  ),
}

MODELS: tuple[str, ...] = tuple(_BUILDERS)
POINT_MODELS: tuple[str, ...] = (
  'deeponet',
  'fnn',
  'pod_deeponet',
  'resnet',
  'seq2seq',
  'stacked_deeponet',
)


def make_model(
  name: str,
  *,
  out_channels: int = 1,
  channels: int | None = None,
  num_layers: int | None = None,
  activation: str | None = None,
  padding: str | None = None,
  method: str = 'conv',
  iterations: str | Sequence[Any] | None = None,
  transfer: str | None = None,
  modes: Sequence[int] = (12, 12),
  fourier_padding: int | float = 0,
  branch_layers: Sequence[int] = (40, 40),
  stacked_layers: Sequence[int] = (20, 1),
  trunk_layers: Sequence[int] = (40, 40, 40),
  hidden_layers: Sequence[int] = (100, 100),
  multi_output: str = 'independent',
  use_bias: bool = True,
  basis: pod.PODBasis | None = None,
) -> Network:
  """Builds an operator network by name; options of others are ignored.

  Those in `POINT_MODELS` map sensors and query points to values, the others
  functions on grids to functions on grids.

  Args:
    name: one of `MODELS`.
    out_channels: number of output functions.
    channels: width; the network's own default if None.
    num_layers: layers, blocks, levels ('unet') or cycles ('mgnet').
    activation: name; the network's own default if None.
    padding: boundary condition of convolutional networks.
    method: how convolutions are computed, see `v_cycle`; 'auto' takes patches
      on CPU, which are faster inside loops, and conv elsewhere.
    iterations: smoothing counts of multigrid networks.
    transfer: 'plain' or 'residual', of multigrid networks.
    modes: of Fourier networks, one per axis.
    fourier_padding: cells or share of the grid, of Fourier networks.
    branch_layers: widths of branches.
    stacked_layers: widths of each stacked branch.
    trunk_layers: widths of trunks.
    hidden_layers: hidden widths ('fnn').
    multi_output: see `deeponet`.
    use_bias: see `deeponet`.
    basis: from `pod_basis`, for 'pod_deeponet'.

  Returns:
    A `Network`.

  Raises:
    ValueError: if the name is unknown or an option does not fit.

  Example:
    >>> import jax, jax.numpy as jnp
    >>> net = make_model('mgno', channels=8, num_layers=3, iterations='10,20')
    >>> params = net.init(jax.random.key(0), jnp.zeros((1, 8, 8, 1)))
    >>> net.apply(params, jnp.zeros((2, 8, 8, 1))).shape
    (2, 8, 8, 1)
  """
  options = dict(locals())
  checks.choice(options.pop('name'), MODELS, name='model')
  if method == 'auto':
    on_cpu = jax.default_backend() == 'cpu'
    options['method'] = 'patches' if on_cpu else 'conv'
  return _BUILDERS[name](options)
