# SPDX-License-Identifier: Apache-2.0
"""Predators that look for a prey on a grid, and those that capture it."""

from typing import NamedTuple

import chex
import jax.numpy as jnp

from jaxdl.agents import _environment
from jaxdl.agents.games import _draws, _grid
from jaxdl.core import checks

MODES = ('mixed', 'cooperative', 'competitive')
# Of an episode, by cells of a side.
_LIMIT_PER_DIM = 4
CAPTURE = 5


class PreyState(NamedTuple):
  """Predators and their prey.

  Attributes:
    predators: i32[N, 2], rows and columns.
    prey: i32[2].
    reached: bool[N], who was on the prey.
    captured: bool[N], who captured it.
  """

  predators: chex.Array
  prey: chex.Array
  reached: chex.Array
  captured: chex.Array


def _check(num_agents, dim, vision, mode, max_steps, moving_prey):
  """Checks what both games share and returns the limit of time."""
  checks.integer(dim, name='dim', low=2)
  checks.integer(vision, name='vision', low=0)
  if vision >= dim:
    raise ValueError(f'vision={vision} must be below dim={dim}.')
  if num_agents + 1 > dim * dim:
    raise ValueError(
      f'{num_agents} predators and a prey need a cell each; dim={dim} has '
      f'{dim * dim}.'
    )
  checks.choice(mode, MODES, name='mode')
  if checks.flag(moving_prey, name='moving_prey'):
    raise ValueError('moving_prey=True: the prey of this game stays.')
  if max_steps is None:
    return _LIMIT_PER_DIM * dim
  return checks.integer(max_steps, name='max_steps', low=1)


def _rewards(params, mode, on_prey):
  """Of every predator, f[N]."""
  n = jnp.sum(on_prey).astype(jnp.float32)
  if mode == 'cooperative':
    there = params['bonus'] * n
  elif mode == 'competitive':
    there = params['bonus'] / jnp.maximum(n, 1.0)
  else:
    there = jnp.zeros_like(params['bonus'])
  return jnp.where(on_prey, there, params['step'])


def _look(places, others, prey, dim, vision):
  """What the cells around places hold, f[N, (2v+1)^2, dim^2 + 4].

  Args:
    places: of those who look.
    others: pairs of a class and the places of whom to count there.
    prey: i32[2].
    dim: cells of a side.
    vision: v.

  Returns:
    One-hot numbers of cells, and counts of classes added.
  """
  base = dim * dim
  ids = _grid.window(places, dim, vision, base + 1)
  words = jnp.arange(base + 4)[None, None]
  number = lambda at: (at[:, 0] * dim + at[:, 1])[None, None]
  seen = (ids[..., None] == words).astype(jnp.float32)
  for word, at in ((base + 2, prey[None]), *others):
    here = ids[:, :, None] == number(at)
    count = jnp.sum(here, axis=-1, dtype=jnp.float32)
    seen = seen + count[..., None] * (words == word)
  return seen


