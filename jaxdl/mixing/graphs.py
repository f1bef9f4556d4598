# SPDX-License-Identifier: Apache-2.0
"""Static communication graphs, made on the host.

Every function returns a NumPy `bool[N, N]` with an empty diagonal, where
`graph[i, j]` says that client i receives from client j. Undirected graphs are
symmetric.
"""

import numbers
import os
import pathlib
from collections.abc import Callable
from typing import Any

import networkx
import numpy as np

from jaxdl.core import checks

_MAX_DRAWS = 200


def adjacency(graph: Any) -> np.ndarray:
  """Turns a graph into the form that the rest of this package uses.

  A graph says who talks to whom and nothing else: what cannot be kept (weights
  of links, parallel links) is refused, not dropped. Everybody always has its
  own model, so links from a client to itself say nothing and may be there.

  Args:
    graph: networkx graph (an edge j -> i of a directed one lets i receive from
      j), a `jaxdl.graphs.Graph` (receivers receive from senders; padding is
      left out), or an array [N, N] of zeros and ones (or bool), where entry
      [i, j] lets i receive from j. Nodes 0..N-1 are the clients of these
      numbers; nodes that are not integers are numbered in the order of
      `graph.nodes`.

  Returns:
    bool[N, N] with an empty diagonal.

  Raises:
    ValueError: if an array is not square or holds anything but zeros and ones,
      there is no client, links have weights other than one or are parallel,
      or integer nodes are not 0..N-1.
    TypeError: if it is neither a graph nor real numbers.

  Example:
    >>> adjacency(networkx.path_graph(2)).tolist()
    [[False, True], [True, False]]
  """
  if isinstance(graph, networkx.Graph):
    dense = networkx.to_numpy_array(graph, _client_nodes(graph), weight=None)
    _refuse_weights(graph)
    dense = dense.T if graph.is_directed() else dense
  elif is_padded(graph):
    dense = _unpadded(graph)
  else:
    if isinstance(graph, str):
      raise TypeError(
        f'graph must be a networkx graph or an array [N, N]; got the text '
        f'{graph!r}: see networkx.cycle_graph and its like, or '
        f'mixing.make_graph({graph!r}, num_clients).'
      )
    dense = checks.host_array(graph, name='graph')
  if dense.ndim != 2 or dense.shape[0] != dense.shape[1] or dense.size == 0:
    raise ValueError(
      f'graph must be a square array [N, N]; got shape {dense.shape}.'
    )
  bad = np.argwhere(~((dense == 0) | (dense == 1)))
  if len(bad):
    i, j = bad[0]
    raise ValueError(
      f'graph holds {dense[i, j]} at row {i}, column {j}: need zeros and ones. '
      'To mix by these numbers use from_matrix; for the links alone pass '
      'graph != 0.'
    )
  dense = dense != 0
  np.fill_diagonal(dense, False)
  return dense


def is_padded(graph: Any) -> bool:
  """Whether a value is a `jaxdl.graphs.Graph`, which this file never imports.

  Args:
    graph: anything.

  Returns:
    True if it has the fields of one.
  """
  fields = ('senders', 'receivers', 'node_mask', 'edge_mask', 'weights')
  return all(hasattr(graph, field) for field in fields)


def _unpadded(graph) -> np.ndarray:
  """The links of a padded graph as bool[N, N]."""
  nodes = checks.host_array(graph.node_mask, name='graph').astype(bool)
  if nodes.ndim != 1:
    raise ValueError(
      f'graph must be one graph; it is a stack of {nodes.shape[0]}: take one '
      'with jax.tree.map(lambda x: x[i], graph).'
    )
  there = np.asarray(graph.edge_mask, bool)
  if graph.weights is not None:
    wrong = np.flatnonzero(there & (np.asarray(graph.weights) != 1))
    if len(wrong):
      raise ValueError(
        f'graph has weight {float(graph.weights[wrong[0]])} on the link '
        f'{int(graph.senders[wrong[0]])}-{int(graph.receivers[wrong[0]])}, '
        'which a graph of clients cannot keep. For the links alone pass '
        'graph.replace(weights=None); to mix by weights of your own use '
        'from_matrix(graphs.to_scipy(graph).toarray()).'
      )
  num = int(nodes.sum())
  dense = np.zeros((num, num), bool)
  ends = np.asarray(graph.receivers)[there], np.asarray(graph.senders)[there]
  dense[ends] = True
  return dense


