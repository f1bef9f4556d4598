# SPDX-License-Identifier: Apache-2.0
"""How long clients take: scenarios, random draws, traces of files."""

import os
import pathlib
import re
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from jaxdl.core import checks, registry, tables

# Columns of a CSV trace; `compute_time` must be there.
COLUMNS = (
  'client',
  'compute_time',
  'communication_time',
  'drop_rate',
  'leave',
  'rejoin',
)


class Timing(NamedTuple):
  """How long clients take, in units of virtual time; on the host.

  Attributes:
    times: f64[N, J], of the jobs of each client one after the other, compute
      and communication; after J they begin again.
    drop_rate: f64[N] in [0, 1), chance that a job is lost: the client does it
      again, which takes the time of its next job.
    leave: f64[N], when a client goes away; inf for never. What it is working
      on is lost.
    rejoin: f64[N], when it comes back and does that again; inf for never.
    seed: of the draws of lost jobs.
    communication: f64[N], how much of the times a client needs however little
      it works.
  """

  times: np.ndarray
  drop_rate: np.ndarray
  leave: np.ndarray
  rejoin: np.ndarray
  seed: int = 0
  communication: np.ndarray | float = 0.0

  @property
  def num_clients(self) -> int:
    """N."""
    return len(self.times)

  @property
  def is_regular(self) -> bool:
    """Whether every job of a client takes as long as the one before."""
    return bool(
      self.times.shape[1] == 1
      and not self.drop_rate.any()
      and np.isinf(self.leave).all()
    )


def compute_times(num_clients: int, pct_faster: float) -> np.ndarray:
  """Times of clients of which each is a little faster than the one before.

  Args:
    num_clients: N.
    pct_faster: X in [0, 100), by how many percent the last is faster than the
      first.

  Returns:
    f64[N], τ_i = 1 - X / 100 · i / (N - 1), slowest first.

  Raises:
    ValueError: if a number is out of range.

  Example:
    >>> compute_times(5, 80).round(3).tolist()
    [1.0, 0.8, 0.6, 0.4, 0.2]

  Source: Fraboni et al. 2023 (https://arxiv.org/abs/2206.10189), section 6.
  """
  n = checks.integer(num_clients, name='num_clients', low=1)
  checks.number(
    pct_faster, name='pct_faster', low=0.0, high=100.0, open_high=True
  )
  return 1.0 - pct_faster / 100 * np.arange(n) / max(n - 1, 1)


def timing(
  times: Any,
  *,
  drop_rate: Any = 0.0,
  leave: Any = np.inf,
  rejoin: Any = np.inf,
  communication: Any = 0.0,
  seed: int = 0,
) -> Timing:
  """Makes a `Timing` of numbers and checks them.

  Args:
    times: f[N], or f[N, J] for jobs that differ.
    drop_rate: f[N] or one number, see `Timing`.
    leave: f[N] or one number.
    rejoin: f[N] or one number, later than `leave`.
    communication: f[N] or one number, at most the times, which include it.
    seed: see `Timing`.

  Returns:
    The timing.

  Raises:
    ValueError: naming the client, if a number is out of range.

  Example:
    >>> timing([1.0, 0.0])
    Traceback (most recent call last):
    ValueError: compute time of client 1 is 0.0; must be > 0 and finite.
  """
  if isinstance(times, Timing):
    return times
  found = checks.host_array(times, name='times').astype(np.float64)
  if found.ndim == 1:
    found = found[:, None]
  if found.ndim != 2 or not found.size:
    raise ValueError(
      'times must have shape [N] or [N, J], one row per client; got '
      f'{np.shape(times)}.'
    )
  bad = np.argwhere(~(np.isfinite(found) & (found > 0)))
  if len(bad):
    i, j = bad[0]
    job = f' in job {j}' if found.shape[1] > 1 else ''
    raise ValueError(
      f'compute time of client {i}{job} is {found[i, j]}; must be > 0 and '
      'finite.'
    )
  n = len(found)
  columns = {}
  for name, value in (
    ('drop_rate', drop_rate),
    ('leave', leave),
    ('rejoin', rejoin),
    ('communication', communication),
  ):
    column = checks.host_array(value, name=name).astype(np.float64)
    if column.shape not in ((), (n,)):
      raise ValueError(
        f'{name} must have one entry per client, shape ({n},); got '
        f'{column.shape}.'
      )
    columns[name] = np.broadcast_to(column, (n,)).copy()
  rules = (
    ('drop_rate', 'must lie in [0, 1)', lambda x: (x >= 0) & (x < 1)),
    ('leave', 'must be at least 0', lambda x: x >= 0),
    ('rejoin', 'must come after its leave', lambda x: x > columns['leave']),
    (
      'communication',
      'must be at least 0 and at most its times',
      lambda x: (x >= 0) & (x <= found.min(1)),
    ),
  )
  for name, rule, holds in rules:
    fine = holds(columns[name])
    if name == 'rejoin':
      fine |= np.isinf(columns[name]) & (columns[name] > 0)
    if not fine.all():
      i = int(np.flatnonzero(~fine)[0])
      raise ValueError(f'{name} of client {i} is {columns[name][i]}; {rule}.')
  seed = checks.integer(seed, name='seed', low=0)
  return Timing(found, seed=seed, **columns)


