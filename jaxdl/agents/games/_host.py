# SPDX-License-Identifier: Apache-2.0
"""Games that run on the host, one step after another."""

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np

from jaxdl.agents import _environment, _policy, _rollout
from jaxdl.core import checks


class HostStep(NamedTuple):
  """A step on the host, without a fresh start.

  Attributes:
    own: f32[N, d], what agents see after it.
    reward: f32[N].
    terminated: whether the game was over.
    truncated: whether time was up and the game was not over.
    facts: figures of the step.
  """

  own: np.ndarray
  reward: np.ndarray
  terminated: bool
  truncated: bool
  facts: dict[str, float]


class HostGame:
  """A game that cannot be compiled.

  Attributes:
    num_agents: N.
    own_size: d.
    max_steps: of an episode, exactly.
    num_actions: A, or None where actions are vectors.
    action_size: a, of vectors in [-1, 1]^a.
    name: of the game.
    facts: how figures of steps become those of an episode, see `Environment`.
  """

  def __init__(
    self,
    start: Callable[[int], np.ndarray],
    move: Callable[[np.ndarray], tuple[Any, Any, bool, dict[str, float]]],
    *,
    num_agents: int,
    own_size: int,
    max_steps: int,
    num_actions: int | None = None,
    action_size: int = 0,
    name: str = 'host game',
    facts: tuple[tuple[str, str], ...] = (),
    close: Callable[[], None] | None = None,
  ):
    """Wraps two functions that share a state.

    Args:
      start: `start(seed) -> f[N, d]` begins an episode.
      move: `move(actions) -> (f[N, d], rewards f[N], over, facts)`.
      num_agents: N.
      own_size: d.
      max_steps: of an episode.
      num_actions: A, or None.
      action_size: a.
      name: of the game.
      facts: see above.
      close: frees what the game holds.
    """
    self._start, self._move, self._close = start, move, close
    self.num_agents = checks.integer(num_agents, name='num_agents', low=1)
    self.own_size = checks.integer(own_size, name='own_size', low=1)
    self.max_steps = checks.integer(max_steps, name='max_steps', low=1)
    self.num_actions = num_actions
    self.action_size = action_size
    self.name = name
    self.facts = facts
    self._time = -1

  def reset(self, seed: int) -> np.ndarray:
    """Begins an episode.

    Args:
      seed: of all that it draws.

    Returns:
      f32[N, d], what agents see.
    """
    self._time = 0
    return np.asarray(self._start(seed), np.float32)

  def step(self, actions: np.ndarray) -> HostStep:
    """Plays a step; call `reset` after the last of an episode.

    Args:
      actions: i[N], or f[N, a].

    Returns:
      The step.

    Raises:
      ValueError: if no episode is running or a reward is no number.
    """
    if self._time < 0:
      raise ValueError('step needs a running episode: call reset(seed) first.')
    own, reward, over, facts = self._move(np.asarray(actions))
    self._time += 1
    reward = np.asarray(reward, np.float32)
    if not np.isfinite(reward).all():
      raise ValueError(
        f'{self.name} gave the reward {reward.tolist()} at step {self._time}.'
      )
    truncated = self._time >= self.max_steps and not over
    if over or truncated:
      self._time = -1
    return HostStep(
      np.asarray(own, np.float32), reward, bool(over), truncated, facts
    )

  def close(self) -> None:
    """Frees what the game holds."""
    if self._close is not None:
      self._close()

  def shapes(self) -> _environment.Environment:
    """Returns a game of the same shapes, to make policies for.

    It cannot be played.
    """

    def start(params, key):
      del params, key
      return jnp.zeros((self.num_agents, self.own_size), jnp.float32)

    def move(params, state, actions, key):
      raise ValueError(
        f'{self.name} runs on the host: play it with games.host_rollout.'
      )

    return _environment.Environment(
      params={},
      start=start,
      move=move,
      observe=lambda params, state: _environment.Seen(state),
      num_agents=self.num_agents,
      own_size=self.own_size,
      max_steps=self.max_steps,
      num_actions=self.num_actions,
      action_size=self.action_size,
      name=self.name,
      facts=self.facts,
    )


