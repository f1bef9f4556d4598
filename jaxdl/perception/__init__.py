# SPDX-License-Identifier: Apache-2.0
"""Perception: what images and feature maps show, alone and together.

- `experts`: mixtures of experts cut from a dense feed-forward network, for any
  network; routing, gates, balance, statistics of which experts work together.
- `detection`: boxes, matching, losses and average precision; a small detector
  that is asked in words; generated scenes and files of the COCO format.
- `cooperation`: vehicles that share channels of bird's-eye feature maps where
  they are uncertain; fusion, bandwidth, warps and a generated world.
"""
