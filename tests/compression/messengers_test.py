# SPDX-License-Identifier: Apache-2.0
"""Clients that remember: error feedback and factors of low rank."""

import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized

from jaxdl import compression
from jaxdl.compression import _low_rank

KEY = jax.random.key(0)
SPECS = (
  'identity', 'top_k(keep=0.3)', 'random_k(keep=0.3)', 'qsgd(num_levels=3)',
  'sign', 'terngrad', 'uniform(num_levels=4, rotate=True)',
  'drive(scale=nearest)', 'slopes(num_directions=5)', 'powersgd(rank=1)',
)  # fmt: skip


def tree(seed=0, dtype='float32'):
  rng = np.random.default_rng(seed)
  return {
    'w': jnp.asarray(rng.normal(size=(4, 5)), dtype),
    'b': jnp.asarray(rng.normal(size=3), dtype),
  }


class ErrorFeedbackTest(parameterized.TestCase):
  def test_worked_sequence(self):
    top = compression.as_messenger('ef+top_k(keep=0.34)')
    delta = jnp.array([3.0, 2.0, 1.0])
    state, got = top.init(delta), []
    for _ in range(6):
      sent, state = top.send(KEY, delta, state)
      (place,) = np.flatnonzero(sent)
      got.append((float(sent[place]), int(place)))
    self.assertEqual(got, [(3, 0), (4, 1), (6, 0), (4, 1), (6, 0), (6, 2)])
    np.testing.assert_array_equal(state.error, [3.0, 4.0, 0.0])

  def test_every_one_is_here(self):
    names = {spec.partition('(')[0] for spec in SPECS}
    self.assertEqual(names, set(compression.MESSENGERS))

  @parameterized.parameters(*SPECS[1:4], *SPECS[6:])
  def test_nothing_is_lost(self, spec):
    rounds = 6
    messenger = compression.as_messenger(spec, error_feedback=True)
    deltas = jax.tree.map(
      lambda *xs: jnp.stack(xs), *(tree(seed) for seed in range(rounds))
    )

    @jax.jit
    def run(deltas):
      def step(state, x):
        sent, state = messenger.send(x[0], x[1], state)
        return state, sent

      keys = jax.random.split(KEY, rounds)
      return jax.lax.scan(step, messenger.init(tree()), (keys, deltas))

    state, sent = run(deltas)
    for name in ('w', 'b'):
      total = np.asarray(sent[name], np.float64).sum(0) + state.error[name]
      want = np.asarray(deltas[name], np.float64).sum(0)
      np.testing.assert_allclose(total, want, atol=1e-5)

  def test_decay_forgets(self):
    top = compression.as_messenger('ef(decay=0.5)+top_k(keep=0.34)')
    state = top.init(jnp.zeros(3))
    sent, state = top.send(KEY, jnp.array([3.0, 2.0, 1.0]), state)
    np.testing.assert_array_equal(state.error, [0.0, 1.0, 0.5])
    other = compression.as_messenger(
      'top_k(keep=0.34)', error_feedback=True, decay=0.5
    )
    again, after = other.send(
      KEY, jnp.array([3.0, 2.0, 1.0]), other.init(jnp.zeros(3))
    )
    np.testing.assert_array_equal(sent, again)
    np.testing.assert_array_equal(after.error, state.error)

  def test_narrow_messages_lose_nothing(self):
    top = compression.as_messenger('ef+top_k(keep=0.3)')
    delta = tree(dtype='bfloat16')
    state, total = top.init(delta), np.zeros((4, 5))
    for _ in range(4):
      sent, state = top.send(KEY, delta, state)
      self.assertEqual(sent['w'].dtype, jnp.bfloat16)
      total += np.asarray(sent['w'], np.float64)
    self.assertEqual(state.error['w'].dtype, jnp.float32)
    want = 4 * np.asarray(delta['w'], np.float64)
    np.testing.assert_allclose(total + state.error['w'], want, atol=1e-5)

  def test_a_broken_round_does_not_last(self):
    messenger = compression.as_messenger('ef+qsgd(num_levels=3)')
    state = messenger.init(jnp.zeros(3))
    _, state = messenger.send(KEY, jnp.array([1.0, jnp.nan, 2.0]), state)
    sent, state = messenger.send(KEY, jnp.ones(3), state)
    self.assertTrue(np.isfinite(sent).all())
    self.assertTrue(np.isfinite(state.error).all())


