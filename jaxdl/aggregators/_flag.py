# SPDX-License-Identifier: Apache-2.0
"""The flag aggregator: project on the subspace that explains most clients.

Family: Gram. Everything happens on the N x N Gram matrix of the unit updates.
"""

import functools
import inspect
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np

from jaxdl.aggregators import _facts, _families
from jaxdl.core import checks, keys, registry

STARTS = ('flag_mean', 'random')
PAIR_MODES = ('objective', 'reference')
SCALES = ('mean', 'num_components')
RESCALES = ('none', 'median_norm')


class FlagState(NamedTuple):
  """What the subspace says about the clients.

  Attributes:
    values: f32[M], explained share of each unit update, v_i in [0, 1]; zero
      for zero or non-finite updates.
    weights: f32[M], IRLS weights of the last subspace.
    objective: f32[num_iters + 1], its value at the start and after each step.
    num_ignored: i32[], updates that were zero or not finite.
    shares: f32[M], weights of the *unit* updates in the result, scaled to an
      absolute sum of one: who was listened to, whatever the lengths.
  """

  values: chex.Array
  weights: chex.Array
  objective: chex.Array
  num_ignored: chex.Array
  shares: chex.Array


def _basis(products, weights, m):
  """Coefficients C [M, m] of an orthonormal top-m basis of weighted columns."""
  return _split(products, weights, m)[0]


def _split(products, weights, m, count=None):
  """Basis of the top-m subspace, and each column's square outside of it.

  A column's square is the sum of what all eigenvectors hold of it, so what is
  missing is summed from the others: one minus the share inside would cancel.
  """
  scaled = weights[:, None] * products * weights[None, :]
  basis, outside = _top(scaled, m, count)
  used = jnp.where(weights > 0, weights, 1.0)
  return weights[:, None] * basis, outside / used**2


class _Spectrum(NamedTuple):
  """Eigenvalues, largest first, and vectors; one over the roots of the top."""

  values: chex.Array
  vectors: chex.Array
  inverse_roots: chex.Array
  floor: chex.Array


def _spectrum(scaled, m, count):
  values, vectors = jnp.linalg.eigh(scaled)
  values, vectors = values[::-1], vectors[:, ::-1]
  # Directions beyond the rank carry no data: drop them instead of dividing.
  info = jnp.finfo(scaled.dtype)
  floor = scaled.shape[0] * info.eps * jnp.maximum(values[0], 0)
  floor = jnp.maximum(floor, info.tiny)
  kept = values[:m] > floor
  if count is not None:
    kept = kept & (jnp.arange(m) < count)
  roots = jnp.sqrt(jnp.where(kept, values[:m], 1.0))
  return _Spectrum(values, vectors, jnp.where(kept, 1 / roots, 0.0), floor)


def _read_out(found, m, count):
  values, vectors = found.values, found.vectors
  rest = jnp.maximum(values, 0.0)
  if count is None:
    rest, vectors = rest[m:], vectors[:, m:]
  else:
    rest = jnp.where(jnp.arange(len(values)) < count, 0.0, rest)
  outside = jnp.sum(vectors**2 * rest[None, :], axis=1)
  return found.vectors[:, :m] * found.inverse_roots[None, :], outside


@functools.partial(jax.custom_jvp, nondiff_argnums=(1,))
def _top(scaled, m, count):
  """Basis [M, m] of the top subspace, and each column's square outside it.

  Its dimension is m, or `count` <= m (traced); columns beyond are zero.
  """
  return _read_out(_spectrum(scaled, m, count), m, count)


