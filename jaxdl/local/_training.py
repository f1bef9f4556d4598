# SPDX-License-Identifier: Apache-2.0
"""Several steps of one client: the local training of every algorithm."""

from collections.abc import Callable
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import optax

from jaxdl import data as data_lib
from jaxdl.core import checks, types
from jaxdl.local import _gradients


class Trained(NamedTuple):
  """What one client comes back with.

  Attributes:
    params: its model.
    opt_state: its optimizer's state.
    losses: f32[K], the loss before each step; zero for steps not taken.
    num_steps: i32[], steps taken.
    gradient: mean over them of the gradients of the loss, a tree like params;
      zero if there was none, () where it was not asked for.
    share: f32[], which share of what was to be done that is, from
      `LocalWork.trainer`; zero where there was nothing to do.
  """

  params: chex.ArrayTree
  opt_state: chex.ArrayTree
  losses: chex.Array
  num_steps: chex.Array
  gradient: chex.ArrayTree = ()
  share: chex.ArrayTree = ()


def train_steps(
  task: types.Task,
  optimizer: optax.GradientTransformation,
  *,
  num_steps: int,
  frozen: bool = False,
  average: bool = False,
) -> Callable[..., Trained]:
  """Builds K optimizer steps of one client.

  Args:
    task: parameters and loss.
    optimizer: any of optax.
    num_steps: K >= 1 (static).
    frozen: whether the optimizer's state is read but never moves (static).
    average: whether to return the mean of the gradients (static).

  Returns:
    `train(params, opt_state, batches, key, *, limit=None, correct=None) ->
    Trained`, of one client. `batches` has leaves [K, ...], a batch per step, or
    is a function `batches(t) -> (batch, real)` that gives step t its batch and
    says whether there is one, bool[] (True if always); other steps change
    nothing. Step t uses `fold_in(key, t)`. `limit`, a traced i32[], stops after
    that many steps and costs no more; all K if None. `correct(gradient, params,
    batch, key) -> gradient` changes a gradient before the optimizer sees it.

  Raises:
    TypeError: if task or optimizer are something else.
    ValueError: if `num_steps < 1`.

  Example:
    >>> task = types.Task(float, lambda w, x, *, key: (w - x) ** 2 / 2, dict)
    >>> sgd = optax.sgd(0.5)
    >>> train = train_steps(task, sgd, num_steps=3)
    >>> w, x = jnp.float32(8.0), jnp.zeros(3)
    >>> run = lambda limit: train(
    ...   w, sgd.init(w), x, jax.random.key(0), limit=limit
    ... )
    >>> float(run(None).params), float(run(2).params)
    (1.0, 2.0)
  """
  checks.task(task)
  checks.optimizer(optimizer)
  length = checks.integer(num_steps, name='num_steps', low=1)
  slope = _gradients.loss_and_gradient(task)

  def train(
    params, opt_state, batches, key, *, limit=None, correct=None
  ) -> Trained:
    given = not callable(batches)

    def step(carry, turn):
      params, opt_state, total, count = carry
      t, batch = turn
      batch, real = (batch, True) if given else batches(t)
      step_key = jax.random.fold_in(key, t)
      loss, grads = slope(params, batch, step_key)
      if average:
        total = jax.tree.map(jnp.add, total, grads)
      if correct is not None:
        grads = correct(grads, params, batch, step_key)
      updates, moved = optimizer.update(grads, opt_state, params)
      new = (
        optax.apply_updates(params, updates),
        opt_state if frozen else moved,
        total,
        count + 1,
      )
      if real is True:
        return new, loss
      kept = jax.tree.map(lambda a, b: jnp.where(real, a, b), new, carry)
      return kept, jnp.where(real, loss, 0.0)

    total = jax.tree.map(jnp.zeros_like, params) if average else ()
    start = (params, opt_state, total, jnp.zeros((), jnp.int32))
    if limit is None:
      turns = (jnp.arange(length), batches if given else None)
      carry, losses = jax.lax.scan(step, start, turns)
    else:

      def body(t, both):
        carry, losses = both
        batch = jax.tree.map(lambda x: x[t], batches) if given else None
        carry, loss = step(carry, (t, batch))
        return carry, losses.at[t].set(loss)

      carry, losses = jax.lax.fori_loop(
        0, jnp.minimum(limit, length), body, (start, jnp.zeros((length,)))
      )
    params, opt_state, total, count = carry
    mean = jax.tree.map(lambda x: x / jnp.maximum(count, 1), total)
    return Trained(params, opt_state, losses, count, mean)

  return train


def local_training(
  task: types.Task,
  optimizer: optax.GradientTransformation,
  *,
  batch_size: int,
  num_epochs: int | None = None,
  num_steps: int | None = None,
  **options: bool,
) -> Callable[..., Trained]:
  """Builds the local training of one client on its own examples.

  Args:
    task: parameters and loss.
    optimizer: starts afresh at each call unless it is given its state.
    batch_size: B (static).
    num_epochs: E passes over the data, each in a new order (static).
    num_steps: K steps (static); with both limits the smaller number counts.
    **options: `frozen` and `average` of `train_steps`.

  Returns:
    `train(params, data, mask, key, *, limit=None, correct=None, opt_state=None)
    -> Trained`, of one client: leaves [S, ...] and bool[S], real examples
    first. A client without examples keeps its model. `limit`, a traced i32[],
    is the number of steps that a straggler gets done; all if None. `correct` as
    in `train_steps`; the optimizer starts from `opt_state` if it is given.

  Raises:
    ValueError: if no limit is given.

  Example:
    >>> task = types.Task(
    ...   float, lambda w, b, *, key: jnp.mean((w - b['x']) ** 2 / 2), dict
    ... )
    >>> train = local_training(task, optax.sgd(0.5), batch_size=4, num_epochs=2)
    >>> out = train(
    ...   jnp.float32(8.0),
    ...   {'x': jnp.zeros(4)},
    ...   jnp.ones(4, bool),
    ...   jax.random.key(0),
    ... )
    >>> float(out.params), out.losses.tolist()
    (2.0, [32.0, 8.0])
  """
  if num_epochs is None and num_steps is None:
    raise ValueError('num_epochs and num_steps are None: need at least one.')

  def train(
    params, data, mask, key, *, limit=None, correct=None, opt_state=None
  ) -> Trained:
    plan_key, loss_key = jax.random.split(key)
    indices, rows = data_lib.epoch_batches(
      plan_key,
      jnp.sum(mask, dtype=jnp.int32),
      batch_size,
      num_epochs=num_epochs,
      num_steps=num_steps,
      capacity=mask.shape[0],
    )

    def batch_of(t) -> tuple[Any, chex.Array]:
      return data_lib.take_batch(data, indices[t], rows[t]), jnp.any(rows[t])

    run = train_steps(task, optimizer, num_steps=indices.shape[0], **options)
    start = optimizer.init(params) if opt_state is None else opt_state
    return run(params, start, batch_of, loss_key, limit=limit, correct=correct)

  return train
