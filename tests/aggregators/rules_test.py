# SPDX-License-Identifier: Apache-2.0
"""Every rule against float64 references, worked numbers and peer libraries.

One compiled program per rule sees all inputs at once, in float64, so that only
the algorithm is compared and not the rounding.
"""

import dataclasses
import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
from absl.testing import absltest, parameterized
from reference import aggregators as reference

from jaxdl import aggregators
from jaxdl.core import registry, view as view_lib

N, F, D = 11, 2, 4
SET_A = np.array([
  (1, 0.2), (0.1, 1.9), (2.3, 1.1), (1.2, 0.9), (-0.3, 0.4), (0.7, -0.6),
  (1.6, 1.5), (0.4, 0.8), (1.9, -0.1), (9, -7), (8.5, -8),
])  # fmt: skip
SET_B = np.array(
  [(1, 0), (0, 2), (2, 1), (1, 1), (0, 0), (10, -10), (10, -8)], np.float64
)
CENTRE = np.array([0.3, -0.2, 0.1, 0.4])
MEAN_A = (0.9888888889, 0.6777777778)


def _inputs():
  draw = np.random.default_rng(0)
  set_a = np.concatenate([SET_A, np.zeros((N, D - 2))], axis=1)
  normal = draw.normal(size=(8, N, D))
  broken = draw.normal(size=(2, N, D))
  broken[0, 4, 1], broken[0, 7] = np.nan, -np.inf
  broken[1, 0], broken[1, 1, 3] = np.inf, np.nan
  far = draw.normal(size=(1, N, D))
  far[0, [2, 10]] = 1e30
  lower = np.zeros((1, N, D))
  lower[0, [3, 5]] = 1.0
  ties = draw.integers(-1, 3, (5, N, D)).astype(np.float64)
  ties[4, 1:4] = ties[4, 0]
  parts = {
    'set_a': set_a[None], 'normal': normal, 'broken': broken, 'far': far,
    'lower': lower, 'ties': ties,
  }  # fmt: skip
  slices, start = {}, 0
  for name, part in parts.items():
    slices[name] = slice(start, start + len(part))
    start += len(part)
  return np.concatenate(list(parts.values())), slices


INPUTS, SLICES = _inputs()


@dataclasses.dataclass(frozen=True)
class Rule:
  ours: Callable
  theirs: Callable
  weights: Callable | None = None
  ties: bool = True  # Exact arithmetic decides ties the same way.
  tol: float = 1e-9
  convex: bool = True
  far: bool = True


def _pair(name, reference_fn=None, *, extra=None, **options):
  """A rule of the package that takes f, with its weights if it has any."""
  extra = extra or {}
  kwargs = {'num_byzantine': F, **extra}
  rule = functools.partial(getattr(aggregators, name), **kwargs)
  gram = registry.facts(rule).family == 'gram'
  return Rule(
    rule,
    reference_fn or (lambda x: getattr(reference, name)(x, F)),
    functools.partial(aggregators.weights_of, rule) if gram else None,
    **options,
  )


def _key():
  return jax.random.key(0)


