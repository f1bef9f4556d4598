# SPDX-License-Identifier: Apache-2.0
"""Who holds which nodes of a graph, and what learners need of that."""

import dataclasses
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np
from absl import logging

from jaxdl import data as data_lib, local
from jaxdl.core import checks, types
from jaxdl.experiment import config as config_lib
from jaxdl.graphs import clients as pieces_lib, sets, spectral

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


class Holdings:
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


def check_nodes(problem: Any) -> None:
  """Raises TypeError unless a problem is one of `node_classification`."""
  test = getattr(problem, 'test', None)
  if not isinstance(test, dict) or 'holdings' not in test:
    raise TypeError(
      'problem must be from problems.graphs.node_classification; got '
      f'{checks.described(problem)}.'
    )


def deal(dataset, data_dir, partition, n, seed) -> Dealt:
  """Loads a graph and deals its nodes; see `node_classification`.

  Args:
    dataset: a part of `graphs.sets.SETS`, or a `GraphDataset`.
    data_dir: folder of the files, or None.
    partition: a part of `data.PARTITIONERS`.
    n: clients.
    seed: of graph, split and partition.

  Returns:
    The graph and who holds its nodes.

  Raises:
    ValueError: if data or partition do not fit.
  """
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
  if data.labels.ndim > 1:
    raise ValueError(
      f'{name} has nodes with several labels each: choose a set whose nodes '
      'are of one class.'
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
  _check_splits(data, parts, name, seed)
  return Dealt(data, parts, kept, seed)


def _check_splits(data, parts, name, seed):
  """Refuses data without a split; warns of clients without a node to train."""
  for split in ('train', 'test'):
    there = np.asarray(getattr(data, split))
    counts = [int(there[part].sum()) for part in parts]
    if not any(counts):
      raise ValueError(
        f'{name}: no client has a node to {split} on (seed {seed}): choose '
        'another dataset or split.'
      )
    none = [str(k) for k, count in enumerate(counts) if not count]
    if none and split == 'train':
      many = len(none) > 1
      logging.warning(
        'client%s %s %s no training node; %s will not contribute (seed %d).',
        's' if many else '',
        ', '.join(none),
        'have' if many else 'has',
        'they' if many else 'it',
        seed,
      )


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
  return arrays, counts


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