def predator_prey(
  *,
  num_agents: int = 3,
  dim: int = 5,
  vision: int = 1,
  mode: str = 'mixed',
  stay: bool = True,
  max_steps: int | None = None,
  end_when_reached: bool | None = None,
  step_reward: float = -0.05,
  bonus: float = 0.05,
  moving_prey: bool = False,
) -> _environment.Environment:
  """N predators look for a prey that stays, on a grid of dim x dim cells.

  All start in different cells. A predator on the prey is frozen there; walls
  stop, and predators may share cells. Actions: up, right, down, left, stay.
  Each sees the cells around it, by rows: for each the one-hot number of the
  cell or 'outside' (dim^2 + 1), to which the number of prey (dim^2 + 2) and of
  predators (dim^2 + 3) there is added.

  Args:
    num_agents: N.
    dim: cells of a side.
    vision: v < dim, cells that are seen on each side; 0 is the own cell alone.
    mode: what a step on the prey earns: 'mixed' nothing, 'cooperative' `bonus`
      times the number of predators there, 'competitive' `bonus` divided by it.
    stay: whether staying is an action.
    max_steps: of an episode; 4 dim if None (20, 40, 80 for 5, 10, 20).
    end_when_reached: whether the game is over when all have reached the prey;
      None as released: in mode 'mixed' only.
    step_reward: of every step elsewhere; traced (`params['step']`).
    bonus: traced (`params['bonus']`).
    moving_prey: not defined; True is refused.

  Returns:
    The game. It measures `success`, whether all are on the prey at the end, and
    `reached`, the share of those who are.

  Raises:
    ValueError: if a number is out of range.

  Example:
    >>> env = predator_prey(num_agents=3, dim=5, vision=1)
    >>> env.own_size, env.max_steps
    (261, 20)

  Source: Singh et al. 2019 (https://arxiv.org/abs/1812.09755), section 4.1,
  with the numbers of its release.
  """
  n = checks.integer(num_agents, name='num_agents', low=1)
  limit = _check(n, dim, vision, mode, max_steps, moving_prey)
  checks.flag(stay, name='stay')
  checks.number(step_reward, name='step_reward')
  checks.number(bonus, name='bonus')
  if end_when_reached is None:
    ends = mode == 'mixed'
  else:
    ends = checks.flag(end_when_reached, name='end_when_reached')

  def start(params, key):
    del params
    cells = _draws.distinct(key, n + 1, dim * dim)
    places = _grid.coordinates(cells, dim)
    none = jnp.zeros((n,), bool)
    return PreyState(places[:n], places[n], none, none)

  def observe(params, state):
    del params
    others = ((dim * dim + 3, state.predators),)
    seen = _look(state.predators, others, state.prey, dim, vision)
    return _environment.Seen(seen.reshape(n, -1))

  def move(params, state, actions, key):
    del key
    there = _grid.shifted(state.predators, actions, dim)
    places = jnp.where(state.reached[:, None], state.predators, there)
    on_prey = jnp.all(places == state.prey[None], axis=-1)
    reward = _rewards(params, mode, on_prey)
    state = state._replace(predators=places, reached=on_prey)
    every = jnp.all(on_prey)
    facts = {
      'success': every.astype(jnp.float32),
      'reached': jnp.mean(on_prey, dtype=jnp.float32),
    }
    return state, _environment.Outcome(reward, every & ends, facts)

  return _environment.Environment(
    params={'step': jnp.float32(step_reward), 'bonus': jnp.float32(bonus)},
    start=start,
    move=move,
    observe=observe,
    num_agents=n,
    own_size=(2 * vision + 1) ** 2 * (dim * dim + 4),
    max_steps=limit,
    num_actions=5 if stay else 4,
    name='predator_prey',
    facts=(('success', 'last'), ('reached', 'last')),
    draw=_draw,
  )


def _draw(params, state):
  """Places on the grid, and who captured the prey."""
  del params
  return {
    'agents': state.predators,
    'prey': state.prey,
    'captured': state.captured,
  }


