# SPDX-License-Identifier: Apache-2.0
"""Merging consecutive random-feature layers; sums that read-outs need."""

import functools
from collections.abc import Sequence
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np

from jaxdl.core import checks
from jaxdl.core.types import Network
from jaxdl.networks.features import _arrays as arrays, _maps as maps_lib


def bundled_features(
  x: chex.Array, maps: Sequence[maps_lib.FeatureMap]
) -> chex.Array:
  """Sends inputs through all feature maps: h_l = Phi_l(h_{l-1}), h_0 = x.

  Args:
    x: f[..., d].
    maps: one per bundled layer, where map l is drawn for d = size of l - 1.

  Returns:
    f[..., M_L].
  """
  for layer_map in maps:
    x = layer_map.inputs(x)
  return x


def bundled_network(
  maps: Sequence[maps_lib.FeatureMap], num_outputs: int
) -> Network:
  """Builds a fully bundled network: one trained matrix on fixed features.

  `apply(params, x f[..., d]) -> f[..., o]`; `params` is {'readout': f[o, M]},
  zero at the start. Its loss is convex in the parameters, and for squared
  errors `closed_form_readout` gives the optimum.

  Args:
    maps: see `bundled_features`.
    num_outputs: o.

  Returns:
    A `Network`.

  Raises:
    ValueError: if there is no map.

  Example:
    >>> layer_map = feature_map(jax.random.key(0), 3, 8)
    >>> net = bundled_network([layer_map], 2)
    >>> params = net.init(jax.random.key(1), jnp.ones((1, 3)))
    >>> net.apply(params, jnp.ones((4, 3))).shape
    (4, 2)

  Source: Sehanobish et al. 2024 (https://arxiv.org/abs/2310.13225).
  """
  checks.integer(num_outputs, name='num_outputs', low=1)
  if not maps:
    raise ValueError('maps is empty: need one per bundled layer.')

  def init(key, x):
    del key
    return {'readout': jnp.zeros((num_outputs, maps[-1].size), x.dtype)}

  def apply(params, x, *, train=False, key=None):
    del train, key
    return bundled_features(x, maps) @ params['readout'].T

  return Network(init, apply)


def bundle(
  weights: Sequence[chex.Array],
  biases: Sequence[chex.Array],
  maps: Sequence[maps_lib.FeatureMap],
  readout: chex.Array | None = None,
) -> chex.Array:
  """Merges layers f_l(W_l x + b_l) into one matrix on `bundled_features`.

  V_l = Psi_l(W_l V_{l-1}, b_l) with V_0 = I; layer l outputs about V_l h_l.
  Stopping in the middle gives a partly bundled network.

  Args:
    weights: W_l f[d_l, d_{l-1}], in the usual (out, in) layout.
    biases: b_l f[d_l].
    maps: one per layer; the first is drawn for d_0, map l for the size of map
      l - 1.
    readout: W_{L+1} f[o, d_L], a last linear layer.

  Returns:
    f[o, M_L], or f[d_L, M_L] without a read-out.

  Raises:
    ValueError: if counts or dimensions differ.

  Source: Sehanobish et al. 2024 (https://arxiv.org/abs/2310.13225).
  """
  if not len(weights) == len(biases) == len(maps) or not maps:
    raise ValueError(
      f'need one weight, bias and map per layer; got {len(weights)}, '
      f'{len(biases)} and {len(maps)}.'
    )
  v = None
  for l, (w, b, layer_map) in enumerate(
    zip(weights, biases, maps, strict=True)
  ):
    effective = w if v is None else w @ v
    if effective.shape[-1] != layer_map.dim:
      raise ValueError(
        f'maps[{l}] was drawn for d={layer_map.dim} but the bundle below has '
        f'{effective.shape[-1]} features.'
      )
    v = layer_map.weights(effective, b)
  assert v is not None
  return v if readout is None else readout @ v


class ReadoutStatistics(NamedTuple):
  """All that a linear least-squares fit needs; sums over examples.

  Statistics of disjoint data add up, so clients that share them (one sum) fit
  exactly the read-out of the pooled data.

  Attributes:
    gram: f[M, M], H^T H.
    cross: f[M, o], H^T Y.
    count: f[], number (or weight) of examples.
  """

  gram: chex.Array
  cross: chex.Array
  count: chex.Array


