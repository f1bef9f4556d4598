# SPDX-License-Identifier: Apache-2.0
"""Rules that compare clients by Euclidean distance.

Family: Gram. Each reads the clients once for the Gram matrix and once for the
final combination. Clients with a non-finite norm are farthest from everyone and
are never chosen.
"""

import itertools
import math

import chex
import jax
import jax.numpy as jnp
import numpy as np

from jaxdl.aggregators import _facts, _families
from jaxdl.core import checks, order, registry, view as view_lib

NEIGHBORS = ('n-f-2', 'n-f-1')
MAX_SUBSETS = 1_000_000


def krum_scores(
  view: view_lib.View, *, num_byzantine: int, num_neighbors: str = 'n-f-2'
) -> chex.Array:
  """Sums each vector's squared distances to its nearest others.

  Args:
    view: M vectors in Gram space.
    num_byzantine: f (static).
    num_neighbors: how many others count, 'n-f-2' as in the paper or 'n-f-1';
      at least one.

  Returns:
    f32[M]; +inf for vectors that are not valid.

  Raises:
    ValueError: if `num_neighbors` is unknown.

  Source: Blanchard et al. 2017 (https://arxiv.org/abs/1703.02757), section 3.
  """
  checks.choice(num_neighbors, NEIGHBORS, name='num_neighbors')
  f = num_byzantine
  k = view.count - f - (2 if num_neighbors == 'n-f-2' else 1)
  others = jnp.eye(view.size, dtype=bool)
  distances = jnp.where(others, jnp.inf, view.sq_distances())
  nearest = jnp.sort(distances, axis=1)
  taken = jnp.arange(view.size) < jnp.maximum(k, 1)
  taken &= jnp.arange(view.size) < view.count - 1  # N = 1 has no others.
  scores = jnp.sum(jnp.where(taken[None, :], nearest, 0), axis=1)
  return jnp.where(view.valid, scores, jnp.inf)


@registry.known(_facts.Facts(family='gram', extra=3))
def krum(
  updates: _families.Updates,
  *,
  num_byzantine: int,
  num_neighbors: str = 'n-f-2',
  mask: chex.Array | None = None,
  axis_name: str | None = None,
) -> chex.ArrayTree:
  """Returns the one update that lies closest to its nearest others.

  Robust while n >= 2f + 3.

  Args:
    updates: stacked tree, leaves [N, ...], floating point, or a view.
    num_byzantine: f (static).
    num_neighbors: others that count towards a score, 'n-f-2' (the paper) or
      'n-f-1' (several libraries); static.
    mask: bool[N], false for padding rows; of too few for f that it leaves, at
      least one counts, without guarantee.
    axis_name: mapped axis over which the clients are split.

  Returns:
    Leaves [...], dtypes of the input; zeros if no client is finite. Ties go to
    the lower index.

  Raises:
    ValueError: if client axes differ or n < 2f + 3 (with f > 0).

  Cost: O(N² · D), two passes.

  Example:
    >>> krum(jnp.array([[0.0], [1.0], [1.5], [2.5], [90.0]]), num_byzantine=1)
    Array([1.], dtype=float32)

  Source: Blanchard et al. 2017 (https://arxiv.org/abs/1703.02757), section 3.
  """
  return _families.gram_rule(
    updates,
    _krum(updates, num_byzantine, num_neighbors, 1, axis_name, 'krum'),
    mask=mask,
    axis_name=axis_name,
  )


def _krum(updates, num_byzantine, num_neighbors, num_selected, axis_name, rule):
  n = _families.num_vectors(updates, axis_name)
  f = _families.check_tolerance(rule, n, num_byzantine, extra=3)
  checks.choice(num_neighbors, NEIGHBORS, name='num_neighbors')
  if num_selected is not None:
    checks.integer(num_selected, name='num_selected', low=1, high=n)

  def weights_fn(view):
    scores = krum_scores(view, num_byzantine=f, num_neighbors=num_neighbors)
    m = num_selected
    if m is None:
      m = _families.num_kept(view.count, f)
    chosen = _families.smallest(scores, m, view.valid)
    return _families.average(chosen, scores.dtype)

  return weights_fn


