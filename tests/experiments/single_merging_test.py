# SPDX-License-Identifier: Apache-2.0
"""The single-merging binary."""

import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized

from experiments import single_merging
from jaxdl.theory import matching

SMALL = {
  'variants': ('gossip', 'server'),
  'num_clients': 8,
  'network': 'mlp(8)',
  'local_steps': 2,
  'num_rounds': 4,
  'eval_every': 2,
  'measures': (),
}


def _config(**options):
  return single_merging.Config(**{**SMALL, **options})


class SingleMergingTest(parameterized.TestCase):
  def test_smoke_measures_everything(self):
    config = single_merging.Config(
      variants=('gossip', 'late'), gossip='pull(window=0.4)'
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
    # The center is the average, the corners are the models.
    mine = next(r for r in test if r['step'] == 3 and r['variant'] == 'gossip')
    center = next(r for r in between if r['x'] == r['y'] == 0.0)
    np.testing.assert_allclose(center['loss'], mine['merged_loss'], rtol=1e-4)
    ends = np.mean([r['loss'] for r in between if r['corner'] >= 0])
    np.testing.assert_allclose(ends, mine['loss'], rtol=1e-4)

  @parameterized.parameters(
    {
      'gossip': 'matching',
      'variants': ('gossip(schedule=linear)', 'periodic(period=2)'),
      'partition': 'resample(alpha=0.1)',
      'final_merge': 'none(num_batches=2)',
    },
    {
      'gossip': 'over(exponential)',
      'variants': ('gossip', 'periodic(period=2)'),
      'partition': 'fixed(alpha=0.1)',
      'final_merge': 'exponential',
      'optimizer': 'adamw(0.001, clip=1.0, weight_decay=1e-3)',
      'label_smoothing': 0.1,
    },
  )
  def test_options_run(self, **options):
    rows = single_merging.run(_config(seeds=(0, 1), **options)).rows
    test = [r for r in rows if r['split'] == 'test']
    self.assertLen(test, 3 * 2 * 2)
    for row in test:
      self.assertTrue(np.isfinite(row['loss']))
    periodic = [r for r in test if r['variant'] != options['variants'][0]]
    for row in periodic:
      if not row['step']:
        continue
      self.assertLess(row['consensus'], 1e-10)
    merges = not options['final_merge'].startswith('none')
    stages = {r['stage'] for r in rows if r['split'] == 'final'}
    self.assertEqual(stages, {'before', 'after'} if merges else {'before'})

  def test_label_smoothing_is_that_of_optax(self):
    import optax

    config = _config(label_smoothing=0.3)
    problem = single_merging.make_tests(config).problem
    params = problem.task.init(jax.random.key(0))
    batch = jax.tree.map(lambda x: x[0], problem.test)
    logits = problem.network.apply(params, batch['inputs'])
    labels = optax.smooth_labels(
      jax.nn.one_hot(batch['labels'], logits.shape[-1]), 0.3
    )
    each = np.asarray(optax.softmax_cross_entropy(logits, labels))
    want = each[np.asarray(batch['mask'])].mean()
    np.testing.assert_allclose(
      problem.task.loss(params, batch), want, rtol=1e-5
    )

  @parameterized.parameters(
    ({'num_clients': 0}, 'num_clients must be at least 1'),
    ({'gossip': 'pull(rate=-0.5)'}, 'rate must lie in'),
    ({'gossip': 'pull(rate=inf)'}, r'rate must lie in \[0.0, inf\); got inf'),
    ({'gossip': 'pull(window=0.0)'}, 'window must lie in'),
    ({'gossip': 'matching(graph=ring)'}, "has no option 'graph'"),
    ({'gossip': 'over(chain)'}, 'chain'),
    ({'variants': ('gossip(schedule=window(point=1.5))',)}, 'point'),
    ({'variants': ('sometimes',)}, "variants='sometimes' is unknown"),
    ({'variants': ('window(k=10)',)}, 'k=10 is past the end'),
    ({'variants': ()}, 'variants is empty'),
    ({'variants': ('early', 'early')}, 'variants must differ'),
    ({'variants': ('windows', 'window(k=2)')}, 'variants must differ'),
    ({'final_merge': 'exact(rounds=2)'}, 'rounds'),
    ({'dataset': 'cifar10'}, 'give --data_dir'),
  )
  def test_impossible_settings_are_refused_at_once(self, options, message):
    with self.assertRaisesRegex(ValueError, message):
      _config(**options)

  def test_units_are_matched_before_the_last_merge(self):
    config = _config(
      variants=('alone',), final_merge='aligned(by=weights)', num_rounds=2
    )
    result = single_merging.run(config)
    problem = single_merging.make_tests(config).problem
    params = jax.tree.map(
      lambda x: jnp.asarray(x)[0], result.state['alone'].params
    )
    chain = matching.layer_chain(problem.network, problem.test['inputs'][0, :1])
    ordered = [
      matching.align(
        problem.network,
        jax.tree.map(lambda x, k=k: x[k], params),
        jax.tree.map(lambda x: x[0], params),
        by='weights',
        chain=chain,
      ).params
      for k in range(config.num_clients)
    ]
    merged = jax.tree.map(lambda *xs: jnp.mean(jnp.stack(xs), 0), *ordered)
    want = problem.evaluate(jax.tree.map(lambda x: x[None], merged))
    stages = {
      r['stage']: r['loss'] for r in result.rows if r['split'] == 'final'
    }
    np.testing.assert_allclose(stages['after'], want['loss'][0], rtol=1e-4)
    # Order matters: the plain average is another model.
    plain = next(
      r['merged_loss']
      for r in result.rows
      if r['split'] == 'test' and r['step'] == 2
    )
    self.assertGreater(abs(plain - stages['after']), 1e-3)
    with self.assertRaisesRegex(ValueError, "by='names' is unknown"):
      _config(final_merge='aligned(by=names)')

  def test_too_large_fixed_sets_are_refused_before_training(self):
    for partition, message in (
      ('fixed(examples_per_client=5000)', 'num_examples=5000 .* examples'),
      ('resample(alpha=0.0)', 'alpha must lie in'),
    ):
      with self.assertRaisesRegex(ValueError, message):
        single_merging.build(_config(partition=partition))


if __name__ == '__main__':
  absltest.main()
