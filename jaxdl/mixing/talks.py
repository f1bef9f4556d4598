# SPDX-License-Identifier: Apache-2.0
"""When clients talk, and how much, over a whole run, by spec.

A talk (`TALKS`) is a family of mixers with two rates: the usual one and a dense
one, which counts in a window or at the end. A variant (`VARIANTS`) says when
which of them holds.
"""

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from jaxdl.core import checks, registry
from jaxdl.mixing import _communication, _make, _mixers


class Talk(NamedTuple):
  """A family of mixers and its rates.

  Attributes:
    family: `family(max_peers) -> (rate -> Mixer)`; the rate may be traced.
    rate: neighbors that a client listens to besides itself.
    dense: the same in a window or at the end.
    window: length of windows, as a fraction of the rounds.
  """

  family: Callable[[int], Callable[[Any], _mixers.Mixer]]
  rate: float
  dense: float
  window: float


def _talk(family, num_clients, rate, dense, window):
  checks.number(rate, name='rate', low=0.0)
  if dense is None:
    dense = float(num_clients - 1)
  checks.number(dense, name='dense', low=0.0)
  checks.number(window, name='window', low=0.0, high=1.0, open_low=True)
  return Talk(family, rate, dense, window)


def pull(
  num_clients: int,
  *,
  rate: float = 0.2,
  dense: float | None = None,
  window: float = 0.1,
  graph: str | None = None,
) -> Talk:
  """Every client pulls from random others, or from neighbors in a graph."""
  drawn_from = None if graph is None else _make.make_graph(graph, num_clients)
  family = lambda most: functools.partial(
    _communication.random_peers, num_clients, graph=drawn_from, max_peers=most
  )
  return _talk(family, num_clients, rate, dense, window)


def matching(
  num_clients: int,
  *,
  rate: float = 0.2,
  dense: float | None = None,
  window: float = 0.1,
) -> Talk:
  """Random disjoint pairs average, each with a probability."""
  family = lambda most: functools.partial(
    _communication.random_pairs, num_clients
  )
  return _talk(family, num_clients, rate, dense, window)


def over(
  topology: str,
  num_clients: int,
  *,
  rate: float = 0.2,
  dense: float | None = None,
  window: float = 0.1,
) -> Talk:
  """A topology in every round, and the exact average where all are heard."""
  static = _make.make_mixer(topology, num_clients)
  family = lambda most: (
    lambda r: _communication.mean_above(static, r, num_clients)
  )
  return _talk(family, num_clients, rate, dense, window)


TALKS = registry.Registry(
  'gossip',
  {'pull': pull, 'matching': matching, 'over': over},
  given=('num_clients',),
)


def _scheduled(talk, num_clients, rate, rates, *, smooth=False):
  # Dense rounds are an exact average and need no lists of peers.
  heard = [r for r in rates if smooth or r < num_clients - 1]
  make = talk.family(math.ceil(max(heard, default=0.0)))
  return _communication.scheduled(make, rate)


def _in_window(talk, num_clients, num_rounds, point):
  spec = registry.write('window', point=point, width=talk.window)
  rate = _communication.communication_schedule(
    spec, num_rounds, start=talk.rate, end=talk.dense
  )
  return _scheduled(talk, num_clients, rate, [talk.rate, talk.dense])


def server(num_clients: int) -> _mixers.Mixer:
  """The exact average in every round."""
  return _make.make_mixer('complete', num_clients)


def alone(num_clients: int) -> _mixers.Mixer:
  """No communication."""
  return _mixers.identity(num_clients)


def soup(num_clients: int) -> _mixers.Mixer:
  """No communication, from equal starts."""
  return _mixers.identity(num_clients)


def gossip(
  talk: Talk, num_clients: int, num_rounds: int, *, schedule: str = 'fixed'
) -> _mixers.Mixer:
  """The talk at a rate that may change, see `communication_schedule`."""
  kind = _communication.SCHEDULES.part(schedule).name
  rates = [talk.rate, talk.dense]
  smooth = kind not in ('fixed', 'truncate', 'window')
  if kind == 'fixed':
    rates = rates[:1]
  elif smooth:
    rates = [min(max(rates), num_clients - 1)]
  rate = _communication.communication_schedule(
    schedule,
    num_rounds,
    start=talk.rate,
    end=talk.rate if kind == 'fixed' else talk.dense,
  )
  return _scheduled(talk, num_clients, rate, rates, smooth=smooth)


def early(talk: Talk, num_clients: int, num_rounds: int) -> _mixers.Mixer:
  """Dense in the first window."""
  return _in_window(talk, num_clients, num_rounds, 0.0)


def late(talk: Talk, num_clients: int, num_rounds: int) -> _mixers.Mixer:
  """Dense in the last window."""
  return _in_window(talk, num_clients, num_rounds, 1.0 - talk.window)


def window(
  talk: Talk, num_clients: int, num_rounds: int, *, k: int
) -> _mixers.Mixer:
  """Dense in window k from 0 on."""
  checks.integer(k, name='k', low=0)
  point = k * talk.window
  if point >= 1.0 - 1e-9:
    raise ValueError(
      f'k={k} is past the end: need k * window < 1, window = {talk.window}.'
    )
  return _in_window(talk, num_clients, num_rounds, point)


def windows() -> None:
  """All windows, one variant each."""


def periodic(
  talk: Talk, num_clients: int, num_rounds: int, *, period: int = 10
) -> _mixers.Mixer:
  """The talk, and the exact average in every so many rounds."""
  checks.integer(period, name='period', low=1)
  rate = _communication.communication_schedule(
    'fixed', num_rounds, start=talk.rate
  )
  return _mixers.every(
    _make.make_mixer('complete', num_clients),
    period,
    otherwise=_scheduled(talk, num_clients, rate, [talk.rate]),
  )


VARIANTS = registry.Registry(
  'variant',
  {
    'server': server,
    'gossip': gossip,
    'alone': alone,
    'soup': soup,
    'early': early,
    'late': late,
    'window': window,
    'windows': windows,
    'periodic': periodic,
  },
  given=('talk', 'num_clients', 'num_rounds'),
)


def make(
  variants: Sequence[str], talk: str, num_clients: int, num_rounds: int
) -> dict[str, _mixers.Mixer]:
  """Makes a mixer for each variant, 'windows' written out.

  Args:
    variants: parts of `VARIANTS`.
    talk: a part of `TALKS`.
    num_clients: N.
    num_rounds: T >= 1 of the whole run.

  Returns:
    Mixers by variant.

  Raises:
    ValueError: if a name, an option or a value is wrong.

  Example:
    >>> found = make(['server', 'windows'], 'pull(window=0.5)', 4, 10)
    >>> list(found)
    ['server', 'window(k=0)', 'window(k=1)']
  """
  spoken = TALKS.make(talk, num_clients=num_clients)
  names = []
  for spec in variants:
    count = max(1, round(1 / spoken.window))
    all_of_them = [f'window(k={k})' for k in range(count)]
    whole = VARIANTS.part(spec).name == 'windows'
    names += all_of_them if whole else [spec]
  if len(set(names)) != len(names):
    raise ValueError(f'variants must differ; got {", ".join(names)}.')
  return {
    spec: VARIANTS.make(
      spec, talk=spoken, num_clients=num_clients, num_rounds=num_rounds
    )
    for spec in names
  }
