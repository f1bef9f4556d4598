# SPDX-License-Identifier: Apache-2.0
"""LEAF: JSON files in a train and a test folder, one entry per user."""

import itertools
import json
import os
import pathlib
from typing import Any

import numpy as np

from jaxdl.data import _dataset
from jaxdl.data.files import _limits, _reading

# Those of the models of the benchmark, in order; `vocabulary='shakespeare'`.
SHAKESPEARE = (
  '\n !"&\'(),-.0123456789:;>?ABCDEFGHIJKLMNOPQRSTUVWXYZ[]'
  'abcdefghijklmnopqrstuvwxyz}'
)


def load_leaf(
  data_dir: str | os.PathLike[str],
  *,
  input_shape: tuple[int, ...] | None = None,
  invert: bool = False,
  vocabulary: str | None = None,
  num_classes: int | None = None,
  name: str = 'leaf',
) -> _dataset.FederatedDataset:
  """Loads a data set of the LEAF benchmark.

  Reads every `*.json` in `data_dir/train` and `data_dir/test`, in the order of
  file names, and checks them all before it returns anything. Numeric inputs
  become f32. Text inputs (equally long strings, one-character labels, as in
  Shakespeare) become character numbers, i32[n, length].

  Args:
    data_dir: folder that holds `train/` and `test/`.
    input_shape: shape of one example, e.g. `(28, 28, 1)` for FEMNIST.
    invert: whether inputs become `1 - inputs` (FEMNIST has background 1).
    vocabulary: the characters, in order, of text; 'shakespeare' for the 80 of
      the benchmark's models; all that occur, sorted, if None.
    num_classes: K; one more than the largest label (or the size of the
      vocabulary) if None.
    name: what to call the data set.

  Returns:
    The data set, clients in increasing order of their names.

  Raises:
    FileNotFoundError: if a folder is missing or has no `*.json`.
    ValueError: if a file is not JSON, lacks a key, counts or lengths disagree,
      inputs are not finite numbers (null and numbers as text are none) or a
      user occurs twice; names file and user.

  Source: Caldas et al. 2018 (https://arxiv.org/abs/1812.01097).
  """
  sides = []
  for split in ('train', 'test'):
    folder = pathlib.Path(data_dir) / split
    paths = sorted(folder.glob('*.json')) if folder.is_dir() else []
    if not paths:
      raise FileNotFoundError(
        f'{folder}: expected a folder of .json files, got '
        f'{"a folder without any" if folder.is_dir() else "nothing"}.'
      )
    sides.append(_read_side(paths))
  pairs = [pair for side in sides for pair in side.values()]
  is_text = _is_text(pairs)
  if vocabulary == 'shakespeare':
    vocabulary = SHAKESPEARE
  if is_text:
    if vocabulary is None:
      vocabulary = ''.join(
        sorted(
          {
            c
            for _, x, y in pairs
            for text in (*x, *y)
            if isinstance(text, str)
            for c in text
          }
        )
      )
    num_classes = len(vocabulary) if num_classes is None else num_classes
  codes = {c: i for i, c in enumerate(vocabulary or '')}
  clients = []
  shapes = set()
  for side in sides:
    ids = sorted(side)
    inputs, labels = [], []
    for user in ids:
      where, x, y = side[user]
      if is_text:
        x, y = _encode(where, x, codes), _encode(where, y, codes)
        if y.shape[1] != 1:
          raise _reading.problem(
            where, 'labels of one character', f'{y.shape[1]} characters'
          )
        y = y[:, 0]
      else:
        x = _numbers(where, x, input_shape)
        x = np.float32(1) - x if invert else x
      if not is_text and not all(type(label) is int for label in y):
        raise _reading.problem(where, 'integer labels', 'something else')
      inputs.append(x)
      labels.append(_reading.label_array(where, y, num_classes))
      if len(x):
        shapes.add(x.shape[1:])
      if len(shapes) > 1:
        raise _reading.problem(
          where,
          'one shape of inputs for all users',
          _limits.short(str(sorted(shapes))),
        )
    clients.append(
      _dataset.ClientExamples(tuple(ids), tuple(inputs), tuple(labels))
    )
  if not shapes:
    raise _reading.problem(data_dir, 'examples', 'users without any')
  (shape,) = shapes
  clients = [
    side._replace(inputs=tuple(x.reshape(-1, *shape) for x in side.inputs))
    for side in clients
  ]
  if num_classes is None:
    num_classes = _reading.num_classes_of(clients[0].labels + clients[1].labels)
  return _dataset.FederatedDataset(*clients, num_classes=num_classes, name=name)


