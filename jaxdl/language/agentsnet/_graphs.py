# SPDX-License-Identifier: Apache-2.0
"""Networks of agents: families of graphs, and files of them.

A graph is an undirected, connected `networkx.Graph` of nodes 0..n-1, each with
the attribute `name`; `graph.graph` holds `family` and `seed`.
"""

import random
from collections.abc import Sequence
from typing import Any

import networkx
import numpy as np

from jaxdl import mixing
from jaxdl.core import checks, registry
from jaxdl.language.agentsnet import _names

# Of which the first three are those of the benchmark.
_STREAM = 42
_LARGEST_SEED = 10_000
SIZES = (4, 8, 16)
OFFICIAL_FAMILIES = ('ws', 'ba', 'dt')
_MOST_NODES = 100_000


def graph_seeds(num_samples: int = 3) -> tuple[int, ...]:
  """The seeds of the benchmark's graphs, the same for families and sizes.

  Args:
    num_samples: how many, >= 1.

  Returns:
    Integers from 1 to 10000.

  Example:
    >>> graph_seeds(3)
    (1825, 410, 4507)

  Source: the official code of AgentsNet, `random.seed(42)`.
  """
  checks.integer(num_samples, name='num_samples', low=1)
  rng = random.Random(_STREAM)
  return tuple(rng.randint(1, _LARGEST_SEED) for _ in range(num_samples))


def ws(num_nodes: int, seed: int, *, degree: int = 4, probability: float = 0.4):
  """Connected small worlds: rings of near neighbors, links rewired."""
  checks.integer(degree, name='degree', low=2)
  checks.number(probability, name='probability', low=0, high=1)
  if num_nodes < degree:
    raise ValueError(
      f'num_nodes={num_nodes} is too small for ws of degree={degree}: need '
      f'{degree} nodes, or a lower degree.'
    )
  return networkx.connected_watts_strogatz_graph(
    num_nodes, degree, probability, tries=1000, seed=seed
  )


def ba(num_nodes: int, seed: int, *, links: int = 2):
  """Newcomers link to nodes that have many links."""
  checks.integer(links, name='links', low=1)
  if num_nodes <= links:
    raise ValueError(
      f'num_nodes={num_nodes} is too small for ba of links={links}: need '
      f'{links + 1} nodes.'
    )
  return networkx.barabasi_albert_graph(num_nodes, links, seed=seed)


def dt(num_nodes: int, seed: int):
  """Triangulations of random points in the unit square."""
  from scipy import spatial

  if num_nodes < 3:
    raise ValueError(
      f'num_nodes={num_nodes} is too small for dt: need 3 nodes, a triangle.'
    )
  # The stream of the benchmark, which newer generators do not have.
  points = np.random.RandomState(seed).rand(num_nodes, 2)  # noqa: NPY002
  graph = networkx.Graph()
  graph.add_nodes_from(range(num_nodes))
  for a, b, c in spatial.Delaunay(points).simplices.tolist():
    graph.add_edges_from([(a, b), (b, c), (c, a)])
  return graph


FAMILIES = registry.Registry(
  'family', {'ws': ws, 'ba': ba, 'dt': dt}, given=('num_nodes', 'seed')
)


def check_family(spec: str, *, name: str = 'family') -> None:
  """Raises ValueError unless a text is a family or a topology of `mixing`.

  Args:
    spec: a part of `FAMILIES` or `mixing.TOPOLOGIES`.
    name: of the argument, for messages.
  """
  _registry_of(spec, name).check(spec, name=name)


def _registry_of(spec, name):
  part = registry.parse(spec, name=name)
  known = (*FAMILIES, *mixing.TOPOLOGIES)
  checks.choice(part.name, known, name=name, spec=spec)
  return FAMILIES if part.name in FAMILIES else mixing.TOPOLOGIES


