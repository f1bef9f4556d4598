# SPDX-License-Identifier: Apache-2.0
"""A conquering policy without attention weights: distances weigh instead."""

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxdl.combinatorial import _blocks
from jaxdl.core import checks, trees
from jaxdl.networks._layers import Dense

QUERIES = ('path', 'routes', 'items')
# Differences of exponents beyond this count as this, so that no sum of weights
# is zero in float32.
_MOST = 40.0


def attention_free(
  query: chex.Array,
  key: chex.Array,
  value: chex.Array,
  bias: chex.Array,
  allowed: chex.Array | None = None,
) -> chex.Array:
  """Averages values with weights exp(bias + key), per channel.

  Two matrix products. Maxima are subtracted before exponentials, which leaves
  the result as it is; exponents more than 40 below them count as 40 below.

  Args:
    query: f[R, C].
    key: f[m, C].
    value: f[m, C].
    bias: f[R, m].
    allowed: bool[R, m], nodes that take part; all by default. A row without any
      gives zero.

  Returns:
    f[R, C], sigmoid(query) times averages; dtype of `value`.

  Cost: O(R m C).

  Example:
    >>> zeros = jnp.zeros((2, 1))
    >>> value = jnp.array([[2.0], [4.0]])
    >>> attention_free(zeros, zeros, value, jnp.zeros((2, 2)))
    Array([[1.5],
           [1.5]], dtype=float32)

  Source: Zhai et al. 2021 (https://arxiv.org/abs/2105.14103), equation 2; Zhou
    et al. 2024 (https://arxiv.org/abs/2405.01906), equation 4.
  """
  kind = trees.accumulator(value.dtype)
  query, key, bias = (x.astype(kind) for x in (query, key, bias))
  top = jnp.max(key, axis=0, keepdims=True)
  key = jnp.exp(jnp.maximum(key - jax.lax.stop_gradient(top), -_MOST))
  there = True if allowed is None else allowed
  top = jnp.max(bias, axis=1, keepdims=True, where=there, initial=-jnp.inf)
  top = jnp.where(jnp.isfinite(top), top, 0)
  bias = jnp.exp(jnp.clip(bias - jax.lax.stop_gradient(top), -_MOST, 0))
  if allowed is not None:
    bias = jnp.where(allowed, bias, 0)
  terms = jnp.concatenate([key * value.astype(kind), key], axis=1)
  above, below = jnp.split(bias @ terms, 2, axis=1)
  mean = above / jnp.where(below > 0, below, 1)
  return (jax.nn.sigmoid(query) * mean).astype(value.dtype)


class _Layer(nn.Module):
  """The attention-free block and the perceptron."""

  hidden: int

  @nn.compact
  def __call__(self, x, reach):
    width = x.shape[-1]
    bias = -_blocks.Scalar(name='alpha')().astype(reach.dtype) * reach
    maps = Dense(3 * width, use_bias=False, name='maps')(x)
    query, key, value = jnp.split(maps, 3, axis=-1)
    out = attention_free(query, key, value, bias)
    x = _blocks.InstanceNorm(name='norm')(x + out)
    return _blocks.FeedForward(self.hidden, name='perceptron')(x)


