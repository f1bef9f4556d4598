# SPDX-License-Identifier: Apache-2.0
"""Every notebook runs in smoke mode and matches its source."""

import json
import os
import pathlib
import subprocess
import sys

import jax
from absl.testing import absltest, parameterized

COLABS = pathlib.Path(__file__).parents[2] / 'colabs'
SOURCES = sorted(COLABS.glob('*.py'))


def _cells(path):
  import jupytext

  notebook = jupytext.read(path)
  return [(c.cell_type, c.source.strip()) for c in notebook.cells]


class NotebooksTest(parameterized.TestCase):
  def test_there_are_notebooks(self):
    self.assertNotEmpty(SOURCES)

  @parameterized.named_parameters((s.stem, s) for s in SOURCES)
  def test_runs(self, source):
    result = subprocess.run(
      [sys.executable, source.name],
      cwd=COLABS,
      env={
        **os.environ,
        'JAXDL_SMOKE': '1',
        'MPLBACKEND': 'Agg',
        'XLA_FLAGS': '',
        'JAX_COMPILATION_CACHE_DIR': jax.config.jax_compilation_cache_dir,
        'JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS': '0',
        'JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES': '0',
      },
      capture_output=True,
      text=True,
      check=False,
    )
    self.assertEqual(result.returncode, 0, result.stderr[-3000:])

  @parameterized.named_parameters((s.stem, s) for s in SOURCES)
  def test_is_paired(self, source):
    notebook = source.with_suffix('.ipynb')
    self.assertEqual(_cells(source), _cells(notebook))
    for cell in json.loads(notebook.read_text())['cells']:
      self.assertEqual(cell.get('outputs', []), [])
      self.assertIsNone(cell.get('execution_count'))


if __name__ == '__main__':
  absltest.main()
