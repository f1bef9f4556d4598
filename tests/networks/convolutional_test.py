# SPDX-License-Identifier: Apache-2.0
import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized

from jaxdl import networks
from jaxdl.core import clients


def _conv(x, layer, *, pad=0, stride=1):
  """Correlation by shifted products, float64."""
  kernel = np.asarray(layer['kernel'], np.float64)
  size = kernel.shape[0]
  x = np.pad(x, ((0, 0), (pad, pad), (pad, pad), (0, 0)))
  height = (x.shape[1] - size) // stride + 1
  width = (x.shape[2] - size) // stride + 1
  out = 0.0
  for i in range(size):
    for j in range(size):
      rows = slice(i, i + stride * (height - 1) + 1, stride)
      columns = slice(j, j + stride * (width - 1) + 1, stride)
      out = out + x[:, rows, columns] @ kernel[i, j]
  return out + np.asarray(layer.get('bias', 0.0), np.float64)


def _pool(x):
  b, h, w, c = x.shape
  x = x[:, : h // 2 * 2, : w // 2 * 2]
  return x.reshape(b, h // 2, 2, w // 2, 2, c).max((2, 4))


def _dense(x, layer):
  x = x.reshape(len(x), -1)
  return x @ np.asarray(layer['kernel'], np.float64) + np.asarray(
    layer['bias'], np.float64
  )


def _relu(x):
  return np.maximum(x, 0.0)


def _affine(x, mean, var, layer):
  y = (x - mean) / np.sqrt(var + 1e-5)
  return y * np.asarray(layer['scale'], np.float64) + np.asarray(
    layer['bias'], np.float64
  )


def _batch_norm(x, layer, statistics, mask):
  """Running statistics without a mask, those of the unmasked rows with one."""
  if mask is None:
    mean = np.asarray(statistics['mean'], np.float64)
    var = np.asarray(statistics['var'], np.float64)
  else:
    mean, var = x[mask].mean((0, 1, 2)), x[mask].var((0, 1, 2))
  return _affine(x, mean, var, layer)


def _group_norm(x, layer, num_groups):
  b, h, w, c = x.shape
  groups = x.reshape(b, h, w, num_groups, c // num_groups)
  mean = groups.mean((1, 2, 4), keepdims=True)
  var = groups.var((1, 2, 4), keepdims=True)
  y = ((groups - mean) / np.sqrt(var + 1e-5)).reshape(x.shape)
  return _affine(y, 0.0, 1.0 - 1e-5, layer)


def _ref_lenet(p, x):
  p = p['params']
  x = _pool(_relu(_conv(x, p['Conv_0'], pad=2)))
  x = _pool(_relu(_conv(x, p['Conv_1'])))
  x = _relu(_dense(_relu(_dense(x, p['Dense_0'])), p['Dense_1']))
  return _dense(x, p['Dense_2'])


def _ref_monna_mnist(p, x):
  p = p['params']
  x = _pool(_relu(_conv(x, p['Conv_0'])))
  x = _pool(_relu(_conv(x, p['Conv_1'])))
  return _dense(_relu(_dense(x, p['Dense_0'])), p['Dense_1'])


def _ref_fedjax(p, x):
  p = p['params']
  x = _relu(_conv(_relu(_conv(x, p['Conv_0'])), p['Conv_1']))
  return _dense(_relu(_dense(_pool(x), p['Dense_0'])), p['Dense_1'])


def _ref_ocfl(p, x):
  p = p['params']
  for i in range(3):
    x = _relu(_conv(x, p[f'Conv_{i}'], pad=2))
  for i in range(2):
    x = _relu(_dense(x, p[f'Dense_{i}']))
  return _dense(x, p['Dense_2'])


def _ref_fedfix(p, x):
  p = p['params']
  for i in range(2):
    x = _pool(_relu(_conv(x, p[f'Conv_{i}'])))
  x = _conv(x, p['Conv_2'])
  return _dense(_relu(_dense(x, p['Dense_0'])), p['Dense_1'])


def _ref_monna_cifar(p, x, mask=None):
  p, s = p['params'], p['statistics']
  for i in range(4):
    x = _relu(_conv(x, p[f'Conv_{i}'], pad=1))
    name = f'BatchNorm_{i}'
    x = _batch_norm(x, p[name], s[name], mask)
    if i % 2:
      x = _pool(x)
  return _dense(_relu(_dense(x, p['Dense_0'])), p['Dense_1'])


def _ref_resnet(p, x, *, width, num_groups, mask=None, blocks=(2,) * 4):
  running, p = p.get('statistics'), p['params']
  count = iter(range(100))

  def unit(x, pad, stride=1):
    i = next(count)
    x = _conv(x, p[f'Conv_{i}'], pad=pad, stride=stride)
    norm = p[f'_Norm_{i}']
    if running is None:
      return _group_norm(x, norm['GroupNorm_0'], min(num_groups, x.shape[-1]))
    own = running[f'_Norm_{i}']['BatchNorm_0']
    return _batch_norm(x, norm['BatchNorm_0'], own, mask)

  x = _relu(unit(x, 1))
  for stage, count_of in enumerate(blocks):
    for block in range(count_of):
      stride = 2 if stage and not block else 1
      y = unit(_relu(unit(x, 1, stride)), 1)
      if y.shape != x.shape:
        x = unit(x, 0, stride)
      x = _relu(x + y)
  return _dense(x.mean((1, 2)), p['Dense_0'])


_resnet = functools.partial(networks.resnet18, 3, width=4, num_groups=2)
CASES = {
  'lenet': (networks.lenet(3), (13, 12, 2), _ref_lenet),
  'monna_mnist_cnn': (
    networks.monna_mnist_cnn(3),
    (16, 17, 1),
    _ref_monna_mnist,
  ),
  'fedjax_emnist_cnn': (networks.fedjax_emnist_cnn(3), (7, 6, 1), _ref_fedjax),
  'monna_cifar_cnn': (
    networks.monna_cifar_cnn(3, dropout=0.0),
    (5, 4, 2),
    _ref_monna_cifar,
  ),
  'ocfl_cnn': (
    networks.ocfl_cnn(3, hidden_sizes=(4, 3)),
    (4, 3, 2),
    _ref_ocfl,
  ),
  'fedfix_cifar_cnn': (networks.fedfix_cifar_cnn(3), (18, 19, 2), _ref_fedfix),
  'resnet34': (
    networks.resnet34(3, width=4, num_groups=2, blocks=(1, 3)),
    (6, 5, 3),
    functools.partial(_ref_resnet, width=4, num_groups=2, blocks=(1, 3)),
  ),
  'resnet18_group': (
    _resnet(norm='group'),
    (6, 5, 3),
    functools.partial(_ref_resnet, width=4, num_groups=2),
  ),
  'resnet18_batch': (
    _resnet(norm='batch'),
    (6, 5, 3),
    functools.partial(_ref_resnet, width=4, num_groups=2),
  ),
}


def _setup(name, batch=3):
  """Network, parameters away from their initial constants, inputs."""
  network, shape, reference = CASES[name]
  rng = np.random.default_rng(7)
  x = rng.normal(size=(batch, *shape)).astype('float32')
  shapes = jax.eval_shape(
    lambda x: network.init(jax.random.key(0), x), jnp.asarray(x)
  )

  def leaf(path, s):
    if path[-1].key == 'kernel':
      scale = 1.5 / np.sqrt(np.prod(s.shape[:-1]))
      return (scale * rng.normal(size=s.shape)).astype('float32')
    low = 0.5 if path[-1].key in ('var', 'scale') else -0.3
    return rng.uniform(low, low + 0.6, size=s.shape).astype('float32')

  params = jax.tree_util.tree_map_with_path(leaf, shapes)
  return network, params, x, reference


def _close(got, want):
  scale = np.abs(want).max()
  np.testing.assert_allclose(got, want, atol=2e-5 * scale)


class ForwardTest(parameterized.TestCase):
  @parameterized.parameters(*CASES)
  def test_equals_reference(self, name):
    network, params, x, reference = _setup(name)
    got = jax.jit(network.apply)(params, x)
    self.assertEqual(got.dtype, jnp.float32)
    _close(got, reference(params, np.asarray(x, np.float64)))

  @parameterized.parameters('monna_cifar_cnn', 'resnet18_batch')
  def test_training_uses_the_unmasked_rows(self, name):
    network, params, x, reference = _setup(name, batch=4)
    mask = np.array([True, False, True, True])
    got = jax.jit(functools.partial(network.apply, train=True))(
      params, x, mask=mask
    )
    want = reference(params, np.asarray(x, np.float64), mask=mask)
    _close(got[mask], want[mask])
    evaluated = reference(params, np.asarray(x, np.float64))
    self.assertGreater(np.abs(want - evaluated)[mask].max(), 0.05)

  def test_gradients_do_not_depend_on_the_mode(self):
    # One mode calls the convolution, the other multiplies matrices.
    class Layers(nn.Module):
      @nn.compact
      def __call__(self, x, *, train=False):
        x = networks.Conv(3, 3, stride=2, padding=1)(x, train=train)
        x = networks.Conv(4, 2)(jnp.tanh(x), train=train)
        return networks.Conv(2, 1, stride=2, use_bias=False)(x, train=train)

    network = networks.from_linen(Layers())
    x = np.random.default_rng(0).normal(size=(2, 9, 8, 2)).astype('float32')
    params = jax.jit(network.init)(jax.random.key(0), x)

    def loss(params, x, train):
      return jnp.sum(jnp.square(network.apply(params, x, train=train)))

    slope = jax.jit(jax.grad(loss, argnums=(0, 1)), static_argnums=2)
    jax.tree.map(_close, slope(params, x, True), slope(params, x, False))

  def test_max_pool_equals_reference(self):
    x = np.random.default_rng(0).normal(size=(2, 5, 6, 3)).astype('float32')
    np.testing.assert_array_equal(networks.max_pool(jnp.asarray(x)), _pool(x))


class CountTest(parameterized.TestCase):
  @parameterized.parameters(
    # Kernel and bias of each layer, by hand.
    ('monna_mnist_cnn', (28, 28, 1), 10, 520 + 25050 + 400500 + 5010, 0),
    (
      'monna_cifar_cnn',
      (32, 32, 3),
      10,
      # Convolutions; scale and bias; dense.
      1792 + 36928 + 73856 + 147584 + 2 * 384 + (8192 + 1) * 128 + 1290,
      2 * 384,
    ),
    ('lenet', (28, 28, 1), 10, 156 + 2416 + 48120 + 10164 + 850, 0),
    ('fedjax_emnist_cnn', (28, 28, 1), 62, 1206590, 0),
  )
  def test_small_networks(self, name, shape, num_classes, trained, running):
    self._check(
      networks.make_network(name, shape, num_classes), shape, trained, running
    )

  @parameterized.parameters('group', 'batch')
  def test_resnet18(self, norm):
    widths = (64, 128, 256, 512)
    trained = 27 * 64 + 2 * 64  # Stem.
    channels = 64
    last = 64
    for width in widths:
      trained += 9 * last * width + 3 * 9 * width * width + 4 * 2 * width
      channels += 4 * width
      if width != last:
        trained += last * width + 2 * width  # Projection.
        channels += width
      last = width
    trained += 513 * 10
    self.assertEqual(trained, 11173962)
    self.assertEqual(2 * channels, 9600)
    self._check(
      networks.resnet18(norm=norm),
      (32, 32, 3),
      trained,
      9600 if norm == 'batch' else 0,
    )

  def _check(self, network, shape, trained, running):
    shapes = jax.eval_shape(
      lambda x: network.init(jax.random.key(0), x), jnp.zeros((1, *shape))
    )
    weights, statistics = networks.split_statistics(shapes)
    size = lambda tree: sum(x.size for x in jax.tree.leaves(tree))
    self.assertEqual(size(weights), trained)
    self.assertEqual(size(statistics), running)


class DropoutTest(parameterized.TestCase):
  def test_follows_the_key_in_training_only(self):
    network = networks.fedjax_emnist_cnn(3)
    x = jnp.asarray(np.random.default_rng(0).normal(size=(4, 6, 6, 1)))
    params = network.init(jax.random.key(0), x)
    train = jax.jit(functools.partial(network.apply, train=True))
    a, b, c = (
      np.asarray(train(params, x, key=jax.random.key(seed)))
      for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(a, b)
    self.assertGreater(np.abs(a - c).max(), 1e-3)
    off = network.apply(params, x)
    np.testing.assert_array_equal(
      off, network.apply(params, x, key=jax.random.key(1))
    )
    self.assertGreater(np.abs(a - np.asarray(off)).max(), 1e-3)
    self.assertGreater(np.abs(a[0] - off[0]).max(), 1e-4)

  def test_is_unbiased_on_a_linear_path(self):
    # Positive weights make every relu the identity, so that the expectation
    # of the output is the output without dropout.
    network = networks.fedjax_emnist_cnn(2)
    x = jnp.ones((1, 6, 6, 1))
    params = jax.tree.map(jnp.abs, network.init(jax.random.key(0), x))
    keys = jax.random.split(jax.random.key(1), 400)
    draws = jax.jit(
      jax.vmap(lambda k: network.apply(params, x, train=True, key=k))
    )(keys)
    mean = np.mean(np.asarray(draws, np.float64), 0)
    error = np.std(np.asarray(draws, np.float64), 0) / 20
    want = network.apply(params, x)
    np.testing.assert_array_less(np.abs(mean - want), 4 * error)

  @parameterized.parameters('fedjax_emnist_cnn', 'monna_cifar_cnn')
  def test_training_without_a_key_is_refused(self, name):
    network = networks.make_network(name, (8, 8, 1), 3)
    x = jnp.zeros((2, 8, 8, 1))
    with self.assertRaisesRegex(ValueError, 'key is required with train'):
      jax.eval_shape(
        lambda: network.apply(network.init(jax.random.key(0), x), x, train=True)
      )

  def test_no_dropout_needs_no_key(self):
    network, params, x, _ = _setup('monna_cifar_cnn')
    out = jax.eval_shape(lambda: network.apply(params, x, train=True))
    self.assertEqual(out.shape, (3, 3))


class ClientsTest(parameterized.TestCase):
  @parameterized.parameters(*CASES)
  def test_per_client_parameters_in_every_mode(self, name):
    network, params, x, reference = _setup(name, batch=2)
    factors = np.array([1.0, 0.9, 1.1], 'float32')
    stacked = jax.tree.map(lambda p: np.stack([f * p for f in factors]), params)
    data = np.stack([x, -x, 2 * x])
    vmapped = jax.jit(jax.vmap(network.apply))(stacked, data)
    looped = jax.jit(clients.map_clients(network.apply))(stacked, data)
    for i in range(3):
      own = jax.tree.map(lambda p, i=i: p[i], stacked)
      want = reference(own, data[i].astype(np.float64))
      _close(vmapped[i], want)
      _close(looped[i], want)

  @parameterized.parameters(*CASES)
  def test_gradients_trace_per_client(self, name):
    network, params, x, _ = _setup(name, batch=2)
    task = networks.classification(network, x, num_classes=3)
    stacked = jax.tree.map(lambda p: np.stack([p] * 3), params)
    batch = {
      'inputs': jnp.zeros((3, *x.shape)),
      'labels': jnp.zeros((3, 2), jnp.int32),
      'mask': jnp.ones((3, 2), bool),
    }
    step = lambda p, b, k: jax.grad(task.loss)(p, b, key=k)
    keys = jax.random.split(jax.random.key(0), 3)
    grads = jax.eval_shape(jax.vmap(step), stacked, batch, keys)
    self.assertEqual(
      jax.tree.map(jnp.shape, grads), jax.tree.map(jnp.shape, stacked)
    )

  @parameterized.parameters('bfloat16', 'float64')
  def test_dtypes(self, dtype):
    with jax.enable_x64(dtype == 'float64'):
      for network, shape, _ in CASES.values():
        x = jnp.zeros((2, *shape), dtype)
        params, outputs, fresh = jax.eval_shape(
          lambda x, network=network: (
            (p := network.init(jax.random.key(0), x)),
            *network.apply(
              p, x, train=True, key=jax.random.key(1), mutable=True
            ),
          ),
          x,
        )
        weights, statistics = networks.split_statistics(params)
        self.assertEqual({p.dtype for p in jax.tree.leaves(weights)}, {x.dtype})
        self.assertEqual(outputs.dtype, x.dtype)
        wide = jnp.promote_types(x.dtype, jnp.float32)
        for tree in (statistics, fresh):
          self.assertLessEqual({p.dtype for p in jax.tree.leaves(tree)}, {wide})


class ErrorsTest(parameterized.TestCase):
  def test_messages(self):
    with self.assertRaisesRegex(ValueError, 'num_groups=6 does not divide 8'):
      networks.resnet18(width=4, num_groups=6)
    with self.assertRaisesRegex(ValueError, r"norm='layer' is unknown"):
      networks.resnet18(norm='layer')
    with self.assertRaisesRegex(ValueError, r'dropout must lie in \[0.0, 1.0'):
      networks.monna_cifar_cnn(dropout=1.0)
    network, params, x, _ = _setup('lenet')
    with self.assertRaisesRegex(ValueError, 'adds a channel axis'):
      network.apply(params, x[..., 0])


if __name__ == '__main__':
  absltest.main()
