# SPDX-License-Identifier: Apache-2.0
"""What everything else stands on.

- `types`: the pairs of pure functions (Network, Task, Aggregator, Attack,
  Algorithm) and the `Cohort`.
- `trees`: linear algebra on stacked trees (leading client axis, any structure).
- `gram`: inner products between clients, safe against cancellation.
- `view`: clients in Gram space, so that rules compose without touching data.
- `order`: order statistics over clients by sorting networks.
- `clients`: running one client's function for all, on one device or many.
- `classes`: what is said of classes.
- `layers`: what layers of networks and operators have in common.
- `keys`: one random stream per client identity.
- `schedules`: learning rates that optax does not have.
- `checks`: errors that name the argument, the rule and the value.
- `tables`: matrices and CSV of local files, with the line in every message.
- `extras`: packages that only some functions need.
"""

import jaxlib

from jaxdl import _versions
from jaxdl.core import (
  checks,
  classes,
  clients,
  extras,
  gram,
  keys,
  layers,
  order,
  registry,
  tables,
  trees,
  types,
  view,
)

# Every package imports this one, so the warning comes once and at once.
_versions.warn_if_unsound(jaxlib.__version__)

__all__ = [
  'checks',
  'classes',
  'clients',
  'extras',
  'gram',
  'keys',
  'layers',
  'order',
  'registry',
  'tables',
  'trees',
  'types',
  'view',
]
