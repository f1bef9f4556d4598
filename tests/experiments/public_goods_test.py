# SPDX-License-Identifier: Apache-2.0
"""The binary of public goods games."""

import functools
import json
import os
import pathlib
import tempfile
from unittest import mock

import numpy as np
from absl.testing import absltest, parameterized

from experiments import public_goods as binary
from jaxdl import language
from jaxdl.experiment import config as config_lib
from jaxdl.language import loopback
from jaxdl.problems.games import texts

GAME = 'mac_spgg(num_agents=2, gamma=0.5, rho=1.0, kappa=1.0)'
LEARNER = f'ppo(num_games=32, hidden=4)@{GAME}'
SPNE = f'spne(num_levels=41)@{GAME}'
AT_ONCE = 'spne@pgg(num_agents=2, rho=1.0, kappa=1.0)'


def config_of(**options):
  small = {
    'variants': (SPNE, LEARNER, AT_ONCE),
    'num_rounds': 4,
    'steps': 3,
    'eval_every': 2,
    'num_states': 5,
    'num_levels': 21,
    'seeds': (0, 1),
  }
  return binary.Config(**{**small, **options})


@functools.cache
def result():
  return binary.run(config_of())


def rows_of(variant, split='test'):
  return [
    r for r in result().rows if (r['variant'], r['split']) == (variant, split)
  ]


class RunTest(parameterized.TestCase):
  def test_the_equilibrium_is_that_of_the_closed_form(self):
    for row in rows_of(SPNE):
      self.assertAlmostEqual(row['given_1'], 0.75, places=3)
      self.assertAlmostEqual(row['given_2'], 0.875, places=3)
      self.assertLess(row['error'], 1e-3)
      self.assertLess(row['exploitability'], 1e-4)
    for row in rows_of(AT_ONCE):
      self.assertAlmostEqual(row['total'], 1.0, places=5)

  def test_learners_move_and_others_do_not(self):
    first, last = (
      [r for r in rows_of(LEARNER) if r['step'] == t] for t in (0, 4)
    )
    for a, b in zip(first, last, strict=True):
      self.assertEqual((a['update'], b['update']), (0.0, 12.0))
      self.assertGreater(b['welfare'], a['welfare'])
    still = {r['welfare'] for r in rows_of(SPNE)}
    self.assertLess(max(still) - min(still), 1e-6)
    trained = rows_of(LEARNER, 'train')
    np.testing.assert_allclose(
      [r['sigma'] for r in trained if r['step'] == 4], 0.036, atol=4e-3
    )

  def test_agents_and_answers_are_reported_at_the_end(self):
    own = rows_of(SPNE, 'agents')
    self.assertEqual({r['step'] for r in own}, {4})
    self.assertLen(own, 4)
    welfare = sum(r['reward'] for r in own if r['seed'] == 0)
    self.assertAlmostEqual(welfare, rows_of(SPNE)[-1]['welfare'], places=5)
    # c_2 = S / 2 + 1 / 2 up to the bound.
    for row in rows_of(SPNE, 'answers'):
      want = min(row['sum'] / 2 + 0.5, 1.0)
      self.assertAlmostEqual(row['given'], want, places=3)
    self.assertEmpty(rows_of(AT_ONCE, 'answers'))

  def test_pictures(self):
    with tempfile.TemporaryDirectory() as folder:
      drawn = binary.draw(config_of(), result().rows, pathlib.Path(folder))
      self.assertEqual(
        {p.stem for p in drawn},
        {'welfare', 'total', 'exploitability', 'contributions', 'answers'},
      )

  def test_smoke_is_small(self):
    config = binary.Config().smoked()
    self.assertEqual(config, config.smoked())
    self.assertLen(config.variants, 2)
    self.assertEqual((config.num_rounds, config.steps), (3, 2))


