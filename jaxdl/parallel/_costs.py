# SPDX-License-Identifier: Apache-2.0
"""What it costs to change a signature: bytes that reach devices, in all."""

import functools
import itertools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from jaxdl.core import checks
from jaxdl.parallel import _sbp, _shards

Broadcast, Partial, Split = _sbp.Broadcast, _sbp.Partial, _sbp.Split
# Signatures of a mesh among which paths are searched.
_MOST_STATES = 1000


def boxing_cost(
  src: _sbp.SbpLike,
  dst: _sbp.SbpLike,
  nbytes: float,
  p1: int,
  p2: int | None = None,
  *,
  same: bool = True,
) -> float:
  """Bytes moved, over all devices, to change a signature on a mesh of one axis.

  | from -> to | same devices | other devices |
  |---|---|---|
  | S(i) -> S(i) | 0 | T |
  | S(i) -> S(j) | (p1 - 1) / p1 T, all-to-all | T |
  | S -> B | (p1 - 1) T, all-gather | p2 T |
  | B -> B | 0 | p2 T |
  | P -> S | (p1 - 1) T, reduce-scatter | p1 T |
  | P -> B | 2 (p1 - 1) T, all-reduce | (p1 + p2 - 1) T |
  | P -> P | 0 | p1 T |
  | S -> P, B -> S, B -> P | 0 | T |

  Args:
    src: the signature that there is, one component.
    dst: the signature that is wanted.
    nbytes: T, of the global tensor; any unit, the cost has the same.
    p1: devices that hold it.
    p2: devices that want it; None for p1.
    same: whether they are the same devices (static).

  Returns:
    The cost, proportional to T.

  Raises:
    ValueError: if `same` and p2 differs from p1, a P of sums becomes one of
      maxima, or a number is out of range.

  Example:
    >>> boxing_cost('P', 'B', 8, 4), boxing_cost('P', 'B', 8, 4, 2, same=False)
    (48.0, 40.0)

  Source: Yuan et al. 2021 (https://arxiv.org/abs/2110.15032), Table 2.
  """
  (a,), (b,) = (
    _sbp.as_sbp(x, 1, name=name) for x, name in ((src, 'src'), (dst, 'dst'))
  )
  checks.number(nbytes, name='nbytes', low=0)
  p1 = checks.integer(p1, name='p1', low=1)
  p2 = p1 if p2 is None else checks.integer(p2, name='p2', low=1)
  _check_reduction(a, b)
  if not same:
    return float(nbytes) * disjoint((a,), (b,), (p1,), (p2,))
  if p2 != p1:
    raise ValueError(
      f'p2={p2} differs from p1={p1}, so the devices cannot be the same: pass '
      'same=False.'
    )
  return float(nbytes) * _one_axis(a, b, p1)


def boxing_cost_nd(
  src: _sbp.SbpLike,
  dst: _sbp.SbpLike,
  nbytes: float,
  mesh_shape: Any,
  *,
  to_mesh_shape: Any = None,
  ndim: int | None = None,
) -> float:
  """Bytes moved, over all devices, to change a signature on any mesh.

  Where one component changes, groups of devices along that axis do what they
  would do on a mesh of one axis; there is one group for each place along the
  others, with T divided by the axes that split. Where the axis splits a
  dimension that a later axis splits further, the pieces lie elsewhere, and what
  every device lacks is counted: (B, S0) -> (S0, S0) is not free but moves
  (1 - 1/m) T on m x m devices. Where several components change, the cheapest
  path through other signatures is taken, one component at a time.

  Args:
    src: the signature that there is, a component per axis of the mesh.
    dst: the signature that is wanted.
    nbytes: T, of the global tensor; any unit.
    mesh_shape: devices along each axis.
    to_mesh_shape: of other devices that want it; None for the same.
    ndim: dimensions of the tensor, any of which a path may split; None for
      those up to the last that is split here, one at least.

  Returns:
    The cost, proportional to T.

  Raises:
    ValueError: if a signature has not one component per axis, or a P of sums
      becomes one of maxima.

  Cost: O(n³) for n signatures, once per mesh and number of dimensions split.

  Example:
    >>> boxing_cost_nd('P,S0', 'B,S0', 8, (2, 4))
    16.0
    >>> boxing_cost_nd('B,S0', 'S0,S0', 8, (2, 2))
    4.0

  Source: Yuan et al. 2021 (https://arxiv.org/abs/2110.15032), Section 3.2; the
    exact count is ours.
  """
  checks.number(nbytes, name='nbytes', low=0)
  mesh = _sbp.as_mesh_shape(mesh_shape)
  src = _sbp.as_sbp(src, len(mesh), name='src')
  if to_mesh_shape is not None:
    there = _sbp.as_mesh_shape(to_mesh_shape, name='to_mesh_shape')
    dst = _sbp.as_sbp(dst, len(there), name='dst')
    for a, b in itertools.product(src, dst):
      _check_reduction(a, b)
    return float(nbytes) * disjoint(src, dst, mesh, there)
  dst = _sbp.as_sbp(dst, len(mesh), name='dst')
  return float(nbytes) * _path(src, dst, mesh, ndim)[0]


