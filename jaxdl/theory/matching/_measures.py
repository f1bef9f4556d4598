# SPDX-License-Identifier: Apache-2.0
"""What may be measured of a layer of several networks, by name."""

from collections.abc import Mapping, Sequence
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np

from jaxdl.core import checks, keys, registry
from jaxdl.theory.matching import (
  _clusters,
  _information,
  _match,
  _moments,
  _networks,
  _similarity,
  _sparse,
)

BASELINES = ('permuted', 'shuffled')

Row = dict[str, Any]
Rows = list[Row]
Layers = _networks.Layers


def _mean(rows: Sequence[Mapping[str, float]]) -> dict[str, float]:
  return {k: float(np.mean([r[k] for r in rows])) for k in rows[0]}


def _summaries(layer, matrices, baseline, key):
  """Means over the pairs of networks."""
  found = []
  for i, (matrix, alive) in enumerate(matrices):
    match = None
    if baseline == 'permuted':
      match = _match.random_match(jax.random.fold_in(key, i), matrix)
    summary = _match.match_summary(matrix, match, alive=alive)
    found.append(summary._asdict() | {'alive': jnp.mean(alive)})
  return _mean(found)


def correlation(
  layer: Layers, key: chex.PRNGKey, baselines: Sequence[str] = BASELINES
) -> Rows:
  """Semi-matches and one-to-one matches of correlations.

  Args:
    layer: what is known of it.
    key: consumed by baselines.
    baselines: 'permuted' pairs units by chance, 'shuffled' correlates one
      network with the other's answers to other inputs.

  Returns:
    Rows of `match`, and means over pairs of `semi`, `matched`, `overlap` and
    `alive`, the share of units that vary.
  """
  baselines = (baselines,) if isinstance(baselines, str) else baselines
  for name in baselines:
    checks.choice(name, BASELINES, name='baselines')
  real = [layer.correlation(i, j) for i, j in layer.pairs]
  matrices = [(c.matrix, c.alive_x) for c in real]
  rows = [{'match': 'correlation'} | _summaries(layer, matrices, '', key)]
  if 'permuted' in baselines:
    found = _summaries(layer, matrices, 'permuted', key)
    rows.append({'match': 'permuted'} | found)
  if 'shuffled' in baselines and layer.samples is not None:
    shuffled = []
    for i, j in layer.pairs:
      order = jax.random.permutation(
        jax.random.fold_in(key, i), layer.samples.shape[1]
      )
      moments = _moments.activation_moments(
        layer.samples[i], layer.samples[j][np.asarray(order)], layer=layer.name
      )
      c = _moments.correlation(moments, layer=layer.name)
      shuffled.append((c.matrix, c.alive_x))
    rows.append({'match': 'shuffled'} | _summaries(layer, shuffled, '', key))
  return rows


def information(
  layer: Layers,
  key: chex.PRNGKey,
  num_bins: int = 10,
  binning: str = 'rectified',
  bias: str = 'none',
) -> Rows:
  """The same of mutual information, and how often both match alike.

  Args:
    layer: what is known of it.
    key: not used.
    num_bins: see `information_matrix`.
    binning: see `bin_units`.
    bias: see `information_matrix`.

  Returns:
    One row; `agreement` is the share of pairs that correlations match, too.
  """
  del key
  if layer.samples is None:
    raise ValueError(
      f'information needs samples of {layer.name}: give them to Layers.'
    )
  found = []
  for i, j in layer.pairs:
    matrix = _information.information_matrix(
      layer.samples[i],
      layer.samples[j],
      num_bins=num_bins,
      binning=binning,
      bias=bias,
    )
    c = layer.correlation(i, j)
    match, other = _match.max_match(matrix), _match.max_match(c.matrix)
    alive = np.asarray(c.alive_x)
    same = np.asarray(match.col == other.col)[alive[np.asarray(match.row)]]
    summary = _match.match_summary(matrix, match, alive=alive)
    found.append(summary._asdict() | {'agreement': same.mean()})
  return [{'match': 'information'} | _mean(found)]


def sparse(
  layer: Layers,
  key: chex.PRNGKey,
  penalties: float | Sequence[float] = (0.0, 1e-4, 1e-3, 1e-2, 1e-1, 0.5, 1.0),
  num_iters: int = 1000,
) -> Rows:
  """Predicts each network's units from few of another's.

  Args:
    layer: what is known of it.
    key: not used.
    penalties: each >= 0, see `sparse_path`.
    num_iters: see `fit_sparse_map`.

  Returns:
    A row for each penalty: `half_mse` on samples held out and `num_used`, means
    over targets and pairs.
  """
  del key
  several = isinstance(penalties, (tuple, list))
  values = tuple(penalties) if several else (penalties,)  # pyrefly: ignore
  paths = [
    _sparse.sparse_path(
      layer.fit.pair(i, j),
      values,
      held_out=layer.held_out.pair(i, j),
      num_iters=num_iters,
    )
    for i, j in layer.pairs
  ]
  return [
    {'penalty': float(penalty)}
    | _mean(
      [
        {'half_mse': path.half_mse[k], 'num_used': path.num_used[k]}
        for path in paths
      ]
    )
    for k, penalty in enumerate(values)
  ]


