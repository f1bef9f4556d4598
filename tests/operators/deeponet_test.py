# SPDX-License-Identifier: Apache-2.0
"""Branch-trunk networks and their fully connected relatives."""

import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized

from jaxdl import networks, operators

KEY = jax.random.key(0)


def dense(*sizes):
  return networks.mlp(
    sizes[:-1], sizes[-1], kernel_init='glorot', flatten=False
  )


def count(net, *inputs):
  zeros = [jax.ShapeDtypeStruct(x, 'float32') for x in inputs]
  params = jax.eval_shape(net.init, KEY, *zeros)
  return sum(x.size for x in jax.tree.leaves(params))


def data(num=4, sensors=6, points=5, dim=2, seed=0):
  rng = np.random.default_rng(seed)
  u = jnp.asarray(rng.normal(size=(num, sensors)), 'float32')
  y = jnp.asarray(rng.uniform(size=(points, dim)), 'float32')
  return u, y


def run(net, params, u, y, aligned=False):
  return jax.jit(lambda p, u, y: net.apply(p, u, y, aligned=aligned))(
    params, u, y
  )


def mlp(params, x, act, *, last):
  """A float64 reference."""
  for i, layer in enumerate(params):
    x = x @ np.float64(layer['kernel']) + np.float64(layer['bias'])
    if last or i < len(params) - 1:
      x = act(x)
  return x


class CountTest(parameterized.TestCase):
  def test_published_sizes(self):
    u, y = (1, 100), (1, 1)
    relu = operators.deeponet((40, 40), (40, 40, 40))
    self.assertEqual(count(relu, u, y), 9041)
    small = operators.deeponet((40, 40), (40, 40))
    self.assertEqual(count(small, u, y), 7401)
    stacked = operators.deeponet(operators.stacked_branch(40), (40, 40, 40))
    self.assertEqual(count(stacked, u, y), 85_001)
    self.assertEqual(count(dense(100, 100, 1), u, y), 20_401)
    self.assertEqual(count(dense(40, 40, 1), u, y), 5_761)
    no_bias = operators.deeponet((40, 40), (40, 40), use_bias=False)
    self.assertEqual(count(no_bias, u, y), 7400)


