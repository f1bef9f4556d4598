# SPDX-License-Identifier: Apache-2.0
"""How fast a mixing matrix brings clients together; host, float64."""

import networkx
import numpy as np

from jaxdl.core import checks

_KINDS = ('row', 'column', 'double', 'any')


def _stack(matrix: np.ndarray, name: str = 'matrix') -> np.ndarray:
  hint = None
  if isinstance(matrix, str):
    hint = f'call mixing.make_mixer({matrix!r}, num_clients)'
  elif isinstance(matrix, networkx.Graph):
    hint = 'give its links weights, mixing.metropolis(graph) for instance'
  elif checks.has_functions(matrix, 'apply', 'matrix'):
    hint = 'pass mixer.matrix(round)'
  if hint is not None:
    raise TypeError(
      f'{name} must be an array [N, N] or [T, N, N]; got '
      f'{checks.described(matrix)}: {hint}.'
    )
  matrix = checks.host_array(matrix, name=name).astype(np.float64)
  stack = matrix[None] if matrix.ndim == 2 else matrix
  if stack.ndim != 3 or stack.shape[1] != stack.shape[2] or 0 in stack.shape:
    raise ValueError(
      f'{name} must have shape [N, N] or [T, N, N]; got {matrix.shape}.'
    )
  return stack


def finite_stack(matrix: np.ndarray, name: str = 'matrix') -> np.ndarray:
  """Returns float64[T, N, N] of one matrix or several, refusing NaN."""
  stack = _stack(matrix, name)
  bad = np.argwhere(~np.isfinite(stack))
  if len(bad):
    t, i, j = bad[0]
    where = '' if np.ndim(matrix) == 2 else f'round {t}, '
    raise ValueError(
      f'{name} holds {stack[t, i, j]} at {where}row {i}, column {j}: need '
      'finite numbers.'
    )
  return stack


def _one(matrix):
  stack = finite_stack(matrix)
  if len(stack) != 1:
    raise ValueError(
      f'matrix must have shape [N, N]; got {np.shape(matrix)}: take one round '
      'of it, or mean_square_factor of all.'
    )
  return stack[0]


def check_stochastic(
  matrix: np.ndarray,
  *,
  stochastic: str = 'row',
  allow_negative: bool = False,
  atol: float = 1e-6,
  name: str = 'matrix',
) -> np.ndarray:
  """Returns a concrete mixing matrix in float64 after validating it.

  Args:
    matrix: [N, N], or [T, N, N] for a schedule; concrete.
    stochastic: 'row' (receive weights sum to one), 'column' (send weights sum
      to one: push-sum), 'double' or 'any' (no condition on sums).
    allow_negative: accepts negative weights.
    atol: how far a sum may be from one and an entry below zero.
    name: the argument's name, for the message.

  Returns:
    float64 array of the same shape.

  Raises:
    ValueError: naming the offending row, by how much it is off and a remedy.

  Example:
    >>> check_stochastic([[0.5, 0.5], [0.25, 0.75]]).shape
    (2, 2)
  """
  checks.choice(stochastic, _KINDS, name='stochastic')
  stack = finite_stack(matrix, name)
  where = '' if np.ndim(matrix) == 2 else 'round {}, '
  bad = np.argwhere(stack < -atol)
  if len(bad) and not allow_negative:
    t, i, j = bad[0]
    raise ValueError(
      f'{name} holds the negative weight {stack[t, i, j]:g} at '
      f'{where.format(t)}row {i}, column {j}: pass '
      'allow_negative=True to mixing.from_matrix if that is meant.'
    )
  axes = {'row': (2,), 'column': (1,), 'double': (2, 1), 'any': ()}[stochastic]
  for axis in axes:
    line = 'row' if axis == 2 else 'column'
    off = stack.sum(axis=axis) - 1.0
    bad = np.argwhere(np.abs(off) > atol)
    if len(bad):
      t, i = bad[0]
      raise ValueError(
        f'{name}: {where.format(t)}{line} {i} sums to {1 + off[t, i]:.8g}, off '
        f'by {off[t, i]:.3g}: divide each {line} by its sum, or use a rule '
        'of jaxdl.mixing.WEIGHT_RULES.'
      )
  return stack.reshape(np.shape(matrix))


def is_doubly_stochastic(matrix: np.ndarray, *, atol: float = 1e-9) -> bool:
  """Whether all entries are >= 0 and all rows and columns sum to one.

  Args:
    matrix: [N, N] or [T, N, N].
    atol: tolerance.

  Returns:
    True if mixing keeps the mean over clients.

  Example:
    >>> is_doubly_stochastic([[0.5, 0.5], [1.0, 0.0]])
    False
  """
  try:
    check_stochastic(matrix, stochastic='double', atol=atol)
  except ValueError:
    return False
  return True


