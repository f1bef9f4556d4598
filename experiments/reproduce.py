# SPDX-License-Identifier: Apache-2.0
"""Reruns the headline experiments of papers and checks their claims.

Writes REPRODUCTION.md: claim, seeds, figure, held or not. A claim that does not
hold is written down as not held.

Example: python -m experiments.reproduce --papers=flag_aggregator,monna
"""

import importlib
import pathlib
import platform
import sys
import time

import jax
from absl import app, flags, logging

from jaxdl import papers

FLAGS = flags.FLAGS
flags.DEFINE_list('papers', ['all'], "Keys of the index, or 'all'.")
flags.DEFINE_list('seeds', ['0', '1', '2'], 'Seeds of every experiment.')
flags.DEFINE_string(
  'output', 'REPRODUCTION.md', 'Table of claims; other papers are kept.'
)
flags.DEFINE_string('plots', 'runs/reproduce', 'Folder of the pictures.')

_HEADER = """# Reproduction

Claims of the papers at CPU scale, rerun by `python -m experiments.reproduce`.
A claim that does not hold is listed as such.
"""


def claims_of(key: str) -> dict:
  """The claims of one paper.

  Args:
    key: key in `jaxdl.papers`.

  Returns:
    `CLAIMS` of `experiments.claims.<key>`.
  """
  return importlib.import_module(f'experiments.claims.{key}').CLAIMS


def chosen(names: list[str]) -> list[papers.Paper]:
  """Papers by key.

  Args:
    names: keys, or ['all'].

  Returns:
    Papers that have claims.

  Raises:
    ValueError: for unknown keys.
  """
  known = {p.key: p for p in papers.PAPERS if p.claims}
  if names == ['all']:
    return list(known.values())
  for name in names:
    if name not in known:
      raise ValueError(
        f'papers={name!r} is unknown: choose from {", ".join(known)} or all.'
      )
  return [known[name] for name in names]


def check(paper: papers.Paper, seeds: tuple[int, ...]) -> list[str]:
  """Runs one paper's claims.

  Args:
    paper: what to check.
    seeds: seeds of the experiments.

  Returns:
    Lines of markdown.
  """
  lines = [
    f'## {paper.key}: {paper.title}',
    '',
    f'Seeds {", ".join(map(str, seeds))}; jax {jax.__version__}, Python '
    f'{platform.python_version()}, {jax.default_backend()}. Command: `python '
    f'-m experiments.reproduce --papers={paper.key}`',
    '',
    '| claim | held | figure | seconds |',
    '|---|---|---|---|',
  ]
  for name, (description, fn) in claims_of(paper.key).items():
    start = time.monotonic()
    held, figure = fn(seeds)
    seconds = time.monotonic() - start
    verdict = 'yes' if held else '**no**'
    logging.info('%s/%s: %s (%s)', paper.key, name, verdict, figure)
    lines.append(
      f'| {description} (`{name}`) | {verdict} | {figure} | {seconds:.0f} |'
    )
  return lines


def merge(path: pathlib.Path, sections: dict[str, list[str]]) -> None:
  """Replaces the sections of some papers and keeps the others.

  Args:
    path: the table.
    sections: lines per key.
  """
  old = {}
  if path.exists():
    for part in path.read_text().split('\n## ')[1:]:
      old[part.split(':', 1)[0]] = ('## ' + part.rstrip()).split('\n')
  old.update(sections)
  order = [p.key for p in papers.PAPERS]
  keys = sorted(old, key=lambda k: order.index(k) if k in order else 999)
  text = _HEADER + '\n' + '\n\n'.join('\n'.join(old[k]) for k in keys) + '\n'
  path.write_text(text)


def main(argv: list[str]) -> None:
  """Checks the chosen papers and writes the table.

  Args:
    argv: must hold the program's name only.
  """
  if len(argv) > 1:
    sys.exit(f'reproduce: unexpected argument {argv[1]!r}.')
  try:
    todo = chosen(FLAGS.papers)
    seeds = tuple(int(s) for s in FLAGS.seeds)
  except ValueError as error:
    sys.exit(f'reproduce: {error}')
  for paper in todo:
    lines = check(paper, seeds)
    module = importlib.import_module(f'experiments.claims.{paper.key}')
    if hasattr(module, 'draw'):
      folder = pathlib.Path(FLAGS.plots) / paper.key
      folder.mkdir(parents=True, exist_ok=True)
      module.draw(seeds, folder)
    merge(pathlib.Path(FLAGS.output), {paper.key: lines})
    print('\n'.join(lines))


if __name__ == '__main__':
  app.run(main)
