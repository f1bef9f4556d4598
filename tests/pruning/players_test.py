# SPDX-License-Identifier: Apache-2.0
"""Players of networks: gates, products, overlaps, and smaller networks."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from absl import logging
from absl.testing import absltest, parameterized

from jaxdl import networks, pruning
from jaxdl.pruning import _players

KEY = jax.random.key(0)
RNG = np.random.default_rng(0)
IMAGES = jnp.asarray(RNG.normal(size=(5, 16, 16, 1)), jnp.float32)
ROWS = jnp.asarray(RNG.normal(size=(7, 6)), jnp.float32)


@functools.cache
def made(name, granularity='unit'):
  """A network, inputs, its gated one and parameters of that."""
  plain, x = {
    'mlp': (networks.mlp((8, 5), 3), ROWS),
    'bias_free': (networks.mlp((8, 5), 3, bias=False), ROWS),
    'lenet': (networks.lenet(4), IMAGES),
    'residual': (networks.residual_mlp(3, channels=4, num_layers=1), ROWS),
    'linen': (_Flax(), IMAGES),
  }[name]
  network = pruning.gated(plain, granularity=granularity)
  return plain, x, network, jax.jit(network.init)(KEY, x)


class _Flax(nn.Module):
  """Layers of flax itself, ten of a kind so that names sort wrongly."""

  @nn.compact
  def __call__(self, x):
    x = nn.relu(nn.Conv(6, (3, 3), padding='VALID')(x))
    x = x.reshape(x.shape[0], -1)
    for _ in range(10):
      x = nn.relu(nn.Dense(4)(x))
    return nn.Dense(2)(x)


def batch_of(x, num_classes):
  labels = np.arange(len(x)) % num_classes
  return {'inputs': x, 'labels': jnp.asarray(labels, jnp.int32)}


def random_gates(params, seed=1, out=0.5):
  """Participations, about half of them zero or below the threshold."""
  rng = np.random.default_rng(seed)

  def draw(s):
    drawn = rng.uniform(0.2, 1.0, size=s.shape)
    low = rng.choice([0.0, 0.005], size=s.shape)
    drawn = np.where(rng.uniform(size=s.shape) < out, low, drawn)
    drawn.flat[0] = 0.7
    return jnp.asarray(drawn, s.dtype)

  return {
    'network': params['network'],
    'gates': {k: draw(s) for k, s in params['gates'].items()},
  }


class GatedTest(parameterized.TestCase):
  @parameterized.parameters('mlp', 'lenet', 'residual')
  def test_all_in_is_the_network_bit_for_bit(self, name):
    plain, x, network, params = made(name)
    plain = networks.as_network(plain)
    both = jax.jit(
      lambda p: (network.apply(p, x), plain.apply(p['network'], x))
    )(params)
    np.testing.assert_array_equal(*both)
    self.assertGreater(float(jnp.abs(both[0]).max()), 0)

  def test_all_out_leaves_the_bias_of_the_output(self):
    _, x, network, params = made('mlp')
    params = jax.tree.map(lambda v: v + 0.5, params)
    gates = jax.tree.map(jnp.zeros_like, params['gates'])
    out = network.apply({'network': params['network'], 'gates': gates}, x)
    want = np.tile(params['network'][2]['bias'], (len(x), 1))
    np.testing.assert_array_equal(out, want)

  def test_gates_multiply_the_preactivation(self):
    _, x, network, params = made('mlp')
    params = random_gates(jax.tree.map(lambda v: v + 0.1, params))
    h = np.asarray(x, float)
    for i, layer in enumerate(params['network']):
      h = h @ np.asarray(layer['kernel'], float) + np.asarray(layer['bias'])
      if i < 2:
        h = np.maximum(h * np.asarray(params['gates'][str(i)], float), 0)
    np.testing.assert_allclose(network.apply(params, x), h, atol=1e-5)

  @parameterized.parameters(
    ('lenet', 'unit', {'Conv_0', 'Conv_1', 'Dense_0', 'Dense_1'}),
    ('lenet', 'filter', {'Conv_0', 'Conv_1'}),
    ('lenet', 'neuron', {'Dense_0', 'Dense_1'}),
    ('residual', 'unit', {'lift', 'blocks/0/0', 'blocks/0/1'}),
    ('mlp', 'weight', {'0', '1'}),
  )
  def test_the_layer_used_last_is_not_gated(self, name, granularity, want):
    _, _, _, params = made(name, granularity)
    found = {k.removeprefix('params/') for k in params['gates']}
    self.assertEqual(found, want)
    for path, gate in params['gates'].items():
      kernel = pruning.layers_of(params['network'])[path]['kernel']
      shape = kernel.shape if granularity == 'weight' else kernel.shape[-1:]
      self.assertEqual(gate.shape, shape)

  def test_layers_come_in_order_of_numbers(self):
    _, x, _, params = made('linen')
    names = [f'params/Dense_{i}' for i in range(11)]
    order = ['params/Conv_0', *names]
    self.assertEqual(list(pruning.layers_of(params['network'])), order)
    self.assertEqual(
      pruning.used_in_order(
        networks.as_network(_Flax()).apply, params['network'], x
      ),
      order,
    )
    self.assertNotIn('params/Dense_10', params['gates'])
    self.assertEqual(_players.in_order(params['gates']), order[:-1])

  def test_numbers_of_parameters_are_those_of_the_paper(self):
    network = pruning.gated(networks.mlp((512, 256), 10))
    shapes = jax.eval_shape(
      network.init, KEY, jax.ShapeDtypeStruct((1, 784), 'float32')
    )
    count = lambda tree: sum(x.size for x in jax.tree.leaves(tree))
    self.assertEqual(count(shapes['gates']), 768)
    self.assertEqual(count(shapes['network']), 535_818)
    self.assertEqual(count(shapes), 536_586)

  def test_dtypes_and_programs(self):
    _, x, network, _ = made('mlp')
    params = network.init(KEY, x.astype(jnp.bfloat16))
    self.assertEqual(params['gates']['0'].dtype, jnp.float32)
    out = network.apply(params, x.astype(jnp.bfloat16))
    self.assertEqual(out.dtype, jnp.bfloat16)
    both = jax.jit(jax.vmap(network.init, (0, None)))(jax.random.split(KEY), x)
    out = jax.jit(jax.vmap(network.apply, (0, None)))(both, x)
    one = network.apply(jax.tree.map(lambda v: v[1], both), x)
    np.testing.assert_allclose(out[1], one, atol=1e-6)


class ProductsTest(parameterized.TestCase):
  @parameterized.parameters(
    ('mlp', 'unit'), ('bias_free', 'unit'), ('mlp', 'weight'), ('lenet', 'unit')
  )
  def test_products_are_slopes_of_gates(self, name, granularity):
    _, x, network, params = made(name, granularity)
    params = random_gates(params)
    classes = network.apply(params, x).shape[-1]
    task = networks.classification(network, x, num_classes=classes)
    grads = jax.jit(jax.grad(task.loss))(params, batch_of(x, classes))
    products = pruning.player_products(
      params['network'], grads['network'], params['gates']
    )
    self.assertEqual(set(products), set(params['gates']))
    for path, s in params['gates'].items():
      want = s * grads['gates'][path]
      np.testing.assert_allclose(products[path], want, atol=1e-6)
      self.assertGreater(float(jnp.abs(want).max()), 1e-4)

  def test_slopes_are_differences_of_losses(self):
    with jax.enable_x64(True):
      plain, x = networks.mlp((4,), 2), jnp.asarray(ROWS, jnp.float64)
      network = pruning.gated(plain)
      task = networks.classification(network, x, num_classes=2)
      params = task.init(KEY)
      batch = batch_of(x, 2)
      slopes = jax.jit(jax.grad(task.loss))(params, batch)['gates']['0']
      whole = networks.classification(plain, x, num_classes=2)
      loss = jax.jit(whole.loss)
      for i in range(4):
        moved = []
        for h in (1e-5, -1e-5):
          effective = jax.tree.map(np.array, params['network'])
          effective[0]['kernel'][:, i] *= 1 + h
          effective[0]['bias'][i] *= 1 + h
          moved.append(float(loss(effective, batch)))
        want = (moved[0] - moved[1]) / 2e-5
        np.testing.assert_allclose(slopes[i], want, atol=1e-8)

  def test_what_goes_into_a_neuron_and_out_of_it_balances(self):
    plain, x, _, params = made('mlp')
    task = networks.classification(plain, x, num_classes=3)
    params = jax.tree.map(lambda v: v + 0.05, params['network'])
    grads = jax.jit(jax.grad(task.loss))(params, batch_of(x, 3))
    ones = {'0': jnp.ones(8), '1': jnp.ones(5)}
    into = pruning.player_products(params, grads, ones)
    for i in range(2):
      rows = params[i + 1]['kernel'] * grads[i + 1]['kernel']
      np.testing.assert_allclose(into[str(i)], rows.sum(1), atol=1e-6)
      self.assertGreater(float(jnp.abs(rows.sum(1)).max()), 1e-3)

  @parameterized.parameters('unit', 'weight')
  def test_overlaps_norms_and_gram_agree(self, granularity):
    _, _, _, params = made('mlp', granularity)
    params = random_gates(params)
    net, gates = params['network'], params['gates']
    gram = pruning.player_gram(net, gates)
    for scaled in (False, True):
      got = pruning.player_overlaps(net, gates, unit_norm=scaled)
      for name, s in gates.items():
        layer = jax.tree.map(np.float64, pruning.layers_of(net)[name])
        theta = layer['kernel'].reshape(1, -1)
        if granularity == 'unit':
          theta = np.concatenate([layer['kernel'], layer['bias'][None]])
        if not scaled:
          np.testing.assert_allclose(gram[name], theta.T @ theta, atol=1e-5)
          norms = pruning.player_sq_norms(net, gates)[name]
          np.testing.assert_allclose(
            norms, np.sum(theta**2, axis=0).reshape(s.shape), rtol=1e-5
          )
        if scaled:
          theta = theta / np.linalg.norm(theta, axis=0)
        full = theta.T @ theta
        np.fill_diagonal(full, 0)
        want = full @ np.asarray(s, float).ravel()
        np.testing.assert_allclose(got[name], want.reshape(s.shape), atol=2e-5)

  def test_benefits_have_two_signs_and_a_scale(self):
    g = {'0': jnp.array([2.0, -1.0, 0.0])}
    got = pruning.player_benefits(g, scale=10.0)['0']
    np.testing.assert_array_equal(got, [-20, 10, 0])
    got = pruning.player_benefits(g, sign=1, normalize=True)['0']
    np.testing.assert_allclose(got, [2, -1, 0])
    still = pruning.player_benefits({'0': jnp.zeros(2)}, normalize=True)['0']
    np.testing.assert_array_equal(still, [0, 0])


class CompactTest(parameterized.TestCase):
  @parameterized.parameters('mlp', 'bias_free', 'lenet', 'linen')
  def test_outputs_are_those_of_the_pruned_network(self, name):
    plain, x, network, params = made(name)
    params = random_gates(params)
    small = pruning.compact(plain, params, x[:1])
    want = jax.jit(network.apply)(pruning.prune(params), x)
    got = jax.jit(small.network.apply)(small.params, x)
    np.testing.assert_allclose(got, want, atol=1e-6)
    self.assertGreater(float(jnp.abs(want).max()), 1e-6)
    count = lambda tree: sum(v.size for v in jax.tree.leaves(tree))
    alive = pruning.num_alive(params['gates'])
    counts = {k: int(v) for k, v in alive.items()}
    self.assertEqual({k: len(v) for k, v in small.kept.items()}, counts)
    order = pruning.used_in_order(
      networks.as_network(plain).apply, params['network'], x
    )
    size = pruning.compact_size(params['network'], counts, order)
    self.assertEqual(count(small.params), size)
    self.assertLess(size, 0.7 * count(params['network']))
    # What is left trains on as a network of its own.
    task = networks.classification(small.network, x, num_classes=want.shape[-1])
    batch = batch_of(x, want.shape[-1])
    grads = jax.eval_shape(jax.grad(task.loss), task.init(KEY), batch)
    self.assertEqual(
      jax.tree.map(jnp.shape, grads), jax.tree.map(jnp.shape, small.params)
    )

  def test_threshold_decides(self):
    gates = {'0': jnp.array([0.009, 0.01, 0.5, 1.0]), '1': jnp.zeros(4)}
    self.assertEqual(float(pruning.sparsity(gates)), 5 / 8)
    self.assertEqual(float(pruning.sparsity(gates, threshold=0.6)), 7 / 8)
    cut = pruning.prune({'network': (), 'gates': gates})['gates']['0']
    np.testing.assert_allclose(cut, [0, 0.01, 0.5, 1.0])

  def test_a_dead_layer_is_told_and_its_output_constant(self):
    plain, x, network, params = made('mlp')
    gates = {'0': params['gates']['0'], '1': jnp.full(5, 0.001)}
    params = {'network': params['network'], 'gates': gates}
    logging.get_absl_handler()  # The first call makes it.
    with self.assertLogs(level='WARNING') as log:
      small = pruning.compact(plain, params, x[:1])
    self.assertIn(
      'layer 1 has no surviving neuron; network output is constant',
      log.output[0],
    )
    out = small.network.apply(small.params, x)
    np.testing.assert_allclose(out, np.tile(out[:1], (len(x), 1)))
    want = network.apply(pruning.prune(params), x)
    np.testing.assert_allclose(out, want, atol=1e-6)

  def test_networks_that_are_no_chain_are_refused(self):
    plain, x, _, params = made('residual')
    with self.assertRaisesRegex(
      ValueError, 'cannot be made smaller: its layers'
    ):
      pruning.compact(plain, random_gates(params), x)
    sigmoid = networks.mlp((8, 5), 3, activation='sigmoid')
    _, x, _, params = made('mlp')
    with self.assertRaisesRegex(ValueError, r'zero at zero \(outputs differ'):
      pruning.compact(sigmoid, random_gates(params), x)
    plain, x, _, params = made('mlp', 'weight')
    with self.assertRaisesRegex(ValueError, 'are of single weights'):
      pruning.compact(plain, params, x)


class ErrorsTest(parameterized.TestCase):
  @parameterized.parameters(0.0, 1.0, -0.1, float('nan'))
  def test_thresholds(self, threshold):
    gates = {'0': jnp.ones(2)}
    with self.assertRaisesRegex(
      ValueError, r'threshold must lie in \(0.0, 1.0'
    ):
      pruning.sparsity(gates, threshold=threshold)
    with self.assertRaisesRegex(ValueError, 'threshold must lie in'):
      pruning.prune({'network': (), 'gates': gates}, threshold=threshold)
    with self.assertRaisesRegex(ValueError, 'threshold must lie in'):
      pruning.game(threshold=threshold)

  def test_gates_that_fit_no_layer(self):
    _, x, network, params = made('mlp')
    own = params['network']
    for gates, message in (
      ({'0': jnp.full(8, 1.5)}, r"gates\['0'\] must lie in \[0, 1\]; got 1.5"),
      ({'0': jnp.ones(3)}, r"gates\['0'\] must have shape \(8,\), a neuron"),
      ({'5': jnp.ones(3)}, "layer of gates='5' is unknown"),
    ):
      with self.assertRaisesRegex(ValueError, message):
        network.apply({'network': own, 'gates': gates}, x)
    with self.assertRaisesRegex(
      TypeError, "params must be {'network', 'gates'"
    ):
      network.apply(own, x)
    # Competition across layers: products exist within one alone.
    with self.assertRaisesRegex(ValueError, 'must have shape'):
      pruning.player_overlaps(own, {'0': jnp.ones(13)})

  def test_options(self):
    plain, x, _, params = made('mlp')
    with self.assertRaisesRegex(ValueError, "granularity='layer' is unknown"):
      pruning.gated(plain, granularity='layer')
    with self.assertRaisesRegex(ValueError, r'start must lie in \[0.0, 1.0\]'):
      pruning.gated(plain, start=1.5)
    for options, message in (
      ({'granularity': 'filter'}, 'nothing can be gated: of the layers'),
      ({'ungated': ('0', '1', '2')}, 'nothing can be gated'),
      ({'ungated': ('7',)}, "ungated='7' is unknown"),
    ):
      with self.assertRaisesRegex(ValueError, message):
        pruning.gated(plain, **options).init(KEY, x)
    with self.assertRaisesRegex(TypeError, 'ungated must be a sequence'):
      pruning.init_participation(params['network'], ungated='0')
    with self.assertRaisesRegex(ValueError, r'scale must lie in \[0.0, inf'):
      pruning.player_benefits({'0': jnp.ones(2)}, scale=-1.0)
    with self.assertRaisesRegex(ValueError, 'sign=2 is unknown'):
      pruning.player_benefits({'0': jnp.ones(2)}, sign=2)
    batch = networks.resnet18(3, width=2, norm='batch')
    with self.assertRaisesRegex(ValueError, 'without running statistics'):
      jax.eval_shape(pruning.gated(batch).init, KEY, IMAGES)


class BadGatesTest(absltest.TestCase):
  def test_gates_are_a_dict(self):
    _, _, network, params = made('mlp')
    del network
    for call in (
      lambda: pruning.scale(params['network'], jnp.ones(3)),
      lambda: pruning.sparsity(jnp.ones(3)),
      lambda: pruning.num_alive(3),
      lambda: pruning.keep_top(jnp.ones(3), 0.5),
    ):
      with self.assertRaisesRegex(TypeError, 'gates must be a dict of arrays'):
        call()
    with self.assertRaisesRegex(TypeError, 'products must be a dict'):
      pruning.player_benefits(jnp.ones(2))
    with self.assertRaisesRegex(TypeError, 'logits must be a dict'):
      pruning.hard_concrete_gates(jnp.ones(2))
    with self.assertRaisesRegex(TypeError, "params must be {'network', 'logi"):
      pruning.as_gates(params)
    self.assertEqual(pruning.hard_concrete_penalty({}), 0)

  def test_who_is_nan_is_out_for_all_that_count(self):
    gates = {'0': jnp.array([jnp.nan, 1.0, 0.0, 0.5])}
    self.assertEqual(pruning.sparsity(gates), 0.5)
    self.assertEqual(pruning.num_alive(gates)['0'], 2)
    left = pruning.prune({'network': (), 'gates': gates})['gates']['0']
    np.testing.assert_array_equal(left, [0, 1, 0, 0.5])
    with self.assertRaisesRegex(ValueError, 'gates has no players'):
      pruning.sparsity({})

  def test_what_compact_cannot_read(self):
    plain, x, _, params = made('mlp')
    with self.assertRaisesRegex(TypeError, 'must be concrete'):
      jax.jit(lambda p: pruning.compact(plain, p, x).params)(params)
    broken = jax.tree.map(lambda x: x * jnp.nan, params['network'])
    with self.assertRaisesRegex(ValueError, 'the network has diverged'):
      pruning.compact(plain, params | {'network': broken}, x)
    for counts, order, message in (
      ({'0': 999}, ['0', '1', '2'], r"counts\['0'\] must be at most"),
      ({'9': 1}, ['0', '1', '2'], "layer='9' is unknown"),
      ({'0': 1}, ['5'], "layer='5' is unknown"),
    ):
      with self.assertRaisesRegex(ValueError, message):
        pruning.compact_size(params['network'], counts, order)
    with self.assertRaisesRegex(TypeError, 'order must be a sequence'):
      pruning.measure(params, order='0')

  def test_gradients_of_another_network(self):
    _, _, _, params = made('mlp')
    own, gates = params['network'], params['gates']
    with self.assertRaisesRegex(ValueError, 'grads must be a tree like params'):
      pruning.player_products(own, own[:1], gates)

  def test_the_option_is_named(self):
    with self.assertRaisesRegex(ValueError, "rate='foo' is unknown"):
      pruning.game(rate='foo')
    with self.assertRaisesRegex(TypeError, 'ungated must be a sequence'):
      pruning.init_participation([{'kernel': jnp.ones((2, 2))}], ungated=3)


if __name__ == '__main__':
  absltest.main()
