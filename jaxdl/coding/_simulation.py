# SPDX-License-Identifier: Apache-2.0
"""How long jobs take: rounds, deadlines and waits, without any gradient."""

import dataclasses
from collections.abc import Sequence
from typing import NamedTuple

import chex
import numpy as np

from jaxdl.coding import _delays, _deliveries, _schemes
from jaxdl.core import checks

Scheme = _schemes.Scheme

WAIT_POLICIES = ('all', 'conform')


@dataclasses.dataclass(frozen=True)
class RunResult:
  """What a run of J jobs was like; R = J + T rounds.

  Attributes:
    scheme: what ran.
    round_durations: float64[R], seconds.
    waited: bool[R], rounds whose deadline was put off ("wait-outs").
    stragglers: bool[R, n], who was late and not waited for.
    arrived: bool[J, C], results that came in time, see `Scheme`.
    job_done_round: int[J], from 0.
  """

  scheme: Scheme
  round_durations: np.ndarray
  waited: np.ndarray
  stragglers: np.ndarray
  arrived: np.ndarray
  job_done_round: np.ndarray

  @property
  def num_wait_outs(self) -> int:
    """Rounds whose deadline was put off."""
    return int(self.waited.sum())

  @property
  def total_s(self) -> float:
    """Seconds of all rounds."""
    return float(self.round_durations.sum())

  @property
  def job_done_s(self) -> np.ndarray:
    """float64[J], seconds from the start until a job is decoded."""
    return np.cumsum(self.round_durations)[self.job_done_round]


def simulate(
  scheme: Scheme,
  delays: chex.Array,
  num_jobs: int,
  *,
  mu: float = 1.0,
  load_slope: float = 0.0,
  probe_load: float = 0.0,
  wait_policy: str = 'all',
) -> RunResult:
  """Runs a scheme on recorded or drawn delays.

  A worker is late when it takes more than 1 + mu times as long as the fastest.
  The round then ends without it, provided that the pattern of late workers so
  far is one that the scheme is designed for: s a round for 'gc'; one of each
  group for 'gc_rep'; bursty or arbitrary for 'm_sgc'; bursty for 'sr_sgc',
  where rounds that repeat nothing and have at most s late workers do not count.
  Otherwise the master waits. Every round costs the load of the scheme, also the
  first and last T ones of 'm_sgc', which have fewer jobs to serve; after round
  J only workers that repeat something take part in 'sr_sgc'.

  Args:
    scheme: of n workers.
    delays: float[n, R] in seconds, R >= J + T, at the load `probe_load`.
    num_jobs: J >= 1.
    mu: > 0, tolerance of the deadline; inf waits for all.
    load_slope: seconds per unit of load, >= 0.
    probe_load: share of the data that a worker handled when delays were
      measured.
    wait_policy: 'all' waits for every worker and records none as late, as the
      authors' simulator does; 'conform' until the rest conforms.

  Returns:
    The run; all of its jobs can be decoded.

  Raises:
    ValueError: if shapes or numbers are wrong.

  Cost: O(n) per round in NumPy; see `total_times` for many schemes at once.

  Example:
    >>> delays = np.ones((3, 4))
    >>> delays[0, 1] = 9.0
    >>> run = simulate(_schemes.make_scheme('gc(1)', 3), delays, 4)
    >>> run.round_durations.tolist(), run.total_s, run.num_wait_outs
    ([1.0, 2.0, 1.0, 1.0], 5.0, 0)

  Source: Krishnan et al. 2023 (https://arxiv.org/abs/2211.13802), the
  experiments' mu rule and wait-outs; with <= s late workers for gradient
  coding, where the authors' code has < s.
  """
  jobs = _check(num_jobs, mu, load_slope, probe_load, wait_policy)
  delays = _delays.check_delays(delays, scheme.num_workers, jobs + scheme.delay)
  ask = _Question(delays, mu, load_slope, probe_load, wait_policy)
  durations, waited, late = (x[:, 0] for x in ask.rounds([scheme], [jobs]))
  if scheme.name == 'no_wait':
    arrived, done = ~late[:jobs], np.arange(jobs)
  else:
    arrived, done = _deliveries.deliveries(scheme, late, jobs)
  assert (done >= 0).all(), 'The wait policy let a job down.'
  return RunResult(scheme, durations, waited, late, arrived, done)


