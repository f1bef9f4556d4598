# SPDX-License-Identifier: Apache-2.0
"""Learning maps between functions.

Every network is a `Network(init, apply)` pair (`jaxdl.core.types`) whose
`params` are plain nested dicts and lists of arrays, layers those of
`networks.functional`. All kernels of a network are cut from one random draw;
parameters take the floating-point type of the example inputs. Grids are
channel-last, [B, *grid, C], with one to three axes.

Sensors and query points to values, `apply(params, u[N, m], y, aligned=...)`:

- `deeponet` of a branch and a trunk, given as widths or as any networks:
  `networks.mlp`, `conv_branch`, `stacked_branch`, `product_branch` (several
  input functions); `periodic_features` for the trunk; several outputs by four
  strategies.
- `pod_deeponet` on a `pod_basis` of principal components.
- `networks.mlp(..., flatten=False)`, `networks.residual_mlp`, `seq2seq`:
  baselines with the same interface.

Functions on grids to functions on grids, `apply(params, f[B, *grid, I])`:

- `mgno` (`mgno_navier_stokes`, `mgno_helmholtz`): layers of learned multigrid
  cycles; `v_cycle` is one of them as a pure function; `multigrid` writes
  textbook multigrid as its parameters.
- `fno`: spectral convolutions, in the original and the neuralop convention.
- `unet`, `dilated_resnet`, `mgnet`, `cnn`: baselines.

`make_model` builds any of `MODELS` by name, with options: 'fno(modes=8)';
`model_facts` tells what it maps. `hard_boundary` and `normalized` wrap
networks.

Training. `operator_task` turns a network into a `Task` for any algorithm:
batches hold 'inputs' and 'targets', or 'sensors', 'points' and 'targets', and
optionally 'mask'. Losses (`LOSSES`) give one number per sample: `relative_l2`,
`relative_h1`, `relative_h1_spectral`, ...; a target that vanishes makes a
relative error absolute. `physics` trains on an equation instead of solutions,
`flows` on time steps.

On CPU, networks with convolutions take `method='patches'` (or 'auto') where
parameters are vmapped over clients or steps run inside `lax.scan`: it is faster
there.
"""

from jaxdl.operators import flows, multigrid, physics
from jaxdl.operators._branches import (
  conv_branch,
  product_branch,
  stacked_branch,
)
from jaxdl.operators._cnn import cnn
from jaxdl.operators._deeponet import (
  MULTI_OUTPUTS,
  box_distance,
  deeponet,
  hard_boundary,
  periodic_features,
)
from jaxdl.operators._dilated_resnet import dilated_resnet
from jaxdl.operators._fno import fno, kept_wavenumbers, spectral_convolution
from jaxdl.operators._losses import (
  LOSSES,
  absolute_lp,
  energy_spectrum,
  gradient,
  helmholtz_loss,
  make_loss,
  mse,
  normalized_mse,
  pdebench_metrics,
  relative_h1,
  relative_h1_spectral,
  relative_l2,
  relative_lp,
  spectral_bands,
  trimmed_mse,
)
from jaxdl.operators._mgnet import mgnet
from jaxdl.operators._mgno import mgno, mgno_helmholtz, mgno_navier_stokes
from jaxdl.operators._normalizers import Normalizer, fit_normalizer, normalized
from jaxdl.operators._pod import PODBasis, pod_basis, pod_deeponet
from jaxdl.operators._registry import MODELS, Facts, make_model, model_facts
from jaxdl.operators._seq2seq import seq2seq
from jaxdl.operators._task import operator_task
from jaxdl.operators._unet import unet
from jaxdl.operators._v_cycle import parse_iterations, v_cycle

__all__ = [
  'Facts',
  'LOSSES',
  'MODELS',
  'MULTI_OUTPUTS',
  'Normalizer',
  'PODBasis',
  'absolute_lp',
  'box_distance',
  'cnn',
  'conv_branch',
  'deeponet',
  'dilated_resnet',
  'energy_spectrum',
  'fit_normalizer',
  'flows',
  'fno',
  'gradient',
  'hard_boundary',
  'helmholtz_loss',
  'kept_wavenumbers',
  'make_loss',
  'make_model',
  'mgnet',
  'mgno',
  'mgno_helmholtz',
  'mgno_navier_stokes',
  'model_facts',
  'mse',
  'multigrid',
  'normalized',
  'normalized_mse',
  'operator_task',
  'parse_iterations',
  'pdebench_metrics',
  'periodic_features',
  'physics',
  'pod_basis',
  'pod_deeponet',
  'product_branch',
  'relative_h1',
  'relative_h1_spectral',
  'relative_l2',
  'relative_lp',
  'seq2seq',
  'spectral_bands',
  'spectral_convolution',
  'stacked_branch',
  'trimmed_mse',
  'unet',
  'v_cycle',
]
