# SPDX-License-Identifier: Apache-2.0
"""Random features that separate inputs from weights: f(w.x + b) = Psi . Phi.

- `sample_urf`, `sample_series`, `urf_phi`, `urf_psi`, `relu_features`,
  `arccos_kernel`, `gerf`, `gaussian_projection`: the maps.
- `feature_map` (`urf_map`, `relu_map`, `identity_map`) packs a draw for layers:
  `snnk_dense`, `snnk_mlp`, `snnk_adapter`; `uptrain` converts trained layers;
  `low_rank_dense` and `bottleneck_adapter` are what to compare with. `Features`
  (by name: `FEATURES`) says how maps are drawn, the draw apart from the map.
- `bundle`, `bundled_features` and `bundled_network` merge layers;
  `readout_statistics` and `closed_form_readout` fit the last one exactly, also
  when the data are spread over clients (statistics add up); `fit_readout` fits
  the features themselves, by one of `READOUTS`.
- `shallow`: one hidden layer, drawn and frozen; `ridgelets`: what such layers
  cannot do.
- Whole networks with parameters {'frozen', 'trained'} (`with_constants`), which
  `trained_only` optimizes: `snnk_network`, `partly_bundled`, `random_fourier`,
  `low_rank_network`, `adapted`, and `fine_tuned` by one of `FINE_TUNINGS`;
  `matched` finds the one of a given size.
- Inside of any trained flax network, at modules by name: `adapted_at`,
  `tuned_at`.
- What they are compared with: `scratch_candidates`, `bundle_candidates`,
  `adapter_candidates`, `language_candidates`, `conversion_candidates`.
  `kernel_errors` measures the estimate itself, `fit_over_clients` fits a
  read-out to what clients hold.

Layers are those of `networks.mlp`, {'kernel', 'bias'}, unless modules are
named.
"""

from jaxdl.networks.features._bundling import (
  ReadoutStatistics,
  bundle,
  bundled_features,
  bundled_network,
  closed_form_readout,
  readout_statistics,
)
from jaxdl.networks.features._candidates import (
  RIVALS,
  Candidate,
  adapter_candidates,
  bundle_candidates,
  conversion_candidates,
  language_candidates,
  scratch_candidates,
)
from jaxdl.networks.features._constants import (
  matched,
  num_trained,
  sequential,
  trained_only,
  with_constants,
  without_constants,
)
from jaxdl.networks.features._errors import kernel_errors
from jaxdl.networks.features._maps import (
  FEATURES,
  FeatureMap,
  Features,
  feature_map,
  identity_map,
  relu_map,
  urf_map,
)
from jaxdl.networks.features._networks import (
  FINE_TUNINGS,
  adapted,
  fine_tuned,
  low_rank_network,
  partly_bundled,
  random_fourier,
  snnk_network,
)
from jaxdl.networks.features._over_clients import fit_over_clients
from jaxdl.networks.features._places import (
  adapted_at,
  module_widths,
  tuned_at,
)
from jaxdl.networks.features._random_features import (
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
from jaxdl.networks.features._readouts import READOUTS, fit_readout
from jaxdl.networks.features._snnk import (
  bottleneck_adapter,
  low_rank_dense,
  snnk_adapter,
  snnk_dense,
  snnk_mlp,
  uptrain,
)

__all__ = [
  'Candidate',
  'FEATURES',
  'FINE_TUNINGS',
  'FeatureMap',
  'Features',
  'READOUTS',
  'RIVALS',
  'ReadoutStatistics',
  'SPECTRA',
  'SPLITS',
  'URF',
  'adapted',
  'adapted_at',
  'adapter_candidates',
  'arccos_kernel',
  'bottleneck_adapter',
  'bundle',
  'bundle_candidates',
  'bundled_features',
  'bundled_network',
  'closed_form_readout',
  'conversion_candidates',
  'feature_map',
  'fine_tuned',
  'fit_over_clients',
  'fit_readout',
  'fourier_series',
  'gaussian_projection',
  'gerf',
  'identity_map',
  'kernel_errors',
  'language_candidates',
  'low_rank_dense',
  'low_rank_network',
  'matched',
  'module_widths',
  'num_trained',
  'one_sample_variance',
  'partly_bundled',
  'random_fourier',
  'readout_statistics',
  'relu_features',
  'relu_map',
  'sample_series',
  'sample_urf',
  'scratch_candidates',
  'sequential',
  'snnk_adapter',
  'snnk_dense',
  'snnk_mlp',
  'snnk_network',
  'trained_only',
  'tuned_at',
  'uptrain',
  'urf_map',
  'urf_phi',
  'urf_psi',
  'with_constants',
  'without_constants',
]