def _of_topology(spec: str, num_nodes: int, seed: int) -> networkx.Graph:
  """Links of a topology, both ways; of a schedule those of all its rounds."""
  part = mixing.TOPOLOGIES.part(spec, name='family')
  if registry.facts(mixing.TOPOLOGIES[part.name]).kind == 'graph':
    links = mixing.make_graph(spec, num_nodes, seed=seed)
  else:
    mixer = mixing.make_mixer(spec, num_nodes, seed=seed)
    if mixer.period is None:
      raise ValueError(
        f'family={spec!r} draws links anew every round: choose a topology that '
        'is fixed or repeats.'
      )
    links = np.zeros((num_nodes, num_nodes), bool)
    for t in range(mixer.period):
      links |= np.asarray(mixer.matrix(t)) != 0
  return networkx.from_numpy_array(
    np.triu(links | links.T, 1).astype(int), edge_attr=None
  )


def make_graph(
  family: str,
  num_nodes: int,
  seed: int,
  *,
  rng: random.Random | None = None,
) -> networkx.Graph:
  """Makes a network of agents.

  Args:
    family: a part of `FAMILIES` ('ws', 'ba', 'dt') or a topology of
      `mixing.TOPOLOGIES`, such as 'ring' or 'random_regular(degree=3)'; links
      that lead one way are taken both ways.
    num_nodes: n >= 2.
    seed: of the graph, >= 0.
    rng: names are drawn from; one of the seed if None.

  Returns:
    A connected graph of nodes 0..n-1 with the attribute `name`.

  Raises:
    ValueError: if the family is unknown or has no such graph, or the graph is
      not connected.

  Example:
    >>> graph = make_graph('ws', 16, 1825)
    >>> graph.number_of_edges(), networkx.diameter(graph)
    (32, 4)

  Source: Grötschla et al. 2025 (https://arxiv.org/abs/2507.08616), section 4,
    and the official code.
  """
  n = checks.integer(num_nodes, name='num_nodes', low=2, high=_MOST_NODES)
  seed = checks.integer(seed, name='seed', low=0, high=2**32 - 1)
  found = _registry_of(family, 'family')
  if found is FAMILIES:
    graph = FAMILIES.make(family, num_nodes=n, seed=seed)
  else:
    graph = _of_topology(family, n, seed)
  names = _names.draw_names(n, random.Random(seed) if rng is None else rng)
  for node, name in zip(range(n), names, strict=True):
    graph.nodes[node]['name'] = name
  graph.graph.update(family=family, seed=seed)
  return check_graph(graph, label=f'family={family!r} of {n} nodes')


def benchmark_graphs(
  sizes: Sequence[int] = SIZES,
  families: Sequence[str] = OFFICIAL_FAMILIES,
  num_samples: int = 3,
) -> list[networkx.Graph]:
  """The graphs of the benchmark: sizes x families x samples, in this order.

  Names are drawn from the stream that the seeds come from, after them.

  Args:
    sizes: n.
    families: see `make_graph`.
    num_samples: graphs for each of both; 3 are official.

  Returns:
    Graphs, see `make_graph`.

  Example:
    >>> len(benchmark_graphs())
    27
  """
  seeds = graph_seeds(num_samples)
  rng = random.Random(_STREAM)
  for _ in seeds:
    rng.randint(1, _LARGEST_SEED)
  return [
    make_graph(family, n, seed, rng=rng)
    for n in sizes
    for family in families
    for seed in seeds
  ]


def names_of(graph: networkx.Graph) -> tuple[str, ...]:
  """Names of the nodes 0..n-1.

  Args:
    graph: see `make_graph`.

  Returns:
    The names.
  """
  return tuple(graph.nodes[i]['name'] for i in range(len(graph)))


def neighbors_of(graph: networkx.Graph, node: int) -> tuple[int, ...]:
  """Neighbors of a node, ascending: slot k of its algorithms is the k-th.

  Args:
    graph: see `make_graph`.
    node: 0..n-1.

  Returns:
    The neighbors.
  """
  return tuple(sorted(graph.adj[node]))


