# SPDX-License-Identifier: Apache-2.0
"""Sequential public goods: who pays, who gains, and what a game is."""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np
from absl import logging

from jaxdl.core import checks, registry

SYNERGIES = ('sum', 'mean', 'previous', 'none')
SCORES = ('sum', 'mean', 'last')
_NUMBERS = (
  *('rho', 'gamma', 'kappa', 'penalty', 'threshold', 'c_min', 'c_max'),
)
# Of a score that is compared with a threshold, times the precision.
_SLACK = 16


class Cost(NamedTuple):
  """What effort costs, elementwise in c with a factor that broadcasts.

  Attributes:
    value: `value(c, kappa)`, non-decreasing and convex in c.
    slope: its derivative in c.
    curvature: the second one.
  """

  value: Callable[..., chex.Array]
  slope: Callable[..., chex.Array]
  curvature: Callable[..., chex.Array]


def quadratic() -> Cost:
  """κ c² / 2."""
  return Cost(
    lambda c, kappa: kappa * c * c / 2,
    lambda c, kappa: kappa * c,
    lambda c, kappa: kappa * jnp.ones_like(c),
  )


def linear() -> Cost:
  """κ c."""
  return Cost(
    lambda c, kappa: kappa * c,
    lambda c, kappa: kappa * jnp.ones_like(c),
    lambda c, kappa: jnp.zeros_like(kappa * c),
  )


def power(exponent: float = 3.0) -> Cost:
  """κ c^p / p, for c >= 0.

  Args:
    exponent: p >= 1.

  Returns:
    The cost.
  """
  checks.number(exponent, name='exponent', low=1.0)
  p = float(exponent)
  slope = lambda c, kappa: kappa * c ** (p - 1)
  # At zero and p < 2 the curvature is infinite: at a tiny c it is large.
  tiny = 1e-6
  return Cost(
    lambda c, kappa: kappa * c**p / p,
    slope,
    lambda c, kappa: kappa * (p - 1) * jnp.maximum(c, tiny) ** (p - 2),
  )


def exponential(rate: float = 1.0) -> Cost:
  """κ (exp(r c) - 1) / r: the first unit costs κ, each more.

  Args:
    rate: r > 0.

  Returns:
    The cost.
  """
  checks.number(rate, name='rate', low=0.0, open_low=True)
  r = float(rate)
  return Cost(
    lambda c, kappa: kappa * jnp.expm1(r * c) / r,
    lambda c, kappa: kappa * jnp.exp(r * c),
    lambda c, kappa: kappa * r * jnp.exp(r * c),
  )


COSTS = registry.Registry(
  'cost',
  {
    'quadratic': quadratic,
    'linear': linear,
    'power': power,
    'exponential': exponential,
  },
  tried={},
)


def convex(value: Callable[..., chex.Array]) -> Cost:
  """Makes a cost of any convex function, with derivatives by `jax.grad`.

  Args:
    value: `value(c, kappa) -> f[]` of numbers, non-decreasing and strictly
      convex in c; keep one function object per cost, programs are told apart by
      it.

  Returns:
    The cost, for `Game(cost=...)`.

  Example:
    >>> cost = convex(lambda c, kappa: kappa * jnp.cosh(c))
    >>> float(cost.slope(jnp.float32(0.0), 2.0))
    0.0
  """

  def over(fn):
    return lambda c, kappa: jnp.vectorize(fn)(
      jnp.asarray(c), jnp.asarray(kappa, jnp.asarray(c).dtype)
    )

  slope = jax.grad(value)
  return Cost(over(value), over(slope), over(jax.grad(slope)))


