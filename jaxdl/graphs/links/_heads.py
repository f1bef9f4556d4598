# SPDX-License-Identifier: Apache-2.0
"""What predictors have in common: branches, how they meet, and options."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import chex
import jax
import jax.numpy as jnp

from jaxdl.core import checks
from jaxdl.core.types import Network
from jaxdl.graphs.links import _adjacency, _blocks, _overlap
from jaxdl.graphs.links._adjacency import Adjacency
from jaxdl.networks import functional

COMBINATIONS = ('add', 'concat')
# Of pairs (i, u) with u f[B, R]: what a branch reads.
Pool = Callable[..., list[chex.Array]]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Head:
  """Branches of a predictor and how they meet.

  Attributes:
    num_pooled: branches beside that of the product of the two vectors.
    pooled_width: what these read; the width of vectors if None.
    hidden: of all layers; the width of vectors if None.
    dropout: in all branches.
    edge_dropout: of edges in the overlap.
    layer_norm: whether there are normalizations.
    transform: whether pooled vectors go through two layers before, beside
      themselves.
    tail_activation: whether branches end in an activation.
    two_layers: whether there is a further layer where branches meet.
    combine: in `COMBINATIONS`.
  """

  num_pooled: int = 1
  pooled_width: int | None = None
  hidden: int | None = None
  dropout: float = 0.0
  edge_dropout: float = 0.0
  layer_norm: bool = True
  transform: bool = False
  tail_activation: bool = True
  two_layers: bool = False
  combine: str = 'add'

  def __post_init__(self) -> None:
    """Checks options."""
    if self.hidden is not None:
      checks.integer(self.hidden, name='hidden', low=1)
    _blocks.check_rates(dropout=self.dropout, edge_dropout=self.edge_dropout)
    _blocks.check_switches(
      layer_norm=self.layer_norm,
      transform=self.transform,
      tail_activation=self.tail_activation,
      two_layers=self.two_layers,
    )
    checks.choice(self.combine, COMBINATIONS, name='combine')

  def _with_norm(self, steps: Sequence[str]) -> tuple[str, ...]:
    return tuple(s for s in steps if s != 'norm' or self.layer_norm)

  @property
  def _pooled(self) -> tuple[str, ...]:
    tail = () if self.tail_activation else ('dense',)
    steps = ('dense', 'drop', 'relu', 'dense', 'norm', 'drop', 'relu', *tail)
    return self._with_norm(steps)

  @property
  def _product(self) -> tuple[str, ...]:
    tail = () if self.tail_activation else ('dense',)
    return self._with_norm(('dense', 'norm', 'drop', 'relu', *tail))

  @property
  def _last(self) -> tuple[str, ...]:
    layer = ('dense', 'norm', 'drop', 'relu')
    return self._with_norm(layer * (1 + self.two_layers) + ('dense',))

  @property
  def _transform(self) -> tuple[str, ...]:
    steps = ('dense', 'drop', 'relu', 'dense', 'norm', 'drop', 'relu')
    return self._with_norm(steps)

  def leaves(self, width: int) -> dict[str, Any]:
    """Describes the parameters for vectors of a width."""
    hidden = self.hidden or width
    pooled = self.pooled_width or width
    met, leaves = hidden, {}
    if self.combine == 'add':
      leaves['product'] = _blocks.block_leaves(self._product, width, hidden)
      if self.num_pooled:
        leaves['scales'] = functional.Leaf((self.num_pooled,), 'constant', 1.0)
        leaves['pooled'] = [
          _blocks.block_leaves(self._pooled, pooled, hidden)
          for _ in range(self.num_pooled)
        ]
    else:
      met = width + self.num_pooled * pooled
    if self.transform:
      leaves['transform'] = _blocks.block_leaves(self._transform, width, width)
    leaves['last'] = _blocks.block_leaves(self._last, met, hidden, outputs=1)
    return leaves

  def transformed(
    self, params: Any, h: chex.Array, draw: _blocks.Draws
  ) -> chex.Array:
    """What is pooled of every node."""
    if not self.transform:
      return h
    own = params['transform']
    return h + _blocks.apply_block(self._transform, own, h, draw, self.dropout)

  def logits(
    self,
    params: Any,
    product: chex.Array,
    pooled: Sequence[chex.Array],
    draw: _blocks.Draws,
  ) -> chex.Array:
    """Scores of products f[..., F] and pooled vectors, f[...]."""
    run = lambda steps, own, x: _blocks.apply_block(
      steps, own, x, draw, self.dropout
    )
    if self.combine == 'concat':
      met = jnp.concatenate([product, *pooled], axis=-1)
    else:
      met = run(self._product, params['product'], product)
      for i, x in enumerate(pooled):
        scale = params['scales'][i].astype(x.dtype)
        met = met + scale * run(self._pooled, params['pooled'][i], x)
    return run(self._last, params['last'], met)[..., 0]


def thinned(
  adjacency: Adjacency, head: Head, draw: _blocks.Draws
) -> tuple[Adjacency, float]:
  """Leaves edges of the overlap out; a kept one counts so many times."""
  if not draw.live or not head.edge_dropout:
    return adjacency, 1.0
  shape = (adjacency.graph.num_edges,)
  kept = jax.random.uniform(draw.key(), shape) >= head.edge_dropout
  return _adjacency.keep_edges(adjacency, kept), 1 / (1 - head.edge_dropout)


def make_predictor(head: Head, pool: Callable[..., Any]) -> Network:
  """Makes a predictor that pools once and scores.

  Args:
    head: its branches.
    pool: `pool(adjacency, pairs, h, share) -> [f[B, ...], ...]` for every
      pooled branch; `share` is what a kept edge counts.

  Returns:
    The network.
  """

  def init(key, adjacency, h, pairs):
    del pairs
    _overlap.check_vectors(adjacency, h)
    width, dtype = jnp.shape(h)[1], functional.parameter_dtype(h)
    return functional.draw(key, head.leaves(width), dtype)

  def apply(params, adjacency, h, pairs, *, train=False, key=None, epoch=None):
    del epoch
    pairs, draw = start(head, adjacency, h, pairs, train, key)
    adjacency, share = thinned(adjacency, head, draw)
    moved = head.transformed(params, h, draw)
    product = h[pairs[:, 0]] * h[pairs[:, 1]]
    return head.logits(
      params, product, pool(adjacency, pairs, moved, share), draw
    )

  return Network(init, apply)


def start(
  head: Head, adjacency: Any, h: Any, pairs: Any, train: bool, key: Any
) -> tuple[chex.Array, _blocks.Draws]:
  """Checks what a predictor is given."""
  pairs = _adjacency.checked(adjacency, pairs)
  _overlap.check_vectors(adjacency, h)
  _blocks.check_train_key(
    key, train, dropout=head.dropout, edge_dropout=head.edge_dropout
  )
  return pairs, _blocks.Draws(key, train)
