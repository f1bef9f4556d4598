# SPDX-License-Identifier: Apache-2.0
"""What every way to select what is sent has in common.

A mask has axes [A | 1, C | 1, H | 1, W | 1]: of channels if the receiver asks,
of cells or of both if senders choose. `share` gives every selector the same
budget, so that they compare: a share of channels, of cells, or of entries.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp

from jaxdl.core import checks
from jaxdl.perception.cooperation import _values


class Evidence(NamedTuple):
  """What a selection may look at.

  Attributes:
    own: f[C, H, W], the receiver's maps.
    previous: f[C, H, W], what it fused in the last frame.
    maps: f[A, C, H, W], what senders have, in the receiver's frame; None where
      nobody asks.
    confidence: f[A, H, W], how sure each sender is of a vehicle by its own maps
      alone, in the receiver's frame; None where nobody asks.
    ego: i[], which row is the receiver's.
    own_confidence: f[H, W], the receiver's, where rows are split over devices
      and its own may be elsewhere; None where it is its row's.
  """

  own: chex.Array
  previous: chex.Array
  maps: chex.Array | None
  confidence: chex.Array | None
  ego: chex.Numeric
  own_confidence: chex.Array | None = None


class Selector(NamedTuple):
  """A way to select.

  Attributes:
    init: `init(key) -> params`; consumes the key.
    memory: `memory() -> memory` at the start of a scene.
    apply: `apply(params, memory, evidence, *, key, share=None, offset=0.0) ->
      (mask, memory)`; with a share the budget is that, however much the
      selector would ask for itself. The offset is added to thresholds.
    needs_previous: whether the first frame of a scene, which has none before
      it, is sent in full.
    needs_confidence: whether it reads `Evidence.confidence`.
    needs_maps: whether it reads `Evidence.maps`.
    curriculum: whether training shrinks the share that is sent at least from 1
      to 0, in place of full frames now and then; `apply` then takes it as
      `at_least`.
    asks: whether somebody has to say which entries are sent.
    unit: what a mask selects, 'channel', 'cell' or 'entry'.
  """

  init: Callable[[chex.PRNGKey], Any]
  memory: Callable[[], Any]
  apply: Callable[..., tuple[chex.Array, Any]]
  needs_previous: bool = False
  needs_confidence: bool = False
  needs_maps: bool = False
  curriculum: bool = False
  asks: bool = True
  unit: str = 'channel'


def top_share(
  scores: chex.Array, share: chex.Numeric, *, axes: int = 1
) -> chex.Array:
  """The entries of largest score, as many as a share of all, rounded.

  Of equal scores the first come first.

  Args:
    scores: f[...].
    share: in [0, 1], may be traced.
    axes: how many of the last axes are ranked together (static).

  Returns:
    f[...] of zeros and ones.

  Raises:
    ValueError: if a known share is out of range, or a known score not finite.

  Example:
    >>> top_share(jnp.array([0.1, 0.9, 0.9, 0.3]), 0.5).tolist()
    [0.0, 1.0, 1.0, 0.0]
  """
  if not isinstance(share, jax.core.Tracer):
    checks.number(share, name='share', low=0.0, high=1.0)
  _values.finite(scores, name='scores')
  lead = scores.shape[: scores.ndim - axes]
  flat = scores.reshape(*lead, -1)
  rank = _values.ranks(-flat)
  # Half up: the rank is a whole number, and half a rank decides.
  kept = rank < jnp.floor(share * flat.shape[-1] + 0.5)
  return kept.astype(scores.dtype).reshape(scores.shape)


def channels(mask: chex.Array) -> chex.Array:
  """Brings a mask of channels, f[C], to four axes."""
  return mask[None, :, None, None]
