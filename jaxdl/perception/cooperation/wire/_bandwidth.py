# SPDX-License-Identifier: Apache-2.0
"""What sending costs, and what a receiver pays for asking."""

import math
from collections.abc import Sequence
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np

from jaxdl.core import checks, registry, trees

WARM_UP_EPOCHS = 20
# Epochs between two raises of λ.
_PERIOD = 10


def sent_share(
  mask: chex.Array, senders: chex.Array | None = None
) -> chex.Array:
  """The share P / 100 of all entries that senders send, differentiable.

  Args:
    mask: f[C], or f[A | 1, C | 1, H | 1, W | 1] of zeros and ones.
    senders: bool[A], who sends; None for all. The receiver does not.

  Returns:
    f[] in [0, 1]; 0 if nobody sends.

  Example:
    >>> float(sent_share(jnp.array([1.0, 0.0, 0.0, 0.0])))
    0.25
    >>> float(sent_share(jnp.ones(4), jnp.array([False])))
    0.0
  """
  mask = jnp.asarray(mask)
  wide = mask.astype(trees.accumulator(mask.dtype))
  if senders is None:
    return jnp.mean(wide)
  # Without an axis of agents, all senders send the same entries.
  rows = wide[None] if wide.ndim < 4 else wide
  each = jnp.mean(rows.reshape(rows.shape[0], -1), axis=1)
  share = jnp.broadcast_to(each, jnp.shape(senders))
  count = jnp.sum(senders)
  total = jnp.sum(jnp.where(senders, share, 0))
  return total / jnp.maximum(count, 1)


def bandwidth_bits(
  mask: chex.Array,
  *,
  channels: int,
  height: int,
  width: int,
  bits: int = 32,
  num_senders: int = 1,
  request: bool = False,
  header_bits: int = 0,
  senders: chex.Array | None = None,
) -> chex.Array:
  """Bits of a frame and sender.

  P / 100 · C · H · W · b, and if asking counts, the bits of the mask: those of
  one mask for all senders are shared among them.

  Args:
    mask: f[C], or f[A | 1, C | 1, H | 1, W | 1].
    channels: C.
    height: H.
    width: W.
    bits: b of an entry.
    num_senders: A - 1, who share a request.
    request: whether the mask itself is counted.
    header_bits: of every message.
    senders: bool[A], see `sent_share`.

  Returns:
    f[].

  Raises:
    ValueError: if a number is out of range or the mask does not fit.

  Example:
    >>> full = bandwidth_bits(jnp.ones(128), channels=128, height=32, width=32)
    >>> mbps(full), mbps(full / 4)
    (41.94304, 10.48576)
  """
  sizes = (('channels', channels), ('height', height), ('width', width))
  for name, value in (*sizes, ('bits', bits), ('num_senders', num_senders)):
    checks.integer(value, name=name, low=1)
  checks.integer(header_bits, name='header_bits', low=0)
  own = jnp.shape(mask) if jnp.ndim(mask) == 1 else jnp.shape(mask)[1:]
  fits = zip(own, (channels, height, width), strict=False)
  if jnp.ndim(mask) not in (1, 4) or any(m not in (1, n) for m, n in fits):
    raise ValueError(
      f'mask of shape {jnp.shape(mask)} does not fit {channels} channels of '
      f'{height} x {width} cells: need [C], or [A | 1, C | 1, H | 1, W | 1].'
    )
  share = sent_share(mask, senders)
  # Floats: whole numbers of 32 bits end at maps of 268 MB.
  extra = float(header_bits)
  if request:
    extra += asked_bits(jnp.shape(mask), num_senders)
  return share * float(channels * height * width * bits) + extra


def asked_bits(shape: tuple[int, ...], num_senders: int) -> float:
  """Bits per sender of a mask of this shape."""
  own = len(shape) == 4 and shape[0] > 1
  size = math.prod(shape[1:] if own else shape)
  return size if own else size / max(num_senders, 1)


def mbps(bits: Any, *, hz: float = 10.0) -> Any:
  """Megabits, 10⁶ bits, per second.

  Args:
    bits: per frame.
    hz: frames per second.

  Returns:
    A number, or an array like the bits.
  """
  checks.number(hz, name='hz', low=0.0, open_low=True)
  rate = np.asarray(bits, np.float64) * hz / 1e6
  return rate if rate.ndim else float(rate)


