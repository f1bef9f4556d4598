# SPDX-License-Identifier: Apache-2.0
"""Which tensors are kernels, and with which variance they start."""

import math

import chex
import jax
import jax.numpy as jnp

from jaxdl.core import checks, layers, types
from jaxdl.networks import functional


def kernel_variances(
  params: chex.ArrayTree, kernel_init: str
) -> chex.ArrayTree:
  """Variance that each kernel of a model is drawn with.

  Args:
    params: one model, or its shapes; kernels are [..., I, O].
    kernel_init: a name in `functional.KERNEL_INITS`: 'fan_in' for 1 / fan_in,
      what `jaxdl.networks` does; 'glorot' for 2 / (fan_in + fan_out); ...

  Returns:
    Tree of Python numbers; zero where there is no kernel
    (`core.layers.is_kernel`).

  Raises:
    ValueError: if the name or one of its options is unknown.

  Example:
    >>> kernel_variances({'kernel': jnp.zeros((3, 5))}, 'glorot')
    {'kernel': 0.25}

  Source: Glorot & Bengio 2010, equation 12.
  """
  functional.KERNEL_INITS.check(kernel_init)

  def leaf(path, x):
    if not layers.is_kernel(path, x):
      return 0.0
    return functional.KERNEL_INITS.make(kernel_init, x.shape).variance

  return jax.tree_util.tree_map_with_path(leaf, params)


def with_kernel_init(task: types.Task, kernel_init: str) -> types.Task:
  """Scales the kernels that a task starts with to another variance.

  Args:
    task: its `init` draws kernels with variance 1 / fan_in, as the networks of
      `jaxdl.networks` do that have no other `kernel_init` of their own (those
      of `jaxdl.operators` do not), and biases zero.
    kernel_init: see `kernel_variances`; the distribution stays what it is.
      Biases are drawn where it asks for some, 'critical(activation=gelu)'. A
      task does not say its activation: networks that are given
      `kernel_init='critical'` know theirs.

  Returns:
    The task with another `init`.

  Raises:
    ValueError: if the name or one of its options is unknown, missing or out of
      range; from `init`, if kernels need biases and there are none.
    TypeError: if it is a network; make a task of it first.
  """
  checks.task(task)
  # Says now what is wrong with its options.
  functional.KERNEL_INITS.make(kernel_init, (1, 1))

  def init(key):
    params = task.init(key)
    drawn = kernel_variances(params, 'fan_in')
    wanted = kernel_variances(params, kernel_init)
    biases = functional.bias_variances(params, kernel_init)

    def leaf(x, old, new):
      if old == new:
        return x
      return x * jnp.asarray(math.sqrt(new / old), x.dtype)

    scaled = jax.tree.map(leaf, params, drawn, wanted)
    if not any(jax.tree.leaves(biases)):
      return scaled
    # Numbers that the kernels were not made of.
    noise = functional.draw(
      jax.random.fold_in(key, 1),
      jax.tree.map(
        lambda x, v: functional.Leaf(
          x.shape, 'normal' if v else 'constant', math.sqrt(v)
        ),
        params,
        biases,
      ),
      jnp.float32,
    )
    return jax.tree.map(lambda x, e: x + e.astype(x.dtype), scaled, noise)

  return task._replace(init=init)
