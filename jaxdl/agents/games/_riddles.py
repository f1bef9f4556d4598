# SPDX-License-Identifier: Apache-2.0
"""Short games that need messages, with known best values."""

from collections.abc import Sequence
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp

from jaxdl.agents import _environment
from jaxdl.agents.games import _draws
from jaxdl.core import checks

NOTHING, SWITCH, TELL = range(3)
# Whose symbol each agent needs, with six of them.
_ROUTES = (3, 0, 5, 1, 2, 4)


class RiddleState(NamedTuple):
  """Prisoners.

  Attributes:
    inside: i32[], who is in the room.
    light: bool[].
    visited: bool[N], who was in the room before.
    time: i32[].
  """

  inside: chex.Array
  light: chex.Array
  visited: chex.Array
  time: chex.Array


def switch_riddle(
  *,
  num_agents: int = 3,
  max_steps: int | None = None,
  light: bool = False,
  win: float = 1.0,
  lose: float = -1.0,
) -> _environment.Environment:
  """N prisoners, a room with a light, and who may tell that all were there.

  Every step one of them is in the room, each equally likely. It does nothing,
  switches the light, or tells that all have been in the room, which ends the
  game: all earn `win` if that is so and `lose` if not. What others do is
  ignored. If nobody tells within 4 N - 6 steps, all earn 0.

  Args:
    num_agents: N >= 3, or any with `max_steps`.
    max_steps: of the game, which ends then; 4 N - 6 if None.
    light: whether it is on at first.
    win: traced (`params['win']`).
    lose: traced (`params['lose']`).

  Returns:
    The game. Agents see whether they are in the room, and if so the light. It
    measures `success`, `told` and `visited`, the share of agents who were in
    the room at the end.

  Raises:
    ValueError: if a number is out of range.

  Example:
    >>> env = switch_riddle(num_agents=3)
    >>> env.max_steps, env.num_actions, env.own_size
    (6, 3, 2)

  Source: Foerster et al. 2016 (https://arxiv.org/abs/1605.06676), section 6.2,
  with the limit of JaxMARL's form.
  """
  low = 3 if max_steps is None else 1
  n = checks.integer(num_agents, name='num_agents', low=low)
  limit = 4 * n - 6 if max_steps is None else max_steps
  checks.integer(limit, name='max_steps', low=1)
  checks.flag(light, name='light')
  checks.number(win, name='win')
  checks.number(lose, name='lose')

  def start(params, key):
    del params
    return RiddleState(
      inside=_draws.whole(key, (), n),
      light=jnp.array(light),
      visited=jnp.zeros((n,), bool),
      time=jnp.int32(0),
    )

  def observe(params, state):
    del params
    here = jnp.arange(n) == state.inside
    seen = jnp.stack([here, here & state.light], axis=-1)
    return _environment.Seen(seen.astype(jnp.float32))

  def move(params, state, actions, key):
    here = jnp.arange(n) == state.inside
    action = jnp.sum(jnp.where(here, actions, 0))
    visited = state.visited | here
    told, every = action == TELL, jnp.all(visited)
    earned = jnp.where(every, params['win'], params['lose'])
    reward = jnp.full((n,), jnp.where(told, earned, 0.0))
    time = state.time + 1
    facts = {
      'success': (told & every).astype(jnp.float32),
      'told': told.astype(jnp.float32),
      'visited': jnp.mean(visited, dtype=jnp.float32),
    }
    state = RiddleState(
      inside=_draws.whole(key, (), n),
      light=state.light ^ (action == SWITCH),
      visited=visited,
      time=time,
    )
    return state, _environment.Outcome(reward, told | (time >= limit), facts)

  def draw(params, state):
    del params
    return state._asdict()

  return _environment.Environment(
    params={'win': jnp.float32(win), 'lose': jnp.float32(lose)},
    start=start,
    move=move,
    observe=observe,
    num_agents=n,
    own_size=2,
    max_steps=limit,
    num_actions=3,
    name='switch_riddle',
    facts=(('success', 'last'), ('told', 'last'), ('visited', 'last')),
    draw=draw,
    seen_names=('in the room', 'light'),
  )


