# SPDX-License-Identifier: Apache-2.0
"""Honest timings: contenders take turns, medians count, conditions are told.

A benchmark measures groups of contenders with `measure`, states `Claim`s about
them, and writes its section of `RESULTS.md` with `write_section`.
"""

import dataclasses
import gc
import json
import os
import pathlib
import platform
import re
import statistics
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np

LINE = '0.10'
RESULTS = pathlib.Path(__file__).parent / 'RESULTS.md'
# Written by hand, with the figures of the day.
TRIED = RESULTS.with_name('TRIED.md')
PLOTS = pathlib.Path(__file__).parent / 'plots'

_HEADER = """# Benchmark results

Every section is written by the benchmark that it names (`--write`). Contenders
of a row take turns in one process; times are medians over the rounds, ratios
medians of the ratios within a round, so that a busy machine moves both sides
alike. Each section tells the load of the machine while it ran.
"""


class Times(dict):
  """Milliseconds of every round: name -> list."""

  def ms(self, name: str) -> float:
    """Median milliseconds of one contender."""
    return statistics.median(self[name])

  def ratio(self, numerator: str, denominator: str) -> float:
    """Median over the rounds of the ratio of two contenders."""
    pairs = zip(self[numerator], self[denominator], strict=True)
    return statistics.median(a / b for a, b in pairs)


def measure(fns: Mapping[str, Callable[[], Any]], *, rounds: int) -> Times:
  """Times contenders in turn.

  Args:
    fns: name -> call; what it returns is waited for.
    rounds: turns of every contender, after one that does not count.

  Returns:
    The times.
  """
  times = Times({name: [] for name in fns})
  for fn in fns.values():
    jax.block_until_ready(fn())
  gc.collect()
  gc.disable()
  try:
    order = np.random.default_rng(0)
    for _ in range(rounds):
      # Shuffled: nobody always follows the same neighbor.
      for name in order.permutation(list(fns)).tolist():
        begin = time.perf_counter()
        jax.block_until_ready(fns[name]())
        times[name].append(1e3 * (time.perf_counter() - begin))
  finally:
    gc.enable()
  return times


@dataclasses.dataclass(frozen=True)
class Claim:
  """A bound on a ratio of two contenders.

  Attributes:
    ours: contender on our side.
    rival: what it is compared with.
    faster: times that ours must be faster than the rival, or None.
    within: times the rival's time that ours may take, or None.
  """

  ours: str
  rival: str
  faster: float | None = None
  within: float | None = None

  def row(self, times: Times, its_ms: float | None = None) -> dict[str, str]:
    """One line of the table of a group.

    Args:
      times: of the group.
      its_ms: the rival's milliseconds, if another process measured it.

    Returns:
      The line.
    """
    if its_ms is None:
      its_ms = times.ms(self.rival)
      ratio = times.ratio(self.rival, self.ours)
    else:
      ratio = its_ms / times.ms(self.ours)
    if self.faster is not None:
      value = ratio
      target, held = f'>= {self.faster:g}x faster', value >= self.faster
    elif self.within is not None:
      value = 1 / ratio
      target, held = f'<= {self.within:g}x', value <= self.within
    else:
      value, target, held = ratio, 'told only', None
    return {
      'ours': self.ours,
      'ms': digits(times.ms(self.ours)),
      'compared with': self.rival,
      'its ms': digits(its_ms),
      'ratio': digits(value),
      'target': target,
      'held': '-' if held is None else 'yes' if held else '**no**',
    }


def elsewhere(
  python: str,
  script: str,
  *args: str,
  env: Mapping[str, str] | None = None,
  **options: int,
) -> dict[str, Any]:
  """Runs a script of this folder in another process.

  Args:
    python: its interpreter.
    script: name of the module.
    *args: what it is given.
    env: variables that differ from those here.
    **options: its flags.

  Returns:
    The JSON object that it printed.

  Raises:
    RuntimeError: if it failed.
  """
  path = pathlib.Path(__file__).with_name(f'{script}.py')
  flags = [f'--{k}={v}' for k, v in options.items()]
  root = str(path.parents[2])
  done = subprocess.run(
    [python, str(path), *args, *flags],
    capture_output=True,
    text=True,
    check=False,
    env=os.environ | {'PYTHONPATH': root} | dict(env or {}),
  )
  if done.returncode:
    raise RuntimeError(f'{python} failed: {done.stderr[-2000:]}')
  return json.loads(done.stdout)


def threads() -> int:
  """Cores that this process may use, which peers get as threads."""
  if hasattr(os, 'sched_getaffinity'):
    return len(os.sched_getaffinity(0))
  return os.cpu_count() or 1


def fact(
  what: str, value: float, unit: str, *, below: float | None = None
) -> dict[str, str]:
  """One line about a number, which may have to stay below a bound.

  Args:
    what: the quantity.
    value: what was measured.
    unit: of both numbers.
    below: the bound, if there is one.

  Returns:
    A row.
  """
  target, held = 'told only', '-'
  if below is not None:
    target = f'< {below:g} {unit}'.rstrip()
    held = 'yes' if value < below else '**no**'
  return {
    'quantity': what,
    'value': f'{digits(value)} {unit}'.rstrip(),
    'target': target,
    'held': held,
  }


