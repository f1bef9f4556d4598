# SPDX-License-Identifier: Apache-2.0
"""Corruptions that know nothing of the other clients.

The first group changes what an attacker would have sent honestly (`own`), the
second ignores it and sends noise or constants of the right shape.
"""

from collections.abc import Callable

import chex
import jax
import jax.numpy as jnp

from jaxdl.attacks import _facts, _honest
from jaxdl.core import checks, keys, registry, trees, view


@registry.known(_facts.Facts(reads_own=True))
def bit_flip(
  own: chex.ArrayTree, *, scale: chex.Numeric = 1.0
) -> chex.ArrayTree:
  """Sends the negative of each attacker's own vector.

  Unlike `sign_flip`, needs no knowledge of other clients.

  Args:
    own: what attackers would send if they were honest, leaves [F, ...],
      floating point.
    scale: factor on the negative; Python number or traced.

  Returns:
    Leaves [F, ...], -scale * own, dtypes of the input.

  Raises:
    ValueError, TypeError: if `own` is malformed or `scale` is not a number.

  Example:
    >>> bit_flip(jnp.array([[1.0, -2.0]]))
    Array([[-1.,  2.]], dtype=float32)

  Source: Karimireddy et al. 2022 (https://arxiv.org/abs/2006.09365), bit
  flipping.
  """
  _check_own(own)
  checks.number(scale, name='scale')
  return jax.tree.map(
    lambda x: (-scale * x.astype(trees.accumulator(x.dtype))).astype(x.dtype),
    own,
  )


@registry.known(_facts.Facts(reads_own=True))
def reverse(
  own: chex.ArrayTree, *, scale: chex.Numeric = 10.0
) -> chex.ArrayTree:
  """Sends each attacker's own vector reversed and enlarged.

  For the reversed mean of the honest clients use `sign_flip` with a scale.

  Args:
    own: leaves [F, ...], floating point.
    scale: factor on the negative; Python number or traced.

  Returns:
    Leaves [F, ...], -scale * own.

  Raises:
    ValueError, TypeError: if `own` is malformed or `scale` is not a number.

  Example:
    >>> reverse(jnp.array([[1.0, -2.0]]))
    Array([[-10.,  20.]], dtype=float32)

  Source: Damaskinos et al. 2019 (AggregaThor), reversed gradient.
  """
  return bit_flip(own, scale=scale)


@registry.known(_facts.Facts(reads_own=True))
def drop_coordinates(
  own: chex.ArrayTree, *, key: chex.PRNGKey, fraction: chex.Numeric = 0.1
) -> chex.ArrayTree:
  """Zeroes a random share of each attacker's own coordinates.

  A lossy link rather than an adversary. Every coordinate is lost on its own,
  so the share is met on average.

  Args:
    own: leaves [F, ...], floating point.
    key: consumed; attacker k draws from stream k.
    fraction: probability that a coordinate is lost, in [0, 1]; may be traced.

  Returns:
    Leaves [F, ...].

  Raises:
    ValueError, TypeError: if `own`, `key` or `fraction` is malformed.

  Example:
    >>> drop_coordinates(jnp.ones((1, 2)), key=jax.random.key(0), fraction=1.0)
    Array([[0., 0.]], dtype=float32)

  Source: Almasi et al. 2024 (https://arxiv.org/abs/2302.05865), experiments;
  their code discards the result of the zeroing, here it takes place.
  """
  _check_own(own)
  checks.number(fraction, name='fraction', low=0.0, high=1.0)
  count = checks.num_clients(own, name='own')

  def draw(k, shape, dtype):
    del dtype
    return jax.random.bernoulli(k, jnp.asarray(fraction, float), shape)

  lost = draw_rows(draw, own, key, count)
  return jax.tree.map(
    lambda x, out: jnp.where(out, jnp.zeros((), x.dtype), x), own, lost
  )


def constant(
  honest: chex.ArrayTree, *, num_byzantine: int, value: chex.Numeric = 0.0
) -> chex.ArrayTree:
  """Sends one number in every coordinate: zero, NaN, infinity.

  Args:
    honest: stacked tree that gives shapes and dtypes, leaves [H, ...].
    num_byzantine: attackers F >= 1 (static).
    value: any number, not necessarily finite; may be traced.

  Returns:
    Leaves [F, ...].

  Raises:
    ValueError, TypeError: if `honest` or `num_byzantine` is malformed.

  Example:
    >>> constant(jnp.ones((3, 2)), num_byzantine=1, value=jnp.nan)
    Array([[nan, nan]], dtype=float32)

  Source: Farhadkhani et al. 2023 (https://arxiv.org/abs/2209.10931), code.
  """
  _honest.check(honest, num_byzantine)
  return jax.tree.map(
    lambda x: jnp.full((num_byzantine, *x.shape[1:]), value, x.dtype), honest
  )


