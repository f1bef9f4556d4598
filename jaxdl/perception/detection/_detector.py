# SPDX-License-Identifier: Apache-2.0
"""A small detector that is asked in words, after Grounding DINO."""

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxdl import networks
from jaxdl.core import checks, registry, types
from jaxdl.perception.detection import _layers, _losses


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
    features = _layers.Backbone(
      (*self.channels, self.width), self.strides, name='backbone'
    )(images, train)
    batch, height, wide, width = features.shape
    tokens = features.reshape(batch, height * wide, width)
    grid = _layers.grid(height, wide)
    places = _layers.waves(grid[None, :, :2], width // 2).astype(tokens.dtype)
    places = jnp.broadcast_to(places, tokens.shape)
    text = _layers.TextEncoder(
      self.num_words, width, self.num_heads, name='text_encoder'
    )(phrases)
    text = text.astype(tokens.dtype)
    for i in range(self.encoder_layers):
      layer = _layers.EnhancerLayer(
        self.num_heads, self.hidden, name=f'enhancer_{i}'
      )
      tokens, text = layer(tokens, text, places, exists)
    head = _layers.Head(self.decoder_layers, name='head')
    anchors = jnp.broadcast_to(grid[None], (batch, *grid.shape))
    scores, boxes = head(0, tokens, text, anchors)
    best = jnp.max(
      jnp.where(exists[:, None], scores, -jnp.inf), axis=-1
    )  # Without phrases all are alike: the first places.
    _, chosen = jax.lax.top_k(jax.lax.stop_gradient(best), self.num_queries)
    take = lambda x: jnp.take_along_axis(x, chosen[..., None], axis=1)
    boxes, scores, x = take(boxes), take(scores), take(tokens)
    decoder = _layers.Decoder(
      self.decoder_layers, self.num_heads, self.hidden, name='decoder'
    )
    found, logits = decoder(x, boxes, tokens, places, text, exists, head)
    return _losses.Detections(
      jnp.stack([boxes, *found]), jnp.stack([scores, *logits]), exists
    )


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
    checks.class_labels(phrases, num_words, name='phrases')
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
