# SPDX-License-Identifier: Apache-2.0
"""Reruns the headline experiments of papers and checks their claims.

Writes REPRODUCTION.md: claim, seeds, figure, held or not. A claim that does not
hold is written down as not held. `--smoke` tries the first experiment of every
chosen claim in small, of a paper's first one if none is, and writes nothing.

Example: python -m experiments.reproduce --papers=flag_aggregator,monna
"""

import contextlib
import difflib
import os
import pathlib
import platform
import signal
import sys
import textwrap
import time
from collections.abc import Iterator

import jax
from absl import app, flags, logging

from experiments import papers
from experiments.papers._reproduction import merge, read
from jaxdl.experiment import runner

FLAGS = flags.FLAGS
_KEYS = ', '.join(papers.names())
_FLAGS = {
  'papers': (['all'], f"Keys of the index, or 'all'; from {_KEYS}."),
  'claims': ([], 'Claims to rerun or try, all if none; other rows are kept.'),
  'seeds': (['0', '1', '2'], 'Seeds of every experiment.'),
  'output': ('REPRODUCTION.md', 'Table of claims; other papers are kept.'),
  'plots': ('runs/reproduce', 'Folder of the pictures.'),
  'smoke': (False, 'Only try first experiments of papers or claims, in small.'),
}
_DEFINE = {
  list: flags.DEFINE_list,
  str: flags.DEFINE_string,
  bool: flags.DEFINE_bool,
}
for _name, (_default, _text) in _FLAGS.items():
  _DEFINE[type(_default)](_name, _default, _text)


def _check_names(flag: str, names: list[str], known, why: str) -> None:
  """Refuses names that are unknown or stand twice."""
  for name in names:
    if name not in known:
      near = difflib.get_close_matches(name, known, n=1)
      hint = f' Did you mean {near[0]}?' if near else ''
      raise ValueError(f'--{flag}={name} is {why}{hint}')
    if names.count(name) > 1:
      raise ValueError(
        f'--{flag}={",".join(names)} names {name} twice: leave one out.'
      )


def chosen(names: list[str]) -> list[papers.Paper]:
  """Papers by key.

  Args:
    names: keys, or ['all'].

  Returns:
    The papers.

  Raises:
    ValueError: for unknown keys, one that stands twice, or none.
  """
  known = {key: papers.load(key) for key in papers.names()}
  if names == ['all']:
    return list(known.values())
  if not names:
    raise ValueError(f'--papers is empty: choose from {_KEYS} or all.')
  if 'all' in names:
    raise ValueError(
      f'--papers={",".join(names)} names papers beside all: leave one out.'
    )
  why = f'unknown: choose from {_KEYS} or all.'
  _check_names('papers', names, known, why)
  return [known[name] for name in names]


def seeds_of(names: list[str]) -> tuple[int, ...]:
  """Reads `--seeds`.

  Args:
    names: numbers as text.

  Returns:
    The seeds.

  Raises:
    ValueError: unless they are different natural numbers.
  """
  if not all(name.strip().isdecimal() for name in names) or not names:
    raise ValueError(
      f'--seeds={",".join(names)} must be numbers from 0 on, e.g. 0,1,2.'
    )
  seeds = tuple(int(name) for name in names)
  if len(set(seeds)) != len(seeds):
    raise ValueError(f'--seeds={",".join(names)} must differ.')
  return seeds


def check_place(flag: str, path: pathlib.Path) -> None:
  """Sees to it that hours of work will not end at a read-only place.

  Args:
    flag: that named the path.
    path: what will be written.

  Raises:
    ValueError: if it cannot be.
  """
  there = next(p for p in (path, *path.absolute().parents) if p.exists())
  folder = there.is_dir()
  fits = folder == (flag == 'plots') if there == path else folder
  if not fits or not os.access(there, os.W_OK):
    raise ValueError(f'--{flag}={path} cannot be written: see {there}.')
  try:
    runner.check_place(path if flag == 'plots' else path.parent, name=flag)
  except ValueError as error:
    raise ValueError(f'--{error}') from error


