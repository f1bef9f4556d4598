# SPDX-License-Identifier: Apache-2.0
"""Averages whose weights are distances, alone and in rollouts."""

import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized

from jaxdl.combinatorial import _icam, _problem


def sigmoid(x):
  return 1 / (1 + np.exp(-x))


def softmax(x):
  e = np.exp(x - x.max())
  return e / e.sum()


def reference(q, k, v, bias, allowed=None):
  """Weights one by one, with the exponents of one channel at a time."""
  out = np.zeros((len(q), v.shape[1]))
  for i, c in np.ndindex(out.shape):
    there = np.ones(len(k), bool) if allowed is None else allowed[i]
    weights = softmax(bias[i][there] + k[there, c])
    out[i, c] = sigmoid(q[i, c]) * (weights @ v[there, c])
  return out


def framed(x):
  """The piece moved to zero, its longer side first and of length one."""
  x = x - x.min(0)
  x = x[:, ::-1] if np.ptp(x[:, 1]) > np.ptp(x[:, 0]) else x
  return (x / (x.max() + 1e-10)).astype('float32')


class RolloutTest(parameterized.TestCase):
  def test_choices_do_not_depend_on_the_frame(self):
    policy = _icam.icam(width=16, depth=1, hidden=16)
    x = np.random.default_rng(3).random((12, 2)).astype('float32')
    params = policy.init(jax.random.key(0), x, jnp.zeros((12, 12)))

    @jax.jit
    def choose(x, key):
      d = jnp.linalg.norm(x[:, None] - x[None], axis=-1)
      memory = policy.encode(params, x, d)

      def step(state, key):
        last, left = state
        context = _problem.Context(last, jnp.int32(11), jnp.zeros(0), left)
        logits = policy.decode(params, memory, context)
        action = jax.random.categorical(key, logits / 20)
        return (action, left.at[action].set(False)), action

      left = (jnp.arange(12) > 0) & (jnp.arange(12) < 11)
      start = (jnp.zeros((), jnp.int32), left)
      return jax.lax.scan(step, start, jax.random.split(key, 10))[1]

    for seed in range(4):
      want = choose(framed(x), jax.random.key(seed))
      self.assertEqual(sorted(want.tolist()), list(range(1, 11)))
      for other in (x + 5.0, 0.25 * x, x[:, ::-1], 3.0 * x[:, ::-1] - 1.0):
        got = choose(framed(other), jax.random.key(seed))
        self.assertEqual(got.tolist(), want.tolist())


class AttentionFreeTest(parameterized.TestCase):
  def test_without_bias_all_nodes_average_alike(self):
    q, k, v = np.random.default_rng(0).normal(size=(3, 5, 4))
    got = _icam.attention_free(*map(jnp.float32, (q, k, v)), jnp.zeros((5, 5)))
    mean = (np.exp(k) * v).sum(0) / np.exp(k).sum(0)
    np.testing.assert_allclose(got, sigmoid(q) * mean, atol=1e-6)

  def test_equals_reference(self):
    rng = np.random.default_rng(1)
    q, k, v = rng.normal(size=(3, 6, 3))
    bias, allowed = rng.normal(size=(6, 6)), rng.random((6, 6)) < 0.5
    allowed[:, 2] = True
    got = _icam.attention_free(
      *map(jnp.float32, (q, k, v, bias)), jnp.asarray(allowed)
    )
    want = reference(q, k, v, bias, allowed)
    np.testing.assert_allclose(got, want, atol=1e-6)

  def test_exponents_do_not_overflow(self):
    rng = np.random.default_rng(2)
    q, k, v = rng.normal(size=(3, 5, 3))
    k, bias = k + 1e3, -(rng.random((5, 5)) + 1e3)
    got = _icam.attention_free(*map(jnp.float32, (q, k, v, bias)))
    np.testing.assert_allclose(got, reference(q, k, v, bias), atol=1e-3)

  def test_an_average_even_if_the_largest_key_is_not_allowed(self):
    # e^(k - max k) of what is allowed is zero in float32.
    k = jnp.array([[500.0], [0.0], [0.0]])
    v = jnp.array([[7.0], [1.0], [3.0]])
    allowed = jnp.array([[False, True, True]])

    def average(k):
      bias = jnp.array([[0.0, -300.0, -300.0]])
      return _icam.attention_free(jnp.zeros((1, 1)), k, v, bias, allowed)[0, 0]

    value, slope = jax.value_and_grad(average)(k)
    self.assertAlmostEqual(float(value), 0.5 * 2.0, places=5)
    self.assertTrue(np.isfinite(slope).all())

  def test_an_empty_row_is_zero(self):
    x = jnp.ones((2, 2))
    allowed = jnp.array([[False, False], [True, False]])
    got = _icam.attention_free(x, x, x, jnp.zeros((2, 2)), allowed)
    np.testing.assert_array_equal(got[0], 0.0)
    np.testing.assert_allclose(got[1], sigmoid(1.0), rtol=1e-6)


if __name__ == '__main__':
  absltest.main()
