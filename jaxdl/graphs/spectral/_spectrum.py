# SPDX-License-Identifier: Apache-2.0
"""Eigenvalues and eigenvectors of graphs, found on the host in float64."""

from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np

from jaxdl.core import checks
from jaxdl.graphs import _convert, _inside
from jaxdl.graphs._graph import Graph

# What is decomposed, for captions.
MATRIX = 'I - D^-1/2 A D^-1/2'
MOST_NODES = 10_000
# Up to so many nodes a whole decomposition is as fast as a part of one.
_FEW = 2000
# Eigenvalues that differ by less are one for Lanczos.
_SAME = 1e-9
# So many more than it has found does it look for at once.
_MORE = 8


class Spectrum(NamedTuple):
  """Eigenpairs of one graph, padded; what spectral networks take for a graph.

  Attributes:
    eigenvalues: f[K], ascending; 0 of padding.
    eigenvectors: f[N, K]; rows of padding nodes and columns of padding are
      zero.
    mask: bool[K], which eigenpairs are there; they come first.
    node_mask: bool[N], which nodes are there.
  """

  eigenvalues: chex.Array
  eigenvectors: chex.Array
  mask: chex.Array
  node_mask: chex.Array


def _sparse(adjacency):
  """A matrix [N, N] of scipy without stored zeros, or an error."""
  from scipy import sparse

  if isinstance(adjacency, Graph):
    _inside.check_graph(adjacency, lone=True)
    adjacency = _convert.to_scipy(adjacency)
  if sparse.issparse(adjacency):
    if adjacency.dtype.kind not in 'biuf':
      raise TypeError(
        f'adjacency must hold real numbers; got {adjacency.dtype}.'
      )
    matrix = sparse.csr_array(adjacency).astype(np.float64)
  else:
    dense = checks.host_array(adjacency, name='adjacency')
    if dense.ndim != 2:
      raise ValueError(f'adjacency must be square, [N, N]; got {dense.shape}.')
    matrix = sparse.csr_array(dense.astype(np.float64))
  n, m = matrix.shape
  if n != m or not n:
    raise ValueError(
      f'adjacency must be square, [N, N] with N >= 1; got {matrix.shape}.'
    )
  broken = ~np.isfinite(matrix.data)
  if broken.any():
    row, column = (int(at[broken.argmax()]) for at in matrix.tocoo().coords)
    raise ValueError(
      f'adjacency must be finite; [{row}, {column}] is '
      f'{matrix.data[broken.argmax()]}.'
    )
  return matrix


def normalized_laplacian(adjacency: Any) -> Any:
  """Makes L = I - D^-1/2 A D^-1/2 of who is linked with whom, on the host.

  A has a one where an entry and the one across the diagonal add up to more than
  zero, so that edges of one direction become edges of both. D is what rows of A
  add up to, one where they are zero: a node without edges has
  eigenvalue 1, not 0. Loops are not added.

  Args:
    adjacency: [N, N], an array, a matrix of scipy, or a `Graph`, of which
      padding is left out.

  Returns:
    f64[N, N], of scipy if `adjacency` is a graph or of scipy.

  Raises:
    ValueError: if it is not square, or not finite.

  Example:
    >>> normalized_laplacian(np.array([[0, 1], [0, 0]])).tolist()
    [[1.0, -1.0], [-1.0, 1.0]]

  Source: Gurumurthy, Pal & Sharma 2025 (https://arxiv.org/abs/2504.11808),
    section 3; Chung 1997, Spectral Graph Theory, section 1.2.
  """
  from scipy import sparse

  matrix = _sparse(adjacency)
  linked = ((matrix + matrix.T) > 0).astype(np.float64)
  degree = linked.sum(axis=1)
  root = 1 / np.sqrt(np.where(degree > 0, degree, 1))
  scale = sparse.dia_array((root[None], [0]), shape=matrix.shape)
  out = sparse.csr_array(sparse.eye_array(len(root)) - scale @ linked @ scale)
  if isinstance(adjacency, Graph) or sparse.issparse(adjacency):
    return out
  return out.toarray()


