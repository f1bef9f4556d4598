# SPDX-License-Identifier: Apache-2.0
"""Calibration against worked figures, NumPy, SciPy and scikit-learn."""

import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized
from scipy import optimize, special, stats
from sklearn import calibration, metrics as sk_metrics

from jaxdl import metrics, networks

RNG = np.random.default_rng(0)
LOGITS = (2 * RNG.normal(size=(97, 5))).astype(np.float32)
LABELS = np.where(
  RNG.random(97) < 0.5, LOGITS.argmax(1), RNG.integers(5, size=97)
)
PROBS = np.asarray(jax.nn.softmax(LOGITS))


def _reference(probs, labels, num_bins):
  """ECE and MCE in float64, bin by bin."""
  probs = np.asarray(probs, np.float64)
  conf, right = probs.max(1), probs.argmax(1) == labels
  place = np.minimum((conf * num_bins).astype(int), num_bins - 1)
  gaps, shares = [], []
  for b in range(num_bins):
    inside = place == b
    if inside.any():
      gaps.append(abs(right[inside].mean() - conf[inside].mean()))
      shares.append(inside.mean())
  return np.dot(gaps, shares), max(gaps)


class CalibrationTest(parameterized.TestCase):
  def test_worked_example(self):
    conf = np.array([0.95, 0.85, 0.75, 0.65])
    probs = np.stack([conf, 1 - conf], axis=1)
    labels = np.array([0, 0, 1, 0])
    ece = metrics.expected_calibration_error
    np.testing.assert_allclose(ece(probs, labels, num_bins=10), 0.325, 1e-6)
    # One bin: the gap of the means.
    np.testing.assert_allclose(
      ece(probs, labels, num_bins=1), abs(0.75 - conf.mean()), atol=1e-6
    )
    coins = np.full((10, 2), 0.5)
    fair = np.arange(10) % 2
    self.assertAlmostEqual(float(ece(coins, fair)), 0.0, places=6)
    # Certainty is in the last bin.
    sure = metrics.reliability_bins(np.eye(2), np.arange(2), num_bins=4)
    self.assertEqual(sure.count.tolist(), [0, 0, 0, 2])

  @parameterized.parameters(1, 7, 15)
  def test_against_numpy(self, num_bins):
    ece, mce = _reference(PROBS, LABELS, num_bins)
    got = jax.jit(
      metrics.expected_calibration_error, static_argnames='num_bins'
    )
    np.testing.assert_allclose(
      got(PROBS, LABELS, num_bins=num_bins), ece, atol=1e-6
    )
    np.testing.assert_allclose(
      metrics.maximum_calibration_error(PROBS, LABELS, num_bins=num_bins),
      mce,
      atol=1e-6,
    )

  def test_adaptive_bins_hold_as_many_each(self):
    conf, right = PROBS.max(1), PROBS.argmax(1) == LABELS
    order = np.argsort(conf, kind='stable')
    place = np.arange(97) * 10 // 97
    want = sum(
      (place == b).mean()
      * abs(right[order][place == b].mean() - conf[order][place == b].mean())
      for b in range(10)
    )
    self.assertEqual(set(np.bincount(place)), {9, 10})
    got = metrics.adaptive_calibration_error(PROBS, LABELS, num_bins=10)
    np.testing.assert_allclose(got, want, atol=1e-6)

  def test_table_against_scikit_learn(self):
    conf, right = PROBS.max(1), PROBS.argmax(1) == LABELS
    accuracy, confidence = calibration.calibration_curve(right, conf, n_bins=8)
    bins = metrics.reliability_bins(PROBS, LABELS, num_bins=8)
    table = jax.tree.map(np.asarray, metrics.reliability_table(bins))
    some = table['share'] > 0
    np.testing.assert_allclose(table['accuracy'][some], accuracy, atol=1e-6)
    np.testing.assert_allclose(table['confidence'][some], confidence, atol=1e-6)
    self.assertTrue(np.isnan(table['accuracy'][~some]).all())
    self.assertAlmostEqual(float(table['share'].sum()), 1.0, places=6)
    np.testing.assert_allclose(table['high'], np.arange(1, 9) / 8)

  def test_scores_against_scikit_learn_and_scipy(self):
    np.testing.assert_allclose(
      metrics.negative_log_likelihood(LOGITS, LABELS),
      sk_metrics.log_loss(LABELS, special.softmax(LOGITS.astype(float), 1)),
      rtol=1e-5,
    )
    truth = np.eye(5)[LABELS]
    want = 5 * sk_metrics.mean_squared_error(truth, PROBS.astype(np.float64))
    np.testing.assert_allclose(
      metrics.brier_score(PROBS, LABELS), want, rtol=1e-5
    )
    np.testing.assert_allclose(
      metrics.mean_entropy(PROBS),
      stats.entropy(PROBS, axis=1).mean(),
      rtol=1e-5,
    )

  def test_parts_add_up_and_padding_has_no_effect(self):
    whole = metrics.reliability_bins(PROBS, LABELS)
    parts = [
      metrics.reliability_bins(PROBS[rows], LABELS[rows])
      for rows in (slice(40), slice(40, None))
    ]
    both = jax.tree.map(jnp.add, *parts)
    jax.tree.map(
      lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-5), both, whole
    )
    ece = metrics.expected_calibration_error
    np.testing.assert_allclose(ece(both), ece(PROBS, LABELS), atol=1e-6)
    padded = np.concatenate([PROBS, np.full((3, 5), np.nan, np.float32)])
    labels = np.concatenate([LABELS, [99, -1, 0]])
    mask = np.arange(100) < 97
    for name in (
      'expected_calibration_error',
      'maximum_calibration_error',
      'adaptive_calibration_error',
      'brier_score',
    ):
      figure = getattr(metrics, name)
      np.testing.assert_allclose(
        figure(padded, labels, mask=mask), figure(PROBS, LABELS), rtol=1e-5
      )

  def test_nan_is_not_hidden_under_jit(self):
    broken = PROBS.copy()
    broken[3, 1] = np.nan
    got = jax.jit(metrics.expected_calibration_error)(broken, LABELS)
    self.assertTrue(np.isnan(got))
    sums = jax.jit(metrics.calibration_sums)(LOGITS, LABELS + 9)
    self.assertTrue(np.isnan(metrics.calibration_of(sums)['brier']))

  @parameterized.parameters(
    (PROBS, LABELS, {'num_bins': 0}, 'num_bins must be at least 1; got 0'),
    (LOGITS, LABELS, {}, 'probs must be probabilities.*softmax'),
    (PROBS, LABELS + 1, {}, r'labels must lie in \[0, 5\); got 5'),
    (PROBS * np.nan, LABELS, {}, '485 of 485 are NaN'),
    (PROBS[:0], LABELS[:0], {}, 'must have examples and classes'),
    (PROBS, LABELS[:3], {}, r'probs must have shape \(\*labels, K\)'),
    (PROBS, LABELS, {'mask': np.ones(3)}, 'mask must have the first axes'),
  )
  def test_says_what_is_wrong(self, probs, labels, options, message):
    with self.assertRaisesRegex(ValueError, message):
      metrics.expected_calibration_error(probs, labels, **options)


