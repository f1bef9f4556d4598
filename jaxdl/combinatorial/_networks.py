# SPDX-License-Identifier: Apache-2.0
"""Policies by name: those that divide and those that conquer."""

from jaxdl.combinatorial import (
  _attention,
  _blocks,
  _dpn,
  _heat,
  _icam,
  _matnet,
  _problem,
  _vertices,
)
from jaxdl.core import registry

Conqueror, Divider = _blocks.Conqueror, _blocks.Divider

DIVIDERS = registry.Registry(
  'divider',
  {'agnn': _heat.agnn, 'none': _heat.none, 'uniform': _heat.uniform},
  given=('has_depot', 'rows'),
  tried={},
)

CONQUERORS = registry.Registry(
  'conqueror',
  {
    'agnn': _vertices.vertices,
    'attention': _attention.attention,
    'dpn': _dpn.dpn,
    'icam': _icam.icam,
    'matnet': _matnet.matnet,
  },
  given=('num_extra',),
  tried={},
)

# Heat of nodes, not of pairs.
_OF_NODES = ('mis',)
_QUERIES = {'cvrp': 'routes', 'ovrp': 'routes', 'mtsp': 'routes', 'kp': 'items'}


def make_divider(
  spec: str,
  problem: _problem.CombinatorialProblem,
  *,
  name: str = 'divider',
) -> Divider:
  """Builds a dividing policy by name.

  Args:
    spec: an entry of `DIVIDERS`, with options.
    problem: whose solutions it constructs.
    name: of the argument or flag, for messages.

  Returns:
    The policy. Of `mis` its heat is of nodes, without rows.

  Raises:
    ValueError: if a name or an option is unknown or out of range.

  Example:
    >>> from jaxdl import combinatorial
    >>> tsp = combinatorial.make_problem('tsp')
    >>> combinatorial.make_divider('agnn(num_neighbors=20)', tsp).num_neighbors
    20
  """
  part = DIVIDERS.part(spec, name=name)
  return DIVIDERS.bound(
    part,
    has_depot=problem.divide.has_depot,
    rows=problem.name not in _OF_NODES,
  )


def make_conqueror(
  spec: str,
  problem: _problem.CombinatorialProblem,
  *,
  name: str = 'conqueror',
) -> Conqueror:
  """Builds a conquering policy by name.

  Args:
    spec: an entry of `CONQUERORS`, with options; '' is the problem's own.
    problem: whose pieces it solves.
    name: of the argument or flag, for messages.

  Returns:
    The policy. The query of 'icam' is 'routes' for cvrp, ovrp and mtsp, 'items'
    for kp and else 'path', unless the option says something else.

  Raises:
    ValueError: if a name or an option is unknown or out of range.

  Example:
    >>> from jaxdl import combinatorial
    >>> tsp = combinatorial.make_problem('tsp')
    >>> policy = combinatorial.make_conqueror('icam(width=8, depth=1)', tsp)
    >>> sorted(policy._fields)
    ['decode', 'encode', 'init']
  """
  part = CONQUERORS.part(spec or problem.solve.network, name=name)
  return CONQUERORS.bound(
    part,
    num_extra=problem.solve.num_extra,
    query=_QUERIES.get(problem.name, 'path'),
  )
