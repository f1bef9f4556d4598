# SPDX-License-Identifier: Apache-2.0
"""Targets and mixtures of values against closed forms and NumPy."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized

from jaxdl.agents import values


def mixed(params, q, s):
  """QMIX in float64, row by row."""
  p = jax.tree.map(lambda x: np.asarray(x, np.float64), params)

  def dense(layer, x):
    return x @ layer['kernel'] + layer['bias']

  def two(layers, x):
    return dense(layers['dense_1'], np.maximum(dense(layers['dense_0'], x), 0))

  out = []
  for qi, si in zip(q, s, strict=True):
    w1 = np.abs(two(p['weights_1'], si)).reshape(len(qi), -1)
    h = qi @ w1 + dense(p['bias_1'], si)
    h = np.where(h > 0, h, np.expm1(np.minimum(h, 0)))
    w2 = np.abs(two(p['weights_2'], si))
    out.append(w2 @ h + two(p['bias_2'], si)[0])
  return np.array(out)


class TargetsTest(parameterized.TestCase):
  def test_of_a_table(self):
    reward = np.array([[1.0, 2.0], [3.0, 4.0]])
    over = np.array([False, True])
    online = np.array([[[1.0, 5.0], [7.0, 2.0]], [[0.0, 1.0], [1.0, 0.0]]])
    target = np.array([[[10.0, 20.0], [30.0, 40.0]], [[9.0, 9.0], [9.0, 9.0]]])
    best = values.best_values(jnp.asarray(online), jnp.asarray(target))
    np.testing.assert_array_equal(best, [[20.0, 30.0], [9.0, 9.0]])
    got = values.q_td_targets(
      jnp.asarray(reward), jnp.asarray(over), best, gamma=0.5
    )
    np.testing.assert_array_equal(got, [[11.0, 17.0], [3.0, 4.0]])

  def test_no_slope_flows_into_targets(self):
    slope = jax.grad(
      lambda x: values.q_td_targets(
        jnp.ones(()), jnp.zeros((), bool), x, gamma=0.9
      )
    )(2.0)
    self.assertEqual(float(slope), 0.0)


class QmixTest(parameterized.TestCase):
  def setUp(self):
    super().setUp()
    params = values.qmix_init(jax.random.key(0), 3, 5, embedding=4, width=6)
    # Larger than they start, so that every unit matters.
    self.params = jax.tree.map(
      lambda x: jnp.asarray(
        np.random.default_rng(x.size).normal(size=x.shape), 'float32'
      ),
      params,
    )
    rng = np.random.default_rng(1)
    self.q = rng.normal(size=(7, 3)).astype('float32')
    self.s = rng.normal(size=(7, 5)).astype('float32')

  def test_equals_a_loop(self):
    got = values.qmix_mix(self.params, jnp.asarray(self.q), jnp.asarray(self.s))
    np.testing.assert_allclose(
      got, mixed(self.params, self.q, self.s), rtol=1e-4
    )

  def test_grows_with_every_value(self):
    slope = jax.grad(
      lambda q: jnp.sum(values.qmix_mix(self.params, q, jnp.asarray(self.s)))
    )(jnp.asarray(self.q))
    self.assertGreaterEqual(float(slope.min()), 0.0)
    self.assertGreater(float(slope.max()), 0.0)

  def test_with_unit_weights_it_is_the_sum(self):
    q = jnp.array([[1.0, -3.0, 2.5], [-20.0, 0.0, 0.0]])
    one = jnp.ones((2, 3, 1))
    got = values.mix_values(
      q, one, jnp.full((2, 1), 9.0), jnp.ones((2, 1)), jnp.zeros(2)
    )
    # Above minus the bias it is linear, below it is not.
    np.testing.assert_allclose(got, [9.5, np.expm1(-11.0)], atol=1e-6)

  def test_best_of_each_is_best_of_all(self):
    table = np.random.default_rng(2).normal(size=(3, 4))
    world = jnp.asarray(self.s[:1])
    joint = list(itertools.product(range(4), repeat=3))
    q = np.array([[table[i, a] for i, a in enumerate(j)] for j in joint])
    s = jnp.broadcast_to(world, (len(joint), 5))
    total = values.qmix_mix(self.params, jnp.asarray(q, 'float32'), s)
    best = joint[int(jnp.argmax(total))]
    self.assertEqual(best, tuple(table.argmax(axis=1)))


class BufferTest(parameterized.TestCase):
  def test_the_newest_stay(self):
    buffer = values.empty({'x': jnp.zeros((2,))}, 6)
    seen = []
    for i in range(5):
      rows = np.full((2, 2), float(i), np.float32)
      seen += [i, i]
      buffer = values.add(buffer, {'x': jnp.asarray(rows)})
      kept = sorted(np.asarray(buffer.rows['x'])[: int(buffer.count), 0])
      self.assertEqual(kept, sorted(seen)[-6:])
    drawn = values.sample(buffer, jax.random.key(0), 200)['x'][:, 0]
    self.assertEqual(set(np.unique(drawn)), {2.0, 3.0, 4.0})

  def test_parts_must_divide_what_is_kept(self):
    buffer = values.empty(jnp.zeros(()), 4)
    # Three and three would not be a ring: the second would lie over the first.
    for size in (3, 5):
      with self.assertRaisesRegex(ValueError, f'multiple of rows = {size}'):
        values.add(buffer, jnp.zeros(size))
    with self.assertRaisesRegex(ValueError, 'rows is empty'):
      values.add(buffer, jnp.zeros(0))

  def test_draws_only_what_is_there(self):
    buffer = values.add(values.empty(jnp.zeros(()), 100), jnp.ones(2))
    drawn = values.sample(buffer, jax.random.key(0), 50)
    np.testing.assert_array_equal(drawn, np.ones(50))


if __name__ == '__main__':
  absltest.main()
