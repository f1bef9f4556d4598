# SPDX-License-Identifier: Apache-2.0
"""Federated algorithms by name."""

from typing import Any

from jaxdl import local
from jaxdl.core import clients as clients_lib, registry, types
from jaxdl.federated.server import (
  _averaging,
  _control,
  _engine,
  _fair,
  _method,
  _mixtures,
  _personal,
)

METHODS = registry.Registry(
  'algorithm',
  {
    'centralized': _averaging.centralized,
    'fedsgd': _averaging.fedsgd,
    'fedavg': _averaging.fedavg,
    'fedavgm': _averaging.fedavgm,
    'fedprox': _averaging.fedprox,
    'fednova': _averaging.fednova,
    'fedopt': _averaging.fedopt,
    'scaffold': _control.scaffold,
    'feddyn': _control.feddyn,
    'mime': _control.mime,
    'mime_lite': _control.mime_lite,
    'q_fedavg': _fair.q_fedavg,
    'agnostic': _fair.agnostic,
    'apfl': _personal.apfl,
    'ditto': _personal.ditto,
    'fedbn': _personal.fedbn,
    'ifca': _mixtures.ifca,
    'local_only': _personal.local_only,
  },
  given=('task', 'work'),
)


def make_method(
  spec: str, task: types.Task, work: local.LocalWork
) -> _method.Method:
  """Makes a method from text.

  Args:
    spec: a part of `METHODS` with its options: 'scaffold(option=1)',
      'fedavg(server_optimizer=fed_adam(0.01))'.
    task: parameters and loss.
    work: what a client does.

  Returns:
    The method.

  Raises:
    ValueError: if the name or an option is unknown or out of range.
  """
  return METHODS.make(spec, task, work)


def make_algorithm(
  spec: str | _method.Method,
  task: types.Task,
  clients: clients_lib.Clients | int,
  *,
  work: local.LocalWork,
  channel: Any = None,
  cohort_size: int | None = None,
) -> types.Algorithm:
  """Makes a federated algorithm from text.

  Args:
    spec: a part of `METHODS` with its options, or a method.
    task: parameters and loss.
    clients: the N clients there are, or N (static).
    work: what a client does.
    channel: see `federate`.
    cohort_size: see `federate`.

  Returns:
    The algorithm.

  Raises:
    ValueError: if the name or an option is unknown or out of range, or parts
      do not fit.

  Example:
    >>> import jax.numpy as jnp
    >>> from jaxdl import networks
    >>> task = networks.regression(
    ...   networks.logistic_regression(1), jnp.ones((1, 2))
    ... )
    >>> algorithm = make_algorithm(
    ...   'fedprox(mu=0.01)', task, 5, work=local.LocalWork(num_steps=3)
    ... )
    >>> algorithm.per_client
    False
  """
  if isinstance(spec, str):
    spec = make_method(spec, task, work)
  return _engine.federate(spec, clients, channel, cohort_size=cohort_size)
