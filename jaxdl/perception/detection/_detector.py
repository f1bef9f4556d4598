# SPDX-License-Identifier: Apache-2.0
"""A small detector that is asked in words, after Grounding DINO."""

import math

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxdl import networks
from jaxdl.core import checks, registry, trees, types
from jaxdl.perception.detection import _losses

# Scores begin as if so few queries held an object.
PRIOR = 0.01
# Width and height of the box that every place of the image begins with.
ANCHOR = 0.2
_SHIFT = 0.1


class _Attention(nn.Module):
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


class _FeedForward(nn.Module):
  """Two dense layers with an elementwise activation between."""

  hidden: int

  @nn.compact
  def __call__(self, x):
    h = jax.nn.relu(networks.Dense(self.hidden, name='in')(x))
    return networks.Dense(x.shape[-1], name='out')(h)


class _Backbone(nn.Module):
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


class _TextEncoder(nn.Module):
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
    attend = _Attention(self.num_heads, name='attention')
    x = nn.LayerNorm(name='norm')(x + attend(x, x, x, real))
    count = jnp.maximum(jnp.sum(real, axis=1, keepdims=True), 1)
    mean = jnp.sum(jnp.where(real[..., None], x, 0.0), axis=1) / count
    return mean.astype(x.dtype).reshape(*phrases.shape[:-1], self.width)


class _EnhancerLayer(nn.Module):
  """Tokens see each other, then tokens and phrases see each other."""

  num_heads: int
  hidden: int

  @nn.compact
  def __call__(self, tokens, text, places, exists):
    at = tokens + places
    h = _Attention(self.num_heads, name='self_attention')(at, at, tokens)
    tokens = nn.LayerNorm(name='self_norm')(tokens + h)
    read = _Attention(self.num_heads, name='cross_text')
    seen = _Attention(self.num_heads, name='cross_image')
    h = read(tokens, text, text, exists)
    g = seen(text, tokens + places, tokens)
    tokens = nn.LayerNorm(name='cross_text_norm')(tokens + h)
    text = nn.LayerNorm(name='cross_image_norm')(text + g)
    h = _FeedForward(self.hidden, name='ffn')(tokens)
    return nn.LayerNorm(name='ffn_norm')(tokens + h), text


class _DecoderLayer(nn.Module):
  """Queries see each other, the image, the words; then their own network."""

  num_heads: int
  hidden: int

  @nn.compact
  def __call__(self, x, at, tokens, places, text, exists):
    q = x + at
    h = _Attention(self.num_heads, name='self_attention')(q, q, x)
    x = nn.LayerNorm(name='self_norm')(x + h)
    look = _Attention(self.num_heads, name='image_attention')
    h = look(x + at, tokens + places, tokens)
    x = nn.LayerNorm(name='image_norm')(x + h)
    read = _Attention(self.num_heads, name='text_attention')
    h = read(x + at, text, text, exists)
    x = nn.LayerNorm(name='text_norm')(x + h)
    h = _FeedForward(self.hidden, name='ffn')(x)
    return nn.LayerNorm(name='ffn_norm')(x + h)


class _Refine(nn.Module):
  """How far a box moves, in logits."""

  @nn.compact
  def __call__(self, x):
    h = jax.nn.relu(networks.Dense(x.shape[-1], name='hidden')(x))
    return networks.Dense(4, name='shift')(h)


class _Score(nn.Module):
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


class _Head(nn.Module):
  """Scores and boxes of every layer."""

  num_layers: int

  def setup(self):
    count = self.num_layers + 1
    self.score = [_Score() for _ in range(count)]
    self.box = [_Refine() for _ in range(count)]

  def __call__(self, i, x, text, reference):
    """Logits, and boxes refined from a reference, at a layer."""
    wide = trees.accumulator(x.dtype)
    shift = _SHIFT * self.box[i](x).astype(wide)
    start = _inverse_sigmoid(reference.astype(wide))
    return self.score[i](x, text), jax.nn.sigmoid(start + shift)


