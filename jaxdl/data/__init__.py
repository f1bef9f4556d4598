# SPDX-License-Identifier: Apache-2.0
"""Data sets, who owns them, and how they become arrays of one shape.

The usual path, all on the host until the last line:

1. `load_dataset(name, data_dir)` or one of the loaders returns a `Dataset`
   (or, where clients are natural, a `FederatedDataset`; `pool_clients` turns
   it into a `Dataset` and its parts). Loaders read local files only, check
   everything before they return anything and never unpickle objects. A
   broken one raises `FileError`, a ValueError that names the file; what a
   small file may unpack to is limited by `files.MAX_BYTES`, or `max_bytes` of
   the loader.
2. `make_partition(name, rng, labels, num_clients, ...)` says who gets which
   examples; `class_table` shows the result.
3. `stack_clients(arrays, parts)` pads clients to one size, with a mask.
4. Inside a round, for one client at a time: `sample_batch`, or
   `epoch_batches` and `take_batch`. Who takes part in the round is up to the
   samplers of `jaxdl.local`.

Where clients share one data set, each through its own mixture of classes,
nothing is copied: `index_classes` once, then `class_mixtures` and
`sample_by_class` inside a round (`choose_weighted` deals fixed sets instead).

`episodes` draws the episodes of few-shot learning, and classes for them.

Example:
  >>> import jax
  >>> import numpy as np
  >>> from jaxdl import data
  >>> rng = np.random.default_rng(0)
  >>> mixture = data.gaussian_mixture(rng, num_train=64)
  >>> parts = data.partition_label_dirichlet(
  ...   rng, mixture.train_labels, 4, alpha=1.0, min_size=5
  ... )
  >>> stacked, mask = data.stack_clients(
  ...   {'inputs': mixture.train_inputs, 'labels': mixture.train_labels}, parts
  ... )
  >>> keys = jax.random.split(jax.random.key(0), 4)
  >>> batch = jax.vmap(
  ...   lambda k, x, m: data.sample_batch(k, x, m, batch_size=8)
  ... )(keys, stacked, mask)
  >>> batch['inputs'].shape
  (4, 8, 8)

Partitioners, all `(rng, labels, num_clients, *, ...) -> list of indices`:

| name | what differs between clients | disjoint and complete |
|---|---|---|
| `iid` | nothing | yes |
| `quantity_dirichlet`, `power_law`, `lognormal` | sizes | yes |
| `label_dirichlet` | each class is shared by a Dirichlet draw | yes |
| `client_dirichlet` | each client has a Dirichlet mix of classes | yes |
| `overlapping_dirichlet` | the same, drawn from all data | no |
| `similarity` | a fraction is iid, the rest sorted by label | yes |
| `shards` | few shards of sorted labels | yes |
| `classes` | exactly C classes | yes |
| `clusters` | groups of clients have classes of their own | no |
| `natural` | the owner | yes, if all owners are kept |
"""

from jaxdl.data import episodes, files, partition
from jaxdl.data._batching import (
  NO_CLIENT,
  epoch_batches,
  eval_batches,
  pad_cohort,
  pad_rows,
  sample_batch,
  stack_clients,
  take_batch,
)
from jaxdl.data._bundled import (
  load_breast_cancer,
  load_diabetes,
  load_digits,
  load_wine,
)
from jaxdl.data._class_mixtures import (
  ClassTable,
  choose_weighted,
  class_mixtures,
  index_classes,
  sample_by_class,
)
from jaxdl.data._dataset import (
  ClientExamples,
  Dataset,
  FederatedDataset,
  pool_clients,
  train_test_split,
)
from jaxdl.data._registry import DATASETS, load_dataset, needs_files
from jaxdl.data._skew import add_noise_by_client, rotate_by_client
from jaxdl.data._synthetic import (
  Quadratics,
  gaussian_mixture,
  linear_regression,
  quadratics,
  skewed_logistic,
  synthetic_images,
)
from jaxdl.data._text import (
  SENTIMENT_LABELS,
  SENTIMENT_PROMPT,
  load_sst2,
  prompt_tokens,
  python_text,
  sentiment_reviews,
)
from jaxdl.data.files import (
  FileError,
  load_cifar10,
  load_fashion_mnist,
  load_fedjax,
  load_leaf,
  load_mnist,
  load_npz,
  load_tff,
)
from jaxdl.data.partition import (
  PARTITIONERS,
  class_table,
  make_partition,
  partition_classes,
  partition_client_dirichlet,
  partition_iid,
  partition_label_dirichlet,
  partition_lognormal,
  partition_natural,
  partition_overlapping_dirichlet,
  partition_power_law,
  partition_quantity_dirichlet,
  partition_shards,
  partition_similarity,
)

__all__ = [
  'ClassTable',
  'ClientExamples',
  'DATASETS',
  'Dataset',
  'needs_files',
  'FederatedDataset',
  'FileError',
  'NO_CLIENT',
  'PARTITIONERS',
  'Quadratics',
  'SENTIMENT_LABELS',
  'SENTIMENT_PROMPT',
  'add_noise_by_client',
  'choose_weighted',
  'class_mixtures',
  'class_table',
  'episodes',
  'epoch_batches',
  'eval_batches',
  'files',
  'gaussian_mixture',
  'index_classes',
  'linear_regression',
  'load_breast_cancer',
  'load_cifar10',
  'load_dataset',
  'load_diabetes',
  'load_digits',
  'load_fashion_mnist',
  'load_fedjax',
  'load_leaf',
  'load_mnist',
  'load_npz',
  'load_sst2',
  'load_tff',
  'load_wine',
  'make_partition',
  'pad_cohort',
  'pad_rows',
  'partition',
  'partition_classes',
  'partition_client_dirichlet',
  'partition_iid',
  'partition_label_dirichlet',
  'partition_lognormal',
  'partition_natural',
  'partition_overlapping_dirichlet',
  'partition_power_law',
  'partition_quantity_dirichlet',
  'partition_shards',
  'partition_similarity',
  'pool_clients',
  'prompt_tokens',
  'python_text',
  'quadratics',
  'rotate_by_client',
  'sample_batch',
  'sample_by_class',
  'sentiment_reviews',
  'skewed_logistic',
  'stack_clients',
  'synthetic_images',
  'take_batch',
  'train_test_split',
]
