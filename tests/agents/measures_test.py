# SPDX-License-Identifier: Apache-2.0
"""What agents depend on and do, of policies whose answer is known."""

import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized

from jaxdl import agents


def weighted(table):
  """Agents whose logit of action 1 is a weighted sum of all rows."""

  def out(seen):
    score = jnp.einsum('ij,...j->...i', table, seen.own[..., 0])
    return jnp.stack([jnp.zeros_like(score), score], axis=-1)

  def act(params, carry, seen, first, *, key=None):
    del params, first, key
    logits = out(seen)
    zero = jnp.zeros(logits.shape[:-1])
    actions = jnp.ones(logits.shape[:-1], jnp.int32)
    return agents.Acted(carry, actions, zero, zero, {}, {}, logits)

  def judge(params, carry, seen, actions, choices, first):
    logits = out(seen)
    zero = jnp.zeros(logits.shape[:-1])
    return agents.Judged(zero, zero, zero, {}, logits)

  return agents.Policy(
    init=lambda key: {},
    start=lambda num_envs: {},
    act=act,
    judge=judge,
    value=lambda params, carry, seen, first: jnp.zeros(seen.own.shape[:-1]),
  )


class MeasuresTest(parameterized.TestCase):
  def test_saliency_is_the_slope(self):
    table = jnp.array([[2.0, 0.0, -3.0], [0.5, 1.0, 0.0], [0.0, 0.0, 4.0]])
    env = agents.make_game('simple_spread(num_agents=3)')
    found = agents.saliency(
      env, weighted(table), {}, key=jax.random.key(0), num_envs=2, num_steps=2
    )
    # Of the last step alone, as there is no memory.
    np.testing.assert_allclose(found, np.abs(table), atol=1e-6)

  def test_rates_by_context(self):
    env = agents.make_game('iterated_dilemma(rounds=3)')
    # Defects always, and so does the other.
    policy = weighted(jnp.ones((2, 2)))
    rates, seen = agents.rates_by_context(
      env, policy, {}, key=jax.random.key(0), num_envs=2, num_steps=6, action=1
    )
    np.testing.assert_array_equal(seen, [[4, 0, 0, 0, 8]] * 2)
    np.testing.assert_array_equal(rates, [[1, 0, 0, 0, 1]] * 2)

  def test_frames_are_places(self):
    record = {
      'length': 1,
      'states': {
        'agents': np.arange(12.0).reshape(3, 2, 2),
        'prey': np.ones((3, 2)),
        'alive': np.ones((3, 2), bool)[..., None],
      },
    }
    rows = agents.frame_rows(record)
    self.assertLen(rows, 2 * 3)
    self.assertEqual(
      rows[3], {'time': 1, 'body': 'agents', 'index': 1, 'x': 6.0, 'y': 7.0}
    )
    self.assertEqual(agents.frame_rows({'length': 3, 'states': None}), [])
    alone = {'length': 1, 'states': {'last': np.ones((2, 2))}}
    self.assertEqual(agents.frame_rows(alone), [])


if __name__ == '__main__':
  absltest.main()
