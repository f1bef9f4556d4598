# SPDX-License-Identifier: Apache-2.0
"""Averages of what clients learned: FedSGD, FedAvg and their kin."""

import dataclasses
from collections.abc import Callable
from typing import Any

import chex
import jax
import jax.numpy as jnp
import optax

from jaxdl import local
from jaxdl.core import checks, types
from jaxdl.federated.server import _adaptive, _method

Optimizer = optax.GradientTransformation | str | None


def difference(after: chex.ArrayTree, before: chex.ArrayTree) -> chex.ArrayTree:
  """What training changed, Δ = y - x."""
  return jax.tree.map(jnp.subtract, after, before)


def facts_of(trained: local.Trained, **more: chex.Array) -> dict[str, Any]:
  """Mean loss over the steps taken, their number and share, and more."""
  count = jnp.maximum(trained.num_steps, 1)
  facts = {
    'loss': jnp.sum(trained.losses) / count,
    'num_steps': trained.num_steps.astype(jnp.float32),
    **more,
  }
  told = jax.tree.leaves(trained.share)  # None where no work was set.
  return facts | ({'share': trained.share} if told else {})


def server_step(
  optimizer: Optimizer, name: str = 'server_optimizer'
) -> tuple[Callable[..., Any], Callable[..., Any]]:
  """How a server moves along an update Δ.

  Args:
    optimizer: of optax or a part of `SERVER_OPTIMIZERS`, which gets -Δ for a
      gradient; None adds Δ.
    name: the argument's name, for messages.

  Returns:
    `init(params) -> opt_state` and `step(params, opt_state, update) -> (params,
    opt_state)`.
  """
  if isinstance(optimizer, str):
    optimizer = _adaptive.make_server_optimizer(optimizer)
  if optimizer is None:
    return lambda params: (), lambda params, state, update: (
      jax.tree.map(lambda x, u: x + u.astype(x.dtype), params, update),
      state,
    )
  made = checks.optimizer(optimizer, name=name) or optimizer

  def step(params, state, update):
    slope = jax.tree.map(jnp.negative, update)
    change, state = made.update(slope, state, params)
    return optax.apply_updates(params, change), state

  return made.init, step


def fedavg(
  task: types.Task,
  work: local.LocalWork,
  *,
  mu: float = 0.0,
  server_optimizer: Optimizer = None,
  decay: chex.Numeric = 1.0,
  name: str = 'fedavg',
) -> _method.Method:
  """Averages what clients changed: x ← x + Σ p_k Δ_k.

  Args:
    task: parameters and loss.
    work: what a client does.
    mu: μ >= 0; clients follow the gradient of their loss plus μ/2 |y - x|², as
      FedProx does (static).
    server_optimizer: takes the step along Σ p_k Δ_k, see `server_step`; FedAvgM
      is 'sgd(1.0, momentum=0.9)'.
    decay: factor in (0, 1] on the steps of the clients from round to round;
      in round t they are decay^t as long, which the server tells them.
    name: for messages.

  Returns:
    The method; the state of the server is that of its optimizer, and the number
    of the round if steps shrink.

  Raises:
    ValueError: if μ is negative or the decay is out of range.

  Source: McMahan et al. 2017 (https://arxiv.org/abs/1602.05629), Algorithm 1;
    Hsu et al. 2019 (https://arxiv.org/abs/1909.06335) for momentum; Li et al.
    2020 (https://arxiv.org/abs/1812.06127) for μ.
  """
  checks.task(task)
  checks.number(mu, name='mu', low=0.0)
  checks.number(decay, name='decay', low=0.0, high=1.0, open_low=True)
  init, move = server_step(server_optimizer)
  if isinstance(decay, jax.Array) or decay != 1:
    return _fading(task, work, mu, init, move, decay, name)
  run = local.check_work(work).trainer(task)

  def train(shared, own, data, key):
    def prox(grads, params, batch, key):
      del batch, key
      pull = lambda g, y, x: g + mu * (y - x)
      return jax.tree.map(pull, grads, params, shared)

    trained = run(shared, data, key, correct=prox if mu else None)
    message = difference(trained.params, shared)
    return _method.Sent(message, own, facts_of(trained))

  def absorb(params, memory, update, round):
    del round
    return move(params, memory, update)

  return _method.Method(
    start=task.init,
    init=lambda params, n: init(params),
    own=_method.no_state,
    share=lambda params, memory: params,
    train=train,
    absorb=absorb,
    name=name,
  )


