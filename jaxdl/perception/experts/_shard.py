# SPDX-License-Identifier: Apache-2.0
"""Experts spread over the devices of a mesh."""

from collections.abc import Mapping
from typing import Any

import chex
import jax

from jaxdl.core import checks
from jaxdl.perception.experts import _apply, _route, _split


def _specs(params, axis):
  """Experts over an axis, the router everywhere."""
  own = jax.P(axis)
  return {
    name: jax.P() if name == 'router' else jax.tree.map(lambda _: own, layer)
    for name, layer in params.items()
  }


def _check_mesh(mesh, axis, params):
  if not isinstance(mesh, jax.sharding.Mesh):
    raise TypeError(f'mesh must be a jax Mesh; got {checks.described(mesh)}.')
  checks.choice(axis, mesh.axis_names, name='axis')
  kinds = {kind.name for kind in mesh.axis_types}
  if kinds != {'Auto'}:
    raise ValueError(
      f'mesh must have Auto axes; got {", ".join(sorted(kinds))}: make it with '
      f'axis_types=(jax.sharding.AxisType.Auto,) * {len(mesh.axis_names)}.'
    )
  total, devices = params['in']['kernel'].shape[0], mesh.shape[axis]
  if total % devices:
    raise ValueError(
      f'num_experts={total} must be a multiple of the {devices} devices of '
      f'axis {axis!r}.'
    )


def shard_experts(
  params: Mapping[str, Any], mesh: jax.sharding.Mesh, *, axis: str = 'experts'
) -> dict[str, Any]:
  """Puts equal shares of the experts on the devices of a mesh.

  Args:
    params: experts and router of a layer, see `moe_apply`.
    mesh: with Auto axes.
    axis: of the mesh.

  Returns:
    The same numbers, where they belong; the router is on all devices.

  Raises:
    ValueError: if there is no such axis, axes are not Auto, or shares would be
      unequal.
  """
  _split.widths(params, stacked=True)
  _check_mesh(mesh, axis, params)
  places = jax.tree.map(
    lambda spec: jax.NamedSharding(mesh, spec),
    _specs(params, axis),
    is_leaf=lambda x: isinstance(x, jax.sharding.PartitionSpec),
  )
  return jax.device_put(dict(params), places)


def sharded_moe_apply(
  params: Mapping[str, Any],
  x: chex.Array,
  *,
  mesh: jax.sharding.Mesh,
  axis: str = 'experts',
  split_tokens: bool = False,
  top_k: int,
  activation: _split.Activation = 'relu',
  gate: str = 'renorm_k',
  implementation: str = 'auto',
) -> tuple[chex.Array, _route.Routed]:
  """Applies a mixture whose experts are spread over devices.

  Every device computes what its own experts add to each token; the sum over
  devices is the result. No token is dropped and no expert has a capacity.

  Args:
    params: see `moe_apply`, of all experts.
    x: f[T, d].
    mesh: with Auto axes.
    axis: of the mesh, over which experts are spread.
    split_tokens: whether tokens are spread over the same axis: they are then
      gathered, and sums scattered, which moves T d numbers twice (static).
    top_k: k (static).
    activation: see `moe_apply`.
    gate: see `moe_apply`.
    implementation: see `moe_apply`.

  Returns:
    As `moe_apply`; the routing is that of all tokens.

  Raises:
    ValueError: if experts or tokens are no multiple of the devices, axes of the
      mesh are not Auto, or as `moe_apply`.
  """
  _split.widths(params, stacked=True)
  _check_mesh(mesh, axis, params)
  checks.flag(split_tokens, name='split_tokens')
  if x.ndim != 2:
    raise ValueError(f'x must have shape [T, d]; got {x.shape}.')
  devices = mesh.shape[axis]
  if split_tokens and x.shape[0] % devices:
    raise ValueError(
      f'x has {x.shape[0]} tokens, which {devices} devices cannot share.'
    )
  act = _split.activation_of(activation, len(_split.ins_of(params)))
  options = {'top_k': top_k, 'gate': gate, 'implementation': implementation}

  def one(params, x):
    # Replicated values are cast, so that slopes are not summed twice.
    router = jax.lax.pcast(params['router'], axis, to='varying')
    params = {**params, 'router': router}
    if split_tokens:
      x = jax.lax.all_gather(x, axis, tiled=True)
    else:
      x = jax.lax.pcast(x, axis, to='varying')
    y, routed = _apply.apply_parts(
      params, x, act, mask=None, axis_name=axis, split=split_tokens, **options
    )
    return y, jax.tree.map(lambda v: v[None], routed)

  tokens = jax.P(axis) if split_tokens else jax.P()
  run = jax.shard_map(
    one,
    mesh=mesh,
    in_specs=(_specs(params, axis), tokens),
    out_specs=(tokens, jax.P(axis)),
  )
  y, routed = run(dict(params), x)
  # The same on all devices.
  return y, jax.tree.map(lambda v: v[0], routed)
