# SPDX-License-Identifier: Apache-2.0
"""Signatures on the devices of JAX."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import chex
import jax
import jax.numpy as jnp
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from jaxdl.core import checks
from jaxdl.parallel import _costs, _sbp, _shards

Broadcast, Partial, Split = _sbp.Broadcast, _sbp.Partial, _sbp.Split
_NAMES = 'xyzuvw'


def device_mesh(
  mesh_shape: Any, axis_names: Sequence[str] | None = None
) -> Mesh:
  """A mesh of the first devices, with Auto axes.

  Args:
    mesh_shape: devices along each axis, such as 4 or '2x4'.
    axis_names: of the axes; x, y, ... if None.

  Returns:
    The mesh.

  Raises:
    ValueError: if there are too few devices.

  Example:
    >>> device_mesh(1).axis_names
    ('x',)
  """
  shape = _sbp.as_mesh_shape(mesh_shape)
  names = tuple(_NAMES[: len(shape)] if axis_names is None else axis_names)
  if len(names) != len(shape):
    raise ValueError(
      f'axis_names={names} must name the {len(shape)} axes of the mesh '
      f'{"x".join(map(str, shape))}.'
    )
  if len(set(names)) != len(names):
    raise ValueError(f'axis_names={names} must differ.')
  devices = jax.devices()
  if len(devices) < math.prod(shape):
    raise ValueError(
      f'mesh_shape={"x".join(map(str, shape))} needs {math.prod(shape)} '
      f'devices; there are {len(devices)}. On CPU, emulate them: set XLA_FLAGS='
      f'--xla_force_host_platform_device_count={math.prod(shape)} before jax '
      f'starts, or pass --devices={math.prod(shape)} to a binary.'
    )
  return jax.make_mesh(
    shape,
    names,
    axis_types=(jax.sharding.AxisType.Auto,) * len(shape),
    devices=devices[: math.prod(shape)],
  )


def to_partition_spec(
  sbp: _sbp.SbpLike, axis_names: Sequence[str], ndim: int
) -> PartitionSpec:
  """Writes a signature as JAX does.

  Args:
    sbp: a component per axis of the mesh.
    axis_names: of the mesh.
    ndim: dimensions of the tensor.

  Returns:
    S(i) puts the axis at dimension i, P among `unreduced`; B leaves it out.

  Raises:
    ValueError: if a dimension that is split does not exist, or for P(max)
      before jax 0.12, or beside P.

  Example:
    >>> spec = to_partition_spec('S1,P', ('x', 'y'), 2)
    >>> set(spec.unreduced), _sbp.format_sbp(from_sharding(spec, ('x', 'y')))
    ({'y'}, 'S1,P')
  """
  names = tuple(axis_names)
  parts = _sbp.as_sbp(sbp, len(names))
  _sbp.check_shape(parts, (1,) * ndim, (1,) * len(names))
  places: list[list[str]] = [[] for _ in range(ndim)]
  unreduced: dict[str, str] = {}
  for part, name in zip(parts, names, strict=True):
    if isinstance(part, Split):
      places[part.axis].append(name)
    elif isinstance(part, Partial):
      unreduced[name] = part.op
  entries = [
    None if not p else p[0] if len(p) == 1 else tuple(p) for p in places
  ]
  if not unreduced:
    return PartitionSpec(*entries)
  ops = set(unreduced.values())
  if ops == {'sum'}:
    return PartitionSpec(*entries, unreduced=set(unreduced))
  # Since jax 0.12.
  kinds: Any = getattr(jax.sharding, 'UnreducedKind', None)
  if kinds is None or len(ops) > 1:
    raise ValueError(
      f'jax {jax.__version__} cannot write {_sbp.format_sbp(parts)}: box '
      'P(max) to B or S first, see `reshard`.'
    )
  kind: dict[str, Any] = {'unreduced_kind': kinds[ops.pop()]}
  return PartitionSpec(*entries, unreduced=set(unreduced), **kind)


def from_sharding(
  sharding: NamedSharding | PartitionSpec,
  axis_names: Sequence[str] | None = None,
) -> _sbp.NdSbp:
  """Reads a signature from what JAX says of an array.

  Args:
    sharding: `array.sharding`, or a `PartitionSpec`.
    axis_names: of the mesh, for a `PartitionSpec`.

  Returns:
    A component per axis of the mesh.

  Raises:
    ValueError: if a dimension is split by a later axis before an earlier one,
      which no signature says, or left open.
    TypeError: if the sharding has no axes.

  Example:
    >>> _sbp.format_sbp(from_sharding(jax.P(None, 'x'), ('x', 'y')))
    'S1,B'
  """
  if isinstance(sharding, NamedSharding):
    spec, names = sharding.spec, tuple(sharding.mesh.axis_names)
  elif isinstance(sharding, PartitionSpec) and axis_names is not None:
    spec, names = sharding, tuple(axis_names)
  else:
    raise TypeError(
      'sharding must be a NamedSharding, or a PartitionSpec with axis_names; '
      f'got {checks.described(sharding)}.'
    )
  kind = getattr(spec, 'unreduced_kind', None)
  terms = Partial('sum' if kind is None else kind.name)
  found: dict[str, _sbp.Sbp] = dict.fromkeys(spec.unreduced, terms)
  # jax 0.10 has no `partitions`, and 0.12 refuses to be read without.
  entries = spec.partitions if hasattr(spec, 'partitions') else tuple(spec)
  for i, entry in enumerate(entries):
    axes = entry if isinstance(entry, tuple) else (entry,)
    axes = [] if entry is None else list(axes)
    for name in axes:
      if name not in names:
        raise ValueError(
          f'sharding={spec} has {name!r} at dimension {i}, which is no axis of '
          f'the mesh: there are {", ".join(names)}.'
        )
    if axes != sorted(axes, key=names.index):
      raise ValueError(
        f'sharding={spec} splits dimension {i} by {axes[0]!r} first, a later '
        f'axis of the mesh ({", ".join(names)}): order the axes of the mesh as '
        'dimensions are split.'
      )
    found |= dict.fromkeys(axes, Split(i))
  return tuple(found.get(name, Broadcast()) for name in names)


def reshard(
  shard: chex.Array,
  src: _sbp.SbpLike,
  dst: _sbp.SbpLike,
  axis_names: str | Sequence[str],
) -> chex.Array:
  """Changes a signature by collectives, inside of `shard_map`.

  From S to another S by all-to-all, to B by all-gather; from P to S by
  reduce-scatter, to B by all-reduce; from B to S by a slice; to P by zeros on
  all devices but one. Several components change one after the other, on the
  cheapest path whose steps are of this kind (`boxing_path`), which may cost
  more than `boxing_cost_nd` where axes split the same dimension.

  Args:
    shard: what this device holds.
    src: its signature.
    dst: the signature that is wanted.
    axis_names: of all axes of the mesh, in order.

  Returns:
    What this device holds then.

  Raises:
    ValueError: if a dimension is not split evenly, or an axis is not mapped
      here.

  Example:
    >>> mesh = device_mesh(1)
    >>> total = jax.shard_map(
    ...   lambda x: reshard(x, 'P', 'S0', 'x'),
    ...   mesh=mesh, in_specs=jax.P(), out_specs=jax.P('x'),
    ... )
    >>> total(jnp.arange(2.0)).tolist()
    [0.0, 1.0]

  Source: Yuan et al. 2021 (https://arxiv.org/abs/2110.15032), Section 3.2.
  """
  names = (axis_names,) if isinstance(axis_names, str) else tuple(axis_names)
  mesh = tuple(checks.axis_size(name) for name in names)
  src = _sbp.as_sbp(src, len(names), name='src')
  dst = _sbp.as_sbp(dst, len(names), name='dst')
  shape = list(shard.shape)
  _sbp.check_shape(src, shape, (1,) * len(mesh), name='shard')
  for part, size in zip(src, mesh, strict=True):
    if isinstance(part, Split):
      shape[part.axis] *= size
  path = _costs.boxing_path(src, dst, mesh, shape=shape, only_groups=True)
  for before, after in zip(path, path[1:], strict=False):
    for a, name in enumerate(names):
      if before[a] != after[a]:
        shard = _change(shard, before[a], after[a], name, mesh[a])
  return shard


def _change(x, src, dst, name, size):
  """One component, along one axis."""
  if isinstance(src, Split):
    if isinstance(dst, Split):
      return jax.lax.all_to_all(x, name, dst.axis, src.axis, tiled=True)
    if isinstance(dst, Broadcast):
      return jax.lax.all_gather(x, name, axis=src.axis, tiled=True)
    shape = list(x.shape)
    shape[src.axis] *= size
    whole = jnp.full(shape, _shards.neutral(x.dtype, dst.op), x.dtype)
    start = jax.lax.axis_index(name) * x.shape[src.axis]
    return jax.lax.dynamic_update_slice_in_dim(whole, x, start, src.axis)
  if isinstance(src, Partial):
    if isinstance(dst, Broadcast):
      reduce = jax.lax.psum if src.op == 'sum' else jax.lax.pmax
      return reduce(x, name)
    if src.op == 'sum':
      return jax.lax.psum_scatter(
        x, name, scatter_dimension=dst.axis, tiled=True
      )
    pieces = jnp.stack(jnp.split(x, size, axis=dst.axis))
    return jax.lax.all_to_all(pieces, name, 0, 0).max(0)
  index = jax.lax.axis_index(name)
  if isinstance(dst, Split):
    each = x.shape[dst.axis] // size
    return jax.lax.dynamic_slice_in_dim(x, index * each, each, dst.axis)
  rest = jnp.asarray(_shards.neutral(x.dtype, dst.op), x.dtype)
  return jnp.where(index == 0, x, rest)


def run_sharded(
  fn: Callable[..., chex.Array],
  in_sbp: Sequence[_sbp.SbpLike],
  out_sbp: _sbp.SbpLike,
  mesh: Mesh,
  *,
  to: _sbp.SbpLike | None = None,
) -> Callable[..., jax.Array]:
  """Runs a function on the shards of every device.

  Args:
    fn: `fn(*shards) -> shard`, such as `Operator.apply`. If it takes `first`,
      it is told which index of dimension 0 every shard begins with.
    in_sbp: signatures of its inputs. P gives an input to the first device and
      zeros to the others.
    out_sbp: signature of what it returns.
    mesh: of devices; all of its axes are used.
    to: the signature that the result is brought to, without P; out_sbp with B
      for P if None.

  Returns:
    `call(*arrays) -> array` on whole arrays; jit-able. It equals `fn` on whole
    arrays where the signature is one that `fn` takes.

  Raises:
    ValueError: if a signature has not one component per axis, `to` has a P, or
      a dimension is not split evenly.

  Example:
    >>> call = run_sharded(jnp.matmul, ('S1', 'S0'), 'P', device_mesh(1))
    >>> call(jnp.ones((2, 3)), jnp.ones((3, 4))).shape
    (2, 4)

  Source: Yuan et al. 2021 (https://arxiv.org/abs/2110.15032), Section 3.1.
  """
  names, shape = tuple(mesh.axis_names), tuple(mesh.axis_sizes)
  ins = tuple(
    _sbp.as_sbp(s, len(names), name=f'in_sbp[{i}]')
    for i, s in enumerate(in_sbp)
  )
  out = _sbp.as_sbp(out_sbp, len(names), name='out_sbp')
  plain = lambda sbp: tuple(
    Broadcast() if isinstance(x, Partial) else x for x in sbp
  )
  final = plain(out) if to is None else _sbp.as_sbp(to, len(names), name='to')
  if plain(final) != final:
    raise ValueError(
      f'to={_sbp.format_sbp(final)} leaves terms of a sum: choose S or B; '
      '`map_shards` gives what each device holds.'
    )
  mesh = _auto(mesh)

  def body(*shards):
    given = [
      reshard(x, plain(s), s, names) for x, s in zip(shards, ins, strict=True)
    ]
    return reshard(_call(fn, given, ins, names), out, final, names)

  def call(*arrays):
    if len(arrays) != len(ins):
      raise ValueError(
        f'the function takes {len(ins)} arrays, as in_sbp says; got '
        f'{len(arrays)}.'
      )
    specs = []
    for i, (x, s) in enumerate(zip(arrays, ins, strict=True)):
      _sbp.check_shape(s, jnp.shape(x), shape, name=f'array {i}')
      specs.append(to_partition_spec(plain(s), names, jnp.ndim(x)))
    local = [
      jax.ShapeDtypeStruct(
        tuple(
          n
          // math.prod(
            m for y, m in zip(s, shape, strict=True) if y == Split(d)
          )
          for d, n in enumerate(jnp.shape(x))
        ),
        jnp.result_type(x),
      )
      for x, s in zip(arrays, ins, strict=True)
    ]
    ndim = len(jax.eval_shape(fn, *local).shape)
    mapped = jax.shard_map(
      body,
      mesh=mesh,
      in_specs=tuple(specs),
      out_specs=to_partition_spec(final, names, ndim),
      check_vma=False,
    )
    return mapped(*arrays)

  return call


def map_shards(
  fn: Callable[..., chex.Array], in_sbp: Sequence[_sbp.SbpLike], mesh: Mesh
) -> Callable[..., jax.Array]:
  """Runs a function on given shards of every device, and gives what they get.

  Args:
    fn: as in `run_sharded`.
    in_sbp: signatures of its inputs, which only tell where shards begin.
    mesh: of devices.

  Returns:
    `call(*stacks) -> stack` on shards [p, ...] as `scatter` lists them; jit-
    able.

  Example:
    >>> double = map_shards(lambda x: 2 * x, ['P'], device_mesh(1))
    >>> double(jnp.ones((1, 3))).tolist()
    [[2.0, 2.0, 2.0]]
  """
  names = tuple(mesh.axis_names)
  ins = tuple(_sbp.as_sbp(s, len(names)) for s in in_sbp)
  spec = jax.P(names)

  def body(*stacks):
    return _call(fn, [x[0] for x in stacks], ins, names)[None]

  return jax.shard_map(
    body, mesh=_auto(mesh), in_specs=spec, out_specs=spec, check_vma=False
  )


def _call(fn, shards, ins, names):
  if not checks.takes(fn, 'first'):
    return fn(*shards)
  return fn(*shards, first=tuple(map(_first(names), shards, ins)))


def _first(names):
  def first(shard, sbp):
    index = 0
    for part, name in zip(sbp, names, strict=True):
      if part == Split(0):
        index = index * jax.lax.axis_size(name) + jax.lax.axis_index(name)
    return index * shard.shape[0] if shard.ndim else 0

  return first


def _auto(mesh):
  """The mesh with Auto axes, on which arrays may come from anywhere."""
  return Mesh(
    mesh.devices,
    mesh.axis_names,
    axis_types=(jax.sharding.AxisType.Auto,) * len(mesh.axis_names),
  )
