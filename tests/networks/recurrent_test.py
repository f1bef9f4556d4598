# SPDX-License-Identifier: Apache-2.0
"""The recurrent network: against NumPy, and what it must not see."""

import math

import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized

from jaxdl import networks

KEY = jax.random.key(0)
TOKENS = jnp.array([[1, 4, 0, 2, 3], [2, 2, 1, 0, 0]], jnp.int32)


def _sigmoid(x):
  return 1 / (1 + np.exp(-x))


def _by_hand(params, tokens, depth):
  """Logits after every character, f64[B, L, K]."""
  p = jax.tree.map(lambda x: np.asarray(x, np.float64), params['params'])
  x = p['tokens']['kernel'][np.asarray(tokens)]
  for n in range(depth):
    cell = p[f'lstm_{n}']
    width = cell['hi']['bias'].size
    h = c = np.zeros((len(x), width))
    out = []
    for t in range(x.shape[1]):
      i, f, g, o = (
        x[:, t] @ cell[f'i{k}']['kernel']
        + h @ cell[f'h{k}']['kernel']
        + cell[f'h{k}']['bias']
        for k in 'ifgo'
      )
      c = _sigmoid(f) * c + _sigmoid(i) * np.tanh(g)
      h = _sigmoid(o) * np.tanh(c)
      out.append(h)
    x = np.stack(out, axis=1)
  return x @ p['out']['kernel'] + p['out']['bias']


class CharLstmTest(parameterized.TestCase):
  @parameterized.parameters(1, 2)
  def test_equals_the_recursion(self, depth):
    network = networks.char_lstm(5, width=3, depth=depth, embed=2, every=True)
    params = network.init(KEY, TOKENS)
    np.testing.assert_allclose(
      network.apply(params, TOKENS), _by_hand(params, TOKENS, depth), atol=1e-6
    )

  def test_gates_that_forget_are_open(self):
    params = networks.char_lstm(5, width=3).init(KEY, TOKENS)['params']
    for n in range(2):
      for gate in 'ifgo':
        bias = params[f'lstm_{n}'][f'h{gate}']['bias']
        np.testing.assert_array_equal(bias, float(gate == 'f'))

  def test_the_last_position_alone(self):
    every = networks.char_lstm(5, width=3, every=True)
    params = every.init(KEY, TOKENS)
    all_of = every.apply(params, TOKENS)
    last = networks.char_lstm(5, width=3).apply(params, TOKENS)
    np.testing.assert_allclose(last, all_of[:, -1], rtol=1e-6)

  def test_padding_is_not_read(self):
    network = networks.char_lstm(5, width=3, pad=0)
    params = network.init(KEY, TOKENS)
    got = network.apply(params, TOKENS)
    np.testing.assert_allclose(
      got[0], network.apply(params, TOKENS[:1])[0], rtol=1e-6
    )
    # Zeros inside a text are read, those behind it are not.
    np.testing.assert_allclose(
      got[1], network.apply(params, TOKENS[1:, :3])[0], rtol=1e-6
    )
    blind = networks.char_lstm(5, width=3).apply(params, TOKENS)
    self.assertGreater(float(jnp.abs(blind[1] - got[1]).max()), 1e-4)

  @parameterized.parameters(
    (80, {}, 80 * 8 + 1024 * 265 + 1024 * 513 + 257 * 80, 817_872),
    (90, {}, 90 * 8 + 1024 * 265 + 1024 * 513 + 257 * 90, 820_522),
    # FedFix: embedding 8, two LSTMs of 100, dense 100.
    (
      100,
      {'width': 100},
      100 * 8 + 400 * 109 + 400 * 201 + 101 * 100,
      134_900,
    ),
  )
  def test_has_the_parameters_of_the_papers(self, k, options, count, same):
    network = networks.char_lstm(k, **options)
    params = jax.eval_shape(
      network.init, KEY, jax.ShapeDtypeStruct((1, 80), jnp.int32)
    )
    sizes = [math.prod(x.shape) for x in jax.tree.leaves(params)]
    self.assertEqual(sum(sizes), count)
    self.assertEqual(count, same)

  def test_learns_to_count_as_a_language_model(self):
    import optax

    task = networks.language_modeling(
      networks.char_lstm(6, width=12, every=True), TOKENS, num_tokens=6
    )
    text = jnp.arange(9)[None] + jnp.arange(6)[:, None]
    batch = {'inputs': text[:, :-1] % 6, 'labels': text[:, 1:] % 6}
    batch['labels'] = batch['labels'].at[0, 3:].set(-1)
    adam = optax.adam(0.05)

    @jax.jit
    def train(params):
      def step(carry, _):
        params, state = carry
        grads = jax.grad(task.loss)(params, batch)
        change, state = adam.update(grads, state)
        return (optax.apply_updates(params, change), state), None

      carry, _ = jax.lax.scan(step, (params, adam.init(params)), length=150)
      return carry[0]

    params = task.init(KEY)
    before = task.evaluate(params, batch)
    after = task.evaluate(train(params), batch)
    self.assertLess(float(before['accuracy']), 0.5)
    self.assertGreater(float(after['accuracy']), 0.95)
    self.assertLess(float(after['bits']), 0.3)

  @parameterized.parameters(
    ((1, 3, 1), jnp.int32, ValueError, r'takes tokens \[B, L\]'),
    ((2, 0), jnp.int32, ValueError, r'L >= 1; got shape \(2, 0\)'),
    ((2, 3), jnp.float32, TypeError, 'must be integers; got float32'),
  )
  def test_says_what_it_takes(self, shape, dtype, error, message):
    with self.assertRaisesRegex(error, message):
      networks.char_lstm(5).init(KEY, jnp.zeros(shape, dtype))

  @parameterized.parameters(
    ({'width': 0}, 'width must be at least 1'),
    ({'depth': 0}, 'depth must be at least 1'),
    ({'embed': 0}, 'embed must be at least 1'),
    ({'num_tokens': 0}, 'num_tokens must be at least 1'),
    ({'pad': -1}, 'pad must be at least 0'),
  )
  def test_says_which_option_is_wrong(self, options, message):
    with self.assertRaisesRegex(ValueError, message):
      networks.char_lstm(5, **options)

  def test_registry_says_that_text_is_wanted(self):
    with self.assertRaisesRegex(TypeError, 'integers; got float32'):
      networks.make_network('char_lstm', (8,), 10)
    networks.make_network('char_lstm', (8,), 10, dtype=np.int32)


if __name__ == '__main__':
  absltest.main()
