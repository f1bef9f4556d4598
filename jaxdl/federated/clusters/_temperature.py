# SPDX-License-Identifier: Apache-2.0
"""How far clients' updates point apart, and when that calls for clusters."""

import math

import chex
import jax
import jax.numpy as jnp
import numpy as np

from jaxdl.core import checks, gram, trees


def cosine_distance_matrix(
  updates: chex.ArrayTree, *, mask: chex.Array | None = None
) -> chex.Array:
  """Cosine distances between what clients send, Γ_ij = 1 - cos(Δ_i, Δ_j).

  Taken as half the squared distance of the normalized rows, about one of them:
  near agreement, where 1 - cos would be rounding, it is still exact, and equal
  rows have distance zero. A row of length zero is orthogonal to all others.

  Args:
    updates: leaves [N, ...], floating point, of any magnitude.
    mask: bool[N], rows that count; all do if None. Others have distance zero.

  Returns:
    f32[N, N] in [0, 2], exactly symmetric, zero diagonal; NaN where a row that
    counts is not finite.

  Cost: O(N² D), one normalized copy of the updates.

  Example:
    >>> u = jnp.array([[3.0, 0.0], [0.0, 1.0], [-2.0, 0.0]])
    >>> cosine_distance_matrix(u).round(6).tolist()
    [[0.0, 1.0, 2.0], [1.0, 0.0, 1.0], [2.0, 1.0, 0.0]]

  Source: Zuziak et al. 2025 (https://arxiv.org/abs/2509.01587).
  """
  n = checks.num_clients(updates)
  present = jnp.ones(n, bool) if mask is None else mask
  length, unit, finite = gram.row_norms(updates, mask=present)
  usable = finite & (length > 0) & present
  inverse = jnp.where(usable, 1 / jnp.where(usable, length, 1), 0)
  # In two factors, so that neither leaves the range of floats.
  rows = trees.where_rows(usable, updates, 0.0)
  rows = trees.scale_rows(inverse, trees.scale_rows(1 / unit, rows))
  frame = gram.centered_gram(rows, mask=usable)
  squares = gram.squared_distances(frame.products[:n, :n]) * frame.unit**2
  both = usable[:, None] & usable[None, :]
  # Where one row has no direction there is no angle: a right one is assumed.
  distances = jnp.where(both, jnp.clip(squares / 2, 0, 2), 1)
  lost = present & ~finite
  broken = lost[:, None] | lost[None, :]
  distances = jnp.where(broken, jnp.nan, distances)
  counts = present[:, None] & present[None, :] & ~jnp.eye(n, dtype=bool)
  return jnp.where(counts, distances, 0)


def clustering_temperature(
  gamma: chex.Array, *, p: float = 2.0, mask: chex.Array | None = None
) -> chex.Array:
  """Normalized p-norm of a distance matrix, T = |Γ|_p / (n (n - 1) 2^p)^(1/p).

  0 where all updates point one way, 1/2 where all are orthogonal; 1 where all
  pairs are antipodal, which two clients alone can be.

  Args:
    gamma: f32[N, N], cosine distances in [0, 2] with a zero diagonal.
    p: p >= 1 (static); infinity takes the largest entry.
    mask: bool[N], the n rows that count; all do if None.

  Returns:
    f32[]; 0 where fewer than two rows count. Its gradient at Γ = 0 is zero.

  Raises:
    ValueError: if Γ is not square, p is below 1, or Γ is concrete and not
      symmetric or negative.

  Example:
    >>> gamma = jnp.array([[0.0, 0.0, 1.0], [0.0, 0.0, 2.0], [1.0, 2.0, 0.0]])
    >>> round(float(clustering_temperature(gamma)), 6)
    0.645497

  Source: Zuziak et al. 2025 (https://arxiv.org/abs/2509.01587), λ of a general
    p from the predecessor (https://arxiv.org/abs/2503.04231).
  """
  check_distances(gamma)
  checks.number(p, name='p', low=1.0, finite=False)
  n = jnp.shape(gamma)[0]
  present = jnp.ones(n, bool) if mask is None else mask
  pairs = present[:, None] & present[None, :] & ~jnp.eye(n, dtype=bool)
  half = jnp.where(pairs, jnp.asarray(gamma) / 2, 0)
  if math.isinf(p):
    return jnp.max(half)
  # Powers of what is at most one: the largest entry neither over- nor
  # underflows, whatever p is.
  top = jax.lax.stop_gradient(jnp.max(half))
  some = top > 0
  top = jnp.where(some, top, 1)
  mean = jnp.sum((half / top) ** p) / jnp.maximum(jnp.sum(pairs), 1)
  root = jnp.where(some, mean, 1) ** (1 / p)
  return jnp.where(some, top * root, jnp.sum(half))


def temperature_trigger(
  previous: chex.Numeric, current: chex.Numeric, fired: chex.Numeric
) -> chex.Array:
  """Whether to cluster now: at the first rise of the temperature.

  Args:
    previous: f32[], of the round before; infinity before the first.
    current: f32[].
    fired: bool[], whether clients have been clustered already.

  Returns:
    bool[]; false for NaN.

  Example:
    >>> bool(temperature_trigger(0.33, 0.39, False))
    True
  """
  rises = jnp.asarray(current) > jnp.asarray(previous)
  return rises & ~jnp.asarray(fired, bool)


def check_distances(gamma: chex.Array, *, name: str = 'gamma') -> None:
  """Checks a distance matrix as far as its values are known.

  Args:
    gamma: [N, N].
    name: the argument's name, for messages.

  Raises:
    ValueError: if it is not square; if concrete, also if it is not finite, not
      symmetric, negative, or above 2.
  """
  shape = jnp.shape(gamma)
  if len(shape) != 2 or shape[0] != shape[1] or not shape[0]:
    raise ValueError(f'{name} must be square, [N, N]; got shape {shape}.')
  if isinstance(gamma, jax.core.Tracer):
    return
  host = np.asarray(gamma, np.float64)
  if not np.isfinite(host).all():
    i, j = np.argwhere(~np.isfinite(host))[0]
    raise ValueError(
      f'{name} must be finite; entry [{i}, {j}] is {host[i, j]}.'
    )
  gap = np.abs(host - host.T)
  if gap.max() > 1e-5:
    i, j = np.unravel_index(gap.argmax(), gap.shape)
    raise ValueError(
      f'{name} must be symmetric; entries [{i}, {j}] and [{j}, {i}] are '
      f'{host[i, j]:g} and {host[j, i]:g}.'
    )
  if host.min() < 0:
    i, j = np.unravel_index(host.argmin(), host.shape)
    raise ValueError(
      f'{name} must not be negative; entry [{i}, {j}] is {host[i, j]:g}: clip '
      'cosine distances to [0, 2].'
    )
