# SPDX-License-Identifier: Apache-2.0
"""The binary of federated training: its clock."""

import json
import pathlib
import tempfile

import h5py
import numpy as np
from absl.testing import absltest, parameterized

from experiments import federated_training
from jaxdl.federated import asynchronous

SMALL = {
  'num_clients': 5,
  'partition': 'iid',
  'network': 'logistic_regression',
  'dataset': 'wine',
  'eval_every': 1,
  'num_rounds': 4,
  'batch_size': 8,
}


def _times(rows, variant='fedavg'):
  return [
    r['time'] for r in rows if (r['split'], r['variant']) == ('test', variant)
  ]


class FederatedTrainingTest(parameterized.TestCase):
  def test_rounds_of_all_are_those_of_the_schedule(self):
    config = federated_training.Config(
      variants=('fedavg', 'frl'), sampling='full', times='F-80', **SMALL
    )
    rows = federated_training.run(config).rows
    schedule = asynchronous.make_schedule(
      'fedavg', 'F-80', horizon=4.0, num_clients=5
    )
    for variant in config.variants:
      np.testing.assert_allclose(
        _times(rows, variant), [0.0, *schedule.times], rtol=1e-6
      )
    folder = pathlib.Path(self.enter_context(tempfile.TemporaryDirectory()))
    names = [p.name for p in federated_training.draw(config, rows, folder)]
    self.assertIn('accuracy_by_time.png', names)

  def test_a_trace_and_stragglers(self):
    folder = pathlib.Path(self.enter_context(tempfile.TemporaryDirectory()))
    path = folder / 'speeds.csv'
    path.write_text(
      'compute_time,communication_time\n1,0.5\n1,0.5\n1,0.5\n1,0.5\n1,0.5\n'
    )
    options = {'variants': ('fedavg',), 'sampling': 'uniform(1)', **SMALL}
    config = federated_training.Config(
      times=f'trace("{path}")', work='work(num_steps=2)', **options
    )
    whole = _times(federated_training.run(config).rows)
    np.testing.assert_allclose(whole, 1.5 * np.arange(5))
    config = federated_training.Config(
      times=f'trace("{path}")',
      work='work(num_steps=2, stragglers=1.0)',
      **options | {'num_rounds': 6},
    )
    took = np.diff(_times(federated_training.run(config).rows))
    # One step or two of two.
    np.testing.assert_allclose(np.unique(took.round(4)), [1.0, 1.5])

  @parameterized.parameters(
    ('F-100', r'--times=F-100: .*pct_faster must lie in'),
    ('trace("nowhere.csv")', 'nowhere.csv: no CSV can be read: .*No such file'),
    ('slow', "times='slow' is unknown"),
  )
  def test_says_what_is_wrong_with_times(self, times, message):
    with self.assertRaisesRegex(ValueError, message):
      federated_training.Config(times=times)

  def test_says_who_would_never_come_back(self):
    folder = pathlib.Path(self.enter_context(tempfile.TemporaryDirectory()))
    path = folder / 'speeds.csv'
    path.write_text('compute_time,leave\n1,\n1,\n1,\n1,3.5\n1,\n')
    config = federated_training.Config(
      times=f'trace("{path}")', sampling='full', **SMALL
    )
    with self.assertRaisesRegex(
      ValueError, '--times=trace.*client 3 leaves at 3.5 and never comes back'
    ):
      federated_training.build(config)


class TextTest(parameterized.TestCase):
  def setUp(self):
    super().setUp()
    self.folder = pathlib.Path(
      self.enter_context(tempfile.TemporaryDirectory())
    )
    text = 'to be or not to be: that is the question. ' * 3
    for split, count in (('train', 30), ('test', 9)):
      users = {
        f'role_{k}': {
          'x': [text[i : i + 8] for i in range(k, k + count)],
          'y': [text[i + 8] for i in range(k, k + count)],
        }
        for k in range(3)
      }
      content = {
        'users': list(users),
        'num_samples': [len(u['y']) for u in users.values()],
        'user_data': users,
      }
      (self.folder / split).mkdir()
      (self.folder / split / 'a.json').write_text(json.dumps(content))

  def test_next_characters_of_leaf(self):
    config = federated_training.Config(
      variants=('fedavg',),
      dataset='leaf(vocabulary=shakespeare)',
      data_dir=str(self.folder),
      partition='natural',
      sampling='full',
      num_clients=3,
      network='char_lstm(width=12, depth=1)',
      optimizer='adam(0.02)',
      work='work(num_steps=25)',
      batch_size=8,
      num_rounds=8,
      eval_every=8,
    )
    rows = federated_training.run(config).rows
    found = [r['accuracy'] for r in rows if r['split'] == 'test']
    self.assertLess(found[0], 0.3)
    self.assertGreater(found[-1], 0.9)

  def test_every_next_character(self):
    text = b'to be or not to be: that is the question. '
    for split in ('train', 'test'):
      with h5py.File(self.folder / f'shakespeare_{split}.h5', 'w') as file:
        for k in range(2):
          file.create_dataset(
            f'examples/role_{k}/snippets',
            data=[text * (k + 1), text[:20]],
            dtype=h5py.string_dtype(),
          )
    options = {
      'variants': ('fedavg',),
      'dataset': 'tff(kind=shakespeare)',
      'data_dir': str(self.folder),
      'partition': 'natural',
      'sampling': 'full',
      'num_clients': 2,
      'optimizer': 'adam(0.03)',
      'work': 'work(num_steps=20)',
      'batch_size': 2,
      'num_rounds': 4,
      'eval_every': 4,
    }
    config = federated_training.Config(
      network='char_lstm(width=16, depth=1, every=True)', **options
    )
    rows = [r for r in federated_training.run(config).rows if 'bits' in r]
    # Padding would count as known at once.
    self.assertLess(rows[0]['accuracy'], 0.2)
    self.assertAlmostEqual(rows[0]['bits'], np.log2(90), delta=0.3)
    self.assertGreater(rows[-1]['accuracy'], 0.8)
    with self.assertRaisesRegex(ValueError, 'l2=0.1.* have no effect on shake'):
      federated_training.build(
        federated_training.Config(
          network='char_lstm(every=True)', l2=0.1, **options
        )
      )
    with self.assertRaisesRegex(
      ValueError, r'logits must have shape .*, 80, 90'
    ):
      federated_training.run(
        federated_training.Config(network='char_lstm(width=3)', **options)
      )


if __name__ == '__main__':
  absltest.main()
