# SPDX-License-Identifier: Apache-2.0
"""Adversaries that are honest, at most about the wrong data."""

from collections.abc import Mapping

import chex
import jax
import jax.numpy as jnp
import numpy as np

from jaxdl.attacks import _facts
from jaxdl.core import checks, registry, types


def flip_labels(labels: chex.Array, num_classes: int) -> chex.Array:
  """Replaces label c by num_classes - 1 - c.

  Args:
    labels: integers of any shape, in [0, num_classes).
    num_classes: number of classes >= 1 (static).

  Returns:
    Same shape and dtype.

  Raises:
    TypeError: if labels are not integers.
    ValueError: if num_classes < 1.

  Example:
    >>> flip_labels(jnp.array([0, 3, 9]), 10)
    Array([9, 6, 0], dtype=int32)

  Source: Tolpegin et al. 2020 (https://arxiv.org/abs/2007.08432).
  """
  checks.integer(num_classes, name='num_classes', low=1)
  labels = jnp.asarray(labels)
  if not jnp.issubdtype(labels.dtype, jnp.integer):
    raise TypeError(
      f'labels must be integers; got {labels.dtype}: one-hot labels are '
      'flipped by reversing their class axis.'
    )
  return jax.lax.sub(jnp.full_like(labels, num_classes - 1), labels)


def noisy_labels(
  rng: np.random.Generator,
  labels: np.ndarray,
  num_classes: int,
  *,
  share: float,
) -> np.ndarray:
  """Replaces a share of the labels by uniform draws.

  A draw may hit the true class, so that `share (1 - 1 / num_classes)` of the
  labels are wrong on average.

  Args:
    rng: host generator; advanced.
    labels: i[n] in [0, num_classes).
    num_classes: K >= 1.
    share: in [0, 1], of the labels, rounded to the nearest number of them.

  Returns:
    i[n], same dtype.

  Raises:
    ValueError: if a label or the share is out of range, or labels are no
      vector.
    TypeError: if labels are no integers or `rng` is no generator.

  Example:
    >>> rng = np.random.default_rng(0)
    >>> int((noisy_labels(rng, np.zeros(1000, int), 10, share=0.2) > 0).sum())
    177

  Source: symmetric noise as in van Rooyen et al. 2015
    (https://arxiv.org/abs/1505.07634), section 2.
  """
  if not isinstance(rng, np.random.Generator):
    raise TypeError(
      f'rng must be a numpy Generator; got {checks.described(rng)}: pass '
      'np.random.default_rng(seed).'
    )
  checks.integer(num_classes, name='num_classes', low=1)
  checks.number(share, name='share', low=0.0, high=1.0)
  labels = checks.host_array(labels, name='labels')
  if labels.ndim != 1:
    raise ValueError(
      f'labels must be a vector, shape [n]; got shape {labels.shape}.'
    )
  checks.class_labels(labels, num_classes)
  out = np.array(labels)
  count = round(share * len(out))
  chosen = rng.choice(len(out), count, replace=False)
  out[chosen] = rng.integers(num_classes, size=count)
  return out


@registry.known(_facts.Facts(reads_own=True))
def none(own: chex.ArrayTree) -> chex.ArrayTree:
  """Sends what an honest client would send.

  Args:
    own: leaves [F, ...].

  Returns:
    The same.
  """
  return own


@registry.known(_facts.Facts(makes=True))
def label_flip(*, num_classes: int) -> types.Attack:
  """Trains honestly on flipped labels.

  Args:
    num_classes: number of classes K >= 1 (static).

  Returns:
    An `Attack` without memory that sends `own` as it is. Its `poison` takes a
    dict with integer `labels` of any shape, see `flip_labels`.

  Raises:
    TypeError: if `num_classes` is not an integer; from `poison`, if labels are
      none.
    ValueError: if `num_classes` is below one; from `poison`, if there are no
      labels.

  Example:
    >>> attack = label_flip(num_classes=10)
    >>> attack.poison({'labels': jnp.array([[0, 3], [9, 9]])})['labels']
    Array([[9, 6],
           [0, 0]], dtype=int32)

  Source: Tolpegin et al. 2020 (https://arxiv.org/abs/2007.08432).
  """
  checks.integer(num_classes, name='num_classes', low=1)

  def apply(honest, state, *, own, key=None):
    del honest, key
    return own, state

  def poison(data):
    if not isinstance(data, Mapping) or 'labels' not in data:
      raise ValueError(
        "label_flip flips data['labels'], a dict with an entry labels; got "
        f'{checks.described(data)}: write an Attack with a poison of your own.'
      )
    return {**data, 'labels': flip_labels(data['labels'], num_classes)}

  return types.Attack(lambda params: (), apply, poison)