class _Decoder(nn.Module):
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
      wave = _waves(reference, width // 2).astype(dtype)
      at = out(jax.nn.relu(lift(wave)))
      layer = _DecoderLayer(self.num_heads, self.hidden, name=f'layer_{i}')
      x = layer(x, at, tokens, places, text, exists)
      score, reference = head(i + 1, x, text, reference)
      boxes.append(reference)
      logits.append(score)
    return boxes, logits


class _Detector(nn.Module):
  """Image and phrases to boxes and scores."""

  num_words: int
  width: int
  num_queries: int
  encoder_layers: int
  decoder_layers: int
  num_heads: int
  hidden: int
  channels: tuple[int, ...]
  strides: tuple[int, ...]

  @nn.compact
  def __call__(self, images, phrases, train=False):
    exists = jnp.any(phrases > 0, axis=-1)
    features = _Backbone(
      (*self.channels, self.width), self.strides, name='backbone'
    )(images, train)
    batch, height, wide, width = features.shape
    tokens = features.reshape(batch, height * wide, width)
    grid = _grid(height, wide)
    places = _waves(grid[None, :, :2], width // 2).astype(tokens.dtype)
    places = jnp.broadcast_to(places, tokens.shape)
    text = _TextEncoder(
      self.num_words, width, self.num_heads, name='text_encoder'
    )(phrases)
    text = text.astype(tokens.dtype)
    for i in range(self.encoder_layers):
      layer = _EnhancerLayer(self.num_heads, self.hidden, name=f'enhancer_{i}')
      tokens, text = layer(tokens, text, places, exists)
    head = _Head(self.decoder_layers, name='head')
    anchors = jnp.broadcast_to(grid[None], (batch, *grid.shape))
    scores, boxes = head(0, tokens, text, anchors)
    best = jnp.max(
      jnp.where(exists[:, None], scores, -jnp.inf), axis=-1
    )  # Without phrases all are alike: the first places.
    _, chosen = jax.lax.top_k(jax.lax.stop_gradient(best), self.num_queries)
    take = lambda x: jnp.take_along_axis(x, chosen[..., None], axis=1)
    boxes, scores, x = take(boxes), take(scores), take(tokens)
    decoder = _Decoder(
      self.decoder_layers, self.num_heads, self.hidden, name='decoder'
    )
    found, logits = decoder(x, boxes, tokens, places, text, exists, head)
    return _losses.Detections(
      jnp.stack([boxes, *found]), jnp.stack([scores, *logits]), exists
    )


def _inverse_sigmoid(x):
  x = jnp.clip(x, 1e-4, 1 - 1e-4)
  return jnp.log(x) - jnp.log1p(-x)


def _grid(height, width):
  """f[height width, 4], boxes at the middle of every token."""
  y, x = jnp.meshgrid(
    (jnp.arange(height) + 0.5) / height,
    (jnp.arange(width) + 0.5) / width,
    indexing='ij',
  )
  size = jnp.full_like(x, ANCHOR)
  return jnp.stack([x, y, size, size], axis=-1).reshape(-1, 4)


def _waves(places, size):
  """Sines and cosines of numbers in [0, 1], `size` of each."""
  half = size // 2
  rate = 2 * math.pi * 20.0 ** (-jnp.arange(half) / max(half - 1, 1)) * 8.0
  angle = places[..., None] * jnp.expand_dims(rate, range(places.ndim))
  found = jnp.concatenate([jnp.sin(angle), jnp.cos(angle)], axis=-1)
  return found.reshape(*places.shape[:-1], -1)


def grounding_detector(
  num_words: int,
  *,
  width: int = 64,
  num_queries: int = 20,
  encoder_layers: int = 1,
  decoder_layers: int = 3,
  num_heads: int = 4,
  hidden: int = 256,
  channels: tuple[int, ...] | int = (32, 64, 64),
  strides: tuple[int, ...] | int = (2, 2, 1, 1),
) -> types.Network:
  """Builds a detector of what phrases name.

  Convolutions make tokens of the image; words of a phrase see each other and
  their mean is the phrase; tokens and phrases see each other (the enhancer).
  The `num_queries` tokens with the highest score of any phrase become queries
  (ties to the lowest place), beginning with the box that their token predicts
  about its own place. Decoder layers let queries see each other, the image and
  the phrases, then apply `decoder/layer_i/ffn`, and move the box. Scores are
  inner products with phrases; phrases do not see each other but through the
  image, so their order does not matter.

  Args:
    num_words: size of the vocabulary, word 0 (padding) included.
    width: channels d, a multiple of 4 and of `num_heads`.
    num_queries: Q, at most the number of tokens.
    encoder_layers: of the enhancer, >= 1.
    decoder_layers: L, >= 1.
    num_heads: attention heads.
    hidden: width of feed-forward networks.
    channels: of the convolutions but the last, which has `width`.
    strides: of all convolutions, one more than channels.

  Returns:
    `Network`: images f[B, H, W, 3] and phrases i[B, P, W] (0 is padding) to
    `Detections` with L + 1 layers, the first being the choice of queries.
    Scores and boxes are float32 at least.

  Raises:
    TypeError, ValueError: if an option is out of range; from `init` and
      `apply`, if inputs do not fit.

  Cost: O(T² d + L Q (T + Q) d) for T tokens, beside the convolutions.

  Example:
    >>> network = grounding_detector(
    ...   5, width=8, num_queries=3, decoder_layers=2, num_heads=2, hidden=8,
    ...   channels=4, strides=(4, 2),
    ... )
    >>> images, phrases = jnp.zeros((2, 16, 16, 3)), jnp.ones((2, 4, 2), int)
    >>> params = jax.eval_shape(
    ...   network.init, jax.random.key(0), images, phrases
    ... )
    >>> found = jax.eval_shape(network.apply, params, images, phrases)
    >>> found.boxes.shape, found.logits.shape
    ((3, 2, 3, 4), (3, 2, 3, 4))

  Source: Ren et al. 2024 (https://arxiv.org/abs/2405.10300) and Liu et al. 2023
    (https://arxiv.org/abs/2303.05499), section 3, in small: plain attention
    instead of deformable one, learned words instead of BERT.
  """
  checks.integer(num_words, name='num_words', low=2)
  checks.integer(width, name='width', low=4)
  checks.integer(num_queries, name='num_queries', low=1)
  checks.num_layers(encoder_layers, name='encoder_layers')
  checks.num_layers(decoder_layers, name='decoder_layers')
  checks.integer(num_heads, name='num_heads', low=1)
  checks.integer(hidden, name='hidden', low=1)
  if width % num_heads or width % 4:
    raise ValueError(
      f'width={width} must be a multiple of 4 and of num_heads={num_heads}.'
    )
  channels = _sizes(channels, 'channels')
  strides = _sizes(strides, 'strides')
  if len(strides) != len(channels) + 1:
    raise ValueError(
      f'strides={strides} must have one entry more than channels={channels}: '
      'the last convolution has width channels.'
    )
  module = _Detector(
    num_words, width, num_queries, encoder_layers, decoder_layers, num_heads,
    hidden, channels, strides,
  )  # fmt: skip

  def check(images, phrases=None, *_):
    shape = tuple(images.shape)
    if len(shape) != 4 or shape[-1] != 3:
      raise ValueError(f'images must be f[B, H, W, 3]; got shape {shape}.')
    if phrases is None or len(phrases.shape) != 3:
      got = 'nothing' if phrases is None else f'shape {tuple(phrases.shape)}'
      raise ValueError(f'phrases must be i[B, P, W]; got {got}.')
    if not jnp.issubdtype(phrases.dtype, jnp.integer):
      raise TypeError(f'phrases must be integers; got {phrases.dtype}.')
    if phrases.shape[0] != shape[0] or 0 in phrases.shape[1:]:
      raise ValueError(
        f'phrases must be i[{shape[0]}, P, W] with P, W >= 1 for {shape[0]} '
        f'images; got shape {tuple(phrases.shape)}.'
      )
    tokens = _num_tokens(shape[1], strides) * _num_tokens(shape[2], strides)
    if tokens < num_queries:
      raise ValueError(
        f'num_queries={num_queries} exceeds the {tokens} tokens of an image of '
        f'{shape[1]} x {shape[2]}: use fewer queries or smaller strides.'
      )

  return networks.from_linen(module, kernel_init='fan_in', check=check)


def _num_tokens(size, strides):
  for stride in strides:
    size = (size - 1) // stride + 1
  return size


def _sizes(value, name):
  values = value if isinstance(value, (tuple, list)) else (value,)
  return tuple(checks.integer(v, name=name, low=1) for v in values)


DETECTORS = registry.Registry(
  'detector', {'grounding': grounding_detector}, given=('num_words',)
)


def detections_of(
  detections: _losses.Detections, *, num_best: int = 100
) -> tuple[chex.Array, chex.Array, chex.Array]:
  """The best pairs of query and phrase of the last layer.

  Nothing is thrown away by a threshold: what is shown or counted as found is up
  to who reads the scores (pictures here show scores of .3 and more).

  Args:
    detections: of the network.
    num_best: K, pairs per image, or all if there are fewer.

  Returns:
    boxes f[B, K, 4] (cx, cy, w, h), scores f[B, K] in falling order, -1 for
    padding among the phrases, and phrases i32[B, K].

  Raises:
    ValueError: if K is no positive number.

  Example:
    >>> found = _losses.Detections(
    ...   jnp.full((1, 1, 2, 4), 0.5),
    ...   jnp.array([[[[0.0, 1.0], [2.0, -1.0]]]]),
    ...   jnp.ones((1, 2), bool),
    ... )
    >>> boxes, scores, phrases = detections_of(found, num_best=2)
    >>> phrases.tolist(), [round(s, 3) for s in scores[0].tolist()]
    ([[0, 1]], [0.881, 0.731])
  """
  checks.integer(num_best, name='num_best', low=1)
  logits, boxes = detections.logits[-1], detections.boxes[-1]
  batch, num_queries, num_phrases = logits.shape
  scores = jnp.where(
    detections.exists[:, None], jax.nn.sigmoid(logits), -1.0
  ).reshape(batch, -1)
  most = min(num_best, num_queries * num_phrases)
  best, place = jax.lax.top_k(scores, most)
  own = jnp.take_along_axis(boxes, place[..., None] // num_phrases, axis=1)
  return own, best, (place % num_phrases).astype(jnp.int32)
