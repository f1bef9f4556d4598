# SPDX-License-Identifier: Apache-2.0
"""Versions of jaxlib that compute wrong numbers."""

import os

from absl import logging

# On CPU, 0.10.2 miscomputes vmapped products of a matrix and a vector that are
# summed afterwards, over more than 32768 rows; both crash in the same fusion.
UNSOUND = ('0.10.2', '0.11.0')
REMEDY = '--xla_cpu_experimental_ynn_fusion_type='


def warn_if_unsound(version: str, flags: str | None = None) -> bool:
  """Warns if a version of jaxlib computes wrong numbers.

  Args:
    version: of jaxlib.
    flags: value of XLA_FLAGS; that of the environment if None.

  Returns:
    Whether it does, and no flag prevents it.
  """
  flags = os.environ.get('XLA_FLAGS', '') if flags is None else flags
  if version not in UNSOUND or REMEDY in flags.split():
    return False
  logging.warning(
    'jaxlib %s silently computes wrong sums on CPU and may crash: install '
    '0.10.1, or 0.11.1 and newer, or set XLA_FLAGS=%s before Python starts.',
    version,
    REMEDY,
  )
  return True
