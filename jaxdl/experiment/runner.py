# SPDX-License-Identifier: Apache-2.0
"""Runs an experiment round by round, from Python or as a command.

`run` is deterministic given the configuration, the version of jax and the kind
of device. Without sinks and store it touches no file.
"""

import collections
import contextlib
import dataclasses
import functools
import itertools
import pathlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

import chex
import jax
import numpy as np
from absl import logging

from jaxdl import parallel
from jaxdl.core import checks
from jaxdl.experiment import (
  _checkpoint,
  _flags,
  _launch,
  _main,
  _pack,
  _program,
  _progress,
  _sinks,
  _workdir,
  config as config_lib,
)

BaseConfig = config_lib.BaseConfig
knob = config_lib.knob
Interrupted = _launch.Interrupted
Jsonl = _sinks.Jsonl
Sink = _sinks.Sink
Store = _checkpoint.Store
check_place = _workdir.check_place
check_values = _flags.check_values
leave = _main.leave
main = _main.main
plain_log = _main.plain_log
printing = _main.printing
read_rows = _sinks.read_rows
record = _main.record
remedy = _workdir.remedy
stopping_at_once = _main.stopping_at_once
wrapped = _flags.wrapped

Row = dict[str, Any]
C = TypeVar('C', bound=config_lib.BaseConfig)


@dataclasses.dataclass(frozen=True)
class Experiment:
  """Everything that `run` needs to know; pure, with no files and no flags.

  Attributes:
    init: `init() -> state`, any pytree of arrays and typed keys, with all that
      is needed to resume. Arrays may be placed on several devices.
    step: `step(state, round: i32[]) -> (state, metrics)`, one round. It is
      compiled and its state donated, so nobody may keep an old state. Its
      randomness is `jax.random.fold_in(key, round)`. Large arrays that it
      closes over keep their sharding and are not copied into the program.
      With `fetch` it is `step(state, round, fed)`.
    rows: `rows(state, metrics, round: int) -> list of rows`, on the host: once
      before round 1 with round 0 and metrics None, then after each round that
      `eval_every` divides and after the last. A row is a flat dict with the
      labels split ('test' if left out), variant ('') and seed (the config's
      first), and numbers or text under any other name. `metrics` has come to
      the host.
    num_rounds: rounds of a complete run.
    plots: functions `(rows, directory) -> paths` that draw from the rows alone.
    table: `rows -> (columns, cells)` for the terminal; by default the last
      test metrics per variant, mean and standard deviation over the seeds.
    jit: False runs `step` as plain Python with an `int` round; its state may
      then also hold NumPy arrays, text and numbers, in dicts, lists and tuples
      that may grow.
    fetch: `fetch(round: int) -> fed` makes on the host what a round needs
      beside the state, NumPy arrays of the same form for every round, of files
      for instance. It depends on the round alone.
    ahead: for how many rounds `fetch` may be ahead, in a thread of its own,
      while the device works; 0 makes it wait for the round before. Results are
      the same to the bit.
  """

  init: Callable[[], chex.ArrayTree]
  step: Callable[..., tuple[chex.ArrayTree, chex.ArrayTree]]
  rows: Callable[..., list[Row]]
  num_rounds: int
  plots: tuple[Callable[[list[Row], pathlib.Path], Any], ...] = ()
  table: Callable[[list[Row]], Any] | None = None
  jit: bool = True
  fetch: Callable[[int], Any] | None = None
  ahead: int = 2


def table_by(
  *columns: str,
) -> Callable[[list[Row]], tuple[list[str], list[tuple[str, ...]]]]:
  """Makes the default table with a line per variant and value of columns.

  Args:
    *columns: names in the rows, e.g. 'resolution'; those that do not occur are
      left out.

  Returns:
    What `Experiment.table` takes.

  Example:
    >>> label = dict(step=9, split='test', variant='fno', seed=0)
    >>> rows = [label | dict(grid=n, loss=1.0 / n) for n in (32, 64)]
    >>> table_by('grid')(rows)[1]
    [('fno', '32', '9', '0.03125'), ('fno', '64', '9', '0.01562')]
  """
  return functools.partial(_progress.default_table, by=columns)


