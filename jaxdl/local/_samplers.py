# SPDX-License-Identifier: Apache-2.0
"""Who takes part in a round, and with which weight.

Every sampler is a pure function of the run's key and the round number, so that
a resumed run repeats its cohorts.
"""

import math
import os
from collections.abc import Callable
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np

from jaxdl.core import checks, registry, tables, trees, types
from jaxdl.data import _batching


class ClientSample(NamedTuple):
  """The clients of one round.

  Attributes:
    client_ids: i32[M]; rows of padding hold `NO_CLIENT`.
    mask: bool[M], false for padding.
    weights: f32[M], each client's factor in the sum that forms the update;
      zero for padding.
    num_dropped: i32[], clients that were drawn but did not fit.
  """

  client_ids: chex.Array
  mask: chex.Array
  weights: chex.Array
  num_dropped: chex.Array


def sample_full(
  key: chex.PRNGKey,
  round_index: chex.Numeric,
  num_examples: chex.Array,
  *,
  weighting: str = 'ratio',
  size: int | None = None,
) -> ClientSample:
  """Takes every client.

  Args:
    key: the run's key; unused.
    round_index: unused.
    num_examples: [N], examples per client.
    weighting: `'ratio'` for `n_k / sum(n)`, `'uniform'` for `1 / N`.
    size: rows M >= N after padding (static); N if None.

  Returns:
    The sample; weights sum to one.

  Raises:
    ValueError: if an argument is out of range.

  Example:
    >>> sample_full(jax.random.key(0), 0, jnp.array([1, 3])).weights.tolist()
    [0.25, 0.75]
  """
  del key, round_index
  shares = _shares(num_examples)
  checks.choice(weighting, ('ratio', 'uniform'), name='weighting')
  n = len(shares)
  weights = shares if weighting == 'ratio' else jnp.full((n,), 1 / n)
  ids = jnp.arange(n, dtype=jnp.int32)
  return _pad(ids, jnp.ones((n,), bool), weights, size)


def sample_uniform(
  key: chex.PRNGKey,
  round_index: chex.Numeric,
  num_examples: chex.Array,
  num_sampled: int,
  *,
  weighting: str = 'ratio',
  size: int | None = None,
) -> ClientSample:
  """Draws clients uniformly without replacement.

  Args:
    key: the run's key; round r uses `fold_in(key, r)`.
    round_index: r, an integer (traced).
    num_examples: [N], examples per client.
    num_sampled: m clients, `1 <= m <= N` (static).
    weighting: `'ratio'` for `n_k / sum of n over the cohort`, which is biased
      but sums to one; `'unbiased'` for `p_k N / m`, whose sum varies around
      one; `'uniform'` for `1 / m`.
    size: rows M >= m after padding (static); m if None.

  Returns:
    The sample, in random order.

  Raises:
    ValueError: if the cohort is larger than N or an argument is out of range.

  Example:
    >>> sample = sample_uniform(jax.random.key(0), 0, jnp.ones(5), 2)
    >>> sample.weights.tolist()
    [0.5, 0.5]

  Source: Fraboni et al. 2021 (https://arxiv.org/abs/2105.05883), section 3,
  for the unbiased weights.
  """
  shares = _shares(num_examples)
  checks.choice(weighting, ('ratio', 'unbiased', 'uniform'), name='weighting')
  n = len(shares)
  m = _cohort_size(num_sampled, n)
  key = jax.random.fold_in(key, round_index)
  ids = jax.random.permutation(key, n)[:m].astype(jnp.int32)
  mask = jnp.ones((m,), bool)
  weights = _weights(shares[ids], mask, weighting, n / m)
  return _pad(ids, mask, weights, size)


