# SPDX-License-Identifier: Apache-2.0
"""What is known about an algorithm; `core.registry.known` puts it there."""

import dataclasses
from collections.abc import Callable

import numpy as np

from jaxdl import mixing


def of_mixer(mixer: mixing.Mixer, num_rounds: int) -> np.ndarray:
  """Models that a client sends in each round of a mixer.

  Args:
    mixer: any with a matrix.
    num_rounds: T.

  Returns:
    float64[T].
  """
  sent = mixing.messages(mixer)
  return sent[np.arange(num_rounds) % len(sent)]


def meets(num_rounds: int, period: int) -> np.ndarray:
  """Which rounds are every H-th, bool[T]."""
  return (np.arange(num_rounds) + 1) % period == 0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Facts:
  """What whoever runs an algorithm by name must know.

  Attributes:
    over: what it communicates over: a 'mixer' or a 'graph'.
    weights: those of graphs whose topology names none; None for the usual ones.
    link: the topology where none is named.
    sent: `sent(link, num_rounds, **options)` -> models that a client sends on
      average in each round, float64[T] or one number; takes those options of
      the algorithm that it needs, by name.
  """

  over: str = 'mixer'
  weights: str | None = None
  link: str = 'ring'
  sent: Callable[..., np.ndarray | float] = of_mixer