def total_times(
  schemes: Sequence[Scheme],
  delays: chex.Array,
  num_jobs: int,
  *,
  mu: float = 1.0,
  load_slope: float = 0.0,
  probe_load: float = 0.0,
  wait_policy: str = 'all',
) -> np.ndarray:
  """Says how long many schemes take on the same delays.

  Those with the same windows run side by side, vectorized over their numbers
  and over workers.

  Args:
    schemes: of n workers each.
    delays: float[n, R], R >= J + T for the largest T.
    num_jobs: J >= 1.
    mu: see `simulate`.
    load_slope: see `simulate`.
    probe_load: see `simulate`.
    wait_policy: see `simulate`.

  Returns:
    float64 of the length of `schemes`, `simulate(...).total_s` of each.

  Raises:
    ValueError: if shapes or numbers are wrong.

  Cost: some tenths of a second for 460 candidates of 64 workers and 200
  rounds.

  Example:
    >>> schemes = [_schemes.make_scheme(f'gc({s})', 4) for s in range(3)]
    >>> delays = np.ones((4, 3))
    >>> delays[0] = 5.0
    >>> total_times(schemes, delays, 3).tolist()
    [15.0, 6.0, 6.0]
  """
  jobs = _check(num_jobs, mu, load_slope, probe_load, wait_policy)
  longest = max((s.delay for s in schemes), default=0)
  n = schemes[0].num_workers if schemes else 1
  delays = _delays.check_delays(delays, n, jobs + longest)
  ask = _Question(delays, mu, load_slope, probe_load, wait_policy)
  return ask.totals(schemes, [jobs] * len(schemes))


def probe_times(
  schemes: Sequence[Scheme],
  delays: np.ndarray,
  *,
  mu: float = 1.0,
  load_slope: float = 0.0,
  probe_load: float = 0.0,
  wait_policy: str = 'all',
) -> np.ndarray:
  """As `total_times`, each scheme with as many jobs as fit into the delays."""
  _check(1, mu, load_slope, probe_load, wait_policy)
  ask = _Question(delays, mu, load_slope, probe_load, wait_policy)
  return ask.totals(schemes, [delays.shape[1] - s.delay for s in schemes])


def _check(num_jobs, mu, load_slope, probe_load, wait_policy):
  jobs = checks.integer(num_jobs, name='num_jobs', low=1)
  checks.number(mu, name='mu', low=0.0, open_low=True, finite=False)
  checks.number(load_slope, name='load_slope', low=0.0)
  checks.number(probe_load, name='probe_load', low=0.0)
  checks.choice(wait_policy, WAIT_POLICIES, name='wait_policy')
  return jobs


class _Question(NamedTuple):
  """What is asked about schemes."""

  delays: np.ndarray
  mu: float
  load_slope: float
  probe_load: float
  wait_policy: str

  def totals(self, schemes, jobs):
    """Seconds of each scheme with its number of jobs."""
    out = np.zeros(len(schemes))
    groups: dict[tuple, list[int]] = {}
    for i, s in enumerate(schemes):
      # Groups of workers differ in size.
      alone = i if s.model == 'groups' else -1
      groups.setdefault((s.name, s.model, alone), []).append(i)
    for places in groups.values():
      group = [schemes[i] for i in places]
      durations, *_ = self.rounds(group, [jobs[i] for i in places])
      out[places] = durations.sum(axis=0)
    return out

  def rounds(self, group, jobs):
    """Durations [R, C], put off [R, C] and late workers [R, C, n].

    All schemes of the group have the same name and model.
    """
    loads = np.array([float(s.load) for s in group])
    shift = self.load_slope * (loads - self.probe_load)
    least = self.delays.min() + shift.min()
    if least <= 0:
      raise ValueError(
        f'probe_load leaves {least:.3g} s for the fastest worker: delays at '
        'this load must exceed load_slope * probe_load.'
      )
    if group[0].window == 1:
      return _independent(self, group, jobs, shift)
    return _windowed(self, group, np.asarray(jobs), shift)


def _independent(ask, group, jobs, shift):
  """Rounds that do not depend on the ones before, all at once.

  What is compared with a delay is another delay, or the deadline less the
  shift.
  """
  d = ask.delays[:, : max(jobs)].T  # [R, n].
  n = d.shape[1]
  fastest, slowest = d.min(axis=1)[:, None], d.max(axis=1)[:, None]
  deadline = fastest + ask.mu * (fastest + shift)
  if group[0].model == 'groups':
    size = group[0].tolerance + 1
    groups = d.reshape(len(d), -1, size).min(axis=2)
    end = groups.max(axis=1)[:, None]
  else:
    # The first that may be late is waited for, if it is.
    ordered = np.pad(np.sort(d, axis=1), ((0, 0), (1, 0)))
    end = ordered[:, [n - s.num_stragglers for s in group]]
  if ask.wait_policy == 'all':
    end = np.where(end <= deadline, deadline, np.inf)
  end = np.maximum(end, deadline)
  late = d[:, None] > end[..., None] if len(group) == 1 else None
  return np.minimum(end, slowest) + shift, end > deadline, late


