# SPDX-License-Identifier: Apache-2.0
"""The equilibrium to the last digit, where answers are piecewise linear.

Under a quadratic or linear cost payoffs are pieces of parabolas, answers and
what they lead to are pieces of lines, and backward induction can be done on
the pieces themselves: no grid, no interpolation, jumps and kinks where they
are. On the host, in float64.
"""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from jaxdl.agents.public_goods import _game, _policies
from jaxdl.core import checks

_NEAR = 1e-10
_MOST_PIECES = 2000


class _Lines(NamedTuple):
  """Pieces of lines over [low_j, high_j]: value and slope at zero."""

  low: np.ndarray
  high: np.ndarray
  offset: np.ndarray
  slope: np.ndarray


class _Options(NamedTuple):
  """Ways to answer a sum S: c = p + q S on [low, high], and what each pays.

  The payoff is x + y S + z S², the score that follows f + g S.
  """

  low: np.ndarray
  high: np.ndarray
  p: np.ndarray
  q: np.ndarray
  x: np.ndarray
  y: np.ndarray
  z: np.ndarray
  f: np.ndarray
  g: np.ndarray

  def at(self, s):
    """Contributions and payoffs at sums, [options, sums]; -inf where closed."""
    s = np.asarray(s, np.float64)
    given = self.p[:, None] + self.q[:, None] * s
    paid = self.x[:, None] + self.y[:, None] * s + self.z[:, None] * s * s
    closed = (s < self.low[:, None] - _NEAR) | (s > self.high[:, None] + _NEAR)
    return given, np.where(closed, -np.inf, paid)

  def best(self, s):
    """The option that an agent takes at each sum, ties: the most given."""
    given, paid = self.at(s)
    top = paid.max(axis=0)
    good = paid >= top - _NEAR * np.maximum(1, np.abs(top))
    most = np.where(good, given, -np.inf)
    # The lowest index among equals, so that neighbors agree.
    found = np.argmax(most >= most.max(axis=0) - _NEAR, axis=0)
    least = np.where(good, given, np.inf).min(axis=0)
    return found, least >= most.max(axis=0) - np.sqrt(_NEAR)


class _Numbers(NamedTuple):
  """A game on the host, seen by one agent."""

  rate: float
  kappa: float
  bonus: float
  penalty: float
  threshold: float
  low: float
  high: float
  linear: bool


def _split(lines: _Lines, threshold: float) -> _Lines:
  """Cuts pieces where they cross the threshold."""
  out = []
  for low, high, offset, slope in zip(*lines, strict=True):
    cut = (threshold - offset) / slope if abs(slope) > 1e-14 else np.inf
    if low + _NEAR < cut < high - _NEAR:
      out += [(low, cut, offset, slope), (cut, high, offset, slope)]
    else:
      out.append((low, high, offset, slope))
  return _Lines(*np.array(out, np.float64).reshape(-1, 4).T)


def _options(lines: _Lines, a: _Numbers, before: tuple[float, float]):
  """All answers that may be best, of an agent who leads into `lines`."""
  found = []
  for low, high, offset, slope in zip(*lines, strict=True):
    middle = offset + slope * (low + high) / 2
    missed = a.penalty if middle < a.threshold - _NEAR else 0.0
    forms = [(a.low, 0.0), (a.high, 0.0), (low, -1.0), (high, -1.0)]
    if not a.linear:
      forms.append((a.rate * slope / a.kappa, a.bonus / a.kappa))
    for p, q in forms:
      span = [before]
      for value, rate, least, most in (
        (p, q, a.low, a.high),  # The contribution itself,
        (p, 1 + q, low, high),  # and where it leads to.
      ):
        if abs(rate) < 1e-14:
          if not least - _NEAR <= value <= most + _NEAR:
            span = []
            break
          continue
        ends = sorted(((least - value) / rate, (most - value) / rate))
        span.append((ends[0], ends[1]))
      if not span:
        continue
      start = max(x for x, _ in span)
      end = min(x for _, x in span)
      if start > end + _NEAR:
        continue
      k = a.kappa
      cost = (
        (k * p, k * q, 0.0)
        if a.linear
        else (k * p * p / 2, k * p * q, k * q * q / 2)
      )
      found.append(
        (
          *(start, max(start, end), p, q),
          -cost[0] + a.rate * (offset + slope * p) - missed,
          -cost[1] + a.bonus * p + a.rate * slope * (1 + q),
          -cost[2] + a.bonus * q,
          *(offset + slope * p, slope * (1 + q)),
        )
      )
  return _Options(*np.array(found, np.float64).T)


