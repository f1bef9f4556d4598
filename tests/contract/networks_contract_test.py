# SPDX-License-Identifier: Apache-2.0
"""What every network of the two registries promises."""

import math

import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized

from jaxdl import networks, operators

KEY = jax.random.key(0)
IMAGES, GRID = (16, 16, 1), (13, 13, 1)
SENSORS, POINTS = 5, 7
BASIS = operators.pod_basis(
  np.random.default_rng(0).normal(size=(6, POINTS)), 3
)

# Spec by name: small, and as many options as matter.
NETWORKS = {
  'char_lstm': 'char_lstm(width=3, num_tokens=9)',
  'conv8': 'conv8(width=2)',
  'fedfix_cifar_cnn': 'fedfix_cifar_cnn',
  'fedjax_emnist_cnn': 'fedjax_emnist_cnn',
  'frl_lenet': 'frl_lenet(width=2)',
  'lenet': 'lenet',
  'logistic_regression': 'logistic_regression',
  'mip_mnist_cnn': 'mip_mnist_cnn',
  'mlp': 'mlp((4, 3), activation=tanh)',
  'monna_cifar_cnn': 'monna_cifar_cnn(dropout=0.0)',
  'monna_mnist_cnn': 'monna_mnist_cnn',
  'ocfl_cnn': 'ocfl_cnn(dropout=0.0, hidden_sizes=(4, 3))',
  'resnet18': 'resnet18(width=4, norm=batch)',
  'resnet34': 'resnet34(width=4, blocks=(1,))',
}
# Those that read characters, whose dtype says nothing of the parameters'.
ON_TEXT = ('char_lstm',)
# Larger images than others.
LARGE = {'fedfix_cifar_cnn': (18, 18, 1)}
MODELS = {
  'cnn': 'cnn(channels=3, num_layers=2)',
  'deeponet': 'deeponet((4, 3), (4, 3), activation=tanh)',
  'dilated_resnet': 'dilated_resnet(channels=3, num_layers=1)',
  'fno': 'fno(modes=3, channels=3, num_layers=1)',
  'mgnet': 'mgnet(channels=3, iterations="11,20")',
  'mgno': 'mgno(channels=3, num_layers=1, iterations="11,20")',
  'mgno_helmholtz': 'mgno_helmholtz(channels=2, num_layers=1, '
  'iterations="10,10")',
  'mgno_navier_stokes': 'mgno_navier_stokes(channels=2, num_layers=1, '
  'iterations="11,10", padding=zeros)',
  'mlp': 'mlp((4, 3))',
  'pod_deeponet': 'pod_deeponet(4)',
  'residual_mlp': 'residual_mlp(4, num_layers=1)',
  'seq2seq': 'seq2seq(channels=3)',
  'stacked_deeponet': 'stacked_deeponet((3, 1), trunk_layers=(4, 3))',
  'unet': 'unet(channels=2, num_levels=2)',
}
CASES = [('network', name) for name in NETWORKS] + [
  ('model', name) for name in MODELS
]


def case(kind, name, dtype='float32', rows=2):
  """A network, its inputs of some rows, and what selects the first row."""
  rng = np.random.default_rng(1)
  draw = lambda *shape: jnp.asarray(rng.normal(size=shape), dtype)
  if name in ON_TEXT:
    net = networks.make_network(NETWORKS[name], (5,), 3, dtype='int32')
    return net, (jnp.asarray(rng.integers(0, 5, size=(rows, 5)), 'int32'),), {}
  if kind == 'network':
    shape = LARGE.get(name, IMAGES)
    net = networks.make_network(NETWORKS[name], shape, 3)
    return net, (draw(rows, *shape),), {}
  net = operators.make_model(MODELS[name], basis=BASIS, method='auto')
  if operators.model_facts(MODELS[name]).points:
    inputs = (draw(rows, SENSORS), draw(POINTS, 2))
    return net, inputs, {'aligned': True}
  return net, (draw(rows, *GRID),), {}


def apart(got, want, name):
  np.testing.assert_allclose(got, want, rtol=2e-5, atol=2e-5, err_msg=name)


