# SPDX-License-Identifier: Apache-2.0
"""Guarantees under attack, and their failure one adversary further.

Every search runs as one vmapped program per rule: hand-made worst cases and
random ones at all magnitudes.
"""

import functools
import itertools

import jax
import numpy as np
from absl.testing import absltest, parameterized

from jaxdl import aggregators

D = 4


def _with_f(name, f, **options):
  argument = 'num_trimmed' if name == 'trimmed_mean' else 'num_byzantine'
  return functools.partial(
    getattr(aggregators, name), **{argument: f, **options}
  )


def _nnm_then(name, f):
  return aggregators.chain(_with_f('nnm', f), _with_f(name, f))


# Rule, smallest n that it needs for f = 2.
ROBUST = {
  'median': (lambda f: aggregators.median, 5),
  'trimmed_mean': (functools.partial(_with_f, 'trimmed_mean'), 5),
  'meamed': (functools.partial(_with_f, 'meamed'), 5),
  'phocas': (functools.partial(_with_f, 'phocas'), 5),
  'krum': (functools.partial(_with_f, 'krum'), 7),
  'multi_krum': (functools.partial(_with_f, 'multi_krum'), 7),
  'repeated_krum': (functools.partial(_with_f, 'repeated_krum'), 7),
  'bulyan': (functools.partial(_with_f, 'bulyan'), 11),
  'geometric_median': (lambda f: aggregators.geometric_median, 5),
  'mda': (functools.partial(_with_f, 'mda'), 5),
  'smea': (functools.partial(_with_f, 'smea'), 5),
  'caf': (functools.partial(_with_f, 'caf'), 5),
  'nnm_trimmed_mean': (functools.partial(_nnm_then, 'trimmed_mean'), 5),
  'nnm_krum': (functools.partial(_nnm_then, 'krum'), 7),
}


def _attacks(honest, f, num_random=24, seed=0):
  """Batches of f vectors: hand-made ones, then random ones, [A, f, D]."""
  draw = np.random.default_rng(seed)
  mean, std = honest.mean(axis=0), honest.std(axis=0, ddof=1)
  far = np.ones(D) / np.sqrt(D)
  same = [-mean, -10 * mean, 0 * mean, mean - 1.5 * std, mean + 1.5 * std]
  same += [mean + scale * far for scale in (1.0, 3.0, 10.0, 1e3, 1e6)]
  same += [honest[0], honest.max(axis=0), honest.min(axis=0) - 1e-3]
  out = [np.tile(v, (f, 1)) for v in same]
  signs = np.where(np.arange(f) % 2, 1.0, -1.0)[:, None]
  out += [mean + signs * scale * far for scale in (1.0, 1e2, 1e6)]
  for scale in np.logspace(-1, 6, num_random):
    out.append(mean + scale * draw.normal(size=(f, D)))
  return np.stack(out)


def _attacked(honest, sent, place=None):
  """Appends (or mixes in) what the adversaries send: [A, n, D]."""
  batch = np.broadcast_to(honest, (len(sent), *honest.shape))
  rows = np.concatenate([batch, sent], axis=1)
  if place is not None:
    rows = rows[:, place]
  return rows.astype(np.float32)


@functools.cache
def _program(name, f):
  make = ROBUST[name][0]
  return jax.jit(jax.vmap(make(f)))


