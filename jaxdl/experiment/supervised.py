# SPDX-License-Identifier: Apache-2.0
"""What every experiment on partitioned labelled data has in common.

`SupervisedConfig` holds the knobs of data, partition and network;
`simulate` turns them into arrays with leading axes for seeds and clients, and
a task. `over_seeds` runs all seeds as one program.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np

from jaxdl import data as data_lib, local, metrics, networks
from jaxdl.core import clients, types
from jaxdl.experiment import config as config_lib

knob = config_lib.knob

Row = dict[str, Any]

# Which knob feeds which option of a partitioner.
_PARTITION_OPTIONS = {
  'quantity_dirichlet': ('alpha',),
  'label_dirichlet': ('alpha', 'min_size'),
  'client_dirichlet': ('alpha',),
  'overlapping_dirichlet': ('alpha', 'samples_per_client'),
  'similarity': ('similarity',),
  'shards': ('shards_per_client',),
  'classes': ('classes_per_client',),
}
ALPHA_PARTITIONS = tuple(
  name for name, options in _PARTITION_OPTIONS.items() if 'alpha' in options
)
# So many clients have an example each in every data set that comes along.
_FEW = 100
NETWORKS = tuple(networks.NETWORKS)
PARTITIONS = tuple(p for p in data_lib.PARTITIONERS if p != 'natural')


@dataclasses.dataclass(frozen=True, kw_only=True)
class SupervisedConfig(config_lib.BaseConfig):
  """Knobs of data, partition, network and batches."""

  num_clients: int = knob(15, 'Simulated clients.', low=1)
  dataset: str = knob(
    'digits',
    'Data set; those of files need --data_dir.',
    choices=data_lib.DATASETS,
  )
  data_dir: str = knob(
    '', 'Folder of the data files.', needs={'dataset': data_lib.FILE_DATASETS}
  )
  partition: str = knob(
    'iid',
    'How training examples are dealt; data sets with natural clients pool '
    'them first.',
    choices=PARTITIONS,
  )
  alpha: float = knob(
    1.0,
    'Dirichlet concentration; small is heterogeneous.',
    low=0.0,
    needs={'partition': ALPHA_PARTITIONS},
  )
  similarity: float = knob(
    0.5,
    'Share of iid data in partition=similarity.',
    low=0.0,
    high=1.0,
    needs={'partition': ('similarity',)},
  )
  classes_per_client: int = knob(
    2, 'Classes in partition=classes.', low=1, needs={'partition': ('classes',)}
  )
  shards_per_client: int = knob(
    2, 'Shards in partition=shards.', low=1, needs={'partition': ('shards',)}
  )
  examples_per_client: int = knob(
    0,
    'Examples per client in partition=overlapping_dirichlet; 0 deals all.',
    low=0,
    needs={'partition': ('overlapping_dirichlet',)},
  )
  network: str = knob('mlp', 'Network.', choices=NETWORKS)
  hidden_sizes: tuple[int, ...] = knob(
    (64,),
    'Hidden layers of network=mlp.',
    low=1,
    needs={'network': ('mlp',)},
  )
  norm: str = knob(
    'group',
    'Normalisation of resnet18.',
    choices=('group', 'batch'),
    needs={'network': ('resnet18',)},
  )
  batch_size: int = knob(8, 'Examples per client and round.', low=1)
  l2: float = knob(0.0, 'Penalty l2 |theta|^2 in the loss.', low=0.0)
  eval_batch_size: int = knob(512, 'Examples per evaluation batch.', low=1)
  flatten: bool = knob(
    True,
    'Feed digits as vectors of 64 numbers.',
    needs={'dataset': ('digits',)},
  )

  @property
  def num_dealt(self) -> int:
    """Clients to whom examples are dealt; 0 if that is not known yet."""
    return self.num_clients

  def validate(self) -> None:
    """Checks what depends on several knobs."""
    super().validate()
    if self.alpha <= 0:
      raise ValueError(f'alpha must be positive; got {self.alpha}.')
    if self.dataset in data_lib.FILE_DATASETS and not self.data_dir:
      raise ValueError(
        f'dataset={self.dataset} is read from local files: give --data_dir.'
      )
    # Before anything is built for so many; reading files would take longer.
    if self.num_dealt > _FEW and self.dataset not in data_lib.FILE_DATASETS:
      size = len(load(self).train_labels)
      if self.num_dealt > size:
        raise ValueError(
          f'num_clients={self.num_clients} exceeds the {size} examples: every '
          'client needs at least one.'
        )


class Simulation(NamedTuple):
  """Arrays and task of a supervised simulation with S seeds.

  Attributes:
    task: what is learned.
    client_data: dict of leaves [S, N, E, ...], padded examples per client.
    mask: bool[S, N, E], real examples.
    test: dict of leaves [T, B, ...] with `mask`.
    num_classes: K.
    class_tables: int[S, N, K], examples per client and class.
  """

  task: types.Task
  client_data: dict[str, chex.Array]
  mask: chex.Array
  test: dict[str, Any]
  num_classes: int
  class_tables: np.ndarray


def load(config: SupervisedConfig) -> data_lib.Dataset:
  """Loads the data set that a configuration names.

  Args:
    config: knobs.

  Returns:
    The data set; natural clients are pooled.

  Raises:
    ValueError: for missing or broken files, in one sentence.
  """
  options = {}
  if config.dataset == 'digits':
    options['flatten'] = config.flatten
  loaded = data_lib.load_dataset(
    config.dataset, config.data_dir or None, **options
  )
  if isinstance(loaded, data_lib.FederatedDataset):
    loaded = data_lib.pool_clients(loaded)[0]
  if loaded.num_classes < 1:
    raise ValueError(
      f'dataset={config.dataset} has no classes: choose one for classification.'
    )
  return loaded


def simulate(
  config: SupervisedConfig, *, num_clients: int | None = None
) -> Simulation:
  """Deals the data to clients, once per seed, and builds the task.

  Args:
    config: knobs; `seeds` sets S.
    num_clients: N, the configured number by default.

  Returns:
    A `Simulation`.

  Raises:
    ValueError: if data, partition or network do not fit.
  """
  dataset = load(config)
  n = config.num_clients if num_clients is None else num_clients
  values = {
    'alpha': config.alpha,
    'similarity': config.similarity,
    'classes_per_client': config.classes_per_client,
    'shards_per_client': config.shards_per_client,
    'samples_per_client': config.examples_per_client or None,
    'min_size': 1,
  }
  options = {
    name: values[name] for name in _PARTITION_OPTIONS.get(config.partition, ())
  }
  parts = [
    data_lib.make_partition(
      config.partition,
      np.random.default_rng(seed),
      dataset.train_labels,
      n,
      **options,
    )
    for seed in config.seeds
  ]
  arrays = {'inputs': dataset.train_inputs, 'labels': dataset.train_labels}
  size = max(len(part) for seed in parts for part in seed)
  stacked = [data_lib.stack_clients(arrays, seed, size) for seed in parts]
  client_data = {
    name: jnp.asarray(np.stack([s[0][name] for s in stacked]))
    for name in arrays
  }
  shape = dataset.train_inputs.shape[1:]
  network = networks.make_network(
    config.network,
    shape,
    dataset.num_classes,
    hidden_sizes=config.hidden_sizes,
    norm=config.norm,
  )
  task = networks.classification(
    network,
    jax.ShapeDtypeStruct((1, *shape), dataset.train_inputs.dtype),
    num_classes=dataset.num_classes,
    l2=config.l2,
  )
  test = data_lib.eval_batches(
    {'inputs': dataset.test_inputs, 'labels': dataset.test_labels},
    min(config.eval_batch_size, len(dataset.test_labels)),
  )
  tables = [
    data_lib.class_table(dataset.train_labels, seed, dataset.num_classes)
    for seed in parts
  ]
  return Simulation(
    task=task,
    client_data=client_data,
    mask=jnp.asarray(np.stack([s[1] for s in stacked])),
    test=jax.tree.map(jnp.asarray, test),
    num_classes=dataset.num_classes,
    class_tables=np.stack(tables),
  )


def seed_keys(seeds: Sequence[int]) -> chex.PRNGKey:
  """One key per seed.

  Args:
    seeds: Python ints.

  Returns:
    keys[S].
  """
  return jnp.stack([jax.random.key(seed) for seed in seeds])


def over_seeds(
  fn: Callable[..., Any], num_seeds: int, *, loop: bool = False
) -> Callable[..., Any]:
  """Runs a one-seed function for all seeds in one program.

  One seed runs without `vmap`, so that branches stay branches.

  Args:
    fn: function of unstacked arguments.
    num_seeds: S (static).
    loop: whether seeds run one after the other (static), which is faster for
      convolutions on CPU.

  Returns:
    A function whose arguments and results have a leading axis S.
  """
  if num_seeds > 1 and loop:
    return lambda *args: jax.lax.map(lambda one: fn(*one), args)
  if num_seeds > 1:
    return jax.vmap(fn)

  def single(*args):
    out = fn(*jax.tree.map(lambda x: x[0], args))
    return jax.tree.map(lambda x: x[None], out)

  return single


def side_by_side(
  algorithms: Mapping[str, types.Algorithm],
  simulation: Simulation,
  config: SupervisedConfig,
) -> tuple[Callable[[], dict[str, Any]], Callable[..., Any]]:
  """Runs several algorithms on the same clients, models and batches.

  Args:
    algorithms: by name; all take a cohort with one batch per client.
    simulation: task and data.
    config: seeds and batch size.

  Returns:
    `init() -> states` and `step(states, round) -> (states, metrics)` as
    `runner.Experiment` takes them: dicts by name, leading axis S for seeds.
  """
  seeds = config.seeds
  root = seed_keys(seeds)
  fold = lambda number: jax.vmap(lambda key: jax.random.fold_in(key, number))(
    root
  )

  def init():
    keys = fold(0)
    return {
      name: jax.jit(over_seeds(algorithm.init, len(seeds)))(keys)
      for name, algorithm in algorithms.items()
    }

  def one_seed(states, key, client_data, mask):
    batch_key, step_key = jax.random.split(key)
    cohort = local.batch_cohort(
      batch_key, client_data, mask, batch_size=config.batch_size
    )
    states, metrics = dict(states), {}
    for name, algorithm in algorithms.items():
      states[name], metrics[name] = algorithm.step(
        states[name], cohort, key=step_key
      )
    return states, metrics

  def step(states, number):
    return over_seeds(one_seed, len(seeds))(
      states, fold(number), simulation.client_data, simulation.mask
    )

  return init, step


def evaluator(
  simulation: Simulation,
) -> Callable[[chex.ArrayTree], dict[str, np.ndarray]]:
  """Compiles the evaluation of stacked models on the test set.

  Args:
    simulation: task and test set.

  Returns:
    A function from params with leading axis [S] to host metrics [S].
  """
  task, test = simulation.task, simulation.test
  run = jax.jit(
    lambda params, test: jax.lax.map(
      lambda p: metrics.evaluate(task, p, test), params
    )
  )
  return lambda params: jax.device_get(run(params, test))


def mesh_or_none() -> jax.sharding.Mesh | None:
  """A mesh over all devices, or None where there is one.

  Returns:
    The mesh.
  """
  return clients.clients_mesh() if jax.device_count() > 1 else None


def metric_rows(
  values: dict[str, Any],
  *,
  step: int,
  split: str,
  variant: str,
  seeds: Sequence[int],
) -> list[Row]:
  """Turns metrics with a seed axis into rows.

  Args:
    values: dict of arrays [S].
    step: round.
    split: 'train', 'test', ...
    variant: its name.
    seeds: S seeds.

  Returns:
    One row per seed.
  """
  return [
    {
      'step': step,
      'split': split,
      'variant': variant,
      'seed': int(seed),
      **{name: float(value[i]) for name, value in values.items()},
    }
    for i, seed in enumerate(seeds)
  ]
