# SPDX-License-Identifier: Apache-2.0
"""How tensors and work are spread over devices, and what that costs.

A signature says what the devices of a mesh hold of a tensor, for each axis:
`S0` pieces of dimension 0, `B` all of it, `P` terms of a sum.

- `parse_sbp`, `format_sbp`, `as_sbp`, `dual`; `Split`, `Broadcast`, `Partial`.
- `scatter`, `recover`, `box`: shards as plain arrays, the reference.
- `boxing_cost`, `boxing_cost_nd`, `boxing_costs`, `boxing_path`: bytes that a
  change of signature moves. `collective_bytes`: those of a compiled program.
"""

from jaxdl.parallel._collectives import COLLECTIVES, collective_bytes
from jaxdl.parallel._costs import (
  boxing_cost,
  boxing_cost_nd,
  boxing_costs,
  boxing_path,
)
from jaxdl.parallel._sbp import (
  Broadcast,
  NdSbp,
  Partial,
  Sbp,
  Split,
  as_mesh_shape,
  as_sbp,
  dual,
  format_sbp,
  parse_sbp,
)
from jaxdl.parallel._shards import box, recover, scatter

__all__ = [
  'COLLECTIVES',
  'Broadcast',
  'NdSbp',
  'Partial',
  'Sbp',
  'Split',
  'as_mesh_shape',
  'as_sbp',
  'box',
  'boxing_cost',
  'boxing_cost_nd',
  'boxing_costs',
  'boxing_path',
  'collective_bytes',
  'dual',
  'format_sbp',
  'parse_sbp',
  'recover',
  'scatter',
]
