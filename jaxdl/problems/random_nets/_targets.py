# SPDX-License-Identifier: Apache-2.0
"""Functions and small data sets that nets of one hidden layer are fitted to."""

import os
import pathlib
from typing import NamedTuple

import numpy as np

from jaxdl import data as data_lib
from jaxdl.core import checks, registry


class Target(NamedTuple):
  """Examples to be fitted, and others to be tested on.

  Attributes:
    x: f64[N, d].
    y: f64[N, o], one-hot where there are classes.
    test_x: f64[Q, d].
    test_y: f64[Q, o].
    num_classes: K, or 0.
  """

  x: np.ndarray
  y: np.ndarray
  test_x: np.ndarray
  test_y: np.ndarray
  num_classes: int = 0


def _sampled(curve, rng, complexity, dim, num_points, noise):
  """A product of curves on [-1, 1]^d: a grid on a line, else drawn points."""
  checks.number(complexity, name='complexity', low=0.0, open_low=True)
  checks.integer(dim, name='dim', low=1)
  checks.integer(num_points, name='num_points', low=1)
  checks.number(noise, name='noise', low=0.0)
  if dim == 1:
    # No common points but the ends.
    x, test_x = (
      np.linspace(-1.0, 1.0, n)[:, None] for n in (num_points, 2 * num_points)
    )
  else:
    x, test_x = (rng.uniform(-1, 1, (num_points, dim)) for _ in range(2))
  y, test_y = (np.prod(curve(v), axis=1, keepdims=True) for v in (x, test_x))
  return Target(x, y + noise * rng.normal(size=y.shape), test_x, test_y)


def sine(
  rng: np.random.Generator,
  complexity: float = 2.0,
  *,
  dim: int = 1,
  num_points: int = 400,
  noise: float = 0.0,
) -> Target:
  """Returns sin(2 pi k x), of every coordinate and multiplied.

  Args:
    rng: of points (d > 1) and noise.
    complexity: k > 0.
    dim: d.
    num_points: N, on a regular grid of [-1, 1] if d = 1.
    noise: standard deviation added to training targets.

  Returns:
    A `Target`.

  Raises:
    ValueError: if a number is out of range.
  """
  curve = lambda x: np.sin(2 * np.pi * complexity * x)
  return _sampled(curve, rng, complexity, dim, num_points, noise)


def gaussian(
  rng: np.random.Generator,
  complexity: float = 8.0,
  *,
  dim: int = 1,
  num_points: int = 400,
  noise: float = 0.0,
) -> Target:
  """Returns exp(-(k x)^2 / 2), see `sine`."""
  curve = lambda x: np.exp(-np.square(complexity * x) / 2)
  return _sampled(curve, rng, complexity, dim, num_points, noise)


def chirp(
  rng: np.random.Generator,
  complexity: float = 2.0,
  *,
  dim: int = 1,
  num_points: int = 400,
  noise: float = 0.0,
) -> Target:
  """Returns sin(pi k (1 + x)^2 / 2), from frequency 0 to k; see `sine`."""
  curve = lambda x: np.sin(np.pi * complexity * np.square(1 + x) / 2)
  return _sampled(curve, rng, complexity, dim, num_points, noise)


def step(
  rng: np.random.Generator,
  complexity: float = 1.0,
  *,
  dim: int = 1,
  num_points: int = 400,
  noise: float = 0.0,
) -> Target:
  """Returns the sign of sin(2 pi k x), see `sine`."""
  curve = lambda x: np.where(np.sin(2 * np.pi * complexity * x) < 0, -1.0, 1.0)
  return _sampled(curve, rng, complexity, dim, num_points, noise)


def _standardized(x, y, test_x, test_y):
  """Inputs and numbers with the mean and deviation of the training part."""
  pairs = []
  for train, test in ((x, test_x), (y, test_y)):
    mean = train.mean(axis=0, keepdims=True)
    sd = train.std(axis=0, keepdims=True)
    sd = np.where(sd > 0, sd, 1.0)
    pairs.append(((train - mean) / sd, (test - mean) / sd))
  (x, test_x), (y, test_y) = pairs
  return Target(x, y, test_x, test_y)


