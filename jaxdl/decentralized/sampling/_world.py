# SPDX-License-Identifier: Apache-2.0
"""The place where nodes live: distances, speeds, and who comes and goes."""

import os
import pathlib
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from jaxdl.core import checks, tables

CHURN_KINDS = ('crash', 'leave', 'join')


class World(NamedTuple):
  """Physics of a simulated network of N nodes.

  Attributes:
    latency_s: float64[N, N], seconds that a short message takes from row to
      column.
    compute_s: float64[N], seconds that a node's local training takes.
    bytes_per_s: float64[N], speed of a node's link; may be infinite.
  """

  latency_s: np.ndarray
  compute_s: np.ndarray
  bytes_per_s: np.ndarray

  @property
  def num_nodes(self) -> int:
    """N."""
    return len(self.compute_s)


class Churn(NamedTuple):
  """Nodes that come or go when the first node begins a round.

  Attributes:
    round: k >= 1.
    kind: 'crash' (silent), 'leave' (announced) or 'join' (announced; also the
      return of a node that was away).
    nodes: which.
  """

  round: int
  kind: str
  nodes: tuple[int, ...]


def check_world(world: World) -> World:
  """Checks shapes and ranges.

  Args:
    world: what to check.

  Returns:
    The world in float64.

  Raises:
    ValueError: naming the array.
  """
  world = World(*(np.asarray(x, np.float64) for x in world))
  n = len(world.compute_s) if world.compute_s.ndim == 1 else 0
  if not n:
    raise ValueError(
      f'compute_s must be float[N]; got shape {world.compute_s.shape}.'
    )
  if world.latency_s.shape != (n, n):
    raise ValueError(
      f'latency_s must be float[{n}, {n}]; got shape {world.latency_s.shape}.'
    )
  if world.bytes_per_s.shape != (n,):
    raise ValueError(
      f'bytes_per_s must be float[{n}]; got shape {world.bytes_per_s.shape}.'
    )
  for name in ('latency_s', 'compute_s'):
    x = getattr(world, name)
    if not (np.isfinite(x).all() and (x >= 0).all()):
      raise ValueError(f'{name} must be finite and >= 0; got {x.min()}.')
  if not (world.bytes_per_s > 0).all():
    raise ValueError(
      f'bytes_per_s must be positive; got {world.bytes_per_s.min()}.'
    )
  return world


def make_world(
  num_nodes: int,
  rng: np.random.Generator,
  *,
  mean_latency_s: float = 0.05,
  compute_s: float = 0.5,
  compute_spread: float = 0.5,
  bytes_per_s: float = 1.25e6,
  latency_s: np.ndarray | None = None,
) -> World:
  """Draws a network: nodes on a square, some slower than others.

  Args:
    num_nodes: N >= 1.
    rng: host randomness.
    mean_latency_s: mean one-way delay between two nodes; it grows with their
      distance.
    compute_s: median time of a local training.
    compute_spread: standard deviation of its logarithm over the nodes.
    bytes_per_s: speed of every link.
    latency_s: measured delays [M, M] between M sites instead; node i is at
      site i mod M.

  Returns:
    The world.

  Raises:
    ValueError: if a number is out of range or the matrix not square.
  """
  n = checks.integer(num_nodes, name='num_nodes', low=1)
  checks.number(mean_latency_s, name='mean_latency_s', low=0.0)
  checks.number(compute_s, name='compute_s', low=0.0)
  checks.number(compute_spread, name='compute_spread', low=0.0)
  checks.number(bytes_per_s, name='bytes_per_s', low=0.0, open_low=True)
  places = rng.random((n, 2))
  speeds = np.exp(compute_spread * rng.standard_normal(n))
  if latency_s is None:
    gaps = places[:, None] - places[None]
    # The mean distance of two points in the unit square is 0.5214.
    delays = mean_latency_s * (0.2 + 0.8 * np.sqrt((gaps**2).sum(-1)) / 0.5214)
  else:
    latency_s = np.asarray(latency_s, np.float64)
    if latency_s.ndim != 2 or latency_s.shape[0] != latency_s.shape[1]:
      raise ValueError(
        f'latency_s must be square; got shape {latency_s.shape}.'
      )
    sites = np.arange(n) % len(latency_s)
    delays = latency_s[np.ix_(sites, sites)]
  return check_world(World(delays, compute_s * speeds, np.full(n, bytes_per_s)))


