# SPDX-License-Identifier: Apache-2.0
"""The layer itself: every token through its k experts, none dropped."""

from collections.abc import Callable, Mapping
from typing import Any

import chex
import jax
import jax.numpy as jnp

from jaxdl.core import checks, trees
from jaxdl.perception.experts import _grouped, _route, _split

IMPLEMENTATIONS = ('auto', 'dense', 'ragged')
# Rows T k below which all experts at once are as fast, see `choose`.
_FEW = 32


def choose(num_tokens: int, num_experts: int, top_k: int) -> str:
  """Picks an implementation by its measured cost.

  'dense' does E / k times the work, 'ragged' sorts and its products are small.
  On CPU (two cores, float32) the second is never slower by more than a tenth of
  a millisecond from a few rows on, and faster with its gradient too: 0.79
  against 3.4 ms for T = 320, d = 64, h = 256, E = 8, k = 2; 2.5 against 7.8 ms
  for T = 64, d = 256, h = 1024, E = 16. The first is left with a handful of
  tokens, and where every expert is used.

  Args:
    num_tokens: T.
    num_experts: E.
    top_k: k.

  Returns:
    'dense' or 'ragged'.

  Example:
    >>> choose(900, 16, 2), choose(8, 16, 2), choose(900, 2, 2)
    ('ragged', 'dense', 'dense')
  """
  few = num_tokens * top_k < _FEW or num_experts <= top_k
  return 'dense' if few else 'ragged'


def moe_apply(
  params: Mapping[str, Any],
  x: chex.Array,
  *,
  top_k: int,
  activation: _split.Activation = 'relu',
  gate: str = 'renorm_k',
  mask: chex.Array | None = None,
  implementation: str = 'auto',
  axis_name: str | None = None,
) -> tuple[chex.Array, _route.Routed]:
  """Applies a mixture of experts: y = Σ_{e in T(x)} g_e E_e(x).

  Args:
    params: experts as `split_ffn` makes them, and 'router' f[E, d].
    x: f[..., d], tokens.
    top_k: k, experts of a token (static).
    activation: elementwise (static): a name of `functional.ACTIVATIONS`, which
      acts on 'in', or on 'gate' and is multiplied by 'in' (SwiGLU is 'silu');
      or a function of the hidden values of all layers, by name in order.
    gate: a part of `GATES`, see `route` (static).
    mask: bool[...], false for padding, which is computed like any token but
      counts in no statistic; or of leading axes alone.
    implementation: 'dense' computes all experts and masks, 'ragged' sorts
      tokens by expert; 'auto' follows `choose` (static).
    axis_name: of a mapped axis over which the experts are split in equal,
      consecutive shares: `params` then holds those of this device and the whole
      router, and the result is the sum over devices.

  Returns:
    f[..., d'], the common dtype of x and experts, and where tokens went.

  Raises:
    ValueError: if widths do not fit, k > E, an option is unknown or the
      activation acts across the hidden axis.

  Cost: 'ragged' O(T k (d + d') h / k) and a sort; 'dense' E / k times as much,
    and memory for T E h / k hidden values.

  Example:
    >>> layer = {'kernel': jnp.ones((1, 2)), 'bias': jnp.zeros(2)}
    >>> ffn = {'in': layer, 'out': {'kernel': jnp.ones((2, 1))}}
    >>> moe = split_ffn(ffn, num_replicas=2, num_slices=2)
    >>> moe['router'] = jnp.array([[1.0], [1.0], [-1.0], [-1.0]])
    >>> y, routed = moe_apply(moe, jnp.array([[3.0], [-1.0]]), top_k=2)
    >>> y.tolist(), routed.idx.tolist()
    ([[6.0], [0.0]], [[0, 1], [2, 3]])

  Source: Lu et al. 2025 (https://arxiv.org/abs/2507.17436), gate and output.
  """
  _split.widths(params, stacked=True)
  act = _split.activation_of(activation, len(_split.ins_of(params)))
  mask = _route.token_mask(mask, jnp.shape(x)[:-1])
  return apply_parts(
    params,
    x,
    act,
    top_k=top_k,
    gate=gate,
    mask=mask,
    implementation=implementation,
    axis_name=axis_name,
  )


