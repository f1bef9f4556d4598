# SPDX-License-Identifier: Apache-2.0
"""Attention on a graph, with embeddings of linked and of other pairs."""

import math
from collections.abc import Mapping
from typing import Any

import chex
import jax
import jax.numpy as jnp

from jaxdl.agents.commformer import _graphs
from jaxdl.core import checks
from jaxdl.networks import functional

SCALES = ('sqrt', 'double')
SELF_LOOPS = ('set', 'add')
# A score of a pair that may not be heard; finite, so that gradients are.
BLOCKED = -1e9
# As torch has it.
_NORM_EPS = 1e-5


def attention_leaves(size: int, *, relation: bool) -> dict[str, Any]:
  """Describes the parameters of an attention, see `functional.draw`.

  Args:
    size: D.
    relation: whether there are projections of embeddings of pairs.

  Returns:
    'query' and 'out' [D, D], 'key_value' and 'relation' [D, 2 D], all normal
    with deviation .02 and with biases, which start at zero.
  """
  layer = lambda columns: functional.layer_leaves(
    (size, columns), kernel_init='normal(scale=0.02)'
  )
  out = {'query': layer(size), 'key_value': layer(2 * size), 'out': layer(size)}
  if relation:
    out['relation'] = layer(2 * size)
  return out


def layer_norm(params: Mapping[str, chex.Array], x: chex.Array) -> chex.Array:
  """Shifts and scales rows to mean 0 and deviation 1, then as learned.

  Args:
    params: 'scale' and 'bias', f[D].
    x: f[..., D].

  Returns:
    f[..., D].
  """
  mean = jnp.mean(x, axis=-1, keepdims=True)
  centered = x - mean
  variance = jnp.mean(centered * centered, axis=-1, keepdims=True)
  y = centered * jax.lax.rsqrt(variance + _NORM_EPS)
  shape = (1,) * (x.ndim - 1) + (-1,)
  return y * params['scale'].reshape(shape) + params['bias'].reshape(shape)


