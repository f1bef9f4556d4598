# SPDX-License-Identifier: Apache-2.0
"""Nodes of a graph, split over clients that learn to tell their classes."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxdl import data as data_lib, local, metrics
from jaxdl.core import checks, types
from jaxdl.experiment import config as config_lib
from jaxdl.graphs import clients as pieces_lib, sets
from jaxdl.problems.graphs import _holdings

knob = config_lib.knob


@dataclasses.dataclass(frozen=True, kw_only=True)
class GraphsConfig(config_lib.BaseConfig):
  """Knobs of a graph whose nodes are split over clients."""

  num_clients: int = knob(5, 'Clients.', low=1, smoke=3)
  dataset: str = knob(
    'block_model(heterophilic=True)',
    'The graph; seeds draw graphs, splits and partitions of their own. Those '
    'of files need --data_dir.',
    registry=sets.SETS,
    smoke='block_model(num_nodes=90, heterophilic=True)',
  )
  data_dir: str = knob('', 'Folder of the data files.')
  partition: str = knob(
    'label_dirichlet(alpha=0.01)',
    'How nodes are dealt; where it knows them min_size=20, '
    'self_balancing=True, max_redraws=999 unless it says otherwise.',
    registry=data_lib.PARTITIONERS,
  )
  sampling: str = knob(
    'full(weighting=uniform)',
    'Who takes part in a round; weighting=ratio counts nodes to train on.',
    registry=local.SAMPLERS,
  )
  num_eigs: int = knob(
    0,
    'Eigenpairs that a client keeps, half of them the smallest and half the '
    'largest; 0 for all.',
    low=0,
  )

  def validate(self) -> None:
    """Checks that files are named where they are needed, and only there."""
    super().validate()
    needs = sets.needs_files(self.dataset)
    if needs and not self.data_dir:
      raise ValueError(
        f'dataset={self.dataset} is read from local files: give --data_dir.'
      )
    if self.data_dir and not needs:
      raise ValueError(
        f'data_dir={self.data_dir} has no effect on dataset={self.dataset}, '
        'which is not read from files: leave it out.'
      )

  def problem(self, network: str, **changes: Any) -> types.Problem:
    """Builds the problem of the knobs for a network.

    Args:
      network: see `node_classification`.
      **changes: arguments of it that differ from the knobs.

    Returns:
      The problem.
    """
    arguments = {
      'num_clients': self.num_clients,
      'partition': self.partition,
      'sampling': self.sampling,
      'num_eigs': self.num_eigs or None,
      'data_dir': self.data_dir or None,
      'seeds': self.seeds,
    }
    return node_classification(self.dataset, network, **(arguments | changes))


def node_classification(
  dataset: Any = 'block_model(heterophilic=True)',
  network: str | types.Network = 'gnodeformer',
  *,
  num_clients: int = 5,
  partition: str = 'label_dirichlet(alpha=0.01)',
  sampling: str = 'full(weighting=uniform)',
  num_eigs: int | None = None,
  data_dir: str | None = None,
  seeds: Sequence[int] = (0,),
) -> types.Problem:
  """Deals the nodes of a graph to clients, once per seed.

  A client has the graph among its nodes; what is trained, validated and tested
  on in the whole is so with it. It trains on all its nodes at once, so that
  `LocalWork(batch_size=None, num_steps=K)` takes K full steps. A client that
  has nothing to train on is absent: others count for it.

  Args:
    dataset: a part of `graphs.sets.SETS`, drawn anew for each seed unless it
      sets one; or a `GraphDataset`.
    network: `network[@completion]`, see `graphs.clients.read_learner`, or a
      network on graphs.
    num_clients: N.
    partition: a part of `data.PARTITIONERS`, see `PARTITION`.
    sampling: a part of `local.SAMPLERS`; what it counts are nodes to train on.
    num_eigs: see `graphs.spectral.spectral_decomposition`; all if None.
    data_dir: folder of the files, for data sets that need it.
    seeds: S seeds.

  Returns:
    The problem. `data` is a pair: a dict of leaves [S, N, ...], 'graph' or
    'spectrum', 'inputs' f[M, F], 'labels' i32[M], 'mask' (to train on),
    'validation' and 'test' bool[M]; and i32[S, N], nodes to train on. It is
    measured by `accuracy` and `loss` on every client's own test nodes, means
    weighted by their numbers; `validation_accuracy` likewise, if any node is to
    be validated on; `worst_accuracy` of the clients that test; `kept_edges`.
    `test` has the graphs as they were `dealt`, one a seed, the `cohort_size`
    and the `structure`.

  Raises:
    ValueError: if data, partition, sampling or network do not fit, labels are
      not 0..K-1, or no client has a node to train on, or to test on.

  Example:
    >>> problem = node_classification(
    ...   'block_model(num_nodes=40)', 'gcn(4)', num_clients=2, partition='iid'
    ... )
    >>> problem.data[0]['inputs'].shape, problem.num_classes
    ((1, 2, 24, 16), 4)

  Source: Gurumurthy, Pal & Sharma 2025 (https://arxiv.org/abs/2504.11808),
    section 4. There a client without nodes to train on sends NaN.
  """
  seeds = checks.seeds(seeds)
  n = checks.integer(num_clients, name='num_clients', low=1)
  if data_dir is not None and not isinstance(dataset, str):
    raise ValueError(
      f'data_dir={data_dir!r} has no effect on data that are given: leave it '
      'out.'
    )
  if num_eigs is not None:
    checks.integer(num_eigs, name='num_eigs', low=1)
  dealt = [
    _holdings.deal(dataset, data_dir, partition, n, seed) for seed in seeds
  ]
  widths = {d.data.features.shape[1] for d in dealt}
  if len(widths) > 1:
    raise ValueError(
      f'dataset={dataset} has {min(widths)} to {max(widths)} features, by '
      'seed: say num_components or another set.'
    )
  holdings = _holdings.Holdings(dealt, sampling, num_eigs)
  return _problem(holdings, network, seeds)


def for_learner(
  problem: types.Problem, network: str | types.Network
) -> types.Problem:
  """Gives the same nodes to another network.

  Args:
    problem: from `node_classification`.
    network: see there. Networks on the same pieces share data and cohorts, so
      that `experiment.compare` runs them side by side.

  Returns:
    The problem.

  Raises:
    ValueError: if the network does not fit.

  Example:
    >>> first = node_classification(
    ...   'block_model(num_nodes=40)', 'gcn(4)', num_clients=2, partition='iid'
    ... )
    >>> for_learner(first, 'sage(4)').data is first.data
    True
  """
  _holdings.check_nodes(problem)
  return _problem(problem.test['holdings'], network, problem.seeds)


def _problem(holdings, network, seeds) -> types.Problem:
  """The problem of a network on what clients hold."""
  made, completion, structure = network, 'induced', 'graph'
  if isinstance(network, str):
    spec, completion, structure = pieces_lib.read_learner(network)
    made = pieces_lib.NETWORKS.make(spec, holdings.num_classes)
  data, rows, cohort = holdings.shared(completion, structure)
  arrays, _ = data
  task = pieces_lib.node_classification(
    made,
    jax.tree.map(lambda x: x[0, 0], arrays),
    num_classes=holdings.num_classes,
    structure=structure,
  )
  kept = [d.kept_edges for d in holdings.dealt]
  evaluate, evaluate_clients = _evaluation(task, arrays, kept)
  return types.Problem(
    task=task,
    network=made,
    data=data,
    cohort=cohort,
    evaluate=evaluate,
    evaluate_clients=evaluate_clients,
    seeds=seeds,
    num_clients=holdings.num_clients,
    num_classes=holdings.num_classes,
    metric='accuracy',
    ylabel='Test accuracy (mean of test nodes)',
    test={
      'holdings': holdings,
      'dealt': holdings.dealt,
      'cohort_size': rows,
      'structure': structure,
    },
  )


def _evaluation(task, arrays, kept):
  """Measures a shared model, or one for each client, on all their tests."""
  kept = np.asarray(kept, np.float32)
  splits = [('', 'test')]
  if np.asarray(arrays['validation']).any():
    splits.append(('validation_', 'validation'))

  def one(params, data, axis):
    def client(params, batch):
      found = {}
      for name, split in splits:
        values = task.evaluate(params, {**batch, 'mask': batch[split]})
        found |= {f'{name}{k}': v for k, v in values.items()}
      return found

    each = jax.vmap(client, in_axes=(axis, 0))(params, data)
    out = {}
    for name, value in each.items():
      split = 'validation' if name.startswith('validation_') else 'test'
      count = jnp.sum(data[split], axis=1)
      out[name] = jnp.sum(value * count) / jnp.maximum(jnp.sum(count), 1)
    tests = jnp.sum(data['test'], axis=1)
    spread = metrics.spread_over_clients(each['accuracy'], tests)
    return out | {'worst_accuracy': spread['min_accuracy']}

  def measure(axis):
    run = jax.jit(
      lambda params, data: jax.lax.map(
        lambda x: one(x[0], x[1], axis), (params, data)
      )
    )

    def evaluate(params):
      return jax.device_get(run(params, arrays)) | {'kept_edges': kept}

    return evaluate

  return measure(None), measure(0)
