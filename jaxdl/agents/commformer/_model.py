# SPDX-License-Identifier: Apache-2.0
"""An encoder of what agents see and a decoder of what they do, on a graph."""

import dataclasses
import functools
import math
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp

from jaxdl.agents import _actions
from jaxdl.agents.commformer import _attention, _graphs
from jaxdl.networks import functional

ROOT2 = f'orthogonal(gain={math.sqrt(2.0)!r})'
LAST = 'orthogonal(gain=0.01)'
gelu = functional.gelu


@dataclasses.dataclass(frozen=True, kw_only=True)
class Shape:
  """Sizes and options of a model.

  Attributes:
    num_agents: N.
    own_size: d, of a row that an agent sees.
    action_size: A actions, or the length of a vector.
    discrete: which of the two.
    dim: D.
    num_heads: H.
    num_blocks: of encoder and decoder.
    dropout: share of what is dropped in updates.
    relation: whether pairs have embeddings.
    relation_scale: see `relation_attention`.
    transposed: likewise.
    self_loop: likewise.
    share_actor: whether agents share a head.
    autoregressive: whether agents know what those before them do.
    temporal_gate: whether agents decide if they listen.
    product: whether attention is multiplied by weights of edges.
  """

  num_agents: int
  own_size: int
  action_size: int
  discrete: bool = True
  dim: int = 64
  num_heads: int = 1
  num_blocks: int = 1
  dropout: float = 0.0
  relation: bool = True
  relation_scale: str = 'sqrt'
  transposed: bool = False
  self_loop: str = 'set'
  share_actor: bool = False
  autoregressive: bool = True
  temporal_gate: bool = False
  product: bool = True

  @property
  def scale(self) -> float:
    """Factor of scores."""
    return _attention.scale_of(self.dim, self.num_heads, self.relation_scale)


class Heard(NamedTuple):
  """Links as layers use them, self loops included.

  Attributes:
    all: for the encoder, leaves [N, N] or [B, N, N].
    before: for the decoder: those before an agent, and itself.
  """

  all: _graphs.Links
  before: _graphs.Links


def heard(
  shape: Shape, links: _graphs.Links, gates: chex.Array | None = None
) -> Heard:
  """Prepares a graph for layers.

  Args:
    shape: of the model.
    links: leaves [N, N] or [B, N, N].
    gates: f[B, N], 1 where an agent listens and 0 where it does not; None if
      all do.

  Returns:
    The links.
  """
  if gates is not None:
    n = shape.num_agents
    lead = (1,) * (3 - links.weights.ndim)
    links = jax.tree.map(lambda x: x.reshape(lead + x.shape), links)
    # Only messages of others are gated.
    own = jnp.eye(n, dtype=bool).reshape(1, n, n)
    gates = jnp.where(own, jnp.ones((), gates.dtype), gates[..., None])
    links = links._replace(
      weights=links.weights * gates, linked=links.linked & (gates > 0.5)
    )
  links = _attention.with_self(links, shape.self_loop)
  if shape.transposed:
    links = links._replace(hard=jnp.swapaxes(links.hard, -1, -2))
  return Heard(links, _attention.in_order(links))


def _norm(size):
  return functional.scale_leaves((size,))


def _mlp_leaves(sizes, last=None):
  out = {}
  for i, pair in enumerate(zip(sizes[:-1], sizes[1:], strict=True)):
    init = last if last and i == len(sizes) - 2 else ROOT2
    out[f'dense_{i}'] = functional.layer_leaves(pair, kernel_init=init)
  return out


def leaves(shape: Shape) -> dict[str, Any]:
  """Describes the parameters of a model but for heads of single agents."""
  size = shape.dim
  attention = functools.partial(
    _attention.attention_leaves, size, relation=shape.relation
  )
  small = functools.partial(
    functional.layer_leaves, (size, size), kernel_init='normal(scale=0.02)'
  )
  encoder: dict[str, Any] = {
    'norm_0': _norm(shape.own_size),
    'dense': functional.layer_leaves((shape.own_size, size), kernel_init=ROOT2),
    'norm_1': _norm(size),
  }
  for i in range(shape.num_blocks):
    encoder[f'block_{i}'] = {
      'attention': attention(),
      'norm_0': _norm(size),
      'dense_0': small(),
      'dense_1': small(),
      'norm_1': _norm(size),
    }
  critic = _mlp_leaves((size, size, 1), LAST) | {'norm': _norm(size)}
  out: dict[str, Any] = {'encoder': encoder, 'critic': critic}
  if shape.relation:
    out['table'] = functional.normal_init((2, size), scale=1.0)
  if shape.temporal_gate:
    out['gate'] = _mlp_leaves((size, size, 2), LAST)
  if shape.share_actor:
    out['actor'] = {
      **_mlp_leaves((size, size, size, shape.action_size), LAST),
      'norm_0': _norm(size),
      'norm_1': _norm(size),
    }
  if not shape.discrete:
    out['log_std'] = functional.Leaf((shape.action_size,), 'constant', 1.0)
  if shape.autoregressive:
    decoder: dict[str, Any] = {
      'dense': functional.layer_leaves(
        (shape.action_size + 1, size), kernel_init=ROOT2, bias_init=None
      ),
      'norm': _norm(size),
    }
    for i in range(shape.num_blocks):
      decoder[f'block_{i}'] = {
        'attention_0': attention(),
        'attention_1': attention(),
        **_mlp_leaves((size, size, size), LAST),
        **{f'norm_{j}': _norm(size) for j in range(3)},
      }
    out['decoder'] = decoder
  return out


