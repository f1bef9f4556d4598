# SPDX-License-Identifier: Apache-2.0
"""Games as problems: who plays, and how it is measured.

- `games`: any `agents.Environment`, measured by whole episodes;
- `host_games`: likewise, of games that run on the host;
- `coplayers`: iterated dilemmas among learners and tabular co-players;
- `public_goods`: sequential public goods games, for algorithms of
  `agents.public_goods.METHODS`;
- `texts`: public goods that language models write;
- `alone`: the cohort of learners that play for themselves;
- `trimmed_mean`: a mean over seeds without extremes.
"""

from jaxdl.problems.games import texts
from jaxdl.problems.games._coplayers import coplayers
from jaxdl.problems.games._games import MODES, alone, games, trimmed_mean
from jaxdl.problems.games._host_games import host_games
from jaxdl.problems.games._public_goods import public_goods

__all__ = [
  'MODES',
  'alone',
  'coplayers',
  'games',
  'host_games',
  'public_goods',
  'texts',
  'trimmed_mean',
]
