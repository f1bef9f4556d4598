# SPDX-License-Identifier: Apache-2.0
"""Samples that every node derives for itself, by hashing."""

import hashlib
import math
from collections.abc import Sequence
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp

from jaxdl.core import checks, keys

THRESHOLDS = ('ceil', 'floor')


def sample_order(node_ids: Sequence[str], round: int) -> list[str]:
  """Sorts nodes by the hash of their identity and the round.

  Args:
    node_ids: distinct texts.
    round: k.

  Returns:
    The same ids, by the MD5 digest of '<id>-<k>', ascending. The order of the
    input does not matter.

  Raises:
    ValueError: if an id occurs twice.

  Example:
    >>> ''.join(sample_order([str(i) for i in range(10)], 1))
    '6542879031'

  Source: de Vos et al. 2023 (https://arxiv.org/abs/2302.13837), sampling.
  """
  if len(set(node_ids)) != len(node_ids):
    seen: set[str] = set()
    twice = next(i for i in node_ids if i in seen or seen.add(i))
    raise ValueError(f'node_ids must differ; {twice!r} occurs twice.')

  def digest(node_id):
    text = f'{node_id}-{round}'.encode()
    return hashlib.md5(text, usedforsecurity=False).digest()

  return sorted(sorted(node_ids), key=digest)


def sample_scores(
  key: chex.PRNGKey, round: chex.Numeric, num_nodes: int
) -> chex.Array:
  """Hashes (node, round) on the device, in place of MD5.

  Args:
    key: known to all nodes; consumed.
    round: k, integer; may be traced.
    num_nodes: N (static).

  Returns:
    u32[N]; the sample of the round are the nodes with the smallest scores.
  """
  n = checks.integer(num_nodes, name='num_nodes', low=1)
  words = keys.client_keys(jax.random.fold_in(key, round), jnp.arange(n))
  return jax.random.key_data(words)[:, 0]


class Sample(NamedTuple):
  """Who was found.

  Attributes:
    index: i32[S], nodes in the order of their scores.
    valid: bool[S], false where fewer than S nodes answered.
    num_pings: i32[], nodes that were asked, those offline included.
  """

  index: chex.Array
  valid: chex.Array
  num_pings: chex.Array


def select_sample(
  scores: chex.Array,
  candidate: chex.Array,
  online: chex.Array,
  sample_size: int,
) -> Sample:
  """Takes the first responsive candidates in the order of their scores.

  Args:
    scores: u32[N] or any other sortable numbers.
    candidate: bool[N], who may be sampled.
    online: bool[N], who answers.
    sample_size: S (static), 1 <= S <= N.

  Returns:
    The sample. Every candidate up to the last one taken is pinged; if fewer
    than S are online, every candidate is.

  Raises:
    ValueError: if shapes differ or S is out of range.

  Example:
    >>> scores = jnp.array([5, 1, 3, 2], jnp.uint32)
    >>> online = jnp.array([True, True, True, False])
    >>> found = select_sample(scores, jnp.ones(4, bool), online, 2)
    >>> found.index.tolist(), int(found.num_pings)
    ([1, 2], 3)
  """
  n = scores.shape[0]
  for name, x in (('candidate', candidate), ('online', online)):
    if x.shape != (n,):
      raise ValueError(f'{name} must be bool[{n}]; got shape {x.shape}.')
  s = checks.integer(sample_size, name='sample_size', low=1, high=n)
  place = jnp.arange(n, dtype=jnp.int32)
  _, _, order = jax.lax.sort((~candidate, scores, place), num_keys=2)
  answers = (candidate & online)[order]
  rank = jnp.cumsum(answers.astype(jnp.int32))
  taken = answers & (rank <= s)
  # Where each of the S answers stands in the order; N if there is none.
  spots = jnp.full((s,), n, jnp.int32)
  spots = spots.at[jnp.where(taken, rank - 1, s)].set(place, mode='drop')
  valid = spots < n
  index = order[jnp.minimum(spots, n - 1)]
  num_candidates = jnp.sum(candidate, dtype=jnp.int32)
  num_pings = jnp.where(valid[-1], spots[-1] + 1, num_candidates)
  return Sample(index, valid, num_pings)


def required_models(
  sample_size: int, success_fraction: float, *, rule: str = 'ceil'
) -> int:
  """Counts the models that an aggregator waits for.

  Args:
    sample_size: s >= 1.
    success_fraction: sf in (0, 1].
    rule: 'ceil' waits for s sf as a real number (first version), 'floor' for
      its integer part (later versions), but for one model at least.

  Returns:
    The number.

  Raises:
    ValueError: if an argument is out of range.

  Example:
    >>> required_models(10, 0.85), required_models(10, 0.85, rule='floor')
    (9, 8)
  """
  s = checks.integer(sample_size, name='sample_size', low=1)
  checks.number(
    success_fraction,
    name='success_fraction',
    low=0.0,
    high=1.0,
    open_low=True,
  )
  checks.choice(rule, THRESHOLDS, name='rule')
  product = round(s * success_fraction, 9)  # 10 * 0.7 is a little above 7.
  return max(math.ceil(product) if rule == 'ceil' else math.floor(product), 1)
