# SPDX-License-Identifier: Apache-2.0
"""Questions with known answers: made from templates, or read from a file."""

import json
import math
import pathlib
import re
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from jaxdl.core import checks, registry
from jaxdl.language.goods import _extraction

KINDS = ('number', 'choice', 'text')
# Of a file of questions: bytes, and characters of a question.
_MOST_BYTES = 256 << 20
_MOST_CHARS = 50_000
_NAMES = (
  *('Ada', 'Ben', 'Cleo', 'Dan', 'Eva', 'Finn', 'Gia', 'Hugo', 'Iris', 'Jon'),
  *('Kim', 'Leo', 'Mia', 'Nico', 'Olga', 'Paul', 'Rosa', 'Sam', 'Tess', 'Uma'),
)
_THINGS = (
  *('apples', 'books', 'coins', 'stamps', 'marbles', 'pencils', 'shells'),
  *('stickers', 'tickets', 'beads'),
)
# What happens to a number, and how that is told.
_STEPS = {
  'add': ('{name} gets {x} more.', 'Then {x} more arrive.'),
  'take': ('{name} gives {x} away.', 'Then {x} are lost.'),
  'times': ('The number grows to {x} times as many.',),
  'share': ('{name} keeps one of {x} equal parts.',),
}
_START = '{name} has {x} {thing}.'
_ASK = 'How many {thing} does {name} have now?'


class Task(NamedTuple):
  """A question.

  Attributes:
    question: what is asked.
    answer: what is right, as `answer_of` would find it; '' if there is no right
      one.
    kind: 'number', 'choice' (a letter) or 'text'.
    choices: texts of a choice, (A), (B), ... in order.
  """

  question: str
  answer: str
  kind: str = 'number'
  choices: tuple[str, ...] = ()


def check_task(task: Task, *, name: str = 'task') -> Task:
  """Checks a question that somebody made.

  Args:
    task: the question.
    name: what it is called, for messages.

  Returns:
    The task.

  Raises:
    TypeError: if it is none.
    ValueError: if a part is empty, too long, or the answer is not one of the
      kind.

  Example:
    >>> check_task(Task('What is 1 + 1?', '2.0'))
    Traceback (most recent call last):
    ValueError: task has the answer '2.0': a number is written '2'.
  """
  if not isinstance(task, Task):
    raise TypeError(
      f'{name} must be a goods.Task(question, answer); got '
      f'{checks.described(task)}.'
    )
  checks.choice(task.kind, KINDS, name=f'{name}.kind')
  for label, text in (('question', task.question), ('answer', task.answer)):
    if not isinstance(text, str):
      raise TypeError(
        f'{name}.{label} must be text; got {checks.described(text)}.'
      )
    if len(text) > _MOST_CHARS:
      raise ValueError(
        f'{name}.{label} must have at most {_MOST_CHARS} characters; got '
        f'{len(text)}.'
      )
  if not task.question.strip():
    raise ValueError(f'{name}.question is empty.')
  if task.kind == 'number':
    plain = _extraction.plain_number(task.answer)
    if plain is None:
      raise ValueError(
        f'{name} has the answer {task.answer[:40]!r}, which is no number.'
      )
    if plain != task.answer:
      raise ValueError(
        f'{name} has the answer {task.answer!r}: a number is written {plain!r}.'
      )
  if task.kind == 'choice':
    if not 2 <= len(task.choices) <= 26:
      raise ValueError(
        f'{name} must have 2 to 26 choices; got {len(task.choices)}.'
      )
    checks.choice(
      task.answer, _extraction.letters(task.choices), name=f'{name}.answer'
    )
  return task


def arithmetic_tasks(
  num_tasks: int = 300,
  *,
  num_steps: int = 3,
  largest: int = 20,
  seed: int = 0,
) -> tuple[Task, ...]:
  """Makes word problems of arithmetic, of which all numbers stay whole.

  Args:
    num_tasks: how many, all different.
    num_steps: what happens to the number, one sentence each.
    largest: of the numbers in sentences that add.
    seed: of the draws.

  Returns:
    The tasks; answers are exact.

  Raises:
    ValueError: if a number is out of range, or there are not as many different
      ones.

  Example:
    >>> task = arithmetic_tasks(1, num_steps=1)[0]
    >>> task.question[:36], task.answer
    ('Sam has 11 shells. Sam gets 7 more. ', '18')
  """
  checks.integer(num_tasks, name='num_tasks', low=1)
  checks.integer(seed, name='seed', low=0)
  checks.integer(num_steps, name='num_steps', low=1, high=20)
  checks.integer(largest, name='largest', low=2, high=10**6)
  rng = np.random.default_rng(seed)
  found: dict[str, Task] = {}
  for _ in range(20 * num_tasks + 100):
    task = _word_problem(rng, num_steps, largest)
    found.setdefault(task.question, task)
    if len(found) == num_tasks:
      return tuple(found.values())
  raise ValueError(
    f'num_tasks={num_tasks} different tasks do not exist with num_steps='
    f'{num_steps} and largest={largest}: found {len(found)}.'
  )


