# SPDX-License-Identifier: Apache-2.0
"""The papers are true: names exist, claims too, the README is up to date."""

import doctest
import importlib
import pathlib
import pkgutil

import jax
from absl.testing import absltest, parameterized

import jaxdl
from experiments import papers

ROOT = pathlib.Path(__file__).parents[1]


class PapersTest(parameterized.TestCase):
  @parameterized.parameters(*papers.names())
  def test_paper(self, key):
    paper = papers.load(key)
    for name in paper.functions:
      self.assertTrue(callable(pkgutil.resolve_name(f'jaxdl.{name}')), name)
    module = importlib.import_module(f'experiments.{paper.binary}')
    self.assertTrue(hasattr(module, 'Config'))
    self.assertTrue(callable(module.run))
    self.assertNotEmpty(papers.claims(key))
    if paper.colab:
      self.assertTrue((ROOT / 'colabs' / f'{paper.colab}.py').exists())

  def test_readme_shows_the_table(self):
    self.assertIn(papers.table(), (ROOT / 'README.md').read_text())

  def test_every_claim_is_in_the_reproduction(self):
    text = (ROOT / 'REPRODUCTION.md').read_text()
    for key in papers.names():
      section = text.split(f'\n## {key}:', 1)[1].split('\n## ', 1)[0]
      for name in papers.claims(key):
        self.assertIn(f'(`{name}`)', section)

  def test_readme_examples(self):
    with jax.numpy_rank_promotion('allow'):
      result = doctest.testfile(
        str(ROOT / 'README.md'), module_relative=False, verbose=False
      )
    self.assertGreater(result.attempted, 5)
    self.assertEqual(result.failed, 0)

  def test_subpackages_are_exported(self):
    found = {p.parent.name for p in (ROOT / 'jaxdl').glob('*/__init__.py')}
    self.assertEqual(found, set(jaxdl.__all__) - {'__version__'})
    self.assertIs(jaxdl.local, importlib.import_module('jaxdl.local'))


if __name__ == '__main__':
  absltest.main()
