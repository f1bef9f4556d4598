# SPDX-License-Identifier: Apache-2.0
"""What layers are made of: one dense, one convolution, one draw.

Parameters of a layer are {'kernel': f[*window, I, O], 'bias': f[O]}.

- `dense` and `convolve` apply them, `upsample` and `pad` are the transposed
  convolution and the boundary conditions (`PADDINGS`).
- `layer_leaves` describes them: how a kernel starts is an entry of
  `KERNEL_INITS`, e.g. 'glorot' or 'fan_in(distribution=normal)'. `draw` fills a
  tree of such `Leaf`s from one draw per distribution; `leaves_of` describes the
  variables of a layer library.
- `gru` and `lstm` are steps of recurrent layers.
- `ACTIVATIONS` by name, which `activation` reads. 'gelu' is exact, 'gelu_tanh'
  its common approximation.
- `gaussian_expectation`, `pair_expectation` and `pair_moments` average
  activations over normal preactivations; `susceptibilities` and `find_critical`
  say at which variances of weights and biases signals neither explode nor fade
  with depth, `KERNEL_INITS['critical']` draws kernels so.
"""

from jaxdl.networks.functional._activations import (
  ACTIVATIONS,
  Activation,
  activation,
  gelu,
)
from jaxdl.networks.functional._cells import (
  gru,
  gru_leaves,
  joined_layers,
  lstm,
  lstm_leaves,
)
from jaxdl.networks.functional._conv import (
  METHODS,
  PADDINGS,
  coarse_grid,
  convolve,
  dense,
  flat_matmul,
  gather_windows,
  pad,
  upsample,
  upsampling_kernel_sizes,
)
from jaxdl.networks.functional._criticality import (
  Critical,
  Susceptibilities,
  find_critical,
  susceptibilities,
)
from jaxdl.networks.functional._gaussian import (
  LineValues,
  check_kernel,
  elementwise,
  float_array,
  gaussian_expectation,
  gaussian_nodes,
  homogeneous_slopes,
  line_values,
  pair_expectation,
  pair_moments,
  pair_nodes,
  with_slope,
)
from jaxdl.networks.functional._init import (
  KERNEL_INITS,
  Leaf,
  bias_variances,
  check_sizes,
  critical_init,
  draw,
  fan_in_init,
  glorot_init,
  he_init,
  layer_leaves,
  leaves_of,
  normal_init,
  orthogonal_init,
  parameter_dtype,
  pytorch_init,
  scale_leaves,
  zeros_init,
)

__all__ = [
  'ACTIVATIONS',
  'Activation',
  'Critical',
  'KERNEL_INITS',
  'Leaf',
  'LineValues',
  'METHODS',
  'PADDINGS',
  'Susceptibilities',
  'activation',
  'bias_variances',
  'check_kernel',
  'check_sizes',
  'coarse_grid',
  'convolve',
  'critical_init',
  'dense',
  'draw',
  'elementwise',
  'fan_in_init',
  'find_critical',
  'flat_matmul',
  'float_array',
  'gather_windows',
  'gaussian_expectation',
  'gaussian_nodes',
  'gelu',
  'glorot_init',
  'he_init',
  'gru',
  'gru_leaves',
  'homogeneous_slopes',
  'joined_layers',
  'layer_leaves',
  'leaves_of',
  'line_values',
  'lstm',
  'lstm_leaves',
  'normal_init',
  'orthogonal_init',
  'pad',
  'pair_expectation',
  'pair_moments',
  'pair_nodes',
  'parameter_dtype',
  'pytorch_init',
  'scale_leaves',
  'susceptibilities',
  'upsample',
  'upsampling_kernel_sizes',
  'with_slope',
  'zeros_init',
]
