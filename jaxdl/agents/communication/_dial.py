# SPDX-License-Identifier: Apache-2.0
"""Messages that are real numbers in training and bits in execution."""

import chex
import jax
import jax.numpy as jnp
import numpy as np

from jaxdl.agents import _policy
from jaxdl.agents.communication import _channels as channels
from jaxdl.core import checks
from jaxdl.networks import functional


def dru(z: chex.Array, noise: chex.Numeric | None = None) -> chex.Array:
  """Regularizes messages in training and discretizes them in execution.

  Args:
    z: f[...], messages.
    noise: f[...] or a number, that of training, of standard deviation sigma;
      None in execution.

  Returns:
    sigmoid(z + noise), or without noise 1 where z > 0 and 0 elsewhere.

  Example:
    >>> z = jnp.array([-1.0, 0.0, 3.0])
    >>> dru(z).tolist(), [round(float(x), 2) for x in dru(z, jnp.zeros(3))]
    ([0.0, 0.0, 1.0], [0.27, 0.5, 0.95])

  Source: Foerster et al. 2016 (https://arxiv.org/abs/1605.06676), section 5.2.
  """
  if noise is None:
    return (z > 0).astype(z.dtype)
  return jax.nn.sigmoid(z + noise)


def dial(
  *, num_agents: int, message_size: int = 1, sigma: float = 2.0
) -> _policy.Communication:
  """Agents emit real messages that the others get at the next step.

  Messages are made of the rows before the step, which are those after the step
  before, and enter the cell beside what is seen: gradients flow from what a
  receiver learns to the sender a step earlier. There is none in the first step
  of an episode.

  Args:
    num_agents: N.
    message_size: numbers of a message, bits in execution.
    sigma: deviation of the noise in training.

  Returns:
    The channel. An agent receives (N - 1) messages, in the order of agents.

  Raises:
    ValueError: if a number is out of range.

  Source: Foerster et al. 2016 (https://arxiv.org/abs/1605.06676).
  """
  n = checks.integer(num_agents, name='num_agents', low=1)
  m = checks.integer(message_size, name='message_size', low=1)
  checks.number(sigma, name='sigma', low=0.0)
  ids = np.arange(max(n - 1, 1))[None]
  ids = np.minimum(ids + (ids >= np.arange(n)[:, None]), n - 1)

  def init(key, num_agents, size):
    del num_agents
    return channels.draw(key, {'message': channels.layer(size, m)})

  def apply(params, carry, hidden, *, alive=None, key=None, choices=None):
    z = functional.dense(params['message'], hidden)
    noise, kept = None, {}
    if choices:
      noise = choices['noise']
    elif key is not None:
      noise = sigma * jax.random.normal(key, z.shape, z.dtype)
      kept = {'noise': noise}
    there = channels.present(hidden, alive) * carry['begun'][..., None]
    sent = dru(z, noise) * there[..., None]
    received = sent[..., ids, :].reshape((*sent.shape[:-1], -1))
    if n == 1:
      received = jnp.zeros_like(received)
    facts = channels.counted(there[..., :, None] * there[..., None, :], m)
    memory = {'begun': jnp.ones_like(carry['begun'])}
    return channels.said(received, facts, carry=memory, choices=kept or choices)

  return _policy.Communication(
    init,
    channels.started,
    apply,
    lambda size: max(n - 1, 1) * m,
    early=True,
    stateful=True,
  )
