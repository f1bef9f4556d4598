# SPDX-License-Identifier: Apache-2.0
"""Losses of networks that learn from labels and from each other."""

from collections.abc import Callable, Sequence
from typing import Any

import chex
import jax
import jax.numpy as jnp
import optax

from jaxdl.core import checks, trees
from jaxdl.distillation import _divergences, _weights

ENSEMBLES = ('mean', 'min_logit', 'naive')
Rule = str | Callable[[chex.Array], Any]


def masked_mean(values: chex.Array, mask: chex.Array | None) -> chex.Array:
  """Mean over examples that count; zero if there is none.

  Args:
    values: f[B].
    mask: bool[B]; all count if None.

  Returns:
    f[].
  """
  if mask is None:
    return jnp.mean(values)
  there = jnp.asarray(mask) != 0
  total = jnp.sum(jnp.where(there, values, 0.0))
  return total / jnp.maximum(jnp.sum(there, dtype=values.dtype), 1)


def check_mask(mask: Any, shape: tuple[int, ...]) -> None:
  """Raises ValueError unless a mask has an entry for each example."""
  if mask is None:
    return
  checks.array(mask, name='mask')
  if jnp.shape(mask) != tuple(shape):
    raise ValueError(
      f'mask must have one entry per example, shape {tuple(shape)}; got '
      f'{checks.described(mask)}.'
    )


def check_examples(logits: Any, labels: Any, mask: Any = None) -> None:
  """Raises ValueError unless logits, labels and a mask fit each other."""
  checks.logits(logits)
  checks.array(labels, name='labels')
  shape = jnp.shape(logits)
  if jnp.shape(labels) != shape[:-1]:
    raise ValueError(
      f'labels must have one entry per example, shape {shape[:-1]}; got '
      f'{jnp.shape(labels)}.'
    )
  check_mask(mask, shape[:-1])
  checks.class_labels(labels, shape[-1], mask=mask)


def cross_entropy(
  logits: chex.Array, labels: chex.Array, *, mask: chex.Array | None = None
) -> chex.Array:
  """Softmax cross-entropy of every example, at temperature one.

  Args:
    logits: f[B, K].
    labels: i[B] in [0, K).
    mask: bool[B], examples whose labels are looked at; all are if None.

  Returns:
    f[B], at least float32; NaN where a traced label is out of range, something
    finite where it is masked.

  Raises:
    ValueError: if shapes do not fit; of values that are not traced also for NaN
      and labels out of range.
    TypeError: if labels are no integers.

  Example:
    >>> loss = cross_entropy(jnp.zeros((1, 4)), jnp.array([3]))
    >>> round(float(jnp.exp(loss[0])), 4)
    4.0
  """
  check_examples(logits, labels, mask)
  shape = jnp.shape(logits)
  logits, labels = jnp.asarray(logits), jnp.asarray(labels)
  if mask is not None:
    labels = jnp.where(jnp.asarray(mask) != 0, labels, 0)
  logits = logits.astype(trees.accumulator(logits.dtype))
  known = (labels >= 0) & (labels < shape[-1])
  found = optax.losses.softmax_cross_entropy_with_integer_labels(logits, labels)
  return found * jnp.where(known, 1.0, jnp.nan).astype(found.dtype)


def _peers(logits) -> list[chex.Array]:
  """One array of logits, or several, as a list."""
  found = list(logits) if isinstance(logits, (list, tuple)) else [logits]
  if not found:
    raise ValueError(
      'logits of peers are an empty sequence: need one at least.'
    )
  return found


