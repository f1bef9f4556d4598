# SPDX-License-Identifier: Apache-2.0
"""What happens to the process around a run: devices, other processes, signals.

jax itself may be imported, but nothing before `emulate_devices` may have used a
device.
"""

import contextlib
import os
import re
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np

_COUNT = '--xla_force_host_platform_device_count'


class Interrupted(KeyboardInterrupt):
  """A run stopped early, at a signal, after saving its state.

  Attributes:
    signum: the signal.
    round: the last round that was finished and saved.
  """

  def __init__(self, signum: int, round: int) -> None:
    super().__init__(
      f'stopped by {signal.Signals(signum).name} after round {round}'
    )
    self.signum = signum
    self.round = round


class Stopped(KeyboardInterrupt):
  """A run stopped at once, at a signal.

  Attributes:
    signum: the signal.
  """

  def __init__(self, signum: int) -> None:
    super().__init__(f'stopped at once by {signal.Signals(signum).name}')
    self.signum = signum


class Signals:
  """Answers SIGINT and SIGTERM, also while compiled code keeps Python out.

  While a round may be finished the first signal is remembered in `received`;
  any other raises `Stopped`. Python drops what is raised inside a finalizer or
  a callback of C code, so it is raised again there, and by `check`. A thread
  says so at once, and ends the process if the main thread does not come back to
  Python soon.

  Attributes:
    received: the signal after which the run is to end, or 0.
    stopping: the signal for which `Stopped` was raised, or 0.
    finishing: whether there is a round that may be finished.
    say: `say(text)` shows an answer.
    leave: called before the process ends without the main thread.
  """

  def __init__(self) -> None:
    self.received = 0
    self.stopping = 0
    self.finishing = True
    self.say: Callable[[str], Any] = lambda text: None
    self.leave: Callable[[], Any] = lambda: None
    self._stopped = threading.Event()
    self._told = self._asked = False
    self._handled = self._answered = self._echoes = 0
    self._over = False

  def arm(self) -> dict[int, Any]:
    """Sets the handlers, also over those that a library put in between.

    Returns:
      The handlers that were there.
    """
    # None stands for a handler that was not set from Python: the default.
    return {
      s: signal.signal(s, self._handle) or signal.SIG_DFL for s in _SIGNALS
    }

  def check(self) -> None:
    """Raises `Stopped` again if it was raised and the run still goes on."""
    if self.stopping:
      self._stopped.set()
      raise Stopped(self.stopping)

  def settle(self) -> None:
    """Heeds no more signals, and waits until those before are answered."""
    self._over = True
    end = time.monotonic() + _GRACE_S
    while self._answered < self._handled and time.monotonic() < end:
      time.sleep(0.005)

  def _handle(self, signum: int, frame: Any) -> None:
    del frame
    if self._over:
      return
    self._handled += 1
    if self.finishing and not self.received and not self.stopping:
      self.received = signum
      return
    self.stopping = signum
    self._stopped.set()
    raise Stopped(signum)

  def _dropped(self, unraisable: Any, hook: Callable[[Any], Any]) -> None:
    """Takes the place of `hook`, which prints what Python cannot raise."""
    if not self.stopping or not isinstance(unraisable.exc_value, Stopped):
      hook(unraisable)
      return
    self._stopped.clear()
    # Not by the thread that waits for the main one.
    with contextlib.suppress(RuntimeError):
      threading.Thread(target=self._raise_again, daemon=True).start()

  def _watch(self, pipe: int) -> None:
    """Reads the number of every signal that comes; the body of the thread."""
    while numbers := os.read(pipe, 64):
      for signum in numbers:
        if signum == self.stopping and self._echoes:
          self._echoes -= 1
          self._answered += 1
        elif signum in _SIGNALS:
          self._answer(signum)

  def _raise_again(self) -> None:
    time.sleep(_AGAIN_S)  # The callback may be over by then.
    if self._stopped.is_set() or self._over:  # By `check`.
      return
    self._echoes += 1
    signal.pthread_kill(threading.main_thread().ident, self.stopping)
    if not self._stopped.wait(_GRACE_S):
      self._end(self.stopping)

  def _answer(self, signum: int) -> None:
    # The main thread may have answered to the next one by now.
    finishes = self.received or (self.finishing and not self.stopping)
    if finishes and not self._told:
      self._told = True
      self.say('stopping after this round; once more stops now.')
      self._answered += 1
      return
    if not self._asked:
      self._asked = True
      self.say('stopping now ...')
      self._answered += 1
      if self._stopped.wait(_GRACE_S):
        return
    self._end(signum)

  def _end(self, signum: int) -> None:
    with contextlib.suppress(Exception):
      self.leave()
    os._exit(128 + signum)


