# SPDX-License-Identifier: Apache-2.0
"""How uncertain a receiver is of each channel: what changed since last time.

"Conformal" is meant by analogy: a threshold is a percentile of scores, but no
coverage is claimed. A percentile within a frame flags the same number of
channels in every frame; one of the scores of earlier frames (`ScoreWindow`)
flags more where more has changed.
"""

from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp

from jaxdl.core import checks, registry, trees
from jaxdl.perception.cooperation import _values


def _mean(changes: chex.Array) -> chex.Array:
  """The mean change of a channel, as in the paper; dilutes small objects."""
  return jnp.mean(changes, axis=-1)


def _max(changes: chex.Array) -> chex.Array:
  """The largest change of a channel: one cell is enough."""
  return jnp.max(changes, axis=-1)


def _top(changes: chex.Array, *, share: float = 0.1) -> chex.Array:
  """The mean of the cells of a channel that changed most."""
  checks.number(share, name='share', low=0.0, high=1.0, open_low=True)
  count = max(1, round(share * changes.shape[-1]))
  return jnp.mean(jax.lax.top_k(changes, count)[0], axis=-1)


# Of the changes of a channel, f[C, HW] -> f[C].
SCORES = registry.Registry(
  'score',
  {'mean': _mean, 'max': _max, 'top': _top},
  given=('changes',),
)


class Uncertainty(NamedTuple):
  """What a receiver makes of its scores.

  Attributes:
    values: f[C], u in the paper: the width of a flagged channel, else 0.
    flags: bool[C], scores above the threshold.
    threshold: f[], Q.
  """

  values: chex.Array
  flags: chex.Array
  threshold: chex.Array


def temporal_scores(
  features: chex.Array, previous: chex.Array, *, score: str = 'mean'
) -> tuple[chex.Array, chex.Array]:
  """How much each channel changed, and how unevenly.

  D = |F - P|; a score is the mean of D over the cells, the width is max D -
  min D. A change by one constant everywhere has width 0.

  Args:
    features: f[C, H, W], what the receiver sees now (F).
    previous: f[C, H, W], what it had fused in the last frame (P).
    score: a part of `SCORES`: mean, max or top(share=0.1).

  Returns:
    Scores and widths, both f[C], float32 at least.

  Raises:
    TypeError: if a map is not floating point.
    ValueError: if shapes differ, a known value is not finite, or the score is
      unknown.

  Example:
    >>> now = jnp.zeros((2, 2, 2)).at[0, 0, 0].set(4.0)
    >>> scores, widths = temporal_scores(now, jnp.zeros((2, 2, 2)))
    >>> scores.tolist(), widths.tolist()
    ([1.0, 0.0], [4.0, 0.0])

  Source: Mukhopadhyay et al. 2026 (https://arxiv.org/abs/2602.13287), section
  on conformal temporal uncertainty.
  """
  features = _values.maps(features, name='features')
  previous = _values.maps(previous, name='previous')
  _values.same_map(previous, features, name='previous', other='features')
  return scores_of(features, previous, score)


def scores_of(features, previous, score):
  """`temporal_scores` of maps that have been checked."""
  wide = trees.accumulator(features.dtype)
  gap = jnp.abs(features.astype(wide) - previous.astype(wide))
  changes = gap.reshape(*gap.shape[:-2], -1)
  part = SCORES.part(score, name='score')
  widths = jnp.max(changes, axis=-1) - jnp.min(changes, axis=-1)
  return SCORES.bound(part, changes), widths


def spread_scores(features: chex.Array) -> tuple[chex.Array, chex.Array]:
  """Scores of a single frame: the standard deviation over the cells.

  Args:
    features: f[C, H, W].

  Returns:
    Scores, and the same as widths, both f[C].
  """
  features = _values.maps(features, name='features')
  wide = features.astype(trees.accumulator(features.dtype))
  spread = jnp.std(wide, axis=(-2, -1))
  return spread, spread


def percentile(
  values: chex.Array, q: chex.Numeric, *, mask: chex.Array | None = None
) -> chex.Array:
  """Percentile with linear interpolation, of those entries that count.

  Piecewise linear in q, with that gradient.

  Args:
    values: f[K].
    q: in percent, 0 to 100; may be traced.
    mask: bool[K], entries that count; None for all.

  Returns:
    f[]; +inf if none counts, so that nothing lies above.

  Raises:
    ValueError: if q is known and out of range.

  Example:
    >>> float(percentile(jnp.array([1.0, 2.0, 3.0, 4.0]), 75))
    3.25
  """
  check_percent(q)
  wide = trees.accumulator(jnp.result_type(values))
  values = jnp.asarray(values, wide).reshape(-1)
  count = values.size
  if mask is not None:
    mask = jnp.asarray(mask, bool).reshape(-1)
    values = jnp.where(mask, values, jnp.inf)
    count = jnp.sum(mask)
  ordered = _ordered(values)
  last = jnp.maximum(count - 1, 0)
  place = jnp.clip(jnp.asarray(q, wide) / 100 * last, 0, last)
  # Where it is an entry itself, rounding must not leave that above.
  whole = jnp.rint(jax.lax.stop_gradient(place))
  near = jnp.abs(place - whole) <= 4 * jnp.finfo(wide).eps * last
  place = jnp.where(near, whole + (place - jax.lax.stop_gradient(place)), place)
  low = jnp.floor(jax.lax.stop_gradient(place)).astype(jnp.int32)
  high = jnp.minimum(low + 1, last)
  below, above = ordered[low], ordered[high]
  gap = jnp.where(high > low, above - below, 0)
  return below + (place - low) * gap


