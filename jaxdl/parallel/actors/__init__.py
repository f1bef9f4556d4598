# SPDX-License-Identifier: Apache-2.0
"""Pipelines whose stages own a fixed number of registers.

An actor runs when its inputs were sent and one of its own registers is free;
readers return registers. So nobody runs ahead of who is slow by more than its
registers, memory has a bound that is known before anything runs, and no
scheduler is needed.

- `ActorSpec`, `PIPELINES`, `chain_actors`, `check_actors`: who takes what.
- `simulate` -> `Simulation`: times, registers in use, and who waits for whom if
  nobody can go on.
- `predicted_period`, `memory_bound`: pace and memory without a simulation.
- `pipeline_rows`: several pipelines beside each other, with jitter of at most
  `MOST_JITTER`.

Example:
  >>> for r in (1, 2): print(predicted_period(chain_actors((1, 3, 2), r)))
  5.0
  3.0
"""

from jaxdl.parallel.actors._clock import Event, Simulation, simulate
from jaxdl.parallel.actors._period import predicted_period
from jaxdl.parallel.actors._rows import MOST_JITTER, pipeline_rows
from jaxdl.parallel.actors._specs import (
  PIPELINES,
  ActorSpec,
  chain_actors,
  check_actors,
  memory_bound,
)

__all__ = [
  'MOST_JITTER',
  'PIPELINES',
  'ActorSpec',
  'Event',
  'Simulation',
  'chain_actors',
  'check_actors',
  'memory_bound',
  'pipeline_rows',
  'predicted_period',
  'simulate',
]
