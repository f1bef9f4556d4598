# SPDX-License-Identifier: Apache-2.0
"""Server-based training with adversarial workers."""

from collections.abc import Callable
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp
import optax

from jaxdl import aggregators, attacks, metrics as metrics_lib
from jaxdl.core import checks, clients, keys, trees, types


class RobustSgdState(NamedTuple):
  """Everything that training needs to go on.

  Attributes:
    params: the server's model.
    momentum: stacked tree [N, ...], each worker's average gradient.
    opt_state: of the server's optimiser.
    aggregator: the rule's memory.
    attack: the adversaries' memory.
  """

  params: chex.ArrayTree
  momentum: chex.ArrayTree
  opt_state: chex.ArrayTree
  aggregator: chex.ArrayTree
  attack: chex.ArrayTree


def clip_by_norm(tree: chex.ArrayTree, radius: chex.Numeric) -> chex.ArrayTree:
  """Shortens one client's tree to a length.

  Args:
    tree: leaves [...], floating point.
    radius: > 0; static or traced.

  Returns:
    The tree times min(1, radius / |tree|).
  """
  norm = trees.global_norm(tree)
  long = norm > radius
  scale = jnp.where(long, radius / jnp.where(long, norm, 1.0), 1.0)
  return jax.tree.map(lambda x: (x * scale).astype(x.dtype), tree)


