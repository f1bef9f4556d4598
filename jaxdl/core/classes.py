# SPDX-License-Identifier: Apache-2.0
"""What is said of classes."""

import chex
import jax.numpy as jnp


def is_right(logits: chex.Array, labels: chex.Array) -> chex.Array:
  """Tells whether the largest output is that of the label.

  Args:
    logits: f[..., K]; probabilities do as well.
    labels: i[...].

  Returns:
    bool[...]; the lowest of equal outputs counts, and outputs of which one is
    NaN are wrong (the largest of them would be the first NaN).

  Example:
    >>> nan = jnp.nan
    >>> logits = jnp.array([[0.0, 1.0], [1.0, 0.0], [nan, nan]])
    >>> is_right(logits, jnp.array([1, 1, 0])).tolist()
    [True, False, False]
  """
  known = ~jnp.any(jnp.isnan(logits), axis=-1)
  return (jnp.argmax(logits, axis=-1) == labels) & known
