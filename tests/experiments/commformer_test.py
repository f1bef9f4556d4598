# SPDX-License-Identifier: Apache-2.0
"""The binary of agents on a learned graph."""

import functools
import pathlib
import tempfile

import jax
import numpy as np
from absl.testing import absltest, parameterized

from experiments import commformer
from jaxdl import agents
from jaxdl.agents import commformer as library

LEARNED = 'learned(num_edges=1, warmup=1, learning_rate=0.05)'
VARIANTS = (LEARNED, 'random(seed=0, num_edges=1)')


def config_of(**options):
  small = {
    'variants': VARIANTS,
    'game': 'routing(num_agents=3, num_symbols=2)',
    'network': 'former(dim=4, autoregressive=False)',
    'learner': 'ppo(adam(0.01), num_envs=8, num_steps=2, num_epochs=5)',
    'num_rounds': 4,
    'steps': 2,
    'eval_every': 2,
    'num_episodes': 4,
    'modes': ('greedy',),
    'seeds': (0, 1),
  }
  return commformer.Config(**{**small, **options})


@functools.cache
def result():
  return commformer.run(config_of())


def rows_of(variant, split='test'):
  return [
    r for r in result().rows if (r['variant'], r['split']) == (variant, split)
  ]


class RunTest(parameterized.TestCase):
  def test_graphs_in_rows_are_those_of_the_state(self):
    for name in VARIANTS:
      edges = np.asarray(result().state[name].params['edges'])
      for i, seed in enumerate((0, 1)):
        times, hard = commformer.learned_graph(result().rows, name, seed)
        _, raw = commformer.learned_graph(result().rows, name, seed, 'edge')
        self.assertEqual(times, [0, 2, 4] if name == LEARNED else [4])
        np.testing.assert_allclose(raw[-1], edges[i], atol=1e-6)
        np.testing.assert_array_equal(hard.sum(axis=-1), 1.0)
        want = np.eye(3)[edges[i].argmax(axis=-1)]
        np.testing.assert_array_equal(hard[-1], want)
        if name == LEARNED:
          # All ones at first: everybody hears the first.
          np.testing.assert_array_equal(hard[0], [[1, 0, 0]] * 3)

  def test_figures_of_graphs(self):
    (row,) = [r for r in rows_of(LEARNED) if (r['step'], r['seed']) == (0, 0)]
    w = np.array([[1, 0, 0], [0.5, 0.5, 0], [0.5, 0, 0.5]])
    self.assertAlmostEqual(row['second_eigenvalue'], 0.5)
    self.assertAlmostEqual(
      row['consensus_factor'], np.linalg.norm(w - 1 / 3, 2)
    )
    self.assertEqual(row['edges_moved'], 0.0)
    last = [r for r in rows_of(LEARNED) if r['step'] == 4]
    edges = np.asarray(result().state[LEARNED].params['edges'])
    for i, row in enumerate(last):
      moved = np.abs(edges[i] - 1).max()
      self.assertAlmostEqual(row['edges_moved'], moved, places=5)
      # Steps of Adam are about its rate at most; eight updates have one each.
      self.assertBetween(row['edges_moved'], 0.05, 0.05 * 8 * 1.3)
      self.assertEqual(row['env_steps'], 4 * 2 * 8 * 2)

  def test_messages_are_counted(self):
    (train,) = [
      r
      for r in rows_of('random(seed=0, num_edges=1)', 'train')
      if (r['step'], r['seed']) == (4, 0)
    ]
    self.assertEqual(train['step_links'], 3.0)
    self.assertEqual(train['step_edges'], 3.0)

  def test_accuracy_is_that_of_the_state(self):
    env = agents.make_game(config_of().game)
    made = library.make_former(LEARNED, env, network=config_of().network)
    params = jax.tree.map(lambda x: x[0], result().state[LEARNED].params)
    (row,) = [r for r in rows_of(LEARNED) if (r['step'], r['seed']) == (4, 0)]
    found = agents.play_episodes(
      env,
      made.policy,
      params,
      key=jax.random.fold_in(jax.random.key(0), 0x7E57),
      num_episodes=4,
      greedy=True,
    )
    self.assertAlmostEqual(
      row['greedy_accuracy'], float(found['accuracy'].mean()), places=6
    )

  def test_pictures(self):
    with tempfile.TemporaryDirectory() as folder:
      drawn = commformer.draw(config_of(), result().rows, pathlib.Path(folder))
      self.assertEqual(
        {p.stem for p in drawn},
        {
          *('greedy_return', 'greedy_length', 'greedy_accuracy', 'step_links'),
          *('edges_moved', 'second_eigenvalue', 'edges_0', 'graphs'),
        },
      )

  def test_what_is_no_number_stops_the_run(self):
    config = config_of(
      variants=('full',),
      learner='ppo(sgd(1e30), num_envs=2, num_steps=2, num_epochs=2, '
      'max_grad_norm=1e30)',
      num_rounds=2,
      steps=1,
      eval_every=1,
      seeds=(0,),
    )
    with self.assertRaisesRegex(
      FloatingPointError,
      r'full diverged: .* of update [12] is no finite number.*Last metrics',
    ):
      commformer.run(config)

  def test_edges_that_are_no_numbers_stop_the_run(self):
    experiment = commformer.build(config_of(num_rounds=1, steps=1))
    state = experiment.init()
    own = state[LEARNED]
    edges = own.params['edges'].at[1, 0, 2].set(np.nan)
    state[LEARNED] = own._replace(params=own.params | {'edges': edges})
    with self.assertRaisesRegex(
      FloatingPointError, r'edges_moved of update 0.*edges_moved=\[0.0, nan\]'
    ):
      experiment.rows(state, None, 0)

  def test_smoke_is_small(self):
    config = commformer.Config().smoked()
    self.assertEqual(config, config.smoked())
    self.assertEqual((config.num_rounds, len(config.variants)), (2, 1))
    self.assertEqual(library.LEARNERS.value(config.learner, 'num_envs'), 4)


