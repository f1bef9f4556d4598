# SPDX-License-Identifier: Apache-2.0
"""Which experts work together, how evenly, and for which classes."""

import itertools
import math
from typing import NamedTuple

import chex
import jax.numpy as jnp
import numpy as np

from jaxdl.core import checks, trees
from jaxdl.perception.experts import _route


class Collaboration(NamedTuple):
  """How experts of a layer work together.

  Attributes:
    conditional: f[E, E], share of the tokens of a that go to b as well; zero on
      the diagonal and for experts without tokens. Rows add up to k - 1.
    effective_partners: f[E], exp of the entropy of a row: as if a had so many
      partners of equal share; 0 without tokens, or for k = 1.
    num_partners: i32[E], partners whose share of a row is θ or more.
    usage_entropy: f[], entropy in nats of the share of each expert in all
      choices; ln E if all are used evenly.
    num_dead: i32[], experts without any token.
  """

  conditional: chex.Array
  effective_partners: chex.Array
  num_partners: chex.Array
  usage_entropy: chex.Array
  num_dead: chex.Array


def num_subnetworks(num_experts: int, top_k: int) -> int:
  """Ways to choose k of E experts, C(E, k).

  Args:
    num_experts: E.
    top_k: k <= E.

  Returns:
    The count.

  Raises:
    ValueError: if k > E.

  Example:
    >>> num_subnetworks(8, 1), num_subnetworks(16, 2), num_subnetworks(32, 4)
    (8, 120, 35960)
  """
  checks.integer(num_experts, name='num_experts', low=1)
  return math.comb(num_experts, _route.check_top_k(top_k, num_experts))


def coactivation(
  idx: chex.Array, num_experts: int, *, mask: chex.Array | None = None
) -> chex.Array:
  """Counts the tokens of each expert, and of each pair.

  Args:
    idx: i[..., k], experts of each token, all different.
    num_experts: E (static).
    mask: bool[...], false for padding; or of leading axes alone.

  Returns:
    i32[E, E], symmetric: M_ab tokens that go to a and b, M_aa to a. Those of
    several batches add up.

  Raises:
    ValueError: if the mask does not fit.

  Example:
    >>> idx = jnp.array([[0, 1], [0, 1], [2, 3], [0, 2]])
    >>> coactivation(idx, 4)[0].tolist()
    [3, 2, 1, 0]

  Source: Lu et al. 2025 (https://arxiv.org/abs/2507.17436), collaboration.
  """
  num_experts = checks.integer(num_experts, name='num_experts', low=1)
  idx = jnp.asarray(idx)
  mask = _route.token_mask(mask, idx.shape[:-1])
  idx = idx.reshape(-1, idx.shape[-1])
  numbers = jnp.arange(num_experts)[None, None]
  hot = jnp.any(idx[..., None] == numbers, axis=1)
  if mask is not None:
    hot &= mask.reshape(-1, 1)
  # Exact in float32 up to 2^24 tokens at a time.
  hot = hot.astype(jnp.float32)
  counts = jnp.matmul(hot.T, hot, precision='highest')
  return jnp.round(counts).astype(jnp.int32)


def collaboration(
  counts: chex.Array, *, top_k: int, theta: float = 0.15
) -> Collaboration:
  """Summarizes which experts work together.

  Args:
    counts: [E, E], see `coactivation`.
    top_k: k (static).
    theta: θ in [0, 1], least share of a partner (static); our choice.

  Returns:
    The summary.

  Raises:
    ValueError: if counts are no square or an option is out of range.

  Example:
    >>> idx = jnp.array([[0, 1], [0, 1], [2, 3], [0, 2]])
    >>> found = collaboration(coactivation(idx, 4), top_k=2)
    >>> [round(float(x), 4) for x in found.effective_partners]
    [1.8899, 1.0, 2.0, 1.0]

  Source: conditional counts of Lu et al. 2025
    (https://arxiv.org/abs/2507.17436); the summaries are ours.
  """
  counts = jnp.asarray(counts)
  if counts.ndim != 2 or counts.shape[0] != counts.shape[1]:
    raise ValueError(f'counts must have shape [E, E]; got {counts.shape}.')
  num_experts = counts.shape[0]
  top_k = _route.check_top_k(top_k, num_experts)
  checks.number(theta, name='theta', low=0.0, high=1.0)
  wide = trees.accumulator(jnp.result_type(counts, jnp.float32))
  counts = counts.astype(wide)
  used = jnp.diagonal(counts)
  apart = ~jnp.eye(num_experts, dtype=bool)
  joint = jnp.where(apart, counts, 0)
  conditional = joint / jnp.maximum(used, 1)[:, None]
  share = conditional / max(top_k - 1, 1)
  some = (used > 0) & (top_k > 1)
  partners = jnp.where(some, jnp.exp(_entropy(share)), 0)
  close = jnp.sum((share >= theta) & apart & (share > 0), axis=1)
  total = jnp.maximum(jnp.sum(used), 1)
  return Collaboration(
    conditional,
    partners,
    close.astype(jnp.int32),
    _entropy(used / total),
    jnp.sum(used == 0).astype(jnp.int32),
  )