def _static(default):
  return dataclasses.field(default=default, metadata={'static': True})


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, kw_only=True)
class Game:
  """A public goods game of n agents who move one after the other.

  Agent i contributes c_i in [c_min, c_max] and gets

      R_i = -C_i(c_i) + γ c_i Σ_i + (ρ / n) F - P 1[F < B].

  Σ_i is what predecessors did (`synergy`), F the score of the task (`score`).
  Numbers are leaves, so that thousands of games are one vmapped program; what
  is marked static shapes the program.

  Attributes:
    rho: f[], ρ >= 0, multiplier of the common pot.
    gamma: f[], γ >= 0, weight of the synergy.
    kappa: f[] or f[n], κ > 0, factor of the cost; one for each agent or for
      all.
    penalty: f[], P >= 0, what everybody loses if the score misses.
    threshold: f[], B, the score that must be reached.
    c_min: f[], least contribution.
    c_max: f[], largest one.
    num_agents: n (static).
    cost: a part of `COSTS`, or a `Cost` (static).
    synergy: Σ_i: 'sum' or 'mean' of the contributions before, 'previous', the
      last of them, or 'none'; zero for the first (static).
    score: F: 'sum', 'mean' or the 'last' contribution (static).
    simultaneous: whether nobody sees what others do before all have moved
      (static); what agents are paid is the same.

  Example:
    >>> game = Game(num_agents=3, rho=1.5, gamma=0.4, kappa=2.0)
    >>> c = jnp.array([0.5, 0.2, 1.0])
    >>> np.asarray(reward(c, game)).round(3)
    array([0.6 , 0.85, 0.13], dtype=float32)

  Source: Liang et al. 2026 (https://arxiv.org/abs/2508.02076); the paper names
    the four parts of the reward, their exact forms are a reconstruction.
  """

  rho: chex.Numeric = 1.5
  gamma: chex.Numeric = 0.0
  kappa: chex.Numeric = 2.0
  penalty: chex.Numeric = 0.0
  threshold: chex.Numeric = 0.0
  c_min: chex.Numeric = 0.0
  c_max: chex.Numeric = 1.0
  num_agents: int = _static(3)
  cost: str | Cost = _static('quadratic')
  synergy: str = _static('sum')
  score: str = _static('sum')
  simultaneous: bool = _static(False)

  def replace(self, **changes: Any) -> 'Game':
    """Returns the game with some attributes changed."""
    return dataclasses.replace(self, **changes)


@functools.lru_cache(maxsize=256)
def _made(spec):
  return COSTS.make(spec)


def cost_of(game: Game) -> Cost:
  """Returns the cost that a game names."""
  return _made(game.cost) if isinstance(game.cost, str) else game.cost


def check_game(game: Game) -> Game:
  """Checks what is known of a game while tracing.

  Args:
    game: numbers may be traced, or arrays of many games.

  Returns:
    The game.

  Raises:
    TypeError: if it is none.
    ValueError: if a number is out of range or a part unknown.
  """
  if not isinstance(game, Game):
    raise TypeError(
      'game must be a public_goods.Game, such as mac_spgg(); got '
      f'{checks.described(game)}.'
    )
  checks.integer(game.num_agents, name='num_agents', low=1)
  checks.flag(game.simultaneous, name='simultaneous')
  checks.choice(game.synergy, SYNERGIES, name='synergy')
  checks.choice(game.score, SCORES, name='score')
  if isinstance(game.cost, str):
    COSTS.check(game.cost, name='cost')
  elif not checks.has_functions(game.cost, 'value', 'slope', 'curvature'):
    raise TypeError(
      'cost must be a part of COSTS or a Cost of three functions; got '
      f'{checks.described(game.cost)}.'
    )
  for name in ('rho', 'gamma', 'penalty'):
    checks.known(getattr(game, name), name=name, low=0.0)
  checks.known(game.kappa, name='kappa', low=0.0, open_low=True)
  for name in ('threshold', 'c_min', 'c_max'):
    checks.known(getattr(game, name), name=name)
  low, high = game.c_min, game.c_max
  if not any(isinstance(x, jax.core.Tracer) for x in (low, high)):
    a, b = np.asarray(low), np.asarray(high)
    if np.any(a > b):
      raise ValueError(f'c_min must be at most c_max; got {low} > {high}.')
    _check_least(game, float(np.min(a)))
  return game


def _check_least(game, low):
  """Refuses contributions of which there is no cost."""
  named = isinstance(game.cost, str)
  if low < 0 and named and COSTS.part(game.cost).name == 'power':
    raise ValueError(
      f'c_min must be at least 0 where cost={game.cost}; got {low:g}.'
    )


