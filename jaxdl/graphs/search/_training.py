# SPDX-License-Identifier: Apache-2.0
"""Training the networks of tables: one compiled program for all of them."""

import dataclasses
import functools
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
from absl import logging

from jaxdl.core import checks, clients as clients_lib, keys, registry
from jaxdl.graphs import _inside
from jaxdl.graphs._graph import Graph
from jaxdl.graphs.search import _children
from jaxdl.graphs.search._children import Children


class NodeTask(NamedTuple):
  """A graph some of whose nodes have labels to learn; see `node_task`.

  Attributes:
    graph: one graph.
    features: f[N, F].
    labels: i32[N], or f[N, K] of zeros and ones where a node may have several.
    train: bool[N].
    validation: bool[N].
    test: bool[N].
  """

  graph: Graph
  features: chex.Array
  labels: chex.Array
  train: chex.Array
  validation: chex.Array
  test: chex.Array


def node_task(
  graph: Graph,
  features: Any,
  labels: Any,
  *,
  num_classes: int,
  train: Any,
  validation: Any,
  test: Any,
) -> NodeTask:
  """Checks a graph, its labels and its split, on the host.

  Warns of classes without a node to train on, and of a graph without edges, on
  which every node hears itself alone.

  Args:
    graph: one graph; several side by side, for graphs that are not seen in
      training, with masks of whole graphs.
    features: f[N, F]; zeros of padding.
    labels: i[N] in [0, num_classes), or of 0 and 1, [N, num_classes], where a
      node may have several.
    num_classes: K >= 1.
    train: bool[N].
    validation: bool[N].
    test: bool[N].

  Returns:
    The task.

  Raises:
    ValueError: if shapes differ, masks overlap, are empty or hold padding, or
      labels are out of range.
    TypeError: if features are not floating point, or labels not numbers.

  Example:
    >>> from jaxdl.graphs import sets
    >>> data = sets.karate()
    >>> task = node_task(
    ...   data.graph,
    ...   data.features,
    ...   data.labels,
    ...   num_classes=2,
    ...   train=data.train,
    ...   validation=data.validation,
    ...   test=data.test,
    ... )
    >>> task.train.sum().item()
    2
  """
  k = checks.integer(num_classes, name='num_classes', low=1)
  x = _inside.check_features(graph, features, name='features')
  if x.ndim != 2:
    raise ValueError(f'features must have shape [N, F]; got {x.shape}.')
  n, there = graph.num_nodes, np.asarray(graph.node_mask)
  y = checks.host_array(labels, name='labels')
  if y.shape not in ((n,), (n, k)):
    raise ValueError(
      f'labels must have shape ({n},), or ({n}, {k}) where a node may have '
      f'several; got {y.shape}.'
    )
  several = y.ndim == 2
  if not several and y.dtype.kind not in 'iu':
    raise TypeError(f'labels must be integers; got {y.dtype}.')
  high = 2 if several else k
  bad = np.argwhere(there.reshape(-1, *(1,) * (y.ndim - 1)) & ~np.isin(y, range(high)))
  if len(bad):
    place = tuple(bad[0].tolist())
    rule = '0 or 1' if several else f'in [0, {k})'
    raise ValueError(
      f'labels must be {rule}; labels[{", ".join(map(str, place))}] is '
      f'{y[place]}.'
    )
  masks = _checked_masks(
    there, train=train, validation=validation, test=test
  )
  own = y[masks['train']]
  seen = own.astype(bool).any(0) if several else np.isin(np.arange(k), own)
  if not seen.all():
    missing = ', '.join(map(str, np.flatnonzero(~seen)))
    logging.warning('class %s has no node to train on.', missing)
  if not np.asarray(graph.edge_mask).any():
    logging.warning('the graph has no edges: every node hears itself alone.')
  kind = x.dtype if several else jnp.int32
  return NodeTask(
    graph,
    x,
    jnp.asarray(y, kind),
    *(jnp.asarray(mask) for mask in masks.values()),
  )


