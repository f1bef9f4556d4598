# SPDX-License-Identifier: Apache-2.0
"""What one node is, knows and draws: the frame of synchronous algorithms.

An algorithm is four pure functions of one node. `run_sync` maps them over all
nodes of many graphs, and whoever speaks for a node in a conversation calls the
same functions, so that both give the same answers bit by bit.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp

WORD = 32
# Ranks and numbers have so many bits, which leaves room for signs and marks.
BITS = 30
_MASK = (1 << BITS) - 1


class Facts(NamedTuple):
  """What a node knows before anybody speaks.

  Attributes:
    number: i32[], see `node_number`.
    rank: i32[], distinct numbers of all nodes in random order, see `rank`.
    neighbor_numbers: i32[D], of its neighbors; slots are in the order of
      `neighbors_of`, padding last.
    neighbor_mask: bool[D], which slots are neighbors.
    num_nodes: i32[], n.
    max_degree: i32[], the largest degree of the graph.
    palette: u32[W], a bit for every color from 0 to max_degree; all others are
      zero. W tells how many colors fit.
    num_rounds: i32[], R.
  """

  number: chex.Array
  rank: chex.Array
  neighbor_numbers: chex.Array
  neighbor_mask: chex.Array
  num_nodes: chex.Array
  max_degree: chex.Array
  palette: chex.Array
  num_rounds: chex.Array


class NodeAlgorithm(NamedTuple):
  """A synchronous algorithm, told by what one node does.

  Attributes:
    start: `start(facts, key) -> state`, any tree.
    message: `message(state) -> i32[M]`, small integers that all neighbors are
      sent.
    update: `update(state, facts, messages i32[D, M], mask bool[D], t, key) ->
      state` at delivery t = 1..R; mask tells which neighbors were heard.
    answer: `answer(state, facts) -> i32[]`: the code of an option; of a
      matching the slot of a neighbor, -1 for nobody.
    num_integers: M.
    settled: `settled(state) -> bool[]`: where all nodes of a graph say so, no
      further delivery changes an answer, and they are left out.
  """

  start: Callable[[Facts, chex.PRNGKey], Any]
  message: Callable[[Any], chex.Array]
  update: Callable[..., Any]
  answer: Callable[[Any, Facts], chex.Array]
  num_integers: int = 1
  settled: Callable[[Any], chex.Array] = lambda state: jnp.array(False)


def node_key(
  key: chex.PRNGKey, number: chex.Numeric, t: chex.Numeric
) -> chex.PRNGKey:
  """The key of a node at a time: 0 at the start, t at delivery t.

  Args:
    key: of the run.
    number: of the node, see `Facts`.
    t: 0..R.

  Returns:
    A key that depends neither on padding nor on the order of nodes.
  """
  return jax.random.fold_in(jax.random.fold_in(key, number), t)


def rank(key: chex.PRNGKey, number: chex.Numeric) -> chex.Array:
  """The rank of a node: distinct for distinct numbers, random by key.

  A node computes its own, without knowing others.

  Args:
    key: of the run, shared by all nodes.
    number: i32[], from 0 to 2**30 - 1.

  Returns:
    i32[], in the same range: a bijection drawn by the key.

  Example:
    >>> key = jax.random.key(0)
    >>> len({int(rank(key, number)) for number in range(8)})
    8
  """
  words = jax.random.bits(key, (6,), jnp.uint32)
  x = jnp.asarray(number).astype(jnp.uint32)
  for i in range(3):
    # Each step can be undone: so no two numbers meet.
    x = (x ^ words[2 * i]) & _MASK
    x = (x * (words[2 * i + 1] | 1)) & _MASK
    x = x ^ (x >> (BITS // 2))
  return x.astype(jnp.int32)


def palette(max_degree: chex.Numeric, num_words: int) -> chex.Array:
  """Bits of the colors 0..max_degree.

  Args:
    max_degree: i32[].
    num_words: W, with room for so many colors.

  Returns:
    u32[W].

  Example:
    >>> palette(2, 1).tolist()
    [7]
  """
  first = WORD * jnp.arange(num_words)
  count = jnp.clip(max_degree + 1 - first, 0, WORD)
  ones = jnp.uint32(0xFFFFFFFF)
  shift = jnp.minimum(WORD - count, WORD - 1).astype(jnp.uint32)
  return jnp.where(count > 0, ones >> shift, jnp.uint32(0))


def num_words(max_degree: int) -> int:
  """Words that hold a bit for each of the colors 0..max_degree."""
  return max_degree // WORD + 1


def draw(key: chex.PRNGKey) -> chex.Array:
  """One random word u32[]; the key is consumed."""
  return jax.random.bits(key, (), jnp.uint32)


def scatter(word: chex.Array, tags: chex.Array) -> chex.Array:
  """Random numbers i32 >= 0 for tags, all of one word.

  Args:
    word: u32[], random.
    tags: i32[...].

  Returns:
    i32[...]: what a tag gets does not depend on the others.
  """
  x = word ^ (tags.astype(jnp.uint32) * jnp.uint32(0x9E3779B1))
  x = (x ^ (x >> 16)) * jnp.uint32(0x85EBCA6B)
  x = (x ^ (x >> 13)) * jnp.uint32(0xC2B2AE35)
  return ((x ^ (x >> 16)) >> 1).astype(jnp.int32)


def pick(
  word: chex.Array, tags: chex.Array, candidates: chex.Array
) -> chex.Array:
  """Picks one of some candidates at random.

  Args:
    word: u32[], random.
    tags: i32[K], of which the choice depends, not on their places.
    candidates: bool[K].

  Returns:
    i32[], its place; -1 if there is none.

  Example:
    >>> tags, there = jnp.arange(3), jnp.array([False, True, False])
    >>> int(pick(jnp.uint32(5), tags, there))
    1
  """
  values = jnp.where(candidates, scatter(word, tags), -1)
  best = candidates & (values == values.max())
  return jnp.where(best, jnp.arange(tags.shape[0], dtype=jnp.int32), -1).max()


def used(colors: chex.Array, mask: chex.Array, num_words: int) -> chex.Array:
  """Bits of the colors of neighbors.

  Args:
    colors: i32[D].
    mask: bool[D], which count.
    num_words: W.

  Returns:
    u32[W].
  """
  bits = jnp.uint32(1) << (colors & (WORD - 1)).astype(jnp.uint32)
  words = [
    jnp.where(mask & (colors >> 5 == w), bits, jnp.uint32(0))
    for w in range(num_words)
  ]
  return jnp.stack(
    [jax.lax.reduce(x, jnp.uint32(0), jax.lax.bitwise_or, (0,)) for x in words]
  )


def lowest(free: chex.Array) -> chex.Array:
  """The lowest of some bits.

  Args:
    free: u32[W], not all zero.

  Returns:
    i32[].

  Example:
    >>> int(lowest(jnp.array([0, 12], jnp.uint32)))
    34
  """
  low = jax.lax.population_count((free & -free) - 1).astype(jnp.int32)
  place = WORD * jnp.arange(free.shape[0], dtype=jnp.int32) + low
  return jnp.where(free != 0, place, WORD * free.shape[0]).min()


def pick_bit(word: chex.Array, free: chex.Array) -> chex.Array:
  """Picks one of some bits at random, alike.

  Args:
    word: u32[], random; its upper half decides.
    free: u32[W].

  Returns:
    i32[], the place of the bit; -1 if there is none.

  Example:
    >>> free = jnp.array([0, 12], jnp.uint32)
    >>> [int(pick_bit(jnp.uint32(w << 31), free)) for w in (0, 1)]
    [34, 35]
  """
  counts = jax.lax.population_count(free).astype(jnp.int32)
  total = counts.sum()
  k = ((word >> 16) * total.astype(jnp.uint32) >> 16).astype(jnp.int32)
  place, found = jnp.int32(-1), jnp.array(False)
  for w in range(free.shape[0]):
    here = ~found & (k < counts[w])
    place = jnp.where(here, WORD * w + _nth_bit(free[w], k), place)
    found, k = found | here, k - counts[w]
  return jnp.where(total > 0, place, -1)


def _nth_bit(word, n):
  """The place of the bit of a word that n lower ones precede."""
  place = jnp.int32(0)
  for half in (16, 8, 4, 2, 1):
    low = word & jnp.uint32((1 << half) - 1)
    count = jax.lax.population_count(low).astype(jnp.int32)
    up = n >= count
    place = place + jnp.where(up, half, 0)
    n = n - jnp.where(up, count, 0)
    word = jnp.where(up, word >> half, low)
  return place
