# SPDX-License-Identifier: Apache-2.0
"""Sequential gradient coding with loops over workers, rounds and tasks."""

import math


def is_bursty(history, burst_length, window, num_stragglers):
  """Whether the window that ends now is bursty; history: list of sets."""
  recent = history[-window:]
  if len(set().union(*recent)) > num_stragglers:
    return False
  for worker in set().union(*recent):
    rounds = [r for r, late in enumerate(recent) if worker in late]
    if rounds[-1] - rounds[0] >= burst_length:
      return False
  return True


def is_arbitrary(history, max_rounds, window, num_stragglers):
  """Whether the window that ends now is arbitrary."""
  recent = history[-window:]
  workers = set().union(*recent)
  times = [sum(w in late for late in recent) for w in workers]
  return len(workers) <= num_stragglers and max(times, default=0) <= max_rounds


def all_windows(pattern, check):
  """Whether a check of the newest window holds after every round."""
  history = [{i for i, x in enumerate(row) if x} for row in pattern]
  return all(check(history[: r + 1]) for r in range(len(history)))


class Run:
  """One run, followed task by task.

  Attributes:
    durations: seconds of each round.
    waited: whether each round's deadline was put off.
    late: sets of workers.
    done: round of each job, or None.
  """

  def __init__(self, kind, n, b=1, w=1, lam=0, s=0, model='bursty'):
    self.kind, self.n, self.b, self.w, self.lam = kind, n, b, w, lam
    self.s = lam if kind in ('gc', 'gc_rep') else s
    if kind == 'sr_sgc':
      self.s = math.ceil(b * lam / (w - 1 + b))
    self.delay = {'sr_sgc': b, 'm_sgc': w - 2 + b}.get(kind, 0)
    self.model = model
    self.durations, self.waited, self.late, self.done = [], [], [], []
    self.counted = []  # Late workers as the model sees them.
    self.results = {}  # SR-SGC: workers whose result of a job has come.
    self.plain = {}  # M-SGC: (job, worker) -> chunks that have come.
    self.coded = {}  # M-SGC: (job, group) -> workers.

  def load(self):
    n, b, w, lam = self.n, self.b, self.w, self.lam
    if self.kind in ('uncoded', 'no_wait'):
      return 1 / n
    if self.kind != 'm_sgc':
      return (self.s + 1) / n
    if lam == n:
      return (w - 1 + b) / (n * (w - 1))
    return (lam + 1) * (w - 1 + b) / (n * (b + (w - 1) * (lam + 1)))

  def repeats(self, r):
    """Workers that repeat a job of SR-SGC in a round."""
    if self.kind != 'sr_sgc' or r < self.b:
      return []
    missing = [i for i in range(self.n) if i not in self.results[r - self.b]]
    return missing[: max(len(missing) - self.s, 0)]

  def conforms(self, late, busy):
    """Whether a round may end without some workers."""
    if self.kind == 'no_wait':
      return True
    if self.kind == 'gc_rep':
      size = self.s + 1
      groups = [set(range(k, k + size)) for k in range(0, self.n, size)]
      return not any(group <= late for group in groups)
    if self.kind in ('uncoded', 'gc'):
      return len(late) <= self.s
    if self.kind == 'sr_sgc' and not busy and len(late) <= self.s:
      return True
    history = [*self.counted, late]
    if self.model == 'arbitrary':
      return is_arbitrary(history, self.b, self.w + self.b - 1, self.lam)
    return is_bursty(history, self.b, self.w, self.lam)

  def run(self, delays, jobs, *, mu=1.0, slope=0.0, policy='all'):
    for r in range(jobs + self.delay):
      busy = self.repeats(r)
      times = {
        i: delays[i][r] + slope * self.load()
        for i in range(self.n)
        if self.kind != 'sr_sgc' or r < jobs or i in busy
      }
      self.round(r, times, busy, jobs, mu, policy)
    self.finish(jobs)
    return self

  def round(self, r, times, busy, jobs, mu, policy):
    late, waited, length = set(), False, 0.0
    if times:
      deadline = (1 + mu) * min(times.values())
      late = {i for i, t in times.items() if t > deadline}
      length = min(deadline, max(times.values()))
      while not self.conforms(late, busy):
        waited = True
        if policy == 'all':
          late, length = set(), max(times.values())
          break
        first = min(late, key=times.get)
        late, length = late - {first}, times[first]
    self.durations.append(length)
    self.waited.append(waited)
    self.late.append(late)
    light = self.kind == 'sr_sgc' and not busy and len(late) <= self.s
    self.counted.append(set() if light else late)
    self.deliver(r, late, busy, jobs)

  def deliver(self, r, late, busy, jobs):
    if self.kind == 'm_sgc':
      for worker in set(range(self.n)) - late:
        for slot in range(self.w - 1 + self.b):
          job = r - slot
          if 0 <= job < jobs:
            self.task(job, worker, slot)
      return
    if r < jobs:
      self.results[r] = set(range(self.n)) - late - set(busy)
    if busy:
      self.results[r - self.b] |= set(busy) - late

  def task(self, job, worker, slot):
    """A mini-task of M-SGC that is returned in time."""
    have = self.plain.setdefault((job, worker), set())
    if slot < self.w - 1:
      have.add(slot)
      return
    missing = [q for q in range(self.w - 1) if q not in have]
    if missing:
      have.add(missing[0])
    elif self.lam < self.n:
      group = (job, slot - self.w + 1)
      self.coded.setdefault(group, set()).add(worker)

  def finish(self, jobs):
    """Whether each job can be decoded in the end."""
    for job in range(jobs):
      if self.kind == 'm_sgc':
        whole = all(
          len(self.plain.get((job, i), ())) == self.w - 1 for i in range(self.n)
        )
        groups = self.lam == self.n or all(
          len(self.coded.get((job, m), ())) >= self.n - self.lam
          for m in range(self.b)
        )
        self.done.append(whole and groups)
      elif self.kind == 'gc_rep':
        size = self.s + 1
        self.done.append(
          len({i // size for i in self.results[job]}) == self.n // size
        )
      else:
        few = self.n if self.kind == 'no_wait' else self.s
        self.done.append(len(self.results[job]) >= self.n - few)
