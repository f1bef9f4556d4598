# SPDX-License-Identifier: Apache-2.0
"""Partners for units: the best one each, or one for one."""

from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np

from jaxdl.core import checks, keys


class Match(NamedTuple):
  """Pairs of units.

  Attributes:
    row: i32[P], units of the first network, in ascending order.
    col: i32[P], their partners.
    value: f[P], how similar they are.
  """

  row: chex.Array
  col: chex.Array
  value: chex.Array


def _check(similarity, name='similarity'):
  if jnp.ndim(similarity) != 2 or 0 in jnp.shape(similarity):
    raise ValueError(
      f'{name} must have shape [n1, n2], n1, n2 >= 1; got '
      f'{jnp.shape(similarity)}.'
    )
  if not isinstance(similarity, jax.core.Tracer):
    checks.host_array(similarity, name=name)
  similarity = jnp.asarray(similarity)
  if similarity.dtype == bool:
    similarity = similarity.astype(jnp.float32)
  if isinstance(similarity, jax.core.Tracer):
    return similarity
  if not np.isfinite(np.asarray(similarity)).all():
    raise ValueError(f'{name} must be finite; it has a NaN or an infinity.')
  return similarity


def semi_match(similarity: chex.Array) -> Match:
  """Gives every unit its most similar one; several may choose the same.

  Args:
    similarity: f[n1, n2], signed: an opposite is no partner.

  Returns:
    `Match` of n1 pairs; of equals the first.

  Raises:
    ValueError: if it is no matrix, or holds a NaN (where it is concrete).

  Example:
    >>> found = semi_match(jnp.array([[0.9, 0.8], [0.85, 0.1]]))
    >>> found.col.tolist(), round(float(found.value.mean()), 4)
    ([0, 0], 0.875)

  Source: Li et al. 2015 (https://arxiv.org/abs/1511.07543), section 3.1.
  """
  similarity = _check(similarity)
  col = jnp.argmax(similarity, axis=1).astype(jnp.int32)
  row = jnp.arange(len(similarity), dtype=jnp.int32)
  return Match(row, col, similarity[row, col])


def max_match(similarity: chex.Array) -> Match:
  """Pairs units one to one with the largest sum of similarities.

  Concrete matrices are solved by SciPy in float64, traced ones by optax in
  their own dtype (exact but for rounding in that; what is not finite counts as
  0).

  Args:
    similarity: f[n1, n2].

  Returns:
    `Match` of min(n1, n2) pairs.

  Raises:
    ValueError: as `semi_match`.

  Cost: O(n³).

  Example:
    >>> found = max_match(jnp.array([[0.9, 0.8], [0.85, 0.1]]))
    >>> found.col.tolist(), round(float(found.value.mean()), 4)
    ([1, 0], 0.825)

  Source: Li et al. 2015 (https://arxiv.org/abs/1511.07543), section 3.1; Kuhn
  1955.
  """
  similarity = _check(similarity)
  if isinstance(similarity, jax.core.Tracer):
    import optax

    # A NaN would let it search forever.
    cost = jnp.where(jnp.isfinite(similarity), -similarity, 0)
    row, col = optax.assignment.hungarian_algorithm(cost)
    order = jnp.argsort(row)
    row, col = row[order], col[order]
  else:
    from scipy import optimize

    row, col = optimize.linear_sum_assignment(
      np.asarray(similarity, np.float64), maximize=True
    )
  row, col = jnp.asarray(row, jnp.int32), jnp.asarray(col, jnp.int32)
  return Match(row, col, similarity[row, col])


