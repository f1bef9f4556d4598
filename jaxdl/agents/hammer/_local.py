# SPDX-License-Identifier: Apache-2.0
"""Agents that act on what they see and on what they were told."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp

from jaxdl.agents import _actions, _policy
from jaxdl.agents.hammer import _messages
from jaxdl.core import checks
from jaxdl.networks import functional

# Parameters of agents: each its own, one set for all, or one set with as many
# states of the optimizer as there are agents, as in the release.
SHARINGS = ('none', 'all', 'release')


class Local(NamedTuple):
  """Actors and critics.

  Attributes:
    init: `init(key) -> {'actor', 'critic'}`, leaves [N, ...] unless shared.
    apply: `apply(params, own, message) -> (out, value)`, own f[..., N, d],
      message f[..., N, L], out f[..., N, A] (logits, or means of actions that
      are vectors) and value f[..., N].
    one: `one(params, own, message) -> (out, value)` of one agent, without the
      axis of agents.
    actions: how actions are drawn.
    num_agents: N.
    shared: whether agents share parameters.
  """

  init: Callable[..., dict[str, Any]]
  apply: Callable[..., tuple[chex.Array, chex.Array]]
  one: Callable[..., tuple[chex.Array, chex.Array]]
  actions: Any
  num_agents: int
  shared: bool


def local_agents(
  env: Any,
  *,
  message_length: int = 0,
  actor_sizes: Sequence[int] = (64, 64),
  critic_sizes: Sequence[int] = (64, 32),
  std: float = 0.5,
  shared: bool = False,
) -> Local:
  """Builds agents that hear messages.

  Actors see [o_i, m_i], critics the same without a gradient to messages.

  Args:
    env: the game; its numbers of agents, rows and actions are read.
    message_length: L.
    actor_sizes: widths of the layers of actors, with ReLU between.
    critic_sizes: likewise of critics.
    std: deviation of actions that are vectors.
    shared: whether agents share parameters.

  Returns:
    The agents.

  Raises:
    ValueError: if a number is out of range.

  Example:
    >>> from jaxdl import agents
    >>> env = agents.make_game('simple_spread(num_agents=3)')
    >>> local = local_agents(env, message_length=1)
    >>> params = local.init(jax.random.key(0))
    >>> out, value = local.apply(
    ...   params, jnp.zeros((7, 3, 18)), jnp.zeros((7, 3, 1))
    ... )
    >>> out.shape, value.shape
    ((7, 3, 5), (7, 3))
  """
  length = checks.integer(message_length, name='message_length', low=0)
  actor = functional.check_sizes(actor_sizes, 'actor_sizes')
  critic = functional.check_sizes(critic_sizes, 'critic_sizes')
  checks.flag(shared, name='shared')
  kind = actions_of(env, std)
  size = env.own_size + length
  leaves = {
    'actor': _messages.mlp_leaves((size, *actor, kind.size)),
    'critic': _messages.mlp_leaves((size, *critic, 1)),
  }

  def init(key):
    if shared:
      return functional.draw(key, leaves, jnp.float32)
    return _messages.stacked(key, leaves, env.num_agents)

  def one(params, own, message):
    message = message.astype(own.dtype)
    out = _messages.mlp(
      params['actor'], jnp.concatenate([own, message], axis=-1)
    )
    heard = jax.lax.stop_gradient(message)
    value = _messages.mlp(
      params['critic'], jnp.concatenate([own, heard], axis=-1)
    )
    return out, value[..., 0]

  def apply(params, own, message):
    params = {name: params[name] for name in leaves}
    if shared:
      return one(params, own, message)
    each = jax.vmap(one, in_axes=(0, -2, -2), out_axes=(-2, -1))
    return each(params, own, message)

  return Local(init, apply, one, kind, env.num_agents, shared)


def actions_of(env: Any, std: float) -> Any:
  """Returns how actions of a game are drawn."""
  _messages.check_game(env)
  if env.num_actions is not None:
    return _actions.Categories(env.num_actions)
  _messages.check_std(std)
  return _actions.Gaussian(env.action_size, std)


def told_policy(
  env: Any, local: Local, messenger: _messages.Messenger
) -> _policy.Policy:
  """Puts agents and whoever talks to them together.

  Args:
    env: the game.
    local: the agents, who expect messages of the messenger's length.
    messenger: who sends them.

  Returns:
    The policy, for any learner of `jaxdl.agents`; what was drawn beside actions
    is in its `choices`. Its parameters are one dict.
  """
  discrete = env.num_actions is not None
  n, kind = env.num_agents, local.actions

  def init(key):
    local_key, talk_key = jax.random.split(key)
    return local.init(local_key) | messenger.init(talk_key)

  def start(num_envs):
    if not messenger.remembers:
      return {}
    return {'previous': jnp.zeros((num_envs, n, kind.size), jnp.float32)}

  def recall(carry, first):
    """What agents did before, nothing where an episode begins."""
    if not messenger.remembers:
      return None
    before = carry['previous']
    return {'previous': jnp.where(first[..., None, None], 0.0, before)}

  def outputs(params, seen, choices, key=None):
    message, choices = messenger.speak(params, seen, key=key, choices=choices)
    out, value = local.apply(params, seen.own, message)
    if discrete:
      out = _actions.masked(out, seen.available)
    return out, value, choices

  def act(params, carry, seen, first, *, key=None):
    act_key = talk_key = None
    if key is not None:
      act_key, talk_key = jax.random.split(key)
    choices = recall(carry, first)
    out, value, choices = outputs(params, seen, choices, talk_key)
    actions = kind.sample(out, act_key)
    if messenger.remembers:
      done = jax.nn.one_hot(actions, kind.size) if discrete else actions
      carry = {'previous': done.astype(jnp.float32)}
    log_prob = kind.log_prob(out, actions)
    return _policy.Acted(carry, actions, log_prob, value, choices, {})

  def judge(params, carry, seen, actions, choices, first):
    del carry, first  # What is remembered is in choices.
    out, value, _ = outputs(params, seen, choices)
    return _policy.Judged(
      kind.log_prob(out, actions), kind.entropy(out), value, {}
    )

  def value(params, carry, seen, first):
    return outputs(params, seen, recall(carry, first))[1]

  def logits(params, carry, seen, first):
    return outputs(params, seen, recall(carry, first))[0]

  apart = not local.shared and not messenger.length
  return _policy.Policy(init, start, act, judge, value, False, apart, logits)


def central_policy(
  env: Any,
  *,
  actor_sizes: Sequence[int] = (64, 64),
  critic_sizes: Sequence[int] = (64, 32),
  std: float = 0.5,
) -> _policy.Policy:
  """Builds one agent that sees all rows and acts for everybody.

  Args:
    env: the game.
    actor_sizes: widths of the layers of its actor, with ReLU between.
    critic_sizes: likewise of its critic.
    std: deviation of actions that are vectors.

  Returns:
    The policy; log-probabilities, entropies and values are those of the joint
    action, the same for each of N agents.

  Raises:
    ValueError: if a number is out of range.
  """
  actor = functional.check_sizes(actor_sizes, 'actor_sizes')
  critic = functional.check_sizes(critic_sizes, 'critic_sizes')
  kind, n = actions_of(env, std), env.num_agents
  size = n * env.own_size
  leaves = {
    'actor': _messages.mlp_leaves((size, *actor, n * kind.size)),
    'critic': _messages.mlp_leaves((size, *critic, 1)),
  }

  def outputs(params, seen):
    world = _messages.rows_of(seen)
    out = _messages.mlp(params['actor'], world)
    out = out.reshape((*world.shape[:-1], n, kind.size))
    if env.num_actions is not None:
      out = _actions.masked(out, seen.available)
    value = _messages.mlp(params['critic'], world)
    return out, jnp.broadcast_to(value, out.shape[:-1])

  def joint(x):
    return jnp.broadcast_to(jnp.sum(x, axis=-1, keepdims=True), x.shape)

  def act(params, carry, seen, first, *, key=None):
    del first
    out, value = outputs(params, seen)
    actions = kind.sample(out, key)
    log_prob = joint(kind.log_prob(out, actions))
    return _policy.Acted(carry, actions, log_prob, value, {}, {})

  def judge(params, carry, seen, actions, choices, first):
    del carry, choices, first
    out, value = outputs(params, seen)
    log_prob = joint(kind.log_prob(out, actions))
    return _policy.Judged(log_prob, joint(kind.entropy(out)), value, {})

  return _policy.Policy(
    init=lambda key: functional.draw(key, leaves, jnp.float32),
    start=lambda num_envs: {},
    act=act,
    judge=judge,
    value=lambda params, carry, seen, first: outputs(params, seen)[1],
    logits=lambda params, carry, seen, first: outputs(params, seen)[0],
  )
