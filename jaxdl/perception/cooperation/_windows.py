# SPDX-License-Identifier: Apache-2.0
"""Attention of several agents' cells within windows and over a grid."""

import math
from collections.abc import Callable
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np

from jaxdl.core import checks, trees
from jaxdl.networks import functional

_EPSILON = 1e-5


def swap_fusion(
  channels: int, *, window: int, heads: int, num_layers: int
) -> tuple[Callable[..., Any], Callable[..., chex.Array]]:
  """Fuses by attention that swaps between near and far cells.

  A layer lets the A w² cells of a window of all agents attend to each other,
  then the A w² cells that lie a stride apart, each time followed by a
  perceptron; all with residuals, normalization before them, and a learned bias
  by the offset of two cells. Cells that do not count are attended by nobody. In
  the end agents are averaged, normalized and mixed by a dense layer.

  Args:
    channels: C, a multiple of the heads.
    window: w, a divisor of H and W.
    heads: of attention.
    num_layers: L.

  Returns:
    `init(key) -> params` and `apply(params, maps f[A, C, H, W], weights f[A, H,
    W]) -> f[C, H, W]`.

  Raises:
    ValueError: if a number is out of range or does not divide another.

  Cost: 4 A² w² H W C multiplications per layer and 28 A H W C² for its layers.

  Source: Xu et al. 2022 (https://arxiv.org/abs/2207.02202), fused axial
  attention.
  """
  c = checks.integer(channels, name='channels', low=1)
  w = checks.integer(window, name='window', low=1)
  m = checks.integer(heads, name='heads', low=1)
  layers = checks.num_layers(num_layers)
  if c % m:
    raise ValueError(f'heads={m} does not divide the {c} channels.')
  norm = {
    'scale': functional.Leaf((c,), 'constant', 1.0),
    'bias': functional.Leaf((c,), 'constant', 0.0),
  }
  attend = {
    'norm': norm,
    'qkv': functional.layer_leaves((c, 3 * c)),
    'out': functional.layer_leaves((c, c)),
    'offsets': functional.Leaf((m, (2 * w - 1) ** 2), 'constant', 0.0),
    'norm_2': norm,
    'up': functional.layer_leaves((c, 2 * c)),
    'down': functional.layer_leaves((2 * c, c)),
  }
  leaves = {
    'layers': [{'near': attend, 'far': attend} for _ in range(layers)],
    'norm': norm,
    'out': functional.layer_leaves((c, c)),
  }
  offsets = _offsets(w)

  def block(params, x, seen, cut, join):
    """Attention of f[A, H, W, C] within groups that `cut` makes."""
    wide = trees.accumulator(x.dtype)
    y = cut(_normalized(params['norm'], x))  # [G, A w², C].
    there = cut(seen[..., None])[..., 0]
    q, k, v = jnp.split(functional.dense(params['qkv'], y), 3, axis=-1)
    split = lambda t: t.reshape(*t.shape[:-1], m, c // m)
    q, k, v = split(q), split(k), split(v)
    scores = jnp.einsum('gimd,gjmd->gmij', q, k, preferred_element_type=wide)
    scores = scores / math.sqrt(c // m)
    agents = x.shape[0]
    bias = params['offsets'][:, jnp.asarray(offsets)]
    scores = scores + jnp.tile(bias, (1, agents, agents))[None]
    scores = jnp.where(there[:, None, None, :], scores, -jnp.inf)
    shares = jax.nn.softmax(scores, axis=-1).astype(v.dtype)
    out = jnp.einsum('gmij,gjmd->gimd', shares, v)
    out = functional.dense(params['out'], out.reshape(*out.shape[:2], c))
    x = x + join(out)
    y = _normalized(params['norm_2'], x)
    y = jax.nn.gelu(functional.dense(params['up'], y), approximate=False)
    return x + functional.dense(params['down'], y)

  def apply(params, maps, weights):
    agents, _, rows, columns = maps.shape
    if rows % w or columns % w:
      raise ValueError(
        f'window={w} does not divide maps of {rows} x {columns} cells.'
      )
    seen = weights > 0
    x = jnp.moveaxis(maps, 1, -1)
    shape = (agents, rows // w, w, columns // w, w)

    def near(t):
      t = t.reshape(*shape, t.shape[-1]).transpose(1, 3, 0, 2, 4, 5)
      return t.reshape(-1, agents * w * w, t.shape[-1])

    def far(t):
      t = t.reshape(agents, w, rows // w, w, columns // w, t.shape[-1])
      t = t.transpose(2, 4, 0, 1, 3, 5)
      return t.reshape(-1, agents * w * w, t.shape[-1])

    def unnear(t):
      t = t.reshape(rows // w, columns // w, agents, w, w, c)
      return t.transpose(2, 0, 3, 1, 4, 5).reshape(agents, rows, columns, c)

    def unfar(t):
      t = t.reshape(rows // w, columns // w, agents, w, w, c)
      return t.transpose(2, 3, 0, 4, 1, 5).reshape(agents, rows, columns, c)

    for layer in params['layers']:
      x = block(layer['near'], x, seen, near, unnear)
      x = block(layer['far'], x, seen, far, unfar)
    share = seen.astype(x.dtype)[..., None]
    # What is not seen holds nothing that may be multiplied by zero.
    mean = jnp.sum(jnp.where(seen[..., None], x, 0), axis=0) / jnp.sum(share, 0)
    out = functional.dense(params['out'], _normalized(params['norm'], mean))
    return jnp.moveaxis(out, -1, 0).astype(maps.dtype)

  return lambda key: functional.draw(key, leaves, jnp.float32), apply


def _normalized(params, x):
  wide = x.astype(trees.accumulator(x.dtype))
  mean = jnp.mean(wide, axis=-1, keepdims=True)
  var = jnp.mean(jnp.square(wide - mean), axis=-1, keepdims=True)
  y = (wide - mean) * jax.lax.rsqrt(var + _EPSILON)
  wide_of = lambda name: jnp.broadcast_to(params[name], y.shape)
  return (y * wide_of('scale') + wide_of('bias')).astype(x.dtype)


def _offsets(w):
  """Number of the offset of two cells of a window, i[w², w²]."""
  at = np.stack(np.divmod(np.arange(w * w), w))
  gap = at[:, :, None] - at[:, None, :] + w - 1
  return gap[0] * (2 * w - 1) + gap[1]
