# SPDX-License-Identifier: Apache-2.0
"""Pairs of maps of inputs and of weights, and how they are drawn."""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp

from jaxdl.core import checks, registry, trees
from jaxdl.networks.features import _random_features as features


class FeatureMap(NamedTuple):
  """A pair of feature maps whose inner product estimates f(w.x + b).

  Complex features are stored as reals: [Re, Im] of inputs meets [Re, -Im] of
  weights. What was drawn is constant: it is captured, not trained.

  Attributes:
    inputs: Phi, f[..., d] -> f[..., M].
    weights: Psi, (f[o, d], f[o]) -> f[o, M].
    dim: d.
    size: M, real features.
  """

  inputs: Callable[[chex.Array], chex.Array]
  weights: Callable[[chex.Array, chex.Array], chex.Array]
  dim: int
  size: int


def _normalize(x, scale):
  # Squared in units of its size, so that nothing over- or underflows.
  x = x / trees.power_of_two(jnp.max(jnp.abs(x), axis=-1, keepdims=True))
  square = jnp.sum(x * x, axis=-1, keepdims=True)
  return scale * x / jnp.sqrt(jnp.where(square > 0, square, 1))


def urf_map(
  urf: features.URF,
  *,
  split: str = 's3',
  a: float = 0.0,
  normalize: bool = False,
) -> FeatureMap:
  """Makes a feature map of a draw of universal random features.

  Args:
    urf: from `sample_urf` or `sample_series`.
    split: see `urf_phi`.
    a: see `gerf`.
    normalize: whether inputs are scaled to length d^(1/4); zero stays zero.

  Returns:
    A `FeatureMap` with M = 2 m.
  """
  checks.choice(split, features.SPLITS, name='split')
  checks.number(a, name='a', low=-0.25, open_low=True)
  size, dim = urf.g.shape

  def inputs(x):
    if normalize:
      x = _normalize(x, dim**0.25)
    z = features.urf_phi(urf, x, split=split, a=a)
    return jnp.concatenate([z.real, z.imag], -1)

  def weights(w, b):
    z = features.urf_psi(urf, w, b, split=split, a=a)
    return jnp.concatenate([z.real, -z.imag], -1)

  return FeatureMap(inputs, weights, dim, 2 * size)


def relu_map(
  g: chex.Array,
  *,
  kappa: float = 0.0,
  order: int = 1,
  bias: bool = False,
  normalize: bool = False,
) -> FeatureMap:
  """Makes a feature map of arc-cosine features, see `relu_features`.

  Args:
    g: f[m, D], from `gaussian_projection`; D = d + 1 with bias.
    kappa: see `relu_features`.
    order: see `relu_features`.
    bias: whether a one is appended to inputs, and b to weights; without it the
      bias is ignored.
    normalize: whether inputs are scaled to length d^(1/4); zero stays zero.

  Returns:
    A `FeatureMap` with M = m.
  """
  size, total = g.shape
  dim = total - int(bias)

  def inputs(x):
    if x.shape[-1] != dim:
      raise ValueError(
        f'features were drawn for d={dim} but the vectors have '
        f'{x.shape[-1]} entries.'
      )
    if normalize:
      x = _normalize(x, dim**0.25)
    if bias:
      x = jnp.concatenate([x, jnp.ones_like(x[..., :1])], -1)
    return features.relu_features(g, x, kappa=kappa, order=order)

  def weights(w, b):
    if bias:
      w = jnp.concatenate([w, b[..., None]], -1)
    return features.relu_features(g, w, kappa=kappa, order=order)

  return FeatureMap(inputs, weights, dim, size)


