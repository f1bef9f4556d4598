# SPDX-License-Identifier: Apache-2.0
"""Games: what agents do to each other, and how that is measured.

- `public_goods`: sequential public goods games; algorithms of
  `agents.public_goods.METHODS` play them.
"""

from jaxdl.problems.games._public_goods import public_goods

__all__ = ['public_goods']
