# SPDX-License-Identifier: Apache-2.0
"""Principal components as a trunk."""

import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized

from jaxdl import networks, operators
from jaxdl.core.types import Network

KEY = jax.random.key(0)


def mlp(params, x, act, *, last):
  """A float64 reference."""
  for i, layer in enumerate(params):
    x = x @ np.float64(layer['kernel']) + np.float64(layer['bias'])
    if last or i < len(params) - 1:
      x = act(x)
  return x


class PODTest(parameterized.TestCase):
  def setUp(self):
    super().setUp()
    rng = np.random.default_rng(0)
    coefficients = rng.normal(size=(12, 4)) * [3, 1, 0.3, 0.1]
    self.outputs = (
      coefficients @ rng.normal(size=(4, 20)) + rng.normal(size=20)
    ).astype('float32')

  def test_full_rank_reproduces_the_training_set(self):
    basis = operators.pod_basis(self.outputs, 4)
    exact = (self.outputs - np.asarray(basis.mean)) @ np.asarray(basis.modes).T
    exact *= 4 / 20
    identity = Network(lambda key, u: {}, lambda params, u: u)
    net = operators.pod_deeponet(identity, basis)
    got = net.apply(net.init(KEY, exact), exact)
    np.testing.assert_allclose(got[..., 0], self.outputs, atol=1e-4)

  def test_modes_are_those_of_the_covariance(self):
    basis = operators.pod_basis(self.outputs, 3)
    values, vectors = np.linalg.eigh(np.cov(np.float64(self.outputs).T))
    np.testing.assert_allclose(
      np.abs(np.asarray(basis.modes) @ vectors[:, :-4:-1]) / np.sqrt(20),
      np.eye(3),
      atol=1e-4,
    )
    np.testing.assert_allclose(
      basis.energy, values[:-4:-1] / values.sum(), rtol=1e-4
    )
    self.assertTrue(np.all(np.diff(basis.energy) <= 0))
    np.testing.assert_allclose(
      basis.modes @ basis.modes.T, 20 * np.eye(3), atol=1e-3
    )

  def test_signs_of_odd_modes_do_not_hang_on_rounding(self):
    # Two entries of equal size and opposite sign: the first one is positive.
    mode = np.array([0.5, -1.0, 0.25, -0.25, 1.0, -0.5])
    for nudge in (-1e-12, 1e-12):
      nudged = mode + nudge * np.eye(6)[4]
      outputs = np.outer([1.0, -1.0, 2.0, -2.0], nudged)
      basis = operators.pod_basis(outputs, 1)
      np.testing.assert_allclose(
        basis.modes[0], -mode / np.linalg.norm(mode) * 6**0.5, rtol=1e-5
      )

  def test_learned_modes_are_appended(self):
    basis = operators.pod_basis(self.outputs, 3)
    u, y = jnp.ones((2, 6)), jnp.ones((20, 1))
    net = operators.pod_deeponet((5,), basis, trunk=(4, 2), use_bias=True)
    params = net.init(KEY, u, y)
    self.assertEqual(params['branch'][-1]['kernel'].shape, (5, 5))
    b = mlp(params['branch'], np.float64(u), np.tanh, last=False)
    t = mlp(params['trunk'], np.float64(y), np.tanh, last=True)
    modes = np.concatenate([basis.modes.T, t], 1)
    want = np.asarray(basis.mean) + b @ modes.T / 5
    np.testing.assert_allclose(net.apply(params, u, y)[..., 0], want, atol=1e-4)

  def test_says_what_to_change(self):
    with self.assertRaisesRegex(ValueError, 'num_modes must be at most 12'):
      operators.pod_basis(self.outputs, 13)
    with self.assertRaisesRegex(ValueError, 'finite'):
      operators.pod_basis(np.full((3, 4), np.nan), 1)
    basis = operators.pod_basis(self.outputs, 3)
    net = operators.pod_deeponet(networks.mlp((), 2, flatten=False), basis)
    with self.assertRaisesRegex(ValueError, '2 coefficients for 3 modes'):
      net.apply(net.init(KEY, jnp.ones((1, 6))), jnp.ones((1, 6)))


if __name__ == '__main__':
  absltest.main()
