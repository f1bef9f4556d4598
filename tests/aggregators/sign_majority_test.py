# SPDX-License-Identifier: Apache-2.0
"""Votes on signs: ties, zeros, adversaries, who was with the majority."""

import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized

from jaxdl import aggregators

X = jnp.array([
  [3.0, 0.0, -1.0, 0.0],
  [-0.1, 0.0, -2.0, 2.0],
  [0.2, 0.0, 5.0, -9.0],
])  # fmt: skip


class SignMajorityTest(parameterized.TestCase):
  def test_worked_values(self):
    got = aggregators.sign_majority(X)
    np.testing.assert_array_equal(got, [1, 0, -1, 0])

  def test_not_finite_votes(self):
    bad = jnp.array([[jnp.nan], [jnp.inf], [-1.0]])
    np.testing.assert_array_equal(aggregators.sign_majority(bad), [1])
    bad = jnp.array([[-jnp.inf], [-jnp.inf], [jnp.nan]])
    np.testing.assert_array_equal(aggregators.sign_majority(bad), [-1])

  def test_a_minority_does_not_turn_what_the_others_agree_on(self):
    honest = np.abs(np.random.default_rng(0).normal(size=(6, 5)))
    sent = np.full((5, 5), -1e30)
    rows = jnp.asarray(np.concatenate([honest, sent]), jnp.float32)
    np.testing.assert_array_equal(aggregators.sign_majority(rows), np.ones(5))
    # Half of them can, and the registry does not let f be so large.
    turned = aggregators.sign_majority(rows[1:])
    np.testing.assert_array_equal(turned, np.zeros(5))
    with self.assertRaisesRegex(ValueError, r'sign_majority needs n >= 2f\+1'):
      aggregators.make_aggregator(
        'sign_majority', num_clients=10, num_byzantine=5
      )

  def test_padding_does_not_vote(self):
    rows = jnp.concatenate([X, jnp.full((2, 4), jnp.nan)])
    mask = jnp.array([True, True, True, False, False])
    run = jax.jit(aggregators.sign_majority)
    np.testing.assert_array_equal(run(rows, mask=mask), [1, 0, -1, 0])
    np.testing.assert_array_equal(
      run(rows, mask=jnp.zeros(5, bool)), np.zeros(4)
    )

  def test_who_was_with_the_majority(self):
    got = aggregators.weights_of(aggregators.sign_majority, X)
    # Of four coordinates: halves of the first and third, ties are nobody's.
    np.testing.assert_allclose(got, [2 / 8, 1 / 8, 1 / 8])
    server = aggregators.make_aggregator(
      'sign_majority', num_clients=3, num_byzantine=1
    )
    shares = server.explain(X, server.init(X[0]))
    np.testing.assert_allclose(shares, got)
    tree = {'a': X[:, :1], 'b': X[:, 1:].reshape(3, 3, 1)}
    np.testing.assert_allclose(
      aggregators.weights_of(aggregators.sign_majority, tree), got
    )

  def test_no_weights(self):
    server = aggregators.make_aggregator('sign_majority', num_clients=3)
    with self.assertRaisesRegex(ValueError, 'weights: sign_majority takes no'):
      server.apply(X, (), weights=jnp.ones(3))

  def test_no_slope(self):
    slope = jax.grad(lambda x: aggregators.sign_majority(x).sum())(X)
    np.testing.assert_array_equal(slope, np.zeros_like(X))


if __name__ == '__main__':
  absltest.main()