def consensus_factor(matrix: np.ndarray) -> float:
  """Largest singular value of W - J, J the uniform average.

  One step of a doubly stochastic W shrinks the root-mean-square distance to
  the mean at least by this factor (ρ).

  Args:
    matrix: [N, N], rows summing to one.

  Returns:
    ρ >= 0.

  Raises:
    ValueError: if the matrix is not square or not finite.

  Example:
    >>> round(consensus_factor([[0.75, 0.25], [0.25, 0.75]]), 12)
    0.5
  """
  w = _one(matrix)
  return float(np.linalg.norm(w - 1 / len(w), 2))


def spectral_gap(matrix: np.ndarray) -> float:
  """One minus the consensus factor.

  Args:
    matrix: [N, N], rows summing to one.

  Returns:
    1 - ρ.

  Example:
    >>> round(spectral_gap(np.array([[0.75, 0.25], [0.25, 0.75]])), 6)
    0.5
  """
  return 1.0 - consensus_factor(matrix)


def second_eigenvalue(matrix: np.ndarray) -> float:
  """Modulus of the second largest eigenvalue: the asymptotic rate.

  Equals the consensus factor for symmetric matrices; for others it is smaller
  or equal and tells about many rounds, not about one.

  Args:
    matrix: [N, N], rows summing to one.

  Returns:
    |λ₂| in modulus order; 0 for a single client.

  Example:
    >>> round(second_eigenvalue(np.array([[0.75, 0.25], [0.25, 0.75]])), 6)
    0.5
  """
  w = _one(matrix)
  if len(w) == 1:
    return 0.0
  return float(np.sort(np.abs(np.linalg.eigvals(w)))[-2])


def smallest_eigenvalue(matrix: np.ndarray) -> float:
  """Smallest eigenvalue of the symmetric part of W.

  Args:
    matrix: [N, N]; D² and EXTRA need a symmetric one above -1/3 and -1.

  Returns:
    λ_N.

  Example:
    >>> round(smallest_eigenvalue(np.array([[0.25, 0.75], [0.75, 0.25]])), 6)
    -0.5
  """
  w = _one(matrix)
  return float(np.linalg.eigvalsh((w + w.T) / 2)[0])


def mean_square_factor(matrices: np.ndarray) -> float:
  """Worst-case expected shrinkage of the squared distance to consensus.

  Args:
    matrices: [T, N, N], equally likely draws of a random W (or [N, N]); all
      draws of a finite family give the exact value, samples an estimate.

  Returns:
    max over zero-mean x of E‖(W - J)x‖² / ‖x‖²; `1 - p` in the literature.
  """
  stack = finite_stack(matrices, 'matrices')
  n = stack.shape[1]
  diff = (stack - 1 / n) @ (np.eye(n) - 1 / n)
  second = np.einsum('tki,tkj->ij', diff, diff) / len(stack)
  return float(np.linalg.eigvalsh(second)[-1])


def mixing_time(
  matrices: np.ndarray, *, tolerance: float = 1e-6, max_rounds: int = 100_000
) -> int:
  """Rounds until any start is within a relative distance of consensus.

  Args:
    matrices: [N, N], or the period [T, N, N] of a schedule; doubly stochastic.
    tolerance: ratio of the distances to the mean, after and before.
    max_rounds: gives up beyond.

  Returns:
    Smallest t with ‖W_t ⋯ W_1 - J‖₂ <= tolerance.

  Raises:
    ValueError: if that does not happen within `max_rounds`.

  Example:
    >>> mixing_time([[0.75, 0.25], [0.25, 0.75]], tolerance=0.01)
    7
  """
  stack = finite_stack(matrices, 'matrices')
  n = stack.shape[1]
  product = np.eye(n) - 1 / n
  for t in range(max_rounds + 1):
    # The Frobenius norm brackets the spectral one and is far cheaper.
    size = np.linalg.norm(product)
    if size > 1e100:
      break
    if size <= tolerance or (
      size <= tolerance * n**0.5 and np.linalg.norm(product, 2) <= tolerance
    ):
      return t
    product = stack[t % len(stack)] @ product
  raise ValueError(
    f'no consensus within max_rounds={max_rounds}: the graph may be '
    'disconnected or W not doubly stochastic.'
  )


def stationary_distribution(matrix: np.ndarray) -> np.ndarray:
  """Share that each client has in the limit of many rounds.

  Args:
    matrix: [N, N], rows summing to one, of a connected aperiodic graph.

  Returns:
    float64[N], positive, sums to one; uniform for doubly stochastic W and
    proportional to degree + 1 for uniform neighbor weights.

  Example:
    >>> matrix = np.array([[0.5, 0.5], [0.25, 0.75]])
    >>> stationary_distribution(matrix).round(6).tolist()
    [0.333333, 0.666667]
  """
  w = check_stochastic(matrix)
  n = len(w)
  system = np.concatenate([w.T - np.eye(n), np.ones((1, n))])
  target = np.concatenate([np.zeros(n), [1.0]])
  return np.linalg.lstsq(system, target, rcond=None)[0]
