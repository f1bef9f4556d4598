# SPDX-License-Identifier: Apache-2.0
"""Adversaries: what Byzantine clients send.

All are pure functions of stacked trees; they keep structure and dtypes, never
flatten, and work under `jit`, `vmap` and, with `axis_name`, inside a mapped
axis over which the honest clients are split.

  sent = attacks.alie(honest, num_byzantine=3)  # [H, ...] -> [3, ...]

**Made of the honest clients**, `name(honest, *, num_byzantine, ...)`. Rows of
the result are equal unless marked *; the order of the honest rows is
irrelevant except for `mimic`.

| function | sends |
|---|---|
| `sign_flip` | -scale · mean |
| `scaled_sign_flip` | -(H / F) · mean, which makes the plain mean zero |
| `ipm` | -scale · mean with a small scale |
| `alie` | mean ∓ z · std, with `alie_z` by default |
| `min_max`, `min_sum` | mean + γ · direction, γ in closed form |
| `anti_cge` | against the shortest honest vectors, as long as they are |
| `fang`* | just beyond the honest extremes, per coordinate |
| `mimic` | one honest client's vector |
| `agr_tailored` | mean + γ · direction, γ searched against a rule |
| `optimized_alie`, `optimized_ipm` | the same, along std and mean |

**Blind**, the same signature: `gaussian`*, `uniform`*, `constant` (zero, NaN,
infinity).

**Made of the attackers' own vectors**, `name(own, ...)`: `bit_flip`,
`reverse`, `drop_coordinates`.

**With memory**: `mimic_heuristic` is an `Attack(init, apply)`.

**Data**: `label_flip` is an `Attack` whose `poison` changes what attackers
train on; what they then send is honest work. `noisy_labels` replaces a share of
labels for everybody, on the host.

Searches are built from `line_search` or `grid_search` and a damage,
`rule_damage`, `mixing_damage` or any function of what is sent.

**By name**: `make_attack('alie(scale=1.5)', ...)`; `ATTACKS` lists names and
options.

Algorithms take text (`attack='alie(scale=1.5)'`), any of these functions as
they are (`attack=attacks.sign_flip`, or `functools.partial(attacks.alie,
scale=1.5)`), a function of your own with a first argument called `honest` or
`own`, or an `Attack`; `as_attack` makes one of it.

Conventions: functions need at least one attacker (F >= 1); `make_attack` with
`num_byzantine=0` sends an empty stack. One honest client (H = 1) has spread
zero, also with `ddof=1`. Honest rows that are not finite spoil what is made of
them, and entries are squared as they are: keep them below 1e18 / sqrt(D).
"""

from jaxdl.attacks._corrupt import (
  bit_flip,
  constant,
  drop_coordinates,
  gaussian,
  reverse,
  uniform,
)
from jaxdl.attacks._directed import (
  alie,
  alie_z,
  anti_cge,
  ipm,
  scaled_sign_flip,
  sign_flip,
)
from jaxdl.attacks._envelope import min_max, min_sum
from jaxdl.attacks._fang import fang
from jaxdl.attacks._labels import flip_labels, label_flip, noisy_labels
from jaxdl.attacks._mimic import MimicState, mimic, mimic_heuristic
from jaxdl.attacks._registry import ATTACKS, as_attack, make_attack
from jaxdl.attacks._search import (
  agr_tailored,
  grid_search,
  line_search,
  mixing_damage,
  optimized_alie,
  optimized_ipm,
  rule_damage,
)

__all__ = [
  'ATTACKS',
  'MimicState',
  'agr_tailored',
  'alie',
  'alie_z',
  'anti_cge',
  'as_attack',
  'bit_flip',
  'constant',
  'drop_coordinates',
  'fang',
  'flip_labels',
  'gaussian',
  'grid_search',
  'ipm',
  'label_flip',
  'line_search',
  'make_attack',
  'mimic',
  'mimic_heuristic',
  'min_max',
  'min_sum',
  'mixing_damage',
  'noisy_labels',
  'optimized_alie',
  'optimized_ipm',
  'reverse',
  'rule_damage',
  'scaled_sign_flip',
  'sign_flip',
  'uniform',
]
