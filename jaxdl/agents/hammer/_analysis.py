# SPDX-License-Identifier: Apache-2.0
"""What messages do, and what is in them."""

import functools
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np

from jaxdl.agents import _actions, _environment
from jaxdl.agents.hammer import _local, _variants
from jaxdl.core import checks, extras

# Neighbors of a prediction.
_NEIGHBORS = 10


def message_saliency(
  local: _local.Local,
  params: dict[str, Any],
  own: chex.Array,
  message: chex.Array,
) -> chex.Array:
  """Computes by how much what agents do changes with what they hear.

  Args:
    local: the agents.
    params: of the actors.
    own: f[..., N, d], what agents see.
    message: f[..., N, L], what they hear.

  Returns:
    f[..., N, A, L], slopes of the probabilities of actions, or of the means of
    actions that are vectors, with respect to the message to the same agent.

  Example:
    >>> from jaxdl import agents
    >>> env = agents.make_game('simple_spread(num_agents=2)')
    >>> local = agents.hammer.local_agents(env, message_length=1)
    >>> params = local.init(jax.random.key(0))
    >>> found = message_saliency(
    ...   local, params, jnp.ones((2, 12)), jnp.zeros((2, 1))
    ... )
    >>> found.shape, bool(jnp.abs(found.sum(axis=1)).max() < 1e-6)
    ((2, 5, 1), True)
  """
  discrete = isinstance(local.actions, _actions.Categories)

  def does(message):
    out = local.apply(params, own, message)[0]
    return jax.nn.softmax(out) if discrete else out

  def slope(direction):
    return jax.jvp(does, (message,), (direction,))[1]

  # An agent hears its own message only, so one direction serves all agents.
  length = message.shape[-1]
  eye = jnp.eye(length, dtype=message.dtype).reshape(
    (length, *(1,) * (message.ndim - 1), length)
  )
  directions = jnp.broadcast_to(eye, (length, *message.shape))
  return jnp.moveaxis(jax.vmap(slope)(directions), 0, -1)


def wiggle(
  local: _local.Local,
  params: dict[str, Any],
  own: chex.Array,
  message: chex.Array,
  shifts: chex.Array,
) -> chex.Array:
  """Measures how often agents do otherwise when messages are shifted.

  Args:
    local: the agents.
    params: of the actors.
    own: f[B, N, d], what agents see.
    message: f[B, N, L], what they hear.
    shifts: f[K], added to all numbers of a message.

  Returns:
    f[K, N], the share of cases in which the likeliest action is another; where
    actions are vectors, by how much their mean moves.
  """
  discrete = isinstance(local.actions, _actions.Categories)
  before = local.apply(params, own, message)[0]

  def one(shift):
    after = local.apply(params, own, message + shift)[0]
    if discrete:
      other = jnp.argmax(after, axis=-1) != jnp.argmax(before, axis=-1)
      return jnp.mean(other.astype(message.dtype), axis=0)
    return jnp.mean(jnp.linalg.norm(after - before, axis=-1), axis=0)

  return jax.vmap(one)(shifts)


class MessageLog(NamedTuple):
  """What was said in some episodes, leaves [B, ...] of steps that count.

  Attributes:
    own: f[B, N, d], what agents saw.
    message: f[B, N, L].
    actions: i[B, N] or f[B, N, a].
    reward: f[B, N].
    episode: i[B].
    time: i[B], step of the episode.
  """

  own: np.ndarray
  message: np.ndarray
  actions: np.ndarray
  reward: np.ndarray
  episode: np.ndarray
  time: np.ndarray


def log_messages(
  env: _environment.Environment,
  variant: _variants.Variant,
  params: dict[str, Any],
  *,
  key: chex.PRNGKey,
  num_episodes: int,
) -> MessageLog:
  """Plays episodes and keeps what was said in them.

  Args:
    env: the game.
    variant: who plays; somebody must talk.
    params: of its policy.
    key: consumed.
    num_episodes: E.

  Returns:
    The log, on the host.

  Raises:
    ValueError: if nobody talks.
  """
  _environment.check_environment(env)
  checks.integer(num_episodes, name='num_episodes', low=1)
  _check_talk(variant)
  found = _record(env, variant, num_episodes)(params, key)
  own, message, actions, reward, live = (np.asarray(x) for x in found)
  time, episode = np.nonzero(live)
  own, message, actions, reward = (
    x[time, episode] for x in (own, message, actions, reward)
  )
  return MessageLog(own, message, actions, reward, episode, time)