class ConfigTest(parameterized.TestCase):
  @parameterized.parameters(
    ('ppo', 'is on nothing: write ppo@'),
    ('ppo@spg', "'spg' is unknown"),
    ('a2c@spgg', "'a2c'.* is unknown"),
    ('ppo@spgg(kappa=0)', r'kappa must lie in \(0.0, inf\)'),
    ('ppo@spgg(c_min=0.5, c_max=0.2)', 'c_min must be at most c_max'),
    ('ppo@mac_spgg(gamma=-1)', 'gamma must lie in'),
    ('spne(solver=grid)@mac_spgg(synergy=previous)', "must be 'tree'"),
    (
      'spne(solver=continuous)@mac_spgg(penalty=0.4, threshold=1.5)',
      'solver=continuous takes no penalty; got 0.4',
    ),
    ('spne(solver=nash)@mac_spgg', 'solver=nash does not fit'),
    ('spne(solver=grid)@pgg', 'solver=grid does not fit'),
    (
      'spne(solver=closed)@mac_spgg(cost=linear)',
      '--variants=spne.solver=closed.@.*cost=linear has no closed form',
    ),
    (
      'spne(solver=tree, num_levels=1000)@mac_spgg',
      '--variants=spne.*: num_levels=1000 .* or solve_grid',
    ),
    (
      'ppo@mac_spgg(num_agents=7, synergy=previous)',
      '--variants=ppo.*: num_levels=11 .* take fewer[.]',
    ),
    (
      'spne(solver=closed, num_levels=7)@spgg',
      'num_levels=7 has no effect on solver=closed',
    ),
    ('spne(num_levels=7)@pgg', 'num_levels=7 has no effect on solver=nash'),
    (
      'spne@mac_spgg(cost="power(2.5)", c_min=-1)',
      'c_min must be at least 0 where cost=power',
    ),
    ('ppo(window=0)@spgg', 'window must be at least 1'),
    ('ppo(observation=all)@spgg', "observation='all' is unknown"),
    ('fixed((0.1, 0.2))@spgg', 'one number or 3'),
  )
  def test_impossible_variants_are_refused(self, variant, message):
    with self.assertRaisesRegex(ValueError, message):
      binary.build(config_of(variants=(variant,)))

  def test_twice(self):
    with self.assertRaisesRegex(ValueError, 'variants must differ'):
      config_of(variants=(SPNE, SPNE))


TEAM = 'ppo(hidden=4)@mac_spgg(num_agents=2, kappa=0.5)'


def text_config(**options):
  small = {
    'backend': 'openai',
    'methods': (TEAM, 'debate(num_agents=2)'),
    'tasks': 'arithmetic(num_tasks=20)',
    'num_test': 4,
    'batch_tasks': 4,
    'num_rounds': 2,
    'eval_every': 1,
  }
  return binary.Config(**{**small, **options})


