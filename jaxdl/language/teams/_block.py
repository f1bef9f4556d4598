# SPDX-License-Identifier: Apache-2.0
"""Blocks of agents, patches that change them, and what is wrong with them."""

import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import networkx as nx

from jaxdl.core import checks
from jaxdl.language.teams import _votes

EDIT_KINDS = (
  *('set_prompt', 'set_role', 'add_node', 'remove_node'),
  *('add_edge', 'remove_edge', 'set_aggregation', 'set_format'),
)
# What the answer of a worker must be.
FORMATS = ('any', 'number', 'text')
MOST_NODES = 32
MOST_EDITS = 16
MOST_CHARACTERS = 8000
_NAME = re.compile(r'[\w.-]{1,64}')


class Node(NamedTuple):
  """An agent.

  Attributes:
    id: its name within the block.
    role: what it is, e.g. 'solver'.
    prompt: what it is told to do.
    tools: names of tools, for readers; none is run here.
  """

  id: str
  role: str
  prompt: str
  tools: tuple[str, ...] = ()


class Block(NamedTuple):
  """A team for one layer.

  Attributes:
    block_id: its name within the pool.
    nodes: its agents.
    edges: pairs of ids; the second sees what the first has answered.
    aggregation: a part of `TEXT_AGGREGATIONS`; it joins the answers of agents
      that no edge leaves.
    format: what an answer must be, one of 'any', 'number', 'text'.
  """

  block_id: str
  nodes: tuple[Node, ...]
  edges: tuple[tuple[str, str], ...] = ()
  aggregation: str = 'majority_vote'
  format: str = 'any'


class Edit(NamedTuple):
  """One change of a block.

  Attributes:
    kind: one of `EDIT_KINDS`.
    target: an agent: the one that is changed or made, or where an edge begins;
      '' for the aggregation and the format.
    value: the new text; role and prompt of a new agent as a dict; where an edge
      ends.
    reason: why, for readers.
  """

  kind: str
  target: str = ''
  value: Any = None
  reason: str = ''


class Patch(NamedTuple):
  """Edits of one layer.

  Attributes:
    layer: from 0.
    edits: in order.
  """

  layer: int
  edits: tuple[Edit, ...]


def block_json(block: Block) -> dict[str, Any]:
  """Writes a block as plain values; `read_block` reads them."""
  return {
    'block_id': block.block_id,
    'nodes': [
      {'id': n.id, 'role': n.role, 'prompt': n.prompt}
      | ({'tools': list(n.tools)} if n.tools else {})
      for n in block.nodes
    ],
    'edges': [list(edge) for edge in block.edges],
    'aggregation': block.aggregation,
    'format': block.format,
  }


def read_block(value: Any, *, name: str = 'block') -> Block:
  """Reads a block from plain values, which nobody has checked.

  Args:
    value: as `block_json` writes it.
    name: what the values are called in messages.

  Returns:
    The block; `validate_block` says what is wrong with it.

  Raises:
    ValueError: if something is missing or of another kind.

  Example:
    >>> block = Block('b0', (Node('a', 'solver', 'Solve it.'),))
    >>> read_block(block_json(block)) == block
    True
  """
  found = _fields(
    value, {'block_id': str, 'nodes': list, 'aggregation': str}, name
  )
  only(found, (*Block._fields, 'loss', 'age'), name)
  nodes = []
  for i, node in enumerate(found['nodes']):
    own = _fields(
      node, {'id': str, 'role': str, 'prompt': str}, f'{name} nodes[{i}]'
    )
    only(own, Node._fields, f'{name} nodes[{i}]')
    tools = own.get('tools', [])
    if not isinstance(tools, list) or not all(
      isinstance(t, str) for t in tools
    ):
      raise ValueError(f'{name} nodes[{i}] tools must be a list of text.')
    nodes.append(Node(own['id'], own['role'], own['prompt'], tuple(tools)))
  edges = found.get('edges') or []
  if not isinstance(edges, list) or not all(
    isinstance(e, list | tuple)
    and len(e) == 2
    and all(isinstance(end, str) for end in e)
    for e in edges
  ):
    raise ValueError(f'{name} edges must be a list of pairs of ids.')
  format = found.get('format', 'any')
  if not isinstance(format, str):
    raise ValueError(f'{name} format must be text; got {format!r}.')
  return Block(
    found['block_id'],
    tuple(nodes),
    tuple((a, b) for a, b in edges),
    found['aggregation'],
    format,
  )


