# SPDX-License-Identifier: Apache-2.0
"""Instances of TSPLIB and CVRPLIB files."""

import os
import pathlib
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from jaxdl.combinatorial import _cvrp, _problem
from jaxdl.combinatorial.files import _weights
from jaxdl.core import checks, extras

_TYPES = {'TSP': 'tsp', 'ATSP': 'atsp', 'CVRP': 'cvrp', 'OVRP': 'ovrp'}
# Of lines that the standard separates by their names.
_SECTIONS = ('NODE_COORD', 'DEMAND', 'DEPOT', 'EDGE_WEIGHT', 'DISPLAY_DATA')
_REFUSED = ('DISTANCE', 'SERVICE_TIME')
_MOST_NODES, _MOST_WITH_MATRIX, _MOST_BYTES = 10**6, 2 * 10**4, 2**30


class FileInstance(NamedTuple):
  """An instance as a file has it, and as the problems here want it.

  Attributes:
    name: NAME of the file.
    problem: 'tsp', 'atsp', 'cvrp' or 'ovrp'.
    instance: of the problem. Points lie in the unit square, costs are at most
      1, demands are parts of the capacity, the depot is node 0.
    scale: a length of the file, unrounded, is `scale` times one of `instance`.
    points: f64[M, 2] of the file, in the order of `instance`; None where there
      are weights.
    weights: f64[M, M] of the file, or None.
    kind: EDGE_WEIGHT_TYPE.
    rounded: whether `file_cost` rounds as the standard says.
    numbers: i64[M], number of each node in the file.
    capacity: of a vehicle, in the file's units; 0 without vehicles.
    demands: f64[M] in the file's units, or None.
  """

  name: str
  problem: str
  instance: _problem.Instance
  scale: float
  points: np.ndarray | None
  weights: np.ndarray | None
  kind: str
  rounded: bool
  numbers: np.ndarray
  capacity: float
  demands: np.ndarray | None


def read_instance(
  path: str | os.PathLike[str],
  *,
  problem: str | None = None,
  rounded: bool = True,
) -> FileInstance:
  """Reads a TSPLIB or CVRPLIB file.

  TSP with coordinates (EUC_2D, CEIL_2D, FLOOR_2D, ATT) is 'tsp'; with weights
  (EXPLICIT in any layout, GEO) and ATSP it is 'atsp', whose costs may be
  symmetric. CVRP needs coordinates and one depot.

  Args:
    path: the file.
    problem: 'ovrp' reads a CVRP file as one with open routes; None for what
      the file says.
    rounded: whether `file_cost` rounds lengths as the standard says. Best
      known values of TSPLIB, and of X, XXL, A, B, E, F, M and P of CVRPLIB are
      rounded; those of CMT, Golden, Li and Tai are not.

  Returns:
    The instance.

  Raises:
    ValueError: if the file is malformed, has what is not read here, has NaN
      coordinates, or a demand above the capacity; the message names the file
      and the node.
    OSError: if the file cannot be read.
    ImportError: if vrplib is not installed.
  """
  rounded = checks.flag(rounded, name='rounded')
  path = pathlib.Path(path)
  try:
    return _instance(_parsed(path), problem, rounded)
  except ValueError as error:
    raise ValueError(f'{path}: {error}') from error


def _parsed(path: pathlib.Path) -> dict[str, Any]:
  """Specifications in lower case, sections by their names, `ids` of theirs."""
  if path.stat().st_size > _MOST_BYTES:
    raise ValueError(f'has {path.stat().st_size} bytes, {_MOST_BYTES} at most.')
  parse = extras.require('vrplib.parse', 'read_instance')
  try:
    text = path.read_text()
  except UnicodeDecodeError as error:
    raise ValueError('is no text.') from error
  rest, sections = _split(text)
  try:
    found = parse.parse_vrplib(rest, compute_edge_weights=False)
  except (ArithmeticError, LookupError, RuntimeError, TypeError) as error:
    raise ValueError(f'is no TSPLIB or CVRPLIB file: {error}') from error
  found['weights'] = sections.get('EDGE_WEIGHT')
  for name in ('NODE_COORD', 'DEMAND'):
    found[f'{name.lower()}_ids'] = [
      line.split()[0] for line in sections.get(name, ()) if line.split()
    ]
  return found


