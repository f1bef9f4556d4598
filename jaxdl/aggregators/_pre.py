# SPDX-License-Identifier: Apache-2.0
"""Pre-aggregators: they turn n vectors into n or fewer better ones.

Family: Gram. On a view they return a view and read no data, so any chain of
them costs the same two passes as the final rule alone.
"""

import chex
import jax
import jax.numpy as jnp

from jaxdl.aggregators import _facts, _families
from jaxdl.core import checks, keys, registry, trees, view as view_lib


@registry.known(_facts.Facts(family='gram'))
def nnm(
  updates: _families.Updates,
  *,
  num_byzantine: int,
  mask: chex.Array | None = None,
  axis_name: str | None = None,
) -> _families.Updates:
  """Replaces every vector by the mean of its n - f nearest ones.

  Nearest-neighbor mixing. Makes a robust rule optimal up to constants under
  heterogeneous data. Row i is also what client i computes in nearest-neighbor
  averaging with itself as the pivot.

  Args:
    updates: stacked tree, leaves [N, ...], floating point, or a view.
    num_byzantine: f (static); n >= 2f + 1.
    mask: bool[N], false for padding rows; of too few for f that it leaves, at
      least one counts, without guarantee.
    axis_name: mapped axis over which the clients are split.

  Returns:
    Leaves [N, ...], or a view for a view. Non-finite rows enter nowhere; their
    own row becomes the mean of the first finite ones in their list.

  Raises:
    ValueError: if client axes differ or n < 2f + 1.

  Cost: O(N² · D), two passes on a tree; O(N³) and no pass on a view.

  Example:
    >>> nnm(jnp.array([[0.0], [1.0], [3.0]]), num_byzantine=1)
    Array([[0.5],
           [0.5],
           [2. ]], dtype=float32)

  Source: Allouah et al. 2023 (https://arxiv.org/abs/2302.01772), Algorithm 1.
  """
  n = _families.num_vectors(updates, axis_name)
  f = _families.check_tolerance('nnm', n, num_byzantine)

  def matrix_fn(view):
    distances = view.sq_distances()
    # Every vector is its own nearest neighbor, even among equal ones.
    distances = jnp.where(jnp.eye(n, dtype=bool), -1.0, distances)
    valid = view.valid
    # A row that is not finite is at +inf from all: it takes the first ones.
    kept = _families.num_kept(view.count, f)
    near = jax.vmap(lambda d: _families.smallest(d, kept, valid))(distances)
    matrix = jax.vmap(_families.average, in_axes=(0, None))(
      near, distances.dtype
    )
    return matrix, view.present

  return _families.gram_matrix(
    updates, matrix_fn, mask=mask, axis_name=axis_name
  )


