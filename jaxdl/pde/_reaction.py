# SPDX-License-Identifier: Apache-2.0
"""Semilinear parabolic equations on an interval."""

from collections.abc import Callable

import chex
import jax
import jax.numpy as jnp

from jaxdl.core import checks
from jaxdl.pde import _grid as grid


def solve_reaction_diffusion(
  source: chex.Array,
  initial: chex.Array,
  *,
  reaction: Callable[[jax.Array], jax.Array],
  diffusion: chex.Numeric,
  velocity: chex.Numeric = 0.0,
  dx: chex.Numeric,
  dt: chex.Numeric,
) -> jax.Array:
  """Solves s_t = D s_xx - v s_x + g(s) + f(x, t), s = 0 at both ends.

  Second order in dx and dt, one tridiagonal solve per step:
  (s' - s)/dt = L(s' + s)/2 + g(s) + g'(s)(s' - s)/2 + (f' + f)/2, the prime
  being the next step and L central differences.

  Args:
    source: f[T, X], `f` at all times and points, ends included; T >= 2.
    initial: f[X], s(x, 0), X >= 3; its end values are taken as zero.
    reaction: `g`, elementwise and differentiable.
    diffusion: `D` > 0.
    velocity: `v`.
    dx: grid spacing, > 0.
    dt: time step, > 0.

  Returns:
    f[T, X], the initial row first.

  Raises:
    TypeError: if an array is not floating point.
    ValueError: if sizes disagree, a coefficient is out of range or the
      solution is not finite (g may make it blow up).

  Cost: T - 1 tridiagonal solves of size X - 2.

  Example:
    >>> s = solve_reaction_diffusion(
    ...   jnp.ones((3, 5)), jnp.zeros(5), reaction=jnp.zeros_like,
    ...   diffusion=1.0, dx=0.25, dt=1e6
    ... )
    >>> print(((s[1] + s[2]) / 2).round(3))  # steady x(1-x)/2
    [0.    0.094 0.125 0.094 0.   ]

  Source: Lu et al. 2021 (https://arxiv.org/abs/1910.03193), section 4.3.
  """
  source = grid.floating(source, name='source', ndim=2)
  initial = grid.floating(initial, name='initial', ndim=1)
  grid.points(initial, name='initial', low=3)
  checks.number(diffusion, name='diffusion', low=0.0, open_low=True)
  checks.number(dx, name='dx', low=0.0, open_low=True)
  checks.number(dt, name='dt', low=0.0, open_low=True)
  if source.shape[0] < 2 or source.shape[1] != initial.shape[0]:
    raise ValueError(
      f'source must be [T, {initial.shape[0]}] with T >= 2; '
      f'got shape {source.shape}.'
    )
  grid.finite(source, name='source')
  grid.finite(initial, name='initial')
  dtype = initial.dtype
  source = source.astype(dtype)
  inner = initial.shape[0] - 2
  dx, dt = jnp.asarray(dx, dtype), jnp.asarray(dt, dtype)
  lower = diffusion / dx**2 + velocity / (2 * dx)
  upper = diffusion / dx**2 - velocity / (2 * dx)
  center = -2 * diffusion / dx**2
  place = jnp.arange(inner)
  sub = jnp.where(place > 0, -lower / 2, 0).astype(dtype)
  sup = jnp.where(place < inner - 1, -upper / 2, 0).astype(dtype)

  def step(carry, force):
    s, lost = carry
    value, slope = jax.jvp(reaction, (s,), (jnp.ones_like(s),))
    wide = jnp.pad(s, 1)
    change = lower * wide[:-2] + center * s + upper * wide[2:] + value + force
    diagonal = 1 / dt - center / 2 - slope / 2
    # In delta form: the increment carries the rounding, not the state.
    update = jax.lax.linalg.tridiagonal_solve(
      sub, diagonal.astype(dtype), sup, change.astype(dtype)[:, None]
    )
    s, lost = grid.accumulate(s, lost, update[:, 0])
    return (s, lost), s

  forces = (source[1:, 1:-1] + source[:-1, 1:-1]) / 2
  start = initial[1:-1]
  _, rows = jax.lax.scan(step, (start, jnp.zeros_like(start)), forces)
  rows = jnp.pad(jnp.concatenate([start[None], rows]), ((0, 0), (1, 1)))
  grid.finite(
    rows, name='the solution', hint=': it blew up, reduce dt or the source'
  )
  return rows


def solve_diffusion_reaction(
  source: chex.Array,
  *,
  num_times: int = 100,
  diffusion: chex.Numeric = 0.01,
  rate: chex.Numeric = 0.01,
  end_time: float = 1.0,
) -> jax.Array:
  """Solves s_t = D s_xx + k s^2 + u(x) on [0, 1], zero data.

  Args:
    source: f[X], `u` on `linspace(0, 1, X)`, X >= 3.
    num_times: times on [0, end_time], both ends included (static).
    diffusion: `D` > 0.
    rate: `k`.
    end_time: last time, > 0.

  Returns:
    f[T, X], time first; zero row first, zero first and last column.

  Raises:
    TypeError: if `source` is not floating point.
    ValueError: as `solve_reaction_diffusion`.

  Example:
    >>> solve_diffusion_reaction(jnp.ones(10), num_times=4).shape
    (4, 10)

  Source: Lu et al. 2021 (https://arxiv.org/abs/1910.03193), section 4.3.
  """
  source = grid.floating(source, name='source', ndim=1)
  grid.points(source, name='source', low=3)
  num_times = checks.integer(num_times, name='num_times', low=2)
  checks.number(end_time, name='end_time', low=0.0, open_low=True)
  return solve_reaction_diffusion(
    jnp.broadcast_to(source[None], (num_times, source.shape[0])),
    jnp.zeros_like(source),
    reaction=lambda s: rate * s**2,
    diffusion=diffusion,
    dx=1 / (source.shape[0] - 1),
    dt=end_time / (num_times - 1),
  )
