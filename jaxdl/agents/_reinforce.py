# SPDX-License-Identifier: Apache-2.0
"""Policy gradients of whole returns, with a baseline of values."""

from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp
import optax

from jaxdl.agents import _environment, _policy, _ppo, _returns, _rollout
from jaxdl.core import checks, types


class Returns(NamedTuple):
  """What followed, f[T, E, N] both.

  Attributes:
    returns: what an agent's steps are worth.
    advantages: that minus the value that was expected.
  """

  returns: chex.Array
  advantages: chex.Array


def mixed_returns(
  rewards: chex.Array,
  done: chex.Array,
  last: chex.Array,
  *,
  gamma: chex.Numeric,
  mean_ratio: chex.Numeric,
  gone: chex.Array | None = None,
) -> chex.Array:
  """Mixes returns of an agent's own rewards with those of the team's mean.

  Args:
    rewards: f[T, E, N].
    done: bool[T, E].
    last: f[E, N], what follows the last step.
    gamma: discount.
    mean_ratio: share of the team, 1 for the mean of all and 0 for one's own.
    gone: bool[T, E, N], whose own rewards end with the step, those of the team
      do not; None for nobody.

  Returns:
    f[T, E, N].

  Example:
    >>> rewards = jnp.array([[[2.0, 0.0]], [[0.0, 4.0]]])
    >>> mixed_returns(
    ...   rewards, jnp.array([[False], [True]]), jnp.zeros((1, 2)),
    ...   gamma=1.0, mean_ratio=0.5,
    ... ).ravel().tolist()
    [2.5, 3.5, 1.0, 3.0]

  Source: Singh, Jain and Sukhbaatar 2019 (https://arxiv.org/abs/1812.09755),
  code.
  """
  team = jnp.mean(rewards, axis=-1, keepdims=True)
  zeros = jnp.zeros_like(rewards)
  follow = lambda rewards, done: _returns.lambda_returns(
    rewards, zeros, last, done, gamma=gamma, lam=1.0
  )
  if gone is None:
    return follow(mean_ratio * team + (1.0 - mean_ratio) * rewards, done)
  own = follow(rewards, done[..., None] | gone)
  both = follow(jnp.broadcast_to(team, rewards.shape), done)
  return mean_ratio * both + (1.0 - mean_ratio) * own


