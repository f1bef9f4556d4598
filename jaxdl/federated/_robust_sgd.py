# SPDX-License-Identifier: Apache-2.0
"""Server-based training with adversarial workers."""

from collections.abc import Callable

import chex
import optax

from jaxdl import local
from jaxdl.core import checks, clients as clients_lib, types
from jaxdl.federated import server


def robust_sgd(
  task: types.Task,
  aggregator: types.Aggregator | Callable[..., chex.ArrayTree] | str,
  clients: clients_lib.Clients | int,
  *,
  optimizer: optax.GradientTransformation,
  attack: types.Attack | Callable[..., chex.ArrayTree] | str | None = None,
  num_byzantine: int | None = None,
  worker_momentum: chex.Numeric = 0.0,
  clip_norm: chex.Numeric | None = None,
  explain: bool = True,
) -> types.Algorithm:
  """Distributed SGD with a robust server rule and any adversary.

  In a round every worker takes the gradient of its batch, clips it and adds it
  to its momentum m <- beta m + (1 - beta) g; the last F workers then send what
  the attack says instead, after it has poisoned their batches if that is what
  it does. The rule turns the N vectors into one, the server's optimizer takes a
  step with it. F is how many adversaries there really are; a rule in text is
  told the same number unless it says another, 'krum(num_byzantine=2)'.

  Args:
    task: parameters and loss.
    aggregator: the server's rule: an `Aggregator`, a rule without memory such
      as `aggregators.median`, or text such as 'nnm+trimmed_mean'
      (`aggregators.as_aggregator`).
    clients: the N workers, or N (static). With reduction 'gathered' all vectors
      are copied to every device before the rule, which makes a run bitwise
      equal on any number of devices.
    optimizer: the server's; its schedule counts rounds.
    attack: what the last F workers send; they are honest if None. An `Attack`,
      a function such as `attacks.sign_flip`, or text such as 'alie(scale=1.5)'
      (`attacks.as_attack`). An attack in text that must know a rule is aimed at
      this server with a fresh memory.
    num_byzantine: F, adversaries that take part (static), 0 <= F < N; must be
      said where there is an attack, otherwise 0 by default.
    worker_momentum: beta in [0, 1); static or traced.
    clip_norm: longest gradient a worker uses; None does not clip.
    explain: whether metrics contain `error` and the weights of the workers
      (static).

  Returns:
    An `Algorithm`: `server.fedsgd` over a `server.Channel`, with a
    `server.FederatedState`, whose `own` are the momenta. `step` wants a cohort
    of N workers in fixed order whose `data` is a batch per worker. Metrics:
    `loss` (honest mean), `update_norm`, traffic, and with `explain` `error`
    (`metrics.aggregation_error`) and `weights: f32[N]` where the rule explains
    itself: all do but functions of your own that know stacked trees only.

  Raises:
    ValueError: if counts or options are out of range; from `step`, if the
      cohort, the update or what the attack makes has other shapes.
    TypeError: if a part is of another kind; the message says what to call.

  Example:
    >>> from jaxdl import networks
    >>> task = networks.regression(
    ...   networks.logistic_regression(1), jnp.ones((1, 2))
    ... )
    >>> algorithm = robust_sgd(
    ...   task,
    ...   'nnm+median',
    ...   5,
    ...   optimizer=optax.sgd(0.1),
    ...   attack='ipm(scale=0.5)',
    ...   num_byzantine=1,
    ... )
    >>> state = algorithm.init(jax.random.key(0))
    >>> cohort = types.Cohort(
    ...   client_ids=jnp.arange(5),
    ...   data={
    ...     'inputs': jnp.ones((5, 4, 2)), 'labels': jnp.ones((5, 4, 1))
    ...   },
    ...   mask=jnp.ones(5, bool),
    ...   weights=jnp.ones(5),
    ... )
    >>> state, metrics = jax.jit(algorithm.step)(
    ...   state, cohort, key=jax.random.key(1)
    ... )
    >>> sorted(metrics)
    ['error', 'loss', 'megabytes_down', 'megabytes_up', 'num_clients', \
'update_norm', 'weights']

  Source: Karimireddy et al. 2021 (https://arxiv.org/abs/2012.10333) for worker
    momentum; Allouah et al. 2023 (https://arxiv.org/abs/2302.01772), Algorithm
    2.
  """
  clients = clients_lib.as_clients(clients)
  checks.optimizer(optimizer)
  checks.integer(
    num_byzantine or 0,
    name='num_byzantine',
    low=0,
    high=clients.num_clients - 1,
  )
  checks.number(
    worker_momentum, name='worker_momentum', low=0.0, high=1.0, open_high=True
  )
  method = server.fedsgd(
    task,
    local.LocalWork(optimizer),
    momentum=worker_momentum,
    clip_norm=clip_norm,
    equal=True,
  )
  channel = server.Channel(
    aggregator=aggregator,
    attack=attack,
    num_byzantine=num_byzantine,
    explain=explain,
  )
  return server.federate(
    method._replace(name='robust_sgd'), clients, channel, everybody=True
  )