RULES = {
  'median': Rule(aggregators.median, reference.median),
  'median_lower': Rule(
    functools.partial(aggregators.median, kind='lower'),
    lambda x: reference.median(x, 'lower'),
  ),
  'trimmed_mean': Rule(
    functools.partial(aggregators.trimmed_mean, num_trimmed=F),
    lambda x: reference.trimmed_mean(x, F),
  ),
  'meamed': _pair('meamed'),
  'phocas': _pair('phocas', ties=False),
  'sign_majority': Rule(aggregators.sign_majority, reference.sign_majority),
  'krum': _pair('krum'),
  'krum_n_f_1': _pair(
    'krum',
    lambda x: reference.krum(x, F, fewer=1),
    extra={'num_neighbors': 'n-f-1'},
  ),
  'multi_krum': _pair('multi_krum'),
  'multi_krum_7': _pair(
    'multi_krum',
    lambda x: reference.multi_krum(x, F, 7),
    extra={'num_selected': 7},
  ),
  'multi_krum_n_f_1': _pair(
    'multi_krum',
    lambda x: reference.multi_krum(x, F, fewer=1),
    extra={'num_neighbors': 'n-f-1'},
  ),
  'repeated_krum': _pair('repeated_krum'),
  'bulyan': dataclasses.replace(_pair('bulyan'), weights=None),
  'mda': _pair('mda'),
  'smea': _pair('smea', ties=False),
  'caf': _pair('caf', lambda x: reference.caf(x, F), ties=False),
  'caf_all': _pair(
    'caf',
    lambda x: reference.caf(x, F, peak='all'),
    extra={'peak': 'all'},
    ties=False,
    far=False,
  ),
  'cge': _pair('cge'),
  'dnc': Rule(
    lambda x: aggregators.dnc(x, key=_key(), num_byzantine=F),
    lambda x: reference.dnc(x, F),
    lambda x: aggregators.weights_of(
      functools.partial(aggregators.dnc, num_byzantine=F), x, key=_key()
    ),
    ties=False,
  ),
  'geometric_median': Rule(
    functools.partial(aggregators.geometric_median, nu=1e-12, num_iters=1000),
    reference.geometric_median,
    functools.partial(
      aggregators.weights_of,
      functools.partial(aggregators.geometric_median, nu=1e-12, num_iters=1000),
    ),
    ties=False,
    tol=1e-6,
  ),
  'rfa': Rule(
    functools.partial(
      aggregators.geometric_median, nu=0.1, num_iters=3, start='zero'
    ),
    lambda x: reference.weiszfeld(x, 0.1, 3, np.zeros(D)),
  ),
  'centered_clipping_1': Rule(
    lambda x: aggregators.centered_clipping(x, clip_radius=1.0),
    lambda x: reference.centered_clipping(x, np.zeros(D), 1.0),
  ),
  'centered_clipping_3': Rule(
    lambda x: aggregators.centered_clipping(
      x, jnp.asarray(CENTRE), clip_radius=1.0, num_iters=3
    ),
    lambda x: reference.centered_clipping(x, CENTRE, 1.0, 3),
    far=False,
  ),
  'fltrust': Rule(
    lambda x: aggregators.fltrust(x, jnp.asarray(CENTRE)),
    lambda x: reference.fltrust(x, CENTRE),
    lambda x: aggregators.weights_of(
      functools.partial(aggregators.fltrust, trusted=jnp.asarray(CENTRE)), x
    ),
    convex=False,
  ),
  'nearest_neighbor_averaging': Rule(
    lambda x: aggregators.nearest_neighbor_averaging(
      x, pivot=2, num_byzantine=F
    ),
    lambda x: reference.nearest_neighbor_averaging(x, 2, F),
    lambda x: aggregators.weights_of(
      functools.partial(
        aggregators.nearest_neighbor_averaging, pivot=2, num_byzantine=F
      ),
      x,
    ),
  ),
  'nnm': Rule(
    functools.partial(aggregators.nnm, num_byzantine=F),
    lambda x: reference.nnm(x, F),
  ),
  'arc': Rule(
    functools.partial(aggregators.arc, num_byzantine=F),
    lambda x: reference.arc(x, F),
    far=False,
  ),
  'clipping': Rule(
    functools.partial(aggregators.clipping, clip_radius=1.5),
    lambda x: reference.clipping(x, 1.5),
    far=False,
  ),
  'trimmed_mean_after_nnm': Rule(
    aggregators.chain(
      functools.partial(aggregators.nnm, num_byzantine=F),
      functools.partial(aggregators.trimmed_mean, num_trimmed=F),
    ),
    lambda x: reference.trimmed_mean(reference.nnm(x, F), F),
  ),
  'geometric_median_after_arc_nnm': Rule(
    aggregators.chain(
      functools.partial(aggregators.arc, num_byzantine=F),
      functools.partial(aggregators.nnm, num_byzantine=F),
      functools.partial(aggregators.geometric_median, nu=0.1, num_iters=3),
    ),
    lambda x: reference.weiszfeld(
      reference.nnm(reference.arc(x, F), F),
      0.1,
      3,
      _central_start(reference.nnm(reference.arc(x, F), F)),
    ),
    ties=False,
    far=False,
  ),
}  # fmt: skip


def _central_start(x):
  """Mean of the half of the vectors nearest to the most central one."""
  distances = reference.pairwise_sq(x)
  half = (len(x) + 1) // 2
  center = np.argmin(np.sort(distances, axis=1)[:, half - 1])
  return x[np.argsort(distances[center], kind='stable')[:half]].mean(axis=0)


@functools.cache
def _run(name):
  """Outputs and weights for all inputs, float64."""
  rule = RULES[name]

  def both(x):
    weights = jnp.zeros(0) if rule.weights is None else rule.weights(x)
    return rule.ours(x), weights

  with jax.enable_x64(True):
    out, weights = jax.jit(jax.vmap(both))(INPUTS)
    return np.asarray(out), np.asarray(weights)


def _named(condition=lambda rule: True):
  return [(name, name) for name, rule in RULES.items() if condition(rule)]


