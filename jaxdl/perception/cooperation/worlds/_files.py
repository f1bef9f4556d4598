# SPDX-License-Identifier: Apache-2.0
"""Folders like those of OPV2V: poses in YAML, labels seen from above in PNG.

    <scenario>/<agent>/000068.yaml                  lidar_pose: [x, y, z, roll,
                                                    yaw, pitch], meters, degrees
                      /000068_bev_dynamic.png       vehicles
                      /000068_bev_static.png        road
                      /000068_bev_lane.png          lanes, may be missing
                      /000068_bev_visibility.png    what is seen, may be missing

Images are centered on their agent and taken as what it sees: vehicles and road
where they are visible. Agents are in the order of their numbers, the first of
them is the ego. Coordinates are those of CARLA, y to the right of x.
"""

import math
import os
import pathlib
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxdl.core import checks, extras, registry
from jaxdl.perception.cooperation import _warp
from jaxdl.perception.cooperation.worlds import _roads

HEADINGS = ('up', 'right')
# Of a file; those of OPV2V have some kilobytes.
_MOST_BYTES = 16 << 20
_MOST_PIXELS = 4096 * 4096
_POSE = 'lidar_pose'
# Meters, and degrees; beyond, float32 has no cells.
_FAR = 1e9


class Place(NamedTuple):
  """A scenario: its agents and the frames that all of them have.

  Attributes:
    folder: of the scenario.
    agents: folders, the ego first.
    frames: stamps such as '000068', in order.
  """

  folder: pathlib.Path
  agents: tuple[pathlib.Path, ...]
  frames: tuple[str, ...]


def find_scenarios(
  folder: str | os.PathLike[str], *, agents_max: int
) -> list[Place]:
  """Lists the scenarios of a folder.

  Args:
    folder: with a folder per scenario.
    agents_max: most agents of one.

  Returns:
    Scenarios in the order of their names.

  Raises:
    ValueError: if there is none, one has too many agents, or agents share no
      frame.
  """
  most = checks.integer(agents_max, name='agents_max', low=1)
  root = pathlib.Path(folder)
  if not root.is_dir():
    raise ValueError(f'data_dir={root} is no folder.')
  found = []
  for place in sorted(p for p in root.iterdir() if p.is_dir()):
    agents = sorted(
      (p for p in place.iterdir() if p.is_dir() and _number(p.name)),
      key=lambda p: (int(p.name) < 0, int(p.name)),
    )
    if not agents:
      continue
    if len(agents) > most:
      raise ValueError(
        f'{place} has {len(agents)} agents, more than agents_max={most}.'
      )
    stamps = [
      {f.stem for f in agent.glob('*.yaml') if f.stem.isdecimal()}
      for agent in agents
    ]
    # Longer numbers are later, with or without zeros in front.
    shared = sorted(
      set.intersection(*stamps), key=lambda s: (len(s.lstrip('0')), s)
    )
    if not shared:
      raise ValueError(f'{place}: its agents have no frame in common.')
    found.append(Place(place, tuple(agents), tuple(shared)))
  if not found:
    raise ValueError(
      f'data_dir={root} has no scenario: need <scenario>/<agent>/<frame>.yaml '
      'with <agent> a number.'
    )
  return found


def _number(name):
  return name.removeprefix('-').isdecimal()


def read_pose(path: str | os.PathLike[str]) -> np.ndarray:
  """Reads where an agent is.

  Args:
    path: of a YAML file with `lidar_pose`.

  Returns:
    f64[3], x and y in meters, y to the left of x, and yaw in radians,
    counterclockwise.

  Raises:
    ValueError: if the file is missing, too large, or says something else.
  """
  yaml = extras.require('yaml', 'read_pose')
  text = _bytes(pathlib.Path(path))
  loader = getattr(yaml, 'CSafeLoader', yaml.SafeLoader)
  try:
    found = yaml.load(text, Loader=loader)
  # Readers of values with a wrong tag raise nearly anything.
  except Exception as error:
    reason = str(error) or type(error).__name__
    raise ValueError(f'{path} is no YAML: {reason}') from error
  pose = found.get(_POSE) if isinstance(found, dict) else None
  numbers = isinstance(pose, list) and all(
    isinstance(v, (int, float)) and not isinstance(v, bool) for v in pose
  )
  if not numbers or len(pose) != 6 or not all(abs(v) <= _FAR for v in pose):
    raise ValueError(
      f'{path} must have {_POSE}: [x, y, z, roll, yaw, pitch], six numbers of '
      f'at most {_FAR:g}.'
    )
  return np.array([pose[0], -pose[1], -math.radians(pose[4])])


