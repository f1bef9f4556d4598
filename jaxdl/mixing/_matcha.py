# SPDX-License-Identifier: Apache-2.0
"""Decomposition of a graph into matchings with optimized activation."""

import contextlib
from typing import NamedTuple

import jax
import jax.numpy as jnp
import networkx
import numpy as np

from jaxdl.core import checks
from jaxdl.mixing import _mixers, _weights, graphs

_PATIENCE = 60  # Steps without a better iterate before the search ends.


class Matcha(NamedTuple):
  """A graph prepared for random activation; host arrays.

  Attributes:
    partners: i32[M, N], the partner of each client in each matching, itself
      where it has none.
    probabilities: float64[M], chance of each matching per round.
    step_size: α, the weight on active links.
    factor: guaranteed shrinkage of the expected squared distance to the mean.
  """

  partners: np.ndarray
  probabilities: np.ndarray
  step_size: float
  factor: float


def matchings(graph: _weights.Graph) -> np.ndarray:
  """Splits the links into few matchings (a greedy edge coloring).

  Args:
    graph: undirected.

  Returns:
    i32[M, N] partners; M is at least the largest degree and usually that or
    one more. Every link is in exactly one matching.

  Raises:
    ValueError: if the graph is directed.

  Example:
    >>> matchings(networkx.path_graph(3)).shape
    (2, 3)
  """
  adj = graphs.adjacency(graph)
  if not graphs.is_undirected(adj):
    raise ValueError('matchings need an undirected graph: symmetrize it.')
  line = networkx.line_graph(networkx.from_numpy_array(adj))
  colors = networkx.greedy_color(line, strategy='DSATUR')
  count = max(colors.values(), default=-1) + 1
  partners = np.tile(np.arange(len(adj), dtype=np.int32), (max(count, 1), 1))
  for (i, j), color in colors.items():
    partners[color, i], partners[color, j] = j, i
  return partners


def _laplacians(partners: np.ndarray) -> np.ndarray:
  eye = np.eye(partners.shape[1])
  return np.stack([eye - eye[p] for p in partners])


def _project(values: np.ndarray, total: float) -> np.ndarray:
  """Nearest point of [0, 1]^M whose entries sum to `total`."""
  low, high = -1.0 - values.max(), 2.0 - values.min()
  for _ in range(80):
    shift = (low + high) / 2
    if np.clip(values + shift, 0, 1).sum() < total:
      low = shift
    else:
      high = shift
  return np.clip(values + high, 0, 1)


def _second(matrix: np.ndarray) -> tuple[float, np.ndarray]:
  """The second smallest eigenvalue and its vector."""
  from scipy import linalg  # Slow to import.

  # LAPACK's search for single eigenvalues fails, or finds none, where many are
  # equal, as those of complete graphs are.
  with contextlib.suppress(np.linalg.LinAlgError):
    values, vectors = linalg.eigh(matrix, subset_by_index=[1, 1])
    if len(values):
      return values[0], vectors[:, 0]
  values, vectors = np.linalg.eigh(matrix)
  return values[1], vectors[:, 1]


def decompose(
  graph: _weights.Graph, *, budget: float = 0.5, num_steps: int = 200
) -> Matcha:
  """Finds matchings, activation probabilities and the link weight.

  The probabilities maximize the algebraic connectivity of the expected graph
  (projected supergradient ascent), so links that hold the graph together are
  used more often; the weight then minimizes the bound on the expected rate.

  Args:
    graph: undirected and connected.
    budget: expected share of the matchings used per round, in (0, 1] (C_b);
      1 activates all.
    num_steps: most ascent steps, each one eigenvector of [N, N].

  Returns:
    The decomposition.

  Raises:
    ValueError: if the graph is directed or disconnected.

  Source: Wang et al. 2019 (https://arxiv.org/abs/1905.09435), equations 4, 6.
  """
  checks.number(budget, name='budget', low=0.0, high=1.0, open_low=True)
  checks.integer(num_steps, name='num_steps', low=0)
  _weights.max_degree(graph)  # Validates.
  partners = matchings(graph)
  laplacians = _laplacians(partners)
  num, n = partners.shape
  p = np.full(num, float(budget))
  best, best_value, best_step = p, -np.inf, 0
  for k in range(num_steps + 1):
    if n == 1 or budget == 1.0:
      break
    value, u = _second(np.tensordot(p, laplacians, axes=1))
    if value > best_value:
      best, best_value, best_step = p, value, k
    if k - best_step > _PATIENCE:
      break
    # u' L_j u adds (u_a - u_b)² over the links (a, b) of matching j.
    slope = ((u[None, :] - u[partners]) ** 2).sum(axis=1) / 2
    slope = slope - slope.mean()
    size = np.linalg.norm(slope)
    if size < 1e-12:
      break
    p = _project(p + 0.5 / np.sqrt(k + 1.0) * slope / size, budget * num)

  mean = np.tensordot(best, laplacians, axes=1)
  second = mean @ mean + 2 * np.tensordot(best * (1 - best), laplacians, axes=1)
  uniform = np.full((n, n), 1 / n)

  def factor(alpha):
    gram = np.eye(n) - 2 * alpha * mean + alpha**2 * second - uniform
    return float(np.linalg.eigvalsh(gram)[-1])

  from scipy import optimize  # Slow to import.

  result = optimize.minimize_scalar(
    factor, bounds=(0.0, 1.0), method='bounded', options={'xatol': 1e-8}
  )
  return Matcha(partners, best, float(result.x), factor(result.x))


def matcha(
  graph: _weights.Graph | Matcha, *, budget: float = 0.5
) -> _mixers.Mixer:
  """Activates each matching of a graph at random, W = I - α Σ_j B_j L_j.

  Args:
    graph: undirected and connected, or the result of `decompose`.
    budget: expected share of the matchings used per round, in (0, 1].

  Returns:
    A random mixer, symmetric, doubly stochastic up to the sign of a client's
    own weight (which may fall below zero in rounds with many active links).

  Source: Wang et al. 2019 (https://arxiv.org/abs/1905.09435).
  """
  plan = graph if isinstance(graph, Matcha) else decompose(graph, budget=budget)
  num, n = plan.partners.shape
  ids = np.arange(n, dtype=np.int32)
  indices = np.concatenate([ids[None], plan.partners]).T
  linked = (plan.partners != ids[None]).T * plan.step_size

  def draw(key):
    active = jax.random.bernoulli(key, jnp.asarray(plan.probabilities), (num,))
    give = jnp.asarray(linked, jnp.float32) * active[None, :]
    own = 1.0 - jnp.sum(give, axis=1, keepdims=True)
    return jnp.asarray(indices), jnp.concatenate([own, give], axis=1)

  return _mixers.from_tables(draw, n, structure='matcha')
