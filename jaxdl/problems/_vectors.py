# SPDX-License-Identifier: Apache-2.0
"""A vector per client, to be averaged."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp

from jaxdl import metrics
from jaxdl.core import checks, trees, types

STARTS = ('normal', 'one_hot')


def vectors(
  *,
  num_clients: int = 24,
  dimension: int = 100,
  start: str = 'normal',
  seeds: Sequence[int] = (0,),
) -> types.Problem:
  """Clients hold a vector each and look for the mean of all.

  Args:
    num_clients: N.
    dimension: D.
    start: 'normal' for independent normal vectors, 'one_hot' for ones at client
      0 and zeros elsewhere.
    seeds: S seeds.

  Returns:
    The problem. `data` is f32[S, N, D], the vectors. Of what clients hold it
    measures `consensus`, the squared distance to their mean, and `error`, that
    to the mean of the start, both in units of the start's. There is nothing to
    train: the loss is zero.

  Raises:
    ValueError: if a number is out of range or the start is unknown.

  Example:
    >>> problem = vectors(num_clients=4, dimension=2, start='one_hot')
    >>> float(problem.evaluate_clients(problem.data)['consensus'][0])
    1.0
  """
  seeds = checks.seeds(seeds)
  n = checks.integer(num_clients, name='num_clients', low=1)
  d = checks.integer(dimension, name='dimension', low=1)
  checks.choice(start, STARTS, name='start')

  def draw(seed):
    if start == 'one_hot':
      return jnp.zeros((n, d)).at[0].set(1.0)
    return jax.random.normal(
      jax.random.fold_in(jax.random.key(seed), 0), (n, d)
    )

  starts = jnp.stack([draw(seed) for seed in seeds])

  @jax.jit
  def measure(held):
    def one(first, x):
      gap = x - jnp.mean(first, axis=0, keepdims=True)
      scale = metrics.consensus_distance(first)
      return {
        'consensus': metrics.consensus_distance(x) / scale,
        'error': jnp.mean(trees.sq_norms(gap)) / scale,
      }

    return jax.vmap(one)(starts, held)

  def cohort(key, data, round):
    del key, round
    return types.Cohort(
      client_ids=jnp.arange(n),
      data=data,
      mask=jnp.ones((n,), bool),
      weights=jnp.full((n,), 1.0 / n),
    )

  def loss(params, batch, *, key=None):
    del batch, key
    return jnp.zeros_like(params, shape=())

  return types.Problem(
    task=types.Task(
      lambda key: jnp.zeros((d,)), loss, lambda params, batch: {}
    ),
    data=starts,
    cohort=cohort,
    evaluate=lambda params: measure(params[:, None]),
    evaluate_clients=lambda held: jax.device_get(measure(held)),
    seeds=seeds,
    num_clients=n,
    metric='consensus',
    ylabel='Squared distance to consensus / start',
  )
