# SPDX-License-Identifier: Apache-2.0
"""Every notebook runs in smoke mode and matches its source."""

import importlib.machinery
import importlib.util
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import tomllib
from unittest import mock

import processes
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
      env=processes.environment(quick=True, JAXDL_SMOKE='1'),
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

  def test_install_cells_are_the_same(self):
    cells = {_install_cell(source) for source in SOURCES}
    self.assertLen(cells, 1)
    # What the user fills in comes first.
    code = [line for line in cells.pop().splitlines() if line[:1] != '#']
    self.assertEqual(code[0], "SOURCE = ''")


def _install_cell(source):
  return next(text for _, text in _cells(source) if "SOURCE = ''" in text)


class InstallTest(parameterized.TestCase):
  """The cell that installs, with a pip that only notes what it is told."""

  def setUp(self):
    super().setUp()
    self.folder = pathlib.Path(
      self.enter_context(tempfile.TemporaryDirectory())
    ).resolve()
    self.addCleanup(os.chdir, os.getcwd())
    os.chdir(self.folder)

  def install(self, source='', package=None):
    """Runs the cell where Python finds `package`; returns pip's arguments."""
    cell = _install_cell(SOURCES[0])
    cell = cell.replace("SOURCE = ''", f'SOURCE = {source!r}', 1)
    spec = None
    if package is not None:
      spec = importlib.machinery.ModuleSpec('jaxdl', None, is_package=True)
      spec.submodule_search_locations.append(str(package))
    with (
      mock.patch.object(importlib.util, 'find_spec', return_value=spec),
      mock.patch.object(subprocess, 'run') as run,
    ):
      exec(compile(cell, 'cell', 'exec'), {})
    return [call.args[0] for call in run.call_args_list]

  def checkout(self, name):
    project = self.folder / 'checkout' / 'pyproject.toml'
    (project.parent / 'colabs').mkdir(parents=True)
    project.write_text(f'[project]\nname = "{name}"\n')
    os.chdir(project.parent / 'colabs')
    return project.parent

  def test_name_is_the_projects(self):
    project = tomllib.loads((COLABS.parent / 'pyproject.toml').read_text())
    name = project['project']['name']
    self.assertNotEqual(name, 'jaxdl')  # On PyPI that is another project.
    self.assertIn(f"NAME = '{name}'", _install_cell(SOURCES[0]))

  @parameterized.parameters('wheel', 'folder')
  def test_takes_what_the_user_names(self, kind):
    source = self.folder / ('jaxdl.whl' if kind == 'wheel' else 'tree')
    source.touch() if kind == 'wheel' else source.mkdir()
    (command,) = self.install(str(source))
    self.assertEqual(command[:4], [sys.executable, '-m', 'pip', 'install'])
    self.assertEqual(
      command[-1], f'jaxdl-research[experiments] @ {source.as_uri()}'
    )

  def test_takes_an_address(self):
    address = 'git+https://example.org/jaxdl.git'
    (command,) = self.install(address)
    self.assertEqual(command[-1], f'jaxdl-research[experiments] @ {address}')

  def test_takes_the_checkout_around_it(self):
    root = self.checkout('jaxdl-research')
    (command,) = self.install()
    self.assertEqual(
      command[-1], f'jaxdl-research[experiments] @ {root.as_uri()}'
    )

  def test_never_takes_a_name(self):
    self.checkout('jaxdl')
    with self.assertRaisesRegex(RuntimeError, 'no checkout of it is around'):
      self.install()
    with self.assertRaisesRegex(RuntimeError, "SOURCE='jaxdl' is neither"):
      self.install('jaxdl')

  def test_installs_nothing_where_it_is_there(self):
    self.assertEmpty(self.install(package=COLABS.parent / 'jaxdl'))

  def test_refuses_a_namesake(self):
    with self.assertRaisesRegex(RuntimeError, 'pip uninstall'):
      self.install(package=self.folder)


if __name__ == '__main__':
  absltest.main()
