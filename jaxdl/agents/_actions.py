# SPDX-License-Identifier: Apache-2.0
"""How actions are drawn: categories, or Gaussians around a mean."""

import math
from typing import Protocol

import chex
import jax
import jax.numpy as jnp

# A logit of an action that is not available; finite, so that entropy is.
BLOCKED = -1e9


class Actions(Protocol):
  """A family of distributions of actions, over any leading axes."""

  size: int

  def sample(self, out: chex.Array, key: chex.PRNGKey | None) -> chex.Array:
    """Draws actions, the most likely without a key."""
    ...

  def log_prob(self, out: chex.Array, actions: chex.Array) -> chex.Array:
    """Logarithms of probabilities or densities."""
    ...

  def entropy(self, out: chex.Array) -> chex.Array:
    """Entropies, nats."""
    ...


class Categories:
  """A actions; `out` are logits f[..., A]."""

  def __init__(self, num_actions: int):
    self.size = num_actions

  def sample(self, out: chex.Array, key: chex.PRNGKey | None) -> chex.Array:
    """Draws i32[...]; the first of the largest logits without a key."""
    if key is None:
      return jnp.argmax(out, axis=-1).astype(jnp.int32)
    return jax.random.categorical(key, out).astype(jnp.int32)

  def log_prob(self, out: chex.Array, actions: chex.Array) -> chex.Array:
    """Log-probabilities f[...] of i[...]."""
    hot = jax.nn.one_hot(actions, self.size, dtype=out.dtype)
    return jnp.sum(jax.nn.log_softmax(out) * hot, axis=-1)

  def entropy(self, out: chex.Array) -> chex.Array:
    """Entropies f[...] in nats; blocked actions add nothing."""
    log = jax.nn.log_softmax(out)
    return -jnp.sum(jnp.exp(log) * jnp.maximum(log, BLOCKED), axis=-1)


class Gaussian:
  """Vectors around a mean f[..., a], with one standard deviation.

  Actions are not clipped here: whoever plays does, and the density is that of
  what was drawn.
  """

  def __init__(self, size: int, std: float):
    self.size = size
    self.std = std

  def sample(self, out: chex.Array, key: chex.PRNGKey | None) -> chex.Array:
    """Draws f[..., a]; the mean without a key."""
    if key is None:
      return out
    return out + self.std * jax.random.normal(key, out.shape, out.dtype)

  def log_prob(self, out: chex.Array, actions: chex.Array) -> chex.Array:
    """Log-densities f[...]."""
    z = (actions - out) / self.std
    each = -0.5 * z * z - math.log(self.std) - 0.5 * math.log(2 * math.pi)
    return jnp.sum(each, axis=-1)

  def entropy(self, out: chex.Array) -> chex.Array:
    """Entropies f[...] in nats, the same everywhere."""
    each = math.log(self.std) + 0.5 * math.log(2 * math.pi * math.e)
    return jnp.full(out.shape[:-1], self.size * each, out.dtype)


def masked(logits: chex.Array, available: chex.Array | None) -> chex.Array:
  """Blocks actions that are not available.

  Args:
    logits: f[..., A].
    available: bool[..., A], or None.

  Returns:
    f[..., A].
  """
  if available is None:
    return logits
  return jnp.where(available, logits, jnp.asarray(BLOCKED, logits.dtype))


def entropy_of(logits: chex.Array) -> chex.Array:
  """Entropy of categories, f[..., A] -> f[...]; blocked ones add nothing."""
  return Categories(logits.shape[-1]).entropy(logits)
