# SPDX-License-Identifier: Apache-2.0
"""Agents that cover landmarks without running into each other."""

from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp

from jaxdl.agents import _environment
from jaxdl.core import checks

# Of the particle worlds.
AGENT_RADIUS = 0.15
ACCELERATION = 5.0
TIME_STEP = 0.1
DAMPING = 0.25
CONTACT_FORCE = 100.0
CONTACT_MARGIN = 1e-3
# No-op, left, right, down, up.
DIRECTIONS = ((0, 0), (-1, 0), (1, 0), (0, -1), (0, 1))


class ParticleState(NamedTuple):
  """Bodies on a plane.

  Attributes:
    positions: f[N, 2].
    velocities: f[N, 2].
    landmarks: f[L, 2].
  """

  positions: chex.Array
  velocities: chex.Array
  landmarks: chex.Array


def safe_norm(x: chex.Array) -> chex.Array:
  """Lengths of vectors f[..., d] -> f[...], with zero slope at zero."""
  sq = jnp.sum(x * x, axis=-1)
  near = sq <= 0.0
  return jnp.where(near, 0.0, jnp.sqrt(jnp.where(near, 1.0, sq)))


def contact_forces(positions: chex.Array, radii: chex.Array) -> chex.Array:
  """Forces that push bodies apart which touch.

  Args:
    positions: f[N, 2].
    radii: f[N].

  Returns:
    f[N, 2]; bodies at one place push each other nowhere.
  """
  gap = positions[:, None] - positions[None]
  distance = safe_norm(gap)
  touch = radii[:, None] + radii[None]
  depth = CONTACT_MARGIN * jnp.logaddexp(
    0.0, -(distance - touch) / CONTACT_MARGIN
  )
  apart = gap / jnp.where(distance > 0, distance, 1.0)[..., None]
  each = CONTACT_FORCE * apart * depth[..., None]
  return jnp.sum(each, axis=1)


def push(
  positions: chex.Array,
  velocities: chex.Array,
  actions: chex.Array,
  *,
  acceleration: chex.Numeric = ACCELERATION,
  radius: chex.Numeric = AGENT_RADIUS,
  collide: bool = True,
) -> tuple[chex.Array, chex.Array]:
  """Moves bodies by one step: by the old velocities, which then change.

  Args:
    positions: f[N, 2].
    velocities: f[N, 2].
    actions: i[N]: none, left, right, down, up.
    acceleration: of a control.
    radius: of all bodies.
    collide: whether they push each other (static).

  Returns:
    Positions and velocities.
  """
  table = jnp.asarray(DIRECTIONS, positions.dtype)
  force = acceleration * table[actions]
  if collide:
    radii = jnp.full(positions.shape[:1], radius, positions.dtype)
    force = force + contact_forces(positions, radii)
  positions = positions + velocities * TIME_STEP
  velocities = velocities * (1.0 - DAMPING) + force * TIME_STEP
  return positions, velocities


def others(n: int) -> jax.Array:
  """Ids of the others of each agent in their order, i32[N, N - 1]."""
  ids = jnp.arange(n - 1)[None]
  return ids + (ids >= jnp.arange(n)[:, None])


def simple_spread(
  *,
  num_agents: int = 3,
  max_steps: int = 25,
  local_ratio: float = 0.5,
  seen: str = 'full',
) -> _environment.Environment:
  """N agents cover N landmarks and are fined for collisions.

  Agents accelerate on a plane. A step earns agent i `local_ratio` times minus
  the number of agents within .3 of it, plus the rest times minus the sum over
  landmarks of the distance of the nearest agent.

  Args:
    num_agents: N.
    max_steps: of an episode, exactly (JaxMARL plays one more than it says).
    local_ratio: share of the reward that is the agent's own; traced
      (`params['local_ratio']`).
    seen: 'full': velocity, position, offsets of landmarks and of the others,
      and 2 (N - 1) zeros where messages would be, 6 N numbers; 'partial': the
      first 4 + 2 N, without the others.

  Returns:
    The game. It measures `collisions` by agent and episode and `distance`, the
    mean distance of a landmark from the nearest agent at the end.

  Raises:
    ValueError: if a number is out of range.

  Example:
    >>> env = simple_spread(num_agents=3)
    >>> seen, game = env.reset(jax.random.key(0))
    >>> seen.own.shape
    (3, 18)

  Source: Lowe et al. 2017 (https://arxiv.org/abs/1706.02275), cooperative
  navigation, with the numbers of its maintained releases.
  """
  n = checks.integer(num_agents, name='num_agents', low=1)
  checks.integer(max_steps, name='max_steps', low=1)
  checks.number(local_ratio, name='local_ratio', low=0.0, high=1.0)
  checks.choice(seen, ('full', 'partial'), name='seen')
  ids = None if n == 1 else others(n)

  def start(params, key):
    del params
    places = jax.random.uniform(key, (2 * n, 2), minval=-1.0, maxval=1.0)
    still = jnp.zeros((n, 2), places.dtype)
    return ParticleState(places[:n], still, places[n:])

  def observe(params, state):
    del params
    p, v = state.positions, state.velocities
    to_marks = (state.landmarks[None] - p[:, None]).reshape(n, -1)
    parts = [v, p, to_marks]
    if seen == 'full' and n > 1:
      offsets = p[ids] - p[:, None]
      parts += [offsets.reshape(n, -1), jnp.zeros((n, 2 * (n - 1)), p.dtype)]
    return _environment.Seen(jnp.concatenate(parts, axis=-1))

  def move(params, state, actions, key):
    del key
    p, v = push(state.positions, state.velocities, actions)
    state = state._replace(positions=p, velocities=v)
    gap = safe_norm(p[:, None] - p[None])
    near = (gap < 2 * AGENT_RADIUS) & ~jnp.eye(n, dtype=bool)
    hits = jnp.sum(near, axis=-1).astype(p.dtype)
    to_marks = safe_norm(state.landmarks[:, None] - p[None])
    nearest = jnp.min(to_marks, axis=-1)
    shared = -jnp.sum(nearest)
    own = params['local_ratio']
    reward = own * -hits + (1.0 - own) * shared
    facts = {'collisions': jnp.mean(hits), 'distance': jnp.mean(nearest)}
    return state, _environment.Outcome(reward, jnp.zeros((), bool), facts)

  def draw(params, state):
    del params
    return {'agents': state.positions, 'landmarks': state.landmarks}

  return _environment.Environment(
    params={'local_ratio': jnp.float32(local_ratio)},
    start=start,
    move=move,
    observe=observe,
    num_agents=n,
    own_size=6 * n if seen == 'full' else 4 + 2 * n,
    max_steps=max_steps,
    num_actions=5,
    name='simple_spread',
    facts=(('collisions', 'sum'), ('distance', 'last')),
    draw=draw,
  )
