# SPDX-License-Identifier: Apache-2.0
"""What the small detector is made of."""

import math

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxdl import networks
from jaxdl.core import trees

# Scores begin as if so few queries held an object.
PRIOR = 0.01
# Width and height of the box that every place of the image begins with.
ANCHOR = 0.2
_SHIFT = 0.1


class Attention(nn.Module):
  """Heads of attention, with the projections before and after."""

  num_heads: int

  @nn.compact
  def __call__(self, query, key, value, mask=None):
    width = query.shape[-1]
    split = lambda x: x.reshape(
      *x.shape[:-1], self.num_heads, width // self.num_heads
    )
    q = split(networks.Dense(width, name='query')(query))
    k = split(networks.Dense(width, name='key')(key))
    v = split(networks.Dense(width, name='value')(value))
    if mask is not None:
      # Rows without any key see all of them alike, which nobody reads.
      mask = mask[:, None, None, :]
    mixed = jax.nn.dot_product_attention(q, k, v, mask=mask)
    return networks.Dense(width, name='out')(mixed.reshape(query.shape))


class FeedForward(nn.Module):
  """Two dense layers with an elementwise activation between."""

  hidden: int

  @nn.compact
  def __call__(self, x):
    h = jax.nn.relu(networks.Dense(self.hidden, name='in')(x))
    return networks.Dense(x.shape[-1], name='out')(h)


class Backbone(nn.Module):
  """Convolutions to a map of tokens."""

  channels: tuple[int, ...]
  strides: tuple[int, ...]

  @nn.compact
  def __call__(self, x, train):
    for i, (width, stride) in enumerate(
      zip(self.channels, self.strides, strict=True)
    ):
      conv = networks.Conv(width, 3, stride, 1, name=f'conv_{i}')
      x = conv(x, train=train)
      x = jax.nn.relu(nn.LayerNorm(name=f'norm_{i}')(x))
    return x


class TextEncoder(nn.Module):
  """One vector per phrase; phrases do not see each other."""

  num_words: int
  width: int
  num_heads: int

  @nn.compact
  def __call__(self, phrases):
    shape = (self.num_words, self.width)
    start = nn.initializers.lecun_normal()
    table = self.param('kernel', start, shape)
    flat = phrases.reshape(-1, phrases.shape[-1])
    real = flat > 0
    x = jnp.take(table, flat, axis=0, mode='clip')
    attend = Attention(self.num_heads, name='attention')
    x = nn.LayerNorm(name='norm')(x + attend(x, x, x, real))
    count = jnp.maximum(jnp.sum(real, axis=1, keepdims=True), 1)
    mean = jnp.sum(jnp.where(real[..., None], x, 0.0), axis=1) / count
    return mean.astype(x.dtype).reshape(*phrases.shape[:-1], self.width)


class EnhancerLayer(nn.Module):
  """Tokens see each other, then tokens and phrases see each other."""

  num_heads: int
  hidden: int

  @nn.compact
  def __call__(self, tokens, text, places, exists):
    at = tokens + places
    h = Attention(self.num_heads, name='self_attention')(at, at, tokens)
    tokens = nn.LayerNorm(name='self_norm')(tokens + h)
    read = Attention(self.num_heads, name='cross_text')
    seen = Attention(self.num_heads, name='cross_image')
    h = read(tokens, text, text, exists)
    g = seen(text, tokens + places, tokens)
    tokens = nn.LayerNorm(name='cross_text_norm')(tokens + h)
    text = nn.LayerNorm(name='cross_image_norm')(text + g)
    h = FeedForward(self.hidden, name='ffn')(tokens)
    return nn.LayerNorm(name='ffn_norm')(tokens + h), text


