# SPDX-License-Identifier: Apache-2.0
"""Pruning: which neurons, filters or weights of a network take part.

`gated(network)` gives every neuron and filter of any network a participation s
in [0, 1] that scales it; parameters are {'network', 'gates'}. A rule of
`METHODS` moves the gates while the network trains, and `with_gates` makes one
optimizer of the two, which goes wherever an optimizer goes:

    plain = networks.mlp((512, 256), 10)
    task = networks.classification(gated(plain), x[:1], num_classes=10)
    optimizer = with_gates(optax.adam(1e-3), game(benefit=100.0))
    algorithm = federated.centralized_sgd(task, optimizer=optimizer)
    ...
    small = compact(plain, algorithm.params(state), x[:1])
    small.network.apply(small.params, x)

- `game`: neurons are players that pay for taking part; those whose best answer
  is zero leave. `group_l1`, `one_shot` (magnitude, first-order scores, random)
  and `dense` are what it is compared with. `sparsity`, `num_alive`, `prune`,
  `compact` say and take what is left. `hard_concrete` makes a task of random
  gates with an L0 penalty.
- The theory of a layer's game: `utility`, `potential`, `best_response`,
  `solve_equilibrium` and `maximize_potential`, `is_unique`, `is_contraction`,
  `dominated`, `unilateral_gain`.
- Players of a network: `player_sq_norms`, `player_gram`, `player_overlaps`,
  `player_products`, `player_benefits`.

In federated learning the clients play and the server counts votes: method
`pruning_game` of `federated.METHODS`.
"""

from jaxdl.pruning._compact import (
  Compact,
  check_rate,
  compact,
  compact_size,
  dead_layers,
  measure,
  num_alive,
  prune,
  sparsity,
)
from jaxdl.pruning._equilibrium import (
  MODES,
  Equilibrium,
  is_contraction,
  is_unique,
  maximize_potential,
  solve_equilibrium,
)
from jaxdl.pruning._game import (
  Costs,
  best_response,
  dominated,
  interactions,
  potential,
  unilateral_gain,
  utility,
  utility_gradient,
)
from jaxdl.pruning._gated import gated, gated_task, used_in_order
from jaxdl.pruning._hard_concrete import (
  as_gates,
  hard_concrete,
  hard_concrete_gates,
  hard_concrete_penalty,
)
from jaxdl.pruning._players import (
  GRANULARITIES,
  init_participation,
  layers_of,
  player_benefits,
  player_gram,
  player_overlaps,
  player_products,
  player_sq_norms,
  scale,
)
from jaxdl.pruning._rules import (
  METHODS,
  GameState,
  GatesState,
  OneShotState,
  Rule,
  dense,
  game,
  group_l1,
  one_shot,
  with_gates,
)
from jaxdl.pruning._scores import (
  SCORES,
  keep_top,
  kept_counts,
  random_scores,
  taylor_scores,
)

__all__ = [
  'Compact',
  'Costs',
  'Equilibrium',
  'GRANULARITIES',
  'GameState',
  'GatesState',
  'METHODS',
  'MODES',
  'OneShotState',
  'Rule',
  'SCORES',
  'as_gates',
  'best_response',
  'check_rate',
  'compact',
  'compact_size',
  'dead_layers',
  'dense',
  'dominated',
  'game',
  'gated',
  'gated_task',
  'group_l1',
  'hard_concrete',
  'hard_concrete_gates',
  'hard_concrete_penalty',
  'init_participation',
  'interactions',
  'is_contraction',
  'is_unique',
  'keep_top',
  'kept_counts',
  'layers_of',
  'maximize_potential',
  'measure',
  'num_alive',
  'one_shot',
  'player_benefits',
  'player_gram',
  'player_overlaps',
  'player_products',
  'player_sq_norms',
  'potential',
  'prune',
  'random_scores',
  'scale',
  'solve_equilibrium',
  'sparsity',
  'taylor_scores',
  'unilateral_gain',
  'used_in_order',
  'utility',
  'utility_gradient',
  'with_gates',
]
