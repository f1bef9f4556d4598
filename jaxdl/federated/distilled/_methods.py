# SPDX-License-Identifier: Apache-2.0
"""Methods whose clients send predictions on public inputs, not weights."""

from collections.abc import Callable
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxdl import distillation, local
from jaxdl.core import checks, trees, types
from jaxdl.federated import server
from jaxdl.federated.server import _averaging


def public_logits(
  task: types.Task, params: chex.ArrayTree, inputs: chex.Array
) -> chex.Array:
  """Predictions on unlabeled inputs, each with mean zero over the classes.

  What a constant added to all logits of an example says is nothing, so it is
  taken away before models are averaged.

  Args:
    task: with `logits`, as `networks.classification` makes.
    params: of a model.
    inputs: [P, ...].

  Returns:
    f[P, K].

  Raises:
    ValueError: if the task has no logits.

  Example:
    >>> from jaxdl import networks
    >>> network = networks.logistic_regression(2)
    >>> task = networks.classification(
    ...   network, jnp.zeros((1, 3)), num_classes=2
    ... )
    >>> params = task.init(jax.random.key(0))
    >>> found = public_logits(task, params, jnp.ones((4, 3)))
    >>> found.shape, round(abs(float(found.sum())), 4)
    ((4, 2), 0.0)
  """
  predict = _logits_of(task, 'public_logits')
  labels = jnp.zeros(jnp.shape(inputs)[:1], jnp.int32)
  logits, *_ = predict(params, {'inputs': inputs, 'labels': labels})
  logits = logits.astype(trees.accumulator(logits.dtype))
  return logits - jnp.mean(logits, axis=-1, keepdims=True)


def _logits_of(task, name) -> Callable[..., Any]:
  """What predicts classes, or says that there is nothing."""
  found = getattr(task, 'logits', None)
  if found is None:
    raise ValueError(
      f'{name} needs predictions of classes, but the task has no logits: make '
      'it by networks.classification.'
    )
  return found


def _distiller(
  task: types.Task,
  optimizer: Any,
  inputs: chex.Array,
  *,
  steps: int,
  batch_size: int,
  weights: str,
  temperature: float,
) -> Callable[..., chex.ArrayTree]:
  """Builds `fit(params, targets, first, there) -> params`.

  Steps go through the public inputs window by window, from number `first` on;
  nothing moves where `there` is false.
  """
  size = inputs.shape[0]
  width = min(batch_size, size)

  def loss(params, batch, *, key=None):
    del key
    logits = public_logits(task, params, batch['inputs'])
    found = distillation.peer_divergence(
      logits, batch['targets'], weights=weights, temperature=temperature
    )
    return jnp.mean(found)

  soft = types.Task(task.init, loss, task.evaluate)
  run = local.train_steps(soft, optimizer, num_steps=max(steps, 1))

  def fit(params, targets, first, there):
    if not steps:
      return params

    def batch_of(t):
      rows = ((first + t) * width + jnp.arange(width)) % size
      return {'inputs': inputs[rows], 'targets': targets[rows]}, there

    start = optimizer.init(params)
    return run(params, start, batch_of, jax.random.key(0)).params

  return fit


def _checked(
  task, work, public, num_public, steps, batch_size, temperature, name
):
  """The public inputs of a method [P, ...]."""
  checks.task(task)
  local.check_work(work)
  _logits_of(task, name)
  checks.integer(num_public, name='num_public', low=1)
  checks.integer(steps, name='distill_steps', low=0)
  checks.integer(batch_size, name='distill_batch', low=1)
  checks.number(temperature, name='temperature', low=0.0, open_low=True)
  if public is None:
    raise ValueError(
      f'{name} needs public inputs [P, ...] that all clients see: pass public, '
      f'problems.clients(..., num_public={num_public}) sets some aside.'
    )
  if not isinstance(public, jax.core.Tracer):
    public = checks.host_array(public, name='public')
  if not jnp.ndim(public) or jnp.shape(public)[0] < num_public:
    size = jnp.shape(public)[0] if jnp.ndim(public) else 0
    raise ValueError(
      f'num_public={num_public} exceeds the {size} public inputs that {name} '
      f'was given, shape {jnp.shape(public)}.'
    )
  public = public[:num_public]
  known = isinstance(public, np.ndarray) and not np.issubdtype(
    public.dtype, np.integer
  )
  if known and not np.isfinite(np.float64(public)).all():
    raise ValueError(
      f'public must be finite: one NaN among the inputs of {name} is in the '
      'predictions of all clients.'
    )
  return jnp.asarray(public)


