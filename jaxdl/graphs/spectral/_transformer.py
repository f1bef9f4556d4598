# SPDX-License-Identifier: Apache-2.0
"""A transformer over eigenvalues whose blocks are steps of an ODE."""

import math
from collections.abc import Callable, Mapping
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np

from jaxdl.core import checks, keys, trees
from jaxdl.graphs import _attention
from jaxdl.networks import functional

ORDERS = (1, 2, 3, 4)
SCALE = 100.0
_WAVELENGTHS = 10_000.0
_EPSILON = 1e-5
_INNER_DROPOUT = 0.1


def eigenvalue_encoding(
  eigenvalues: chex.Array, hidden_dim: int, *, scale: float = SCALE
) -> chex.Array:
  """Writes eigenvalues as waves: λ, all sines, all cosines.

  Args:
    eigenvalues: f[...], λ.
    hidden_dim: d, even (static).
    scale: ε, λ is multiplied with it inside the waves.

  Returns:
    f[..., d + 1]: λ, sin(ε λ ω_j), cos(ε λ ω_j) with ω_j = 10000^(-2j/d).

  Raises:
    ValueError: if d is odd or the scale is not finite.
    TypeError: if eigenvalues are no floating point.

  Example:
    >>> eigenvalue_encoding(jnp.zeros(1), 4).tolist()
    [[0.0, 0.0, 0.0, 1.0, 1.0]]

  Source: Bo et al. 2023 (https://arxiv.org/abs/2303.01028), equation 3;
    Gurumurthy, Pal & Sharma 2025 (https://arxiv.org/abs/2504.11808).
  """
  check_dim(hidden_dim)
  checks.number(scale, name='scale')
  values = real('eigenvalues', eigenvalues)
  wide = values.astype(trees.accumulator(values.dtype))
  rates = _WAVELENGTHS ** (-2 * jnp.arange(hidden_dim // 2) / hidden_dim)
  rates = rates.astype(wide.dtype).reshape((1,) * wide.ndim + (-1,))
  waves = scale * wide[..., None] * rates
  parts = [wide[..., None], jnp.sin(waves), jnp.cos(waves)]
  return jnp.concatenate(parts, axis=-1).astype(values.dtype)


def real(name: str, value: Any) -> chex.Array:
  """Returns an array of floating point, or raises TypeError."""
  checks.array(value, name=name)
  if not jnp.issubdtype(jnp.result_type(value), jnp.floating):
    raise TypeError(
      f'{name} must be floating point; got {jnp.result_type(value)}.'
    )
  return jnp.asarray(value)


def boolean(name: str, value: Any) -> None:
  """Raises TypeError unless a value is True or False."""
  if not isinstance(value, (bool, np.bool_)):
    raise TypeError(f'{name} must be True or False; got {value!r}.')


def check_dim(hidden_dim: Any, num_heads: int = 1) -> int:
  """Returns a width that is even and that heads divide, or raises."""
  width = checks.integer(hidden_dim, name='hidden_dim', low=2)
  if width % 2:
    raise ValueError(
      f'hidden_dim={width} must be even: half of the waves are sines; take '
      f'{width + 1}.'
    )
  if num_heads and width % num_heads:
    raise ValueError(
      f'hidden_dim={width} must be a multiple of num_heads={num_heads}; take '
      f'{width + -width % (2 * num_heads)}.'
    )
  return width


def rk_step(
  function: Callable[..., chex.ArrayTree],
  x: chex.ArrayTree,
  *,
  order: int = 2,
  official: bool = False,
  key: chex.PRNGKey | None = None,
) -> chex.ArrayTree:
  """Takes one step of length one along a function, by Runge and Kutta.

  With k1 = F(x): order 1 gives x + k1, order 2 Heun's x + (k1 + k2) / 2, order
  3 Kutta's x + (k1 + 4 k2 + k3) / 6, order 4 the classical one.

  Args:
    function: F, of trees like x; with a key `function(x, key)`.
    x: any tree of floating point.
    order: in `ORDERS` (static).
    official: whether k3 of order 3 is F(x + k2), as the released code of the
      paper has it, and not F(x - k1 + 2 k2) (static).
    key: consumed; stage s draws from `fold_in(key, s)`.

  Returns:
    A tree like x.

  Raises:
    ValueError: if the order is another, or `official` has no effect.

  Example:
    >>> growth = lambda order: rk_step(lambda x: 0.1 * x, 1.0, order=order)
    >>> [round(growth(order), 6) for order in ORDERS]
    [1.1, 1.105, 1.105167, 1.105171]

  Source: Gurumurthy, Pal & Sharma 2025 (https://arxiv.org/abs/2504.11808);
    Li et al. 2022, ODE Transformer (https://arxiv.org/abs/2203.09176).
  """
  check_order(order, official)
  if key is not None:
    keys.check_key(key)

  def at(stage, *terms):
    """F at x plus weighted slopes."""
    move = lambda y, *ks: (
      y + sum(c * k for (c, _), k in zip(terms, ks, strict=True))
    )
    place = jax.tree.map(move, x, *(k for _, k in terms)) if terms else x
    if key is None:
      return function(place)
    return function(place, jax.random.fold_in(key, stage))

  k1 = at(0)
  if order == 1:
    slopes = [(1, k1)]
  elif order == 2:
    slopes = [(1 / 2, k1), (1 / 2, at(1, (1, k1)))]
  elif order == 3:
    k2 = at(1, (1 / 2, k1))
    k3 = at(2, (1, k2)) if official else at(2, (-1, k1), (2, k2))
    slopes = [(1 / 6, k1), (4 / 6, k2), (1 / 6, k3)]
  else:
    k2 = at(1, (1 / 2, k1))
    k3 = at(2, (1 / 2, k2))
    k4 = at(3, (1, k3))
    slopes = [(1 / 6, k1), (2 / 6, k2), (2 / 6, k3), (1 / 6, k4)]
  total = lambda y, *ks: (
    y + sum(c * k for (c, _), k in zip(slopes, ks, strict=True))
  )
  return jax.tree.map(total, x, *(k for _, k in slopes))


def check_order(order: Any, official: bool) -> None:
  """Raises ValueError unless there is such a step."""
  whole = isinstance(order, (int, np.integer)) and not isinstance(order, bool)
  if not whole or order not in ORDERS:
    raise ValueError(f'rk must be one of {ORDERS}; got {order!r}.')
  boolean('official', official)
  if official and order != 3:
    raise ValueError(
      f'official=True is about the third stage of rk=3; got rk={order}: leave '
      'it out.'
    )


def layer_norm(params: Mapping[str, chex.Array], x: chex.Array) -> chex.Array:
  """Rows [..., d] of mean 0 and variance 1, scaled and shifted."""
  wide = x.astype(trees.accumulator(x.dtype))
  mean = jnp.mean(wide, axis=-1, keepdims=True)
  variance = jnp.mean(jnp.square(wide - mean), axis=-1, keepdims=True)
  unit = (wide - mean) * jax.lax.rsqrt(variance + _EPSILON)
  return affine(params, unit).astype(x.dtype)


def affine(params: Mapping[str, chex.Array], x: chex.Array) -> chex.Array:
  """Scales and shifts the last axis."""
  row = lambda p: p.astype(x.dtype).reshape((1,) * (x.ndim - 1) + (-1,))
  return x * row(params['scale']) + row(params['bias'])


def block_leaves(width: int, kernel_init: str) -> dict[str, Any]:
  """Describes the parameters of a block, for `functional.draw`."""
  dense = lambda outputs: functional.layer_leaves(
    (width, outputs), kernel_init=kernel_init, bias_init=bias_of(kernel_init)
  )
  return {
    'attention_norm': functional.scale_leaves((width,)),
    'query_key_value': dense(3 * width),
    'attention_out': dense(width),
    'perceptron_norm': functional.scale_leaves((width,)),
    'perceptron_in': dense(width),
    'perceptron_out': dense(width),
  }


def bias_of(kernel_init: str) -> str:
  """Biases are drawn where PyTorch draws them, and zero otherwise."""
  name = functional.KERNEL_INITS.part(kernel_init, name='kernel_init').name
  return 'pytorch' if name == 'pytorch' else 'zeros'


def _maybe_drop(key, stage, x, rate):
  """Dropout in training; nothing without a key."""
  if key is None or not rate:
    return x
  return _attention.drop(jax.random.fold_in(key, stage), x, rate)


def attend(
  params: Mapping[str, Any],
  x: chex.Array,
  mask: chex.Array,
  *,
  num_heads: int,
  dropout: float = 0.0,
  key: chex.PRNGKey | None = None,
) -> chex.Array:
  """Lets every token look at all that are there, without order.

  Args:
    params: dense layers 'query_key_value' and 'attention_out'.
    x: f[K, d].
    mask: bool[K], tokens that may be looked at.
    num_heads: h, which divides d (static).
    dropout: of the weights of attention.
    key: consumed; None for no dropout.

  Returns:
    f[K, d].

  Source: Vaswani et al. 2017 (https://arxiv.org/abs/1706.03762), section 3.2.
  """
  k, width = x.shape
  both = functional.dense(params['query_key_value'], x)
  query, keys, value = (
    part.reshape(k, num_heads, -1) for part in jnp.split(both, 3, axis=-1)
  )
  scores = jnp.einsum('qhc,khc->hqk', query, keys)
  scores = scores.astype(trees.accumulator(x.dtype))
  scores /= math.sqrt(width // num_heads)
  lowest = jnp.finfo(scores.dtype).min
  scores = jnp.where(mask[None, None], scores, lowest)
  weights = jax.nn.softmax(scores, axis=-1).astype(x.dtype)
  weights = _maybe_drop(key, 0, weights, dropout)
  out = jnp.einsum('hqk,khc->qhc', weights, value).reshape(k, width)
  return functional.dense(params['attention_out'], out)


def transformer_block(
  params: Mapping[str, Any],
  x: chex.Array,
  mask: chex.Array,
  *,
  num_heads: int,
  dropout: float = 0.0,
  key: chex.PRNGKey | None = None,
) -> chex.Array:
  """The function F of the ODE: attention and a perceptron, each added on.

  Args:
    params: as `block_leaves` describes.
    x: f[K, d], tokens.
    mask: bool[K], which of them are there.
    num_heads: h (static).
    dropout: of attention; if there is any, the perceptron drops a tenth.
    key: consumed; None for no dropout.

  Returns:
    f[K, d].

  Raises:
    ValueError: if shapes do not fit, or the rate is out of range.
    TypeError: if tokens are no floating point.

  Source: Gurumurthy, Pal & Sharma 2025 (https://arxiv.org/abs/2504.11808);
    Xiong et al. 2020 (https://arxiv.org/abs/2002.04745) for norms that come
    first.
  """
  x = real('x', x)
  width = jnp.shape(params['attention_norm']['scale'])[0]
  if x.ndim != 2 or x.shape[1] != width:
    raise ValueError(
      f'x must have shape [K, {width}], as params are for; got {x.shape}.'
    )
  if jnp.shape(mask) != x.shape[:1]:
    raise ValueError(
      f'mask must have shape {x.shape[:1]}, one for each token; got '
      f'{jnp.shape(mask)}.'
    )
  heads = checks.integer(num_heads, name='num_heads', low=1)
  if width % heads:
    raise ValueError(f'num_heads={heads} must divide d = {width}.')
  checks.number(dropout, name='dropout', low=0, high=1, open_high=True)
  mask = jnp.asarray(mask) != 0
  attention_key = None if key is None else jax.random.fold_in(key, 1)
  inner = _INNER_DROPOUT if dropout else 0.0
  h = layer_norm(params['attention_norm'], x)
  h = attend(
    params, h, mask, num_heads=num_heads, dropout=dropout, key=attention_key
  )
  x = x + _maybe_drop(key, 2, h, dropout)
  h = layer_norm(params['perceptron_norm'], x)
  h = jax.nn.relu(functional.dense(params['perceptron_in'], h))
  h = _maybe_drop(key, 3, h, inner)
  h = functional.dense(params['perceptron_out'], h)
  return x + _maybe_drop(key, 4, h, inner)
