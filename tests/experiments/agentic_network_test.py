# SPDX-License-Identifier: Apache-2.0
"""The binary of teams that evolve, in numbers and in text."""

import functools
import json
import os
import pathlib
import tempfile
from unittest import mock

import numpy as np
from absl.testing import absltest, parameterized

from experiments import agentic_network as binary
from jaxdl.experiment import runner
from jaxdl.language import teams

TEXT = {
  'backend': 'openai',
  'task': 'arithmetic(num_train=6, num_validation=3, num_test=3)',
  'methods': ('fixed', 'ann'),
  'train_batch': 3,
  'num_rounds': 3,
}
SMALL = {
  'task': 'digits(num_honest=2, num_colluders=2, num_noisy=0, max_iter=5)',
  'methods': ('fixed', 'ann'),
  'aggregations': ('majority', 'mean'),
  'num_rounds': 3,
  'eval_every': 3,
}


@functools.cache
def numbers():
  return binary.run(binary.Config(**SMALL)).rows


class NumericTest(parameterized.TestCase):
  def test_rows(self):
    tests = [r for r in numbers() if r['split'] == 'test']
    fixed = [r for r in tests if r['variant'] == 'fixed']
    self.assertLen({r['accuracy'] for r in fixed}, 1)
    self.assertEqual([r['proposals'] for r in fixed], [0, 0])
    own = [r for r in tests if r['variant'] == 'ann']
    self.assertLessEqual(own[1]['validation_loss'], own[0]['validation_loss'])
    # Six edits, one layer, the team and the candidate: 9 for each proposal.
    self.assertEqual(own[1]['evaluations'], 1 + 9 * own[1]['proposals'])

  def test_credit_is_what_leaving_an_agent_out_costs(self):
    task = teams.digits(
      seed=0, num_honest=2, num_colluders=2, num_noisy=0, max_iter=5
    )
    w, b = task.layers[0]
    says = np.einsum('bd,cdk->cbk', task.gradient.inputs, w) + b[:, None]
    votes = np.eye(10)[says.argmax(-1)]
    wrong = lambda keep: np.mean(
      votes[keep].sum(0).argmax(-1) != task.gradient.labels
    )
    rows = [
      r for r in numbers() if r['split'] == 'agents' and r['variant'] == 'fixed'
    ]
    self.assertEqual([r['role'] for r in rows], list(task.roles[0]))
    for i, row in enumerate(rows):
      keep = np.arange(4) != i
      self.assertAlmostEqual(
        row['credit'], wrong(keep) - wrong(np.full(4, True)), places=5
      )


