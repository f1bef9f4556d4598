# SPDX-License-Identifier: Apache-2.0
"""Which numbers a scheme should have: a grid search on probed delays."""

from collections.abc import Sequence

import chex
import numpy as np

from jaxdl.coding import _delays, _schemes, _simulation
from jaxdl.core import checks, registry

Scheme = _schemes.Scheme


def candidates(
  spec: str,
  num_workers: int,
  *,
  max_delay: int = 3,
  max_stragglers: int | None = None,
) -> list[Scheme]:
  """Lists the schemes that a spec leaves open.

  Args:
    spec: a part of `SCHEMES`; numbers that it does not say are searched for:
      'm_sgc', 'm_sgc(1, 2)', 'gc(4)'.
    num_workers: n.
    max_delay: T at most, >= 0; M models that take turns need T <= M - 1.
    max_stragglers: largest s or λ; half of the workers by default.

  Returns:
    At least one scheme.

  Raises:
    ValueError: if the spec is wrong or nothing fits.

  Example:
    >>> [s.text for s in candidates('gc', 4)]
    ['gc(0)', 'gc(1)', 'gc(2)']
    >>> len(candidates('m_sgc', 64)), len(candidates('m_sgc(2, 3, 11)', 64))
    (132, 1)

  Source: Krishnan et al. 2023 (https://arxiv.org/abs/2211.13802), selection of
  parameters; the authors' grid has W - 1 + B <= 4.
  """
  n = checks.integer(num_workers, name='num_workers', low=1)
  longest = checks.integer(max_delay, name='max_delay', low=0)
  most = n // 2
  if max_stragglers is not None:
    most = checks.integer(max_stragglers, name='max_stragglers', low=0, high=n)
  part = _schemes.SCHEMES.part(spec, name='scheme')
  known = _schemes.SCHEMES.options(part.name)
  said = {k: v for k, v in part.options.items() if v is not None}
  free = [k for k, p in known.items() if p.default is None and k not in said]
  if not free:
    return [_delayed(_schemes.make_scheme(spec, n), longest)]
  kept = {k: v for k, v in said.items() if known[k].default is not None}
  # Numbers that are said are not limited.
  lams = [said['num_stragglers']] if 'num_stragglers' in said else None
  lams = list(range(min(most, n) + 1)) if lams is None else lams
  grid = [{'num_stragglers': lam} for lam in lams]
  if 'burst_length' in known:
    bursts = [said['burst_length']] if 'burst_length' in said else None
    grid = [
      {'burst_length': b, 'window': w, **rest}
      for b in bursts or range(1, longest + 1)
      for w in _windows(part.name, b, said.get('window'), longest)
      for rest in grid
    ]
  found = []
  for numbers in grid:
    if _fits(part.name, n, kept | numbers):
      text = registry.write(part.name, **numbers, **kept)
      scheme = _schemes.make_scheme(text, n)
      if scheme.delay <= longest:
        found.append(scheme)
  if not found:
    raise ValueError(
      f'scheme={spec!r} has no choice of {", ".join(free)} with at most '
      f'max_delay={longest} rounds of delay among {n} workers.'
    )
  return found


def _windows(name, burst_length, said, longest):
  if said is not None:
    return [said]
  if name == 'sr_sgc':
    return [x * burst_length + 1 for x in (1, 2, 3)]
  return range(burst_length + 1, longest + 3 - burst_length)


