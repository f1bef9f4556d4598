# SPDX-License-Identifier: Apache-2.0
"""The rivals of CooperTrim, and all selectors by name."""

import math

import jax
import jax.numpy as jnp
import numpy as np

from jaxdl.core import checks, registry, trees
from jaxdl.networks import functional
from jaxdl.perception.cooperation import (
  _selection,
  _trimming,
  _uncertainty,
)

# Rounds in which what one channel may not have is shared among the others.
_POURS = 8


def _of_scores(score, share_of, *, asks=True):
  """A selector without parameters that takes the best by a score."""

  def apply(params, memory, evidence, *, key, share=None, offset=0.0):
    del params, offset
    budget = share_of if share is None else share
    return score(evidence, key, budget), memory

  return _selection.Selector(lambda key: {}, lambda: (), apply, asks=asks)


def _none(channels: int, height: int, width: int) -> _selection.Selector:
  """Nobody sends anything."""
  shape = (1, channels, 1, 1)
  score = lambda evidence, key, share: jnp.zeros(shape, evidence.own.dtype)
  return _of_scores(score, 0.0, asks=False)


def _full(channels: int, height: int, width: int) -> _selection.Selector:
  """All is sent."""
  shape = (1, channels, 1, 1)
  score = lambda evidence, key, share: jnp.ones(shape, evidence.own.dtype)
  return _of_scores(score, 1.0, asks=False)


def _random(
  channels: int, height: int, width: int, *, share: float = 0.3
) -> _selection.Selector:
  """Channels at random, others in each frame."""
  checks.number(share, name='share', low=0.0, high=1.0)

  def score(evidence, key, budget):
    drawn = jax.random.uniform(key, (channels,), evidence.own.dtype)
    return _selection.channels(_selection.top_share(drawn, budget))

  return _of_scores(score, share)


def _std(
  channels: int, height: int, width: int, *, share: float = 0.3
) -> _selection.Selector:
  """Channels whose own map varies most over the cells."""
  checks.number(share, name='share', low=0.0, high=1.0)

  def score(evidence, key, budget):
    del key
    spread, _ = _uncertainty.spread_scores(evidence.own)
    return _selection.channels(_selection.top_share(spread, budget))

  return _of_scores(score, share)


def gaussian_kernel(sigma: float) -> np.ndarray:
  """Weights of a Gaussian window in one dimension, which sum to one.

  Args:
    sigma: standard deviation in cells, > 0.

  Returns:
    f32[K], K = 2 ⌈2 sigma⌉ + 1.
  """
  reach = math.ceil(2 * sigma)
  x = np.arange(-reach, reach + 1)
  kernel = np.exp(-0.5 * (x / sigma) ** 2)
  return (kernel / kernel.sum()).astype(np.float32)


def _smooth(maps, kernel):
  """Convolves f[A, H, W] with a window along rows and columns."""
  reach = len(kernel) // 2

  def along(x, axis):
    pad = [(0, 0)] * x.ndim
    pad[axis] = (reach, reach)
    wide = jnp.pad(x, pad, mode='edge')
    cut = lambda i: jax.lax.slice_in_dim(wide, i, i + x.shape[axis], axis=axis)
    return sum(float(k) * cut(i) for i, k in enumerate(kernel))

  return along(along(maps, 1), 2)


def _where2comm(
  channels: int,
  height: int,
  width: int,
  *,
  threshold: float = 0.01,
  sigma: float = 1.0,
) -> _selection.Selector:
  """Whole columns of channels at cells of which a sender is sure, others not.

  Smoothed confidence of the sender times (1 - confidence of the receiver),
  above a fixed threshold.
  """
  checks.number(threshold, name='threshold', low=0.0, high=1.0)
  checks.number(sigma, name='sigma', low=0.0, open_low=True)
  kernel = gaussian_kernel(sigma)

  def apply(params, memory, evidence, *, key, share=None, offset=0.0):
    del params, key
    own = evidence.own_confidence
    if own is None:
      own = jnp.take(evidence.confidence, evidence.ego, axis=0)
    wanted = _smooth(evidence.confidence, kernel) * (1 - own)[None]
    if share is None:
      mask = (wanted > threshold + offset).astype(evidence.own.dtype)
    else:
      mask = _selection.top_share(
        wanted.astype(evidence.own.dtype), share, axes=2
      )
    return jax.lax.stop_gradient(mask)[:, None], memory

  return _selection.Selector(
    lambda key: {}, lambda: (), apply, needs_confidence=True, unit='cell'
  )


def _quotas(part, total, cap):
  """Shares of channels in proportion to f[C], none above a cap."""
  full = jnp.zeros(part.shape, bool)
  quota = part * total
  # What one may not have, the others share.
  for _ in range(_POURS):
    full = full | (quota >= cap)
    left = jnp.maximum(total - cap * jnp.sum(full), 0.0)
    rest = jnp.sum(jnp.where(full, 0.0, part))
    quota = jnp.where(full, cap, part * left / jnp.where(rest > 0, rest, 1.0))
  return jnp.clip(quota, 0.0, cap)


