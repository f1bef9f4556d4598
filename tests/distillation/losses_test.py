# SPDX-License-Identifier: Apache-2.0
"""Divergences, weights and losses, against figures from elsewhere."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
from absl.testing import absltest, parameterized
from scipy import special, stats

from jaxdl import distillation

P_T, P_S = np.array([[0.7, 0.2, 0.1]]), np.array([[0.5, 0.3, 0.2]])
Z_T, Z_S = np.array([[2.0, 0.0, -1.0]]), np.array([[1.0, 0.5, 0.0]])
RNG = np.random.default_rng(0)
STUDENT = RNG.normal(size=(5, 4)).astype(np.float32)
TEACHER = 2 * RNG.normal(size=(5, 4)).astype(np.float32)
LABELS = np.array([0, 3, 1, 1, 2])


def _softmax(z, t=1.0):
  return special.softmax(np.asarray(z, np.float64) / t, axis=-1)


def _reference(student, teacher, nu, t):
  """F, R and the hard rule in float64."""
  p, q = _softmax(student, t), _softmax(teacher, t)
  f = t**2 * stats.entropy(q, p, axis=-1)
  r = t**2 * stats.entropy(p, q, axis=-1)
  unsure = stats.entropy(p, axis=-1) > stats.entropy(q, axis=-1)
  return f, r, np.where(unsure, 1.0, nu) * f + np.where(unsure, nu, 1.0) * r


class DivergencesTest(parameterized.TestCase):
  def test_worked_example(self):
    t, s = jnp.log(P_T), jnp.log(P_S)
    kl, entropy = (
      distillation.kl_from_logits,
      distillation.entropy_from_logits,
    )
    np.testing.assert_allclose(kl(t, s), 0.0851228260, atol=1e-6)
    np.testing.assert_allclose(kl(s, t), 0.0920328502, atol=1e-6)
    np.testing.assert_allclose(entropy(t), 0.8018185525, atol=1e-6)
    np.testing.assert_allclose(entropy(s), 1.0296530141, atol=1e-6)
    both = distillation.peer_divergence(
      s, t, weights='hard(nu=2)', temperature=1.0
    )
    np.testing.assert_allclose(both, 0.2691885265, atol=1e-6)

  @parameterized.parameters(
    (1.0, 0.2551107197, 0.3230176239),
    (4.0, 0.3833266541, 0.3791191317),
    (1e3, 0.3611111, 0.3611111),
  )
  def test_temperatures(self, t, forward, reverse):
    # In the limit of T both are half the variance of the difference.
    with jax.enable_x64(True):
      z_s, z_t = jnp.asarray(Z_S), jnp.asarray(Z_T)
      np.testing.assert_allclose(
        distillation.forward_divergence(z_s, z_t, t),
        forward,
        atol=1e-9 if t < 1e3 else 1e-3,
      )
      np.testing.assert_allclose(
        distillation.reverse_divergence(z_s, z_t, t),
        reverse,
        atol=1e-9 if t < 1e3 else 1e-3,
      )
    self.assertAlmostEqual(0.5 * np.var(Z_T - Z_S), 0.3611111, places=6)

  def test_against_scipy_and_optax(self):
    f, r, _ = _reference(STUDENT, TEACHER, 2.0, 3.0)
    got = distillation.forward_divergence(STUDENT, TEACHER, 3.0)
    np.testing.assert_allclose(got, f, rtol=1e-5, atol=3e-6)
    np.testing.assert_allclose(
      distillation.reverse_divergence(STUDENT, TEACHER, 3.0),
      r,
      rtol=1e-5,
      atol=3e-6,
    )
    log = lambda z: distillation.log_probs(z, 3.0)
    peer = optax.losses.kl_divergence_with_log_targets(
      log(STUDENT), log(TEACHER)
    )
    np.testing.assert_allclose(9 * peer, got, rtol=1e-5, atol=3e-6)
    np.testing.assert_allclose(
      distillation.entropy_from_logits(TEACHER),
      stats.entropy(_softmax(TEACHER), axis=-1),
      rtol=1e-5,
    )

  def test_gradients(self):
    t = 2.5
    slope = lambda fn: jax.grad(lambda z: jnp.sum(fn(z, TEACHER, t)))(STUDENT)
    p, q = _softmax(STUDENT, t), _softmax(TEACHER, t)
    np.testing.assert_allclose(
      slope(distillation.forward_divergence), t * (p - q), atol=1e-5
    )
    kl = stats.entropy(p, q, axis=-1)[:, None]
    np.testing.assert_allclose(
      slope(distillation.reverse_divergence),
      t * p * (np.log(p / q) - kl),
      atol=1e-5,
    )

  def test_equal_and_shifted_logits(self):
    shift = np.arange(5.0, dtype=np.float32)[:, None]
    for fn in (
      distillation.forward_divergence,
      distillation.reverse_divergence,
    ):
      np.testing.assert_allclose(
        fn(STUDENT, STUDENT + shift, 2.0), 0, atol=1e-6
      )
      slope = jax.grad(lambda z, fn=fn: jnp.sum(fn(z, STUDENT, 2.0)))
      np.testing.assert_allclose(slope(STUDENT), 0, atol=1e-6)
      np.testing.assert_allclose(
        fn(STUDENT + shift, TEACHER - shift, 2.0),
        fn(STUDENT, TEACHER, 2.0),
        rtol=1e-4,
      )

  def test_extreme_masked_and_half_precision_logits(self):
    far = jnp.array([[1e4, -1e4, 0.0]])
    for fn in (
      distillation.forward_divergence,
      distillation.reverse_divergence,
    ):
      value, slope = jax.value_and_grad(lambda z, fn=fn: fn(z, -far, 2.0)[0])(
        far
      )
      self.assertTrue(np.isfinite(value) and np.isfinite(slope).all())
      self.assertGreater(value, 1e4)
    # A class that both mask out is not there.
    hidden = jnp.full((5, 1), -jnp.inf)
    wide = lambda z: jnp.concatenate([jnp.asarray(z), hidden], axis=1)
    fn = lambda z: jnp.sum(
      distillation.peer_divergence(
        wide(z), wide(TEACHER), weights='symmetric', temperature=2.0
      )
    )
    value, slope = jax.value_and_grad(fn)(STUDENT)
    f, r, _ = _reference(STUDENT, TEACHER, 1.0, 2.0)
    np.testing.assert_allclose(value, np.sum(f + r), rtol=1e-5, atol=3e-6)
    self.assertTrue(np.isfinite(slope).all())
    half = distillation.log_probs(jnp.asarray(STUDENT, jnp.bfloat16))
    self.assertEqual(half.dtype, jnp.float32)

  def test_uniform_teacher(self):
    got = distillation.forward_divergence(STUDENT, np.zeros_like(STUDENT), 2.0)
    want = 4 * (-np.log(4) - np.log(_softmax(STUDENT, 2.0)).mean(axis=1))
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=3e-6)


class WeightsTest(parameterized.TestCase):
  def test_hard_rule_and_its_ties(self):
    rule = distillation.weight_rule('hard(nu=3)')
    a, b = rule(jnp.array([-1.0, 0.0, 1.0]))
    self.assertEqual(a.tolist(), [3, 3, 1])
    self.assertEqual(b.tolist(), [1, 1, 3])
    a, b = distillation.divergence_weights(STUDENT, STUDENT, weights='hard')
    self.assertEqual((a.tolist(), b.tolist()), ([2] * 5, [1] * 5))

  def test_soft_rule_goes_from_one_to_the_other(self):
    gap = np.array([-50.0, 0.0, 0.3, 50.0])
    a, b = distillation.weight_rule('soft(nu=3, kappa=0.2)')(gap)
    up = 1 + 2 * special.expit(gap / 0.2)
    np.testing.assert_allclose(b, up, rtol=1e-5, atol=3e-6)
    np.testing.assert_allclose(a, 4 - up, rtol=1e-5, atol=1e-6)

  def test_nu_one_is_jeffreys(self):
    f, r, _ = _reference(STUDENT, TEACHER, 1.0, 2.0)
    for weights in ('hard(nu=1)', 'soft(nu=1)', 'symmetric', 'fixed'):
      got = distillation.peer_divergence(STUDENT, TEACHER, weights=weights)
      np.testing.assert_allclose(got, f + r, rtol=1e-5, atol=3e-6)
    got = distillation.peer_divergence(
      STUDENT, TEACHER, weights='fixed(forward=0.3, reverse=0)'
    )
    np.testing.assert_allclose(got, 0.3 * f, rtol=1e-5, atol=3e-6)

  def test_roles_may_be_swapped_under_the_hard_rule(self):
    one = distillation.peer_divergence(STUDENT, TEACHER, weights='hard(nu=3)')
    two = distillation.peer_divergence(TEACHER, STUDENT, weights='hard(nu=3)')
    np.testing.assert_allclose(one, two, rtol=1e-5, atol=3e-6)
    _, _, want = _reference(STUDENT, TEACHER, 3.0, 2.0)
    np.testing.assert_allclose(one, want, rtol=1e-5, atol=3e-6)

  def test_weights_have_no_gradient(self):
    a, b = distillation.divergence_weights(
      STUDENT, TEACHER, 2.0, weights='soft'
    )
    frozen = lambda z: jnp.sum(
      a * distillation.forward_divergence(z, TEACHER, 2.0)
      + b * distillation.reverse_divergence(z, TEACHER, 2.0)
    )
    moving = lambda z: jnp.sum(
      distillation.peer_divergence(z, TEACHER, weights='soft')
    )
    np.testing.assert_allclose(
      jax.grad(frozen)(STUDENT), jax.grad(moving)(STUDENT), atol=1e-6
    )


class LossesTest(parameterized.TestCase):
  def test_student_and_teacher_against_numpy(self):
    student, parts = distillation.student_loss(
      STUDENT, TEACHER, LABELS, strength=0.5, temperature=3.0
    )
    teacher, _ = distillation.teacher_loss(
      TEACHER, STUDENT, LABELS, strength=0.5, temperature=3.0
    )
    _, r, balanced = _reference(STUDENT, TEACHER, 2.0, 3.0)
    ce = lambda z: -np.log(_softmax(z)[np.arange(5), LABELS])
    want = np.mean(ce(STUDENT) + 0.5 * balanced)
    np.testing.assert_allclose(student, want, rtol=1e-5, atol=3e-6)
    np.testing.assert_allclose(
      parts['cross_entropy'], ce(STUDENT).mean(), rtol=1e-5, atol=3e-6
    )
    np.testing.assert_allclose(
      teacher, np.mean(ce(TEACHER) + 0.5 * r), rtol=1e-5, atol=3e-6
    )

  def test_no_gradient_reaches_the_other(self):
    student = jax.grad(
      lambda z: distillation.student_loss(STUDENT, z, LABELS)[0]
    )
    teacher = jax.grad(
      lambda z: distillation.teacher_loss(TEACHER, z, LABELS)[0]
    )
    self.assertFalse(np.any(student(TEACHER)))
    self.assertFalse(np.any(teacher(STUDENT)))

  def test_several_teachers_and_masks(self):
    mask = np.array([True, True, False, True, False])
    got, _ = distillation.student_loss(
      STUDENT, [TEACHER, -TEACHER], LABELS, mask=mask
    )
    one, two = (
      distillation.student_loss(
        STUDENT[mask], z[mask], LABELS[mask], temperature=2.0
      )[0]
      for z in (TEACHER, -TEACHER)
    )
    np.testing.assert_allclose(got, 0.5 * (one + two), rtol=1e-5, atol=3e-6)
    nobody, _ = distillation.student_loss(
      STUDENT, TEACHER, LABELS, mask=np.zeros(5, bool)
    )
    self.assertEqual(float(nobody), 0)

  def test_smoothed_labels(self):
    got = distillation.smoothed_loss(STUDENT, LABELS, smoothing=0.3)
    soft = optax.smooth_labels(jax.nn.one_hot(LABELS, 4), 0.3)
    want = optax.softmax_cross_entropy(STUDENT, soft).mean()
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=3e-6)

  def test_ensembles(self):
    both = [jnp.asarray(STUDENT), jnp.asarray(TEACHER)]
    make = lambda kind: np.asarray(
      distillation.ensemble_logits(both, LABELS, kind=kind)
    )
    np.testing.assert_allclose(make('mean'), (STUDENT + TEACHER) / 2, rtol=1e-6)
    rows = np.arange(5)
    losses = np.stack(
      [-np.log(_softmax(z)[rows, LABELS]) for z in (STUDENT, TEACHER)]
    )
    best = losses.argmin(axis=0)
    self.assertLen(set(best.tolist()), 2)
    want = np.where(best[:, None] == 0, STUDENT, TEACHER)
    np.testing.assert_array_equal(make('naive'), want)
    rise = [z - z[rows, LABELS][:, None] for z in (STUDENT, TEACHER)]
    np.testing.assert_allclose(make('min_logit'), np.minimum(*rise), rtol=1e-6)

  @parameterized.parameters(
    (dict(teacher=TEACHER[:, :3]), 'student has 4 classes, teacher 3'),
    (dict(teacher=TEACHER[:3]), 'must see the same examples'),
    (dict(temperature=0.0), r'temperature must lie in \(0.0'),
    (dict(strength=-1.0), 'strength must lie in'),
    (dict(weights='hard(nu=0)'), 'nu must lie in'),
    (dict(weights='soft(kappa=0)'), 'kappa must lie in'),
    (dict(weights='harsh'), "weights='harsh' is unknown.*'hard'"),
    (dict(labels=LABELS + 1), r'labels must lie in \[0, 4\); got 4'),
    (dict(labels=LABELS[:2]), 'one entry per example'),
    (dict(student=np.full((5, 4), np.nan, np.float32)), '20 of 20 are NaN'),
    (
      dict(
        student=np.zeros((0, 4), np.float32),
        teacher=np.zeros((0, 4), np.float32),
        labels=np.zeros(0, int),
      ),
      'must have examples and classes',
    ),
  )
  def test_says_what_is_wrong(self, options, message):
    options = {
      'student': STUDENT, 'teacher': TEACHER, 'labels': LABELS, **options
    }  # fmt: skip
    args = [options.pop(k) for k in ('student', 'teacher', 'labels')]
    with self.assertRaisesRegex(ValueError, message):
      distillation.student_loss(*args, **options)

  def test_says_what_is_wrong_of_types(self):
    with self.assertRaisesRegex(TypeError, 'labels must be integers'):
      distillation.student_loss(STUDENT, TEACHER, LABELS + 0.5)
    with self.assertRaisesRegex(TypeError, 'weights must be a part'):
      distillation.student_loss(STUDENT, TEACHER, LABELS, weights=3)
    with self.assertRaisesRegex(TypeError, 'must be floating point'):
      distillation.kl_from_logits(LABELS, LABELS)
    traced = jax.jit(
      lambda labels: distillation.student_loss(STUDENT, TEACHER, labels)[0]
    )
    self.assertTrue(np.isnan(traced(LABELS + 1)))


class BadPeersTest(parameterized.TestCase):
  def test_peers_and_masks(self):
    for call, message in (
      (lambda: distillation.peer_divergence(STUDENT, []), 'empty sequence'),
      (lambda: distillation.student_loss(STUDENT, [], LABELS), 'empty seq'),
      (lambda: distillation.ensemble_logits([], LABELS), 'empty sequence'),
      (
        lambda: distillation.student_loss(
          STUDENT, TEACHER, LABELS, mask=np.ones(3)
        ),
        r'mask must have one entry per example, shape \(5,\)',
      ),
      (
        lambda: distillation.ensemble_logits(
          [STUDENT, TEACHER], LABELS + 2, kind='min_logit'
        ),
        r'labels must lie in \[0, 4\)',
      ),
      (
        lambda: distillation.ensemble_logits(
          [STUDENT, TEACHER], LABELS[:2], kind='min_logit'
        ),
        'labels must have one entry per example',
      ),
    ):
      with self.assertRaisesRegex(ValueError, message):
        call()

  @parameterized.parameters(
    distillation.forward_divergence, distillation.reverse_divergence
  )
  def test_temperature_is_a_number(self, divergence):
    with self.assertRaisesRegex(TypeError, 'temperature must be a number; got'):
      divergence(STUDENT, TEACHER, '2')

  def test_a_rule_gives_two_weights(self):
    with self.assertRaisesRegex(TypeError, r'that gives \(a, b\)'):
      distillation.peer_divergence(STUDENT, TEACHER, weights=lambda gap: 1.0)
    with self.assertRaisesRegex(TypeError, 'logits must be a sequence'):
      distillation.ensemble_logits(STUDENT, LABELS)

  def test_infinite_logits(self):
    with self.assertRaisesRegex(ValueError, 'must be below infinity; 1 of 20'):
      distillation.log_probs(jnp.asarray(STUDENT).at[0, 0].set(jnp.inf))
    with self.assertRaisesRegex(ValueError, '-inf for all classes'):
      distillation.log_probs(jnp.full((1, 2), -jnp.inf))
    with self.assertRaisesRegex(TypeError, 'logits must be an array; got a li'):
      distillation.log_probs([[1.0, 2.0]])

  def test_nan_of_a_peer_is_seen_in_the_gradient(self):
    broken = jnp.asarray(TEACHER).at[1].set(jnp.nan)
    for divergence in (
      distillation.forward_divergence,
      distillation.reverse_divergence,
    ):
      total = lambda z, f=divergence: f(z, broken, 2.0).sum()
      slopes = jax.jit(jax.grad(total))(jnp.asarray(STUDENT))
      np.testing.assert_array_equal(
        np.isnan(slopes).all(axis=1), np.arange(5) == 1
      )


if __name__ == '__main__':
  absltest.main()
