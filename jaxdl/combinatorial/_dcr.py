# SPDX-License-Identifier: Apache-2.0
"""Divide, conquer, reunion: how both policies are trained together."""

from collections.abc import Mapping
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp
import optax

from jaxdl.combinatorial import (
  _construct,
  _policies,
  _problem,
  _rollout,
  _stage,
)
from jaxdl.core import checks, types

LEARNERS = ('both', 'conqueror', 'divider')


class Episode(NamedTuple):
  """How instances are solved while policies learn.

  Attributes:
    problem: of the instances.
    policies: that learn.
    size: n, nodes of a piece.
    num_samples: A, solutions of an instance.
    num_rollouts: R, candidates of a piece.
    num_stages: conquering stages; 2 for divide, conquer, reunion.
    joint: whether the dividing policy answers for the solution after all
      stages; for its own one otherwise.
    learn: one of `LEARNERS`.
    every: decisions between heat maps.
    chunk: see `conquer`.
    remat: see `rollouts`.
  """

  problem: _problem.CombinatorialProblem
  policies: _policies.Policies
  size: int
  num_samples: int
  num_rollouts: int
  num_stages: int = 2
  joint: bool = True
  learn: str = 'both'
  every: int | None = None
  chunk: int | None = None
  remat: bool = False


class DcrState(NamedTuple):
  """State of `dcr`.

  Attributes:
    params: of both policies, a dict of 'divider' and 'conqueror'.
    divider: state of the optimizer of the dividing policy.
    conqueror: state of that of the conquering policy.
  """

  params: dict[str, chex.ArrayTree]
  divider: chex.ArrayTree
  conqueror: chex.ArrayTree


def make_episode(
  problem: _problem.CombinatorialProblem,
  policies: _policies.Policies,
  *,
  size: int | None = None,
  num_samples: int = 8,
  num_rollouts: int = 8,
  num_stages: int = 2,
  joint: bool = True,
  learn: str = 'both',
  every: int | None = None,
  chunk: int | None = None,
  remat: bool = False,
) -> Episode:
  """Says how instances are solved while policies learn.

  Args:
    problem: of the instances.
    policies: of `make_policies`.
    size: n, nodes of a piece; the problem's if None.
    num_samples: A, solutions of an instance, each other's baseline.
    num_rollouts: R, candidates of a piece, each other's baseline.
    num_stages: conquering stages, >= 1. With 2 the second one cuts in the
      middle of what the first one solved (reunion), so that a bad cut does not
      spoil the reward of the dividing policy.
    joint: whether the dividing policy is rewarded for the solution after all
      stages; otherwise for the one that it constructed: both learn separately.
    learn: who learns, one of `LEARNERS`.
    every: see `construct`; n if None.
    chunk: see `conquer`.
    remat: see `rollouts`.

  Returns:
    The episode.

  Raises:
    ValueError: if a number is out of range, or a policy that learns has no
      baseline.
  """
  size = problem.piece_size if size is None else size
  checks.integer(size, name='size', low=3)
  checks.integer(num_samples, name='num_samples', low=1)
  checks.integer(num_stages, name='num_stages', low=1)
  checks.flag(joint, name='joint')
  checks.choice(learn, LEARNERS, name='learn')
  num_rollouts = _rollout.check_rollouts(problem, num_rollouts)
  for name, value, who in (
    ('num_samples', num_samples, 'divider'),
    ('num_rollouts', num_rollouts, 'conqueror'),
  ):
    if value < 2 and learn in ('both', who):
      raise ValueError(
        f'{name}={value} leaves the {who} no baseline to learn from: take 2 '
        'at least.'
      )
  every = size if every is None else every
  checks.integer(every, name='every', low=1)
  return Episode(
    problem, policies, size, num_samples, num_rollouts, num_stages, joint,
    learn, every, chunk, remat,
  )  # fmt: skip


