# SPDX-License-Identifier: Apache-2.0
"""Subgame perfect equilibria on grids: sums of levels, or whole histories."""

from typing import Any, NamedTuple

import chex
import jax.numpy as jnp
import numpy as np

from jaxdl.agents.public_goods import _game, _policies
from jaxdl.core import checks

# Histories of the last mover that a tree may have.
_MOST_HISTORIES = 1 << 20
_TREE_LEVELS = 11
# Of a level, when a threshold is counted in levels.
_LEVEL_SLACK = 1e-3


class Levels(NamedTuple):
  """Contributions on a grid, one game's.

  Attributes:
    low: f[], c_min.
    step: f[], between levels.
    needed: f[], the least final count of levels that reaches the threshold;
      infinite if nothing does.
    factor: f[], what a level adds to the score.
  """

  low: chex.Array
  step: chex.Array
  needed: chex.Array
  factor: chex.Array


def levels_of(game: _game.Game, num_levels: int) -> Levels:
  """Reads bounds and the threshold of a game as levels."""
  n = game.num_agents
  step = (game.c_max - game.c_min) / (num_levels - 1)
  share = 1 / n if game.score == 'mean' else 1.0
  base = game.c_min * (n if game.score == 'sum' else 1)
  gap = game.threshold - base
  safe = jnp.where(step > 0, step * share, 1)
  counted = jnp.ceil(gap / safe - _LEVEL_SLACK)
  eps = _game._SLACK * jnp.finfo(gap.dtype).eps
  at_once = gap <= eps * jnp.maximum(jnp.abs(game.threshold), 1)
  none = jnp.where(at_once, -jnp.inf, jnp.inf)
  return Levels(
    game.c_min, step, jnp.where(step > 0, counted, none), step * share
  )


def best_levels(
  utilities: chex.Array, slack: chex.Numeric
) -> tuple[chex.Array, chex.Array]:
  """The highest of the best levels, and whether it is the only one.

  Args:
    utilities: f[M, ...]; levels come first, so that sums are a vector.
    slack: f[] or f[M, ...], how far each may be off; levels are ties where the
      intervals overlap.

  Returns:
    i32[...], and bool[...].
  """
  surely = jnp.max(utilities - slack, axis=0, keepdims=True)
  good = utilities + slack >= surely
  shape = (-1,) + (1,) * (utilities.ndim - 1)
  level = jnp.arange(utilities.shape[0], dtype=jnp.int32).reshape(shape)
  last = jnp.max(jnp.where(good, level, 0), axis=0)
  return last, jnp.sum(good, axis=0) == 1


def _chosen(values, levels):
  """Of values [M, S] those at levels [S]."""
  return jnp.take_along_axis(values, levels[None], 0)[0]


def _nearest(own, position, history):
  """Looks the sum of what was given up in a table of levels."""
  count = jnp.sum(history, axis=-1) - position * own['low']
  safe = jnp.where(own['step'] > 0, own['step'], 1)
  place = jnp.round(count / safe).astype(jnp.int32)
  place = jnp.clip(place, 0, own['levels'].shape[-1] - 1)
  return own['low'] + own['step'] * own['levels'][place]


def solve_grid(
  game: _game.Game,
  *,
  num_levels: int = 201,
  tolerance: chex.Numeric | None = None,
) -> _policies.Solution:
  """The subgame perfect equilibrium on a grid, by backward induction.

  The state is the sum of the levels so far, an integer, so a threshold is
  reached or missed by counting. Indifferent agents give the most. It takes
  thresholds and costs of any kind, but converges slowly and not monotonically
  to the game without a grid (error about M^-1/2), as leaders make use of how
  followers round, and payoffs are flat at their tops.

  Args:
    game: one game; the synergy must not be 'previous'.
    num_levels: M >= 2, levels of a contribution (static).
    tolerance: utilities that differ by less are ties; 8 eps times the terms
      that differ by default.

  Returns:
    The solution. Policies take the nearest level of a sum.

  Raises:
    ValueError: if a number is out of range or the state is not the sum.

  Cost: O(n² M²) work and O(n M²) memory. Many games go through
    `jax.lax.map(..., batch_size=20)` about twice as fast as through `jax.vmap`,
    which leaves the cache.

  Example:
    >>> game = _game.Game(
    ...   kappa=1.0, cost='linear', rho=1.5, penalty=0.4, threshold=1.5
    ... )
    >>> np.asarray(solve_grid(game, num_levels=11).contributions).round(2)
    array([0. , 0.7, 0.8], dtype=float32)

  Source: Liang et al. 2026 (https://arxiv.org/abs/2508.02076), the game.
  """
  checks.integer(num_levels, name='num_levels', low=2)
  if tolerance is not None:
    checks.number(tolerance, name='tolerance', low=0.0)
  game = _game.check_one(game)
  if game.simultaneous:
    raise ValueError('game is simultaneous, which has no histories: use nash.')
  if game.synergy == 'previous':
    raise ValueError(
      "synergy='previous' does not depend on the sum alone, which is the state "
      'here: use solve_tree.'
    )
  n, m = game.num_agents, num_levels
  grid = levels_of(game, m)
  final = None
  tables, uniques = [None] * n, [None] * n
  for i in reversed(range(n)):
    found = _stage(game, grid, i, m, final, tolerance)
    tables[i], uniques[i], final = found
  size = (n - 1) * (m - 1) + 1
  # Sums beyond the largest are never asked for.
  levels = jnp.stack(
    [jnp.pad(t, (0, size - t.shape[0]), mode='edge') for t in tables]
  )
  each = lambda x: jnp.broadcast_to(x, (n,))
  params = {'levels': levels, 'low': each(grid.low), 'step': each(grid.step)}
  policies = _policies.Policies(params, _nearest)
  state, path, unique = jnp.zeros((), jnp.int32), [], []
  for table, only in zip(tables, uniques, strict=True):
    path.append(table[state])
    unique.append(only[state])
    state = state + path[-1]
  given = grid.low + grid.step * jnp.stack(path).astype(grid.low.dtype)
  return _policies.Solution(
    given, _game.reward(given, game), policies, jnp.stack(unique)
  )


