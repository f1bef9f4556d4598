# SPDX-License-Identifier: Apache-2.0
"""Rules that judge clients by direction: trust, sybils and signs."""

import functools
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp

from jaxdl.aggregators import _facts, _families, _iterative, _subspace
from jaxdl.core import (
  checks,
  gram as gram_lib,
  keys,
  registry,
  trees,
  types,
  view as view_lib,
)


def fltrust(
  updates: _families.Updates,
  trusted: chex.ArrayTree,
  *,
  mask: chex.Array | None = None,
  axis_name: str | None = None,
) -> chex.ArrayTree:
  """Averages updates by their agreement with a trusted one.

  Each update is scaled to the trusted one's length and weighted by the positive
  part of its cosine with it. Robust to any number of clients as far as the
  trusted update is good.

  Args:
    updates: stacked tree, leaves [N, ...], floating point; or a view made with
      `anchor=trusted`.
    trusted: g_0, leaves [...], e.g. a gradient on clean root data.
    mask: bool[N], false for padding rows.
    axis_name: mapped axis over which the clients are split.

  Returns:
    Leaves [...], dtypes of the input; zeros if no client agrees at all.

  Raises:
    ValueError: if client axes differ, `trusted` is None or a view has no
      anchor.

  Cost: O(N · D), three passes. Family: Gram.

  Example:
    >>> x = jnp.array([[2.0, 0.0], [-9.0, 0.0]])
    >>> fltrust(x, jnp.array([1.0, 0.0]))
    Array([1., 0.], dtype=float32)

  Source: Cao et al. 2021 (https://arxiv.org/abs/2012.13995), equation 4.
  """
  if isinstance(updates, view_lib.View):
    rows = updates.reads_weights and updates.coefficients is None
    if rows and not updates.anchored:
      return _trust_of_rows(updates, trusted)
    view, trusted = _beside(updates, trusted, mask, axis_name)
    return view.combine(_trust(view, trusted))
  found = _trust_rows(updates, trusted, mask, axis_name)
  return _families.combine_in_units(
    found.weights,
    view_lib.check_floating(updates),
    found.units,
    found.finite,
    found.length_unit,
    axis_name=axis_name,
  )


def _trust_of_rows(view, trusted):
  """f32[N], the weights of client rows that need not be seen from `trusted`."""
  found = _trust_rows(view.base, trusted, view.own_mask(), view.axis_name)
  weights = found.weights / found.units * found.length_unit
  return jnp.where(jnp.isfinite(weights), weights, 0)


class _Trust(NamedTuple):
  """Weights of all clients on rows over their units, times one more unit."""

  weights: chex.Array
  units: chex.Array
  finite: chex.Array
  length_unit: chex.Array


def _trust_rows(updates, trusted, mask, axis_name):
  """Each row in its own unit, so that no length hides another."""
  if trusted is None:
    _beside(updates, trusted, mask, axis_name)
  updates = view_lib.check_floating(updates)
  _families.num_vectors(updates, axis_name)
  trusted = view_lib.check_anchor(trusted, updates)
  found = _families.lengths(updates, mask=mask)
  one = jax.tree.map(lambda x: x[None], trusted)
  length, unit, there = gram_lib.row_norms(one, mask=jnp.ones(1, bool))
  there = there[0] & (length[0] > 0)
  inverse = jnp.where(found.finite, 1 / found.units, 0)

  def leaf(x, v):
    acc = inverse.dtype
    x = x.reshape(x.shape[0], -1).astype(acc)
    x = jnp.where(found.finite[:, None], x * inverse[:, None], 0)
    v = v.reshape(-1).astype(acc) / unit[0]
    return jnp.matmul(x, jnp.where(there, v, 0), precision='highest')

  products = functools.reduce(
    jnp.add, jax.tree.leaves(jax.tree.map(leaf, updates, trusted))
  )
  units, finite, norms = found.units, found.finite, found.values
  if axis_name is not None:
    gather = lambda x: jax.lax.all_gather(x, axis_name, tiled=True)
    products, units, finite, norms = jax.tree.map(
      gather, (products, units, finite, norms)
    )
  usable = finite & (norms > 0) & there
  norms = jnp.where(usable, norms, 1.0)
  length = jnp.where(there, length[0], 1.0)
  score = jax.nn.relu(jnp.clip(products / norms / length, -1.0, 1.0))
  score = jnp.where(usable, score, 0.0)
  total = jnp.sum(score)
  share = score / jnp.where(total > 0, total, 1.0)
  return _Trust(share * length / norms, units, finite, unit[0])


