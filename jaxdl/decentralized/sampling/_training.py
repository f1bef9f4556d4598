# SPDX-License-Identifier: Apache-2.0
"""Computes the models that the sampling protocol only talks about.

Nothing in the protocol depends on the value of a model, so that training waits
until an average is wanted; then all nodes behind it train in one program, and
what nobody wants is never computed.
"""

import functools
from collections.abc import Callable, Iterable
from typing import Any

import chex
import jax
import jax.flatten_util
import jax.numpy as jnp
import numpy as np
import optax

from jaxdl import local
from jaxdl.core import checks, clients as clients_lib, keys, trees, types
from jaxdl.decentralized.sampling import (
  _protocol as protocol_lib,
  _transport as transport,
)

State = dict[str, Any]


def node_keys(
  key: chex.PRNGKey, rounds: chex.Array, nodes: chex.Array
) -> chex.PRNGKey:
  """One key per (round, node), whatever else is trained beside it."""
  keys.check_key(key)
  one = lambda k, i: jax.random.fold_in(jax.random.fold_in(key, k), i)
  return jax.vmap(one)(rounds, nodes)


@functools.lru_cache(maxsize=4)
def flat_model(
  task: types.Task,
) -> tuple[
  Callable[[chex.PRNGKey], chex.Array], Callable[[chex.Array], chex.ArrayTree]
]:
  """Returns the start of a task as one vector, and the way back, jitted."""
  ways = []

  @jax.jit
  def start(key):
    vector, way = jax.flatten_util.ravel_pytree(task.init(key))
    ways.append(way)
    return vector

  jax.eval_shape(start, jax.random.key(0))
  return start, jax.jit(ways[0])


def model_bytes(task: types.Task) -> int:
  """Counts the bytes of a model.

  Args:
    task: its `init` makes the model; nothing is computed.

  Returns:
    Bytes of all leaves.
  """
  shapes = jax.eval_shape(task.init, jax.random.key(0))
  return sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(shapes))


