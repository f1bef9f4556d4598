# SPDX-License-Identifier: Apache-2.0
"""Groups of clients that hold data of one kind, each client with its tests."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxdl import data as data_lib, local, metrics, networks
from jaxdl.core import checks, types
from jaxdl.data import partition as partition_lib
from jaxdl.experiment import config as config_lib
from jaxdl.problems import _classification

knob = config_lib.knob

SPLITS = tuple(partition_lib.CLASS_MAPS)
BALANCES = ('balanced', 'imbalanced')


@dataclasses.dataclass(frozen=True, kw_only=True)
class ClusteredConfig(config_lib.BaseConfig):
  """Knobs of data, groups of clients, network and who takes part."""

  num_clients: int = knob(15, 'Simulated clients.', low=2)
  dataset: str = knob(
    'digits(pixels=unit)',
    'Data set of ten classes; those of files need --data_dir.',
    registry=data_lib.DATASETS,
  )
  data_dir: str = knob('', 'Folder of the data files.')
  split: str = knob(
    'nonoverlapping',
    'Classes of the three groups of clients: {0-3}, {4-6}, {7-9}, or {0-3, 8, '
    '9}, {4-9}, {0-5}.',
    choices=SPLITS,
  )
  balance: str = knob(
    'balanced',
    'Whether groups are of one size and classes of one frequency, or groups of '
    '3, 7 and 5 of 15 clients and frequencies drawn for each.',
    choices=BALANCES,
  )
  samples_per_client: int = knob(
    0,
    'Examples of each client, its tests included; 0 deals as many as there '
    'are without dealing one twice.',
    low=0,
  )
  network: str = knob('mlp', 'Network.', registry=networks.NETWORKS)
  sampling: str = knob(
    'full', 'Who takes part in a round.', registry=local.SAMPLERS
  )
  eval_batch_size: int = knob(
    512, 'Examples per evaluation batch.', low=1, smoke=128
  )

  def validate(self) -> None:
    """Checks what depends on several knobs."""
    super().validate()
    needed = data_lib.needs_files(self.dataset)
    _classification.check_files(self.dataset, self.data_dir, needed)

  def problem(self, **changes: Any) -> types.Problem:
    """Builds the problem of the knobs.

    Args:
      **changes: arguments of `clustered` that differ from them.

    Returns:
      The problem.
    """
    options = {
      'split': self.split,
      'balance': self.balance,
      'num_clients': self.num_clients,
      'samples_per_client': self.samples_per_client or None,
      'network': self.network,
      'sampling': self.sampling,
      'data_dir': self.data_dir or None,
      'eval_batch_size': self.eval_batch_size,
      'seeds': self.seeds,
    }
    return clustered(self.dataset, **(options | changes))


def clustered(
  dataset: Any = 'digits',
  *,
  split: str | Sequence[Sequence[int]] = 'nonoverlapping',
  balance: str = 'balanced',
  num_clients: int = 15,
  samples_per_client: int | None = None,
  test_share: float = 0.3,
  network: str | types.Network = 'mlp',
  sampling: str = 'full',
  data_dir: str | None = None,
  eval_batch_size: int = 512,
  seeds: Sequence[int] = (0,),
) -> types.Problem:
  """Deals labeled examples to groups of clients of like data, once per seed.

  Before anything is dealt a share of the training set is put aside for the
  clients' own tests, so that no client trains on what another is tested on,
  also where examples are dealt more than once. Clients of a group have the same
  mix of classes, in training and in their tests.

  Args:
    dataset: a spec, a data set, or (inputs, labels), see `classification`.
    split: classes of the groups, see `data.partition.partition_clusters`.
    balance: 'balanced' or 'imbalanced', likewise.
    num_clients: N.
    samples_per_client: examples of each, its tests included; as many as can be
      dealt without dealing one twice if None.
    test_share: share of them that a client tests on.
    network: a part of `networks.NETWORKS`, or a network that gives logits.
    sampling: a part of `local.SAMPLERS`, who takes part in a round.
    data_dir: folder of the files, for data sets that need it.
    eval_batch_size: examples per evaluation batch of the common test set.
    seeds: S seeds.

  Returns:
    The problem. A cohort holds all examples of its clients, leaves [M, E, ...].
    Of the models of all clients it says, as means over clients,
    `personal_accuracy` and `personal_f1` (macro) on their own tests, the least
    as `worst_accuracy`; `accuracy`, `macro_f1`, `loss`, `ece` and `brier` on
    the common test set of all classes; and `distance`, 1 - |personal - common
    accuracy|. `test` is a dict: `groups` i64[N], the true clusters; `blueprint`
    i64[S, N, K], training examples by class; `clients` and `common`, what is
    tested on.

  Raises:
    ValueError: if data, groups or network do not fit.

  Example:
    >>> problem = clustered('digits', num_clients=6)
    >>> problem.test['groups'].tolist()
    [0, 0, 1, 1, 2, 2]
    >>> problem.test['blueprint'][0, 2, 3:8].tolist()
    [0, 46, 46, 46, 0]

  Source: Zuziak et al. 2025 (https://arxiv.org/abs/2509.01587), experiments.
  """
  seeds = checks.seeds(seeds)
  checks.number(
    test_share,
    name='test_share',
    low=0.0,
    high=1.0,
    open_low=True,
    open_high=True,
  )
  if samples_per_client is not None:
    checks.integer(samples_per_client, name='samples_per_client', low=2)
  loaded = _classification.load(dataset, data_dir)
  groups = partition_lib.client_groups(
    num_clients, split=split, balance=balance
  )
  options = {'split': split, 'balance': balance}
  dealt = [
    _deal(loaded, num_clients, samples_per_client, test_share, options, seed)
    for seed in seeds
  ]
  examples, tests = (
    _stacked(loaded, parts) for parts in zip(*dealt, strict=True)
  )
  labels = loaded.train_labels
  blueprint = np.array(
    [data_lib.class_table(labels, own, loaded.num_classes) for own, _ in dealt]
  )
  task, made = _classification.make_task(loaded, network)
  common = _classification.test_batches(loaded, eval_batch_size)

  def cohort(key, data, round):
    sample_key, _ = jax.random.split(key)
    counts = jnp.sum(data['mask'], axis=1, dtype=jnp.float32)
    sample = local.SAMPLERS.make(sampling, sample_key, round, counts)
    own = {k: v for k, v in data.items() if k != 'mask'}
    return local.gather_cohort(own, data['mask'], sample)

  evaluate_clients = _evaluator(task, made, tests, common, loaded.num_classes)

  def evaluate(params):
    return evaluate_clients(
      jax.tree.map(
        lambda x: np.broadcast_to(
          np.asarray(x)[:, None], (x.shape[0], num_clients, *x.shape[1:])
        ),
        params,
      )
    )

  return types.Problem(
    task=task,
    data=examples,
    cohort=cohort,
    evaluate=evaluate,
    evaluate_clients=evaluate_clients,
    reliability=_classification.reliability(task, common, seeds),
    network=made,
    seeds=seeds,
    num_clients=num_clients,
    num_classes=loaded.num_classes,
    metric='personal_accuracy',
    ylabel="Accuracy on clients' own tests",
    test={
      'groups': groups,
      'blueprint': blueprint,
      'clients': tests,
      'common': common,
    },
  )


def _deal(loaded, num_clients, size, test_share, options, seed):
  """Index arrays of training and of test examples for each client."""
  labels = loaded.train_labels
  kept = data_lib.train_test_split(
    np.random.default_rng([seed, 0]), labels, test_fraction=test_share
  )
  tested = None if size is None else max(1, round(test_share * size))
  sizes = (None if size is None else size - tested, tested)
  return [
    # Generators of one seed: a group has the same mix in both.
    [
      pool[part]
      for part in partition_lib.partition_clusters(
        np.random.default_rng([seed, 1]),
        labels[pool],
        num_clients,
        samples_per_client=own,
        **options,
      )
    ]
    for pool, own in zip(map(np.sort, kept), sizes, strict=True)
  ]


def _stacked(loaded, parts):
  """Padded examples per seed and client, with their mask."""
  arrays = {'inputs': loaded.train_inputs, 'labels': loaded.train_labels}
  size = max(len(part) for seed in parts for part in seed)
  stacked = [data_lib.stack_clients(arrays, p, size) for p in parts]
  return {
    **{
      name: jnp.asarray(np.stack([s[0][name] for s in stacked]))
      for name in arrays
    },
    'mask': jnp.asarray(np.stack([s[1] for s in stacked])),
  }


def _evaluator(task, network, tests, common, num_classes):
  """Compiles the evaluation of models [S, N, ...] on both kinds of tests."""

  def confusion(params, batch):
    predicted = jnp.argmax(network.apply(params, batch['inputs']), axis=-1)
    return metrics.confusion_matrix(
      batch['labels'], predicted, num_classes, mask=batch['mask']
    )

  def one(turn):
    params, own = turn
    mine = confusion(params, own)
    all_of = jax.lax.map(lambda batch: confusion(params, batch), common)
    return mine, jnp.sum(all_of, axis=0), metrics.evaluate(task, params, common)

  @jax.jit
  def run(params, tests):
    flat = lambda tree: jax.tree.map(
      lambda x: x.reshape(-1, *x.shape[2:]), tree
    )
    return jax.lax.map(one, (flat(params), flat(tests)))

  def evaluate_clients(params):
    s, n = jax.tree.leaves(params)[0].shape[:2]
    mine, theirs, found = jax.device_get(run(params, tests))
    right = lambda c: (
      np.trace(c, axis1=1, axis2=2) / np.maximum(c.sum(axis=(1, 2)), 1)
    )
    own, general = right(mine), right(theirs)
    values = {
      'personal_accuracy': own,
      'personal_f1': np.asarray(metrics.macro_f1(mine)),
      'accuracy': general,
      'macro_f1': np.asarray(metrics.macro_f1(theirs)),
      **{name: found[name] for name in ('loss', 'ece', 'brier')},
      'distance': 1 - np.abs(own - general),
    }
    each = {name: x.reshape(s, n) for name, x in values.items()}
    worst = each['personal_accuracy'].min(axis=1)
    return {
      **{name: x.mean(axis=1) for name, x in each.items()},
      'worst_accuracy': worst,
    }

  return evaluate_clients
