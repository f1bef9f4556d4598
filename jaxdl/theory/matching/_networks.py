# SPDX-License-Identifier: Apache-2.0
"""Units of many networks of one architecture, compared layer by layer."""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np

from jaxdl.core import checks, clients as clients_lib, keys, registry, types
from jaxdl.networks import activations as run_layers
from jaxdl.theory.matching import (
  _clusters,
  _information,
  _match,
  _moments,
  _similarity,
  _sparse,
)

BASELINES = ('permuted', 'shuffled')


def network_activations(
  network: types.Network | Any,
  stacked: chex.ArrayTree,
  inputs: chex.Array,
  *,
  layers: str | Sequence[str] | None = None,
  clients: clients_lib.Clients | None = None,
) -> dict[str, chex.Array]:
  """Runs several networks of one architecture on the same inputs.

  Args:
    network: any `Network`, or a flax module.
    stacked: parameters, leaves [K, ...].
    inputs: f[B, ...].
    layers: see `networks.activations`.
    clients: how the K networks are run; all together if None.

  Returns:
    Dict of f[K, B, ..., C].

  Raises:
    ValueError: as `networks.activations`.

  Example:
    >>> from jaxdl import networks
    >>> network, x = networks.mlp((3,), 1), jnp.ones((4, 2))
    >>> params = jax.vmap(lambda key: network.init(key, x))(
    ...   jax.random.split(jax.random.key(0), 2)
    ... )
    >>> network_activations(network, params, x)['dense_1'].shape
    (2, 4, 3)
  """
  n = checks.num_clients(stacked, name='stacked')
  clients = clients_lib.Clients(n) if clients is None else clients
  run = lambda params, x: run_layers(network, params, x, layers=layers)
  return clients.map(run, in_axes=(0, None))(stacked, inputs)


def network_moments(
  network: types.Network | Any,
  stacked: chex.ArrayTree,
  batches: chex.Array,
  mask: chex.Array | None = None,
  *,
  layers: str | Sequence[str] | None = None,
  clients: clients_lib.Clients | None = None,
) -> dict[str, _moments.Moments]:
  """Moments of the units of several networks, layer by layer, in one pass.

  Args:
    network: any `Network`, or a flax module.
    stacked: parameters, leaves [K, ...].
    batches: inputs f[T, B, ...].
    mask: bool[T, B], false for padding; None for none.
    layers: see `networks.activations`.
    clients: how the K networks are run; all together if None.

  Returns:
    Dict of `Moments` of K networks.

  Raises:
    ValueError: as `networks.activations`.

  Cost: one scan over the T batches; memory is that of one batch and of all
  covariances, (K n)² / 2 numbers for each layer, whatever T.

  Example:
    >>> from jaxdl import networks
    >>> network, x = networks.mlp((3,), 1), jnp.ones((5, 4, 2))
    >>> params = jax.vmap(lambda key: network.init(key, x[0]))(
    ...   jax.random.split(jax.random.key(0), 2)
    ... )
    >>> found = network_moments(network, params, x)
    >>> found['dense_1'].count.item(), found['dense_1'].between(0, 1).shape
    (20.0, (3, 3))
  """
  n = checks.num_clients(stacked, name='stacked')
  checks.num_clients(batches, name='batches')
  if mask is None:
    mask = jnp.ones(jnp.shape(batches)[:2], bool)

  def one(batch):
    x, real = batch
    found = network_activations(
      network, stacked, x, layers=layers, clients=clients
    )
    return {
      name: _moments.activation_moments(
        *(acts[k] for k in range(n)), mask=real, layer=name
      )
      for name, acts in found.items()
    }

  first = jax.tree.map(lambda x: x[0], (batches, mask))
  start = jax.tree.map(
    lambda x: jnp.zeros(x.shape, x.dtype), jax.eval_shape(one, first)
  )

  def body(total, batch):
    new = one(batch)
    merged = {k: _moments.merge_moments(total[k], new[k]) for k in total}
    return merged, None

  return jax.lax.scan(body, start, (batches, mask))[0]


def pairs(num_networks: int) -> list[tuple[int, int]]:
  """All pairs of networks, the smaller number first.

  Args:
    num_networks: K >= 2.

  Returns:
    K (K - 1) / 2 pairs.

  Raises:
    ValueError: for fewer than two.

  Example:
    >>> pairs(3)
    [(0, 1), (0, 2), (1, 2)]
  """
  n = checks.integer(num_networks, name='num_networks', low=2)
  return list(itertools.combinations(range(n), 2))


Row = dict[str, Any]
Rows = list[Row]


class Layers:
  """All that measures need of one layer: moments, and samples if they ask.

  Attributes:
    name: of the layer.
    fit: moments of K networks, on what maps are fitted on.
    held_out: moments on other samples, which all else is measured on.
    samples: f[K, N, C], of the same as `held_out`; None where none are kept.
  """

  def __init__(
    self,
    name: str,
    fit: _moments.Moments,
    held_out: _moments.Moments,
    samples: np.ndarray | None = None,
  ):
    """Holds them."""
    self.name, self.fit, self.held_out = name, fit, held_out
    self.samples = samples

  @property
  def pairs(self) -> list[tuple[int, int]]:
    """All pairs of networks."""
    return pairs(len(self.held_out.mean))

  def correlation(self, first: int, second: int) -> _moments.Correlation:
    """Correlations on the samples held out."""
    return _moments.correlation(self.held_out, first, second, layer=self.name)


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
  penalties: Sequence[float] = (0.0, 1e-4, 1e-3, 1e-2, 1e-1),
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
  if not isinstance(penalties, (tuple, list)):
    penalties = (penalties,)
  paths = [
    _sparse.sparse_path(
      layer.fit.pair(i, j),
      penalties,
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
    for k, penalty in enumerate(penalties)
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
    num_clusters: see `cluster_units`.
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
  labels = _clusters.cluster_units(graph, num_clusters, method=method)
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


# What may be measured of a layer of several networks.
MEASURES = registry.Registry(
  'measure',
  {
    'correlation': correlation,
    'information': information,
    'sparse': sparse,
    'clusters': clusters,
    'similarity': similarity,
  },
  given=('layer', 'key'),
)


def measure_layers(
  layers: Sequence[Layers],
  measures: Sequence[str] = ('correlation',),
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
  rows = []
  for m, spec in enumerate(measures):
    name = MEASURES.part(spec).name
    for k, layer in enumerate(layers):
      own = jax.random.fold_in(jax.random.fold_in(key, m), k)
      found = MEASURES.make(spec, layer, own)
      rows += [{'layer': layer.name, 'measure': name} | r for r in found]
  return rows
