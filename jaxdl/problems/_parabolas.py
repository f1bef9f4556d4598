# SPDX-License-Identifier: Apache-2.0
"""A parabola per client, in one dimension: all can be said by hand."""

from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np

from jaxdl.core import checks, types


def parabolas(
  *,
  num_clients: int = 10,
  curvatures: float | tuple[float, ...] = 1.0,
  centers: tuple[float, ...] | None = None,
  start: float = 0.0,
  seeds: Sequence[int] = (0,),
) -> types.Problem:
  """Client i minimizes ½ a_i (x - c_i)², x a number.

  Args:
    num_clients: N.
    curvatures: a_i > 0, N of them or one for all.
    centers: c_i, N of them; i if None.
    start: x at the start.
    seeds: S seeds; they are all alike.

  Returns:
    The problem. It measures `x`, `error`, the distance to the optimum of the
    mean, and `loss`, what the mean exceeds its least value by; `test` is the
    optimum.

  Raises:
    ValueError: if a number is out of range or there are not N of them.

  Example:
    >>> problem = parabolas(num_clients=2, curvatures=(1.0, 4.0))
    >>> problem.evaluate({'x': jnp.array([0.0])})['error'].tolist()
    [0.8]
  """
  seeds = checks.seeds(seeds)
  n = checks.integer(num_clients, name='num_clients', low=1)
  columns = {}
  for name, value in (
    ('curvatures', curvatures),
    ('centers', np.arange(n) if centers is None else centers),
  ):
    found = checks.host_array(value, name=name).astype(np.float64)
    if name == 'curvatures' and not found.ndim:
      found = np.full(n, found)
    if found.shape != (n,):
      raise ValueError(
        f'{name} must have one entry per client, {n}; got shape {found.shape}.'
      )
    if not np.isfinite(found).all():
      raise ValueError(f'{name} must be finite; got {found.tolist()}.')
    columns[name] = found
  a, c = columns['curvatures'], columns['centers']
  if not (a > 0).all():
    raise ValueError(f'curvatures must be positive; got {a.tolist()}.')
  checks.number(start, name='start')
  best = float(np.sum(a * c) / np.sum(a))

  def loss(params, batch, *, key=None):
    del key
    gap = params['x'] - batch['c']
    return 0.5 * batch['a'] * gap * gap

  task = types.Task(
    lambda key: {'x': jnp.asarray(start, jnp.float32)},
    loss,
    lambda params, batch: {'loss': loss(params, batch)},
  )

  def evaluate(models):
    x = np.asarray(models['x'], np.float64)
    gap = x - best
    return {'x': x, 'error': np.abs(gap), 'loss': 0.5 * a.mean() * gap * gap}

  def evaluate_clients(models):
    x = np.asarray(models['x'], np.float64)
    return {
      'error': np.sqrt(((x - best) ** 2).mean(axis=-1)),
      'mean_error': np.abs(x.mean(axis=-1) - best),
    }

  def cohort(key, data, round):
    del key, round
    return types.Cohort(
      client_ids=jnp.arange(n),
      data=data,
      mask=jnp.ones((n,), bool),
      weights=jnp.full((n,), 1.0 / n),
    )

  each = lambda x: jnp.asarray(np.tile(x, (len(seeds), 1)), jnp.float32)
  return types.Problem(
    task=task,
    data={'a': each(a), 'c': each(c)},
    cohort=cohort,
    evaluate=evaluate,
    evaluate_clients=evaluate_clients,
    seeds=seeds,
    num_clients=n,
    metric='error',
    ylabel='Distance to the optimum',
    test=best,
  )
