# SPDX-License-Identifier: Apache-2.0
"""The equilibrium without a grid of contributions, compiled.

Backward induction carries the score that follows and its slope at nodes of the
sum so far, and between two nodes the place where an answer jumps or turns, so
that leaders can aim at it.
"""

from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np

from jaxdl.agents.public_goods import _game, _policies
from jaxdl.core import checks

_BISECTIONS = 24
# What counts as a turn: of a slope, of a slope times a cell, of a cell.
_TURN, _GAP, _LEAP = 1e-2, 1e-3, 0.1
_AIM = 1e-4


class Table(NamedTuple):
  """The score that follows a sum, at nodes and in the cells between.

  Attributes:
    value: f[G], the score.
    slope: f[G], its derivative.
    broken: bool[G - 1], whether it jumps or turns in a cell.
    place: f[G - 1] in [0, 1], where.
  """

  value: chex.Array
  slope: chex.Array
  broken: chex.Array
  place: chex.Array


class _Agent(NamedTuple):
  """What an agent is paid for at a sum S: -C(c) + b S c + r F + d c."""

  cost: _game.Cost
  kappa: chex.Array
  bonus: chex.Array
  rate: chex.Array
  direct: chex.Array


def solve(game: _game.Game, *, num_nodes: int = 101) -> _policies.Solution:
  """The subgame perfect equilibrium of continuous contributions.

  Every agent's payoff is looked through at nodes and at the turns of what
  follows, which finds the highest hill, and climbed there by bisection of the
  marginal payoff -C'(c) + γ Σ' S + (ρ/n) D(S + c), D being the slope of the
  final score. That keeps five digits where bounds do not bind. Where they do,
  answers turn and jump; the place is found between nodes by the lines on both
  sides, of the score at a turn and of the payoff at a jump. Two turns within a
  cell are seen as one: the error is then a cell, (c_max - c_min) / (num_nodes -
  1). Under a quadratic or linear cost `solve_exact` has no such error.

  Args:
    game: one game without penalty, whose synergy is not 'previous'.
    num_nodes: nodes of a contribution, >= 3 (static).

  Returns:
    The solution; policies interpolate between nodes.

  Raises:
    ValueError: if the game is of another kind.

  Cost: O(n² num_nodes²).

  Example:
    >>> game = _game.Game(num_agents=3, rho=1.5, gamma=0.4, kappa=2.0)
    >>> np.asarray(solve(game).contributions).round(4)
    array([0.36  , 0.372 , 0.3964], dtype=float32)

  Source: the game is that of Liang et al. 2026
    (https://arxiv.org/abs/2508.02076); the scheme is derived here.
  """
  checks.integer(num_nodes, name='num_nodes', low=3)
  penalty = _game.known_penalty(_game.check_game(game))
  if penalty:
    raise ValueError(
      f'penalty must be 0, as payoffs jump at the threshold; got {penalty:g}: '
      'use solve_grid or solve_exact.'
    )
  game = _game.check_one(game)
  if game.simultaneous:
    raise ValueError('game is simultaneous, which has no histories: use nash.')
  if game.synergy == 'previous':
    raise ValueError(
      "synergy='previous' does not depend on the sum alone, which is the state "
      'here: use solve_tree.'
    )
  n, h = game.num_agents, _step(game, num_nodes)
  # All agents in one body, as if every one had as many sums before it as the
  # last; who has fewer never asks for the others.
  size = (n - 1) * (num_nodes - 1) + 1
  table = _after_all(game, h, size + num_nodes - 1)

  def back(table, xs):
    i, kappa = xs
    found, before = _stage(game, i, kappa, num_nodes, size, table)
    rest = table.value.shape[0] - size
    return Table(*(jnp.pad(x, (0, rest)) for x in before)), found

  _, params = jax.lax.scan(
    back, table, (jnp.arange(n), _game.kappas(game)), reverse=True
  )
  each = lambda x: jnp.broadcast_to(x, (n,))
  params |= {
    'low': each(game.c_min),
    'high': each(game.c_max),
    'step': each(h),
  }
  return _policies.solution(_policies.Policies(params, _interpolated), game)


def _step(game, num_nodes):
  return (game.c_max - game.c_min) / (num_nodes - 1)


def _interpolated(own, position, history):
  """An answer between nodes: by Hermite's polynomial, or on its side."""
  safe = jnp.where(own['step'] > 0, own['step'], 1)
  if not position:
    given = jnp.broadcast_to(own['given'][0], history.shape[:-1])
    return given.astype(history.dtype)
  x = (jnp.sum(history, axis=-1) - position * own['low']) / safe
  j = jnp.clip(jnp.floor(x).astype(jnp.int32), 0, own['given'].shape[0] - 2)
  f = x - j
  values = own['given'][j], own['given'][j + 1]
  slopes = own['answer'][j] * own['step'], own['answer'][j + 1] * own['step']
  sides = values[0] + slopes[0] * f, values[1] - slopes[1] * (1 - f)
  # Leaders aim at a jump: rounding must not make them miss it.
  side = jnp.where(f < own['place'][j] - _AIM, *sides)
  smooth = _hermite(f, *values, *slopes)
  given = jnp.where(own['broken'][j], side, smooth)
  return jnp.clip(given, own['low'], own['high'])


