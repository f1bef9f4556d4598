# SPDX-License-Identifier: Apache-2.0
"""Plain functions as adversaries, and what is said about other things."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized

from jaxdl import aggregators, attacks
from jaxdl.core import types

HONEST = np.array([[1.0, 2.0], [3.0, 6.0]], np.float32)
OWN = np.array([[5.0, 7.0]], np.float32)


def flee(honest, *, num_byzantine, distance):
  far = jnp.max(honest, axis=0) + distance
  return jnp.broadcast_to(far, (num_byzantine, *far.shape))


class AsAttackTest(parameterized.TestCase):
  @parameterized.named_parameters(
    ('of_the_honest', attacks.sign_flip, [[-2.0, -4.0]]),
    ('of_its_own', attacks.bit_flip, [[-5.0, -7.0]]),
    ('with_options', functools.partial(attacks.ipm, scale=0.5), [[-1.0, -2.0]]),
    ('of_yours', functools.partial(flee, distance=1.0), [[4.0, 7.0]]),
    ('a_lambda', lambda own: 2 * own, [[10.0, 14.0]]),
    ('random', lambda own, *, key: own + jax.random.uniform(key) * 0, OWN),
  )
  def test_functions_without_memory(self, fn, want):
    attack = attacks.as_attack(fn, num_byzantine=1)
    state = attack.init(HONEST[0])
    sent, after = attack.apply(HONEST, state, own=OWN, key=jax.random.key(0))
    np.testing.assert_array_equal(sent, want)
    self.assertEqual(after, ())

  def test_keeps_attacks(self):
    self.assertIsNone(attacks.as_attack(None, num_byzantine=1))
    attack = attacks.mimic_heuristic(num_byzantine=1)
    self.assertIs(attacks.as_attack(attack, num_byzantine=1), attack)

  @parameterized.parameters(
    ('alie', r"'alie': call attacks.make_attack\('alie', num_clients=N, num_"),
    (attacks.mimic_heuristic, 'attack=mimic_heuristic makes an attack: call'),
    (attacks.label_flip, 'attack=label_flip makes an attack: call it'),
    (attacks.flip_labels, r'use attacks.label_flip\(num_classes=K\)'),
    (
      flee,
      r'attack=flee needs distance: bind with functools.partial\(flee, di',
    ),
    (lambda x: x, 'call its first argument honest .* or own'),
    (lambda: 1, 'takes no honest clients: call it'),
    (aggregators.as_aggregator(aggregators.median), 'got an Aggregator'),
    (types.Attack, 'got the class Attack'),
    (OWN, r'got an array of shape \(1, 2\)'),
  )
  def test_says_what_to_pass(self, attack, message):
    with self.assertRaisesRegex(TypeError, message):
      attacks.as_attack(attack, num_byzantine=1)

  def test_must_know_the_rule(self):
    with self.assertRaisesRegex(ValueError, r'partial\(agr_tailored, rule=...'):
      attacks.as_attack(attacks.agr_tailored, num_byzantine=1)

  def test_asks_for_a_key(self):
    attack = attacks.as_attack(attacks.gaussian, num_byzantine=1)
    with self.assertRaisesRegex(
      TypeError, 'key of attack=gaussian is required'
    ):
      attack.apply(HONEST, (), own=OWN)


class RoundingTest(absltest.TestCase):
  def test_the_first_of_equal_candidates_wins(self):
    # Damage is .1 from the second candidate on, but for the last bits.
    near = np.float32(0.1) * (1 + np.finfo(np.float32).eps * np.arange(4))
    table = jnp.asarray([0.0, *near], jnp.float32)
    got = attacks.grid_search(
      lambda x: table[x.astype(int)], jnp.arange(5, dtype=jnp.float32)
    )
    self.assertEqual(got, 1.0)

  def test_agreeing_clients_teach_no_direction(self):
    # Five times .1, divided by five, is not .1 in float32 for every order.
    attack = attacks.mimic_heuristic(num_byzantine=1)
    state = attack.init(jnp.zeros(40))
    row = np.random.default_rng(0).normal(size=40).astype(np.float32)
    _, after = jax.jit(attack.apply)(np.stack([row] * 7), state)
    np.testing.assert_array_equal(after.direction, state.direction)


if __name__ == '__main__':
  absltest.main()
