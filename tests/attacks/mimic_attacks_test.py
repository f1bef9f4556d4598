# SPDX-License-Identifier: Apache-2.0
"""Copying one client, given or learned."""

import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized
from reference import attacks as reference

from jaxdl import attacks


def _rounds(num_rounds, num_clients=6, size=8, seed=0):
  """Heterogeneous clients: fixed offsets and fresh noise."""
  rng = np.random.default_rng(seed)
  offsets = rng.normal(size=(num_clients, size))
  noise = rng.normal(size=(num_rounds, num_clients, size))
  return (2.0 + offsets + 0.5 * noise).astype(np.float32)


def _run(attack, rounds, num_rounds=None):
  apply = jax.jit(attack.apply)
  state = attack.init(jnp.zeros(rounds.shape[-1]))
  sent, states = [], []
  for honest in rounds[:num_rounds]:
    out, state = apply(jnp.asarray(honest), state, own=None)
    sent.append(np.asarray(out))
    states.append(state)
  return sent, states


class MimicTest(parameterized.TestCase):
  @parameterized.parameters(0, 2)
  def test_copies_the_chosen_row(self, client_id):
    honest = jnp.asarray(_rounds(1)[0])
    sent = attacks.mimic(honest, num_byzantine=3, client_id=client_id)
    np.testing.assert_array_equal(sent, np.tile(honest[client_id], (3, 1)))

  def test_row_may_be_traced(self):
    honest = jnp.asarray(_rounds(1)[0])
    copy = jax.jit(
      lambda i: attacks.mimic(honest, num_byzantine=1, client_id=i)
    )
    np.testing.assert_array_equal(copy(4)[0], honest[4])

  def test_refuses_rows_that_do_not_exist(self):
    with self.assertRaisesRegex(ValueError, 'client_id must be at most 5'):
      attacks.mimic(jnp.asarray(_rounds(1)[0]), num_byzantine=1, client_id=6)
    with self.assertRaisesRegex(ValueError, 'client_id must be at least 0'):
      attacks.mimic(jnp.asarray(_rounds(1)[0]), num_byzantine=1, client_id=-1)


class HeuristicTest(parameterized.TestCase):
  def test_equals_float64_reference(self):
    rounds = _rounds(12)
    attack = attacks.mimic_heuristic(num_byzantine=2, num_warmup=8)
    start = attack.init(jnp.zeros(8)).direction
    ids, direction = reference.mimic_heuristic(
      rounds.astype(np.float64), np.asarray(start, np.float64), 8
    )
    sent, states = _run(attack, rounds)
    self.assertEqual([int(s.client_id) for s in states], ids)
    for out, honest, i in zip(sent, rounds, ids, strict=True):
      np.testing.assert_array_equal(out, np.tile(honest[i], (2, 1)))
    np.testing.assert_allclose(states[-1].direction, direction, atol=1e-5)
    np.testing.assert_allclose(
      states[-1].mean, rounds[:8].mean(axis=(0, 1)), rtol=1e-5
    )

  def test_finds_the_direction_of_largest_variance(self):
    rounds = _rounds(40)
    attack = attacks.mimic_heuristic(num_byzantine=1, num_warmup=40)
    _, states = _run(attack, rounds)
    flat = rounds.reshape(-1, 8).astype(np.float64)
    top = np.linalg.svd(flat - flat.mean(axis=0))[2][0]
    self.assertGreater(abs(top @ np.asarray(states[-1].direction)), 0.98)

  def test_choice_stays_after_the_warmup(self):
    rounds = _rounds(6)
    attack = attacks.mimic_heuristic(num_byzantine=1, num_warmup=2)
    _, states = _run(attack, rounds)
    for state in states[2:]:
      np.testing.assert_array_equal(state.direction, states[1].direction)
      self.assertEqual(state.client_id, states[1].client_id)
    self.assertEqual(int(states[-1].step), 6)

  def test_clients_that_agree_keep_the_start(self):
    attack = attacks.mimic_heuristic(num_byzantine=1)
    state = attack.init(jnp.zeros(3))
    sent, after = attack.apply(jnp.ones((4, 3)), state)
    np.testing.assert_array_equal(sent, np.ones((1, 3)))
    np.testing.assert_array_equal(after.direction, state.direction)

  def test_seed_decides_the_start(self):
    start = lambda seed: attacks.mimic_heuristic(
      num_byzantine=1, seed=seed
    ).init({'a': jnp.zeros(2), 'b': jnp.zeros(3)})
    np.testing.assert_array_equal(
      start(0).direction['a'], start(0).direction['a']
    )
    self.assertFalse(
      np.array_equal(start(0).direction['a'], start(1).direction['a'])
    )
    leaves = np.concatenate(jax.tree.leaves(start(0).direction))
    self.assertAlmostEqual(float(np.linalg.norm(leaves)), 1.0, delta=1e-6)

  def test_refuses_bad_counts(self):
    with self.assertRaisesRegex(ValueError, 'num_warmup must be at least 1'):
      attacks.mimic_heuristic(num_byzantine=1, num_warmup=0)
    with self.assertRaisesRegex(ValueError, 'num_byzantine must be at least'):
      attacks.mimic_heuristic(num_byzantine=0)


if __name__ == '__main__':
  absltest.main()
