# SPDX-License-Identifier: Apache-2.0
"""Text as bytes: what ships with Python, made-up reviews, and tsv files."""

import ast
import importlib.util
import os
import pathlib
from collections.abc import Sequence

import numpy as np

from jaxdl.core import checks
from jaxdl.data import _dataset
from jaxdl.data.files import _bounded

SENTIMENT_PROMPT = b'\nsentiment: '
SENTIMENT_LABELS = (b'n', b'p')

_MODULES = (
  'argparse',
  'asyncio.events',
  'bisect',
  'collections',
  'contextlib',
  'copy',
  'csv',
  'datetime',
  'decimal',
  'difflib',
  'email.message',
  'enum',
  'fractions',
  'functools',
  'hashlib',
  'heapq',
  'http.client',
  'inspect',
  'ipaddress',
  'json',
  'logging',
  'optparse',
  'os',
  'pathlib',
  'pickle',
  'pprint',
  'random',
  'shutil',
  'smtplib',
  'socket',
  'statistics',
  'string',
  'subprocess',
  'tarfile',
  'tempfile',
  'textwrap',
  'threading',
  'traceback',
  'turtle',
  'typing',
  'unittest.case',
  'uuid',
  'zipfile',
)
_SUBJECTS = (
  b'the plot|the cast|this film|the story|her acting|the music|the ending|'
  b'his script|the dialogue|the pacing|the lead role|every scene'
).split(b'|')
_VERBS = b'is|was|felt|seems|remains|turned out'.split(b'|')
_DEGREES = b'|very |truly |quite |simply |rather |so '.split(b'|')
_ADJECTIVES = (
  b'awful|boring|clumsy|dull|dreadful|empty|flat|hollow|lazy|messy|tedious|'
  b'weak'.split(b'|'),
  b'bright|brilliant|charming|clever|fresh|funny|great|lovely|moving|superb|'
  b'warm|witty'.split(b'|'),
)


def python_text(num_bytes: int = 200_000) -> bytes:
  """Collects English prose that is on every machine with Python.

  Docstrings of the standard library, module after module. They change a little
  between versions of Python.

  Args:
    num_bytes: most bytes to return, >= 1.

  Returns:
    ASCII text.

  Raises:
    ValueError: if the library's source files are not installed.

  Example:
    >>> len(python_text(1000))
    1000
  """
  checks.integer(num_bytes, name='num_bytes', low=1)
  parts, size = [], 0
  kinds = (ast.Module, ast.ClassDef, ast.FunctionDef)
  for name in _MODULES:
    spec = importlib.util.find_spec(name)
    if spec is None or not spec.origin or not spec.origin.endswith('.py'):
      continue
    source = pathlib.Path(spec.origin).read_text(encoding='utf-8')
    for node in ast.walk(ast.parse(source)):
      text = ast.get_docstring(node) if isinstance(node, kinds) else None
      if text:
        parts.append(text.encode('ascii', 'ignore') + b'\n\n')
        size += len(parts[-1])
    if size >= num_bytes:
      break
  if not parts:
    raise ValueError('the source files of the standard library are missing.')
  return b''.join(parts)[:num_bytes]


def sentiment_reviews(
  rng: np.random.Generator, num_reviews: int, *, num_sentences: int = 1
) -> tuple[list[bytes], np.ndarray]:
  """Makes up short reviews, bad (0) and good (1) ones in equal shares.

  All sentences of a review agree, so a language model of reviews of several
  sentences gains from knowing whether the words so far are kind.

  Args:
    rng: host generator; advanced.
    num_reviews: n, >= 1.
    num_sentences: sentences per review, >= 1.

  Returns:
    `(texts, labels: i32[n])`.

  Raises:
    TypeError: if `rng` is not a NumPy generator.

  Example:
    >>> texts, labels = sentiment_reviews(np.random.default_rng(0), 4)
    >>> labels.tolist(), texts[0].endswith(b'.')
    ([0, 1, 0, 1], True)
  """
  _dataset.require_generator(rng)
  checks.integer(num_reviews, name='num_reviews', low=1)
  checks.integer(num_sentences, name='num_sentences', low=1)
  labels = np.arange(num_reviews, dtype=np.int32) % 2
  pick = lambda words: words[rng.integers(len(words))]
  texts = []
  for label in labels:
    sentences = [
      b'%s %s %s%s.'
      % (
        pick(_SUBJECTS),
        pick(_VERBS),
        pick(_DEGREES),
        pick(_ADJECTIVES[label]),
      )
      for _ in range(num_sentences)
    ]
    texts.append(b' '.join(sentences))
  return texts, labels


