# SPDX-License-Identifier: Apache-2.0
"""What can be told of the tensors of a model."""

from typing import Any

import chex


def is_kernel(path: tuple[Any, ...], leaf: chex.Array) -> bool:
  """Tells kernels of one model from its other tensors.

  Args:
    path: key path of the leaf, as `jax.tree_util` gives it.
    leaf: one client's tensor, or its shape and dtype.

  Returns:
    Whether it has two axes or more and is no running statistic; biases and
    the scales of normalizations have one.

  Example:
    >>> import jax, jax.numpy as jnp
    >>> params = {'kernel': jnp.zeros((3, 2)), 'bias': jnp.zeros(2)}
    >>> jax.tree_util.tree_map_with_path(is_kernel, params)
    {'bias': False, 'kernel': True}
  """
  names = {getattr(entry, 'key', getattr(entry, 'name', '')) for entry in path}
  return len(leaf.shape) >= 2 and 'statistics' not in names
