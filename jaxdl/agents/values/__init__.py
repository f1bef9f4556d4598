# SPDX-License-Identifier: Apache-2.0
"""Learners of values, from kept steps.

- `q_learning`: values of actions, each agent's own (IQL), summed (VDN) or
  mixed (QMIX); `exploring` plays by them;
- `maddpg`: actors with critics of what everybody sees and does;
- pieces: `q_td_targets`, `best_values`, `mix_values`, `qmix_mix`, and `Buffer`
  with `empty`, `add` and `sample`.
"""

from jaxdl.agents.values._buffer import Buffer, add, empty, sample
from jaxdl.agents.values._maddpg import MaddpgState, maddpg
from jaxdl.agents.values._q_learning import (
  MIXERS,
  ValueState,
  check_discrete,
  exploring,
  q_learning,
)
from jaxdl.agents.values._targets import (
  best_values,
  mix_values,
  q_td_targets,
  qmix_init,
  qmix_mix,
)

__all__ = [
  'MIXERS',
  'Buffer',
  'MaddpgState',
  'ValueState',
  'add',
  'best_values',
  'check_discrete',
  'empty',
  'exploring',
  'maddpg',
  'mix_values',
  'q_learning',
  'q_td_targets',
  'qmix_init',
  'qmix_mix',
  'sample',
]