class TemperatureTest(parameterized.TestCase):
  def test_against_scipy(self):
    z = LOGITS.astype(np.float64)
    rows = np.arange(len(z))
    nll = lambda t: -special.log_softmax(z / t, axis=1)[rows, LABELS].mean()
    want = optimize.minimize_scalar(
      nll, bounds=(0.1, 20), method='bounded', options={'xatol': 1e-10}
    ).x
    self.assertGreater(want, 1.1)
    with jax.enable_x64(True):
      got = metrics.fit_temperature(jnp.asarray(z), LABELS)
    np.testing.assert_allclose(got, want, rtol=1e-6)
    np.testing.assert_allclose(
      jax.jit(metrics.fit_temperature)(LOGITS, LABELS), want, rtol=1e-4
    )

  @parameterized.parameters(0.01, 3.0, 1e3)
  def test_scales_with_the_logits(self, c):
    one = metrics.fit_temperature(LOGITS, LABELS)
    np.testing.assert_allclose(
      metrics.fit_temperature(c * LOGITS, LABELS), c * one, rtol=1e-4
    )
    shifted = LOGITS + np.arange(97, dtype=np.float32)[:, None]
    np.testing.assert_allclose(
      metrics.fit_temperature(shifted, LABELS), one, rtol=1e-4
    )

  def test_ends(self):
    size = np.sqrt(np.mean((LOGITS - LOGITS.mean(1, keepdims=True)) ** 2))
    best, worst = LOGITS.argmax(1), LOGITS.argmin(1)
    got = metrics.fit_temperature(LOGITS, best)
    np.testing.assert_allclose(got, size / 1e3, rtol=1e-3)
    got = metrics.fit_temperature(LOGITS, worst)
    np.testing.assert_allclose(got, size * 1e3, rtol=1e-3)
    same = metrics.fit_temperature(np.ones((3, 2), np.float32), LABELS[:3] % 2)
    self.assertEqual(float(same), 1.0)


