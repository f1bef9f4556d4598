# SPDX-License-Identifier: Apache-2.0
"""Dense layers, and channel-last convolutions with boundary conditions.

Implementations of the same sums. 'conv' calls the platform's convolution;
'patches' gathers shifted copies and contracts them in one matrix product. With
one set of parameters they cost the same on CPU. With one set per client, and
inside `lax.map` and `lax.scan`, 'patches' is faster there: a vmapped
convolution becomes a grouped one and a looped one runs on one thread (8 small
multigrid networks, gradients: vmap 254 against 195 ms, map 372 against 154 ms).
It takes twice as long to compile. 'conv' gathers too where that is faster even
for one set: on grids smaller than the kernel, where the compiler takes the
kernel for the image (a periodic U-Net: 86 against 55 ms), and for one input
channel (half the time of such a layer). 'native' and 'windows' are those two
without exceptions, for networks of images: the platform's convolution, which
pads by itself and needs least memory, and windows whose entries come in the
order of the kernel's. 'auto' takes 'patches' on CPU and 'conv' elsewhere.

Cells of padding are written out: on CPU that is faster than a convolution that
pads. Transposed convolutions are computed phase by phase (a small ordinary
convolution, then interleaving): a dilated convolution multiplies by the zeros
it inserts, and its CPU gradient is four to six times slower.
"""

import itertools
import math
from collections.abc import Mapping

import chex
import jax
import jax.numpy as jnp

from jaxdl.core import checks

PADDINGS = ('zeros', 'circular', 'reflect', 'replicate')
METHODS = ('conv', 'patches', 'native', 'windows', 'auto')
_LETTERS = 'DHW'


def pad(x: chex.Array, width: int, mode: str) -> chex.Array:
  """Extends every spatial axis by `width` cells on both sides.

  Args:
    x: f[B, *grid, C].
    width: number of cells, `width < min(grid)` for 'reflect'.
    mode: 'zeros' (Dirichlet), 'circular' (periodic), 'reflect' (Neumann, the
      edge node is the mirror) or 'replicate'.

  Returns:
    f[B, *(grid + 2 * width), C].

  Raises:
    ValueError: if the mode is unknown or the grid is too small for it.
  """
  checks.choice(mode, PADDINGS, name='padding')
  if width == 0:
    return x
  if mode == 'zeros':
    inner = [(width, width)] * (x.ndim - 2)
    return jnp.pad(x, [(0, 0), *inner, (0, 0)])
  for axis in range(1, x.ndim - 1):
    size = x.shape[axis]
    if size < width + (mode == 'reflect'):
      raise ValueError(
        f'{mode} padding by {width} needs at least '
        f'{width + (mode == "reflect")} cells per axis; got a grid '
        f'{x.shape[1:-1]}: use fewer levels or a finer grid.'
      )

    def cut(lo, hi, x=x, axis=axis):
      return jax.lax.slice_in_dim(x, lo, hi, axis=axis)

    if mode == 'circular':
      left, right = cut(size - width, size), cut(0, width)
    elif mode == 'reflect':
      left = jnp.flip(cut(1, width + 1), axis)
      right = jnp.flip(cut(size - width - 1, size - 1), axis)
    else:
      left = jnp.repeat(cut(0, 1), width, axis)
      right = jnp.repeat(cut(size - 1, size), width, axis)
    x = jnp.concatenate([left, x, right], axis)
  return x


