# SPDX-License-Identifier: Apache-2.0
"""Agents that hear the mean of the others, all the time or when they speak."""

import chex
import jax
import jax.numpy as jnp

from jaxdl.agents import _actions, _policy
from jaxdl.agents.communication import _channels as channels
from jaxdl.core import checks
from jaxdl.networks import functional

FORMS = ('recurrent', 'mlp')
GATES = ('learned', 'open', 'closed')


def mean_of_others(
  hidden: chex.Array,
  *,
  alive: chex.Array | None = None,
  gates: chex.Array | None = None,
  receivers: bool = True,
) -> chex.Array:
  """Averages what the others say.

  Args:
    hidden: f[..., N, H].
    alive: bool[..., N], agents that take part, or None for all.
    gates: f[..., N], 1 for those who speak; None for all.
    receivers: whether who is silent hears nothing either (static).

  Returns:
    f[..., N, H], for agent i the sum over j != i of g_j h_j, divided by the
    number of agents that take part but for one (by 1 if there is no other).

  Example:
    >>> mean_of_others(jnp.array([[1.0], [2.0], [6.0]])).ravel().tolist()
    [4.0, 3.5, 1.5]

  Source: Sukhbaatar, Szlam and Fergus 2016 (https://arxiv.org/abs/1605.07736),
  eq. 2; Singh, Jain and Sukhbaatar 2019 (https://arxiv.org/abs/1812.09755),
  eq. 3.
  """
  there = channels.present(hidden, alive)
  speaks = there if gates is None else there * gates
  spoken = hidden * speaks[..., None]
  rest = jnp.sum(spoken, axis=-2, keepdims=True) - spoken
  count = jnp.sum(there, axis=-1, keepdims=True)[..., None]
  mean = rest / jnp.maximum(count - 1.0, 1.0)
  hears = speaks if receivers else there
  return mean * hears[..., None]


def _links(there, gates=None, receivers=True):
  """Messages that are sent, f[..., N, N]."""
  speaks = there if gates is None else there * gates
  hears = speaks if receivers else there
  return hears[..., :, None] * speaks[..., None, :]


def commnet(
  *, rounds: int = 1, form: str = 'recurrent'
) -> _policy.Communication:
  """Agents hear a linear map of the mean of the others.

  Form 'recurrent' adds C mean(h_j) of the rows before the step to what enters
  the cell, in policies with one ('lstm' in IC3Net's version); without a cell it
  is added to the rows before the head. Form 'mlp' repeats
  h <- tanh(e + F h + C mean(h_j)) from the encoded rows e.

  Args:
    rounds: K, of messages in a step; for 'mlp'.
    form: see above.

  Returns:
    The channel. The last of `hidden_sizes` must equal `width` in policies with
    a cell.

  Raises:
    ValueError: if a number or a name is out of range, or the recurrent form is
      to have several rounds.

  Source: Sukhbaatar, Szlam and Fergus 2016 (https://arxiv.org/abs/1605.07736).
  """
  checks.num_layers(rounds, name='rounds')
  checks.choice(form, FORMS, name='form')
  if form == 'recurrent' and rounds != 1:
    raise ValueError(
      f'rounds={rounds} needs form=mlp: the recurrent form has one a step.'
    )

  def init(key, num_agents, size):
    del num_agents
    leaves = {}
    for k in range(rounds):
      leaves[f'mean_{k}'] = channels.layer(size, size, bias=False)
      if form == 'mlp':
        leaves[f'own_{k}'] = channels.layer(size, size, bias=False)
    return channels.draw(key, leaves)

  def apply(params, carry, hidden, *, alive=None, key=None, choices=None):
    del carry, key, choices
    h = hidden
    for k in range(rounds):
      mean = mean_of_others(h, alive=alive)
      heard = functional.dense(params[f'mean_{k}'], mean)
      if form == 'mlp':
        heard = jnp.tanh(
          hidden + functional.dense(params[f'own_{k}'], h) + heard
        )
      h = heard
    links = _links(channels.present(hidden, alive)) * float(rounds)
    bits = channels.FLOAT_BITS * hidden.shape[-1]
    return channels.said(h, channels.counted(links, bits))

  recurrent = form == 'recurrent'
  return _policy.Communication(
    init,
    channels.no_memory,
    apply,
    lambda size: size,
    early=recurrent,
    joins='add' if recurrent else 'replace',
  )


def ic3net(
  *, gate: str = 'learned', receivers: bool = True
) -> _policy.Communication:
  """Agents hear those who chose to speak the step before.

  As `commnet`, but agent j speaks if its gate, a second action drawn of
  its row after the step before, is open; there is no message in the first step
  of an episode. Gates are drawn when they are used, which is the same as
  nothing happens between; their log-probabilities are those of actions. In the
  released code, which `receivers` follows, who is silent does not hear.

  Args:
    gate: 'learned', or all 'open' or 'closed' (no communication).
    receivers: whether the gate of the receiver counts as well.

  Returns:
    The channel. The last of `hidden_sizes` must equal `width` in policies with
    a cell.

  Raises:
    ValueError: if a name is unknown.

  Source: Singh, Jain and Sukhbaatar 2019 (https://arxiv.org/abs/1812.09755),
  eqs. 1 to 5.
  """
  checks.choice(gate, GATES, name='gate')
  checks.flag(receivers, name='receivers')
  kinds = _actions.Categories(2)

  def init(key, num_agents, size):
    del num_agents
    leaves = {'mean': channels.layer(size, size, bias=False)}
    leaves['gate'] = channels.layer(size, 2, gain=0.01)
    return channels.draw(key, leaves)

  def apply(params, carry, hidden, *, alive=None, key=None, choices=None):
    begun = carry['begun'][..., None]
    there = channels.present(hidden, alive)
    log_prob = entropy = None
    if gate == 'learned':
      logits = functional.dense(params['gate'], hidden)
      drawn = choices['gate'] if choices else kinds.sample(logits, key)
      log_prob = kinds.log_prob(logits, drawn) * begun
      entropy = kinds.entropy(logits) * begun
    else:
      drawn = jnp.full(there.shape, int(gate == 'open'), jnp.int32)
    gates = drawn.astype(hidden.dtype) * begun
    mean = mean_of_others(hidden, alive=alive, gates=gates, receivers=receivers)
    bits = channels.FLOAT_BITS * hidden.shape[-1]
    facts = channels.counted(_links(there, gates, receivers), bits)
    facts['gate'] = jnp.mean(jax.lax.stop_gradient(gates), axis=-1)
    return _policy.Talk(
      functional.dense(params['mean'], mean),
      {'begun': jnp.ones_like(carry['begun'])},
      {'gate': drawn} if gate == 'learned' else {},
      log_prob,
      entropy,
      facts,
    )

  return _policy.Communication(
    init,
    channels.started,
    apply,
    lambda size: size,
    early=True,
    joins='add',
    stateful=True,
  )
