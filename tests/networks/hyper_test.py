# SPDX-License-Identifier: Apache-2.0
"""Hypernetworks against closed forms, NumPy, and stored outputs of hyperlight.

Outputs of the official code are those of the release 0.0.5 with PyTorch 2.13,
its parameters set to cos(0.7 j + i), j counting the entries of tensor i.
"""

import functools
import math

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from absl.testing import absltest, parameterized

from jaxdl import networks
from jaxdl.networks import hyper

KEY = jax.random.key(0)
GAMMA = jnp.array([0.25])
X = jnp.asarray(np.random.default_rng(9).normal(size=(4, 5)), jnp.float32)
TARGET = {
  'kernel': jax.ShapeDtypeStruct((30, 20), jnp.float32),
  'bias': jax.ShapeDtypeStruct((20,), jnp.float32),
}
SMALL = {'hidden_sizes': (6, 4)}


def default(target=None, **options):
  """Neither encoding nor residual."""
  target = TARGET if target is None else target
  return hyper.hypernet(target, encoding='none', residual=False, **options)


def count(tree):
  return sum(math.prod(x.shape) for x in jax.tree.leaves(tree))


def close(got, want, **tolerance):
  jax.tree.map(
    lambda x, y: np.testing.assert_allclose(x, y, **tolerance), got, want
  )


def primary(*sizes):
  """Shapes of a multilayer perceptron."""
  network = networks.mlp(sizes[1:-1], sizes[-1])
  shape = jax.ShapeDtypeStruct((1, sizes[0]), jnp.float32)
  return jax.eval_shape(network.init, KEY, shape)


@functools.cache
def small():
  """A hypernetized network and its parameters."""
  network = hyper.hypernetize(networks.mlp(3, 2), **SMALL)
  return network, network.init(KEY, GAMMA, X)


class EncodingTest(parameterized.TestCase):
  @parameterized.parameters(
    ([0.0], [1.0, 0.0]),
    ([0.5], [0.70711, 0.70711]),
    ([1.0], [0.0, 1.0]),
    ([0.0, 1.0], [1.0, 0.0, 0.0, 1.0]),
    ([3.0], [0.0, -1.0]),
  )
  def test_numbers_of_the_sheet(self, gamma, want):
    np.testing.assert_allclose(hyper.encode(jnp.array(gamma)), want, atol=2e-5)

  @parameterized.parameters('cos_sin', 'fourier(num_features=7)')
  def test_norms_are_constant(self, encoding):
    gamma = np.random.default_rng(0).random((50, 3), np.float32)
    for values in (gamma, 10 * gamma - 3):
      norms = jnp.linalg.norm(hyper.encode(values, encoding), axis=-1)
      np.testing.assert_allclose(norms, 3**0.5, rtol=1e-6)

  def test_others(self):
    gamma = np.random.default_rng(0).random((50, 3), np.float32)
    encode = lambda name: np.asarray(hyper.encode(gamma, name), np.float64)
    np.testing.assert_array_equal(encode('none'), gamma)
    np.testing.assert_allclose(
      encode('complement'), np.concatenate([gamma, 1 - gamma], 1), rtol=1e-6
    )
    np.testing.assert_allclose(
      encode('unit_norm'),
      gamma / np.linalg.norm(gamma, axis=1, keepdims=True),
      rtol=1e-5,
    )
    np.testing.assert_allclose(
      encode('standardize'), (gamma - 0.5) * 12**0.5, rtol=1e-4, atol=1e-6
    )
    zero = hyper.encode(jnp.zeros((1, 3)), 'unit_norm')
    np.testing.assert_array_equal(zero, np.zeros((1, 3)))

  def test_names_are_sorted_as_in_hyperlight(self):
    both = {'b': jnp.array([0.5, 0.75]), 'a': jnp.array([0.25])}
    whole = jnp.array([0.25, 0.5, 0.75])
    np.testing.assert_array_equal(hyper.encode(both), hyper.encode(whole))

  def test_integers_are_cast_with_a_message(self):
    with self.assertLogs(level='WARNING') as logs:
      got = hyper.encode(jnp.array([0, 1]))
    np.testing.assert_allclose(got, [1, 0, 0, 1], atol=1e-6)
    self.assertIn('gamma has integers (int32)', logs.output[0])


