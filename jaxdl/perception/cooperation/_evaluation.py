# SPDX-License-Identifier: Apache-2.0
"""How well a model does on scenes, and what that takes to send."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np

from jaxdl.core import checks, registry
from jaxdl.perception.cooperation import _measures, _model, _rivals, _step
from jaxdl.perception.cooperation.wire import _bandwidth, _links
from jaxdl.perception.cooperation.worlds import _roads

# Scenes whose messages are packed on the host, where only that tells the size.
_PACKED = 4


class Link(NamedTuple):
  """What is counted of a link.

  Attributes:
    bits: of an entry.
    hz: frames per second.
    header_bits: of a message.
  """

  bits: int = 32
  hz: float = 10.0
  header_bits: int = 0


def make_link(
  *, bits: int = 32, hz: float = 10.0, header_bits: int = 0
) -> Link:
  """What is counted of a link.

  Args:
    bits: of an entry.
    hz: frames per second.
    header_bits: of a message.

  Returns:
    The link.

  Raises:
    ValueError: if a number is out of range.
  """
  checks.integer(bits, name='bits', low=1)
  checks.number(hz, name='hz', low=0.0, open_low=True)
  checks.integer(header_bits, name='header_bits', low=0)
  return Link(bits, float(hz), header_bits)


LINK = registry.Registry('link', {'link': make_link}, tried={})


class Seen(NamedTuple):
  """What became of scenes; leaves [S, T, E, ...].

  Attributes:
    both: cells that are a vehicle's and were taken for one.
    either: cells that are one or the other.
    right: cells of the map that were told right, share.
    share: of the entries that were sent.
    asked: f[..., C].
    senders: how many sent.
    real: bool, receivers that are no padding.
    vehicles: i[S].
    predicted: bool[..., G, G], of the first scene only, leaves [1, T, E, ...].
    sent: f[..., A, C, H, W] of some scenes, their masks, and bool[..., A], whom
      a receiver hears; or None.
  """

  both: chex.Array
  either: chex.Array
  right: chex.Array
  share: chex.Array
  asked: chex.Array
  senders: chex.Array
  real: chex.Array
  vehicles: chex.Array
  predicted: chex.Array
  sent: Any


def see(
  model: _model.Model,
  params: Any,
  scenes: _roads.Scene,
  *,
  key: chex.PRNGKey,
  egos: int = 1,
  network: _links.Network | None = None,
  share: chex.Numeric | None = None,
  offset: chex.Numeric = 0.0,
) -> Seen:
  """Lets a model go through scenes, without exploration; jittable.

  Args:
    model: the model (static).
    params: of the model.
    scenes: leaves [S, ...].
    key: consumed.
    egos: receivers (static).
    network: who hears whom.
    share: a budget for the selector, or None for its own.
    offset: see `coopertrim_step`.

  Returns:
    What became of them.
  """
  packs = model.codec.size is not None

  def one(scene, key):
    link_key, key = jax.random.split(key)
    links = _links.of_scene(network, scene, link_key)
    logits, heard = _step.cooperate(
      model,
      params,
      scene,
      key=key,
      egos=egos,
      links=links,
      share=share,
      offset=offset,
      keep_sent=packs,
    )
    cut = _measures.NUM_DYNAMIC
    moving = jnp.argmax(logits[:, :, :cut], axis=2) > 0
    both, either = _measures.overlap(moving, scene.dynamic[:, :egos] > 0)
    fixed = jnp.argmax(logits[:, :, cut:], axis=2) == scene.static[:, :egos]
    heard = heard._replace(fused=moving)
    hears = _hears(scene, egos, links) if packs else None
    return heard, both, either, fixed.mean((-2, -1)), hears

  count = scenes.there.shape[0]
  heard, both, either, right, hears = jax.vmap(one)(
    scenes, jax.random.split(key, count)
  )
  real = jnp.broadcast_to(scenes.there[:, None, :egos], both.shape)
  sent = None
  if packs:
    few = lambda x: x[:_PACKED]
    sent = (few(heard.sent), few(heard.mask), few(hears))
  return Seen(
    both,
    either,
    right,
    heard.share,
    heard.asked,
    heard.senders,
    real,
    scenes.vehicles,
    heard.fused[:1],
    sent,
  )


def _hears(scene, egos, links):
  """Whom each receiver of a scene hears in each frame, bool[T, E, A]."""
  there = scene.there
  found = (
    there[:egos, None] & there[None] & ~jnp.eye(len(there), dtype=bool)[:egos]
  )
  found = jnp.broadcast_to(found, (scene.inputs.shape[0], *found.shape))
  return found if links is None else found & (links[:, :egos] > 0)


def packed_ratio(model: _model.Model, sent: Any) -> float:
  """Bytes on the wire over bytes of the entries, of what was really sent.

  Args:
    model: whose codec packs.
    sent: of `Seen`.

  Returns:
    The ratio; 1 if nothing was sent.
  """
  size = model.codec.size
  if size is None:
    raise ValueError('the codec packs nothing: its bits are known.')
  maps, masks, hears = (np.asarray(x) for x in sent)
  packed = raw = 0
  for index in np.ndindex(maps.shape[:3]):
    mask = np.broadcast_to(masks[index], maps.shape[3:]) > 0
    for agent in range(maps.shape[3]):
      if not hears[index][agent]:
        continue
      entries = maps[index][agent][mask[agent]]
      packed += size(entries)
      raw += entries.nbytes
  return packed / raw if raw else 1.0


def bits_sent(model: _model.Model, seen: Seen, link: Link) -> np.ndarray:
  """Bits per frame and sender.

  Args:
    model: whose codec and selector count.
    seen: what became of scenes.
    link: what is counted.

  Returns:
    f[S, T, E].
  """
  c, h, w = model.shape
  share = np.asarray(seen.share, np.float64)
  if model.codec.bits is None:
    ratio = packed_ratio(model, seen.sent)
    whole = c * h * w * link.bits * ratio
  else:
    whole = c * float(model.codec.bits((h, w), link.bits))
  senders = np.asarray(seen.senders, np.float64)
  bits = share * whole
  if model.selector.asks:
    # One request for all, or a list of places with each message.
    at = (c,) if model.selector.unit == 'channel' else (h, w)
    at = (c, h, w) if model.selector.unit == 'entry' else at
    size = float(np.prod(at))
    own = size / np.maximum(senders, 1) if len(at) == 1 else size
    bits = bits + own
  bits = bits + link.header_bits
  return np.where(senders > 0, bits, 0.0)


def scores(
  model: _model.Model, seen: Seen, link: Link | None = None
) -> dict[str, float]:
  """The figures of a test.

  Args:
    model: the model.
    seen: what became of its scenes.
    link: what is counted; 32 bits at 10 Hz if None.

  Returns:
    `iou` of vehicles and `road` (cells of the map told right) over all frames
    but the first of a scene, `percent` sent in those, `mbps` per sender over
    all frames, `mbps_variance` over the frames of a scene on average,
    `percent_std` and `percent_vehicles`, see `adaptivity`.
  """
  rest = slice(1, None) if seen.both.shape[1] > 1 else slice(None)
  real = np.asarray(seen.real)
  take = lambda x: np.asarray(x, np.float64)[:, rest][real[:, rest]]
  percent = 100 * np.asarray(seen.share, np.float64)
  # Mean over the receivers of a scene.
  weight = real / np.maximum(real.sum(axis=2, keepdims=True), 1)
  by_frame = (percent * weight).sum(axis=2)
  bits = (bits_sent(model, seen, link or Link()) * weight).sum(axis=2)
  report = _bandwidth.bandwidth_report(bits, hz=(link or Link()).hz)
  return {
    'iou': _measures.pooled_iou(take(seen.both), take(seen.either)),
    'road': float(take(seen.right).mean()),
    'percent': float(by_frame[:, rest].mean()),
    'mbps': report['mean'],
    'mbps_variance': float(report['variance'].mean()),
    **_measures.adaptivity(by_frame[:, rest], seen.vehicles),
  }


def evaluator(
  model: _model.Model,
  *,
  egos: int = 1,
  network: _links.Network | None = None,
) -> Callable[..., Seen]:
  """Compiles a test.

  Args:
    model: the model.
    egos: receivers.
    network: who hears whom.

  Returns:
    `evaluate(params, scenes, key, share=None, offset=0.0) -> Seen`, on the
    host.
  """

  @jax.jit
  def run(params, scenes, key, share, offset):
    return see(
      model,
      params,
      scenes,
      key=key,
      egos=egos,
      network=network,
      share=share,
      offset=offset,
    )

  def evaluate(params, scenes, key, share=None, offset=0.0):
    return jax.device_get(run(params, scenes, key, share, offset))

  return evaluate


def with_selector(
  model: _model.Model,
  params: Mapping[str, Any],
  selector: str,
  *,
  key: chex.PRNGKey,
) -> tuple[_model.Model, dict[str, Any]]:
  """Puts another selector into a trained model.

  Args:
    model: the model.
    params: of the model.
    selector: a part of `SELECTORS`; parameters of its own start anew.
    key: consumed.

  Returns:
    The model and its parameters.

  Raises:
    ValueError: if the selector is unknown.
  """
  checks.choice('selector', tuple(params), name='params')
  other = _rivals.make_selector(selector, *model.shape)
  changed = model._replace(selector=other)
  return changed, {**params, 'selector': other.init(key)}
