# SPDX-License-Identifier: Apache-2.0
"""Scores, percentiles, masks: what is selected."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized
from jax.experimental import checkify

from jaxdl.perception import cooperation as coop
from jaxdl.perception.cooperation import _uncertainty, _values

KEY = jax.random.key(0)


def maps(*shape, seed=0):
  return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


class UncertaintyTest(parameterized.TestCase):
  @parameterized.parameters(
    (50.0, 2.5, [0, 0, 1, 1]),
    (90.0, 3.7, [0, 0, 0, 1]),
    (100.0, 4.0, [0, 0, 0, 0]),
    (0.0, 1.0, [0, 1, 1, 1]),
  )
  def test_flags_lie_above_the_percentile(self, q, threshold, flags):
    scores = jnp.array([1.0, 2.0, 3.0, 4.0])
    found = coop.conformal_uncertainty(scores, jnp.full(4, 7.0), q)
    self.assertAlmostEqual(float(found.threshold), threshold, places=5)
    self.assertEqual(found.flags.tolist(), [bool(f) for f in flags])
    np.testing.assert_array_equal(found.values, 7.0 * np.array(flags))

  @parameterized.parameters(3, 128, 700)
  def test_percentiles_are_those_of_numpy(self, count):
    values = maps(count)
    values[1] = values[0]
    mask = np.random.default_rng(1).random(count) < 0.6
    mask[0] = True
    for q in (0.0, 13.0, 50.0, 99.5, 100.0):
      got = _uncertainty.percentile(jnp.asarray(values), q)
      np.testing.assert_allclose(got, np.percentile(values, q), rtol=1e-5)
      got = _uncertainty.percentile(jnp.asarray(values), q, mask=mask)
      np.testing.assert_allclose(got, np.percentile(values[mask], q), rtol=1e-5)

  @parameterized.parameters(2, 11, 41, 101)
  def test_an_entry_that_is_the_percentile_is_not_above_it(self, count):
    ranks = np.random.default_rng(0).permutation(count).astype(np.float32)
    flags = jax.jit(
      lambda q: coop.conformal_uncertainty(jnp.asarray(ranks), ranks, q).flags
    )
    for q in range(101):
      # In whole numbers: rank > q (count - 1) / 100.
      want = 100 * ranks.astype(int) > q * (count - 1)
      np.testing.assert_array_equal(flags(q), want, err_msg=f'{q=}')
    slope = jax.grad(lambda q: _uncertainty.percentile(jnp.asarray(ranks), q))
    np.testing.assert_allclose(slope(50.0), (count - 1) / 100, rtol=1e-5)

  def test_half_of_different_scores_are_flagged(self):
    found = coop.conformal_uncertainty(jnp.asarray(maps(128)), jnp.ones(128))
    self.assertEqual(int(found.flags.sum()), 64)

  def test_gradient_in_q_is_the_gap_between_neighbors(self):
    values = jnp.array([1.0, 2.0, 4.0, 8.0])
    slope = jax.grad(lambda q: _uncertainty.percentile(values, q))
    # From 2 to 4 within a third of 100 %.
    self.assertAlmostEqual(float(slope(50.0)), 2.0 * 3 / 100, places=6)

  def test_equal_frames_and_uniform_shifts_have_no_uncertainty(self):
    own = jnp.asarray(maps(5, 3, 4))
    scores, widths = coop.temporal_scores(own, own)
    found = coop.conformal_uncertainty(scores, widths)
    self.assertEqual(float(jnp.abs(found.values).sum()), 0.0)
    self.assertFalse(bool(found.flags.any()))
    shift = jnp.zeros((5, 1, 1)).at[2].set(-4.0)
    scores, widths = coop.temporal_scores(jnp.zeros_like(own), 0 * own + shift)
    self.assertEqual(scores.tolist(), [0.0, 0.0, 4.0, 0.0, 0.0])
    found = coop.conformal_uncertainty(scores, widths)
    self.assertTrue(bool(found.flags[2]))
    self.assertEqual(float(found.values[2]), 0.0)

  def test_scores_are_those_of_numpy(self):
    own, previous = maps(3, 4, 5), maps(3, 4, 5, seed=1)
    gap = np.abs(own.astype(float) - previous).reshape(3, -1)
    ordered = np.sort(gap, axis=1)
    for score, want in (
      ('mean', gap.mean(1)),
      ('max', gap.max(1)),
      ('top(share=0.2)', ordered[:, -4:].mean(1)),
    ):
      scores, widths = coop.temporal_scores(own, previous, score=score)
      np.testing.assert_allclose(scores, want, rtol=1e-5)
      np.testing.assert_allclose(widths, gap.max(1) - gap.min(1), rtol=1e-5)

  def test_a_small_object_is_not_diluted_by_the_largest_change(self):
    own = jnp.zeros((2, 16, 16)).at[0, 3, 3].set(5.0).at[1].set(0.1)
    for score, want in (('mean', 1), ('max', 0), ('top(share=0.01)', 0)):
      scores, _ = coop.temporal_scores(own, jnp.zeros_like(own), score=score)
      self.assertEqual(int(jnp.argmax(scores)), want)

  def test_a_window_flags_more_where_more_changed(self):
    window = coop.score_window(3, 4)
    calm, busy = jnp.array([1.0, 2.0, 3.0, 4.0]), 10 * jnp.arange(1.0, 5.0)
    flags = lambda scores, window: int(
      coop.windowed_uncertainty(scores, scores, 50.0, window).flags.sum()
    )
    self.assertEqual(flags(calm, window), 2)  # An empty one: of the frame.
    for _ in range(5):
      window = coop.push_scores(window, calm)
    self.assertEqual(flags(calm, window), 2)
    self.assertEqual(flags(busy, window), 4)
    self.assertEqual(flags(0.1 * calm, window), 0)
    half = coop.push_scores(coop.score_window(3, 4), calm)
    self.assertEqual(flags(busy, half), 4)  # What is not filled does not count.
    window = coop.push_scores(window, busy)
    np.testing.assert_array_equal(window.scores[2], busy)

  @parameterized.parameters('bfloat16', 'float32')
  def test_scores_are_at_least_float32(self, dtype):
    own = jnp.asarray(maps(2, 3, 3), dtype)
    scores, widths = coop.temporal_scores(own, 0 * own)
    self.assertEqual((scores.dtype, widths.dtype), (jnp.float32, jnp.float32))

  def test_what_does_not_fit_is_refused(self):
    own = jnp.ones((3, 4, 4))
    wrong = own.at[1, 0, 0].set(jnp.nan)
    for call, message in (
      (
        lambda: coop.temporal_scores(own, own[:2]),
        r'previous has shape \(2, 4, 4\) .* reset the carry at scene start',
      ),
      (
        lambda: coop.temporal_scores(wrong, own),
        'features must be finite; 1 of 48 .* nothing would be selected',
      ),
      (lambda: coop.temporal_scores(own[0], own[0]), r'shape \[C, H, W\]'),
      (
        lambda: coop.conformal_uncertainty(jnp.ones(3), jnp.ones(3), 101.0),
        r'q must lie in \[0.0, 100.0\]; got 101.0',
      ),
      (
        lambda: coop.conformal_uncertainty(jnp.ones(3), jnp.ones(3), -1.0),
        r'q must lie in \[0.0, 100.0\]',
      ),
      (
        lambda: coop.conformal_uncertainty(jnp.ones(3), jnp.ones(2)),
        'one of each per channel',
      ),
      (lambda: coop.temporal_scores(own, own, score='median'), "'median'"),
      (
        lambda: coop.temporal_scores(own, own, score='top(share=0.0)'),
        'share must lie in',
      ),
      (lambda: coop.score_window(0, 3), 'length must be at least 1'),
      (
        lambda: coop.conformal_uncertainty(jnp.ones(3), jnp.full(3, jnp.nan)),
        'widths must be finite',
      ),
      (
        lambda: coop.conformal_uncertainty(
          jnp.ones(3), jnp.ones(3), calibration=jnp.full(5, jnp.nan)
        ),
        'calibration must be finite',
      ),
      (
        lambda: coop.push_scores(coop.score_window(2, 4), jnp.ones(3)),
        r'window has shape \(2, 4\), .* does not fit scores of shape \(3,\)',
      ),
      (
        lambda: coop.windowed_uncertainty(
          jnp.ones(3), jnp.ones(3), 50.0, coop.score_window(2, 4)
        ),
        r'window has shape \(2, 4\)',
      ),
    ):
      with self.assertRaisesRegex(ValueError, message):
        call()
    with self.assertRaisesRegex(TypeError, 'features must be floating point'):
      coop.temporal_scores(own.astype(int), own)

  def test_not_finite_is_seen_under_jit_by_who_asks(self):
    checked = checkify.checkify(jax.jit(coop.temporal_scores))
    own = jnp.ones((2, 2, 2))
    error, _ = checked(own.at[0, 0, 0].set(jnp.nan), own)
    self.assertRegex(error.get(), 'features must be finite')
    self.assertIsNone(checked(own, own)[0].get())


class SelectorTest(parameterized.TestCase):
  def selector(self, channels=6, cells=12, **options):
    network = coop.channel_selector(channels, cells, **options)
    u, own = jnp.ones(channels), jnp.ones((channels, 3, cells // 3))
    return network, network.init(KEY, u, own)

  def test_threshold_starts_where_the_paper_has_it(self):
    _, params = self.selector()
    tau = jax.nn.sigmoid(params['theta'])
    self.assertAlmostEqual(float(tau), 0.6224593, places=6)
    _, params = self.selector(q=30.0)
    self.assertAlmostEqual(float(coop.learned_q(params)), 30.0, places=4)

  @parameterized.parameters(True, False)
  def test_relevance_is_that_of_numpy(self, scale):
    network, params = self.selector(attn_scale=scale)
    u, own = maps(6), maps(6, 3, 4, seed=1)
    got, _ = network.apply(params, u, own)
    p = jax.tree.map(lambda x: np.asarray(x, float), params)
    layer = lambda name, x: x @ p[name]['kernel'] + p[name]['bias']
    flat = own.reshape(6, -1).astype(float)
    query, keys, values = (
      layer('query', u),
      layer('key', flat),
      layer('value', flat),
    )
    scores = keys @ query / (np.sqrt(6) if scale else 1.0)
    attention = np.exp(scores - scores.max())
    attention /= attention.sum()
    want = 1 / (1 + np.exp(-layer('out', attention @ values)))
    np.testing.assert_allclose(got, want, rtol=2e-5)
    both, _ = network.apply(params, np.stack([u, u]), np.stack([own, 2 * own]))
    np.testing.assert_allclose(both[0], got, rtol=1e-5)

  def test_permuted_channels_permute_the_mask(self):
    network, params = self.selector()
    u, own = maps(6), maps(6, 3, 4, seed=1)
    order = np.array([3, 0, 5, 1, 4, 2])
    moved = dict(params)
    moved['query'] = {
      'kernel': params['query']['kernel'][order],
      'bias': params['query']['bias'],
    }
    moved['out'] = {
      'kernel': params['out']['kernel'][:, order],
      'bias': params['out']['bias'][order],
    }
    got, _ = network.apply(moved, u[order], own[order])
    want, _ = network.apply(params, u, own)
    np.testing.assert_allclose(got, want[order], rtol=1e-5)

  def test_the_mask_is_hard_and_its_gradient_soft(self):
    relevance = jnp.array([0.2, 0.6, 0.9])
    mask = functools.partial(coop.straight_through_mask, relevance)
    self.assertEqual(mask(0.6).tolist(), [0.0, 0.0, 1.0])
    at = lambda r, tau: coop.straight_through_mask(r, tau)
    self.assertAlmostEqual(float(jax.grad(at)(0.6, 0.6)), 2.5, places=5)
    self.assertAlmostEqual(float(jax.grad(at, 1)(0.6, 0.6)), -2.5, places=5)
    z = (0.7 - 0.6) / 0.1
    want = np.exp(-z) / (1 + np.exp(-z)) ** 2 / 0.1
    self.assertAlmostEqual(float(jax.grad(at)(0.7, 0.6)), want, places=4)
    none = lambda r: coop.straight_through_mask(r, 0.6, gradient='none').sum()
    self.assertEqual(jax.grad(none)(relevance).tolist(), [0.0, 0.0, 0.0])

  def test_what_does_not_fit_is_refused(self):
    network, params = self.selector()
    for call, message in (
      (
        lambda: network.apply(params, jnp.ones(5), jnp.ones((6, 3, 4))),
        'do not fit channels=6',
      ),
      (
        lambda: network.apply(params, jnp.ones(6), jnp.ones((6, 3, 5))),
        'have 15 cells but .* cells=12',
      ),
      (
        lambda: coop.straight_through_mask(jnp.ones(2), 0.5, temperature=0.0),
        r'temperature must lie in \(0.0, inf\)',
      ),
      (
        lambda: coop.straight_through_mask(jnp.ones(2), 0.5, gradient='soft'),
        "gradient='soft'",
      ),
      (lambda: coop.channel_selector(0, 3), 'channels must be at least 1'),
      (lambda: coop.channel_selector(2, 3, q=0.0), r'q must lie in \(0'),
    ):
      with self.assertRaisesRegex(ValueError, message):
        call()


class RivalsTest(parameterized.TestCase):
  def evidence(self, channels=8, agents=3, side=4):
    own = jnp.asarray(np.abs(maps(agents, channels, side, side)))
    confidence = jax.nn.sigmoid(jnp.asarray(maps(agents, side, side, seed=2)))
    return coop.Evidence(own[0], own[1], own, confidence, 0)

  def mask(self, spec, evidence, **options):
    selector = coop.make_selector(spec, *evidence.own.shape)
    params = selector.init(KEY)
    mask, _ = selector.apply(
      params, selector.memory(), evidence, key=KEY, **options
    )
    return np.asarray(mask)

  @parameterized.parameters(*coop.SELECTORS)
  def test_masks_are_zeros_and_ones_and_heed_a_budget(self, spec):
    evidence = self.evidence()
    shape = (3, 8, 4, 4)
    for share in (None, 0.0, 0.5, 1.0):
      mask = self.mask(spec, evidence, share=share)
      self.assertTrue(set(np.unique(mask.round(6))) <= {0.0, 1.0})
      whole = np.broadcast_to(mask, shape)
      if share is not None and spec not in ('none', 'full'):
        slack = 0.05 if spec == 'swisscheese' else 1e-6
        self.assertAlmostEqual(whole.mean(), share, delta=slack)

  def test_the_ends(self):
    self.assertEqual(self.mask('none', self.evidence()).sum(), 0)
    self.assertEqual(self.mask('full', self.evidence()).mean(), 1)

  def test_largest_spread_and_largest_confidence_win(self):
    evidence = self.evidence()
    spread = np.asarray(evidence.own).std(axis=(1, 2))
    mask = self.mask('std(share=0.25)', evidence)[0, :, 0, 0]
    self.assertEqual(set(np.flatnonzero(mask)), set(np.argsort(spread)[-2:]))
    certain = np.full((3, 4, 4), 0.01)
    certain[1, 2, 3] = 0.99
    mask = self.mask(
      'where2comm(threshold=0.05, sigma=0.2)',
      evidence._replace(confidence=jnp.asarray(certain)),
    )
    self.assertEqual(mask.shape, (3, 1, 4, 4))
    self.assertEqual(np.argwhere(mask).tolist(), [[1, 0, 2, 3]])

  def test_where_the_receiver_is_sure_nothing_is_sent(self):
    evidence = self.evidence()
    sure = jnp.full((3, 4, 4), 0.999)
    mask = self.mask('where2comm', evidence._replace(confidence=sure))
    self.assertEqual(mask.sum(), 0)

  def test_random_channels_differ_by_key_and_fixed_has_its_threshold(self):
    evidence = self.evidence(channels=32)
    selector = coop.make_selector('random(share=0.5)', 32, 4, 4)
    draw = lambda seed: selector.apply(
      {}, (), evidence, key=jax.random.key(seed)
    )[0]
    self.assertFalse(bool((draw(0) == draw(1)).all()))
    self.assertEqual(self.mask('fixed(threshold=0.0)', evidence).mean(), 1.0)
    self.assertEqual(self.mask('fixed(threshold=1.0)', evidence).mean(), 0.0)

  def test_an_offset_changes_the_budget_at_run_time(self):
    evidence = self.evidence()
    counts = [
      self.mask('coopertrim', evidence, offset=offset).sum()
      for offset in (-1.0, 0.0, 1.0)
    ]
    self.assertEqual((counts[0], counts[2]), (8.0, 0.0))
    self.assertTrue(counts[0] >= counts[1] >= counts[2])

  def test_learned_q_has_a_gradient(self):
    selector = coop.make_selector('coopertrim(learn_q=True)', 8, 4, 4)
    params = selector.init(KEY)

    def total(params):
      mask, _ = selector.apply(params, (), self.evidence(), key=KEY)
      return (mask[0, :, 0, 0] * jnp.arange(8)).sum()

    self.assertNotEqual(float(jax.grad(total)(params)['theta_q']), 0.0)

  def test_shares_are_ranks_with_ties_to_the_first(self):
    scores = jnp.array([[1.0, 1.0, 0.0], [0.0, 2.0, 2.0]])
    self.assertEqual(
      coop.top_share(scores, 1 / 3).tolist(),
      [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]],
    )
    with self.assertRaisesRegex(ValueError, 'scores must be finite; 1 of 3'):
      coop.top_share(jnp.array([jnp.nan, 1.0, 2.0]), 1 / 3)
    values = jnp.asarray(maps(3, 600))
    want = np.argsort(np.argsort(values, axis=-1), axis=-1)
    np.testing.assert_array_equal(_values.ranks(values), want)
    np.testing.assert_array_equal(
      _values.ranks(values[:, :100]),
      np.argsort(np.argsort(values[:, :100], axis=-1), axis=-1),
    )

  @parameterized.parameters(
    ('coopertrims', "Did you mean 'coopertrim'"),
    ('coopertrim(q=120)', r'q must lie in \[0.0, 100.0\]; got 120'),
    ('coopertrim(uncertainty=entropy)', 'uncertainty'),
    ('coopertrim(calibration=batch)', 'calibration'),
    ('coopertrim(grad=soft)', 'grad'),
    ('random(share=1.5)', r'share must lie in \[0.0, 1.0\]'),
    ('where2comm(sigma=0)', 'sigma must lie in'),
    ('swisscheese(kernel=4)', 'kernel must be odd; got 4'),
    ('fixed(threshold=2)', 'threshold must lie in'),
  )
  def test_wrong_options_are_named(self, spec, message):
    with self.assertRaisesRegex(ValueError, message):
      coop.make_selector(spec, 4, 2, 2)


if __name__ == '__main__':
  absltest.main()