def _crossings(o: _Options, before: tuple[float, float]) -> np.ndarray:
  """Sums at which an option may take over from another one."""
  i, j = np.triu_indices(len(o.p), 1)
  overlap = np.minimum(o.high[i], o.high[j]) - np.maximum(o.low[i], o.low[j])
  i, j = i[overlap > 0], j[overlap > 0]
  x, y, z = (v[i] - v[j] for v in (o.x, o.y, o.z))
  with np.errstate(divide='ignore', invalid='ignore'):
    single = -x / y
    root = np.sqrt(y * y - 4 * z * x)
    # Both roots without cancellation.
    q = -(y + np.where(y < 0, -1, 1) * root) / 2
    both = np.where(np.abs(z) > 1e-14, [q / z, x / q], [single, single])
  ends = np.concatenate([o.low, o.high, both.ravel(), before])
  ends = ends[np.isfinite(ends)]
  ends = np.sort(ends[(ends >= before[0]) & (ends <= before[1])])
  keep = np.concatenate([[True], np.diff(ends) > _NEAR])
  return ends[keep]


def _stage(options: _Options, before: tuple[float, float]):
  """Answers and the scores that follow, as pieces over the sums before."""
  ends = _crossings(options, before)
  if len(ends) < 2:  # One sum alone.
    pick = options.best(ends)[0]
    low = high = ends
  else:
    low, high = ends[:-1], ends[1:]
    pick = options.best((low + high) / 2)[0]
  pieces = []
  for a, b, k in zip(low, high, pick, strict=True):
    now = [options.p[k], options.q[k], options.f[k], options.g[k]]
    if pieces and np.allclose(pieces[-1][2:], now, rtol=0, atol=1e-9):
      pieces[-1][1] = b
    else:
      pieces.append([a, b, *now])
  if len(pieces) > _MOST_PIECES:
    raise ValueError(
      f'game has more than {_MOST_PIECES} pieces of answers: use solve or '
      'solve_grid.'
    )
  low, high, p, q, f, g = np.array(pieces, np.float64).T
  return _Lines(low, high, p, q), _Lines(low, high, f, g)


def _piecewise(own, position, history):
  """Looks a sum up among pieces; at an end the higher answer."""
  del position
  s = jnp.sum(history, axis=-1)[..., None]
  row = lambda x: jnp.reshape(x, (1,) * (s.ndim - 1) + (-1,)).astype(s.dtype)
  low, high = row(own['low']), row(own['high'])
  inside = (s >= low - own['near']) & (s <= high + own['near'])
  given = row(own['offset']) + row(own['slope']) * s
  best = jnp.max(jnp.where(inside, given, -jnp.inf), axis=-1)
  # Rounding may leave a sum outside of all.
  nearest = jnp.argmin(jnp.maximum(low - s, s - high), axis=-1)[..., None]
  rest = jnp.take_along_axis(given, nearest, axis=-1)[..., 0]
  return jnp.where(jnp.any(inside, axis=-1), best, rest)


def solve_exact(game: _game.Game) -> _policies.Solution:
  """The subgame perfect equilibrium by pieces of lines, exact in float64.

  Bounds may bind, thresholds may be missed, answers may jump. Where an agent is
  indifferent it gives the most, also at a jump, which the one before counts
  on.

  Args:
    game: one game of concrete numbers, with a quadratic or linear cost and any
      synergy but 'previous'.

  Returns:
    The solution; arrays are those of the default float, found in float64.

  Raises:
    ValueError: if the game is of another kind, or has too many pieces.
    TypeError: if a number is traced.

  Cost: on the host; milliseconds for three agents, a second for six.

  Example:
    >>> game = _game.Game(gamma=1.5, kappa=2.0, rho=3.0, c_max=0.7)
    >>> np.asarray(solve_exact(game).contributions).round(4)
    array([0.5, 0.7, 0.7], dtype=float32)

  Source: the game is that of Liang et al. 2026
    (https://arxiv.org/abs/2508.02076).
  """
  path, answers, unique = exact_path(game)
  dtype = jnp.result_type(float)
  most = max(len(x.low) for x in answers)
  pad = lambda x, value: np.pad(x, (0, most - len(x)), constant_values=value)
  fill = {'low': np.inf, 'high': np.inf, 'offset': 0.0, 'slope': 0.0}
  params = {
    name: jnp.asarray([pad(getattr(x, name), v) for x in answers], dtype)
    for name, v in fill.items()
  }
  eps = 32 * float(jnp.finfo(dtype).eps) * max(1.0, float(np.sum(path)))
  params['near'] = jnp.full(len(path), eps, dtype)
  policies = _policies.Policies(params, _piecewise)
  given = jnp.asarray(path, dtype)
  return _policies.Solution(
    given, _game.reward(given, game), policies, jnp.asarray(unique)
  )


