# SPDX-License-Identifier: Apache-2.0
"""One model on everybody's examples: what federation is measured by."""

from typing import NamedTuple

import chex
import jax
import optax

from jaxdl.core import checks, types


class CentralizedState(NamedTuple):
  """State of `centralized_sgd`.

  Attributes:
    params: the model.
    optimizer: state of the optimizer.
  """

  params: chex.ArrayTree
  optimizer: chex.ArrayTree


def centralized_sgd(
  task: types.Task,
  *,
  optimizer: optax.GradientTransformation,
) -> types.Algorithm:
  """Trains one model on the pooled examples of all clients.

  A round is one optimizer step. Weights of the cohort are not used; padding
  clients need batches whose mask is false.

  Args:
    task: what is learned.
    optimizer: any optax transformation.

  Returns:
    An `Algorithm` of cohorts whose data has leaves [N, B, ...]; the step sees
    all N B examples. Metrics are `loss` and `grad_norm`.

  Raises:
    TypeError: if a part is of another kind; the message says what to call.

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

  def init(key):
    params = task.init(key)
    return CentralizedState(params, optimizer.init(params))

  def step(state, cohort, *, key):
    pooled = jax.tree.map(
      lambda x: x.reshape(-1, *x.shape[2:]), dict(cohort.data)
    )
    loss, grads = jax.value_and_grad(task.loss)(state.params, pooled, key=key)
    updates, memory = optimizer.update(grads, state.optimizer, state.params)
    params = optax.apply_updates(state.params, updates)
    state = CentralizedState(params, memory)
    return state, {'loss': loss, 'grad_norm': optax.tree.norm(grads)}

  return checks.algorithm(
    init, step, lambda state: state.params, state=CentralizedState
  )