def _hermite(f, v0, v1, d0, d1):
  """The cubic of two values and slopes over [0, 1]."""
  g = 1 - f
  return (
    v0 * g * g * (1 + 2 * f)
    + v1 * f * f * (3 - 2 * f)
    + d0 * f * g * g
    - d1 * g * f * f
  )


def _after_all(game, h, size):
  """The table of the sum after everybody."""
  n, dtype = game.num_agents, h.dtype
  # Of the last contribution alone, which its giver is paid for directly.
  share = {'sum': 1.0, 'mean': 1 / n, 'last': 0.0}[game.score]
  y = n * game.c_min + h * jnp.arange(size, dtype=dtype)
  return Table(
    share * y,
    jnp.full(size, share, dtype),
    jnp.zeros(size - 1, bool),
    jnp.full(size - 1, 0.5, dtype),
  )


def _stage(game, i, kappa, m, size, table):
  """An agent's answers, and the table of sums before it."""
  n, h = game.num_agents, _step(game, m)
  dtype = h.dtype
  place = i.astype(dtype)
  bonus = jnp.zeros((), dtype)
  if game.synergy != 'none':
    share = jnp.maximum(place, 1) if game.synergy == 'mean' else 1
    bonus = jnp.where(i > 0, game.gamma / share, 0)
  rate = game.rho / n
  sole = (i == n - 1) & (game.score == 'last')
  agent = _Agent(
    _game.cost_of(game), kappa, bonus, rate, jnp.where(sole, rate, 0)
  )
  states = np.arange(size)
  sums = place * game.c_min + h * jnp.asarray(states, dtype)
  cell, f, kind, stuck = _answer(agent, game, table, h, m, states, sums)
  given = game.c_min + h * ((cell - states).astype(dtype) + f)
  given = jnp.clip(given, game.c_min, game.c_max)
  score, slope, bend = _read(table, h, cell, f, kind)
  margin = agent.cost.curvature(given, agent.kappa) - rate * bend
  steep = jnp.finfo(dtype).eps
  free = (bonus + rate * bend) / jnp.where(margin > steep, margin, 1)
  slack = 8 * jnp.finfo(dtype).eps * (1 + jnp.abs(game.c_max))
  bound = (given <= game.c_min + slack) | (given >= game.c_max - slack)
  answer = jnp.where(bound | (margin <= steep), 0, free)
  answer = jnp.where(stuck, -1, answer)
  paid = -agent.cost.value(given, agent.kappa) + bonus * sums * given
  paid += rate * score + agent.direct * given
  over = jnp.where(
    stuck,
    agent.cost.slope(given, agent.kappa) + bonus * (given - sums),
    bonus * given + rate * slope,
  )
  over = jnp.where(stuck, over - agent.direct, over)
  value = jnp.where(sole, given, score)
  climb = jnp.where(sole, answer, slope * (1 + answer))
  broken, place = _breaks(
    h, given, answer, value, climb, paid, over, table, cell, f
  )
  found = {'given': given, 'answer': answer, 'broken': broken, 'place': place}
  return found, Table(value, climb, broken, place)