class ClientsTest(parameterized.TestCase):
  @parameterized.parameters('ef+sign', 'powersgd(rank=1)', 'top_k(keep=0.3)')
  def test_clients_side_by_side(self, spec):
    n = 3
    messenger = compression.as_messenger(spec)
    rows = jax.tree.map(lambda *xs: jnp.stack(xs), *map(tree, range(n)))
    first = messenger.init(jax.eval_shape(tree))
    states = jax.tree.map(lambda x: jnp.stack([x] * n), first)
    keys = jax.random.split(KEY, n)
    send = jax.jit(jax.vmap(messenger.send))
    sent, states = send(keys, rows, states)
    sent, states = send(keys, rows, states)
    self.assertEqual(send._cache_size(), 1)
    for i in range(n):
      state = first
      for _ in range(2):
        one, state = messenger.send(keys[i], tree(i), state)
      for name in one:
        np.testing.assert_allclose(sent[name][i], one[name], atol=1e-5)

  def test_without_memory_it_is_the_compressor(self):
    compressor = compression.make_compressor('qsgd(num_levels=3)')
    for value in ('qsgd(num_levels=3)', compressor):
      messenger = compression.as_messenger(value)
      self.assertEqual(messenger.init(tree()), ())
      sent, state = messenger.send(KEY, tree(), ())
      self.assertEqual(state, ())
      want = compressor.compress(KEY, tree())
      np.testing.assert_array_equal(sent['w'], want['w'])
      self.assertEqual(messenger.bits(tree()), compressor.bits(tree()))
    self.assertIs(compression.as_messenger(messenger), messenger)
    self.assertEqual(compression.as_messenger('ef+sign').name, 'ef+sign')


