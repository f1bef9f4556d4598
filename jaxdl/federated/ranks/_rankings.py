# SPDX-License-Identifier: Apache-2.0
"""Rankings of a layer's edges, and what they weigh on a wire.

A ranking R holds edges by position, the least important first. Reputations A
are its inverse: the position of every edge.
"""

import fractions
import math
from collections.abc import Mapping, Sequence
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np

from jaxdl.core import bits, checks

SCHEMES = ('ranking', 'float32', 'bound')
_LARGEST = np.iinfo(np.int32).max


def rank_edges(scores: chex.Array) -> chex.Array:
  """Sorts edges by their scores, ascending.

  Args:
    scores: f[...] or i32[...] of one layer; read in row-major order.

  Returns:
    i32[n], the ranking; equal scores in the order of their edges, NaN last.

  Cost: one stable sort (`core.bits.argsort`).

  Example:
    >>> rank_edges(jnp.array([0.3, -0.2, 0.9, 0.1])).tolist()
    [1, 3, 0, 2]

  Source: Mozaffari et al. 2021 (https://arxiv.org/abs/2110.04350), section 4.
  """
  return bits.argsort(jnp.ravel(scores))


def reputations(ranking: chex.Array) -> chex.Array:
  """Says at which position every edge stands.

  Args:
    ranking: i32[n], a permutation of 0..n-1 (not checked: see
      `check_rankings`).

  Returns:
    i32[n], the inverse permutation; the inverse of it is the ranking.

  Cost: one scatter.

  Example:
    >>> reputations(jnp.array([1, 3, 0, 2])).tolist()
    [2, 0, 3, 1]
  """
  places = jnp.arange(ranking.shape[0], dtype=jnp.int32)
  return jnp.zeros_like(places).at[ranking].set(places, unique_indices=True)


def sparse_reputations(
  ranking: chex.Array, top_fraction: float = 1.0
) -> chex.Array:
  """Reputations of a client that sends only the top of its ranking.

  Args:
    ranking: i32[n].
    top_fraction: share that is sent, in (0, 1] (static).

  Returns:
    i32[n]; edges that are not sent have reputation zero.

  Raises:
    ValueError: if the share is out of range.

  Example:
    >>> sparse_reputations(jnp.array([1, 3, 0, 2]), 0.5).tolist()
    [2, 0, 3, 0]

  Source: Mozaffari et al. 2021 (https://arxiv.org/abs/2110.04350), SparseFRL.
  """
  return only_top(reputations(ranking), top_fraction)


def only_top(positions: chex.Array, top_fraction: float) -> chex.Array:
  """Sets the reputations below the top share to zero.

  Args:
    positions: i32[..., n], reputations.
    top_fraction: share that stays, in (0, 1] (static).

  Returns:
    i32[..., n].

  Raises:
    ValueError: if the share is out of range.
  """
  size = positions.shape[-1]
  first = size - num_sent(size, top_fraction)
  return jnp.where(positions >= first, positions, 0) if first else positions


def num_sent(size: int, top_fraction: float) -> int:
  """Edges in the top share of n: ceil(share n)."""
  checks.number(
    top_fraction, name='top_fraction', low=0.0, high=1.0, open_low=True
  )
  share = fractions.Fraction(repr(float(top_fraction)))
  return math.ceil(share * size)


def scores_from_ranking(
  ranking: chex.Array, sorted_scores: chex.Array
) -> chex.Array:
  """Deals scores to edges in the order of a ranking.

  Args:
    ranking: i32[n].
    sorted_scores: f[n], ascending.

  Returns:
    f[n]: edge `ranking[p]` has `sorted_scores[p]`.

  Raises:
    ValueError: if they are no vectors of one length.

  Example:
    >>> scores_from_ranking(jnp.array([1, 0]), jnp.array([-1.0, 5.0])).tolist()
    [5.0, -1.0]

  Source: Mozaffari et al. 2021 (https://arxiv.org/abs/2110.04350), Algorithm 2.
  """
  shapes = jnp.shape(ranking), jnp.shape(sorted_scores)
  if len(shapes[0]) != 1 or shapes[0] != shapes[1]:
    raise ValueError(
      'ranking and sorted_scores must both have shape [n]; got '
      f'{shapes[0]} and {shapes[1]}.'
    )
  zero = jnp.zeros_like(sorted_scores)
  return zero.at[ranking].set(sorted_scores, unique_indices=True)


