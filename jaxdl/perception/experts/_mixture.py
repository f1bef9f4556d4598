# SPDX-License-Identifier: Apache-2.0
"""What a feed-forward layer becomes: how many experts, and how they start."""

import dataclasses

from jaxdl.core import checks, registry
from jaxdl.perception.experts import _apply, _route, _split


@dataclasses.dataclass(frozen=True, kw_only=True)
class Mixture:
  """What feed-forward layers become.

  Attributes:
    num_experts: E, of a layer.
    top_k: k, experts of a token.
    num_slices: experts that a copy of the layer is cut into; k if None. With 1
      and k = 1 or 2 experts are whole layers, the coarse mixture.
    gate: a part of `GATES`.
    router: a part of `ROUTER_INITS`.
    start: a part of `EXPERT_INITS`.
    implementation: see `moe_apply`.
  """

  num_experts: int = 16
  top_k: int = 2
  num_slices: int | None = None
  gate: str = 'renorm_k'
  router: str = 'repeat'
  start: str = 'slices'
  implementation: str = 'auto'

  def __post_init__(self):
    """Checks what can be without a layer."""
    checks.integer(self.num_experts, name='num_experts', low=1)
    _route.check_top_k(self.top_k, self.num_experts)
    if self.num_slices is not None:
      checks.integer(self.num_slices, name='num_slices', low=1)
    label = 'top_k' if self.num_slices is None else 'num_slices'
    _split.check_copies(self.num_experts, self.slices, label)
    _route.GATES.check(self.gate)
    _split.ROUTER_INITS.check(self.router)
    _split.EXPERT_INITS.check(self.start)
    allowed = _apply.IMPLEMENTATIONS
    checks.choice(self.implementation, allowed, name='implementation')

  @property
  def slices(self) -> int:
    """Experts that a copy is cut into."""
    return self.top_k if self.num_slices is None else self.num_slices


def _moe(
  num_experts: int = 16,
  top_k: int = 2,
  *,
  num_slices: int | None = None,
  gate: str = 'renorm_k',
  router: str = 'repeat',
  start: str = 'slices',
  implementation: str = 'auto',
) -> Mixture:
  """E experts, k of them for a token, see `Mixture`."""
  return Mixture(
    num_experts=num_experts,
    top_k=top_k,
    num_slices=num_slices,
    gate=gate,
    router=router,
    start=start,
    implementation=implementation,
  )


MIXTURES = registry.Registry('experts', {'moe': _moe})


def as_mixture(value: 'Mixture | str') -> Mixture:
  """Reads a part of `MIXTURES`, such as 'moe(16, top_k=2)'."""
  if isinstance(value, str):
    return MIXTURES.make(value)
  if isinstance(value, Mixture):
    return value
  raise TypeError(
    "experts must be a Mixture or text, 'moe(16, top_k=2)'; got "
    f'{checks.described(value)}.'
  )