class BreakdownTest(parameterized.TestCase):
  @parameterized.named_parameters((n, n) for n in ROBUST)
  def test_bounded_at_the_smallest_number_of_clients(self, name):
    f, n = 2, ROBUST[name][1]
    honest = np.random.default_rng(3).normal(1.0, 1.0, (n - f, D))
    place = np.random.default_rng(4).permutation(n)
    rows = _attacked(honest, _attacks(honest, f), place)
    got = np.asarray(_program(name, f)(rows), np.float64)
    spread = np.linalg.norm(honest - honest.mean(axis=0), axis=1).max()
    away = np.linalg.norm(got - honest.mean(axis=0), axis=1)
    # However far the adversaries go, the answer stays near the honest ones.
    self.assertLess(away.max(), 8 * spread)

  @parameterized.parameters('trimmed_mean', 'median', 'meamed', 'phocas')
  def test_coordinates_stay_in_the_honest_range(self, name):
    f, n = 2, 7
    honest = np.random.default_rng(5).normal(1.0, 1.0, (n - f, D))
    got = np.asarray(_program(name, f)(_attacked(honest, _attacks(honest, f))))
    slack = 1e-5
    if name in ('median', 'trimmed_mean'):
      self.assertTrue((got <= honest.max(axis=0) + slack).all())
      self.assertTrue((got >= honest.min(axis=0) - slack).all())
    else:  # Each kept entry is no farther than the farthest honest one.
      width = np.ptp(honest, axis=0)
      self.assertTrue((got <= honest.max(axis=0) + width).all())
      self.assertTrue((got >= honest.min(axis=0) - width).all())

  def test_mean_is_carried_away_by_one(self):
    honest = np.random.default_rng(6).normal(size=(9, D))
    rows = _attacked(honest, np.full((1, 1, D), 1e6))
    got = jax.jit(jax.vmap(aggregators.mean))(rows)
    self.assertGreater(float(np.abs(got).min()), 9e4)

  @parameterized.parameters(
    ('median', 3, 3), ('median', 3, 4), ('geometric_median', 3, 4),
    ('trimmed_mean', 5, 3), ('krum', 3, 4), ('mda', 5, 3), ('smea', 5, 3),
    ('caf', 5, 4),
  )  # fmt: skip
  def test_fails_when_more_come_than_declared_or_possible(
    self, name, num_honest, num_sent
  ):
    """Colluders beyond the bound take the answer along."""
    honest = np.random.default_rng(7).normal(size=(num_honest, D))
    sent = np.full((1, num_sent, D), 1e4)
    got = np.asarray(_program(name, 2)(_attacked(honest, sent)))
    self.assertGreater(np.abs(got).min(), 1e2)

  def test_exactly_half_breaks_the_median(self):
    honest = np.zeros((4, D))
    sent = np.full((1, 4, D), 1e5)
    got = _program('median', 2)(_attacked(honest, sent))
    np.testing.assert_allclose(got, np.full((1, D), 5e4))


def _worst_ratio(rule, n, f, seed=0):
  """Largest squared error over honest variance that a search finds."""
  draw = np.random.default_rng(seed)
  sets = []
  # Random clouds, and clouds with a group that looks like the adversaries.
  for i in range(40):
    x = draw.normal(size=(n, 1 + i % D)) if i % 2 else None
    if x is None:
      x = 0.1 * draw.normal(size=(n, 2))
      x[: f + i % 2] += np.array([1.0 + i / 10, 0.0])
    sets.append(np.pad(x, ((0, 0), (0, D - x.shape[1]))))
  for i in range(10):  # Two groups, one line.
    x = np.zeros((n, D))
    x[: f + i % 3, 0] = 1.0
    x[-1, 0] = i / 5
    sets.append(x)
  sets = np.stack(sets)
  for _ in range(3):  # Climb from the worst so far.
    out = np.asarray(rule(sets.astype(np.float32)), np.float64)
    ratios = np.zeros(len(sets))
    for ids in itertools.combinations(range(n), n - f):
      part = sets[:, list(ids)]
      mean = part.mean(axis=1)
      spread = ((part - mean[:, None]) ** 2).sum(axis=2).mean(axis=1)
      error = ((out - mean) ** 2).sum(axis=1)
      ratios = np.maximum(
        ratios, np.where(spread > 1e-6, error / np.maximum(spread, 1e-6), 0)
      )
    best = sets[np.argsort(ratios)[-5:]]
    worst = ratios.max()
    moved = np.tile(best, (10, 1, 1))
    moved = moved + draw.normal(size=moved.shape) * 10.0 ** draw.uniform(
      -2, 0, (len(moved), 1, 1)
    )
    moved[:5] = best
    sets = np.concatenate([moved, sets[len(moved) :]])
  return worst


