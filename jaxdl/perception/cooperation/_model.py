# SPDX-License-Identifier: Apache-2.0
"""The parts of cooperation, put together."""

from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp

from jaxdl.core import checks, types
from jaxdl.perception.cooperation import (
  _fusion,
  _measures,
  _network,
  _rivals,
  _robustness,
  _selection,
  _warp,
)
from jaxdl.perception.cooperation.wire import _compression
from jaxdl.perception.cooperation.worlds import _roads

NUM_CLASSES = _measures.NUM_DYNAMIC + _measures.NUM_STATIC


class Model(NamedTuple):
  """How agents see, select, exchange and fuse.

  Attributes:
    encoder: from what an agent sees to maps.
    selector: what is sent.
    fusion: of maps.
    head: from maps to classes, those that move and those that do not.
    warp: from one agent's frame to another's.
    codec: how what is sent is compressed.
    conditions: what goes wrong.
    shape: C, H, W of a map.
    fill: what stands for what is not sent, 'own' or 'zero'.
  """

  encoder: types.Network
  selector: _selection.Selector
  fusion: _fusion.Fusion
  head: types.Network
  warp: _warp.Warp
  codec: _compression.Codec
  conditions: _robustness.Conditions
  shape: tuple[int, int, int]
  fill: str = 'own'

  def init(self, key: chex.PRNGKey) -> dict[str, Any]:
    """Draws parameters.

    Args:
      key: consumed.

    Returns:
      'encoder', 'selector', 'fusion', 'head'.
    """
    keys = jax.random.split(key, 4)
    c, h, w = self.shape
    # Only channels and dtypes of examples matter.
    example = jnp.zeros((1, h, w, _roads.NUM_INPUTS))
    maps = jnp.zeros((1, c, h, w))
    return {
      'encoder': self.encoder.init(keys[0], example),
      'selector': self.selector.init(keys[1]),
      'fusion': self.fusion.init(keys[2]),
      'head': self.head.init(keys[3], maps),
    }


def make_model(
  world: _roads.World,
  *,
  network: str = 'conv',
  selector: str = 'coopertrim',
  fusion: str = 'max',
  codec: _compression.Codec | None = None,
  conditions: _robustness.Conditions | None = None,
  fill: str = 'own',
) -> Model:
  """Makes a model for a world.

  Args:
    world: whose scenes it sees.
    network: a part of `ENCODERS`.
    selector: a part of `SELECTORS`.
    fusion: a part of `FUSIONS`.
    codec: how what is sent is compressed; not at all if None.
    conditions: what goes wrong; nothing if None.
    fill: see `trim_exchange`.

  Returns:
    The model.

  Raises:
    ValueError: if a part is unknown or parts do not fit.

  Example:
    >>> model = make_model(_roads.roads(grid=8), network='conv(channels=4)')
    >>> model.shape
    (4, 8, 8)
  """
  part = _network.ENCODERS.part(network, name='network')
  encoder = _network.ENCODERS.bound(part)
  sees = jax.ShapeDtypeStruct(
    (1, world.grid, world.grid, _roads.NUM_INPUTS), jnp.float32
  )
  # Shapes alone: which convolution is fastest would be asked of a device.
  plain = encoder
  if 'method' in _network.ENCODERS.options(part.name):
    spec = _network.ENCODERS.changed(network, method='conv')
    plain = _network.ENCODERS.make(spec)
  made = lambda x: plain.apply(plain.init(jax.random.key(0), x), x)
  c, h, w = jax.eval_shape(made, sees).shape[1:]
  stride = world.grid // h
  conditions = conditions or _robustness.Conditions()
  if conditions.pose and world.poses != 'continuous':
    raise ValueError(
      f'noise pose has no effect on poses={world.poses}, where they are not '
      'read or rounded: it is for continuous.'
    )
  if stride > 1 and world.poses == 'quarter':
    raise ValueError(
      f'stride={stride} does not keep whole cells: take poses=continuous.'
    )
  fused = _fusion.make_fusion(fusion, c)
  maps = jax.ShapeDtypeStruct((1, c, h, w), jnp.float32)
  where = jax.ShapeDtypeStruct((1, h, w), jnp.float32)
  jax.eval_shape(  # Whether windows fit.
    lambda m, s: fused.apply(fused.init(jax.random.key(0)), m, s, m[0]),
    maps,
    where,
  )
  checks.choice(fill, ('own', 'zero'), name='fill')
  return Model(
    encoder=encoder,
    selector=_rivals.make_selector(selector, c, h, w),
    fusion=fused,
    head=_network.seg_head(c, NUM_CLASSES, stride=stride),
    warp=world.warp
    if stride == 1
    else _warp.WARPS.make(f'continuous(resolution={float(stride)})')
    if world.poses == 'continuous'
    else world.warp,
    codec=codec or _compression.CODECS.make('none'),
    conditions=conditions,
    shape=(c, h, w),
    fill=fill,
  )
