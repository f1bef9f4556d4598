# SPDX-License-Identifier: Apache-2.0
"""Targets of values of actions, and how values of agents are mixed."""

from typing import Any

import chex
import jax
import jax.numpy as jnp

from jaxdl.core import checks
from jaxdl.networks import functional

_SMALL = 1e-3


def q_td_targets(
  rewards: chex.Array,
  terminated: chex.Array,
  next_values: chex.Array,
  *,
  gamma: chex.Numeric,
) -> chex.Array:
  """Returns r + gamma (1 - d) Q(next), through which no gradient flows.

  Args:
    rewards: f[...].
    terminated: bool, of the first axes of rewards, whether the game was over.
    next_values: f[...], e.g. of `best_values`, or mixed ones.
    gamma: discount.

  Returns:
    f[...].

  Example:
    >>> over = jnp.array([False, True])
    >>> q_td_targets(
    ...   jnp.ones(2), over, jnp.full(2, 4.0), gamma=0.5
    ... ).tolist()
    [3.0, 1.0]
  """
  go_on = 1.0 - terminated.astype(rewards.dtype)
  extra = rewards.ndim - go_on.ndim
  go_on = go_on.reshape(go_on.shape + (1,) * extra)
  return jax.lax.stop_gradient(rewards + gamma * go_on * next_values)


def best_values(online: chex.Array, target: chex.Array) -> chex.Array:
  """Values by the target of the actions that are best online.

  Args:
    online: f[..., A], by which actions are chosen; the first of equal ones.
    target: f[..., A].

  Returns:
    f[...].

  Example:
    >>> best_values(jnp.array([1.0, 3.0]), jnp.array([9.0, 2.0])).item()
    2.0

  Source: van Hasselt, Guez and Silver 2016 (https://arxiv.org/abs/1509.06461),
  eq. 4.
  """
  return values_of(target, jnp.argmax(online, axis=-1))


def values_of(values: chex.Array, actions: chex.Array) -> chex.Array:
  """Picks f[..., A] at i[...], without a gather."""
  hot = jax.nn.one_hot(actions, values.shape[-1], dtype=bool)
  return jnp.sum(jnp.where(hot, values, 0.0), axis=-1)


def qmix_init(
  key: chex.PRNGKey,
  num_agents: int,
  world_size: int,
  *,
  embedding: int = 32,
  width: int = 128,
) -> chex.ArrayTree:
  """Draws the mixer of QMIX.

  Args:
    key: consumed.
    num_agents: N.
    world_size: w.
    embedding: M, of the mixing layer.
    width: of the layers that make its weights of the world.

  Returns:
    Parameters of `qmix_mix`.
  """
  for name, value in (
    ('num_agents', num_agents),
    ('world_size', world_size),
    ('embedding', embedding),
    ('width', width),
  ):
    checks.integer(value, name=name, low=1)

  def two(middle, size):
    small = f'orthogonal(gain={_SMALL!r})'
    return {
      'dense_0': functional.layer_leaves(
        (world_size, middle), kernel_init=small
      ),
      'dense_1': functional.layer_leaves((middle, size), kernel_init=small),
    }

  leaves: dict[str, Any] = {
    'weights_1': two(width, num_agents * embedding),
    'weights_2': two(width, embedding),
    'bias_1': functional.layer_leaves(
      (world_size, embedding), kernel_init=f'orthogonal(gain={_SMALL!r})'
    ),
    'bias_2': two(embedding, 1),
  }
  return functional.draw(key, leaves, jnp.float32)


def _two(params, x):
  x = jax.nn.relu(functional.dense(params['dense_0'], x))
  return functional.dense(params['dense_1'], x)


def mix_values(
  q: chex.Array,
  weights_1: chex.Array,
  bias_1: chex.Array,
  weights_2: chex.Array,
  bias_2: chex.Array,
) -> chex.Array:
  """Mixes values of agents by given weights.

  Args:
    q: f[..., N].
    weights_1: f[..., N, M], of any sign.
    bias_1: f[..., M].
    weights_2: f[..., M], of any sign.
    bias_2: f[...].

  Returns:
    f[...], |w_2| . elu(|W_1|^T q + b_1) + b_2, which grows with every q_i.

  Example:
    >>> q = jnp.array([1.0, 2.0])
    >>> one = jnp.ones(1)
    >>> mix_values(q, jnp.ones((2, 1)), 9.0 * one, one, 0.0).item()
    12.0

  Source: Rashid et al. 2018 (https://arxiv.org/abs/1803.11485), section 4.1.
  """
  hidden = jnp.einsum('...n,...nm->...m', q, jnp.abs(weights_1)) + bias_1
  return jnp.sum(jnp.abs(weights_2) * jax.nn.elu(hidden), axis=-1) + bias_2


def qmix_mix(
  params: chex.ArrayTree, q: chex.Array, world: chex.Array
) -> chex.Array:
  """Mixes values of agents by weights that a network makes of the world.

  Args:
    params: of `qmix_init`.
    q: f[..., N], values of what each agent did.
    world: f[..., w].

  Returns:
    f[...], the value of what all did, which grows with every q_i.

  Example:
    >>> params = qmix_init(jax.random.key(0), 3, 5)
    >>> qmix_mix(params, jnp.ones((4, 3)), jnp.ones((4, 5))).shape
    (4,)

  Source: Rashid et al. 2018 (https://arxiv.org/abs/1803.11485), section 4.1.
  """
  w_1 = _two(params['weights_1'], world)
  w_1 = w_1.reshape((*w_1.shape[:-1], q.shape[-1], -1))
  return mix_values(
    q,
    w_1,
    functional.dense(params['bias_1'], world),
    _two(params['weights_2'], world),
    _two(params['bias_2'], world)[..., 0],
  )
