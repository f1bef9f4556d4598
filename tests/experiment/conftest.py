# SPDX-License-Identifier: Apache-2.0
"""Garbage of these tests only, where damaged checkpoints are read."""

import gc

import pytest


@pytest.fixture(autouse=True, scope='module')
def young_garbage():
  """Keeps collections short: what other files left is not looked at again."""
  gc.collect()
  gc.freeze()
  yield
  gc.unfreeze()