def random_match(key: chex.PRNGKey, similarity: chex.Array) -> Match:
  """Pairs units one to one by chance: what a match must beat.

  Args:
    key: consumed.
    similarity: f[n1, n2].

  Returns:
    `Match` of min(n1, n2) pairs.

  Raises:
    ValueError: as `semi_match`.

  Example:
    >>> found = random_match(jax.random.key(0), jnp.eye(5))
    >>> sorted(found.col.tolist())
    [0, 1, 2, 3, 4]
  """
  keys.check_key(key)
  similarity = _check(similarity)
  n1, n2 = similarity.shape
  size = min(n1, n2)
  row_key, col_key = jax.random.split(key)
  row = jnp.sort(jax.random.permutation(row_key, n1)[:size]).astype(jnp.int32)
  col = jax.random.permutation(col_key, n2)[:size].astype(jnp.int32)
  return Match(row, col, similarity[row, col])


class MatchSummary(NamedTuple):
  """How well the units of two networks correspond.

  Attributes:
    semi: f[], mean similarity to the best partner, S in the paper's terms.
    matched: f[], mean similarity to the only partner, B <= S.
    overlap: f[], share of units whose only partner is the best one.
  """

  semi: chex.Array
  matched: chex.Array
  overlap: chex.Array


def match_summary(
  similarity: chex.Array,
  match: Match | None = None,
  *,
  alive: chex.Array | None = None,
) -> MatchSummary:
  """Averages over the units of the first network that vary.

  `semi - matched` says how much the best partners are shared. With n1 <= n2 it
  is never negative; with more units than partners those without one do not
  count in `matched` and `overlap`.

  Args:
    similarity: f[n1, n2], 0 where a unit does not vary.
    match: one to one; `max_match` of it if None.
    alive: bool[n1], units that count, as `Correlation.alive_x`; all if None.

  Returns:
    `MatchSummary`; zeros if nothing counts.

  Raises:
    ValueError: as `semi_match`.

  Example:
    >>> found = match_summary(jnp.array([[0.9, 0.8], [0.85, 0.1]]))
    >>> [round(float(x), 4) for x in found]
    [0.875, 0.825, 0.5]

  Source: Li et al. 2015 (https://arxiv.org/abs/1511.07543), section 3.1.
  """
  similarity = _check(similarity)
  match = max_match(similarity) if match is None else match
  best = semi_match(similarity)
  count = jnp.ones(len(similarity)) if alive is None else jnp.asarray(alive)
  count = count.astype(similarity.dtype)
  if count.shape != (len(similarity),):
    raise ValueError(
      f'alive must have shape ({len(similarity)},); got {count.shape}.'
    )
  mean = lambda x, w: jnp.sum(x * w) / jnp.maximum(jnp.sum(w), 1)
  own = count[match.row]
  same = (best.col[match.row] == match.col).astype(similarity.dtype)
  return MatchSummary(
    mean(best.value, count), mean(match.value, own), mean(same, own)
  )


def overlap_ratio(similarity: chex.Array) -> chex.Array:
  """Share of units whose only partner is also their best; see `match_summary`.

  Args:
    similarity: f[n1, n2].

  Returns:
    f[].

  Raises:
    ValueError: as `semi_match`.

  Example:
    >>> overlap_ratio(jnp.array([[0.9, 0.8], [0.85, 0.1]])).item()
    0.5
  """
  return match_summary(similarity).overlap


def cycle_order(permutation: chex.Array) -> np.ndarray:
  """Orders units along the cycles of a one-to-one match, for pictures.

  Args:
    permutation: int[n], partner of every unit; concrete.

  Returns:
    int[n], units: from the smallest one that is left to its partner, and so on
    until the cycle closes.

  Raises:
    ValueError: if it is no permutation.
    TypeError: if it is traced.

  Example:
    >>> cycle_order([2, 1, 0]).tolist()
    [0, 2, 1]
  """
  host = checks.host_array(permutation, name='permutation')
  if host.ndim != 1 or sorted(host.tolist()) != list(range(len(host))):
    raise ValueError(
      f'permutation must hold each of 0 to n - 1 once; got {host.tolist()[:8]}'
      f'{" ..." if len(host) > 8 else ""}.'
    )
  order, seen = [], set()
  for start in range(len(host)):
    unit = start
    while unit not in seen:
      seen.add(unit)
      order.append(unit)
      unit = int(host[unit])
  return np.array(order, int)
