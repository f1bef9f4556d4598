# SPDX-License-Identifier: Apache-2.0
"""Gradient codes across workers: any n - s results give the whole gradient."""

import functools
from collections.abc import Callable
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np

from jaxdl.core import checks, trees

KINDS = ('cyclic', 'repetition')
# Largest |aᵀ B - 1| of a decoding vector.
TOLERANCE = 1e-6
_ATTEMPTS = 10
_MEMORY = 4096


class GradientCode(NamedTuple):
  """A code with its decoding vectors.

  Attributes:
    matrix: float64[n, n]; worker i returns the sum of row i times the chunks.
    num_stragglers: s, tolerated in any choice.
    kind: 'cyclic' or 'repetition'.
    decoding_vector: `decoding_vector(arrived: bool[n]) -> float64[n]`, zero
      where nothing arrived; computed once per set of workers.
  """

  matrix: np.ndarray
  num_stragglers: int
  kind: str
  decoding_vector: Callable[[np.ndarray], np.ndarray]

  def decodes(self, arrived: np.ndarray) -> np.ndarray:
    """Says, without a solve, whether results are enough: bool[..., n]."""
    return decodes(arrived, self.num_stragglers, self.kind)


def decodes(
  arrived: np.ndarray, num_stragglers: int, kind: str = 'cyclic'
) -> np.ndarray:
  """Says whether results of workers give the whole gradient.

  Args:
    arrived: bool[..., n].
    num_stragglers: s of the code.
    kind: 'cyclic' (any n - s do) or 'repetition' (one of each group does).

  Returns:
    bool[...].
  """
  n = arrived.shape[-1]
  if kind == 'repetition':
    groups = arrived.reshape(*arrived.shape[:-1], -1, num_stragglers + 1)
    return groups.any(axis=-1).all(axis=-1)
  return arrived.sum(axis=-1) >= n - num_stragglers


def check_code(num_workers: int, num_stragglers: int, kind: str) -> None:
  """Checks n, s and the kind of a code."""
  n = checks.integer(num_workers, name='num_workers', low=1)
  s = checks.integer(num_stragglers, name='num_stragglers', low=0, high=n - 1)
  checks.choice(kind, KINDS, name='code')
  if kind == 'repetition' and n % (s + 1):
    raise ValueError(
      f'num_stragglers={s} needs groups of {s + 1} workers, which do not '
      f'divide num_workers={n}: repetition wants (s + 1) | n.'
    )


def gc_encoding_matrix(
  rng: np.random.Generator,
  num_workers: int,
  num_stragglers: int,
  *,
  kind: str = 'cyclic',
) -> np.ndarray:
  """Makes the matrix of a gradient code.

  Cyclic: worker i has chunks i, ..., i + s (mod n), and all rows lie in the
  null space of a random s x n matrix whose rows sum to zero. Repetition: groups
  of s + 1 workers that return the same plain sum.

  Args:
    rng: host randomness; repetition draws none.
    num_workers: n.
    num_stragglers: s, 0 <= s < n.
    kind: 'cyclic', or 'repetition' where s + 1 divides n.

  Returns:
    float64[n, n].

  Raises:
    ValueError: if numbers do not fit.

  Cost: O(n s³) work.

  Example:
    >>> gc_encoding_matrix(
    ...   np.random.default_rng(0), 4, 1, kind='repetition'
    ... ).tolist()[1]
    [1.0, 1.0, 0.0, 0.0]

  Source: Tandon et al. 2017 (https://arxiv.org/abs/1612.03301), Algorithm 2.
  """
  check_code(num_workers, num_stragglers, kind)
  n, s = num_workers, num_stragglers
  if kind == 'repetition':
    group = np.arange(n) // (s + 1)
    return (group[:, None] == group[None]).astype(np.float64)
  if not s:
    return np.eye(n)
  cols = (np.arange(n)[:, None] + np.arange(s + 1)) % n
  for _ in range(_ATTEMPTS):
    h = rng.standard_normal((s, n - 1))
    h = np.concatenate([h, -h.sum(axis=1, keepdims=True)], axis=1)
    block = h.T[cols]  # [n, s + 1, s]
    try:
      rest = np.linalg.solve(
        block[:, 1:].swapaxes(1, 2), -block[:, 0][..., None]
      )[..., 0]
    except np.linalg.LinAlgError:  # Has probability zero.
      continue
    matrix = np.zeros((n, n))
    matrix[np.arange(n), cols[:, 0]] = 1.0
    np.put_along_axis(matrix, cols[:, 1:], rest, axis=1)
    return matrix
  raise ValueError(f'rng gave {_ATTEMPTS} singular matrices.')