class ProportionTest(parameterized.TestCase):
  """Why the default learns badly."""

  @parameterized.parameters('leaky_relu', 'relu')
  def test_default_output_is_proportional_to_the_input(self, activation):
    network = default(activation=activation)
    gamma = jnp.array([0.3, 0.8])
    params = network.init(KEY, gamma)
    one = network.apply(params, gamma)
    for c in (0.1, 2.0, 10.0):
      scaled = jax.tree.map(lambda x, c=c: c * x, one)
      close(network.apply(params, c * gamma), scaled, rtol=2e-5, atol=1e-6)
    zero = network.apply(params, jnp.zeros(2))
    close(zero, jax.tree.map(jnp.zeros_like, zero))

  @parameterized.parameters('gelu', 'tanh')
  def test_but_not_with_curved_activations(self, activation):
    network = default(activation=activation)
    gamma = jnp.array([0.3, 0.8])
    params = network.init(KEY, gamma)
    one = network.apply(params, gamma)['kernel']
    ten = network.apply(params, 10 * gamma)['kernel']
    gap = jnp.linalg.norm(ten - 10 * one) / jnp.linalg.norm(10 * one)
    self.assertGreater(float(gap), 0.05)

  def test_deviations_at_the_start(self):
    gammas = jnp.array([[0.05], [0.25], [0.5], [1.0]])
    for encoding, residual in (('none', False), ('cos_sin', True)):
      network = hyper.hypernet(
        primary(64, 32, 10), encoding=encoding, residual=residual
      )
      params = network.init(KEY, gammas)
      std = hyper.output_std_vs_gamma(network, params, gammas)['0/kernel']
      if residual:  # The change adds a little to that of theta0.
        np.testing.assert_allclose(std, (2 / 64 + 2 / 2048) ** 0.5, rtol=0.05)
      else:  # 0.0013, 0.0064, 0.013, 0.026.
        np.testing.assert_allclose(std / std[0], [1, 5, 10, 20], rtol=1e-5)
        np.testing.assert_allclose(std[-1], 0.026, rtol=0.35)


class InitTest(parameterized.TestCase):
  @parameterized.parameters(1, 2)
  def test_norm_of_the_change_at_the_start(self, dims):
    gammas = np.random.default_rng(0).random((3, dims), np.float32)
    network = hyper.hypernet(TARGET)

    @jax.jit
    @jax.vmap
    def squares(key):
      params = network.init(key, gammas)
      found = hyper.delta_norms(network, params, gammas)
      return {name: x['delta'] ** 2 for name, x in found.items()}

    means = jax.tree.map(
      lambda x: np.mean(x, axis=0), squares(jax.random.split(KEY, 200))
    )
    want = 2 * dims * (1 + 1e-4) ** 3
    close(means, jax.tree.map(lambda x: np.full_like(x, want), means), rtol=0.1)

  def test_deviations_of_layers(self):
    network = hyper.hypernet(TARGET, residual=True)
    params = network.init(KEY, GAMMA)
    for layer, n in zip(params['layers'], (16, 64, 128), strict=True):
      got = jnp.std(layer['kernel'])
      tolerance = 4 / (2 * layer['kernel'].size) ** 0.5
      np.testing.assert_allclose(got, (2 / n) ** 0.5, rtol=tolerance)
    for name, x in TARGET.items():
      got = float(jnp.std(params['heads'][name]['kernel']))
      np.testing.assert_allclose(got, (2 / math.prod(x.shape)) ** 0.5, rtol=0.1)
    start = params['heads']['kernel']['bias']
    np.testing.assert_allclose(jnp.std(start), (2 / 30) ** 0.5, rtol=0.1)
    np.testing.assert_array_equal(params['heads']['bias']['bias'], np.zeros(20))

  def test_scales_of_normalizations_start_at_one(self):
    target = {'norm': {'scale': jnp.zeros(3), 'bias': jnp.zeros(3)}}
    network = hyper.hypernet(target, init='bias_hyper')
    theta = network.apply(network.init(KEY, GAMMA), GAMMA)
    np.testing.assert_array_equal(theta['norm']['scale'], np.ones(3))
    np.testing.assert_array_equal(theta['norm']['bias'], np.zeros(3))

  @parameterized.parameters(
    ('hyperfan', True, 1 / 30, 1.0),
    ('hyperfan(relu=False)', True, 1 / 60, 0.5),
    ('hyperfan', False, 2 / 30, None),
  )
  def test_hyperfan_gives_generated_weights_a_variance(
    self, init, biases, want, want_bias
  ):
    target = TARGET if biases else {'kernel': TARGET['kernel']}
    gammas = np.random.default_rng(1).random((64, 3), np.float32)
    network = hyper.hypernet(target, residual=False, init=init)

    @jax.jit
    @jax.vmap
    def squares(key):
      theta = network.apply(network.init(key, gammas), gammas)
      return jax.tree.map(lambda x: jnp.mean(jnp.square(x)), theta)

    found = jax.tree.map(np.mean, squares(jax.random.split(KEY, 50)))
    np.testing.assert_allclose(found['kernel'], want, rtol=0.1)
    if biases:
      np.testing.assert_allclose(found['bias'], want_bias, rtol=0.15)

  def test_fan_in_and_zero_biases(self):
    params = hyper.hypernet(TARGET, init='fan_in').init(KEY, GAMMA)
    std = float(jnp.std(params['heads']['kernel']['kernel']))
    np.testing.assert_allclose(std, (2 / 128) ** 0.5, rtol=0.02)
    init = 'fan_out(zero_bias=True)'
    params = hyper.hypernet(TARGET, init=init).init(KEY, GAMMA)
    self.assertFalse(params['heads']['bias']['kernel'].any())
    self.assertTrue(params['heads']['kernel']['kernel'].any())


