# SPDX-License-Identifier: Apache-2.0
"""Patterns with blank entries, noisy examples of them, and overlaps."""

from typing import Any

import chex
import jax
import jax.numpy as jnp

from jaxdl.core import checks, keys
from jaxdl.theory.associative import _checks

# Sums of integers up to here are exact in int32.
MOST = 2**31 - 1


def sample_patterns(
  key: chex.PRNGKey,
  num_patterns: int,
  num_neurons: int,
  dilution: chex.Numeric,
) -> chex.Array:
  """Draws independent patterns with blank entries.

  The same key and more dilution blanks further entries and changes no other
  that stays.

  Args:
    key: consumed.
    num_patterns: K >= 1, static.
    num_neurons: N >= 1, static.
    dilution: share of blank entries in [0, 1), may be traced; d in the paper.

  Returns:
    i8[K, N] of -1, 0 and 1 with probabilities (1 - d) / 2, d, (1 - d) / 2.

  Raises:
    ValueError: if a number is out of range.

  Cost: O(K N), 4 K N bytes on the way.

  Example:
    >>> xi = sample_patterns(jax.random.key(0), 3, 1000, 0.3)
    >>> xi.dtype, bool(jnp.abs(jnp.mean(xi == 0) - 0.3) < 0.03)
    (dtype('int8'), True)

  Source: Agliari et al. 2023 (https://arxiv.org/abs/2308.04106), the model.
  """
  keys.check_key(key)
  k = checks.integer(num_patterns, name='num_patterns', low=1)
  n = checks.integer(num_neurons, name='num_neurons', low=1)
  _checks.dilution(dilution)
  blank, sign = jax.random.split(key)
  kept = jax.random.uniform(blank, (k, n)) >= dilution
  return jnp.where(kept, _signs(sign, (k, n)), jnp.int8(0))


def _signs(key, shape):
  return 2 * jax.random.bernoulli(key, 0.5, shape).astype(jnp.int8) - 1


def sample_examples(
  key: chex.PRNGKey,
  patterns: chex.Array,
  num_examples: int,
  quality: chex.Numeric,
) -> chex.Array:
  """Draws noisy examples of patterns; blank entries stay blank.

  Args:
    key: consumed.
    patterns: i8[K, N] of -1, 0, 1.
    num_examples: M >= 1 of each pattern, static.
    quality: r in (0, 1], may be traced: an entry keeps its sign with
      probability (1 + r) / 2.

  Returns:
    i8[K, M, N].

  Raises:
    ValueError: if a number is out of range, or patterns are something else.

  Cost: O(K M N); `sample_example_sums` needs no such array.

  Example:
    >>> xi = jnp.array([[1, 0, -1]], jnp.int8)
    >>> sample_examples(jax.random.key(0), xi, 2, 1.0).tolist()
    [[[1, 0, -1], [1, 0, -1]]]

  Source: Agliari et al. 2023 (https://arxiv.org/abs/2308.04106), data set.
  """
  keys.check_key(key)
  k, n = _checks.patterns(patterns)
  m = _checks.num_examples(num_examples)
  _checks.quality(quality)
  kept = jax.random.uniform(key, (k, m, n)) < (1.0 + quality) / 2
  flips = jnp.where(kept, jnp.int8(1), jnp.int8(-1))
  return flips * patterns[:, None, :].astype(jnp.int8)


def sum_dtype(num_examples: int) -> Any:
  """The smallest signed integers that hold sums of M entries."""
  for dtype in (jnp.int8, jnp.int16):
    if num_examples <= jnp.iinfo(dtype).max:
      return dtype
  return jnp.int32


def sample_example_sums(
  key: chex.PRNGKey,
  patterns: chex.Array,
  num_examples: int,
  quality: chex.Numeric,
) -> chex.Array:
  """Draws the sum over examples of each pattern, without the examples.

  The number of examples that keep an entry is binomial, so a sum is
  (2 Binomial(M, (1 + r) / 2) - M) times the entry: the law of
  `sample_examples(...).sum(1)`, exactly.

  Args:
    key: consumed.
    patterns: i8[K, N] of -1, 0, 1.
    num_examples: M >= 1 of each pattern, static.
    quality: r in (0, 1], may be traced.

  Returns:
    [K, N] integers in [-M, M], int8 up to M = 127, int16 up to 32767; zero
    where the pattern is blank.

  Raises:
    ValueError: if a number is out of range, or patterns are something else.

  Cost: O(K N), whatever M is.

  Example:
    >>> xi = jnp.array([[1, 0, -1]], jnp.int8)
    >>> sample_example_sums(jax.random.key(0), xi, 40, 1.0).tolist()
    [[40, 0, -40]]

  Source: Agliari et al. 2023 (https://arxiv.org/abs/2308.04106), data set.
  """
  keys.check_key(key)
  shape = _checks.patterns(patterns)
  m = _checks.num_examples(num_examples)
  _checks.quality(quality)
  # The rarer event, for which the sampler is made; none where r = 1.
  wrong = jax.random.binomial(
    key, float(m), jnp.full(shape, (1.0 - quality) / 2)
  )
  kept = m - 2 * jnp.round(wrong).astype(jnp.int32)
  return (kept * patterns.astype(jnp.int32)).astype(sum_dtype(m))


