# SPDX-License-Identifier: Apache-2.0
"""Rules that look at variance: smallest covariance, filtering, projections.

Family: Gram. The spectrum of a covariance matrix is that of the centered Gram
matrix, so nothing of size D x D appears.
"""

import chex
import jax
import jax.numpy as jnp

from jaxdl.aggregators import _distance, _facts, _families
from jaxdl.core import checks, gram as gram_lib, keys, registry, trees

PEAKS = ('remaining', 'all')
_REST = 1e-4


def _recenter(products, weights):
  """Inner products around the weighted mean; weights sum to one."""
  row = products @ weights
  return products - row[:, None] - row[None, :] + weights @ row


def _to_one(products):
  """Products over a power of two near their largest entry, and that power.

  Decompositions may square entries, which distances to adversaries forbid.
  """
  unit = trees.power_of_two(jnp.max(jnp.abs(products)))
  return products / unit, unit


@registry.known(_facts.Facts(family='gram'))
def smea(
  updates: _families.Updates,
  *,
  num_byzantine: int,
  mask: chex.Array | None = None,
  axis_name: str | None = None,
) -> chex.ArrayTree:
  """Averages the n - f updates whose covariance is smallest.

  Smallest maximum eigenvalue averaging, with exact eigenvalues. Robust while
  n >= 2f + 1.

  Args:
    updates: stacked tree, leaves [N, ...], floating point, or a view.
    num_byzantine: f (static); n choose f must not exceed a million.
    mask: must be None (subset sizes are static).
    axis_name: mapped axis over which the clients are split.

  Returns:
    Leaves [...], dtypes of the input; the mean if f = 0.

  Raises:
    ValueError: if client axes differ, n < 2f + 1 or there are too many subsets.

  Cost: O(N² · D) and C(n, f) eigenvalue problems of size n - f.

  Example:
    >>> smea(jnp.array([[0.0], [1.0], [2.0], [90.0]]), num_byzantine=1)
    Array([1.], dtype=float32)

  Source: Allouah et al. 2023 (https://arxiv.org/abs/2302.04787).
  """
  return _families.gram_rule(
    updates,
    _smea(updates, num_byzantine, mask, axis_name),
    mask=None,
    axis_name=axis_name,
  )


def _smea(updates, num_byzantine, mask, axis_name):
  _distance.no_mask('smea', mask)
  n = _families.num_vectors(updates, axis_name)
  f = _families.check_tolerance('smea', n, num_byzantine)
  members = _distance.subsets(n, f, rule='smea')

  def weights_fn(view):
    _distance.no_mask('smea', view.present)
    products, valid = view.centered_products(), view.valid
    dtype = products.dtype
    equal = jnp.full((n - f,), 1.0 / (n - f), dtype)

    def top(ids):
      part = _recenter(products[ids[:, None], ids[None, :]], equal)
      part, unit = _to_one(part)
      value = jnp.linalg.eigvalsh(part)[-1] * (unit / (n - f))
      return jnp.where(jnp.all(valid[ids]), value, jnp.inf)

    # One by one on CPU: it is no slower there, and a batch of decompositions
    # waits for threads that other emulated devices hold in a collective.
    together = min(len(members), 1024)
    if jax.default_backend() == 'cpu':
      together = None
    values = jax.lax.map(top, jnp.asarray(members), batch_size=together)
    best = jnp.asarray(members)[jnp.argmin(values)]
    chosen = jnp.zeros(n, bool).at[best].set(True) & valid
    return _families.average(chosen, dtype)

  return weights_fn


