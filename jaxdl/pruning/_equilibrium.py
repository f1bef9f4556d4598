# SPDX-License-Identifier: Apache-2.0
"""Where a game comes to rest, and whether there is one such place."""

from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np

from jaxdl.core import checks
from jaxdl.pruning import _game

MODES = ('sequential', 'simultaneous', 'projected_gradient')


class Equilibrium(NamedTuple):
  """Where a game came to rest.

  Attributes:
    participations: f[n], s.
    gain: f[], the most that a player could still gain by itself.
    num_rounds: i32[], rounds played.
    converged: bool[], whether nobody moved by more than the tolerance.
  """

  participations: chex.Array
  gain: chex.Array
  num_rounds: chex.Array
  converged: chex.Array


def is_unique(gram: chex.Array, costs: _game.Costs) -> bool:
  """Whether Q is positive definite, so that there is one equilibrium.

  Args:
    gram: f[n, n], concrete.
    costs: β, γ, η, concrete.

  Returns:
    A Python bool. False does not mean that there are several.

  Raises:
    TypeError: if something is traced.
    ValueError: if the matrix is no square or not finite.

  Cost: O(n³) on the host, in float64.

  Example:
    >>> twins = jnp.ones((2, 2))
    >>> [is_unique(twins, Costs(0.5, 0.1, eta)) for eta in (0.9, 2.0)]
    [True, False]
  """
  return _smallest(_host_interactions(gram, costs)) > 0


def is_contraction(gram: chex.Array, costs: _game.Costs) -> chex.Array:
  """Whether best answers contract: η Σ_{j≠i} |G_ij| < 2 β G_ii for all i.

  Then also simultaneous answers converge, and to one equilibrium.

  Args:
    gram: f[n, n].
    costs: β, γ, η.

  Returns:
    bool[].

  Raises:
    ValueError: see `interactions`.

  Example:
    >>> bool(is_contraction(jnp.ones((2, 2)), Costs(0.5, 0.1, 0.9)))
    True
  """
  q = _game.interactions(gram, costs)
  own = jnp.diagonal(q)
  return jnp.all(jnp.sum(jnp.abs(q), axis=1) - jnp.abs(own) < own)


def solve_equilibrium(
  benefits: chex.Array,
  gram: chex.Array,
  costs: _game.Costs,
  *,
  mode: str = 'sequential',
  start: chex.Array | None = None,
  max_rounds: int = 1000,
  tolerance: chex.Numeric = 1e-6,
) -> Equilibrium:
  """Plays until nobody moves.

  Args:
    benefits: f[n], b.
    gram: f[n, n].
    costs: β, γ, η.
    mode: 'sequential' answers one player after the other, which always ends,
      as the game has a potential; 'simultaneous' all at once, which may go
      round in a circle of two unless `is_contraction`; 'projected_gradient'
      climbs the potential by steps of one over the largest row sum of |Q|
      (static).
    start: f[n] in [0, 1]; all take part in full if None.
    max_rounds: rounds at most (static).
    tolerance: largest move of a player that counts as none.

  Returns:
    The equilibrium; which of several depends on the start.

  Raises:
    ValueError: if the mode is unknown, or see `utility`.

  Cost: O(n²) a round.

  Example:
    >>> costs = Costs(l2=0.5, l1=0.2, competition=1.0)
    >>> gram = jnp.array([[1.0, 0.5], [0.5, 1.0]])
    >>> found = solve_equilibrium(jnp.array([0.9, 0.8]), gram, costs)
    >>> found.participations.round(4)
    Array([0.5333, 0.3333], dtype=float32)

  Source: Shah and Khan 2025 (https://arxiv.org/abs/2512.22106), section 3; the
    convergence is that of potential games, Monderer and Shapley 1996
    (https://doi.org/10.1006/game.1996.0044).
  """
  checks.choice(mode, MODES, name='mode')
  checks.integer(max_rounds, name='max_rounds', low=1)
  checks.number(tolerance, name='tolerance', low=0.0)
  benefits = _game.numbers_of(benefits, name='benefits')
  start = jnp.ones_like(benefits) if start is None else start
  s, b, q = _game.checked(start, benefits, gram, costs)
  if not s.size:  # Nobody plays.
    none = jnp.zeros((), q.dtype)
    return Equilibrium(s, none, jnp.zeros((), jnp.int32), jnp.array(True))
  slope = lambda s: b - costs.l1 - _game.mixed(q, s)

  def one_by_one(s):
    def answer(i, s):
      own = q[i, i]
      drive = b[i] - costs.l1 - _game.mixed(q[i], s) + own * s[i]
      return s.at[i].set(_game.answer(drive, own))

    return jax.lax.fori_loop(0, s.shape[0], answer, s)

  steepest = jnp.max(jnp.sum(jnp.abs(q), axis=1), initial=0)
  # Without curvature one step reaches a corner.
  rate = 1 / jnp.where(steepest > 0, steepest, jnp.finfo(q.dtype).tiny)
  play = {
    'sequential': one_by_one,
    'simultaneous': lambda s: _game.answers(s, b, q, costs),
    'projected_gradient': lambda s: jnp.clip(s + rate * slope(s), 0, 1),
  }[mode]

  def body(state):
    s, count, _ = state
    moved = play(s)
    change = jnp.max(jnp.abs(moved - s), initial=0)
    return moved, count + 1, change <= tolerance

  def unsettled(state):
    _, count, settled = state
    return (count < max_rounds) & ~settled

  begin = (s, jnp.zeros((), jnp.int32), jnp.zeros((), bool))
  s, count, settled = jax.lax.while_loop(unsettled, body, begin)
  gain = jnp.max(_game.gains(s, b, q, costs), initial=0)
  return Equilibrium(s, gain, count, settled)


