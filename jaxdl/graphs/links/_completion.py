# SPDX-License-Identifier: Apache-2.0
"""Common neighbors that are missing, completed by the predictor itself."""

import functools
from typing import Any

import chex
import jax
import jax.numpy as jnp

from jaxdl.core import checks, keys
from jaxdl.core.types import Network
from jaxdl.graphs.links import _adjacency, _blocks, _heads, _overlap
from jaxdl.networks import functional

# Folded into keys, beyond those that dropout takes.
_OWN, _SIDES = 2000, 1000


def clamp_probability(
  logit: chex.Array,
  alpha: chex.Numeric = 1.0,
  prior: chex.Numeric = 0.5,
  scale: chex.Numeric = 1.0,
  offset: chex.Numeric = 0.0,
) -> chex.Array:
  """Turns the logit of a link into the weight of a completed neighbor.

  With p = sigmoid(scale (logit - offset)) it is `alpha prior p / (prior p + 1 -
  p)`, computed as `alpha sigmoid(scale (logit - offset) + ln(prior))`.

  Args:
    logit: f[...].
    alpha: factor of all, >= 0.
    prior: in (0, 1], deflates; one for `alpha p`.
    scale: > 0, of logits.
    offset: subtracted from them.

  Returns:
    f[...], in [0, alpha].

  Raises:
    ValueError: if a number that is known is out of range.

  Example:
    >>> round(clamp_probability(jnp.array(2.8), 1.0, 0.75, 4.3, 2.8).item(), 6)
    0.428571

  Source: Wang, Yang & Zhang 2024, official code.
  """
  if not jnp.ndim(prior):
    checks.number(prior, name='prior', low=0, high=1, open_low=True)
  if not jnp.ndim(alpha):
    checks.number(alpha, name='alpha', low=0)
  if not jnp.ndim(offset):
    checks.number(offset, name='offset')
  if not jnp.ndim(scale):
    checks.number(scale, name='scale', low=0, open_low=True)
  logit = jnp.asarray(logit)
  if not jnp.issubdtype(logit.dtype, jnp.floating):
    logit = logit.astype(jnp.result_type(float))
  known = jnp.log(jnp.asarray(prior, logit.dtype))
  return alpha * jax.nn.sigmoid(scale * (logit - offset) + known)


def ramp(epoch: chex.Numeric) -> chex.Array:
  """How much completion counts in an epoch: rises from the 5th to the 15th.

  Args:
    epoch: from 0 (traced).

  Returns:
    f32[], (epoch - 5) / 10 within [0, 1].

  Example:
    >>> [round(ramp(t).item(), 1) for t in (0, 5, 8, 30)]
    [0.0, 0.0, 0.3, 1.0]

  Source: Wang, Yang & Zhang 2024, official code (increasealpha).
  """
  return jnp.clip(0.1 * (jnp.asarray(epoch, jnp.float32) - 5), 0, 1)


