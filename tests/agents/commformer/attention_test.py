# SPDX-License-Identifier: Apache-2.0
"""Attention on a graph against float64 NumPy, pair by pair."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized
from reference import commformer as reference

from jaxdl.agents import commformer
from jaxdl.networks import functional

N, D = 4, 6
RNG = np.random.default_rng(0)
QUERY, KEYS = RNG.normal(size=(2, 3, N, D)).astype('float32')
TABLE = RNG.normal(size=(2, D)).astype('float32')
HARD = np.array([[1, 1, 0, 0], [0, 0, 1, 1], [1, 0, 0, 1], [0, 1, 1, 0]], bool)


@functools.cache
def params():
  leaves = commformer.attention_leaves(D, relation=True)
  drawn = functional.draw(jax.random.key(0), leaves, jnp.float32)
  # Larger than they start, biases too, so that all of them are seen.
  return jax.tree.map(
    lambda x: jnp.asarray(RNG.normal(size=x.shape) * 0.5, x.dtype), drawn
  )


def links(hard=HARD, weights=None):
  found = commformer.fixed_links(jnp.asarray(hard), jnp.float32)
  return found if weights is None else found._replace(weights=weights)


def attend(table=TABLE, graph=None, **options):
  return commformer.relation_attention(
    params(),
    jnp.asarray(QUERY),
    jnp.asarray(KEYS),
    links() if graph is None else graph,
    table=None if table is None else jnp.asarray(table),
    **options,
  )


class AttentionTest(parameterized.TestCase):
  @parameterized.parameters(
    ({},),
    ({'num_heads': 2},),
    ({'num_heads': 3, 'relation_scale': 'double'},),
    ({'transposed': True},),
    ({'causal': True, 'num_heads': 2},),
    ({'self_loop': 'add'},),
    ({'table': None},),
  )
  def test_equals_the_definition(self, options):
    weights = HARD.astype(float)
    if options.get('self_loop') == 'add':
      weights = weights + np.eye(N)
    else:
      weights = np.where(np.eye(N), 1.0, weights)
    got = attend(**options)
    for b in range(len(QUERY)):
      want = reference.attention(
        params(),
        QUERY[b].astype(np.float64),
        KEYS[b].astype(np.float64),
        weights,
        HARD,
        table=options.get('table', TABLE),
        heads=options.get('num_heads', 1),
        causal=options.get('causal', False),
        scale=options.get('relation_scale', 'sqrt'),
        transposed=options.get('transposed', False),
      )
      np.testing.assert_allclose(got[b], want, atol=3e-5)

  def test_real_weights_multiply_what_a_softmax_gives(self):
    raw = np.random.default_rng(1).uniform(0.5, 1.5, (N, N)).astype('float32')
    graph = links(np.ones((N, N), bool), jnp.asarray(raw))
    got = attend(graph=graph)
    weights = np.where(np.eye(N), 1.0, raw.astype(np.float64))
    want = reference.attention(
      params(),
      QUERY[0].astype(np.float64),
      KEYS[0].astype(np.float64),
      weights,
      np.ones((N, N)),
      table=TABLE,
    )
    np.testing.assert_allclose(got[0], want, atol=3e-5)

  def test_all_edges_are_plain_attention(self):
    q = functional.dense(params()['query'], jnp.asarray(QUERY))
    both = functional.dense(params()['key_value'], jnp.asarray(KEYS))
    k, v = jnp.split(both, 2, axis=-1)
    mixed = jax.nn.dot_product_attention(
      q[:, :, None], k[:, :, None], v[:, :, None]
    )[:, :, 0]
    want = functional.dense(params()['out'], mixed)
    everyone = links(np.ones((N, N), bool))
    got = attend(table=None, graph=everyone)
    np.testing.assert_allclose(got, want, atol=3e-5)

  def test_a_graph_for_each_game(self):
    many = np.stack([HARD, HARD.T, np.ones((N, N), bool)])
    got = attend(graph=links(many), causal=True, transposed=True)
    for b in range(3):
      one = attend(graph=links(many[b]), causal=True, transposed=True)
      np.testing.assert_allclose(got[b], one[b], atol=1e-6)

  def test_edges_have_a_gradient_by_the_product_alone(self):
    edges = jnp.asarray(RNG.normal(size=(N, N)), jnp.float32)

    def loss(edges, product):
      graph = commformer.exact_links(edges, 2, 1.0)
      return jnp.sum(attend(graph=graph, product=product) ** 2)

    slope = jax.grad(loss)
    self.assertGreater(np.abs(slope(edges, True)).max(), 1e-3)
    np.testing.assert_array_equal(slope(edges, False), 0.0)

  def test_who_is_not_linked_is_not_heard(self):
    slope = jax.jacobian(
      lambda keys: commformer.relation_attention(
        params(), jnp.asarray(QUERY), keys, links(), table=jnp.asarray(TABLE)
      ).sum(axis=-1)
    )(jnp.asarray(KEYS))
    heard = np.abs(np.asarray(slope)[0, :, 0]).max(axis=-1) > 1e-9
    np.testing.assert_array_equal(heard, HARD | np.eye(N, dtype=bool))

  @parameterized.parameters(
    ({'num_heads': 4}, 'dim=6 must be divisible by num_heads=4'),
    ({'self_loop': 'no'}, "self_loop='no'"),
    ({'relation_scale': 'one'}, "relation_scale='one'"),
  )
  def test_refuses(self, options, message):
    with self.assertRaisesRegex(ValueError, message):
      attend(**options)


if __name__ == '__main__':
  absltest.main()
