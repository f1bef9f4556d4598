# SPDX-License-Identifier: Apache-2.0
"""Errors between functions on grids: one number per sample.

All take `predictions` and `targets` f[B, *grid, C] and return f[B]. Relative
errors divide by the target's norm; a target that vanishes divides by one
instead, so its error is absolute, and finite. Values are squared in units of
their own size: errors and norms are right over the whole range of the type.
"""

import functools
import math
from collections.abc import Callable, Sequence

import chex
import jax
import jax.numpy as jnp
import numpy as np

from jaxdl.core import checks, registry, trees


def _compare(predictions, targets):
  if predictions.shape != targets.shape:
    raise ValueError(
      f'predictions {predictions.shape} and targets {targets.shape} must have '
      'the same shape.'
    )
  if predictions.ndim < 1:
    raise ValueError('predictions must have a leading sample axis.')


def _rows(x):
  return x.reshape(x.shape[0], -1)


def _root(x, power):
  """X ** (1 / power) with a zero derivative at zero; NaN stays NaN."""
  positive = x > 0
  safe = jnp.where(positive, x, 1)
  root = jnp.sqrt(safe) if power == 2 else safe ** (1 / power)
  return jnp.where(positive, root, jax.lax.stop_gradient(x))


def _unit(x):
  """A power of two per sample, about its largest value: f[B, 1, ...]."""
  axes = tuple(range(1, x.ndim))
  return trees.power_of_two(jnp.max(jnp.abs(x), axis=axes, keepdims=True))


def _in_units(norm, x):
  """A norm f[B], or a dict of them, that may square; in units of `x`."""
  unit = _unit(x)
  values, unit = norm(x / unit), unit.reshape(-1)
  if isinstance(values, dict):
    return {name: value * unit for name, value in values.items()}
  return values * unit


def _relative(norm, predictions, targets):
  """Norm of the error over that of the target, both in the target's units."""
  unit = _unit(targets)
  predictions, targets = predictions / unit, targets / unit
  error = _in_units(norm, predictions - targets)
  return _ratio(error, norm(targets))


def _euclidean(x):
  return _root(jnp.square(_rows(x)).sum(-1), 2)


def _norm(x, power):
  if power == 2:
    return _in_units(_euclidean, x)
  x = jnp.abs(_rows(x))
  if power == 1:
    return x.sum(-1)
  largest = x.max(-1)
  if power == math.inf:
    return largest
  unit = jax.lax.stop_gradient(largest)
  unit = jnp.where((unit > 0) & jnp.isfinite(unit), unit, 1)
  return unit * _root(((x / unit[:, None]) ** power).sum(-1), power)


def _ratio(error, scale):
  return error / jnp.where(scale > 0, scale, 1)


def relative_lp(
  predictions: chex.Array, targets: chex.Array, *, power: float = 2
) -> chex.Array:
  """Returns |p - y|_q / |y|_q for every sample.

  Args:
    predictions: f[B, ...].
    targets: f[B, ...]; a vanishing row counts as norm one.
    power: q >= 1 (static), infinity for the largest value.

  Returns:
    f[B].

  Example:
    >>> y = jnp.array([[3.0, 4.0], [0.0, 0.0]])
    >>> relative_lp(1.5 * y, y).tolist()
    [0.5, 0.0]
  """
  checks.number(power, name='power', low=1, finite=False)
  _compare(predictions, targets)
  norm = lambda x: _norm(x, power)
  return _relative(_euclidean if power == 2 else norm, predictions, targets)


def relative_l2(predictions: chex.Array, targets: chex.Array) -> chex.Array:
  """Returns |p - y| / |y| for every sample, see `relative_lp`."""
  return relative_lp(predictions, targets, power=2)


def absolute_lp(
  predictions: chex.Array,
  targets: chex.Array,
  *,
  power: float = 2,
  spacing: Sequence[float] = (),
) -> chex.Array:
  """Returns (prod h)^(1/q) |p - y|_q for every sample.

  Args:
    predictions: f[B, ...].
    targets: f[B, ...].
    power: q >= 1 (static).
    spacing: grid spacings h, one per axis; none counts as one.

  Returns:
    f[B].
  """
  checks.number(power, name='power', low=1, finite=False)
  _compare(predictions, targets)
  volume = math.prod(spacing) ** (1 / power)
  return volume * _norm(predictions - targets, power)


