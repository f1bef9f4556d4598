# SPDX-License-Identifier: Apache-2.0
"""Chains, memory, shares of clients, and the two passes over the data."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized
from reference import aggregators as reference

from jaxdl import aggregators
from jaxdl.core import trees, view as view_lib

N, F, D = 11, 2, 5


def _updates(seed=0, size=D):
  draw = np.random.default_rng(seed)
  return draw.normal(0.3, 1.0, (N, size)).astype(np.float32)


def _long_chain():
  return aggregators.chain(
    functools.partial(aggregators.bucketing, bucket_size=1),
    functools.partial(aggregators.arc, num_byzantine=F),
    functools.partial(aggregators.nnm, num_byzantine=F),
    functools.partial(aggregators.krum, num_byzantine=F),
  )


def _big_products(jaxpr, size, counts):
  """Counts products that read at least `size` numbers, cheapest branches."""
  for eqn in jaxpr.eqns:
    if eqn.primitive.name == 'cond':
      options = []
      for branch in eqn.params['branches']:
        inner = {'products': 0}
        _big_products(branch.jaxpr, size, inner)
        options.append(inner['products'])
      counts['products'] += min(options)
      continue
    if eqn.primitive.name == 'dot_general':
      # A Gram matrix has both factors, a combination one, as big arrays.
      counts['products'] += max(v.aval.size for v in eqn.invars) >= size
    for value in jax.tree.leaves(
      list(eqn.params.values()), is_leaf=lambda v: hasattr(v, 'jaxpr')
    ):
      inner = getattr(value, 'jaxpr', value)
      if hasattr(inner, 'eqns'):
        _big_products(inner, size, counts)


class ChainTest(parameterized.TestCase):
  def test_clients_are_read_twice(self):
    size = 2000  # Less than a block.
    run = lambda x: _long_chain()(x, key=jax.random.key(0))
    jaxpr = jax.make_jaxpr(run)(jax.ShapeDtypeStruct((N, size), jnp.float32))
    counts = {'products': 0}
    _big_products(jaxpr.jaxpr, N * size, counts)
    self.assertEqual(counts['products'], 2)

  def test_stages_hand_on_the_same_rows(self):
    x = jax.ShapeDtypeStruct((N, D), jnp.float32)
    for stage in (
      functools.partial(aggregators.bucketing, key=jax.random.key(0)),
      functools.partial(aggregators.nnm, num_byzantine=F),
      functools.partial(aggregators.arc, num_byzantine=F),
      functools.partial(aggregators.clipping, clip_radius=1.0),
    ):

      def run(x, stage=stage):
        view = view_lib.view(x)
        out = stage(view)
        self.assertIsInstance(out, view_lib.View)
        self.assertIs(out.base, view.base)
        return out.coefficients

      self.assertEqual(jax.eval_shape(run, x).shape[1], N)

  def test_in_gram_space_as_on_rows(self):
    x = _updates(1)

    @jax.jit
    def both(x, key):
      chained = _long_chain()(x, key=key)
      rows = aggregators.bucketing(x, key=key, bucket_size=1)
      rows = aggregators.arc(rows, num_byzantine=F)
      rows = aggregators.nnm(rows, num_byzantine=F)
      return chained, aggregators.krum(rows, num_byzantine=F)

    chained, step_by_step = both(x, jax.random.key(2))
    np.testing.assert_allclose(chained, step_by_step, rtol=1e-5, atol=1e-6)
    want = reference.krum(reference.nnm(reference.arc(x, F), F), F)
    np.testing.assert_allclose(chained, want, rtol=1e-5, atol=1e-5)

  def test_weights_at_the_end_report_clients(self):
    nnm = functools.partial(aggregators.nnm, num_byzantine=F)
    chain = lambda last: aggregators.chain(
      nnm, functools.partial(last, num_byzantine=F)
    )
    x = _updates(2)

    @jax.jit
    def both(x):
      rule = chain(aggregators.multi_krum)
      return rule(x), aggregators.weights_of(rule, x)

    update, weights = both(x)
    self.assertEqual(weights.shape, (N,))
    self.assertAlmostEqual(float(weights.sum()), 1.0, places=5)
    np.testing.assert_allclose(weights @ x, update, atol=1e-5)

  def test_a_bucket_with_a_broken_client_is_an_extreme(self):
    x = np.ones((8, 3), np.float32)
    x[2] = np.nan
    rule = aggregators.chain(
      functools.partial(aggregators.bucketing, bucket_size=2),
      functools.partial(aggregators.trimmed_mean, num_trimmed=1),
    )
    got = jax.jit(lambda x: rule(x, key=jax.random.key(0)))(x)
    np.testing.assert_array_equal(got, np.ones(3))

  def test_every_random_stage_gets_its_own_key(self):
    seen = []

    def noisy(view, *, key):
      seen.append(jax.random.key_data(key))
      return view

    rule = aggregators.chain(noisy, noisy, lambda view: jnp.stack(seen))
    run = jax.jit(lambda x: rule(x, key=jax.random.key(0)))
    drawn = np.asarray(run(jnp.ones((3, 2))))
    self.assertLen(np.unique(drawn, axis=0), 2)

  def test_needs_a_stage(self):
    with self.assertRaisesRegex(ValueError, 'at least a rule'):
      aggregators.chain()


class CenteredClippingTest(parameterized.TestCase):
  PRE = {
    'nnm': (
      functools.partial(aggregators.nnm, num_byzantine=F),
      lambda x: reference.nnm(x, F),
    ),
    'clipping': (
      functools.partial(aggregators.clipping, clip_radius=1.0),
      lambda x: reference.clipping(x, 1.0),
    ),
    'arc': (
      functools.partial(aggregators.arc, num_byzantine=F),
      lambda x: reference.arc(x, F),
    ),
  }

  @parameterized.product(pre=['nnm', 'clipping', 'arc'], num_iters=[1, 3])
  def test_after_a_pre_aggregator_around_an_anchor(self, pre, num_iters):
    ours, theirs = self.PRE[pre]
    x = 2 * _updates(3)
    center = np.linspace(-2, 2, D).astype(np.float32)

    @jax.jit
    def run(x, center):
      view = ours(view_lib.view(x, anchor=center))
      return aggregators.centered_clipping(
        view, center, clip_radius=0.7, num_iters=num_iters
      )

    want = reference.centered_clipping(theirs(x), center, 0.7, num_iters)
    np.testing.assert_allclose(run(x, center), want, atol=1e-5)

  def test_remembers_its_last_output(self):
    rule = aggregators.centered_clipping_aggregator(
      clip_radius=0.5, num_iters=2
    )
    apply = jax.jit(rule.apply)
    state = rule.init(jnp.zeros(D))
    want = np.zeros(D)
    for seed in range(4):
      x = _updates(seed)
      update, state = apply(x, state)
      want = reference.centered_clipping(x, want, 0.5, 2)
      np.testing.assert_allclose(update, want, atol=1e-5)
    np.testing.assert_array_equal(update, state)

  def test_registered_with_a_pre_aggregator_over_rounds(self):
    server = aggregators.make_aggregator(
      'arc+centered_clipping(clip_radius=0.5)',
      num_clients=N,
      num_byzantine=F,
    )
    apply = jax.jit(server.apply)
    state, want = server.init(jnp.zeros(D)), np.zeros(D)
    for seed in range(3):
      x = _updates(seed)
      update, state = apply(x, state)
      want = reference.centered_clipping(reference.arc(x, F), want, 0.5)
      np.testing.assert_allclose(update, want, atol=1e-5)

  def test_a_wide_radius_is_the_mean(self):
    x = _updates(5)
    run = functools.partial(aggregators.centered_clipping, clip_radius=np.inf)
    np.testing.assert_allclose(jax.jit(run)(x), x.mean(axis=0), atol=1e-6)

  def test_no_client_pulls_farther_than_the_radius(self):
    x = _updates(6)
    run = jax.jit(
      functools.partial(aggregators.centered_clipping, clip_radius=1.0)
    )
    before = np.asarray(run(x))
    x[0] = 1e6
    moved = np.linalg.norm(np.asarray(run(x)) - before)
    self.assertLessEqual(moved, 2.0 / N + 1e-5)

  def test_needs_an_anchored_view(self):
    with self.assertRaisesRegex(ValueError, 'anchor=reference'):
      aggregators.centered_clipping(
        view_lib.view(jnp.ones((3, 2))), clip_radius=1.0
      )


class MemoryTest(parameterized.TestCase):
  def test_server_momentum_is_an_exponential_average(self):
    server = aggregators.server_momentum(
      aggregators.stateless(aggregators.median), decay=0.9
    )
    state, want = server.init(jnp.full(D, np.nan)), np.zeros(D)
    apply = jax.jit(server.apply)
    for seed in range(4):
      x = _updates(seed)
      update, state = apply(x, state)
      want = 0.9 * want + 0.1 * np.median(x, axis=0)
      np.testing.assert_allclose(update, want, atol=1e-6)
    self.assertEqual(server.explain(x, state).shape, (N,))

  def test_stateless_passes_on_what_the_rule_takes(self):
    x = jnp.array([[1.0], [5.0]])
    weighted = aggregators.stateless(aggregators.mean)
    got, _ = weighted.apply(x, (), weights=jnp.array([3.0, 1.0]))
    np.testing.assert_allclose(got, [2.0])
    # It draws nothing, but importances would make another answer.
    median = aggregators.stateless(aggregators.median)
    got, _ = median.apply(x, (), key=jax.random.key(0))
    np.testing.assert_allclose(got, [3.0])
    with self.assertRaisesRegex(
      ValueError, '^weights: median takes no importances'
    ):
      median.apply(x, (), weights=jnp.array([3.0, 1.0]))

  def test_mean_takes_integer_counts_and_no_weight_at_all(self):
    x = np.array([[1.0], [5.0]], np.float32)
    got = aggregators.mean(x, weights=np.array([3, 1]))
    np.testing.assert_allclose(got, [2.0])
    np.testing.assert_array_equal(
      aggregators.mean(x, weights=np.array([0, 0])), [0.0]
    )


class ShareTest(parameterized.TestCase):
  @parameterized.parameters(
    'median', 'trimmed_mean', 'meamed', 'phocas', 'bulyan', 'nnm+median'
  )
  def test_shares_of_coordinate_rules_rebuild_the_update(self, name):
    """Their shares are averages over coordinates: take one coordinate."""
    server = aggregators.make_aggregator(name, num_clients=N, num_byzantine=F)
    x = _updates(7, 1)

    @jax.jit
    def both(x):
      return server.apply(x, ())[0], server.explain(x, ())

    update, shares = both(x)
    self.assertAlmostEqual(float(shares.sum()), 1.0, places=5)
    if name != 'bulyan':  # It reports the clients that it selected.
      np.testing.assert_allclose(shares @ x, update, atol=1e-5)
    else:
      self.assertEqual(int((np.asarray(shares) > 0).sum()), N - 2 * F)

  def test_tied_clients_share_equally(self):
    shares = aggregators.merge_shares(
      aggregators.median, jnp.array([[1.0], [1.0], [1.0], [7.0], [0.0]])
    )
    np.testing.assert_allclose(shares, [1 / 3, 1 / 3, 1 / 3, 0, 0], atol=1e-6)

  def test_gradients_survive_an_extra_axis(self):
    rule = functools.partial(aggregators.trimmed_mean, num_trimmed=F)
    batch = np.stack([_updates(8), _updates(9)])
    grad = jax.jit(jax.vmap(jax.grad(lambda x: jnp.sum(rule(x)))))(batch)
    np.testing.assert_allclose(grad.sum(axis=1), 1.0, rtol=1e-5)

  def test_median_gradient_is_one_half_on_the_middle_two(self):
    x = jnp.array([[4.0], [1.0], [2.0], [9.0]])
    grad = jax.jit(jax.grad(lambda x: jnp.sum(aggregators.median(x))))(x)
    np.testing.assert_allclose(grad[:, 0], [0.5, 0, 0.5, 0])


class RegistryTest(parameterized.TestCase):
  @parameterized.parameters(
    ('krum', 6, 2, r'krum needs n >= 2f\+3 \(n=6, f=2\)'),
    ('bulyan', 10, 2, r'bulyan needs n >= 4f\+3 \(n=10, f=2\)'),
    ('bucketing+krum', 9, 2, r'krum needs n >= 2f\+3 \(n=5, f=2\)'),
    ('nnm+median', 4, 2, r'nnm needs n >= 2f\+1 \(n=4, f=2\)'),
    ('trimmed_mean', 4, 2, r'num_trimmed=2 .* N = 4'),
    ('nnm+foolsgold', 4, 0, 'foolsgold keeps .*: write foolsgold'),
    ('nnm+signguard', 4, 0, 'signguard counts .* cannot follow'),
    ('cromulent', 4, 0, r"rule='cromulent' is unknown"),
    (
      'hone+mean',
      4,
      0,
      r"rule='hone\+mean' has 'hone', which is unknown",
    ),
    ('krum+mean', 9, 0, r"has 'krum', which is unknown"),
    (
      'mean(radius=1.0)',
      4,
      0,
      "mean has no option 'radius'",
    ),
    ('krum(num_neighbors=n)', 5, 0, "num_neighbors='n' is unknown"),
    ('krum(num_byzantine=2)', 6, 0, r'krum needs .* \(n=6, f=2\)'),
  )
  def test_impossible_settings_fail_before_compiling(self, name, n, f, message):
    with self.assertRaisesRegex(ValueError, message):
      aggregators.make_aggregator(name, num_clients=n, num_byzantine=f)

  def test_one_part_may_be_told_another_number(self):
    server = aggregators.make_aggregator(
      'nnm+trimmed_mean(num_trimmed=3)', num_clients=N, num_byzantine=1
    )
    x = _updates(4)
    want = reference.trimmed_mean(reference.nnm(x, 1), 3)
    np.testing.assert_allclose(server.apply(x, ())[0], want, atol=1e-5)

  def test_unknown_option(self):
    with self.assertRaisesRegex(ValueError, "krum has no option 'radius'"):
      aggregators.make_aggregator('krum(radius=1.0)', num_clients=5)

  def test_options_reach_the_rule(self):
    server = aggregators.make_aggregator('median(kind=lower)', num_clients=4)
    got, _ = server.apply(jnp.array([[1.0], [2.0], [3.0], [9.0]]), ())
    np.testing.assert_array_equal(got, [2.0])

  def test_update_is_what_the_weights_say(self):
    x = _updates(4)
    for name in ('krum', 'mda'):
      server = aggregators.make_aggregator(
        f'nnm+{name}', num_clients=N, num_byzantine=F
      )
      run = jax.jit(lambda x, s=server: (s.apply(x, ())[0], s.explain(x, ())))
      update, weights = run(x)
      np.testing.assert_allclose(
        trees.combine(weights, jnp.asarray(x)), update, atol=1e-5
      )


class OrderTest(absltest.TestCase):
  def test_rules_come_last(self):
    krum = functools.partial(aggregators.krum, num_byzantine=1)
    with self.assertRaisesRegex(ValueError, r'stages\[0\] is .*krum, a rule'):
      aggregators.chain(krum, aggregators.median)
    aggregators.chain(lambda x: x, aggregators.median)


if __name__ == '__main__':
  absltest.main()