def sum_guess(
  *, num_agents: int = 3, scale: float = 10.0
) -> _environment.Environment:
  """N agents with a number each guess the sum of all numbers, once.

  Numbers are uniform on [-c, c]. A guess is any real number, not clipped, and
  earns minus its distance from the sum. Without messages the best guess is the
  own number, which earns -c E|sum of N - 1 uniform numbers on [-1, 1]|.

  Args:
    num_agents: N.
    scale: c > 0; traced (`params['scale']`).

  Returns:
    The game. It measures `error`, the mean distance.

  Raises:
    ValueError: if a number is out of range.

  Example:
    >>> env = sum_guess(num_agents=3)
    >>> env.own_size, env.action_size, env.max_steps
    (1, 1, 1)

  Source: the release of Gupta et al. 2021 (https://arxiv.org/abs/2102.00824).
  """
  n = checks.integer(num_agents, name='num_agents', low=1)
  checks.number(scale, name='scale', low=0.0, open_low=True)

  def start(params, key):
    return params['scale'] * jax.random.uniform(
      key, (n,), minval=-1.0, maxval=1.0
    )

  def observe(params, state):
    del params
    return _environment.Seen(state[:, None])

  def move(params, state, actions, key):
    del params, key
    error = jnp.abs(actions[:, 0] - jnp.sum(state))
    facts = {'error': jnp.mean(error)}
    return state, _environment.Outcome(-error, jnp.ones((), bool), facts)

  def draw(params, state):
    del params
    return {'numbers': state}

  return _environment.Environment(
    params={'scale': jnp.float32(scale)},
    start=start,
    move=move,
    observe=observe,
    num_agents=n,
    own_size=1,
    max_steps=1,
    action_size=1,
    name='sum_guess',
    facts=(('error', 'last'),),
    draw=draw,
    seen_names=('own number',),
  )


def routing(
  *,
  num_agents: int = 6,
  num_symbols: int = 4,
  targets: Sequence[int] | None = None,
) -> _environment.Environment:
  """N agents draw a symbol each and must name that of one other, once.

  Only who hears the right agent can do better than chance, 1 / K.

  Args:
    num_agents: N.
    num_symbols: K >= 2.
    targets: whose symbol each agent must name; (3, 0, 5, 1, 2, 4) if None and
      N = 6, else that of the next.

  Returns:
    The game. Agents see their symbol and their number, one-hot. A right name
    earns 1. It measures `accuracy`.

  Raises:
    ValueError: if a number is out of range.

  Example:
    >>> env = routing(num_agents=6, num_symbols=4)
    >>> env.own_size, env.num_actions
    (10, 4)
  """
  n = checks.integer(num_agents, name='num_agents', low=1)
  k = checks.integer(num_symbols, name='num_symbols', low=2)
  if targets is None:
    whose = _ROUTES if n == len(_ROUTES) else [(i + 1) % n for i in range(n)]
  else:
    whose = tuple(
      checks.integer(t, name='targets', low=0, high=n - 1) for t in targets
    )
    if len(whose) != n:
      raise ValueError(
        f'targets must name an agent for each of {n}; got {len(whose)}.'
      )
  whose = tuple(whose)

  def start(params, key):
    del params
    return _draws.whole(key, (n,), k)

  def observe(params, state):
    del params
    symbol = state[:, None] == jnp.arange(k)[None]
    me = jnp.eye(n, dtype=bool)
    seen = jnp.concatenate([symbol, me], axis=-1)
    return _environment.Seen(seen.astype(jnp.float32))

  def move(params, state, actions, key):
    del params, key
    wanted = jnp.stack([state[t] for t in whose])
    right = (actions == wanted).astype(jnp.float32)
    facts = {'accuracy': jnp.mean(right)}
    return state, _environment.Outcome(right, jnp.ones((), bool), facts)

  def draw(params, state):
    del params
    return {'symbols': state, 'targets': jnp.asarray(whose)}

  return _environment.Environment(
    params={},
    start=start,
    move=move,
    observe=observe,
    num_agents=n,
    own_size=k + n,
    max_steps=1,
    num_actions=k,
    name='routing',
    facts=(('accuracy', 'last'),),
    draw=draw,
  )
