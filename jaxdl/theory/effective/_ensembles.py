# SPDX-License-Identifier: Apache-2.0
"""Moments of ensembles of real networks, to compare with the flows."""

from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp

from jaxdl.core import checks, clients as clients_lib, keys
from jaxdl.networks import functional
from jaxdl.theory.effective import _kernels, _networks, _tangent, _vertex

MOMENTS = ('kernel', 'fourth', 'pair')
TANGENT_MOMENTS = ('tangent', 'square', 'product', 'diagonal', 'offdiagonal')


def pair_moments_of(z: chex.Array) -> dict[str, chex.Array]:
  """Means over the neurons of a layer, unbiased.

  Args:
    z: preactivations of one input, f[n], n >= 2.

  Returns:
    Dict of f[]: 'kernel', of z_i^2; 'fourth', of z_i^4; 'pair', of
    z_i^2 z_j^2 with i != j.

  Raises:
    ValueError: if there are fewer than two neurons.

  Example:
    >>> found = pair_moments_of(jnp.array([1.0, 2.0]))
    >>> [float(x) for x in found.values()]
    [2.5, 8.5, 4.0]
  """
  n = _width(z)
  square = z * z
  total, fourth = square.sum(), (square * square).sum()
  return {
    'kernel': total / n,
    'fourth': fourth / n,
    'pair': (total**2 - fourth) / (n * (n - 1)),
  }


def tangent_moments_of(
  z: chex.Array, tangent: chex.Array
) -> dict[str, chex.Array]:
  """Means over pairs of different neurons i and j of a layer, unbiased.

  Args:
    z: preactivations of one input, f[n], n >= 2.
    tangent: tangent kernel H of the layer, f[n, n].

  Returns:
    Dict of f[]: 'tangent', H_ii; 'square', H_ii z_j^2; 'product',
    H_ij z_i z_j; 'diagonal', H_ii H_jj; 'offdiagonal', H_ij^2.

  Raises:
    ValueError: if there are fewer than two neurons.
  """
  n = _width(z)
  h, square = jnp.diagonal(tangent), z * z
  pairs = n * (n - 1)
  own = (h * square).sum()
  crossed = jnp.matmul(tangent, z, precision='highest')
  return {
    'tangent': h.mean(),
    'square': (h.sum() * square.sum() - own) / pairs,
    'product': ((z * crossed).sum() - own) / pairs,
    'diagonal': (h.sum() ** 2 - (h * h).sum()) / pairs,
    'offdiagonal': ((tangent**2).sum() - (h * h).sum()) / pairs,
  }


def _width(z):
  n = jnp.shape(z)[-1] if jnp.ndim(z) else 0
  if n < 2:
    raise ValueError(f'width must be at least 2 for pairs of neurons; got {n}.')
  return n


def layer_tangents(
  params: _networks.Params,
  z: list[chex.Array],
  inputs: chex.Array,
  activation: functional.Activation,
  *,
  weight_rate: chex.Numeric = 1.0,
  bias_rate: chex.Numeric = 1.0,
  residual: chex.Numeric = 0.0,
) -> list[chex.Array]:
  """Tangent kernels of all layers for one input, from first to last.

  Args:
    params: list of layers, see `init_mlp`.
    z: preactivations, list of f[n_l].
    inputs: f[I].
    activation: name or elementwise function (static).
    weight_rate: lambda_W, f[] or f[L] (traced).
    bias_rate: lambda_b, f[] or f[L] (traced).
    residual: gamma, see `preactivations` (traced).

  Returns:
    List of f[n_l, n_l].

  Raises:
    ValueError: if rates do not fit.

  Cost: O(n³) for each layer.
  """
  fn = functional.elementwise(activation)
  depth, dtype = len(params), z[0].dtype
  rates_w = _tangent.layer_rates(weight_rate, depth, 'weight_rate', dtype)
  rates_b = _tangent.layer_rates(bias_rate, depth, 'bias_rate', dtype)
  out, tangent = [], None
  for k, layer in enumerate(params):
    kernel = layer['kernel']
    if k:
      read, slope = functional.with_slope(fn, z[k - 1])
    else:
      read, slope = inputs, None
    share = rates_b[k] + rates_w[k] * (read * read).mean()
    new = share * jnp.eye(kernel.shape[1], dtype=dtype)
    if tangent is not None:
      moved = slope[:, None] * kernel
      if z[k - 1].shape == z[k].shape:
        moved = moved + residual * jnp.eye(len(slope), dtype=dtype)
      product = lambda x, y: jnp.matmul(x, y, precision='highest')
      new = new + product(moved.T, product(tangent, moved))
    out.append(new)
    tangent = new
  return out


