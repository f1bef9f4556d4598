# SPDX-License-Identifier: Apache-2.0
"""Nodes of a graph, split over clients that learn to tell their classes.

`node_classification` deals nodes: a client holds the graph among its nodes, its
whole graph is one batch, and its eigenpairs are found once. Any algorithm of
`federated` or `decentralized` learns on it. `for_learner` gives the same nodes
to another network, on pieces that are completed in another way or not at all.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np
from absl import logging

from jaxdl import data as data_lib, local, metrics
from jaxdl.core import checks, types
from jaxdl.experiment import config as config_lib
from jaxdl.graphs import clients as pieces_lib, sets, spectral

knob = config_lib.knob

# What a partition by labels heeds unless it says otherwise.
PARTITION = {'min_size': 20, 'self_balancing': True, 'max_redraws': 999}
_SPLITS = ('train', 'validation', 'test')


class Dealt(NamedTuple):
  """A graph and who holds which of its nodes, for one seed.

  Attributes:
    data: the graph, features, labels and masks.
    parts: i[q] of every client, nodes.
    kept_edges: share of the edges that no client lost.
    seed: of the run.
  """

  data: sets.GraphDataset
  parts: list[np.ndarray]
  kept_edges: float
  seed: int


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
    'How nodes are dealt; label_dirichlet heeds min_size=20, '
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
    weighted by their numbers; `validation_accuracy` likewise; `worst_accuracy`
    of the clients that test; `kept_edges`. `test` has the graphs as they were
    `dealt`, one a seed, the `cohort_size` and the `structure`.

  Raises:
    ValueError: if data, partition, sampling or network do not fit, labels are
      not 0..K-1, or no client has a node to train on.

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
  dealt = [_deal(dataset, data_dir, partition, n, seed) for seed in seeds]
  widths = {d.data.features.shape[1] for d in dealt}
  if len(widths) > 1:
    raise ValueError(
      f'dataset={dataset} has {min(widths)} to {max(widths)} features, by '
      'seed: say num_components or another set.'
    )
  holdings = _Holdings(dealt, sampling, num_eigs)
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
  return _problem(problem.test['holdings'], network, problem.seeds)


class _Holdings:
  """Who holds which nodes; makes and keeps what learners need of it."""

  def __init__(self, dealt, sampling, num_eigs):
    self.dealt = dealt
    self.sampling = sampling
    self.num_eigs = num_eigs
    self.num_clients = len(dealt[0].parts)
    self.num_classes = max(d.data.num_classes for d in dealt)
    self._pieces: dict[str, Any] = {}
    self._shared: dict[tuple[str, str], Any] = {}

  def shared(self, completion, structure):
    """Data of a problem, rows of a cohort, and cohorts."""
    if completion not in self._pieces:
      self._pieces[completion] = _stacked(self.dealt, completion)
    key = (completion, structure)
    if key not in self._shared:
      arrays, counts = self._pieces[completion]
      if structure == 'spectrum':
        pairs = _spectra(arrays['graph'], self.num_eigs)
        rest = {k: v for k, v in arrays.items() if k != 'graph'}
        arrays = {**rest, 'spectrum': pairs}
      rows, cohort = _cohorts(self.sampling, counts)
      self._shared[key] = ((arrays, counts), rows, cohort)
    return self._shared[key]


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


def _deal(dataset, data_dir, partition, n, seed) -> Dealt:
  """Loads a graph and deals its nodes."""
  data, name = dataset, 'dataset'
  if isinstance(dataset, str):
    data = sets.load_graph_set(dataset, data_dir, seed=seed)
    name = f'dataset={dataset}'
  if not isinstance(data, sets.GraphDataset):
    raise TypeError(
      'dataset must be a spec such as "karate" or a GraphDataset of '
      f'graphs.sets; got {checks.described(dataset)}.'
    )
  if data.labels is None or data.train is None or data.test is None:
    raise ValueError(
      f'{name} has no labels or no nodes to train and test on: choose one of '
      'node classification.'
    )
  there = np.asarray(data.graph.node_mask)
  labels = np.asarray(data.labels)[there]
  if labels.min() < 0 or labels.max() >= data.num_classes:
    raise ValueError(
      f'{name} must have labels 0 to {data.num_classes - 1}; got '
      f'{labels.min()} to {labels.max()}: number the classes, '
      'np.unique(labels, return_inverse=True).'
    )
  size = len(labels)
  if n > size:
    raise ValueError(f'num_clients={n} exceeds the {size} nodes of {name}.')
  options = data_lib.PARTITIONERS.part(partition).options
  known = data_lib.PARTITIONERS.options(
    data_lib.PARTITIONERS.part(partition).name
  )
  least = options.get('min_size', PARTITION['min_size'])
  if 'min_size' in known and isinstance(least, int) and least * n > size:
    raise ValueError(
      f'partition={partition} cannot give {n} clients {least} nodes each out '
      f'of {size}: lower min_size or num_clients.'
    )
  with config_lib.naming(partition=partition):
    # Seeds draw graphs and splits as well.
    rng = np.random.default_rng((seed, 1))
    parts = data_lib.make_partition(partition, rng, labels, n, **PARTITION)
  kept = pieces_lib.kept_edges(data.graph, parts)
  return Dealt(data, parts, kept, seed)


def _stacked(dealt, completion):
  """Pieces of all clients and seeds: leaves [S, N, ...], and counts."""
  cut = [
    pieces_lib.make_pieces(
      completion, d.data.graph, d.data.features, d.parts, seed=d.seed
    )
    for d in dealt
  ]
  everything = [piece for pieces in cut for piece in pieces]
  n = len(cut[0])
  whole = pieces_lib.pad_pieces(everything)
  apart = lambda tree: jax.tree.map(
    lambda x: x.reshape(-1, n, *x.shape[1:]), tree
  )
  size = whole.own.shape[1]
  masks = {name: [] for name in _SPLITS}
  labels = []
  for d in dealt:
    for part in d.parts:
      grow = lambda x, part=part: np.pad(
        np.asarray(x)[part], (0, size - len(part))
      )
      labels.append(grow(d.data.labels))
      for name in _SPLITS:
        found = getattr(d.data, name)
        none = np.zeros(d.data.graph.num_nodes, bool)
        masks[name].append(grow(none if found is None else found))
  join = lambda rows: apart(jnp.asarray(np.stack(rows)))
  arrays = {
    'graph': apart(whole.graph),
    'inputs': apart(whole.features),
    'labels': join(labels),
    'mask': join(masks['train']),
    'validation': join(masks['validation']),
    'test': join(masks['test']),
  }
  counts = jnp.sum(arrays['mask'], axis=2, dtype=jnp.int32)
  _check_counts(dealt, np.asarray(counts))
  return arrays, counts


def _check_counts(dealt, counts):
  """Warns of clients that have nothing to train on; refuses if none has."""
  for d, row in zip(dealt, counts, strict=True):
    if not row.any():
      raise ValueError(
        f'no client has a node to train on (seed {d.seed}): choose another '
        'dataset or split.'
      )
    for k in np.flatnonzero(row == 0):
      logging.log_first_n(
        logging.WARNING,
        'client %d has no training node; it will not contribute (seed %d).',
        len(counts),
        k,
        d.seed,
      )


def _spectra(graph, num_eigs):
  """Spectra of graphs with leaves [S, N, ...]."""
  s, n = graph.senders.shape[:2]
  flat = jax.tree.map(lambda x: x.reshape(s * n, *x.shape[2:]), graph)
  found = spectral.graph_spectrum(flat, num_eigs=num_eigs)
  return jax.tree.map(lambda x: x.reshape(s, n, *x.shape[1:]), found)


def _cohorts(sampling, counts):
  """Rows of a cohort, and who takes part in a round with what."""
  part = local.SAMPLERS.part(sampling, name='sampling')
  sample = local.SAMPLERS.partial(part)
  key = jax.eval_shape(lambda: jax.random.key(0))
  with config_lib.naming(sampling=sampling, num_clients=counts.shape[1]):
    local.client_sampler(sampling, np.asarray(counts[0]))
  rows = jax.eval_shape(sample, key, 0, counts[0]).mask.shape[0]
  everybody = part.name == 'full' and rows == counts.shape[1]

  def cohort(key, data, round):
    arrays, counts = data
    found = sample(jax.random.fold_in(key, 1), round, counts)
    if everybody:  # Nothing is copied.
      found = types.Cohort(
        client_ids=found.client_ids,
        data=arrays,
        mask=found.mask,
        weights=found.weights,
      )
      there = counts > 0
    else:
      found = local.gather_cohort(arrays, arrays['mask'], found)
      there = jnp.any(found.data['mask'], axis=1)
    return _without(found, there)

  return rows, cohort


def _without(cohort: types.Cohort, there: chex.Array) -> types.Cohort:
  """Leaves out who has nothing to train on; the others take their weight."""
  mask = cohort.mask & there
  before = jnp.sum(jnp.where(cohort.mask, cohort.weights, 0))
  weights = jnp.where(mask, cohort.weights, 0)
  after = jnp.sum(weights)
  scale = before / jnp.where(after > 0, after, 1)
  return dataclasses.replace(cohort, mask=mask, weights=weights * scale)


def _evaluation(task, arrays, kept):
  """Measures a shared model, or one for each client, on all their tests."""
  kept = np.asarray(kept, np.float32)

  def one(params, data, axis):
    def client(params, batch):
      found = {}
      for name, split in (('', 'test'), ('validation_', 'validation')):
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
      lambda params, data: jax.lax.map(lambda x: one(*x, axis), (params, data))
    )

    def evaluate(params):
      return jax.device_get(run(params, arrays)) | {'kept_edges': kept}

    return evaluate

  return measure(None), measure(0)
