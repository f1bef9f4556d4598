# SPDX-License-Identifier: Apache-2.0
"""The binary of learners in games."""

import functools
import pathlib
import tempfile

import jax
import numpy as np
from absl import flags
from absl.testing import absltest, parameterized

from experiments import marl_baselines
from jaxdl import agents
from jaxdl.experiment import _flags

PRESETS = (
  pathlib.Path(__file__).parents[2] / 'experiments/presets/marl_baselines'
)
SMALL = (
  'num_envs=2, num_steps=4, num_epochs=1, num_minibatches=1, hidden_sizes=(4,)'
)
VALUES = 'num_envs=2, num_steps=4, hidden_sizes=(4,)'
GRAPH = f'graph({SMALL}, communication=graph(num_edges=1))'
NETWORK = f'networked(learner=ippo({SMALL}), num_byzantine=1)@complete'


def config_of(**options):
  small = {
    'game': 'iterated_dilemma(rounds=4)',
    'algorithms': (GRAPH, NETWORK),
    'num_rounds': 2,
    'round_steps': 16,
    'num_episodes': 4,
    'seeds': (0, 1),
    'one_by_one': True,
  }
  return marl_baselines.Config(**{**small, **options})


@functools.cache
def result():
  return marl_baselines.run(config_of())


def rows_of(split, variant):
  return [
    r for r in result().rows if (r['split'], r['variant']) == (split, variant)
  ]


class RunTest(parameterized.TestCase):
  def test_everybody_plays_the_same_number_of_steps(self):
    for spec in (GRAPH, NETWORK):
      steps = {(r['step'], r['env_steps']) for r in rows_of('test', spec)}
      self.assertEqual(steps, {(0, 0.0), (1, 16.0), (2, 32.0)})
    self.assertEqual(int(result().state[GRAPH].num_updates[0]), 4)

  def test_learned_graphs_are_shown(self):
    links = rows_of('graph', GRAPH)
    self.assertLen(links, 3 * 4)
    for r in links:
      self.assertEqual(r['link'], float(r['receiver'] != r['sender']))
    # Two that hear each other and themselves mix at once.
    gaps = [r['graph_gap'] for r in rows_of('test', GRAPH)]
    np.testing.assert_allclose(gaps, 1.0, atol=1e-6)
    self.assertEqual({r['links'] for r in rows_of('test', GRAPH)}, {2.0})

  def test_only_the_honest_count(self):
    env = agents.make_game(config_of().game)
    learner = agents.make_learner(NETWORK, env, num_updates=1)
    self.assertEqual(learner.num_honest, 1)
    for r in rows_of('train', NETWORK):
      self.assertEqual(r['messages'], 2.0)
    # What the first earns is what is tested, not the mean of both.
    params = result().state[NETWORK].learner.params
    own = jax.tree.map(lambda x: x[1], params)
    key = jax.random.fold_in(jax.random.key(1), 0x7E57)
    played = agents.play_episodes(
      env, learner.policy, own, key=key, num_episodes=4
    )
    (row,) = [
      r for r in rows_of('test', NETWORK) if (r['step'], r['seed']) == (2, 1)
    ]
    want = float(played['returns'][:, 0].mean())
    self.assertAlmostEqual(row['return'], want, places=4)

  def test_rates_by_context(self):
    rows = rows_of('contexts', NETWORK)
    self.assertLen(rows, 10)
    self.assertEqual(
      {r['context'] for r in rows}, {'start', 'CC', 'CD', 'DC', 'DD'}
    )
    # 64 games of 64 steps in episodes of 4, two agents.
    starts = [r['count'] for r in rows if r['context'] == 'start']
    self.assertEqual(starts, [64 * 16, 64 * 16])
    self.assertTrue(all(0 <= r['cooperation'] <= 1 for r in rows))

  def test_saliency_needs_messages(self):
    own = {(r['receiver'], r['sender']): r['saliency']
           for r in rows_of('saliency', NETWORK)}  # fmt: skip
    self.assertEqual(own[0, 1], 0.0)
    self.assertGreater(own[0, 0], 0.0)
    heard = {(r['receiver'], r['sender']): r['saliency']
             for r in rows_of('saliency', GRAPH)}  # fmt: skip
    self.assertGreater(heard[0, 1], 0.0)

  def test_pictures(self):
    with tempfile.TemporaryDirectory() as folder:
      drawn = marl_baselines.draw(
        config_of(), result().rows, pathlib.Path(folder)
      )
      names = {p.name for p in drawn}
    self.assertGreaterEqual(
      names,
      {'return.png', 'greedy_return.png', 'contexts.png', 'saliency.png',
       'graph.png', 'graph_gap.png', 'links.png', 'cooperation.png'},
    )  # fmt: skip

  def test_smoke_is_small(self):
    config = marl_baselines.Config().smoked()
    self.assertEqual(config, config.smoked())
    self.assertEqual((config.num_rounds, config.round_steps), (2, 2048))


class ConfigTest(parameterized.TestCase):
  @parameterized.parameters(
    ({'game': 'simple_sprad'}, "Did you mean 'simple_spread'"),
    ({'game': 'simple_spread(num_agents=0)'}, 'num_agents must'),
    ({'algorithms': ('ipo',)}, "Did you mean 'ippo'"),
    ({'algorithms': ('ippo', 'ippo')}, 'algorithms must differ'),
    ({'algorithms': ('networked',)}, 'is on nothing'),
    ({'round_steps': 0}, 'round_steps must'),
    ({'chunk': 3}, '--chunk=3 must divide --num_episodes=4'),
  )
  def test_impossible_settings_are_refused_at_once(self, options, message):
    with self.assertRaisesRegex(ValueError, message):
      config_of(**options)

  @parameterized.parameters(
    ({'algorithms': ('ippo(num_minibatches=7)',)}, 'must divide'),
    ({'game': 'sum_guess', 'algorithms': ('qmix',)}, 'needs a game with a'),
    (
      {'algorithms': (f'qmix(embedding=0, {VALUES})',)},
      'algorithms=qmix.*embedding must',
    ),
  )
  def test_what_does_not_fit_the_game(self, options, message):
    with self.assertRaisesRegex(ValueError, message):
      marl_baselines.run(config_of(**options))

  def test_presets_make_learners(self):
    for preset in sorted(PRESETS.glob('*.flags')):
      lines = preset.read_text().splitlines()
      values = flags.FlagValues()
      _flags.define_flags(marl_baselines.Config, values)
      values(['binary', *(x for x in lines if x and not x.startswith('#'))])
      config = _flags.from_flags(marl_baselines.Config, values)
      env = agents.make_game(config.game)
      for spec in config.algorithms:
        agents.make_learner(spec, env, num_updates=10)

  def test_a_run_that_diverges_stops(self):
    wild = f'ippo({SMALL}, max_grad_norm=None, optimizer=sgd(1e30))'
    with self.assertRaisesRegex(FloatingPointError, 'ippo.*diverged.*update'):
      marl_baselines.run(config_of(algorithms=(wild,), seeds=(0,)))


if __name__ == '__main__':
  absltest.main()
