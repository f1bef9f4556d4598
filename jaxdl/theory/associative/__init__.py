# SPDX-License-Identifier: Apache-2.0
"""Associative networks that retrieve several diluted patterns at once.

A Hopfield network whose patterns have blank entries aligns one state with many
patterns: in a hierarchy of overlaps where few entries are blank, equally where
most are. It may know the patterns or learn them from noisy examples, with a
teacher or without.

- Data: `sample_patterns`, `sample_examples`, `sample_example_sums` and
  `sample_example_mean` (no array of examples), `dataset_entropy`.
- Networks: `storing_memory`, `supervised_memory`, `unsupervised_memory`; as
  matrices `hebbian_couplings`, `dilute_couplings`; `energy`, `local_fields`,
  `overlaps`, `losses`.
- Dynamics: `glauber`, `glauber_sweep`, `zero_temperature`, from
  `hierarchical_state`, `pure_state`, `mixture_state`, `random_state` and
  `noisy_state`; over a mesh with one sum of the overlaps per block.
- Theory: `self_consistency`, `parallel_overlap`, `free_energy`,
  `hierarchical_amplitudes`, `dilution_threshold`, `level_temperatures`,
  `noise_to_signal`, `one_step_magnetization`, `examples_needed`.
- By name, for flags: `make_network` of `PROTOCOLS`, `STARTS`, `SWEEPS`; many
  networks at once by `retrieval`, and what `theory` says of them;
  `report`, `levels`, `portrait`, `table` for rows and pictures.

Source: Agliari, Alessandrelli, Barra, Ricci-Tersenghi 2023, Parallel Learning
by Multitasking Neural Networks (https://arxiv.org/abs/2308.04106).
"""

from jaxdl.theory.associative._dynamics import (
  Settled,
  glauber,
  glauber_sweep,
  zero_temperature,
)
from jaxdl.theory.associative._memory import (
  Couplings,
  Memory,
  dilute_couplings,
  energy,
  hebbian_couplings,
  local_fields,
  storing_memory,
  supervised_memory,
  unsupervised_memory,
)
from jaxdl.theory.associative._patterns import (
  dataset_entropy,
  losses,
  overlaps,
  sample_example_mean,
  sample_example_sums,
  sample_examples,
  sample_patterns,
)
from jaxdl.theory.associative._protocols import (
  PROTOCOLS,
  STARTS,
  Setting,
  make_network,
  setting_of,
  theory,
)
from jaxdl.theory.associative._reports import (
  levels,
  portrait,
  report,
  table,
)
from jaxdl.theory.associative._runs import (
  SWEEPS,
  Retrieval,
  Sweep,
  make_settings,
  retrieval,
  sample_keys,
  small_sweep,
)
from jaxdl.theory.associative._states import (
  hierarchical_state,
  mixture_state,
  noisy_state,
  pure_state,
  random_state,
)
from jaxdl.theory.associative._theory import (
  Solution,
  free_energy,
  parallel_overlap,
  self_consistency,
)
from jaxdl.theory.associative._thresholds import (
  dilution_threshold,
  examples_needed,
  hierarchical_amplitudes,
  level_temperatures,
  noise_to_signal,
  one_step_magnetization,
)

__all__ = [
  'Couplings',
  'Memory',
  'PROTOCOLS',
  'Retrieval',
  'STARTS',
  'SWEEPS',
  'Setting',
  'Settled',
  'Solution',
  'Sweep',
  'dataset_entropy',
  'dilute_couplings',
  'dilution_threshold',
  'energy',
  'examples_needed',
  'free_energy',
  'glauber',
  'glauber_sweep',
  'hebbian_couplings',
  'hierarchical_amplitudes',
  'hierarchical_state',
  'level_temperatures',
  'levels',
  'local_fields',
  'losses',
  'make_network',
  'make_settings',
  'mixture_state',
  'noise_to_signal',
  'noisy_state',
  'one_step_magnetization',
  'overlaps',
  'parallel_overlap',
  'portrait',
  'pure_state',
  'random_state',
  'report',
  'retrieval',
  'sample_keys',
  'sample_example_mean',
  'sample_example_sums',
  'sample_examples',
  'sample_patterns',
  'self_consistency',
  'setting_of',
  'small_sweep',
  'storing_memory',
  'supervised_memory',
  'table',
  'theory',
  'unsupervised_memory',
  'zero_temperature',
]
