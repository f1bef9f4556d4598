# SPDX-License-Identifier: Apache-2.0
"""The binary of divide and conquer."""

import pathlib
import tempfile

import numpy as np
from absl.testing import absltest, parameterized

from experiments import divide_and_conquer as binary

SMALL = {
  'num_nodes': 8,
  'size': 4,
  'divider': 'none(num_neighbors=8)',
  'conqueror': 'icam(width=4, depth=1, hidden=4)',
  'variants': ('dcr', 'untrained'),
  'num_rounds': 2,
  'eval_every': 2,
  'batch_size': 1,
  'num_samples': 2,
  'num_rollouts': 2,
  'num_test': 2,
  'num_stages': 2,
}
SQUARE = """NAME : square
TYPE : TSP
DIMENSION : 8
EDGE_WEIGHT_TYPE : EUC_2D
NODE_COORD_SECTION
1 0 0
2 100 0
3 200 0
4 200 100
5 200 200
6 100 200
7 0 200
8 0 100
EOF
"""


def _config(**options):
  return binary.Config(**(SMALL | options))


class DivideAndConquerTest(parameterized.TestCase):
  def test_rows_tell_stages_solutions_and_files(self):
    with tempfile.TemporaryDirectory() as folder:
      path = pathlib.Path(folder) / 'square.tsp'
      path.write_text(SQUARE)
      config = _config(
        file=str(path), start='nearest_neighbor', oracle='milp', seeds=(1,)
      )
      rows = binary.run(config).rows
      pictures = binary.draw(config, rows, pathlib.Path(folder))
      self.assertLen(pictures, 5)
      for picture in pictures:
        self.assertGreater(pathlib.Path(picture).stat().st_size, 1000)
    test = [r for r in rows if r['split'] == 'test']
    self.assertLen(test, 4)
    for row in test:
      self.assertGreaterEqual(row['gap'], -1e-5)
      self.assertEqual(row['feasible'], 1)
      self.assertLessEqual(row['objective'], row['divided'] + 1e-5)
    # Untrained policies stay what they were at the start.
    first, *_, last = [r for r in test if r['variant'] == 'untrained']
    self.assertEqual(first['objective'], last['objective'])
    # The tour of nearest neighbors around a square is the best.
    found = [r for r in rows if r['split'] == 'file']
    self.assertEqual([r['cost'] for r in found], [800.0, 800.0])
    stages = [
      r['objective']
      for r in rows
      if r['split'] == 'stages' and r['variant'] == 'dcr'
    ]
    self.assertLen(stages, 3)
    self.assertLessEqual(np.diff(stages).max(), 1e-6)

  def test_a_file_of_another_problem_is_refused(self):
    with tempfile.TemporaryDirectory() as folder:
      path = pathlib.Path(folder) / 'square.tsp'
      path.write_text(SQUARE)
      with self.assertRaisesRegex(ValueError, 'problem=kp is not that of'):
        binary.read_file(_config(problem='kp', file=str(path)))

  def test_a_file_smaller_than_a_piece_is_refused(self):
    with tempfile.TemporaryDirectory() as folder:
      path = pathlib.Path(folder) / 'square.tsp'
      path.write_text(SQUARE)
      config = _config(num_nodes=20, size=10, file=str(path))
      message = 'size=10 leaves no piece: the file has 8 nodes'
      with self.assertRaisesRegex(ValueError, message):
        binary.read_file(config)

  @parameterized.parameters(
    ({'num_nodes': 10}, 'num_nodes must be a multiple of size'),
    ({'problem': 'vrp'}, "problem='vrp'"),
    ({'baseline': 'savings'}, 'does not serve the problem'),
    ({'oracle': 'gurobi'}, "oracle='gurobi'"),
    ({'num_rollouts': 3}, 'num_rollouts=3 must be even'),
    ({'variants': ('dcr(lern=both)',)}, "no option 'lern'"),
    ({'variants': ('dcr', 'dcr')}, 'variants'),
    ({'variants': ('dcr(start=savings)',)}, 'does not serve the problem'),
  )
  def test_refuses_before_anything_is_built(self, options, message):
    with self.assertRaisesRegex(ValueError, message):
      _config(**options)


if __name__ == '__main__':
  absltest.main()
