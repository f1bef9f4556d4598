# SPDX-License-Identifier: Apache-2.0
"""Flows as time steps, and multigrid as textbooks have it."""

import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized

from jaxdl import networks, operators
from jaxdl.core import types
from jaxdl.operators import flows, multigrid

PATHS = np.random.default_rng(0).normal(size=(2, 3, 4, 6)).astype('float32')
BATCHES = {
  'inputs': jnp.asarray(PATHS[..., :1]),
  'targets': jnp.asarray(PATHS[..., 1:]),
  'mask': jnp.array([[True, True, True], [True, False, False]]),
}
DOUBLE = types.Network(lambda key, w: (), lambda params, w: 2 * w)


class FlowTest(parameterized.TestCase):
  def test_pairs_are_neighbors_in_time(self):
    part = {k: v[0] for k, v in BATCHES.items()}
    pairs = flows.one_step(part, 3)
    for t in range(3):
      rows = slice(3 * t, 3 * t + 3)
      for name, at in (('inputs', t), ('targets', t + 1)):
        np.testing.assert_array_equal(
          pairs[name][rows, ..., 0], PATHS[0, ..., at]
        )
    self.assertEqual(pairs['mask'].shape, (9,))
    with self.assertRaisesRegex(ValueError, r"no entry \['targets'\]"):
      flows.one_step({'inputs': part['inputs']}, 3)

  def test_errors_of_rollouts(self):
    kept = np.asarray(BATCHES['mask'])
    for network, factor in ((DOUBLE, 2.0), (None, 1.0)):
      got = flows.rollout_errors(network, (), BATCHES, num_times=2)
      for t, value in enumerate(got, start=1):
        start, want = (PATHS[..., i].astype('float64') for i in (0, t))
        gap = np.linalg.norm(factor**t * start - want, axis=-1)
        each = (gap / np.linalg.norm(want, axis=-1))[kept]
        self.assertAlmostEqual(float(value), each.mean(), places=5)
    with self.assertRaisesRegex(ValueError, 'num_times must be at most 5'):
      flows.rollout_errors(None, None, BATCHES, num_times=6)

  def test_a_residual_stepper_adds_its_input(self):
    network = flows.residual(networks.mlp((), 3, kernel_init='zeros'))
    w = jnp.arange(6.0).reshape(2, 3)
    params = network.init(jax.random.key(0), w)
    np.testing.assert_array_equal(network.apply(params, w), w)


class MultigridTest(parameterized.TestCase):
  def test_the_additive_cycle_conditions(self):
    alone, both = multigrid.condition_numbers(16, 5)
    # Eigenvalues of five points: 1 to 1 + 8 n^2.
    self.assertAlmostEqual(alone, 1 + 8 * 16**2, delta=1e-6 * alone)
    self.assertLess(both, 8.0)

  def test_a_cycle_of_textbooks_reduces_any_error(self):
    self.assertLess(multigrid.error_factor(8, 2, num_cycles=4), 0.2)

  def test_models_and_losses_by_name(self):
    y = jnp.ones((2, 5))
    loss = operators.make_loss('absolute_lp(power=1)')
    np.testing.assert_allclose(loss(3 * y, y), 10.0)
    with self.assertRaisesRegex(ValueError, "no option 'pow'.*'power'"):
      operators.make_loss('absolute_lp(pow=1)')


if __name__ == '__main__':
  absltest.main()
