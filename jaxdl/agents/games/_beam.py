# SPDX-License-Identifier: Apache-2.0
"""Carriers that walk with a beam on their heads."""

from typing import NamedTuple

import chex
import jax.numpy as jnp

from jaxdl.agents import _environment
from jaxdl.core import checks

TIME_STEP = 0.05
FORCE = 5.0
DRAG = 1.0
STIFFNESS = 60.0
DAMPING = 3.0
MASS, INERTIA, GRAVITY = 1.0, 0.2, 9.8
GRIP = 4.0
HEAD = 0.1
LOW, HIGH = 0.5, 1.5
# Half of the beam, and how far from its middle carriers begin.
HALF, SPREAD = 1.0, 0.8
MOST_TILT, LEAST_HEIGHT = 0.5, 0.3
REWARDS = ('shared', 'own')


class BeamState(NamedTuple):
  """Carriers and a beam.

  Attributes:
    positions: f[N, 2], x and height.
    velocities: f[N, 2].
    beam: f[3], X, Y and tilt.
    speed: f[3], of the beam.
  """

  positions: chex.Array
  velocities: chex.Array
  beam: chex.Array
  speed: chex.Array


def beam_carry(
  *,
  num_agents: int = 3,
  reward: str = 'shared',
  max_steps: int = 200,
  off_beam: float = -10.0,
  dropped: float = -100.0,
) -> _environment.Environment:
  """N carriers bring a beam forward without dropping it.

  Each pushes itself in two directions (actions in [-1, 1]^2, clipped), by which
  it walks and stretches or ducks. Where its head touches the beam, a damped
  spring carries it; all pull the beam along. A step of .05 earns what the beam
  went forward; a carrier that is no longer under the beam pays `off_beam` at
  every step, and all pay `dropped` when the beam tilts by more than .5 or sinks
  below .3, which ends the game. A stand-in for walkers that carry a package,
  for tests of learners with vectors as actions.

  Args:
    num_agents: N.
    reward: 'shared', what the beam went forward, or 'own', what the carrier
      did.
    max_steps: of an episode.
    off_beam: traced, as the next (`params`).
    dropped: see above.

  Returns:
    The game. Carriers see their place below the beam, height and velocities,
    the beam's tilt, height and velocities, and offsets of the next carrier on
    either side (zeros at the ends): 13 numbers. It measures `distance` of the
    beam at the end, and `dropped`.

  Raises:
    ValueError: if a number is out of range.

  Example:
    >>> env = beam_carry(num_agents=3)
    >>> env.own_size, env.action_size
    (13, 2)
  """
  n = checks.integer(num_agents, name='num_agents', low=1)
  checks.choice(reward, REWARDS, name='reward')
  checks.integer(max_steps, name='max_steps', low=1)
  checks.number(off_beam, name='off_beam')
  checks.number(dropped, name='dropped')
  # Many springs are stiff.
  parts = -(-n // 3)
  dt = TIME_STEP / parts

  def start(params, key):
    del params, key
    x = jnp.linspace(-SPREAD, SPREAD, n) if n > 1 else jnp.zeros((1,))
    places = jnp.stack([x, jnp.ones((n,))], axis=-1)
    # Springs carry the beam, whose weight presses them.
    height = 1.0 + HEAD - GRAVITY * MASS / (STIFFNESS * n)
    beam = jnp.array([0.0, height, 0.0], x.dtype)
    return BeamState(places, jnp.zeros_like(places), beam, jnp.zeros_like(beam))

  def observe(params, state):
    del params
    p, v, beam, speed = state
    me = jnp.stack([p[:, 0] - beam[0], p[:, 1] - 1.0], axis=-1)
    shared = jnp.stack([beam[2], speed[2], beam[1] - 1.0, speed[1], speed[0]])
    rows = jnp.broadcast_to(shared[None], (n, 5))
    none = jnp.zeros((1, 2), p.dtype)
    gap = p[1:] - p[:-1]
    before = jnp.concatenate([none, -gap])
    after = jnp.concatenate([gap, none])
    own = jnp.concatenate([me, v, rows, before, after], axis=-1)
    return _environment.Seen(own)

  def advance(state, force):
    """A part of a step: velocities first, which then move all."""
    p, v, beam, speed = state
    s = p[:, 0] - beam[0]
    press = p[:, 1] + HEAD - (beam[1] + beam[2] * s)
    closing = v[:, 1] - (speed[1] + speed[2] * s)
    lift = STIFFNESS * press + DAMPING * closing
    under = (press > 0) & (jnp.abs(s) <= HALF)
    lift = jnp.where(under, jnp.maximum(lift, 0.0), 0.0)
    pull = jnp.sum(GRIP * (v[:, 0] - speed[0]))
    push = jnp.stack(
      [
        pull / MASS,
        jnp.sum(lift) / MASS - GRAVITY,
        jnp.sum(lift * s) / INERTIA,
      ]
    )
    v = v + dt * (force - DRAG * v)
    high = jnp.clip(p[:, 1] + dt * v[:, 1], LOW, HIGH)
    # Who is stopped by the ground or by its length has no speed left.
    stopped = (high <= LOW) | (high >= HIGH)
    climb = jnp.where(stopped, 0.0, v[:, 1])
    p = jnp.stack([p[:, 0] + dt * v[:, 0], high], axis=-1)
    v = jnp.stack([v[:, 0], climb], axis=-1)
    speed = speed + dt * push
    return BeamState(p, v, beam + dt * speed, speed)

  def move(params, state, actions, key):
    del key
    force = FORCE * jnp.clip(actions, -1.0, 1.0)
    old = state
    for _ in range(parts):
      state = advance(state, force)
    if reward == 'shared':
      earned = jnp.full((n,), state.beam[0] - old.beam[0])
    else:
      earned = state.positions[:, 0] - old.positions[:, 0]
    s = state.positions[:, 0] - state.beam[0]
    earned = earned + jnp.where(jnp.abs(s) > HALF, params['off_beam'], 0.0)
    tilted = jnp.abs(state.beam[2]) > MOST_TILT
    over = tilted | (state.beam[1] < LEAST_HEIGHT)
    earned = earned + jnp.where(over, params['dropped'], 0.0)
    facts = {
      'distance': state.beam[0],
      'dropped': over.astype(jnp.float32),
    }
    return state, _environment.Outcome(earned, over, facts)

  def draw(params, state):
    del params
    return {'agents': state.positions, 'beam': state.beam}

  return _environment.Environment(
    params={
      'off_beam': jnp.float32(off_beam),
      'dropped': jnp.float32(dropped),
    },
    start=start,
    move=move,
    observe=observe,
    num_agents=n,
    own_size=13,
    max_steps=max_steps,
    action_size=2,
    name='beam_carry',
    facts=(('distance', 'last'), ('dropped', 'last')),
    draw=draw,
  )