def together(
  experiments: Mapping[float, Experiment], column: str
) -> Experiment:
  """Runs experiments of one kind side by side, as one.

  Args:
    experiments: by the value of what differs; all have as many rounds.
    column: its name in the rows.

  Returns:
    An experiment whose rows are those of all, each with its value under
    `column`; it draws nothing.

  Raises:
    ValueError: if there is none, or numbers of rounds differ.

  Example:
    >>> import jax.numpy as jnp
    >>> def decay(rate):
    ...   return Experiment(
    ...     init=lambda: jnp.float32(1.0),
    ...     step=lambda x, round: (x * rate, {}),
    ...     rows=lambda x, metrics, round: [{'value': float(x)}],
    ...     num_rounds=2,
    ...   )
    >>> both = together({0.5: decay(0.5), 0.1: decay(0.1)}, 'rate')
    >>> rows = run(both, BaseConfig(eval_every=2)).rows
    >>> [(row['rate'], round(row['value'], 3)) for row in rows[-2:]]
    [(0.5, 0.25), (0.1, 0.01)]
  """
  rounds = {e.num_rounds for e in experiments.values()}
  if len(rounds) != 1:
    raise ValueError(
      'experiments must be at least one and have equal numbers of rounds; got '
      f'{sorted(rounds)}.'
    )
  names = {str(value): value for value in experiments}
  parts = {str(value): e for value, e in experiments.items()}

  fetches = {n: e.fetch for n, e in parts.items() if e.fetch is not None}

  def step(states, number, fed=None):
    done = {}
    for name, e in parts.items():
      own = (fed[name],) if name in fetches else ()
      done[name] = e.step(states[name], number, *own)
    return (
      {name: state for name, (state, _) in done.items()},
      {name: metrics for name, (_, metrics) in done.items()},
    )

  def rows(states, metrics, number):
    out = []
    for name, e in parts.items():
      seen = None if metrics is None else metrics[name]
      for row in e.rows(states[name], seen, number):
        out.append(row | {column: names[name]})
    return out

  return Experiment(
    init=lambda: {name: e.init() for name, e in parts.items()},
    step=step,
    rows=rows,
    num_rounds=rounds.pop(),
    table=table_by(column),
    jit=all(e.jit for e in parts.values()),
    fetch=(lambda number: {n: fetch(number) for n, fetch in fetches.items()})
    if fetches
    else None,
    ahead=min(e.ahead for e in parts.values()),
  )


class Result(NamedTuple):
  """What a run leaves.

  Attributes:
    state: the final state.
    rows: every row, also those of the run that was resumed.
    experiment: what was run; its plots and table are used by `main`.
    feed: where the time of fetching went, if it was done ahead.
  """

  state: chex.ArrayTree
  rows: list[Row]
  experiment: Experiment | None = None
  feed: parallel.PipelineTimes | None = None


def run(
  experiment: Experiment,
  config: BaseConfig,
  *,
  sinks: Sequence[_sinks.Sink] = (),
  store: _checkpoint.Store | None = None,
) -> Result:
  """Runs an experiment to its end, going on from the store's last checkpoint.

  Rounds are dispatched ahead of the device by a few, so that the host adds
  little to them; the host waits at evaluations and checkpoints only. A run of
  several processes takes checkpoints and heeds signals at evaluations.

  Args:
    experiment: what to run.
    config: `seeds`, `eval_every`, `profile_rounds` and `smoke` are read here.
    sinks: take the rows; used on the first process only.
    store: keeps checkpoints; with one, SIGINT and SIGTERM end the run after
      the current round.

  Returns:
    The final state and all rows.

  Raises:
    ValueError: if the experiment is malformed, or the checkpoint belongs to
      another one.
    Interrupted: after a signal, when the state has been saved.

  Example:
    >>> import jax.numpy as jnp
    >>> halving = Experiment(
    ...   init=lambda: jnp.float32(8.0),
    ...   step=lambda x, round: (x / 2, {}),
    ...   rows=lambda x, metrics, round: [{'value': float(x)}],
    ...   num_rounds=3,
    ... )
    >>> result = run(halving, BaseConfig(eval_every=3))
    >>> [row['value'] for row in result.rows]
    [8.0, 1.0]
  """
  _check(experiment, config)
  if jax.process_index():
    sinks = ()
  return _Run(experiment, config, list(sinks), store).run()


def binary(
  config_class: type[C], build: Callable[[C], Experiment]
) -> tuple[Callable[..., Result], Callable[..., None]]:
  """Makes the two functions that every experiment ends with.

  Args:
    config_class: the configuration.
    build: `build(config) -> Experiment`, pure.

  Returns:
    `run(config, *, sinks=(), store=None) -> Result`, see `runner.run`, for
    Python; and `main(argv=None)`, see `runner.main`, the command, which does
    not return:

        run, main = runner.binary(Config, build)

        if __name__ == '__main__':
          main()

  Example:
    >>> import jax.numpy as jnp
    >>> def build(config):
    ...   return Experiment(
    ...     init=lambda: jnp.float32(config.seeds[0]),
    ...     step=lambda x, round: (x + 1, {}),
    ...     rows=lambda x, metrics, round: [{'value': float(x)}],
    ...     num_rounds=config.num_rounds,
    ...   )
    >>> run_it, main_of_it = binary(BaseConfig, build)
    >>> run_it(BaseConfig(num_rounds=2, seeds=(5,))).rows[-1]['value']
    7.0
  """

  def run_config(
    config: C,
    *,
    sinks: Sequence[_sinks.Sink] = (),
    store: _checkpoint.Store | None = None,
  ) -> Result:
    """Runs the experiment.

    Args:
      config: knobs.
      sinks: where rows go.
      store: keeps checkpoints.

    Returns:
      Final states and all rows.
    """
    return run(build(config), config, sinks=sinks, store=store)

  def main_of(argv: Sequence[str] | None = None) -> None:
    """Runs the experiment as a command; does not return.

    Args:
      argv: the command line, `sys.argv` by default.
    """
    main(config_class, run_config, argv)

  for function, name in ((run_config, 'run'), (main_of, 'main')):
    function.__name__ = function.__qualname__ = name
    function.__module__ = config_class.__module__
  return run_config, main_of