class TextTest(parameterized.TestCase):
  def run_in(self, folder, sinks=(), **options):
    config = binary.Config(**{**TEXT, 'workdir': str(folder)} | options)
    path = pathlib.Path(folder) / 'metrics.jsonl'
    result = runner.run(
      binary.build(config),
      config,
      sinks=[runner.Jsonl(path), *sinks],
      store=runner.Store(folder, seconds=0),
    )
    return result, path.read_bytes()

  def test_a_killed_run_goes_on_and_a_replay_asks_nobody(self):
    class Stop(Exception):  # noqa: N818
      pass

    class Stopper(runner.Sink):
      def write(self, rows):
        pass

      def tick(self, round):
        if round == 2:
          raise Stop

    with tempfile.TemporaryDirectory() as folder:
      folder = pathlib.Path(folder)
      result, want = self.run_in(folder / 'whole', eval_every=1)
      with self.assertRaises(Stop):
        self.run_in(folder / 'cut', [Stopper()], eval_every=1)
      self.assertEqual(self.run_in(folder / 'cut', eval_every=1)[1], want)
      # Replies alone, in another folder.
      (folder / 'again').mkdir()
      (folder / 'whole' / 'replies').rename(folder / 'again' / 'replies')
      with mock.patch('jaxdl.language.loopback.serve') as serve:
        _, got = self.run_in(
          folder / 'again', eval_every=1, cache_mode='replay_only'
        )
      serve.assert_not_called()
      self.assertEqual(got, want)
      usage = json.loads((folder / 'cut/replies/usage.json').read_text())
      self.assertTrue(usage['scripted'] or not usage['usage'])
      # Reports say who has answered, pictures too.
      rows = result.rows
      self.assertEqual({r['source'] for r in rows}, {'scripted'})
      self.assertIn('source', result.experiment.table(rows)[0])
      names = {
        path.name for path in result.experiment.plots[0](rows, folder / 'plots')
      }
      self.assertContainsSubset(
        {'accuracy.png', 'credit.png', 'workflow_ann_0.png'}, names
      )
      evolved = teams.read_workflow(folder / 'plots' / 'workflow_ann_0.yaml')
      self.assertLen(evolved.pools, 3)
      patches = [
        r for r in rows if r['split'] == 'patches' and r['verdict'] != 'none'
      ]
      last = [r for r in rows if r['split'] == 'test'][-1]
      self.assertLen(patches, last['proposals'])

  def test_nobody_answers(self):
    key = 'sk-a-key-that-nobody-may-see'
    with (
      mock.patch.dict(os.environ, {'OPENAI_API_KEY': key}),
      mock.patch('jaxdl.language._client._MOST_BACKOFF', 0.0),
      self.assertRaisesRegex(
        ValueError, r'nobody answers: http://127.0.0.1:1/v1: no connection'
      ) as caught,
    ):
      binary.run(binary.Config(**TEXT | {'base_url': 'http://127.0.0.1:1/v1'}))
    self.assertNotIn(key, str(caught.exception))

  def test_a_budget_that_is_spent_leaves_rows(self):
    rows = binary.run(
      binary.Config(**TEXT | {'budget_tokens': 20_000, 'methods': ('ann',)})
    ).rows
    last = [r for r in rows if r['split'] == 'test'][-1]
    self.assertIn(last['stopped'], ('budget', 'solved'))
    self.assertLessEqual(last['tokens'], 20_000)


class ConfigTest(parameterized.TestCase):
  @parameterized.parameters(
    ({'backend': 'torch'}, "backend='?torch'? is unknown"),
    ({'task': 'arithmetic'}, 'is none of --backend=numeric'),
    ({'backend': 'openai', 'task': 'digits'}, 'is none of --backend=openai'),
    ({'budget_tokens': 0}, 'budget_tokens must be at least 1'),
    ({'methods': ('ann(beta=2.0)',)}, r'beta must lie in \[0.0, 1.0\]'),
    ({'aggregations': ('vote',)}, "aggregations='vote' is unknown"),
    (
      {'methods': ('fixed(aggregation="rule(smea, num_byzantine=2)")',)},
      '^--methods=fixed.*smea',
    ),
    (
      {'methods': ('fixed(aggregation="rule(caf, num_byzantine=9)")',)},
      '^--methods=fixed.*n=12',
    ),
    (
      {'backend': 'openai', 'workflow': '/no/such.yaml'},
      '^--workflow=/no/such.yaml: .*cannot be read',
    ),
    (
      {'backend': 'openai', 'model_worker': 'nobody'},
      '^--model_worker=nobody: .*is unknown',
    ),
    (
      {'backend': 'openai', 'methods': ('fixed(aggregation=log_mean)',)},
      r"^--methods=fixed\(aggregation=log_mean\): .*'log_mean' is unknown",
    ),
    ({'backend': 'openai', 'base_url': 'ftp://x'}, 'base_url must be'),
  )
  def test_mistakes_are_named(self, options, message):
    with self.assertRaisesRegex(ValueError, message):
      binary.Config(**options)

  def test_small_runs_are_small(self):
    for options in ({}, {'backend': 'openai'}):
      small = binary.Config(**options).smoked()
      self.assertEqual(small, small.smoked())
      self.assertEqual(small.num_rounds, 3)
      self.assertIn('(', small.task)


if __name__ == '__main__':
  absltest.main()