def ncnc(
  depth: int = 1,
  *,
  alpha: float = 1.0,
  prior: float = 0.5,
  scale: float = 1.0,
  offset: float = 0.0,
  learn_prior: bool = False,
  rising: bool = False,
  transform_again: bool = False,
  sample_train: int = 0,
  sample_test: int = 0,
  split_size: int = 0,
  hidden: int | None = None,
  dropout: float = 0.0,
  edge_dropout: float = 0.0,
  layer_norm: bool = True,
  transform: bool = False,
  tail_activation: bool = True,
  two_layers: bool = False,
  combine: str = 'add',
) -> Network:
  """Builds NCN that completes common neighbors before it pools.

  A neighbor u of j alone counts P_iu, and one of i alone P_ju, where P is what
  `clamp_probability` makes of the logit of the same predictor, one depth less;
  at depth zero that is `ncn`. No gradient goes through logits. The two nodes
  themselves are never completed.

  Args:
    depth: K >= 0, how often probabilities are completed themselves.
    alpha: see `clamp_probability`.
    prior: likewise.
    scale: likewise. It matters much that the four fit the graph: completion
      that is sure of too much is worse than none.
    offset: likewise.
    learn_prior: whether the prior is sigmoid of two layers of the product of
      the vectors of i and j, learned, instead.
    rising: whether alpha is `ramp(epoch)` in training.
    transform_again: whether a predictor inside gets the pooled vectors in place
      of the vectors, as in the official code; matters if they are transformed.
    sample_train: at most so many neighbors of one node alone are completed in
      training, drawn anew, see `sample_neighbors`; 0 for all.
    sample_test: likewise without training; `apply` then needs a key if rows are
      longer.
    split_size: pairs of the batch whose neighbors are completed together, to
      bound memory; 0 for all.
    hidden: see `ncn`.
    dropout: see `ncn`; also inside.
    edge_dropout: see `ncn`.
    layer_norm: see `ncn`.
    transform: see `ncn`.
    tail_activation: see `ncn`.
    two_layers: see `ncn`.
    combine: see `ncn`.

  Returns:
    A `Network`, see `ncn`, with the parameters of `ncn` (and of the prior).

  Raises:
    ValueError: if a number is out of range; from `apply`, if something is to be
      drawn without a key.

  Cost: O(B R D (D + d)) for R completed neighbors of at most D, times R for
    each further depth.

  Example:
    >>> from jaxdl import graphs
    >>> found = adjacency(graphs.make_graph([(0, 1), (1, 2), (2, 3)], 4))
    >>> h, pairs, network = jnp.ones((8, 4)), jnp.array([(0, 3)]), ncnc(alpha=0)
    >>> params = network.init(jax.random.key(0), found, h, pairs)
    >>> plain = ncn().apply(params, found, h, pairs)
    >>> bool(jnp.allclose(network.apply(params, found, h, pairs), plain))
    True

  Source: Wang, Yang & Zhang 2024 (https://arxiv.org/abs/2302.00890), section 5.
  """
  depth = checks.integer(depth, name='depth', low=0, high=8)
  checks.number(alpha, name='alpha', low=0)
  checks.number(prior, name='prior', low=0, high=1, open_low=True)
  checks.number(scale, name='scale', low=0, open_low=True)
  checks.number(offset, name='offset')
  _blocks.check_switches(
    learn_prior=learn_prior, rising=rising, transform_again=transform_again
  )
  for name, count in (
    ('sample_train', sample_train),
    ('sample_test', sample_test),
    ('split_size', split_size),
  ):
    checks.integer(count, name=name, low=0)
  head = _heads.Head(
    hidden=hidden,
    dropout=dropout,
    edge_dropout=edge_dropout,
    layer_norm=layer_norm,
    transform=transform,
    tail_activation=tail_activation,
    two_layers=two_layers,
    combine=combine,
  )
  prior_steps = ('dense', 'relu', 'dense')

  def init(key, adjacency, h, pairs):
    del pairs
    _overlap.check_vectors(adjacency, h)
    width, dtype = jnp.shape(h)[1], functional.parameter_dtype(h)
    first, second = jax.random.split(key)
    params = functional.draw(first, head.leaves(width), dtype)
    if learn_prior:
      leaves = _blocks.block_leaves(prior_steps, width, width, outputs=1)
      params['prior'] = functional.draw(second, leaves, dtype)
    return params

  def apply(params, adjacency, h, pairs, *, train=False, key=None, epoch=None):
    pairs, draw = _heads.start(head, adjacency, h, pairs, train, key)
    drawn = sample_train if train else sample_test
    drawn = drawn if drawn < adjacency.max_degree else 0
    if drawn and depth and key is None:
      raise ValueError(
        f'apply needs a key: {"sample_train" if train else "sample_test"}='
        f'{drawn} draws neighbors, of which nodes have up to '
        f'{adjacency.max_degree}.'
      )
    if drawn and depth:
      keys.check_key(key)
    share = alpha
    if rising and train:
      if epoch is None:
        raise ValueError('apply(train=True) needs epoch: rising=True.')
      share = ramp(epoch)
    adjacency, counted = _heads.thinned(adjacency, head, draw)
    run = functools.partial(
      _completed,
      head=head,
      clamp=functools.partial(clamp_probability, scale=scale, offset=offset),
      share=share,
      learned=prior_steps if learn_prior else None,
      prior=prior,
      counted=counted,
      again=transform_again,
      drawn=drawn,
      split_size=split_size,
    )
    own = None if key is None else jax.random.fold_in(key, _OWN)
    return run(params, adjacency, h, pairs, depth, own, train)

  return Network(init, apply)


