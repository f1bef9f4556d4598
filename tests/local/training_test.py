# SPDX-License-Identifier: Apache-2.0
"""Gradients and local training against plain NumPy loops."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
from absl.testing import absltest, parameterized

from jaxdl import data as data_lib, local
from jaxdl.core import clients, keys, types

N, S, D = 4, 7, 3
ETA, BETA = 0.1, 0.5


def _loss(params, batch, *, key=None):
  """Masked least squares, pushed along a random direction if there is a key."""
  error = batch['x'] @ params['w'] - batch['y']
  total = jnp.sum(batch['mask'] * error**2) / 2
  push = 0.0 if key is None else jax.random.normal(key, (D,)) @ params['w']
  return total / jnp.maximum(jnp.sum(batch['mask']), 1) + push


TASK = types.Task(
  lambda key: {'w': jax.random.normal(key, (D,))},
  _loss,
  lambda params, batch: {},
)


def _data(seed=0):
  rng = np.random.default_rng(seed)
  return {
    'x': jnp.asarray(rng.normal(size=(N, S, D)), jnp.float32),
    'y': jnp.asarray(rng.normal(size=(N, S)), jnp.float32),
  }


def _numpy_loss_and_slope(w, x, y, mask, key):
  """In float64, with the same push."""
  x, y = np.float64(x), np.float64(y)
  push = np.float64(jax.random.normal(key, (D,)))
  error = np.asarray(mask) * (x @ w - y)
  count = max(np.asarray(mask).sum(), 1)
  return (error**2).sum() / 2 / count + push @ w, x.T @ error / count + push


def _numpy_training(w, batches, key, steps):
  """SGD with heavy-ball momentum; `batches[t]` is x, y, mask, or None."""
  memory, losses = np.zeros(D), []
  for t in range(steps):
    if batches[t] is None:
      losses.append(0.0)
      continue
    loss, slope = _numpy_loss_and_slope(
      w, *batches[t], jax.random.fold_in(key, t)
    )
    losses.append(loss)
    memory = BETA * memory + slope
    w = w - ETA * memory
  return w, losses


class GradientsTest(parameterized.TestCase):
  @parameterized.product(shared=[False, True], devices=[1, 4])
  def test_all_clients(self, shared, devices):
    data = {**_data(), 'mask': jnp.ones((N, S), bool).at[1, 4:].set(False)}
    mask = np.array([True, True, False, True])
    cohort = types.Cohort(
      client_ids=jnp.array([5, 0, 2, 9]),
      data=data,
      mask=jnp.asarray(mask),
      weights=jnp.ones(N),
    )
    params = local.start_models(TASK, N, jax.random.key(1), same=False)
    used = jax.tree.map(lambda x: x[0], params) if shared else params
    mesh = clients.clients_mesh(devices) if devices > 1 else None
    fn = local.gradients(TASK, clients.Clients(N, mesh), shared=shared)
    key = jax.random.key(2)
    losses, grads = jax.jit(fn)(used, cohort, key)
    own = keys.client_keys(key, cohort.client_ids)
    for i in range(N):
      w = np.float64(params['w'][0 if shared else i])
      row = {k: v[i] for k, v in data.items()}
      loss, slope = _numpy_loss_and_slope(
        w, row['x'], row['y'], row['mask'], own[i]
      )
      np.testing.assert_allclose(losses[i], loss, rtol=1e-5)
      np.testing.assert_allclose(
        grads['w'][i], slope if mask[i] else 0, rtol=1e-4, atol=1e-5
      )

  def test_starts(self):
    key = jax.random.key(0)
    same = local.start_models(TASK, 3, key)['w']
    np.testing.assert_array_equal(same, np.tile(TASK.init(key)['w'], (3, 1)))
    apart = local.start_models(TASK, 3, key, same=False)['w']
    more = local.start_models(TASK, 5, key, same=False)['w']
    np.testing.assert_array_equal(apart, more[:3])
    self.assertGreater(float(jnp.ptp(apart)), 0.1)

  def test_masked_clients_keep_their_optimizer(self):
    optimizer = optax.sgd(ETA, momentum=BETA)
    params = {'w': jnp.ones((2, D))}
    state = jax.vmap(optimizer.init)(params)
    mask = jnp.array([True, False])
    updates, new = local.client_updates(optimizer, params, state, params, mask)
    np.testing.assert_allclose(updates['w'], [[-ETA] * D, [0.0] * D])
    np.testing.assert_array_equal(
      jax.tree.leaves(new)[0], [[1.0] * D, [0.0] * D]
    )

  def test_momentum(self):
    got = local.momentum({'w': jnp.ones(2)}, {'w': jnp.zeros(2)}, 0.75)
    np.testing.assert_array_equal(got['w'], [0.75, 0.75])

  def test_says_what_is_wrong(self):
    with self.assertRaisesRegex(TypeError, 'task must be a Task'):
      local.gradients(max, 3)
    with self.assertRaisesRegex(ValueError, 'num_steps must be at least 1'):
      local.train_steps(TASK, optax.sgd(0.1), num_steps=0)
    with self.assertRaisesRegex(ValueError, 'num_epochs and num_steps are No'):
      local.local_training(TASK, optax.sgd(0.1), batch_size=2)


class TrainingTest(parameterized.TestCase):
  def setUp(self):
    super().setUp()
    self.optimizer = optax.sgd(ETA, momentum=BETA)
    self.params = TASK.init(jax.random.key(5))
    self.key = jax.random.key(6)

  def test_steps(self):
    data = {**_data(), 'mask': jnp.ones((N, S), bool)}
    real = jnp.array([True, False, True, True])

    @jax.jit
    def run(limit):
      train = local.train_steps(TASK, self.optimizer, num_steps=N)
      start = self.optimizer.init(self.params)
      batch_of = lambda t: (jax.tree.map(lambda x: x[t], data), real[t])
      return train(self.params, start, batch_of, self.key, limit=limit)

    whole = run(None)
    batches = [
      (data['x'][t], data['y'][t], data['mask'][t]) if real[t] else None
      for t in range(N)
    ]
    for limit in range(N + 2):
      steps = min(limit, N)
      w, losses = _numpy_training(
        np.float64(self.params['w']), batches, self.key, steps
      )
      got = run(jnp.int32(limit))
      np.testing.assert_allclose(got.params['w'], w, atol=1e-5)
      np.testing.assert_allclose(
        got.losses, losses + [0.0] * (N - steps), rtol=1e-5
      )
    self.assertEqual(run._cache_size(), 2)  # With a limit, and without.
    # A batch for every step, as a tree and as a function.
    train = local.train_steps(TASK, self.optimizer, num_steps=N)
    start = self.optimizer.init(self.params)
    row = lambda t: (jax.tree.map(lambda x: x[t], data), True)
    for limit in (None, 3):
      tree, function = (
        train(self.params, start, batches, self.key, limit=limit)
        for batches in (data, row)
      )
      jax.tree.map(
        lambda x, y: np.testing.assert_allclose(x, y, atol=1e-6), tree, function
      )
    jax.tree.map(np.testing.assert_array_equal, whole, got)

  @parameterized.parameters((2, None), (None, 5), (3, 4))
  def test_epochs_of_masked_examples(self, num_epochs, num_steps):
    rows = jax.tree.map(lambda x: x[0], _data())
    mask = jnp.arange(S) < 5
    train = jax.jit(
      local.local_training(
        TASK,
        self.optimizer,
        batch_size=2,
        num_epochs=num_epochs,
        num_steps=num_steps,
      )
    )
    plan_key, loss_key = jax.random.split(self.key)
    indices, real = data_lib.epoch_batches(
      plan_key,
      5,
      2,
      num_epochs=num_epochs,
      num_steps=num_steps,
      capacity=S,
    )
    batches = [
      (rows['x'][i], rows['y'][i], m) if m.any() else None
      for i, m in zip(indices, np.asarray(real), strict=True)
    ]
    for limit in (None, 2):
      steps = len(batches) if limit is None else limit
      w, losses = _numpy_training(
        np.float64(self.params['w']), batches, loss_key, steps
      )
      got = train(self.params, rows, mask, self.key, limit=limit)
      np.testing.assert_allclose(got.params['w'], w, atol=1e-5)
      np.testing.assert_allclose(got.losses[:steps], losses, rtol=1e-4)

  def test_who_has_no_examples_keeps_its_model(self):
    rows = jax.tree.map(lambda x: x[0], _data())
    train = local.local_training(
      TASK, self.optimizer, batch_size=2, num_epochs=1
    )
    got = train(self.params, rows, jnp.zeros(S, bool), self.key)
    np.testing.assert_array_equal(got.params['w'], self.params['w'])


if __name__ == '__main__':
  absltest.main()
