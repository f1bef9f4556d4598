# SPDX-License-Identifier: Apache-2.0
"""Encoder and predictor together: removal of targets, rates, epochs."""

import functools

import jax
import jax.numpy as jnp
import networkx
import numpy as np
import optax
from absl.testing import absltest, parameterized

from jaxdl import federated, graphs
from jaxdl.core import types
from jaxdl.graphs import links

KEY = jax.random.key(0)
WHOLE = networkx.gnp_random_graph(20, 0.25, seed=2)


def parts(edges, dense=True):
  graph = graphs.make_graph(edges, 20, pad_nodes=24, pad_edges=128)
  return links.adjacency(graph, dense=dense)


def features():
  x = np.full((24, 3), np.nan, np.float32)
  x[:20] = np.random.default_rng(0).normal(size=(20, 3))
  return jnp.asarray(x)


class TaskTest(parameterized.TestCase):
  @parameterized.product(spec=['ncn', 'ncnc(prior=0.3)'], dense=[True, False])
  def test_a_batch_is_scored_as_if_its_links_were_never_there(
    self, spec, dense
  ):
    edges = np.array(WHOLE.edges)
    batch, rest = edges[:6, ::-1], edges[6:]
    negative = np.array(list(networkx.non_edges(WHOLE))[:6])
    x = features()
    task = links.link_task('mpnn(4)', spec, parts(edges, dense), x)
    params = jax.jit(task.init)(KEY)
    got = jax.jit(task.loss)(
      params,
      {'positive': jnp.asarray(batch), 'negative': jnp.asarray(negative)},
    )
    encoder = links.make_encoder('mpnn(4)')
    predictor = links.make_predictor(spec)
    run = jax.jit(functools.partial(links.link_scores, encoder, predictor))
    score = lambda pairs: run(params, parts(rest, dense), x, jnp.asarray(pairs))
    want = links.link_loss(score(batch), score(negative))
    self.assertAlmostEqual(float(got), float(want), places=6)
    kept = links.link_task(
      'mpnn(4)', spec, parts(edges, dense), x, remove_targets=False
    )
    other = jax.jit(kept.loss)(
      params,
      {'positive': jnp.asarray(batch), 'negative': jnp.asarray(negative)},
    )
    self.assertGreater(abs(float(other) - float(got)), 1e-4)

  def test_masked_links_stay_in_the_graph_and_do_not_count(self):
    edges = np.array(WHOLE.edges)
    task = links.link_task('mpnn(4)', 'ncn', parts(edges), features())
    params = jax.jit(task.init)(KEY)
    pairs = jnp.asarray(edges[:4])
    negative = jnp.array([(0, 1), (1, 2), (2, 3), (3, 4)])
    few = jax.jit(task.loss)(
      params, {'positive': pairs[:2], 'negative': negative[:2]}
    )
    many = jax.jit(task.loss)(
      params,
      {
        'positive': pairs,
        'negative': negative,
        'mask': jnp.array([True, True, False, False]),
      },
    )
    self.assertAlmostEqual(float(few), float(many), places=6)

  def test_evaluation_sees_the_whole_graph(self):
    edges = np.array(WHOLE.edges)
    found, x = parts(edges), features()
    task = links.link_task('mpnn(4)', 'aa', found, x)
    self.assertEqual(jax.tree.leaves(task.init(KEY)), [])
    negative = np.array(list(networkx.non_edges(WHOLE))[:30])
    got = task.evaluate(
      {'encoder': {}, 'predictor': {}},
      {'positive': jnp.asarray(edges[:30]), 'negative': jnp.asarray(negative)},
    )
    index = lambda pairs: np.array(
      [s for *_, s in networkx.adamic_adar_index(WHOLE, pairs.tolist())]
    )
    up, down = index(edges[:30])[:, None], index(negative)[None]
    want = np.mean((up > down + 1e-9) + (abs(up - down) < 1e-9) / 2)
    self.assertAlmostEqual(float(got['auc']), want, places=5)

  def test_scores_in_parts_are_those_of_all(self):
    edges = np.array(WHOLE.edges)
    found, x = parts(edges), features()
    networks = links.mpnn(4), links.ncn()
    params = jax.jit(links.link_task(*networks, found, x).init)(KEY)
    pairs = jnp.asarray(edges[:11])
    whole = links.link_scores(*networks, params, found, x, pairs)
    some = links.link_scores(*networks, params, found, x, pairs, batch_size=4)
    np.testing.assert_allclose(some, whole, atol=1e-6)

  def test_features_must_be_numbers(self):
    graph = graphs.make_graph([(0, 1)], 3, pad_nodes=4)
    bad = np.zeros((4, 2))
    bad[3] = np.nan  # Padding does not matter.
    links.check_finite(bad, graph)
    bad[2, 1] = np.inf
    with self.assertRaisesRegex(ValueError, r'x\[2\] of node 2 is not finite'):
      links.check_finite(bad, graph)
    with self.assertRaisesRegex(ValueError, 'a row for each of 24 nodes'):
      links.link_task('mpnn', 'ncn', parts([(0, 1)]), jnp.ones((20, 2)))

  def test_encoder_and_predictor_have_rates_of_their_own(self):
    found, x = parts(np.array(WHOLE.edges)), features()
    task = links.link_task('mpnn(4)', 'ncn', found, x)
    params = jax.jit(task.init)(KEY)
    batch = {
      'positive': jnp.asarray(np.array(WHOLE.edges)[:6]),
      'negative': jnp.array([(0, 1)] * 6),
    }
    grads = jax.jit(jax.grad(task.loss))(params, batch)
    optimizer = links.two_rates(optax.sgd(0.1), optax.sgd(3.0))
    updates, _ = optimizer.update(grads, optimizer.init(params), params)
    for name, rate in (('encoder', 0.1), ('predictor', 3.0)):
      jax.tree.map(
        lambda u, g, rate=rate: np.testing.assert_allclose(
          u, -rate * g, rtol=1e-6
        ),
        updates[name],
        grads[name],
      )
    total = sum(float(jnp.abs(g).sum()) for g in jax.tree.leaves(grads))
    self.assertGreater(total, 0.01)

  def test_an_epoch_is_its_steps_one_after_the_other(self):
    task = types.Task(
      lambda key: jnp.zeros(2),
      lambda w, batch, *, key=None: jnp.sum(
        (w - batch['x'].mean(axis=0) - batch['shift'][0]) ** 2
      ),
      lambda w, batch: {},
    )
    plain = federated.centralized_sgd(task, optimizer=optax.sgd(0.2))
    run = links.over_batches(plain)
    x = jax.random.normal(KEY, (1, 3, 5, 2))
    cohort = types.Cohort(
      client_ids=jnp.arange(1),
      data={'batches': {'x': x}, 'shift': jnp.ones((1, 1))},
      mask=jnp.ones(1, bool),
      weights=jnp.ones(1),
    )
    state, metrics = jax.jit(run.step)(run.init(KEY), cohort, key=KEY)
    w, losses = np.zeros(2), []
    for t in range(3):
      gap = w - np.asarray(x[0, t]).mean(axis=0) - 1
      losses.append((gap**2).sum())
      w = w - 0.4 * gap
    np.testing.assert_allclose(run.params(state), w, rtol=1e-5)
    self.assertAlmostEqual(float(metrics['loss']), np.mean(losses), places=5)

  def test_one_program_for_all_batches(self):
    found, x = parts(np.array(WHOLE.edges)), features()
    task = links.link_task('mpnn(4)', 'ncn', found, x)
    traces = []

    @jax.jit
    def loss(params, batch):
      traces.append(1)
      return task.loss(params, batch)

    params, edges = task.init(KEY), jnp.asarray(np.array(WHOLE.edges))
    for k in range(3):
      value = loss(
        params, {'positive': edges[k : k + 5], 'negative': edges[:5, ::-1]}
      )
      self.assertTrue(jnp.isfinite(value))
    self.assertLen(traces, 1)


if __name__ == '__main__':
  absltest.main()
