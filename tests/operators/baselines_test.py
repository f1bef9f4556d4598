# SPDX-License-Identifier: Apache-2.0
"""Convolutional and recurrent baselines, and networks by name."""

import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized

from jaxdl import operators
from jaxdl.networks import functional

KEY = jax.random.key(0)


def count(net, *shapes):
  inputs = [jax.ShapeDtypeStruct(s, 'float32') for s in shapes]
  params = jax.eval_shape(net.init, KEY, *inputs)
  return sum(x.size for x in jax.tree.leaves(params))


def run(net, params, *inputs):
  return jax.jit(net.apply)(params, *inputs)


class UNetTest(parameterized.TestCase):
  def test_counts(self):
    self.assertEqual(count(operators.unet(), (1, 32, 32, 1)), 2_357_441)
    self.assertEqual(count(operators.unet(), (1, 32, 1)), 789_089)

  def test_shifts_by_the_coarsest_cell_commute_on_a_periodic_grid(self):
    net = operators.unet(channels=2, num_levels=2, padding='circular')
    f = jax.random.normal(jax.random.key(1), (2, 16, 1))
    params = net.init(KEY, f)
    np.testing.assert_allclose(
      run(net, params, jnp.roll(f, 4, 1)),
      jnp.roll(run(net, params, f), 4, 1),
      atol=1e-4,
    )

  def test_odd_sizes_and_groups(self):
    net = operators.unet(channels=2, num_levels=1, num_groups=2, out_channels=3)
    f = jax.random.normal(jax.random.key(1), (2, 7, 6, 2))
    params = net.init(KEY, f)
    self.assertEqual(run(net, params, f).shape, (2, 7, 6, 3))
    with self.assertRaisesRegex(ValueError, 'cannot be halved num_levels=1'):
      net.apply(params, f[:, :1])
    with self.assertRaisesRegex(ValueError, 'num_groups=3 must divide'):
      operators.unet(channels=2, num_groups=3)

  def test_normalization_removes_the_scale_of_the_input(self):
    net = operators.unet(channels=2, num_levels=1)
    f = jax.random.normal(jax.random.key(1), (2, 8, 1))
    params = net.init(KEY, f)
    zero = lambda layer: (
      layer | {'conv': layer['conv'] | {'bias': 0 * layer['conv']['bias']}}
    )
    params['lift'][0] = zero(params['lift'][0])
    out = run(net, params, f)
    np.testing.assert_allclose(
      run(net, params, 5 * f), out, atol=1e-3 * float(jnp.abs(out).max())
    )


class LocalTest(parameterized.TestCase):
  def test_dilated_count_and_reach(self):
    self.assertEqual(
      count(operators.dilated_resnet(), (1, 32, 32, 1)),
      (9 * 48 + 48) + 28 * (9 * 48 * 48 + 48) + (9 * 48 + 1),
    )
    net = operators.dilated_resnet(
      channels=2, num_layers=1, dilations=(1, 2), activation='identity'
    )
    f = jnp.zeros((1, 21, 1))
    params = net.init(KEY, f)
    gap = run(net, params, f.at[0, 10].set(1.0)) - run(net, params, f)
    moved = np.flatnonzero(np.abs(gap[0, :, 0]) > 1e-7)
    # One cell from each end, three from the block.
    self.assertEqual((moved.min(), moved.max()), (5, 15))

  def test_cnn_reaches_one_cell_per_layer(self):
    net = operators.cnn(channels=2, num_layers=3)
    f = jnp.zeros((1, 15, 1))
    params = net.init(KEY, f)
    gap = run(net, params, f.at[0, 7].set(1.0)) - run(net, params, f)
    moved = np.flatnonzero(np.abs(gap[0, :, 0]) > 1e-7)
    self.assertEqual((moved.min(), moved.max()), (4, 10))

  def test_mgnet_without_activation_is_linear_multigrid(self):
    net = operators.mgnet(channels=2, iterations='11,20', activation='identity')
    f = jax.random.normal(jax.random.key(1), (2, 8, 1))
    params = net.init(KEY, f)
    lift, head = params['lift'], params['head']
    x = functional.convolve(f, lift['kernel'], lift['bias'], width=1)
    u = operators.v_cycle(params['cycles'][0], x, transfer='residual')
    want = u @ head['kernel'][0] + head['bias'][None, None]
    np.testing.assert_allclose(run(net, params, f), want, atol=1e-5)

  def test_mgnet_smooths_nonlinearly(self):
    # One level, one step: u = relu(S relu(f)), the formula of its authors.
    net = operators.mgnet(channels=2, iterations='10')
    f = jax.random.normal(jax.random.key(1), (2, 8, 1))
    params = net.init(KEY, f)
    lift, head = params['lift'], params['head']
    x = functional.convolve(f, lift['kernel'], lift['bias'], width=1)
    s = params['cycles'][0][0]['pre'][0]['S']['kernel']
    u = jax.nn.relu(functional.convolve(jax.nn.relu(x), s, width=1))
    want = u @ head['kernel'][0] + head['bias'][None, None]
    np.testing.assert_allclose(run(net, params, f), want, atol=1e-5)


