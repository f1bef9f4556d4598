# SPDX-License-Identifier: Apache-2.0
"""A frame of cooperation, and frames one after the other."""

from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp

from jaxdl.core import checks
from jaxdl.perception.cooperation import (
  _exchange,
  _measures,
  _model,
  _robustness,
  _selection,
  _values,
)
from jaxdl.perception.cooperation.wire import _bandwidth
from jaxdl.perception.cooperation.worlds import _roads


class Carry(NamedTuple):
  """What a receiver keeps from frame to frame.

  Attributes:
    previous: f[C, H, W], what it fused last.
    has_previous: bool[], false at the start of a scene.
    memory: of the selector.
  """

  previous: chex.Array
  has_previous: chex.Array
  memory: Any


class Frame(NamedTuple):
  """What lies before a receiver in a frame.

  Attributes:
    features: f[A, C, H, W], maps of all agents in their own frames.
    poses: f[A, 3].
    there: bool[A].
    ego: i[], the receiver.
    links: f[A] >= 0, the weight of each agent for the receiver, zero where it
      does not hear it; its own always counts.
  """

  features: chex.Array
  poses: chex.Array
  there: chex.Array
  ego: chex.Numeric
  links: chex.Array


class Heard(NamedTuple):
  """What became of a frame.

  Attributes:
    fused: f[C, H, W].
    share: f[], of all entries that were sent, P / 100; differentiable.
    asked: f[C], how much of each channel was sent.
    mask: f[A | 1, C | 1, H | 1, W | 1].
    senders: f[], how many sent something, or could.
    sent: f[A, C, H, W], what was sent, or None.
  """

  fused: chex.Array
  share: chex.Array
  asked: chex.Array
  mask: chex.Array
  senders: chex.Array
  sent: chex.Array | None


def init_carry(model: _model.Model, dtype: Any = jnp.float32) -> Carry:
  """The carry at the start of a scene, which must be this one.

  Args:
    model: the model.
    dtype: of its maps.

  Returns:
    The carry.
  """
  return Carry(
    jnp.zeros(model.shape, dtype), jnp.zeros((), bool), model.selector.memory()
  )