def split_heads(x: chex.Array, num_heads: int) -> chex.Array:
  """Cuts the last axis, [..., N, D] -> [..., H, N, D / H]."""
  parts = x.reshape((*x.shape[:-1], num_heads, x.shape[-1] // num_heads))
  return jnp.moveaxis(parts, -2, -3)


def join_heads(x: chex.Array) -> chex.Array:
  """Undoes `split_heads`."""
  x = jnp.moveaxis(x, -3, -2)
  return x.reshape((*x.shape[:-2], -1))


def queries_of(
  params: Mapping[str, Any], x: chex.Array, num_heads: int
) -> chex.Array:
  """Projects who listens, f[..., N, D] -> f[..., H, N, D / H]."""
  return split_heads(functional.dense(params['query'], x), num_heads)


def keys_and_values(
  params: Mapping[str, Any], x: chex.Array, num_heads: int
) -> tuple[chex.Array, chex.Array]:
  """Projects who is heard, f[..., N, D] -> two f[..., H, N, D / H]."""
  both = split_heads(functional.dense(params['key_value'], x), 2 * num_heads)
  key, value = jnp.split(both, 2, axis=-3)
  return key, value


def relation_parts(
  params: Mapping[str, Any], table: chex.Array | None, num_heads: int
) -> chex.Array | None:
  """Projects the embeddings of strangers and of linked pairs.

  Args:
    params: of an attention.
    table: f[2, D], or None.
    num_heads: H.

  Returns:
    What queries and what keys get, f[2, 2, H, D / H] by embedding and by which
    of the two, or None.
  """
  if table is None:
    return None
  both = functional.dense(params['relation'], table)
  return both.reshape((2, 2, num_heads, -1))


def _at(x, ndim):
  """Puts leading axes of length 1 and one for heads before the last two."""
  ahead = (1,) * (ndim - x.ndim - 1)
  return x.reshape((*ahead, *x.shape[:-2], 1, *x.shape[-2:]))


def attend(
  query: chex.Array,
  key: chex.Array,
  value: chex.Array,
  parts: chex.Array | None,
  links: _graphs.Links,
  *,
  scale: float,
  product: bool = True,
) -> chex.Array:
  """Averages values over who is heard.

  A pair has one of two embeddings, so that scores
  (q_i + ra_ij) . (k_j + rb_ij) are chosen from two products; embeddings
  [N, N, D] never exist.

  Args:
    query: f[..., H, Q, d].
    key: f[..., H, K, d].
    value: f[..., H, K, d].
    parts: see `relation_parts`.
    links: leaves [Q, K] or [..., Q, K], self loops and order of time included;
      each row hears somebody.
    scale: factor of scores.
    product: whether attention is multiplied by `links.weights`, the only way by
      which gradients reach edges.

  Returns:
    f[..., H, Q, d]. Rows of attention need not sum to 1.
  """
  if parts is None:
    scores = jnp.einsum('...qd,...kd->...qk', query, key)
  else:
    lead = (1,) * (query.ndim - 3)
    own = parts.reshape((2, 2, *lead, *parts.shape[2:3], 1, parts.shape[3]))
    both = jnp.einsum(
      't...qd,t...kd->t...qk', query[None] + own[:, 0], key[None] + own[:, 1]
    )
    scores = jnp.where(_at(links.hard, query.ndim), both[1], both[0])
  linked = _at(links.linked, scores.ndim)
  scores = jnp.where(linked, scores * scale, BLOCKED)
  weights = jax.nn.softmax(scores, axis=-1)
  if product:
    weights = weights * _at(links.weights, scores.ndim)
  return jnp.einsum('...qk,...kd->...qd', weights, value)


def with_self(links: _graphs.Links, how: str) -> _graphs.Links:
  """Lets agents hear themselves.

  Args:
    links: leaves [..., N, N].
    how: 'set' gives the diagonal weight 1; 'add' adds 1 to it, which makes 2 of
      an edge to oneself.

  Returns:
    The links.
  """
  n = links.weights.shape[-1]
  shape = (1,) * (links.weights.ndim - 2) + (n, n)
  eye = jnp.eye(n, dtype=bool).reshape(shape)
  weights = links.weights
  if how == 'add':
    weights = weights + eye.astype(weights.dtype)
  else:
    weights = jnp.where(eye, jnp.ones((), weights.dtype), weights)
  return links._replace(weights=weights, linked=links.linked | eye)


def in_order(links: _graphs.Links) -> _graphs.Links:
  """Lets agents hear only themselves and those before them."""
  n = links.weights.shape[-1]
  shape = (1,) * (links.weights.ndim - 2) + (n, n)
  before = jnp.tril(jnp.ones((n, n), bool)).reshape(shape)
  return links._replace(linked=links.linked & before)


def scale_of(size: int, num_heads: int, how: str) -> float:
  """Factor of scores: 1 / sqrt(d) of heads of d, or 1 / d ('double')."""
  width = size // num_heads
  return 1.0 / (width if how == 'double' else math.sqrt(width))


def relation_attention(
  params: Mapping[str, Any],
  query: chex.Array,
  keys: chex.Array,
  links: _graphs.Links,
  *,
  table: chex.Array | None = None,
  num_heads: int = 1,
  causal: bool = False,
  self_loop: str = 'set',
  relation_scale: str = 'sqrt',
  transposed: bool = False,
  product: bool = True,
) -> chex.Array:
  """Lets agents hear each other along a graph.

  Agent i gives j the score c (q_i + ra_ij) . (k_j + rb_ij), where ra and rb are
  projections of one of two embeddings: that of pairs that are linked, or of
  those that are not. The softmax runs over who may be heard; its entries are
  multiplied by the weights of edges, so that edges have gradients.

  Args:
    params: see `attention_leaves`.
    query: f[..., N, D], who listens.
    keys: f[..., N, D], who is heard.
    links: the graph without self loops, leaves [N, N] or [..., N, N].
    table: f[2, D], embeddings of strangers and of linked pairs; None for plain
      attention.
    num_heads: H, divides D.
    causal: whether one hears only those before, and oneself.
    self_loop: 'set' or 'add': the weight of oneself is 1, or 1 more.
    relation_scale: c = 1 / sqrt(D / H), or H / D with 'double', as released.
    transposed: whether i has for j the embeddings of j for i, as released.
    product: whether weights of edges multiply attention.

  Returns:
    f[..., N, D].

  Raises:
    ValueError: if D is not divisible by H or a name is unknown.

  Cost: O(N D² + N² D) work, O(N D + N² H) memory.

  Example:
    >>> params = functional.draw(
    ...   jax.random.key(0), attention_leaves(4, relation=True), jnp.float32
    ... )
    >>> links = _graphs.fixed_links(jnp.eye(3), jnp.float32)
    >>> x = jnp.ones((2, 3, 4))
    >>> relation_attention(params, x, x, links, table=jnp.ones((2, 4))).shape
    (2, 3, 4)

  Source: Hu et al. 2024 (https://arxiv.org/abs/2405.08550), equations 5 to 8.
  """
  size = query.shape[-1]
  check_heads(size, num_heads)
  checks.choice(self_loop, SELF_LOOPS, name='self_loop')
  checks.choice(relation_scale, SCALES, name='relation_scale')
  links = with_self(links, self_loop)
  if causal:
    links = in_order(links)
  if transposed:
    links = links._replace(hard=jnp.swapaxes(links.hard, -1, -2))
  out = attend(
    queries_of(params, query, num_heads),
    *keys_and_values(params, keys, num_heads),
    relation_parts(params, table, num_heads),
    links,
    scale=scale_of(size, num_heads, relation_scale),
    product=product,
  )
  return functional.dense(params['out'], join_heads(out))


def check_heads(size: int, num_heads: int) -> None:
  """Raises ValueError if heads do not divide an embedding."""
  checks.integer(size, name='dim', low=1)
  checks.integer(num_heads, name='num_heads', low=1)
  if size % num_heads:
    raise ValueError(f'dim={size} must be divisible by num_heads={num_heads}.')
