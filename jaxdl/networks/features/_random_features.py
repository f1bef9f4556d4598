# SPDX-License-Identifier: Apache-2.0
"""Random features that separate inputs from weights: f(w.x + b) = Psi . Phi."""

import functools
from collections.abc import Callable
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np

from jaxdl.core import checks, trees

SPECTRA = ('cos', 'sin', 'gaussian', 'sech')
SPLITS = ('s1', 's2', 's3')
_UNBOUNDED = ('sech',)


def gaussian_projection(
  key: chex.PRNGKey,
  num_features: int,
  dim: int,
  *,
  orthogonal: bool = False,
) -> chex.Array:
  """Draws rows distributed as N(0, I), independent or orthogonal.

  Orthogonal rows come in blocks of `dim` (the last one cut off): uniform
  orthonormal frames, times independent norms of Gaussian rows. They lower the
  variance of kernel estimates and keep them unbiased.

  Args:
    key: consumed.
    num_features: number of rows m (static).
    dim: number of columns d (static).
    orthogonal: which of the two.

  Returns:
    f[m, d].

  Cost: m d normals; orthogonal: m / d factorizations of d x d.

  Source: Yu et al. 2016 (https://arxiv.org/abs/1610.09072).
  """
  checks.integer(num_features, name='num_features', low=1)
  checks.integer(dim, name='dim', low=1)
  if not orthogonal:
    return jax.random.normal(key, (num_features, dim))
  frame_key, norm_key = jax.random.split(key)
  blocks = -(-num_features // dim)
  frames = jax.random.normal(frame_key, (blocks, dim, dim))
  q, r = jnp.linalg.qr(frames)
  # Signs make the frame uniform (Haar), whatever the factorization does.
  signs = jnp.where(jnp.diagonal(r, axis1=-2, axis2=-1) < 0, -1.0, 1.0)
  q = q * signs[:, None, :].astype(q.dtype)
  rows = jnp.swapaxes(q, 1, 2).reshape(-1, dim)[:num_features]
  norms = jnp.linalg.norm(
    jax.random.normal(norm_key, (num_features, dim)), axis=-1, keepdims=True
  )
  return rows * norms


class URF(NamedTuple):
  """Frequencies and projections, drawn once and shared by Phi and Psi.

  Attributes:
    xi: f[m], frequencies in cycles.
    g: f[m, d], rows N(0, I).
    ratio: c[m], tau(xi) / p(xi).
  """

  xi: chex.Array
  g: chex.Array
  ratio: chex.Array


def sample_urf(
  key: chex.PRNGKey,
  num_features: int,
  dim: int,
  *,
  kind: str = 'cos',
  orthogonal: bool = False,
  antithetic: bool = False,
) -> URF:
  """Draws universal random features for one activation.

  Args:
    key: consumed.
    num_features: number m of complex features (static).
    dim: dimension d of inputs and weights (static).
    kind: 'cos', 'sin', 'gaussian' (exp(-z^2/2)) or 'sech'; see `sample_series`
      for others.
    orthogonal: whether projections are orthogonal in blocks.
    antithetic: whether every (xi, g) is used as (-xi, g) too, which makes the
      sum real; m must then be even.

  Returns:
    A `URF`.

  Raises:
    ValueError: if the kind has no integrable spectrum or m is not positive.

  Source: Sehanobish et al. 2024 (https://arxiv.org/abs/2310.13225).
  """
  checks.integer(num_features, name='num_features', low=1)
  if kind not in SPECTRA:
    raise ValueError(
      f'kind={kind!r} has no integrable Fourier transform here: choose one of '
      f'{", ".join(SPECTRA)}, relu_features (kind "relu"), or sample_series '
      'for any function on a bounded range.'
    )
  count = _half(num_features, antithetic)
  xi_key, g_key = jax.random.split(key)
  if kind in ('cos', 'sin'):
    xi = jax.random.rademacher(xi_key, (count,), float) / (2 * jnp.pi)
  elif kind == 'gaussian':
    xi = jax.random.normal(xi_key, (count,)) / (2 * jnp.pi)
  else:
    tiny = 1e-6
    u = jax.random.uniform(xi_key, (count,), minval=tiny, maxval=1 - tiny)
    xi = (2 / jnp.pi) * jnp.log(jnp.tan(jnp.pi * u / 2)) / (2 * jnp.pi)
  g = gaussian_projection(g_key, count, dim, orthogonal=orthogonal)
  xi, g = _mirror(xi, g, antithetic)
  ratio = jnp.ones_like(xi) + 0j
  if kind == 'sin':
    ratio = -1j * jnp.sign(xi)
  return URF(xi, g, ratio)


def _half(num_features, antithetic):
  if antithetic and num_features % 2:
    raise ValueError(
      f'antithetic features come in pairs: num_features={num_features} must '
      'be even.'
    )
  return num_features // 2 if antithetic else num_features


def _mirror(xi, g, antithetic):
  if not antithetic:
    return xi, g
  return jnp.concatenate([xi, -xi]), jnp.concatenate([g, g])


def fourier_series(
  fn: Callable[[np.ndarray], np.ndarray],
  *,
  radius: float,
  half_period: float | None = None,
  num_terms: int = 64,
) -> tuple[np.ndarray, np.ndarray]:
  """Expands a function on [-radius, radius] in a Fourier series.

  The function is multiplied by a smooth window that is one on the interval and
  zero at the half period, then made periodic. For functions without an
  integrable Fourier transform (relu, gelu, tanh).

  Args:
    fn: NumPy function.
    radius: Z, the largest |pre-activation|.
    half_period: P > Z; 2 Z by default.
    num_terms: K, terms -K..K are kept.

  Returns:
    (k i64[2K+1], c complex128[2K+1]) with f(z) ~ sum c exp(i pi k z / P).

  Raises:
    ValueError: unless 0 < Z < P and K >= 1.

  Source: an extension of Sehanobish et al. 2024, not theirs.
  """
  checks.number(radius, name='radius', low=0.0, open_low=True)
  period = 2 * radius if half_period is None else half_period
  checks.number(period, name='half_period', low=radius, open_low=True)
  checks.integer(num_terms, name='num_terms', low=1)
  size = max(4096, 32 * num_terms)
  z = period * (2 * np.arange(size) / size - 1)
  t = np.clip((np.abs(z) - radius) / (period - radius), 0, 1)
  with np.errstate(divide='ignore', over='ignore'):
    rise, fall = np.exp(-1 / t), np.exp(-1 / (1 - t))
  values = np.asarray(fn(z), np.float64) * fall / (rise + fall)
  k = np.arange(-num_terms, num_terms + 1)
  c = np.exp(-1j * np.pi * np.outer(k, z) / period) @ values / size
  return k, c


def sample_series(
  key: chex.PRNGKey,
  num_features: int,
  dim: int,
  fn: Callable[[np.ndarray], np.ndarray],
  *,
  radius: float,
  half_period: float | None = None,
  num_terms: int = 64,
  orthogonal: bool = False,
) -> URF:
  """Draws universal random features of any function on a bounded range.

  Frequencies are drawn with probability proportional to |c_k| of
  `fourier_series`, so estimates are unbiased for its truncation.

  Args:
    key: consumed.
    num_features: m (static).
    dim: d (static).
    fn: NumPy function of the pre-activation.
    radius: largest |pre-activation| that matters.
    half_period: see `fourier_series`.
    num_terms: see `fourier_series`.
    orthogonal: whether projections are orthogonal in blocks.

  Returns:
    A `URF`.
  """
  checks.integer(num_features, name='num_features', low=1)
  period = 2 * radius if half_period is None else half_period
  k, c = fourier_series(
    fn, radius=radius, half_period=half_period, num_terms=num_terms
  )
  p = np.abs(c) / np.abs(c).sum()
  ratios = np.where(p > 0, c / np.where(p > 0, p, 1), 0)
  xi_key, g_key = jax.random.split(key)
  ids = jax.random.choice(xi_key, k.size, (num_features,), p=jnp.asarray(p))
  g = gaussian_projection(g_key, num_features, dim, orthogonal=orthogonal)
  table = jnp.asarray(ratios, (g[0, 0] + 0j).dtype)
  return URF(jnp.asarray(k / (2 * period), g.dtype)[ids], g, table[ids])


def gerf(g: chex.Array, v: chex.Array, a: chex.Numeric = 0.0) -> chex.Array:
  """Exponential features Lambda with E[Lambda(u) Lambda(v)] = exp(u.v).

  Lambda_g(v) = (1 + 4A)^(d/4) exp(-A |g|^2 + sqrt(1 + 4A) g.v - v.v / 2), where
  v.v is bilinear, not conjugated. Real v give positive features (A = 0: those
  of linear attention).

  Args:
    g: f[m, d].
    v: real or complex [..., d].
    a: A > -1/4; more than zero trades variance in v against variance in g.

  Returns:
    [..., m] in the type of v; overflows for large v: rescale inputs.

  Source: Likhosherstov et al. 2022 (https://arxiv.org/abs/2205.15317).
  """
  ones = jnp.ones((g.shape[0],), v.dtype)
  return _exponential(g, ones, v, a)


def _split_factors(xi, split):
  """Rho and eta with rho eta = 2 pi i xi."""
  checks.choice(split, SPLITS, name='split')
  z = 2j * jnp.pi * xi
  if split == 's1':
    return z, jnp.ones_like(z)
  if split == 's2':
    return jnp.ones_like(z), z
  root = jnp.sqrt(z)
  return root, root


def _exponential(g, factor, x, a):
  """Lambda_g(factor_i x) for every feature i, without forming [..., m, d]."""
  if x.shape[-1] != g.shape[-1]:
    raise ValueError(
      f'features were drawn for d={g.shape[-1]} but the vectors have '
      f'{x.shape[-1]} entries.'
    )
  checks.number(a, name='a', low=-0.25, open_low=True)
  a = jnp.asarray(a, g.dtype)
  linear = x @ g.T.astype(x.dtype)
  square = jnp.sum(x * x, -1, keepdims=True)
  lead = (1,) * (linear.ndim - 1)
  factor = factor.reshape(*lead, -1)
  constant = -a * jnp.sum(g * g, -1) + (g.shape[-1] / 4) * jnp.log1p(4 * a)
  exponent = jnp.sqrt(1 + 4 * a) * factor * linear
  exponent = exponent - 0.5 * factor * factor * jnp.broadcast_to(
    square, linear.shape
  )
  return jnp.exp(exponent + constant.reshape(*lead, -1))


def urf_phi(
  urf: URF, x: chex.Array, *, split: str = 's3', a: chex.Numeric = 0.0
) -> chex.Array:
  """Maps inputs to complex features Phi.

  Args:
    urf: the draw, shared with `urf_psi`.
    x: f[..., d].
    split: 's1' (rho = 2 pi i xi, oscillating in x), 's2' (rho = 1) or 's3'
      (both sqrt(2 pi i xi)). Variance grows like exp(|x|^2 + |w|^2) for all;
      with unbounded spectra only 's3' has a finite variance for moderate x (for
      sech 's1' and 's2' never have).
    a: see `gerf`.

  Returns:
    c[..., m].

  Source: Sehanobish et al. 2024 (https://arxiv.org/abs/2310.13225).
  """
  rho, _ = _split_factors(urf.xi, split)
  return urf.g.shape[0] ** -0.5 * _exponential(urf.g, rho, x, a)


def urf_psi(
  urf: URF,
  w: chex.Array,
  b: chex.Array | float = 0.0,
  *,
  split: str = 's3',
  a: chex.Numeric = 0.0,
) -> chex.Array:
  """Maps weights and biases to complex features Psi.

  E[Re(Phi(x) . Psi(w, b))] = f(w.x + b), without conjugation.

  Args:
    urf: the draw, shared with `urf_phi`.
    w: f[..., d].
    b: f[...] or a number.
    split: as in `urf_phi`.
    a: as in `urf_phi`.

  Returns:
    c[..., m].
  """
  _, eta = _split_factors(urf.xi, split)
  psi = urf.g.shape[0] ** -0.5 * _exponential(urf.g, eta, w, a)
  b = jnp.broadcast_to(jnp.asarray(b, urf.xi.dtype), w.shape[:-1])
  lead = (1,) * (psi.ndim - 1)
  phase = jnp.exp(2j * jnp.pi * urf.xi.reshape(*lead, -1) * b[..., None])
  return urf.ratio.reshape(*lead, -1) * phase * psi


def relu_features(
  g: chex.Array, x: chex.Array, *, kappa: float = 0.0, order: int = 1
) -> chex.Array:
  """Maps vectors to m^(-1/2) max(g x, kappa)^n.

  With kappa = 0 the inner product of two such vectors estimates
  `arccos_kernel(x, w, order=n)`, *not* relu(w.x).

  Args:
    g: f[m, d], rows N(0, I).
    x: f[..., d].
    kappa: floor; negative values let some negatives through.
    order: n; 0 gives steps.

  Returns:
    f[..., m].

  Source: Sehanobish et al. 2024 (https://arxiv.org/abs/2310.13225).
  """
  checks.integer(order, name='order', low=0)
  if x.shape[-1] != g.shape[-1]:
    raise ValueError(
      f'features were drawn for d={g.shape[-1]} but the vectors have '
      f'{x.shape[-1]} entries.'
    )
  z = x @ g.T
  scale = g.shape[0] ** -0.5
  if order == 0:
    return scale * (z > kappa).astype(z.dtype)
  return scale * jnp.maximum(z, kappa) ** order


def arccos_kernel(
  x: chex.Array, y: chex.Array, *, order: int = 1
) -> chex.Array:
  """Computes E[relu(g.x)^n relu(g.y)^n] for g ~ N(0, I).

  Args:
    x: f[..., d].
    y: f[..., d], same leading axes.
    order: n in {0, 1, 2}.

  Returns:
    f[...]; zero where a vector is zero (order 0: 1/4). Where order 0 or a
    vector of length zero leaves no derivative, it is taken as zero.

  Source: Cho and Saul 2009, Equation 1 and Section 2.1 (halved).
  """
  checks.integer(order, name='order', low=0, high=2)
  # Squared in units of their size, so that nothing over- or underflows.
  units = [
    trees.power_of_two(jnp.max(jnp.abs(v), -1, keepdims=True)) for v in (x, y)
  ]
  x, y = x / units[0], y / units[1]
  lengths = _length(x) * _length(y)
  positive = lengths > 0
  inner = jnp.where(lengths == 0, 0, jnp.sum(x * y, -1))
  cosine = inner / jnp.where(positive, lengths, 1)
  lengths = lengths * units[0][..., 0] * units[1][..., 0]
  return lengths**order * _arccos_shape(cosine, order) / (2 * jnp.pi)


def _length(x):
  square = jnp.sum(x * x, -1)
  positive = square > 0
  root = jnp.sqrt(jnp.where(positive, square, 1))
  return jnp.where(positive, root, jax.lax.stop_gradient(square))


@functools.partial(jax.custom_jvp, nondiff_argnums=(1,))
def _arccos_shape(cosine, order):
  cosine = jnp.clip(cosine, -1, 1)
  angle = jnp.arccos(cosine)
  if order == 0:
    return jnp.pi - angle
  if order == 1:
    return jnp.sin(angle) + (jnp.pi - angle) * cosine
  return 3 * jnp.sin(angle) * cosine + (jnp.pi - angle) * (1 + 2 * cosine**2)


@_arccos_shape.defjvp
def _arccos_shape_jvp(order, primals, tangents):
  # Each order's derivative is a multiple of the order below: what is infinite
  # in the angle's at parallel vectors cancels.
  (cosine,), (tangent,) = primals, tangents
  value = _arccos_shape(cosine, order)
  if order:
    slope = order**2 * _arccos_shape(cosine, order - 1)
  else:
    square = (1 - cosine) * (1 + cosine)
    inside = square > 0
    slope = jnp.where(inside, jax.lax.rsqrt(jnp.where(inside, square, 1)), 0)
  return value, slope * tangent


def check_split(kind: str, split: str) -> None:
  """Refuses splits whose estimates have infinite variance everywhere."""
  checks.choice(split, SPLITS, name='split')
  if kind in _UNBOUNDED and split != 's3':
    raise ValueError(
      f'split={split!r} has infinite variance for kind={kind!r} at every '
      "non-zero input: use split='s3'."
    )


def one_sample_variance(
  x: chex.Array,
  w: chex.Array,
  b: chex.Numeric,
  *,
  split: str,
  kind: str = 'cos',
) -> chex.Array:
  """Computes Var[Re(Phi . Psi)] of one feature in closed form, A = 0.

  Divide by m for independent features.

  Args:
    x: f[d].
    w: f[d].
    b: bias.
    split: 's1', 's2' or 's3'.
    kind: 'cos' or 'sin'.

  Returns:
    f[].

  Source: derived here from the moments of Lambda.
  """
  checks.choice(kind, ('cos', 'sin'), name='kind')
  checks.choice(split, SPLITS, name='split')
  c, xx, ww = jnp.dot(x, w), jnp.dot(x, x), jnp.dot(w, w)
  if split == 's3':
    first, second = xx + ww + 2 * c, jnp.cos(xx + ww + 4 * c + 2 * b)
  else:
    gap = ww - xx if split == 's1' else xx - ww
    first, second = xx + ww, jnp.exp(gap) * jnp.cos(4 * c + 2 * b)
  sign, mean = (1, jnp.cos(c + b)) if kind == 'cos' else (-1, jnp.sin(c + b))
  return 0.5 * (jnp.exp(first) + sign * second) - mean**2
