# SPDX-License-Identifier: Apache-2.0
"""The five tasks: what nodes may answer, for how long they talk, scores."""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp
import networkx
import numpy as np

from jaxdl.core import checks, registry
from jaxdl.language.agentsnet import _batch, _graphs, _names, _scores

# Up to so many nodes, so many rounds, where the task is a local one.
_SHORT = ((4, 4), (8, 5), (16, 6))
YES, NO = 'Yes', 'No'
# More than any network takes, and few enough to count in int32.
MOST_ROUNDS = 1_000_000


class Task(NamedTuple):
  """A task.

  Attributes:
    name: of the task.
    codes: `codes(graph, node)` -> what a node may answer, and the integers
      that stand for it in arrays: text -> code.
    score: `score(graph, answers i32[N]) -> f32[]`, see `score_matching`.
    is_global: whether an answer depends on all nodes, so that 2 diameter + 1
      rounds are given however small the graph is.
  """

  name: str
  codes: Callable[[networkx.Graph, int], dict[str, int]]
  score: Callable[[_batch.GraphBatch, chex.Array], chex.Array]
  is_global: bool = False


def _bits(graph, node):
  del graph, node
  return {'0': 0, '1': 1}


def _yes_no(graph, node):
  del graph, node
  return {YES: 1, NO: 0}


def _groups(graph, node):
  del node
  return {f'Group {k + 1}': k for k in range(_graphs.max_degree(graph) + 1)}


def _neighbors(graph, node):
  names = _graphs.names_of(graph)
  near = _graphs.neighbors_of(graph, node)
  return {**{names[i]: i for i in near}, _names.NONE: -1}


def coloring() -> Task:
  """Neighbors choose different groups out of one more than the most links."""
  return Task('coloring', _groups, _scores.score_coloring)


def consensus() -> Task:
  """All choose the same of two values."""
  return Task('consensus', _bits, _scores.score_consensus, is_global=True)


def leader_election() -> Task:
  """Exactly one says that it leads."""
  return Task('leader_election', _yes_no, _scores.score_leader, is_global=True)


def matching() -> Task:
  """Pairs of neighbors name each other; no two neighbors stay alone."""
  return Task('matching', _neighbors, _scores.score_matching)


def vertex_cover() -> Task:
  """Coordinators touch every link, and none is one without need."""
  return Task('vertex_cover', _yes_no, _scores.score_vertex_cover)


TASKS = registry.Registry(
  'task',
  {
    f.__name__: f
    for f in (coloring, consensus, leader_election, matching, vertex_cover)
  },
)


def options(task: str, graph: networkx.Graph, node: int) -> tuple[str, ...]:
  """What a node may answer.

  Args:
    task: a part of `TASKS`.
    graph: see `make_graph`.
    node: 0..n-1.

  Returns:
    Admissible answers, as they are shown; neighbors in the order of their
    numbers, 'None' last.

  Raises:
    ValueError: if the task is unknown, or there is no such node.

  Example:
    >>> graph = _graphs.named(networkx.path_graph(['Ann', 'Bob', 'Cem']))
    >>> options('matching', graph, 1), options('coloring', graph, 0)
    (('Ann', 'Cem', 'None'), ('Group 1', 'Group 2', 'Group 3'))
  """
  checks.integer(node, name='node', low=0, high=len(graph) - 1)
  return tuple(TASKS.make(task).codes(graph, node))


def encode(
  task: str, graph: networkx.Graph, answers: Sequence[str | None]
) -> np.ndarray:
  """Turns answers into the integers that scores take.

  Args:
    task: a part of `TASKS`.
    graph: see `make_graph`.
    answers: text of every node, None where there was no valid one.

  Returns:
    i32[n]; `INVALID` for None and for what is not admissible.

  Raises:
    TypeError: if one is neither text nor None.
    ValueError: if there is not one for each node.

  Example:
    >>> graph = _graphs.named(networkx.path_graph(['Ann', 'Bob', 'Cem']))
    >>> encode('matching', graph, ['Bob', 'Ann', 'None']).tolist()
    [1, 0, -1]
    >>> encode('matching', graph, ['Cem', 'Ann', None]).tolist()
    [-2, 0, -2]
  """
  _check_count(graph, answers)
  for i, answer in enumerate(answers):
    if answer is not None and not isinstance(answer, str):
      raise TypeError(
        f'answers[{i}] must be text or None; got {checks.described(answer)}.'
      )
  codes = TASKS.make(task).codes
  return np.array(
    [
      _scores.INVALID
      if answer is None
      else codes(graph, i).get(answer, _scores.INVALID)
      for i, answer in enumerate(answers)
    ],
    np.int32,
  )


def decode(
  task: str, graph: networkx.Graph, answers: Sequence[int]
) -> tuple[str | None, ...]:
  """Turns integers into answers, the inverse of `encode`.

  Args:
    task: a part of `TASKS`.
    graph: see `make_graph`.
    answers: i[n].

  Returns:
    Text of every node, None where invalid.

  Example:
    >>> graph = _graphs.named(networkx.path_graph(['Ann', 'Bob', 'Cem']))
    >>> decode('coloring', graph, [0, 1, -2])
    ('Group 1', 'Group 2', None)
  """
  _check_count(graph, answers)
  codes = TASKS.make(task).codes
  tables = [
    {code: text for text, code in codes(graph, i).items()}
    for i in range(len(graph))
  ]
  return tuple(
    table.get(int(code)) for table, code in zip(tables, answers, strict=True)
  )


