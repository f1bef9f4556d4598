# SPDX-License-Identifier: Apache-2.0
"""Scripted models that solve word problems as well as their settings let them.

What they answer is drawn from a hash of the chat and the settings, so that it
is the same whenever and in whatever order they are asked. They are no language
models: whoever reports their results says 'scripted'.
"""

import hashlib
import json
import math
from typing import Any

from jaxdl.core import checks
from jaxdl.language import _scripts
from jaxdl.language.goods import (
  _evaluators,
  _extraction,
  _prompts,
  _protocol,
  _tasks,
)

# Of a model that is told nothing else.
_TEMPERATURE, _TOKENS = 1.0, 512


def draw(chat: _scripts.Chat, name: str) -> float:
  """A number in [0, 1) that a chat and its settings decide.

  Args:
    chat: what is asked.
    name: of the draw.

  Returns:
    The number.
  """
  text = json.dumps(
    [name, list(chat.messages), dict(chat.settings)], sort_keys=True
  )
  word = hashlib.blake2b(text.encode(), digest_size=8).digest()
  return int.from_bytes(word, 'big') / 2**64


def skill(
  temperature: float,
  max_tokens: float,
  *,
  best: float,
  width: float,
  tokens: int,
) -> float:
  """How well settings suit a scripted model.

  Args:
    temperature: of the request.
    max_tokens: of the request.
    best: the temperature that suits it most.
    width: how fast it suffers from others.
    tokens: of a whole solution.

  Returns:
    exp(-((T - best) / width)²) min(1, max_tokens / tokens), in [0, 1].

  Example:
    >>> skill(0.5, 450, best=0.5, width=0.4, tokens=900)
    0.5
  """
  warm = math.exp(-(((temperature - best) / width) ** 2))
  return warm * min(1.0, max(max_tokens, 0) / tokens)


def solver(
  best: float = 0.4,
  width: float = 0.4,
  tokens: int = 900,
  floor: float = 0.1,
  top: float = 0.85,
  help: float = 0.6,
  harm: float = 0.3,
  strict: bool = False,
) -> _scripts.Script:
  """Solves the problems of `goods.arithmetic_tasks`, more or less often.

  It is right with probability p = floor + (top - floor) `skill`. If a quoted
  answer is right, p rises by help (1 - p); if all that are quoted are wrong, it
  falls by harm p; without a request to reason it falls by a fifth.

  Args:
    best: the temperature that suits it most.
    width: how fast it suffers from others, > 0.
    tokens: `max_tokens` that a whole solution takes.
    floor: how often it is right at its worst.
    top: how often at its best.
    help: what a right answer of another is worth.
    harm: what wrong ones cost.
    strict: whether it refuses settings that are not of OpenAI's interface, as
      some servers do.

  Returns:
    The script.

  Raises:
    ValueError: if a number is out of range.

  Example:
    >>> script = solver(floor=1.0, top=1.0)
    >>> asked = 'Mia has 7 coins. Then 3 are lost. How many coins ...?'
    >>> chat = _scripts.Chat([{'role': 'user', 'content': asked}], {})
    >>> script(chat)[-16:]
    'The answer is 4.'
  """
  checks.number(best, name='best', low=0.0)
  checks.number(width, name='width', low=0.0, open_low=True)
  checks.integer(tokens, name='tokens', low=1)
  for name, value in (('floor', floor), ('top', top), ('help', help)):
    checks.number(value, name=name, low=0.0, high=1.0)
  checks.number(harm, name='harm', low=0.0, high=1.0)
  checks.flag(strict, name='strict')

  def script(chat):
    if strict:
      for name in _protocol.EXTRA:
        if name in chat.settings:
          raise ValueError(f'Unrecognized request argument: {name}')
    asked = '\n'.join(
      m['content'] for m in chat.messages if m['role'] == 'user'
    )
    right = _tasks.solve_arithmetic(asked)
    if right is None:
      return 'I cannot solve this.'
    able = skill(
      _number(chat, 'temperature', _TEMPERATURE),
      _number(chat, 'max_tokens', _TOKENS),
      best=best,
      width=width,
      tokens=tokens,
    )
    p = floor + (top - floor) * able
    if _prompts.STEPS not in asked:
      p *= 0.8
    seen = _prompts.quoted_answers(chat.messages[-1]['content'])
    if str(right) in seen:
      p += help * (1 - p)
    elif seen:
      p -= harm * p
    answer = right
    if draw(chat, 'right') >= p:
      # Those who are wrong are wrong in different ways.
      answer = right + 1 + int(7 * draw(chat, 'wrong'))
    return f'I follow the story step by step.\nThe answer is {answer}.'

  return script


def marker(noise: float = 0.0) -> _scripts.Script:
  """Rates solutions as a judge: right ones 5, others 2.

  Args:
    noise: how often a mark is one off.

  Returns:
    The script.

  Raises:
    ValueError: if the number is out of range.
  """
  checks.number(noise, name='noise', low=0.0, high=1.0)

  def script(chat):
    asked = chat.messages[1]['content'] if len(chat.messages) > 1 else ''
    problem, _, text = asked.partition('<<<')
    right = _tasks.solve_arithmetic(problem)
    good = right is not None and (
      _extraction.extract_number(text.rpartition('>>>')[0]) == str(right)
    )
    marks = {}
    for name in _evaluators.QUALITIES:
      mark = 5 if good else 2
      off = draw(chat, name) < noise
      marks[name] = mark + (-1 if good else 1) * off
    return json.dumps(marks)

  return script


def _number(chat: _scripts.Chat, name: str, default: float) -> float:
  value: Any = chat.settings.get(name)
  plain = isinstance(value, int | float) and not isinstance(value, bool)
  return float(value) if plain and math.isfinite(value) else default


# Scripted models by name, for the server of `language.loopback`.
SCRIPTS = {'goods_solver': solver, 'goods_judge': marker}