def _checked_masks(there, **given):
  """Masks bool[N] that are not empty, disjoint and without padding."""
  out = {}
  for name, mask in given.items():
    found = checks.host_array(mask, name=name)
    if found.shape != there.shape or found.dtype != bool:
      raise ValueError(
        f'{name} must be bool of shape {there.shape}; got {found.dtype} of '
        f'shape {found.shape}.'
      )
    if not found.any():
      raise ValueError(f'{name} is empty: it must hold at least one node.')
    if (found & ~there).any():
      raise ValueError(
        f'{name} holds node {np.flatnonzero(found & ~there)[0]}, which is '
        'padding.'
      )
    for other, mask_of in out.items():
      both = np.flatnonzero(found & mask_of)
      if len(both):
        raise ValueError(
          f'{other} and {name} overlap, in node {both[0]} and {len(both)} in '
          'all: a node may be in one of them.'
        )
    out[name] = found
  return out


def node_loss(
  outputs: chex.Array, labels: chex.Array, mask: chex.Array
) -> chex.Array:
  """Cross-entropy of a softmax, or of sigmoids where there may be several.

  Args:
    outputs: f[N, K].
    labels: see `NodeTask`.
    mask: bool[N].

  Returns:
    f[], the mean over the mask.
  """
  if labels.ndim == 2:
    loss = optax.sigmoid_binary_cross_entropy(outputs, labels).mean(-1)
  else:
    loss = optax.softmax_cross_entropy_with_integer_labels(outputs, labels)
  return jnp.where(mask, loss, 0).sum() / jnp.maximum(mask.sum(), 1)


def node_score(
  outputs: chex.Array, labels: chex.Array, mask: chex.Array
) -> chex.Array:
  """Accuracy, or the F1 of all labels together where there may be several.

  Args:
    outputs: f[N, K].
    labels: see `NodeTask`.
    mask: bool[N].

  Returns:
    f[], in [0, 1]; zero without a node.
  """
  if labels.ndim == 1:
    hits = (outputs.argmax(-1) == labels) & mask
    return hits.sum() / jnp.maximum(mask.sum(), 1)
  said = (outputs > 0) & mask[:, None]
  true = (labels > 0) & mask[:, None]
  hits = (said & true).sum()
  return 2 * hits / jnp.maximum(said.sum() + true.sum(), 1)


class Trained(NamedTuple):
  """What training leaves, at the epoch of the lowest validation loss.

  Attributes:
    params: as `Children.init` makes them; the initial ones if no loss was
      finite.
    score: f[], on validation nodes; zero if a loss was not finite.
    test: f[], likewise on test nodes.
    loss: f[], on validation nodes; infinite if no loss was finite.
    epoch: i32[], from 1; 0 if no loss was finite.
    finite: bool[], whether all losses were.
  """

  params: Any
  score: chex.Array
  test: chex.Array
  loss: chex.Array
  epoch: chex.Array
  finite: chex.Array


def child_optimizer(
  learning_rate: chex.Numeric = 0.005, l2: chex.Numeric = 5e-4
) -> optax.GradientTransformation:
  """Adam on the loss plus half of l2 times the squares of all parameters.

  Args:
    learning_rate: step size.
    l2: its gradient goes through Adam, unlike that of a decay of weights.

  Returns:
    An optimizer.

  Raises:
    ValueError: if a number is negative.
  """
  checks.number(learning_rate, name='learning_rate', low=0)
  checks.number(l2, name='l2', low=0)
  return optax.chain(
    optax.add_decayed_weights(l2), optax.adam(learning_rate)
  )


