# SPDX-License-Identifier: Apache-2.0
"""The average of all models."""

from collections.abc import Callable

import chex
import jax
import jax.numpy as jnp
import numpy as np
from absl import logging

from jaxdl.core import checks, trees


def shares(weights: chex.Array | None, num_models: int) -> chex.Array:
  """Checks weights on models and scales them to sum to one.

  Args:
    weights: f32[N], not negative, not all zero (checked if concrete); None for
      equal ones.
    num_models: N.

  Returns:
    f32[N].

  Raises:
    ValueError: naming the entry that is wrong.
  """
  if weights is None:
    return jnp.full((num_models,), 1.0 / num_models)
  if jnp.shape(weights) != (num_models,):
    raise ValueError(
      f'weights must have shape [{num_models}]; got {jnp.shape(weights)}.'
    )
  if not isinstance(weights, jax.core.Tracer):
    host = np.asarray(weights)
    bad = np.flatnonzero(~(np.isfinite(host) & (host >= 0)))
    if bad.size:
      raise ValueError(
        f'weights[{bad[0]}] must be finite and not negative; got '
        f'{host[bad[0]]}.'
      )
    if not host.any():
      raise ValueError('weights sum to 0: need a positive one.')
  weights = jnp.asarray(weights, jnp.float32)
  return weights / jnp.sum(weights)


def map_floating(
  fn: Callable[[chex.Array], chex.Array], stacked: chex.ArrayTree
) -> chex.ArrayTree:
  """Reduces the client axis of floating leaves; others keep their first row.

  Args:
    fn: maps a leaf [N, ...] to [...].
    stacked: leaves [N, ...].

  Returns:
    Leaves [...].
  """

  def leaf(x):
    x = jnp.asarray(x)
    if jnp.issubdtype(x.dtype, jnp.floating):
      return fn(x)
    logging.log_first_n(
      logging.WARNING,
      'a leaf of dtype %s is not averaged: its first row is kept.',
      1,
      x.dtype,
    )
    return x[0]

  return jax.tree.map(leaf, stacked)


def merge(
  stacked: chex.ArrayTree, weights: chex.Array | None = None
) -> chex.ArrayTree:
  """Averages all models into one.

  Sums are taken in float32 or wider whatever the dtype. Running statistics of
  batch normalization are averaged along and should be estimated afresh:
  `networks.recalibrate(network, merge(models), batches)`.

  Args:
    stacked: models, leaves [N, ...]. Leaves that are not floating point are
      not averaged; the first client's are kept.
    weights: f32[N] of any positive sum; equal if None.

  Returns:
    Leaves [...], dtypes kept.

  Raises:
    ValueError: if client axes differ, or weights are negative or all zero.

  Example:
    >>> merge({'w': jnp.array([[0.0, 1.0], [2.0, 3.0]])})['w'].tolist()
    [1.0, 2.0]

  Source: Zhu et al. 2025 (https://arxiv.org/abs/2507.06542), single global
  merging.
  """
  n = checks.num_clients(stacked, name='stacked')
  share = shares(weights, n)
  return map_floating(lambda x: trees.combine(share, x), stacked)
