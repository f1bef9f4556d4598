# SPDX-License-Identifier: Apache-2.0
"""What a combinatorial problem is made of: tuples of pure functions.

An instance is a dict of arrays. Solutions are one of four tuples, whose leaves
have static shapes, so that they are mapped, scanned and stacked. A policy
builds them by decisions, one index at a time: over all nodes of an instance
(`divide`) or over the few of a piece (`solve`).

What instances hold, by problem, floats of one dtype:

- tsp: `points: f[N, 2]`.
- atsp: `costs: f[N, N]`, from row to column, zero diagonal.
- cvrp, ovrp: `points: f[N + 1, 2]`, row 0 is the depot, and `demands: f[N + 1]`
  in units of the capacity of a vehicle, 0 of the depot.
- mtsp: `points: f[N + 1, 2]` and `num_salesmen: i32[]`.
- cvrp, ovrp and mtsp may hold `routes: bool[R]`, whose length says how many
  routes there are at most, so that constructions need N + R steps instead of
  2 N; its values are not read.
- op: `points: f[N, 2]`, row 0 is the depot, `prizes: f[N]` and `length: f[]`,
  the most a tour may have.
- pctsp, spctsp: `points: f[N, 2]`, `prizes: f[N]`, `penalties: f[N]`, 0 of the
  depot, and `target: f[]`, the least prize; spctsp also `real_prizes: f[N]`,
  while `prizes` are what is expected.
- kp: `weights: f[N]`, `values: f[N]`, `capacity: f[]`.
- mis: `edges: i32[E, 2]`, each once, without loops, padded by rows (N, N), and
  `nodes: bool[N]`, which vertices may be chosen at all. It may hold, for
  speed, who is next to whom: `targets`, `offsets` and `window`, as
  `graph_instance` makes them.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import chex

Instance = Mapping[str, chex.Array]


class Tour(NamedTuple):
  """A closed tour through all nodes (TSP, ATSP).

  Attributes:
    order: i32[N], a permutation, read cyclically.
  """

  order: chex.Array


class Routes(NamedTuple):
  """Routes from a depot that serve all customers (CVRP, OVRP, mTSP).

  Attributes:
    order: i32[N], customers 1..N (0 is the depot), read cyclically.
    last: bool[N], whether the depot comes after this customer. The last entry
      is true of routes that are constructed; stages leave both rolled, in the
      middle of a route perhaps.
  """

  order: chex.Array
  last: chex.Array


class Visits(NamedTuple):
  """A closed tour through the depot and some of the nodes (OP, PCTSP).

  Attributes:
    order: i32[N], a permutation of all nodes, 0 is the depot; the tour goes
      through those that are visited, in this order, cyclically.
    visited: bool[N] along `order`; true for the depot.
  """

  order: chex.Array
  visited: chex.Array


class Subset(NamedTuple):
  """A choice of items or vertices (KP, MIS).

  Attributes:
    chosen: bool[N].
  """

  chosen: chex.Array


class Neighbors(NamedTuple):
  """A sparse directed graph in rows of K, what a dividing policy reads.

  Attributes:
    nodes: f[M, F], features of nodes.
    ids: i32[M, K], the neighbors of each node, the node itself among them; -1
      where there are fewer.
    edges: f[M, K, C], features of edges, row -> column.
  """

  nodes: chex.Array
  ids: chex.Array
  edges: chex.Array


class Cursor(NamedTuple):
  """Where a construction stands.

  Attributes:
    first: i32[], the first node.
    last: i32[], the node decided last.
    visited: bool[M], nodes that were decided on.
    done: bool[], whether the solution is complete. From then on exactly one
      action is allowed and changes nothing, so that it has probability one.
    extra: whatever else the problem keeps, a dict of arrays.
  """

  first: chex.Array
  last: chex.Array
  visited: chex.Array
  done: chex.Array
  extra: Any = ()


class Divide(NamedTuple):
  """How a whole solution is constructed over all M nodes.

  Attributes:
    neighbors: `neighbors(instance, num_neighbors) -> Neighbors`; K is
      min(num_neighbors, M).
    starts: `starts(instance, key, num_samples) -> i32[A]`, different random
      first nodes where the problem has no depot (as far as there are A), else
      the depot.
    start: `start(instance, first) -> Cursor`.
    allowed: `allowed(instance, cursor) -> bool[M]`, never all false.
    move: `move(instance, cursor, action) -> Cursor`.
    num_steps: `num_steps(instance) -> int` from shapes alone: after so many
      decisions every construction is done.
    finish: `finish(instance, first, actions: i32[T]) -> solution`.
    has_depot: whether the query of the heat map reads node 0 besides.
    single_start: whether `starts` are one and the same node, so that greedy
      constructions would all be alike.
  """

  neighbors: Callable[..., Neighbors]
  starts: Callable[..., chex.Array]
  start: Callable[..., Cursor]
  allowed: Callable[..., chex.Array]
  move: Callable[..., Cursor]
  num_steps: Callable[[Instance], int]
  finish: Callable[..., Any]
  has_depot: bool = False
  single_start: bool = False


class Context(NamedTuple):
  """What a conquering network is asked with, of one rollout.

  Attributes:
    last: i32[], the node of the piece that was decided last; -1 before the
      first decision (kp).
    end: i32[], the node the path must finish at (the opposite end).
    extra: f[C], numbers of the problem, C static (load and budget left, ...);
      the first of mtsp is how many routes of the piece are closed, 0, 1, ...
    allowed: bool[m], actions that may be taken.
  """

  last: chex.Array
  end: chex.Array
  extra: chex.Array
  allowed: chex.Array


class Solve(NamedTuple):
  """How one piece is solved anew; every function is of one unbatched piece.

  A piece is a dict of arrays, made by `split`: nodes in the frame of the piece
  (`normalized`), what objectives need in the original one, what outside is
  fixed. Actions are indices of m nodes, n of the piece and perhaps a depot. In
  pieces of routes (cvrp, ovrp, mtsp) m is n + 1: node 0 is the depot, node 1
  the first customer and node n the last one.

  Attributes:
    inputs: `inputs(piece) -> (f[m, F], f[m, m])`, features of nodes and
      distances (or costs), in the frame that the network sees; of mis the
      adjacency, 1 where two vertices have an edge.
    start: `start(piece, reverse: bool[]) -> state`; `reverse` decodes from the
      far end where direction has a meaning.
    context: `context(piece, state) -> Context`; `allowed` is never all false,
      and exactly one action that changes nothing is left when all is done.
    move: `move(piece, state, action) -> state`.
    num_steps: `num_steps(n) -> int`, after which every piece is done.
    finish: `finish(piece, state, actions: i32[T]) -> candidate`, of the form
      that `current` has; reversed ones are turned round.
    current: `current(piece) -> candidate`, what the piece is now.
    value: `value(piece, candidate) -> f32[]`, lower is better, in the original
      frame.
    active: `active(piece) -> bool[]`, false where a piece is left as it is.
    both_ways: whether direction has a meaning.
    num_features: F.
    num_extra: C.
    network: conquering network that goes with it, a name of `CONQUERORS`.
    piece_steps: `piece_steps(piece) -> int` from shapes alone, where it is
      fewer than `num_steps(n)`: use it instead where given.
  """

  inputs: Callable[..., tuple[chex.Array, chex.Array]]
  start: Callable[..., Any]
  context: Callable[..., Context]
  move: Callable[..., Any]
  num_steps: Callable[[int], int]
  finish: Callable[..., Any]
  current: Callable[..., Any]
  value: Callable[..., chex.Array]
  active: Callable[..., chex.Array]
  both_ways: bool
  num_features: int
  num_extra: int
  network: str
  piece_steps: Callable[[Any], int] | None = None


class CombinatorialProblem(NamedTuple):
  """A family of instances and how they are divided and conquered.

  Attributes:
    name: of the registry.
    generate: `generate(key, num_nodes) -> instance`, pure, sizes static.
    check: `check(instance)` on the host; raises ValueError that names what is
      wrong.
    objective: `objective(instance, solution) -> f32[]`.
    feasible: `feasible(instance, solution) -> bool[]`.
    maximize: whether the larger objective is better.
    divide: how solutions are constructed.
    split: `split(instance, solution, size, shift, key) -> (pieces, solution)`:
      N // size pieces, leaves [P, ...], of the solution rolled by `shift`
      (traced), and that rolled solution, for `merge`. What N mod size leaves
      over is in no piece.
    solve: how a piece is solved.
    merge: `merge(instance, rolled, pieces, candidates) -> solution`, candidates
      with leaves [P, ...].
    sizes: `sizes(num_nodes, size)` raises ValueError where training needs
      other sizes; usually a multiple of `size`.
    piece_size: n of the paper.
  """

  name: str
  generate: Callable[..., Instance]
  check: Callable[[Instance], None]
  objective: Callable[..., chex.Array]
  feasible: Callable[..., chex.Array]
  maximize: bool
  divide: Divide
  split: Callable[..., tuple[Any, Any]]
  solve: Solve
  merge: Callable[..., Any]
  sizes: Callable[[int, int], None]
  piece_size: int = 100
