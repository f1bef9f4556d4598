# SPDX-License-Identifier: Apache-2.0
"""Learners of one kind by name: what each is made of."""

import functools
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax.numpy as jnp
import optax

from jaxdl import local
from jaxdl.agents import (
  _environment,
  _policy,
  _ppo,
  _reinforce,
  communication as channels,
  networked as networks_lib,
  values,
)
from jaxdl.core import checks, registry, types

Wrap = Callable[[optax.GradientTransformation], optax.GradientTransformation]


class Learner(NamedTuple):
  """A learner, and how what it has learned plays.

  Attributes:
    algorithm: the learner; its params are those of the policy.
    policy: who plays, e.g. in `problems.games.games`.
    num_steps: steps of games in an update, those of all games together.
    num_honest: agents whose returns count, or None for all.
  """

  algorithm: types.Algorithm
  policy: _policy.Policy
  num_steps: int
  num_honest: int | None = None


def _optimizer(spec, num_steps, max_grad_norm, wrap):
  """An optimizer of text, with the gradient's norm clipped before."""
  made = local.make_optimizer(spec, num_steps=num_steps)
  if max_grad_norm is not None:
    checks.number(max_grad_norm, name='max_grad_norm', low=0.0, open_low=True)
    made = optax.chain(optax.clip_by_global_norm(max_grad_norm), made)
  return made if wrap is None else wrap(made)


def random(env: _environment.Environment) -> Learner:
  """Agents that act at random and learn nothing."""
  policy = _policy.random_policy(env)

  def init(key):
    del key
    return {'num_updates': jnp.int32(0)}

  def step(state, cohort=None, *, key):
    del cohort, key
    done = state['num_updates'] + 1
    return {'num_updates': done}, {'updates': done.astype(jnp.float32)}

  return Learner(types.Algorithm(init, step, lambda state: {}), policy, 1)


def ippo(
  env: _environment.Environment,
  *,
  num_updates: int,
  num_envs: int = 16,
  num_steps: int = 128,
  num_epochs: int = 4,
  num_minibatches: int = 4,
  gamma: float = 0.99,
  gae_lambda: float = 0.95,
  clip: float = 0.2,
  value_clip: bool = True,
  entropy: float = 0.01,
  value_weight: float = 0.5,
  normalize: str = 'minibatch',
  bootstrap: bool = True,
  optimizer: str = 'adam(0.00025, eps=1e-05, schedule=linear)',
  max_grad_norm: float | None = 0.5,
  critic: str = 'own',
  hidden_sizes: Sequence[int] = (64, 64),
  activation: str = 'tanh',
  recurrent: str | None = None,
  width: int = 64,
  shared: bool = True,
  agent_id: bool = False,
  communication: str = 'none',
  wrap: Wrap | None = None,
) -> Learner:
  """Proximal policy optimization, see `agents.ppo`."""
  policy = _policy.actor_critic(
    env,
    hidden_sizes=_sizes(hidden_sizes),
    activation=activation,
    critic=critic,
    recurrent=recurrent,
    width=width,
    shared=shared,
    agent_id=agent_id,
    communication=_channel(communication, env),
  )
  total = num_updates * num_epochs * num_minibatches
  algorithm = _ppo.ppo(
    env,
    policy,
    optimizer=_optimizer(optimizer, total, max_grad_norm, wrap),
    num_envs=num_envs,
    num_steps=num_steps,
    num_epochs=num_epochs,
    num_minibatches=num_minibatches,
    gamma=gamma,
    gae_lambda=gae_lambda,
    clip=clip,
    value_clip=value_clip,
    entropy=entropy,
    value_weight=value_weight,
    normalize=normalize,
    bootstrap=bootstrap,
  )
  return Learner(algorithm, policy, num_envs * num_steps)


def reinforce(
  env: _environment.Environment,
  *,
  num_updates: int,
  num_envs: int = 16,
  num_steps: int = 500,
  truncate: int = 10,
  gamma: float = 1.0,
  mean_ratio: float = 1.0,
  value_weight: float = 0.01,
  entropy: float = 0.0,
  normalize: bool = False,
  bootstrap: bool = False,
  optimizer: str = 'rmsprop(0.001, decay=0.97, eps=1e-06)',
  max_grad_norm: float | None = None,
  critic: str = 'heard',
  hidden_sizes: Sequence[int] = (128,),
  activation: str = 'tanh',
  recurrent: str | None = 'lstm',
  width: int = 128,
  shared: bool = True,
  agent_id: bool = False,
  communication: str = 'none',
  wrap: Wrap | None = None,
) -> Learner:
  """Policy gradients of whole returns, see `agents.reinforce`."""
  policy = _policy.actor_critic(
    env,
    hidden_sizes=_sizes(hidden_sizes),
    activation=activation,
    critic=critic,
    recurrent=recurrent,
    width=width,
    shared=shared,
    agent_id=agent_id,
    communication=_channel(communication, env),
  )
  algorithm = _reinforce.reinforce(
    env,
    policy,
    optimizer=_optimizer(optimizer, num_updates, max_grad_norm, wrap),
    num_envs=num_envs,
    num_steps=num_steps,
    truncate=truncate,
    gamma=gamma,
    mean_ratio=mean_ratio,
    value_weight=value_weight,
    entropy=entropy,
    normalize=normalize,
    bootstrap=bootstrap,
  )
  return Learner(algorithm, policy, num_envs * num_steps)


