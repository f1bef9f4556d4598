# SPDX-License-Identifier: Apache-2.0
"""Several models, of which each client takes what suits it best."""

import jax
import jax.numpy as jnp

from jaxdl import local
from jaxdl.core import checks, types
from jaxdl.federated.server import _averaging, _method


def ifca(
  task: types.Task, work: local.LocalWork, *, num_models: int = 2
) -> _method.Method:
  """Trains K models; a client trains the one that fits its data best.

  Ties go to the lower number. A model that nobody takes stays as it is.

  Args:
    task: parameters and loss.
    work: what a client does.
    num_models: K >= 1 (static).

  Returns:
    The method: params have leaves [K, ...], clients remember their choice
    i32[], their models are what they chose. FedJAX calls it HypCluster.

  Raises:
    ValueError: if K is out of range.

  Source: Ghosh et al. 2020 (https://arxiv.org/abs/2006.04088), Algorithm 1;
    Mansour et al. 2020 (https://arxiv.org/abs/2002.10619).
  """
  checks.task(task)
  checks.integer(num_models, name='num_models', low=1)
  base = _averaging.fedavg(task, work)
  slope = local.loss_gradient(task)
  at = lambda tree, k: jax.tree.map(lambda x: x[k], tree)

  def start(key):
    return jax.vmap(task.init)(jax.random.split(key, num_models))

  def train(shared, own, data, key):
    del own
    train_key, loss_key = jax.random.split(key)
    losses, _ = jax.lax.map(lambda p: slope(p, data, loss_key), shared)
    chosen = jnp.argmin(jnp.where(jnp.isnan(losses), jnp.inf, losses))
    chosen = chosen.astype(jnp.int32)
    sent = base.train(at(shared, chosen), (), data, train_key)
    return _method.Sent(sent.message, chosen, sent.facts | {'group': chosen})

  def absorb(params, memory, update, round):
    del round
    return jax.tree.map(jnp.add, params, update), memory

  return base._replace(
    start=start,
    init=_method.no_state,
    own=lambda params: jnp.zeros((), jnp.int32),
    train=train,
    absorb=absorb,
    model=lambda params, memory, own: at(params, own),
    num_groups=num_models,
    told=('group',),
    name='ifca',
  )
