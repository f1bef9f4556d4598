# SPDX-License-Identifier: Apache-2.0
"""Initial parameters from one draw.

Drawing leaf by leaf compiles one random-number program per leaf. Here one
uniform vector is drawn and cut into the kernels, which compiles about as fast
for fifty layers as for one.
"""

import math

import chex
import jax
import jax.numpy as jnp

from jaxdl.core import trees

_CONSTANTS = {'bias': 0.0, 'scale': 1.0, 'mean': 0.0, 'var': 1.0}


def draw(
  key: chex.PRNGKey, shapes: chex.ArrayTree, dtype: jax.typing.DTypeLike
) -> chex.ArrayTree:
  """Fills a tree of variables, telling leaves apart by their last name.

  Kernels [..., I, O] are uniform with mean zero and variance `1 / fan_in`,
  `fan_in = prod(shape[:-1])` (LeCun's rule); biases and means are zero; scales
  and variances are one.

  Args:
    key: consumed.
    shapes: nested dict of arrays or `jax.ShapeDtypeStruct`s, with leaves
      called kernel, bias, scale, mean or var.
    dtype: of kernels, biases and scales; means and variances take its
      accumulator.

  Returns:
    The tree of arrays.

  Example:
    >>> shapes = {'kernel': jnp.zeros((3, 2)), 'bias': jnp.zeros((2,))}
    >>> params = draw(jax.random.key(0), shapes, jnp.float32)
    >>> bool(jnp.all(jnp.abs(params['kernel']) <= 1.0))
    True
  """
  wide = trees.accumulator(dtype)
  names = jax.tree_util.tree_map_with_path(lambda p, _: p[-1].key, shapes)
  total = sum(
    math.prod(x.shape)
    for x, name in zip(
      jax.tree.leaves(shapes), jax.tree.leaves(names), strict=True
    )
    if name == 'kernel'
  )
  flat = jax.random.uniform(key, (total,), wide, minval=-1.0)
  start = 0

  def leaf(name, x):
    nonlocal start
    if name != 'kernel':
      kind = wide if name in ('mean', 'var') else dtype
      return jnp.full(x.shape, _CONSTANTS[name], kind)
    size = math.prod(x.shape)
    part = jax.lax.slice(flat, (start,), (start + size,)).reshape(x.shape)
    start += size
    return (part * math.sqrt(3.0 / math.prod(x.shape[:-1]))).astype(dtype)

  return jax.tree.map(leaf, names, shapes)