def read_labels(
  path: str | os.PathLike[str], grid: int, *, heading: str = 'up'
) -> np.ndarray:
  """Reads an image of labels, and brings it to a grid.

  Args:
    path: of a PNG file; pixels of any color but black are set.
    grid: G; the image is as large or a multiple of it. A cell is set if one of
      its pixels is.
    heading: where the front of the agent points in the image, 'up' or 'right'.

  Returns:
    bool[G, G], the front to the right.

  Raises:
    ValueError: if the file is missing, no image, or its size does not fit.
  """
  grid = checks.integer(grid, name='grid', low=1)
  checks.choice(heading, HEADINGS, name='heading')
  image = extras.require('PIL.Image', 'read_labels')
  path = pathlib.Path(path)
  _bytes(path)
  try:
    with image.open(path, formats=('PNG',)) as opened:
      small = opened.width * opened.height <= _MOST_PIXELS
      pixels = _brightest(opened) if small else None
  # Readers of damaged images raise nearly anything.
  except Exception as error:
    raise ValueError(f'{path} is no PNG: {error}') from error
  if pixels is None:
    raise ValueError(f'{path} has more than {_MOST_PIXELS} pixels.')
  size = pixels.shape[0]
  if pixels.shape != (size, size) or size % grid:
    raise ValueError(
      f'{path} has {pixels.shape[1]} x {pixels.shape[0]} pixels: need a square '
      f'of a multiple of grid={grid}.'
    )
  block = size // grid
  cells = pixels.reshape(grid, block, grid, block).max(axis=(1, 3)) > 0
  return np.rot90(cells, -1) if heading == 'up' else cells


def _brightest(image):
  """The largest color of each pixel: a mean would round dark ones to black."""
  deep = image.mode[0] in 'IF'
  pixels = np.asarray(image if deep else image.convert('RGB'))
  return pixels if deep else pixels.max(axis=2)


def _bytes(path):
  """The contents of a file that is there and not too large."""
  try:
    if path.stat().st_size > _MOST_BYTES:
      raise ValueError(f'{path} is larger than {_MOST_BYTES} bytes.')
    return path.read_bytes()
  except OSError as error:
    raise ValueError(f'{path} cannot be read: {error.strerror}.') from error


def read_scenes(
  places: list[Place],
  *,
  grid: int,
  frames: int,
  agents_max: int,
  meters: float = 100.0,
  heading: str = 'up',
) -> _roads.Scene:
  """Reads scenarios, cut into pieces of so many frames.

  Args:
    places: of `find_scenarios`.
    grid: G.
    frames: T of a scene; what is left of a scenario is dropped.
    agents_max: A; agents that are not there are padding.
    meters: side of an image.
    heading: see `read_labels`.

  Returns:
    Scenes, leaves [S, ...], NumPy arrays; poses in cells.

  Raises:
    ValueError: if a file is missing or wrong, or no scenario is long enough.
  """
  checks.integer(grid, name='grid', low=1)
  length = checks.integer(frames, name='frames', low=1)
  most = checks.integer(agents_max, name='agents_max', low=1)
  checks.number(meters, name='meters', low=0.0, open_low=True)
  scenes = []
  for place in places:
    stamps = place.frames
    for start in range(0, len(stamps) - length + 1, length):
      scenes.append(
        _scene(place, stamps[start : start + length], grid, most, meters,
               heading)
      )  # fmt: skip
  if not scenes:
    longest = max(places, key=lambda p: len(p.frames), default=None)
    told = ''
    if longest is not None:
      told = f'; the most, {len(longest.frames)}, has {longest.folder}'
    raise ValueError(f'no scenario has frames={length} frames{told}.')
  return jax.tree.map(lambda *xs: np.stack(xs), *scenes)


