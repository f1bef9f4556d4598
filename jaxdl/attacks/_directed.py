# SPDX-License-Identifier: Apache-2.0
"""Closed-form adversaries that know the honest mean and spread."""

import statistics

import chex
import jax
import jax.numpy as jnp

from jaxdl.attacks import _honest
from jaxdl.core import checks, trees

SIGNS = ('minus', 'plus')


def sign_flip(
  honest: chex.ArrayTree,
  *,
  num_byzantine: int,
  scale: chex.Numeric = 1.0,
  axis_name: str | None = None,
) -> chex.ArrayTree:
  """Sends the negative of the honest mean.

  Args:
    honest: what honest clients send, leaves [H, ...], floating point.
    num_byzantine: attackers F >= 1 (static).
    scale: factor on the negative; Python number or traced.
    axis_name: mapped axis over which honest clients are split, if any.

  Returns:
    Leaves [F, ...], -scale * mean, all rows equal.

  Raises:
    ValueError, TypeError: if an argument is malformed.

  Cost: O(H · D) work, one pass over `honest`.

  Example:
    >>> sign_flip(jnp.array([[1.0], [3.0]]), num_byzantine=1)
    Array([[-2.]], dtype=float32)

  Source: Allen-Zhu et al. 2021 (https://arxiv.org/abs/2012.14368), section 5.
  """
  _honest.check(honest, num_byzantine, axis_name)
  checks.number(scale, name='scale')
  mean = _honest.mean(honest, axis_name)
  vector = jax.tree.map(lambda x: -scale * x, mean)
  return _honest.send(vector, honest, num_byzantine)


def scaled_sign_flip(
  honest: chex.ArrayTree, *, num_byzantine: int, axis_name: str | None = None
) -> chex.ArrayTree:
  """Sends what makes the plain mean of everyone zero, -(H / F) * mean.

  Args:
    honest: leaves [H, ...], floating point.
    num_byzantine: attackers F >= 1 (static).
    axis_name: mapped axis over which honest clients are split, if any.

  Returns:
    Leaves [F, ...], all rows equal.

  Raises:
    ValueError, TypeError: if an argument is malformed.

  Cost: O(H · D) work, one pass over `honest`.

  Example:
    >>> scaled_sign_flip(jnp.array([[1.0], [3.0]]), num_byzantine=1)
    Array([[-4.]], dtype=float32)

  Source: Farhadkhani et al. 2023 (https://arxiv.org/abs/2209.10931), code.
  """
  count = _honest.check(honest, num_byzantine, axis_name)
  return sign_flip(
    honest,
    num_byzantine=num_byzantine,
    scale=count / num_byzantine,
    axis_name=axis_name,
  )


def ipm(
  honest: chex.ArrayTree,
  *,
  num_byzantine: int,
  scale: chex.Numeric = 0.1,
  axis_name: str | None = None,
) -> chex.ArrayTree:
  """Sends a small step against the honest mean ("fall of empires").

  Small scales hide among the honest clients and turn the inner product of
  the aggregate with the true gradient negative once `scale * F > H` for the
  mean, far earlier for selection rules. Implementations that write
  mean - a * mean use a = 1 + scale.

  Args:
    honest: leaves [H, ...], floating point.
    num_byzantine: attackers F >= 1 (static).
    scale: ε in the paper, typically 0.1, 0.5 or 2; Python number or traced.
    axis_name: mapped axis over which honest clients are split, if any.

  Returns:
    Leaves [F, ...], -scale * mean, all rows equal.

  Raises:
    ValueError, TypeError: if an argument is malformed.

  Cost: O(H · D) work, one pass over `honest`.

  Example:
    >>> ipm(jnp.array([[1.0], [3.0]]), num_byzantine=1, scale=0.5)
    Array([[-1.]], dtype=float32)

  Source: Xie et al. 2019 (https://arxiv.org/abs/1903.03936), equation 2.
  """
  return sign_flip(
    honest, num_byzantine=num_byzantine, scale=scale, axis_name=axis_name
  )


def alie_z(num_clients: int, num_byzantine: int) -> float:
  """The largest deviation that a majority still supports, in units of std.

  With s = floor(N / 2) + 1 - F honest supporters needed, it is the normal
  quantile of (N - F - s) / (N - F). It is negative for few attackers among
  few clients, as the formula says.

  Args:
    num_clients: N >= 3, attackers included.
    num_byzantine: F, `1 <= F <= N / 2`.

  Returns:
    z, a Python float.

  Raises:
    ValueError: if the quantile is infinite; give `scale` instead.

  Example:
    >>> round(alie_z(25, 5), 6)
    0.253347

  Source: Baruch et al. 2019 (https://arxiv.org/abs/1902.06156), section 3.
  """
  checks.integer(num_clients, name='num_clients', low=1)
  checks.integer(num_byzantine, name='num_byzantine', low=1)
  if num_clients < 3 or 2 * num_byzantine > num_clients:
    raise ValueError(
      f'the quantile of alie needs num_clients >= 3 and 2 * num_byzantine <= '
      f'num_clients; got num_clients={num_clients}, '
      f'num_byzantine={num_byzantine}: give scale.'
    )
  supporters = num_clients // 2 + 1 - num_byzantine
  honest = num_clients - num_byzantine
  return statistics.NormalDist().inv_cdf((honest - supporters) / honest)


