# SPDX-License-Identifier: Apache-2.0
"""Whether a classifier is right as often as it says: calibration.

The confidence of a prediction is its largest probability. Binned errors are
functions of sums over examples (`reliability_bins`), which add over batches and
devices; a mean of the errors of batches is not the error of the whole.

Figures of examples that do not count (`mask`) are left out, whatever they are.
"""

from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxdl.core import checks, classes, trees

NUM_BINS = 15
# Bisections of a temperature, and how far from the size of the logits it lies.
_HALVINGS = 48
_RANGE = 1e3


class ReliabilityBins(NamedTuple):
  """Sums over the predictions in every bin of confidence.

  Attributes:
    count: f32[N], predictions.
    confidence: f32[N], sum of their confidences.
    correct: f32[N], those that are right.
  """

  count: chex.Array
  confidence: chex.Array
  correct: chex.Array


def reliability_bins(
  probs: chex.Array,
  labels: chex.Array,
  *,
  num_bins: int = NUM_BINS,
  mask: chex.Array | None = None,
) -> ReliabilityBins:
  """Sums up predictions in bins of equal width.

  A confidence c is in bin min(floor(c num_bins), num_bins - 1). Bins of parts
  of a set add to those of the set: `jax.tree.map(jnp.add, a, b)`, or
  `jax.lax.psum` over devices.

  Args:
    probs: f[..., K], rows sum to one.
    labels: i[...] in [0, K).
    num_bins: N >= 1 (static).
    mask: bool of the first axes of labels, predictions that count; all if None.

  Returns:
    The sums; NaN in all bins if a probability that counts is.

  Raises:
    ValueError: if shapes do not fit or `num_bins < 1`; of values that are not
      traced also if there is no example, rows do not sum to one, or a label is
      out of range.

  Example:
    >>> bins = reliability_bins(
    ...   jnp.array([[0.9, 0.1], [0.4, 0.6]]), jnp.array([0, 0]), num_bins=2
    ... )
    >>> bins.count.tolist(), bins.correct.tolist()
    ([0.0, 2.0], [0.0, 1.0])
  """
  n = checks.integer(num_bins, name='num_bins', low=1)
  probs, labels, weights = _flat(probs, labels, mask, name='probs')
  top, correct = _confidence(probs, labels)
  place = jnp.clip(jnp.floor(top * n), 0, n - 1).astype(jnp.int32)
  return _summed(place, top, correct, weights, n)


def _flat(values, labels, mask, *, name):
  """Checked predictions [B, K], labels [B] and weights f32[B]."""
  checks.array(values, name=name)
  checks.array(labels, name='labels')
  shape = jnp.shape(values)
  if mask is not None and jnp.shape(mask) != shape[:-1][: jnp.ndim(mask)]:
    raise ValueError(
      f'mask must have the first axes of labels, {shape[:-1]}; got '
      f'{jnp.shape(mask)}.'
    )
  checks.logits(values, name=name, mask=mask)
  if shape[:-1] != jnp.shape(labels):
    raise ValueError(
      f'{name} must have shape (*labels, K) with labels '
      f'{jnp.shape(labels)}; got {shape}.'
    )
  checks.class_labels(labels, shape[-1], mask=mask)
  if name == 'probs':
    _check_sums(values, mask)
  values = jnp.asarray(values)
  values = values.astype(trees.accumulator(values.dtype))
  labels = jnp.asarray(labels)
  weights = jnp.ones(labels.shape, values.dtype)
  if mask is not None:
    mask = jnp.asarray(mask) != 0
    there = lambda x: mask.reshape(*mask.shape, *(1,) * (x.ndim - mask.ndim))
    weights = weights * there(weights)
    values = jnp.where(there(values), values, 1 / shape[-1])
    labels = jnp.where(there(labels), labels, 0)
  return values.reshape(-1, shape[-1]), labels.reshape(-1), weights.reshape(-1)


def _check_sums(probs, mask):
  if isinstance(probs, jax.core.Tracer) or isinstance(mask, jax.core.Tracer):
    return
  found = np.asarray(probs, np.float64)
  if mask is not None:
    found = found[np.asarray(mask) != 0]
  exact = jnp.finfo(jnp.result_type(probs)).eps < 1e-6
  off = np.abs(found.sum(axis=-1) - 1)
  if off.size and (off.max() > (1e-3 if exact else 3e-2) or found.min() < 0):
    worst = found.reshape(-1, found.shape[-1])[off.argmax()]
    raise ValueError(
      'probs must be probabilities, rows of numbers >= 0 that sum to 1; got a '
      f'row that sums to {worst.sum():.4g}, smallest {found.min():.4g}: take '
      'jax.nn.softmax of logits.'
    )


