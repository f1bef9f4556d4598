# SPDX-License-Identifier: Apache-2.0
"""What one client does between messages, and who takes part in a round.

Zeroth order: `projected_gradient` measures the slope along directions drawn
from keys, `estimated_gradient` and `apply_projected` put them to use.

`make_optimizer` and `make_schedule` read optimizers and step sizes of specs.

Cohorts: `batch_cohort` draws a batch per client; a sampler such as
`sample_uniform` says who takes part, `gather_cohort` collects their data.
"""

from jaxdl.local._cohorts import batch_cohort
from jaxdl.local._optimizers import (
  OPTIMIZERS,
  SCHEDULES,
  make_optimizer,
  make_schedule,
  stepped_inverse,
)
from jaxdl.local._projected import (
  DIRECTIONS,
  DIVISORS,
  add_scaled,
  apply_projected,
  direction_keys,
  estimated_gradient,
  perturbation,
  projected_gradient,
  unmoved_share,
)
from jaxdl.local._samplers import (
  SAMPLERS,
  ClientSample,
  client_sampler,
  gather_cohort,
  sample_cyclic,
  sample_full,
  sample_multinomial,
  sample_poisson,
  sample_uniform,
)

__all__ = [
  'ClientSample',
  'DIRECTIONS',
  'DIVISORS',
  'OPTIMIZERS',
  'SAMPLERS',
  'SCHEDULES',
  'add_scaled',
  'apply_projected',
  'batch_cohort',
  'client_sampler',
  'direction_keys',
  'estimated_gradient',
  'gather_cohort',
  'make_optimizer',
  'make_schedule',
  'perturbation',
  'projected_gradient',
  'sample_cyclic',
  'sample_full',
  'sample_multinomial',
  'sample_poisson',
  'sample_uniform',
  'stepped_inverse',
  'unmoved_share',
]