def _completed(
  params: Any,
  adjacency: _adjacency.Adjacency,
  h: chex.Array,
  pairs: chex.Array,
  depth: int,
  key: chex.PRNGKey | None,
  train: bool,
  **options: Any,
) -> chex.Array:
  """Logits of pairs, f[B], at a depth."""
  head, counted = options['head'], options['counted']
  draw = _blocks.Draws(key, train)
  moved = head.transformed(params, h, draw)
  product = h[pairs[:, 0]] * h[pairs[:, 1]]
  common = counted**2 * _overlap.pool(adjacency, pairs, moved)
  if depth:
    if options['learned'] is not None:
      prior = jax.nn.sigmoid(
        _blocks.apply_block(
          options['learned'], params['prior'], product, draw, 0.0
        )
      )
    else:
      prior = options['prior']
    inner_h = moved if options['again'] else h
    added = counted * _residual(
      params,
      adjacency,
      inner_h,
      moved,
      pairs,
      depth,
      key,
      train,
      prior,
      options,
    )
    common = common + added
  return head.logits(params, product, [common], draw)


def _residual(
  params, adjacency, inner_h, moved, pairs, depth, key, train, prior, options
):
  """What neighbors of one node alone add."""
  both = _overlap.between(adjacency, pairs)
  out = jnp.zeros((len(pairs), moved.shape[1]), moved.dtype)
  for side, (ids, there, from_) in enumerate(
    (
      (both.right, both.right_only, pairs[:, 0]),
      (both.left, both.left_only, pairs[:, 1]),
    )
  ):
    weights = there.astype(moved.dtype)
    own = None if key is None else jax.random.fold_in(key, _SIDES + side)
    if options['drawn']:
      own, pick = jax.random.split(own)
      ids, weights = _overlap.sample_neighbors(
        pick, ids, there, options['drawn']
      )
    # A pair of a node with itself stands where nobody is.
    others = jnp.where(weights > 0, ids, from_[:, None])
    logits = jax.lax.stop_gradient(
      _inner(
        params,
        adjacency,
        inner_h,
        from_,
        others,
        depth - 1,
        own,
        train,
        options,
      )
    )
    chance = options['clamp'](logits, options['share'], prior)
    chance = weights.astype(moved.dtype) * chance.astype(moved.dtype)
    weights = jnp.where(weights > 0, chance, 0)
    out = out + _overlap.gathered_sum(moved, ids, weights)
  return out


def _inner(params, adjacency, h, nodes, others, depth, key, train, options):
  """Logits f[B, R] of a node and each of several others."""
  split = options['split_size']
  if not split or split >= len(nodes):
    return _together(
      params, adjacency, h, nodes, others, depth, key, train, options
    )
  count = -(-len(nodes) // split)
  fill = count * split - len(nodes)
  pad = lambda x: jnp.concatenate([x, jnp.repeat(x[:1], fill, axis=0)])
  parts = jax.tree.map(
    lambda x: pad(x).reshape(count, split, *x.shape[1:]), (nodes, others)
  )

  def part(step):
    place, (nodes, others) = step
    own = None if key is None else jax.random.fold_in(key, place)
    return _together(
      params, adjacency, h, nodes, others, depth, own, train, options
    )

  found = jax.lax.map(part, (jnp.arange(count), parts))
  return found.reshape(count * split, -1)[: len(nodes)]


def _together(params, adjacency, h, nodes, others, depth, key, train, options):
  """As `_inner`, all at once."""
  if depth:
    flat = jnp.stack(
      [jnp.repeat(nodes, others.shape[1]), others.reshape(-1)], axis=1
    )
    found = _completed(params, adjacency, h, flat, depth, key, train, **options)
    return found.reshape(others.shape)
  head = options['head']
  draw = _blocks.Draws(key, train)
  moved = head.transformed(params, h, draw)
  # The row of a node is gathered once for all others.
  ids, shared = _overlap.shared_with_each(adjacency, nodes, others)
  _, there = _adjacency.rows(adjacency, nodes)
  vectors = jnp.where(there[..., None], moved[ids], 0)
  shared = shared.astype(h.dtype)
  common = jnp.einsum('brd,bdf->brf', shared, vectors, precision='highest')
  product = h[nodes][:, None] * h[others]
  common = options['counted'] ** 2 * common
  return head.logits(params, product, [common], draw)
