# SPDX-License-Identifier: Apache-2.0
"""Topologies: who talks to whom, and with which weights, by name.

A topology is a function `topology(num_clients, rng, **options) -> Mixer`. What
it is made of, a graph, a matrix or a mixer, is drawn by a function of its own
options; weights and laziness come in one way for all of a kind.
"""

import dataclasses
import functools
import inspect
from collections.abc import Callable
from typing import Any

import numpy as np

from jaxdl.core import checks, registry
from jaxdl.mixing import _matcha, _mixers, _random, _schedules, _weights, graphs


@dataclasses.dataclass(frozen=True)
class Facts:
  """What is known about a topology.

  Attributes:
    kind: 'graph' (weights come from a rule), 'matrix' (one fixed matrix or
      schedule) or 'random' (a matrix per round).
    build: `build(num_clients, rng, **own options)` -> graph bool[N, N], matrix
      or mixer.
    directed: whether some links carry messages one way only.
    drawn: whether it is drawn at random on the host, from `rng`.
    reads: whether it reads a file.
  """

  kind: str
  build: Callable[..., Any]
  directed: bool = False
  drawn: bool = False
  reads: bool = False


def weighted(
  graph: np.ndarray,
  *,
  weights: str = 'metropolis',
  move: float = 1.0,
  structure: str | None = None,
  name: str = 'graph',
) -> _mixers.Mixer:
  """Puts weights on a graph.

  Args:
    graph: bool[N, N].
    weights: a part of `WEIGHT_RULES`.
    move: share of a mixing step, (1 - move) I + move W.
    structure: one of `STRUCTURES` to force how it is applied; None chooses.
    name: of the topology, for messages.

  Returns:
    A mixer.

  Raises:
    ValueError: if the weights do not fit the graph, with the remedy.
  """
  part = _weights.WEIGHT_RULES.part(weights)
  rule = _weights.WEIGHT_RULES[part.name]
  known = registry.facts(rule)
  if not (known.one_way or graphs.is_undirected(graph)):
    even = len({*graph.sum(axis=0).tolist(), *graph.sum(axis=1).tolist()}) == 1
    if not (known.regular and even):
      raise ValueError(
        f'{name} is directed, which {part.name} weights do not fit: write '
        f'{name}(weights=uniform), or {name}(weights=send) where push-sum runs.'
      )
  matrix = _weights.WEIGHT_RULES.bound(part, graph)
  return _mixers.from_matrix(
    _weights.lazy(matrix, move),
    stochastic=known.stochastic,
    allow_negative=known.negative,
    structure=structure,
  )


def _fixed(
  matrix: np.ndarray,
  *,
  move: float = 1.0,
  structure: str | None = None,
  name: str = 'matrix',
) -> _mixers.Mixer:
  del name
  return _mixers.from_matrix(
    _weights.lazy(matrix, move), stochastic='row', structure=structure
  )


def _drawn(mixer: _mixers.Mixer, *, name: str = 'mixer') -> _mixers.Mixer:
  del name
  return mixer


# What makes a mixer of what a topology builds, with further options.
_FINISH = {'graph': weighted, 'matrix': _fixed, 'random': _drawn}


def _topology(kind: str, **known: bool):
  """Turns `build` into a topology with the options of both."""
  finish = _FINISH[kind]
  later = [
    p
    for p in inspect.signature(finish).parameters.values()
    if p.kind is p.KEYWORD_ONLY and p.name != 'name'
  ]

  def wrap(build):
    signature = inspect.signature(build)
    name = build.__name__.strip('_')

    @functools.wraps(build)
    def topology(num_clients, rng, **options):
      n = checks.integer(num_clients, name='num_clients', low=1)
      after = {p.name: options.pop(p.name) for p in later if p.name in options}
      return finish(build(n, rng, **options), name=name, **after)

    own = list(signature.parameters.values())
    vars(topology)['__signature__'] = signature.replace(
      parameters=[*own, *later], return_annotation=_mixers.Mixer
    )
    return registry.known(Facts(kind, build, **known))(topology)

  return wrap


