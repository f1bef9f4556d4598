# SPDX-License-Identifier: Apache-2.0
"""Solutions in the files of TSPLIB (.tour) and CVRPLIB (.sol)."""

import os
import pathlib
from typing import Any

import jax.numpy as jnp
import numpy as np

from jaxdl.combinatorial import _problem
from jaxdl.combinatorial.classical import _routes
from jaxdl.combinatorial.files import _instances, _weights
from jaxdl.core import extras


def file_cost(
  source: _instances.FileInstance, solution: Any, *, rounded: bool | None = None
) -> float:
  """Measures a solution as the file would, for gaps to best known values.

  Args:
    source: what `read_instance` returned.
    solution: a tour or routes of its instance.
    rounded: as of `read_instance`; None for what was given there. Weights of a
      matrix stay as they were read.

  Returns:
    The length in the units of the file, float64.
  """
  rounded = source.rounded if rounded is None else rounded
  order = np.asarray(solution.order)
  if source.problem in ('tsp', 'atsp'):
    a, b = order, np.roll(order, -1)
  else:
    last = np.asarray(solution.last, bool)
    a = np.where(np.roll(last, 1), 0, np.roll(order, 1))
    b = order
    if source.problem == 'cvrp':
      a, b = np.append(a, order[last]), np.append(b, 0 * order[last])
  if source.weights is not None:
    return float(source.weights[a, b].sum())
  legs = _weights.euclidean(source.points, a, b, source.kind, rounded)
  return float(legs.sum())


def read_solution(
  path: str | os.PathLike[str], source: _instances.FileInstance
) -> Any:
  """Reads a solution of an instance.

  Args:
    path: a TSPLIB tour or CVRPLIB routes.
    source: what `read_instance` returned.

  Returns:
    A `Tour` or `Routes`, feasible.

  Raises:
    ValueError: if the file is malformed, names nodes that do not exist, twice
      or not at all, or overloads a vehicle.
    OSError: if the file cannot be read.
    ImportError: if vrplib is not installed.
  """
  path = pathlib.Path(path)
  # A TSPLIB tour has node numbers, CVRPLIB counts from the first node, 0.
  to_row = {int(n): k for k, n in enumerate(source.numbers)}
  try:
    if source.problem in ('tsp', 'atsp'):
      order = _rows(_tour_numbers(path.read_text()), to_row, 'node')
      return _problem.Tour(jnp.asarray(order, jnp.int32))
    lists = _route_numbers(path)
    depot = int(source.numbers[0])
    del to_row[depot]
    order = _rows([c + 1 for r in lists for c in r], to_row, 'customer')
    ends = np.cumsum([len(r) for r in lists]) - 1
    last = np.isin(np.arange(len(order)), ends)
    solution = _problem.Routes(jnp.asarray(order, jnp.int32), jnp.asarray(last))
    for k, nodes in enumerate(_routes.routes_of(solution)):
      load = source.demands[nodes].sum()
      if load > source.capacity * (1 + 1e-9):
        raise ValueError(
          f'loads {load:g} on route {k + 1}, of a capacity of '
          f'{source.capacity:g}.'
        )
    return solution
  except ValueError as error:
    raise ValueError(f'{path}: {error}') from error


def _tour_numbers(text: str) -> list[int]:
  head, section, tail = text.partition('TOUR_SECTION')
  if not section:
    raise ValueError('has no TOUR_SECTION.')
  out = []
  for word in tail.lstrip(' :').split():
    if word in ('-1', 'EOF'):
      break
    if not word.isdecimal():
      raise ValueError(f'has {word[:40]!r} in a tour: need numbers of nodes.')
    out.append(int(word))
  return out


def _route_numbers(path: pathlib.Path) -> list[list[int]]:
  vrplib = extras.require('vrplib', 'read_solution')
  try:
    lists = vrplib.read_solution(path)['routes']
  except (LookupError, ValueError) as error:
    raise ValueError(f'is no CVRPLIB solution: {error}') from error
  if not lists:
    raise ValueError('has no route.')
  return [r for r in lists if r]


def _rows(numbers: list[int], to_row: dict[int, int], what: str) -> list[int]:
  """Rows of an instance, each once."""
  shown = lambda n: n if what == 'node' else n - 1
  seen = set()
  for n in numbers:
    if n not in to_row:
      raise ValueError(f'has {what} {shown(n)}, which does not exist.')
    if n in seen:
      raise ValueError(f'has {what} {shown(n)} twice.')
    seen.add(n)
  for n in to_row:
    if n not in seen:
      raise ValueError(f'leaves out {what} {shown(n)}.')
  return [to_row[n] for n in numbers]


def write_solution(
  path: str | os.PathLike[str],
  source: _instances.FileInstance,
  solution: Any,
) -> pathlib.Path:
  """Writes a solution as the library of its instance has them.

  Args:
    path: of the new file; `.tour` or `.sol` are usual.
    source: what `read_instance` returned.
    solution: a tour or routes of its instance.

  Returns:
    The path. `read_solution` reads it back.

  Raises:
    OSError: if the file cannot be written.
    ImportError: if vrplib is not installed.
  """
  path = pathlib.Path(path)
  cost = f'{file_cost(source, solution):.10g}'
  if source.problem in ('tsp', 'atsp'):
    order = np.asarray(solution.order)
    lines = [
      f'NAME : {source.name or path.stem}',
      f'COMMENT : Length {cost}',
      'TYPE : TOUR',
      f'DIMENSION : {len(order)}',
      'TOUR_SECTION',
      *map(str, source.numbers[order].tolist()),
      '-1',
      'EOF',
    ]
    path.write_text('\n'.join(lines) + '\n')
    return path
  vrplib = extras.require('vrplib', 'write_solution')
  lists = [
    (source.numbers[r] - 1).tolist() for r in _routes.routes_of(solution)
  ]
  vrplib.write_solution(path, lists, {'Cost': cost})
  return path
