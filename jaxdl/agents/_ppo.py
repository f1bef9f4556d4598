# SPDX-License-Identifier: Apache-2.0
"""Proximal policy optimization of N agents as one program."""

from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import optax

from jaxdl.agents import _environment, _policy, _returns, _rollout
from jaxdl.core import checks, clients, types

NORMALIZATIONS = ('minibatch', 'agent', 'none')
_EPS = 1e-8


class LearnerState(NamedTuple):
  """A learner between two updates.

  Attributes:
    params: of its policy.
    opt_state: of its optimizer.
    playing: its games.
    num_updates: i32[].
  """

  params: Any
  opt_state: Any
  playing: _rollout.Playing
  num_updates: chex.Array


class Batch(NamedTuple):
  """What a PPO loss is said of, leaves [T, E, ...].

  Attributes:
    steps: what was played.
    advantages: f[T, E, N].
    targets: f[T, E, N], of values.
    carry: memory before the first step, leaves [E, ...].
  """

  steps: _rollout.Trajectory
  advantages: chex.Array
  targets: chex.Array
  carry: Any


def advantages_of(
  steps: _rollout.Trajectory,
  last_value: chex.Array,
  *,
  gamma: chex.Numeric,
  gae_lambda: chex.Numeric,
  bootstrap: bool = True,
) -> tuple[chex.Array, chex.Array]:
  """Estimates advantages and targets of what was played.

  Where time was up and the game was not over, what was seen last counts with
  its value, r + gamma V(final); without `bootstrap` it counts as over. Nothing
  follows for agents whose part ended before (`Outcome.gone`).

  Args:
    steps: leaves [T, E, ...].
    last_value: f[E, N], what is seen after the last step is worth.
    gamma: discount.
    gae_lambda: lambda.
    bootstrap: see above (static).

  Returns:
    f[T, E, N] both.
  """
  reward = steps.reward
  if bootstrap:
    reward = reward + gamma * steps.final_value
  done = steps.done
  if steps.gone is not None:
    done = done[..., None] | steps.gone
  advantages = _returns.gae(
    reward, steps.value, last_value, done, gamma=gamma, lam=gae_lambda
  )
  return advantages, advantages + steps.value


def masked_mean(x: chex.Array, alive: chex.Array | None) -> chex.Array:
  """Means over agents that still take part.

  Args:
    x: f[...].
    alive: bool[...], or None for all.

  Returns:
    f[]; 0 if nobody takes part.
  """
  if alive is None:
    return jnp.mean(x)
  weights = alive.astype(x.dtype)
  return jnp.sum(x * weights) / jnp.maximum(jnp.sum(weights), 1.0)


def normalized(
  advantages: chex.Array, alive: chex.Array | None, *, how: str = 'minibatch'
) -> chex.Array:
  """Shifts and scales advantages to mean 0 and deviation 1.

  Args:
    advantages: f[..., N].
    alive: bool[..., N], or None for all.
    how: 'minibatch' over everything, 'agent' for each agent alone, or 'none'
      (static).

  Returns:
    f[..., N].
  """
  if how == 'none':
    return advantages
  if how == 'agent':
    each = lambda a, b: normalized(a, b, how='minibatch')
    if alive is None:
      return jax.vmap(lambda a: each(a, None), -1, -1)(advantages)
    return jax.vmap(each, (-1, -1), -1)(advantages, alive)
  mean = masked_mean(advantages, alive)
  variance = masked_mean((advantages - mean) ** 2, alive)
  return (advantages - mean) / (jnp.sqrt(variance) + _EPS)


def clipped_surrogate(
  ratio: chex.Array, advantages: chex.Array, clip: chex.Numeric
) -> chex.Array:
  """Returns the loss -min(rho A, clip(rho, 1 - eps, 1 + eps) A), elementwise.

  Args:
    ratio: rho, f[...].
    advantages: A, f[...].
    clip: eps.

  Returns:
    f[...].

  Source: Schulman et al. 2017 (https://arxiv.org/abs/1707.06347), eq. 7.
  """
  cut = jnp.clip(ratio, 1.0 - clip, 1.0 + clip)
  return -jnp.minimum(ratio * advantages, cut * advantages)