def peer_divergence(
  logits: chex.Array,
  peer_logits: chex.Array | Sequence[chex.Array],
  *,
  weights: Rule = 'hard',
  temperature: chex.Numeric = 2.0,
) -> chex.Array:
  """Weighted divergences to peers, a F + b R, averaged over the peers.

  Args:
    logits: of the network that learns, f[B, K].
    peer_logits: of a peer, f[B, K], or of several in a sequence; constants.
    weights: which divergence counts how much, see `WEIGHT_RULES` (static).
    temperature: T > 0 (static or traced), of divergences and entropies.

  Returns:
    f[B], with the factor T².

  Raises:
    ValueError: if classes or examples differ, or a value is out of range.

  Example:
    >>> sure, unsure = jnp.log(
    ...   jnp.array([[[0.7, 0.2, 0.1]], [[0.5, 0.3, 0.2]]])
    ... )
    >>> f'{peer_divergence(unsure, sure, temperature=1.0)[0]:.4f}'
    '0.2692'
  """
  rule = _weights.weight_rule(weights)
  found = []
  for peer in _peers(peer_logits):
    _divergences.check_classes(logits, peer, ('own network', 'peer'))
    a, b = _weights.pair(rule(_weights.entropy_gap(logits, peer, temperature)))
    both = (
      (a, _divergences.forward_divergence),
      (b, _divergences.reverse_divergence),
    )
    # What has weight zero is not computed.
    terms = [
      jax.lax.stop_gradient(weight) * divergence(logits, peer, temperature)
      for weight, divergence in both
      if not (isinstance(weight, (int, float)) and weight == 0)
    ]
    found.append(sum(terms) if terms else jnp.zeros(jnp.shape(logits)[:-1]))
  return sum(found) / len(found)


def _is_nothing(strength) -> bool:
  return isinstance(strength, (int, float)) and strength == 0


def student_loss(
  student_logits: chex.Array,
  teacher_logits: chex.Array | Sequence[chex.Array],
  labels: chex.Array,
  *,
  weights: Rule = 'hard',
  strength: chex.Numeric = 1.0,
  temperature: chex.Numeric = 2.0,
  mask: chex.Array | None = None,
) -> tuple[chex.Array, dict[str, chex.Array]]:
  """Cross-entropy plus balanced divergences to a teacher (BD-KD).

  The mean over examples of CE + strength (a F + b R), a and b by how much less
  sure the student is than the teacher.

  Args:
    student_logits: f[B, K].
    teacher_logits: f[B, K], or a sequence of those of several, over whom
      divergences are averaged; no gradient reaches them.
    labels: i[B] in [0, K).
    weights: see `WEIGHT_RULES` (static); 'forward' makes it the loss of deep
      mutual learning and, with a trained teacher, of offline distillation.
    strength: lambda >= 0 of the paper (static or traced); a static 0 leaves
      the cross-entropy alone.
    temperature: T > 0 of the divergences (static or traced).
    mask: bool[B], examples that count; all if None.

  Returns:
    f[], and a dict of f[] means: `cross_entropy`, `divergence` and
    `entropy_gap`, of the first teacher. NaN where a traced label is out of
    range or logits are NaN.

  Raises:
    ValueError: if classes or examples differ, there is no example, or a number
      is out of range; of values that are not traced also for NaN logits and
      labels out of range.

  Example:
    >>> student, teacher = jnp.zeros((1, 2)), jnp.array([[1.0, 0.0]])
    >>> loss, parts = student_loss(student, teacher, jnp.array([0]))
    >>> sorted(parts), bool(loss > parts['cross_entropy'])
    (['cross_entropy', 'divergence', 'entropy_gap'], True)

  Source: Amara et al. 2022 (https://arxiv.org/abs/2212.12965), the student's
    loss.
  """
  checks.number(strength, name='strength', low=0.0)
  peers = _peers(teacher_logits)
  for peer in peers:
    _divergences.check_classes(student_logits, peer)
  hard = masked_mean(cross_entropy(student_logits, labels, mask=mask), mask)
  gap = _weights.entropy_gap(student_logits, peers[0], temperature)
  soft = masked_mean(
    peer_divergence(
      student_logits, peers, weights=weights, temperature=temperature
    ),
    mask,
  )
  parts = {
    'cross_entropy': hard,
    'divergence': soft,
    'entropy_gap': masked_mean(gap, mask),
  }
  return hard if _is_nothing(strength) else hard + strength * soft, parts


