# SPDX-License-Identifier: Apache-2.0
"""Graphs that come with networkx or scikit-learn, and graphs that are drawn."""

import numpy as np

from jaxdl.core import checks, extras
from jaxdl.graphs import _change
from jaxdl.graphs.sets import _dataset
from jaxdl.graphs.sets._dataset import GraphDataset


def karate(*, features: str = 'identity', pad: bool = True) -> GraphDataset:
  """A karate club that fell apart: 34 members, 78 friendships, two sides.

  One label per side is trained on, the two leaders'; of the others every second
  one is validated on and the rest tested on.

  Args:
    features: in `FEATURES`.
    pad: whether sizes are rounded up, see `graphs.bucket`.

  Returns:
    The data set.

  Example:
    >>> data = karate(pad=False)
    >>> data.features.shape, data.labels.sum().item(), data.train.sum().item()
    ((34, 34), 17, 2)

  Source: Zachary 1977, as in `networkx.karate_club_graph`.
  """
  import networkx

  graph = networkx.karate_club_graph()
  sides = [graph.nodes[i]['club'] != 'Mr. Hi' for i in range(34)]
  masks = np.zeros((3, 34), bool)
  masks[0, [0, 33]] = True
  masks[1, 1:33:2] = masks[2, 2:33:2] = True
  return _dataset.assemble(
    np.array(graph.edges),
    34,
    features=features,
    labels=np.array(sides, np.int32),
    masks=tuple(masks),
    pad=pad,
    name='karate',
  )


def lesmis(*, features: str = 'identity', pad: bool = True) -> GraphDataset:
  """Who meets whom in a novel: 77 characters, 254 pairs, no labels.

  Args:
    features: in `FEATURES`.
    pad: whether sizes are rounded up.

  Returns:
    The data set, without labels and weights.

  Example:
    >>> lesmis().graph.node_mask.sum().item()
    77

  Source: Knuth 1993, as in `networkx.les_miserables_graph`.
  """
  import networkx

  graph = networkx.les_miserables_graph()
  place = {node: i for i, node in enumerate(graph.nodes)}
  pairs = np.array([(place[a], place[b]) for a, b in graph.edges])
  return _dataset.assemble(
    pairs, len(place), features=features, pad=pad, name='lesmis'
  )