def _fields(value, needed, name):
  if not isinstance(value, Mapping):
    raise ValueError(f'{name} must be an object; got {value!r:.100}.')
  for field, kind in needed.items():
    if not isinstance(value.get(field), kind):
      what = 'text' if kind is str else 'a list'
      raise ValueError(
        f'{name} needs {field}, {what}; got {value.get(field)!r:.100}.'
      )
  return value


def only(value, known, name):
  """Tells of fields that nobody reads: a slip of the pen would be lost."""
  for field in value:
    if field not in known:
      raise ValueError(
        f'{name} has the field {field!r:.100}, which is unknown: its fields '
        f'are {", ".join(known)}.'
      )


def _structure(block: Block) -> str:
  """A block without its name and in one order, as text."""
  value = block_json(block)
  del value['block_id']
  value['nodes'] = sorted(value['nodes'], key=lambda n: n['id'])
  value['edges'] = sorted(value['edges'])
  return json.dumps(value, sort_keys=True)


def digest(*parts: Any) -> str:
  """Names blocks and plain values by their contents, in 16 digits."""
  text = json.dumps(
    [_structure(p) if isinstance(p, Block) else p for p in parts],
    sort_keys=True,
  )
  return hashlib.sha256(text.encode()).hexdigest()[:16]


def graph_of(
  nodes: Iterable[str], edges: Iterable[tuple[str, str]]
) -> nx.DiGraph:
  """Makes the directed graph of a block."""
  graph = nx.DiGraph()
  graph.add_nodes_from(nodes)
  graph.add_edges_from(edges)
  return graph


def topological_order(
  nodes: Sequence[str], edges: Sequence[tuple[str, str]]
) -> list[list[str]]:
  """Groups agents so that each sees those of groups before alone.

  Args:
    nodes: ids.
    edges: pairs of ids.

  Returns:
    Groups; those of one work side by side. Within one, the order of `nodes`.

  Raises:
    ValueError: if there is a cycle, which is named, or an unknown end.

  Example:
    >>> topological_order(['a', 'b', 'c'], [('a', 'c'), ('b', 'c')])
    [['a', 'b'], ['c']]
  """
  for edge in edges:
    for end in edge:
      if end not in nodes:
        raise ValueError(f'edge {edge[0]}->{edge[1]} has no node {end!r}.')
  graph = graph_of(nodes, edges)
  cycle = _cycle(graph)
  if cycle:
    raise ValueError(f'edges have a cycle, {cycle}.')
  place = {node: i for i, node in enumerate(nodes)}
  return [
    sorted(group, key=lambda n: place[n])
    for group in nx.topological_generations(graph)
  ]


def _cycle(graph):
  if nx.is_directed_acyclic_graph(graph):
    return ''
  found = nx.find_cycle(graph)
  return '->'.join([found[0][0], *(b for _, b in found)])