def prompt_tokens(
  texts: Sequence[bytes],
  labels: np.ndarray,
  *,
  length: int,
  prompt: bytes = SENTIMENT_PROMPT,
  words: Sequence[bytes] = SENTIMENT_LABELS,
) -> dict[str, np.ndarray]:
  """Turns classification into the prediction of one byte after a prompt.

  Texts that are too long lose their beginning; short ones are followed by
  zeros, which a causal model does not see.

  Args:
    texts: n byte strings.
    labels: i[n] in [0, K).
    length: L, more than the prompt has bytes.
    prompt: what comes between a text and its label.
    words: K words, of which the first byte names the class.

  Returns:
    Dict of `inputs: i32[n, L]` and `labels: i32[n, L]`, -1 everywhere but after
    the prompt: batches of `networks.language_modeling`.

  Raises:
    ValueError: if the length is too small, two words begin alike, or a label
      is out of range.

  Example:
    >>> batch = prompt_tokens([b'ab'], np.array([1]), length=4, prompt=b'?')
    >>> batch['inputs'].tolist(), batch['labels'].tolist()
    ([[97, 98, 63, 0]], [[-1, -1, 112, -1]])
  """
  checks.integer(length, name='length', low=len(prompt) + 1)
  first = np.array([word[0] for word in words], np.int32)
  if len(set(first.tolist())) < len(first):
    raise ValueError(f'words must begin with different bytes; got {words}.')
  labels = np.asarray(labels)
  if labels.shape != (len(texts),):
    raise ValueError(
      f'labels must have shape [n] = ({len(texts)},); got {labels.shape}.'
    )
  if labels.size and not 0 <= labels.min() <= labels.max() < len(first):
    raise ValueError(
      f'labels must lie in [0, {len(first)}); got {labels.min()}..'
      f'{labels.max()}.'
    )
  inputs = np.zeros((len(texts), length), np.int32)
  targets = np.full((len(texts), length), -1, np.int32)
  for n, text in enumerate(texts):
    whole = text[-(length - len(prompt)) :] + prompt
    inputs[n, : len(whole)] = np.frombuffer(whole, np.uint8)
    targets[n, len(whole) - 1] = first[labels[n]]
  return {'inputs': inputs, 'labels': targets}


def load_sst2(
  data_dir: str | os.PathLike[str],
) -> tuple[tuple[list[bytes], np.ndarray], tuple[list[bytes], np.ndarray]]:
  """Reads sentences and their sentiment from `train.tsv` and `dev.tsv`.

  Args:
    data_dir: folder of the two files of the GLUE benchmark: a header, then a
      sentence and 0 or 1 per line, separated by a tab.

  Returns:
    `(train, dev)`, each `(texts, labels: i32[n])`.

  Raises:
    ValueError: if a file is missing or no UTF-8, or a line is broken; names
      the file and, where there is one, the line.
  """
  found = []
  for name in ('train.tsv', 'dev.tsv'):
    path = pathlib.Path(data_dir) / name
    if not path.is_file():
      raise ValueError(
        f'{path} does not exist: SST-2 needs train.tsv, dev.tsv.'
      )
    texts, labels = [], []
    with _bounded.reading(path, 'UTF-8 text'):
      lines = path.read_text(encoding='utf-8').split('\n')
    for number, line in enumerate(lines[1:], start=2):
      if not line.strip():
        continue
      text, _, label = line.rstrip('\r').rpartition('\t')
      if label not in ('0', '1') or not text:
        raise ValueError(
          f'{path}, line {number}: need a sentence, a tab and 0 or 1; got '
          f'{line[:60]!r}.'
        )
      texts.append(text.strip().encode('utf-8'))
      labels.append(int(label))
    if not texts:
      raise ValueError(f'{path} holds no sentence.')
    found.append((texts, np.array(labels, np.int32)))
  return found[0], found[1]