def vote(
  rankings: chex.Array,
  weights: chex.Array | None = None,
  mask: chex.Array | None = None,
) -> chex.Array:
  """Aggregates rankings by the sum of their reputations (Borda's count).

  A voter changes the total of an edge by n - 1 at most. Equal totals, which are
  common with few voters, rank in the order of their edges.

  Args:
    rankings: i32[U, n], a permutation per voter.
    weights: [U], votes that each voter has, finite and at least zero; integers
      count exactly, as long as totals stay below 2^31. None for one each. Where
      they are traced, those that are not finite or negative count as zero.
    mask: bool[U], false for voters who do not count.

  Returns:
    i32[n], the ranking of all; that of equal totals, 0..n-1, without voters.

  Raises:
    ValueError: if shapes do not fit, weights are out of range or totals could
      overflow int32.

  Cost: O(U n) and one sort; memory O(n) besides the rankings.

  Example:
    >>> rankings = jnp.array([[2, 0, 1, 3], [0, 2, 3, 1], [2, 1, 0, 3]])
    >>> vote(rankings).tolist()
    [2, 0, 1, 3]

  Source: Mozaffari et al. 2021 (https://arxiv.org/abs/2110.04350), Algorithm 2.
  """
  if jnp.ndim(rankings) != 2:
    raise ValueError(
      f'rankings must have shape [U, n]; got {jnp.shape(rankings)}.'
    )
  rankings = jnp.asarray(rankings)
  voters, size = rankings.shape
  check_overflow(voters, size)
  for name, value in (('weights', weights), ('mask', mask)):
    if value is not None and jnp.shape(value) != (voters,):
      raise ValueError(
        f'{name} must have shape [U] = ({voters},); got {jnp.shape(value)}.'
      )
  votes = jnp.ones(voters, jnp.int32)
  if weights is not None:
    _check_weights(weights)
    votes = jnp.asarray(weights)
    votes = jnp.where(jnp.isfinite(votes) & (votes >= 0), votes, 0)
  whole = jnp.issubdtype(votes.dtype, jnp.integer)
  votes = votes.astype(jnp.int32 if whole else jnp.float32)
  if mask is not None:
    votes = jnp.where(mask, votes, 0)
  places = jnp.arange(size, dtype=votes.dtype)

  def add(u, total):
    return total.at[rankings[u]].add(votes[u] * places, unique_indices=True)

  total = jax.lax.fori_loop(0, voters, add, jnp.zeros_like(places))
  return rank_edges(total)


def _check_weights(weights):
  """Looks at the votes of each voter unless they are traced."""
  if isinstance(weights, jax.core.Tracer):
    return
  values = checks.host_array(weights, name='weights')
  bad = ~(np.isfinite(values) & (values >= 0))
  if bad.any():
    first = int(bad.argmax())
    raise ValueError(
      'weights must be finite and at least 0; got '
      f'{values[first]} for voter {first}.'
    )


def check_overflow(voters: int, size: int, layer: str = '') -> None:
  """Raises unless sums of reputations fit into int32.

  Args:
    voters: U.
    size: n, edges of the layer.
    layer: its name, for the message.

  Raises:
    ValueError: if the layer is empty, or U (n - 1) reaches 2^31.
  """
  of = f'layer {layer} has' if layer else 'rankings have'
  if size < 1:
    raise ValueError(f'{of} no edges: n must be at least 1.')
  if voters * (size - 1) > _LARGEST:
    raise ValueError(
      f'{of} {size} edges, and {voters} voters could raise a total to '
      f'{voters * (size - 1)}: votes are counted in int32, so at most '
      f'{_LARGEST // (size - 1)} may vote.'
    )


def check_rankings(rankings: Mapping[str, Any]) -> None:
  """Checks on the host that clients sent permutations.

  Args:
    rankings: arrays [U, n] by layer.

  Raises:
    ValueError: if a layer is empty, or a row is no permutation of 0..n-1; the
      message names the client and the layer.

  Example:
    >>> check_rankings({'conv1': np.array([[0, 1], [1, 1]])})
    Traceback (most recent call last):
    ValueError: client 1, layer conv1: ranking is not a permutation of 0..1.
  """
  for layer, value in rankings.items():
    rows = checks.host_array(value, name=f'rankings[{layer!r}]')
    if rows.ndim != 2:
      raise ValueError(
        f'rankings[{layer!r}] must have shape [U, n]; got {rows.shape}.'
      )
    size = rows.shape[1]
    check_overflow(0, size, layer)
    bad = np.any(np.sort(rows, axis=1) != np.arange(size), axis=1)
    if bad.any():
      raise ValueError(
        f'client {bad.argmax()}, layer {layer}: ranking is not a permutation '
        f'of 0..{size - 1}.'
      )


def communication_bits(
  layer_sizes: Sequence[int],
  scheme: str = 'ranking',
  *,
  top_fraction: float = 1.0,
) -> int:
  """Counts the bits that a client sends in a round, or receives.

  Args:
    layer_sizes: edges n of every layer.
    scheme: 'ranking' for ceil(log2 n) per edge, 'float32' for 32, 'bound' for
      the least that tell permutations apart, log2(n!) per layer.
    top_fraction: share of each layer's ranking that is sent, in (0, 1]; for
      'ranking'.

  Returns:
    Bits; the bound is rounded up.

  Raises:
    ValueError: if the scheme is unknown, a layer is empty or the share is out
      of range.

  Example:
    >>> communication_bits((4, 5)), communication_bits((4, 5), 'float32')
    (23, 288)

  Source: Mozaffari et al. 2021 (https://arxiv.org/abs/2110.04350), table on
    communication costs.
  """
  checks.choice(scheme, SCHEMES, name='scheme')
  sizes = [checks.integer(n, name='layer_sizes', low=1) for n in layer_sizes]
  num_sent(1, top_fraction)
  if top_fraction != 1 and scheme != 'ranking':
    raise ValueError(
      f'top_fraction={top_fraction} is for rankings; got scheme={scheme!r}.'
    )
  if scheme == 'float32':
    return 32 * sum(sizes)
  if scheme == 'bound':
    return math.ceil(sum(math.lgamma(n + 1) for n in sizes) / math.log(2))
  return sum(num_sent(n, top_fraction) * (n - 1).bit_length() for n in sizes)
