# SPDX-License-Identifier: Apache-2.0
"""Games that learners play.

- `coplayers`: iterated dilemmas among learners and tabular co-players.
"""

from jaxdl.problems.games._coplayers import coplayers

__all__ = ['coplayers']
