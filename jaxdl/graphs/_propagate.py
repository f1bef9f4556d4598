# SPDX-License-Identifier: Apache-2.0
"""One step of messages along edges, degrees, and what edges are divided by."""

import chex
import jax.numpy as jnp

from jaxdl.core import checks
from jaxdl.graphs import _change, _inside, _sums
from jaxdl.graphs._graph import Graph

NORMALIZATIONS = ('symmetric', 'row', 'none')
REDUCTIONS = ('sum', 'mean', 'max')


def degrees(
  graph: Graph, *, direction: str = 'in', weighted: bool = False
) -> chex.Array:
  """Counts the edges of every node.

  Args:
    graph: one graph.
    direction: 'in' for edges that reach a node, 'out' for those that leave it.
    weighted: whether to add up weights instead.

  Returns:
    i32[N], or f[N] if weighted; zeros of padding.

  Raises:
    ValueError: if the direction is unknown.

  Example:
    >>> from jaxdl import graphs
    >>> degrees(graphs.make_graph([(0, 1), (1, 2)], 3, pad_nodes=3)).tolist()
    [1, 2, 1]
  """
  _inside.check_graph(graph, lone=True)
  checks.choice(direction, ('in', 'out'), name='direction')
  at = 'receivers' if direction == 'in' else 'senders'
  if not checks.flag(weighted, name='weighted'):
    return _sums.edge_count(graph, at=at)
  return _sums.edge_sum(graph, edge_weights(graph), at=at)


def edge_weights(graph: Graph) -> chex.Array:
  """Weights of edges, ones if there are none, zeros where the mask is false.

  Args:
    graph: one graph.

  Returns:
    f[E].

  Example:
    >>> from jaxdl import graphs
    >>> edge_weights(graphs.make_graph([(0, 1)], 2, pad_nodes=2)).tolist()
    [1.0, 1.0]
  """
  dtype = jnp.result_type(float)
  if graph.weights is None:
    return graph.edge_mask.astype(dtype)
  return jnp.where(graph.edge_mask, graph.weights, 0)


def inverse(x: chex.Array, power: float = 1.0) -> chex.Array:
  """Returns x to the power of `-power` where positive, zeros elsewhere."""
  there = x > 0
  safe = jnp.where(there, x, 1)
  safe = jnp.sqrt(safe) if power == 0.5 else safe
  return jnp.where(there, 1 / safe, 0)


def normalized_weights(
  graph: Graph, *, normalize: str = 'symmetric', self_loops: bool = True
) -> tuple[chex.Array, chex.Array]:
  """What every edge and every node's own vector count for.

  With degrees d that count weights, of the receiver those that come in and of
  the sender those that go out: 'symmetric' gives w / sqrt(d_i d_j), 'row' gives
  w / d_i, so that those that reach a node add up to one.

  Args:
    graph: one graph.
    normalize: in `NORMALIZATIONS` (static).
    self_loops: whether every node reaches itself with weight one; edges of the
      graph that do so are left out then (static).

  Returns:
    f[E] of edges, f[N] of the loops that are added, zeros if there are none.
    Nodes without edges, and padding, have zeros.

  Raises:
    ValueError: if the normalization is unknown.

  Example:
    >>> from jaxdl import graphs
    >>> graph = graphs.make_graph([(0, 1), (1, 2)], 3, pad_nodes=3)
    >>> edges, loops = normalized_weights(graph, normalize='row')
    >>> [round(v, 3) for v in (*edges.tolist(), *loops.tolist())]
    [0.5, 0.333, 0.333, 0.5, 0.5, 0.333, 0.5]

  Source: Kipf & Welling 2017 (https://arxiv.org/abs/1609.02907), equation 2.
  """
  checks.choice(normalize, NORMALIZATIONS, name='normalize')
  self_loops = checks.flag(self_loops, name='self_loops')
  _inside.check_graph(graph, lone=True)
  weights = edge_weights(graph)
  loops = jnp.zeros(graph.num_nodes, weights.dtype)
  if self_loops:
    own = graph.senders == graph.receivers
    weights = jnp.where(own, 0, weights)
    loops = graph.node_mask.astype(weights.dtype)
  if normalize == 'none':
    return weights, loops
  ids = graph.receivers
  reached = _sums.edge_sum(graph, weights) + loops
  if normalize == 'row':
    scale = inverse(reached)
    return weights * scale[ids], loops * scale
  left = _sums.edge_sum(graph, weights, at='senders')
  to, out = inverse(reached, 0.5), inverse(left + loops, 0.5)
  return weights * to[ids] * out[graph.senders], loops * to * out


