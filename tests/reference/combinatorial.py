# SPDX-License-Identifier: Apache-2.0
"""Exact answers of small combinatorial problems, by tables over subsets.

All in float64 NumPy, node 0 is the depot, up to about 12 nodes.
"""

from typing import NamedTuple

import numpy as np


class Small(NamedTuple):
  """A random instance of every routing problem on nine nodes.

  Attributes:
    points: f[9, 2]; row 0 is the depot.
    demand: i[8] of the customers; a vehicle holds 20.
    prize: f[8].
    penalty: f[8].
    costs: f[9, 9], asymmetric, closed under the triangle inequality.
  """

  points: np.ndarray
  demand: np.ndarray
  prize: np.ndarray
  penalty: np.ndarray
  costs: np.ndarray


CAPACITY = 20


def small(seed: int) -> Small:
  """Draws the instance of a seed."""
  rng = np.random.default_rng(seed)
  points = rng.random((9, 2))
  demand = rng.integers(1, 10, 8)
  prize, penalty = rng.random(8), rng.random(8)
  costs = rng.random((9, 9))
  np.fill_diagonal(costs, 0.0)
  return Small(points, demand, prize, penalty, closed(costs))


def closed(costs: np.ndarray) -> np.ndarray:
  """Shortest ways between all pairs, by min-plus products."""
  while True:
    shorter = np.minimum(
      costs, (costs[:, :, None] + costs[None, :, :]).min(axis=1)
    )
    if (shorter == costs).all():
      return costs
    costs = shorter


def distances(points: np.ndarray) -> np.ndarray:
  """Euclidean distances, f64[N, N]."""
  return np.linalg.norm(points[:, None] - points[None], axis=-1)


def paths(costs: np.ndarray) -> np.ndarray:
  """Shortest path from node 0 through a set of customers to its last one.

  Args:
    costs: f64[N, N].

  Returns:
    f64[2^(N-1), N-1]: by set of customers (bit k is customer k + 1) and last.
  """
  n = len(costs) - 1
  table = np.full((1 << n, n), np.inf)
  for j in range(n):
    table[1 << j, j] = costs[0, j + 1]
  for group in range(1, 1 << n):
    for j in range(n):
      rest = group & ~(1 << j)
      if rest == group or not rest:
        continue
      table[group, j] = min(
        table[rest, i] + costs[i + 1, j + 1] for i in range(n) if rest >> i & 1
      )
  return table


def closed_lengths(costs: np.ndarray) -> np.ndarray:
  """Shortest closed tour through node 0 and each set of customers.

  Args:
    costs: f64[N, N].

  Returns:
    f64[2^(N-1)]; 0 of the empty set.
  """
  out = (paths(costs) + costs[1:, 0]).min(axis=1)
  out[0] = 0.0
  return out


def open_lengths(costs: np.ndarray) -> np.ndarray:
  """As `closed_lengths`, without the way back."""
  out = paths(costs).min(axis=1)
  out[0] = 0.0
  return out


def _sums(values):
  """Sum of values over every set, f64[2^n]."""
  out = np.zeros(1)
  for v in values:
    out = np.concatenate([out, out + v])
  return out


def _subsets(group):
  """Every nonempty subset of a set."""
  sub = group
  while sub:
    yield sub
    sub = (sub - 1) & group


def tsp(costs: np.ndarray) -> float:
  """Length of the shortest closed tour; costs may be asymmetric."""
  return float(closed_lengths(costs)[-1])


def open_path(costs: np.ndarray) -> float:
  """Shortest path from the first to the last node through all others."""
  inner = paths(costs[:-1, :-1])
  if len(costs) == 2:
    return float(costs[0, 1])
  return float((inner[-1] + costs[1:-1, -1]).min())


def cvrp(
  costs: np.ndarray, demand: np.ndarray, capacity: float, *, back: bool = True
) -> float:
  """Least total length of routes that serve everyone.

  Args:
    costs: f64[N, N].
    demand: of the N - 1 customers.
    capacity: of a vehicle.
    back: whether the way back to the depot counts; else routes are open.

  Returns:
    The optimum.
  """
  lengths = closed_lengths(costs) if back else open_lengths(costs)
  load = _sums(np.asarray(demand, float))
  route = np.where(load <= capacity + 1e-9, lengths, np.inf)
  best = np.full(len(route), np.inf)
  best[0] = 0.0
  for group in range(1, len(route)):
    best[group] = min(route[s] + best[group ^ s] for s in _subsets(group))
  return float(best[-1])


def mtsp(costs: np.ndarray, num_salesmen: int) -> float:
  """Least length of the longest of `num_salesmen` nonempty closed routes."""
  route = closed_lengths(costs)
  best = route.copy()
  best[0] = np.inf
  for _ in range(num_salesmen - 1):
    best = np.array(
      [
        min(
          (max(route[s], best[g ^ s]) for s in _subsets(g) if s != g),
          default=np.inf,
        )
        for g in range(len(route))
      ]
    )
  return float(best[-1])


def op(costs: np.ndarray, prize: np.ndarray, length: float) -> float:
  """Largest prize of a closed tour through node 0 of bounded length."""
  fits = closed_lengths(costs) <= length
  return float(_sums(prize)[fits].max())


def pctsp(
  costs: np.ndarray, prize: np.ndarray, penalty: np.ndarray, target: float
) -> float:
  """Least length plus penalties of those left out, with enough prize."""
  cost = closed_lengths(costs) + penalty.sum() - _sums(penalty)
  return float(cost[_sums(prize) >= target - 1e-12].min())
