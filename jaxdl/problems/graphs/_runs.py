# SPDX-License-Identifier: Apache-2.0
"""Learning of clients with a server or without one, from knobs."""

import dataclasses
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxdl import decentralized, federated, local, mixing
from jaxdl.core import registry, types
from jaxdl.experiment import config as config_lib
from jaxdl.federated import server
from jaxdl.problems.graphs import _nodes

knob = config_lib.knob

# How clients learn: algorithm[@channel(...)] or algorithm[@topology].
VARIANTS = registry.Pair(
  federated.METHODS | decentralized.ALGORITHMS,
  server.CHANNELS | mixing.TOPOLOGIES,
)


class Learning(NamedTuple):
  """An algorithm, and what it sends.

  Attributes:
    algorithm: for `experiment.compare`.
    megabytes: f64[T + 1], sent by all clients after each round, or None where
      the state of the algorithm tells it.
  """

  algorithm: types.Algorithm
  megabytes: np.ndarray | None


@dataclasses.dataclass(frozen=True, kw_only=True)
class GraphRunsConfig(_nodes.GraphsConfig):
  """Knobs of how clients of a graph learn."""

  variants: tuple[str, ...] = knob(
    ('fedavg',),
    'How clients learn: algorithm[@channel(...)] with a server, '
    'algorithm@topology without.',
    registry=VARIANTS,
  )
  optimizers: tuple[str, ...] = knob(
    ('sgd(0.05, weight_decay=0.005)',),
    "The clients', of each network in turn; the last one goes on.",
    registry=local.OPTIMIZERS,
  )
  local_steps: int = knob(
    3,
    'Full steps of a client in a round with a server.',
    low=1,
    needs={'variants': tuple(federated.METHODS)},
  )
  channel: str = knob(
    'channel',
    'How messages travel, where a variant does not say it.',
    registry=server.CHANNELS,
    needs={'variants': tuple(federated.METHODS)},
  )
  num_byzantine: int = knob(
    0,
    'Adversaries of a server, the last clients by number.',
    low=0,
    needs={'variants|channel': ('*attack*', '*aggregator*')},
  )
  graph_seed: int = knob(
    0,
    'Seed of random topologies.',
    low=0,
    needs={'variants': tuple(decentralized.ALGORITHMS)},
  )
  chunk: int = knob(
    0, 'Clients run together on a device; 0 follows the default rule.', low=0
  )

  def validate(self) -> None:
    """Builds channels and topologies of every variant."""
    super().validate()
    config_lib.check_different(self.variants, name='variants')
    for name in ('variants', 'optimizers'):
      if not getattr(self, name):
        raise ValueError(f'{name} is empty: name at least one.')
    for spec in self.variants:
      with config_lib.naming(variants=spec, num_clients=self.num_clients):
        check = self._check_server if self.has_server(spec) else self._check
        check(spec)

  def has_server(self, spec: str) -> bool:
    """Whether a variant has a server."""
    first, _ = registry.pair(spec, name='variants')
    return registry.parse(first, name='variants').name in federated.METHODS

  @property
  def takes_all(self) -> bool:
    """Whether all clients take part in every round."""
    return registry.parse(self.sampling, name='sampling').name == 'full'

  def _check_server(self, spec):
    first, second = registry.pair(spec, name='variants')
    if second is not None:
      server.CHANNELS.check(second, name='variants')
    options = self.channel_of(spec)
    if options.get('num_byzantine') != (self.num_byzantine or None):
      raise ValueError(
        'adversaries are told by the flag num_byzantine here; leave the option '
        'of the channel out.'
      )
    if (options.get('attack') or 'none') != 'none' and not self.num_byzantine:
      raise ValueError(
        f'attack={options["attack"]}, but num_byzantine=0: say how many of the '
        'clients attack.'
      )
    if self.num_byzantine and not self.takes_all:
      raise ValueError(
        f'num_byzantine={self.num_byzantine} are the last clients of all: '
        f'sampling must be full; got {self.sampling}.'
      )
    for optimizer in self.optimizers:
      federated.check_optimizer(optimizer, (first,), name='optimizers')
    federated.check_private(options.get('privacy'), self.sampling)
    if self.takes_all:
      # Of labels, attacks must know how many there are; data come later.
      told = options | {'num_classes': 2}
      federated.check_variant(spec, self.work(0), self.num_clients, **told)

  def _check(self, spec):
    if not self.takes_all:
      raise ValueError(
        f'sampling={self.sampling}: without a server all clients take part, '
        'say full.'
      )
    _, second = registry.pair(spec, name='variants')
    if second is not None:
      mixing.TOPOLOGIES.check(second, name='variants')
    self.link(spec)

  def channel_of(self, spec: str) -> dict[str, Any]:
    """Options of the channel of a variant, those of knobs among them."""
    own = registry.pair(spec)[1] or 'channel'
    part = server.CHANNELS.part
    several = {'num_byzantine': self.num_byzantine or None}
    return several | part(self.channel).options | part(own).options

  def link(self, spec: str) -> mixing.Mixer | np.ndarray:
    """What a variant without a server communicates over."""
    return decentralized.make_link(spec, self.num_clients, seed=self.graph_seed)

  def optimizer(self, number: int) -> str:
    """That of a network, by its number."""
    return self.optimizers[min(number, len(self.optimizers) - 1)]

  def work(self, number: int) -> local.LocalWork:
    """What a client of a server does between messages, by network."""
    return local.LocalWork(self.optimizer(number), num_steps=self.local_steps)

  def learning(
    self, spec: str, problem: types.Problem, number: int = 0
  ) -> Learning:
    """Makes the algorithm of a variant.

    Args:
      spec: of `variants`.
      problem: from `node_classification`.
      number: of the network, for its optimizer.

    Returns:
      `Learning`.
    """
    rounds = self.num_rounds
    with config_lib.naming(variants=spec):
      if self.has_server(spec):
        method, channel = federated.make_variant(
          spec,
          problem.task,
          self.work(number),
          num_rounds=rounds,
          **self.channel_of(spec) | {'num_classes': problem.num_classes},
        )
        clients = self.clients(even=False)
        size = problem.test['cohort_size']
        made = federated.federate(method, clients, channel, cohort_size=size)
        return Learning(made, None)
      link = self.link(spec)
      made = decentralized.make_algorithm(
        spec,
        problem.task,
        self.clients(even=isinstance(link, mixing.Mixer)),
        link=link,
        optimizer=local.make_optimizer(
          self.optimizer(number), num_steps=max(rounds, 1)
        ),
        same_start=True,
      )
    shapes = jax.eval_shape(problem.task.init, jax.random.key(0))
    model = sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(shapes))
    sent = decentralized.messages(spec, link, rounds, task=problem.task)
    megabytes = sent.models * sent.share * model * self.num_clients / 1e6
    return Learning(made, megabytes)
