# SPDX-License-Identifier: Apache-2.0
"""The participation game of a layer: who gains by how much of taking part.

Player i is a group of parameters θ_i that takes part by s_i in [0, 1]; s_i θ_i
is what the network uses. Its utility is

    U_i(s) = b_i s_i - β |θ_i|² s_i² - γ s_i - η s_i Σ_{j≠i} s_j <θ_i, θ_j>,

b_i being what it brings, held fixed. A player whose best answer is zero leaves.
Only players of one layer compete, as only groups of equal form have a product;
so a game is a layer, given by b f[n] and the Gram matrix f[n, n].

All players climb one function, the potential

    Φ(s) = Σ_i (b_i - γ) s_i - s' Q s / 2,   Q = 2 β diag(G) + η offdiag(G),

which makes equilibria its stationary points on the box. A positive definite Q
leaves one of them.
"""

from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np

from jaxdl.core import checks

MODES = ('sequential', 'simultaneous', 'projected_gradient')


class Costs(NamedTuple):
  """What taking part costs; numbers that may be traced.

  Attributes:
    l2: β >= 0, of the squared norm of what takes part.
    l1: γ >= 0, of taking part at all.
    competition: η >= 0, of the overlap with others.
  """

  l2: chex.Numeric = 0.001
  l1: chex.Numeric = 0.1
  competition: chex.Numeric = 0.0


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


def check_costs(costs: Costs) -> None:
  """Raises ValueError if a cost is known and negative."""
  for name, value in costs._asdict().items():
    checks.number(value, name=name, low=0.0)


def interactions(gram: chex.Array, costs: Costs) -> chex.Array:
  """The matrix Q = 2 β diag(G) + η offdiag(G) of the potential.

  Args:
    gram: f[n, n], products <θ_i, θ_j>.
    costs: β, γ, η.

  Returns:
    f[n, n].

  Example:
    >>> interactions(jnp.full((2, 2), 0.5), Costs(l2=1.0, competition=3.0))
    Array([[1. , 1.5],
           [1.5, 1. ]], dtype=float32)
  """
  check_costs(costs)
  gram = _square(gram)
  own = jnp.diag(jnp.diagonal(gram))
  return 2 * costs.l2 * own + costs.competition * (gram - own)


def utility(
  participations: chex.Array,
  benefits: chex.Array,
  gram: chex.Array,
  costs: Costs,
) -> chex.Array:
  """What each player gets, U_i(s).

  Args:
    participations: f[n] in [0, 1], s.
    benefits: f[n], b.
    gram: f[n, n], products <θ_i, θ_j>.
    costs: β, γ, η.

  Returns:
    f[n].

  Raises:
    ValueError: if shapes differ, a known participation is outside [0, 1] or a
      cost is negative.

  Example:
    >>> costs = Costs(l2=0.5, l1=0.25)
    >>> utility(jnp.array([1.0]), jnp.array([1.0]), jnp.eye(1), costs)
    Array([0.25], dtype=float32)

  Source: Shah and Khan 2025 (https://arxiv.org/abs/2512.22106), section 3.
  """
  s, b, q = _checked(participations, benefits, gram, costs)
  curvature = jnp.diagonal(q)
  others = _mixed(q, s) - curvature * s
  return s * (b - costs.l1 - curvature * s / 2 - others)


def utility_gradient(
  participations: chex.Array,
  benefits: chex.Array,
  gram: chex.Array,
  costs: Costs,
) -> chex.Array:
  """How its utility grows with each player's own part, ∂U_i / ∂s_i.

  At zero it is the slope to the right, γ included, so that an ascent that is
  clipped at zero leaves a player there unless it gains by coming back.

  Args:
    participations: f[n] in [0, 1], s.
    benefits: f[n], b.
    gram: f[n, n].
    costs: β, γ, η.

  Returns:
    f[n]; the gradient of the potential as well.

  Raises:
    ValueError: see `utility`.

  Example:
    >>> costs = Costs(l2=0.5, l1=0.2)
    >>> at = jnp.array([0.0, 0.5])
    >>> utility_gradient(at, jnp.array([0.1, 0.9]), jnp.eye(2), costs)
    Array([-0.1       ,  0.19999999], dtype=float32)

  Source: Shah and Khan 2025 (https://arxiv.org/abs/2512.22106), section 3.
  """
  s, b, q = _checked(participations, benefits, gram, costs)
  return b - costs.l1 - _mixed(q, s)


