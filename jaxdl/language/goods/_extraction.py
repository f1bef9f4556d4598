# SPDX-License-Identifier: Apache-2.0
"""What a text answers: the number or the choice that it ends with."""

import decimal
import re
from collections.abc import Sequence

# A reply is somebody else's text: what stands before its end is not read.
_MOST_CHARS = 20_000
# A sign counts unless it stands behind a word or a number: 3-5 ends in 5.
_NUMBER = (
  r'(?<![\w.])[-\u2212+]?(?:\$\s?)?[-\u2212]?'
  r'(?:\d{1,3}(?:,\d{3}){1,8}(?!\d)|\d{1,40})(?:\.\d{1,40})?'
  r'(?:[eE][-+]?\d{1,2}(?!\w))?'
  r'|(?<![\w.])[-\u2212]?\$?\.\d{1,40}'
)
_NUMBERS = re.compile(rf'(?:{_NUMBER})')
# In front of an answer may stand 'x =', a colon, markup or brackets.
_BEFORE = r'\s{0,9}(?:[a-zA-Z]\s?=)?[\s:=*_`\\(\[{$]{0,9}?'
_SAID = (
  re.compile(rf'the answer is{_BEFORE}(?P<n>{_NUMBER})', re.IGNORECASE),
  re.compile(rf'####{_BEFORE}(?P<n>{_NUMBER})'),
  re.compile(rf'\\boxed\{{\s?(?P<n>{_NUMBER})\s?\}}'),
  re.compile(rf'\banswer{_BEFORE}(?P<n>{_NUMBER})', re.IGNORECASE),
)
# Words in any case, the letter as a capital: 'the answer is a matter of'.
_CHOSEN = tuple(
  re.compile(rf'{before}[\s:*_`"(\[{{]{{0,9}}([A-Z])\b')
  for before in ('(?i:the answer is)', '####', r'\\boxed', r'\b(?i:answer)')
)
_BRACKETED = re.compile(r'\(([A-Z])\)')
_ALONE = re.compile(r'^[\s*_`"]{0,9}([A-Z])[\s.:*_`")]{0,9}$', re.MULTILINE)
_LETTERS = 'ABCDEFGHIJKLMNOPQRSTUVWXYZ'
_MOST_DIGITS = 60


def letters(choices: Sequence[str]) -> tuple[str, ...]:
  """The letters of choices, A, B, ..."""
  return tuple(_LETTERS[: len(choices)])


def plain_number(text: str) -> str | None:
  """Writes a number in its shortest form.

  Args:
    text: a number, with commas, a dollar or blanks.

  Returns:
    Its digits, or None if it is no finite number, or one of absurd length.

  Example:
    >>> [plain_number(x) for x in ('12.0', '$1,234', '-5', '-0.0', '2.50', 'x')]
    ['12', '1234', '-5', '0', '2.5', None]
  """
  if len(text) > 200:
    return None
  found = re.sub(r'[\s,$+]', '', text).replace('\u2212', '-')
  try:
    value = decimal.Decimal(found)
  except decimal.InvalidOperation:
    return None
  if not value.is_finite() or abs(value.adjusted()) > _MOST_DIGITS:
    return None
  with decimal.localcontext(prec=2 * _MOST_DIGITS):
    shown = f'{value.normalize():f}'
  return '0' if shown in ('-0', '0') else shown


def extract_number(text: str) -> str | None:
  """Finds the number that a text gives as its answer.

  The last one behind 'The answer is', else behind '####', in a box, behind
  'answer', or the last number of all.

  Args:
    text: anything; only its end is read if it is long.

  Returns:
    The number in its shortest form, or None.

  Example:
    >>> extract_number('From 7 take 12. The answer is -5.')
    '-5'
    >>> extract_number('It costs $1,234.00 #### 1,234')
    '1234'
    >>> extract_number('I do not know') is None
    True

  Source: code of Liang et al. 2026 (https://arxiv.org/abs/2508.02076), whose
    pattern loses the sign.
  """
  text = text[-_MOST_CHARS:]
  for pattern in _SAID:
    found = None
    for match in pattern.finditer(text):
      found = plain_number(match['n']) or found
    if found is not None:
      return found
  found = None
  for match in _NUMBERS.finditer(text):
    found = plain_number(match[0]) or found
  return found


def extract_choice(text: str, choices: Sequence[str]) -> str | None:
  """Finds the choice that a text gives as its answer.

  Args:
    text: anything; only its end is read if it is long.
    choices: what there is to choose from.

  Returns:
    The letter: the last behind 'The answer is', '####', in a box, or behind
    'answer'; else the last alone on its line or in brackets; else that of the
    only choice that the text has word by word; or None.

  Example:
    >>> extract_choice('Not (A). The answer is (B).', ('cat', 'dog'))
    'B'
    >>> extract_choice('A dog, I think.', ('cat', 'dog'))
    'B'
  """
  text = text[-_MOST_CHARS:]
  known = letters(choices)
  for pattern in _CHOSEN:
    found = [x for x in pattern.findall(text) if x in known]
    if found:
      return found[-1]
  for alone in (_ALONE, _BRACKETED):
    found = [x for x in alone.findall(text) if x in known]
    if found:
      return found[-1]
  lower = text.lower()
  named = [
    letter
    for letter, choice in zip(known, choices, strict=True)
    if choice.strip()
    and re.search(rf'(?<!\w){re.escape(choice.strip().lower())}(?!\w)', lower)
  ]
  return named[0] if len(named) == 1 else None


def answer_of(task, text: str) -> str | None:
  """Finds what a text answers to a task.

  Args:
    task: the `Task`.
    text: of an agent.

  Returns:
    The answer as `task.answer` is written; of a task that asks for text, the
    text behind the last 'The answer is', or all of it; None if there is none.

  Example:
    >>> from jaxdl.language import goods
    >>> answer_of(goods.Task('1 + 1?', '2'), 'That makes 2.0.')
    '2'
  """
  if task.kind == 'number':
    return extract_number(text)
  if task.kind == 'choice':
    return extract_choice(text, task.choices)
  text = text[-_MOST_CHARS:].strip()
  *_, last = re.split(r'(?i)the answer is:?', text)
  return last.strip().rstrip('.').strip() or None
