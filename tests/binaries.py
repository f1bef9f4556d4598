# SPDX-License-Identifier: Apache-2.0
"""Which binaries there are: found by what they are."""

import pathlib

FOLDER = pathlib.Path(__file__).parents[1] / 'experiments'
NAMES = sorted(
  p.stem for p in FOLDER.glob('*.py') if 'runner.binary(' in p.read_text()
)