def _fading(task, work, mu, init, move, decay, name):
  """FedAvg whose clients take shorter steps from round to round."""

  def train(shared, own, data, key):
    scaled = optax.chain(work.optimizer, optax.scale(shared['rate']))
    inner = fedavg(task, dataclasses.replace(work, optimizer=scaled), mu=mu)
    return inner.train(shared['params'], own, data, key)

  def absorb(params, memory, update, round):
    del round
    params, own = move(params, memory['optimizer'], update)
    return params, {'optimizer': own, 'round': memory['round'] + 1}

  def share(params, memory):
    rate = jnp.asarray(decay, jnp.float32) ** memory['round']
    return {'params': params, 'rate': rate}

  return _method.Method(
    start=task.init,
    init=lambda params, n: {
      'optimizer': init(params),
      'round': jnp.zeros((), jnp.float32),
    },
    own=_method.no_state,
    share=share,
    train=train,
    absorb=absorb,
    name=name,
  )


def fedprox(
  task: types.Task,
  work: local.LocalWork,
  *,
  mu: float = 0.1,
  server_optimizer: Optimizer = None,
) -> _method.Method:
  """Averages what clients changed, who are drawn back to where they started.

  Stragglers send partial work (`LocalWork.stragglers`).

  Args:
    task: parameters and loss.
    work: what a client does.
    mu: μ >= 0, weight of μ/2 |y - x|²; with 0 it is FedAvg (static).
    server_optimizer: see `fedavg`.

  Returns:
    The method.

  Source: Li et al. 2020 (https://arxiv.org/abs/1812.06127), Algorithm 2.
  """
  return fedavg(
    task, work, mu=mu, server_optimizer=server_optimizer, name='fedprox'
  )


def fedavgm(
  task: types.Task,
  work: local.LocalWork,
  *,
  learning_rate: float = 1.0,
  momentum: float = 0.9,
) -> _method.Method:
  """Averages with momentum at the server: v ← β v - Σ p_k Δ_k, x ← x - η v.

  Args:
    task: parameters and loss.
    work: what a client does.
    learning_rate: η > 0.
    momentum: β in [0, 1).

  Returns:
    The method.

  Source: Hsu et al. 2019 (https://arxiv.org/abs/1909.06335), section 4.2.
  """
  checks.number(learning_rate, name='learning_rate', low=0.0, open_low=True)
  checks.number(momentum, name='momentum', low=0.0, high=1.0, open_high=True)
  optimizer = optax.sgd(learning_rate, momentum=momentum)
  return fedavg(task, work, server_optimizer=optimizer, name='fedavgm')


def fedopt(
  task: types.Task,
  work: local.LocalWork,
  *,
  kind: str = 'adam',
  learning_rate: float = 0.01,
  b1: float | None = None,
  b2: float = 0.99,
  tau: float = 1e-3,
) -> _method.Method:
  """Averages with an adaptive server: FedAdagrad, FedYogi, FedAdam.

  Args:
    task: parameters and loss.
    work: what a client does.
    kind: 'adagrad', 'adam' or 'yogi'.
    learning_rate: η > 0, the server's.
    b1: β1; 0.9, or 0 for Adagrad, if None.
    b2: β2.
    tau: τ > 0, how adaptive it is.

  Returns:
    The method.

  Source: Reddi et al. 2021 (https://arxiv.org/abs/2003.00295), Algorithm 2.
  """
  optimizer = _adaptive.adaptive(
    learning_rate, kind=kind, b1=b1, b2=b2, tau=tau
  )
  return fedavg(task, work, server_optimizer=optimizer, name=f'fed{kind}')


def fedsgd(
  task: types.Task,
  work: local.LocalWork,
  *,
  momentum: float = 0.0,
  clip_norm: float | None = None,
  equal: bool = False,
  server_optimizer: Optimizer = None,
) -> _method.Method:
  """Sends gradients: x ← x - η Σ p_k m_k, m_k ← β m_k + (1 - β) g_k.

  Of `work` the optimizer is what the server steps with where it has none of its
  own; a client takes one gradient of all that the cohort brings.

  Args:
    task: parameters and loss.
    work: see above.
    momentum: β in [0, 1), of every client (static or traced).
    clip_norm: longest gradient of a client; None does not clip.
    equal: whether clients count equally, whatever the weights of the cohort.
    server_optimizer: takes the step along the gradient; its schedule counts
      rounds.

  Returns:
    The method; messages are m_k.

  Source: McMahan et al. 2017 (https://arxiv.org/abs/1602.05629), section 2;
    Karimireddy et al. 2021 (https://arxiv.org/abs/2012.10333) for momentum.
  """
  checks.task(task)
  checks.number(momentum, name='momentum', low=0.0, high=1.0, open_high=True)
  if clip_norm is not None:
    checks.number(clip_norm, name='clip_norm', low=0.0, open_low=True)
  slope = local.loss_gradient(task)
  optimizer = server_optimizer
  if isinstance(optimizer, str):
    optimizer = _adaptive.make_server_optimizer(optimizer)
  if optimizer is None:
    optimizer = local.check_work(work).optimizer
  checks.optimizer(optimizer, name='server_optimizer')
  remembers = isinstance(momentum, jax.Array) or momentum > 0

  def train(shared, own, data, key):
    loss, grads = slope(shared, data, key)
    if clip_norm is not None:
      grads = local.clip_by_norm(grads, clip_norm)
    if remembers:
      grads = local.momentum(own, grads, momentum)
      own = grads
    return _method.Sent(grads, own, {'loss': loss, 'num_steps': jnp.ones(())})

  def absorb(params, memory, update, round):
    del round
    change, memory = optimizer.update(update, memory, params)
    return optax.apply_updates(params, change), memory

  return _method.Method(
    start=task.init,
    init=lambda params, n: optimizer.init(params),
    own=lambda params: (
      jax.tree.map(jnp.zeros_like, params) if remembers else ()
    ),
    share=lambda params, memory: params,
    train=train,
    absorb=absorb,
    weigh=_method.equally if equal else None,
    name='fedsgd',
  )


