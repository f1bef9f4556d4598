# SPDX-License-Identifier: Apache-2.0
"""What a receiver gets of what it asked for; the rest it fills in itself."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import chex
import jax.numpy as jnp

from jaxdl.core import checks
from jaxdl.perception.cooperation import _values

FILLS = ('own', 'zero')


class Received(NamedTuple):
  """What lies in front of a receiver, in its own frame.

  Attributes:
    maps: f[A, C, H, W]; its own maps in its own row, and in those of agents
      that are not there.
    seen: bool[A, H, W], cells that an agent speaks of; its own all count.
  """

  maps: chex.Array
  seen: chex.Array


def stack_agents(
  maps: Sequence[chex.Array], agents_max: int
) -> tuple[chex.Array, chex.Array]:
  """Pads the maps of some agents to a static number of agents.

  Args:
    maps: f[C, H, W] of each agent, the ego first.
    agents_max: A, how many there are at most.

  Returns:
    f[A, C, H, W], zeros for agents that are not there, and bool[A].

  Raises:
    TypeError: if maps are not floating point.
    ValueError: if there are none or too many, shapes differ, or a known value
      is not finite.

  Example:
    >>> stacked, there = stack_agents([jnp.ones((2, 3, 3))] * 2, 4)
    >>> stacked.shape, there.tolist()
    ((4, 2, 3, 3), [True, True, False, False])
  """
  most = checks.integer(agents_max, name='agents_max', low=1)
  if not maps:
    raise ValueError('maps is empty: the ego, agent 0, must be there.')
  if len(maps) > most:
    raise ValueError(f'{len(maps)} agents exceed agents_max={most}.')
  first = _values.maps(maps[0], name='maps[0]')
  for i, one in enumerate(maps):
    if jnp.shape(one) != first.shape:
      raise ValueError(
        f'agents must send maps of one form: agent {i} has '
        f'{jnp.shape(one)}, channels first, but agent 0 has {first.shape}.'
      )
    _values.maps(one, name=f'maps[{i}]')
  stacked = jnp.stack([*maps, *[jnp.zeros_like(first)] * (most - len(maps))])
  return stacked, jnp.arange(most) < len(maps)


def trim_exchange(
  features: chex.Array,
  mask: chex.Array,
  *,
  warp: Callable[[chex.Array], tuple[chex.Array, chex.Array]] | None = None,
  agent_mask: chex.Array | None = None,
  ego: chex.Numeric = 0,
  fill: str = 'own',
) -> Received:
  """Selected channels come from the senders, the others from the receiver.

  R_a = M Φ(F_a) + (1 - M) F_ego, which lets gradients of M through. All masks
  are dense: nothing depends on how many channels are selected, which may be
  none.

  Args:
    features: f[A, C, H, W], each agent's maps in its own frame.
    mask: f[C], or what can be broadcast to [A, C, H, W], of zeros and ones.
    warp: takes features to the receiver's frame, and says which cells of it,
      bool[A, H, W], each agent speaks of; None where there is one frame.
    agent_mask: bool[A], who is there; None for all.
    ego: the receiver, agent 0 unless all take turns.
    fill: 'own', or 'zero' for zeros in the channels that are not selected
      (static).

  Returns:
    Maps and where they count.

  Raises:
    TypeError: if features are not floating point.
    ValueError: if shapes do not fit, a known value is not finite, or the ego is
      none of the agents or absent.

  Example:
    >>> features = jnp.array([[1.0, 1.0], [2.0, 2.0]]).reshape(2, 2, 1, 1)
    >>> trim_exchange(features, jnp.array([1.0, 0.0])).maps[1].ravel().tolist()
    [2.0, 1.0]

  Source: Mukhopadhyay et al. 2026 (https://arxiv.org/abs/2602.13287), section
  on the exchange.
  """
  features = _values.maps(features, name='features', ndim=4)
  there = _values.agents(agent_mask, features.shape[0], ego=ego)
  mask = mask_of(mask, features.shape)
  is_ego = jnp.arange(features.shape[0]) == ego
  own = jnp.take(features, ego, axis=0)
  return received(features, own, mask, warp, there, is_ego, fill=fill)


def mask_of(mask: Any, shape: tuple[int, ...]) -> chex.Array:
  """Brings a mask of channels or of more to four axes, and checks it."""
  given = jnp.shape(mask)
  if len(given) == 1:
    mask = jnp.asarray(mask)[:, None, None]
  mask = jnp.asarray(mask)
  mask = mask.reshape((1,) * (4 - mask.ndim) + mask.shape)
  fits = zip(mask.shape, shape, strict=False)
  if mask.ndim > 4 or any(m not in (1, s) for m, s in fits):
    raise ValueError(
      f'mask of shape {given} does not fit features of shape {tuple(shape)}: '
      'need one entry per channel, [C], or what can be broadcast.'
    )
  _values.finite(mask, name='mask')
  return mask


def received(
  features, own, mask, warp, there, is_ego, *, fill='own', spoil=None
) -> Received:
  """`trim_exchange` of what has been checked; `spoil` loses what is sent."""
  checks.choice(fill, FILLS, name='fill')
  count, _, h, w = features.shape
  # Nobody is heard who is not there, whatever the padding holds.
  at = there[:, None, None, None]
  moved = jnp.where(at, features, own[None])
  seen = jnp.ones((count, h, w), bool)
  if warp is not None:
    moved, seen = warp(moved)
  if spoil is not None:
    moved = spoil(moved)
  mask = mask.astype(moved.dtype)
  rest = own if fill == 'own' else jnp.zeros_like(own)
  got = mask * moved + (1 - mask) * rest[None]
  got = jnp.where(at & ~is_ego[:, None, None, None], got, own[None])
  seen = (seen & there[:, None, None]) | is_ego[:, None, None]
  return Received(got, seen)
