# SPDX-License-Identifier: Apache-2.0
"""Grokking of group operations: how features come late, as theory has it.

A network of two layers learns g, h -> g h. First its top layer fits random
features (lazy), then every hidden node climbs an energy whose maxima are the
irreps of the group, then nodes repel each other until no irrep is missing.

- Operations: `cyclic_table`, `product_table`, `symmetric_table`,
  `dihedral_table`, `polynomial_table`, checked by `validate_group_table`;
  `GROUPS` by name, `make_table`. `irreps` finds characters and projectors of
  any group.
- Examples: `group_dataset`, `split_examples`, `critical_ratio`;
  `make_data` reads `SPLITS`.
- Network: `Model` (`init_params`, `hidden_features`, `apply`), `LOSSES`.
  `group_learning` trains it, `make_method` reads `METHODS` and `OPTIMIZERS`;
  `coupled_adam` and `muon` are Tian's. `train` is one scan; `make_problem` is
  for `experiment.compare`.
- Stage one: `backprop_gradient`, `ridge_readout`, `ridge_backprop`,
  `lazy_trajectory`.
- Stage two: `node_energy`, `energy_ascent`, `restricted_energy`,
  `energy_spectrum`, `irrep_powers`, `learned_irreps`; `memorizing_weights` are
  the maxima where one product alone was seen.
- Stage three: `repulsion_matrix`, `repelled_share`, `residual`,
  `coupon_bound`; `gram_diagnostics` says how good the approximations are.
- `make_measure` reads `MEASURES`, what is looked at while networks learn.

Source: Tian 2025, Provable scaling laws of feature emergence from learning
dynamics of grokking (https://arxiv.org/abs/2509.21519).
"""

from jaxdl.theory.grokking._bounds import (
  coupon_bound,
)
from jaxdl.theory.grokking._data import (
  SPLITS,
  GroupData,
  critical_ratio,
  group_dataset,
  make_data,
  num_train,
  split_examples,
  train_share,
)
from jaxdl.theory.grokking._energy import (
  energy_ascent,
  energy_spectrum,
  irrep_powers,
  learned_irreps,
  memorizing_weights,
  node_energy,
  node_outputs,
  restricted_energy,
)
from jaxdl.theory.grokking._groups import (
  GROUPS,
  conjugacy_classes,
  cyclic_table,
  dihedral_table,
  identity,
  inverses,
  is_group,
  make_table,
  polynomial_table,
  product_table,
  symmetric_table,
  validate_group_table,
)
from jaxdl.theory.grokking._interactions import (
  GramDiagnostics,
  gram_diagnostics,
  repelled_share,
  repulsion_matrix,
  residual,
)
from jaxdl.theory.grokking._irreps import (
  Irreps,
  irreps,
)
from jaxdl.theory.grokking._lazy import (
  backprop_gradient,
  lazy_trajectory,
  ridge_backprop,
  ridge_readout,
)
from jaxdl.theory.grokking._learning import (
  GrokkingState,
  early_rows,
  group_learning,
)
from jaxdl.theory.grokking._measures import MEASURES, make_measure
from jaxdl.theory.grokking._methods import (
  METHODS,
  Method,
  make_method,
  make_problem,
  train,
)
from jaxdl.theory.grokking._model import (
  ACTIVATIONS,
  LOSSES,
  Model,
  apply,
  class_centered_mse,
  cross_entropy,
  hidden_features,
  init_params,
  sample_centered_mse,
)
from jaxdl.theory.grokking._optimizers import (
  NEWTON_SCHULZ,
  OPTIMIZERS,
  coupled_adam,
  muon,
)

__all__ = [
  'ACTIVATIONS',
  'GROUPS',
  'GramDiagnostics',
  'GrokkingState',
  'GroupData',
  'Irreps',
  'LOSSES',
  'MEASURES',
  'METHODS',
  'NEWTON_SCHULZ',
  'Method',
  'Model',
  'OPTIMIZERS',
  'SPLITS',
  'apply',
  'backprop_gradient',
  'class_centered_mse',
  'conjugacy_classes',
  'coupled_adam',
  'coupon_bound',
  'critical_ratio',
  'cross_entropy',
  'cyclic_table',
  'dihedral_table',
  'early_rows',
  'energy_ascent',
  'energy_spectrum',
  'gram_diagnostics',
  'group_dataset',
  'group_learning',
  'hidden_features',
  'identity',
  'init_params',
  'inverses',
  'irrep_powers',
  'irreps',
  'is_group',
  'lazy_trajectory',
  'learned_irreps',
  'make_data',
  'make_measure',
  'make_method',
  'make_problem',
  'make_table',
  'memorizing_weights',
  'muon',
  'node_energy',
  'node_outputs',
  'num_train',
  'polynomial_table',
  'product_table',
  'repelled_share',
  'repulsion_matrix',
  'residual',
  'restricted_energy',
  'ridge_backprop',
  'ridge_readout',
  'sample_centered_mse',
  'split_examples',
  'train_share',
  'symmetric_table',
  'train',
  'validate_group_table',
]
