# SPDX-License-Identifier: Apache-2.0
"""Rules that treat every coordinate on its own.

Family: coordinate-wise. With parameters sharded over devices they need no
communication. NaN counts as +inf; non-finite entries are extremes.
"""

import chex
import jax
import jax.numpy as jnp

from jaxdl.aggregators import _facts, _families
from jaxdl.core import checks, order, registry, trees, view as view_lib


@registry.known(_facts.Facts(family='coordinate', byzantine=None))
def median(
  updates: _families.Updates,
  *,
  kind: str = 'average',
  mask: chex.Array | None = None,
  axis_name: str | None = None,
) -> chex.ArrayTree:
  """Takes the median of each coordinate.

  Robust while fewer than half of the clients are adversarial (breakdown point
  1/2). Non-finite entries count as extremes.

  Args:
    updates: stacked tree, leaves [N, ...], floating point, or a view.
    kind: for even N, 'average' of the two middle entries (NumPy's convention)
      or the 'lower' one (torch's); static.
    mask: bool[N], false for padding rows.
    axis_name: mapped axis over which the clients are split.

  Returns:
    Leaves [...], dtypes of the input.

  Raises:
    ValueError: if client axes differ or `kind` is unknown.

  Cost: O(N log² N · D) work at memory speed, no sort.

  Example:
    >>> median(jnp.array([[0.0], [1.0], [90.0], [2.0]]))
    Array([1.5], dtype=float32)

  Source: Yin et al. 2018 (https://arxiv.org/abs/1803.01498), Definition 1.
  """
  checks.choice(kind, ('average', 'lower'), name='kind')

  def kernel(x, count):
    rows = order.widen(order.sorted_rows(x))
    low = order.pick(rows, (count - 1) // 2)
    middle = order.median_of(rows, kind=kind, count=count)
    first = (count - 1) // 2
    if kind == 'lower':
      return _families.Average(middle, low, low, first, 1)
    high = order.pick(rows, count // 2)
    return _families.Average(middle, low, high, first, 2 - count % 2)

  return _families.coordinate_rule(
    updates, kernel, mask=mask, axis_name=axis_name
  )


@registry.known(_facts.Facts(family='coordinate', byzantine='num_trimmed'))
def trimmed_mean(
  updates: _families.Updates,
  *,
  num_trimmed: int,
  mask: chex.Array | None = None,
  axis_name: str | None = None,
) -> chex.ArrayTree:
  """Averages each coordinate after dropping its extremes.

  Robust to `num_trimmed` arbitrary clients while `2 * num_trimmed < N`.
  Non-finite entries sort as extremes and are dropped first.

  Args:
    updates: stacked tree, leaves [N, ...], floating point, or a view.
    num_trimmed: entries removed at *each* end (static), `b` in the paper;
      `0 <= 2 * num_trimmed < N`.
    mask: bool[N], false for padding rows; of too few for `num_trimmed` that it
      leaves, at least one counts, without guarantee.
    axis_name: mapped axis over which the clients are split.

  Returns:
    Leaves [...], dtypes of the input; the plain mean if `num_trimmed=0`.

  Raises:
    ValueError: if client axes differ or too many entries would be trimmed.

  Cost: O(N log² N · D) work, one pass.

  Example:
    >>> trimmed_mean(jnp.array([[0.0], [1.0], [2.0], [90.0]]), num_trimmed=1)
    Array([1.5], dtype=float32)

  Source: Yin et al. 2018 (https://arxiv.org/abs/1803.01498), Definition 2.
  """
  n = _families.num_vectors(updates, axis_name)
  b = checks.integer(num_trimmed, name='num_trimmed', low=0)
  if 2 * b >= n:
    raise ValueError(
      f'num_trimmed={b} leaves no client: need 2 * num_trimmed < N = {n}.'
    )

  def kernel(x, count):
    rows = order.widen(order.sorted_rows(x))
    cut = _families.num_cut(count, b)
    mean = order.window_mean(rows, cut, count - cut)
    low, high = order.window_of(rows, cut, count - cut)
    return _families.Average(mean, low, high, cut, count - 2 * cut)

  return _families.coordinate_rule(
    updates, kernel, mask=mask, axis_name=axis_name
  )


@registry.known(_facts.Facts(family='coordinate'))
def meamed(
  updates: _families.Updates,
  *,
  num_byzantine: int,
  mask: chex.Array | None = None,
  axis_name: str | None = None,
) -> chex.ArrayTree:
  """Averages, per coordinate, the n - f entries nearest the median.

  Robust while n >= 2f + 1. Non-finite entries are farthest.

  Args:
    updates: stacked tree, leaves [N, ...], floating point, or a view.
    num_byzantine: f, entries left out (static).
    mask: bool[N], false for padding rows; of too few for f that it leaves, at
      least one counts, without guarantee.
    axis_name: mapped axis over which the clients are split.

  Returns:
    Leaves [...], dtypes of the input; the mean if f = 0.

  Raises:
    ValueError: if client axes differ or n < 2f + 1.

  Cost: one sort over clients, O(N log² N · D).

  Example:
    >>> meamed(jnp.array([[0.0], [1.0], [3.0], [90.0]]), num_byzantine=1)
    Array([1.3333334], dtype=float32)

  Source: Xie et al. 2018 (https://arxiv.org/abs/1802.10116), mean around
    median. Equal distances keep the smaller entry.
  """
  f = _families.check_tolerance(
    'meamed', _families.num_vectors(updates, axis_name), num_byzantine
  )

  def kernel(x, count):
    rows = order.widen(order.sorted_rows(x))
    center = order.median_of(rows, count=count)
    kept = {'num_kept': _families.num_kept(count, f), 'max_moves': f}
    mean = order.nearest_mean(rows, center, **kept)
    window = order.nearest_window(rows, center, **kept)
    return _families.Average(mean, *window, kept['num_kept'])

  return _families.coordinate_rule(
    updates, kernel, mask=mask, axis_name=axis_name
  )


@registry.known(_facts.Facts(family='coordinate'))
def phocas(
  updates: _families.Updates,
  *,
  num_byzantine: int,
  mask: chex.Array | None = None,
  axis_name: str | None = None,
) -> chex.ArrayTree:
  """Averages, per coordinate, the n - f entries nearest the trimmed mean.

  Robust while n >= 2f + 1. Non-finite entries are farthest.

  Args:
    updates: stacked tree, leaves [N, ...], floating point, or a view.
    num_byzantine: f, entries trimmed at each end and then left out (static).
    mask: bool[N], false for padding rows; of too few for f that it leaves, at
      least one counts, without guarantee.
    axis_name: mapped axis over which the clients are split.

  Returns:
    Leaves [...], dtypes of the input; the mean if f = 0.

  Raises:
    ValueError: if client axes differ or n < 2f + 1.

  Cost: one sort over clients, O(N log² N · D).

  Example:
    >>> phocas(jnp.array([[0.0], [1.0], [3.0], [90.0]]), num_byzantine=1)
    Array([1.3333334], dtype=float32)

  Source: Xie et al. 2018b (https://arxiv.org/abs/1805.09682).
  """
  f = _families.check_tolerance(
    'phocas', _families.num_vectors(updates, axis_name), num_byzantine
  )

  def kernel(x, count):
    rows = order.widen(order.sorted_rows(x))
    cut = _families.num_cut(count, f)
    center = order.window_mean(rows, cut, count - cut)
    kept = {'num_kept': _families.num_kept(count, f), 'max_moves': f}
    mean = order.nearest_mean(rows, center, **kept)
    window = order.nearest_window(rows, center, **kept)
    return _families.Average(mean, *window, kept['num_kept'])

  return _families.coordinate_rule(
    updates, kernel, mask=mask, axis_name=axis_name
  )


@registry.known(_facts.Facts(family='coordinate', byzantine=None))
def sign_majority(
  updates: _families.Updates,
  *,
  mask: chex.Array | None = None,
  axis_name: str | None = None,
) -> chex.ArrayTree:
  """Takes the sign that most clients vote for, coordinate by coordinate.

  sign(Σ sign(x_i)): 1, -1, or 0 where votes tie; zeros abstain. While fewer
  than half of the clients are adversarial, those who agree beyond the rest are
  not outvoted; how long an update is does not matter. NaN votes as +inf. The
  message of a client is D bits, and so is the answer (without zeros).

  It has no slope. `weights_of` tells how often a client was with the majority:
  its share of those votes, averaged over coordinates.

  Args:
    updates: stacked tree, leaves [N, ...], floating point, or a view.
    mask: bool[N], false for padding rows.
    axis_name: mapped axis over which the clients are split.

  Returns:
    Leaves [...] of -1, 0 and 1, dtypes of the input.

  Raises:
    ValueError: if client axes differ.

  Cost: O(N · D) work, one pass.

  Example:
    >>> sign_majority(jnp.array([[0.1, -2.0], [5.0, 3.0], [-0.1, 0.0]]))
    Array([1., 0.], dtype=float32)

  Source: Bernstein et al. 2018 (https://arxiv.org/abs/1802.04434), algorithm 3;
  adversaries: Bernstein et al. 2019 (https://arxiv.org/abs/1810.05291).
  """
  if isinstance(updates, view_lib.View) and updates.reads_weights:
    view_lib.check_settled(mask=mask, axis_name=axis_name)
    return _with_the_majority(updates)

  def kernel(x, count):
    # Absent rows hold +inf, and vote.
    absent = x.shape[0] - count
    value = jnp.sign(jnp.sum(_votes(x), axis=0) - absent)
    # A window of nothing: no slope.
    return _families.Average(value, x[0], x[0], 0, 0)

  return _families.coordinate_rule(
    updates, kernel, mask=mask, axis_name=axis_name
  )


def _votes(x):
  """i32[N, ...] of -1, 0 and 1."""
  return jnp.where(jnp.isnan(x), 1, jnp.sign(x)).astype(jnp.int32)


def _with_the_majority(view):
  """f32[N], each client's share of the votes that won."""
  rows = view.materialize()
  if view.axis_name is not None and view.coefficients is None:
    rows = jax.lax.all_gather(rows, view.axis_name, tiled=True)
  if view.coefficients is not None:
    rows = trees.where_rows(view.valid, rows, jnp.inf)
  present = view.present
  if present is None:
    present = jnp.ones(view.size, bool)
  dtype = view.frame.dtype

  def leaf(x):
    votes = _votes(x.reshape(x.shape[0], -1)) * present[:, None]
    most = jnp.sign(jnp.sum(votes, axis=0, keepdims=True))
    won = ((votes == most) & (votes != 0)).astype(dtype)
    return jnp.sum(won / jnp.maximum(jnp.sum(won, 0, keepdims=True), 1), axis=1)

  size = sum(x[0].size for x in jax.tree.leaves(rows))
  return view.pull(trees.sum_leaves(leaf, rows) / size)
