# SPDX-License-Identifier: Apache-2.0
"""Attacks by name: options, counts and messages."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized

from jaxdl import attacks

HONEST = jnp.array([[1.0, 0.0], [0.0, 2.0], [2.0, 1.0], [1.0, 1.0], [0.0, 0.0]])
OWN = jnp.array([[3.0, -1.0], [5.0, 2.0]])


def _mean(stacked):
  return jnp.mean(stacked, axis=0)


def _send(spec, *, own=OWN, key=None, **context):
  attack = attacks.make_attack(
    spec, num_clients=7, num_byzantine=2, num_classes=3, **context
  )
  sent, _ = attack.apply(HONEST, attack.init(HONEST[0]), own=own, key=key)
  return sent


class RegistryTest(parameterized.TestCase):
  @parameterized.parameters('none', 'label_flip')
  def test_honest_senders_send_their_own(self, name):
    np.testing.assert_array_equal(_send(name), OWN)

  def test_label_flip_poisons_labels_alone(self):
    attack = attacks.make_attack(
      'label_flip(num_classes=10)', num_clients=7, num_byzantine=2
    )
    data = {'inputs': OWN, 'labels': np.array([[0, 3], [9, 5]])}
    poisoned = attack.poison(data)
    self.assertIs(poisoned['inputs'], OWN)
    np.testing.assert_array_equal(poisoned['labels'], [[9, 6], [0, 4]])
    with self.assertRaisesRegex(TypeError, 'labels must be integers'):
      attack.poison({'labels': OWN})
    with self.assertRaisesRegex(ValueError, "flips data.'labels'., a dict"):
      attack.poison({'targets': OWN})
    others = [n for n in attacks.ATTACKS if n != 'label_flip']
    for name in others[:4]:
      self.assertIsNone(
        attacks.make_attack(name, num_clients=7, num_byzantine=2).poison
      )

  def test_options_are_those_of_the_signature(self):
    options = lambda name: list(attacks.ATTACKS.options(name))
    self.assertEqual(options('zero'), [])
    self.assertEqual(options('reverse'), ['scale'])
    self.assertEqual(options('alie'), ['scale', 'sign', 'ddof'])
    self.assertNotIn('damage', options('agr_tailored'))

  @parameterized.parameters(
    ('sign_flip(scale=2.0)', [-1.6, -1.6]),
    ('scaled_sign_flip', [-2.0, -2.0]),
    ('ipm(0.5)', [-0.4, -0.4]),
    ('alie(scale=1.5)', [-0.45499, -0.45499]),
    ('alie(scale=1.5, sign=plus)', [2.05499, 2.05499]),
    ('min_max', [0.0, 0.0]),
    ('min_sum(direction=unit)', [-0.2198039, -0.2198039]),
    ('mimic(client_id=2)', [2.0, 1.0]),
    ('zero', [0.0, 0.0]),
    ('nan', [np.nan, np.nan]),
    ('inf', [np.inf, np.inf]),
  )
  def test_options_reach_the_function(self, spec, want):
    sent = _send(spec, own=None)
    np.testing.assert_allclose(sent, [want, want], atol=1e-5)

  def test_own_attacks_read_own(self):
    np.testing.assert_array_equal(_send('bit_flip'), -OWN)
    np.testing.assert_array_equal(_send('reverse(scale=3.0)'), -3 * OWN)

  def test_rule_and_damage_reach_the_search(self):
    by_rule = _send('optimized_ipm(num_evals=4)', rule=_mean)
    np.testing.assert_allclose(by_rule, np.full((2, 2), -6 * 0.8), rtol=1e-6)
    by_damage = _send(
      'optimized_ipm(search=grid, grid=(1.0, 2.0, 3.0))',
      damage=lambda honest, sent: -jnp.sum((sent[0] + honest[3] * 0.8) ** 2),
    )
    np.testing.assert_allclose(by_damage, np.full((2, 2), -0.8), rtol=1e-6)

  def test_rule_is_ignored_where_it_is_not_needed(self):
    np.testing.assert_array_equal(_send('ipm', rule=_mean), _send('ipm'))

  def test_scale_may_be_traced(self):
    def send(scale):
      rule = functools.partial(attacks.ipm, scale=scale)
      attack = attacks.as_attack(rule, num_byzantine=2)
      return attack.apply(HONEST, (), own=OWN)[0]

    got = jax.jit(send)(0.5)
    np.testing.assert_allclose(got, np.full((2, 2), -0.4), rtol=1e-6)

  @parameterized.parameters(*attacks.ATTACKS)
  def test_no_attackers_send_an_empty_stack(self, name):
    attack = attacks.make_attack(
      name, num_clients=5, num_byzantine=0, rule=_mean, num_classes=3
    )
    honest = {'a': HONEST, 'b': jnp.ones((5,), jnp.bfloat16)}
    state = attack.init(jax.tree.map(lambda x: x[0], honest))
    sent, _ = jax.jit(attack.apply)(honest, state, own=None)
    self.assertEqual(sent['a'].shape, (0, 2))
    self.assertEqual(sent['b'].shape, (0,))
    self.assertEqual(sent['b'].dtype, jnp.bfloat16)


class MessagesTest(parameterized.TestCase):
  @parameterized.parameters(
    ('allie', {}, "attack='allie' is unknown: choose one of 'none'.*'alie'"),
    ('alie(epsilon=1.0)', {}, "alie has no option 'epsilon': its options are "),
    ('zero(value=1.0)', {}, "zero has no option 'value': its options are none"),
    ('alie(sign=up)', {}, "sign='up'"),
    ('mimic(client_id=5)', {}, 'client_id must be at most 4'),
    ('fang(scale=0.5)', {}, 'scale must lie in'),
    ('agr_tailored', {}, "'agr_tailored' must know .* give rule"),
    ('ipm', {'damage': _mean}, "'ipm' searches nothing, so damage has no eff"),
    ('bit_flip', {'axis_name': 'i'}, 'axis_name has no effect'),
    (
      'label_flip',
      {},
      r'number of classes: .* write label_flip\(num_classes=K',
    ),
    ('ipm', {'num_byzantine': 7}, 'leaves no honest client'),
    ('ipm', {'num_byzantine': -1}, 'num_byzantine must be at least 0'),
    ('alie', {'num_byzantine': 4}, 'give scale'),
    ('mimic_heuristic(num_warmup=0)', {}, 'num_warmup'),
  )
  def test_fails_before_the_first_round(self, spec, kwargs, message):
    with self.assertRaisesRegex(ValueError, message):
      attacks.make_attack(
        spec, **{'num_clients': 7, 'num_byzantine': 2, **kwargs}
      )

  @parameterized.parameters('optimized_alie', 'optimized_ipm', 'agr_tailored')
  def test_refuses_an_unknown_search(self, name):
    with self.assertRaisesRegex(ValueError, "^search='lines' is unknown"):
      attacks.make_attack(
        f'{name}(search=lines)',
        num_clients=5,
        num_byzantine=1,
        damage=lambda honest, sent: 0.0,
      )

  def test_refuses_rule_and_damage_together(self):
    with self.assertRaisesRegex(ValueError, 'rule or damage, not both'):
      _send('agr_tailored', rule=_mean, damage=lambda honest, sent: 0.0)

  def test_refuses_non_integer_counts(self):
    with self.assertRaisesRegex(TypeError, 'num_byzantine must be an integer'):
      attacks.make_attack('ipm', num_clients=7, num_byzantine=2.0)

  def test_refuses_mismatching_stacks(self):
    attack = attacks.make_attack('ipm', num_clients=7, num_byzantine=2)
    with self.assertRaisesRegex(ValueError, 'honest has 4 clients, .* leave 5'):
      attack.apply(HONEST[:4], (), own=OWN)
    with self.assertRaisesRegex(ValueError, 'own has 1 clients'):
      attack.apply(HONEST, (), own=OWN[:1])

  def test_names_what_is_missing(self):
    with self.assertRaisesRegex(TypeError, "key of attack 'gaussian' is"):
      _send('gaussian')
    with self.assertRaisesRegex(ValueError, "'reverse' needs own"):
      _send('reverse', own=None)


if __name__ == '__main__':
  absltest.main()