@registry.known(_facts.Facts(family='gram'))
def caf(
  updates: _families.Updates,
  *,
  num_byzantine: int,
  peak: str = 'remaining',
  mask: chex.Array | None = None,
  axis_name: str | None = None,
) -> chex.ArrayTree:
  """Downweights clients along the direction of largest variance.

  Covariance-bound agnostic filter, with exact eigenvectors: while the weights
  sum to more than n - 2f, each is multiplied by one minus its share of the
  largest squared projection; the mean of smallest top eigenvalue is returned.
  The client of the largest projection loses its weight as a matter of rank, not
  because the share of its own square came out as one. Robust while n >= 2f + 1.

  Args:
    updates: stacked tree, leaves [N, ...], floating point, or a view.
    num_byzantine: f (static).
    peak: whose largest squared projection: 'remaining' looks at clients that
      still have weight, so that every step removes one; 'all' also at those
      that have none left (as the byzfl library does), where one far outlier
      makes the steps tiny: it stops after 64 n of them. Static. Weights of
      less than 1e-4 are taken away, they may be rounding.
    mask: bool[N], false for padding rows; of too few for f that it leaves, at
      least one counts, without guarantee.
    axis_name: mapped axis over which the clients are split.

  Returns:
    Leaves [...], dtypes of the input; the mean if f = 0. Not differentiable in
    reverse mode (the number of steps depends on the data).

  Raises:
    ValueError: if client axes differ, n < 2f + 1 or `peak` is unknown.

  Cost: O(N² · D) and at most n eigenvalue problems of size n, in general 2f
    ('all': 64 n).

  Example:
    >>> caf(jnp.array([[1.0], [1.0], [1.0], [90.0]]), num_byzantine=1)
    Array([1.], dtype=float32)

  Source: CAF in the byzfl library; Allouah et al. 2025.
  """
  return _families.gram_rule(
    updates,
    _caf(updates, num_byzantine, peak, axis_name),
    mask=mask,
    axis_name=axis_name,
  )


def _caf(updates, num_byzantine, peak, axis_name):
  n = _families.num_vectors(updates, axis_name)
  f = _families.check_tolerance('caf', n, num_byzantine)
  checks.choice(peak, PEAKS, name='peak')

  def weights_fn(view):
    products, valid = view.centered_products(), view.valid
    dtype = products.dtype
    mean = _families.average(valid, dtype)
    if f == 0:
      return mean
    target = jnp.asarray(jnp.maximum(view.count - 2 * f, 0), dtype)
    limit = n if peak == 'remaining' else 64 * n

    def go_on(carry):
      step, c, _, _ = carry
      return (jnp.sum(c) > target) & (step < limit)

    def body(carry):
      step, c, best, lowest = carry
      weights = c / jnp.sum(c)
      centered = _recenter(products, weights)
      root = jnp.sqrt(weights)
      scaled, unit = _to_one(root[:, None] * centered * root[None, :])
      values, vectors = jnp.linalg.eigh(scaled)
      top = values[-1] * unit
      better = top < lowest
      best = jnp.where(better, weights, best)
      # Projections on the top eigenvector, up to a common factor.
      lengths = jnp.abs(centered @ (root * vectors[:, -1]))
      counted = c > 0 if peak == 'remaining' else valid
      farthest = jnp.argmax(jnp.where(counted, lengths, -1.0))
      largest = jnp.where(counted[farthest], lengths[farthest], 0.0)
      flat = largest <= 0
      share = jnp.minimum(lengths / jnp.where(flat, 1.0, largest), 1.0) ** 2
      fresh = jnp.where(valid, c * (1 - share), 0.0).at[farthest].set(0.0)
      # Of two at the same distance, rounding may leave one a rest: times a far
      # vector even that is far.
      fresh = jnp.where(fresh > _REST, fresh, 0.0)
      # No variance left: everyone agrees and the mean is the answer.
      fresh = jnp.where(flat, jnp.zeros_like(c), fresh)
      return step + 1, fresh, best, jnp.where(better, top, lowest)

    start = (0, valid.astype(dtype), mean, jnp.asarray(jnp.inf, dtype))
    return jax.lax.while_loop(go_on, body, start)[2]

  return weights_fn