@registry.known(_facts.Facts(family='gram', byzantine=None, random=True))
def bucketing(
  updates: _families.Updates,
  *,
  key: chex.PRNGKey,
  bucket_size: int = 2,
  mask: chex.Array | None = None,
  axis_name: str | None = None,
) -> _families.Updates:
  """Averages random groups of vectors.

  The number of adversaries f stays what it was, the number of vectors shrinks:
  the rule that follows needs 2f < ceil(n / s).

  Args:
    updates: stacked tree, leaves [N, ...], floating point, or a view.
    key: consumed.
    bucket_size: s (static), 1 <= s <= n; the last group may be smaller.
    mask: bool[N], false for padding rows, which fill the last groups.
    axis_name: mapped axis over which the clients are split; every device must
      hold the same key.

  Returns:
    Leaves [ceil(N / s), ...], or a view for a view. A group with a non-finite
    row is not finite as a view; as a tree, that row counts as zero.

  Raises:
    ValueError: if client axes differ or `bucket_size` is out of range.

  Cost: O(N / s · N · D) on a tree; no pass on a view.

  Example:
    >>> x = jnp.array([[1.0], [1.0], [1.0], [1.0]])
    >>> bucketing(x, key=jax.random.key(0), bucket_size=2)
    Array([[1.],
           [1.]], dtype=float32)

  Source: Karimireddy et al. 2022 (https://arxiv.org/abs/2006.09365),
    Algorithm 1.
  """
  n = _families.num_vectors(updates, axis_name)
  s = checks.integer(bucket_size, name='bucket_size', low=1, high=n)
  keys.check_key(key)
  groups = -(-n // s)

  def matrix_fn(view):
    places = jax.random.permutation(key, n)
    if view.present is not None:  # Present rows come first.
      places = jnp.argsort(
        jnp.argsort(places + n * (~view.present).astype(places.dtype))
      )
    member = places[None, :] // s == jnp.arange(groups)[:, None]
    if view.present is not None:
      member &= view.present[None, :]
    matrix = jax.vmap(_families.average, in_axes=(0, None))(
      member, view.frame.dtype
    )
    filled = None if view.present is None else jnp.any(member, axis=1)
    return matrix, filled

  return _families.gram_matrix(
    updates, matrix_fn, mask=mask, axis_name=axis_name
  )


@registry.known(_facts.Facts(family='gram', byzantine=None))
def clipping(
  updates: _families.Updates,
  *,
  clip_radius: chex.Numeric = 2.0,
  mask: chex.Array | None = None,
  axis_name: str | None = None,
) -> _families.Updates:
  """Shortens every vector to a given length.

  Args:
    updates: stacked tree, leaves [N, ...], floating point, or a view.
    clip_radius: C > 0; static or traced.
    mask: bool[N], false for padding rows.
    axis_name: mapped axis over which the clients are split.

  Returns:
    Leaves [N, ...], or a view for a view; x · min(1, C / |x|). Non-finite rows
    become zero.

  Raises:
    ValueError: if client axes differ or `clip_radius` is not positive.

  Cost: O(N · D) on a tree; no pass on a view.

  Example:
    >>> clipping(jnp.array([[3.0, 4.0], [0.3, 0.4]]), clip_radius=1.0)
    Array([[0.6, 0.8],
           [0.3, 0.4]], dtype=float32)
  """
  checks.number(
    clip_radius, name='clip_radius', low=0.0, open_low=True, finite=False
  )

  def factors(lengths):
    safe = jnp.where(lengths.values > 0, lengths.values, 1.0)
    return clip_radius / safe

  return _shortened(updates, factors, mask, axis_name)


@registry.known(_facts.Facts(family='gram'))
def arc(
  updates: _families.Updates,
  *,
  num_byzantine: int,
  mask: chex.Array | None = None,
  axis_name: str | None = None,
) -> _families.Updates:
  """Shortens the longest vectors to the length of the next one.

  Adaptive robust clipping: k = floor(2f (n - f) / n) vectors are clipped to the
  (k+1)-th largest norm, so that no radius has to be chosen.

  Args:
    updates: stacked tree, leaves [N, ...], floating point, or a view.
    num_byzantine: f (static); n >= 2f + 1.
    mask: bool[N], false for padding rows; of too few for f that it leaves, at
      least one counts, without guarantee.
    axis_name: mapped axis over which the clients are split.

  Returns:
    Leaves [N, ...], or a view for a view. Non-finite rows become zero.

  Raises:
    ValueError: if client axes differ or n < 2f + 1.

  Cost: O(N · D) on a tree; no pass on a view.

  Example:
    >>> arc(jnp.array([[3.0], [1.0], [2.0]]), num_byzantine=1)
    Array([[2.],
           [1.],
           [2.]], dtype=float32)

  Source: Allouah et al. 2025 (https://arxiv.org/abs/2405.14432), Algorithm 2.
  """
  n = _families.num_vectors(updates, axis_name)
  f = _families.check_tolerance('arc', n, num_byzantine)

  def factors(lengths):
    count = lengths.num_present
    clipped = 2 * f * jnp.maximum(count - f, 0) // jnp.maximum(count, 1)
    norms = lengths.relative()
    if lengths.present is not None:  # Absent rows sort below every norm.
      norms = jnp.where(lengths.present, norms, -1.0)
    by_length = jnp.argsort(norms, descending=True)
    last = jnp.take(by_length, clipped)
    longest = jnp.isinf(jnp.take(norms, last))  # More broken than clipped.
    safe = jnp.where(lengths.values > 0, lengths.values, 1.0)
    ratio = jnp.take(lengths.values, last) / safe
    return jnp.where(longest, jnp.inf, ratio * jnp.take(lengths.units, last))

  return _shortened(updates, factors, mask, axis_name)


def _shortened(updates, factors, mask, axis_name):
  """Multiplies vectors by factors of at most one; zero where not finite.

  The factors are those of vectors over their units.
  """

  def scale(lengths):
    """Factors on vectors over a power of two, and that power."""
    found = factors(lengths)
    longer = (lengths.values > 0) & (found / lengths.units < 1)
    found = jnp.where(longer, found, 1.0)
    outer = jnp.where(longer, lengths.units, 1.0)
    return jnp.where(lengths.finite, found, 0.0), outer

  if axis_name is None and not isinstance(updates, view_lib.View):
    lengths = _families.lengths(updates, mask=mask)
    factor, unit = scale(lengths)
    rows = trees.where_rows(lengths.finite, updates, 0.0)
    return trees.scale_rows(factor, trees.scale_rows(1 / unit, rows))

  def matrix_fn(view):
    factor, unit = scale(_families.lengths(view))
    return jnp.diag(factor / unit), view.present

  return _families.gram_matrix(
    updates, matrix_fn, mask=mask, axis_name=axis_name
  )
