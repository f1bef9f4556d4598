# SPDX-License-Identifier: Apache-2.0
"""The third stage: similar features repel, the residual points to new ones."""

from typing import Any, NamedTuple

import chex
import jax.numpy as jnp
import numpy as np

from jaxdl.core import checks
from jaxdl.theory.grokking import _irreps, _lazy


def repulsion_matrix(features: Any, eta: float) -> np.ndarray:
  """How features act on each other, B = (F̃^T F̃ + η I)^-1.

  A negative entry off the diagonal repels: b_jl has the sign of minus
  f_j^T P f_l, with P the part that the other features leave over.

  Args:
    features: F, f[n, K], concrete.
    eta: η > 0.

  Returns:
    f64[K, K].

  Raises:
    TypeError: if features are traced, or no real numbers.
    ValueError: if η is not positive, or F is no matrix of finite numbers.

  Cost: on the host in float64: O(K³ + n K²), or with K > n, where the inverse
  of the n x n Gram matrix is taken instead, O(n³ + n K²).

  Example:
    >>> repulsion_matrix([[1.0, 1.0], [-1.0, -1.0]], 1.0).round(3).tolist()
    [[0.6, -0.4], [-0.4, 0.6]]

  Source: Tian 2025 (https://arxiv.org/abs/2509.21519), Theorem 5.
  """
  f = checks.host_array(features, name='features').astype(np.float64)
  if f.ndim != 2:
    raise ValueError(f'features must be f[n, K]; got shape {f.shape}.')
  checks.number(eta, name='eta', low=0.0, open_low=True)
  if not f.size or not np.isfinite(f).all():
    raise ValueError(
      f'features must be finite, n, K >= 1; got shape {f.shape}, '
      f'{int((~np.isfinite(f)).sum())} of them not finite.'
    )
  f = f - f.mean(axis=0)
  n, k = f.shape
  if k <= n:
    out = np.linalg.inv(f.T @ f + eta * np.eye(k))
  else:
    inner = np.linalg.solve(f @ f.T + eta * np.eye(n), f)
    out = (np.eye(k) - f.T @ inner) / eta
  return (out + out.T) / 2


def repelled_share(features: Any, eta: float, *, num_pairs: int = 200) -> float:
  """Which share of the most similar pairs of nodes repel each other.

  Args:
    features: F, f[n, K], concrete.
    eta: η > 0.
    num_pairs: pairs of the largest cosines of centered features; all pairs if
      there are fewer.

  Returns:
    A share; not a number for a single node.

  Raises:
    ValueError: as `repulsion_matrix`.

  Example:
    >>> repelled_share([[1.0, 1.0], [-1.0, -1.0]], 1.0)
    1.0

  Source: Tian 2025 (https://arxiv.org/abs/2509.21519), Theorem 5.
  """
  count = checks.integer(num_pairs, name='num_pairs', low=1)
  b = repulsion_matrix(features, eta)
  f = np.asarray(features, np.float64)
  f = f - f.mean(axis=0)
  sizes = np.linalg.norm(f, axis=0)
  unit = f / np.where(sizes > 0, sizes, 1.0)
  pairs = np.triu_indices(len(b), 1)
  if not len(pairs[0]):
    return float('nan')
  cosines = (unit.T @ unit)[pairs]
  most = np.argsort(-cosines, kind='stable')[:count]
  return float(np.mean(b[pairs][most] < 0))


class GramDiagnostics(NamedTuple):
  """How far Gram matrices of features are from what theory takes them for.

  Attributes:
    feature_diagonal: mean |diagonal| of F̃^T F̃, f[].
    feature_off_diagonal: mean |entry| off the diagonal of F̃^T F̃, f[].
    sample_diagonal: mean |diagonal| of P F F^T, f[].
    sample_off_diagonal: mean |entry| off the diagonal of P F F^T, f[].
    sample_distance: |F F^T - a I - b 11^T| / |F F^T| with the best a and b; 0
      of features that are zero.
  """

  feature_diagonal: chex.Array
  feature_off_diagonal: chex.Array
  sample_diagonal: chex.Array
  sample_off_diagonal: chex.Array
  sample_distance: chex.Array


def gram_diagnostics(features: chex.Array) -> GramDiagnostics:
  """Measures both Gram matrices of features.

  Args:
    features: F, f[n, K] with n, K >= 2.

  Returns:
    The measures.

  Raises:
    ValueError: if there are too few samples or features.

  Cost: O(n K (n + K)), many times that of an epoch.

  Example:
    >>> found = gram_diagnostics(jnp.eye(3) + 1.0)
    >>> round(float(found.sample_distance), 5)
    0.0

  Source: Tian 2025 (https://arxiv.org/abs/2509.21519), Fig. 3 and code.
  """
  if features.ndim != 2 or min(features.shape) < 2:
    raise ValueError(
      f'features must be f[n, K] with n, K >= 2; got shape {features.shape}.'
    )
  product = lambda a, b: jnp.matmul(a, b, precision='highest')
  f = _lazy.centered(features)
  by_feature = product(f.conj().T, f)
  gram = product(features, features.conj().T)
  by_sample = _lazy.centered(gram)
  n = len(gram)
  off = (jnp.sum(gram) - jnp.trace(gram)) / (n * (n - 1))
  size = jnp.linalg.norm(gram)
  best = jnp.where(jnp.eye(n, dtype=bool), jnp.trace(gram) / n, off)
  return GramDiagnostics(
    *_sizes(by_feature),
    *_sizes(by_sample),
    jnp.linalg.norm(gram - best) / jnp.where(size > 0, size, 1),
  )


def _sizes(matrix):
  """Mean size of entries on the diagonal, and off it."""
  n = len(matrix)
  size = jnp.abs(matrix)
  on = jnp.trace(size)
  return on / n, (jnp.sum(size) - on) / (n * (n - 1))


def residual(
  table: Any, irreps: _irreps.Irreps, learned: tuple[int, ...]
) -> np.ndarray:
  """What is left of centered labels when some irreps are learned.

  Ỹ - Ŷ has the entry (1 / M) Σ d_k χ_k(h^-1 h') over irreps that are not, for
  a sample of class h and output h'.

  Args:
    table: i32[M, M].
    irreps: of it.
    learned: places of the learned ones; the trivial one always is.

  Returns:
    f64[M², M], rows in the order of `group_dataset`.

  Raises:
    ValueError: if a place is out of range.

  Example:
    >>> from jaxdl.theory import grokking
    >>> table = grokking.cyclic_table(3)
    >>> residual(table, grokking.irreps(table), ())[0].round(3).tolist()
    [0.667, -0.333, -0.333]

  Source: Tian 2025 (https://arxiv.org/abs/2509.21519), Theorem 6.
  """
  total = len(irreps.dimensions)
  known = {
    checks.integer(k, name='learned', low=0, high=total - 1) for k in learned
  }
  left = [k for k in range(1, total) if k not in known]
  order = irreps.projectors.shape[-1]
  table = np.asarray(table)
  if table.shape != (order, order):
    raise ValueError(
      f'table must be that of the irreps, [{order}, {order}]; got shape '
      f'{table.shape}.'
    )
  block = irreps.projectors[left].sum(axis=0)
  return block[table.reshape(-1)]