def iql(
  env: _environment.Environment,
  *,
  num_updates: int,
  mixer: str = 'none',
  num_envs: int = 8,
  num_steps: int = 26,
  capacity: int = 5000,
  batch_size: int = 32,
  num_batches: int = 1,
  gamma: float = 0.9,
  epsilon_start: float = 1.0,
  epsilon_end: float = 0.05,
  epsilon_share: float = 0.1,
  learning_starts: int = 10_000,
  target_every: int = 200,
  tau: float = 1.0,
  bootstrap: bool = False,
  embedding: int = 32,
  hyper_width: int = 128,
  optimizer: str = 'adam(0.005, schedule=linear)',
  max_grad_norm: float | None = 25.0,
  hidden_sizes: Sequence[int] = (64,),
  activation: str = 'relu',
  recurrent: str | None = 'gru',
  width: int = 64,
  shared: bool = True,
  agent_id: bool = False,
  communication: str = 'none',
  wrap: Wrap | None = None,
) -> Learner:
  """Values of actions of kept trajectories, see `agents.values.q_learning`.

  The capacity is rounded up to a multiple of the number of games.
  """
  values.check_discrete(env, 'learning values of actions')
  policy = _policy.actor_critic(
    env,
    hidden_sizes=_sizes(hidden_sizes),
    activation=activation,
    critic='heard',
    recurrent=recurrent,
    width=width,
    shared=shared,
    agent_id=agent_id,
    communication=_channel(communication, env),
  )
  checks.number(epsilon_share, name='epsilon_share', low=0.0, high=1.0)
  algorithm = values.q_learning(
    env,
    policy,
    optimizer=_optimizer(
      optimizer, num_updates * num_batches, max_grad_norm, wrap
    ),
    mixer=mixer,
    num_envs=num_envs,
    num_steps=num_steps,
    capacity=_rounded(capacity, num_envs),
    batch_size=batch_size,
    num_batches=num_batches,
    gamma=gamma,
    epsilon_start=epsilon_start,
    epsilon_end=epsilon_end,
    epsilon_updates=max(1, round(epsilon_share * num_updates)),
    learning_starts=learning_starts,
    target_every=target_every,
    tau=tau,
    bootstrap=bootstrap,
    embedding=embedding,
    hyper_width=hyper_width,
  )
  return Learner(
    algorithm, values.exploring(policy, epsilon_end), num_envs * num_steps
  )


def maddpg(
  env: _environment.Environment,
  *,
  num_updates: int,
  num_envs: int = 16,
  num_steps: int = 25,
  capacity: int = 100_000,
  batch_size: int = 1024,
  num_batches: int = 4,
  gamma: float = 0.95,
  tau: float = 0.01,
  learning_starts: int = 10_000,
  temperature: float = 1.0,
  optimizer: str = 'adam(0.01)',
  max_grad_norm: float | None = 0.5,
  hidden_sizes: Sequence[int] = (64, 64),
  activation: str = 'relu',
  wrap: Wrap | None = None,
) -> Learner:
  """Actors with critics of all, see `agents.values.maddpg`.

  The capacity is rounded up to a multiple of the steps of an update.
  """
  if wrap is None:
    # Norms are those of an agent: what one meets moves no other.
    wrap = functools.partial(networks_lib.per_agent, num_agents=env.num_agents)
  sizes = _sizes(hidden_sizes)
  policy = _policy.actor_critic(
    env,
    hidden_sizes=sizes,
    activation=activation,
    critic='heard',
    shared=False,
  )
  algorithm = values.maddpg(
    env,
    policy,
    optimizer=_optimizer(
      optimizer, num_updates * num_batches, max_grad_norm, wrap
    ),
    num_envs=num_envs,
    num_steps=num_steps,
    capacity=_rounded(capacity, num_envs * num_steps),
    batch_size=batch_size,
    num_batches=num_batches,
    gamma=gamma,
    tau=tau,
    learning_starts=learning_starts,
    temperature=temperature,
    hidden_sizes=sizes,
  )
  return Learner(algorithm, policy, num_envs * num_steps)


def _rounded(capacity, size):
  """The next multiple; what is no number is refused further on."""
  known = [isinstance(x, int) and x > 0 for x in (capacity, size)]
  return -(-capacity // size) * size if all(known) else capacity


def _sizes(hidden_sizes):
  return (hidden_sizes,) if isinstance(hidden_sizes, int) else hidden_sizes


def _channel(spec, env):
  return channels.make_communication(spec, num_agents=env.num_agents)


_as = functools.partial
ALGORITHMS = registry.Registry(
  'algorithm',
  {
    'random': random,
    'ippo': ippo,
    'mappo': _as(
      ippo,
      critic='world',
      recurrent='gru',
      hidden_sizes=(128,),
      width=128,
      optimizer='adam(0.002, eps=1e-05, schedule=linear)',
    ),
    'reinforce': reinforce,
    'ic': reinforce,
    'iric': _as(reinforce, mean_ratio=0.0),
    'commnet': _as(reinforce, communication='commnet'),
    'ic3net': _as(reinforce, mean_ratio=0.0, communication='ic3net'),
    'tarmac': _as(
      ippo,
      critic='world',
      recurrent='gru',
      hidden_sizes=(128,),
      width=128,
      communication='tarmac',
    ),
    'g2anet': _as(ippo, recurrent='gru', communication='g2anet'),
    'attention': _as(ippo, communication='attention'),
    'graph': _as(ippo, communication='graph'),
    'iql': iql,
    'vdn': _as(iql, mixer='sum'),
    'qmix': _as(iql, mixer='qmix'),
    'dial': _as(iql, communication='dial'),
    'maddpg': maddpg,
  },
  given=('env', 'num_updates', 'wrap'),
)