def check_one(game: Game) -> Game:
  """As `check_game`, of a single game: its numbers are f[], kappa f[] or f[n].

  Args:
    game: one game.

  Returns:
    The game with arrays of one floating dtype, float32 or more: equilibria
    take differences that are lost in fewer bits.

  Raises:
    TypeError, ValueError: as `check_game`, or if there are many games.
  """
  check_game(game)
  values = [getattr(game, name) for name in _NUMBERS]
  plain = [x for x in values if not isinstance(x, (bool, int, float))]
  dtype = jnp.result_type(float, *plain)
  if not jnp.issubdtype(dtype, jnp.floating):
    raise TypeError(f'numbers of a game must be real; got {dtype}.')
  dtype = jnp.promote_types(dtype, jnp.float32)
  found = {}
  for name, value in zip(_NUMBERS, values, strict=True):
    array = jnp.asarray(value, dtype)
    several = name == 'kappa' and array.shape == (game.num_agents,)
    if array.ndim and not several:
      raise ValueError(
        f'{name} has shape {array.shape}: this is about one game, whose '
        'numbers are scalars (kappa may have one for each agent); use jax.vmap '
        'for many games.'
      )
    found[name] = array
  return game.replace(**found)


def known_penalty(game: Game) -> float | None:
  """The largest penalty of a game, or None while it is traced."""
  if isinstance(game.penalty, jax.core.Tracer):
    return None
  return float(np.max(np.asarray(game.penalty)))


def kappas(game: Game) -> chex.Array:
  """Factors of the costs, f[n]."""
  return jnp.broadcast_to(jnp.asarray(game.kappa), (game.num_agents,))


def synergies(contributions: chex.Array, game: Game) -> chex.Array:
  """What each agent's synergy is with, Σ_i.

  Args:
    contributions: f[..., n], by position.
    game: its `synergy` counts.

  Returns:
    f[..., n].
  """
  c = contributions
  if game.synergy == 'none':
    return jnp.zeros_like(c)
  before = jnp.concatenate([jnp.zeros_like(c[..., :1]), c[..., :-1]], -1)
  if game.synergy == 'previous':
    return before
  sums = jnp.cumsum(before, axis=-1)
  if game.synergy == 'sum':
    return sums
  count = jnp.maximum(jnp.arange(c.shape[-1]), 1).astype(c.dtype)
  return sums / count.reshape((1,) * (c.ndim - 1) + (-1,))


def score(contributions: chex.Array, game: Game) -> chex.Array:
  """Score of the task, F.

  Args:
    contributions: f[..., n].
    game: its `score` counts.

  Returns:
    f[...].

  Example:
    >>> float(score(jnp.array([0.5, 0.25]), Game(num_agents=2)))
    0.75
  """
  if game.score == 'last':
    return contributions[..., -1]
  fold = jnp.mean if game.score == 'mean' else jnp.sum
  return fold(contributions, axis=-1)


def is_reached(scores: chex.Array, game: Game) -> chex.Array:
  """Whether scores reach the threshold; rounding does not make them miss it.

  Args:
    scores: f[...].
    game: its `threshold` counts.

  Returns:
    bool[...].
  """
  dtype = jnp.result_type(scores, float)
  slack = _SLACK * jnp.finfo(dtype).eps
  bound = jnp.asarray(game.threshold, dtype)
  return scores >= bound - slack * jnp.maximum(jnp.abs(bound), 1)


def reward(
  contributions: chex.Array,
  game: Game,
  *,
  order: chex.Array | None = None,
) -> chex.Array:
  """What every agent gets.

  Args:
    contributions: f[..., n] in [c_min, c_max], by position.
    game: one game.
    order: i32[n], who sits at a position, which matters where costs differ;
      agent i at position i if None.

  Returns:
    f[..., n], R by position.

  Raises:
    ValueError: if there is not one contribution for each agent, the order is no
      permutation, or see `check_game`.

  Example:
    >>> game = Game(rho=1.5, gamma=0.4, kappa=2.0, penalty=0.3, threshold=2.0)
    >>> np.asarray(reward(jnp.array([0.5, 0.2, 1.0]), game)).round(3)
    array([ 0.3 ,  0.55, -0.17], dtype=float32)

  Source: Liang et al. 2026 (https://arxiv.org/abs/2508.02076), reconstructed.
  """
  game = check_one(game)
  c = _rows(contributions, game)
  check_order(order, game)
  kappa = kappas(game) if order is None else kappas(game)[order]
  kappa = kappa.astype(c.dtype).reshape((1,) * (c.ndim - 1) + (-1,))
  total = score(c, game)
  shared = game.rho / game.num_agents * total
  shared -= jnp.where(is_reached(total, game), 0, game.penalty)
  own = -cost_of(game).value(c, kappa) + game.gamma * c * synergies(c, game)
  return own + shared[..., None]


