# SPDX-License-Identifier: Apache-2.0
"""A generated world of two roads, seen by several agents in bits.

All of it is drawn from a key, on the device: a scene per key.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp

from jaxdl.core import checks
from jaxdl.perception.cooperation import _warp

POSES = ('identity', 'quarter', 'continuous')
CROSSINGS = ('center', 'anywhere')
# Of what an agent sees: vehicles, road, and where it sees at all.
NUM_INPUTS = 3
_HALF_ROAD = 1
_LENGTH = 2


class Scene(NamedTuple):
  """Some frames of a place, as the agents there see it and as it is.

  Attributes:
    inputs: f[T, A, G, G, 3], what each agent sees in its own frame: visible
      vehicles, visible road, visibility.
    poses: f[T, A, 3], x, y in cells and yaw in radians of each frame.
    there: bool[A], which agents are no padding; the ego, agent 0, is there.
    dynamic: i[T, A, G, G], 1 where a vehicle is, in each agent's frame.
    static: i[T, A, G, G], 0 nothing, 1 road, 2 the middle of one.
    vehicles: i[], how many there are.
  """

  inputs: chex.Array
  poses: chex.Array
  there: chex.Array
  dynamic: chex.Array
  static: chex.Array
  vehicles: chex.Array


class World(NamedTuple):
  """Where scenes come from.

  Attributes:
    draw: `draw(key) -> Scene`; consumes the key.
    draw_test: likewise, of those that are tested on.
    warp: from one agent's frame to another's.
    poses: one of `POSES`.
    grid: G.
    frames: T.
    agents: A.
  """

  draw: Callable[[chex.PRNGKey], Scene]
  draw_test: Callable[[chex.PRNGKey], Scene]
  warp: _warp.Warp
  poses: str
  grid: int
  frames: int
  agents: int


def roads(
  *,
  grid: int = 20,
  frames: int = 5,
  agents: int = 4,
  agents_min: int | None = None,
  radius: float = 6.0,
  vehicles: Sequence[int] = (2, 12),
  poses: str = 'identity',
  buildings: int = 0,
  crossing: str = 'anywhere',
) -> World:
  """A crossing with vehicles that wrap around, and agents that look.

  Two roads of three cells cross. Vehicles, two cells long, keep to
  their lanes at -2 to 2 cells per frame. Agent 0 stands in the middle, the
  others anywhere; each sees a disc, less what buildings hide.

  Args:
    grid: G >= 8 cells per side.
    frames: T >= 1.
    agents: A >= 1, at most so many.
    agents_min: at least so many are there; A if None.
    radius: of the disc, in cells.
    vehicles: the fewest and the most; a scene draws its number.
    poses: 'identity' (one frame for all), or frames around each agent on
      'quarter' turns or 'continuous' ones.
    buildings: rectangles beside the roads that block the view.
    crossing: where the roads cross, in the 'center' or 'anywhere'.

  Returns:
    The world.

  Raises:
    ValueError: if a number is out of range or poses are unknown.

  Example:
    >>> world = roads(grid=8, frames=2, agents=2)
    >>> scene = world.draw(jax.random.key(0))
    >>> scene.inputs.shape, scene.dynamic.shape
    ((2, 2, 8, 8, 3), (2, 2, 8, 8))
  """
  g = checks.integer(grid, name='grid', low=8)
  t = checks.integer(frames, name='frames', low=1)
  a = checks.integer(agents, name='agents', low=1)
  least = a if agents_min is None else agents_min
  least = checks.integer(least, name='agents_min', low=1)
  if least > a:
    raise ValueError(f'agents_min={least} exceeds agents={a}.')
  checks.number(radius, name='radius', low=0.0, open_low=True)
  few, most = _span(vehicles)
  checks.choice(poses, POSES, name='poses')
  b = checks.integer(buildings, name='buildings', low=0)
  checks.choice(crossing, CROSSINGS, name='crossing')

  def draw(key):
    keys = dict(
      zip(
        ('roads', 'vehicles', 'agents', 'buildings', 'count'),
        jax.random.split(key, 5),
        strict=True,
      )
    )
    static, middle = _static(keys['roads'], g, crossing)
    occupied, count = _traffic(keys['vehicles'], g, t, few, most, middle)
    cells, yaw = _places(keys['agents'], g, a, poses)
    blocked = None
    if b:
      blocked = _buildings(keys['buildings'], g, b, static, cells)
    visible = _visible(cells, g, radius, blocked)
    number = a
    if least < a:
      number = jax.random.randint(keys['count'], (), least, a + 1)
    there = jnp.arange(a) < number
    return _seen(static, occupied, visible, cells, yaw, there, count, poses)

  return World(draw, draw, _warp.WARPS.make(poses), poses, g, t, a)


def bev_world(
  key: chex.PRNGKey, scenes: int = 1, **options: Any
) -> tuple[Scene, World]:
  """Draws scenes of a generated world.

  Args:
    key: consumed.
    scenes: S.
    **options: of `roads`.

  Returns:
    Scenes, leaves [S, ...], and the world.

  Raises:
    ValueError: if an option is out of range.

  Example:
    >>> scenes, _ = bev_world(jax.random.key(0), 3, grid=8, frames=2)
    >>> scenes.vehicles.shape
    (3,)
  """
  count = checks.integer(scenes, name='scenes', low=1)
  world = roads(**options)
  return draw_scenes(world, key, count), world


def draw_scenes(
  world: World, key: chex.PRNGKey, count: int, *, test: bool = False
) -> Scene:
  """Draws scenes.

  Args:
    world: where from.
    key: consumed.
    count: S.
    test: whether they are for a test (static).

  Returns:
    Leaves [S, ...].
  """
  draw = world.draw_test if test else world.draw
  return jax.vmap(draw)(jax.random.split(key, count))


def _span(vehicles):
  values = tuple(vehicles) if isinstance(vehicles, (list, tuple)) else ()
  if len(values) != 2:
    raise ValueError(
      f'vehicles must be two numbers, the fewest and the most; got {vehicles}.'
    )
  few = checks.integer(values[0], name='vehicles', low=0)
  most = checks.integer(values[1], name='vehicles', low=0)
  if few > most or most == 0:
    raise ValueError(
      f'vehicles={values} must be the fewest and then the most, at least one.'
    )
  return few, most


def _static(key, g, crossing):
  """Classes of the map, i[G, G], and the middles of both roads, i[2]."""
  middle = jnp.full((2,), g // 2)
  if crossing == 'anywhere':
    middle = jax.random.randint(key, (2,), 2, g - 2)
  gap = jnp.abs(jnp.arange(g)[None] - middle[:, None])
  row, column = gap[0][:, None], gap[1][None, :]
  on = (row <= _HALF_ROAD) | (column <= _HALF_ROAD)
  lane = (row == 0) | (column == 0)
  return on.astype(jnp.int32) + lane.astype(jnp.int32), middle


def _traffic(key, g, t, few, most, middle):
  """Where vehicles are, bool[T, G, G], and how many."""
  # One draw, cut into whole numbers, compiles faster than a draw for each.
  drawn = jax.random.uniform(key, (most + 1, 4))
  below = lambda u, n: jnp.minimum((u * n).astype(jnp.int32), n - 1)
  count = few + below(drawn[most, 0], most - few + 1)
  upright = drawn[:most, 0] < 0.5
  lane = below(drawn[:most, 1], 2 * _HALF_ROAD + 1) - _HALF_ROAD
  place = below(drawn[:most, 2], g)
  speed = below(drawn[:most, 3], 5) - 2
  steps = jnp.arange(t)[:, None, None]
  along = place[None, :, None] + speed[None, :, None] * steps
  along = (along + jnp.arange(_LENGTH)[None, None]) % g  # [T, K, 2].
  across = jnp.where(upright, middle[1], middle[0]) + lane
  across = jnp.broadcast_to(across[None, :, None], along.shape)
  up = upright[None, :, None]
  row, column = jnp.where(up, along, across), jnp.where(up, across, along)
  real = jnp.broadcast_to((jnp.arange(most) < count)[:, None], along.shape)
  time = jnp.broadcast_to(steps, along.shape)
  empty = jnp.zeros((t, g, g), bool)
  return empty.at[time, row, column].max(real), count


def _places(key, g, a, poses):
  """Cells of the agents, i[A, 2] (row, column), and their yaws, f[A]."""
  cell_key, yaw_key = jax.random.split(key)
  cells = jax.random.randint(cell_key, (a, 2), 0, g)
  cells = cells.at[0].set(g // 2)
  if poses == 'identity':
    return cells, jnp.zeros((a,))
  if poses == 'quarter':
    turns = jax.random.randint(yaw_key, (a,), 0, 4)
    return cells, turns * (jnp.pi / 2)
  return cells, jax.random.uniform(yaw_key, (a,), maxval=2 * jnp.pi)


def _buildings(key, g, count, static, cells):
  """Rectangles beside the roads, not on an agent, bool[G, G]."""
  corner_key, size_key = jax.random.split(key)
  corner = jax.random.randint(corner_key, (count, 2), 0, g)
  size = jax.random.randint(size_key, (count, 2), 2, max(3, g // 4))
  at = jnp.arange(g)
  within = lambda k: (
    (at[None] >= corner[:, k, None]) & (at[None] < (corner + size)[:, k, None])
  )
  walls = jnp.any(within(0)[:, :, None] & within(1)[:, None, :], axis=0)
  walls &= static == 0
  return walls.at[cells[:, 0], cells[:, 1]].set(False)


def _visible(cells, g, radius, blocked):
  """What each agent sees of the world, bool[A, G, G]."""
  at = jnp.arange(g)
  rows = at[None, :, None] - cells[:, 0, None, None]
  columns = at[None, None, :] - cells[:, 1, None, None]
  disc = rows**2 + columns**2 <= radius**2
  if blocked is None:
    return disc
  # Cells on the way, without the ends.
  n = 2 * g
  part = (jnp.arange(n) + 0.5) / n
  step = lambda gap: jnp.rint(gap[..., None] * part[None, None, None]).astype(
    jnp.int32
  )
  down, right = step(rows), step(columns)
  down, right = jnp.broadcast_arrays(down, right)  # [A, G, G, n].
  end = (down == rows[..., None]) & (right == columns[..., None])
  hit = blocked[
    cells[:, 0, None, None, None] + down, cells[:, 1, None, None, None] + right
  ]
  return disc & ~jnp.any(hit & ~end, axis=-1)


def _seen(static, occupied, visible, cells, yaw, there, count, poses):
  """Puts everything into the frames of the agents."""
  t, g, _ = occupied.shape
  a = len(cells)
  if poses == 'identity':
    pose = jnp.zeros((a, 3))
    look = lambda raster, i: raster
  else:
    # From the middle of the grid to that of the agent's frame, whole cells.
    x = (cells[:, 1] - g // 2).astype(jnp.float32)
    y = (g // 2 - cells[:, 0]).astype(jnp.float32)
    pose = jnp.stack([x, y, yaw.astype(jnp.float32)], axis=1)
    world = jnp.zeros((3,))
    rows, columns, inside = jax.vmap(
      lambda p: _world_cells(p, g, poses, world)
    )(pose)
    look = lambda raster, i: jnp.where(
      jnp.broadcast_to(inside[i], raster.shape),
      raster[..., rows[i], columns[i]],
      0,
    )

  def frame(i):
    seen = look(visible[i].astype(jnp.int32), i)
    moving = look(occupied.astype(jnp.int32), i)
    fixed = look(static, i)
    fixed = jnp.broadcast_to(fixed, moving.shape)
    sees = jnp.broadcast_to(seen, moving.shape)
    inputs = jnp.stack(
      [moving * sees, (fixed > 0) * sees, sees], axis=-1
    ).astype(jnp.float32)
    return inputs, moving, fixed

  parts = [frame(i) for i in range(a)]
  inputs, moving, fixed = (
    jnp.stack([p[k] for p in parts], axis=1) for k in range(3)
  )
  return Scene(
    inputs=jnp.where(there[None, :, None, None, None], inputs, 0.0),
    poses=jnp.broadcast_to(pose, (t, a, 3)),
    there=there,
    dynamic=moving,
    static=fixed,
    vehicles=count,
  )


def _world_cells(pose, g, poses, world):
  """Which cell of the world lies at each of an agent's, if any."""
  if poses == 'quarter':
    numbers = jnp.arange(g * g, dtype=jnp.int32).reshape(1, g, g)
    found, inside = _warp.warp_quarter(
      numbers, *_warp.relative_quarter(world, pose)
    )
    return found[0] // g, found[0] % g, inside
  matrix = _warp.pose_matrix(pose)
  x = jnp.arange(g) - (g - 1) / 2
  y = (g - 1) / 2 - jnp.arange(g)
  wx = matrix[0, 0] * x[None] + matrix[0, 1] * y[:, None] + matrix[0, 2]
  wy = matrix[1, 0] * x[None] + matrix[1, 1] * y[:, None] + matrix[1, 2]
  columns = jnp.rint(wx + (g - 1) / 2).astype(jnp.int32)
  rows = jnp.rint((g - 1) / 2 - wy).astype(jnp.int32)
  inside = (rows >= 0) & (rows < g) & (columns >= 0) & (columns < g)
  return jnp.clip(rows, 0, g - 1), jnp.clip(columns, 0, g - 1), inside
