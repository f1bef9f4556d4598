# SPDX-License-Identifier: Apache-2.0
"""Partitioners by name, for flags."""

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from jaxdl.core import checks
from jaxdl.data.partition import _labels, _sizes

PARTITIONERS: Mapping[str, Callable[..., list[np.ndarray]]] = {
  'iid': _sizes.partition_iid,
  'quantity_dirichlet': _sizes.partition_quantity_dirichlet,
  'power_law': _sizes.partition_power_law,
  'lognormal': _sizes.partition_lognormal,
  'label_dirichlet': _labels.partition_label_dirichlet,
  'client_dirichlet': _labels.partition_client_dirichlet,
  'overlapping_dirichlet': _labels.partition_overlapping_dirichlet,
  'similarity': _labels.partition_similarity,
  'shards': _labels.partition_shards,
  'classes': _labels.partition_classes,
  'natural': _sizes.partition_natural,
}


def make_partition(
  name: str,
  rng: np.random.Generator,
  labels: np.ndarray,
  num_clients: int,
  **options: Any,
) -> list[np.ndarray]:
  """Runs a partitioner by name.

  Args:
    name: a key of `PARTITIONERS`.
    rng: host generator; advanced.
    labels: [n].
    num_clients: N.
    **options: what that partitioner takes; an option that it does not have is
      an error.

  Returns:
    N sorted index arrays.

  Raises:
    ValueError: if the name or an option is unknown or an option is missing.

  Example:
    >>> parts = make_partition(
    ...   'iid', np.random.default_rng(0), np.zeros(4), 2
    ... )
    >>> [len(part) for part in parts]
    [2, 2]
  """
  checks.choice(name, tuple(PARTITIONERS), name='partition')
  function = PARTITIONERS[name]
  check_options(function, options, name=f'partition {name!r}', skip=3)
  return function(rng, labels, num_clients, **options)


def check_options(
  function: Callable[..., Any],
  options: Mapping[str, Any],
  *,
  name: str,
  skip: int = 0,
) -> None:
  """Checks keyword options against a function's signature.

  Args:
    function: what will be called.
    options: keyword options.
    name: what to call it in the message.
    skip: leading parameters that are passed otherwise.

  Raises:
    ValueError: if an option is unknown or a required one is missing.
  """
  known = list(inspect.signature(function).parameters.values())[skip:]
  names = [parameter.name for parameter in known]
  for option in options:
    if option not in names:
      raise ValueError(
        f'{name} has no option {option!r}: it takes '
        f'{", ".join(names) or "none"}.'
      )
  for parameter in known:
    if parameter.default is parameter.empty and parameter.name not in options:
      raise ValueError(f'{name} needs the option {parameter.name!r}.')
