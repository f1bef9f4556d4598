# SPDX-License-Identifier: Apache-2.0
"""Turns a configuration and a run function into a command.

Exit codes: 0, metrics are on disk; 2, a flag, a configuration or a file is
wrong, said in one line before anything was written, or the disk takes no more,
also in the middle of a run; 130 and 143, stopped by SIGINT and SIGTERM, after
saving if rounds were on; 1, a defect, with a traceback.
"""

import collections
import contextlib
import importlib.util
import logging as std_logging
import os
import pathlib
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from absl import app, flags, logging

from jaxdl.core import checks, extras
from jaxdl.experiment import (
  _checkpoint,
  _flags,
  _launch,
  _progress,
  _renamed,
  _sinks,
  _workdir,
  config as config_lib,
)

# Of the words of a library, which may go on for pages.
_MAX_REASON = 160
# Until then a configuration is checked without a word.
_PATIENCE_S = 2.0
_HELP = ('help', 'helpshort', 'h', '?')
_MORE_HELP = ('helpfull', 'helpxml')


class Recorded(NamedTuple):
  """What `record` leaves.

  Attributes:
    result: what the run function returned; None on processes but the first
      where it is not complete.
    workdir: the directory with all files.
    plots: the pictures that were drawn.
  """

  result: Any
  workdir: pathlib.Path
  plots: list[pathlib.Path]


def main(
  config_class: type[config_lib.BaseConfig],
  run: Callable[..., Any],
  argv: Sequence[str] | None = None,
) -> None:
  """Runs an experiment as a command; does not return.

  Defines one flag per knob, parses them, runs, draws the plots, prints the
  table and where everything is.

  Args:
    config_class: the configuration; the docstring of its module is the text
      of `--help`.
    run: `run(config, *, sinks, store) -> Result`.
    argv: the command line, `sys.argv` by default.
  """
  argv = list(sys.argv if argv is None else argv)
  name = _name(config_class, argv[0])

  def parse(args):
    return _parse(config_class, args, name)

  def body(rest):
    code = _body(config_class, run, name, rest[1:])
    # Processes that belong together take leave of each other.
    if code > 128 and not flags.FLAGS['process'].value:
      leave(code)
    return code

  app.run(body, argv, flags_parser=parse)


def record(
  config: config_lib.BaseConfig,
  run: Callable[..., Any],
  *,
  name: str,
) -> Recorded:
  """Runs an experiment into its workdir, as `main` does, and draws its plots.

  Args:
    config: the configuration; `workdir` defaults to runs/<name>.
    run: `run(config, *, sinks, store) -> Result`.
    name: what the experiment is called.

  Returns:
    The result and where it is.

  Raises:
    ValueError: if the workdir belongs to another run.
  """
  place = _Place(config, name)
  result = run(config, sinks=place.sinks, store=place.store)
  drawn = _finish(place, result) if place.first else []
  return Recorded(result, place.path, drawn)


class _Place:
  """The workdir of a run with its sinks and store, none opened yet."""

  def __init__(self, config, name, progress=None):
    import jax

    if progress is None:
      progress = _progress.progress_sink(name, show=jax.process_index() == 0)
    progress.stage('preparing')

    self.config = config
    self.name = name
    self.path = pathlib.Path(config.workdir or pathlib.Path('runs', name))
    self.first = jax.process_index() == 0
    self.sinks = []
    workdir, problem = None, None
    if self.first:
      try:
        workdir = _workdir.Workdir(self.path, name, config)
        self.sinks = [*self._sinks(), progress]
      except (ValueError, OSError) as error:
        problem = error
    # The others must not wait for a process that has given up.
    (failed,) = _launch.any_process(problem is not None)
    if problem is not None:
      raise problem
    if failed:
      raise ValueError('process 0 cannot use its workdir.')
    seconds = config.checkpoint_seconds
    often = f'every {seconds:g} s' if seconds else 'after every round'
    progress.note = f'the state is saved {often}'
    self.progress = progress
    self.store = _checkpoint.Store(
      self.path,
      seconds=config.checkpoint_seconds,
      keep=config.keep_checkpoints,
      workdir=workdir,
    )

  @property
  def metrics(self) -> pathlib.Path:
    """The file that everything else is drawn from."""
    return self.path / 'metrics.jsonl'

  def _sinks(self):
    found = [_sinks.Jsonl(self.metrics)]
    if 'tensorboard' in self.config.outputs:
      if importlib.util.find_spec('tensorboardX') is None:
        raise ValueError(extras.missing('tensorboardX', 'outputs=tensorboard'))
      found.append(_sinks.TensorBoard(self.path / 'tensorboard'))
    return found