def _scene(place, stamps, grid, most, meters, heading):
  shape = (len(stamps), most, grid, grid)
  dynamic, static = np.zeros(shape, np.int32), np.zeros(shape, np.int32)
  visible = np.zeros(shape, bool)
  poses = np.zeros((len(stamps), most, 3))
  for t, stamp in enumerate(stamps):
    for a, agent in enumerate(place.agents):
      poses[t, a] = read_pose(agent / f'{stamp}.yaml')
      read = lambda kind, agent=agent, stamp=stamp: read_labels(
        agent / f'{stamp}_bev_{kind}.png', grid, heading=heading
      )
      there = lambda kind, agent=agent, stamp=stamp: (
        agent / f'{stamp}_bev_{kind}.png'
      ).exists()
      dynamic[t, a] = read('dynamic')
      static[t, a] = read('static')
      if there('lane'):
        static[t, a] = np.where(read('lane'), 2, static[t, a])
      visible[t, a] = read('visibility') if there('visibility') else True
  # Small numbers, which float32 keeps: from where the ego was first.
  poses[..., :2] -= poses[0, 0, :2]
  poses[..., :2] /= meters / grid
  agents = np.arange(most) < len(place.agents)
  poses[:, ~agents] = 0.0
  inputs = np.stack(
    [dynamic * visible, (static > 0) * visible, visible], axis=-1
  )
  return _roads.Scene(
    inputs=inputs.astype(np.float32),
    poses=poses.astype(np.float32),
    there=agents,
    dynamic=dynamic,
    static=static,
    # Cells of vehicles, for want of a count.
    vehicles=np.array(dynamic[:, 0].sum() // len(stamps), np.int32),
  )


def opv2v(
  data_dir: str | os.PathLike[str] | None,
  *,
  grid: int = 256,
  frames: int = 5,
  agents: int = 5,
  meters: float = 100.0,
  heading: str = 'up',
  test_share: float = 0.2,
) -> _roads.World:
  """Scenes of files, see the module.

  With folders `train` and `test` in `data_dir` these are trained and tested on;
  else the last scenarios are tested on.

  Args:
    data_dir: where the files are.
    grid: G.
    frames: T of a scene.
    agents: most agents of one.
    meters: side of an image.
    heading: where the front of an agent points in the images.
    test_share: of the scenarios, where there are no such folders.

  Returns:
    The world; files are read when it is first drawn from.

  Raises:
    ValueError: if no folder is given or a number is out of range.
  """
  if not data_dir:
    raise ValueError('world=opv2v reads files: give --data_dir, their folder.')
  checks.number(
    test_share, name='test_share', low=0.0, high=1.0, open_low=True,
    open_high=True,
  )  # fmt: skip
  checks.integer(grid, name='grid', low=1)
  checks.integer(frames, name='frames', low=1)
  checks.integer(agents, name='agents', low=1)
  checks.choice(heading, HEADINGS, name='heading')
  kept: dict[str, Any] = {}

  def scenes(part):
    if not kept:
      root = pathlib.Path(data_dir)
      if (root / 'train').is_dir() and (root / 'test').is_dir():
        split = [
          find_scenarios(root / name, agents_max=agents)
          for name in ('train', 'test')
        ]
      else:
        every = find_scenarios(root, agents_max=agents)
        cut = len(every) - max(1, round(test_share * len(every)))
        # With a single scenario it is trained and tested on.
        split = [every[:cut] or every, every[cut:]]
      for name, places in zip(('train', 'test'), split, strict=True):
        kept[name] = read_scenes(
          places,
          grid=grid,
          frames=frames,
          agents_max=agents,
          meters=meters,
          heading=heading,
        )
    return kept[part]

  def drawing(part):
    def draw(key):
      own = scenes(part)
      at = jax.random.randint(key, (), 0, len(own.there))
      return jax.tree.map(lambda x: jnp.asarray(x)[at], own)

    return draw

  warp = _warp.WARPS.make('continuous')
  return _roads.World(
    drawing('train'), drawing('test'), warp, 'continuous', grid, frames, agents
  )


WORLDS = registry.Registry(
  'world', {'roads': _roads.roads, 'opv2v': opv2v}, given=('data_dir',)
)


def make_world(
  spec: str, *, data_dir: str | os.PathLike[str] | None = None
) -> _roads.World:
  """Makes a world.

  Args:
    spec: a part of `WORLDS`.
    data_dir: folder of the files, for those that read any.

  Returns:
    The world; one that is read is read when it is first drawn from.

  Raises:
    ValueError: if a name or an option is unknown or out of range, or a folder
      is missing.

  Example:
    >>> world = make_world('roads(grid=12, poses=quarter)')
    >>> world.grid, world.poses
    (12, 'quarter')
  """
  part = WORLDS.part(spec)
  if part.name == 'opv2v':
    return WORLDS.bound(part, data_dir)
  return WORLDS.bound(part)