def fednova(
  task: types.Task,
  work: local.LocalWork,
  *,
  mu: float = 0.0,
  server_optimizer: Optimizer = None,
) -> _method.Method:
  """Averages normalized changes: clients of many steps have no larger say.

  x ← x + τ Σ p_k Δ_k / |a_k|, τ = Σ p_k |a_k|; |a_k| is how far the client's
  optimizer moves in its steps along a constant gradient, in units of the first:
  K for SGD, and what the paper derives for momentum and μ.

  Args:
    task: parameters and loss.
    work: what a client does; its optimizer is linear in the gradients, as SGD
      with or without momentum is.
    mu: μ >= 0, see `fedprox`; with it |a| is (1 - (1 - η μ)^K) / (η μ).
    server_optimizer: see `fedavg`.

  Returns:
    The method.

  Source: Wang et al. 2020 (https://arxiv.org/abs/2007.07481), equations 4 to 6.
  """
  base = fedavg(task, work, mu=mu, server_optimizer=server_optimizer)

  def train(shared, own, data, key):
    sent = base.train(shared, own, data, key)
    length = effective_steps(work.optimizer, sent.facts['num_steps'], mu=mu)
    scale = jnp.where(length > 0, 1 / jnp.where(length > 0, length, 1.0), 0.0)
    message = jax.tree.map(lambda x: x * scale.astype(x.dtype), sent.message)
    return _method.Sent(message, own, sent.facts | {'length': length})

  def absorb(params, memory, update, round):
    weight = jnp.sum(round.weights)
    share = round.weights / jnp.where(weight > 0, weight, 1.0)
    tau = jnp.sum(share * round.facts['length'])
    update = jax.tree.map(lambda x: x * tau.astype(x.dtype), update)
    return base.absorb(params, memory, update, round)

  return base._replace(
    train=train, absorb=absorb, told=('length',), name='fednova'
  )


def centralized(
  task: types.Task,
  work: local.LocalWork,
  *,
  server_optimizer: Optimizer = None,
) -> _method.Method:
  """Takes the gradient of all examples of a round, as if they lay in one place.

  Clients count by their examples, whatever the weights of the cohort.

  Args:
    task: parameters and a loss that is a mean over examples.
    work: of it the optimizer is used, see `fedsgd`.
    server_optimizer: takes the step.

  Returns:
    The method.
  """

  def weigh(memory, cohort):
    del memory
    masked = isinstance(cohort.data, dict) and 'mask' in cohort.data
    if masked:
      mask = cohort.data['mask'] != 0
      counts = jnp.sum(mask, axis=range(1, mask.ndim), dtype=jnp.float32)
    else:
      counts = jnp.ones(cohort.mask.shape)
    counts = jnp.where(cohort.mask, counts, 0.0)
    total = jnp.sum(counts)
    return counts / jnp.where(total > 0, total, 1.0)

  base = fedsgd(task, work, server_optimizer=server_optimizer)
  return base._replace(weigh=weigh, name='centralized')


def effective_steps(
  optimizer: optax.GradientTransformation,
  num_steps: chex.Numeric,
  *,
  mu: float = 0.0,
) -> chex.Array:
  """How far an optimizer moves along a constant gradient, in first steps.

  Args:
    optimizer: linear in the gradients.
    num_steps: K, traced.
    mu: μ, draws back to the start.

  Returns:
    f32[], |a|₁ of FedNova; 0 for K = 0.

  Example:
    >>> float(effective_steps(optax.sgd(0.1), 5))
    5.0
    >>> round(float(effective_steps(optax.sgd(0.1, momentum=0.9), 2)), 4)
    2.9
  """
  zero = jnp.zeros(())

  def step(_, carry):
    y, state = carry
    change, state = optimizer.update(1.0 + mu * y, state, y)
    return y + change, state

  start = (zero, optimizer.init(zero))
  first, _ = step(0, start)
  last, _ = jax.lax.fori_loop(
    0, jnp.asarray(num_steps).astype(jnp.int32), step, start
  )
  # Whose first step is none is measured in plain numbers.
  return last / jnp.where(first == 0, -1.0, first)
