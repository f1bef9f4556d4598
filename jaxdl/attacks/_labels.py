# SPDX-License-Identifier: Apache-2.0
"""The adversary that is honest about the wrong data."""

import chex
import jax
import jax.numpy as jnp

from jaxdl.core import checks


def flip_labels(labels: chex.Array, num_classes: int) -> chex.Array:
  """Replaces label c by num_classes - 1 - c.

  Args:
    labels: integers of any shape, in [0, num_classes).
    num_classes: number of classes >= 1 (static).

  Returns:
    Same shape and dtype.

  Raises:
    TypeError: if labels are not integers.
    ValueError: if num_classes < 1.

  Example:
    >>> flip_labels(jnp.array([0, 3, 9]), 10)
    Array([9, 6, 0], dtype=int32)

  Source: Tolpegin et al. 2020 (https://arxiv.org/abs/2007.08432).
  """
  checks.integer(num_classes, name='num_classes', low=1)
  labels = jnp.asarray(labels)
  if not jnp.issubdtype(labels.dtype, jnp.integer):
    raise TypeError(
      f'labels must be integers; got {labels.dtype}: one-hot labels are '
      'flipped by reversing their class axis.'
    )
  return jax.lax.sub(jnp.full_like(labels, num_classes - 1), labels)