class TextTest(parameterized.TestCase):
  def setUp(self):
    super().setUp()
    self.folder = pathlib.Path(self.enterContext(tempfile.TemporaryDirectory()))

  def test_runs_without_a_key_and_says_scripted(self):
    with mock.patch.dict(os.environ):
      os.environ.pop('OPENAI_API_KEY', None)
      result = binary.run(text_config(workdir=str(self.folder)))
    self.assertEqual({r['source'] for r in result.rows}, {'scripted'})
    told = json.loads((self.folder / 'replies' / 'usage.json').read_text())
    self.assertTrue(told['scripted'])
    calls = sum(u['calls'] for u in told['usage'])
    # Two agents on 4 tasks, 2 times, and held back ones 3 times; two rounds of
    # a debate of two.
    self.assertEqual(calls, 2 * 2 * 4 + 3 * 2 * 4 + 2 * 2 * 4)
    tokens = sum(u['tokens'] for u in told['usage'])
    self.assertGreater(tokens, 0)

    more = text_config(
      workdir=str(self.folder), cache_mode='replay_only', num_rounds=3
    )
    with self.assertRaisesRegex(language.MissingReply, 'did not ask this'):
      binary.run(more)
    replay = text_config(workdir=str(self.folder), cache_mode='replay_only')
    self.assertEqual(binary.run(replay).rows, result.rows)
    told = json.loads((self.folder / 'replies' / 'usage.json').read_text())
    self.assertEqual(sum(u['attempts'] for u in told['usage']), 0)

    # What was said, for readers.
    path = self.folder / 'transcripts' / '1-ppo-1.json'
    said = language.read_transcript(path)
    self.assertTrue(said.scripted)
    self.assertEqual(
      [(m['source'], m['target'], m['round']) for m in said.sent],
      [('Agent-1', 'Agent-2', 1)],
    )
    roles = [m['role'] for m in said.chats['Agent-2']]
    self.assertEqual(roles, ['system', 'user', 'assistant'])
    self.assertIn('scripted', (self.folder / 'viewer.html').read_text())

    config = text_config()
    for plot in result.experiment.plots:
      names = {p.stem for p in plot(result.rows, self.folder)}
    self.assertEqual(
      names,
      {
        *('accuracy', 'value', 'total_reward', 'tokens'),
        *('temperature', 'max_tokens'),
      },
    )
    title = texts.title_of(config, result.rows)
    self.assertEqual(title, 'scripted: goods_solver')

  def test_the_key_is_nowhere(self):
    key = 'sk-' + 'q7' * 16
    with (
      mock.patch.dict(os.environ, OPENAI_API_KEY=key),
      loopback.serve() as server,
    ):
      # One agent has a model that is not there.
      models = ('goods_solver', 'no_such_model')
      config = text_config(
        models=models, base_url=server.base_url, workdir=str(self.folder)
      )
      with self.assertLogs() as logs:
        result = binary.run(config)
    self.assertNotIn(key, '\n'.join(logs.output))
    self.assertNotIn(key, repr(result.rows))
    for path in self.folder.rglob('*'):
      if path.is_file():
        self.assertNotIn(key.encode(), path.read_bytes(), path)
    failed = [r['failed'] for r in result.rows if r['split'] == 'test']
    self.assertEqual(set(failed), {4.0})

  def test_a_missing_key_is_told_before_anything(self):
    config = text_config(base_url=None, models=('some-model',))
    with mock.patch.dict(os.environ):
      os.environ.pop('OPENAI_API_KEY', None)
      with self.assertRaisesRegex(ValueError, 'OPENAI_API_KEY'):
        binary.run(config)

  def test_nobody_answers(self):
    config = text_config(base_url='http://127.0.0.1:1/v1')
    with (
      mock.patch.dict(os.environ, {'OPENAI_API_KEY': 'sk-nobody'}),
      mock.patch('jaxdl.language._client._MOST_BACKOFF', 0.0),
      self.assertRaisesRegex(ValueError, 'nobody answers: .*no connection'),
    ):
      binary.run(config)

  def test_nothing_answered_is_scripted_all_the_same(self):
    rows = binary.run(text_config(budget_tokens=1)).rows
    self.assertEqual({r['source'] for r in rows}, {'scripted'})
    tested = [r for r in rows if r['split'] == 'test']
    self.assertEqual({r['budget'] for r in tested}, {4.0})

  def test_smoke_is_small(self):
    config = binary.Config(backend='openai').smoked()
    self.assertEqual(config, config.smoked())
    self.assertEqual(config.tasks, 'arithmetic(num_tasks=16)')
    self.assertLen(config.methods, 2)

  @parameterized.parameters(
    ({'methods': ('ppo',)}, 'ppo plays a game: write ppo@mac_spgg'),
    (
      {'methods': ('single@spgg',)},
      '--methods=single@spgg: single plays no game: write single',
    ),
    ({'methods': ('ppo@pgg',)}, '--methods=ppo@pgg: .*one after the other'),
    (
      {'methods': ('ppo@mac_spgg(c_min=0.5, c_max=0.2)',)},
      'c_min must be at most c_max',
    ),
    ({'methods': ('ppo@mac_spgg(num_agents=0)',)}, 'num_agents must be at'),
    ({'methods': (TEAM, TEAM)}, 'methods must differ'),
    ({'methods': ('ppo(keep=all)@spgg',)}, "--methods=.*keep='all' is unknown"),
    (
      {'models': ('no_model',)},
      "models='no_model' is unknown: choose one of .*'goods_solver'",
    ),
    ({'models': ()}, 'models is empty'),
    ({'base_url': 'localhost:80'}, 'base_url must be an address'),
    ({'evaluator': 'judge(most_tokens=2)'}, 'most_tokens must be at least 16'),
    ({'encoder': 'facts(positions=0)'}, 'positions must be at least 1'),
    ({'backend': 'vllm'}, "backend='vllm' is unknown"),
    ({'budget_tokens': 0}, 'budget_tokens must be at least 1'),
    ({'cache_mode': 'maybe'}, "cache_mode='maybe' is unknown"),
  )
  def test_impossible_knobs_are_refused(self, options, message):
    with self.assertRaisesRegex(ValueError, message):
      text_config(**options)

  @parameterized.parameters(
    ({'tasks': 'file("/nowhere.jsonl")'}, '--tasks=file.*cannot be read'),
    ({'num_test': 20}, 'num_test=20 of 20 tasks leaves none'),
    ({'batch_tasks': 17}, 'batch_tasks=17 is more than the 16 tasks'),
  )
  def test_tasks_that_are_not_there(self, options, message):
    with self.assertRaisesRegex(ValueError, message):
      binary.build(text_config(**options))

  def test_a_judge_has_a_model_of_its_own(self):
    config = text_config(evaluator='judge(model=goods_judge)', num_rounds=0)
    rows = binary.run(config).rows
    for row in rows:
      if row['split'] == 'test':
        # Marks of the script: 1 of right answers, .25 of others.
        self.assertAlmostEqual(row['value'], 0.25 + 0.75 * row['accuracy'])

  def test_flags_that_mean_nothing_are_refused(self):
    for config, name in (
      (text_config(), 'variants'),
      (text_config(), 'num_states'),
      (config_of(), 'methods'),
      (config_of(), 'base_url'),
    ):
      self.assertIn('has no effect', config_lib.idle(config, name))


if __name__ == '__main__':
  absltest.main()
