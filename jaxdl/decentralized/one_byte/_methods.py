# SPDX-License-Identifier: Apache-2.0
"""Training on one byte and what it is compared to, by spec."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxdl import compression
from jaxdl.core import clients as clients_lib, keys, registry, trees, types
from jaxdl.decentralized.one_byte import _log, _slopes


def one_byte(
  task: types.Task,
  clients: clients_lib.Clients,
  *,
  optimizer: optax.GradientTransformation,
  num_samples: int,
  eps: float,
  codec: str = 'log_int8',
  aggregate: str = 'mean',
  distribution: str = 'normal',
  stochastic_rounding: bool = False,
) -> _slopes.OneByte:
  """Broadcasts the code of a slope."""
  return _slopes.one_byte_sgd(
    task,
    clients,
    optimizer=optimizer,
    num_samples=num_samples,
    eps=eps,
    codec=codec,
    aggregate=aggregate,
    distribution=distribution,
    stochastic_rounding=stochastic_rounding,
  )


def single(
  task: types.Task,
  clients: clients_lib.Clients,
  *,
  optimizer: optax.GradientTransformation,
  num_samples: int,
  eps: float,
  codec: str = 'log_int8',
  aggregate: str = 'mean',
  distribution: str = 'normal',
  stochastic_rounding: bool = False,
) -> types.Algorithm:
  """The first machine alone."""
  alone = _slopes.one_byte_sgd(
    task,
    clients.replace(num_clients=1, mesh=None),
    optimizer=optimizer,
    num_samples=num_samples,
    eps=eps,
    codec=codec,
    aggregate=aggregate,
    distribution=distribution,
    stochastic_rounding=stochastic_rounding,
  )

  def step(state, cohort, *, key):
    first = jax.tree.map(lambda x: x[:1], cohort)
    state, metrics = alone.step(state, first, key=key)
    return state, _told(metrics)

  return types.Algorithm(alone.init, step, alone.params)


def sgd(
  task: types.Task,
  clients: clients_lib.Clients,
  *,
  learning_rate: float = 0.1,
  momentum: float = 0.0,
) -> types.Algorithm:
  """Averages whole gradients by all-reduce, on the same batches."""
  optimizer = optax.sgd(learning_rate, momentum or None)

  def init(key):
    # The start of the other methods.
    params = task.init(jax.random.split(key)[0])
    return params, optimizer.init(params)

  def machine(params, batches, key):
    one = lambda batch: jax.value_and_grad(task.loss)(params, batch, key=key)
    losses, grads = jax.vmap(one)(batches)
    weights = jnp.full(losses.shape, 1 / losses.shape[0])
    return trees.combine(weights, grads), jnp.mean(losses)

  def step(state, cohort, *, key):
    params, opt_state = state
    present = cohort.mask.astype(jnp.float32)
    weights = present / jnp.maximum(jnp.sum(present), 1.0)
    fold = clients.replace(chunk=None).fold(
      machine, in_axes=(None, 0, 0), has_aux=True
    )
    grads, losses = fold(
      weights, params, cohort.data, keys.client_keys(key, cohort.client_ids)
    )
    change, opt_state = optimizer.update(grads, opt_state, params)
    metrics = {'loss': losses[:, None], 'received': cohort.mask[:, None]}
    return (optax.apply_updates(params, change), opt_state), metrics

  return types.Algorithm(init, step, lambda state: state[0])


def _told(metrics):
  """What is worth the way to the host."""
  return {k: metrics[k] for k in ('loss', 'received', 'dropped')}


METHODS = registry.Registry(
  'method',
  {'one_byte': one_byte, 'single': single, 'sgd': sgd},
  given=('task', 'clients', 'optimizer', 'num_samples', 'eps'),
)


def check_method(spec: str) -> None:
  """Checks the options of a method before there is anything to learn.

  Args:
    spec: a part of `METHODS`.

  Raises:
    ValueError: if one is unknown or out of range.

  Example:
    >>> check_method('single(codec=log9)')
  """
  nothing = types.Task(
    lambda key: (), lambda *args, **kwargs: 0.0, lambda *args: {}
  )
  METHODS.make(
    spec,
    nothing,
    clients_lib.Clients(1),
    optimizer=optax.identity(),
    num_samples=1,
    eps=1.0,
  )


class LoggedState(NamedTuple):
  """State of `logged`.

  Attributes:
    live: state of the algorithm.
    start: the same before the first iteration.
    log: what was broadcast, room for T iterations.
  """

  live: _slopes.OneByteState
  start: _slopes.OneByteState
  log: _log.MessageLog


def logged(algorithm: _slopes.OneByte, num_iterations: int) -> types.Algorithm:
  """Keeps the log of all that is broadcast.

  Args:
    algorithm: what `one_byte_sgd` made.
    num_iterations: T, room of the log (static).

  Returns:
    An `Algorithm` of `LoggedState`.
  """
  shape = (num_iterations, algorithm.num_machines, algorithm.num_samples)

  def init(key):
    start = algorithm.init(key)
    codes = jnp.zeros(shape, algorithm.codec.dtype)
    log = _log.MessageLog(codes, jnp.zeros(shape, bool))
    return LoggedState(start, start, log)

  def step(state, cohort, *, key):
    place = state.live.iteration
    live, metrics = algorithm.step(state.live, cohort, key=key)
    log = _log.MessageLog(
      state.log.codes.at[place].set(metrics['codes']),
      state.log.received.at[place].set(metrics['received']),
    )
    return LoggedState(live, state.start, log), _told(metrics)

  return types.Algorithm(init, step, lambda state: algorithm.params(state.live))


def replays(algorithm: _slopes.OneByte):
  """Compiles whether a log leads to the live model, bit by bit.

  Args:
    algorithm: whose log it is.

  Returns:
    `equal(state) -> f32[S]`, state a `LoggedState` with leaves [S, ...].
  """

  @jax.jit
  def again(start, log):
    one = lambda args: _log.replay(algorithm, *args).params
    return jax.lax.map(one, (start, log))

  def equal(state):
    pairs = zip(
      jax.tree.leaves(again(state.start, state.log)),
      jax.tree.leaves(algorithm.params(state.live)),
      strict=True,
    )
    same: Any = True
    for x, y in pairs:
      both = np.asarray(x) == np.asarray(y)
      same &= both.reshape(len(both), -1).all(axis=1)
    return np.asarray(same, np.float32)

  return equal


def membership(
  num_machines: int, join_at: Sequence[int], leave_at: Sequence[int]
) -> tuple[np.ndarray, np.ndarray]:
  """Says when machines join and leave.

  Args:
    num_machines: M, in the order of joining.
    join_at: iterations after which the last machines join, one each.
    leave_at: iterations after which the first machines leave, one each.

  Returns:
    `(joins, leaves)`, int[M]: machine m takes part in iterations
    joins < t <= leaves, counted from one.

  Raises:
    ValueError: if there are more entries than machines, or one would leave
      before it joins.

  Example:
    >>> [x.tolist() for x in membership(3, join_at=[2], leave_at=[4])]
    [[0, 0, 2], [4, 2147483647, 2147483647]]
  """
  for name, entries in (('join_at', join_at), ('leave_at', leave_at)):
    if len(entries) > num_machines:
      raise ValueError(
        f'{name} has {len(entries)} entries for {num_machines} machines.'
      )
  joins = np.zeros(num_machines, np.int64)
  leaves = np.full(num_machines, np.iinfo(np.int32).max)
  if join_at:
    joins[num_machines - len(join_at) :] = sorted(join_at)
  leaves[: len(leave_at)] = leave_at
  if np.any(leaves <= joins):
    who = int(np.argmax(leaves <= joins))
    raise ValueError(
      f'machine {who} would leave at {leaves[who]} (leave_at) but join at '
      f'{joins[who]} (join_at).'
    )
  return joins, leaves


def with_members(
  problem: types.Problem, joins: np.ndarray, leaves: np.ndarray
) -> types.Problem:
  """Masks machines that are not there yet, or no more.

  Args:
    problem: any with cohorts of M machines.
    joins: int[M], see `membership`.
    leaves: int[M].

  Returns:
    The problem; weights of its cohorts are one.
  """
  joined, left = jnp.asarray(joins), jnp.asarray(leaves)

  def cohort(key, data, round):
    whole = problem.cohort(key, data, round)
    present = (joined < round) & (round <= left)
    return whole.replace(mask=present, weights=jnp.ones(len(joins)))

  return problem.replace(cohort=cohort)


def report(metrics: dict[str, Any]) -> dict[str, dict[str, Any]]:
  """Averages over the messages of a round, on the host.

  Sums over machines on devices would be traffic.

  Args:
    metrics: of a step, leaves [S, M, samples].

  Returns:
    Split 'train': `loss`, `machines`, `dropped`.
  """
  here = np.asarray(metrics['received'])
  count = np.maximum(here.sum((1, 2)), 1)
  train = {
    'loss': np.where(here, metrics['loss'], 0.0).sum((1, 2)) / count,
    'machines': here.any(2).sum(1),
  }
  if 'dropped' in metrics:
    train['dropped'] = np.asarray(metrics['dropped']).sum((1, 2))
  return {'train': train}


def traffic(
  spec: str,
  params: chex.ArrayTree,
  here: np.ndarray,
  num_samples: int,
) -> np.ndarray:
  """Bytes that reached a machine after each iteration.

  Args:
    spec: a part of `METHODS`.
    params: the model, or its shapes.
    here: int[T], machines that take part in each iteration.
    num_samples: S.

  Returns:
    float64[T + 1], cumulated from zero.
  """
  part = METHODS.part(spec)
  model = 4 * sum(x.size for x in jax.tree.leaves(params))
  each = np.full(len(here), float(model))
  if part.name == 'single':
    each = np.zeros(len(here))
  elif part.name == 'one_byte':
    codec = compression.make_codec(part.options.get('codec', 'log_int8'))
    each = np.asarray(here) * num_samples * codec.bits / 8
  return np.concatenate([[0.0], np.cumsum(each)])
