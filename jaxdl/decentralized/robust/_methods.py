# SPDX-License-Identifier: Apache-2.0
"""Named methods of all-to-all learning, by spec."""

from collections.abc import Callable
from typing import Any

import chex

from jaxdl.core import clients as clients_lib, registry, types
from jaxdl.decentralized.robust import _all_to_all, _receivers

Rate = chex.Numeric | Callable[[chex.Array], chex.Numeric]


def _learn(
  rule,
  task,
  clients,
  *,
  told,
  num_byzantine,
  num_held,
  learning_rate,
  attack,
  num_mixing_rounds,
  momentum,
  exchange_gradients=False,
):
  return _all_to_all.all_to_all_sgd(
    task,
    _receivers.receiver_rule(rule, num_byzantine=told),
    clients,
    num_byzantine=num_byzantine,
    num_held=num_held,
    learning_rate=learning_rate,
    momentum=momentum,
    attack=attack if num_byzantine else None,
    num_mixing_rounds=num_mixing_rounds,
    exchange_gradients=exchange_gradients,
  )


def dsgd(
  task: types.Task,
  clients: clients_lib.Clients,
  *,
  num_byzantine: int,
  momentum: float = 0.99,
  **shared: Any,
) -> types.Algorithm:
  """Exact averaging of the correct nodes, without adversaries."""
  correct = clients.num_clients - num_byzantine
  return _learn(
    'mean',
    task,
    clients.replace(num_clients=correct),
    num_byzantine=0,
    momentum=momentum,
    **(shared | {'num_held': correct}),
  )


def monna(
  task: types.Task,
  clients: clients_lib.Clients,
  *,
  momentum: float = 0.99,
  **shared: Any,
) -> types.Algorithm:
  """Momentum and nearest-neighbor averaging."""
  rule = 'nearest_neighbor_averaging'
  return _learn(rule, task, clients, momentum=momentum, **shared)


def nna(
  task: types.Task, clients: clients_lib.Clients, **shared: Any
) -> types.Algorithm:
  """Nearest-neighbor averaging without momentum."""
  rule = 'nearest_neighbor_averaging'
  return _learn(rule, task, clients, momentum=0.0, **shared)


def mocwtm(
  task: types.Task,
  clients: clients_lib.Clients,
  *,
  momentum: float = 0.99,
  **shared: Any,
) -> types.Algorithm:
  """Momentum and the coordinate-wise trimmed mean."""
  return _learn('trimmed_mean', task, clients, momentum=momentum, **shared)


def bridge(
  task: types.Task, clients: clients_lib.Clients, **shared: Any
) -> types.Algorithm:
  """The trimmed mean without momentum."""
  return _learn('trimmed_mean', task, clients, momentum=0.0, **shared)


def mogm(
  task: types.Task,
  clients: clients_lib.Clients,
  *,
  momentum: float = 0.99,
  **shared: Any,
) -> types.Algorithm:
  """Momentum and the geometric median."""
  return _learn('geometric_median', task, clients, momentum=momentum, **shared)


def gm(
  task: types.Task, clients: clients_lib.Clients, **shared: Any
) -> types.Algorithm:
  """The geometric median without momentum."""
  return _learn('geometric_median', task, clients, momentum=0.0, **shared)


def scc(
  task: types.Task,
  clients: clients_lib.Clients,
  *,
  clip_radius: float = 2.0,
  momentum: float = 0.9,
  **shared: Any,
) -> types.Algorithm:
  """Self-centered clipping."""
  rule = registry.write('centered_clipping', clip_radius=clip_radius)
  return _learn(rule, task, clients, momentum=momentum, **shared)


def learn(
  task: types.Task,
  clients: clients_lib.Clients,
  *,
  momentum: float = 0.99,
  **shared: Any,
) -> types.Algorithm:
  """The trimmed mean of gradients and of models."""
  return _learn(
    'trimmed_mean',
    task,
    clients,
    momentum=momentum,
    exchange_gradients=True,
    **shared,
  )


def mean(
  task: types.Task,
  clients: clients_lib.Clients,
  *,
  momentum: float = 0.99,
  **shared: Any,
) -> types.Algorithm:
  """Momentum and the plain mean."""
  return _learn('mean', task, clients, momentum=momentum, **shared)


# All are called `method(task, clients, *, told, num_byzantine, num_held,
# learning_rate, attack, num_mixing_rounds)`, see `all_to_all_sgd`; `told` is
# the number of adversaries that the rule is told.
METHODS = registry.Registry(
  'method',
  {
    'dsgd': dsgd,
    'monna': monna,
    'nna': nna,
    'mocwtm': mocwtm,
    'bridge': bridge,
    'mogm': mogm,
    'gm': gm,
    'scc': scc,
    'learn': learn,
    'mean': mean,
  },
  given=('task', 'clients', 'num_byzantine'),
)