def fedmd(
  task: types.Task,
  work: local.LocalWork,
  public: chex.Array | None = None,
  *,
  num_public: int = 200,
  distill_steps: int = 10,
  distill_batch: int = 32,
  weights: str = 'forward',
  temperature: float = 1.0,
) -> server.Method:
  """Clients keep models of their own and agree on predictions (FedMD).

  A client first takes steps toward the consensus on the public inputs, then
  works on its own data, then sends by how much its logits on the public inputs
  differ from the consensus. The server adds the (weighted) mean of that, so the
  consensus becomes the mean of the logits. No weights travel.

  Args:
    task: of classification; parameters, loss and logits.
    work: what a client does on its own data; its optimizer also distills.
    public: unlabeled inputs [P, ...] that all clients see.
    num_public: how many of them are used (static).
    distill_steps: steps toward the consensus (static).
    distill_batch: public inputs per step (static).
    weights: which divergences they follow, see `distillation.WEIGHT_RULES`.
    temperature: T > 0 of the divergences.

  Returns:
    The method; a message is f32[num_public, K]. Clients remember their models.

  Raises:
    ValueError: if there are no public inputs, the task has no logits, or a
      number is out of range.

  Source: Li & Wang 2019 (https://arxiv.org/abs/1910.03581), Algorithm 1, with a
    divergence of softened predictions in place of the distance of scores.
  """
  inputs = _checked(
    task,
    work,
    public,
    num_public,
    distill_steps,
    distill_batch,
    temperature,
    'fedmd',
  )
  distillation.weight_rule(weights)
  fit = _distiller(
    task,
    work.optimizer,
    inputs,
    steps=distill_steps,
    batch_size=distill_batch,
    weights=weights,
    temperature=temperature,
  )
  run = local.check_work(work).trainer(task)

  def form(params):
    out = jax.eval_shape(lambda p: public_logits(task, p, inputs), params)
    return jnp.zeros(out.shape, out.dtype)

  def init(params, num_clients):
    del num_clients
    return {'consensus': form(params), 'rounds': jnp.zeros((), jnp.int32)}

  def train(shared, own, data, key):
    rounds, consensus = shared['rounds'], shared['consensus']
    first = rounds * max(distill_steps, 1)
    start = fit(own, consensus, first, rounds > 0)
    trained = run(start, data, key)
    message = public_logits(task, trained.params, inputs) - consensus
    return server.Sent(message, trained.params, _averaging.facts_of(trained))

  def absorb(params, memory, update, round):
    # Without a client there is no consensus yet.
    there = jnp.any(round.weights > 0)
    consensus = memory['consensus'] + update.astype(memory['consensus'].dtype)
    rounds = memory['rounds'] + there.astype(jnp.int32)
    return params, {'consensus': consensus, 'rounds': rounds}

  return server.Method(
    start=task.init,
    init=init,
    own=lambda params: params,
    share=lambda params, memory: memory,
    train=train,
    absorb=absorb,
    model=lambda params, memory, own: own,
    message=form,
    name='fedmd',
  )


def feddf(
  task: types.Task,
  work: local.LocalWork,
  public: chex.Array | None = None,
  *,
  num_public: int = 200,
  distill_steps: int = 50,
  distill_batch: int = 32,
  distill_optimizer: str = 'adam(0.001)',
  weights: str = 'forward',
  temperature: float = 1.0,
) -> server.Method:
  """A server distills what its clients predict into its model (FedDF).

  Clients start from the server's model, work on their data and send by how much
  their logits on the public inputs differ from the server's. The server trains
  its model toward the mean of the logits of its clients. Weights travel down,
  predictions up; unlike in the paper weights are not averaged first.

  Args:
    task: of classification; parameters, loss and logits.
    work: what a client does on its own data.
    public: unlabeled inputs [P, ...] that all see.
    num_public: how many of them are used (static).
    distill_steps: steps of the server in a round (static).
    distill_batch: public inputs per step (static).
    distill_optimizer: the server's, a part of `local.OPTIMIZERS`; it starts
      afresh in every round.
    weights: which divergences it follows, see `distillation.WEIGHT_RULES`.
    temperature: T > 0 of the divergences.

  Returns:
    The method; a message is f32[num_public, K].

  Raises:
    ValueError: see `fedmd`.

  Source: Lin et al. 2020 (https://arxiv.org/abs/2006.07242), Algorithm 1,
    lines 10 to 15.
  """
  inputs = _checked(
    task,
    work,
    public,
    num_public,
    distill_steps,
    distill_batch,
    temperature,
    'feddf',
  )
  distillation.weight_rule(weights)
  optimizer: optax.GradientTransformation = local.make_optimizer(
    distill_optimizer, name='distill_optimizer'
  )
  fit = _distiller(
    task,
    optimizer,
    inputs,
    steps=distill_steps,
    batch_size=distill_batch,
    weights=weights,
    temperature=temperature,
  )
  run = local.check_work(work).trainer(task)
  predict = lambda params: public_logits(task, params, inputs)

  def form(params):
    out = jax.eval_shape(predict, params)
    return jnp.zeros(out.shape, out.dtype)

  def train(shared, own, data, key):
    trained = run(shared, data, key)
    message = predict(trained.params) - predict(shared)
    return server.Sent(message, own, _averaging.facts_of(trained))

  def absorb(params, memory, update, round):
    targets = predict(params) + update
    there = jnp.any(round.weights > 0)
    params = fit(params, targets, memory * max(distill_steps, 1), there)
    return params, memory + 1

  return server.Method(
    start=task.init,
    init=lambda params, n: jnp.zeros((), jnp.int32),
    own=server.no_state,
    share=lambda params, memory: params,
    train=train,
    absorb=absorb,
    message=form,
    name='feddf',
  )