def _client_nodes(graph: networkx.Graph) -> list:
  """The nodes of a networkx graph in the order of the clients."""
  nodes = list(graph.nodes)
  if not nodes:
    raise ValueError('graph has no nodes: need at least one client.')
  if not all(isinstance(node, numbers.Integral) for node in nodes):
    return nodes
  if sorted(nodes) != list(range(len(nodes))):
    raise ValueError(
      f'graph has {len(nodes)} integer nodes that are not 0..{len(nodes) - 1} '
      f'but {min(nodes)}..{max(nodes)}: number the clients with '
      "networkx.convert_node_labels_to_integers(graph, ordering='sorted')."
    )
  return sorted(nodes)


def _refuse_weights(graph: networkx.Graph) -> None:
  """Raises if the links of a networkx graph are not plain ones."""
  seen = set()
  for a, b, weight in graph.edges(data='weight', default=1):
    if weight != 1:
      raise ValueError(
        f'graph has weight {weight} on the link {a}-{b}, which a graph of '
        'clients cannot keep. For the links alone pass '
        'networkx.to_numpy_array(graph, weight=None) (of a directed graph its '
        'transpose); to mix by weights of your own use from_matrix.'
      )
    if graph.is_multigraph():
      pair = (a, b) if graph.is_directed() else frozenset((a, b))
      if pair in seen:
        raise ValueError(
          f'graph has parallel links {a}-{b}: pass networkx.Graph(graph) or '
          'networkx.DiGraph(graph), which keep one of them.'
        )
      seen.add(pair)


def read_graph(path: str | os.PathLike[str], num_clients: int) -> np.ndarray:
  """Reads an undirected graph from a list of links.

  Args:
    path: text, two client numbers from 0 to N - 1 per line; `#` starts a
      comment.
    num_clients: N >= 1.

  Returns:
    bool[N, N].

  Raises:
    ValueError: if the file cannot be read, or naming the line that is wrong.
  """
  adj = empty(num_clients)
  try:
    text = pathlib.Path(path).read_text()
  except (OSError, UnicodeDecodeError) as error:
    raise ValueError(
      f'{path}: expected a list of links, two client numbers per line: {error}'
    ) from None
  for number, line in enumerate(text.split('\n'), 1):
    words = line.partition('#')[0].split()
    if not words:
      continue
    good = len(words) == 2 and all(w.isdigit() for w in words)
    ends = [int(w) for w in words] if good else []
    if not good or max(ends) >= num_clients:
      raise ValueError(
        f'{path}:{number}: {line.strip()!r} is no link: write two numbers '
        f'from 0 to {num_clients - 1}.'
      )
    adj[ends[0], ends[1]] = adj[ends[1], ends[0]] = ends[0] != ends[1]
  return adj


def is_undirected(graph: np.ndarray) -> bool:
  """Whether every link carries messages both ways.

  Args:
    graph: bool[N, N].

  Returns:
    True if the array is symmetric.

  Example:
    >>> is_undirected(ring(4)), is_undirected(directed_ring(4))
    (True, False)
  """
  return bool(np.array_equal(graph, graph.T))


def num_components(graph: np.ndarray) -> int:
  """Number of strongly connected components (1 means consensus is possible).

  Args:
    graph: bool[N, N].

  Returns:
    The count; for undirected graphs that of ordinary components.

  Example:
    >>> num_components(ring(4)), num_components(empty(4))
    (1, 4)
  """
  digraph = networkx.from_numpy_array(graph, create_using=networkx.DiGraph)
  return networkx.number_strongly_connected_components(digraph)


def empty(num_clients: int) -> np.ndarray:
  """Nobody talks: the no-communication baseline.

  Args:
    num_clients: N >= 1.

  Returns:
    bool[N, N], all false.

  Example:
    >>> empty(3).any().item()
    False
  """
  n = checks.integer(num_clients, name='num_clients', low=1)
  return np.zeros((n, n), bool)


