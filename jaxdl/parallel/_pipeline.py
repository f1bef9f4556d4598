# SPDX-License-Identifier: Apache-2.0
"""Work of the host in threads that hand on what they made, within bounds."""

import collections
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from jaxdl.core import checks

# A stage that does not return is left behind after so many seconds.
_GRACE_S = 1.0


class PipelineTimes(NamedTuple):
  """Where the time of a pipeline went.

  Attributes:
    items: how many the caller took.
    busy: seconds that each stage worked.
    waited: seconds that the caller waited for results.
    held: seconds that the caller kept results before it asked for the next.
  """

  items: int
  busy: tuple[float, ...]
  waited: float
  held: float

  @property
  def gain(self) -> float:
    """How many times longer it takes to do one thing after the other."""
    spent = self.waited + self.held
    if not self.items or spent <= 0:
      return 1.0
    return (sum(self.busy) + self.held) / spent


class HostPipeline:
  """Stages that work side by side, each in a thread of its own.

  A stage is a function of one item. What it made waits in one of its registers
  until the next stage, or the caller, has used it; a stage whose registers are
  all taken waits (`actors.simulate` has the same rule). So at most
  `sum(credits)` results exist at any time, whoever is slow, besides those that
  the caller keeps after it has asked for more. With one register a
  stage cannot begin while its reader works; two let both work all the time.

  The caller takes results from an iterator, in order. It gives a register back
  when it asks for the next result, so it is an actor like the others: the pace
  is `actors.predicted_period` of the chain of stages and caller.

  Stages run Python: they overlap with each other as far as they read files,
  wait, copy arrays or run compiled code.

  Attributes:
    stages: functions of one item; the first gets what the caller passes in.
    credits: registers of each stage.

  Args:
    stages: one at least.
    credits: registers of every stage, or one number for each.

  Raises:
    ValueError: if there is no stage or a number is below one.
    TypeError: if a stage is no function.

  Example:
    >>> pipeline = HostPipeline([lambda n: n * n, str], credits=2)
    >>> list(pipeline(range(4)))
    ['0', '1', '4', '9']

  Source: Yuan et al. 2021 (https://arxiv.org/abs/2110.15032), Section 4.
  """

  def __init__(
    self,
    stages: Sequence[Callable[[Any], Any]],
    credits: int | Sequence[int] = 2,
  ) -> None:
    if not isinstance(stages, Iterable) or isinstance(stages, str | type):
      raise TypeError(
        'stages must be a list of functions of one item; got '
        f'{checks.described(stages)}.'
      )
    self.stages = tuple(stages)
    if not self.stages:
      raise ValueError('stages is empty: give one function at least.')
    for stage in self.stages:
      if not callable(stage):
        raise TypeError(
          'stages must be functions of one item; got '
          f'{checks.described(stage)}.'
        )
    many = isinstance(credits, Sequence) and not isinstance(credits, str)
    numbers = tuple(credits) if many else (credits,) * len(self.stages)
    self.credits = tuple(
      checks.integer(n, name='credits', low=1) for n in numbers
    )
    if len(self.credits) != len(self.stages):
      raise ValueError(
        f'credits must be a number, or one for each of {len(self.stages)} '
        f'stages; got {numbers}.'
      )

  def __call__(self, items: Iterable[Any]) -> 'Stream':
    """Starts the stages on some items.

    Args:
      items: taken one by one, by the thread of the first stage, as credits
        allow; may be endless.

    Returns:
      An iterator over the results, in order, which is closed at its end, by
      `close`, at the end of a `with` block, or with its last reference. What a
      stage or `items` raises is raised here, as it is, after the results
      before it.
    """
    return Stream(self.stages, self.credits, iter(items))


