# SPDX-License-Identifier: Apache-2.0
"""Groups of units of two networks that belong together."""

from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np

from jaxdl.core import checks, extras
from jaxdl.theory.matching import _moments, _similarity, _sparse

METHODS = ('kmeans', 'agglomerative', 'recursive')


def joint_similarity(
  within_x: chex.Array,
  between: chex.Array,
  within_y: chex.Array,
  *,
  within: bool = True,
) -> chex.Array:
  """Puts the units of two networks into one graph.

  Args:
    within_x: f[n1, n1], correlations within the first network.
    between: f[n1, n2], between them.
    within_y: f[n2, n2], within the second.
    within: whether units of one network are linked, too (static).

  Returns:
    f[n1 + n2, n1 + n2], absolute values with a zero diagonal.

  Raises:
    ValueError: if shapes do not fit.

  Example:
    >>> one = jnp.ones((1, 1))
    >>> joint_similarity(one, -0.5 * one, one).tolist()
    [[0.0, 0.5], [0.5, 0.0]]

  Source: Li et al. 2015 (https://arxiv.org/abs/1511.07543), section 3.3.
  """
  n1, n2 = jnp.shape(between)
  shapes = jnp.shape(within_x), jnp.shape(within_y)
  if shapes != ((n1, n1), (n2, n2)):
    raise ValueError(
      f'within_x and within_y must have shapes {(n1, n1)} and {(n2, n2)} '
      f'beside between of {(n1, n2)}; got {shapes[0]} and {shapes[1]}.'
    )
  between = jnp.abs(jnp.asarray(between))
  blocks = [jnp.abs(jnp.asarray(x)) * within for x in (within_x, within_y)]
  whole = jnp.block([[blocks[0], between], [between.T, blocks[1]]])
  return jnp.where(jnp.eye(n1 + n2, dtype=bool), 0, whole)


class Embedding(NamedTuple):
  """Units as points, near where they belong together.

  Attributes:
    values: f[n], all eigenvalues of the normalized Laplacian, ascending; as
      many are zero as there are separate groups.
    points: f[n, k], rows of unit length, or zero for units without a link.
  """

  values: chex.Array
  points: chex.Array


def spectral_embedding(similarity: chex.Array, num_dims: int) -> Embedding:
  """Embeds units by the smallest eigenvectors of the normalized Laplacian.

  Args:
    similarity: f[n, n], symmetric, not negative, zero diagonal.
    num_dims: k, 1 <= k <= n (static).

  Returns:
    `Embedding` for I - D^-1/2 S D^-1/2. Units without a link stand apart, with
    the eigenvalue 1; drop them first (`cluster_units` does).

  Raises:
    ValueError: if k is out of range or it is no square.

  Cost: O(n³).

  Example:
    >>> pair = jnp.array([[0.0, 1.0], [1.0, 0.0]])
    >>> similarity = jnp.kron(jnp.eye(2), pair)
    >>> bool((spectral_embedding(similarity, 2).values[:2] < 1e-6).all())
    True

  Source: Ng, Jordan & Weiss 2001; Li et al. 2015
  (https://arxiv.org/abs/1511.07543), section 3.3.
  """
  n = _check_square(similarity)
  checks.integer(num_dims, name='num_dims', low=1, high=n)
  similarity = jnp.asarray(similarity)
  similarity = similarity.astype(
    jnp.promote_types(similarity.dtype, jnp.float32)
  )
  degrees = jnp.sum(similarity, axis=1)
  linked = degrees > 0
  gain = jnp.where(linked, jax.lax.rsqrt(jnp.where(linked, degrees, 1)), 0)
  scaled = similarity * gain[:, None] * gain[None]
  values, vectors = jnp.linalg.eigh(jnp.eye(n, dtype=scaled.dtype) - scaled)
  points = jnp.where(linked[:, None], vectors[:, :num_dims], 0)
  length = jnp.linalg.norm(points, axis=1, keepdims=True)
  return Embedding(values, points / jnp.where(length > 0, length, 1))


