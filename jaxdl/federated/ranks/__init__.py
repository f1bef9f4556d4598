# SPDX-License-Identifier: Apache-2.0
"""Learning by votes on the order of a random network's edges.

The network's weights stay as drawn (`networks.supermask`); a client sends, per
layer, a permutation of the edges, and `rank_learning` counts.

- `rank_edges`, `reputations`, `scores_from_ranking`: scores to rankings and
  back; `vote` aggregates rankings, `check_rankings` looks at them on the host.
- `RANK_RULES`: 'borda', 'trimmed', 'median'. `RANK_ATTACKS`: 'rank_reversal',
  'random_rank', 'swap_halves', the first and the last also omniscient.
- `sparse_reputations`, `communication_bits`: sending the top only, and what
  that costs.
- `sample_minority`: who votes, redrawn until most of them are honest.
- `make_method` reads what is compared, `METHODS`: 'frl(sparse=0.5)@trimmed', or
  methods of `federated.server` under attack, 'fedavg@repeated_krum'.
"""

from jaxdl.federated.ranks._attacks import (
  RANK_ATTACKS,
  as_rank_attack,
  random_rank,
  rank_reversal,
  swap_halves,
)
from jaxdl.federated.ranks._learning import RankState, rank_learning
from jaxdl.federated.ranks._methods import (
  LARGE,
  METHOD_SPECS,
  METHODS,
  RANKED,
  TAILORED,
  Method,
  check_method,
  make_method,
  make_ranked,
)
from jaxdl.federated.ranks._rankings import (
  check_rankings,
  communication_bits,
  rank_edges,
  reputations,
  scores_from_ranking,
  sparse_reputations,
  vote,
)
from jaxdl.federated.ranks._rules import (
  RANK_RULES,
  as_rank_rule,
  borda,
  footrules,
  median,
  trimmed,
)
from jaxdl.federated.ranks._samples import num_malicious, sample_minority

__all__ = [
  'RANKED',
  'make_ranked',
  'LARGE',
  'METHODS',
  'METHOD_SPECS',
  'Method',
  'RANK_ATTACKS',
  'RANK_RULES',
  'RankState',
  'TAILORED',
  'as_rank_attack',
  'as_rank_rule',
  'borda',
  'check_method',
  'check_rankings',
  'communication_bits',
  'footrules',
  'make_method',
  'median',
  'num_malicious',
  'random_rank',
  'rank_edges',
  'rank_learning',
  'rank_reversal',
  'reputations',
  'sample_minority',
  'scores_from_ranking',
  'sparse_reputations',
  'swap_halves',
  'trimmed',
  'vote',
]
