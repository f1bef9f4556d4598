# SPDX-License-Identifier: Apache-2.0
"""Training several tables at once, which may inherit weights."""

import dataclasses
import functools
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxdl.core import checks, clients as clients_lib, keys, registry
from jaxdl.graphs.search import _children, _training
from jaxdl.graphs.search._children import Children
from jaxdl.graphs.search._tasks import NodeTask
from jaxdl.graphs.search._training import Trained


class Sharing(NamedTuple):
  """How offspring takes over weights.

  Attributes:
    rule: in `SHARINGS`, see `Children.inherits`.
    warmup_epochs: epochs of an offspring all of whose layers inherit, if they
      are fewer than those of a full training, which others get.
  """

  rule: str = 'none'
  warmup_epochs: int = 10


def check_sharing(value: Any) -> Sharing:
  """Returns a sharing, or raises what is wrong with it."""
  if not isinstance(value, Sharing):
    raise TypeError(
      f'sharing must be a Sharing; got {checks.described(value)}: make one '
      "with SHARING.make('constrained')."
    )
  checks.choice(value.rule, _children.SHARINGS, name='sharing.rule')
  checks.integer(value.warmup_epochs, name='sharing.warmup_epochs', low=1)
  return value


def _none() -> Sharing:
  return Sharing()


def _sharing(rule):
  def make(warmup_epochs: int = 10) -> Sharing:
    checks.integer(warmup_epochs, name='warmup_epochs', low=1)
    return Sharing(rule, warmup_epochs)

  return make


SHARING = registry.Registry(
  'sharing',
  {
    'none': _none,
    'constrained': _sharing('constrained'),
    'unconstrained': _sharing('unconstrained'),
  },
  tried={},
)


NOTHING = Sharing()


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
    ValueError: if a number is out of range, or the task does not fit the
      networks.
    TypeError: if a value is of another kind.
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
    _training.check_fit(self.children, self.task)
    if self.chunk is not None:
      checks.integer(self.chunk, name='chunk', low=1)

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
      return _training.train_child(
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
      jax.vmap(functools.partial(self.children.inherits, share=rule), (0, None))
    )
    return {rule: over(rule) for rule in _children.SHARINGS}

  def __call__(
    self,
    key: chex.PRNGKey,
    tables: Any,
    *,
    ancestor: Ancestor | None = None,
    sharing: Sharing = NOTHING,
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
      ValueError: if there are not T tables of L layers, a place is none, the
        sharing is wrong or the ancestor is of other shapes.
      TypeError: if tables hold no integers.
    """
    keys.check_key(key)
    known = functools.partial(
      self.children.space.check_table, num_layers=self.children.num_layers
    )
    tables = known(tables, name='tables', shape=(self.num_tables,))
    check_sharing(sharing)
    nobody = self.nobody
    rule = 'none'
    if ancestor is not None:
      rule = sharing.rule
      known(ancestor.table, name='ancestor.table')
      checks.same_shapes(
        ancestor.params,
        nobody.params,
        name='ancestor.params',
        what='parameters of this trainer',
      )
    ancestor = ancestor or nobody
    layers = np.asarray(self._inherits[rule](tables, ancestor.table))
    short = min(sharing.warmup_epochs, self.num_epochs)
    epochs = np.where(layers.all(1), short, self.num_epochs).astype(np.int32)
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

    Raises:
      ValueError: if the number is out of range, or a place is none.
    """
    count = checks.integer(num_trainings, name='num_trainings', low=1)
    each = self.num_tables * self.num_seeds
    own = self.children.space.check_table(
      table, num_layers=self.children.num_layers
    )
    tables = np.broadcast_to(own, (self.num_tables, *own.shape))
    scores, tests = [], []
    for i in range(-(-count // each)):
      found, *_ = self(jax.random.fold_in(key, i), tables)
      scores.append(np.ravel(found.score))
      tests.append(np.ravel(found.test))
    return np.concatenate(scores)[:count], np.concatenate(tests)[:count]
