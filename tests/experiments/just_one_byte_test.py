# SPDX-License-Identifier: Apache-2.0
"""The one-byte binary: rows, membership, traffic, replay, resumption."""

import functools

import numpy as np
from absl.testing import absltest, parameterized

from experiments import just_one_byte
from jaxdl.experiment import runner

SMALL = {
  'methods': ('one_byte', 'sgd'),
  'num_clients': 8,
  'hidden_sizes': (4,),
  'batch_size': 8,
  'num_rounds': 6,
  'eval_every': 2,
  'join_at': (3,),
  'leave_at': (4,),
}
TINY_TEXT = {
  'dataset': 'sentiment',
  'methods': ('one_byte',),
  'num_clients': 8,
  'batch_size': 4,
  'width': 8,
  'depth': 1,
  'num_heads': 2,
  'sequence_length': 48,
  'num_texts': 64,
  'text_bytes': 3000,
  'pretrain_steps': 2,
  'pretrain_batch_size': 4,
  'num_rounds': 2,
  'eval_every': 1,
}


def _config(**options):
  return just_one_byte.Config(**{**SMALL, **options})


@functools.cache
def _whole():
  config = _config()
  experiment = just_one_byte.build(config)
  return experiment, runner.run(experiment, config)


def _select(rows, split, method='one_byte'):
  return [r for r in rows if r['split'] == split and r['variant'] == method]


class JustOneByteTest(parameterized.TestCase):
  def test_machines_come_and_go(self):
    rows = _select(_whole()[1].rows, 'train')
    # Seven at first; the last joins after 3, the first leaves after 4.
    self.assertEqual([r['machines'] for r in rows], [7, 8, 7])

  def test_bytes(self):
    rows = _whole()[1].rows
    codes = [r['bytes'] for r in _select(rows, 'test')]
    self.assertEqual(codes, [0, 7 * 2, 7 * 3 + 8, 7 * 3 + 8 + 7 * 2])
    size = 64 * 4 + 4 + 4 * 10 + 10
    whole = [r['bytes'] for r in _select(rows, 'test', 'sgd')]
    self.assertEqual(whole, [4 * size * t for t in (0, 2, 4, 6)])

  def test_the_log_leads_to_the_live_model(self):
    (row,) = _select(_whole()[1].rows, 'replay')
    self.assertEqual(row['replay_equal'], 1.0)
    self.assertEqual(row['log_bytes'], 7 * 3 + 8 + 7 * 2)

  def test_a_wrong_log_is_noticed(self):
    experiment, result = _whole()
    log = result.state['log']
    wrong = log._replace(codes=log.codes.at[0, 2, 3, 0].add(1))
    rows = experiment.rows({**result.state, 'log': wrong}, None, 6)
    (row,) = _select(rows, 'replay')
    self.assertEqual(row['replay_equal'], 0.0)

  def test_language_model(self):
    rows = just_one_byte.run(just_one_byte.Config(**TINY_TEXT)).rows
    test = _select(rows, 'test')
    self.assertLen(test, 3)
    self.assertTrue(all(np.isfinite(r['loss']) for r in test))
    # Two words are possible, so an untrained model is near one bit.
    self.assertBetween(test[0]['bits'], 0.5, 3.0)
    self.assertEqual(_select(rows, 'replay')[0]['replay_equal'], 1.0)

  def test_smoke(self):
    config = just_one_byte.Config().smoked()
    self.assertEqual(config, config.smoked())
    text = just_one_byte.Config(dataset='sentiment').smoked()
    self.assertEqual(text, text.smoked())

  @parameterized.parameters(
    ({'eps': 0.0}, 'eps'),
    ({'learning_rate': float('inf')}, 'learning_rate must be finite'),
    ({'samples_per_step': 0}, 'samples_per_step'),
    ({'codec': 'byte'}, 'unknown'),
    ({'codec_base': -1.0}, 'base'),
    ({'aggregate': 'sum'}, 'unknown'),
    ({'methods': ()}, 'methods'),
    ({'methods': ('sgd', 'sgd')}, 'methods'),
    ({'join_at': (1,) * 9}, '9 entries for 8 machines'),
    ({'join_at': (1,) * 8, 'leave_at': (1,)}, 'machine 0 would leave at 1'),
    ({'log_rounds': 5}, 'log_rounds=5'),
    ({'dataset': 'sst2_tsv'}, 'data_dir'),
    ({'dataset': 'sentiment', 'partition': 'shards'}, 'not for texts'),
    ({'dataset': 'sentiment', 'width': 6, 'num_heads': 4}, 'multiple'),
  )
  def test_impossible_settings_are_refused_at_once(self, options, message):
    with self.assertRaisesRegex(ValueError, message):
      _config(**options)


if __name__ == '__main__':
  absltest.main()
