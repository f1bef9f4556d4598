# SPDX-License-Identifier: Apache-2.0
"""Optimizers and step sizes of specs, against optax."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
from absl.testing import absltest, parameterized

from jaxdl import core, local


class SteppedInverseDecayTest(absltest.TestCase):
  def test_published_settings(self):
    small = local.stepped_inverse(0.75, decay=50, every=50)
    for step, want in ((0, 0.75), (49, 0.75), (50, 0.375), (149, 0.25)):
      self.assertAlmostEqual(float(small(step)), want, places=6)
    large = local.stepped_inverse(0.5, decay=167, every=1500)
    self.assertAlmostEqual(float(large(1499)), 0.5)
    self.assertAlmostEqual(float(large(1500)), 0.5 / (1500 / 167 + 1), places=6)

  def test_traced_steps(self):
    schedule = local.stepped_inverse(1.0, decay=10, every=4)
    steps = np.arange(20)
    want = 1 / (steps // 4 * 4 / 10 + 1)
    np.testing.assert_allclose(jax.jit(jax.vmap(schedule))(steps), want, 1e-6)

  def test_steps_are_counted_in_whole_numbers(self):
    # As float32, 2^24 + 1 is 2^24.
    schedule = local.stepped_inverse(1.0, decay=1, every=2**24 + 1)
    self.assertEqual(float(schedule(2**24)), 1.0)
    self.assertLess(float(schedule(2**24 + 1)), 1e-6)

  def test_ranges(self):
    with self.assertRaisesRegex(ValueError, 'every must be at least 1'):
      local.stepped_inverse(1.0, decay=1, every=0)
    with self.assertRaisesRegex(ValueError, r'decay must lie in \(0.0'):
      local.stepped_inverse(1.0, decay=0, every=1)


class CoreTest(absltest.TestCase):
  def test_everything_listed_is_there(self):
    for name in core.__all__:
      self.assertTrue(hasattr(core, name), name)


def _path(optimizer, num_steps=12):
  """Parameters over some steps on a quadratic with a running statistic."""
  params = {'w': jnp.array([1.0, -2.0]), 'statistics': jnp.array([3.0])}
  state, out = optimizer.init(params), []
  for _ in range(num_steps):
    grads = {'w': 3 * params['w'], 'statistics': 0 * params['statistics']}
    updates, state = optimizer.update(grads, state, params)
    params = optax.apply_updates(params, updates)
    out.append(params)
  return jax.device_get(out)


class GamesTest(absltest.TestCase):
  """What learners of games ask for."""

  def test_rmsprop_adds_eps_to_the_root(self):
    got = _path(local.make_optimizer('rmsprop(0.01, decay=0.97, eps=0.5)'), 5)
    x, square = np.array([1.0, -2.0]), np.zeros(2)
    for params in got:
      grad = 3 * x
      square = 0.97 * square + 0.03 * grad**2
      x = x - 0.01 * grad / (np.sqrt(square) + 0.5)
      np.testing.assert_allclose(params['w'], x, rtol=1e-5)

  def test_linear_falls_to_a_share(self):
    schedule = local.make_schedule('linear(0.5, end=0.2)', num_steps=10)
    got = [float(schedule(t)) for t in (0, 5, 10, 20)]
    np.testing.assert_allclose(got, [0.5, 0.3, 0.1, 0.1], rtol=1e-6)
    with self.assertRaisesRegex(ValueError, 'decay must'):
      local.make_optimizer('rmsprop(decay=1.0)')


class OptimizersTest(parameterized.TestCase):
  @parameterized.parameters(
    ('sgd(0.05, momentum=0.9)', optax.sgd(0.05, momentum=0.9)),
    (
      'sgd(0.05, weight_decay=0.1, schedule=steps(at=(1/3, 2/3)))',
      optax.chain(
        optax.add_decayed_weights(0.1, mask={'w': True, 'statistics': False}),
        optax.sgd(optax.piecewise_constant_schedule(0.05, {4: 0.2, 8: 0.2})),
      ),
    ),
    (
      'adam(0.01, weight_decay=0.1, schedule=one_cycle)',
      optax.chain(
        optax.add_decayed_weights(0.1, mask={'w': True, 'statistics': False}),
        optax.adam(optax.cosine_onecycle_schedule(12, 0.01, 0.2, 2.0, 100.0)),
      ),
    ),
    (
      'adamw(0.01, weight_decay=0.1, clip=0.5, schedule=cosine)',
      optax.chain(
        optax.clip(0.5),
        optax.adamw(
          optax.cosine_decay_schedule(0.01, 12),
          weight_decay=0.1,
          mask={'w': True, 'statistics': False},
        ),
      ),
    ),
    ('yogi(0.01)', optax.yogi(0.01)),
    ('adagrad(0.1)', optax.adagrad(0.1)),
  )
  def test_is_the_recipe_of_optax(self, spec, want):
    got = _path(local.make_optimizer(spec, num_steps=12))
    jax.tree.map(np.testing.assert_array_equal, got, _path(want))

  def test_every_name_makes_one(self):
    for name in local.OPTIMIZERS:
      for schedule in local.SCHEDULES:
        spec = f'{name}(schedule={schedule})'
        optimizer = local.make_optimizer(spec, num_steps=9)
        self.assertTrue(np.isfinite(_path(optimizer, 2)[-1]['w']).all(), spec)

  def test_transformations_are_kept(self):
    optimizer = optax.sgd(0.1)
    self.assertIs(local.make_optimizer(optimizer), optimizer)

  @parameterized.parameters(
    ('sgdd', "optimizer='sgdd' is unknown.*Did you mean 'sgd'"),
    ('sgd(lr=0.1)', "sgd has no option 'lr': its options are learning_rate"),
    ('sgd(momentum=1)', r'momentum must lie in \[0.0, 1.0\); got 1'),
    ('sgd(-1)', 'learning_rate must lie in'),
    ('sgd(1e999)', 'learning_rate must lie in'),
    ('adam(schedule=cosin)', "schedule='cosin' is unknown.*'cosine'"),
    ('adam(schedule=cosine)', 'schedule=cosine needs num_steps'),
    ('adam(clip=0)', 'clip must lie in'),
    ('adam(b1=1)', r"^optimizer='adam\(b1=1\)': b1 must lie in \[0.0, 1.0\)"),
    ('adamw(b2=-1)', 'b2 must lie in'),
    ('yogi(eps=-1)', 'eps must lie in'),
    ('adagrad(initial=nan)', 'initial must lie in'),
    ('adam(b1=abc)', "b1 must be a number; got 'abc'"),
    ('sgd(nesterov=false)', "nesterov must be True or False; got 'false'"),
  )
  def test_says_what_is_wrong(self, spec, message):
    with self.assertRaisesRegex(ValueError, message):
      local.make_optimizer(spec)

  def test_a_flag_is_checked_without_a_run_or_a_device(self):
    local.OPTIMIZERS.check('sgd(0.1, schedule=cosine)')
    for spec, message in (
      ('sgd(-1)', "^optimizer='sgd.-1.': learning_rate must"),
      ('sgd(schedule=one_cycle(warmup=2))', 'warmup must lie in'),
      ('sgd(schedule=halving(times=1001))', 'times must be at most 1000'),
    ):
      with self.assertRaisesRegex(ValueError, message):
        local.OPTIMIZERS.check(spec)

  def test_schedules_alone(self):
    halves = local.make_schedule('halving(1.0)', num_steps=10)
    np.testing.assert_allclose(
      [float(halves(t)) for t in (0, 2, 4, 6, 8)], [1, 0.5, 0.25, 0.125, 0.0625]
    )
    falls = local.make_schedule('inverse_time(1.0)', num_steps=10)
    self.assertAlmostEqual(float(falls(4)), 1 / 2)
    self.assertEqual(float(local.make_schedule(0.5)(7)), 0.5)
    rises = local.make_schedule('warmup(1.0, share=0.5)', num_steps=10)
    self.assertAlmostEqual(float(rises(2)), 0.4, places=6)


if __name__ == '__main__':
  absltest.main()
