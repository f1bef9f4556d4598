# SPDX-License-Identifier: Apache-2.0
"""Scores of pairs that need no learning."""

import chex
import jax.numpy as jnp

from jaxdl.graphs import _propagate
from jaxdl.graphs.links import _overlap
from jaxdl.graphs.links._adjacency import Adjacency


def _shared(adjacency, pairs, value):
  degree = _propagate.degrees(adjacency.graph)
  # Whoever is shared by two has two neighbors at least.
  weight = value(jnp.maximum(degree, 2).astype(jnp.result_type(float)))
  return _overlap.pool_common(adjacency, pairs, weight[:, None])[:, 0]


def common_neighbors(adjacency: Adjacency, pairs: chex.Array) -> chex.Array:
  """Counts common neighbors.

  Args:
    adjacency: of N nodes.
    pairs: i32[B, 2] (traced).

  Returns:
    f[B].

  Raises:
    ValueError: as `overlap`.

  Example:
    >>> from jaxdl import graphs
    >>> links = [(0, 2), (1, 2), (0, 3), (1, 3), (2, 3), (1, 4)]
    >>> found = adjacency(graphs.make_graph(links, 5))
    >>> common_neighbors(found, jnp.array([(0, 1), (0, 4)])).tolist()
    [2.0, 0.0]

  Source: Liben-Nowell & Kleinberg 2003.
  """
  return _shared(adjacency, pairs, jnp.ones_like)


def adamic_adar(adjacency: Adjacency, pairs: chex.Array) -> chex.Array:
  """Adds up 1 / ln(degree) over common neighbors.

  Args:
    adjacency: of N nodes.
    pairs: i32[B, 2] (traced).

  Returns:
    f[B].

  Raises:
    ValueError: as `overlap`.

  Example:
    >>> from jaxdl import graphs
    >>> found = adjacency(graphs.make_graph([(0, 1), (1, 2)], 3))
    >>> round(adamic_adar(found, jnp.array([(0, 2)])).item(), 4)
    1.4427

  Source: Adamic & Adar 2003.
  """
  return _shared(adjacency, pairs, lambda degree: 1 / jnp.log(degree))


def resource_allocation(adjacency: Adjacency, pairs: chex.Array) -> chex.Array:
  """Adds up 1 / degree over common neighbors.

  Args:
    adjacency: of N nodes.
    pairs: i32[B, 2] (traced).

  Returns:
    f[B].

  Raises:
    ValueError: as `overlap`.

  Example:
    >>> from jaxdl import graphs
    >>> found = adjacency(graphs.make_graph([(0, 1), (1, 2)], 3))
    >>> resource_allocation(found, jnp.array([(0, 2)])).tolist()
    [0.5]

  Source: Zhou, Lü & Zhang 2009.
  """
  return _shared(adjacency, pairs, lambda degree: 1 / degree)