class _Icam(nn.Module):
  """Encoder and decoder."""

  width: int
  depth: int
  hidden: int
  clip: float
  query: str
  num_extra: int
  distances: bool

  def setup(self):
    linear = lambda: Dense(self.width, use_bias=False)
    self.nodes = Dense(self.width)
    if self.query == 'path':
      self.ends = Dense(self.width)
    elif self.query == 'routes':
      self.head, self.tail = Dense(self.width), Dense(self.width)
      self.depot = linear()
    if self.query != 'items':
      self.end = linear()
    self.last = _blocks.Query(self.width, self.num_extra)
    self.layers = [_Layer(self.hidden) for _ in range(self.depth)]
    self.pairs = Dense(2 * self.width, use_bias=False)
    self.alpha, self.beta = _blocks.Scalar(), _blocks.Scalar()

  def encode(self, features, distances):
    size = features.shape[0]
    factor = _blocks.log2(size) if self.distances else 0.0
    reach = distances * jnp.asarray(factor, distances.dtype)
    x = self.nodes(features)
    place = jnp.arange(size)[:, None]
    if self.query == 'path':
      x = jnp.where((place == 0) | (place == size - 1), self.ends(x), x)
    elif self.query == 'routes':
      moved = jnp.where(place == size - 1, self.tail(x), x)
      x = jnp.where(place == min(1, size - 1), self.head(x), moved)
    for layer in self.layers:
      x = layer(x, reach)
    key, value = jnp.split(self.pairs(x), 2, axis=-1)
    memory = {
      'nodes': x,
      'key': key,
      'value': value,
      'reach': reach,
    }
    if self.query == 'items':
      mean = jnp.mean(_blocks.wide(x), axis=0).astype(x.dtype)
      memory['mean'], memory['extra'] = self.last(mean)
    else:
      memory['last'], memory['extra'] = self.last(x)
      memory['end'] = self.end(x)
    if self.query == 'routes':
      memory['depot'] = self.depot(x[0])
    return memory

  def decode(self, memory, context):
    if self.query == 'items':
      query = memory['mean']
    else:
      query = memory['last'][context.last] + memory['end'][context.end]
    if self.query == 'routes':
      query = query + memory['depot']
    query = query + _blocks.numbers(context.extra, memory['extra'])
    started = context.last >= 0
    reach = jnp.where(started, memory['reach'][context.last], 0)
    alpha, beta = self.alpha(), self.beta()
    out = attention_free(
      query[None],
      memory['key'],
      memory['value'],
      (-alpha.astype(reach.dtype) * reach)[None],
      context.allowed[None],
    )[0]
    scores = _blocks.multiply(memory['nodes'], out) / self.width**0.5
    scores = scores - _blocks.wide(beta) * reach
    return _blocks.pointer_logits(scores, context.allowed, self.clip)

  def __call__(self, features, distances, context):
    return self.decode(self.encode(features, distances), context)


def icam(
  *,
  width: int = 128,
  depth: int = 6,
  hidden: int = 512,
  clip: float = 50.0,
  query: str = 'path',
  distances: bool = True,
  kernel_init: str = 'fan_in',
  num_extra: int = 0,
) -> _blocks.Conqueror:
  """Builds the conquering policy of TSP, CVRP, OVRP and KP.

  Blocks of `attention_free` with bias -a log2(m) d_ij, a learned; logits are
  clip tanh(out . h_j / sqrt(width) - b log2(m) d(last, j)).

  What is asked for is one of `QUERIES`. In a 'path' node 0 and node m - 1 are
  the ends and get a linear layer of their own, and the query is of the end and
  the last node. In 'routes' node 0 is the depot, node 1 the first and node
  m - 1 the last customer, with a linear layer each, and the depot enters the
  query. Of 'items' the query is of the mean of all nodes, and a context whose
  last node is -1 has decided nothing yet: no distance counts. Numbers of the
  context enter all of them.

  Args:
    width: of all vectors.
    depth: layers of the encoder.
    hidden: width of perceptrons.
    clip: bound of logits; 0 for none.
    query: one of `QUERIES`.
    distances: whether distances are read; zeros if not.
    kernel_init: an entry of `networks.KERNEL_INITS`.
    num_extra: numbers of the context.

  Returns:
    The policy.

  Raises:
    TypeError, ValueError: if an option is out of range; from its functions, if
      arrays do not fit.

  Cost: encoding O(depth m width (m + width + hidden)), a decision
    O(m width) with the memory shared by all rollouts.

  Example:
    >>> from jaxdl.combinatorial import _problem
    >>> x = jnp.array([[0.0, 0.0], [0.5, 0.2], [1.0, 0.0]])
    >>> d = jnp.linalg.norm(x[:, None] - x[None], axis=-1)
    >>> policy = icam(width=8, depth=1, hidden=16)
    >>> params = policy.init(jax.random.key(0), x, d)
    >>> left = jnp.array([False, True, False])
    >>> context = _problem.Context(0, 2, jnp.zeros(0), left)
    >>> logits = policy.decode(params, policy.encode(params, x, d), context)
    >>> jax.nn.softmax(logits).tolist()
    [0.0, 1.0, 0.0]

  Source: Zheng et al. 2024 (https://arxiv.org/abs/2407.00312), appendix; Zhou
    et al. 2024 (https://arxiv.org/abs/2405.01906).
  """
  _blocks.check_sizes(depth=depth, width=width, hidden=hidden, clip=clip)
  checks.choice(query, QUERIES, name='query')
  checks.flag(distances, name='distances')
  module = _Icam(width, depth, hidden, clip, query, num_extra, distances)
  return _blocks.conqueror(module, num_extra=num_extra, kernel_init=kernel_init)
