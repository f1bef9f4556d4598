# SPDX-License-Identifier: Apache-2.0
"""Clustering algorithms of scikit-learn, each with the input that it expects.

What a clusterer is given is a matrix of cosine distances Γ. Those that look at
distances get Γ, those that look at similarities -Γ, and those that look at
points the rows of Γ: a client's distances to all others.
"""

import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from absl import logging

from jaxdl.core import checks, extras, registry
from jaxdl.federated.clusters import _temperature

LINKAGES = ('average', 'complete', 'single')


class Clusterer(NamedTuple):
  """A clustering algorithm with its options.

  Attributes:
    run: `run(gamma, official_quirks) -> [N]`, labels of any numbering; f64[N,
      N], symmetric with a zero diagonal.
    check: `check(num_clients)` raises ValueError if there are too few.
  """

  run: Callable[[np.ndarray, bool], np.ndarray]
  check: Callable[[int], None]


def hdbscan(
  *, min_cluster_size: int | None = None, min_samples: int | None = None
) -> Clusterer:
  """Density-based clusters on distances; their number is found.

  Clients that belong nowhere (noise) are one more cluster.

  Args:
    min_cluster_size: clients of the smallest cluster, >= 2; a fifth of all, at
      least 2, if None (3 of 15, 6 of 30, as in the paper).
    min_samples: neighbors that make a place dense; `min_cluster_size` if None.

  Returns:
    The clusterer.
  """
  if min_cluster_size is not None:
    checks.integer(min_cluster_size, name='min_cluster_size', low=2)
  if min_samples is not None:
    checks.integer(min_samples, name='min_samples', low=1)

  def run(gamma, official_quirks):
    del official_quirks
    size = min_cluster_size
    made = _sklearn().HDBSCAN(
      min_cluster_size=max(2, len(gamma) // 5) if size is None else size,
      min_samples=min_samples,
      metric='precomputed',
      copy=True,
    )
    return made.fit(gamma).labels_

  return Clusterer(
    run,
    _at_most(min_cluster_size=min_cluster_size, min_samples=min_samples),
  )


def meanshift(*, bandwidth: float | None = None) -> Clusterer:
  """Modes of the density of the rows of Γ; their number is found.

  Args:
    bandwidth: > 0; estimated from the rows if None.

  Returns:
    The clusterer.
  """
  if bandwidth is not None:
    checks.number(bandwidth, name='bandwidth', low=0.0, open_low=True)

  def run(gamma, official_quirks):
    del official_quirks
    width = bandwidth
    if width is None:
      width = _sklearn().estimate_bandwidth(gamma) or np.finfo(np.float32).eps
    return _sklearn().MeanShift(bandwidth=width).fit(gamma).labels_

  return Clusterer(run, _at_most())


def kmeans(
  *, n_clusters: int | None = None, n_init: int = 10, seed: int = 0
) -> Clusterer:
  """K means of the rows of Γ.

  Args:
    n_clusters: K >= 1, must be said.
    n_init: starts, of which the best counts.
    seed: of the starts.

  Returns:
    The clusterer.
  """
  if n_clusters is None:
    raise ValueError(
      'kmeans needs n_clusters, the number of clusters: kmeans(n_clusters=3); '
      'hdbscan and meanshift find it.'
    )
  checks.integer(n_clusters, name='n_clusters', low=1)
  checks.integer(n_init, name='n_init', low=1)
  checks.integer(seed, name='seed', low=0)

  def run(gamma, official_quirks):
    del official_quirks
    made = _sklearn().KMeans(n_clusters, n_init=n_init, random_state=seed)
    return made.fit(gamma).labels_

  return Clusterer(run, _at_most(n_clusters=n_clusters))


def affinity(
  *,
  damping: float = 0.5,
  preference: float | None = None,
  max_iter: int = 200,
  seed: int = 0,
) -> Clusterer:
  """Affinity propagation on similarities -Γ; the number is found.

  The official code passes Γ itself, so that what is far apart is similar;
  `official_quirks` does so too.

  Args:
    damping: in [0.5, 1).
    preference: how readily a client becomes an exemplar; the median similarity
      if None.
    max_iter: iterations.
    seed: of ties.

  Returns:
    The clusterer; where the iteration does not settle it finds one cluster.
  """
  checks.number(damping, name='damping', low=0.5, high=1.0, open_high=True)
  checks.integer(max_iter, name='max_iter', low=1)
  checks.integer(seed, name='seed', low=0)

  def run(gamma, official_quirks):
    made = _sklearn().AffinityPropagation(
      damping=damping,
      preference=preference,
      max_iter=max_iter,
      affinity='precomputed',
      random_state=seed,
    )
    return made.fit(gamma if official_quirks else -gamma).labels_

  return Clusterer(run, _at_most())


def agglomerative(
  *,
  n_clusters: int | None = None,
  distance_threshold: float | None = None,
  linkage: str = 'average',
) -> Clusterer:
  """Joins the nearest clusters until few or only distant ones are left.

  The official code of a rival passes similarities for distances;
  `official_quirks` does so too.

  Args:
    n_clusters: how many are left; or
    distance_threshold: at which distance to stop; 0.5 if neither is said.
    linkage: 'average', 'complete' or 'single'.

  Returns:
    The clusterer.
  """
  if n_clusters is not None and distance_threshold is not None:
    raise ValueError(
      f'n_clusters={n_clusters} and distance_threshold={distance_threshold} '
      'exclude each other: say one.'
    )
  if n_clusters is not None:
    checks.integer(n_clusters, name='n_clusters', low=1)
  elif distance_threshold is None:
    distance_threshold = 0.5
  if distance_threshold is not None:
    checks.number(
      distance_threshold, name='distance_threshold', low=0.0, high=2.0
    )
  checks.choice(linkage, LINKAGES, name='linkage')

  def run(gamma, official_quirks):
    made = _sklearn().AgglomerativeClustering(
      n_clusters=n_clusters,
      distance_threshold=distance_threshold,
      metric='precomputed',
      linkage=linkage,
    )
    return made.fit(1 - gamma if official_quirks else gamma).labels_

  return Clusterer(run, _at_most(n_clusters=n_clusters))


CLUSTERERS = registry.Registry(
  'clusterer',
  {
    'hdbscan': hdbscan,
    'meanshift': meanshift,
    'kmeans': kmeans,
    'affinity': affinity,
    'agglomerative': agglomerative,
  },
  tried={},
)


def make_clusterer(spec: Any) -> Clusterer:
  """Makes a clusterer from text.

  Args:
    spec: a part of `CLUSTERERS`, 'hdbscan(min_cluster_size=3)' for instance; a
      `Clusterer`; or a function `labels_of(gamma) -> [N]`.

  Returns:
    The clusterer.

  Raises:
    ValueError: if a name or an option is unknown, missing or out of range.
    TypeError: if it is neither text nor a function.

  Example:
    >>> make_clusterer('kmeans')
    Traceback (most recent call last):
    ValueError: kmeans needs n_clusters, the number of clusters: \
kmeans(n_clusters=3); hdbscan and meanshift find it.
  """
  if isinstance(spec, Clusterer):
    return spec
  if callable(spec):
    return Clusterer(lambda gamma, official_quirks: spec(gamma), _at_most())
  if not isinstance(spec, str):
    raise TypeError(
      f'clusterer must be text or a function of distances; got '
      f'{checks.described(spec)}.'
    )
  return CLUSTERERS.make(spec)


def cluster_labels(
  gamma: Any,
  *,
  clusterer: Any = 'hdbscan',
  official_quirks: bool = False,
) -> np.ndarray:
  """Clusters clients by their distances, on the host.

  Args:
    gamma: [N, N] cosine distances, N >= 2.
    clusterer: see `make_clusterer`.
    official_quirks: whether a clusterer gets what the paper's code gives it.

  Returns:
    i32[N], numbered from 0 by the first client of each. Where all distances are
    zero there is one cluster, whoever is asked.

  Raises:
    ValueError: if Γ is not square, symmetric, finite and non-negative, there
      are fewer than two clients, or the clusterer cannot be made or run.

  Example:
    >>> gamma = np.array([[0, 0.1, 1, 1], [0.1, 0, 1, 1], [1, 1, 0, 0.1],
    ...                   [1, 1, 0.1, 0]])
    >>> cluster_labels(gamma, clusterer='agglomerative').tolist()
    [0, 0, 1, 1]
  """
  made = make_clusterer(clusterer)
  gamma = checks.host_array(gamma, name='gamma').astype(np.float64)
  _temperature.check_distances(gamma)
  n = len(gamma)
  if n < 2:
    raise ValueError(f'gamma must be of at least 2 clients; got {n}.')
  made.check(n)
  gamma = (gamma + gamma.T) / 2
  np.fill_diagonal(gamma, 0.0)
  if not gamma.any():
    return np.zeros(n, np.int32)
  with warnings.catch_warnings(record=True) as told:
    warnings.simplefilter('always')
    labels = np.asarray(made.run(gamma, official_quirks))
  for warning in told:
    logging.log_first_n(logging.WARNING, '%s', 3, warning.message)
  if labels.shape != (n,):
    raise ValueError(
      f'clusterer must give a label per client, shape ({n},); got shape '
      f'{labels.shape}.'
    )
  return relabel(labels)[0]


def relabel(labels: Any) -> tuple[np.ndarray, int]:
  """Numbers clusters from 0, by the first client of each.

  Args:
    labels: [N], any values; noise, -1, is a cluster as well.

  Returns:
    i32[N] and K, how many there are.

  Example:
    >>> relabel([7, -1, 7, 2])[0].tolist(), relabel([7, -1, 7, 2])[1]
    ([0, 1, 0, 2], 3)
  """
  labels = np.asarray(labels)
  _, first, inverse = np.unique(labels, return_index=True, return_inverse=True)
  rank = np.argsort(np.argsort(first))
  return rank[inverse].astype(np.int32), len(first)


def _at_most(**options):
  """A check that no option asks for more clients than there are."""

  def check(num_clients):
    for name, value in options.items():
      if value is not None and value > num_clients:
        raise ValueError(
          f'{name}={value} exceeds the {num_clients} clients: lower it.'
        )

  return check


def _sklearn():
  return extras.require('sklearn.cluster', 'clustering of clients')
