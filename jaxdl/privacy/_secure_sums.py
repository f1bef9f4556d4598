# SPDX-License-Identifier: Apache-2.0
"""Sums of clients that the server cannot look at one by one, by name."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np

from jaxdl.core import checks, keys, registry, trees, view
from jaxdl.privacy import _noise, _pairwise


class SecureSum(NamedTuple):
  """A simulation of secure aggregation.

  Attributes:
    apply: `apply(stacked, mask=None, key=None, *, weights=None,
      client_ids=None) -> tree`, the sum over clients whose mask is true.
      `stacked` has leaves [N, ...], floating point; `mask: bool[N]` is false
      for padding and for who dropped out; `weights: i32[N]` from 0 to
      `max_weight` multiply clients; `client_ids: i32[N]` seed random rounding,
      rows by default. Leaves [...] of the same dtypes. Consumes the key.
    integers: `integers(stacked, key=None, *, weights=None, client_ids=None) ->`
      leaves u32[N, ...], what is added, before masks.
    bits: `bits(tree) -> int`, what one client sends up for a message of this
      form (one client's, leaves [...]).
    name: which of `SECURE_SUMS` it is.
    num_clients: N, rows of a cohort, padding too.
    num_bits: b of a number.
    clip: c; entries are cut to [-c, c].
    max_weight: largest weight.
  """

  apply: Callable[..., chex.ArrayTree]
  integers: Callable[..., chex.ArrayTree]
  bits: Callable[[chex.ArrayTree], int]
  name: str
  num_clients: int
  num_bits: int
  clip: float
  max_weight: int


def _pairwise_sum(
  *,
  num_bits: int = 20,
  clip: float = 1.0,
  max_weight: int = 1,
  stochastic: bool = False,
  num_clients: int,
) -> SecureSum:
  """Integers behind pairwise masks: O(N² D) work for the simulation."""
  return _sum_of_integers(
    'pairwise', num_bits, clip, max_weight, stochastic, num_clients
  )


def _plain_sum(
  *,
  num_bits: int = 20,
  clip: float = 1.0,
  max_weight: int = 1,
  stochastic: bool = False,
  num_clients: int,
) -> SecureSum:
  """The same integers without masks: the same sum bit by bit, O(N D) work."""
  return _sum_of_integers(
    'plain', num_bits, clip, max_weight, stochastic, num_clients
  )


SECURE_SUMS = registry.Registry(
  'secure_sum',
  {'pairwise': _pairwise_sum, 'plain': _plain_sum},
  given=('num_clients',),
)


def make_secure_sum(spec: str | SecureSum, *, num_clients: int) -> SecureSum:
  """Builds a simulation of secure aggregation.

  Clients cut entries to [-c, c], turn them into integers of b bits, multiply
  them by their weight and send them modulo 2^32:

  - `pairwise(num_bits, clip, max_weight, stochastic)`: behind masks that each
    pair agreed on. They cancel in the sum of all; those left over by clients
    that dropped out are taken off by the server. O(N² D) random integers.
  - `plain(...)`: without masks. Its sum is bitwise that of `pairwise`, at
    O(N D): for long simulations.

  Sums are exact in integers, so neither order nor masks matter; a number is off
  by c / (2^b - 1) at most, twice that if it is rounded at random
  (`stochastic`, right on average). A server that divides must know the number
  of clients or the sum of their weights.

  Args:
    spec: a part of `SECURE_SUMS` with its options (static); a `SecureSum` for
      as many clients is returned as it is.
    num_clients: N, rows of a cohort (static).

  Returns:
    The sum. `apply` raises ValueError if another number of clients comes or a
    weight is known and out of range, TypeError if one is no integer.

  Raises:
    ValueError: if the name or an option is unknown, a number is out of range,
      or N w (2^b - 1) does not stay below 2^32.

  Example:
    >>> total = make_secure_sum('pairwise(num_bits=16)', num_clients=3)
    >>> rows = jnp.array([[0.5, -0.25], [0.25, 1.0], [0.1, 0.1]])
    >>> here = jnp.array([True, True, False])
    >>> [f'{x:.3f}' for x in total.apply(rows, here, jax.random.key(0))]
    ['0.750', '0.750']
    >>> total.bits(rows[0])
    64

  Source: Bonawitz et al. 2017 (ACM CCS, https://eprint.iacr.org/2017/281),
  section 4: masks and recovery, without the cryptography that shares seeds.
  """
  if isinstance(spec, SecureSum):
    if spec.num_clients != num_clients:
      raise ValueError(
        f'secure_sum is for {spec.num_clients} clients but num_clients='
        f'{num_clients}: make it for as many.'
      )
    return spec
  return SECURE_SUMS.make(spec, num_clients=num_clients)


def _sum_of_integers(
  name, num_bits, clip, max_weight, stochastic, num_clients
) -> SecureSum:
  limits = _pairwise.MODULUS_BITS
  b = checks.integer(num_bits, name='num_bits', low=1, high=limits)
  n = checks.integer(num_clients, name='num_clients', low=1)
  most = checks.integer(max_weight, name='max_weight', low=1)
  _noise.check_clip(clip)
  if not isinstance(stochastic, (bool, np.bool_)):
    raise TypeError(
      f'stochastic must be True or False; got {checks.described(stochastic)}.'
    )
  _check_modulus(n, most, b)

  def integers(stacked, key=None, *, weights=None, client_ids=None):
    stacked = view.check_floating(stacked, name='stacked')
    count = checks.num_clients(stacked, name='stacked')
    if count != n:
      raise ValueError(f'stacked has {count} clients but num_clients={n}.')
    options = {'num_bits': b, 'clip': clip}
    if stochastic:
      ids = jnp.arange(n) if client_ids is None else client_ids
      own = keys.client_keys(key, ids)
      values = jax.vmap(lambda x, k: _pairwise.quantize(x, key=k, **options))(
        stacked, own
      )
    else:
      values = _pairwise.quantize(stacked, **options)
    if weights is None:
      return values
    weights = _checked_weights(weights, n, most)
    return jax.tree.map(lambda q: q * trees.expand(weights, q), values)

  def apply(stacked, mask=None, key=None, *, weights=None, client_ids=None):
    masks_key = rounding_key = None
    if stochastic or name == 'pairwise':
      keys.check_key(key)
      masks_key, rounding_key = jax.random.split(key)
    values = integers(
      stacked, rounding_key, weights=weights, client_ids=client_ids
    )
    mask = view.check_mask(mask, n)
    sent = values
    if name == 'pairwise':
      sent = _pairwise.mask_messages(values, key=masks_key)
    if mask is None:
      total = _added(sent)
    else:
      total = _added(jax.tree.map(
        lambda q: jnp.where(trees.expand(mask, q), q, jnp.uint32(0)), sent
      ))  # fmt: skip
      if name == 'pairwise':
        total = _pairwise.unmask_sum(total, mask, key=masks_key)
    terms = jnp.ones(n, jnp.uint32)
    if weights is not None:
      terms = _checked_weights(weights, n, most)
    if mask is not None:
      terms = jnp.where(mask, terms, jnp.uint32(0))
    terms = jnp.sum(terms, dtype=jnp.uint32)
    return jax.tree.map(
      lambda q, x: _pairwise.dequantize_sum(
        q, terms, num_bits=b, clip=clip, dtype=jnp.result_type(x)
      ),
      total,
      stacked,
    )

  def bits(tree):
    return limits * sum(math.prod(np.shape(x)) for x in jax.tree.leaves(tree))

  return SecureSum(apply, integers, bits, name, n, b, float(clip), most)


def _added(tree):
  return jax.tree.map(lambda q: jnp.sum(q, axis=0, dtype=jnp.uint32), tree)


def _check_modulus(n, most, b):
  if n * most * (2**b - 1) < 2**_pairwise.MODULUS_BITS:
    return
  what = f'{n} clients × ' + (f'weight {most} × ' if most > 1 else '')
  fits = max(
    (k for k in range(1, b) if n * most * (2**k - 1) < 2**32), default=0
  )
  remedy = f'num_bits={fits} is the most that fits' if fits else 'take fewer'
  raise ValueError(
    f'{what}{b} bits exceed 32-bit modulus: {remedy}, need num_clients * '
    'max_weight * (2**num_bits - 1) < 2**32.'
  )


def _checked_weights(weights: Any, n: int, most: int) -> chex.Array:
  """u32[N], values cut to the range where they are not known."""
  if not jnp.issubdtype(jnp.result_type(weights), jnp.integer):
    raise TypeError(
      'weights of a secure sum must be integers; got '
      f'{jnp.result_type(weights)}.'
    )
  if jnp.shape(weights) != (n,):
    raise ValueError(
      f'weights must have shape [{n}]; got {jnp.shape(weights)}.'
    )
  if not isinstance(weights, jax.core.Tracer):
    values = checks.host_array(weights, name='weights')
    bad = (values < 0) | (values > most)
    if bad.any():
      first = int(np.argmax(bad))
      raise ValueError(
        f'weights must lie in 0..max_weight={most}; client {first} has '
        f'{values[first]}: raise max_weight, or scale them down.'
      )
  return jnp.clip(jnp.asarray(weights), 0, most).astype(jnp.uint32)
