# SPDX-License-Identifier: Apache-2.0
"""The binary of pruning as a game."""

import functools
import pathlib
import tempfile

import jax
import numpy as np
from absl.testing import absltest, parameterized

from experiments import pruning_game
from jaxdl import pruning

METHODS = (
  'game(benefit=20.0, l1=0.5, rate=0.1)',
  'one_shot(keep=(2, 3), at=8)',
  'dense',
)


def config_of(**options):
  small = {
    'methods': METHODS,
    'network': 'mlp((8, 6))',
    'num_rounds': 6,
    'steps': 4,
    'eval_every': 2,
    'batch_size': 32,
    'optimizer': 'adam(0.02)',
    'seeds': (0, 1),
  }
  return pruning_game.Config(**{**small, **options})


@functools.cache
def result():
  return pruning_game.run(config_of())


def rows_of(method, split='test'):
  return [
    r for r in result().rows if (r['variant'], r['split']) == (method, split)
  ]


class RunTest(parameterized.TestCase):
  def test_rows_say_what_the_gates_say(self):
    game, shot, dense = METHODS
    for method in METHODS:
      params = result().state[method].params
      for i, seed in enumerate((0, 1)):
        gates = jax.tree.map(lambda x, i=i: np.asarray(x[i]), params['gates'])
        flat = np.concatenate([gates['0'], gates['1']])
        (row,) = [
          r for r in rows_of(method) if (r['step'], r['seed']) == (6, seed)
        ]
        self.assertAlmostEqual(row['sparsity'], (flat < 0.01).mean(), places=6)
        self.assertEqual(row['kept'], (flat >= 0.01).sum())
        self.assertAlmostEqual(row['participation'], flat.mean(), places=5)
        self.assertEqual(row['iteration'], 24)
        a, b = ((gates[k] >= 0.01).sum() for k in ('0', '1'))
        want = 64 * a + a + a * b + b + b * 10 + 10
        self.assertEqual(row['parameters'], want)
        layers = {
          r['layer']: r['kept']
          for r in rows_of(method, 'layers')
          if r['seed'] == seed
        }
        self.assertEqual(layers, {'0': a, '1': b})
        bars = [
          r['share'] for r in rows_of(method, 'histogram') if r['seed'] == seed
        ]
        self.assertAlmostEqual(sum(bars), 1.0)
        self.assertLen(bars, pruning_game.BINS)
    self.assertEqual({r['kept'] for r in rows_of(dense)}, {14})
    late = {(r['step'], r['kept']) for r in rows_of(shot)}
    self.assertEqual(late, {(0, 14), (2, 5), (4, 5), (6, 5)})
    self.assertLess(max(r['kept'] for r in rows_of(game) if r['step'] == 6), 14)

  def test_methods_start_alike_and_dense_learns(self):
    first = {(r['seed'], r['loss']) for m in METHODS for r in rows_of(m)[:2]}
    self.assertLen(first, 2)
    self.assertLess(
      rows_of(METHODS[2])[-1]['loss'], rows_of(METHODS[2])[0]['loss']
    )

  def test_accuracy_is_that_of_what_is_left(self):
    config = config_of()
    problem = config.problem(num_clients=1, client_metrics=())
    params = jax.tree.map(lambda x: x[0], result().state[METHODS[0]].params)
    (row,) = [
      r for r in rows_of(METHODS[0]) if (r['step'], r['seed']) == (6, 0)
    ]
    small = pruning.compact(
      problem.network, params, problem.test['inputs'][0, :1]
    )
    correct = total = 0
    for i, real in enumerate(np.asarray(problem.test['mask'])):
      logits = small.network.apply(small.params, problem.test['inputs'][i])
      hit = np.argmax(logits, -1) == np.asarray(problem.test['labels'][i])
      correct, total = correct + hit[real].sum(), total + real.sum()
    self.assertAlmostEqual(row['accuracy'], correct / total, places=5)

  def test_pictures(self):
    with tempfile.TemporaryDirectory() as folder:
      drawn = pruning_game.draw(
        config_of(), result().rows, pathlib.Path(folder)
      )
      self.assertEqual(
        {p.stem for p in drawn},
        {'accuracy', 'sparsity', 'participation', 'layers', 'participations'},
      )

  def test_smoke_is_small(self):
    config = pruning_game.Config(methods=('game', *METHODS)).smoked()
    self.assertEqual(config, config.smoked())
    self.assertEqual(
      (config.num_rounds, config.steps, len(config.methods)), (3, 2, 3)
    )


class ConfigTest(parameterized.TestCase):
  @parameterized.parameters(
    ({'methods': ('game(l1=-0.1)',)}, r'game\(l1=-0.1\).*l1 must lie in'),
    ({'methods': ('game(alpha=1.0)',)}, "no option 'alpha'"),
    ({'methods': ('games',)}, "Did you mean 'game'"),
    ({'methods': ('dense', 'dense')}, 'methods must differ'),
    ({'threshold': 0.0}, r'threshold must lie in \(0.0, 1.0\)'),
    ({'threshold': 1.0}, r'threshold must lie in \(0.0, 1.0\)'),
    ({'start': 1.5}, r'start must lie in \(0.0, 1.0\]'),
    ({'granularity': 'layer'}, 'granularity'),
    ({'num_clients': 3}, 'num_clients=3 has no effect'),
  )
  def test_impossible_settings_are_refused_at_once(self, options, message):
    with self.assertRaisesRegex(ValueError, message):
      config_of(**options)

  @parameterized.parameters(
    ({'methods': ('one_shot(keep=(1, 2, 3))',)}, 'a number for each of the'),
    ({'methods': ('one_shot(keep=(9, 2))',)}, 'asks for 9 of the 8 players'),
    ({'granularity': 'filter'}, 'nothing can be gated'),
    ({'network': 'logistic_regression'}, 'nothing can be gated'),
  )
  def test_what_does_not_fit_the_network(self, options, message):
    with self.assertRaisesRegex(ValueError, message):
      pruning_game.build(config_of(**options))


if __name__ == '__main__':
  absltest.main()