def _beside(updates, trusted, mask, axis_name):
  if trusted is None:
    raise ValueError(
      'trusted is None: fltrust needs a vector to trust, leaves [...] like one '
      'update, e.g. a gradient on clean root data.'
    )
  return _iterative._anchored(updates, trusted, mask, axis_name)


@_families.full_precision
def _trust(view, trusted):
  norms = view.norms()
  square = view.frame[-1, -1]
  there = square > 0
  reference = jnp.where(there, jnp.sqrt(jnp.where(there, square, 1.0)), 0.0)
  usable = view.valid & (norms > 0) & there
  norms = jnp.where(usable, norms, 1.0)
  # Not from the frame: around the trusted vector a short one is lost.
  products = view.products_with(trusted)
  cosine = products / norms / jnp.where(there, reference, 1.0)
  cosine = jnp.clip(cosine, -1.0, 1.0)
  score = jnp.where(usable, jax.nn.relu(cosine), 0.0)
  total = jnp.sum(score)
  share = score / jnp.where(total > 0, total, 1.0)
  return share * reference / norms


class FoolsGoldState(NamedTuple):
  """Memory of `foolsgold`.

  Attributes:
    history: stacked tree of summed updates, leaves [N, ...].
  """

  history: chex.ArrayTree


def _sybil_weights(history, mask, axis_name):
  """f32[N] in [0, 1], not normalized, from the likeness of histories.

  Zero for histories that are not finite and for padding.
  """
  seen = _families.directions(history, mask=mask, axis_name=axis_name)
  n, valid = seen.lengths.shape[0], seen.finite
  eye = jnp.eye(n, dtype=seen.cosines.dtype)
  cosine = jnp.where(eye > 0, 0.0, seen.cosines)
  largest = jnp.max(cosine, axis=1) + 1e-5
  # Pardoning: an honest client may resemble a sybil more than it is one.
  pardon = largest[:, None] < largest[None, :]
  cosine = jnp.where(
    pardon, cosine * largest[:, None] / largest[None, :], cosine
  )
  cosine = jnp.where(eye > 0, 0.0, cosine)
  weights = jnp.clip(1.0 - jnp.max(cosine, axis=1), 0.0, 1.0)
  weights = jnp.where(valid, weights, 0.0)
  top = jnp.max(weights)
  weights = weights / jnp.where(top > 0, top, 1.0)
  weights = jnp.minimum(weights, 0.99)  # Above it the logit is cut anyway.
  logit = jnp.log(weights / (1.0 - weights) + 1e-5) + 0.5
  return jnp.where(valid, jnp.clip(logit, 0.0, 1.0), 0.0)


@registry.known(
  _facts.Facts(
    family='stateful',
    byzantine=None,
    factor=0,
    alone='keeps one history per client',
  )
)
def foolsgold(*, num_clients: int, average: bool = True) -> types.Aggregator:
  """Downweights clients whose summed updates resemble each other.

  Made against sybils; honest clients with equal data look like sybils too, so
  it is no general defense.

  Args:
    num_clients: N (static); rows must mean the same client every round.
    average: divide by the sum of the weights (the paper adds them up).

  Returns:
    An `Aggregator` with `FoolsGoldState`. A client that sends a non-finite
    update has no weight in that round and starts a new history; padding rows
    keep theirs.

  Raises:
    ValueError: if `num_clients` is less than one.

  Source: Fung et al. 2020 (https://arxiv.org/abs/1808.04866), Algorithm 1.
  """
  n = checks.integer(num_clients, name='num_clients', low=1)
  checks.choice(average, (True, False), name='average')

  def init(params):
    return FoolsGoldState(
      jax.tree.map(lambda x: jnp.zeros((n, *x.shape), x.dtype), params)
    )

  def remember(updates, state, mask, axis_name):
    rows = _families.num_vectors(updates, axis_name)
    if rows != n:
      raise ValueError(
        f'updates has {rows} clients but foolsgold was made for '
        f'num_clients={n}.'
      )
    updates = view_lib.check_floating(updates)
    if mask is not None:
      updates = trees.where_rows(mask, updates, 0.0)
    return updates, jax.tree.map(jnp.add, state.history, updates)

  def shares(history, mask, axis_name):
    weights = _sybil_weights(history, mask, axis_name)
    if average:
      total = jnp.sum(weights)
      weights = weights / jnp.where(total > 0, total, 1.0)
    return weights

  def apply(
    updates, state, *, weights=None, mask=None, key=None, axis_name=None
  ):
    del key
    _families.no_weights('foolsgold', weights)
    updates, history = remember(updates, state, mask, axis_name)
    weights = shares(history, mask, axis_name)
    finite = jnp.isfinite(trees.sq_norms(updates))
    if axis_name is not None:
      finite = jax.lax.all_gather(finite, axis_name, tiled=True)
    update = view_lib.combine_finite(
      weights, updates, finite, axis_name=axis_name
    )
    clean = jnp.isfinite(trees.sq_norms(history))
    return update, FoolsGoldState(trees.where_rows(clean, history, 0.0))

  def explain(updates, state, *, mask=None, key=None, axis_name=None):
    del key
    _, history = remember(updates, state, mask, axis_name)
    return shares(history, mask, axis_name)

  return types.Aggregator(init, apply, explain)


