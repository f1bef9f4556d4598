# SPDX-License-Identifier: Apache-2.0
"""The binary of grokking."""

import functools
import pathlib
import tempfile

import jax
import numpy as np
from absl.testing import absltest, parameterized

from experiments import grokking as binary
from jaxdl.theory import grokking

SMALL = {
  'groups': ('cyclic(5)',),
  'methods': ('trained', 'frozen'),
  'hidden': 8,
  'num_rounds': 4,
  'eval_every': 2,
  'num_early': 3,
}


def _config(**options):
  return binary.Config(**{**SMALL, **options})


@functools.cache
def _run():
  config = _config(
    seeds=(1, 2), measures=('features', 'gram', 'turns', 'repulsion')
  )
  return config, binary.run(config)


def _of(rows, split, variant, seed):
  return [
    r
    for r in rows
    if (r['split'], r['variant'], r['seed']) == (split, variant, seed)
  ]


class GrokkingTest(parameterized.TestCase):
  def test_metrics_are_those_of_before_the_step(self):
    config, result = _run()
    data = grokking.make_data('cyclic(5)', 'fraction(0.8)', seeds=(1, 2))
    method = config.method('trained', 5)
    key = jax.random.fold_in(jax.random.key(2), 0)  # Of the start of a run.
    one = lambda part: jax.tree.map(lambda x: x[1], part)
    _, want = grokking.train(
      method, one(data.train), num_epochs=5, key=key, test=one(data.test)
    )
    found = _of(result.rows, 'early', 'trained', 2)
    self.assertEqual([r['epoch'] for r in found], [1, 2, 3])
    for name in ('loss', 'accuracy', 'feature_gradient', 'top_turn'):
      np.testing.assert_allclose(
        [r[name] for r in found], want[name][:3], rtol=1e-4, atol=1e-6
      )
    # A round reports the metrics of before its step, and tests after it.
    train, test = (_of(result.rows, s, 'trained', 2) for s in ('train', 'test'))
    self.assertEqual([r['step'] for r in train], [2, 4])
    np.testing.assert_allclose(
      [r['loss'] for r in train],
      np.asarray(want['loss'])[[1, 3]],
      rtol=1e-4,
      atol=1e-6,
    )
    self.assertEqual([r['step'] for r in test], [0, 2, 4])
    np.testing.assert_allclose(
      [r['loss'] for r in test],
      np.asarray(want['test_loss'])[[0, 2, 4]],
      rtol=1e-4,
      atol=1e-6,
    )

  def test_frozen_features_stay(self):
    _, result = _run()
    found = _of(result.rows, 'test', 'frozen', 1)
    for name in ('purity', 'repelled', 'sample_distance', 'feature_diagonal'):
      values = [r[name] for r in found]
      self.assertEqual(values, values[:1] * 3, name)
      moved = [r[name] for r in _of(result.rows, 'test', 'trained', 1)]
      self.assertTrue(np.isfinite(moved).all())
    self.assertNotEqual(found[0]['loss'], found[-1]['loss'])

  def test_measures_are_those_of_numpy(self):
    config, result = _run()
    params = result.state['trained'].params
    data = grokking.make_data('cyclic(5)', 'fraction(0.8)', seeds=(1, 2))
    last = _of(result.rows, 'test', 'trained', 2)[-1]
    w = np.float64(params['bottom'][1])
    # Power of frequencies 0, 1 and 2 in both halves.
    waves = np.abs(np.fft.fft(w.reshape(2, 5, -1), axis=1)) ** 2
    power = waves.sum(axis=0)
    shares = np.stack([power[1] + power[4], power[2] + power[3]])
    shares = shares / power.sum(axis=0)
    self.assertAlmostEqual(last['purity'], shares.max(axis=0).mean(), places=4)
    self.assertEqual(last['learned'], (shares >= 0.9).any(axis=1).mean())
    inputs = np.asarray(data.train['inputs'][1])
    f = np.square(w[inputs[:, 0]] + w[5 + inputs[:, 1]])
    f = f - f.mean(axis=0)
    self.assertAlmostEqual(
      last['feature_diagonal'] / np.square(f).sum(axis=0).mean(), 1, places=4
    )
    inverse = np.linalg.inv(f.T @ f + 0.01 * np.eye(8))
    repelled = np.mean(inverse[np.triu_indices(8, 1)] < 0)
    self.assertAlmostEqual(last['repelled'], repelled, places=6)
    self.assertEqual(last['order'], 5)

  def test_table_and_pictures(self):
    config, result = _run()
    columns, cells = result.experiment.table(result.rows)
    self.assertLen(cells[0], len(columns))
    self.assertEqual([line[0] for line in cells], ['trained', 'frozen'])
    self.assertEqual(cells[0][4:], ['0/2', None])
    with tempfile.TemporaryDirectory() as folder:
      drawn = binary.draw(config, result.rows, pathlib.Path(folder))
      want = {'test_accuracy', 'train_accuracy', 'early', 'purity', 'repelled'}
      self.assertEqual({p.stem for p in drawn}, want | {'sample_distance'})

  def test_the_table_says_when(self):
    rows = [
      {
        'step': 5 * t, 'split': split, 'variant': 'a', 'seed': seed,
        'accuracy': float(t >= 2 + seed), 'train_fraction': 0.5,
      }
      for t in range(5) for seed in (0, 1) for split in ('train', 'test')
    ]  # fmt: skip
    (line,) = binary.table(rows)[1]
    self.assertEqual(line, ['a', 0.5, 1.0, 1.0, '2/2', 12.5])

  def test_groups_and_splits_are_crossed(self):
    config = _config(
      groups=('cyclic(5)', 'polynomial(5)'),
      splits=('fraction(0.5)', 'critical(2.0)'),
      methods=('trained',),
      num_rounds=0,
    )
    rows = binary.run(config).rows
    self.assertEqual(
      {r['variant'] for r in rows},
      {
        f'trained, {g}, {s}'
        for g in ('cyclic(5)', 'polynomial(5)')
        for s in ('fraction(0.5)', 'critical(2.0)')
      },
    )
    # Irreps are those of groups.
    has = {r['group'] for r in rows if 'purity' in r}
    self.assertEqual(has, {'cyclic(5)'})
    with tempfile.TemporaryDirectory() as folder:
      drawn = binary.draw(config, rows, pathlib.Path(folder))
      self.assertIn('sampling', {p.stem for p in drawn})

  @parameterized.parameters(
    (
      {'groups': ('cyclic(2)',)},
      r'cyclic\(2\).: order must be at least 3; got 2',
    ),
    ({'groups': ('klein',)}, "groups='klein' is unknown"),
    ({'groups': ()}, 'groups is empty'),
    (
      {'splits': ('fraction(0.001)',)},
      '--splits=.*leaves 0 to train and 25 to test',
    ),
    ({'splits': ('critical(5.0)',)}, '--splits=.*train_fraction must lie in'),
    ({'methods': ('trained', 'trained()')}, 'methods must differ'),
    (
      {'methods': ('ridge_top',), 'loss': 'cross_entropy'},
      '--methods=ridge_top: ridge solves least squares .* loss=cross_entropy',
    ),
    ({'hidden': 0}, 'hidden must be at least 1'),
    ({'optimizer': 'adam(weight_decay=-1.0)'}, 'weight_decay must lie in'),
    ({'measures': ('spectrum',)}, "measures='spectrum' is unknown"),
    ({'activation': 'cube'}, "activation='cube' is unknown"),
  )
  def test_impossible_settings_are_refused_at_once(self, options, message):
    with self.assertRaisesRegex(ValueError, message):
      _config(**options)

  def test_smoke_is_small(self):
    config = binary.Config().smoked()
    self.assertEqual(config, config.smoked())
    self.assertEqual(config.hidden, 16)
    self.assertLen(config.methods, 2)


if __name__ == '__main__':
  absltest.main()
