# SPDX-License-Identifier: Apache-2.0
"""Pictures drawn from the rows of `metrics.jsonl`.

Each function draws one PNG and returns its path, so an experiment lists them as

    plots=(
      lambda rows, out: plots.lines(rows, out / 'accuracy.png', 'accuracy'),
    )

Seeds are averaged; bands and bars are one standard deviation (N - 1). Colors
are told apart with any color vision.
"""

from jaxdl.plots._birds_eye import birds_eye, masks
from jaxdl.plots._boxes import boxes
from jaxdl.plots._curves import aligned, bars, lines, log_log, paces
from jaxdl.plots._episodes import animation, frames, matrices
from jaxdl.plots._figures import rounding
from jaxdl.plots._functions import functions
from jaxdl.plots._graphs import draw_topologies
from jaxdl.plots._heat_maps import heat_map, weights_heat_map
from jaxdl.plots._polygons import polygon
from jaxdl.plots._reliability import reliability
from jaxdl.plots._tours import improvement, solutions
from jaxdl.plots._training import (
  last_functions,
  last_rows,
  resolutions,
  side_by_side,
  spectrum,
  sweep,
  training,
)

__all__ = [
  'aligned',
  'animation',
  'bars',
  'boxes',
  'birds_eye',
  'draw_topologies',
  'frames',
  'functions',
  'heat_map',
  'improvement',
  'last_functions',
  'last_rows',
  'lines',
  'log_log',
  'masks',
  'matrices',
  'paces',
  'polygon',
  'reliability',
  'resolutions',
  'rounding',
  'side_by_side',
  'solutions',
  'spectrum',
  'sweep',
  'training',
  'weights_heat_map',
]