def max_degree(graph: networkx.Graph) -> int:
  """The largest number of neighbors."""
  return max(degree for _, degree in graph.degree())


def check_graph(
  graph: networkx.Graph, *, label: str = 'graph'
) -> networkx.Graph:
  """Raises unless a graph is a network that agents can stand on.

  Args:
    graph: anything.
    label: of the argument, for messages.

  Returns:
    The graph.

  Raises:
    TypeError: if it is no networkx graph.
    ValueError: if it is directed, has parallel links, loops, other nodes than
      0..n-1, less than two of them, is not connected, or has wrong names.
  """
  if not isinstance(graph, networkx.Graph):
    raise TypeError(
      f'{label} must be a networkx graph; got {checks.described(graph)}.'
    )
  if graph.is_directed() or graph.is_multigraph():
    raise ValueError(
      f'{label} must be undirected without parallel links: pass '
      'networkx.Graph(graph).'
    )
  n = len(graph)
  if n < 2:
    raise ValueError(f'{label} must have two nodes or more; got {n}.')
  if set(graph.nodes) != set(range(n)):
    raise ValueError(
      f'{label} must have the nodes 0..{n - 1}: see agentsnet.named.'
    )
  loops = list(networkx.selfloop_edges(graph))
  if loops:
    raise ValueError(f'{label} links node {loops[0][0]} to itself.')
  if not networkx.is_connected(graph):
    apart = networkx.number_connected_components(graph)
    raise ValueError(
      f'{label} must be connected; it has {apart} parts that no message links.'
    )
  missing = [i for i in range(n) if 'name' not in graph.nodes[i]]
  if missing:
    raise ValueError(
      f'{label} has no name of node {missing[0]}: see agentsnet.named.'
    )
  _names.check_names(names_of(graph), label=f'names of {label}')
  return graph


def named(
  graph: Any,
  names: Sequence[str] | None = None,
  *,
  seed: int = 0,
  label: str = 'graph',
) -> networkx.Graph:
  """Turns a graph of one's own into a network of agents.

  Args:
    graph: a networkx graph, or bool[n, n]; nodes are numbered in their order.
    names: of the nodes in that order; None for their `name` where all have
      one, themselves where they are text, and drawn ones otherwise.
    seed: of names that are drawn.
    label: of the argument, for messages.

  Returns:
    A graph as `make_graph` makes.

  Raises:
    ValueError: if it is no network, see `check_graph`, or names are not one
      for each node.

  Example:
    >>> graph = named(networkx.path_graph(['Ann', 'Bob', 'Cem']))
    >>> names_of(graph), sorted(graph.edges)
    (('Ann', 'Bob', 'Cem'), [(0, 1), (1, 2)])
  """
  if not isinstance(graph, networkx.Graph):
    links = mixing.graphs.adjacency(graph)
    graph = networkx.from_numpy_array(
      np.triu(links | links.T, 1).astype(int), edge_attr=None
    )
  order = list(graph.nodes)
  if names is None:
    known = [graph.nodes[node].get('name') for node in order]
    if order and all(isinstance(name, str) for name in known):
      names = known
    elif order and all(isinstance(node, str) for node in order):
      names = order
    elif order:
      names = _names.draw_names(len(order), random.Random(seed))
    else:
      names = ()
  if len(names) != len(order):
    raise ValueError(
      f'names must be one for each of {len(order)} nodes; got {len(names)}.'
    )
  place = {node: i for i, node in enumerate(order)}
  if graph.is_directed() or graph.is_multigraph():
    return check_graph(graph, label=label)  # Which says what is wrong.
  out = networkx.Graph(**graph.graph)
  out.add_nodes_from((i, {'name': name}) for i, name in enumerate(names))
  out.add_edges_from((place[a], place[b]) for a, b in graph.edges)
  return check_graph(out, label=label)
