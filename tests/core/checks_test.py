# SPDX-License-Identifier: Apache-2.0
"""Messages name the argument, the rule and the value."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
from absl.testing import absltest, parameterized

from jaxdl.core import checks, types

AGGREGATOR = types.Aggregator(max, max)


class Holder:
  """As flax.nnx.Optimizer, and a task of another class."""

  tx = optax.sgd(0.1)
  init = loss = staticmethod(max)


HOLDER = Holder()


class ChecksTest(parameterized.TestCase):
  def test_number_of_clients(self):
    self.assertEqual(checks.num_clients({'a': np.ones((3, 2))}), 3)
    with self.assertRaisesRegex(ValueError, 'votes has no leaves'):
      checks.num_clients([], name='votes')
    with self.assertRaisesRegex(ValueError, r"votes\['a'\]\[0\] is a scalar"):
      checks.num_clients({'a': [1.0]}, name='votes')
    with self.assertRaisesRegex(ValueError, r'shape \(0, 2\), need N >= 1'):
      checks.num_clients(np.ones((0, 2)))
    with self.assertRaisesRegex(
      ValueError, r"updates\['b'\] has 4 clients but updates\['a'\] has 3"
    ):
      checks.num_clients({'a': np.ones((3, 2)), 'b': np.ones(4)})

  @parameterized.parameters(3, np.int64(3), np.uint8(3))
  def test_integers(self, value):
    got = checks.integer(value, name='k', low=3, high=3)
    self.assertIs(type(got), int)

  @parameterized.parameters(True, np.bool_(True), 3.0, '3', None)
  def test_not_integers(self, value):
    with self.assertRaisesRegex(TypeError, 'k must be an integer; got'):
      checks.integer(value, name='k')

  def test_flags(self):
    self.assertIs(checks.flag(np.True_, name='bias'), True)
    for value in ('no', 1, None, jnp.array(True)):
      with self.assertRaisesRegex(TypeError, 'bias must be True or False; got'):
        checks.flag(value, name='bias')

  def test_integer_ranges(self):
    with self.assertRaisesRegex(ValueError, 'k must be at least 1; got 0'):
      checks.integer(0, name='k', low=1)
    with self.assertRaisesRegex(ValueError, 'k must be at most 4; got 5'):
      checks.integer(5, name='k', high=4)

  @parameterized.parameters((0.5,), (np.float32(0.5),), (1,), (np.array(0.5),))
  def test_numbers(self, value):
    checks.number(value, name='x', low=0.0, high=1.0)

  @parameterized.parameters(
    (-0.1, {}, r'x must lie in \[0.0, 1.0\]; got -0.1'),
    (0.0, {'open_low': True}, r'x must lie in \(0.0, 1.0\]; got 0.0'),
    (1.0, {'open_high': True}, r'x must lie in \[0.0, 1.0\); got 1.0'),
    (float('nan'), {}, 'got nan'),
    (float('inf'), {}, 'got inf'),
  )
  def test_numbers_out_of_range(self, value, options, message):
    with self.assertRaisesRegex(ValueError, message):
      checks.number(value, name='x', low=0.0, high=1.0, **options)

  @parameterized.parameters(float('inf'), float('-inf'), np.float32('inf'))
  def test_infinity_must_be_allowed(self, value):
    with self.assertRaisesRegex(ValueError, r'x must lie in \(-inf, inf\)'):
      checks.number(value, name='x')
    checks.number(value, name='x', finite=False)

  @parameterized.parameters(True, '1', None, 1j, (np.ones(2),))
  def test_not_numbers(self, value):
    with self.assertRaisesRegex(TypeError, 'x must be a number; got'):
      checks.number(value, name='x')

  def test_traced_numbers_pass(self):
    def run(x):
      checks.number(x, name='x', low=0.0)
      return x

    self.assertEqual(float(jax.jit(run)(-1.0)), -1.0)

  def test_choices(self):
    checks.choice('a', ('a', 'b'), name='kind')
    with self.assertRaisesRegex(
      ValueError, "kind='c' is unknown: choose one of 'a', 'b'"
    ):
      checks.choice('c', ('a', 'b'), name='kind')

  def test_names_values_without_their_contents(self):
    for value, want in [
      (np.zeros((2, 3)), 'an array of shape (2, 3)'),
      (functools.partial(max), 'a partial of the function max'),
      (types.Aggregator, 'the class Aggregator'),
      (AGGREGATOR, 'an Aggregator'),
      ([1, 2], 'a list of length 2'),
      ('krum', "the text 'krum'"),
      (None, 'None'),
      (0.5, '0.5'),
    ]:
      self.assertEqual(checks.described(value), want)

  @parameterized.parameters(
    (checks.task, AGGREGATOR, 'got an Aggregator: the task comes first'),
    (checks.task, types.Network(max, max), 'got a Network: make one of a netw'),
    (checks.optimizer, 0.1, r'got 0.1: for example optimizer=optax.sgd\(0.1\)'),
    (checks.optimizer, optax.sgd, r'the function sgd: call it, .*optax.sgd\('),
    (checks.optimizer, types.Task, 'got the class Task'),
    (checks.optimizer, HOLDER, 'pass its tx, optimizer=optimizer.tx'),
    (checks.rate, optax.sgd(0.1), 'a number or a schedule; got an optax opt'),
    (checks.rate, 'fast', "learning_rate must be a number; got 'fast'"),
  )
  def test_kinds(self, check, value, message):
    with self.assertRaisesRegex(TypeError, message):
      check(value)

  @parameterized.parameters(
    (ValueError, [[0.5, 0.5], [1.0]], 'matrix must be an array; .* differ in'),
    (TypeError, np.eye(2) * 1j, 'must hold real numbers; got complex numbers'),
    (TypeError, [['1', '0']], 'must hold real numbers; got text'),
    (TypeError, None, 'must hold real numbers; got None'),
  )
  def test_not_real_numbers(self, kind, value, message):
    with self.assertRaisesRegex(kind, message):
      checks.host_array(value, name='matrix')

  def test_real_numbers(self):
    for value in ([True], [1], [0.5], jnp.ones(1, jnp.bfloat16)):
      got = checks.host_array(value, name='matrix')
      np.testing.assert_array_equal(got, np.asarray(value))
    with self.assertRaisesRegex(TypeError, 'x must be concrete'):
      jax.eval_shape(lambda x: checks.host_array(x, name='x'), np.ones(2))

  def test_options_that_a_function_does_not_have(self):
    def trim(updates, *, num_trimmed, mask=None):
      del updates, num_trimmed, mask

    wrong = functools.partial(trim, factor=3)
    with self.assertRaisesRegex(
      TypeError,
      r"rule=partial\(trim, ...\) .* no option 'factor': its options",
    ):
      checks.rule(wrong, name='rule')
    known = checks.parameters(functools.partial(trim, mask=3), name='rule')
    self.assertEqual(list(known), ['updates', 'num_trimmed', 'mask'])

  def test_axes_that_are_not_mapped(self):
    size = lambda name: jax.vmap(
      lambda x: x * checks.axis_size(name), axis_name='clients'
    )
    np.testing.assert_array_equal(size('clients')(jnp.ones(3)), 3 * np.ones(3))
    with self.assertRaisesRegex(ValueError, "axis_name='others' is not mapped"):
      size('others')(jnp.ones(3))

  def test_kinds_that_fit(self):
    task = types.Task(max, max, max)
    self.assertIs(checks.task(task), task)
    self.assertIs(checks.task(HOLDER), HOLDER)  # Whatever its class.
    checks.optimizer(optax.adam(0.1))
    checks.rate(optax.constant_schedule(0.1))

  def test_algorithms_check_what_they_are_given(self):
    algorithm = checks.algorithm(
      lambda key: types.Network(1, 2),
      lambda state, cohort, *, key: (state, {}),
      lambda state: state,
      state=types.Network,
    )
    key = jax.random.key(0)
    state = algorithm.init(key)
    cohort = types.Cohort(
      client_ids=np.arange(2), data=np.ones((2, 3)), mask=None, weights=None
    )
    self.assertIs(algorithm.step(state, cohort, key=key)[0], state)
    for arguments, message in [
      ((state, cohort, 0), 'key must be a typed key, .* got int'),
      ((state, cohort, np.zeros(2, np.uint32)), 'typed key, .* got uint32'),
      (
        (state, {'x': 1}, key),
        r'cohort must be a .*Cohort.* got a dict of len',
      ),
      ((cohort, state, key), r'got a Network. The order is step\(state, coho'),
      (((1, 2), cohort, key), 'with init, apply; got a tuple of length 2'),
    ]:
      with self.assertRaisesRegex(TypeError, message):
        algorithm.step(*arguments[:2], key=arguments[2])
    with self.assertRaisesRegex(TypeError, 'key is required'):
      algorithm.init(None)

  def test_cohorts(self):
    cohort = types.Cohort(
      client_ids=np.arange(2), data={'x': np.ones(3)}, mask=None, weights=None
    )
    with self.assertRaisesRegex(
      ValueError, r"cohort.data\['x'\] has shape \(3,\): need leaves .* N = 2"
    ):
      checks.cohort(cohort, 2)
    with self.assertRaisesRegex(
      ValueError, r'cohort has 2 clients but m=3 \(client_ids of shape \(2,\)\)'
    ):
      checks.cohort(cohort, 3, label='m')


if __name__ == '__main__':
  absltest.main()