class PeerTest(parameterized.TestCase):
  @parameterized.parameters(
    ('none', (64, 64, 10), 629_930),
    ('cos_sin', (64, 64, 10), 629_946),
    ('none', (64, 32, 32, 32, 32, 32, 10), 865_226),
    ('cos_sin', (64, 32, 32, 32, 32, 32, 10), 865_242),
  )
  def test_number_of_parameters(self, encoding, sizes, want):
    network = hyper.hypernet(primary(*sizes), encoding=encoding)
    shapes = jax.eval_shape(network.init, KEY, GAMMA)
    self.assertEqual(count(shapes), want)
    self.assertEqual(hyper.num_predicted(shapes), count(primary(*sizes)))

  def test_outputs_of_hyperlight(self):
    def tensor(i, *shape):
      n = math.prod(shape)
      return np.cos(np.arange(n, dtype=np.float32) * 0.7 + i).reshape(shape)

    sizes = (6, 3, 4)
    layers = [
      {'kernel': tensor(2 * k, sizes[k + 1], sizes[k]).T,
       'bias': tensor(2 * k + 1, sizes[k + 1])}
      for k in range(2)
    ]  # fmt: skip
    out, bias = tensor(4, 8, 4), tensor(5, 8)
    heads = {
      'w.weight': {
        'kernel': out[:6].T.reshape(4, 2, 3), 'bias': bias[:6].reshape(2, 3)
      },
      'w.bias': {'kernel': out[6:].T, 'bias': bias[6:]},
    }  # fmt: skip
    target = {'w.weight': jnp.zeros((2, 3)), 'w.bias': jnp.zeros(2)}
    network = hyper.hypernet(target, hidden_sizes=(3, 4))
    theta = network.apply(
      {'layers': layers, 'heads': heads},
      {'b': jnp.array([0.5, 0.75]), 'a': jnp.array([0.25])},
    )
    np.testing.assert_allclose(
      theta['w.weight'],
      [
        [0.7798712253570557, 0.5581323504447937, 1.018176555633545],
        [0.9140316843986511, -0.40348929166793823, 0.030530333518981934],
      ],
      atol=2e-5,
    )
    np.testing.assert_allclose(
      theta['w.bias'], [-1.709390640258789, -0.13752031326293945], atol=2e-5
    )


def _flat_reference(params, gamma, names):
  """The last layer as one matrix with theta0 apart, float64 NumPy."""
  angle = np.asarray(gamma, np.float64) * np.pi / 2
  h = np.concatenate([np.cos(angle), np.sin(angle)])
  for layer in params['layers']:
    h = h @ np.asarray(layer['kernel'], np.float64) + layer['bias']
    h = np.where(h > 0, h, 0.01 * h)
  heads = params['heads']
  matrix = np.concatenate(
    [np.asarray(heads[n]['kernel']).reshape(len(h), -1) for n in names], 1
  )
  start = np.concatenate([np.ravel(heads[n]['bias']) for n in names])
  return start + h @ matrix, h


