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


def check_costs(costs: Costs) -> None:
  """Raises ValueError if a cost is known and negative."""
  if not isinstance(costs, Costs):
    raise TypeError(
      'costs must be pruning.Costs(l2, l1, competition); got '
      f'{checks.described(costs)}.'
    )
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
  gram = square(gram)
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
  s, b, q = checked(participations, benefits, gram, costs)
  curvature = jnp.diagonal(q)
  others = mixed(q, s) - curvature * s
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
  s, b, q = checked(participations, benefits, gram, costs)
  return b - costs.l1 - mixed(q, s)


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
  s, b, q = checked(participations, benefits, gram, costs)
  return answers(s, b, q, costs)


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
  s, b, q = checked(participations, benefits, gram, costs)
  return gains(s, b, q, costs)


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
  s, b, q = checked(participations, benefits, gram, costs)
  return jnp.sum((b - costs.l1) * s) - jnp.sum(s * mixed(q, s)) / 2


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
  benefits = numbers_of(benefits, name='benefits')
  _, b, q = checked(jnp.zeros_like(benefits), benefits, gram, costs)
  off = q - jnp.diag(jnp.diagonal(q))
  return b <= costs.l1 - jnp.sum(jnp.maximum(0, -off), axis=1)


def square(gram):
  """Returns the Gram matrix of one layer, or says what is wrong."""
  gram = numbers_of(gram, name='gram')
  if gram.ndim != 2 or gram.shape[0] != gram.shape[1]:
    raise ValueError(
      f'gram must be square, f[n, n], of the players of one layer; got shape '
      f'{gram.shape}: players of different layers do not compete.'
    )
  return gram


def checked(participations, benefits, gram, costs):
  """s, b and Q in one dtype."""
  q = interactions(gram, costs)
  participations = numbers_of(participations, name='participations')
  benefits = numbers_of(benefits, name='benefits')
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


def numbers_of(value, *, name):
  """An array of real numbers, traced or not; lists become one."""
  if isinstance(value, (jax.Array, jax.core.Tracer)):
    return value
  return jnp.asarray(checks.host_array(value, name=name))


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


def mixed(q, s):
  """Q s, at full precision."""
  return jnp.matmul(q, s, precision='highest')


def answer(drive, curvature):
  """Best response to a drive b - γ - others at a curvature."""
  curved = curvature > 0
  inside = drive / jnp.where(curved, curvature, 1)
  corner = jnp.where(jnp.isnan(drive), drive, drive > 0)
  return jnp.where(curved, jnp.clip(inside, 0, 1), corner)


def answers(s, b, q, costs):
  """Best responses of all players."""
  own = jnp.diagonal(q)
  return answer(b - costs.l1 - mixed(q, s) + own * s, own)


def gains(s, b, q, costs):
  """What best responses would gain."""
  own = jnp.diagonal(q)
  drive = b - costs.l1 - mixed(q, s) + own * s
  best = answer(drive, own)
  # U(best) - U(s), without the difference of two large numbers.
  return (best - s) * (drive - own * (best + s) / 2)