def gc_decoding_vector(
  matrix: chex.Array, arrived: chex.Array, *, tolerance: float = TOLERANCE
) -> np.ndarray:
  """Finds a with aᵀ B = 1ᵀ that uses only results that arrived.

  Random cyclic codes are ill-conditioned: entries reach 1e3 for n = 64, s = 8
  and 1e5 for n = 256, s = 27. So this is float64 on the host, the shortest
  least-squares solution, and it is checked.

  Args:
    matrix: float[n, n], B.
    arrived: bool[n].
    tolerance: largest allowed |aᵀ B - 1|.

  Returns:
    float64[n], zero where nothing arrived.

  Raises:
    ValueError: if shapes are wrong, or no such vector is found.

  Cost: one least-squares problem, O(n³); 0.3 s for n = 256.

  Example:
    >>> rng = np.random.default_rng(0)
    >>> matrix = gc_encoding_matrix(rng, 5, 2)
    >>> arrived = np.array([True, False, True, False, True])
    >>> bool(np.allclose(gc_decoding_vector(matrix, arrived) @ matrix, 1.0))
    True

  Source: Tandon et al. 2017 (https://arxiv.org/abs/1612.03301).
  """
  matrix = checks.host_array(matrix, name='matrix').astype(np.float64)
  arrived = checks.host_array(arrived, name='arrived').astype(bool)
  if matrix.ndim != 2 or arrived.shape != matrix.shape[:1]:
    raise ValueError(
      f'arrived must be bool[{len(matrix)}], an entry per row of matrix; got '
      f'shape {arrived.shape}.'
    )
  ones = np.ones(matrix.shape[1])
  vector = np.zeros(len(matrix))
  if arrived.any():
    vector[arrived] = np.linalg.lstsq(matrix[arrived].T, ones, rcond=None)[0]
  gap = float(np.abs(vector @ matrix - ones).max())
  if not gap <= tolerance:
    raise ValueError(
      f'arrived={arrived.sum()} of {len(matrix)} results do not give the whole '
      f'gradient: |a^T B - 1| = {gap:.2g} exceeds {tolerance:g}; wait for more '
      "workers, or take code='repetition' if rounding is to blame."
    )
  return vector