class ResidualTest(parameterized.TestCase):
  def test_a_bias_of_the_last_layer_is_a_leaf_of_its_own(self):
    # As one matrix of all outputs, beside weights that are added to them: the
    # same outputs and the same steps of Adam.
    network = hyper.hypernet(TARGET, **SMALL)
    params = network.init(KEY, GAMMA)
    names = ('bias', 'kernel')
    want, _ = _flat_reference(params, [0.25], names)
    got = network.apply(params, GAMMA)
    flat = lambda t: jnp.concatenate([jnp.ravel(t[n]) for n in names])
    np.testing.assert_allclose(flat(got), want, atol=1e-6)

    def apart(p, gamma):
      z = hyper.encode(gamma)
      for layer in p['layers']:
        z = jax.nn.leaky_relu(z @ layer['kernel'] + layer['bias'])
      return p['start'] + z @ p['matrix']

    other = {
      'layers': params['layers'],
      'start': flat({n: h['bias'] for n, h in params['heads'].items()}),
      'matrix': jnp.concatenate(
        [params['heads'][n]['kernel'].reshape(4, -1) for n in names], 1
      ),
    }
    goal = jnp.linspace(-1.0, 1.0, want.size)
    adam = optax.adam(0.01)

    def train(make, params):
      def loss(params, gamma):
        return jnp.sum((make(params, gamma) - goal) ** 2)

      def step(carry, gamma):
        params, state = carry
        value, grads = jax.value_and_grad(loss)(params, gamma)
        change, state = adam.update(grads, state)
        return (optax.apply_updates(params, change), state), value

      gammas = jnp.linspace(0.0, 1.0, 20)[:, None]
      return jax.jit(jax.lax.scan, static_argnums=0)(
        step, (params, adam.init(params)), gammas
      )[1]

    ours = train(lambda p, g: flat(network.apply(p, g)), params)
    np.testing.assert_allclose(ours, train(apart, other), rtol=1e-5)

  def test_gradients_in_closed_form(self):
    network = hyper.hypernet(TARGET, **SMALL)
    params = network.init(KEY, GAMMA)
    slope = jax.tree.map(
      lambda x: np.random.default_rng(3).normal(size=x.shape), TARGET
    )

    def loss(params):
      theta = network.apply(params, GAMMA)
      both = jax.tree.map(lambda x, s: jnp.sum(x * s), theta, slope)
      return sum(jax.tree.leaves(both))

    grads = jax.grad(loss)(params)['heads']
    _, h = _flat_reference(params, [0.25], ('bias', 'kernel'))
    for name, s in slope.items():
      np.testing.assert_allclose(grads[name]['bias'], s, rtol=1e-5)
      want = np.tensordot(h, s, 0)
      np.testing.assert_allclose(
        grads[name]['kernel'], want, rtol=1e-4, atol=1e-6
      )

  def test_without_a_last_layer_it_is_an_ordinary_network(self):
    network = networks.mlp(3, 2)
    ours = hyper.hypernetize(
      network, start='network', init='bias_hyper', **SMALL
    )
    params = ours.init(KEY, GAMMA, X)
    heads = params['hyper']['heads']
    start = hyper.merge(
      {k: h['bias'] for k, h in heads.items()}, params['fixed']
    )
    x = jax.random.normal(KEY, (6, 4, 5))
    y = jax.random.normal(jax.random.key(1), (6, 4, 2))
    gammas = jnp.linspace(0.0, 1.0, 6)[:, None]
    sgd = optax.sgd(0.1)

    def losses(apply, params):
      def step(params, batch):
        value, grads = jax.value_and_grad(
          lambda p: jnp.mean((apply(p, *batch[:2]) - batch[2]) ** 2)
        )(params)
        change, _ = sgd.update(grads, sgd.init(params))
        return optax.apply_updates(params, change), value

      return jax.lax.scan(step, params, (gammas, x, y))[1]

    def only_start(trained, gamma, x):
      fixed = {
        k: {'kernel': h['kernel'], 'bias': trained[k]} for k, h in heads.items()
      }
      whole = params['hyper'] | {'heads': fixed}
      return ours.apply(params | {'hyper': whole}, gamma, x)

    got = losses(only_start, {k: h['bias'] for k, h in heads.items()})
    want = losses(lambda p, gamma, x: network.apply(p, x), start)
    np.testing.assert_allclose(got, want, rtol=1e-6)
    # Every input gives theta0.
    for gamma in (0.0, 0.7):
      np.testing.assert_array_equal(
        ours.apply(params, jnp.array([gamma]), X), network.apply(start, X)
      )


class Normed(nn.Module):
  """A flax network with a normalization of batches."""

  @nn.compact
  def __call__(self, x, *, train=False, mask=None):
    del train
    x = nn.Dense(3, name='first')(x)
    x = networks.BatchNorm(name='norm')(x, mask=mask)
    return nn.Dense(2, name='last')(jax.nn.relu(x))


