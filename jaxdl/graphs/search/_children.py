# SPDX-License-Identifier: Apache-2.0
"""Networks of all tables of a space, in parameters of one shape."""

import dataclasses
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np

from jaxdl.core import checks, keys
from jaxdl.core.types import Network
from jaxdl.graphs import _attending, _attention, _inside
from jaxdl.graphs._graph import Graph
from jaxdl.graphs.search import _space
from jaxdl.graphs.search._space import Choices, SearchSpace
from jaxdl.networks import functional

SHARINGS = ('none', 'constrained', 'unconstrained')


@dataclasses.dataclass(frozen=True)
class Children:
  """Networks of all tables with L layers; all static.

  Heads and widths are padded to the largest of the space, so that one program
  serves every table: which attention, aggregate, combination and activation a
  layer has is looked up in it. Padding has zero parameters and no effect.

  Attributes:
    space: where tables are from.
    num_layers: L >= 1.
    num_inputs: F, features of a node.
    num_outputs: K.

  Raises:
    ValueError: if a number is out of range.

  Example:
    >>> from jaxdl import graphs
    >>> space = _space.SearchSpace(hidden=(2, 4), heads=(1, 3))
    >>> children = Children(space, 2, 5, 3)
    >>> table = space.encode(
    ...   [_space.Layer(2, 'gcn', 3), _space.Layer(2, 'cos', 1)]
    ... )
    >>> params = children.init(jax.random.key(0), table)
    >>> params[0]['kernel'].shape
    (5, 3, 4)
    >>> graph = graphs.make_graph([(0, 1), (1, 2)], 3, pad_nodes=3)
    >>> children.apply(params, table, graph, jnp.ones((3, 5))).shape
    (3, 3)

  Source: Zhou et al. 2019 (https://arxiv.org/abs/1909.03184), section 3.1.
  """

  space: SearchSpace
  num_layers: int
  num_inputs: int
  num_outputs: int

  def __post_init__(self):
    _space.check_space(self.space)
    checks.num_layers(self.num_layers)
    checks.integer(self.num_inputs, name='num_inputs', low=1)
    checks.integer(self.num_outputs, name='num_outputs', low=1)

  @property
  def _padded(self):
    """The most heads, and width of a head."""
    return max(self.space.heads), max(self.space.hidden)

  def _known(self, table, name='table'):
    """A table of L layers, as far as it is known."""
    return self.space.known_table(table, name=name, num_layers=self.num_layers)

  def _is_last(self, i):
    return i == self.num_layers - 1

  def widths(self, table: chex.Array) -> tuple[chex.Array, chex.Array]:
    """Numbers that go into every layer, and the width of its heads.

    Args:
      table: i32[L, C].

    Returns:
      i32[L] and i32[L], of the network itself, without padding.
    """
    found = self.space.choices(self._known(table))
    width = found.width.at[-1].set(self.num_outputs)
    first = jnp.array([self.num_inputs], jnp.int32)
    inputs = jnp.concatenate([first, (found.heads * width)[:-1]])
    return inputs, width

  def masks(self, table: chex.Array) -> list[chex.Array]:
    """Which entries of heads there are, bool[H, W] of every layer."""
    found = self.space.choices(self._known(table))
    _, width = self.widths(table)
    most, wide = self._padded
    out = []
    for i in range(self.num_layers):
      size = self.num_outputs if self._is_last(i) else wide
      heads = jnp.arange(most) < found.heads[i]
      out.append(heads[:, None] & (jnp.arange(size) < width[i])[None])
    return out

  def init(self, key: chex.PRNGKey, table: chex.Array) -> list[dict[str, Any]]:
    """Draws parameters: Glorot kernels and vectors, biases zero.

    Args:
      key: consumed.
      table: i32[L, C], traced or not.

    Returns:
      A tree of every layer, see `graphs.graph_layer_leaves`, of the padded
      shapes; zeros of padding.

    Raises:
      ValueError: if the table's shape is wrong, or a place is known to be none.
    """
    keys.check_key(key)
    inputs, width = self.widths(table)
    masks = self.masks(table)
    most, wide = self._padded
    unit = lambda shape: functional.Leaf(shape, 'uniform', 1.0)
    leaves = []
    for i in range(self.num_layers):
      last = self._is_last(i)
      size = self.num_outputs if last else wide
      given = most * wide if i else self.num_inputs
      found = _attention.graph_layer_leaves(given, most, size, average=last)
      found = {k: unit(v.shape) for k, v in found.items() if k in _DRAWN}
      out = size if last else most * size
      hidden = _attention.COMBINE_WIDTH
      found['combine'] = [unit((out, hidden)), unit((hidden, out))]
      leaves.append(found)
    dtype = jnp.result_type(float)
    drawn, out = functional.draw(key, leaves, dtype), []
    before = jnp.ones(self.num_inputs, bool)
    for i, layer in enumerate(drawn):
      mask, last = masks[i], self._is_last(i)
      shown = mask.any(0) if last else mask.reshape(-1)
      count = shown.sum()
      heads = mask.any(1).sum()
      rows = before[:, None, None] & mask[None]
      limit = lambda fan: jnp.sqrt(6.0 / fan.astype(dtype))
      into = limit(inputs[i] + heads * width[i])
      vector = jnp.where(mask, limit(width[i] + 1), 0)
      dense = limit(count + _attention.COMBINE_WIDTH)
      first, second = layer['combine']
      out.append(
        {
          'kernel': jnp.where(rows, layer['kernel'] * into, 0),
          'left': layer['left'] * vector,
          'right': layer['right'] * vector,
          'gene': layer['gene'] * vector,
          'bias': jnp.zeros(shown.shape, dtype),
          'combine': [
            {
              'kernel': jnp.where(shown[:, None], first * dense, 0),
              'bias': jnp.zeros(first.shape[1:], dtype),
            },
            {
              'kernel': jnp.where(shown[None], second * dense, 0),
              'bias': jnp.zeros(second.shape[1:], dtype),
            },
          ],
        }
      )
      before = shown
    return out

  def apply(
    self,
    params: list[dict[str, Any]],
    table: chex.Array,
    graph: Graph,
    x: chex.Array,
    *,
    dropout: chex.Numeric = 0.0,
    key: chex.PRNGKey | None = None,
  ) -> chex.Array:
    """Applies the network of a table.

    Under `vmap` over tables every choice is computed and one is taken; with
    `jax.lax.map` over tables, or one table, only what was chosen is.

    Args:
      params: as `init` makes them.
      table: i32[L, C], traced or not.
      graph: one graph; every node reaches itself, once.
      x: f[N, F].
      dropout: probability for what a layer is given and for attention, in
        [0, 1), traced or not; needs a key unless it is zero.
      key: consumed; None for no dropout.

    Returns:
      f[N, K]; zeros of padding.

    Raises:
      ValueError: if shapes do not fit, a place of the table is known to be
        none, or there is a dropout without a key.
    """
    table = self._known(table)
    checks.number(dropout, name='dropout', low=0, high=1, open_high=True)
    if key is not None:
      keys.check_key(key)
    elif isinstance(dropout, jax.core.Tracer) or dropout:
      raise ValueError(
        f'dropout={dropout} needs a key: pass one, or dropout=0 to test.'
      )
    x = _inside.check_features(graph, x)
    if len(params) != self.num_layers or jnp.shape(x)[1:] != (self.num_inputs,):
      raise ValueError(
        f'params and x must be of {self.num_layers} layers and '
        f'{self.num_inputs} features; got {len(params)} layers and x of shape '
        f'{jnp.shape(x)}.'
      )
    found, masks = self.space.choices(table), self.masks(table)

    def pick(name, i):
      # Where there is one value, the program has no others.
      values = getattr(self.space, name)
      alone = len(values) == 1 and values != (_space.MLP,)
      return values[0] if alone else getattr(found, name)[i]

    there = graph.node_mask[:, None]
    x = jnp.where(there, x, 0)
    for i, (layer, mask) in enumerate(zip(params, masks, strict=True)):
      inner = None
      if key is not None:
        outer, inner = jax.random.split(jax.random.fold_in(key, i))
        x = _attention.drop(outer, x, dropout)
      x = _attention.graph_layer(
        layer,
        graph,
        x,
        **{name: pick(name, i) for name in _NAMED},
        average=self._is_last(i),
        mask=mask,
        dropout=dropout,
        key=inner,
      )
    return x

  def network(self, table: Any, *, dropout: float = 0.6) -> Network:
    """The network of a table without padding, on the host.

    Args:
      table: i[L, C].
      dropout: see `graphs.composed`.

    Returns:
      A `Network`, see `graphs.composed`; `unpadded` gives it parameters.
    """
    layers = self._decoded(table)
    made = lambda name: tuple(getattr(layer, name) for layer in layers)
    combine = [
      'mlp' if _space.MLP in (layer.aggregate, layer.combine) else 'identity'
      for layer in layers
    ]
    aggregate = [
      'sum' if layer.aggregate == _space.MLP else layer.aggregate
      for layer in layers
    ]
    return _attending.composed(
      self.num_outputs,
      made('hidden')[:-1],
      num_heads=made('heads'),
      attention=made('attention'),
      aggregate=tuple(aggregate),
      combine=tuple(combine),
      activation=made('activation'),
      dropout=dropout,
    )

  def _decoded(self, table):
    rows = self.space.check_table(table, num_layers=self.num_layers)
    return self.space.decode(rows)

  def unpadded(
    self, params: list[dict[str, Any]], table: Any
  ) -> list[dict[str, Any]]:
    """Takes the padding out of parameters, on the host.

    Args:
      params: as `init` makes them.
      table: i[L, C].

    Returns:
      Parameters of `network(table)`.
    """
    self._decoded(table)
    masks = jax.device_get(self.masks(table))
    found = jax.device_get(self.space.choices(table))
    before, out = np.ones(self.num_inputs, bool), []
    for i, layer in enumerate(params):
      heads, columns = masks[i].any(1), masks[i].any(0)
      shown = columns if self._is_last(i) else masks[i].reshape(-1)
      take = lambda name, a=heads, b=columns, own=layer: own[name][a][:, b]
      new = {
        'kernel': layer['kernel'][before][:, heads][:, :, columns],
        'bias': layer['bias'][shown],
      }
      attention = _attention.ATTENTIONS[found.attention[i]]
      if attention not in ('const', 'gcn'):
        new |= {name: take(name) for name in ('left', 'right')}
      if attention == 'gene_linear':
        new['gene'] = take('gene')
      if found.combine[i]:
        first, second = layer['combine']
        new['combine'] = [
          {'kernel': first['kernel'][shown], 'bias': first['bias']},
          {'kernel': second['kernel'][:, shown], 'bias': second['bias'][shown]},
        ]
      out.append(new)
      before = shown
    return out

  def inherits(
    self,
    table: chex.Array,
    ancestor: chex.Array,
    *,
    share: str = 'constrained',
  ) -> chex.Array:
    """Says which layers may take over the weights of an ancestor.

    'constrained': those whose numbers of inputs and heads, width of a head,
    attention and activation are those of the same layer of the ancestor;
    'unconstrained': numbers and widths suffice, which is how weights are shared
    blindly; 'none': none.

    Args:
      table: i32[L, C], of the offspring.
      ancestor: i32[L, C].
      share: in `SHARINGS` (static).

    Returns:
      bool[L].

    Raises:
      ValueError: if the sharing is unknown, or a table wrong.

    Source: Zhou et al. 2019 (https://arxiv.org/abs/1909.03184), constrained
      parameter sharing.
    """
    checks.choice(share, SHARINGS, name='share')
    table, ancestor = self._known(table), self._known(ancestor, 'ancestor')
    if share == 'none':
      return jnp.zeros(self.num_layers, bool)
    mine, theirs = (self.space.choices(t) for t in (table, ancestor))
    sizes = zip(self.widths(table), self.widths(ancestor), strict=True)
    same = mine.heads == theirs.heads
    for a, b in sizes:
      same &= a == b
    if share == 'constrained':
      same &= mine.attention == theirs.attention
      same &= mine.activation == theirs.activation
    return same

  def inherit(
    self,
    params: list[dict[str, Any]],
    table: chex.Array,
    ancestor_params: list[dict[str, Any]],
    ancestor: chex.Array,
    *,
    layers: chex.Array | None = None,
  ) -> list[dict[str, Any]]:
    """Hands weights on, layer by layer; the ancestor's stay as they are.

    Dense layers of a combination are handed on where both have them.

    Args:
      params: of the offspring, fresh.
      table: i32[L, C], of the offspring.
      ancestor_params: of the same shapes.
      ancestor: i32[L, C].
      layers: bool[L], which layers take over weights; what `inherits` says if
        None.

    Returns:
      Parameters of the offspring.

    Raises:
      ValueError: if the parameters are of other shapes, as where numbers of
        features differ, or a table is wrong.
    """
    checks.same_shapes(
      ancestor_params,
      params,
      name='ancestor_params',
      what='parameters of the same space, layers, features and outputs',
    )
    table, ancestor = self._known(table), self._known(ancestor, 'ancestor')
    same = self.inherits(table, ancestor) if layers is None else layers
    mine, theirs = (self.space.choices(t) for t in (table, ancestor))
    out = []
    for i, (new, old) in enumerate(zip(params, ancestor_params, strict=True)):
      old = dict(old)
      if i:
        old['kernel'] = self._rows(old['kernel'], i, mine, theirs)
      pick = lambda a, b, yes=same[i]: jax.tree.map(
        lambda x, y: jnp.where(yes, x, y), a, b
      )
      own = {k: v for k, v in new.items() if k != 'combine'}
      own = pick({k: old[k] for k in own}, own)
      both = (mine.combine[i] == 1) & (theirs.combine[i] == 1)
      own['combine'] = jax.tree.map(
        lambda x, y, yes=same[i] & both: jnp.where(yes, x, y),
        old['combine'],
        new['combine'],
      )
      out.append(own)
    return out

  def _rows(self, kernel, i, mine: Choices, theirs: Choices):
    """The ancestor's rows where the offspring's heads before have them.

    Side by side, 4 heads of 16 are as many numbers as 8 of 8, but padding lies
    between others.
    """
    most, wide = self._padded
    place = jnp.arange(most * wide)
    head, column = place // wide, place % wide
    width, other = mine.width[i - 1], theirs.width[i - 1]
    flat = head * width + column
    there = (head < mine.heads[i - 1]) & (column < width)
    source = flat // other * wide + flat % other
    source = jnp.where(there, source, 0)
    return jnp.where(there[:, None, None], kernel[source], 0)


