# SPDX-License-Identifier: Apache-2.0
"""Predictive policy improvement: a policy tilted by its model's futures."""

from typing import Any

import chex
import jax
import jax.numpy as jnp

from jaxdl.agents.coplayers import _game, _play, _worlds
from jaxdl.core import checks, keys


def improved_policy(
  logits: chex.Array, values: chex.Array, beta: chex.Numeric
) -> chex.Array:
  """Tilts a policy toward actions of high value, in log space.

  `pi(a) = p(a) exp(beta Q(a)) / Z` is the policy that maximizes
  `E_pi Q - KL(pi || p) / beta`, whose largest value is `log Z / beta`.

  Args:
    logits: f[..., A] of the policy p.
    values: f[..., A], Q.
    beta: >= 0, may be traced; infinity takes the best action that p allows.

  Returns:
    f[..., A], log-probabilities of pi.

  Raises:
    ValueError: if a known beta is negative, or the actions differ in number.

  Example:
    >>> tilted = improved_policy(jnp.zeros(2), jnp.array([1.0, 0.0]), 2.0)
    >>> (tilted[0] - tilted[1]).round(4).tolist()
    2.0

  Source: Weis et al. 2026 (https://arxiv.org/abs/2602.16301), improved policy.
  """
  checks.number(beta, name='beta', low=0.0, finite=False)
  if jnp.shape(logits)[-1:] != jnp.shape(values)[-1:]:
    raise ValueError(
      'values must have one entry for each of the logits; got shapes '
      f'{jnp.shape(values)} and {jnp.shape(logits)}.'
    )
  log_probs = jax.nn.log_softmax(logits)
  allowed = log_probs > -jnp.inf
  best = jnp.where(allowed, values, -jnp.inf).max(axis=-1, keepdims=True)
  # Differences first: infinite beta times zero is no number.
  gap = jnp.where(allowed, values - best, 0.0)
  tilt = jnp.where(gap < 0, beta * gap, 0.0)
  return jax.nn.log_softmax(jnp.where(allowed, log_probs + tilt, -jnp.inf))


def mc_returns(
  model: _worlds.WorldModel,
  params: Any,
  carry: Any,
  *,
  horizon: int = 15,
  num_rollouts: int = 16,
  key: chex.PRNGKey,
) -> chex.Array:
  """Imagines what follows each action.

  An action is forced, then the model plays both sides: observations and its
  own actions are drawn from it, rewards are its guesses. Both actions meet the
  same random numbers.

  Args:
    model: of the game.
    params: of `model.ready`.
    carry: of `model.see`.
    horizon: rounds after the one in which the action is forced, >= 1 (static).
    num_rollouts: per action, >= 1 (static).
    key: consumed.

  Returns:
    f[num_rollouts, 2], sums of horizon + 1 rewards after cooperation and after
    defection, undiscounted.

  Raises:
    ValueError: if a number is out of range.

  Cost: 2 num_rollouts (horizon + 1) rounds of the model.
  """
  horizon = checks.integer(horizon, name='horizon', low=1)
  count = checks.integer(num_rollouts, name='num_rollouts', low=1)
  keys.check_key(key)

  drawn = jax.random.uniform(key, (count, horizon + 1, 2))
  return _imagined(model, params, carry, drawn)


def _imagined(model, params, carry, drawn):
  """Returns of rollouts that follow given random numbers, f[num, rounds, 2]."""

  def imagine(action, own):
    def body(loop, uniforms):
      carry, logits, total = loop
      observation = _choose(logits, uniforms[0])
      carry, reward, own = model.see(params, carry, observation)
      action, _ = _play.draw_action(own, uniforms[1])
      carry, logits = model.act(params, carry, action)
      return (carry, logits, total + reward), None

    begin = (*model.act(params, carry, action), jnp.zeros(()))
    (_, _, total), _ = jax.lax.scan(body, begin, own)
    return total

  both = jax.vmap(imagine, (0, None))
  return jax.vmap(both, (None, 0))(jnp.arange(2), drawn)


def _choose(logits, uniform):
  """An index by a random number; never one of probability zero."""
  up_to = jnp.cumsum(jax.nn.softmax(logits))
  return (uniform * up_to[-1] >= up_to).sum().astype(jnp.int32)


def mc_q_values(
  model: _worlds.WorldModel,
  params: Any,
  carry: Any,
  *,
  horizon: int = 15,
  num_rollouts: int = 16,
  key: chex.PRNGKey,
) -> chex.Array:
  """Estimates the values of both actions by rollouts inside a model.

  Args:
    model: of the game.
    params: of `model.ready`.
    carry: of `model.see`.
    horizon: rounds after the one in which the action is forced, >= 1 (static).
    num_rollouts: per action, >= 1 (static).
    key: consumed.

  Returns:
    f[2], means of `mc_returns`.

  Raises:
    ValueError: if a number is out of range.

  Source: Weis et al. 2026 (https://arxiv.org/abs/2602.16301); the number of
    rollouts is not stated there.
  """
  found = mc_returns(
    model,
    params,
    carry,
    horizon=horizon,
    num_rollouts=num_rollouts,
    key=key,
  )
  return found.mean(axis=0)


def planning_policy(
  model: _worlds.WorldModel,
  params: Any,
  game: _game.Dilemma,
  *,
  beta: chex.Numeric = 0.01,
  horizon: int = 15,
  num_rollouts: int = 16,
  label: chex.Array | None = None,
) -> _play.Policy:
  """Plays the improved policy of a model.

  Args:
    model: of the game.
    params: of `model.init` or `model.fit`.
    game: payoffs, of which the real rewards come.
    beta: >= 0, may be traced.
    horizon: see `mc_q_values`.
    num_rollouts: see `mc_q_values`; 0 plays the model's own policy.
    label: f[K], who the other is.

  Returns:
    The policy.

  Raises:
    ValueError: if a number is out of range.
  """
  checks.number(beta, name='beta', low=0.0, finite=False)
  checks.integer(horizon, name='horizon', low=1)
  checks.integer(num_rollouts, name='num_rollouts', low=0)
  params = model.ready(params)

  size = num_rollouts * (horizon + 1) * 2

  def step(carry, observation, *, key):
    drawn = jax.random.uniform(key, (size + 1,))
    reward = _game.reward_of(game, observation)
    carry, _, logits = model.see(params, carry, observation, reward)
    if num_rollouts:
      shaped = drawn[1:].reshape(num_rollouts, horizon + 1, 2)
      values = _imagined(model, params, carry, shaped).mean(axis=0)
      logits = improved_policy(logits, values, beta)
    action, log_prob = _play.draw_action(logits, drawn[0])
    carry, _ = model.act(params, carry, action)
    return carry, action, log_prob

  return _play.Policy(model.start(params, label), step)
