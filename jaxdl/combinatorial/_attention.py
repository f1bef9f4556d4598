# SPDX-License-Identifier: Apache-2.0
"""A conquering policy of attention, whose pointer knows distances."""

import flax.linen as nn
import jax.numpy as jnp

from jaxdl.combinatorial import _blocks, _heads
from jaxdl.core import checks
from jaxdl.networks._layers import Dense


class _Attention(nn.Module):
  """Encoder and decoder."""

  width: int
  depth: int
  num_heads: int
  hidden: int
  clip: float
  distances: bool
  num_extra: int

  def setup(self):
    self.nodes = Dense(self.width)
    self.looks = [_heads.Attend(self.num_heads) for _ in range(self.depth)]
    self.thoughts = [
      _blocks.FeedForward(self.hidden) for _ in range(self.depth)
    ]
    self.end = Dense(self.width, use_bias=False)
    self.last = _blocks.Query(self.width, self.num_extra)
    self.pairs = Dense(2 * self.width, use_bias=False)
    self.outer = Dense(self.width)
    self.beta = _blocks.Scalar()

  def encode(self, features, distances):
    x = self.nodes(features)
    for look, think in zip(self.looks, self.thoughts, strict=True):
      x = think(look(x, x))
    reach = jnp.zeros_like(distances)
    if self.distances:
      most = jnp.max(distances, axis=1, keepdims=True)
      reach = distances / jnp.where(most > 0, most, 1)
    last, extra = self.last(x)
    key, value = jnp.split(self.pairs(x), 2, axis=-1)
    return {
      'nodes': x,
      'key': key,
      'value': value,
      'last': last,
      'extra': extra,
      'end': self.end(x),
      'reach': reach,
    }

  def decode(self, memory, context):
    query = memory['last'][context.last] + memory['end'][context.end]
    query = query + _blocks.numbers(context.extra, memory['extra'])
    scores = _heads.scores_of(query[None], memory['key'], self.num_heads)
    seen = context.allowed[None]
    out = self.outer(_heads.average(scores, memory['value'], seen))[0]
    scores = _blocks.multiply(memory['nodes'], out) / self.width**0.5
    reach = _blocks.wide(memory['reach'][context.last])
    scores = scores - _blocks.wide(self.beta()) * reach
    return _blocks.pointer_logits(scores, context.allowed, self.clip)

  def __call__(self, features, distances, context):
    return self.decode(self.encode(features, distances), context)


def attention(
  *,
  width: int = 128,
  depth: int = 6,
  num_heads: int = 8,
  hidden: int = 512,
  clip: float = 50.0,
  distances: bool = True,
  kernel_init: str = 'fan_in',
  num_extra: int = 0,
) -> _blocks.Conqueror:
  """Builds the conquering policy of OP, PCTSP and SPCTSP.

  The query is of the end, the last node and the numbers of the context; it
  attends to allowed nodes, and logits are clip tanh(out . h_j / sqrt(width) -
  b d(last, j) / max_j d(last, j)), b learned.

  Args:
    width: of all vectors.
    depth: layers of the encoder.
    num_heads: H, which divides the width.
    hidden: width of perceptrons.
    clip: bound of logits; 0 for none.
    distances: whether distances are read; zeros if not.
    kernel_init: an entry of `networks.KERNEL_INITS`.
    num_extra: numbers of the context.

  Returns:
    The policy.

  Raises:
    TypeError, ValueError: if an option is out of range; from its functions, if
      arrays do not fit.

  Cost: encoding O(depth m width (m + width + hidden)), a decision
    O(m width + width²).

  Example:
    >>> import jax
    >>> policy = attention(width=8, depth=1, num_heads=2, hidden=16)
    >>> x, d = jnp.ones((3, 4)), jnp.ones((3, 3))
    >>> params = policy.init(jax.random.key(0), x, d)
    >>> policy.encode(params, x, d)['nodes'].shape
    (3, 8)

  Source: Kool et al. 2019 (https://arxiv.org/abs/1803.08475); Kwon et al. 2020
    (https://arxiv.org/abs/2010.16011); Zheng et al. 2024
    (https://arxiv.org/abs/2407.00312), appendix.
  """
  _blocks.check_sizes(depth=depth, hidden=hidden, clip=clip)
  _heads.check_heads(width, num_heads)
  checks.flag(distances, name='distances')
  module = _Attention(
    width, depth, num_heads, hidden, clip, distances, num_extra
  )
  return _blocks.conqueror(module, num_extra=num_extra, kernel_init=kernel_init)
