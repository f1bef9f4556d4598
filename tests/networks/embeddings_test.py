# SPDX-License-Identifier: Apache-2.0
"""Encoders, and the task of episodes."""

import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized

from jaxdl import networks

PIXELS = networks.EMBEDDINGS.make('pixels')


def embedded_shape(spec, *shape):
  network = networks.make_embedding(spec, shape)
  return jax.eval_shape(
    lambda x: network.apply(network.init(jax.random.key(0), x), x),
    jax.ShapeDtypeStruct((2, *shape), jnp.float32),
  ).shape


def reference(params, x, statistics):
  """The encoder in float64, with given statistics or those of the batch."""
  for i in range(len(statistics)):
    layer = params[f'Conv_{i}']
    kernel = np.asarray(layer['kernel'], np.float64)
    padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    h, w = x.shape[1:3]
    x = sum(
      padded[:, a : a + h, b : b + w] @ kernel[a, b]
      for a in range(3)
      for b in range(3)
    ) + np.asarray(layer['bias'], np.float64)
    mean, var = statistics[i] or (x.mean((0, 1, 2)), x.var((0, 1, 2)))
    norm = params[f'BatchNorm_{i}']
    x = (x - mean) / np.sqrt(var + 1e-5)
    x = x * np.asarray(norm['scale']) + np.asarray(norm['bias'])
    x = np.maximum(x, 0)[:, : h // 2 * 2, : w // 2 * 2]
    x = x.reshape(len(x), h // 2, 2, w // 2, 2, -1).max((2, 4))
  return x.reshape(len(x), -1)


def reference_loss(support, query):
  """Cross-entropy over squared distances, float64."""
  means = support.mean(axis=1)
  losses = []
  for k, own in enumerate(query):
    for x in own:
      logits = -((x - means) ** 2).sum(axis=1)
      top = logits.max()
      losses.append(top + np.log(np.exp(logits - top).sum()) - logits[k])
  return np.mean(losses)


class EmbeddingTest(parameterized.TestCase):
  def test_shapes_of_the_sheet(self):
    self.assertEqual(embedded_shape('conv_embedding', 28, 28, 1), (2, 64))
    self.assertEqual(embedded_shape('conv_embedding', 84, 84, 3), (2, 1600))
    pooled = 'conv_embedding(7, channels=3, pooling=average)'
    self.assertEqual(embedded_shape(pooled, 40, 40, 1), (2, 7))
    self.assertEqual(embedded_shape('resnet18', 84, 84, 3), (2, 512))
    flat = 'resnet18(2, pooling=flatten, norm=group)'
    self.assertEqual(embedded_shape(flat, 16, 16, 1), (2, 64))
    self.assertEqual(embedded_shape('pixels', 5, 4, 2), (2, 40))
    self.assertEqual(embedded_shape('mlp((3,), 6)', 5, 4), (2, 6))

  def test_equals_a_float64_reference(self):
    network = networks.conv_embedding(3, channels=2, num_blocks=2)
    x = np.random.default_rng(0).normal(size=(4, 9, 8, 1))
    params = network.init(jax.random.key(0), x.astype('float32'))
    plain = [(np.zeros(2), np.ones(2)), (np.zeros(3), np.ones(3))]
    want = reference(params['params'], x, plain)
    got = network.apply(params, x.astype('float32'))
    np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-5)
    want = reference(params['params'], x, [None, None])
    got = network.apply(params, x.astype('float32'), train=True)
    np.testing.assert_allclose(got, want, rtol=1e-3, atol=1e-4)

  @parameterized.parameters('flatten', 'average', 'gem')
  def test_normalized_embeddings_have_length_one(self, pooling):
    network = networks.conv_embedding(
      3, channels=2, num_blocks=1, pooling=pooling, normalize=True
    )
    x = jax.random.normal(jax.random.key(1), (3, 4, 4, 1))
    out = network.apply(network.init(jax.random.key(0), x), x)
    np.testing.assert_allclose(jnp.linalg.norm(out, axis=1), 1.0, rtol=1e-5)

  def test_residual_embedding_is_the_network_before_its_head(self):
    x = jax.random.normal(jax.random.key(1), (3, 8, 8, 1))
    options = {'norm': 'group', 'width': 2}
    whole = networks.resnet18(5, **options)
    params = jax.jit(whole.init)(jax.random.key(0), x)
    head = jax.tree.map(np.asarray, params['params'].pop('Dense_0'))
    trunk = networks.resnet18_embedding(**options)
    own = jax.eval_shape(trunk.init, jax.random.key(0), x)['params']
    under = {'params': dict.fromkeys(own, params['params'])}
    out = np.asarray(jax.jit(trunk.apply)(under, x))
    params['params']['Dense_0'] = head
    np.testing.assert_allclose(
      out @ head['kernel'] + head['bias'],
      jax.jit(whole.apply)(params, x),
      rtol=1e-4,
      atol=1e-5,
    )

  def test_poolings_are_means_of_the_grid(self):
    x = jax.random.normal(jax.random.key(1), (3, 8, 8, 1))
    out = {}
    for pooling in ('flatten', 'average', 'gem'):
      network = networks.conv_embedding(
        5, channels=2, num_blocks=1, pooling=pooling
      )
      out[pooling] = network.apply(network.init(jax.random.key(0), x), x)
    grid = np.asarray(out['flatten'], np.float64).reshape(3, -1, 5)
    np.testing.assert_allclose(out['average'], grid.mean(axis=1), rtol=1e-5)
    np.testing.assert_allclose(
      out['gem'], np.cbrt((grid**3).mean(axis=1)), rtol=1e-3, atol=1e-5
    )

  def test_dropout_is_for_training(self):
    options = {'channels': 2, 'num_blocks': 1}
    kept = networks.conv_embedding(50, **options)
    network = networks.conv_embedding(50, dropout=0.4, **options)
    x = jax.random.normal(jax.random.key(1), (6, 4, 4, 1))
    params = network.init(jax.random.key(0), x)
    np.testing.assert_array_equal(
      network.apply(params, x), kept.apply(params, x)
    )
    want = np.asarray(kept.apply(params, x, train=True))
    got, other = (
      np.asarray(network.apply(params, x, train=True, key=jax.random.key(s)))
      for s in (2, 3)
    )
    # Entries go or grow; which ones is drawn.
    some = want > 0
    gone = got[some] == 0
    self.assertBetween(gone.mean(), 0.3, 0.5)
    np.testing.assert_allclose(
      got[some][~gone], want[some][~gone] / 0.6, rtol=1e-5
    )
    self.assertGreater(np.abs(got - other).max(), 1e-3)

  @parameterized.parameters('conv_embedding', 'resnet18')
  def test_dropout_needs_a_key(self, name):
    network = networks.make_embedding(f'{name}(8, dropout=0.4)', (16, 16, 1))
    x = jnp.zeros((2, 16, 16, 1))

    def embed(key=None):
      params = network.init(jax.random.key(0), x)
      return network.apply(params, x, train=True, key=key)

    self.assertEqual(jax.eval_shape(embed, jax.random.key(0)).shape[0], 2)
    with self.assertRaisesRegex(ValueError, 'key is required with train=True'):
      jax.eval_shape(embed)

  @parameterized.parameters(
    ('conv_embedding(dropout=1.0)', (28, 28, 1), r'dropout must lie in \[0'),
    ('resnet18(pooling=max)', (28, 28, 1), "pooling='max' is unknown"),
    ('resnet18(6, norm=group)', (28, 28, 1), 'does not divide'),
    ('resnet18', (28, 28), r'takes inputs \[B, H, W, C\]'),
    ('conv_embedding', (8, 8, 1), 'needs images of at least 16 x 16'),
    ('conv_embedding', (28, 28), r'takes inputs \[B, H, W, C\]'),
    ('conv_embedding(pooling=max)', (28, 28, 1), "pooling='max' is unknown"),
    ('conv_embedding(0)', (28, 28, 1), 'num_outputs must be at least 1'),
    ('convembedding', (28, 28, 1), "Did you mean 'conv_embedding'"),
  )
  def test_bad_input(self, spec, shape, message):
    with self.assertRaisesRegex(ValueError, message):
      networks.make_embedding(spec, shape)


class EpisodicTest(parameterized.TestCase):
  def batch(self, ways=3, shots=2, queries=4, shape=(5,), seed=0):
    rng = np.random.default_rng(seed)
    draw = lambda n: rng.normal(size=(ways, n, *shape)).astype(np.float32)
    return {'support': draw(shots), 'query': draw(queries)}

  def test_loss_of_equal_prototypes_is_log_of_ways(self):
    task = networks.episodic(PIXELS, jnp.zeros((1, 5)))
    batch = self.batch()
    batch['support'][:] = 1.0
    np.testing.assert_allclose(task.loss({}, batch), np.log(3), rtol=1e-5)

  def test_equals_a_float64_reference(self):
    task = networks.episodic(PIXELS, jnp.zeros((1, 5)))
    batch = self.batch()
    want = reference_loss(*(x.astype(np.float64) for x in batch.values()))
    np.testing.assert_allclose(task.loss({}, batch), want, rtol=1e-5)
    found = task.evaluate({}, batch)
    np.testing.assert_allclose(found['loss'], want, rtol=1e-5)
    means = batch['support'].mean(axis=1)
    gaps = ((batch['query'][:, :, None] - means) ** 2).sum(axis=-1)
    right = gaps.argmin(axis=-1) == np.arange(3)[:, None]
    np.testing.assert_allclose(found['accuracy'], right.mean(), rtol=1e-6)

  def test_mahalanobis_equals_a_float64_reference(self):
    batch = self.batch(shape=(6,))
    support, query = (x.astype(np.float64) for x in batch.values())
    means = support.mean(axis=1)
    c, s = means[:, :3], means[:, 3:]
    gaps = ((query[:, :, None, :3] - c) ** 2 / np.exp(s / 2)).sum(axis=-1)
    top = np.exp(-gaps) / np.exp(-gaps).sum(axis=-1, keepdims=True)
    own = np.stack([top[k, :, k] for k in range(3)])
    task = networks.episodic(PIXELS, jnp.zeros((1, 6)), distance='mahalanobis')
    np.testing.assert_allclose(
      task.loss({}, batch), -np.log(own).mean(), rtol=1e-5
    )
    right = gaps.argmin(axis=-1) == np.arange(3)[:, None]
    found = task.evaluate({}, batch)['accuracy']
    np.testing.assert_allclose(found, right.mean(), rtol=1e-6)
    slope = jax.grad(lambda q: task.loss({}, batch | {'query': q}))
    self.assertEqual(float(jnp.abs(slope(batch['query'])[..., 3:]).max()), 0.0)

  def test_sum_is_the_mean_times_the_queries(self):
    batch = self.batch()
    want = reference_loss(*(x.astype(np.float64) for x in batch.values()))
    task = networks.episodic(PIXELS, jnp.zeros((1, 5)), reduction='sum')
    np.testing.assert_allclose(task.loss({}, batch), 12 * want, rtol=1e-5)
    np.testing.assert_allclose(
      task.evaluate({}, batch)['loss'], want, rtol=1e-5
    )

  def test_masked_support_is_as_if_it_were_not_there(self):
    network = networks.conv_embedding(3, channels=2, num_blocks=1)
    batch = self.batch(shots=4, shape=(4, 4, 1))
    task = networks.episodic(network, batch['support'][0])
    params = jax.jit(task.init)(jax.random.key(0))
    mask = np.broadcast_to(np.arange(4) < 2, (3, 4))
    spoiled = np.where(mask[..., None, None, None], batch['support'], 9)
    masked = batch | {'support_mask': mask, 'support': spoiled}
    fewer = batch | {'support': batch['support'][:, :2]}
    both = jax.jit(
      lambda p, b: (jax.value_and_grad(task.loss)(p, b), task.evaluate(p, b))
    )
    jax.tree.map(
      lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5),
      both(params, masked),
      both(params, fewer),
    )

  def test_noise_is_on_the_means(self):
    # Two means at -1 and 1, a query of each at 0: by hand, many times.
    batch = {
      'support': np.array([[[-1.0]], [[1.0]]], np.float32),
      'query': np.zeros((2, 1, 1), np.float32),
    }
    task = networks.episodic(PIXELS, jnp.zeros((1, 1)), noise=0.5)
    keys = jax.random.split(jax.random.key(0), 20_000)
    got = jax.jit(jax.vmap(lambda key: task.loss({}, batch, key=key)))(keys)
    means = 0.5 * np.random.default_rng(0).normal(size=(200_000, 2)) + [-1, 1]
    gap = means[:, 0] ** 2 - means[:, 1] ** 2
    want = (np.logaddexp(0, gap) + np.logaddexp(0, -gap)) / 2
    np.testing.assert_allclose(got.mean(), want.mean(), rtol=0.02)
    np.testing.assert_allclose(got.std(), want.std(), rtol=0.05)
    plain = networks.episodic(PIXELS, jnp.zeros((1, 1)))
    self.assertEqual(
      task.evaluate({}, batch)['loss'], plain.evaluate({}, batch)['loss']
    )
    with self.assertRaisesRegex(ValueError, 'key is required with noise=0.5'):
      task.loss({}, batch)

  def test_bad_options(self):
    make = lambda **options: networks.episodic(
      PIXELS, jnp.zeros((1, 5)), **options
    )
    for options, message in (
      ({'distance': 'cosine'}, "distance='cosine' is unknown"),
      ({'distance': 'mahalanobis'}, 'of even dimension, .*; got 5'),
      ({'reduction': 'max'}, "reduction='max' is unknown"),
      ({'noise': -0.1}, 'noise must lie in'),
    ):
      with self.assertRaisesRegex(ValueError, message):
        make(**options)
    batch = self.batch() | {'support_mask': np.ones((3, 3), bool)}
    with self.assertRaisesRegex(ValueError, r'support_mask .* = \(3, 2\); got'):
      make().loss({}, batch)

  def test_support_and_queries_have_their_own_statistics(self):
    network = networks.conv_embedding(3, channels=2, num_blocks=1)
    batch = self.batch(shape=(4, 4, 1))
    # Other levels of brightness: common statistics would mix them.
    batch['query'] = 5.0 + 3.0 * batch['query']
    task = networks.episodic(network, batch['support'][0])
    params = jax.jit(task.init)(jax.random.key(0))
    embed = lambda x: reference(
      params['params'],
      x.reshape(-1, 4, 4, 1).astype(np.float64),
      [None],
    ).reshape(*x.shape[:2], -1)
    want = reference_loss(embed(batch['support']), embed(batch['query']))
    got, slope = jax.jit(jax.value_and_grad(task.loss))(params, batch)
    np.testing.assert_allclose(got, want, rtol=1e-3)
    # The gradient of the statistics pulls them to the mean of both.
    pull = slope['statistics']['BatchNorm_0']['mean']
    means = []
    for x in batch.values():
      layer = params['params']['Conv_0']
      padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1), (0, 0)))
      total = sum(
        padded[:, :, a : a + 4, b : b + 4] @ np.asarray(layer['kernel'])[a, b]
        for a in range(3)
        for b in range(3)
      )
      means.append(total.mean((0, 1, 2, 3)) + np.asarray(layer['bias']))
    np.testing.assert_allclose(pull, -sum(means) / 2, rtol=1e-4, atol=1e-5)

  def test_training_steps_lower_the_loss(self):
    task = networks.episodic(networks.mlp((), 2), jnp.zeros((1, 5)))
    params = task.init(jax.random.key(0))
    batch = self.batch()
    grads = jax.grad(task.loss)(params, batch)
    step = lambda p, g: p - 0.01 * g
    after = jax.tree.map(step, params, grads)
    self.assertLess(task.loss(after, batch), task.loss(params, batch))

  @parameterized.parameters(
    ({'query': jnp.ones((3, 1, 5))}, "no entry 'support'"),
    (
      {'support': jnp.ones((2, 1, 5)), 'query': jnp.ones((3, 1, 5))},
      'of the same classes',
    ),
  )
  def test_bad_batches(self, batch, message):
    task = networks.episodic(PIXELS, jnp.zeros((1, 5)))
    with self.assertRaisesRegex(ValueError, message):
      task.loss({}, batch)

  def test_a_batch_of_another_kind(self):
    task = networks.episodic(PIXELS, jnp.zeros((1, 5)))
    with self.assertRaisesRegex(TypeError, 'batch must be a dict'):
      task.loss({}, jnp.ones(3))


class DistancesTest(parameterized.TestCase):
  def test_slope_is_that_of_the_definition(self):
    rng = np.random.default_rng(0)
    x, c = (rng.normal(size=s).astype(np.float32) for s in ((4, 3), (2, 3)))
    weights = rng.normal(size=(4, 2)).astype(np.float32)
    total = lambda x, c: jnp.sum(weights * networks.squared_distances(x, c))
    got = jax.grad(total, argnums=(0, 1))(x, c)
    gap = x[:, None] - c
    want_x = 2 * (weights[..., None] * gap).sum(axis=1)
    want_c = -2 * (weights[..., None] * gap).sum(axis=0)
    np.testing.assert_allclose(got[0], want_x, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(got[1], want_c, rtol=1e-4, atol=1e-5)

  def test_never_negative(self):
    x = jnp.full((3, 2), 1e4)
    self.assertGreaterEqual(float(networks.squared_distances(x, x).min()), 0.0)


if __name__ == '__main__':
  absltest.main()