class SequenceTest(parameterized.TestCase):
  @parameterized.parameters('lstm', 'gru')
  def test_reads_in_order_and_decodes_causally(self, cell):
    net = operators.seq2seq(channels=3, cell=cell)
    u = jax.random.normal(jax.random.key(1), (2, 5))
    y = jnp.linspace(0, 1, 4)[:, None]
    params = net.init(KEY, u, y)
    out = run(net, params, u, y)
    self.assertEqual(out.shape, (2, 4, 1))
    later = run(net, params, u, y.at[2].set(5.0))
    np.testing.assert_allclose(later[:, :2], out[:, :2], atol=1e-6)
    self.assertGreater(float(jnp.abs(later - out)[:, 2:].min()), 1e-6)
    turned = run(net, params, u[:, ::-1], y)
    self.assertGreater(float(jnp.abs(turned - out).max()), 1e-4)
    with self.assertRaisesRegex(ValueError, 'needs aligned data'):
      net.apply(params, u, y, aligned=False)

  def test_lstm_equals_its_equations(self):
    net = operators.seq2seq(channels=3)
    u = jax.random.normal(jax.random.key(1), (2, 4))
    y = jnp.linspace(0, 1, 3)[:, None]
    params = jax.tree.map(np.float64, net.init(KEY, u, y))['params']
    sigmoid = lambda x: 1 / (1 + np.exp(-x))

    def cell(p, h, c, x):
      gate = lambda n: (
        x @ p[f'i{n}']['kernel'] + h @ p[f'h{n}']['kernel'] + p[f'h{n}']['bias']
      )
      c = sigmoid(gate('f')) * c + sigmoid(gate('i')) * np.tanh(gate('g'))
      return sigmoid(gate('o')) * np.tanh(c), c

    h = c = np.zeros((2, 3))
    for step in np.float64(u).T:
      h, c = cell(params['encoder'], h, c, step[:, None])
    want = []
    for point in np.float64(y):
      h, c = cell(params['decoder'], h, c, np.tile(point, (2, 1)))
      want.append(h @ params['head']['kernel'] + params['head']['bias'])
    got = run(net, {'params': jax.tree.map(np.float32, params)}, u, y)
    np.testing.assert_allclose(got, np.stack(want, 1), atol=1e-5)


class RegistryTest(parameterized.TestCase):
  @parameterized.parameters(
    'cnn(channels=4, num_layers=2)',
    'deeponet((4, 3), trunk_layers=(5, 3), multi_output=split_both)',
    'fno(modes=3, channels=4, num_layers=1)',
    'fno((3, 3), convention=neuralop, channels=4, num_layers=1)',
    'mgno(channels=4, iterations="11,20", num_layers=1)',
    'mgno_helmholtz(channels=4, iterations="11,20", num_layers=1)',
    'mlp(5)',
    'pod_deeponet(4)',
    'unet(channels=4, num_levels=1)',
  )
  def test_a_model_maps_shapes(self, spec):
    outputs = np.random.default_rng(0).normal(size=(6, 7))
    basis = operators.pod_basis(outputs, 3)
    net = operators.make_model(spec, basis=basis, method='auto')
    shape = lambda *s: jax.ShapeDtypeStruct(s, 'float32')
    if operators.model_facts(spec).points:
      u, y = shape(7, 11), shape(7, 2)
      params = jax.eval_shape(net.init, KEY, u, y)
      apply = lambda p, u, y: net.apply(p, u, y, aligned=True)
      out = jax.eval_shape(apply, params, shape(5, 11), y)
      self.assertEqual(out.shape, (5, 7, 1))
    else:
      params = jax.eval_shape(net.init, KEY, shape(1, 13, 13, 1))
      out = jax.eval_shape(net.apply, params, shape(2, 13, 13, 1))
      self.assertEqual(out.shape, (2, 13, 13, 1))

  def test_one_number_of_modes_holds_for_every_axis(self):
    f = jnp.asarray(np.random.default_rng(1).normal(size=(1, 8, 8, 1)), 'f4')
    nets = [operators.fno(m, channels=2, num_layers=1) for m in (3, (3, 3))]
    outs = [run(net, net.init(KEY, f), f) for net in nets]
    np.testing.assert_array_equal(*outs)
    short = jax.eval_shape(nets[0].init, KEY, jnp.ones((1, 8, 1)))
    weights = short['blocks'][0]['spectral']['real']
    self.assertEqual(weights.shape, (3, 2, 2))

  def test_says_what_to_change(self):
    with self.assertRaisesRegex(ValueError, "model='mgn' is unknown"):
      operators.make_model('mgn')
    with self.assertRaisesRegex(ValueError, 'needs basis='):
      operators.make_model('pod_deeponet')
    with self.assertRaisesRegex(ValueError, "no option 'width'.*channels"):
      operators.make_model('fno(width=4)')
    with self.assertRaisesRegex(ValueError, 'modes must be at least 1; got 0'):
      operators.make_model('fno(modes=0)')


if __name__ == '__main__':
  absltest.main()
