# SPDX-License-Identifier: Apache-2.0
"""Who listens to whom: graphs that are learned, and graphs that are not."""

import dataclasses
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np

from jaxdl.core import checks, keys, registry

ROLLOUTS = ('exact', 'sampled')
# Shares such as .29 * 100 are not to lose an edge to rounding.
_ROUNDING = 1e-9


class Links(NamedTuple):
  """A graph as attention meets it, leaves [N, N] or [..., N, N].

  Attributes:
    weights: f, factors of attention; the values of `hard` where it is a sample
      or the exact graph, with the gradient of a softmax.
    linked: bool, who may be heard; row = receiver.
    hard: bool, which of the two embeddings a pair has.
  """

  weights: chex.Array
  linked: chex.Array
  hard: chex.Array


@dataclasses.dataclass(frozen=True, kw_only=True)
class Graph:
  """What is settled of a graph before there are agents, see `GRAPHS`.

  Attributes:
    kind: 'learned', 'full', 'random' or 'self'.
    sparsity: S, share of the agents that one listens to.
    num_edges: k, or None for max(int(N S), 1).
    temperature: of samples.
    warmup: updates in which all edges stay open with their raw weights.
    learning_rate: of edges.
    every: epochs of which the last is for edges.
    post_stable: whether edges stay as they are in the end.
    post_ratio: share of all updates after which they do.
    rollout: which graph plays for training.
    relation: whether pairs have embeddings.
    seed: of a random graph.
  """

  kind: str
  sparsity: float = 1.0
  num_edges: int | None = None
  temperature: chex.Numeric = 1.0
  warmup: chex.Numeric = 0
  learning_rate: chex.Numeric = 0.0
  every: int = 5
  post_stable: bool = False
  post_ratio: float = 0.5
  rollout: str = 'exact'
  relation: bool = True
  seed: int = 0

  @property
  def is_learned(self) -> bool:
    """Whether edges are trained."""
    return self.kind == 'learned'

  def degree(self, num_agents: int) -> int:
    """Number of edges of an agent.

    Args:
      num_agents: N.

    Returns:
      k.

    Raises:
      ValueError: if there are more edges than agents.
    """
    if self.kind == 'full':
      return num_agents
    if self.kind == 'self':
      return 1
    if self.num_edges is None:
      return edges_of(num_agents, self.sparsity)
    if self.num_edges > num_agents:
      raise ValueError(
        f'num_edges={self.num_edges} must not exceed {num_agents} agents.'
      )
    return self.num_edges

  def fixed(self, num_agents: int) -> np.ndarray:
    """Draws the graph of a kind that is not learned.

    Args:
      num_agents: N.

    Returns:
      bool[N, N] with k ones in a row, of a random graph in other columns than
      the agent's own while there are any.

    Raises:
      ValueError: if there are more edges than agents.
    """
    degree = self.degree(num_agents)
    if self.kind != 'random':
      full = self.kind == 'full'
      return np.full((num_agents,) * 2, full) | np.eye(num_agents, dtype=bool)
    rng = np.random.default_rng(self.seed)
    out = np.zeros((num_agents, num_agents), bool)
    for i in range(num_agents):
      others = np.delete(np.arange(num_agents), i)
      order = [*rng.permutation(others), i]
      out[i, order[:degree]] = True
    return out


def edges_of(num_agents: int, sparsity: float) -> int:
  """Says how many agents one listens to, max(int(N S), 1).

  Args:
    num_agents: N.
    sparsity: S in (0, 1].

  Returns:
    k.

  Raises:
    ValueError: if a number is out of range.

  Example:
    >>> [edges_of(n, 0.4) for n in (3, 5, 10, 27)]
    [1, 2, 4, 10]
  """
  checks.integer(num_agents, name='num_agents', low=1)
  checks.number(sparsity, name='sparsity', low=0.0, high=1.0, open_low=True)
  return max(int(num_agents * sparsity + _ROUNDING), 1)


