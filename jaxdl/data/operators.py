# SPDX-License-Identifier: Apache-2.0
"""Data for operator learning: random functions, solvers, sets and files.

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

Sets. `make_operator_dataset(problem, ...)` draws and solves any of `PROBLEMS`
in the layouts 'aligned', 'unaligned' (DeepONet) and 'grid' (FNO, MgNO);
`problem_options(problem)` lists what can be set.

Files. `load_operator_mat`, `load_mat` (v5 and v7.3), `load_deeponet_npz`,
`load_npz`, `load_npy` and `load_pdebench` read local files; broken ones raise
`FileError` with one sentence.
"""

from jaxdl.data._grf import (
  SPACES,
  FunctionSpace,
  chebyshev_basis,
  chebyshev_space,
  covariance_factor,
  exponential_kernel,
  function_space,
  grf_dense,
  kl_basis,
  legendre_basis,
  matern_kernel,
  power_series_space,
  rbf_kernel,
  sample_space,
)
from jaxdl.data._grf_spectral import grf_dirichlet, grf_neumann, grf_periodic
from jaxdl.data._operator_files import (
  FileError,
  is_hdf5,
  load_mat,
  load_npy,
  load_npz,
  mat_shapes,
)
from jaxdl.data._operator_formats import (
  FILE_FORMATS,
  FileFormat,
  PDEBenchArrays,
  load_deeponet_npz,
  load_operator_mat,
  load_pdebench,
)
from jaxdl.data._operator_recipes import Recipe
from jaxdl.data._operator_sets import (
  LAYOUTS,
  PROBLEMS,
  OperatorArrays,
  OperatorDataset,
  make_operator_dataset,
  problem_options,
)
from jaxdl.data._pde_darcy import (
  FACES,
  PRECONDITIONERS,
  apply_darcy,
  multiscale_coefficient,
  solve_darcy,
  threshold_coefficient,
)
from jaxdl.data._pde_elliptic import (
  BOUNDARIES,
  solve_elliptic_1d,
  solve_poisson,
)
from jaxdl.data._pde_grid import fourier_resample, interpolate
from jaxdl.data._pde_helmholtz import solve_helmholtz
from jaxdl.data._pde_ode import (
  solve_antiderivative,
  solve_nonlinear_ode,
  solve_ode,
  solve_pendulum,
  solve_stochastic_ode,
  stochastic_ode_moment,
)
from jaxdl.data._pde_reaction import (
  solve_diffusion_reaction,
  solve_reaction_diffusion,
)
from jaxdl.data._pde_spectral import (
  ETDRK4,
  etdrk4_coefficients,
  etdrk4_step,
  navier_stokes_forcing,
  solve_burgers,
  solve_navier_stokes,
)
from jaxdl.data._pde_transforms import (
  caputo_legendre_basis,
  caputo_power,
  legendre_transform,
  quadrature,
  solve_caputo,
)
from jaxdl.data._pde_transport import (
  ADVECTION_CASES,
  solve_advection,
  solve_advection_case,
  solve_advection_diffusion,
)

__all__ = [
  'ADVECTION_CASES', 'BOUNDARIES', 'ETDRK4', 'FACES', 'FILE_FORMATS',
  'FileError', 'FileFormat', 'FunctionSpace', 'LAYOUTS', 'OperatorArrays',
  'OperatorDataset', 'PDEBenchArrays', 'PRECONDITIONERS', 'PROBLEMS', 'Recipe',
  'SPACES', 'apply_darcy', 'caputo_legendre_basis', 'caputo_power',
  'chebyshev_basis', 'chebyshev_space', 'covariance_factor',
  'etdrk4_coefficients', 'etdrk4_step', 'exponential_kernel',
  'fourier_resample', 'function_space', 'grf_dense', 'grf_dirichlet',
  'grf_neumann', 'grf_periodic', 'interpolate', 'is_hdf5', 'kl_basis',
  'legendre_basis', 'legendre_transform', 'load_deeponet_npz', 'load_mat',
  'load_npy', 'load_npz', 'load_operator_mat', 'load_pdebench',
  'make_operator_dataset', 'mat_shapes', 'matern_kernel',
  'multiscale_coefficient', 'navier_stokes_forcing', 'power_series_space',
  'problem_options', 'quadrature', 'rbf_kernel', 'sample_space',
  'solve_advection', 'solve_advection_case', 'solve_advection_diffusion',
  'solve_antiderivative', 'solve_burgers', 'solve_caputo', 'solve_darcy',
  'solve_diffusion_reaction', 'solve_elliptic_1d', 'solve_helmholtz',
  'solve_navier_stokes', 'solve_nonlinear_ode', 'solve_ode', 'solve_pendulum',
  'solve_poisson', 'solve_reaction_diffusion', 'solve_stochastic_ode',
  'stochastic_ode_moment', 'threshold_coefficient',
]  # fmt: skip
