# SPDX-License-Identifier: Apache-2.0
"""Messages of a client that remembers what it has sent."""

from collections.abc import Callable
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp

from jaxdl.compression import _arrays, _compressors, _low_rank
from jaxdl.core import checks, registry, trees

_FACTOR_BITS = 32


class Messenger(NamedTuple):
  """How one client sends its messages, round after round; unbatched.

  Attributes:
    init: `init(tree) -> state` for messages of this form (abstract leaves do);
      the same for every client, and an empty tuple if nothing is remembered.
    send: `send(key, tree, state) -> (decoded, state)`: what the receivers
      decode, same structure, shapes and dtypes. Consumes the key, which they
      share. For all clients at once `jax.vmap` it over key, tree and state.
    bits: `bits(tree) -> int`, size of a message of this form on the wire.
    name: of the compressor, 'ef+' before it with error feedback.
  """

  init: Callable[[chex.ArrayTree], chex.ArrayTree]
  send: Callable[..., tuple[chex.ArrayTree, chex.ArrayTree]]
  bits: Callable[[chex.ArrayTree], int]
  name: str


def _powersgd(*, rank: int = 2, seed: int = 0) -> Messenger:
  """Sends matrices as products of rank r, each started from the last one.

  32 r (a + b) bits for a matrix [a, b], see `power_sgd`; vectors, and matrices
  for which that is no less, are sent raw.
  """
  r = checks.integer(rank, name='rank', low=1)
  seed = checks.integer(seed, name='seed', low=0)

  def cut(x):
    """(a, b) of a leaf that is sent as a product, or None."""
    shape = _low_rank.matrix_shape(jnp.shape(x))
    size, width = _compressors.form(x)
    if shape is None or not size:
      return None
    cost = _factor_bits(width) * min(r, *shape) * sum(shape)
    return shape if cost < size * width else None

  def init(tree):
    leaves = jax.tree.leaves(tree)
    key = jax.random.key(seed)
    return tuple(
      ()
      if cut(x) is None
      else _low_rank.first_factor(
        jax.random.fold_in(key, i), cut(x)[1], min(r, *cut(x))
      ).astype(trees.accumulator(jnp.result_type(x)))
      for i, x in enumerate(leaves)
    )

  def send(key, tree, state):
    del key
    leaves, structure = jax.tree.flatten(tree)
    sent, after = [], []
    for x, factor in zip(leaves, state, strict=True):
      x, shape = _arrays.floating(x), cut(x)
      if shape is None:
        sent.append(x)
        after.append(())
        continue
      y, factor = _low_rank.power_sgd(x.reshape(shape), factor)
      sent.append(y.reshape(x.shape))
      after.append(factor)
    return structure.unflatten(sent), tuple(after)

  def bits(tree):
    total = 0
    for x in jax.tree.leaves(tree):
      size, width = _compressors.form(x)
      shape = cut(x)
      if shape is None:
        total += size * width
      else:
        total += _factor_bits(width) * min(r, *shape) * sum(shape)
    return total

  return Messenger(init, send, bits, 'powersgd')


def _factor_bits(width: int) -> int:
  """Factors are made, and sent, in float32 at least."""
  return max(width, _FACTOR_BITS)


def _feedback(*, decay: float = 1.0) -> float:
  """Adds to each message what the ones before have lost, times a decay."""
  checks.number(decay, name='decay', low=0.0, high=1.0)
  return float(decay)


FEEDBACK = registry.Registry('feedback', {'ef': _feedback})

MESSENGERS = registry.Registry(
  'compressor',
  {**_compressors.COMPRESSORS, 'powersgd': _powersgd},
  before=FEEDBACK,
)