def _stage(game, grid, i, m, final, tolerance):
  """Best levels of agent i, whether each is the only one, and what follows."""
  first, after, _ = _utilities(game, grid, i, m, final, None)
  near, _ = best_levels(first, 0.0)
  # Payoffs are flat at the top: compare there, by what levels differ in.
  utilities, _, slack = _utilities(game, grid, i, m, final, near)
  if tolerance is not None:
    slack = tolerance / 2
  best, only = best_levels(utilities, slack)
  return best, only, _chosen(after, best)


def _utilities(game, grid, i, m, final, base):
  """What agent i gains over levels `base` [S] (or c_min) at sums, f[M, S].

  Every term is a difference, so that in float32 what all levels have in common
  does not hide it. Beside that, what follows and how far rounding may reach.
  """
  states, levels = np.arange(i * (m - 1) + 1), np.arange(m)[:, None]
  if final is not None:
    after = _windows(final, m, len(states))
  elif game.score == 'last':
    after = jnp.broadcast_to(levels, (m, len(states)))
  else:
    after = jnp.asarray(levels + states)
  dtype = grid.low.dtype
  of_base = lambda x: x[:1] if base is None else _chosen(x, base)[None]
  start = np.zeros((1, 1), np.int32) if base is None else base[None]
  count = jnp.asarray(levels) - start
  more = grid.step * count.astype(dtype)
  given = grid.low + grid.step * jnp.asarray(start, dtype)
  spent = _spent(game, i, given, more)
  from_base = after - of_base(after)
  pot = game.rho / game.num_agents * grid.factor
  gained = pot * from_base.astype(dtype)
  bonus = jnp.zeros_like(more)
  if game.synergy != 'none' and i:
    before = i * grid.low + grid.step * jnp.asarray(states[None], dtype)
    share = game.gamma / (i if game.synergy == 'mean' else 1)
    bonus = share * before * more
  missed = (after.astype(dtype) < grid.needed).astype(dtype)
  missed -= of_base(missed)
  lost = game.penalty * missed
  terms = (spent, bonus, gained, lost)
  slack = 8 * jnp.finfo(dtype).eps * sum(jnp.abs(x) for x in terms)
  return bonus + gained - spent - lost, after, slack


def _windows(values, count, width):
  """Row k has values[k], ..., values[k + width - 1]; a gather by reshaping."""
  length = count + width - 1
  flat = jnp.broadcast_to(values[:length], (count + 1, length)).reshape(-1)
  return flat[: count * (length + 1)].reshape(count, length + 1)[:, :width]


def _spent(game, i, given, more):
  """What `more` costs beyond what is given."""
  cost, kappa = _game.cost_of(game), _game.kappas(game)[i]
  far = cost.value(given + more, kappa) - cost.value(given, kappa)
  # Simpson's rule on the slope, which does not cancel.
  weights = ((0.0, 1), (0.5, 4), (1.0, 1))
  close = sum(w * cost.slope(given + x * more, kappa) for x, w in weights)
  width = game.c_max - game.c_min
  return jnp.where(jnp.abs(more) < 0.05 * width, more * close / 6, far)


def grid_gains(
  game: _game.Game, levels: chex.Array, *, num_levels: int
) -> chex.Array:
  """What one-shot deviations gain at every sum of levels, by composition.

  Args:
    game: one game, as `solve_grid` takes it.
    levels: i32[n, S], what is given at a sum of levels, such as
      `solve_grid(game).policies.params['levels']`.
    num_levels: M (static).

  Returns:
    f[n, (n - 1)(M - 1) + 1], >= 0; zero at sums that an agent never sees.

  Raises:
    ValueError: see `solve_grid`.

  Cost: O(n² M²).

  Example:
    >>> game = _game.Game(num_agents=2)
    >>> table = solve_grid(game, num_levels=5).policies.params['levels']
    >>> float(grid_gains(game, table, num_levels=5).max())
    0.0
  """
  checks.integer(num_levels, name='num_levels', low=2)
  game = _game.check_one(game)
  n, m = game.num_agents, num_levels
  size = (n - 1) * (m - 1) + 1
  if levels.shape != (n, size):
    raise ValueError(f'levels must have shape {(n, size)}; got {levels.shape}.')
  grid, final, gains = levels_of(game, m), None, []
  for i in reversed(range(n)):
    own = levels[i, : i * (m - 1) + 1]
    utilities, after, _ = _utilities(game, grid, i, m, final, own)
    gain = jnp.max(utilities, axis=0)
    gains.append(jnp.pad(gain, (0, size - gain.shape[0])))
    final = _chosen(after, own)
  return jnp.stack(gains[::-1])


