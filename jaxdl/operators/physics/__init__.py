# SPDX-License-Identifier: Apache-2.0
"""Training operator networks on the equation itself.

- `derivatives` and `mixed_derivative` differentiate a network along its query
  points, in forward mode.
- `diffusion_reaction_residual`, ... are what they should make zero;
  `make_equation` makes one of `EQUATIONS`, named like the problems of
  `pde.sets`, and `DISTANCES` vanish where their solutions do
  (`operators.hard_boundary`).
- `physics_task` minimizes a residual at given points, `collocation_task` at
  points that `draw_points` draws anew in every step.
"""

from jaxdl.operators.physics._derivatives import derivatives, mixed_derivative
from jaxdl.operators.physics._equations import (
  DISTANCES,
  EQUATIONS,
  advection_residual,
  antiderivative_residual,
  burgers_residual,
  diffusion_reaction_residual,
  make_equation,
  nonlinear_ode_residual,
  pendulum_residual,
)
from jaxdl.operators.physics._tasks import (
  collocation_task,
  draw_points,
  physics_task,
)

__all__ = [
  'DISTANCES',
  'EQUATIONS',
  'advection_residual',
  'antiderivative_residual',
  'burgers_residual',
  'collocation_task',
  'derivatives',
  'diffusion_reaction_residual',
  'draw_points',
  'make_equation',
  'mixed_derivative',
  'nonlinear_ode_residual',
  'pendulum_residual',
  'physics_task',
]
