# SPDX-License-Identifier: Apache-2.0
"""What layers are made of: one dense, one convolution, one draw.

Parameters of a layer are {'kernel': f[*window, I, O], 'bias': f[O]}.

- `dense` and `convolve` apply them, `upsample` and `pad` are the transposed
  convolution and the boundary conditions (`PADDINGS`).
- `layer_leaves` describes them: how a kernel starts is an entry of
  `KERNEL_INITS`, e.g. 'glorot' or 'fan_in(distribution=normal)'. `draw` fills a
  tree of such `Leaf`s from one draw per distribution; `leaves_of` describes the
  variables of a layer library.
- `ACTIVATIONS` by name, which `activation` reads. 'gelu' is exact, 'gelu_tanh'
  its common approximation.
"""

from jaxdl.networks.functional._activations import (
  ACTIVATIONS,
  Activation,
  activation,
  gelu,
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
from jaxdl.networks.functional._init import (
  KERNEL_INITS,
  Leaf,
  check_sizes,
  draw,
  fan_in_init,
  glorot_init,
  he_init,
  layer_leaves,
  leaves_of,
  normal_init,
  parameter_dtype,
  pytorch_init,
  scale_leaves,
  zeros_init,
)

__all__ = [
  'ACTIVATIONS',
  'Activation',
  'KERNEL_INITS',
  'Leaf',
  'METHODS',
  'PADDINGS',
  'activation',
  'check_sizes',
  'coarse_grid',
  'convolve',
  'dense',
  'draw',
  'fan_in_init',
  'flat_matmul',
  'gather_windows',
  'gelu',
  'glorot_init',
  'he_init',
  'layer_leaves',
  'leaves_of',
  'normal_init',
  'pad',
  'parameter_dtype',
  'pytorch_init',
  'scale_leaves',
  'upsample',
  'upsampling_kernel_sizes',
  'zeros_init',
]
