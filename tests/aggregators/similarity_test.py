# SPDX-License-Identifier: Apache-2.0
"""Rules that judge by direction: trust, sybils and signs."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized
from reference import aggregators as reference
from sklearn import cluster

from jaxdl import aggregators
from jaxdl.core import clients


class TrustTest(absltest.TestCase):
  def test_disagreeing_clients_have_no_weight(self):
    x = jnp.array([[2.0, 0.0], [1.0, 1.0], [-9.0, 0.0], [0.0, 0.0]])
    trusted = jnp.array([0.5, 0.0])
    rule = functools.partial(aggregators.fltrust, trusted=trusted)
    read = jax.jit(functools.partial(aggregators.weights_of, rule))
    weights = np.asarray(read(x))
    self.assertEqual(weights[2], 0.0)
    self.assertEqual(weights[3], 0.0)
    np.testing.assert_allclose(
      weights @ np.asarray(x), reference.fltrust(x, trusted), atol=1e-6
    )

  def test_nobody_agrees_or_no_trust_gives_zero(self):
    run = jax.jit(aggregators.fltrust)
    x = jnp.array([[-1.0, 0.0], [-2.0, 1.0]])
    np.testing.assert_array_equal(run(x, jnp.array([1.0, 0.0])), [0, 0])
    np.testing.assert_array_equal(run(x, jnp.array([0.0, 0.0])), [0, 0])
    np.testing.assert_array_equal(run(x, jnp.array([np.nan, 0.0])), [0, 0])

  def test_length_of_the_answer_is_at_most_that_of_the_trusted(self):
    draw = np.random.default_rng(0)
    x = draw.normal(size=(9, 5)).astype(np.float32)
    x[3:] *= 1e6
    trusted = draw.normal(size=5).astype(np.float32)
    got = jax.jit(aggregators.fltrust)(x, trusted)
    self.assertLessEqual(
      np.linalg.norm(got), np.linalg.norm(trusted) * (1 + 1e-5)
    )

  def test_gradient_beside_a_zero_or_broken_client(self):
    x = np.float32([[2.0, 1.0], [0.0, 0.0], [-1.0, 0.5], [0.5, 0.9]])
    trusted = np.float32([1.0, 0.3])
    run = jax.grad(lambda x: jnp.sum(aggregators.fltrust(x, trusted)))
    grad = jax.jit(jax.vmap(run))
    broken = x.copy()
    broken[1] = [np.nan, 1.0]
    got = np.asarray(grad(np.stack([x, broken])))
    self.assertTrue(np.isfinite(got).all())
    way = np.random.default_rng(0).normal(size=x.shape)
    way[1] = 0.0
    ahead, behind = (
      reference.fltrust(x + s * 1e-6 * way, trusted.astype(np.float64))
      for s in (1, -1)
    )
    want = np.sum(ahead - behind) / 2e-6
    np.testing.assert_allclose(np.sum(got * way, axis=(1, 2)), want, rtol=1e-4)

  def test_clients_on_devices(self):
    """All of them together, and what each device makes of its own rows."""
    x = np.random.default_rng(0).normal(0.3, 1.0, (8, 5)).astype(np.float32)
    x[3] = np.nan
    trusted = np.abs(x[0])
    mesh = clients.clients_mesh(4)

    run = jax.jit(
      jax.shard_map(
        lambda x: (
          jax.lax.pmean(
            aggregators.fltrust(x, jnp.asarray(trusted), axis_name='clients'),
            'clients',
          ),
          aggregators.fltrust(x, jnp.asarray(trusted))[None],
        ),
        mesh=mesh,
        in_specs=jax.P('clients'),
        out_specs=(jax.P(), jax.P('clients')),
      )
    )
    got, own = run(x)
    np.testing.assert_allclose(got, reference.fltrust(x, trusted), atol=1e-5)
    for i in range(4):
      want = reference.fltrust(x[2 * i : 2 * i + 2], trusted)
      np.testing.assert_allclose(own[i], want, atol=1e-5)


class FoolsGoldTest(parameterized.TestCase):
  def test_worked_histories(self):
    history = np.concatenate([np.eye(3), np.ones((2, 3))])
    history[4, 2] = 1.01
    rule = aggregators.foolsgold(num_clients=5, average=False)
    got = aggregators.weights_of(rule, jnp.asarray(history))
    np.testing.assert_allclose(got, [1, 1, 1, 0, 0], atol=1e-5)

  def test_random_histories(self):
    draw = np.random.default_rng(1)
    rule = aggregators.foolsgold(num_clients=8, average=False)
    run = jax.jit(functools.partial(aggregators.weights_of, rule))
    for _ in range(6):
      # A few directions shared by several clients.
      history = draw.normal(size=(3, 4))[draw.integers(0, 3, 8)]
      history = history + 0.5 * draw.normal(size=(8, 4))
      with jax.enable_x64(True):
        got = np.asarray(run(history))
      np.testing.assert_allclose(
        got, reference.foolsgold_weights(history), atol=1e-9
      )

  def test_history_is_summed_over_rounds(self):
    rule = aggregators.foolsgold(num_clients=4, average=False)
    draw = np.random.default_rng(2)
    rounds = draw.normal(size=(3, 4, 5)).astype(np.float32)
    state = rule.init(jnp.zeros(5))
    apply = jax.jit(rule.apply)
    for i, updates in enumerate(rounds):
      got, state = apply(updates, state)
      history = rounds[: i + 1].sum(axis=0)
      want = reference.foolsgold_weights(history) @ updates
      np.testing.assert_allclose(got, want, atol=1e-3)
    np.testing.assert_allclose(state.history, history, atol=1e-6)

  def test_a_broken_client_starts_again(self):
    rule = aggregators.foolsgold(num_clients=3)
    apply = jax.jit(rule.apply)
    updates = np.eye(3, dtype=np.float32)
    _, state = apply(updates, rule.init(jnp.zeros(3)))
    broken = updates.copy()
    broken[1] = np.nan
    update, state = apply(broken, state)
    np.testing.assert_allclose(update, [0.5, 0.0, 0.5], atol=1e-6)
    np.testing.assert_array_equal(state.history[1], np.zeros(3))
    np.testing.assert_allclose(state.history[0], [2, 0, 0])

  def test_padding_keeps_its_history(self):
    rule = aggregators.foolsgold(num_clients=3)
    apply = jax.jit(rule.apply)
    updates = np.eye(3, dtype=np.float32)
    _, state = apply(updates, rule.init(jnp.zeros(3)))
    absent = np.where([[True], [False], [True]], updates, np.nan)
    update, state = apply(absent, state, mask=np.array([True, False, True]))
    np.testing.assert_allclose(update, [0.5, 0.0, 0.5], atol=1e-6)
    np.testing.assert_allclose(state.history[1], [0, 1, 0])

  def test_refuses_another_number_of_clients(self):
    rule = aggregators.foolsgold(num_clients=3)
    with self.assertRaisesRegex(ValueError, 'num_clients=3'):
      rule.apply(jnp.ones((4, 2)), rule.init(jnp.zeros(2)))


def _partition(labels):
  return np.asarray(labels)[:, None] == np.asarray(labels)[None, :]


class MeanShiftTest(parameterized.TestCase):
  @parameterized.parameters(range(6))
  def test_same_clusters_as_scikit_learn(self, seed):
    draw = np.random.default_rng(seed)
    centers = draw.normal(size=(3, 3)) * 4
    points = centers[draw.choice(3, 20, p=[0.6, 0.25, 0.15])]
    points = points + draw.normal(size=points.shape)
    bandwidth = cluster.estimate_bandwidth(points, quantile=0.5)
    want = cluster.MeanShift(bandwidth=bandwidth).fit(points).labels_
    with jax.enable_x64(True):
      got = jax.jit(aggregators.mean_shift_labels)(points)
    np.testing.assert_array_equal(_partition(got), _partition(want))

  @parameterized.parameters(0.2, 0.3)
  def test_other_quantiles(self, quantile):
    points = np.random.default_rng(7).normal(size=(20, 3))
    bandwidth = cluster.estimate_bandwidth(points, quantile=quantile)
    want = cluster.MeanShift(bandwidth=bandwidth).fit(points).labels_
    run = functools.partial(aggregators.mean_shift_labels, quantile=quantile)
    with jax.enable_x64(True):
      got = jax.jit(run)(points)
    np.testing.assert_array_equal(_partition(got), _partition(want))

  def test_absent_points_do_not_matter(self):
    points = np.random.default_rng(8).normal(size=(20, 3)).astype(np.float32)
    mask = np.arange(20) < 15
    points[15:] = 50.0
    run = jax.jit(aggregators.mean_shift_labels)
    got = np.asarray(run(points, mask=mask))[:15]
    want = run(points[:15])
    np.testing.assert_array_equal(_partition(got), _partition(want))

  def test_equal_points_are_one_cluster(self):
    got = jax.jit(aggregators.mean_shift_labels)(jnp.ones((5, 3)))
    self.assertLen(set(np.asarray(got).tolist()), 1)


class SignGuardTest(absltest.TestCase):
  def test_against_scikit_learn(self):
    run = jax.jit(
      functools.partial(
        aggregators.signguard, key=jax.random.key(0), sample_fraction=1.0
      )
    )
    for seed in range(5):
      draw = np.random.default_rng(seed)
      x = draw.normal(0.4, 1.0, (12, 60))
      x[9:11] *= -1.0  # Signs give them away.
      x[11] *= 20.0  # The norm does.
      with jax.enable_x64(True):
        got = np.asarray(run(x))
      np.testing.assert_allclose(got, reference.signguard(x), atol=1e-9)

  def test_sampled_signs_find_flipped_clients(self):
    draw = np.random.default_rng(0)
    x = draw.normal(0.5, 1.0, (10, 400)).astype(np.float32)
    x[8:] *= -1.0
    run = functools.partial(aggregators.weights_of, aggregators.signguard)
    weights = np.asarray(jax.jit(run)(x, key=jax.random.key(1)))
    np.testing.assert_array_equal(weights[8:], 0.0)
    self.assertGreater(weights[:8].min(), 0.0)

  def test_cannot_follow_a_pre_aggregator(self):
    rule = aggregators.chain(
      functools.partial(aggregators.nnm, num_byzantine=1),
      aggregators.signguard,
    )
    with self.assertRaisesRegex(ValueError, 'cannot follow'):
      jax.eval_shape(lambda x: rule(x, key=jax.random.key(0)), jnp.ones((5, 3)))


if __name__ == '__main__':
  absltest.main()