_DRAWN = ('kernel', 'left', 'right', 'gene')
_NAMED = ('attention', 'aggregate', 'combine', 'activation')


def homogeneous(
  space: SearchSpace, table: Any, ancestor: Any, num_outputs: int = 1
) -> np.ndarray:
  """Which layers of two architectures may share weights, on the host.

  Args:
    space: where they are from.
    table: i[L, C].
    ancestor: i[L, C].
    num_outputs: of both networks.

  Returns:
    bool[L], see `Children.inherits`.

  Raises:
    ValueError: if a table is wrong, or numbers of layers differ.

  Example:
    >>> from jaxdl.graphs.search import Layer, SearchSpace
    >>> space = SearchSpace()
    >>> a = space.encode([Layer(16, 'gat', 4, 'sum')])
    >>> b = space.encode([Layer(16, 'gat', 4, 'max')])
    >>> c = space.encode([Layer(16, 'cos', 4, 'sum')])
    >>> [homogeneous(space, x, a).item() for x in (b, c)]
    [True, False]
  """
  _space.check_space(space)
  given = {'table': table, 'ancestor': ancestor}
  tables = [space.check_table(t, name=name) for name, t in given.items()]
  if tables[0].shape != tables[1].shape:
    raise ValueError(
      f'table and ancestor must have as many layers; got {len(tables[0])} and '
      f'{len(tables[1])}.'
    )
  children = Children(space, len(tables[0]), 1, num_outputs)
  return np.asarray(children.inherits(*tables))
