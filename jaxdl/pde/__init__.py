# SPDX-License-Identifier: Apache-2.0
"""Partial differential equations: random functions, solvers, and sets of both.

Random functions. `grf_dense` draws a Gaussian field from a kernel at any
points; `grf_periodic`, `grf_neumann` and `grf_dirichlet` draw fields with
covariance s^2 (-Lap + tau^2)^(-alpha); `function_space` names the spaces of
input functions (kernels, Karhunen-Loeve, Chebyshev, Legendre, power series).

Solvers. Pure functions of one sample that jit, vmap and differentiate, in
float32 or float64. Values are checked eagerly on concrete arrays and through
`checkify.debug_check` on traced ones.

| function | equation | order |
|---|---|---|
| `solve_antiderivative` | s' = u | 2 |
| `solve_nonlinear_ode`, `solve_pendulum`, `solve_ode` | s' = f(s, u) | 4 |
| `solve_stochastic_ode` | dy = k(t) y dt | 2 |
| `legendre_transform` | J_n, integral of P_n f | exact rule |
| `solve_caputo` | fractional derivative | 2 - a |
| `solve_advection`, `solve_advection_case` | s_t + a(x) s_x = 0 | 2 |
| `solve_advection_diffusion` | s_t + s_x = D s_xx | 2 |
| `solve_reaction_diffusion`, `solve_diffusion_reaction` | semilinear | 2 |
| `solve_burgers` | u_t + (u^2/2)_x = nu u_xx | spectral, 4 |
| `solve_navier_stokes` | 2-D vorticity | spectral, 1 or 4 |
| `solve_poisson` | -Lap(u) + c u = f | 2 or spectral |
| `solve_elliptic_1d` | -(exp(b) s')' = f | 2 |
| `solve_darcy` | -div(a grad u) = f | 2 |
| `solve_helmholtz` | -Lap(u) - k(x)^2 u = f | 2 |

`pde.sets` draws, solves and reads whole sets of functions.
"""

from jaxdl.pde import sets
from jaxdl.pde._darcy import (
  FACES,
  PRECONDITIONERS,
  apply_darcy,
  multiscale_coefficient,
  solve_darcy,
  threshold_coefficient,
)
from jaxdl.pde._elliptic import BOUNDARIES, solve_elliptic_1d, solve_poisson
from jaxdl.pde._grid import fourier_resample, interpolate
from jaxdl.pde._helmholtz import solve_helmholtz
from jaxdl.pde._ode import (
  solve_antiderivative,
  solve_nonlinear_ode,
  solve_ode,
  solve_pendulum,
  solve_stochastic_ode,
  stochastic_ode_moment,
)
from jaxdl.pde._random_fields import (
  SPACES,
  FunctionSpace,
  chebyshev_basis,
  chebyshev_space,
  covariance_factor,
  exponential_kernel,
  function_space,
  grf_dense,
  interpolation_error,
  kl_basis,
  legendre_basis,
  matern_kernel,
  power_series_space,
  rbf_kernel,
  sample_space,
)
from jaxdl.pde._reaction import (
  solve_diffusion_reaction,
  solve_reaction_diffusion,
)
from jaxdl.pde._spectral import (
  ETDRK4,
  etdrk4_coefficients,
  etdrk4_step,
  navier_stokes_forcing,
  solve_burgers,
  solve_navier_stokes,
)
from jaxdl.pde._spectral_fields import grf_dirichlet, grf_neumann, grf_periodic
from jaxdl.pde._transforms import (
  caputo_legendre_basis,
  caputo_power,
  legendre_transform,
  quadrature,
  solve_caputo,
)
from jaxdl.pde._transport import (
  ADVECTION_CASES,
  solve_advection,
  solve_advection_case,
  solve_advection_diffusion,
)

__all__ = [
  'ADVECTION_CASES',
  'BOUNDARIES',
  'ETDRK4',
  'FACES',
  'FunctionSpace',
  'PRECONDITIONERS',
  'SPACES',
  'apply_darcy',
  'caputo_legendre_basis',
  'caputo_power',
  'chebyshev_basis',
  'chebyshev_space',
  'covariance_factor',
  'etdrk4_coefficients',
  'etdrk4_step',
  'exponential_kernel',
  'fourier_resample',
  'function_space',
  'grf_dense',
  'grf_dirichlet',
  'grf_neumann',
  'grf_periodic',
  'interpolate',
  'interpolation_error',
  'kl_basis',
  'legendre_basis',
  'legendre_transform',
  'matern_kernel',
  'multiscale_coefficient',
  'navier_stokes_forcing',
  'power_series_space',
  'quadrature',
  'rbf_kernel',
  'sample_space',
  'sets',
  'solve_advection',
  'solve_advection_case',
  'solve_advection_diffusion',
  'solve_antiderivative',
  'solve_burgers',
  'solve_caputo',
  'solve_darcy',
  'solve_diffusion_reaction',
  'solve_elliptic_1d',
  'solve_helmholtz',
  'solve_navier_stokes',
  'solve_nonlinear_ode',
  'solve_ode',
  'solve_pendulum',
  'solve_poisson',
  'solve_reaction_diffusion',
  'solve_stochastic_ode',
  'stochastic_ode_moment',
  'threshold_coefficient',
]
