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
  """

  params: chex.ArrayTree
  opt_state: chex.ArrayTree
  losses: chex.Array


def train_steps(
  task: types.Task,
  optimizer: optax.GradientTransformation,
  *,
  num_steps: int,
) -> Callable[..., Trained]:
  """Builds K optimizer steps of one client.

  Args:
    task: parameters and loss.
    optimizer: any of optax.
    num_steps: K >= 1 (static).

  Returns:
    `train(params, opt_state, batches, key, *, limit=None) -> Trained`, of one
    client. `batches` has leaves [K, ...], a batch per step, or is a function
    `batches(t) -> (batch, real)` that gives step t its batch and says whether
    there is one, bool[] (True if always); other steps change nothing. Step t
    uses `fold_in(key, t)`. `limit`, a traced i32[], stops after that many steps
    and costs no more; all K if None.

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

  def train(params, opt_state, batches, key, *, limit=None):
    given = not callable(batches)

    def step(carry, turn):
      params, opt_state = carry
      t, batch = turn
      batch, real = (batch, True) if given else batches(t)
      loss, grads = slope(params, batch, jax.random.fold_in(key, t))
      updates, new_state = optimizer.update(grads, opt_state, params)
      new = (optax.apply_updates(params, updates), new_state)
      if real is True:
        return new, loss
      kept = jax.tree.map(lambda a, b: jnp.where(real, a, b), new, carry)
      return kept, jnp.where(real, loss, 0.0)

    start = (params, opt_state)
    if limit is None:
      turns = (jnp.arange(length), batches if given else None)
      (params, opt_state), losses = jax.lax.scan(step, start, turns)
      return Trained(params, opt_state, losses)

    def body(t, both):
      carry, losses = both
      batch = jax.tree.map(lambda x: x[t], batches) if given else None
      carry, loss = step(carry, (t, batch))
      return carry, losses.at[t].set(loss)

    (params, opt_state), losses = jax.lax.fori_loop(
      0, jnp.minimum(limit, length), body, (start, jnp.zeros((length,)))
    )
    return Trained(params, opt_state, losses)

  return train


def local_training(
  task: types.Task,
  optimizer: optax.GradientTransformation,
  *,
  batch_size: int,
  num_epochs: int | None = None,
  num_steps: int | None = None,
) -> Callable[..., Trained]:
  """Builds the local training of one client on its own examples.

  Args:
    task: parameters and loss.
    optimizer: starts afresh at each call.
    batch_size: B (static).
    num_epochs: E passes over the data, each in a new order (static).
    num_steps: K steps (static); with both limits the smaller number counts.

  Returns:
    `train(params, data, mask, key, *, limit=None) -> Trained`, of one client:
    leaves [S, ...] and bool[S], real examples first. A client without examples
    keeps its model. `limit`, a traced i32[], is the number of steps that a
    straggler gets done; all if None.

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

  def train(params, data, mask, key, *, limit=None):
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

    run = train_steps(task, optimizer, num_steps=indices.shape[0])
    opt_state = optimizer.init(params)
    return run(params, opt_state, batch_of, loss_key, limit=limit)

  return train