def _word_problem(rng, num_steps, largest):
  """One question, and its answer."""
  name, thing = rng.choice(_NAMES), rng.choice(_THINGS)
  value = int(rng.integers(2, largest + 1))
  said = [_START.format(name=name, x=value, thing=thing)]
  for _ in range(num_steps):
    kind, x = _drawn_step(rng, value, largest)
    value = _stepped(kind, value, x)
    words = _STEPS[kind][int(rng.integers(len(_STEPS[kind])))]
    said.append(words.format(name=name, x=x))
  said.append(_ASK.format(name=name, thing=thing))
  return Task(' '.join(said), str(value))


def _drawn_step(rng, value, largest):
  """A step that leaves a whole number, not negative and not too large."""
  divisors = [d for d in range(2, 6) if value and value % d == 0]
  kinds = ['add']
  kinds += ['take'] if value > 1 else []
  kinds += ['times'] if 0 < value <= 10 * largest else []
  kinds += ['share'] if divisors else []
  kind = str(rng.choice(kinds))
  if kind == 'share':
    return kind, int(rng.choice(divisors))
  if kind == 'times':
    return kind, int(rng.integers(2, 5))
  high = largest if kind == 'add' else min(largest, value)
  return kind, int(rng.integers(1, high + 1))


def _stepped(kind, value, x):
  if kind == 'share':
    return value // x
  return {'add': value + x, 'take': value - x, 'times': value * x}[kind]


def solve_arithmetic(text: str) -> int | None:
  """Reads a question of `arithmetic_tasks` and answers it.

  Args:
    text: the question, with anything around it.

  Returns:
    The answer, or None if there is no such question.

  Example:
    >>> solve_arithmetic('Mia has 7 coins. Then 3 are lost. How many coins ...')
    4
    >>> solve_arithmetic('Why?') is None
    True
  """
  number = r'(\d{1,12})'
  begin = re.search(
    rf'\b(?:{"|".join(_NAMES)}) has {number} (?:{"|".join(_THINGS)})\.', text
  )
  if begin is None:
    return None
  value, place = int(begin[1]), begin.end()
  patterns = [
    (
      kind,
      re.compile(
        r'\s*'
        + re.escape(words)
        .replace(r'\{name\}', r'\w{1,20}')
        .replace(r'\{x\}', number)
      ),
    )
    for kind, several in _STEPS.items()
    for words in several
  ]
  while True:
    for kind, pattern in patterns:
      step = pattern.match(text, place)
      if step:
        x = int(step[1])
        if kind == 'share' and x == 0:
          return None
        value, place = _stepped(kind, value, x), step.end()
        break
    else:
      return value


def read_tasks(path: str | pathlib.Path) -> tuple[Task, ...]:
  """Reads questions from a file of JSON lines.

  A line is an object with `question` and `answer`. An answer is a number, text
  that ends in `#### number` (as those of GSM8K do), or text. With `choices`, a
  list of texts, it is the place of the right one from 0, its letter, or itself
  (MMLU). A line without an answer is a question that a judge has to rate.

  Args:
    path: the file, UTF-8.

  Returns:
    The tasks in order.

  Raises:
    ValueError: if the file cannot be read or a line is no question; the message
      has its number.

  Example:
    >>> import tempfile
    >>> with tempfile.NamedTemporaryFile('w', suffix='.jsonl') as file:
    ...   _ = file.write('{"question": "1 + 1?", "answer": "2. #### 2.0"}')
    ...   file.flush()
    ...   read_tasks(file.name)[0].answer
    '2'
  """
  path = pathlib.Path(path)
  try:
    if path.stat().st_size > _MOST_BYTES:
      raise ValueError(
        f'tasks file {path} has more than {_MOST_BYTES >> 20} MiB: take a part '
        'of it.'
      )
    text = path.read_text('utf-8')
  except (OSError, UnicodeDecodeError) as error:
    raise ValueError(f'tasks file {path} cannot be read: {error}.') from error
  found = []
  for number, line in enumerate(text.split('\n'), 1):
    if not line.strip():
      continue
    where = f'line {number} of {path}'
    try:
      row = json.loads(line)
    except (ValueError, RecursionError) as error:
      raise ValueError(f'{where} is no JSON: {error}.') from error
    if not isinstance(row, dict) or not isinstance(row.get('question'), str):
      raise ValueError(
        f'{where} must be an object with a text "question" and an "answer".'
      )
    found.append(check_task(_task_of(row, where), name=where))
  if not found:
    raise ValueError(f'tasks file {path} has no question.')
  return tuple(found)


