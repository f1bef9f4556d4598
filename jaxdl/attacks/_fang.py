# SPDX-License-Identifier: Apache-2.0
"""The adversary of coordinate-wise rules: just outside the honest range."""

import chex
import jax
import jax.numpy as jnp

from jaxdl.attacks import _corrupt, _honest
from jaxdl.core import checks


def fang(
  honest: chex.ArrayTree,
  *,
  num_byzantine: int,
  key: chex.PRNGKey,
  scale: chex.Numeric = 2.0,
  axis_name: str | None = None,
) -> chex.ArrayTree:
  """Draws each coordinate just beyond the honest extreme against the mean.

  Where the honest mean is negative, attackers draw between the largest honest
  entry and that entry times `scale` (divided by it if the entry is negative);
  elsewhere, between the smallest entry and its counterpart below. The median
  and the trimmed mean move to the honest extremes and cannot notice.

  Args:
    honest: leaves [H, ...], floating point.
    num_byzantine: attackers F >= 1 (static).
    key: consumed; attacker k draws from stream k.
    scale: b in the paper, > 1; may be traced.
    axis_name: mapped axis over which honest clients are split, if any; the
      key is the same on all devices.

  Returns:
    Leaves [F, ...], rows differ.

  Raises:
    ValueError, TypeError: if an argument is malformed.

  Cost: O(H · D) work, three passes over `honest`, O(F · D) draws.

  Example:
    >>> honest = jnp.array([[1.0], [3.0]])
    >>> sent = fang(honest, num_byzantine=4, key=jax.random.key(0))
    >>> bool(jnp.all((sent >= 0.5) & (sent <= 1.0)))
    True

  Source: Fang et al. 2020 (https://arxiv.org/abs/1911.11815), section 4.3,
  full knowledge, b = 2.
  """
  _honest.check(honest, num_byzantine, axis_name)
  checks.number(scale, name='scale', low=1.0, open_low=True)
  mean = _honest.mean(honest, axis_name)
  low = jax.tree.map(
    lambda x: _honest.reduce_rows(jnp.minimum, lambda y: jnp.min(y, axis=0), x),
    honest,
  )
  high = jax.tree.map(
    lambda x: _honest.reduce_rows(jnp.maximum, lambda y: jnp.max(y, axis=0), x),
    honest,
  )
  if axis_name is not None:
    low = jax.lax.pmin(low, axis_name)
    high = jax.lax.pmax(high, axis_name)
  share = _corrupt.draw_rows(jax.random.uniform, honest, key, num_byzantine)

  def leaf(x, m, lo, hi, u):
    lo, hi = lo.astype(m.dtype), hi.astype(m.dtype)
    above = jnp.where(hi > 0, scale * hi, hi / scale)
    below = jnp.where(lo > 0, lo / scale, scale * lo)
    near = jnp.where(m < 0, hi, lo)
    far = jnp.where(m < 0, above, below)
    return (near[None] + u * (far - near)[None]).astype(x.dtype)

  return jax.tree.map(leaf, honest, mean, low, high, share)