def coopertrim_step(
  model: _model.Model,
  params: Any,
  carry: Carry,
  frame: Frame,
  *,
  key: chex.PRNGKey,
  explore: chex.Numeric = 0.0,
  share: chex.Numeric | None = None,
  offset: chex.Numeric = 0.0,
  at_least: chex.Numeric | None = None,
  axis_name: str | None = None,
  keep_sent: bool = False,
) -> tuple[Carry, Heard]:
  """A receiver selects, hears and fuses; for `jax.lax.scan` over frames.

  Args:
    model: the model (static).
    params: of the model.
    carry: from the frame before; `init_carry` at the start of a scene.
    frame: maps, poses, who is there and who is heard.
    key: consumed.
    explore: chance that everything is sent whatever the selector says (ε); 1
      while training warms up, 0 in tests.
    share: a budget for the selector, or None for its own.
    offset: added to thresholds, which changes the budget at run time.
    at_least: a share that is sent at least, for selectors with a curriculum.
    axis_name: of the agents, in a mapped function: `frame` then has this
      device's agents, and `ego` counts over all. Selectors that look at other
      agents' maps see this device's.
    keep_sent: whether the result holds what was sent (static).

  Returns:
    The carry for the next frame, and what was heard.

  Raises:
    ValueError: if the carry is of maps of another form.

  Source: Mukhopadhyay et al. 2026 (https://arxiv.org/abs/2602.13287).
  """
  features = frame.features
  count = features.shape[0]
  if carry.previous.shape != features.shape[1:]:
    raise ValueError(
      f'carry has maps of shape {carry.previous.shape} but the frame has '
      f'{features.shape[1:]}: reset the carry at scene start (init_carry).'
    )
  drop_key, noise_key, loss_key, code_key, pick_key = jax.random.split(key, 5)
  first = 0
  if axis_name is not None:
    place = jax.lax.axis_index(axis_name)
    first = place * count
  ids = first + jnp.arange(count)
  is_ego = ids == frame.ego
  at = is_ego[:, None, None, None]
  own = jnp.sum(jnp.where(at, features, 0), axis=0)
  pose = jnp.sum(jnp.where(is_ego[:, None], frame.poses, 0), axis=0)
  if axis_name is not None:
    own, pose = jax.lax.psum((own, pose), axis_name)
  poses = frame.poses
  if model.conditions.pose:
    noisy = jax.vmap(
      lambda pose, i: _robustness.noisy_poses(
        pose, meters=model.conditions.pose, key=jax.random.fold_in(noise_key, i)
      )
    )(poses, ids)
    poses = jnp.where(is_ego[:, None], poses, noisy)

  def into(maps):
    return jax.vmap(lambda x, p: model.warp(x, p, pose))(maps, poses)

  # Padding holds nothing that anybody may look at.
  there = frame.there & ((frame.links > 0) | is_ego)
  present = jnp.where(there[:, None, None, None], features, 0)
  confidence = _confidence(model, params, present, into)
  sure = None
  if confidence is not None:
    sure = jnp.sum(jnp.where(is_ego[:, None, None], confidence, 0), axis=0)
    if axis_name is not None:
      sure = jax.lax.psum(sure, axis_name)
  evidence = _selection.Evidence(
    own,
    carry.previous,
    into(present)[0] if model.selector.needs_maps else None,
    confidence,
    frame.ego - first,
    sure,
  )
  least = {'at_least': at_least} if model.selector.curriculum else {}
  mask, memory = model.selector.apply(
    params['selector'],
    carry.memory,
    evidence,
    key=pick_key,
    share=share,
    offset=offset,
    **least,
  )
  mask = mask.astype(own.dtype)
  full = jax.random.bernoulli(drop_key, jnp.asarray(explore, float))
  if model.selector.needs_previous:
    full = full | ~carry.has_previous
  mask = jnp.where(full, jnp.ones((), mask.dtype), mask)
  sent = _coded(model, present, mask, ids, code_key)
  spoil = None
  if model.conditions.loss:
    spoil = lambda maps: jax.vmap(
      lambda own, i: _robustness.lose(
        own, rate=model.conditions.loss, key=jax.random.fold_in(loss_key, i)
      )
    )(maps, ids)
  got = _exchange.received(
    sent, own, mask, into, there, is_ego, fill=model.fill, spoil=spoil
  )
  weights = jnp.where(is_ego & (frame.links <= 0), 1 / count, frame.links)
  weights = jnp.where(got.seen, weights[:, None, None], 0)
  fused = model.fusion.apply(
    params['fusion'], got.maps, weights, own, axis_name=axis_name
  )
  heard = _heard(mask, there & ~is_ego, fused, features.shape, axis_name)
  heard = heard._replace(sent=sent if keep_sent else None)
  after = Carry(jax.lax.stop_gradient(fused), jnp.ones((), bool), memory)
  return after, heard


def _confidence(model, params, present, into):
  """How sure each agent is of a vehicle by its own maps, f[A, H, W]."""
  if not model.selector.needs_confidence:
    return None
  logits = model.head.apply(params['head'], present)
  odds = jax.nn.softmax(logits[:, : _measures.NUM_DYNAMIC], axis=1)[:, 1]
  step = odds.shape[-1] // model.shape[-1]
  return into(odds[:, None, ::step, ::step])[0][:, 0]


def _coded(model, present, mask, ids, key):
  """What receivers decode of what each agent sends, f[A, C, H, W]."""
  # Masks of cells are of the receiver's frame: whole maps are coded then.
  by_channel = mask.shape[2:] == (1, 1)
  chosen = present * mask if by_channel else present
  if model.codec.transform is None:
    return chosen
  keys = jax.vmap(lambda i: jax.random.fold_in(key, i))(ids)
  code = model.codec.transform
  if model.codec.per_channel:
    count = present.shape[1]
    keys = jax.vmap(lambda k: jax.random.split(k, count))(keys)
    code = jax.vmap(code)
  return jax.vmap(code)(keys, chosen)