def linear(
  num_clients: int, rng: np.random.Generator, pct_faster: float = 80.0
) -> Timing:
  """From one down in equal steps, 'F-80' for short; see `compute_times`."""
  del rng
  return timing(compute_times(num_clients, pct_faster))


def uniform(
  num_clients: int,
  rng: np.random.Generator,
  low: float = 0.2,
  high: float = 1.0,
  num_jobs: int = 1,
  drop_rate: float = 0.0,
) -> Timing:
  """Drawn evenly between two numbers.

  Args:
    num_clients: N.
    rng: consumed.
    low: > 0.
    high: the other end.
    num_jobs: J, draws per client, used in turn; with 1 a client has its speed.
    drop_rate: of all clients, see `Timing`.

  Returns:
    The timing.
  """
  checks.number(low, name='low', low=0.0, open_low=True)
  checks.number(high, name='high', low=low)
  return _drawn(
    rng, drop_rate, num_clients, num_jobs, lambda s: rng.uniform(low, high, s)
  )


def lognormal(
  num_clients: int,
  rng: np.random.Generator,
  sigma: float = 1.0,
  job_sigma: float = 0.0,
  num_jobs: int = 64,
  drop_rate: float = 0.0,
) -> Timing:
  """Draws exp of a normal per client plus one per job: few are very slow.

  Args:
    num_clients: N.
    rng: consumed.
    sigma: >= 0, standard deviation between clients; the median is 1.
    job_sigma: >= 0, between jobs of a client; 0 for jobs that do not differ.
    num_jobs: J, draws per client, used in turn.
    drop_rate: of all clients, see `Timing`.

  Returns:
    The timing.
  """
  checks.number(sigma, name='sigma', low=0.0)
  checks.number(job_sigma, name='job_sigma', low=0.0)

  def draw(shape):
    between = sigma * rng.normal(size=(shape[0], 1))
    return np.exp(between + job_sigma * rng.normal(size=shape))

  jobs = num_jobs if job_sigma else 1
  return _drawn(rng, drop_rate, num_clients, jobs, draw)


def exponential(
  num_clients: int,
  rng: np.random.Generator,
  mean: float = 1.0,
  least: float = 0.0,
  num_jobs: int = 64,
  drop_rate: float = 0.0,
) -> Timing:
  """A least time plus an exponential of a mean, drawn for every job.

  Args:
    num_clients: N.
    rng: consumed.
    mean: > 0, of what is added.
    least: >= 0.
    num_jobs: J, draws per client, used in turn.
    drop_rate: of all clients, see `Timing`.

  Returns:
    The timing.
  """
  checks.number(mean, name='mean', low=0.0, open_low=True)
  checks.number(least, name='least', low=0.0)
  return _drawn(
    rng,
    drop_rate,
    num_clients,
    num_jobs,
    lambda s: least + np.maximum(rng.exponential(mean, s), 1e-6),
  )


def trace(num_clients: int, rng: np.random.Generator, path: str) -> Timing:
  """Measured times of a file, see `load_times`."""
  return load_times(
    path, num_clients=num_clients, seed=int(rng.integers(2**31))
  )


def _drawn(rng, drop_rate, num_clients, num_jobs, draw) -> Timing:
  n = checks.integer(num_clients, name='num_clients', low=1)
  jobs = checks.integer(num_jobs, name='num_jobs', low=1)
  found = draw((n, jobs))
  return timing(found, drop_rate=drop_rate, seed=int(rng.integers(2**31)))