def learned(
  *,
  sparsity: float = 0.4,
  num_edges: int | None = None,
  temperature: chex.Numeric = 1.0,
  warmup: chex.Numeric = 10,
  learning_rate: chex.Numeric = 1e-4,
  every: int = 5,
  post_stable: bool = False,
  post_ratio: float = 0.5,
  rollout: str = 'exact',
  relation: bool = True,
) -> Graph:
  """Describes a graph that is trained in turns with the model.

  Args:
    sparsity: S in (0, 1]: an agent has max(int(N S), 1) edges, one of which may
      lead to itself.
    num_edges: k, in place of `sparsity`.
    temperature: tau of samples, > 0.
    warmup: updates in which every edge is open, weighted as it is.
    learning_rate: of Adam on edges. They move by about that much in a step, so
      that few steps want more (.01 to .03) than the published runs.
    every: in every so many epochs the last is for edges, the others for the
      model.
    post_stable: whether the graph stays what it is, and training plays on it
      exactly, after `post_ratio` of all updates.
    post_ratio: see there.
    rollout: 'exact': games are played on the k largest edges of each row though
      updates see samples, so that ratios of probabilities are of two graphs;
      'sampled': games are played on what updates see, samples that are kept
      beside the actions.
    relation: whether attention knows linked pairs from others.

  Returns:
    The graph.

  Raises:
    ValueError: if a number is out of range.
  """
  checks.number(sparsity, name='sparsity', low=0.0, high=1.0, open_low=True)
  if num_edges is not None:
    checks.integer(num_edges, name='num_edges', low=1)
  checks.number(temperature, name='temperature', low=0.0, open_low=True)
  checks.number(warmup, name='warmup', low=0.0)
  checks.number(learning_rate, name='learning_rate', low=0.0)
  checks.integer(every, name='every', low=1)
  checks.flag(post_stable, name='post_stable')
  checks.number(post_ratio, name='post_ratio', low=0.0, high=1.0)
  checks.choice(rollout, ROLLOUTS, name='rollout')
  checks.flag(relation, name='relation')
  return Graph(
    kind='learned',
    sparsity=sparsity,
    num_edges=num_edges,
    temperature=temperature,
    warmup=warmup,
    learning_rate=learning_rate,
    every=every,
    post_stable=post_stable,
    post_ratio=post_ratio,
    rollout=rollout,
    relation=relation,
  )


def full(*, relation: bool = True) -> Graph:
  """Describes the graph in which everybody listens to everybody.

  Args:
    relation: whether attention has embeddings of pairs.

  Returns:
    The graph.
  """
  checks.flag(relation, name='relation')
  return Graph(kind='full', relation=relation)


def mat() -> Graph:
  """Describes the full graph without embeddings: plain attention.

  Returns:
    The graph.

  Source: Wen et al. 2022, Multi-Agent Transformer
  (https://arxiv.org/abs/2205.14953).
  """
  return full(relation=False)


def random(
  *,
  seed: int,
  sparsity: float = 0.4,
  num_edges: int | None = None,
  relation: bool = True,
) -> Graph:
  """Describes a graph that is drawn once and stays.

  Args:
    seed: of the draw.
    sparsity: S in (0, 1].
    num_edges: k, in place of `sparsity`.
    relation: whether attention knows linked pairs from others.

  Returns:
    The graph; agents listen to others than themselves while there are any.

  Raises:
    ValueError: if a number is out of range.
  """
  checks.integer(seed, name='seed', low=0)
  checks.number(sparsity, name='sparsity', low=0.0, high=1.0, open_low=True)
  if num_edges is not None:
    checks.integer(num_edges, name='num_edges', low=1)
  checks.flag(relation, name='relation')
  return Graph(
    kind='random',
    seed=seed,
    sparsity=sparsity,
    num_edges=num_edges,
    relation=relation,
  )


def self_only(*, relation: bool = True) -> Graph:
  """Describes agents that hear only themselves.

  Args:
    relation: whether attention has embeddings of pairs.

  Returns:
    The graph.
  """
  checks.flag(relation, name='relation')
  return Graph(kind='self', relation=relation)


GRAPHS = registry.Registry(
  'graph',
  {
    'learned': learned,
    'full': full,
    'mat': mat,
    'random': random,
    'self': self_only,
  },
  tried={},
)


def exact_topk(
  logits: chex.Array, k: int, *, temperature: chex.Numeric = 1.0
) -> tuple[chex.Array, chex.Array]:
  """Takes the k largest edges of each row.

  Args:
    logits: f[N, N], row = receiver; more axes may lead.
    k: edges of a row (static), 1 <= k <= N. Among equal ones the first columns
      are taken.
    temperature: of the softmax that gives the gradient.

  Returns:
    f[N, N] of zeros and ones whose gradient is that of the softmax of rows, and
    the same as i32[N, N].

  Raises:
    ValueError: if k or the temperature is out of range.

  Example:
    >>> weights, hard = exact_topk(jnp.array([[0.1, 0.3, 0.2]]), 2)
    >>> hard.tolist(), weights.tolist()
    ([[0, 1, 1]], [[0.0, 1.0, 1.0]])
  """
  _check_rows(logits, k, temperature)
  hard = _largest(logits, k)
  return _straight(hard, logits / temperature), hard.astype(jnp.int32)


