# SPDX-License-Identifier: Apache-2.0
"""Sums of integers behind pairwise masks: steps of secure aggregation.

Real numbers become integers, which are added modulo 2^32. Each pair of clients
u < v shares a stream of random integers that u adds and v subtracts: a message
alone is noise, and of the sum of all nothing remains of the masks, exactly.
"""

from collections.abc import Callable
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np

from jaxdl.core import checks, keys, trees, view
from jaxdl.privacy import _noise

MODULUS_BITS = 32


def quantize(
  update: chex.ArrayTree,
  *,
  num_bits: int = 20,
  clip: chex.Numeric = 1.0,
  key: chex.PRNGKey | None = None,
) -> chex.ArrayTree:
  """Turns one client's numbers into integers from 0 to 2^b - 1.

  q = round((min(max(v, -c), c) + c)(2^b - 1) / (2 c)), half to even. NaN
  counts as zero, which lies half way between two integers. With a key it
  rounds at random instead, right on average.

  Args:
    update: leaves [...], floating point.
    num_bits: b in 1..32 (static). Beyond 24, float32 cannot tell neighbors
      apart.
    clip: c > 0, static or traced.
    key: consumed; None rounds to nearest.

  Returns:
    Leaves u32[...].

  Raises:
    TypeError: if a leaf is not floating point or b is no integer.
    ValueError: if a number is out of range.

  Example:
    >>> quantize(jnp.array([-1.0, -0.2, 0.5, 7.0]), num_bits=2)
    Array([0, 1, 2, 3], dtype=uint32)

  Source: Bonawitz et al. 2017 (ACM CCS), section 4 on inputs in Z_R.
  """
  bits = checks.integer(num_bits, name='num_bits', low=1, high=MODULUS_BITS)
  _noise.check_clip(clip)
  update = view.check_floating(update, name='update')
  leaves, structure = jax.tree.flatten(update)
  if key is not None:
    keys.check_key(key)
  own = [None] * len(leaves)
  if key is not None and leaves:
    own = list(jax.random.split(key, len(leaves)))
  most = 2**bits - 1

  def leaf(x, k):
    acc = trees.accumulator(x.dtype)
    ratio = x.astype(acc) / jnp.asarray(clip, acc)
    ratio = jnp.where(jnp.isnan(ratio), 0, jnp.clip(ratio, -1, 1))
    exact = (ratio + 1) * (most / 2)
    level = jnp.round(exact)
    if k is not None:
      below = jnp.floor(exact)
      # Not floor(exact + draw), which may round up from a level that is met.
      up = jax.random.uniform(k, x.shape, acc) >= 1 - (exact - below)
      level = below + up
    # Before the cast, in the dtype: 2^32 is no u32, nor is 2^b an answer.
    largest = np.asarray(most, acc)
    if float(largest) > most:
      largest = np.nextafter(largest, np.zeros((), acc))
    inner = jnp.clip(level, 0, largest).astype(jnp.uint32)
    return jnp.where(ratio < 1, inner, jnp.uint32(most))

  return structure.unflatten(map(leaf, leaves, own))


def dequantize_sum(
  total: chex.ArrayTree,
  num_terms: chex.Array,
  *,
  num_bits: int = 20,
  clip: chex.Numeric = 1.0,
  dtype: jax.typing.DTypeLike = jnp.float32,
) -> chex.ArrayTree:
  """Reads the sum of numbers from the sum of their integers.

  Σ q · 2 c / (2^b - 1) - n c, the half range taken off in integers, so that
  nothing cancels.

  Args:
    total: leaves u32[...], sums that did not overflow.
    num_terms: n, i32[] or u32[], how many integers were added.
    num_bits: b, as in `quantize` (static).
    clip: c, as in `quantize`.
    dtype: of the result, floating point; float64 if jax has it.

  Returns:
    Leaves f[...]; each number was off by at most c / (2^b - 1).

  Raises:
    ValueError: if a number is out of range.

  Example:
    >>> q = quantize(jnp.array([[0.25], [0.5]]))
    >>> total = dequantize_sum(q.sum(0, dtype=jnp.uint32), 2)
    >>> f'{total[0]:.5f}'
    '0.75000'
  """
  bits = checks.integer(num_bits, name='num_bits', low=1, high=MODULUS_BITS)
  _noise.check_clip(clip)
  most = jnp.uint32(2**bits - 1)
  span = jnp.asarray(num_terms).astype(jnp.uint32) * most  # < 2^32
  odd = span % 2
  # Rounded up, the largest difference is 2^31 - 1.
  half = span // 2 + odd
  acc = trees.accumulator(dtype)
  step = 2 * jnp.asarray(clip, acc) / float(2**bits - 1)

  def leaf(x):
    centered = jax.lax.bitcast_convert_type(x - half, jnp.int32)
    return ((centered.astype(acc) + odd.astype(acc) / 2) * step).astype(dtype)

  return jax.tree.map(leaf, total)