class CoefficientTest(parameterized.TestCase):
  """Squared error <= kappa times the variance of any n - f clients."""

  N, F = 7, 2
  RHO = 2 / 3

  @parameterized.parameters(
    ('trimmed_mean', 6 * RHO * (1 + RHO)),
    ('krum', 6 * (1 + RHO)),
    ('geometric_median', 4 * (1 + RHO) ** 2),
    ('median', 4 * (1 + RHO) ** 2),
    ('smea', 4 * 2 / 5 * (1 + RHO) ** 2),
    ('nnm_trimmed_mean', 8 * 2 / 5 * (6 * RHO * (1 + RHO) + 1)),
    ('nnm_krum', 8 * 2 / 5 * (6 * (1 + RHO) + 1)),
  )
  def test_search_stays_below_the_bound(self, name, bound):
    worst = _worst_ratio(_program(name, self.F), self.N, self.F)
    self.assertLess(worst, bound)
    # No rule can do better than rho: the search is able to find that much.
    self.assertGreater(worst, self.RHO - 1e-3)

  def test_plain_mean_has_no_bound(self):
    sets = np.zeros((1, self.N, D), np.float32)
    sets[0, :2] = 1e4
    got = np.asarray(jax.jit(jax.vmap(aggregators.mean))(sets))
    # The honest five agree perfectly, yet the mean is far off.
    self.assertGreater(np.abs(got).max(), 1e3)


class ContractionTest(parameterized.TestCase):
  @parameterized.parameters((12, 1), (22, 2))
  def test_one_round_of_nearest_neighbor_averaging(self, n, f):
    """Each honest node averages its n - f nearest: drift shrinks."""
    draw = np.random.default_rng(n)
    h, trials = n - f, 250

    @jax.jit
    @jax.vmap
    def step(rows):
      return aggregators.nnm(rows, num_byzantine=f)[:h]

    honest = draw.normal(size=(trials, h, D)).astype(np.float32)
    honest[::2, : h // 2] += draw.normal(size=(trials // 2, 1, D)) * 3
    target = honest[np.arange(trials), draw.integers(0, h, trials)]
    scale = 10.0 ** draw.uniform(-1, 1, (trials, 1, 1))
    sent = target[:, None] + scale * draw.normal(size=(trials, f, D))
    rows = np.concatenate([honest, sent], axis=1).astype(np.float32)
    out = np.asarray(step(rows), np.float64)

    def drift(x):
      return ((x - x.mean(axis=1, keepdims=True)) ** 2).sum(axis=2).mean(axis=1)

    before = drift(honest.astype(np.float64))
    shift = ((out.mean(axis=1) - honest.mean(axis=1)) ** 2).sum(axis=1)
    self.assertLess((drift(out) / before).max(), 9.88 * f / (n - f))
    self.assertLess((shift / before).max(), 9 * f / (n - f))
    self.assertGreater((drift(out) / before).max(), 1e-3)


class FarClientsTest(parameterized.TestCase):
  @parameterized.parameters('trimmed_mean', 'mda', 'nnm_trimmed_mean')
  def test_only_honest_clients_count(self, name):
    """f copies of anything far give the answer of the honest set alone."""
    honest = np.random.default_rng(8).normal(size=(7, D))
    sent = np.stack([np.full((2, D), s) for s in (1e3, 1e6, 1e15, 1e30)])
    got = np.asarray(_program(name, 2)(_attacked(honest, sent)))
    for row in got[1:]:
      np.testing.assert_allclose(row, got[0], rtol=1e-5, atol=1e-5)
    if name != 'trimmed_mean':  # It also trims the two smallest.
      np.testing.assert_allclose(got[0], honest.mean(axis=0), atol=1e-5)


if __name__ == '__main__':
  absltest.main()
