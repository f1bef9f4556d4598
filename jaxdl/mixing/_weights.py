# SPDX-License-Identifier: Apache-2.0
"""Rules that put weights on a graph; host, float64.

`W[i, j]` is the weight that client i gives to what it receives from j. Every
rule takes a graph in any form that `adjacency` understands and refuses graphs
on which consensus is impossible, unless `allow_disconnected=True`.
"""

import dataclasses

import networkx
import numpy as np

from jaxdl.core import checks, registry
from jaxdl.mixing import graphs, spectra

Graph = np.ndarray | networkx.Graph


@dataclasses.dataclass(frozen=True)
class Facts:
  """What is known about a rule of weights.

  Attributes:
    stochastic: which sums are one: 'row' (at least) or 'column'.
    one_way: whether links may carry messages one way only.
    regular: whether they may where all degrees are the same.
    negative: whether weights may be negative.
  """

  stochastic: str = 'row'
  one_way: bool = False
  regular: bool = False
  negative: bool = False


def check_connected(adjacency: np.ndarray) -> None:
  """Raises ValueError if some clients never hear of others.

  Args:
    adjacency: bool[N, N].
  """
  parts = graphs.num_components(adjacency)
  if parts > 1:
    raise ValueError(
      f'graph is disconnected: {parts} components among {len(adjacency)} '
      'clients never agree; add links or pass allow_disconnected=True to the '
      'function of mixing that makes the weights.'
    )


def _prepare(
  graph: Graph, rule: str, allow_disconnected: bool, undirected: bool = True
) -> np.ndarray:
  adj = graphs.adjacency(graph)
  if undirected and not graphs.is_undirected(adj):
    i, j = np.argwhere(adj & ~adj.T)[0]
    raise ValueError(
      f'{rule} needs an undirected graph, but client {i} receives from {j} '
      f'and not the other way: symmetrize it, or use uniform (row-stochastic) '
      'or send_weights (push-sum).'
    )
  if not allow_disconnected:
    check_connected(adj)
  return adj


def _fill_diagonal(weights: np.ndarray) -> np.ndarray:
  np.fill_diagonal(weights, 0.0)
  np.fill_diagonal(weights, 1.0 - weights.sum(axis=1))
  return weights


def _laplacian(adj: np.ndarray) -> np.ndarray:
  return np.diag(adj.sum(axis=1)) - adj.astype(np.float64)


@registry.known(Facts(regular=True))
def metropolis(graph: Graph, *, allow_disconnected: bool = False) -> np.ndarray:
  """Metropolis-Hastings weights, 1 / (1 + max(d_i, d_j)) on links.

  Needs only the degrees of neighbors; every client keeps some of its own.

  Args:
    graph: undirected, or directed with one in- and out-degree for all (then
      it is the same as `uniform`).
    allow_disconnected: accepts graphs of several components.

  Returns:
    float64[N, N], doubly stochastic.

  Raises:
    ValueError: for other directed graphs and disconnected ones.

  Example:
    >>> metropolis(networkx.path_graph(2)).tolist()
    [[0.5, 0.5], [0.5, 0.5]]

  Source: Xiao & Boyd 2004, Fast linear iterations for distributed averaging.
  """
  adj = graphs.adjacency(graph)
  degrees = adj.sum(axis=1)
  regular = len({*degrees.tolist(), *adj.sum(axis=0).tolist()}) == 1
  adj = _prepare(adj, 'metropolis', allow_disconnected, undirected=not regular)
  return _fill_diagonal(
    adj / (1.0 + np.maximum(degrees[:, None], degrees[None, :]))
  )


@registry.known(Facts(one_way=True))
def uniform(graph: Graph, *, allow_disconnected: bool = False) -> np.ndarray:
  """Everyone averages itself and its neighbors, 1 / (d_i + 1) each.

  Row-stochastic only: on irregular graphs the limit is the mean weighted by
  degree + 1, not the mean.

  Args:
    graph: may be directed (d_i counts the clients that i receives from).
    allow_disconnected: accepts graphs of several components.

  Returns:
    float64[N, N], row-stochastic.

  Raises:
    ValueError: if the graph is disconnected.

  Example:
    >>> uniform(networkx.path_graph(2)).tolist()
    [[0.5, 0.5], [0.5, 0.5]]
  """
  adj = _prepare(graph, 'uniform', allow_disconnected, undirected=False)
  return _fill_diagonal(adj / (1.0 + adj.sum(axis=1, keepdims=True)))


