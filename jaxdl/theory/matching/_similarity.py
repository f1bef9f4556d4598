# SPDX-License-Identifier: Apache-2.0
"""How alike two sets of units are as a whole, whatever their basis.

All are computed from moments, so samples may have streamed past; those that
invert or factor covariances do so on the host, in float64.
"""

import chex
import jax.numpy as jnp
import numpy as np

from jaxdl.core import checks, registry
from jaxdl.theory.matching import _moments, _sparse


def linear_cka(moments: _moments.Moments) -> chex.Array:
  """Centered kernel alignment with linear kernels.

  |cov(x, y)|² / (|cov(x, x)| |cov(y, y)|) in Frobenius norms: 1 for equal units
  in any rotated basis and any common scale.

  Args:
    moments: of two networks.

  Returns:
    f[] in [0, 1]; 0 where a network has no unit that varies.

  Raises:
    ValueError: if there are not two networks.

  Example:
    >>> x = jnp.array([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
    >>> turned = x @ jnp.array([[0.6, 0.8], [-0.8, 0.6]])
    >>> linear_cka(_moments.activation_moments(x, turned)).round(4).item()
    1.0

  Source: Kornblith et al. 2019 (https://arxiv.org/abs/1905.00414), equation 4.
  """
  _sparse.check_pair(moments)
  size = lambda x, scale: jnp.linalg.norm(x / scale)
  # Squares of small or large numbers would not fit into float32.
  top = lambda k: jnp.max(jnp.abs(moments.between(k, k)))
  scale_x, scale_y = top(0), top(1)
  zero = (scale_x <= 0) | (scale_y <= 0)
  safe = lambda s: jnp.where(zero, 1, s)
  scale_x, scale_y = safe(scale_x), safe(scale_y)
  shared = size(moments.between(0, 1), jnp.sqrt(scale_x) * jnp.sqrt(scale_y))
  own = size(moments.between(0, 0), scale_x) * size(
    moments.between(1, 1), scale_y
  )
  return jnp.where(zero, 0, jnp.square(shared) / jnp.where(zero, 1, own))


def host_covariances(moments: _moments.Moments) -> list[np.ndarray]:
  """The covariances of two networks in float64: xx, xy, yy."""
  _sparse.check_pair(moments)
  blocks = [
    checks.host_array(moments.between(i, j), name='moments').astype(float)
    for i, j in ((0, 0), (0, 1), (1, 1))
  ]
  if not all(np.isfinite(b).all() for b in blocks):
    raise ValueError('moments must be finite; a unit is not.')
  return blocks


def _whitening(cov, tol):
  """W with W' cov W = I on the directions that vary."""
  scale = np.sqrt(np.maximum(np.diag(cov), 0))
  gain = np.where(scale > 0, 1 / np.where(scale > 0, scale, 1), 0)
  # Units of very different scales must not hide one another.
  values, vectors = np.linalg.eigh(cov * gain[:, None] * gain)
  keep = values > tol * max(values[-1], 0) if len(values) else values > 0
  keep &= values > 0
  return gain[:, None] * vectors[:, keep] / np.sqrt(values[keep])


def canonical_correlations(
  moments: _moments.Moments, *, tol: float = 1e-6
) -> np.ndarray:
  """Correlations of the directions that two networks share most.

  Args:
    moments: of two networks, concrete.
    tol: directions of a smaller share of the largest variance (of standardized
      units) are noise of rounding.

  Returns:
    float64[min(rank 1, rank 2)] in [0, 1], descending; cosines of the principal
    angles between the centered activations. Their mean is the usual measure.

  Raises:
    ValueError: if there are not two networks, or a unit is not finite.
    TypeError: if moments are traced.

  Example:
    >>> x = jnp.array([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0], [3.0, 2.0]])
    >>> found = canonical_correlations(_moments.activation_moments(x, 2 * x))
    >>> found.round(3).tolist()
    [1.0, 1.0]

  Source: Hotelling 1936; Raghu et al. 2017 (https://arxiv.org/abs/1706.05806).
  """
  checks.number(tol, name='tol', low=0.0, high=1.0)
  xx, xy, yy = host_covariances(moments)
  inner = _whitening(xx, tol).T @ xy @ _whitening(yy, tol)
  if 0 in inner.shape:
    return np.zeros(0)
  return np.clip(np.linalg.svd(inner, compute_uv=False), 0, 1)


def procrustes(moments: _moments.Moments) -> float:
  """What the best rotation leaves between two networks.

  1 - (|x' y|_* )² / (|x|² |y|²) of centered activations: 0 for equal units in
  any rotated basis and any common scale, 1 for none in common.

  Args:
    moments: of two networks, concrete.

  Returns:
    A number in [0, 1]; 1 where a network has no unit that varies.

  Raises:
    ValueError, TypeError: as `canonical_correlations`.

  Example:
    >>> x = jnp.array([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
    >>> turned = 3 * x @ jnp.array([[0.6, 0.8], [-0.8, 0.6]])
    >>> round(procrustes(_moments.activation_moments(x, turned)), 4)
    0.0

  Source: Schönemann 1966; as the disparity of `scipy.spatial.procrustes`.
  """
  xx, xy, yy = host_covariances(moments)
  size = np.trace(xx) * np.trace(yy)
  if size <= 0:
    return 1.0
  nuclear = np.linalg.svd(xy, compute_uv=False).sum()
  return float(np.clip(1 - nuclear**2 / size, 0, 1))


def principal_angles(x: chex.Array, y: chex.Array) -> np.ndarray:
  """Angles between what the units of two networks span over the samples.

  Args:
    x: f[..., n1], concrete; centered here.
    y: f[..., n2], on the same samples.

  Returns:
    float64[min(rank 1, rank 2)] in radians, ascending.

  Raises:
    ValueError: for different numbers of samples or numbers that are not finite.
    TypeError: if they are traced.

  Example:
    >>> x = np.array([[1.0], [-1.0], [0.0]])
    >>> y = np.array([[1.0], [1.0], [-2.0]])
    >>> principal_angles(x, y).round(4).tolist()
    [1.5708]

  Source: Björck & Golub 1973; `scipy.linalg.subspace_angles`.
  """
  from scipy import linalg

  sides = []
  for name, value in (('x', x), ('y', y)):
    host = checks.host_array(value, name=name)
    if host.ndim < 2:
      _moments.units(value, layer=name)
    _moments.check_finite(host, layer=name)
    host = host.astype(float).reshape(-1, host.shape[-1])
    sides.append(host - host.mean(axis=0))
  if len(sides[0]) != len(sides[1]):
    raise ValueError(
      'x and y must be of the same samples in the same order; got '
      f'{len(sides[0])} and {len(sides[1])}.'
    )
  # What single precision cannot tell apart is no direction of its own.
  bases = [linalg.orth(s, rcond=1e-6) for s in sides]
  if not all(b.shape[1] for b in bases):
    return np.zeros(0)
  return linalg.subspace_angles(*bases)[::-1]


def _cka(moments):
  return float(linear_cka(moments))


def _cca(moments, tol=1e-6):
  found = canonical_correlations(moments, tol=tol)
  return float(found.mean()) if found.size else 0.0


def _procrustes(moments):
  return 1.0 - procrustes(moments)


# Numbers in [0, 1] of two networks, 1 for the same up to a rotation or more.
SIMILARITIES = registry.Registry(
  'similarity',
  {'cka': _cka, 'cca': _cca, 'procrustes': _procrustes},
  given=('moments',),
)
