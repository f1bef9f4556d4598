# SPDX-License-Identifier: Apache-2.0
"""Networks of equal size, and what estimates of a kernel are off by."""

import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized

from jaxdl import networks
from jaxdl.networks import features


def _base(*sizes):
  network = networks.mlp(sizes[1:-1], sizes[-1])
  return network.init(jax.random.key(0), jnp.zeros((1, sizes[0])))


def _counts(candidates, dim):
  return {
    name: features.num_trained(c.network, dim) for name, c in candidates.items()
  }


class CandidatesTest(parameterized.TestCase):
  def test_sizes_are_equal_from_scratch(self):
    count = _counts(
      features.scratch_candidates(
        networks.mlp(16, 10), features.Features(), 64, (16, 10), (4, 30)
      ),
      64,
    )
    self.assertEqual(count['dense'], 65 * 16 + 170)
    for m, rank, width in ((4, 1, 22), (30, 6, 64)):
      target = count[f'SNNK, m={m}']
      self.assertEqual(target, 16 * m + 170)
      self.assertEqual(count[f'low rank {rank}'], 80 * rank + 16 + 170)
      fourier = f'{width} random Fourier features'
      self.assertEqual(count[fourier], 10 * (width + 1))
      self.assertLessEqual(abs(count[f'low rank {rank}'] - target), 40)
      self.assertLessEqual(abs(count[fourier] - target), 5)

  def test_adapters_leave_the_head_alone_if_told(self):
    made = lambda head: features.adapter_candidates(
      _base(5, 4, 3), features.Features(), 5, (2,), train_head=head
    )
    count = _counts(made(True), 5)
    alone = _counts(made(False), 5)
    self.assertEqual(count['head alone'], 4 * 3 + 3)
    self.assertNotIn('head alone', alone)
    # Psi and the gate.
    self.assertEqual(alone['SNNK adapter, m=2'], 4 * 2 + 4)
    self.assertEqual(count['SNNK adapter, m=2'], 12 + 15)
    self.assertEqual(alone['BitFit'], 4 + 3)
    self.assertEqual(count['BitFit'], 4 + 15)
    self.assertEqual(alone['everything'], 5 * 4 + 4 + 15)

  def test_the_converted_network_is_the_trained_one(self):
    base, x = _base(5, 4, 3), np.ones((2, 5), 'float32')
    made = features.conversion_candidates(
      base, features.Features(), 5, (3,), mapped=(0,)
    )
    whole = made['unchanged'].network
    want = networks.mlp(4, 3).apply(base, x)
    params = whole.init(jax.random.key(1), x)
    np.testing.assert_allclose(whole.apply(params, x), want, rtol=1e-6)
    with self.assertRaisesRegex(ValueError, 'mapped is empty'):
      features.conversion_candidates(
        base, features.Features(), 5, (3,), mapped=()
      )
    with self.assertRaisesRegex(ValueError, 'mapped must'):
      features.conversion_candidates(
        base, features.Features(), 5, (3,), mapped=(1,)
      )


class KernelErrorsTest(parameterized.TestCase):
  @parameterized.parameters(
    ('relu', {'arc-cosine', 'positive'}), ('sech', {'S3', 'positive'})
  )
  def test_estimates_without_variance_are_left_out(self, kind, want):
    found = jax.eval_shape(
      lambda key: features.kernel_errors(key, 4, kind=kind, num_draws=50),
      jax.random.key(0),
    )
    both = want | {f'{name}, orthogonal' for name in want}
    self.assertEqual(set(found), both)
    for values in found.values():
      self.assertEqual(set(values), {'rmse', 'bias', 'bias_z'})

  @parameterized.parameters(
    ({'kind': 'tanh'}, 'kind='),
    ({'a': -0.25}, 'a must lie'),
    ({'dimension': 0}, 'dimension must'),
    ({'num_draws': 1}, 'num_draws must'),
  )
  def test_says_what_to_change(self, options, message):
    with self.assertRaisesRegex(ValueError, message):
      features.kernel_errors(jax.random.key(0), 4, **options)


class OverClientsTest(parameterized.TestCase):
  def test_padding_does_not_count(self):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(3, 6, 4)).astype('float32')
    y = rng.normal(size=(3, 6, 2)).astype('float32')
    mask = np.arange(6)[None] < np.array([[6], [3], [1]])
    x[~mask], y[~mask] = 1e3, -1e3
    got, scale = features.fit_over_clients(
      lambda x: x, x, y, mask=mask, ridge=0.5
    )
    h, t = np.float64(x[mask]), np.float64(y[mask])
    want = np.linalg.solve(h.T @ h + 0.5 * np.eye(4), h.T @ t).T
    np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-5)
    self.assertEqual(float(scale), 1.0)


if __name__ == '__main__':
  absltest.main()