class HypernetizeTest(parameterized.TestCase):
  def test_a_gamma_per_example_is_a_loop(self):
    network, params = small()
    gammas = jnp.linspace(0.0, 1.0, 4)[:, None]
    x = jax.random.normal(KEY, (4, 5))
    apply = jax.jit(network.apply)
    got = apply(params, gammas, x)
    for i in range(4):
      np.testing.assert_allclose(
        got[i], apply(params, gammas[i], x[i : i + 1])[0], rtol=1e-5, atol=1e-6
      )
    everyone = apply(params, jnp.tile(GAMMA, (4, 1)), x)
    for one in (GAMMA, GAMMA[None]):
      np.testing.assert_allclose(
        everyone, apply(params, one, x), rtol=1e-5, atol=1e-6
      )

  @parameterized.parameters('bfloat16', 'float32', 'float64')
  def test_keeps_the_dtype_of_the_examples(self, dtype):
    with jax.enable_x64(dtype == 'float64'):
      network = hyper.hypernetize(networks.mlp(3, 2), **SMALL)
      x = jnp.ones((4, 5), dtype)
      for gamma in (GAMMA, GAMMA.astype(dtype)):
        params = jax.eval_shape(network.init, KEY, gamma, x)
        self.assertEqual({p.dtype for p in jax.tree.leaves(params)}, {x.dtype})
        out = jax.eval_shape(network.apply, params, gamma, x)
        self.assertEqual(out.dtype, dtype)

  def test_another_gamma_does_not_retrace(self):
    network, params = small()
    traces = []

    @jax.jit
    def run(gamma):
      traces.append(1)
      return network.apply(params, gamma, X)

    a, b = run(GAMMA), run(GAMMA + 0.5)
    self.assertLen(traces, 1)
    self.assertFalse(np.allclose(a, b))

  def test_what_is_not_chosen_stays(self):
    first = networks.mlp(3, 2)
    network = hyper.hypernetize(first, '1/*', start='network', **SMALL)
    params = network.init(KEY, GAMMA, X)
    self.assertEqual(set(params['hyper']['heads']), {'1/kernel', '1/bias'})
    self.assertEqual(params['fixed'][1], {'kernel': None, 'bias': None})
    grads = jax.grad(lambda p: jnp.sum(network.apply(p, GAMMA, X)))(params)
    self.assertTrue(grads['fixed'][0]['kernel'].any())
    by_rule = hyper.hypernetize(first, lambda path, x: x.ndim > 1, **SMALL)
    shapes = jax.eval_shape(by_rule.init, KEY, GAMMA, X)
    self.assertEqual(set(shapes['hyper']['heads']), {'0/kernel', '1/kernel'})

  def test_a_flax_module_with_statistics(self):
    network = hyper.hypernetize(Normed(), '*/norm/*', **SMALL)
    params = network.init(KEY, GAMMA, X)
    heads = params['hyper']['heads']
    self.assertEqual(set(heads), {'params/norm/scale', 'params/norm/bias'})
    np.testing.assert_array_equal(heads['params/norm/scale']['bias'], 1.0)
    task = networks.classification(network, (GAMMA, X), num_classes=2)
    x = jax.random.normal(KEY, (4, 5))
    batch = {'inputs': (GAMMA, x), 'labels': jnp.array([0, 1, 1, 0])}
    grads = jax.jit(jax.grad(task.loss))(params, batch)
    # Statistics move to those of the batch.
    seen = grads['statistics']['network']['norm']['mean']
    first = params['fixed']['params']['first']
    mean = (x @ first['kernel'] + first['bias'][None]).mean(axis=0)
    np.testing.assert_allclose(seen, -mean, rtol=1e-4, atol=1e-5)
    with self.assertRaisesRegex(ValueError, 'has statistics of batches'):
      network.apply(params, jnp.zeros((4, 1)), x, train=True)

  def test_tasks_take_a_gamma_per_example(self):
    network, params = small()
    task = networks.classification(network, (GAMMA[None], X), num_classes=2)
    batch = {
      'inputs': (jnp.linspace(0.0, 1.0, 4)[:, None], X),
      'labels': jnp.array([0, 1, 1, 0]),
      'mask': jnp.array([True, True, True, False]),
    }
    loss = task.loss(params, batch)
    logits = network.apply(params, *batch['inputs'])[:3]
    want = optax.softmax_cross_entropy_with_integer_labels(
      logits, batch['labels'][:3]
    ).mean()
    np.testing.assert_allclose(loss, want, rtol=1e-5)

  def test_pretrained_predictions_are_kept(self):
    network = networks.mlp(3, 2)
    trained = network.init(jax.random.key(5), X)
    tuned = hyper.from_pretrained(network, trained, '*/kernel', **SMALL)
    params = tuned.init(KEY, GAMMA, X)
    for gamma in ([0.0], [0.9]):
      np.testing.assert_array_equal(
        tuned.apply(params, jnp.array(gamma), X), network.apply(trained, X)
      )

  def test_hypernetworks_of_hypernetworks(self):
    inner, _ = small()
    outer = hyper.hypernetize(inner, 'hyper/layers/*', hidden_sizes=(3,))
    params = outer.init(KEY, jnp.zeros(2), GAMMA, X)
    self.assertIn('hyper/layers/0/kernel', params['hyper']['heads'])
    far = jnp.array([0.3, 0.6])
    got = outer.apply(params, far, GAMMA, X)
    self.assertEqual(got.shape, (4, 2))
    each = outer.apply(
      params, jnp.tile(far, (4, 1)), jnp.tile(GAMMA, (4, 1)), X
    )
    np.testing.assert_allclose(each, got, rtol=1e-5, atol=1e-6)

  def test_film_generates_scales_and_shifts(self):
    base = networks.mlp(3, 2, activation='tanh')
    network = hyper.hypernetize(hyper.film(base, '0'), 'film/*', **SMALL)
    params = network.init(KEY, GAMMA, X)
    heads = params['hyper']['heads']
    self.assertEqual(set(heads), {'film/0/scale', 'film/0/shift'})
    np.testing.assert_array_equal(heads['film/0/scale']['bias'], np.ones(3))
    np.testing.assert_array_equal(heads['film/0/shift']['bias'], np.zeros(3))
    x = np.random.default_rng(0).normal(size=(4, 5))
    made = hyper.hypernet(
      {k: h['bias'] for k, h in heads.items()}, **SMALL
    ).apply(params['hyper'], GAMMA)
    first, last = (
      {k: np.asarray(v, np.float64) for k, v in layer.items()}
      for layer in params['fixed']['network']
    )
    s, t = (np.asarray(made[f'film/0/{k}']) for k in ('scale', 'shift'))
    middle = np.tanh(s * (x @ first['kernel'] + first['bias']) + t)
    want = middle @ last['kernel'] + last['bias']
    got = network.apply(params, GAMMA, jnp.asarray(x, jnp.float32))
    np.testing.assert_allclose(got, want, atol=1e-5)


