# SPDX-License-Identifier: Apache-2.0
"""Agents that act one after another, each knowing what those before it did."""

from typing import Any

import chex
import jax
import jax.numpy as jnp

from jaxdl.agents import _actions
from jaxdl.agents.commformer import _attention, _graphs, _model
from jaxdl.networks import functional

DECODINGS = ('cached', 'recomputed')


def _by_agent(x):
  """Puts the axis of agents first."""
  return None if x is None else jnp.moveaxis(x, 1, 0)


def _masked(shape, out, available):
  return _actions.masked(out, available) if shape.discrete else out


def act_together(
  shape: _model.Shape,
  params: dict[str, Any],
  x: chex.Array,
  *,
  available: chex.Array | None,
  noise: chex.Array | None,
) -> tuple[chex.Array, chex.Array]:
  """Draws actions of agents that do not know those of others.

  Args:
    shape: of the model.
    params: of the model.
    x: f[B, N, D] of the encoder.
    available: bool[B, N, A], or None.
    noise: f[B, N, A], see `noise_of`; None for the likeliest.

  Returns:
    Actions, and logits or means f[B, N, A].
  """
  out = _masked(shape, _model.heads(shape, params, x), available)
  return _model.draw(shape, params, out, noise), out


def act_recomputed(
  shape: _model.Shape,
  params: dict[str, Any],
  x: chex.Array,
  links: _graphs.Links,
  *,
  available: chex.Array | None,
  noise: chex.Array | None,
) -> tuple[chex.Array, chex.Array]:
  """Draws actions one after another by a full pass for each agent.

  What `act_cached` is measured against: O(N² D² + N³ D) work.

  Args:
    shape: of the model.
    params: of the model.
    x: f[B, N, D] of the encoder.
    links: `Heard.before`.
    available: bool[B, N, A], or None.
    noise: f[B, N, A], see `noise_of`; None for the likeliest.

  Returns:
    Actions, and logits or means f[B, N, A].
  """
  num_envs, n = x.shape[:2]
  last = () if shape.discrete else (shape.action_size,)
  kind = jnp.int32 if shape.discrete else x.dtype
  actions = jnp.zeros((num_envs, n, *last), kind)

  def body(actions, turn):
    i, allowed, own_noise = turn
    out = _model.decode(shape, params, x, actions, links)
    row = jax.lax.dynamic_index_in_dim(out, i, 1, keepdims=False)
    row = _masked(shape, row, allowed)
    own = _model.draw(shape, params, row, own_noise)
    actions = jax.lax.dynamic_update_index_in_dim(actions, own, i, 1)
    return actions, row

  turns = (jnp.arange(n), _by_agent(available), _by_agent(noise))
  actions, rows = jax.lax.scan(body, actions, turns)
  return actions, jnp.moveaxis(rows, 0, 1)


def act_cached(
  shape: _model.Shape,
  params: dict[str, Any],
  x: chex.Array,
  links: _graphs.Links,
  *,
  available: chex.Array | None,
  noise: chex.Array | None,
  unroll: int | bool = 1,
) -> tuple[chex.Array, chex.Array]:
  """Draws actions one after another; keys and values of attention are kept.

  Each agent adds one row to what is kept and reads the rows before it:
  O(N D² + N² D) work.

  Args:
    shape: of the model.
    params: of the model.
    x: f[B, N, D] of the encoder.
    links: `Heard.before`.
    available: bool[B, N, A], or None.
    noise: f[B, N, A], see `noise_of`; None for the likeliest.
    unroll: agents in a piece of the loop (static).

  Returns:
    Actions, and logits or means f[B, N, A].
  """
  num_envs, n, size = x.shape
  decoder, table = params['decoder'], params.get('table')
  heads, width = shape.num_heads, size // shape.num_heads
  blocks = [decoder[f'block_{i}'] for i in range(shape.num_blocks)]
  parts = [
    [
      _attention.relation_parts(block[f'attention_{j}'], table, heads)
      for j in (0, 1)
    ]
    for block in blocks
  ]
  # Queries of the second attention know no actions.
  asked = [
    _attention.queries_of(block['attention_1'], x, heads) for block in blocks
  ]

  def listen(layers, parts, query, kept, row):
    out = _attention.attend(
      query,
      kept[0],
      kept[1],
      parts,
      row,
      scale=shape.scale,
      product=shape.product,
    )
    return functional.dense(layers['out'], out.reshape(num_envs, size))

  def keep(kept, new, i):
    return tuple(
      jax.lax.dynamic_update_slice_in_dim(old, y, i, 2)
      for old, y in zip(kept, new, strict=True)
    )

  def body(carry, turn):
    word, memory = carry
    i, seen, row, queries, actor, allowed, own_noise = turn
    a = functional.dense(decoder['dense'], word)
    a = _attention.layer_norm(decoder['norm'], gelu(a))
    after = []
    for block, own, query, (first, second) in zip(
      blocks, parts, queries, memory, strict=True
    ):
      layers = block['attention_0']
      alone = a[:, None]
      asks = _attention.queries_of(layers, alone, heads)
      new = _attention.keys_and_values(layers, alone, heads)
      first = keep(first, new, i)
      y = a + listen(layers, own[0], asks, first, row)
      y = _attention.layer_norm(block['norm_0'], y)
      layers = block['attention_1']
      new = _attention.keys_and_values(layers, y[:, None], heads)
      second = keep(second, new, i)
      z = seen + listen(layers, own[1], query, second, row)
      z = _attention.layer_norm(block['norm_1'], z)
      a = _attention.layer_norm(block['norm_2'], z + _model.feed(block, z))
      after.append((first, second))
    if shape.share_actor:
      out = _model.heads(shape, params, a)
    else:
      out = _model.own_head(actor, a)
    out = _masked(shape, out, allowed)
    own = _model.draw(shape, params, out, own_noise)
    word = _model.written(shape, own).astype(x.dtype)
    return (word, after), (own, out)

  gelu = _model.gelu
  empty = jnp.zeros((num_envs, heads, n, width), x.dtype)
  memory = [((empty, empty), (empty, empty)) for _ in blocks]
  start = jax.nn.one_hot(0, shape.action_size + 1, dtype=x.dtype)
  start = jnp.broadcast_to(start, (num_envs, shape.action_size + 1))
  # Turns come first: row i of every graph, [N, ..., 1, N].
  rows = jax.tree.map(lambda y: jnp.moveaxis(y, -2, 0)[..., None, :], links)
  turns = (
    jnp.arange(n),
    _by_agent(x),
    rows,
    [jnp.moveaxis(q, 2, 0)[..., None, :] for q in asked],
    None if shape.share_actor else params['actor'],
    _by_agent(available),
    _by_agent(noise),
  )
  _, (actions, out) = jax.lax.scan(body, (start, memory), turns, unroll=unroll)
  return jnp.moveaxis(actions, 0, 1), jnp.moveaxis(out, 0, 1)
