# SPDX-License-Identifier: Apache-2.0
"""Every flag of a binary is read by what the binary builds.

A knob that nothing reads is a flag without effect. Modules are read, not run:
from `build` on, every name that a function mentions is followed, and whatever
is taken from `config` or `self` on the way counts.
"""

import ast
import functools
import pathlib
import subprocess
import sys

from absl.testing import absltest, parameterized

ROOT = pathlib.Path(__file__).parents[2]
BINARIES = sorted(
  p.stem
  for p in (ROOT / 'experiments').glob('*.py')
  if 'runner.main(Config' in p.read_text()
)
PACKAGES = {
  'jaxdl.experiment': 'jaxdl/experiment',
  'experiments': 'experiments',
}
# Not what is computed from, but how a configuration is checked and changed.
IGNORED = {'validate', 'smoked', 'ineffective', 'check_options'}


@functools.cache
def _module(name):
  """Top-level definitions of a module, and what its imports are called."""
  package, _, stem = name.rpartition('.')
  if package not in PACKAGES:
    return None
  path = ROOT / PACKAGES[package] / f'{stem}.py'
  if not path.exists():
    return None
  known, imported = {}, {}
  for node in ast.parse(path.read_text()).body:
    if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
      known[node.name] = node
    elif isinstance(node, (ast.Assign, ast.AnnAssign)):
      target = node.targets[0] if isinstance(node, ast.Assign) else node.target
      if isinstance(target, ast.Name):
        known[target.id] = node
    elif isinstance(node, ast.ImportFrom):
      for alias in node.names:
        imported[alias.asname or alias.name] = f'{node.module}.{alias.name}'
  return known, imported


def _bases(module, cls):
  """A class with those it inherits from, as (module, node)."""
  known, imported = _module(module)
  yield module, known[cls]
  for base in known[cls].bases:
    if isinstance(base, ast.Attribute):
      where, name = imported.get(base.value.id, ''), base.attr
    else:
      where, name = module, base.id
    if where and _module(where) and name in _module(where)[0]:
      yield from _bases(where, name)


def _knobs(module):
  """Names of the flags that not every binary has, `unused` ones left out."""
  found, unused = set(), set()
  for _, cls in _bases(module, 'Config'):
    fields = {
      node.target.id
      for node in cls.body
      if isinstance(node, ast.AnnAssign) and 'knob(' in ast.unparse(node)
    }
    if cls.name == 'BaseConfig':
      unused |= fields
    found |= fields
    for node in cls.body:
      if isinstance(node, ast.Assign) and node.targets[0].id == 'unused':
        unused |= set(ast.literal_eval(node.value))
  return found - unused


def _read(module):
  """Knobs read by `build`, `run` and all that they mention."""
  methods = {
    node.name: (where, node)
    for where, cls in reversed(list(_bases(module, 'Config')))
    for node in cls.body
    if isinstance(node, ast.FunctionDef) and node.name not in IGNORED
  }
  read, seen = set(), set()
  todo = [(module, _module(module)[0][name]) for name in ('build', 'run')]
  while todo:
    where, node = todo.pop()
    if id(node) in seen or isinstance(node, ast.ClassDef):
      continue
    seen.add(id(node))
    known, imported = _module(where)
    for part in ast.walk(node):
      if isinstance(part, ast.Name) and part.id in known:
        todo.append((where, known[part.id]))
      if not isinstance(part, ast.Attribute):
        continue
      if not isinstance(part.value, ast.Name):
        continue
      owner = part.value.id
      if owner in ('config', 'self'):
        read.add(part.attr)
        if part.attr in methods:
          todo.append(methods[part.attr])
      elif _module(imported.get(owner, '')):
        other = imported[owner]
        if part.attr in _module(other)[0]:
          todo.append((other, _module(other)[0][part.attr]))
    if getattr(node, 'name', '') == '_options' and where.endswith('gossip'):
      # By the name of the topology's option.
      read |= set(ast.literal_eval(_module(where)[0]['OPTIONS'].value))
  return read


class KnobsTest(parameterized.TestCase):
  @parameterized.parameters(*BINARIES)
  def test_something_reads_every_flag(self, name):
    module = f'experiments.{name}'
    knobs = _knobs(module)
    self.assertNotEmpty(knobs)
    self.assertEqual(sorted(knobs - _read(module)), [])

  def test_a_flag_that_nothing_reads_is_found(self):
    self.assertNotIn('weight_decay', _read('experiments.federated_operators'))
    self.assertIn('weight_decay', _read('experiments.robust_training'))


_STARTS_NOTHING = """
import importlib, pathlib
from absl import flags
from jax._src import xla_bridge
from jaxdl.experiment import _flags
for name in {names}:
  config = importlib.import_module('experiments.' + name).Config
  values = flags.FlagValues()
  _flags.define_flags(config, values)
  values([name])
  _flags.from_flags(config, values)
  assert not xla_bridge.backends_are_initialized(), name
"""


class DevicesTest(parameterized.TestCase):
  def test_configurations_use_no_device(self):
    # Or --devices and --coordinator would come too late.
    subprocess.run(
      [sys.executable, '-c', _STARTS_NOTHING.format(names=BINARIES)],
      check=True,
      cwd=ROOT,
    )


if __name__ == '__main__':
  absltest.main()