def train_child(
  children: Children,
  task: NodeTask,
  table: chex.Array,
  params: Any,
  *,
  key: chex.PRNGKey,
  optimizer: optax.GradientTransformation,
  num_epochs: chex.Numeric,
  dropout: chex.Numeric = 0.6,
) -> Trained:
  """Trains the network of a table, full batch.

  After every epoch it is tested without dropout; what counts is the epoch with
  the lowest validation loss, the first of equals, not the best test figure.

  Args:
    children: networks of all tables.
    task: from `node_task`.
    table: i32[L, C], traced or not.
    params: to begin with, see `Children.init`.
    key: consumed by dropout.
    optimizer: optax, see `child_optimizer`.
    num_epochs: >= 1, traced or not.
    dropout: in [0, 1), traced or not.

  Returns:
    See `Trained`. An explosion scores zero.

  Cost: O(E H W + N F H W) work per epoch, twice for the test, with the padded
    H and W.

  Source: Zhou et al. 2019 (https://arxiv.org/abs/1909.03184), section 4.
  """
  keys.check_key(key)
  checks.number(dropout, name='dropout', low=0, high=1, open_high=True)
  if not isinstance(num_epochs, jax.core.Tracer):
    checks.integer(int(num_epochs), name='num_epochs', low=1)
  run = functools.partial(
    children.apply, table=table, graph=task.graph, x=task.features
  )

  def loss_of(params, key):
    outputs = run(params, dropout=dropout, key=key)
    return node_loss(outputs, task.labels, task.train)

  def epoch(number, carry):
    params, memory, best = carry
    loss, slope = jax.value_and_grad(loss_of)(
      params, jax.random.fold_in(key, number)
    )
    change, memory = optimizer.update(slope, memory, params)
    params = optax.apply_updates(params, change)
    outputs = run(params)
    held = node_loss(outputs, task.labels, task.validation)
    new = Trained(
      params,
      node_score(outputs, task.labels, task.validation),
      node_score(outputs, task.labels, task.test),
      held,
      number + 1,
      best.finite & jnp.isfinite(loss) & jnp.isfinite(held),
    )
    better = held < best.loss
    best = jax.tree.map(lambda x, y: jnp.where(better, x, y), new, best)
    return params, memory, best._replace(finite=new.finite)

  zero = jnp.zeros((), jnp.result_type(float))
  dtype = jnp.result_type(task.features)
  start = Trained(
    params,
    zero,
    zero,
    jnp.full((), jnp.inf, dtype),
    jnp.zeros((), jnp.int32),
    jnp.ones((), bool),
  )
  *_, best = jax.lax.fori_loop(
    0, num_epochs, epoch, (params, optimizer.init(params), start)
  )
  valid = lambda x: jnp.where(best.finite, x, 0)
  return best._replace(score=valid(best.score), test=valid(best.test))


class Sharing(NamedTuple):
  """How offspring takes over weights.

  Attributes:
    rule: in `SHARINGS`, see `Children.inherits`.
    warmup_epochs: epochs of an offspring all of whose layers inherit; others
      are trained in full.
  """

  rule: str = 'none'
  warmup_epochs: int = 10


def _sharing(rule):
  def make(warmup_epochs: int = 10) -> Sharing:
    checks.integer(warmup_epochs, name='warmup_epochs', low=1)
    return Sharing(rule, warmup_epochs)

  return make


SHARING = registry.Registry(
  'sharing',
  {
    'none': Sharing,
    'constrained': _sharing('constrained'),
    'unconstrained': _sharing('unconstrained'),
  },
  given=('rule',),
  tried={},
)


class Ancestor(NamedTuple):
  """Of whom offspring takes over weights.

  Attributes:
    table: i32[L, C].
    params: leaves [R, ...], of R trainings.
  """

  table: chex.Array
  params: Any