def _answer(agent, game, table, h, m, states, sums):
  """The best cell at every sum, where in it, on which side, whether stuck."""
  dtype = h.dtype
  levels = np.arange(m)
  reached = states[:, None] + levels
  pay = lambda c, score: (
    -agent.cost.value(c, agent.kappa)
    + (agent.bonus * sums[:, None] + agent.direct) * c
    + agent.rate * score
  )
  level = game.c_min + h * jnp.asarray(levels, dtype)[None]
  shift = table.value[states][:, None]
  at_nodes = pay(level, table.value[reached] - shift)
  cells = reached[:, :-1]
  place = table.place[cells]
  sides = (
    table.value[cells] + table.slope[cells] * place * h,
    table.value[cells + 1] - table.slope[cells + 1] * (1 - place) * h,
  )
  padded = [jnp.pad(x, ((0, 0), (0, 1))) for x in sides]
  turn = jnp.maximum(*sides) - shift
  at_turns = pay(level[:, :-1] + place * h, turn)
  at_turns = jnp.where(table.broken[cells], at_turns, -jnp.inf)
  best = jnp.argmax(jnp.concatenate([at_nodes, at_turns], axis=1), axis=1)
  turned = best >= m
  k = jnp.where(turned, best - m, best)
  states = jnp.asarray(states)
  j = states + k
  final = table.place.shape[0] - 1

  def marginal(c, slope):
    own = agent.cost.slope(c, agent.kappa)
    return -own + agent.bonus * sums + agent.rate * slope + agent.direct

  c = game.c_min + h * k.astype(dtype)
  own = jnp.minimum(j, final)
  at_turn = c + table.place[own] * h
  # Nobody goes down from a jump.
  left, right = (jnp.take_along_axis(x, k[:, None], 1)[:, 0] for x in padded)
  loss = _GAP * h
  up = jnp.where(
    turned,
    (marginal(at_turn, table.slope[own + 1]) > 0) & (right > left - loss),
    (marginal(c, table.slope[j]) > 0) & (k < m - 1),
  )
  down = jnp.where(
    turned,
    (marginal(at_turn, table.slope[own]) < 0) & (left > right - loss),
    (marginal(c, table.slope[j]) < 0) & (k > 0),
  )
  # Nodes go down into the cell before.
  back = down & ~up & ~turned
  cell = jnp.where(back, j - 1, own)
  # At the highest level there is no cell of one's own above.
  edge = ~turned & (k == m - 1) & ~back
  cell = jnp.where(edge, j - 1, cell)
  place, broken = table.place[cell], table.broken[cell]
  right = jnp.where(turned, up, back)
  kind = jnp.where(broken, jnp.where(right | edge, 2, 1), 0)
  start = jnp.where(right & broken, place, 0.0)
  end = jnp.where(broken & ~right, place, 1.0)
  moves = up | down
  stay = jnp.where(turned, table.place[own], jnp.where(edge, 1.0, 0.0))
  origin = game.c_min + h * (cell - states).astype(dtype)

  def body(_, ends):
    low, high = ends
    middle = (low + high) / 2
    _, slope, _ = _read(table, h, cell, middle, kind)
    rises = marginal(origin + h * middle, slope) > 0
    return jnp.where(rises, middle, low), jnp.where(rises, high, middle)

  low, high = jax.lax.fori_loop(0, _BISECTIONS, body, (start, end))
  f = jnp.where(moves, (low + high) / 2, stay)
  # Against a turn from one side.
  against = jnp.abs(f - place) < 2.0 ** (2 - _BISECTIONS)
  return cell, f, kind, broken & against


def _read(table, h, cell, f, kind):
  """Score, slope and curvature within cells."""
  values = table.value[cell], table.value[cell + 1]
  slopes = table.slope[cell], table.slope[cell + 1]
  left = values[0] + slopes[0] * f * h
  right = values[1] - slopes[1] * (1 - f) * h
  smooth = _hermite(f, *values, slopes[0] * h, slopes[1] * h)
  value = jnp.where(kind == 0, smooth, jnp.where(kind == 1, left, right))
  at_turn = jnp.abs(f - table.place[cell]) < 2.0 ** (2 - _BISECTIONS)
  value = jnp.where((kind > 0) & at_turn, jnp.maximum(left, right), value)
  between = slopes[0] * (1 - f) + slopes[1] * f
  slope = jnp.where(kind == 0, between, jnp.where(kind == 1, *slopes))
  safe = jnp.where(h > 0, h, 1)
  bend = jnp.where(kind == 0, (slopes[1] - slopes[0]) / safe, 0.0)
  return value, slope, bend


def _breaks(h, given, answer, value, climb, paid, over, table, cell, f):
  """Where answers jump or turn between nodes."""
  if given.shape[0] == 1:
    none = jnp.zeros((0,), given.dtype)
    return none.astype(bool), none
  safe = jnp.where(h > 0, h, 1)
  now: Any = lambda x: x[:-1]
  then: Any = lambda x: x[1:]
  steps = jnp.abs(jnp.diff(climb))
  most = jnp.maximum(
    jnp.concatenate([jnp.zeros(1, h.dtype), steps[:-1]]),
    jnp.concatenate([steps[1:], jnp.zeros(1, h.dtype)]),
  )
  gap = jnp.diff(value) - safe * (now(climb) + then(climb)) / 2
  reach = jnp.maximum(jnp.abs(now(answer)), jnp.abs(then(answer)))
  leaps = jnp.abs(jnp.diff(given)) > safe * (1.5 * reach + _LEAP)
  broken = leaps | (steps > 4 * most + _TURN) | (jnp.abs(gap) > _GAP * safe)

  def meet(level, rise):
    """Where the lines of both sides meet, in cells."""
    lean = now(rise) - then(rise)
    flat = jnp.abs(lean) < 1e-4
    far = then(level) - then(rise) * safe - now(level)
    x = far / jnp.where(flat, 1, lean) / safe
    return x, ~flat & (x > -0.1) & (x < 1.1)

  turn, turns = meet(value, climb)
  jump, jumps = meet(paid, over)
  # Else what follows breaks there, and the answer passes through it.
  move = jnp.maximum(1 + now(answer), 1e-3)
  last = table.place.shape[0] - 1
  here, after = now(cell), jnp.minimum(now(cell) + 1, last)
  ahead = table.broken[here] & (table.place[here] >= now(f))
  through = jnp.where(
    ahead, table.place[here] - now(f), 1 + table.place[after] - now(f)
  )
  through = through / move
  x = jnp.where(turns, turn, through)
  x = jnp.where(leaps, jnp.where(jumps, jump, 0.5), x)
  return broken & (h > 0), jnp.clip(x, 0, 1)
