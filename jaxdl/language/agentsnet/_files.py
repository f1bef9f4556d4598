# SPDX-License-Identifier: Apache-2.0
"""Networks of agents as files: JSON in the node-link form of networkx."""

import json
import math
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import networkx

from jaxdl.core import checks
from jaxdl.language.agentsnet import _graphs

_MOST_BYTES = 64 << 20


def to_node_link(graph: networkx.Graph) -> dict[str, Any]:
  """Writes a graph as plain JSON values.

  Args:
    graph: see `make_graph`.

  Returns:
    What `networkx.node_link_graph(value, edges='edges')` reads.

  Example:
    >>> value = to_node_link(_graphs.make_graph('ring', 3, 0))
    >>> value['edges'][0]
    {'source': 0, 'target': 1}
  """
  _graphs.check_graph(graph)
  return {
    'directed': False,
    'multigraph': False,
    'graph': _plain(graph.graph),
    'nodes': [
      {'id': i, 'name': name} for i, name in enumerate(_graphs.names_of(graph))
    ],
    'edges': [
      {'source': a, 'target': b} for a, b in sorted(map(sorted, graph.edges))
    ],
  }


def _plain(facts):
  """What JSON can hold of what is known about a graph."""
  return {
    k: v
    for k, v in facts.items()
    if isinstance(v, (str, int)) or (isinstance(v, float) and math.isfinite(v))
  }


def from_node_link(value: Any, *, label: str = 'graph') -> networkx.Graph:
  """Reads a graph from plain JSON values.

  Args:
    value: node-link form; edges are called 'edges' or 'links', nodes are
      numbers or names.
    label: of the argument, for messages.

  Returns:
    The graph, see `make_graph`.

  Raises:
    ValueError: if it is something else, or no network of agents.

  Example:
    >>> graph = from_node_link(
    ...   {
    ...     'nodes': [{'id': 'Ann'}, {'id': 'Bob'}],
    ...     'links': [{'source': 'Ann', 'target': 'Bob'}],
    ...   }
    ... )
    >>> _graphs.names_of(graph)
    ('Ann', 'Bob')
  """
  if not isinstance(value, Mapping):
    raise ValueError(
      f'{label} must be an object with nodes and edges; got '
      f'{checks.described(value)}.'
    )
  if value.get('directed') or value.get('multigraph'):
    raise ValueError(f'{label} must be undirected without parallel links.')
  nodes = value.get('nodes')
  edges = value.get('edges', value.get('links'))
  if not isinstance(nodes, Sequence) or not isinstance(edges, Sequence):
    raise ValueError(
      f'{label} must have lists of nodes and of edges (or links); it has '
      f'{", ".join(sorted(map(repr, value))[:10]) or "nothing"}.'
    )
  graph = networkx.Graph()
  facts = value.get('graph')
  if isinstance(facts, Mapping):
    graph.graph.update(_plain(facts))
  for row, node in enumerate(nodes):
    known = isinstance(node, Mapping) and isinstance(node.get('id'), (int, str))
    if not known:
      raise ValueError(f'{label}: nodes[{row}] has no id, a number or a name.')
    if node['id'] in graph:
      raise ValueError(f'{label}: nodes[{row}] is there twice.')
    graph.add_node(node['id'])
    if isinstance(node.get('name'), str):
      graph.nodes[node['id']]['name'] = node['name']
  for row, edge in enumerate(edges):
    ends = ()
    if isinstance(edge, Mapping):
      ends = (edge.get('source'), edge.get('target'))
    whole = len(ends) == 2 and all(
      isinstance(end, (int, str)) and end in graph for end in ends
    )
    if not whole:
      raise ValueError(
        f'{label}: edges[{row}] does not lead from a source to a target among '
        'the nodes.'
      )
    graph.add_edge(*ends)
  if all(isinstance(node, int) for node in graph):
    ordered = networkx.Graph(**graph.graph)
    ordered.add_nodes_from(sorted(graph.nodes(data=True)))
    ordered.add_edges_from(graph.edges)
    graph = ordered
  seed = graph.graph.get('seed', 0)
  seed = seed if isinstance(seed, int) else 0
  return _graphs.named(graph, seed=seed, label=label)


def write_graphs(
  path: str | os.PathLike[str], graphs: Sequence[networkx.Graph]
) -> None:
  """Writes graphs as one JSON file.

  Args:
    path: of the file, which is replaced as a whole.
    graphs: see `make_graph`.
  """
  path = pathlib.Path(path)
  lines = [json.dumps(to_node_link(graph)) for graph in graphs]
  text = '{"graphs": [\n' + ',\n'.join(lines) + '\n]}\n'
  fresh = path.with_name(path.name + '.part')
  fresh.write_text(text)
  fresh.replace(path)


def read_graphs(path: str | os.PathLike[str]) -> list[networkx.Graph]:
  """Reads the graphs of a JSON file.

  Args:
    path: what `write_graphs` wrote, one graph in node-link form, or a list of
      such.

  Returns:
    The graphs.

  Raises:
    ValueError: if the file cannot be read, naming the graph that is wrong.
  """
  path = pathlib.Path(path)
  try:
    size = path.stat().st_size
    if size > _MOST_BYTES:
      raise ValueError(f'{path}: {size} bytes are more than {_MOST_BYTES}.')
    value = json.loads(path.read_text())
  except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
    raise ValueError(
      f'{path}: expected graphs as JSON in node-link form: {error}'
    ) from None
  except RecursionError:
    raise ValueError(f'{path}: JSON is nested too deeply.') from None
  if isinstance(value, Mapping) and 'graphs' in value:
    value = value['graphs']
  if isinstance(value, Mapping):
    value = [value]
  if not isinstance(value, list) or not value:
    raise ValueError(f'{path}: expected one graph or a list of graphs.')
  return [
    from_node_link(one, label=f'{path}: graph {i}')
    for i, one in enumerate(value)
  ]