def _confidence(probs, labels):
  """The largest probability, and whether it is the label's."""
  top = jnp.max(probs, axis=-1)
  return top, classes.is_right(probs, labels).astype(probs.dtype)


def _summed(place, top, correct, weights, num_bins):
  """Sums of predictions by bin."""
  inside = (place[None] == jnp.arange(num_bins)[:, None]) * weights[None]
  add = lambda x: jnp.sum(inside * x[None], axis=1)
  return ReliabilityBins(jnp.sum(inside, axis=1), add(top), add(correct))


def _error(bins: ReliabilityBins) -> chex.Array:
  total = jnp.sum(bins.count)
  gaps = jnp.sum(jnp.abs(bins.correct - bins.confidence))
  return gaps / jnp.maximum(total, 1)


def expected_calibration_error(
  probs: chex.Array | ReliabilityBins,
  labels: chex.Array | None = None,
  *,
  num_bins: int = NUM_BINS,
  mask: chex.Array | None = None,
) -> chex.Array:
  """Mean gap between accuracy and confidence, over bins of equal width (ECE).

  Args:
    probs: f[..., K], rows sum to one; or bins that were summed up before.
    labels: i[...] in [0, K); None with bins.
    num_bins: N >= 1 (static); unused with bins.
    mask: see `reliability_bins`.

  Returns:
    f32[], sum over bins of share x |accuracy - confidence|, in [0, 1]; empty
    bins count nothing, and it is zero without examples.

  Raises:
    ValueError: see `reliability_bins`.

  Example:
    >>> sure = jnp.array([[0.9, 0.1], [0.8, 0.2]])
    >>> error = expected_calibration_error(sure, jnp.array([0, 1]), num_bins=1)
    >>> round(float(error), 4)
    0.35

  Source: Guo et al. 2017 (https://arxiv.org/abs/1706.04599), equation 3.
  """
  return _error(_bins(probs, labels, num_bins, mask))


def maximum_calibration_error(
  probs: chex.Array | ReliabilityBins,
  labels: chex.Array | None = None,
  *,
  num_bins: int = NUM_BINS,
  mask: chex.Array | None = None,
) -> chex.Array:
  """Largest gap between accuracy and confidence of a bin (MCE).

  Args:
    probs: see `expected_calibration_error`.
    labels: likewise.
    num_bins: likewise.
    mask: likewise.

  Returns:
    f32[], in [0, 1]; zero without examples.

  Source: Guo et al. 2017 (https://arxiv.org/abs/1706.04599), equation 5.
  """
  bins = _bins(probs, labels, num_bins, mask)
  gap = jnp.abs(bins.correct - bins.confidence)
  return jnp.max(gap / jnp.maximum(bins.count, 1))


