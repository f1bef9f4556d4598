# SPDX-License-Identifier: Apache-2.0
"""Games as problems: who plays, and how it is measured.

- `games`: any `agents.Environment`, measured by whole episodes;
- `coplayers`: iterated dilemmas among learners and tabular co-players;
- `alone`: the cohort of learners that play for themselves;
- `trimmed_mean`: a mean over seeds without extremes.
"""

from jaxdl.problems.games._coplayers import coplayers
from jaxdl.problems.games._games import MODES, alone, games, trimmed_mean

__all__ = ['MODES', 'alone', 'coplayers', 'games', 'trimmed_mean']