def block_model(
  *,
  num_nodes: int = 240,
  num_classes: int = 4,
  p_in: float = 0.3,
  p_out: float = 0.04,
  heterophilic: bool = False,
  features: str = 'gaussian',
  num_features: int = 16,
  separation: float = 0.45,
  noise: float | None = None,
  train: float = 0.6,
  validation: float = 0.2,
  seed: int = 0,
  pad: bool = True,
) -> GraphDataset:
  """Blocks of nodes that are linked with a probability of their classes.

  Classes are blocks of nodes of like sizes. Nodes of one class are linked with
  probability `p_in`, of two with `p_out`; where heterophilic it is class c and
  class `c xor 1` that are linked with `p_in`, and all others with `p_out`.

  Args:
    num_nodes: n.
    num_classes: K <= n, even if heterophilic.
    p_in: in [0, 1].
    p_out: in [0, 1].
    heterophilic: see above.
    features: 'gaussian' for `separation` times a unit vector of the class and
      normal noise, 'one_hot' for the class, of which a share `noise` is another
      that is drawn from all.
    num_features: of 'gaussian'.
    separation: of 'gaussian'.
    noise: standard deviation (0.25 if None) or share (0.4 if None).
    train: see `split_nodes`.
    validation: see `split_nodes`.
    seed: draws everything.
    pad: whether sizes are rounded up.

  Returns:
    The data set.

  Raises:
    ValueError: if a number is out of range.

  Example:
    >>> block_model(num_nodes=40).features.shape
    (48, 16)

  Source: Holland, Laskey & Leinhardt 1983.
  """
  import networkx

  n = checks.integer(num_nodes, name='num_nodes', low=1)
  k = checks.integer(num_classes, name='num_classes', low=1, high=n)
  checks.number(p_in, name='p_in', low=0, high=1)
  checks.number(p_out, name='p_out', low=0, high=1)
  checks.choice(features, ('gaussian', 'one_hot'), name='features')
  checks.number(separation, name='separation')
  width = checks.integer(num_features, name='num_features', low=1)
  if noise is None:
    noise = 0.25 if features == 'gaussian' else 0.4
  high = 1 if features == 'one_hot' else None
  checks.number(noise, name='noise', low=0, high=high)
  if checks.flag(heterophilic, name='heterophilic') and k % 2:
    raise ValueError(
      f'num_classes={k} must be even if heterophilic: classes are linked in '
      'pairs.'
    )
  rng = np.random.default_rng(checks.integer(seed, name='seed', low=0))
  sizes = [n // k + (c < n % k) for c in range(k)]
  labels = np.repeat(np.arange(k), sizes)
  table = np.full((k, k), float(p_out))
  table[np.arange(k), np.arange(k) ^ 1 if heterophilic else np.arange(k)] = p_in
  drawn = networkx.stochastic_block_model(
    sizes, table.tolist(), seed=int(rng.integers(2**31))
  )
  if features == 'gaussian':
    centers = rng.normal(size=(k, width))
    centers /= np.linalg.norm(centers, axis=1, keepdims=True)
    x = separation * centers[labels] + noise * rng.normal(size=(n, width))
  else:
    other = rng.random(n) < noise
    shown = np.where(other, rng.integers(0, k, n), labels)
    x = np.eye(k)[shown]
  return _dataset.assemble(
    np.array(drawn.edges, np.int64).reshape(-1, 2),
    n,
    features=x,
    labels=labels,
    num_classes=k,
    masks=_dataset.split_nodes(
      labels, rng=rng, train=train, validation=validation
    ),
    pad=pad,
    name='block_model',
  )


def geometric(
  *,
  num_nodes: int = 600,
  radius: float = 0.075,
  num_features: int = 16,
  seed: int = 0,
  pad: bool = True,
) -> GraphDataset:
  """Points in the unit square, linked where they are near; features are noise.

  Args:
    num_nodes: n points, uniform.
    radius: two are linked whose distance is at most this, > 0.
    num_features: width of N(0, 1) features that tell nothing.
    seed: draws everything.
    pad: whether sizes are rounded up.

  Returns:
    The data set, without labels.

  Raises:
    ValueError: if a number is out of range.

  Example:
    >>> data = geometric(num_nodes=100, radius=0.2)
    >>> data.features.shape, data.labels
    ((128, 16), None)
  """
  from scipy import spatial

  n = checks.integer(num_nodes, name='num_nodes', low=1)
  checks.number(radius, name='radius', low=0, open_low=True)
  width = checks.integer(num_features, name='num_features', low=1)
  rng = np.random.default_rng(checks.integer(seed, name='seed', low=0))
  points = rng.random((n, 2))
  pairs = spatial.cKDTree(points).query_pairs(radius, output_type='ndarray')
  features = rng.normal(size=(n, width))
  return _dataset.assemble(
    pairs, n, features=features, pad=pad, name='geometric'
  )


def digits_knn(
  *,
  num_neighbors: int = 9,
  num_nodes: int | None = 600,
  num_components: int | None = 16,
  noise: float = 2.0,
  train: float = 0.6,
  validation: float = 0.2,
  seed: int = 0,
  pad: bool = True,
) -> GraphDataset:
  """Handwritten digits, each linked with those that look most alike.

  Needs scikit-learn. Links of nearest neighbors (of raw pixels 0..16) lead both
  ways.

  Args:
    num_neighbors: k, fewer than nodes.
    num_nodes: the first n of 1797 digits; all if None.
    num_components: principal components that are features; the pixels if None.
    noise: standard deviation of what is added to features.
    train: see `split_nodes`.
    validation: see `split_nodes`.
    seed: draws noise and splits.
    pad: whether sizes are rounded up.

  Returns:
    The data set; labels are the digits.

  Raises:
    ValueError: if a number is out of range.
    ImportError: if scikit-learn is missing.

  Example:
    >>> digits_knn(num_nodes=50, num_neighbors=3).features.shape
    (64, 16)
  """
  load = extras.require('sklearn.datasets', 'digits_knn').load_digits
  neighbors = extras.require('sklearn.neighbors', 'digits_knn')
  raw = load()
  most = len(raw.data)
  n = most if num_nodes is None else num_nodes
  n = checks.integer(n, name='num_nodes', low=2, high=most)
  k = checks.integer(num_neighbors, name='num_neighbors', low=1, high=n - 1)
  checks.number(noise, name='noise', low=0)
  rng = np.random.default_rng(checks.integer(seed, name='seed', low=0))
  x = raw.data[:n]
  found = neighbors.kneighbors_graph(x, k).tocoo()
  pairs = _change.undirected_pairs(np.stack([found.row, found.col], axis=1))
  if num_components is not None:
    width = checks.integer(
      num_components, name='num_components', low=1, high=min(x.shape)
    )
    pca = extras.require('sklearn.decomposition', 'digits_knn').PCA
    x = pca(width, svd_solver='full').fit_transform(x)
  x = x + noise * rng.normal(size=x.shape)
  labels = raw.target[:n]
  return _dataset.assemble(
    pairs,
    n,
    features=x,
    labels=labels,
    num_classes=10,
    masks=_dataset.split_nodes(
      labels, rng=rng, train=train, validation=validation
    ),
    pad=pad,
    name='digits_knn',
  )
