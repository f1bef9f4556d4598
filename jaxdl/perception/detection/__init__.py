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
from jaxdl.perception.detection._text import (
  encode_phrases,
  make_vocabulary,
  split_prompt,
)

__all__ = [
  'DETECTORS',
  'Detections',
  'Found',
  'Precision',
  'Scenes',
  'Truth',
  'average_precision',
  'detection_loss',
  'detections_of',
  'draw_scenes',
  'encode_phrases',
  'giou',
  'group_precision',
  'grounding_detector',
  'make_vocabulary',
  'match',
  'matching_costs',
  'pairwise_giou',
  'pairwise_iou',
  'split_prompt',
  'to_centers',
  'to_corners',
]