def sample_multinomial(
  key: chex.PRNGKey,
  round_index: chex.Numeric,
  num_examples: chex.Array,
  num_sampled: int,
  *,
  size: int | None = None,
) -> ClientSample:
  """Draws clients with replacement, in proportion to their examples.

  Each draw weighs `1 / m`, which is unbiased for the example-weighted mean. A
  client may occur several times: keep that in mind when scattering per-client
  state.

  Args:
    key: the run's key; round r uses `fold_in(key, r)`.
    round_index: r, an integer (traced).
    num_examples: [N], examples per client.
    num_sampled: m >= 1 draws (static); may exceed N.
    size: rows M >= m after padding (static); m if None.

  Returns:
    The sample.

  Raises:
    ValueError: if an argument is out of range.

  Example:
    >>> sample_multinomial(
    ...   jax.random.key(0), 0, jnp.array([0, 2]), 3
    ... ).client_ids.tolist()
    [1, 1, 1]

  Source: Li et al. 2020 (https://arxiv.org/abs/1907.02189), scheme I.
  """
  shares = _shares(num_examples)
  m = checks.integer(num_sampled, name='num_sampled', low=1)
  key = jax.random.fold_in(key, round_index)
  # Sums in another order may creep up where a client has nothing: it takes the
  # sum before it, which is then never the first to reach the draw.
  ends = jax.lax.cummax(jnp.where(shares > 0, jnp.cumsum(shares), 0.0))
  draw = ends[-1] * (1 - jax.random.uniform(key, (m,), ends.dtype))
  ids = jnp.searchsorted(ends, draw).astype(jnp.int32)
  return _pad(ids, jnp.ones((m,), bool), jnp.full((m,), 1 / m), size)


def sample_poisson(
  key: chex.PRNGKey,
  round_index: chex.Numeric,
  num_examples: chex.Array,
  rate: float | None = None,
  *,
  num_sampled: int | None = None,
  weighting: str = 'fixed',
  size: int | None = None,
) -> ClientSample:
  """Draws every client independently with the same probability.

  The cohort's size varies (it may be empty), which privacy amplification by
  sampling asks for. The rows hold the mean size plus six deviations and six;
  clients that do not fit are dropped at random and counted.

  Args:
    key: the run's key; round r uses `fold_in(key, r)`, client k of that
      `fold_in(., k)`.
    round_index: r, an integer (traced).
    num_examples: [N], examples per client.
    rate: q in (0, 1] (static); or else
    num_sampled: clients on average, q N (static).
    weighting: `'fixed'` for `1 / (q N)`, `'unbiased'` for `p_k / q`,
      `'ratio'` for `n_k / sum of n over the cohort`.
    size: rows M >= 1 (static); see above if None.

  Returns:
    The sample; `num_dropped` is positive where it did not fit.

  Raises:
    ValueError: if an argument is out of range.

  Example:
    >>> sample_poisson(jax.random.key(0), 0, jnp.ones(2), 1.0).mask.tolist()
    [True, True]

  Source: McMahan et al. 2018 (https://arxiv.org/abs/1710.06963), Algorithm 1.
  """
  shares = _shares(num_examples)
  checks.choice(weighting, ('fixed', 'unbiased', 'ratio'), name='weighting')
  n = len(shares)
  if (rate is None) == (num_sampled is None):
    raise ValueError(
      'poisson needs either rate or num_sampled; got '
      f'rate={rate}, num_sampled={num_sampled}.'
    )
  if rate is None:
    rate = _cohort_size(num_sampled, n) / n
  checks.number(rate, name='rate', low=0.0, high=1.0, open_low=True)
  rate = float(rate)
  if size is None:
    spread = 6 * math.sqrt(n * rate * (1 - rate)) + 6
    size = min(n, math.ceil(n * rate + spread))
  size = checks.integer(size, name='size', low=1)
  key = jax.random.fold_in(key, round_index)
  draw = jax.vmap(lambda k: jax.random.uniform(jax.random.fold_in(key, k)))(
    jnp.arange(n)
  )
  kept = min(size, n)
  _, ids = jax.lax.top_k(-draw, kept)
  num_drawn = jnp.sum(draw < rate, dtype=jnp.int32)
  mask = jnp.arange(kept) < num_drawn  # By rank: draws are compared once.
  if weighting == 'fixed':
    weights = jnp.where(mask, 1 / (rate * n), 0.0)
  else:
    weights = _weights(shares[ids], mask, weighting, 1 / rate)
  sample = _pad(ids.astype(jnp.int32), mask, weights, size)
  return sample._replace(num_dropped=jnp.maximum(num_drawn - kept, 0))