def _entropy(p):
  """Entropy in nats along the last axis, 0 ln 0 = 0."""
  some = p > 0
  return -jnp.sum(jnp.where(some, p * jnp.log(jnp.where(some, p, 1)), 0), -1)


def same_replica_share(
  idx: chex.Array, *, num_slices: int, mask: chex.Array | None = None
) -> chex.Array:
  """Share of the tokens whose experts are all slices of one copy.

  Args:
    idx: i[..., k].
    num_slices: slices of a copy (static).
    mask: bool[...], false for padding; or of leading axes alone.

  Returns:
    f32[], 1 right after conversion; 0 without any token.

  Raises:
    ValueError: if the mask does not fit.

  Example:
    >>> float(same_replica_share(jnp.array([[0, 1], [1, 2]]), num_slices=2))
    0.5
  """
  num_slices = checks.integer(num_slices, name='num_slices', low=1)
  copy = jnp.asarray(idx) // num_slices
  one = jnp.all(copy == copy[..., :1], axis=-1)
  mask = _route.token_mask(mask, one.shape)
  mask = jnp.ones(one.shape, bool) if mask is None else mask
  count = jnp.sum(mask, dtype=jnp.float32)
  return jnp.sum(one & mask, dtype=jnp.float32) / jnp.maximum(count, 1)


def combinations(num_experts: int, top_k: int) -> np.ndarray:
  """All sets of k experts, in the order of `combination_table`.

  Args:
    num_experts: E.
    top_k: k.

  Returns:
    i32[C(E, k), k], ascending in each row; rows by last entry, then the one
    before.

  Example:
    >>> combinations(3, 2).tolist()
    [[0, 1], [0, 2], [1, 2]]
  """
  _route.check_top_k(top_k, num_experts)
  found = itertools.combinations(range(num_experts), top_k)
  return np.array(sorted(found, key=lambda c: c[::-1]), np.int32)


def combination_table(
  idx: chex.Array,
  labels: chex.Array,
  *,
  num_experts: int,
  num_classes: int,
  mask: chex.Array | None = None,
) -> chex.Array:
  """Counts the tokens of each set of experts by class.

  Args:
    idx: i[..., k].
    labels: i[...], the class that is predicted, or the true one; tokens with a
      label outside [0, K) are left out.
    num_experts: E (static).
    num_classes: K (static).
    mask: bool[...], false for padding; or of leading axes alone.

  Returns:
    i32[C(E, k), K]; a row for each of `combinations`.

  Raises:
    ValueError: if shapes do not fit, or there are 2^31 entries.

  Example:
    >>> idx, labels = jnp.array([[1, 0], [2, 1]]), jnp.array([0, 1])
    >>> combination_table(idx, labels, num_experts=3, num_classes=2).tolist()
    [[1, 0], [0, 0], [0, 1]]
  """
  idx, labels = jnp.asarray(idx), jnp.asarray(labels)
  if labels.shape != idx.shape[:-1]:
    raise ValueError(
      f'labels must have shape {idx.shape[:-1]}, a class for each token; got '
      f'{labels.shape}.'
    )
  top_k = idx.shape[-1]
  size = num_subnetworks(num_experts, top_k)
  if size * num_classes >= 1 << 31:
    raise ValueError(
      f'a table of {size} sets of {top_k} of num_experts={num_experts} and '
      f'num_classes={num_classes} is too large.'
    )
  # The number of a set: Σ_i C(c_i, i + 1) for c_0 < c_1 < ...
  binomials = np.array(
    [[math.comb(c, i + 1) for i in range(top_k)] for c in range(num_experts)],
    np.int32,
  )
  ordered = jnp.sort(idx, axis=-1).reshape(-1, top_k)
  row = jnp.sum(
    jnp.asarray(binomials)[ordered, jnp.arange(top_k)[None]], axis=-1
  )
  labels = labels.reshape(-1)
  counted = (labels >= 0) & (labels < num_classes)
  if mask is not None:
    counted &= _route.token_mask(mask, idx.shape[:-1]).reshape(-1)
  place = jnp.where(counted, row * num_classes + labels, size * num_classes)
  zeros = jnp.zeros(size * num_classes, jnp.int32)
  return zeros.at[place].add(1, mode='drop').reshape(size, num_classes)