def boxing_path(
  src: _sbp.SbpLike,
  dst: _sbp.SbpLike,
  mesh_shape: Any,
  *,
  shape: Sequence[int] | None = None,
  only_groups: bool = False,
) -> list[_sbp.NdSbp]:
  """The signatures on the way that `boxing_cost_nd` takes.

  Args:
    src: the signature that there is.
    dst: the signature that is wanted.
    mesh_shape: devices along each axis.
    shape: of the tensor, which is then split evenly on the way; None for any.
    only_groups: whether to take only steps that groups of devices along one
      axis do by themselves.

  Returns:
    From src to dst, both included; neighbors differ in one component.

  Raises:
    ValueError: if a signature has not one component per axis, or does not split
      the shape evenly.

  Example:
    >>> path = boxing_path('S0,P', 'B,B', (2, 4))
    >>> [_sbp.format_sbp(s) for s in path]
    ['S0,P', 'S0,B', 'B,B']
  """
  mesh = _sbp.as_mesh_shape(mesh_shape)
  src = _sbp.as_sbp(src, len(mesh), name='src')
  dst = _sbp.as_sbp(dst, len(mesh), name='dst')
  if shape is not None:
    shape = tuple(shape)
    for sbp in (src, dst):
      _sbp.check_shape(sbp, shape, mesh)
  ndim = None if shape is None else len(shape)
  return list(_path(src, dst, mesh, ndim, shape, only_groups)[1])


def boxing_costs(
  ndim: int, mesh_shape: Any
) -> tuple[tuple[_sbp.NdSbp, ...], np.ndarray]:
  """`boxing_cost_nd` of all pairs, for a tensor of T = 1.

  Args:
    ndim: dimensions that may be split.
    mesh_shape: devices along each axis.

  Returns:
    Every signature without P(max), and costs f64[n, n] from row to column.

  Example:
    >>> states, costs = boxing_costs(1, 4)
    >>> [_sbp.format_sbp(s) for s in states], costs[:, 1].tolist()
    (['S0', 'B', 'P'], [3.0, 0.0, 6.0])
  """
  ndim = checks.integer(ndim, name='ndim', low=0)
  return all_pairs(ndim, _sbp.as_mesh_shape(mesh_shape))[:2]


def _one_axis(a, b, p):
  """Of T = 1, on the same p devices."""
  if a == b or isinstance(a, Broadcast):
    return 0.0
  if isinstance(a, Split):
    if isinstance(b, Split):
      return (p - 1) / p
    return float(p - 1) if isinstance(b, Broadcast) else 0.0
  return float(p - 1) if isinstance(b, Split) else 2.0 * (p - 1)


def disjoint(
  src: _sbp.NdSbp,
  dst: _sbp.NdSbp,
  mesh: tuple[int, ...],
  there: tuple[int, ...],
) -> float:
  """Of T = 1: terms come together at one copy, which is then spread."""
  terms = math.prod(
    m for x, m in zip(src, mesh, strict=True) if isinstance(x, Partial)
  )
  copies = math.prod(
    m for x, m in zip(dst, there, strict=True) if isinstance(x, Broadcast)
  )
  return float(terms + copies - 1)


def _check_reduction(a, b):
  if isinstance(a, Partial) and isinstance(b, Partial) and a != b:
    raise ValueError(
      f'{a} cannot become {b}: make it B first, so that it has one value.'
    )


def _step(src, dst, axis, mesh):
  """Of T = 1, where one component changes."""
  if _shards.aligned(src, dst, axis):
    groups = math.prod(
      m
      for i, (x, m) in enumerate(zip(src, mesh, strict=True))
      if i != axis and not isinstance(x, Split)
    )
    return groups * _one_axis(src[axis], dst[axis], mesh[axis])
  return _lacking(src, dst, axis, mesh)


def _lacking(src, dst, axis, mesh):
  """Counts what devices need and do not hold, piece by piece.

  Pieces are those of the finest split of each dimension. To a sum every term
  comes that lies elsewhere; a device that holds a piece which its term of a sum
  does not have gives it away.
  """
  dims = sorted({x.axis for x in (*src, *dst) if isinstance(x, Split)})
  grid = [
    math.prod(m for x, m in zip(s, mesh, strict=True) if x == Split(d))
    for d in dims
    for s in (src, dst)
  ]
  sizes = [math.lcm(a, b) for a, b in zip(grid[::2], grid[1::2], strict=True)]
  total = 0.0
  for place in itertools.product(*map(range, mesh)):
    spans = [
      [_span(s, place, mesh, d, size) for s in (src, dst)]
      for d, size in zip(dims, sizes, strict=True)
    ]
    common = math.prod(
      max(0, min(h[1], n[1]) - max(h[0], n[0])) for h, n in spans
    )
    held, needed = (math.prod(s[k][1] - s[k][0] for s in spans) for k in (0, 1))
    if isinstance(dst[axis], Partial):
      total += held - common
    elif isinstance(src[axis], Partial):
      total += mesh[axis] * needed - common
    else:
      total += needed - common
  return total / math.prod(sizes)


