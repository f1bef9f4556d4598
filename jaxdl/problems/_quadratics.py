# SPDX-License-Identifier: Apache-2.0
"""A quadratic per client, whose optimum is known."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from jaxdl.core import checks, types


def quadratics(
  *,
  num_clients: int = 24,
  dimension: int = 5,
  spread: float = 3.0,
  gradient_noise: float = 0.0,
  seeds: Sequence[int] = (0,),
) -> types.Problem:
  """Client i minimizes ½ (x - b_i)ᵀ A_i (x - b_i), A_i diagonal.

  Args:
    num_clients: N.
    dimension: D.
    spread: standard deviation of the b_i, normal; A_i is uniform on [0.5, 2].
    gradient_noise: standard deviation added to every entry of a gradient.
    seeds: S seeds.

  Returns:
    The problem. Of a model per client it measures `error`, the root mean square
    distance of the clients to the optimum of the mean, `mean_error`, the
    distance of their mean, and `worst_error`; of one model `error`.

  Raises:
    ValueError: if a number is out of range.

  Example:
    >>> problem = quadratics(num_clients=4, seeds=(0, 1))
    >>> start = jax.vmap(problem.task.init)(jax.random.split(jax.random.key(0)))
    >>> problem.evaluate(start)['error'].shape
    (2,)
  """
  seeds = checks.seeds(seeds)
  n = checks.integer(num_clients, name='num_clients', low=1)
  d = checks.integer(dimension, name='dimension', low=1)
  checks.number(spread, name='spread', low=0.0)
  checks.number(gradient_noise, name='gradient_noise', low=0.0)
  curvature, center = [], []
  for seed in seeds:
    rng = np.random.default_rng(seed)
    curvature.append(rng.uniform(0.5, 2.0, (n, d)))
    center.append(spread * rng.normal(size=(n, d)))
  a, b = np.stack(curvature), np.stack(center)
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
    return {'error': np.linalg.norm(x - best, axis=-1)}

  def evaluate_clients(models):
    x = np.asarray(models['x'], np.float64)
    sq = ((x - best[:, None, :]) ** 2).sum(axis=-1)
    return {
      'error': np.sqrt(sq.mean(axis=1)),
      'mean_error': np.linalg.norm(x.mean(axis=1) - best, axis=-1),
      'worst_error': np.sqrt(sq.max(axis=1)),
    }

  def cohort(key, data, round):
    del key, round
    return types.Cohort(
      client_ids=jnp.arange(n),
      data=data,
      mask=jnp.ones((n,), bool),
      weights=jnp.full((n,), 1.0 / n),
    )

  return types.Problem(
    task=task,
    data={'a': jnp.asarray(a, jnp.float32), 'b': jnp.asarray(b, jnp.float32)},
    cohort=cohort,
    evaluate=evaluate,
    evaluate_clients=evaluate_clients,
    seeds=seeds,
    num_clients=n,
    metric='error',
    ylabel='Distance to the optimum',
  )
