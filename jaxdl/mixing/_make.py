# SPDX-License-Identifier: Apache-2.0
"""Mixers and graphs from text."""

import functools

import numpy as np

from jaxdl.core import checks, registry
from jaxdl.mixing import _mixers, _topologies, _weights


def make_graph(spec: str, num_clients: int, *, seed: int = 0) -> np.ndarray:
  """Makes a static graph.

  Args:
    spec: a topology of `TOPOLOGIES` whose kind is 'graph', with its options;
      those of its weights do not matter.
    num_clients: N >= 1.
    seed: of the random families.

  Returns:
    bool[N, N], entry [i, j] true if i receives from j; strongly connected.

  Raises:
    ValueError: for unknown names and options, topologies that are no graph,
      and graphs that do not exist or are disconnected.

  Example:
    >>> make_graph('torus(rows=2)', 6).sum(axis=1).tolist()
    [3, 3, 3, 3, 3, 3]
  """
  part = _topologies.TOPOLOGIES.part(spec)
  facts = registry.facts(_topologies.TOPOLOGIES[part.name])
  if facts.kind != 'graph':
    known = [
      name
      for name, fn in _topologies.TOPOLOGIES.items()
      if registry.facts(fn).kind == 'graph'
    ]
    raise ValueError(
      f'topology={spec!r} is no fixed graph: choose one of {", ".join(known)}.'
    )
  n = checks.integer(num_clients, name='num_clients', low=1)
  own = {k: v for k, v in part.options.items() if checks.takes(facts.build, k)}
  builds = registry.Registry('topology', {part.name: facts.build})
  graph = builds.bound(
    part._replace(options=own), num_clients=n, rng=np.random.default_rng(seed)
  )
  _weights.check_connected(graph)
  return graph


def make_mixer(
  spec: str, num_clients: int, *, seed: int = 0, weights: str | None = None
) -> _mixers.Mixer:
  """Makes a mixer; what experiment binaries call.

  Topologies that are graphs take `weights`, a part of `WEIGHT_RULES`: 'send'
  makes the column-stochastic matrix of push-sum. Those and fixed matrices take
  `move`, share of a mixing step, (1 - move) I + move W, and `structure`, one of
  `STRUCTURES` to force how matrices are applied. Random ones bring their own.

  Args:
    spec: a topology of `TOPOLOGIES` with its options, e.g.
      'ring(weights=lazy_metropolis)' or 'erdos_renyi(probability=0.2, move=
      0.5)'; 'file("links.txt")' reads `graphs.read_graph`.
    num_clients: N >= 1; one client mixes with itself.
    seed: of the host randomness (graphs, EquiStatic hops).
    weights: of graphs whose spec names none; the topology's own if None.

  Returns:
    The mixer; the same object for the same arguments, as far as it is kept.

  Raises:
    ValueError: for unknown names, options that do not apply or are out of
      range, disconnected graphs, weights that do not fit, and topologies that
      do not exist for this N.
    TypeError: if an option is no number, or no integer where it counts.

  Example:
    >>> make_mixer('ring', 4).matrix(0)[0].round(3).tolist()
    [0.3330000042915344, 0.3330000042915344, 0.0, 0.3330000042915344]
    >>> make_mixer('ring(weights=send)', 4).stochastic
    'column'
  """
  part = _topologies.TOPOLOGIES.part(spec)
  n = checks.integer(num_clients, name='num_clients', low=1)
  facts = registry.facts(_topologies.TOPOLOGIES[part.name])
  make = _build if facts.reads else _kept
  return make(spec, n, seed, weights)


def _build(spec, num_clients, seed, weights):
  context = {} if weights is None else {'weights': weights}
  return _topologies.TOPOLOGIES.make(
    spec, num_clients, np.random.default_rng(seed), **context
  )


# A configuration is checked whenever it is made, also by `replace`.
_kept = functools.lru_cache(maxsize=64)(_build)
