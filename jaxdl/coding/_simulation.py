# SPDX-License-Identifier: Apache-2.0
"""How long jobs take: rounds, deadlines and waits, without any gradient."""

import collections
import dataclasses
from collections.abc import Sequence

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
  need = jobs + scheme.delay
  delays = _delays.check_delays(delays, scheme.num_workers, need)
  shift = _shift([scheme], load_slope, probe_load)
  _check_shift(delays[:, :need], shift)
  rounds = list(_rounds([scheme], delays, jobs, mu, shift, wait_policy))
  durations, waited, late = (
    np.array([r[i][0] for r in rounds]) for i in range(3)
  )
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

  Cost: about 0.3 s for 350 candidates of 64 workers over 200 rounds.

  Example:
    >>> schemes = [_schemes.make_scheme(f'gc({s})', 4) for s in range(3)]
    >>> delays = np.ones((4, 3))
    >>> delays[0] = 5.0
    >>> total_times(schemes, delays, 3).tolist()
    [15.0, 6.0, 6.0]
  """
  jobs = _check(num_jobs, mu, load_slope, probe_load, wait_policy)
  out = np.zeros(len(schemes))
  groups: dict[tuple, list[int]] = {}
  for i, s in enumerate(schemes):
    same = (s.name, s.model, s.num_workers, s.burst_length, s.window)
    # Groups of workers differ in size.
    groups.setdefault((*same, s.code == 'repetition' and i), []).append(i)
  for places in groups.values():
    group = [schemes[i] for i in places]
    need = jobs + group[0].delay
    found = _delays.check_delays(delays, group[0].num_workers, need)
    shift = _shift(group, load_slope, probe_load)
    _check_shift(found[:, :need], shift)
    rounds = _rounds(group, found, jobs, mu, shift, wait_policy)
    out[places] = sum(r[0] for r in rounds)
  return out


def _check(num_jobs, mu, load_slope, probe_load, wait_policy):
  jobs = checks.integer(num_jobs, name='num_jobs', low=1)
  checks.number(mu, name='mu', low=0.0, open_low=True)
  checks.number(load_slope, name='load_slope', low=0.0)
  checks.number(probe_load, name='probe_load', low=0.0)
  checks.choice(wait_policy, WAIT_POLICIES, name='wait_policy')
  return jobs


def _shift(group, load_slope, probe_load):
  """Seconds that the load of each scheme adds."""
  return np.array([load_slope * (float(s.load) - probe_load) for s in group])


def _check_shift(delays, shift):
  if delays.min() + shift.min() <= 0:
    raise ValueError(
      f'probe_load leaves {delays.min() + shift.min():.3g} s for the fastest '
      'worker: delays at this load must exceed load_slope * probe_load.'
    )


def _rounds(group, delays, jobs, mu, shift, wait_policy):
  """Yields durations [C], waited [C] and late workers [C, n] of each round.

  All schemes of the group have the same name, model, B and W. What is compared
  with a delay is another delay, or the deadline less the shift.
  """
  first = group[0]
  n, b, w = first.num_workers, first.burst_length, first.window
  few = np.array([s.tolerance for s in group])
  # Distinct late workers in a window; no_wait lets all be late.
  quota = np.array([s.num_stragglers for s in group])
  repeats = first.name == 'sr_sgc'
  span = w + b - 1 if first.model == 'arbitrary' else w
  none = np.zeros((len(group), n), bool)
  past = collections.deque([none] * (span - 1), maxlen=span - 1)
  missing = collections.deque([none] * b, maxlen=b)
  wait = _wait_for_all if wait_policy == 'all' else _wait_until_fine
  for r in range(jobs + first.delay):
    d = delays[:, r]
    busy, here = none, ~none
    if repeats:
      busy = _deliveries.repeaters(missing[0], few)
      here = here if r < jobs else busy
    fastest = np.where(here, d, np.inf).min(axis=1)
    slowest = np.where(here, d, -np.inf).max(axis=1)
    idle = ~here.any(axis=1)
    fastest[idle] = slowest[idle] = 1.0
    deadline = fastest + mu * (fastest + shift)
    late = here & (d > deadline[:, None])
    if first.model == 'groups':
      end = _wait_for_groups(d, late, deadline, few[0], wait_policy)
    else:
      end = wait(d, late, deadline, quota, *_window(past, first, none))
      if repeats:
        # A round without repeats may miss s results for good.
        light = wait(d, late, deadline, few, none, none)
        end = np.where(busy.any(axis=1), end, np.minimum(end, light))
    kept = late & (d > end[:, None])
    yield (
      np.where(idle, 0.0, np.minimum(np.maximum(end, deadline), slowest))
      + np.where(idle, 0.0, shift),
      (late & ~kept).any(axis=1),
      kept,
    )
    counted = kept
    if repeats:
      missing.append((kept | busy) if r < jobs else none)
      light = ~busy.any(axis=1) & (kept.sum(axis=1) <= few)
      counted = kept & ~light[:, None]
    past.append(counted)


def _window(past, scheme, none):
  """Who was late in the window, and who must not be late again: bool[C, n]."""
  seen, banned = none, none
  if scheme.model == 'arbitrary':
    if past:
      times = np.sum(past, axis=0)
      seen, banned = times > 0, times >= scheme.burst_length
    return seen, banned
  for age, pattern in enumerate(reversed(past), start=1):
    seen = seen | pattern
    if age >= scheme.burst_length:
      banned = banned | pattern
  return seen, banned


def _wait_for_all(d, late, deadline, quota, seen, banned):
  """When rounds end [C]: at the deadline if the pattern conforms, or never."""
  del d
  fine = ~(late & banned).any(axis=1) & ((late | seen).sum(axis=1) <= quota)
  return np.where(fine, deadline, np.inf)


def _wait_until_fine(d, late, deadline, quota, seen, banned):
  """When rounds end [C]: as soon as those who are still late conform."""
  must = np.where(late & banned, d, -np.inf).max(axis=1)
  # Of those who are new in the window, the slowest may stay away.
  order = np.argsort(-d, kind='stable')
  new = np.cumsum((late & ~seen)[:, order], axis=1)
  spare = quota - seen.sum(axis=1)
  over = new == spare[:, None] + 1
  first = d[order][over.argmax(axis=1)]
  too_many = np.where(over.any(axis=1), first, -np.inf)
  return np.maximum(deadline, np.maximum(must, too_many))


def _wait_for_groups(d, late, deadline, tolerance, wait_policy):
  """When rounds end [C]: as soon as one worker of each group is there."""
  fastest = d.reshape(-1, tolerance + 1).min(axis=1).max()
  if wait_policy == 'conform':
    return np.maximum(deadline, fastest)
  groups = late.reshape(len(late), -1, tolerance + 1)
  return np.where(groups.all(axis=2).any(axis=1), np.inf, deadline)
