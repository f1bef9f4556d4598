# SPDX-License-Identifier: Apache-2.0
"""Bounding what one client contributes."""

import chex
import jax
import jax.numpy as jnp

from jaxdl.core import trees


def clip_by_norm(tree: chex.ArrayTree, radius: chex.Numeric) -> chex.ArrayTree:
  """Shortens one client's tree to a length.

  Args:
    tree: leaves [...], floating point.
    radius: > 0; static or traced.

  Returns:
    The tree times min(1, radius / |tree|); same dtypes.

  Example:
    >>> clip_by_norm(jnp.array([3.0, 4.0]), 1.0)
    Array([0.6, 0.8], dtype=float32)
  """
  norm = trees.global_norm(tree)
  long = norm > radius
  scale = jnp.where(long, radius / jnp.where(long, norm, 1.0), 1.0)
  return jax.tree.map(lambda x: (x * scale).astype(x.dtype), tree)
