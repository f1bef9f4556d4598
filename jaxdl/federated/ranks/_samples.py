# SPDX-License-Identifier: Apache-2.0
"""Who takes part in a round when some clients are malicious."""

import chex
import jax
import jax.numpy as jnp

from jaxdl.core import checks
from jaxdl.data import NO_CLIENT
from jaxdl.local import ClientSample


def num_malicious(fraction: float, num_clients: int) -> int:
  """Clients that are malicious: those of an id below fraction · N.

  Args:
    fraction: in [0, 0.5).
    num_clients: N.

  Returns:
    F, fraction · N rounded up.

  Raises:
    ValueError: if half of the clients or more would be malicious.

  Example:
    >>> num_malicious(0.2, 50)
    10
  """
  n = checks.integer(num_clients, name='num_clients', low=1)
  checks.number(
    fraction, name='malicious_fraction', low=0.0, high=0.5, open_high=True
  )
  found = -int(-round(fraction * n, 9) // 1)
  _check_minority(found, n)
  return found


def _check_minority(count, n):
  if 2 * count >= n and count:
    raise ValueError(
      f'num_malicious={count} of {n} clients are half or more: samples are '
      'redrawn until malicious clients are fewer than half, which may never '
      'end.'
    )


def sample_minority(
  key: chex.PRNGKey,
  round_index: chex.Numeric,
  num_clients: int,
  num_sampled: int,
  *,
  num_malicious: int = 0,
  num_advisors: int = 0,
) -> ClientSample:
  """Draws clients uniformly until malicious ones are fewer than half of them.

  Args:
    key: the run's key; round r uses `fold_in(key, r)`.
    round_index: r, an integer (traced).
    num_clients: N (static).
    num_sampled: M clients without replacement, 1 <= M <= N (static).
    num_malicious: F, the first of all clients, F < N / 2 (static).
    num_advisors: C >= 0 (static): malicious clients outside of the sample are
      added, in random order, until there are C malicious ones altogether. They
      know each other and do not vote.

  Returns:
    M rows of voters, each of weight 1 / M, and then min(C, F) rows of advisors
    of weight zero; rows without a client are masked.

  Raises:
    ValueError: if M exceeds N or half of the clients are malicious.

  Example:
    >>> sample = sample_minority(jax.random.key(0), 0, 5, 3, num_malicious=2)
    >>> int((sample.client_ids < 2).sum()) < 2
    True

  Source: Mozaffari et al. 2021 (https://arxiv.org/abs/2110.04350), code.
  """
  n = checks.integer(num_clients, name='num_clients', low=1)
  m = checks.integer(num_sampled, name='num_sampled', low=1)
  f = checks.integer(num_malicious, name='num_malicious', low=0)
  advisors = checks.integer(num_advisors, name='num_advisors', low=0)
  if m > n:
    raise ValueError(
      f'num_sampled={m} exceeds the {n} clients: without replacement the '
      'cohort can have no more.'
    )
  _check_minority(f, n)
  key = jax.random.fold_in(key, round_index)

  def draw(attempt):
    order = jax.random.permutation(jax.random.fold_in(key, attempt), n)
    return order.astype(jnp.int32)

  def too_many(carry):
    return 2 * jnp.sum(carry[1][:m] < f) >= m

  def again(carry):
    return carry[0] + 1, draw(carry[0] + 1)

  zero = jnp.zeros((), jnp.int32)
  start = (zero, draw(zero))
  _, order = jax.lax.while_loop(too_many, again, start) if f else start
  ids, mask = order[:m], jnp.ones(m, bool)
  extra = min(advisors, f)
  if extra:
    inside = jnp.sum(ids < f)
    # Malicious clients that are left, in the order of the draw.
    place = jnp.where(order < f, jnp.arange(n), n).at[:m].set(n)
    rest = order[jnp.argsort(place)[:extra]]
    count = jnp.minimum(f - inside, jnp.maximum(advisors - inside, 0))
    known = jnp.arange(extra) < count
    ids = jnp.concatenate([ids, jnp.where(known, rest, NO_CLIENT)])
    mask = jnp.concatenate([mask, known])
  weights = jnp.where(jnp.arange(m + extra) < m, 1.0 / m, 0.0)
  return ClientSample(ids, mask, weights, jnp.zeros((), jnp.int32))
