# SPDX-License-Identifier: Apache-2.0
"""The exact answers that solvers are compared with are themselves right."""

import numpy as np
from absl.testing import absltest, parameterized

from tests.reference import combinatorial as reference

# Optima by seed; of OP the largest prize at length 2.
TABLE = {
  'tsp': (3.273773, 2.803043, 2.603937),
  'cvrp': (3.467766, 3.264913, 3.353382),
  'ovrp': (2.179669, 2.256633, 2.164030),
  'mtsp2': (1.797487, 2.022599, 1.897995),
  'mtsp3': (1.612996, 1.847354, 1.607587),
  'op': (4.576621, 3.730438, 3.862866),
  'pctsp': (2.894350, 2.803043, 2.603937),
  'atsp': (1.971522, 1.607114, 0.902225),
}


def answers(seed):
  case = reference.small(seed)
  d = reference.distances(case.points)
  capacity = reference.CAPACITY
  return {
    'tsp': reference.tsp(d),
    'cvrp': reference.cvrp(d, case.demand, capacity),
    'ovrp': reference.cvrp(d, case.demand, capacity, back=False),
    'mtsp2': reference.mtsp(d, 2),
    'mtsp3': reference.mtsp(d, 3),
    'op': reference.op(d, case.prize, 2.0),
    'pctsp': reference.pctsp(d, case.prize, case.penalty, case.prize.sum() / 2),
    'atsp': reference.tsp(case.costs),
  }


class ReferenceTest(parameterized.TestCase):
  @parameterized.parameters(0, 1, 2)
  def test_the_table_of_optima(self, seed):
    for name, value in answers(seed).items():
      self.assertAlmostEqual(value, TABLE[name][seed], delta=6e-7, msg=name)

  def test_a_square_by_hand(self):
    corners = np.array([[0, 0], [1, 1], [1, 0], [0, 1.0]])
    d = reference.distances(corners)
    self.assertAlmostEqual(reference.tsp(d), 4.0)
    self.assertAlmostEqual(reference.open_path(d), 3.0)
    self.assertAlmostEqual(reference.mtsp(d, 3), 2.0 * 2.0**0.5)
    self.assertAlmostEqual(
      reference.cvrp(d, np.ones(3), 2.0, back=False), 1.0 + 2.0
    )


if __name__ == '__main__':
  absltest.main()
