# SPDX-License-Identifier: Apache-2.0
"""Detectors that are asked in words."""

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