def check_order(order: Any, game: Game) -> None:
  """Checks who sits where, as far as it is known.

  Args:
    order: i32[n], or None.
    game: for its number of agents.

  Raises:
    ValueError: if it is no permutation of the agents.
  """
  if order is None:
    return
  n = game.num_agents
  text = f'order must be a permutation of 0 to {n - 1}; got '
  if jnp.shape(order) != (n,):
    raise ValueError(f'{text}shape {jnp.shape(order)}.')
  if not isinstance(order, jax.core.Tracer):
    found = np.asarray(order).tolist()
    if sorted(found) != list(range(n)):
      raise ValueError(f'{text}{found}.')


def welfare(contributions: chex.Array, game: Game) -> chex.Array:
  """Sum of what all agents get.

  Args:
    contributions: f[..., n].
    game: one game.

  Returns:
    f[...].

  Raises:
    ValueError: see `reward`.

  Example:
    >>> float(welfare(jnp.full((3,), 0.25), Game(rho=1.5, kappa=2.0)))
    0.9375
  """
  return jnp.sum(reward(contributions, game), axis=-1)


def _rows(contributions, game):
  c = jnp.asarray(contributions)
  if not c.ndim or c.shape[-1] != game.num_agents:
    raise ValueError(
      f'contributions must have one entry per agent, [..., {game.num_agents}]; '
      f'got shape {c.shape}.'
    )
  dtype = jnp.result_type(c, game.rho)
  return c.astype(dtype)


def largest_score(game: Game) -> Any:
  """The score if all give c_max."""
  return game.c_max * (game.num_agents if game.score == 'sum' else 1)


def is_sufficient(game: Game) -> chex.Array:
  """Whether giving c_max is the only subgame perfect equilibrium, for sure.

  That holds if own marginal payoff is positive everywhere, ρ/n F' + γ Σ_min >
  C_i'(c_max), where Σ_min is the least synergy of position i. The last mover
  then gives c_max whatever happened, so followers of the one before do not
  react to it, and so on; a penalty for giving less adds to that.

  Args:
    game: one game.

  Returns:
    bool[]. False does not mean that they give less.

  Raises:
    ValueError: see `check_game`.

  Example:
    >>> [bool(is_sufficient(Game(rho=r, kappa=2.0))) for r in (5.0, 7.0)]
    [False, True]

  Source: derived; for the theorem see Liang et al. 2026
    (https://arxiv.org/abs/2508.02076), theorem 1.
  """
  game = check_one(game)
  n = game.num_agents
  place = jnp.arange(n, dtype=game.rho.dtype)
  least = {
    'sum': place * game.c_min,
    'mean': jnp.where(place > 0, game.c_min, 0),
    'previous': jnp.where(place > 0, game.c_min, 0),
    'none': jnp.zeros(n, game.rho.dtype),
  }[game.synergy]
  weight = {
    'sum': jnp.ones(n, game.rho.dtype),
    'mean': jnp.full(n, 1 / n, game.rho.dtype),
    'last': (place == n - 1).astype(game.rho.dtype),
  }[game.score]
  marginal = game.rho / n * weight + game.gamma * least
  dear = cost_of(game).slope(jnp.full(n, game.c_max), kappas(game))
  return jnp.all(marginal > dear)


