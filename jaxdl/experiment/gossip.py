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
import math
import pathlib
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxdl import mixing
from jaxdl.experiment import (
  _gossip_problems,
  _graph_plots,
  config as config_lib,
  supervised,
)

knob = config_lib.knob
draw_topologies = _graph_plots.draw_topologies
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
# Products of float32 matrices that miss the average by less are exact.
_EXACT = 1e-6
_MAX_SPECTRUM = 1024


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


def matrices(
  mixer: mixing.Mixer, *, num_draws: int = 64, seed: int = 0
) -> np.ndarray:
  """The matrices of one period, or draws of a random mixer.

  Args:
    mixer: any mixer.
    num_draws: draws of a random one.
    seed: of the draws.

  Returns:
    f32[T, N, N].
  """
  if mixer.period is not None:
    return np.stack([np.asarray(mixer.matrix(t)) for t in range(mixer.period)])
  key = jax.random.key(seed)
  draw = jax.jit(
    lambda rounds: jax.lax.map(lambda t: mixer.matrix(t, key=key), rounds)
  )
  return np.asarray(draw(jnp.arange(num_draws)))


def messages(mixer: mixing.Mixer, *, num_draws: int = 64) -> np.ndarray:
  """Counts the messages that a client sends on average in a round.

  One message is one model over one link. A round in which everybody gets the
  plain mean counts as a ring all-reduce, 2 (N - 1) / N models per client.

  Args:
    mixer: any mixer.
    num_draws: rounds over which random mixers are averaged.

  Returns:
    float64[T] for a period of T rounds, float64[1] for random mixers.

  Example:
    >>> messages(mixing.make_mixer('ring', 8)).tolist()
    [2.0]
    >>> messages(mixing.make_mixer('complete', 8)).tolist()
    [1.75]
  """
  found = matrices(mixer, num_draws=num_draws)
  n = found.shape[-1]
  links = (found != 0) & ~np.eye(n, dtype=bool)
  counts = links.sum(axis=(1, 2)) / n
  if n > 1:
    everybody = np.all(np.abs(found - 1 / n) < 1e-6, axis=(1, 2))
    counts = np.where(everybody, all_reduce(n), counts)
  return counts if mixer.period is not None else counts.mean(keepdims=True)


def all_reduce(num_clients: int) -> float:
  """Models that each client sends in a ring all-reduce.

  Args:
    num_clients: N.

  Returns:
    2 (N - 1) / N.
  """
  return 2 * (num_clients - 1) / num_clients


def spectrum(mixer: mixing.Mixer, *, num_draws: int = 256) -> dict[str, float]:
  """Says how fast a mixer brings clients together.

  Args:
    mixer: any mixer.
    num_draws: draws by which random mixers are estimated.

  Returns:
    Numbers by name: `messages` per client and round; `period` in rounds (0 if
    random); up to N = 1024 also `factor`, by which a round shrinks the distance
    to consensus, `gap` = 1 - factor, and `rounds_to_1e-6`, after which any
    start has shrunk by that much. The factor is ρ of a doubly stochastic
    matrix, the second eigenvalue of another one, the geometric mean over a
    period of a schedule (0 if the average is exact) and the root of the
    worst-case expected square for a random mixer. A fixed symmetric matrix also
    has `smallest_eigenvalue`.
  """
  sent = messages(mixer)
  out = {'messages': float(sent.mean()), 'period': float(mixer.period or 0)}
  found = np.float64(matrices(mixer, num_draws=num_draws))
  n = found.shape[-1]
  if n > _MAX_SPECTRUM:
    return out
  if mixer.period is None:
    factor = math.sqrt(max(mixing.mean_square_factor(found), 0.0))
  elif mixer.period > 1:
    product = functools.reduce(lambda done, w: w @ done, found)
    factor = mixing.consensus_factor(product)
    factor = 0.0 if factor < _EXACT else factor ** (1 / mixer.period)
  elif mixer.stochastic == 'double':
    factor = mixing.consensus_factor(found[0])
    if np.allclose(found[0], found[0].T, atol=1e-6):
      out['smallest_eigenvalue'] = mixing.smallest_eigenvalue(found[0])
  else:
    factor = mixing.second_eigenvalue(found[0])
  factor = 0.0 if factor < _EXACT else factor
  out['factor'], out['gap'] = factor, 1.0 - factor
  if factor == 0.0:
    out['rounds_to_1e-6'] = float(mixer.period or 1)
  elif factor < 1.0 - 1e-9:
    out['rounds_to_1e-6'] = float(math.ceil(math.log(1e-6) / math.log(factor)))
  else:
    out['rounds_to_1e-6'] = math.inf
  return out