def _fits(name, n, numbers):
  """Whether numbers of the grid belong together; others raise their error."""
  s = numbers['num_stragglers']
  if name in ('gc', 'gc_rep') and s >= n:
    return False
  if name == 'sr_sgc':
    b, w = numbers['burst_length'], numbers['window']
    if b < 1 or (w - 1) % b or w <= b:
      return False
    s = -(-b * s // (w - 1 + b))
  if name == 'm_sgc' and numbers['window'] <= numbers['burst_length']:
    return False
  coded = name != 'm_sgc' or s < n
  repetition = name == 'gc_rep' or numbers.get('code') == 'repetition'
  return not (repetition and coded and n % (s + 1))


def _delayed(scheme, longest):
  if scheme.delay > longest:
    raise ValueError(
      f'scheme={scheme.text!r} has delay T={scheme.delay}, more than '
      f'max_delay={longest}.'
    )
  return scheme


def estimated_times(
  schemes: Sequence[Scheme],
  delays: chex.Array,
  num_jobs: int,
  **options,
) -> np.ndarray:
  """Estimates how long many jobs will take from a few probed rounds.

  Args:
    schemes: of n workers each.
    delays: float[n, P] of P uncoded rounds; P > T.
    num_jobs: J >= 1, also more than P.
    **options: `mu`, `load_slope`, `probe_load`, `wait_policy` of `simulate`.

  Returns:
    float64 of the length of `schemes`, seconds: the mean round of the probe
    times J, or J + T where the last jobs take rounds of their own.

  Raises:
    ValueError: if shapes or numbers are wrong.
  """
  jobs = checks.integer(num_jobs, name='num_jobs', low=1)
  if not schemes:
    raise ValueError('schemes is empty: name at least one.')
  longest = max(s.delay for s in schemes)
  found = _delays.check_delays(delays, schemes[0].num_workers, longest + 1)
  totals = _simulation.probe_times(schemes, found, **options)
  delay = np.array([s.delay for s in schemes])
  # SR-SGC needs its last rounds only where something is repeated.
  more = np.where([s.name == 'm_sgc' for s in schemes], delay, 0)
  return totals / (found.shape[1] - delay + more) * (jobs + more)


def select(
  schemes: Sequence[Scheme],
  delays: chex.Array,
  num_jobs: int,
  **options,
) -> Scheme:
  """Picks the scheme that would have been fastest in probed rounds.

  Args:
    schemes: of n workers each, as `candidates` lists them.
    delays: float[n, P] of P uncoded rounds.
    num_jobs: J, how many there will be.
    **options: `mu`, `load_slope`, `probe_load`, `wait_policy` of `simulate`.

  Returns:
    One of them; of equals the first.

  Raises:
    ValueError: if there is none, or shapes or numbers are wrong.

  Cost: some tenths of a second for all candidates of 64 workers.

  Example:
    >>> rng = np.random.default_rng(0)
    >>> delays = _delays.gilbert_elliott_delays(rng, 16, 40)
    >>> select(candidates('gc', 16), delays, 100, load_slope=1.0).text
    'gc(2)'

  Source: Krishnan et al. 2023 (https://arxiv.org/abs/2211.13802), selection of
  parameters.
  """
  if not schemes:
    raise ValueError('schemes is empty: name at least one.')
  if len(schemes) == 1:
    return schemes[0]
  times = estimated_times(schemes, delays, num_jobs, **options)
  return schemes[int(np.argmin(times))]


def fit_load_slope(loads: chex.Array, times: chex.Array) -> tuple[float, float]:
  """Fits how the time of a worker grows with its load.

  Args:
    loads: float[K], shares of the data, not all equal.
    times: float[K], mean seconds at each.

  Returns:
    Seconds per unit of load, and seconds at no load.

  Raises:
    ValueError: if shapes are wrong or loads do not differ.

  Example:
    >>> slope, base = fit_load_slope([0.0, 0.5, 1.0], [1.0, 2.1, 3.2])
    >>> round(slope, 9), round(base, 9)
    (2.2, 1.0)
  """
  loads = checks.host_array(loads, name='loads').astype(np.float64)
  times = checks.host_array(times, name='times').astype(np.float64)
  if loads.ndim != 1 or times.shape != loads.shape:
    raise ValueError(
      f'times must be float[K] as loads; got shapes {times.shape} and '
      f'{loads.shape}.'
    )
  if not loads.size or loads.min() == loads.max():
    raise ValueError('loads must hold at least two that differ.')
  slope, base = np.polyfit(loads, times, 1)
  return float(slope), float(base)