def _split(text: str) -> tuple[str, dict[str, list[str]]]:
  """The text without weights, and lines of each section."""
  rest, sections, name = [], {}, None
  for line in text.splitlines():
    word = line.strip().rstrip(' :')
    if word == 'EOF':
      break
    if word.endswith('_SECTION'):
      name = word.removesuffix('_SECTION')
      if name not in _SECTIONS:
        known = ', '.join(f'{s}_SECTION' for s in _SECTIONS)
        raise ValueError(f'has {word}, which is not read here: {known} are.')
      if name in sections:
        raise ValueError(f'has {word} twice.')
      sections[name] = []
    elif ':' in line:
      name = None
    elif name and word:
      sections[name].append(line)
    # vrplib knows two layouts of weights only.
    if name != 'EDGE_WEIGHT':
      rest.append(line)
  return '\n'.join(rest), sections


def _instance(
  found: dict[str, Any], problem: str | None, rounded: bool
) -> FileInstance:
  kind = str(found.get('type', '')).split(' ')[0]
  if kind == 'TOUR':
    raise ValueError('has the TYPE TOUR: read it with read_solution.')
  if kind not in _TYPES:
    raise ValueError(
      f'has {f"the TYPE {kind}" if kind else "no TYPE"}: '
      f'{", ".join(_TYPES)} are read here.'
    )
  for field in _REFUSED:
    if found.get(field.lower(), 0) not in (0, '0'):
      raise ValueError(
        f'has {field}: {found[field.lower()]}, which no problem here knows.'
      )
  weight = str(found.get('edge_weight_type', 'EXPLICIT'))
  if weight not in _weights.KINDS:
    raise ValueError(
      f'has the EDGE_WEIGHT_TYPE {weight}: {", ".join(_weights.KINDS)} are '
      'read here.'
    )
  count = _dimension(found, weight)
  if problem not in (None, _TYPES[kind]) and (kind, problem) != (
    'CVRP',
    'ovrp',
  ):
    raise ValueError(
      f'has the TYPE {kind}, which is not read as {problem!r}: leave problem '
      "out, or problem='ovrp' for CVRP."
    )
  problem = problem or _TYPES[kind]
  if problem in ('cvrp', 'ovrp'):
    return _with_vehicles(found, problem, weight, rounded, count)
  return _without(found, problem, weight, rounded, count)


def _dimension(found: dict[str, Any], weight: str) -> int:
  count = found.get('dimension')
  if not isinstance(count, int):
    raise ValueError(f'has the DIMENSION {count}: it must be an integer.')
  most = _MOST_WITH_MATRIX if weight in ('GEO', 'EXPLICIT') else _MOST_NODES
  if not 1 <= count <= most:
    raise ValueError(
      f'has the DIMENSION {count}: it must lie in [1, {most}] with {weight}.'
    )
  return count


def _column(
  found: dict[str, Any], name: str, count: int, width: int
) -> np.ndarray:
  """Numbers of a section, f64[N, width]."""
  section = f'{name}_SECTION'
  key = name.lower()
  if key not in found:
    raise ValueError(f'has no {section}.')
  ids = found[f'{key}_ids']
  if len(ids) != count:
    raise ValueError(
      f'has {len(ids)} lines in {section}, but the DIMENSION {count}.'
    )
  for k, number in enumerate(ids):
    if number != str(k + 1):
      raise ValueError(
        f'numbers node {k + 1} as {number} in {section}: they must be 1 to '
        f'{count} in turn.'
      )
  try:
    values = np.asarray(found[key], np.float64).reshape(count, width)
  except (ValueError, OverflowError, TypeError):
    raise ValueError(
      f'has lines in {section} that are not a node and {width} '
      f'{"number" if width == 1 else "numbers"}.'
    ) from None
  return values


def _points(found: dict[str, Any], count: int) -> np.ndarray:
  values = _column(found, 'NODE_COORD', count, 2)
  for k, row in enumerate(values):
    if not np.isfinite(row).all():
      raise ValueError(
        f'has node {k + 1} at ({row[0]:g}, {row[1]:g}): coordinates must be '
        'finite.'
      )
  return values


def _unit(points: np.ndarray) -> tuple[np.ndarray, float]:
  """Points in the unit square, and what lengths were divided by."""
  low = points.min(axis=0)
  scale = float((points - low[None]).max())
  if not np.isfinite(scale):
    raise ValueError('has coordinates too far from each other for float64.')
  scale = scale or 1.0
  return (points - low[None]) / scale, scale