@_top.defjvp
def _top_slope(m, primals, tangents):
  """How the subspace turns; turns within it move nothing that anyone asks for.

  So only gaps between what is inside and what is outside divide. That of
  single eigenvectors would divide by the gaps of all pairs, which are zero
  where clients are equal, zero or broken.
  """
  (scaled, count), (moved, _) = primals, tangents
  found = _spectrum(scaled, m, count)
  values, vectors, roots, floor = found
  inside = jnp.arange(scaled.shape[0]) < (m if count is None else count)
  inverse = jnp.zeros_like(values).at[:m].set(roots**2)
  # Row i and column j of a pair: i leaves, j is what it turns to.
  gaps = values[None, :] - values[:, None]
  apart = gaps > floor
  turn = jnp.where(apart, 1 / jnp.where(apart, gaps, 1.0), 0.0)
  pairs = jnp.matmul(vectors.T, 0.5 * (moved + moved.T), precision='highest')
  pairs = jnp.matmul(pairs, vectors, precision='highest')
  # The square of the basis is the inverse on the subspace: its slope is
  # -1 / (a b) within, 1 / (a (a - b)) towards what is outside.
  factor = jnp.where(inverse[:, None] > 0, -0.5 * inverse[:, None], turn)
  basis = jnp.matmul(
    vectors, (factor * pairs)[:, :m] * roots[None, :], precision='highest'
  )
  rest = jnp.where(inside, 0.0, jnp.maximum(values, 0.0))
  crossing = ~inside[:, None] & inside[None, :]
  swap = jnp.where(crossing, -rest[:, None] * turn, 0.0)
  both = (~inside[:, None] & ~inside[None, :]).astype(values.dtype)
  share = (both + swap + swap.T) * pairs
  outside = jnp.sum(
    jnp.matmul(vectors, share, precision='highest') * vectors, axis=1
  )
  return _read_out(found, m, count), (basis, outside)


def flag_mean(
  products: chex.Array,
  *,
  num_components: int,
  weights: chex.Array | None = None,
) -> chex.Array:
  """Top principal subspace of weighted unit vectors, in their coefficients.

  Args:
    products: f32[N, N], Gram matrix of the unit vectors x_i.
    num_components: m (static), 1 <= m <= N.
    weights: f32[N], factors on the vectors; ones by default.

  Returns:
    f32[N, m] coefficients C: the columns of X C are an orthonormal basis
    (zero columns beyond the rank).

  Raises:
    ValueError: if m is out of range.

  Example:
    >>> flag_mean(jnp.eye(2), num_components=2).shape
    (2, 2)

  Source: Draper et al. 2014; the flag aggregator's first step.
  """
  n = products.shape[0]
  checks.integer(num_components, name='num_components', low=1, high=n)
  if weights is None:
    weights = jnp.ones(n, products.dtype)
  return _basis(products, weights, num_components)


def reconstruction_values(
  products: chex.Array, coefficients: chex.Array
) -> chex.Array:
  """Share of each unit vector's square that lies in a subspace.

  Args:
    products: f32[N, N], Gram matrix of the unit vectors.
    coefficients: f32[N, m] from `flag_mean`.

  Returns:
    f32[N], v_i = |Y^T x_i|^2 in [0, 1].
  """
  inside = coefficients.T @ products
  return jnp.clip(jnp.sum(inside * inside, axis=0), 0.0, 1.0)


def _shares(view, **options):
  return view.pull(flag_state(view, **options).shares)


@registry.known(_facts.Facts(family='gram', byzantine=None, shares=_shares))
def flag_aggregator(
  updates: _families.Updates,
  *,
  num_components: int | None = None,
  num_iters: int = 5,
  reg: chex.Numeric = 0.0,
  eps: chex.Numeric = 1e-7,
  start: str = 'flag_mean',
  normalize: bool = True,
  scale: str = 'mean',
  pair_mode: str = 'objective',
  rescale: str = 'none',
  key: chex.PRNGKey | None = None,
  mask: chex.Array | None = None,
  axis_name: str | None = None,
) -> chex.ArrayTree:
  """Averages the updates after projecting them on the subspace they share.

  The m-dimensional subspace minimizes the sum of sqrt(1 - v_i), v_i the share
  of unit update i that it explains, by iteratively reweighted principal
  components. With unit updates (`normalize`) one client contributes at most
  1/n of the mass, which is where the robustness comes from; with raw updates
  (the paper's formula) one huge update dominates.

  Args:
    updates: stacked tree, leaves [N, ...], floating point, or a view.
    num_components: m (static), 1 <= m <= N; ceil((N + 1) / 2) by default, with
      N the number of rows that the mask leaves.
    num_iters: IRLS steps after the start (static), >= 1. The official code
      makes one in all, from a random start, which is the start taken here.
    reg: lambda >= 0, weight of the pairwise term; static or traced, but only
      a Python 0 skips its cost.
    eps: > 0, keeps the weights (1 - v + eps)^(-1/4) finite.
    start: 'flag_mean' (weights one; deterministic) or 'random' (weights from a
      random subspace of the clients' span; needs `key`); static.
    normalize: average projected unit updates (default), or raw ones.
    scale: 'mean' divides by N, 'num_components' by m (official code); static.
    pair_mode: 'objective' weights pairs as the objective says, 'reference' as
      the official code does (unnormalized differences, squared lambda);
      static.
    rescale: 'median_norm' multiplies the result of unit updates by the median
      norm of the raw ones, so that steps shrink with the gradients; 'none'
      leaves it; static.
    key: consumed if `start='random'`.
    mask: bool[N], false for padding rows.
    axis_name: mapped axis over which the clients are split.

  Returns:
    Leaves [...], dtypes of the input. Zero and non-finite clients contribute
    nothing.

  Raises:
    ValueError: if an argument is out of range or unknown.

  Cost: O(N² · D + num_iters · N³); with reg > 0 O(num_iters · N⁶ / 8).

  Example:
    >>> x = jnp.array([[2.0, 0.0], [1.0, 0.0], [4.0, 0.0], [0.0, 1.0]])
    >>> flag_aggregator(x, num_components=1).round(2)
    Array([0.75, 0.  ], dtype=float32)

  Source: Almasi et al. 2024 (https://arxiv.org/abs/2302.05865), Algorithm 1.
  """
  fn = _flag(
    updates, num_components, num_iters, reg, eps, start, normalize, scale,
    pair_mode, rescale, key, axis_name,
  )  # fmt: skip
  return _families.direction_rule(
    updates, lambda seen: fn(seen)[:2], mask=mask, axis_name=axis_name
  )


