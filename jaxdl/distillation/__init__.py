# SPDX-License-Identifier: Apache-2.0
"""Networks that learn from each other's predictions.

Online, a student and a teacher (or P networks) train together from scratch;
each adds to its cross-entropy a divergence to the softened predictions of the
others. `online_distillation` makes an `Algorithm` of it, `mutual_step` is one
step, the losses are plain functions of logits:

    step = distillation.mutual_step(
      [student, teacher],
      'bd_kd(weights=hard(nu=2))',
      optimizer=optax.adam(2e-3),
    )

- `METHODS`: `independent`, `label_smoothing`, `offline_kd`, `dml`, `kdcl`,
  `switokd` and `bd_kd`, whose students balance both divergences by how sure
  they are.
- `WEIGHT_RULES`: `hard`, `soft`, `symmetric`, `forward`, `reverse`, `fixed`.
- `student_loss`, `teacher_loss`, `smoothed_loss`, `peer_divergence`,
  `ensemble_logits`: of logits and labels.
- `kl_from_logits`, `entropy_from_logits`, `forward_divergence`,
  `reverse_divergence`: in log space, nothing is clamped.

Forward is T² KL(peer || own), whose target is the peer; reverse is T² KL(own ||
peer). T² is in both. Calibration is measured in `jaxdl.metrics`; clients that
distill instead of averaging are in `jaxdl.federated.distilled`.
"""

from jaxdl.distillation._divergences import (
  entropy_from_logits,
  forward_divergence,
  kl_from_logits,
  log_probs,
  reverse_divergence,
)
from jaxdl.distillation._losses import (
  ENSEMBLES,
  cross_entropy,
  ensemble_logits,
  peer_divergence,
  smoothed_loss,
  student_loss,
  teacher_loss,
)
from jaxdl.distillation._methods import METHODS, Method, make_method
from jaxdl.distillation._training import (
  PeersState,
  mutual_step,
  online_distillation,
)
from jaxdl.distillation._weights import (
  WEIGHT_RULES,
  divergence_weights,
  entropy_gap,
  weight_rule,
)

__all__ = [
  'ENSEMBLES',
  'METHODS',
  'Method',
  'PeersState',
  'WEIGHT_RULES',
  'cross_entropy',
  'divergence_weights',
  'ensemble_logits',
  'entropy_from_logits',
  'entropy_gap',
  'forward_divergence',
  'kl_from_logits',
  'log_probs',
  'make_method',
  'mutual_step',
  'online_distillation',
  'peer_divergence',
  'reverse_divergence',
  'smoothed_loss',
  'student_loss',
  'teacher_loss',
  'weight_rule',
]
