# SPDX-License-Identifier: Apache-2.0
"""Clients that draw from one data set, each by its own mixture of classes.

Unlike a partition this gives every client access to all examples of its
classes, which is what comparisons of decentralized learning mostly do.
"""

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np

from jaxdl import data as data_lib, local, networks
from jaxdl.core import checks, keys, types
from jaxdl.experiment import config as config_lib
from jaxdl.problems import _classification

knob = config_lib.knob


def resample(alpha: float = 1.0) -> float:
  """Clients draw from all examples, by mixtures of classes.

  Args:
    alpha: Dirichlet concentration; small is heterogeneous, inf equal mixtures.

  Returns:
    The same.
  """
  return alpha


def fixed(
  alpha: float = 1.0, examples_per_client: int = 256
) -> tuple[float, int]:
  """Clients draw so many examples once, by mixtures of classes.

  Args:
    alpha: as of `resample`.
    examples_per_client: how many, >= 1.

  Returns:
    Both.
  """
  return alpha, examples_per_client


_DRAWN = {'resample': resample, 'fixed': fixed}
# Where a client's examples may come from.
SAMPLINGS = data_lib.PARTITIONERS | _DRAWN


@dataclasses.dataclass(frozen=True, kw_only=True)
class Mixture(types.Problem):
  """A problem whose batches may have any shape.

  Attributes:
    draw: `draw(key, data of one seed, shape) -> Cohort`, `data` of the cohort
      with leaves [N, *shape, ...]; the shape is static, e.g. (H, B).
    shares: float64[S, N, K], the clients' shares of classes.
  """

  draw: Callable[..., types.Cohort]
  shares: np.ndarray


@dataclasses.dataclass(frozen=True, kw_only=True)
class MixtureConfig(_classification.ClassificationConfig):
  """Knobs of data, mixtures and the network's start."""

  dataset: str = knob(
    'digits(pixels=unit)',
    'Data set; those of files need --data_dir.',
    registry=data_lib.DATASETS,
  )
  partition: str = knob(
    'resample',
    'Where examples come from: resample draws from all by mixtures of classes, '
    'fixed does so once, partitions deal them.',
    registry=SAMPLINGS,
  )
  kernel_init: str = knob(
    'glorot',
    'Variance of kernels at the start: glorot for 2 / (fan_in + fan_out), '
    'fan_in for 1 / fan_in as in Caffe, ...',
    choices=networks.KERNEL_INITS,
  )

  @property
  def num_dealt(self) -> int:
    """Clients draw from all examples unless they are dealt."""
    name = SAMPLINGS.part(self.partition).name
    return 0 if name in _DRAWN else self.num_clients

  def problem(self, **changes: Any) -> Mixture:
    """Builds the problem of the knobs.

    Args:
      **changes: arguments of `mixtures` that differ from them.

    Returns:
      The problem.
    """
    own = {
      'dataset': self.dataset,
      'data_dir': self.data_dir or None,
      'sampling': self.partition,
      'network': self.network,
      'kernel_init': self.kernel_init,
      'num_clients': self.num_clients,
      'batch_shape': (self.batch_size,),
      'l2': self.l2,
      'eval_batch_size': self.eval_batch_size,
      'seeds': self.seeds,
    }
    return mixtures(**(own | changes))


def _check_one_start(network, kernel_init):
  """Raises ValueError if kernels would be scaled from a wrong variance."""
  if not isinstance(network, str) or kernel_init == 'fan_in':
    return
  own = networks.NETWORKS.value(network, 'kernel_init') or 'fan_in'
  if own != 'fan_in':
    raise ValueError(
      f'network={network} draws its kernels by {own} already, and '
      f'kernel_init={kernel_init} would scale them again: pass '
      'kernel_init=fan_in, or leave it out of the network.'
    )