def sampling_sgd(
  task: types.Task,
  protocol: protocol_lib.SamplingProtocol,
  clients: clients_lib.Clients | int,
  *,
  optimizer: optax.GradientTransformation,
  batch_size: int,
  num_epochs: int | None = None,
  num_steps: int | None = None,
  on_stall: str = 'hold',
) -> types.Algorithm:
  """Trains under the decentralized sampling protocol (MoDeST).

  With a protocol whose aggregator is a server this is federated averaging on
  the same clock; with success fraction 1 and everybody online both make
  exactly the same sequence of models.

  Args:
    task: parameters and loss.
    protocol: `sampling_protocol(...)` of N nodes.
    clients: the N nodes and how those of a sample are run, or N (static).
    optimizer: of a node, fresh in every round.
    batch_size: B (static).
    num_epochs: local passes per round (static).
    num_steps: local steps per round (static); at least one of the two.
    on_stall: when no event is left, 'hold' keeps the last average for the
      remaining rounds, 'raise' says who waits for whom.

  Returns:
    An `Algorithm` whose `step` runs on the host. A step is one round; all its
    training is one jitted call. It wants a cohort of all N nodes in order,
    `data` with leaves [N, E, ...] and an entry `mask: bool[N, E]`, the same in
    every round. The key of `init` seeds everything; a step draws from it, not
    from its own.
    `params` are those of the last average. Metrics, Python numbers:
    `time_s`, `transfers` (models sent to others so far), `megabytes` (sent,
    everything), `view_megabytes`, `pings`, `num_averaged`, `num_online`,
    `stalled`. The state is a pytree of arrays, numbers and text.

  Raises:
    ValueError: if an option is unknown or the cohort does not fit.
    RuntimeError: from `step`, if the protocol stalls and `on_stall='raise'`.

  Source: de Vos et al. 2023 (https://arxiv.org/abs/2302.13837), section 3.
  """
  checks.task(task)
  checks.optimizer(optimizer)
  if not checks.has_functions(protocol, 'init', 'advance'):
    raise TypeError(
      f'protocol must be a SamplingProtocol; got {checks.described(protocol)}: '
      'call decentralized.sampling.sampling_protocol.'
    )
  checks.choice(on_stall, ('hold', 'raise'), name='on_stall')
  clients = as_nodes(clients, protocol.num_nodes)
  start, unravel = flat_model(task)
  size = protocol.options.sample_size
  train, average = _programs(
    task, optimizer, batch_size, num_epochs, num_steps, size, clients
  )

  def train_many(vectors, nodes, rounds, cohort, key):
    count = len(nodes)
    if count < size:  # One shape, so that nothing is compiled twice.
      fill = lambda x: [*x, *[x[-1]] * (size - count)]
      vectors, nodes, rounds = fill(vectors), fill(nodes), fill(rounds)
    out = train(
      tuple(clients.replicate(vectors)),
      np.asarray(nodes, np.int32),
      np.asarray(rounds, np.int32),
      cohort.data,
      key,
    )
    return out[:count]

  def average_of(vectors):
    count = len(vectors)
    weights = np.zeros(size, np.float32)
    weights[:count] = 1.0 / count
    vectors = [*vectors, *[vectors[-1]] * (size - count)]
    return average(tuple(clients.replicate(vectors)), weights)

  def init(key):
    init_key, train_key = jax.random.split(key)
    return {
      'protocol': protocol.init(),
      'models': {'0': start(init_key)},
      'key': train_key,
    }

  def step(state, cohort, *, key=None):
    del key
    check_node_cohort(cohort, protocol.num_nodes)
    inner = state['protocol']
    inner = protocol.advance(inner, inner['round'] + 1)
    if inner['stalled'] and on_stall == 'raise':
      raise RuntimeError(
        f'the protocol has stalled: {protocol_lib.diagnose(inner)} Give '
        'aggregators a time-out, or nodes a retry.'
      )
    models = resolve(
      state['models'],
      inner['recipes'],
      inner['latest'],
      functools.partial(train_many, cohort=cohort, key=state['key']),
      average_of,
      size,
    )
    forget(inner, models)
    new = {'protocol': inner, 'models': models, 'key': state['key']}
    return new, report(inner)

  def params(state):
    return unravel(state['models'][str(state['protocol']['latest'])])

  return types.Algorithm(init, step, params, on_host=True)


@functools.lru_cache(maxsize=4)
def _programs(
  task, optimizer, batch_size, num_epochs, num_steps, size, clients
):
  """Compiles training and averaging once for all protocols and seeds."""
  train_one = local.local_training(
    task,
    optimizer,
    batch_size=batch_size,
    num_epochs=num_epochs,
    num_steps=num_steps,
  )
  one = flat_training(task, train_one)

  @jax.jit
  def train(vectors, nodes, rounds, data, key):
    rows = dict(jax.tree.map(lambda x: x[nodes], data))
    mask = rows.pop('mask')
    out = clients.map(one)(
      jnp.stack(vectors), rows, mask, node_keys(key, rounds, nodes)
    )
    out = clients.replicate(out)
    return tuple(out[i] for i in range(size))

  @jax.jit
  def average(vectors, weights):
    return trees.combine(weights, jnp.stack(vectors))

  return train, average


def flat_training(
  task: types.Task, train_one: Callable[..., local.Trained]
) -> Callable[..., chex.Array]:
  """Turns `local.local_training` into a function of a model in one vector."""
  unravel = flat_model(task)[1]

  def one(vector, data, mask, key):
    trained = train_one(unravel(vector), data, mask, key)
    return jax.flatten_util.ravel_pytree(trained.params)[0]

  return one


def as_nodes(
  clients: clients_lib.Clients | int, num_nodes: int
) -> clients_lib.Clients:
  """The nodes of a network; raises ValueError if their number is another."""
  clients = clients_lib.as_clients(clients)
  if clients.num_clients != num_nodes:
    raise ValueError(
      f'clients are {clients.num_clients} but the network has {num_nodes} '
      'nodes: make both of one number.'
    )
  return clients


