# SPDX-License-Identifier: Apache-2.0
"""How well links are told from pairs that are none, and the loss of it."""

import chex
import jax
import jax.numpy as jnp
from absl import logging

from jaxdl.core import checks


def link_loss(
  positive: chex.Array,
  negative: chex.Array,
  *,
  mask: chex.Array | None = None,
) -> chex.Array:
  """Cross-entropy of links and of as many pairs that are none.

  Args:
    positive: f[B], logits of links.
    negative: f[B'], logits of others.
    mask: bool[B], which count of either, if both are as many; all if None.

  Returns:
    f[], mean softplus(-positive) + mean softplus(negative); zero of nothing.

  Raises:
    ValueError: if the mask does not fit.

  Example:
    >>> round(link_loss(jnp.zeros(2), jnp.zeros(3)).item(), 4)
    1.3863

  Source: Wang, Yang & Zhang 2024, official code.
  """
  positive, negative = jnp.asarray(positive), jnp.asarray(negative)
  total = jnp.zeros((), jnp.result_type(positive, negative))
  for name, x in (('positive', -positive), ('negative', negative)):
    there = jnp.ones(x.shape, bool) if mask is None else jnp.asarray(mask)
    if there.shape != x.shape:
      raise ValueError(
        f'mask must have the shape of {name}, {x.shape}; got {there.shape}.'
      )
    cost = jnp.where(there, jax.nn.softplus(jnp.where(there, x, 0)), 0)
    total += cost.sum() / jnp.maximum(there.sum(), 1)
  return total


def _there(scores, mask, name):
  if scores.ndim != 1:
    raise ValueError(f'{name} must have one axis; got shape {scores.shape}.')
  there = jnp.ones(scores.shape, bool) if mask is None else jnp.asarray(mask)
  if there.shape != scores.shape:
    raise ValueError(
      f'{name}_mask must have shape {scores.shape}; got {there.shape}.'
    )
  return there


def hits_at_k(
  positive: chex.Array,
  negative: chex.Array,
  k: int,
  *,
  positive_mask: chex.Array | None = None,
  negative_mask: chex.Array | None = None,
) -> chex.Array:
  """Share of the links that score above all but K - 1 of the others.

  Args:
    positive: f[P], scores of links.
    negative: f[M], scores of others.
    k: K >= 1 (static); a link counts if it is strictly above the K-th largest
      score of the others.
    positive_mask: bool[P], which count.
    negative_mask: bool[M].

  Returns:
    f[]; 1 if there are fewer than K others, with a warning where that is known.
    A link whose score is NaN is no hit, and NaN among the others is above all.

  Raises:
    ValueError: if K or a shape is out of range.

  Example:
    >>> positive, negative = jnp.array([3.0, 1.0]), jnp.array([2.0, 1.0, 0.0])
    >>> [hits_at_k(positive, negative, k).item() for k in (1, 2, 3)]
    [0.5, 0.5, 1.0]

  Source: Hu et al. 2020 (https://arxiv.org/abs/2005.00687), official evaluator.
  """
  k = checks.integer(k, name='k', low=1)
  positive, negative = jnp.asarray(positive), jnp.asarray(negative)
  there = _there(positive, positive_mask, 'positive')
  others = _there(negative, negative_mask, 'negative')
  dtype = jnp.promote_types(positive.dtype, jnp.float32)
  if negative.shape[0] < k:
    logging.log_first_n(
      logging.WARNING,
      'Hits@%d is 1: there are %d pairs to compare with.',
      3,
      k,
      negative.shape[0],
    )
    return jnp.ones((), dtype)
  worst = jnp.where(jnp.isnan(negative), jnp.inf, negative)
  top = jax.lax.top_k(jnp.where(others, worst, -jnp.inf), k)[0][k - 1]
  hit = there & (positive > top)
  share = hit.sum() / jnp.maximum(there.sum(), 1)
  return jnp.where(others.sum() < k, 1, share).astype(dtype)


def mean_reciprocal_rank(
  positive: chex.Array,
  negative: chex.Array,
  *,
  mask: chex.Array | None = None,
) -> chex.Array:
  """Mean of 1 / rank of each link among others of its own.

  Args:
    positive: f[P].
    negative: f[P, M], those of each link.
    mask: bool[P], which links count.

  Returns:
    f[]; equal scores count half, so that the rank is the mean of the best and
    the worst. A link whose score is NaN is last, and NaN among the others is
    above it.

  Raises:
    ValueError: if shapes do not fit.

  Example:
    >>> scores = jnp.array([[3.0, 0.0], [2.0, 0.0]])
    >>> round(mean_reciprocal_rank(jnp.array([1.0, 2.0]), scores).item(), 4)
    0.5833

  Source: Hu et al. 2020 (https://arxiv.org/abs/2005.00687), official evaluator.
  """
  positive, negative = jnp.asarray(positive), jnp.asarray(negative)
  if negative.ndim != 2 or negative.shape[:1] != positive.shape:
    raise ValueError(
      f'negative must have a row for each of {positive.shape[0]} links; got '
      f'shape {negative.shape}.'
    )
  there = jnp.ones(positive.shape, bool) if mask is None else jnp.asarray(mask)
  if there.shape != positive.shape:
    raise ValueError(
      f'mask must have shape {positive.shape}; got {there.shape}.'
    )
  own = positive[:, None]
  # Told by what is not below, so that NaN never ranks first.
  above = (~(negative <= own)).sum(axis=1)
  upto = (~(negative < own)).sum(axis=1)
  rank = 1 + (above + upto) / 2
  return jnp.where(there, 1 / rank, 0).sum() / jnp.maximum(there.sum(), 1)


def roc_auc(
  positive: chex.Array,
  negative: chex.Array,
  *,
  positive_mask: chex.Array | None = None,
  negative_mask: chex.Array | None = None,
) -> chex.Array:
  """How often a link scores above another pair; equal scores count half.

  Args:
    positive: f[P].
    negative: f[M].
    positive_mask: bool[P], which count.
    negative_mask: bool[M].

  Returns:
    f[], the area under the curve of hits over false alarms; NaN if there are
    none of a kind, or a score is NaN.

  Raises:
    ValueError: if shapes do not fit.

  Cost: O((P + M) log M).

  Example:
    >>> roc_auc(jnp.array([3.0, 1.0]), jnp.array([2.0, 1.0])).item()
    0.625

  Source: Hanley & McNeil 1982.
  """
  positive, negative = jnp.asarray(positive), jnp.asarray(negative)
  there = _there(positive, positive_mask, 'positive')
  others = _there(negative, negative_mask, 'negative')
  # Whoever is masked stands at the end, above all.
  order = jnp.sort(jnp.where(others, negative, jnp.inf))
  count = others.sum()
  below = jnp.searchsorted(order, positive, side='left')
  upto = jnp.minimum(jnp.searchsorted(order, positive, side='right'), count)
  below = jnp.minimum(below, count)
  dtype = jnp.promote_types(positive.dtype, jnp.float32)
  won = jnp.where(there, (below + upto).astype(dtype) / 2, 0).sum()
  pairs = there.sum().astype(dtype) * count.astype(dtype)
  broken = (jnp.isnan(positive) & there).any() | (
    jnp.isnan(negative) & others
  ).any()
  return jnp.where(broken | (pairs == 0), jnp.nan, won / jnp.maximum(pairs, 1))