def check_claims(
  names: list[str], chosen: list[papers.Paper], seeds: tuple[int, ...] | None
) -> list[papers.Paper]:
  """Sees to it that rows that are kept are of the same seeds and versions.

  Args:
    names: of `--claims`.
    chosen: papers.
    seeds: seeds of the experiments; None if nothing is written.

  Returns:
    The papers that the claims are of; all if there are no names.

  Raises:
    ValueError: if a claim is that of none or stands twice, or the table cannot
      be kept.
  """
  known = {name for paper in chosen for name in papers.claims(paper.key)}
  _check_names('claims', names, known, 'no claim of --papers.')
  if names:
    chosen = [p for p in chosen if set(names) & set(papers.claims(p.key))]
  old = read(pathlib.Path(FLAGS.output))[1] if names and seeds else {}
  for paper in chosen if names and seeds else ():
    lines = old.get(paper.key, [])
    if _conditions(paper, seeds) not in lines:
      raise ValueError(
        f'--claims keeps other rows of {paper.key} in --output={FLAGS.output}, '
        'which are of other seeds or versions, or not there: rerun all.'
      )
  return chosen


def _conditions(paper, seeds):
  return (
    f'Seeds {", ".join(map(str, seeds))}; jax {jax.__version__}, Python '
    f'{platform.python_version()}, {jax.default_backend()}. Command: `python '
    f'-m experiments.reproduce --papers={paper.key}`'
  )


def check(
  paper: papers.Paper,
  seeds: tuple[int, ...],
  only: list[str] | None = None,
  old: list[str] | None = None,
) -> list[str]:
  """Runs one paper's claims.

  Args:
    paper: what to check.
    seeds: seeds of the experiments.
    only: claims to run; all if there are none.
    old: lines of before, whose rows of other claims are kept.

  Returns:
    Lines of markdown.
  """
  lines = [
    f'## {paper.key}: {paper.title}',
    '',
    _conditions(paper, seeds),
    '',
    '| claim | held | figure | seconds |',
    '|---|---|---|---|',
  ]
  claims = papers.claims(paper.key)
  for name, claim in claims.items():
    if only and name not in only:
      lines += [line for line in old or () if f' (`{name}`) | ' in line]
      continue
    start = time.monotonic()
    held, figure = claim(seeds)
    seconds = time.monotonic() - start
    verdict = 'yes' if held else '**no**'
    logging.info('%s/%s: %s (%s)', paper.key, name, verdict, figure)
    lines.append(
      f'| {claim.text} (`{name}`) | {verdict} | {figure} | {seconds:.0f} |'
    )
  notes = [
    line
    for name, claim in claims.items()
    if claim.note
    for line in textwrap.wrap(
      f'- `{name}`: {claim.note}', 80, subsequent_indent='  '
    )
  ]
  return [*lines, '', *notes] if notes else lines


class _Enough(Exception):
  """The first experiment of a claim has run."""


@contextlib.contextmanager
def _small_experiments() -> Iterator[None]:
  """Shrinks what claims run, and leaves them after their first experiment."""
  changed = []
  for name, module in sorted(sys.modules.items()):
    run = getattr(module, 'run', None)
    if not name.startswith('experiments.') or not hasattr(module, 'Config'):
      continue

    def first(config, *, run=run):
      run(config.smoked())
      raise _Enough

    changed.append((module, run))
    module.run = first
  try:
    yield
  finally:
    for module, run in changed:
      module.run = run


