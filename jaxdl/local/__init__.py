# SPDX-License-Identifier: Apache-2.0
"""What one client does between messages, and who takes part in a round.

First order: `gradients` and `client_updates` are one step of all clients,
`train_steps` and `local_training` several steps of one, by number or by epochs
over its own examples; `LocalWork` says how many, once for every algorithm.
`clip_by_norm` bounds what a client contributes.

Zeroth order: `projected_gradient` measures the slope along directions drawn
from keys, `estimated_gradient` and `apply_projected` put them to use.

`make_optimizer` and `make_schedule` read optimizers and step sizes of specs.

Cohorts: `batch_cohort` draws a batch per client; a sampler such as
`sample_uniform` says who takes part, `gather_cohort` collects their data.
"""

from jaxdl.local._clipping import clip_by_norm
from jaxdl.local._cohorts import batch_cohort
from jaxdl.local._gradients import (
  client_updates,
  gradients,
  loss_and_gradient,
  momentum,
  start_models,
)
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
  sample_available,
  sample_cyclic,
  sample_full,
  sample_multinomial,
  sample_poisson,
  sample_uniform,
  sample_weighted,
)
from jaxdl.local._training import Trained, local_training, train_steps
from jaxdl.local._work import (
  WORKS,
  LocalWork,
  check_work,
  loss_gradient,
  real_rows,
)

__all__ = [
  'ClientSample',
  'DIRECTIONS',
  'DIVISORS',
  'LocalWork',
  'WORKS',
  'OPTIMIZERS',
  'SAMPLERS',
  'SCHEDULES',
  'Trained',
  'add_scaled',
  'apply_projected',
  'batch_cohort',
  'check_work',
  'client_sampler',
  'client_updates',
  'clip_by_norm',
  'direction_keys',
  'estimated_gradient',
  'gather_cohort',
  'gradients',
  'local_training',
  'loss_and_gradient',
  'loss_gradient',
  'make_optimizer',
  'make_schedule',
  'momentum',
  'perturbation',
  'projected_gradient',
  'real_rows',
  'sample_available',
  'sample_cyclic',
  'sample_full',
  'sample_multinomial',
  'sample_poisson',
  'sample_uniform',
  'sample_weighted',
  'start_models',
  'stepped_inverse',
  'train_steps',
  'unmoved_share',
]
