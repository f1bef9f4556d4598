# SPDX-License-Identifier: Apache-2.0
"""Sequential gradient coding as a plain loop over rounds and workers.

What `jaxdl.coding` is timed against: the deadline, the patterns of late workers
and, for M-SGC, every mini-task, one worker after the other.
"""

from collections.abc import Sequence

from jaxdl import coding


def simulate(
  scheme: coding.Scheme,
  delays: Sequence[Sequence[float]],
  num_jobs: int,
  *,
  mu: float = 1.0,
  load_slope: float = 0.0,
  deliver: bool = False,
) -> tuple[float, list[int]]:
  """Runs 'gc', 'sr_sgc' or 'm_sgc' where a master waits for all or none.

  Args:
    scheme: of n workers.
    delays: seconds, n lists of R >= J + T.
    num_jobs: J.
    mu: tolerance of the deadline.
    load_slope: seconds per unit of load.
    deliver: whether to follow results until each job can be decoded.

  Returns:
    Seconds of all rounds; the round in which each job is done.
  """
  n, s, name = scheme.num_workers, scheme.tolerance, scheme.name
  extra = load_slope * float(scheme.load)
  total, history, missing = 0.0, [], []
  results, done = {}, [-1] * num_jobs
  for r in range(num_jobs + scheme.delay):
    busy = []
    if name == 'sr_sgc' and r >= scheme.burst_length:
      lost = missing[r - scheme.burst_length]
      busy = lost[: max(len(lost) - s, 0)]
    here = [
      i for i in range(n) if name != 'sr_sgc' or r < num_jobs or i in busy
    ]
    times = {i: delays[i][r] + extra for i in here}
    late = []
    if times:
      deadline = (1 + mu) * min(times.values())
      late = [i for i, t in times.items() if t > deadline]
      length = min(deadline, max(times.values()))
      light = name == 'sr_sgc' and not busy and len(late) <= s
      if not light and not _conforms(scheme, [*history, late]):
        late, length = [], max(times.values())
      total += length
    light = name == 'sr_sgc' and not busy and len(late) <= s
    history.append([] if light else late)
    history = history[-scheme.window :]
    out = set(busy) | set(late)
    missing.append([i for i in range(n) if i in out] if r < num_jobs else [])
    if deliver:
      _deliver(scheme, r, set(late), set(busy), num_jobs, results, done)
  return total, done


def _conforms(scheme, history):
  """Whether the window that ends now is one that the scheme is made for."""
  if scheme.name in ('gc', 'uncoded'):
    return len(history[-1]) <= scheme.tolerance
  first, last = {}, {}
  for r, late in enumerate(history[-scheme.window :]):
    for i in late:
      first.setdefault(i, r)
      last[i] = r
  if len(first) > scheme.num_stragglers:
    return False
  return all(last[i] - first[i] < scheme.burst_length for i in first)


def _deliver(scheme, r, late, busy, num_jobs, results, done):
  """Hands over what workers return in a round, one after the other."""
  n = scheme.num_workers
  if scheme.name != 'm_sgc':
    for job, workers in (
      (r, [i for i in range(n) if i not in busy]),
      (r - scheme.burst_length, sorted(busy)),
    ):
      if 0 <= job < num_jobs:
        have = results.setdefault(job, set())
        have.update(i for i in workers if i not in late)
        if done[job] < 0 and len(have) >= n - scheme.tolerance:
          done[job] = r
    return
  plain = scheme.window - 1
  for i in range(n):
    if i in late:
      continue
    for slot in range(plain + scheme.burst_length):
      job = r - slot
      if not 0 <= job < num_jobs:
        continue
      have = results.setdefault((job, i), [False] * plain)
      if slot < plain:
        have[slot] = True
      elif False in have:
        have[have.index(False)] = True
      else:
        group = results.setdefault((job, 'coded', slot - plain), set())
        group.add(i)
  for job in range(max(r - scheme.delay, 0), min(r + 1, num_jobs)):
    if done[job] < 0 and all(
      all(results.get((job, i), [False])) for i in range(n)
    ):
      groups = [
        len(results.get((job, 'coded', m), ()))
        for m in range(scheme.burst_length if scheme.num_groups else 0)
      ]
      if all(count >= n - scheme.tolerance for count in groups):
        done[job] = r
