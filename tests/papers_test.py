# SPDX-License-Identifier: Apache-2.0
"""The index is true: names exist, claims match, the README is up to date."""

import doctest
import importlib
import pathlib
import pkgutil

import jax
from absl.testing import absltest, parameterized

import jaxdl
from jaxdl import papers

ROOT = pathlib.Path(__file__).parents[1]


class PapersTest(parameterized.TestCase):
  @parameterized.named_parameters((p.key, p) for p in papers.PAPERS)
  def test_row(self, paper):
    for name in paper.functions:
      self.assertTrue(callable(pkgutil.resolve_name(f'jaxdl.{name}')), name)
    module = importlib.import_module(f'experiments.{paper.experiment}')
    self.assertTrue(hasattr(module, 'Config'))
    self.assertTrue(callable(module.run))
    if paper.claims:
      claims = importlib.import_module(f'experiments.claims.{paper.key}').CLAIMS
      self.assertEqual(tuple(claims), paper.claims)
    if paper.colab:
      self.assertTrue((ROOT / 'colabs' / f'{paper.colab}.py').exists())

  def test_keys_are_unique(self):
    keys = [p.key for p in papers.PAPERS]
    self.assertLen(set(keys), len(keys))

  def test_claims_are_in_the_index(self):
    files = {p.stem for p in (ROOT / 'experiments' / 'claims').glob('*.py')}
    known = {p.key for p in papers.PAPERS if p.claims}
    self.assertEqual(files - {'__init__'}, known)

  def test_readme_shows_the_table(self):
    self.assertIn(papers.table(), (ROOT / 'README.md').read_text())

  def test_readme_examples(self):
    with jax.numpy_rank_promotion('allow'):
      result = doctest.testfile(
        str(ROOT / 'README.md'), module_relative=False, verbose=False
      )
    self.assertGreater(result.attempted, 5)
    self.assertEqual(result.failed, 0)

  def test_subpackages_are_exported(self):
    found = {p.parent.name for p in (ROOT / 'jaxdl').glob('*/__init__.py')}
    self.assertEqual(found, set(jaxdl.__all__) - {'__version__', 'papers'})
    self.assertIs(jaxdl.papers, papers)


if __name__ == '__main__':
  absltest.main()