class _Run:
  """The loop of one run."""

  def __init__(self, experiment, config, sinks, store):
    self.experiment = experiment
    self.config = config
    self.sinks = sinks
    self.store = store
    self.rows: list[Row] = []
    self._evaluated = False
    self._flag = _launch.Signals()
    self._feed: Callable[[Any], Any] = lambda fed: fed
    self._first: dict[int, Any] = {}
    self._stream: Any = None

  def run(self) -> Result:
    """Prepares, goes through the rounds, and closes whatever was opened."""
    with contextlib.ExitStack() as stack:
      for sink in self.sinks:
        stack.callback(sink.close)
      if self.store is not None:
        stack.callback(self.store.close)
      flag = stack.enter_context(
        _launch.deferred_signals(self.store is not None)
      )
      # Until the first round there is nothing to finish, but for the others.
      flag.finishing = jax.process_count() > 1
      self._flag = flag
      state = self._rounds(flag, stack)
      flag.finishing = False
    times = None if self._stream is None else self._stream.times
    if times is not None and times.items:
      logging.info(
        'data of %d rounds took the host %.2f s, of which rounds waited for '
        '%.2f s.',
        times.items,
        sum(times.busy),
        times.waited,
      )
    return Result(state, self.rows, self.experiment, times)

  def _rounds(self, flag, stack) -> chex.ArrayTree:
    experiment, config, store = self.experiment, self.config, self.store
    self._stage('compiling')
    flag.check()
    state, step, start = self._prepare()
    flag.check()
    if store is not None:
      store.running = True
    if start < 0:
      self._evaluate(state, None, 0)
    start = max(start, 0)
    last = experiment.num_rounds
    trace = _Trace(store, start, last, config.profile_rounds)
    stack.callback(trace.close)
    tickers = [
      s.tick for s in self.sinks if type(s).tick is not _sinks.Sink.tick
    ]
    pending = collections.deque()
    ahead = _run_ahead()
    alone = jax.process_count() == 1
    feeds = self._feeds(range(start + 1, last + 1), stack)
    flag.finishing = True
    for number in range(start + 1, last + 1):
      if trace.first == number:
        trace.open(state)
      fed = next(feeds)
      flag.check()
      state, metrics, token = step(state, number, *fed)
      del fed
      flag.check()
      pending.append(token)
      if len(pending) > ahead:
        jax.block_until_ready(pending.popleft())
      evaluated = number % config.eval_every == 0 or number == last
      if evaluated:
        self._evaluate(state, metrics, number)
      for tick in tickers:
        tick(number)
      if number == start + 1:
        jax.block_until_ready(state)
        self._stage('running')
      if trace.last == number:
        jax.block_until_ready(state)
        trace.close()
      if store is None or not (alone or evaluated):
        continue
      signum, due = flag.received, store.due()
      if not alone:
        signum, due = _launch.any_process(signum, due)
      if due or signum or number == last:
        self._save(number, state)
      if signum and number < last:
        raise _launch.Interrupted(signum, number)
    if store is not None and not last:
      self._save(0, state)
    flag.check()
    return state

  def _prepare(self):
    """Returns a state, the function of a round, and the last round done."""
    experiment, store = self.experiment, self.store
    last = experiment.num_rounds
    latest = -1 if store is None else store.latest()
    if experiment.jit:
      state = _program.fresh(experiment.init)
    else:
      state = experiment.init()
    build = functools.partial(_program.build, experiment.step, state)
    fed = ()
    if experiment.fetch is not None and latest < last:
      number = max(latest, 0) + 1
      self._first[number] = experiment.fetch(number)
      fed = (self._first[number],)
    program = None
    if experiment.jit and latest < last:
      program = build(*fed)
    num_rows = 0
    if store is not None:
      store.begin()
      if latest >= 0:
        saved = store.restore(state, fixed=experiment.jit)
        if saved.round > last:
          raise ValueError(
            f'the checkpoint has seen {saved.round} rounds, more than the '
            f'{last} of this run.'
          )
        if experiment.jit and program is None and saved.round < last:
          if experiment.fetch is not None:
            fed = (experiment.fetch(saved.round + 1),)
          program = build(*fed)
        latest, num_rows = saved.round, saved.num_rows
        values = _pack.unpack(saved, state)
        if saved.skeleton is not None:
          state = values
        elif program is not None:
          state = program.place(values)
        else:
          state = _program.place_like(values, state)
    if program is not None and latest < 0:
      state = program.place(state)
    for sink in self.sinks:
      kept = sink.rewind(latest, self.config.eval_every, last)
      if kept is not None:
        self.rows = kept
        if self._num_planned() < num_rows:
          raise ValueError(
            f'{len(kept)} rows are left of a run whose checkpoint of round '
            f'{latest} has more: pass --if_exists=overwrite to start over.'
          )
    step = program.step if program is not None else self._plain_step
    if program is not None:
      self._feed = program.feed
    return state, step, latest

  def _plain_step(self, state, number, *fed):
    return *self.experiment.step(state, number, *fed), None

  def _feeds(self, numbers, stack) -> Iterator[tuple[Any, ...]]:
    """What each round is fed beside its state: nothing, or one tree."""
    fetch = self.experiment.fetch
    if fetch is None:
      return itertools.repeat(())

    def made(number):
      first = self._first.pop(number, None)
      return fetch(number) if first is None else first

    feed = lambda fed: (self._feed(fed),)
    ahead = self.experiment.ahead
    if not ahead:
      return (feed(made(number)) for number in numbers)
    # The round at hand has a register too.
    pipeline = parallel.HostPipeline([lambda n: feed(made(n))], ahead + 1)
    self._stream = stack.enter_context(pipeline(numbers))
    return self._stream

  def _stage(self, name) -> None:
    for sink in self.sinks:
      sink.stage(name)

  def _evaluate(self, state, metrics, number) -> None:
    # The first evaluation compiles, also where the run goes on.
    first, self._evaluated = not self._evaluated, True
    if first and number > 1:
      jax.block_until_ready(state)
      self._stage('compiling')
    self._flag.check()
    found = self.experiment.rows(state, _to_host(metrics), number)
    self._flag.check()
    if first and number > 1:
      self._stage('running')
    rows = [
      _sinks.normalized(row, step=number, seed=self.config.seeds[0])
      for row in found
    ]
    self.rows.extend(rows)
    for sink in self.sinks:
      sink.write(rows)

  def _save(self, number, state) -> None:
    for sink in self.sinks:
      sink.flush()
    self.store.save(number, state, self._num_planned())

  def _num_planned(self) -> int:
    # The row of a last round in between is dropped if the run is extended.
    return sum(row['step'] % self.config.eval_every == 0 for row in self.rows)


