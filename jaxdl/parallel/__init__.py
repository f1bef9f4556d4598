# SPDX-License-Identifier: Apache-2.0
"""How tensors and work are spread over devices, and what that costs.

A signature says what the devices of a mesh hold of a tensor, for each axis:
`S0` pieces of dimension 0, `B` all of it, `P` terms of a sum. Operators take
some signatures and not others; where a producer and a consumer differ, data
move.

**Signatures**
- `parse_sbp`, `format_sbp`, `as_sbp`, `dual`; `Split`, `Broadcast`, `Partial`.
- `scatter`, `recover`, `box`: shards as plain arrays, the reference.
- `boxing_cost`, `boxing_cost_nd`, `boxing_costs`, `boxing_path`: bytes that a
  change of signature moves. `collective_bytes`: those of a compiled program.

**Operators and programs**
- `OPERATORS`, `make_operator`; `valid_signatures`, `match_signature`,
  `compose_nd`: what an operator takes on a mesh.
- `Op`, `make_program`, `PROGRAMS`: what is computed; `CostModel` (by name,
  `COST_MODELS`), `total_cost`: what signatures cost, gradients included.
- `SEARCHES`: `assign_optimal`, `assign_greedy`, `assign_data_parallel`,
  `assign_replicated`; `assign_all` of small programs.

**Devices**
- `to_partition_spec`, `from_sharding`: to and from `jax.sharding`.
- `reshard` by collectives inside of `shard_map`; `run_sharded` and `map_shards`
  run a function on shards; `device_mesh`.
- `signature_checks`, `measure_boxing`: whether devices compute and send what
  signatures and costs say, on `example_inputs`.

**Rounds of clients**
- `round_layouts`: what a round costs where clients, or parameters, or both are
  spread; `choose_layout` takes one, `aggregators.lay_out` does it.

**Actors**
- `actors`: pipelines whose stages own a fixed number of registers.
- `HostPipeline`: such a pipeline of threads; `PipelineTimes`, its gain.

Example:
  >>> program = PROGRAMS.make('mlp(sizes=(32, 64, 32))', 8)
  >>> model = CostModel(training=True, per_flop=0, replicated=False)
  >>> found = assign_optimal(program, 4, model)
  >>> [str(found.signatures[y]) for y in ('y1', 'y2')]
  ['(B; S1 -> S1)', '(S1; S0 -> P)']
"""

from jaxdl.parallel import actors
from jaxdl.parallel._bridge import (
  device_mesh,
  from_sharding,
  map_shards,
  reshard,
  run_sharded,
  to_partition_spec,
)
from jaxdl.parallel._checked import (
  Checks,
  example_inputs,
  kind_of_change,
  measure_boxing,
  signature_checks,
)
from jaxdl.parallel._collectives import COLLECTIVES, collective_bytes
from jaxdl.parallel._cost_model import COST_MODELS, CostModel
from jaxdl.parallel._costs import (
  boxing_cost,
  boxing_cost_nd,
  boxing_costs,
  boxing_path,
)
from jaxdl.parallel._layouts import (
  LAYOUTS,
  Layout,
  Machine,
  choose_layout,
  round_layouts,
  this_machine,
)
from jaxdl.parallel._models import PROGRAMS
from jaxdl.parallel._operators import OPERATORS, Operator, make_operator
from jaxdl.parallel._pipeline import HostPipeline, PipelineTimes
from jaxdl.parallel._programs import (
  Op,
  Program,
  make_program,
  total_cost,
)
from jaxdl.parallel._rules import (
  Assignment,
  assign_data_parallel,
  assign_greedy,
  assign_replicated,
  describe,
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
from jaxdl.parallel._search import (
  SEARCHES,
  assign_all,
  assign_optimal,
)
from jaxdl.parallel._shards import box, recover, scatter
from jaxdl.parallel._signatures import (
  Signature,
  compose_nd,
  match_signature,
  valid_signatures,
)

__all__ = [
  'COLLECTIVES',
  'COST_MODELS',
  'LAYOUTS',
  'OPERATORS',
  'PROGRAMS',
  'SEARCHES',
  'Assignment',
  'Broadcast',
  'Checks',
  'CostModel',
  'HostPipeline',
  'Layout',
  'Machine',
  'NdSbp',
  'Op',
  'Operator',
  'Partial',
  'PipelineTimes',
  'Program',
  'Sbp',
  'Signature',
  'Split',
  'actors',
  'as_mesh_shape',
  'as_sbp',
  'assign_all',
  'assign_data_parallel',
  'assign_greedy',
  'assign_optimal',
  'assign_replicated',
  'box',
  'boxing_cost',
  'boxing_cost_nd',
  'boxing_costs',
  'boxing_path',
  'choose_layout',
  'collective_bytes',
  'compose_nd',
  'describe',
  'device_mesh',
  'dual',
  'example_inputs',
  'format_sbp',
  'from_sharding',
  'make_operator',
  'make_program',
  'kind_of_change',
  'map_shards',
  'match_signature',
  'measure_boxing',
  'parse_sbp',
  'recover',
  'reshard',
  'round_layouts',
  'run_sharded',
  'scatter',
  'signature_checks',
  'this_machine',
  'to_partition_spec',
  'total_cost',
  'valid_signatures',
]
