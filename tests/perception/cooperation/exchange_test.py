# SPDX-License-Identifier: Apache-2.0
"""Warps, the exchange and fusions."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized
from scipy import ndimage

from jaxdl.perception import cooperation as coop

KEY = jax.random.key(0)


def maps(*shape, seed=0):
  return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


class WarpTest(parameterized.TestCase):
  @parameterized.product(turns=(0, 1, 2, 3, 5, -1), side=(4, 5))
  def test_quarter_turns_are_those_of_numpy(self, turns, side):
    features = maps(2, side, side)
    moved, seen = coop.warp_quarter(features, turns, jnp.zeros(2, int))
    np.testing.assert_array_equal(moved, np.rot90(features, turns, (1, 2)))
    self.assertTrue(bool(seen.all()))

  @parameterized.parameters(0, 1, 2, 3)
  def test_quarter_poses_of_any_kind_agree(self, turns):
    features = maps(2, 6, 6)
    pose = jnp.array([2.0, -1.0, turns * np.pi / 2])
    want, seen = coop.warp_quarter(features, turns, jnp.array([2, -1]))
    got, also = coop.warp_bev(features, coop.pose_matrix(pose))
    np.testing.assert_allclose(got, want, atol=2e-5)
    np.testing.assert_array_equal(seen, also)
    rotated = np.rot90(features, turns, (1, 2))
    np.testing.assert_array_equal(want[:, 1:, 2:], rotated[:, :-1, :-2])
    self.assertEqual(float(jnp.abs(want[:, 0]).sum()), 0.0)

  def test_identity_is_exact(self):
    features = maps(3, 5, 7)
    moved, seen = coop.warp_bev(features, jnp.eye(3))
    np.testing.assert_array_equal(moved, features)
    self.assertTrue(bool(seen.all()))

  def test_there_and_back_is_where_it_was(self):
    features = maps(2, 7, 7)
    there, seen = coop.warp_quarter(features, 1, jnp.array([2, 1]))
    # The inverse: turned back, and shifted by what the turn makes of it.
    back, also = coop.warp_quarter(there, -1, jnp.array([-1, 2]))
    inside = also & coop.warp_quarter(seen[None], -1, jnp.array([-1, 2]))[0][0]
    self.assertGreater(int(inside.sum()), 20)
    np.testing.assert_array_equal(
      np.where(inside, back, 0), np.where(inside, features, 0)
    )
    smooth = np.asarray(ndimage.gaussian_filter(maps(40, 40), 4))[None]
    pose = coop.pose_matrix(jnp.array([1.5, -0.5, 0.3]))
    there, seen = coop.warp_bev(smooth, pose)
    back, also = coop.warp_bev(there, jnp.linalg.inv(pose))
    # Away from the edge of what was seen, where zeros blend in.
    inner = ndimage.binary_erosion(np.asarray(seen), iterations=3)
    inside = coop.warp_bev(inner[None].astype(np.float32),
                           jnp.linalg.inv(pose))[0][0] > 0.99  # fmt: skip
    error = np.abs(np.asarray(back) - smooth)[0][np.asarray(inside & also)]
    self.assertLess(error.max(), 0.02 * np.ptp(smooth))

  def test_any_pose_is_that_of_scipy(self):
    features = maps(1, 8, 8)
    pose = np.array([1.2, 0.7, 0.4])
    got, seen = coop.warp_bev(features, coop.pose_matrix(jnp.asarray(pose)))
    c, s = np.cos(pose[2]), np.sin(pose[2])
    j, i = np.meshgrid(np.arange(8), np.arange(8))
    x, y = j - 3.5 - pose[0], 3.5 - i - pose[1]
    at = [3.5 - (-s * x + c * y), c * x + s * y + 3.5]
    want = ndimage.map_coordinates(features[0], at, order=1, mode='nearest')
    np.testing.assert_allclose(got[0], np.where(seen, want, 0), atol=1e-5)

  def test_relative_poses_compose(self):
    a, b = jnp.array([1.0, 2.0, 0.3]), jnp.array([-2.0, 0.5, 1.9])
    want = np.linalg.inv(np.asarray(coop.pose_matrix(b), float)) @ np.asarray(
      coop.pose_matrix(a), float
    )
    np.testing.assert_allclose(coop.relative_pose(a, b), want, atol=1e-5)

  def test_what_cannot_be_undone_is_refused(self):
    features = jnp.ones((1, 4, 4))
    singular = jnp.zeros((3, 3)).at[2, 2].set(1.0).at[0, 0].set(1.0)
    for call, message in (
      (lambda: coop.warp_bev(features, singular), 'matrix is singular'),
      (lambda: coop.warp_bev(features, jnp.eye(2)), r'shape \(3, 3\); got'),
      (
        lambda: coop.warp_bev(features, jnp.eye(3), resolution=0.0),
        r'resolution must lie in \(0.0, inf\)',
      ),
      (
        lambda: coop.warp_quarter(jnp.ones((1, 4, 5)), 1, jnp.zeros(2, int)),
        'must be square .* 4 x 5',
      ),
    ):
      with self.assertRaisesRegex(ValueError, message):
        call()


class ExchangeTest(parameterized.TestCase):
  def test_selected_channels_are_theirs_and_others_its_own(self):
    features, mask = maps(3, 4, 2, 2), jnp.array([1.0, 0.0, 0.0, 1.0])
    got = coop.trim_exchange(features, mask)
    want = features.copy()
    want[:, 1:3] = features[0, 1:3]
    np.testing.assert_array_equal(got.maps, want)
    zeros = coop.trim_exchange(features, mask, fill='zero').maps
    self.assertEqual(float(jnp.abs(zeros[1:, 1:3]).sum()), 0.0)
    np.testing.assert_array_equal(zeros[0], features[0])

  def test_who_is_not_there_does_not_count_whatever_it_holds(self):
    features = maps(3, 2, 2, 2)
    there = jnp.array([True, True, False])
    spoiled = jnp.asarray(features).at[2].set(jnp.nan)
    run = jax.jit(
      lambda f: coop.trim_exchange(f, jnp.ones(2), agent_mask=there)
    )
    for x, y in zip(run(features), run(spoiled), strict=True):
      np.testing.assert_array_equal(x, y)
    self.assertFalse(bool(run(features).seen[2].any()))

  def test_any_agent_may_be_the_ego(self):
    features = maps(2, 1, 2, 2)
    there = np.array([False, True])
    got = coop.trim_exchange(features, np.ones(1), agent_mask=there, ego=1)
    np.testing.assert_array_equal(got.maps, features[[1, 1]])
    for ego, message in (
      (0, 'leaves out agent 0'),
      (2, 'ego must be at most 1|ego must lie'),
    ):
      with self.assertRaisesRegex(ValueError, message):
        coop.trim_exchange(features, np.ones(1), agent_mask=there, ego=ego)
    with self.assertRaisesRegex(ValueError, 'mask must be finite'):
      coop.trim_exchange(features, np.array([np.nan]))

  def test_gradients_reach_the_mask(self):
    features = maps(2, 3, 2, 2)
    total = lambda m: coop.trim_exchange(features, m).maps[1].sum()
    want = (features[1] - features[0]).sum(axis=(1, 2))
    np.testing.assert_allclose(jax.grad(total)(jnp.ones(3)), want, rtol=1e-5)

  def test_what_does_not_fit_is_refused(self):
    features = jnp.ones((2, 3, 4, 4))
    absent = jnp.array([False, True])
    for call, message in (
      (
        lambda: coop.stack_agents(
          [jnp.ones((3, 4, 4)), jnp.ones((2, 4, 4))], 4
        ),
        r'maps of one form: agent 1 has \(2, 4, 4\)',
      ),
      (
        lambda: coop.stack_agents([jnp.ones((3, 4, 4))] * 3, 2),
        '3 agents exceed agents_max=2',
      ),
      (lambda: coop.stack_agents([], 2), 'the ego, agent 0, must be there'),
      (
        lambda: coop.stack_agents(
          [jnp.ones((3, 4, 4)), jnp.full((3, 4, 4), jnp.inf)], 2
        ),
        r'maps\[1\] must be finite',
      ),
      (
        lambda: coop.trim_exchange(features, jnp.ones((1,) * 5)),
        r'mask of shape \(1, 1, 1, 1, 1\) does not fit',
      ),
      (
        lambda: coop.trim_exchange(features, jnp.ones(3), agent_mask=absent),
        'agent_mask leaves out agent 0, the ego',
      ),
      (
        lambda: coop.trim_exchange(
          features, jnp.ones(3), agent_mask=absent[:1]
        ),
        r'one entry per agent, shape \(2,\)',
      ),
      (
        lambda: coop.trim_exchange(features, jnp.ones(4)),
        r'mask of shape \(4,\) does not fit',
      ),
      (
        lambda: coop.trim_exchange(features, jnp.ones(3), fill='mean'),
        "fill='mean'",
      ),
      (
        lambda: coop.trim_exchange(features * jnp.nan, jnp.ones(3)),
        'features must be finite; 96 of 96',
      ),
    ):
      with self.assertRaisesRegex(ValueError, message):
        call()


@functools.cache
def fusion(spec):
  made = coop.make_fusion(spec, 4)
  return made, made.init(KEY)


FUSIONS = ('max', 'mean', 'attention', 'disco', 'windowed(window=2)')


class FusionTest(parameterized.TestCase):
  def fuse(self, spec, features, weights, own=None):
    made, params = fusion(spec)
    own = features[0] if own is None else own
    return np.asarray(made.apply(params, jnp.asarray(features), weights, own))

  @parameterized.parameters(*FUSIONS)
  def test_equal_maps_are_that_map_and_order_does_not_matter(self, spec):
    features, ones = maps(4, 4, 4, 4), jnp.ones((4, 4, 4))
    alone = self.fuse(spec, features[:1], ones[:1])
    equal = np.repeat(features[:1], 4, axis=0)
    np.testing.assert_allclose(
      self.fuse(spec, equal, ones), alone, rtol=1e-4, atol=1e-5
    )
    if '(' not in spec and spec != 'disco':
      np.testing.assert_allclose(alone, features[0], rtol=1e-6)
    whole = self.fuse(spec, features, ones)
    order = np.array([0, 3, 1, 2])
    np.testing.assert_allclose(
      self.fuse(spec, features[order], ones), whole, rtol=1e-3, atol=1e-5
    )
    # Who does not count may hold anything, at some cells or at all.
    weights = ones.at[2].set(0.0)
    spoiled = features.copy()
    spoiled[2] = 1e6
    kept = features[[0, 1, 3]]
    np.testing.assert_allclose(
      self.fuse(spec, spoiled, weights),
      self.fuse(spec, kept, ones[:3]),
      rtol=1e-3,
      atol=1e-5,
    )

  @parameterized.product(name=FUSIONS, check_vma=(False, True))
  def test_gradients_over_devices_are_those_of_one(self, name, check_vma):
    features, slope = maps(4, 4, 2, 2), maps(4, 2, 2, seed=1)
    weights = np.random.default_rng(2).random((4, 2, 2)).astype(np.float32)
    made, params = fusion(name)
    own = jnp.asarray(features[0])
    mesh = jax.make_mesh(
      (2,), ('agents',), axis_types=(jax.sharding.AxisType.Auto,),
      devices=jax.devices()[:2],
    )  # fmt: skip
    split = jax.shard_map(
      lambda x, w: made.apply(params, x, w, own, axis_name='agents'),
      mesh=mesh,
      in_specs=jax.P('agents'),
      out_specs=jax.P(),
      check_vma=check_vma,
    )
    one = lambda x, w: made.apply(params, x, w, own)
    got, want = (
      jax.jit(jax.grad(lambda x, f=f: jnp.sum(slope * f(x, weights))))(features)
      for f in (split, one)
    )
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)

  def test_max_mean_and_attention_are_those_of_numpy(self):
    features = maps(3, 4, 2, 2)
    weights = np.random.default_rng(3).random((3, 2, 2)).astype(np.float32)
    weights[1, 0] = 0.0
    there = (weights > 0)[:, None]
    want = np.where(there, features, -np.inf).max(axis=0)
    np.testing.assert_array_equal(self.fuse('max', features, weights), want)
    share = weights / weights.sum(axis=0)
    want = (features * share[:, None]).sum(axis=0)
    np.testing.assert_allclose(
      self.fuse('mean', features, weights), want, rtol=1e-5
    )
    scores = np.einsum('chw,achw->ahw', features[0], features) / 2.0
    size = np.exp(scores) * (weights > 0)
    want = (features * (size / size.sum(axis=0))[:, None]).sum(axis=0)
    np.testing.assert_allclose(
      self.fuse('attention', features, weights), want, rtol=2e-5, atol=1e-6
    )

  @parameterized.parameters(
    'max', 'mean', 'attention', 'disco', 'windowed(window=2)'
  )
  def test_who_does_not_count_may_hold_anything(self, spec):
    fusion = coop.make_fusion(spec, 4)
    params = fusion.init(KEY)
    some = maps(2, 4, 4, 4)
    more = np.concatenate([some, np.full((1, 4, 4, 4), np.nan, np.float32)])
    weights = np.ones((3, 4, 4), np.float32)
    weights[2] = 0
    run = lambda own, x, w: fusion.apply(params, x, w, own)
    want = run(some[0], some, jnp.asarray(weights[:2]))
    np.testing.assert_allclose(
      run(some[0], more, jnp.asarray(weights)), want, rtol=1e-5, atol=1e-6
    )
    slope = jax.grad(lambda *x: run(*x, jnp.asarray(weights)).sum(), (0, 1))
    for found in slope(some[0], more):
      self.assertTrue(bool(jnp.isfinite(found).all()))

  def test_far_cells_reach_each_other_through_windows(self):
    features = maps(2, 4, 4, 4)
    changed = features.copy()
    changed[1, 0, 3, 3] += 1.0
    ones = jnp.ones((2, 4, 4))
    gap = self.fuse('windowed(window=2)', changed, ones) - self.fuse(
      'windowed(window=2)', features, ones
    )
    self.assertGreater(np.abs(gap).max(axis=0).min(), 0.0)

  def test_what_does_not_fit_is_refused(self):
    for spec, message in (
      ('median', "'median'"),
      ('windowed(heads=3)', 'heads=3 does not divide the 4 channels'),
      ('disco(hidden=(0,))', 'hidden must be at least 1'),
    ):
      with self.assertRaisesRegex(ValueError, message):
        coop.make_fusion(spec, 4)
    made, params = fusion('windowed(window=2)')
    with self.assertRaisesRegex(ValueError, 'window=2 does not divide .*5 x 4'):
      made.apply(params, jnp.ones((1, 4, 5, 4)), jnp.ones((1, 5, 4)), None)


if __name__ == '__main__':
  absltest.main()
