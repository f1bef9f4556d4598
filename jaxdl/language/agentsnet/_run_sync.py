# SPDX-License-Identifier: Apache-2.0
"""Algorithms on many graphs at once, as one program."""

import functools
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np

from jaxdl.core import checks, clients, keys as keys_lib
from jaxdl.language.agentsnet import (
  _algorithms,
  _batch,
  _learned,
  _node,
  _tasks,
)


def node_facts(
  graph: _batch.GraphBatch,
  num_rounds: chex.Numeric,
  key: chex.PRNGKey,
  *,
  num_words: int | None = None,
) -> _node.Facts:
  """What all nodes of a graph know at the start.

  Args:
    graph: of one graph.
    num_rounds: R.
    key: of the run.
    num_words: W, room for colors; enough for D if None (static).

  Returns:
    Facts; leaves [N, ...] of what differs between nodes, else of one node.
  """
  if num_words is None:
    num_words = _node.num_words(graph.neighbors.shape[-1])
  most = graph.max_degrees
  return _node.Facts(
    number=graph.numbers,
    rank=_node.rank(key, graph.numbers),
    neighbor_numbers=graph.numbers[graph.neighbors],
    neighbor_mask=graph.neighbor_mask,
    num_nodes=graph.num_nodes,
    max_degree=most,
    palette=_node.palette(most, num_words),
    num_rounds=jnp.asarray(num_rounds, jnp.int32),
  )


# So many slots make two widths worth a larger program.
_MANY_SLOTS = 1 << 18
# In the cache of a core; 100 networks of 100 nodes.
_SLOTS_AT_ONCE = 1 << 17
_PER_NODE = _node.Facts(0, 0, 0, 0, None, None, None, None)
_BY_SLOT = _PER_NODE._replace(neighbor_numbers=1, neighbor_mask=1)
_NODE_FIELDS = ('number', 'rank', 'neighbor_numbers', 'neighbor_mask')


def _slots_first(facts, width=None):
  """Facts of nodes with [D, N] in place of [N, D], the first slots only."""
  return facts._replace(
    neighbor_numbers=facts.neighbor_numbers[:, :width].T,
    neighbor_mask=facts.neighbor_mask[:, :width].T,
  )


def _one(algorithm, task, width, graph, hubs, num_rounds, key):
  """Answers of the nodes of one graph, for one key."""
  facts = node_facts(graph, num_rounds, key)
  own_keys = jax.vmap(jax.random.fold_in, (None, 0))(key, graph.numbers)
  keys_at = lambda t: jax.vmap(jax.random.fold_in, (0, None))(own_keys, t)
  start = jax.vmap(algorithm.start, (_PER_NODE, 0))
  message = jax.vmap(algorithm.message)
  update = jax.vmap(algorithm.update, (0, _BY_SLOT, 1, 1, None, 0))
  answer = jax.vmap(algorithm.answer, (0, _PER_NODE))
  # Slots first: sums over them are then sums of whole rows.
  short, near = _slots_first(facts, width), graph.neighbors[:, :width].T
  # Places beyond the last node are read as the last and never written.
  rows = lambda x: jnp.take(x, hubs, axis=0, mode='clip')
  of_hubs = facts._replace(
    **{name: rows(getattr(facts, name)) for name in _NODE_FIELDS}
  )
  of_hubs, far = _slots_first(of_hubs), rows(graph.neighbors).T

  def heard(said, near):
    columns = [
      said[:, k].at[near].get(mode='promise_in_bounds')
      for k in range(said.shape[1])
    ]
    return jnp.stack(columns, -1)

  def deliver(carry):
    state, t = carry
    said, keys = message(state), keys_at(t)
    messages = heard(said, near)
    new = update(state, short, messages, short.neighbor_mask, t, keys)
    if width < graph.neighbors.shape[1]:
      messages = heard(said, far)
      more = update(
        *(jax.tree.map(rows, state), of_hubs, messages),
        *(of_hubs.neighbor_mask, t, rows(keys)),
      )
      new = jax.tree.map(lambda a, b: a.at[hubs].set(b, mode='drop'), new, more)
    return new, t + 1

  def is_on(carry):
    state, t = carry
    settled = jax.vmap(algorithm.settled)(state) | ~graph.node_mask
    return (t <= num_rounds) & ~settled.all()

  state = start(facts, keys_at(0))
  state, _ = jax.lax.while_loop(is_on, deliver, (state, jnp.int32(1)))
  found = answer(state, facts).astype(jnp.int32)
  if task == 'matching':
    found = to_nodes(graph, found)
  return jnp.where(graph.node_mask, found, -1)