def complete(num_clients: int) -> np.ndarray:
  """Everybody talks to everybody.

  Args:
    num_clients: N >= 1.

  Returns:
    bool[N, N].

  Example:
    >>> complete(3).sum(axis=1).tolist()
    [2, 2, 2]
  """
  return ~np.eye(len(empty(num_clients)), dtype=bool)


def ring(num_clients: int) -> np.ndarray:
  """A cycle; two clients share one link.

  Args:
    num_clients: N >= 1.

  Returns:
    bool[N, N].

  Example:
    >>> ring(4).sum(axis=1).tolist()
    [2, 2, 2, 2]
  """
  n = checks.integer(num_clients, name='num_clients', low=1)
  return adjacency(networkx.cycle_graph(n))


def path(num_clients: int) -> np.ndarray:
  """A line of clients.

  Args:
    num_clients: N >= 1.

  Returns:
    bool[N, N].

  Example:
    >>> path(4).sum(axis=1).tolist()
    [1, 2, 2, 1]
  """
  n = checks.integer(num_clients, name='num_clients', low=1)
  return adjacency(networkx.path_graph(n))


def star(num_clients: int) -> np.ndarray:
  """Client 0 is linked to all others.

  Args:
    num_clients: N >= 1.

  Returns:
    bool[N, N].

  Example:
    >>> star(4).sum(axis=1).tolist()
    [3, 1, 1, 1]
  """
  n = checks.integer(num_clients, name='num_clients', low=1)
  return adjacency(networkx.star_graph(n - 1))


def _sides(num_clients: int, rows: int | None) -> tuple[int, int]:
  n = checks.integer(num_clients, name='num_clients', low=1)
  if rows is None:
    rows = max(r for r in range(1, int(n**0.5) + 1) if n % r == 0)
  rows = checks.integer(rows, name='rows', low=1)
  if n % rows:
    raise ValueError(
      f'rows={rows} does not divide num_clients={n}: '
      'choose a divisor, or None for the squarest one.'
    )
  return rows, n // rows


def grid(num_clients: int, *, rows: int | None = None) -> np.ndarray:
  """A rectangular grid with free borders.

  Args:
    num_clients: N >= 1, the product of the sides.
    rows: number of rows; None takes the squarest grid. A prime N gives a path.

  Returns:
    bool[N, N], clients numbered row by row.

  Raises:
    ValueError: if `rows` does not divide N.

  Example:
    >>> grid(6).sum(axis=1).tolist()
    [2, 3, 2, 2, 3, 2]
  """
  return adjacency(networkx.grid_2d_graph(*_sides(num_clients, rows)))


def torus(num_clients: int, *, rows: int | None = None) -> np.ndarray:
  """A rectangular grid whose opposite borders are linked.

  Args:
    num_clients: N >= 1, the product of the sides. Sides below three have no
      double links.
    rows: number of rows; None takes the squarest torus. A prime N gives a
      ring.

  Returns:
    bool[N, N], clients numbered row by row.

  Raises:
    ValueError: if `rows` does not divide N.

  Example:
    >>> torus(9).sum(axis=1).tolist()
    [4, 4, 4, 4, 4, 4, 4, 4, 4]
  """
  sides = _sides(num_clients, rows)
  return adjacency(networkx.grid_2d_graph(*sides, periodic=True))


def hypercube(num_clients: int) -> np.ndarray:
  """Clients whose numbers differ in one binary digit are linked.

  Args:
    num_clients: N, a power of two.

  Returns:
    bool[N, N].

  Raises:
    ValueError: if N is not a power of two.

  Example:
    >>> np.flatnonzero(hypercube(8)[0]).tolist()
    [1, 2, 4]
  """
  n = checks.integer(num_clients, name='num_clients', low=1)
  if n & (n - 1):
    raise ValueError(
      f'hypercube needs a power of two; got num_clients={n}: use '
      f'{1 << (n.bit_length() - 1)} or {1 << n.bit_length()} clients, or a '
      'base graph, which exists for every number.'
    )
  ids = np.arange(n)
  graph = np.zeros((n, n), bool)
  for digit in range(n.bit_length() - 1):
    graph[ids, ids ^ (1 << digit)] = True
  return graph