def exact_path(
  game: _game.Game,
) -> tuple[np.ndarray, list[_Lines], np.ndarray]:
  """As `solve_exact`, in float64.

  Args:
    game: see `solve_exact`.

  Returns:
    float64[n], contributions; pieces of every agent's answers; bool[n], whether
    each answer was the only best one.
  """
  _game.check_game(game)
  kinds = {'quadratic': False, 'quadratic()': False}
  kinds |= {'linear': True, 'linear()': True}
  if game.cost not in kinds:
    raise ValueError(
      f'cost={game.cost} makes no lines: it must be quadratic or linear; use '
      'solve or solve_grid.'
    )
  if game.synergy == 'previous':
    raise ValueError(
      "synergy='previous' does not depend on the sum alone, which is the state "
      'here: use solve_tree.'
    )
  if game.simultaneous:
    raise ValueError('game is simultaneous, which has no histories: use nash.')
  n = game.num_agents
  number = {
    name: checks.host_array(getattr(game, name), name=name).astype(np.float64)
    for name in _game._NUMBERS
  }
  for name, value in number.items():
    if value.ndim and not (name == 'kappa' and value.shape == (n,)):
      raise ValueError(
        f'{name} has shape {value.shape}: this is about one game.'
      )
  kappa = np.broadcast_to(number['kappa'], (n,))
  low, high = float(number['c_min']), float(number['c_max'])
  share = {'sum': 1.0, 'mean': 1.0 / n, 'last': 1.0}[game.score]
  # Scores as a function of the sum after everybody; the last alone does not
  # depend on it, but is what a last mover gives.
  ends = np.array([n * low]), np.array([n * high])
  lines = _Lines(*ends, np.zeros(1), np.full(1, share))
  answers, every = [], []
  for i in reversed(range(n)):
    before = (i * low, i * high)
    weight = 0.0 if game.synergy == 'none' or not i else float(number['gamma'])
    agent = _Numbers(
      float(number['rho']) / n,
      float(kappa[i]),
      weight / (max(i, 1) if game.synergy == 'mean' else 1),
      float(number['penalty']),
      float(number['threshold']),
      low,
      high,
      kinds[game.cost],
    )
    if i == n - 1 and game.score == 'last':
      options = _last(agent, before)
    else:
      options = _options(_split(lines, agent.threshold), agent, before)
    every.append(options)
    own, lines = _stage(options, before)
    answers.append(own)
  path, total, unique = [], 0.0, []
  for options in every[::-1]:
    pick, only = options.best(np.array([total]))
    k = pick[0]
    path.append(options.p[k] + options.q[k] * total)
    unique.append(bool(only[0]))
    total += path[-1]
  return np.array(path), answers[::-1], np.array(unique)


def _last(a: _Numbers, before: tuple[float, float]) -> _Options:
  """Answers of a last mover whose contribution alone is the score."""
  forms = [(a.low, 0.0), (a.high, 0.0)]
  if a.low < a.threshold < a.high:
    forms.append((a.threshold, 0.0))
  if not a.linear:
    forms.append((a.rate / a.kappa, a.bonus / a.kappa))
  found = []
  for p, q in forms:
    # An answer that crosses the threshold does so in two options.
    cut = (a.threshold - p) / q if abs(q) > 1e-14 else np.inf
    marks = [before[0], *[cut] * (before[0] < cut < before[1]), before[1]]
    for left, right in zip(marks[:-1], marks[1:], strict=True):
      ends = [left, right]
      if abs(q) > 1e-14:
        inside = sorted(((a.low - p) / q, (a.high - p) / q))
        ends = [max(left, inside[0]), min(right, inside[1])]
      elif not a.low - _NEAR <= p <= a.high + _NEAR:
        continue
      if ends[0] > ends[1] + _NEAR:
        continue
      middle = p + q * sum(ends) / 2
      missed = a.penalty if middle < a.threshold - _NEAR else 0.0
      k = a.kappa
      cost = (
        (k * p, k * q, 0.0)
        if a.linear
        else (k * p * p / 2, k * p * q, k * q * q / 2)
      )
      found.append(
        (
          *(ends[0], max(ends), p, q),
          -cost[0] + a.rate * p - missed,
          -cost[1] + a.bonus * p + a.rate * q,
          -cost[2] + a.bonus * q,
          *(p, q),
        )
      )
  return _Options(*np.array(found, np.float64).T)
