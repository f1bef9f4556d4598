# SPDX-License-Identifier: Apache-2.0
"""Groups of clients, each client with its own tests."""

import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized
from sklearn import metrics as peers

from jaxdl import problems
from jaxdl.experiment import config as config_lib

THREE = {'split': ((0,), (1,), (2,)), 'network': 'logistic_regression'}
MADE = problems.clustered('wine', num_clients=4, seeds=(0, 3), **THREE)


def rows(inputs, mask):
  return {tuple(x) for x in np.asarray(inputs)[np.asarray(mask)].tolist()}


class ClusteredTest(parameterized.TestCase):
  def test_no_client_trains_on_what_another_is_tested_on(self):
    problem = problems.clustered(
      'wine', num_clients=6, samples_per_client=30, **THREE
    )
    train, tests = problem.data, problem.test['clients']
    self.assertEqual(
      np.asarray(train['mask'].sum(axis=-1)).tolist(), [[21] * 6]
    )
    self.assertEqual(np.asarray(tests['mask'].sum(axis=-1)).tolist(), [[9] * 6])
    own, other = (rows(x['inputs'], x['mask']) for x in (train, tests))
    self.assertEmpty(own & other)
    common = problem.test['common']
    self.assertEmpty((own | other) & rows(common['inputs'], common['mask']))
    # Tests have the classes of the client's group.
    labels = np.asarray(tests['labels'])[0]
    self.assertEqual(
      [set(x.tolist()) for x in labels], [{0}, {0}, {1}, {1}, {2}, {2}]
    )
    self.assertEqual(problem.test['groups'].tolist(), [0, 0, 1, 1, 2, 2])
    self.assertEqual(problem.test['blueprint'].sum(), 6 * 21)

  def test_measures_equal_sklearn(self):
    keys = jax.random.split(jax.random.key(0), 8)
    models = jax.vmap(MADE.task.init)(keys)
    models = jax.tree.map(lambda x: x.reshape(2, 4, *x.shape[1:]), models)
    got = MADE.evaluate_clients(models)
    tests, common = MADE.test['clients'], MADE.test['common']
    real = np.asarray(common['mask']).ravel()
    everything = np.asarray(common['inputs']).reshape(len(real), -1)[real]
    truth = np.asarray(common['labels']).ravel()[real]
    want = {name: np.zeros((2, 4)) for name in ('pa', 'pf', 'ga', 'gf')}
    for s in range(2):
      for i in range(4):
        one = jax.tree.map(lambda x, s=s, i=i: x[s, i], models)
        guess = lambda x, one=one: np.asarray(
          MADE.network.apply(one, jnp.asarray(x))
        ).argmax(axis=1)
        mask = np.asarray(tests['mask'])[s, i]
        own = np.asarray(tests['labels'])[s, i][mask]
        mine = guess(np.asarray(tests['inputs'])[s, i][mask])
        theirs = guess(everything)
        f1 = lambda a, b: peers.f1_score(a, b, average='macro', zero_division=0)
        want['pa'][s, i] = np.mean(own == mine)
        want['pf'][s, i] = f1(own, mine)
        want['ga'][s, i] = np.mean(truth == theirs)
        want['gf'][s, i] = f1(truth, theirs)
    for name, key in (
      ('personal_accuracy', 'pa'),
      ('personal_f1', 'pf'),
      ('accuracy', 'ga'),
      ('macro_f1', 'gf'),
    ):
      np.testing.assert_allclose(got[name], want[key].mean(axis=1), rtol=1e-5)
    gap = 1 - np.abs(want['pa'] - want['ga'])
    np.testing.assert_allclose(got['distance'], gap.mean(axis=1), rtol=1e-5)
    np.testing.assert_allclose(
      got['worst_accuracy'], want['pa'].min(axis=1), rtol=1e-5
    )

  def test_some_take_part(self):
    problem = problems.clustered(
      'wine', num_clients=4, sampling='uniform(num_sampled=2)', **THREE
    )
    one = jax.tree.map(lambda x: x[0], problem.data)
    first, second = (
      problem.cohort(jax.random.key(1), one, t).client_ids.tolist()
      for t in (1, 2)
    )
    self.assertLen(set(first), 2)
    self.assertNotEqual(set(first), set(second))

  @parameterized.parameters(
    ({}, 'class 3 of group 0 has no examples: labels reach 2'),
    ({'samples_per_client': 1}, 'samples_per_client must be at least 2'),
    ({'test_share': 1.0}, r'test_share must lie in \(0.0, 1.0\); got 1.0'),
    ({'balance': 'even'}, "balance='even' is unknown"),
  )
  def test_says_what_is_wrong(self, options, message):
    with self.assertRaisesRegex(ValueError, message):
      problems.clustered('wine', num_clients=4, **options)

  def test_knobs(self):
    config = problems.ClusteredConfig(
      num_clients=6, split='overlapping', balance='imbalanced', seeds=(1, 2)
    )
    problem = config.problem(network='logistic_regression')
    self.assertEqual(np.bincount(problem.test['groups']).tolist(), [1, 3, 2])
    self.assertEqual(problem.test['blueprint'].shape, (2, 6, 10))
    with self.assertRaisesRegex(ValueError, 'read from local files: give'):
      problems.ClusteredConfig(dataset='mnist')
    with self.assertRaisesRegex(ValueError, 'num_clients must be at least 2'):
      problems.ClusteredConfig(num_clients=1)
    self.assertTrue(issubclass(type(config), config_lib.BaseConfig))


if __name__ == '__main__':
  absltest.main()