def _task_of(row: dict[str, Any], where: str) -> Task:
  question, answer = row['question'], row.get('answer')
  if row.get('choices') is not None:
    return _choice_of(question, answer, row['choices'], where)
  if answer is None:
    return Task(question, '', 'text')
  if isinstance(answer, bool) or not isinstance(answer, (int, float, str)):
    raise ValueError(f'{where} has an answer that is no number and no text.')
  if isinstance(answer, float) and not math.isfinite(answer):
    raise ValueError(f'{where} has the answer {answer}, which is not finite.')
  if isinstance(answer, str) and '####' in answer:
    tail = answer.rpartition('####')[2]
    plain = _extraction.plain_number(tail)
    if plain is None:
      raise ValueError(f'{where} has no number behind ####.')
    return Task(question, plain)
  plain = _extraction.plain_number(str(answer))
  if plain is not None:
    return Task(question, plain)
  return Task(question, str(answer), 'text')


def _choice_of(question, answer, choices, where):
  if not isinstance(choices, list) or not all(
    isinstance(c, str) and len(c) <= _MOST_CHARS for c in choices
  ):
    raise ValueError(f'{where} has choices that are no list of texts.')
  names = _extraction.letters(choices)
  if isinstance(answer, int) and not isinstance(answer, bool):
    if not 0 <= answer < len(choices):
      raise ValueError(
        f'{where} has the answer {answer} of {len(choices)} choices, counted '
        'from 0.'
      )
    letter = names[answer]
  elif isinstance(answer, str) and answer.strip().upper() in names:
    letter = answer.strip().upper()
  elif isinstance(answer, str) and answer in choices:
    letter = names[choices.index(answer)]
  else:
    raise ValueError(f'{where} has an answer that is none of its choices.')
  return Task(question, letter, 'choice', tuple(choices))


def file(path: str, num_tasks: int | None = None) -> tuple[Task, ...]:
  """Questions of a file of JSON lines.

  Args:
    path: see `read_tasks`.
    num_tasks: how many of them, from the first on; None for all.

  Returns:
    The tasks.

  Raises:
    ValueError: see `read_tasks`, or if there are fewer.
  """
  tasks = read_tasks(path)
  if num_tasks is None:
    return tasks
  checks.integer(num_tasks, name='num_tasks', low=1)
  if num_tasks > len(tasks):
    raise ValueError(
      f'num_tasks={num_tasks} is more than the {len(tasks)} of {path}.'
    )
  return tasks[:num_tasks]


# Questions by name, for specs such as 'arithmetic(num_steps=2)'.
TASKS = registry.Registry(
  'tasks', {'arithmetic': arithmetic_tasks, 'file': file}
)


def split_tasks(
  tasks: Sequence[Task], num_test: int
) -> tuple[tuple[Task, ...], tuple[Task, ...]]:
  """Holds the last questions back.

  Args:
    tasks: all, checked one by one.
    num_test: how many are held back; fewer than there are.

  Returns:
    Those to learn from, and those held back.

  Raises:
    ValueError: if nothing is left to learn from.

  Example:
    >>> train, test = split_tasks(arithmetic_tasks(5), 2)
    >>> len(train), len(test)
    (3, 2)
  """
  checks.integer(num_test, name='num_test', low=1)
  if num_test >= len(tasks):
    raise ValueError(
      f'num_test={num_test} of {len(tasks)} tasks leaves none to learn from: '
      'take fewer.'
    )
  tasks = tuple(check_task(t, name=f'tasks[{i}]') for i, t in enumerate(tasks))
  return tasks[:-num_test], tasks[-num_test:]
