# SPDX-License-Identifier: Apache-2.0
"""Games on the host that agents learn, measured by whole episodes."""

from collections.abc import Sequence

import jax
import numpy as np

from jaxdl import agents
from jaxdl.core import checks, types
from jaxdl.problems.games import _games

_TESTS = 0x7E57


def host_games(
  games: Sequence[agents.games.HostGame],
  policy: agents.Policy,
  *,
  num_episodes: int = 8,
  modes: Sequence[str] = _games.MODES,
  metric: str = 'return',
  seeds: Sequence[int] = (0,),
) -> types.Problem:
  """Measures agents by episodes of a game on the host, the same every time.

  Args:
    games: E games of one kind; those that are trained in will do, as every
      update begins new episodes.
    policy: who plays, made for `games[0].shapes()`.
    num_episodes: episodes of a test, a multiple of E.
    modes: 'sampled' actions as they are drawn, 'greedy' the likeliest; names of
      figures of the second begin with `greedy_`.
    metric: the figure to look at first.
    seeds: S seeds.

  Returns:
    The problem, for algorithms that run on the host. It measures what `games`
    does.

  Raises:
    ValueError: if a number is out of range.
    TypeError: if there are other games or `policy` is something else.
  """
  seeds = checks.seeds(seeds)
  if not isinstance(games, Sequence):
    raise TypeError(
      f'games must be a sequence of games.HostGame; got '
      f'{checks.described(games)}.'
    )
  games = tuple(games)
  for game in games:
    if not isinstance(game, agents.games.HostGame):
      raise TypeError(
        f'games must be games.HostGame; got {checks.described(game)}.'
      )
  checks.integer(num_episodes, name='num_episodes', low=1)
  if not games or num_episodes % len(games):
    raise ValueError(
      f'num_episodes={num_episodes} must be a multiple of the {len(games)} '
      'games.'
    )
  if len({id(game) for game in games}) < len(games):
    raise ValueError(
      f'games must be different ones: there are {len(games)}, some of them '
      'twice.'
    )
  agents.check_loop(games[0].shapes(), policy, num_envs=len(games), num_steps=1)
  _games.check_modes(modes)

  def measure(params, seed):
    key, out = jax.random.fold_in(jax.random.key(seed), _TESTS), {}
    for mode in modes:
      found = agents.games.host_episodes(
        games,
        policy,
        params,
        key=key,
        num_episodes=num_episodes,
        greedy=mode == 'greedy',
        seed=_TESTS + seed,
      )
      found.pop('returns')
      start = 'greedy_' if mode == 'greedy' else ''
      out |= {f'{start}{k}': np.mean(v) for k, v in found.items()}
    return out

  def evaluate(params):
    rows = [
      measure(jax.tree.map(lambda x, i=i: x[i], params), seed)
      for i, seed in enumerate(seeds)
    ]
    names = _games.in_order(rows[0], metric)
    return {name: np.array([row[name] for row in rows]) for name in names}

  def loss(params, batch, *, key=None):
    del params, batch, key
    raise ValueError('a game has no loss of a batch: train with a learner.')

  return types.Problem(
    task=types.Task(policy.init, loss, lambda params, batch: {}),
    data={'seed': np.asarray(seeds)},
    cohort=lambda key, data, round: _games.alone(),
    evaluate=evaluate,
    seeds=seeds,
    metric=metric,
    ylabel=metric.replace('_', ' ').capitalize(),
  )