def head_leaves(shape: Shape) -> dict[str, Any]:
  """Describes the head of one agent."""
  size = shape.dim
  return {
    'norm_0': _norm(size),
    **_mlp_leaves((size, size, shape.action_size), LAST),
    'norm_1': _norm(size),
  }


def init(shape: Shape, key: chex.PRNGKey) -> dict[str, Any]:
  """Draws the parameters of a model; consumes the key."""
  body_key, head_key = jax.random.split(key)
  params = functional.draw(body_key, leaves(shape), jnp.float32)
  if not shape.share_actor:
    head = functools.partial(functional.draw, leaves=head_leaves(shape))
    params['actor'] = jax.vmap(lambda k: head(k, dtype=jnp.float32))(
      jax.random.split(head_key, shape.num_agents)
    )
  return params


def _attend(shape, params, table, query, keys, links):
  key, value = _attention.keys_and_values(params, keys, shape.num_heads)
  out = _attention.attend(
    _attention.queries_of(params, query, shape.num_heads),
    key,
    value,
    _attention.relation_parts(params, table, shape.num_heads),
    links,
    scale=shape.scale,
    product=shape.product,
  )
  return functional.dense(params['out'], _attention.join_heads(out))


def embed(params: dict[str, Any], own: chex.Array) -> chex.Array:
  """Embeds what agents see before anybody speaks, f[..., N, d] -> [..., D]."""
  encoder = params['encoder']
  x = functional.dense(
    encoder['dense'], _attention.layer_norm(encoder['norm_0'], own)
  )
  return _attention.layer_norm(encoder['norm_1'], gelu(x))


def gate_logits(params: dict[str, Any], x: chex.Array) -> chex.Array:
  """Says of embeddings f[..., N, D] whether to skip or to listen, [..., 2]."""
  hidden = gelu(functional.dense(params['gate']['dense_0'], x))
  return functional.dense(params['gate']['dense_1'], hidden)


def encode(
  shape: Shape,
  params: dict[str, Any],
  x: chex.Array,
  links: _graphs.Links,
  *,
  key: chex.PRNGKey | None = None,
) -> tuple[chex.Array, chex.Array]:
  """Lets embeddings pass the encoder.

  Args:
    shape: of the model.
    params: of the model.
    x: f[B, N, D], see `embed`.
    links: `Heard.all`.
    key: of dropout, consumed; None drops nothing.

  Returns:
    f[B, N, D], and values f[B, N] in units of the critic.
  """
  drops = key is not None and shape.dropout > 0
  keys = jax.random.split(key, (shape.num_blocks, 3)) if drops else None

  def drop(y, block, place):
    if not drops:
      return y
    keep = 1.0 - shape.dropout
    kept = jax.random.bernoulli(keys[block, place], keep, y.shape)
    return jnp.where(kept, y / keep, 0.0)

  table = params.get('table')
  for i in range(shape.num_blocks):
    block = params['encoder'][f'block_{i}']
    y = _attend(shape, block['attention'], table, x, x, links)
    x = _attention.layer_norm(block['norm_0'], x + drop(y, i, 0))
    y = drop(jax.nn.relu(functional.dense(block['dense_0'], x)), i, 1)
    y = drop(functional.dense(block['dense_1'], y), i, 2)
    x = _attention.layer_norm(block['norm_1'], x + y)
  critic = params['critic']
  hidden = gelu(functional.dense(critic['dense_0'], x))
  hidden = _attention.layer_norm(critic['norm'], hidden)
  return x, functional.dense(critic['dense_1'], hidden)[..., 0]


def heads(shape: Shape, params: dict[str, Any], z: chex.Array) -> chex.Array:
  """Says what agents do, f[..., N, D] -> logits or means f[..., N, A]."""
  if shape.share_actor:
    return _shared_head(params['actor'], z)
  return jax.vmap(own_head, (0, -2), -2)(params['actor'], z)


def _shared_head(actor, z):
  for i in range(2):
    z = gelu(functional.dense(actor[f'dense_{i}'], z))
    z = _attention.layer_norm(actor[f'norm_{i}'], z)
  return functional.dense(actor['dense_2'], z)


def own_head(actor: dict[str, Any], z: chex.Array) -> chex.Array:
  """Says what an agent does by its own head, f[..., D] -> f[..., A]."""
  hidden = functional.dense(
    actor['dense_0'], _attention.layer_norm(actor['norm_0'], z)
  )
  hidden = _attention.layer_norm(actor['norm_1'], gelu(hidden))
  return functional.dense(actor['dense_1'], hidden)


