# SPDX-License-Identifier: Apache-2.0
"""Residuals of differential equations at the outputs of a network, by name."""

import functools
from collections.abc import Callable

import chex
import jax.numpy as jnp

from jaxdl.core import registry
from jaxdl.operators import _deeponet as deeponet
from jaxdl.operators.physics import _derivatives as calculus


def _first_output(fn: calculus.PointFn) -> calculus.PointFn:
  return lambda y: fn(y)[..., 0]


def antiderivative_residual(
  fn: calculus.PointFn, points: chex.Array, source: chex.Array
) -> chex.Array:
  """Returns s' - u for points (t,) and outputs [..., 1].

  Args:
    fn: f[Q, 1] -> f[..., Q, 1], the network at fixed inputs.
    points: f[Q, 1] (or own points f[N, Q, 1]).
    source: u at the points, shaped like the residual.

  Returns:
    f[..., Q].
  """
  slope = calculus.derivatives(_first_output(fn), points, axis=0, order=1)[1]
  return slope - source


def pendulum_residual(
  fn: calculus.PointFn,
  points: chex.Array,
  source: chex.Array,
  *,
  gravity: float = 1.0,
) -> chex.Array:
  """Returns s'' + k sin(s) - u for points (t,) and outputs [..., 1].

  Args:
    fn: see `antiderivative_residual`.
    points: times.
    source: the torque u at the points.
    gravity: k.

  Returns:
    f[..., Q].
  """
  s, _, s_tt = calculus.derivatives(_first_output(fn), points, axis=0, order=2)
  return s_tt + gravity * jnp.sin(s) - source


def diffusion_reaction_residual(
  fn: calculus.PointFn,
  points: chex.Array,
  source: chex.Array,
  *,
  diffusion: chex.Numeric = 0.01,
  reaction: chex.Numeric = 0.01,
) -> chex.Array:
  """Returns s_t - D s_xx - k s^2 - u for points (x, t) and outputs [..., 1].

  Args:
    fn: f[Q, 2] -> f[..., Q, 1].
    points: f[Q, 2] (or f[N, Q, 2]), x then t.
    source: u(x) at the points, shaped like the residual.
    diffusion: D.
    reaction: k; the sign is the one of s_t = D s_xx + k s^2 + u.

  Returns:
    f[..., Q].
  """
  fn = _first_output(fn)
  s, _, s_xx = calculus.derivatives(fn, points, axis=0, order=2)
  s_t = calculus.derivatives(fn, points, axis=1, order=1)[1]
  return s_t - diffusion * s_xx - reaction * jnp.square(s) - source


def advection_residual(
  fn: calculus.PointFn, points: chex.Array, speed: chex.Numeric
) -> chex.Array:
  """Returns s_t + a s_x for points (x, t) and outputs [..., 1].

  Args:
    fn: f[Q, 2] -> f[..., Q, 1].
    points: f[Q, 2] (or f[N, Q, 2]), x then t.
    speed: a, a number or shaped like the residual.

  Returns:
    f[..., Q].
  """
  fn = _first_output(fn)
  s_x = calculus.derivatives(fn, points, axis=0, order=1)[1]
  s_t = calculus.derivatives(fn, points, axis=1, order=1)[1]
  return s_t + speed * s_x


def burgers_residual(
  fn: calculus.PointFn, points: chex.Array, *, viscosity: chex.Numeric
) -> chex.Array:
  """Returns s_t + s s_x - nu s_xx for points (x, t) and outputs [..., 1].

  Args:
    fn: f[Q, 2] -> f[..., Q, 1].
    points: f[Q, 2] (or f[N, Q, 2]), x then t.
    viscosity: nu.

  Returns:
    f[..., Q].
  """
  fn = _first_output(fn)
  s, s_x, s_xx = calculus.derivatives(fn, points, axis=0, order=2)
  s_t = calculus.derivatives(fn, points, axis=1, order=1)[1]
  return s_t + s * s_x - viscosity * s_xx


def nonlinear_ode_residual(
  fn: calculus.PointFn, points: chex.Array, source: chex.Array
) -> chex.Array:
  """Returns s' + s^2 - u for points (t,) and outputs [..., 1].

  Args:
    fn: see `antiderivative_residual`.
    points: times.
    source: u at the points.

  Returns:
    f[..., Q].
  """
  slope = antiderivative_residual(fn, points, source)
  return slope + jnp.square(fn(points)[..., 0])


# Of data: points are (t,) or (t, x), options those of `pde.sets`.


def _pendulum(fn, points, source, *, stiffness: float = 1.0):
  return pendulum_residual(fn, points, source, gravity=stiffness)


def _diffusion_reaction(
  fn, points, source, *, diffusion: float = 0.01, rate: float = 0.01
):
  # Data have points (t, x), the residual takes (x, t).
  return diffusion_reaction_residual(
    lambda y: fn(y[..., ::-1]),
    points[..., ::-1],
    source,
    diffusion=diffusion,
    reaction=rate,
  )


# All have their source u at the sensors and solutions of one output.
EQUATIONS = registry.Registry(
  'equation',
  {
    'antiderivative': antiderivative_residual,
    'diffusion_reaction': _diffusion_reaction,
    'nonlinear_ode': nonlinear_ode_residual,
    'pendulum': _pendulum,
  },
  given=('fn', 'points', 'source'),
)


def make_equation(
  spec: str | Callable[..., chex.Array],
) -> Callable[..., chex.Array]:
  """Returns the residual of the problem of a name.

  Args:
    spec: an entry of `EQUATIONS`, with options or without; a function passes
      through. The names and options are those of the problems of `pde.sets`,
      whose points are (t,) or (t, x).

  Returns:
    `residual(fn, points, source) -> f[..., Q]`.

  Raises:
    ValueError: if there is no such entry or option.

  Example:
    >>> residual = make_equation('pendulum(stiffness=2.0)')
    >>> still = lambda y: jnp.zeros((*y.shape[:-1], 1))
    >>> residual(still, jnp.ones((2, 1)), jnp.ones(2)).tolist()
    [-1.0, -1.0]
  """
  if callable(spec):
    return spec
  part = EQUATIONS.part(spec)
  return functools.partial(EQUATIONS[part.name], **part.options)


def _first(y):
  return y[..., 0]


def _first_squared(y):
  return y[..., 0] ** 2


def _time_and_box(y):
  return y[..., 0] * deeponet.box_distance(y[..., 1:])


# Functions of points (t,), (x,) or (t, x) that vanish where solutions do.
DISTANCES = registry.Registry(
  'distance',
  {
    'antiderivative': _first,
    'diffusion_reaction': _time_and_box,
    'nonlinear_ode': _first,
    'pendulum': _first_squared,
    'stochastic_elliptic': deeponet.box_distance,
  },
  given=('y',),
)