def multiwalker(
  *,
  num_agents: int = 3,
  max_steps: int = 500,
  shared_reward: bool = False,
  position_noise: float = 1e-3,
  angle_noise: float = 1e-3,
  forward_reward: float = 1.0,
  fall_reward: float = -10.0,
  terminate_reward: float = -100.0,
  terrain_length: int = 200,
) -> HostGame:
  """Walkers that carry a package together, of PettingZoo, on the host.

  Args:
    num_agents: N >= 2.
    max_steps: of an episode.
    shared_reward: whether rewards are averaged.
    position_noise: of what is seen of neighbors and package.
    angle_noise: of the package's angle.
    forward_reward: of the way of the package.
    fall_reward: of a fall.
    terminate_reward: of all when the package drops or one falls.
    terrain_length: of the ground.

  Returns:
    The game: 31 numbers are seen, actions are in [-1, 1]^4. It measures
    `distance`, the sum over steps of the mean reward above the fines.

  Raises:
    ImportError: if PettingZoo's walkers are not installed.
    ValueError: if a number is out of range.

  Source: Gupta, Egorov, Kochenderfer 2017, in PettingZoo's form
  `sisl.multiwalker_v9`, with the numbers of Gupta et al. 2021
  (https://arxiv.org/abs/2102.00824).
  """
  checks.integer(num_agents, name='num_agents', low=2)
  checks.integer(max_steps, name='max_steps', low=1)
  checks.flag(shared_reward, name='shared_reward')
  try:
    from pettingzoo.sisl import multiwalker_v9
  except ImportError as error:
    raise ImportError(
      'multiwalker needs pettingzoo[sisl]: install it with `pip install '
      'jaxdl-research[agents]`.'
    ) from error

  env = multiwalker_v9.parallel_env(
    n_walkers=num_agents,
    position_noise=position_noise,
    angle_noise=angle_noise,
    forward_reward=forward_reward,
    fall_reward=fall_reward,
    terminate_reward=terminate_reward,
    shared_reward=shared_reward,
    terrain_length=terrain_length,
    # The limit of time is kept here, apart from the game's end.
    max_cycles=max_steps + 1,
  )
  names = [f'walker_{i}' for i in range(num_agents)]
  size = env.observation_space(names[0]).shape[0]
  last = np.zeros((num_agents, size), np.float32)

  def rows(found):
    for i, name in enumerate(names):
      if name in found:
        last[i] = found[name]
    return last.copy()

  def start(seed):
    obs, _ = env.reset(seed=seed)
    return rows(obs)

  def move(actions):
    clipped = np.clip(np.asarray(actions, np.float32), -1.0, 1.0)
    named = {n: clipped[i] for i, n in enumerate(names) if n in env.agents}
    obs, reward, terminated, _, _ = env.step(named)
    earned = np.array([reward.get(name, 0.0) for name in names], np.float32)
    over = bool(terminated) and all(terminated.values())
    return rows(obs), earned, over, {'reward': float(earned.mean())}

  return HostGame(
    start,
    move,
    num_agents=num_agents,
    own_size=size,
    max_steps=max_steps,
    action_size=4,
    name='multiwalker',
    facts=(('reward', 'sum'),),
    close=env.close,
  )


class HostPlaying(NamedTuple):
  """E games on the host between two steps.

  Attributes:
    games: that are played, each with a state of its own.
    own: f32[E, N, d].
    first: bool[E].
    carry: memory of the policy.
    seeds: i[E], of the next episodes.
    totals: f32[E, N], rewards of the episode so far.
    lengths: i[E].
    finished: returns f32[N] and lengths of episodes that ended.
  """

  games: tuple[HostGame, ...]
  own: np.ndarray
  first: np.ndarray
  carry: Any
  seeds: np.ndarray
  totals: np.ndarray
  lengths: np.ndarray
  finished: tuple[tuple[np.ndarray, int], ...]


def host_begin(
  games: Sequence[HostGame], policy: _policy.Policy, *, seed: int = 0
) -> HostPlaying:
  """Begins games on the host.

  Args:
    games: E games of one kind, none of them twice.
    policy: who plays.
    seed: episode k of game e is drawn from `seed + e + k E`.

  Returns:
    The games.

  Raises:
    ValueError: if there is none, or one stands twice.
  """
  games = tuple(games)
  if not games or len({id(game) for game in games}) < len(games):
    raise ValueError('games must be at least one, and none of them twice.')
  e, n = len(games), games[0].num_agents
  seeds = seed + np.arange(e)
  own = np.stack([game.reset(s) for game, s in zip(games, seeds, strict=True)])
  return HostPlaying(
    games=games,
    own=own,
    first=np.ones((e,), bool),
    carry=policy.start(e),
    seeds=seeds + e,
    totals=np.zeros((e, n), np.float32),
    lengths=np.zeros((e,), np.int64),
    finished=(),
  )


@functools.lru_cache(maxsize=32)
def _compiled(policy, drawn):
  """The policy's functions as programs, which the host calls."""

  def act(params, carry, own, first, key):
    seen = _environment.Seen(own)
    return policy.act(params, carry, seen, first, key=key if drawn else None)

  def value(params, carry, own):
    none = jnp.zeros(own.shape[:1], bool)
    return policy.value(params, carry, _environment.Seen(own), none)

  return jax.jit(act), jax.jit(value)


