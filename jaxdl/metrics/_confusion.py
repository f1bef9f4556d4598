# SPDX-License-Identifier: Apache-2.0
"""Which classes are taken for which, and what follows from it."""

import chex
import jax.numpy as jnp


def confusion_matrix(
  labels: chex.Array,
  predicted: chex.Array,
  num_classes: int,
  *,
  mask: chex.Array | None = None,
) -> chex.Array:
  """Counts examples by true and predicted class.

  Args:
    labels: i32[...] in [0, K).
    predicted: i32[...], likewise.
    num_classes: K (static).
    mask: bool[...], examples that count; all do if None.

  Returns:
    f32[K, K], entry [i, j] examples of class i taken for j.

  Example:
    >>> confusion_matrix(jnp.array([0, 0, 1]), jnp.array([0, 1, 1]), 2).tolist()
    [[1.0, 1.0], [0.0, 1.0]]
  """
  labels, predicted = jnp.ravel(labels), jnp.ravel(predicted)
  weights = jnp.ones(labels.shape) if mask is None else jnp.ravel(mask)
  counts = jnp.zeros((num_classes, num_classes))
  return counts.at[labels, predicted].add(weights.astype(counts.dtype))


def macro_f1(confusion: chex.Array) -> chex.Array:
  """Mean over classes of F1, 2 TP / (2 TP + FP + FN).

  Args:
    confusion: f32[..., K, K], see `confusion_matrix`.

  Returns:
    f32[...]; over the classes that occur or were predicted, zero if there is
    none, as scikit-learn's `f1_score(average='macro')`.

  Example:
    >>> round(float(macro_f1(jnp.array([[1.0, 1.0], [0.0, 1.0]]))), 4)
    0.6667
  """
  right = jnp.diagonal(confusion, axis1=-2, axis2=-1)
  total = jnp.sum(confusion, axis=-1) + jnp.sum(confusion, axis=-2)
  known = total > 0
  each = jnp.where(known, 2 * right / jnp.where(known, total, 1), 0)
  return jnp.sum(each, axis=-1) / jnp.maximum(jnp.sum(known, axis=-1), 1)
