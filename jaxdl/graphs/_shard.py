# SPDX-License-Identifier: Apache-2.0
"""Edges split over devices, nodes on all of them."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from jaxdl.graphs import _inside
from jaxdl.graphs._graph import Graph


def shard_edges(
  fn: Callable[..., Any], mesh: jax.sharding.Mesh, *, axis: str = 'edges'
) -> Callable[..., Any]:
  """Runs a function of a graph with its edges split over the devices of a mesh.

  Every device sums over its share of the edges, and the sums are added up;
  whatever is of nodes is on all devices alike. That serves graphs whose edges
  (or the messages on them) are too many for one device.

  Args:
    fn: `fn(graph, *args) -> outputs`, made of `propagate`, layers and networks
      of this package and of what treats nodes; it must not reduce over edges
      in another way. Dropout of attention draws other numbers than on one
      device.
    mesh: its axis is split over.
    axis: name of the axis.

  Returns:
    A function of the same arguments and results, differentiable, inside or
    outside jit. Edges are padded to a multiple of the devices.

  Raises:
    ValueError: if the mesh has no such axis.

  Example:
    >>> from jaxdl import graphs
    >>> mesh = jax.make_mesh(
    ...   (1,), ('edges',), axis_types=(jax.sharding.AxisType.Auto,)
    ... )
    >>> graph = graphs.make_graph([(0, 1)], 2, pad_nodes=2)
    >>> run = shard_edges(lambda graph, x: graphs.propagate(graph, x), mesh)
    >>> run(graph, jnp.array([1.0, 3.0])).tolist()
    [2.0, 2.0]
  """
  if axis not in mesh.axis_names:
    raise ValueError(
      f'axis={axis!r} is not in the mesh: it has {mesh.axis_names}.'
    )
  split, whole = jax.P(axis), jax.P()

  def inner(graph, *args):
    return fn(graph.replace(axis_name=axis), *args)

  def run(graph, *args):
    _inside.check_graph(graph, lone=True)
    graph = _padded(
      graph.replace(plan=None), -graph.num_edges % mesh.shape[axis]
    )
    specs = graph.replace(
      senders=split,
      receivers=split,
      edge_mask=split,
      weights=None if graph.weights is None else split,
      node_mask=whole,
      graph_ids=None if graph.graph_ids is None else whole,
    )
    return jax.shard_map(
      inner,
      mesh=mesh,
      in_specs=(specs, *(whole for _ in args)),
      out_specs=whole,
    )(graph, *args)

  return run


def _padded(graph: Graph, more: int) -> Graph:
  """More edges that are not there, from the last node to itself."""
  if not more:
    return graph
  last = graph.num_nodes - 1
  grow = lambda x, value: jnp.pad(x, (0, more), constant_values=value)
  weights = graph.weights
  return graph.replace(
    senders=grow(graph.senders, last),
    receivers=grow(graph.receivers, last),
    edge_mask=grow(graph.edge_mask, False),
    weights=None if weights is None else grow(weights, 0),
  )