@registry.known(Facts(one_way=True, stochastic='column'))
def send_weights(
  graph: Graph, *, allow_disconnected: bool = False
) -> np.ndarray:
  """Everyone splits what it has evenly over itself and its receivers.

  Column-stochastic: for push-sum, which also mixes a scalar mass, and for
  nothing else.

  Args:
    graph: may be directed.
    allow_disconnected: accepts graphs that are not strongly connected.

  Returns:
    float64[N, N], columns sum to one.

  Raises:
    ValueError: if the graph is disconnected.

  Example:
    >>> graph = networkx.DiGraph([(0, 1), (1, 2), (2, 0), (0, 2)])
    >>> send_weights(graph).round(2).tolist()
    [[0.33, 0.0, 0.5], [0.33, 0.5, 0.0], [0.33, 0.5, 0.5]]
  """
  adj = _prepare(graph, 'send_weights', allow_disconnected, undirected=False)
  return np.ascontiguousarray(
    uniform(adj.T, allow_disconnected=allow_disconnected).T
  )


@registry.known(Facts())
def max_degree(graph: Graph, *, allow_disconnected: bool = False) -> np.ndarray:
  """The same weight 1 / (1 + max degree) on every link.

  Args:
    graph: undirected.
    allow_disconnected: accepts graphs of several components.

  Returns:
    float64[N, N], symmetric, doubly stochastic.

  Raises:
    ValueError: for directed and disconnected graphs.

  Example:
    >>> max_degree(networkx.path_graph(2)).tolist()
    [[0.5, 0.5], [0.5, 0.5]]
  """
  adj = _prepare(graph, 'max_degree', allow_disconnected)
  return _fill_diagonal(adj / (1.0 + adj.sum(axis=1).max()))


@registry.known(Facts(negative=True))
def best_constant(
  graph: Graph, *, allow_disconnected: bool = False
) -> np.ndarray:
  """The one weight for all links that mixes fastest.

  W = I - αL with α = 2 / (λ₂(L) + λ_N(L)); clients of high degree may get a
  negative weight on themselves.

  Args:
    graph: undirected.
    allow_disconnected: accepts graphs of several components; λ₂ is then the
      smallest non-zero eigenvalue.

  Returns:
    float64[N, N], symmetric, rows and columns sum to one.

  Raises:
    ValueError: for directed and disconnected graphs.

  Example:
    >>> best_constant(networkx.path_graph(2)).round(6).tolist()
    [[0.5, 0.5], [0.5, 0.5]]

  Source: Xiao & Boyd 2004, Fast linear iterations for distributed averaging.
  """
  adj = _prepare(graph, 'best_constant', allow_disconnected)
  values = np.linalg.eigvalsh(_laplacian(adj))
  positive = values[values > 1e-9]
  if not len(positive):
    return np.eye(len(adj))
  return np.eye(len(adj)) - 2.0 / (positive[0] + positive[-1]) * _laplacian(adj)


