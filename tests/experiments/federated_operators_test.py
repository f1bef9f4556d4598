# SPDX-License-Identifier: Apache-2.0
"""Operator learning over clients."""

import numpy as np
from absl.testing import absltest, parameterized

from experiments import federated_operators

SMALL = {
  'num_clients': 4,
  'num_byzantine': 1,
  'rules': ('mean', 'median'),
  'functions_per_client': 6,
  'num_test_functions': 8,
  'num_rounds': 4,
  'eval_every': 2,
  'batch_size': 4,
  'hidden_size': 8,
  'resolution': 8,
  'eval_batch_size': 8,
}


class FederatedOperatorsTest(parameterized.TestCase):
  def test_server_rules_and_gossip_share_the_task(self):
    config = federated_operators.Config(**SMALL, topologies=('ring',))
    rows = federated_operators.run(config).rows
    last = {
      r['rule']: r for r in rows if r['split'] == 'test' and r['step'] == 4
    }
    self.assertEqual(set(last), {'mean', 'median', 'gossip:ring'})
    for row in last.values():
      self.assertTrue(np.isfinite(row['relative_l2']))

  def test_networks_on_grids(self):
    config = federated_operators.Config(
      **{**SMALL, 'rules': ('median',), 'num_rounds': 1, 'eval_every': 1},
      problem='burgers',
      model='mgno',
      channels=4,
      num_layers=1,
    )
    rows = federated_operators.run(config).rows
    self.assertTrue(np.isfinite(rows[-1].get('worker_0', 0.0)))

  def test_clients_differ_as_asked(self):
    same = federated_operators.Config(**SMALL, heterogeneity=0.0)
    self.assertLen(set(federated_operators.spaces(same)[1]), 1)
    name, values = federated_operators.spaces(
      federated_operators.Config(**SMALL)
    )
    self.assertEqual(name, 'length_scale')
    np.testing.assert_allclose(values[[0, -1]], [0.1, 0.5], rtol=1e-6)

  @parameterized.parameters(
    ({'model': 'mgno'}, 'works on grids'),
    ({'problem': 'darcy'}, 'needs a model on grids'),
    ({'attack': 'label_flip'}, 'needs class labels'),
  )
  def test_impossible_settings_are_refused_at_once(self, options, message):
    with self.assertRaisesRegex(ValueError, message):
      federated_operators.Config(**{**SMALL, **options})


if __name__ == '__main__':
  absltest.main()