def check_node_cohort(cohort: types.Cohort, num_nodes: int) -> None:
  """Raises ValueError unless a cohort holds the masked data of all nodes."""
  if 'mask' not in cohort.data:
    raise ValueError(
      f'cohort.data needs an entry mask: bool[{num_nodes}, E] that marks real '
      'examples.'
    )
  found = checks.num_clients(cohort.data, name='cohort.data')
  if found != num_nodes:
    raise ValueError(
      f'cohort.data has {found} nodes but the network has {num_nodes}.'
    )


def resolve(
  models: dict[str, chex.Array],
  recipes: dict[str, tuple[Any, ...]],
  wanted: int,
  train_many: Callable[..., Iterable[chex.Array]],
  average_of: Callable[[list[chex.Array]], chex.Array],
  size: int,
) -> dict[str, chex.Array]:
  """Computes a model and everything it is made of.

  Args:
    models: known models by number.
    recipes: how the others are made.
    wanted: number of a model.
    train_many: `(vectors, nodes, rounds) -> vectors`, `size` at most.
    average_of: uniform mean of at most `size` vectors.
    size: how many nodes train together.

  Returns:
    `models` with all that was computed.
  """
  models = dict(models)
  missing, stack = set(), [str(wanted)]
  while stack:
    name = stack.pop()
    if name in models or name in missing:
      continue
    missing.add(name)
    stack.extend(_parts(recipes[name]))
  while missing:
    ready = sorted(
      (k for k in missing if all(p in models for p in _parts(recipes[k]))),
      key=int,
    )
    jobs = [k for k in ready if recipes[k][0] == 'train']
    for first in range(0, len(jobs), size):
      names = jobs[first : first + size]
      _, bases, nodes, rounds = zip(*(recipes[k] for k in names), strict=True)
      vectors = [models[str(b)] for b in bases]
      out = train_many(vectors, list(nodes), list(rounds))
      models.update(zip(names, out, strict=True))
    for name in ready:
      if recipes[name][0] == 'average':
        models[name] = average_of([models[p] for p in _parts(recipes[name])])
    missing.difference_update(ready)
  return models


def forget(state: State, models: dict[str, chex.Array]) -> None:
  """Drops models and recipes that nobody can ask for any more; in place.

  Args:
    state: of the protocol.
    models: known models by number.
  """
  kept, stack = set(), [str(i) for i in _referenced(state)]
  while stack:
    name = stack.pop()
    if name in kept:
      continue
    kept.add(name)
    if name not in models:
      stack.extend(_parts(state['recipes'][name]))
  recipes = state['recipes']
  state['recipes'] = {k: v for k, v in recipes.items() if k in kept}
  for name in [k for k in models if k not in kept]:
    del models[name]


def _parts(recipe):
  if recipe[0] == 'train':
    return (str(recipe[1]),)
  return tuple(str(i) for i in recipe[1])


def _referenced(state):
  found = {int(state['latest'])}
  for name in ('base', 'own', 'agg_model'):
    found |= set(state[name][state[name] >= 0].tolist())
  for store in state['stores'].values():
    found |= set(store.values())
  found |= {search['model'] for search in state['searches'].values()}
  for *_, kind, _, details in state['events']:
    if kind == 'deliver' and details[0] in ('update', 'averaged'):
      found.add(details[2][2])
  return found


def report(state: State) -> dict[str, float]:
  """Metrics of a protocol's state.

  Args:
    state: of a `SamplingProtocol`.

  Returns:
    Python numbers, see `sampling_sgd`.
  """
  sent = state['sent_bytes'].sum(axis=1)
  row = transport.TRAFFIC.index
  return {
    'time_s': float(state['clock']),
    'transfers': int(state['messages'][row('model')]),
    'megabytes': float(sent.sum() / 1e6),
    'view_megabytes': float(sent[row('view')] / 1e6),
    'pings': int(state['messages'][row('ping')]),
    'num_averaged': int(state['num_averaged']),
    'num_online': int(state['online'].sum()),
    'stalled': int(state['stalled']),
  }
