# SPDX-License-Identifier: Apache-2.0
"""Secure sums: bitwise the plain integer sum, whoever drops out."""

import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized

from jaxdl import privacy

KEY = jax.random.key(0)


def rows(n, seed=0, dtype='float32', scale=0.5):
  rng = np.random.default_rng(seed)
  return {
    'w': jnp.asarray(scale * rng.normal(size=(n, 3, 2)), dtype),
    'b': jnp.asarray(scale * rng.normal(size=(n, 5)), dtype),
  }


def most_bits(n):
  return max(b for b in range(1, 33) if n * (2**b - 1) < 2**32)


def integers(x, bits, clip):
  """Float64 reference of the formula, as Python's large integers."""
  x = np.clip(np.asarray(x, np.float64), -clip, clip)
  return np.round((x + clip) * (2**bits - 1) / (2 * clip)).astype(np.uint64)


class QuantizeTest(parameterized.TestCase):
  @parameterized.parameters((1, 1.0), (8, 0.3), (16, 2.0), (20, 1.0))
  def test_equals_the_formula(self, bits, clip):
    x = rows(4)['w']
    got = privacy.quantize(x, num_bits=bits, clip=clip)
    want = integers(x, bits, clip).astype(np.int64)
    # A tie of float64 may lie beside one of float32.
    off = np.abs(np.asarray(got, np.int64) - want)
    self.assertLessEqual(off.max(), 1 if bits == 20 else 0)
    self.assertEqual(got.dtype, jnp.uint32)

  @parameterized.parameters(1, 2, 20, 24, 25, 31, 32)
  def test_the_ends(self, bits):
    x = jnp.array([-jnp.inf, -2.0, -1.0, 1.0, 2.0, jnp.inf])
    got = np.asarray(privacy.quantize(x, num_bits=bits), np.uint64)
    top = 2**bits - 1
    np.testing.assert_array_equal(got, [0, 0, 0, top, top, top])
    below = privacy.quantize(jnp.float32(1 - 2**-24), num_bits=bits)
    self.assertLessEqual(int(below), top)

  def test_what_is_no_number_is_zero(self):
    x = jnp.array([jnp.nan, 0.0])
    got = privacy.quantize(x, num_bits=9)
    self.assertEqual(int(got[0]), int(got[1]))

  def test_at_random_it_is_right_on_average(self):
    x, draws = jnp.array([-0.9, 0.0, 0.3, 1.0, -1.0]), 4000
    step = 2 / 7
    one = lambda k: privacy.quantize(x, num_bits=3, key=k)
    q = jax.jit(jax.vmap(one))(jax.random.split(KEY, draws))
    got = np.asarray(q, np.float64) * step - 1
    noise = 4 * got.std(0) / draws**0.5
    self.assertTrue(np.all(np.abs(got.mean(0) - x) <= noise + 1e-6))
    self.assertTrue(np.all(np.abs(got - np.asarray(x)) < step + 1e-6))

  def test_reads_every_sum_back(self):
    # The largest span that is allowed, from end to end.
    for n, bits in ((1, 32), (3, 30), (5, 29), (255, 24)):
      top = 2**bits - 1
      totals = np.array([0, 1, n * top // 2, n * top - 1, n * top], np.uint64)
      got = privacy.dequantize_sum(
        jnp.asarray(totals.astype(np.uint32)), n, num_bits=bits, clip=0.7
      )
      want = totals.astype(np.float64) * 2 * 0.7 / top - n * 0.7
      np.testing.assert_allclose(got, want, rtol=1e-6, atol=1e-15)


class MasksTest(parameterized.TestCase):
  def test_a_message_alone_is_noise(self):
    n, size = 4, 4096
    q = jnp.zeros((n, size), jnp.uint32)
    sent = np.asarray(privacy.mask_messages(q, key=KEY))
    bits = np.unpackbits(sent.view(np.uint8), axis=1).reshape(n, -1)
    share = bits.reshape(n, size, 32).mean(1)
    self.assertLess(np.abs(share - 0.5).max(), 5 * 0.5 / size**0.5)
    # So is the sum of all but one; that of all is not.
    part = sent[:3].sum(0, dtype=np.uint32)
    self.assertGreater(len(np.unique(part)), size - 10)
    np.testing.assert_array_equal(sent.sum(0, dtype=np.uint32), 0)

  def test_leaves_and_rounds_have_masks_of_their_own(self):
    q = {'a': jnp.zeros((2, 50), jnp.uint32), 'b': jnp.zeros((2, 50), 'uint32')}
    first = privacy.mask_messages(q, key=KEY)
    second = privacy.mask_messages(q, key=jax.random.key(1))
    streams = [first['a'][0], first['b'][0], second['a'][0], second['b'][0]]
    self.assertLen(np.unique(np.stack(streams)), 200)

  @parameterized.product(n=[1, 2, 3, 6], dropped=[0, 1, 2])
  def test_what_is_left_is_taken_off(self, n, dropped):
    rng = np.random.default_rng(n)
    q = rng.integers(0, 2**32, (n, 7), dtype=np.uint32)
    here = np.ones(n, bool)
    here[rng.permutation(n)[:dropped]] = False
    sent = np.asarray(privacy.mask_messages(jnp.asarray(q), key=KEY))
    total = sent[here].sum(0, dtype=np.uint32)
    got = privacy.unmask_sum(jnp.asarray(total), jnp.asarray(here), key=KEY)
    np.testing.assert_array_equal(got, q[here].sum(0, dtype=np.uint32))


class SecureSumTest(parameterized.TestCase):
  def test_every_one_is_here(self):
    self.assertEqual(set(privacy.SECURE_SUMS), {'pairwise', 'plain'})

  @parameterized.parameters(1, 2, 5, 9)
  def test_bitwise_the_plain_integer_sum(self, n):
    bits = most_bits(n)
    options = f'(num_bits={bits}, clip=0.8)'
    x = rows(n)
    secure = privacy.make_secure_sum(f'pairwise{options}', num_clients=n)
    plain = privacy.make_secure_sum(f'plain{options}', num_clients=n)
    q = secure.integers(x)
    for seed in range(3):
      here = np.random.default_rng(seed).random(n) < (1.0, 0.6, 0.0)[seed]
      mask = jnp.asarray(here)
      got = jax.jit(secure.apply)(x, mask, jax.random.key(seed))
      want = plain.apply(x, mask)
      for name in x:
        total = np.asarray(q[name], np.uint64)[here].sum(0)
        self.assertLess(int(total.max(initial=0)), 2**32)
        by_hand = privacy.dequantize_sum(
          jnp.asarray(total.astype(np.uint32)),
          int(here.sum()),
          num_bits=bits,
          clip=0.8,
        )
        np.testing.assert_array_equal(got[name], want[name])
        np.testing.assert_allclose(got[name], by_hand, rtol=1e-6, atol=1e-9)
        close = np.clip(np.asarray(x[name], np.float64), -0.8, 0.8)[here]
        np.testing.assert_allclose(
          got[name], close.sum(0), atol=n * 0.8 / (2**bits - 1) + 1e-6
        )

  def test_whole_weights(self):
    n, w = 4, np.array([3, 0, 1, 2])
    x = rows(n)
    secure = privacy.make_secure_sum(
      'pairwise(num_bits=20, clip=2.0, max_weight=3)', num_clients=n
    )
    plain = privacy.make_secure_sum(
      'plain(num_bits=20, clip=2.0, max_weight=3)', num_clients=n
    )
    mask = jnp.array([True, True, True, False])
    got = secure.apply(x, mask, KEY, weights=jnp.asarray(w))
    same = plain.apply(x, mask, weights=jnp.asarray(w))
    for name in x:
      want = np.tensordot(w[:3], np.asarray(x[name], np.float64)[:3], 1)
      np.testing.assert_allclose(got[name], want, atol=4 * 2 / 2**20 + 1e-6)
      np.testing.assert_array_equal(got[name], same[name])

  def test_rounding_follows_the_client_not_the_row(self):
    x, ids = rows(3), jnp.array([7, 2, 5])
    order = jnp.array([2, 0, 1])
    total = privacy.make_secure_sum(
      'pairwise(num_bits=4, stochastic=True)', num_clients=3
    )
    got = total.apply(x, None, KEY, client_ids=ids)
    other = total.apply(
      jax.tree.map(lambda a: a[order], x), None, KEY, client_ids=ids[order]
    )
    for name in x:
      np.testing.assert_array_equal(got[name], other[name])
    nearest = privacy.make_secure_sum('pairwise(num_bits=4)', num_clients=3)
    self.assertFalse(np.array_equal(nearest.apply(x, None, KEY)['w'], got['w']))

  def test_batches_and_dtypes(self):
    n = 3
    total = privacy.make_secure_sum('pairwise(num_bits=12)', num_clients=n)
    both = jax.tree.map(lambda *a: jnp.stack(a), rows(n, 1), rows(n, 2))
    mask = jnp.array([[True, True, False], [False, True, True]])
    own = jax.random.split(KEY, 2)
    program = jax.jit(jax.vmap(total.apply))
    got = program(both, mask, own)
    program(both, mask, own)
    self.assertEqual(program._cache_size(), 1)
    for i in range(2):
      one = {name: x[i] for name, x in both.items()}
      want = total.apply(one, mask[i], own[i])
      for name in want:
        np.testing.assert_array_equal(got[name][i], want[name])
    narrow = total.apply(rows(n, dtype='bfloat16'), None, KEY)
    self.assertEqual(narrow['w'].dtype, jnp.bfloat16)
    wide = total.apply(rows(n), None, KEY)
    np.testing.assert_allclose(
      narrow['w'].astype('float32'), wide['w'], atol=0.02
    )

  def test_double_precision(self):
    with jax.enable_x64(True):
      x = rows(2, dtype='float64')
      total = privacy.make_secure_sum('pairwise(num_bits=31)', num_clients=2)
      got = total.apply(x, None, KEY)
      self.assertEqual(got['w'].dtype, jnp.float64)
      np.testing.assert_allclose(
        got['w'], np.clip(x['w'], -1, 1).sum(0), atol=2**-29
      )

  def test_no_memory_for_all_pairs(self):
    n, size = 24, 4096
    total = privacy.make_secure_sum('pairwise', num_clients=n)
    shape = jax.ShapeDtypeStruct((n, size), jnp.float32)
    mask = jax.ShapeDtypeStruct((n,), jnp.bool_)
    program = jax.jit(total.apply).lower(shape, mask, KEY).compile()
    used = program.memory_analysis().temp_size_in_bytes
    self.assertLess(used, 6 * n * size * 4)  # All pairs: 276.

  def test_bits(self):
    total = privacy.make_secure_sum('pairwise', num_clients=3)
    one = jax.eval_shape(lambda: jax.tree.map(lambda a: a[0], rows(3)))
    self.assertEqual(total.bits(one), 32 * 11)


class ErrorsTest(parameterized.TestCase):
  @parameterized.parameters(
    (
      'pairwise(num_bits=30)',
      80,
      '80 clients × 30 bits exceed 32-bit modulus: num_bits=25 is the most',
    ),
    ('plain(num_bits=32)', 2, '2 clients × 32 bits exceed 32-bit modulus'),
    (
      'pairwise(num_bits=20, max_weight=100)',
      100,
      '100 clients × weight 100 × 20 bits exceed 32-bit modulus',
    ),
    ('pairwise(num_bits=0)', 3, 'num_bits must be at least 1; got 0'),
    ('pairwise(num_bits=33)', 1, 'num_bits must be at most 32; got 33'),
    ('pairwise(clip=0.0)', 3, r'clip must lie in \(0.0, inf\); got 0.0'),
    ('pairwise(clip=-1.0)', 3, 'clip must lie .* got -1.0'),
    ('pairwise(max_weight=0)', 3, 'max_weight must be at least 1'),
    ('pairwise(stochastic=maybe)', 3, 'stochastic must be True or False'),
    ('paillier', 3, "secure_sum='paillier' is unknown: choose one of 'pairwi"),
    ('pairwise', 0, 'num_clients must be at least 1; got 0'),
  )
  def test_says_what_to_change(self, spec, n, message):
    with self.assertRaisesRegex(ValueError, message):
      privacy.make_secure_sum(spec, num_clients=n)

  def test_the_most_that_fits(self):
    fits = privacy.make_secure_sum('pairwise(num_bits=25)', num_clients=80)
    self.assertEqual(fits.num_bits, 25)
    with self.assertRaisesRegex(ValueError, '80 clients × 26 bits'):
      privacy.make_secure_sum('pairwise(num_bits=26)', num_clients=80)

  def test_other_clients_and_weights(self):
    total = privacy.make_secure_sum('pairwise(max_weight=2)', num_clients=3)
    with self.assertRaisesRegex(ValueError, '4 clients but num_clients=3'):
      total.apply(rows(4), None, KEY)
    with self.assertRaisesRegex(ValueError, 'max_weight=2; client 1 has 5'):
      total.apply(rows(3), None, KEY, weights=jnp.array([1, 5, 0]))
    with self.assertRaisesRegex(TypeError, 'must be integers; got float32'):
      total.apply(rows(3), None, KEY, weights=jnp.ones(3))
    with self.assertRaisesRegex(ValueError, r'weights must have shape \[3\]'):
      total.apply(rows(3), None, KEY, weights=jnp.array([1, 1]))
    with self.assertRaisesRegex(ValueError, r'mask must have shape \[3\]'):
      total.apply(rows(3), jnp.ones(2, bool), KEY)
    with self.assertRaisesRegex(TypeError, 'key is required'):
      total.apply(rows(3))
    with self.assertRaisesRegex(ValueError, 'for 3 clients but num_clients=4'):
      privacy.make_secure_sum(total, num_clients=4)

  def test_integers_are_made_first(self):
    with self.assertRaisesRegex(TypeError, 'messages must be uint32'):
      privacy.mask_messages(jnp.ones((2, 3)), key=KEY)
    with self.assertRaisesRegex(TypeError, 'must be floating point'):
      privacy.quantize(jnp.arange(3))


if __name__ == '__main__':
  absltest.main()