class ReferenceTest(parameterized.TestCase):
  def _compare(self, name, part):
    rule = RULES[name]
    for x, got in zip(
      INPUTS[SLICES[part]], _run(name)[0][SLICES[part]], strict=True
    ):
      np.testing.assert_allclose(
        got, rule.theirs(x), rtol=rule.tol, atol=rule.tol
      )

  @parameterized.named_parameters(_named())
  def test_random_normals(self, name):
    self._compare(name, 'normal')

  @parameterized.named_parameters(_named())
  def test_clients_that_are_not_finite(self, name):
    self._compare(name, 'broken')

  @parameterized.named_parameters(_named(lambda rule: rule.far))
  def test_far_clients(self, name):
    self._compare(name, 'far')

  @parameterized.named_parameters(_named(lambda rule: rule.ties))
  def test_ties_and_duplicates(self, name):
    self._compare(name, 'ties')

  @parameterized.named_parameters(_named(lambda rule: rule.weights))
  def test_weights_tell_what_the_rule_did(self, name):
    rule, (out, weights) = RULES[name], _run(name)
    for part in ('set_a', 'normal', 'far', 'ties'):
      x = INPUTS[SLICES[part]]
      combined = np.einsum('bn,bnd->bd', weights[SLICES[part]], x)
      np.testing.assert_allclose(
        out[SLICES[part]], combined, rtol=1e-9, atol=1e-9
      )
    if rule.convex:
      np.testing.assert_allclose(weights.sum(axis=1), 1.0, rtol=1e-9)
      self.assertGreaterEqual(weights.min(), 0.0)

  @parameterized.parameters(
    'median', 'trimmed_mean', 'meamed', 'phocas', 'krum', 'multi_krum',
    'repeated_krum', 'bulyan', 'mda', 'smea', 'caf', 'cge', 'dnc',
    'geometric_median',
  )  # fmt: skip
  def test_zero_if_all_but_f_are_zero(self, name):
    """No rule with finite robustness coefficient may answer anything else."""
    out = _run(name)[0][SLICES['lower']][0]
    np.testing.assert_allclose(out, np.zeros(D), atol=1e-10)
    # Against the subset with all f ones this costs f / (n - 2f) exactly.
    subset = np.array([1.0] * F + [0.0] * (N - 2 * F))
    ratio = (out[0] - subset.mean()) ** 2 / subset.var()
    self.assertAlmostEqual(ratio, F / (N - 2 * F))

  @parameterized.parameters('median', 'trimmed_mean', 'meamed', 'phocas')
  def test_within_the_range_of_every_coordinate(self, name):
    x, out = INPUTS[SLICES['normal']], _run(name)[0][SLICES['normal']]
    self.assertTrue((out <= x.max(axis=1)).all())
    self.assertTrue((out >= x.min(axis=1)).all())


