# SPDX-License-Identifier: Apache-2.0
"""What may be permuted, and what is refused instead of turned wrong."""

import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized
from flax import linen as nn

from jaxdl import networks
from jaxdl.theory import matching


class Net(nn.Module):
  """A module of a function."""

  fn: object

  @nn.compact
  def __call__(self, x):
    return self.fn(x)


def residual(x):
  below = nn.relu(nn.Dense(2)(x))
  return nn.Dense(3)(below + nn.relu(nn.Dense(2)(below)))


def shared(x):
  again = nn.Dense(4)
  return nn.Dense(3)(nn.relu(again(nn.relu(again(nn.relu(nn.Dense(4)(x)))))))


class ChainTest(parameterized.TestCase):
  @parameterized.parameters(residual, shared)
  def test_units_that_cannot_move_alone_are_refused(self, fn):
    with self.assertRaisesRegex(ValueError, 'network is no chain of layers'):
      matching.layer_chain(Net(fn), jnp.ones((1, 4)))

  @parameterized.parameters(
    ([0, 0, 1], ValueError, r'permutations\[0\] must hold each of 0 to 2 once'),
    ([0, 1, 9], ValueError, r'permutations\[0\] must hold each of 0 to 2 once'),
    ([-1, 0, 1], ValueError, 'each of 0 to 2 once'),
    ([True] * 3, TypeError, 'must hold integers; got bool'),
    ([0.0, 1.0, 2.0], TypeError, 'must hold integers; got float'),
  )
  def test_orders_name_each_unit_once(self, order, kind, message):
    x = jnp.ones((1, 4))
    network = networks.mlp((3,), 2)
    params = network.init(jax.random.key(0), x)
    chain = matching.layer_chain(network, x)
    with self.assertRaisesRegex(kind, message):
      matching.permute_units(chain, params, [np.array(order)])

  def test_models_of_other_networks_are_refused(self):
    x = jnp.ones((4, 4))
    network, other = networks.mlp((6, 5), 2), networks.mlp((7, 5), 2)
    params, wrong = (n.init(jax.random.key(0), x) for n in (network, other))
    with self.assertRaisesRegex(ValueError, 'reference.* 6 units'):
      matching.align(network, params, wrong, x, by='weights')

  def test_one_example_matches_nothing(self):
    x = jnp.ones((1, 4))
    network = networks.mlp((6,), 2)
    params = network.init(jax.random.key(0), x)
    with self.assertRaisesRegex(ValueError, 'dense_1 has 1 samples'):
      matching.align(network, params, params, x)


class RefusalTest(parameterized.TestCase):
  def test_graphs_are_symmetric_without_loops(self):
    with self.assertRaisesRegex(ValueError, 'zero diagonal'):
      matching.cluster_units(np.eye(4), 2)
    with self.assertRaisesRegex(ValueError, 'symmetric'):
      matching.cluster_units(np.triu(np.ones((4, 4)), 1), 2)

  def test_moments_are_of_the_same_real_units(self):
    x = np.ones((3, 2))
    one, other = (matching.activation_moments(v) for v in (x, x[:, :1]))
    with self.assertRaisesRegex(ValueError, 'of the same units'):
      matching.merge_moments(one, other)
    with self.assertRaisesRegex(TypeError, 'complex'):
      matching.activation_moments(x * 1j)
    with self.assertRaisesRegex(ValueError, 'second must be at most 0'):
      one.between(0, 1)

  def test_widths_of_the_largest_numbers(self):
    x = np.array([[-3e38], [3e38]], np.float32)
    found = matching.bin_units(x, 4, binning='width')
    self.assertEqual(found[:, 0].tolist(), [0, 3])

  def test_dead_layers_are_known(self):
    x = np.random.default_rng(0).normal(size=(9, 2))
    for broken in (x * 0, x * np.nan):
      moments = jax.jit(matching.activation_moments)(x, broken)
      self.assertEqual(matching.Layers('a', moments, moments).dead, [1])
    moments = matching.activation_moments(x, x)
    self.assertEqual(matching.Layers('a', moments, moments).dead, [])

  def test_fewer_groups_where_units_are_dead(self):
    x = np.random.default_rng(0).normal(size=(30, 3))
    x[:, 0] = 0
    moments = matching.activation_moments(x, x)
    layer = matching.Layers('a', moments, moments)
    rows = matching.measure_layers(
      [layer], 'clusters(num_clusters=6)', key=jax.random.key(0)
    )
    self.assertLen(rows, 4)
    with self.assertRaisesRegex(ValueError, 'exceeds the 6 units of both'):
      matching.measure_layers(
        [layer], 'clusters(num_clusters=7)', key=jax.random.key(0)
      )


if __name__ == '__main__':
  absltest.main()
