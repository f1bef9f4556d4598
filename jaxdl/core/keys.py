# SPDX-License-Identifier: Apache-2.0
"""Randomness: one stream per client identity, never per row."""

import math

import chex
import jax
import jax.extend
import jax.numpy as jnp


def check_key(key: chex.PRNGKey, *, name: str = 'key') -> None:
  """Checks that a key is typed and safe under vmap.

  Args:
    key: what `jax.random.key` makes.
    name: the argument's name, for the message.

  Raises:
    TypeError: if it is missing or a legacy uint32 key.
    ValueError: if it is an `rbg` key: under vmap those draw for the whole
      batch from the first key only.
  """
  if key is None:
    raise TypeError(f'{name} is required: pass jax.random.key(seed).')
  dtype = getattr(key, 'dtype', None)
  if dtype is None or not jnp.issubdtype(dtype, jax.dtypes.prng_key):
    raise TypeError(
      f'{name} must be a typed key, made by jax.random.key(seed); got '
      f'{type(key).__name__ if dtype is None else dtype}.'
    )
  impl = str(jax.random.key_impl(key))
  if 'rbg' in impl:
    raise ValueError(
      f'{name} uses the {impl} generator, which is wrong under vmap: use '
      'threefry2x32.'
    )


def client_keys(key: chex.PRNGKey, client_ids: chex.Array) -> chex.PRNGKey:
  """One key per client, bound to its identity.

  Padding, reordering and sharding of the cohort do not change what a client
  draws.

  Args:
    key: this round's key; consumed.
    client_ids: i32[N].

  Returns:
    keys[N].

  Example:
    >>> a = client_keys(jax.random.key(0), jnp.arange(3))
    >>> b = client_keys(jax.random.key(0), jnp.array([2]))
    >>> bool(a[2] == b[0])
    True
  """
  check_key(key)
  return jax.vmap(lambda i: jax.random.fold_in(key, i))(client_ids)


def bits(key: chex.PRNGKey, shape: tuple[int, ...]) -> chex.Array:
  """Random words, by half of the work of `jax.random.bits`.

  That function makes one word of the two that a block of Threefry has, their
  sum modulo two; here the first half of the words are the first ones of all
  blocks, along the first axis, and the others the second ones.

  Args:
    key: consumed.
    shape: of what is drawn (static).

  Returns:
    u32[*shape], the same on any number of devices.

  Raises:
    TypeError, ValueError: see `check_key`.

  Example:
    >>> key = jax.random.key(0)
    >>> words = bits(key, (4, 3))
    >>> both = words[:2] ^ words[2:]
    >>> bool((both == jax.random.bits(key, (2, 3))).all())
    True

  Source: Salmon et al. 2011, Parallel random numbers: as easy as 1, 2, 3.
  """
  check_key(key)
  rest = math.prod(shape[1:])
  if not shape or math.prod(shape) >= 2**32:
    return jax.random.bits(key, shape)
  half = (-(-shape[0] // 2), *shape[1:])
  count = jax.lax.broadcasted_iota(jnp.uint32, (half[0], rest), 0)
  count = count * jnp.uint32(rest)
  count += jax.lax.broadcasted_iota(jnp.uint32, (half[0], rest), 1)
  first, second = jax.random.key_data(key)
  words = jax.extend.random.threefry2x32_p.bind(
    first, second, jnp.zeros_like(count), count
  )
  return jnp.concatenate(words).reshape(-1, *shape[1:])[: shape[0]]