@dataclasses.dataclass(frozen=True)
class Features:
  """How feature maps are drawn: what is drawn, and the map of a draw.

  The two are apart where the draw is kept beside what is trained, see
  `with_constants`. `FEATURES` makes them by name.

  Attributes:
    kind: 'relu' or one of `SPECTRA`.
    orthogonal: see `gaussian_projection`.
    split: see `urf_phi`; sech needs 's3'.
    a: see `gerf`.
    kappa: see `relu_features`.
    bias: for 'relu', whether biases are represented.
    normalize: see `urf_map`.

  Raises:
    ValueError: if the kind has no spectrum, the split no variance or `a` is out
      of range.

  Example:
    >>> gaussian = Features(kind='gaussian')
    >>> drawn = gaussian.draw(jax.random.key(0), 3, 8)
    >>> gaussian.map(drawn).inputs(jnp.ones(3)).shape
    (16,)
  """

  kind: str = 'relu'
  orthogonal: bool = False
  split: str = 's3'
  a: float = 0.0
  kappa: float = 0.0
  bias: bool = True
  normalize: bool = False

  def __post_init__(self):
    checks.number(self.a, name='a', low=-0.25, open_low=True)
    if self.kind != 'relu':
      features.check_split(self.kind, self.split)

  def draw(
    self, key: chex.PRNGKey, dim: int, num_features: int
  ) -> chex.ArrayTree:
    """Draws the constants of a map of `dim` inputs; they may be traced.

    Args:
      key: consumed.
      dim: d.
      num_features: m.

    Returns:
      What `map` takes.
    """
    if self.kind == 'relu':
      return features.gaussian_projection(
        key, num_features, dim + int(self.bias), orthogonal=self.orthogonal
      )
    return features.sample_urf(
      key, num_features, dim, kind=self.kind, orthogonal=self.orthogonal
    )

  def map(self, constants: chex.ArrayTree) -> FeatureMap:
    """Makes the map of constants.

    Args:
      constants: from `draw`.

    Returns:
      A `FeatureMap`.
    """
    if self.kind == 'relu':
      return relu_map(
        constants, kappa=self.kappa, bias=self.bias, normalize=self.normalize
      )
    return urf_map(
      constants, split=self.split, a=self.a, normalize=self.normalize
    )

  def size(self, num_features: int) -> int:
    """Returns M, the real features of a map with m random ones."""
    return num_features if self.kind == 'relu' else 2 * num_features

  def draw_layers(
    self, key: chex.PRNGKey, dim: int, num_features: int, depth: int
  ) -> list[chex.ArrayTree]:
    """Draws the constants of maps, each on the features of the last.

    Args:
      key: consumed.
      dim: d of the first.
      num_features: m of every one.
      depth: how many.

    Returns:
      What `map` takes, for each.
    """
    out = []
    for k in jax.random.split(key, depth):
      out.append(self.draw(k, dim, num_features))
      dim = self.size(num_features)
    return out


def _relu(
  *,
  orthogonal: bool = False,
  kappa: float = 0.0,
  bias: bool = True,
  normalize: bool = False,
) -> Features:
  return Features(
    orthogonal=orthogonal, kappa=kappa, bias=bias, normalize=normalize
  )


def _spectrum(kind):
  def make(
    *,
    orthogonal: bool = False,
    split: str = 's3',
    a: float = 0.0,
    normalize: bool = False,
  ) -> Features:
    return Features(
      kind=kind, orthogonal=orthogonal, split=split, a=a, normalize=normalize
    )

  return make


FEATURES = registry.Registry(
  'features',
  {'relu': _relu} | {kind: _spectrum(kind) for kind in features.SPECTRA},
)


def feature_map(
  key: chex.PRNGKey, dim: int, num_features: int, **options: Any
) -> FeatureMap:
  """Draws a feature map.

  Args:
    key: consumed.
    dim: d.
    num_features: m; spectra give 2 m real features.
    **options: see `Features`.

  Returns:
    A `FeatureMap`.

  Raises:
    ValueError: if the kind has no spectrum or the split no variance.

  Example:
    >>> feature_map(jax.random.key(0), 3, 8, kind='cos').size
    16
  """
  how = Features(**options)
  return how.map(how.draw(key, dim, num_features))


def identity_map(dim: int) -> FeatureMap:
  """The map of a linear layer: features are the vectors, biases ignored."""
  return FeatureMap(lambda x: x, lambda w, b: w, dim, dim)
