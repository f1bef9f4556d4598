# SPDX-License-Identifier: Apache-2.0
"""Pooled training against full-batch gradient descent in NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
from absl.testing import absltest

from jaxdl import federated
from jaxdl.core import types


def _cohort(data, num_clients):
  return types.Cohort(
    client_ids=jnp.arange(num_clients),
    data=data,
    mask=jnp.ones((num_clients,), bool),
    weights=jnp.ones((num_clients,)),
  )


def _task():
  def loss(params, batch, *, key=None):
    del key
    return jnp.mean((batch['x'] @ params - batch['y']) ** 2)

  return types.Task(lambda key: jnp.zeros(3), loss, lambda p, b: {})


class CentralizedSgdTest(absltest.TestCase):
  def test_equals_gradient_descent_on_the_pool(self):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(2, 3, 4, 3))  # [N, H, B, d]
    y = rng.normal(size=(2, 3, 4))
    want = np.zeros(3)
    for h in range(3):
      rows, values = x[:, h].reshape(-1, 3), y[:, h].reshape(-1)
      want -= 0.1 * 2 / 8 * rows.T @ (rows @ want - values)
    data = {'x': jnp.asarray(x, jnp.float32), 'y': jnp.asarray(y, jnp.float32)}
    single = federated.centralized_sgd(_task(), optimizer=optax.sgd(0.1))
    key, step = jax.random.key(0), jax.jit(single.step)
    state = single.init(key)
    for h in range(3):
      batch = jax.tree.map(lambda v, h=h: v[:, h], data)
      state, _ = step(state, _cohort(batch, 2), key=key)
    np.testing.assert_allclose(single.params(state), want, atol=1e-6)


if __name__ == '__main__':
  absltest.main()