def _remembered(own, position, history):
  """Looks a whole history up."""
  place = jnp.zeros(history.shape[:-1], jnp.int32)
  width = own['base']
  safe = jnp.where(own['step'] > 0, own['step'], 1)
  for p in range(position):
    level = jnp.round((history[..., p] - own['low']) / safe)
    place = place * width + jnp.clip(level.astype(jnp.int32), 0, width - 1)
  return own['low'] + own['step'] * own['levels'][place]


def check_tree(game: _game.Game, num_levels: int | None) -> None:
  """Raises ValueError if a game has too many histories.

  Args:
    game: for its number of agents and its synergy.
    num_levels: of `solve_tree`; None takes its default.
  """
  n, m = game.num_agents, _TREE_LEVELS if num_levels is None else num_levels
  if m**n <= _MOST_HISTORIES:
    return
  other = '' if game.synergy == 'previous' else ', or solve_grid'
  raise ValueError(
    f'num_levels={m} and num_agents={n} make {m**n} histories: at most '
    f'{_MOST_HISTORIES}; take fewer{other}.'
  )


def solve_tree(
  game: _game.Game,
  *,
  num_levels: int = _TREE_LEVELS,
  tolerance: chex.Numeric | None = None,
) -> _policies.Solution:
  """As `solve_grid`, with whole histories as states, for every synergy.

  Args:
    game: one game.
    num_levels: M >= 2 (static); there are M^n histories.
    tolerance: see `solve_grid`.

  Returns:
    The solution.

  Raises:
    ValueError: if there are too many histories, or see `solve_grid`.

  Cost: O(M^n) work and memory.

  Example:
    >>> game = _game.Game(gamma=0.4, synergy='previous')
    >>> np.asarray(solve_tree(game, num_levels=6).contributions).round(2)
    array([0.2, 0.4, 0.4], dtype=float32)
  """
  checks.integer(num_levels, name='num_levels', low=2)
  if tolerance is not None:
    checks.number(tolerance, name='tolerance', low=0.0)
  game = _game.check_one(game)
  if game.simultaneous:
    raise ValueError('game is simultaneous, which has no histories: use nash.')
  n, m = game.num_agents, num_levels
  check_tree(game, m)
  grid = levels_of(game, m)
  # Every full history by its digits, in the order in which tables are read.
  digits = np.stack(np.unravel_index(np.arange(m**n), (m,) * n), axis=-1)
  dtype = grid.low.dtype
  given = grid.low + grid.step * jnp.asarray(digits, dtype)
  counted = digits[:, -1] if game.score == 'last' else digits.sum(-1)
  pot = game.rho / n * grid.factor * jnp.asarray(counted, dtype)
  pot -= jnp.where(jnp.asarray(counted, dtype) < grid.needed, game.penalty, 0)
  bonus = game.gamma * given * _game.synergies(given, game)
  spent = _game.cost_of(game).value(given, _game.kappas(game)[None])
  values = [(bonus - spent)[:, i] + pot for i in range(n)]
  tables, uniques = [None] * n, [None] * n
  for i in reversed(range(n)):
    own = values[i].reshape(-1, m).T
    own = own - own[:1]
    if tolerance is None:
      terms = (bonus, spent, pot[:, None])
      size = sum(jnp.max(jnp.abs(x)) for x in terms)
      slack = 4 * jnp.finfo(dtype).eps * size
    else:
      slack = tolerance / 2
    best, only = best_levels(own, slack)
    tables[i], uniques[i] = best, only
    values = [_chosen(v.reshape(-1, m).T, best) for v in values[:i]]
  size = m ** (n - 1)
  levels = jnp.stack(
    [jnp.pad(t, (0, size - t.shape[0]), mode='edge') for t in tables]
  )
  each = lambda x: jnp.broadcast_to(x, (n,))
  params: dict[str, Any] = {
    'levels': levels,
    'low': each(grid.low),
    'step': each(grid.step),
    'base': each(jnp.asarray(m)),
  }
  state, path, unique = jnp.zeros((), jnp.int32), [], []
  for table, only in zip(tables, uniques, strict=True):
    path.append(table[state])
    unique.append(only[state])
    state = state * m + path[-1]
  c = grid.low + grid.step * jnp.stack(path).astype(dtype)
  return _policies.Solution(
    c,
    _game.reward(c, game),
    _policies.Policies(params, _remembered),
    jnp.stack(unique),
  )