@dataclasses.dataclass(frozen=True, eq=False)
class Trainer:
  """Trains several tables at once, each several times, as one program.

  Tables run one after the other where `chunk` is 1, so that only what each has
  chosen is computed; `vmap` over tables computes every choice of all. On CPU
  the former was faster (`experiments/benchmarks/graphs.py`) and is the default;
  elsewhere all run together. Trainings of one table run side by side.

  Attributes:
    children: networks of all tables.
    task: from `node_task`.
    optimizer: of a training.
    num_epochs: of a training.
    dropout: in [0, 1).
    num_seeds: R trainings of a table; its score is their mean.
    num_tables: how many tables at once.
    mesh: devices to split tables over, from `core.clients.clients_mesh`.
    chunk: tables that run together on a device; None for the rule above.

  Raises:
    ValueError: if a number is out of range.
  """

  children: Children
  task: NodeTask
  optimizer: optax.GradientTransformation
  num_epochs: int = 200
  dropout: float = 0.6
  num_seeds: int = 1
  num_tables: int = 1
  mesh: jax.sharding.Mesh | None = None
  chunk: int | None = None

  def __post_init__(self):
    for name in ('num_epochs', 'num_seeds', 'num_tables'):
      checks.integer(getattr(self, name), name=name, low=1)
    checks.number(self.dropout, name='dropout', low=0, high=1, open_high=True)
    checks.optimizer(self.optimizer)

  @functools.cached_property
  def _clients(self):
    chunk = self.chunk
    if chunk is None and jax.default_backend() == 'cpu':
      chunk = 1
    return clients_lib.Clients(self.num_tables, self.mesh, chunk)

  @functools.cached_property
  def nobody(self) -> Ancestor:
    """An ancestor of whom nothing is taken over."""
    shape = (self.children.num_layers, self.children.space.num_classes)
    table = jnp.zeros(shape, jnp.int32)
    like = jax.eval_shape(self.children.init, jax.random.key(0), table)
    zeros = lambda x: jnp.zeros((self.num_seeds, *x.shape), x.dtype)
    return Ancestor(table, jax.tree.map(zeros, like))

  @functools.cached_property
  def _run(self):
    children = self.children

    def one_seed(key, table, layers, epochs, own, task, before):
      start, drops = jax.random.split(key)
      params = children.init(start, table)
      params = children.inherit(params, table, own, before, layers=layers)
      return train_child(
        children,
        task,
        table,
        params,
        key=drops,
        optimizer=self.optimizer,
        num_epochs=epochs,
        dropout=self.dropout,
      )

    def one_table(key, table, layers, epochs, ancestor, task):
      run = lambda key, own: one_seed(
        key, table, layers, epochs, own, task, ancestor.table
      )
      if self.num_seeds == 1:
        first = jax.tree.map(lambda x: x[0], ancestor.params)
        return jax.tree.map(lambda x: x[None], run(key, first))
      return jax.vmap(run)(
        jax.random.split(key, self.num_seeds), ancestor.params
      )

    run = self._clients.map(one_table, in_axes=(0, 0, 0, 0, None, None))
    return jax.jit(run)

  @functools.cached_property
  def _inherits(self):
    over = lambda rule: jax.jit(
      jax.vmap(
        functools.partial(self.children.inherits, share=rule), (0, None)
      )
    )
    return {rule: over(rule) for rule in _children.SHARINGS}

  def __call__(
    self,
    key: chex.PRNGKey,
    tables: Any,
    *,
    ancestor: Ancestor | None = None,
    sharing: Sharing = Sharing(),
  ) -> tuple[Trained, np.ndarray, np.ndarray]:
    """Trains tables.

    Args:
      key: consumed.
      tables: i[T, L, C].
      ancestor: of whom weights are taken over, or None.
      sharing: how.

    Returns:
      `Trained` with leaves [T, R, ...]; bool[T, L], which layers inherited; and
      i32[T], epochs of each training.

    Raises:
      ValueError: if there are not T tables of L layers.
    """
    keys.check_key(key)
    tables = np.asarray(tables, np.int32)
    nobody = self.nobody
    shape = (self.num_tables, *nobody.table.shape)
    if tables.shape != shape:
      raise ValueError(f'tables must have shape {shape}; got {tables.shape}.')
    rule = sharing.rule if ancestor is not None else 'none'
    ancestor = ancestor or nobody
    layers = np.asarray(self._inherits[rule](tables, ancestor.table))
    epochs = np.where(
      layers.all(1), sharing.warmup_epochs, self.num_epochs
    ).astype(np.int32)
    found = self._run(
      jax.random.split(key, self.num_tables),
      jnp.asarray(tables),
      jnp.asarray(layers),
      jnp.asarray(epochs),
      ancestor,
      self.task,
    )
    return found, layers, epochs

  def repeat(
    self, key: chex.PRNGKey, table: Any, num_trainings: int
  ) -> tuple[np.ndarray, np.ndarray]:
    """Trains one table from scratch many times, in the same program.

    Args:
      key: consumed.
      table: i[L, C].
      num_trainings: how often.

    Returns:
      f[num_trainings] of validation and of test scores.
    """
    count = checks.integer(num_trainings, name='num_trainings', low=1)
    each = self.num_tables * self.num_seeds
    tables = np.broadcast_to(table, (self.num_tables, *np.shape(table)))
    scores, tests = [], []
    for i in range(-(-count // each)):
      found, *_ = self(jax.random.fold_in(key, i), tables)
      scores.append(np.ravel(found.score))
      tests.append(np.ravel(found.test))
    return np.concatenate(scores)[:count], np.concatenate(tests)[:count]
