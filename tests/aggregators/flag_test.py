# SPDX-License-Identifier: Apache-2.0
"""The flag aggregator against singular vectors of explicit columns."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized
from reference import aggregators as reference
from sklearn import decomposition

from jaxdl import aggregators
from jaxdl.core import clients, view as view_lib

N, D = 7, 9


def _updates(seed=0, num_clients=N, size=D):
  return np.random.default_rng(seed).normal(0.2, 1.0, (num_clients, size))


def _at(*degrees):
  angle = np.radians(degrees)
  return np.stack([np.cos(angle), np.sin(angle)], axis=1)


@functools.partial(jax.jit, static_argnames=('options',))
def _state(x, options=()):
  return aggregators.flag_state(x, **dict(options))


@functools.partial(jax.jit, static_argnames=('options',))
def _update(x, options=()):
  return aggregators.flag_aggregator(x, **dict(options))


def _run(fn, x, **options):
  with jax.enable_x64(True):
    out = fn(np.asarray(x, np.float64), options=tuple(options.items()))
    return jax.tree.map(np.asarray, out)


def _basis(x, m, weights=None):
  """Orthonormal columns [D, m] of the flag mean."""
  with jax.enable_x64(True):
    unit = jnp.asarray(reference.unit_rows(x))
    coefficients = aggregators.flag_mean(
      unit @ unit.T, num_components=m, weights=weights
    )
    return np.asarray(unit.T @ coefficients)


class FlagReferenceTest(parameterized.TestCase):
  @parameterized.product(m=[1, 3, 4])
  def test_plain_objective(self, m):
    x = _updates(m)
    y, course, values = reference.flag(x, m, steps=5)
    state = _run(_state, x, num_components=m)
    np.testing.assert_allclose(state.values, values, atol=1e-9)
    np.testing.assert_allclose(state.objective[: len(course)], course)
    self.assertEqual(state.objective.shape, (6,))
    got = _run(_update, x, num_components=m)
    np.testing.assert_allclose(got, reference.flag_update(x, m), atol=1e-9)
    # Projecting the update on the subspace changes nothing.
    np.testing.assert_allclose(y @ (y.T @ got), got, atol=1e-9)

  @parameterized.product(mode=['objective', 'reference'], reg=[0.5, 8.0])
  def test_pairwise_term(self, mode, reg):
    x = _updates(11)
    y, course, values = reference.flag(x, 3, reg=reg, mode=mode)
    options = {'num_components': 3, 'reg': reg, 'pair_mode': mode}
    state = _run(_state, x, **options)
    np.testing.assert_allclose(state.values, values, atol=1e-8)
    np.testing.assert_allclose(
      state.objective[: len(course)], course, atol=1e-8
    )
    got = _run(_update, x, **options)
    want = y @ (y.T @ reference.unit_rows(x).mean(axis=0))
    np.testing.assert_allclose(got, want, atol=1e-8)

  def test_pairs_change_the_answer(self):
    x = _updates(11)
    plain = _run(_update, x, num_components=3)
    paired = _run(_update, x, num_components=3, reg=8.0)
    self.assertGreater(np.abs(plain - paired).max(), 1e-3)

  def test_raw_updates_and_official_scale(self):
    x = _updates(2)
    raw = _run(_update, x, num_components=4, normalize=False)
    np.testing.assert_allclose(
      raw, reference.flag_update(x, 4, normalize=False), atol=1e-9
    )
    official = _run(_update, x, num_components=4, scale='num_components')
    np.testing.assert_allclose(
      official, reference.flag_update(x, 4, divide_by=4), atol=1e-9
    )

  def test_median_norm_brings_the_length_back(self):
    x = _updates(3)
    unit = _run(_update, x)
    scaled = _run(_update, x, rescale='median_norm')
    middle = np.median(np.linalg.norm(x, axis=1))
    np.testing.assert_allclose(scaled, unit * middle, rtol=1e-9)

  def test_default_number_of_components(self):
    x = _updates(4)
    np.testing.assert_allclose(
      _run(_update, x), _run(_update, x, num_components=4), rtol=1e-9
    )

  def test_flag_mean_is_uncentered_principal_components(self):
    x = _updates(5)
    y = _basis(x, 3)
    peer = decomposition.TruncatedSVD(n_components=3, algorithm='arpack')
    rows = peer.fit(reference.unit_rows(x)).components_
    np.testing.assert_allclose(y @ y.T, rows.T @ rows, atol=1e-9)
    np.testing.assert_allclose(y.T @ y, np.eye(3), atol=1e-9)


class FlagWorkedNumbersTest(parameterized.TestCase):
  def test_subspace_that_holds_everything(self):
    x = _updates(0, 4, 3)
    state = _run(_state, x, num_components=4)
    np.testing.assert_allclose(state.values, 1.0, atol=1e-9)
    np.testing.assert_allclose(state.objective, 0.0, atol=1e-6)
    got = _run(_update, x, num_components=4, normalize=False)
    np.testing.assert_allclose(got, x.mean(axis=0), atol=1e-9)

  def test_angles_of_four_lines(self):
    x = _at(0, 10, 20, 90)
    for steps, angle, objective in (
      (1, 13.384262, 1.37856), (2, 11.870, 1.35836), (3, 10.774, 1.34315),
      (60, 10.0032, 1.33215),
    ):  # fmt: skip
      options = {'num_components': 1, 'num_iters': steps}
      got = _run(_update, x, **options)
      self.assertAlmostEqual(
        np.degrees(np.arctan2(got[1], got[0])), angle, delta=5e-4
      )
      course = _run(_state, x, **options).objective
      self.assertAlmostEqual(course[0], 1.39906, delta=1e-5)
      self.assertAlmostEqual(course[-1], objective, delta=1e-5)
    start = _basis(x, 1)[:, 0]
    self.assertAlmostEqual(np.degrees(np.arctan(start[1] / start[0])), 15.0)

  def test_true_minimum_and_the_trap_beside_it(self):
    unit = _at(0, 10, 20, 90)
    lines = _at(*np.linspace(0, 180, 18_001))
    values = np.minimum((lines @ unit.T) ** 2, 1.0)
    cost = np.sqrt(1 - values).sum(axis=1)
    self.assertAlmostEqual(cost.min(), 1.33210, delta=1e-5)
    self.assertEqual(np.argmin(cost), 1000)
    trap = cost[9000]
    self.assertAlmostEqual(trap, 2.9246, delta=1e-4)
    self.assertTrue((trap <= cost[[8990, 9010]]).all())

  def test_majority_of_copies_wins(self):
    x = np.array([[1.0, 0]] * 3 + [[0, 1.0]] * 2)
    state = _run(_state, x, num_components=1)
    np.testing.assert_allclose(state.values, [1, 1, 1, 0, 0], atol=1e-9)
    self.assertAlmostEqual(state.objective[-1], 2.0, places=6)

  def test_orthogonal_updates(self):
    # Any coordinate subspace costs n - m; near-ties are broken by lengths.
    state = _run(_state, np.diag([1.0, 2.0, 3.0, 4.0]), num_components=2)
    self.assertAlmostEqual(state.objective[-1], 2.0, places=5)

  def test_signs_and_lengths_do_not_matter(self):
    x = _updates(6)
    factors = np.array([1e6, -1.0, 0.5, -3.0, 2.0, 1e-3, 7.0])
    state = _run(_state, x, num_components=3)
    other = _run(_state, x * factors[:, None], num_components=3)
    np.testing.assert_allclose(other.values, state.values, atol=1e-9)
    np.testing.assert_allclose(other.objective, state.objective, atol=1e-9)

  def test_a_huge_client_changes_nothing(self):
    x = _updates(6).astype(np.float32)
    huge = x.copy()
    huge[2] *= 1e6
    run = jax.jit(functools.partial(aggregators.flag_aggregator))
    np.testing.assert_allclose(run(huge), run(x), atol=2e-5)
    # The raw form, the paper's formula, is carried away.
    raw = jax.jit(
      functools.partial(aggregators.flag_aggregator, normalize=False)
    )
    self.assertGreater(np.linalg.norm(raw(huge)), 1e4)

  def test_turns_with_the_updates(self):
    x = _updates(7)
    turn = np.linalg.qr(_updates(8, D, D))[0]
    np.testing.assert_allclose(
      _run(_update, x @ turn), _run(_update, x) @ turn, atol=1e-9
    )
    order = np.random.default_rng(0).permutation(N)
    np.testing.assert_allclose(
      _run(_update, x[order]), _run(_update, x), atol=1e-9
    )

  def test_objective_never_rises(self):
    for seed in range(5):
      course = _run(
        _state, _updates(seed), num_components=2, num_iters=20, eps=1e-12
      ).objective
      self.assertLessEqual(np.diff(course).max(), 1e-9)
      self.assertLess(course[-1], course[0])


class FlagPolicyTest(parameterized.TestCase):
  def test_zero_and_broken_clients_count_but_do_not_pull(self):
    x = _updates(9).astype(np.float32)
    bad = np.concatenate([x, np.zeros((1, D)), np.full((1, D), np.nan)])
    bad = bad.astype(np.float32)
    options = (('num_components', 3),)
    state = _state(bad, options=options)
    self.assertEqual(int(state.num_ignored), 2)
    np.testing.assert_array_equal(state.values[N:], 0)
    clean = _state(x, options=options)
    np.testing.assert_allclose(state.values[:N], clean.values, atol=1e-4)
    got = _update(bad, options=options) * (N + 2)
    np.testing.assert_allclose(got, _update(x, options=options) * N, atol=1e-4)

  def test_random_start_needs_a_key_and_lowers_the_objective(self):
    x = jnp.asarray(_updates(10), jnp.float32)
    with self.assertRaisesRegex(TypeError, 'key is required'):
      aggregators.flag_aggregator(x, start='random')
    run = lambda key: aggregators.flag_state(
      x, start='random', key=key, num_iters=8
    )
    courses = jax.jit(jax.vmap(run))(
      jax.random.split(jax.random.key(0), 6)
    ).objective
    self.assertGreater(np.ptp(courses[:, 0]), 1e-3)
    self.assertTrue((courses[:, -1] <= courses[:, 0] + 1e-5).all())

  def test_gradient_is_finite_with_more_coordinates_than_clients(self):
    x = jnp.asarray(_updates(12), jnp.float32)
    slope = jnp.arange(1.0, D + 1)
    run = jax.jit(
      jax.grad(lambda x: jnp.sum(aggregators.flag_aggregator(x) * slope))
    )
    grad = np.asarray(run(x))
    self.assertTrue(np.isfinite(grad).all())
    # Lengths do not matter, so no gradient points along an update.
    along = np.abs(np.sum(grad * np.asarray(x), axis=1))
    np.testing.assert_allclose(along, 0.0, atol=2e-3 * np.abs(grad).max())
    # And it is the same where the clients are split over devices.
    mesh = clients.clients_mesh(N)
    split = jax.shard_map(
      lambda x: jax.lax.pmean(
        aggregators.flag_aggregator(x, axis_name='clients'), 'clients'
      ),
      mesh=mesh,
      in_specs=jax.P('clients'),
      out_specs=jax.P(),
    )
    got = jax.jit(jax.grad(lambda x: jnp.sum(split(x) * slope)))(x)
    # Sums in another order, through eigenvectors.
    np.testing.assert_allclose(got, grad, atol=3e-5 * np.abs(grad).max())

  @parameterized.named_parameters(
    ('pairs', {'reg': 1.0}),
    ('reference_pairs', {'reg': 0.5, 'pair_mode': 'reference'}),
  )
  def test_gradient_is_that_of_the_definition(self, options):
    """Where directions coincide or are not there, too."""
    slope = np.linspace(1, 2, D)
    run = jax.jit(
      jax.grad(
        lambda x: (
          aggregators.flag_aggregator(
            x, num_components=3, num_iters=2, **options
          )
          @ jnp.asarray(slope, x.dtype)
        )
      )
    )
    x = _updates(14)
    theirs = {'mode' if k == 'pair_mode' else k: v for k, v in options.items()}
    update = lambda x: reference.flag_update(x, 3, steps=2, **theirs)
    way = np.random.default_rng(0).normal(size=x.shape)
    want = (update(x + 1e-6 * way) - update(x - 1e-6 * way)) @ slope / 2e-6
    got = np.asarray(run(jnp.asarray(x, jnp.float32)))
    np.testing.assert_allclose(np.sum(got * way), want, rtol=1e-4)
    x[2:5] = 0.0
    for odd in (x, np.ones_like(x), np.full_like(x, np.nan), 0 * x):
      got = run(jnp.asarray(odd, jnp.float32))
      self.assertTrue(np.isfinite(got).all(), odd)

  def test_padding_counts_in_nothing(self):
    # The default subspace has (7 + 1) / 2 dimensions, not (11 + 1) / 2.
    x = jnp.asarray(_updates(15), jnp.float32)
    present = jnp.arange(N + 4) < N
    others = {'scale': 'num_components'}, {'reg': 0.5}, {'normalize': False}

    @jax.jit
    def run(x, mask=None):
      fn = functools.partial(aggregators.flag_aggregator, mask=mask)
      out, back = jax.vjp(fn, x)
      slope = back(jnp.ones_like(out))[0]
      return (out, *(fn(x, **options) for options in others)), slope

    want, slope = run(x)
    for value in (jnp.nan, 1e6):
      rows = jnp.concatenate([x, jnp.full((4, x.shape[1]), value)])
      got, found = run(rows, present)
      for a, b in zip(got, want, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-4 * np.abs(b).max())
      size = np.abs(slope).max()
      np.testing.assert_allclose(found[:N], slope, atol=2e-2 * size)
      np.testing.assert_array_equal(found[N:], 0.0)

  def test_composes_with_a_view(self):
    x = jnp.asarray(_updates(13), jnp.float32)

    @jax.jit
    def both(x):
      mixed = aggregators.nnm(view_lib.view(x), num_byzantine=2)
      rows = aggregators.nnm(x, num_byzantine=2)
      return aggregators.flag_aggregator(mixed), aggregators.flag_aggregator(
        rows
      )

    in_view, on_rows = both(x)
    np.testing.assert_allclose(in_view, on_rows, atol=1e-4)


if __name__ == '__main__':
  absltest.main()
