# SPDX-License-Identifier: Apache-2.0
"""Which parts of a graph learn, and how they learn together."""

from typing import Any

import numpy as np

from jaxdl import decentralized, graphs, mixing
from jaxdl.core import registry, types
from jaxdl.graphs import links as lib


def alone(task, mixer, clients, *, optimizer):
  """Every client trains on what it has, and sends nothing."""
  del mixer
  clients = decentralized.gossip_sgd(
    task, mixing.identity(clients), clients, optimizer=optimizer
  )
  return clients


# How predictors are trained over the graph that they predict.
TRAININGS = decentralized.ALGORITHMS | {'alone': alone}


def nodes(graph: graphs.Graph) -> list[np.ndarray]:
  """A client for every node."""
  return lib.communities(graph, int(np.asarray(graph.node_mask).sum()))


def communities(graph: graphs.Graph, num_clients: int = 8) -> list[np.ndarray]:
  """A client for every community."""
  return lib.communities(graph, num_clients)


PARTS = registry.Registry(
  'parts', {'communities': communities, 'nodes': nodes}, given=('graph',)
)


def over_graph(
  spec: str,
  problem: types.Problem,
  *,
  optimizer: Any,
) -> Any:
  """Trains over the graph of clients, whatever the seed.

  Args:
    spec: of `TRAININGS`, such as 'gossip_sgd' or 'alone'.
    problem: of `Links.clients`.
    optimizer: every client's.

  Returns:
    What `experiment.compare` takes: makes the algorithm of the data of a seed.

  Raises:
    ValueError: if the algorithm is unknown, or needs more than a mixer.
  """
  part = TRAININGS.part(spec)
  facts = registry.facts(TRAININGS[part.name])
  if getattr(facts, 'over', 'mixer') != 'mixer':
    raise ValueError(
      f'{spec} runs over a graph without rounds: use one with a mixer, such as '
      'gossip_sgd.'
    )

  def make(data):
    matrix = data['mixing']
    mixer = mixing.from_function(
      lambda round, key=None: matrix, structure='links', stochastic='double'
    )
    return lib.over_batches(
      TRAININGS.bound(
        part, problem.task, mixer, problem.num_clients, optimizer=optimizer
      )
    )

  return make