def maximize_potential(
  benefits: chex.Array, gram: chex.Array, costs: _game.Costs
) -> np.ndarray:
  """The only equilibrium, as the solution of a quadratic program.

  Max Φ on the box is a bounded least-squares problem, which SciPy's active sets
  solve exactly.

  Args:
    benefits: f[n], b, concrete.
    gram: f[n, n], concrete.
    costs: β, γ, η, concrete.

  Returns:
    float64[n], s.

  Raises:
    ValueError: if Q is not positive definite, see `is_unique`, shapes differ
      or a number is not finite.
    TypeError: if something is traced.

  Cost: O(n³) on the host, in float64.

  Example:
    >>> costs = Costs(l2=0.5, l1=0.2, competition=1.0)
    >>> gram = [[1.0, 0.5], [0.5, 1.0]]
    >>> maximize_potential(np.array([0.9, 0.5]), np.array(gram), costs).round(6)
    array([0.7, 0. ])
  """
  from scipy import linalg, optimize

  b = _finite(benefits, name='benefits')
  q = _host_interactions(gram, costs)
  if b.shape != q.shape[:1]:
    raise ValueError(
      f'benefits must have one entry per player, shape {q.shape[:1]}; got '
      f'{b.shape}.'
    )
  smallest = _smallest(q)
  if not smallest > 0:
    raise ValueError(
      'gram and costs may leave several equilibria (smallest eigenvalue of Q '
      f'{smallest:.3g}, must be positive): raise l2, lower competition, or use '
      "solve_equilibrium, mode='sequential'."
    )
  root = linalg.cholesky(q)
  target = linalg.solve_triangular(root, b - float(costs.l1), trans='T')
  found = optimize.lsq_linear(
    root, target, bounds=(0.0, 1.0), method='bvls', tol=1e-14
  )
  return np.clip(found.x, 0.0, 1.0)


def _host_interactions(gram, costs):
  """Q in float64."""
  _game.check_costs(costs)
  gram = _finite(gram, name='gram')
  _game.square(gram)
  own = np.diag(np.diag(gram))
  values = [
    float(checks.host_array(v, name=k)) for k, v in costs._asdict().items()
  ]
  return 2 * values[0] * own + values[2] * (gram - own)


def _finite(value, *, name):
  """Numbers in float64."""
  found = np.float64(checks.host_array(value, name=name))
  broken = int((~np.isfinite(found)).sum())
  if broken:
    raise ValueError(
      f'{name} must be finite; {broken} of {found.size} numbers are not.'
    )
  return found


def _smallest(q):
  """Smallest eigenvalue, zero if it is no more than rounding."""
  if not q.size:
    return np.inf
  values = np.linalg.eigvalsh((q + q.T) / 2)
  rounding = 4 * len(q) * np.finfo(np.float64).eps * np.abs(values).max()
  return float(values[0]) if abs(values[0]) > rounding else 0.0
