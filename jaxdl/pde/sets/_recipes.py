# SPDX-License-Identifier: Apache-2.0
"""Recipes of the problems on an interval: how to draw a pair and solve it."""

from collections.abc import Callable
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np

from jaxdl.core import checks
from jaxdl.pde import (
  _elliptic,
  _ode,
  _random_fields,
  _reaction,
  _transforms,
  _transport,
)


class Recipe(NamedTuple):
  """A problem at one resolution.

  Attributes:
    sample: keys [B] -> (inputs f[B, *input grid], outputs f[B, *output grid]),
      pure.
    input_axes: coordinates of the input grid, one float64 array per axis.
    output_axes: coordinates of the output grid.
    stride: kept points of the output grid per axis in the aligned and grid
      layouts; unaligned queries use all of it.
    extra: where the output has an axis that the input lacks: 'front' (time,
      broadcast the input), 'back' (channels), '' for nowhere.
  """

  sample: Callable[[chex.Array], tuple[jax.Array, jax.Array]]
  input_axes: tuple[np.ndarray, ...]
  output_axes: tuple[np.ndarray, ...]
  stride: int = 1
  extra: str = ''


def _refined(resolution, refinement):
  checks.integer(resolution, name='resolution', low=4)
  if refinement is None:
    refinement = max(1, -(-1000 // (resolution - 1)))
  checks.integer(refinement, name='refinement', low=1)
  return refinement, (resolution - 1) * refinement + 1


def _forced(
  solve: Callable[..., jax.Array],
  resolution: int,
  *,
  space: str,
  length_scale: float,
  std: float,
  num_terms: int,
  bound: float,
  end_time: float = 1.0,
  refinement: int | None,
) -> Recipe:
  """Forcing u(t) on [0, end_time] to s = solve(u, dt) on a refined grid."""
  checks.number(end_time, name='end_time', low=0.0, open_low=True)
  refinement, fine = _refined(resolution, refinement)
  times = np.linspace(0, end_time, fine)
  functions = _random_fields.function_space(
    space,
    times / end_time,
    # The length scale is in units of time, as the published l is.
    length_scale=length_scale / end_time,
    std=std,
    num_terms=num_terms,
    bound=bound,
  )
  dt = end_time / (fine - 1)

  def one(key):
    u = _random_fields.sample_space(functions, key=key)
    return u[::refinement], solve(u, dt=dt)

  return Recipe(jax.vmap(one), (times[::refinement],), (times,), refinement)


def antiderivative(
  resolution: int = 100,
  *,
  space: str = 'rbf',
  length_scale: float = 0.2,
  std: float = 1.0,
  num_terms: int = 20,
  bound: float = 1.0,
  end_time: float = 1.0,
  refinement: int | None = None,
) -> Recipe:
  """u(t) on [0, end_time] to s(t) with s' = u, s(0) = 0."""
  return _forced(
    _ode.solve_antiderivative,
    resolution,
    space=space,
    length_scale=length_scale,
    std=std,
    num_terms=num_terms,
    bound=bound,
    end_time=end_time,
    refinement=refinement,
  )


def nonlinear_ode(
  resolution: int = 100,
  *,
  space: str = 'rbf',
  length_scale: float = 0.2,
  std: float = 1.0,
  num_terms: int = 20,
  bound: float = 1.0,
  end_time: float = 1.0,
  refinement: int | None = None,
) -> Recipe:
  """u(t) on [0, end_time] to s(t) of `solve_nonlinear_ode`."""
  return _forced(
    _ode.solve_nonlinear_ode,
    resolution,
    space=space,
    length_scale=length_scale,
    std=std,
    num_terms=num_terms,
    bound=bound,
    end_time=end_time,
    refinement=refinement,
  )


def pendulum(
  resolution: int = 100,
  *,
  space: str = 'rbf',
  length_scale: float = 0.2,
  std: float = 1.0,
  num_terms: int = 20,
  bound: float = 1.0,
  end_time: float = 1.0,
  refinement: int | None = None,
  stiffness: float = 1.0,
) -> Recipe:
  """Torque u(t) on [0, end_time] to the angle of a pendulum at rest."""
  return _forced(
    lambda u, *, dt: _ode.solve_pendulum(u, dt=dt, stiffness=stiffness)[:, 0],
    resolution,
    space=space,
    length_scale=length_scale,
    std=std,
    num_terms=num_terms,
    bound=bound,
    end_time=end_time,
    refinement=refinement,
  )


def legendre_transform(
  resolution: int = 100,
  *,
  space: str = 'rbf',
  length_scale: float = 0.2,
  std: float = 1.0,
  num_terms: int = 20,
  bound: float = 1.0,
  num_coefficients: int = 20,
  num_nodes: int = 64,
) -> Recipe:
  """F on [-1, 1] (the length scale too) to its first Legendre moments."""
  checks.integer(resolution, name='resolution', low=2)
  nodes, weights = _transforms.quadrature(num_nodes)
  sensors = np.linspace(-1, 1, resolution)
  functions = _random_fields.function_space(
    space,
    (np.concatenate([sensors, nodes]) + 1) / 2,
    length_scale=length_scale / 2,
    std=std,
    num_terms=num_terms,
    bound=bound,
  )

  def one(key):
    f = _random_fields.sample_space(functions, key=key)
    moments = _transforms.legendre_transform(
      f[resolution:], nodes, weights, num_coefficients=num_coefficients
    )
    return f[:resolution], moments

  orders = np.arange(num_coefficients, dtype=np.float64)
  return Recipe(jax.vmap(one), (sensors,), (orders,))


def caputo_derivative(
  resolution: int = 15,
  *,
  num_terms: int = 11,
  bound: float = 2.0,
  num_orders: int = 15,
) -> Recipe:
  """Legendre series on [-1, 1] to its Caputo derivative at (y, order)."""
  checks.integer(resolution, name='resolution', low=2)
  checks.integer(num_orders, name='num_orders', low=2)
  points = np.linspace(-1, 1, resolution)
  orders = np.linspace(0.01, 0.99, num_orders)
  series = _random_fields.legendre_basis(points, num_terms=num_terms)
  derivative = _transforms.caputo_legendre_basis(
    points[:, None], orders[None], num_terms=num_terms
  )
  functions = _random_fields.FunctionSpace(
    np.concatenate([series, derivative.reshape(-1, num_terms)]),
    np.float64(bound),
  )
  checks.number(bound, name='bound', low=0.0, open_low=True)

  def one(key):
    both = _random_fields.sample_space(functions, key=key)
    out = both[resolution:].reshape(resolution, num_orders)
    return both[:resolution], out

  return Recipe(jax.vmap(one), (points,), (points, orders), extra='back')


def stochastic_ode(
  resolution: int = 8,
  *,
  num_modes: int = 30,
  min_length_scale: float = 1.0,
  max_length_scale: float = 2.0,
  std: float = 1.0,
  num_times: int = 100,
) -> Recipe:
  """KL modes sqrt(lambda_i) phi_i(t_j) of the process to the mean E[y](t)."""
  checks.integer(resolution, name='resolution', low=2)
  checks.integer(num_times, name='num_times', low=2)
  checks.number(
    min_length_scale, name='min_length_scale', low=0.0, open_low=True
  )
  checks.number(max_length_scale, name='max_length_scale', low=min_length_scale)
  fine = 16 * (resolution - 1)
  fine = max(fine, (resolution - 1) * -(-num_modes // (resolution - 1)))
  nodes = np.linspace(0, 1, fine + 1)
  checks.integer(num_modes, name='num_modes', low=1, high=fine + 1)
  root = np.full(fine + 1, fine**-0.5)
  root[[0, -1]] *= 0.5**0.5
  distance = np.abs(nodes[:, None] - nodes[None])
  times = np.linspace(0, 1, num_times)

  def one(key):
    dtype = jnp.result_type(float)
    scale = jax.random.uniform(
      key, (), dtype, minval=min_length_scale, maxval=max_length_scale
    )
    weight = jnp.asarray(root, dtype)
    kernel = jnp.exp(-jnp.asarray(distance, dtype) / scale)
    values, vectors = jnp.linalg.eigh(weight[:, None] * kernel * weight[None])
    values = jnp.maximum(values[::-1][:num_modes], 0)
    modes = vectors[:, ::-1][:, :num_modes] / weight[:, None]
    # Signs of eigenvectors are arbitrary: make the integral non-negative.
    mean = jnp.sum(weight[:, None] ** 2 * modes, axis=0, keepdims=True)
    modes = jnp.where(mean < 0, -modes, modes) * jnp.sqrt(values)[None]
    mean_path = _ode.stochastic_ode_moment(
      jnp.asarray(times, dtype), length_scale=scale, std=std
    )
    return std * modes[:: fine // (resolution - 1)].T, mean_path

  mode_ids = np.arange(num_modes, dtype=np.float64)
  sensors = np.linspace(0, 1, resolution)
  return Recipe(jax.vmap(one), (mode_ids, sensors), (times,))


def stochastic_elliptic(
  resolution: int = 100,
  *,
  space: str = 'rbf',
  length_scale: float = 0.2,
  std: float = 1.0,
  num_terms: int = 20,
  bound: float = 1.0,
  source: float = 10.0,
  refinement: int | None = None,
) -> Recipe:
  """Log coefficient b(x) of the random 1-D problem to its solution."""
  return _forced(
    lambda b, *, dt: _elliptic.solve_elliptic_1d(b, source=source),
    resolution,
    space=space,
    length_scale=length_scale,
    std=std,
    num_terms=num_terms,
    bound=bound,
    refinement=refinement,
  )


def advection(
  resolution: int = 40,
  *,
  case: str = 'i',
  space: str = 'rbf',
  length_scale: float = 0.2,
  std: float = 1.0,
  num_terms: int = 20,
  bound: float = 1.0,
  num_times: int | None = None,
  refinement: int = 4,
) -> Recipe:
  """V(x) to s(t, x), one of the four cases of `solve_advection_case`."""
  checks.integer(resolution, name='resolution', low=4)
  num_times = resolution if num_times is None else num_times
  skip = max(1, -(-200 // (resolution - 1)))
  x = np.linspace(0, 1, (resolution - 1) * skip + 1)
  functions = _random_fields.function_space(
    space,
    x,
    length_scale=length_scale,
    std=std,
    num_terms=num_terms,
    bound=bound,
  )

  def one(key):
    v = _random_fields.sample_space(functions, key=key)
    rows = _transport.solve_advection_case(
      v,
      case=case,
      num_x=resolution,
      num_times=num_times,
      refinement=refinement,
    )
    return v[::skip], rows

  axes = (np.linspace(0, 1, num_times), x[::skip])
  return Recipe(jax.vmap(one), axes[1:], axes, extra='front')


def advection_diffusion(
  resolution: int = 100,
  *,
  diffusion: float = 0.1,
  speed: float = 1.0,
  length_scale: float = 0.2,
  num_steps: int = 990,
  keep_every: int = 10,
  derivative: str = 'central',
) -> Recipe:
  """Periodic s(x, 0) = V(sin^2(pi x)) to s(t, x)."""
  checks.integer(resolution, name='resolution', low=4)
  x = np.arange(resolution) / resolution
  functions = _random_fields.function_space(
    'rbf', np.sin(np.pi * x) ** 2, length_scale=length_scale
  )

  def one(key):
    start = _random_fields.sample_space(functions, key=key)
    rows = _transport.solve_advection_diffusion(
      start,
      diffusion=diffusion,
      speed=speed,
      dt=1 / num_steps,
      num_steps=num_steps,
      keep_every=keep_every,
      derivative=derivative,
    )
    return start, rows

  times = np.arange(0, num_steps + 1, keep_every) / num_steps
  return Recipe(jax.vmap(one), (x,), (times, x), extra='front')


def diffusion_reaction(
  resolution: int = 100,
  *,
  space: str = 'rbf',
  length_scale: float = 0.2,
  std: float = 1.0,
  num_terms: int = 20,
  bound: float = 1.0,
  diffusion: float = 0.01,
  rate: float = 0.01,
  num_times: int | None = None,
) -> Recipe:
  """Source u(x) to s(t, x) of `solve_diffusion_reaction`."""
  checks.integer(resolution, name='resolution', low=4)
  num_times = resolution if num_times is None else num_times
  x = np.linspace(0, 1, resolution)
  functions = _random_fields.function_space(
    space,
    x,
    length_scale=length_scale,
    std=std,
    num_terms=num_terms,
    bound=bound,
  )

  def one(key):
    u = _random_fields.sample_space(functions, key=key)
    return u, _reaction.solve_diffusion_reaction(
      u, num_times=num_times, diffusion=diffusion, rate=rate
    )

  times = np.linspace(0, 1, num_times)
  return Recipe(jax.vmap(one), (x,), (times, x), extra='front')
