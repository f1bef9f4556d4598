# SPDX-License-Identifier: Apache-2.0
"""One model on everybody's examples: what federation is measured by."""

from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp
import optax

from jaxdl.core import checks, types


class CentralizedState(NamedTuple):
  """State of `centralized_sgd`.

  Attributes:
    params: the model.
    optimizer: state of the optimiser.
  """

  params: chex.ArrayTree
  optimizer: chex.ArrayTree


def centralized_sgd(
  task: types.Task,
  *,
  optimizer: optax.GradientTransformation,
  num_steps: int = 1,
) -> types.Algorithm:
  """Trains one model on the pooled examples of all clients.

  A round takes `num_steps` optimiser steps. Weights of the cohort are not
  used; padding clients need batches whose mask is false.

  Args:
    task: what is learned.
    optimizer: any optax transformation.
    num_steps: H (static). With one, `cohort.data` has leaves [N, B, ...] and
      the step sees all N B examples; with more, leaves [N, H, B, ...].

  Returns:
    An `Algorithm`; metrics are `loss`, the mean over the round's steps, and
    `grad_norm` of the last.

  Raises:
    ValueError: if `num_steps` is below one, or `cohort.data` has another
      number of steps.

  Example:
    >>> from jaxdl import networks
    >>> task = networks.regression(
    ...   networks.logistic_regression(1), jnp.ones((1, 2))
    ... )
    >>> algorithm = centralized_sgd(task, optimizer=optax.sgd(0.1))
    >>> state = algorithm.init(jax.random.key(0))
    >>> cohort = types.Cohort(
    ...   client_ids=jnp.arange(1),
    ...   data={
    ...     'inputs': jnp.ones((1, 4, 2)), 'labels': jnp.ones((1, 4, 1))
    ...   },
    ...   mask=jnp.ones((1,), bool),
    ...   weights=jnp.ones((1,)),
    ... )
    >>> state, metrics = algorithm.step(state, cohort, key=jax.random.key(1))
    >>> sorted(metrics)
    ['grad_norm', 'loss']
  """
  checks.task(task)
  checks.optimizer(optimizer)
  checks.integer(num_steps, name='num_steps', low=1)

  def init(key):
    params = task.init(key)
    return CentralizedState(params, optimizer.init(params))

  def one(state, batch, key):
    loss, grads = jax.value_and_grad(task.loss)(state.params, batch, key=key)
    updates, memory = optimizer.update(grads, state.optimizer, state.params)
    params = optax.apply_updates(state.params, updates)
    return CentralizedState(params, memory), (loss, optax.tree.norm(grads))

  def step(state, cohort, *, key):
    if num_steps == 1:
      pooled = jax.tree.map(
        lambda x: x.reshape(-1, *x.shape[2:]), dict(cohort.data)
      )
      state, (loss, norm) = one(state, pooled, key)
      return state, {'loss': loss, 'grad_norm': norm}
    for leaf in jax.tree.leaves(cohort.data):
      if leaf.ndim < 3 or leaf.shape[1] != num_steps:
        raise ValueError(
          f'cohort.data must have leaves [N, H, B, ...] with H = '
          f'num_steps={num_steps}; got shape {leaf.shape}.'
        )
    pooled = jax.tree.map(
      lambda x: jnp.moveaxis(x, 1, 0).reshape(num_steps, -1, *x.shape[3:]),
      dict(cohort.data),
    )
    keys = jax.random.split(key, num_steps)
    state, (losses, norms) = jax.lax.scan(
      lambda s, batch_key: one(s, *batch_key), state, (pooled, keys)
    )
    return state, {'loss': jnp.mean(losses), 'grad_norm': norms[-1]}

  return checks.algorithm(
    init, step, lambda state: state.params, state=CentralizedState
  )