def _check_square(similarity):
  shape = jnp.shape(similarity)
  if len(shape) != 2 or shape[0] != shape[1] or not shape[0]:
    raise ValueError(f'similarity must be square, shape [n, n]; got {shape}.')
  return shape[0]


def cluster_units(
  similarity: chex.Array,
  num_clusters: int,
  *,
  method: str = 'kmeans',
  seed: int = 0,
) -> np.ndarray:
  """Finds groups of units, on the host.

  Args:
    similarity: f[n, n], as of `joint_similarity`; concrete.
    num_clusters: k, 1 <= k <= the number of units that have a link.
    method: 'kmeans' or 'agglomerative' (average linkage) clusters the rows of
      the embedding in k dimensions; 'recursive' splits the largest group in two
      until there are k.
    seed: of k-means.

  Returns:
    int[n], the group of each unit, numbered by their first units; -1 for units
    without a link.

  Raises:
    ValueError: if k is out of range, it is no square, holds a negative number
      or a NaN, or the name is unknown.
    TypeError: if it is traced.
    ImportError: without scikit-learn.

  Example:
    >>> pair = np.array([[0.0, 1.0], [1.0, 0.0]])
    >>> cluster_units(np.kron(np.eye(2), pair), 2).tolist()
    [0, 0, 1, 1]

  Source: Li et al. 2015 (https://arxiv.org/abs/1511.07543), section 3.3; how to
  stop, and the linkage, are not in the paper.
  """
  extras.require('sklearn.cluster', 'cluster_units')
  checks.choice(method, METHODS, name='method')
  host = checks.host_array(similarity, name='similarity').astype(float)
  _check_square(host)
  if not (host >= 0).all():
    raise ValueError(
      'similarity must be finite and not negative; take absolute values '
      '(joint_similarity does).'
    )
  top = host.max()
  if not np.isfinite(top) or np.abs(host - host.T).max() > 1e-4 * top:
    raise ValueError(
      'similarity must be finite and symmetric, as of joint_similarity.'
    )
  if np.abs(np.diagonal(host)).max() > 1e-4 * top:
    raise ValueError(
      'similarity must have a zero diagonal, as of joint_similarity.'
    )
  checks.integer(seed, name='seed', low=0, high=2**32 - 1)
  live = np.flatnonzero(host.sum(axis=1) > 0)
  count = checks.integer(num_clusters, name='num_clusters', low=1)
  if count > len(live):
    raise ValueError(
      f'num_clusters={count} exceeds the {len(live)} units that vary with '
      'another.'
    )
  inner = host[np.ix_(live, live)]
  if method == 'recursive':
    labels = np.zeros(len(live), int)
    for new in range(1, count):
      sizes = np.bincount(labels)
      own = np.flatnonzero(labels == sizes.argmax())
      halves = _flat(inner[np.ix_(own, own)], 2, 'agglomerative', seed)
      labels[own[halves == 1]] = new
  else:
    labels = _flat(inner, count, method, seed)
  first = {label: i for i, label in reversed(list(enumerate(labels)))}
  order = sorted(first, key=first.get)
  out = np.full(len(host), -1)
  out[live] = [order.index(label) for label in labels]
  return out


def _flat(similarity, count, method, seed):
  """Clusters the rows of an embedding, in float64."""
  from sklearn import cluster

  if count == 1 or len(similarity) <= 1:
    return np.zeros(len(similarity), int)
  if len(similarity) == count:
    return np.arange(count)
  degrees = similarity.sum(axis=1)
  gain = np.where(
    degrees > 0, 1 / np.sqrt(np.where(degrees > 0, degrees, 1)), 0
  )
  laplacian = np.eye(len(degrees)) - similarity * gain[:, None] * gain
  _, vectors = np.linalg.eigh(laplacian)
  points = vectors[:, :count]
  length = np.linalg.norm(points, axis=1, keepdims=True)
  points = points / np.where(length > 0, length, 1)
  if method == 'kmeans':
    found = cluster.KMeans(count, n_init=10, random_state=seed)
  else:
    found = cluster.AgglomerativeClustering(count, linkage='average')
  return found.fit_predict(points)


