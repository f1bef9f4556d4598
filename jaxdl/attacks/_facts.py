# SPDX-License-Identifier: Apache-2.0
"""What is known about an attack; `core.registry.known` puts it there."""

import dataclasses


@dataclasses.dataclass(frozen=True, kw_only=True)
class Facts:
  """What whoever runs an attack must know about its function.

  What it needs is in its signature: `key`, `rule` and `damage`, `num_classes`.

  Attributes:
    reads_own: its first argument is `own` instead of `honest`.
    makes: it makes an `Attack`, with memory or with poison.
  """

  reads_own: bool = False
  makes: bool = False