@registry.known(_facts.Facts(family='gram', extra=3))
def multi_krum(
  updates: _families.Updates,
  *,
  num_byzantine: int,
  num_selected: int | None = None,
  num_neighbors: str = 'n-f-2',
  mask: chex.Array | None = None,
  axis_name: str | None = None,
) -> chex.ArrayTree:
  """Averages the m updates with the smallest Krum scores.

  Robust while n >= 2f + 3 and m <= n - f.

  Args:
    updates: stacked tree, leaves [N, ...], floating point, or a view.
    num_byzantine: f (static).
    num_selected: m (static), 1 <= m <= n; n - f by default, which is the mean
      if f = 0 (some systems take n - f - 2).
    num_neighbors: 'n-f-2' or 'n-f-1' (static).
    mask: bool[N], false for padding rows; of too few for f that it leaves, at
      least one counts, without guarantee.
    axis_name: mapped axis over which the clients are split.

  Returns:
    Leaves [...], dtypes of the input.

  Raises:
    ValueError: if client axes differ, n < 2f + 3 (with f > 0) or m is out of
      range.

  Cost: O(N² · D), two passes.

  Example:
    >>> x = jnp.array([[0.0], [1.0], [1.5], [2.5], [90.0]])
    >>> multi_krum(x, num_byzantine=1, num_selected=2)
    Array([1.25], dtype=float32)

  Source: Blanchard et al. 2017 (https://arxiv.org/abs/1703.02757), section 4.
  """
  rule = _krum(
    updates,
    num_byzantine,
    num_neighbors,
    num_selected,
    axis_name,
    'multi_krum',
  )
  return _families.gram_rule(updates, rule, mask=mask, axis_name=axis_name)


def bulyan_selection(
  view: view_lib.View, *, num_byzantine: int, num_left: int | None = None
) -> tuple[chex.Array, chex.Array]:
  """Selects vectors by repeated Krum on what remains, until few are left.

  Args:
    view: M vectors in Gram space.
    num_byzantine: f (static).
    num_left: vectors that are not selected (static), while one is at least; 2f
      by default.

  Returns:
    bool[M] marks of the selection, and i32[M], the order in which they were
    chosen (-1 for the rest).
  """
  m = view.size
  left = 2 * num_byzantine if num_left is None else num_left
  theta = _families.num_kept(view.count, left)
  distances = jnp.where(jnp.eye(m, dtype=bool), jnp.inf, view.sq_distances())
  by_distance = jnp.argsort(distances, axis=1, stable=True)
  sorted_distances = jnp.take_along_axis(distances, by_distance, axis=1)
  big = jnp.finfo(distances.dtype).max
  usable = view.valid
  if view.present is not None:
    usable = usable & view.present

  def body(i, carry):
    alive, position = carry
    remaining = view.count - i
    k = jnp.maximum(1, remaining - num_byzantine - 2)
    there = alive[by_distance]
    # The k nearest of those still alive, without sorting again.
    taken = there & (jnp.cumsum(there, axis=1) <= k)
    scores = jnp.sum(jnp.where(taken, sorted_distances, 0), axis=1)
    scores = jnp.minimum(scores, big)
    winner = jnp.argmin(jnp.where(alive & usable, scores, jnp.inf))
    pick = (jnp.arange(m) == winner) & alive & usable & (i < theta)
    return alive & ~pick, jnp.where(pick, i, position)

  present = jnp.ones(m, bool) if view.present is None else view.present
  start = (present, jnp.full((m,), -1, jnp.int32))
  bound = max(m - left, 1)
  _, position = jax.lax.fori_loop(0, bound, body, start)
  return position >= 0, position


@registry.known(_facts.Facts(family='gram', factor=4, extra=3))
def bulyan(
  updates: _families.Updates,
  *,
  num_byzantine: int,
  mask: chex.Array | None = None,
  axis_name: str | None = None,
) -> chex.ArrayTree:
  """Selects by repeated Krum, then averages around the median per coordinate.

  Robust while n >= 4f + 3.

  Args:
    updates: stacked tree, leaves [N, ...], floating point, or a view.
    num_byzantine: f (static).
    mask: bool[N], false for padding rows; of too few for f that it leaves, at
      least one counts, without guarantee.
    axis_name: mapped axis over which the clients are split.

  Returns:
    Leaves [...], dtypes of the input; the mean if f = 0.

  Raises:
    ValueError: if client axes differ or n < 4f + 3 (with f > 0).

  Cost: O(N² · D + N³), Gram matrix and one sort over clients.

  Example:
    >>> x = jnp.array([[0.0], [1.0], [1.5], [2.0], [2.5], [3.0], [90.0]])
    >>> bulyan(x, num_byzantine=1)
    Array([1.5], dtype=float32)

  Source: El Mhamdi et al. 2018 (https://arxiv.org/abs/1802.07927), section 4.
  """
  n = _families.num_vectors(updates, axis_name)
  f = _families.check_tolerance('bulyan', n, num_byzantine, factor=4, extra=3)
  view = view_lib.view(updates, mask=mask, axis_name=axis_name)
  chosen, _ = bulyan_selection(view, num_byzantine=f)
  if view.reads_weights:  # What the second stage does differs by coordinate.
    return view.pull(_families.average(chosen, view.frame.dtype))
  theta = _families.num_kept(view.count, 2 * f)

  def kernel(x, count):
    rows = order.widen(order.sorted_rows(x))
    if view.present is None:
      # The chosen number is static unless a client was not finite.
      count = theta
    center = order.median_of(rows, count=count)
    num_kept = _families.num_kept(count, 2 * f)
    kept = {'num_kept': num_kept, 'max_moves': 2 * f}
    mean = order.nearest_mean(rows, center, **kept)
    window = order.nearest_window(rows, center, **kept)
    return _families.Average(mean, *window, num_kept)

  if view.coefficients is None:
    stacked, axis = view.base, view.axis_name
    if axis is not None:
      size = view.size // jax.lax.axis_size(axis)
      start = jax.lax.axis_index(axis) * size
      chosen = jax.lax.dynamic_slice_in_dim(chosen, start, size)
  else:
    stacked, axis = view.materialize(), None
  return _families.coordinate_rule(stacked, kernel, mask=chosen, axis_name=axis)