def gumbel_topk(
  logits: chex.Array,
  k: int,
  *,
  key: chex.PRNGKey,
  temperature: chex.Numeric = 1.0,
) -> tuple[chex.Array, chex.Array]:
  """Draws k edges of each row without replacement.

  The k largest of logits plus Gumbel noise follow the Plackett-Luce law of
  softmax(logits): i then j with probability p_i p_j / (1 - p_i).

  Args:
    logits: f[N, N], row = receiver; more axes may lead.
    k: edges of a row (static), 1 <= k <= N.
    key: consumed.
    temperature: tau of the softmax that gives the gradient.

  Returns:
    f[N, N] of zeros and ones whose gradient is that of
    softmax((logits + noise) / tau), and the same as i32[N, N].

  Raises:
    ValueError: if k or the temperature is out of range.

  Example:
    >>> weights, hard = gumbel_topk(jnp.zeros((4, 4)), 2, key=jax.random.key(0))
    >>> hard.sum(axis=-1).tolist()
    [2, 2, 2, 2]

  Source: Hu et al. 2024 (https://arxiv.org/abs/2405.08550), section 4.2; Kool
  et al. 2019 (https://arxiv.org/abs/1903.06059) for the law.
  """
  _check_rows(logits, k, temperature)
  keys.check_key(key)
  noisy = logits + jax.random.gumbel(key, logits.shape, logits.dtype)
  hard = _largest(noisy, k)
  return _straight(hard, noisy / temperature), hard.astype(jnp.int32)


def _check_rows(logits, k, temperature):
  checks.array(logits, name='logits')
  shape = jnp.shape(logits)
  if not shape:
    raise ValueError('logits must have rows of edges; got a number.')
  checks.integer(k, name='k', low=1)
  if k > shape[-1]:
    raise ValueError(f'k={k} must not exceed {shape[-1]} columns.')
  checks.number(temperature, name='temperature', low=0.0, open_low=True)


def _largest(logits, k):
  """The k largest of each row, bool; the first of equal ones."""
  n = logits.shape[-1]
  if k == n:
    return jnp.ones(logits.shape, bool)
  _, ids = jax.lax.top_k(jax.lax.stop_gradient(logits), k)
  return jnp.any(jax.nn.one_hot(ids, n, dtype=bool), axis=-2)


def _straight(hard, scaled):
  """Zeros and ones with the gradient of a softmax."""
  soft = jax.nn.softmax(scaled, axis=-1)
  return (hard.astype(soft.dtype) - jax.lax.stop_gradient(soft)) + soft


def fixed_links(hard: chex.Array, dtype: jax.typing.DTypeLike) -> Links:
  """Returns links of a graph that has no gradient.

  Args:
    hard: bool[N, N].
    dtype: of the weights.

  Returns:
    The links.
  """
  hard = jnp.asarray(hard, bool)
  return Links(hard.astype(dtype), hard, hard)


def raw_links(edges: chex.Array, *, truncate: bool = False) -> Links:
  """Returns links while a graph warms up: all are open, weighted as they are.

  Args:
    edges: f[N, N].
    truncate: whether pairs whose edge has fallen below 1 have the embedding of
      strangers, as in the release, which makes integers of edges.

  Returns:
    The links.
  """
  everyone = jnp.ones(edges.shape, bool)
  return Links(edges, everyone, (edges >= 1.0) if truncate else everyone)


def exact_links(edges: chex.Array, k: int, temperature: chex.Numeric) -> Links:
  """Returns links of execution, see `exact_topk`."""
  weights, hard = exact_topk(edges, k, temperature=temperature)
  return Links(weights, hard > 0, hard > 0)


def replayed_links(
  edges: chex.Array,
  hard: chex.Array,
  noise: chex.Array,
  temperature: chex.Numeric,
) -> Links:
  """Returns links that were drawn before, with the gradient of edges now.

  Args:
    edges: f[N, N].
    hard: bool[..., N, N], what was drawn.
    noise: f[..., N, N], by what.
    temperature: tau.

  Returns:
    The links, leaves [..., N, N].
  """
  edges = edges.reshape((1,) * (noise.ndim - edges.ndim) + edges.shape)
  weights = _straight(hard, (edges + noise) / temperature)
  return Links(weights, hard, hard)


def choose(pick: chex.Array, first: Links, second: Links) -> Links:
  """Takes one of two graphs of the same shape, by a traced bool[]."""
  return jax.tree.map(lambda a, b: jnp.where(pick, a, b), first, second)
