# SPDX-License-Identifier: Apache-2.0
"""Learning on a simulated network, by spec: methods, worlds, churn."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
import optax

from jaxdl import mixing
from jaxdl.core import checks, clients as clients_lib, registry, types
from jaxdl.decentralized.sampling import (
  _baselines,
  _options,
  _protocol,
  _training,
  _world,
)


class Scene(NamedTuple):
  """What every method shares for one seed.

  Attributes:
    world: delays and speeds.
    members: bool[N], who is there at the start.
    churn: who comes and goes.
    seed: of the run.
  """

  world: _world.World
  members: np.ndarray
  churn: tuple[_world.Churn, ...]
  seed: int


def steps(num: int = 5) -> dict[str, int | None]:
  """So many local steps per round."""
  checks.integer(num, name='num', low=1)
  return {'num_steps': num, 'num_epochs': None}


def epochs(num: int = 1) -> dict[str, int | None]:
  """So many local passes per round."""
  checks.integer(num, name='num', low=1)
  return {'num_steps': None, 'num_epochs': num}


WORK = registry.Registry('work', {'steps': steps, 'epochs': epochs})


def drawn(
  num_nodes: int,
  rng: np.random.Generator,
  *,
  latency_s: float = 0.05,
  compute_s: float = 0.5,
  compute_spread: float = 0.5,
  megabits_per_s: float = 10.0,
) -> _world.World:
  """Nodes on a square: mean delay, time of a training and its spread."""
  checks.number(megabits_per_s, name='megabits_per_s', low=0.0, open_low=True)
  return _world.make_world(
    num_nodes,
    rng,
    mean_latency_s=latency_s,
    compute_s=compute_s,
    compute_spread=compute_spread,
    bytes_per_s=megabits_per_s * 1e6 / 8,
  )


def file(
  num_nodes: int,
  rng: np.random.Generator,
  *,
  path: str,
  compute_s: float = 0.5,
  compute_spread: float = 0.5,
  megabits_per_s: float = 10.0,
) -> _world.World:
  """One-way delays between sites in ms, from .npy or text."""
  checks.number(megabits_per_s, name='megabits_per_s', low=0.0, open_low=True)
  return _world.make_world(
    num_nodes,
    rng,
    compute_s=compute_s,
    compute_spread=compute_spread,
    bytes_per_s=megabits_per_s * 1e6 / 8,
    latency_s=_world.load_latency(path),
  )


WORLDS = registry.Registry(
  'world', {'drawn': drawn, 'file': file}, given=('num_nodes', 'rng')
)


def num_changed(num_nodes: int, fraction: float) -> int:
  """How many nodes a share is; at least one stays."""
  checks.number(fraction, name='fraction', low=0.0, high=1.0)
  count = round(fraction * num_nodes)
  if count == num_nodes:
    raise ValueError(
      f'fraction={fraction} of {num_nodes} nodes leaves nobody: need at least '
      'one that stays.'
    )
  return count


def none(num_nodes: int, rng: np.random.Generator):
  """Nobody comes or goes."""
  return np.ones(num_nodes, bool), ()


def _change(kind, num_nodes, rng, fraction, at):
  checks.integer(at, name='at', low=1)
  members = np.ones(num_nodes, bool)
  nodes = rng.permutation(num_nodes)[: num_changed(num_nodes, fraction)]
  nodes = tuple(sorted(nodes.tolist()))
  if kind == 'join':
    members[list(nodes)] = False
  return members, (_world.Churn(at, kind, nodes),)


def crash(
  num_nodes: int,
  rng: np.random.Generator,
  *,
  fraction: float = 0.8,
  at: int = 100,
):
  """A share of the nodes falls silent in a round."""
  return _change('crash', num_nodes, rng, fraction, at)


def leave(
  num_nodes: int,
  rng: np.random.Generator,
  *,
  fraction: float = 0.8,
  at: int = 100,
):
  """A share of the nodes says good-bye in a round."""
  return _change('leave', num_nodes, rng, fraction, at)


def join(
  num_nodes: int,
  rng: np.random.Generator,
  *,
  fraction: float = 0.8,
  at: int = 100,
):
  """A share of the nodes arrives in a round."""
  return _change('join', num_nodes, rng, fraction, at)


def trace(num_nodes: int, rng: np.random.Generator, *, path: str):
  """Who is online: .npy, bool[T, N], row k from round k on."""
  del rng
  try:
    table = checks.load_npy(path, kinds='biuf')
  except ValueError as error:
    raise ValueError(
      f'{path}: expected an array bool[T, {num_nodes}]: {error}'
    ) from None
  return _world.churn_from_trace(table, num_nodes)


CHURNS = registry.Registry(
  'churn',
  {'none': none, 'crash': crash, 'leave': leave, 'join': join, 'trace': trace},
  given=('num_nodes', 'rng'),
)


def small_churn(spec: str) -> str:
  """Lets a change come in round 2 at the latest, for short runs.

  Args:
    spec: a part of `CHURNS`.

  Returns:
    The part.

  Example:
    >>> small_churn('crash'), small_churn('join(at=1)'), small_churn('none')
    ('crash(at=2)', 'join(at=1)', 'none')
  """
  part = CHURNS.part(spec)
  if 'at' not in CHURNS.options(part.name):
    return spec
  return registry.changed(spec, at=min(part.options.get('at', 2), 2))


def make_scene(world: str, churn: str, num_nodes: int, seed: int) -> Scene:
  """Draws what all methods share for a seed.

  Args:
    world: a part of `WORLDS`.
    churn: a part of `CHURNS`.
    num_nodes: N.
    seed: of the run.

  Returns:
    The scene.

  Raises:
    ValueError: if an option is out of range or a file is wrong.
  """
  members, changes = CHURNS.make(
    churn, num_nodes, np.random.default_rng([seed, 2])
  )
  return Scene(
    WORLDS.make(world, num_nodes, np.random.default_rng([seed, 1])),
    members,
    tuple(changes),
    seed,
  )


def _sampling(task, scene, clients, server, on_stall, common, **numbers):
  options = _options.ModestOptions(
    model_bytes=_training.model_bytes(task), **numbers
  )
  protocol = _protocol.sampling_protocol(
    scene.world,
    options,
    members=scene.members,
    churn=scene.churn,
    server=server,
    seed=scene.seed,
  )
  return _training.sampling_sgd(
    task, protocol, clients, on_stall=on_stall, **common
  )


def _common(optimizer, batch_size, work):
  return {'optimizer': optimizer, 'batch_size': batch_size, **work}


def modest(
  task: types.Task,
  scene: Scene,
  clients: clients_lib.Clients,
  *,
  optimizer: optax.GradientTransformation,
  batch_size: int,
  work: dict[str, Any],
  sample_size: int = 8,
  num_aggregators: int = 2,
  success_fraction: float = 1.0,
  threshold: str = 'ceil',
  activity_window: int = 1000,
  ping_timeout_s: float = 5.0,
  ping_again_s: float = 1.0,
  aggregation_timeout_s: float = 300.0,
  min_models: int = 1,
  retry_s: float = 300.0,
  on_stall: str = 'hold',
) -> types.Algorithm:
  """A sample trains, a few of the next one average; see `ModestOptions`."""
  return _sampling(
    task,
    scene,
    clients,
    False,
    on_stall,
    _common(optimizer, batch_size, work),
    sample_size=sample_size,
    num_aggregators=num_aggregators,
    success_fraction=success_fraction,
    threshold=threshold,
    activity_window=activity_window,
    ping_timeout_s=ping_timeout_s,
    ping_again_s=ping_again_s,
    aggregation_timeout_s=aggregation_timeout_s,
    min_models=min_models,
    retry_s=retry_s,
  )


def fl(
  task: types.Task,
  scene: Scene,
  clients: clients_lib.Clients,
  *,
  optimizer: optax.GradientTransformation,
  batch_size: int,
  work: dict[str, Any],
  sample_size: int = 8,
  success_fraction: float = 1.0,
  threshold: str = 'ceil',
  activity_window: int = 1000,
  ping_timeout_s: float = 5.0,
  ping_again_s: float = 1.0,
  aggregation_timeout_s: float = 300.0,
  min_models: int = 1,
  retry_s: float = 300.0,
  on_stall: str = 'hold',
) -> types.Algorithm:
  """The same samples with a server."""
  return _sampling(
    task,
    scene,
    clients,
    True,
    on_stall,
    _common(optimizer, batch_size, work),
    sample_size=sample_size,
    num_aggregators=1,
    success_fraction=success_fraction,
    threshold=threshold,
    activity_window=activity_window,
    ping_timeout_s=ping_timeout_s,
    ping_again_s=ping_again_s,
    aggregation_timeout_s=aggregation_timeout_s,
    min_models=min_models,
    retry_s=retry_s,
  )


def dsgd(
  task: types.Task,
  scene: Scene,
  clients: clients_lib.Clients,
  *,
  optimizer: optax.GradientTransformation,
  batch_size: int,
  work: dict[str, Any],
  topology: str = 'one_peer_exponential',
  patience_s: float = 5.0,
) -> types.Algorithm:
  """Everybody trains and mixes with neighbors."""
  return _baselines.clocked_gossip(
    task,
    mixing.make_mixer(topology, clients.num_clients),
    clients,
    world=scene.world,
    members=scene.members,
    churn=scene.churn,
    model_bytes=_training.model_bytes(task),
    patience_s=patience_s,
    **_common(optimizer, batch_size, work),
  )


def gossip(
  task: types.Task,
  scene: Scene,
  clients: clients_lib.Clients,
  *,
  optimizer: optax.GradientTransformation,
  batch_size: int,
  work: dict[str, Any],
  period_s: float = 10.0,
) -> types.Algorithm:
  """Models walk at random."""
  return _baselines.gossip_learning(
    task,
    clients,
    world=scene.world,
    members=scene.members,
    churn=scene.churn,
    model_bytes=_training.model_bytes(task),
    period_s=period_s,
    **_common(optimizer, batch_size, work),
  )


def local(
  task: types.Task,
  scene: Scene,
  clients: clients_lib.Clients,
  *,
  optimizer: optax.GradientTransformation,
  batch_size: int,
  work: dict[str, Any],
) -> types.Algorithm:
  """Nobody talks."""
  return dsgd(
    task,
    scene,
    clients,
    optimizer=optimizer,
    batch_size=batch_size,
    work=work,
    topology='alone',
  )


METHODS = registry.Registry(
  'method',
  {'modest': modest, 'fl': fl, 'dsgd': dsgd, 'gossip': gossip, 'local': local},
  given=('task', 'scene', 'clients', 'optimizer', 'batch_size', 'work'),
)


def small_method(spec: str) -> str:
  """Lowers the numbers of a method, for runs with a dozen nodes.

  Args:
    spec: a part of `METHODS`.

  Returns:
    The part with samples of four at most.

  Example:
    >>> small_method('modest(num_aggregators=9)'), small_method('dsgd')
    ('modest(num_aggregators=4, sample_size=4)', 'dsgd')
  """
  part = METHODS.part(spec)
  if 'sample_size' not in METHODS.options(part.name):
    return spec
  low = {
    k: min(part.options[k], 4)
    for k in ('num_aggregators', 'min_models')
    if k in part.options
  }
  size = min(part.options.get('sample_size', 4), 4)
  return registry.changed(spec, **low, sample_size=size)


def check_method(spec: str, num_nodes: int) -> None:
  """Checks the numbers of a method against those of the nodes.

  Args:
    spec: a part of `METHODS`.
    num_nodes: N.

  Raises:
    ValueError: if they do not fit.
  """
  part = METHODS.part(spec)
  known = METHODS.options(part.name)
  values = {k: p.default for k, p in known.items()} | part.options
  fields = _options.ModestOptions._fields
  numbers = {k: v for k, v in values.items() if k in fields}
  if numbers:
    _options.check_options(_options.ModestOptions(**numbers), num_nodes)
  if 'topology' in values:
    mixer = mixing.make_mixer(values['topology'], num_nodes)
    if mixer.stochastic == 'column':
      raise ValueError(f'topology={values["topology"]} is for push-sum.')


def watched(algorithm: types.Algorithm, num_nodes: int) -> types.Algorithm:
  """Lets some of the nodes that are there be evaluated, and their mean model.

  Args:
    algorithm: one with a model per node, on the host.
    num_nodes: how many of them, evenly spread.

  Returns:
    The algorithm; its params are `nodes`, leaves [num_nodes, ...], and `mean`,
    leaves [...], the mean of all that are there.
  """

  def params(state):
    models = jax.device_get(algorithm.params(state))
    online = np.flatnonzero(state['online'])
    places = np.linspace(0, len(online) - 1, num_nodes)
    nodes = online[np.round(places).astype(int)]
    return {
      'nodes': jax.tree.map(lambda x: x[nodes], models),
      'mean': jax.tree.map(lambda x: x[online].mean(axis=0), models),
    }

  return algorithm._replace(params=params)


def evaluate_watched(evaluate):
  """Makes the evaluation of `watched` nodes of that of one model.

  Args:
    evaluate: of models, leaves [S, ...].

  Returns:
    A function of params as `watched` gives them: means over the nodes, and
    `mean_model_accuracy`.
  """

  def measure(params):
    s, m = jax.tree.leaves(params['nodes'])[0].shape[:2]
    flat = jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), params['nodes'])
    found = {
      k: np.asarray(v).reshape(s, m).mean(axis=1)
      for k, v in evaluate(flat).items()
    }
    merged = evaluate(params['mean'])
    return found | {'mean_model_accuracy': np.asarray(merged['accuracy'])}

  return measure


def reliability_watched(reliability):
  """As `evaluate_watched`, of `Problem.reliability`.

  Args:
    reliability: of the problem whose models are `watched`, or None.

  Returns:
    A function of params as `watched` gives them, or of one model, that reads
    the nodes alone; None of None.
  """
  if reliability is None:
    return None

  def rows(params, per_client=False):
    models = params['nodes'] if per_client else params
    return reliability(models, per_client)

  return rows


def traffic_rows(
  state: dict[str, Any],
  num_nodes: int,
  percentiles: Sequence[int] = tuple(range(0, 101, 5)),
) -> list[dict[str, Any]]:
  """Says how traffic is spread over the nodes.

  Args:
    state: of one method and seed.
    num_nodes: N.
    percentiles: of the nodes.

  Returns:
    One row of split 'traffic' per percentile: megabytes sent and received.
  """
  inner = state.get('protocol', state)
  sent = np.atleast_2d(inner['sent_bytes']).sum(axis=0)[:num_nodes] / 1e6
  got = np.atleast_2d(inner['received_bytes']).sum(axis=0)[:num_nodes] / 1e6
  return [
    {
      'split': 'traffic',
      'percentile': q,
      'sent_megabytes': float(np.percentile(sent, q)),
      'received_megabytes': float(np.percentile(got, q)),
    }
    for q in percentiles
  ]