def _windowed(ask, group, jobs, shift):
  """Rounds that depend on the patterns before.

  Few workers are late, so that patterns are looked at in few columns.
  """
  first, count, n = group[0], len(group), len(ask.delays)
  rows = np.arange(count)
  of = lambda name: np.array([getattr(s, name) for s in group])
  burst, few, delay = of('burst_length'), of('tolerance'), of('delay')
  quota = of('num_stragglers')
  arbitrary, repeats = first.model == 'arbitrary', first.name == 'sr_sgc'
  span = of('window') + (burst - 1 if arbitrary else 0)
  # How often who was late in the window, and long enough ago.
  seen = np.zeros((count, n), np.int16)
  banned = np.zeros((count, n), np.int16)
  past = np.zeros((span.max(), count, n), bool)
  missing = np.zeros((burst.max(), count, n), bool)
  num_missing = np.zeros((burst.max(), count), int)
  num_rounds = int((jobs + delay).max())
  durations = np.zeros((num_rounds, count))
  waited = np.zeros((num_rounds, count), bool)
  patterns = np.zeros((num_rounds, count, n), bool) if count == 1 else None
  busy = over = np.zeros((count, n), bool)
  for r in range(num_rounds):
    d = ask.delays[:, r]
    fastest, slowest = np.full(count, d.min()), np.full(count, d.max())
    active = r < jobs + delay
    again, here = np.zeros(count, bool), None
    if repeats:
      # Who repeats a job, and who takes part at all.
      old = (r - burst) % len(missing)
      again = num_missing[old, rows] > few
      busy = _busy(missing[old, rows], few, again)
      over = r >= jobs
      if over.any():
        active = ~over | again
        here = busy | ~over[:, None]
        fastest = np.where(here, d, np.inf).min(axis=1, initial=d.max())
        slowest = np.where(here, d, 0.0).max(axis=1, initial=d.min())
    deadline = fastest + ask.mu * (fastest + shift)
    cols = np.flatnonzero(d > deadline.min())
    cols = cols[np.argsort(-d[cols], kind='stable')]
    some = d[cols]
    late = some > deadline[:, None]
    if here is not None:
      late &= here[:, cols]
    # When the round ends.
    before = seen[:, cols] > 0
    ban = seen[:, cols] >= burst[:, None] if arbitrary else banned[:, cols] > 0
    spare = quota - _count(seen > 0)
    wait = _wait_for_all if ask.wait_policy == 'all' else _wait_until_fine
    end = wait(some, late, spare, late & ~before, late & ban)
    if repeats:
      # A round without repeats may miss s results for good.
      light = wait(some, late, few, late, late & False)
      end = np.where(again, end, np.minimum(end, light))
    end = np.maximum(end, deadline)
    kept = late & (some > end[:, None])
    durations[r] = np.where(active, np.minimum(end, slowest) + shift, 0.0)
    waited[r] = active & (end > deadline)
    if patterns is not None:
      patterns[r][:, cols] = kept
    if repeats:
      lost = busy
      lost[:, cols] |= kept
      lost[over] = False
      missing[r % len(missing)] = lost
      num_missing[r % len(missing)] = _count(lost)
      kept = kept & (again | (kept.sum(axis=1) > few))[:, None]
    # The window moves on.
    seen -= past[(r + 1 - span) % len(past), rows]
    if not arbitrary:
      banned -= past[(r + 1 - span) % len(past), rows]
    past[r % len(past)] = False
    past[r % len(past)][:, cols] = kept
    seen[:, cols] += kept
    if not arbitrary:
      banned += past[(r + 1 - burst) % len(past), rows]
  return durations, waited, patterns


def _busy(missing, few, again):
  """Who repeats a job, bool[C, n]; columns where nothing is missing are few."""
  busy = np.zeros_like(missing)
  cols = np.flatnonzero(missing[again].any(axis=0))
  if len(cols):
    busy[:, cols] = _deliveries.repeaters(missing[:, cols], few)
  return busy


def _count(flags):
  """Sums bool[C, n] over workers; faster than `sum`, and as exact."""
  ones = np.ones(flags.shape[1], np.float32)
  return (flags.astype(np.float32) @ ones).astype(int)


def _wait_for_all(some, late, spare, new, banned):
  """When rounds end [C]: at the deadline if the pattern conforms, or never."""
  del some, late
  fine = ~banned.any(axis=1) & (new.sum(axis=1) <= spare)
  return np.where(fine, 0.0, np.inf)


def _wait_until_fine(some, late, spare, new, banned):
  """When rounds end [C]: as soon as those who are still late conform."""
  del late
  must = np.where(banned, some, 0.0).max(axis=1, initial=0.0)
  # Of those who are new in the window, the slowest may stay away.
  first = np.where(
    np.cumsum(new, axis=1) == spare[:, None] + 1, new * some, 0.0
  )
  return np.maximum(must, first.max(axis=1, initial=0.0))
