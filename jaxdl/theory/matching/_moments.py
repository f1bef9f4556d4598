# SPDX-License-Identifier: Apache-2.0
"""Means and covariances of units over a data set that streams past.

Units of several networks on the same samples; a channel of a convolution is one
unit and every position of every image a sample. Everything is centered before
it is multiplied, and sums are merged about their means (Chan et al. 1979): the
difference of raw moments would lose all digits where a mean is large beside its
spread, as that of a rectified unit is.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np

from jaxdl.core import checks


class Moments(NamedTuple):
  """Means and covariances of the units of K networks, over all samples.

  Attributes:
    count: f[], samples N so far.
    mean: K arrays f[n_k].
    cov: row k holds the covariances of network k with networks k, k + 1, ...:
      `cov[k][l - k]` is f[n_k, n_l], divided by N. See `between`.
  """

  count: chex.Array
  mean: tuple[chex.Array, ...]
  cov: tuple[tuple[chex.Array, ...], ...]

  def between(self, first: int = 0, second: int = 1) -> chex.Array:
    """Covariances of the units of two networks.

    Args:
      first: a network (static).
      second: another, or the same (static).

    Returns:
      f[n_first, n_second].

    Raises:
      ValueError: if there is no such network.
    """
    for name, value in (('first', first), ('second', second)):
      checks.integer(value, name=name, low=0, high=len(self.mean) - 1)
    if first <= second:
      return self.cov[first][second - first]
    return self.cov[second][first - second].T

  def pair(self, first: int, second: int) -> 'Moments':
    """The moments of two networks among them."""
    cov = (
      (self.between(first, first), self.between(first, second)),
      (self.between(second, second),),
    )
    return Moments(self.count, (self.mean[first], self.mean[second]), cov)


def units(x: chex.Array, *, layer: str = 'activations') -> chex.Array:
  """Lays samples along one axis: f[..., C] to f[N, C].

  Args:
    x: activations, units along the last axis.
    layer: what they are called, for the message.

  Returns:
    f[N, C], at least float32.

  Raises:
    ValueError: for fewer than two axes, or no unit.
    TypeError: for anything but real numbers.

  Example:
    >>> units(jnp.zeros((2, 3, 3, 5))).shape
    (18, 5)
  """
  if jnp.ndim(x) < 2:
    raise ValueError(
      f'{layer} must have samples and units, shape [..., C]; got '
      f'{jnp.shape(x)}: add an axis (x[:, None] is one unit).'
    )
  if not isinstance(x, jax.core.Tracer):
    checks.host_array(x, name=layer)
  x = jnp.asarray(x)
  if jnp.issubdtype(x.dtype, jnp.complexfloating):
    raise TypeError(f'{layer} must hold real numbers; got complex numbers.')
  if not x.shape[-1]:
    raise ValueError(f'{layer} has no units: shape {x.shape}.')
  x = x.astype(jnp.promote_types(x.dtype, jnp.float32))
  return x.reshape(-1, x.shape[-1])


def check_finite(x: chex.Array, *, layer: str = 'activations') -> None:
  """Raises if a concrete array has a number that is none; tracers pass.

  Args:
    x: f[..., C].
    layer: what it is called, for the message.

  Raises:
    ValueError: naming the layer and the first unit.
  """
  if isinstance(x, jax.core.Tracer):
    return
  host = np.asarray(x)
  host = host.reshape(-1, host.shape[-1])
  bad = ~np.isfinite(host.astype(np.float64)).all(axis=0)
  if bad.any():
    where = np.flatnonzero(bad)
    raise ValueError(
      f'{layer} must be finite; unit {where[0]} is not'
      + (f' ({where.size} units are not).' if where.size > 1 else '.')
    )


def activation_moments(
  *activations: chex.Array,
  mask: chex.Array | None = None,
  layer: str = 'activations',
) -> Moments:
  """Computes means and covariances of the units of one or more networks.

  Args:
    *activations: of each network on the same samples, f[..., n_k]; leading
      axes agree. Computed in at least float32.
    mask: bool[...], the leading axes or the first of them; samples that are
      false do not count.
    layer: what they are called, for messages (static).

  Returns:
    `Moments`; all zero if nothing counts. A unit that is not finite has moments
    that are not, and makes those of no other unit wrong.

  Raises:
    ValueError: for different numbers of samples, fewer than two axes, or
      numbers that are not finite (where they are concrete).

  Cost: O(N n²) work for n units in all, O(n²) memory beside the samples.

  Example:
    >>> x = jnp.array([[1.0], [3.0]])
    >>> found = activation_moments(x, 2 * x)
    >>> found.mean[1].tolist(), found.between(0, 1).tolist()
    ([4.0], [[2.0]])

  Source: Li et al. 2015 (https://arxiv.org/abs/1511.07543), section 2.
  """
  if not activations:
    raise ValueError(
      'activations is empty: give those of one network at least.'
    )
  shapes = [jnp.shape(x) for x in activations]
  flat = [units(x, layer=layer) for x in activations]
  for x in flat:
    check_finite(x, layer=layer)
  for shape in shapes[1:]:
    if shape[:-1] != shapes[0][:-1]:
      raise ValueError(
        f'{layer} must be of the same samples in the same order; got shapes '
        f'{shapes[0]} and {shape}.'
      )
  dtype = jnp.result_type(*flat)
  flat = [x.astype(dtype) for x in flat]
  weights = _weights(mask, shapes[0][:-1], dtype)
  count = jnp.sum(weights)
  share = weights / jnp.maximum(count, 1)

  def center(x):
    # What a masked sample holds must not matter, even if it is no number.
    x = jnp.where(weights[:, None] > 0, x, 0)
    mean = _dot(share, x)
    rest = jnp.where(weights[:, None] > 0, x - mean[None], 0)
    # The mean of large numbers is off by rounding; that of the rest is not.
    off = _dot(share, rest)
    return mean + off, rest - jnp.where(weights[:, None] > 0, off[None], 0)

  centered = [center(x) for x in flat]
  rest = [x for _, x in centered]
  cov = tuple(
    tuple(_dot((x * share[:, None]).T, y) for y in rest[k:])
    for k, x in enumerate(rest)
  )
  return Moments(count, tuple(mean for mean, _ in centered), cov)


def _dot(a, b):
  return jnp.matmul(a, b, precision='highest')


def _weights(mask, shape, dtype):
  size = int(np.prod(shape))
  if mask is None:
    return jnp.ones((size,), dtype)
  if jnp.shape(mask) != shape[: jnp.ndim(mask)]:
    raise ValueError(
      f'mask must have the leading axes of the samples, {shape}; got '
      f'{jnp.shape(mask)}.'
    )
  mask = jnp.asarray(mask, dtype)
  mask = mask.reshape(*mask.shape, *(1,) * (len(shape) - mask.ndim))
  return jnp.broadcast_to(mask, shape).reshape(-1)


def merge_moments(a: Moments, b: Moments) -> Moments:
  """Joins the moments of two sets of samples; associative.

  Args:
    a: of the first samples.
    b: of the others, of the same units.

  Returns:
    Those of both; no samples on one side leave the other as it is.

  Raises:
    ValueError: if they are of other units.

  Example:
    >>> x = jnp.array([[1.0], [2.0], [6.0]])
    >>> both = merge_moments(
    ...   activation_moments(x[:1]), activation_moments(x[1:])
    ... )
    >>> round(float(both.between(0, 0)[0, 0]), 4)
    4.6667

  Source: Chan, Golub & LeVeque 1979, "Updating formulae and a pairwise
  algorithm for computing sample variances".
  """
  shapes = [[jnp.shape(x) for x in m.mean] for m in (a, b)]
  if shapes[0] != shapes[1]:
    raise ValueError(
      'a and b must be moments of the same units; means have shapes '
      f'{shapes[0]} and {shapes[1]}.'
    )
  count = a.count + b.count
  right = b.count / jnp.maximum(count, 1)
  left = a.count / jnp.maximum(count, 1)
  gaps = [y - x for x, y in zip(a.mean, b.mean, strict=True)]
  mean = tuple(x + gap * right for x, gap in zip(a.mean, gaps, strict=True))
  cov = tuple(
    tuple(
      left * x + right * y + (left * right) * jnp.outer(gaps[k], gaps[k + i])
      for i, (x, y) in enumerate(zip(a.cov[k], b.cov[k], strict=True))
    )
    for k in range(len(gaps))
  )
  return Moments(count, mean, cov)


def stream_moments(
  activations_fn: Callable[..., Sequence[chex.Array]], batches: Any
) -> Moments:
  """Runs over batches and keeps nothing but moments.

  Args:
    activations_fn: `activations_fn(batch) -> activations` of K networks, a
      sequence of f[..., n_k]; or a pair of that and a mask, see
      `activation_moments`.
    batches: tree of leaves [T, ...]; one batch is its rows t.

  Returns:
    `Moments` over all batches.

  Raises:
    ValueError: as `activation_moments`, or if there is no batch.

  Cost: one scan; memory does not depend on T.

  Example:
    >>> batches = jnp.arange(6.0).reshape(3, 2, 1)
    >>> found = stream_moments(lambda x: (x, -x), batches)
    >>> found.count.item(), round(found.between(0, 1).item(), 4)
    (6.0, -2.9167)
  """
  checks.num_clients(batches, name='batches')

  def one(batch):
    found = activations_fn(batch)
    mask = None
    pair = isinstance(found, tuple) and len(found) == 2
    if pair and isinstance(found[0], (tuple, list)):
      found, mask = found
    return activation_moments(*found, mask=mask)

  first = jax.tree.map(lambda x: x[0], batches)
  start = jax.tree.map(
    lambda x: jnp.zeros(x.shape, x.dtype), jax.eval_shape(one, first)
  )
  body = lambda moments, batch: (merge_moments(moments, one(batch)), None)
  return jax.lax.scan(body, start, batches)[0]


def all_reduce_moments(moments: Moments, axis_name: str) -> Moments:
  """Joins the moments that the devices of a mapped axis have of their samples.

  Args:
    moments: of this device's samples.
    axis_name: of the axis of `shard_map`, `pmap` or `vmap` (static).

  Returns:
    Those of all samples, on every device; two sums over the axis.

  Raises:
    ValueError: if no such axis is mapped here.

  Example:
    >>> x = jnp.array([[[1.0]], [[3.0]]])
    >>> whole = jax.vmap(
    ...   lambda x: all_reduce_moments(activation_moments(x), 'i'),
    ...   axis_name='i',
    ... )(x)
    >>> whole.mean[0].tolist(), whole.between(0, 0)[0].tolist()
    ([[2.0], [2.0]], [[1.0]])
  """
  checks.axis_size(axis_name)
  total = jax.lax.psum(moments.count, axis_name)
  share = moments.count / jnp.maximum(total, 1)
  add = lambda x: jax.lax.psum(share * x, axis_name)
  means = [add(x) for x in moments.mean]
  # Once more about the mean, which is off by rounding.
  means = [
    mean + add(x - mean) for x, mean in zip(moments.mean, means, strict=True)
  ]
  gaps = [x - mean for x, mean in zip(moments.mean, means, strict=True)]
  cov = tuple(
    tuple(add(x + jnp.outer(gaps[k], gaps[k + i])) for i, x in enumerate(row))
    for k, row in enumerate(moments.cov)
  )
  return Moments(total, tuple(means), cov)


class Correlation(NamedTuple):
  """How units of two networks vary together.

  Attributes:
    matrix: f[n1, n2] in [-1, 1]; 0 where a unit does not vary.
    alive_x: bool[n1], whether a unit varies.
    alive_y: bool[n2].
  """

  matrix: chex.Array
  alive_x: chex.Array
  alive_y: chex.Array


def correlation(
  moments: Moments,
  first: int = 0,
  second: int = 1,
  *,
  tol: chex.Numeric = 1e-8,
  layer: str = 'activations',
) -> Correlation:
  """Correlates the units of two networks, or those of one with each other.

  A unit is alive if its standard deviation exceeds `tol` times the largest of
  its network, and eight roundings of its mean: a constant that is no round
  number has a spread of that size. What is not finite is not alive.

  Args:
    moments: of samples that both have seen.
    first: a network (static).
    second: another, or the same (static).
    tol: least spread in units of the largest; static or traced.
    layer: what they are called, for the message (static).

  Returns:
    `Correlation`.

  Raises:
    ValueError: if no unit varies or there are fewer than two samples (where
      moments are concrete), or `tol` is negative.

  Example:
    >>> x = jnp.array([[1.0, 5.0], [2.0, 5.0], [4.0, 5.0]])
    >>> found = correlation(activation_moments(x, -x))
    >>> found.matrix.round(4).tolist(), found.alive_x.tolist()
    ([[-1.0, 0.0], [0.0, 0.0]], [True, False])

  Source: Li et al. 2015 (https://arxiv.org/abs/1511.07543), section 2.
  """
  checks.number(tol, name='tol', low=0.0)
  scale_x, alive_x = spread(moments, first, tol)
  scale_y, alive_y = spread(moments, second, tol)
  _check_alive(moments.count, (alive_x, alive_y), layer)
  live = alive_x[:, None] & alive_y[None]
  divisor = scale_x[:, None] * scale_y[None]
  matrix = moments.between(first, second) / jnp.where(live, divisor, 1)
  matrix = jnp.where(live, jnp.clip(matrix, -1, 1), 0)
  if first == second:
    eye = jnp.eye(len(alive_x), dtype=bool)
    matrix = jnp.where(eye & live, 1, matrix)
  return Correlation(matrix, alive_x, alive_y)


def spread(
  moments: Moments, k: int, tol: chex.Numeric
) -> tuple[chex.Array, chex.Array]:
  """Standard deviations f[n] of a network's units, and bool[n] who varies."""
  variance = jnp.diagonal(moments.between(k, k))
  mean = moments.mean[k]
  finite = jnp.isfinite(variance) & jnp.isfinite(mean)
  scale = jnp.sqrt(jnp.maximum(jnp.where(finite, variance, 0), 0))
  rounding = 8 * jnp.finfo(scale.dtype).eps * jnp.abs(mean)
  least = jnp.maximum(tol * jnp.max(scale), rounding)
  return scale, finite & (scale > least)


def _check_alive(count, alive, layer):
  if any(isinstance(x, jax.core.Tracer) for x in (count, *alive)):
    return
  samples = int(count)
  if samples < 2:
    raise ValueError(
      f'{layer} must have at least 2 samples to vary; got {samples}.'
    )
  for x in alive:
    if not np.asarray(x).any():
      raise ValueError(
        f'{layer}: no unit has non-zero variance over {samples} samples.'
      )
