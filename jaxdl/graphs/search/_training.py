# SPDX-License-Identifier: Apache-2.0
"""Training the network of a table: one compiled program for all of them."""

import functools
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxdl.core import checks, keys
from jaxdl.graphs.search._children import Children
from jaxdl.graphs.search._tasks import NodeTask, node_loss, node_score


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
  return optax.chain(optax.add_decayed_weights(l2), optax.adam(learning_rate))


def check_fit(children: Children, task: NodeTask) -> None:
  """Checks that networks take the features and give the classes of a task.

  Args:
    children: networks.
    task: what they are to learn; labels that are traced pass.

  Raises:
    ValueError: if they do not fit.
    TypeError: if one is something else.
  """
  for name, value, kind, remedy in (
    ('children', children, Children, 'Children(space, L, F, K)'),
    ('task', task, NodeTask, 'node_task(graph, features, labels, ...)'),
  ):
    if not isinstance(value, kind):
      raise TypeError(
        f'{name} must be {kind.__name__}; got {checks.described(value)}: make '
        f'it with {remedy}.'
      )
  given, wanted = task.features.shape[-1], children.num_inputs
  if given != wanted:
    raise ValueError(
      f'children.num_inputs={wanted} must be the number of features of the '
      f'task; got features of shape {task.features.shape}.'
    )
  if task.labels.ndim == 2:
    classes = task.labels.shape[1]
    fits = classes == children.num_outputs
  elif isinstance(task.labels, jax.core.Tracer):
    return
  else:
    there = np.asarray(task.graph.node_mask)
    classes = int(np.asarray(task.labels)[there].max()) + 1
    fits = classes <= children.num_outputs
  if not fits:
    raise ValueError(
      f'children.num_outputs={children.num_outputs} must be the number of '
      f'classes of the task, whose labels say {classes}.'
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

  Raises:
    ValueError: if a number is out of range, a place of the table is known to be
      none, or the task does not fit the networks.
    TypeError: if the optimizer is none, or the number of epochs no integer.

  Cost: O(E H W + N F H W) work per epoch, twice for the test, with the padded
    H and W.

  Source: Zhou et al. 2019 (https://arxiv.org/abs/1909.03184), section 4.
  """
  keys.check_key(key)
  checks.number(dropout, name='dropout', low=0, high=1, open_high=True)
  if not isinstance(num_epochs, jax.core.Tracer):
    scalar = isinstance(num_epochs, jax.Array) and not num_epochs.ndim
    whole = num_epochs.item() if scalar else num_epochs
    num_epochs = checks.integer(whole, name='num_epochs', low=1)
  checks.optimizer(optimizer)
  check_fit(children, task)
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
  # Features may have fewer bits than parameters, and outputs.
  like = jax.eval_shape(
    lambda p: node_loss(run(p), task.labels, task.validation), params
  )
  start = Trained(
    params,
    zero,
    zero,
    jnp.full((), jnp.inf, like.dtype),
    jnp.zeros((), jnp.int32),
    jnp.ones((), bool),
  )
  *_, best = jax.lax.fori_loop(
    0, num_epochs, epoch, (params, optimizer.init(params), start)
  )
  valid = lambda x: jnp.where(best.finite, x, 0)
  return best._replace(score=valid(best.score), test=valid(best.test))
