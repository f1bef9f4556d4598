# SPDX-License-Identifier: Apache-2.0
"""Tables that are trained at once: in turn, side by side, over devices."""

import jax
import numpy as np
from absl.testing import absltest

from jaxdl import problems
from jaxdl.core import clients

KEY = jax.random.key(0)


class TrainerTest(absltest.TestCase):
  def test_in_turn_side_by_side_and_on_devices(self):
    problem = problems.graphs.architectures(
      'block_model(num_nodes=15, p_in=0.4, p_out=0.1, features=one_hot, '
      'train=1, validation=5)',
      space='agnn(hidden=2, heads=(1, 2), attention=gat, '
      'aggregate=(sum, max), combine=identity, activation=linear)',
      num_layers=1,
    )
    options = {'num_epochs': 3, 'num_seeds': 2, 'num_tables': 2}
    tables = np.zeros((2, 1, 6), np.int32)
    tables[1, 0, [2, 3]] = 1
    want, *_ = problem.trainer(**options)(KEY, tables)
    self.assertEqual(want.score.shape, (2, 2))
    for more in ({'chunk': 2}, {'mesh': clients.clients_mesh(2)}):
      got, *_ = problem.trainer(**options, **more)(KEY, tables)
      for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(want), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)
    # Trainings of a table differ in start and dropout.
    self.assertGreater(np.abs(np.diff(want.loss, axis=1)).min(), 1e-6)


if __name__ == '__main__':
  absltest.main()