def dataset(seed: int, name: str = 'wine', *, scaled: bool = True) -> Target:
  """Returns a data set of `data.DATASETS` that needs no files.

  Args:
    seed: of the split.
    name: a part of it.
    scaled: whether inputs are standardized.

  Returns:
    A `Target`; inputs are made flat.

  Raises:
    ValueError: if there is no such set, or it is read from files.
  """
  if data_lib.needs_files(name):
    raise ValueError(f'name={name} is read from files: save it as csv.')
  found = data_lib.load_dataset(name, seed=seed)
  if not isinstance(found, data_lib.Dataset):
    raise ValueError(f'name={name} belongs to clients: choose another.')
  flat = lambda x: np.asarray(x, np.float64).reshape(len(x), -1)
  x, test_x = flat(found.train_inputs), flat(found.test_inputs)
  if found.num_classes:
    eye = np.eye(found.num_classes)
    y, test_y = eye[found.train_labels], eye[found.test_labels]
  else:
    y, test_y = flat(found.train_labels), flat(found.test_labels)
  if scaled:
    made = _standardized(x, y, test_x, test_y)
    x, test_x = made.x, made.test_x
    if not found.num_classes:
      y, test_y = made.y, made.test_y
  return Target(x, y, test_x, test_y, found.num_classes)


def digits(seed: int) -> Target:
  """Returns handwritten digits, pixels in [0, 1], classes as one-hot."""
  return dataset(seed, 'digits(pixels=unit)', scaled=False)


def diabetes(seed: int) -> Target:
  """Returns a small medical set; inputs and targets standardized."""
  return dataset(seed, 'diabetes')


def csv(
  seed: int,
  path: str | os.PathLike[str],
  *,
  target: int = -1,
  test_fraction: float = 0.25,
  delimiter: str = ',',
) -> Target:
  """Reads numbers of a text file, a line per example.

  Args:
    seed: of the split.
    path: of the file; a first line that holds no numbers is a header.
    target: column that is predicted, from the end if negative.
    test_fraction: share held out, in (0, 1).
    delimiter: between columns.

  Returns:
    A `Target`, all standardized by the training part.

  Raises:
    ValueError: if the file cannot be read, holds what is no number, has fewer
      than two columns or four lines, or no such target.
  """
  checks.integer(target, name='target')
  ends = {'low': 0.0, 'high': 1.0, 'open_low': True, 'open_high': True}
  checks.number(test_fraction, name='test_fraction', **ends)
  try:
    lines = pathlib.Path(path).read_text().splitlines()
  except (OSError, UnicodeDecodeError) as error:
    raise ValueError(f'path={str(path)!r} cannot be read: {error}.') from None
  rows = []
  for number, line in enumerate(lines, 1):
    if not line.strip():
      continue
    try:
      rows.append([float(word) for word in line.split(delimiter)])
    except ValueError:
      if number > 1:
        raise ValueError(
          f'path={str(path)!r}:{number}: {line[:60]!r} holds what is no number.'
        ) from None
      continue
    if len(rows[-1]) != len(rows[0]):
      raise ValueError(
        f'path={str(path)!r}:{number}: {len(rows[-1])} columns where others '
        f'have {len(rows[0])}.'
      )
  table = np.array(rows)
  if len(rows) < 4 or table.shape[1] < 2:
    raise ValueError(
      f'path={str(path)!r} has {len(rows)} lines of numbers and '
      f'{table.shape[1] if rows else 0} columns: need at least 4 and 2.'
    )
  if not np.isfinite(table).all():
    raise ValueError(f'path={str(path)!r} holds NaN or infinite values.')
  width = table.shape[1]
  if not -width <= target < width:
    raise ValueError(f'target={target} is no column of {width}.')
  y = table[:, [target % width]]
  x = np.delete(table, target % width, axis=1)
  order = np.random.default_rng(seed).permutation(len(x))
  held_out = min(max(1, int(len(x) * test_fraction)), len(x) - 1)
  test, train = order[:held_out], order[held_out:]
  return _standardized(x[train], y[train], x[test], y[test])


# What is fitted.
TARGETS = registry.Registry(
  'target',
  {
    'chirp': chirp,
    'csv': csv,
    'dataset': dataset,
    'diabetes': diabetes,
    'digits': digits,
    'gaussian': gaussian,
    'sine': sine,
    'step': step,
  },
  given=('rng', 'seed'),
)


def make_target(spec: str, *, seed: int = 0) -> Target:
  """Makes a target by name.

  Args:
    spec: a part of `TARGETS`.
    seed: of splits, drawn points and noise.

  Returns:
    A `Target`.

  Raises:
    ValueError: if the name or an option is unknown or out of range.

  Example:
    >>> target = make_target('sine(complexity=4, num_points=100)')
    >>> target.x.shape, target.test_x.shape, target.num_classes
    ((100, 1), (200, 1), 0)
  """
  seed = checks.integer(seed, name='seed', low=0)
  return TARGETS.make(spec, seed=seed, rng=np.random.default_rng(seed))
