# SPDX-License-Identifier: Apache-2.0
"""Fourier networks: filters, shifts, resolutions, counts."""

import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized

from jaxdl import operators

KEY = jax.random.key(0)


def count(net, shape):
  params = jax.eval_shape(net.init, KEY, jax.ShapeDtypeStruct(shape, 'float32'))
  return sum(x.size for x in jax.tree.leaves(params))


def reference(x, weights, ks):
  """The layer by full complex sums over wavenumbers, float64."""
  grid = x.shape[1:-1]
  at = np.stack(
    np.meshgrid(*[np.arange(n) / n for n in grid], indexing='ij'), -1
  )
  y = np.zeros((*x.shape[:-1], weights.shape[-1]))
  for index in np.ndindex(*[k.size for k in ks]):
    k = np.array([axis[i] for axis, i in zip(ks, index, strict=True)])
    wave = np.exp(2j * np.pi * at @ k)
    axes = tuple(range(1, x.ndim - 1))
    z = (x * np.conj(wave)[None, ..., None]).mean(axes)
    z = z @ weights[index]
    # The last axis keeps half of each conjugate pair.
    factor = 1 if k[-1] == 0 or 2 * k[-1] == grid[-1] else 2
    y += (
      factor
      * (
        wave[None, ..., None] * z.reshape(z.shape[0], *[1] * len(grid), -1)
      ).real
    )
  return y


def layer(x, weights, ks, method):
  return jax.jit(
    lambda x, r, i: operators.spectral_convolution(x, r, i, ks, method=method)
  )(
    jnp.asarray(x, 'float32'),
    jnp.asarray(weights.real, 'float32'),
    jnp.asarray(weights.imag, 'float32'),
  )


class SpectralTest(parameterized.TestCase):
  @parameterized.parameters(
    ((9,), (4,)), ((8,), (5,)), ((8, 6), (3, 4)), ((6, 4, 5), (2, 2, 3))
  )
  def test_equals_explicit_sums(self, grid, modes):
    rng = np.random.default_rng(0)
    ks = operators.kept_wavenumbers(modes)
    shape = (*[k.size for k in ks], 2, 3)
    weights = rng.normal(size=shape) + 1j * rng.normal(size=shape)
    x = rng.normal(size=(2, *grid, 2))
    want = reference(x, weights, ks)
    for method in ('matrix', 'fft'):
      np.testing.assert_allclose(layer(x, weights, ks, method), want, atol=2e-5)

  def test_all_modes_are_the_identity_and_few_a_low_pass(self):
    x = np.random.default_rng(0).normal(size=(2, 8, 6, 1))
    for method in ('matrix', 'fft'):
      full = operators.kept_wavenumbers((4, 4))
      one = np.ones((8, 4, 1, 1)) + 0j
      np.testing.assert_allclose(layer(x, one, full, method), x, atol=1e-5)
      low = operators.kept_wavenumbers((2, 2))
      keep = np.zeros((8, 6))
      keep[[0, 1, -2, -1], 1] = keep[[0, -1, 2, 1], -1] = 1
      keep[[0, 1, -1], 0] = 1
      # Row -2 of column 0 is kept without its conjugate: half a real wave.
      keep[[-2, 2], 0] = 0.5
      want = np.fft.ifft2(np.fft.fft2(x[..., 0]) * keep).real
      y = layer(x, np.ones((4, 2, 1, 1)) + 0j, low, method)[..., 0]
      np.testing.assert_allclose(y, want, atol=1e-5)

  def test_commutes_with_shifts(self):
    rng = np.random.default_rng(0)
    ks = operators.kept_wavenumbers((3,))
    weights = rng.normal(size=(3, 1, 1)) + 1j * rng.normal(size=(3, 1, 1))
    x = rng.normal(size=(1, 9, 1))
    np.testing.assert_allclose(
      layer(np.roll(x, 2, 1), weights, ks, 'matrix'),
      np.roll(layer(x, weights, ks, 'matrix'), 2, 1),
      atol=1e-5,
    )

  def test_conventions_count_modes_differently(self):
    pairs = zip(
      operators.kept_wavenumbers((3, 3)),
      operators.kept_wavenumbers((6, 4), convention='neuralop'),
      strict=True,
    )
    for a, b in pairs:
      np.testing.assert_array_equal(a, b)

  def test_methods_have_equal_gradients(self):
    ks = operators.kept_wavenumbers((2, 2))
    r, i = jax.random.normal(KEY, (2, 4, 2, 2, 2))
    x = jax.random.normal(jax.random.key(1), (1, 6, 6, 2))

    def loss(args, method):
      y = operators.spectral_convolution(*args, ks, method=method)
      return jnp.square(y).sum()

    grad = jax.jit(jax.grad(loss), static_argnums=1)
    jax.tree.map(
      lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5),
      grad((x, r, i), 'matrix'),
      grad((x, r, i), 'fft'),
    )


