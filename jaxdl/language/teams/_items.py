# SPDX-License-Identifier: Apache-2.0
"""Tasks in words, how answers are graded, and files of benchmarks.

Nothing that a model writes is ever run: programs are compared as text, which is
stricter than tests are and no measure of what a program does.
"""

import json
import os
import pathlib
from typing import Any, NamedTuple

import numpy as np

from jaxdl.core import checks, registry
from jaxdl.language.teams import _votes

_MOST_BYTES = 2**28


class Item(NamedTuple):
  """A task in words.

  Attributes:
    id: its name.
    question: what agents are asked.
    answer: what is right.
    grade: a part of `GRADERS`.
  """

  id: str
  question: str
  answer: Any
  grade: str = 'exact'


class Items(NamedTuple):
  """Tasks of a run.

  Attributes:
    train: those that gradients come from.
    validation: those that decide what is accepted.
    test: those that are looked at only.
  """

  train: tuple[Item, ...]
  validation: tuple[Item, ...]
  test: tuple[Item, ...]


def exact(output: Any, answer: Any) -> float:
  """1 if the answers are equal: as numbers, or as text without case."""
  return float(_votes.same(output) == _votes.same(answer))


def numeric(output: Any, answer: Any, *, tolerance: float = 1e-6) -> float:
  """1 if both are numbers and near each other.

  Args:
    output: of a model.
    answer: what is right.
    tolerance: relative, and absolute below one.

  Returns:
    1.0 or 0.0.
  """
  checks.number(tolerance, name='tolerance', low=0.0)
  ours, theirs = _votes.number(output), _votes.number(answer)
  if ours is None or theirs is None:
    return 0.0
  return float(abs(ours - theirs) <= tolerance * max(1.0, abs(theirs)))


def code(output: Any, answer: Any) -> float:
  """1 if two programs are the same text but for blanks; nothing is run."""
  lines = lambda text: [
    ' '.join(line.split()) for line in str(text).splitlines() if line.strip()
  ]
  return float(lines(output) == lines(answer))


# How answers are graded, for specs such as 'numeric(tolerance=0.01)'.
GRADERS = registry.Registry(
  'grade',
  {'exact': exact, 'numeric': numeric, 'code': code},
  given=('output', 'answer'),
)


def grade(item: Item, output: Any) -> float:
  """Scores an answer.

  Args:
    item: the task.
    output: of a model; None scores 0.

  Returns:
    A score in [0, 1].

  Raises:
    ValueError: if the grader is unknown.

  Example:
    >>> grade(Item('i', 'What is 3 + 4?', 7), '7.0')
    1.0
  """
  if output is None:
    return 0.0
  return check_score(GRADERS.make(item.grade, output, item.answer))


def check_score(value: Any) -> float:
  """Checks that a score lies in [0, 1], as those of own graders must."""
  checks.number(value, name='score', low=0.0, high=1.0)
  return float(value)


_NAMES = ('Ann', 'Ben', 'Cora', 'Dev', 'Eve', 'Finn', 'Gina', 'Hugo')
_THINGS = ('apples', 'bolts', 'books', 'bricks', 'plums', 'shells')


def word_item(name: str, thing: str, a: int, b: int, c: int, grams: bool):
  """One item of arithmetic in words, as `arithmetic` draws them.

  Args:
    name: of a person.
    thing: what is counted.
    a: crates.
    b: kilograms in each.
    c: kilograms more.
    grams: whether the answer is asked for in grams, not in kilograms.

  Returns:
    Question and answer.

  Example:
    >>> word_item('Ann', 'plums', 3, 4, 5, True)[1]
    17000
  """
  unit = 'grams' if grams else 'kilograms'
  question = (
    f'{name} packs {a} crates of {b} kilograms of {thing} each, and {c} '
    f'kilograms loose. How many {unit} of {thing} are there?'
  )
  return question, (a * b + c) * (1000 if grams else 1)


def arithmetic(
  *,
  seed: int,
  num_train: int = 24,
  num_validation: int = 12,
  num_test: int = 24,
) -> Items:
  """Items of arithmetic in words, drawn without repetition.

  Args:
    seed: of the draw.
    num_train: items that gradients come from.
    num_validation: items that decide.
    num_test: items that are looked at only.

  Returns:
    The items.

  Raises:
    ValueError: if a number is below one.

  Example:
    >>> items = arithmetic(seed=0, num_train=2)
    >>> len(items.train), items.train[0].grade
    (2, 'numeric')
  """
  counts = (num_train, num_validation, num_test)
  for name, count in zip(
    ('num_train', 'num_validation', 'num_test'), counts, strict=True
  ):
    checks.integer(count, name=name, low=1, high=2000)
  rng = np.random.default_rng(checks.integer(seed, name='seed', low=0))
  found: dict[str, Item] = {}
  while len(found) < sum(counts):
    question, answer = word_item(
      str(rng.choice(_NAMES)),
      str(rng.choice(_THINGS)),
      int(rng.integers(2, 20)),
      int(rng.integers(2, 20)),
      int(rng.integers(2, 20)),
      bool(rng.integers(2)),
    )
    if question not in found:
      found[question] = Item(f'item{len(found)}', question, answer, 'numeric')
  return _dealt(list(found.values()), counts)


