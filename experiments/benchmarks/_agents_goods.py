# SPDX-License-Identifier: Apache-2.0
"""A part of the benchmark of agents: public goods games.

Thousands of games as one program against loops over them, and an update of
learners against one agent and one seed after the other.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from experiments.benchmarks import _timing
from jaxdl.agents import public_goods as goods

THRESHOLD = 1.5
# Times faster than a loop in NumPy, and than compiled games one by one.
GRID_TARGET, ONE_BY_ONE_TARGET = 5.0, 5.0
BATCH = 20


def _numpy_grid(penalty, rho, num_levels, num_agents=3):
  """Backward induction over sums of levels, of a linear cost."""
  m, n = num_levels, num_agents
  step = 1.0 / (m - 1)
  needed = np.ceil(THRESHOLD / step - 1e-6)
  levels, tables = np.arange(m), []
  final = np.arange(n * (m - 1) + 1)
  for i in reversed(range(n)):
    state = np.arange(i * (m - 1) + 1)
    after = final[state[:, None] + levels]
    pay = (rho / n * after - levels) * step - penalty * (after < needed)
    good = pay >= pay.max(axis=1, keepdims=True) - 1e-9
    best = m - 1 - good[:, ::-1].argmax(axis=1)
    tables.append(best)
    final = np.take_along_axis(after, best[:, None], 1)[:, 0]
  path, state = [], 0
  for table in tables[::-1]:
    path.append(table[state] * step)
    state += table[state]
  return np.array(path)


def _loop(penalties, rhos, num_levels):
  pairs = zip(penalties, rhos, strict=True)
  return np.stack([_numpy_grid(p, r, num_levels) for p, r in pairs])


def threshold_games(*, quick: bool = False) -> list[dict[str, str]]:
  """A thousand threshold games on grids.

  Args:
    quick: whether there are few.

  Returns:
    Rows of a table.

  Raises:
    ValueError: if contenders disagree, whose times would say nothing.
  """
  count, rounds = (100, 3) if quick else (1000, 9)
  rng = np.random.default_rng(0)
  penalties = rng.uniform(0.05, 1.0, count)
  rhos = rng.uniform(0.5, 2.5, count)
  device = jnp.asarray(penalties, jnp.float32), jnp.asarray(rhos, jnp.float32)
  rows = []
  for num_levels in (21, 31) if quick else (31, 101):

    def solve(numbers, m=num_levels):
      penalty, rho = numbers
      game = goods.Game(
        rho=rho, kappa=1.0, cost='linear', penalty=penalty, threshold=THRESHOLD
      )
      return goods.solve_grid(game, num_levels=m).contributions

    ours = f'{count} games, {num_levels} levels'
    whole = jax.jit(jax.vmap(solve))
    # As many at a time as the cache holds.
    parts = jax.jit(lambda x, one=solve: jax.lax.map(one, x, batch_size=BATCH))
    fns = {
      ours: functools.partial(parts, device),
      'all at a time': functools.partial(whole, device),
      'loop in NumPy': functools.partial(_loop, penalties, rhos, num_levels),
    }
    ends = [np.asarray(fn()) for fn in fns.values()]
    gap = max(np.abs(end - ends[-1]).max() for end in ends)
    if gap > 1e-5:
      raise ValueError(f'contenders differ by {gap}: not timed.')
    times = _timing.measure(fns, rounds=rounds)
    rows += [
      _timing.Claim(ours, 'loop in NumPy', faster=GRID_TARGET).row(times),
      _timing.Claim(ours, 'all at a time').row(times),
    ]
  return rows


def continuous_games(*, quick: bool = False) -> list[dict[str, str]]:
  """Games without a grid, as one program, one by one, and by exact pieces.

  Args:
    quick: whether there are few.

  Returns:
    Rows of a table.
  """
  count, nodes, rounds = (20, 21, 3) if quick else (200, 41, 7)
  gammas = np.linspace(0.05, 0.8, count)
  device = jnp.asarray(gammas, jnp.float32)
  solve = lambda gamma: (
    goods.solve(goods.Game(gamma=gamma), num_nodes=nodes).contributions
  )
  many, one = jax.jit(jax.vmap(solve)), jax.jit(solve)
  ours = f'{count} games, {nodes} nodes'
  fns = {
    ours: lambda: many(device),
    'compiled, one by one': lambda: [one(gamma) for gamma in device],
    'exact pieces on the host': lambda: [
      goods.exact_path(goods.Game(gamma=gamma))[0] for gamma in gammas
    ],
  }
  ends = [np.stack([np.asarray(x) for x in fn()]) for fn in fns.values()]
  gap = max(np.abs(end - ends[-1]).max() for end in ends)
  if gap > 1e-3:
    raise ValueError(f'contenders differ by {gap}: not timed.')
  times = _timing.measure(fns, rounds=rounds)
  return [
    _timing.Claim(ours, 'compiled, one by one', faster=ONE_BY_ONE_TARGET).row(
      times
    ),
    _timing.Claim(ours, 'exact pieces on the host').row(times),
  ]


def learning(*, quick: bool = False) -> list[dict[str, str]]:
  """An update of learners: seeds side by side against one after the other.

  Args:
    quick: whether games are few.

  Returns:
    Rows of a table.
  """
  seeds, games, updates, rounds = (2, 32, 2, 3) if quick else (5, 256, 10, 7)
  algorithm = goods.ppo_learner(
    goods.mac_spgg(), num_updates=100, num_games=games
  )

  def run(key):
    def body(state, t):
      state, seen = algorithm.step(state, None, key=jax.random.fold_in(key, t))
      return state, seen['total_reward']

    return jax.lax.scan(body, algorithm.init(key), jnp.arange(updates))[1]

  step = jax.jit(algorithm.step)
  keys = jax.random.split(jax.random.key(0), seeds)
  many, one = jax.jit(jax.vmap(run)), jax.jit(run)

  def by_hand():
    out = []
    for key in keys:
      state = algorithm.init(key)
      for t in range(updates):
        state, seen = step(state, None, key=jax.random.fold_in(key, t))
      out.append(seen['total_reward'])
    return out

  ours = f'{seeds} seeds, {updates} updates of {games} games'
  fns = {
    ours: lambda: many(keys),
    'one seed after the other': lambda: [one(key) for key in keys],
    'a Python loop over compiled updates': by_hand,
  }
  times = _timing.measure(fns, rounds=rounds)
  return [_timing.Claim(ours, rival).row(times) for rival in list(fns)[1:]]


def report(*, quick: bool = False) -> list[str]:
  """All parts as sections of Markdown.

  Args:
    quick: whether they are small.

  Returns:
    The sections.
  """
  parts = {
    'Threshold games on grids': threshold_games,
    'Games without a grid': continuous_games,
    'Learners of public goods': learning,
  }
  return [
    f'### {title}\n\n{_timing.table(part(quick=quick))}'
    for title, part in parts.items()
  ]
