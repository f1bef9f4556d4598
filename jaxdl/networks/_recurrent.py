# SPDX-License-Identifier: Apache-2.0
"""Recurrent networks on characters."""

from collections.abc import Mapping

import flax.linen as nn
import jax.numpy as jnp

from jaxdl.core import checks
from jaxdl.core.types import Network
from jaxdl.networks import _linen, _taps, _transformer
from jaxdl.networks._layers import Dense


class _CharLstm(nn.Module):
  """Embedding, layers of LSTM, and a dense layer at the end or everywhere."""

  num_outputs: int
  num_tokens: int
  width: int
  depth: int
  embed: int
  every: bool
  pad: int | None

  @nn.compact
  def __call__(self, tokens, train=False):
    del train
    table = _transformer._Table(self.num_tokens, self.embed, name='tokens')()
    x = jnp.take(table, tokens, axis=0, mode='clip')
    for n in range(self.depth):
      cell = nn.OptimizedLSTMCell(
        self.width, dtype=x.dtype, param_dtype=x.dtype, name=f'lstm_{n}'
      )
      x = _taps.tap(nn.RNN(cell, name=f'layer_{n}')(x), 'lstm')
    if not self.every:
      x = x[:, -1] if self.pad is None else self._last(x, tokens)
    return Dense(self.num_outputs, name='out')(x)

  def _last(self, x, tokens):
    """The row after the last token that is no padding, at least the first."""
    places = jnp.arange(tokens.shape[1])
    last = jnp.max(jnp.where(tokens != self.pad, places, 0), axis=1)
    return jnp.take_along_axis(x, last[:, None, None], axis=1)[:, 0]


def char_lstm(
  num_outputs: int = 80,
  *,
  width: int = 256,
  depth: int = 2,
  embed: int = 8,
  num_tokens: int | None = None,
  every: bool = False,
  pad: int | None = None,
  kernel_init: str = 'fan_in',
) -> Network:
  """Builds the recurrent network that federated Shakespeare is trained with.

  Characters are embedded, LSTMs follow one another, and a dense layer predicts
  what comes next. The gate that forgets is open at the start, with bias one. It
  has `V e + 4 w (e + w + 1) + (depth - 1) 4 w (2 w + 1) + (w + 1) K`
  parameters: 817,872 for the 80 characters of LEAF, 820,522 for the 90 tokens
  of TensorFlow Federated and FedJAX.

  Args:
    num_outputs: K, number of characters that may come next.
    width: w, of every LSTM.
    depth: LSTMs, >= 1.
    embed: e, numbers per character.
    num_tokens: V, number of characters that are read; K if None.
    every: whether something is predicted after every character, as in
      `language_modeling`, or after the last alone, as in `classification`.
    pad: token that fills sequences up at their end and is not read; None where
      all have one length. What is predicted after a character depends on those
      before it alone, so with `every` labels of -1 do instead.
    kernel_init: a name in `functional.KERNEL_INITS`; 'critical' is that of
      tanh, 1 / fan_in.

  Returns:
    `Network`; inputs i[B, L], L >= 1; outputs logits f[B, K], or f[B, L, K]
    with `every`. Tokens out of range count as the nearest.

  Raises:
    TypeError, ValueError: if an option is out of range; from `init` and
      `apply`, if tokens are not integers [B, L].

  Cost: L steps one after the other, O(B · L · w²) work each layer.

  Example:
    >>> import jax
    >>> network = char_lstm(5, width=4, every=True)
    >>> params = network.init(jax.random.key(0), jnp.zeros((1, 3), jnp.int32))
    >>> network.apply(params, jnp.zeros((2, 7), jnp.int32)).shape
    (2, 7, 5)

  Source: Caldas et al. 2018 (https://arxiv.org/abs/1812.01097), models of the
    code; Reddi et al. 2021 (https://arxiv.org/abs/2003.00295), appendix C.
  """
  k = checks.integer(num_outputs, name='num_outputs', low=1)
  checks.integer(width, name='width', low=1)
  checks.num_layers(depth, name='depth')
  checks.integer(embed, name='embed', low=1)
  v = k if num_tokens is None else num_tokens
  checks.integer(v, name='num_tokens', low=1)
  if pad is not None:
    checks.integer(pad, name='pad', low=0)

  def check(tokens, *_):
    if len(tokens.shape) != 2 or not tokens.shape[1]:
      raise ValueError(
        'char_lstm takes tokens [B, L], L >= 1; got shape '
        f'{tuple(tokens.shape)}.'
      )
    if not jnp.issubdtype(tokens.dtype, jnp.integer):
      raise TypeError(
        f'char_lstm takes tokens, which must be integers; got {tokens.dtype}.'
      )

  module = _CharLstm(k, v, width, depth, embed, every, pad)
  network = _linen.from_linen(
    module, kernel_init=kernel_init, activation='tanh', check=check
  )

  def init(key, *inputs):
    return _remembering(network.init(key, *inputs))

  return network._replace(init=init)


def _remembering(params):
  """The same, with a bias of one at gates that forget (of flax's names)."""
  if not isinstance(params, Mapping):
    return params
  out = {name: _remembering(value) for name, value in params.items()}
  if 'hf' in out and 'bias' in out['hf']:
    out['hf'] = out['hf'] | {'bias': out['hf']['bias'] + 1}
  return out