def _without(found, problem, weight, rounded, count) -> FileInstance:
  """An instance without vehicles."""
  name, numbers = str(found.get('name', '')), np.arange(1, count + 1)
  if weight in _weights.EUCLIDEAN and problem == 'tsp':
    points = _points(found, count)
    unit, scale = _unit(points)
    scale = scale / 10.0**0.5 if weight == 'ATT' else scale
    instance = {'points': jnp.asarray(unit, float)}
    return FileInstance(
      *(name, problem, instance, scale, points, None, weight, rounded),
      *(numbers, 0.0, None),
    )
  matrix = _matrix(found, weight, rounded, count)
  scale = float(matrix.max()) or 1.0
  instance = {'costs': jnp.asarray(matrix / scale, float)}
  return FileInstance(
    *(name, 'atsp', instance, scale, None, matrix, weight, rounded),
    *(numbers, 0.0, None),
  )


def _matrix(found, weight, rounded, count) -> np.ndarray:
  if weight == 'GEO':
    return _weights.geographic(_points(found, count), rounded)
  if weight in _weights.EUCLIDEAN:
    points, all_ = _points(found, count), np.arange(count)
    pairs = np.meshgrid(all_, all_, indexing='ij')
    return _weights.euclidean(points, *pairs, weight, rounded)
  layout = str(found.get('edge_weight_format', ''))
  if layout not in _weights.FORMATS:
    stated = f'the EDGE_WEIGHT_FORMAT {layout}' if layout else 'no format'
    raise ValueError(
      f'has {stated} of EXPLICIT weights: {", ".join(_weights.FORMATS)} are '
      'read here.'
    )
  if found['weights'] is None:
    raise ValueError('has no EDGE_WEIGHT_SECTION.')
  words = ' '.join(found['weights']).split()
  try:
    numbers = np.array([float(w) for w in words])
  except ValueError as error:
    raise ValueError(f'has weights that are no numbers: {error}.') from None
  matrix = _weights.explicit(numbers, layout, count)
  bad = ~np.isfinite(matrix) | (matrix < 0)
  if bad.any():
    a, b = np.argwhere(bad)[0]
    raise ValueError(
      f'has the weight {matrix[a, b]:g} from node {a + 1} to {b + 1}: weights '
      'must be finite and not negative.'
    )
  return matrix


def _with_vehicles(found, problem, weight, rounded, count) -> FileInstance:
  """An instance with a depot, demands and a capacity."""
  if weight not in _weights.EUCLIDEAN:
    raise ValueError(
      f'has the EDGE_WEIGHT_TYPE {weight}: {problem} needs coordinates, '
      f'{", ".join(_weights.EUCLIDEAN)}.'
    )
  if count < 2:
    raise ValueError('has no customer.')
  points = _points(found, count)
  demands = _column(found, 'DEMAND', count, 1)[:, 0]
  capacity = found.get('capacity')
  if not isinstance(capacity, int | float) or not 0 < capacity < np.inf:
    raise ValueError(f'has the CAPACITY {capacity}: it must be above 0.')
  if 'depot' not in found:
    raise ValueError('has no DEPOT_SECTION.')
  depots = np.asarray(found['depot']).ravel()
  if len(depots) != 1 or depots[0] not in range(count):
    raise ValueError(
      f'has {len(depots)} depots, {[int(d) + 1 for d in depots]}: it must be '
      f'one of the nodes 1 to {count}.'
    )
  depot = int(depots[0])
  for k, demand in enumerate(demands):
    if k != depot and not 0 <= demand <= capacity:
      raise ValueError(
        f'has customer {k + 1} with the demand {demand:g}: it must lie in [0, '
        f'{capacity:g}], the capacity.'
      )
  if demands[depot] != 0:
    raise ValueError(
      f'has the depot {depot + 1} with the demand {demands[depot]:g}, not 0.'
    )
  turn = np.concatenate([[depot], np.delete(np.arange(count), depot)])
  points, demands = points[turn], demands[turn]
  unit, scale = _unit(points)
  scale = scale / 10.0**0.5 if weight == 'ATT' else scale
  instance = {
    'points': jnp.asarray(unit, float),
    'demands': jnp.asarray(demands / capacity, float),
    'routes': jnp.ones((_cvrp.routes_bound(demands / capacity),), bool),
  }
  name = str(found.get('name', ''))
  return FileInstance(
    *(name, problem, instance, scale, points, None, weight, rounded),
    *(turn + 1, float(capacity), demands),
  )
