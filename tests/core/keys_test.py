# SPDX-License-Identifier: Apache-2.0
"""One random stream per client identity."""

import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized

from jaxdl.core import clients, keys


def _draws(key, ids):
  return np.asarray(
    jax.vmap(lambda k: jax.random.normal(k, (3,)))(keys.client_keys(key, ids))
  )


class ClientKeysTest(absltest.TestCase):
  def test_bound_to_the_identity_not_the_row(self):
    key = jax.random.key(7)
    ids = jnp.array([4, 11, 2, 900_001])
    base = dict(zip(ids.tolist(), _draws(key, ids), strict=True))
    for other in ([11, 4], [900_001, 5, 5, 2, 4, 11, 0]):
      for i, row in zip(other, _draws(key, jnp.array(other)), strict=True):
        if i in base:
          np.testing.assert_array_equal(row, base[i])

  def test_differ_between_clients_and_rounds(self):
    first = _draws(jax.random.key(0), jnp.arange(50))
    second = _draws(jax.random.key(1), jnp.arange(50))
    self.assertLen(np.unique(np.concatenate([first, second]), axis=0), 100)

  def test_spreading_clients_changes_nothing(self):
    ids = jnp.arange(16)
    spread = clients.shard_clients(ids, clients.clients_mesh(8))
    # The stream is the same bit for bit; what is computed from it may round
    # differently in another program.
    bits = jax.jit(_one_by_one(lambda k: jax.random.bits(k, (3,))))
    np.testing.assert_array_equal(
      bits(jax.random.key(3), spread), bits(jax.random.key(3), ids)
    )
    normal = jax.jit(_one_by_one(lambda k: jax.random.normal(k, (3,))))
    np.testing.assert_allclose(
      normal(jax.random.key(3), spread),
      _draws(jax.random.key(3), ids),
      rtol=1e-6,
    )


def _one_by_one(draw):
  return lambda key, ids: jax.vmap(draw)(keys.client_keys(key, ids))


class CheckKeyTest(parameterized.TestCase):
  def test_typed_keys_pass_also_while_tracing(self):
    keys.check_key(jax.random.key(0))
    jax.eval_shape(
      lambda k: [keys.check_key(k), jax.random.bits(k)][1], jax.random.key(0)
    )

  def test_messages(self):
    with self.assertRaisesRegex(TypeError, r'noise_key is required: pass jax'):
      keys.check_key(None, name='noise_key')
    with self.assertRaisesRegex(TypeError, 'typed key, .* got uint32'):
      keys.check_key(np.zeros(2, np.uint32))
    for impl in ('rbg', 'unsafe_rbg'):
      with self.assertRaisesRegex(ValueError, 'wrong under vmap: use threefry'):
        keys.check_key(jax.random.key(0, impl=impl))


class BitsTest(parameterized.TestCase):
  @parameterized.parameters(((4, 3),), ((5, 3),), ((1, 7),), ((6,),), ((0, 2),))
  def test_are_both_words_of_a_block(self, shape):
    key = jax.random.key(3)
    words = keys.bits(key, shape)
    self.assertEqual((words.shape, words.dtype), (shape, jnp.uint32))
    half = -(-shape[0] // 2)
    rest = shape[0] - half
    whole = jax.random.bits(key, (half, *shape[1:]))
    np.testing.assert_array_equal(words[:rest] ^ words[half:], whole[:rest])

  def test_are_uniform_and_differ(self):
    words = np.asarray(keys.bits(jax.random.key(0), (300, 100))).ravel()
    self.assertLess(len(words) - len(set(words.tolist())), 3)
    for shift in (0, 8, 16, 24):
      counts = np.bincount((words >> shift) & 255, minlength=256)
      self.assertLess(np.square(counts / counts.mean() - 1).mean(), 2e-2)

  def test_keys_side_by_side_draw_as_alone(self):
    several = jax.random.split(jax.random.key(0), 3)
    words = jax.vmap(lambda key: keys.bits(key, (5, 2)))(several)
    for key, own in zip(several, words, strict=True):
      np.testing.assert_array_equal(own, keys.bits(key, (5, 2)))


if __name__ == '__main__':
  absltest.main()
