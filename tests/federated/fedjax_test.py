# SPDX-License-Identifier: Apache-2.0
"""The same data and steps give the models of FedJAX."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
from absl.testing import absltest, parameterized
from reference import fedjax_models

from jaxdl import local
from jaxdl.core import types
from jaxdl.federated import server

N, SIZE, SIZES, RATE = 8, 12, (5, 3), 0.1


def _problem():
  rng = np.random.default_rng(0)
  inputs = rng.normal(size=(N, SIZE, SIZES[0])).astype(np.float32)
  labels = rng.integers(0, SIZES[1], size=(N, SIZE)).astype(np.int32)
  draw = np.random.default_rng(1)
  kernel = (draw.normal(size=SIZES) / np.sqrt(SIZES[0])).astype(np.float32)

  def loss(params, batch, *, key=None):
    del key
    logits = batch['x'] @ params['kernel'] + params['bias'][None]
    return optax.softmax_cross_entropy_with_integer_labels(
      logits, batch['y']
    ).mean()

  start = {'kernel': jnp.asarray(kernel), 'bias': jnp.zeros(SIZES[1])}
  task = types.Task(lambda key: start, loss, lambda params, batch: {})
  cohort = types.Cohort(
    client_ids=jnp.arange(N),
    data={'x': jnp.asarray(inputs), 'y': jnp.asarray(labels)},
    mask=jnp.ones(N, bool),
    weights=jnp.full(N, 1 / N),
  )
  return task, cohort


class FedJaxTest(parameterized.TestCase):
  @parameterized.parameters(
    ('fedavg', None), ('fedprox(mu=0.1)', None), ('mime_lite', 0.9)
  )
  def test_same_models_after_three_rounds(self, spec, momentum):
    task, cohort = _problem()
    work = local.LocalWork(optax.sgd(RATE, momentum=momentum), num_steps=3)
    algorithm = server.make_algorithm(spec, task, N, work=work)
    state, step = algorithm.init(jax.random.key(0)), jax.jit(algorithm.step)
    for t in range(3):
      state, _ = step(state, cohort, key=jax.random.key(t))
    kernel, bias = fedjax_models.MODELS[spec.partition('(')[0]]
    np.testing.assert_allclose(state.params['kernel'], kernel, atol=1e-6)
    np.testing.assert_allclose(state.params['bias'], bias, atol=1e-6)


if __name__ == '__main__':
  absltest.main()
