# SPDX-License-Identifier: Apache-2.0
"""What every experiment over a communication graph has in common.

`GossipConfig` holds the knobs of topologies and weights, `make_mixer` and
`make_graph` turn a name such as `ring` or `ring:lazy_metropolis` into what the
algorithms take, `messages` counts what is sent and `spectrum` tells how fast it
mixes. `classification` and `quadratics` are what there is to learn, with an
evaluation of one model per client.
"""

import dataclasses
import functools
import pathlib
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from jaxdl import mixing
from jaxdl.experiment import _gossip_problems, config as config_lib, supervised

knob = config_lib.knob
Problem = _gossip_problems.Problem
classification = _gossip_problems.classification
quadratics = _gossip_problems.quadratics

FILE = 'file'
TOPOLOGIES = (*mixing.TOPOLOGIES, FILE)
OPTIONS = (
  'rows',
  'degree',
  'probability',
  'num_shifts',
  'max_degree',
  'step_size',
  'budget',
)
_DIRECTED = ('random_digraph',)
# Those that need no other weights than the usual ones.
PLAIN = tuple(t for t in mixing.TOPOLOGIES if t not in _DIRECTED)
_GRAPHS = (
  *(t for t, v in mixing.TOPOLOGIES.items() if v.kind == 'graph'),
  FILE,
)
_DRAWN = (
  'random_regular',
  'erdos_renyi',
  'small_world',
  'random_digraph',
  '*equistatic',
  'epidemic_oracle',
  'matcha',
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class GossipConfig(config_lib.BaseConfig):
  """Knobs of who talks to whom, and with which weights."""

  num_clients: int = knob(24, 'Clients.', low=1)
  weights: str = knob(
    'metropolis',
    'Weights on graphs that name none of their own.',
    choices=tuple(mixing.WEIGHT_RULES),
    needs={'topologies|variants|topology': _GRAPHS},
  )
  move: float = knob(
    1.0,
    'Share of a mixing step, (1 - move) I + move W.',
    low=0.0,
    high=1.0,
    open_low=True,
  )
  graph_seed: int = knob(
    0,
    'Seed of random graphs.',
    low=0,
    needs={'topologies|variants|topology': _DRAWN},
  )
  graph_file: str = knob(
    '', "Links of topology 'file': two client numbers per line."
  )
  rows: int | None = knob(None, 'Sides of grid and torus.', low=1)
  degree: int | None = knob(
    None, 'Links per client of random graphs and epidemics.', low=1
  )
  probability: float | None = knob(
    None,
    'Of a link (erdos_renyi), of rewiring (small_world), of an active pair '
    '(random_matching).',
    low=0.0,
    high=1.0,
  )
  num_shifts: int | None = knob(None, 'Hops of the equistatic graphs.', low=1)
  max_degree: int | None = knob(
    None, 'Links per client and round of base graphs.', low=1
  )
  step_size: float | None = knob(
    None, 'Damping of the equidyn mixers.', low=0.0, high=1.0
  )
  budget: float | None = knob(
    None, 'Share of the matchings that matcha uses.', low=0.0, high=1.0
  )

  def validate(self) -> None:
    """Checks that a matrix of weights fits into memory."""
    super().validate()
    config_lib.check_square(self.num_clients)

  def check_options(self, topologies: Sequence[str]) -> None:
    """Raises if an option is set that none of the topologies understands.

    Args:
      topologies: names without weights.

    Raises:
      ValueError: naming the option.
    """
    known = {
      o for t in topologies if t != FILE for o in mixing.TOPOLOGIES[t].options
    }
    for option in OPTIONS:
      if getattr(self, option) is not None and option not in known:
        raise ValueError(
          f'{option}={getattr(self, option)} has no effect on '
          f'{", ".join(topologies)}: leave it out; their options are '
          f'{", ".join(sorted(known)) or "none"}.'
        )
    n = self.num_clients
    for option in ('degree', 'max_degree', 'num_shifts'):
      value = getattr(self, option)
      if value is not None and value >= n > 1:
        raise ValueError(
          f'--{option}={value} is too large for --num_clients={n}: a client '
          f'has at most {n - 1} others. Lower --{option}, or add clients.'
        )
    if bool(self.graph_file) != (FILE in topologies):
      raise ValueError(
        f'graph_file={self.graph_file!r}: give it with the topology '
        f'{FILE!r}, and only then.'
      )


def parse(
  spec: str, *, name: str = 'topology', whole: str | None = None
) -> tuple[str, str | None]:
  """Splits `topology[:weights]`.

  Args:
    spec: a topology, or one with its weights.
    name: of the flag, for the message.
    whole: the element of the flag, if the spec is a part of it.

  Returns:
    The topology, and its weights or None for the configured ones.

  Raises:
    ValueError: if either is unknown.

  Example:
    >>> parse('ring:lazy_metropolis')
    ('ring', 'lazy_metropolis')
  """
  topology, colon, weights = spec.partition(':')
  where = {'name': name, 'spec': whole or spec}
  config_lib.check_known(topology, TOPOLOGIES, **where)
  if not colon:
    return topology, None
  config_lib.check_known(weights, mixing.WEIGHT_RULES, **where)
  return topology, weights


def _is_graph(topology: str) -> bool:
  return topology == FILE or mixing.TOPOLOGIES[topology].kind == 'graph'


def _options(config: GossipConfig, topology: str) -> dict[str, Any]:
  return {
    name: getattr(config, name) for name in mixing.TOPOLOGIES[topology].options
  }


def read_graph(path: str, num_clients: int) -> np.ndarray:
  """Reads an undirected graph from a list of links.

  Args:
    path: text, two client numbers from 0 to N - 1 per line; `#` starts a
      comment.
    num_clients: N.

  Returns:
    bool[N, N].

  Raises:
    ValueError: naming the line that is wrong.
  """
  adj = np.zeros((num_clients, num_clients), bool)
  for number, line in enumerate(pathlib.Path(path).read_text().split('\n'), 1):
    words = line.partition('#')[0].split()
    if not words:
      continue
    good = len(words) == 2 and all(w.isdigit() for w in words)
    ends = [int(w) for w in words] if good else []
    if not good or max(ends) >= num_clients:
      raise ValueError(
        f'{path}:{number}: {line.strip()!r} is no link: write two numbers '
        f'from 0 to {num_clients - 1}.'
      )
    adj[ends[0], ends[1]] = adj[ends[1], ends[0]] = ends[0] != ends[1]
  return adj


def make_graph(config: GossipConfig, spec: str) -> np.ndarray:
  """Makes the graph of a topology that is one.

  Args:
    config: knobs.
    spec: `topology[:weights]`; the weights do not matter.

  Returns:
    bool[N, N].

  Raises:
    ValueError: if the topology is a schedule or does not exist for this N.
  """
  topology, _ = parse(spec)
  if topology == FILE:
    return read_graph(config.graph_file, config.num_clients)
  if not _is_graph(topology):
    graphs = [name for name in mixing.TOPOLOGIES if _is_graph(name)]
    raise ValueError(
      f'topology={topology!r} is no fixed graph: choose one of '
      f'{", ".join(graphs)}.'
    )
  return mixing.make_graph(
    topology,
    config.num_clients,
    seed=config.graph_seed,
    **_options(config, topology),
  )


def make_mixer(
  config: GossipConfig, spec: str, *, weights: str | None = None
) -> mixing.Mixer:
  """Makes the mixer of a topology.

  Args:
    config: knobs.
    spec: `topology[:weights]`.
    weights: of graphs where `spec` names none; the configured ones if None.

  Returns:
    The mixer.

  Raises:
    ValueError: for disconnected graphs, topologies that do not exist for this
      N and weights that do not fit, with the remedy.
  """
  topology, own = parse(spec)
  rule = own or (
    (weights or config.weights) if _is_graph(topology) else 'metropolis'
  )
  if topology in _DIRECTED and rule not in ('send', 'uniform'):
    raise ValueError(
      f'{topology} is directed, which {rule} weights do not fit: write '
      f'{topology}:uniform, or {topology}:send where push-sum runs.'
    )
  if topology == FILE:
    matrix = mixing.WEIGHT_RULES[rule](make_graph(config, spec))
    return mixing.from_matrix(
      mixing.lazy(matrix, config.move),
      stochastic='column' if rule == 'send' else 'row',
      allow_negative=rule == 'best_constant',
    )
  return cached_mixer(
    topology,
    config.num_clients,
    weights=rule,
    move=config.move,
    seed=config.graph_seed,
    **_options(config, topology),
  )


# A configuration is checked whenever it is made, also by `replace`.
cached_mixer = functools.lru_cache(maxsize=64)(mixing.make_mixer)


def mesh_for(num_clients: int) -> jax.sharding.Mesh | None:
  """A mesh over all devices, or None where there is one.

  Args:
    num_clients: N, which the number of devices must divide: a client without
      neighbours that pads the graph would be no part of it.

  Returns:
    The mesh.

  Raises:
    ValueError: if N does not split evenly.
  """
  devices = jax.device_count()
  if num_clients % devices:
    more = num_clients + -num_clients % devices
    raise ValueError(
      f'num_clients={num_clients} does not split over {devices} devices: use '
      f'{more} clients, or a number of devices that divides {num_clients}.'
    )
  return supervised.mesh_or_none()
