# SPDX-License-Identifier: Apache-2.0
"""Comparisons of solvers: what rows hold, and what is made of them."""

from unittest import mock

import jax
import jax.numpy as jnp
import networkx
import numpy as np
from absl.testing import absltest, parameterized

from jaxdl.language.agentsnet import _batch, _graphs, _learned, _tasks
from jaxdl.language.agentsnet.comparison import (
  _comparison,
  _methods,
  _report,
)


def row(score, **labels):
  labels = {'family': 'ws', 'sample': 1, 'seed': 0, 'num_nodes': 4} | labels
  return {
    'split': 'test',
    'variant': 'a',
    'task': 'coloring',
    'score': score,
    'solved': float(score == 1),
    **labels,
  }


class TableTest(absltest.TestCase):
  def test_seeds_are_averaged_before_errors_are_taken(self):
    # Networks of means .5 and 1: error sqrt(.125) / sqrt(2) = .25.
    rows = [
      *(row(0.25), row(0.75, seed=1)),
      *(row(1.0, sample=2), row(1.0, sample=2, seed=1)),
    ]
    (line,) = _report.table(rows)[1]
    self.assertEqual(
      line, ('a', '4', '0.750 ± 0.250, 50% solved', '0.750', '-')
    )

  def test_all_tasks_count_alike_and_gaps_are_seen(self):
    rows = [
      *(row(1.0), row(0.0, task='matching'), row(0.0, task='matching', seed=1)),
      row(1.0, variant='b'),
    ]
    columns, (first, second) = _report.table(rows)
    self.assertEqual(columns[2:5], ['coloring', 'matching', 'all tasks'])
    self.assertEqual(first[4], '0.500')
    self.assertEqual(second[3:5], ('-', '-'))

  def test_sizes_have_lines_of_their_own(self):
    rows = [row(1.0), row(0.5, num_nodes=8), row(0.25, num_nodes=8, sample=2)]
    self.assertEqual(
      [line[:3] for line in _report.table(rows)[1]],
      [
        ('a', '4', '1.000, 100% solved'),
        ('a', '8', '0.375 ± 0.125, 0% solved'),
      ],
    )

  def test_tokens_stops_and_scripts_are_said(self):
    spent = {'tokens': 10, 'scripted': 1}
    left = row(0.0, sample=2) | {'stopped': 1}
    del left['score'], left['solved']
    (line,) = _report.table([row(1.0) | spent, left | spent])[1]
    self.assertEqual(line[2], '1.000, 100% solved, 1 stopped')
    self.assertEqual(line[-1], '20 (scripted)')

  def test_lost_questions_are_said(self):
    (line,) = _report.table([row(0.0, lost=2), row(0.0, sample=2, lost=1)])[1]
    self.assertEqual(line[2], '0.000 ± 0.000, 0% solved, 3 questions lost')


class ComparisonTest(parameterized.TestCase):
  def test_rows_of_a_round_wait_for_the_next_evaluation(self):
    samples = _comparison.sample_graphs(('ring',), (4,), 3)
    compared = _comparison.Comparison(
      {'constant': _methods.constant()},
      ('consensus',),
      samples,
      seeds=(0, 1),
      eval_every=2,
    )
    state, seen = compared.init(), []
    for number in (1, 2, 3):
      state, _ = compared.step(state, number)
      if number != 1:
        found = compared.rows(state, {}, number)
        seen.append([(r['sample'], r['seed']) for r in found])
    self.assertEqual(seen, [[(1, 0), (1, 1), (2, 0), (2, 1)], [(3, 0), (3, 1)]])

  def test_trained_networks_stand_next_to_algorithms(self):
    batch = _batch.batch_graphs([_graphs.make_graph('ring', 4, 0)])
    methods = {
      spec: _methods.SOLVERS.make(spec)
      for spec in ('learned(num_steps=1, width=2)', 'constant')
    }
    compared = _comparison.Comparison(
      methods,
      ('vertex_cover',),
      _comparison.sample_graphs(('ring',), (4,), 1),
      rounds=2,
    )
    small = mock.patch.object(_learned, 'training_graphs', return_value=batch)
    with small:
      state, _ = compared.step(compared.init(), 1)
    first, second = compared.rows(state, {}, 1)
    self.assertBetween(first['score'], 0.0, 1.0)
    self.assertEqual((first['variant'], second['score']), (list(methods)[0], 0))

  def test_networks_have_the_seeds_of_the_benchmark_and_names_of_their_own(
    self,
  ):
    samples = _comparison.sample_graphs(('ws', 'ba'), (4, 8), 2)
    graphs = [graph for sample in samples for graph in sample]
    self.assertEqual([len(g) for g in samples[0]], [4, 4, 8, 8])
    self.assertEqual([g.graph['seed'] for g in graphs], [1825] * 4 + [410] * 4)
    self.assertLen({_graphs.names_of(g) for g in graphs}, 8)
    self.assertTrue(networkx.is_frozen(graphs[0]))

  def test_models_need_a_connection(self):
    compared = _comparison.Comparison(
      {'llm': _methods.llm('m')},
      ('consensus',),
      _comparison.sample_graphs(('ring',), (4,), 1),
    )
    with self.assertRaisesRegex(ValueError, "'llm' asks models: connect"):
      compared.step(compared.init(), 1)

  def test_nobody_is_asked_once_all_is_spent(self):
    compared = _comparison.Comparison(
      {'llm': _methods.llm('m')},
      ('consensus', 'matching'),
      _comparison.sample_graphs(('ring',), (4,), 2),
      seeds=(0, 1),
      budget_tokens=10,
    )
    state, _ = compared.step(compared.init() | {'tokens': 10}, 2)
    found = compared.rows(state, {}, 2)
    self.assertEqual(
      [(r['task'], r['seed'], r['sample'], r['stopped']) for r in found],
      [(t, s, 2, 1) for t in ('consensus', 'matching') for s in (0, 1)],
    )
    self.assertEqual(
      {(r['family'], 'score' in r) for r in found}, {('ring', 0)}
    )

  @parameterized.parameters(
    ({'model': ''}, "must be the name of a model, or several; got ''"),
    ({'model': ()}, 'must be the name of a model, or several; got ()'),
    ({'model': ('m', '')}, 'must be the name of a model, or several'),
    ({'model': 'm', 'temperature': -1}, 'temperature must lie in'),
    ({'model': 'm', 'max_tokens': 0}, 'max_tokens must be at least 1; got 0'),
    ({'model': 'm', 'chain_of_thought': 1}, 'must be True or False'),
  )
  def test_wrong_models_are_refused(self, options, want):
    with self.assertRaisesRegex((ValueError, TypeError), want):
      _methods.llm(**options)

  def test_who_solves_everything_has_a_score_of_one(self):
    # A quotient that is made a product misses 1 on some of these sizes.
    for n in (41, 47, 55):
      batch = _batch.batch_graphs([_graphs.make_graph('ring', n, 0)])
      colors = jnp.arange(n) % 2
      colors = colors.at[-1].set(2)
      many = jnp.broadcast_to(colors, (3, 1, n))
      found = jax.jit(lambda b, x: _tasks.score('coloring', b, x))(batch, many)
      np.testing.assert_array_equal(found, np.ones((3, 1)))


if __name__ == '__main__':
  absltest.main()