class NormTest(parameterized.TestCase):
  @parameterized.parameters('layer', 'weight', 'batch')
  def test_hidden_layers(self, norm):
    network = hyper.hypernet(
      {'w': jnp.zeros(3)}, hidden_sizes=(8,), norm=norm, start={'w': np.ones(3)}
    )
    gammas = np.random.default_rng(0).random((5, 2), np.float32)
    params = network.init(KEY, gammas)
    out = network.apply(params, gammas, train=norm == 'batch')
    layer = jax.tree.map(
      lambda x: np.asarray(x, np.float64), params['layers'][0]
    )
    angle = gammas * np.pi / 2
    z = np.concatenate([np.cos(angle), np.sin(angle)], 1) @ layer['kernel']
    if norm == 'weight':  # At the start the length is that of the kernel.
      np.testing.assert_allclose(
        layer['scale'], np.linalg.norm(layer['kernel'], axis=0), rtol=1e-6
      )
      double = params | {
        'layers': [
          params['layers'][0] | {'kernel': 2 * params['layers'][0]['kernel']}
        ]
      }
      close(network.apply(double, gammas), out, rtol=1e-5)
    else:
      axis = 1 if norm == 'layer' else 0
      z = z - z.mean(axis=axis, keepdims=True)
      z = z / np.sqrt((z**2).mean(axis=axis, keepdims=True) + 1e-5)
    z = np.where(z > 0, z, 0.01 * z)
    head = params['heads']['w']
    want = z @ np.asarray(head['kernel'], np.float64) + head['bias'][None]
    np.testing.assert_allclose(out['w'], want, rtol=1e-4, atol=1e-5)

  def test_statistics_of_gammas_are_learned(self):
    network = hyper.hypernetize(
      networks.mlp((), 1), norm='batch', hidden_sizes=(4,)
    )
    gammas = jnp.linspace(0.0, 1.0, 4)[:, None]
    params = network.init(KEY, gammas, X)
    task = networks.regression(network, (gammas, X))
    batch = {'inputs': (gammas, X), 'labels': jnp.zeros((4, 1))}
    grads = jax.grad(task.loss)(params, batch)['statistics']['hyper'][0]
    z = hyper.encode(gammas) @ params['hyper']['layers'][0]['kernel']
    np.testing.assert_allclose(grads['mean'], -z.mean(axis=0), atol=1e-5)
    with self.assertRaisesRegex(ValueError, 'norm=batch is trained on several'):
      network.apply(params, gammas[0], X, train=True)