class _Trace:
  """Profiles some rounds after the first, where compilation is over."""

  def __init__(self, store, start, end, rounds):
    self.first = self.last = -1
    self._open = False
    if store is None or not rounds or start >= end or jax.process_index():
      return
    self._directory = store.directory / 'profile'
    self.first = min(start + 2, end)
    self.last = min(self.first + rounds - 1, end)

  def open(self, state):
    """Starts the trace when the rounds before are done."""
    jax.block_until_ready(state)
    jax.profiler.start_trace(str(self._directory))
    self._open = True

  def close(self):
    """Writes the trace, if one was started."""
    if self._open:
      self._open = False
      jax.profiler.stop_trace()


def _check(experiment: Experiment, config: BaseConfig) -> None:
  _launch.check_prng()
  if experiment.num_rounds < 0:
    raise ValueError(
      f'num_rounds must be at least 0; got {experiment.num_rounds}.'
    )
  checks.integer(experiment.ahead, name='ahead', low=0)
  if config.smoke and not config_lib.is_shrunk(config):
    raise ValueError(
      'smoke=True alone does not shrink a config: pass config.smoked().'
    )
  if not experiment.jit and jax.process_count() > 1:
    raise ValueError('an experiment with jit=False runs in one process only.')


def _run_ahead() -> int:
  """Returns how many rounds may be in flight.

  Emulated devices share one pool of threads: programs with collectives that
  overlap there can starve each other.
  """
  if jax.default_backend() == 'cpu':
    return 1 if jax.device_count() == 1 else 0
  return 4


def _to_host(metrics: Any) -> Any:
  """Brings metrics to the host, but for what other processes hold."""

  def leaf(x):
    if not isinstance(x, jax.Array) or _pack.is_key(x):
      return x
    if x.is_fully_addressable:
      return np.asarray(x)
    if x.is_fully_replicated:
      return np.asarray(x.addressable_data(0))
    return x

  return jax.tree.map(leaf, metrics)
