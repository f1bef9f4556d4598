# SPDX-License-Identifier: Apache-2.0
"""Detectors that are asked in words.

A prompt is a set of phrases, 'red circle . blue square .' (`split_prompt`; a
full stop separates). A detector gives every query a box and a score for each
phrase; the best 100 pairs of an image are its answer (`detections_of`), and no
threshold is applied: pictures show scores of .3 and more.

- Boxes: `to_corners`, `to_centers`, `pairwise_iou`, `pairwise_giou`, `giou`.
- Words: `make_vocabulary`, `encode_phrases`.
- Learning: `grounding_detector` of `DETECTORS` gives `Detections`, all layers
  of them; `matching_costs` and `match` say which query stands for which object,
  deterministically; `detection_loss` is focal, L1 and GIoU; `grounding` makes
  the task and `tuning` trains all of a model, or a part.
- Tests: `TestSet` of `make_test_set`, `detect`, `evaluator`; `Found` against
  `Truth` is `average_precision`, by the numbers of COCO, and
  `group_precision` its means over base, rare and novel categories;
  `coactivations` of experts.
- Images: `Scenes` are drawn by `draw_scenes`, with a long tail and novel pairs;
  `load_coco` and `read_pictures` read files of the COCO format. `SOURCES` has
  both by name, `draw_test_set` and `read_batch` take them.

Boxes of networks are (cx, cy, w, h) in shares of the image, those that are
scored (x, y, w, h) in pixels as in the files.
"""

from jaxdl.perception.detection._boxes import (
  giou,
  pairwise_giou,
  pairwise_iou,
  to_centers,
  to_corners,
)
from jaxdl.perception.detection._detector import (
  DETECTORS,
  detections_of,
  grounding_detector,
)
from jaxdl.perception.detection._files import (
  CocoSet,
  load_coco,
  read_pictures,
)
from jaxdl.perception.detection._losses import Detections, detection_loss
from jaxdl.perception.detection._matching import match, matching_costs
from jaxdl.perception.detection._precision import (
  Found,
  Precision,
  Truth,
  average_precision,
  group_precision,
)
from jaxdl.perception.detection._scenes import Scenes, draw_scenes
from jaxdl.perception.detection._sources import (
  SOURCES,
  CocoSource,
  coco,
  draw_test_set,
  read_batch,
)
from jaxdl.perception.detection._testing import (
  TestSet,
  coactivations,
  detect,
  evaluator,
  make_test_set,
)
from jaxdl.perception.detection._text import (
  encode_phrases,
  make_vocabulary,
  split_prompt,
)
from jaxdl.perception.detection._training import grounding, tuning

__all__ = [
  'CocoSet',
  'CocoSource',
  'DETECTORS',
  'Detections',
  'Found',
  'Precision',
  'SOURCES',
  'Scenes',
  'TestSet',
  'Truth',
  'average_precision',
  'coactivations',
  'coco',
  'detect',
  'detection_loss',
  'detections_of',
  'draw_scenes',
  'draw_test_set',
  'encode_phrases',
  'evaluator',
  'giou',
  'grounding',
  'grounding_detector',
  'group_precision',
  'load_coco',
  'make_test_set',
  'make_vocabulary',
  'match',
  'matching_costs',
  'pairwise_giou',
  'pairwise_iou',
  'read_batch',
  'read_pictures',
  'split_prompt',
  'to_centers',
  'to_corners',
  'tuning',
]
