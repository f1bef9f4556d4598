# SPDX-License-Identifier: Apache-2.0
"""Moving the clients' rows to where somebody reads all of them.

Rows are made where their clients are. Whoever compares clients needs all rows
in one place: whole rows on every device, or a share of the coordinates of all
rows on each. What moves is explicit here, one collective per dtype and kind, so
that it can be counted (`jaxdl.parallel.round_layouts`).
"""

import math
from collections.abc import Sequence
from typing import Any

import chex
import jax
import jax.numpy as jnp

from jaxdl.core import checks

AXIS = 'clients'
# 'free' leaves everything to the compiler.
LAYOUTS = ('free', 'clients', 'parameters')


def mesh_axes(mesh: jax.sharding.Mesh) -> tuple[str, ...]:
  """Axes over which coordinates are split, that of clients varying fastest."""
  return (*(a for a in mesh.axis_names if a != AXIS), AXIS)


def split_axis(shape: Sequence[int], num_parts: int) -> int | None:
  """The first dimension of a row's leaf that splits evenly, or None.

  Args:
    shape: of the leaf without the client axis.
    num_parts: devices.

  Returns:
    The dimension.

  Example:
    >>> split_axis((3, 16), 8), split_axis((10,), 8)
    (1, None)
  """
  return next(
    (k for k, m in enumerate(shape) if m and m % num_parts == 0), None
  )


def specs(stacked: chex.ArrayTree, mesh: jax.sharding.Mesh) -> chex.ArrayTree:
  """How leaves [N, ...] are spread with the layout 'parameters'.

  Args:
    stacked: leaves [N, ...]; shapes count.
    mesh: the devices.

  Returns:
    A `PartitionSpec` per leaf: one dimension of the row over all devices, or
    nothing where none splits evenly.
  """

  def leaf(x):
    k = split_axis(x.shape[1:], mesh.size)
    if k is None:
      return jax.P()
    return jax.P(*[None] * (k + 1), mesh_axes(mesh))

  return jax.tree.map(leaf, stacked)


def spread(
  rows: chex.ArrayTree,
  num_clients: int,
  mesh: jax.sharding.Mesh,
  layout: str,
) -> chex.ArrayTree:
  """Moves rows from where their clients are to where they are read.

  Args:
    rows: leaves [M, ...], split over 'clients' and alike along other axes; M is
      a multiple of the devices along 'clients'.
    num_clients: N <= M, rows that are kept, the first ones.
    mesh: the devices.
    layout: 'clients' or 'parameters' (static).

  Returns:
    Leaves [N, ...]: the same on every device ('clients'), or spread as `specs`
    says ('parameters').
  """
  whole = layout == 'clients'
  leaves, treedef = jax.tree.flatten(rows)
  places = [
    None if whole else split_axis(x.shape[1:], mesh.size) for x in leaves
  ]
  move = lambda *xs: _move(xs, places, num_clients, mesh)
  out = jax.shard_map(
    move,
    mesh=mesh,
    in_specs=jax.P(AXIS),
    out_specs=(jax.P(),) * len(leaves)
    if whole
    else tuple(jax.tree.leaves(specs(leaves, mesh), is_leaf=_is_spec)),
    check_vma=False,
  )(*leaves)
  return jax.tree.unflatten(treedef, out)


def _is_spec(x):
  return isinstance(x, jax.P)


