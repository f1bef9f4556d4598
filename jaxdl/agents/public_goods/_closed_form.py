# SPDX-License-Identifier: Apache-2.0
"""Equilibria that can be written down: quadratic costs, no bound in the way."""

import chex
import jax.numpy as jnp

from jaxdl.agents.public_goods import _game, _policies
from jaxdl.core import checks

OBSERVATIONS = ('full', 'partial', 'none')


def _previous(own, position, history):
  seen = history[..., position - 1] if position else 0.0
  given = own['offset'] + own['slope'] * seen
  return jnp.broadcast_to(given, history.shape[:-1])


def closed_form(
  game: _game.Game, *, observation: str = 'full'
) -> _policies.Solution:
  """The equilibrium of quadratic costs where no bound binds.

  With a = γ/κ and b = ρ/(n κ), agents who see everything answer the sum S of
  what was given with c_i(S) = a S + b (1 + a)^(n - i), i from 1, and give T =
  b ((1 + a)^(2n) - 1) / ((1 + a)² - 1) in all.

  Agents who see their predecessor alone (`partial`) guess what came before it.
  If all tremble, independently, by errors of the same small size, the guess is
  a regression: c_i answers c_{i-1} with the slope k_i = a (1 + Σ_{j<i-1} v_j
  k_{j+1} ... k_{i-1} / v_{i-1}), where v_i = 1 + k_i² v_{i-1} is what errors
  add up to. Where nobody trembles, k_i = a, which is another equilibrium. If
  nothing is seen (`none`, or a simultaneous game) nobody can be moved.

  Args:
    game: one game with a quadratic cost, the score 'sum' and the synergy 'sum'
      or 'none', of equal agents, P = 0.
    observation: what agents see: 'full', 'partial' or 'none' (static).

  Returns:
    The solution. Bounds are not looked at: where contributions leave [c_min,
    c_max] it is that of another game.

  Raises:
    ValueError: if the game is of another kind.

  Cost: O(n²).

  Example:
    >>> game = _game.Game(num_agents=3, rho=1.5, gamma=0.4, kappa=2.0)
    >>> np.asarray(closed_form(game).contributions).round(4)
    array([0.36  , 0.372 , 0.3964], dtype=float32)
    >>> partial = closed_form(game, observation='partial')
    >>> np.asarray(partial.contributions).round(4)
    array([0.3119, 0.372 , 0.3868], dtype=float32)

  Source: derived here, by dT/dc_i = (1 + a)^(n - i).
  """
  checks.choice(observation, OBSERVATIONS, name='observation')
  check_kind(_game.check_game(game))
  game = _game.check_one(game)
  n = game.num_agents
  a = jnp.where(game.synergy == 'none', 0, game.gamma / game.kappa)
  b = game.rho / (n * game.kappa)
  if observation == 'none' or game.simultaneous:
    pull = jnp.ones(n, b.dtype)
    slopes = jnp.zeros(n, b.dtype)
  elif observation == 'full':
    pull = (1 + a) ** jnp.arange(n - 1, -1, -1).astype(b.dtype)
    slopes = jnp.full(n, a)
  else:
    slopes = jnp.stack(_regressions(a, n))
    pull = [jnp.ones_like(b)]
    for i in range(n - 1, 0, -1):
      pull.append(1 + slopes[i] * pull[-1])
    pull = jnp.stack(pull[::-1])
  given, total = [], jnp.zeros_like(b)
  for i in range(n):
    given.append(a * total + b * pull[i])
    total += given[-1]
  path = jnp.stack(given)
  before = jnp.concatenate([jnp.zeros_like(path[:1]), path[:-1]])
  if observation == 'full' and not game.simultaneous:
    wide = jnp.full(n, jnp.inf, b.dtype)
    params = {'offset': b * pull, 'slope': slopes, 'low': -wide, 'high': wide}
    policies = _policies.Policies(params, _policies._linear)
  elif observation == 'partial' and not game.simultaneous:
    params = {'offset': path - slopes * before, 'slope': slopes}
    policies = _policies.Policies(params, _previous)
  else:
    policies = _policies.constant_policies(path)
  return _policies.Solution(
    path, _game.reward(path, game), policies, jnp.ones(n, bool)
  )


def _regressions(a, n):
  """Slopes k_i of answers to the predecessor when all tremble alike."""
  slopes, spread = [jnp.zeros_like(a)], [jnp.ones_like(a)]
  for i in range(1, n):
    seen, chain = jnp.ones_like(a), jnp.ones_like(a)
    for j in range(i - 2, -1, -1):
      chain = chain * slopes[j + 1]
      seen = seen + spread[j] * chain / spread[i - 1]
    slopes.append(a * seen)
    spread.append(1 + slopes[i] ** 2 * spread[i - 1])
  return slopes


def check_kind(game: _game.Game) -> None:
  """Raises ValueError unless a game has a closed form."""
  if game.cost not in ('quadratic', 'quadratic()'):
    raise ValueError(
      f'cost={game.cost} has no closed form: it must be quadratic; use solve.'
    )
  if game.score != 'sum' or game.synergy not in ('sum', 'none'):
    raise ValueError(
      f'score={game.score} and synergy={game.synergy} have no closed form: '
      'they must be sum, and sum or none; use solve.'
    )
  if jnp.ndim(game.kappa):
    raise ValueError(
      'kappa must be one number for all in a closed form; use solve.'
    )
  penalty = _game.known_penalty(game)
  if penalty:
    raise ValueError(
      f'penalty must be 0 in a closed form; got {penalty:g}: use solve_grid or '
      'solve_exact.'
    )


def total_contribution(game: _game.Game) -> chex.Array:
  """T of the closed form, whoever sees everything.

  Args:
    game: as `closed_form` takes it.

  Returns:
    f[].

  Raises:
    ValueError: if the game is of another kind.

  Example:
    >>> game = _game.Game(num_agents=4, rho=2.0, gamma=0.2, kappa=2.0)
    >>> round(float(total_contribution(game)), 5)
    1.36142
  """
  check_kind(_game.check_game(game))
  game = _game.check_one(game)
  n = game.num_agents
  a = jnp.where(game.synergy == 'none', 0, game.gamma / game.kappa)
  powers = (1 + a) ** (2 * jnp.arange(n)).astype(a.dtype)
  # A sum instead of its quotient, which is 0 / 0 at γ = 0.
  return game.rho / (n * game.kappa) * jnp.sum(powers)
