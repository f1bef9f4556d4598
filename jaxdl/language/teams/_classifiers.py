# SPDX-License-Identifier: Apache-2.0
"""Frozen classifiers of digits: honest ones, colluders, noisy ones."""

import functools
import warnings
from typing import Any, NamedTuple

import numpy as np

from jaxdl.core import checks, extras, registry
from jaxdl.language.teams import _numeric, _search


class NumericTask(NamedTuple):
  """Agents and samples of one seed.

  Attributes:
    layers: `Agents` by layer.
    gradient: samples for gradients.
    validation: samples that decide.
    test: samples that are looked at only.
    roles: 'honest', 'colluder' or 'noisy', by layer and agent.
  """

  layers: tuple[_numeric.Agents, ...]
  gradient: _search.Samples
  validation: _search.Samples
  test: _search.Samples
  roles: tuple[tuple[str, ...], ...]


def digits(
  *,
  seed: int,
  num_honest: int = 5,
  num_colluders: int = 5,
  num_noisy: int = 2,
  layers: int = 1,
  noise: float = 0.6,
  num_pixels: int = 12,
  num_colluder_pixels: int = 16,
  max_iter: int = 300,
) -> NumericTask:
  """Agents that know some pixels of digits each, and agents that mislead.

  60 % of the digits train the agents, 20 % are halved into samples for
  gradients and for validation, 20 % are the test. Honest agents are logistic
  regressions on random pixels; colluders, on more pixels, learned y + 1 instead
  of y; noisy ones learned from labels of which a share is random. With two
  layers, the first sees the upper half of a digit, the second the lower one and
  the answer of the first.

  Args:
    seed: of the split, pixels and noise.
    num_honest: honest agents of a layer.
    num_colluders: colluding agents of a layer.
    num_noisy: noisy agents of a layer.
    layers: 1 or 2.
    noise: share of random labels of noisy agents.
    num_pixels: that honest and noisy agents see.
    num_colluder_pixels: that colluders see.
    max_iter: of a logistic regression.

  Returns:
    The task, in NumPy.

  Raises:
    ValueError: if a number is out of range.
    ImportError: if scikit-learn is missing.

  Example:
    >>> task = digits(seed=0, num_colluders=0, num_noisy=0, max_iter=20)
    >>> task.layers[0].weights.shape, task.roles[0][0]
    ((5, 64, 10), 'honest')
  """
  counts = (num_honest, num_colluders, num_noisy)
  names = ('num_honest', 'num_colluders', 'num_noisy')
  for name, count in zip(names, counts, strict=True):
    checks.integer(count, name=name, low=0)
  if not sum(counts):
    raise ValueError('num_honest, num_colluders and num_noisy are all 0.')
  checks.integer(layers, name='layers', low=1, high=2)
  checks.number(noise, name='noise', low=0.0, high=1.0)
  checks.integer(max_iter, name='max_iter', low=1)
  size = 64 // layers
  for name, count in (
    ('num_pixels', num_pixels),
    ('num_colluder_pixels', num_colluder_pixels),
  ):
    checks.integer(count, name=name, low=1, high=size)
  return _digits(
    checks.integer(seed, name='seed', low=0),
    counts,
    layers,
    noise,
    (num_pixels, num_colluder_pixels),
    max_iter,
  )


@functools.lru_cache(maxsize=32)
def _digits(seed, counts, num_layers, noise, pixels, max_iter):
  raw = extras.require('sklearn.datasets', 'digits').load_digits()
  x, y = (raw.data / 16).astype(np.float32), raw.target.astype(np.int32)
  rng = np.random.default_rng(seed)
  order, n = rng.permutation(len(x)), len(x)
  marks = [int(0.6 * n), int(0.7 * n), int(0.8 * n)]
  train, *rest = np.split(order, marks)
  seen, before, layers, roles = x[train], None, [], []
  for number in range(num_layers):
    half = 64 // num_layers
    region = np.arange(half) + number * half
    agents, own = [], []
    for role, count, width in (
      ('honest', counts[0], pixels[0]),
      ('colluder', counts[1], pixels[1]),
      ('noisy', counts[2], pixels[0]),
    ):
      for _ in range(count):
        places = rng.choice(region, width, replace=False)
        told = y[train].copy()
        if role == 'colluder':
          told = (told + 1) % 10
        if role == 'noisy':
          drawn = rng.random(len(told)) < noise
          told[drawn] = rng.integers(0, 10, drawn.sum())
        agents.append(_fitted(seen, before, places, told, max_iter))
        own.append(role)
    layers.append(
      _numeric.Agents(*(np.stack(p) for p in zip(*agents, strict=True)))
    )
    roles.append(tuple(own))
    # What the next layer learns from: the mean of those who are honest here.
    good = [a for a, r in zip(agents, own, strict=True) if r == 'honest']
    whole = seen if before is None else np.concatenate([seen, before], axis=1)
    says = sum(whole @ w + b for w, b in good or agents)
    before = np.eye(10, dtype=np.float32)[says.argmax(axis=-1)]
  gradient, validation, test = (_search.Samples(x[i], y[i]) for i in rest)
  return NumericTask(tuple(layers), gradient, validation, test, tuple(roles))


def _fitted(seen, before, places, told, max_iter):
  """Weights f[D, K] and bias f[K] of one logistic regression."""
  linear = extras.require('sklearn.linear_model', 'digits')
  inputs = seen[:, places]
  if before is not None:
    inputs = np.concatenate([inputs, before], axis=1)
  model = linear.LogisticRegression(max_iter=max_iter)
  with warnings.catch_warnings():  # Who stops early is as good.
    warnings.simplefilter('ignore')
    model.fit(inputs, told)
  width = seen.shape[1] + (0 if before is None else 10)
  weights = np.zeros((width, 10), np.float32)
  bias = np.full(10, -30.0, np.float32)
  rows = [*places, *range(seen.shape[1], width)]
  weights[np.ix_(rows, model.classes_)] = model.coef_.T
  bias[model.classes_] = model.intercept_
  return weights, bias


def digits_shapes(
  *,
  layers: int = 1,
  num_honest: int = 5,
  num_colluders: int = 5,
  num_noisy: int = 2,
  **others: Any,
) -> list[tuple[int, int, int]]:
  """Agents, inputs and classes of every layer, without fitting anything."""
  del others
  count = num_honest + num_colluders + num_noisy
  return [(count, 64 + 10 * (k > 0), 10) for k in range(layers)]


# Agents and samples, for specs such as 'digits(layers=2)'.
TASKS = registry.Registry('task', {'digits': digits}, given=('seed',))
