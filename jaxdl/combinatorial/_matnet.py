# SPDX-License-Identifier: Apache-2.0
"""A conquering policy of matrices: nodes are known by their costs alone."""

import math

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxdl.combinatorial import _blocks, _heads
from jaxdl.core import checks
from jaxdl.networks._layers import Dense

_INNER, _OUTER = 'mix_inner', 'mix_outer'


class _PerHead(nn.Module):
  """A linear map of each head's own, f[H, ..., I] -> f[H, ..., O]."""

  num_heads: int
  inputs: int
  outputs: int

  @nn.compact
  def __call__(self):
    shape = (self.num_heads, self.inputs, self.outputs)
    kernel = self.param('kernel', nn.initializers.lecun_normal(), shape)
    zeros = nn.initializers.zeros
    return kernel, self.param('bias', zeros, (self.num_heads, self.outputs))


def mixed_scores(
  scores: chex.Array,
  costs: chex.Array,
  inner: tuple[chex.Array, chex.Array],
  outer: tuple[chex.Array, chex.Array],
) -> chex.Array:
  """Mixes scores with costs by a small perceptron of each head.

  Args:
    scores: f[H, R, m].
    costs: f[R, m].
    inner: kernel f[H, 2, S] of score and cost, and bias f[H, S].
    outer: kernel f[H, S, 1] and bias f[H, 1].

  Returns:
    f[H, R, m].

  Source: Kwon et al. 2021 (https://arxiv.org/abs/2106.11113), section 4.2.
  """
  (first, shift), (second, level) = inner, outer
  place = lambda x: x.astype(scores.dtype)[:, None, None, :]
  h = scores[..., None] * place(first[:, 0])
  h = h + costs.astype(scores.dtype)[None, ..., None] * place(first[:, 1])
  h = jax.nn.relu(h + place(shift))
  mixed = jnp.sum(h * place(second[:, :, 0]), axis=-1)
  return mixed + level.astype(scores.dtype)[:, :, None]


class _Side(nn.Module):
  """Rows, or columns, look at the others through costs."""

  num_heads: int
  size: int
  mixing: int
  hidden: int

  @nn.compact
  def __call__(self, rows, columns, costs):
    inner = _PerHead(self.num_heads, 2, self.mixing, name=_INNER)()
    outer = _PerHead(self.num_heads, self.mixing, 1, name=_OUTER)()
    mix = lambda scores: mixed_scores(scores, costs, inner, outer)
    look = _heads.Attend(self.num_heads, size=self.size, name='look')
    x = look(rows, columns, mix)
    return _blocks.FeedForward(self.hidden, name='perceptron')(x)


class _MatNet(nn.Module):
  """Encoder and decoder."""

  width: int
  depth: int
  num_heads: int
  size: int
  mixing: int
  hidden: int
  clip: float
  num_seeds: int
  num_extra: int

  def setup(self):
    side = (self.num_heads, self.size, self.mixing, self.hidden)
    self.rows = [_Side(*side) for _ in range(self.depth)]
    self.columns = [_Side(*side) for _ in range(self.depth)]
    inner = self.num_heads * self.size
    self.end = Dense(inner, use_bias=False)
    self.last = _blocks.Query(inner, self.num_extra)
    self.pairs = Dense(2 * inner, use_bias=False)
    self.outer = Dense(self.width)

  def encode(self, features, costs, key=None):
    count = features.shape[0]
    seeds = jnp.arange(self.num_seeds)
    if key is not None:
      seeds = jax.random.permutation(key, self.num_seeds)
    x = jnp.zeros((count, self.width), features.dtype)
    y = jax.nn.one_hot(seeds[:count], self.width, dtype=features.dtype)
    for row, column in zip(self.rows, self.columns, strict=True):
      x, y = row(x, y, costs), column(y, x, costs.T)
    last, extra = self.last(x)
    key, value = jnp.split(self.pairs(y), 2, axis=-1)
    return {
      'nodes': y,
      'key': key,
      'value': value,
      'last': last,
      'extra': extra,
      'end': self.end(y),
    }

  def decode(self, memory, context):
    query = memory['last'][context.last] + memory['end'][context.end]
    query = query + _blocks.numbers(context.extra, memory['extra'])
    scores = _heads.scores_of(query[None], memory['key'], self.num_heads)
    seen = context.allowed[None]
    out = self.outer(_heads.average(scores, memory['value'], seen))[0]
    scores = _blocks.multiply(memory['nodes'], out) / self.width**0.5
    return _blocks.pointer_logits(scores, context.allowed, self.clip)

  def __call__(self, features, costs, context):
    return self.decode(self.encode(features, costs), context)


def matnet(
  *,
  width: int = 256,
  depth: int = 5,
  num_heads: int = 16,
  head_size: int = 16,
  mixing: int = 16,
  hidden: int = 512,
  clip: float = 10.0,
  num_seeds: int = 50,
  kernel_init: str = 'fan_in',
  num_extra: int = 0,
) -> _blocks.Conqueror:
  """Builds the conquering policy of ATSP.

  A node is a row and a column. Rows start as zeros, columns as different unit
  vectors, drawn anew with the key of `encode` (without one, the first ones in
  order). Rows look at columns through costs, columns at rows through their
  transpose, both from what the other was before. The query is of the row that
  was left last and the column that the path ends in; features are not read.

  Args:
    width: of all vectors.
    depth: layers of the encoder.
    num_heads: H.
    head_size: channels of a head.
    mixing: width of the perceptrons that mix scores with costs.
    hidden: width of other perceptrons.
    clip: bound of logits; 0 for none.
    num_seeds: unit vectors to draw from, at least the nodes of a piece and at
      most `width`.
    kernel_init: an entry of `networks.KERNEL_INITS`, but for the perceptrons
      that mix: they start uniform on +-sqrt(1 / 2) and +-sqrt(1 / mixing).
    num_extra: numbers of the context.

  Returns:
    The policy.

  Raises:
    TypeError, ValueError: if an option is out of range; from its functions, if
      arrays do not fit.

  Cost: encoding O(depth m (m H mixing + width (width + hidden))), a decision
    O(m width + width²).

  Example:
    >>> policy = matnet(width=8, depth=1, num_heads=2, head_size=4, num_seeds=4)
    >>> x, costs = jnp.ones((3, 2)), jnp.ones((3, 3))
    >>> params = policy.init(jax.random.key(0), x, costs)
    >>> policy.encode(params, x, costs, key=jax.random.key(1))['nodes'].shape
    (3, 8)

  Source: Kwon et al. 2021 (https://arxiv.org/abs/2106.11113).
  """
  _blocks.check_sizes(
    depth=depth,
    clip=clip,
    width=width,
    num_heads=num_heads,
    head_size=head_size,
    mixing=mixing,
    hidden=hidden,
  )
  checks.integer(num_seeds, name='num_seeds', low=1)
  if num_seeds > width:
    raise ValueError(
      f'num_seeds={num_seeds} must be at most width={width}: columns start as '
      'different unit vectors.'
    )

  def check(features):
    if features.shape[0] > num_seeds:
      raise ValueError(
        f'a piece of {features.shape[0]} nodes needs num_seeds >= '
        f'{features.shape[0]}; got {num_seeds}.'
      )

  module = _MatNet(
    *(width, depth, num_heads, head_size, mixing, hidden),
    *(clip, num_seeds, num_extra),
  )
  return _blocks.conqueror(
    module,
    num_extra=num_extra,
    kernel_init=kernel_init,
    draws=True,
    scales={_INNER: math.sqrt(1 / 2), _OUTER: math.sqrt(1 / mixing)},
    check=check,
  )