def flag_state(
  updates: _families.Updates,
  *,
  mask: chex.Array | None = None,
  axis_name: str | None = None,
  **options: Any,
) -> FlagState:
  """Worker scores and the course of the objective.

  Args:
    updates: stacked tree, leaves [N, ...], or a view.
    mask: bool[N], false for padding rows.
    axis_name: mapped axis over which the clients are split.
    **options: those of `flag_aggregator`, with its defaults.

  Returns:
    A `FlagState`.

  Raises:
    TypeError: if `flag_aggregator` has no such option.
    ValueError: as `flag_aggregator`.

  Example:
    >>> x = jnp.array([[2.0, 0.0], [1.0, 0.0], [4.0, 0.0], [0.0, 1.0]])
    >>> flag_state(x, num_components=1).values.round(2)
    Array([1., 1., 1., 0.], dtype=float32)
  """
  bound = inspect.signature(flag_aggregator).bind(
    updates, mask=mask, axis_name=axis_name, **options
  )
  bound.apply_defaults()
  fn = _flag(**{k: v for k, v in bound.arguments.items() if k != 'mask'})
  return fn(_families.directions(updates, mask=mask, axis_name=axis_name))[2]


def _flag(
  updates, num_components, num_iters, reg, eps, start, normalize, scale,
  pair_mode, rescale, key, axis_name,
):  # fmt: skip
  n = _families.num_vectors(updates, axis_name)
  m = (n + 2) // 2 if num_components is None else num_components
  m = min(m, n) if num_components is None else m
  checks.integer(m, name='num_components', low=1, high=n)
  checks.integer(num_iters, name='num_iters', low=1)
  checks.number(reg, name='reg', low=0.0)
  checks.number(eps, name='eps', low=0.0, open_low=True)
  checks.choice(normalize, (True, False), name='normalize')
  checks.choice(start, STARTS, name='start')
  checks.choice(scale, SCALES, name='scale')
  checks.choice(pair_mode, PAIR_MODES, name='pair_mode')
  checks.choice(rescale, RESCALES, name='rescale')
  if start == 'random':
    keys.check_key(key)
  pairs = not (isinstance(reg, (int, float)) and reg == 0) and n > 1
  left, right = np.triu_indices(n, 1)

  @_families.full_precision
  def weights_fn(seen):
    unit, usable = seen.cosines, seen.usable
    dtype = unit.dtype
    norms, common = seen.relative()
    inverse = seen.inverse()
    count = jnp.asarray(seen.num_present, dtype)
    present = None  # Dimensions of the subspace, if padding must not count.
    if num_components is None and seen.present is not None:
      present = jnp.minimum((seen.num_present + 2) // 2, seen.num_present)

    # Columns: the unit updates and, with reg > 0, all pair differences, as
    # coefficients on the unit updates.
    selector = jnp.eye(n, dtype=dtype)
    # lambda / (n (n-1)), for both orders of a pair.
    pair_share = 2.0 * reg / jnp.maximum(count * (count - 1), 1)
    pair_factor = jnp.sqrt(pair_share)
    if pair_mode == 'reference':  # On the column itself, hence squared.
      pair_factor = jnp.sqrt(2.0) * pair_share / 2.0
    if pairs:
      differences = (selector[left] - selector[right]).T
      # |u - v|^2 = 2 - 2 cos; below the resolution of a cosine it is zero.
      squares = 2.0 * (1.0 - unit[left, right])
      some = squares > 0
      lengths = jnp.where(some, jnp.sqrt(jnp.where(some, squares, 1.0)), 0.0)
      both = usable[left] & usable[right]
      distinct = both & (lengths > 1e-6)
      shorten = jnp.where(distinct, 1 / jnp.where(distinct, lengths, 1), 0)
      if pair_mode == 'reference':
        shorten = both.astype(dtype)
      selector = jnp.concatenate(
        [selector, differences * shorten[None, :]], axis=1
      )
    columns = selector.T @ unit @ selector
    there = jnp.diagonal(columns) > 0
    # One minus the square of a column: none but the official code's are not
    # of unit length.
    short = jnp.zeros(columns.shape[0], dtype)
    if pairs and pair_mode == 'reference':
      short = short.at[n:].set(1.0 - jnp.diagonal(columns)[n:])

    def measure(outside):
      """Objective and IRLS weights of the squares outside a subspace."""
      distance = jnp.where(there, short + outside, 0.0)
      missing = jnp.maximum(distance, 0.0)
      fresh = jnp.where(there, (jnp.abs(distance) + eps) ** -0.25, 0.0)
      some = missing > 0
      parts = jnp.where(some, jnp.sqrt(jnp.where(some, missing, 1.0)), 0.0)
      objective = jnp.sum(parts[:n])
      if pairs:
        objective = objective + pair_share * jnp.sum(parts[n:])
        fresh = fresh.at[n:].multiply(pair_factor)
      return objective, fresh

    if start == 'random':
      draw = jax.random.normal(key, (columns.shape[0],), dtype)
      first = jnp.abs(draw) * there
    else:
      first = jnp.where(there, 1.0, 0.0)
      if pairs:
        first = first.at[n:].multiply(pair_factor)

    def step(carry, _):
      coefficients, objective, weights, done = carry
      fresh, missing = _split(columns, weights, m, present)
      value, next_weights = measure(missing)
      worse = value > objective
      stop = done | worse | (objective - value < 1e-10) | (value <= 1e-10)
      keep = done | worse
      carry = (
        jnp.where(keep, coefficients, fresh),
        jnp.where(keep, objective, value),
        jnp.where(keep, weights, next_weights),
        stop,
      )
      return carry, carry[1]

    coefficients, missing = _split(columns, first, m, present)
    objective, weights = measure(missing)
    carry = (coefficients, objective, weights, objective <= 1e-10)
    (coefficients, _, weights, _), course = jax.lax.scan(
      step, carry, None, length=num_iters
    )

    # Y Y^T (X c) = X (C C^T X^T X c), with C on the unit updates.
    basis = selector @ coefficients
    if normalize:
      target = usable.astype(dtype)
    else:
      target = jnp.where(usable, norms, 0.0)
    projected = basis @ (basis.T @ (unit @ target))
    divisor = count if scale == 'mean' else m if present is None else present
    projected = projected / jnp.maximum(divisor, 1)
    if normalize and rescale == 'median_norm':
      ordered = jnp.sort(jnp.where(usable, norms, jnp.inf))
      number = jnp.sum(usable)
      middle = 0.5 * (
        jnp.take(ordered, jnp.maximum(number - 1, 0) // 2)
        + jnp.take(ordered, number // 2, mode='clip')
      )
      projected = projected * jnp.where(number > 0, middle, 0.0)
    values = reconstruction_values(unit, basis)
    state = FlagState(
      values=jnp.where(usable, values, 0.0),
      weights=jnp.where(usable, weights[:n], 0.0),
      objective=jnp.concatenate([objective[None], course]),
      num_ignored=(seen.num_present - jnp.sum(usable)).astype(jnp.int32),
      shares=projected / jnp.maximum(jnp.sum(jnp.abs(projected)), 1e-30),
    )
    factor = 1 if normalize and rescale == 'none' else common
    return projected * inverse, factor, state

  return weights_fn