def _hubs(batch, num_keys):
  """How many slots most nodes need, and i32[B, H] of those that need more."""
  num, n, wide = batch.neighbors.shape
  none = wide, np.full((num, 0), n, np.int32)
  if num_keys * num * n * wide < _MANY_SLOTS:
    return none
  degrees = np.count_nonzero(np.asarray(batch.neighbor_mask), axis=-1)
  places = degrees + (wide + 1) * np.arange(num)[:, None]
  tables = np.bincount(places.reshape(-1), minlength=num * (wide + 1))
  # Entry d of a row: how many nodes have more than d neighbors.
  above = n - tables.reshape(num, wide + 1).cumsum(axis=-1)
  counts = above.max(axis=0)[1:wide].tolist()
  costs = [n * d + count * wide for d, count in enumerate(counts, 1)]
  width = int(np.argmin(costs)) + 1 if costs else wide
  if not costs or 2 * min(costs) > n * wide:
    return none
  hubs = np.full((num, max(counts[width - 1], 1)), n, np.int32)
  graphs, nodes = np.nonzero(degrees > width)
  place = np.arange(len(graphs)) - np.searchsorted(graphs, graphs)
  hubs[graphs, place] = nodes
  return width, hubs


def _chunk(num, slots):
  """How many of some graphs run together, each with so many slots."""
  most = max(_SLOTS_AT_ONCE // slots, 1)
  if jax.default_backend() != 'cpu' or num <= most:
    return num
  # What is left over would be a program of its own.
  even = max(size for size in range(1, most + 1) if num % size == 0)
  return even if 4 * even >= most else most


def to_nodes(graph: _batch.GraphBatch, slots: chex.Array) -> chex.Array:
  """Turns slots of neighbors into nodes; negative ones stay.

  Args:
    graph: of one graph.
    slots: i32[N].

  Returns:
    i32[N].
  """
  places = jnp.maximum(slots, 0)[:, None]
  named = jnp.take_along_axis(graph.neighbors, places, axis=1)[:, 0]
  return jnp.where(slots >= 0, named, slots)


@functools.lru_cache(maxsize=64)
def _program(algorithm, task, width, mesh, chunk):
  """The compiled program of an algorithm; the same for the same arguments."""
  made = algorithm
  if isinstance(algorithm, str):
    made = _algorithms.ALGORITHMS.make(algorithm, task=task)
  one = functools.partial(_one, made, task, width)
  seeds = jax.vmap(one, (None, None, None, 0))
  run = clients.map_clients(
    seeds, mesh=mesh, chunk=chunk, in_axes=(0, 0, 0, None)
  )
  return jax.jit(lambda *args: jnp.swapaxes(run(*args), 0, 1))


def run_sync(
  algorithm: Any,
  task: str,
  batch: _batch.GraphBatch,
  *,
  key: chex.PRNGKey,
  rounds: int | np.ndarray | None = None,
  mesh: jax.sharding.Mesh | None = None,
  chunk: int | None = None,
) -> chex.Array:
  """Runs an algorithm on many graphs, for one key or many.

  Answers of a graph depend on its links, the names of its nodes, R and the key
  alone: not on padding, on other graphs or on how many devices there are.

  Args:
    algorithm: a part of `ALGORITHMS`, a `NodeAlgorithm` of one's own, or a
      network of `train_solver`.
    task: a part of `TASKS`.
    batch: B graphs.
    key: one key, or S of them; consumed.
    rounds: R of all graphs, or i[B]; None for `num_rounds`.
    mesh: devices to split graphs over, see `core.clients.clients_mesh`.
    chunk: graphs at a time on a device; None for all, on CPU for as many as
      its cache holds.

  Returns:
    i32[B, N], or i32[S, B, N] of S keys; see `encode`. Padding answers -1.

  Raises:
    ValueError: if the algorithm does not solve the task, or rounds are below
      one or not one for each graph.

  Cost: O(R S E) with E slots of neighbors.

  Example:
    >>> from jaxdl.language import agentsnet
    >>> batch = agentsnet.batch_graphs([agentsnet.make_graph('ring', 8, 0)])
    >>> cover = run_sync('auto', 'vertex_cover', batch, key=jax.random.key(0))
    >>> agentsnet.score('vertex_cover', batch, cover).tolist()
    [1.0]
  """
  task = _tasks.TASKS.part(task).name
  many = jnp.ndim(key) == 1
  if not many:
    keys_lib.check_key(key)
  if isinstance(algorithm, _learned.Solver):
    if algorithm.task != task:
      raise ValueError(
        f'algorithm was trained for task={algorithm.task!r}; got {task!r}.'
      )
    return _learned.run_solver(algorithm, batch, key=key, rounds=rounds)
  rounds = _tasks.checked_rounds(task, batch, rounds)
  num = len(rounds)
  keys = key if many else key[None]
  width, hubs = _hubs(batch, keys.shape[0])
  if chunk is None:
    chunk = _chunk(num, keys.shape[0] * batch.node_mask.shape[1] * width)
  chunk = checks.integer(chunk, name='chunk', low=1)
  program = _program(algorithm, task, width, mesh, chunk)
  found = program(batch, jnp.asarray(hubs), jnp.asarray(rounds), keys)
  return found if many else found[0]