class _Times(registry.Registry):
  """Also reads 'F-80'."""

  def part(self, text, *, name=None, spec=None):
    found = re.fullmatch(r'\s*F-(\d+(?:\.\d+)?)\s*', str(text))
    if found:
      text = f'linear({found[1]})'
    elif re.match(r'\s*F-', str(text)):
      raise ValueError(
        f'{name or self.kind}={text!r} must be F-X with 0 <= X < 100, by how '
        'many percent the fastest client is faster than the slowest.'
      )
    return super().part(text, name=name, spec=spec)


TIMES = _Times(
  'times',
  {
    'linear': linear,
    'uniform': uniform,
    'lognormal': lognormal,
    'exponential': exponential,
    'trace': trace,
  },
  given=('num_clients', 'rng'),
)


def make_times(spec: Any, num_clients: int, *, seed: int = 0) -> Timing:
  """Makes times from text.

  Args:
    spec: 'F-80' or a part of `TIMES`: 'lognormal(sigma=1.0, job_sigma=0.3)',
      'trace("speeds.csv")'; or numbers f[N], f[N, J]; or a `Timing`.
    num_clients: N.
    seed: of the draws.

  Returns:
    The timing.

  Raises:
    ValueError: if the name, an option, a file or a number is wrong.

  Example:
    >>> make_times('F-80', 5).times[:, 0].round(3).tolist()
    [1.0, 0.8, 0.6, 0.4, 0.2]
  """
  n = checks.integer(num_clients, name='num_clients', low=1)
  if isinstance(spec, str):
    rng = np.random.default_rng(checks.integer(seed, name='seed', low=0))
    return TIMES.make(spec, n, rng)
  found = timing(spec)
  if found.num_clients != n:
    raise ValueError(
      f'times has {found.num_clients} clients but num_clients={n}.'
    )
  return found


def load_times(
  path: str | os.PathLike[str],
  *,
  num_clients: int | None = None,
  seed: int = 0,
) -> Timing:
  """Reads how long clients take.

  Args:
    path: `.npy` of f[N] or f[N, J], successive jobs; or CSV with a header and a
      row per client, as many fields in each: `compute_time`, and if there
      `communication_time` (>= 0, added), `drop_rate`, `leave` and `rejoin`
      (empty for never), `client` (numbers from 0, in any order). Any unit of
      time.
    num_clients: N, if it must be that.
    seed: see `Timing`.

  Returns:
    The timing.

  Raises:
    ValueError: naming the file and what is wrong.
  """
  path = pathlib.Path(path)
  try:
    if path.suffix == '.npy':
      made = timing(checks.load_npy(path), seed=seed)
    else:
      made = _read(*tables.load_columns(path, COLUMNS), seed)
  except (ValueError, TypeError) as error:
    raise ValueError(f'{path}: {error}') from None
  if num_clients is not None and made.num_clients != num_clients:
    raise ValueError(
      f'{path}: has {made.num_clients} clients but num_clients={num_clients}.'
    )
  return made


def _read(
  names: Sequence[str], rows: list[tuple[int, dict[str, str]]], seed: int
) -> Timing:
  if 'compute_time' not in names:
    raise ValueError(
      f'has no column compute_time; got {", ".join(names) or "nothing"}.'
    )
  if not rows:
    raise ValueError('has no client.')
  empty = {'leave': np.inf, 'rejoin': np.inf, 'drop_rate': 0.0}

  def column(name, default=0.0):
    if name not in names:
      return np.full(len(rows), default)
    out = []
    for line, row in rows:
      text = row[name]
      try:
        out.append(float(text) if text or name not in empty else empty[name])
      except ValueError:
        raise ValueError(
          f'line {line}: {name} must be a number; got {text!r}.'
        ) from None
    return np.array(out)

  order = np.arange(len(rows))
  if 'client' in names:
    ids = column('client')
    if sorted(ids) != list(range(len(rows))):
      raise ValueError(
        f'client must number the {len(rows)} clients from 0, each once.'
      )
    order = np.argsort(ids)
  compute = timing(column('compute_time')[order]).times[:, 0]
  talk = column('communication_time')[order]
  bad = np.flatnonzero(~(np.isfinite(talk) & (talk >= 0)))
  if len(bad):
    raise ValueError(
      f'communication_time of client {bad[0]} is {talk[bad[0]]}; must be at '
      'least 0 and finite.'
    )
  options = {name: column(name, value)[order] for name, value in empty.items()}
  return timing(compute + talk, communication=talk, seed=seed, **options)
