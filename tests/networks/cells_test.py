# SPDX-License-Identifier: Apache-2.0
"""Recurrent cells are those of flax; orthogonal kernels keep lengths."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized

from jaxdl.networks import functional

I, H = 3, 4


def drawn(leaves):
  params = functional.draw(jax.random.key(0), leaves, jnp.float32)
  # Biases that are not zero.
  return jax.tree.map(
    lambda x: x + 0.1 * jnp.sin(jnp.arange(x.size)).reshape(x.shape), params
  )


class CellsTest(parameterized.TestCase):
  def setUp(self):
    super().setUp()
    rng = np.random.default_rng(0)
    self.x = jnp.asarray(rng.normal(size=(2, I)), jnp.float32)
    self.h = jnp.asarray(rng.normal(size=(2, H)), jnp.float32)
    self.c = jnp.asarray(rng.normal(size=(2, H)), jnp.float32)

  def test_a_gru_is_that_of_flax(self):
    params = drawn(functional.gru_leaves(I, H))
    of_x, of_h = params['inputs'], params['gates']
    theirs = {
      'ir': of_x['part_0'],
      'iz': of_x['part_1'],
      'in': of_x['part_2'],
      'hr': of_h['part_0'],
      'hz': of_h['part_1'],
      'hn': params['state'],
    }
    want, _ = nn.GRUCell(H).apply({'params': theirs}, self.h, self.x)
    got = functional.gru(params, self.h, self.x)
    np.testing.assert_allclose(got, want, atol=1e-6)

  def test_an_lstm_is_that_of_flax(self):
    params = drawn(functional.lstm_leaves(I, H))
    theirs = {}
    for i, name in enumerate('ifgo'):
      theirs[f'i{name}'] = {'kernel': params['inputs'][f'part_{i}']['kernel']}
      bias = params['inputs'][f'part_{i}']['bias']
      if name == 'f':
        bias = bias + params['forget']['bias']
      theirs[f'h{name}'] = {
        'kernel': params['state'][f'part_{i}']['kernel'],
        'bias': bias,
      }
    (c, h), _ = nn.LSTMCell(H).apply(
      {'params': theirs}, (self.c, self.h), self.x
    )
    got = functional.lstm(params, (self.h, self.c), self.x)
    np.testing.assert_allclose(got[0], h, atol=1e-6)
    np.testing.assert_allclose(got[1], c, atol=1e-6)

  def test_the_gate_that_keeps_is_open_at_the_start(self):
    leaves = functional.lstm_leaves(I, H)
    params = functional.draw(jax.random.key(0), leaves, jnp.float32)
    np.testing.assert_array_equal(params['forget']['bias'], np.ones(H))

  @parameterized.parameters((6, 3), (3, 6), (5, 5))
  def test_orthogonal_kernels_keep_lengths(self, rows, columns):
    spec = 'orthogonal(gain=2.0)'
    leaves = functional.layer_leaves((rows, columns), kernel_init=spec)
    draw = lambda key: functional.draw(key, leaves, jnp.float32)['kernel']
    k = np.asarray(draw(jax.random.key(1)), np.float64)
    product = k.T @ k if rows >= columns else k @ k.T
    np.testing.assert_allclose(
      product, 4 * np.eye(min(rows, columns)), atol=1e-5
    )
    # A batch of them are the same ones.
    keys = jax.random.split(jax.random.key(2), 3)
    many = jax.vmap(draw)(keys)
    np.testing.assert_array_equal(many[1], draw(keys[1]))

  def test_rotations_are_equally_likely(self):
    leaves = functional.layer_leaves((2, 2), kernel_init='orthogonal')
    keys = jax.random.split(jax.random.key(0), 4000)
    draw = lambda key: functional.draw(key, leaves, jnp.float32)['kernel']
    found = np.asarray(jax.vmap(draw)(keys), np.float64)
    angle = np.arctan2(found[:, 1, 0], found[:, 0, 0])
    # Means of the circle, within four standard errors.
    for wave in (1, 2):
      self.assertLess(np.abs(np.exp(1j * wave * angle).mean()), 4 / 4000**0.5)

  def test_says_what_no_gain_is(self):
    with self.assertRaisesRegex(ValueError, 'gain'):
      functional.layer_leaves((2, 2), kernel_init='orthogonal(gain=-1.0)')


if __name__ == '__main__':
  absltest.main()
