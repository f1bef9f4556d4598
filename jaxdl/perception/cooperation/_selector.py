# SPDX-License-Identifier: Apache-2.0
"""Which channels to ask for, and how many: attention with a learned threshold.

The number is learned by gradients only if the hard comparison lets them
through: `straight_through` does, `none` is what a plain comparison gives.
"""

import math
from typing import Any

import chex
import jax
import jax.numpy as jnp

from jaxdl.core import checks, trees, types
from jaxdl.networks import functional

GRADIENTS = ('straight_through', 'none')
THETA = 0.5


def channel_selector(
  channels: int,
  cells: int,
  *,
  attn_scale: bool = True,
  q: float | None = None,
  bias: float = 1.0,
) -> types.Network:
  """A network that says how relevant each channel is, and from where it counts.

  Query W_q u; for channel m key W_k vec(F_m) and value W_v vec(F_m); attention
  a = softmax(<query, key_m> / √C); relevance r = sigmoid(W_o Σ a_m value_m);
  threshold τ = sigmoid(θ), θ = 0.5 at the start. All four projections have
  biases.

  Args:
    channels: C.
    cells: H W of a map.
    attn_scale: whether attention is scaled by 1 / sqrt C (the published code
      does not).
    q: percentile in percent that is learned along, 100 sigmoid(θ_q), from
      there; None for none.
    bias: of the output at the start. With 1 relevances lie around sigmoid(1) =
      .73, above τ, so that all channels are asked for until training drops
      some; with 0 next to none are, and those that are missed may stay so.

  Returns:
    `init(key, u, features)` and `apply(params, u, features) -> (r, τ)`; u is
    f[..., C], features f[..., C, H, W], r f[..., C], τ f[].

  Raises:
    ValueError: if a number is out of range.

  Cost: 2 C² H W + 3 C² multiplications.

  Example:
    >>> selector = channel_selector(4, 6)
    >>> u, maps = jnp.ones(4), jnp.ones((4, 2, 3))
    >>> params = selector.init(jax.random.key(0), u, maps)
    >>> relevance, tau = selector.apply(params, u, maps)
    >>> relevance.shape, round(float(tau), 5)
    ((4,), 0.62246)

  Source: Mukhopadhyay et al. 2026 (https://arxiv.org/abs/2602.13287), section
  on relevance and adaptive quantity.
  """
  c = checks.integer(channels, name='channels', low=1)
  n = checks.integer(cells, name='cells', low=1)
  checks.flag(attn_scale, name='attn_scale')
  checks.number(bias, name='bias')
  if q is not None:
    checks.number(
      q, name='q', low=0.0, high=100.0, open_low=True, open_high=True
    )
  leaves: dict[str, Any] = {
    'query': functional.layer_leaves((c, c)),
    'key': functional.layer_leaves((n, c)),
    'value': functional.layer_leaves((n, c)),
    'out': functional.layer_leaves((c, c))
    | {'bias': functional.Leaf((c,), 'constant', bias)},
    'theta': functional.Leaf((), 'constant', THETA),
  }
  if q is not None:
    start = math.log(q / (100.0 - q))
    leaves['theta_q'] = functional.Leaf((), 'constant', start)

  def check(u, features):
    if jnp.shape(u)[-1:] != (c,) or jnp.shape(features)[-3:-2] != (c,):
      raise ValueError(
        f'u of shape {jnp.shape(u)} and features of shape '
        f'{jnp.shape(features)} do not fit channels={c}: need u [..., {c}] '
        f'and features [..., {c}, H, W].'
      )
    found = math.prod(jnp.shape(features)[-2:])
    if found != n:
      raise ValueError(
        f'features have {found} cells but the selector was made for cells={n}.'
      )

  def init(key, u, features):
    check(u, features)
    return functional.draw(key, leaves, jnp.result_type(features))

  def apply(params, u, features, *, train=False, key=None):
    del train, key
    check(u, features)
    flat = features.reshape(*features.shape[:-2], n)
    layer = lambda name, x: functional.dense(params[name], x)
    query = layer('query', u.astype(features.dtype))
    keys, values = layer('key', flat), layer('value', flat)
    wide = trees.accumulator(features.dtype)
    scores = jnp.einsum(
      '...c,...mc->...m', query, keys, preferred_element_type=wide
    )
    if attn_scale:
      scores = scores / math.sqrt(c)
    attention = jax.nn.softmax(scores, axis=-1).astype(values.dtype)
    context = jnp.einsum('...m,...mc->...c', attention, values)
    return jax.nn.sigmoid(layer('out', context)), threshold(params)

  return types.Network(init, apply)


def threshold(params: Any, *, offset: chex.Numeric = 0.0) -> chex.Array:
  """The threshold τ = sigmoid(θ) + offset.

  Args:
    params: of a `channel_selector`.
    offset: changes the budget at run time: more asks for fewer channels.

  Returns:
    f[].
  """
  return jax.nn.sigmoid(params['theta']) + offset


def learned_q(params: Any) -> chex.Array:
  """The percentile that a selector learned, 100 sigmoid(θ_q).

  Args:
    params: of a `channel_selector` with `q`.

  Returns:
    f[], in percent.
  """
  return 100.0 * jax.nn.sigmoid(params['theta_q'])


def straight_through_mask(
  relevance: chex.Array,
  tau: chex.Numeric,
  *,
  temperature: float = 0.1,
  gradient: str = 'straight_through',
) -> chex.Array:
  """A hard mask 1[r > τ] whose gradient is that of a soft one.

  Args:
    relevance: f[...], r.
    tau: threshold τ.
    temperature: T of the soft mask sigmoid((r - τ) / T), > 0.
    gradient: 'straight_through', or 'none' for a mask without any.

  Returns:
    f[...] of zeros and ones.

  Raises:
    ValueError: if an option is unknown or T not positive.

  Example:
    >>> r = jnp.array([0.5, 0.7])
    >>> straight_through_mask(r, 0.5).tolist()
    [0.0, 1.0]
    >>> jax.grad(lambda r: straight_through_mask(r, 0.5).sum())(r)[0]
    Array(2.5, dtype=float32)
  """
  checks.number(temperature, name='temperature', low=0.0, open_low=True)
  checks.choice(gradient, GRADIENTS, name='gradient')
  hard = (relevance > tau).astype(jnp.result_type(relevance))
  if gradient == 'none':
    return jax.lax.stop_gradient(hard)
  soft = jax.nn.sigmoid((relevance - tau) / temperature).astype(hard.dtype)
  return hard + (soft - jax.lax.stop_gradient(soft))
