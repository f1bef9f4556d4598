# SPDX-License-Identifier: Apache-2.0
"""Every rule and every chain against adversaries of every finite magnitude.

Adversaries send vectors between 1e-18 and 1e18 times as long as the honest
ones, all mixtures of two such lengths, along each other or not. Answers are
compared with float64 on explicit vectors, and with the guarantee of the rule.
"""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized
from contract import aggregator_cases as lib
from reference import aggregators as reference

from jaxdl import aggregators
from jaxdl.core import view as view_lib

N, F, D = lib.NUM_CLIENTS, lib.NUM_BYZANTINE, lib.SIZE
MAGNITUDES = 10.0 ** np.array([-18, -9, -3, 0, 1, 3, 6, 9, 12, 15, 18])
RATIO = F / (N - 2 * F)
KEY = 3  # Of the buckets, as in aggregator_cases.

# Squared distance to the honest mean over the honest variance, at most
# (Allouah et al. 2023, table 1). Rules of which no constant is proved get that
# of the median, the largest here.
MEDIAN = 4 * (1 + RATIO) ** 2
BOUNDS = {
  'median': MEDIAN, 'geometric_median': MEDIAN,
  'trimmed_mean': 6 * RATIO * (1 + RATIO), 'krum': 6 * (1 + RATIO),
  'meamed': MEDIAN, 'phocas': MEDIAN, 'multi_krum': 6 * (1 + RATIO),
  'repeated_krum': MEDIAN, 'bulyan': MEDIAN, 'mda': MEDIAN,
  'smea': 4 * F / (N - F) * (1 + RATIO) ** 2,
  'caf': MEDIAN,
}  # fmt: skip
# Bounded by the longest honest vector only.
BY_LENGTH = ('cge', 'signguard', 'centered_clipping')
# One direction is looked at: adversaries of two lengths hide behind each other.
ONE_DIRECTION = ('dnc',)
NO_BOUND = ('mean', 'flag', 'foolsgold', 'sign_majority')

REFERENCES = {
  'mean': lambda x, f: x.mean(axis=0),
  'median': lambda x, f: reference.median(x),
  'trimmed_mean': reference.trimmed_mean,
  'meamed': reference.meamed,
  'phocas': reference.phocas,
  'krum': reference.krum,
  'multi_krum': reference.multi_krum,
  'repeated_krum': reference.repeated_krum,
  'bulyan': reference.bulyan,
  'mda': reference.mda,
  'smea': reference.smea,
  'cge': reference.cge,
  'sign_majority': lambda x, f: reference.sign_majority(x),
}
PRE = {
  'nnm': lambda x: reference.nnm(x, F),
  'arc': lambda x: reference.arc(x, F),
  'clipping': lambda x: reference.clipping(x, 2.0),
  'bucketing': lambda x: _buckets() @ x,
}


# Clipped vectors are equally long, so which are shortest is anybody's guess.
TIES = (('arc', 'cge'), ('clipping', 'cge'))


@functools.cache
def _buckets():
  """The averaging matrix of the buckets that the fixed key draws."""
  rows = aggregators.bucketing(jnp.eye(N), key=jax.random.key(KEY))
  return np.asarray(rows, np.float64)


def _honest():
  return np.random.default_rng(0).normal(0.5, 1.0, (N - F, D))


def _pairs():
  """f64[A, F], how long the adversaries of each case are."""
  pairs = itertools.combinations_with_replacement(MAGNITUDES, F)
  return np.array(list(pairs))


@functools.cache
def _attacked():
  """All pairs of magnitudes, [A, N, D] in float32, adversaries in between."""
  draw = np.random.default_rng(1)
  pairs = _pairs()
  sent = np.stack([p[:, None] * draw.normal(size=D) for p in pairs])
  sent[::2, 1] = pairs[::2, 1:] * draw.normal(size=D)
  rows = np.concatenate(
    [np.broadcast_to(_honest(), (len(pairs), N - F, D)), sent], axis=1
  )
  return rows[:, _place()].astype(np.float32)


def _place():
  return np.random.default_rng(2).permutation(N)


def _stage(fn):
  """A registered rule or pre-aggregator with f and its key bound."""
  options = {}
  if fn.facts.byzantine is not None:
    options[fn.facts.byzantine] = F
  if fn.facts.random:
    options['key'] = jax.random.key(KEY)
  return functools.partial(fn, **options)


@functools.cache
def _before(name):
  stage = _stage(aggregators.PRE_RULES[name])
  return jax.jit(lambda rows: stage(view_lib.view(rows)))


@functools.cache
def _after(name):
  return jax.jit(_stage(aggregators.RULES[name]))


