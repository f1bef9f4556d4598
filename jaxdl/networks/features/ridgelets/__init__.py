# SPDX-License-Identifier: Apache-2.0
"""What nets with bounded hidden weights can make of a function.

- `ridgelet_transform` and `ridgelet_synthesis` by quadrature on a `Grid`
  (`line_grid`); `gaussian_pair` (`PAIRS`) is a pair that inverts, which
  `admissibility` checks.
- A bound on the weights is a low-pass filter: `lowpass_multiplier`,
  `truncated`, `truncation_error`. `exterior_energy` is the diagnostic of the
  paper.
- Floors for every choice of output weights: `strict_floor` of bandlimited
  activations, `budgeted_floor` of a ridge, with the kernel of a distribution
  (`cos_kernel`; `limit_of`, the `limit_kernel` of `quadrature_nodes` or of
  `random_nodes`).
  `kernel_ridge` predicts with it, `usable_directions` counts.

The floors are derived here. On a compact set, an analytic activation that is no
polynomial can approximate anything with *unbounded* output weights, whatever
the bound on the hidden ones; what is seen is the floor of a budget. A bound of
the form |f - f_n| >= |R f outside| does not follow: the spectrum of a net leaks
out of the set that its parameters were drawn from.

Source: Li et al. 2023 (https://arxiv.org/abs/2008.08427).
"""

from jaxdl.networks.features.ridgelets._floors import (
  Floor,
  Kernel,
  Nodes,
  budgeted_floor,
  cos_kernel,
  kernel_ridge,
  limit_kernel,
  limit_of,
  quadrature_nodes,
  random_nodes,
  usable_directions,
)
from jaxdl.networks.features.ridgelets._pairs import (
  PAIRS,
  RidgeletPair,
  admissibility,
  gaussian_pair,
  lowpass_multiplier,
)
from jaxdl.networks.features.ridgelets._transform import (
  Grid,
  exterior_energy,
  line_grid,
  ridgelet_synthesis,
  ridgelet_transform,
  strict_floor,
  truncated,
  truncation_error,
)

__all__ = [
  'Floor',
  'Grid',
  'Kernel',
  'Nodes',
  'PAIRS',
  'RidgeletPair',
  'admissibility',
  'budgeted_floor',
  'cos_kernel',
  'exterior_energy',
  'gaussian_pair',
  'kernel_ridge',
  'limit_kernel',
  'limit_of',
  'line_grid',
  'lowpass_multiplier',
  'quadrature_nodes',
  'random_nodes',
  'ridgelet_synthesis',
  'ridgelet_transform',
  'strict_floor',
  'truncated',
  'truncation_error',
  'usable_directions',
]