def _name(config_class, script: str) -> str:
  module = config_class.__module__
  if module == '__main__':
    return pathlib.Path(script).stem or 'experiment'
  return module.rpartition('.')[2]


def _parse(config_class, args, name) -> list[str]:
  """Defines and parses the flags; the parser given to absl."""
  _flags.define_flags(config_class, flags.FLAGS)
  asked = {
    arg.lstrip('-').partition('=')[0] for arg in args[1:] if arg.startswith('-')
  }
  if asked.intersection(_HELP):
    module = sys.modules.get(config_class.__module__)
    title = getattr(module, '__doc__', None) or name
    with printing():
      print(_flags.help_text(config_class, title))
    sys.exit(0)
  try:
    _flags.check_values(args[1:], flags.FLAGS)
    rest = flags.FLAGS(args)
  except (flags.Error, OSError, ValueError) as error:
    # What was not known is kept as it was written.
    _, _, value = getattr(error, 'flagvalue', '').partition('=')
    old = _renamed.remedy(
      getattr(error, 'flagname', ''),
      value,
      known=set(flags.FLAGS),
      near='Did you mean' not in str(error),
    )
    _refuse(name, old or f'{_sentence(error)} (--help lists the flags)')
    sys.exit(2)
  except SystemExit:
    if asked.intersection(_MORE_HELP):
      sys.exit(0)
    raise
  if len(rest) > 1:
    _refuse(name, f'{rest[1]!r} is no flag: write --name=value.')
    sys.exit(2)
  return [*rest, *_flags.on_command_line(config_class, args[1:])]


def _body(config_class, run, name, given=()) -> int:
  """Runs; returns the exit code. `given`: knobs set on the command line."""
  with plain_log(), _launch.deferred_signals(True) as signals:
    signals.finishing = False
    return _guarded(config_class, run, name, given, signals)


def _guarded(config_class, run, name, given, signals) -> int:
  place, progress = None, None
  try:
    # Before anything can touch a device.
    _launch.emulate_devices(flags.FLAGS['devices'].value)
    progress = _progress.progress_sink(
      name, show=not flags.FLAGS['process'].value.partition('/')[0].strip('0')
    )
    signals.say = lambda text: _refuse(name, text)
    signals.leave = progress.leave
    with _after(_PATIENCE_S, lambda: progress.stage('preparing')):
      config = _flags.from_flags(
        config_class, flags.FLAGS, given=given, workdir=f'runs/{name}'
      )
    _launch.check_prng()
    _launch.connect(*config_lib.parse_process(config.process))
    signals.arm()
    _launch.check_devices(config.devices)
    place = _Place(config, name, progress)
    result = run(config, sinks=place.sinks, store=place.store)
    if place.first:
      drawn = _finish(place, result)
      signals.check()
      with printing():
        _report(place, result, drawn)
    return 0
  except KeyboardInterrupt as error:
    return _stopped(error, name, place, signals)
  except Exception as error:
    # What was raised in a callback of compiled code comes back as an error.
    if signals.stopping:
      return _stopped(error, name, place, signals)
    if not _is_refusal(error, config_class, place):
      raise
    logging.debug('%s', traceback.format_exc())
    if progress is not None:
      progress.leave()
    text = config_lib.as_flags(config_class, _sentence(error))
    _refuse(name, text + _way_out(error, place))
    return 2
  finally:
    if progress is not None:
      progress.leave()


