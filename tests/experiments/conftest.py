# SPDX-License-Identifier: Apache-2.0
"""Experiments are on one device here.

The commands that `binaries_test` starts are on two devices, and their rows must
be those of the programs made here.
"""

from unittest import mock

import jax
import pytest


@pytest.fixture(autouse=True)
def one_device():
  """Programs without collectives compile faster."""
  with mock.patch.object(jax, 'device_count', return_value=1):
    yield
