# SPDX-License-Identifier: Apache-2.0
"""The pace of a pipeline, from the cycles of its graph."""

import collections
import math
from collections.abc import Mapping

from jaxdl.parallel.actors import _specs


def predicted_period(actors: Mapping[str, _specs.ActorSpec]) -> float:
  """Seconds per batch in the end, without a simulation.

  The largest of (sum of tau) / tokens over all cycles of the graph in which
  results go from producers to consumers and registers back. In a chain,

    max(max_i tau_i, max_i (tau_i + tau_{i+1}) / r_i);

  one register makes neighbors take turns, two let the slowest actor set the
  pace. Of actors that share a queue the sum of tau is a bound, which is reached
  where they do not hold each other up.

  Args:
    actors: by name.

  Returns:
    The period, exact where every actor has its own queue.

  Raises:
    ValueError: as `check_actors`.

  Cost: O(A E) for each of a few rounds.

  Example:
    >>> predicted_period(chain_actors((1, 3, 2), (2, 1)))
    5.0

  Source: the maximum cycle ratio of a marked graph (Baccelli et al. 1992,
    Synchronization and Linearity, Theorem 2.3).
  """
  _specs.check_actors(actors)
  names = list(actors)
  place = {n: i for i, n in enumerate(names)}
  edges = []
  for name, actor in actors.items():
    here = place[name]
    edges.append((here, here, 1.0))
    for other in actor.consumers:
      edges.append((here, place[other], 0.0))
    if actor.registers != math.inf:
      edges += [
        (place[n], here, actor.registers) for n in _returners(actors, name)
      ]
  tau = [float(a.tau) for a in actors.values()]
  queues: collections.Counter[str] = collections.Counter()
  for actor in actors.values():
    if actor.queue:
      queues[actor.queue] += actor.tau
  return max([_cycle_ratio(tau, edges), *map(float, queues.values())])


def _returners(actors, name):
  """Whose end sends the registers of an actor back."""
  found, todo = [], list(actors[name].consumers)
  while todo:
    other = todo.pop()
    if actors[other].in_place and actors[other].consumers:
      todo += actors[other].consumers
    else:
      found.append(other)
  return found or [name]


def _cycle_ratio(tau, edges):
  """The largest (sum of tau) / tokens, by cycles that beat the best so far."""
  best = 0.0
  while True:
    cycle = _better(tau, edges, best)
    if not cycle:
      return best
    found = sum(tau[u] for u, _, _ in cycle) / sum(k for _, _, k in cycle)
    if found <= best * (1 + 1e-12):
      return best
    best = found


def _better(tau, edges, ratio):
  """A cycle whose tau are more than ratio times its tokens, or none."""
  far, via = [0.0] * len(tau), [None] * len(tau)
  slack = 1e-12 * (1.0 + sum(tau))
  last = None
  for _ in range(len(tau) + 1):
    last = None
    for edge in edges:
      u, v, tokens = edge
      there = far[u] + tau[u] - ratio * tokens
      if there > far[v] + slack:
        far[v], via[v], last = there, edge, v
    if last is None:
      return []
  for _ in tau:
    last = via[last][0]
  cycle, here = [], last
  while not cycle or here != last:
    cycle.append(via[here])
    here = via[here][0]
  return cycle
