# SPDX-License-Identifier: Apache-2.0
"""Activations with a ridgelet that inverts them, and what a bound keeps.

Spectra are on the host, in float64; hat phi(z) = int phi(t) exp(-i z t) dt.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import chex
import jax.numpy as jnp
import numpy as np

from jaxdl.core import checks, registry

Spectrum = Callable[[np.ndarray], np.ndarray]

# Octaves of |z| that integrals run over.
_OCTAVES = (-60, 12)
_NEGLIGIBLE = 1e-9


class RidgeletPair(NamedTuple):
  """An activation and a ridgelet.

  Attributes:
    activation: s, elementwise.
    ridgelet: rho, elementwise.
    activation_hat: spectrum of s, f[...] -> real or complex [...], of NumPy.
    ridgelet_hat: spectrum of rho.
  """

  activation: Callable[[chex.Array], chex.Array]
  ridgelet: Callable[[chex.Array], chex.Array]
  activation_hat: Spectrum
  ridgelet_hat: Spectrum


def gaussian_pair(dim: int = 1) -> RidgeletPair:
  """Returns s(z) = exp(-z^2 / 2) with rho_hat = sqrt(2 pi) |z|^(d+1) s(z).

  In one dimension rho(z) = (1 - z^2) exp(-z^2 / 2). Restricting the weights to
  |a| <= lambda multiplies the spectrum of a function by exp(-|w|^2 /
  lambda^2), in every dimension.

  Args:
    dim: d >= 1.

  Returns:
    A `RidgeletPair`; for even d, rho is a sum of 512 cosines, good for |z| <
    60.

  Example:
    >>> pair = gaussian_pair()
    >>> [float(pair.ridgelet(z)) for z in (0.0, 1.0)]
    [1.0, 0.0]

  Source: derived here; cf. Sonoda & Murata 2017
  (https://arxiv.org/abs/1505.03654).
  """
  checks.integer(dim, name='dim', low=1)
  root = math.sqrt(2 * math.pi)
  bell = lambda z: np.exp(-np.square(z) / 2)
  return RidgeletPair(
    lambda z: jnp.exp(-jnp.square(z) / 2),
    _even_derivative(dim + 1) if dim % 2 else _by_cosines(dim + 1),
    lambda z: root * bell(z),
    lambda z: root * np.abs(z) ** (dim + 1) * bell(z),
  )


def _even_derivative(order):
  """(-1)^(order / 2) times a derivative of the bell: |z|^order is z^order."""
  powers = np.polynomial.hermite_e.herme2poly([0.0] * order + [1.0])
  powers = (-1) ** (order // 2) * powers

  def ridgelet(z):
    z = jnp.asarray(z, jnp.result_type(float, z))
    value = jnp.polyval(jnp.asarray(powers[::-1], z.dtype), z)
    return value * jnp.exp(-z * z / 2)

  return ridgelet


def _by_cosines(order):
  """Inverse transform of sqrt(2 pi) |z|^order exp(-z^2 / 2)."""
  nodes, shares = np.polynomial.legendre.leggauss(512)
  nodes = 7.0 * (nodes + 1)
  shares = 7.0 * shares * nodes**order * np.exp(-(nodes**2) / 2)
  shares = shares * math.sqrt(2 * math.pi) / math.pi

  def ridgelet(z):
    z = jnp.asarray(z, jnp.result_type(float, z))
    waves = jnp.cos(z[..., None] * _like(nodes, z))
    return jnp.matmul(waves, jnp.asarray(shares, z.dtype), precision='highest')

  return ridgelet


def _like(values, z):
  """Values on the last axis of z[..., None]."""
  shape = (1,) * jnp.ndim(z) + (values.size,)
  return jnp.asarray(values, z.dtype).reshape(shape)


PAIRS = registry.Registry('pair', {'gaussian': gaussian_pair}, given=('dim',))


def _integrals(s_hat, rho_hat, dim, points):
  """Integrals of the pair over |z| between neighbors of points, and octaves."""
  from scipy import integrate

  def density(z):
    both = np.array([z, -z])
    product = np.asarray(s_hat(both)) * np.conj(np.asarray(rho_hat(both)))
    return float(np.real(product.sum())) / z**dim

  octaves = 2.0 ** np.arange(_OCTAVES[0], _OCTAVES[1] + 1)
  inside = points[(points > octaves[0]) & (points < octaves[-1])]
  ends = np.unique(np.concatenate([octaves, inside]))
  with np.errstate(over='ignore', invalid='ignore', divide='ignore'):
    parts = [
      integrate.quad(density, low, high, limit=200, full_output=1)[0]
      for low, high in zip(ends[:-1], ends[1:], strict=True)
    ]
  return ends, np.array(parts), octaves


def admissibility(s_hat: Spectrum, rho_hat: Spectrum, *, dim: int = 1) -> float:
  """Computes ((s, rho)), by which a synthesis is divided.

  ((s, rho)) = (2 pi)^(d-1) int s_hat(z) conj(rho_hat(z)) |z|^(-d) dz, for real
  s and rho.

  Args:
    s_hat: spectrum of the activation, a NumPy function.
    rho_hat: spectrum of the ridgelet.
    dim: d.

  Returns:
    The number.

  Raises:
    ValueError: if it is zero or infinite: the pair is not admissible.

  Cost: some thousand evaluations on the host.

  Example:
    >>> pair = gaussian_pair()
    >>> round(admissibility(pair.activation_hat, pair.ridgelet_hat), 6)
    6.283185

  Source: Sonoda & Murata 2017 (https://arxiv.org/abs/1505.03654), Definition
  of admissibility.
  """
  checks.integer(dim, name='dim', low=1)
  _, parts, _ = _checked(s_hat, rho_hat, dim, np.array([]))
  return float((2 * math.pi) ** (dim - 1) * parts.sum())


def _checked(s_hat, rho_hat, dim, points):
  ends, parts, octaves = _integrals(s_hat, rho_hat, dim, points)
  size = np.abs(parts).sum()
  edges = (ends[1:] <= octaves[1]) | (ends[:-1] >= octaves[-2])
  if not np.isfinite(size) or np.abs(parts[edges]).max() > _NEGLIGIBLE * size:
    raise ValueError(
      f'the pair is not admissible in d={dim}: ((s, rho)) is infinite. Take a '
      'ridgelet whose spectrum vanishes at 0 and at infinity.'
    )
  if abs(parts.sum()) <= _NEGLIGIBLE * size or size == 0:
    raise ValueError(
      f'the pair is not admissible in d={dim}: ((s, rho)) is zero, and the '
      'transform cannot be inverted. Spectra must overlap and be of like '
      'parity.'
    )
  return ends, parts, octaves


def lowpass_multiplier(
  s_hat: Spectrum,
  rho_hat: Spectrum,
  w: chex.Array,
  *,
  scale: float,
  dim: int = 1,
) -> np.ndarray:
  """Computes by what a bound |a| <= lambda multiplies the spectrum of a target.

  M(w) = int_{|z| >= |w| / lambda} s_hat conj(rho_hat) |z|^-d dz over the same
  integral without a bound: exact for the synthesis restricted to such weights
  (and all biases). Everything depends on w / lambda alone.

  Args:
    s_hat: spectrum of the activation, a NumPy function.
    rho_hat: spectrum of the ridgelet.
    w: f[...], |w|, frequencies of the target in radians per unit.
    scale: lambda > 0.
    dim: d.

  Returns:
    float64[...] on the host; M(0) = 1.

  Raises:
    ValueError: if the pair is not admissible, lambda not positive, or a
      frequency not finite.

  Cost: an adaptive integral per distinct |w|.

  Example:
    >>> pair = gaussian_pair()
    >>> spectra = pair.activation_hat, pair.ridgelet_hat
    >>> lowpass_multiplier(*spectra, np.array([0.0, 2.0]), scale=2.0).round(6)
    array([1.      , 0.367879])

  Source: derived here.
  """
  checks.integer(dim, name='dim', low=1)
  checks.number(scale, name='scale', low=0.0, open_low=True)
  w = np.abs(checks.host_array(w, name='w').astype(np.float64))
  if not np.isfinite(w).all():
    raise ValueError('w must be finite; got NaN or an infinite frequency.')
  points, place = np.unique(w / scale, return_inverse=True)
  ends, parts, _ = _checked(s_hat, rho_hat, dim, points)
  beyond = np.append(np.cumsum(parts[::-1])[::-1], 0.0)
  values = beyond[np.searchsorted(ends, np.clip(points, ends[0], ends[-1]))]
  return (values / beyond[0])[place].reshape(w.shape)
