# SPDX-License-Identifier: Apache-2.0
"""Random gates against their distribution in closed form."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
from absl.testing import absltest, parameterized

from jaxdl import networks, pruning

PLAIN = networks.mlp((6,), 2)
X = jnp.asarray(np.random.default_rng(0).normal(size=(24, 3)), jnp.float32)
BATCH = {'inputs': X, 'labels': jnp.asarray(X[:, 0] > 0, jnp.int32)}
TASK = networks.classification(PLAIN, X, num_classes=2)


class GatesTest(parameterized.TestCase):
  def test_draws_follow_the_distribution(self):
    logits = np.array([-2.0, 0.0, 1.5])
    draw = lambda key: pruning.hard_concrete_gates(
      {'0': jnp.asarray(logits)}, key=key
    )['0']
    drawn = np.asarray(
      jax.jit(jax.vmap(draw))(jax.random.split(jax.random.key(0), 20_000))
    )
    # P(z <= t) = sigmoid(b log(s / (1 - s)) - log alpha), s = (t + .1) / 1.2.
    sigmoid = lambda v: 1 / (1 + np.exp(-v))
    for t in (0.0, 0.3, 0.8):
      s = (t + 0.1) / 1.2
      want = sigmoid(2 / 3 * np.log(s / (1 - s)) - logits)
      np.testing.assert_allclose((drawn <= t).mean(0), want, atol=0.015)
    s = 1.1 / 1.2
    want = 1 - sigmoid(2 / 3 * np.log(s / (1 - s)) - logits)
    np.testing.assert_allclose((drawn == 1).mean(0), want, atol=0.015)
    got = pruning.hard_concrete_penalty({'0': jnp.asarray(logits)})
    np.testing.assert_allclose(got, (drawn > 0).mean(0).sum(), atol=0.03)

  def test_trained_gates_are_clipped(self):
    logits = np.linspace(-4, 4, 9)
    got = pruning.hard_concrete_gates({'0': jnp.asarray(logits)})['0']
    want = np.clip(1.2 / (1 + np.exp(-logits)) - 0.1, 0, 1)
    np.testing.assert_allclose(got, want, atol=1e-6)
    self.assertEqual((float(got[0]), float(got[-1])), (0.0, 1.0))

  def test_a_price_closes_gates_and_what_is_left_is_exported(self):
    task = pruning.hard_concrete(TASK, price=0.05, start=0.5)
    optimizer = optax.adam(0.1)

    @jax.jit
    def train(params):
      def one(carry, t):
        params, state = carry
        key = jax.random.fold_in(jax.random.key(1), t)
        grads = jax.grad(task.loss)(params, BATCH, key=key)
        change, state = optimizer.update(grads, state, params)
        return (optax.apply_updates(params, change), state), None

      start = (params, optimizer.init(params))
      return jax.lax.scan(one, start, jnp.arange(150))[0][0]

    params = train(task.init(jax.random.key(0)))
    own = pruning.as_gates(params)
    kept = int(pruning.num_alive(own['gates'])['0'])
    self.assertTrue(1 <= kept < 6, kept)
    self.assertGreater(float(task.evaluate(params, BATCH)['accuracy']), 0.85)
    small = pruning.compact(PLAIN, own, X)
    self.assertEqual(small.params[0]['kernel'].shape, (3, kept))

  def test_the_loss_is_that_of_the_gates_and_the_penalty(self):
    task = pruning.hard_concrete(TASK, price=0.3)
    params = task.init(jax.random.key(0))
    key = jax.random.key(4)
    gates = pruning.hard_concrete_gates(
      params['logits'], key=jax.random.split(key)[0]
    )
    logit, chance = np.log(9.0), 0.0
    chance = 6 / (1 + np.exp(-(logit - 2 / 3 * np.log(0.1 / 1.1))))
    whole = TASK.loss(pruning.scale(params['network'], gates), BATCH)
    np.testing.assert_allclose(
      task.loss(params, BATCH, key=key), whole + 0.3 * chance, rtol=1e-5
    )

  def test_says_what_is_wrong(self):
    for options, message in (
      ({'price': -1.0}, 'price must lie in'),
      ({'start': 1.0}, r'start must lie in \(0.0, 1.0\)'),
      ({'granularity': 'all'}, "granularity='all' is unknown"),
    ):
      with self.assertRaisesRegex(ValueError, message):
        pruning.hard_concrete(TASK, **options)
    task = pruning.hard_concrete(TASK)
    with self.assertRaisesRegex(TypeError, 'key is required'):
      task.loss(task.init(jax.random.key(0)), BATCH)


if __name__ == '__main__':
  absltest.main()
