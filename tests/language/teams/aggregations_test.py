# SPDX-License-Identifier: Apache-2.0
"""How classifiers become one: votes by hand, means, and robust rules."""

import functools

import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized

from jaxdl.language import teams

ONE = ('majority',)


class VotesTest(parameterized.TestCase):
  def test_votes(self):
    outputs = jnp.asarray(np.eye(3)[[[0], [0], [1]]])
    mask = jnp.ones(3, bool)
    vote = functools.partial(teams.aggregate, outputs, mask)
    how = ('majority', 'weighted')
    ones = jnp.ones(3)
    self.assertEqual(int(vote(ones, 0, aggregations=how).argmax()), 0)
    heavy = jnp.array([1.0, 1.0, 3.0])
    self.assertEqual(int(vote(heavy, 1, aggregations=how).argmax()), 1)
    # One vote each: the lowest class.
    pair = jnp.array([False, True, True])
    found = teams.aggregate(outputs, pair, ones, aggregations=ONE)
    self.assertEqual(int(found.argmax()), 0)

  @parameterized.parameters('mean', 'median', 'max_confidence', 'weighted')
  def test_who_is_out_has_no_say(self, spec):
    outputs = jnp.array([[[np.nan, np.nan]], [[0.2, 0.8]]])
    weights = jnp.array([np.nan, 1.0])
    vote = functools.partial(
      teams.aggregate, outputs, weights=weights, aggregations=(spec,)
    )
    found = vote(mask=jnp.array([False, True]))
    self.assertEqual(int(found.argmax()), 1)
    self.assertTrue(np.isfinite(found).all())
    np.testing.assert_array_equal(vote(mask=jnp.zeros(2, bool)), [[0, 0]])

  def test_types_are_those_of_the_outputs(self):
    outputs = jnp.ones((2, 1, 2), jnp.bfloat16)
    found = teams.aggregate(
      outputs, jnp.ones(2, bool), jnp.ones(2), 1, aggregations=('mean', *ONE)
    )
    self.assertEqual(found.dtype, jnp.bfloat16)

  def test_nothing_to_choose_from(self):
    with self.assertRaisesRegex(ValueError, 'aggregations is empty'):
      teams.aggregate(
        jnp.ones((1, 1, 2)), jnp.ones(1, bool), jnp.ones(1), aggregations=()
      )

  @parameterized.parameters(
    'majority',
    'weighted',
    'mean',
    'log_mean(floor=0.01)',
    'median',
    'max_confidence',
  )
  def test_against_float64(self, spec):
    rng = np.random.default_rng(1)
    outputs = rng.dirichlet(np.ones(4), size=(5, 7))
    mask = np.array([True, False, True, True, True])
    weights = rng.uniform(0.5, 2.0, 5)
    own, w = outputs[mask], weights[mask]
    votes = np.eye(4)[own.argmax(-1)]
    want = {
      'majority': votes.sum(0),
      'weighted': np.einsum('c,cbk->bk', w, votes),
      'mean': np.einsum('c,cbk->bk', w / w.sum(), own),
      'log_mean(floor=0.01)': np.einsum(
        'c,cbk->bk', w / w.sum(), np.log(np.maximum(own, 0.01))
      ),
      'median': np.median(own, axis=0),
      'max_confidence': own[own.max(-1).argmax(0), np.arange(7)],
    }[spec]
    found = teams.aggregate(
      jnp.asarray(outputs, jnp.float32),
      jnp.asarray(mask),
      jnp.asarray(weights, jnp.float32),
      aggregations=(spec,),
    )
    np.testing.assert_allclose(found, want, rtol=2e-5)

  def test_a_robust_rule_leaves_colluders_out(self):
    # Seven agents that differ here and there, five that agree on a lie.
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 4, 60)
    says = np.tile(truth, (12, 1))
    for row in says[:7]:
      wrong = rng.random(60) < 0.4
      row[wrong] = rng.integers(0, 4, wrong.sum())
    says[7:] = (truth + 1) % 4
    says[7:, ::9] = truth[::9]
    outputs = jnp.asarray(np.eye(4, dtype=np.float32)[says])
    everybody = jnp.ones(12, bool)
    told = 'rule(caf, num_byzantine=5)'
    weights = np.asarray(teams.credit(outputs, everybody, told))
    self.assertLess(weights[7:].sum(), 0.1 * weights.sum())
    right = lambda spec: float(
      (
        teams.aggregate(
          outputs, everybody, jnp.ones(12), aggregations=(spec,)
        ).argmax(-1)
        == truth
      ).mean()
    )
    self.assertGreater(right(told), right('majority') + 0.05)
    with self.assertRaisesRegex(ValueError, r'must be rule\(...\)'):
      teams.credit(outputs, everybody, 'majority')


if __name__ == '__main__':
  absltest.main()
