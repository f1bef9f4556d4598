# SPDX-License-Identifier: Apache-2.0
"""A small causal transformer, and the task of predicting the next token."""

import math
from collections.abc import Sequence

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxdl.core import checks, classes, trees
from jaxdl.core.types import Network, Task
from jaxdl.networks import _as_network, _linen, _taps, _tasks
from jaxdl.networks._layers import Dense

IGNORED = -1


def causal_attention(
  query: chex.Array, key: chex.Array, value: chex.Array
) -> chex.Array:
  """Averages the values of earlier positions by softmax of inner products.

  Position t sees positions 0..t. Inner products are divided by sqrt(C); the
  softmax is taken in float32 (float64 for float64 inputs).

  Args:
    query: f[..., L, H, C], L positions, H heads of C channels.
    key: f[..., L, H, C].
    value: f[..., L, H, C].

  Returns:
    f[..., L, H, C], dtype of `value`.

  Raises:
    ValueError: if shapes differ.

  Cost: O(L² · H · C) work, O(L² · H) memory.

  Example:
    >>> x = jnp.arange(3.0).reshape(3, 1, 1)
    >>> causal_attention(jnp.zeros_like(x), x, x)[:, 0, 0]
    Array([0. , 0.5, 1. ], dtype=float32)

  Source: Vaswani et al. 2017 (https://arxiv.org/abs/1706.03762), equation 1.
  """
  if not query.shape == key.shape == value.shape or query.ndim < 3:
    raise ValueError(
      'query, key and value need one shape [..., L, H, C]; got '
      f'{query.shape}, {key.shape} and {value.shape}.'
    )
  wide = trees.accumulator(value.dtype)
  length, channels = query.shape[-3], query.shape[-1]
  scores = jnp.einsum('...qhc,...khc->...hqk', query, key)
  scores = scores.astype(wide) / math.sqrt(channels)
  seen = jnp.tril(jnp.ones((length, length), bool))
  seen = seen.reshape((1,) * (scores.ndim - 2) + seen.shape)
  weights = jax.nn.softmax(jnp.where(seen, scores, -jnp.inf), axis=-1)
  return jnp.einsum('...hqk,...khc->...qhc', weights.astype(value.dtype), value)


class _Table(nn.Module):
  """Rows of a matrix, learned; named kernel so that one draw fills it."""

  rows: int
  width: int

  @nn.compact
  def __call__(self):
    shape = (self.rows, self.width)
    return self.param('kernel', nn.initializers.lecun_normal(), shape)


