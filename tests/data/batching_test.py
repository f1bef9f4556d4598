# SPDX-License-Identifier: Apache-2.0
import functools

import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized

from jaxdl import data
from jaxdl.core import types


class StackTest(parameterized.TestCase):
  def test_rows_are_the_parts_then_zeros(self):
    arrays = {
      'inputs': np.arange(12, dtype=np.float32).reshape(6, 2) + 1,
      'labels': np.arange(6, dtype=np.int32) + 1,
    }
    stacked, mask = data.stack_clients(arrays, [[4, 0], [], [1, 2, 5]], size=4)
    self.assertEqual(stacked['labels'].tolist()[0], [5, 1, 0, 0])
    self.assertEqual(stacked['labels'].tolist()[2], [2, 3, 6, 0])
    self.assertEqual(stacked['inputs'].shape, (3, 4, 2))
    self.assertEqual(stacked['inputs'][2, 1].tolist(), [5.0, 6.0])
    self.assertEqual(mask.sum(axis=1).tolist(), [2, 0, 3])
    self.assertEqual(stacked['labels'].dtype, np.int32)
    self.assertFalse(stacked['inputs'][~mask].any())

  def test_says_what_to_change(self):
    y = {'y': np.arange(3)}
    for parts, size, message in (
      ([[0], [0, 1]], 1, 'size=1 is too small: client 1 has 2 examples'),
      ([[3]], None, r'parts\[0\] must index 3 examples'),
      ([], None, 'at least one client'),
      ([[], []], None, 'at least one example'),
    ):
      with self.assertRaisesRegex(ValueError, message):
        data.stack_clients(y, parts, size)
    with self.assertRaisesRegex(ValueError, 'same leading axis'):
      data.stack_clients({'x': np.zeros(2), 'y': np.zeros(3)}, [[0]])


class SampleBatchTest(parameterized.TestCase):
  def clients(self):
    labels = np.arange(30).reshape(3, 10)
    mask = np.arange(10) < np.array([[7], [0], [3]])
    # Whatever lies in the padding must never be drawn.
    return {'labels': np.where(mask, labels, -1), 'mask': mask}

  @parameterized.parameters(True, False)
  def test_only_real_examples_under_jit_and_vmap(self, replace):
    keys = jax.random.split(jax.random.key(0), 3)
    draw = functools.partial(data.sample_batch, batch_size=5, replace=replace)
    clients = self.clients()
    got = jax.jit(jax.vmap(lambda k, c: draw(k, c, None)))(keys, clients)
    self.assertEqual(got['labels'].shape, (3, 5))
    want = [5, 0, 5] if replace else [5, 0, 3]
    self.assertEqual(got['mask'].sum(axis=1).tolist(), want)
    self.assertTrue((got['labels'] >= 0)[got['mask']].all())
    for k in range(3):
      one = draw(keys[k], {'labels': clients['labels'][k]}, clients['mask'][k])
      count = draw(keys[k], {'labels': clients['labels'][k]}, [7, 0, 3][k])
      for other in (one, count):
        np.testing.assert_array_equal(other['mask'], got['mask'][k])
        np.testing.assert_array_equal(
          other['labels'][one['mask']], got['labels'][k][one['mask']]
        )

  @parameterized.parameters(True, False)
  def test_padding_does_not_change_what_is_drawn(self, replace):
    def draw(size, key):
      return data.sample_batch(
        key, {'y': jnp.arange(size)}, 6, 4, replace=replace
      )['y']

    keys = jax.random.split(jax.random.key(1), 20)
    np.testing.assert_array_equal(
      jax.vmap(functools.partial(draw, 6))(keys),
      jax.vmap(functools.partial(draw, 9))(keys),
    )

  @parameterized.parameters(True, False)
  def test_draws_are_uniform_over_a_scattered_mask(self, replace):
    mask = jnp.array([False, True, True, False, True, True, False])
    keys = jax.random.split(jax.random.key(2), 4000)
    draw = lambda k: data.sample_batch(
      k, {'y': jnp.arange(7)}, mask, 2, replace=replace
    )['y']
    got = jax.jit(jax.vmap(draw))(keys)
    counts = np.bincount(np.ravel(got), minlength=7)
    self.assertEqual(counts[~np.asarray(mask)].sum(), 0)
    np.testing.assert_allclose(counts[np.asarray(mask)] / 8000, 0.25, atol=0.02)
    pairs = np.mean(got[:, 0] == got[:, 1])
    self.assertAlmostEqual(pairs, 0.25 if replace else 0.0, delta=0.03)

  def test_clients_spread_over_devices_draw_the_same(self):
    mesh = jax.make_mesh(
      (8,), ('clients',), axis_types=(jax.sharding.AxisType.Auto,)
    )
    labels = np.arange(80).reshape(8, 10)
    args = (
      jax.random.split(jax.random.key(5), 8),
      {'labels': labels, 'mask': labels % 10 < np.arange(1, 9)[:, None]},
    )
    spread = jax.device_put(args, jax.NamedSharding(mesh, jax.P('clients')))
    draw = jax.jit(jax.vmap(lambda k, c: data.sample_batch(k, c, None, 3)))
    one, many = draw(*args), draw(*spread)
    self.assertLen(many['labels'].sharding.device_set, 8)
    np.testing.assert_array_equal(one['labels'], many['labels'])

  def test_large_batch_without_replacement_gives_everything(self):
    got = data.sample_batch(
      jax.random.key(0), {'y': jnp.arange(3)}, 3, 5, replace=False
    )
    self.assertEqual(got['mask'].tolist(), [True] * 3 + [False] * 2)
    self.assertEqual(sorted(got['y'][:3].tolist()), [0, 1, 2])

  def test_says_what_to_change(self):
    key, y = jax.random.key(0), {'y': jnp.arange(3)}
    with self.assertRaisesRegex(ValueError, r'must be bool\[3\] or an integer'):
      data.sample_batch(key, y, jnp.ones(2, bool), 1)
    with self.assertRaisesRegex(ValueError, 'got float32'):
      data.sample_batch(key, y, 2.0, 1)
    with self.assertRaisesRegex(ValueError, 'needs an entry'):
      data.sample_batch(key, y, None, 1)
    with self.assertRaisesRegex(ValueError, 'batch_size must be at least 1'):
      data.sample_batch(key, y, 3, 0)


