# SPDX-License-Identifier: Apache-2.0
"""Federated algorithms by name."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from jaxdl import local, privacy as privacy_lib
from jaxdl.core import clients as clients_lib, registry, types
from jaxdl.federated.server import (
  _adaptive,
  _averaging,
  _channel,
  _control,
  _engine,
  _experts,
  _fair,
  _hyper,
  _method,
  _mixtures,
  _personal,
  _pruning,
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
    'pfedhn': _hyper.pfedhn,
    'pruning_game': _pruning.pruning_game,
    'expert_fedavg': _experts.expert_fedavg,
  },
  given=('task', 'work', 'is_own', 'name'),
)

# Methods whose clients take steps by themselves, with an optimizer that starts
# afresh in every round.
_GRADIENTS = ('centralized', 'fedsgd')
LOCAL_METHODS = tuple(name for name in METHODS if name not in _GRADIENTS)


# Those whose mathematics is of steps against the gradient.
_LINEAR = ('fednova', 'q_fedavg')


def check_optimizer(
  optimizer: str, algorithms: Sequence[str], *, name: str = 'optimizer'
) -> None:
  """Refuses a client's optimizer that an algorithm has no use for.

  A schedule would never be seen to move, as the optimizer of a client starts
  afresh in every round; FedNova and q-FedAvg rest on steps of SGD.

  Args:
    optimizer: a part of `local.OPTIMIZERS`, of clients.
    algorithms: by name, each alone or on a channel.
    name: what the optimizer is called in an error.

  Raises:
    ValueError: if the optimizer has a schedule and one of the algorithms works
      at the clients, or one needs SGD.
  """
  part = local.OPTIMIZERS.part(optimizer, name=name)
  for spec in algorithms:
    first, _ = registry.pair(spec, name='algorithm')
    method = registry.parse(first, name='algorithm').name
    if method in _LINEAR and part.name != 'sgd':
      raise ValueError(
        f'{name}={optimizer}: {spec} scales steps back by their size, which '
        'adaptive steps do not follow: choose sgd.'
      )
    if 'schedule' in part.options and method not in _GRADIENTS:
      raise ValueError(
        f'{name}={optimizer}: that of a client starts afresh in every round, '
        f'so {spec} never sees its schedule move: leave it out, or schedule '
        'the server, server_optimizer=....'
      )


def _channel_of(
  *,
  aggregator: str = 'mean',
  attack: str | None = None,
  num_byzantine: int | None = None,
  compressor: str | None = None,
  error_feedback: bool = False,
  privacy: str | None = None,
  secure: str | None = None,
  explain: bool = False,
) -> _channel.Channel:
  """Messages by rule, attack, compressor, privacy and secure sums."""
  return _channel.Channel(
    aggregator=aggregator,
    attack=attack,
    num_byzantine=num_byzantine,
    compressor=compressor,
    error_feedback=error_feedback,
    privacy=privacy,
    secure=secure,
    explain=explain,
  )


CHANNELS = registry.Registry('channel', {'channel': _channel_of})

# The grammar of `make_variant`, for flags.
VARIANTS = registry.Pair(METHODS, CHANNELS)


def make_variant(
  spec: str,
  task: types.Task,
  work: local.LocalWork,
  *,
  num_rounds: int | None = None,
  **channel: Any,
) -> tuple[_method.Method, _channel.Channel]:
  """Makes a method and its channel from text.

  Args:
    spec: 'scaffold', or 'fedavg@channel(compressor=top_k(keep=0.1),
      error_feedback=True)': a part of `METHODS` and one of `CHANNELS`.
    task: parameters and loss.
    work: what a client does.
    num_rounds: see `make_method`.
    **channel: attributes of `Channel` where the spec says nothing else.

  Returns:
    The method and the channel, for `federate`.

  Raises:
    ValueError: if a name or an option is unknown or out of range.

  Example:
    >>> from jaxdl import networks
    >>> import jax.numpy as jnp
    >>> task = networks.regression(
    ...   networks.logistic_regression(1), jnp.ones((1, 2))
    ... )
    >>> method, channel = make_variant(
    ...   'fedprox@channel(aggregator=median)', task, local.LocalWork()
    ... )
    >>> method.name, channel.aggregator
    ('fedprox', 'median')
  """
  first, second = registry.pair(spec, name='algorithm')
  method = make_method(first, task, work, num_rounds=num_rounds)
  part = CHANNELS.part('channel' if second is None else second)
  return method, _channel.Channel(**(channel | part.options))


def make_method(
  spec: str,
  task: types.Task,
  work: local.LocalWork,
  *,
  num_rounds: int | None = None,
) -> _method.Method:
  """Makes a method from text.

  Args:
    spec: a part of `METHODS` with its options: 'scaffold(option=1)',
      'fedavg(server_optimizer=fed_adam(0.01))'.
    task: parameters and loss.
    work: what a client does.
    num_rounds: of the run, for schedules of the server's optimizer.

  Returns:
    The method.

  Raises:
    ValueError: if the name or an option is unknown or out of range.
  """
  part = METHODS.part(spec)
  optimizer = part.options.get('server_optimizer')
  if isinstance(optimizer, str):
    made = _adaptive.make_server_optimizer(optimizer, num_steps=num_rounds)
    part = part._replace(options=part.options | {'server_optimizer': made})
  return METHODS.bound(part, task, work)


def check_private(privacy: Any, sampling: str) -> None:
  """Refuses samples of clients that a private mean does not account for.

  Args:
    privacy: text of `privacy.MECHANISMS`; others pass.
    sampling: a part of `local.SAMPLERS`.

  Raises:
    ValueError: if the sampler weighs clients by their examples, or Poisson
      cohorts may have to drop some, whose places others take.

  Example:
    >>> check_private('central(clip=1.0)', 'poisson(0.1, weighting=ratio)')
    Traceback (most recent call last):
    ValueError: weighting='ratio' is not private: the noise hides clients \