class Statistics(NamedTuple):
  """Statistics of layers at width n, each f[L]; those of H are None if unasked.

  Attributes:
    kernel: E z_i^2 (K + G1 / n).
    vertex: V.
    kurtosis: excess kurtosis of a neuron.
    tangent: mean of H_ii.
    tangent_square: D.
    tangent_product: F.
    tangent_diagonal: A.
    tangent_offdiagonal: B.
  """

  kernel: chex.Array
  vertex: chex.Array
  kurtosis: chex.Array
  tangent: chex.Array | None = None
  tangent_square: chex.Array | None = None
  tangent_product: chex.Array | None = None
  tangent_diagonal: chex.Array | None = None
  tangent_offdiagonal: chex.Array | None = None


def ensemble_moments(
  key: chex.PRNGKey,
  ids: chex.Array,
  activation: functional.Activation,
  *,
  width: int,
  depth: int,
  start: _networks.Start,
  kernel: float = 1.0,
  rates: tuple[chex.Numeric, chex.Numeric] | None = None,
  ensemble: clients_lib.Clients | int | None = None,
) -> dict[str, chex.Array]:
  """Draws networks and takes the mean of their moments in every layer.

  Args:
    key: of the ensemble; network i draws from `fold_in(key, i)`.
    ids: i32[E], which networks.
    activation: name or elementwise function (static).
    width: n >= 2 of every layer (static).
    depth: L >= 1 (static).
    start: variances and residual factor (static).
    kernel: K of the first layer, > C_b (static).
    rates: lambda_W and lambda_b, if tangent kernels are wanted (static).
    ensemble: `core.clients.Clients(E, mesh, chunk)`: how the networks are run;
      E by default.

  Returns:
    Dict of f[L], see `pair_moments_of` and `tangent_moments_of`; means over the
    networks, so means of such dicts over equal shares are those of the whole.
    `measured` makes estimates of them.

  Raises:
    ValueError: if a number is out of range.

  Cost: E networks of L n² numbers each, a share of them at a time; O(L n³)
    each with rates.

  Example:
    >>> means = ensemble_moments(
    ...   jax.random.key(0), jnp.arange(500), 'relu', width=20, depth=3,
    ...   start=Start(2.0)
    ... )
    >>> bool(abs(measured(means, 20).vertex[2] - 10.0) < 4.0)
    True
  """
  keys.check_key(key)
  width = checks.integer(width, name='width', low=2)
  depth = checks.num_layers(depth, name='depth')
  if not isinstance(start, (tuple, list)):
    raise TypeError(
      f'start must be a Start; got {checks.described(start)}: write '
      'Start(weight_variance, bias_variance).'
    )
  start = _networks.Start(*start)
  _kernels.check_layer(*start)
  _kernels.check_positive_kernel(kernel)
  if not kernel > start.bias_variance:
    raise ValueError(
      f'kernel must exceed bias_variance={start.bias_variance:g}; got '
      f'{kernel:g}.'
    )
  signal = (kernel - start.bias_variance) / start.weight_variance
  inputs = jnp.full((1, 1), signal**0.5)
  if jnp.ndim(ids) != 1:
    raise ValueError(
      f'ids must be [E], one for each network; got {jnp.shape(ids)}.'
    )
  count = jnp.shape(ids)[0]
  ensemble = clients_lib.as_clients(
    count if ensemble is None else ensemble, name='ensemble'
  )
  if ensemble.num_clients != count:
    raise ValueError(
      f'ensemble has {ensemble.num_clients} networks, but ids has {count}.'
    )

  def one(i):
    params = _networks.init_mlp(
      jax.random.fold_in(key, i),
      (1, *[width] * depth),
      weight_variance=start.weight_variance,
      bias_variance=start.bias_variance,
    )
    z = _networks.preactivations(
      params, inputs, activation, residual=start.residual
    )
    z = [x[0] for x in z]
    found = [pair_moments_of(x) for x in z]
    if rates is not None:
      tangents = layer_tangents(
        params,
        z,
        inputs[0],
        activation,
        weight_rate=rates[0],
        bias_rate=rates[1],
        residual=start.residual,
      )
      for moments, x, h in zip(found, z, tangents, strict=True):
        moments |= tangent_moments_of(x, h)
    return jax.tree.map(lambda *xs: jnp.stack(xs), *found)

  rows = ensemble.gather(ensemble.map(one)(ids))
  return jax.tree.map(lambda x: x.mean(axis=0), rows)