def zero(honest: chex.ArrayTree, *, num_byzantine: int) -> chex.ArrayTree:
  """Sends zeros, see `constant`."""
  return constant(honest, num_byzantine=num_byzantine, value=0.0)


def nan(honest: chex.ArrayTree, *, num_byzantine: int) -> chex.ArrayTree:
  """Sends NaN, see `constant`."""
  return constant(honest, num_byzantine=num_byzantine, value=jnp.nan)


def inf(honest: chex.ArrayTree, *, num_byzantine: int) -> chex.ArrayTree:
  """Sends infinities, see `constant`."""
  return constant(honest, num_byzantine=num_byzantine, value=jnp.inf)


def gaussian(
  honest: chex.ArrayTree,
  *,
  num_byzantine: int,
  key: chex.PRNGKey,
  scale: chex.Numeric = 1.0,
  mean: chex.Numeric = 0.0,
  shared: bool = False,
) -> chex.ArrayTree:
  """Sends normal noise.

  Args:
    honest: stacked tree that gives shapes and dtypes, leaves [H, ...].
    num_byzantine: attackers F >= 1 (static).
    key: consumed; attacker k draws from stream k, whatever F.
    scale: standard deviation, >= 0; may be traced.
    mean: mean of every coordinate; may be traced.
    shared: all attackers send the first one's draw (static).

  Returns:
    Leaves [F, ...].

  Raises:
    ValueError, TypeError: if an argument is malformed.

  Example:
    >>> gaussian(jnp.ones((3, 5)), num_byzantine=2, key=jax.random.key(0)).shape
    (2, 5)

  Source: Blanchard et al. 2017 (https://arxiv.org/abs/1703.02757), section 5,
  with scale=200.
  """
  _honest.check(honest, num_byzantine)
  checks.number(scale, name='scale', low=0.0)
  checks.number(mean, name='mean')

  def draw(k, shape, dtype):
    return mean + scale * jax.random.normal(k, shape, dtype)

  return _noise(draw, honest, key, num_byzantine, shared)


def uniform(
  honest: chex.ArrayTree,
  *,
  num_byzantine: int,
  key: chex.PRNGKey,
  scale: chex.Numeric = 1.0,
  low: chex.Numeric = 0.0,
  shared: bool = False,
) -> chex.ArrayTree:
  """Sends uniform noise in [low, low + scale).

  With the defaults all coordinates are positive, so that two attackers agree
  (their cosine is about 0.75) although they draw independently.

  Args:
    honest: stacked tree that gives shapes and dtypes, leaves [H, ...].
    num_byzantine: attackers F >= 1 (static).
    key: consumed; attacker k draws from stream k, whatever F.
    scale: width of the interval, >= 0; may be traced.
    low: its lower end; may be traced.
    shared: all attackers send the first one's draw (static).

  Returns:
    Leaves [F, ...].

  Raises:
    ValueError, TypeError: if an argument is malformed.

  Example:
    >>> uniform(jnp.ones((3, 5)), num_byzantine=2, key=jax.random.key(0)).shape
    (2, 5)

  Source: Almasi et al. 2024 (https://arxiv.org/abs/2302.05865), experiments.
  """
  _honest.check(honest, num_byzantine)
  checks.number(scale, name='scale', low=0.0)
  checks.number(low, name='low')

  def draw(k, shape, dtype):
    return low + scale * jax.random.uniform(k, shape, dtype)

  return _noise(draw, honest, key, num_byzantine, shared)


def _check_own(own):
  view.check_floating(own, name='own')
  checks.num_clients(own, name='own')


def draw_rows(
  draw: Callable[..., chex.Array],
  like: chex.ArrayTree,
  key: chex.PRNGKey,
  count: int,
) -> chex.ArrayTree:
  """Draws rows [count, ...] for each leaf: one stream per row and leaf."""
  streams = keys.client_keys(key, jnp.arange(count))
  leaves, structure = jax.tree.flatten(like)
  rows = []
  for i, x in enumerate(leaves):
    shape, acc = x.shape[1:], trees.accumulator(x.dtype)
    one = lambda k, i=i, s=shape, a=acc: draw(jax.random.fold_in(k, i), s, a)
    rows.append(jax.vmap(one)(streams))
  return jax.tree.unflatten(structure, rows)


def _noise(draw, honest, key, num_byzantine, shared):
  rows = draw_rows(draw, honest, key, 1 if shared else num_byzantine)
  return jax.tree.map(
    lambda r, x: jnp.broadcast_to(
      r.astype(x.dtype), (num_byzantine, *x.shape[1:])
    ),
    rows,
    honest,
  )
