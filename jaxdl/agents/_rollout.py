# SPDX-License-Identifier: Apache-2.0
"""Games that are played: steps for training, episodes for measuring."""

from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp

from jaxdl.agents import _branches, _environment, _policy
from jaxdl.core import checks


class Trajectory(NamedTuple):
  """Steps of E games, leaves [T, E, ...].

  Attributes:
    seen: before the step.
    first: bool[T, E], whether an episode begins with it.
    actions: i[T, E, N] or f[T, E, N, a].
    choices: what else was drawn, see `Acted.choices`.
    log_prob: f[T, E, N].
    value: f[T, E, N].
    reward: f[T, E, N].
    terminated: bool[T, E].
    truncated: bool[T, E].
    final_value: f[T, E, N], what was seen at the end is worth where time was
      up, and 0 elsewhere.
    facts: dict of f[T, E] of the game and of messages.
    gone: bool[T, E, N], see `Outcome`, or None.
  """

  seen: _environment.Seen
  first: chex.Array
  actions: chex.Array
  choices: Any
  log_prob: chex.Array
  value: chex.Array
  reward: chex.Array
  terminated: chex.Array
  truncated: chex.Array
  final_value: chex.Array
  facts: dict[str, chex.Array]
  gone: chex.Array | None = None

  @property
  def done(self) -> chex.Array:
    """Whether the episode ended with the step, bool[T, E]."""
    return self.terminated | self.truncated


class Playing(NamedTuple):
  """E games between two steps.

  Attributes:
    running: the games, leaves [E, ...].
    seen: what agents see.
    first: bool[E], whether an episode begins.
    carry: memory of the policy.
  """

  running: _environment.Running
  seen: _environment.Seen
  first: chex.Array
  carry: Any


def begin(
  env: _environment.Environment,
  policy: _policy.Policy,
  key: chex.PRNGKey,
  num_envs: int,
) -> Playing:
  """Begins E games.

  Args:
    env: the game.
    policy: who plays.
    key: consumed.
    num_envs: E (static).

  Returns:
    The games.
  """
  check_play(env, policy)
  checks.integer(num_envs, name='num_envs', low=1)
  seen, running = env.reset_many(key, num_envs)
  first = jnp.ones((num_envs,), bool)
  return Playing(running, seen, first, policy.start(num_envs))


def check_play(env: _environment.Environment, policy: _policy.Policy) -> None:
  """Raises if something is no game or nobody plays it.

  Args:
    env: the game.
    policy: who plays.

  Raises:
    TypeError: if one is something else.
  """
  _environment.check_environment(env)
  if not isinstance(policy, _policy.Policy):
    raise TypeError(
      'policy must be an agents.Policy, as agents.actor_critic makes; got '
      f'{checks.described(policy)}.'
    )


def rollout(
  env: _environment.Environment,
  policy: _policy.Policy,
  params: chex.ArrayTree,
  playing: Playing,
  *,
  key: chex.PRNGKey,
  num_steps: int,
  bootstrap: bool = True,
) -> tuple[Playing, Trajectory]:
  """Plays T steps of E games, one after another as episodes end.

  Args:
    env: the game.
    policy: who plays.
    params: of the policy.
    playing: the games, see `begin`.
    key: consumed.
    num_steps: T (static).
    bootstrap: whether what is seen when time is up is valued.

  Returns:
    The games after it, and the steps.

  Example:
    >>> from jaxdl import agents
    >>> env = agents.make_game('simple_spread(num_agents=2)')
    >>> policy = agents.actor_critic(env)
    >>> params = policy.init(jax.random.key(0))
    >>> playing = begin(env, policy, jax.random.key(1), 3)
    >>> _, steps = rollout(
    ...   env, policy, params, playing, key=jax.random.key(2), num_steps=4
    ... )
    >>> steps.reward.shape
    (4, 3, 2)
  """
  check_play(env, policy)
  checks.integer(num_steps, name='num_steps', low=1)

  def body(playing, step_key):
    act_key, env_key = jax.random.split(step_key)
    acted = policy.act(
      params, playing.carry, playing.seen, playing.first, key=act_key
    )
    running, step = env.step_many(playing.running, acted.actions, key=env_key)

    def worth(params, carry, final, truncated, nothing):
      del nothing
      none = jnp.zeros_like(truncated)
      value = policy.value(params, carry, final, none)
      return jnp.where(truncated[:, None], value, 0.0)

    final_value = jnp.zeros_like(acted.value)
    if bootstrap:
      final_value = _branches.when_any(
        step.truncated,
        worth,
        lambda params, carry, final, truncated, nothing: nothing,
        *(params, acted.carry, step.final, step.truncated, final_value),
      )
    played = Trajectory(
      seen=playing.seen,
      first=playing.first,
      actions=acted.actions,
      choices=acted.choices,
      log_prob=acted.log_prob,
      value=acted.value,
      reward=step.reward,
      terminated=step.terminated,
      truncated=step.truncated,
      final_value=final_value,
      facts=step.facts | acted.facts,
      gone=step.gone,
    )
    return Playing(running, step.seen, step.done, acted.carry), played

  return jax.lax.scan(body, playing, jax.random.split(key, num_steps))


