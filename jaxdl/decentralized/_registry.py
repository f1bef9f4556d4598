# SPDX-License-Identifier: Apache-2.0
"""Algorithms by name, over links by name: 'gossip_sgd@ring'."""

from typing import Any, NamedTuple

import jax
import numpy as np

from jaxdl import compression, mixing
from jaxdl.core import checks, clients as clients_lib, registry, types
from jaxdl.decentralized import _facts, gossip

ALGORITHMS = registry.Registry(
  'algorithm',
  {
    f.__name__: f
    for f in (
      gossip.gossip_sgd,
      gossip.periodic_gossip,
      gossip.local_sgd,
      gossip.periodic_averaging,
      gossip.matcha_sgd,
      gossip.robust_gossip,
      gossip.d_squared,
      gossip.extra,
      gossip.gradient_tracking,
      gossip.quasi_global_momentum,
      gossip.choco_sgd,
      gossip.push_sum,
      gossip.asynchronous_gossip,
      gossip.swarm_sgd,
    )
  },
  given=('task', 'mixer', 'graph', 'clients', 'optimizer'),
)

# The grammar of `make_algorithm`, for flags.
VARIANTS = registry.Pair(ALGORITHMS, mixing.TOPOLOGIES)


def _read(spec: str) -> tuple[registry.Part, _facts.Facts, str]:
  """An algorithm, what is known about it, and what it runs over."""
  algorithm, link = registry.pair(spec, name='algorithm')
  part = ALGORITHMS.part(algorithm)
  facts = registry.facts(ALGORITHMS[part.name])
  return part, facts, facts.link if link is None else link


def make_link(
  spec: str, num_clients: int, *, seed: int = 0
) -> mixing.Mixer | np.ndarray:
  """Makes what an algorithm communicates over; on the host.

  Args:
    spec: `algorithm[@topology]`, as for `make_algorithm`.
    num_clients: N >= 1.
    seed: of random topologies.

  Returns:
    A graph bool[N, N] for algorithms that take one, a mixer for the others;
    with the weights that the algorithm wants where the topology names none.

  Raises:
    ValueError: if the topology is disconnected, does not exist for this N, or
      weights do not fit.

  Example:
    >>> make_link('asynchronous_gossip@path', 3).sum(axis=1).tolist()
    [1, 2, 1]
    >>> make_link('push_sum@random_digraph', 8).stochastic
    'column'
  """
  _, facts, link = _read(spec)
  if facts.over == 'graph':
    return mixing.make_graph(link, num_clients, seed=seed)
  return mixing.make_mixer(link, num_clients, seed=seed, weights=facts.weights)


def make_algorithm(
  spec: str,
  task: types.Task,
  clients: clients_lib.Clients | int,
  *,
  link: mixing.Mixer | np.ndarray | None = None,
  seed: int = 0,
  **context: Any,
) -> types.Algorithm:
  """Makes an algorithm over a topology from text.

  Args:
    spec: `algorithm[@topology]`, parts of `ALGORITHMS` and `mixing.TOPOLOGIES`,
      such as 'gossip_sgd(order=combine_then_adapt)@ring(weights=uniform)'. The
      ring where no topology is named, everybody for `local_sgd`.
    task: parameters and loss.
    clients: N clients and how they are run, or N (static).
    link: mixer or graph instead of that of the spec.
    seed: of random topologies.
    **context: further arguments, `optimizer` above all; those that the
      algorithm does not take, or that the spec sets itself, are left out.

  Returns:
    The algorithm.

  Raises:
    ValueError: for unknown names and options, missing ones, and parts that do
      not fit together.

  Example:
    >>> import optax
    >>> from jaxdl import networks
    >>> task = networks.regression(
    ...   networks.logistic_regression(1), jax.numpy.ones((1, 2))
    ... )
    >>> algorithm = make_algorithm(
    ...   'choco_sgd(compress=top_k(keep=0.5))@star',
    ...   task,
    ...   4,
    ...   optimizer=optax.sgd(0.1),
    ... )
    >>> algorithm.per_client
    True
  """
  part, _, _ = _read(spec)
  clients = clients_lib.as_clients(clients)
  if link is None:
    link = make_link(spec, clients.num_clients, seed=seed)
  return ALGORITHMS.bound(part, task, link, clients, **context)


class Messages(NamedTuple):
  """What a client sends.

  Attributes:
    models: float64[T + 1], models that a client has sent on average after each
      round; 0 at first.
    share: size of one of these messages, as a share of the model.
  """

  models: np.ndarray
  share: float


def messages(
  spec: str,
  link: mixing.Mixer | np.ndarray | int,
  num_rounds: int,
  *,
  task: types.Task | None = None,
  seed: int = 0,
) -> Messages:
  """Counts what an algorithm sends, on the host.

  One message is one model over one link; a plain average of everybody counts as
  a ring all-reduce, see `mixing.messages`.

  Args:
    spec: `algorithm[@topology]`, as for `make_algorithm`.
    link: what `make_link` made of it, or N.
    num_rounds: T >= 0.
    task: what is learned, for the size of compressed messages; nothing is
      computed.
    seed: of random topologies, where `link` is N.

  Returns:
    `Messages`.

  Raises:
    ValueError: as `make_link`, or if messages are compressed and the task is
      missing.

  Example:
    >>> messages('gradient_tracking@ring', 8, 3).models.tolist()
    [0.0, 4.0, 8.0, 12.0]
    >>> messages('periodic_gossip(period=2)@ring', 8, 4).models.tolist()
    [0.0, 0.0, 2.0, 2.0, 4.0]
  """
  part, facts, _ = _read(spec)
  rounds = checks.integer(num_rounds, name='num_rounds', low=0)
  if not isinstance(link, mixing.Mixer) and not hasattr(link, 'shape'):
    link = make_link(spec, link, seed=seed)
  options = {
    name: part.options.get(name, parameter.default)
    for name, parameter in ALGORITHMS.options(part.name).items()
    if checks.takes(facts.sent, name)
  }
  sent = np.broadcast_to(facts.sent(link, rounds, **options), (rounds,))
  total = np.concatenate([[0.0], np.cumsum(sent, dtype=np.float64)])
  return Messages(total, _share(spec, part.options.get('compress'), task))


def _share(spec, compress, task) -> float:
  """Size of a compressed message by that of the model."""
  if compress is None:
    return 1.0
  compressor = compression.make_compressor(compress)
  whole = compression.make_compressor('identity')
  if compressor.name == whole.name:
    return 1.0
  if task is None:
    raise ValueError(
      f'{spec!r} compresses what it sends: pass task=, which says how large a '
      'model is.'
    )
  model = jax.eval_shape(task.init, jax.random.key(0))
  return compressor.bits(model) / whole.bits(model)