def clusters(
  layer: Layers,
  key: chex.PRNGKey,
  num_clusters: int = 8,
  method: str = 'kmeans',
  within: bool = True,
) -> Rows:
  """Groups the units of the first two networks.

  Args:
    layer: what is known of it.
    key: not used.
    num_clusters: see `cluster_units`; fewer where fewer units have a link.
    method: see `cluster_units`.
    within: see `joint_similarity`.

  Returns:
    A row for each group, see `Cluster`; the largest first.
  """
  del key
  matrices = [
    layer.correlation(i, j).matrix for i, j in ((0, 0), (0, 1), (1, 1))
  ]
  graph = _clusters.joint_similarity(*matrices, within=within)
  live = int((np.asarray(graph).sum(axis=1) > 0).sum())
  count = checks.integer(num_clusters, name='num_clusters', low=1)
  if count > len(graph):
    raise ValueError(
      f'num_clusters={count} exceeds the {len(graph)} units of both networks.'
    )
  labels = _clusters.cluster_units(
    graph, max(min(count, live), 1), method=method
  )
  found = _clusters.describe_clusters(labels, graph, layer.held_out.pair(0, 1))
  found = sorted(found, key=lambda c: -(c.size_x + c.size_y))
  return [{'cluster': k} | c._asdict() for k, c in enumerate(found)]


def similarity(
  layer: Layers, key: chex.PRNGKey, kinds: str | Sequence[str] = ('cka', 'cca')
) -> Rows:
  """How alike layers are as a whole.

  Args:
    layer: what is known of it.
    key: not used.
    kinds: parts of `SIMILARITIES`.

  Returns:
    One row with a mean over pairs for each.
  """
  del key
  kinds = (kinds,) if isinstance(kinds, str) else tuple(kinds)
  table = [
    {
      _similarity.SIMILARITIES.part(kind).name: _similarity.SIMILARITIES.make(
        kind, layer.held_out.pair(i, j)
      )
      for kind in kinds
    }
    for i, j in layer.pairs
  ]
  return [_mean(table)]


def profile(layer: Layers, key: chex.PRNGKey) -> Rows:
  """How well each unit of the first network is matched in the second.

  Args:
    layer: what is known of it.
    key: not used.

  Returns:
    A row for each unit that varies, the best first: `rank` from 1, `best`,
    similarity to its best partner, and `partner`, to its only one. A unit low
    in both is in one network alone, one low in the last competes for a partner.
  """
  del key
  c = layer.correlation(0, 1)
  best, match = _match.semi_match(c.matrix), _match.max_match(c.matrix)
  only = np.zeros(len(best.value))
  only[np.asarray(match.row)] = match.value
  best, alive = np.asarray(best.value), np.asarray(c.alive_x)
  order = [k for k in np.argsort(-best, kind='stable') if alive[k]]
  return [
    {'rank': i + 1, 'best': float(best[k]), 'partner': float(only[k])}
    for i, k in enumerate(order)
  ]


def matrix(layer: Layers, key: chex.PRNGKey, max_units: int = 64) -> Rows:
  """Correlations of the first two networks, pairs along the diagonal.

  Args:
    layer: what is known of it.
    key: not used.
    max_units: so many of the pairs, the best first.

  Returns:
    A row for each unit, with `unit_<j>` for the j-th partner.
  """
  del key
  checks.integer(max_units, name='max_units', low=1)
  found = layer.correlation(0, 1).matrix
  match = _match.max_match(found)
  order = np.argsort(-np.asarray(match.value), kind='stable')[:max_units]
  rows, cols = np.asarray(match.row)[order], np.asarray(match.col)[order]
  inner = np.asarray(found)[np.ix_(rows, cols)]
  return [
    {'unit': i} | {f'unit_{j}': float(v) for j, v in enumerate(line)}
    for i, line in enumerate(inner)
  ]


# What may be measured of a layer of several networks.
MEASURES = registry.Registry(
  'measure',
  {
    'correlation': correlation,
    'information': information,
    'sparse': sparse,
    'clusters': clusters,
    'similarity': similarity,
    'profile': profile,
    'matrix': matrix,
  },
  given=('layer', 'key'),
)


def measure_layers(
  layers: Sequence[Layers],
  measures: str | Sequence[str] = ('correlation',),
  *,
  key: chex.PRNGKey,
) -> Rows:
  """Measures how alike the units of several networks are, on the host.

  Args:
    layers: of K >= 2 networks.
    measures: parts of `MEASURES`.
    key: for baselines; consumed.

  Returns:
    Rows with the labels `layer` and `measure`, and figures that are means over
    all pairs of networks.

  Raises:
    ValueError: if a measure is unknown or a layer has no unit that varies.

  Example:
    >>> x = jax.random.normal(jax.random.key(0), (50, 3))
    >>> moments = _moments.activation_moments(x, x[:, ::-1])
    >>> layer = Layers('dense_1', moments, moments)
    >>> rows = measure_layers([layer], key=jax.random.key(1))
    >>> rows[0]['measure'], round(rows[0]['matched'], 4)
    ('correlation', 1.0)
  """
  keys.check_key(key)
  measures = (measures,) if isinstance(measures, str) else measures
  rows = []
  for m, spec in enumerate(measures):
    name = MEASURES.part(spec).name
    for k, layer in enumerate(layers):
      own = jax.random.fold_in(jax.random.fold_in(key, m), k)
      found = MEASURES.make(spec, layer, own)
      rows += [{'layer': layer.name, 'measure': name} | r for r in found]
  return rows
