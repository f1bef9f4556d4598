# SPDX-License-Identifier: Apache-2.0
"""Pictures of sweeps, from rows alone."""

import pathlib
import tempfile

from absl.testing import absltest, parameterized

from experiments import _deeponet_pictures as pictures, deeponet


def _row(split, model, size, **values):
  rule = f'{model}, {size}'
  return {'step': 3, 'split': split, 'variant': rule, 'seed': 0, 'model': model,
          'num_train': float(size), **values}  # fmt: skip


class SweepTest(parameterized.TestCase):
  @parameterized.named_parameters(
    ('noted_once', (20,)), ('noted_each_time', (20, 40, 80))
  )
  def test_functions_of_the_last_value_are_drawn(self, noted):
    config = deeponet.Config(sweep='num_train', sweep_values=(20.0, 40.0, 80.0))
    values = lambda x: {f'v_{j}': x + j for j in range(3)}
    rows = [_row('test', 'deeponet', n, mse=1 / n) for n in (20, 40, 80)]
    rows += [
      _row('function', 'deeponet', n, kind=kind, sample=0, line=0, **values(n))
      for n in (20, 40, 80)
      for kind in ('inputs', 'targets', 'predictions')
      if kind == 'predictions' or n in noted
    ]
    shown = pictures._last_functions(config, rows)
    self.assertEqual(
      {row['kind']: row['num_train'] for row in shown},
      {'inputs': noted[-1], 'targets': noted[-1], 'predictions': 80},
    )
    with tempfile.TemporaryDirectory() as folder:
      paths = pictures.draw(config, rows, pathlib.Path(folder))
      self.assertIn('functions.png', [path.name for path in paths])


if __name__ == '__main__':
  absltest.main()