@functools.lru_cache(maxsize=16)
def _record_of(env_static, policy, messenger, num):
  """Plays all steps of episodes side by side, as one program."""

  def run(numbers, params, key):
    env = env_static.replace(params=numbers)
    start_key, play_key = jax.random.split(key)
    seen, running = env.reset_many(start_key, num)
    first = jnp.ones((num,), bool)

    def body(carry, step_key):
      running, seen, memory, first, over = carry
      act_key, env_key = jax.random.split(step_key)
      acted = policy.act(params, memory, seen, first, key=act_key)
      message, _ = messenger.speak(params, seen, choices=acted.choices or None)
      move = lambda r, a, k: env.move_on(r, a, key=k)
      running, step = jax.vmap(move)(
        running, acted.actions, jax.random.split(env_key, num)
      )
      kept = (seen.own, message, acted.actions, step.reward, ~over)
      none = jnp.zeros_like(first)
      return (running, step.seen, acted.carry, none, over | step.done), kept

    none = jnp.zeros((num,), bool)
    start = (running, seen, policy.start(num), first, none)
    keys = jax.random.split(play_key, env.max_steps)
    return jax.lax.scan(body, start, keys)[1]

  return jax.jit(run)


def _record(env, variant, num):
  # Numbers of the game are an argument, so that a program serves them all.
  bare = env.replace(params=None)
  run = _record_of(bare, variant.execution, variant.messenger, num)
  return lambda params, key: run(env.params, params, key)


def correlations(log: MessageLog) -> np.ndarray:
  """Correlates messages with everything that all agents see.

  Args:
    log: of messages.

  Returns:
    f[N, L, N, d]: of message l to agent i and entry k of what agent j sees; 0
    where one of them never changes.

  Example:
    >>> rng = np.random.default_rng(0)
    >>> own = rng.normal(size=(400, 2, 1))
    >>> none = np.zeros(400, int)
    >>> log = MessageLog(own, -own[:, ::-1], none, none, none, none)
    >>> np.abs(correlations(log))[0, 0, :, 0].round(1).tolist()
    [0.0, 1.0]
  """
  size = len(log.message)
  message = log.message.reshape(size, -1).astype(np.float64)
  state = log.own.reshape(size, -1).astype(np.float64)

  def standard(x):
    x = x - x.mean(0)
    spread = x.std(0)
    return x / np.where(spread > 1e-9, spread, np.inf)

  found = standard(message).T @ standard(state) / size
  return found.reshape(*log.message.shape[1:], *log.own.shape[1:])


def predicted_state(
  log: MessageLog, *, seed: int = 0, num_neighbors: int = _NEIGHBORS
) -> np.ndarray:
  """Measures how well what all agents see follows from all messages.

  Means over nearest neighbors among half of the steps say what was seen in the
  other half.

  Args:
    log: of messages.
    seed: of the halves.
    num_neighbors: of a prediction.

  Returns:
    f[N, d], shares of variance that are explained (R^2; 0 for a guess, and for
    entries that never change).

  Raises:
    ImportError: if scikit-learn is not installed.
    ValueError: if the log is too short or a number is out of range.
  """
  checks.integer(seed, name='seed', low=0)
  checks.integer(num_neighbors, name='num_neighbors', low=1)
  neighbors = extras.require('sklearn.neighbors', 'a prediction of states')
  size = len(log.message)
  if size < 2 * num_neighbors + 2:
    raise ValueError(
      f'log has {size} steps: num_neighbors={num_neighbors} needs '
      f'{2 * num_neighbors + 2}.'
    )
  order = np.random.default_rng(seed).permutation(size)
  half = size // 2
  fit, test = order[:half], order[half:]
  message = log.message.reshape(size, -1)
  state = log.own.reshape(size, -1).astype(np.float64)
  model = neighbors.KNeighborsRegressor(n_neighbors=num_neighbors)
  model.fit(message[fit], state[fit])
  error = ((state[test] - model.predict(message[test])) ** 2).mean(0)
  spread = state[test].var(0)
  never = spread < 1e-12
  found = 1.0 - error / np.where(never, 1.0, spread)
  return np.where(never, 0.0, found).reshape(log.own.shape[1:])


def embedded_messages(
  log: MessageLog, *, seed: int = 0, most: int = 300
) -> np.ndarray:
  """Lays all messages of a step out on a plane, near ones near (t-SNE).

  Args:
    log: of messages.
    seed: of the embedding and of the steps that are taken.
    most: steps at most, >= 2.

  Returns:
    f[B, 3]: places, and which step of the log it is.

  Raises:
    ImportError: if scikit-learn is not installed.
    ValueError: if the log is too short or a number is out of range.
  """
  checks.integer(seed, name='seed', low=0)
  checks.integer(most, name='most', low=2)
  if len(log.message) < 2:
    raise ValueError(
      f'log has {len(log.message)} steps: an embedding needs at least 2.'
    )
  manifold = extras.require('sklearn.manifold', 'an embedding of messages')
  size = len(log.message)
  rng = np.random.default_rng(seed)
  taken = np.sort(rng.permutation(size)[: min(size, most)])
  flat = log.message.reshape(size, -1)[taken]
  model = manifold.TSNE(
    n_components=2,
    random_state=seed,
    perplexity=min(30.0, max(1.0, (len(taken) - 1) / 3)),
    init='random',
    method='exact',
  )
  return np.concatenate([model.fit_transform(flat), taken[:, None]], axis=1)


def _check_talk(variant):
  if variant.messenger is None or not variant.messenger.length:
    raise ValueError('variant has no messages to log: nobody talks in it.')
