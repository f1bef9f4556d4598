# SPDX-License-Identifier: Apache-2.0
"""Fourier neural operators in one, two and three dimensions."""

import functools
import math
from collections.abc import Sequence
from typing import Any

import chex
import jax.numpy as jnp
import numpy as np

from jaxdl.core import checks
from jaxdl.core.types import Network
from jaxdl.networks import functional
from jaxdl.operators import _cnn as cnn

CONVENTIONS = ('original', 'neuralop')
METHODS = ('auto', 'matrix', 'fft')
_MATRIX_LIMIT = 64


def kept_wavenumbers(
  modes: Sequence[int], *, convention: str = 'original'
) -> list[np.ndarray]:
  """Lists the wavenumbers that a layer keeps, axis by axis.

  Args:
    modes: 'original': m per axis, keeping -m..m-1 on all but the last axis and
      0..m-1 on the last. 'neuralop': all n per axis, keeping -n/2..n/2-1 and on
      the last axis 0..n/2. So (m, m) is the same as (2 m, 2 m - 2).
    convention: which of the two.

  Returns:
    One integer array per axis, non-negative ones first.

  Example:
    >>> [k.tolist() for k in kept_wavenumbers((2, 3))]
    [[0, 1, -2, -1], [0, 1, 2]]
  """
  checks.choice(convention, CONVENTIONS, name='convention')
  if not 1 <= len(modes) <= 3:
    raise ValueError(f'modes={modes} must have one to three entries.')
  for n in modes:
    checks.integer(n, name='modes', low=1)
  if convention == 'original':
    spans = [(-m, m) for m in modes[:-1]]
    last = modes[-1]
  else:
    spans = [(-(n // 2), n - n // 2) for n in modes[:-1]]
    last = modes[-1] // 2 + 1
  ks = [np.r_[0:high, low:0] for low, high in spans]
  return [*ks, np.arange(last)]


def _check_modes(ks, grid):
  if len(ks) != len(grid):
    raise ValueError(
      f'modes are given for {len(ks)} axes but the grid is {grid}.'
    )
  for i, (k, n) in enumerate(zip(ks, grid, strict=True)):
    last = i == len(grid) - 1
    need = 2 * (k.size - 1) if last else k.size
    if need > n:
      raise ValueError(
        f'modes keep wavenumbers {k.min()}..{k.max()} on axis {i}, which has '
        f'only {n} points (padding included): use fewer modes or a finer grid.'
      )


def spectral_convolution(
  x: chex.Array,
  real: chex.Array,
  imag: chex.Array,
  wavenumbers: Sequence[np.ndarray],
  *,
  method: str = 'auto',
) -> chex.Array:
  """Mixes channels mode by mode and drops all other modes.

  Args:
    x: f[B, *grid, I].
    real: f[*modes, I, O], real parts of the weights.
    imag: f[*modes, I, O].
    wavenumbers: from `kept_wavenumbers`.
    method: 'fft'; 'matrix', products with the few rows of the transform that
      are kept (all real; on CPU 1.5 to 2 times faster with 8 to 16 modes,
      whatever the grid, and even with about 64); or 'auto', 'matrix' up to 64
      wavenumbers per axis.

  Returns:
    f[B, *grid, O]. Imaginary parts of the self-conjugate modes are ignored.

  Raises:
    ValueError: if there are more modes than points.

  Cost: matrix: O(B grid (modes per axis) C + B modes I O); fft: O(B C grid log
    grid + B modes I O).

  Source: Li et al. 2021 (https://arxiv.org/abs/2010.08895), Section 4.
  """
  checks.choice(method, METHODS, name='method')
  grid = x.shape[1:-1]
  _check_modes(wavenumbers, grid)
  if x.shape[-1] != real.shape[-2]:
    raise ValueError(
      f'x has {x.shape[-1]} channels but the weights expect {real.shape[-2]}.'
    )
  if method == 'auto':
    few = max(k.size for k in wavenumbers) <= _MATRIX_LIMIT
    method = 'matrix' if few else 'fft'
  if method == 'matrix':
    return _by_matrices(x, real, imag, wavenumbers)
  return _by_fft(x, real, imag, wavenumbers)


def _by_fft(x, real, imag, wavenumbers):
  grid, rank = x.shape[1:-1], x.ndim - 2
  axes = tuple(range(2, x.ndim))
  z = jnp.fft.rfftn(jnp.moveaxis(x, -1, 1), axes=axes)
  shape = (x.shape[0], real.shape[-1], *z.shape[2:])
  index = np.ix_(*(k % n for k, n in zip(wavenumbers, grid, strict=True)))
  letters = 'xyz'[:rank]
  y = jnp.einsum(
    f'bi{letters},{letters}io->bo{letters}',
    z[(slice(None), slice(None), *index)],
    real + 1j * imag,
  )
  y = jnp.zeros(shape, y.dtype).at[(slice(None), slice(None), *index)].set(y)
  if rank > 1:
    y = jnp.fft.ifftn(y, axes=axes[:-1])
  # Backends differ in what they do with these imaginary parts.
  lone = np.zeros(y.shape[-1], bool)
  lone[0] = True
  if grid[-1] % 2 == 0:
    lone[-1] = True
  lone = jnp.broadcast_to(
    jnp.asarray(lone).reshape((1,) * (y.ndim - 1) + (-1,)), y.shape
  )
  y = jnp.where(lone, y.real + 0j, y)
  return jnp.moveaxis(jnp.fft.irfft(y, grid[-1], axis=-1), 1, -1)


def _by_matrices(x, real, imag, wavenumbers):
  """Every transform as a real product; s and t index (re, im)."""
  grid, rank = x.shape[1:-1], x.ndim - 2
  dtype = x.dtype

  def angles(k, n):
    theta = 2 * np.pi * np.outer(np.arange(n), k) / n
    return np.cos(theta), np.sin(theta)

  k, n = wavenumbers[-1], grid[-1]
  cos, sin = angles(k, n)
  once = (k == 0) | (2 * k == n)
  factor = np.where(once, 1, 2) / n
  forward = jnp.asarray(np.stack([cos, -sin], 1), dtype)
  backward = jnp.asarray(np.stack([cos * factor, -sin * factor], 1), dtype)
  outer = []
  for k, n in zip(wavenumbers[:-1], grid[:-1], strict=True):
    cos, sin = angles(k, n)
    # down sums over [point, s], up over [mode, t]: products with exp(-i theta)
    # and exp(i theta) / n.
    down = np.stack([np.stack([cos, -sin], -1), np.stack([sin, cos], -1)], 1)
    up = np.stack([np.stack([cos, sin], 1), np.stack([-sin, cos], 1)], -1)
    outer.append((jnp.asarray(down, dtype), jnp.asarray(up / n, dtype)))

  points, modes = 'uvw'[:rank], 'xyz'[:rank]
  # As exact as an FFT, also where products default to fewer digits.
  transform = functools.partial(jnp.einsum, precision='highest')
  y = transform(
    f'b{points}c,{points[-1]}s{modes[-1]}->b{points[:-1]}s{modes[-1]}c',
    x,
    forward,
  )
  for i in range(rank - 2, -1, -1):
    rest = modes[i + 1 :]
    y = transform(
      f'b{points[:i]}{points[i]}s{rest}c,{points[i]}s{modes[i]}t'
      f'->b{points[:i]}t{modes[i]}{rest}c',
      y,
      outer[i][0],
    )
  # Both parts meet both weights as they are: putting the weights into one real
  # matrix would copy them, which costs as much as all the rest.
  by_real, by_imag = (
    jnp.einsum(f'bs{modes}i,{modes}io->bs{modes}o', y, w.astype(dtype))
    for w in (real, imag)
  )
  y = jnp.stack(
    [by_real[:, 0] - by_imag[:, 1], by_imag[:, 0] + by_real[:, 1]], 1
  )
  for i in range(rank - 1):
    rest = modes[i + 1 :]
    y = transform(
      f'b{points[:i]}t{modes[i]}{rest}o,{points[i]}s{modes[i]}t'
      f'->b{points[:i]}{points[i]}s{rest}o',
      y,
      outer[i][1],
    )
  return transform(
    f'b{points[:-1]}s{modes[-1]}o,{points[-1]}s{modes[-1]}->b{points}o',
    y,
    backward,
  )


def grid_coordinates(grid: Sequence[int]) -> np.ndarray:
  """Returns the coordinates linspace(0, 1, n) of a grid, f[*grid, d].

  Example:
    >>> grid_coordinates((3,)).ravel().tolist()
    [0.0, 0.5, 1.0]
  """
  axes = [np.linspace(0, 1, n) for n in grid]
  return np.stack(np.meshgrid(*axes, indexing='ij'), -1)


def fno(
  modes: int | Sequence[int] = 12,
  *,
  channels: int = 32,
  num_layers: int = 4,
  out_channels: int = 1,
  convention: str = 'original',
  activation: functional.Activation = 'gelu',
  domain_padding: int | float = 0,
  head_channels: int | None = None,
  coordinates: bool = True,
  transform: str = 'auto',
) -> Network:
  """Builds a Fourier neural operator.

  'original': linear lift of the input and its coordinates, blocks `act(K v + W
  v + b)` without activation after the last, head `linear, act, linear`.
  'neuralop': two-layer lift, blocks `act(K v + b + W v)` each followed by a
  pointwise two-layer network of half the width with a gated skip. K is
  `spectral_convolution`.

  `apply(params, f[B, *grid, I]) -> f[B, *grid, out_channels]`; the parameters
  serve every grid with enough points.

  Args:
    modes: one entry per axis (one to three), see `kept_wavenumbers`; a number
      holds for every axis of the input.
    channels: width w inside.
    num_layers: number of blocks.
    out_channels: number of output functions.
    convention: see above; also how `modes` counts.
    activation: name or function.
    domain_padding: cells appended with zeros at the end of each axis for
      functions that are not periodic: an integer count, or a float share of the
      grid, which keeps its meaning across resolutions.
    head_channels: hidden width of the head; 128 ('original') or 2 w.
    coordinates: whether they are appended to the input.
    transform: 'auto', 'matrix' or 'fft', see `spectral_convolution`.

  Returns:
    A `Network`; complex weights are pairs of real arrays.

  Raises:
    ValueError: if an option or a size does not fit.

  Example:
    >>> import jax
    >>> net = fno((16,), channels=64)
    >>> params = net.init(jax.random.key(0), jnp.zeros((1, 64, 1)))
    >>> sum(x.size for x in jax.tree.leaves(params))
    549569

  Source: Li et al. 2021 (https://arxiv.org/abs/2010.08895), Section 4; weights
    of 'original' start uniform on [0, 1/w^2), as in the authors' code.
  """
  if isinstance(modes, int):
    build = functools.partial(
      _fno_of,
      modes,
      channels=channels,
      num_layers=num_layers,
      out_channels=out_channels,
      convention=convention,
      activation=activation,
      domain_padding=domain_padding,
      head_channels=head_channels,
      coordinates=coordinates,
      transform=transform,
    )
    build(1)  # What is wrong is said at once.
    return Network(
      lambda key, f: build(cnn.grid_rank(f)).init(key, f),
      lambda params, f, **options: build(cnn.grid_rank(f)).apply(
        params, f, **options
      ),
    )
  checks.choice(transform, METHODS, name='transform')
  ks = kept_wavenumbers(modes, convention=convention)
  checks.integer(channels, name='channels', low=1)
  checks.num_layers(num_layers)
  checks.integer(out_channels, name='out_channels', low=1)
  checks.number(domain_padding, name='domain_padding', low=0)
  act = functional.activation(activation)
  original = convention == 'original'
  hidden = head_channels or (128 if original else 2 * channels)
  counts = tuple(k.size for k in ks)

  def spectral_leaves():
    shape = (*counts, channels, channels)
    if original:
      leaf = functional.Leaf(shape, 'positive', 1 / channels**2)
    else:
      leaf = functional.Leaf(shape, 'normal', math.sqrt(1 / (2 * channels)))
    return {'real': leaf, 'imag': leaf}

  def uniform_leaves(c_in, c_out, bias=True):
    return functional.layer_leaves(
      (c_in, c_out),
      kernel_init='pytorch',
      bias_init='pytorch' if bias else None,
    )

  def init(key, f):
    grid = jnp.shape(f)[1:-1]
    _check_rank(f)
    _check_modes(ks, padded(grid))
    c_in = f.shape[-1] + (len(grid) if coordinates else 0)
    blocks = []
    for _ in range(num_layers):
      block: dict[str, Any] = {
        'spectral': spectral_leaves(),
        'skip': uniform_leaves(channels, channels, bias=original),
      }
      if not original:
        half = max(channels // 2, 1)
        block['bias'] = functional.Leaf((channels,))
        block['mlp'] = [
          uniform_leaves(channels, half),
          uniform_leaves(half, channels),
        ]
        block['gate'] = functional.Leaf((channels,), 'constant', 1.0)
      blocks.append(block)
    lift = [uniform_leaves(c_in, channels)]
    if not original:
      lift = [
        uniform_leaves(c_in, 2 * channels),
        uniform_leaves(2 * channels, channels),
      ]
    leaves = {
      'lift': lift,
      'blocks': blocks,
      'head': [
        uniform_leaves(channels, hidden),
        uniform_leaves(hidden, out_channels),
      ],
    }
    return functional.draw(key, leaves, functional.parameter_dtype(f))

  def padded(grid):
    if isinstance(domain_padding, int):
      return tuple(n + domain_padding for n in grid)
    return tuple(n + round(domain_padding * n) for n in grid)

  def stack(layers, x):
    for i, layer in enumerate(layers):
      x = functional.dense(layer, x)
      if i < len(layers) - 1:
        x = act(x)
    return x

  def _check_rank(f):
    if jnp.ndim(f) != len(ks) + 2:
      raise ValueError(
        f'the input must be [batch, {len(ks)} grid axes, channels] for '
        f'modes={tuple(modes)}; got shape {jnp.shape(f)}.'
      )

  def apply(params, f, *, train=False, key=None):
    del train, key
    f = jnp.asarray(f)
    _check_rank(f)
    grid, rows = f.shape[1:-1], f.shape[0]
    if coordinates:
      at = jnp.asarray(grid_coordinates(grid), f.dtype)
      at = jnp.broadcast_to(at[None], (*f.shape[:-1], len(grid)))
      f = jnp.concatenate([f, at], -1)
    # Pointwise parts see one axis of points: on CPU several are slow.
    v = stack(params['lift'], f.reshape(-1, f.shape[-1]))
    inner = padded(grid)
    extra = [m - n for m, n in zip(inner, grid, strict=True)]
    if any(extra):
      v = v.reshape(rows, *grid, -1)
      v = jnp.pad(v, [(0, 0), *((0, e) for e in extra), (0, 0)])
      v = v.reshape(-1, channels)
    for i, block in enumerate(params['blocks']):
      last = i == num_layers - 1
      weights = block['spectral']
      y = spectral_convolution(
        v.reshape(rows, *inner, channels),
        weights['real'],
        weights['imag'],
        ks,
        method=transform,
      )
      y = y.reshape(-1, channels) + functional.dense(block['skip'], v)
      if not original:
        y = y + jnp.broadcast_to(block['bias'], y.shape)
        y = y if last else act(y)
        y = stack(block['mlp'], y) + v * jnp.broadcast_to(
          block['gate'], v.shape
        )
      v = y if last else act(y)
    if any(extra):
      index = tuple(slice(0, n) for n in grid)
      v = v.reshape(rows, *inner, channels)[(slice(None), *index)]
      v = v.reshape(-1, channels)
    return stack(params['head'], v).reshape(rows, *grid, out_channels)

  return Network(init, apply)


def _fno_of(modes, rank, **options):
  return fno((modes,) * rank, **options)