whose shares are equal and whose sum is divided by a fixed number; write \
weighting='uniform'.
  """
  if not isinstance(privacy, str):
    return
  if privacy_lib.MECHANISMS.part(privacy, name='privacy').name == 'local':
    return
  part = local.SAMPLERS.part(sampling, name='sampling')
  weighting = part.options.get('weighting', 'uniform')
  if weighting != 'fixed':  # That of Poisson cohorts: 1 / (q N).
    privacy_lib.check_weighting(weighting)
  if part.name == 'poisson' and part.options.get('size') is not None:
    raise ValueError(
      f'sampling={sampling}: a Poisson cohort of size {part.options["size"]} '
      'may drop clients, whose chance epsilon does not know: leave size out.'
    )


def check_adversaries(
  options: dict[str, Any], num_byzantine: int, num_clients: int, *, spec: str
) -> None:
  """Refuses a channel whose adversaries a run tells otherwise.

  Args:
    options: of a channel, by name.
    num_byzantine: adversaries among all clients.
    num_clients: N.
    spec: the variant, for messages.

  Raises:
    ValueError: if the channel has a number of adversaries of its own, or an
      attack without any.

  Example:
    >>> check_adversaries({'attack': 'alie'}, 0, 9, spec='fedavg')
    Traceback (most recent call last):
    ValueError: fedavg: attack=alie, but num_byzantine=0: say how many of the \
num_clients=9 attack.
  """
  if 'num_byzantine' in options:
    raise ValueError(
      f'{spec}: adversaries are told by the flag num_byzantine='
      f'{num_byzantine} here; leave the option of the channel out.'
    )
  attack = options.get('attack') or 'none'
  if attack.strip() != 'none' and not num_byzantine:
    raise ValueError(
      f'{spec}: attack={attack}, but num_byzantine=0: say how many of the '
      f'num_clients={num_clients} attack.'
    )


def spent(
  method: _method.Method,
  channel: _channel.Channel,
  num_rounds: int,
  *,
  sampling: str,
  num_clients: int,
  num_expected: float,
  delta: float,
) -> np.ndarray | None:
  """What privacy a method has spent over a channel after each of T rounds.

  Args:
    method: what clients and server do.
    channel: how messages travel.
    num_rounds: T.
    sampling: a part of `local.SAMPLERS`; only Poisson cohorts hide who took
      part.
    num_clients: N.
    num_expected: clients in a cohort, on average.
    delta: δ in (0, 1).

  Returns:
    f64[T + 1] of ε; None if nothing is private, or nothing is sent.

  Example:
    >>> from jaxdl import local, networks
    >>> network = networks.logistic_regression(2)
    >>> task = networks.classification(network, np.ones((1, 3)), num_classes=2)
    >>> method = make_method('fedavg', task, local.LocalWork())
    >>> channel = _channel.Channel(privacy='central(noise_multiplier=1.0)')
    >>> found = spent(
    ...   method,
    ...   channel,
    ...   2,
    ...   sampling='poisson(0.1)',
    ...   num_clients=100,
    ...   num_expected=10,
    ...   delta=1e-5,
    ... )
    >>> found.shape, bool(found[2] > found[1] > found[0] == 0)
    ((3,), True)
  """
  if channel.privacy is None or not _engine.sends(method):
    return None
  poisson = local.SAMPLERS.part(sampling).name == 'poisson'
  return privacy_lib.spent_by(
    privacy_lib.make_mechanism(channel.privacy, num_expected=num_expected),
    num_rounds,
    delta=delta,
    rate=min(num_expected / num_clients, 1.0) if poisson else 1.0,
  )


def check_variant(
  spec: str,
  work: local.LocalWork,
  num_clients: int,
  **channel: Any,
) -> None:
  """Builds a variant on two toy parameters, before there is a task.

  Args:
    spec: see `make_variant`.
    work: what a client does.
    num_clients: M, rows of a cohort.
    **channel: see `make_variant`.

  Raises:
    ValueError: if a name or an option is unknown or out of range, or the
      method, the channel's parts and M do not fit each other.

  Example:
    >>> check_variant(
    ...   'mime', local.LocalWork(), 5, aggregator='median'
    ... )  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    ValueError: aggregator (the text 'median') is of the way of messages, ...
  """
  start = {'norm': np.zeros(1, 'f4'), 'weight': np.zeros(1, 'f4')}
  toy = types.Task(
    init=lambda key: start,
    loss=lambda params, batch, key=None: params['weight'][0],
    evaluate=lambda params, batch: {},
  )
  method, wire = make_variant(spec, toy, work, **channel)
  _engine.make_exchange(method, num_clients, wire)


def make_algorithm(
  spec: str | _method.Method,
  task: types.Task,
  clients: clients_lib.Clients | int,
  *,
  work: local.LocalWork,
  channel: Any = None,
  cohort_size: int | None = None,
  everybody: bool = False,
  num_rounds: int | None = None,
) -> types.Algorithm:
  """Makes a federated algorithm from text.

  Args:
    spec: a part of `METHODS` with its options, or a method.
    task: parameters and loss.
    clients: the N clients there are, or N (static).
    work: what a client does.
    channel: see `federate`.
    cohort_size: see `federate`.
    everybody: see `federate`.
    num_rounds: see `make_method`.

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
    spec = make_method(spec, task, work, num_rounds=num_rounds)
  return _engine.federate(
    spec, clients, channel, cohort_size=cohort_size, everybody=everybody
  )
