# SPDX-License-Identifier: Apache-2.0
"""Evaluating a task on a padded test set."""

from typing import Any

import chex
import jax
import jax.numpy as jnp

from jaxdl.core.types import Task


def evaluate(
  task: Task, params: chex.ArrayTree, batches: dict[str, Any]
) -> dict[str, chex.Array]:
  """Averages a task's metrics over a test set, exactly.

  Args:
    task: its `evaluate` returns masked means per batch.
    params: one set of parameters.
    batches: dict of leaves [T, B, ...] with `mask: bool[T, B]`, as
      `data.eval_batches` cuts them.

  Returns:
    Dict of f32[], means over all unmasked examples; zero without examples.

  Cost: one batch at a time.
  """

  def one(batch):
    values = task.evaluate(params, batch)
    number = jnp.sum(batch['mask'], dtype=jnp.float32)
    return {name: value * number for name, value in values.items()}, number

  sums, numbers = jax.lax.map(one, batches)
  total = jnp.maximum(jnp.sum(numbers), 1.0)
  return {name: jnp.sum(value) / total for name, value in sums.items()}
