# SPDX-License-Identifier: Apache-2.0
"""Initial parameters drawn all at once.

One flat draw per distribution, cut into leaves: a network with a hundred
kernels compiles one random-number program instead of a hundred.
"""

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxdl.core import layers
from jaxdl.core.types import Network


@dataclasses.dataclass(frozen=True)
class Leaf:
  """One parameter to be drawn.

  Attributes:
    shape: its shape.
    kind: 'normal' (standard deviation `scale`), 'uniform' (on +-`scale`),
      'positive' (on [0, `scale`)) or 'constant' (filled with `scale`).
    scale: see `kind`.
  """

  shape: tuple[int, ...]
  kind: str = 'constant'
  scale: float = 0.0


def draw(key: chex.PRNGKey, leaves: Any, *inputs: Any) -> chex.ArrayTree:
  """Draws every leaf of a tree of `Leaf`.

  Args:
    key: consumed.
    leaves: pytree whose leaves are `Leaf`.
    *inputs: example inputs; parameters take their floating-point type.

  Returns:
    Tree of arrays.
  """
  specs, structure = jax.tree.flatten(leaves)
  dtype = layers.parameter_dtype(*inputs)
  wide = jnp.promote_types(dtype, jnp.float32)
  normal_key, uniform_key = jax.random.split(key)
  sizes = {'normal': 0, 'uniform': 0, 'positive': 0, 'constant': 0}
  for spec in specs:
    sizes[spec.kind] += math.prod(spec.shape)
  normal = jax.random.normal(normal_key, (sizes['normal'],), wide)
  uniform = jax.random.uniform(
    uniform_key, (sizes['uniform'] + sizes['positive'],), wide
  )
  taken = {'normal': 0, 'uniform': 0}
  out = []
  for spec in specs:
    size = math.prod(spec.shape)
    if spec.kind == 'constant':
      out.append(jnp.full(spec.shape, spec.scale, dtype))
      continue
    pool = 'normal' if spec.kind == 'normal' else 'uniform'
    start = taken[pool]
    taken[pool] += size
    flat = normal if pool == 'normal' else uniform
    part = flat[start : start + size].reshape(spec.shape)
    if spec.kind == 'uniform':
      part = 2.0 * part - 1.0
    out.append((spec.scale * part).astype(dtype))
  return jax.tree.unflatten(structure, out)


def glorot_normal(shape: tuple[int, ...], *, batch_ndim: int = 0) -> Leaf:
  """Normal with variance 2 / (fan_in + fan_out), for [..., in, out]."""
  spatial = math.prod(shape[batch_ndim:-2])
  fan = spatial * (shape[-2] + shape[-1])
  return Leaf(shape, 'normal', math.sqrt(2.0 / fan))


def fan_in_uniform(shape: tuple[int, ...], fan_in: int) -> Leaf:
  """Uniform on +-1/sqrt(fan_in)."""
  return Leaf(shape, 'uniform', 1.0 / math.sqrt(fan_in))


def linen_rule(path: tuple[str, ...], shape: tuple[int, ...]) -> Leaf:
  """Glorot-normal kernels, unit scales, zero biases."""
  if path[-1] == 'kernel':
    return glorot_normal(shape)
  if path[-1] == 'scale':
    return Leaf(shape, 'constant', 1.0)
  return Leaf(shape)


def from_linen(
  module: nn.Module,
  *,
  rule: Callable[[tuple[str, ...], tuple[int, ...]], Leaf] = linen_rule,
  check: Callable[..., None] | None = None,
) -> Network:
  """Turns a flax module into a pair whose parameters come from one draw.

  Args:
    module: a flax.linen module with a 'params' collection only.
    rule: `rule(path, shape) -> Leaf` for each parameter.
    check: called with the inputs before init and apply; raises on bad ones.

  Returns:
    A `Network`.
  """

  def init(key, *inputs):
    if check is not None:
      check(*inputs)
    shapes = jax.eval_shape(
      lambda *xs: module.init(jax.random.key(0), *xs), *inputs
    )['params']
    leaves = jax.tree_util.tree_map_with_path(
      lambda path, x: rule(tuple(str(p.key) for p in path), x.shape), shapes
    )
    return draw(key, leaves, *inputs)

  def apply(params, *inputs, train=False, key=None):
    del train, key
    if check is not None:
      check(*inputs)
    return module.apply({'params': params}, *inputs)

  return Network(init, apply)
