# SPDX-License-Identifier: Apache-2.0
"""Operators defined by ordinary differential equations with random forcing."""

from collections.abc import Callable

import chex
import jax
import jax.numpy as jnp

from jaxdl.core import checks
from jaxdl.pde import _grid as grid


def _forcing(forcing, dt, low):
  forcing = grid.floating(forcing, name='forcing', ndim=1)
  grid.points(forcing, name='forcing', low=low)
  checks.number(dt, name='dt', low=0.0, open_low=True)
  grid.finite(forcing, name='forcing')
  return forcing


def _cumulative_trapezoid(u, dt):
  steps = jnp.cumsum((u[1:] + u[:-1]) * (dt / 2))
  return jnp.concatenate([jnp.zeros_like(u[:1]), steps])


def solve_antiderivative(forcing: chex.Array, *, dt: chex.Numeric) -> jax.Array:
  """Solves s' = u, s(0) = 0 by the cumulative trapezoid rule.

  Args:
    forcing: f[T], `u` on a uniform grid, T >= 2.
    dt: grid spacing, > 0.

  Returns:
    f[T], s on the same grid; error O(dt^2).

  Raises:
    TypeError: if `forcing` is not floating point.
    ValueError: if sizes or values are out of range.

  Example:
    >>> print(solve_antiderivative(jnp.ones(3), dt=0.5))
    [0.  0.5 1. ]

  Source: Lu et al. 2021 (https://arxiv.org/abs/1910.03193), section 4.1.
  """
  forcing = _forcing(forcing, dt, 2)
  return _cumulative_trapezoid(forcing, dt)


def solve_ode(
  rhs: Callable[[jax.Array, jax.Array], jax.Array],
  forcing: chex.Array,
  initial: chex.Array,
  *,
  dt: chex.Numeric,
) -> jax.Array:
  """Solves s' = rhs(s, u(t)) by the classical Runge-Kutta method.

  Half-step values of the forcing come from local cubics, so the method keeps
  its fourth order for smooth u.

  Args:
    rhs: `(s: f[D], u: f[]) -> f[D]`, pure.
    forcing: f[T], `u` on a uniform grid, T >= 4.
    initial: f[D], s at the first point.
    dt: grid spacing, > 0.

  Returns:
    f[T, D], s on the same grid, `initial` first.

  Raises:
    TypeError: if an array is not floating point.
    ValueError: if sizes or values are out of range.

  Cost: 4 (T - 1) calls of `rhs` in one scan.

  Example:
    >>> s = solve_ode(lambda s, u: u - s, jnp.ones(101), jnp.zeros(1), dt=0.01)
    >>> print(s[-1].round(4))  # 1 - exp(-1)
    [0.6321]
  """
  forcing = _forcing(forcing, dt, 4)
  initial = grid.floating(initial, name='initial', ndim=1)
  initial = initial.astype(forcing.dtype)
  dt = jnp.asarray(dt, forcing.dtype)

  def step(carry, u):
    s, lost = carry
    left, middle, right = u
    k1 = rhs(s, left)
    k2 = rhs(s + dt / 2 * k1, middle)
    k3 = rhs(s + dt / 2 * k2, middle)
    k4 = rhs(s + dt * k3, right)
    change = dt / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
    s, lost = grid.accumulate(s, lost, change)
    return (s, lost), s

  inputs = (forcing[:-1], grid.midpoints(forcing), forcing[1:])
  start = (initial, jnp.zeros_like(initial))
  _, states = jax.lax.scan(step, start, inputs, unroll=2)
  states = jnp.concatenate([initial[None], states])
  grid.finite(
    states, name='the ODE solution', hint=': reduce dt or the forcing'
  )
  return states


def solve_nonlinear_ode(
  forcing: chex.Array, *, dt: chex.Numeric, initial: chex.Numeric = 0.0
) -> jax.Array:
  """Solves s' = -s^2 + u.

  Args:
    forcing: f[T], `u` on a uniform grid, T >= 4.
    dt: grid spacing, > 0.
    initial: s(0).

  Returns:
    f[T]; error O(dt^4) for smooth forcing.

  Raises:
    TypeError: if `forcing` is not floating point.
    ValueError: if values are out of range or the solution blows up (it does
      in finite time if u is negative enough).

  Example:
    >>> s = solve_nonlinear_ode(jnp.ones(101), dt=0.01)
    >>> print(round(float(s[-1]), 4))  # tanh(1)
    0.7616

  Source: Lu et al. 2021 (https://arxiv.org/abs/1910.03193), section 4.1.
  """
  start = jnp.reshape(jnp.asarray(initial, jnp.result_type(float)), (1,))
  return solve_ode(lambda s, u: u - s**2, forcing, start, dt=dt)[:, 0]


