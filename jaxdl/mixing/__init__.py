# SPDX-License-Identifier: Apache-2.0
"""Gossip: who talks to whom, with which weights, and applying that fast.

N clients hold a stacked tree (leaves [N, ...]). One gossip step is X <- W X,
where `W[i, j]` is the weight client i gives to what it receives from j; rows
sum to one, and where columns do too the mean is kept. Everything about graphs
and weights happens on the host in float64; what is jitted is a `Mixer`:

    mixer = mixing.make_mixer('ring(weights=lazy_metropolis)', 16)   # by name
    mixer = mixing.from_matrix(mixing.metropolis(graph))     # by parts
    models = mixer.apply(models, round, key=key)             # one round
    w = mixer.matrix(round, key=key)                         # what it did

Layers, each usable alone:

- `mixing.graphs`, `bool[N, N]`: `ring`, `path`, `star`, `grid`, `torus`,
  `hypercube`, `complete`, `random_regular`, `erdos_renyi`, `small_world`,
  `barabasi_albert`, `circulant`, `exponential`, `directed_ring`,
  `random_digraph`, `read_graph`, or any networkx graph;
- weights, `float64[N, N]`: `metropolis`, `uniform`, `max_degree`,
  `best_constant`, `fastest`, `lazy`, and `send_weights` for push-sum;
- schedules, `float64[T, N, N]`: `one_peer_exponential`, `one_peer_hypercube`,
  `hyper_hypercube`, `simple_base_graph`, `base_graph`, and the static
  `equistatic`;
- mixers: `from_matrix` (a matrix or a schedule; picks the fast path by the
  rule of `choose_structure`), `from_function`, `identity`, `every` (local SGD,
  periodic averaging), `unreliable` (offline clients), `shard` (device mesh);
- random mixers: `random_matching`, `random_shift`, `directed_equidyn`,
  `undirected_equidyn`, `epidemic_oracle`, `epidemic_local`, `matcha`;
- `mixing.spectra`: `consensus_factor`, `spectral_gap`, `second_eigenvalue`,
  `smallest_eigenvalue`, `mean_square_factor`, `mixing_time`,
  `stationary_distribution`;
- communication: `scheduled` makes a mixer of a rate such as
  `communication_schedule` and of `random_peers`, `random_pairs`, `mean_above`;
- beyond the weighted mean: `robust_mixer` puts a robust rule in its place,
  `mixing.variance` keeps the variance of the weights.

By name, with options: `TOPOLOGIES` for `make_mixer` and `make_graph`,
`WEIGHT_RULES` for their `weights`, `SCHEDULES` for `communication_schedule`.

Column-stochastic matrices (`send_weights`) lose the mean unless the mass is
mixed along, as push-sum does; `Mixer.stochastic` tells the kinds apart.
"""

from jaxdl.mixing import graphs, spectra, variance
from jaxdl.mixing._as_mixer import as_graph, as_mixer
from jaxdl.mixing._communication import (
  SCHEDULES,
  communication_schedule,
  mean_above,
  num_messages,
  random_pairs,
  random_peers,
  scheduled,
)
from jaxdl.mixing._describe import all_reduce, matrices, messages, spectrum
from jaxdl.mixing._make import make_graph, make_mixer
from jaxdl.mixing._matcha import Matcha, decompose, matcha, matchings
from jaxdl.mixing._merge import merge
from jaxdl.mixing._mixers import (
  STRUCTURES,
  Mixer,
  choose_structure,
  every,
  from_function,
  from_matrix,
  from_tables,
  identity,
)
from jaxdl.mixing._random import (
  directed_equidyn,
  epidemic_local,
  epidemic_oracle,
  random_matching,
  random_shift,
  undirected_equidyn,
  unreliable,
)
from jaxdl.mixing._robust import ROBUST, robust_mixer
from jaxdl.mixing._schedules import (
  base_graph,
  equistatic,
  equistatic_num_shifts,
  hyper_hypercube,
  one_peer_exponential,
  one_peer_hypercube,
  simple_base_graph,
)
from jaxdl.mixing._sharded import shard
from jaxdl.mixing._topologies import TOPOLOGIES
from jaxdl.mixing._weights import (
  WEIGHT_RULES,
  best_constant,
  fastest,
  lazy,
  lazy_metropolis,
  max_degree,
  metropolis,
  send_weights,
  uniform,
)

__all__ = [
  'Matcha',
  'Mixer',
  'ROBUST',
  'SCHEDULES',
  'STRUCTURES',
  'TOPOLOGIES',
  'WEIGHT_RULES',
  'all_reduce',
  'as_graph',
  'matrices',
  'messages',
  'spectrum',
  'as_mixer',
  'base_graph',
  'best_constant',
  'choose_structure',
  'communication_schedule',
  'decompose',
  'directed_equidyn',
  'epidemic_local',
  'epidemic_oracle',
  'equistatic',
  'equistatic_num_shifts',
  'every',
  'fastest',
  'from_function',
  'from_matrix',
  'from_tables',
  'graphs',
  'hyper_hypercube',
  'identity',
  'lazy',
  'lazy_metropolis',
  'make_graph',
  'make_mixer',
  'matcha',
  'matchings',
  'max_degree',
  'mean_above',
  'merge',
  'metropolis',
  'num_messages',
  'one_peer_exponential',
  'one_peer_hypercube',
  'random_matching',
  'random_pairs',
  'random_peers',
  'random_shift',
  'robust_mixer',
  'scheduled',
  'send_weights',
  'shard',
  'simple_base_graph',
  'spectra',
  'undirected_equidyn',
  'uniform',
  'unreliable',
  'variance',
]
