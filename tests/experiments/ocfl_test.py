# SPDX-License-Identifier: Apache-2.0
"""The binary of one-shot clustering."""

from unittest import mock

import jax
import numpy as np
from absl.testing import absltest, parameterized

from experiments import ocfl
from jaxdl.federated import clusters

SMALL = {
  'algorithms': ('ocfl(clusterer=kmeans(n_clusters=3))', 'fedavg'),
  'num_clients': 9,
  'samples_per_client': 24,
  'num_rounds': 6,
  'eval_every': 2,
  'network': 'mlp(4)',
  'batch_size': 9,
  'seeds': (0, 4),
}


class OcflTest(parameterized.TestCase):
  def test_rows_hold_scores_of_all_rounds_and_who_was_where(self):
    config = ocfl.Config(**SMALL)
    rows = ocfl.run(config).rows
    ours = config.algorithms[0]
    truth = np.repeat([0, 1, 2], 3)
    for seed in config.seeds:
      mine = [r for r in rows if r['seed'] == seed and r['variant'] == ours]
      since = [r for r in mine if r['split'] == 'labels']
      history = [
        (r['since'], np.array([r[f'client_{i}'] for i in range(9)]))
        for r in since
      ]
      self.assertLen(history, 2)
      # Evaluated in every other round, averaged over all.
      for row in mine:
        if row['split'] == 'test':
          done = [h for h in history if h[0] < max(row['step'], 1)]
          want = clusters.mean_scores(done, truth, row['step'])
          self.assertAlmostEqual(row['mean_ari'], want['ari'], places=6)
      last = [r for r in mine if r['split'] == 'test'][-1]
      now = clusters.clustering_scores(history[-1][1], truth)
      self.assertEqual(last['ari'], now['ari'])
      self.assertGreater(last['ari'], 0.5)
      held = [
        r for r in rows if r['split'] == 'blueprint' and r['seed'] == seed
      ]
      self.assertEqual([r['group'] for r in held], truth.tolist())
      self.assertEqual(
        {sum(r[f'class_{c}'] for c in range(10)) for r in held}, {17}
      )
    _, cells = ocfl.table(config, rows)
    self.assertEqual([c[0] for c in cells], list(config.algorithms))
    self.assertEqual((cells[0][1], cells[1][1:3]), ('3', ('1', '-')))

  def test_eight_devices_find_the_same_clusters(self):
    config = ocfl.Config(
      **SMALL
      | {
        'seeds': (4,),
        'algorithms': SMALL['algorithms'][:1],
        'network': 'logistic_regression',
        'num_rounds': 4,
      }
    )
    want = ocfl.run(config).rows
    with mock.patch.object(jax, 'device_count', return_value=8):
      mesh = config.clients().mesh
      got = ocfl.run(config).rows
    self.assertEqual(mesh.size, 8)
    self.assertEqual(len(got), len(want))
    for mine, yours in zip(got, want, strict=True):
      self.assertEqual(mine.keys(), yours.keys())
      for name, value in yours.items():
        if isinstance(value, float):
          np.testing.assert_allclose(
            mine[name], value, rtol=1e-4, atol=1e-6, err_msg=name
          )
        else:
          self.assertEqual(mine[name], value)

  @parameterized.parameters(
    (
      {'algorithms': ('ocfl(clusterer=hdbscan(min_cluster_size=10))',)},
      '--algorithms=ocfl.* --num_clients=9: min_cluster_size=10 exceeds the 9',
    ),
    ({'algorithms': ('ocfl(clusterer=kmeans)',)}, 'kmeans needs n_clusters'),
    ({'algorithms': ('ocfl', 'ocfl')}, 'algorithms must differ'),
    ({'algorithms': ('clustered',)}, "algorithms='clustered' is unknown"),
    (
      {'sampling': 'uniform(num_sampled=5)', 'algorithms': ('ocfl',)},
      "--sampling=uniform.*the temperature needs every client's update: say "
      'allow_partial=True',
    ),
    ({'method': 'fedaverage'}, "method='fedaverage' is unknown"),
    ({'split': 'none'}, 'split'),
  )
  def test_impossible_settings_are_refused_at_once(self, options, message):
    with self.assertRaisesRegex(ValueError, message):
      ocfl.Config(**{**SMALL, **options})

  def test_methods_that_do_not_go_with_clusters_are_refused(self):
    with self.assertRaisesRegex(ValueError, 'method=ifca has 2 models already'):
      ocfl.build(ocfl.Config(**{**SMALL, 'method': 'ifca'}))


if __name__ == '__main__':
  absltest.main()
