# SPDX-License-Identifier: Apache-2.0
"""What answers of all nodes are worth: pure functions of one graph.

Each takes a `GraphBatch` of one graph, without its first axis, and answers
i32[N]; `score` takes many. Answers of padding do not matter. `INVALID` is what
a node answered that is none of the admissible answers.
"""

import chex
import jax.numpy as jnp

from jaxdl.language.agentsnet import _batch

INVALID = -2


def _edges(graph, answers):
  """What neighbors answer [N, D], and how many edges there are, twice."""
  return answers[graph.neighbors], graph.neighbor_mask.sum()


def _share(part, whole):
  """The quotient of counts; zero of none."""
  share = jnp.where(whole > 0, part / jnp.maximum(whole, 1), 0.0)
  # Compiled, many quotients by one number are products with its inverse.
  return jnp.where((part == whole) & (whole > 0), 1.0, share)


def _valid(graph, answers, num_options):
  inside = (answers >= 0) & (answers < num_options)
  return (inside | ~graph.node_mask).all()


def score_consensus(
  graph: _batch.GraphBatch, answers: chex.Array
) -> chex.Array:
  """One if all nodes gave the same answer, else zero.

  Args:
    graph: of one graph.
    answers: i32[N], 0 or 1.

  Returns:
    f32[].
  """
  ones = ((answers == 1) & graph.node_mask).sum()
  same = (ones == 0) | (ones == graph.num_nodes)
  return (_valid(graph, answers, 2) & same).astype(jnp.float32)


def score_leader(graph: _batch.GraphBatch, answers: chex.Array) -> chex.Array:
  """One if exactly one node says that it leads and the others do not.

  Args:
    graph: of one graph.
    answers: i32[N], 1 for Yes, 0 for No.

  Returns:
    f32[].
  """
  leaders = ((answers == 1) & graph.node_mask).sum()
  good = _valid(graph, answers, 2) & (leaders == 1)
  return good.astype(jnp.float32)


def score_coloring(graph: _batch.GraphBatch, answers: chex.Array) -> chex.Array:
  """Share of edges whose ends differ; zero if an answer is invalid.

  Args:
    graph: of one graph.
    answers: i32[N], colors from 0 to the largest degree.

  Returns:
    f32[].

  Example:
    >>> from jaxdl.language import agentsnet
    >>> ring = agentsnet.batch_graphs([agentsnet.make_graph('ring', 5, 0)])
    >>> answers = jnp.array([[0, 1, 0, 1, 0]])
    >>> agentsnet.score('coloring', ring, answers)
    Array([0.8], dtype=float32)
  """
  near, edges = _edges(graph, answers)
  differ = ((near != answers[:, None]) & graph.neighbor_mask).sum()
  valid = _valid(graph, answers, graph.max_degrees + 1)
  return jnp.where(valid, _share(differ, edges), 0.0)


def score_matching(graph: _batch.GraphBatch, answers: chex.Array) -> chex.Array:
  """Share of nodes whose answers fit those of their neighbors.

  A node that names another fits if that is a neighbor who names it back; one
  that names nobody fits unless some neighbor names nobody either. What is
  invalid does not fit.

  Args:
    graph: of one graph.
    answers: i32[N], the node that is named, -1 for nobody.

  Returns:
    f32[].

  Example:
    >>> from jaxdl.language import agentsnet
    >>> path = agentsnet.batch_graphs([agentsnet.make_graph('path', 4, 0)])
    >>> answers = jnp.array([[1, 2, 1, -1]])
    >>> agentsnet.score('matching', path, answers).tolist()
    [0.75]
  """
  near, _ = _edges(graph, answers)
  own = jnp.arange(answers.shape[0], dtype=answers.dtype)[:, None]
  named = (graph.neighbors == answers[:, None]) & graph.neighbor_mask
  mutual = (named & (near == own)).any(axis=-1)
  alone = (answers == -1) & ~((near == -1) & graph.neighbor_mask).any(axis=-1)
  wrong = (~(mutual | alone) & graph.node_mask).sum()
  return 1 - wrong / graph.num_nodes


def score_vertex_cover(
  graph: _batch.GraphBatch, answers: chex.Array
) -> chex.Array:
  """Share of edges that are covered, times share of members that are needed.

  A member of a whole cover is needed if it has a neighbor outside; where edges
  are left every member is. An empty cover scores zero. A node whose answer is
  invalid is no member.

  Args:
    graph: of one graph.
    answers: i32[N], 1 for members, 0 for others.

  Returns:
    f32[].

  Example:
    >>> from jaxdl.language import agentsnet
    >>> path = agentsnet.batch_graphs([agentsnet.make_graph('path', 4, 0)])
    >>> answers = jnp.array([[0, 1, 0, 1]])
    >>> agentsnet.score('vertex_cover', path, answers).tolist()
    [1.0]
  """
  member = (answers == 1) & graph.node_mask
  near, edges = _edges(graph, member)
  covered = ((near | member[:, None]) & graph.neighbor_mask).sum()
  outside = (~near & graph.neighbor_mask).any(axis=-1)
  needed = member & (outside | (covered < edges))
  return _share(covered, edges) * _share(needed.sum(), member.sum())