def adaptive_calibration_error(
  probs: chex.Array,
  labels: chex.Array,
  *,
  num_bins: int = NUM_BINS,
  mask: chex.Array | None = None,
) -> chex.Array:
  """As `expected_calibration_error`, over bins of as many predictions each.

  The prediction of rank r among n, by confidence, is in bin floor(r N / n);
  equal confidences keep their order.

  Args:
    probs: f[..., K], rows sum to one.
    labels: i[...] in [0, K).
    num_bins: N >= 1 (static).
    mask: see `reliability_bins`.

  Returns:
    f32[].

  Raises:
    ValueError: see `reliability_bins`.

  Example:
    >>> sure = jnp.array([[0.9, 0.1], [0.8, 0.2]])
    >>> error = adaptive_calibration_error(sure, jnp.array([0, 1]), num_bins=2)
    >>> round(float(error), 4)
    0.45

  Source: Nixon et al. 2019 (https://arxiv.org/abs/1904.01685), of the
  confidence alone.
  """
  n = checks.integer(num_bins, name='num_bins', low=1)
  probs, labels, weights = _flat(probs, labels, mask, name='probs')
  top, correct = _confidence(probs, labels)
  there = weights > 0
  order = jnp.argsort(jnp.where(there, top, jnp.inf))
  rank = jnp.zeros_like(order).at[order].set(jnp.arange(len(order)))
  total = jnp.maximum(jnp.sum(there, dtype=jnp.int32), 1)
  # Exact, and far from the end of int32.
  whole, rest = rank // total, rank % total
  place = jnp.clip(whole * n + rest * n // total, 0, n - 1)
  return _error(_summed(place, top, correct, weights, n))


def _bins(probs, labels, num_bins, mask):
  if isinstance(probs, ReliabilityBins):
    if labels is not None or mask is not None:
      raise ValueError('labels and mask are in the bins: leave them out.')
    return probs
  if labels is None:
    raise ValueError('labels is None: predictions need labels.')
  return reliability_bins(probs, labels, num_bins=num_bins, mask=mask)


def reliability_table(bins: ReliabilityBins) -> dict[str, chex.Array]:
  """What a reliability diagram shows.

  Args:
    bins: from `reliability_bins`.

  Returns:
    Dict of f32[N]: `low` and `high`, the ends of bins; `share` of the
    predictions; mean `confidence` and `accuracy`, NaN in empty bins.

  Raises:
    TypeError: if bins are something else.

  Example:
    >>> bins = reliability_bins(
    ...   jnp.array([[0.9, 0.1]]), jnp.array([0]), num_bins=2
    ... )
    >>> reliability_table(bins)['accuracy'].tolist()
    [nan, 1.0]
  """
  if not isinstance(bins, ReliabilityBins):
    raise TypeError(
      'bins must be ReliabilityBins, as reliability_bins makes; got '
      f'{checks.described(bins)}.'
    )
  n = bins.count.shape[0]
  ends = jnp.linspace(0.0, 1.0, n + 1)
  some = bins.count > 0
  mean = lambda x: jnp.where(some, x / jnp.where(some, bins.count, 1), jnp.nan)
  return {
    'low': ends[:-1],
    'high': ends[1:],
    'share': bins.count / jnp.maximum(jnp.sum(bins.count), 1),
    'confidence': mean(bins.confidence),
    'accuracy': mean(bins.correct),
  }


def _mean(values, weights):
  return jnp.sum(values * weights) / jnp.maximum(jnp.sum(weights), 1)


def negative_log_likelihood(
  logits: chex.Array, labels: chex.Array, *, mask: chex.Array | None = None
) -> chex.Array:
  """Mean of -log of the probability of the label (NLL), in nats.

  Args:
    logits: f[..., K].
    labels: i[...] in [0, K).
    mask: see `reliability_bins`.

  Returns:
    f32[]; NaN if a traced label is out of range.

  Raises:
    ValueError: see `reliability_bins`; of NaN that are not traced.

  Example:
    >>> f'{negative_log_likelihood(jnp.zeros((1, 2)), jnp.array([0])):.4f}'
    '0.6931'
  """
  logits, labels, weights = _flat(logits, labels, mask, name='logits')
  loss = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
  return _mean(loss * _known(labels, logits), weights)


def _known(labels, values):
  """One, or NaN where a label is out of range."""
  fits = (labels >= 0) & (labels < values.shape[-1])
  return jnp.where(fits, 1.0, jnp.nan).astype(values.dtype)


def brier_score(
  probs: chex.Array, labels: chex.Array, *, mask: chex.Array | None = None
) -> chex.Array:
  """Mean over examples of sum_c (p_c - 1[c = label])², in [0, 2].

  Args:
    probs: f[..., K], rows sum to one.
    labels: i[...] in [0, K).
    mask: see `reliability_bins`.

  Returns:
    f32[]; NaN if a traced label is out of range.

  Raises:
    ValueError: see `reliability_bins`.

  Example:
    >>> float(brier_score(jnp.array([[0.5, 0.5]]), jnp.array([1])))
    0.5

  Source: Brier 1950, Monthly Weather Review 78(1), equation 2.
  """
  probs, labels, weights = _flat(probs, labels, mask, name='probs')
  return _mean(_squares(probs, labels), weights)


def _squares(probs, labels):
  gap = probs - jax.nn.one_hot(labels, probs.shape[-1], dtype=probs.dtype)
  return jnp.sum(jnp.square(gap), axis=-1) * _known(labels, probs)


def mean_entropy(
  probs: chex.Array, *, mask: chex.Array | None = None
) -> chex.Array:
  """Mean entropy of predictions, -sum_c p_c log p_c, in nats.

  Args:
    probs: f[..., K], rows sum to one.
    mask: see `reliability_bins`.

  Returns:
    f32[], in [0, log K].

  Raises:
    ValueError: see `reliability_bins`.

  Example:
    >>> float(mean_entropy(jnp.array([[1.0, 0.0]])))
    0.0
  """
  labels = np.zeros(jnp.shape(probs)[:-1], np.int32)
  probs, _, weights = _flat(probs, labels, mask, name='probs')
  return _mean(jnp.sum(jax.scipy.special.entr(probs), axis=-1), weights)


def fit_temperature(
  logits: chex.Array, labels: chex.Array, *, mask: chex.Array | None = None
) -> chex.Array:
  """The temperature whose softmax(logits / T) has the least NLL.

  The NLL is convex in 1 / T; its slope is halved in on. No prediction changes,
  only confidences. Works under jit and vmap, in the dtype of the logits.

  Args:
    logits: f[..., K], of examples that were not trained on.
    labels: i[...] in [0, K).
    mask: see `reliability_bins`.

  Returns:
    f32[], T > 0 between 1/1000 and 1000 times the standard deviation of logits,
    whose ends it takes where more or less confidence never ceases to help
    (everything right, or worse than by chance); 1 where all logits are equal.

  Raises:
    ValueError: see `negative_log_likelihood`.

  Cost: 48 softmaxes of the logits.

  Example:
    >>> logits = jnp.array([[2.0, 0.0]] * 4)
    >>> temperature = fit_temperature(logits, jnp.array([0, 0, 0, 1]))
    >>> round(float(2 / temperature / np.log(3)), 3)
    1.0

  Source: Guo et al. 2017 (https://arxiv.org/abs/1706.04599), section 4.2.
  """
  logits, labels, weights = _flat(logits, labels, mask, name='logits')
  there = logits != -jnp.inf  # Other classes are masked out.
  count = jnp.sum(there, axis=-1, keepdims=True, dtype=logits.dtype)
  mean = jnp.sum(jnp.where(there, logits, 0), axis=-1, keepdims=True) / count
  centered = jnp.where(there, logits - mean, 0)
  square = jnp.sum(jnp.square(centered), axis=-1) / count[:, 0]
  size = jnp.sqrt(_mean(square, weights))
  flat = size == 0
  scaled = centered / jnp.where(flat, 1.0, size)
  own = jnp.where(there, scaled, -jnp.inf)
  own = jnp.take_along_axis(own, labels[:, None], axis=-1)[:, 0]

  def halve(_, ends):
    low, high = ends
    middle = 0.5 * (low + high)
    probs = jax.nn.softmax(scaled * jnp.exp(middle), axis=-1, where=there)
    slope = _mean(jnp.sum(probs * scaled, axis=-1) - own, weights)
    return jnp.where(slope > 0, low, middle), jnp.where(slope > 0, middle, high)

  most = jnp.log(jnp.asarray(_RANGE, scaled.dtype))
  low, high = jax.lax.fori_loop(0, _HALVINGS, halve, (-most, most))
  return jnp.where(flat, 1.0, size / jnp.exp(0.5 * (low + high)))


def calibration_sums(
  logits: chex.Array,
  labels: chex.Array,
  mask: chex.Array | None = None,
  *,
  num_bins: int = NUM_BINS,
) -> dict[str, Any]:
  """What `calibration_of` makes figures of; sums of parts add to the whole's.

  Args:
    logits: f[..., K].
    labels: i[...] in [0, K).
    mask: see `reliability_bins`.
    num_bins: of the calibration error (static).

  Returns:
    Dict of sums over predictions: bins, squares and their number.
  """
  n = checks.integer(num_bins, name='num_bins', low=1)
  logits, labels, weights = _flat(logits, labels, mask, name='logits')
  probs = jax.nn.softmax(logits, axis=-1)
  top, correct = _confidence(probs, labels)
  place = jnp.clip(jnp.floor(top * n), 0, n - 1).astype(jnp.int32)
  bins = _summed(place, top, correct, weights, n)
  squares = jnp.sum(_squares(probs, labels) * weights)
  return {'bins': bins, 'squares': squares}


def calibration_of(sums: dict[str, Any]) -> dict[str, chex.Array]:
  """Figures of `calibration_sums`, over batches or devices.

  Args:
    sums: added up.

  Returns:
    `ece`, see `expected_calibration_error`, and `brier`, see `brier_score`.

  Example:
    >>> one = calibration_sums(jnp.zeros((4, 2)), jnp.array([0, 0, 1, 1]))
    >>> both = jax.tree.map(lambda x: x + x, one)
    >>> {name: float(x) for name, x in calibration_of(both).items()}
    {'ece': 0.0, 'brier': 0.5}
  """
  bins = sums['bins']
  total = jnp.maximum(jnp.sum(bins.count), 1)
  return {'ece': _error(bins), 'brier': sums['squares'] / total}