@registry.known(_facts.Facts(family='gram'))
def cge(
  updates: _families.Updates,
  *,
  num_byzantine: int,
  mask: chex.Array | None = None,
  axis_name: str | None = None,
) -> chex.ArrayTree:
  """Averages the n - f shortest updates.

  Comparative gradient elimination. Robust in the average (the original sums,
  which only rescales the step); not translation equivariant.

  Args:
    updates: stacked tree, leaves [N, ...], floating point, or a view.
    num_byzantine: f (static); n >= 2f + 1.
    mask: bool[N], false for padding rows; of too few for f that it leaves, at
      least one counts, without guarantee.
    axis_name: mapped axis over which the clients are split.

  Returns:
    Leaves [...], dtypes of the input; the mean if f = 0.

  Raises:
    ValueError: if client axes differ or n < 2f + 1.

  Cost: O(N · D), two passes.

  Example:
    >>> cge(jnp.array([[1.0], [2.0], [-90.0]]), num_byzantine=1)
    Array([1.5], dtype=float32)

  Source: Gupta et al. 2020 (https://arxiv.org/abs/2008.04699).
  """
  return _families.length_rule(
    updates,
    _cge(updates, num_byzantine, axis_name),
    mask=mask,
    axis_name=axis_name,
  )


def _cge(updates, num_byzantine, axis_name):
  n = _families.num_vectors(updates, axis_name)
  f = _families.check_tolerance('cge', n, num_byzantine)

  def weights_fn(lengths):
    norms = lengths.relative()
    kept = _families.num_kept(lengths.num_present, f)
    chosen = _families.smallest(norms, kept, lengths.finite)
    return _families.average(chosen, norms.dtype)

  return weights_fn


@registry.known(_facts.Facts(family='gram', random=True))
def dnc(
  updates: _families.Updates,
  *,
  key: chex.PRNGKey,
  num_byzantine: int,
  num_coordinates: int = 10_000,
  filter_factor: float = 1.0,
  num_iters: int = 1,
  mask: chex.Array | None = None,
  axis_name: str | None = None,
) -> chex.ArrayTree:
  """Drops the clients that stick out along the top principal direction.

  Divide and conquer: on a random subset of coordinates, clients are projected
  on the top right-singular vector of their centered matrix and the c · f
  largest squared projections are marked; clients that no round marked are
  averaged.

  Args:
    updates: stacked tree, leaves [N, ...], floating point, or a view.
    key: consumed.
    num_byzantine: f (static).
    num_coordinates: b, coordinates looked at, one from each of b equal parts of
      all D (static); all of them if b >= D, and always on a view with
      coefficients.
    filter_factor: c > 0 (static); floor(c · f) clients are marked per round,
      non-finite ones first.
    num_iters: rounds, at most 1000 (static).
    mask: bool[N], false for padding rows; of too few for f that it leaves, at
      least one counts, without guarantee.
    axis_name: mapped axis over which the clients are split; every device must
      hold the same key.

  Returns:
    Leaves [...], dtypes of the input; zeros if everyone was marked.

  Raises:
    ValueError: if client axes differ, n < 2f + 1 or an argument is out of
      range.

  Cost: O(N² · (D + b · num_iters)).

  Example:
    >>> x = jnp.array([[0.0], [1.0], [2.0], [90.0]])
    >>> dnc(x, key=jax.random.key(0), num_byzantine=1)
    Array([1.], dtype=float32)

  Source: Shejwalkar and Houmansadr, NDSS 2021, Algorithm 2.
  """
  return _families.gram_rule(
    updates,
    _dnc(
      updates,
      key,
      num_byzantine,
      num_coordinates,
      filter_factor,
      num_iters,
      axis_name,
    ),
    mask=mask,
    axis_name=axis_name,
  )