def mse(predictions: chex.Array, targets: chex.Array) -> chex.Array:
  """Returns the mean squared error of every sample."""
  _compare(predictions, targets)
  return jnp.square(_rows(predictions - targets)).mean(-1)


def normalized_mse(predictions: chex.Array, targets: chex.Array) -> chex.Array:
  """Returns squared errors over the *batch* mean of squared targets.

  The loss of the fractional-derivative study, f[B] whose mean is
  mean((p - y)^2) / mean(y^2).
  """
  _compare(predictions, targets)
  unit = trees.power_of_two(jnp.max(jnp.abs(targets)))
  targets = targets / unit
  scale = jnp.square(targets).mean()
  return _ratio(mse(predictions / unit, targets), scale)


def _wavenumbers(grid):
  """Integer wavenumbers of each axis for rfftn over all axes."""
  ks = [np.fft.fftfreq(n, 1 / n) for n in grid[:-1]]
  ks.append(np.fft.rfftfreq(grid[-1], 1 / grid[-1]))
  return [
    k.reshape([-1 if i == j else 1 for j in range(len(grid))])
    for i, k in enumerate(ks)
  ]


def _spectrum(x):
  """Squared moduli of the orthonormal FFT, doubled where rfft halves."""
  grid = x.shape[1:-1]
  z = jnp.fft.rfftn(jnp.moveaxis(x, -1, 1), axes=range(2, x.ndim), norm='ortho')
  twice = np.full(z.shape[-1], 2.0)
  twice[0] = 1.0
  if grid[-1] % 2 == 0:
    twice[-1] = 1.0
  power = jnp.square(z.real) + jnp.square(z.imag)
  twice = jnp.asarray(twice, power.dtype)
  return power * twice.reshape((1,) * (power.ndim - 1) + (-1,))


def relative_h1_spectral(
  predictions: chex.Array,
  targets: chex.Array,
  *,
  weight: float = 1.0,
  max_wavenumber: int = 20,
) -> chex.Array:
  """Returns the relative norm of w(k) FFT(p - y).

  w(k)^2 = 1 + a^2 |k|^2, where wavenumber components from `max_wavenumber` on
  count as zero (their derivatives are mostly grid noise). Wavenumbers are
  integers, without 2 pi; channels are summed.

  Args:
    predictions: f[B, *grid, C].
    targets: f[B, *grid, C]; a vanishing sample counts as norm one.
    weight: a; zero gives `relative_l2`.
    max_wavenumber: first component that is ignored.

  Returns:
    f[B].

  Cost: two real FFTs.

  Source: He, Liu and Xu 2024 (https://arxiv.org/abs/2310.19809).
  """
  _compare(predictions, targets)
  _need_grid(predictions)
  factor = 1.0
  for k in _wavenumbers(predictions.shape[1:-1]):
    k = np.where(np.abs(k) < max_wavenumber, np.abs(k), 0.0)
    factor = factor + weight**2 * k**2
  factor = jnp.asarray(factor, predictions.dtype)[None, None]

  def norm(x):
    power = _spectrum(x)
    return _root(
      _rows(power * jnp.broadcast_to(factor, power.shape)).sum(-1), 2
    )

  return _relative(norm, predictions, targets)


def _need_grid(x):
  if x.ndim < 3:
    raise ValueError(
      'predictions must be [batch, *grid, channels] with at least one grid '
      f'axis; got shape {x.shape}.'
    )


def gradient(
  x: chex.Array, *, spacing: Sequence[float], periodic: bool = False
) -> list[chex.Array]:
  """Takes finite differences along every grid axis.

  Args:
    x: f[B, *grid, C].
    spacing: one grid spacing per axis.
    periodic: central differences that wrap around, or one-sided differences
      of second order at the edges.

  Returns:
    One f[B, *grid, C] per axis.
  """
  out = []
  for axis, h in enumerate(spacing, start=1):
    central = jnp.roll(x, -1, axis) - jnp.roll(x, 1, axis)
    if not periodic:
      n = x.shape[axis]
      if n < 3:
        raise ValueError(f'a grid axis of {n} points has no gradient: need 3.')
      at = [jax.lax.slice_in_dim(x, i, i + 1, axis=axis) for i in range(3)]
      end = [
        jax.lax.slice_in_dim(x, n - 1 - i, n - i, axis=axis) for i in range(3)
      ]
      first = -3 * at[0] + 4 * at[1] - at[2]
      last = 3 * end[0] - 4 * end[1] + end[2]
      inner = jax.lax.slice_in_dim(central, 1, n - 1, axis=axis)
      central = jnp.concatenate([first, inner, last], axis)
    out.append(central / (2 * h))
  return out