def as_messenger(
  compressor: str | _compressors.Compressor | Messenger,
  *,
  error_feedback: bool = False,
  decay: chex.Numeric = 1.0,
) -> Messenger:
  """Turns what stands for compression into a `Messenger`.

  With error feedback a client adds to its message Δ what the ones before have
  lost: u = Δ + e is compressed, C(u) sent, and e = decay (u - C(u)) kept, in
  float32 at least. With decay 1 nothing is lost in the end: Σ sent + e = Σ Δ.
  It pays for contractions (δ > 0); what an unbiased compressor with δ <= 0
  loses may grow from round to round. A message that is not finite is sent as it
  is compressed, and what it lost is forgotten where it is no number.

  Args:
    compressor: a part of `MESSENGERS`: any of `COMPRESSORS`, or
      `powersgd(rank)`; 'ef+' or 'ef(decay=0.9)+' before it is error feedback.
      Or a `Compressor` or `Messenger` (static).
    error_feedback: whether it has error feedback (static).
    decay: in [0, 1]; 'ef(decay=...)' says it in text.

  Returns:
    The messenger.

  Raises:
    ValueError: if the name or an option is unknown, or a number out of range.
    TypeError: if it is anything else.

  Example:
    >>> top = as_messenger('ef+top_k(keep=0.34)')
    >>> delta = jnp.array([3.0, 2.0, 1.0])
    >>> state = top.init(delta)
    >>> for _ in range(3):
    ...   sent, state = top.send(jax.random.key(0), delta, state)
    ...   print(sent)
    [3. 0. 0.]
    [0. 4. 0.]
    [6. 0. 0.]

  Source: Seide et al. 2014 (Interspeech); Karimireddy et al. 2019
  (https://arxiv.org/abs/1901.09847), algorithm 2; with factors: Vogels et al.
  2019 (https://arxiv.org/abs/1905.13727), algorithm 2.
  """
  if not isinstance(error_feedback, bool):
    raise TypeError(
      'error_feedback must be True or False; got '
      f'{checks.described(error_feedback)}.'
    )
  checks.number(decay, name='decay', low=0.0, high=1.0)
  if isinstance(compressor, str):
    *first, last = MESSENGERS.parts(compressor)
    if len(first) > 1:
      raise ValueError(
        f'compressor={compressor!r} has {len(first)} parts before the last: '
        "'ef' once is enough."
      )
    if first:
      error_feedback, decay = True, FEEDBACK.bound(first[0])
    compressor = MESSENGERS.bound(last)
  if isinstance(compressor, _compressors.Compressor):
    compressor = _memoryless(compressor)
  if not isinstance(compressor, Messenger):
    raise TypeError(
      'compressor must be text, a Compressor or a Messenger; got '
      f'{checks.described(compressor)}: see compression.MESSENGERS.'
    )
  return _with_feedback(compressor, decay) if error_feedback else compressor


def _memoryless(compressor: _compressors.Compressor) -> Messenger:
  def send(key, tree, state):
    return compressor.compress(key, tree), state

  return Messenger(lambda tree: (), send, compressor.bits, compressor.name)


class FeedbackState(NamedTuple):
  """What a messenger with error feedback remembers.

  Attributes:
    error: e, leaves [...] like a message, float32 at least.
    inner: state of the messenger inside.
  """

  error: chex.ArrayTree
  inner: Any


def _with_feedback(inner: Messenger, decay: chex.Numeric) -> Messenger:
  def init(tree):
    zeros = lambda x: jnp.zeros(
      jnp.shape(x), trees.accumulator(jnp.result_type(x))
    )
    return FeedbackState(jax.tree.map(zeros, tree), inner.init(tree))

  def send(key, tree, state):
    tree = jax.tree.map(_arrays.floating, tree)
    wanted = jax.tree.map(lambda x, e: x.astype(e.dtype) + e, tree, state.error)
    sent, after = inner.send(key, trees.cast_like(wanted, tree), state.inner)
    error = jax.tree.map(
      lambda u, c: decay * trees.finite_or_zero(u - c.astype(u.dtype)),
      wanted,
      sent,
    )
    return sent, FeedbackState(error, after)

  return Messenger(init, send, inner.bits, f'ef+{inner.name}')
