# SPDX-License-Identifier: Apache-2.0
"""What it costs to go from node to node, in rows, never as a matrix."""

from typing import NamedTuple

import chex
import jax.numpy as jnp

from jaxdl.combinatorial import _problem


class Costs(NamedTuple):
  """Costs of ways between nodes: Euclidean, or as given.

  Attributes:
    points: f[M, D], or None.
    matrix: f[M, M] from row to column, or None.
  """

  points: chex.Array | None
  matrix: chex.Array | None

  @property
  def num_nodes(self) -> int:
    """M."""
    found = self.matrix if self.points is None else self.points
    return found.shape[0]

  @property
  def dtype(self):
    """Of the costs."""
    return (self.matrix if self.points is None else self.points).dtype

  def leaving(self, i: chex.Array) -> chex.Array:
    """Costs from node i to all, f[M]."""
    if self.points is None:
      return self.matrix[i]
    return self.between(i, jnp.arange(self.num_nodes))

  def reaching(self, i: chex.Array) -> chex.Array:
    """Costs from all nodes to node i, f[M]."""
    return self.leaving(i) if self.matrix is None else self.matrix[:, i]

  def between(self, i: chex.Array, j: chex.Array) -> chex.Array:
    """Costs from nodes i to nodes j: equal shapes, or one of them a scalar."""
    if self.points is None:
      return self.matrix[i, j]
    a, b = self.points[i], self.points[j]
    a, b = (x[(None,) * (max(a.ndim, b.ndim) - x.ndim)] for x in (a, b))
    return jnp.sqrt(jnp.square(a - b).sum(-1))


def costs_of(instance: _problem.Instance) -> Costs:
  """Reads `points`, or else `costs`, of an instance.

  Args:
    instance: of any problem of routes.

  Returns:
    The costs, in floating point.

  Raises:
    ValueError: if it has neither.
  """
  for field in ('points', 'costs'):
    if field in instance:
      found = jnp.asarray(instance[field])
      if not jnp.issubdtype(found.dtype, jnp.floating):
        found = found.astype(float)
      return Costs(*((found, None) if field == 'points' else (None, found)))
  raise ValueError(
    f'instance has {", ".join(map(repr, instance)) or "nothing"}: need points '
    'f[M, 2] or costs f[M, M].'
  )
