# SPDX-License-Identifier: Apache-2.0
"""Convolutions against explicit sums in float64."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized

from jaxdl.networks import functional as conv

_MODES = {
  'zeros': 'constant',
  'circular': 'wrap',
  'reflect': 'reflect',
  'replicate': 'edge',
}


def naive(x, kernel, *, stride, dilation, width, padding):
  """Correlation, output by output."""
  rank = kernel.ndim - 2
  x = np.pad(
    x, [(0, 0), *[(width, width)] * rank, (0, 0)], mode=_MODES[padding]
  )
  out = [
    (n - dilation * (k - 1) - 1) // stride + 1
    for n, k in zip(x.shape[1:-1], kernel.shape, strict=False)
  ]
  y = np.zeros((x.shape[0], *out, kernel.shape[-1]))
  for at in itertools.product(*map(range, out)):
    for tap in itertools.product(*map(range, kernel.shape[:-2])):
      cell = tuple(
        a * stride + t * dilation for a, t in zip(at, tap, strict=True)
      )
      y[(slice(None), *at)] += x[(slice(None), *cell)] @ kernel[tap]
  return y


def scatter(x, kernel, *, padded, fine, periodic):
  """The transposed convolution as a loop over coarse cells."""
  y = np.zeros((x.shape[0], *fine, kernel.shape[-1]))
  for at in itertools.product(*map(range, x.shape[1:-1])):
    for tap in itertools.product(*map(range, kernel.shape[:-2])):
      cell = [2 * a + t - padded for a, t in zip(at, tap, strict=True)]
      if periodic:
        cell = [c % n for c, n in zip(cell, fine, strict=True)]
      if all(0 <= c < n for c, n in zip(cell, fine, strict=True)):
        y[(slice(None), *cell)] += x[(slice(None), *at)] @ kernel[tap]
  return y


class ConvolveTest(parameterized.TestCase):
  @parameterized.parameters(
    ((6,), 'circular', 1, 1),
    ((6, 5), 'zeros', 1, 1),
    ((6, 5), 'reflect', 2, 1),
    ((7, 6), 'replicate', 2, 1),
    ((7, 8), 'circular', 1, 2),
    ((4, 5, 3), 'reflect', 1, 1),
  )
  def test_equals_explicit_sums(self, grid, padding, stride, dilation):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(2, *grid, 3))
    kernel = rng.normal(size=(*[3] * len(grid), 3, 2))
    options = {
      'stride': stride,
      'dilation': dilation,
      'width': dilation,
      'padding': padding,
    }
    want = naive(x, kernel, **options)
    for method in conv.METHODS:
      got = conv.convolve(
        jnp.asarray(x, 'float32'),
        jnp.asarray(kernel, 'float32'),
        method=method,
        **options,
      )
      np.testing.assert_allclose(got, want, atol=2e-5)

  def test_adds_the_bias_and_keeps_narrow_types(self):
    x, kernel = jnp.ones((1, 4, 2), 'bfloat16'), jnp.ones((3, 2, 5), 'bfloat16')
    for method in conv.METHODS:
      y = conv.convolve(x, kernel, jnp.full((5,), 2.0), method=method)
      self.assertEqual(y.dtype, jnp.bfloat16)
      np.testing.assert_array_equal(y.astype('float32'), 8.0)

  def test_says_what_does_not_fit(self):
    kernel = jnp.ones((3, 3, 2, 2))
    for x, message in (
      (jnp.ones((1, 4, 4, 3)), 'has 3 channels but the kernel expects 2'),
      (jnp.ones((1, 4, 2)), '2 grid axes'),
      (jnp.ones((1, 4, 1, 2)), 'smaller than the kernel'),
    ):
      with self.assertRaisesRegex(ValueError, message):
        conv.convolve(x, kernel)
    with self.assertRaisesRegex(ValueError, 'reflect padding by 1 needs'):
      conv.pad(jnp.ones((1, 1, 3, 2)), 1, 'reflect')
    with self.assertRaisesRegex(ValueError, 'unknown: choose one of'):
      conv.pad(jnp.ones((1, 4, 2)), 1, 'mirror')


class UpsampleTest(parameterized.TestCase):
  @parameterized.parameters(
    ((4,), (4,), True, False),
    ((3, 4), (4, 4), True, False),
    ((3, 4), (3, 4), True, False),
    ((3, 4), (4, 4), True, True),
    ((4,), (3,), False, False),
    ((3, 2), (4, 3), False, False),
    ((2, 3, 2), (4, 3, 4), True, False),
  )
  def test_equals_explicit_scatter(self, grid, sizes, padded, periodic):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(2, *grid, 3))
    kernel = rng.normal(size=(*sizes, 3, 2))
    fine = [
      2 * (n - 1) + k - 2 * padded for n, k in zip(grid, sizes, strict=True)
    ]
    want = scatter(x, kernel, padded=padded, fine=fine, periodic=periodic)
    for method in conv.METHODS:
      got = conv.upsample(
        jnp.asarray(x, 'float32'),
        jnp.asarray(kernel, 'float32'),
        padded=padded,
        periodic=periodic,
        method=method,
      )
      np.testing.assert_allclose(got, want, atol=1e-5)

  def test_is_the_flipped_dilated_correlation(self):
    rng = np.random.default_rng(0)
    x = jnp.asarray(rng.normal(size=(1, 3, 5, 2)), 'float32')
    kernel = jnp.asarray(rng.normal(size=(4, 4, 2, 3)), 'float32')
    want = jax.lax.conv_general_dilated(
      x,
      jnp.flip(kernel, (0, 1)),
      (1, 1),
      [(2, 2), (2, 2)],
      lhs_dilation=(2, 2),
      dimension_numbers=('NHWC', 'HWIO', 'NHWC'),
    )
    np.testing.assert_allclose(conv.upsample(x, kernel), want, atol=1e-5)

  def test_kernel_sizes_bring_every_size_back(self):
    for n in range(4, 40):
      for padded in (True, False):
        (coarse,) = conv.coarse_grid((n,), padded=padded)
        (k,) = conv.upsampling_kernel_sizes((n,))
        self.assertEqual(2 * (coarse - 1) + k - 2 * padded, n)


if __name__ == '__main__':
  absltest.main()