def robust_sgd(
  task: types.Task,
  aggregator: types.Aggregator | Callable[..., chex.ArrayTree],
  *,
  num_clients: int,
  optimizer: optax.GradientTransformation,
  attack: types.Attack | Callable[..., chex.ArrayTree] | None = None,
  num_byzantine: int | None = None,
  worker_momentum: chex.Numeric = 0.0,
  clip_norm: chex.Numeric | None = None,
  flipped_classes: int | None = None,
  mesh: jax.sharding.Mesh | None = None,
  chunk: int | None = None,
  reduction: str = 'psum',
  explain: bool = True,
) -> types.Algorithm:
  """Distributed SGD with a robust server rule and any adversary.

  In a round every worker takes the gradient of its batch, clips it and adds it
  to its momentum m <- beta m + (1 - beta) g; the last F workers then send what
  the attack says instead. The rule turns the N vectors into one, the server's
  optimiser takes a step with it. The rule was told the number of adversaries
  when it was made; F here is how many there really are.

  Args:
    task: parameters and loss.
    aggregator: the server's rule: an `Aggregator`, or a rule without memory
      such as `aggregators.median` (`aggregators.as_aggregator`).
    num_clients: N (static).
    optimizer: the server's; its schedule counts rounds.
    attack: what the last F workers send; they are honest if None. An `Attack`,
      or a function such as `attacks.sign_flip` (`attacks.as_attack`).
    num_byzantine: F, adversaries that take part (static), 0 <= F < N; must be
      said where there is an attack, otherwise 0 by default.
    worker_momentum: beta in [0, 1); static or traced.
    clip_norm: longest gradient a worker uses; None does not clip.
    flipped_classes: K: adversaries train on labels K - 1 - y (static).
    mesh: devices to split the workers over (static).
    chunk: workers run together on a device, see `core.clients` (static).
    reduction: 'gathered' copies all vectors to every device before the rule
      and runs workers one by one (unless `chunk` says otherwise), which makes
      a run bitwise equal on any number of devices (static).
    explain: whether metrics contain the weights of the workers (static).

  Returns:
    An `Algorithm`. `step` wants a cohort of N workers in fixed order whose
    `data` is a batch per worker. Metrics: `loss` (honest mean), `error`
    (`metrics.aggregation_error`), `update_norm`, and `weights: f32[N]` where
    the rule explains itself: those of `make_aggregator` and the plain ones of
    `jaxdl.aggregators` do; a `chain` or a rule of your own does not (names as
    `make_aggregator('krum', pre=('nnm',), ...)` give the chain that does).

  Raises:
    ValueError: if counts or options are out of range; from `step`, if the
      cohort, the update or what the attack sends has other shapes.
    TypeError: if a part is of another kind; the message says what to call.

  Example:
    >>> from jaxdl import networks
    >>> task = networks.regression(
    ...   networks.logistic_regression(1), jnp.ones((1, 2))
    ... )
    >>> algorithm = robust_sgd(
    ...   task,
    ...   aggregators.median,
    ...   num_clients=5,
    ...   optimizer=optax.sgd(0.1),
    ...   attack=attacks.sign_flip,
    ...   num_byzantine=1,
    ... )
    >>> state = algorithm.init(jax.random.key(0))
    >>> cohort = types.Cohort(
    ...   client_ids=jnp.arange(5),
    ...   data={
    ...     'inputs': jnp.ones((5, 4, 2)), 'labels': jnp.ones((5, 4, 1))
    ...   },
    ...   mask=jnp.ones(5, bool),
    ...   weights=jnp.ones(5),
    ... )
    >>> state, metrics = jax.jit(algorithm.step)(
    ...   state, cohort, key=jax.random.key(1)
    ... )
    >>> sorted(metrics)
    ['error', 'loss', 'update_norm', 'weights']

  Source: Karimireddy et al. 2021 (https://arxiv.org/abs/2012.10333) for worker
    momentum; Allouah et al. 2023 (https://arxiv.org/abs/2302.01772), Algorithm
    2.
  """
  checks.task(task)
  aggregator = aggregators.as_aggregator(aggregator)
  checks.optimizer(optimizer)
  n = checks.integer(num_clients, name='num_clients', low=1)
  f = checks.integer(
    num_byzantine or 0, name='num_byzantine', low=0, high=n - 1
  )
  checks.number(
    worker_momentum, name='worker_momentum', low=0.0, high=1.0, open_high=True
  )
  checks.choice(reduction, ('psum', 'gathered'), name='reduction')
  if clip_norm is not None:
    checks.number(clip_norm, name='clip_norm', low=0.0, open_low=True)
  attack = attacks.as_attack(attack, num_byzantine=f)
  if num_byzantine is None and attack is not None:
    raise ValueError(
      'attack is given but num_byzantine is not: say how many of the '
      f'num_clients={n} attack (0 for none).'
    )
  if reduction == 'gathered' and chunk is None:
    chunk = 1  # The same small program per worker, however they are spread.

  def init(key):
    params = task.init(key)
    momentum = jax.tree.map(lambda x: jnp.zeros((n, *x.shape), x.dtype), params)
    return RobustSgdState(
      params=params,
      momentum=momentum,
      opt_state=optimizer.init(params),
      aggregator=aggregator.init(params),
      attack=() if attack is None else attack.init(params),
    )

  def gradient(params, batch, key):
    value, grads = jax.value_and_grad(task.loss)(params, batch, key=key)
    if clip_norm is not None:
      grads = clip_by_norm(grads, clip_norm)
    return value, grads

  def step(state, cohort, *, key):
    checks.cohort(cohort, n)
    train_key, attack_key, rule_key = jax.random.split(key, 3)
    data = cohort.data
    if flipped_classes is not None and f:
      labels = data['labels']
      adversary = trees.expand(jnp.arange(n) >= n - f, labels)
      flipped = attacks.flip_labels(labels, flipped_classes)
      data = {**data, 'labels': jnp.where(adversary, flipped, labels)}
    losses, grads = clients.map_clients(
      gradient, mesh=mesh, chunk=chunk, in_axes=(None, 0, 0)
    )(state.params, data, keys.client_keys(train_key, cohort.client_ids))
    momentum = jax.tree.map(
      lambda m, g: (worker_momentum * m + (1.0 - worker_momentum) * g).astype(
        m.dtype
      ),
      state.momentum,
      grads,
    )
    vectors = momentum
    if reduction == 'gathered':
      vectors, losses = clients.replicate((vectors, losses), mesh)
    honest = jax.tree.map(lambda x: x[: n - f], vectors)
    attack_state = state.attack
    if attack is not None and f:
      own = jax.tree.map(lambda x: x[n - f :], vectors)
      sent, attack_state = attack.apply(
        honest, state.attack, own=own, key=attack_key
      )
      checks.same_shapes(
        sent, own, name='attack', what='one vector per attacker, [F, ...]'
      )
      vectors = trees.concatenate(honest, sent)
    update, rule_state = aggregator.apply(
      vectors, state.aggregator, key=rule_key
    )
    checks.same_shapes(
      update, state.params, name='aggregator', what='one update like params'
    )
    change, opt_state = optimizer.update(update, state.opt_state, state.params)
    metrics = {
      'loss': jnp.mean(losses[: n - f]),
      'error': metrics_lib.aggregation_error(update, honest),
      'update_norm': trees.global_norm(update),
    }
    if explain and aggregator.explain is not None:
      metrics['weights'] = aggregator.explain(
        vectors, state.aggregator, key=rule_key
      )
    return (
      RobustSgdState(
        params=optax.apply_updates(state.params, change),
        momentum=momentum,
        opt_state=opt_state,
        aggregator=rule_state,
        attack=attack_state,
      ),
      metrics,
    )

  return checks.algorithm(
    init, step, lambda state: state.params, state=RobustSgdState
  )
