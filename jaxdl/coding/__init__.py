# SPDX-License-Identifier: Apache-2.0
"""Gradients of many workers although some are late: sequential coding.

Job t, a gradient over all data, starts in round t; workers that are late are
not waited for, as long as the pattern stays one that the scheme is made for.

- `make_scheme`: a `Scheme` from a spec, a part of `SCHEMES`: 'uncoded',
  'gc(4)', 'gc_rep(3)' (codes across workers), 'sr_sgc(1, 2, 6)' (what is
  missing is repeated), 'm_sgc(2, 3, 11)' (most data repeated, some coded),
  'no_wait'. It numbers chunks and results; `encode_job`, `decode_job` and
  `deliveries` say what is computed, what it gives and what has arrived.
- `gradient_code`: the code across workers, with decoding vectors that are kept;
  `gc_encoding_matrix`, `gc_decoding_vector`, `encode`, `decode` are its parts,
  on any tree of gradients.
- `load_gc`, `load_sr_sgc`, `load_m_sgc`, `load_lower_bound`: exact fractions.
- `conforms_per_round`, `conforms_bursty`, `conforms_arbitrary`,
  `conforms_sr_sgc`: models of stragglers.
- `make_delays`: how long workers take, of a spec in `DELAYS`, drawn or from a
  file.
- `simulate`: a scheme on delays; `total_times` for many schemes side by side.
- `candidates`, `select`, `fit_load_slope`: numbers for a scheme from a probe;
  `plan_run` does it all, also in the middle of a run (`SELECTIONS`).
- `coded_training`: several models that take turns, on decoded gradients.
"""

from jaxdl.coding._codes import (
  GradientCode,
  decode,
  encode,
  gc_decoding_vector,
  gc_encoding_matrix,
  gradient_code,
)
from jaxdl.coding._delays import (
  DELAYS,
  gilbert_elliott_delays,
  load_delays,
  lognormal_delays,
  make_delays,
)
from jaxdl.coding._deliveries import (
  Deliveries,
  decode_job,
  deliveries,
  encode_job,
)
from jaxdl.coding._loads import (
  load_gc,
  load_lower_bound,
  load_m_sgc,
  load_sr_sgc,
)
from jaxdl.coding._plans import (
  SELECTIONS,
  Plan,
  Selection,
  plan_run,
  small_selection,
)
from jaxdl.coding._schemes import (
  SCHEMES,
  Scheme,
  m_sgc_assignment,
  make_scheme,
  small_scheme,
)
from jaxdl.coding._selection import (
  candidates,
  estimated_times,
  fit_load_slope,
  select,
)
from jaxdl.coding._simulation import RunResult, simulate, total_times
from jaxdl.coding._stragglers import (
  conforms_arbitrary,
  conforms_bursty,
  conforms_per_round,
  conforms_sr_sgc,
)
from jaxdl.coding._training import coded_training

__all__ = [
  'DELAYS',
  'SCHEMES',
  'SELECTIONS',
  'Deliveries',
  'GradientCode',
  'Plan',
  'RunResult',
  'Scheme',
  'Selection',
  'candidates',
  'coded_training',
  'conforms_arbitrary',
  'conforms_bursty',
  'conforms_per_round',
  'conforms_sr_sgc',
  'decode',
  'decode_job',
  'deliveries',
  'encode',
  'encode_job',
  'estimated_times',
  'fit_load_slope',
  'gc_decoding_vector',
  'gc_encoding_matrix',
  'gilbert_elliott_delays',
  'gradient_code',
  'load_delays',
  'load_gc',
  'load_lower_bound',
  'load_m_sgc',
  'load_sr_sgc',
  'lognormal_delays',
  'm_sgc_assignment',
  'make_delays',
  'make_scheme',
  'plan_run',
  'select',
  'simulate',
  'small_scheme',
  'small_selection',
  'total_times',
]
