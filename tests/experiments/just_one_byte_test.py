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
  'network': 'mlp(4, activation=tanh)',
  'batch_size': 8,
  'num_rounds': 6,
  'eval_every': 2,
  'join_at': (3,),
  'leave_at': (4,),
}
TINY_TEXT = {
  'dataset': (
    'sentiment(num_texts=64, length=48, width=8, depth=1, num_heads=2)'
  ),
  'pretraining': 'adam(steps=2, batch_size=4, text_bytes=3000)',
  'methods': ('one_byte',),
  'num_clients': 8,
  'batch_size': 4,
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
    state = result.state['one_byte']
    log = state.log
    wrong = log._replace(codes=log.codes.at[0, 2, 3, 0].add(1))
    changed = {**result.state, 'one_byte': state._replace(log=wrong)}
    rows = experiment.rows(changed, None, 6)
    (row,) = _select(rows, 'replay')
    self.assertEqual(row['replay_equal'], 0.0)

  def test_the_first_of_several_codes_is_logged(self):
    methods = ('single', 'one_byte(codec=sign)', 'one_byte(codec=log9)')
    rows = just_one_byte.run(_config(methods=methods, num_rounds=2)).rows
    (row,) = [r for r in rows if r['split'] == 'replay']
    self.assertEqual(row['variant'], methods[1])
    self.assertEqual(row['replay_equal'], 1.0)
    # Seven machines send two bits, twice.
    self.assertEqual(row['log_bytes'], 7 * 2 * 2 / 8)
    alone = _select(rows, 'test', 'single')
    self.assertEqual(alone[-1]['bytes'], 0.0)

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

  def test_a_log_may_be_longer_than_the_run(self):
    config = _config(methods=('one_byte',), num_rounds=2, log_rounds=5)
    result = just_one_byte.run(config)
    self.assertLen(result.state['one_byte'].log.codes[0], 5)
    self.assertEqual(_select(result.rows, 'replay')[0]['replay_equal'], 1.0)

  @parameterized.parameters(
    ({'eps': 0.0}, 'eps'),
    ({'samples_per_step': 0}, 'samples_per_step'),
    ({'methods': ('one_byte(codec=byte)',)}, "codec='byte' is unknown"),
    ({'methods': ('one_byte(codec=log_int8(base=-1.0))',)}, 'base'),
    ({'methods': ('one_byte(aggregate=sum)',)}, 'aggregate'),
    ({'methods': ('single(distribution=even)',)}, 'distribution'),
    ({'methods': ()}, 'methods'),
    ({'methods': ('sgd', 'sgd')}, 'methods'),
    ({'join_at': (1,) * 9}, '9 entries for 8 machines'),
    ({'join_at': (1,) * 8, 'leave_at': (1,)}, 'machine 0 would leave at 1'),
    ({'log_rounds': 5}, 'log_rounds=5'),
    ({'dataset': 'sst2'}, 'data_dir'),
    ({'dataset': 'sentiment(width=6, num_heads=4)'}, 'multiple'),
    ({'dataset': 'sentiment(num_texts=1)'}, 'num_texts'),
    ({'dataset': 'sentiment', 'pretraining': 'adam(steps=-1)'}, 'steps'),
  )
  def test_impossible_settings_are_refused_at_once(self, options, message):
    with self.assertRaisesRegex(ValueError, message):
      _config(**options)


if __name__ == '__main__':
  absltest.main()
