# SPDX-License-Identifier: Apache-2.0
"""Whole networks with random features beside what is trained."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from absl.testing import absltest, parameterized
from flax import nnx

from jaxdl import networks
from jaxdl.networks import features

KEY = jax.random.key(0)
X = np.random.default_rng(0).normal(size=(5, 4)).astype('float32')
PART = features.bottleneck_adapter(3, 2)
BASE = networks.mlp(3, 2, kernel_init='glorot').init(jax.random.key(1), X)


def base_outputs():
  first, second = jax.tree.map(np.asarray, BASE)
  hidden = np.maximum(X @ first['kernel'] + first['bias'], 0)
  return hidden @ second['kernel'] + second['bias']


class NetworkTest(parameterized.TestCase):
  @parameterized.parameters(
    ('bitfit', 3 + 3 * 2 + 2),
    ('full', 4 * 3 + 3 + 3 * 2 + 2),
    ('lora(rank=2)', 2 * (4 + 3) + 3 * 2 + 2),
  )
  def test_fine_tuning_starts_at_the_base(self, method, count):
    net = features.fine_tuned(BASE, method=method)
    params = net.init(KEY, X)
    np.testing.assert_allclose(net.apply(params, X), base_outputs(), atol=1e-6)
    self.assertEqual(features.num_trained(net, 4), count)

  def test_adapters_start_at_the_base(self):
    net = features.adapted(BASE, lambda _: [features.bottleneck_adapter(3, 2)])
    np.testing.assert_allclose(
      net.apply(net.init(KEY, X), X), base_outputs(), atol=1e-6
    )

  def test_full_rank_keeps_a_trained_network(self):
    net = features.low_rank_network((3, 2), 5, start=BASE)
    np.testing.assert_allclose(
      net.apply(net.init(KEY, X), X), base_outputs(), atol=1e-5
    )

  def test_the_nearest_size_is_found(self):
    make = lambda rank: features.low_rank_network((3, 2), rank)
    size, net = features.matched(make, 7 * 4 + 3 + 8, 4)
    self.assertEqual(size, 4)
    self.assertEqual(features.num_trained(net, 4), 7 * 4 + 3 + 8)

  def test_what_is_drawn_stays(self):
    how = features.FEATURES.make('gaussian(orthogonal=True)')
    net = features.snnk_network(how, 4, (3, 2), 6, activation='gaussian')
    params = net.init(KEY, X)
    loss = lambda p: jnp.square(net.apply(p, X)).sum()
    optimizer = features.trained_only(optax.sgd(1e-6))
    gradient = jax.grad(loss)(params)
    updates, _ = optimizer.update(gradient, optimizer.init(params))
    new = optax.apply_updates(params, updates)
    jax.tree.map(np.testing.assert_array_equal, new['frozen'], params['frozen'])
    self.assertLess(float(loss(new)), float(loss(params)))

  def test_random_fourier_features_estimate_the_gaussian_kernel(self):
    net = features.random_fourier(4, 1, 20_000, bandwidth=2.0)
    frozen = net.init(KEY, X)['frozen']
    g, phase = (np.asarray(a, np.float64) for a in frozen)
    lift = np.cos(X @ g.T + phase) * (2 / 20_000) ** 0.5
    gaps = np.square(X[:, None] - X[None]).sum(-1)
    np.testing.assert_allclose(
      lift @ lift.T, np.exp(-gaps / (2 * 2.0**2)), atol=0.03
    )


class Pair(nn.Module):
  """Two dense layers with names."""

  @nn.compact
  def __call__(self, x):
    return nn.Dense(2, name='last')(nn.tanh(nn.Dense(3, name='first')(x)))


class Residual(nn.Module):
  """An adapter of flax, whose layers are called as those of `Pair`."""

  @nn.compact
  def __call__(self, x):
    inner = nn.relu(nn.Dense(5, name='first')(x))
    zeros = nn.initializers.zeros
    return x + nn.Dense(x.shape[-1], name='last', kernel_init=zeros)(inner)


class Cell(nn.Module):
  """Returns two things."""

  @nn.compact
  def __call__(self, x):
    return nn.Dense(3, name='inner')(x), 1


class Cells(nn.Module):
  """Has a module that returns two things."""

  @nn.compact
  def __call__(self, x):
    return Cell(name='cell')(x)[0]


class PlacesTest(parameterized.TestCase):
  def setUp(self):
    super().setUp()
    self.network = networks.as_network(Pair())
    self.base = self.network.init(KEY, X)
    own = jax.tree.map(np.asarray, self.base['params'])
    self.layers = [own[k] for k in ('first', 'last')]

  def outputs(self, change=lambda h: h):
    first, last = self.layers
    hidden = np.tanh(change(X @ first['kernel'] + first['bias']))
    return hidden @ last['kernel'] + last['bias']

  def test_an_adapter_changes_the_output_of_its_module(self):
    part = features.bottleneck_adapter(3, 2)
    net = features.adapted_at(
      self.network, self.base, lambda _: {'first': part}
    )
    params = net.init(jax.random.key(1), X)
    np.testing.assert_allclose(net.apply(params, X), self.outputs(), atol=1e-6)
    down, up = np.ones((3, 2)), np.array([[1.0, 0, 2], [0, -1, 0]])
    own = {
      'down': {'kernel': down, 'bias': np.zeros(2)},
      'up': {'kernel': up, 'bias': np.array([0.5, 0, 0])},
    }
    params['trained']['first'] = jax.tree.map(jnp.float32, own)
    want = self.outputs(
      lambda h: h + np.maximum(h @ down, 0) @ up + np.array([0.5, 0, 0])
    )
    np.testing.assert_allclose(net.apply(params, X), want, atol=1e-5)
    self.assertEqual(features.num_trained(net, 4), 3 * 2 + 2 + 2 * 3 + 3)
    gradient = jax.grad(lambda p: jnp.sum(net.apply(p, X)))(params)
    self.assertGreater(
      np.abs(gradient['trained']['first']['up']['bias']).min(), 0
    )

  def test_paths_that_are_none_are_refused(self):
    part = features.bottleneck_adapter(3, 2)
    net = features.adapted_at(
      self.network, self.base, lambda _: {'block/first': part}
    )
    with self.assertRaisesRegex(
      ValueError, "adapters='block/first' is unknown"
    ):
      net.init(KEY, X)

  def test_modules_are_found_by_name(self):
    found = features.module_widths(
      self.network, self.base, X, ['last', 'first']
    )
    self.assertEqual(list(found.items()), [('first', 3), ('last', 2)])
    with self.assertRaisesRegex(
      ValueError, "places='fist' is unknown: choose one of 'first', 'last'"
    ):
      features.module_widths(self.network, self.base, X, ['fist'])

  @parameterized.parameters(
    ('bitfit', 3 + 2), ('full', 15 + 8), ('lora(rank=2)', 2 * (7 + 5))
  )
  def test_what_is_trained_on_starts_at_the_base(self, method, count):
    net = features.tuned_at(self.network, self.base, method=method)
    params = net.init(jax.random.key(1), X)
    np.testing.assert_allclose(net.apply(params, X), self.outputs(), atol=1e-6)
    self.assertEqual(features.num_trained(net, 4), count)
    moved = jax.tree.map(lambda p: p + 0.25, params['trained'])
    for layer, name in zip(self.layers, ('first', 'last'), strict=True):
      own = {k: np.asarray(v) for k, v in moved[f'params/{name}'].items()}
      for k in ('kernel', 'bias'):
        layer[k] = own.get(k, layer[k])
      if 'down' in own:
        layer['kernel'] = layer['kernel'] + own['down'] @ own['up']
    got = net.apply({'frozen': (), 'trained': moved}, X)
    np.testing.assert_allclose(got, self.outputs(), atol=1e-5)

  @parameterized.parameters('lora', 'bitfit')
  def test_nothing_to_train_is_refused(self, method):
    base = {'params': {'first': {'kernel': jnp.ones((3, 4))}}}
    with self.assertRaisesRegex(ValueError, 'finds nothing to train in base'):
      features.tuned_at(self.network, base, method=method)

  @parameterized.parameters('lora', 'lora(rank=2)')
  def test_ranks_that_no_matrix_has_are_refused(self, method):
    base = {
      'params': {'first': {'kernel': jnp.ones((1, 4)), 'bias': jnp.ones(4)}}
    }
    for make in (
      lambda: features.tuned_at(self.network, base, method=method),
      lambda: features.fine_tuned(
        [base['params']['first']], method=method, train_head=False
      ),
    ):
      with self.assertRaisesRegex(
        ValueError, r'rank must be at most 1, .* 1 x 4'
      ):
        make()
    # Of the largest one; smaller ones take it too.
    features.tuned_at(self.network, self.base, method='lora(rank=3)')

  def test_sizes_end_at_the_largest_rank(self):
    make = lambda r: features.fine_tuned(BASE, method=f'lora(rank={r})')
    self.assertEqual(features.matched(make, 1000, 4, most=3)[0], 3)
    self.assertEqual(features.matched(make, 1000, 4, most=1)[0], 1)

  @parameterized.product(
    dtype=['bfloat16', 'float16'],
    kind=['bottleneck', 'gate', 'up', 'gaussian', 'lora', 'bitfit', 'full'],
  )
  def test_the_start_is_the_base_bit_by_bit_in_its_dtype(self, dtype, kind):
    x = jnp.asarray(X, dtype)
    base = jax.tree.map(lambda p: p.astype(dtype), self.base)
    layers = [base['params'][k] for k in ('first', 'last')]
    dense = networks.mlp(3, 2)
    if kind in features.FINE_TUNINGS:
      method = 'lora(rank=2)' if kind == 'lora' else kind
      own = features.tuned_at(self.network, base, method=method)
      whole = features.fine_tuned(layers, method=method, train_head=False)
    else:
      how = {'kind': 'gaussian'} if kind == 'gaussian' else {}
      drawn = features.feature_map(jax.random.key(1), 3, 8, **how)
      part = (
        features.bottleneck_adapter(3, 2)
        if kind == 'bottleneck'
        else features.snnk_adapter(drawn, kind='up' if kind == 'up' else 'gate')
      )
      own = features.adapted_at(self.network, base, lambda _: {'first': part})
      whole = features.adapted(layers, lambda _: [part])
      wide = jax.tree.map(jnp.float32, part.init(KEY, x[:, :3]))
      self.assertEqual(part.apply(wide, x[:, :3]).dtype, dtype)
    pairs = (
      (own, own.init(KEY, x), self.network, base),
      (whole, whole.init(KEY, x), dense, layers),
    )
    for net, params, plain, start in pairs:
      for run in (
        lambda f, p: f(p, x),
        lambda f, p: jax.jit(f)(p, x),
        lambda f, p: jax.jit(jax.vmap(f, (None, 0)))(p, jnp.stack([x, x])),
      ):
        got, want = run(net.apply, params), run(plain.apply, start)
        self.assertEqual(got.dtype, dtype)
        np.testing.assert_array_equal(
          np.asarray(got, np.float32), np.asarray(want, np.float32)
        )

  def test_an_adapter_of_modules_is_let_alone(self):
    # Its layer has the name of the place, and its output another width.
    net = features.adapted_at(
      self.network, self.base, lambda _: {'first': Residual()}
    )
    params = net.init(jax.random.key(1), X)
    np.testing.assert_allclose(net.apply(params, X), self.outputs(), atol=1e-6)
    params['trained']['first']['params']['last']['bias'] += 0.5
    want = self.outputs(lambda h: h + 0.5)
    np.testing.assert_allclose(net.apply(params, X), want, atol=1e-5)
    # Adapters of an adapted network too.
    twice = features.adapted_at(net, params, lambda _: {'first': Residual()})
    own = twice.init(jax.random.key(2), X)
    np.testing.assert_allclose(twice.apply(own, X), want, atol=1e-5)
    self.assertEqual(
      features.module_widths(net, params, X, ['first', 'last']),
      {'first': 3, 'last': 2},
    )
    own['trained']['first']['params']['last']['bias'] += 0.25
    want = self.outputs(lambda h: h + 0.75)
    np.testing.assert_allclose(jax.jit(twice.apply)(own, X), want, atol=1e-5)

  @parameterized.parameters(
    ({'params/first': PART}, ValueError, "'params/first' .* write 'first'"),
    ({'first/': PART}, ValueError, "'first/' is no path .* write 'first'"),
    ({('first',): PART}, TypeError, r"got \('first',\): write 'first'"),
    ({'first': 3}, TypeError, r"adapters\['first'\] must be a Network; got 3"),
    ([PART], TypeError, 'adapters must return a dict'),
    ({'last': PART}, ValueError, r"adapters\['last'\] must map .* C = 2"),
    ({'first': nn.Dense(2)}, ValueError, r'it makes an array .*\(1, 2\)'),
  )
  def test_adapters_that_do_not_fit_are_refused(self, parts, kind, message):
    net = features.adapted_at(self.network, self.base, lambda _: parts)
    with self.assertRaisesRegex(kind, message):
      net.init(KEY, X)

  def test_adapters_are_a_function_and_networks_have_modules(self):
    with self.assertRaisesRegex(TypeError, 'adapters must be a function'):
      features.adapted_at(self.network, self.base, {'first': PART})
    module = nnx.Linear(4, 3, rngs=nnx.Rngs(0))
    with self.assertRaisesRegex(TypeError, 'must be of a flax.linen module'):
      features.adapted_at(module, {}, lambda _: {'first': PART})
    run = jax.jit(self.network.apply, static_argnames='train')
    compiled = self.network._replace(apply=run)
    compiled.apply(self.base, X, train=False, key=None)
    net = features.adapted_at(compiled, self.base, lambda _: {'first': PART})
    with self.assertRaisesRegex(ValueError, 'adapters at .* were not reached'):
      net.apply(
        {'frozen': (), 'trained': {'first': PART.init(KEY, X[:, :3])}}, X
      )

  @parameterized.parameters(
    ((5, 4), ['first'], TypeError, r'x must be an array .* got \(5, 4\)'),
    (X, 'first', TypeError, r"places must be a list .* as \['first'\]"),
    (X[:, :2], ['first'], ValueError, 'base must be what network.init'),
  )
  def test_examples_and_places_are_checked(self, x, places, kind, message):
    with self.assertRaisesRegex(kind, message):
      features.module_widths(self.network, self.base, x, places)

  def test_modules_that_return_more_are_refused(self):
    module = Cells()
    base = module.init(KEY, X)
    self.assertEqual(
      features.module_widths(module, base, X, ['inner']), {'cell/inner': 3}
    )
    with self.assertRaisesRegex(ValueError, "'cell', .* a tuple of length 2"):
      features.module_widths(module, base, X, ['cell'])
    with self.assertRaisesRegex(ValueError, "give its last part, 'inner'"):
      features.module_widths(module, base, X, ['cell/inner'])

  def test_a_shape_is_no_example(self):
    with self.assertRaisesRegex(
      TypeError, r'ShapeDtypeStruct\(\(5, 4\), dtype'
    ):
      features.num_trained(features.fine_tuned(BASE, method='full'), (5, 4))


if __name__ == '__main__':
  absltest.main()