def normalized(
  graph: Graph, *, normalize: str = 'symmetric', self_loops: bool = True
) -> Graph:
  """Writes what `propagate` would divide by into weights, on the host.

  After it `propagate(graph, x, normalize='none', self_loops=False)` is one
  product with known numbers, the same as before with the options given here.

  Args:
    graph: one graph, concrete.
    normalize: in `NORMALIZATIONS`.
    self_loops: whether every node hears itself; its loop becomes an edge.

  Returns:
    The graph with weights.

  Example:
    >>> from jaxdl import graphs
    >>> graph = graphs.make_graph([(0, 1), (1, 2)], 3, pad_nodes=3)
    >>> done = normalized(graph, normalize='row')
    >>> [round(w, 3) for w in done.weights.tolist()]
    [0.5, 0.5, 0.333, 0.333, 0.333, 0.5, 0.5]
  """
  if checks.flag(self_loops, name='self_loops'):
    graph = _change.add_self_loops(graph)
  weights, _ = normalized_weights(graph, normalize=normalize, self_loops=False)
  return graph.replace(weights=weights)


def propagate(
  graph: Graph,
  x: chex.Array,
  *,
  normalize: str = 'symmetric',
  self_loops: bool = True,
  reduce: str = 'sum',
) -> chex.Array:
  """Lets every node collect what its neighbors hold.

  The defaults are one convolution without parameters,
  `D^-1/2 (A + I) D^-1/2 x` with D of A + I.

  Args:
    graph: one graph; edges lead from senders to receivers.
    x: f[N, ...]. What padding holds does not matter.
    normalize: in `NORMALIZATIONS`, see `normalized_weights` (static).
    self_loops: whether every node hears itself, too (static).
    reduce: 'sum', 'mean' (over as many as there are) or 'max' of weight times
      vector (static).

  Returns:
    f[N, ...] of the dtype of x, which half precision is summed above; zeros of
    nodes that nobody reaches, and of padding. A node that is not finite touches
    those that it reaches, nobody else.

  Raises:
    ValueError: if an option is unknown or x has not a row for each node.
    TypeError: if x is not floating point.

  Cost: O(E F) work.

  Example:
    >>> from jaxdl import graphs
    >>> graph = graphs.make_graph([(0, 1), (1, 2)], 3, pad_nodes=3)
    >>> x = jnp.array([1.0, 2.0, 4.0])
    >>> propagate(graph, x, normalize='none', self_loops=False)
    Array([2., 5., 2.], dtype=float32)
    >>> propagate(graph, x, normalize='row', self_loops=False)
    Array([2. , 2.5, 2. ], dtype=float32)

  Source: Kipf & Welling 2017 (https://arxiv.org/abs/1609.02907), equation 2.
  """
  checks.choice(reduce, REDUCTIONS, name='reduce')
  x = _inside.check_features(graph, x)
  edges, loops = normalized_weights(
    graph, normalize=normalize, self_loops=self_loops
  )
  dtype = x.dtype
  # Nobody hears padding, so that only loops need to leave it out.
  x = x.astype(jnp.promote_types(dtype, jnp.float32))
  edges, loops = edges.astype(x.dtype), loops.astype(x.dtype)
  there = _inside.rows(graph.node_mask, x)
  own = jnp.where(there, _inside.rows(loops, x) * x, 0)
  kept = _sums.no_loops(graph) if self_loops else graph.edge_mask
  if reduce == 'max':
    if not self_loops:
      return _sums.largest(graph, edges, x).astype(dtype)
    out = _sums.largest(graph, edges, x, kept=kept, empty=-jnp.inf)
    return jnp.where(there, jnp.maximum(out, own), 0).astype(dtype)
  out = _sums.collect(graph, edges, x, kept=kept)
  out = out + own if self_loops else out
  if reduce == 'mean':
    count = _sums.edge_count(graph, kept=kept)
    count = jnp.maximum(count + (graph.node_mask & self_loops), 1)
    out = out / _inside.rows(count.astype(out.dtype), x)
  return out.astype(dtype)
