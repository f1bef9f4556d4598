# SPDX-License-Identifier: Apache-2.0
"""What a policy sees of a task and of what was written: numbers."""

import collections
import functools
import re
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from jaxdl.core import checks, extras, registry
from jaxdl.language.goods import _tasks

_NUM_TASK_FACTS = 6
_NUM_HISTORY_FACTS = 5


class Encoder(NamedTuple):
  """Turns what an agent sees into numbers.

  Attributes:
    size: D.
    encode: `encode(task, position, num_agents, seen) -> float32[D]`; `seen` are
      the earlier `Turn`s that the agent sees, oldest first. The same for the
      same, whenever it is called.
  """

  size: int
  encode: Callable[..., np.ndarray]


@functools.lru_cache(maxsize=16)
def _vectorizer(size):
  text = extras.require(
    'sklearn.feature_extraction.text', 'hashing features of texts'
  )
  return text.HashingVectorizer(n_features=size, ngram_range=(1, 2))


@functools.lru_cache(maxsize=4096)
def _hashed(text, size):
  found = _vectorizer(size).transform([text]).toarray()[0].astype(np.float32)
  found.setflags(write=False)
  return found


def hashing(
  task: int = 384, history: int = 352, positions: int = 16
) -> Encoder:
  """Words and pairs of words by their hashes, with facts beside.

  Args:
    task: numbers for the words of the task; 0 leaves them out.
    history: those for the words of what is seen; 0 leaves them out.
    positions: the most agents that are told apart by position.

  Returns:
    The encoder.

  Raises:
    ValueError: if a number is out of range.
    ImportError: without scikit-learn.

  Example:
    >>> encoder = hashing(task=8, history=0, positions=3)
    >>> question = _tasks.Task('How much is 2 + 2?', '4')
    >>> encoder.encode(question, 0, 3, ()).shape == (encoder.size,)
    True

  Source: sizes of Liang et al. 2026 (https://arxiv.org/abs/2508.02076), whose
    code draws some features anew for every call.
  """
  checks.integer(task, name='task', low=0)
  checks.integer(history, name='history', low=0)
  if task or history:  # Or who lacks it is told after the first request.
    extras.require('sklearn', 'encoder=hashing')

  def embed(text, size):
    return _hashed(text, size)

  return _encoder(embed, task, history, positions)


def facts(positions: int = 16) -> Encoder:
  """No words: where the agent sits, the size of the task, who agrees.

  Args:
    positions: the most agents that are told apart by position.

  Returns:
    The encoder.

  Raises:
    ValueError: if a number is out of range.
  """
  return _encoder(None, 0, 0, positions)


def text_encoder(
  embed: Callable[[str], Any], size: int, *, positions: int = 16
) -> Encoder:
  """An encoder of your own for texts, such as one of sentences.

  Args:
    embed: `embed(text) -> f[size]`, the same for the same text.
    size: of what it gives.
    positions: the most agents that are told apart by position.

  Returns:
    The encoder, for the words of the task and of what is seen.

  Raises:
    TypeError: if `embed` is no function.
    ValueError: if a number is out of range; when it is called, if `embed` gives
      something else.

  Example:
    >>> encoder = text_encoder(lambda text: [len(text) / 100], 1)
    >>> float(encoder.encode(_tasks.Task('1 + 1?', '2'), 0, 3, ())[0])
    0.05999999865889549
  """
  checks.integer(size, name='size', low=1)
  if not callable(embed):
    raise TypeError(
      f'embed must be a function of a text; got {checks.described(embed)}.'
    )

  @functools.lru_cache(maxsize=4096)
  def checked(text, size):
    found = np.asarray(embed(text), np.float32)
    if found.shape != (size,) or not np.isfinite(found).all():
      raise ValueError(
        f'embed must give {size} finite numbers; it gave shape {found.shape}.'
      )
    return found

  return _encoder(checked, size, size, positions)


def _encoder(embed, task_size, history_size, positions):
  checks.integer(positions, name='positions', low=1)
  size = task_size + history_size + positions + 1
  size += _NUM_TASK_FACTS + _NUM_HISTORY_FACTS

  def encode(task, position, num_agents, seen):
    parts = []
    if task_size:
      parts.append(embed(task.question, task_size))
    if history_size:
      text = '\n'.join(turn.text for turn in seen)
      parts.append(
        embed(text, history_size)
        if text
        else np.zeros(history_size, np.float32)
      )
    place = np.zeros(positions + 1, np.float32)
    place[min(position, positions - 1)] = 1
    place[-1] = position / max(num_agents - 1, 1)
    parts += [place, _task_facts(task), _history_facts(seen, num_agents)]
    return np.concatenate(parts).astype(np.float32)

  return Encoder(size, encode)


def _task_facts(task: _tasks.Task) -> np.ndarray:
  """Length and numbers of a question, and its kind."""
  numbers = [float(x) for x in re.findall(r'\d{1,12}', task.question)]
  return np.array(
    [
      np.log1p(len(task.question)) / 8,
      len(numbers) / 10,
      np.log1p(max(numbers, default=0)) / 10,
      task.question.count('.') / 10,
      task.kind == 'choice',
      task.kind == 'text',
    ],
    np.float32,
  )


def _history_facts(seen: Sequence[Any], num_agents: int) -> np.ndarray:
  """How much is seen, and how far answers agree."""
  answers = [turn.answer for turn in seen if turn.answer is not None]
  most = max(collections.Counter(answers).values(), default=0)
  last = bool(seen) and seen[-1].answer is not None
  return np.array(
    [
      len(seen) / num_agents,
      len(answers) / max(len(seen), 1),
      most / max(len(answers), 1),
      last,
      np.log1p(sum(len(turn.text) for turn in seen)) / 10,
    ],
    np.float32,
  )


# Encoders by name, for specs such as 'hashing(task=32)'.
ENCODERS = registry.Registry('encoder', {'hashing': hashing, 'facts': facts})
