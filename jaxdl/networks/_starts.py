# SPDX-License-Identifier: Apache-2.0
"""Which tensors are kernels, and with which variance they start."""

import math

import chex
import jax
import jax.numpy as jnp

from jaxdl.core import checks, layers, types

KERNEL_STARTS = ('glorot', 'fan_in')


def start_variances(params: chex.ArrayTree, rule: str) -> chex.ArrayTree:
  """Variance that each kernel of a model is drawn with.

  Args:
    params: one model, or its shapes; kernels are [..., I, O].
    rule: 'glorot' for 2 / (fan_in + fan_out), 'fan_in' for 1 / fan_in (what
      Caffe calls Xavier, and what `jaxdl.networks` does).

  Returns:
    Tree of Python numbers; zero where there is no kernel (`is_kernel`).

  Raises:
    ValueError: if the rule is unknown.

  Example:
    >>> start_variances({'kernel': jnp.zeros((3, 5))}, 'glorot')
    {'kernel': 0.25}

  Source: Glorot & Bengio 2010, equation 12.
  """
  checks.choice(rule, KERNEL_STARTS, name='rule')

  def leaf(path, x):
    if not layers.is_kernel(path, x):
      return 0.0
    *window, fan_in, fan_out = x.shape
    size = math.prod(window)
    if rule == 'fan_in':
      return 1.0 / (size * fan_in)
    return 2.0 / (size * (fan_in + fan_out))

  return jax.tree_util.tree_map_with_path(leaf, params)


def with_kernel_start(task: types.Task, rule: str) -> types.Task:
  """Scales the kernels that a task starts with to another variance.

  Args:
    task: its `init` draws kernels with variance 1 / fan_in, as all networks of
      `jaxdl.networks` do (those of `jaxdl.operators` do not).
    rule: see `start_variances`.

  Returns:
    The task with another `init`.

  Raises:
    ValueError: if the rule is unknown.
    TypeError: if it is a network; make a task of it first.
  """
  checks.task(task)
  checks.choice(rule, KERNEL_STARTS, name='rule')

  def init(key):
    params = task.init(key)
    drawn = start_variances(params, 'fan_in')
    wanted = start_variances(params, rule)

    def leaf(x, old, new):
      if old == new:
        return x
      return x * jnp.asarray(math.sqrt(new / old), x.dtype)

    return jax.tree.map(leaf, params, drawn, wanted)

  return task._replace(init=init)