def load_latency(
  path: str | os.PathLike[str], *, unit_s: float = 1e-3
) -> np.ndarray:
  """Reads a matrix of measured delays.

  Args:
    path: `.npy`, or text with one row per line, separated by commas or spaces.
    unit_s: seconds per unit of the file; round-trip times want half of it.

  Returns:
    float64[M, M] in seconds.

  Raises:
    ValueError: if the file is missing, or holds no square matrix of numbers
      >= 0.
  """
  path = pathlib.Path(path)
  try:
    matrix = np.asarray(tables.load_matrix(path), np.float64)
  except ValueError as error:
    raise ValueError(f'{path}: expected a matrix of delays: {error}') from None
  if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1] or not matrix.size:
    raise ValueError(
      f'{path}: expected a square matrix of delays; got shape {matrix.shape}.'
    )
  bad = np.argwhere(~(np.isfinite(matrix) & (matrix >= 0)))
  if len(bad):
    i, j = bad[0]
    raise ValueError(
      f'{path}: the delay from {i} to {j} is {matrix[i, j]}; must be finite '
      'and >= 0.'
    )
  return matrix * unit_s


def churn_from_trace(
  trace: np.ndarray, num_nodes: int
) -> tuple[np.ndarray, tuple[Churn, ...]]:
  """Turns a table of who is online into a start and a list of changes.

  Args:
    trace: bool[T, N]; row 0 says who is there at the start, row k what changes
      with round k.
    num_nodes: N.

  Returns:
    `(members, churn)`: bool[N] and the changes: nodes that vanish crash, nodes
    that appear join.

  Raises:
    ValueError: if the shape is wrong or nobody is there at the start.

  Example:
    >>> members, churn = churn_from_trace([[1, 1, 0], [1, 0, 1]], 3)
    >>> [(c.round, c.kind, c.nodes) for c in churn]
    [(1, 'crash', (1,)), (1, 'join', (2,))]
  """
  trace = np.asarray(trace)
  n = checks.integer(num_nodes, name='num_nodes', low=1)
  if trace.ndim != 2 or trace.shape[1] != n or not len(trace):
    raise ValueError(
      f'trace must be bool[T, {n}], one column per node; got shape '
      f'{trace.shape}.'
    )
  trace = trace.astype(bool)
  if not trace[0].any():
    raise ValueError('trace[0] must have somebody online.')
  churn = []
  for k in range(1, len(trace)):
    gone, came = trace[k - 1] & ~trace[k], trace[k] & ~trace[k - 1]
    for kind, nodes in (('crash', gone), ('join', came)):
      if nodes.any():
        churn.append(Churn(k, kind, tuple(np.flatnonzero(nodes).tolist())))
  return trace[0], tuple(churn)


def check_churn(churn: Sequence[Churn], num_nodes: int) -> tuple[Churn, ...]:
  """Checks a list of changes and sorts it by round.

  Args:
    churn: changes.
    num_nodes: N.

  Returns:
    The changes in the order of their rounds.

  Raises:
    ValueError: for unknown kinds or nodes.
  """
  for change in churn:
    checks.integer(change.round, name='churn round', low=1)
    checks.choice(change.kind, CHURN_KINDS, name='churn kind')
    for node in change.nodes:
      checks.integer(node, name='churn node', low=0, high=num_nodes - 1)
  return tuple(sorted(churn, key=lambda change: change.round))