def readout_statistics(
  h: chex.Array,
  y: chex.Array,
  *,
  weights: chex.Array | None = None,
  axis_name: str | None = None,
) -> ReadoutStatistics:
  """Sums what a linear read-out needs.

  Args:
    h: f[n, M] features; integers are cast, half precision is summed in
      float32.
    y: f[n, o] targets.
    weights: f[n] or bool[n] >= 0, importance of each example; false rows have
      no effect, whatever they contain.
    axis_name: a mapped axis over which the sums are completed (one `psum`).

  Returns:
    `ReadoutStatistics`; add those of several clients with `jax.tree.map`.

  Raises:
    ValueError: if shapes disagree, or a concrete weight is negative or not
      finite.
    TypeError: if what is given holds no real numbers.

  Cost: O(n M^2) work, O(M^2) memory and communication.
  """
  h, y = arrays.real(h, name='h'), arrays.real(y, name='y')
  if h.ndim != 2 or y.ndim != 2 or h.shape[0] != y.shape[0]:
    raise ValueError(
      f'h and y must be [n, M] and [n, o]; got {h.shape} and {y.shape}.'
    )
  weights = arrays.example_weights(weights, h.shape[0])
  h, y = (jnp.asarray(v, arrays.solvable(h, y)) for v in (h, y))
  if weights is None:
    scaled, count = h, jnp.asarray(h.shape[0], h.dtype)
  else:
    scale = weights.astype(h.dtype)[:, None]
    kept = scale != 0
    h = jnp.where(jnp.broadcast_to(kept, h.shape), h, 0)
    y = jnp.where(jnp.broadcast_to(kept, y.shape), y, 0)
    scaled, count = h * scale, scale.sum()
  stats = ReadoutStatistics(
    jnp.matmul(scaled.T, h, precision='highest'),
    jnp.matmul(scaled.T, y, precision='highest'),
    count,
  )
  return stats if axis_name is None else jax.lax.psum(stats, axis_name)


def check_finite(**arrays):
  """Refuses arrays on the host that no read-out fits."""
  for name, x in arrays.items():
    if not np.isfinite(x).all():
      raise ValueError(
        f'{name} holds NaN or infinite values: no read-out fits them.'
      )


def _shift(largest, ridge, epsilon, xp):
  """The ridge, or rounding of the largest eigenvalue where that is more."""
  return xp.where(ridge > 0, xp.maximum(ridge, epsilon * largest), 0)


def _inverse_values(values, ridge, epsilon, xp):
  """1 / (lambda + ridge); without a ridge, zero where rounding ate lambda."""
  cut = epsilon * values.shape[-1] * values[-1]
  shifted = xp.maximum(values, 0) + _shift(values[-1], ridge, epsilon, xp)
  kept = shifted > xp.where(ridge > 0, 0, cut)
  return xp.where(kept, 1 / xp.where(kept, shifted, 1), 0), cut


def solve_on_host(gram, cross, ridge, epsilon):
  """Solves (gram + ridge) w = cross in float64, without small directions."""
  values, vectors = np.linalg.eigh(gram)
  inverse, cut = _inverse_values(values, ridge, epsilon, np)
  if ridge == 0 and values[0] <= cut:
    raise ValueError(
      f'ridge=0 with {values.size} linearly dependent features is singular: '
      'use ridge > 0.'
    )
  return vectors @ (inverse[:, None] * (vectors.T @ cross))


def closed_form_readout(
  statistics: ReadoutStatistics, *, ridge: chex.Numeric
) -> chex.Array:
  """Minimizes |H W^T - Y|^2 + ridge |W|^2.

  Sums in float32 hold a direction's square to 1e-7 of the largest one only, so
  a smaller ridge than that, which would blow up rounding, is raised to it.
  `fit_readout`, which sees the features, takes any.

  Args:
    statistics: from `readout_statistics`, of one client or summed.
    ridge: mu >= 0; zero needs n >= M independent features.

  Returns:
    W f[o, M]; solved in float64 on the host unless something is traced.

  Raises:
    ValueError: if ridge is negative, or concrete statistics are not finite or
      singular without a ridge.

  Cost: O(M^3), an eigendecomposition.

  Example:
    >>> h = jnp.array([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
    >>> stats = readout_statistics(h, h @ jnp.array([[2.0], [3.0]]))
    >>> closed_form_readout(stats, ridge=0.0).round(4).tolist()
    [[2.0, 3.0]]

  Source: Sehanobish et al. 2024 (https://arxiv.org/abs/2310.13225).
  """
  checks.number(ridge, name='ridge', low=0.0)
  gram, cross = statistics.gram, statistics.cross
  dtype = jnp.result_type(gram)
  epsilon = float(jnp.finfo(dtype).eps)
  if not is_traced(gram, cross, ridge):
    gram, cross = np.asarray(gram, np.float64), np.asarray(cross, np.float64)
    check_finite(gram=gram, cross=cross)
    solution = solve_on_host(gram, cross, float(ridge), epsilon)
    return jnp.asarray(solution.T, dtype)
  dot = functools.partial(jnp.matmul, precision='highest')
  values, vectors = jnp.linalg.eigh(jax.lax.stop_gradient(gram))
  inverse, _ = _inverse_values(
    values, jax.lax.stop_gradient(ridge), epsilon, jnp
  )
  shift = _shift(values[-1], jnp.asarray(ridge, dtype), epsilon, jnp)
  # Differentiated by the implicit rule, not through the eigenvectors.
  solution = jax.lax.custom_linear_solve(
    lambda w: dot(gram, w) + shift * w,
    cross,
    lambda _, b: dot(vectors, inverse[:, None] * dot(vectors.T, b)),
    symmetric=True,
  )
  return solution.T


def is_traced(*values):
  """Whether anything is traced."""
  return any(isinstance(v, jax.core.Tracer) for v in values)
