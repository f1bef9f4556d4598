# SPDX-License-Identifier: Apache-2.0
"""Learning the values of actions, each agent's own or those of a team."""

from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import optax

from jaxdl.agents import _environment, _policy, _ppo, _rollout
from jaxdl.agents.values import _buffer, _targets
from jaxdl.core import checks, types

MIXERS = ('none', 'sum', 'qmix')


class ValueState(NamedTuple):
  """A learner of values between two updates.

  Attributes:
    params: 'agents' and, with QMIX, 'mixer'.
    target: the same, as they were.
    opt_state: of the optimizer.
    playing: its games.
    buffer: trajectories.
    num_updates: i32[].
  """

  params: Any
  target: Any
  opt_state: Any
  playing: _rollout.Playing
  buffer: _buffer.Buffer
  num_updates: chex.Array


class _Kept(NamedTuple):
  """What is kept of a trajectory, leaves [T, ...]."""

  seen: _environment.Seen
  first: chex.Array
  actions: chex.Array
  choices: Any
  reward: chex.Array
  terminated: chex.Array
  truncated: chex.Array


def exploring(
  policy: _policy.Policy, epsilon: chex.Numeric = 0.0
) -> _policy.Policy:
  """Turns values of actions into a policy: the best, but now and then any.

  Args:
    policy: whose `Acted.out` are values of actions, as those of
      `agents.actor_critic(critic='heard')` that a learner of values trains.
    epsilon: share of actions that are drawn among those that are available,
      where there is a key; numbers may be traced.

  Returns:
    The policy.

  Raises:
    ValueError: if `epsilon` is out of range.
    TypeError: if `policy` is something else.
  """
  if not isinstance(policy, _policy.Policy):
    raise TypeError(
      'policy must be an agents.Policy, as agents.actor_critic makes; got '
      f'{checks.described(policy)}.'
    )
  checks.number(epsilon, name='epsilon', low=0.0, high=1.0)
  return _exploring(policy, epsilon)


def _exploring(policy, epsilon):
  """As `exploring`; a computed share may miss an end by rounding."""

  def act(params, carry, seen, first, *, key=None):
    act_key = None
    if key is not None:
      key, act_key = jax.random.split(key)
    acted = policy.act(params, carry, seen, first, key=key)
    q = acted.out
    if q is None:
      raise ValueError(
        'policy says no values of actions (Acted.out): make it with '
        'agents.actor_critic.'
      )
    best = jnp.argmax(q, axis=-1).astype(jnp.int32)
    if act_key is not None:
      any_key, when_key = jax.random.split(act_key)
      even = jnp.zeros_like(q)
      if seen.available is not None:
        even = jnp.where(seen.available, even, -jnp.inf)
      other = jax.random.categorical(any_key, even).astype(jnp.int32)
      when = jax.random.uniform(when_key, best.shape) < epsilon
      best = jnp.where(when, other, best)
    value = jnp.max(q, axis=-1)
    return acted._replace(
      actions=best, log_prob=jnp.zeros_like(value), value=value
    )

  return policy._replace(act=act)


