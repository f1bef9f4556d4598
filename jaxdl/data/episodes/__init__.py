# SPDX-License-Identifier: Apache-2.0
"""Episodes of few-shot learning, and classes to draw them from.

- `sample_episode` draws N classes with K support and Q query examples of each
  from a `data.ClassTable`, `take_episode` collects their inputs;
  `check_episode` says on the host whether there are enough, `check_turns`
  whether their images can be turned.
- `glyphs` draws any number of classes of strokes (`--dataset=glyphs`).
"""

from jaxdl.data.episodes._glyphs import glyphs
from jaxdl.data.episodes._sampling import (
  Episode,
  check_episode,
  check_turns,
  sample_episode,
  take_episode,
)

__all__ = [
  'Episode',
  'check_episode',
  'check_turns',
  'glyphs',
  'sample_episode',
  'take_episode',
]
