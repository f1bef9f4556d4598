# SPDX-License-Identifier: Apache-2.0
"""Agents that learn who listens to whom, with Transformers on a graph.

A directed graph of k edges per agent masks and weights the attention of an
encoder of what agents see and of a decoder of what they do, one after another.
Graph and model are trained in turns:

    env = agents.make_game('simple_spread(num_agents=5)')
    made = commformer.former(env, 'learned(sparsity=0.4)')
    learner = commformer.bilevel_ppo(env, made, num_epochs=10)
    problem = problems.games.games(env, made.policy)
    state, history = experiment.train(
      learner, problem, num_rounds=100, key=jax.random.key(0)
    )
    history['graph'][-1]  # Row = receiver.

- `GRAPHS`: 'learned', 'full', 'mat' (full without embeddings of pairs),
  'random', 'self'; `exact_topk` and `gumbel_topk` take edges, straight through.
- `former`: the agents; by name `make_former` ('graph@former(option=value)',
  `VARIANTS`).
- `relation_attention` with `attention_leaves`: attention on a graph alone.
- `bilevel_ppo`: the learner; `ValueNorm` and its functions measure returns.
"""

from jaxdl.agents.commformer._attention import (
  SCALES,
  SELF_LOOPS,
  attention_leaves,
  relation_attention,
)
from jaxdl.agents.commformer._bilevel import (
  LEARNERS,
  FormerState,
  bilevel_ppo,
  huber,
  phase_of,
)
from jaxdl.agents.commformer._decoding import DECODINGS
from jaxdl.agents.commformer._graphs import (
  GRAPHS,
  ROLLOUTS,
  Graph,
  Links,
  edges_of,
  exact_links,
  exact_topk,
  fixed_links,
  gumbel_topk,
)
from jaxdl.agents.commformer._policy import (
  FORMERS,
  VARIANTS,
  Former,
  Phase,
  former,
  make_former,
)
from jaxdl.agents.commformer._value_norm import (
  ValueNorm,
  init_value_norm,
  mean_and_std,
  update_value_norm,
)

__all__ = [
  'DECODINGS',
  'FORMERS',
  'Former',
  'FormerState',
  'GRAPHS',
  'Graph',
  'LEARNERS',
  'Links',
  'Phase',
  'ROLLOUTS',
  'SCALES',
  'SELF_LOOPS',
  'VARIANTS',
  'ValueNorm',
  'attention_leaves',
  'bilevel_ppo',
  'edges_of',
  'exact_links',
  'exact_topk',
  'fixed_links',
  'former',
  'gumbel_topk',
  'huber',
  'init_value_norm',
  'make_former',
  'mean_and_std',
  'phase_of',
  'relation_attention',
  'update_value_norm',
]
