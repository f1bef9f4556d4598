# SPDX-License-Identifier: Apache-2.0
"""How much the clients talk, round by round, and random ways to do it.

A rate r counts the neighbors that a client listens to besides itself; N - 1
and more is the exact average of all.
"""

import math
from collections.abc import Callable

import chex
import jax
import jax.numpy as jnp
import networkx
import numpy as np
from absl import logging

from jaxdl.core import checks, registry
from jaxdl.mixing import _mixers, _random, graphs

RateFn = Callable[[chex.Numeric], chex.Array]


def _share(round, total):
  """Share of the rounds that is over, at most one."""
  return jnp.minimum(jnp.asarray(round) / total, 1.0)


def _blend(rest, start, end):
  # So that both ends are met exactly: N - 1 is compared with.
  return rest * start + (1 - rest) * end


def _border(share: float, total: int) -> int:
  """The first whole round at or after a share of all."""
  return math.ceil(share * total - 1e-9)


def _fixed(num_rounds: int, start: float) -> RateFn:
  """Is `start` throughout."""
  del num_rounds
  return lambda round: start


def _linear(num_rounds: int, start: float, end: float) -> RateFn:
  """From `start` to `end` in a straight line."""
  return lambda round: _blend(1 - _share(round, num_rounds), start, end)


def _cosine(num_rounds: int, start: float, end: float) -> RateFn:
  """From `start` to `end` along half a wave."""

  def rate(round):
    u = _share(round, num_rounds)
    rest = jnp.where(u < 1, 0.5 * (1 + jnp.cos(jnp.pi * u)), 0.0)
    return _blend(rest, start, end)

  return rate


def _slow_decrease(num_rounds: int, start: float, end: float) -> RateFn:
  """Is end + (start - end) exp(-10 u)."""
  return lambda round: _blend(
    jnp.exp(-10 * _share(round, num_rounds)), start, end
  )


def _truncate(
  num_rounds: int, start: float, end: float, *, point: float = 0.9
) -> RateFn:
  """Is `start` while u < point, then `end`."""
  checks.number(point, name='point', low=0.0, high=1.0)
  first = _border(point, num_rounds)
  return lambda round: jnp.where(jnp.asarray(round) < first, start, end)


def _window(
  num_rounds: int,
  start: float,
  end: float,
  *,
  point: float = 0.9,
  width: float = 0.1,
) -> RateFn:
  """Is `end` for point <= u < point + width and `start` elsewhere."""
  checks.number(point, name='point', low=0.0, high=1.0)
  checks.number(width, name='width', low=0.0, high=1.0, open_low=True)
  first = _border(point, num_rounds)
  stop = _border(point + width, num_rounds)

  def rate(round):
    round = jnp.asarray(round)
    return jnp.where((round >= first) & (round < stop), end, start)

  return rate


SCHEDULES = registry.Registry(
  'schedule',
  {
    'fixed': _fixed,
    'linear': _linear,
    'cosine': _cosine,
    'slow_decrease': _slow_decrease,
    'truncate': _truncate,
    'window': _window,
  },
  given=('num_rounds',),
)


def communication_schedule(
  spec: str,
  num_rounds: int,
  *,
  start: float | None = None,
  end: float | None = None,
) -> RateFn:
  """Makes the rate of communication as a function of the round.

  With u = round / num_rounds: 'fixed' is `start`; 'linear' and 'cosine' go
  from `start` to `end` at u = 1; 'slow_decrease' is end + (start - end)
  exp(-10 u); 'truncate' is `start` while u < point, then `end`; 'window' is
  `end` for point <= u < point + width and `start` elsewhere. Borders are found
  in whole rounds on the host, so a window of 1/10 of 60 rounds has 6. The
  official code returns `end` for u >= 1, which slips a dense round behind
  every window; here a final merge is a step of its own (`merge`).

  Args:
    spec: a part of `SCHEDULES`, e.g. 'window(point=0.9, width=0.1)' or
      'linear(start=1, end=15)'.
    num_rounds: T >= 1 (static).
    start: rate r_s >= 0 (static), where the part does not say it.
    end: rate r_e >= 0 (static), where the part does not say it; `start` if
      None.

  Returns:
    `rate(round) -> f32[]`; `round` is an int or a traced i32[].

  Raises:
    ValueError: if an option is unknown, missing or out of range.

  Example:
    >>> rate = communication_schedule('window', 10, start=0.2, end=15.0)
    >>> [round(float(rate(t)), 1) for t in (8, 9)]
    [0.2, 15.0]

  Source: Zhu et al. 2025 (https://arxiv.org/abs/2507.06542), section 3 and
  official code.
  """
  part = SCHEDULES.part(spec)
  total = checks.integer(num_rounds, name='num_rounds', low=1)
  given = {'start': start, 'end': start if end is None else end}
  rates = given | {k: v for k, v in part.options.items() if k in given}
  if rates['end'] is None:
    rates['end'] = rates['start']
  for label, value in rates.items():
    if value is not None:
      _check_rate(value, name=label)
  make = SCHEDULES.bound(
    part, num_rounds=total, **{k: v for k, v in rates.items() if v is not None}
  )
  return lambda round: jnp.asarray(make(round), jnp.float32)


