# SPDX-License-Identifier: Apache-2.0
"""One gradient or one step of every client."""

from collections.abc import Callable
from typing import Any

import chex
import jax
import jax.numpy as jnp
import optax

from jaxdl.core import checks, clients as clients_lib, keys, trees, types


def start_models(
  task: types.Task,
  clients: clients_lib.Clients | int,
  key: chex.PRNGKey,
  *,
  same: bool = True,
) -> chex.ArrayTree:
  """Initial models of all clients.

  Args:
    task: makes them.
    clients: N clients, or N (static).
    key: consumed; client i's own draw depends on its number alone.
    same: whether all start from one draw (static).

  Returns:
    Leaves [N, ...].

  Example:
    >>> task = types.Task(jax.random.normal, lambda *_, **__: 0.0, None)
    >>> start_models(task, 3, jax.random.key(0)).shape
    (3,)
  """
  n = clients_lib.as_clients(clients).num_clients
  if not same:
    return jax.vmap(task.init)(keys.client_keys(key, jnp.arange(n)))
  return jax.tree.map(
    lambda x: jnp.broadcast_to(x[None], (n, *jnp.shape(x))),
    jax.tree.map(jnp.asarray, task.init(key)),
  )


def loss_and_gradient(
  task: types.Task,
) -> Callable[..., tuple[chex.Array, chex.ArrayTree]]:
  """Loss and gradient of a single client.

  Args:
    task: parameters and loss.

  Returns:
    `fn(params, batch, key) -> (f32[], gradient like params)`; consumes the key.

  Example:
    >>> task = types.Task(float, lambda w, x, *, key: (w - x) ** 2 / 2, dict)
    >>> loss, slope = loss_and_gradient(task)(3.0, 1.0, None)
    >>> float(loss), float(slope)
    (2.0, 2.0)
  """
  return lambda params, batch, key: jax.value_and_grad(task.loss)(
    params, batch, key=key
  )


def gradients(
  task: types.Task,
  clients: clients_lib.Clients | int,
  *,
  shared: bool = False,
) -> Callable[..., tuple[chex.Array, chex.ArrayTree]]:
  """Losses and gradients of all clients.

  Args:
    task: parameters and loss.
    clients: N clients and how they are run, or N (static).
    shared: whether all work on one model, leaves [...], instead of one each
      (static).

  Returns:
    `fn(params, cohort, key) -> (f32[N], leaves [N, ...])` of a cohort of all N
    clients in fixed order, a batch each; gradients of masked clients are zero,
    their losses are not. A client's randomness depends on its id alone.

  Raises:
    TypeError: if the task is none.
    ValueError: from the function, if the cohort has other clients.

  Example:
    >>> task = types.Task(float, lambda w, x, *, key: (w - x) ** 2 / 2, dict)
    >>> cohort = types.Cohort(
    ...   client_ids=jnp.arange(3),
    ...   data=jnp.zeros(3),
    ...   mask=jnp.array([True, True, False]),
    ...   weights=jnp.ones(3),
    ... )
    >>> gradients(task, 3)(jnp.arange(1.0, 4.0), cohort, jax.random.key(0))[1]
    Array([1., 2., 0.], dtype=float32)
  """
  checks.task(task)
  clients = clients_lib.as_clients(clients)
  run = clients.map(
    loss_and_gradient(task), in_axes=(None, 0, 0) if shared else 0
  )

  def all_gradients(params, cohort, key):
    clients.check(cohort)
    losses, grads = run(
      params, cohort.data, keys.client_keys(key, cohort.client_ids)
    )
    return losses, trees.where_rows(cohort.mask, grads, 0.0)

  return all_gradients


def client_updates(
  optimizer: optax.GradientTransformation,
  grads: chex.ArrayTree,
  opt_state: chex.ArrayTree,
  params: chex.ArrayTree,
  mask: chex.Array,
) -> tuple[chex.ArrayTree, chex.ArrayTree]:
  """Every client's step of its own optimizer.

  Args:
    optimizer: run by every client.
    grads: leaves [N, ...].
    opt_state: stacked states, leaves [N, ...].
    params: leaves [N, ...].
    mask: bool[N], clients that take part.

  Returns:
    `(updates, opt_state)`; masked clients get zeros and keep their state.

  Example:
    >>> sgd = optax.sgd(0.5)
    >>> slopes, mask = jnp.ones(2), jnp.array([True, False])
    >>> state = jax.vmap(sgd.init)(slopes)
    >>> client_updates(sgd, slopes, state, slopes, mask)[0].tolist()
    [-0.5, 0.0]
  """
  out, new_state = jax.vmap(optimizer.update)(grads, opt_state, params)
  return (
    trees.where_rows(mask, out, 0.0),
    trees.where_rows(mask, new_state, opt_state),
  )


def momentum(
  memory: chex.ArrayTree, grads: chex.ArrayTree, decay: Any
) -> chex.ArrayTree:
  """Moving average of gradients, decay * memory + (1 - decay) * gradient.

  Args:
    memory: a tree.
    grads: a tree of the same structure and shapes.
    decay: beta in [0, 1); static or traced.

  Returns:
    The new memory, dtypes kept.

  Example:
    >>> float(momentum(jnp.float32(1.0), jnp.float32(2.0), 0.75))
    1.25
  """
  return jax.tree.map(
    lambda m, g: (decay * m + (1.0 - decay) * g).astype(m.dtype), memory, grads
  )