class Cluster(NamedTuple):
  """A group of units of two networks.

  Attributes:
    size_x: units of the first network; 0 of one side is a group that only the
      other network has.
    size_y: units of the second.
    within: mean similarity of its pairs of units; 0 if there is only one.
    overlap: R², how much of the variance of one side's (standardized) units the
      other side's explain by least squares, mean of both directions; NaN if a
      side is empty.
    angle: mean principal angle between the sides, radians; NaN likewise.
  """

  size_x: int
  size_y: int
  within: float
  overlap: float
  angle: float


def describe_clusters(
  labels: np.ndarray,
  similarity: chex.Array,
  moments: _moments.Moments,
) -> list[Cluster]:
  """Says of every group how large it is on each side, and how alike they are.

  Args:
    labels: int[n1 + n2] from `cluster_units`.
    similarity: f[n1 + n2, n1 + n2].
    moments: of both networks.

  Returns:
    One `Cluster` each.

  Raises:
    ValueError: if there are other numbers of units.

  Example:
    >>> x = jnp.array([[1.0], [2.0], [0.0]])
    >>> moments = _moments.activation_moments(x, 2 * x)
    >>> link = np.array([[0.0, 1.0], [1.0, 0.0]])
    >>> found = describe_clusters(np.array([0, 0]), link, moments)[0]
    >>> found.size_x, found.size_y, round(found.overlap, 4)
    (1, 1, 1.0)
  """
  labels = np.asarray(labels)
  host = np.asarray(similarity, float)
  n1, n2 = (len(m) for m in moments.mean)
  if labels.shape != (n1 + n2,) or host.shape != (n1 + n2, n1 + n2):
    raise ValueError(
      f'labels and similarity must be of {n1 + n2} units, as moments; got '
      f'{labels.shape} and {host.shape}.'
    )
  out = []
  scaled = jax.tree.map(np.asarray, _sparse.standardized(moments))
  for k in range(labels.max() + 1):
    own = np.flatnonzero(labels == k)
    left, right = own[own < n1], own[own >= n1] - n1
    pairs = len(own) * (len(own) - 1)
    within = host[np.ix_(own, own)].sum() / pairs if pairs else 0.0
    overlap = angle = float('nan')
    if len(left) and len(right):
      part = _moments.Moments(
        scaled.count,
        (scaled.mean[0][left], scaled.mean[1][right]),
        (
          (
            scaled.between(0, 0)[np.ix_(left, left)],
            scaled.between(0, 1)[np.ix_(left, right)],
          ),
          (scaled.between(1, 1)[np.ix_(right, right)],),
        ),
      )
      cosines = _similarity.canonical_correlations(part)
      angle = float(np.arccos(cosines).mean()) if len(cosines) else angle
      overlap = (_explained(part) + _explained(part.pair(1, 0))) / 2
    out.append(Cluster(len(left), len(right), float(within), overlap, angle))
  return out


def _explained(moments):
  """The share of the second side's variance that the first explains."""
  xx, xy, yy = _similarity.host_covariances(moments)
  inverse = np.linalg.pinv(xx, rcond=1e-6, hermitian=True)
  total = np.trace(yy)
  return float(np.trace(xy.T @ inverse @ xy) / total) if total > 0 else 0.0


def subspace_similarity(x: chex.Array, y: chex.Array) -> float:
  """Mean squared cosine of the principal angles of two sets of units.

  Args:
    x: f[..., n1], concrete.
    y: f[..., n2], on the same samples.

  Returns:
    A number in [0, 1]: 1 if the smaller span lies in the other, 0 if they are
    orthogonal or one is empty.

  Raises:
    ValueError, TypeError: as `principal_angles`.

  Example:
    >>> x = np.array([[1.0, 0.0], [0.0, 1.0], [2.0, 2.0], [0.0, 0.0]])
    >>> y = x @ np.array([[1.0, 1.0], [0.0, 2.0]])
    >>> round(subspace_similarity(x, y), 6)
    1.0
  """
  angles = _similarity.principal_angles(x, y)
  return float(np.mean(np.cos(angles) ** 2)) if len(angles) else 0.0