@contextlib.contextmanager
def _after(seconds: float, call: Callable[[], Any]) -> Iterator[None]:
  """Calls something if what is inside takes longer."""
  timer = threading.Timer(seconds, call)
  timer.daemon = True
  timer.start()
  try:
    yield
  finally:
    timer.cancel()
    timer.join()


def _stopped(error, name, place, signals) -> int:
  """Says how a run ended at a signal; returns the exit code."""
  signals.settle()
  with contextlib.suppress(OSError, ValueError):
    sys.stdout.flush()
  if isinstance(error, _launch.Interrupted):
    _refuse(name, f'{error}; the same command goes on from there.')
    return 128 + error.signum
  what = 'nothing had run yet'
  if place is not None and place.store.running:
    what = 'nothing was saved yet, the same command starts over'
    if place.store.saved:
      what = 'the last checkpoint stands'
  _refuse(name, f'stopped at once; {what}.')
  return 128 + (signals.stopping or signal.SIGINT)


def leave(code: int) -> None:
  """Ends the process although compiled code is still running.

  The interpreter would take down what that code works with.

  Args:
    code: the exit code.
  """
  for stream in (sys.stdout, sys.stderr):
    with contextlib.suppress(OSError, ValueError):
      stream.flush()
  os._exit(code)


def _way_out(error, place) -> str:
  """What to do about a disk that takes no more."""
  if not isinstance(error, _workdir.WriteError):
    return ''
  if error.no_place and (place is None or not place.store.running):
    return ' Choose another --workdir.'
  what = {True: 'Make room, then', False: 'Mend that, then'}[error.no_room]
  if place is None or not place.store.running:
    return f' {what} give the same command.'
  return f' {what} give the same command: it goes on from the last checkpoint.'


@contextlib.contextmanager
def printing() -> Iterator[None]:
  """Prints for as long as somebody reads; `head` goes when it has enough."""
  try:
    yield
    print(end='', flush=True)
  except BrokenPipeError:
    # The interpreter will flush what is left.
    with open(os.devnull, 'w') as nowhere:
      os.dup2(nowhere.fileno(), sys.stdout.fileno())


@contextlib.contextmanager
def stopping_at_once(name: str) -> Iterator[_launch.Signals]:
  """Has SIGINT and SIGTERM raise KeyboardInterrupt, said and not dropped.

  Args:
    name: what the command is called.

  Yields:
    The signals: `check()` raises again what was dropped, `settle()` comes
    before the last word, and `stopping` is the signal.
  """
  with _launch.deferred_signals(True) as signals:
    signals.finishing = False
    signals.say = lambda text: _refuse(name, text)
    yield signals


@contextlib.contextmanager
def plain_log() -> Iterator[None]:
  """Logs without place and time, and without the small talk of libraries."""
  handler = logging.get_absl_handler()
  before = handler.formatter
  handler.setFormatter(_Plain())
  handler.addFilter(_quiet)
  try:
    yield
  finally:
    handler.setFormatter(before)
    handler.removeFilter(_quiet)


class _Plain(std_logging.Formatter):
  """The message, after its level where that is worth a word."""

  def format(self, record):
    text = super().format(record)
    if record.levelno <= std_logging.INFO:
      return text
    return f'{record.levelname.lower()}: {text}'


def _finish(place: _Place, result: Any) -> list[pathlib.Path]:
  """Writes the table and draws the plots, from the file alone."""
  rows = _sinks.read_rows(place.metrics)
  if 'csv' in place.config.outputs:
    _sinks.write_csv(rows, place.path / 'metrics.csv')
  with _workdir.writing(place.path / 'plots'):
    return _draw(place, result, rows)


