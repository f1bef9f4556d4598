# SPDX-License-Identifier: Apache-2.0
"""Rows of a batch that do not count."""

from typing import Any

import chex
import jax
import jax.numpy as jnp

from jaxdl.core import trees


def masked_mean(x: chex.Array, mask: chex.Array | None) -> chex.Array:
  """Averages f[B] over rows whose mask is true; zero if there is none."""
  if mask is None:
    return x.mean()
  kept = jnp.where(mask, x, 0)
  return kept.sum() / jnp.maximum(mask.sum(), 1).astype(x.dtype)


def unmask(
  batch: dict[str, Any],
) -> tuple[dict[str, Any], chex.Array | None]:
  """Zeroes rows that do not count: they may hold anything, even NaN."""
  mask = batch.get('mask')
  if mask is None:
    return batch, None
  for path, leaf in jax.tree_util.tree_leaves_with_path(batch):
    if jnp.shape(mask) != jnp.shape(leaf)[:1]:
      raise ValueError(
        f"batch['mask'] must have one entry per sample; got shape "
        f'{jnp.shape(mask)} beside batch{jax.tree_util.keystr(path)} of shape '
        f'{jnp.shape(leaf)}.'
      )
  rest = {name: x for name, x in batch.items() if name != 'mask'}
  return trees.where_rows(mask, rest, 0), mask
