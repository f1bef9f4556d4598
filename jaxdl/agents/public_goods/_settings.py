# SPDX-License-Identifier: Apache-2.0
"""Numbers in [0, 1] as settings of a text generator, and back."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import chex
import jax.numpy as jnp
import numpy as np

from jaxdl.core import checks


class Range(NamedTuple):
  """What a setting may be.

  Attributes:
    low: its least value.
    high: its largest one.
    whole: whether it is an integer; fractions are cut off.
  """

  low: float
  high: float
  whole: bool = False


# Of a served model, in the order of a policy's outputs.
GENERATION = {
  'temperature': Range(0.3, 1.2),
  'top_p': Range(0.6, 0.95),
  'top_k': Range(20, 80, whole=True),
  'max_tokens': Range(256, 1012, whole=True),
  'repetition_penalty': Range(1.0, 1.3),
  'presence_penalty': Range(0.0, 0.6),
}
# Of a model on this machine, which may talk longer.
LOCAL_GENERATION = GENERATION | {'max_tokens': Range(700, 2048, whole=True)}


def generation_settings(
  actions: Sequence[float] | chex.Array,
  ranges: Mapping[str, Range] | None = None,
) -> dict[str, float | int]:
  """Settings of a text generator, low + u (high - low).

  The published code squeezes u once more by a sigmoid, so that half of every
  range is never reached; here u is taken as it is.

  Args:
    actions: one number for each range, cut to [0, 1]; concrete.
    ranges: by name; `GENERATION` by default.

  Returns:
    Python numbers by name; whole ones are integers.

  Raises:
    ValueError: if there is not one action for each range, one is not finite or
      a range is empty.

  Example:
    >>> found = generation_settings([0.0, 1.0, 0.5, 0.5, 0.0, 1.0])
    >>> found['temperature'], found['top_p'], found['max_tokens']
    (0.3, 0.95, 634)

  Source: code of Liang et al. 2026 (https://arxiv.org/abs/2508.02076), without
    its second sigmoid.
  """
  ranges = check_ranges(GENERATION if ranges is None else ranges)
  u = checks.host_array(actions, name='actions').astype(np.float64)
  if u.shape != (len(ranges),):
    raise ValueError(
      f'actions must be one number for each of {", ".join(ranges)}; got shape '
      f'{u.shape}.'
    )
  if not np.isfinite(u).all():
    raise ValueError(f'actions must be finite; got {u.tolist()}.')
  found: dict[str, float | int] = {}
  for share, (name, span) in zip(np.clip(u, 0, 1), ranges.items(), strict=True):
    value = span.low + float(share) * (span.high - span.low)
    value = min(max(value, span.low), span.high)
    found[name] = int(value) if span.whole else value
  return found


def settings_actions(
  settings: Mapping[str, Any], ranges: Mapping[str, Range] | None = None
) -> np.ndarray:
  """The actions that stand for settings, to start a policy from.

  Args:
    settings: a value for every range, within it.
    ranges: by name; `GENERATION` by default.

  Returns:
    float64[A] in [0, 1].

  Raises:
    ValueError: if one is missing, unknown or out of its range.

  Example:
    >>> spans = {'temperature': Range(0.0, 2.0)}
    >>> settings_actions({'temperature': 0.5}, spans).tolist()
    [0.25]
  """
  ranges = check_ranges(GENERATION if ranges is None else ranges)
  for name in settings:
    checks.choice(name, ranges, name='settings')
  out = []
  for name, span in ranges.items():
    if name not in settings:
      raise ValueError(f'settings lack {name!r}: give one for every range.')
    value = settings[name]
    checks.number(value, name=name, low=span.low, high=span.high)
    out.append((value - span.low) / max(span.high - span.low, 1e-12))
  return np.clip(np.array(out), 0, 1)


def check_ranges(ranges: Mapping[str, Range]) -> dict[str, Range]:
  """Checks that ranges are some, and not empty.

  Args:
    ranges: pairs (low, high) or `Range`s by name.

  Returns:
    `Range`s by name.

  Raises:
    ValueError: if one is empty or whole with fractional ends, or there is none.
    TypeError: if one is no pair.
  """
  if not ranges:
    raise ValueError('ranges is empty: name at least one setting.')
  found = {}
  for name, span in ranges.items():
    if not isinstance(span, (tuple, list)) or len(span) not in (2, 3):
      raise TypeError(
        f'{name} must be a Range, or a pair (low, high); got '
        f'{checks.described(span)}.'
      )
    found[name] = Range(*span)
  for name, span in found.items():
    for value in span[:2]:
      checks.number(value, name=name)
    if span.low > span.high:
      raise ValueError(
        f'{name} must have low <= high; got {span.low} > {span.high}.'
      )
    if span.whole and (span.low % 1 or span.high % 1):
      raise ValueError(
        f'{name} is whole, so low and high must be integers; got {span.low} '
        f'and {span.high}.'
      )
  return found


def scaled_actions(
  actions: chex.Array, low: chex.Numeric, high: chex.Numeric
) -> chex.Array:
  """Actions as numbers in a range, traceable.

  Args:
    actions: f[...], cut to [0, 1].
    low: where 0 leads to.
    high: where 1 leads to.

  Returns:
    f[...].

  Example:
    >>> scaled_actions(jnp.array([-1.0, 0.5, 2.0]), 1.0, 3.0).tolist()
    [1.0, 2.0, 3.0]
  """
  return low + jnp.clip(actions, 0, 1) * (high - low)
