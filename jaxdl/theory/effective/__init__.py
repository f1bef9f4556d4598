# SPDX-License-Identifier: Apache-2.0
"""An effective theory of deep networks at initialization.

Preactivations z' = b + W s(z), with weights of variance C_W / fan_in and biases
of variance C_b, are nearly normal; what they are in a layer follows from the
layer before. The small parameter is depth over width.

- Infinite width: `kernel_flow` of one or many inputs (`input_kernel` for the
  first layer), `nearby_flow` of two close ones, `tangent_flow` with the mean of
  the neural tangent kernel.
- To first order in 1 / width: `vertex_flow` (how neurons depend on each other,
  also with residual connections), `pair_vertex_flow` of two inputs,
  `fluctuation_flow` of the tangent kernel, `excess_kurtosis`.
- Consequences: `training_rates` by layer (`scaled_sgd` applies them),
  `mutual_information`, `optimal_aspect_ratio`, `residual_slope`.
- Predictions at infinite width: `gp_posterior`, `ntk_predict`,
  `largest_learning_rate`.
- Networks to compare with: `init_mlp`, `preactivations`, `empirical_ntk`,
  `deep_mlp`, how they start (`STARTS`), and the moments of ensembles of them,
  `ensemble_moments`, with what they say (`measured`) and should (`predicted`);
  `ensembles` is an experiment of them.

Which variances are critical for an activation, and susceptibilities, is said by
`networks.functional.find_critical` and `susceptibilities`; averages over normal
preactivations stand there too. Flows are one scan of any depth, follow the
dtype of the kernel they are given, and want float64 (`jax.enable_x64`) for more
than a few digits of the corrections. The dynamics of tangent kernels under
training are not part of this.
"""

from jaxdl.theory.effective._comparison import (
  Ensemble,
  ensembles,
  ensembles_table,
  grown,
)
from jaxdl.theory.effective._ensembles import (
  Statistics,
  ensemble_moments,
  layer_tangents,
  measured,
  pair_moments_of,
  predicted,
  tangent_moments_of,
)
from jaxdl.theory.effective._finite import (
  mutual_information,
  optimal_aspect_ratio,
  residual_slope,
  training_rates,
)
from jaxdl.theory.effective._kernels import (
  NearbyFlow,
  input_kernel,
  kernel_flow,
  kernel_step,
  nearby_flow,
)
from jaxdl.theory.effective._networks import (
  STARTS,
  Start,
  deep_mlp,
  empirical_ntk,
  init_mlp,
  preactivations,
  scale_by_rates,
  scaled_sgd,
)
from jaxdl.theory.effective._prediction import (
  Posterior,
  gp_posterior,
  largest_learning_rate,
  ntk_predict,
)
from jaxdl.theory.effective._tangent import (
  FluctuationFlow,
  TangentFlow,
  fluctuation_flow,
  tangent_flow,
  tangent_step,
)
from jaxdl.theory.effective._vertex import (
  PairVertexFlow,
  VertexFlow,
  excess_kurtosis,
  pair_vertex_flow,
  vertex_flow,
)

__all__ = [
  'Ensemble',
  'FluctuationFlow',
  'NearbyFlow',
  'PairVertexFlow',
  'Posterior',
  'STARTS',
  'Start',
  'Statistics',
  'TangentFlow',
  'VertexFlow',
  'deep_mlp',
  'empirical_ntk',
  'ensemble_moments',
  'ensembles',
  'ensembles_table',
  'excess_kurtosis',
  'fluctuation_flow',
  'gp_posterior',
  'grown',
  'init_mlp',
  'input_kernel',
  'kernel_flow',
  'kernel_step',
  'largest_learning_rate',
  'layer_tangents',
  'measured',
  'mutual_information',
  'nearby_flow',
  'ntk_predict',
  'optimal_aspect_ratio',
  'pair_moments_of',
  'pair_vertex_flow',
  'preactivations',
  'predicted',
  'residual_slope',
  'scale_by_rates',
  'scaled_sgd',
  'tangent_flow',
  'tangent_moments_of',
  'tangent_step',
  'training_rates',
  'vertex_flow',
]
