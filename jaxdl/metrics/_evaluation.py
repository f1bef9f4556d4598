# SPDX-License-Identifier: Apache-2.0
"""Evaluating a task on a padded test set."""

from typing import Any

import chex
import jax
import jax.numpy as jnp

from jaxdl.core.types import Task
from jaxdl.metrics import _calibration


def evaluate(
  task: Task,
  params: chex.ArrayTree,
  batches: dict[str, Any],
  *,
  num_bins: int = _calibration.NUM_BINS,
) -> dict[str, chex.Array]:
  """Averages a task's metrics over a test set, exactly.

  A task that tells classes apart (`Task.logits`) is also measured by how
  calibrated it is: its `loss` is the negative log-likelihood, and there is the
  calibration error `ece` and the `brier` score, both of the whole set.

  Args:
    task: its `evaluate` returns masked means per batch.
    params: one set of parameters.
    batches: dict of leaves [T, B, ...] with `mask: bool[T, B]`, as
      `data.eval_batches` cuts them.
    num_bins: of the calibration error (static).

  Returns:
    Dict of f32[], means over all unmasked examples; zero without examples.

  Cost: one batch at a time, through the network once: what the two passes over
    a batch share, the compiler does once.
  """

  def one(batch):
    values = task.evaluate(params, batch)
    number = jnp.sum(batch['mask'], dtype=jnp.float32)
    sums = {name: value * number for name, value in values.items()}
    if task.logits is None:
      return sums, number, ()
    predicted = task.logits(params, batch)
    return (
      sums,
      number,
      _calibration.calibration_sums(*predicted, num_bins=num_bins),
    )

  sums, numbers, more = jax.lax.map(one, batches)
  total = jnp.maximum(jnp.sum(numbers), 1.0)
  found = {name: jnp.sum(value) / total for name, value in sums.items()}
  if task.logits is not None:
    more = jax.tree.map(lambda x: jnp.sum(x, axis=0), more)
    found |= _calibration.calibration_of(more)
  return found
