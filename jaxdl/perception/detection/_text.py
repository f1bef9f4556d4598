# SPDX-License-Identifier: Apache-2.0
"""Words in numbers: prompts, phrases, vocabularies."""

import re
from collections.abc import Iterable, Sequence

import numpy as np

from jaxdl.core import checks

# Between the phrases of a prompt.
SEPARATOR = '.'


def split_prompt(prompt: str) -> tuple[str, ...]:
  """Cuts a prompt into phrases.

  Phrases are separated by full stops, as in 'red circle . blue square .'; case
  and further white space say nothing.

  Args:
    prompt: what is looked for.

  Returns:
    The phrases, each once, in order.

  Raises:
    TypeError: if the prompt is no text.
    ValueError: if it holds no phrase.

  Example:
    >>> split_prompt('Red circle. blue  square .')
    ('red circle', 'blue square')
  """
  if not isinstance(prompt, str):
    raise TypeError(f'prompt must be text; got {checks.described(prompt)}.')
  parts = (' '.join(_words(p)) for p in prompt.split(SEPARATOR))
  found = tuple(dict.fromkeys(p for p in parts if p))
  if not found:
    raise ValueError(
      f'prompt={prompt!r} is empty: name what to look for, phrases separated '
      f"by '{SEPARATOR}'."
    )
  return found


def make_vocabulary(phrases: Iterable[str]) -> tuple[str, ...]:
  """Numbers the words of phrases; number 0 is padding.

  Args:
    phrases: any.

  Returns:
    '' and the words in alphabetical order.

  Raises:
    TypeError: if it is one text.
    ValueError: if there is no word.

  Example:
    >>> make_vocabulary(['red circle', 'red square'])
    ('', 'circle', 'red', 'square')
  """
  _check_phrases(phrases)
  words = sorted({w for p in phrases for w in _words(p)})
  if not words:
    raise ValueError('phrases hold no word: name at least one.')
  return ('', *words)


def encode_phrases(
  phrases: Sequence[str],
  vocabulary: Sequence[str],
  *,
  num_phrases: int | None = None,
  num_words: int | None = None,
) -> np.ndarray:
  """Turns phrases into numbers of words.

  Args:
    phrases: at least one, each of known words; `split_prompt` makes them.
    vocabulary: of `make_vocabulary`.
    num_phrases: P, slots for phrases; as many as there are if None.
    num_words: W, slots for words; as many as the longest phrase has if None.

  Returns:
    i32[P, W], with zeros behind a phrase and for slots without one.

  Raises:
    TypeError: if phrases are one text.
    ValueError: if there is no phrase, one is empty, has an unknown word or too
      many words, there are more than slots, or the vocabulary has no padding or
      a word twice.

  Example:
    >>> words = make_vocabulary(['red circle', 'blue square'])
    >>> encode_phrases(['blue circle'], words, num_phrases=2).tolist()
    [[1, 2], [0, 0]]
    >>> encode_phrases(['green circle'], words)
    Traceback (most recent call last):
    ...
    ValueError: phrase 'green circle' has the unknown word 'green': the \
vocabulary has blue, circle, red, square.
  """
  _check_phrases(phrases)
  if not len(phrases):
    raise ValueError('phrases is empty: name what to look for.')
  place = {word: i for i, word in enumerate(vocabulary)}
  if place.get('') or len(place) < len(vocabulary) or '' not in place:
    raise ValueError(
      "vocabulary must be '' and different words, as make_vocabulary gives "
      f'them: number 0 is padding; got {_listed(tuple(map(repr, vocabulary)))}.'
    )
  rows = []
  for phrase in phrases:
    words = _words(phrase)
    if not words:
      raise ValueError(f'phrase {phrase!r} has no word.')
    for word in words:
      if word not in place:
        raise ValueError(
          f'phrase {phrase!r} has the unknown word {word!r}: the vocabulary '
          f'has {_listed(vocabulary[1:])}.'
        )
    rows.append([place[word] for word in words])
  slots = len(rows) if num_phrases is None else num_phrases
  checks.integer(slots, name='num_phrases', low=1)
  if len(rows) > slots:
    raise ValueError(
      f'{len(rows)} phrases exceed the {slots} slots of a prompt '
      f'(num_phrases): ask in several prompts.'
    )
  longest = max(len(row) for row in rows)
  length = longest if num_words is None else num_words
  checks.integer(length, name='num_words', low=1)
  if longest > length:
    phrase = phrases[int(np.argmax([len(row) for row in rows]))]
    raise ValueError(
      f'phrase {phrase!r} has {longest} words but there is room for '
      f'num_words={length}.'
    )
  out = np.zeros((slots, length), np.int32)
  for i, row in enumerate(rows):
    out[i, : len(row)] = row
  return out


def _check_phrases(phrases):
  if isinstance(phrases, str):
    raise TypeError(
      f'phrases must be a sequence of texts; got the text {phrases!r}: cut it '
      'by split_prompt.'
    )


def has_word(text: str) -> bool:
  """Whether a text holds anything to ask for."""
  return bool(_words(text))


def _words(text):
  return re.findall(r'[^\W_]+', text.lower())


def _listed(words, most=20):
  shown = ', '.join(words[:most])
  return shown + (f' and {len(words) - most} more' if len(words) > most else '')