def mask_messages(
  messages: chex.ArrayTree, *, key: chex.PRNGKey
) -> chex.ArrayTree:
  """Adds to each client's integers its masks with all others, modulo 2^32.

  Client u adds the stream of pair (u, v) for v > u and subtracts that of
  (v, u) for v < u. A stream follows from `fold_in(fold_in(key, u), v)`, the
  smaller first, which stands for a seed that only both know.

  Args:
    messages: leaves u32[N, ...].
    key: consumed; a new one each round.

  Returns:
    Leaves u32[N, ...], each evenly distributed alone; their sum is that of
    `messages` modulo 2^32.

  Raises:
    TypeError: if a leaf is no uint32.
    ValueError: if client axes differ.

  Cost: O(N² D) random integers, O(N D) memory: pair after pair.

  Example:
    >>> q = jnp.arange(6, dtype=jnp.uint32).reshape(3, 2)
    >>> sent = mask_messages(q, key=jax.random.key(0))
    >>> bool((sent == q).any()), sent.sum(0, dtype=jnp.uint32)
    (False, Array([6, 9], dtype=uint32))

  Source: Bonawitz et al. 2017 (ACM CCS), section 4.1.
  """
  keys.check_key(key)
  _check_integers(messages, 'messages')
  n = checks.num_clients(messages, name='messages')

  def add(messages, u, v):
    stream = _stream(key, u, v, messages, rows=True)
    both = lambda x, m: x.at[u].add(m).at[v].add(-m)
    return jax.tree.map(both, messages, stream)

  return _over_pairs(add, messages, n)


def unmask_sum(
  total: chex.ArrayTree, present: chex.Array, *, key: chex.PRNGKey
) -> chex.ArrayTree:
  """Takes the masks off a sum to which some clients did not contribute.

  The streams of pairs of which one client is missing are left in the sum of
  the others; the server, which got their seeds, takes them off.

  Args:
    total: leaves u32[...], the sum of the messages of present clients.
    present: bool[N], false for those who dropped out after masks were agreed
      on.
    key: that of `mask_messages`.

  Returns:
    Leaves u32[...], the sum of the present clients' integers modulo 2^32.

  Raises:
    TypeError: if a leaf is no uint32 or `present` not boolean.

  Cost: O(D) random integers for each pair of which one is missing.

  Example:
    >>> q = jnp.arange(6, dtype=jnp.uint32).reshape(3, 2)
    >>> sent = mask_messages(q, key=jax.random.key(0))
    >>> here = jnp.array([True, False, True])
    >>> total = (sent * here[:, None]).sum(0, dtype=jnp.uint32)
    >>> unmask_sum(total, here, key=jax.random.key(0))
    Array([4, 6], dtype=uint32)

  Source: Bonawitz et al. 2017 (ACM CCS), section 4.2, recovered seeds.
  """
  keys.check_key(key)
  _check_integers(total, 'total')
  n = jnp.shape(present)[0] if jnp.ndim(present) else 0
  view.check_mask(present, n)
  present = jnp.asarray(present)

  def take_off(total, u, v):
    def one_missing(total):
      stream = _stream(key, u, v, total, rows=False)
      sign = jnp.where(present[u], jnp.uint32(1), jnp.uint32(2**32 - 1))
      return jax.tree.map(lambda x, m: x - sign * m, total, stream)

    return jax.lax.cond(
      present[u] != present[v], one_missing, lambda x: x, total
    )

  return _over_pairs(take_off, total, n)


def _over_pairs(
  fn: Callable[..., chex.ArrayTree], start: chex.ArrayTree, n: int
) -> chex.ArrayTree:
  """Folds `fn(tree, u, v)` over all u < v < n."""
  first, second = np.triu_indices(n, 1)
  if not len(first):
    return start
  pairs = jnp.asarray(np.stack([first, second], 1), jnp.int32)
  body = lambda tree, pair: (fn(tree, pair[0], pair[1]), None)
  return jax.lax.scan(body, start, pairs)[0]


def _stream(key, u, v, like, *, rows):
  """What the pair u < v adds and subtracts, a row of a stacked tree or all."""
  pair = jax.random.fold_in(jax.random.fold_in(key, u), v)
  leaves, structure = jax.tree.flatten(like)
  own = jax.random.split(pair, len(leaves))
  bits = [
    jax.random.bits(k, x.shape[1:] if rows else x.shape, jnp.uint32)
    for x, k in zip(leaves, own, strict=True)
  ]
  return structure.unflatten(bits)


def _check_integers(tree: Any, name: str) -> None:
  for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
    if jnp.result_type(leaf) != jnp.uint32:
      raise TypeError(
        f'{name}{jax.tree_util.keystr(path)} must be uint32, see quantize; got '
        f'{jnp.result_type(leaf)}.'
      )
