# SPDX-License-Identifier: Apache-2.0
"""All at once: Nash equilibria, and what a planner would do."""

from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp

from jaxdl.agents.public_goods import _game, _policies
from jaxdl.core import checks

_BISECTIONS = 50
STARTS = ('low', 'high')


class Resting(NamedTuple):
  """Where answers to each other came to rest.

  Attributes:
    contributions: f[n].
    rewards: f[n], what agents get.
    converged: bool[], whether nobody moves.
    num_rounds: i32[], rounds of answers.
  """

  contributions: chex.Array
  rewards: chex.Array
  converged: chex.Array
  num_rounds: chex.Array


def _top(game, kappa, gain):
  """The largest c in bounds at which the marginal payoff is not negative."""
  cost = _game.cost_of(game)
  eps = 2 * jnp.finfo(gain.dtype).eps

  def body(_, ends):
    low, high = ends
    middle = (low + high) / 2
    dear = cost.slope(middle, kappa)
    # Who is indifferent gives more.
    rises = gain - dear >= -eps * (jnp.abs(gain) + jnp.abs(dear))
    return jnp.where(rises, middle, low), jnp.where(rises, high, middle)

  low, high = jax.lax.fori_loop(
    0, _BISECTIONS, body, (game.c_min, game.c_max + (game.c_max - game.c_min))
  )
  return jnp.clip((low + high) / 2, game.c_min, game.c_max)


def _answer(game, i, c, gain, loss):
  """The best c_i under a marginal gain and a loss where the score misses."""
  kappa = _game.kappas(game)[i]
  free = _top(game, kappa, gain)
  value = lambda x: gain * x - _game.cost_of(game).value(x, kappa)
  others = _game.score(c.at[i].set(0), game)
  share = _weights(game)[i]
  needed = (game.threshold - others) / jnp.where(share > 0, share, 1)
  needed = jnp.maximum(needed, game.c_min)
  eps = _game._SLACK * jnp.finfo(c.dtype).eps
  can = (share > 0) & (needed <= game.c_max + eps)
  needed = jnp.minimum(needed, game.c_max)
  has = _game.is_reached(others + share * free, game)
  # Relative to what is compared, as indifferent agents contribute.
  slack = eps * (jnp.abs(value(needed)) + jnp.abs(value(free)) + loss)
  worth = value(needed) >= value(free) - loss - slack
  return jnp.where(~has & can & worth & (loss > 0), needed, free)


def _weights(game):
  """∂F/∂c_i, f[n]."""
  n, dtype = game.num_agents, game.rho.dtype
  if game.score == 'sum':
    return jnp.ones(n, dtype)
  if game.score == 'mean':
    return jnp.full(n, 1 / n, dtype)
  return (jnp.arange(n) == n - 1).astype(dtype)


def _rest(game, start, gains, loss, max_rounds):
  """Answers one after the other until nobody moves."""
  n = game.num_agents
  tolerance = 4 * jnp.finfo(start.dtype).eps * (1 + jnp.abs(game.c_max))

  def one(i, c):
    return c.at[i].set(_answer(game, i, c, gains(c)[i], loss))

  def body(state):
    c, count, _ = state
    moved = jax.lax.fori_loop(0, n, one, c)
    return moved, count + 1, jnp.max(jnp.abs(moved - c)) <= tolerance

  begin = (start, jnp.zeros((), jnp.int32), jnp.zeros((), bool))
  return jax.lax.while_loop(
    lambda state: (state[1] < max_rounds) & ~state[2], body, begin
  )


def nash(
  game: _game.Game,
  *,
  start: str | chex.Array = 'low',
  max_rounds: int = 200,
) -> Resting:
  """A Nash equilibrium of contributions that nobody sees before all are made.

  Best answers, exact under convex costs, one after the other from a start. With
  a threshold there may be several: 'low' finds one that few carry, 'high' one
  from above.

  Args:
    game: one game; whether it says `simultaneous` does not matter.
    start: 'low' (all give c_min), 'high' (c_max), or f[n] (static if text).
    max_rounds: rounds of answers at most (static).

  Returns:
    The equilibrium, if it converged.

  Raises:
    ValueError: if the start is unknown or a number is out of range.

  Cost: O(n²) a round.

  Example:
    >>> game = _game.Game(num_agents=3, rho=1.5, kappa=2.0)
    >>> np.asarray(nash(game).contributions).round(4)
    array([0.25, 0.25, 0.25], dtype=float32)

  Source: the first-order condition C'(c_i) = γ Σ_i + ρ/n F', the baseline of
    Liang et al. 2026 (https://arxiv.org/abs/2508.02076).
  """
  checks.integer(max_rounds, name='max_rounds', low=1)
  game = _game.check_one(game)
  begin = _begin(start, game)

  def gains(c):
    pot = game.rho / game.num_agents * _weights(game)
    return pot + game.gamma * _game.synergies(c, game)

  c, count, settled = _rest(game, begin, gains, game.penalty, max_rounds)
  return Resting(c, _game.reward(c, game), settled, count)


def _begin(start, game):
  if not isinstance(start, str):
    return jnp.clip(_game._rows(start, game), game.c_min, game.c_max)
  checks.choice(start, STARTS, name='start')
  value = game.c_min if start == 'low' else game.c_max
  return jnp.full(game.num_agents, value)


def planner(game: _game.Game, *, max_rounds: int = 200) -> Resting:
  """Contributions of the largest welfare.

  Welfare is climbed one coordinate after the other, each exactly, from c_min,
  from c_max and from the middle; the best end is taken. It is the maximum where
  welfare is concave (quadratic cost, synergy 'sum', P = 0 and κ > γ (n - 1)),
  and elsewhere a point that no single agent can better.

  Args:
    game: one game.
    max_rounds: rounds at most (static).

  Returns:
    The contributions; `rewards` add up to the welfare.

  Raises:
    ValueError: see `check_game`.

  Example:
    >>> game = _game.Game(num_agents=3, rho=1.5, kappa=2.0)
    >>> np.asarray(planner(game).contributions).round(4)
    array([0.75, 0.75, 0.75], dtype=float32)
  """
  checks.integer(max_rounds, name='max_rounds', low=1)
  game = _game.check_one(game)
  bonus = jax.grad(lambda c: jnp.sum(c * _game.synergies(c, game)))

  def gains(c):
    return game.rho * _weights(game) + game.gamma * bonus(c)

  n = game.num_agents
  starts = jnp.stack(
    [_begin('low', game), _begin('high', game), _begin('low', game)]
  )
  starts = starts.at[2].set((game.c_min + game.c_max) / 2)
  climb = lambda c: _rest(game, c, gains, n * game.penalty, max_rounds)
  ends, counts, settled = jax.vmap(climb)(starts)
  paid = _game.reward(ends, game)
  best = jnp.argmax(jnp.sum(paid, axis=-1))
  return Resting(ends[best], paid[best], settled[best], counts[best])


def as_solution(found: Resting, game: _game.Game) -> _policies.Solution:
  """Contributions at rest as agents who give them whatever happens."""
  fixed = _policies.constant_policies(found.contributions)
  return _policies.solution(fixed, _game.check_one(game))
