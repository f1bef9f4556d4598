# SPDX-License-Identifier: Apache-2.0
"""Tensors as the shards that devices hold; plain arrays, no devices.

Shards of a mesh with several axes come in one list, the last axis fastest.
"""

import itertools
import math
from collections.abc import Sequence
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np

from jaxdl.core import checks
from jaxdl.parallel import _sbp

Partial, Split = _sbp.Partial, _sbp.Split


def balanced(size: int, parts: int) -> list[slice]:
  """Splits a dimension; the first pieces get what does not divide evenly.

  Args:
    size: of the dimension.
    parts: how many pieces.

  Returns:
    Where the pieces lie.

  Example:
    >>> balanced(5, 3)
    [slice(0, 2, None), slice(2, 4, None), slice(4, 5, None)]
  """
  ends = np.cumsum(
    [0] + [size // parts + (i < size % parts) for i in range(parts)]
  )
  return [slice(int(a), int(b)) for a, b in itertools.pairwise(ends)]


def scatter(
  x: chex.Array,
  sbp: _sbp.SbpLike,
  mesh_shape: Any,
  *,
  rng: np.random.Generator | None = None,
) -> list[chex.Array]:
  """Gives every device its shard of a tensor.

  Args:
    x: the tensor, any shape; NumPy or JAX, and so are the shards.
    sbp: a signature with a component per axis of the mesh. Where two axes split
      the same dimension, the earlier one varies slowest.
    mesh_shape: devices along each axis; a number for one axis.
    rng: draws the terms of P at random. None gives everything to the first
      device and neutral elements (0, or -inf for a maximum) to the others,
      which moves nothing if all hold the tensor.

  Returns:
    Shards, the last axis of the mesh fastest. Pieces differ by one at most
    where a size does not divide evenly, the larger ones first.

  Raises:
    ValueError: if a dimension that is split does not exist, or P(max) is asked
      of numbers without -inf.

  Example:
    >>> [s.tolist() for s in scatter(np.arange(5), 'S0', 2)]
    [[0, 1, 2], [3, 4]]
    >>> [s.tolist() for s in scatter(np.arange(2), 'P,B', (2, 2))]
    [[0, 1], [0, 1], [0, 0], [0, 0]]

  Source: Yuan et al. 2021 (https://arxiv.org/abs/2110.15032), Section 3.1.
  """
  if rng is not None and not isinstance(rng, np.random.Generator):
    raise TypeError(
      'rng must be a np.random.Generator or None; got '
      f'{checks.described(rng)}: call np.random.default_rng(seed).'
    )
  mesh = _sbp.as_mesh_shape(mesh_shape)
  parts = _sbp.as_sbp(sbp, len(mesh))
  x = x if isinstance(x, jax.Array) else np.asarray(x)
  _sbp.check_shape(parts, x.shape, mesh, even=False)
  shards = [x]
  for part, size in zip(parts, mesh, strict=True):
    shards = [y for shard in shards for y in _scatter(shard, part, size, rng)]
  return shards


def recover(
  shards: Sequence[chex.Array], sbp: _sbp.SbpLike, mesh_shape: Any = None
) -> chex.Array:
  """The tensor of which devices hold shards.

  Args:
    shards: of every device, as `scatter` gives them.
    sbp: their signature.
    mesh_shape: devices along each axis; None for one axis.

  Returns:
    The tensor.

  Raises:
    ValueError: if there are not as many shards as devices, or their shapes do
      not fit together.

  Cost: O(p) shards are read; of B the first only.

  Example:
    >>> recover([np.ones(2), np.zeros(1)], 'S0').tolist()
    [1.0, 1.0, 0.0]
    >>> recover([np.ones(2), 3 * np.ones(2)], 'P').tolist()
    [4.0, 4.0]

  Source: Yuan et al. 2021 (https://arxiv.org/abs/2110.15032), Section 3.1.
  """
  shards = list(shards)
  mesh = _sbp.as_mesh_shape(len(shards) if mesh_shape is None else mesh_shape)
  parts = _sbp.as_sbp(sbp, len(mesh))
  if len(shards) != math.prod(mesh):
    raise ValueError(
      f'shards must be one of each of {math.prod(mesh)} devices; got '
      f'{len(shards)}.'
    )
  for part, size in reversed(list(zip(parts, mesh, strict=True))):
    groups = [shards[i : i + size] for i in range(0, len(shards), size)]
    shards = [_recover(group, part) for group in groups]
  return shards[0]


def box(
  shards: Sequence[chex.Array],
  src: _sbp.SbpLike,
  dst: _sbp.SbpLike,
  mesh_shape: Any = None,
  *,
  to_mesh_shape: Any = None,
) -> list[chex.Array]:
  """Turns shards of one signature into those of another: the reference.

  Args:
    shards: of every device, as `scatter` gives them.
    src: their signature.
    dst: the signature that is wanted.
    mesh_shape: devices along each axis; None for one axis.
    to_mesh_shape: of other devices that get the shards; None if the same do.

  Returns:
    The shards. Where nothing has to move, every device keeps what it holds:
    terms stay as they are from P to P, and from S to P each device puts its
    piece among zeros.

  Raises:
    ValueError: as `scatter` and `recover`.

  Example:
    >>> parts = [np.array([1.0, 2.0]), np.array([3.0, 4.0])]
    >>> [s.tolist() for s in box(parts, 'P', 'S0')]
    [[4.0], [6.0]]
    >>> [s.tolist() for s in box(parts, 'S0', 'P')]
    [[1.0, 2.0, 0.0, 0.0], [0.0, 0.0, 3.0, 4.0]]

  Source: Yuan et al. 2021 (https://arxiv.org/abs/2110.15032), Section 3.2.
  """
  shards = list(shards)
  mesh = _sbp.as_mesh_shape(len(shards) if mesh_shape is None else mesh_shape)
  src = _sbp.as_sbp(src, len(mesh), name='src')
  whole = recover(shards, src, mesh)
  if to_mesh_shape is not None:
    return scatter(whole, dst, to_mesh_shape)
  dst = _sbp.as_sbp(dst, len(mesh), name='dst')
  _sbp.check_shape(dst, whole.shape, mesh, even=False)
  if src == dst:
    return shards
  changed = [a for a in range(len(mesh)) if src[a] != dst[a]]
  if len(changed) > 1 or not aligned(src, dst, changed[0]):
    return scatter(whole, dst, mesh)
  # Groups of devices along the axis, each on its own.
  axis = changed[0]
  places = np.arange(len(shards)).reshape(mesh)
  out: list[Any] = [None] * len(shards)
  for group in np.moveaxis(places, axis, -1).reshape(-1, mesh[axis]):
    found = _box([shards[i] for i in group], src[axis], dst[axis])
    for i, shard in zip(group, found, strict=True):
      out[i] = shard
  return out


def aligned(src: _sbp.NdSbp, dst: _sbp.NdSbp, axis: int) -> bool:
  """Whether a change along one axis of a mesh is one of groups of devices.

  It is none if the axis splits, before or after, a dimension that a later axis
  splits further: the pieces of the groups then lie elsewhere.

  Args:
    src: a component per axis of the mesh.
    dst: the same but along `axis`.
    axis: of the mesh.

  Returns:
    Whether; then it costs what it does on a mesh of one axis.

  Example:
    >>> aligned(*map(_sbp.as_sbp, ('B,S0', 'S0,S0')), 0)
    False
  """
  ours = {x for x in (src[axis], dst[axis]) if isinstance(x, Split)}
  return not ours & set(src[axis + 1 :])


def neutral(dtype: Any, op: str) -> Any:
  """What changes nothing in a sum or a maximum.

  Args:
    dtype: of the numbers.
    op: 'sum' or 'max'.

  Returns:
    0, or -inf.

  Raises:
    ValueError: if there is none.
  """
  if op == 'sum':
    return 0
  if not jnp.issubdtype(dtype, np.floating):
    raise ValueError(
      f'P(max) of {np.dtype(dtype)} has no neutral element: convert to floats, '
      'or keep it S or B.'
    )
  return -np.inf


def _scatter(x, part, size, rng):
  if isinstance(part, Split):
    rows = (slice(None),) * part.axis
    return [x[(*rows, s)] for s in balanced(x.shape[part.axis], size)]
  if not isinstance(part, Partial):
    return [x] * size
  xp = jnp if isinstance(x, jax.Array) else np
  rest = xp.full_like(x, neutral(x.dtype, part.op))
  if rng is None:
    return [x] + [rest] * (size - 1)
  if part.op == 'max':
    # Everybody is below, but for one device at each place.
    owner = rng.integers(size, size=x.shape)
    below = [x - abs(_drawn(rng, x)) for _ in range(size)]
    return [xp.where(owner == i, x, y) for i, y in enumerate(below)]
  terms = [_drawn(rng, x) for _ in range(size - 1)]
  return [*terms, x - sum(terms)] if terms else [x]


def _drawn(rng, x):
  if jnp.issubdtype(x.dtype, np.integer):
    values = rng.integers(-3, 4, size=x.shape)
  elif jnp.issubdtype(x.dtype, np.floating):
    values = rng.normal(size=x.shape)
  else:
    raise ValueError(f'terms of {x.dtype} cannot be drawn: leave out rng.')
  xp = jnp if isinstance(x, jax.Array) else np
  return xp.asarray(values, dtype=x.dtype)


def _recover(group, part):
  shapes = {np.shape(x) for x in group}
  xp = jnp if isinstance(group[0], jax.Array) else np
  if isinstance(part, Split):
    if len({s[: part.axis] + s[part.axis + 1 :] for s in shapes}) > 1 or any(
      part.axis >= len(s) for s in shapes
    ):
      raise ValueError(
        f'shards of {part} must differ along dimension {part.axis} only; got '
        f'shapes {sorted(shapes)}.'
      )
    return xp.concatenate(group, axis=part.axis)
  if len(shapes) > 1:
    raise ValueError(
      f'shards of {part} must have one shape; got {sorted(shapes)}.'
    )
  if not isinstance(part, Partial):
    return group[0]
  combine = np.add if part.op == 'sum' else np.maximum
  combine = getattr(xp, combine.__name__)
  whole = group[0]
  for x in group[1:]:
    whole = combine(whole, x)
  return whole


def _box(group, src, dst):
  """Boxing of one group; src and dst differ."""
  whole = _recover(group, src)
  if not isinstance(src, Split) or not isinstance(dst, Partial):
    return _scatter(whole, dst, len(group), None)
  xp = jnp if isinstance(whole, jax.Array) else np
  fill = xp.full_like(whole, neutral(whole.dtype, dst.op))
  ends = np.cumsum([0] + [x.shape[src.axis] for x in group])
  out = []
  for x, a, b in zip(group, ends, ends[1:], strict=False):
    rows = (slice(None),) * src.axis
    pieces = [fill[(*rows, slice(0, a))], x, fill[(*rows, slice(b, None))]]
    out.append(xp.concatenate(pieces, axis=src.axis))
  return out