def _count(value: int | None, name: str, num_clients: int, default: int) -> int:
  """A number of links per client: checked, or as many as fit by default."""
  if value is None:
    return min(default, num_clients - 1)
  count = checks.integer(value, name=name, low=1)
  if count >= num_clients > 1:
    raise ValueError(
      f'{name}={count} is too large for num_clients={num_clients}: a client '
      f'has at most {num_clients - 1} others. Lower {name}, or add clients.'
    )
  return min(count, num_clients - 1)


@_topology('matrix')
def alone(num_clients, rng):
  """No communication."""
  del rng
  return np.eye(num_clients)


@_topology('graph')
def complete(num_clients, rng):
  """Everybody with everybody."""
  del rng
  return graphs.complete(num_clients)


@_topology('graph')
def ring(num_clients, rng):
  """A cycle."""
  del rng
  return graphs.ring(num_clients)


@_topology('graph')
def path(num_clients, rng):
  """A line."""
  del rng
  return graphs.path(num_clients)


@_topology('graph')
def star(num_clients, rng):
  """Client 0 in the middle."""
  del rng
  return graphs.star(num_clients)


@_topology('graph')
def grid(num_clients, rng, *, rows: int | None = None):
  """A rectangular grid, the squarest by default."""
  del rng
  return graphs.grid(num_clients, rows=rows)


@_topology('graph')
def torus(num_clients, rng, *, rows: int | None = None):
  """A wrapped grid, the squarest by default."""
  del rng
  return graphs.torus(num_clients, rows=rows)


@_topology('graph')
def hypercube(num_clients, rng):
  """Numbers that differ in one binary digit; N a power of two."""
  del rng
  return graphs.hypercube(num_clients)


@_topology('graph', drawn=True)
def random_regular(num_clients, rng, *, degree: int | None = None):
  """Equal degrees, 4 by default or as many as there are."""
  degree = _count(degree, 'degree', num_clients, 4)
  return graphs.random_regular(num_clients, degree, rng)


@_topology('graph', drawn=True)
def erdos_renyi(num_clients, rng, *, probability: float | None = None):
  """Independent links, of probability 2 log(N) / N by default."""
  if probability is None:  # Twice the threshold of connectivity.
    probability = min(1.0, 2 * np.log(max(num_clients, 2)) / num_clients)
  return graphs.erdos_renyi(num_clients, probability, rng)


@_topology('graph', drawn=True)
def small_world(num_clients, rng, *, degree: int = 4, probability: float = 0.1):
  """A ring of near neighbors, links rewired with a probability."""
  return graphs.small_world(num_clients, degree, probability, rng)