def bandwidth_report(bits: Any, *, hz: float = 10.0) -> dict[str, Any]:
  """What a run sent: on average, frame by frame, and how it varied.

  Args:
    bits: f[S, T] per scene and frame, the first frames included.
    hz: frames per second.

  Returns:
    `mean` in Mb/s, `per_frame` f[T] over the scenes, `variance` f[S] over the
    frames of each scene, in (Mb/s)².

  Raises:
    ValueError: if there are not two axes.

  Example:
    >>> found = bandwidth_report([[2e5, 0.0], [2e5, 1e5]])
    >>> found['mean'], found['per_frame'].tolist(), found['variance'].tolist()
    (1.25, [2.0, 0.5], [1.0, 0.25])
  """
  rates = np.asarray(mbps(bits, hz=hz))
  if rates.ndim != 2 or not rates.size:
    raise ValueError(
      f'bits must have a row per scene and a column per frame; got shape '
      f'{rates.shape}.'
    )
  return {
    'mean': float(rates.mean()),
    'per_frame': rates.mean(axis=0),
    'variance': rates.var(axis=1),
  }


def lambda_schedule(
  epoch: chex.Numeric, percent: chex.Numeric, *, base: float = 0.001
) -> chex.Array:
  """The weight λ of the bandwidth in the loss.

  0 up to epoch 20; then λ0 2^(P / 100) in every tenth epoch, and λ0 (1 + 0.1
  ⌊(epoch - 20) / 10⌋) in the others.

  Args:
    epoch: from 1, may be traced.
    percent: P, of the channels.
    base: λ0 >= 0.

  Returns:
    f[].

  Raises:
    ValueError: if λ0 is negative.

  Example:
    >>> [round(float(lambda_schedule(e, 50.0)), 6) for e in (20, 21, 30, 35)]
    [0.0, 0.001, 0.001414, 0.0011]

  Source: Mukhopadhyay et al. 2026 (https://arxiv.org/abs/2602.13287), section
  on the objective.
  """
  checks.number(base, name='lambda0', low=0.0)
  epoch = jnp.asarray(epoch)
  after = epoch - WARM_UP_EPOCHS
  grown = base * (1 + 0.1 * jnp.floor(after / _PERIOD))
  raised = base * 2.0 ** (jnp.asarray(percent, float) / 100)
  value = jnp.where(epoch % _PERIOD == 0, raised, grown)
  return jnp.where(after <= 0, 0.0, value)


# Penalties: `penalty(percent, step) -> f[]`, differentiable in the percentage.


def _linear(*, weight: float = 5e-4, target: float = 4.0) -> Any:
  """λ (P - P*); P* moves the loss and no gradient."""
  checks.number(weight, name='weight', low=0.0)
  check_target(target)
  return lambda percent, step: weight * (percent - target)


def _hinge(*, weight: float = 5e-4, target: float = 4.0) -> Any:
  """λ max(P - P*, 0): what lies below the target costs nothing."""
  checks.number(weight, name='weight', low=0.0)
  check_target(target)
  return lambda percent, step: weight * jnp.maximum(percent - target, 0.0)


def _scheduled(
  *, base: float = 0.001, target: float = 4.0, steps_per_epoch: int = 1000
) -> Any:
  """λ (P - P*) with the λ of `lambda_schedule`."""
  checks.number(base, name='base', low=0.0)
  check_target(target)
  checks.integer(steps_per_epoch, name='steps_per_epoch', low=1)

  def penalty(percent, step):
    epoch = step // steps_per_epoch + 1
    held = jax.lax.stop_gradient(percent)
    return lambda_schedule(epoch, held, base=base) * (percent - target)

  return penalty


PENALTIES = registry.Registry(
  'penalty',
  {'linear': _linear, 'hinge': _hinge, 'schedule': _scheduled},
  tried={},
)


def check_target(target: Any) -> None:
  """Raises ValueError unless a target is a percentage."""
  checks.number(target, name='target', low=0.0, high=100.0)


def correlation(a: Sequence[float], b: Sequence[float]) -> float:
  """Pearson's, 0 where one does not vary."""
  x, y = np.asarray(a, np.float64), np.asarray(b, np.float64)
  x, y = x - x.mean(), y - y.mean()
  size = np.sqrt((x * x).sum() * (y * y).sum())
  # What is left of rounding does not correlate.
  small = 1e-12 * max(np.abs(np.asarray(a, np.float64)).max(), 1e-300)
  flat = np.abs(x).max() <= small or not size
  return 0.0 if flat else float((x * y).sum() / size)
