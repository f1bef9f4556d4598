# SPDX-License-Identifier: Apache-2.0
"""A run from its spec: which scheme when, and how long every job takes."""

import dataclasses
import functools
from typing import NamedTuple

import chex
import numpy as np

from jaxdl.coding import _schemes, _selection, _simulation
from jaxdl.core import checks, registry

RunResult = _simulation.RunResult


class Selection(NamedTuple):
  """How the numbers of a scheme are found that a spec leaves open.

  Attributes:
    kind: 'probe', 'switch' or 'hindsight'.
    num_rounds: probed, P.
  """

  kind: str
  num_rounds: int

  @property
  def rounds_before(self) -> int:
    """Rounds of the delays that are over when the run starts."""
    return self.num_rounds if self.kind == 'probe' else 0


def probe(num_rounds: int = 80) -> Selection:
  """Rounds before the run are probed, and not counted."""
  checks.integer(num_rounds, name='num_rounds', low=1)
  return Selection('probe', num_rounds)


def switch(num_rounds: int = 80) -> Selection:
  """The run starts uncoded; its first rounds are the probe."""
  checks.integer(num_rounds, name='num_rounds', low=1)
  return Selection('switch', num_rounds)


def hindsight() -> Selection:
  """What would have been best in the run itself."""
  return Selection('hindsight', 0)


SELECTIONS = registry.Registry(
  'select',
  {'probe': probe, 'switch': switch, 'hindsight': hindsight},
  tried={},
)


def small_selection(spec: str) -> str:
  """Lets a probe take ten rounds at most, for short runs.

  Args:
    spec: a part of `SELECTIONS`.

  Returns:
    The part.

  Example:
    >>> small_selection('probe(80)'), small_selection('hindsight')
    ('probe(num_rounds=10)', 'hindsight')
  """
  rounds = SELECTIONS.value(spec, 'num_rounds')
  if rounds is None or rounds <= 10:
    return spec
  return SELECTIONS.changed(spec, num_rounds=10)


@dataclasses.dataclass(frozen=True)
class Plan:
  """Runs that follow one another, as one sequence of J jobs.

  Attributes:
    runs: at least one.
  """

  runs: tuple[RunResult, ...]

  @property
  def scheme(self) -> _schemes.Scheme:
    """Of the last run."""
    return self.runs[-1].scheme

  @property
  def max_delay(self) -> int:
    """The largest T of a run."""
    return max(run.scheme.delay for run in self.runs)

  @functools.cached_property
  def first_jobs(self) -> np.ndarray:
    """int[K + 1], the job with which each run starts, and J."""
    return np.cumsum([0, *(len(run.job_done_round) for run in self.runs)])

  @property
  def num_jobs(self) -> int:
    """J."""
    return int(self.first_jobs[-1])

  @property
  def total_s(self) -> float:
    """Seconds of all rounds."""
    return sum(run.total_s for run in self.runs)

  @property
  def num_wait_outs(self) -> int:
    """Rounds whose deadline was put off."""
    return sum(run.num_wait_outs for run in self.runs)

  @property
  def stragglers_per_round(self) -> float:
    """Mean number of workers that were late and not waited for."""
    late = [run.stragglers.sum(axis=1) for run in self.runs]
    return float(np.concatenate(late).mean())

  @functools.cached_property
  def job_done_s(self) -> np.ndarray:
    """float64[J], seconds from the start until a job is decoded."""
    parts, start = [], 0.0
    for run in self.runs:
      parts.append(start + run.job_done_s)
      start += run.total_s
    return np.concatenate(parts)

  def summary(self) -> dict[str, float | str]:
    """Returns what to report: the scheme that was found, times and waits."""
    return {
      'found': self.scheme.text,
      'load': float(self.scheme.load),
      'total_s': self.total_s,
      'wait_outs': self.num_wait_outs,
      'late_per_round': self.stragglers_per_round,
    }

  def place(self, job: int) -> tuple[int, int]:
    """Returns the run of a job, by number, and the job's number in it."""
    at = int(np.searchsorted(self.first_jobs, job, side='right')) - 1
    return at, job - int(self.first_jobs[at])


def plan_run(
  spec: str,
  delays: chex.Array,
  num_jobs: int,
  *,
  select: str = 'probe(80)',
  max_delay: int = 3,
  max_stragglers: int | None = None,
  **options,
) -> Plan:
  """Finds the numbers that a scheme leaves open, and runs it.

  Args:
    spec: a part of `SCHEMES`, such as 'm_sgc' or 'gc(4)'.
    delays: float[n, R], R >= J + `max_delay` and the rounds that are probed
      before; the run goes on where the probe ends.
    num_jobs: J >= 1.
    select: a part of `SELECTIONS`. Under 'switch(P)' coded schemes start with
      at most P uncoded jobs, which are the probe: nobody waits for one.
    max_delay: T at most.
    max_stragglers: see `candidates`.
    **options: `mu`, `load_slope`, `probe_load`, `wait_policy` of `simulate`.

  Returns:
    The run, or the two of them.

  Raises:
    ValueError: if specs, shapes or numbers are wrong.

  Example:
    >>> rng = np.random.default_rng(0)
    >>> delays = 1.0 + rng.random((8, 50)) ** 9
    >>> found = plan_run('gc', delays, 40, select='switch(20)', load_slope=1.0)
    >>> [(run.scheme.text, len(run.arrived)) for run in found.runs]
    [('uncoded', 20), ('gc(0)', 20)]
  """
  how = SELECTIONS.make(select)
  jobs = checks.integer(num_jobs, name='num_jobs', low=1)
  delays = checks.host_array(delays, name='delays')
  before, n = how.rounds_before, len(delays)
  found = _selection.candidates(
    spec, n, max_delay=max_delay, max_stragglers=max_stragglers
  )
  longest = max(s.delay for s in found)
  if delays.ndim != 2 or delays.shape[1] < before + jobs + longest:
    raise ValueError(
      f'delays must be float[{n}, R] with R >= {before + jobs + longest} for '
      f'select={select!r}, num_jobs={jobs} and delays of {longest} rounds; got '
      f'shape {delays.shape}.'
    )
  run = functools.partial(_simulation.simulate, **options)
  if how.kind == 'hindsight':
    times = _simulation.total_times(found, delays, jobs, **options)
    return Plan((run(found[int(np.argmin(times))], delays, jobs),))

  def pick(probed, rest):
    if len(found) == 1:  # Nothing to look for.
      return found[0]
    few = probed.shape[1]
    known = [s for s in found if s.delay < few]
    if not known:
      least = min(s.delay for s in found)
      raise ValueError(
        f'select={select!r} probes {few} rounds; {found[0].name} needs more '
        f'than {least} to be simulated.'
      )
    return _selection.select(known, probed, rest, **options)

  if how.kind == 'probe':
    scheme = pick(delays[:, :before], jobs)
    return Plan((run(scheme, delays[:, before:], jobs),))
  first = min(how.num_rounds, jobs)
  if found[0].name in ('uncoded', 'no_wait'):
    return Plan((run(found[0], delays, jobs),))
  plain = run(_schemes.uncoded(n), delays, first)
  if first == jobs:
    return Plan((plain,))
  scheme = pick(delays[:, :first], jobs - first)
  return Plan((plain, run(scheme, delays[:, first:], jobs - first)))