def _spacings(spacing, predictions):
  _need_grid(predictions)
  rank = predictions.ndim - 2
  if spacing is None:
    return tuple(1.0 / n for n in predictions.shape[1:-1])
  if isinstance(spacing, (int, float)):
    return (spacing,) * rank
  if len(spacing) != rank:
    raise ValueError(f'spacing={spacing} must have {rank} entries.')
  return tuple(spacing)


def relative_h1(
  predictions: chex.Array,
  targets: chex.Array,
  *,
  spacing: Sequence[float] | float | None = None,
  periodic: bool = False,
) -> chex.Array:
  """Returns the relative error in sqrt(|e|^2 + |grad e|^2).

  Args:
    predictions: f[B, *grid, C].
    targets: f[B, *grid, C]; a vanishing sample counts as norm one.
    spacing: grid spacings; 1 / n by default.
    periodic: whether differences wrap around, else one-sided at the edges.

  Returns:
    f[B].
  """
  _compare(predictions, targets)
  steps = _spacings(spacing, predictions)

  def norm(x):
    parts = [x, *gradient(x, spacing=steps, periodic=periodic)]
    return _root(sum(jnp.square(_rows(v)).sum(-1) for v in parts), 2)

  return _relative(norm, predictions, targets)


def helmholtz_loss(
  predictions: chex.Array,
  targets: chex.Array,
  *,
  spacing: Sequence[float] | float | None = None,
  mass: float = 10.0,
) -> chex.Array:
  """Returns sqrt(sum of 10 e^2 + |grad e|^2), an absolute norm.

  Args:
    predictions: f[B, *grid, C].
    targets: f[B, *grid, C].
    spacing: grid spacings; 1 / n by default.
    mass: weight of e^2.

  Returns:
    f[B].

  Source: He, Liu and Xu 2024 (https://arxiv.org/abs/2310.19809).
  """
  _compare(predictions, targets)
  steps = _spacings(spacing, predictions)

  def norm(e):
    total = mass * jnp.square(_rows(e)).sum(-1)
    for part in gradient(e, spacing=steps):
      total = total + jnp.square(_rows(part)).sum(-1)
    return _root(total, 2)

  return _in_units(norm, predictions - targets)


def trimmed_mse(
  predictions: chex.Array, targets: chex.Array, *, fraction: float = 0.001
) -> chex.Array:
  """Returns the mean squared error without the worst values of the batch.

  Args:
    predictions: f[...].
    targets: f[...].
    fraction: share of the squared errors that is dropped, rounded up.

  Returns:
    f[].

  Source: Lu et al. 2021 (https://arxiv.org/abs/1910.03193).
  """
  checks.number(fraction, name='fraction', low=0.0, high=1.0, open_high=True)
  _compare(predictions, targets)
  errors = jnp.sort(jnp.square(predictions - targets).ravel())
  kept = errors.size - math.ceil(fraction * errors.size)
  if kept < 1:
    raise ValueError(f'fraction={fraction} drops all {errors.size} values.')
  return errors[:kept].mean()


def spectral_bands(
  predictions: chex.Array,
  targets: chex.Array,
  *,
  edges: tuple[int, int] = (5, 12),
) -> dict[str, chex.Array]:
  """Splits the root-mean-square error by wavenumber.

  Args:
    predictions: f[B, *grid, C].
    targets: f[B, *grid, C].
    edges: the first |k| of the middle and of the high band; |k| is rounded
      down.

  Returns:
    'low', 'middle' and 'high', f[B]; squares add up to the squared RMSE.

  Source: Takamoto et al. 2022 (https://arxiv.org/abs/2210.07182);
    they average moduli within a band, here energies are kept.
  """
  _compare(predictions, targets)
  _need_grid(predictions)
  radius = np.sqrt(
    sum(k**2 for k in _wavenumbers(predictions.shape[1:-1])) + 0.0
  )
  radius = np.floor(radius + 1e-9)
  bands = {
    'low': radius < edges[0],
    'middle': (radius >= edges[0]) & (radius < edges[1]),
    'high': radius >= edges[1],
  }

  def norms(e):
    power = _spectrum(e) / e[0].size
    spread = lambda keep: jnp.broadcast_to(
      jnp.asarray(keep, power.dtype)[None, None], power.shape
    )
    return {
      name: _root(_rows(power * spread(keep)).sum(-1), 2)
      for name, keep in bands.items()
    }

  return _in_units(norms, predictions - targets)


