# SPDX-License-Identifier: Apache-2.0
"""Clients that send predictions instead of weights.

What travels are logits on public, unlabeled inputs that all clients see, so a
message does not grow with the model, and rules, attacks, compressors and
privacy of a `Channel` are about predictions:

    method, channel = distilled.make_variant(
      'fedmd(num_public=200)@channel(aggregator=median)', task, work, public
    )
    algorithm = federated.federate(method, 10, channel)

- `fedmd`: clients keep models of their own and distill the consensus.
- `feddf`: the server distills what its clients predict into its model.
- `DISTILLED` has both by name; `problems.clients(..., num_public=P)` sets
  public inputs aside.
"""

from jaxdl.federated.distilled._methods import feddf, fedmd, public_logits
from jaxdl.federated.distilled._registry import (
  DISTILLED,
  is_distilled,
  make_variant,
  num_public,
)

__all__ = [
  'DISTILLED',
  'feddf',
  'fedmd',
  'is_distilled',
  'make_variant',
  'num_public',
  'public_logits',
]
