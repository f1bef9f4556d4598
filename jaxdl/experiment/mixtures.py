# SPDX-License-Identifier: Apache-2.0
"""Simulations in which clients draw from one data set by their own mixture.

`MixtureConfig` adds the knobs, `deal` turns them into a task and a function
that draws batches. Unlike a partition this gives every client access to all
examples of its classes, which is what comparisons of decentralised learning
mostly do.
"""

import dataclasses
import math
from collections.abc import Callable
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np

from jaxdl import data, local, networks
from jaxdl.core import keys, types
from jaxdl.experiment import supervised

knob = supervised.knob


@dataclasses.dataclass(frozen=True, kw_only=True)
class MixtureConfig(supervised.SupervisedConfig):
  """Knobs of data, mixtures and the network's start."""

  data_sampling: str = knob(
    'resample',
    'resample: clients draw from all data by their mixture of classes; fixed: '
    'they do so once; partition: data are dealt by --partition.',
    choices=('resample', 'fixed', 'partition'),
  )
  alpha: float = knob(
    1.0,
    'Dirichlet concentration; small is heterogeneous, inf equal mixtures.',
    low=0.0,
    needs={
      'data_sampling|partition': (
        'resample',
        'fixed',
        *supervised.ALPHA_PARTITIONS,
      )
    },
  )
  examples_per_client: int = knob(
    256,
    'Examples per client with data_sampling=fixed or '
    'partition=overlapping_dirichlet; 0 deals all.',
    low=0,
    needs={'data_sampling|partition': ('fixed', 'overlapping_dirichlet')},
  )
  pixels: str = knob(
    'unit',
    'Whether digits are fed in [0, 1] or with mean zero and variance one.',
    choices=('unit', 'standard'),
    needs={'dataset': ('digits',)},
  )
  kernel_start: str = knob(
    'glorot',
    'Variance of kernels: 2 / (fan_in + fan_out), or 1 / fan_in as in Caffe.',
    choices=networks.KERNEL_INITS,
  )

  @property
  def num_dealt(self) -> int:
    """Clients draw from all examples unless they are dealt."""
    return self.num_clients if self.data_sampling == 'partition' else 0

  def validate(self) -> None:
    """Checks what depends on several knobs."""
    super().validate()
    if self.data_sampling == 'fixed' and not self.examples_per_client:
      raise ValueError('data_sampling=fixed needs examples_per_client >= 1.')
    needs_alpha = 'dirichlet' in self.partition
    if (
      math.isinf(self.alpha)
      and needs_alpha
      and self.data_sampling == 'partition'
    ):
      raise ValueError(
        f'alpha=inf has no meaning for partition={self.partition}: use '
        'partition=iid.'
      )


class Dealt(NamedTuple):
  """Data and task of S seeds.

  Attributes:
    simulation: test set, number of classes, and the task with the kernel start
      of the flags.
    draw: `draw(key, own, shape) -> Cohort` of one seed, `data` with leaves
      [N, *shape, ...]; `shape` is static, e.g. (H, B).
    own: tree of leaves [S, ...], what `draw` needs of a seed.
    mixtures: float64[S, N, K], the clients' shares of classes.
  """

  simulation: supervised.Simulation
  draw: Callable[..., types.Cohort]
  own: chex.ArrayTree
  mixtures: np.ndarray


def deal(config: MixtureConfig) -> Dealt:
  """Loads the data and says what each client draws from.

  Args:
    config: knobs; `seeds` sets S.

  Returns:
    `Dealt`.

  Raises:
    ValueError: if data, partition or network do not fit.
  """
  n = config.num_clients
  if config.data_sampling == 'partition':
    simulation = _prepared(config, supervised.simulate(config))
    sizes = simulation.class_tables.astype(float)
    mixtures = sizes / np.maximum(sizes.sum(axis=-1, keepdims=True), 1)
    own = (simulation.client_data, simulation.mask)
    return Dealt(simulation, _draw_held, own, mixtures)
  pooled = dataclasses.replace(config, partition='iid')
  simulation = _prepared(config, supervised.simulate(pooled, num_clients=1))
  arrays = {name: x[0, 0] for name, x in simulation.client_data.items()}
  labels = np.asarray(arrays['labels'])
  table = data.index_classes(labels, simulation.num_classes)
  rngs = [np.random.default_rng([seed, 1]) for seed in config.seeds]
  counts = np.asarray(table.count)
  mixtures = np.stack(
    [data.class_mixtures(rng, n, counts, alpha=config.alpha) for rng in rngs]
  )
  if config.data_sampling == 'fixed':
    host = jax.tree.map(np.asarray, arrays)
    stacked = [
      data.stack_clients(
        host,
        data.choose_weighted(rng, labels, share, config.examples_per_client),
      )
      for rng, share in zip(rngs, mixtures, strict=True)
    ]
    own = jax.tree.map(lambda *xs: jnp.asarray(np.stack(xs)), *stacked)
    return Dealt(simulation, _draw_held, own, mixtures)

  def draw(key, own, shape):
    ids = jnp.arange(n, dtype=jnp.int32)
    one = lambda k, mixture: data.sample_by_class(
      k, arrays, table, mixture, shape
    )
    return types.Cohort(
      client_ids=ids,
      data=jax.vmap(one)(keys.client_keys(key, ids), own),
      mask=jnp.ones((n,), bool),
      weights=jnp.full((n,), 1.0 / n),
    )

  return Dealt(simulation, draw, jnp.asarray(mixtures, jnp.float32), mixtures)


def _draw_held(key, own, shape):
  """Batches from what each client holds, with replacement."""
  cohort = local.batch_cohort(
    key, *own, batch_size=math.prod(shape), replace=True
  )
  split = lambda x: x.reshape(x.shape[0], *shape, *x.shape[2:])
  return cohort.replace(data=jax.tree.map(split, cohort.data))


def _prepared(config, simulation):
  """Sets the scale of the pixels and of the start."""
  task = networks.with_kernel_init(simulation.task, config.kernel_start)
  simulation = simulation._replace(task=task)
  if config.dataset != 'digits' or config.pixels == 'standard':
    return simulation
  # Undoes the standardisation of `data.load_digits`.
  change = lambda arrays: {**arrays, 'inputs': 0.38 * arrays['inputs'] + 0.3}
  return simulation._replace(
    client_data=change(simulation.client_data), test=change(simulation.test)
  )


def local_tests(
  dealt: Dealt, seeds: tuple[int, ...], *, size: int = 256
) -> chex.Array:
  """Test examples as each client would meet them.

  Args:
    dealt: data and mixtures.
    seeds: S seeds.
    size: examples M per client.

  Returns:
    i32[S, N, M], rows of the test set's batches laid end to end.
  """
  labels = np.asarray(dealt.simulation.test['labels']).reshape(-1)
  real = np.asarray(dealt.simulation.test['mask']).reshape(-1)
  labels = labels[real]  # Padding comes last.
  out = []
  for seed, shares in zip(seeds, dealt.mixtures, strict=True):
    rng = np.random.default_rng([seed, 2])
    count = np.maximum(np.bincount(labels, minlength=shares.shape[1]), 1)
    weights = (shares / count[None, :])[:, labels]
    total = weights.sum(axis=1, keepdims=True)
    weights = np.where(total > 0, weights, 1.0)
    weights = weights / weights.sum(axis=1, keepdims=True)
    out.append([rng.choice(len(labels), size, p=w) for w in weights])
  return jnp.asarray(np.array(out), jnp.int32)
