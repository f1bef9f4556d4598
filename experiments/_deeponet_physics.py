# SPDX-License-Identifier: Apache-2.0
"""Training on an equation: residuals, zero data and random points."""

import functools
from collections.abc import Callable

import chex
import jax
import jax.numpy as jnp

from jaxdl import operators
from jaxdl.core import types
from jaxdl.experiment import operator_learning as learning
from jaxdl.operators import physics

# Functions of points (t,), (x,) or (t, x) that vanish where solutions do.
DISTANCES: dict[str, Callable[[chex.Array], chex.Array]] = {
  'antiderivative': lambda y: y[..., 0],
  'nonlinear_ode': lambda y: y[..., 0],
  'pendulum': lambda y: y[..., 0] ** 2,
  'stochastic_elliptic': operators.box_distance,
  'diffusion_reaction': lambda y: (
    y[..., 0] * operators.box_distance(y[..., 1:])
  ),
}


def _nonlinear_ode(fn, points, source):
  slope = physics.antiderivative_residual(fn, points, source)
  return slope + jnp.square(fn(points)[..., 0])


def _pendulum(fn, points, source, *, stiffness=1.0):
  return physics.pendulum_residual(fn, points, source, gravity=stiffness)


def _diffusion_reaction(fn, points, source, *, diffusion=0.01, rate=0.01):
  # Data have points (t, x), the residual takes (x, t).
  return physics.diffusion_reaction_residual(
    lambda y: fn(y[..., ::-1]),
    points[..., ::-1],
    source,
    diffusion=diffusion,
    reaction=rate,
  )


# All have their source u at the sensors and solutions of one output.
EQUATIONS: dict[str, Callable[..., chex.Array]] = {
  'antiderivative': physics.antiderivative_residual,
  'nonlinear_ode': _nonlinear_ode,
  'pendulum': _pendulum,
  'diffusion_reaction': _diffusion_reaction,
}


def draw_points(
  key: chex.PRNGKey,
  inputs: chex.Array,
  *,
  num_points: int,
  dim: int,
  end_time: float,
  edges: bool,
) -> dict[str, chex.Array]:
  """Draws points that all functions of a batch share.

  Places on the axis of the input are sensors, so that the source is exact.

  Args:
    key: consumed.
    inputs: f[B, m], sources on `linspace(0, end, m)`.
    num_points: Q.
    dim: 1 for points (t,), 2 for (t, x) with t in [0, 1] and x a sensor.
    end_time: end of the axis if dim is 1.
    edges: whether to add points of the initial and boundary data.

  Returns:
    A batch of `operators.physics_task` with 'points' f[Q, d] and 'source'
    f[B, Q].
  """
  place_key, time_key, edge_key = jax.random.split(key, 3)
  num, m = inputs.shape
  place = jax.random.randint(place_key, (num_points,), 0, m)
  where = place.astype(inputs.dtype) / (m - 1)
  batch = {'sensors': inputs, 'source': inputs[:, place]}
  if dim == 1:
    batch['points'] = end_time * where[:, None]
    if edges:
      batch['initial_points'] = jnp.zeros((1, 1), inputs.dtype)
      batch['initial_values'] = jnp.zeros((num, 1), inputs.dtype)
    return batch
  times = jax.random.uniform(time_key, (2, num_points), inputs.dtype)
  batch['points'] = jnp.stack([times[0], where], -1)
  if edges:
    sides = jax.random.bernoulli(edge_key, shape=(num_points,))
    batch['boundary_points'] = jnp.stack(
      [times[1], sides.astype(inputs.dtype)], -1
    )
    batch['initial_points'] = jnp.stack([jnp.zeros_like(where), where], -1)
    zeros = jnp.zeros((num, num_points), inputs.dtype)
    batch['boundary_values'] = batch['initial_values'] = zeros
  return batch


def task(
  config: learning.OperatorConfig,
  problem: learning.Problem,
  network: types.Network,
) -> types.Task:
  """Builds the task of meeting the equation at fresh points in every step.

  Args:
    config: knobs of `experiments.deeponet`.
    problem: aligned functions; a batch's 'inputs' are all that is used.
    network: of sensors and points.

  Returns:
    A `Task` for training; solutions are for `operators.operator_task`.
  """
  given = learning.parse_options(config.problem, config.problem_options)
  residual = functools.partial(
    EQUATIONS[config.problem],
    **{
      k: v for k, v in given.items() if k in ('stiffness', 'diffusion', 'rate')
    },
  )
  shared = types.Network(
    network.init, lambda p, u, y: network.apply(p, u, y, aligned=True)
  )
  example = {
    'sensors': problem.example()['inputs'][:1],
    'points': problem.points[:1],
  }
  inner = physics.physics_task(shared, example, residual)

  def loss(params, batch, *, key=None):
    drawn = draw_points(
      key,
      batch['inputs'],
      num_points=config.num_collocation,
      dim=problem.points.shape[-1],
      end_time=given.get('end_time', 1.0),
      edges=not config.hard_boundary,
    )
    return inner.loss(params, drawn)

  return types.Task(inner.init, loss, inner.evaluate)
