# SPDX-License-Identifier: Apache-2.0
"""Rules of `jaxdl.aggregators` on answers, a row for each voter."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from jaxdl import aggregators
from jaxdl.core import checks, types

# Scores that are closer are equal: sums round differently on other processors.
TIE = 1e-6


@functools.lru_cache(maxsize=256)
def make_rule(
  rule: str, num_answers: int, num_byzantine: int
) -> types.Aggregator:
  """Returns `aggregators.make_aggregator` of so many answers, kept."""
  return aggregators.make_aggregator(
    rule, num_clients=num_answers, num_byzantine=num_byzantine
  )


def apply_rule(
  made: types.Aggregator, rows: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
  """Applies a rule to answers.

  Args:
    made: the rule.
    rows: f32[N, K].

  Returns:
    What comes out, f32[K], and how much each answer counted, f32[N].
  """
  key, x = jax.random.key(0), jnp.asarray(rows)
  options = {'key': key} if checks.takes(made.apply, 'key') else {}
  update = made.apply(x, made.init(x[0]), **options)[0]
  return np.asarray(update), np.asarray(
    aggregators.weights_of(made, x, key=key)
  )


def first_best(scores: np.ndarray) -> int:
  """Returns the first place whose score is the largest, but for rounding.

  Args:
    scores: f[K].

  Returns:
    The place.

  Example:
    >>> first_best(np.array([0.1, 0.5 - 1e-9, 0.5]))
    1
  """
  scores = np.asarray(scores)
  return int(np.flatnonzero(scores >= scores.max() - TIE)[0])
