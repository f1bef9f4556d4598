# SPDX-License-Identifier: Apache-2.0
"""Server rules on a mesh: what devices hold of the updates that a rule reads.

Updates are made where their clients are. A rule that compares clients needs all
rows in one place: whole rows on every device, or a share of the coordinates of
all of them on each.
"""

import dataclasses

import jax
import jax.numpy as jnp

from jaxdl.aggregators import _registry
from jaxdl.core import (
  checks,
  clients as clients_lib,
  exchange,
  registry,
  types,
  view as view_lib,
)

READS = ('sum', 'order', 'gram', 'gram+order', 'rows')
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
  rule: types.Aggregator, clients: clients_lib.Clients, *, reads: str
) -> types.Aggregator:
  """Makes a rule read updates where `Clients.layout` puts them.

  With the layout 'parameters' a device has its coordinates of all rows, in the
  order of `Clients.map(..., spread=True)`. It adds up inner products with the
  others (N x N), and gives its coordinates of the update to all (an all-gather
  of D). With other layouts the rule is returned as it is. The numbers are those
  of the rule alone, up to rounding.

  Args:
    rule: an `Aggregator` from `make_aggregator`.
    clients: N, the mesh and the layout.
    reads: what the rule reads, from `reads(spec)` (static).

  Returns:
    The `Aggregator`; it takes the updates of all clients as global arrays.

  Raises:
    ValueError: if a rule that reads whole rows should get coordinates.

  Example:
    >>> rule = _registry.make_aggregator('krum', num_clients=4)
    >>> mesh = clients_lib.clients_mesh(1)
    >>> clients = clients_lib.Clients(4, mesh=mesh, layout='parameters')
    >>> spread = lay_out(rule, clients, reads=reads('krum'))
    >>> x = jnp.array([[0.0, 1.0], [1.0, 1.0], [1.1, 1.0], [9.0, 1.0]])
    >>> spread.apply(x, spread.init(x[0]))[0]
    Array([1., 1.], dtype=float32)

  Source: Yuan et al. 2021 (https://arxiv.org/abs/2110.15032), Table 2, for what
    moves; `jaxdl.parallel.round_layouts` counts it.
  """
  checks.choice(reads, READS, name='reads')
  clients = clients_lib.as_clients(clients)
  mesh = clients.mesh
  if mesh is None or clients.layout != 'parameters':
    return rule
  if reads == 'rows':
    raise ValueError(
      'layout=parameters gives a device coordinates, but the rule has memory '
      'or looks at whole rows: take another layout.'
    )

  def run(turn, updates, given):
    updates = view_lib.check_floating(updates)
    columns = exchange.Columns(updates, mesh)
    given = {k: v for k, v in given.items() if v is not None}
    return jax.shard_map(
      lambda local, given: turn(columns, columns.take(local), given),
      mesh=mesh,
      in_specs=(exchange.specs(updates, mesh), jax.P()),
      out_specs=jax.P(),
      check_vma=False,
    )(updates, given)

  def seen_as(columns, own, given):
    """What the rule is given: a view of products of all, or a tree."""
    if not reads.startswith('gram'):
      return own, given
    mask = given.get('mask')
    rest = {k: v for k, v in given.items() if k != 'mask'}
    return view_lib.coordinate_view(own, columns.axes, mask=mask), rest

  def apply(updates, state, *, weights=None, key=None, mask=None):
    def turn(columns, own, given):
      seen, given = seen_as(columns, own, given)
      return columns.join(rule.apply(seen, state, **given)[0])

    given = {'weights': weights, 'key': key, 'mask': mask}
    return run(turn, updates, given), state

  ask = rule.explain

  def explain(updates, state, *, key=None, mask=None):
    assert ask is not None

    def turn(columns, own, given):
      seen, given = seen_as(columns, own, given)
      shares = ask(seen, state, **given)
      if not reads.endswith('order'):
        return shares
      # Means over this device's coordinates; those that fill up are zeros.
      n, held = checks.num_clients(own), sum(x.shape[1] for x in own.values())
      total = jax.lax.psum(held * shares, columns.axes)
      if columns.num_fill:
        zeros = jax.tree.map(lambda x: jnp.zeros((n, 1), x.dtype), own)
        if isinstance(seen, view_lib.View):
          zeros = dataclasses.replace(seen, base=zeros)
        fill = ask(zeros, state, **given)
        total = total - columns.num_fill * fill
      return total / columns.size

    return run(turn, updates, {'key': key, 'mask': mask})

  return types.Aggregator(rule.init, apply, None if ask is None else explain)
