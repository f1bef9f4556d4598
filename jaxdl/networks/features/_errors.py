# SPDX-License-Identifier: Apache-2.0
"""How well random features estimate a kernel."""

import functools

import chex
import jax
import jax.numpy as jnp

from jaxdl.core import checks
from jaxdl.networks import functional
from jaxdl.networks.features import (
  _maps as maps_lib,
  _random_features as features,
)

# Splits whose variance is finite also where vectors are long.
_FINITE = {'gaussian': ('s3',), 'sech': ('s3',)}
_PAIRS = 250


def kernel_errors(
  key: chex.PRNGKey,
  num_features: int,
  *,
  kind: str = 'cos',
  a: float = 0.0,
  dimension: int = 16,
  length: float = 0.7,
  num_draws: int = 2000,
) -> dict[str, dict[str, chex.Array]]:
  """Measures the errors of estimates of f(w.x) over draws of all.

  Each draw has its own vectors and features.

  Args:
    key: consumed.
    num_features: m.
    kind: f: 'relu' (the arc-cosine kernel) or one of `SPECTRA`.
    a: see `gerf`.
    dimension: d, length of the vectors.
    length: norm of x and w.
    num_draws: how many.

  Returns:
    By estimate ('S1', 'S2', 'S3' as far as they have a variance, 'arc-cosine';
    and 'positive', of exp(w.x)), each also with orthogonal projections ('S1,
    orthogonal', ...): `rmse`, `bias` and `bias_z` (the bias in standard
    errors), f[]; `predicted`, the root mean square error in closed form, where
    it is known.

  Raises:
    ValueError: if the kind is unknown or a number out of range.

  Example:
    >>> found = kernel_errors(jax.random.key(0), 8, dimension=4, num_draws=100)
    >>> sorted(found['S1'])
    ['bias', 'bias_z', 'predicted', 'rmse']

  Source: Sehanobish et al. 2024 (https://arxiv.org/abs/2310.13225).
  """
  checks.choice(kind, maps_lib.FEATURES, name='kind')
  checks.number(a, name='a', low=-0.25, open_low=True)
  checks.integer(dimension, name='dimension', low=1)
  checks.number(length, name='length', low=0.0)
  checks.integer(num_draws, name='num_draws', low=2)
  splits = _FINITE.get(kind, features.SPLITS)

  def one_draw(key):
    x_key, w_key, g_key = jax.random.split(key, 3)
    x, w = (
      length * v / jnp.linalg.norm(v)
      for v in (jax.random.normal(k, (dimension,)) for k in (x_key, w_key))
    )
    drawn = [
      maps_lib.Features(
        kind, orthogonal=orthogonal, split='s3', bias=False
      ).draw(g_key, dimension, num_features)
      for orthogonal in (False, True)
    ]
    both = jax.tree.map(lambda *v: jnp.stack(v), *drawn)
    estimate = (
      _arc_cosine
      if kind == 'relu'
      else functools.partial(_spectral, kind, splits, a)
    )
    out = {}
    for name, values in jax.vmap(lambda g: estimate(x, w, g))(both).items():
      out[name], out[f'{name}, orthogonal'] = values[0], values[1]
    closed = {}
    if kind in ('cos', 'sin') and not a:
      for split in splits:
        closed[split.upper()] = features.one_sample_variance(
          x, w, 0.0, split=split, kind=kind
        )
    return out, closed

  found, closed = jax.lax.map(
    one_draw,
    jax.random.split(key, num_draws),
    batch_size=min(_PAIRS, num_draws),
  )
  out = {}
  for name, e in found.items():
    out[name] = {
      'rmse': jnp.sqrt(jnp.square(e).mean()),
      'bias': e.mean(),
      # How many standard errors the bias is from zero.
      'bias_z': e.mean() / (e.std() / num_draws**0.5),
    }
    if name in closed:
      predicted = jnp.sqrt(closed[name].mean() / num_features)
      out[name]['predicted'] = predicted
  return out


def _positive(x, w, g):
  """Error of positive features of exp(w.x)."""
  phi, psi = (features.gerf(g, v) for v in (x, w))
  return phi @ psi / g.shape[0] - jnp.exp(x @ w)


def _arc_cosine(x, w, g):
  """Errors of one draw of relu features."""
  phi, psi = (features.relu_features(g, v) for v in (x, w))
  error = phi @ psi - features.arccos_kernel(x, w)
  return {'arc-cosine': error, 'positive': _positive(x, w, g)}


def _spectral(kind, splits, a, x, w, urf):
  """Errors of one draw of features of a spectrum."""
  out = {}
  want = functional.activation(kind)(x @ w)
  for split in splits:
    phi = features.urf_phi(urf, x, split=split, a=a)
    psi = features.urf_psi(urf, w, split=split, a=a)
    out[split.upper()] = jnp.sum(phi * psi).real - want
  return out | {'positive': _positive(x, w, urf.g)}