@registry.known(
  _facts.Facts(
    family='gram',
    byzantine=None,
    random=True,
    alone='counts the signs of client updates',
  )
)
def signguard(
  updates: _families.Updates,
  *,
  key: chex.PRNGKey,
  norm_low: float = 0.1,
  norm_high: float = 3.0,
  sample_fraction: float = 0.1,
  mask: chex.Array | None = None,
  axis_name: str | None = None,
) -> chex.ArrayTree:
  """Filters by norm and by the statistics of signs, then clips and averages.

  Keeps norms within (low, high) times their median; clusters the fractions of
  positive, zero and negative entries by mean shift and keeps the largest
  cluster; clips to the median norm; averages. A heuristic without guarantee.

  Args:
    updates: stacked tree, leaves [N, ...], floating point, or a view of the
      rows themselves.
    key: consumed (which coordinates are counted).
    norm_low: smallest allowed norm in units of the median norm.
    norm_high: largest allowed norm in units of the median norm.
    sample_fraction: share of coordinates whose signs are counted, in (0, 1]
      (static).
    mask: bool[N], false for padding rows.
    axis_name: mapped axis over which the clients are split; every device must
      hold the same key.

  Returns:
    Leaves [...], dtypes of the input; zeros if nobody passes.

  Raises:
    ValueError: if client axes differ or an argument is out of range.

  Cost: O(N² · D) plus O(N³) for the clustering.

  Example:
    >>> x = jnp.array([[1.0, 1.0], [1.0, 2.0], [2.0, 1.0], [-9.0, -9.0]])
    >>> signguard(x, key=jax.random.key(0), sample_fraction=1.0).shape
    (2,)

  Source: Xu et al. 2022 (https://arxiv.org/abs/2109.05872), Algorithm 1.
  """
  return _families.gram_rule(
    updates,
    _signguard(key, norm_low, norm_high, sample_fraction),
    mask=mask,
    axis_name=axis_name,
  )


