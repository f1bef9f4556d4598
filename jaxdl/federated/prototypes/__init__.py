# SPDX-License-Identifier: Apache-2.0
"""Federated reconnaissance: clients meet new classes, the server merges them.

An encoder is trained once on base classes (`train_encoder`) and frozen. What is
known of a class is the mean of its embeddings and their number, a
`PrototypeMemory`: a client sends d + 1 numbers for each class that it has met,
merging is addition (`merge_prototypes`, `merge_many`), nothing is forgotten,
and nobody trains in the field.

    memory = empty_memory(capacity=100, dimension=64)
    delta = prototype_delta(network.apply(params, images), labels, 100)
    memory = merge_prototypes(memory, delta)
    classify(memory, network.apply(params, others))

- Merges by name, `MERGES`: `exact_merge`, by numbers of examples; and two that
  are wrong on purpose: `reference_merge`, as in the authors' code, and
  `unweighted_merge`, by number of clients.
- Schedules of who meets what, `PROTOCOLS`: `mission_schedule`,
  `class_schedule`.
- `class_incremental_accuracy` measures all stages of adding classes at once.
- `DiscriminantMemory` adds a covariance of all classes, which merges as exactly
  (`merge_discriminants`, `discriminant_scores`).
- `field_learning` sends clients on missions with any of `METHODS`: prototypes
  (`protonet`, `pixels`, `random`), discriminants (`lda`) and heads that are
  trained (`lower`, `icarl`, `upper`). `check_methods` says before anything is
  trained whether their options fit.
"""

from jaxdl.federated.prototypes._discriminant import (
  DiscriminantMemory,
  discriminant_delta,
  discriminant_scores,
  empty_discriminant,
  merge_discriminants,
  update_discriminant,
)
from jaxdl.federated.prototypes._encoder import TRAININGS, train_encoder
from jaxdl.federated.prototypes._field import (
  Field,
  FieldMethod,
  FieldState,
  accuracy_of,
  field_learning,
  met_classes,
)
from jaxdl.federated.prototypes._heads import HeadModel, embed_all, merge_heads
from jaxdl.federated.prototypes._incremental import class_incremental_accuracy
from jaxdl.federated.prototypes._memory import (
  PrototypeMemory,
  class_distances,
  classify,
  empty_memory,
  merge_prototypes,
  prototype_delta,
  subtract_prototypes,
  update_memory,
)
from jaxdl.federated.prototypes._merging import (
  MERGES,
  exact_merge,
  make_merge,
  merge_many,
  reference_merge,
  unweighted_merge,
)
from jaxdl.federated.prototypes._methods import (
  METHODS,
  Prototypes,
  check_methods,
)
from jaxdl.federated.prototypes._missions import (
  PROTOCOLS,
  Missions,
  class_schedule,
  mission_schedule,
)

__all__ = [
  'DiscriminantMemory',
  'Field',
  'FieldMethod',
  'FieldState',
  'HeadModel',
  'MERGES',
  'METHODS',
  'Missions',
  'PROTOCOLS',
  'PrototypeMemory',
  'Prototypes',
  'TRAININGS',
  'accuracy_of',
  'check_methods',
  'class_distances',
  'class_incremental_accuracy',
  'class_schedule',
  'classify',
  'discriminant_delta',
  'discriminant_scores',
  'embed_all',
  'empty_discriminant',
  'empty_memory',
  'exact_merge',
  'field_learning',
  'make_merge',
  'merge_discriminants',
  'merge_heads',
  'merge_many',
  'merge_prototypes',
  'met_classes',
  'mission_schedule',
  'prototype_delta',
  'reference_merge',
  'subtract_prototypes',
  'train_encoder',
  'unweighted_merge',
  'update_discriminant',
  'update_memory',
]
