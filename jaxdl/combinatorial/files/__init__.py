# SPDX-License-Identifier: Apache-2.0
"""Files of TSPLIB and CVRPLIB: instances and their solutions.

    source = read_instance('berlin52.tsp')
    tour = combinatorial.classical.baseline('two_opt', 'tsp', source.instance)
    gap = file_cost(source, tour) / 7542 - 1
    write_solution('berlin52.tour', source, tour)

vrplib reads them (extra `combinatorial`).
"""

from jaxdl.combinatorial.files._instances import FileInstance, read_instance
from jaxdl.combinatorial.files._solutions import (
  file_cost,
  read_solution,
  write_solution,
)

__all__ = [
  'FileInstance',
  'file_cost',
  'read_instance',
  'read_solution',
  'write_solution',
]