def play_episodes(
  env: _environment.Environment,
  policy: _policy.Policy,
  params: chex.ArrayTree,
  *,
  key: chex.PRNGKey,
  num_episodes: int,
  greedy: bool = False,
  chunk: int | None = None,
) -> dict[str, chex.Array]:
  """Plays whole episodes and measures them.

  Args:
    env: the game.
    policy: who plays.
    params: of the policy.
    key: consumed.
    num_episodes: E (static).
    greedy: whether agents do the likeliest in place of a draw.
    chunk: episodes side by side; all by default. It must divide E, and changes
      no start of an episode, but which noise it meets.

  Returns:
    Leaves f[E, ...]: 'return', means over agents; 'returns' f[E, N]; 'length';
    'terminated', whether the game was over by its own rules; and the figures of
    the game.

  Example:
    >>> from jaxdl import agents
    >>> env = agents.make_game('simple_spread(num_agents=2)')
    >>> policy = agents.random_policy(env)
    >>> found = play_episodes(
    ...   env, policy, {}, key=jax.random.key(0), num_episodes=4
    ... )
    >>> found['length'].tolist()
    [25.0, 25.0, 25.0, 25.0]
  """
  check_play(env, policy)
  checks.integer(num_episodes, name='num_episodes', low=1)
  size = num_episodes if chunk is None else chunk
  checks.integer(size, name='chunk', low=1)
  if num_episodes % size:
    raise ValueError(f'chunk={size} must divide num_episodes={num_episodes}.')
  start_key, play_key = jax.random.split(key)
  ids = jnp.arange(num_episodes)
  starts = jax.vmap(lambda e: jax.random.fold_in(start_key, e))(ids)

  def some(part):
    starts, part_key = part
    seen, running = jax.vmap(env.reset)(starts)
    first = jnp.ones((size,), bool)

    def body(state, step_key):
      running, seen, carry, first, over, ended = state
      act_key, env_key = jax.random.split(step_key)
      acted = policy.act(
        params, carry, seen, first, key=None if greedy else act_key
      )
      env_keys = jax.random.split(env_key, size)
      move = lambda r, a, k: env.move_on(r, a, key=k)
      after, step = jax.vmap(move)(running, acted.actions, env_keys)
      keep = lambda old, new: jnp.where(
        over.reshape((-1,) + (1,) * (old.ndim - 1)), old, new
      )
      running = jax.tree.map(keep, running, after)
      was = over
      ended = ended | (~over & step.terminated)
      over = over | step.done
      facts = {k: jnp.where(was, 0.0, v) for k, v in acted.facts.items()}
      new = (
        running,
        step.seen,
        acted.carry,
        jnp.zeros_like(first),
        over,
        ended,
      )
      return new, facts

    none = jnp.zeros((size,), bool)
    state = (running, seen, policy.start(size), first, none, none)
    keys = jax.random.split(part_key, env.max_steps)
    (running, *_, ended), facts = jax.lax.scan(body, state, keys)
    length = running.log.length.astype(jnp.float32)
    out = {
      'return': jnp.mean(running.log.total, axis=-1),
      'returns': running.log.total,
      'length': length,
      'terminated': ended.astype(jnp.float32),
    }
    out |= {k: jnp.sum(v, axis=0) / length for k, v in facts.items()}
    return out | running.log.facts

  if size == num_episodes:
    return some((starts, play_key))
  parts = num_episodes // size
  found = jax.lax.map(
    some,
    (starts.reshape(parts, size), jax.random.split(play_key, parts)),
  )
  return jax.tree.map(lambda x: x.reshape((num_episodes, *x.shape[2:])), found)


def record_episode(
  env: _environment.Environment,
  policy: _policy.Policy,
  params: chex.ArrayTree,
  *,
  key: chex.PRNGKey,
  greedy: bool = True,
) -> dict[str, Any]:
  """Plays one episode and keeps what a picture of it needs.

  Args:
    env: the game.
    policy: who plays.
    params: of the policy.
    key: consumed.
    greedy: whether agents do the likeliest.

  Returns:
    'states', what `Environment.draw` says at each of T + 1 moments, or None;
    'seen', 'actions', 'reward' and 'facts' of T steps; 'length', the number of
    steps that belong to the episode: what follows repeats its end.
  """
  check_play(env, policy)
  start_key, play_key = jax.random.split(key)
  seen, running = jax.vmap(env.reset)(start_key[None])

  def drawn(running):
    if env.draw is None:
      return {}
    return env.draw(env.params, jax.tree.map(lambda x: x[0], running.state))

  def body(state, step_key):
    running, seen, carry, first, over = state
    act_key, env_key = jax.random.split(step_key)
    acted = policy.act(
      params, carry, seen, first, key=None if greedy else act_key
    )
    move = lambda r, a, k: env.move_on(r, a, key=k)
    after, step = jax.vmap(move)(running, acted.actions, env_key[None])
    keep = lambda old, new: jnp.where(over, old, new)
    after = jax.tree.map(keep, running, after)
    row = {
      'states': drawn(after),
      'seen': seen.own[0],
      'actions': acted.actions[0],
      'reward': jnp.where(over, 0.0, step.reward[0]),
      'facts': {k: v[0] for k, v in (step.facts | acted.facts).items()},
    }
    new = (after, step.seen, acted.carry, first & False, over | step.done[0])
    return new, row

  first = jnp.ones((1,), bool)
  state = (running, seen, policy.start(1), first, jnp.zeros((), bool))
  keys = jax.random.split(play_key, env.max_steps)
  (after, *_), rows = jax.lax.scan(body, state, keys)
  join = lambda a, b: jnp.concatenate([a[None], b])
  states = jax.tree.map(join, drawn(running), rows['states'])
  return rows | {
    'states': states if env.draw is not None else None,
    'length': after.log.length[0],
  }