class DecoderLayer(nn.Module):
  """Queries see each other, the image, the words; then their own network."""

  num_heads: int
  hidden: int

  @nn.compact
  def __call__(self, x, at, tokens, places, text, exists):
    q = x + at
    h = Attention(self.num_heads, name='self_attention')(q, q, x)
    x = nn.LayerNorm(name='self_norm')(x + h)
    look = Attention(self.num_heads, name='image_attention')
    h = look(x + at, tokens + places, tokens)
    x = nn.LayerNorm(name='image_norm')(x + h)
    read = Attention(self.num_heads, name='text_attention')
    h = read(x + at, text, text, exists)
    x = nn.LayerNorm(name='text_norm')(x + h)
    h = FeedForward(self.hidden, name='ffn')(x)
    return nn.LayerNorm(name='ffn_norm')(x + h)


class Refine(nn.Module):
  """How far a box moves, in logits."""

  @nn.compact
  def __call__(self, x):
    h = jax.nn.relu(networks.Dense(x.shape[-1], name='hidden')(x))
    return networks.Dense(4, name='shift')(h)


class Score(nn.Module):
  """Inner products of queries and phrases."""

  @nn.compact
  def __call__(self, x, text):
    x = networks.Dense(x.shape[-1], name='project')(x)
    wide = trees.accumulator(x.dtype)
    bias = self.param('bias', nn.initializers.zeros, (1,)).astype(wide)
    bias = bias.reshape(1, 1, 1)
    found = jnp.einsum('bqd,bpd->bqp', x, text).astype(wide)
    start = math.log(PRIOR / (1 - PRIOR))
    return found / math.sqrt(x.shape[-1]) + bias + start


class Head(nn.Module):
  """Scores and boxes of every layer."""

  num_layers: int

  def setup(self):
    count = self.num_layers + 1
    self.score = [Score() for _ in range(count)]
    self.box = [Refine() for _ in range(count)]

  def __call__(self, i, x, text, reference):
    """Logits, and boxes refined from a reference, at a layer."""
    wide = trees.accumulator(x.dtype)
    shift = _SHIFT * self.box[i](x).astype(wide)
    start = inverse_sigmoid(reference.astype(wide))
    return self.score[i](x, text), jax.nn.sigmoid(start + shift)


class Decoder(nn.Module):
  """Layers that refine chosen places, box by box."""

  num_layers: int
  num_heads: int
  hidden: int

  @nn.compact
  def __call__(self, x, reference, tokens, places, text, exists, head):
    width = x.shape[-1]
    dtype = x.dtype
    lift = networks.Dense(width, name='place_in')
    out = networks.Dense(width, name='place_out')
    boxes, logits = [], []
    for i in range(self.num_layers):
      reference = jax.lax.stop_gradient(reference)
      wave = waves(reference, width // 2).astype(dtype)
      at = out(jax.nn.relu(lift(wave)))
      layer = DecoderLayer(self.num_heads, self.hidden, name=f'layer_{i}')
      x = layer(x, at, tokens, places, text, exists)
      score, reference = head(i + 1, x, text, reference)
      boxes.append(reference)
      logits.append(score)
    return boxes, logits


def inverse_sigmoid(x):
  """Logits of shares, which are kept away from 0 and 1."""
  x = jnp.clip(x, 1e-4, 1 - 1e-4)
  return jnp.log(x) - jnp.log1p(-x)


def grid(height, width):
  """f[height width, 4], boxes at the middle of every token."""
  y, x = jnp.meshgrid(
    (jnp.arange(height) + 0.5) / height,
    (jnp.arange(width) + 0.5) / width,
    indexing='ij',
  )
  size = jnp.full_like(x, ANCHOR)
  return jnp.stack([x, y, size, size], axis=-1).reshape(-1, 4)


def waves(places, size):
  """Sines and cosines of numbers in [0, 1], `size` of each."""
  half = size // 2
  rate = 2 * math.pi * 20.0 ** (-jnp.arange(half) / max(half - 1, 1)) * 8.0
  angle = places[..., None] * jnp.expand_dims(rate, range(places.ndim))
  found = jnp.concatenate([jnp.sin(angle), jnp.cos(angle)], axis=-1)
  return found.reshape(*places.shape[:-1], -1)
