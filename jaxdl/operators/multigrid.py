# SPDX-License-Identifier: Apache-2.0
"""Textbook multigrid written as the parameters of a V-cycle (`v_cycle`).

The operator is A = -Laplace + 1 on the periodic unit square, by five points, n
per axis. Weights are float64 under `jax.enable_x64`.

Source: Briggs, Henson & McCormick 2000, A Multigrid Tutorial; Bramble, Pasciak
& Xu 1990 for the additive kind.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxdl.core import checks
from jaxdl.networks import functional
from jaxdl.operators import _v_cycle as v_cycles


def laplacian(n: int) -> dict[str, Any]:
  """The stencil of A.

  Args:
    n: points per axis.

  Returns:
    {'kernel': f[3, 3, 1, 1]}.

  Example:
    >>> laplacian(2)['kernel'][1, :, 0, 0].tolist()
    [-4.0, 17.0, -4.0]
  """
  cross = np.array([[0, -1, 0], [-1, 4, -1], [0, -1, 0]], np.float64) * n**2
  cross[1, 1] += 1
  return _stencil(cross)


def additive(n: int, num_levels: int) -> list[dict[str, Any]]:
  """The multilevel preconditioner of Bramble, Pasciak and Xu.

  Args:
    n: points per axis.
    num_levels: levels.

  Returns:
    Parameters of a V-cycle that is the sum over levels of P S R, S the inverse
    diagonal: one smoothing step per level, no coarse iterate (Pi = 0).
  """
  return [
    {'pre': [_jacobi(n >> l, 1.0)], 'post': [], **_transfers()}
    for l in range(num_levels)
  ]


def cycle(n: int, sweeps: int, *, coarsest: int = 4) -> list[dict[str, Any]]:
  """The V-cycle of textbooks, for `transfer='residual'`.

  Args:
    n: points per axis.
    sweeps: damped Jacobi steps before and after the coarser grids.
    coarsest: the grid on which 200 steps solve.

  Returns:
    Parameters of a V-cycle.
  """
  levels = []
  while n > coarsest:
    step = _jacobi(n, 0.8)
    level = {'pre': [step] * sweeps, 'post': [step] * sweeps}
    levels.append(level | _transfers() | {'A': laplacian(n)})
    n //= 2
  levels.append({'pre': [_jacobi(n, 0.8)] * 200, 'post': []})
  return levels


def condition_numbers(n: int, num_levels: int) -> tuple[float, float]:
  """Conditions of A and of A with the additive preconditioner B.

  Args:
    n: points per axis.
    num_levels: levels of B.

  Returns:
    (cond(A), cond(B A)), the latter from the symmetric L^T A L, B = L L^T.

  Raises:
    ValueError: if B is not symmetric.
  """
  with jax.enable_x64(True):
    params = additive(n, num_levels)
    eye = jnp.eye(n * n).reshape(n * n, n, n, 1)
    b = jax.jit(lambda p, f: v_cycles.v_cycle(p, f, padding='circular'))(
      params, eye
    )
    a = _apply(eye, laplacian(n)['kernel'])
    a, b = (np.asarray(x).reshape(n * n, n * n).T for x in (a, b))
  if np.abs(b - b.T).max() > 1e-14 * np.abs(b).max():
    raise ValueError('the additive preconditioner is not symmetric.')
  root = np.linalg.cholesky(b)
  both = np.linalg.eigvalsh(root.T @ a @ root)
  alone = np.linalg.eigvalsh(a)
  return float(alone[-1] / alone[0]), float(both[-1] / both[0])


def error_factor(n: int, sweeps: int, *, num_cycles: int = 12) -> float:
  """By how much the last of some V-cycles reduces a random error.

  Args:
    n: points per axis.
    sweeps: see `cycle`.
    num_cycles: cycles.

  Returns:
    The ratio of Euclidean norms.

  Raises:
    ValueError: if there are fewer than two cycles.
  """
  checks.integer(num_cycles, name='num_cycles', low=2)
  with jax.enable_x64(True):
    params = cycle(n, sweeps)
    rng = np.random.default_rng(0)
    e = jnp.asarray(rng.normal(size=(1, n, n, 1)))
    sizes = []
    # Not compiled: the coarsest level alone is 200 unrolled steps.
    for _ in range(num_cycles):
      residual = _apply(e, laplacian(n)['kernel'])
      e = e - v_cycles.v_cycle(
        params, residual, padding='circular', transfer='residual'
      )
      sizes.append(float(jnp.linalg.norm(e)))
  return sizes[-1] / sizes[-2]


@jax.jit
def _apply(f, kernel):
  return functional.convolve(f, kernel, width=1, padding='circular')


def _stencil(values):
  return {'kernel': jnp.asarray(values)[..., None, None]}


def _jacobi(n, damping):
  """S = damping / diag(A), with the A of the same grid."""
  delta = np.outer([0, 1, 0], [0, 1, 0]) * (damping / (4 * n**2 + 1))
  return {'S': _stencil(delta), 'A': laplacian(n)}


def _transfers():
  """Full weighting and bilinear interpolation, centered on fine cell 2 i."""
  return {
    'R': _stencil(np.outer([1, 2, 1], [1, 2, 1]) / 16),
    'P': _stencil(np.outer([0.5, 1, 0.5, 0], [0.5, 1, 0.5, 0])),
    'Pi': _stencil(np.zeros((3, 3))),
  }
