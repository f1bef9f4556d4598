# SPDX-License-Identifier: Apache-2.0
"""The transformer against NumPy in float64; what the task predicts."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized

from jaxdl import networks

WIDTH, DEPTH, HEADS, LENGTH, TOKENS = 8, 2, 2, 10, 17


@functools.cache
def setup():
  network = networks.transformer_lm(
    TOKENS, width=WIDTH, depth=DEPTH, num_heads=HEADS, max_length=LENGTH
  )
  params = network.init(jax.random.key(0), jnp.zeros((1, 3), jnp.int32))
  rng = np.random.default_rng(0)
  # Biases and scales away from zero and one, so that they count.
  params = jax.tree.map(
    lambda x: x + 0.3 * rng.normal(size=x.shape).astype(np.float32), params
  )
  tokens = rng.integers(0, TOKENS, (3, 7)).astype(np.int32)
  return network, params, tokens, jax.jit(network.apply)


def softmax(x):
  e = np.exp(x - x.max(-1, keepdims=True))
  return e / e.sum(-1, keepdims=True)


def attention(q, k, v):
  """By loops over queries: each sees itself and what came before."""
  out = np.zeros_like(v)
  for b, h in np.ndindex(q.shape[0], q.shape[2]):
    for t in range(q.shape[1]):
      scores = k[b, : t + 1, h] @ q[b, t, h] / np.sqrt(q.shape[-1])
      out[b, t, h] = softmax(scores) @ v[b, : t + 1, h]
  return out


def norm(x, p):
  x = x - x.mean(-1, keepdims=True)
  x = x / np.sqrt((x**2).mean(-1, keepdims=True) + 1e-6)
  return x * p['scale'] + p['bias']


def dense(x, p):
  return x @ p['kernel'] + p['bias']


def gelu(x):
  return x / 2 * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))


def reference(params, tokens):
  p = jax.tree.map(lambda x: np.asarray(x, np.float64), params['params'])
  x = p['tokens']['kernel'][tokens]
  x = x + p['positions']['kernel'][: tokens.shape[1]]
  for n in range(DEPTH):
    b = p[f'block_{n}']
    h = dense(norm(x, b['attention_norm']), b['query_key_value'])
    parts = h.reshape(*tokens.shape, 3, HEADS, WIDTH // HEADS)
    h = attention(parts[:, :, 0], parts[:, :, 1], parts[:, :, 2])
    x = x + dense(h.reshape(x.shape), b['attention_out'])
    h = gelu(dense(norm(x, b['perceptron_norm']), b['perceptron_in']))
    x = x + dense(h, b['perceptron_out'])
  return norm(x, p['norm']) @ p['tokens']['kernel'].T


class TransformerTest(parameterized.TestCase):
  def test_attention_equals_reference(self):
    q, k, v = np.random.default_rng(0).normal(size=(3, 2, 5, 3, 4))
    got = networks.causal_attention(*(jnp.float32(x) for x in (q, k, v)))
    np.testing.assert_allclose(got, attention(q, k, v), atol=1e-6)

  def test_logits_equal_reference(self):
    _, params, tokens, apply = setup()
    got = apply(params, tokens)
    np.testing.assert_allclose(
      got, reference(params, tokens), rtol=1e-4, atol=1e-5
    )

  def test_no_position_sees_later_tokens(self):
    _, params, tokens, apply = setup()
    changed = tokens.copy()
    changed[:, 4:] = (changed[:, 4:] + 1) % TOKENS
    before, after = apply(params, tokens), apply(params, changed)
    np.testing.assert_array_equal(before[:, :4], after[:, :4])
    self.assertTrue(np.all(np.any(before[:, 4:] != after[:, 4:], axis=-1)))

  def test_number_of_parameters(self):
    _, params, _, _ = setup()
    count = sum(x.size for x in jax.tree.leaves(params))
    want = WIDTH * (TOKENS + LENGTH + 2) + DEPTH * WIDTH * (12 * WIDTH + 13)
    self.assertEqual(count, want)

  def test_dtype_of_parameters_is_kept(self):
    network, params, tokens, _ = setup()
    half = jax.tree.map(lambda x: x.astype(jnp.bfloat16), params)
    got = jax.jit(network.apply)(half, tokens)
    self.assertEqual(got.dtype, jnp.bfloat16)
    np.testing.assert_allclose(
      got.astype('float32'), reference(params, tokens), atol=0.6
    )

  def test_dropout_draws_in_training_only(self):
    network = networks.transformer_lm(
      TOKENS, width=4, depth=1, num_heads=1, max_length=4, dropout=0.5
    )
    tokens = jnp.zeros((1, 3), jnp.int32)
    params = network.init(jax.random.key(0), tokens)
    train = jax.jit(functools.partial(network.apply, train=True))
    one, two = (train(params, tokens, key=jax.random.key(k)) for k in (0, 1))
    self.assertTrue(np.any(one != two))
    with self.assertRaisesRegex(ValueError, 'key is required'):
      network.apply(params, tokens, train=True)

  @parameterized.parameters(
    ({'width': 6, 'num_heads': 4}, 'multiple'),
    ({'depth': 0}, 'depth'),
    ({'dropout': 1.0}, 'dropout'),
    ({'num_tokens': 0}, 'num_tokens'),
  )
  def test_bad_options(self, options, message):
    with self.assertRaisesRegex(ValueError, message):
      networks.transformer_lm(**options)

  @parameterized.parameters(
    ((3,), 'int32', ValueError, r'\[B, L\]'),
    ((1, 11), 'int32', ValueError, 'max_length = 10'),
    ((1, 3), 'float32', TypeError, 'integers'),
  )
  def test_bad_tokens(self, shape, dtype, error, message):
    network, params, _, _ = setup()
    with self.assertRaisesRegex(error, message):
      network.apply(params, jnp.zeros(shape, dtype))

  def test_bad_attention(self):
    x = jnp.zeros((2, 1, 1))
    with self.assertRaisesRegex(ValueError, 'one shape'):
      networks.causal_attention(x, x, x[:1])


class LanguageModelingTest(parameterized.TestCase):
  @parameterized.parameters(None, ((2, 5),))
  def test_metrics_equal_reference(self, label_tokens):
    network, params, tokens, _ = setup()
    labels = np.full((3, 7), -1, np.int32)
    labels[0, 2:5] = [2, 5, 2]
    labels[1, 6] = 5
    labels[2, :] = 2  # Masked below.
    task = networks.language_modeling(
      network, tokens, num_tokens=TOKENS, label_tokens=label_tokens
    )
    batch = {
      'inputs': tokens,
      'labels': labels,
      'mask': np.array([True, True, False]),
    }
    got = jax.jit(task.evaluate)(params, batch)
    logits = reference(params, tokens)
    if label_tokens is not None:
      barred = [t for t in range(TOKENS) if t not in label_tokens]
      logits[..., barred] = -np.inf
    logp = np.log(np.maximum(softmax(logits), 1e-300))
    loss, right = [], []
    for b in range(2):
      at = np.flatnonzero(labels[b] >= 0)
      loss.append(np.mean([-logp[b, t, labels[b, t]] for t in at]))
      right.append(np.mean([logits[b, t].argmax() == labels[b, t] for t in at]))
    np.testing.assert_allclose(got['loss'], np.mean(loss), rtol=1e-4)
    np.testing.assert_allclose(
      got['bits'], np.mean(loss) / np.log(2), rtol=1e-4
    )
    np.testing.assert_allclose(got['accuracy'], np.mean(right), rtol=1e-6)
    value, grads = jax.jit(jax.value_and_grad(task.loss))(params, batch)
    np.testing.assert_allclose(value, np.mean(loss), rtol=1e-4)
    self.assertTrue(
      all(bool(jnp.all(jnp.isfinite(g))) for g in jax.tree.leaves(grads))
    )

  def test_a_batch_without_predictions_has_no_loss(self):
    network, params, tokens, _ = setup()
    task = networks.language_modeling(network, tokens, num_tokens=TOKENS)
    batch = {'inputs': tokens, 'labels': np.full((3, 7), -1)}
    self.assertEqual(float(task.loss(params, batch)), 0.0)

  def test_bad_input(self):
    network, params, tokens, _ = setup()
    with self.assertRaisesRegex(ValueError, 'label_tokens'):
      networks.language_modeling(
        network, tokens, num_tokens=TOKENS, label_tokens=(TOKENS,)
      )
    with self.assertRaisesRegex(ValueError, 'empty'):
      networks.language_modeling(network, tokens, label_tokens=())
    task = networks.language_modeling(network, tokens, num_tokens=TOKENS)
    with self.assertRaisesRegex(ValueError, 'logits'):
      task.loss(params, {'inputs': tokens, 'labels': tokens[:, 1:]})
    with self.assertRaisesRegex(TypeError, 'integers'):
      task.loss(params, {'inputs': tokens, 'labels': tokens * 1.0})


if __name__ == '__main__':
  absltest.main()