def apply_parts(
  params: Mapping[str, Any],
  x: chex.Array,
  act: Callable[..., chex.Array],
  *,
  top_k: int,
  gate: str,
  mask: chex.Array | None,
  implementation: str,
  axis_name: str | None = None,
  split: bool = False,
) -> tuple[chex.Array, _route.Routed]:
  """As `moe_apply`, with an activation that has been checked.

  Args:
    params: see there.
    x: see there.
    act: a function of the hidden values of all layers.
    top_k: see there.
    gate: see there.
    mask: see there, or of a batch that the tokens are made of.
    implementation: see there.
    axis_name: see there.
    split: whether of the sum over devices each gets the rows of its share of
      the tokens, f[T, d] being given.

  Returns:
    See there.
  """
  checks.choice(implementation, IMPLEMENTATIONS, name='implementation')
  if 'router' not in params:
    raise ValueError("params has no 'router': add init_router(...).")
  x = jnp.asarray(x)
  width, _, num_outputs = _split.widths(params, stacked=True)
  if x.shape[-1:] != (width,):
    raise ValueError(f'x must have shape [..., {width}]; got {x.shape}.')
  router = params['router']
  local = params['in']['kernel'].shape[0]
  shards = 1 if axis_name is None else checks.axis_size(axis_name)
  if router.shape[0] != shards * local:
    raise ValueError(
      f'router has {router.shape[0]} rows, but there are {shards * local} '
      'experts.'
    )
  tokens = x.reshape(-1, width)
  routed = _route.route(tokens, router, top_k=top_k, gate=gate)
  idx, gates = routed.idx, routed.gates
  if axis_name is not None:
    first = jax.lax.axis_index(axis_name) * local
    idx = idx - first
    gates = jnp.where((idx >= 0) & (idx < local), gates, 0)
  if implementation == 'auto':
    implementation = choose(tokens.shape[0], router.shape[0], top_k)
  layers = {k: v for k, v in params.items() if k != 'router'}
  dtype = jnp.result_type(x, layers['in']['kernel'])
  run = _dense if implementation == 'dense' else _ragged
  y = run(layers, tokens.astype(dtype), idx, gates, act)
  if axis_name is not None and split:
    y = jax.lax.psum_scatter(y, axis_name, tiled=True)
  elif axis_name is not None:
    y = jax.lax.psum(y, axis_name)
  lead = x.shape[:-1]
  shape = lambda v: v.reshape(*lead, v.shape[-1])
  mask = _route.grouped_mask(mask, tokens.shape[0])
  balance = routed.load_balance
  if mask is not None:
    balance = _route.load_balance(routed.idx, routed.probs, mask=mask)
    mask = mask.reshape(lead)
  routed = _route.Routed(
    shape(routed.idx), shape(routed.gates), shape(routed.probs), balance, mask
  )
  y = y.astype(dtype)
  return (y if split else y.reshape(*lead, num_outputs)), routed


def _dense(layers, x, idx, gates, act):
  """All experts of all tokens; what is not selected is left out."""
  wide = trees.accumulator(x.dtype)
  names = _split.ins_of(layers)
  num_experts = layers['in']['kernel'].shape[0]
  hot = idx[..., None] == jnp.arange(num_experts)[None, None]
  share = jnp.sum(jnp.where(hot, gates[..., None], 0), axis=1).astype(x.dtype)
  chosen = jnp.any(hot, axis=1)

  def hidden(layer):
    h = jnp.einsum(
      'td,edh->teh',
      x,
      layer['kernel'].astype(x.dtype),
      preferred_element_type=wide,
    )
    h = h.astype(x.dtype)
    return h if 'bias' not in layer else h + layer['bias'][None].astype(x.dtype)

  h = act(*(hidden(layers[name]) for name in names))
  # Not a product with zero: an expert may overflow where nobody asks for it.
  h = jnp.where(chosen[..., None], h * share[..., None], 0)
  out = layers['out']
  y = jnp.einsum(
    'teh,ehd->td', h, out['kernel'].astype(h.dtype), preferred_element_type=wide
  )
  if 'bias' in out:
    y = y + jnp.matmul(
      share, out['bias'].astype(x.dtype), preferred_element_type=wide
    )
  return y


def _ragged(layers, x, idx, gates, act):
  """Tokens in the order of their experts, products group by group."""
  wide = trees.accumulator(x.dtype)
  num_tokens, top_k = idx.shape
  num_experts = layers['in']['kernel'].shape[0]
  flat = idx.reshape(-1)
  # Experts of other devices are the first one with a gate of zero.
  inside = (flat >= 0) & (flat < num_experts)
  flat = jnp.where(inside, flat, 0)
  # The place of a row: those of earlier experts, and earlier ones of its own.
  hot = (flat[:, None] == jnp.arange(num_experts)[None]).astype(jnp.int32)
  sizes = jnp.sum(hot, axis=0)
  rank = jnp.take_along_axis(jnp.cumsum(hot, axis=0), flat[:, None], axis=1)
  place = (jnp.cumsum(sizes) - sizes)[flat] + rank[:, 0] - 1
  numbers = jnp.arange(flat.size, dtype=jnp.int32)
  source = jnp.zeros(flat.size, jnp.int32)
  source = source.at[place].set(numbers, unique_indices=True)
  expert = flat[source]

  def product(layer, rows):
    made = _grouped.grouped_dot(rows, layer['kernel'], sizes)
    if 'bias' in layer:
      made = made + layer['bias'].astype(made.dtype)[expert]
    return made

  rows = x[source // top_k]
  h = act(*(product(layers[name], rows) for name in _split.ins_of(layers)))
  y = product(layers['out'], h)
  y = y[place].reshape(num_tokens, top_k, y.shape[-1])
  gates = jnp.where(inside.reshape(gates.shape), gates, 0)
  # A gate may be NaN, and so is its token then, but no other.
  return jnp.sum(y.astype(wide) * gates[..., None].astype(wide), axis=1)
