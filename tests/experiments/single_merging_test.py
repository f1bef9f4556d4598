# SPDX-License-Identifier: Apache-2.0
"""The single-merging binary."""

import jax
import numpy as np
from absl.testing import absltest, parameterized

from experiments import single_merging
from jaxdl.mixing import graphs

SMALL = {
  'variants': ('gossip', 'server'),
  'num_clients': 8,
  'hidden_sizes': (8,),
  'local_steps': 2,
  'num_rounds': 4,
  'eval_every': 2,
  'sharpness': False,
  'landscape_resolution': 0,
}


def _config(**options):
  return single_merging.Config(**{**SMALL, **options})


class SingleMergingTest(parameterized.TestCase):
  def test_smoke_measures_everything(self):
    config = single_merging.Config(
      variants=('gossip', 'late'), window_size=0.4
    ).smoked()
    self.assertEqual(config, config.smoked())
    rows = single_merging.run(config).rows
    test = [r for r in rows if r['split'] == 'test']
    self.assertLen(test, 4 * 2)
    for row in test:
      for name in ('accuracy', 'merged_accuracy', 'local_accuracy'):
        self.assertBetween(row[name], 0, 1)
      gap = row['merged_accuracy'] - row['accuracy']
      self.assertAlmostEqual(row['gap'], gap, places=5)
      self.assertTrue(np.isfinite(row['alignment']))
    # The last round of `late` is an exact average: 8 * 7 models are sent and
    # nothing is left to merge.
    last = next(r for r in test if r['step'] == 3 and r['variant'] == 'late')
    self.assertLess(last['consensus'], 1e-10)
    sent = [r['messages'] for r in rows if r['split'] == 'train']
    self.assertEqual(sent[-1], 56)
    stages = {
      r['stage']: r['accuracy']
      for r in rows
      if r['split'] == 'final' and r['variant'] == 'late'
    }
    self.assertAlmostEqual(stages['before'], stages['after'], places=5)
    between = [r for r in rows if r['split'] == 'landscape']
    corners = sorted(r['corner'] for r in between if r['corner'] >= 0)
    self.assertEqual(corners, list(range(8)))
    # The centre is the average, the corners are the models.
    mine = next(r for r in test if r['step'] == 3 and r['variant'] == 'gossip')
    centre = next(r for r in between if r['x'] == r['y'] == 0.0)
    np.testing.assert_allclose(centre['loss'], mine['merged_loss'], rtol=1e-4)
    ends = np.mean([r['loss'] for r in between if r['corner'] >= 0])
    np.testing.assert_allclose(ends, mine['loss'], rtol=1e-4)

  @parameterized.parameters(
    {'gossip': 'matching', 'schedule': 'linear', 'data_sampling': 'resample'},
    {
      'gossip': 'exponential',
      'data_sampling': 'fixed',
      'final_merge': 'exponential',
      'optimizer': 'adamw',
      'learning_rate': 0.001,
      'label_smoothing': 0.1,
      'clip': 1.0,
      'weight_decay': 1e-3,
    },
  )
  def test_options_run(self, **options):
    config = _config(
      variants=('gossip', 'periodic'), period=2, seeds=(0, 1), **options
    )
    rows = single_merging.run(config).rows
    test = [r for r in rows if r['split'] == 'test']
    self.assertLen(test, 3 * 2 * 2)
    for row in test:
      self.assertTrue(np.isfinite(row['loss']))
    periodic = [r for r in test if r['variant'] == 'periodic' and r['step']]
    for row in periodic:
      self.assertLess(row['consensus'], 1e-10)

  def test_label_smoothing_is_that_of_optax(self):
    import optax

    config = _config(label_smoothing=0.3)
    tests = single_merging.make_tests(config)
    params = tests.task.init(jax.random.key(0))
    batch = jax.tree.map(lambda x: x[0], tests.dealt.simulation.test)
    logits = tests.network.apply(params, batch['inputs'])
    labels = optax.smooth_labels(
      jax.nn.one_hot(batch['labels'], logits.shape[-1]), 0.3
    )
    each = np.asarray(optax.softmax_cross_entropy(logits, labels))
    want = each[np.asarray(batch['mask'])].mean()
    np.testing.assert_allclose(tests.task.loss(params, batch), want, rtol=1e-5)

  def test_variants_mix_as_they_say(self):
    config = single_merging.Config(variants=('windows',), num_clients=8)
    self.assertLen(config.all_variants, 10)
    key = jax.random.key(0)
    for variant in ('window_0', 'window_7', 'early', 'late'):
      mixer = single_merging.make_mixer(config, variant)
      first = {'early': 0, 'late': 54}.get(variant)
      first = int(variant[-1]) * 6 if first is None else first
      for t in (0, 5, 6, 41, 42, 47, 48, 53, 54, 59):
        w = np.asarray(mixer.matrix(t, key=key))
        dense = np.allclose(w, 1 / 8, atol=1e-6)
        self.assertEqual(dense, first <= t < first + 6, (variant, t))
    ring = single_merging.Config(gossip='one_way_ring', num_clients=8)
    w = np.asarray(single_merging.make_mixer(ring, 'gossip').matrix(0))
    np.testing.assert_array_equal(np.sort(w, axis=1)[:, -2:], 0.5)
    kept = single_merging.Config(
      gossip='pull', gossip_graph='ring', r_start=2.0, num_clients=8
    )
    w = single_merging.make_mixer(kept, 'gossip').matrix(0, key=key)
    allowed = graphs.ring(8) | np.eye(8, dtype=bool)
    np.testing.assert_allclose(w, allowed / 3, atol=1e-6)

  @parameterized.parameters(
    ({'num_clients': 0}, 'num_clients must be at least 1'),
    ({'r_start': -0.5}, 'r_start must lie in'),
    ({'r_start': float('inf')}, 'counts neighbours besides yourself'),
    ({'alpha': 0.0}, 'alpha must be positive'),
    ({'point1': 1.5}, 'point1 must lie in'),
    ({'window_size': 0.0}, 'window_size must be positive'),
    ({'variants': ('sometimes',)}, "variants='sometimes' is unknown"),
    ({'variants': ('window_10',)}, "variants='window_10' is unknown"),
    ({'variants': ()}, 'variants is empty'),
    ({'variants': ('early', 'early')}, 'variants must differ'),
    ({'gossip': 'ring', 'gossip_graph': 'ring'}, 'needs gossip=pull'),
    ({'dataset': 'cifar10'}, 'give --data_dir'),
  )
  def test_impossible_settings_are_refused_at_once(self, options, message):
    with self.assertRaisesRegex(ValueError, message):
      _config(**options)

  def test_too_large_fixed_sets_are_refused_before_training(self):
    config = _config(data_sampling='fixed', examples_per_client=5000)
    with self.assertRaisesRegex(ValueError, 'num_examples=5000 .* examples'):
      single_merging.build(config)


if __name__ == '__main__':
  absltest.main()
