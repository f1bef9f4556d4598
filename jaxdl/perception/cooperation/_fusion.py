# SPDX-License-Identifier: Apache-2.0
"""How a receiver makes one map of its own and of what it was sent.

A fusion of maps that are all equal returns that map, or, where it has layers of
its own, what it makes of that map alone.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp

from jaxdl.core import checks, registry, trees
from jaxdl.networks import functional
from jaxdl.perception.cooperation import _windows


class Fusion(NamedTuple):
  """A way to fuse.

  Attributes:
    init: `init(key) -> params`; consumes the key.
    apply: `apply(params, maps, weights, own, *, axis_name=None) -> f[C, H, W]`;
      maps are f[A, C, H, W], weights f[A, H, W] >= 0, zero where an agent does
      not count, own is the receiver's f[C, H, W]. With `axis_name`, in a mapped
      function, agents are split over that axis.
  """

  init: Callable[[chex.PRNGKey], Any]
  apply: Callable[..., chex.Array]


def fuse_max(
  maps: chex.Array, weights: chex.Array, *, axis_name: str | None = None
) -> chex.Array:
  """The largest of each entry, over the agents that count.

  Args:
    maps: f[A, C, H, W].
    weights: bool[A, H, W] or numbers; what is not positive does not count. Each
      cell must have an agent that does.
    axis_name: of the agents, in a mapped function.

  Returns:
    f[C, H, W].

  Source: Chen et al. 2019 (https://arxiv.org/abs/1909.06459), F-Cooper.
  """
  low = jnp.finfo(maps.dtype).min
  best = jnp.max(jnp.where(weights[:, None] > 0, maps, low), axis=0)
  if axis_name is None:
    return best
  # The maximum over a mapped axis has no derivative of its own.
  first = jnp.argmax(jax.lax.all_gather(best, axis_name), axis=0)
  own = first == jax.lax.axis_index(axis_name)
  return jax.lax.psum(jnp.where(own, best, 0), axis_name)


def fuse_mean(
  maps: chex.Array, weights: chex.Array, *, axis_name: str | None = None
) -> chex.Array:
  """The weighted mean: with a row of a mixing matrix, a step of gossip.

  Args:
    maps: f[A, C, H, W].
    weights: f[A, H, W] >= 0; each cell must have a positive sum.
    axis_name: of the agents, in a mapped function.

  Returns:
    f[C, H, W].

  Example:
    >>> maps = jnp.array([1.0, 4.0]).reshape(2, 1, 1, 1)
    >>> fuse_mean(maps, jnp.array([2.0, 1.0]).reshape(2, 1, 1)).item()
    2.0
  """
  wide = trees.accumulator(maps.dtype)
  maps = _counted(maps, weights)
  weights = weights.astype(wide)[:, None]
  top = jnp.sum(weights * maps.astype(wide), axis=0)
  total = jnp.sum(weights, axis=0)
  if axis_name is not None:
    top, total = jax.lax.psum((top, total), axis_name)
  return (top / total).astype(maps.dtype)


def fuse_attention(
  maps: chex.Array,
  weights: chex.Array,
  own: chex.Array,
  *,
  axis_name: str | None = None,
) -> chex.Array:
  """Attention over the agents at each cell, asked by the receiver's own map.

  Args:
    maps: f[A, C, H, W].
    weights: f[A, H, W]; what is not positive does not count.
    own: f[C, H, W], the query.
    axis_name: of the agents, in a mapped function.

  Returns:
    f[C, H, W].

  Source: Xu et al. 2022 (https://arxiv.org/abs/2109.07644), AttFuse.
  """
  wide = trees.accumulator(maps.dtype)
  maps = _counted(maps, weights)
  scores = jnp.einsum(
    'chw,achw->ahw', own, maps, preferred_element_type=wide
  ) / jnp.sqrt(jnp.asarray(own.shape[0], wide))
  return _soft(maps, scores, weights, axis_name)


def _counted(maps, weights):
  """Maps with zeros where an agent does not count, whatever is there."""
  return jnp.where(weights[:, None] > 0, maps, 0)


def _soft(maps, scores, weights, axis_name):
  """Mean by the softmax of scores f[A, H, W] over the agents that count."""
  scores = jnp.where(weights > 0, scores, -jnp.inf)
  top = jax.lax.stop_gradient(jnp.max(scores, axis=0))
  if axis_name is not None:
    top = jax.lax.pmax(top, axis_name)
  size = jnp.exp(scores - jnp.where(jnp.isfinite(top), top, 0)[None])
  return fuse_mean(maps, size, axis_name=axis_name)


def _gathered(x, axis_name):
  """Rows of all devices, which are known to be the same on each.

  A sum, since what `all_gather` returns counts as another on every device.
  """
  x = x.astype(jnp.int32) if x.dtype == bool else x
  rows = jnp.zeros((checks.axis_size(axis_name), *x.shape), x.dtype)
  rows = rows.at[jax.lax.axis_index(axis_name)].set(x)
  return jax.lax.psum(rows, axis_name).reshape(-1, *x.shape[1:])


def _plain(fuse, *, asks=False):
  def apply(params, maps, weights, own, *, axis_name=None):
    del params
    more = (own,) if asks else ()
    return fuse(maps, weights, *more, axis_name=axis_name)

  return Fusion(lambda key: {}, apply)


def _max(channels: int) -> Fusion:
  """The largest of each entry, as F-Cooper."""
  del channels
  return _plain(fuse_max)


def _mean(channels: int) -> Fusion:
  """The mean, weighted by the links where these have weights."""
  del channels
  return _plain(fuse_mean)


def _attention(channels: int) -> Fusion:
  """Attention over agents at each cell, as AttFuse."""
  del channels
  return _plain(fuse_attention, asks=True)


def _disco(channels: int, *, hidden: Sequence[int] = (32, 8)) -> Fusion:
  """A learned weight of each cell of each agent, as DiscoNet."""
  sizes = [checks.integer(h, name='hidden', low=1) for h in _tuple(hidden)]
  sizes = [2 * channels, *sizes, 1]
  leaves = [
    functional.layer_leaves(pair, kernel_init='he')
    for pair in zip(sizes[:-1], sizes[1:], strict=True)
  ]

  def apply(params, maps, weights, own, *, axis_name=None):
    maps = _counted(maps, weights)
    both = jnp.concatenate([maps, jnp.broadcast_to(own, maps.shape)], axis=1)
    x = jnp.moveaxis(both, 1, -1)
    for i, layer in enumerate(params):
      x = functional.dense(layer, x)
      x = jax.nn.relu(x) if i + 1 < len(params) else x
    scores = x[..., 0].astype(trees.accumulator(maps.dtype))
    return _soft(maps, scores, weights, axis_name)

  return Fusion(lambda key: functional.draw(key, leaves, jnp.float32), apply)


def _windowed(
  channels: int, *, window: int = 4, heads: int = 2, num_layers: int = 1
) -> Fusion:
  """Attention within windows, then over a grid, of all agents, as CoBEVT."""
  init, apply = _windows.swap_fusion(
    channels, window=window, heads=heads, num_layers=num_layers
  )

  def gathered(params, maps, weights, own, *, axis_name=None):
    del own
    if axis_name is not None:
      maps, weights = (_gathered(x, axis_name) for x in (maps, weights))
    return apply(params, _counted(maps, weights), weights)

  return Fusion(init, gathered)


def _tuple(value: Any) -> tuple[Any, ...]:
  return tuple(value) if isinstance(value, (list, tuple)) else (value,)


FUSIONS = registry.Registry(
  'fusion',
  {
    'max': _max,
    'mean': _mean,
    'attention': _attention,
    'disco': _disco,
    'windowed': _windowed,
  },
  given=('channels',),
)


def make_fusion(spec: str, channels: int) -> Fusion:
  """Makes a fusion.

  Args:
    spec: a part of `FUSIONS`.
    channels: C.

  Returns:
    The fusion.

  Raises:
    ValueError: if the name or an option is unknown or out of range.

  Example:
    >>> fusion = make_fusion('attention', 2)
    >>> maps = jnp.ones((3, 2, 4, 4))
    >>> params = fusion.init(jax.random.key(0))
    >>> fusion.apply(params, maps, jnp.ones((3, 4, 4)), maps[0]).shape
    (2, 4, 4)
  """
  c = checks.integer(channels, name='channels', low=1)
  return FUSIONS.make(spec, channels=c)
