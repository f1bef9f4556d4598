# SPDX-License-Identifier: Apache-2.0
"""Actors with critics that see what everybody sees and does."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import optax

from jaxdl.agents import _environment, _policy, _ppo, _rollout
from jaxdl.agents.values import _buffer
from jaxdl.core import checks, types
from jaxdl.networks import functional

# Weight of the squares of what actors say, as in the released code.
_SHRINK = 1e-3


class MaddpgState(NamedTuple):
  """A learner between two updates.

  Attributes:
    params: 'actors' and 'critics', whose leaves have a row per agent.
    target: the same, as they were.
    opt_state: of actors and of critics.
    playing: its games.
    buffer: steps.
    num_updates: i32[].
  """

  params: Any
  target: Any
  opt_state: Any
  playing: _rollout.Playing
  buffer: _buffer.Buffer
  num_updates: chex.Array


class _Kept(NamedTuple):
  """A step that is kept."""

  seen: _environment.Seen
  actions: chex.Array
  reward: chex.Array
  terminated: chex.Array
  after: _environment.Seen


def maddpg(
  env: _environment.Environment,
  policy: _policy.Policy,
  *,
  optimizer: optax.GradientTransformation,
  num_envs: int = 16,
  num_steps: int = 25,
  capacity: int = 100_000,
  batch_size: int = 1024,
  num_batches: int = 4,
  gamma: chex.Numeric = 0.95,
  tau: chex.Numeric = 0.01,
  learning_starts: int = 10_000,
  temperature: chex.Numeric = 1.0,
  hidden_sizes: Sequence[int] = (64, 64),
) -> types.Algorithm:
  """Trains actors by critics Q_i(s, a_1, ..., a_N), one for each agent.

  Where actions are a choice, actors draw them by a Gumbel softmax whose hard
  choice has the slope of the soft one; where they are vectors, they are means,
  with noise in play. Critics learn of all steps, actors of those in which they
  take part (`Seen.alive`).

  Args:
    env: the game.
    policy: actors without memory or messages, each with parameters of its own.
    optimizer: run by actors and by critics; it steps `num_batches` times in an
      update.
    num_envs: E.
    num_steps: T, steps of a game between updates.
    capacity: steps that are kept, a multiple of E T.
    batch_size: steps of a batch.
    num_batches: batches in an update.
    gamma: discount.
    tau: share by which targets follow after each batch.
    learning_starts: steps that are played before any update.
    temperature: of the Gumbel softmax.
    hidden_sizes: of critics.

  Returns:
    The algorithm; its params are those of the actors. It reports `return` and
    `length` of episodes, `critic_loss`, `q`, and what games measure.

  Raises:
    ValueError: if a number is out of range, or the policy has memory or shares
      parameters.

  Example:
    >>> from jaxdl import agents
    >>> env = agents.make_game('simple_spread(num_agents=2)')
    >>> policy = agents.actor_critic(
    ...   env, shared=False, critic='heard', hidden_sizes=(8,)
    ... )
    >>> learner = maddpg(
    ...   env, policy, optimizer=optax.adam(1e-2), num_envs=2, num_steps=2,
    ...   capacity=8, batch_size=4, learning_starts=4, hidden_sizes=(8,),
    ... )
    >>> state = learner.init(jax.random.key(0))
    >>> state, found = jax.jit(learner.step)(
    ...   state, None, key=jax.random.key(1)
    ... )
    >>> int(state.buffer.count)
    4

  Source: Lowe et al. 2017 (https://arxiv.org/abs/1706.02275), algorithm 1.
  """
  _ppo.check_loop(env, policy, num_envs=num_envs, num_steps=num_steps)
  checks.optimizer(optimizer)
  for name, value in (
    ('batch_size', batch_size),
    ('num_batches', num_batches),
  ):
    checks.integer(value, name=name, low=1)
  checks.integer(learning_starts, name='learning_starts', low=0)
  for name, value in (('gamma', gamma), ('tau', tau)):
    checks.number(value, name=name, low=0.0, high=1.0)
  checks.number(temperature, name='temperature', low=0.0, open_low=True)
  hidden = functional.check_sizes(hidden_sizes, 'hidden_sizes')
  logits_of = policy.logits
  if policy.recurrent or not policy.per_agent or logits_of is None:
    raise ValueError(
      'policy must have no memory and parameters for each agent: make it with '
      'agents.actor_critic(env, shared=False).'
    )
  rows = num_envs * num_steps
  _buffer.check_capacity(capacity, rows, what='num_envs * num_steps')
  n = env.num_agents
  discrete = env.num_actions is not None
  size = env.num_actions if discrete else env.action_size
  size_in = env.world_size + n * size
  sizes = (size_in, *hidden, 1)

  def init_critics(key):
    leaves = {
      f'dense_{i}': functional.layer_leaves((a, b))
      for i, (a, b) in enumerate(zip(sizes[:-1], sizes[1:], strict=True))
    }
    one = lambda k: functional.draw(k, leaves, jnp.float32)
    return jax.vmap(one)(jax.random.split(key, n))

  def critic(params, x):
    for i in range(len(sizes) - 1):
      x = functional.dense(params[f'dense_{i}'], x)
      if i < len(sizes) - 2:
        x = jax.nn.relu(x)
    return x[..., 0]

  def judged(critics, seen, actions):
    """Every critic on its own row of joint actions f[N, B, N, a] -> [B, N]."""
    world = _environment.world_of(seen)
    flat = actions.reshape((*actions.shape[:2], -1))
    world = jnp.broadcast_to(world, (n, *world.shape))
    x = jnp.concatenate([world, flat], axis=-1)
    return jax.vmap(critic)(critics, x).T

  def out(actors, seen):
    first = jnp.ones(seen.own.shape[:1], bool)
    return logits_of(actors, {}, seen, first)

  def say(logits, key):
    """Actions with a slope, f[B, N, a]."""
    if not discrete:
      # With the slope beyond the ends too, or who is there stays there.
      cut = jnp.clip(logits, -1.0, 1.0)
      return jax.lax.stop_gradient(cut - logits) + logits
    noisy = logits + jax.random.gumbel(key, logits.shape, logits.dtype)
    soft = jax.nn.softmax(noisy / temperature)
    hard = jax.nn.one_hot(jnp.argmax(noisy, axis=-1), size, dtype=soft.dtype)
    return jax.lax.stop_gradient(hard - soft) + soft

  def everybody(actions):
    return jnp.broadcast_to(actions, (n, *actions.shape))

  def critic_loss(critics, params, target, kept, key):
    after = say(out(target['actors'], kept.after), key)
    ahead = judged(target['critics'], kept.after, everybody(after))
    go_on = 1.0 - kept.terminated.astype(ahead.dtype)[:, None]
    wanted = jax.lax.stop_gradient(kept.reward + gamma * go_on * ahead)
    found = judged(critics, kept.seen, everybody(kept.actions))
    # Of steps of others too: theirs are values that come after one's own.
    error = jnp.mean((found - wanted) ** 2)
    return error, {'critic_loss': error, 'q': jnp.mean(found)}

  def actor_loss(actors, critics, kept, key):
    logits = out(actors, kept.seen)
    own = say(logits, key)
    hot = jnp.eye(n, dtype=bool)[:, None, :, None]
    # Row i of joint actions has the actor's own only at i.
    mine = jnp.where(hot, own[None], kept.actions[None])
    value = judged(critics, kept.seen, mine)
    squares = jnp.where(logits > -1e8, logits, 0.0) ** 2
    gain = _ppo.masked_mean(value, kept.seen.alive)
    return -gain + _SHRINK * jnp.mean(squares)

  def learn(state, buffer, key):
    def batch(carry, batch_key):
      params, target, opt_state = carry
      draw_key, critic_key, actor_key = jax.random.split(batch_key, 3)
      kept = _buffer.sample(buffer, draw_key, batch_size)
      grads, found = jax.grad(critic_loss, has_aux=True)(
        params['critics'], params, target, kept, critic_key
      )
      updates, critic_state = optimizer.update(
        grads, opt_state['critics'], params['critics']
      )
      critics = optax.apply_updates(params['critics'], updates)
      grads = jax.grad(actor_loss)(params['actors'], critics, kept, actor_key)
      updates, actor_state = optimizer.update(
        grads, opt_state['actors'], params['actors']
      )
      actors = optax.apply_updates(params['actors'], updates)
      params = {'actors': actors, 'critics': critics}
      target = jax.tree.map(
        lambda new, old: tau * new + (1 - tau) * old, params, target
      )
      opt_state = {'actors': actor_state, 'critics': critic_state}
      return (params, target, opt_state), found

    carry = (state.params, state.target, state.opt_state)
    carry, found = jax.lax.scan(
      batch, carry, jax.random.split(key, num_batches)
    )
    return *carry, jax.tree.map(jnp.mean, found)

  def play(params, playing, key):
    def body(playing, step_key):
      act_key, env_key = jax.random.split(step_key)
      acted = policy.act(
        params, playing.carry, playing.seen, playing.first, key=act_key
      )
      running, step = env.step_many(playing.running, acted.actions, key=env_key)
      actions = acted.actions
      if discrete:
        actions = jax.nn.one_hot(actions, size, dtype=jnp.float32)
      else:
        actions = jnp.clip(actions, -1.0, 1.0)
      kept = _Kept(
        playing.seen, actions, step.reward, step.terminated, step.final
      )
      return (
        _rollout.Playing(running, step.seen, step.done, acted.carry),
        (kept, step.facts | acted.facts),
      )

    return jax.lax.scan(body, playing, jax.random.split(key, num_steps))

  def flat(kept):
    return jax.tree.map(lambda x: x.reshape((rows, *x.shape[2:])), kept)

  def init(key):
    init_key, critic_key, env_key = jax.random.split(key, 3)
    params = {
      'actors': policy.init(init_key),
      'critics': init_critics(critic_key),
    }
    playing = _rollout.begin(env, policy, env_key, num_envs)
    shapes = jax.eval_shape(
      lambda p, k: flat(play(params['actors'], p, k)[1][0]), playing, key
    )
    row = jax.tree.map(
      lambda x: jax.ShapeDtypeStruct(x.shape[1:], x.dtype), shapes
    )
    return MaddpgState(
      params,
      jax.tree.map(jnp.copy, params),
      {name: optimizer.init(params[name]) for name in params},
      playing,
      _buffer.empty(row, capacity),
      jnp.int32(0),
    )

  def step(state, cohort=None, *, key):
    del cohort
    play_key, learn_key = jax.random.split(key)
    playing, (kept, facts) = play(
      state.params['actors'], state.playing, play_key
    )
    buffer = _buffer.add(state.buffer, flat(kept))
    num_updates = state.num_updates + 1
    zero = jnp.zeros((), jnp.float32)
    enough = num_updates * rows >= learning_starts
    same = (state.params, state.target, state.opt_state)
    params, target, opt_state, found = jax.lax.cond(
      enough,
      lambda: learn(state, buffer, learn_key),
      lambda: (*same, {'critic_loss': zero, 'q': zero}),
    )
    found |= _ppo.played_of(playing, facts)
    return (
      MaddpgState(params, target, opt_state, playing, buffer, num_updates),
      found,
    )

  return types.Algorithm(init, step, lambda state: state.params['actors'])