@_topology('graph', drawn=True)
def barabasi_albert(num_clients, rng, *, degree: int | None = None):
  """Newcomers link to clients with many links; mean degree about 4."""
  degree = _count(degree, 'degree', num_clients, 4)
  return graphs.barabasi_albert(num_clients, max(1, degree // 2), rng)


@_topology('graph', directed=True)
def exponential(num_clients, rng):
  """Hops 1, 2, 4, ... at once."""
  del rng
  return graphs.exponential(num_clients)


@_topology('graph', directed=True)
def directed_ring(num_clients, rng):
  """A one-way cycle."""
  del rng
  return graphs.directed_ring(num_clients)


@_topology('graph', directed=True, drawn=True)
def random_digraph(num_clients, rng, *, degree: int | None = None):
  """Random receivers, 3 by default, for push-sum."""
  degree = _count(degree, 'degree', num_clients, 3)
  return graphs.random_digraph(num_clients, degree, rng)


@_topology('graph', reads=True)
def file(num_clients, rng, *, path: str):
  """Links read from a file, two client numbers per line."""
  del rng
  return graphs.read_graph(path, num_clients)


def _num_shifts(num_shifts: int | None, num_clients: int) -> int:
  default = max(len(graphs.exponential_shifts(num_clients)), 1)
  if num_shifts is None:
    return default
  return max(_count(num_shifts, 'num_shifts', num_clients, default), 1)


@_topology('matrix', drawn=True)
def equistatic(num_clients, rng, *, num_shifts: int | None = None):
  """Random hops, symmetric; ⌈log₂ N⌉ by default."""
  shifts = _num_shifts(num_shifts, num_clients)
  return _schedules.equistatic(num_clients, shifts, rng)


@_topology('matrix', directed=True, drawn=True)
def directed_equistatic(num_clients, rng, *, num_shifts: int | None = None):
  """Random hops; ⌈log₂ N⌉ by default."""
  shifts = _num_shifts(num_shifts, num_clients)
  return _schedules.equistatic(num_clients, shifts, rng, directed=True)


@_topology('matrix', directed=True)
def one_peer_exponential(num_clients, rng):
  """One hop 1, 2, 4, ... per round."""
  del rng
  return _schedules.one_peer_exponential(num_clients)


@_topology('matrix')
def one_peer_hypercube(num_clients, rng):
  """One binary digit per round; N a power of two."""
  del rng
  return _schedules.one_peer_hypercube(num_clients)


@_topology('matrix')
def hyper_hypercube(num_clients, rng, *, max_degree: int = 1):
  """One mixed-radix digit per round."""
  del rng
  _count(max_degree, 'max_degree', num_clients, 1)
  return _schedules.hyper_hypercube(num_clients, max_degree=max_degree)


@_topology('matrix')
def simple_base(num_clients, rng, *, max_degree: int = 1):
  """Exact in few rounds for every N."""
  del rng
  _count(max_degree, 'max_degree', num_clients, 1)
  return _schedules.simple_base_graph(num_clients, max_degree=max_degree)


@_topology('matrix')
def base(num_clients, rng, *, max_degree: int = 1):
  """Exact in fewest rounds for every N."""
  del rng
  _count(max_degree, 'max_degree', num_clients, 1)
  return _schedules.base_graph(num_clients, max_degree=max_degree)


@_topology('random')
def random_matching(num_clients, rng, *, probability: float = 1.0):
  """Random pairs, each active with a probability."""
  del rng
  return _random.random_matching(num_clients, probability=probability)


@_topology('random', directed=True)
def random_shift(num_clients, rng):
  """One random hop."""
  del rng
  return _random.random_shift(num_clients)


@_topology('random')
def equidyn(num_clients, rng, *, step_size: float = 0.5):
  """Pairs one random hop apart, damped."""
  del rng
  return _random.undirected_equidyn(num_clients, step_size=step_size)


@_topology('random', directed=True)
def directed_equidyn(num_clients, rng, *, step_size: float = 0.5):
  """One damped random hop."""
  del rng
  return _random.directed_equidyn(num_clients, step_size=step_size)


@_topology('random', drawn=True)
def epidemic_oracle(num_clients, rng, *, degree: int | None = None):
  """A random regular graph per round, of degree 4 by default."""
  degree = _count(degree, 'degree', num_clients, 4)
  return _random.epidemic_oracle(num_clients, degree, rng)


@_topology('random', directed=True)
def epidemic_local(num_clients, rng, *, degree: int | None = None):
  """Everyone picks random receivers, 4 by default."""
  del rng
  degree = _count(degree, 'degree', num_clients, 4)
  return _random.epidemic_local(num_clients, degree)


@_topology('random', drawn=True)
def matcha(num_clients, rng, *, degree: int | None = None, budget: float = 0.5):
  """Random matchings of a random regular graph, a share of them per round."""
  degree = _count(degree, 'degree', num_clients, 4)
  graph = graphs.random_regular(num_clients, degree, rng)
  return _matcha.matcha(graph, budget=budget)


TOPOLOGIES = registry.Registry(
  'topology',
  {
    f.__name__: f
    for f in (
      alone,
      complete,
      ring,
      path,
      star,
      grid,
      torus,
      hypercube,
      random_regular,
      erdos_renyi,
      small_world,
      barabasi_albert,
      exponential,
      directed_ring,
      random_digraph,
      file,
      equistatic,
      directed_equistatic,
      one_peer_exponential,
      one_peer_hypercube,
      hyper_hypercube,
      simple_base,
      base,
      random_matching,
      random_shift,
      equidyn,
      directed_equidyn,
      epidemic_oracle,
      epidemic_local,
      matcha,
    )
  },
  given=('num_clients', 'rng'),
)