def host_rollout(
  policy: _policy.Policy,
  params: chex.ArrayTree,
  playing: HostPlaying,
  *,
  key: chex.PRNGKey,
  num_steps: int,
  greedy: bool = False,
  bootstrap: bool = True,
) -> tuple[HostPlaying, _rollout.Trajectory]:
  """Plays T steps of E games on the host; only acting is compiled.

  Args:
    policy: who plays, made for `HostGame.shapes()`.
    params: of the policy.
    playing: the games, see `host_begin`. They move on, so it is used up.
    key: consumed.
    num_steps: T.
    greedy: whether agents do the likeliest in place of a draw.
    bootstrap: whether what is seen when time is up is valued.

  Returns:
    The games after it, and the steps as `agents.rollout` gives them.
  """
  checks.integer(num_steps, name='num_steps', low=1)
  act, worth = _compiled(policy, not greedy)
  games = playing.games
  e = len(games)
  own, first, carry = playing.own, playing.first, playing.carry
  seeds, totals = playing.seeds.copy(), playing.totals.copy()
  lengths, finished = playing.lengths.copy(), list(playing.finished)
  rows, states = [], []
  for step_key in jax.random.split(key, num_steps):
    acted = act(params, carry, own, first, step_key)
    actions = np.asarray(acted.actions)
    steps = [game.step(a) for game, a in zip(games, actions, strict=True)]
    reward = np.stack([s.reward for s in steps])
    terminated = np.array([s.terminated for s in steps])
    truncated = np.array([s.truncated for s in steps])
    after = np.stack([s.own for s in steps])
    final_value = np.zeros(reward.shape, np.float32)
    if bootstrap and truncated.any():
      found = np.asarray(worth(params, acted.carry, after))
      final_value = np.where(truncated[:, None], found, final_value)
    totals, lengths = totals + reward, lengths + 1
    rows.append(
      {
        'own': own,
        'first': first,
        'reward': reward,
        'terminated': terminated,
        'truncated': truncated,
        'final_value': final_value,
        'facts': {
          k: np.array([s.facts[k] for s in steps]) for k in steps[0].facts
        },
      }
    )
    states.append(acted)
    over = terminated | truncated
    own = after
    for i in np.flatnonzero(over):
      finished.append((totals[i].copy(), int(lengths[i])))
      own[i] = games[i].reset(seeds[i])
      seeds[i] += e
      totals[i], lengths[i] = 0.0, 0
    first, carry = over, acted.carry
  stack = lambda *xs: jnp.asarray(np.stack([np.asarray(x) for x in xs]))
  told = jax.tree.map(stack, *rows)
  join = lambda *xs: jnp.stack(xs)
  drawn = [(a.actions, a.choices, a.log_prob, a.value, a.facts) for a in states]
  actions, choices, log_prob, value, facts = jax.tree.map(join, *drawn)
  played = _rollout.Trajectory(
    seen=_environment.Seen(told['own']),
    first=told['first'],
    actions=actions,
    choices=choices,
    log_prob=log_prob,
    value=value,
    reward=told['reward'],
    terminated=told['terminated'],
    truncated=told['truncated'],
    final_value=told['final_value'],
    facts=told['facts'] | facts,
  )
  after = HostPlaying(
    games, own, first, carry, seeds, totals, lengths, tuple(finished)
  )
  return after, played


def host_episodes(
  games: Sequence[HostGame],
  policy: _policy.Policy,
  params: chex.ArrayTree,
  *,
  key: chex.PRNGKey,
  num_episodes: int,
  greedy: bool = False,
  seed: int = 0,
) -> dict[str, np.ndarray]:
  """Plays whole episodes on the host and measures them.

  Args:
    games: E games of one kind.
    policy: who plays.
    params: of the policy.
    key: consumed.
    num_episodes: a multiple of E.
    greedy: whether agents do the likeliest.
    seed: of the first starts.

  Returns:
    Leaves f[num_episodes, ...]: 'return', 'returns' by agent, 'length',
    'terminated', and figures of the game.

  Raises:
    ValueError: if E does not divide the number of episodes.
  """
  e = len(games)
  checks.integer(num_episodes, name='num_episodes', low=1)
  if e == 0 or num_episodes % e:
    raise ValueError(
      f'num_episodes={num_episodes} must be a multiple of the {e} games.'
    )
  found: list[dict[str, np.ndarray]] = []
  for part in range(num_episodes // e):
    playing = host_begin(games, policy, seed=seed + part * e)
    over = np.zeros((e,), bool)
    totals = np.zeros((e, games[0].num_agents), np.float32)
    lengths, ended = np.zeros((e,)), np.zeros((e,))
    facts = {name: np.zeros((e,)) for name, _ in games[0].facts}
    part_key = jax.random.fold_in(key, part)
    for step_key in jax.random.split(part_key, games[0].max_steps):
      playing, step = host_rollout(
        policy,
        params,
        playing,
        key=step_key,
        num_steps=1,
        greedy=greedy,
        bootstrap=False,
      )
      live = ~over
      totals += np.asarray(step.reward[0]) * live[:, None]
      lengths += live
      ended += live * np.asarray(step.terminated[0])
      for name, way in games[0].facts:
        new = np.asarray(step.facts[name][0])
        old = facts[name]
        if way == 'sum':
          new = old + new
        elif way == 'mean':
          new = old + (new - old) / np.maximum(lengths, 1)
        facts[name] = np.where(live, new, old)
      over = over | np.asarray(step.done[0])
      if over.all():
        break
    found.append(
      {
        'return': totals.mean(axis=-1),
        'returns': totals,
        'length': lengths,
        'terminated': ended,
      }
      | facts
    )
  return {k: np.concatenate([part[k] for part in found]) for k in found[0]}
