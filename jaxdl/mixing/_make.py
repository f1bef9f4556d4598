# SPDX-License-Identifier: Apache-2.0
"""Topologies by name, for flags."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from jaxdl.core import checks
from jaxdl.mixing import _matcha, _mixers, _random, _schedules, _weights, graphs


class Topology(NamedTuple):
  """An entry of `TOPOLOGIES`.

  Attributes:
    kind: 'graph' (weights come from a rule), 'matrix' (one fixed matrix or
      schedule) or 'random' (a matrix per round).
    build: `build(num_clients, rng, **options)` -> graph, matrix or mixer.
    options: names and defaults of the options of `make_mixer` it understands.
    summary: one line for help texts.
  """

  kind: str
  build: Callable[..., Any]
  options: dict[str, Any]
  summary: str


def _without_rng(fn):
  return lambda n, rng, **options: fn(n, **options)


def _exponential_degree(num_clients: int) -> int:
  return max(len(graphs.exponential_shifts(num_clients)), 1)


def _random_regular(n, rng, degree):
  return graphs.random_regular(n, min(degree, n - 1), rng)


def _small_world(n, rng, degree, probability):
  return graphs.small_world(n, degree, probability, rng)


def _erdos_renyi(n, rng, probability):
  if probability is None:  # Twice the threshold of connectivity.
    probability = min(1.0, 2 * np.log(max(n, 2)) / n)
  return graphs.erdos_renyi(n, probability, rng)


def _equistatic(directed):
  def build(n, rng, num_shifts):
    num_shifts = _exponential_degree(n) if num_shifts is None else num_shifts
    return _schedules.equistatic(n, num_shifts, rng, directed=directed)

  return build


def _degree_options(fn):
  return lambda n, rng, max_degree: fn(n, max_degree=max_degree)


def _matcha_mixer(n, rng, degree, budget):
  return _matcha.matcha(_random_regular(n, rng, degree), budget=budget)


def _graph(fn, summary, **options):
  return Topology('graph', fn, options, summary)


def _matrix(fn, summary, **options):
  return Topology('matrix', fn, options, summary)


def _rand(fn, summary, **options):
  return Topology('random', fn, options, summary)


_plain = _without_rng

TOPOLOGIES: dict[str, Topology] = {
  'alone': _matrix(_plain(lambda n: np.eye(n)), 'no communication'),
  'complete': _graph(_plain(graphs.complete), 'everybody with everybody'),
  'ring': _graph(_plain(graphs.ring), 'a cycle'),
  'path': _graph(_plain(graphs.path), 'a line'),
  'star': _graph(_plain(graphs.star), 'client 0 in the middle'),
  'grid': _graph(_plain(graphs.grid), 'rectangular grid', rows=None),
  'torus': _graph(_plain(graphs.torus), 'wrapped grid', rows=None),
  'hypercube': _graph(_plain(graphs.hypercube), 'N a power of two'),
  'random_regular': _graph(_random_regular, 'equal degrees', degree=4),
  'erdos_renyi': _graph(_erdos_renyi, 'independent links', probability=None),
  'small_world': _graph(
    _small_world, 'ring, partly rewired', degree=4, probability=0.1
  ),
  'exponential': _graph(
    _plain(graphs.exponential), 'hops 1, 2, 4, ... at once (directed)'
  ),
  'directed_ring': _graph(_plain(graphs.directed_ring), 'one-way cycle'),
  'random_digraph': _graph(
    lambda n, rng, degree: graphs.random_digraph(n, min(degree, n - 1), rng),
    'random receivers, for push-sum',
    degree=3,
  ),
  'equistatic': _matrix(
    _equistatic(False), 'random hops, symmetric', num_shifts=None
  ),
  'directed_equistatic': _matrix(
    _equistatic(True), 'random hops', num_shifts=None
  ),
  'one_peer_exponential': _matrix(
    _plain(_schedules.one_peer_exponential), 'one hop 1, 2, 4, ... per round'
  ),
  'one_peer_hypercube': _matrix(
    _plain(_schedules.one_peer_hypercube), 'one digit per round'
  ),
  'hyper_hypercube': _matrix(
    _degree_options(_schedules.hyper_hypercube),
    'one mixed-radix digit per round',
    max_degree=1,
  ),
  'simple_base': _matrix(
    _degree_options(_schedules.simple_base_graph),
    'exact in few rounds for every N',
    max_degree=1,
  ),
  'base': _matrix(
    _degree_options(_schedules.base_graph),
    'exact in fewest rounds for every N',
    max_degree=1,
  ),
  'random_matching': _rand(
    _plain(_random.random_matching), 'random pairs', probability=1.0
  ),
  'random_shift': _rand(_plain(_random.random_shift), 'one random hop'),
  'equidyn': _rand(
    _plain(_random.undirected_equidyn),
    'pairs one random hop apart',
    step_size=0.5,
  ),
  'directed_equidyn': _rand(
    _plain(_random.directed_equidyn), 'one damped random hop', step_size=0.5
  ),
  'epidemic_oracle': _rand(
    lambda n, rng, degree: _random.epidemic_oracle(n, min(degree, n - 1), rng),
    'a random regular graph per round',
    degree=4,
  ),
  'epidemic_local': _rand(
    lambda n, rng, degree: _random.epidemic_local(n, min(degree, n - 1)),
    'everyone picks random receivers',
    degree=4,
  ),
  'matcha': _rand(
    _matcha_mixer,
    'random matchings of a random regular graph',
    degree=4,
    budget=0.5,
  ),
}


_COUNTS = ('rows', 'degree', 'num_shifts', 'max_degree')


def _collect(topology: str, given: dict[str, Any]) -> dict[str, Any]:
  entry = TOPOLOGIES[topology]
  for name, value in given.items():
    if value is not None and name not in entry.options:
      known = ', '.join(entry.options) or 'none'
      raise ValueError(
        f'{name}={value!r} has no meaning for topology={topology!r}: leave it '
        f'None; options of this topology: {known}.'
      )
    if value is not None and name in _COUNTS:
      checks.integer(value, name=name, low=1)
    elif value is not None:
      checks.number(value, name=name, low=0.0, high=1.0)
  return {
    name: default if given.get(name) is None else given[name]
    for name, default in entry.options.items()
  }


def make_graph(
  topology: str,
  num_clients: int,
  *,
  seed: int = 0,
  rows: int | None = None,
  degree: int | None = None,
  probability: float | None = None,
) -> np.ndarray:
  """Makes a static graph by name.

  Args:
    topology: a key of `TOPOLOGIES` whose kind is 'graph'.
    num_clients: N >= 1.
    seed: of the random families.
    rows: sides of 'grid' and 'torus'; None for the squarest.
    degree: links per client of 'random_regular' and 'small_world' (default
      4), receivers per client of 'random_digraph' (3).
    probability: of a link in 'erdos_renyi' (default 2 log(N) / N), of rewiring
      in 'small_world' (0.1).

  Returns:
    bool[N, N], entry [i, j] true if i receives from j.

  Raises:
    ValueError: for unknown names, options that do not apply and graphs that
      do not exist.
  """
  names = [k for k, v in TOPOLOGIES.items() if v.kind == 'graph']
  checks.choice(topology, names, name='topology')
  n = checks.integer(num_clients, name='num_clients', low=1)
  options = _collect(
    topology, {'rows': rows, 'degree': degree, 'probability': probability}
  )
  return TOPOLOGIES[topology].build(n, np.random.default_rng(seed), **options)


def make_mixer(
  topology: str,
  num_clients: int,
  *,
  weights: str = 'metropolis',
  move: float = 1.0,
  seed: int = 0,
  rows: int | None = None,
  degree: int | None = None,
  probability: float | None = None,
  num_shifts: int | None = None,
  max_degree: int | None = None,
  step_size: float | None = None,
  budget: float | None = None,
  structure: str | None = None,
) -> _mixers.Mixer:
  """Makes a mixer by name; what experiment binaries call.

  Args:
    topology: a key of `TOPOLOGIES`.
    num_clients: N >= 1; one client mixes with itself.
    weights: a key of `WEIGHT_RULES`, for topologies that are graphs.
      'metropolis' needs an undirected or regular graph; 'send' makes the
      column-stochastic matrix of push-sum.
    move: share of a mixing step, (1 - move) I + move W; not for random
      topologies.
    seed: of the host randomness (graphs, EquiStatic hops).
    rows: sides of 'grid' and 'torus'; None for the squarest.
    degree: links per client (capped at N - 1 where every graph of that degree
      exists); default 4, for 'random_digraph' 3.
    probability: of a link ('erdos_renyi', default 2 log(N) / N), of rewiring
      ('small_world', 0.1), that a pair is active ('random_matching', 1).
    num_shifts: hops of the EquiStatic graphs, default ⌈log₂ N⌉.
    max_degree: links per client and round of base graphs, default 1.
    step_size: η of the EquiDyn mixers, default 0.5.
    budget: share of the matchings that 'matcha' uses per round, default 0.5.
    structure: one of `STRUCTURES` to force how matrices are applied.

  Returns:
    The mixer.

  Raises:
    ValueError: for unknown names, options that do not apply or are out of
      range, and topologies that do not exist for this N.
    TypeError: if an option is no number, or no integer where it counts.

  Example:
    >>> make_mixer('ring', 4).matrix(0)[0].round(3).tolist()
    [0.3330000042915344, 0.3330000042915344, 0.0, 0.3330000042915344]
  """
  checks.choice(topology, TOPOLOGIES, name='topology')
  checks.choice(weights, _weights.WEIGHT_RULES, name='weights')
  checks.number(move, name='move', low=0.0, high=1.0, open_low=True)
  n = checks.integer(num_clients, name='num_clients', low=1)
  entry = TOPOLOGIES[topology]
  options = _collect(
    topology,
    {
      'rows': rows,
      'degree': degree,
      'probability': probability,
      'num_shifts': num_shifts,
      'max_degree': max_degree,
      'step_size': step_size,
      'budget': budget,
    },
  )
  if entry.kind != 'graph' and weights != 'metropolis':
    raise ValueError(
      f'topology={topology!r} brings its own weights: leave weights at '
      f"'metropolis' instead of {weights!r}."
    )
  built = entry.build(n, np.random.default_rng(seed), **options)
  if entry.kind == 'random':
    if move != 1.0 or structure is not None:
      raise ValueError(
        f'move and structure do not apply to the random topology={topology!r}: '
        'leave them at 1.0 and None.'
      )
    return built
  matrix = (
    _weights.WEIGHT_RULES[weights](built) if entry.kind == 'graph' else built
  )
  # Best constant weights may be negative.
  return _mixers.from_matrix(
    _weights.lazy(matrix, move),
    stochastic='column' if weights == 'send' else 'row',
    allow_negative=weights == 'best_constant',
    structure=structure,
  )
