# SPDX-License-Identifier: Apache-2.0
"""Trained networks of agents: what they learn, and what they may know."""

import functools

import jax
import jax.numpy as jnp
import networkx
import numpy as np
from absl.testing import absltest, parameterized

from jaxdl import graphs as graphs_lib
from jaxdl.language import agentsnet
from jaxdl.language.agentsnet import _learned

KEY = jax.random.key(0)


@functools.cache
def training():
  return agentsnet.training_graphs(2, sizes=(6,))


@functools.cache
def trained(task):
  return agentsnet.train_solver(
    task, key=KEY, batch=training(), num_steps=200, width=12, learning_rate=0.01
  )


class LearnedTest(parameterized.TestCase):
  def test_graphs_side_by_side_are_the_same_graphs(self):
    some = [agentsnet.make_graph('ba', n, 3) for n in (4, 7)]
    batch = agentsnet.batch_graphs(some, pad_nodes=8)
    found = graphs_lib.to_networkx(_learned._side_by_side(batch))
    want = networkx.Graph()
    want.add_nodes_from(range(16))
    want.add_edges_from(some[0].edges)
    want.add_edges_from((8 + a, 8 + b) for a, b in some[1].edges)
    self.assertTrue(networkx.utils.graphs_equal(found, want))

  @parameterized.parameters('coloring', 'vertex_cover', 'matching')
  def test_beats_random_answers(self, task):
    solver = trained(task)
    self.assertLess(solver.losses[-10:].mean(), 0.9 * solver.losses[:3].mean())
    batch = agentsnet.training_graphs(1, sizes=(7,))
    keys = jax.random.split(KEY, 10)
    score = lambda s: agentsnet.score(
      task, batch, agentsnet.run_sync(s, task, batch, key=keys)
    ).mean()
    self.assertGreater(score(solver), score('random') + 0.03)

  def test_what_is_learned_of_flooding(self):
    batch = training()
    for task in ('leader_election', 'consensus'):
      want = agentsnet.run_sync('flooding', task, batch, key=KEY)
      got = _learned._flooded(task, batch, KEY)
      there = np.asarray(batch.node_mask)
      np.testing.assert_array_equal(
        np.asarray(got)[there], np.asarray(want)[there]
      )

  def test_losses_are_least_where_scores_are_best(self):
    # Logits in place of a network: sure of right answers, or of wrong ones.
    graph = agentsnet.named(networkx.path_graph(4))
    batch = agentsnet.batch_graphs([graph])
    sure = lambda codes, k: 20.0 * jax.nn.one_hot(jnp.array([codes]), k)
    yes = lambda codes: 20.0 * (2 * jnp.array([codes])[..., None] - 1.0)
    cases = {
      # Slots are (1), (0, 2), (1, 3), (2); the last is nobody.
      'matching': [sure(c, 3) for c in ((0, 0, 1, 0), (0, 1, 0, 0))],
      'coloring': [sure(c, 8) for c in ((0, 1, 0, 1), (0, 0, 1, 1))],
      'vertex_cover': [yes(c) for c in ((0, 1, 1, 0), (1, 1, 1, 0))],
    }
    for task, (good, bad) in cases.items():
      losses = [_learned.loss_of(task, x, batch, KEY) for x in (good, bad)]
      self.assertLess(losses[0], 0.01)
      self.assertGreater(losses[1], 0.5)

  def test_nothing_travels_further_than_messages(self):
    # A rank changes at one end: nodes further than R away must not notice.
    graph = agentsnet.named(
      networkx.path_graph(6), ['Ada', 'Ben', 'Cora', 'Dag', 'Eva', 'Finn']
    )
    other = agentsnet.named(
      networkx.path_graph(6), ['Zoe', 'Ben', 'Cora', 'Dag', 'Eva', 'Finn']
    )
    for task in ('vertex_cover', 'matching'):
      solver = trained(task)
      logits = [
        np.asarray(
          _learned._logits(
            *(solver.params, task, 2, _learned._side_by_side(batch)),
            *(batch, jnp.array([2]), KEY),
          )
        )[0]
        for batch in map(agentsnet.batch_graphs, ([graph], [other]))
      ]
      differ = logits[0] != logits[1]
      np.testing.assert_array_equal(differ[3:].any(axis=-1), False)
      self.assertTrue(differ[:3].any())

  @parameterized.parameters('coloring', 'matching')
  def test_padding_does_not_matter(self, task):
    some = [agentsnet.make_graph('ba', n, 3) for n in (5, 7)]
    run = lambda batch: np.asarray(
      agentsnet.run_solver(trained(task), batch, key=KEY, rounds=3)
    )
    plain = run(agentsnet.batch_graphs(some))
    wide = run(agentsnet.batch_graphs(some, pad_nodes=9, pad_degree=8))
    np.testing.assert_array_equal(plain, wide[:, :7])
    np.testing.assert_array_equal(wide[:, 7:], -1)

  def test_takes_its_place_among_algorithms(self):
    solver, batch = trained('coloring'), training()
    keys = jax.random.split(KEY, 2)
    found = agentsnet.run_sync(solver, 'coloring', batch, key=keys)
    self.assertEqual(found.shape, (2, *batch.node_mask.shape))
    one = agentsnet.run_solver(solver, batch, key=keys[1])
    np.testing.assert_array_equal(found[1], one)
    with self.assertRaisesRegex(ValueError, "for task='coloring'; got 'match"):
      agentsnet.run_sync(solver, 'matching', batch, key=KEY)

  @parameterized.parameters(
    ({'num_steps': 0}, 'num_steps must be at least 1; got 0'),
    ({'width': 0}, 'width must be at least 1; got 0'),
    ({'learning_rate': 0.0}, 'learning_rate must be above 0|learning_rate'),
    ({'task': 'sorting'}, "task='sorting' is unknown"),
  )
  def test_says_what_is_wrong(self, options, message):
    options = {'task': 'coloring', 'key': KEY, 'batch': training(), **options}
    with self.assertRaisesRegex(ValueError, message):
      agentsnet.train_solver(**options)
    with self.assertRaisesRegex(TypeError, 'solver must be what train_solver'):
      agentsnet.run_solver('flooding', training(), key=KEY)


if __name__ == '__main__':
  absltest.main()
