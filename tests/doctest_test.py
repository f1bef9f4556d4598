# SPDX-License-Identifier: Apache-2.0
"""Every example in every docstring runs and shows what it says."""

import doctest
import functools
import importlib
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized

import jaxdl

# Found without an import: a module that breaks fails alone.
_ROOT = pathlib.Path(jaxdl.__path__[0])
MODULES = sorted(
  '.'.join(
    ('jaxdl', *path.relative_to(_ROOT).with_suffix('').parts)
  ).removesuffix('.__init__')
  for path in _ROOT.rglob('*.py')
  if path.stem != '__main__' and path != _ROOT / '__init__.py'
)
FLAGS = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS


def _globals(module):
  """What an example may use: its module, its package and the usual names."""
  package = importlib.import_module(
    module.__name__
    if hasattr(module, '__path__')
    else module.__name__.rpartition('.')[0]
  )
  public = {n: getattr(package, n) for n in getattr(package, '__all__', ())}
  usual = {'functools': functools, 'jax': jax, 'jnp': jnp, 'np': np}
  return {**usual, **public, **vars(module)}


class DoctestTest(parameterized.TestCase):
  @parameterized.named_parameters(
    (name.replace('.', '_'), name) for name in MODULES
  )
  def test_examples_of(self, name):
    module = importlib.import_module(name)
    finder = doctest.DocTestFinder(exclude_empty=True)
    runner = doctest.DocTestRunner(optionflags=FLAGS, verbose=False)
    report = []
    # Examples are shown in jax's default setting.
    with jax.numpy_rank_promotion('allow'):
      for test in finder.find(module, globs=_globals(module)):
        runner.run(test, out=report.append)
    self.assertEqual(runner.failures, 0, ''.join(report))

  def test_there_are_examples(self):
    finder = doctest.DocTestFinder(exclude_empty=True)
    module = importlib.import_module('jaxdl.aggregators._distance')
    count = sum(len(t.examples) for t in finder.find(module))
    self.assertGreater(count, 5)


if __name__ == '__main__':
  absltest.main()