def ppo(
  env: _environment.Environment,
  policy: _policy.Policy,
  *,
  optimizer: optax.GradientTransformation,
  num_envs: int = 16,
  num_steps: int = 128,
  num_epochs: int = 4,
  num_minibatches: int = 4,
  gamma: chex.Numeric = 0.99,
  gae_lambda: chex.Numeric = 0.95,
  clip: chex.Numeric = 0.2,
  value_clip: bool = True,
  entropy: chex.Numeric = 0.01,
  value_weight: chex.Numeric = 0.5,
  normalize: str = 'minibatch',
  bootstrap: bool = True,
  mesh: jax.sharding.Mesh | None = None,
) -> types.Algorithm:
  """Trains the agents of a game by proximal policy optimization.

  One step plays `num_steps` in each of E games and passes over them
  `num_epochs` times, all in one program. With a critic of its own row this is
  IPPO, with one of the world MAPPO; agents without shared parameters are
  independent learners. Memory is judged in order, over games in place of steps.
  Critics learn of all steps, actors of those in which they take part
  (`Seen.alive`).

  Args:
    env: the game.
    policy: who plays.
    optimizer: of all parameters, e.g. `local.make_optimizer`; it steps
      `num_epochs * num_minibatches` times in an update.
    num_envs: E.
    num_steps: T, steps of a game between updates.
    num_epochs: passes over them.
    num_minibatches: batches of a pass.
    gamma: discount.
    gae_lambda: lambda of generalized advantages.
    clip: eps, by how much a ratio of probabilities may differ from 1.
    value_clip: whether changes of values are clipped likewise.
    entropy: weight of the entropy.
    value_weight: weight of the loss of values.
    normalize: over what advantages are normalized: 'minibatch', 'agent' (each
      for itself) or 'none'.
    bootstrap: whether what is seen when time is up counts with its value; if
      not, time that is up counts as the end of the game.
    mesh: devices that share the games, see `core.clients.clients_mesh`; they
      must divide E. What is drawn does not depend on them.

  Returns:
    The algorithm; its steps need no cohort. It reports `return`, means over
    agents of the last episode of each game that has ended one, `length`,
    `policy_loss`, `value_loss`, `entropy`, `kl` and `clipped`, and what the
    game and the messages measure, by step.

  Raises:
    ValueError: if a number is out of range, or minibatches do not divide.

  Example:
    >>> from jaxdl import agents
    >>> env = agents.make_game('simple_spread(num_agents=2)')
    >>> learner = ppo(
    ...   env, agents.actor_critic(env), optimizer=optax.adam(1e-3),
    ...   num_envs=4, num_steps=8, num_minibatches=2,
    ... )
    >>> state = learner.init(jax.random.key(0))
    >>> state, found = jax.jit(learner.step)(
    ...   state, None, key=jax.random.key(1)
    ... )
    >>> int(state.num_updates)
    1

  Source: Schulman et al. 2017 (https://arxiv.org/abs/1707.06347); de Witt et
  al. 2020 (https://arxiv.org/abs/2011.09533); Yu et al. 2022
  (https://arxiv.org/abs/2103.01955).
  """
  check_loop(env, policy, num_envs=num_envs, num_steps=num_steps)
  checks.optimizer(optimizer)
  for name, value in (
    ('num_epochs', num_epochs),
    ('num_minibatches', num_minibatches),
  ):
    checks.integer(value, name=name, low=1)
  for name, value, high in (
    ('gamma', gamma, 1.0),
    ('gae_lambda', gae_lambda, 1.0),
    ('clip', clip, None),
    ('entropy', entropy, None),
    ('value_weight', value_weight, None),
  ):
    checks.number(value, name=name, low=0.0, high=high)
  checks.flag(value_clip, name='value_clip')
  checks.flag(bootstrap, name='bootstrap')
  checks.choice(normalize, NORMALIZATIONS, name='normalize')
  rows = num_envs if policy.recurrent else num_envs * num_steps
  what = 'num_envs' if policy.recurrent else 'num_envs * num_steps'
  if rows % num_minibatches:
    raise ValueError(
      f'num_minibatches={num_minibatches} must divide {what} = {rows}'
      + (': memory is judged in order.' if policy.recurrent else '.')
    )

  if mesh is not None and num_envs % mesh.shape[clients.AXIS]:
    raise ValueError(
      f'num_envs={num_envs} must be divisible by the '
      f'{mesh.shape[clients.AXIS]} devices of the mesh.'
    )

  def loss(params, batch):
    steps = batch.steps
    alive = steps.seen.alive
    judged = policy.judge(
      params, batch.carry, steps.seen, steps.actions, steps.choices, steps.first
    )
    ratio = jnp.exp(judged.log_prob - steps.log_prob)
    advantages = normalized(batch.advantages, alive, how=normalize)
    actor = masked_mean(clipped_surrogate(ratio, advantages, clip), alive)
    error = (judged.value - batch.targets) ** 2
    if value_clip:
      moved = jnp.clip(judged.value - steps.value, -clip, clip)
      cut = (steps.value + moved - batch.targets) ** 2
      error = jnp.maximum(error, cut)
    # Steps of others too: theirs are values that come after one's own.
    critic = 0.5 * jnp.mean(error)
    random = masked_mean(judged.entropy, alive)
    found = {
      'policy_loss': actor,
      'value_loss': critic,
      'entropy': random,
      'kl': masked_mean(ratio - 1.0 - jnp.log(ratio), alive),
      'clipped': masked_mean(
        (jnp.abs(ratio - 1.0) > clip).astype(ratio.dtype), alive
      ),
    }
    return actor + value_weight * critic - entropy * random, found

  def minibatch(carry, batch):
    params, opt_state = carry
    grads, found = jax.grad(loss, has_aux=True)(params, batch)
    updates, opt_state = optimizer.update(grads, opt_state, params)
    return (optax.apply_updates(params, updates), opt_state), found

  def epoch(carry, key, batch):
    order = jax.random.permutation(key, rows)
    parts = _cut(batch, order, num_minibatches, policy.recurrent)
    return jax.lax.scan(minibatch, carry, _spread(parts, mesh, 2))

  def init(key):
    init_key, env_key = jax.random.split(key)
    params = policy.init(init_key)
    return LearnerState(
      params,
      optimizer.init(params),
      _rollout.begin(env, policy, env_key, num_envs),
      jnp.int32(0),
    )

  def step(state, cohort=None, *, key):
    del cohort
    play_key, learn_key = jax.random.split(key)
    playing, steps = _rollout.rollout(
      env,
      policy,
      state.params,
      _spread(state.playing, mesh, 0),
      key=play_key,
      num_steps=num_steps,
      bootstrap=bootstrap,
    )
    last = policy.value(
      state.params, playing.carry, playing.seen, playing.first
    )
    advantages, targets = advantages_of(
      steps, last, gamma=gamma, gae_lambda=gae_lambda, bootstrap=bootstrap
    )
    batch = Batch(steps, advantages, targets, state.playing.carry)
    carry, found = jax.lax.scan(
      lambda c, k: epoch(c, k, batch),
      (state.params, state.opt_state),
      jax.random.split(learn_key, num_epochs),
    )
    found = jax.tree.map(jnp.mean, found) | played(playing, steps)
    return LearnerState(*carry, playing, state.num_updates + 1), found

  return types.Algorithm(init, step, lambda state: state.params)


