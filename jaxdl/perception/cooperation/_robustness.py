# SPDX-License-Identifier: Apache-2.0
"""What goes wrong on the road: wrong poses, late maps, lost entries."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp

from jaxdl.core import checks, registry


class Conditions(NamedTuple):
  """How bad it is.

  Attributes:
    pose: positions are off by up to so much along each axis.
    delay: so many frames pass until a map arrives.
    loss: share of the received entries that are lost.
  """

  pose: float = 0.0
  delay: int = 0
  loss: float = 0.0


def _pose(*, meters: float = 0.4) -> Conditions:
  """Positions of senders are off by up to so much along each axis, at random.

  In units of the poses, cells in the generated world.
  """
  checks.number(meters, name='meters', low=0.0)
  return Conditions(pose=float(meters))


def _delay(*, frames: int = 1) -> Conditions:
  """Maps of others are some frames old."""
  return Conditions(delay=checks.integer(frames, name='frames', low=0))


def _loss(*, rate: float = 0.1) -> Conditions:
  """A share of the received entries is zero."""
  checks.number(rate, name='rate', low=0.0, high=1.0)
  return Conditions(loss=float(rate))


NOISES = registry.Registry(
  'noise',
  {'pose': _pose, 'delay': _delay, 'loss': _loss},
  tried={},
)


def make_conditions(specs: Sequence[str]) -> Conditions:
  """Puts conditions together.

  Args:
    specs: parts of `NOISES`, each at most once.

  Returns:
    The conditions.

  Raises:
    ValueError: if a part is unknown, out of range or there twice.

  Example:
    >>> make_conditions(('delay(frames=2)', 'loss(0.1)'))
    Conditions(pose=0.0, delay=2, loss=0.1)
  """
  if isinstance(specs, str):
    raise TypeError(f'noises must be a sequence of parts; got {specs!r}.')
  found: dict[str, Any] = {}
  for spec in specs:
    name = NOISES.part(spec).name
    if name in found:
      raise ValueError(f'noises has {name} twice: once is enough.')
    found[name] = getattr(NOISES.make(spec), name)
  return Conditions(**found)


def noisy_poses(
  poses: chex.Array, *, meters: chex.Numeric, key: chex.PRNGKey
) -> chex.Array:
  """Moves positions at random, uniformly within +-meters along each axis.

  Args:
    poses: f[..., 3], x, y, yaw, of senders.
    meters: >= 0.
    key: consumed.

  Returns:
    f[..., 3]; yaw as it was.

  Raises:
    TypeError: if poses are not floating point.
    ValueError: if the distance is negative.
  """
  checks.number(meters, name='meters', low=0.0)
  poses = _floats(poses, 'poses')
  shape = (*jnp.shape(poses)[:-1], 2)
  off = jax.random.uniform(key, shape, poses.dtype, -1.0, 1.0)
  return poses.at[..., :2].add(meters * off)


def _floats(value, name):
  """An array of floating point, of whatever kind it is."""
  value = jnp.asarray(value)
  if not jnp.issubdtype(value.dtype, jnp.floating):
    raise TypeError(f'{name} must be floating point; got {value.dtype}.')
  return value


def delayed(frames: chex.ArrayTree, delay: int) -> chex.ArrayTree:
  """What was there some frames ago; the first frame stands in before it.

  Args:
    frames: leaves [T, ...].
    delay: frames >= 0 (static).

  Returns:
    Same shapes.

  Raises:
    ValueError: if the delay is negative.

  Example:
    >>> delayed(jnp.arange(4), 2).tolist()
    [0, 0, 0, 1]
  """
  delay = checks.integer(delay, name='delay', low=0)

  def late(x):
    at = jnp.maximum(jnp.arange(x.shape[0]) - delay, 0)
    return x[at]

  return jax.tree.map(late, frames) if delay else frames


def lose(
  maps: chex.Array, *, rate: chex.Numeric, key: chex.PRNGKey
) -> chex.Array:
  """Sets a random share of entries to zero.

  Args:
    maps: f[...], what was received of others.
    rate: chance that an entry is lost, in [0, 1].
    key: consumed.

  Returns:
    Same shape and dtype.

  Raises:
    ValueError: if the rate is out of range.
  """
  checks.number(rate, name='rate', low=0.0, high=1.0)
  maps = jnp.asarray(maps)
  kept = ~jax.random.bernoulli(key, rate, jnp.shape(maps))
  return jnp.where(kept, maps, jnp.zeros((), maps.dtype))
