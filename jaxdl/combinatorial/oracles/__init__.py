# SPDX-License-Identifier: Apache-2.0
"""Strong solvers of other packages, for gaps to what is best or nearly so.

`oracle` takes any of `ORACLES` by name and gives a solution as the project's
own solvers do, with its objective in float64:

    oracle('elkai', 'tsp', instance).objective
    oracle('ortools(num_solutions=1000)', problem, instance)
    oracle('pyvrp(num_iterations=10_000)', 'cvrp', instance)
    oracle('milp', 'kp', instance).proved

The packages come with the extra `combinatorial` and are imported when one is
asked. `measured` measures any solution in float64.
"""

from jaxdl.combinatorial.oracles._lkh import elkai
from jaxdl.combinatorial.oracles._measure import measured
from jaxdl.combinatorial.oracles._milp import milp
from jaxdl.combinatorial.oracles._ortools import ortools
from jaxdl.combinatorial.oracles._pyvrp import pyvrp
from jaxdl.combinatorial.oracles._registry import (
  ORACLES,
  Answer,
  check_oracle,
  oracle,
)

__all__ = [
  'ORACLES',
  'Answer',
  'check_oracle',
  'elkai',
  'measured',
  'milp',
  'oracle',
  'ortools',
  'pyvrp',
]