def _span(sbp, place, mesh, dim, size):
  """Pieces [a, b) of a dimension that a device holds."""
  index, count = 0, 1
  for x, i, m in zip(sbp, place, mesh, strict=True):
    if x == Split(dim):
      index, count = index * m + i, count * m
  return size // count * index, size // count * (index + 1)


def _path(src, dst, mesh, ndim, shape=None, only_groups=False):
  changed = [a for a in range(len(mesh)) if src[a] != dst[a]]
  if not changed:
    return 0.0, (src,)
  for a in changed:
    _check_reduction(src[a], dst[a])
  if len(changed) == 1 and (
    not only_groups or _shards.aligned(src, dst, changed[0])
  ):
    return _step(src, dst, changed[0], mesh), (src, dst)
  split = [x.axis for x in (*src, *dst) if isinstance(x, Split)]
  if ndim is None:
    ndim = 1 + max(split, default=0)
  elif checks.integer(ndim, name='ndim', low=0) <= max(split, default=-1):
    raise ValueError(
      f'dimension {max(split)} is split, but ndim={ndim}: give the dimensions '
      'of the tensor.'
    )
  return _dijkstra(src, dst, mesh, ndim, shape, only_groups)


@functools.lru_cache(maxsize=4096)
def _dijkstra(src, dst, mesh, ndim, shape, only_groups):
  """The cheapest path; of equally cheap ones the one of fewest steps."""
  parts = dict.fromkeys(
    [*map(Split, range(ndim)), Broadcast(), Partial(), *src, *dst]
  )
  _check_states(len(parts) ** len(mesh), mesh)
  best, before = {src: (0.0, 0)}, {}
  done: set[_sbp.NdSbp] = set()
  while dst not in done:
    here = min((s for s in best if s not in done), key=best.__getitem__)
    done.add(here)
    cost, steps = best[here]
    for axis, part in itertools.product(range(len(mesh)), parts):
      there = (*here[:axis], part, *here[axis + 1 :])
      if there in done or (
        only_groups and not _shards.aligned(here, there, axis)
      ):
        continue
      if shape is not None and not _divides(there, shape, mesh):
        continue
      terms = {x for x in (here[axis], part) if isinstance(x, Partial)}
      if len(terms) > 1:
        continue
      found = cost + _step(here, there, axis, mesh), steps + 1
      if there not in best or found < best[there]:
        best[there], before[there] = found, here
  path = [dst]
  while path[-1] != src:
    path.append(before[path[-1]])
  return best[dst][0], tuple(reversed(path))


def _divides(sbp, shape, mesh):
  pieces = [1] * len(shape)
  for x, size in zip(sbp, mesh, strict=True):
    if isinstance(x, Split):
      pieces[x.axis] *= size
  return all(n % m == 0 for n, m in zip(shape, pieces, strict=True))


def _check_states(num, mesh):
  if num > _MOST_STATES:
    raise ValueError(
      f'a mesh of {len(mesh)} axes has {num} signatures of such '
      f'tensors, more than the {_MOST_STATES} among which paths are searched: '
      'take a mesh of fewer axes.'
    )


@functools.lru_cache(maxsize=256)
def all_pairs(
  ndim: int, mesh: tuple[int, ...]
) -> tuple[tuple[_sbp.NdSbp, ...], np.ndarray, dict[_sbp.NdSbp, int]]:
  """Signatures, costs, and where each signature stands."""
  parts = [*map(Split, range(ndim)), Broadcast(), Partial()]
  _check_states(len(parts) ** len(mesh), mesh)
  states = tuple(itertools.product(parts, repeat=len(mesh)))
  n = len(states)
  where = {s: i for i, s in enumerate(states)}
  step = np.full((n, n), np.inf)
  np.fill_diagonal(step, 0.0)
  for i, here in enumerate(states):
    for axis, part in itertools.product(range(len(mesh)), parts):
      there = (*here[:axis], part, *here[axis + 1 :])
      if there != here:
        step[i, where[there]] = _step(here, there, axis, mesh)
  path = step.copy()
  for k in range(n):
    np.minimum(path, path[:, k : k + 1] + path[k], out=path)
  # A single change is made directly, even if there is a cheaper way round.
  costs = np.where(np.isfinite(step), step, path)
  costs.setflags(write=False)
  return states, costs, where