def _heard(mask, senders, fused, shape, axis_name):
  """Sums up what was sent."""
  count = jnp.sum(senders)
  share = _bandwidth.sent_share(mask, senders)
  by_channel = jnp.mean(mask, axis=(2, 3))
  by_channel = jnp.broadcast_to(by_channel, shape[:2])
  asked = jnp.sum(jnp.where(senders[:, None], by_channel, 0), axis=0)
  if axis_name is not None:
    total, asked = jax.lax.psum((share * count, asked), axis_name)
    count = jax.lax.psum(count, axis_name)
    share = total / jnp.maximum(count, 1)
  return Heard(
    fused,
    share,
    asked / jnp.maximum(count, 1),
    mask,
    count,
    None,
  )


def cooperate(
  model: _model.Model,
  params: Any,
  scene: _roads.Scene,
  *,
  key: chex.PRNGKey,
  egos: int = 1,
  links: chex.Array | None = None,
  explore: chex.Numeric = 0.0,
  share: chex.Numeric | None = None,
  offset: chex.Numeric = 0.0,
  at_least: chex.Numeric | None = None,
  keep_sent: bool = False,
) -> tuple[chex.Array, Heard]:
  """Goes through the frames of a scene; `jax.vmap` over scenes.

  Args:
    model: the model (static).
    params: of the model.
    scene: one scene.
    key: consumed.
    egos: E, the first so many agents are receivers (static): 1 is the paper's
      setting, A lets every agent hear the others.
    links: f[T, A, A], weights that each agent gives to each other in a frame,
      see `Frame`; all count alike if None.
    explore: see `coopertrim_step`.
    share: likewise.
    offset: likewise.
    at_least: likewise.
    keep_sent: likewise.

  Returns:
    Logits f[T, E, K, G, G] and what was heard, leaves [T, E, ...].

  Raises:
    ValueError: if numbers of agents do not fit, or known inputs are not finite.
  """
  frames, agents = scene.inputs.shape[:2]
  egos = checks.integer(egos, name='egos', low=1)
  if egos > agents:
    raise ValueError(f'egos={egos} exceeds the {agents} agents of the scene.')
  _values.agents(scene.there, agents, name='scene.there')
  _values.finite(scene.inputs, name='scene.inputs')
  if links is None:
    links = jnp.ones((frames, agents, agents))
  if links.shape != (frames, agents, agents):
    raise ValueError(
      f'links must have shape ({frames}, {agents}, {agents}), frames, '
      f'receivers and senders; got {links.shape}.'
    )
  features = model.encoder.apply(params['encoder'], scene.inputs)
  start = init_carry(model, features.dtype)
  carry = jax.tree.map(
    lambda x: jnp.broadcast_to(x, (egos, *jnp.shape(x))), start
  )
  late = _robustness.delayed((features, scene.poses), model.conditions.delay)

  def one(carry, ego, key, now, old, pose, old_pose, row):
    is_ego = jnp.arange(agents) == ego
    maps = jnp.where(is_ego[:, None, None, None], now, old)
    # A map that is late was drawn where its sender was.
    pose = jnp.where(is_ego[:, None], pose, old_pose)
    frame = Frame(maps, pose, scene.there, ego, row)
    return coopertrim_step(
      model,
      params,
      carry,
      frame,
      key=key,
      explore=explore,
      share=share,
      offset=offset,
      at_least=at_least,
      keep_sent=keep_sent,
    )

  def step(carry, x):
    number, now, old, pose, old_pose, weights = x
    ids = jnp.arange(egos)
    keys = jax.vmap(
      lambda i: jax.random.fold_in(jax.random.fold_in(key, number), i)
    )(ids)
    return jax.vmap(one, in_axes=(0, 0, 0, None, None, None, None, 0))(
      carry, ids, keys, now, old, pose, old_pose, weights[:egos]
    )

  xs = (
    jnp.arange(frames), features, late[0], scene.poses, late[1], links,
  )  # fmt: skip
  _, heard = jax.lax.scan(step, carry, xs)
  return model.head.apply(params['head'], heard.fused), heard
