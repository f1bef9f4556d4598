# SPDX-License-Identifier: Apache-2.0
"""Windows of virtual time, so that schemes can be compared side by side."""

from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np

from jaxdl.core import checks, types
from jaxdl.federated.asynchronous import _engine, _schedule

# Means over all aggregations, empty ones too.
_PER_TURN = ('num_clients', 'megabytes_up', 'megabytes_down', 'turn', 'time')


class WindowState(NamedTuple):
  """State of `in_windows`.

  Attributes:
    run: of the algorithm itself.
    window: i32[], windows done.
  """

  run: _engine.AsynchronousState
  window: chex.Array


def in_windows(
  algorithm: types.Algorithm, schedule: _schedule.Schedule, num_windows: int
) -> types.Algorithm:
  """Lets a step be a span of time in place of an aggregation.

  After k steps all aggregations up to k / W of the horizon have been made, so
  that schemes that aggregate at different moments are at the same time.

  Args:
    algorithm: from `asynchronous`.
    schedule: the same.
    num_windows: W, steps until the horizon.

  Returns:
    The algorithm. Metrics are means over the aggregations of the window, zero
    where there are none; `aggregations` counts them; `time` is the end of the
    window.

  Raises:
    ValueError: if W is out of range.

  Example:
    >>> from jaxdl.federated.asynchronous import make_schedule
    >>> schedule = make_schedule('async', [1.0, 0.5], horizon=2.0)
    >>> window_ends(schedule, 2).tolist()
    [3, 6]
  """
  w = checks.integer(num_windows, name='num_windows', low=1)
  ends = window_ends(schedule, w)
  moments = (schedule.horizon * np.arange(1, w + 1) / w).astype(np.float32)

  def init(key):
    return WindowState(algorithm.init(key), jnp.zeros((), jnp.int32))

  def step(state, cohort, *, key):
    window = jnp.minimum(state.window, w - 1)
    last = jnp.asarray(ends)[window]
    first = state.run.turn

    def one(turn, carry):
      run, total, busy = carry
      run, found = algorithm.step(
        run, cohort, key=jax.random.fold_in(key, turn)
      )
      came = (found['num_clients'] > 0).astype(jnp.float32)
      return run, jax.tree.map(jnp.add, total, found), busy + came

    form = jax.eval_shape(
      lambda s: algorithm.step(s, cohort, key=key)[1], state.run
    )
    zero = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), form)
    run, total, busy = jax.lax.fori_loop(
      first, last, one, (state.run, zero, jnp.zeros(()))
    )
    count = jnp.maximum(last - first, 0).astype(jnp.float32)
    # An aggregation to which nobody came has no loss.
    metrics: dict[str, Any] = {
      name: x
      / jnp.maximum(count if name in _PER_TURN else busy, 1.0).astype(x.dtype)
      for name, x in total.items()
    }
    metrics |= {'aggregations': count, 'time': jnp.asarray(moments)[window]}
    metrics.pop('turn')
    return WindowState(run, state.window + 1), metrics

  return checks.algorithm(
    init,
    step,
    lambda state: algorithm.params(state.run),
    state=WindowState,
    per_client=algorithm.per_client,
  )


def window_ends(schedule: _schedule.Schedule, num_windows: int) -> np.ndarray:
  """Aggregations done at the end of each of W windows, i32[W]."""
  w = num_windows
  return schedule.done_by(schedule.horizon * np.arange(1, w + 1) / w)