def _move(rows, places, n, mesh):
  """This device's part of every leaf."""
  groups: dict[tuple[str, bool], list[int]] = {}
  for i, (x, k) in enumerate(zip(rows, places, strict=True)):
    groups.setdefault((str(x.dtype), k is None), []).append(i)
  out: list[Any] = [None] * len(rows)
  for (_, whole), members in groups.items():
    own = [rows[i] for i in members]
    if whole:
      flat = [x.reshape(x.shape[0], -1) for x in own]
      moved = jax.lax.all_gather(_join(flat), AXIS, tiled=True)[:n]
      forms = [x.shape[1:] for x in own]
    else:
      front = [
        jnp.moveaxis(x, 1 + places[i], 1)
        for x, i in zip(own, members, strict=True)
      ]
      parts = [x.reshape(x.shape[0], mesh.size, -1) for x in front]
      moved = _columns(_join(parts), mesh)[:n]
      forms = [(x.shape[1] // mesh.size, *x.shape[2:]) for x in front]
    start = 0
    for i, form in zip(members, forms, strict=True):
      stop = start + math.prod(form)
      part = moved[:, start:stop].reshape(n, *form)
      start = stop
      out[i] = part if whole else jnp.moveaxis(part, 1, 1 + places[i])
  return tuple(out)


def _join(parts):
  return parts[0] if len(parts) == 1 else jnp.concatenate(parts, axis=-1)


def _columns(x, mesh):
  """[m, P, S] of this device's m rows to [M, S] of all rows."""
  for name in mesh_axes(mesh)[:-1]:  # What others hold as well is cut.
    width = x.shape[1] // mesh.shape[name]
    start = jax.lax.axis_index(name) * width
    x = jax.lax.dynamic_slice_in_dim(x, start, width, 1)
  return jax.lax.all_to_all(x, AXIS, 1, 0, tiled=True)[:, 0]


class Columns:
  """Updates spread by parameters as a matrix per dtype, and back.

  To be used inside of `shard_map` with `specs`; a leaf that every device holds
  is cut, with zeros at its end where it does not split evenly.

  Attributes:
    axes: mapped axes over which coordinates are split.
    num_fill: coordinates that are filled up, over all devices.
    size: D.
  """

  def __init__(self, stacked: chex.ArrayTree, mesh: jax.sharding.Mesh) -> None:
    """Plans columns for leaves [N, ...], of which shapes and dtypes count."""
    self.axes = mesh_axes(mesh)
    self._parts = mesh.size
    leaves, self._treedef = jax.tree.flatten(stacked)
    self._shapes = [x.shape[1:] for x in leaves]
    self._names = [str(x.dtype) for x in leaves]
    self._places = [split_axis(s, self._parts) for s in self._shapes]
    sizes = [math.prod(s) for s in self._shapes]
    self.size = sum(sizes)
    self.num_fill = sum(-s % self._parts for s in sizes)

  def take(self, local: chex.ArrayTree) -> dict[str, chex.Array]:
    """This device's leaves to a matrix [N, S] per dtype."""
    parts: dict[str, list] = {}
    index = jax.lax.axis_index(self.axes)
    for x, k, name in zip(
      jax.tree.leaves(local), self._places, self._names, strict=True
    ):
      if k is None:
        x = x.reshape(x.shape[0], -1)
        x = jnp.pad(x, ((0, 0), (0, -x.shape[1] % self._parts)))
        width = x.shape[1] // self._parts
        x = jax.lax.dynamic_slice_in_dim(x, index * width, width, 1)
      else:
        x = jnp.moveaxis(x, 1 + k, 1).reshape(x.shape[0], -1)
      parts.setdefault(name, []).append(x)
    return {name: _join(xs) for name, xs in parts.items()}

  def join(self, columns: dict[str, chex.Array]) -> chex.ArrayTree:
    """This device's coordinates [S] of one vector to leaves [...] of all."""
    every = {
      name: jax.lax.all_gather(x, self.axes) for name, x in columns.items()
    }
    at = dict.fromkeys(columns, 0)
    out = []
    for name, shape, k in zip(
      self._names, self._shapes, self._places, strict=True
    ):
      size = math.prod(shape)
      start = at[name]
      at[name] = stop = start - (-size // self._parts)
      x = every[name][:, start:stop]
      if k is None:
        x = x.reshape(-1)[:size].reshape(shape)
      else:
        rest = (*shape[:k], *shape[k + 1 :])
        x = jnp.moveaxis(x.reshape(shape[k], *rest), 0, k)
      out.append(x)
    return jax.tree.unflatten(self._treedef, out)


def check_layout(layout: str, mesh: jax.sharding.Mesh | None) -> None:
  """Raises ValueError unless a layout is known and can be had.

  Args:
    layout: one of `LAYOUTS`.
    mesh: the devices, or None.
  """
  checks.choice(layout, LAYOUTS, name='layout')
  if layout != 'free' and mesh is None:
    raise ValueError(
      f'layout={layout} says what devices hold, but mesh is None: give '
      'core.clients.clients_mesh(), or leave layout out.'
    )