def _swisscheese(
  channels: int,
  height: int,
  width: int,
  *,
  share: float = 0.25,
  cells: float = 0.5,
  kernel: int = 7,
) -> _selection.Selector:
  """A fixed share of entries, by attention over channels and over cells.

  Of the cells whose largest channel lies above a quantile, each channel keeps
  its largest entries, as many as its variance is worth.
  """
  checks.number(share, name='share', low=0.0, high=1.0)
  checks.number(cells, name='cells', low=0.0, high=1.0, open_low=True)
  k = checks.integer(kernel, name='kernel', low=1)
  if k % 2 == 0:
    raise ValueError(f'kernel must be odd; got {k}.')
  hidden = max(1, channels // 4)
  leaves = {
    'down': functional.layer_leaves((channels, hidden)),
    'up': functional.layer_leaves((hidden, channels)),
    'cells': functional.layer_leaves((k, k, 2, 1)),
  }

  def attention(params, maps):
    """Of one sender's maps, f[C, H, W] in (0, 1)."""
    mlp = lambda x: functional.dense(
      params['up'], jax.nn.relu(functional.dense(params['down'], x))
    )
    mean, best = jnp.mean(maps, (1, 2)), jnp.max(maps, (1, 2))
    by_channel = jax.nn.sigmoid(mlp(mean) + mlp(best))[:, None, None]
    pooled = jnp.stack([jnp.mean(maps, 0), jnp.max(maps, 0)], axis=-1)
    layer = params['cells']
    by_cell = functional.convolve(
      pooled[None], layer['kernel'], layer['bias'], width=k // 2, method='auto'
    )
    return by_channel * jax.nn.sigmoid(by_cell[:, :, :, 0])

  def select(params, maps, budget):
    shares = attention(params, maps)
    wide = (shares * maps).astype(trees.accumulator(maps.dtype))
    size = jnp.abs(jax.lax.stop_gradient(wide))
    # Twice as many cells as the budget takes, so that channels may differ.
    most = jnp.clip(2.0 * budget, cells, 1.0)
    kept = _selection.top_share(jnp.max(size, 0), most, axes=2)
    variance = jnp.var(wide, axis=(1, 2))
    variance = jax.lax.stop_gradient(variance)
    total = jnp.sum(variance)
    # Channels that do not vary at all share alike.
    part = jnp.where(
      total > 0, variance / jnp.where(total > 0, total, 1), 1 / channels
    )
    per_channel = _quotas(part, budget * channels, most)
    inside = jnp.where(kept[None] > 0, size, -1.0)
    each = jax.vmap(lambda x, s: _selection.top_share(x, s, axes=2))(
      inside, per_channel
    )
    hard = (each * kept[None]).astype(maps.dtype)
    return hard + (shares - jax.lax.stop_gradient(shares)).astype(maps.dtype)

  own_share = share

  def apply(params, memory, evidence, *, key, share=None, offset=0.0):
    del key, offset
    budget = own_share if share is None else share
    found = jax.vmap(lambda maps: select(params, maps, budget))(evidence.maps)
    return found, memory

  return _selection.Selector(
    lambda key: functional.draw(key, leaves, jnp.float32),
    lambda: (),
    apply,
    needs_maps=True,
    unit='entry',
  )


SELECTORS = registry.Registry(
  'selector',
  {
    'coopertrim': _trimming.coopertrim,
    'none': _none,
    'full': _full,
    'random': _random,
    'std': _std,
    'fixed': _trimming.fixed,
    'where2comm': _where2comm,
    'swisscheese': _swisscheese,
    'curriculum': _trimming.curriculum,
  },
  given=('channels', 'height', 'width'),
)


def make_selector(
  spec: str, channels: int, height: int, width: int
) -> _selection.Selector:
  """Makes a selector.

  Args:
    spec: a part of `SELECTORS`.
    channels: C.
    height: H.
    width: W.

  Returns:
    The selector.

  Raises:
    ValueError: if the name or an option is unknown or out of range.

  Example:
    >>> selector = make_selector('random(share=0.5)', 4, 2, 2)
    >>> maps = jnp.ones((3, 4, 2, 2))
    >>> evidence = _selection.Evidence(maps[0], maps[0], maps, None, 0)
    >>> mask, _ = selector.apply({}, (), evidence, key=jax.random.key(0))
    >>> mask.shape, float(mask.sum())
    ((1, 4, 1, 1), 2.0)
  """
  for name, value in (
    ('channels', channels),
    ('height', height),
    ('width', width),
  ):
    checks.integer(value, name=name, low=1)
  return SELECTORS.make(spec, channels=channels, height=height, width=width)