def _connected(draw: Callable[[], networkx.Graph], remedy: str) -> np.ndarray:
  """Repeats a random draw until the graph is connected."""
  for _ in range(_MAX_DRAWS):
    # In the order in which the nodes were drawn: their numbers mean nothing.
    graph = adjacency(networkx.to_numpy_array(draw(), weight=None))
    if num_components(graph) == 1:
      return graph
  raise ValueError(
    f'no connected graph in {_MAX_DRAWS} random draws: {remedy}.'
  )


def random_regular(
  num_clients: int, degree: int, rng: np.random.Generator
) -> np.ndarray:
  """A connected random graph in which every client has the same degree.

  Args:
    num_clients: N.
    degree: links per client, at most N - 1; N · degree must be even.
    rng: consumed; draws that are not connected are thrown away.

  Returns:
    bool[N, N].

  Raises:
    ValueError: if no such graph exists.

  Example:
    >>> graph = random_regular(6, 3, np.random.default_rng(0))
    >>> graph.sum(axis=1).tolist()
    [3, 3, 3, 3, 3, 3]
  """
  n = checks.integer(num_clients, name='num_clients', low=1)
  degree = checks.integer(degree, name='degree', low=0)
  if degree >= n:
    raise ValueError(
      f'degree={degree} needs more clients: degree <= num_clients - 1 = '
      f'{n - 1}.'
    )
  if n * degree % 2:
    raise ValueError(
      f'no graph of degree={degree} on num_clients={n} exists: their product '
      f'must be even, change either by one.'
    )
  if degree < min(n - 1, 2):
    raise ValueError(
      f'degree={degree} cannot connect num_clients={n}: need degree >= 2.'
    )
  return _connected(
    lambda: networkx.random_regular_graph(degree, n, seed=rng),
    f'raise degree={degree}',
  )


def erdos_renyi(
  num_clients: int, probability: float, rng: np.random.Generator
) -> np.ndarray:
  """A connected graph in which links exist independently.

  Args:
    num_clients: N.
    probability: chance of each link, in (0, 1].
    rng: consumed; draws that are not connected are thrown away.

  Returns:
    bool[N, N].

  Raises:
    ValueError: if 200 draws in a row are not connected.

  Example:
    >>> erdos_renyi(3, 1.0, np.random.default_rng(0)).sum().item()
    6
  """
  n = checks.integer(num_clients, name='num_clients', low=1)
  checks.number(
    probability, name='probability', low=0.0, high=1.0, open_low=True
  )
  return _connected(
    lambda: networkx.gnp_random_graph(n, probability, seed=rng),
    f'raise probability={probability} above log(N) / N = {np.log(n) / n:.3f}',
  )


def small_world(
  num_clients: int,
  degree: int,
  probability: float,
  rng: np.random.Generator,
) -> np.ndarray:
  """A ring of near neighbors with some links rewired at random.

  Args:
    num_clients: N.
    degree: links per client before rewiring, even and below N.
    probability: chance that a link is rewired, in [0, 1].
    rng: consumed; draws that are not connected are thrown away.

  Returns:
    bool[N, N].

  Raises:
    ValueError: if the degree does not fit.

  Example:
    >>> graph = small_world(6, 2, 0.0, np.random.default_rng(0))
    >>> np.flatnonzero(graph[0]).tolist()
    [1, 5]
  """
  n = checks.integer(num_clients, name='num_clients', low=1)
  degree = checks.integer(degree, name='degree', low=2)
  checks.number(probability, name='probability', low=0.0, high=1.0)
  if degree % 2 or degree >= n:
    raise ValueError(
      f'small_world needs an even degree below num_clients={n}; '
      f'got degree={degree}.'
    )
  return _connected(
    lambda: networkx.watts_strogatz_graph(n, degree, probability, seed=rng),
    f'raise degree={degree}',
  )