def random_peers(
  num_clients: int,
  rate: chex.Numeric,
  *,
  graph: np.ndarray | networkx.Graph | None = None,
  max_peers: int | None = None,
) -> _mixers.Mixer:
  """Every client pulls from a few random others and averages evenly.

  Client i draws floor(r) distinct others, plus one with probability
  r - floor(r), and takes the uniform mean of itself and those. Draws are
  independent, so rows sum to one but columns only in expectation. For r <= 1
  the expected squared distance to the mean's start shrinks by the factor
  E|W x|² / |x|² = 1 - r N / (2 (N - 1)) for x of mean zero.

  Args:
    num_clients: N >= 1; one client mixes with itself.
    rate: r >= 0, static or traced; above N - 1 it counts as N - 1, which is
      the exact average.
    graph: draws from the neighbors in this graph only (anything that
      `graphs.adjacency` takes); None for all others. Clients with fewer
      neighbors take all they have.
    max_peers: most others that one client draws at rates below N - 1 (static);
      ceil(r) for a static rate, as many as there are for a traced one. A small
      bound lets traced rates run as gathers: lists of K peers are gathered
      while K + 1 <= max(4, N / 8) and contracted densely beyond.

  Returns:
    A random, row-stochastic mixer.

  Raises:
    ValueError: if an argument is out of range, or the graph has another size.

  Example:
    >>> w = random_peers(3, 1.0).matrix(0, key=jax.random.key(0))
    >>> w.max(axis=1).tolist(), w.sum(axis=1).tolist()
    ([0.5, 0.5, 0.5], [1.0, 1.0, 1.0])

  Source: Zhu et al. 2025 (https://arxiv.org/abs/2507.06542), "R r" graphs and
  official code.
  """
  n = checks.integer(num_clients, name='num_clients', low=1)
  _check_rate(rate, name='rate')
  if n == 1:
    return _mixers.identity(1)
  adjacency = graphs.adjacency(graphs.complete(n) if graph is None else graph)
  if len(adjacency) != n:
    raise ValueError(f'graph has {len(adjacency)} clients but num_clients={n}.')
  degrees = adjacency.sum(axis=1)
  most = int(degrees.max())
  if max_peers is not None:
    most = min(checks.integer(max_peers, name='max_peers', low=0), most)
  elif not isinstance(rate, jax.core.Tracer):
    if float(rate) > n - 1:
      logging.log_first_n(
        logging.WARNING,
        'rate=%s counts as %d: a client has no more others.',
        1,
        rate,
        n - 1,
      )
    most = min(math.ceil(float(rate)), most)

  def draw(key):
    order_key, more_key = jax.random.split(key)
    wanted = jnp.asarray(rate, jnp.float32)
    whole = jnp.floor(wanted)
    more = jax.random.bernoulli(more_key, wanted - whole, (n,))
    count = jnp.minimum(whole.astype(jnp.int32) + more, most)
    count = jnp.minimum(count, jnp.asarray(degrees, jnp.int32))
    scores = jax.random.uniform(order_key, (n, n))
    scores = jnp.where(jnp.asarray(adjacency), scores, -1.0)
    _, peers = jax.lax.top_k(scores, most)
    drawn = jnp.arange(most)[None, :] < count[:, None]
    share = 1.0 / (1.0 + count)
    own = 1.0 - count * share
    ids = jnp.arange(n)[:, None]
    indices = jnp.concatenate([ids, jnp.where(drawn, peers, ids)], axis=1)
    give = jnp.where(drawn, share[:, None], 0.0)
    return indices, jnp.concatenate([own[:, None], give], axis=1)

  tables = _mixers.from_tables(
    draw, n, structure='random_peers', stochastic='row'
  )
  if most + 1 > max(4, n / 8):
    tables = _mixers.from_function(
      tables.matrix, structure='random_peers', stochastic='row'
    )
  return tables if graph is not None else mean_above(tables, rate, n)


