# SPDX-License-Identifier: Apache-2.0
"""Learning maps between functions.

Every network is a `Network(init, apply)` pair (`jaxdl.core.types`) whose
`params` are plain nested dicts and lists of arrays. All kernels of a network
are cut from one random draw; parameters take the floating-point type of the
example inputs. Grids are channel-last, [B, *grid, C], with one to three axes.

Sensors and query points to values, `apply(params, u[N, m], y, aligned=...)`:

- `deeponet` of a branch and a trunk, given as widths or as any networks: `fnn`,
  `conv_branch`, `stacked_branch`, `product_branch` (several input functions);
  `periodic_features` for the trunk; several outputs by four strategies.
- `pod_deeponet` on a `pod_basis` of principal components.
- `fnn`, `resnet`, `seq2seq`: baselines with the same interface.

Functions on grids to functions on grids, `apply(params, f[B, *grid, I])`:

- `mgno` (`mgno_navier_stokes`, `mgno_helmholtz`): layers of learned multigrid
  cycles; `v_cycle` is one of them as a pure function; `rollout` for time steps.
- `fno`: spectral convolutions, in the original and the neuralop convention.
- `unet`, `dilated_resnet`, `mgnet`, `cnn`: baselines.

`make_model` builds any of `MODELS` by name. `hard_boundary` and `normalized`
wrap networks.

Random features that separate inputs from weights:

- `sample_urf`, `sample_series`, `urf_phi`, `urf_psi`, `relu_features`,
  `arccos_kernel`, `gerf`, `gaussian_projection`: the maps.
- `feature_map` (`urf_map`, `relu_map`, `identity_map`) packs a draw for layers:
  `snnk_dense`, `snnk_mlp`, `snnk_adapter`; `uptrain` converts trained layers;
  `low_rank_dense` and `bottleneck_adapter` are what to compare with.
- `bundle`, `bundled_features` and `bundled_network` merge layers;
  `readout_statistics` and `closed_form_readout` fit the last one exactly, also
  when the data are spread over clients (statistics add up).

Training. `operator_task` turns a network into a `Task` for any algorithm:
batches hold 'inputs' and 'targets', or 'sensors', 'points' and 'targets', and
optionally 'mask'. `physics_task` needs no targets: it minimises a residual
(`diffusion_reaction_residual`, ...) built from `derivatives` in forward mode.
Losses (`LOSSES`) give one number per sample: `relative_l2`, `relative_h1`,
`relative_h1_spectral`, ...; a target that vanishes makes a relative error
absolute. `fit_normalizer`, `one_cycle` and `adam_with_decay` complete the
recipes of the papers.

On CPU, networks with convolutions take `method='patches'` where parameters are
vmapped over clients or steps run inside `lax.scan`: it is faster there.
"""

from jaxdl.operators._activations import ACTIVATIONS
from jaxdl.operators._bundling import (
  ReadoutStatistics,
  bundle,
  bundled_features,
  bundled_network,
  closed_form_readout,
  fit_readout,
  readout_statistics,
)
from jaxdl.operators._cnn import cnn
from jaxdl.operators._conv import PADDINGS, convolve, upsample
from jaxdl.operators._deeponet import (
  MULTI_OUTPUTS,
  box_distance,
  deeponet,
  hard_boundary,
  periodic_features,
)
from jaxdl.operators._dilated_resnet import dilated_resnet
from jaxdl.operators._fnn import (
  conv_branch,
  fnn,
  product_branch,
  resnet,
  stacked_branch,
)
from jaxdl.operators._fno import fno, kept_wavenumbers, spectral_convolution
from jaxdl.operators._losses import (
  LOSSES,
  absolute_lp,
  adam_with_decay,
  energy_spectrum,
  gradient,
  helmholtz_loss,
  mse,
  normalised_mse,
  one_cycle,
  pdebench_metrics,
  relative_h1,
  relative_h1_spectral,
  relative_l2,
  relative_lp,
  spectral_bands,
  trimmed_mse,
)
from jaxdl.operators._mgnet import mgnet
from jaxdl.operators._mgno import (
  mgno,
  mgno_helmholtz,
  mgno_navier_stokes,
  rollout,
)
from jaxdl.operators._normalizers import Normalizer, fit_normalizer, normalized
from jaxdl.operators._physics import (
  advection_residual,
  antiderivative_residual,
  burgers_residual,
  derivatives,
  diffusion_reaction_residual,
  mixed_derivative,
  pendulum_residual,
  physics_task,
)
from jaxdl.operators._pod import PODBasis, pod_basis, pod_deeponet
from jaxdl.operators._random_features import (
  SPECTRA,
  SPLITS,
  URF,
  arccos_kernel,
  fourier_series,
  gaussian_projection,
  gerf,
  one_sample_variance,
  relu_features,
  sample_series,
  sample_urf,
  urf_phi,
  urf_psi,
)
from jaxdl.operators._registry import MODELS, POINT_MODELS, make_model
from jaxdl.operators._seq2seq import seq2seq
from jaxdl.operators._snnk import (
  FeatureMap,
  bottleneck_adapter,
  feature_map,
  identity_map,
  low_rank_dense,
  relu_map,
  snnk_adapter,
  snnk_dense,
  snnk_mlp,
  uptrain,
  urf_map,
)
from jaxdl.operators._task import operator_task
from jaxdl.operators._unet import unet
from jaxdl.operators._v_cycle import parse_iterations, v_cycle

__all__ = [
  'ACTIVATIONS',
  'FeatureMap',
  'LOSSES',
  'MODELS',
  'MULTI_OUTPUTS',
  'Normalizer',
  'PADDINGS',
  'PODBasis',
  'POINT_MODELS',
  'ReadoutStatistics',
  'SPECTRA',
  'SPLITS',
  'URF',
  'absolute_lp',
  'adam_with_decay',
  'advection_residual',
  'antiderivative_residual',
  'arccos_kernel',
  'bottleneck_adapter',
  'box_distance',
  'bundle',
  'bundled_features',
  'bundled_network',
  'burgers_residual',
  'closed_form_readout',
  'cnn',
  'conv_branch',
  'convolve',
  'deeponet',
  'derivatives',
  'diffusion_reaction_residual',
  'dilated_resnet',
  'energy_spectrum',
  'feature_map',
  'fit_normalizer',
  'fit_readout',
  'fnn',
  'fno',
  'fourier_series',
  'gaussian_projection',
  'gerf',
  'gradient',
  'hard_boundary',
  'helmholtz_loss',
  'identity_map',
  'kept_wavenumbers',
  'low_rank_dense',
  'make_model',
  'mgnet',
  'mgno',
  'mgno_helmholtz',
  'mgno_navier_stokes',
  'mixed_derivative',
  'mse',
  'normalised_mse',
  'normalized',
  'one_cycle',
  'one_sample_variance',
  'operator_task',
  'parse_iterations',
  'pdebench_metrics',
  'pendulum_residual',
  'periodic_features',
  'physics_task',
  'pod_basis',
  'pod_deeponet',
  'product_branch',
  'readout_statistics',
  'relative_h1',
  'relative_h1_spectral',
  'relative_l2',
  'relative_lp',
  'relu_features',
  'relu_map',
  'resnet',
  'rollout',
  'sample_series',
  'sample_urf',
  'seq2seq',
  'snnk_adapter',
  'snnk_dense',
  'snnk_mlp',
  'spectral_bands',
  'spectral_convolution',
  'stacked_branch',
  'trimmed_mse',
  'unet',
  'upsample',
  'uptrain',
  'urf_map',
  'urf_phi',
  'urf_psi',
  'v_cycle',
]
