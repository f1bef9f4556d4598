# SPDX-License-Identifier: Apache-2.0
"""Who selects what is sent: CooperTrim and its rivals, behind one interface.

A mask has axes [A | 1, C | 1, H | 1, W | 1]: of channels if the receiver asks,
of cells or of both if senders choose. `share` gives every selector the same
budget, so that they compare: a share of channels, of cells, or of entries.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np

from jaxdl.core import checks, registry, trees
from jaxdl.networks import functional
from jaxdl.perception.cooperation import _selector, _uncertainty

UNCERTAINTIES = ('temporal', 'std')
CALIBRATIONS = ('none', 'window')


class Evidence(NamedTuple):
  """What a selection may look at.

  Attributes:
    own: f[C, H, W], the receiver's maps.
    previous: f[C, H, W], what it fused in the last frame.
    maps: f[A, C, H, W], what senders have, in the receiver's frame; None where
      nobody asks.
    confidence: f[A, H, W], how sure each sender is of a vehicle by its own maps
      alone, in the receiver's frame; None where nobody asks.
    ego: i[], which row is the receiver's.
  """

  own: chex.Array
  previous: chex.Array
  maps: chex.Array | None
  confidence: chex.Array | None
  ego: chex.Numeric


class Selector(NamedTuple):
  """A way to select.

  Attributes:
    init: `init(key) -> params`; consumes the key.
    memory: `memory() -> memory` at the start of a scene.
    apply: `apply(params, memory, evidence, *, key, share=None, offset=0.0) ->
      (mask, memory)`; with a share the budget is that, however much the
      selector would ask for itself. The offset is added to thresholds.
    needs_previous: whether the first frame of a scene, which has none before
      it, is sent in full.
    needs_confidence: whether it reads `Evidence.confidence`.
    needs_maps: whether it reads `Evidence.maps`.
    curriculum: whether training shrinks the share that is sent at least from 1
      to 0, in place of full frames now and then; `apply` then takes it as
      `at_least`.
    asks: whether somebody has to say which entries are sent.
    unit: what a mask selects, 'channel', 'cell' or 'entry'.
  """

  init: Callable[[chex.PRNGKey], Any]
  memory: Callable[[], Any]
  apply: Callable[..., tuple[chex.Array, Any]]
  needs_previous: bool = False
  needs_confidence: bool = False
  needs_maps: bool = False
  curriculum: bool = False
  asks: bool = True
  unit: str = 'channel'


def top_share(
  scores: chex.Array, share: chex.Numeric, *, axes: int = 1
) -> chex.Array:
  """The entries of largest score, as many as a share of all, rounded.

  Of equal scores the first come first.

  Args:
    scores: f[...].
    share: in [0, 1], may be traced.
    axes: how many of the last axes are ranked together (static).

  Returns:
    f[...] of zeros and ones.

  Raises:
    ValueError: if a known share is out of range.

  Example:
    >>> top_share(jnp.array([0.1, 0.9, 0.9, 0.3]), 0.5).tolist()
    [0.0, 1.0, 1.0, 0.0]
  """
  if not isinstance(share, jax.core.Tracer):
    checks.number(share, name='share', low=0.0, high=1.0)
  lead = scores.shape[: scores.ndim - axes]
  flat = scores.reshape(*lead, -1)
  order = jnp.argsort(-flat, axis=-1, stable=True)
  rank = jnp.argsort(order, axis=-1, stable=True)
  # Half up: the rank is a whole number, and half a rank decides.
  kept = rank < jnp.floor(share * flat.shape[-1] + 0.5)
  return kept.astype(scores.dtype).reshape(scores.shape)


def _channels(mask):
  return mask[None, :, None, None]


def coopertrim(
  channels: int,
  height: int,
  width: int,
  *,
  q: float = 50.0,
  learn_q: bool = False,
  uncertainty: str = 'temporal',
  score: str = 'mean',
  calibration: str = 'none',
  window: int = 8,
  attn_scale: bool = True,
  grad: str = 'straight_through',
  temperature: float = 0.1,
  curriculum: bool = False,
) -> Selector:
  """Asks for channels that changed and that attention finds relevant.

  Args:
    channels: C.
    height: H.
    width: W.
    q: percentile of the scores above which a channel is uncertain, in percent.
    learn_q: whether q is learned along.
    uncertainty: 'temporal' change, or 'std' over the cells of a frame.
    score: a part of `SCORES`.
    calibration: 'none', percentiles of the frame, or 'window', of the last
      frames of the scene.
    window: frames that it holds.
    attn_scale: see `channel_selector`.
    grad: 'straight_through', or 'none', which learns no quantity.
    temperature: see `straight_through_mask`.
    curriculum: whether training shrinks the share of the channels that is sent
      at least, in place of full frames now and then.

  Returns:
    The selector.

  Raises:
    ValueError: if an option is unknown or out of range.

  Source: Mukhopadhyay et al. 2026 (https://arxiv.org/abs/2602.13287).
  """
  _uncertainty.check_percent(q)
  checks.choice(uncertainty, UNCERTAINTIES, name='uncertainty')
  checks.choice(calibration, CALIBRATIONS, name='calibration')
  checks.choice(grad, _selector.GRADIENTS, name='grad')
  checks.number(temperature, name='temperature', low=0.0, open_low=True)
  _uncertainty.SCORES.check(score, name='score')
  checks.integer(window, name='window', low=1)
  checks.flag(learn_q, name='learn_q')
  checks.flag(curriculum, name='curriculum')
  windowed = calibration == 'window'
  network = _selector.channel_selector(
    channels, height * width, attn_scale=attn_scale, q=q if learn_q else None
  )

  def init(key):
    like = jnp.zeros((channels, height, width))
    return network.init(key, like[:, 0, 0], like)

  def memory():
    return _uncertainty.score_window(window, channels) if windowed else ()

  def apply(
    params,
    memory,
    evidence,
    *,
    key,
    share=None,
    offset=0.0,
    at_least=None,
  ):
    del key
    # The selector learns from what it selects, not by moving features.
    own = jax.lax.stop_gradient(evidence.own)
    previous = jax.lax.stop_gradient(evidence.previous)
    if uncertainty == 'temporal':
      scores, widths = _uncertainty.scores_of(own, previous, score)
    else:
      scores, widths = _uncertainty.spread_scores(own)
    level = _selector.learned_q(params) if learn_q else q
    if windowed:
      found = _uncertainty.windowed_uncertainty(scores, widths, level, memory)
      memory = _uncertainty.push_scores(memory, scores)
    else:
      found = _uncertainty.conformal_uncertainty(scores, widths, level)
    u = found.values
    if learn_q and grad == 'straight_through':
      # Flags are hard: q learns as if they were soft.
      unit = jax.lax.stop_gradient(jnp.mean(scores)) + 1e-12
      soft = jax.nn.sigmoid((scores - found.threshold) / (temperature * unit))
      u = u + widths * (soft - jax.lax.stop_gradient(soft))
    relevance, tau = network.apply(params, u, evidence.own)
    mask = _selector.straight_through_mask(
      relevance, tau + offset, temperature=temperature, gradient=grad
    )
    if share is not None:
      mask = top_share(relevance, share)
    elif at_least is not None:
      more = top_share(jax.lax.stop_gradient(relevance), at_least)
      mask = jnp.where(more > mask, more, mask)
    return _channels(mask), memory

  return Selector(
    init, memory, apply, uncertainty == 'temporal', curriculum=curriculum
  )


def _fixed(
  channels: int,
  height: int,
  width: int,
  *,
  threshold: float = 0.5,
  q: float = 50.0,
) -> Selector:
  """CooperTrim with a threshold that is not learned."""
  checks.number(threshold, name='threshold', low=0.0, high=1.0)
  inner = coopertrim(channels, height, width, q=q)

  def apply(params, memory, evidence, *, key, share=None, offset=0.0):
    # As a sigmoid of θ, whatever θ has become.
    held = params | {'theta': jax.lax.stop_gradient(params['theta'])}
    off = threshold - _selector.threshold(held) + offset
    return inner.apply(held, memory, evidence, key=key, share=share, offset=off)

  return inner._replace(apply=apply)


def _of_scores(score, share_of, *, asks=True):
  """A selector without parameters that takes the best by a score."""

  def apply(params, memory, evidence, *, key, share=None, offset=0.0):
    del params, offset
    budget = share_of if share is None else share
    return score(evidence, key, budget), memory

  return Selector(lambda key: {}, lambda: (), apply, asks=asks)


def _none(channels: int, height: int, width: int) -> Selector:
  """Nobody sends anything."""
  shape = (1, channels, 1, 1)
  score = lambda evidence, key, share: jnp.zeros(shape, evidence.own.dtype)
  return _of_scores(score, 0.0, asks=False)


def _full(channels: int, height: int, width: int) -> Selector:
  """All is sent."""
  shape = (1, channels, 1, 1)
  score = lambda evidence, key, share: jnp.ones(shape, evidence.own.dtype)
  return _of_scores(score, 1.0, asks=False)


def _random(
  channels: int, height: int, width: int, *, share: float = 0.3
) -> Selector:
  """Channels at random, others in each frame."""
  checks.number(share, name='share', low=0.0, high=1.0)

  def score(evidence, key, budget):
    drawn = jax.random.uniform(key, (channels,), evidence.own.dtype)
    return _channels(top_share(drawn, budget))

  return _of_scores(score, share)


def _std(
  channels: int, height: int, width: int, *, share: float = 0.3
) -> Selector:
  """Channels whose own map varies most over the cells."""
  checks.number(share, name='share', low=0.0, high=1.0)

  def score(evidence, key, budget):
    del key
    spread, _ = _uncertainty.spread_scores(evidence.own)
    return _channels(top_share(spread, budget))

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
) -> Selector:
  """Whole columns of channels at cells of which a sender is sure, others not.

  Smoothed confidence of the sender times (1 - confidence of the receiver),
  above a fixed threshold.
  """
  checks.number(threshold, name='threshold', low=0.0, high=1.0)
  checks.number(sigma, name='sigma', low=0.0, open_low=True)
  kernel = gaussian_kernel(sigma)

  def apply(params, memory, evidence, *, key, share=None, offset=0.0):
    del params, key
    own = jnp.take(evidence.confidence, evidence.ego, axis=0)
    wanted = _smooth(evidence.confidence, kernel) * (1 - own)
    if share is None:
      mask = (wanted > threshold + offset).astype(evidence.own.dtype)
    else:
      mask = top_share(wanted.astype(evidence.own.dtype), share, axes=2)
    return jax.lax.stop_gradient(mask)[:, None], memory

  return Selector(
    lambda key: {}, lambda: (), apply, needs_confidence=True, unit='cell'
  )


def _swisscheese(
  channels: int,
  height: int,
  width: int,
  *,
  share: float = 0.25,
  cells: float = 0.5,
  kernel: int = 7,
) -> Selector:
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
    return by_channel * jax.nn.sigmoid(by_cell[0, :, :, 0])

  def select(params, maps, budget):
    shares = attention(params, maps)
    wide = (shares * maps).astype(trees.accumulator(maps.dtype))
    size = jnp.abs(jax.lax.stop_gradient(wide))
    # At least as many cells as the budget takes.
    kept = top_share(jnp.max(size, 0), jnp.maximum(cells, budget), axes=2)
    variance = jnp.var(wide, axis=(1, 2))
    variance = jax.lax.stop_gradient(variance)
    total = jnp.sum(variance)
    # Channels that do not vary at all share alike.
    part = jnp.where(
      total > 0, variance / jnp.where(total > 0, total, 1), 1 / channels
    )
    per_channel = jnp.clip(part * budget * channels, 0.0, 1.0)
    inside = jnp.where(kept > 0, size, -1.0)
    each = jax.vmap(lambda x, s: top_share(x, s, axes=2))(inside, per_channel)
    hard = (each * kept).astype(maps.dtype)
    return hard + (shares - jax.lax.stop_gradient(shares)).astype(maps.dtype)

  own_share = share

  def apply(params, memory, evidence, *, key, share=None, offset=0.0):
    del key, offset
    budget = own_share if share is None else share
    found = jax.vmap(lambda maps: select(params, maps, budget))(evidence.maps)
    return found, memory

  return Selector(
    lambda key: functional.draw(key, leaves, jnp.float32),
    lambda: (),
    apply,
    needs_maps=True,
    unit='entry',
  )


def _curriculum(
  channels: int, height: int, width: int, *, q: float = 50.0
) -> Selector:
  """CooperTrim trained with a share that shrinks."""
  return coopertrim(channels, height, width, q=q, curriculum=True)


SELECTORS = registry.Registry(
  'selector',
  {
    'coopertrim': coopertrim,
    'none': _none,
    'full': _full,
    'random': _random,
    'std': _std,
    'fixed': _fixed,
    'where2comm': _where2comm,
    'swisscheese': _swisscheese,
    'curriculum': _curriculum,
  },
  given=('channels', 'height', 'width'),
)


def make_selector(
  spec: str, channels: int, height: int, width: int
) -> Selector:
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
    >>> evidence = Evidence(maps[0], maps[0], maps, None, 0)
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
