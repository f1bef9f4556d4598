# SPDX-License-Identifier: Apache-2.0
"""What the layers of networks and of operator networks have in common."""

from typing import Any

import chex
import jax
import jax.numpy as jnp


def parameter_dtype(*inputs: Any) -> Any:
  """Returns the dtype of parameters that fit some inputs.

  Args:
    *inputs: trees of arrays, numbers or `jax.ShapeDtypeStruct`s.

  Returns:
    The common dtype of the floating-point inputs, the default floating-point
    type if there is none.

  Example:
    >>> parameter_dtype(jnp.zeros(2, jnp.bfloat16), jnp.arange(3))
    dtype(bfloat16)
  """
  dtypes = [jnp.result_type(x) for x in jax.tree.leaves(inputs)]
  floating = [d for d in dtypes if jnp.issubdtype(d, jnp.floating)]
  return jnp.result_type(*floating) if floating else jnp.result_type(float)


def gather_windows(
  x: chex.Array, axis: int, size: int, *, stride: int = 1, dilation: int = 1
) -> chex.Array:
  """Puts the entries of each window along an axis into the channels.

  One axis after the other, `size` slices each, this gathers the windows of a
  convolution with fewer copies than all taps at once.

  Args:
    x: [..., C], n entries along the axis.
    axis: any but the last (static).
    size: entries of a window (static).
    stride: step between windows (static).
    dilation: step between the entries of a window (static).

  Returns:
    [..., size C] with `(n - dilation (size - 1) - 1) // stride + 1` entries
    along the axis; the taps vary slowest in the last.

  Example:
    >>> gather_windows(jnp.arange(4.0)[:, None], 0, 2, stride=2)
    Array([[0., 1.],
           [2., 3.]], dtype=float32)
  """
  count = (x.shape[axis] - dilation * (size - 1) - 1) // stride + 1
  parts = [
    jax.lax.slice_in_dim(
      x, t * dilation, t * dilation + stride * (count - 1) + 1, stride, axis
    )
    for t in range(size)
  ]
  return jnp.concatenate(parts, -1) if size > 1 else parts[0]


def is_kernel(path: tuple[Any, ...], leaf: chex.Array) -> bool:
  """Tells kernels of one model from its other tensors.

  Args:
    path: key path of the leaf, as `jax.tree_util` gives it.
    leaf: one client's tensor, or its shape and dtype.

  Returns:
    Whether it has two axes or more and is no running statistic; biases and
    the scales of normalisations have one.
  """
  names = {getattr(entry, 'key', getattr(entry, 'name', '')) for entry in path}
  return len(leaf.shape) >= 2 and 'statistics' not in names