# Beyond, sums over emulated devices run into the time limits of XLA.
_DEVICES_PER_CORE = 32
_HAS_AFFINITY = hasattr(os, 'sched_getaffinity')
_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_GRACE_S = 1.0
_AGAIN_S = 0.01
_active: Signals | None = None


@contextlib.contextmanager
def deferred_signals(enabled: bool) -> Iterator[Signals]:
  """Turns SIGINT and SIGTERM into a flag while a run is on.

  Args:
    enabled: False leaves signals alone, as does a thread other than the main.

  Yields:
    The flag; that of the surrounding `deferred_signals` if there is one.
  """
  global _active
  here = threading.current_thread() is threading.main_thread()
  if not enabled or not here or _active is not None:
    yield _active if enabled and here and _active else Signals()
    return
  flag = _active = Signals()
  reader, writer = os.pipe()
  os.set_blocking(writer, False)
  # The number is written at once, while handlers wait for the interpreter.
  old_pipe = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
  hook = sys.unraisablehook
  quiet = lambda unraisable: flag._dropped(unraisable, hook)
  sys.unraisablehook = quiet
  handlers = flag.arm()
  thread = threading.Thread(target=flag._watch, args=(reader,), daemon=True)
  thread.start()
  try:
    yield flag
  finally:
    for signum, handler in handlers.items():
      signal.signal(signum, handler)
    signal.set_wakeup_fd(old_pipe)
    if sys.unraisablehook is quiet:
      sys.unraisablehook = hook
    _active = None
    os.close(writer)
    thread.join(timeout=2 * _GRACE_S)
    os.close(reader)


def emulate_devices(count: int) -> None:
  """Asks for `count` CPU devices, before jax starts.

  Args:
    count: devices; 0 leaves everything as it is.

  Raises:
    ValueError: if there are too many for the processors of this machine.
  """
  if not count:
    return
  cores = len(os.sched_getaffinity(0)) if _HAS_AFFINITY else os.cpu_count() or 1
  most = _DEVICES_PER_CORE * cores
  if count > most:
    raise ValueError(
      f'devices={count} is too many to emulate on {cores} processor'
      f'{"" if cores == 1 else "s"}, where they wait for each other: take at '
      f'most {most}, or leave --devices out for what is there.'
    )
  old = os.environ.get('XLA_FLAGS', '')
  rest = re.sub(rf'{_COUNT}=\S*', '', old).split()
  os.environ['XLA_FLAGS'] = ' '.join([*rest, f'{_COUNT}={count}'])


def check_devices(count: int) -> None:
  """Raises ValueError unless `emulate_devices(count)` had its effect."""
  if not count:
    return
  if jax.default_backend() != 'cpu':
    raise ValueError(
      f'devices={count} emulates CPU devices but this is a '
      f'{jax.default_backend()} run: set JAX_PLATFORMS=cpu or drop --devices.'
    )
  if jax.local_device_count() != count:
    raise ValueError(
      f'devices={count} came too late, jax runs on '
      f'{jax.local_device_count()} already: set '
      f"XLA_FLAGS='{_COUNT}={count}' instead."
    )


def connect(coordinator: str, num_processes: int, process_id: int) -> None:
  """Joins the other processes of a multi-process run.

  Args:
    coordinator: host:port of process 0; empty for a run of one process.
    num_processes: how many there are.
    process_id: which one this is.

  Raises:
    ValueError: if the others cannot be reached.
  """
  if not coordinator:
    return
  try:
    jax.distributed.initialize(
      coordinator, num_processes=num_processes, process_id=process_id
    )
  except RuntimeError as error:
    raise ValueError(
      f'coordinator={coordinator} cannot be joined: {error}'
    ) from error


def check_prng() -> None:
  """Raises ValueError unless keys are threefry keys.

  `rbg` keys draw, under vmap, for the whole batch from the first key only, so
  clients would not be independent of each other.
  """
  impl = jax.config.jax_default_prng_impl
  if impl != 'threefry2x32':
    raise ValueError(
      f'jax_default_prng_impl={impl!r} draws wrong numbers under vmap: set it '
      "to 'threefry2x32'."
    )


def from_first(array: Any) -> Any:
  """Returns the first process's value on every process.

  Args:
    array: a NumPy array of integers; the same shape everywhere.

  Returns:
    The array of process 0.
  """
  if jax.process_count() == 1:
    return array
  from jax.experimental import multihost_utils

  return np.asarray(multihost_utils.broadcast_one_to_all(array))


def any_process(*flags: bool | int) -> tuple[int, ...]:
  """Returns the largest value of each flag over the processes."""
  if jax.process_count() == 1:
    return tuple(int(f) for f in flags)
  from jax.experimental import multihost_utils

  own = np.array(flags, np.int32)
  everyone = multihost_utils.process_allgather(own)
  return tuple(int(f) for f in np.max(everyone, axis=0))