def predator_capture(
  *,
  num_predators: int = 2,
  num_captors: int = 1,
  dim: int = 5,
  vision: int = 1,
  captor_vision: int | None = None,
  mode: str = 'mixed',
  partial_reward: bool = False,
  max_steps: int | None = None,
  end_when_captured: bool | None = None,
  step_reward: float = -0.05,
  bonus: float = 0.05,
  moving_prey: bool = False,
) -> _environment.Environment:
  """Predators that see and captors that do not, after one prey.

  As `predator_prey`, with a sixth action that captures. Predators come first;
  for them it does nothing. Captors know their cell alone: of what they see the
  classes (outside, prey, who is there) are -1. A captor pays `step_reward`
  until it has captured, which it does by the sixth action on the prey's cell.
  Counts of captors stand at word dim^2, of predators at dim^2 + 3.

  Args:
    num_predators: P.
    num_captors: A.
    dim: cells of a side.
    vision: v < dim, of predators; what captors see has the same size.
    captor_vision: None for blind captors; else at most v, and all that lies
      farther away is -1 to them.
    mode: as in `predator_prey`.
    partial_reward: whether a captor on the prey pays half until it captures.
    max_steps: of an episode; 4 dim if None.
    end_when_captured: whether the game is over when all have reached the prey
      and all captors captured it; None as released: in mode 'mixed' only.
    step_reward: of every step elsewhere; traced (`params['step']`).
    bonus: traced (`params['bonus']`).
    moving_prey: not defined; True is refused.

  Returns:
    The game. It measures `success`, `reached` (the share of agents on the prey)
    and `captured` (the share of captors who captured), at the end.

  Raises:
    ValueError: if a number is out of range.

  Example:
    >>> env = predator_capture(num_predators=2, num_captors=1)
    >>> env.num_agents, env.num_actions, env.own_size
    (3, 6, 261)

  Source: Seraj et al. 2022 (https://arxiv.org/abs/2108.09568), predator
  capture prey, with the numbers of the release of Hu et al. 2024.
  """
  seers = checks.integer(num_predators, name='num_predators', low=0)
  captors = checks.integer(num_captors, name='num_captors', low=0)
  n = seers + captors
  if n < 1:
    raise ValueError('num_predators and num_captors are 0: need an agent.')
  limit = _check(n, dim, vision, mode, max_steps, moving_prey)
  if captor_vision is not None:
    checks.integer(captor_vision, name='captor_vision', low=0, high=vision)
  checks.flag(partial_reward, name='partial_reward')
  checks.number(step_reward, name='step_reward')
  checks.number(bonus, name='bonus')
  if end_when_captured is None:
    ends = mode == 'mixed'
  else:
    ends = checks.flag(end_when_captured, name='end_when_captured')
  base, side = dim * dim, 2 * vision + 1
  captor = jnp.arange(n) >= seers

  def start(params, key):
    del params
    cells = _draws.distinct(key, n + 1, base)
    places = _grid.coordinates(cells, dim)
    none = jnp.zeros((n,), bool)
    return PreyState(places[:n], places[n], none, none)

  def observe(params, state):
    del params
    at = state.predators
    others = ((base + 3, at[:seers]), (base, at[seers:]))
    seen = _look(at, others, state.prey, dim, vision)
    if captor_vision is None:
      hidden = (jnp.arange(base + 4) >= base)[None]
    else:
      far = jnp.abs(jnp.arange(side) - vision) > captor_vision
      hidden = (far[:, None] | far[None]).reshape(-1, 1)
    hidden = captor[:, None, None] & hidden[None]
    seen = jnp.where(hidden, -1.0, seen)
    return _environment.Seen(seen.reshape(n, -1))

  def move(params, state, actions, key):
    del key
    there = _grid.shifted(state.predators, actions, dim)
    places = jnp.where(state.reached[:, None], state.predators, there)
    on_prey = jnp.all(places == state.prey[None], axis=-1)
    catch = captor & on_prey & (actions == CAPTURE)
    captured = state.captured | catch
    reward = _rewards(params, mode, on_prey)
    waits = jnp.where(on_prey & partial_reward, 0.5, 1.0) * params['step']
    reward = jnp.where(captor & ~captured, waits, reward)
    state = state._replace(predators=places, reached=on_prey, captured=captured)
    every = jnp.all(on_prey) & jnp.all(captured | ~captor)
    facts = {
      'success': every.astype(jnp.float32),
      'reached': jnp.mean(on_prey, dtype=jnp.float32),
      'captured': jnp.sum(captured, dtype=jnp.float32) / max(captors, 1),
    }
    return state, _environment.Outcome(reward, every & ends, facts)

  return _environment.Environment(
    params={'step': jnp.float32(step_reward), 'bonus': jnp.float32(bonus)},
    start=start,
    move=move,
    observe=observe,
    num_agents=n,
    own_size=side * side * (base + 4),
    max_steps=limit,
    num_actions=6,
    name='predator_capture',
    facts=(('success', 'last'), ('reached', 'last'), ('captured', 'last')),
    draw=_draw,
  )
