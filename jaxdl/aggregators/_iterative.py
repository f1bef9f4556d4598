# SPDX-License-Identifier: Apache-2.0
"""Rules that iterate: geometric median and centered clipping.

Family: Gram. Every iterate is a combination of the clients, so iterations work
on N numbers and the clients are read twice however many there are.
"""

import dataclasses

import chex
import jax
import jax.numpy as jnp

from jaxdl.aggregators import _facts, _families
from jaxdl.core import checks, registry, trees, types, view as view_lib

STARTS = ('center', 'mean', 'zero')


@registry.known(_facts.Facts(family='gram', byzantine=None))
def geometric_median(
  updates: _families.Updates,
  *,
  nu: chex.Numeric = 1e-6,
  num_iters: int = 32,
  start: str = 'center',
  mask: chex.Array | None = None,
  axis_name: str | None = None,
) -> chex.ArrayTree:
  """Minimizes the sum of Euclidean distances to the clients.

  Smoothed Weiszfeld iteration. Breakdown point 1/2: robust while n >= 2f + 1,
  without knowing f.

  Args:
    updates: stacked tree, leaves [N, ...], floating point, or a view.
    nu: smallest distance that a weight 1/distance may see, in (0, inf), in the
      same units as the updates; static or traced. 1e-6 is close to the exact
      median of updates that differ by much more, RFA uses 0.1.
    num_iters: Weiszfeld steps (static), >= 1. RFA uses 3.
    start: 'center' is the mean of the half of the clients nearest to the most
      central one, 'mean' the mean, 'zero' the origin (RFA); static.
    mask: bool[N], false for padding rows.
    axis_name: mapped axis over which the clients are split.

  Returns:
    Leaves [...], dtypes of the input. Non-finite clients have no weight.

  Raises:
    ValueError: if client axes differ, nu <= 0, num_iters < 1 or `start` is
      unknown.

  Cost: O(N² · D) + O(num_iters · N³).

  Example:
    >>> x = jnp.array([[0.0, 0.0], [0.0, 0.0], [0.0, 0.0], [90.0, 0.0]])
    >>> geometric_median(x).round(3)
    Array([0., 0.], dtype=float32)

  Source: Pillutla et al. 2019 (https://arxiv.org/abs/1912.13445),
    Algorithm 2.
  """
  return _families.gram_rule(
    updates,
    _weiszfeld(nu, num_iters, start),
    mask=mask,
    axis_name=axis_name,
  )


def _weiszfeld(nu, num_iters, start):
  checks.number(nu, name='nu', low=0.0, open_low=True)
  checks.integer(num_iters, name='num_iters', low=1)
  checks.choice(start, STARTS, name='start')

  def weights_fn(view):
    valid, dtype = view.valid, view.frame.dtype
    vectors = view.augmented()
    shortest = jnp.maximum(nu / view.unit, jnp.finfo(dtype).tiny)
    if start == 'zero':
      first = jnp.zeros(view.size, dtype)
    elif start == 'mean':
      first = _families.average(valid, dtype)
    else:
      distances = view.sq_distances()
      middle = jnp.sort(jnp.where(valid[None, :], distances, jnp.inf), axis=1)
      half = (jnp.sum(valid) + 1) // 2
      middle = jnp.take(middle, jnp.maximum(half - 1, 0), axis=1)
      center = jnp.argmin(jnp.where(valid, middle, jnp.inf))
      near = _families.smallest(
        jnp.take(distances, center, axis=0), half, valid
      )
      first = _families.average(near, dtype)

    def body(_, weights):
      squares = view.sq_distances_to(weights @ vectors)
      squares = jnp.where(valid, squares, 1.0)
      some = squares > 0
      distances = jnp.where(some, jnp.sqrt(jnp.where(some, squares, 1.0)), 0.0)
      distances = jnp.maximum(distances, shortest)
      # In terms of the nearest one: inverses of lengths may overflow.
      nearest = jnp.min(jnp.where(valid, distances, jnp.inf))
      nearest = jnp.where(jnp.isfinite(nearest), nearest, 1.0)
      fresh = jnp.where(valid, jax.lax.stop_gradient(nearest) / distances, 0.0)
      return fresh / jnp.maximum(jnp.sum(fresh), jnp.finfo(dtype).tiny)

    return jax.lax.fori_loop(0, num_iters, body, first)

  return weights_fn