class EpochTest(parameterized.TestCase):
  @parameterized.parameters((1, 1, 1), (1, 4, 3), (5, 3, 1), (9, 4, 2))
  def test_each_pass_visits_everything_once(self, n, batch_size, num_epochs):
    plan = functools.partial(
      data.epoch_batches,
      num_examples=n,
      batch_size=batch_size,
      num_epochs=num_epochs,
    )
    indices, mask = jax.jit(plan)(jax.random.key(n))
    self.assertEqual(
      indices.shape, (-(-num_epochs * n // batch_size), batch_size)
    )
    stream = np.asarray(indices)[np.asarray(mask)]
    self.assertLen(stream, num_epochs * n)
    for one in stream.reshape(num_epochs, n):
      self.assertEqual(sorted(one.tolist()), list(range(n)))

  def test_limits_count_steps_as_the_formula_says(self):
    keys = jax.random.split(jax.random.key(0), 4)
    counts = jnp.array([0, 1, 5, 9])
    for options, want in (
      ({'num_epochs': 2}, [[0, 0], [1, 2], [3, 10], [5, 18]]),
      (
        {'num_epochs': 2, 'drop_remainder': True},
        [[0, 0], [0, 0], [2, 8], [4, 16]],
      ),
      (
        {'num_epochs': 2, 'fill_remainder': True},
        [[0, 0], [1, 4], [3, 12], [5, 20]],
      ),
      ({'num_steps': 3}, [[0, 0], [3, 12], [3, 12], [3, 12]]),
      (
        {'num_steps': 2, 'num_epochs': 2},
        [[0, 0], [1, 2], [2, 8], [2, 8]],
      ),
    ):
      plan = functools.partial(
        data.epoch_batches, batch_size=4, capacity=9, **options
      )
      indices, mask = jax.jit(jax.vmap(plan))(keys, counts)
      steps = mask.any(axis=2).sum(axis=1)
      got = np.stack([steps, mask.sum(axis=(1, 2))], axis=1)
      self.assertEqual(got.tolist(), want, options)
      self.assertTrue((indices < jnp.maximum(counts, 1)[:, None, None]).all())
      # Real steps come first.
      self.assertTrue((jnp.diff(mask.any(axis=2).astype(int)) <= 0).all())

  def test_capacity_does_not_change_the_plan(self):
    key = jax.random.key(3)

    @functools.partial(jax.jit, static_argnums=(0, 1))
    def plan(num_steps, capacity):
      return data.epoch_batches(
        key, 5, 2, num_steps=num_steps, capacity=capacity
      )[0]

    small, large, few = plan(7, 5), plan(7, 50), plan(3, 5)
    np.testing.assert_array_equal(small, large)
    np.testing.assert_array_equal(small[:3], few)

  def test_permutations_are_uniform_and_independent(self):
    keys = jax.random.split(jax.random.key(4), 6000)
    indices, _ = jax.vmap(lambda k: data.epoch_batches(k, 3, 3, num_epochs=2))(
      keys
    )
    codes = np.asarray(indices) @ np.array([9, 3, 1])
    _, counts = np.unique(codes[:, 0], return_counts=True)
    self.assertLen(counts, 6)
    np.testing.assert_allclose(counts / 6000, 1 / 6, atol=0.02)
    same = np.mean(codes[:, 0] == codes[:, 1])
    self.assertAlmostEqual(same, 1 / 6, delta=0.02)

  def test_a_pass_that_is_cut_short_still_draws_from_everything(self):
    keys = jax.random.split(jax.random.key(6), 4000)
    plan = lambda k: data.epoch_batches(k, 5, 2, num_steps=1)[0]
    indices = np.asarray(jax.jit(jax.vmap(plan))(keys))
    counts = np.bincount(indices.ravel(), minlength=5)
    np.testing.assert_allclose(counts / 8000, 0.2, atol=0.02)
    self.assertTrue((indices[:, :, 0] != indices[:, :, 1]).all())

  def test_one_compilation_for_all_sizes(self):
    traces = []

    @jax.jit
    def plan(key, n):
      traces.append(n)
      return data.epoch_batches(key, n, 2, num_epochs=1, capacity=6)

    for n in (1, 4, 6):
      _, mask = plan(jax.random.key(0), jnp.int32(n))
      self.assertEqual(int(mask.sum()), n)
    self.assertLen(traces, 1)

  def test_gathered_batches(self):
    client = {'y': jnp.arange(5) * 10, 'mask': jnp.ones(5, bool)}
    indices, mask = data.epoch_batches(jax.random.key(0), 5, 2, num_epochs=1)
    batches = data.take_batch(client, indices, mask)
    self.assertEqual(batches['y'].shape, (3, 2))
    self.assertEqual(
      sorted(batches['y'][batches['mask']].tolist()), [0, 10, 20, 30, 40]
    )

  def test_says_what_to_change(self):
    key = jax.random.key(0)
    for kwargs, message in (
      ({}, 'num_epochs and num_steps are both None'),
      ({'num_epochs': 0}, 'num_epochs must be at least 1'),
      ({'num_epochs': 1, 'drop_remainder': True}, 'leaves no step: 1 epochs'),
      (
        {'num_epochs': 1, 'drop_remainder': True, 'fill_remainder': True},
        'exclude each other',
      ),
      ({'num_epochs': 1, 'capacity': 2}, 'num_examples must be at most 2'),
    ):
      with self.assertRaisesRegex(ValueError, message):
        data.epoch_batches(key, 3, 4, **kwargs)
    with self.assertRaisesRegex(ValueError, 'capacity is needed'):
      jax.jit(lambda n: data.epoch_batches(key, n, 4, num_steps=1))(3)


class PaddingTest(parameterized.TestCase):
  @parameterized.parameters(1, 2, 5, 8)
  def test_eval_batches_keep_order_and_count(self, batch_size):
    x = np.arange(5.0)[:, None] + 1
    got = data.eval_batches({'x': x, 'y': np.arange(5)}, batch_size)
    steps = -(-5 // batch_size)
    self.assertEqual(got['x'].shape, (steps, batch_size, 1))
    np.testing.assert_array_equal(got['x'][got['mask']], x)
    self.assertEqual(got['mask'].sum(), 5)
    self.assertIsInstance(got['x'], np.ndarray)

  def test_masked_mean_over_batches_is_the_mean(self):
    y = np.random.default_rng(0).normal(size=11).astype(np.float32)
    batches = data.eval_batches({'y': y}, 4)
    total = jax.lax.map(
      lambda b: jnp.sum(jnp.where(b['mask'], b['y'], 0.0)), batches
    )
    self.assertAlmostEqual(float(total.sum() / 11), y.mean(), places=6)

  def test_cohort_padding_has_no_effect_on_state(self):
    cohort = types.Cohort(
      client_ids=jnp.array([2, 0, 1]),
      data={'x': jnp.ones((3, 4))},
      mask=jnp.array([True, False, True]),
      weights=jnp.array([1.0, 2.0, 3.0]),
    )
    got = data.pad_cohort(cohort, 4)
    self.assertEqual(got.mask.tolist(), [True, False, True, False])
    self.assertEqual(got.weights.tolist(), [1.0, 2.0, 3.0, 0.0])
    self.assertEqual(got.data['x'].shape, (4, 4))
    state = jnp.arange(3.0).at[got.client_ids].set(jnp.full((4,), 9.0))
    self.assertEqual(state.tolist(), [9.0, 9.0, 9.0])
    four = jnp.arange(4.0).at[got.client_ids].add(jnp.ones(4))
    self.assertEqual(four.tolist(), [1.0, 2.0, 3.0, 3.0])
    same = data.pad_cohort(cohort, 3)
    np.testing.assert_array_equal(same.client_ids, cohort.client_ids)

  def test_says_what_to_change(self):
    with self.assertRaisesRegex(ValueError, 'must not have an entry "mask"'):
      data.eval_batches({'mask': np.ones(3)}, 2)
    with self.assertRaisesRegex(ValueError, "x'] has no examples"):
      data.eval_batches({'x': np.ones((0, 3))}, 2)
    with self.assertRaisesRegex(ValueError, 'multiple must be at least 1'):
      data.pad_rows(np.ones(3), 0)


if __name__ == '__main__':
  absltest.main()