class ConfigTest(parameterized.TestCase):
  @parameterized.parameters(
    ({'variants': ('learned(sparsity=2.0)',)}, r'sparsity must lie in'),
    ({'variants': ('learnt',)}, "Did you mean 'learned'"),
    ({'variants': ('random',)}, "needs the option 'seed'"),
    ({'variants': ('full', 'full')}, 'variants must differ'),
    ({'variants': ('full@former(dim=6, num_heads=4)',)}, 'dim=6 must be div'),
    ({'network': 'former(dims=3)'}, "no option 'dims'"),
    ({'learner': 'ppo(num_epochs=4)'}, 'num_epochs=4 never trains'),
    ({'learner': 'ppo(gamma=2.0)'}, 'gamma must lie in'),
    ({'game': 'routings'}, "Did you mean 'routing'"),
    ({'game': 'predator_prey(vision=5)'}, r'vision=5 must be below dim=5'),
    ({'modes': ('greedy', 'greedy')}, 'modes must differ'),
  )
  def test_impossible_settings_are_refused_at_once(self, options, message):
    with self.assertRaisesRegex(ValueError, message):
      config_of(**options)

  @parameterized.parameters(
    ({'learner': 'ppo(num_epochs=4)'}, "learner='ppo(num_epochs=4)': num_ep"),
    (
      {'game': 'predator_prey(vision=5)'},
      "game='predator_prey(vision=5)': vision",
    ),
    (
      {'network': 'former(dim=6, num_heads=4)', 'variants': ('full',)},
      '--variants=full --network=former(dim=6, num_heads=4): ',
    ),
  )
  def test_messages_begin_with_the_flag_once(self, options, start):
    with self.assertRaises(ValueError) as caught:
      config_of(**options)
    self.assertStartsWith(str(caught.exception), start)


if __name__ == '__main__':
  absltest.main()