def measured(means: dict[str, chex.Array], width: int) -> Statistics:
  """Estimates of the flows from the moments of an ensemble.

  Covariances are those of means, whose error falls with the number of networks.

  Args:
    means: from `ensemble_moments`.
    width: n.

  Returns:
    `Statistics`.

  Example:
    >>> means = {'kernel': jnp.ones(1), 'fourth': 3 * jnp.ones(1)}
    >>> float(measured(means | {'pair': 1.5 * jnp.ones(1)}, 10).vertex[0])
    5.0
  """
  k = means['kernel']
  out = Statistics(
    k, width * (means['pair'] - k * k), means['fourth'] / (k * k) - 3
  )
  if 'tangent' not in means:
    return out
  h = means['tangent']
  return out._replace(
    tangent=h,
    tangent_square=width * (means['square'] - h * k),
    tangent_product=width * means['product'],
    tangent_diagonal=width * (means['diagonal'] - h * h),
    tangent_offdiagonal=width * means['offdiagonal'],
  )


def predicted(
  activation: functional.Activation,
  *,
  width: int,
  depth: int,
  start: _networks.Start,
  kernel: chex.Numeric = 1.0,
  rates: tuple[chex.Numeric, chex.Numeric] | None = None,
) -> Statistics:
  """What theory says of `measured`, to first order in depth over width.

  Args:
    activation: name or elementwise function (static).
    width: n >= 2 of every layer (static).
    depth: L >= 1 (static).
    start: variances and residual factor (traced).
    kernel: K > 0 of the first layer, f[] (traced); float64 is kept.
    rates: lambda_W and lambda_b, if tangent kernels are wanted; those of
      networks without residual connections.

  Returns:
    `Statistics`.

  Raises:
    ValueError: if a number is out of range, or tangent kernels of a residual
      network are wanted.

  Example:
    >>> found = predicted('relu', width=10, depth=3, start=Start(2.0))
    >>> [round(float(x), 3) for x in found.kurtosis]
    [0.0, 1.5, 3.0]
  """
  width = checks.integer(width, name='width', low=2)
  layer = {
    'weight_variance': start.weight_variance,
    'bias_variance': start.bias_variance,
  }
  flow = _vertex.vertex_flow(
    activation, kernel, depth, residual=start.residual, **layer
  )
  out = Statistics(
    flow.kernel + flow.correction / width,
    flow.vertex,
    _vertex.excess_kurtosis(flow.kernel, flow.vertex, width),
  )
  if rates is None:
    return out
  if isinstance(start.residual, jax.core.Tracer) or start.residual:
    raise ValueError(
      f'residual={start.residual} has no theory of tangent kernels here: leave '
      'rates out.'
    )
  found = _tangent.fluctuation_flow(
    activation,
    kernel,
    depth,
    weight_rate=rates[0],
    bias_rate=rates[1],
    **layer,
  )
  return Statistics(*out[:3], found.tangent, *found[3:])
