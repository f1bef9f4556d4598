# SPDX-License-Identifier: Apache-2.0
"""What a round of clients costs in each layout, and which one is cheapest."""

import math
import os
from collections.abc import Sequence
from typing import NamedTuple

import jax

from jaxdl.core import checks, exchange, order
from jaxdl.parallel import _collectives, _costs, _models, _operator

LAYOUTS = ('clients', 'parameters', 'mixed')
_NUMBER = 4  # Bytes.


class Machine(NamedTuple):
  """How fast devices are; for comparisons, not for the clock.

  Attributes:
    flops: floating-point operations per second of a device.
    bytes: bytes per second that reach a device.
    wait: seconds that every collective takes, however little it moves.
    workers: how many devices work at the same time; None for all of them.
  """

  flops: float
  bytes: float
  wait: float
  workers: int | None = None


class Layout(NamedTuple):
  """A round in one layout.

  Attributes:
    name: 'clients', 'parameters' or 'mixed'.
    num_copies: devices that train the same clients; 1 but for 'mixed'.
    moved: bytes over all devices, by stage: 'read', how the rule gets at the
      updates; 'products', inner products; 'update', how all get the result;
      'metrics', what is reported.
    collectives: the same bytes by collective.
    work: floating-point operations of a device, by stage: 'training',
      'products', 'order', 'sums'.
    seconds: what is compared.
    spread: `core.clients.Clients.layout` of it.
  """

  name: str
  num_copies: int
  moved: dict[str, float]
  collectives: dict[str, float]
  work: dict[str, float]
  seconds: float
  spread: str

  @property
  def label(self) -> str:
    """Its name; of 'mixed' with the number of copies."""
    copies = f' x{self.num_copies}' if self.name == 'mixed' else ''
    return self.name + copies


def this_machine() -> Machine:
  """Rough speeds of the devices of this process.

  Returns:
    Of emulated devices, which share cores, `workers` is the number of cores.
  """
  if jax.default_backend() != 'cpu':
    return Machine(flops=2e13, bytes=2e11, wait=2e-5)
  has_affinity = hasattr(os, 'sched_getaffinity')
  cores = len(os.sched_getaffinity(0)) if has_affinity else os.cpu_count()
  return Machine(flops=1e10, bytes=2e9, wait=2e-4, workers=cores or 1)


def round_layouts(
  num_clients: int,
  num_parameters: int | Sequence[Sequence[int]],
  reads: str,
  num_devices: int,
  *,
  flops_per_client: float = 0.0,
  num_metrics: int = 0,
  machine: Machine | None = None,
) -> list[Layout]:
  """All layouts of a round, cheapest first.

  Clients train on devices in equal numbers (the last one again where they do
  not split evenly), then a server's rule makes one update of N rows of D
  numbers, which every device needs:

  | layout | training | rows are read | update |
  |---|---|---|---|
  | clients | S0 | B: an all-gather of N x D | B |
  | clients, of sums | S0 | S0 | P -> B: an all-reduce of D |
  | parameters | S0 | S1: an all-to-all of N x D | S0 -> B: all-gather of D |
  | mixed, on a copies x b clients | B, S0 | S1, S1: an all-to-all among b | " |

  Inner products between coordinates that are split are terms: (P -> B) of
  N x N. They are summed once for a guess of the center and once for good, and
  as often again, with two sums of N, in the branch for rows that leave the
  range, which is counted here as it is in compiled programs.

  Args:
    num_clients: N.
    num_parameters: D, which splits evenly; or the shapes of the leaves of the
      parameters, those of which no dimension splits evenly are read whole.
    reads: 'sum', 'order', 'gram' or 'gram+order', see
      `PROGRAMS.make('federated_round', N)`.
    num_devices: p.
    flops_per_client: of the training of a client.
    num_metrics: numbers of which every client has one and sums are reported.
    machine: speeds; those of `this_machine()` if None.

  Returns:
    'clients', 'parameters', and 'mixed' for every number of copies that divides
    p. The bytes are those that compiled programs of `aggregators.lay_out` move
    for float32 rows.

  Raises:
    ValueError: if a number is out of range or `reads` is unknown.

  Example:
    >>> found = round_layouts(16, 1000, 'order', 8)
    >>> sorted((round(sum(x.moved.values())), x.label) for x in found)
    [(28000, 'mixed x8'), (60000, 'mixed x4'), (76000, 'mixed x2'), \
(84000, 'parameters'), (448000, 'clients')]

  Source: Yuan et al. 2021 (https://arxiv.org/abs/2110.15032), Table 2.
  """
  n = checks.integer(num_clients, name='num_clients', low=1)
  leaves = _leaves(num_parameters)
  p = checks.integer(num_devices, name='num_devices', low=1)
  checks.choice(reads, _models.READS, name='reads')
  checks.number(flops_per_client, name='flops_per_client', low=0)
  checks.integer(num_metrics, name='num_metrics', low=0)
  machine = this_machine() if machine is None else _checked(machine)
  kinds = [('clients', 1), ('parameters', 1)]
  kinds += [('mixed', b) for b in range(2, p + 1) if p % b == 0]
  found = [
    _layout(
      name, b, n, leaves, reads, p, flops_per_client, num_metrics, machine
    )
    for name, b in kinds
  ]
  return sorted(found, key=lambda x: x.seconds)