def written(shape: Shape, actions: chex.Array) -> chex.Array:
  """Writes actions as the decoder reads them, f[..., A + 1] without a start."""
  if shape.discrete:
    return jax.nn.one_hot(actions + 1, shape.action_size + 1)
  room = jnp.zeros((*actions.shape[:-1], 1), actions.dtype)
  return jnp.concatenate([room, actions], axis=-1)


def shifted(shape: Shape, actions: chex.Array) -> chex.Array:
  """Gives each agent the action of the one before, the first a start token.

  Args:
    shape: of the model.
    actions: i[..., N] or f[..., N, a].

  Returns:
    f[..., N, A + 1]; entry 0 is the start token.
  """
  words = written(shape, actions)
  start = jax.nn.one_hot(0, shape.action_size + 1, dtype=words.dtype)
  first = jnp.broadcast_to(start, (*words.shape[:-2], 1, words.shape[-1]))
  return jnp.concatenate([first, words[..., :-1, :]], axis=-2)


def decode(
  shape: Shape,
  params: dict[str, Any],
  x: chex.Array,
  actions: chex.Array,
  links: _graphs.Links,
) -> chex.Array:
  """Says what each agent does after the actions of those before it.

  Args:
    shape: of the model.
    params: of the model.
    x: f[B, N, D] of the encoder.
    actions: i[B, N] or f[B, N, a]; that of the last has no effect.
    links: `Heard.before`.

  Returns:
    Logits f[B, N, A], or means of vectors.
  """
  if not shape.autoregressive:
    return heads(shape, params, x)
  decoder, table = params['decoder'], params.get('table')
  a = functional.dense(decoder['dense'], shifted(shape, actions))
  a = _attention.layer_norm(decoder['norm'], gelu(a))
  for i in range(shape.num_blocks):
    block = decoder[f'block_{i}']
    y = _attend(shape, block['attention_0'], table, a, a, links)
    y = _attention.layer_norm(block['norm_0'], a + y)
    z = _attend(shape, block['attention_1'], table, x, y, links)
    z = _attention.layer_norm(block['norm_1'], x + z)
    a = _attention.layer_norm(block['norm_2'], z + feed(block, z))
  return heads(shape, params, a)


def feed(block: dict[str, Any], z: chex.Array) -> chex.Array:
  """Two dense layers of a block of the decoder."""
  hidden = gelu(functional.dense(block['dense_0'], z))
  return functional.dense(block['dense_1'], hidden)


def spread(params: dict[str, Any]) -> chex.Array:
  """Deviations of actions that are vectors, f[a]."""
  return 0.5 * jax.nn.sigmoid(params['log_std'])


def noise_of(
  shape: Shape, key: chex.PRNGKey | None, num_envs: int
) -> chex.Array | None:
  """Draws what makes actions random, f[B, N, A]; None without a key.

  Args:
    shape: of the model.
    key: consumed.
    num_envs: B.

  Returns:
    Gumbel noise of logits, or normal numbers.
  """
  if key is None:
    return None
  sizes = (num_envs, shape.num_agents, shape.action_size)
  if shape.discrete:
    return jax.random.gumbel(key, sizes, jnp.float32)
  return jax.random.normal(key, sizes, jnp.float32)


def draw(
  shape: Shape,
  params: dict[str, Any],
  out: chex.Array,
  noise: chex.Array | None,
) -> chex.Array:
  """Draws actions, f[..., A] -> i[...] or f[..., a].

  Args:
    shape: of the model.
    params: of the model.
    out: logits or means.
    noise: f[..., A], see `noise_of`; None for the likeliest.

  Returns:
    The actions.
  """
  if shape.discrete:
    noisy = out if noise is None else out + noise
    return jnp.argmax(noisy, axis=-1).astype(jnp.int32)
  if noise is None:
    return out
  return out + jnp.broadcast_to(spread(params), out.shape) * noise


def log_prob(
  shape: Shape, params: dict[str, Any], out: chex.Array, actions: chex.Array
) -> chex.Array:
  """Logarithms of probabilities or densities, f[...]."""
  if shape.discrete:
    return _actions.Categories(shape.action_size).log_prob(out, actions)
  std = jnp.broadcast_to(spread(params), out.shape)
  z = (actions - out) / std
  each = -0.5 * z * z - jnp.log(std) - 0.5 * math.log(2 * math.pi)
  return jnp.sum(each, axis=-1)


def entropy(
  shape: Shape, params: dict[str, Any], out: chex.Array
) -> chex.Array:
  """Entropies, nats, f[...]."""
  if shape.discrete:
    return _actions.Categories(shape.action_size).entropy(out)
  each = jnp.log(spread(params)) + 0.5 * math.log(2 * math.pi * math.e)
  return jnp.broadcast_to(jnp.sum(each), out.shape[:-1])
