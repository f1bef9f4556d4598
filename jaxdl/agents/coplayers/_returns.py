# SPDX-License-Identifier: Apache-2.0
"""Advantages and targets of values, from the end of an episode backwards."""

import chex
import jax
import jax.numpy as jnp

from jaxdl.core import checks


def gae(
  rewards: chex.Array,
  values: chex.Array,
  *,
  discount: chex.Numeric,
  decay: chex.Numeric,
) -> chex.Array:
  """Estimates advantages.

  Args:
    rewards: f[T].
    values: f[T + 1]; the last is what comes after the episode is worth, 0 where
      nothing does.
    discount: gamma in [0, 1], may be traced.
    decay: lambda in [0, 1], may be traced.

  Returns:
    f[T].

  Raises:
    ValueError: if a known number is out of range or lengths do not fit.

  Example:
    >>> gae(jnp.ones(3), jnp.zeros(4), discount=1.0, decay=1.0).tolist()
    [3.0, 2.0, 1.0]

  Source: Schulman et al. 2015 (https://arxiv.org/abs/1506.02438), equation 16.
  """
  checks.number(discount, name='discount', low=0.0, high=1.0)
  checks.number(decay, name='decay', low=0.0, high=1.0)
  if jnp.shape(values)[0] != jnp.shape(rewards)[0] + 1:
    raise ValueError(
      f'values must have one entry more than rewards; got '
      f'{jnp.shape(values)[0]} and {jnp.shape(rewards)[0]}.'
    )
  errors = rewards + discount * values[1:] - values[:-1]

  def body(after, error):
    after = error + discount * decay * after
    return after, after

  _, found = jax.lax.scan(body, jnp.zeros_like(errors[0]), errors, reverse=True)
  return found


def lambda_returns(
  rewards: chex.Array,
  values: chex.Array,
  *,
  discount: chex.Numeric,
  decay: chex.Numeric,
) -> chex.Array:
  """Estimates returns: mixtures of bootstrapped sums of all lengths.

  Args:
    rewards: f[T].
    values: f[T + 1], see `gae`.
    discount: gamma.
    decay: lambda.

  Returns:
    f[T].

  Raises:
    ValueError: as `gae`.

  Example:
    >>> lambda_returns(
    ...   jnp.ones(2), jnp.zeros(3), discount=0.5, decay=1.0
    ... ).tolist()
    [1.5, 1.0]
  """
  return values[:-1] + gae(rewards, values, discount=discount, decay=decay)