class _Block(nn.Module):
  """Attention and a two-layer perceptron, each added to what comes in."""

  num_heads: int
  dropout: float

  @nn.compact
  def __call__(self, x, train):
    width = x.shape[-1]
    drop = nn.Dropout(self.dropout, deterministic=not train)
    heads = (*x.shape[:-1], self.num_heads, width // self.num_heads)
    h = nn.LayerNorm(name='attention_norm')(x)
    h = Dense(3 * width, name='query_key_value')(h)
    q, k, v = (part.reshape(heads) for part in jnp.split(h, 3, axis=-1))
    h = causal_attention(q, k, v).reshape(x.shape)
    x = x + drop(Dense(width, name='attention_out')(h))
    h = nn.LayerNorm(name='perceptron_norm')(x)
    h = jax.nn.gelu(Dense(4 * width, name='perceptron_in')(h))
    h = _taps.tap(h, 'dense')
    return _taps.tap(x + drop(Dense(width, name='perceptron_out')(h)), 'block')


class _TransformerLm(nn.Module):
  """Token and position embeddings, blocks, and the embedding again."""

  num_tokens: int
  width: int
  depth: int
  num_heads: int
  max_length: int
  dropout: float

  @nn.compact
  def __call__(self, tokens, train=False):
    table = _Table(self.num_tokens, self.width, name='tokens')()
    places = _Table(self.max_length, self.width, name='positions')()
    length = tokens.shape[1]
    x = jnp.take(table, tokens, axis=0, mode='clip') + places[None, :length]
    x = nn.Dropout(self.dropout, deterministic=not train)(x)
    for n in range(self.depth):
      block = _Block(self.num_heads, self.dropout, name=f'block_{n}')
      x = block(x, train)
    x = nn.LayerNorm(name='norm')(x)
    return x @ table.T


def transformer_lm(
  num_tokens: int = 256,
  *,
  width: int = 64,
  depth: int = 2,
  num_heads: int = 4,
  max_length: int = 128,
  dropout: float = 0.0,
) -> Network:
  """Builds a causal language model; with 256 tokens it reads bytes.

  Blocks normalize before attention and before the perceptron (four times as
  wide, tanh-approximated GELU). Positions are learned. The output layer is the
  token embedding (tied), after a last normalization. It has
  `width (num_tokens + max_length + 2) + depth width (12 width + 13)`
  parameters.

  Args:
    num_tokens: size of the vocabulary V, >= 1.
    width: channels, a multiple of `num_heads`.
    depth: blocks, >= 1.
    num_heads: attention heads, >= 1.
    max_length: longest sequence, >= 1.
    dropout: share dropped of embeddings and of each block's output when
      training, in [0, 1).

  Returns:
    `Network`: tokens i[B, L] with L <= max_length to logits f[B, L, V], where
    position t has seen tokens 0..t. Tokens out of range count as the nearest.

  Raises:
    TypeError, ValueError: if an option is out of range; from `init` and
      `apply`, if tokens are not integers [B, L].

  Example:
    >>> network = transformer_lm(width=8, depth=1, num_heads=2, max_length=16)
    >>> params = network.init(jax.random.key(0), jnp.zeros((1, 5), jnp.int32))
    >>> network.apply(params, jnp.zeros((2, 7), jnp.int32)).shape
    (2, 7, 256)
  """
  checks.integer(num_tokens, name='num_tokens', low=1)
  checks.integer(width, name='width', low=1)
  checks.num_layers(depth, name='depth')
  checks.integer(num_heads, name='num_heads', low=1)
  checks.integer(max_length, name='max_length', low=1)
  checks.number(dropout, name='dropout', low=0.0, high=1.0, open_high=True)
  if width % num_heads:
    raise ValueError(
      f'width={width} must be a multiple of num_heads={num_heads}.'
    )

  def check(tokens, *_):
    if len(tokens.shape) != 2:
      raise ValueError(
        f'transformer_lm takes tokens [B, L]; got shape {tuple(tokens.shape)}.'
      )
    if not jnp.issubdtype(tokens.dtype, jnp.integer):
      raise TypeError(f'tokens must be integers; got {tokens.dtype}.')
    if not 1 <= tokens.shape[1] <= max_length:
      raise ValueError(
        f'sequences have {tokens.shape[1]} tokens but need 1 <= L <= '
        f'max_length = {max_length}.'
      )

  module = _TransformerLm(
    num_tokens, width, depth, num_heads, max_length, float(dropout)
  )
  return _linen.from_linen(module, kernel_init='fan_in', check=check)


def language_modeling(
  network: Network,
  example_inputs: chex.ArrayTree,
  *,
  num_tokens: int = 256,
  label_tokens: Sequence[int] | None = None,
) -> Task:
  """Builds the task of predicting tokens from those before them.

  `labels[b, t]` is what follows `inputs[b, :t + 1]`, or -1 where nothing is
  predicted. The loss of an example is its mean cross-entropy over predicted
  tokens, and the batch's the masked mean over examples (one without predicted
  tokens counts as masked). With `label_tokens` this is prompting: the logits of
  all other tokens are -inf, so the model chooses among the words that name the
  classes.

  Args:
    network: tokens i[B, L] to logits f[B, L, V], causal.
    example_inputs: tokens [B, L] (or a `jax.ShapeDtypeStruct`) that initialize
      the network.
    num_tokens: size of the vocabulary V (static).
    label_tokens: tokens that may be predicted; all if None (static).

  Returns:
    `Task`. Batches hold `inputs: i32[B, L]`, `labels: i32[B, L]` in [-1, V) and
    optionally `mask: bool[B]`. `evaluate` gives `accuracy` (of the predicted
    tokens), `loss` in nats per token and `bits` per token.

  Raises:
    ValueError: if a label token is not in the vocabulary; from `loss` and
      `evaluate`, if labels and logits do not fit.

  Example:
    >>> network = transformer_lm(width=8, depth=1, num_heads=2, max_length=16)
    >>> tokens = jnp.array([list(b'good')])
    >>> task = language_modeling(network, tokens)
    >>> batch = {'inputs': tokens[:, :-1], 'labels': tokens[:, 1:]}
    >>> loss = task.loss(task.init(jax.random.key(0)), batch)
    >>> bool(loss > 4.0)
    True

  Source: prompting with masked label words follows Malladi et al. 2023
    (https://arxiv.org/abs/2305.17333), appendix E.
  """
  network = _as_network.as_network(network)
  checks.integer(num_tokens, name='num_tokens', low=1)
  allowed = None
  if label_tokens is not None:
    tokens = tuple(
      checks.integer(t, name='label_tokens', low=0, high=num_tokens - 1)
      for t in label_tokens
    )
    if not tokens:
      raise ValueError('label_tokens is empty: name at least one token.')
    allowed = np.isin(np.arange(num_tokens), tokens)

  def init(key):
    return network.init(key, example_inputs)

  def errors(params, batch, train, key):
    (inputs,), labels, mask = _tasks._unpack(batch)
    if not jnp.issubdtype(labels.dtype, jnp.integer):
      raise TypeError(f'labels must be integers; got {labels.dtype}.')
    logits = network.apply(params, inputs, train=train, key=key)
    if logits.shape != (*labels.shape, num_tokens):
      raise ValueError(
        'logits must have shape (*labels, num_tokens) = '
        f'{(*labels.shape, num_tokens)}; got {logits.shape}.'
      )
    logits = logits.astype(trees.accumulator(logits.dtype))
    if allowed is not None:
      logits = jnp.where(allowed.reshape(1, 1, -1), logits, -jnp.inf)
    predicted = labels != IGNORED
    target = jnp.where(predicted, labels, 0)
    if allowed is not None:
      # Where nothing is predicted, the loss of a legal token is finite.
      target = jnp.where(predicted, target, int(np.argmax(allowed)))
    loss = optax.softmax_cross_entropy_with_integer_labels(logits, target)
    right = classes.is_right(logits, target).astype(logits.dtype)
    count = jnp.sum(predicted, axis=1)
    mean = lambda v: (
      jnp.sum(jnp.where(predicted, v, 0.0), axis=1) / (jnp.maximum(count, 1))
    )
    mask = count > 0 if mask is None else mask & (count > 0)
    return {
      name: _tasks._masked_mean(mean(value), mask)
      for name, value in (('accuracy', right), ('loss', loss))
    }

  def loss(params, batch, *, key=None):
    return errors(params, batch, True, key)['loss']

  def evaluate(params, batch):
    values = errors(params, batch, False, None)
    return {**values, 'bits': values['loss'] / math.log(2.0)}

  def chosen(params, batch):
    """Logits of the words that name the classes alone."""
    (inputs,), labels, mask = _tasks._unpack(batch)
    words = np.flatnonzero(allowed)
    logits = network.apply(params, inputs)[..., words]
    predicted = labels != IGNORED
    if mask is not None:
      predicted &= mask[:, None]
    number = jnp.searchsorted(jnp.asarray(words), labels)
    return logits, jnp.where(predicted, number, 0), predicted

  return Task(init, loss, evaluate, None if allowed is None else chosen)
