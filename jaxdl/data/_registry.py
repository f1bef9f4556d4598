# SPDX-License-Identifier: Apache-2.0
"""Data sets by name."""

import os

import numpy as np

from jaxdl.core import checks, registry
from jaxdl.data import _bundled, _dataset, _synthetic
from jaxdl.data.episodes import _glyphs
from jaxdl.data.files import (
  _cifar,
  _idx,
  _image_folders,
  _leaf,
  _npy,
  _npz,
  _sqlite,
  _tff,
)

DATASETS = registry.Registry(
  'dataset',
  {
    'digits': _bundled.load_digits,
    'breast_cancer': _bundled.load_breast_cancer,
    'wine': _bundled.load_wine,
    'diabetes': _bundled.load_diabetes,
    'synthetic': _synthetic.gaussian_mixture,
    'linear_regression': _synthetic.linear_regression,
    'synthetic_images': _synthetic.synthetic_images,
    'skewed_logistic': _synthetic.skewed_logistic,
    'glyphs': _glyphs.glyphs,
    'mnist': _idx.load_mnist,
    'fashion_mnist': _idx.load_fashion_mnist,
    'cifar10': _cifar.load_cifar10,
    'npy': _npy.load_npy,
    'npz': _npz.load_npz,
    'leaf': _leaf.load_leaf,
    'tff': _tff.load_tff,
    'fedjax': _sqlite.load_fedjax,
    'omniglot': _image_folders.load_omniglot,
    'mini_imagenet': _image_folders.load_mini_imagenet,
  },
  given=('data_dir', 'rng'),
)


def needs_files(spec: str) -> bool:
  """Whether a data set is read from local files.

  Args:
    spec: a part of `DATASETS`.

  Returns:
    True if `load_dataset` needs `data_dir`.

  Raises:
    ValueError: if the name or an option is unknown.

  Example:
    >>> needs_files('digits'), needs_files('mnist(flatten=True)')
    (False, True)
  """
  return checks.takes(DATASETS[DATASETS.part(spec).name], 'data_dir')


def load_dataset(
  spec: str,
  data_dir: str | os.PathLike[str] | None = None,
  *,
  seed: int = 0,
) -> _dataset.Dataset | _dataset.FederatedDataset:
  """Loads or draws a data set by name.

  Args:
    spec: a part of `DATASETS`, e.g. 'synthetic(num_features=3)'. `digits`,
      `breast_cancer`, `wine`, `diabetes` come with scikit-learn; `synthetic`,
      `linear_regression`, `synthetic_images`, `skewed_logistic` and `glyphs`
      are drawn; the others are read from local files.
    data_dir: folder of the files (for `npz` the file itself); unused
      otherwise.
    seed: chooses the split of bundled sets and draws the synthetic ones;
      unused for files, whose split is fixed.

  Returns:
    A `Dataset`, or a `FederatedDataset` where clients are natural (`leaf`,
    `tff`, `fedjax`, `skewed_logistic`).

  Raises:
    ValueError: if the name or an option is unknown, or files are needed and
      `data_dir` is None.

  Example:
    >>> load_dataset('synthetic(num_features=3)', seed=1).train_inputs.shape
    (512, 3)
  """
  if needs_files(spec) and not data_dir:
    raise ValueError(
      f'dataset={spec} is read from local files: pass data_dir, the place '
      'where they are (nothing is downloaded).'
    )
  seed = checks.integer(seed, name='seed', low=0)
  return DATASETS.make(
    spec, data_dir=data_dir, seed=seed, rng=np.random.default_rng(seed)
  )
