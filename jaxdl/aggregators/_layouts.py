# SPDX-License-Identifier: Apache-2.0
"""Server rules on a mesh: what devices hold of the updates that a rule reads.

Updates are made where their clients are. A rule that compares clients needs all
rows in one place: whole rows on every device, or a share of the coordinates of
all of them on each.
"""

import dataclasses
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp

from jaxdl.aggregators import _registry
from jaxdl.core import (
  checks,
  clients as clients_lib,
  registry,
  types,
  view as view_lib,
)

READS = ('sum', 'order', 'gram', 'gram+order', 'rows')
LAYOUTS = ('clients', 'parameters')
# They look at signs or at a sample of coordinates of whole rows.
_WHOLE = ('dnc', 'signguard')


def reads(spec: str) -> str:
  """Tells what a rule reads of the updates, which decides how it spreads.

  Args:
    spec: a chain of `RULES`.

  Returns:
    'sum', weights that are known beforehand; 'order', every coordinate on its
    own; 'gram', inner products between clients, then one weighted sum;
    'gram+order', inner products, then several sums coordinate by coordinate;
    'rows', rules with memory and those that look at whole rows.

  Raises:
    ValueError: if it is no rule.

  Example:
    >>> [reads(s) for s in ('mean', 'median', 'krum', 'nnm+median')]
    ['sum', 'order', 'gram', 'gram+order']
  """
  *before, last = _registry.RULES.parts(spec)
  facts = registry.facts(_registry.RULES[last.name])
  assert facts is not None
  if facts.stateful or last.name in _WHOLE:
    return 'rows'
  if facts.family == 'coordinate':
    return 'gram+order' if before else 'order'
  if last.name == 'bulyan':  # Sorts what its first stage selects.
    return 'gram+order'
  return 'gram' if before or facts.family == 'gram' else 'sum'


def lay_out(
  rule: types.Aggregator,
  clients: clients_lib.Clients,
  layout: str,
  *,
  reads: str,
) -> types.Aggregator:
  """Says where a rule reads the updates that the devices of a mesh made.

  Updates come as `Clients.map` leaves them: split by clients along the axis
  'clients', and alike along an axis 'copies' if there is one. The numbers are
  those of the rule alone, up to rounding.

  With 'clients' rows stay whole: each device gets all of them (an all-gather of
  N x D numbers), unless a sum of its own rows will do (an all-reduce of D).
  With 'parameters' each device gets its coordinates of all rows (an all-to-all
  along 'clients', nothing along 'copies'), adds up inner products with the
  others (N x N), and gives its coordinates of the update to all (an all-gather
  of D). Leaves of a dtype travel together.

  Args:
    rule: an `Aggregator` from `make_aggregator`.
    clients: N and the mesh; without a mesh nothing changes.
    layout: one of `LAYOUTS` (static).
    reads: what the rule reads, from `reads(spec)` (static).

  Returns:
    The `Aggregator`; it takes the updates of all clients as global arrays.

  Raises:
    ValueError: if a name is unknown, or a rule that reads whole rows should get
      coordinates.

  Example:
    >>> rule = _registry.make_aggregator('krum', num_clients=4)
    >>> clients = clients_lib.Clients(4, mesh=clients_lib.clients_mesh(1))
    >>> spread = lay_out(rule, clients, 'parameters', reads=reads('krum'))
    >>> x = jnp.array([[0.0, 1.0], [1.0, 1.0], [1.1, 1.0], [9.0, 1.0]])
    >>> spread.apply(x, spread.init(x[0]))[0]
    Array([1., 1.], dtype=float32)

  Source: Yuan et al. 2021 (https://arxiv.org/abs/2110.15032), Table 2, for what
    moves; `jaxdl.parallel.choose_layout` counts it.
  """
  checks.choice(layout, LAYOUTS, name='layout')
  checks.choice(reads, READS, name='reads')
  clients = clients_lib.as_clients(clients)
  if reads == 'rows' and layout == 'parameters':
    raise ValueError(
      'layout=parameters gives a device coordinates, but the rule has memory '
      'or looks at whole rows: take layout=clients.'
    )
  mesh = clients.mesh
  # A sum of rows is one of partial sums, as the compiler finds itself.
  if mesh is None or reads == 'rows' or (reads, layout) == ('sum', 'clients'):
    return rule
  turn = _rows if layout == 'clients' else _coordinates

  def run(updates, given, ask):
    """Gives `ask` what the rule reads, on every device."""
    updates = view_lib.check_floating(updates)
    n = checks.num_clients(updates)
    given = {k: v for k, v in given.items() if v is not None}
    rows = _pad(updates, 0, mesh.shape[clients_lib.AXIS])
    packs = _Packs(updates, mesh)
    return jax.shard_map(
      lambda rows, given: turn(packs, n, reads, rows, given, ask),
      mesh=mesh,
      in_specs=(jax.P(clients_lib.AXIS), jax.P()),
      out_specs=jax.P(),
      check_vma=False,
    )(rows, given)

  def apply(updates, state, *, weights=None, key=None, mask=None):
    given = {'weights': weights, 'key': key, 'mask': mask}
    ask = lambda seen, given: rule.apply(seen, state, **given)[0]
    return run(updates, given, _Ask(ask, shares=False)), state

  def explain(updates, state, *, key=None, mask=None):
    ask = lambda seen, given: rule.explain(seen, state, **given)
    return run(updates, {'key': key, 'mask': mask}, _Ask(ask, shares=True))

  return types.Aggregator(
    rule.init, apply, None if rule.explain is None else explain
  )


