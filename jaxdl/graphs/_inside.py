# SPDX-License-Identifier: Apache-2.0
"""What stands in a graph, read on the host, and checks of features."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxdl.core import checks
from jaxdl.graphs import _graph


def check_graph(graph: Any, *, name: str = 'graph', lone: bool = False) -> None:
  """Raises TypeError unless a value is a `Graph`; lone ones only if asked."""
  if not isinstance(graph, _graph.Graph):
    hint = 'make one with graphs.make_graph(edges, num_nodes)'
    if hasattr(graph, 'nodes') and hasattr(graph, 'adj'):
      hint = 'convert it with graphs.from_networkx(graph)'
    elif hasattr(graph, 'tocoo'):
      hint = 'convert it with graphs.from_scipy(matrix)'
    elif hasattr(graph, 'n_node'):
      hint = 'convert it with graphs.from_graphs_tuple(graph)'
    elif hasattr(graph, 'ndim'):
      hint = 'convert it with graphs.from_dense(matrix)'
    raise TypeError(
      f'{name} must be a graphs.Graph; got {checks.described(graph)}: {hint}.'
    )
  if lone and graph.senders.ndim != 1:
    raise ValueError(
      f'{name} must be one graph; it is a stack of {graph.senders.shape[0]}: '
      f'take one with jax.tree.map(lambda x: x[i], {name}), or vmap over them.'
    )


def on_host(graph: _graph.Graph) -> tuple[np.ndarray, np.ndarray | None]:
  """Reads the edges that are there.

  Args:
    graph: concrete.

  Returns:
    i64[M, 2] of senders and receivers, and their weights or None.

  Raises:
    TypeError: if it is traced.
  """
  check_graph(graph, lone=True)
  there = checks.host_array(graph.edge_mask, name='graph').astype(bool)
  ends = [np.asarray(graph.senders)[there], np.asarray(graph.receivers)[there]]
  weights = graph.weights
  if weights is not None:
    weights = checks.host_array(weights, name='graph.weights')[there]
  return np.stack(ends, axis=1).astype(np.int64), weights


def num_real(graph: _graph.Graph) -> int:
  """How many nodes are no padding, on the host."""
  check_graph(graph, lone=True)
  return int(checks.host_array(graph.node_mask, name='graph').sum())


def check_features(graph: _graph.Graph, x: Any, *, name: str = 'x') -> Any:
  """Returns features as an array, floating point, a row for each node."""
  check_graph(graph, lone=True)
  if x is None:
    raise TypeError(f'{name} must be an array; got None.')
  checks.array(x, name=name)
  shape = jnp.shape(x)
  if shape[:1] != (graph.num_nodes,):
    real = ''
    if not isinstance(graph.node_mask, jax.core.Tracer):
      count = num_real(graph)
      if count < graph.num_nodes:
        real = f' ({count} and padding: see graphs.pad_rows)'
    raise ValueError(
      f'{name} must have a row for each of {graph.num_nodes} nodes{real}; got '
      f'shape {shape}.'
    )
  if not jnp.issubdtype(jnp.result_type(x), jnp.floating):
    raise TypeError(f'{name} must be floating point; got {jnp.result_type(x)}.')
  return jnp.asarray(x)


def rows(mask: Any, x: Any) -> Any:
  """A mask [N] in the rank of x [N, ...]."""
  return mask.reshape(-1, *(1,) * (x.ndim - 1))
