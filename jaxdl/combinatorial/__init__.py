# SPDX-License-Identifier: Apache-2.0
"""Combinatorial optimization: policies that divide and policies that conquer.

A problem is a tuple of pure functions, `CombinatorialProblem`.

- `make_problem`: a problem of `PROBLEMS` by name.
- `make_policies`, `init_params`: a dividing and a conquering policy.
- `solve`: constructs solutions and conquers them stage by stage, one program;
  `construct` and `conquer` are its parts.
- `dcr`: trains both policies; `surrogate` is the same as a loss. `METHODS` are
  ways to train by name.
- `classical`: rules that need no training; `oracles`: solvers of other
  packages; `files`: TSPLIB and CVRPLIB; `solution_rows`: for pictures.
- `augment8`: the eight symmetries of a square.
"""

from jaxdl.combinatorial import classical, files, oracles
from jaxdl.combinatorial._atsp import atsp
from jaxdl.combinatorial._augment import augment8
from jaxdl.combinatorial._construct import construct
from jaxdl.combinatorial._cvrp import cvrp, ovrp
from jaxdl.combinatorial._dcr import (
  DcrState,
  Episode,
  dcr,
  make_episode,
  surrogate,
)
from jaxdl.combinatorial._geometry import DISTRIBUTIONS, normalized, points
from jaxdl.combinatorial._kp import kp
from jaxdl.combinatorial._linked import graph_instance
from jaxdl.combinatorial._methods import METHODS, Method, make_method
from jaxdl.combinatorial._mis import mis
from jaxdl.combinatorial._mtsp import mtsp
from jaxdl.combinatorial._networks import (
  CONQUERORS,
  DIVIDERS,
  Conqueror,
  Divider,
  make_conqueror,
  make_divider,
)
from jaxdl.combinatorial._op import op
from jaxdl.combinatorial._pctsp import pctsp, spctsp
from jaxdl.combinatorial._pictures import solution_rows
from jaxdl.combinatorial._policies import (
  Policies,
  init_params,
  make_policies,
)
from jaxdl.combinatorial._problem import (
  CombinatorialProblem,
  Context,
  Cursor,
  Divide,
  Neighbors,
  Routes,
  Solve,
  Subset,
  Tour,
  Visits,
)
from jaxdl.combinatorial._registry import PROBLEMS, make_problem
from jaxdl.combinatorial._search import solve
from jaxdl.combinatorial._stage import StageInfo, conquer, reinforce
from jaxdl.combinatorial._tsp import tsp

__all__ = [
  'CONQUERORS',
  'DISTRIBUTIONS',
  'DIVIDERS',
  'METHODS',
  'PROBLEMS',
  'CombinatorialProblem',
  'Conqueror',
  'Context',
  'Cursor',
  'DcrState',
  'Divide',
  'Divider',
  'Episode',
  'Method',
  'Neighbors',
  'Policies',
  'Routes',
  'Solve',
  'StageInfo',
  'Subset',
  'Tour',
  'Visits',
  'atsp',
  'augment8',
  'classical',
  'conquer',
  'construct',
  'cvrp',
  'dcr',
  'files',
  'graph_instance',
  'init_params',
  'kp',
  'make_conqueror',
  'make_divider',
  'make_episode',
  'make_method',
  'make_policies',
  'make_problem',
  'mis',
  'mtsp',
  'normalized',
  'op',
  'oracles',
  'ovrp',
  'pctsp',
  'points',
  'reinforce',
  'solution_rows',
  'solve',
  'spctsp',
  'surrogate',
  'tsp',
]
