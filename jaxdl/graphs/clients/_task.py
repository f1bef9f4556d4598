# SPDX-License-Identifier: Apache-2.0
"""The task of telling classes of nodes, and networks for it by name."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax.numpy as jnp
import optax

from jaxdl.core import checks, classes, registry, trees
from jaxdl.core.types import Network, Task
from jaxdl.graphs import _registry
from jaxdl.graphs.clients import _exchange, _generation, _pieces
from jaxdl.graphs.spectral import _network

STRUCTURES = ('graph', 'spectrum')


def node_classification(
  network: Network,
  example: Mapping[str, Any],
  *,
  num_classes: int,
  structure: str = 'graph',
) -> Task:
  """Builds the task of telling the classes of nodes of one graph.

  A batch is the whole graph of a client: a dict of 'graph' or 'spectrum',
  'inputs' f[N, F], 'labels' i32[N] and 'mask' bool[N], the nodes that count.
  All nodes are seen by others, whatever the mask. The loss is the mean
  cross-entropy over nodes that count, zero without any; there is no penalty,
  as optimizers decay weights.

  Args:
    network: `apply(params, structure, x, *, train, key)`, logits f[N, K].
    example: a batch; parameters are made for its shapes.
    num_classes: K.
    structure: what of a batch the network takes beside 'inputs', in
      `STRUCTURES` (static).

  Returns:
    `Task`; `evaluate` gives `accuracy` and `loss`, means over nodes that count.
    What other nodes have for labels does not matter.

  Raises:
    ValueError: if K < 1, the structure is unknown, a batch lacks an entry or
      logits have another shape.

  Example:
    >>> import jax
    >>> from jaxdl import graphs
    >>> graph = graphs.make_graph([(0, 1)], 2, pad_nodes=2)
    >>> batch = {
    ...   'graph': graph,
    ...   'inputs': jnp.eye(2),
    ...   'labels': jnp.array([0, 1]),
    ...   'mask': jnp.array([True, False]),
    ... }
    >>> network = graphs.mlp(2, ())
    >>> task = node_classification(network, batch, num_classes=2)
    >>> params = jax.tree.map(jnp.zeros_like, task.init(jax.random.key(0)))
    >>> round(float(task.evaluate(params, batch)['loss']), 4)
    0.6931
  """
  checks.integer(num_classes, name='num_classes', low=1)
  checks.choice(structure, STRUCTURES, name='structure')
  wanted = (structure, 'inputs', 'labels', 'mask')

  def check(batch):
    if not isinstance(batch, Mapping):
      raise TypeError(
        f'batch must be a dict of {", ".join(wanted)}; got '
        f'{checks.described(batch)}.'
      )
    for name in wanted:
      if name not in batch:
        raise ValueError(
          f'batch has no entry {name!r}; got {", ".join(sorted(batch))}.'
        )

  check(example)
  if not checks.has_functions(network, 'init', 'apply'):
    raise TypeError(
      'network must be a Network(init, apply); got '
      f'{checks.described(network)}.'
    )

  def init(key):
    return network.init(key, example[structure], example['inputs'])

  def outputs(params, batch, **options):
    """Logits, labels and mask; zeros where nobody asks."""
    check(batch)
    labels, mask = jnp.asarray(batch['labels']), jnp.asarray(batch['mask']) != 0
    if mask.shape != labels.shape:
      raise ValueError(
        f'mask must have the shape of labels, {labels.shape}; got {mask.shape}.'
      )
    logits = network.apply(params, batch[structure], batch['inputs'], **options)
    if not jnp.issubdtype(labels.dtype, jnp.integer):
      raise TypeError(f'labels must be integers; got {labels.dtype}.')
    if logits.shape != (*labels.shape, num_classes):
      raise ValueError(
        f'logits must have shape {(*labels.shape, num_classes)}; got '
        f'{logits.shape}.'
      )
    logits = logits.astype(trees.accumulator(logits.dtype))
    logits = jnp.where(mask[:, None], logits, 0)
    return logits, jnp.where(mask, labels, 0), mask

  def mean(values, mask):
    count = jnp.maximum(jnp.sum(mask), 1).astype(values.dtype)
    return jnp.sum(jnp.where(mask, values, 0)) / count

  def entropy(logits, labels):
    losses = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
    known = (labels >= 0) & (labels < num_classes)
    return losses * jnp.where(known, 1, jnp.nan).astype(losses.dtype)

  def loss(params, batch, *, key=None):
    logits, labels, mask = outputs(params, batch, train=True, key=key)
    return mean(entropy(logits, labels), mask)

  def evaluate(params, batch):
    logits, labels, mask = outputs(params, batch)
    right = classes.is_right(logits, labels).astype(logits.dtype)
    return {
      'accuracy': mean(right, mask),
      'loss': mean(entropy(logits, labels), mask),
    }

  return Task(init, loss, evaluate, outputs)


class Needs(NamedTuple):
  """What a network asks of the data of clients.

  Attributes:
    structure: in `STRUCTURES`.
    completion: the entry of `COMPLETIONS` that it is made for; others do not
      fit if `only`.
    only: see above.
  """

  structure: str = 'graph'
  completion: str = 'induced'
  only: bool = False


_SPECIAL = {
  'fedgcn': Needs(completion='neighbor_sums', only=True),
  'gnodeformer': Needs(structure='spectrum'),
}

NETWORKS = _registry.NETWORKS | _network.NETWORKS | {'fedgcn': _exchange.fedgcn}
COMPLETIONS: registry.Registry = registry.Registry(
  'completion',
  {
    'induced': _pieces.induced_pieces,
    'generated': _generation.generated,
    'neighbor_sums': _exchange.neighbor_sums,
  },
  given=('graph', 'x', 'parts'),
  told=('seed',),
)

# The grammar of what clients learn, for flags: network[@completion].
LEARNERS = registry.Pair(NETWORKS, COMPLETIONS)


def read_learner(spec: str, *, name: str = 'network') -> tuple[str, str, str]:
  """Reads what clients learn, and on what.

  Args:
    spec: 'gnodeformer(rk=4)', 'sage@generated(num_steps=50)': a part of
      `NETWORKS`, and of `COMPLETIONS` where it is not the induced subgraphs;
      'fedgcn' is on 'neighbor_sums'.
    name: of the argument, for messages.

  Returns:
    The network, the completion and the structure of `node_classification`.

  Raises:
    ValueError: if a name or an option is unknown, or both do not fit.

  Example:
    >>> read_learner('fedgcn(8)')
    ('fedgcn(8)', 'neighbor_sums', 'graph')
  """
  first, second = registry.pair(spec, name=name)
  part = NETWORKS.part(first, name=name)
  needs = _SPECIAL.get(part.name, Needs())
  second = needs.completion if second is None else second
  completion = COMPLETIONS.part(second, name=name)
  for entry, own in _SPECIAL.items():
    if own.only and completion.name == own.completion != needs.completion:
      raise ValueError(
        f'{name}={spec}: {completion.name} has sums of the first layer done, '
        f'which {part.name} would take again: use {entry}@{second}.'
      )
  if needs.only and completion.name != needs.completion:
    raise ValueError(
      f'{name}={spec}: {part.name} is for {needs.completion} only.'
    )
  return first, second, needs.structure


def make_pieces(
  spec: str, graph: Any, x: Any, parts: Any, *, seed: int = 0
) -> list[_pieces.Piece]:
  """Cuts a graph into pieces and completes them, by name.

  Args:
    spec: a part of `COMPLETIONS`.
    graph: the whole, concrete.
    x: f[N, F].
    parts: nodes of every client.
    seed: of what is drawn.

  Returns:
    A piece for each client.

  Raises:
    ValueError: if the name or an option is unknown or out of range.

  Example:
    >>> from jaxdl import graphs
    >>> graph = graphs.make_graph([(0, 1)], 2, pad_nodes=2)
    >>> x = jnp.eye(2)
    >>> len(make_pieces('neighbor_sums(hops=1)', graph, x, [[0], [1]]))
    2
  """
  return COMPLETIONS.make(spec, graph, x, parts, seed=seed)
