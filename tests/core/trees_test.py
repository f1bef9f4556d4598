# SPDX-License-Identifier: Apache-2.0
"""Linear algebra on stacked trees against NumPy."""

import warnings

import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized

from jaxdl.core import trees


def _tree(n=5, seed=0):
  draw = np.random.default_rng(seed)
  return {
    'a': jnp.asarray(draw.normal(size=(n, 2, 3)), jnp.float32),
    'b': (jnp.asarray(draw.normal(size=(n,)), jnp.float32),),
  }


def _matrix(tree):
  return np.concatenate(
    [np.asarray(x).reshape(len(x), -1) for x in jax.tree.leaves(tree)], axis=1
  ).astype(np.float64)


class TreesTest(parameterized.TestCase):
  @parameterized.parameters((), (3,))
  def test_combine_is_a_product(self, *rows):
    tree = _tree()
    weights = np.random.default_rng(1).normal(size=(*rows, 5))
    out = trees.combine(jnp.asarray(weights, jnp.float32), tree)
    stacked = out if rows else jax.tree.map(lambda x: x[None], out)
    np.testing.assert_allclose(
      _matrix(stacked), np.atleast_2d(weights) @ _matrix(tree), rtol=1e-5
    )

  def test_combine_adds_bfloat16_in_float32(self):
    x = jnp.concatenate(
      [jnp.full((1, 1), 256.0), jnp.full((400, 1), 0.5)]
    ).astype(jnp.bfloat16)
    got = trees.combine(jnp.ones(401), x)
    self.assertEqual(got.dtype, jnp.bfloat16)
    self.assertEqual(float(got[0]), 456.0)  # In bfloat16 steps: 256.

  def test_combine_takes_numpy_leaves_without_warnings(self):
    with warnings.catch_warnings():
      warnings.simplefilter('error')
      got = trees.combine(jnp.ones(2), np.ones((2, 3)))  # float64 NumPy
    self.assertEqual(got.dtype, jnp.float32)

  @parameterized.parameters((4,), (5, 4), (1, 1, 5))
  def test_combine_refuses_other_shapes(self, *shape):
    with self.assertRaisesRegex(ValueError, r'N = 5; got \('):
      trees.combine(jnp.ones(shape), _tree())

  def test_rows(self):
    tree = _tree()
    scaled = trees.scale_rows(jnp.arange(5.0), tree)
    np.testing.assert_allclose(
      _matrix(scaled), np.arange(5.0)[:, None] * _matrix(tree), rtol=1e-6
    )
    mask = jnp.array([True, False, True, False, False])
    zeroed = _matrix(trees.where_rows(mask, tree, 0.0))
    np.testing.assert_array_equal(zeroed[[1, 3, 4]], 0)
    np.testing.assert_array_equal(zeroed[[0, 2]], _matrix(tree)[[0, 2]])
    other = _matrix(trees.where_rows(mask, tree, scaled))
    np.testing.assert_array_equal(other[[1, 3]], _matrix(scaled)[[1, 3]])
    taken = trees.take_rows(tree, jnp.array([3, 3, 0]))
    np.testing.assert_array_equal(_matrix(taken), _matrix(tree)[[3, 3, 0]])
    one = trees.take_rows(tree, jnp.int32(2))
    self.assertEqual(one['a'].shape, (2, 3))

  def test_concatenate_takes_empty_trees(self):
    tree = _tree()
    empty = jax.tree.map(lambda x: x[:0], tree)
    joined = trees.concatenate(empty, tree, tree)
    np.testing.assert_array_equal(
      _matrix(joined), np.concatenate([_matrix(tree)] * 2)
    )

  def test_norms(self):
    tree = _tree()
    np.testing.assert_allclose(
      trees.sq_norms(tree), (_matrix(tree) ** 2).sum(axis=1), rtol=1e-6
    )
    # Long rows are added block by block, with a rest.
    long = np.random.default_rng(1).normal(size=(2, 3, 3001))
    np.testing.assert_allclose(
      jax.jit(trees.sq_norms)(long.astype(np.float32)),
      (long**2).sum(axis=(1, 2)),
      rtol=1e-6,
    )
    np.testing.assert_allclose(
      trees.global_norm(tree), np.linalg.norm(_matrix(tree)), rtol=1e-6
    )

  def test_gradient_of_the_norm_at_zero_is_zero(self):
    grad = jax.grad(trees.global_norm)(jnp.zeros(3))
    np.testing.assert_array_equal(grad, np.zeros(3))

  def test_accumulators(self):
    self.assertEqual(trees.accumulator(jnp.bfloat16), jnp.float32)
    mixed = {'a': jnp.ones(2, jnp.bfloat16), 'b': jnp.ones(2, jnp.float16)}
    self.assertEqual(trees.common_accumulator(mixed), jnp.float32)
    with jax.enable_x64(True):
      mixed = {'a': jnp.ones(2, jnp.bfloat16), 'b': jnp.ones(2, jnp.float64)}
      self.assertEqual(trees.common_accumulator(mixed), jnp.float64)
    like = {'a': jnp.ones(2, jnp.bfloat16)}
    cast = trees.cast_like({'a': jnp.ones(2)}, like)
    self.assertEqual(cast['a'].dtype, jnp.bfloat16)


class ScaledNormTest(absltest.TestCase):
  def test_right_over_the_whole_range(self):
    # 3, 4, 12: norm 13, at sizes whose squares leave float32.
    scales = np.array([1e-36, 1e-20, 1.0, 1e20, 2e37], np.float32)
    rows = scales[:, None] * np.array([3.0, 4.0, 12.0], np.float32)
    tree = {'a': rows[:, :1], 'b': rows[:, 1:].reshape(-1, 1, 2)}
    got = jax.jit(trees.norms)(tree)
    np.testing.assert_allclose(got, 13.0 * scales.astype(float), rtol=3e-7)

  def test_what_is_not_finite_and_nothing(self):
    rows = jnp.array([[np.nan, 1.0], [np.inf, 1.0], [0.0, 0.0]])
    np.testing.assert_array_equal(trees.norms(rows), [np.nan, np.inf, 0.0])

  def test_gradient_is_the_unit_vector(self):
    grad = jax.jit(jax.grad(trees.global_norm))
    for scale in (1e-25, 1.0, 1e25):
      got = grad(jnp.array([3.0, 4.0]) * scale)
      np.testing.assert_allclose(got, [0.6, 0.8], rtol=1e-6)
    np.testing.assert_array_equal(grad(jnp.zeros(2)), [0.0, 0.0])


if __name__ == '__main__':
  absltest.main()