class NetworkContractTest(parameterized.TestCase):
  def test_every_entry_is_here(self):
    self.assertEqual(set(NETWORKS), set(networks.NETWORKS))
    self.assertEqual(set(MODELS), set(operators.MODELS))

  @parameterized.parameters(*CASES)
  def test_one_program_for_all_it_promises(self, kind, name):
    net, inputs, options = case(kind, name)
    traces = []

    @jax.jit
    def program(key, *inputs):
      traces.append(None)
      apply = lambda params, *x: net.apply(params, *x, **options)
      keys = jax.random.split(key)
      both = jax.vmap(lambda k: net.init(k, *inputs))(keys)
      first, second = (jax.tree.map(lambda x, i=i: x[i], both) for i in (0, 1))
      outputs = apply(first, *inputs)
      alone = apply(first, inputs[0][:1], *inputs[1:])
      stacked = jax.vmap(lambda p: apply(p, *inputs))(both)
      grads = jax.grad(lambda p: jnp.square(apply(p, *inputs)).sum())(second)
      return outputs, alone, stacked, grads

    outputs, alone, stacked, grads = program(KEY, *inputs)
    apart(alone, outputs[:1], 'a batch of one')
    apart(stacked[0], outputs, 'parameters of several')
    self.assertGreater(float(jnp.abs(stacked[0] - stacked[1]).max()), 1e-6)
    for leaf in jax.tree.leaves(grads):
      self.assertTrue(bool(jnp.isfinite(leaf).all()))
    self.assertTrue(any(bool((g != 0).any()) for g in jax.tree.leaves(grads)))
    program(jax.random.key(1), *(2 * x for x in inputs))
    self.assertLen(traces, 1)

  @parameterized.product(
    kind_name=CASES, dtype=['bfloat16', 'float32', 'float64']
  )
  def test_keeps_the_dtype_of_the_inputs(self, kind_name, dtype):
    with jax.enable_x64(dtype == 'float64'):
      net, inputs, options = case(*kind_name, dtype=dtype)
      params = jax.eval_shape(net.init, KEY, *inputs)
      apply = lambda p, *x: net.apply(p, *x, **options)
      out = jax.eval_shape(apply, params, *inputs)
      if kind_name[1] in ON_TEXT:
        dtype = jnp.result_type(float)
      statistics = ('statistics',)
      for path, leaf in jax.tree_util.tree_leaves_with_path(params):
        if not any(getattr(k, 'key', None) in statistics for k in path):
          self.assertEqual(leaf.dtype, dtype, jax.tree_util.keystr(path))
      if kind_name[1] != 'pod_deeponet':  # Its basis has a dtype of its own.
        self.assertEqual(out.dtype, dtype)

  @parameterized.parameters(*CASES)
  def test_says_how_its_options_are_spelled(self, kind, name):
    registry = {'network': networks.NETWORKS, 'model': operators.MODELS}[kind]
    with self.assertRaisesRegex(ValueError, f'{name} has no option .no_such.'):
      registry.part(f'{name}(no_such=1)')
    for option, parameter in registry.options(name).items():
      self.assertIsNot(parameter.default, parameter.empty, option)

  @parameterized.parameters(
    ('network', 'logistic_regression', (8, 8), 65 * 10),
    ('network', 'mlp((64, 64))', (8, 8), 2 * 65 * 64 + 65 * 10),
    ('network', 'lenet', (28, 28, 1), 61_706),
    ('network', 'monna_mnist_cnn', (28, 28, 1), 431_080),
    ('network', 'monna_cifar_cnn', (32, 32, 3), 1_310_922 + 768),
    ('network', 'resnet18', (32, 32, 3), 11_173_962),
    ('network', 'resnet34', (32, 32, 3), 21_282_122),
    (
      'network',
      'ocfl_cnn',
      (28, 28, 1),
      # Convolutions; dense layers of 28 · 28 · 32 inputs.
      (25 + 1) * 16
      + (25 * 16 + 1) * 32
      + (25 * 32 + 1) * 32
      + (28 * 28 * 32 + 1) * 1000
      + 1001 * 250
      + 251 * 100
      + 101 * 10,
    ),
    (
      'network',
      'fedfix_cifar_cnn',
      (32, 32, 3),
      # 32, 30, 15, 13, 6, 4 pixels.
      (27 + 1) * 32
      + (9 * 32 + 1) * 64
      + (9 * 64 + 1) * 64
      + (4 * 4 * 64 + 1) * 64
      + 65 * 10,
    ),
    ('model', 'cnn', (8, 8, 1), 21_289),
    ('model', 'unet', (32, 32, 1), 2_357_441),
    ('model', 'fno((16,), channels=64)', (64, 1), 549_569),
    ('model', 'fno(channels=32)', (64, 64, 1), 2_368_001),
    ('model', 'mgno', (64, 64, 1), 572_661),
    (
      'model',
      'dilated_resnet(channels=3)',
      GRID,
      (9 + 1) * 3 + 28 * (27 + 1) * 3 + 27 + 1,
    ),
    # Levels: S; S, A; Pi, R, P, A; twice S, A.
    (
      'model',
      'mgnet(channels=3, iterations="11,20")',
      GRID,
      (9 + 1) * 3 + 11 * 9 * 3**2 + 3 + 1,
    ),
  )
  def test_has_as_many_parameters_as_it_says(self, kind, spec, shape, count):
    make = operators.make_model
    if kind == 'network':
      make = lambda spec: networks.make_network(spec, shape, 10)
    params = jax.eval_shape(make(spec).init, KEY, jnp.zeros((1, *shape)))
    sizes = [math.prod(x.shape) for x in jax.tree.leaves(params)]
    self.assertEqual(sum(sizes), count)

  @parameterized.parameters(
    ('deeponet', (100,), (1,), 101 * 40 + 41 * 40 + 2 * 40 + 2 * 41 * 40 + 1),
    ('mlp', (100,), (1,), 102 * 100 + 101 * 100 + 101),
    ('residual_mlp(8)', (5,), (2,), 8 * 8 + 4 * 8 * 9 + 9),
    ('seq2seq(channels=3)', (5,), (2,), 4 * 15 + 4 * 18 + 4),
    (
      'stacked_deeponet(trunk_layers=(6, 3))',
      (5,),
      (2,),
      3 * (6 * 20 + 21) + 3 * 6 + 7 * 3 + 1,
    ),
    ('pod_deeponet(4)', (5,), (2,), 6 * 4 + 5 * 3),
  )
  def test_on_points_as_well(self, spec, sensors, point, count):
    net = operators.make_model(spec, basis=BASIS)
    inputs = jnp.zeros((POINTS, *sensors)), jnp.zeros((POINTS, *point))
    params = jax.eval_shape(net.init, KEY, *inputs)
    sizes = [math.prod(x.shape) for x in jax.tree.leaves(params)]
    self.assertEqual(sum(sizes), count)


if __name__ == '__main__':
  absltest.main()