def _ordered(values):
  """Sorts f[K]; gradients go to whom a value came from."""
  order = jnp.zeros(values.shape, jnp.int32)
  ids = jnp.arange(values.size, dtype=jnp.int32)
  order = order.at[_values.ranks(jax.lax.stop_gradient(values))].set(ids)
  return values[order]


def conformal_uncertainty(
  scores: chex.Array,
  widths: chex.Array,
  q: chex.Numeric = 50.0,
  *,
  calibration: chex.Array | None = None,
  mask: chex.Array | None = None,
) -> Uncertainty:
  """Flags the channels whose score lies above a percentile.

  Strictly above, so that equal scores flag nothing. With C different scores
  of their own frame and q = 50 exactly half of the channels are flagged.

  Args:
    scores: f[C].
    widths: f[C], what a flagged channel counts.
    q: percentile in percent, 0 to 100; may be traced and learned.
    calibration: f[...], scores that the percentile is taken of, those of
      earlier frames for instance (never of the frames that are judged
      together with this one); those of this frame if None.
    mask: bool, like `calibration`, which of those count.

  Returns:
    Values u, flags and the threshold Q.

  Raises:
    ValueError: if shapes differ, q is out of range or a known score or width is
      not finite.

  Example:
    >>> found = conformal_uncertainty(
    ...   jnp.array([1.0, 2.0, 3.0, 4.0]), jnp.ones(4), 50.0
    ... )
    >>> float(found.threshold), found.flags.tolist()
    (2.5, [False, False, True, True])
  """
  _values.finite(scores, name='scores')
  _values.finite(widths, name='widths')
  if calibration is not None and mask is None:
    _values.finite(calibration, name='calibration')
  if jnp.shape(scores) != jnp.shape(widths):
    raise ValueError(
      f'scores of shape {jnp.shape(scores)} and widths of shape '
      f'{jnp.shape(widths)} must be alike: one of each per channel.'
    )
  given = scores if calibration is None else calibration
  threshold = percentile(given, q, mask=mask)
  flags = jnp.asarray(scores) > threshold
  return Uncertainty(jnp.where(flags, widths, 0), flags, threshold)


class ScoreWindow(NamedTuple):
  """Scores of the last frames, to take percentiles of.

  Attributes:
    scores: f[W, C].
    filled: bool[W].
    place: i32[], where the next go.
  """

  scores: chex.Array
  filled: chex.Array
  place: chex.Array


def score_window(
  length: int, channels: int, dtype: Any = jnp.float32
) -> ScoreWindow:
  """Returns an empty window.

  Args:
    length: W >= 1 frames.
    channels: C.
    dtype: of the scores.

  Returns:
    The window.

  Raises:
    ValueError: if a number is out of range.
  """
  checks.integer(length, name='length', low=1)
  checks.integer(channels, name='channels', low=1)
  return ScoreWindow(
    jnp.zeros((length, channels), dtype),
    jnp.zeros((length,), bool),
    jnp.zeros((), jnp.int32),
  )


def push_scores(window: ScoreWindow, scores: chex.Array) -> ScoreWindow:
  """Adds the scores of a frame and forgets the oldest.

  Args:
    window: the window.
    scores: f[C].

  Returns:
    The window with them.

  Raises:
    ValueError: if it is of other channels.

  Example:
    >>> window = push_scores(score_window(2, 3), jnp.arange(3.0))
    >>> window.filled.tolist()
    [True, False]
  """
  _check_window(window, scores)
  length = window.scores.shape[0]
  return ScoreWindow(
    window.scores.at[window.place].set(scores.astype(window.scores.dtype)),
    window.filled.at[window.place].set(True),
    (window.place + 1) % length,
  )


def windowed_uncertainty(
  scores: chex.Array,
  widths: chex.Array,
  q: chex.Numeric,
  window: ScoreWindow,
) -> Uncertainty:
  """Flags against the scores of earlier frames, of all their channels.

  Args:
    scores: f[C], of this frame, which the window does not hold yet.
    widths: f[C].
    q: percentile in percent.
    window: earlier scores; while it is empty, those of this frame stand in.

  Returns:
    See `conformal_uncertainty`; the number of flags varies.

  Raises:
    ValueError: as there, or if the window is of other channels.
  """
  _check_window(window, scores)
  mask = jnp.broadcast_to(window.filled[:, None], window.scores.shape)
  rows = jnp.concatenate([window.scores, scores[None]])
  empty = ~window.filled.any()
  here = jnp.broadcast_to(empty, (1, scores.shape[-1]))
  return conformal_uncertainty(
    scores,
    widths,
    q,
    calibration=rows,
    mask=jnp.concatenate([mask, here]),
  )


def _check_window(window, scores):
  if window.scores.shape[1:] != jnp.shape(scores):
    raise ValueError(
      f'window has shape {window.scores.shape}, frames and channels, which '
      f'does not fit scores of shape {jnp.shape(scores)}.'
    )


def check_percent(q: Any, *, name: str = 'q') -> None:
  """Raises ValueError unless a known percentage lies in [0, 100]."""
  if not isinstance(q, jax.core.Tracer):
    checks.number(q, name=name, low=0.0, high=100.0)
