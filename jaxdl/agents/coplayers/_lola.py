# SPDX-License-Identifier: Apache-2.0
"""Gradients of memory-one strategies: naive, and aware of learning.

Two players have logits f[5] of cooperation. A naive player follows the gradient
of its own value; one that is aware of learning differentiates through the step
that the other is about to take. Both come with exact values and with sampled
games.
"""

from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp

from jaxdl.agents.coplayers import _arena, _game, _memory_one, _play
from jaxdl.core import checks, keys, types


def strategy_values(
  logits: chex.Array,
  other: chex.Array,
  game: _game.Dilemma,
  *,
  discount: chex.Numeric = 0.96,
) -> chex.Array:
  """Returns discounted sums of payoffs of an endless game.

  Args:
    logits: f[5] of the first player.
    other: f[5] of the second.
    game: payoffs.
    discount: gamma in [0, 1).

  Returns:
    f[2], of both players; 1 / (1 - gamma) times a payoff per round.

  Raises:
    ValueError: if a known discount is out of range.
  """
  found = _memory_one.discounted_returns(
    jax.nn.sigmoid(logits), jax.nn.sigmoid(other), game, discount=discount
  )
  return found / (1 - discount)


def naive_gradients(
  logits: chex.Array, game: _game.Dilemma, *, discount: chex.Numeric = 0.96
) -> chex.Array:
  """Gradients of both players' values in their own logits.

  Args:
    logits: f[2, 5].
    game: payoffs.
    discount: gamma in [0, 1).

  Returns:
    f[2, 5].

  Raises:
    ValueError: if a known discount is out of range.

  Example:
    >>> naive_gradients(jnp.zeros((2, 5)), prisoner()).shape
    (2, 5)
  """

  def own(mine, other):
    return strategy_values(mine, other, game, discount=discount)[0]

  return jax.vmap(jax.grad(own))(logits, logits[::-1])


def lola_gradients(
  logits: chex.Array,
  game: _game.Dilemma,
  *,
  lookahead: chex.Numeric = 1.0,
  discount: chex.Numeric = 0.96,
) -> chex.Array:
  """Gradients of values after the other's next naive step, through that step.

  `d/dx1 V1(x1, x2 + eta dV2/dx2)`, not its first-order expansion.

  Args:
    logits: f[2, 5].
    game: payoffs.
    lookahead: eta >= 0, may be traced; 0 gives `naive_gradients`.
    discount: gamma in [0, 1).

  Returns:
    f[2, 5].

  Raises:
    ValueError: if a known number is out of range.

  Source: Foerster et al. 2018 (https://arxiv.org/abs/1709.04326), equation 5
    without the Taylor expansion.
  """
  checks.number(lookahead, name='lookahead', low=0.0)

  def own(mine, other):
    value = lambda x: strategy_values(mine, x, game, discount=discount)
    ahead = other + lookahead * jax.grad(lambda x: value(x)[1])(other)
    return value(ahead)[0]

  return jax.vmap(jax.grad(own))(logits, logits[::-1])


def dice_objective(
  log_probs: chex.Array,
  rewards: chex.Array,
  *,
  discount: chex.Numeric = 0.96,
) -> chex.Array:
  """Makes a number whose derivatives of any order estimate those of a value.

  Args:
    log_probs: f[B, T], of the actions of all players together, as functions of
      what is differentiated.
    rewards: f[B, T], of one player.
    discount: gamma in [0, 1].

  Returns:
    f[], zero; a game is compared with the mean of the other games of the batch,
    which keeps derivatives unbiased (with B = 1, with nothing).

  Raises:
    ValueError: if a known discount is out of range.

  Source: Farquhar et al. 2019 (https://arxiv.org/abs/1909.10549), with lambda
    one; Foerster et al. 2018 (https://arxiv.org/abs/1802.05098).
  """
  checks.number(discount, name='discount', low=0.0, high=1.0)
  batch, length = rewards.shape
  wide = jnp.result_type(rewards, discount, jnp.float32)

  def body(after, reward):
    after = reward + discount * after
    return after, after

  _, returns = jax.lax.scan(
    body, jnp.zeros((batch,), wide), rewards.T.astype(wide), reverse=True
  )
  returns = returns.T
  others = returns.sum(axis=0, keepdims=True) - returns
  advantages = jax.lax.stop_gradient(returns - others / max(batch - 1, 1))
  past = jnp.cumsum(log_probs, axis=1)
  box = lambda x: jnp.exp(x - jax.lax.stop_gradient(x))
  weights = box(past) - box(past - log_probs)
  fade = discount ** jnp.arange(length)
  return (weights * advantages * fade[None, :]).sum(axis=1).mean()


def _games(first, second, arena, batch_size, key):
  """Games of two players by their logits, B of them."""

  def one(game_key):
    return _play.play(
      arena.game,
      _play.memory_one_policy(jax.nn.sigmoid(first)),
      _play.memory_one_policy(jax.nn.sigmoid(second)),
      num_rounds=arena.num_rounds,
      key=game_key,
    )

  return jax.lax.stop_gradient(jax.vmap(one)(jax.random.split(key, batch_size)))


def _objective(first, second, games, whose, discount):
  """Value of one player on games, as a function of both logits."""

  def log_probs(logits, side):
    sign = 1.0 - 2.0 * side.actions
    # One-hot: gathers have slow gradients.
    here = jax.nn.one_hot(side.observations, 5, dtype=logits.dtype) @ logits
    return jax.nn.log_sigmoid(sign * here)

  both = log_probs(first, games[0]) + log_probs(second, games[1])
  return dice_objective(both, games[whose].rewards, discount=discount)


