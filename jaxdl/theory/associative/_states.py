# SPDX-License-Identifier: Apache-2.0
"""States to start from."""

import chex
import jax
import jax.numpy as jnp

from jaxdl.core import checks, keys
from jaxdl.theory.associative import _checks


def random_state(key: chex.PRNGKey, num_neurons: int) -> chex.Array:
  """Independent neurons of either sign.

  Args:
    key: consumed.
    num_neurons: N >= 1, static.

  Returns:
    i8[N] of -1 and 1.

  Raises:
    ValueError: if N is out of range.

  Example:
    >>> random_state(jax.random.key(0), 4).shape
    (4,)
  """
  keys.check_key(key)
  n = checks.integer(num_neurons, name='num_neurons', low=1)
  return 2 * jax.random.bernoulli(key, 0.5, (n,)).astype(jnp.int8) - 1


def hierarchical_state(key: chex.PRNGKey, patterns: chex.Array) -> chex.Array:
  """Every neuron follows the first pattern that is not blank there.

  Args:
    key: of neurons that are blank in all; consumed.
    patterns: i8[K, N] of -1, 0, 1, the leading one first.

  Returns:
    i8[N] of -1 and 1; overlaps (1 - d) d^(k - 1) (`hierarchical_amplitudes`).

  Raises:
    ValueError: if patterns are something else.

  Example:
    >>> xi = jnp.array([[1, 0, 0], [-1, -1, 0], [1, 1, 1]], jnp.int8)
    >>> hierarchical_state(jax.random.key(0), xi).tolist()
    [1, -1, 1]

  Source: Agliari et al. 2023 (https://arxiv.org/abs/2308.04106), hierarchy.
  """
  _, n = _checks.patterns(patterns)
  first = jnp.argmax(patterns != 0, axis=0)
  found = jnp.take_along_axis(patterns, first[None], axis=0)[0]
  rest = random_state(key, n)
  return jnp.where(found == 0, rest, found).astype(jnp.int8)


def pure_state(
  key: chex.PRNGKey, patterns: chex.Array, index: chex.Numeric = 0
) -> chex.Array:
  """One pattern, with random neurons where it is blank.

  Args:
    key: of those; consumed.
    patterns: i8[K, N] of -1, 0, 1.
    index: which pattern, may be traced.

  Returns:
    i8[N] of -1 and 1.

  Raises:
    ValueError: if patterns are something else, or the index is out of range.

  Example:
    >>> xi = jnp.array([[1, 1, 1], [-1, -1, 1]], jnp.int8)
    >>> pure_state(jax.random.key(0), xi, 1).tolist()
    [-1, -1, 1]
  """
  k, _ = _checks.patterns(patterns)
  if isinstance(index, jax.Array) and jnp.issubdtype(index.dtype, jnp.integer):
    checks.number(index, name='index', low=0, high=k - 1)
  else:
    checks.integer(index, name='index', low=0, high=k - 1)
  return hierarchical_state(key, jnp.take(patterns, index, axis=0)[None])


def mixture_state(key: chex.PRNGKey, patterns: chex.Array) -> chex.Array:
  """The sign of the sum of all patterns, random where they cancel.

  Args:
    key: of those neurons; consumed.
    patterns: i8[K, N] of -1, 0, 1.

  Returns:
    i8[N] of -1 and 1, equally near to all patterns.

  Raises:
    ValueError: if patterns are something else.

  Example:
    >>> xi = jnp.array([[1, 1, 1], [-1, 1, 1], [-1, -1, 1]], jnp.int8)
    >>> mixture_state(jax.random.key(0), xi).tolist()
    [-1, 1, 1]

  Source: Amit et al. 1985, mixtures of the standard Hopfield network.
  """
  _checks.patterns(patterns)
  total = jnp.sign(jnp.sum(patterns, axis=0, dtype=jnp.int32))
  return hierarchical_state(key, total.astype(jnp.int8)[None])


def noisy_state(
  key: chex.PRNGKey, state: chex.Array, flip: chex.Numeric
) -> chex.Array:
  """A state of which a share of neurons was turned.

  Args:
    key: consumed.
    state: [N] of -1 and 1.
    flip: probability in [0, 1] that a neuron is turned, may be traced.

  Returns:
    i8[N] of -1 and 1.

  Raises:
    ValueError: if the share is out of range, or the state is something else.

  Example:
    >>> noisy_state(jax.random.key(0), jnp.array([1, -1]), 1.0).tolist()
    [-1, 1]
  """
  keys.check_key(key)
  _checks.array(state, 'state')
  shape = jnp.shape(state)
  if len(shape) != 1:
    raise ValueError(f'state must have shape [N]; got {shape}.')
  _checks.state(state, shape[0])
  checks.number(flip, name='flip', low=0.0, high=1.0)
  turned = jax.random.uniform(key, shape) < flip
  return jnp.where(turned, -state, state).astype(jnp.int8)
