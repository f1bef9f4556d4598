# SPDX-License-Identifier: Apache-2.0
"""Experiments are on one device here.

The commands that `binaries_test` starts are on two devices, and their rows must
be those of the programs made here.
"""

from unittest import mock

import pytest

from jaxdl.experiment import supervised


@pytest.fixture(autouse=True)
def one_device():
  """Programs without collectives compile faster."""
  with mock.patch.object(supervised, 'mesh_or_none', return_value=None):
    yield
