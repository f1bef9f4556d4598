# SPDX-License-Identifier: Apache-2.0
"""Pipelines beside each other, batch by batch."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from jaxdl.core import checks
from jaxdl.parallel.actors import _clock, _period, _specs

MOST_JITTER = 4.0


def pipeline_rows(
  pipelines: Mapping[str, Mapping[str, _specs.ActorSpec]],
  num_batches: int,
  *,
  seeds: Sequence[int] = (0,),
  jitter: float = 0.0,
) -> list[list[dict[str, Any]]]:
  """Runs pipelines, and says when each batch was done.

  Args:
    pipelines: actors by the name of the pipeline.
    num_batches: B >= 1.
    seeds: of the jitter.
    jitter: standard deviation of the logarithm of the seconds of every batch
      and actor, whose mean stays `tau`; at most 4, beyond which no sample of
      batches comes near that mean.

  Returns:
    Rows of each batch: `variant`, `seed` and `finish_s`, when the batch was
    done. Those of the last also have `predicted_s`, the period of the cycles
    without jitter, `period_s`, that of the second half of the batches,
    `peak_registers` and, where it is finite, `most_registers`: in use, and ever
    possible.

  Raises:
    ValueError: as `simulate`, or if there is no pipeline.

  Example:
    >>> rows = pipeline_rows({'two': chain_actors((1, 3, 2))}, 10)
    >>> rows[-1][0]['finish_s'], rows[-1][0]['period_s']
    (33.0, 3.0)
  """
  num = checks.integer(num_batches, name='num_batches', low=1)
  checks.number(jitter, name='jitter', low=0, high=MOST_JITTER)
  seeds = checks.seeds(seeds)
  if not pipelines:
    raise ValueError('pipelines is empty: give one at least.')
  rows: list[list[dict[str, Any]]] = [[] for _ in range(num)]
  for name, actors in pipelines.items():
    for seed in seeds:
      noise = np.random.default_rng(seed).normal(size=(len(actors), num))
      times = np.exp(jitter * noise - jitter**2 / 2)
      pairs = zip(actors.items(), times, strict=True)
      seconds = {actor: spec.tau * t for (actor, spec), t in pairs}
      found = _clock.simulate(actors, num, seconds=seconds)
      label = {'variant': name, 'seed': seed}
      for batch, done in enumerate(found.finish.max(axis=0)):
        rows[batch].append(label | {'finish_s': float(done)})
      half = num // 2
      rows[-1][-1] |= {
        'period_s': found.period(half) if half else found.makespan,
        'predicted_s': _period.predicted_period(actors),
        'peak_registers': int(found.peak.sum()),
      }
      most = sum(a.registers for a in actors.values())
      if most < math.inf:
        rows[-1][-1]['most_registers'] = int(most)
  return rows
