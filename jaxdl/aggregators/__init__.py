# SPDX-License-Identifier: Apache-2.0
"""Rules that turn the clients' updates into one.

Every rule is a pure function `rule(updates, ...) -> update` of a stacked tree
(leading client axis N), works under jit, vmap and grad where that makes sense,
in bf16, f32 and f64, with clients or parameters sharded, and inside `pmap` or
`shard_map` through `axis_name`.

Gram rules need only the inner products between clients. Each accepts a
`jaxdl.core.view.View` and composes with the pre-aggregators at no further pass
over the data; `weights_of(rule, updates)` tells what it makes of the clients,
f32[N]: `krum`, `multi_krum`, `repeated_krum`, `bulyan`, `geometric_median`,
`mda`, `smea`, `caf`, `cge`, `dnc`, `flag_aggregator`, `fltrust`, `signguard`,
`nearest_neighbor_averaging`, `centered_clipping`.

Coordinate rules look at one coordinate at a time: `median`, `trimmed_mean`,
`meamed`, `phocas`, `sign_majority`.

Pre-aggregators map n vectors to n or fewer: `nnm`, `bucketing`, `clipping`,
`arc`; `chain(nnm, krum)` composes, also with functions of your own.

Rules with memory are `Aggregator(init, apply, explain)` pairs:
`centered_clipping_aggregator`, `foolsgold`, `server_momentum`; `stateless`
wraps a pure rule. `make_aggregator('nnm+krum', ...)` builds any of them from
text; `RULES` and `PRE_RULES` list names and options. Algorithms take text, or
a pure rule as it is, `robust_sgd(task, aggregators.median, ...)`: bind its
options by `functools.partial`; `as_aggregator` does the rest.

Non-finite clients are farthest from everyone in robust rules and pass through
the plain mean. `mask` removes padding rows: they never move a result (under one
key `bucketing` deals other buckets; `mda` and `smea` take no mask). Conditions
such as n > 2f are checked for all rows, padding too. How many a mask leaves is
a value, and where it leaves too few the guarantee is void, but every rule
answers in one way: it drops as many as it should while at least one client
counts (`trimmed_mean` becomes the median, `multi_krum` is `krum`, `meamed`
takes the entry nearest the median). Only nobody at all gives zeros, so that a
model keeps still. Sample cohorts that suffice.

Finite clients may be as large as the dtype has numbers. At the small end, what
is below its smallest normal number, 1.2e-38 in float32 (a share of an entry
too), counts as zero: answers are exact to rounding for entries above 1e-33, and
off by up to 1e-38 below.

On a mesh whose devices hold coordinates of all clients (`Clients.layout`),
`lay_out` makes a rule read those; `reads` tells what it must read of updates,
and `jaxdl.parallel.choose_layout` which layout is cheapest.

**Inside your own `shard_map`**, a rule with `axis_name` takes this device's
clients, leaves [N / P, ...], and gives every device the update of all. Cast the
parameters first: jax sums the gradient of a value that all devices share over
the devices unless `check_vma=False`, and clients would silently learn from
their neighbors' gradients. And average the update over the devices, which hold
the same one: that is how jax knows. The same lines are right for both settings
of `check_vma` and for every rule:

    def step(params, batches):  # batches: this device's clients
      params = jax.lax.pcast(params, 'clients', to='varying')
      grads = jax.vmap(jax.grad(loss), in_axes=(None, 0))(params, batches)
      update = aggregators.multi_krum(
        grads, num_byzantine=3, axis_name='clients'
      )
      return jax.lax.pmean(update, 'clients')

    step = jax.jit(jax.shard_map(
      step,
      mesh=core.clients.clients_mesh(),
      in_specs=(jax.P(), jax.P('clients')),
      out_specs=jax.P(),
    ))

In a `pmap` whose devices hold one client each, give that client its axis,
`jax.tree.map(lambda x: x[None], grads)`: a vector without it reads as one
client per entry. `core.clients.map_clients` does all this for you.
"""

from jaxdl.aggregators._combinators import (
  chain,
  server_momentum,
  stateless,
  weights_of,
)
from jaxdl.aggregators._coordinate import (
  meamed,
  median,
  phocas,
  sign_majority,
  trimmed_mean,
)
from jaxdl.aggregators._distance import (
  bulyan,
  bulyan_selection,
  krum,
  krum_scores,
  mda,
  multi_krum,
  nearest_neighbor_averaging,
  repeated_krum,
)
from jaxdl.aggregators._families import merge_shares
from jaxdl.aggregators._flag import (
  FlagState,
  flag_aggregator,
  flag_mean,
  flag_state,
  reconstruction_values,
)
from jaxdl.aggregators._iterative import (
  centered_clipping,
  centered_clipping_aggregator,
  geometric_median,
)
from jaxdl.aggregators._layouts import lay_out, reads
from jaxdl.aggregators._means import mean
from jaxdl.aggregators._pre import arc, bucketing, clipping, nnm
from jaxdl.aggregators._registry import (
  PRE_RULES,
  RULES,
  as_aggregator,
  as_rule,
  make_aggregator,
)
from jaxdl.aggregators._similarity import (
  FoolsGoldState,
  cosine_similarity,
  fltrust,
  foolsgold,
  mean_shift_labels,
  signguard,
)
from jaxdl.aggregators._subspace import caf, cge, dnc, smea

__all__ = [
  'PRE_RULES',
  'RULES',
  'FlagState',
  'FoolsGoldState',
  'arc',
  'as_aggregator',
  'as_rule',
  'bucketing',
  'bulyan',
  'bulyan_selection',
  'caf',
  'centered_clipping',
  'centered_clipping_aggregator',
  'cge',
  'chain',
  'clipping',
  'cosine_similarity',
  'dnc',
  'flag_aggregator',
  'flag_mean',
  'flag_state',
  'fltrust',
  'foolsgold',
  'geometric_median',
  'krum',
  'krum_scores',
  'lay_out',
  'make_aggregator',
  'mda',
  'mean',
  'mean_shift_labels',
  'meamed',
  'median',
  'merge_shares',
  'multi_krum',
  'nearest_neighbor_averaging',
  'nnm',
  'phocas',
  'reads',
  'reconstruction_values',
  'repeated_krum',
  'server_momentum',
  'sign_majority',
  'signguard',
  'smea',
  'stateless',
  'trimmed_mean',
  'weights_of',
]