def _read_side(paths) -> dict[str, tuple[str, list[Any], list[Any]]]:
  """Returns user -> (where it was found, x, y) over several files."""
  side = {}
  for path in paths:
    raw = _reading.read_bytes(path)
    try:
      content = json.loads(
        raw, object_pairs_hook=_object, parse_constant=_refuse
      )
    except (ValueError, RecursionError, MemoryError) as error:
      reason = _limits.short(str(error)).rstrip('.')
      raise _reading.problem(
        path, 'JSON', f'something else ({reason})'
      ) from None
    if not isinstance(content, dict):
      raise _reading.problem(path, 'an object', type(content).__name__)
    for key, kind in (
      ('users', list),
      ('num_samples', list),
      ('user_data', dict),
    ):
      if not isinstance(content.get(key), kind):
        raise _reading.problem(
          path,
          f'the key {key!r} with a {kind.__name__}',
          f'the keys {_limits.listed(content) or "of an empty object"}'
          if key not in content
          else type(content[key]).__name__,
        )
    users, counts = content['users'], content['num_samples']
    if len(users) != len(counts):
      raise _reading.problem(
        path,
        'as many num_samples as users',
        f'{len(users)} users and {len(counts)} counts',
      )
    for user, count in zip(users, counts, strict=True):
      where = f'{path}, user {_limits.short(repr(user))}'
      if not isinstance(user, str):
        raise _reading.problem(where, 'a string', type(user).__name__)
      if user in side:
        raise _reading.problem(where, 'every user once', 'a second entry')
      data = content['user_data'].get(user)
      if not isinstance(data, dict):
        raise _reading.problem(
          where, 'an entry in user_data', 'none' if data is None else 'a value'
        )
      for key in ('x', 'y'):
        if not isinstance(data.get(key), list):
          raise _reading.problem(
            where,
            f'the key {key!r} with a list',
            f'the keys {_limits.listed(data) or "of an empty object"}',
          )
      _reading.same_length(where, data['x'], data['y'])
      if type(count) is not int or len(data['y']) != count:
        raise _reading.problem(
          where,
          f'{_limits.short(count)} examples as in num_samples',
          f'{len(data["y"])}',
        )
      side[user] = (where, data['x'], data['y'])
    others = content['user_data'].keys() - set(users)
    if others:
      raise _reading.problem(
        path,
        'all of user_data among the users',
        f'{_limits.listed(others)} too',
      )
  return side


def _object(pairs) -> dict[str, Any]:
  out = dict(pairs)
  if len(out) < len(pairs):
    names = sorted(key for key, _ in pairs)
    twice = next(a for a, b in itertools.pairwise(names) if a == b)
    raise ValueError(f'the key {twice!r} twice')
  return out


def _refuse(constant) -> None:
  raise ValueError(f'{constant} is no JSON')


def _is_text(pairs) -> bool:
  return any(isinstance(x[0], str) for _, x, _ in pairs if x)


def _numbers(where, x, input_shape) -> np.ndarray:
  # NumPy would take null for NaN, '1' for 1 and true for 1.
  kinds, level = set(), x
  for _ in range(32):
    kinds |= set(map(type, level))
    if list not in kinds:
      break
    kinds.remove(list)
    if kinds:
      break
    level = list(itertools.chain.from_iterable(level))
  try:
    if kinds - {int, float}:
      raise TypeError
    array = np.asarray(x, np.float64)
  except (ValueError, TypeError, OverflowError):
    raise _reading.problem(
      where, 'numeric inputs of one shape', 'ragged or non-numeric ones'
    ) from None
  array = _reading.as_float32(where, array)
  if not np.isfinite(array).all():
    raise _reading.problem(where, 'finite inputs', 'infinite ones')
  if len(x) and not array.size:
    raise _reading.problem(where, 'inputs with numbers', f'shape {array.shape}')
  if input_shape is None:
    return array
  try:
    return array.reshape(len(x), *input_shape)
  except ValueError:
    raise _reading.problem(
      where, f'inputs that fit {input_shape}', f'shape {array.shape[1:]}'
    ) from None


def _encode(where, texts, codes) -> np.ndarray:
  """Maps equally long strings to i32[n, length]."""
  if not all(isinstance(text, str) for text in texts):
    raise _reading.problem(where, 'strings', 'something else among them')
  lengths = {len(text) for text in texts}
  if len(lengths) > 1 or 0 in lengths:
    raise _reading.problem(
      where,
      'strings of one positive length',
      f'lengths {_limits.short(str(sorted(lengths)))}',
    )
  unknown = {c for text in texts for c in text} - set(codes)
  if unknown:
    raise _reading.problem(
      where, 'characters of the vocabulary', ascii(min(unknown))
    )
  return np.array(
    [[codes[c] for c in text] for text in texts], np.int32
  ).reshape(len(texts), *(lengths or {1}))