def sampled_gradients(
  logits: chex.Array,
  arena: _arena.Arena,
  *,
  lookahead: chex.Numeric = 0.0,
  discount: chex.Numeric = 0.96,
  batch_size: int = 128,
  key: chex.PRNGKey,
) -> chex.Array:
  """Estimates `lola_gradients`, or `naive_gradients`, from games.

  The other's step is that of a batch of games, and the value after it that of
  another batch, of games that are played after the step. Games end after T
  rounds, so that a share gamma^T of the value is cut off.

  Args:
    logits: f[2, 5].
    arena: game and T.
    lookahead: eta >= 0, a number (static); 0 is naive (REINFORCE).
    discount: gamma in [0, 1].
    batch_size: games of each kind, >= 2 (static).
    key: consumed.

  Returns:
    f[2, 5].

  Raises:
    ValueError: if a number is out of range.

  Source: Foerster et al. 2018 (https://arxiv.org/abs/1802.05098), LOLA-DiCE.
  """
  checks.number(lookahead, name='lookahead', low=0.0)
  checks.integer(batch_size, name='batch_size', low=2)
  keys.check_key(key)

  def own(mine, other, own_key):
    inner_key, outer_key = jax.random.split(own_key)
    ahead = other
    if lookahead:
      games = _games(mine, other, arena, batch_size, inner_key)
      ahead = other + lookahead * jax.grad(
        lambda x: _objective(mine, x, games, 1, discount)
      )(other)
    games = _games(mine, ahead, arena, batch_size, outer_key)
    return _objective(mine, ahead, games, 0, discount)

  return jax.vmap(jax.grad(own))(logits, logits[::-1], jax.random.split(key, 2))


class StrategyState(NamedTuple):
  """Of two players.

  Attributes:
    logits: f[2, 5], of cooperation after start, CC, CD, DC and DD.
  """

  logits: chex.Array


def logits_policy(params: chex.Array, label: chex.Array) -> _play.Policy:
  """Plays the strategy that has these logits.

  Args:
    params: f[5].
    label: has no effect.

  Returns:
    The policy.
  """
  del label
  return _play.memory_one_policy(jax.nn.sigmoid(params))


def naive(
  arena: _arena.Arena,
  *,
  learning_rate: float = 1.0,
  discount: float = 0.96,
  spread: float = 1.0,
  sampled: bool = False,
  batch_size: int = 128,
) -> types.Algorithm:
  """Two players who follow their own gradients.

  Args:
    arena: game, and the T of sampled games.
    learning_rate: step size, of discounted sums of payoffs.
    discount: gamma in [0, 1).
    spread: standard deviation of the first logits.
    sampled: whether gradients are estimated from games (REINFORCE).
    batch_size: of games.

  Returns:
    The algorithm; `params` of a state are `Players`.

  Raises:
    ValueError: if a number is out of range.
  """
  return lola(
    arena,
    learning_rate=learning_rate,
    lookahead=0.0,
    discount=discount,
    spread=spread,
    sampled=sampled,
    batch_size=batch_size,
  )


def lola(
  arena: _arena.Arena,
  *,
  learning_rate: float = 1.0,
  lookahead: float = 1.0,
  discount: float = 0.96,
  spread: float = 1.0,
  sampled: bool = False,
  batch_size: int = 128,
) -> types.Algorithm:
  """Two players who differentiate through each other's next step.

  Args:
    arena: game, and the T of sampled games.
    learning_rate: step size, of discounted sums of payoffs.
    lookahead: step size of the other that is looked through, >= 0.
    discount: gamma in [0, 1).
    spread: standard deviation of the first logits.
    sampled: whether gradients are estimated from games.
    batch_size: of games, of each kind.

  Returns:
    The algorithm; `params` of a state are `Players`.

  Raises:
    ValueError: if a number is out of range.

  Source: Foerster et al. 2018 (https://arxiv.org/abs/1709.04326).
  """
  checks.number(learning_rate, name='learning_rate', low=0.0)
  checks.number(lookahead, name='lookahead', low=0.0)
  checks.number(discount, name='discount', low=0.0, high=1.0, open_high=True)
  checks.number(spread, name='spread', low=0.0)
  checks.flag(sampled, name='sampled')
  checks.integer(batch_size, name='batch_size', low=2)

  def init(key):
    return StrategyState(spread * jax.random.normal(key, (2, 5)))

  def step(state, cohort, *, key):
    del cohort
    logits = state.logits
    if sampled:
      grads = sampled_gradients(
        logits,
        arena,
        lookahead=lookahead,
        discount=discount,
        batch_size=batch_size,
        key=key,
      )
    else:
      grads = lola_gradients(
        logits, arena.game, lookahead=lookahead, discount=discount
      )
    values = strategy_values(
      logits[0], logits[1], arena.game, discount=discount
    )
    metrics = {
      'value': (1 - discount) * values.mean(),
      'gradient': jnp.sqrt(jnp.square(grads).sum()),
    }
    return StrategyState(logits + learning_rate * grads), metrics

  return checks.algorithm(
    init,
    step,
    lambda state: _arena.Players(state.logits, logits_policy),
    state=StrategyState,
  )