@registry.known(_facts.Facts(family='gram'))
def repeated_krum(
  updates: _families.Updates,
  *,
  num_byzantine: int,
  mask: chex.Array | None = None,
  axis_name: str | None = None,
) -> chex.ArrayTree:
  """Averages what Krum takes one after the other, until 2f + 2 are left.

  Krum's scores are those among the updates that are left, where n - f - 2
  others count, one at least, n being their number. `multi_krum` takes all from
  one ranking instead. Robust while n >= 2f + 3.

  Args:
    updates: stacked tree, leaves [N, ...], floating point, or a view.
    num_byzantine: f (static).
    mask: bool[N], false for padding rows; of too few for f that it leaves, at
      least one counts, without guarantee.
    axis_name: mapped axis over which the clients are split.

  Returns:
    Leaves [...], dtypes of the input; zeros if no client is finite. Ties go to
    the lower index.

  Raises:
    ValueError: if client axes differ or n < 2f + 1.

  Cost: O(N² · D + N³), two passes.

  Example:
    >>> x = jnp.array([[0.0], [1.0], [1.5], [2.5], [90.0], [95.0]])
    >>> repeated_krum(x, num_byzantine=1)
    Array([1.25], dtype=float32)

  Source: Shejwalkar & Houmansadr 2021, Manipulating the Byzantine, code, where
    it is called Multi-Krum.
  """
  n = _families.num_vectors(updates, axis_name)
  f = _families.check_tolerance('repeated_krum', n, num_byzantine)

  def weights_fn(view):
    chosen, _ = bulyan_selection(view, num_byzantine=f, num_left=2 * f + 2)
    return _families.average(chosen, view.frame.dtype)

  return _families.gram_rule(
    updates, weights_fn, mask=mask, axis_name=axis_name
  )


def subsets(n: int, num_byzantine: int, *, rule: str) -> np.ndarray:
  """Lists all subsets of n - f of n vectors.

  Args:
    n: vectors.
    num_byzantine: f.
    rule: name for the message.

  Returns:
    i32[C, n - f], C = n choose f.

  Raises:
    ValueError: if there are more than `MAX_SUBSETS`.
  """
  count = math.comb(n, num_byzantine)
  if count > MAX_SUBSETS:
    raise ValueError(
      f'{rule} would try {count} subsets (n={n}, f={num_byzantine}), more '
      f'than {MAX_SUBSETS}: use krum, nnm or fewer clients.'
    )
  return np.array(
    list(itertools.combinations(range(n), n - num_byzantine)), np.int32
  ).reshape(count, n - num_byzantine)


def no_mask(rule: str, mask: chex.Array | None) -> None:
  """Refuses padding where the number of clients must be static.

  Args:
    rule: name for the message.
    mask: must be None.

  Raises:
    ValueError: if there is a mask.
  """
  if mask is not None:
    raise ValueError(
      f'{rule} tries subsets of a static size, so mask must be None: cut the '
      'padding off first.'
    )


