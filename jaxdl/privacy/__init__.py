# SPDX-License-Identifier: Apache-2.0
"""Learning from clients without learning about one of them.

Differential privacy of clients, one `Mechanism(init, client, release, ...)` by
name (`make_mechanism('central(clip=1.0, noise_multiplier=1.0)', ...)`, parts
of `MECHANISMS`):

- `central` clips every update and adds Gaussian noise to their sum, which is
  divided by a number of clients that is fixed beforehand (DP-FedAvg).
- `adaptive` lets the clipping norm follow a quantile of the updates' norms.
- `local` adds the noise at the client; any rule of `aggregators` may follow.

Their steps alone: `clip_update`, `add_noise`, `update_noise_multiplier`,
`next_clip`; `check_weighting` refuses shares of clients that break the proof.

What it costs, by dp-accounting (host, needs the extra): `epsilon` of a run,
`noise_for` an ε, `epsilon_curve` over the rounds.

Secure aggregation, simulated: a `SecureSum(apply, bits, ...)` by name
(`make_secure_sum('pairwise(num_bits=20, clip=1.0)', num_clients=N)`, parts of
`SECURE_SUMS`) adds clients of which the server sees masked integers only. Its
steps alone: `quantize`, `mask_messages`, `unmask_sum`, `dequantize_sum`.
"""

from jaxdl.privacy._accounting import (
  ACCOUNTANTS,
  epsilon,
  epsilon_curve,
  noise_for,
  spent_by,
)
from jaxdl.privacy._mechanisms import (
  MECHANISMS,
  Mechanism,
  MechanismState,
  check_weighting,
  make_mechanism,
)
from jaxdl.privacy._noise import (
  add_noise,
  clip_update,
  next_clip,
  update_noise_multiplier,
)
from jaxdl.privacy._pairwise import (
  dequantize_sum,
  mask_messages,
  quantize,
  unmask_sum,
)
from jaxdl.privacy._secure_sums import SECURE_SUMS, SecureSum, make_secure_sum

__all__ = [
  'spent_by',
  # Mechanisms.
  'MECHANISMS',
  'Mechanism',
  'MechanismState',
  'add_noise',
  'check_weighting',
  'clip_update',
  'make_mechanism',
  'next_clip',
  'update_noise_multiplier',
  # Accounting.
  'ACCOUNTANTS',
  'epsilon',
  'epsilon_curve',
  'noise_for',
  # Secure aggregation.
  'SECURE_SUMS',
  'SecureSum',
  'dequantize_sum',
  'make_secure_sum',
  'mask_messages',
  'quantize',
  'unmask_sum',
]