def convolve(
  x: chex.Array,
  kernel: chex.Array,
  bias: chex.Array | None = None,
  *,
  stride: int = 1,
  dilation: int = 1,
  width: int = 0,
  padding: str = 'zeros',
  method: str = 'conv',
) -> chex.Array:
  """Correlates a channel-last batch with a kernel.

  Args:
    x: f[B, *grid, I].
    kernel: f[*k, I, O].
    bias: f[O] or None.
    stride: step between outputs.
    dilation: step between taps.
    width: cells of padding at each end of each axis.
    padding: what they hold, see `pad`.
    method: 'conv', 'patches' (faster on CPU under `vmap` over parameters and
      inside `lax.map` and `lax.scan`), 'auto', 'native' or 'windows', see the
      module.

  Returns:
    f[B, *out, O], out = (grid + 2 width - dilation (k - 1) - 1) // stride + 1.

  Raises:
    ValueError: if ranks, channels or options do not fit.

  Example:
    >>> x = jnp.arange(4.0).reshape(1, 4, 1)
    >>> convolve(x, jnp.ones((3, 1, 1)), width=1).ravel().tolist()
    [1.0, 3.0, 6.0, 5.0]
  """
  checks.choice(method, METHODS, name='method')
  if method == 'auto':
    method = 'patches' if jax.default_backend() == 'cpu' else 'conv'
  x = jnp.asarray(x)
  rank = kernel.ndim - 2
  if x.ndim != rank + 2:
    raise ValueError(
      f'x must be [batch, {rank} grid axes, channels] for a kernel '
      f'{kernel.shape}; got shape {x.shape}.'
    )
  if x.shape[-1] != kernel.shape[-2]:
    raise ValueError(
      f'x has {x.shape[-1]} channels but the kernel expects '
      f'{kernel.shape[-2]} (shapes {x.shape} and {kernel.shape}).'
    )
  dtype = jnp.promote_types(x.dtype, kernel.dtype)
  x, kernel = x.astype(dtype), kernel.astype(dtype)
  spatial = kernel.shape[:-2]
  span = [dilation * (k - 1) + 1 for k in spatial]
  if any(n + 2 * width < s for n, s in zip(x.shape[1:-1], span, strict=True)):
    raise ValueError(
      f'the grid {x.shape[1:-1]} is smaller than the kernel {spatial}: use '
      'fewer levels or a finer grid.'
    )
  inside = method == 'native' and padding == 'zeros'
  if not inside:
    x = pad(x, width, padding)
  if method == 'native' or (
    method == 'conv' and not _gathers(x.shape, kernel.shape, span, stride)
  ):
    letters = _LETTERS[3 - rank :]
    y = jax.lax.conv_general_dilated(
      x,
      kernel,
      (stride,) * rank,
      [(width, width)] * rank if inside else 'VALID',
      rhs_dilation=(dilation,) * rank,
      dimension_numbers=(f'N{letters}C', f'{letters}IO', f'N{letters}C'),
    )
  elif stride == 1 and math.prod(spatial) == 1:
    y = flat_matmul(x, kernel.reshape(kernel.shape[-2:]))
  else:
    y = _by_windows(x, kernel, stride, dilation, ordered=method == 'windows')
  if bias is not None:
    y = y + jnp.broadcast_to(bias.astype(dtype), y.shape)
  return y


def _gathers(shape, kernel_shape, span, stride):
  """Whether windows are faster on CPU than a convolution, or no window is."""
  *spatial, c_in, _ = kernel_shape
  largest = max(
    (n - s) // stride + 1 for n, s in zip(shape[1:-1], span, strict=True)
  )
  lone = stride == 1 and math.prod(spatial) == 1
  return lone or largest < max(spatial) or c_in == 1


def _by_windows(x, kernel, stride, dilation, *, ordered):
  """One axis after the other: 3 + 3 slices where all taps would be 9."""
  *spatial, _, c_out = kernel.shape
  rank = len(spatial)
  axes = list(enumerate(spatial, start=1))
  for axis, size in axes[::-1] if ordered else axes:
    x = gather_windows(x, axis, size, stride=stride, dilation=dilation)
  if not ordered:
    # The last axis' taps came last, so they vary slowest.
    kernel = kernel.transpose(*range(rank - 1, -1, -1), rank, rank + 1)
  kernel = kernel.reshape(-1, c_out)
  return x @ kernel if ordered else flat_matmul(x, kernel)


def gather_windows(
  x: chex.Array, axis: int, size: int, *, stride: int = 1, dilation: int = 1
) -> chex.Array:
  """Puts the entries of each window along an axis into the channels.

  One axis after the other, `size` slices each, this gathers the windows of a
  convolution with fewer copies than all taps at once.

  Args:
    x: [..., C], n entries along the axis.
    axis: any but the last (static).
    size: entries of a window (static).
    stride: step between windows (static).
    dilation: step between the entries of a window (static).

  Returns:
    [..., size C] with `(n - dilation (size - 1) - 1) // stride + 1` entries
    along the axis; the taps vary slowest in the last.

  Example:
    >>> gather_windows(jnp.arange(4.0)[:, None], 0, 2, stride=2)
    Array([[0., 1.],
           [2., 3.]], dtype=float32)
  """
  count = (x.shape[axis] - dilation * (size - 1) - 1) // stride + 1
  parts = [
    jax.lax.slice_in_dim(
      x, t * dilation, t * dilation + stride * (count - 1) + 1, stride, axis
    )
    for t in range(size)
  ]
  return jnp.concatenate(parts, -1) if size > 1 else parts[0]


def flat_matmul(x: chex.Array, kernel: chex.Array) -> chex.Array:
  """Computes x @ kernel as one matrix product.

  Contracting several leading axes at once, as the gradient of x @ kernel would,
  is two to three times slower on CPU.
  """
  shape = x.shape[:-1]
  if len(shape) > 1:
    x = x.reshape(-1, x.shape[-1])
  return (x @ kernel).reshape(*shape, kernel.shape[-1])


