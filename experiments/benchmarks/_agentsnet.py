# SPDX-License-Identifier: Apache-2.0
"""A part of the benchmark of language agents: classical algorithms.

A thousand networks as one program against the same rounds as loops over
networkx graphs, node by node.
"""

import functools
import random
from collections.abc import Callable

import jax
import networkx
import numpy as np

from experiments.benchmarks import _timing
from jaxdl.language import agentsnet

# Times faster than loops.
TARGET = 50.0


def _ranks(graph, rng):
  return dict(
    zip(graph, rng.sample(range(len(graph)), len(graph)), strict=True)
  )


def loop_independent_set(graph, rounds, rng):
  """Joins when all of higher rank are out; the others are the cover."""
  rank, state = _ranks(graph, rng), dict.fromkeys(graph, 'open')
  for _ in range(rounds):
    new = dict(state)
    for v in graph:
      if state[v] != 'open':
        continue
      near = graph[v]
      if any(state[u] == 'in' for u in near):
        new[v] = 'out'
      elif all(state[u] == 'out' or rank[u] < rank[v] for u in near):
        new[v] = 'in'
    state = new
  return [int(state[v] != 'in') for v in graph]


def loop_flooding(graph, rounds, rng):
  """The largest rank of all that a node heard of."""
  rank = _ranks(graph, rng)
  best = dict(rank)
  for _ in range(rounds):
    best = {v: max(best[v], *(best[u] for u in graph[v])) for v in graph}
  return [int(best[v] == rank[v]) for v in graph]


def loop_greedy_coloring(graph, rounds, rng):
  """The lowest free color once all of higher rank have one."""
  rank, color = _ranks(graph, rng), dict.fromkeys(graph)
  for _ in range(rounds):
    new = dict(color)
    for v in graph:
      near = graph[v]
      if color[v] is None and all(
        color[u] is not None or rank[u] < rank[v] for u in near
      ):
        used = {color[u] for u in near}
        new[v] = next(c for c in range(len(near) + 1) if c not in used)
    color = new
  return [color[v] or 0 for v in graph]


def loop_trial_coloring(graph, rounds, rng):
  """Who is in conflict redraws with probability 1/2."""
  palette = range(1 + max(degree for _, degree in graph.degree()))
  color = {v: rng.choice(palette) for v in graph}
  for _ in range(rounds):
    new = dict(color)
    for v in graph:
      used = {color[u] for u in graph[v]}
      if color[v] in used and rng.random() < 0.5:
        new[v] = rng.choice([c for c in palette if c not in used])
    color = new
  return [color[v] for v in graph]


def loop_proposals(graph, rounds, rng):
  """Half of the free nodes ask, the others accept; every other round."""
  partner: dict = dict.fromkeys(graph)
  asked: dict = {}
  for t in range(rounds + 1):
    free = [v for v in graph if partner[v] is None]
    if t % 2 == 0:
      asked = {}
      for v in free:
        near = [u for u in graph[v] if partner[u] is None]
        if near and rng.random() < 0.5:
          asked[v] = rng.choice(near)
      continue
    for v in free:
      target = asked.get(v)
      if target is not None and asked.get(target) != v:
        continue
      near = [u for u in graph[v] if asked.get(u) == v and partner[u] is None]
      if near and partner[v] is None:
        u = rng.choice(near) if target is None else target
        partner[v], partner[u] = u, v
  return [-1 if partner[v] is None else partner[v] for v in graph]


# Task, algorithm, loops, and what networkx has for the same end.
CONTENDERS: dict[str, tuple[str, Callable, Callable | None]] = {
  'greedy_independent_set': (
    'vertex_cover',
    loop_independent_set,
    networkx.maximal_independent_set,
  ),
  'flooding': ('leader_election', loop_flooding, None),
  'greedy_coloring': (
    'coloring',
    loop_greedy_coloring,
    networkx.greedy_color,
  ),
  'trial_coloring': ('coloring', loop_trial_coloring, None),
  'proposals': ('matching', loop_proposals, networkx.maximal_matching),
}


def classical(
  families: tuple[str, ...], *, quick: bool = False
) -> list[dict[str, str]]:
  """Times algorithms on many networks of 100 nodes, in rounds of the sheet.

  Args:
    families: that networks are taken from in turn.
    quick: whether they are few.

  Returns:
    Rows of a table.

  Raises:
    ValueError: if contenders do not score alike, whose times would say nothing.
  """
  count, turns = (60, 3) if quick else (1000, 5)
  num = len(families)
  graphs = [
    agentsnet.make_graph(families[i % num], 100, i // num + 1)
    for i in range(count)
  ]
  batch = agentsnet.batch_graphs(graphs)
  rows = []
  for name, (task, loop, sequential) in CONTENDERS.items():
    rounds = agentsnet.rounds_of(task, batch)
    ours = f'{name}, {count} networks'
    one_program = functools.partial(
      *(agentsnet.run_sync, name, task, batch),
      key=jax.random.key(0),
    )

    def by_loops(loop=loop, rounds=rounds):
      rng = random.Random(0)
      pairs = zip(graphs, rounds.tolist(), strict=True)
      return [loop(graph, some, rng) for graph, some in pairs]

    fns = {ours: one_program, 'loops over networkx': by_loops}
    if sequential is not None:
      fns[f'networkx.{sequential.__name__}, one node after the other'] = (
        lambda f=sequential: [f(graph) for graph in graphs]
      )
    found = np.array(by_loops())
    scores = [
      float(np.mean(agentsnet.score(task, batch, answers)))
      for answers in (one_program(), found)
    ]
    if abs(scores[0] - scores[1]) > 0.01:
      raise ValueError(f'{name} scores {scores}: not timed.')
    times = _timing.measure(fns, rounds=turns)
    rows += [
      _timing.Claim(
        ours, rival, faster=TARGET if rival.startswith('loops') else None
      ).row(times)
      for rival in list(fns)[1:]
    ]
  return rows


def report(*, quick: bool = False) -> list[str]:
  """The part as sections of Markdown.

  Args:
    quick: whether it is small.

  Returns:
    The sections.
  """
  title = '### Classical algorithms on networks of 100 nodes'
  # Degrees are much alike in the first, and up to 52 in the others.
  return [
    f'{title}: {", ".join(families)}\n\n'
    + _timing.table(classical(families, quick=quick))
    for families in (('ws',), agentsnet.OFFICIAL_FAMILIES)
  ]