class WorkedNumbersTest(parameterized.TestCase):
  @parameterized.parameters(
    ('median', (1.2, 0.4)),
    ('trimmed_mean', (1.3, 0.3857142857)),
    ('krum', (1.2, 0.9)),
    ('krum_n_f_1', (1.2, 0.9)),
    ('multi_krum_7', (0.92857143, 0.44285714)),
    ('multi_krum', MEAN_A),
    ('meamed', MEAN_A),
    ('phocas', MEAN_A),
    ('cge', MEAN_A),
    ('mda', MEAN_A),
    ('smea', MEAN_A),
    ('dnc', MEAN_A),
    ('bulyan', (1.26666667, 0.46666667)),
    ('geometric_median', (1.16405133, 0.4099148)),
    ('caf_all', (1.01428749, 0.63147176)),
    ('centered_clipping_1', (0.61645282, 0.19620604)),
    ('trimmed_mean_after_nnm', (0.98888889, 0.67777778)),
  )
  def test_eleven_points(self, name, want):
    got = _run(name)[0][SLICES['set_a']][0]
    np.testing.assert_allclose(got[:2], want, atol=2e-8)
    np.testing.assert_allclose(got[2:], 0.0, atol=1e-12)

  def test_references_agree_with_the_worked_numbers(self):
    np.testing.assert_allclose(
      reference.krum_scores(SET_A, 2),
      [9.16, 24.12, 20.63, 9.15, 19.2, 19.64, 15.03, 10.36, 16.48, 685.72,
       737.92],
    )  # fmt: skip
    self.assertEqual(reference.bulyan_order(SET_A, 2), [3, 0, 7, 6, 8, 4, 9])
    self.assertEqual(reference.caf(SET_A, 2, 'all', return_steps=True)[1], 21)

  def test_krum_scores_and_bulyan_order(self):
    @jax.jit
    def run(x):
      view = view_lib.view(x)
      scores = aggregators.krum_scores(view, num_byzantine=2)
      return scores, aggregators.bulyan_selection(view, num_byzantine=2)[1]

    with jax.enable_x64(True):
      scores, order = run(SET_A)
    np.testing.assert_allclose(
      scores, reference.krum_scores(SET_A, 2), rtol=1e-12
    )
    want = np.full(N, -1)
    want[[3, 0, 7, 6, 8, 4, 9]] = range(7)
    np.testing.assert_array_equal(order, want)

  def test_nearest_neighbor_mixing(self):
    got = _run('nnm')[0][SLICES['set_a']][0]
    np.testing.assert_allclose(got[9, :2], (2.95555556, -1.24444444), atol=1e-8)

  def test_three_steps_of_centered_clipping(self):
    run = functools.partial(
      aggregators.centered_clipping, clip_radius=1.0, num_iters=3
    )
    got = jax.jit(run)(jnp.asarray(SET_A, jnp.float32))
    np.testing.assert_allclose(got, (1.09875454, 0.36727115), rtol=1e-5)

  def test_krum_conventions_differ(self):
    run = lambda kind: jax.jit(
      functools.partial(aggregators.krum, num_byzantine=2, num_neighbors=kind)
    )(jnp.asarray(SET_B, jnp.float32))
    np.testing.assert_array_equal(run('n-f-2'), (1, 0))
    np.testing.assert_array_equal(run('n-f-1'), (1, 1))

  def test_adaptive_clipping(self):
    run = jax.jit(functools.partial(aggregators.arc, num_byzantine=2))
    got = run(jnp.asarray(SET_B, jnp.float32))
    np.testing.assert_allclose(got[:5], SET_B[:5], atol=1e-6)
    np.testing.assert_allclose(
      got[5:], [(1.58113883, -1.58113883), (1.74607574, -1.39686059)],
      rtol=1e-6,
    )  # fmt: skip

  def test_five_received_vectors(self):
    received = jnp.array([[0, 0], [1, 0], [0, 2], [10, 0], [-9, 1]], float)
    one = jax.jit(
      functools.partial(aggregators.nearest_neighbor_averaging, num_byzantine=1)
    )
    want = [(-2, 0.75), (2.75, 0.5), (-2, 0.75), (2.75, 0.5), (-2, 0.75)]
    for pivot, row in enumerate(want):  # Traced pivots: one program.
      np.testing.assert_allclose(one(received, pivot=pivot), row, atol=1e-6)
    mix = jax.jit(functools.partial(aggregators.nnm, num_byzantine=1))
    rows = mix(received)
    np.testing.assert_allclose(rows, want, atol=1e-6)

  def test_sizes_of_buckets(self):
    updates = jnp.arange(7.0)[:, None]

    @functools.partial(jax.jit, static_argnums=1)
    def run(key, size):
      return aggregators.bucketing(updates, key=key, bucket_size=size)

    got = run(_key(), 3)
    sums = np.asarray(got)[:, 0] * [3, 3, 1]
    self.assertEqual(got.shape, (3, 1))
    self.assertAlmostEqual(float(sums.sum()), 21.0, places=4)
    self.assertFalse(np.allclose(got, run(jax.random.key(1), 3)))
    alone = run(_key(), 1)
    np.testing.assert_array_equal(np.sort(alone, axis=0), updates)