def _dnc(
  updates,
  key,
  num_byzantine,
  num_coordinates,
  filter_factor,
  num_iters,
  axis_name,
):
  n = _families.num_vectors(updates, axis_name)
  f = _families.check_tolerance('dnc', n, num_byzantine)
  b = checks.integer(num_coordinates, name='num_coordinates', low=1)
  _families.check_static(filter_factor, name='filter_factor')
  checks.number(
    filter_factor,
    name='filter_factor',
    low=0.0,
    open_low=True,
  )
  checks.num_layers(num_iters, name='num_iters')
  keys.check_key(key)
  marked = min(int(filter_factor * f), n - 1)

  def weights_fn(view):
    whole = view.centered_products()
    valid, dtype = view.valid, whole.dtype
    size = sum(x.size // x.shape[0] for x in jax.tree.leaves(view.base))
    sampled = view.coefficients is None and b < size
    kept = valid
    for round_key in jax.random.split(key, num_iters):
      products = whole
      if sampled:
        part = sample_coordinates(round_key, view.base, b)
        if view.axis_name is not None:
          part = jax.tree.map(
            lambda x: jax.lax.all_gather(x, view.axis_name, tiled=True), part
          )
        part = trees.where_rows(view.finite, part, 0.0)
        frame = gram_lib.centered_gram(part, mask=valid).products[:n, :n]
        products = jnp.where(jnp.isfinite(frame), frame, 0)
      centered = _recenter(products, _families.average(valid, dtype))
      centered = jnp.where(valid[:, None] & valid[None, :], centered, 0)
      _, vectors = jnp.linalg.eigh(_to_one(centered)[0])
      # Projections on the right-singular vector are the left one, scaled.
      scores = vectors[:, -1] ** 2
      # Clients that are not finite are the farthest: marked before any other.
      stay = _families.num_kept(view.count, marked)
      kept &= _families.smallest(scores, stay, valid)
    return _families.average(kept, dtype)

  return weights_fn


def sample_coordinates(
  key: chex.PRNGKey, stacked: chex.ArrayTree, num_coordinates: int
) -> chex.ArrayTree:
  """Picks the same random coordinates of every client.

  The D coordinates, leaf after leaf, are cut into b equal parts, and one is
  drawn from each: which ones does not depend on how the leaves are cut.

  Args:
    key: consumed.
    stacked: leaves [N, ...] of D coordinates per client in all.
    num_coordinates: b (static), 1 <= b <= D.

  Returns:
    Leaves [N, b_leaf], without repetition; an entry of a part that another
    leaf owns is zero for everyone.
  """
  part, _ = sampled_coordinates(key, stacked, num_coordinates)
  return part


def sampled_coordinates(
  key: chex.PRNGKey, stacked: chex.ArrayTree, num_coordinates: int
) -> tuple[chex.ArrayTree, chex.ArrayTree]:
  """As `sample_coordinates`, and which of the entries are coordinates.

  Args:
    key: consumed.
    stacked: leaves [N, ...] of D coordinates per client in all.
    num_coordinates: b (static), 1 <= b <= D.

  Returns:
    Leaves [N, b_leaf], and bool[b_leaf], true b times in all.
  """
  leaves, structure = jax.tree.flatten(stacked)
  sizes = [x.size // x.shape[0] for x in leaves]
  total, b = sum(sizes), num_coordinates
  width, rest = divmod(total, b)  # The first `rest` parts are one larger.
  j = jnp.arange(b)
  first = j * width + jnp.minimum(j, rest)
  ids = first + jax.random.randint(key, (b,), 0, width + (j < rest))

  def part_of(coordinate):
    wide = rest * (width + 1)
    if coordinate < wide:
      return coordinate // (width + 1)
    return rest + (coordinate - wide) // width

  out, own, start = [], [], 0
  for x, size in zip(leaves, sizes, strict=True):
    low, high = 0, 0
    if size:
      low, high = part_of(start), part_of(start + size - 1) + 1
    inside = ids[low:high] - start
    mine = (inside >= 0) & (inside < size)
    rows = x.reshape(x.shape[0], size)
    taken = jnp.take(rows, jnp.clip(inside, 0, max(size - 1, 0)), axis=1)
    out.append(jnp.where(mine[None, :], taken, jnp.zeros((), x.dtype)))
    own.append(mine)
    start += size
  return jax.tree.unflatten(structure, out), jax.tree.unflatten(structure, own)