def reinforce(
  env: _environment.Environment,
  policy: _policy.Policy,
  *,
  optimizer: optax.GradientTransformation,
  num_envs: int = 16,
  num_steps: int = 500,
  truncate: int = 10,
  gamma: chex.Numeric = 1.0,
  mean_ratio: chex.Numeric = 1.0,
  value_weight: chex.Numeric = 0.01,
  entropy: chex.Numeric = 0.0,
  normalize: bool = False,
  bootstrap: bool = False,
) -> types.Algorithm:
  """Trains the agents of a game as IC3Net does.

  One step plays T steps in each of E games and follows the gradient of
  -A log pi + `value_weight` (V - R)^2 - `entropy` H once, where R mixes returns
  of own and mean rewards and A = R - V; gates are part of pi. Gradients are
  sums over agents and means over steps, and pass `truncate` steps of memory.
  Games that go on after the last step are worth what values say. Own returns of
  agents whose part ends before that of the others (`Outcome.gone`) end with it.

  Args:
    env: the game.
    policy: who plays.
    optimizer: of all parameters; the paper's is RMSprop at .001.
    num_envs: E.
    num_steps: T, a multiple of `truncate`.
    truncate: steps of memory that a gradient passes.
    gamma: discount; 1 in the paper.
    mean_ratio: share of the team in returns, 1 for the mean of all agents'
      rewards and 0 for one's own; numbers may be traced.
    value_weight: of the loss of values.
    entropy: weight of the entropy.
    normalize: whether advantages are shifted and scaled over the batch.
    bootstrap: whether what is seen when time is up counts with its value; if
      not, time that is up counts as the end of the game, as in the paper.

  Returns:
    The algorithm; its steps need no cohort. It reports `return`, `length`,
    `policy_loss`, `value_loss`, `entropy`, and what games and messages measure.

  Raises:
    ValueError: if a number is out of range or `truncate` does not divide.

  Example:
    >>> from jaxdl import agents
    >>> env = agents.make_game('simple_spread(num_agents=2)')
    >>> learner = reinforce(
    ...   env, agents.actor_critic(env, critic='heard', hidden_sizes=(8,)),
    ...   optimizer=optax.rmsprop(1e-3), num_envs=2, num_steps=4, truncate=2,
    ... )
    >>> state = learner.init(jax.random.key(0))
    >>> state, found = jax.jit(learner.step)(
    ...   state, None, key=jax.random.key(1)
    ... )
    >>> int(state.num_updates)
    1

  Source: Williams 1992; Singh, Jain and Sukhbaatar 2019
  (https://arxiv.org/abs/1812.09755).
  """
  _ppo.check_loop(env, policy, num_envs=num_envs, num_steps=num_steps)
  checks.optimizer(optimizer)
  checks.integer(truncate, name='truncate', low=1)
  if num_steps % truncate:
    raise ValueError(f'truncate={truncate} must divide num_steps={num_steps}.')
  for name, value, high in (
    ('gamma', gamma, 1.0),
    ('mean_ratio', mean_ratio, 1.0),
    ('value_weight', value_weight, None),
    ('entropy', entropy, None),
  ):
    checks.number(value, name=name, low=0.0, high=high)
  checks.flag(normalize, name='normalize')
  checks.flag(bootstrap, name='bootstrap')
  parts = num_steps // truncate

  def side_by_side(x):
    """Parts of T / C steps as games of their own, [C, t, E] -> [t, C E]."""
    x = jnp.moveaxis(x, 0, 1)
    return x.reshape((truncate, parts * num_envs, *x.shape[3:]))

  def loss(params, steps, found, carries):
    judged = policy.judge(
      params, carries, steps.seen, steps.actions, steps.choices, steps.first
    )
    alive = steps.seen.alive
    ones = jnp.ones_like(judged.value)
    there = ones if alive is None else alive.astype(ones.dtype)
    mean = lambda x: jnp.sum(there * x) / (num_steps * num_envs)
    advantages = found.advantages
    if normalize:
      advantages = _ppo.normalized(advantages, alive)
    actor = -mean(advantages * judged.log_prob)
    critic = mean((judged.value - found.returns) ** 2)
    random = mean(judged.entropy)
    told = {'policy_loss': actor, 'value_loss': critic, 'entropy': random}
    return actor + value_weight * critic - entropy * random, told

  def init(key):
    init_key, env_key = jax.random.split(key)
    params = policy.init(init_key)
    return _ppo.LearnerState(
      params,
      optimizer.init(params),
      _rollout.begin(env, policy, env_key, num_envs),
      jnp.int32(0),
    )

  def step(state, cohort=None, *, key):
    del cohort

    def part(playing, part_key):
      after, steps = _rollout.rollout(
        env,
        policy,
        state.params,
        playing,
        key=part_key,
        num_steps=truncate,
        bootstrap=bootstrap,
      )
      return after, (steps, playing.carry)

    playing, (steps, carries) = jax.lax.scan(
      part, state.playing, jax.random.split(key, parts)
    )
    last = policy.value(
      state.params, playing.carry, playing.seen, playing.first
    )
    flat = lambda x: x.reshape((num_steps, *x.shape[2:]))
    reward = flat(steps.reward)
    if bootstrap:
      reward = reward + gamma * flat(steps.final_value)
    gone = None if steps.gone is None else flat(steps.gone)
    returns = mixed_returns(
      reward,
      flat(steps.done),
      last,
      gamma=gamma,
      mean_ratio=mean_ratio,
      gone=gone,
    )
    found = Returns(returns, returns - flat(steps.value))
    cut = lambda x: side_by_side(x.reshape((parts, truncate, *x.shape[1:])))
    steps_flat = jax.tree.map(side_by_side, steps)
    carries = jax.tree.map(
      lambda x: x.reshape((parts * num_envs, *x.shape[2:])), carries
    )
    grads, told = jax.grad(loss, has_aux=True)(
      state.params, steps_flat, jax.tree.map(cut, found), carries
    )
    updates, opt_state = optimizer.update(grads, state.opt_state, state.params)
    params = optax.apply_updates(state.params, updates)
    told |= _ppo.played_of(playing, steps.facts)
    return (
      _ppo.LearnerState(params, opt_state, playing, state.num_updates + 1),
      told,
    )

  return types.Algorithm(init, step, lambda state: state.params)
