# SPDX-License-Identifier: Apache-2.0
"""Labels that are wrong."""

import numpy as np

from jaxdl.core import checks
from jaxdl.data import _dataset


def noisy_labels(
  rng: np.random.Generator,
  labels: np.ndarray,
  num_classes: int,
  *,
  share: float,
) -> np.ndarray:
  """Replaces a share of the labels by uniform draws.

  A draw may hit the true class, so that `share (1 - 1 / num_classes)` of the
  labels are wrong on average.

  Args:
    rng: host generator; advanced.
    labels: i[n] in [0, num_classes).
    num_classes: K >= 1.
    share: in [0, 1], of the labels, rounded to the nearest number of them.

  Returns:
    i[n], same dtype.

  Raises:
    ValueError: if a label or the share is out of range.
    TypeError: if labels are no integers.

  Example:
    >>> rng = np.random.default_rng(0)
    >>> int((noisy_labels(rng, np.zeros(1000, int), 10, share=0.2) > 0).sum())
    184

  Source: symmetric noise as in van Rooyen et al. 2015
    (https://arxiv.org/abs/1505.07634), section 2.
  """
  _dataset.require_generator(rng)
  checks.integer(num_classes, name='num_classes', low=1)
  checks.number(share, name='share', low=0.0, high=1.0)
  labels = checks.host_array(labels, name='labels')
  checks.class_labels(labels, num_classes)
  out = np.array(labels)
  count = round(share * len(out))
  chosen = rng.choice(len(out), count, replace=False)
  out[chosen] = rng.integers(num_classes, size=count)
  return out
