# SPDX-License-Identifier: Apache-2.0
"""The file of claims, REPRODUCTION.md: a section per paper."""

import pathlib

from experiments.papers import names

HEADER = """# Reproduction

Claims of the papers at CPU scale, rerun by `python -m experiments.reproduce`.
A claim that does not hold is listed as such. Seconds are those of the run, some
of which had to share the machine.
"""


def read(path: pathlib.Path) -> tuple[str, dict[str, list[str]]]:
  """Reads a table.

  Args:
    path: the table; it need not exist.

  Returns:
    What stands above its sections, and these, lines per key.

  Raises:
    ValueError: if the file is something else, which would be lost, or cannot be
      read.
  """
  try:
    text = path.read_text('utf-8') if path.exists() else ''
  except UnicodeDecodeError:
    text = 'not UTF-8'
  except OSError as error:
    raise ValueError(f'--output={path} cannot be read: {error}') from error
  head, *parts = (text if text.strip() else HEADER).split('\n## ')
  if not head.startswith(HEADER.split('\n', 1)[0]):
    raise ValueError(
      f'--output={path} is a file that is no table of claims, text in UTF-8 '
      'from # Reproduction on: name another one.'
    )
  found = {}
  for part in parts:
    lines = ('## ' + part.rstrip()).split('\n')
    found.setdefault(part.split(':', 1)[0], []).extend(lines)
  return head.rstrip() + '\n', found


def merge(path: pathlib.Path, sections: dict[str, list[str]]) -> None:
  """Replaces the sections of some papers and keeps the others.

  Args:
    path: the table.
    sections: lines per key.
  """
  head, old = read(path)
  old |= sections
  order = names()
  keys = sorted(old, key=lambda k: order.index(k) if k in order else 999)
  text = head + '\n' + '\n\n'.join('\n'.join(old[k]) for k in keys) + '\n'
  path.parent.mkdir(parents=True, exist_ok=True)
  path.write_text(text, 'utf-8')
