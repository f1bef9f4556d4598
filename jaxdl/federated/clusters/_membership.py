# SPDX-License-Identifier: Apache-2.0
"""Who is in which cluster: sums, directions and gossip by cluster."""

import math

import chex
import jax
import jax.numpy as jnp
import numpy as np

from jaxdl import mixing
from jaxdl.core import checks, trees


def membership_matrix(
  labels: chex.Array,
  num_clusters: int,
  *,
  weights: chex.Array | None = None,
) -> chex.Array:
  """What each client counts in the mean of each cluster.

  Args:
    labels: i32[N] in [0, K); others belong nowhere.
    num_clusters: K (static).
    weights: f32[N] >= 0; equal if None.

  Returns:
    f32[K, N], rows that sum to one; a row of zeros where nobody counts.

  Example:
    >>> membership_matrix(jnp.array([0, 1, 0]), 2).tolist()
    [[0.5, 0.0, 0.5], [0.0, 1.0, 0.0]]
  """
  labels = jnp.asarray(labels)
  members = labels[None] == jnp.arange(num_clusters)[:, None]
  weights = jnp.ones(labels.shape) if weights is None else weights
  share = jnp.where(members, jnp.asarray(weights, jnp.float32)[None], 0.0)
  total = jnp.sum(share, axis=1, keepdims=True)
  return share / jnp.where(total > 0, total, 1.0)


def clustered_aggregate(
  cluster_params: chex.ArrayTree,
  deltas: chex.ArrayTree,
  weights: chex.Array,
  server_lr: chex.Numeric = 1.0,
) -> chex.ArrayTree:
  """Averages within each cluster: θ_k <- θ_k + η Σ_i W_ki Δ_i.

  Args:
    cluster_params: leaves [K, ...].
    deltas: leaves [N, ...], what clients changed.
    weights: W, f32[K, N], see `membership_matrix`; on a mesh the sum over split
      clients is one `psum`.
    server_lr: η.

  Returns:
    Leaves [K, ...]; clusters whose row of W is zero stay as they are. A row of
    `deltas` that is not finite reaches all clusters.

  Cost: one contraction per leaf, O(K N D).

  Example:
    >>> deltas = jnp.array([[2.0], [4.0], [9.0]])
    >>> clustered_aggregate(
    ...   jnp.zeros((2, 1)), deltas, membership_matrix(jnp.array([0, 0, 1]), 2)
    ... ).tolist()
    [[3.0], [9.0]]

  Source: Zuziak et al. 2025 (https://arxiv.org/abs/2509.01587).
  """
  mean = trees.combine(weights, deltas)

  def move(x, u):
    x = jnp.asarray(x)
    return x + (server_lr * u).astype(x.dtype)

  return jax.tree.map(move, cluster_params, mean)


def cluster_directions(
  deltas: chex.ArrayTree, labels: chex.Array, num_clusters: int
) -> chex.ArrayTree:
  """Mean update of every cluster, which newcomers are compared with.

  Args:
    deltas: leaves [N, ...].
    labels: i32[N]; clients of a label outside [0, K) do not count.
    num_clusters: K (static).

  Returns:
    Leaves [K, ...].
  """
  return trees.combine(membership_matrix(labels, num_clusters), deltas)