def sample_example_mean(
  key: chex.PRNGKey,
  patterns: chex.Array,
  num_examples: int,
  quality: chex.Numeric,
) -> chex.Array:
  """Draws the average of the examples of each pattern, over r.

  Args:
    key: consumed.
    patterns: i8[K, N] of -1, 0, 1.
    num_examples: M >= 1 of each pattern, static.
    quality: r in (0, 1], may be traced.

  Returns:
    f32[K, N]: given an entry that is not blank, mean that entry and variance
    `dataset_entropy`; eta with a bar in the paper.

  Raises:
    ValueError: as `sample_example_sums`.

  Cost: O(K N).

  Example:
    >>> xi = jnp.array([[1, 0, -1]], jnp.int8)
    >>> sample_example_mean(jax.random.key(0), xi, 3, 1.0).tolist()
    [[1.0, 0.0, -1.0]]

  Source: Agliari et al. 2023 (https://arxiv.org/abs/2308.04106), data set.
  """
  sums = sample_example_sums(key, patterns, num_examples, quality)
  return sums.astype(jnp.float32) / (quality * num_examples)


def dataset_entropy(
  quality: chex.Numeric, num_examples: chex.Numeric
) -> chex.Numeric:
  """How much a data set leaves unknown: rho = (1 - r²) / (M r²).

  Args:
    quality: r in (0, 1].
    num_examples: M >= 1.

  Returns:
    rho; zero if and only if r = 1 or M is infinite.

  Raises:
    ValueError: if a number is out of range.

  Example:
    >>> round(dataset_entropy(0.4, 10), 3), dataset_entropy(0.5, 4)
    (0.525, 0.75)

  Source: Agliari et al. 2023 (https://arxiv.org/abs/2308.04106), data set.
  """
  _checks.quality(quality)
  checks.number(num_examples, name='num_examples', low=1, finite=False)
  return (1.0 - quality**2) / (num_examples * quality**2)


def overlap_sums(vectors: chex.Array, state: chex.Array) -> chex.Array:
  """Inner products of vectors with a state.

  Args:
    vectors: [P, N].
    state: [N] of -1 and 1.

  Returns:
    i32[P] for integers, exact while N times the largest entry is below 2^31;
    f32[P] for numbers.

  Cost: O(P N).
  """
  kind = jnp.int32
  if not jnp.issubdtype(vectors.dtype, jnp.integer):
    kind = jnp.promote_types(vectors.dtype, jnp.float32)
  return jnp.sum(
    vectors.astype(kind) * state.astype(kind)[None], axis=1, dtype=kind
  )


def overlaps(patterns: chex.Array, state: chex.Array) -> chex.Array:
  """How well a state is aligned with each pattern: m = (1 / N) xi . s.

  Args:
    patterns: i8[K, N] of -1, 0, 1; or numbers, as averages of examples.
    state: [N] of -1 and 1.

  Returns:
    f32[K], each in [-(1 - d), 1 - d].

  Raises:
    ValueError: if shapes do not fit or a concrete state has other entries.

  Cost: O(K N); integers are summed exactly.

  Example:
    >>> xi = jnp.array([[1, 0, -1, 1], [0, 1, 1, 0]], jnp.int8)
    >>> overlaps(xi, jnp.array([1, 1, -1, 1])).tolist()
    [0.75, 0.0]

  Source: Agliari et al. 2023 (https://arxiv.org/abs/2308.04106), m_mu.
  """
  _checks.array(patterns, 'patterns')
  shape = jnp.shape(patterns)
  if len(shape) != 2 or 0 in shape:
    raise ValueError(f'patterns must have shape [K, N]; got {shape}.')
  _checks.state(state, shape[1])
  return overlap_sums(patterns, state) / jnp.float32(shape[1])


def losses(
  patterns: chex.Array, state: chex.Array
) -> tuple[chex.Array, chex.Array]:
  """Squared errors of a state and of its negative as copies of patterns.

  L+- = (1 / 2N) sum_i (xi_i -+ s_i)². Their product is ((2 - d') / 2)² - m²
  with the share d' of blank entries that a pattern has, so the energy of the
  storing network is -(N / (2 (1 - d))) sum (((2 - d') / 2)² - L+ L-): what
  lowers the energy lowers the products of losses.

  Args:
    patterns: i8[K, N] of -1, 0, 1.
    state: [N] of -1 and 1.

  Returns:
    f32[K] against the state, f32[K] against its negative; in [0, 2].

  Raises:
    ValueError: if shapes do not fit or concrete entries are others.

  Cost: O(K N); integers are summed exactly.

  Example:
    >>> xi = jnp.array([[1, 0, -1, 1]], jnp.int8)
    >>> [x.tolist() for x in losses(xi, jnp.array([1, 1, -1, 1]))]
    [[0.125], [1.625]]

  Source: Agliari et al. 2023 (https://arxiv.org/abs/2308.04106), losses.
  """
  _, n = _checks.patterns(patterns)
  _checks.state(state, n)
  xi, s = patterns.astype(jnp.int32), state.astype(jnp.int32)[None]
  plus, minus = (jnp.sum((xi - t * s) ** 2, axis=1) for t in (1, -1))
  return plus / jnp.float32(2 * n), minus / jnp.float32(2 * n)
