# SPDX-License-Identifier: Apache-2.0
"""The papers: what of each is where, and what it claims.

A paper is a module here, found by its name: `PAPER` says what it is about, and
every function under `@papers.claim(...)` reruns one of its claims at CPU scale.
`experiments.reproduce` runs them and writes REPRODUCTION.md; `table` is the
table of methods of the README, which a test keeps true.
"""

import dataclasses
import functools
import importlib
import pkgutil
from collections.abc import Callable
from typing import Any

# A claim takes seeds and returns whether it held, and the figure.
Check = Callable[[tuple[int, ...]], tuple[bool, str]]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Paper:
  """What of a paper is where.

  Attributes:
    title: what it is about.
    source: authors and year.
    functions: public names below `jaxdl`.
    binary: below `experiments`.
    arxiv: identifier, or '' if there is none.
    colab: notebook below `colabs`, or ''.
    key: name of its module; filled in by `load`.
  """

  title: str
  source: str
  functions: tuple[str, ...]
  binary: str
  arxiv: str = ''
  colab: str = ''
  key: str = ''


def claim(text: str, *, note: str = '') -> Callable[[Check], Check]:
  """Marks a function as a claim of its paper.

  Args:
    text: what is claimed, with the margin that makes it hold.
    note: what stands below the table: why a claim does not hold, or how it
      differs from the paper's, and what was tried.

  Returns:
    A decorator of `claim(seeds) -> (held, figure)`.
  """

  def mark(check: Check) -> Check:
    check.text, check.note = text, note  # pyrefly: ignore
    return check

  return mark


@functools.cache
def names() -> tuple[str, ...]:
  """Returns the keys of all papers, by folder of their first function."""
  found = [m.name for m in pkgutil.iter_modules(__path__) if m.name[0] != '_']
  return tuple(sorted(found, key=lambda key: (load(key).functions[0], key)))


def load(key: str) -> Paper:
  """Returns a paper.

  Args:
    key: name of its module.

  Returns:
    The paper.
  """
  return dataclasses.replace(_module(key).PAPER, key=key)


def claims(key: str) -> dict[str, Check]:
  """Returns the claims of a paper by name, in the order of its module.

  Args:
    key: name of the module.

  Returns:
    Functions; `text` says what is claimed, `note` what else is to be said.
  """
  found = vars(_module(key)).items()
  return {name: fn for name, fn in found if hasattr(fn, 'note')}


def picture(key: str) -> Callable[..., Any] | None:
  """Returns what draws a paper's pictures, `draw(seeds, folder)`, if any."""
  return getattr(_module(key), 'draw', None)


def _module(key):
  return importlib.import_module(f'{__name__}.{key}')


def table() -> str:
  """The table of methods of the README, one part per folder of `jaxdl`.

  Returns:
    Markdown.
  """
  lines, before = [], ''
  for key in names():
    paper = load(key)
    folder = paper.functions[0].split('.')[0]
    if folder != before:
      lines += [
        *([''] if lines else []),
        f'**{folder}**',
        '',
        '| method | source | functions in `jaxdl` | binary | colab |',
        '|---|---|---|---|---|',
      ]
      before = folder
    source = paper.source
    if paper.arxiv:
      source = f'[{source}](https://arxiv.org/abs/{paper.arxiv})'
    functions = ', '.join(f'`{name}`' for name in paper.functions[:6])
    if len(paper.functions) > 6:
      functions += f' and {len(paper.functions) - 6} more'
    colab = paper.colab and f'[{paper.colab}](colabs/{paper.colab}.ipynb)'
    lines.append(
      f'| {paper.title} | {source} | {functions} | '
      f'[`{paper.binary}`](experiments/{paper.binary}.py) | {colab} |'
    )
  return '\n'.join(lines)