class DeepONetTest(parameterized.TestCase):
  def test_equals_the_formula_in_float64(self):
    u, y = data()
    net = operators.deeponet((7, 5), (6, 5), activation='tanh')
    params = net.init(KEY, u, y)
    params['bias'] = jnp.array([0.7])
    b = mlp(params['branch'], np.float64(u), np.tanh, last=False)
    t = mlp(params['trunk'], np.float64(y), np.tanh, last=True)
    got = run(net, params, u, y, aligned=True)
    np.testing.assert_allclose(got[..., 0], b @ t.T + 0.7, atol=1e-5)

  @parameterized.parameters(
    (1, 'independent'),
    (3, 'independent'),
    (3, 'split_both'),
    (3, 'split_branch'),
    (3, 'split_trunk'),
  )
  def test_layouts_agree(self, num_outputs, multi_output):
    u, y = data(num=4, points=5)
    widths = {'split_branch': (12, 4), 'split_trunk': (4, 12)}
    pb, pt = widths.get(multi_output, (6, 6))
    net = operators.deeponet(
      (5, pb), (pt,), num_outputs=num_outputs, multi_output=multi_output
    )
    params = net.init(KEY, u, y)
    table = run(net, params, u, y, aligned=True)
    self.assertEqual(table.shape, (4, 5, num_outputs))
    pairs_u, pairs_y = jnp.repeat(u, 5, 0), jnp.tile(y, (4, 1))
    pairs = run(net, params, pairs_u, pairs_y)
    np.testing.assert_allclose(pairs.reshape(table.shape), table, atol=1e-6)
    own = run(net, params, u, jnp.broadcast_to(y[None], (4, *y.shape)))
    np.testing.assert_allclose(own, table, atol=1e-6)

  def test_split_strategies_are_what_they_say(self):
    u, y = data()
    net = operators.deeponet(
      (6,), (3,), num_outputs=2, multi_output='split_branch', activation='tanh'
    )
    params = net.init(KEY, u, y)
    b = mlp(params['branch'], np.float64(u), np.tanh, last=False)
    t = mlp(params['trunk'], np.float64(y), np.tanh, last=True)
    want = np.stack([b[:, :3] @ t.T, b[:, 3:] @ t.T], -1)
    got = run(net, params, u, y, aligned=True)
    np.testing.assert_allclose(got, want, atol=1e-5)

  def test_independent_outputs_are_separate_networks(self):
    u, y = data()
    net = operators.deeponet((4, 3), (3,), num_outputs=2)
    params = net.init(KEY, u, y)
    one = operators.deeponet((4, 3), (3,))
    both = run(net, params, u, y, aligned=True)
    for i in range(2):
      part = jax.tree.map(lambda x, i=i: x[i], params) | {
        'bias': params['bias'][i : i + 1]
      }
      np.testing.assert_allclose(
        run(one, part, u, y, aligned=True)[..., 0], both[..., i], atol=1e-6
      )

  def test_stacked_with_block_weights_is_unstacked(self):
    u, y = data()
    p, hidden = 3, 4
    stacked = operators.deeponet(operators.stacked_branch(p, (hidden, 1)), (p,))
    params = stacked.init(KEY, u, y)
    first, second = params['branch']
    block = np.zeros((p * hidden, p), 'float32')
    for k in range(p):
      block[k * hidden : (k + 1) * hidden, k] = second['kernel'][k, :, 0]
    kernel = jnp.moveaxis(first['kernel'], 0, 1)
    merged = [
      {
        'kernel': kernel.reshape(-1, p * hidden),
        'bias': first['bias'].reshape(-1),
      },
      {'kernel': jnp.asarray(block), 'bias': second['bias'][:, 0]},
    ]
    plain = operators.deeponet((p * hidden, p), (p,))
    np.testing.assert_allclose(
      run(plain, params | {'branch': merged}, u, y, aligned=True),
      run(stacked, params, u, y, aligned=True),
      atol=1e-6,
    )

  def test_several_input_functions_and_grids(self):
    u, y = data()
    images = jnp.ones((4, 12, 12, 1))
    branch = operators.product_branch(
      dense(3),
      operators.conv_branch(channels=(2, 3), layers=(5, 3), kernel_size=3),
    )
    net = operators.deeponet(branch, (3,))
    params = net.init(KEY, (u, images), y)
    out = run(net, params, (u, images), y, aligned=True)
    self.assertEqual(out.shape, (4, 5, 1))
    # A product: doubling the linear branch doubles the (bias-free) output.
    params['branch'][0] = jax.tree.map(lambda x: 2 * x, params['branch'][0])
    again = run(net, params, (u, images), y, aligned=True)
    np.testing.assert_allclose(again, 2 * out, atol=1e-6)

  def test_periodic_trunk_and_hard_boundary_are_exact(self):
    u, _ = data()
    y = jnp.array([[0.0], [0.25], [1.0]])
    net = operators.deeponet(
      (4, 3), (3,), trunk_features=operators.periodic_features(2)
    )
    params = net.init(KEY, u, y)
    out = run(net, params, u, y, aligned=True)[..., 0]
    np.testing.assert_allclose(out[:, 0], out[:, 2], atol=1e-5)
    hard = operators.hard_boundary(
      net, operators.box_distance, lift=lambda y: 2 + y[..., 0]
    )
    inside = run(hard, params, u, y, aligned=True)[..., 0]
    np.testing.assert_array_equal(inside[:, [0, 2]], [[2.0, 3.0]] * 4)
    np.testing.assert_allclose(inside[:, 1], 2.25 + 0.75 * out[:, 1], atol=1e-6)
    own = run(hard, params, u, jnp.broadcast_to(y[None], (4, 3, 1)))
    np.testing.assert_allclose(own[..., 0], inside, atol=1e-6)

  def test_hard_boundary_of_a_grid_network(self):
    net = operators.cnn(channels=2, num_layers=2)
    distance = np.zeros((5, 5), 'float32')
    distance[1:-1, 1:-1] = 1
    hard = operators.hard_boundary(net, distance, lift=1.5)
    f = jnp.ones((2, 5, 5, 1))
    params = hard.init(KEY, f)
    out, free = hard.apply(params, f), net.apply(params, f)
    np.testing.assert_array_equal(out[:, 0], 1.5)
    np.testing.assert_allclose(out[:, 2, 2], 1.5 + free[:, 2, 2], atol=1e-6)

  def test_baselines_share_the_interface(self):
    u, y = data()
    pairs = jnp.repeat(u, 5, 0), jnp.tile(y, (4, 1))
    for net in (
      dense(8, 2),
      networks.residual_mlp(2, channels=4),
    ):
      params = net.init(KEY, u, y[:4])
      table = run(net, params, u, y, aligned=True)
      self.assertEqual(table.shape, (4, 5, 2))
      flat = run(net, params, *pairs)
      np.testing.assert_allclose(flat.reshape(table.shape), table, atol=1e-6)

  def test_resnet_equals_the_formula(self):
    u, _ = data()
    net = networks.residual_mlp(1, channels=4, num_layers=1, activation='tanh')
    p = net.init(KEY, u)
    x = mlp([p['lift']], np.float64(u), np.tanh, last=False)
    x = x + mlp(p['blocks'][0], np.tanh(x), np.tanh, last=False)
    want = mlp([p['head']], np.tanh(x), np.tanh, last=False)
    np.testing.assert_allclose(net.apply(p, u), want, atol=1e-5)

  def test_parameters_take_the_type_of_the_inputs(self):
    u, y = data()
    net = operators.deeponet((3,), (3,))
    u, y = u.astype('bfloat16'), y.astype('bfloat16')
    params = net.init(KEY, u, y)
    self.assertEqual(run(net, params, u, y, aligned=True).dtype, jnp.bfloat16)

  def test_says_what_to_change(self):
    u, y = data()
    net = operators.deeponet((4, 3), (3,))
    params = net.init(KEY, u, y)
    with self.assertRaisesRegex(
      ValueError, 'branch: .*expects 6 values per example, got 3.*resample'
    ):
      run(net, params, u[:, :3], y, aligned=True)
    with self.assertRaisesRegex(ValueError, 'trunk: .*expects 2'):
      run(net, params, u, y[:, :1], aligned=True)
    with self.assertRaisesRegex(ValueError, '5 rows but there are 4'):
      run(net, params, u, y)
    with self.assertRaisesRegex(ValueError, 'last widths must match'):
      operators.deeponet((4,), (3,)).init(KEY, u, y)
    with self.assertRaisesRegex(ValueError, 'do not divide into 2'):
      operators.deeponet(
        (3,), (3,), num_outputs=2, multi_output='split_both'
      ).init(KEY, u, y)
    with self.assertRaisesRegex(TypeError, r'got 32: write branch=\(32,\)'):
      operators.deeponet(32, 32)
    with self.assertRaisesRegex(ValueError, 'must end in 1'):
      operators.stacked_branch(3, (4, 2))
    flat = dense(3)
    params = flat.init(KEY, u, y)
    with self.assertRaisesRegex(ValueError, 'or pass aligned=True'):
      run(flat, params, u, y)


if __name__ == '__main__':
  absltest.main()