@registry.known(_facts.Facts(family='gram'))
def mda(
  updates: _families.Updates,
  *,
  num_byzantine: int,
  mask: chex.Array | None = None,
  axis_name: str | None = None,
) -> chex.ArrayTree:
  """Averages the n - f updates with the smallest diameter.

  Minimum diameter averaging, also called Brute. Robust while n >= 2f + 1.

  Args:
    updates: stacked tree, leaves [N, ...], floating point, or a view.
    num_byzantine: f (static); n choose f must not exceed a million.
    mask: must be None (subset sizes are static).
    axis_name: mapped axis over which the clients are split.

  Returns:
    Leaves [...], dtypes of the input; the mean if f = 0. Ties go to the first
    subset in lexicographic order.

  Raises:
    ValueError: if client axes differ, n < 2f + 1 or there are too many subsets.

  Cost: O(N² · D) and C(n, f) · n² comparisons.

  Example:
    >>> mda(jnp.array([[0.0], [1.0], [2.0], [90.0]]), num_byzantine=1)
    Array([1.], dtype=float32)

  Source: El Mhamdi et al. 2018 (https://arxiv.org/abs/1802.07927), Brute.
  """
  return _families.gram_rule(
    updates,
    _mda(updates, num_byzantine, mask, axis_name),
    mask=None,
    axis_name=axis_name,
  )


def _mda(updates, num_byzantine, mask, axis_name):
  no_mask('mda', mask)
  n = _families.num_vectors(updates, axis_name)
  f = _families.check_tolerance('mda', n, num_byzantine)
  members = subsets(n, f, rule='mda')
  first, second = np.triu_indices(n - f, 1)

  def weights_fn(view):
    no_mask('mda', view.present)
    distances = view.sq_distances()

    def diameter(ids):
      if first.size == 0:
        return jnp.zeros((), distances.dtype)
      return jnp.max(distances[ids[first], ids[second]])

    diameters = jax.lax.map(
      diameter, jnp.asarray(members), batch_size=min(len(members), 4096)
    )
    best = jnp.asarray(members)[jnp.argmin(diameters)]
    chosen = jnp.zeros(n, bool).at[best].set(True) & view.valid
    return _families.average(chosen, distances.dtype)

  return weights_fn


def nearest_neighbor_averaging(
  updates: _families.Updates,
  *,
  pivot: int | chex.Array,
  num_byzantine: int,
  mask: chex.Array | None = None,
  axis_name: str | None = None,
) -> chex.ArrayTree:
  """Averages the m - f vectors nearest to a pivot, the pivot included.

  Args:
    updates: stacked tree of the m received vectors, or a view.
    pivot: row number of the receiver's own vector; static or traced. For all
      pivots at once use `nnm`.
    num_byzantine: f (static), farthest vectors left out; 2f < m.
    mask: bool[N], false for padding rows; of too few for f that it leaves, at
      least one counts, without guarantee.
    axis_name: mapped axis over which the clients are split.

  Returns:
    Leaves [...], dtypes of the input; the mean if f = 0.

  Raises:
    ValueError: if client axes differ, 2f >= m or a known pivot is no row.
    TypeError: if `pivot` is not an integer.

  Cost: O(m² · D), two passes.

  Example:
    >>> x = jnp.array([[0.0], [1.0], [2.0], [90.0]])
    >>> nearest_neighbor_averaging(x, pivot=1, num_byzantine=1)
    Array([1.], dtype=float32)

  Source: Farhadkhani et al. 2023 (https://arxiv.org/abs/2209.10931), NNA.
  """
  return _families.gram_rule(
    updates,
    _nearest(updates, pivot, num_byzantine, axis_name),
    mask=mask,
    axis_name=axis_name,
  )


def _check_pivot(pivot, n):
  integral = not isinstance(pivot, (bool, np.bool_)) and hasattr(
    pivot, '__index__'
  )
  if isinstance(pivot, (jax.Array, np.ndarray)):
    integral = pivot.shape == () and jnp.issubdtype(pivot.dtype, jnp.integer)
  if not integral:
    kind = checks.described(pivot)
    if hasattr(pivot, 'dtype'):
      kind = f'{kind} of {pivot.dtype}'
    raise TypeError(
      "pivot must be the row number of the receiver's own vector, an integer "
      f'or i32[]; got {kind}: for all pivots at once use nnm.'
    )
  if not isinstance(pivot, jax.core.Tracer):
    checks.integer(int(pivot), name='pivot', low=0, high=n - 1)


def _nearest(updates, pivot, num_byzantine, axis_name):
  n = _families.num_vectors(updates, axis_name)
  f = _families.check_tolerance('nearest neighbor averaging', n, num_byzantine)
  _check_pivot(pivot, n)

  def weights_fn(view):
    distances = jnp.take(view.sq_distances(), pivot, axis=0)
    distances = jnp.where(jnp.arange(n) == pivot, -1.0, distances)
    kept = _families.num_kept(view.count, f)
    chosen = _families.smallest(distances, kept, view.valid)
    return _families.average(chosen, distances.dtype)

  return weights_fn