def centered_clipping(
  updates: _families.Updates,
  center: chex.ArrayTree | None = None,
  *,
  clip_radius: chex.Numeric,
  num_iters: int = 1,
  mask: chex.Array | None = None,
  axis_name: str | None = None,
) -> chex.ArrayTree:
  """Moves a center by the clipped pulls of the clients.

  Repeats v <- v + mean of clip(x_i - v, radius). Meant for `center` = the
  previous output, see `centered_clipping_aggregator`.

  Args:
    updates: stacked tree, leaves [N, ...], floating point; or a view made with
      `anchor=center`.
    center: v_0, leaves [...]; zero by default.
    clip_radius: tau > 0; static or traced.
    num_iters: L >= 1 (static).
    mask: bool[N], false for padding rows.
    axis_name: mapped axis over which the clients are split.

  Returns:
    Leaves [...], dtypes of the input. Non-finite clients do not pull.

  Raises:
    ValueError: if client axes differ, tau <= 0, L < 1 or a view has no anchor.

  Cost: O(N² · D) + O(L · N³).

  Example:
    >>> x = jnp.array([[1.0], [1.0], [90.0]])
    >>> centered_clipping(x, jnp.array([0.0]), clip_radius=3.0)
    Array([1.6666667], dtype=float32)

  Source: Karimireddy et al. 2021 (https://arxiv.org/abs/2012.10333),
    Algorithm 2.
  """
  view, center = _anchored(updates, center, mask, axis_name)
  weights = _clipping_steps(view, clip_radius, num_iters)
  moved = view.combine(weights)
  if view.reads_weights:
    return moved
  # v + sum of b_i (y_i - v): what is left of v itself. The vectors y_i need not
  # be averages of clients (clipping shortens them), so b itself counts.
  kept = 1.0 - jnp.sum(weights)
  return jax.tree.map(
    lambda m, c: (
      m.astype(trees.accumulator(m.dtype))
      + kept * c.astype(trees.accumulator(m.dtype))
    ).astype(m.dtype),
    moved,
    center,
  )


def _anchored(updates, center, mask, axis_name):
  if isinstance(updates, view_lib.View):
    view_lib.check_settled(mask=mask, axis_name=axis_name)
    rows = updates.reads_weights and updates.coefficients is None
    if rows and not updates.anchored:
      view, center = _anchored(
        updates.base, center, updates.own_mask(), updates.axis_name
      )
      return dataclasses.replace(view, reads_weights=True), center
    if not updates.anchored:
      raise ValueError(
        'this rule compares clients with a reference vector: make the view '
        'with core.view.view(updates, anchor=reference).'
      )
    if center is None:
      raise ValueError(
        'center is missing: give the vector that the view was anchored at '
        'beside the view.'
      )
    return updates, center
  if center is None:
    updates = view_lib.check_floating(updates)
    checks.num_clients(updates)
    center = jax.tree.map(lambda x: jnp.zeros_like(x[0]), updates)
  view = view_lib.view(updates, mask=mask, anchor=center, axis_name=axis_name)
  return view, center


@_families.full_precision
def _clipping_steps(view, clip_radius, num_iters):
  """Weights b with v_L = v_0 + sum_i b_i (y_i - v_0), for the M vectors y."""
  checks.number(
    clip_radius, name='clip_radius', low=0.0, open_low=True, finite=False
  )
  checks.integer(num_iters, name='num_iters', low=1)
  valid, dtype = view.valid, view.frame.dtype
  vectors, radius = view.augmented(), clip_radius / view.unit
  anchor = jnp.zeros(vectors.shape[1], dtype).at[-1].set(1.0)
  count = jnp.maximum(jnp.asarray(view.count, dtype), 1)

  def body(_, carry):
    weights, point = carry
    squares = view.sq_distances_to(point)
    usable = jnp.isfinite(squares) & (squares > 0)
    distances = jnp.sqrt(jnp.where(usable, squares, 1.0))
    pull = jnp.where(usable, jnp.minimum(radius / distances, 1.0), 1.0)
    pull = jnp.where(valid, pull, 0.0) / count
    # v + sum p_i (y_i - v), both in weights on y and in the frame.
    left = 1.0 - jnp.sum(pull)
    return left * weights + pull, left * point + pull @ vectors

  start = (jnp.zeros(view.size, dtype), anchor)
  return jax.lax.fori_loop(0, num_iters, body, start)[0]


@registry.known(_facts.Facts(family='stateful', byzantine=None))
def centered_clipping_aggregator(
  *, clip_radius: chex.Numeric = 10.0, num_iters: int = 1
) -> types.Aggregator:
  """Centered clipping around its own previous output.

  Args:
    clip_radius: tau > 0; 10 (the default) or 100 are usual with worker
      momentum.
    num_iters: L >= 1 (static).

  Returns:
    An `Aggregator`; the state is the previous update, zero at first.

  Raises:
    ValueError: if an argument is out of range.

  Example:
    >>> rule = centered_clipping_aggregator(clip_radius=1.0)
    >>> update, state = rule.apply(jnp.array([[2.0]]), rule.init(jnp.zeros(1)))
    >>> update
    Array([1.], dtype=float32)

  Source: Karimireddy et al. 2021 (https://arxiv.org/abs/2012.10333),
    Algorithm 2.
  """
  checks.number(
    clip_radius, name='clip_radius', low=0.0, open_low=True, finite=False
  )
  checks.integer(num_iters, name='num_iters', low=1)

  def init(params):
    return jax.tree.map(jnp.zeros_like, params)

  def apply(
    updates, state, *, weights=None, mask=None, key=None, axis_name=None
  ):
    del key
    _families.no_weights('centered_clipping', weights)
    update = centered_clipping(
      updates,
      state,
      clip_radius=clip_radius,
      num_iters=num_iters,
      mask=mask,
      axis_name=axis_name,
    )
    return update, update

  def explain(updates, state, *, mask=None, key=None, axis_name=None):
    del key
    view, _ = _anchored(updates, state, mask, axis_name)
    view = dataclasses.replace(view, reads_weights=True)
    return centered_clipping(
      view, state, clip_radius=clip_radius, num_iters=num_iters
    )

  return types.Aggregator(init, apply, explain)