def _signguard(key, norm_low, norm_high, sample_fraction):
  keys.check_key(key)
  checks.number(norm_low, name='norm_low', low=0.0)
  checks.number(
    norm_high, name='norm_high', low=0.0, open_low=True, finite=False
  )
  known = not any(isinstance(x, jax.core.Tracer) for x in (norm_low, norm_high))
  if known and norm_low >= norm_high:
    raise ValueError(
      f'norm_low={norm_low} is not below norm_high={norm_high}: nobody could '
      'pass; lower norm_low or raise norm_high.'
    )
  _families.check_static(sample_fraction, name='sample_fraction')
  checks.number(
    sample_fraction, name='sample_fraction', low=0.0, high=1.0, open_low=True
  )

  def weights_fn(view):
    if view.coefficients is not None:
      raise ValueError(
        'signguard counts the signs of client updates: it cannot follow a '
        'pre-aggregator in Gram space; apply that to the tree first.'
      )
    valid = view.valid
    norms = view.norms()
    ordered = jnp.sort(jnp.where(valid, norms, jnp.inf))
    number = jnp.sum(valid)
    middle = 0.5 * (
      jnp.take(ordered, (number - 1) // 2) + jnp.take(ordered, number // 2)
    )
    fits = valid & (norms > norm_low * middle) & (norms < norm_high * middle)
    size = sum(x.size // x.shape[0] for x in jax.tree.leaves(view.base))
    total = max(1, int(sample_fraction * size))
    part = view.base
    if total < size:
      part = _subspace.sample_coordinates(key, view.base, total)
    count = lambda test: trees.sum_leaves(
      lambda x: jnp.sum(
        test(x).astype(norms.dtype), axis=tuple(range(1, x.ndim))
      ),
      part,
    )
    positive = count(lambda x: x > 0) / total
    negative = count(lambda x: x < 0) / total
    zero = 1.0 - positive - negative
    signs = jnp.stack([positive, zero, negative], axis=1)
    if view.axis_name is not None:
      signs = jax.lax.all_gather(signs, view.axis_name, tiled=True)
    signs = jnp.where(valid[:, None], signs, 0.0)
    labels = mean_shift_labels(signs, mask=valid)
    sizes = jnp.sum(
      (labels[None, :] == labels[:, None]) & valid[None, :], axis=1
    )
    largest = jnp.argmax(jnp.where(valid, sizes, -1))
    chosen = fits & (labels == labels[largest])
    clip = jnp.minimum(1.0, middle / jnp.where(norms > 0, norms, 1.0))
    weights = jnp.where(chosen, clip, 0.0)
    return weights / jnp.maximum(jnp.sum(chosen), 1)

  return weights_fn


def mean_shift_labels(
  points: chex.Array,
  *,
  mask: chex.Array | None = None,
  quantile: float = 0.5,
  num_iters: int = 50,
) -> chex.Array:
  """Clusters points by mean shift with a flat kernel.

  The bandwidth is the mean distance to the farthest of the nearest
  `quantile * N` neighbors (the point itself counts as one).

  Args:
    points: f32[N, K].
    mask: bool[N], false for rows to leave out.
    quantile: in (0, 1] (static).
    num_iters: shifts of every point (static).

  Returns:
    i32[N]: the row whose mode is nearest, equal within a cluster.

  Cost: O(num_iters · N² · K); a small in-graph form of scikit-learn's
    `MeanShift` with `estimate_bandwidth`, to which tests compare it.

  Source: Comaniciu and Meer 2002.
  """
  n = points.shape[0]
  valid = jnp.ones(n, bool) if mask is None else mask
  number = jnp.sum(valid)

  def distances(a, b):
    square = jnp.sum((a[:, None, :] - b[None, :, :]) ** 2, axis=2)
    return jnp.sqrt(jnp.maximum(square, 0))

  between = jnp.where(valid[None, :], distances(points, points), jnp.inf)
  near = jnp.maximum((number * quantile).astype(jnp.int32), 1) - 1
  reach = jnp.take(jnp.sort(between, axis=1), near, axis=1)
  bandwidth = jnp.sum(jnp.where(valid, reach, 0)) / jnp.maximum(number, 1)
  # The mean of equal distances may round below them: no point hangs on that.
  # Equal points have distance zero: keep the comparisons below inclusive.
  bandwidth = bandwidth * (1 + 64 * jnp.finfo(points.dtype).eps)

  def shift(_, modes):
    inside = (distances(modes, points) <= bandwidth) & valid[None, :]
    weight = inside.astype(points.dtype)
    total = jnp.sum(weight, axis=1, keepdims=True)
    moved = weight @ points / jnp.maximum(total, 1)
    return jnp.where(total > 0, moved, modes)

  modes = jax.lax.fori_loop(0, num_iters, shift, points)
  inside = (distances(modes, points) <= bandwidth) & valid[None, :]
  intensity = jnp.where(valid, jnp.sum(inside, axis=1), -1)
  apart = distances(modes, modes)

  def keep(i, kept):
    row = by_intensity[i]
    near_kept = jnp.any((apart[row] <= bandwidth) & kept)
    return kept.at[row].set(valid[row] & ~near_kept)

  by_intensity = jnp.argsort(-intensity, stable=True)
  kept = jax.lax.fori_loop(0, n, keep, jnp.zeros(n, bool))
  to_mode = jnp.where(kept[None, :], distances(points, modes), jnp.inf)
  return jnp.argmin(to_mode, axis=1).astype(jnp.int32)


def cosine_similarity(updates: _families.Updates) -> chex.Array:
  """Cosines between all clients.

  Args:
    updates: stacked tree, leaves [N, ...], or a view.

  Returns:
    f32[N, N]; zero where a client is zero or not finite.

  Example:
    >>> cosine_similarity(jnp.array([[1.0, 0.0], [2.0, 0.0]]))
    Array([[1., 1.],
           [1., 1.]], dtype=float32)
  """
  return _families.directions(updates).cosines
