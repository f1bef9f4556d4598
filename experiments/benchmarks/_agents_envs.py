# SPDX-License-Identifier: Apache-2.0
"""Steps of games per second, with random actions, against JaxMARL's.

`rows` compares `step_many` with `step` under `vmap`, which draws a fresh start
at every step, and with JaxMARL where it is importable and has the game. As a
module it prints the rows as JSON, for an interpreter that has JaxMARL:

    python -m experiments.benchmarks._agents_envs --rounds=5
"""

import argparse
import functools
import json
import os
import sys
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import jax

from experiments.benchmarks import _timing
from jaxdl import agents

GAMES = {
  'simple_spread': 'MPE_simple_spread_v3',
  'switch_riddle': 'switch_riddle',
  'predator_prey': None,
  'iterated_dilemma': None,
}
ENVS = (1, 100, 1000, 4096)
# Steps of all games together in a run.
WORK = 200_000
MOST_STEPS = 2000


def _ours(name: str, num_envs: int, num_steps: int, many: bool):
  """A run of our game that gives the sum of rewards."""
  env = agents.make_game(name)

  def body(running, key):
    act_key, env_key = jax.random.split(key)
    joint = agents.random_actions(env, act_key, (num_envs,))
    if many:
      running, step = env.step_many(running, joint, key=env_key)
    else:
      keys = jax.random.split(env_key, num_envs)
      play = lambda r, a, k: env.step(r, a, key=k)
      running, step = jax.vmap(play)(running, joint, keys)
    return running, step.reward.sum() + step.seen.own.sum()

  @jax.jit
  def run(key):
    _, running = env.reset_many(key, num_envs)
    _, total = jax.lax.scan(body, running, jax.random.split(key, num_steps))
    return total.sum()

  return functools.partial(run, jax.random.key(0))


def _peers(
  name: str, num_envs: int, num_steps: int
) -> Callable[[], Any] | None:
  """The same of JaxMARL, or None without it."""
  if GAMES[name] is None:
    return None
  try:
    with warnings.catch_warnings():
      warnings.simplefilter('ignore')
      import jaxmarl

      env = jaxmarl.make(GAMES[name])
  except ImportError:
    return None
  many = agents.make_game(name)

  def body(state, key):
    act_key, env_key = jax.random.split(key)
    joint = agents.random_actions(many, act_key, (num_envs,))
    named = {a: joint[:, i] for i, a in enumerate(env.agents)}
    keys = jax.random.split(env_key, num_envs)
    obs, state, reward, _, _ = jax.vmap(env.step)(keys, state, named)
    total = sum(x.sum() for x in (*obs.values(), *reward.values()))
    return state, total

  @jax.jit
  def run(key):
    keys = jax.random.split(key, num_envs)
    _, state = jax.vmap(env.reset)(keys)
    _, total = jax.lax.scan(body, state, jax.random.split(key, num_steps))
    return total.sum()

  return functools.partial(run, jax.random.key(0))


def rows(
  *,
  rounds: int = 7,
  games: Sequence[str] = tuple(GAMES),
  envs: Sequence[int] = ENVS,
  work: int = WORK,
) -> list[dict[str, Any]]:
  """Measures steps per second.

  Args:
    rounds: turns of every contender.
    games: names among `GAMES`.
    envs: numbers of games side by side.
    work: steps of all games in a run.

  Returns:
    A row for every game and number: thousands of steps per second, and ratios
    of our form to the others, medians over the rounds.
  """
  found = []
  for name in games:
    for num_envs in envs:
      num_steps = min(max(work // num_envs, 25), MOST_STEPS)
      fns = {
        'ours': _ours(name, num_envs, num_steps, True),
        'step': _ours(name, num_envs, num_steps, False),
      }
      peer = _peers(name, num_envs, num_steps)
      if peer is not None:
        fns['jaxmarl'] = peer
      times = _timing.measure(fns, rounds=rounds)
      speed = lambda key, t=times, n=num_envs * num_steps: n / t.ms(key)
      row = {
        'game': name,
        'games at once': num_envs,
        'thousand steps/s': speed('ours'),
        'vmapped step': speed('step'),
        'ratio': times.ratio('step', 'ours'),
        'JaxMARL': None,
        'ratio to JaxMARL': None,
      }
      if peer is not None:
        row['JaxMARL'] = speed('jaxmarl')
        row['ratio to JaxMARL'] = times.ratio('jaxmarl', 'ours')
      found.append(row)
  return found


def main() -> None:
  """Prints the rows as JSON."""
  parser = argparse.ArgumentParser()
  parser.add_argument('--rounds', type=int, default=7)
  parser.add_argument('--games', nargs='+', default=list(GAMES))
  parser.add_argument('--envs', type=int, nargs='+', default=list(ENVS))
  parser.add_argument('--work', type=int, default=WORK)
  args = parser.parse_args()
  # JaxMARL says two lines when it is imported: they go where errors go.
  out = os.dup(1)
  os.dup2(2, 1)
  found = rows(
    rounds=args.rounds, games=args.games, envs=args.envs, work=args.work
  )
  sys.stdout.flush()
  os.dup2(out, 1)
  print(json.dumps(found))


if __name__ == '__main__':
  main()
