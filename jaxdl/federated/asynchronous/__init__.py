# SPDX-License-Identifier: Apache-2.0
"""Servers that do not wait for everybody: schedules on a virtual clock.

How long clients take (`make_times`, parts of `TIMES`: 'F-80', random draws,
traces of files) and a scheme (`make_schedule`, parts of `SCHEMES`) say who
arrives when, with how old a model and with which weight, before anything is
trained. `asynchronous` runs any method of `federated.server` that adds changes
up on such a schedule, over any channel:

    schedule = make_schedule('fedfix(0.2)', 'F-80', num_clients=10, horizon=100)
    algorithm = asynchronous(
      server.fedavg(task, local.LocalWork('sgd(0.1)', batch_size=32,
                                          num_steps=5)),
      10,
      schedule,
      server.Channel(compressor='top_k(keep=0.1)', error_feedback=True),
    )

Schemes: `fedavg` waits for all, `async` takes every message as it comes,
`fedfix` aggregates at a fixed period, `fedbuff` when a buffer is full,
`fedasync` mixes models in by their age. `surrogate_importance` says which loss
a schedule really minimizes, `participation_fraction` and `staleness` who comes
how often and how late, `missing` and `gone` who is left out. `in_windows`
brings schemes to the same moments; `timed` puts the rounds of any other
algorithm, which waits for all of its cohort, on the same clock.
"""

from jaxdl.federated.asynchronous._clock import waiting_periods
from jaxdl.federated.asynchronous._engine import AsynchronousState, asynchronous
from jaxdl.federated.asynchronous._reports import (
  scheme_table,
  share_rows,
  tail,
)
from jaxdl.federated.asynchronous._rounds import TimedState, timed
from jaxdl.federated.asynchronous._schedule import (
  Schedule,
  participation_fraction,
  staleness,
  surrogate_importance,
)
from jaxdl.federated.asynchronous._schemes import SCHEMES, make_schedule
from jaxdl.federated.asynchronous._times import (
  TIMES,
  Timing,
  compute_times,
  load_times,
  make_times,
  timing,
)
from jaxdl.federated.asynchronous._weights import (
  aggregation_weights,
  staleness_factor,
)
from jaxdl.federated.asynchronous._windows import (
  WindowState,
  in_windows,
  window_ends,
)

__all__ = [
  'scheme_table',
  'share_rows',
  'tail',
  'AsynchronousState',
  'SCHEMES',
  'Schedule',
  'TIMES',
  'TimedState',
  'Timing',
  'WindowState',
  'aggregation_weights',
  'asynchronous',
  'compute_times',
  'in_windows',
  'load_times',
  'make_schedule',
  'make_times',
  'participation_fraction',
  'staleness',
  'staleness_factor',
  'surrogate_importance',
  'timed',
  'timing',
  'waiting_periods',
  'window_ends',
]