def best_response(
  participations: chex.Array,
  benefits: chex.Array,
  gram: chex.Array,
  costs: Costs,
) -> chex.Array:
  """The best answer of each player to what all others do.

  Without a price on its norm (β = 0 or θ_i = 0) a player takes part in full or
  not at all.

  Args:
    participations: f[n] in [0, 1], s; of them a player reads the others'.
    benefits: f[n], b.
    gram: f[n, n].
    costs: β, γ, η.

  Returns:
    f[n]; NaN where the benefit is.

  Raises:
    ValueError: see `utility`.

  Example:
    >>> costs = Costs(l2=0.5, l1=0.2, competition=1.0)
    >>> gram = jnp.array([[1.0, 0.5], [0.5, 1.0]])
    >>> best_response(jnp.array([0.7, 0.0]), jnp.array([0.9, 0.5]), gram, costs)
    Array([0.7, 0. ], dtype=float32)

  Source: Shah and Khan 2025 (https://arxiv.org/abs/2512.22106), section 3.
  """
  s, b, q = _checked(participations, benefits, gram, costs)
  return _answers(s, b, q, costs)


def unilateral_gain(
  participations: chex.Array,
  benefits: chex.Array,
  gram: chex.Array,
  costs: Costs,
) -> chex.Array:
  """What each player would gain by its best answer, the others as they are.

  Args:
    participations: f[n] in [0, 1], s.
    benefits: f[n], b.
    gram: f[n, n].
    costs: β, γ, η.

  Returns:
    f[n] >= 0 but for rounding; zero throughout at an equilibrium alone.

  Raises:
    ValueError: see `utility`.

  Example:
    >>> costs = Costs(l2=0.5, l1=0.2)
    >>> at = jnp.array([0.7, 0.0])
    >>> unilateral_gain(at, jnp.array([0.9, 0.5]), jnp.eye(2), costs).round(3)
    Array([0.   , 0.045], dtype=float32)
  """
  s, b, q = _checked(participations, benefits, gram, costs)
  return _gains(s, b, q, costs)


def potential(
  participations: chex.Array,
  benefits: chex.Array,
  gram: chex.Array,
  costs: Costs,
) -> chex.Array:
  """The function Φ(s) that every player climbs by itself.

  Args:
    participations: f[n] in [0, 1], s.
    benefits: f[n], b.
    gram: f[n, n].
    costs: β, γ, η.

  Returns:
    f[].

  Raises:
    ValueError: see `utility`.

  Example:
    >>> costs = Costs(l2=0.5, l1=0.2)
    >>> s, b = jnp.array([1.0, 0.5]), jnp.array([0.9, 0.7])
    >>> round(float(potential(s, b, jnp.eye(2), costs)), 4)
    0.325
  """
  s, b, q = _checked(participations, benefits, gram, costs)
  return jnp.sum((b - costs.l1) * s) - jnp.sum(s * _mixed(q, s)) / 2


def is_unique(gram: chex.Array, costs: Costs) -> bool:
  """Whether Q is positive definite, so that there is one equilibrium.

  Args:
    gram: f[n, n], concrete.
    costs: β, γ, η, concrete.

  Returns:
    A Python bool. False does not mean that there are several.

  Raises:
    TypeError: if something is traced.
    ValueError: if the matrix is no square.

  Cost: O(n³) on the host, in float64.

  Example:
    >>> twins = jnp.ones((2, 2))
    >>> [is_unique(twins, Costs(0.5, 0.1, eta)) for eta in (0.9, 2.0)]
    [True, False]
  """
  return _smallest(_host_interactions(gram, costs)) > 0


def is_contraction(gram: chex.Array, costs: Costs) -> chex.Array:
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
  q = interactions(gram, costs)
  own = jnp.diagonal(q)
  return jnp.all(jnp.sum(jnp.abs(q), axis=1) - jnp.abs(own) < own)


def dominated(
  benefits: chex.Array, gram: chex.Array, costs: Costs
) -> chex.Array:
  """Players who had better leave whatever the others do.

  That is b_i <= γ - η Σ_{j≠i} max(0, -G_ij).

  Args:
    benefits: f[n], b.
    gram: f[n, n].
    costs: β, γ, η.

  Returns:
    bool[n].

  Raises:
    ValueError: see `utility`.

  Example:
    >>> dominated(jnp.array([0.3, 0.1]), jnp.eye(2), Costs(l1=0.2)).tolist()
    [False, True]
  """
  _, b, q = _checked(jnp.zeros_like(benefits), benefits, gram, costs)
  off = q - jnp.diag(jnp.diagonal(q))
  return b <= costs.l1 - jnp.sum(jnp.maximum(0, -off), axis=1)