def dense(
  params: Mapping[str, chex.Array], x: chex.Array, *, flat: bool = True
) -> chex.Array:
  """Applies x @ kernel + bias to the last axis.

  Args:
    params: 'kernel' f[I, O] and, if there is one, 'bias' f[O].
    x: [..., I].
    flat: whether leading axes are merged first, which is faster on CPU.

  Returns:
    f[..., O].

  Raises:
    ValueError: if the last axis of x is not I.

  Example:
    >>> dense({'kernel': jnp.ones((3, 2))}, jnp.ones((4, 3))).shape
    (4, 2)
  """
  kernel = params['kernel']
  if x.shape[-1] != kernel.shape[0]:
    raise ValueError(
      f'the layer expects {kernel.shape[0]} values per example, got '
      f'{x.shape[-1]} (shape {x.shape}).'
    )
  y = flat_matmul(x, kernel) if flat else x @ kernel
  if 'bias' in params:
    y = y + jnp.broadcast_to(params['bias'], y.shape)
  return y


def upsampling_kernel_sizes(grid: tuple[int, ...]) -> tuple[int, ...]:
  """Kernel sizes that bring the next coarser grid back to `grid`.

  Four where the fine size is even and three where it is odd, for padded and
  unpadded coarsening alike.

  Example:
    >>> upsampling_kernel_sizes((211, 106))
    (3, 4)
  """
  return tuple(4 - n % 2 for n in grid)


def coarse_grid(
  grid: tuple[int, ...], *, padded: bool = True
) -> tuple[int, ...]:
  """Sizes after a 3-point stride-2 convolution.

  Example:
    >>> coarse_grid((211, 64)), coarse_grid((101, 24), padded=False)
    ((106, 32), (50, 11))
  """
  return tuple((n + 1) // 2 if padded else (n - 1) // 2 for n in grid)


def upsample(
  x: chex.Array,
  kernel: chex.Array,
  bias: chex.Array | None = None,
  *,
  grid: tuple[int, ...] | None = None,
  padded: bool = True,
  periodic: bool = False,
  method: str = 'conv',
) -> chex.Array:
  """Applies the stride-2 transposed convolution with kernels of 3 or 4.

  Coarse cell i adds `kernel[k] * x[i]` to fine cell `2 i + k - 1` (padded) or
  `2 i + k` (unpadded), on each axis: the layout of a scattered stencil, that
  is, of PyTorch's weights with the channel axes moved to the end.

  Args:
    x: f[B, *grid, I].
    kernel: f[*k, I, O], every k 3 or 4.
    bias: f[O] or None.
    grid: fine sizes, at most 2 grid (padded); by default those below.
    padded: whether one fine cell is cropped at each end.
    periodic: whether the coarse grid wraps around (needs `padded`).
    method: see `convolve`.

  Returns:
    f[B, *fine, O], fine = 2 (grid - 1) + k - 2 padded.

  Raises:
    ValueError: if a kernel size is not 3 or 4.
  """
  spatial, (c_in, c_out) = kernel.shape[:-2], kernel.shape[-2:]
  rank = len(spatial)
  if any(k not in (3, 4) for k in spatial):
    raise ValueError(f'kernel sizes must be 3 or 4; got {kernel.shape}.')
  fine = grid or tuple(
    2 * (n - 1) + k - 2 * padded
    for n, k in zip(x.shape[1:-1], spatial, strict=True)
  )
  kernel = jnp.pad(kernel, [(0, 4 - k) for k in spatial] + [(0, 0), (0, 0)])
  # Tap t, phase r of each axis; cell i - 1 meets the last two entries.
  kernel = kernel.reshape(*(2, 2) * rank, c_in, c_out)
  kernel = jnp.flip(kernel, tuple(range(0, 2 * rank, 2)))
  taps, phases = range(0, 2 * rank, 2), range(1, 2 * rank, 2)
  kernel = kernel.transpose(*taps, 2 * rank, *phases, 2 * rank + 1)
  kernel = kernel.reshape(*(2,) * rank, c_in, 2**rank * c_out)
  y = convolve(
    x,
    kernel,
    width=1,
    padding='circular' if periodic else 'zeros',
    method=method,
  )
  windows = y.shape[1:-1]
  y = y.reshape(y.shape[0], *windows, *(2,) * rank, c_out)
  order = itertools.chain(*((1 + a, 1 + rank + a) for a in range(rank)))
  y = y.transpose(0, *order, 1 + 2 * rank)
  y = y.reshape(y.shape[0], *(2 * n for n in windows), c_out)
  start = int(padded)
  index = tuple(slice(start, start + n) for n in fine)
  y = y[(slice(None), *index)]
  if bias is not None:
    y = y + jnp.broadcast_to(bias.astype(y.dtype), y.shape)
  return y