class FNOTest(parameterized.TestCase):
  def test_published_and_derived_counts(self):
    self.assertEqual(
      count(operators.fno((12, 12), channels=32), (1, 64, 64, 1)), 2_368_001
    )
    self.assertEqual(
      count(operators.fno((16,), channels=64), (1, 64, 1)), 549_569
    )
    three = operators.fno((8, 8, 8), channels=20)
    self.assertEqual(count(three, (1, 16, 16, 16, 10)), 6_558_377)
    small = operators.fno((8, 8), channels=12)
    self.assertEqual(count(small, (1, 32, 32, 1)), 149_921)

  def test_same_function_at_two_resolutions(self):
    net = operators.fno((3,), channels=4, num_layers=1, coordinates=False)
    grid = lambda n: np.arange(n)[None, :, None] / n
    f = lambda n: jnp.asarray(
      np.sin(2 * np.pi * grid(n)) + np.cos(4 * np.pi * grid(n)), 'float32'
    )
    params = net.init(KEY, f(16))
    coarse, fine = net.apply(params, f(16)), net.apply(params, f(32))
    np.testing.assert_allclose(coarse, fine[:, ::2], atol=1e-5)

  @parameterized.parameters('original', 'neuralop')
  def test_padding_is_cropped_again(self, convention):
    f = jax.random.normal(jax.random.key(1), (2, 8, 7, 1))
    net = operators.fno(
      (4, 4),
      channels=3,
      num_layers=2,
      convention=convention,
      domain_padding=0.25,
    )
    params = net.init(KEY, f)
    self.assertEqual(jax.jit(net.apply)(params, f).shape, (2, 8, 7, 1))
    real = params['blocks'][0]['spectral']['real']
    if convention == 'original':
      self.assertBetween(float(real.min()), 0.0, 1 / 9)
      self.assertLess(float(real.max()), 1 / 9)
    else:
      # Complex variance 2 / (I + O), half of it in each part.
      self.assertAlmostEqual(float(real.std()), (1 / 6) ** 0.5, delta=0.1)

  def test_linear_network_equals_its_parts(self):
    f = jax.random.normal(jax.random.key(1), (2, 8, 1))
    net = operators.fno((3,), channels=4, num_layers=1, activation='identity')
    params = net.init(KEY, f)
    x = np.linspace(0, 1, 8)[None, :, None].repeat(2, 0)
    dense = lambda p, x: x @ np.float64(p['kernel']) + np.float64(p['bias'])
    v = dense(params['lift'][0], np.concatenate([np.float64(f), x], -1))
    block = params['blocks'][0]
    weights = block['spectral']['real'] + 1j * block['spectral']['imag']
    ks = operators.kept_wavenumbers((3,))
    v = reference(v, np.asarray(weights), ks) + dense(block['skip'], v)
    want = dense(params['head'][1], dense(params['head'][0], v))
    np.testing.assert_allclose(net.apply(params, f), want, atol=1e-5)

  def test_says_what_to_change(self):
    with self.assertRaisesRegex(ValueError, 'keep wavenumbers -5..4 on axis 0'):
      operators.fno((5, 3), channels=2).init(KEY, jnp.ones((1, 8, 8, 1)))
    with self.assertRaisesRegex(ValueError, '2 grid axes'):
      operators.fno((3, 3), channels=2).init(KEY, jnp.ones((1, 8, 1)))
    with self.assertRaisesRegex(ValueError, 'one to three entries'):
      operators.fno((), channels=2)


if __name__ == '__main__':
  absltest.main()
