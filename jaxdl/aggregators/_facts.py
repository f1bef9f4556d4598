# SPDX-License-Identifier: Apache-2.0
"""What is known about a rule; `core.registry.known` puts it on the rule."""

import dataclasses
from collections.abc import Callable
from typing import Any


@dataclasses.dataclass(frozen=True, kw_only=True)
class Facts:
  """What whoever builds a server must know about a rule.

  Attributes:
    family: 'gram', 'coordinate', 'mean' or 'stateful'.
    byzantine: name of the argument that takes f, or None.
    factor: the rule needs n >= factor * f + extra; checked by the registry
      where `byzantine` is None, by the rule itself elsewhere.
    extra: see `factor`.
    random: whether it always consumes a key.
    alone: why it cannot follow a pre-aggregator; empty if it can. A rule with
      memory that can has in its state the vector that its views are anchored
      at.
    shares: `shares(view, **options) -> f32[N]`, who was listened to, where that
      is something else than the weights of the combination.
  """

  family: str
  byzantine: str | None = 'num_byzantine'
  factor: int = 2
  extra: int = 1
  random: bool = False
  alone: str = ''
  shares: Callable[..., Any] | None = None

  @property
  def stateful(self) -> bool:
    """Whether the function makes an `Aggregator` instead of being a rule."""
    return self.family == 'stateful'
