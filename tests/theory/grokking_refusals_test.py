# SPDX-License-Identifier: Apache-2.0
"""Numbers that must not be computed, and those of complex weights."""

import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized

from jaxdl.theory import grokking


class RefusalTest(parameterized.TestCase):
  def test_outputs_that_are_no_numbers_are_wrong(self):
    model = grokking.Model(order=3, hidden=2)
    broken = jnp.full((2, 3), jnp.nan)
    labels = jnp.zeros((4,), jnp.int32)
    _, found = model.measured(jnp.ones((4, 2)), broken, labels)
    self.assertEqual(float(found['accuracy']), 0.0)

  @parameterized.parameters(
    grokking.inverses, grokking.identity, grokking.conjugacy_classes
  )
  def test_what_groups_have_is_asked_of_groups(self, fn):
    with self.assertRaisesRegex(ValueError, 'no Latin square'):
      fn(grokking.polynomial_table(5))

  @parameterized.parameters(
    ([[0.5, 1], [1, 0]], TypeError, 'whole numbers'),
    ([[0, 1, 2], [1, 2, 0]], ValueError, 'square'),
    ([[0, 1], [1, 9]], ValueError, 'from 0 to 1'),
  )
  def test_examples_are_of_tables(self, table, kind, message):
    with self.assertRaisesRegex(kind, message):
      grokking.group_dataset(table)

  def test_weights_and_examples_are_of_one_order(self):
    x, y = grokking.group_dataset(grokking.cyclic_table(5))
    with self.assertRaisesRegex(ValueError, r'inputs must lie in \[0, 4\)'):
      grokking.node_energy(jnp.ones(8), x, y)
    with self.assertRaisesRegex(ValueError, r'inputs and labels must be'):
      grokking.node_energy(jnp.ones(10), x[:3], y)
    method = grokking.make_method('trained', 3, hidden=2)
    with self.assertRaisesRegex(ValueError, r"data\['inputs'\] must lie in"):
      grokking.train(
        method,
        {'inputs': x, 'labels': y},
        num_epochs=1,
        key=jax.random.key(0),
      )

  def test_energies_of_complex_weights_are_those_of_numpy(self):
    rng = np.random.default_rng(0)
    x, y = grokking.group_dataset(grokking.cyclic_table(5))
    w = rng.normal(size=10) + 1j * rng.normal(size=10)
    targets = np.eye(5)[y] - np.eye(5)[y].mean(axis=0)
    z = targets.T @ (w[x[:, 0]] + w[5 + x[:, 1]]) ** 2
    got = grokking.node_energy(jnp.asarray(w, jnp.complex64), x, y)
    np.testing.assert_allclose(got, 0.5 * (np.abs(z) ** 2).sum(), rtol=1e-5)

  @parameterized.parameters('relu', 'relu_squared', 'gelu', 'leaky_relu')
  def test_complex_weights_need_analytic_activations(self, activation):
    with self.assertRaisesRegex(ValueError, 'no analytic function'):
      grokking.Model(order=5, is_complex=True, activation=activation)
    grokking.Model(order=5, is_complex=True, activation='tanh')

  def test_complex_backprop_is_that_of_numpy(self):
    rng = np.random.default_rng(1)
    f, v = (
      rng.normal(size=s) + 1j * rng.normal(size=s) for s in ((6, 3), (3, 2))
    )
    y = rng.normal(size=(6, 2))
    gap = y - f @ v
    want = (gap - gap.mean(axis=0)) @ v.conj().T
    got = grokking.backprop_gradient(*(jnp.asarray(a) for a in (f, v, y)))
    np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-4)
    with self.assertRaisesRegex(ValueError, r'top must have shape \(3, 2\)'):
      grokking.backprop_gradient(f, v.T, y)

  def test_broken_and_zero_features(self):
    with self.assertRaisesRegex(ValueError, 'features must be finite'):
      grokking.repulsion_matrix(np.full((4, 2), np.nan), 0.1)
    found = grokking.gram_diagnostics(jnp.zeros((4, 3)))
    self.assertEqual(float(found.sample_distance), 0.0)

  def test_coupons_of_any_strength(self):
    self.assertAlmostEqual(grokking.coupon_bound([1.0, 2.0], 2000.0), 3.0, 6)

  @parameterized.parameters({'b1': 1.0}, {'b2': -0.1}, {'eps': -1.0})
  def test_moments_of_adam_decay(self, **option):
    with self.assertRaisesRegex(ValueError, next(iter(option))):
      grokking.coupled_adam(**option)


if __name__ == '__main__':
  absltest.main()