class EvaluationTest(parameterized.TestCase):
  def test_a_test_set_in_batches_is_measured_as_a_whole(self):
    inputs = RNG.normal(size=(97, 3)).astype(np.float32)
    network = networks.logistic_regression(5)
    task = networks.classification(network, inputs[:1], num_classes=5)
    params = task.init(jax.random.key(0))
    pad = lambda x: np.concatenate([x, x[:3]]).reshape(4, 25, *x.shape[1:])
    batches = {
      'inputs': pad(inputs),
      'labels': pad(LABELS),
      'mask': (np.arange(100) < 97).reshape(4, 25),
    }
    got = jax.jit(lambda p: metrics.evaluate(task, p, batches))(params)
    self.assertEqual(set(got), {'accuracy', 'loss', 'ece', 'brier'})
    logits = np.asarray(network.apply(params, inputs), np.float64)
    probs = special.softmax(logits, axis=1)
    want = {
      'accuracy': (probs.argmax(1) == LABELS).mean(),
      'loss': sk_metrics.log_loss(LABELS, probs),
      'ece': _reference(probs, LABELS, 15)[0],
      'brier': ((probs - np.eye(5)[LABELS]) ** 2).sum(1).mean(),
    }
    for name, value in want.items():
      np.testing.assert_allclose(got[name], value, rtol=1e-5, err_msg=name)
    # The mean of the batches' errors is something else.
    each = [
      metrics.evaluate(
        task, params, jax.tree.map(lambda x, i=i: x[i : i + 1], batches)
      )
      for i in range(4)
    ]
    self.assertGreater(np.mean([e['ece'] for e in each]), 1.1 * got['ece'])

  def test_the_network_is_run_once(self):
    network = networks.mlp((32, 32), 5)
    example = jnp.zeros((1, 3))
    task = networks.classification(network, example, num_classes=5)
    params = jax.eval_shape(task.init, jax.random.key(0))
    shape = lambda *s, dtype='float32': jax.ShapeDtypeStruct(s, dtype)
    batches = {
      'inputs': shape(2, 64, 3),
      'labels': shape(2, 64, dtype='int32'),
      'mask': shape(2, 64, dtype='bool'),
    }
    count = lambda task: (
      jax.jit(lambda p, b: metrics.evaluate(task, p, b))
      .lower(params, batches)
      .compile()
      .as_text()
      .count(' dot(')
    )
    self.assertEqual(count(task), count(task._replace(logits=None)))
    self.assertGreater(count(task), 0)


class MaskedClassesTest(absltest.TestCase):
  def test_temperature_is_that_of_the_classes_that_are_left(self):
    few, labels = LOGITS[:, :3], LABELS % 3
    masked = np.concatenate([few, np.full((97, 2), -np.inf, 'f4')], axis=1)
    want = metrics.fit_temperature(few, labels)
    got = metrics.fit_temperature(masked, labels)
    np.testing.assert_allclose(got, want, rtol=1e-6)

  def test_nan_stays_under_jit(self):
    broken = jnp.asarray(LOGITS).at[0, 0].set(jnp.nan)
    found = jax.jit(metrics.fit_temperature)(broken, LABELS)
    self.assertTrue(jnp.isnan(found))

  def test_says_what_is_wrong(self):
    with self.assertRaisesRegex(ValueError, 'logits must be below infinity'):
      metrics.fit_temperature(LOGITS + np.inf, LABELS)
    with self.assertRaisesRegex(TypeError, 'bins must be ReliabilityBins'):
      metrics.reliability_table(PROBS)
    with self.assertRaisesRegex(TypeError, 'probs must be an array; got a l'):
      metrics.expected_calibration_error([[0.5, 0.5]], [0])


if __name__ == '__main__':
  absltest.main()
