# SPDX-License-Identifier: Apache-2.0
"""Edges that are taken and drawn, against closed forms."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import scipy.special
import scipy.stats
from absl.testing import absltest, parameterized

from jaxdl.agents import commformer

KEY = jax.random.key(0)
DRAWS = 100_000


@functools.cache
def drawn(k):
  """Draws of one row of 4 edges, and their probabilities."""
  logits = np.array([0.0, 1.0, -0.5, 0.3])
  rows = jnp.broadcast_to(jnp.asarray(logits, jnp.float32), (DRAWS, 4))
  _, hard = jax.jit(lambda: commformer.gumbel_topk(rows, k, key=KEY))()
  return np.asarray(hard), scipy.special.softmax(logits)


class TopKTest(parameterized.TestCase):
  @parameterized.parameters(
    *((3, 1), (4, 1), (5, 2), (6, 2), (8, 3), (10, 4), (27, 10))
  )
  def test_number_of_edges(self, n, k):
    self.assertEqual(commformer.edges_of(n, 0.4), k)

  def test_shares_do_not_lose_an_edge_to_rounding(self):
    self.assertEqual(commformer.edges_of(100, 0.29), 29)
    self.assertEqual(commformer.edges_of(7, 1.0), 7)

  @parameterized.parameters(1, 2, 3, 5)
  def test_rows_have_k_ones_of_the_largest(self, k):
    logits = np.random.default_rng(k).normal(size=(5, 5)).astype('float32')
    weights, hard = commformer.exact_topk(jnp.asarray(logits), k)
    want = np.zeros((5, 5), int)
    for row, order in zip(want, np.argsort(-logits, axis=-1), strict=True):
      row[order[:k]] = 1
    np.testing.assert_array_equal(hard, want)
    # Zeros and ones exactly, though a softmax was added and taken away.
    np.testing.assert_array_equal(weights, want.astype('float32'))
    weights, hard = commformer.gumbel_topk(jnp.asarray(logits), k, key=KEY)
    np.testing.assert_array_equal(hard.sum(axis=-1), k)
    np.testing.assert_array_equal(weights, hard.astype('float32'))

  def test_equal_edges_lead_to_the_first_agents(self):
    _, hard = commformer.exact_topk(jnp.ones((4, 4)), 2)
    np.testing.assert_array_equal(hard, [[1, 1, 0, 0]] * 4)

  def test_gradient_is_that_of_a_softmax(self):
    logits = jnp.array([[0.3, -0.2, 0.5]])
    got = jax.jacobian(lambda x: commformer.exact_topk(x, 1)[0])(logits)
    p = np.asarray(jax.nn.softmax(logits[0]), np.float64)
    np.testing.assert_allclose(
      np.asarray(got)[0, :, 0], np.diag(p) - np.outer(p, p), atol=1e-6
    )
    cold = jax.jacobian(
      lambda x: commformer.exact_topk(x, 1, temperature=0.5)[0]
    )(logits)
    p = np.asarray(jax.nn.softmax(2 * logits[0]), np.float64)
    np.testing.assert_allclose(
      np.asarray(cold)[0, :, 0], 2 * (np.diag(p) - np.outer(p, p)), atol=1e-6
    )

  def test_one_edge_follows_the_softmax(self):
    hard, p = drawn(1)
    found = scipy.stats.chisquare(hard.sum(axis=0), DRAWS * p)
    self.assertGreater(found.pvalue, 1e-3)

  def test_two_edges_follow_plackett_and_luce(self):
    hard, p = drawn(2)
    pairs = list(itertools.combinations(range(4), 2))
    law = [
      p[i] * p[j] / (1 - p[i]) + p[j] * p[i] / (1 - p[j]) for i, j in pairs
    ]
    self.assertAlmostEqual(sum(law), 1.0)
    count = [int((hard[:, i] & hard[:, j]).sum()) for i, j in pairs]
    found = scipy.stats.chisquare(count, DRAWS * np.array(law))
    self.assertGreater(found.pvalue, 1e-3)

  def test_equal_edges_are_equally_likely(self):
    rows = jnp.zeros((DRAWS, 5))
    _, hard = jax.jit(lambda: commformer.gumbel_topk(rows, 2, key=KEY))()
    rate = np.asarray(hard).mean(axis=0)
    # Five deviations of a mean.
    np.testing.assert_allclose(
      rate, 0.4, atol=5 * np.sqrt(0.4 * 0.6 / DRAWS), rtol=0
    )

  def test_refuses(self):
    with self.assertRaisesRegex(ValueError, r'k=4 must not exceed 3 columns'):
      commformer.exact_topk(jnp.zeros((3, 3)), 4)
    with self.assertRaisesRegex(ValueError, r'k must .* 0'):
      commformer.gumbel_topk(jnp.zeros((3, 3)), 0, key=KEY)
    with self.assertRaisesRegex(TypeError, 'logits must be an array'):
      commformer.exact_topk([[0.0]], 1)
    edges = jnp.zeros((3, 3))
    with self.assertRaisesRegex(ValueError, 'temperature must .* 0.0'):
      commformer.exact_topk(edges, 1, temperature=0.0)
    with self.assertRaisesRegex(ValueError, 'temperature must .* nan'):
      commformer.gumbel_topk(edges, 1, key=KEY, temperature=float('nan'))


class GraphTest(parameterized.TestCase):
  @parameterized.parameters(
    ('full', [[1, 1, 1], [1, 1, 1], [1, 1, 1]]),
    ('mat', [[1, 1, 1], [1, 1, 1], [1, 1, 1]]),
    ('self', [[1, 0, 0], [0, 1, 0], [0, 0, 1]]),
    ('random(seed=0, num_edges=2)', [[0, 1, 1], [1, 0, 1], [1, 1, 0]]),
    ('random(seed=0, num_edges=3)', [[1, 1, 1], [1, 1, 1], [1, 1, 1]]),
  )
  def test_graphs_that_stay(self, spec, want):
    graph = commformer.GRAPHS.make(spec)
    np.testing.assert_array_equal(graph.fixed(3), np.array(want, bool))

  def test_random_graphs_are_those_of_their_seed(self):
    make = lambda seed: commformer.GRAPHS.make(
      f'random(seed={seed}, num_edges=2)'
    ).fixed(12)
    np.testing.assert_array_equal(make(3), make(3))
    self.assertFalse(np.array_equal(make(3), make(4)))
    many = np.stack([make(seed) for seed in range(400)])
    self.assertFalse(np.diagonal(many, axis1=1, axis2=2).any())
    rate = many.mean(axis=0)[~np.eye(12, dtype=bool)]
    spread = np.sqrt(2 / 11 * 9 / 11 / 400)
    np.testing.assert_array_less(np.abs(rate - 2 / 11), 5 * spread)

  def test_only_mat_has_no_embeddings(self):
    has = {
      name: commformer.GRAPHS.make(spec).relation
      for name, spec in (
        ('mat', 'mat'),
        ('full', 'full'),
        ('learned', 'learned'),
      )
    }
    self.assertEqual(has, {'mat': False, 'full': True, 'learned': True})

  @parameterized.parameters(
    ('learned(sparsity=0.0)', r'sparsity must lie in \(0.0, 1.0\]; got 0.0'),
    ('learned(sparsity=1.5)', r'sparsity must lie in \(0.0, 1.0\]; got 1.5'),
    ('random(seed=0, sparsity=-1)', r'sparsity must lie in'),
    ('random', "needs the option 'seed'"),
    ('learned(temperature=0.0)', r'temperature must lie in \(0.0'),
    ('learned(rollout=noisy)', "rollout='noisy'"),
    ('learned(num_edges=0)', 'num_edges'),
    ('learned(warmup=-1)', 'warmup must lie in'),
    ('learned(every=0)', 'every'),
    ('learned(post_ratio=2.0)', 'post_ratio must lie in'),
    ('learn', "Did you mean 'learned'"),
    ('full(sparsity=0.4)', "no option 'sparsity'"),
  )
  def test_refuses(self, spec, message):
    with self.assertRaisesRegex(ValueError, message):
      commformer.GRAPHS.make(spec)
      commformer.GRAPHS.check(spec)

  def test_refuses_more_edges_than_agents(self):
    graph = commformer.GRAPHS.make('learned(num_edges=4)')
    with self.assertRaisesRegex(ValueError, 'num_edges=4 .* 3 agents'):
      graph.degree(3)
    with self.assertRaisesRegex(ValueError, 'num_agents'):
      commformer.edges_of(0, 0.4)


if __name__ == '__main__':
  absltest.main()
