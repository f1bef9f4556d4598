# SPDX-License-Identifier: Apache-2.0
"""Two players, two actions, again and again: payoffs and what players see.

Actions are 0 (cooperate) and 1 (defect). A player sees the last round from its
own side: 0 before the first round, else 1 + 2 own + other, so 1 to 4 are CC,
CD, DC and DD with its own action first. Where one player sees CD the other sees
DC.
"""

import dataclasses
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
from absl import logging

from jaxdl.core import checks, registry

COOPERATE, DEFECT = 0, 1
OBSERVATIONS = ('start', 'CC', 'CD', 'DC', 'DD')
# The other player's observation, by one's own.
_SWAP = np.array([0, 1, 3, 2, 4])


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Dilemma:
  """Payoffs of one round, which may be traced: a batch of them is a vmap.

  Attributes:
    reward: R, to each of two who cooperate.
    sucker: S, to who cooperates alone.
    temptation: T, to who defects alone.
    punishment: P, to each of two who defect.
  """

  reward: chex.Numeric
  sucker: chex.Numeric
  temptation: chex.Numeric
  punishment: chex.Numeric

  @property
  def payoffs(self) -> chex.Array:
    """f[4], to oneself after CC, CD, DC and DD."""
    return jnp.stack(
      [
        jnp.asarray(value, jnp.result_type(float))
        for value in (
          self.reward,
          self.sucker,
          self.temptation,
          self.punishment,
        )
      ]
    )


def prisoner(
  reward: chex.Numeric = 1.0,
  sucker: chex.Numeric = -1.0,
  temptation: chex.Numeric = 2.0,
  punishment: chex.Numeric = 0.0,
) -> Dilemma:
  """Makes a game of its four payoffs.

  Warns if they are known and no iterated prisoner's dilemma, which needs
  temptation > reward > punishment > sucker, so that defection pays in one
  round, and 2 reward > temptation + sucker, so that taking turns does not.

  Args:
    reward: R, finite or traced.
    sucker: S.
    temptation: T.
    punishment: P.

  Returns:
    The game.

  Raises:
    ValueError: if a known payoff is not finite.

  Example:
    >>> prisoner().payoffs.tolist()
    [1.0, -1.0, 2.0, 0.0]
  """
  known = {
    'reward': reward,
    'sucker': sucker,
    'temptation': temptation,
    'punishment': punishment,
  }
  traced = False
  for name, value in known.items():
    if isinstance(value, jax.core.Tracer) or np.ndim(value):
      traced = True
    else:
      checks.number(value, name=name)
  if not traced:
    r, s, t, p = (float(value) for value in known.values())
    if not t > r > p > s:
      logging.warning(
        'temptation > reward > punishment > sucker does not hold for %g, %g, '
        '%g, %g: no dilemma.',
        *(t, r, p, s),
      )
    elif not 2 * r > t + s:
      logging.warning(
        '2 reward > temptation + sucker does not hold for %g, %g, %g: taking '
        'turns pays as well as cooperation, no dilemma.',
        *(r, t, s),
      )
  return Dilemma(**known)


def donation(benefit: chex.Numeric = 2.0, cost: chex.Numeric = 1.0) -> Dilemma:
  """Makes the game of who pays a cost to give the other a benefit.

  Args:
    benefit: b.
    cost: c; a dilemma if 0 < c < b.

  Returns:
    The game: R = b - c, S = -c, T = b, P = 0.

  Raises:
    ValueError: if a known number is not finite.

  Example:
    >>> donation(3.0, 1.0).payoffs.tolist()
    [2.0, -1.0, 3.0, 0.0]
  """
  for name, value in (('benefit', benefit), ('cost', cost)):
    checks.known(value, name=name)
  return prisoner(benefit - cost, -cost, benefit, 0.0 * benefit)


GAMES = registry.Registry(
  'game', {'prisoner': prisoner, 'donation': donation}, tried={}
)


def swap(observation: chex.Array) -> chex.Array:
  """Returns what the other player sees.

  Args:
    observation: i32[...] in [0, 5).

  Returns:
    i32[...]: CD and DC exchanged.

  Example:
    >>> swap(jnp.arange(5)).tolist()
    [0, 1, 3, 2, 4]
  """
  return jnp.asarray(_SWAP, jnp.int32)[observation]


def observe(own: chex.Array, other: chex.Array) -> chex.Array:
  """Returns what a player sees after a round.

  Args:
    own: i32[...], its action, 0 (cooperate) or 1 (defect).
    other: i32[...], the other's.

  Returns:
    i32[...], 1 + 2 own + other.
  """
  return (1 + 2 * own + other).astype(jnp.int32)


def step(
  game: Dilemma, first: chex.Array, second: chex.Array
) -> tuple[chex.Array, chex.Array, chex.Array, chex.Array]:
  """Plays one round.

  Args:
    game: payoffs.
    first: i32[...], action of the first player.
    second: i32[...], of the second.

  Returns:
    What they see, i32[...] each, and what they get, f[...] each.

  Example:
    >>> found = step(prisoner(), jnp.int32(0), jnp.int32(1))
    >>> [float(x) for x in found]
    [2.0, 3.0, -1.0, 2.0]
  """
  seen, seen_other = observe(first, second), observe(second, first)
  return (
    seen,
    seen_other,
    reward_of(game, seen),
    reward_of(game, seen_other),
  )


def reward_of(game: Dilemma, observation: chex.Array) -> chex.Array:
  """Returns what a player got in the round that it sees.

  Args:
    game: payoffs.
    observation: i32[...]; 0, before the first round, gives 0.

  Returns:
    f[...].
  """
  values = game.payoffs
  return jnp.concatenate([jnp.zeros((1,), values.dtype), values])[observation]


def check_game(value: Any) -> Dilemma:
  """Returns a game, made of a spec if it is one.

  Args:
    value: a `Dilemma` or an entry of `GAMES`.

  Returns:
    The game.

  Raises:
    TypeError: if it is neither.
    ValueError: if the spec is wrong or a known payoff is not finite.
  """
  if isinstance(value, str):
    return GAMES.make(value)
  if not isinstance(value, Dilemma):
    raise TypeError(
      'game must be a Dilemma or an entry of GAMES; got '
      f'{checks.described(value)}.'
    )
  for field in dataclasses.fields(value):
    checks.known(getattr(value, field.name), name=field.name)
  return value


def check_strategy(value: Any, *, name: str) -> chex.Array:
  """Checks the probabilities of a memory-one strategy, if they are known.

  Args:
    value: f[5].
    name: the argument's name, for the message.

  Returns:
    The array, in float32 or more: a game has many rounds to add up.

  Raises:
    ValueError: if there are not five of them, or one lies outside of [0, 1].
    TypeError: if it is no array.
  """
  checks.array(value, name=name)
  shape = jnp.shape(value)
  if shape != (len(OBSERVATIONS),):
    many = ': use jax.vmap for many strategies' if len(shape) > 1 else ''
    raise ValueError(
      f'{name} must have {len(OBSERVATIONS)} probabilities, of '
      f'{", ".join(OBSERVATIONS)}; got shape {shape}{many}.'
    )
  if not isinstance(value, jax.core.Tracer):
    found = np.asarray(value, np.float64)
    bad = ~((found >= 0) & (found <= 1))
    if bad.any():
      raise ValueError(
        f'{name} must be probabilities in [0, 1]; got {found[bad][0]:g}.'
      )
  # Whole numbers would cut payoffs off.
  dtype = jnp.promote_types(jnp.result_type(value, float), jnp.float32)
  return jnp.asarray(value, dtype)
