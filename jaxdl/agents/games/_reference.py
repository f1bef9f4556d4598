# SPDX-License-Identifier: Apache-2.0
"""Particles that tell each other where to go."""

from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp

from jaxdl.agents import _environment
from jaxdl.agents.games import _spread
from jaxdl.core import checks

LANDMARKS = 3


class TalkState(NamedTuple):
  """Two bodies, landmarks, goals and what was said.

  Attributes:
    positions: f[2, 2].
    velocities: f[2, 2].
    landmarks: f[3, 2].
    goals: i32[2], the landmark where each agent should go.
    said: f[2, M], one-hot words, zeros at the start.
  """

  positions: chex.Array
  velocities: chex.Array
  landmarks: chex.Array
  goals: chex.Array
  said: chex.Array


def _starting(words):
  """Makes `start` of a game with a number of words."""

  def start(params, key):
    del params
    place_key, goal_key = jax.random.split(key)
    places = jax.random.uniform(
      place_key, (2 + LANDMARKS, 2), minval=-1.0, maxval=1.0
    )
    goals = jax.random.randint(goal_key, (2,), 0, LANDMARKS)
    still = jnp.zeros((2, 2), places.dtype)
    said = jnp.zeros((2, words), places.dtype)
    return TalkState(places[:2], still, places[2:], goals, said)

  return start


def _goal_gaps(state):
  """Offsets of agents from the landmarks where they should go, f[2, 2]."""
  hot = jax.nn.one_hot(state.goals, LANDMARKS, dtype=state.positions.dtype)
  goals = jnp.sum(hot[..., None] * state.landmarks[None], axis=1)
  return state.positions - goals


def _draw(params, state):
  """Places, goals and words."""
  del params
  return {
    'agents': state.positions,
    'landmarks': state.landmarks,
    'goals': state.goals,
    'said': jnp.argmax(state.said, axis=-1),
  }


def simple_reference(
  *,
  num_words: int = 10,
  local_ratio: float = 0.5,
  max_steps: int = 25,
) -> _environment.Environment:
  """Two agents, each of which knows where the other should go.

  Action `5 w + m` says word w and moves as in `simple_spread`. Agent i earns
  `local_ratio` times minus the distance of the other from its goal, plus the
  rest times the mean over agents.

  Args:
    num_words: M; as released 10.
    local_ratio: traced (`params['local_ratio']`).
    max_steps: of an episode, exactly.

  Returns:
    The game. Agents see their velocity 2, offsets of landmarks 6, the color of
    the other's goal 3 and the word of the other M. It measures `distance`, the
    mean from the goals at the end.

  Raises:
    ValueError: if a number is out of range.

  Example:
    >>> env = simple_reference()
    >>> env.own_size, env.num_actions
    (21, 50)

  Source: Lowe et al. 2017 (https://arxiv.org/abs/1706.02275), with the numbers
  of its maintained releases.
  """
  words = checks.integer(num_words, name='num_words', low=1)
  checks.integer(max_steps, name='max_steps', low=1)
  checks.number(local_ratio, name='local_ratio', low=0.0, high=1.0)

  def observe(params, state):
    del params
    p = state.positions
    offsets = (state.landmarks[None] - p[:, None]).reshape(2, -1)
    color = 0.25 + 0.5 * jax.nn.one_hot(
      state.goals[::-1], LANDMARKS, dtype=p.dtype
    )
    parts = [state.velocities, offsets, color, state.said[::-1]]
    return _environment.Seen(jnp.concatenate(parts, axis=-1))

  def move(params, state, actions, key):
    del key
    p, v = _spread.push(
      state.positions, state.velocities, actions % 5, collide=False
    )
    said = jax.nn.one_hot(actions // 5, words, dtype=p.dtype)
    state = state._replace(positions=p, velocities=v, said=said)
    gaps = _spread.safe_norm(_goal_gaps(state))
    own = params['local_ratio']
    reward = own * -gaps[::-1] + (1.0 - own) * -jnp.mean(gaps)
    facts = {'distance': jnp.mean(gaps)}
    return state, _environment.Outcome(reward, jnp.zeros((), bool), facts)

  return _environment.Environment(
    params={'local_ratio': jnp.float32(local_ratio)},
    start=_starting(words),
    move=move,
    observe=observe,
    num_agents=2,
    own_size=11 + words,
    max_steps=max_steps,
    num_actions=5 * words,
    name='simple_reference',
    facts=(('distance', 'last'),),
    draw=_draw,
  )


def simple_speaker_listener(*, max_steps: int = 25) -> _environment.Environment:
  """A speaker who knows the goal, and a listener who goes there.

  The speaker stays; its actions 0, 1, 2 are words. The listener moves as in
  `simple_spread`. Both earn minus the square of the listener's distance from
  the goal.

  Args:
    max_steps: of an episode, exactly.

  Returns:
    The game. The speaker, agent 0, sees the color of the goal 3 and zeros; the
    listener its velocity 2, offsets of landmarks 6 and the word 3. Only 3 of 5
    actions are available to the speaker. It measures `distance`, the listener's
    from the goal at the end.

  Raises:
    ValueError: if a number is out of range.

  Example:
    >>> env = simple_speaker_listener()
    >>> seen, game = env.reset(jax.random.key(0))
    >>> seen.own.shape, seen.available.sum(axis=-1).tolist()
    ((2, 11), [3, 5])

  Source: Lowe et al. 2017 (https://arxiv.org/abs/1706.02275), with the numbers
  of its maintained releases.
  """
  checks.integer(max_steps, name='max_steps', low=1)

  def observe(params, state):
    del params
    p = state.positions
    color = 0.15 + 0.5 * jax.nn.one_hot(
      state.goals[1:], LANDMARKS, dtype=p.dtype
    )
    speaker = jnp.concatenate([color[0], jnp.zeros((8,), p.dtype)])
    offsets = (state.landmarks - p[1:]).reshape(-1)
    listener = jnp.concatenate([state.velocities[1], offsets, state.said[0]])
    free = jnp.arange(5)[None] < jnp.array([LANDMARKS, 5])[:, None]
    return _environment.Seen(jnp.stack([speaker, listener]), available=free)

  def move(params, state, actions, key):
    del params, key
    p, v = _spread.push(
      state.positions[1:], state.velocities[1:], actions[1:], collide=False
    )
    word = jax.nn.one_hot(actions[:1], LANDMARKS, dtype=p.dtype)
    state = state._replace(
      positions=jnp.concatenate([state.positions[:1], p]),
      velocities=jnp.concatenate([state.velocities[:1], v]),
      said=jnp.concatenate([word, state.said[1:]]),
    )
    gap = _goal_gaps(state)[1]
    reward = jnp.full((2,), -jnp.sum(gap * gap))
    facts = {'distance': _spread.safe_norm(gap)}
    return state, _environment.Outcome(reward, jnp.zeros((), bool), facts)

  return _environment.Environment(
    params={},
    start=_starting(LANDMARKS),
    move=move,
    observe=observe,
    num_agents=2,
    own_size=11,
    max_steps=max_steps,
    num_actions=5,
    name='simple_speaker_listener',
    facts=(('distance', 'last'),),
    draw=_draw,
  )