def dcr(
  episode: Episode,
  *,
  optimizer: optax.GradientTransformation,
  conqueror_optimizer: optax.GradientTransformation | None = None,
) -> types.Algorithm:
  """Trains a dividing and a conquering policy by REINFORCE.

  A step solves a batch of instances: A solutions of each are constructed, then
  conquered, the conquering policy being updated after each stage; at last the
  dividing policy is, with the objectives that its solutions came to. Baselines
  are the means over solutions of an instance and over candidates of a piece.

  Args:
    episode: of `make_episode`.
    optimizer: any optax transformation; each policy has a state of its own.
    conqueror_optimizer: of the conquering policy, if it has another one.

  Returns:
    An `Algorithm` of cohorts whose data are instances, leaves [N, B, ...], all
    of which count alike but for those of clients out of the mask. Metrics are
    `divided` and `conquered`, mean objectives before and after the stages,
    `gain`, the mean improvement of a piece, and the two losses.

  Raises:
    TypeError: if an optimizer is something else.

  Example:
    >>> import jaxdl.combinatorial as co
    >>> problem = co.make_problem('tsp')
    >>> policies = co.make_policies(
    ...   problem, divider='agnn(width=8, depth=1)',
    ...   conqueror='icam(width=8, depth=1)',
    ... )
    >>> algorithm = dcr(
    ...   make_episode(problem, policies, size=5, num_samples=2),
    ...   optimizer=optax.adam(1e-4),
    ... )
    >>> state = algorithm.init(jax.random.key(0))
    >>> instances = jax.vmap(lambda k: problem.generate(k, 10))(
    ...   jax.random.split(jax.random.key(1), 1)
    ... )
    >>> cohort = types.Cohort(
    ...   client_ids=jnp.arange(1),
    ...   data=jax.tree.map(lambda x: x[None], instances),
    ...   mask=jnp.ones((1,), bool), weights=jnp.ones((1,)),
    ... )
    >>> state, metrics = jax.jit(algorithm.step)(
    ...   state, cohort, key=jax.random.key(2)
    ... )
    >>> bool(metrics['conquered'] <= metrics['divided'])
    True

  Source: Zheng et al. 2024 (https://arxiv.org/abs/2407.00312), section 3.4.
  """
  checks.optimizer(optimizer)
  if conqueror_optimizer is None:
    conqueror_optimizer = optimizer
  checks.optimizer(conqueror_optimizer, name='conqueror_optimizer')
  e = episode

  def init(key):
    params = _policies.init_params(key, e.problem, e.policies, size=e.size)
    return DcrState(
      params,
      optimizer.init(params['divider']),
      conqueror_optimizer.init(params['conqueror']),
    )

  def step(state, cohort, *, key):
    instances = jax.tree.map(
      lambda x: x.reshape(-1, *x.shape[2:]), dict(cohort.data)
    )
    count = jax.tree.leaves(instances)[0].shape[0]
    mask = jnp.repeat(cohort.mask, count // cohort.mask.shape[0])
    shares = _shares(mask)
    divide_key, key = jax.random.split(key)
    params = dict(state.params)

    def constructed(own):
      return _constructed(e, own, instances, divide_key)

    # 1. Solutions; what pulls gradients back is used at the end.
    learned = None
    if e.learn == 'conqueror':
      _, (solutions, embedding) = constructed(params['divider'])
    else:
      logp, pull, (solutions, embedding) = jax.vjp(
        constructed, params['divider'], has_aux=True
      )
      learned = logp, pull
    before = _objectives(e, instances, solutions)

    # 2. and 3. Stages, the conquering policy learns after each.
    def stage(carry, key):
      own, memory, solutions = carry
      run = lambda p: _conquered(e, p, instances, solutions, key, shares)
      if e.learn == 'divider':
        loss, (solutions, gain) = run(own)
      else:
        (loss, (solutions, gain)), grads = jax.value_and_grad(
          run, has_aux=True
        )(own)
        updates, memory = conqueror_optimizer.update(grads, memory, own)
        own = optax.apply_updates(own, updates)
      return (own, memory, solutions), (loss, gain)

    carry = params['conqueror'], state.conqueror, solutions
    carry, (losses, gains) = jax.lax.scan(
      stage, carry, jax.random.split(key, e.num_stages)
    )
    params['conqueror'], memory, solutions = carry
    after = _objectives(e, instances, solutions)
    metrics = {
      'divided': jnp.sum(shares * jnp.mean(before, axis=1)),
      'conquered': jnp.sum(shares * jnp.mean(after, axis=1)),
      'gain': jnp.mean(gains),
      'conqueror_loss': jnp.mean(losses),
    }

    # 4. The dividing policy.
    own_memory = state.divider
    if learned is not None:
      logp, pull = learned
      slope = _slope(e, after if e.joint else before, shares)
      (grads,) = pull(slope.astype(logp.dtype))
      updates, own_memory = optimizer.update(
        grads, own_memory, params['divider']
      )
      params['divider'] = optax.apply_updates(params['divider'], updates)
      params['divider'] = _recorded(e, params['divider'], embedding)
      metrics['divider_loss'] = jnp.sum(slope * logp)
    return DcrState(params, own_memory, memory), metrics

  return checks.algorithm(init, step, lambda s: s.params, state=DcrState)


def surrogate(
  episode: Episode,
  params: dict[str, chex.ArrayTree],
  batch: Mapping[str, chex.Array],
  *,
  key: chex.PRNGKey,
) -> chex.Array:
  """One loss of both policies, whose gradient is that of REINFORCE.

  What `dcr` does in three updates, at one point: so any method that trains by
  gradients of a loss can, federated ones for instance. Its value means nothing.

  Args:
    episode: of `make_episode`.
    params: a dict of 'divider' and 'conqueror'.
    batch: instances, leaves [B, ...], and perhaps `mask: bool[B]`, false where
      an instance has no effect.
    key: consumed.

  Returns:
    f32[].
  """
  e = episode
  instances = {k: v for k, v in batch.items() if k != 'mask'}
  count = jax.tree.leaves(instances)[0].shape[0]
  shares = _shares(batch.get('mask', jnp.ones((count,), bool)))
  divide_key, key = jax.random.split(key)
  logp, (solutions, _) = _constructed(
    e, params['divider'], instances, divide_key
  )
  before = _objectives(e, instances, solutions)

  def stage(solutions, key):
    loss, (solutions, _) = _conquered(
      e, params['conqueror'], instances, solutions, key, shares
    )
    return solutions, loss

  solutions, losses = jax.lax.scan(
    stage, solutions, jax.random.split(key, e.num_stages)
  )
  total = jnp.float32(0) if e.learn == 'divider' else jnp.mean(losses)
  if e.learn != 'conqueror':
    after = _objectives(e, instances, solutions)
    slope = _slope(e, after if e.joint else before, shares)
    total += jnp.sum(jax.lax.stop_gradient(slope) * logp)
  return total


def _constructed(e, params, instances, key):
  """Log-probabilities f32[B, A], and solutions with embeddings."""

  def one(instance, key):
    embedded = _construct.embed(
      e.problem, e.policies.divider, params, instance, train=True
    )
    solutions, logp = _construct.decide(
      e.problem,
      e.policies.divider,
      params,
      embedded,
      instance,
      key,
      num_samples=e.num_samples,
      greedy=False,
      every=e.every,
    )
    return logp, (solutions, jax.lax.stop_gradient(embedded[1]))

  count = jax.tree.leaves(instances)[0].shape[0]
  return jax.vmap(one)(instances, jax.random.split(key, count))


def _conquered(e, params, instances, solutions, key, shares):
  """The loss of a stage, and its solutions with the mean gain."""

  def one(instance, solution, key):
    return _stage.conquer(
      e.problem,
      e.policies.conqueror,
      params,
      instance,
      solution,
      key,
      size=e.size,
      shift=e.size // 2,
      num_rollouts=e.num_rollouts,
      chunk=e.chunk,
      remat=e.remat,
    )

  count = jax.tree.leaves(instances)[0].shape[0]
  keys = jax.random.split(key, (count, e.num_samples))
  solutions, info = jax.vmap(jax.vmap(one, in_axes=(None, 0, 0)))(
    instances, solutions, keys
  )
  losses = jax.vmap(jax.vmap(_stage.reinforce))(info)
  gain = jnp.sum(shares * jnp.mean(info.gain, axis=(1, 2)))
  return jnp.sum(shares * jnp.mean(losses, axis=1)), (solutions, gain)


def _objectives(e, instances, solutions):
  """Objectives f32[B, A]."""
  each = jax.vmap(e.problem.objective, in_axes=(None, 0))
  return jax.vmap(each)(instances, solutions)


def _slope(e, objectives, shares):
  """Derivative of the dividing loss in the log-probabilities, f32[B, A]."""
  returns = objectives if e.problem.maximize else -objectives
  ahead = returns - jnp.mean(returns, axis=1, keepdims=True)
  return -shares[:, None] * ahead / objectives.shape[1]


def _shares(mask):
  """Weights of a mean over instances that count."""
  return mask / jnp.maximum(jnp.sum(mask), 1)


def _recorded(e, params, embedding):
  """Running statistics of the network, instance after instance."""

  def record(params, own):
    return e.policies.divider.record(params, own), None

  return jax.lax.scan(record, params, embedding)[0]
