# SPDX-License-Identifier: Apache-2.0
"""What channels between agents share."""

from typing import Any

import chex
import jax
import jax.numpy as jnp

from jaxdl.agents import _policy
from jaxdl.networks import functional

FLOAT_BITS = 32


def draw(key: chex.PRNGKey, leaves: Any) -> Any:
  """Draws float32 parameters."""
  return functional.draw(key, leaves, jnp.float32)


def layer(
  size_in: int, size: int, *, bias: bool = True, gain: float = 1.0
) -> dict[str, Any]:
  """Describes a dense layer with an orthogonal kernel."""
  return functional.layer_leaves(
    (size_in, size),
    kernel_init=f'orthogonal(gain={gain!r})',
    bias_init='zeros' if bias else None,
  )


def present(hidden: chex.Array, alive: chex.Array | None) -> chex.Array:
  """Returns 1 for agents that take part and 0 for others, f[..., N]."""
  if alive is None:
    return jnp.ones(hidden.shape[:-1], hidden.dtype)
  return alive.astype(hidden.dtype)


def apart(n: int, dtype: Any) -> jax.Array:
  """Returns f[N, N] with zeros on the diagonal and ones elsewhere."""
  return 1.0 - jnp.eye(n, dtype=dtype)


def counted(links: chex.Array, bits: float) -> dict[str, chex.Array]:
  """Counts messages f[..., N, N] that are sent, without those to oneself.

  Args:
    links: 1 where row i receives of column j.
    bits: of a message.

  Returns:
    'links' and 'bits', f[...].
  """
  off = apart(links.shape[-1], links.dtype)
  off = jnp.broadcast_to(off, links.shape)
  total = jnp.sum(jax.lax.stop_gradient(links) * off, axis=(-2, -1))
  return {'links': total, 'bits': total * bits}


def said(
  received: chex.Array,
  facts: dict[str, chex.Array],
  *,
  carry: Any = None,
  choices: dict[str, chex.Array] | None = None,
) -> _policy.Talk:
  """Makes a `Talk` of a channel whose choices are no actions."""
  none = {} if carry is None else carry
  return _policy.Talk(received, none, choices or {}, None, None, facts)


def no_memory(num_envs: int, num_agents: int, size: int) -> dict[str, Any]:
  """Memory of channels that have none."""
  del num_envs, num_agents, size
  return {}


def started(num_envs: int, num_agents: int, size: int) -> dict[str, Any]:
  """Memory of whether an episode has begun: 0 until the first step is over."""
  del num_agents, size
  return {'begun': jnp.zeros((num_envs,), jnp.float32)}
