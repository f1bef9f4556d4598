# SPDX-License-Identifier: Apache-2.0
"""Data sets by name, for flags."""

import os
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from jaxdl.core import checks
from jaxdl.data import _bundled, _dataset, _synthetic
from jaxdl.data.files import _cifar, _idx, _leaf, _npz, _sqlite, _tff
from jaxdl.data.partition import _registry

_SEEDED: Mapping[str, Callable[..., Any]] = {
  'digits': _bundled.load_digits,
  'breast_cancer': _bundled.load_breast_cancer,
  'wine': _bundled.load_wine,
}
_DRAWN: Mapping[str, Callable[..., Any]] = {
  'synthetic': _synthetic.gaussian_mixture,
  'linear_regression': _synthetic.linear_regression,
  'synthetic_images': _synthetic.synthetic_images,
  'skewed_logistic': _synthetic.skewed_logistic,
}
_STORED: Mapping[str, Callable[..., Any]] = {
  'mnist': _idx.load_mnist,
  'fashion_mnist': _idx.load_fashion_mnist,
  'cifar10': _cifar.load_cifar10,
  'npz': _npz.load_npz,
  'leaf': _leaf.load_leaf,
  'tff': _tff.load_tff,
  'fedjax': _sqlite.load_fedjax,
}
DATASETS = (*_SEEDED, *_DRAWN, *_STORED)
FILE_DATASETS = tuple(_STORED)


def load_dataset(
  name: str,
  data_dir: str | os.PathLike[str] | None = None,
  *,
  seed: int = 0,
  **options: Any,
) -> _dataset.Dataset | _dataset.FederatedDataset:
  """Loads or draws a data set by name.

  Args:
    name: one of `DATASETS`. `digits`, `breast_cancer` and `wine` come with
      scikit-learn; `synthetic`, `linear_regression`, `synthetic_images` and
      `skewed_logistic` are drawn; those in `FILE_DATASETS` are read from local
      files.
    data_dir: folder of the files (for `npz` the file itself); unused
      otherwise.
    seed: chooses the split of bundled sets and draws the synthetic ones;
      unused for files, whose split is fixed.
    **options: what the loader of that data set takes; an option that it does
      not have is an error.

  Returns:
    A `Dataset`, or a `FederatedDataset` where clients are natural (`leaf`,
    `tff`, `fedjax`, `skewed_logistic`).

  Raises:
    ValueError: if the name or an option is unknown, or files are needed and
      `data_dir` is None.

  Example:
    >>> load_dataset('synthetic', seed=1, num_features=3).train_inputs.shape
    (512, 3)
  """
  checks.choice(name, DATASETS, name='dataset')
  label = f'data set {name!r}'
  if name in _STORED:
    if not data_dir:
      raise ValueError(
        f'{label} is read from local files: pass data_dir, the place where '
        'they are (nothing is downloaded).'
      )
    _registry.check_options(_STORED[name], options, name=label, skip=1)
    return _STORED[name](data_dir, **options)
  seed = checks.integer(seed, name='seed', low=0)
  if name in _SEEDED:
    _registry.check_options(_SEEDED[name], options, name=label)
    return _SEEDED[name](seed=seed, **options)
  _registry.check_options(_DRAWN[name], options, name=label, skip=1)
  return _DRAWN[name](np.random.default_rng(seed), **options)