def alie(
  honest: chex.ArrayTree,
  *,
  num_byzantine: int,
  scale: chex.Numeric | None = None,
  sign: str = 'minus',
  ddof: int = 1,
  axis_name: str | None = None,
) -> chex.ArrayTree:
  """Shifts every coordinate by a few standard deviations ("a little").

  Stays inside the spread of the honest clients, so that distances do not
  betray it. With one honest client the spread is zero and its vector is sent.

  Args:
    honest: leaves [H, ...], floating point.
    num_byzantine: attackers F >= 1 (static).
    scale: z in the paper; Python number or traced, None for
      `alie_z(H + F, F)`. Other code uses 1.5.
    sign: 'minus' for mean - z * std (the paper), 'plus' for mean + z * std.
    ddof: the variance is divided by H - ddof; 1, or 0 as in the paper's code.
    axis_name: mapped axis over which honest clients are split, if any.

  Returns:
    Leaves [F, ...], all rows equal.

  Raises:
    ValueError, TypeError: if an argument is malformed or `scale` is None
      where the quantile is infinite.

  Cost: O(H · D) work, two passes over `honest`.

  Example:
    >>> alie(jnp.array([[1.0], [3.0]]), num_byzantine=1, scale=1.0, ddof=0)
    Array([[1.]], dtype=float32)

  Source: Baruch et al. 2019 (https://arxiv.org/abs/1902.06156), algorithm 3.
  """
  count = _honest.check(honest, num_byzantine, axis_name)
  checks.choice(sign, SIGNS, name='sign')
  _honest.check_ddof(ddof)
  if scale is None:
    scale = alie_z(count + num_byzantine, num_byzantine)
  checks.number(scale, name='scale')
  mean = _honest.mean(honest, axis_name)
  std = _honest.std(honest, mean, ddof, axis_name)
  vector = _honest.add(mean, -scale if sign == 'minus' else scale, std)
  return _honest.send(vector, honest, num_byzantine)


def anti_cge(
  honest: chex.ArrayTree,
  *,
  num_byzantine: int,
  margin: chex.Numeric = 0.01,
  axis_name: str | None = None,
) -> chex.ArrayTree:
  """Opposes the honest vectors that a smallest-norm rule would keep.

  A rule that keeps the H smallest norms keeps all attackers if they are
  shorter than the (H - F + 1)-th shortest honest vector. The attackers point
  against the mean of the H - F honest vectors below it and are as long as
  that allows.

  Args:
    honest: leaves [H, ...], floating point.
    num_byzantine: attackers F >= 1 (static); with F >= H the shortest honest
      vector is opposed.
    margin: relative gap to the limiting norm, in (0, 1); may be traced. The
      default survives rounding to bfloat16.
    axis_name: mapped axis over which honest clients are split, if any.

  Returns:
    Leaves [F, ...], all rows equal; zero if the opposed mean is zero.

  Raises:
    ValueError, TypeError: if an argument is malformed.

  Cost: O(H · D) work, two passes over `honest`.

  Example:
    >>> anti_cge(jnp.array([[2.0], [4.0], [5.0]]), num_byzantine=1, margin=0.5)
    Array([[-2.5]], dtype=float32)

  Source: Farhadkhani et al. 2023 (https://arxiv.org/abs/2209.10931), code,
  which counts the shortest vector twice in the mean; here once.
  """
  count = _honest.check(honest, num_byzantine, axis_name)
  checks.number(
    margin, name='margin', low=0.0, high=1.0, open_low=True, open_high=True
  )
  own = trees.norms(honest)
  norms = own
  if axis_name is not None:
    norms = jax.lax.all_gather(own, axis_name, tiled=True)
  position = max(count - num_byzantine, 0)
  kept = max(position, 1)
  rank = jnp.argsort(jnp.argsort(norms))
  limit = jnp.sort(norms)[position]
  if axis_name is not None:
    size = own.shape[0]
    start = jax.lax.axis_index(axis_name) * size
    rank = jax.lax.dynamic_slice_in_dim(rank, start, size)
  weights = (rank < kept).astype(norms.dtype) / kept

  def leaf(x):
    acc = trees.accumulator(x.dtype)
    return jnp.tensordot(
      weights.astype(acc), x.astype(acc), axes=1, precision='highest'
    )

  opposed = _honest.total(jax.tree.map(leaf, honest), axis_name)
  length = trees.global_norm(opposed)
  factor = (1 - margin) * limit / jnp.where(length > 0, length, 1)
  vector = jax.tree.map(lambda x: -factor * x, opposed)
  return _honest.send(vector, honest, num_byzantine)
