# SPDX-License-Identifier: Apache-2.0
"""Classical solvers: rules that need no training.

All are functions of arrays that are jitted and mapped, but for
`clusters(by=kmeans)`. `baseline` takes any of `CLASSICAL` by name:

    baseline('two_opt(start=farthest_insertion)', 'tsp', instance)
    baseline('greedy', problem, instance)

- Tours: `nearest_neighbor`, `random_insertion`, `farthest_insertion`,
  `two_opt`, `clusters`.
- Routes: `nearest_customer`, `savings`, `sweep`, `shortest_route_next`.
- Choices: `greedy_ratio` of items, `minimum_degree` of vertices,
  `insert_prizes` and `insert_penalties` of tours that leave nodes out.
- `tour_length` and `routes_length` measure, `routes_of` and `from_routes`
  translate routes to lists and back.
"""

from jaxdl.combinatorial.classical._choices import (
  greedy_ratio,
  insert_penalties,
  insert_prizes,
  minimum_degree,
)
from jaxdl.combinatorial.classical._clusters import clusters
from jaxdl.combinatorial.classical._registry import (
  CLASSICAL,
  baseline,
  check_baseline,
)
from jaxdl.combinatorial.classical._routes import (
  from_routes,
  nearest_customer,
  routes_length,
  routes_of,
  savings,
  shortest_route_next,
  sweep,
)
from jaxdl.combinatorial.classical._tours import (
  farthest_insertion,
  nearest_neighbor,
  random_insertion,
  tour_length,
  two_opt,
)

__all__ = [
  'CLASSICAL',
  'baseline',
  'check_baseline',
  'clusters',
  'farthest_insertion',
  'from_routes',
  'greedy_ratio',
  'insert_penalties',
  'insert_prizes',
  'minimum_degree',
  'nearest_customer',
  'nearest_neighbor',
  'random_insertion',
  'routes_length',
  'routes_of',
  'savings',
  'shortest_route_next',
  'sweep',
  'tour_length',
  'two_opt',
]