class DiagnosticsTest(parameterized.TestCase):
  def test_gradients_of_the_default_swing(self):
    gammas = jnp.linspace(0.05, 1.0, 8)[:, None]
    variation = {}
    for name in ('default', 'mip'):
      network = hyper.parametrized(
        f'{name}(hidden_sizes=(6, 4))', networks.mlp((4, 4), 2)
      )
      params = network.init(KEY, GAMMA, X)
      loss = lambda p, g, network=network: jnp.sum(network.apply(p, g, X))
      found = hyper.grad_norm_stats(loss, params, gammas)
      norms = np.asarray(found['norms'], np.float64)
      np.testing.assert_allclose(found['variation'], norms.std() / norms.mean(),
                                 rtol=1e-4)  # fmt: skip
      variation[name] = float(found['variation'])
    self.assertGreater(variation['default'], 2 * variation['mip'])

  def test_heads_over_eight_devices(self):
    network = hyper.hypernet({'kernel': jnp.zeros((16, 3)), 'b': jnp.zeros(3)})
    params = network.init(KEY, GAMMA)
    mesh = jax.make_mesh((8,), ('model',))
    places = hyper.head_shardings(params, mesh, 'model')
    self.assertEqual(
      tuple(places['heads']['kernel']['kernel'].spec), (None, 'model', None)
    )
    whole = {'hyper': params, 'fixed': [jnp.zeros(16)]}
    both = hyper.head_shardings(whole, mesh, 'model')
    self.assertEqual(both['hyper'], places)
    self.assertEqual(tuple(both['fixed'][0].spec), (None,))
    spread = jax.device_put(params, places)
    got = jax.jit(network.apply)(spread, GAMMA)
    close(got, network.apply(params, GAMMA), rtol=1e-5, atol=1e-6)

  def test_separate_networks_are_those_of_their_parts(self):
    base = networks.mlp((), 2)
    network = hyper.parametrized('separate(num_networks=4)', base)
    params = network.init(KEY, GAMMA, X)
    at = lambda k: base.apply(jax.tree.map(lambda x: x[k], params), X)
    for gamma, k in ((0.0, 0), (0.3, 1), (1.0, 3)):
      np.testing.assert_array_equal(
        network.apply(params, jnp.array([gamma]), X), at(k)
      )
    each = network.apply(params, jnp.array([[0.0], [0.3], [1.0], [0.9]]), X)
    want = jnp.stack([at(k)[i] for i, k in enumerate((0, 1, 3, 3))])
    np.testing.assert_allclose(each, want, rtol=1e-6)
    single = hyper.parametrized('single', base)
    alone = single.init(KEY, GAMMA, X)
    np.testing.assert_array_equal(
      single.apply(alone, GAMMA, X), base.apply(alone, X)
    )