def _check_count(graph, answers):
  if len(answers) != len(graph):
    raise ValueError(
      f'answers must be one for each of {len(graph)} nodes; got {len(answers)}.'
    )


def num_rounds(task: str, num_nodes: int, diameter: int) -> int:
  """For how many rounds nodes talk.

  Args:
    task: a part of `TASKS`.
    num_nodes: n >= 2.
    diameter: of the graph, >= 1.

  Returns:
    4, 5 or 6 for up to 4, 8 or 16 nodes where answers are local; 2 diameter + 1
    where they are not, and for more nodes.

  Example:
    >>> num_rounds('matching', 8, 3), num_rounds('consensus', 8, 3)
    (5, 7)

  Source: Grötschla et al. 2025 (https://arxiv.org/abs/2507.08616), and the
    official code; sizes between 4, 8 and 16 are ours.
  """
  n = checks.integer(num_nodes, name='num_nodes', low=2)
  far = checks.integer(diameter, name='diameter', low=1)
  if not TASKS.make(task).is_global:
    for most, rounds in _SHORT:
      if n <= most:
        return rounds
  return 2 * far + 1


def rounds_of(
  task: str, batch: _batch.GraphBatch, rounds: int | None = None
) -> np.ndarray:
  """Rounds of every graph, on the host.

  Args:
    task: a part of `TASKS`.
    batch: graphs.
    rounds: the same for all, >= 1; None for `num_rounds`.

  Returns:
    i32[B].

  Raises:
    ValueError: if rounds are below one or beyond `MOST_ROUNDS`.
  """
  _batch.check_batch(batch)
  sizes = np.asarray(batch.node_mask).sum(-1)
  if rounds is not None:
    rounds = checks.integer(rounds, name='rounds', low=1, high=MOST_ROUNDS)
    return np.full(len(sizes), rounds, np.int32)
  out = 2 * np.asarray(batch.diameters) + 1
  if not TASKS.make(task).is_global:
    for most, some in reversed(_SHORT):
      out = np.where(sizes <= most, some, out)
  return out.astype(np.int32)


def checked_rounds(
  task: str, batch: _batch.GraphBatch, rounds: int | np.ndarray | None
) -> np.ndarray:
  """Rounds of every graph: those that are given, or else those of the task.

  Args:
    task: a part of `TASKS`.
    batch: B graphs.
    rounds: one number, i[B], or None.

  Returns:
    i32[B].

  Raises:
    ValueError: if they are below one or beyond `MOST_ROUNDS`, or not one for
      each graph.
  """
  _batch.check_batch(batch)
  if rounds is None or np.ndim(rounds) == 0:
    return rounds_of(task, batch, rounds)
  found = checks.host_array(rounds, name='rounds')
  num = batch.node_mask.shape[0]
  if found.shape != (num,) or found.dtype.kind not in 'iu':
    raise ValueError(
      f'rounds must be an integer or one for each of {num} graphs; got shape '
      f'{found.shape} of {found.dtype}.'
    )
  checks.integer(found.min(), name='rounds', low=1)
  checks.integer(found.max(), name='rounds', high=MOST_ROUNDS)
  return found.astype(np.int32)


def score(
  task: str, batch: _batch.GraphBatch, answers: chex.Array
) -> chex.Array:
  """Scores answers of many graphs.

  Args:
    task: a part of `TASKS` (static).
    batch: B graphs.
    answers: i32[..., B, N], see `encode`; further axes, such as seeds, come
      first.

  Returns:
    f32[..., B] in [0, 1]; an instance is solved where it is 1.

  Raises:
    ValueError: if shapes do not fit.

  Example:
    >>> star = _batch.batch_graphs([_graphs.make_graph('star', 5, 0)])
    >>> score('vertex_cover', star, jnp.array([[1, 1, 0, 0, 0]])).tolist()
    [0.5]
  """
  _batch.check_batch(batch)
  answers = jnp.asarray(answers)
  if answers.shape[-2:] != batch.node_mask.shape:
    raise ValueError(
      f'answers must have shape [..., B, N] with {batch.node_mask.shape}, one '
      f'of each node; got {answers.shape}.'
    )
  if not jnp.issubdtype(answers.dtype, jnp.integer):
    raise TypeError(f'answers must be integers; got {answers.dtype}.')
  return _scored(TASKS.part(task).name, batch, answers)


@functools.partial(jax.jit, static_argnums=0)
def _scored(task, batch, answers):
  many = jax.vmap(TASKS.make(task).score)
  for _ in range(answers.ndim - 2):
    many = jax.vmap(many, in_axes=(None, 0))
  return many(batch, answers)


def means(scores: Mapping[str, chex.Array]) -> dict[str, float]:
  """The mean of every task, and of all: the score of the benchmark.

  Args:
    scores: of every task, any shape.

  Returns:
    Means by task, and 'all', which counts every task once.

  Raises:
    ValueError: if there is no task, or one without scores.

  Example:
    >>> means({'coloring': jnp.array([1.0, 0.5]), 'matching': jnp.zeros(1)})
    {'coloring': 0.75, 'matching': 0.0, 'all': 0.375}
  """
  if not scores or any(np.size(value) == 0 for value in scores.values()):
    raise ValueError('scores must hold a task or more, each with some scores.')
  found = {k: float(np.mean(value)) for k, value in scores.items()}
  return found | {'all': float(np.mean(list(found.values())))}