def _dealt(items, counts):
  a, b = counts[0], counts[0] + counts[1]
  return Items(
    tuple(items[:a]), tuple(items[a:b]), tuple(items[b : sum(counts)])
  )


def math(
  path: str,
  *,
  seed: int,
  num_train: int = 24,
  num_validation: int = 24,
  num_test: int = 100,
) -> Items:
  r"""Problems of a file in the form of MATH: `problem`, `solution`.

  The answer is what stands in the last `\boxed{}` of the solution; it is
  compared as a number or as text, not by algebra.

  Args:
    path: JSON of one problem or a list, or JSON lines.
    seed: of the order.
    num_train: items that gradients come from.
    num_validation: items that decide.
    num_test: items that are looked at only, at most.

  Returns:
    The items.

  Raises:
    ValueError: if the file is missing, of another form, or has too few.
  """
  items = []
  for i, row in enumerate(_rows(path)):
    problem = _text(row, 'problem', path, i)
    answer = boxed(_text(row, 'solution', path, i))
    if answer is None:
      raise ValueError(f'path={path}: problem {i} has no \\boxed answer.')
    items.append(Item(f'math{i}', problem, answer, 'exact'))
  return _drawn(items, path, seed, (num_train, num_validation, num_test))


def humaneval(
  path: str,
  *,
  seed: int,
  num_train: int = 16,
  num_validation: int = 16,
  num_test: int = 132,
) -> Items:
  """Problems of a file in the form of HumanEval, graded as text.

  Programs are not run: a score is the share of answers that repeat the file's
  own solution, which is no Pass@1.

  Args:
    path: JSON lines of `task_id`, `prompt` and `canonical_solution`.
    seed: of the order.
    num_train: items that gradients come from.
    num_validation: items that decide.
    num_test: items that are looked at only, at most.

  Returns:
    The items.

  Raises:
    ValueError: if the file is missing, of another form, or has too few.
  """
  items = [
    Item(
      _text(row, 'task_id', path, i),
      _text(row, 'prompt', path, i),
      _text(row, 'canonical_solution', path, i),
      'code',
    )
    for i, row in enumerate(_rows(path))
  ]
  return _drawn(items, path, seed, (num_train, num_validation, num_test))


def boxed(text: str) -> str | None:
  r"""What stands in the last `\boxed{}` of a text, or None.

  Example:
    >>> boxed('so x = \\boxed{\\frac{1}{2}}.')
    '\\frac{1}{2}'
  """
  start = text.rfind('\\boxed{')
  if start < 0:
    return None
  depth, begin = 1, start + len('\\boxed{')
  for place in range(begin, len(text)):
    depth += {'{': 1, '}': -1}.get(text[place], 0)
    if not depth:
      return text[begin:place].strip()
  return None


def _rows(path: str | os.PathLike[str]) -> list[dict[str, Any]]:
  file = pathlib.Path(path)
  try:
    if file.stat().st_size > _MOST_BYTES:
      raise ValueError(f'path={path} has more than {_MOST_BYTES} bytes.')
    text = file.read_text('utf-8')
  except (OSError, UnicodeDecodeError) as error:
    raise ValueError(f'path={path} cannot be read: {error}.') from None
  try:
    try:
      found = json.loads(text)
    except ValueError:
      found = [json.loads(line) for line in text.splitlines() if line.strip()]
  except (ValueError, RecursionError):
    raise ValueError(f'path={path} must be JSON or lines of it.') from None
  found = found if isinstance(found, list) else [found]
  if not found or not all(isinstance(row, dict) for row in found):
    raise ValueError(f'path={path} must hold objects, at least one.')
  return found


def _text(row, field, path, place):
  value = row.get(field)
  if not isinstance(value, str) or not value.strip():
    raise ValueError(f'path={path}: object {place} needs {field}, text.')
  return value


def _drawn(items, path, seed, counts):
  for name, count in zip(
    ('num_train', 'num_validation', 'num_test'), counts, strict=True
  ):
    checks.integer(count, name=name, low=1)
  order = np.random.default_rng(seed).permutation(len(items))
  if len(items) <= counts[0] + counts[1]:
    raise ValueError(
      f'path={path} has {len(items)} items: num_train={counts[0]} and '
      f'num_validation={counts[1]} leave none for the test.'
    )
  return _dealt([items[i] for i in order], counts)


# Tasks in words, for specs such as 'math(path="problems.json")'.
TEXT_TASKS = registry.Registry(
  'task',
  {'arithmetic': arithmetic, 'math': math, 'humaneval': humaneval},
  given=('seed',),
)
