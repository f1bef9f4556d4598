# SPDX-License-Identifier: Apache-2.0
"""Averages of experts, each over the clients whose tokens it got."""

from collections.abc import Mapping

import jax
import jax.numpy as jnp

from jaxdl import local
from jaxdl.core import checks, types
from jaxdl.federated.server import _averaging, _method
from jaxdl.perception import experts

# Mean usage below which an expert stays as it is.
_UNUSED = 1e-9


def expert_fedavg(
  task: types.Task,
  work: local.LocalWork,
  *,
  server_optimizer: _averaging.Optimizer = None,
) -> _method.Method:
  """Averages what clients changed; of an expert, over those who used it.

  x_e <- x_e + Σ p_k u_ke Δ_ke / Σ p_k u_ke, where u_ke is the share of client
  k's tokens that go to expert e, the mean of before and after its work. A
  client that sends an expert no token does not dilute it, and an expert that
  nobody uses stays as it is. Routers, and all else that is trained, are
  averaged as FedAvg does. Clients send u_ke Δ_ke and u_ke, so that all a
  channel takes are means.

  Args:
    task: whose parameters are {'network', 'experts'}, see
      `perception.experts`; what of them is trained is a matter of
      `experts.trainable_task`.
    work: what a client does.
    server_optimizer: takes the step along the average, see `fedavg`.

  Returns:
    The method; `usage_entropy` of the experts, the mean over layers, is told in
    every round.

  Raises:
    ValueError: from `init`, if the parameters have no experts.

  Example:
    >>> from jaxdl import networks
    >>> network = experts.with_experts(networks.mlp(4, 1), 'moe(4, top_k=2)')
    >>> task = networks.regression(network, jnp.ones((1, 2)))
    >>> task = experts.balanced_task(task, coefficient=0.01)
    >>> method = expert_fedavg(task, local.LocalWork('sgd(0.1)', num_steps=1))
    >>> params = method.start(jax.random.key(0))
    >>> method.message(params)['usage']['0'].shape
    (4,)

  Source: the weighting is ours.
  """
  checks.task(task)
  base = _averaging.fedavg(task, work, server_optimizer=server_optimizer)
  start, move = _averaging.server_step(server_optimizer)

  def init(params, num_clients):
    del num_clients
    usage = _no_usage(params)
    if not usage:
      raise ValueError(
        'expert_fedavg finds no experts among the parameters: convert the '
        'network, experts.with_experts(network), or choose fedavg.'
      )
    return {'optimizer': start(params), 'usage': usage}

  def used(params, data):
    mask = data.get('mask') if isinstance(data, Mapping) else None
    found = experts.expert_usage(task.evaluate, params, data, mask=mask)
    # Layers of which something is trained; of several uses the mean.
    return {
      layer: jnp.mean(
        jnp.stack([u for n, u in found.items() if n.split(':')[0] == layer]),
        axis=0,
      )
      for layer in _no_usage(params)
    }

  def train(shared, own, data, key):
    sent = base.train(shared, own, data, key)
    after = jax.tree.map(jnp.add, shared, sent.message)
    there = (sent.facts['num_steps'] > 0).astype(jnp.float32)
    usage = jax.tree.map(
      lambda x, y: there * (x + y) / 2, used(shared, data), used(after, data)
    )
    message = {'change': _by_expert(sent.message, usage), 'usage': usage}
    return _method.Sent(message, own, sent.facts)

  def absorb(params, memory, update, round):
    del round
    usage = update['usage']
    some = jax.tree.map(
      lambda u: jnp.where(u > _UNUSED, 1 / jnp.maximum(u, _UNUSED), 0), usage
    )
    change = _by_expert(update['change'], some)
    params, optimizer = move(params, memory['optimizer'], change)
    return params, {'optimizer': optimizer, 'usage': usage}

  return _method.Method(
    start=task.init,
    init=init,
    own=_method.no_state,
    share=lambda params, memory: params,
    train=train,
    absorb=absorb,
    message=lambda params: {'change': params, 'usage': _no_usage(params)},
    tell=lambda params, memory: {'usage_entropy': _entropy(memory['usage'])},
    name='expert_fedavg',
  )


def _no_usage(params):
  """Zeros f32[E] by layer."""
  if not isinstance(params, Mapping):
    return {}
  layers = params.get('experts')
  if not isinstance(layers, Mapping):
    return {}
  number = lambda layer: jax.tree.leaves(layer)[0].shape[0]
  return {
    name: jnp.zeros(number(layer))
    for name, layer in layers.items()
    if jax.tree.leaves(layer)
  }


def _by_expert(tree, factors):
  """Multiplies the experts of each layer by a factor of their own."""

  def scaled(path, x, factor):
    if _is_router(path):
      return x
    return x * factor.reshape(-1, *[1] * (x.ndim - 1)).astype(x.dtype)

  layers = {
    name: jax.tree_util.tree_map_with_path(
      lambda path, x, name=name: scaled(path, x, factors[name]), layer
    )
    for name, layer in tree['experts'].items()
  }
  return {**tree, 'experts': layers}


def _is_router(path):
  return getattr(path[0], 'key', None) == 'router'


def _entropy(usage):
  """Mean over layers of the entropy of the shares, in nats."""
  found = []
  for u in usage.values():
    share = u / jnp.maximum(jnp.sum(u), _UNUSED)
    found.append(-jnp.sum(jax.scipy.special.xlogy(share, share)))
  return jnp.mean(jnp.stack(found))
