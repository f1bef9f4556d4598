# SPDX-License-Identifier: Apache-2.0
"""What followed an action: advantages and returns, by reverse scans."""

import chex
import jax
import jax.numpy as jnp


def _discounts(done, like, gamma):
  go_on = 1.0 - done.astype(like.dtype)
  extra = like.ndim - go_on.ndim
  return gamma * go_on.reshape(go_on.shape + (1,) * extra)


def gae(
  rewards: chex.Array,
  values: chex.Array,
  last_value: chex.Array,
  done: chex.Array,
  *,
  gamma: chex.Numeric,
  lam: chex.Numeric,
) -> chex.Array:
  """Estimates advantages by an exponential average over horizons.

  With d_t = r_t + gamma V_{t+1} (1 - done_t) - V_t, the advantage is
  A_t = d_t + gamma lam (1 - done_t) A_{t+1}.

  Args:
    rewards: f[T, ...].
    values: f[T, ...], V_t before the step.
    last_value: f[...], V_T.
    done: bool[T] or [T, ...], whether the episode ended with the step; missing
      axes at the end are those of agents.
    gamma: discount.
    lam: lambda, 0 for one step, 1 for Monte Carlo.

  Returns:
    f[T, ...], to which `values` may be added for targets; of the dtype of
    rewards and values, summed in float32 or more.

  Example:
    >>> zeros = jnp.zeros(3)
    >>> gae(jnp.array([1.0, 2.0, 3.0]), zeros, 0.0,
    ...     jnp.array([False, True, False]), gamma=0.5, lam=1.0).tolist()
    [2.0, 2.0, 3.0]

  Source: Schulman et al. 2016 (https://arxiv.org/abs/1506.02438), eq. 16.
  """
  dtype = jnp.result_type(float, rewards, values, last_value)
  wide = jnp.promote_types(dtype, jnp.float32)
  rewards, values, last_value = (
    jnp.asarray(x, wide) for x in (rewards, values, last_value)
  )
  discounts = _discounts(done, rewards, gamma).astype(wide)
  ahead = jnp.concatenate([values[1:], last_value[None]])
  deltas = rewards + discounts * ahead - values

  def body(carry, x):
    delta, discount = x
    carry = delta + (discount * lam).astype(wide) * carry
    return carry, carry.astype(dtype)

  start = jnp.zeros_like(deltas[0])
  both = deltas, jnp.broadcast_to(discounts, deltas.shape)
  return jax.lax.scan(body, start, both, reverse=True)[1]


def lambda_returns(
  rewards: chex.Array,
  values: chex.Array,
  last_value: chex.Array,
  done: chex.Array,
  *,
  gamma: chex.Numeric,
  lam: chex.Numeric,
) -> chex.Array:
  """Returns G_t = r_t + gamma (1 - done_t) ((1 - lam) V_{t+1} + lam G_{t+1}).

  Args:
    rewards: f[T, ...].
    values: f[T, ...], V_t before the step.
    last_value: f[...], V_T, also the return after the last step.
    done: bool[T] or [T, ...].
    gamma: discount.
    lam: lambda, 0 for one step, 1 for what was received.

  Returns:
    f[T, ...].

  Example:
    >>> zeros = jnp.zeros(3)
    >>> lambda_returns(jnp.array([1.0, 2.0, 3.0]), zeros, 0.0,
    ...     jnp.array([False, True, False]), gamma=0.5, lam=1.0).tolist()
    [2.0, 2.0, 3.0]
  """
  args = (rewards, values, last_value, done)
  return values + gae(*args, gamma=gamma, lam=lam)


def monte_carlo_returns(
  rewards: chex.Array, done: chex.Array, *, gamma: chex.Numeric
) -> chex.Array:
  """Returns G_t = r_t + gamma (1 - done_t) G_{t+1}; what is cut counts as over.

  Args:
    rewards: f[T, ...].
    done: bool[T] or [T, ...].
    gamma: discount.

  Returns:
    f[T, ...].

  Example:
    >>> monte_carlo_returns(jnp.array([1.0, 2.0, 3.0]),
    ...     jnp.array([False, True, False]), gamma=0.5).tolist()
    [2.0, 2.0, 3.0]
  """
  none = jnp.zeros_like(rewards)
  return gae(rewards, none, none[0], done, gamma=gamma, lam=1.0)