def digits(value: float) -> str:
  """Three significant digits, no exponent."""
  if value == 0 or not np.isfinite(value):
    return f'{value:g}'
  places = max(0, 2 - int(np.floor(np.log10(abs(value)))))
  return f'{value:.{places}f}'


def table(rows: Sequence[Mapping[str, Any]]) -> str:
  """A markdown table; columns are those of the first row.

  Args:
    rows: one mapping per line.

  Returns:
    Markdown without a final newline.
  """
  names = list(rows[0])
  lines = ['| ' + ' | '.join(names) + ' |', '|' + '---|' * len(names)]
  for row in rows:
    lines.append('| ' + ' | '.join(str(row[n]) for n in names) + ' |')
  return '\n'.join(lines)


def load() -> float:
  """Load average of the last minute."""
  return os.getloadavg()[0]


def conditions(loads: Sequence[float]) -> str:
  """One sentence on machine, versions and load.

  Args:
    loads: load averages taken during the run.

  Returns:
    Markdown.
  """
  devices = jax.devices()
  import scipy

  return (
    f'{time.strftime("%Y-%m-%d")}, {_processor()}, {os.cpu_count()} cores, '
    f'{len(devices)} {devices[0].platform} device(s); jax {jax.__version__}, '
    f'NumPy {np.__version__}, SciPy {scipy.__version__}, Python '
    f'{platform.python_version()}. One-minute load average during the run: '
    f'{min(loads):.1f} to {max(loads):.1f}.'
  )


def _processor() -> str:
  try:
    text = pathlib.Path('/proc/cpuinfo').read_text()
  except OSError:
    return platform.processor() or platform.machine()
  found = re.search(r'model name\s*:\s*(.+)', text)
  return found.group(1).strip() if found else platform.machine()


def first_call_seconds(fn: Callable[..., Any], *args: Any) -> float:
  """Seconds of tracing, compiling and running once, with no cache.

  Args:
    fn: a function that was never jitted.
    *args: its arguments.

  Returns:
    Wall-clock seconds.
  """
  # Another function object, so that neither cache of jax knows it.
  fresh = jax.jit(lambda *xs: fn(*xs))
  kept = jax.config.jax_enable_compilation_cache
  jax.config.update('jax_enable_compilation_cache', False)
  try:
    begin = time.perf_counter()
    jax.block_until_ready(fresh(*args))
    return time.perf_counter() - begin
  finally:
    jax.config.update('jax_enable_compilation_cache', kept)


def memory(fn: Callable[..., Any], *args: Any) -> dict[str, int]:
  """What the compiled program allocates, in bytes.

  Args:
    fn: function of arrays.
    *args: arrays or shapes.

  Returns:
    'temporaries', and 'peak': arguments, results, temporaries and the arrays
    that the function closes over together.
  """
  found = jax.jit(fn).lower(*args).compile().memory_analysis()
  consts = jax.make_jaxpr(fn)(*args).consts
  return {
    'temporaries': found.temp_size_in_bytes,
    'peak': found.temp_size_in_bytes
    + found.argument_size_in_bytes
    + found.output_size_in_bytes
    - found.alias_size_in_bytes
    + sum(getattr(c, 'nbytes', 0) for c in consts),
  }


def write_section(
  name: str, body: str, *, path: pathlib.Path = RESULTS
) -> pathlib.Path:
  """Replaces one benchmark's section of the results, or adds it.

  Args:
    name: the benchmark's module, which titles the section.
    body: Markdown.
    path: the file.

  Returns:
    The file.
  """
  text = path.read_text() if path.exists() else _HEADER
  title = f'## {name}\n'
  section = f'{title}\n{body.strip()}\n'
  parts = re.split(r'(?m)^(?=## )', text)
  others = [p.strip() + '\n' for p in parts[1:] if not p.startswith(title)]
  head = parts[0].strip() + '\n'
  path.write_text('\n'.join([head, *sorted([*others, section])]))
  return path


def report(
  name: str, parts: Sequence[str], loads: Sequence[float], *, write: bool
) -> None:
  """Prints the end of a run, and writes the section if asked.

  Sections of other lines of jax than `LINE` stand apart and are named after it.
  What was tried (`TRIED`) is a section of its own, brought up to date.

  Args:
    name: the benchmark's module.
    parts: Markdown, printed by the benchmark as it went.
    loads: load averages taken during the run.
    write: whether to write the section.
  """
  told = conditions(loads)
  print(told, flush=True)
  if write:
    command = f'`python -m experiments.benchmarks.{name} --write`'
    body = '\n\n'.join([f'{command}: {told}', *parts])
    line = '.'.join(jax.__version__.split('.')[:2])
    title = name if line == LINE else f'{name}, jax {line}'
    write_section(title, body)
    print(f'wrote {write_section("tried", TRIED.read_text())}')
