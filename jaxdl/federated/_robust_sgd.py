# SPDX-License-Identifier: Apache-2.0
"""Server-based training with adversarial workers."""

from collections.abc import Callable
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp
import optax

from jaxdl import aggregators, attacks, local, metrics as metrics_lib
from jaxdl.core import checks, clients as clients_lib, keys, trees, types


class RobustSgdState(NamedTuple):
  """Everything that training needs to go on.

  Attributes:
    params: the server's model.
    momentum: stacked tree [N, ...], each worker's average gradient.
    opt_state: of the server's optimizer.
    aggregator: the rule's memory.
    attack: the adversaries' memory.
  """

  params: chex.ArrayTree
  momentum: chex.ArrayTree
  opt_state: chex.ArrayTree
  aggregator: chex.ArrayTree
  attack: chex.ArrayTree


def robust_sgd(
  task: types.Task,
  aggregator: types.Aggregator | Callable[..., chex.ArrayTree] | str,
  clients: clients_lib.Clients | int,
  *,
  optimizer: optax.GradientTransformation,
  attack: types.Attack | Callable[..., chex.ArrayTree] | str | None = None,
  num_byzantine: int | None = None,
  worker_momentum: chex.Numeric = 0.0,
  clip_norm: chex.Numeric | None = None,
  explain: bool = True,
) -> types.Algorithm:
  """Distributed SGD with a robust server rule and any adversary.

  In a round every worker takes the gradient of its batch, clips it and adds it
  to its momentum m <- beta m + (1 - beta) g; the last F workers then send what
  the attack says instead, after it has poisoned their batches if that is what
  it does. The rule turns the N vectors into one, the server's optimizer takes a
  step with it. F is how many adversaries there really are; a rule in text is
  told the same number unless it says another, 'krum(num_byzantine=2)'.

  Args:
    task: parameters and loss.
    aggregator: the server's rule: an `Aggregator`, a rule without memory such
      as `aggregators.median`, or text such as 'nnm+trimmed_mean'
      (`aggregators.as_aggregator`).
    clients: the N workers, or N (static). With reduction 'gathered' all vectors
      are copied to every device before the rule, which makes a run bitwise
      equal on any number of devices.
    optimizer: the server's; its schedule counts rounds.
    attack: what the last F workers send; they are honest if None. An `Attack`,
      a function such as `attacks.sign_flip`, or text such as 'alie(scale=1.5)'
      (`attacks.as_attack`). An attack in text that must know a rule is aimed at
      this server with a fresh memory.
    num_byzantine: F, adversaries that take part (static), 0 <= F < N; must be
      said where there is an attack, otherwise 0 by default.
    worker_momentum: beta in [0, 1); static or traced.
    clip_norm: longest gradient a worker uses; None does not clip.
    explain: whether metrics contain the weights of the workers (static).

  Returns:
    An `Algorithm`. `step` wants a cohort of N workers in fixed order whose
    `data` is a batch per worker. Metrics: `loss` (honest mean), `error`
    (`metrics.aggregation_error`), `update_norm`, and `weights: f32[N]` where
    the rule explains itself: all do but functions of your own that know stacked
    trees only.

  Raises:
    ValueError: if counts or options are out of range; from `step`, if the
      cohort, the update or what the attack makes has other shapes.
    TypeError: if a part is of another kind; the message says what to call.

  Example:
    >>> from jaxdl import networks
    >>> task = networks.regression(
    ...   networks.logistic_regression(1), jnp.ones((1, 2))
    ... )
    >>> algorithm = robust_sgd(
    ...   task,
    ...   'nnm+median',
    ...   5,
    ...   optimizer=optax.sgd(0.1),
    ...   attack='ipm(scale=0.5)',
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
  clients = clients_lib.as_clients(clients)
  n = clients.num_clients
  checks.optimizer(optimizer)
  f = checks.integer(
    num_byzantine or 0, name='num_byzantine', low=0, high=n - 1
  )
  checks.number(
    worker_momentum, name='worker_momentum', low=0.0, high=1.0, open_high=True
  )
  if clip_norm is not None:
    checks.number(clip_norm, name='clip_norm', low=0.0, open_low=True)
  aggregator = aggregators.as_aggregator(
    aggregator, num_clients=n, num_byzantine=f
  )
  attack = attacks.as_attack(
    attack, num_clients=n, num_byzantine=f, rule=_without_memory(aggregator)
  )
  if num_byzantine is None and attack is not None:
    raise ValueError(
      'attack is given but num_byzantine is not: say how many of the '
      f'num_clients={n} attack (0 for none).'
    )
  poison = attack.poison if attack is not None and f else None

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

  loss_and_gradient = local.loss_and_gradient(task)

  def gradient(params, batch, key):
    value, grads = loss_and_gradient(params, batch, key)
    if clip_norm is not None:
      grads = local.clip_by_norm(grads, clip_norm)
    return value, grads

  def step(state, cohort, *, key):
    checks.cohort(cohort, n)
    train_key, attack_key, rule_key = jax.random.split(key, 3)
    data = cohort.data
    if poison is not None:
      data = _poisoned(poison, data, n - f)
    losses, grads = clients.map(gradient, in_axes=(None, 0, 0))(
      state.params, data, keys.client_keys(train_key, cohort.client_ids)
    )
    momentum = local.momentum(state.momentum, grads, worker_momentum)
    vectors, losses = clients.gather((momentum, losses))
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


def _poisoned(poison, data, first):
  """The data with the rows from `first` on as `poison` makes them."""
  own = jax.tree.map(lambda x: x[first:], data)
  changed = poison(own)
  checks.same_shapes(
    changed, own, name='attack.poison', what='data like the data it was given'
  )
  return jax.tree.map(
    lambda x, old, new: x if new is old else jnp.concatenate([x[:first], new]),
    data,
    own,
    changed,
  )


def _without_memory(aggregator):
  """The server as an attack may know it: a stacked tree to one update."""

  def rule(updates):
    one = jax.tree.map(lambda x: jnp.zeros_like(x[0]), updates)
    key = jax.random.key(0)
    return aggregator.apply(updates, aggregator.init(one), key=key)[0]

  return rule