class _Ask(NamedTuple):
  """`fn(updates or view, given)`, which gives an update or shares f32[N]."""

  fn: Callable[..., Any]
  shares: bool


class _Packs:
  """A tree of rows as one matrix for each dtype, and back."""

  def __init__(self, updates, mesh):
    self.multiple = mesh.size
    # That of clients varies fastest.
    others = [a for a in mesh.axis_names if a != clients_lib.AXIS]
    self.axes = (*others, clients_lib.AXIS)
    leaves, self.treedef = jax.tree.flatten(updates)
    self.shapes = [x.shape[1:] for x in leaves]
    self.names = [str(x.dtype) for x in leaves]
    self.size = sum(map(math.prod, self.shapes))

  def pack(self, rows):
    """Leaves [n, ...] to matrices [n, D], D a multiple of the devices."""
    parts: dict[str, list] = {}
    for name, x in zip(self.names, jax.tree.leaves(rows), strict=True):
      parts.setdefault(name, []).append(x.reshape(len(x), -1))
    return {
      name: _pad(jnp.concatenate(xs, axis=1), 1, self.multiple)
      for name, xs in parts.items()
    }

  def unpack(self, packed):
    """Arrays [..., D] to leaves [..., *shape]."""
    at = dict.fromkeys(packed, 0)
    out = []
    for name, shape in zip(self.names, self.shapes, strict=True):
      x, start = packed[name], at[name]
      at[name] = stop = start + math.prod(shape)
      out.append(x[..., start:stop].reshape(*x.shape[:-1], *shape))
    return jax.tree.unflatten(self.treedef, out)


def _pad(tree, axis, multiple):
  """Zeros at the end of an axis, up to a multiple."""

  def leaf(x):
    extra = -x.shape[axis] % multiple
    widths = [(0, extra if i == axis else 0) for i in range(x.ndim)]
    return jnp.pad(x, widths) if extra else x

  return jax.tree.map(leaf, tree)


def _rows(packs, n, reads, rows, given, ask):
  """All rows on every device, then no more exchange."""
  del reads
  gather = lambda x: jax.lax.all_gather(x, clients_lib.AXIS, tiled=True)[:n]
  return ask.fn(packs.unpack(jax.tree.map(gather, packs.pack(rows))), given)


def _coordinates(packs, n, reads, rows, given, ask):
  """A share of the coordinates of all rows on every device."""
  axes, axis = packs.axes, clients_lib.AXIS

  def exchange(x):
    for name in axes[:-1]:  # What others hold as well is cut, not sent.
      width = x.shape[1] // jax.lax.axis_size(name)
      start = jax.lax.axis_index(name) * width
      x = jax.lax.dynamic_slice_in_dim(x, start, width, 1)
    return jax.lax.all_to_all(x, axis, 1, 0, tiled=True)[:n]

  shards = jax.tree.map(exchange, packs.pack(rows))
  seen = shards
  if reads.startswith('gram'):
    given = dict(given)
    seen = view_lib.coordinate_view(shards, axes, mask=given.pop('mask', None))
  if not ask.shares:
    gather = lambda x: jax.lax.all_gather(x, axes, tiled=True)
    return packs.unpack(jax.tree.map(gather, ask.fn(seen, given)))
  shares = ask.fn(seen, given)
  if not reads.endswith('order'):
    return shares
  # Shares are means over coordinates; those that fill up are all zeros.
  held = sum(x.shape[1] for x in shards.values())
  extra = held * math.prod(map(jax.lax.axis_size, axes)) - packs.size
  total = jax.lax.psum(held * shares, axes)
  if extra:
    zeros = jax.tree.map(lambda x: jnp.zeros((n, 1), x.dtype), shards)
    if reads.startswith('gram'):
      zeros = dataclasses.replace(seen, base=zeros)
    total = total - extra * ask.fn(zeros, given)
  return total / packs.size
