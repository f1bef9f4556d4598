# SPDX-License-Identifier: Apache-2.0
"""Strategies of one round's memory by name, and priors over them.

A strategy is f[5], the probability of cooperation after start, CC, CD, DC and
DD, seen from the side of who plays it.
"""

from collections.abc import Callable
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp

from jaxdl.agents.coplayers import _game
from jaxdl.core import checks, keys, registry


def all_c() -> chex.Array:
  """Always cooperates."""
  return jnp.ones((5,))


def all_d() -> chex.Array:
  """Always defects."""
  return jnp.zeros((5,))


def tft() -> chex.Array:
  """Tit for tat: cooperates first, then does what the other did."""
  return jnp.array([1.0, 1.0, 0.0, 1.0, 0.0])


def grim() -> chex.Array:
  """Cooperates until anybody defects, then never again."""
  return jnp.array([1.0, 1.0, 0.0, 0.0, 0.0])


def wsls() -> chex.Array:
  """Win-stay, lose-shift: cooperates if both did the same."""
  return jnp.array([1.0, 1.0, 0.0, 0.0, 1.0])


def random(cooperation: float = 0.5) -> chex.Array:
  """Cooperates by chance."""
  checks.number(cooperation, name='cooperation', low=0.0, high=1.0)
  return jnp.full((5,), cooperation)


def memory_one(
  start: float, cc: float, cd: float, dc: float, dd: float
) -> chex.Array:
  """Cooperates with five probabilities."""
  given = {'start': start, 'cc': cc, 'cd': cd, 'dc': dc, 'dd': dd}
  for name, value in given.items():
    checks.number(value, name=name, low=0.0, high=1.0)
  return jnp.array(list(given.values()), jnp.result_type(float))


def zero_determinant(
  chi: chex.Numeric = 2.0,
  phi: chex.Numeric | None = None,
  *,
  start: chex.Numeric = 0.0,
  game: _game.Dilemma | None = None,
) -> chex.Array:
  """Extorts: in the long run it gets chi times what the other gets.

  Payoffs count from the punishment P: `s_X - P = chi (s_Y - P)`, whatever the
  other does.

  Args:
    chi: factor of extortion, >= 1.
    phi: how far probabilities are from zero and one, in (0, bound] with the
      largest that keeps all of them in [0, 1]: `1 / ((P - S) + chi (T - P))`
      or one over another factor that is larger, `1 / (1 + 2 chi)` for payoffs
      1, -1, 2, 0. None takes the bound.
    start: probability of cooperation in the first round; the long run does not
      depend on it unless the other player remembers it forever.
    game: payoffs; those of `prisoner()` if None.

  Returns:
    f[5].

  Raises:
    ValueError: if a known number is out of range; the message names the bound.

  Example:
    >>> [round(float(x), 6) for x in zero_determinant(2.0, 0.2)[1:]]
    [0.8, 0.0, 0.8, 0.0]

  Source: Press and Dyson 2012 (https://doi.org/10.1073/pnas.1206569109),
    equation 12.
  """
  game = _game.prisoner() if game is None else _game.check_game(game)
  r, s, t, p = (
    getattr(game, name)
    for name in ('reward', 'sucker', 'temptation', 'punishment')
  )
  checks.number(chi, name='chi', low=1.0)
  checks.number(start, name='start', low=0.0, high=1.0)
  factors = (
    (chi - 1) * (r - p),
    (p - s) + chi * (t - p),
    (t - p) + chi * (p - s),
  )
  traced = any(isinstance(x, jax.core.Tracer) for x in (chi, phi, r, s, t, p))
  bound = 1 / jnp.max(jnp.stack([jnp.asarray(x, float) for x in factors]))
  if phi is None:
    phi = bound
  elif not traced:
    checks.number(phi, name='phi', finite=False)
    most = 1 / max(float(x) for x in factors)
    if not 0 < float(phi) <= most * (1 + 1e-6):
      raise ValueError(
        f'phi must lie in (0, {most:g}], 1 / ((P - S) + chi (T - P)) or less '
        f'for chi={float(chi):g}, so that all are probabilities; got '
        f'{float(phi):g}.'
      )
  cc, cd, dc = factors
  found = [start, 1 - phi * cc, 1 - phi * cd, phi * dc, 0.0]
  found = jnp.stack([jnp.asarray(x, jnp.result_type(float)) for x in found])
  return jnp.clip(found, 0.0, 1.0)


STRATEGIES = registry.Registry(
  'strategy',
  {
    'all_c': all_c,
    'all_d': all_d,
    'grim': grim,
    'memory_one': memory_one,
    'random': random,
    'tft': tft,
    'wsls': wsls,
    'zd': zero_determinant,
  },
  given=('game',),
)


class Prior(NamedTuple):
  """A distribution of strategies whose five probabilities are independent.

  Attributes:
    sample: `sample(shape, *, key) -> f[*shape, 5]`; consumes the key.
    predict: `predict(counts) -> f[...]`, the probability that an action is
      cooperation after counts f[..., 2] of cooperation and defection in the
      same situation, exactly.
  """

  sample: Callable[..., chex.Array]
  predict: Callable[[chex.Array], chex.Array]


def beta(a: float = 0.2, b: float | None = None) -> Prior:
  """Beta(a, b) for every probability; polarised where both are below one.

  Args:
    a: > 0.
    b: > 0; a if None.

  Returns:
    The prior.

  Raises:
    ValueError: if a number is out of range.
  """
  b = a if b is None else b
  for name, value in (('a', a), ('b', b)):
    checks.number(value, name=name, low=0.0, open_low=True)

  def sample(shape, *, key):
    keys.check_key(key)
    return jax.random.beta(key, a, b, (*shape, 5))

  def predict(counts):
    return (counts[..., 0] + a) / (counts.sum(axis=-1) + a + b)

  return Prior(sample, predict)


def uniform() -> Prior:
  """Every probability is uniform on [0, 1]."""

  def sample(shape, *, key):
    keys.check_key(key)
    return jax.random.uniform(key, (*shape, 5))

  return Prior(sample, beta(1.0).predict)


def corners(eps: float = 0.05) -> Prior:
  """Every probability is eps or 1 - eps, with even odds.

  Args:
    eps: in [0, 0.5].

  Returns:
    The prior.

  Raises:
    ValueError: if eps is out of range.

  Example:
    >>> prior = corners(0.05)
    >>> found = prior.predict(jnp.array([[0.0, 0.0], [3.0, 0.0]]))
    >>> [round(float(x), 3) for x in found]
    [0.5, 0.95]
  """
  checks.number(eps, name='eps', low=0.0, high=0.5)

  def sample(shape, *, key):
    keys.check_key(key)
    return jnp.where(jax.random.bernoulli(key, shape=(*shape, 5)), 1 - eps, eps)

  def predict(counts):
    # The odds of 1 - eps; with eps = 0 the first action tells all.
    gap = jnp.log1p(-eps) - jnp.log(jnp.maximum(eps, 1e-30))
    high = jax.nn.sigmoid((counts[..., 0] - counts[..., 1]) * gap)
    return eps + (1 - 2 * eps) * high

  return Prior(sample, predict)


PRIORS = registry.Registry(
  'prior',
  {'beta': beta, 'corners': corners, 'uniform': uniform},
  tried={},
)
