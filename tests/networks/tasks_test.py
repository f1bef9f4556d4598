# SPDX-License-Identifier: Apache-2.0
import collections

import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized

from jaxdl import networks
from jaxdl.core.types import Network


def _batch(seed=0, size=6):
  rng = np.random.default_rng(seed)
  return {
    'inputs': rng.normal(size=(size, 4)).astype('float32'),
    'labels': rng.integers(0, 3, size),
    'mask': np.array([True, True, False, True, False, True])[:size],
  }


def _linear(params, x):
  layer = params[0]
  return np.asarray(x, np.float64) @ np.asarray(
    layer['kernel'], np.float64
  ) + np.asarray(layer['bias'], np.float64)


class SmoothingTest(parameterized.TestCase):
  def test_labels_are_spread_in_the_loss_alone(self):
    batch = _batch()
    make = lambda s: networks.classification(
      networks.logistic_regression(3),
      jnp.zeros((1, 4)),
      num_classes=3,
      label_smoothing=s,
    )
    params = make(0.0).init(jax.random.key(0))
    logits = _linear(params, batch['inputs'])
    logs = logits - np.log(np.exp(logits).sum(1, keepdims=True))
    wanted = 0.7 * np.eye(3)[batch['labels']] + 0.3 / 3
    want = -(wanted * logs).sum(1)[batch['mask']].mean()
    self.assertAlmostEqual(float(make(0.3).loss(params, batch)), want, places=5)
    np.testing.assert_array_equal(
      make(0.3).evaluate(params, batch)['loss'], make(0.0).loss(params, batch)
    )
    with self.assertRaisesRegex(ValueError, 'label_smoothing must lie in'):
      make(1.5)


