# SPDX-License-Identifier: Apache-2.0
"""Mixing global arrays whose client axis lies on a device mesh."""

import functools

import jax

from jaxdl.mixing import _mixers


def shard(
  mixer: _mixers.Mixer, mesh: jax.sharding.Mesh, *, axis: str = 'clients'
) -> _mixers.Mixer:
  """Runs a mixer over the devices of a mesh axis.

  Known matrices become point-to-point transfers of exactly the rows that
  cross a device border (two rows per device for a ring), or partial sums that
  travel around the devices where a client listens to most others; random
  matrices always travel around. Models are never gathered on one device. The
  gradient is the transposed step.

  Args:
    mixer: any mixer of this package.
    mesh: device mesh; the size S of `axis` must divide N.
    axis: name of the axis over which clients are split in blocks of N / S.

  Returns:
    A mixer for global arrays [N, ...], sharded or not, inside or outside jit;
    the result is sharded by `axis` (other axes of the mesh see copies).

  Raises:
    ValueError: if the mesh has no such axis, or (when applied) N does not
      split evenly.

  Example:
    >>> import jax, numpy as np
    >>> mesh = jax.make_mesh(
    ...   (1,), ('clients',), axis_types=(jax.sharding.AxisType.Auto,)
    ... )
    >>> mixer = shard(_mixers.from_matrix(np.full((2, 2), 0.5)), mesh)
    >>> mixer.apply(jax.numpy.array([1.0, 3.0]), 0).tolist()
    [2.0, 2.0]
  """
  if axis not in mesh.axis_names:
    raise ValueError(
      f'axis={axis!r} is not in the mesh: it has {mesh.axis_names}.'
    )
  num_shards = mesh.shape[axis]
  spec = jax.P(axis)

  def apply(stacked, round, *, key=None, axis_name=None):
    if axis_name is not None:
      raise ValueError(
        'a mixer made by shard runs on global arrays: inside a mapped '
        'function apply the mixer that it was made of.'
      )
    for path, leaf in jax.tree_util.tree_leaves_with_path(stacked):
      if not leaf.ndim or leaf.shape[0] % num_shards:
        raise ValueError(
          f'stacked{jax.tree_util.keystr(path)} has shape {leaf.shape}, whose '
          f'leading axis does not split over {num_shards} devices: use a '
          'divisor of N or pad with clients of zero weight.'
        )

    def body(round, block, key):
      return mixer.apply(block, round, key=key, axis_name=axis)

    mapped = functools.partial(jax.shard_map, mesh=mesh, out_specs=spec)
    if isinstance(round, int):
      # A static round keeps the choice of transfers out of the program.
      fn = functools.partial(body, round)
      return mapped(fn, in_specs=(spec, jax.P()))(stacked, key)
    return mapped(body, in_specs=(jax.P(), spec, jax.P()))(round, stacked, key)

  return mixer._replace(apply=apply, structure=f'sharded {mixer.structure}')
