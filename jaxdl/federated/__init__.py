# SPDX-License-Identifier: Apache-2.0
"""Learning with a server.

- `make_algorithm`: any of `METHODS` (FedAvg, FedProx, SCAFFOLD, FedNova, Mime,
  FedDyn, q-FedAvg, APFL, ...) over a `Channel` with any rule, attack,
  compressor, privacy and secure sums; see `federated.server`.
- `asynchronous`: servers that do not wait; any method on an exact schedule.
- `clusters`: groups of clients with like data, found once; a model per group.
- `prototypes`: class means that clients merge exactly, and missions.
- `distilled`: clients that send predictions on public inputs, not weights.
- `ranks`: votes on rankings of the edges of a random network.
- `robust_sgd`: distributed SGD with worker momentum, any robust rule and any
  adversary.
- `centralized_sgd`: one model on the pooled examples, the yardstick.
- `batch_cohort`: one batch for every client, bound to client identities.

A model of yours, data [N, S, ...] of N clients, two of them adversaries:

    task = networks.classification(MyModule(nnx.Rngs(0)), x[0], num_classes=3)
    algorithm = federated.robust_sgd(
      task,
      'nnm+trimmed_mean',
      N,
      optimizer=optax.sgd(0.3),
      attack='alie(scale=1.5)',
      num_byzantine=2,
    )
    state = algorithm.init(jax.random.key(0))
    step = jax.jit(algorithm.step)
    for t in range(100):
      draw, key = jax.random.split(jax.random.fold_in(jax.random.key(1), t))
      cohort = local.batch_cohort(
        draw, {'inputs': x, 'labels': y}, batch_size=32
      )
      state, metrics = step(state, cohort, key=key)
    task.evaluate(algorithm.params(state), {'inputs': x_test, 'labels': y_test})
"""

from jaxdl.federated import (
  asynchronous,
  clusters,
  distilled,
  prototypes,
  ranks,
  server,
)
from jaxdl.federated._centralized import CentralizedState, centralized_sgd
from jaxdl.federated._robust_sgd import robust_sgd
from jaxdl.federated.server import (
  LOCAL_METHODS,
  METHODS,
  SERVER_OPTIMIZERS,
  VARIANTS,
  Channel,
  FederatedState,
  Method,
  check_adversaries,
  check_optimizer,
  check_private,
  check_variant,
  federate,
  make_algorithm,
  make_method,
  make_variant,
)
from jaxdl.local._cohorts import batch_cohort

__all__ = [
  'CentralizedState',
  'Channel',
  'FederatedState',
  'LOCAL_METHODS',
  'METHODS',
  'VARIANTS',
  'Method',
  'SERVER_OPTIMIZERS',
  'asynchronous',
  'batch_cohort',
  'centralized_sgd',
  'clusters',
  'distilled',
  'federate',
  'make_algorithm',
  'check_optimizer',
  'check_adversaries',
  'check_private',
  'check_variant',
  'make_method',
  'make_variant',
  'prototypes',
  'ranks',
  'robust_sgd',
  'server',
]
