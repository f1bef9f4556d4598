# SPDX-License-Identifier: Apache-2.0
"""Tours that finish one cluster of nodes before they enter the next."""

import math

import jax
import jax.numpy as jnp
import numpy as np

from jaxdl.combinatorial import _problem
from jaxdl.combinatorial.classical import _costs, _tours
from jaxdl.core import checks, extras, keys

KINDS = ('cells', 'kmeans')


def clusters(
  instance: _problem.Instance, *, size: int = 100, by: str = 'cells', key=None
) -> _problem.Tour:
  """Divides nodes by where they lie and visits one group after the other.

  Inside of a group the nearest node comes next.

  Args:
    instance: `points f[N, 2]`.
    size: of a group, about (static).
    by: 'cells' of a square grid, in rows that are read to and fro; 'kmeans',
      whose centers are visited by 2-opt, on the host (scikit-learn).
    key: consumed by 'kmeans'.

  Returns:
    The tour.

  Raises:
    ValueError: if `by` is unknown, `size` is not positive or there are no
      points.

  Example:
    >>> points = jax.random.uniform(jax.random.key(0), (30, 2))
    >>> tour = clusters({'points': points}, size=10)
    >>> sorted(tour.order.tolist()) == list(range(30))
    True
  """
  checks.integer(size, name='size', low=1)
  checks.choice(by, KINDS, name='by')
  costs = _costs.costs_of(instance)
  if costs.points is None:
    raise ValueError('clusters needs points f[N, 2]; the instance has costs.')
  if by == 'cells':
    return _problem.Tour(_inside(costs, _cells(costs.points, size)))
  keys.check_key(key)
  return _problem.Tour(_inside(costs, _means(costs.points, size, key)))


def _cells(points, size):
  """When the cell of each node is entered, i32[N]."""
  side = max(1, math.ceil(math.sqrt(len(points) / size)))
  low, high = points.min(axis=0), points.max(axis=0)
  scaled = (points - low[None]) / jnp.maximum(high - low, 1e-10)[None]
  cell = jnp.clip((side * scaled).astype(jnp.int32), 0, side - 1)
  row, column = cell[:, 1], cell[:, 0]
  column = jnp.where(row % 2 == 0, column, side - 1 - column)
  return row * side + column


def _means(points, size, key):
  """When the cluster of each node is entered, i32[N]."""
  cluster = extras.require('sklearn.cluster', 'clusters(by=kmeans)')
  count = max(1, round(len(points) / size))
  seed = int(jax.random.randint(key, (), 0, 2**31 - 1))
  found = cluster.KMeans(count, n_init=1, random_state=seed).fit(
    np.asarray(points, np.float64)
  )
  centers = {'points': jnp.asarray(found.cluster_centers_)}
  tour = _tours.two_opt(centers, _tours.nearest_neighbor(centers))
  return jnp.asarray(np.argsort(tour.order)[found.labels_], jnp.int32)


@jax.jit
def _inside(costs, entered):
  """The nearest node of the group that is entered first, again and again."""
  num = costs.num_nodes
  first = jnp.argmin(entered).astype(jnp.int32)

  def step(carry, _):
    current, free = carry
    group = jnp.where(free, entered, jnp.iinfo(entered.dtype).max)
    inside = free & (group == group.min())
    row = jnp.where(inside, costs.leaving(current), jnp.inf)
    node = jnp.argmin(row).astype(jnp.int32)
    return (node, free.at[node].set(False)), node

  start = (first, jnp.ones(num, bool).at[first].set(False))
  _, rest = jax.lax.scan(step, start, length=num - 1)
  return jnp.concatenate([first[None], rest])
