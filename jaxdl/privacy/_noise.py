# SPDX-License-Identifier: Apache-2.0
"""Steps of private averaging: what one client may say, and the noise on it."""

import chex
import jax
import jax.numpy as jnp

from jaxdl.core import checks, keys, trees, view


def clip_update(
  update: chex.ArrayTree, *, clip: chex.Numeric
) -> tuple[chex.ArrayTree, chex.Array]:
  """Bounds the norm of one client's update over the whole tree.

  Δ min(1, S / |Δ|), in float32 at least. Inside the ball nothing changes, zero
  stays zero, and rounding to narrow leaves does not lead out of the ball: with
  one in bfloat16 an update that is cut ends up to 0.8 % inside. An update with
  an entry that is not finite becomes zero.

  Args:
    update: leaves [...], floating point.
    clip: S > 0, static or traced.

  Returns:
    The tree, same dtypes, and f32[]: 1 if it was in the ball (zero, and what
    became zero, are), else 0.

  Raises:
    TypeError: if a leaf is not floating point.
    ValueError: if there is no leaf, or S is known and not positive.

  Example:
    >>> clip_update(jnp.array([3.0, 4.0]), clip=1.0)
    (Array([0.6, 0.8], dtype=float32), Array(0., dtype=float32))
    >>> clip_update(jnp.array([0.3, 0.4]), clip=1.0)
    (Array([0.3, 0.4], dtype=float32), Array(1., dtype=float32))

  Source: McMahan et al. 2018 (https://arxiv.org/abs/1710.06963), section 3,
  flat clipping.
  """
  check_clip(clip)
  update = view.check_floating(update, name='update')
  if not jax.tree.leaves(update):
    raise ValueError('update has no leaves: there is nothing to clip.')
  acc = trees.common_accumulator(update)
  wide = jax.tree.map(lambda x: x.astype(acc), update)
  finite = jnp.all(
    jnp.stack([jnp.all(jnp.isfinite(x)) for x in jax.tree.leaves(wide)])
  )
  wide = jax.tree.map(lambda x: jnp.where(finite, x, 0), wide)
  # In terms of a power of two, so that the norm of finite entries is finite.
  sizes = [jnp.max(jnp.abs(x), initial=0) for x in jax.tree.leaves(wide)]
  unit = trees.power_of_two(jnp.max(jnp.stack(sizes)))
  wide = jax.tree.map(lambda x: x * (1 / unit), wide)
  norm = trees.global_norm(wide)
  inside = norm <= jnp.asarray(clip, acc) / unit
  # An entry that is cast to less than `acc` may be rounded up.
  dtypes = {x.dtype for x in jax.tree.leaves(update)} - {acc}
  step = max((float(jnp.finfo(d).eps) for d in dtypes), default=0.0)
  edge = jnp.asarray(clip, acc) / (1 + step)
  length = jnp.where(inside, 1, norm)
  cut = jax.tree.map(
    lambda x, y: jnp.where(
      inside, jnp.where(finite, x, 0), (y / length * edge).astype(x.dtype)
    ),
    update,
    wide,
  )
  return cut, inside.astype(jnp.float32)


def add_noise(
  tree: chex.ArrayTree, *, stddev: chex.Numeric, key: chex.PRNGKey
) -> chex.ArrayTree:
  """Adds Gaussian noise to every entry.

  Every leaf has a key of its own. Noise is drawn and added in float32
  (float64 for float64 leaves), and rounded to the leaf's dtype after.

  Args:
    tree: leaves [...], floating point.
    stddev: >= 0, static or traced.
    key: consumed; a new one each round.

  Returns:
    The tree, same dtypes.

  Raises:
    TypeError: if a leaf is not floating point, or the key is none.
    ValueError: if `stddev` is known and negative.

  Example:
    >>> add_noise(jnp.ones(2), stddev=0.0, key=jax.random.key(0))
    Array([1., 1.], dtype=float32)
  """
  checks.number(stddev, name='stddev', low=0.0)
  keys.check_key(key)
  tree = view.check_floating(tree, name='tree')
  leaves, structure = jax.tree.flatten(tree)
  if not leaves:
    return tree

  def noisy(x, k):
    acc = trees.accumulator(x.dtype)
    noise = jax.random.normal(k, x.shape, acc) * jnp.asarray(stddev, acc)
    return (x.astype(acc) + noise).astype(x.dtype)

  own = jax.random.split(key, len(leaves))
  return structure.unflatten(map(noisy, leaves, own))


