# SPDX-License-Identifier: Apache-2.0
"""Where agents look: a generated crossing, or files.

`make_world` makes one of `WORLDS` by name; a `World` draws a `Scene` from a
key. `bev_world` draws scenes of the generated one, `roads`. `opv2v` reads
folders, whose parts are `find_scenarios`, `read_scenes`, `read_pose` and
`read_labels`.
"""

from jaxdl.perception.cooperation.worlds._files import (
  WORLDS,
  find_scenarios,
  make_world,
  opv2v,
  read_labels,
  read_pose,
  read_scenes,
)
from jaxdl.perception.cooperation.worlds._roads import (
  Scene,
  World,
  bev_world,
  draw_scenes,
  roads,
)

__all__ = [
  'WORLDS',
  'Scene',
  'World',
  'bev_world',
  'draw_scenes',
  'find_scenarios',
  'make_world',
  'opv2v',
  'read_labels',
  'read_pose',
  'read_scenes',
  'roads',
]
