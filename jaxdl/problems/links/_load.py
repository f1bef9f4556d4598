# SPDX-License-Identifier: Apache-2.0
"""Splits of links, padded alike for all seeds."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from absl import logging

from jaxdl import graphs
from jaxdl.core import checks
from jaxdl.graphs import links as lib, sets
from jaxdl.problems.links._links import Links

# A batch whose links are taken out of the graph should be a small part of it.
_LARGE_BATCH = 0.1
# What says how links are split, and means nothing where they are.
_SHARES = {'validation': 0.1, 'test': 0.2, 'num_negatives': None}


def load_links(
  dataset: Any = 'geometric',
  *,
  validation: float = 0.1,
  test: float = 0.2,
  num_negatives: int | None = None,
  keep_edges: float = 1.0,
  validation_edges: bool = False,
  batch_size: int = 64,
  hits: int = 50,
  eval_batch_size: int = 1024,
  data_dir: str | None = None,
  seeds: Sequence[int] = (0,),
) -> Links:
  """Splits the links of a graph, for each seed in another way.

  Args:
    dataset: a part of `graphs.sets.SETS`, or a `GraphDataset`, the same for all
      seeds. Splits of links that it has are taken.
    validation: share of the links to select by, where there are no splits.
    test: share of the links to test on, likewise.
    num_negatives: see `graphs.links.random_link_split`.
    keep_edges: likewise; also of training links that are given.
    validation_edges: whether links of the validation are known in tests.
    batch_size: B.
    hits: K of Hits@K.
    eval_batch_size: pairs at a time in tests; 0 for all.
    data_dir: folder of the files, for data sets that need it.
    seeds: S seeds.

  Returns:
    The links; `problem` makes what one learner needs, `clients` what the parts
    of the graph do.

  Raises:
    ValueError: if a number is out of range, the graph is directed or links a
      node to itself, features are not finite, there are fewer training links
      than a batch has, or shares are told of links that are split already.

  Example:
    >>> found = load_links('karate', batch_size=8)
    >>> found.num_steps, found.train.shape
    (6, (1, 54, 2))
    >>> problem = found.problem('aa')
    >>> problem.evaluate({'encoder': {}, 'predictor': {}})['auc'].shape
    (1,)
  """
  if not isinstance(dataset, (str, sets.GraphDataset)):
    raise TypeError(
      "dataset must be a part of graphs.sets.SETS such as 'geometric', or a "
      f'GraphDataset; got {checks.described(dataset)}.'
    )
  seeds = checks.seeds(seeds)
  size = checks.integer(batch_size, name='batch_size', low=1)
  k = checks.integer(hits, name='hits', low=1)
  checks.integer(eval_batch_size, name='eval_batch_size', low=0)
  shares = {
    'validation': validation,
    'test': test,
    'num_negatives': num_negatives,
    'keep_edges': keep_edges,
  }
  sizes, features, splits, name = [], [], [], ''
  for seed in seeds:
    data = dataset
    if isinstance(dataset, str):
      data = sets.load_graph_set(dataset, data_dir, seed=seed, pad=False)
    name = name or (dataset if isinstance(dataset, str) else data.name)
    n = int(np.asarray(data.graph.node_mask).sum())
    lib.check_finite(data.features, data.graph)
    split = _split(data, n, np.random.default_rng([seed, 5]), k, shares)
    _check_batch(size, len(split.train), warns=seed == seeds[0])
    sizes.append(n)
    features.append(np.asarray(data.features)[:n])
    splits.append(split)
  known = _adjacencies([split.train for split in splits], sizes)
  later = known
  if validation_edges:
    both = [np.concatenate([s.train, s.validation]) for s in splits]
    later = _adjacencies(both, sizes)
  tested, counts = _padded(splits)
  return Links(
    known=known,
    known_later=later,
    x=_features(features, known.graph.node_mask.shape[1]),
    train=tested.pop('train'),
    num_train=counts.pop('train'),
    tested=tested,
    counts=counts,
    own_negatives=_own_negatives(splits[0]),
    batch_size=size,
    hits=k,
    eval_batch_size=eval_batch_size,
    seeds=seeds,
    name=name,
  )


def _split(data, n, rng, k, shares):
  """Links of one seed: those of the files, or drawn."""
  split = data.links
  if split is None:
    lib.adjacency(data.graph, dense=False)  # Refuses what is not undirected.
    split = lib.random_link_split(rng, data.graph, **shares)
    return lib.check_splits(split, n, k=k)
  for name, default in _SHARES.items():
    if shares[name] != default:
      raise ValueError(
        f'{name}={shares[name]} has no effect: {data.name} comes with links '
        'to train and to test on; leave it out.'
      )
  split = lib.check_splits(split, n, k=k)
  keep = shares['keep_edges']
  checks.number(keep, name='keep_edges', low=0, high=1, open_low=True)
  if keep == 1:
    return split
  count = round(keep * len(split.train))
  if not count:
    raise ValueError(
      f'the training split is empty: keep_edges={keep} leaves none of '
      f'{len(split.train)} links.'
    )
  order = rng.permutation(len(split.train))[:count]
  return split._replace(train=np.asarray(split.train)[order])


def _check_batch(size, num_train, *, warns):
  """Raises unless there is a batch; warns of one that is a large share."""
  if num_train < size:
    raise ValueError(
      f'batch_size={size} is more than there are training links, {num_train}: '
      'lower it.'
    )
  if warns and size > _LARGE_BATCH * num_train:
    logging.warning(
      'batch_size=%d is %.0f%% of the training links: where they are taken '
      'out of the graph, training sees fewer common neighbors than tests do. '
      'About 5%% are a good choice.',
      size,
      100 * size / num_train,
    )


def _own_negatives(split):
  """Negatives of each link, or 0 where all links have the same."""
  counts = {
    array.shape[1] if array.ndim == 3 else 0
    for array in map(np.asarray, (split.validation_negatives,
                                  split.test_negatives))
  }  # fmt: skip
  if len(counts) > 1:
    raise ValueError(
      'links.validation_negatives and links.test_negatives must have as many '
      f'pairs for each link, or be for all; got {sorted(counts)} for each.'
    )
  return counts.pop()


def _features(features, num_nodes):
  """Features of all seeds, [S, N, ...], zeros of padding."""
  first = features[0]
  x = np.zeros((len(features), num_nodes, *first.shape[1:]), first.dtype)
  for s, own in enumerate(features):
    x[s, : len(own)] = own
  return jnp.asarray(x)


def _padded(splits):
  """Pairs by name, i32[S, P, 2], and how many count, i32[S]."""
  pairs, counts = {}, {}
  for field in splits[0]._fields:
    arrays = [np.asarray(getattr(s, field)).reshape(-1, 2) for s in splits]
    padded = np.zeros((len(splits), max(1, *map(len, arrays)), 2), np.int32)
    padded[..., 1] = 1
    for s, own in enumerate(arrays):
      padded[s, : len(own)] = own
    pairs[field] = jnp.asarray(padded)
    counts[field] = jnp.asarray([len(own) for own in arrays], jnp.int32)
  return pairs, counts


def _adjacencies(worlds, sizes):
  """Adjacencies of links, of common sizes, leaves [S, ...]."""
  plain = [
    lib.undirected_graph(pairs, n, pad_nodes=n)
    for pairs, n in zip(worlds, sizes, strict=True)
  ]
  nodes = 1 + max(sizes)
  edges = max(graph.num_edges for graph in plain)
  most = max(lib.adjacency(g, dense=False).max_degree for g in plain)
  made = [
    lib.adjacency(
      graphs.make_graph(
        graphs.edge_pairs(graph, once=True),
        n,
        pad_nodes=nodes,
        pad_edges=edges,
      ),
      max_degree=most,
      dense=nodes <= lib.DENSE_NODES,
    )
    for graph, n in zip(plain, sizes, strict=True)
  ]
  return jax.tree.map(lambda *leaves: jnp.stack(leaves), *made)