class ClassificationTest(parameterized.TestCase):
  def setUp(self):
    super().setUp()
    self.task = networks.classification(
      networks.logistic_regression(3), jnp.zeros((1, 4)), num_classes=3, l2=0.1
    )
    self.params = jax.jit(self.task.init)(jax.random.key(0))
    self.slope = jax.jit(jax.value_and_grad(self.task.loss))
    self.metrics = jax.jit(self.task.evaluate)

  def _reference(self, batch):
    """Masked cross-entropy, accuracy and gradient, float64, by hand."""
    rows = batch['mask']
    x, y = batch['inputs'][rows].astype(np.float64), batch['labels'][rows]
    logits = _linear(self.params, x)
    p = np.exp(logits - logits.max(1, keepdims=True))
    p /= p.sum(1, keepdims=True)
    loss = -np.log(p[np.arange(len(y)), y]).mean()
    error = (p - np.eye(3)[y]) / len(y)
    layer = self.params[0]
    return (
      loss,
      (logits.argmax(1) == y).mean(),
      {
        'kernel': x.T @ error + 0.2 * np.asarray(layer['kernel']),
        'bias': error.sum(0) + 0.2 * np.asarray(layer['bias']),
      },
    )

  def test_loss_and_gradient_equal_reference(self):
    batch = _batch()
    loss, _, gradient = self._reference(batch)
    squares = sum(
      np.sum(np.square(p, dtype=np.float64))
      for p in jax.tree.leaves(self.params)
    )
    got, grads = self.slope(self.params, batch)
    np.testing.assert_allclose(got, loss + 0.1 * squares, rtol=1e-6)
    for name, want in gradient.items():
      np.testing.assert_allclose(grads[0][name], want, atol=1e-6)

  def test_evaluation_has_no_penalty(self):
    batch = _batch()
    loss, accuracy, _ = self._reference(batch)
    got = self.metrics(self.params, batch)
    self.assertEqual(set(got), {'accuracy', 'loss'})
    np.testing.assert_allclose(got['loss'], loss, rtol=1e-6)
    np.testing.assert_allclose(got['accuracy'], accuracy, rtol=1e-6)

  def test_masked_rows_have_no_effect_whatever_they_hold(self):
    batch = _batch()
    want = self.slope(self.params, batch)
    hidden = ~batch['mask']
    spoiled = jax.tree.map(np.copy, batch)
    spoiled['inputs'][hidden] = np.nan
    spoiled['labels'][hidden] = 77
    got = self.slope(self.params, spoiled)
    jax.tree.map(np.testing.assert_array_equal, got, want)
    metrics = self.metrics(self.params, spoiled)
    clean = self.metrics(self.params, batch)
    jax.tree.map(np.testing.assert_array_equal, metrics, clean)

  def test_no_mask_means_all(self):
    batch = _batch()
    full = {**batch, 'mask': np.ones(6, bool)}
    del batch['mask']
    jax.tree.map(
      lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6),
      self.metrics(self.params, batch),
      self.metrics(self.params, full),
    )

  def test_an_empty_batch_counts_nothing(self):
    batch = {**_batch(), 'mask': np.zeros(6, bool)}
    task = networks.classification(
      networks.logistic_regression(3), jnp.zeros((1, 4)), num_classes=3
    )
    value, grads = jax.jit(jax.value_and_grad(task.loss))(self.params, batch)
    self.assertEqual(float(value), 0.0)
    for leaf in jax.tree.leaves(grads):
      np.testing.assert_array_equal(leaf, 0.0)
    for metric in self.metrics(self.params, batch).values():
      self.assertEqual(float(metric), 0.0)

  def test_sequences_of_labels(self):
    network = Network(
      lambda key, x: jnp.eye(3), lambda p, x, train=False, key=None: p[x]
    )
    tokens = np.array([[0, 1], [2, 0]])
    task = networks.classification(network, tokens, num_classes=3)
    batch = {
      'inputs': tokens,
      'labels': np.array([[0, 0], [2, 2]]),
      'mask': np.array([True, False]),
    }
    metrics = jax.jit(task.evaluate)(task.init(jax.random.key(0)), batch)
    self.assertEqual(float(metrics['accuracy']), 0.5)
    want = np.log(np.e + 2) - 0.5
    np.testing.assert_allclose(metrics['loss'], want, rtol=1e-6)

  @parameterized.parameters(('bfloat16', 'float32'), ('float64', 'float64'))
  def test_losses_are_at_least_float32(self, dtype, want):
    with jax.enable_x64(dtype == 'float64'):
      task = networks.classification(
        networks.mlp((5,), 3), jnp.zeros((1, 4), dtype), num_classes=3, l2=0.1
      )
      batch = _batch()
      batch['inputs'] = jnp.asarray(batch['inputs'], dtype)
      params = task.init(jax.random.key(0))
      value, grads = jax.eval_shape(
        jax.value_and_grad(task.loss), params, batch
      )
      self.assertEqual(value.dtype, want)
      for leaf in jax.tree.leaves(grads):
        self.assertEqual(leaf.dtype, dtype)
      for metric in jax.eval_shape(task.evaluate, params, batch).values():
        self.assertEqual(metric.dtype, want)

  def test_learns_separable_classes(self):
    task = networks.classification(
      networks.mlp((16,), 3), jnp.zeros((1, 2)), num_classes=3
    )
    rng = np.random.default_rng(0)
    labels = np.arange(60) % 3
    angle = 2 * np.pi * labels / 3
    inputs = np.stack([np.cos(angle), np.sin(angle)], 1)
    inputs += 0.1 * rng.normal(size=inputs.shape)
    batch = {'inputs': inputs.astype('float32'), 'labels': labels}

    @jax.jit
    def train(params):
      def step(p, _):
        grads = jax.grad(task.loss)(p, batch)
        return jax.tree.map(lambda a, g: a - 0.5 * g, p, grads), None

      return jax.lax.scan(step, params, length=100)[0]

    params = train(task.init(jax.random.key(0)))
    self.assertEqual(float(task.evaluate(params, batch)['accuracy']), 1.0)

  def test_says_what_is_wrong(self):
    with self.assertRaisesRegex(ValueError, r'l2 must lie in \[0.0'):
      networks.classification(
        networks.mlp((), 3), jnp.zeros((1, 4)), num_classes=3, l2=-1.0
      )
    batch = _batch()
    with self.assertRaisesRegex(TypeError, 'labels must be integers'):
      self.task.loss(
        self.params, {**batch, 'labels': batch['labels'].astype('float32')}
      )
    with self.assertRaisesRegex(ValueError, r'= \(6, 5\); got \(6, 3\)'):
      networks.classification(
        networks.logistic_regression(3), jnp.zeros((1, 4)), num_classes=5
      ).loss(self.params, batch)
    with self.assertRaisesRegex(ValueError, r"no entry 'labels'"):
      self.task.loss(self.params, {'inputs': batch['inputs']})
    with self.assertRaisesRegex(ValueError, r'mask must have shape \[B\]'):
      self.task.loss(self.params, {**batch, 'mask': np.ones(5, bool)})
    with self.assertRaisesRegex(TypeError, 'batch must be a dict'):
      self.task.loss(self.params, (batch['inputs'], batch['labels']))

  @parameterized.parameters(-1, 3)
  def test_unknown_classes_are_not_learned(self, label):
    batch = _batch()
    labels = batch['labels'].copy()
    labels[0] = label
    value, gradient = jax.value_and_grad(self.task.loss)(
      self.params, {**batch, 'labels': labels}
    )
    for leaf in jax.tree.leaves((value, gradient)):
      self.assertTrue(np.isnan(leaf).any())
    hidden = np.arange(len(labels)) > 0
    got = self.task.loss(
      self.params, {**batch, 'labels': labels, 'mask': hidden}
    )
    want = self.task.loss(self.params, {**batch, 'mask': hidden})
    np.testing.assert_array_equal(got, want)

  @parameterized.named_parameters(
    ('inputs', ValueError, r'inputs have shape \(6, 5\), but .* shape \(4,\)'),
    ('state', TypeError, r'got a TrainState of .* algorithm.params\(state\)'),
    ('nothing', TypeError, 'got None of another structure'),
    (
      'stacked',
      ValueError,
      r'has shape \(2, .* a model per client, use jax.vma',
    ),
  )
  def test_says_which_argument_does_not_fit(self, kind, message):
    batch, params = _batch(), self.params
    name = self.id().rsplit('_', 1)[-1]
    if name == 'inputs':
      batch = {**batch, 'inputs': np.ones((6, 5), np.float32)}
    else:
      stacked = jax.tree.map(lambda x: jnp.stack([x, x]), params)
      state = collections.namedtuple('TrainState', 'params step')(params, 0)
      params = {'state': state, 'nothing': None, 'stacked': stacked}[name]
    for call in (self.task.loss, self.task.evaluate):
      with self.assertRaisesRegex(kind, message):
        call(params, batch)


