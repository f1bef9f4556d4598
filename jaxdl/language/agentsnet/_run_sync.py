# SPDX-License-Identifier: Apache-2.0
"""Algorithms on many graphs at once, as one program."""

import functools
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np

from jaxdl.core import checks, clients, keys as keys_lib
from jaxdl.language.agentsnet import _algorithms, _batch, _node, _tasks


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


_PER_NODE = _node.Facts(0, 0, 0, 0, None, None, None, None)


def _one(algorithm, task, most_rounds, graph, num_rounds, key):
  """Answers of the nodes of one graph, for one key."""
  facts = node_facts(graph, num_rounds, key)
  keys_at = lambda t: jax.vmap(_node.node_key, (None, 0, None))(
    key, graph.numbers, t
  )
  start = jax.vmap(algorithm.start, (_PER_NODE, 0))
  message = jax.vmap(algorithm.message)
  update = jax.vmap(algorithm.update, (0, _PER_NODE, 0, 0, None, 0))
  answer = jax.vmap(algorithm.answer, (0, _PER_NODE))

  def deliver(state, t):
    said = message(state)
    # One column at a time: gathers of short rows are slow.
    heard = jnp.stack([column[graph.neighbors] for column in said.T], -1)
    new = update(state, facts, heard, graph.neighbor_mask, t, keys_at(t))
    return jax.tree.map(
      lambda a, b: jnp.where(t <= num_rounds, a, b), new, state
    ), None

  state, _ = jax.lax.scan(
    deliver, start(facts, keys_at(0)), jnp.arange(1, most_rounds + 1)
  )
  found = answer(state, facts).astype(jnp.int32)
  if task == 'matching':
    found = to_nodes(graph, found)
  return jnp.where(graph.node_mask, found, -1)


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
def _program(algorithm, task, most_rounds, mesh, chunk):
  """The compiled program of an algorithm; the same for the same arguments."""
  made = algorithm
  if isinstance(algorithm, str):
    made = _algorithms.ALGORITHMS.make(algorithm, task=task)
  one = functools.partial(_one, made, task, most_rounds)
  seeds = jax.vmap(one, (None, None, 0))
  run = clients.map_clients(seeds, mesh=mesh, chunk=chunk, in_axes=(0, 0, None))
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
    algorithm: a part of `ALGORITHMS`, or a `NodeAlgorithm` of one's own.
    task: a part of `TASKS`.
    batch: B graphs.
    key: one key, or S of them; consumed.
    rounds: R of all graphs, or i[B]; None for `num_rounds`.
    mesh: devices to split graphs over, see `core.clients.clients_mesh`.
    chunk: graphs at a time on a device, where memory is short; all if None.

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
  if rounds is None or isinstance(rounds, int):
    rounds = _tasks.rounds_of(task, batch, rounds)
  rounds = checks.host_array(rounds, name='rounds')
  num = batch.node_mask.shape[0]
  if rounds.shape != (num,) or rounds.dtype.kind not in 'iu':
    raise ValueError(
      f'rounds must be an integer or one for each of {num} graphs; got shape '
      f'{rounds.shape} of {rounds.dtype}.'
    )
  if rounds.min() < 1:
    raise ValueError(f'rounds must be at least 1; got {rounds.min()}.')
  chunk = checks.integer(num if chunk is None else chunk, name='chunk', low=1)
  program = _program(algorithm, task, int(rounds.max()), mesh, chunk)
  keys = key if many else key[None]
  found = program(batch, jnp.asarray(rounds, jnp.int32), keys)
  return found if many else found[0]