def played(
  playing: _rollout.Playing, steps: _rollout.Trajectory
) -> dict[str, chex.Array]:
  """Measures what was played.

  Args:
    playing: the games afterwards.
    steps: what was played.

  Returns:
    f[] of 'return' and 'length', means over the last episodes of games that
    have ended one, and means by step of the figures of games and messages.
  """
  return played_of(playing, steps.facts)


def played_of(
  playing: _rollout.Playing, facts: dict[str, chex.Array]
) -> dict[str, chex.Array]:
  """As `played`, of figures f[T, E] by step."""
  ended = (playing.running.done > 0).astype(jnp.float32)
  share = ended / jnp.maximum(jnp.sum(ended), 1.0)
  last = playing.running.last
  out = {
    'return': jnp.sum(share * jnp.mean(last.total, axis=-1)),
    'length': jnp.sum(share * last.length),
  }
  return out | {f'step_{k}': jnp.mean(v) for k, v in facts.items()}


def check_loop(
  env: _environment.Environment,
  policy: _policy.Policy,
  *,
  num_envs: int,
  num_steps: int,
) -> None:
  """Raises if a loop of training could not run.

  Args:
    env: the game.
    policy: who plays.
    num_envs: E.
    num_steps: T.

  Raises:
    TypeError: if one is something else.
    ValueError: if a number is out of range.
  """
  _rollout.check_play(env, policy)
  checks.integer(num_envs, name='num_envs', low=1)
  checks.integer(num_steps, name='num_steps', low=1)


def _spread(tree, mesh, axis):
  """Shares an axis of games among devices, where they divide it."""
  if mesh is None:
    return tree
  count = mesh.shape[clients.AXIS]
  spec = jax.NamedSharding(mesh, jax.P(*(None,) * axis, clients.AXIS))

  def leaf(x):
    if x.ndim <= axis or x.shape[axis] % count:
      return x
    return jax.lax.with_sharding_constraint(x, spec)

  return jax.tree.map(leaf, tree)


def _cut(batch, order, num, recurrent):
  """Minibatches: of games where memory matters, else of steps."""
  steps, size = batch.steps, order.shape[0] // num

  def of_steps(x):
    flat = x.reshape((-1, *x.shape[2:]))[order]
    # A minibatch looks like one step of many games.
    return flat.reshape((num, 1, size, *x.shape[2:]))

  def of_games(x):
    parts = x[:, order].reshape((x.shape[0], num, size, *x.shape[2:]))
    return jnp.moveaxis(parts, 1, 0)

  cut = of_games if recurrent else of_steps
  played, advantages, targets = jax.tree.map(
    cut, (steps, batch.advantages, batch.targets)
  )
  carry = jax.tree.map(
    lambda x: x[order].reshape((num, size, *x.shape[1:])), batch.carry
  )
  return Batch(played, advantages, targets, carry if recurrent else {})