class NearestNeighborTest(parameterized.TestCase):
  """Guarantees of nearest-neighbor averaging as a node's own rule."""

  def _all(self, vectors, f):
    run = jax.jit(aggregators.nnm, static_argnames='num_byzantine')
    return np.asarray(run(jnp.asarray(vectors), num_byzantine=f))

  def test_no_adversary_is_the_mean(self):
    x = np.random.default_rng(0).normal(size=(6, 3)).astype(np.float32)
    rows = self._all(x, 0)
    np.testing.assert_allclose(rows, np.tile(x.mean(axis=0), (6, 1)), rtol=1e-5)

  def test_one_node_keeps_its_vector(self):
    np.testing.assert_array_equal(
      self._all(np.array([[3.0, -1.0]], np.float32), 0), [[3.0, -1.0]]
    )

  def test_far_vectors_are_dropped_exactly(self):
    x = np.random.default_rng(1).normal(size=(7, 3)).astype(np.float32)
    x[5:] += 100.0
    rows = self._all(x, 2)[:5]
    np.testing.assert_allclose(
      rows, np.tile(x[:5].mean(axis=0), (5, 1)), rtol=1e-5, atol=1e-6
    )

  def test_agreement_is_kept_whatever_is_sent(self):
    # Every honest vector is the same, also where float32 is coarse.
    same = np.full((7, 3), 1234.567, np.float32)
    for sent in (0.0, 1234.568, -1e6, np.nan, np.inf):
      x = same.copy()
      x[5:] = sent
      rows = self._all(x, 2)[:5]
      np.testing.assert_allclose(rows, same[:5], rtol=2e-7)

  @parameterized.parameters(np.nan, np.inf)
  def test_broken_vectors_are_left_out(self, bad):
    x = np.random.default_rng(2).normal(size=(6, 3)).astype(np.float32)
    x[5] = bad
    want = np.tile(x[:5].mean(axis=0), (5, 1))
    np.testing.assert_allclose(self._all(x, 1)[:5], want, rtol=1e-5)

  def test_kept_adversaries_are_nearer_than_a_dropped_honest_vector(self):
    draw = np.random.default_rng(3)
    rule = functools.partial(
      aggregators.nearest_neighbor_averaging, pivot=0, num_byzantine=2
    )
    run = jax.jit(functools.partial(aggregators.weights_of, rule))
    for _ in range(50):
      x = draw.normal(size=(8, 3)).astype(np.float32)
      x[6:] *= 3
      weights = np.asarray(run(x))
      distances = np.linalg.norm(x - x[0], axis=1)
      dropped = weights[:6] == 0
      if dropped.any() and (weights[6:] > 0).any():
        kept = distances[6:][weights[6:] > 0]
        self.assertLessEqual(kept.max(), distances[:6][dropped].max())


class PeerTest(parameterized.TestCase):
  @parameterized.parameters((11, 2), (49, 1), (12, 5))
  def test_trimmed_mean_of_scipy(self, n, f):
    x = np.random.default_rng(n).normal(size=(n, 5))
    got = aggregators.trimmed_mean(jnp.asarray(x, jnp.float32), num_trimmed=f)
    want = scipy.stats.trim_mean(x, f / n + 1e-9, axis=0)
    np.testing.assert_allclose(got, want, atol=1e-6)

  def test_geometric_median_has_the_smallest_sum_of_distances(self):
    for x, z in zip(
      INPUTS[SLICES['normal']],
      _run('geometric_median')[0][SLICES['normal']],
      strict=True,
    ):
      best = reference.sum_of_distances(x, z)
      draw = np.random.default_rng(0)
      for step in (1e-3, 1e-2, 1.0):
        for move in draw.normal(size=(20, D)):
          self.assertGreaterEqual(
            reference.sum_of_distances(x, z + step * move), best - 1e-9
          )

  @parameterized.parameters(
    ('TrMean', 'trimmed_mean'),
    ('Krum', 'krum_n_f_1'),
    ('MultiKrum', 'multi_krum_n_f_1'),
    ('MDA', 'mda'),
    ('Meamed', 'meamed'),
    ('NNM', 'nnm'),
    ('ARC', 'arc'),
  )
  def test_byzfl(self, peer, name):
    byzfl = pytest.importorskip('byzfl')
    rule = getattr(byzfl, peer)(F)
    for x, got in zip(
      INPUTS[SLICES['normal']], _run(name)[0][SLICES['normal']], strict=True
    ):
      np.testing.assert_allclose(got, rule(x.copy()), atol=1e-8)

  @parameterized.parameters('krum', 'bulyan')
  def test_flwr(self, name):
    peer = pytest.importorskip('flwr.server.strategy.aggregate')
    for x, got in zip(
      INPUTS[SLICES['normal']], _run(name)[0][SLICES['normal']], strict=True
    ):
      results = [([row], 1) for row in x]
      if name == 'krum':
        want = peer.aggregate_krum(results, F, 0)[0]
      else:
        want = peer.aggregate_bulyan(
          results, F, peer.aggregate_krum, to_keep=0
        )[0]
      np.testing.assert_allclose(got, want, atol=1e-8)


class FilterTest(absltest.TestCase):
  def test_one_far_outlier_does_not_slow_the_filter_down(self):
    x = np.array([[0.0], [1.0], [2.0], [90.0]])
    want, steps = reference.caf(x, 1, return_steps=True)
    self.assertLessEqual(steps, 2)
    _, slow = reference.caf(x, 1, 'all', return_steps=True)
    self.assertGreater(slow, 1000)
    run = jax.jit(functools.partial(aggregators.caf, num_byzantine=1))
    got = run(jnp.asarray(x, jnp.float32))
    np.testing.assert_allclose(got, want, rtol=1e-5)


if __name__ == '__main__':
  absltest.main()