def smoke(paper: papers.Paper, only: list[str] | None = None) -> str:
  """Tries the first experiment of a paper's claims.

  Args:
    paper: what to try.
    only: claims to try, those of other papers too; the first one if none.

  Returns:
    What was tried, and how long it took.
  """
  start = time.monotonic()
  claims = papers.claims(paper.key)
  tried = [name for name in claims if name in only] if only else [*claims][:1]
  for name in tried:
    with _small_experiments(), contextlib.suppress(_Enough):
      claims[name]((0,))
  seconds = f'{time.monotonic() - start:.0f} s'
  verb = 'runs' if len(tried) == 1 else 'run'
  return f'{paper.key}: {", ".join(tried)} {verb} ({seconds})'


def _parse(args: list[str]) -> list[str]:
  """Parses flags, and says mistakes and help as every binary does."""
  asked = {arg.lstrip('-') for arg in args[1:] if arg.startswith('-')}
  if asked & {'help', 'helpshort', 'h', '?'}:
    lines = [
      f'  --{name}={",".join(d) if isinstance(d, list) else d}\n'
      + runner.wrapped(text, 6, 6)
      for name, (d, text) in _FLAGS.items()
    ]
    with runner.printing():
      print(__doc__.strip(), '\n\nFlags (with their defaults):\n')
      print('\n'.join(lines))
    sys.exit(0)
  try:
    runner.check_values(args[1:], FLAGS)
    rest = FLAGS(args)
    if len(rest) > 1:
      raise ValueError(f'{rest[1]!r} is no flag: write --name=value.')
    found, seeds = chosen(FLAGS.papers), seeds_of(FLAGS.seeds)
    check_claims(FLAGS.claims, found, None if FLAGS.smoke else seeds)
    if not FLAGS.smoke:
      check_place('output', pathlib.Path(FLAGS.output))
      check_place('plots', pathlib.Path(FLAGS.plots))
      read(pathlib.Path(FLAGS.output))
  except (flags.Error, ValueError) as error:
    print(f'reproduce: {error}', file=sys.stderr)
    sys.exit(2)
  return rest


def main(argv: list[str]) -> int:
  """Checks the chosen papers and writes the table.

  Args:
    argv: the program's name.

  Returns:
    The exit code.
  """
  del argv
  with runner.plain_log(), runner.stopping_at_once('reproduce') as signals:
    code = _reproduce(seeds_of(FLAGS.seeds), signals)
  if code > 128:
    runner.leave(code)
  return code


def _reproduce(seeds: tuple[int, ...], signals) -> int:
  try:
    for paper in check_claims(FLAGS.claims, chosen(FLAGS.papers), None):
      signals.check()
      print(f'{paper.key}: {paper.title} ...', file=sys.stderr, flush=True)
      if FLAGS.smoke:
        told = smoke(paper, FLAGS.claims)
        with runner.printing():
          print(told)
        continue
      output = pathlib.Path(FLAGS.output)
      old = read(output)[1].get(paper.key)
      lines = check(paper, seeds, FLAGS.claims, old)
      draw = papers.picture(paper.key)
      if draw is not None and not FLAGS.claims:
        folder = pathlib.Path(FLAGS.plots) / paper.key
        folder.mkdir(parents=True, exist_ok=True)
        draw(seeds, folder)
      merge(output, {paper.key: lines})
      with runner.printing():
        print('\n'.join(lines))
  except KeyboardInterrupt as error:
    signals.settle()
    done = 'papers that are done are in the table'
    done = 'nothing was to be written' if FLAGS.smoke else done
    print(f'reproduce: stopped; {done}.', file=sys.stderr, flush=True)
    return 128 + getattr(error, 'signum', signal.SIGINT)
  except OSError as error:
    written = pathlib.Path(FLAGS.output)
    flag = 'output' if error.filename == str(written) else 'plots'
    where = f'{error.filename} cannot be written: ' if error.filename else ''
    text = f'{where}{error.strerror or error}. {runner.remedy(error, flag)}'
    print(f'reproduce: {text.strip()}', file=sys.stderr)
    return 2
  return 0


if __name__ == '__main__':
  app.run(main, flags_parser=_parse)
