# SPDX-License-Identifier: Apache-2.0
"""Synchronous rounds on a virtual clock: as long as the slowest of a cohort."""

from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np

from jaxdl.core import checks, types
from jaxdl.federated.asynchronous import _times

# Moments this close, relative to the time, are the same: sums are rounded.
_CLOSE = 1e-6


class TimedState(NamedTuple):
  """State of `timed`.

  Attributes:
    run: of the algorithm itself.
    time: f32[], when the last round ended.
    rest: f32[], what rounding has left out of it.
    jobs: i32[N], how many jobs each client has begun.
  """

  run: chex.ArrayTree
  time: chex.Array
  rest: chex.Array
  jobs: chex.Array


def timed(
  algorithm: types.Algorithm, times: Any, num_clients: int, *, seed: int = 0
) -> types.Algorithm:
  """Tells when rounds end in which a server waits for all of its cohort.

  A round lasts as long as its slowest client: that of those who are there,
  absent rows take no time. A round without any takes none. A client who did a
  share of its work takes that share of its compute time, and all of its
  `communication`; one without examples talks only. Lost jobs are done again,
  clients who are away when they are asked begin when they are back. What is
  learned does not change.

  With all clients in every round these are the times of the schedule 'fedavg'
  (but for which jobs are lost, which is drawn anew), so that curves of both
  kinds fit into one picture.

  Args:
    algorithm: any whose `step` takes cohorts of clients; of its metrics
      `work_done`, f32[M], is taken for the shares of work where it is there
      (`federate(..., shares=True)`), else all work was done.
    times: how long clients take for the whole of their local work, anything
      that `make_times` reads.
    num_clients: N, all that there are (static).
    seed: of times that are drawn.

  Returns:
    The algorithm; its metric `time` is when the round ended.

  Raises:
    ValueError: if times are wrong, or a client leaves for good: a round that it
      is drawn for would never end.

  Cost: O(M) per round.

  Example:
    >>> from jaxdl import local, networks
    >>> from jaxdl.federated import server
    >>> task = networks.regression(
    ...   networks.logistic_regression(1), jnp.ones((1, 2))
    ... )
    >>> work = local.LocalWork('sgd(0.1)')
    >>> algorithm = timed(
    ...   server.federate(server.fedavg(task, work), 5, cohort_size=2),
    ...   'F-80',
    ...   5,
    ... )
    >>> cohort = types.Cohort(
    ...   client_ids=jnp.array([3, 1]),
    ...   data={
    ...     'inputs': jnp.ones((2, 4, 2)), 'labels': jnp.ones((2, 4, 1))
    ...   },
    ...   mask=jnp.ones(2, bool),
    ...   weights=jnp.full(2, 0.5),
    ... )
    >>> state = algorithm.init(jax.random.key(0))
    >>> state, metrics = algorithm.step(state, cohort, key=jax.random.key(1))
    >>> round(float(metrics['time']), 3)
    0.8

  Source: Fraboni et al. 2023 (https://arxiv.org/abs/2206.10189), section 5, for
    clients that all take part.
  """
  n = checks.integer(num_clients, name='num_clients', low=1)
  timing = _times.make_times(times, n, seed=seed)
  gone = np.flatnonzero(np.isfinite(timing.leave) & np.isinf(timing.rejoin))
  if len(gone):
    raise ValueError(
      f'client {gone[0]} leaves at {timing.leave[gone[0]]:g} and never comes '
      'back: a round that it is drawn for would never end; say when it rejoins.'
    )
  job = _job(timing)

  def init(key):
    zero = jnp.zeros((), jnp.float32)
    jobs = jnp.zeros(n, jnp.int32)
    return TimedState(algorithm.init(key), zero, zero, jobs)

  def step(state, cohort, *, key):
    run, metrics = algorithm.step(state.run, cohort, key=key)
    metrics = dict(metrics)
    done = metrics.pop('work_done', jnp.ones(cohort.mask.shape))
    mask = jnp.asarray(cohort.mask)
    ids = jnp.where(mask, cohort.client_ids, 0)
    took, count = jax.vmap(job, in_axes=(0, 0, 0, None))(
      ids, state.jobs[ids], done, state.time
    )
    # Compensated, so that many short rounds are not lost beside a long time.
    step = jnp.max(jnp.where(mask, took, 0.0), initial=0.0) + state.rest
    time = state.time + step
    rest = step - (time - state.time)
    at = jnp.where(mask, ids, n)
    jobs = state.jobs.at[at].set(count, mode='drop')
    return TimedState(run, time, rest, jobs), metrics | {'time': time}

  made = checks.algorithm(
    init,
    step,
    lambda state: algorithm.params(state.run),
    state=TimedState,
    per_client=algorithm.per_client,
  )
  return made._replace(on_host=algorithm.on_host)


def _job(timing):
  """`job(client, number, share, now) -> (duration, next number)` of one."""
  table = lambda x: jnp.asarray(np.broadcast_to(x, timing.leave.shape), 'f4')
  times = jnp.asarray(timing.times, jnp.float32)
  talk, leave, rejoin, drop = map(
    table, (timing.communication, timing.leave, timing.rejoin, timing.drop_rate)
  )

  def cost(i, k, share):
    whole = times[i, k % times.shape[1]]
    return talk[i] + share * (whole - talk[i])

  if not timing.drop_rate.any() and np.isinf(timing.leave).all():
    return lambda i, k, share, now: (cost(i, k, share), k + 1)

  def job(i, k, share, now):
    key = jax.random.fold_in(jax.random.key(timing.seed), i)
    slack = _CLOSE * jnp.maximum(now, 1.0)
    before = lambda a, b: a < b - slack

    def attempt(carry):
      took, k, _ = carry
      away = ~before(now + took, leave[i]) & before(now + took, rejoin[i])
      took = jnp.where(away, rejoin[i] - now, took)
      start, end = now + took, now + took + cost(i, k, share)
      cut = before(start, leave[i]) & before(leave[i], end)
      took = jnp.where(cut, rejoin[i], end) - now
      lost = jax.random.uniform(jax.random.fold_in(key, k)) < drop[i]
      return took, k + 1, ~(cut | lost)

    took, k, _ = jax.lax.while_loop(
      lambda carry: ~carry[2],
      attempt,
      (jnp.zeros(()), k, jnp.zeros((), bool)),
    )
    return took, k

  return job