def solve_equilibrium(
  benefits: chex.Array,
  gram: chex.Array,
  costs: Costs,
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
  start = jnp.ones_like(benefits) if start is None else start
  s, b, q = _checked(start, benefits, gram, costs)
  slope = lambda s: b - costs.l1 - _mixed(q, s)

  def one_by_one(s):
    def answer(i, s):
      own = q[i, i]
      drive = b[i] - costs.l1 - _mixed(q[i], s) + own * s[i]
      return s.at[i].set(_answer(drive, own))

    return jax.lax.fori_loop(0, s.shape[0], answer, s)

  steepest = jnp.max(jnp.sum(jnp.abs(q), axis=1), initial=0)
  # Without curvature one step reaches a corner.
  rate = 1 / jnp.where(steepest > 0, steepest, jnp.finfo(q.dtype).tiny)
  play = {
    'sequential': one_by_one,
    'simultaneous': lambda s: _answers(s, b, q, costs),
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
  gain = jnp.max(_gains(s, b, q, costs), initial=0)
  return Equilibrium(s, gain, count, settled)


def maximize_potential(
  benefits: chex.Array, gram: chex.Array, costs: Costs
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
    ValueError: if Q is not positive definite, see `is_unique`, or shapes
      differ.
    TypeError: if something is traced.

  Cost: O(n³) on the host, in float64.

  Example:
    >>> costs = Costs(l2=0.5, l1=0.2, competition=1.0)
    >>> gram = [[1.0, 0.5], [0.5, 1.0]]
    >>> maximize_potential(np.array([0.9, 0.5]), np.array(gram), costs).round(6)
    array([0.7, 0. ])
  """
  from scipy import linalg, optimize

  b = np.float64(checks.host_array(benefits, name='benefits'))
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


def _square(gram):
  gram = jnp.asarray(gram)
  if gram.ndim != 2 or gram.shape[0] != gram.shape[1]:
    raise ValueError(
      f'gram must be square, f[n, n], of the players of one layer; got shape '
      f'{gram.shape}: players of different layers do not compete.'
    )
  return gram


def _checked(participations, benefits, gram, costs):
  """s, b and Q in one dtype."""
  q = interactions(gram, costs)
  for name, value in (
    ('participations', participations),
    ('benefits', benefits),
  ):
    if jnp.shape(value) != q.shape[:1]:
      raise ValueError(
        f'{name} must have one entry per player, shape {q.shape[:1]}; got '
        f'{jnp.shape(value)}.'
      )
  check_participations(participations)
  dtype = jnp.result_type(participations, benefits, q, jnp.float32)
  return tuple(
    jnp.asarray(x).astype(dtype) for x in (participations, benefits, q)
  )


def check_participations(
  value: chex.Array, *, name: str = 'participations'
) -> None:
  """Raises ValueError if known participations are outside [0, 1]."""
  if isinstance(value, jax.core.Tracer):
    return
  values = np.asarray(value)
  bad = values[~((values >= 0) & (values <= 1))]
  if bad.size:
    raise ValueError(f'{name} must lie in [0, 1]; got {bad.flat[0]}.')


def _mixed(q, s):
  return jnp.matmul(q, s, precision='highest')


def _answer(drive, curvature):
  curved = curvature > 0
  inside = drive / jnp.where(curved, curvature, 1)
  corner = jnp.where(jnp.isnan(drive), drive, drive > 0)
  return jnp.where(curved, jnp.clip(inside, 0, 1), corner)


def _answers(s, b, q, costs):
  own = jnp.diagonal(q)
  return _answer(b - costs.l1 - _mixed(q, s) + own * s, own)


def _gains(s, b, q, costs):
  own = jnp.diagonal(q)
  drive = b - costs.l1 - _mixed(q, s) + own * s
  best = _answer(drive, own)
  # U(best) - U(s), without the difference of two large numbers.
  return (best - s) * (drive - own * (best + s) / 2)


def _host_interactions(gram, costs):
  """Q in float64."""
  check_costs(costs)
  gram = np.float64(_square(checks.host_array(gram, name='gram')))
  own = np.diag(np.diag(gram))
  values = [
    float(checks.host_array(v, name=k)) for k, v in costs._asdict().items()
  ]
  return 2 * values[0] * own + values[2] * (gram - own)


def _smallest(q):
  """Smallest eigenvalue, zero if it is no more than rounding."""
  if not q.size:
    return np.inf
  values = np.linalg.eigvalsh((q + q.T) / 2)
  rounding = 4 * len(q) * np.finfo(np.float64).eps * np.abs(values).max()
  return float(values[0]) if abs(values[0]) > rounding else 0.0
