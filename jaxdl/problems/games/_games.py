# SPDX-License-Identifier: Apache-2.0
"""Games that agents learn, measured by whole episodes."""

from collections.abc import Iterable, Sequence
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np

from jaxdl import agents
from jaxdl.core import checks, types

# Folded into a seed for the episodes of tests.
_TESTS = 0x7E57
MODES = ('sampled', 'greedy')


def games(
  env: agents.Environment,
  policy: agents.Policy,
  *,
  num_episodes: int = 64,
  modes: Sequence[str] = MODES,
  population: Any = None,
  chunk: int | None = None,
  metric: str = 'return',
  num_counted: int | None = None,
  seeds: Sequence[int] = (0,),
) -> types.Problem:
  """Measures agents by episodes of a game, the same ones after every round.

  Args:
    env: the game.
    policy: who plays.
    num_episodes: episodes of a test.
    modes: 'sampled' actions as they are drawn, 'greedy' the likeliest; names of
      figures of the second begin with `greedy_`.
    population: numbers of a game for each seed, a tree as `env.params` with
      leaves [S, ...]; those of `env` for all if None. A learner of such a
      problem is made of `data['params']`:
      `lambda data: agents.ppo(env.replace(params=data['params']), ...)`.
    chunk: episodes side by side; all by default.
    metric: the figure to look at first.
    num_counted: agents whose returns are averaged, the first ones; all if None.
    seeds: S seeds.

  Returns:
    The problem. It measures `return`, the mean over agents of sums of rewards,
    `length`, `terminated` and the figures of the game, means over episodes.

  Raises:
    ValueError: if a number is out of range or the population has another form.
    TypeError: if `env` or `policy` is something else.

  Example:
    >>> env = agents.make_game('simple_spread(num_agents=2)')
    >>> problem = games(env, agents.random_policy(env), num_episodes=2)
    >>> found = problem.evaluate({})
    >>> found['length'].tolist()
    [25.0]
  """
  seeds = checks.seeds(seeds)
  checks.integer(num_episodes, name='num_episodes', low=1)
  if chunk is not None:
    checks.integer(chunk, name='chunk', low=1)
    if num_episodes % chunk:
      raise ValueError(
        f'chunk={chunk} must divide num_episodes={num_episodes}.'
      )
  agents.check_loop(env, policy, num_envs=num_episodes, num_steps=1)
  counted = env.num_agents
  if num_counted is not None:
    counted = checks.integer(
      num_counted, name='num_counted', low=1, high=env.num_agents
    )
  check_modes(modes)
  many = len(seeds)
  if population is None:
    population = jax.tree.map(
      lambda x: jnp.broadcast_to(x, (many, *jnp.shape(x))), env.params
    )
  else:
    _check_population(env, population, many)

  def measure(params, numbers, key):
    game, out = env.replace(params=numbers), {}
    for mode in modes:
      found = agents.play_episodes(
        game,
        policy,
        params,
        key=key,
        num_episodes=num_episodes,
        greedy=mode == 'greedy',
        chunk=chunk,
      )
      found['return'] = found.pop('returns')[:, :counted]
      start = 'greedy_' if mode == 'greedy' else ''
      out |= {f'{start}{k}': jnp.mean(v) for k, v in found.items()}
    return out

  def run(params, numbers, keys):
    if many == 1:
      own, game = jax.tree.map(lambda x: x[0], (params, numbers))
      found = measure(own, game, keys[0])
      return jax.tree.map(lambda x: x[None], found)
    return jax.vmap(measure)(params, numbers, keys)

  tests = jnp.stack(
    [jax.random.fold_in(jax.random.key(seed), _TESTS) for seed in seeds]
  )
  jitted = jax.jit(run)

  def evaluate(params):
    found = jitted(params, population, tests)
    names = in_order(found, metric)
    return {name: np.asarray(found[name]) for name in names}

  def loss(params, batch, *, key=None):
    del params, batch, key
    raise ValueError(
      'a game has no loss of a batch: train with agents.ppo or another learner '
      'of jaxdl.agents.'
    )

  return types.Problem(
    task=types.Task(policy.init, loss, lambda params, batch: {}),
    data={'params': population},
    cohort=lambda key, data, round: alone(),
    evaluate=evaluate,
    seeds=seeds,
    metric=metric,
    ylabel=metric.replace('_', ' ').capitalize(),
  )


def check_modes(modes: Sequence[str]) -> None:
  """Raises TypeError or ValueError if modes are no list of those there are."""
  if isinstance(modes, str) or not isinstance(modes, Sequence):
    raise TypeError(
      f'modes must be a sequence, as {MODES}; got {checks.described(modes)}.'
    )
  if not modes:
    raise ValueError(f'modes is empty: name some of {", ".join(MODES)}.')
  for mode in modes:
    checks.choice(mode, MODES, name='modes')
  if len(set(modes)) < len(modes):
    raise ValueError(f'modes must differ; got {tuple(modes)}.')


def in_order(names: Iterable[str], metric: str) -> list[str]:
  """Puts the figure to look at first, and that of greedy agents, in front."""
  first = (metric, f'greedy_{metric}')
  return sorted(names, key=lambda name: tuple(name != one for one in first))


def alone() -> types.Cohort:
  """Returns a cohort of one, for learners that play for themselves."""
  return types.Cohort(
    client_ids=jnp.zeros((1,), jnp.int32),
    data={},
    mask=jnp.ones((1,), bool),
    weights=jnp.ones((1,)),
  )


def _check_population(env, population, many):
  """Raises unless leaves have one row per seed."""
  want = jax.tree.map(lambda x: (many, *jnp.shape(x)), env.params)
  got = jax.tree.map(jnp.shape, population)
  if want != got:
    raise ValueError(
      f'population must have the structure of env.params with a row for each '
      f'of {many} seeds, {want}; got {got}.'
    )


def trimmed_mean(values: chex.Array, *, trim: float = 0.25) -> float:
  """Averages figures of seeds without their extremes.

  Args:
    values: f[S].
    trim: share that is left out at each end; .25 gives the interquartile mean.

  Returns:
    The mean of the rest; NaN if a figure is, as for a seed that diverged.

  Raises:
    ValueError: if there is no figure, or `trim` is out of range.

  Example:
    >>> trimmed_mean([0.0, 1.0, 3.0, 99.0])
    2.0
  """
  checks.number(trim, name='trim', low=0.0, high=0.5, open_high=True)
  found = np.sort(checks.host_array(values, name='values'))
  if found.ndim != 1 or not found.size:
    raise ValueError(
      f'values must be a row of numbers, one at least; got shape {found.shape}.'
    )
  if np.isnan(found).any():
    # They are sorted to the end, where they would be cut.
    return float('nan')
  cut = int(len(found) * trim)
  return float(found[cut : len(found) - cut].mean())