def next_clip(
  clip: chex.Numeric,
  fraction: chex.Numeric,
  *,
  quantile: chex.Numeric = 0.5,
  learning_rate: chex.Numeric = 0.2,
) -> chex.Array:
  """Moves the clipping norm towards a quantile of the updates' norms.

  S exp(-η (b - γ)): it shrinks where more than γ of the clients fit.

  Args:
    clip: S > 0, f32[].
    fraction: b, (noisy) share of the clients whose update was in the ball.
    quantile: γ in [0, 1].
    learning_rate: η >= 0.

  Returns:
    f32[], the norm of the next round.

  Raises:
    ValueError: if a number is known and out of range.

  Example:
    >>> [f'{next_clip(1.0, b):.4f}' for b in (0.0, 0.5, 1.0)]
    ['1.1052', '1.0000', '0.9048']

  Source: Andrew et al. 2021 (https://arxiv.org/abs/1905.03871), section 2.1,
  geometric update.
  """
  check_clip(clip)
  check_following(quantile, learning_rate)
  return jnp.asarray(clip) * jnp.exp(-learning_rate * (fraction - quantile))


def update_noise_multiplier(
  noise_multiplier: float, *, count_noise: float
) -> float:
  """The noise on updates if part of the budget is spent on counting.

  z_Δ = (z^-2 - (2 σ_b)^-2)^-1/2: a sum of updates with noise z_Δ S and a count
  of clients in the ball with noise σ_b together cost what one sum with noise
  z S does.

  Args:
    noise_multiplier: z >= 0 of both together (static).
    count_noise: σ_b >= 0, standard deviation of the noise on the count
      (static).

  Returns:
    z_Δ >= z; 0 if z is.

  Raises:
    ValueError: if a number is out of range, or σ_b <= z / 2, which the count
      alone would cost.

  Example:
    >>> round(update_noise_multiplier(1.0, count_noise=1.0), 6)
    1.154701

  Source: Andrew et al. 2021 (https://arxiv.org/abs/1905.03871), theorem 1.
  """
  check_noise(noise_multiplier)
  checks.number(count_noise, name='count_noise', low=0.0)
  z, sigma = float(noise_multiplier), float(count_noise)
  if z == 0:
    return 0.0
  if 2 * sigma <= z:
    raise ValueError(
      f'noise_multiplier={z} is impossible with count_noise={sigma}: counting '
      'alone costs more, need count_noise > noise_multiplier / 2. Raise '
      'count_noise, which is num_expected / 20 unless given, or expect more '
      'clients.'
    )
  # Not z^-2 - (2 sigma)^-2, which leaves the range for small z.
  return z / (1 - (z / (2 * sigma)) ** 2) ** 0.5


def check_clip(clip: chex.Numeric, *, name: str = 'clip') -> None:
  """Raises ValueError unless a clipping norm is positive and finite."""
  checks.number(clip, name=name, low=0.0, open_low=True)


def check_noise(noise_multiplier: chex.Numeric) -> None:
  """Raises ValueError unless a noise multiplier is at least 0 and finite."""
  checks.number(
    noise_multiplier,
    name='noise_multiplier',
    low=0.0,
  )


def check_following(quantile: chex.Numeric, learning_rate: chex.Numeric):
  """Raises ValueError unless a norm can follow a quantile like that."""
  checks.number(quantile, name='quantile', low=0.0, high=1.0)
  checks.number(learning_rate, name='learning_rate', low=0.0)
