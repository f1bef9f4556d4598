# SPDX-License-Identifier: Apache-2.0
"""The hypernetworks binary."""

import pathlib
import tempfile

import numpy as np
from absl.testing import absltest, parameterized

from experiments import hypernetworks

SMALL = {
  'task': 'digits_family(depth=1, width=3)',
  'variants': ('default(hidden_sizes=3)', 'mip(hidden_sizes=3)'),
  'num_rounds': 2,
  'steps_per_round': 3,
  'eval_every': 1,
  'batch_size': 4,
  'num_gammas': 2,
}


def config(**options):
  return hypernetworks.Config(**(SMALL | options))


class HypernetworksTest(parameterized.TestCase):
  def test_smoke_is_small(self):
    small = hypernetworks.Config(
      variants=('mip', 'mip(hidden_sizes=32)', 'single')
    ).smoked()
    self.assertEqual(small, small.smoked())
    self.assertEqual(small.variants, ('mip(hidden_sizes=(8, 16))', 'single'))

  def test_rows_and_pictures(self):
    made = hypernetworks.build(config(seeds=(1, 2)))
    result = hypernetworks.run(config(seeds=(1, 2)))
    rows = result.rows
    tested = [r for r in rows if r['split'] == 'test']
    self.assertLen(tested, 3 * 2 * 2)
    self.assertTrue(all(np.isfinite(r['loss']) for r in tested))
    # Both see the same batches, from starts of their own.
    std = {}
    for r in rows:
      if r['split'] == 'weights' and r['step'] == 0 and r['seed'] == 1:
        std.setdefault(r['variant'], []).append(r['std'])
    default, mip = (np.array(std[v]) for v in SMALL['variants'])
    np.testing.assert_allclose(default / default[0], range(1, 9), rtol=1e-4)
    self.assertLess(mip.max() / mip.min(), 1.5)
    folder = self.enter_context(tempfile.TemporaryDirectory())
    for plot in made.plots:
      names = {pathlib.Path(p).stem for p in plot(rows, pathlib.Path(folder))}
    self.assertEqual(names, {'loss', 'grad_norm', 'accuracy', 'weights'})

  @parameterized.parameters(
    ({'variants': ('mip', 'mip')}, 'variants must differ'),
    ({'variants': ('best',)}, "variants='best' is unknown"),
    ({'variants': ('mip(norm=group)',)}, "norm='group' is unknown"),
    ({'variants': ('default(init=bias_hyper)',)}, 'needs residual=True'),
    ({'task': 'oasis'}, "task='oasis' is unknown"),
    ({'task': 'mnist'}, 'task=mnist is read from local files: give --data_dir'),
    ({'data_dir': '/x'}, 'data_dir=/x has no effect on task=digits_family'),
    (
      {'task': 'bayes_digits', 'variants': ('separate',)},
      'need a single gamma; got 8',
    ),
  )
  def test_impossible_settings_are_refused_at_once(self, options, message):
    with self.assertRaisesRegex(ValueError, message):
      hypernetworks.build(config(**options))


if __name__ == '__main__':
  absltest.main()