class BadInputTest(parameterized.TestCase):
  @parameterized.parameters(
    ([0.1, 0.2], r'gamma has shape \(2,\), whose encoding cos_sin has 4'),
    ([float('nan')], r'gamma\[0\] must be finite; got nan'),
    ([1.5], r'must lie in \[0, 1\]; got 1.5: rescale, values outside'),
    (0.5, r'gamma must have a last axis .* write \[0.5\]'),
    ([[0.1], [0.2]], r'gamma has 2 rows, but inputs\[0\] has shape \(4, 5\)'),
    ([[[0.1]]], r'gamma must be \[D\], \[1, D\] or \[B, D\]'),
  )
  def test_gammas(self, gamma, message):
    network, params = small()
    with self.assertRaisesRegex(ValueError, message):
      network.apply(params, jnp.asarray(gamma), X)

  def test_names_of_gammas_with_other_rows(self):
    network, params = small()
    both = {'a': jnp.zeros((4, 1)), 'b': jnp.zeros(1)}
    with self.assertRaisesRegex(ValueError, 'different leading axes'):
      network.apply(params, both, X)

  def test_values_outside_are_fine_without_the_turn(self):
    network = default({'w': jnp.zeros(3)}, **SMALL)
    params = network.init(KEY, GAMMA)
    self.assertEqual(network.apply(params, jnp.array([7.0]))['w'].shape, (3,))

  @parameterized.parameters(
    ({'encoding': 'cosin'}, "encoding='cosin' is unknown.*Did you mean"),
    ({'init': 'fan'}, "init='fan' is unknown"),
    ({'norm': 'group'}, "norm='group' is unknown"),
    ({'activation': 'lrelu'}, "activation='lrelu' is unknown"),
    ({'hidden_sizes': (0,)}, 'hidden_sizes must be at least 1'),
    ({'init': 'bias_hyper', 'residual': False}, 'needs residual=True'),
    ({'encoding': 'fourier(num_features=0)'}, 'num_features must be at least'),
    ({'encoding': 'standardize(std=0)'}, 'std must lie in'),
    ({'encoding': 'standardize(mean=nan)'}, 'mean must lie in'),
  )
  def test_options(self, options, message):
    with self.assertRaisesRegex(ValueError, message):
      hyper.hypernet(TARGET, **options)
    with self.assertRaisesRegex(ValueError, message):
      hyper.hypernetize(networks.mlp(3, 2), **options)

  def test_nothing_selected(self):
    network = hyper.hypernetize(networks.mlp(3, 2), '*/weight')
    message = "no parameter selected: chosen='.*/weight' fits none of '0/bias'"
    with self.assertRaisesRegex(ValueError, message):
      network.init(KEY, GAMMA, X)
    with self.assertRaisesRegex(ValueError, "no layer selected: layers='9'"):
      hyper.film(networks.mlp(3, 2), '9').init(KEY, X)
    with self.assertRaisesRegex(TypeError, 'chosen must be patterns'):
      hyper.hypernetize(networks.mlp(3, 2), 3)
    with self.assertRaisesRegex(ValueError, 'target has no leaves'):
      hyper.hypernet({})

  def test_pretrained_of_another_network(self):
    network = networks.mlp(3, 2)
    trained = network.init(KEY, X)
    wrong = [{'kernel': jnp.zeros((5, 4)), 'bias': jnp.zeros(3)}, trained[1]]
    message = r"start\['0/kernel'\] has shape \(5, 4\).* needs \(5, 3\)"
    with self.assertRaisesRegex(ValueError, message):
      hyper.from_pretrained(network, wrong).init(KEY, GAMMA, X)
    named = [{'weight': trained[0]['kernel'], 'bias': jnp.zeros(3)}, trained[1]]
    message = "missing '0/kernel'; unexpected '0/weight'"
    with self.assertRaisesRegex(ValueError, message):
      hyper.from_pretrained(network, named).init(KEY, GAMMA, X)

  def test_no_start_without_a_residual(self):
    network = networks.mlp(3, 2)
    trained, options = network.init(KEY, X), {'residual': False}
    for make in (
      lambda: hyper.hypernet(trained, start=trained, **options),
      lambda: hyper.hypernetize(network, start='network', **options),
      lambda: hyper.from_pretrained(
        network, trained, init='fan_out', **options
      ),
    ):
      with self.assertRaisesRegex(ValueError, 'residual=False'):
        make()

  def test_diagnostics_want_a_list_of_gammas(self):
    network = hyper.hypernet(TARGET, **SMALL)
    params = network.init(KEY, GAMMA)
    for measure in (hyper.output_std_vs_gamma, hyper.delta_norms):
      with self.assertRaisesRegex(ValueError, r'gammas must be \[G, D\]'):
        measure(network, params, GAMMA)
    with self.assertRaisesRegex(ValueError, 'seed must be at least 0'):
      hyper.gamma_grid(2, 3, seed=-1)

  def test_lists_and_names(self):
    network, params = small()
    np.testing.assert_array_equal(
      network.apply(params, [0.5], X),
      network.apply(params, jnp.array([0.5]), X),
    )
    with self.assertRaisesRegex(ValueError, 'gamma has no inputs'):
      network.apply(params, {}, X)

  @parameterized.parameters(
    ([7.0], r'gamma\[0\] must lie in \[0, 1\]; got 7'),
    ([float('nan')], 'must be finite'),
    ([[0.1], [0.2]], r'gamma has 2 rows, but inputs\[0\]'),
  )
  def test_separate_networks_know_their_range(self, gamma, message):
    separate = hyper.parametrized('separate', networks.mlp(3, 2))
    params = separate.init(KEY, GAMMA, X)
    with self.assertRaisesRegex(ValueError, message):
      separate.apply(params, jnp.asarray(gamma), X)

  def test_types(self):
    with self.assertRaisesRegex(TypeError, 'must be floating point to be'):
      hyper.hypernet({'n': jnp.zeros(2, jnp.int32)})
    with self.assertRaisesRegex(TypeError, 'gamma must be floating point'):
      hyper.encode(jnp.zeros(2, jnp.complex64))
    with self.assertRaisesRegex(TypeError, 'residual must be True or False'):
      hyper.hypernet(TARGET, residual=1)
    with self.assertRaisesRegex(ValueError, r"target\['n'\] is empty"):
      hyper.hypernet({'n': jnp.zeros((0, 2))})
    with self.assertRaisesRegex(TypeError, 'network must be a Network'):
      hyper.hypernetize('mlp')
    separate = hyper.parametrized('separate', networks.mlp(3, 2))
    with self.assertRaisesRegex(ValueError, 'need a single gamma; got 2'):
      separate.init(KEY, jnp.zeros(2), X)


if __name__ == '__main__':
  absltest.main()