@functools.cache
def _mixed(pre):
  return [_before(pre)(rows) for rows in _attacked()]


def _fits(name, size):
  facts = aggregators.RULES[name].facts
  return size >= facts.factor * F + facts.extra


CHAINED = [
  (f'{pre}_{rule}', pre, rule)
  for pre in PRE
  for rule in aggregators.RULES
  if not aggregators.RULES[rule].facts.stateful
  and not aggregators.RULES[rule].facts.alone
  and _fits(rule, N // 2 if pre == 'bucketing' else N)
]


class MagnitudesTest(parameterized.TestCase):
  def _check_bound(self, rule, got, factor=1.0, slack=0.0):
    self.assertTrue(np.isfinite(got).all())
    if rule in NO_BOUND:
      return
    if rule in ONE_DIRECTION:  # Of one length, and longer than honest ones.
      got = got[_pairs()[:, 0] == _pairs()[:, 1]][4:]
    honest = _honest()
    mean = honest.mean(axis=0)
    variance = ((honest - mean) ** 2).sum(axis=1).mean()
    if rule in BOUNDS:
      error = ((got - mean) ** 2).sum(axis=1)
      bound = factor * BOUNDS[rule] + slack
      self.assertLessEqual(error.max() / variance, bound)
    else:
      longest = np.linalg.norm(honest, axis=1).max()
      away = np.linalg.norm(got, axis=1)
      self.assertLessEqual(away.max(), longest * (1 + 1e-5) * max(factor, 1))

  def _check_reference(self, rule, got, explicit, atol=1e-4):
    want = np.stack([REFERENCES[rule](x, F) for x in explicit])
    np.testing.assert_allclose(got, want, rtol=1e-4, atol=atol)

  @parameterized.named_parameters(
    (name, name) for name in aggregators.RULES if name != 'mean'
  )
  def test_alone(self, rule):
    run = lib.flat_program(lib.Case(rule))
    got = np.stack([np.asarray(run(x), np.float64) for x in _attacked()])
    if rule == 'flag':  # Lengths mean nothing to it.
      self.assertLessEqual(np.linalg.norm(got, axis=1).max(), 1 + 1e-5)
      directions = np.stack([reference.unit_rows(x) for x in _attacked()])
      want = np.stack([np.asarray(run(np.float32(x))) for x in directions])
      np.testing.assert_allclose(got, want, atol=1e-4)
      return
    self._check_bound(rule, got)
    if rule in REFERENCES:
      self._check_reference(rule, got, _attacked().astype(np.float64))

  @parameterized.named_parameters(CHAINED)
  def test_after_a_pre_aggregator(self, pre, rule):
    run = _after(rule)
    got = np.stack([np.asarray(run(v), np.float64) for v in _mixed(pre)])
    explicit = np.stack([PRE[pre](x.astype(np.float64)) for x in _attacked()])
    if rule == 'flag':
      self.assertLessEqual(np.linalg.norm(got, axis=1).max(), 1 + 1e-4)
      return
    if rule != 'mean':
      # Mixing lets every vector move by what nearest neighbors allow; buckets
      # and shorter vectors have spreads and means of their own.
      widen = {'nnm': 8 * F / (N - F), 'bucketing': 4.0}.get(pre, 4.0)
      slack = 1.0 + (widen if pre == 'nnm' else 8.0)
      self._check_bound(rule, got, max(widen, 1.0), slack)
    if rule not in REFERENCES or (pre, rule) in TIES:
      return
    if rule == 'mean' and pre not in ('clipping', 'arc'):
      return
    # Mixtures of nearly the same rows are nearly the same: which of them are
    # taken hangs on the last bits, how far the answer moves does not.
    alike = pre == 'nnm' and rule in ('bulyan', 'mda')
    self._check_reference(rule, got, explicit, 0.03 if alike else 1e-4)

  @parameterized.named_parameters(
    (name, name) for name in sorted(lib.SCALE - {'foolsgold'})
  )
  def test_honest_vectors_of_any_size(self, rule):
    """Twenty-four decades down and up, where squares leave float32."""
    run = lib.flat_program(lib.Case(rule))
    flat = lib.flat_updates(0)
    want = np.asarray(run(flat), np.float64)
    tol = 1e-5
    if rule == 'geometric_median':  # Its smoothing is a length of its own.
      tol = 0.3
    for power in (-80, 80):
      got = np.asarray(run(np.ldexp(flat, power)), np.float64)
      np.testing.assert_allclose(np.ldexp(got, -power), want, atol=tol)

  def test_a_bound_is_there_for_every_rule(self):
    known = {*BOUNDS, *BY_LENGTH, *ONE_DIRECTION, *NO_BOUND}
    self.assertEqual(known, set(aggregators.RULES))
    self.assertEqual(set(PRE), set(aggregators.PRE_RULES))


class NamedCasesTest(parameterized.TestCase):
  """Sets of rows that were answered wrongly once."""

  @parameterized.named_parameters(
    (name, name) for name in ('krum', 'multi_krum', 'mda')
  )
  def test_nearest_neighbor_mixing_beside_two_far_rows(self, rule):
    x = np.float32([1e9, 1e4, 1, 2, 3, 4, 5])[:, None]
    got = _named(rule)(x)
    self.assertAlmostEqual(float(got[0]), 3.0, places=5)
    want = REFERENCES[rule](reference.nnm(x, 2), 2)
    np.testing.assert_allclose(got, want, rtol=1e-6)

  def test_averaging_around_a_pivot_beside_two_far_rows(self):
    x = np.float32([1e9, 1e4, 1, 2, 3, 4, 5])[:, None]
    rule = functools.partial(
      aggregators.nearest_neighbor_averaging, pivot=3, num_byzantine=2
    )
    got = aggregators.chain(
      functools.partial(aggregators.nnm, num_byzantine=2), rule
    )(x)
    self.assertAlmostEqual(float(got[0]), 3.0, places=5)

  def test_a_minority_does_not_set_the_unit(self):
    """Honest squares overflow or vanish, or honest rows coincide."""
    draw = np.random.default_rng(0).normal(size=(9, 4))
    far = lambda *sizes: np.repeat(np.array(sizes)[:, None], 4, axis=1)
    sets = {
      'long': (far(1e-4), 1e20 * (1 + 0.1 * draw[:6]), 1),
      'short': (far(1e-21, 1.0), 1e-30 * draw, 2),
      'zero': (far(1e10, 1e30, 1e30), np.zeros((6, 4)), 3),
      'edge': (far(1e19, 1e38, 1e38), np.zeros((6, 4)), 3),
      'equal': (far(1.05, 1e18, 1e18), np.ones((6, 4)), 3),
    }
    for name, (sent, honest, f) in sets.items():
      x = np.concatenate([sent, honest]).astype(np.float32)
      for rule in ('krum', 'multi_krum', 'mda', 'smea', 'caf'):
        got = getattr(aggregators, rule)(x, num_byzantine=f)
        size = np.abs(honest).max()
        low = honest.min(axis=0) - 1e-5 * size
        high = honest.max(axis=0) + 1e-5 * size
        self.assertTrue(((got >= low) & (got <= high)).all(), (name, rule, got))
    largest = np.full((7, 5), 3e38, np.float32)
    np.testing.assert_allclose(
      aggregators.geometric_median(largest), largest[0], rtol=1e-5
    )

  def test_krum_after_mixing_finds_the_honest_row(self):
    run = jax.jit(
      aggregators.chain(
        functools.partial(aggregators.nnm, num_byzantine=4),
        functools.partial(aggregators.krum, num_byzantine=4),
      )
    )
    for seed in range(20):
      x = np.random.default_rng(seed).normal(size=(12, 5)).astype(np.float32)
      x[0] = 1e6
      want = reference.krum(reference.nnm(x, 4), 4)
      np.testing.assert_allclose(run(x), want, atol=1e-5)

  def test_filter_by_variance_without_equal_rounding(self):
    far = np.float32([1e10, 1, 2, 3, 4])[:, None]
    got = aggregators.caf(far, num_byzantine=1)
    self.assertAlmostEqual(float(got[0]), 2.5, places=5)
    ties = np.float32([0, 8, 11, 9, 2, 0, 1])[:, None]
    got = aggregators.caf(ties, num_byzantine=2)
    self.assertAlmostEqual(float(got[0]), 3.26271, places=5)
    run = jax.jit(functools.partial(aggregators.caf, num_byzantine=2))
    for seed in range(100):
      x = np.random.default_rng(seed).normal(size=(11, 4)).astype(np.float32)
      np.testing.assert_allclose(run(x), reference.caf(x, 2), atol=1e-4)

  def test_flag_does_not_see_lengths(self):
    x = np.random.default_rng(0).normal(0.3, 1, (15, 50)).astype(np.float32)
    x[:3] = x[0]
    run = jax.jit(aggregators.flag_aggregator)
    want = np.asarray(run(x))
    for size in (1e-18, 1e-3, 1e6, 1e18):
      moved = x.copy()
      moved[:3] *= np.float32(size)
      np.testing.assert_allclose(run(moved), want, atol=5e-6)

  def test_shares_of_equal_entries(self):
    """Entries that cannot be told apart share what is kept of them."""
    slope = lambda rule, x: np.asarray(
      jax.jit(jax.grad(lambda v: jnp.sum(rule(v[:, None]))))(np.float32(x))
    )
    trimmed = functools.partial(aggregators.trimmed_mean, num_trimmed=1)
    np.testing.assert_allclose(
      slope(trimmed, [0, 0, 1, 2, 5]), [1 / 6, 1 / 6, 1 / 3, 1 / 3, 0], 1e-6
    )
    around = functools.partial(aggregators.meamed, num_byzantine=2)
    np.testing.assert_allclose(
      slope(around, [0, 3, 3, 3, 5]), [0, 1 / 3, 1 / 3, 1 / 3, 0], 1e-6
    )
    around = functools.partial(aggregators.phocas, num_byzantine=1)
    np.testing.assert_allclose(
      slope(around, [0, 5, 5, 5, 5]), [0, 0.25, 0.25, 0.25, 0.25], 1e-6
    )
    np.testing.assert_allclose(
      slope(aggregators.median, [1, 1, 1, 1, 2, 0]),
      [0.25, 0.25, 0.25, 0.25, 0, 0],
      1e-6,
    )

  def test_gradient_of_flag_without_updates(self):
    grad = jax.jit(jax.grad(lambda x: jnp.sum(aggregators.flag_aggregator(x))))(
      jnp.zeros((4, 3))
    )
    np.testing.assert_array_equal(grad, 0.0)

  def test_signs_are_counted_whatever_the_leaves(self):
    flat = lib.flat_updates(0)
    rule = functools.partial(
      aggregators.weights_of,
      functools.partial(aggregators.signguard, sample_fraction=0.5),
      key=jax.random.key(0),
    )
    cut = {'a': flat[:, :3], 'b': flat[:, 3:4], 'c': flat[:, 4:]}
    np.testing.assert_allclose(rule(cut), rule(flat), atol=1e-6)

  def test_directions_at_the_ends_of_the_range(self):
    """Lengths of which the inverse is no number, and lengths far apart."""
    draw = np.random.default_rng(0)
    rows = draw.normal(0.5, 1.0, (7, 5))
    rows /= np.abs(rows).max()
    mixed = np.array([1e-34, 1e37, 1.0, 1e-20, 1e25, 1e3, 3e38])
    trusted = np.abs(rows[0])
    flag = jax.jit(
      lambda x: (
        aggregators.flag_aggregator(x, num_components=3),
        aggregators.flag_aggregator(x, num_components=3, normalize=False),
      )
    )
    trust, clip = jax.jit(aggregators.fltrust), jax.jit(_clipped)
    wide = lambda x: np.asarray(x, np.float64)
    for sizes in (1e-33, 1e37, 3e38, mixed):
      sizes = np.broadcast_to(sizes, 7)
      x = (rows * sizes[:, None]).astype(np.float32)
      unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
      got, raw = flag(x)
      np.testing.assert_allclose(got, reference.flag_update(unit, 3), atol=2e-5)
      if np.ptp(sizes) == 0:
        want = reference.flag_update(rows, 3, normalize=False)
        np.testing.assert_allclose(wide(raw) / sizes[0], want, atol=2e-5)
        np.testing.assert_allclose(
          wide(clip(x)[1]) / sizes[0],
          reference.arc(rows, 2),
          rtol=1e-5,
        )
      for length in (1e-33, 1.0, 1e37):
        got = trust(x, (trusted * length).astype(np.float32))
        want = reference.fltrust(unit, trusted)
        np.testing.assert_allclose(wide(got) / length, want, rtol=1e-5)
      np.testing.assert_allclose(
        clip(x)[0], reference.clipping(x.astype(np.float64), 1.0), rtol=1e-5
      )

  def test_ordinates_near_the_largest_number(self):
    x = np.float32([3e38, 3.1e38, 2.9e38, -3.3e38, 3.2e38])[:, None]
    got = aggregators.trimmed_mean(x, num_trimmed=1)
    np.testing.assert_allclose(got, 3e38, rtol=1e-6)
    got = aggregators.meamed(x, num_byzantine=1)
    np.testing.assert_allclose(got, 3.05e38, rtol=1e-6)


def _clipped(x):
  return (
    aggregators.clipping(x, clip_radius=1.0),
    aggregators.arc(x, num_byzantine=2),
  )


@functools.cache
def _named(rule):
  return jax.jit(
    aggregators.chain(
      functools.partial(aggregators.nnm, num_byzantine=2),
      functools.partial(getattr(aggregators, rule), num_byzantine=2),
    )
  )


if __name__ == '__main__':
  absltest.main()