def validate_block(block: Block, pool: Sequence[Block] = ()) -> list[str]:
  """Says what is wrong with a block, stage by stage; nothing is run.

  Args:
    block: to be checked.
    pool: blocks that it must differ from.

  Returns:
    Sentences that begin with 'schema', 'connections' or 'structure'; none if
    all is well. Later stages are looked at only if those before are fine.

  Example:
    >>> node = Node('a', 'solver', 'Solve it.')
    >>> validate_block(Block('b0', (node,), (('a', 'b'),)))
    ["connections: edge a->b has no node 'b'."]
  """
  found = []
  if not isinstance(block.block_id, str) or not _NAME.fullmatch(block.block_id):
    found.append(
      f'schema: block_id {block.block_id!r:.22} must be letters, digits and '
      '_.- alone, at most 64.'
    )
  ids = [node.id for node in block.nodes]
  if not ids:
    found.append('schema: the team is empty.')
  if len(ids) > MOST_NODES:
    found.append(f'schema: {len(ids)} nodes are more than {MOST_NODES}.')
  for node in block.nodes:
    for field in ('id', 'role', 'prompt'):
      value = getattr(node, field)
      if not isinstance(value, str) or not value.strip():
        found.append(f'schema: node {node.id!r} has an empty {field}.')
      elif len(value) > MOST_CHARACTERS:
        found.append(
          f'schema: {field} of node {node.id!r:.22} has more than '
          f'{MOST_CHARACTERS} characters.'
        )
    named = isinstance(node.id, str)
    if named and node.id and not _NAME.fullmatch(node.id):
      found.append(
        f'schema: id {node.id[:20]!r} must be letters, digits and _.- alone, '
        'at most 64.'
      )
  for twice in sorted({str(i) for i in ids if ids.count(i) > 1}):
    found.append(f'schema: node {twice!r} stands twice.')
  try:
    _votes.TEXT_AGGREGATIONS.check(block.aggregation)
  except (TypeError, ValueError) as error:
    found.append(f'schema: {error}')
  if block.format not in FORMATS:
    found.append(
      f'schema: format={block.format!r} is unknown: choose one of '
      f'{", ".join(map(repr, FORMATS))}.'
    )
  if found:
    return found
  for edge in block.edges:
    if not isinstance(edge, tuple) or len(edge) != 2:
      found.append(f'connections: {edge!r:.100} is no pair of ids.')
      continue
    for end in edge:
      if end not in ids:
        found.append(
          f'connections: edge {edge[0]}->{edge[1]} has no node {end!r}.'
        )
  if len(set(block.edges)) < len(block.edges):
    found.append('connections: an edge stands twice.')
  if found:
    return found
  cycle = _cycle(graph_of(ids, block.edges))
  if cycle:
    found.append(f'structure: edges have a cycle, {cycle}.')
  own = _structure(block)
  for other in pool:
    if _structure(other) == own:
      found.append(f'structure: it is a duplicate of {other.block_id!r}.')
      break
  return found


def apply_patch(block: Block, patch: Patch, block_id: str) -> Block:
  """Makes the edits of a patch on a copy.

  Args:
    block: before.
    patch: its edits.
    block_id: name of the copy.

  Returns:
    The new block, which may have faults: see `validate_block`.

  Raises:
    ValueError: if an edit is of an unknown kind, or names an agent that is not
      there; the message begins with its place.

  Example:
    >>> block = Block('b0', (Node('a', 'solver', 'Solve it.'),))
    >>> patch = Patch(0, (Edit('set_prompt', 'a', 'Check units.'),))
    >>> apply_patch(block, patch, 'b1').nodes[0].prompt
    'Check units.'
  """
  if len(patch.edits) > MOST_EDITS:
    raise ValueError(f'{len(patch.edits)} edits are more than {MOST_EDITS}.')
  for i, edit in enumerate(patch.edits):
    try:
      block = _edited(block, edit)
    except ValueError as error:
      raise ValueError(f'edits[{i}] {edit.kind}: {error}') from None
  return block._replace(block_id=block_id)


def _edited(block, edit):
  checks.choice(edit.kind, EDIT_KINDS, name='kind')
  kind, target, value = edit.kind, edit.target, edit.value
  ids = [node.id for node in block.nodes]
  if kind in ('set_aggregation', 'set_format'):
    if not isinstance(value, str):
      raise ValueError(f'value must be text; got {value!r:.100}.')
    name = kind.removeprefix('set_')
    return block._replace(**{name: value})
  if kind == 'add_node':
    if target in ids:
      raise ValueError(f'there is a node {target!r} already.')
    own = _fields(value, {'role': str, 'prompt': str}, 'value')
    node = Node(target, own['role'], own['prompt'])
    return block._replace(nodes=(*block.nodes, node))
  if target not in ids:
    raise ValueError(f'there is no node {target!r}.')
  if kind == 'remove_node':
    return block._replace(
      nodes=tuple(n for n in block.nodes if n.id != target),
      edges=tuple(e for e in block.edges if target not in e),
    )
  if not isinstance(value, str):
    raise ValueError(f'value must be text; got {value!r:.100}.')
  if kind == 'add_edge':
    return block._replace(edges=(*block.edges, (target, value)))
  if kind == 'remove_edge':
    if (target, value) not in block.edges:
      raise ValueError(f'there is no edge {target}->{value}.')
    return block._replace(
      edges=tuple(e for e in block.edges if e != (target, value))
    )
  field = kind.removeprefix('set_')
  return block._replace(
    nodes=tuple(
      n._replace(**{field: value}) if n.id == target else n for n in block.nodes
    )
  )