def assign(deltas: chex.ArrayTree, directions: chex.ArrayTree) -> chex.Array:
  """Finds the clusters of clients that were not there when they were made.

  A newcomer trains from the model that was split, as the others did then; its
  cluster is the one whose mean update points most nearly where its own does.

  Args:
    deltas: leaves [M, ...], updates of newcomers.
    directions: leaves [K, ...], see `cluster_directions`; directions of length
      zero are nobody's.

  Returns:
    i32[M] in [0, K); ties, and newcomers that changed nothing, go to the lowest
    number of those that have a direction.

  Example:
    >>> directions = jnp.array([[1.0, 0.0], [0.0, 1.0]])
    >>> assign(jnp.array([[0.2, 3.0], [1.0, -1.0]]), directions).tolist()
    [1, 0]

  Source: ours; the paper does not say what becomes of newcomers.
  """
  m = checks.num_clients(deltas, name='deltas')
  k = checks.num_clients(directions, name='directions')
  checks.same_shapes(
    jax.tree.map(lambda x: x[0], deltas),
    jax.tree.map(lambda x: x[0], directions),
    name='deltas',
    what='updates like the directions',
  )
  ours, theirs = (
    jax.tree.leaves(_normalized(tree)) for tree in (deltas, directions)
  )
  cosines = sum(
    jnp.matmul(a.reshape(m, -1), b.reshape(k, -1).T, precision='highest')
    for a, b in zip(ours, theirs, strict=True)
  )
  known = trees.norms(directions) > 0
  return jnp.argmax(jnp.where(known[None], cosines, -jnp.inf), axis=1).astype(
    jnp.int32
  )


def cluster_mixer(
  labels: np.ndarray, topology: str, *, seed: int = 0
) -> mixing.Mixer:
  """Gossip inside each cluster: a mixer whose matrix has a block per cluster.

  Args:
    labels: concrete i32[N].
    topology: a part of `mixing.TOPOLOGIES`, made anew for the size of each
      cluster; one whose rows sum to one. Clusters of one mix with themselves.
    seed: of random families; cluster k uses `seed + k`.

  Returns:
    The mixer: of one matrix or a schedule of them (`mixing.from_matrix`) where
    blocks are fixed, otherwise random; its blocks draw from `fold_in(key, k)`.

  Raises:
    ValueError: if the topology does not exist for the size of a cluster, which
      is named, or is for push-sum.

  Example:
    >>> mixer = cluster_mixer(np.array([0, 1, 0, 1]), 'complete')
    >>> mixer.matrix(0)[0].tolist()
    [0.5, 0.0, 0.5, 0.0]
  """
  labels = checks.host_array(labels, name='labels')
  n = len(labels)
  rows, mixers = [], []
  for k in np.unique(labels):
    rows.append(np.flatnonzero(labels == k))
    mixers.append(_block(topology, len(rows[-1]), int(k), seed))
  stochastic = 'row'
  if all(m.stochastic == 'double' for m in mixers):
    stochastic = 'double'

  def matrix(round, *, key=None):
    whole = jnp.zeros((n, n))
    for k, (own, mixer) in enumerate(zip(rows, mixers, strict=True)):
      drawn = None if key is None else jax.random.fold_in(key, k)
      whole = whole.at[np.ix_(own, own)].set(mixer.matrix(round, key=drawn))
    return whole

  periods = [m.period for m in mixers]
  if None not in periods:
    rounds = range(math.lcm(*periods))
    schedule = np.stack([np.asarray(matrix(t), np.float64) for t in rounds])
    return mixing.from_matrix(schedule)
  return mixing.from_function(
    matrix, structure='clusters', stochastic=stochastic
  )


def check_gossip(topology: str) -> None:
  """Raises ValueError unless a topology is known and mixes rows."""
  mixing.TOPOLOGIES.check(topology, name='gossip')
  weights = mixing.TOPOLOGIES.part(topology).options.get('weights')
  if weights == 'send':
    raise ValueError(
      f'gossip={topology} is for push-sum: choose weights whose rows sum to '
      'one, such as metropolis.'
    )


def _block(topology, size, number, seed):
  if size == 1:
    return mixing.identity(1)
  try:
    mixer = mixing.make_mixer(topology, size, seed=seed + number)
  except ValueError as error:
    raise ValueError(
      f'gossip={topology} does not exist for cluster {number} of {size} '
      f'clients: {error}'
    ) from error
  if mixer.stochastic == 'column':
    raise ValueError(
      f'gossip={topology} is for push-sum: choose weights whose rows sum to '
      'one, such as metropolis.'
    )
  return mixer


def _normalized(stacked):
  norms = trees.norms(stacked)
  return trees.scale_rows(1 / jnp.where(norms > 0, norms, 1), stacked)
