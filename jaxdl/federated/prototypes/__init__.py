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
- `field_learning` sends clients on missions with any of `METHODS`: prototypes
  (`protonet`, `pixels`, `random`) and heads that are trained (`lower`, `icarl`,
  `upper`).
"""

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
from jaxdl.federated.prototypes._methods import METHODS, Prototypes
from jaxdl.federated.prototypes._missions import (
  PROTOCOLS,
  Missions,
  class_schedule,
  mission_schedule,
)

__all__ = [
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
  'class_distances',
  'class_schedule',
  'classify',
  'embed_all',
  'empty_memory',
  'exact_merge',
  'field_learning',
  'make_merge',
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
  'update_memory',
]