def spectral_decomposition(
  laplacian: Any, *, num_eigs: int | None = None
) -> tuple[np.ndarray, np.ndarray]:
  """Finds eigenvalues and orthonormal eigenvectors, on the host in float64.

  A sparse matrix of many nodes is decomposed by its connected parts, so that
  eigenvalues count as often as they occur, whatever Lanczos finds of them.

  Args:
    laplacian: f[N, N], symmetric, with eigenvalues in [0, 2]; an array or a
      matrix of scipy.
    num_eigs: K, the smallest (one more if K is odd) and the largest ones, of
      which a large sparse matrix gives but those; all if None or K >= N. A cut
      through equal eigenvalues leaves open which of their vectors are kept.

  Returns:
    f64[K] ascending, f64[N, K].

  Raises:
    ValueError: if the matrix is not square, symmetric and finite, or so large
      that all of its eigenvectors would not fit.

  Cost: O(N³) work, O(N²) memory for all; else that of connected parts of up to
    2000 or 4 K nodes, and O(K nnz) a step of Lanczos in larger ones.

  Example:
    >>> values, _ = spectral_decomposition(np.array([[1.0, -1], [-1, 1]]))
    >>> np.abs(values.round(6)).tolist()
    [0.0, 2.0]
  """
  from scipy import sparse

  matrix: Any = laplacian
  if not sparse.issparse(laplacian):
    matrix = checks.host_array(laplacian, name='laplacian').astype(np.float64)
  elif laplacian.dtype.kind not in 'biuf':
    raise TypeError(f'laplacian must hold real numbers; got {laplacian.dtype}.')
  shape = matrix.shape
  if len(shape) != 2 or shape[0] != shape[1] or not shape[0]:
    raise ValueError(
      f'laplacian must be square, [N, N] with N >= 1; got {shape}.'
    )
  n = shape[0]
  entries = matrix.data if sparse.issparse(matrix) else matrix
  if not np.isfinite(entries).all():
    raise ValueError('laplacian must be finite.')
  if abs(matrix - matrix.T).max() > 1e-8:
    raise ValueError(
      'laplacian must be symmetric; make it with '
      'spectral.normalized_laplacian(adjacency).'
    )
  k = n if num_eigs is None else num_eigs
  k = min(checks.integer(k, name='num_eigs', low=1), n)
  low = -(-k // 2)
  if _is_large(n, k):
    return _ends(
      sparse.csr_array(matrix, dtype=np.float64, copy=True), low, k - low
    )
  values, vectors = _whole(matrix)
  if k < n:
    kept = np.r_[:low, n - (k - low) : n]
    values, vectors = values[kept], vectors[:, kept]
  return values, vectors


def _is_large(n, k):
  """Whether K of N eigenpairs are found sooner than all."""
  return n > _FEW and 4 * k < n


def _whole(matrix):
  """All eigenpairs of a matrix."""
  from scipy import linalg, sparse

  n = matrix.shape[0]
  if n > MOST_NODES:
    raise ValueError(
      f'a full eigendecomposition of {n} nodes needs N² memory, '
      f'{n * n * 8 / 1e9:.1f} GB, and N³ time: set num_eigs to fewer than '
      f'{n // 4}.'
    )
  dense = matrix.toarray() if sparse.issparse(matrix) else matrix
  return linalg.eigh(dense, driver='evd')


def _ends(matrix, low, high):
  """Both ends of a spectrum in [0, 2], of all connected parts together."""
  from scipy.sparse import csgraph

  matrix.eliminate_zeros()
  count, part_of = csgraph.connected_components(matrix, directed=False)
  order = np.argsort(part_of, kind='stable')
  parts = np.split(order, np.cumsum(np.bincount(part_of))[:-1])
  found = []
  for ids in parts:
    inner = matrix if count == 1 else matrix[ids][:, ids]
    if _is_large(len(ids), low + high):
      found.append(_ends_by_lanczos(inner, low, high))
    else:
      found.append(_whole(inner))
  values = np.concatenate([v for v, _ in found])
  owner = np.repeat(np.arange(count), [len(v) for v, _ in found])
  column = np.concatenate([np.arange(len(v)) for v, _ in found])
  order = np.argsort(values, kind='stable')
  chosen = np.r_[order[:low], order[len(order) - high :]]
  vectors = np.zeros((matrix.shape[0], low + high))
  for place, at in enumerate(chosen):
    k = owner[at]
    vectors[parts[k], place] = found[k][1][:, column[at]]
  return values[chosen], vectors


def _ends_by_lanczos(matrix, low, high):
  """Both ends of a spectrum in [0, 2], each vector once."""
  from scipy import sparse
  from scipy.sparse import linalg

  eye = sparse.eye_array(matrix.shape[0], format='csr')
  none = np.zeros((matrix.shape[0], 0))
  try:
    # The largest of 2 I - L are found far sooner than the smallest of L.
    flipped, vectors = _largest(2 * eye - matrix, low, none)
    if not high:
      return 2 - flipped, vectors
    # Ends may meet in one eigenvalue: the other end has other vectors of it.
    values, others = _largest(matrix, high, vectors)
  except linalg.ArpackError:  # Few eigenvalues have no Krylov space.
    return _whole(matrix)
  values = np.concatenate([2 - flipped, values])
  vectors = np.concatenate([vectors, others], axis=1)
  order = np.argsort(values, kind='stable')
  return values[order], vectors[:, order]


def _largest(matrix, k, avoid):
  """The k largest of eigenvalues >= 0, with vectors across from some."""
  from scipy import linalg as dense
  from scipy.sparse import linalg

  operator: Any = linalg.LinearOperator  # Type checkers miss its __new__.
  n = matrix.shape[0]
  rng = np.random.default_rng(0)
  values, vectors = np.zeros(0), np.zeros((n, 0))
  while True:
    # What is known moves to -1. A run sees one vector of equal eigenvalues, and
    # others by rounding only, so that the next may find more of them.
    known = np.concatenate([avoid, vectors], axis=1)
    shift = known * ((known * (matrix @ known)).sum(axis=0, keepdims=True) + 1)

    def apply(x, known=known, shift=shift):
      return matrix @ x - shift @ (known.T @ x)

    wanted = min(k, _MORE) if len(values) else k
    new, fresh = linalg.eigsh(
      operator((n, n), matvec=apply, dtype=np.float64),
      k=wanted,
      which='LA',
      v0=rng.normal(size=n),
      ncv=min(n, max(2 * wanted + 1, 40)),
    )
    if len(values) and new.max() <= values.min() + _SAME:
      break
    order = np.argsort(np.concatenate([values, new]))[::-1][:k]
    vectors = np.concatenate([vectors, fresh], axis=1)[:, order]
    values = np.concatenate([values, new])[order]
  basis = dense.qr(vectors, mode='economic')[0]
  values, turn = dense.eigh(basis.T @ (matrix @ basis))
  return values, basis @ turn


def graph_spectrum(
  graph: Graph, *, num_eigs: int | None = None, pad_eigs: int | None = None
) -> Spectrum:
  """Decomposes the normalized Laplacian of a graph, or of a stack of them.

  Args:
    graph: concrete; leaves [n, ...] for one of each client. Padding takes no
      part, weights do not matter but for their sign.
    num_eigs: see `spectral_decomposition`; of a stack, of each.
    pad_eigs: K of the result; as many as nodes with padding, or `num_eigs` if
      that is less, if None.

  Returns:
    The spectrum, in the default floating point; leaves [n, ...] for a stack.

  Raises:
    ValueError: if a graph is too large to be decomposed whole, or padding does
      not fit.
    TypeError: if the graph is traced.

  Example:
    >>> from jaxdl import graphs
    >>> graph = graphs.make_graph([(0, 1)], 2, pad_nodes=3)
    >>> found = graph_spectrum(graph)
    >>> np.abs(found.eigenvalues.round(4)).tolist(), found.mask.tolist()
    ([0.0, 2.0, 0.0], [True, True, False])
  """
  _inside.check_graph(graph)
  if graph.senders.ndim == 2:
    count = graph.senders.shape[0]
    parts = [
      graph_spectrum(
        jax.tree.map(lambda x, i=i: x[i], graph),
        num_eigs=num_eigs,
        pad_eigs=pad_eigs,
      )
      for i in range(count)
    ]
    return jax.tree.map(lambda *xs: jnp.stack(xs), *parts)
  size = graph.num_nodes
  if num_eigs is not None:
    size = min(size, checks.integer(num_eigs, name='num_eigs', low=1))
  if pad_eigs is not None:
    size = checks.integer(pad_eigs, name='pad_eigs', low=1)
  n = _inside.num_real(graph)
  values, vectors = np.zeros(0), np.zeros((0, 0))
  if n:
    matrix = normalized_laplacian(graph)
    values, vectors = spectral_decomposition(matrix, num_eigs=num_eigs)
  k = len(values)
  if k > size:
    raise ValueError(
      f'pad_eigs={size} is too small for {k} eigenpairs: raise it, or set '
      'num_eigs.'
    )
  dtype = jnp.result_type(float)
  wide = np.zeros((graph.num_nodes, size))
  wide[:n, :k] = vectors
  return Spectrum(
    jnp.asarray(np.pad(values, (0, size - k)), dtype),
    jnp.asarray(wide, dtype),
    jnp.asarray(np.arange(size) < k),
    graph.node_mask,
  )