class PowerSgdTest(parameterized.TestCase):
  @parameterized.parameters(1, 2, 3)
  def test_exact_on_low_rank(self, rank):
    rng = np.random.default_rng(rank)
    m = rng.normal(size=(6, rank)) @ rng.normal(size=(rank, 5))
    factor = jnp.asarray(rng.normal(size=(5, 3)), jnp.float32)
    sent, _ = compression.power_sgd(jnp.asarray(m, jnp.float32), factor)
    np.testing.assert_allclose(sent, m, atol=1e-5)

  def test_warm_starts_find_the_best_of_its_rank(self):
    rng = np.random.default_rng(0)
    m = rng.normal(size=(7, 6)).astype(np.float32)
    u, s, v = np.linalg.svd(m.astype(np.float64))
    best = (u[:, :2] * s[:2]) @ v[:2]
    x = jnp.asarray(m)

    def step(factor, _):
      sent, factor = compression.power_sgd(x, factor)
      return factor, sent

    start = jnp.asarray(rng.normal(size=(6, 2)), jnp.float32)
    _, sent = jax.jit(lambda q: jax.lax.scan(step, q, None, length=60))(start)
    error = np.linalg.norm(np.asarray(sent, np.float64) - m, axis=(1, 2))
    self.assertTrue(np.all(np.diff(error) < 1e-5))
    self.assertGreater(error[0], 1.05 * error[-1])
    np.testing.assert_allclose(sent[-1], best, atol=1e-4)

  def test_through_messages(self):
    messenger = compression.as_messenger('powersgd(rank=2)')
    m = {'w': jnp.asarray(np.random.default_rng(1).normal(size=(8, 2, 4)),
                          jnp.float32)}  # fmt: skip
    state = messenger.init(m)
    send = jax.jit(messenger.send)
    for _ in range(60):
      sent, state = send(KEY, m, state)
    flat = np.asarray(m['w'], np.float64).reshape(8, 8)
    u, s, v = np.linalg.svd(flat)
    np.testing.assert_allclose(
      np.reshape(sent['w'], (8, 8)), (u[:, :2] * s[:2]) @ v[:2], atol=1e-4
    )

  def test_never_longer_and_zero_stays_zero(self):
    factor = jnp.asarray(
      np.random.default_rng(2).normal(size=(5, 2)), 'float32'
    )
    zero, after = compression.power_sgd(jnp.zeros((4, 5)), factor)
    np.testing.assert_array_equal(zero, 0)
    # A round without a message does not end it.
    sent, _ = compression.power_sgd(tree()['w'], after)
    self.assertGreater(np.abs(sent).max(), 0.1)
    lost = np.linalg.norm(tree()['w'] - sent)
    self.assertLess(lost, np.linalg.norm(tree()['w']))

  @parameterized.parameters(1e-30, 1e30)
  def test_any_size(self, size):
    x = tree()['w']
    factor = jnp.ones((5, 1))
    want, _ = compression.power_sgd(x, factor)
    got, _ = compression.power_sgd(x * size, factor)
    np.testing.assert_allclose(got / size, want, rtol=1e-4, atol=1e-6)

  @parameterized.parameters(
    ((5,), None), ((), None), ((3, 4), (3, 4)), ((3, 3, 32, 64), (288, 64)),
    ((64, 32, 3, 3), (64, 288)), ((4, 4, 4), (4, 16)),
  )  # fmt: skip
  def test_kernels_are_read_as_matrices(self, shape, want):
    self.assertEqual(_low_rank.matrix_shape(shape), want)

  def test_bits(self):
    form = {
      'w': jnp.zeros((20, 30)),
      'k': jnp.zeros((3, 3, 8, 16), jnp.bfloat16),
      'b': jnp.zeros(30),
      'c': jnp.zeros((), jnp.bfloat16),
      'small': jnp.zeros((2, 3)),  # 32 · 2 · (2 + 3) bits are more than raw.
      'none': jnp.zeros((0, 3)),
    }
    for rank in (1, 2):
      want = 32 * rank * (20 + 30) + 32 * rank * (72 + 16) + 32 * 30 + 16
      want += 32 * min(rank * 5, 6)
      bits = compression.as_messenger(f'powersgd(rank={rank})').bits
      self.assertEqual(bits(form), want)
      self.assertEqual(bits(jax.eval_shape(lambda: form)), want)

  def test_form(self):
    messenger = compression.as_messenger('powersgd(rank=1)')
    form = {'w': jnp.ones((6, 7), jnp.bfloat16), 'none': jnp.zeros((0, 3))}
    sent, state = messenger.send(KEY, form, messenger.init(form))
    self.assertEqual(sent['w'].dtype, jnp.bfloat16)
    self.assertEqual(sent['none'].shape, (0, 3))
    self.assertEqual(jax.tree.leaves(state)[0].dtype, jnp.float32)
    np.testing.assert_allclose(sent['w'].astype('float32'), 1.0, rtol=1e-2)


class ErrorsTest(parameterized.TestCase):
  def test_power_sgd_on_a_vector(self):
    with self.assertRaisesRegex(ValueError, r'PowerSGD on .* shape \(5,\): ne'):
      compression.power_sgd(jnp.ones(5), jnp.ones((5, 1)))
    with self.assertRaisesRegex(ValueError, r'factor must have shape \[3, r\]'):
      compression.power_sgd(jnp.ones((4, 3)), jnp.ones((4, 1)))
    with self.assertRaisesRegex(ValueError, 'with r <= 3'):
      compression.power_sgd(jnp.ones((4, 3)), jnp.ones((3, 4)))

  @parameterized.parameters(
    ('powersgd(rank=0)', 'rank must be at least 1; got 0'),
    ('lowrank', "compressor='lowrank' is unknown: choose one of 'identity'"),
    ('ef(decay=1.5)+sign', r'decay must lie in \[0.0, 1.0\]; got 1.5'),
    ('ef+ef+sign', "'ef' once is enough"),
    ('sign+sign', "'sign', which is unknown: choose one of 'ef'"),
    ('ef', "compressor='ef' is unknown"),
  )
  def test_says_what_to_change(self, spec, message):
    with self.assertRaisesRegex(ValueError, message):
      compression.as_messenger(spec)

  def test_other_values(self):
    with self.assertRaisesRegex(TypeError, 'must be text, a Compressor'):
      compression.as_messenger(3)
    with self.assertRaisesRegex(TypeError, 'error_feedback must be True or'):
      compression.as_messenger('sign', error_feedback=1)
    with self.assertRaisesRegex(ValueError, 'decay must lie'):
      compression.as_messenger('sign', error_feedback=True, decay=-0.1)


if __name__ == '__main__':
  absltest.main()