class Stream(Iterator[Any]):
  """Results of a `HostPipeline` on its way; see there.

  Attributes:
    peak: most registers of each stage in use at once.
  """

  def __init__(self, stages, credits, items) -> None:
    self._line = line = _Line(stages, credits)
    self._since = 0.0
    self._holds = False
    for k, stage in enumerate(stages):
      # The threads hold the line alone: a forgotten stream can be collected.
      thread = threading.Thread(
        target=_work,
        args=(line, k, stage, items if k == 0 else None),
        name=f'pipeline-{k}',
        daemon=True,
      )
      line.threads.append(thread)
      thread.start()

  def __iter__(self) -> 'Stream':
    return self

  def __next__(self) -> Any:
    line, start = self._line, time.perf_counter()
    if self._holds:
      self._holds = False
      line.held += start - self._since
      line.give_back()
    result = line.take()
    self._since = time.perf_counter()
    line.waited += self._since - start
    if result is _END or isinstance(result, _Failed):
      self.close()
      if result is _END:
        raise StopIteration
      if isinstance(result.error, StopIteration):  # It would end a loop.
        raise RuntimeError('a stage raised StopIteration') from result.error
      raise result.error
    line.items += 1
    self._holds = True
    return result

  def __enter__(self) -> 'Stream':
    return self

  def __exit__(self, *error: Any) -> None:
    self.close()

  def __del__(self) -> None:
    self._line.stop()

  @property
  def peak(self) -> tuple[int, ...]:
    """Most registers of each stage in use at once."""
    return tuple(self._line.peak)

  @property
  def times(self) -> PipelineTimes:
    """Where the time went so far."""
    line = self._line
    return PipelineTimes(line.items, tuple(line.busy), line.waited, line.held)

  def close(self) -> None:
    """Stops all stages and waits for their threads; may be called again.

    A stage ends what it is doing, but is not waited for longer than a second.
    """
    self._line.stop()
    end = time.monotonic() + _GRACE_S
    for thread in self._line.threads:
      if thread is not threading.current_thread():
        thread.join(max(0.0, end - time.monotonic()))


class _Failed(NamedTuple):
  """What a stage raised, on its way to the caller."""

  error: BaseException


_END = object()


class _Line:
  """What threads share: results that wait, and free registers."""

  def __init__(self, stages, credits):
    self.change = threading.Condition()
    self.ready = [collections.deque() for _ in stages]
    self.credits = credits
    self.free = list(credits)
    self.peak = [0] * len(stages)
    self.busy = [0.0] * len(stages)
    self.items, self.waited, self.held = 0, 0.0, 0.0
    self.stopped = False
    self.threads: list[threading.Thread] = []

  def stop(self):
    """Tells all threads to end."""
    with self.change:
      self.stopped = True
      self.change.notify_all()

  def begin(self, k):
    """Takes a register and, but for the first stage, an item: (go on, item)."""
    with self.change:
      self.change.wait_for(
        lambda: self.stopped or (self.free[k] and (k == 0 or self.ready[k - 1]))
      )
      if self.stopped:
        return False, None
      self.free[k] -= 1
      self.peak[k] = max(self.peak[k], self.credits[k] - self.free[k])
      return True, self.ready[k - 1].popleft() if k else None

  def end(self, k, result, seconds):
    """Hands on a result and gives back the register that was read."""
    with self.change:
      self.busy[k] += seconds
      self.ready[k].append(result)
      if k:
        self.free[k - 1] += 1
      self.change.notify_all()

  def take(self):
    """Waits for a result of the last stage."""
    with self.change:
      self.change.wait_for(lambda: self.stopped or self.ready[-1])
      return _END if self.stopped else self.ready[-1].popleft()

  def give_back(self):
    """Frees the register of a result that the caller has used."""
    with self.change:
      self.free[-1] += 1
      self.change.notify_all()


def _work(line, k, stage, items):
  """The body of a thread."""
  while True:
    go, item = line.begin(k)
    if not go:
      return
    start = time.perf_counter()
    result = item
    if item is not _END and not isinstance(item, _Failed):
      try:
        if k == 0:
          item = next(items, _END)
        result = item if item is _END else stage(item)
      except BaseException as error:  # The caller's to handle.
        result = _Failed(error)
    last = result is _END or isinstance(result, _Failed)
    # Registers are all that exists: nothing is kept here.
    del item
    line.end(k, result, time.perf_counter() - start)
    del result
    if last:
      return