def mac_spgg(
  num_agents: int = 3,
  rho: float = 1.5,
  gamma: float = 0.4,
  kappa: float | Sequence[float] = 2.0,
  penalty: float = 0.0,
  threshold: float = 0.0,
  cost: str = 'quadratic',
  synergy: str = 'sum',
  score: str = 'sum',
  c_min: float = 0.0,
  c_max: float = 1.0,
) -> Game:
  """The sequential game with synergy and threshold; see `Game`.

  Args:
    num_agents: n.
    rho: ρ.
    gamma: γ.
    kappa: κ, one for all or one for each agent.
    penalty: P.
    threshold: B.
    cost: a part of `COSTS`.
    synergy: one of `SYNERGIES`.
    score: one of `SCORES`.
    c_min: least contribution.
    c_max: largest one.

  Returns:
    The game.

  Raises:
    ValueError: see `check_game`. A threshold out of reach is a warning.

  Example:
    >>> mac_spgg(gamma=0.2).synergy
    'sum'

  Source: Liang et al. 2026 (https://arxiv.org/abs/2508.02076).
  """
  checks.integer(num_agents, name='num_agents', low=1)
  factor = None
  if isinstance(kappa, (tuple, list)):
    if len(kappa) != num_agents:
      raise ValueError(
        f'kappa must be one number or {num_agents}, one per agent; got '
        f'{len(kappa)}.'
      )
    for value in kappa:
      checks.number(value, name='kappa', low=0.0, open_low=True)
    factor = np.asarray(kappa, np.float64)
  game = check_game(
    Game(
      num_agents=num_agents,
      rho=rho,
      gamma=gamma,
      kappa=kappa if factor is None else factor,
      penalty=penalty,
      threshold=threshold,
      cost=cost,
      synergy=synergy,
      score=score,
      c_min=c_min,
      c_max=c_max,
    )
  )
  checks.number(penalty, name='penalty', low=0.0)
  checks.number(threshold, name='threshold')
  if penalty > 0 and threshold > largest_score(game) * (1 + 1e-9):
    logging.warning(
      'threshold=%g cannot be reached, as the score is at most %g: everybody '
      'pays the penalty whatever they do.',
      threshold,
      largest_score(game),
    )
  return game


def spgg(
  num_agents: int = 3,
  rho: float = 1.5,
  kappa: float | Sequence[float] = 2.0,
  cost: str = 'quadratic',
  score: str = 'sum',
  c_min: float = 0.0,
  c_max: float = 1.0,
) -> Game:
  """The sequential game without synergy and threshold.

  Args:
    num_agents: n.
    rho: ρ.
    kappa: κ.
    cost: a part of `COSTS`.
    score: one of `SCORES`.
    c_min: least contribution.
    c_max: largest one.

  Returns:
    The game.

  Raises:
    ValueError: see `check_game`.

  Example:
    >>> spgg().gamma
    0.0
  """
  return mac_spgg(
    num_agents,
    rho,
    0.0,
    kappa,
    cost=cost,
    synergy='none',
    score=score,
    c_min=c_min,
    c_max=c_max,
  )


def pgg(
  num_agents: int = 3,
  rho: float = 1.5,
  kappa: float | Sequence[float] = 2.0,
  penalty: float = 0.0,
  threshold: float = 0.0,
  cost: str = 'quadratic',
  score: str = 'sum',
  c_min: float = 0.0,
  c_max: float = 1.0,
) -> Game:
  """The game in which all move at once.

  Args:
    num_agents: n.
    rho: ρ.
    kappa: κ.
    penalty: P.
    threshold: B.
    cost: a part of `COSTS`.
    score: one of `SCORES`.
    c_min: least contribution.
    c_max: largest one.

  Returns:
    The game.

  Raises:
    ValueError: see `check_game`.

  Example:
    >>> pgg().simultaneous
    True
  """
  game = mac_spgg(
    num_agents,
    rho,
    0.0,
    kappa,
    penalty,
    threshold,
    cost,
    'none',
    score,
    c_min,
    c_max,
  )
  return game.replace(simultaneous=True)


# Games by name, for specs such as 'mac_spgg(gamma=0.4)'.
GAMES = registry.Registry(
  'game', {'pgg': pgg, 'spgg': spgg, 'mac_spgg': mac_spgg}, tried={}
)