def gradient_code(
  num_workers: int,
  num_stragglers: int,
  *,
  kind: str = 'cyclic',
  seed: int = 0,
) -> GradientCode:
  """Makes a code whose decoding vectors are kept.

  Args:
    num_workers: n.
    num_stragglers: s, 0 <= s < n.
    kind: 'cyclic', or 'repetition' where s + 1 divides n: exact, and any one
      worker of each group is enough.
    seed: of the matrix.

  Returns:
    The code; its vectors stay in memory for the last 4096 sets of workers.

  Raises:
    ValueError: if numbers do not fit.

  Example:
    >>> code = gradient_code(6, 2)
    >>> chunks = {'w': np.arange(12.0).reshape(6, 2)}
    >>> arrived = np.array([True, True, False, True, False, True])
    >>> results = encode(code.matrix, chunks)
    >>> whole = decode(code.decoding_vector(arrived), results)
    >>> whole['w'].round(9).tolist()
    [30.0, 36.0]

  Source: Tandon et al. 2017 (https://arxiv.org/abs/1612.03301).
  """
  rng = np.random.default_rng([seed, num_workers, max(num_stragglers, 0)])
  matrix = gc_encoding_matrix(rng, num_workers, num_stragglers, kind=kind)
  matrix.setflags(write=False)

  @functools.lru_cache(maxsize=_MEMORY)
  def solved(arrived):
    flags = np.frombuffer(arrived, bool)
    if kind == 'repetition' and decodes(flags, num_stragglers, kind):
      vector = np.zeros(num_workers)
      first = flags.reshape(-1, num_stragglers + 1).argmax(axis=1)
      vector[np.arange(len(first)) * (num_stragglers + 1) + first] = 1.0
    else:
      vector = gc_decoding_vector(matrix, flags)
    vector.setflags(write=False)
    return vector

  def decoding_vector(arrived):
    arrived = checks.host_array(arrived, name='arrived').astype(bool)
    if arrived.shape != (num_workers,):
      raise ValueError(
        f'arrived must be bool[{num_workers}]; got shape {arrived.shape}.'
      )
    return solved(arrived.tobytes())

  return GradientCode(matrix, num_stragglers, kind, decoding_vector)


def encode(matrix: chex.Array, chunks: chex.ArrayTree) -> chex.ArrayTree:
  """Computes what each worker returns of the gradients of chunks.

  Args:
    matrix: float[n, n], B.
    chunks: leaves [n, ...]: NumPy arrays are summed in float64, jax arrays
      (also traced ones) in their accumulator, float32 for float32.

  Returns:
    Leaves [n, ...] of the same kind.

  Raises:
    ValueError: if the leading axis is not n.

  Example:
    >>> matrix = np.array([[1.0, 1.0], [0.0, 1.0]])
    >>> encode(matrix, np.array([1.0, 2.0])).tolist()
    [3.0, 2.0]
  """
  return _contract(matrix, chunks, name='chunks')


def decode(vector: chex.Array, results: chex.ArrayTree) -> chex.ArrayTree:
  """Sums results to the whole gradient.

  Rows with weight zero are not looked at: what did not arrive may be anything.
  In float32 a cyclic code loses four to five digits; see `gc_decoding_vector`.

  Args:
    vector: float[n], of `gc_decoding_vector`.
    results: leaves [n, ...], as `encode` takes them.

  Returns:
    Leaves [...].

  Raises:
    ValueError: if the leading axis is not n.

  Example:
    >>> decode(np.array([1.0, 0.0]), np.array([[3.0], [np.nan]])).tolist()
    [3.0]
  """
  return _contract(vector, results, name='results')


def _contract(weights, stacked, *, name):
  n = checks.num_clients(stacked, name=name)
  if np.ndim(weights) not in (1, 2) or np.shape(weights)[-1] != n:
    raise ValueError(
      f'{name} must have leading axis {np.shape(weights)[-1]}, one entry per '
      f'weight; got {n}.'
    )

  traced = isinstance(weights, jax.core.Tracer)
  w = weights if traced else np.asarray(weights, np.float64)

  @functools.cache
  def matrix():
    """Only s + 1 of n weights of a row differ from zero."""
    from scipy import sparse

    return sparse.csr_array(w)

  def leaf(x):
    if traced or isinstance(x, jax.Array):
      v = jnp.asarray(weights)
      if v.ndim == 1:
        x = jnp.where(trees.expand(v != 0, x), x, 0)
      return trees.combine(v, x)
    x = np.asarray(x, np.float64)
    flat, shape = x.reshape(n, -1), x.shape[1:]
    if w.ndim == 1:
      used = np.flatnonzero(w)
      return np.einsum('i,ij->j', w[used], flat[used]).reshape(shape)
    return (matrix() @ flat).reshape(len(w), *shape)

  return jax.tree.map(leaf, stacked)