def mixtures(
  dataset: Any = 'digits(pixels=unit)',
  *,
  sampling: str = 'resample',
  network: str | types.Network = 'mlp',
  num_clients: int = 16,
  batch_shape: tuple[int, ...] = (32,),
  l2: float = 0.0,
  label_smoothing: float = 0.0,
  kernel_init: str = 'glorot',
  data_dir: str | None = None,
  eval_batch_size: int = 512,
  seeds: Sequence[int] = (0,),
) -> Mixture:
  """Loads labeled examples and says what each client draws from.

  Args:
    dataset: see `classification`.
    sampling: a part of `SAMPLINGS`: 'resample(alpha=0.1)', 'fixed(...)', or a
      partition.
    network: a part of `networks.NETWORKS`, or a network that gives logits.
    num_clients: N.
    batch_shape: of what a client gets in a round: (B,), or (H, B) for H local
      steps.
    l2: penalty l2 |theta|^2 in the loss.
    label_smoothing: share of each label spread over all classes.
    kernel_init: one of `networks.KERNEL_INITS`, to which kernels of variance
      1 / fan_in are scaled; 'fan_in' for networks that say theirs.
    data_dir: folder of the files, for data sets that need it.
    eval_batch_size: examples per evaluation batch.
    seeds: S seeds.

  Returns:
    The problem.

  Raises:
    ValueError: if data, sampling, network or `kernel_init` do not fit.

  Example:
    >>> problem = mixtures(sampling='resample(alpha=0.1)', num_clients=4)
    >>> cohort = problem.cohort(jax.random.key(0), problem.data[0], 1)
    >>> cohort.data['inputs'].shape, problem.shares.shape
    ((4, 32, 64), (1, 4, 10))
  """
  seeds = checks.seeds(seeds)
  _check_one_start(network, kernel_init)
  loaded = _classification.load(dataset, data_dir)
  task, made = _classification.make_task(
    loaded, network, l2=l2, smoothing=label_smoothing
  )
  task = networks.with_kernel_init(task, kernel_init)
  test = _classification.test_batches(loaded, eval_batch_size)
  evaluate = _classification.evaluator(task, test)
  part = SAMPLINGS.part(sampling, name='sampling')
  if part.name in _DRAWN:
    own, draw, shares = _by_mixtures(loaded, part, num_clients, seeds)
  else:
    arrays = {'inputs': loaded.train_inputs, 'labels': loaded.train_labels}
    own = _classification.deal(
      arrays, loaded.train_labels, sampling, num_clients, seeds
    )
    draw, shares = _draw_held, _held_shares(own, loaded.num_classes)

  def cohort(key, data, round):
    batch_key, _ = jax.random.split(jax.random.fold_in(key, round))
    return draw(batch_key, data, batch_shape)

  return Mixture(
    task=task,
    data=own,
    cohort=cohort,
    evaluate=evaluate,
    evaluate_clients=_classification.clients_evaluator(
      evaluate, ('worst', 'mean_model')
    ),
    reliability=_classification.reliability(task, test, seeds),
    network=made,
    seeds=seeds,
    num_clients=num_clients,
    num_classes=loaded.num_classes,
    metric='accuracy',
    ylabel='Test accuracy',
    test=test,
    draw=draw,
    shares=shares,
  )


def _by_mixtures(loaded, part, n, seeds):
  """Data, draw and shares of clients that have a mixture of classes."""
  labels = np.asarray(loaded.train_labels)
  table = data_lib.index_classes(labels, loaded.num_classes)
  counts = np.asarray(table.count)
  alpha = part.options.get('alpha', 1.0)
  rngs = [np.random.default_rng([seed, 1]) for seed in seeds]
  shares = np.stack(
    [data_lib.class_mixtures(rng, n, counts, alpha=alpha) for rng in rngs]
  )
  host = {'inputs': loaded.train_inputs, 'labels': loaded.train_labels}
  if part.name == 'fixed':
    _, size = fixed(**part.options)
    stacked = [
      data_lib.stack_clients(
        host, data_lib.choose_weighted(rng, labels, share, size)
      )
      for rng, share in zip(rngs, shares, strict=True)
    ]
    own = jax.tree.map(lambda *xs: jnp.asarray(np.stack(xs)), *stacked)
    return own, _draw_held, shares
  arrays = jax.tree.map(jnp.asarray, host)

  def draw(key, own, shape):
    ids = jnp.arange(n, dtype=jnp.int32)
    one = lambda k, mixture: data_lib.sample_by_class(
      k, arrays, table, mixture, shape
    )
    return types.Cohort(
      client_ids=ids,
      data=jax.vmap(one)(keys.client_keys(key, ids), own),
      mask=jnp.ones((n,), bool),
      weights=jnp.full((n,), 1.0 / n),
    )

  return jnp.asarray(shares, jnp.float32), draw, shares


def _draw_held(key, own, shape):
  """Batches from what each client holds, with replacement."""
  cohort = local.batch_cohort(
    key, *own, batch_size=math.prod(shape), replace=True
  )
  split = lambda x: x.reshape(x.shape[0], *shape, *x.shape[2:])
  return cohort.replace(data=jax.tree.map(split, cohort.data))


def _held_shares(own, num_classes):
  """The clients' shares of classes, float64[S, N, K]."""
  held, mask = own
  labels, real = np.asarray(held['labels']), np.asarray(mask)
  classes = np.arange(num_classes)
  sizes = ((labels[..., None] == classes) & real[..., None]).sum(axis=2)
  return sizes / np.maximum(sizes.sum(axis=-1, keepdims=True), 1)


def local_tests(problem: Mixture, *, size: int = 256) -> chex.Array:
  """Test examples as each client would meet them.

  Args:
    problem: data and shares.
    size: examples M per client.

  Returns:
    i32[S, N, M], rows of the test set's batches laid end to end.
  """
  labels = np.asarray(problem.test['labels']).reshape(-1)
  real = np.asarray(problem.test['mask']).reshape(-1)
  labels = labels[real]  # Padding comes last.
  out = []
  for seed, shares in zip(problem.seeds, problem.shares, strict=True):
    rng = np.random.default_rng([seed, 2])
    count = np.maximum(np.bincount(labels, minlength=shares.shape[1]), 1)
    weights = (shares / count[None, :])[:, labels]
    total = weights.sum(axis=1, keepdims=True)
    weights = np.where(total > 0, weights, 1.0)
    weights = weights / weights.sum(axis=1, keepdims=True)
    out.append([rng.choice(len(labels), size, p=w) for w in weights])
  return jnp.asarray(np.array(out), jnp.int32)
