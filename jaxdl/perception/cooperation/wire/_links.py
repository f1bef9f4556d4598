# SPDX-License-Identifier: Apache-2.0
"""Who hears whom, over links that fail, and messages by any compressor.

Topologies are those of `jaxdl.mixing`, compressors of `jaxdl.compression`.
"""

import functools
from collections.abc import Callable
from typing import Any

import chex
import jax
import jax.numpy as jnp

from jaxdl import compression, mixing
from jaxdl.core import checks, registry
from jaxdl.perception.cooperation.wire import _compression
from jaxdl.perception.cooperation.worlds import _roads

# `network(frame i[], key) -> f[A, A]`, the weight that each agent gives to
# each, zero where it does not hear it.
Network = Callable[..., chex.Array]


def lossy_links(
  mixer: Any,
  num_agents: int,
  *,
  offline: chex.Numeric = 0.0,
  loss: chex.Numeric = 0.0,
) -> Network:
  """Links of a mixer, some of which fail.

  An agent hears those to which the mixing matrix of a frame gives weight. With
  the fusion `mean` and all of their maps, fusing is a step of gossip: what a
  failed link would have brought falls to the agent itself.

  Args:
    mixer: a `mixing.Mixer`, or what `mixing.as_mixer` takes, such as a topology
      by name; frame t is its round t.
    num_agents: A.
    offline: chance that an agent neither sends nor hears in a frame, see
      `mixing.unreliable`.
    loss: chance that a message from one to another is lost in a frame.

  Returns:
    `network(frame, key) -> f[A, A]`; the same key in all frames of a scene.

  Raises:
    ValueError: if the topology is unknown or does not exist for A, a number is
      out of range, or the mixer is meant for push-sum.

  Example:
    >>> network = lossy_links('ring', 4)
    >>> (network(0, jax.random.key(0)) > 0).astype(int)[0].tolist()
    [1, 1, 0, 1]
  """
  n = checks.integer(num_agents, name='num_agents', low=1)
  checks.number(offline, name='offline', low=0.0, high=1.0)
  checks.number(loss, name='loss', low=0.0, high=1.0)
  mixer = mixing.as_mixer(mixer, n)
  if isinstance(offline, jax.core.Tracer) or offline:
    mixer = mixing.unreliable(mixer, offline=offline)
  fails = isinstance(loss, jax.core.Tracer) or bool(loss)

  def network(frame, key):
    mix_key, loss_key = jax.random.split(key)
    w = mixer.matrix(frame, key=mix_key)
    if w.shape != (n, n):
      raise ValueError(
        f'the mixer is for {w.shape[0]} agents; got num_agents={n}.'
      )
    if not fails:
      return w
    lost = jax.random.bernoulli(
      jax.random.fold_in(loss_key, frame), jnp.asarray(loss, float), (n, n)
    )
    kept = jnp.where(lost & ~jnp.eye(n, dtype=bool), 0.0, w)
    return kept + jnp.diag(jnp.sum(w - kept, axis=1))

  return network


def _everybody(num_agents: int) -> None:
  """Everybody hears everybody; agent 0 alone is the ego, as in the paper."""
  del num_agents


def _over(
  num_agents: int,
  *,
  topology: str = 'ring',
  offline: float = 0.0,
  loss: float = 0.0,
) -> Network:
  """Each agent hears its neighbors of a topology; all are egos.

  Some agents are offline in a frame, some messages are lost.
  """
  return lossy_links(topology, num_agents, offline=offline, loss=loss)


LINKS = registry.Registry(
  'links',
  {'ego': _everybody, 'over': _over},
  given=('num_agents',),
)


def make_links(spec: str, num_agents: int) -> Network | None:
  """Makes links.

  Args:
    spec: a part of `LINKS`: 'ego', or 'over(topology=ring, loss=0.1)' with any
      of `mixing.TOPOLOGIES`.
    num_agents: A.

  Returns:
    The network, or None where agent 0 alone hears all others.

  Raises:
    ValueError: if a name or an option is unknown or out of range.
  """
  return LINKS.make(spec, num_agents=num_agents)


def check_links(spec: str, num_agents: int) -> None:
  """Checks links without making an array.

  Args:
    spec: see `make_links`.
    num_agents: A.

  Raises:
    ValueError: if a name or an option is unknown or out of range.
  """
  part = LINKS.part(spec, name='links')
  offline = part.options.get('offline', 0.0)
  checks.number(offline, name='offline', low=0.0, high=1.0)
  # Whether clients may be offline is found out by looking at matrices.
  LINKS.bound(
    part._replace(options={**part.options} | {'offline': 0.0})
    if 'offline' in part.options
    else part,
    num_agents=num_agents,
  )


def of_scene(
  network: Network | None, scene: _roads.Scene, key: chex.PRNGKey
) -> chex.Array | None:
  """The links of all frames of a scene.

  Args:
    network: who hears whom, or None.
    scene: one scene.
    key: consumed.

  Returns:
    f[T, A, A], or None.
  """
  if network is None:
    return None
  frames = jnp.arange(scene.inputs.shape[0])
  return jax.vmap(lambda t: network(t, key))(frames)


def compressed(
  compressor: compression.Compressor | str,
) -> _compression.Codec:
  """Sends each channel as a message of a compressor.

  Args:
    compressor: of `jaxdl.compression`, or a part of its `COMPRESSORS`.

  Returns:
    The codec; bits are those that the compressor counts, gradients pass as if
    nothing were compressed.

  Raises:
    ValueError: if a name or an option is unknown.
    TypeError: if it is no compressor.

  Example:
    >>> codec = compressed('qsgd(num_levels=127)')
    >>> codec.bits((8, 8), 32)
    544.0
  """
  if isinstance(compressor, str):
    compressor = compression.make_compressor(compressor)
  if not checks.has_functions(compressor, 'compress', 'bits'):
    raise TypeError(
      'compressor must be a Compressor or a part of compression.COMPRESSORS; '
      f'got {checks.described(compressor)}.'
    )

  def transform(key, channel):
    sent = compressor.compress(key, channel)
    return channel + jax.lax.stop_gradient(sent - channel)

  def bits(shape, width):
    dtype = {16: jnp.float16, 32: jnp.float32, 64: jnp.float64}.get(width)
    dtype = jnp.float32 if dtype is None else dtype
    return float(compressor.bits(jax.ShapeDtypeStruct(shape, dtype)))

  return _compression.Codec(transform, bits, None, True)


def _codec(name):
  """The entry of a compressor, with its options."""
  make = compression.COMPRESSORS[name]

  @functools.wraps(make)
  def entry(*args, **options):
    return compressed(make(*args, **options))

  return entry


# How maps are compressed: zlib, or any compressor of messages.
CODECS = _compression.CODECS | {
  name: _codec(name) for name in compression.COMPRESSORS
}


def make_codec(spec: str) -> _compression.Codec:
  """Makes a codec.

  Args:
    spec: a part of `CODECS`: 'lossless', 'lossy(factor=32)', 'qsgd', ...

  Returns:
    The codec.

  Raises:
    ValueError: if a name or an option is unknown or out of range.
  """
  return CODECS.make(spec)
