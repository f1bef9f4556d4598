# SPDX-License-Identifier: Apache-2.0
"""Policy gradients of agents one after the other, and of who talks to them."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import optax

from jaxdl.agents import _actions, _ppo, _returns
from jaxdl.agents.hammer import _local, _messages
from jaxdl.core import checks
from jaxdl.networks import functional

# Returns that are all the same have no deviation.
_EPS = 1e-5


@dataclasses.dataclass(frozen=True, kw_only=True)
class Training:
  """How agents are trained, whoever talks to them.

  The defaults are those of cooperative navigation.

  Attributes:
    optimizer: of every set of parameters; each has a state of its own.
    update_steps: steps of all games between updates.
    num_envs: E, games side by side, which divides them.
    num_epochs: K, passes over the steps.
    gamma: discount.
    clip: eps, by how much a ratio of probabilities may differ from 1.
    entropy: weight of the entropy.
    value_weight: weight of the mean squared error of values.
    actor_sizes: widths of the layers of actors.
    critic_sizes: widths of the layers of critics.
    encoder_sizes: widths of the layers that read what all agents see.
    std: deviation of actions that are vectors.
  """

  optimizer: optax.GradientTransformation = dataclasses.field(
    default_factory=lambda: optax.adam(3e-4)
  )
  update_steps: int = 800
  num_envs: int = 32
  num_epochs: int = 8
  gamma: float = 0.95
  clip: float = 0.2
  entropy: float = 0.01
  value_weight: float = 0.5
  actor_sizes: Sequence[int] = (64, 64)
  critic_sizes: Sequence[int] = (64, 32)
  encoder_sizes: Sequence[int] = (64, 64)
  std: float = 0.5

  def __post_init__(self):
    checks.optimizer(self.optimizer)
    for name in ('update_steps', 'num_envs', 'num_epochs'):
      checks.integer(getattr(self, name), name=name, low=1)
    for name in ('gamma', 'clip', 'entropy', 'value_weight'):
      high = 1.0 if name == 'gamma' else None
      checks.number(getattr(self, name), name=name, low=0.0, high=high)
    _messages.check_std(self.std)
    for name in ('actor_sizes', 'critic_sizes', 'encoder_sizes'):
      functional.check_sizes(getattr(self, name), name)
    if self.update_steps % self.num_envs:
      raise ValueError(
        f'update_steps={self.update_steps} must be a multiple of '
        f'num_envs={self.num_envs}.'
      )

  @property
  def num_steps(self) -> int:
    """Steps of one game between updates."""
    return self.update_steps // self.num_envs

  @property
  def widths(self) -> dict[str, Any]:
    """Widths of the layers of actors and critics, and `std`."""
    names = ('actor_sizes', 'critic_sizes', 'std')
    return {name: getattr(self, name) for name in names}


class Losses(NamedTuple):
  """The parts of a loss, each f[].

  Attributes:
    policy: of the clipped ratios.
    value: mean squared error.
    entropy: mean entropy.
    kl: estimate of the divergence from who played.
    clipped: share of ratios that were clipped.
  """

  policy: chex.Array
  value: chex.Array
  entropy: chex.Array
  kl: chex.Array
  clipped: chex.Array

  def total(self, training: Training) -> chex.Array:
    """Returns what is minimized."""
    return (
      self.policy
      + training.value_weight * self.value
      - training.entropy * self.entropy
    )

  def facts(self, start: str = '') -> dict[str, chex.Array]:
    """Returns means by name, as a learner reports them."""
    names = {'policy': 'policy_loss', 'value': 'value_loss'}
    return {
      start + names.get(name, name): jnp.mean(x)
      for name, x in self._asdict().items()
    }


def losses(
  log_prob: chex.Array,
  old_log_prob: chex.Array,
  value: chex.Array,
  target: chex.Array,
  entropy: chex.Array,
  *,
  clip: chex.Numeric,
  alive: chex.Array | None = None,
) -> Losses:
  """Computes losses of one agent, with A = target - stop_gradient(value).

  Args:
    log_prob: f[B], of actions.
    old_log_prob: f[B], of whoever played.
    value: f[B].
    target: f[B], see `targets_of`.
    entropy: f[B].
    clip: eps.
    alive: bool[B], steps that count; None for all.

  Returns:
    The losses.
  """
  change = log_prob - old_log_prob
  if alive is not None:
    # Whoever takes no part may do what is impossible.
    change = jnp.where(alive, change, 0.0)
  ratio = jnp.exp(change)
  advantages = target - jax.lax.stop_gradient(value)
  mean = lambda x: _ppo.masked_mean(x, alive)
  far = (jnp.abs(ratio - 1.0) > clip).astype(ratio.dtype)
  return Losses(
    mean(_ppo.clipped_surrogate(ratio, advantages, clip)),
    mean((value - target) ** 2),
    mean(entropy),
    mean(ratio - 1.0 - change),
    mean(far),
  )


def targets_of(
  rewards: chex.Array,
  done: chex.Array,
  *,
  gamma: chex.Numeric,
  alive: chex.Array | None = None,
) -> chex.Array:
  """Computes returns by Monte Carlo, normalized for each agent alone.

  An episode that is cut by the end of a batch counts as over. With G from
  `monte_carlo_returns`, the target is (G - mean G) / (std G + 1e-5), of all
  steps that count.

  Args:
    rewards: f[T, E, N].
    done: bool[T, E].
    gamma: discount.
    alive: bool[T, E, N], steps that count; None for all.

  Returns:
    f[T, E, N].

  Example:
    >>> rewards = jnp.array([1.0, 2.0, 3.0]).reshape(3, 1, 1)
    >>> done = jnp.array([[False], [True], [False]])
    >>> found = targets_of(rewards, done, gamma=0.5)
    >>> [round(float(x), 3) for x in found[:, 0, 0]]
    [-0.707, -0.707, 1.414]
  """
  found = _returns.monte_carlo_returns(rewards, done, gamma=gamma)

  def normal(x, mask):
    mean = _ppo.masked_mean(x, mask)
    variance = _ppo.masked_mean((x - mean) ** 2, mask)
    return (x - mean) / (jnp.sqrt(variance) + _EPS)

  if alive is None:
    return jax.vmap(lambda x: normal(x, None), -1, -1)(found)
  return jax.vmap(normal, (-1, -1), -1)(found, alive)


class Learning(NamedTuple):
  """How parameters are trained on what was played.

  Attributes:
    start: `start(params) -> opt_state`.
    learn: `learn(params, opt_state, steps, *, key) -> (params, opt_state,
      facts)`; consumes the key.
  """

  start: Callable[..., Any]
  learn: Callable[..., tuple[Any, Any, dict[str, chex.Array]]]


def local_learning(
  local: _local.Local,
  messenger: _messages.Messenger,
  training: Training,
  *,
  sharing: str = 'none',
  sequential: bool = True,
  resample_noise: bool = False,
) -> Learning:
  """Trains agents, and through their losses whoever talks to them.

  In each epoch agents take a step one after the other: agent i hears messages
  of the parameters as they are by then, and its loss moves its own actor,
  critic and decoder and the encoder, which thus takes N steps in an epoch. Or
  all move at once by the sum of the losses.

  Args:
    local: the agents.
    messenger: who talks.
    training: how.
    sharing: parameters of actors and critics: 'none' shares none, 'all' all;
      'release' all, but with a state of the optimizer for each agent, which
      holds for the encoder as well.
    sequential: whether agents step one after the other.
    resample_noise: whether epochs draw the noise of messages anew, as in the
      release, in place of that with which was played; ratios then differ from
      1 before anything has moved.

  Returns:
    How; it leaves other parameters as they are.

  Raises:
    ValueError: if there is no such sharing, or it does not fit.
  """
  checks.choice(sharing, _local.SHARINGS, name='sharing')
  checks.flag(sequential, name='sequential')
  checks.flag(resample_noise, name='resample_noise')
  if local.shared != (sharing != 'none'):
    raise ValueError(
      f'sharing={sharing!r} does not fit agents with shared={local.shared}.'
    )
  if sharing == 'release' and not sequential:
    raise ValueError(
      "sharing='release' has a state of the optimizer for every agent: it "
      'needs sequential=True.'
    )
  optimizer, n = training.optimizer, local.num_agents
  names = ('actor', 'critic')
  common = messenger.shared + (names if local.shared else ())
  own = messenger.own + (() if local.shared else names)
  states = sharing == 'release'  # Of the optimizer, for what is in common.
  pick = lambda params, which: {name: params[name] for name in which}

  def loss(shared, mine, data, world):
    """Of one agent."""
    message = messenger.one(shared, mine, world, data['choices'])
    out, value = local.one(shared | mine, data['own'], message)
    if 'available' in data:
      out = _actions.masked(out, data['available'])
    found = losses(
      local.actions.log_prob(out, data['actions']),
      data['log_prob'],
      value,
      data['target'],
      local.actions.entropy(out),
      clip=training.clip,
      alive=data.get('alive'),
    )
    return found.total(training), found

  def move(grads, state, params):
    updates, state = optimizer.update(grads, state, params)
    return optax.apply_updates(params, updates), state

  def start(params):
    common_state = optimizer.init(pick(params, common))
    if states:
      common_state = jax.tree.map(
        lambda x: jnp.broadcast_to(x, (n, *x.shape)), common_state
      )
    return {
      'common': common_state,
      'own': jax.vmap(optimizer.init)(pick(params, own)) if own else {},
    }

  def one_by_one(carry, data, world):
    def body(carry, x):
      shared, mine, state = carry
      i, data = x
      me = _row(mine, i)
      (of_all, of_me), found = jax.grad(loss, (0, 1), has_aux=True)(
        shared, me, data, world
      )
      state = dict(state)
      if common:
        old = _row(state['common'], i) if states else state['common']
        shared, new = move(of_all, old, shared)
        state['common'] = _put(state['common'], i, new) if states else new
      if own:
        me, new = move(of_me, _row(state['own'], i), me)
        state['own'] = _put(state['own'], i, new)
        mine = _put(mine, i, me)
      return (shared, mine, state), found

    return jax.lax.scan(body, carry, (jnp.arange(n), data))

  def at_once(carry, data, world):
    shared, mine, state = carry

    def sum_of(shared, mine):
      every = jax.vmap(loss, (None, 0, 0, None), axis_size=n)
      total, found = every(shared, mine, data, world)
      return jnp.sum(total), found

    (of_all, of_each), found = jax.grad(sum_of, (0, 1), has_aux=True)(
      shared, mine
    )
    state = dict(state)
    if common:
      shared, state['common'] = move(of_all, state['common'], shared)
    if own:
      mine, state['own'] = jax.vmap(move)(of_each, state['own'], mine)
    return (shared, mine, state), found

  def learn(params, opt_state, steps, *, key):
    data, world = (
      _by_agent(steps, training),
      _flat(_messages.rows_of(steps.seen)),
    )
    one_pass = one_by_one if sequential else at_once

    def epoch(carry, epoch_key):
      seen = data
      if resample_noise and 'noise' in data['choices']:
        old = data['choices']['noise']
        fresh = jax.random.normal(epoch_key, old.shape, old.dtype)
        seen = data | {'choices': {'noise': fresh}}
      return one_pass(carry, seen, world)

    carry = (pick(params, common), pick(params, own), opt_state)
    keys = jax.random.split(key, training.num_epochs)
    (shared, mine, opt_state), found = jax.lax.scan(epoch, carry, keys)
    return params | shared | mine, opt_state, found.facts()

  return Learning(start, learn)


def joint_learning(
  judge: Callable[..., tuple[chex.Array, chex.Array, chex.Array]],
  training: Training,
  *,
  names: Sequence[str],
  start: str = '',
) -> Learning:
  """Trains one agent that acts for all, by means of rewards.

  Args:
    judge: `judge(params, steps) -> (log_prob, entropy, value)`, each f[B], of
      leaves [B, ...].
    training: how.
    names: of the parameters that it has.
    start: of the names of what is reported.

  Returns:
    How; it leaves other parameters as they are.
  """
  optimizer = training.optimizer
  pick = lambda params: {name: params[name] for name in names}

  def learn(params, opt_state, steps, *, key):
    del key
    reward = jnp.mean(steps.reward, axis=-1, keepdims=True)
    target = targets_of(reward, steps.done, gamma=training.gamma)
    target = _flat(target)[..., 0]
    flat = jax.tree.map(_flat, steps)
    old = judge(params, flat)[0]

    def loss(own):
      log_prob, entropy, value = judge(params | own, flat)
      found = losses(log_prob, old, value, target, entropy, clip=training.clip)
      return found.total(training), found

    def epoch(carry, _):
      own, state = carry
      grads, found = jax.grad(loss, has_aux=True)(own)
      updates, state = optimizer.update(grads, state, own)
      return (optax.apply_updates(own, updates), state), found

    carry = (pick(params), opt_state)
    (own, opt_state), found = jax.lax.scan(
      epoch, carry, length=training.num_epochs
    )
    return params | own, opt_state, found.facts(start)

  return Learning(lambda params: optimizer.init(pick(params)), learn)


def _flat(x):
  """Merges time and games: [T, E, ...] -> [B, ...]."""
  return x.reshape((-1, *x.shape[2:]))


def _row(tree, i):
  return jax.tree.map(lambda x: x[i], tree)


def _put(tree, i, new):
  return jax.tree.map(lambda x, y: x.at[i].set(y), tree, new)


def _by_agent(steps, training):
  """What each agent learns from, leaves [N, B, ...]."""
  seen = steps.seen
  data = {
    'own': seen.own,
    'actions': steps.actions,
    'log_prob': steps.log_prob,
    'target': targets_of(
      steps.reward, steps.done, gamma=training.gamma, alive=seen.alive
    ),
    'choices': steps.choices,
    'alive': seen.alive,
    'available': seen.available,
  }
  data = {name: x for name, x in data.items() if x is not None}
  return jax.tree.map(lambda x: jnp.moveaxis(_flat(x), 1, 0), data)
