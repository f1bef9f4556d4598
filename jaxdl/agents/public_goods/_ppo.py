# SPDX-License-Identifier: Apache-2.0
"""Clipped policy gradients over episodes of a single step.

An action is a vector u ~ Normal(mu(x), sigma), of which what happens sees the
part within [0, 1]; the density is that of u before it is cut. One agent,
unbatched in agents: `jax.vmap` makes independent ones.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxdl import local, networks
from jaxdl.core import checks, keys

_EPS = 1e-8


class PPOState(NamedTuple):
  """What an agent has learned.

  Attributes:
    policy: parameters of the mean.
    value: parameters of the critic.
    optimizer: state of the optimizer of both.
  """

  policy: chex.ArrayTree
  value: chex.ArrayTree
  optimizer: chex.ArrayTree


class Transitions(NamedTuple):
  """Episodes of one step.

  Attributes:
    observations: f[B, D].
    actions: f[B, A], before they are cut.
    log_probs: f[B], under the policy that drew them.
    rewards: f[B].
    mask: f[B], zero of episodes that do not count.
  """

  observations: chex.Array
  actions: chex.Array
  log_probs: chex.Array
  rewards: chex.Array
  mask: chex.Array


class PPO(NamedTuple):
  """How one agent learns.

  Attributes:
    init: `init(key, observations f[B, D]) -> PPOState`; consumes the key.
    mean: `mean(params, observations) -> f[B, A]` in (0, 1), of `state.policy`.
    act: `act(state, observations, sigma, *, key) -> (actions, log_probs)`.
    update: `update(state, transitions, sigma) -> (state, metrics)`, all epochs.
  """

  init: Callable[..., PPOState]
  mean: Callable[..., chex.Array]
  act: Callable[..., tuple[chex.Array, chex.Array]]
  update: Callable[..., tuple[PPOState, dict[str, chex.Array]]]


def log_prob(
  actions: chex.Array, mean: chex.Array, sigma: chex.Numeric
) -> chex.Array:
  """Log density of independent normal numbers.

  Args:
    actions: f[..., A].
    mean: f[..., A].
    sigma: f[], > 0.

  Returns:
    f[...].

  Example:
    >>> round(float(log_prob(jnp.zeros(1), jnp.zeros(1), 1.0)), 4)
    -0.9189
  """
  z = (actions - mean) / sigma
  return -jnp.sum(z * z / 2 + jnp.log(sigma) + np.log(2 * np.pi) / 2, axis=-1)


def entropy(sigma: chex.Numeric, num_actions: int) -> chex.Array:
  """Entropy of as many normal numbers.

  Args:
    sigma: f[], > 0.
    num_actions: A.

  Returns:
    f[].
  """
  return num_actions * (jnp.log(sigma) + (1 + np.log(2 * np.pi)) / 2)


def normalized(advantages: chex.Array, mask: chex.Array) -> chex.Array:
  """Advantages of one agent with mean zero and variance one.

  Args:
    advantages: f[B].
    mask: f[B], zero of those that do not count.

  Returns:
    f[B]; all zero if they are equal.

  Example:
    >>> normalized(jnp.array([1.0, 3.0, 9.0]), jnp.array([1.0, 1.0, 0.0]))[:2]
    Array([-1.,  1.], dtype=float32)
  """
  count = jnp.maximum(jnp.sum(mask), 1)
  mean = jnp.sum(advantages * mask) / count
  gap = (advantages - mean) * mask
  return gap / (jnp.sqrt(jnp.sum(gap * gap) / count) + _EPS)


def ppo_loss(
  log_probs: chex.Array,
  old_log_probs: chex.Array,
  advantages: chex.Array,
  values: chex.Array,
  returns: chex.Array,
  entropies: chex.Numeric,
  *,
  mask: chex.Array | None = None,
  clip: chex.Numeric = 0.2,
  value_weight: chex.Numeric = 0.5,
  entropy_weight: chex.Numeric = 0.0,
) -> chex.Array:
  """-min(ρ A, clip(ρ, 1 ± ε) A) + w (R - V)² - c H, averaged.

  Args:
    log_probs: f[B], now.
    old_log_probs: f[B], when actions were drawn.
    advantages: f[B], A.
    values: f[B], V.
    returns: f[B], R.
    entropies: f[] or f[B], H.
    mask: f[B]; all count if None.
    clip: ε > 0.
    value_weight: w.
    entropy_weight: c.

  Returns:
    f[].

  Example:
    >>> zero, one = jnp.zeros(1), jnp.ones(1)
    >>> round(float(ppo_loss(jnp.log(2 * one), zero, one, zero, zero, 0)), 4)
    -1.2

  Source: Schulman et al. 2017 (https://arxiv.org/abs/1707.06347), equation 9.
  """
  ratio = jnp.exp(log_probs - old_log_probs)
  held = jnp.clip(ratio, 1 - clip, 1 + clip)
  gain = jnp.minimum(ratio * advantages, held * advantages)
  each = -gain + value_weight * (returns - values) ** 2
  each = each - entropy_weight * entropies
  if mask is None:
    return jnp.mean(each)
  return jnp.sum(each * mask) / jnp.maximum(jnp.sum(mask), 1)


def ppo(
  num_actions: int = 1,
  *,
  hidden: int | Sequence[int] = 32,
  activation: str = 'tanh',
  optimizer: str | optax.GradientTransformation = 'adam(0.003)',
  clip: chex.Numeric = 0.2,
  num_epochs: int = 4,
  value_weight: chex.Numeric = 0.5,
  entropy_weight: chex.Numeric = 0.0,
) -> PPO:
  """One agent's policy, critic and way to learn.

  Args:
    num_actions: A (static).
    hidden: widths of both networks (static).
    activation: between layers, a name of `functional.ACTIVATIONS`.
    optimizer: a part of `local.OPTIMIZERS` without a schedule that needs to
      know the run, or an optax transformation.
    clip: ε of ratios.
    num_epochs: passes over the episodes (static); each is one step on all.
    value_weight: of the critic's squared error.
    entropy_weight: c; without effect on the mean unless sigma is learned.

  Returns:
    The functions.

  Raises:
    ValueError: if a number is out of range.

  Example:
    >>> agent = ppo()
    >>> x = jnp.zeros((4, 2))
    >>> state = agent.init(jax.random.key(0), x)
    >>> u, logs = agent.act(state, x, 0.2, key=jax.random.key(1))
    >>> u.shape, logs.shape
    ((4, 1), (4,))

  Source: Schulman et al. 2017 (https://arxiv.org/abs/1707.06347); Liang et al.
    2026 (https://arxiv.org/abs/2508.02076), training.
  """
  checks.integer(num_actions, name='num_actions', low=1)
  checks.integer(num_epochs, name='num_epochs', low=1)
  checks.number(clip, name='clip', low=0.0, open_low=True)
  checks.number(value_weight, name='value_weight', low=0.0)
  checks.number(entropy_weight, name='entropy_weight', low=0.0)
  actor = networks.mlp(hidden, num_actions, activation=activation)
  critic = networks.mlp(hidden, 1, activation=activation)
  tx: Any = optimizer
  if isinstance(optimizer, str):
    tx = local.make_optimizer(optimizer)
  checks.optimizer(tx)

  def mean(params, observations):
    return jax.nn.sigmoid(actor.apply(params, observations))

  def init(key, observations):
    keys.check_key(key)
    actor_key, critic_key = jax.random.split(key)
    policy = actor.init(actor_key, observations)
    # The first guess is the middle of the range, whatever is seen.
    policy[-1]['kernel'] = 0.01 * policy[-1]['kernel']
    value = critic.init(critic_key, observations)
    return PPOState(policy, value, tx.init((policy, value)))

  def act(state, observations, sigma, *, key):
    mu = mean(state.policy, observations)
    noise = jax.random.normal(key, mu.shape, mu.dtype)
    actions = mu + sigma * noise
    return actions, log_prob(actions, mu, sigma)

  def update(state, t, sigma):
    known = critic.apply(state.value, t.observations)[:, 0]
    advantages = normalized(t.rewards - known, t.mask)
    surprise = entropy(sigma, num_actions)

    def loss(params):
      policy, value = params
      mu = mean(policy, t.observations)
      return ppo_loss(
        log_prob(t.actions, mu, sigma),
        t.log_probs,
        advantages,
        critic.apply(value, t.observations)[:, 0],
        t.rewards,
        surprise,
        mask=t.mask,
        clip=clip,
        value_weight=value_weight,
        entropy_weight=entropy_weight,
      )

    def epoch(carry, _):
      params, memory = carry
      found, grads = jax.value_and_grad(loss)(params)
      change, memory = tx.update(grads, memory, params)
      return (optax.apply_updates(params, change), memory), found

    begin = ((state.policy, state.value), state.optimizer)
    (params, memory), losses = jax.lax.scan(
      epoch, begin, None, length=num_epochs
    )
    count = jnp.maximum(jnp.sum(t.mask), 1)
    error = jnp.sum((t.rewards - known) ** 2 * t.mask) / count
    metrics = {'loss': losses[-1], 'critic_error': error}
    policy, value = params
    return PPOState(policy, value, memory), metrics

  return PPO(init, mean, act, update)


def annealed(
  start: chex.Numeric, end: chex.Numeric, done: chex.Numeric
) -> chex.Array:
  """A width that shrinks by equal factors.

  Args:
    start: at the beginning, > 0.
    end: at the end, > 0.
    done: share of the run that is over, cut to [0, 1].

  Returns:
    f[].

  Example:
    >>> [round(float(annealed(0.4, 0.1, x)), 3) for x in (0.0, 0.5, 1.0)]
    [0.4, 0.2, 0.1]
  """
  share = jnp.clip(jnp.asarray(done, float), 0, 1)
  return start ** (1 - share) * end**share


class Stopping(NamedTuple):
  """Memory of early stopping.

  Attributes:
    recent: f[W], the last rewards.
    count: i32[], how many updates were seen.
    best: f[], the largest mean of W rewards so far.
    since: i32[], updates since then.
    stopped: bool[], whether to stop; once true it stays.
  """

  recent: chex.Array
  count: chex.Array
  best: chex.Array
  since: chex.Array
  stopped: chex.Array


def start_stopping(window: int = 5) -> Stopping:
  """Memory before the first update.

  Args:
    window: W >= 1, rewards that are averaged (static).

  Returns:
    The memory.

  Raises:
    ValueError: if the window is below one.
  """
  checks.integer(window, name='window', low=1)
  return Stopping(
    jnp.zeros(window),
    jnp.zeros((), jnp.int32),
    jnp.asarray(-jnp.inf, float),
    jnp.zeros((), jnp.int32),
    jnp.zeros((), bool),
  )


def early_stopping(
  memory: Stopping,
  total_reward: chex.Numeric,
  *,
  patience: chex.Numeric,
  least_gain: chex.Numeric = 0.0,
) -> Stopping:
  """Notes an update; stops when the mean of the last ones no longer improves.

  Args:
    memory: before it.
    total_reward: f[], of the update.
    patience: updates without improvement after which to stop; 0 never stops.
    least_gain: what counts as an improvement.

  Returns:
    The memory; `stopped` says whether to stop.

  Raises:
    ValueError: if a number is out of range.

  Example:
    >>> memory = start_stopping(window=2)
    >>> stops = []
    >>> for reward in (0.0, 1.0, 1.0, 1.0, 1.0):
    ...   memory = early_stopping(memory, reward, patience=2)
    ...   stops.append(bool(memory.stopped))
    >>> stops
    [False, False, False, False, True]

  Source: Liang et al. 2026 (https://arxiv.org/abs/2508.02076), whose rule is
    an empirical one.
  """
  checks.number(patience, name='patience', low=0)
  checks.number(least_gain, name='least_gain', low=0.0)
  window = memory.recent.shape[0]
  place = memory.count % window
  recent = memory.recent.at[place].set(total_reward)
  count = memory.count + 1
  mean = jnp.mean(recent)
  full = count >= window
  better = full & (mean > memory.best + least_gain)
  best = jnp.where(better, mean, memory.best)
  since = jnp.where(better | ~full, 0, memory.since + 1)
  stopped = memory.stopped | ((patience > 0) & (since >= patience))
  return Stopping(recent, count, best, since, stopped)