def energy_spectrum(x: chex.Array) -> chex.Array:
  """Sums the mean square of functions by whole wavenumber.

  Args:
    x: f[B, *grid, C].

  Returns:
    f[K], the energy of all |k| in [i, i + 1), averaged over B and summed over
    C, for i up to half of the shortest axis; with what lies beyond they would
    add up to the mean square summed over C (Parseval).

  Raises:
    ValueError: if there is no grid axis.

  Example:
    >>> wave = jnp.sin(2 * jnp.pi * 3 * jnp.arange(8) / 8)
    >>> [round(float(e), 4) for e in energy_spectrum(wave[None, :, None])]
    [0.0, 0.0, 0.0, 0.5, 0.0]

  Source: the spectra in Li et al. 2021 (https://arxiv.org/abs/2010.08895).
  """
  _need_grid(x)
  grid = x.shape[1:-1]
  radius = np.sqrt(sum(k**2 for k in _wavenumbers(grid)) + 0.0)
  bins = np.floor(radius + 1e-9).astype(np.int32).ravel()
  power = _spectrum(x).sum(1).mean(0).ravel() / np.prod(grid)
  sums = jax.ops.segment_sum(power, bins, num_segments=int(bins.max()) + 1)
  return sums[: min(grid) // 2 + 1]


def pdebench_metrics(
  predictions: chex.Array, targets: chex.Array
) -> dict[str, chex.Array]:
  """Computes the error measures of the PDEBench suite, per sample.

  Args:
    predictions: f[B, *grid, C].
    targets: f[B, *grid, C].

  Returns:
    f[B] each: 'rmse'; 'nrmse' (over the target's RMS); 'max_error';
    'conserved_rmse' (of the grid means, over channels); 'boundary_rmse' (cells
    on the grid's faces); 'fourier_low', 'fourier_middle', 'fourier_high'.

  Source: Takamoto et al. 2022 (https://arxiv.org/abs/2210.07182).
  """
  _compare(predictions, targets)
  _need_grid(predictions)
  e = predictions - targets
  grid = e.shape[1:-1]
  faces = np.zeros(grid, bool)
  for axis in range(len(grid)):
    for end in (0, -1):
      faces[tuple([slice(None)] * axis + [end])] = True
  rms = lambda x: _root(jnp.square(_rows(x)).mean(-1), 2)
  columns = np.flatnonzero(faces.reshape(-1))

  def norms(e):
    rows = e.reshape(e.shape[0], -1, e.shape[-1])
    return {
      'rmse': rms(e),
      'conserved_rmse': rms(rows.mean(1)),
      'boundary_rmse': rms(rows[:, columns]),
    }

  bands = spectral_bands(predictions, targets)
  errors = _in_units(norms, e)
  return {
    'rmse': errors.pop('rmse'),
    'nrmse': _relative(rms, predictions, targets),
    'max_error': jnp.abs(_rows(e)).max(-1),
    **errors,
    **{f'fourier_{name}': x for name, x in bands.items()},
  }


LOSSES = registry.Registry(
  'loss',
  {
    'relative_l2': relative_l2,
    'relative_lp': relative_lp,
    'relative_h1': relative_h1,
    'relative_h1_spectral': relative_h1_spectral,
    'absolute_lp': absolute_lp,
    'helmholtz': helmholtz_loss,
    'mse': mse,
    'normalized_mse': normalized_mse,
  },
  given=('predictions', 'targets'),
)


def make_loss(
  spec: str | Callable[[chex.Array, chex.Array], chex.Array],
  *,
  name: str = 'loss',
) -> Callable[[chex.Array, chex.Array], chex.Array]:
  """Returns the loss of a name.

  Args:
    spec: an entry of `LOSSES`, with options or without; a function passes
      through.
    name: of the argument, for messages.

  Returns:
    `loss(predictions, targets) -> f[B]`.

  Raises:
    ValueError: if there is no such entry or option.

  Example:
    >>> y = jnp.array([[3.0, -4.0]])
    >>> make_loss('relative_lp(power=1)')(2 * y, y).tolist()
    [1.0]
  """
  if callable(spec):
    return spec
  part = LOSSES.part(spec, name=name)
  loss = LOSSES[part.name]
  return functools.partial(loss, **part.options) if part.options else loss
