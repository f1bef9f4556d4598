# SPDX-License-Identifier: Apache-2.0
"""What agents do at every history, and what comes of it."""

import dataclasses
from collections.abc import Callable
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp

from jaxdl.agents.public_goods import _game
from jaxdl.core import checks

Act = Callable[..., chex.Array]


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Policies:
  """What every agent contributes, a pytree.

  Attributes:
    params: leaves [n, ...], a row for each agent.
    act: `act(params, position, history) -> f[...]` of one agent's row (static);
      history is f[..., n], what was given so far and zeros from `position` (a
      Python int) on.
  """

  params: chex.ArrayTree
  act: Act = dataclasses.field(metadata={'static': True})

  def __call__(
    self,
    position: int,
    history: chex.Array,
    *,
    agent: chex.Numeric | None = None,
  ) -> chex.Array:
    """What is given at a position.

    Args:
      position: from 0 (static).
      history: f[..., n], zeros from `position` on.
      agent: who sits there; agent `position` if None.

    Returns:
      f[...].
    """
    who = position if agent is None else agent
    own = jax.tree.map(lambda x: x[who], self.params)
    return self.act(own, position, history)


class Solution(NamedTuple):
  """What a solver finds.

  Attributes:
    contributions: f[n], on the path of play.
    rewards: f[n], what agents get there.
    policies: what they give at every history.
    unique: bool[n], whether the best answer was the only one at the histories
      that the path visits.
  """

  contributions: chex.Array
  rewards: chex.Array
  policies: Policies
  unique: chex.Array


def _constant(own, position, history):
  del position
  return jnp.broadcast_to(own, history.shape[:-1])


def constant_policies(contributions: chex.Array) -> Policies:
  """Agents who give the same whatever happened.

  Args:
    contributions: f[n].

  Returns:
    The policies.

  Example:
    >>> fixed = constant_policies(jnp.array([0.1, 0.2]))
    >>> np.asarray(play(fixed, _game.Game(num_agents=2))).round(2)
    array([0.1, 0.2], dtype=float32)
  """
  return Policies(jnp.asarray(contributions), _constant)


def _linear(own, position, history):
  del position
  seen = jnp.sum(history, axis=-1)
  return jnp.clip(own['offset'] + own['slope'] * seen, own['low'], own['high'])


def linear_policies(
  offset: chex.Array, slope: chex.Array, game: _game.Game
) -> Policies:
  """Agents whose answer is linear in the sum before them, within bounds.

  Args:
    offset: f[n].
    slope: f[n].
    game: for its bounds.

  Returns:
    The policies.
  """
  wide = lambda x: jnp.broadcast_to(jnp.asarray(x, offset.dtype), offset.shape)
  params = {
    'offset': offset,
    'slope': wide(slope),
    'low': wide(game.c_min),
    'high': wide(game.c_max),
  }
  return Policies(params, _linear)


def continued(
  policies: Policies,
  history: chex.Array,
  start: int,
  game: _game.Game,
  *,
  order: chex.Array | None = None,
) -> chex.Array:
  """Lets agents play on from a history.

  Args:
    policies: what they do; what they give is held within bounds.
    history: f[..., n], zeros from `start` on.
    start: the first position to be played (static).
    game: for its bounds and its number of agents.
    order: i32[n], who sits at a position; agent i at position i if None.

  Returns:
    f[..., n], all contributions.
  """
  for p in range(start, game.num_agents):
    shown = jnp.zeros_like(history) if game.simultaneous else history
    given = policies(p, shown, agent=None if order is None else order[p])
    given = jnp.clip(given, game.c_min, game.c_max).astype(history.dtype)
    history = history.at[..., p].set(given)
  return history


def play(
  policies: Policies,
  game: _game.Game,
  *,
  order: chex.Array | None = None,
) -> chex.Array:
  """Plays a game once.

  Args:
    policies: what agents do.
    game: one game.
    order: i32[n], who sits at a position; agent i at position i if None.

  Returns:
    f[n], contributions by position.

  Raises:
    TypeError: if a part is of another kind.
    ValueError: if policies are not those of so many agents, the order is no
      permutation, or see `check_game`.

  Cost: n calls of `policies.act`.

  Example:
    >>> game = _game.Game(num_agents=2, kappa=1.0, gamma=0.5, rho=1.0)
    >>> found = linear_policies(jnp.array([0.75, 0.5]), jnp.array(0.5), game)
    >>> np.asarray(play(found, game)).round(4)
    array([0.75 , 0.875], dtype=float32)
  """
  game = _game.check_one(game)
  check_policies(policies, game)
  _game.check_order(order, game)
  start = jnp.zeros(game.num_agents, game.rho.dtype)
  return continued(policies, start, 0, game, order=order)


def check_policies(policies: Policies, game: _game.Game | None = None) -> None:
  """Checks that these are `Policies`, of every agent of a game.

  Args:
    policies: what agents do.
    game: for its number of agents; not looked at if None.

  Raises:
    TypeError: if they are something else.
    ValueError: if there is not a row for each agent.
  """
  if not isinstance(policies, Policies):
    raise TypeError(
      'policies must be public_goods.Policies, such as solve(game).policies or '
      f'constant_policies(c); got {checks.described(policies)}.'
    )
  if game is None:
    return
  for leaf in jax.tree.leaves(policies.params):
    if jnp.shape(leaf)[:1] != (game.num_agents,):
      raise ValueError(
        f'policies must have a row for each of num_agents={game.num_agents}; '
        f'got an array of shape {jnp.shape(leaf)}.'
      )


def solution(
  policies: Policies, game: _game.Game, unique: chex.Array | None = None
) -> Solution:
  """What comes of policies, as solvers report it.

  Args:
    policies: what agents do.
    game: one game, checked.
    unique: bool[n]; all true if None.

  Returns:
    The solution.
  """
  path = play(policies, game)
  if unique is None:
    unique = jnp.ones(game.num_agents, bool)
  return Solution(path, _game.reward(path, game), policies, unique)
