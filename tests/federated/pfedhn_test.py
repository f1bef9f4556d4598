# SPDX-License-Identifier: Apache-2.0
"""A hypernetwork for clients: rounds by hand, personal models, channels."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
from absl.testing import absltest, parameterized

from jaxdl import local
from jaxdl.core import types
from jaxdl.federated import server

N, B = 4, 3
CENTERS = np.array([[-2.0, 0.0], [-2.0, 1.0], [2.0, 0.0], [2.0, 1.0]])


def _loss(params, batch, *, key=None):
  del key
  gap = params['w'][None] + params['c'][None] - batch['inputs']
  return 0.5 * jnp.mean(jnp.sum(gap**2, axis=-1))


TASK = types.Task(
  lambda key: {
    'w': jax.random.normal(key, (2,)), 'c': jnp.zeros(2)
  },
  _loss,
  lambda p, b: {},
)  # fmt: skip
WORK = local.LocalWork(optax.sgd(0.1), num_steps=2)


def cohort(**changes):
  inputs = np.repeat(CENTERS[:, None], B, axis=1)
  made = types.Cohort(
    client_ids=jnp.arange(N),
    data={'inputs': jnp.asarray(inputs, jnp.float32)},
    mask=jnp.ones(N, bool),
    weights=jnp.full(N, 1 / N),
  )
  return made.replace(**changes)


def rounds(method, count, channel=None, **changes):
  algorithm = server.federate(method, N, channel)
  step = jax.jit(algorithm.step)
  states = [algorithm.init(jax.random.key(0))]
  for t in range(count):
    state, metrics = step(
      states[-1], cohort(**changes), key=jax.random.key(t + 1)
    )
    states.append(state)
  return algorithm, states, metrics


def doubles(tree):
  return jax.tree.map(lambda x: np.asarray(x, np.float64), tree)


class PfedhnTest(parameterized.TestCase):
  def test_embeddings_may_leave_the_unit_cube(self):
    method = server.pfedhn(TASK, WORK, embedding_size=1, hidden_sizes=())
    params = method.start(jax.random.key(0))
    models = [
      method.model(params, None, {'embedding': jnp.array([v])})
      for v in (3.0, -1.0)  # The same angle.
    ]
    np.testing.assert_allclose(models[0]['w'], models[1]['w'], atol=1e-5)

  def test_a_round_by_hand(self):
    # A linear hypernetwork of three numbers: w = K' v + b; c is averaged.
    method = server.pfedhn(
      TASK, WORK, embedding_size=3, hidden_sizes=(), encoding='none',
      chosen='w', learning_rate=0.2, embedding_rate=0.05,
    )  # fmt: skip
    _, states, _ = rounds(method, 2)
    before, after = states[1:]
    self.assertTrue(before.own['method']['known'].all())
    head = doubles(before.params['hyper']['heads']['w'])
    c = doubles(before.params['fixed']['params']['c'])
    v = doubles(before.own['method']['embedding'])
    self.assertEqual(before.params['fixed']['params']['w'], None)
    theta = v @ head['kernel'] + head['bias']
    w, own_c = theta.copy(), np.tile(c, (N, 1))
    for _ in range(2):  # Both have the same gradient.
      slope = w + own_c - CENTERS
      w, own_c = w - 0.1 * slope, own_c - 0.1 * slope
    delta = w - theta
    want = {
      'kernel': head['kernel'] + 0.2 * np.einsum('ne,nd->ed', v, delta) / N,
      'bias': head['bias'] + 0.2 * delta.mean(axis=0),
    }
    got = doubles(after.params['hyper']['heads']['w'])
    for name, value in want.items():
      np.testing.assert_allclose(got[name], value, atol=1e-5)
    np.testing.assert_allclose(
      after.params['fixed']['params']['c'], own_c.mean(axis=0), atol=1e-5
    )
    np.testing.assert_allclose(
      after.own['method']['embedding'],
      v + 0.05 * delta @ head['kernel'].T,
      atol=1e-5,
    )

  def test_clients_get_models_of_their_own(self):
    method = server.pfedhn(TASK, WORK, hidden_sizes=(8, 16), learning_rate=0.2)
    algorithm, states, _ = rounds(method, 300)
    self.assertTrue(algorithm.per_client)
    models = algorithm.params(states[-1])
    found = np.asarray(models['w'] + models['c'])
    np.testing.assert_allclose(found, CENTERS, atol=0.05)
    # No model for all comes closer than their deviation.
    self.assertGreater(np.abs(CENTERS - CENTERS.mean(axis=0)).mean(), 1.0)
    # Embeddings differ; the start is that of the task.
    first = algorithm.params(states[0])
    embeddings = states[-1].own['method']['embedding']
    self.assertLen(np.unique(np.asarray(embeddings).round(3), axis=0), N)
    np.testing.assert_array_equal(first['w'][0], first['w'][1])

  def test_a_client_that_never_came_is_in_the_middle(self):
    method = server.pfedhn(TASK, WORK, embedding_size=2, hidden_sizes=(4,))
    _, states, _ = rounds(method, 2, mask=jnp.arange(N) != 2)
    own = states[-1].own['method']
    np.testing.assert_array_equal(own['known'], [True, True, False, True])
    np.testing.assert_array_equal(own['embedding'][2], [0.5, 0.5])

  @parameterized.named_parameters(
    ('rule', server.Channel(aggregator='median')),
    (
      'attack',
      server.Channel(
        aggregator='trimmed_mean', attack='sign_flip', num_byzantine=1
      ),
    ),
    (
      'compressor',
      server.Channel(compressor='top_k(keep=0.2)', error_feedback=True),
    ),
    ('secure', server.Channel(secure='pairwise')),
    ('privacy', server.Channel(privacy='adaptive(count_noise=1.0)')),
  )
  def test_any_channel(self, channel):
    method = server.pfedhn(TASK, WORK, embedding_size=2, hidden_sizes=(4,))
    algorithm, states, metrics = rounds(method, 2, channel)
    for leaf in jax.tree.leaves((states[-1], algorithm.params(states[-1]))):
      self.assertTrue(np.isfinite(leaf).all())
    self.assertGreater(float(metrics['update_norm']), 0.0)

  def test_statistics_are_averaged(self):
    def init(key):
      return {'params': {'w': jnp.zeros(2)}, 'statistics': {'m': jnp.zeros(2)}}

    def loss(params, batch, *, key=None):
      gap = params['params']['w'][None] - batch['inputs']
      moved = params['statistics']['m'][None] - batch['inputs']
      return 0.5 * jnp.mean(jnp.sum(gap**2 + moved**2, axis=-1))

    task = types.Task(init, loss, lambda p, b: {})
    _, states, _ = rounds(server.pfedhn(task, WORK, hidden_sizes=(4,)), 1)
    params = states[-1].params
    self.assertEqual(set(params['hyper']['heads']), {'params/w'})
    np.testing.assert_allclose(
      params['fixed']['statistics']['m'],
      0.19 * CENTERS.mean(axis=0),
      atol=1e-6,
    )

  @parameterized.parameters(
    ({'norm': 'batch'}, 'norm=batch needs several embeddings'),
    ({'embedding_size': 0}, 'embedding_size must be at least 1'),
    ({'learning_rate': 0.0}, r'learning_rate must lie in \(0.0'),
    ({'embedding_rate': -1.0}, 'embedding_rate must lie in'),
    ({'encoding': 'sin'}, "encoding='sin' is unknown"),
    ({'hidden_sizes': (0,)}, 'hidden_sizes must be at least 1'),
  )
  def test_bad_options(self, options, message):
    with self.assertRaisesRegex(ValueError, message):
      server.pfedhn(TASK, WORK, **options)

  def test_nothing_chosen(self):
    method = server.pfedhn(TASK, WORK, chosen='kernel')
    with self.assertRaisesRegex(ValueError, "no parameter selected: chosen='k"):
      method.start(jax.random.key(0))


if __name__ == '__main__':
  absltest.main()