def sample_cyclic(
  key: chex.PRNGKey,
  round_index: chex.Numeric,
  num_examples: chex.Array,
  num_sampled: int,
  *,
  weighting: str = 'ratio',
  size: int | None = None,
) -> ClientSample:
  """Goes through a shuffled list of all clients, then shuffles again.

  A pass takes `ceil(N / m)` rounds and visits every client exactly once; its
  last round is short where m does not divide N.

  Args:
    key: the run's key; pass e uses `fold_in(key, e)`.
    round_index: r, an integer (traced).
    num_examples: [N], examples per client.
    num_sampled: m clients per round, `1 <= m <= N` (static).
    weighting: `'ratio'` for `n_k / sum of n over the cohort`, `'unbiased'` for
      `p_k ceil(N / m)`, whose average over a pass is `p_k`, `'uniform'` for one
      over the size of the cohort.
    size: rows M >= m after padding (static); m if None.

  Returns:
    The sample.

  Raises:
    ValueError: if the cohort is larger than N or an argument is out of range.

  Example:
    >>> key = jax.random.key(0)
    >>> rounds = [sample_cyclic(key, r, jnp.ones(4), 2) for r in range(2)]
    >>> sorted(sum((r.client_ids.tolist() for r in rounds), []))
    [0, 1, 2, 3]
  """
  shares = _shares(num_examples)
  checks.choice(weighting, ('ratio', 'unbiased', 'uniform'), name='weighting')
  n = len(shares)
  m = _cohort_size(num_sampled, n)
  rounds = -(-n // m)
  round_index = jnp.asarray(round_index, jnp.int32)
  order = jax.random.permutation(
    jax.random.fold_in(key, round_index // rounds), n
  )
  slots = round_index % rounds * m + jnp.arange(m, dtype=jnp.int32)
  mask = slots < n
  ids = order[jnp.minimum(slots, n - 1)].astype(jnp.int32)
  weights = _weights(shares[ids], mask, weighting, float(rounds))
  return _pad(ids, mask, weights, size)


def sample_weighted(
  key: chex.PRNGKey,
  round_index: chex.Numeric,
  num_examples: chex.Array,
  num_sampled: int,
  *,
  weighting: str = 'uniform',
  size: int | None = None,
) -> ClientSample:
  """Draws clients without replacement, one after the other by their examples.

  Args:
    key: the run's key; round r uses `fold_in(key, r)`.
    round_index: r, an integer (traced).
    num_examples: [N], examples per client, or any other weight; a client of
      weight zero comes last.
    num_sampled: m clients, `1 <= m <= N` (static).
    weighting: `'uniform'` for `1 / m`, `'ratio'` for `n_k / sum of n over the
      cohort`.
    size: rows M >= m after padding (static); m if None.

  Returns:
    The sample.

  Raises:
    ValueError: if the cohort is larger than N or an argument is out of range.

  Example:
    >>> ids = sample_weighted(
    ...   jax.random.key(0), 0, jnp.array([0, 2, 3]), 2
    ... ).client_ids
    >>> sorted(ids.tolist())
    [1, 2]

  Source: Efraimidis and Spirakis 2006, algorithm A (the largest keys).
  """
  shares = _shares(num_examples)
  checks.choice(weighting, ('uniform', 'ratio'), name='weighting')
  m = _cohort_size(num_sampled, len(shares))
  draw = jax.random.gumbel(jax.random.fold_in(key, round_index), shares.shape)
  scores = jnp.where(shares > 0, jnp.log(shares) + draw, -jnp.inf)
  _, ids = jax.lax.top_k(scores, m)
  mask = jnp.ones((m,), bool)
  weights = _weights(shares[ids], mask, weighting, 1.0)
  return _pad(ids.astype(jnp.int32), mask, weights, size)


def sample_available(
  key: chex.PRNGKey,
  round_index: chex.Numeric,
  num_examples: chex.Array,
  num_sampled: int,
  *,
  trace: Any,
  weighting: str = 'ratio',
  size: int | None = None,
) -> ClientSample:
  """Draws uniformly among the clients that are there in a round.

  Args:
    key: the run's key; round r uses `fold_in(key, r)`.
    round_index: r, an integer (traced).
    num_examples: [N], examples per client.
    num_sampled: m clients at most, `1 <= m <= N` (static).
    trace: who is there: bool[R, N] or a file of that, `.npy` or text of zeros
      and ones, a line per round; round r has line r mod R.
    weighting: `'ratio'` for `n_k / sum of n over the cohort`, `'uniform'` for
      one over the size of the cohort.
    size: rows M >= m after padding (static); m if None.

  Returns:
    The sample; rows are masked where fewer than m clients are there.

  Raises:
    ValueError: if the trace has another form, or as `sample_uniform`.

  Example:
    >>> there = np.array([[1, 0, 1], [0, 1, 0]], bool)
    >>> sample = sample_available(
    ...   jax.random.key(0), 1, jnp.ones(3), 2, trace=there
    ... )
    >>> sample.client_ids.tolist(), sample.mask.tolist()
    ([1, 2147483647], [True, False])
  """
  shares = _shares(num_examples)
  checks.choice(weighting, ('ratio', 'uniform'), name='weighting')
  n = len(shares)
  m = _cohort_size(num_sampled, n)
  there = _trace(trace, n)
  line = jnp.asarray(there)[jnp.asarray(round_index) % len(there)]
  draw = jax.random.uniform(jax.random.fold_in(key, round_index), (n,))
  _, ids = jax.lax.top_k(jnp.where(line, draw, -1.0), m)
  mask = jnp.arange(m) < jnp.sum(line)  # By rank.
  weights = _weights(shares[ids], mask, weighting, 1.0)
  return _pad(ids.astype(jnp.int32), mask, weights, size)


def _trace(trace, n):
  """bool[R, N] of an array or a file."""
  if isinstance(trace, (str, os.PathLike)):
    try:
      values = tables.load_matrix(trace, kinds='biuf')
    except ValueError as error:
      raise ValueError(
        f'trace={str(trace)!r} cannot be read: {error}'
      ) from None
  else:
    values = np.asarray(trace)
  if values.ndim != 2 or values.shape[1] != n or not len(values):
    raise ValueError(
      f'trace must say of {n} clients who is there, a line per round, shape '
      f'[R, {n}]; got {values.shape}.'
    )
  bad = np.argwhere(~np.isin(values, (0, 1)))
  if len(bad):
    r, i = bad[0]
    raise ValueError(
      f'trace must hold zeros and ones; got {values[r, i]} for client {i} in '
      f'round {r}.'
    )
  return values.astype(bool)


SAMPLERS = registry.Registry(
  'sampling',
  {
    'full': sample_full,
    'uniform': sample_uniform,
    'multinomial': sample_multinomial,
    'poisson': sample_poisson,
    'cyclic': sample_cyclic,
    'weighted': sample_weighted,
    'available': sample_available,
  },
  given=('key', 'round_index', 'num_examples'),
)


def client_sampler(
  spec: str, num_examples: chex.Array, **context: Any
) -> Callable[[chex.PRNGKey, chex.Numeric], ClientSample]:
  """Makes a sampler from text.

  Args:
    spec: a part of `SAMPLERS` with its options: 'full',
      'uniform(num_sampled=3, weighting=unbiased)', 'poisson(rate=0.1)'.
    num_examples: [N], examples per client.
    **context: options where the spec does not say them, such as `size`, rows
      after padding; those that a sampler does not take are left out.

  Returns:
    `sample(key, round_index) -> ClientSample`, jittable.

  Raises:
    ValueError: if the name or an option is unknown, missing or out of range;
      raised here, not in the first round.

  Example:
    >>> sample = client_sampler('uniform(num_sampled=3)', jnp.ones(9))
    >>> sample(jax.random.key(0), 0).client_ids.shape
    (3,)
  """
  part = SAMPLERS.part(spec)
  _shares(num_examples)

  def sample(key, round_index):
    return SAMPLERS.bound(part, key, round_index, num_examples, **context)

  jax.eval_shape(sample, jax.eval_shape(lambda: jax.random.key(0)), 0)
  return sample


def gather_cohort(
  stacked: dict[str, Any], mask: chex.Array, sample: ClientSample
) -> types.Cohort:
  """Gathers the data of a round's clients.

  Args:
    stacked: dict of leaves [N, S, ...], as from `stack_clients`.
    mask: bool[N, S], real examples.
    sample: M rows.

  Returns:
    A cohort of M clients; `data` has the leaves [M, S, ...] and `mask: bool[M,
    S]`, which is false throughout for padding clients.

  Raises:
    ValueError: if the client axes differ.

  Example:
    >>> stacked = {'labels': jnp.array([[5], [6]])}
    >>> sample = sample_full(jax.random.key(0), 0, jnp.ones(2))
    >>> gather_cohort(stacked, jnp.ones((2, 1), bool), sample).weights.tolist()
    [0.5, 0.5]
  """
  checks.num_clients({**stacked, 'mask': mask}, name='stacked')
  rows = jnp.where(sample.mask, sample.client_ids, 0)
  data = jax.tree.map(
    lambda x: jnp.take(jnp.asarray(x), rows, axis=0, mode='clip'), stacked
  )
  own = jnp.take(jnp.asarray(mask), rows, axis=0, mode='clip')
  return types.Cohort(
    client_ids=sample.client_ids,
    data={**data, 'mask': own & sample.mask[:, None]},
    mask=sample.mask,
    weights=sample.weights,
  )


def _shares(num_examples: chex.Array) -> chex.Array:
  """Checks counts (if they are concrete) and returns f32[N] summing to one."""
  shape = np.shape(num_examples)
  if len(shape) != 1 or not shape[0]:
    raise ValueError(
      f'num_examples must have shape [N], N >= 1; got shape {shape}.'
    )
  if not isinstance(num_examples, jax.core.Tracer):
    host = np.asarray(num_examples)
    bad = np.flatnonzero(~(np.isfinite(host) & (host >= 0)))
    if bad.size:
      raise ValueError(
        f'num_examples[{bad[0]}] must be finite and not negative; got '
        f'{host[bad[0]]}.'
      )
    if not host.any():
      raise ValueError('num_examples must be positive for some client.')
  counts = jnp.asarray(num_examples).astype(jnp.float32)
  counts = counts / trees.power_of_two(jnp.max(counts))  # Sums stay finite.
  return counts / jnp.sum(counts)


def _cohort_size(num_sampled: Any, n: int) -> int:
  m = checks.integer(num_sampled, name='num_sampled', low=1)
  if m > n:
    raise ValueError(
      f'num_sampled={m} exceeds the {n} clients: without replacement the '
      'cohort can have no more.'
    )
  return m


def _weights(shares, mask, weighting: str, scale: float) -> chex.Array:
  """Weights of the drawn clients from their shares of all examples."""
  if weighting == 'unbiased':
    return jnp.where(mask, shares * scale, 0.0)
  raw = shares if weighting == 'ratio' else jnp.ones_like(shares)
  raw = jnp.where(mask, raw, 0.0)
  total = jnp.sum(raw)
  return jnp.where(total > 0, raw / jnp.where(total > 0, total, 1.0), 0.0)


def _pad(ids, mask, weights, size: int | None) -> ClientSample:
  m = len(ids)
  size = m if size is None else checks.integer(size, name='size', low=1)
  if size < m:
    raise ValueError(f'size={size} is smaller than the cohort of {m} clients.')
  pad = (0, size - m)
  mask = jnp.pad(mask, pad)
  ids = jnp.where(mask, jnp.pad(ids, pad), _batching.NO_CLIENT)
  return ClientSample(
    ids,
    mask,
    jnp.where(mask, jnp.pad(weights.astype(jnp.float32), pad), 0.0),
    jnp.zeros((), jnp.int32),
  )
