# SPDX-License-Identifier: Apache-2.0
"""Problems of choices with the networks that go with them."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
from absl.testing import absltest, parameterized

from jaxdl import combinatorial as co
from jaxdl.core import types

NETWORKS = {
  'op': 'attention(width=4, depth=1, num_heads=2, hidden=4)',
  'kp': 'icam(width=4, depth=1, hidden=4)',
  'mis(edge_probability=0.3)': 'agnn(width=4, depth=1, num_neighbors=3)',
}


class TrainingTest(parameterized.TestCase):
  @parameterized.parameters(*NETWORKS)
  def test_a_step_moves_both_policies_and_solves_as_well(self, name):
    problem = co.make_problem(name)
    own = problem.solve.network
    self.assertTrue(NETWORKS[name].startswith(own))
    policies = co.make_policies(
      problem,
      divider='agnn(width=4, depth=1, num_neighbors=3)',
      conqueror=NETWORKS[name],
    )
    episode = co.make_episode(
      problem,
      policies,
      size=12 if problem.name == 'mis' else 6,
      num_samples=6,
      num_rollouts=6,
    )
    algorithm = co.dcr(episode, optimizer=optax.adam(0.01))

    @jax.jit
    def trained(key):
      instance = problem.generate(key, 24 if problem.name == 'mis' else 12)
      cohort = types.Cohort(
        client_ids=jnp.arange(1),
        data=jax.tree.map(lambda x: x[None, None], instance),
        mask=jnp.ones((1,), bool),
        weights=jnp.ones((1,)),
      )
      first = algorithm.init(key)
      last, metrics = algorithm.step(first, cohort, key=key)
      return first.params, last.params, metrics

    first, last, metrics = trained(jax.random.key(3))
    for name in ('divider', 'conqueror'):
      moved = jax.tree.map(
        lambda a, b: float(jnp.abs(a - b).max()), first[name], last[name]
      )
      self.assertGreater(max(jax.tree.leaves(moved)), 1e-3)
      self.assertTrue(np.isfinite(jax.tree.leaves(moved)).all())
    sign = 1 if problem.maximize else -1
    better = float(metrics['conquered'] - metrics['divided'])
    self.assertGreaterEqual(sign * better, 0)


if __name__ == '__main__':
  absltest.main()