class RegressionTest(parameterized.TestCase):
  def test_equals_reference(self):
    task = networks.regression(networks.mlp((), 2), jnp.zeros((1, 4)), l2=0.5)
    params = task.init(jax.random.key(0))
    rng = np.random.default_rng(3)
    batch = {**_batch(), 'labels': rng.normal(size=(6, 2)).astype('float32')}
    rows = batch['mask']
    gap = (_linear(params, batch['inputs']) - batch['labels'])[rows]
    metrics = jax.jit(task.evaluate)(params, batch)
    np.testing.assert_allclose(metrics['loss'], (gap**2).mean(), rtol=1e-6)
    np.testing.assert_allclose(
      metrics['absolute_error'], np.abs(gap).mean(), rtol=1e-6
    )
    squares = sum(np.sum(p**2) for p in jax.tree.leaves(params))
    np.testing.assert_allclose(
      task.loss(params, batch), (gap**2).mean() + 0.5 * squares, rtol=1e-6
    )

  def test_several_inputs(self):
    network = Network(
      lambda key, x, y: jnp.ones(()),
      lambda p, x, y, train=False, key=None: p * x * y,
    )
    x, y = np.arange(3.0), np.arange(3.0) + 1
    task = networks.regression(network, (x, y))
    batch = {'inputs': (x, y), 'labels': x * y + 2}
    params = task.init(jax.random.key(0))
    self.assertEqual(float(task.loss(params, batch)), 4.0)

  def test_refuses_shapes_that_would_broadcast(self):
    task = networks.regression(networks.mlp((), 1), jnp.zeros((1, 4)))
    batch = {**_batch(), 'labels': np.zeros(6, 'float32')}
    with self.assertRaisesRegex(ValueError, r'outputs, \(6, 1\); got \(6,\)'):
      task.loss(task.init(jax.random.key(0)), batch)


if __name__ == '__main__':
  absltest.main()