def solve_pendulum(
  forcing: chex.Array,
  *,
  dt: chex.Numeric,
  stiffness: chex.Numeric = 1.0,
  initial: tuple[float, float] = (0.0, 0.0),
) -> jax.Array:
  """Solves the gravity pendulum s1' = s2, s2' = -k sin(s1) + u.

  Args:
    forcing: f[T], `u` on a uniform grid, T >= 4.
    dt: grid spacing, > 0.
    stiffness: `k` in the paper, >= 0.
    initial: (s1(0), s2(0)).

  Returns:
    f[T, 2], angle and angular velocity; the paper learns the angle.

  Raises:
    TypeError: if `forcing` is not floating point.
    ValueError: if sizes or values are out of range.

  Example:
    >>> print(solve_pendulum(jnp.zeros(5), dt=0.1)[-1])
    [0. 0.]

  Source: Lu et al. 2021 (https://arxiv.org/abs/1910.03193), section 4.2.
  """
  checks.number(stiffness, name='stiffness', low=0.0)
  start = jnp.asarray(initial, jnp.result_type(float))
  if start.shape != (2,):
    raise ValueError(f'initial must hold two numbers; got {initial!r}.')

  def rhs(s, u):
    return jnp.stack([s[1], u - stiffness * jnp.sin(s[0])])

  return solve_ode(rhs, forcing, start, dt=dt)


def solve_stochastic_ode(
  rate: chex.Array, *, dt: chex.Numeric, initial: chex.Numeric = 1.0
) -> jax.Array:
  """Solves dy = k(t) y dt along one path of the process k.

  Args:
    rate: f[T], `k` on a uniform grid, T >= 2.
    dt: grid spacing, > 0.
    initial: y(0).

  Returns:
    f[T], y(0) exp(integral of k) by the trapezoid rule, error O(dt^2).

  Raises:
    TypeError: if `rate` is not floating point.
    ValueError: if sizes or values are out of range.

  Example:
    >>> print(solve_stochastic_ode(jnp.zeros(3), dt=0.5))
    [1. 1. 1.]

  Source: Lu et al. 2021 (https://arxiv.org/abs/1910.03193), section 4.4.
  """
  rate = _forcing(rate, dt, 2)
  return initial * jnp.exp(_cumulative_trapezoid(rate, dt))


def stochastic_ode_moment(
  times: chex.Array,
  *,
  length_scale: chex.Numeric,
  std: chex.Numeric = 1.0,
  order: chex.Numeric = 1.0,
) -> jax.Array:
  """Evaluates E[y(t)^q] when k is an Ornstein-Uhlenbeck type process.

  The covariance of k is std^2 exp(-|t-s| / l) and y(0) = 1; log y(t) is then
  normal with variance std^2 (2 l t + 2 l^2 (exp(-t/l) - 1)).

  Args:
    times: f[...], t >= 0.
    length_scale: `l` > 0.
    std: standard deviation of k, >= 0.
    order: `q`.

  Returns:
    f[...], exp(q^2 var / 2).

  Raises:
    ValueError: if a number is out of range.

  Example:
    >>> print(stochastic_ode_moment(jnp.array([0.0]), length_scale=1.0))
    [1.]

  Source: Lu et al. 2021 (https://arxiv.org/abs/1910.03193), section 4.4.
  """
  checks.number(length_scale, name='length_scale', low=0.0, open_low=True)
  checks.number(std, name='std', low=0.0)
  times = jnp.asarray(times)
  grid.require(times >= 0, 'times must be non-negative.')
  ratio = times / length_scale
  # expm1 keeps the small-t value t^2 from cancelling.
  variance = 2 * length_scale**2 * (ratio + jnp.expm1(-ratio)) * std**2
  return jnp.exp(order**2 * variance / 2)
