# SPDX-License-Identifier: Apache-2.0
"""Operator networks by name, with their options."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

from jaxdl import networks
from jaxdl.core import registry
from jaxdl.core.types import Network
from jaxdl.networks import functional
from jaxdl.operators import (
  _branches as branches,
  _cnn as cnn,
  _deeponet as deeponets,
  _dilated_resnet as dilated_resnets,
  _fno as fnos,
  _mgnet as mgnets,
  _mgno as mgnos,
  _pod as pod,
  _seq2seq as seq2seqs,
  _unet as unets,
)


@dataclasses.dataclass(frozen=True)
class Facts:
  """What is known about the networks that an entry of `MODELS` builds.

  Attributes:
    points: whether they map sensors and query points to values, rather than
      functions on grids to functions on grids.
    shared_points: whether all functions must have the same points.
    one_resolution: whether their parameters belong to one grid.
    basis: whether they need a `pod_basis` of the training outputs.
  """

  points: bool = False
  shared_points: bool = False
  one_resolution: bool = False
  basis: bool = False


def _known(**known: bool) -> Callable[[Callable[..., Network]], Any]:
  def put(build):
    build.facts = Facts(**known)
    return build

  return put


@_known(points=True)
def _deeponet(
  branch_layers: int | Sequence[int] = (40, 40),
  trunk_layers: int | Sequence[int] = (40, 40, 40),
  *,
  multi_output: str = 'independent',
  use_bias: bool = True,
  activation: str = 'relu',
  num_harmonics: int = 0,
  out_channels: int = 1,
) -> Network:
  return deeponets.deeponet(
    functional.check_sizes(branch_layers, 'branch_layers'),
    functional.check_sizes(trunk_layers, 'trunk_layers'),
    num_outputs=out_channels,
    multi_output=multi_output,
    use_bias=use_bias,
    activation=activation,
    trunk_features=_harmonics(num_harmonics),
  )


def _harmonics(num):
  """What the trunk reads: harmonics of the points, or points."""
  return deeponets.periodic_features(num) if num else None


@_known(points=True)
def _stacked_deeponet(
  stacked_layers: Sequence[int] = (20, 1),
  trunk_layers: int | Sequence[int] = (40, 40, 40),
  *,
  use_bias: bool = True,
  activation: str = 'relu',
  num_harmonics: int = 0,
  out_channels: int = 1,
) -> Network:
  trunk_layers = functional.check_sizes(trunk_layers, 'trunk_layers')
  return deeponets.deeponet(
    branches.stacked_branch(
      trunk_layers[-1], stacked_layers, activation=activation
    ),
    trunk_layers,
    num_outputs=out_channels,
    use_bias=use_bias,
    activation=activation,
    trunk_features=_harmonics(num_harmonics),
  )


@_known(points=True, shared_points=True, basis=True)
def _pod_deeponet(
  branch_layers: int | Sequence[int] = (40, 40),
  *,
  num_modes: int = 32,
  activation: str = 'tanh',
  basis: pod.PODBasis | None = None,
) -> Network:
  # Whoever computes the basis heeds `num_modes`.
  del num_modes
  if basis is None:
    raise ValueError(
      "model='pod_deeponet' needs basis=pod_basis(training_outputs, num_modes)."
    )
  layers = functional.check_sizes(branch_layers, 'branch_layers', empty=True)
  return pod.pod_deeponet(layers, basis, activation=activation)


@_known(points=True)
def _mlp(
  hidden_sizes: int | Sequence[int] = (100, 100),
  *,
  activation: str = 'relu',
  kernel_init: str = 'glorot',
  out_channels: int = 1,
) -> Network:
  return networks.mlp(
    hidden_sizes,
    out_channels,
    activation=activation,
    kernel_init=kernel_init,
    flatten=False,
  )


@_known(points=True)
def _residual_mlp(
  channels: int = 128,
  num_layers: int = 2,
  *,
  activation: str = 'relu',
  kernel_init: str = 'glorot',
  out_channels: int = 1,
) -> Network:
  return networks.residual_mlp(
    out_channels,
    channels=channels,
    num_layers=num_layers,
    activation=activation,
    kernel_init=kernel_init,
  )


_known()(cnn.cnn)
_known()(dilated_resnets.dilated_resnet)
_known()(fnos.fno)
_known()(mgnets.mgnet)
_known()(mgnos.mgno)
_known(one_resolution=True)(mgnos.mgno_helmholtz)
_known(one_resolution=True)(mgnos.mgno_navier_stokes)
_known(points=True, shared_points=True)(seq2seqs.seq2seq)
_known()(unets.unet)

MODELS = registry.Registry(
  'model',
  {
    'cnn': cnn.cnn,
    'deeponet': _deeponet,
    'dilated_resnet': dilated_resnets.dilated_resnet,
    'fno': fnos.fno,
    'mgnet': mgnets.mgnet,
    'mgno': mgnos.mgno,
    'mgno_helmholtz': mgnos.mgno_helmholtz,
    'mgno_navier_stokes': mgnos.mgno_navier_stokes,
    'mlp': _mlp,
    'pod_deeponet': _pod_deeponet,
    'residual_mlp': _residual_mlp,
    'seq2seq': seq2seqs.seq2seq,
    'stacked_deeponet': _stacked_deeponet,
    'unet': unets.unet,
  },
  given=('out_channels', 'basis'),
)


def make_model(spec: str, **context: Any) -> Network:
  """Builds an operator network by name.

  Args:
    spec: an entry of `MODELS`, with options or without:
      'fno(channels=32, modes=8)', 'mgno(channels=24, iterations="10,10,20")',
      'deeponet(branch_layers=(40, 40), trunk_layers=(40, 40))'.
    **context: further options for those models that have them, unless the spec
      sets them: `out_channels` (number of output functions), `method` (how
      convolutions are computed, see `v_cycle`), `basis` (from `pod_basis`),
      `activation`, `padding`, ...

  Returns:
    A `Network`; `model_facts` tells what it maps.

  Raises:
    ValueError: if the name or an option is unknown, or does not fit.

  Example:
    >>> import jax, jax.numpy as jnp
    >>> net = make_model('mgno(channels=8, num_layers=3, iterations="10,20")')
    >>> params = net.init(jax.random.key(0), jnp.zeros((1, 8, 8, 1)))
    >>> net.apply(params, jnp.zeros((2, 8, 8, 1))).shape
    (2, 8, 8, 1)
  """
  return MODELS.make(spec, **context)


def model_facts(spec: str) -> Facts:
  """Tells what is known about a model before it is built.

  Args:
    spec: see `make_model`.

  Returns:
    Its `Facts`.

  Raises:
    ValueError: if the name or an option is unknown.

  Example:
    >>> model_facts('deeponet').points, model_facts('fno(modes=4)').points
    (True, False)
  """
  build: Any = MODELS[MODELS.part(spec).name]
  return build.facts
