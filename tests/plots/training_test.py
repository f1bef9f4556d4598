# SPDX-License-Identifier: Apache-2.0
"""Rows of function learning that pictures show."""

from absl.testing import absltest, parameterized

from jaxdl import plots


def _row(split, model, size, **values):
  name = f'{model}, {size}'
  return {'step': 3, 'split': split, 'variant': name, 'seed': 0, 'model': model,
          'num_train': size, **values}  # fmt: skip


class SweepTest(parameterized.TestCase):
  @parameterized.named_parameters(
    ('noted_once', (20,)), ('noted_each_time', (20, 40, 80))
  )
  def test_functions_of_the_last_value_are_drawn(self, noted):
    rows = [_row('test', 'deeponet', n, mse=1 / n) for n in (20, 40, 80)]
    rows += [
      _row('function', 'deeponet', n, kind=kind, sample=0, line=0)
      for n in (20, 40, 80)
      for kind in ('inputs', 'targets', 'predictions')
      if kind == 'predictions' or n in noted
    ]
    shown = plots.last_functions(rows, 'num_train')
    self.assertEqual(
      {r['kind']: r['num_train'] for r in shown if r['split'] == 'function'},
      {'inputs': noted[-1], 'targets': noted[-1], 'predictions': 80},
    )
    self.assertLen([r for r in shown if r['split'] == 'test'], 3)


if __name__ == '__main__':
  absltest.main()
