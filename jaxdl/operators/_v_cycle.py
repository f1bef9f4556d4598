# SPDX-License-Identifier: Apache-2.0
"""Multigrid V-cycles with learned stencils, as linear operators."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import chex
import jax
import jax.numpy as jnp

from jaxdl.core import checks
from jaxdl.networks import functional

TRANSFERS = ('plain', 'residual')
COARSENINGS = ('padded', 'unpadded')

Iterations = tuple[tuple[int, int], ...]


def parse_iterations(
  iterations: str | Sequence[Any],
) -> Iterations:
  """Reads smoothing counts, finest level first.

  Args:
    iterations: '10,10,20' or '10 10 20' (two digits per level: pre and post),
      or a sequence of such strings, pairs or integers (pre only).

  Returns:
    Tuple of (pre, post) pairs.

  Raises:
    ValueError: if there is no level, a level is not two digits, or the finest
      level has no pre-smoothing (nothing would start the iterate).

  Example:
    >>> parse_iterations('10,11,20')
    ((1, 0), (1, 1), (2, 0))
  """
  if isinstance(iterations, str):
    iterations = iterations.replace(',', ' ').split()
  levels = []
  for level in iterations:
    if isinstance(level, str):
      if len(level) != 2 or not level.isdigit():
        raise ValueError(
          'iterations needs two digits per level (pre and post smoothing, as '
          f'in "10,11,20"); got {level!r}.'
        )
      level = (int(level[0]), int(level[1]))
    elif not isinstance(level, Sequence):
      level = (level, 0)
    if len(level) != 2:
      raise ValueError(f'iterations needs (pre, post) pairs; got {level!r}.')
    levels.append(
      tuple(checks.integer(n, name='iterations', low=0) for n in level)
    )
  if not levels:
    raise ValueError('iterations is empty: need at least one level.')
  if levels[0][0] == 0:
    raise ValueError(
      f'iterations={levels} starts with no pre-smoothing: the finest level '
      'needs at least one, it makes the first iterate.'
    )
  return tuple(levels)


def _grids(
  grid: tuple[int, ...], levels: int, coarsening: str
) -> list[tuple[int, ...]]:
  grids = [grid]
  for _ in range(levels - 1):
    fine = grids[-1]
    coarse = functional.coarse_grid(fine, padded=coarsening == 'padded')
    if min(fine) < 2 or min(coarse) < 1:
      size = 'x'.join(str(n) for n in grid)
      raise ValueError(
        f'{size} cannot be coarsened {levels - 1} times: use fewer levels '
        '(iterations) or a finer grid.'
      )
    grids.append(coarse)
  return grids


def v_cycle_leaves(
  grid: Sequence[int],
  *,
  in_channels: int,
  channels: int,
  iterations: Iterations,
  transfer: str = 'plain',
  coarsening: str = 'padded',
  channel_growth: bool = False,
  bias: bool = False,
  norm: str = 'none',
) -> list[dict[str, Any]]:
  """Describes the parameters of one V-cycle (see `v_cycle`)."""
  rank = len(grid)
  grids = _grids(tuple(grid), len(iterations), coarsening)

  def stencil(c_in, c_out, biased=False, size=None):
    shape = (*(size or (3,) * rank), c_in, c_out)
    # Transposed kernels count the other channel axis, as PyTorch does.
    return functional.layer_leaves(
      shape,
      kernel_init='pytorch',
      bias_init='pytorch' if biased else None,
      fan_in=None if size is None else math.prod(size) * c_out,
    )

  levels = []
  for l, (num_pre, num_post) in enumerate(iterations):
    grow = l + 1 if channel_growth else 1
    c, cf = channels * grow, in_channels * grow
    level: dict[str, Any] = {'pre': [], 'post': []}
    for name, count in (('pre', num_pre), ('post', num_post)):
      for i in range(count):
        step = {'S': stencil(cf, c, bias)}
        if not (l == 0 and name == 'pre' and i == 0):
          step['A'] = stencil(c, cf, bias)
        level[name].append(step)
    if l < len(iterations) - 1:
      more = l + 2 if channel_growth else 1
      below, below_f = channels * more, in_channels * more
      level['Pi'] = stencil(c, below)
      level['R'] = stencil(cf, below_f)
      sizes = functional.upsampling_kernel_sizes(grids[l])
      level['P'] = stencil(below, c, size=sizes)
      if transfer == 'residual':
        level['A'] = stencil(c, cf, bias)
      if norm == 'sum':
        level['norm'] = functional.scale_leaves((*grids[l], c))
    levels.append(level)
  return levels


def layer_norm(
  x: chex.Array, params: dict[str, chex.Array], epsilon: float = 1e-5
) -> chex.Array:
  """Normalizes every sample over its grid and channels."""
  shape = params['scale'].shape
  if x.shape[1:] != shape:
    raise ValueError(
      f'layer normalization was made for a grid and channels {shape}; got '
      f'{x.shape[1:]}: these parameters are tied to one resolution, use '
      "norm='none' to change it."
    )
  # On flat rows, which compile to plain reductions however many axes there are.
  rows = x.reshape(x.shape[0], -1)
  mean = rows.mean(-1, keepdims=True)
  var = jnp.square(rows - mean).mean(-1, keepdims=True)
  rows = (rows - mean) * jax.lax.rsqrt(var + epsilon)
  rows = rows * params['scale'].reshape(1, -1) + params['bias'].reshape(1, -1)
  return rows.reshape(x.shape)


def v_cycle(
  params: list[dict[str, Any]],
  f: chex.Array,
  *,
  padding: str = 'zeros',
  transfer: str = 'plain',
  coarsening: str = 'padded',
  periodic_prolongation: bool | None = None,
  smoother_activation: Callable[[chex.Array], chex.Array] | None = None,
  method: str = 'conv',
) -> chex.Array:
  """Applies one multi-channel V-cycle, a linear operator on grid functions.

  Going down, every level smooths `u <- u + S(f - A u)` (the very first step is
  `u = S f`) and hands `R f`, or `R (f - A' u)`, and `Pi u` to the next grid;
  going up, `u <- u + P u_coarse` and smoothing again. All of S, A, Pi, R, P are
  learned 3-point (P: 3 or 4) stencils, so the work is O(grid) and the reach is
  global. Linear, and without bias zero for zero input. Counts are read from the
  structure of `params`.

  Args:
    params: one dict per level, finest first: 'pre' and 'post' lists of
      {'S', 'A'}, and but for the coarsest level 'Pi', 'R', 'P', 'A' (residual
      transfer) and 'norm' (normalized sums). Stencils are {'kernel', 'bias'}
      with kernels [*k, I, O]; 'P' scatters, see Notes.
    f: f[B, *grid, I], one, two or three grid axes.
    padding: boundary condition: 'zeros', 'circular', 'reflect', 'replicate'.
    transfer: 'plain' restricts f itself, 'residual' what is left of it.
    coarsening: 'padded' halves upwards (211 -> 106), 'unpadded' downwards.
    periodic_prolongation: whether P wraps around; by default if padding is
      'circular'. The authors' code never does.
    smoother_activation: makes steps `u + act(S act(f - A u))`, see `mgnet`; the
      result is then not linear.
    method: 'conv', or 'patches', which is faster on CPU under `vmap` over
      parameters and inside `lax.map` and `lax.scan`.

  Returns:
    f[B, *grid, O].

  Raises:
    ValueError: if the grid does not fit the parameters or an option is unknown.

  Notes: coarse cell i adds `P[k] u[i]` to fine cell `2 i + k - 1`, while R
    reads fine cells 2i-1, 2i, 2i+1, so P of size 4 is not the adjoint of R.

  Cost: O(B * grid * (I + O) * O) per smoothing step; about 4/3 of the finest
    level in two dimensions.

  Source: He, Liu and Xu 2024 (https://arxiv.org/abs/2310.19809).
  """
  checks.choice(transfer, TRANSFERS, name='transfer')
  checks.choice(coarsening, COARSENINGS, name='coarsening')
  checks.choice(padding, functional.PADDINGS, name='padding')
  if not params:
    raise ValueError('params has no levels: need at least one.')
  padded = coarsening == 'padded'
  wraps = padding == 'circular' and padded
  if periodic_prolongation is not None:
    wraps = periodic_prolongation
  if wraps and not padded:
    raise ValueError(
      "periodic_prolongation=True needs coarsening='padded': an unpadded grid "
      'does not wrap around.'
    )
  grids = _grids(f.shape[1:-1], len(params), coarsening)

  def same(x, stencil):
    return functional.convolve(
      x,
      stencil['kernel'],
      stencil.get('bias'),
      width=1,
      padding=padding,
      method=method,
    )

  def coarsen(x, stencil):
    return functional.convolve(
      x,
      stencil['kernel'],
      stencil.get('bias'),
      stride=2,
      width=int(padded),
      padding=padding,
      method=method,
    )

  def identity(x):
    return x

  act = smoother_activation or identity

  def smooth(u, f, step):
    if u is None:
      return act(same(act(f), step['S']))
    return u + act(same(act(f - same(u, step['A'])), step['S']))

  u = None
  stack = []
  for l, level in enumerate(params):
    for step in level['pre']:
      u = smooth(u, f, step)
    stack.append((u, f))
    if l < len(params) - 1:
      rest = f
      if transfer == 'residual':
        if 'A' not in level:
          raise ValueError(
            "transfer='residual' needs a stencil 'A' on every level but the "
            "last: make the parameters with transfer='residual'."
          )
        rest = f - same(u, level['A'])
      f, u = coarsen(rest, level['R']), coarsen(u, level['Pi'])
  for l in range(len(params) - 2, -1, -1):
    level = params[l]
    above, f = stack[l]
    u = above + _prolong(u, level['P'], grids[l], padded, wraps, method)
    if 'norm' in level:
      u = layer_norm(u, level['norm'])
    for step in level['post']:
      u = smooth(u, f, step)
  return u


def _prolong(u, stencil, grid, padded, periodic, method):
  sizes = functional.upsampling_kernel_sizes(grid)
  if stencil['kernel'].shape[:-2] != sizes:
    raise ValueError(
      f'a grid of {grid} needs prolongation kernels of sizes {sizes} but the '
      f'parameters have {stencil["kernel"].shape[:-2]}: odd and even sizes '
      'differ; pad the input to a size that coarsens like the one used in '
      'init, or use fewer levels.'
    )
  return functional.upsample(
    u,
    stencil['kernel'],
    stencil.get('bias'),
    padded=padded,
    periodic=periodic,
    method=method,
  )
