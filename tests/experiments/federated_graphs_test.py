# SPDX-License-Identifier: Apache-2.0
"""The binary of graphs over clients."""

import dataclasses
import pathlib
import tempfile

import numpy as np
from absl.testing import absltest, parameterized

from experiments import federated_graphs
from jaxdl.experiment import config as config_lib

SMALL = {
  'dataset': 'block_model(num_nodes=40, num_features=3)',
  'partition': 'iid',
  'num_clients': 4,
  'networks': (
    'gnodeformer(hidden_dim=2, num_heads=1, num_layers=1)',
    'gcn(2)',
  ),
  'optimizers': ('sgd(0.1)',),
  'local_steps': 1,
  'num_rounds': 2,
  'eval_every': 1,
}


def _config(**options):
  return federated_graphs.Config(**{**SMALL, **options})


class FederatedGraphsTest(parameterized.TestCase):
  def test_networks_and_variants_are_crossed_and_drawn(self):
    ring = 'gossip_sgd@ring'
    config = _config(variants=('fedavg', ring), seeds=(0, 1))
    rows = federated_graphs.run(config).rows
    names = {
      config.label(v, n) for v in config.variants for n in config.networks
    }
    self.assertLen(names, 4)
    test = [r for r in rows if r['split'] == 'test']
    self.assertLen(test, 4 * 3 * 2)
    self.assertEqual({r['variant'] for r in test}, names)
    problem = config.problem('gcn(2)')
    for row in test:
      dealt = problem.test['dealt'][row['seed']]
      self.assertAlmostEqual(row['kept_edges'], dealt.kept_edges, places=5)
      model = {'gn': 0, 'gc': 3 * 2 + 2 + 2 * 4 + 4}[row['variant'][:2]]
      if model:  # Twice as much: to both neighbors on a ring.
        times = 2 if row['variant'].endswith(ring) else 1
        want = 4 * 4 * model * row['step'] * times / 1e6
        self.assertAlmostEqual(row['megabytes'], want, places=7)
      self.assertEqual('consensus' in row, row['variant'].endswith(ring))
    # Edges add up; filters have a value in every interval with eigenvalues.
    for seed in (0, 1):
      shares = {
        (r['client'], r['other']): r['share']
        for r in rows
        if r['split'] == 'edges' and r['seed'] == seed
      }
      self.assertAlmostEqual(sum(shares.values()), 1.0)
      dealt = problem.test['dealt'][seed]
      self.assertAlmostEqual(
        sum(shares[k, k] for k in range(4)), dealt.kept_edges
      )
    filters = [r for r in rows if r['split'] == 'filter']
    spec = SMALL['networks'][0]
    self.assertEqual(
      {r['variant'] for r in filters},
      {config.label(v, spec) for v in config.variants},
    )
    pairs = config.problem(spec).data[0]['spectrum']
    for seed in (0, 1):
      values = np.asarray(pairs.eigenvalues[seed])[np.asarray(pairs.mask[seed])]
      bins = np.unique(np.clip((values * 10).astype(int), 0, 19))
      got = [
        r['eigenvalue']
        for r in filters
        if r['seed'] == seed and r['variant'].endswith(ring)
      ]
      np.testing.assert_allclose(got, bins / 10 + 0.05)
    folder = pathlib.Path(self.enter_context(tempfile.TemporaryDirectory()))
    paths = federated_graphs.draw(config, rows, folder)
    self.assertEqual(
      {p.stem for p in paths},
      {'accuracy', 'accuracy_by_megabytes', 'edges', 'filters'},
    )
    columns, cells = federated_graphs.table(rows)
    self.assertIn('chosen_accuracy', columns)
    self.assertLen(cells, 4)

  def test_networks_have_optimizers_of_their_own(self):
    still = _config(optimizers=('sgd(0.1)', 'sgd(0.0)'), seeds=(2,))
    rows = federated_graphs.run(still).rows
    losses = {
      name: {
        r['loss'] for r in rows if (r['variant'], r['split']) == (name, 'test')
      }
      for name in still.networks
    }
    self.assertEqual([len(x) for x in losses.values()], [3, 1])

  def test_labels_are_attacked_where_classes_are_known(self):
    config = _config(
      networks=('gcn(4)',),
      variants=('fedavg@channel(attack=label_flip, aggregator=median)',),
      num_byzantine=1,
    )
    rows = federated_graphs.run(config).rows
    honest = federated_graphs.run(
      _config(networks=('gcn(4)',), variants=('fedavg',))
    ).rows
    last = lambda rows: [r['loss'] for r in rows if r['split'] == 'test'][-1]
    self.assertTrue(np.isfinite(last(rows)))
    self.assertNotEqual(last(rows), last(honest))

  def test_knobs_without_effect_are_told(self):
    gossip = _config(networks=('gcn',), variants=('gossip_sgd@ring',))
    for name, value in (('local_steps', 7), ('num_byzantine', 1)):
      changed = dataclasses.replace(gossip, **{name: value})
      self.assertIn('has no effect on', config_lib.idle(changed, name))
    server = _config(networks=('gcn',), variants=('fedavg',), graph_seed=3)
    self.assertIn('no effect on', config_lib.idle(server, 'graph_seed'))

  @parameterized.parameters(
    ({'networks': ()}, 'networks is empty'),
    ({'variants': ()}, 'variants is empty'),
    ({'networks': ('gcn', 'gcn')}, 'networks must differ'),
    ({'networks': ('gnodeformer(rk=9)',)}, r'rk must be one of'),
    ({'networks': ('gnodeformer(hidden_dim=3)',)}, 'hidden_dim=3 must be even'),
    ({'networks': ('gcn@neighbor_sums',)}, 'use fedgcn@neighbor_sums'),
    ({'networks': ('gcnn',)}, "networks='gcnn' is unknown"),
    ({'optimizers': ('sgd(0.1)',) * 3}, r'one for each, 2; got 3'),
    ({'variants': ('fedavg@ring',)}, 'ring'),
    ({'variants': ('gossip_sgd@channel',)}, 'channel'),
    (
      {'variants': ('gossip_sgd@ring',), 'sampling': 'uniform(2)'},
      'without a server all clients take part',
    ),
    (
      {'variants': ('fedavg@channel(attack=alie)',)},
      'num_byzantine=0: say how many',
    ),
    (
      {'variants': ('fedavg@channel(num_byzantine=1)',)},
      'told by the flag num_byzantine',
    ),
    (
      {
        'variants': ('fedavg@channel(aggregator=median)',),
        'num_byzantine': 1,
        'sampling': 'uniform(2)',
      },
      'sampling must be full',
    ),
    ({'dataset': 'planetoid'}, 'give --data_dir'),
    ({'data_dir': 'x'}, 'data_dir=x has no effect'),
    ({'num_clients': 0}, 'num_clients must be at least 1'),
    ({'local_steps': 0}, 'local_steps must be at least 1'),
    (
      {'networks': ('gcn', 'mlp'), 'num_eigs': 5},
      'num_eigs=5 has no effect on networks=gcn,mlp',
    ),
  )
  def test_impossible_settings_are_refused_at_once(self, options, message):
    with self.assertRaisesRegex(ValueError, message):
      _config(**options)


if __name__ == '__main__':
  absltest.main()