def choose_layout(
  num_clients: int,
  num_parameters: int | Sequence[Sequence[int]],
  reads: str,
  num_devices: int,
  *,
  layout: str = 'auto',
  flops_per_client: float = 0.0,
  num_metrics: int = 0,
  machine: Machine | None = None,
) -> Layout:
  """The cheapest layout of a round, or the cheapest of a name.

  Args:
    num_clients: N.
    num_parameters: D, or the shapes of leaves.
    reads: see `round_layouts`.
    num_devices: p.
    layout: 'auto' or one of `LAYOUTS`; on one device there is no 'mixed', and
      'clients' is taken.
    flops_per_client: of the training of a client.
    num_metrics: see `round_layouts`.
    machine: speeds; those of `this_machine()` if None.

  Returns:
    The layout.

  Raises:
    ValueError: as `round_layouts`, or if the name is unknown.

  Example:
    >>> fast = Machine(flops=1e13, bytes=1e11, wait=1e-5)
    >>> choose_layout(20, 10**7, 'gram', 8, flops_per_client=1e12,
    ...               machine=fast).label
    'parameters'
    >>> choose_layout(4, 10**7, 'gram', 8, flops_per_client=1e12,
    ...               machine=fast).label
    'mixed x2'
  """
  checks.choice(layout, ('auto', *LAYOUTS), name='layout')
  found = round_layouts(
    num_clients,
    num_parameters,
    reads,
    num_devices,
    flops_per_client=flops_per_client,
    num_metrics=num_metrics,
    machine=machine,
  )
  if layout == 'mixed' and num_devices == 1:
    layout = 'clients'
  return next(x for x in found if layout in ('auto', x.name))


def _checked(machine):
  if not isinstance(machine, Machine):
    raise TypeError(
      f'machine must be a Machine; got {checks.described(machine)}.'
    )
  for name in ('flops', 'bytes'):
    value = getattr(machine, name)
    checks.number(value, name=f'machine.{name}', low=0, open_low=True)
  checks.number(machine.wait, name='machine.wait', low=0)
  if machine.workers is not None:
    checks.integer(machine.workers, name='machine.workers', low=1)
  return machine


def _leaves(num_parameters):
  """Sizes of leaves, and by which numbers their dimensions divide."""
  if isinstance(num_parameters, Sequence) and not isinstance(
    num_parameters, str
  ):
    if not num_parameters:
      raise ValueError('num_parameters has no leaves: nothing is learned.')
    return _operator.as_shapes(num_parameters, name='num_parameters')
  return checks.integer(num_parameters, name='num_parameters', low=1)


def _layout(name, copies, n, leaves, reads, p, flops, num_metrics, machine):
  groups = p // copies
  mesh = (copies, groups)
  # Rows fill up the devices, and coordinates of the update do.
  rows = n + -n % groups
  fill = lambda size: size + -size % p
  if isinstance(leaves, int):
    d = leaves
    split, rest, update = fill(d), 0, fill(d)
  else:
    sizes = [(s, math.prod(s)) for s in leaves]
    d = sum(m for _, m in sizes)
    split = sum(m for s, m in sizes if exchange.split_axis(s, p) is not None)
    rest, update = d - split, sum(fill(m) for _, m in sizes)
  whole = name == 'clients'
  moved = dict.fromkeys(('read', 'products', 'update', 'metrics'), 0.0)
  kinds = dict.fromkeys(_collectives.COLLECTIVES, 0.0)
  number = 0

  def move(stage, kind, cost):
    nonlocal number
    moved[stage] += cost
    kinds[kind] += cost
    number += cost > 0

  change = lambda src, dst, numbers: _costs.boxing_cost_nd(
    src, dst, _NUMBER * numbers, mesh
  )
  if whole and reads == 'sum':
    move('update', 'all-reduce', change('B,P', 'B,B', d))
  elif whole:
    move('read', 'all-gather', change('B,S0', 'B,B', rows * d))
  else:
    # What devices hold alike is cut first, and nothing moves.
    exchanged = change('S1,S0', 'S1,S1', rows * split)
    move('read', 'all-to-all', exchanged)
    move('read', 'all-gather', change('B,S0', 'B,B', rows * rest))
    if reads.startswith('gram'):
      move('products', 'all-reduce', change('P,P', 'B,B', _summed(n)))
      number += 1
    move('update', 'all-gather', change('S0,S0', 'B,B', update))
  move('metrics', 'all-reduce', change('B,P', 'B,B', num_metrics))
  share = 1 if whole else p
  work = {
    'training': flops * rows / groups,
    'products': 2.0 * n * n * d / share if reads.startswith('gram') else 0.0,
    'order': 2.0 * len(order.comparators(n)) * d / share
    if reads.endswith('order')
    else 0.0,
    'sums': {'order': 0, 'gram+order': n}.get(reads, 1) * 2.0 * n * d / share,
  }
  workers = min(p, machine.workers or p)
  seconds = (
    sum(work.values()) * p / workers / machine.flops
    + sum(moved.values()) / workers / machine.bytes
    + number * machine.wait
  )
  spread = 'parameters'
  if whole:  # A sum of rows is one of partial sums, as the compiler finds.
    spread = 'free' if reads == 'sum' else 'clients'
  return Layout(name, copies, moved, kinds, work, seconds, spread)


def _summed(n):
  """Numbers that devices add up for inner products of n rows."""
  return 2 * n * n + 2 * (n + 1) ** 2 + 2 * n
