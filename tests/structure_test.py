# SPDX-License-Identifier: Apache-2.0
"""The house stands: files import lower floors only, and never in a circle."""

import ast
import functools
import pathlib
import subprocess
import sys

from absl.testing import absltest, parameterized

ROOT = pathlib.Path(__file__).parents[1]
FLOORS = {
  'core': 1,
  'plots': 1,
  'aggregators': 2,
  'attacks': 2,
  'coding': 2,
  'compression': 2,
  'data': 2,
  'distillation': 3,
  'experiment': 2,
  'graphs': 2,
  'metrics': 2,
  'mixing': 2,
  'networks': 2,
  'parallel': 2,
  'privacy': 2,
  'combinatorial': 3,
  'local': 3,
  'operators': 3,
  'pde': 3,
  'perception': 3,
  'pruning': 3,
  'theory': 3,
  'agents': 4,
  'decentralized': 4,
  'federated': 4,
  'language': 4,
  'problems': 5,
}
# The machine must not know what is learned.
ALLOWED = {
  'experiment': {'core', 'metrics', 'parallel', 'plots'},
  'plots': {'core'},
}
MOST_NAMES = 64


@functools.cache
def modules():
  """Files of the library by dotted name."""
  found = {}
  for path in sorted((ROOT / 'jaxdl').rglob('*.py')):
    parts = path.relative_to(ROOT).with_suffix('').parts
    name = '.'.join(parts[:-1] if parts[-1] == '__init__' else parts)
    found[name] = path
  return found


@functools.cache
def imports(name):
  """Modules of the library that a file imports, wherever it does."""
  known, found = modules(), set()
  for node in ast.walk(ast.parse(known[name].read_text())):
    if isinstance(node, ast.ImportFrom) and node.module:
      for alias in node.names:
        full = f'{node.module}.{alias.name}'
        found.add(full if full in known else node.module)
    elif isinstance(node, ast.Import):
      found |= {alias.name for alias in node.names}
  return found & known.keys()


def folder(name):
  parts = name.split('.')
  return parts[1] if len(parts) > 1 else ''


class StructureTest(parameterized.TestCase):
  def test_every_folder_has_a_floor(self):
    folders = {p.parent.name for p in (ROOT / 'jaxdl').glob('*/__init__.py')}
    self.assertEqual(folders, set(FLOORS))

  def test_no_arrow_goes_up(self):
    wrong = [
      f'{name} -> {other}'
      for name in modules()
      if folder(name) in FLOORS
      for other in imports(name)
      if folder(other) in FLOORS
      and FLOORS[folder(other)] > FLOORS[folder(name)]
    ]
    self.assertEqual(wrong, [])

  @parameterized.parameters(*ALLOWED)
  def test_the_machine_knows_nothing_of_learning(self, room):
    wrong = [
      f'{name} -> {other}'
      for name in modules()
      if folder(name) == room
      for other in imports(name)
      if folder(other) not in {room, '', *ALLOWED[room]}
    ]
    self.assertEqual(wrong, [])

  def test_no_folders_import_each_other(self):
    arrows = {
      (folder(name), folder(other))
      for name in modules()
      for other in imports(name)
      if folder(name) and folder(other) and folder(name) != folder(other)
    }
    self.assertEqual([a for a in sorted(arrows) if a[::-1] in arrows], [])

  def test_no_files_import_each_other_in_a_circle(self):
    # A package that hands names on is no part of a circle.
    faces = {n for n, p in modules().items() if p.name == '__init__.py'}
    state = {}

    def visit(name, path):
      if state.get(name) == 'done':
        return
      self.assertNotEqual(state.get(name), 'open', ' -> '.join((*path, name)))
      state[name] = 'open'
      for other in sorted(imports(name) - faces):
        visit(other, (*path, name))
      state[name] = 'done'

    for name in modules():
      if name not in faces:
        visit(name, ())

  @parameterized.parameters(*FLOORS)
  def test_packages_show_few_names(self, room):
    code = f'import jaxdl.{room} as p; print(len(getattr(p, "__all__", ())))'
    done = subprocess.run(
      [sys.executable, '-c', code],
      capture_output=True,
      text=True,
      check=True,
      cwd=ROOT,
    )
    self.assertLessEqual(int(done.stdout), MOST_NAMES)

  def test_experiments_have_no_satellites(self):
    files = {p.name for p in (ROOT / 'experiments').glob('_*.py')}
    self.assertEqual(files, {'__init__.py'})


HEAVY = {
  'jaxdl.agents': ('flax.nnx', 'scipy.optimize', 'matplotlib', 'sklearn'),
  'jaxdl.combinatorial': (
    'flax.nnx',
    'scipy.optimize',
    'matplotlib',
    'elkai',
    'ortools',
    'pyvrp',
    'vrplib',
  ),
  'jaxdl.coding': ('flax', 'scipy.optimize', 'matplotlib'),
  'jaxdl.core': ('flax', 'scipy.optimize', 'matplotlib', 'networkx'),
  'jaxdl.experiment': ('flax', 'scipy.optimize', 'matplotlib', 'orbax'),
  'jaxdl.language': ('flax', 'matplotlib', 'openai', 'yaml'),
  'jaxdl.mixing': ('flax', 'scipy.optimize', 'matplotlib'),
  'jaxdl.networks': ('flax.nnx', 'matplotlib'),
  'jaxdl.operators': ('flax.nnx', 'matplotlib'),
  'jaxdl.decentralized': ('flax.nnx', 'scipy.optimize', 'matplotlib'),
  'jaxdl.parallel': ('flax', 'scipy', 'matplotlib', 'networkx', 'optax'),
  'jaxdl.perception': ('flax.nnx', 'scipy', 'matplotlib', 'PIL', 'yaml'),
  'jaxdl.problems': ('flax.nnx', 'scipy.optimize', 'matplotlib', 'sklearn'),
  'jaxdl.pruning': ('flax.nnx', 'scipy.optimize', 'matplotlib'),
}


class ImportTimeTest(parameterized.TestCase):
  @parameterized.parameters(*HEAVY)
  def test_imports_only_what_it_uses(self, name):
    code = (
      f'import sys, {name}; '
      f'print([m for m in {HEAVY[name]!r} if m in sys.modules])'
    )
    done = subprocess.run(
      [sys.executable, '-c', code],
      capture_output=True,
      text=True,
      check=True,
      cwd=ROOT,
    )
    self.assertEqual(done.stdout.strip(), '[]')


if __name__ == '__main__':
  absltest.main()
