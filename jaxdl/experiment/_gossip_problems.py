# SPDX-License-Identifier: Apache-2.0
"""What clients with a model each learn, and how well they do."""

from collections.abc import Callable
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np

from jaxdl import local
from jaxdl.core import types
from jaxdl.experiment import config as config_lib, supervised


class Problem(NamedTuple):
  """Task and data of S seeds.

  Attributes:
    task: what is learned.
    data: leaves [S, N, ...].
    cohort: `cohort(key, data of one seed) -> Cohort`.
    evaluate: `evaluate(models with leaves [S, N, ...]) -> dict of f[S]`.
    metric: the one to draw.
    ylabel: its caption.
  """

  task: types.Task
  data: chex.ArrayTree
  cohort: Callable[..., types.Cohort]
  evaluate: Callable[[chex.ArrayTree], dict[str, np.ndarray]]
  metric: str
  ylabel: str


def classification(config: supervised.SupervisedConfig) -> Problem:
  """A data set dealt to the clients.

  Args:
    config: knobs.

  Returns:
    The problem. Metrics: `accuracy` (mean over clients), `worst_accuracy`,
    `mean_model_accuracy` (of the averaged parameters) and `loss`.
  """
  simulation = supervised.simulate(config)
  num_seeds, n = len(config.seeds), config.num_clients
  test = supervised.evaluator(simulation)

  @jax.jit
  def flatten(models):
    def leaf(x):
      both = jnp.concatenate([x, jnp.mean(x, axis=1, keepdims=True)], axis=1)
      return both.reshape(-1, *x.shape[2:])

    return jax.tree.map(leaf, models)

  def evaluate(models):
    found = {
      k: np.asarray(v).reshape(num_seeds, n + 1)
      for k, v in test(flatten(models)).items()
    }
    return {
      **{k: v[:, :n].mean(axis=1) for k, v in found.items()},
      'worst_accuracy': found['accuracy'][:, :n].min(axis=1),
      'mean_model_accuracy': found['accuracy'][:, n],
    }

  def cohort(key, data):
    return local.batch_cohort(
      key, data[0], data[1], batch_size=config.batch_size
    )

  return Problem(
    simulation.task,
    (simulation.client_data, simulation.mask),
    cohort,
    evaluate,
    'accuracy',
    'Test accuracy (mean of clients)',
  )


def quadratics(
  config: config_lib.BaseConfig,
  *,
  dimension: int = 5,
  spread: float = 3.0,
  gradient_noise: float = 0.0,
) -> Problem:
  """Client i minimises ½ (x - b_i)ᵀ A_i (x - b_i), A_i diagonal.

  Args:
    config: knobs; reads `num_clients` and the seeds.
    dimension: D.
    spread: standard deviation of the b_i, normal; A_i is uniform on [0.5, 2].
    gradient_noise: standard deviation added to every entry of a gradient.

  Returns:
    The problem. Metrics: `error`, the root mean square distance of the clients
    to the optimum of the mean, `mean_error`, the distance of their mean, and
    `worst_error`.
  """
  n, d = config.num_clients, dimension
  curvature, centre = [], []
  for seed in config.seeds:
    rng = np.random.default_rng(seed)
    curvature.append(rng.uniform(0.5, 2.0, (n, d)))
    centre.append(spread * rng.normal(size=(n, d)))
  a, b = np.stack(curvature), np.stack(centre)
  best = (a * b).sum(axis=1) / a.sum(axis=1)

  def loss(params, batch, *, key=None):
    gap = params['x'] - batch['b']
    value = 0.5 * jnp.sum(batch['a'] * gap * gap)
    if gradient_noise:
      noise = jax.random.normal(key, (d,))
      value += gradient_noise * jnp.vdot(noise, params['x'])
    return value

  task = types.Task(
    lambda key: {'x': jnp.zeros((d,))},
    loss,
    lambda params, batch: {'loss': loss(params, batch)},
  )

  def evaluate(models):
    x = np.asarray(models['x'], np.float64)
    sq = ((x - best[:, None, :]) ** 2).sum(axis=-1)
    return {
      'error': np.sqrt(sq.mean(axis=1)),
      'mean_error': np.linalg.norm(x.mean(axis=1) - best, axis=-1),
      'worst_error': np.sqrt(sq.max(axis=1)),
    }

  def cohort(key, data):
    del key
    return types.Cohort(
      client_ids=jnp.arange(n),
      data=data,
      mask=jnp.ones((n,), bool),
      weights=jnp.full((n,), 1.0 / n),
    )

  data = {'a': jnp.asarray(a, jnp.float32), 'b': jnp.asarray(b, jnp.float32)}
  return Problem(
    task, data, cohort, evaluate, 'error', 'Distance to the optimum'
  )
