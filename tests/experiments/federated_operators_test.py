# SPDX-License-Identifier: Apache-2.0
"""Operator learning over clients."""

import jax
import numpy as np
from absl.testing import absltest, parameterized

from experiments import federated_operators
from jaxdl import experiment, federated, local, problems
from jaxdl.networks import features

SMALL = {
  'problem': 'antiderivative(resolution=8, refinement=4)',
  'model': 'deeponet((8, 8), (8, 8, 8))',
  'num_clients': 4,
  'num_byzantine': 1,
  'rules': ('mean', 'median'),
  'functions_per_client': 6,
  'num_test_functions': 8,
  'num_rounds': 4,
  'eval_every': 2,
  'batch_size': 4,
}


class FederatedOperatorsTest(parameterized.TestCase):
  def test_server_rules_and_gossip_share_the_task(self):
    config = federated_operators.Config(**SMALL, gossip=('gossip_sgd@ring',))
    rows = federated_operators.run(config).rows
    last = {
      r['variant']: r for r in rows if r['split'] == 'test' and r['step'] == 4
    }
    self.assertEqual(set(last), {'mean', 'median', 'gossip_sgd@ring'})
    for row in last.values():
      self.assertTrue(np.isfinite(row['relative_l2']))

  @parameterized.parameters(
    'scaffold', 'feddyn(alpha=0.1)', 'fedsgd(momentum=0.5, clip_norm=1.0)'
  )
  def test_methods_of_a_server_under_rules_and_attack(self, algorithm):
    # Against the library's own pieces, put together by hand.
    work = {} if algorithm.startswith('fedsgd') else {
      'work': 'work(num_steps=2)'
    }  # fmt: skip
    config = federated_operators.Config(
      **SMALL | {'num_rounds': 2}, algorithm=algorithm, **work
    )
    rows = federated_operators.run(config).rows
    last = {
      r['variant']: r['relative_l2']
      for r in rows
      if r['split'] == 'test' and r['step'] == 2
    }
    problem = config.learned(1.0)
    by_hand = federated.make_algorithm(
      algorithm,
      problem.task,
      4,
      work=local.LocalWork('adam(2e-3)', num_steps=2),
      channel=federated.Channel(
        aggregator='median', attack='reverse', num_byzantine=1
      ),
    )
    _, history = experiment.train(
      by_hand, problem, num_rounds=2, key=jax.random.key(0)
    )
    self.assertEqual(set(last), {'mean', 'median'})
    np.testing.assert_allclose(
      last['median'], history['test_relative_l2'][-1], rtol=1e-4
    )

  def test_networks_on_grids(self):
    config = federated_operators.Config(
      **SMALL
      | {
        'rules': ('median',),
        'num_rounds': 1,
        'eval_every': 1,
        'problem': 'burgers(resolution=8, num_steps=40)',
        'spread': 'viscosity(0.05, 0.2)',
        'model': 'mgno(channels=4, num_layers=1, iterations="10,10,10")',
      }
    )
    rows = federated_operators.run(config).rows
    self.assertTrue(np.isfinite(rows[-1].get('worker_0', 0.0)))

  def test_closed_form_is_that_of_the_pooled_data(self):
    config = federated_operators.Config(
      **SMALL
      | {
        'num_rounds': 0,
        'rules': ('mean',),
        'model': 'snnk(num_features=12, ridge=0.5)',
      }
    )
    problem, maps = config.learned(1.0), config.maps()
    rows = problems.closed_form(problem, maps, config.clients(), ridge=0.5)
    split = lambda data, name: np.asarray(data[name], np.float64).reshape(-1, 8)
    data = problem.data[0]
    h, test = (
      np.asarray(features.bundled_features(x, maps), np.float64)
      for x in (
        split(data, 'inputs').astype(np.float32),
        split(problem.test, 'inputs').astype(np.float32),
      )
    )
    readout = np.linalg.solve(
      h.T @ h + 0.5 * np.eye(12), h.T @ split(data, 'targets')
    )
    real = np.asarray(problem.test['mask']).ravel()
    want = split(problem.test, 'targets')[real]
    errors = np.linalg.norm((test @ readout)[real] - want, axis=1)
    errors /= np.linalg.norm(want, axis=1)
    found = {row['split']: row for row in rows}
    np.testing.assert_allclose(
      found['test']['relative_l2'], errors.mean(), rtol=1e-4
    )
    self.assertLess(found['closed_form']['difference'], 1e-5)
    trained = federated_operators.run(config).rows
    self.assertIn('closed_form', {row['variant'] for row in trained})

  def test_degrees_of_heterogeneity_run_together(self):
    small = {**SMALL, 'num_rounds': 1, 'eval_every': 1, 'rules': ('median',)}
    both = federated_operators.run(
      federated_operators.Config(**small, heterogeneities=(0.0, 1.0))
    ).rows
    alone = federated_operators.run(federated_operators.Config(**small)).rows
    of_one = [
      {k: v for k, v in row.items() if k != 'heterogeneity'}
      for row in both
      if row['heterogeneity'] == 1.0
    ]
    for got, want in zip(of_one, alone, strict=True):
      self.assertEqual(got.keys(), want.keys())
      for name, value in want.items():
        if isinstance(value, float):
          np.testing.assert_allclose(got[name], value, rtol=1e-5, atol=1e-7)

  def test_smoke_is_small_and_stable(self):
    small = federated_operators.Config().smoked()
    self.assertEqual(small, small.smoked())
    self.assertEqual((small.num_clients, small.num_byzantine), (5, 1))

  @parameterized.parameters(
    ({'model': 'mgno(iterations="10,10,10,10,10,10")'}, 'coarsened'),
    ({'model': 'gno'}, "'gno'"),
    ({'spread': 'viscosity(0.1, 0.2)'}, "'viscosity'"),
    ({'attack': 'label_flip'}, 'needs class labels'),
    ({'heterogeneities': (1.0, 1.0)}, 'heterogeneities must differ'),
    ({'gossip': ('gossip_sgd@rings',)}, "'rings'"),
    ({'algorithm': 'scaffold(option=3)'}, 'option must be at most 2; got 3'),
    ({'algorithm': 'scafold'}, "'scaffold'"),
    ({'algorithm': 'mime'}, '--algorithm=mime .*plain mean before the work'),
    (
      {'algorithm': 'scaffold', 'optimizer': 'sgd(0.1, schedule=cosine)'},
      'never sees its schedule',
    ),
  )
  def test_impossible_settings_are_refused_at_once(self, options, message):
    with self.assertRaisesRegex(ValueError, message):
      federated_operators.Config(**{**SMALL, **options})


if __name__ == '__main__':
  absltest.main()