def q_learning(
  env: _environment.Environment,
  policy: _policy.Policy,
  *,
  optimizer: optax.GradientTransformation,
  mixer: str = 'none',
  num_envs: int = 8,
  num_steps: int = 25,
  capacity: int = 5000,
  batch_size: int = 32,
  num_batches: int = 1,
  gamma: chex.Numeric = 0.9,
  epsilon_start: chex.Numeric = 1.0,
  epsilon_end: chex.Numeric = 0.05,
  epsilon_updates: int = 100,
  learning_starts: int = 10_000,
  target_every: int = 200,
  tau: chex.Numeric = 1.0,
  bootstrap: bool = False,
  embedding: int = 32,
  hyper_width: int = 128,
) -> types.Algorithm:
  """Trains the values of actions from kept trajectories.

  One step plays T steps in each of E games, epsilon-greedily, keeps them, and,
  once there are enough, takes batches of whole trajectories, on which memory
  starts empty. Mixer 'none' trains each agent on its own reward (IQL), 'sum'
  the sum of values on the sum of rewards (VDN), 'qmix' a monotone mixture on
  it (QMIX). Actions that are best online are valued by a target that follows.
  Agents that take part no longer (`Seen.alive`) have nothing ahead.

  Args:
    env: the game, with a number of actions.
    policy: its `Acted.out` are the values.
    optimizer: of all parameters; it steps `num_batches` times in an update.
    mixer: 'none', 'sum' or 'qmix'.
    num_envs: E.
    num_steps: T >= 2, of a trajectory; the last has no successor and is not
      learned.
    capacity: trajectories that are kept, a multiple of E.
    batch_size: trajectories of a batch.
    num_batches: batches in an update.
    gamma: discount.
    epsilon_start: share of random actions at first.
    epsilon_end: share of them in the end.
    epsilon_updates: updates after which the end is reached, linearly.
    learning_starts: steps of games that are played before any update.
    target_every: updates between changes of the target.
    tau: share of the change, 1 for a copy.
    bootstrap: whether steps after which time is up are left out, as what comes
      next is not over; if not, time that is up counts as the end of the game.
    embedding: of QMIX.
    hyper_width: of the layers that make QMIX's weights.

  Returns:
    The algorithm; its params are those of the agents, for
    `exploring(policy, epsilon_end)`. It reports `return` and `length` of
    episodes, `loss`, `q`, the mean value of what was done, `epsilon`, and what
    games and messages measure.

  Raises:
    ValueError: if a number or a name is out of range, or actions are vectors.

  Example:
    >>> from jaxdl import agents
    >>> env = agents.make_game('simple_spread(num_agents=2)')
    >>> policy = agents.actor_critic(env, critic='heard', hidden_sizes=(8,))
    >>> learner = q_learning(
    ...   env, policy, optimizer=optax.adam(1e-3), mixer='sum', num_envs=2,
    ...   num_steps=5, capacity=8, batch_size=2, learning_starts=10,
    ... )
    >>> state = learner.init(jax.random.key(0))
    >>> state, found = jax.jit(learner.step)(
    ...   state, None, key=jax.random.key(1)
    ... )
    >>> int(state.buffer.count)
    2

  Source: Tan 1993; Sunehag et al. 2018 (https://arxiv.org/abs/1706.05296);
  Rashid et al. 2018 (https://arxiv.org/abs/1803.11485).
  """
  _ppo.check_loop(env, policy, num_envs=num_envs, num_steps=num_steps)
  checks.optimizer(optimizer)
  checks.choice(mixer, MIXERS, name='mixer')
  check_discrete(env, 'learning values of actions')
  checks.integer(num_steps, name='num_steps', low=2)
  for name, value in (
    ('batch_size', batch_size),
    ('num_batches', num_batches),
    ('epsilon_updates', epsilon_updates),
    ('target_every', target_every),
  ):
    checks.integer(value, name=name, low=1)
  checks.integer(learning_starts, name='learning_starts', low=0)
  for name, value in (
    ('gamma', gamma),
    ('epsilon_start', epsilon_start),
    ('epsilon_end', epsilon_end),
    ('tau', tau),
  ):
    checks.number(value, name=name, low=0.0, high=1.0)
  checks.flag(bootstrap, name='bootstrap')
  checks.integer(embedding, name='embedding', low=1)
  checks.integer(hyper_width, name='hyper_width', low=1)
  _buffer.check_capacity(capacity, num_envs, what='num_envs')
  if policy.per_agent and mixer == 'qmix':
    raise ValueError('mixer=qmix mixes values of agents with shared params.')
  n = env.num_agents

  def values(params, kept):
    """Values f[T, B, N, A] of trajectories, memory empty at first."""
    size = kept.reward.shape[1]
    start = policy.start(size)
    return policy.judge(
      params, start, kept.seen, kept.actions, kept.choices, kept.first
    ).out

  def mix(params, q, seen):
    alive = seen.alive
    if alive is not None:
      q = jnp.where(alive, q, 0.0)
    if mixer == 'sum':
      return jnp.sum(q, axis=-1)
    return _targets.qmix_mix(params['mixer'], q, _environment.world_of(seen))

  def loss(params, target, kept):
    online = values(params['agents'], kept)
    frozen = values(target['agents'], kept)
    done = _targets.values_of(online, kept.actions)[:-1]
    best = _targets.best_values(online, frozen)[1:]
    here = jax.tree.map(lambda x: x[:-1], kept)
    after = jax.tree.map(lambda x: x[1:], kept.seen)
    over = here.terminated if bootstrap else here.terminated | here.truncated
    if mixer == 'none':
      if after.alive is not None:
        # Nobody learned what the view of those who are gone is worth.
        best = jnp.where(after.alive, best, 0.0)
      wanted = _targets.q_td_targets(here.reward, over, best, gamma=gamma)
      error = (done - wanted) ** 2
      counts = jnp.ones_like(error)
      if here.seen.alive is not None:
        counts = here.seen.alive.astype(error.dtype)
    else:
      ahead = mix(target, best, after)
      reward = jnp.sum(here.reward, axis=-1)
      wanted = _targets.q_td_targets(reward, over, ahead, gamma=gamma)
      error = (mix(params, done, here.seen) - wanted) ** 2
      counts = jnp.ones_like(error)
    if bootstrap:
      cut = here.truncated.reshape(
        here.truncated.shape + (1,) * (error.ndim - 2)
      )
      counts = jnp.where(cut, 0.0, counts)
    total = jnp.sum(counts * error) / jnp.maximum(jnp.sum(counts), 1.0)
    return total, {'loss': total, 'q': jnp.mean(done)}

  def learn(params, target, opt_state, buffer, key):
    def batch(carry, batch_key):
      params, opt_state = carry
      kept = _buffer.sample(buffer, batch_key, batch_size)
      kept = jax.tree.map(lambda x: jnp.swapaxes(x, 0, 1), kept)
      grads, found = jax.grad(loss, has_aux=True)(params, target, kept)
      updates, opt_state = optimizer.update(grads, opt_state, params)
      return (optax.apply_updates(params, updates), opt_state), found

    keys = jax.random.split(key, num_batches)
    carry, found = jax.lax.scan(batch, (params, opt_state), keys)
    return *carry, jax.tree.map(jnp.mean, found)

  def play(params, playing, key, epsilon):
    return _rollout.rollout(
      env,
      _exploring(policy, epsilon),
      params,
      playing,
      key=key,
      num_steps=num_steps,
      bootstrap=False,
    )

  def kept_of(steps):
    kept = _Kept(*(getattr(steps, name) for name in _Kept._fields))
    return jax.tree.map(lambda x: jnp.swapaxes(x, 0, 1), kept)

  def init(key):
    init_key, mix_key, env_key = jax.random.split(key, 3)
    params = {'agents': policy.init(init_key)}
    if mixer == 'qmix':
      params['mixer'] = _targets.qmix_init(
        mix_key, n, env.world_size, embedding=embedding, width=hyper_width
      )
    playing = _rollout.begin(env, policy, env_key, num_envs)
    shapes = jax.eval_shape(
      lambda p, k: kept_of(play(params['agents'], p, k, 1.0)[1]),
      playing,
      key,
    )
    row = jax.tree.map(
      lambda x: jax.ShapeDtypeStruct(x.shape[1:], x.dtype), shapes
    )
    return ValueState(
      params,
      jax.tree.map(jnp.copy, params),
      optimizer.init(params),
      playing,
      _buffer.empty(row, capacity),
      jnp.int32(0),
    )

  def step(state, cohort=None, *, key):
    del cohort
    play_key, learn_key = jax.random.split(key)
    done = jnp.minimum(state.num_updates / epsilon_updates, 1.0)
    epsilon = epsilon_start + (epsilon_end - epsilon_start) * done
    playing, steps = play(
      state.params['agents'], state.playing, play_key, epsilon
    )
    buffer = _buffer.add(state.buffer, kept_of(steps))
    num_updates = state.num_updates + 1
    zero = jnp.zeros((), jnp.float32)
    same = (state.params, state.opt_state, {'loss': zero, 'q': zero})
    enough = num_updates * (num_envs * num_steps) >= learning_starts
    params, opt_state, found = jax.lax.cond(
      enough,
      lambda: learn(
        state.params, state.target, state.opt_state, buffer, learn_key
      ),
      lambda: same,
    )
    follow = num_updates % target_every == 0
    target = jax.tree.map(
      lambda new, old: jnp.where(follow, tau * new + (1 - tau) * old, old),
      params,
      state.target,
    )
    found = found | {'epsilon': epsilon} | _ppo.played(playing, steps)
    return (
      ValueState(params, target, opt_state, playing, buffer, num_updates),
      found,
    )

  return types.Algorithm(init, step, lambda state: state.params['agents'])


def check_discrete(env: _environment.Environment, what: str) -> None:
  """Raises if actions of a game are vectors.

  Args:
    env: the game.
    what: what needs a number of actions, for the message.

  Raises:
    ValueError: if they are.
  """
  if env.num_actions is None:
    raise ValueError(
      f'{what} needs a game with a number of actions; {env.name} has actions '
      f'in [-1, 1]^{env.action_size}: use ippo, mappo or maddpg.'
    )