@registry.known(Facts(negative=True))
def fastest(
  graph: Graph,
  *,
  num_steps: int = 1000,
  nonnegative: bool = True,
  allow_disconnected: bool = False,
) -> np.ndarray:
  """Symmetric weights with (nearly) the smallest consensus factor.

  Projected subgradient descent on the weights of the links; the best iterate
  is returned, never worse than `metropolis` and, with signs free,
  `best_constant`.

  Args:
    graph: undirected.
    num_steps: iterations, each one eigendecomposition of [N, N].
    nonnegative: keeps all weights >= 0 (a Markov chain); False also allows
      negative ones, which can be faster.
    allow_disconnected: accepts graphs of several components.

  Returns:
    float64[N, N], symmetric, rows and columns sum to one.

  Raises:
    ValueError: for directed and disconnected graphs.

  Source: Boyd, Diaconis & Xiao 2004, Fastest mixing Markov chain on a graph,
    sections 5 and 6.
  """
  checks.integer(num_steps, name='num_steps', low=0, high=10**6)
  adj = _prepare(graph, 'fastest', allow_disconnected)
  n = len(adj)
  rows, cols = np.nonzero(np.triu(adj))
  if not len(rows):
    return np.eye(n)

  def matrix(links):
    w = np.zeros((n, n))
    w[rows, cols] = links
    return _fill_diagonal(w + w.T)

  def project(links):
    if not nonnegative:
      return links
    links = np.maximum(links, 0.0)
    for node in range(n):
      mine = (rows == node) | (cols == node)
      values = links[mine]
      if values.sum() > 1.0:
        # Euclidean projection on the simplex; it only lowers weights, so
        # nodes already visited stay feasible.
        ordered = np.sort(values)[::-1]
        excess = (np.cumsum(ordered) - 1.0) / np.arange(1, len(values) + 1)
        cut = excess[np.nonzero(ordered > excess)[0][-1]]
        links[mine] = np.maximum(values - cut, 0.0)
    return links

  starts = [
    metropolis(adj, allow_disconnected=True),
    best_constant(adj, allow_disconnected=True),
    max_degree(adj, allow_disconnected=True),
  ]
  starts = [project(w[rows, cols]) for w in starts]
  factors = [spectra.consensus_factor(matrix(s)) for s in starts]
  best = int(np.argmin(factors))
  links, best_factor = starts[best], factors[best]
  best_links = links
  from scipy import linalg  # Slow to import.

  for k in range(num_steps):
    values, vectors = linalg.eigh(matrix(links) - 1.0 / n)
    low, high = -values[0], values[-1]
    factor = max(low, high)
    if factor < best_factor:
      best_factor, best_links = factor, links
    v = vectors[:, -1] if high >= low else vectors[:, 0]
    slope = (v[rows] - v[cols]) ** 2 * (-1.0 if high >= low else 1.0)
    size = np.linalg.norm(slope)
    if size < 1e-12:
      break
    scale = 0.3 / np.sqrt(k + 1.0) / max(adj.sum(axis=1).max(), 1)
    links = project(links - scale * slope / size)
  return matrix(best_links)


def lazy(matrix: np.ndarray, move: float = 0.5) -> np.ndarray:
  """Moves only part of the way: (1 - move) I + move W.

  With `move=0.5` no eigenvalue is negative.

  Args:
    matrix: [N, N] or [T, N, N].
    move: share of the step, in (0, 1].

  Returns:
    float64, same shape; keeps row, column and double stochasticity.

  Raises:
    ValueError: if `move` is out of range or the matrix not square and finite.

  Example:
    >>> lazy(np.array([[0.0, 1.0], [1.0, 0.0]])).tolist()
    [[0.5, 0.5], [0.5, 0.5]]
  """
  checks.number(move, name='move', low=0.0, high=1.0, open_low=True)
  if isinstance(matrix, networkx.Graph):
    raise ValueError(
      'lazy takes a mixing matrix, not a graph: use lazy_metropolis(graph).'
    )
  shape = np.shape(matrix)
  matrix = spectra.finite_stack(matrix).reshape(shape)
  return (1.0 - move) * np.eye(matrix.shape[-1]) + move * matrix


@registry.known(Facts(regular=True))
def lazy_metropolis(
  graph: Graph, *, allow_disconnected: bool = False
) -> np.ndarray:
  """Metropolis weights, half way: positive definite up to a zero eigenvalue.

  Args:
    graph: as for `metropolis`.
    allow_disconnected: accepts graphs of several components.

  Returns:
    float64[N, N], doubly stochastic.

  Example:
    >>> lazy_metropolis(networkx.path_graph(2)).tolist()
    [[0.75, 0.25], [0.25, 0.75]]
  """
  return lazy(metropolis(graph, allow_disconnected=allow_disconnected))


WEIGHT_RULES = registry.Registry(
  'weights',
  {
    'metropolis': metropolis,
    'lazy_metropolis': lazy_metropolis,
    'uniform': uniform,
    'max_degree': max_degree,
    'best_constant': best_constant,
    'fastest': fastest,
    'send': send_weights,
  },
  given=('graph',),
)
