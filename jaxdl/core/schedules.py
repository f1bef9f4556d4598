# SPDX-License-Identifier: Apache-2.0
"""Learning-rate schedules that optax does not have."""

from collections.abc import Callable

import chex
import jax.numpy as jnp

from jaxdl.core import checks


def stepped_inverse_decay(
  init_value: chex.Numeric, *, decay: chex.Numeric, every: int
) -> Callable[[chex.Numeric], chex.Numeric]:
  """Inverse-time decay that is recomputed every so many steps.

  The rate at step t is init / (floor(t / every) · every / decay + 1).

  Args:
    init_value: rate at step 0.
    decay: steps after which the rate has halved, > 0.
    every: steps between changes, >= 1 (static).

  Returns:
    A schedule as optax takes them.

  Raises:
    ValueError: if an argument is out of range.

  Example:
    >>> schedule = stepped_inverse_decay(0.75, decay=50, every=50)
    >>> [float(schedule(t)) for t in (0, 49, 50, 149)]
    [0.75, 0.75, 0.375, 0.25]

  Source: Farhadkhani et al. 2023 (https://arxiv.org/abs/2209.10931), code.
  """
  checks.number(decay, name='decay', low=0.0, open_low=True)
  checks.integer(every, name='every', low=1)

  def schedule(count):
    # A quotient of floats may round to below a whole number.
    whole = jnp.asarray(count) // every * every
    return init_value / (whole / decay + 1.0)

  return schedule
