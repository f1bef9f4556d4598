# SPDX-License-Identifier: Apache-2.0
"""Attention of several heads, with scores that can be changed on the way."""

import math
from collections.abc import Callable

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxdl.combinatorial import _blocks
from jaxdl.networks._layers import Dense


def scores_of(
  query: chex.Array, key: chex.Array, num_heads: int, *, sharp: bool = False
) -> chex.Array:
  """Returns inner products per head.

  Args:
    query: f[R, C].
    key: f[m, C].
    num_heads: H, which divides C.
    sharp: whether they are left as they are, not divided by sqrt(C / H).

  Returns:
    f[H, R, m], at least float32.
  """
  size = query.shape[-1] // num_heads
  query, key = (_split(x, num_heads) for x in (query, key))
  scores = _blocks.multiply(query, jnp.swapaxes(key, 1, 2))
  return scores if sharp else scores / math.sqrt(size)


def average(
  scores: chex.Array, value: chex.Array, allowed: chex.Array | None = None
) -> chex.Array:
  """Averages values by the softmax of scores.

  Args:
    scores: f[H, R, m].
    value: f[m, C].
    allowed: bool[R, m]; all by default, never none of a row.

  Returns:
    f[R, C], dtype of `value`.
  """
  if allowed is not None:
    scores = jnp.where(allowed[None], scores, -jnp.inf)
  weights = jax.nn.softmax(scores, axis=-1)
  out = _blocks.multiply(weights, _split(value, scores.shape[0]))
  return joined(out).astype(value.dtype)


def joined(x: chex.Array) -> chex.Array:
  """Puts heads f[H, R, c] next to one another, f[R, H c]."""
  return jnp.swapaxes(x, 0, 1).reshape(x.shape[1], -1)


def _split(x, num_heads):
  """f[R, H c] -> f[H, R, c]."""
  return jnp.swapaxes(x.reshape(x.shape[0], num_heads, -1), 0, 1)


class Attend(nn.Module):
  """Rows attend to columns, the result is added to the rows and normalized.

  Attributes:
    num_heads: H.
    sharp: whether scores are not scaled.
    size: of a head; width / H by default.
  """

  num_heads: int
  sharp: bool = False
  size: int | None = None

  @nn.compact
  def __call__(
    self,
    rows: jax.Array,
    columns: jax.Array,
    mix: Callable[[jax.Array], jax.Array] | None = None,
  ) -> jax.Array:
    """Applies the block.

    Args:
      rows: f[R, C].
      columns: f[m, C].
      mix: what becomes of scores f[H, R, m].

    Returns:
      f[R, C].
    """
    width = rows.shape[-1]
    inner = (self.size or width // self.num_heads) * self.num_heads
    query = Dense(inner, use_bias=False, name='query')(rows)
    pairs = Dense(2 * inner, use_bias=False, name='pairs')(columns)
    key, value = jnp.split(pairs, 2, axis=-1)
    scores = scores_of(query, key, self.num_heads, sharp=self.sharp)
    out = average(scores if mix is None else mix(scores), value)
    out = Dense(width, name='outer')(out)
    return _blocks.InstanceNorm(name='norm')(rows + out)


def check_heads(width: int, num_heads: int) -> None:
  """Raises ValueError unless heads divide the width."""
  _blocks.check_sizes(width=width, num_heads=num_heads)
  if width % num_heads:
    raise ValueError(
      f'width={width} must be a multiple of num_heads={num_heads}.'
    )
