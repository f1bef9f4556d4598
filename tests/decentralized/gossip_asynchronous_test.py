# SPDX-License-Identifier: Apache-2.0
import jax
import jax.numpy as jnp
import numpy as np
import optax
from absl.testing import absltest, parameterized

from jaxdl.core import types
from jaxdl.decentralized.gossip import _asynchronous as asynchronous
from jaxdl.mixing import graphs

N, D, ETA = 6, 3, 0.1
_RNG = np.random.default_rng(0)
A = _RNG.uniform(0.5, 2.0, size=(N, D))
B = 3 * _RNG.normal(size=(N, D))
BEST = (A * B).sum(axis=0) / A.sum(axis=0)


def _loss(params, batch, *, key=None):
  del key
  gap = params - batch['b']
  return 0.5 * jnp.sum(batch['a'] * gap * gap)


TASK = types.Task(lambda key: jnp.zeros(D), _loss, lambda params, batch: {})


def _cohort(mask=None):
  return types.Cohort(
    client_ids=jnp.arange(N),
    data={'a': jnp.asarray(A, jnp.float32), 'b': jnp.asarray(B, jnp.float32)},
    mask=jnp.ones(N, bool) if mask is None else jnp.asarray(mask),
    weights=jnp.full((N,), 1 / N),
  )


def _run(algorithm, steps, cohort=None, seed=0):
  cohort = _cohort() if cohort is None else cohort

  @jax.jit
  def train(key):
    def body(state, key):
      state, metrics = algorithm.step(state, cohort, key=key)
      return state, (algorithm.params(state), metrics)

    return jax.lax.scan(
      body, algorithm.init(key), jax.random.split(key, steps)
    )[1]

  models, metrics = train(jax.random.key(seed))
  return np.asarray(models, np.float64), metrics


def _changed(before, after):
  return np.flatnonzero(np.abs(after - before).max(axis=1) > 0)


class AsynchronousGossipTest(parameterized.TestCase):
  @parameterized.parameters(0, 3)
  def test_every_event_is_a_pairwise_average_and_one_stale_step(
    self, staleness
  ):
    graph = graphs.ring(N)
    algorithm = asynchronous.asynchronous_gossip(
      TASK,
      graph,
      clients=N,
      optimizer=optax.sgd(ETA),
      staleness=staleness,
      num_events=1,
    )
    models, _ = _run(algorithm, 25)
    history = [np.zeros((N, D)), *models]
    for t in range(25):
      before, after = history[t], history[t + 1]
      stale = history[max(t - staleness, 0)]
      fits = []
      for i in range(N):
        for j in np.flatnonzero(graph[i]):
          want = before.copy()
          want[i] = want[j] = (before[i] + before[j]) / 2
          want[i] = want[i] - ETA * A[i] * (stale[i] - B[i])
          fits.append(np.abs(want - after).max())
      self.assertLess(min(fits), 1e-5)

  def test_comes_close_to_the_optimum(self):
    algorithm = asynchronous.asynchronous_gossip(
      TASK,
      graphs.complete(N),
      clients=N,
      optimizer=optax.sgd(0.02),
      staleness=2,
    )
    models, metrics = _run(algorithm, 2000)
    late = models[-1000:].mean(axis=(0, 1))
    self.assertLess(np.linalg.norm(late - BEST), 0.15)
    self.assertLess(float(metrics['consensus'][-1]), 1.0)

  def test_absent_clients_only_average(self):
    mask = np.arange(N) == 0
    algorithm = asynchronous.asynchronous_gossip(
      TASK, graphs.complete(N), clients=N, optimizer=optax.sgd(ETA)
    )
    models, _ = _run(algorithm, 1500, _cohort(mask))
    np.testing.assert_allclose(
      models[-1], np.broadcast_to(B[0], (N, D)), atol=1e-2
    )

  def test_single_client_trains_alone(self):
    algorithm = asynchronous.asynchronous_gossip(
      TASK, graphs.ring(1), clients=1, optimizer=optax.sgd(ETA)
    )
    cohort = jax.tree.map(lambda x: x[:1], _cohort())
    models, _ = _run(algorithm, 10, cohort)
    np.testing.assert_allclose(
      models[-1, 0], B[0] * (1 - (1 - ETA * A[0]) ** 10), atol=1e-5
    )

  def test_says_what_to_change(self):
    with self.assertRaisesRegex(ValueError, 'graph has 4 clients'):
      asynchronous.asynchronous_gossip(
        TASK, graphs.ring(4), clients=N, optimizer=optax.sgd(ETA)
      )
    with self.assertRaisesRegex(ValueError, 'components'):
      asynchronous.asynchronous_gossip(
        TASK, graphs.empty(N), clients=N, optimizer=optax.sgd(ETA)
      )


class SwarmTest(parameterized.TestCase):
  def _make(self, **kwargs):
    options = dict(
      clients=N,
      optimizer=optax.sgd(ETA),
      mean_local_steps=2,
      random_steps=False,
      num_events=1,
    )
    return asynchronous.swarm_sgd(TASK, graphs.ring(N), **{**options, **kwargs})

  @parameterized.parameters(True, False)
  def test_every_event_trains_and_averages_one_link(self, blocking):
    models, metrics = _run(self._make(blocking=blocking), 20)
    history = [np.zeros((N, D)), *models]
    ring = graphs.ring(N)
    for before, after in zip(history[:-1], history[1:], strict=True):
      i, j = _changed(before, after)
      self.assertTrue(ring[i, j])
      trained = before.copy()
      for _ in range(2):
        trained = trained - ETA * A * (trained - B)
      if blocking:
        want = np.repeat((trained[i] + trained[j])[None] / 2, 2, axis=0)
      else:
        want = (before[i] + before[j]) / 2 + (trained - before)[[i, j]]
      np.testing.assert_allclose(after[[i, j]], want, atol=1e-5)
    np.testing.assert_array_equal(metrics['local_steps'], 2.0)

  def test_geometric_numbers_of_steps(self):
    algorithm = self._make(mean_local_steps=3.0, random_steps=True)
    _, metrics = _run(algorithm, 2000)
    pairs = np.asarray(metrics['local_steps'])  # Mean of two draws.
    error = np.sqrt(3.0 * 2.0 / 2 / 2000)
    self.assertLess(abs(pairs.mean() - 3.0), 4 * error)
    self.assertEqual(pairs.min(), 1.0)

  def test_comes_close_to_the_optimum(self):
    algorithm = self._make(optimizer=optax.sgd(0.01), num_events=None)
    models, _ = _run(algorithm, 3000)
    late = models[-1000:].mean(axis=(0, 1))
    self.assertLess(np.linalg.norm(late - BEST), 0.15)

  def test_absent_clients_only_average(self):
    mask = np.arange(N) == 0
    models, _ = _run(self._make(num_events=6), 300, _cohort(mask))
    np.testing.assert_allclose(
      models[-1], np.broadcast_to(B[0], (N, D)), atol=1e-2
    )

  def test_says_what_to_change(self):
    with self.assertRaisesRegex(ValueError, 'must be whole'):
      self._make(mean_local_steps=1.5)
    with self.assertRaisesRegex(ValueError, 'needs a link'):
      asynchronous.swarm_sgd(
        TASK, graphs.ring(1), clients=1, optimizer=optax.sgd(ETA)
      )


if __name__ == '__main__':
  absltest.main()
