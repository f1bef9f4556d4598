# SPDX-License-Identifier: Apache-2.0
"""A conquering policy with agents: copies of the depot that take turns."""

import flax.linen as nn
import jax.numpy as jnp

from jaxdl.combinatorial import _blocks, _heads
from jaxdl.core import checks
from jaxdl.networks._layers import Dense


def rotated(x, num_agents):
  """Copies of a vector, each rotated by its place: f[C] -> f[S, C].

  Pairs of channels turn by s / 10000^(2 i / C); an odd last channel stays.
  """
  half = x.shape[-1] // 2
  speed = 10000.0 ** (-jnp.arange(half) / max(half, 1))
  angle = jnp.arange(num_agents)[:, None] * speed[None]
  cos, sin = jnp.cos(angle).astype(x.dtype), jnp.sin(angle).astype(x.dtype)
  a, b = x[None, :half], x[None, half : 2 * half]
  rest = jnp.broadcast_to(x[None, 2 * half :], (num_agents, x.shape[-1] % 2))
  return jnp.concatenate([a * cos - b * sin, a * sin + b * cos, rest], axis=-1)


class _Layer(nn.Module):
  """Nodes look at nodes, agents at nodes, nodes sharply at agents."""

  num_heads: int
  hidden: int

  @nn.compact
  def __call__(self, x, g):
    look = lambda name, **options: _heads.Attend(
      self.num_heads, name=name, **options
    )
    think = lambda name: _blocks.FeedForward(self.hidden, name=name)
    x = look('nodes')(x, x)
    g = think('agent_perceptron')(look('agents')(g, x))
    x = look('back', sharp=True)(x, g)
    return think('node_perceptron')(x), g


class _Dpn(nn.Module):
  """Encoder and decoder."""

  width: int
  depth: int
  num_heads: int
  hidden: int
  clip: float
  num_agents: int
  distances: bool
  num_extra: int

  def setup(self):
    self.nodes, self.depot = Dense(self.width), Dense(self.width)
    self.layers = [
      _Layer(self.num_heads, self.hidden) for _ in range(self.depth)
    ]
    self.end = Dense(self.width, use_bias=False)
    self.agent = Dense(self.width, use_bias=False)
    self.last = _blocks.Query(self.width, self.num_extra)
    self.pairs = Dense(2 * self.width, use_bias=False)
    self.outer = Dense(self.width)
    self.beta = _blocks.Scalar()

  def encode(self, features, distances):
    depot = self.depot(features[:1])
    x = self.nodes(features)
    x = jnp.where(jnp.arange(x.shape[0])[:, None] == 0, depot, x)
    g = rotated(depot[0], self.num_agents)
    for layer in self.layers:
      x, g = layer(x, g)
    reach = jnp.zeros_like(distances)
    if self.distances:
      most = jnp.max(distances, axis=1, keepdims=True)
      reach = distances / jnp.where(most > 0, most, 1)
    last, extra = self.last(x)
    key, value = jnp.split(self.pairs(x), 2, axis=-1)
    agent_key, agent_value = jnp.split(self.pairs(g), 2, axis=-1)
    return {
      'nodes': x,
      'agents': g,
      'key': key,
      'value': value,
      'agent_key': agent_key,
      'agent_value': agent_value,
      'last': last,
      'extra': extra,
      'end': self.end(x),
      'agent': self.agent(g),
      'reach': reach,
    }

  def decode(self, memory, context):
    most, extra = self.num_agents - 1, context.extra
    now = jnp.zeros((), jnp.int32)
    if self.num_extra:
      # Rounded: counts come as floats.
      now = jnp.clip(jnp.rint(extra[0]), 0, most).astype(jnp.int32)
      extra = extra.at[0].divide(self.num_agents)
    after = jnp.minimum(now + 1, most)
    query = memory['last'][context.last] + memory['end'][context.end]
    query = query + memory['agent'][now]
    query = query + _blocks.numbers(extra, memory['extra'])

    # The depot is the next agent. What all rollouts share stays as it is.
    scores = _heads.scores_of(query[None], memory['key'], self.num_heads)
    depot = _heads.scores_of(
      query[None], memory['agent_key'][after][None], self.num_heads
    )
    scores = jnp.concatenate([depot, scores[..., 1:]], axis=-1)
    scores = jnp.where(context.allowed[None, None], scores, -jnp.inf)
    weights = nn.softmax(scores, axis=-1)
    values = memory['value'].reshape(
      -1, self.num_heads, self.width // self.num_heads
    )
    first = memory['agent_value'][after].reshape(self.num_heads, -1)
    out = jnp.einsum('hm,mhc->hc', weights[:, 0, 1:], values[1:])
    out = out + weights[:, 0, :1] * first
    out = self.outer(out.reshape(-1).astype(memory['nodes'].dtype))

    scores = _blocks.multiply(memory['nodes'], out)
    depot = _blocks.multiply(memory['agents'][after], out)
    scores = scores.at[0].set(depot) / self.width**0.5
    reach = _blocks.wide(memory['reach'][context.last])
    scores = scores - _blocks.wide(self.beta()) * reach
    return _blocks.pointer_logits(scores, context.allowed, self.clip)

  def __call__(self, features, distances, context):
    return self.decode(self.encode(features, distances), context)


def dpn(
  *,
  width: int = 128,
  depth: int = 3,
  num_heads: int = 8,
  hidden: int = 512,
  clip: float = 50.0,
  num_agents: int = 16,
  distances: bool = True,
  kernel_init: str = 'fan_in',
  num_extra: int = 0,
) -> _blocks.Conqueror:
  """Builds the conquering policy of the mTSP.

  Node 0 is the depot, and agents are copies of it, told apart by rotations.
  They take turns: the first number of a context says how many routes are
  closed, the agent of that number is on its way, and to choose node 0 is to
  choose the next agent. Logits are clip tanh(out . h_j / sqrt(width) - b
  d(last, j) / max_j d(last, j)), b learned.

  Args:
    width: of all vectors.
    depth: layers of the encoder.
    num_heads: H, which divides the width.
    hidden: width of perceptrons.
    clip: bound of logits; 0 for none.
    num_agents: that are told apart; routes beyond are the last one's.
    distances: whether distances are read; zeros if not.
    kernel_init: an entry of `networks.KERNEL_INITS`.
    num_extra: numbers of the context.

  Returns:
    The policy.

  Raises:
    TypeError, ValueError: if an option is out of range; from its functions, if
      arrays do not fit.

  Cost: encoding O(depth m width (m + num_agents + width + hidden)), a decision
    O(m width + width²).

  Example:
    >>> import jax
    >>> policy = dpn(width=8, depth=1, num_heads=2, hidden=16, num_agents=2)
    >>> x, d = jnp.ones((3, 2)), jnp.ones((3, 3))
    >>> params = policy.init(jax.random.key(0), x, d)
    >>> policy.encode(params, x, d)['agents'].shape
    (2, 8)

  Source: Zheng et al. 2024 (https://arxiv.org/abs/2405.17272), section 4.
  """
  _blocks.check_sizes(
    depth=depth, hidden=hidden, clip=clip, num_agents=num_agents
  )
  _heads.check_heads(width, num_heads)
  checks.flag(distances, name='distances')
  module = _Dpn(
    *(width, depth, num_heads, hidden, clip, num_agents, distances),
    num_extra,
  )
  return _blocks.conqueror(module, num_extra=num_extra, kernel_init=kernel_init)
