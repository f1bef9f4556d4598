# SPDX-License-Identifier: Apache-2.0
"""Games for agents, each an `agents.Environment`; by name in `GAMES`.

- `simple_spread`: agents cover landmarks on a plane; `simple_reference`,
  `simple_speaker_listener`: they tell each other where to go;
- `predator_prey`, `predator_capture`: agents look for a prey on a grid;
  `traffic_junction`: cars come, cross and leave;
- `switch_riddle`, `sum_guess`, `routing`: short games with known best values
  that need messages;
- `iterated_dilemma`, `public_goods`: what is good for one and for all;
- `beam_carry`: carriers with vectors as actions.

`shared_reward`, `heterogeneous` and `observe_first` change a game, also by name
(`WRAPPERS`): `make_game('shared_reward+simple_spread')`.

`from_jaxmarl` and `from_gymnax` play games of other libraries, `DictGame`
shows ours as JaxMARL's. What cannot be compiled is a `HostGame`, such as
`multiwalker` (`HOST_GAMES`, `make_host_game`), for `host_rollout` and
`host_episodes`.
"""

from jaxdl.agents.games._adapters import (
  DictGame,
  PeerState,
  Space,
  batchify,
  from_gymnax,
  from_jaxmarl,
  unbatchify,
)
from jaxdl.agents.games._beam import BeamState, beam_carry
from jaxdl.agents.games._host import (
  HostGame,
  HostPlaying,
  HostStep,
  host_begin,
  host_episodes,
  host_rollout,
  multiwalker,
)
from jaxdl.agents.games._peers import gymnax, jaxmarl
from jaxdl.agents.games._prey import (
  PreyState,
  predator_capture,
  predator_prey,
)
from jaxdl.agents.games._reference import (
  TalkState,
  simple_reference,
  simple_speaker_listener,
)
from jaxdl.agents.games._registry import (
  ALL_GAMES,
  GAMES,
  HOST_GAMES,
  WRAPPERS,
  make_game,
  make_host_game,
  needs_peer,
)
from jaxdl.agents.games._riddles import (
  RiddleState,
  routing,
  sum_guess,
  switch_riddle,
)
from jaxdl.agents.games._smax import smax
from jaxdl.agents.games._social import (
  DilemmaState,
  GoodsState,
  iterated_dilemma,
  public_goods,
)
from jaxdl.agents.games._spread import ParticleState, simple_spread
from jaxdl.agents.games._traffic import (
  Roads,
  TrafficState,
  roads,
  traffic_junction,
)
from jaxdl.agents.games._wrappers import (
  heterogeneous,
  observe_first,
  shared_reward,
)

__all__ = [
  'ALL_GAMES',
  'GAMES',
  'HOST_GAMES',
  'WRAPPERS',
  'BeamState',
  'DictGame',
  'DilemmaState',
  'GoodsState',
  'HostGame',
  'HostPlaying',
  'HostStep',
  'ParticleState',
  'PeerState',
  'PreyState',
  'RiddleState',
  'Roads',
  'Space',
  'TalkState',
  'TrafficState',
  'batchify',
  'beam_carry',
  'from_gymnax',
  'from_jaxmarl',
  'gymnax',
  'heterogeneous',
  'host_begin',
  'host_episodes',
  'host_rollout',
  'iterated_dilemma',
  'jaxmarl',
  'make_game',
  'make_host_game',
  'multiwalker',
  'needs_peer',
  'observe_first',
  'predator_capture',
  'predator_prey',
  'public_goods',
  'roads',
  'routing',
  'shared_reward',
  'simple_reference',
  'simple_speaker_listener',
  'simple_spread',
  'smax',
  'sum_guess',
  'switch_riddle',
  'traffic_junction',
  'unbatchify',
]