def barabasi_albert(
  num_clients: int, num_links: int, rng: np.random.Generator
) -> np.ndarray:
  """A graph that grows: newcomers link to clients with many links.

  Args:
    num_clients: N.
    num_links: links that a newcomer makes, below N.
    rng: consumed.

  Returns:
    bool[N, N], connected; the mean degree is a little below 2 num_links.

  Raises:
    ValueError: if there are too many links.

  Example:
    >>> graph = barabasi_albert(6, 2, np.random.default_rng(0))
    >>> graph.sum().item() == 2 * 2 * (6 - 2)
    True
  """
  n = checks.integer(num_clients, name='num_clients', low=1)
  links = checks.integer(num_links, name='num_links', low=1)
  if n == 1:
    return empty(1)
  if links >= n:
    raise ValueError(
      f'num_links={links} needs more clients: num_links <= num_clients - 1 = '
      f'{n - 1}.'
    )
  return adjacency(networkx.barabasi_albert_graph(n, links, seed=rng))


def exponential_shifts(num_clients: int) -> tuple[int, ...]:
  """The powers of two below N, the hops of exponential graphs.

  Args:
    num_clients: N >= 1.

  Returns:
    ⌈log₂ N⌉ increasing ints.

  Example:
    >>> exponential_shifts(6)
    (1, 2, 4)
  """
  n = checks.integer(num_clients, name='num_clients', low=1)
  return tuple(1 << k for k in range((n - 1).bit_length()))


def circulant(num_clients: int, shifts: tuple[int, ...]) -> np.ndarray:
  """Client i receives from i + s (mod N) for every shift s.

  Args:
    num_clients: N >= 1.
    shifts: hops; multiples of N are dropped, repetitions count once.

  Returns:
    bool[N, N], in general directed.

  Example:
    >>> np.flatnonzero(circulant(6, (1, 2))[0]).tolist()
    [1, 2]
  """
  graph = empty(num_clients)
  ids = np.arange(len(graph))
  for shift in shifts:
    graph[ids, (ids + shift) % len(graph)] = True
  np.fill_diagonal(graph, False)
  return graph


def directed_ring(num_clients: int) -> np.ndarray:
  """Client i receives from i + 1 only.

  Args:
    num_clients: N >= 1.

  Returns:
    bool[N, N].

  Example:
    >>> np.flatnonzero(directed_ring(4)[0]).tolist()
    [1]
  """
  return circulant(num_clients, (1,))


def exponential(num_clients: int) -> np.ndarray:
  """The static exponential graph: i receives from i + 1, i + 2, i + 4, ...

  Args:
    num_clients: N >= 1.

  Returns:
    bool[N, N], directed, in- and out-degree ⌈log₂ N⌉.

  Example:
    >>> exponential(8)[0].sum().item()
    3

  Source: Ying et al. 2021 (https://arxiv.org/abs/2110.13363).
  """
  return circulant(num_clients, exponential_shifts(num_clients))


def random_digraph(
  num_clients: int, degree: int, rng: np.random.Generator
) -> np.ndarray:
  """Everyone sends to `degree` random others; in-degrees differ.

  One of the receivers is the successor on a random cycle through all clients,
  so that the graph is strongly connected for every size.

  Args:
    num_clients: N.
    degree: out-degree, 1..N-1 (0 for a single client).
    rng: consumed.

  Returns:
    bool[N, N], directed and strongly connected.

  Raises:
    ValueError: if the degree does not fit.
  """
  n = checks.integer(num_clients, name='num_clients', low=1)
  degree = checks.integer(degree, name='degree', low=min(n - 1, 1))
  if degree >= n:
    raise ValueError(
      f'degree={degree} needs more clients: degree <= num_clients - 1 = '
      f'{n - 1}.'
    )
  cycle = rng.permutation(n)
  successor = np.zeros(n, int)
  successor[cycle] = np.roll(cycle, -1)
  graph = np.zeros((n, n), bool)
  for sender in range(n if degree else 0):
    others = np.setdiff1d(np.arange(n), [sender, successor[sender]])
    graph[successor[sender], sender] = True
    graph[rng.choice(others, degree - 1, replace=False), sender] = True
  return graph