def _draw(place, result, rows) -> list[pathlib.Path]:
  experiment = getattr(result, 'experiment', None)
  if experiment is None or not experiment.plots:
    return []
  if 'plots' not in place.config.outputs:
    return []
  if importlib.util.find_spec('matplotlib') is None:
    logging.warning('%s', extras.missing('matplotlib', 'drawing plots'))
    return []
  folder = place.path / 'plots'
  folder.mkdir(exist_ok=True)
  drawn = []
  for plot in experiment.plots:
    paths = plot(rows, folder) or []
    if isinstance(paths, (str, pathlib.Path)):
      paths = [paths]
    drawn.extend(pathlib.Path(path) for path in paths)
  return drawn


def _report(place: _Place, result: Any, drawn: list[pathlib.Path]) -> None:
  rows = _sinks.read_rows(place.metrics)
  experiment = getattr(result, 'experiment', None)
  _progress.print_table(
    place.name, rows, None if experiment is None else experiment.table
  )
  lines = [('metrics', place.metrics), ('config', place.path / 'config.json')]
  if 'csv' in place.config.outputs:
    lines.append(('csv', place.path / 'metrics.csv'))
  if 'tensorboard' in place.config.outputs:
    lines.append(('events', place.path / 'tensorboard'))
  if (place.path / 'profile').exists():
    lines.append(('profile', place.path / 'profile'))
  folders = collections.Counter(path.parent for path in drawn)
  for folder, count in folders.items():
    noun = 'picture' if count == 1 else 'pictures'
    lines.append(('plots', f'{folder} ({count} {noun})'))
  lines.append(('time', str(place.progress.clock)))
  for label, where in lines:
    print(f'{label + ":":<10}{where}', flush=True)


def _refuse(name: str, message: str) -> None:
  _progress.say(f'{name}: {message}')


def _sentence(error: BaseException) -> str:
  if isinstance(error, FileNotFoundError) and error.filename:
    return f'{error.filename} does not exist.'
  if isinstance(error, OSError) and error.filename and error.strerror:
    return f'{error.filename} cannot be used: {error.strerror}.'
  text = ' '.join(str(error).split())
  if _is_memory(error):
    reason = text[:_MAX_REASON].strip('. ')
    return f'memory is too small ({reason}): take smaller sizes.'
  return text


def _is_refusal(error, config_class, place) -> bool:
  """Whether an error tells the user what to change, and not of a defect.

  It does if no round has run and the toolkit or the binary raised it on
  purpose, rather than a library underneath, or memory is too small; or if the
  disk takes no more, or it is a `checks.Refusal`.
  """
  if isinstance(error, _workdir.WriteError | checks.Refusal):
    return True
  if place is not None and place.store.running:
    return False
  if _is_memory(error):
    return True
  if isinstance(error, TypeError):
    return checks.raised_on_purpose(error)
  if not isinstance(error, (ValueError, ImportError, OSError)):
    return False
  if isinstance(error, FileNotFoundError):
    return True
  if isinstance(error, OSError):
    return place is None
  frames = list(traceback.walk_tb(error.__traceback__))
  module = frames[-1][0].f_globals.get('__name__', '')
  return module.startswith('jaxdl.') or module == config_class.__module__


def _is_memory(error: BaseException) -> bool:
  """Whether NumPy or a device found no room for an array."""
  return isinstance(error, MemoryError) or (
    isinstance(error, RuntimeError) and 'RESOURCE_EXHAUSTED' in str(error)
  )


def _quiet(record: std_logging.LogRecord) -> bool:
  """Drops the small talk of libraries that log through absl."""
  if 'xla_bridge' in record.pathname:
    return record.levelno >= std_logging.WARNING
  # What fails there is raised as well, and said in one sentence.
  storage = any(p in record.pathname for p in ('orbax', 'tensorstore'))
  return not storage or record.levelno > std_logging.ERROR
