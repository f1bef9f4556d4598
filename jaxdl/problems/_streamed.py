# SPDX-License-Identifier: Apache-2.0
"""Examples that stay on disk: cohorts are gathered on the host, round by round.

A problem is built on the numbers of the examples in place of their contents.
What a cohort draws is then drawn of numbers, on the host, and the examples are
read there; the device gets what the round needs and nothing else.
"""

import functools
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from jaxdl.core import types

NUMBER = 'number'


def on_disk(arrays: Mapping[str, np.ndarray]) -> bool:
  """Whether examples are in files that are mapped into memory."""
  return any(isinstance(x, np.memmap) for x in arrays.values())


def numbers(arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
  """Numbers of the examples, from 1 on: padding has 0.

  Args:
    arrays: leaves [n, ...].

  Returns:
    A dict with i32[n], in place of the arrays.
  """
  count = len(next(iter(arrays.values())))
  return {NUMBER: np.arange(1, count + 1, dtype=np.int32)}


def streamed(
  problem: types.Problem, arrays: Mapping[str, np.ndarray]
) -> types.Problem:
  """Makes a problem on numbers one on examples, which are read by round.

  Args:
    problem: its cohorts have `numbers` in place of examples.
    arrays: leaves [n, ...], on disk or not.

  Returns:
    The problem with `fetch`; cohorts are those of examples in memory.
  """
  cpu = jax.local_devices(backend='cpu')[0]
  # They do not change; a copy for the host.
  data = jax.device_put(jax.device_get(problem.data), cpu)
  draw = jax.jit(jax.vmap(problem.cohort, in_axes=(0, 0, None)))

  def fetch(keys, round):
    with jax.default_device(cpu):
      drawn = draw(jax.device_put(keys, cpu), data, np.int32(round))
    drawn = jax.device_get(drawn)
    held = dict(drawn.data)
    at = held.pop(NUMBER)
    found = {name: _gathered(x, at) for name, x in arrays.items()}
    return drawn.replace(data=found | held)

  return problem.replace(fetch=fetch, cohort=lambda key, fed, round: fed)


def _gathered(x, at):
  """Examples by number, zeros for padding."""
  flat = at.reshape(-1)
  real = flat > 0
  out = np.zeros((len(flat), *x.shape[1:]), x.dtype)
  order = np.argsort(flat[real], kind='stable')  # As they lie in the file.
  places = np.flatnonzero(real)[order]
  out[places] = x[flat[places] - 1]
  return out.reshape(*at.shape, *x.shape[1:])


def of_round(arrays: Mapping[str, np.ndarray]) -> Any:
  """What a builder deals, and what makes its problem whole.

  Args:
    arrays: leaves [n, ...].

  Returns:
    The arrays, or their numbers if they are on disk; and a function of the
    problem.
  """
  if not on_disk(arrays):
    return arrays, lambda problem: problem
  return numbers(arrays), functools.partial(streamed, arrays=arrays)