def random_pairs(num_clients: int, rate: chex.Numeric) -> _mixers.Mixer:
  """Random disjoint pairs average, each with a probability.

  The doubly stochastic counterpart of `random_peers`: the mean is kept
  exactly, and for even N the expected squared distance to it shrinks by the
  same factor 1 - r N / (2 (N - 1)).

  Args:
    num_clients: N >= 1.
    rate: r >= 0, static or traced; it counts as 1 up to N - 1, where it is the
      exact average.

  Returns:
    A random, doubly stochastic mixer.

  Raises:
    ValueError: if an argument is out of range.
  """
  n = checks.integer(num_clients, name='num_clients', low=1)
  _check_rate(rate, name='rate')
  if n == 1:
    return _mixers.identity(1)
  active = rate
  if isinstance(rate, jax.core.Tracer):
    active = jnp.minimum(rate, 1.0)
  elif rate > 1.0:
    active = 1.0
  pairs = _random.random_matching(n, probability=active)
  return mean_above(pairs, rate, n)


def scheduled(
  make: Callable[[chex.Numeric], _mixers.Mixer], rate: RateFn
) -> _mixers.Mixer:
  """Turns a family of mixers and a schedule into one mixer.

  Args:
    make: `make(rate) -> Mixer` that accepts a traced rate, such as
      `functools.partial(random_peers, n, max_peers=1)`.
    rate: `rate(round) -> f32[]`, as `communication_schedule` makes.

  Returns:
    A random mixer.

  Example:
    >>> rate = communication_schedule('truncate', 4, start=0.0, end=1.0)
    >>> mixer = scheduled(functools.partial(random_pairs, 2), rate)
    >>> key = jax.random.key(0)
    >>> [mixer.matrix(t, key=key)[0].tolist() for t in (0, 3)]
    [[1.0, 0.0], [1.0, 0.0]]
  """
  like = make(1.0)

  def apply(stacked, round, *, key=None, axis_name=None):
    mixer = make(rate(round))
    return mixer.apply(stacked, round, key=key, axis_name=axis_name)

  def matrix(round, *, key=None):
    return make(rate(round)).matrix(round, key=key)

  return _mixers.Mixer(
    apply,
    matrix,
    None,
    f'scheduled {like.structure}',
    like.stochastic,
  )


def num_messages(matrix: chex.Array) -> chex.Array:
  """Counts the models that are sent in one mixing step.

  Args:
    matrix: f32[N, N], entry [i, j] the weight of what i receives from j.

  Returns:
    i32[], the non-zero entries off the diagonal.

  Example:
    >>> int(num_messages(jnp.array([[0.5, 0.5], [0.0, 1.0]])))
    1
  """
  off = ~jnp.eye(matrix.shape[0], dtype=bool)
  return jnp.sum((matrix != 0) & off, dtype=jnp.int32)


def mean_above(
  mixer: _mixers.Mixer, rate: chex.Numeric, num_clients: int
) -> _mixers.Mixer:
  """Uses the exact average instead of a mixer where the rate says so.

  Args:
    mixer: what to do at lower rates.
    rate: r; N - 1 and more is the exact average. Static or traced.
    num_clients: N >= 1.

  Returns:
    A mixer.

  Example:
    >>> from jaxdl import mixing
    >>> mean_above(mixing.identity(2), 1.0, 2).matrix(0).tolist()
    [[0.5, 0.5], [0.5, 0.5]]
  """
  n = checks.integer(num_clients, name='num_clients', low=1)
  mean = _mixers.from_matrix(np.full((n, n), 1.0 / n))
  if not isinstance(rate, jax.core.Tracer):
    return mean if rate >= n - 1 else mixer

  def apply(stacked, round, *, key=None, axis_name=None):
    options = {'key': key, 'axis_name': axis_name}
    return jax.lax.cond(
      rate >= n - 1,
      lambda x: mean.apply(x, round, **options),
      lambda x: mixer.apply(x, round, **options),
      stacked,
    )

  def matrix(round, *, key=None):
    return jnp.where(
      rate >= n - 1, mean.matrix(0), mixer.matrix(round, key=key)
    )

  return mixer._replace(apply=apply, matrix=matrix)


def _check_rate(rate, *, name):
  if isinstance(rate, jax.core.Tracer):
    return
  if not np.isfinite(rate) or rate < 0:
    raise ValueError(
      f'{name} counts neighbors besides yourself: need a finite number of at '
      f'least 0; got {rate}.'
    )