def teacher_loss(
  teacher_logits: chex.Array,
  student_logits: chex.Array | Sequence[chex.Array],
  labels: chex.Array,
  *,
  strength: chex.Numeric = 1.0,
  temperature: chex.Numeric = 2.0,
  mask: chex.Array | None = None,
) -> tuple[chex.Array, dict[str, chex.Array]]:
  """Cross-entropy plus T² KL(student || teacher), a regularizer.

  That is the student's reverse divergence, and the teacher's forward one: the
  student's prediction is its target.

  Args:
    teacher_logits: f[B, K].
    student_logits: f[B, K], or those of several; no gradient reaches them.
    labels: i[B] in [0, K).
    strength: lambda >= 0 (static or traced).
    temperature: T > 0 (static or traced).
    mask: bool[B], examples that count; all if None.

  Returns:
    As `student_loss`.

  Raises:
    ValueError: see `student_loss`.

  Example:
    >>> same = jnp.array([[1.0, 0.0]])
    >>> float(teacher_loss(same, same, jnp.array([0]))[1]['divergence'])
    0.0

  Source: Amara et al. 2022 (https://arxiv.org/abs/2212.12965), the teacher's
    loss; Zhang et al. 2018 (https://arxiv.org/abs/1706.00384), equation 4.
  """
  for peer in _peers(student_logits):
    _divergences.check_classes(peer, teacher_logits)
  return student_loss(
    teacher_logits,
    student_logits,
    labels,
    weights='forward',
    strength=strength,
    temperature=temperature,
    mask=mask,
  )


def smoothed_loss(
  logits: chex.Array,
  labels: chex.Array,
  *,
  smoothing: chex.Numeric = 0.1,
  mask: chex.Array | None = None,
) -> chex.Array:
  """Cross-entropy against labels of which a share is spread over all classes.

  Args:
    logits: f[B, K].
    labels: i[B] in [0, K).
    smoothing: s in [0, 1] (static or traced).
    mask: bool[B], examples that count; all if None.

  Returns:
    f[].

  Raises:
    ValueError: see `cross_entropy`, or if s is out of range.

  Example:
    >>> f'{smoothed_loss(jnp.zeros((2, 4)), jnp.array([0, 3])):.4f}'
    '1.3863'

  Source: Szegedy et al. 2016 (https://arxiv.org/abs/1512.00567), section 7.
  """
  checks.number(smoothing, name='smoothing', low=0.0, high=1.0)
  hard = cross_entropy(logits, labels, mask=mask)
  uniform = -jnp.mean(_divergences.log_probs(logits), axis=-1)
  return masked_mean((1 - smoothing) * hard + smoothing * uniform, mask)


def ensemble_logits(
  logits: Sequence[chex.Array], labels: chex.Array, *, kind: str = 'mean'
) -> chex.Array:
  """One target of the logits of several networks, without gradients.

  Args:
    logits: P of f[B, K].
    labels: i[B] in [0, K).
    kind: 'mean' of the logits; 'min_logit', of each class the least of what
      the networks give it above the true class; 'naive', the network whose
      cross-entropy is lowest, example by example (static).

  Returns:
    f[B, K].

  Raises:
    ValueError: if classes or examples differ, the kind is unknown, or a label
      that is not traced is out of range.
    TypeError: if logits are no sequence.

  Example:
    >>> one, two = jnp.array([[2.0, 0.0]]), jnp.array([[0.0, 1.0]])
    >>> [
    ...   ensemble_logits([one, two], jnp.array([0]), kind=kind).tolist()
    ...   for kind in ENSEMBLES
    ... ]
    [[[1.0, 0.5]], [[0.0, -2.0]], [[2.0, 0.0]]]

  Source: Guo et al. 2020, Online Knowledge Distillation via Collaborative
    Learning (CVPR), section 3.3.
  """
  checks.choice(kind, ENSEMBLES, name='ensemble')
  if not isinstance(logits, (list, tuple)):
    raise TypeError(
      'logits must be a sequence of those of every network; got '
      f'{checks.described(logits)}.'
    )
  logits = _peers(logits)
  for own in logits:
    check_examples(own, labels)
  for other in logits[1:]:
    _divergences.check_classes(logits[0], other, ('first peer', 'another'))
  stacked = jax.lax.stop_gradient(jnp.stack([jnp.asarray(x) for x in logits]))
  if kind == 'mean':
    return jnp.mean(stacked, axis=0)
  if kind == 'naive':
    losses = jnp.stack([cross_entropy(x, labels) for x in stacked])
    best = jnp.argmin(losses, axis=0)
    return jnp.take_along_axis(stacked, best[None, :, None], axis=0)[0]
  own = jnp.take_along_axis(
    stacked, jnp.broadcast_to(labels, stacked.shape[:2])[..., None], axis=-1
  )
  return jnp.min(stacked - own, axis=0)
