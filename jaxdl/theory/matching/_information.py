# SPDX-License-Identifier: Apache-2.0
"""Mutual information of units, from histograms."""

import math

import chex
import jax
import jax.numpy as jnp

from jaxdl.core import checks
from jaxdl.theory.matching import _moments

BINNINGS = ('width', 'quantile', 'rectified')
BIASES = ('none', 'miller_madow', 'official')


def bin_units(
  x: chex.Array, num_bins: int = 10, *, binning: str = 'rectified'
) -> chex.Array:
  """Says into which bin each sample of each unit falls.

  Args:
    x: f[N, n].
    num_bins: b >= 2 (static).
    binning: 'width' cuts between the least and the largest value into equal
      widths; 'quantile' fills bins equally, by the number of smaller samples,
      so that equal values stay together; 'rectified' puts what is not positive
      into the first bin and fills the others equally (static).

  Returns:
    i32[N, n] in [0, b).

  Raises:
    ValueError: if there are fewer than two bins or samples, or the name is
      unknown.

  Example:
    >>> x = jnp.array([[0.0], [0.0], [0.1], [9.0]])
    >>> bin_units(x, 3)[:, 0].tolist()
    [0, 0, 1, 2]

  Source: Li et al. 2015 (https://arxiv.org/abs/1511.07543), appendix on mutual
  information, and their code.
  """
  bins = checks.integer(num_bins, name='num_bins', low=2)
  checks.choice(binning, BINNINGS, name='binning')
  x = _moments.units(x, layer='x')
  if len(x) < 2:
    raise ValueError(f'x must have at least 2 samples; got {len(x)}.')
  if len(x) * bins >= 2**31:
    raise ValueError(
      f'x has {len(x)} samples, too many for num_bins={bins}: at most '
      f'{2**31 // bins} can be ranked, take some of them.'
    )
  if binning == 'width':
    low, high = jnp.min(x, axis=0), jnp.max(x, axis=0)
    # Eighths: neither the width of large numbers nor one over it is a number.
    x, low, high = (v / 8 for v in (x, low, high))
    span = jnp.where(high > low, high - low, 1)
    place = (x - low[None]) / span[None] * bins
    return jnp.clip(place.astype(jnp.int32), 0, bins - 1)

  def rank(column):
    # Ranks, not quotients of floats, say where a bin ends.
    return jnp.searchsorted(jnp.sort(column), column, side='left')

  if binning == 'quantile':
    return jax.vmap(lambda c: rank(c) * bins // len(x), 1, 1)(x)

  def rectified(column):
    zero = column <= 0
    count = jnp.sum(zero)
    # All that are not positive are smaller than all that are.
    place = (rank(column) - count) * (bins - 1)
    return jnp.where(zero, 0, 1 + place // jnp.maximum(len(x) - count, 1))

  return jax.vmap(rectified, 1, 1)(x)


def information_matrix(
  x: chex.Array,
  y: chex.Array,
  *,
  num_bins: int = 10,
  binning: str = 'rectified',
  bias: str = 'none',
  chunk: int = 4096,
) -> chex.Array:
  """Estimates the mutual information of every pair of units.

  The plug-in estimate of a b x b histogram is too large for finite N; `bias`
  takes a guess of that off: 'miller_madow' (b - 1)² / 2N, 'official' what the
  authors' code does, b² / (2N ln 2), which mixes nats and bits.

  Args:
    x: f[..., n1], units of one network; a NaN falls into the last bin.
    y: f[..., n2], those of another on the same samples.
    num_bins: b >= 2 (static).
    binning: see `bin_units` (static).
    bias: one of 'none', 'miller_madow', 'official' (static).
    chunk: samples that are counted together (static).

  Returns:
    f32[n1, n2] in nats; `max_match` takes it as it does correlations.

  Raises:
    ValueError: for different numbers of samples, fewer than two bins or
      samples, more than 2³¹ / b samples, an unknown name, fewer than two axes,
      or numbers that are not finite (where they are concrete).

  Cost: O(N n1 n2 b²) work as matrix products, O(chunk (n1 + n2) b + n1 n2 b²)
  memory beside the samples.

  Example:
    >>> x = jnp.array([[0.0], [0.0], [1.0], [1.0]])
    >>> round(information_matrix(x, x, num_bins=2).item(), 4)  # ln 2
    0.6931

  Source: Li et al. 2015 (https://arxiv.org/abs/1511.07543), appendix on mutual
  information; Miller 1955 for the bias.
  """
  checks.choice(bias, BIASES, name='bias')
  bins = checks.integer(num_bins, name='num_bins', low=2)
  checks.integer(chunk, name='chunk', low=1)
  if jnp.shape(x)[:-1] != jnp.shape(y)[:-1]:
    raise ValueError(
      'x and y must be of the same samples in the same order; got shapes '
      f'{jnp.shape(x)} and {jnp.shape(y)}.'
    )
  for name, value in (('x', x), ('y', y)):
    value = _moments.units(value, layer=name)
    _moments.check_finite(value, layer=name)
  binned = [bin_units(v, bins, binning=binning) for v in (x, y)]
  size = len(binned[0])
  extra = -size % min(chunk, size)

  def blocks(v):
    # Padding is in no bin.
    v = jnp.pad(v, ((0, extra), (0, 0)), constant_values=-1)
    return v.reshape(-1, min(chunk, size), v.shape[1])

  def count(total, pair):
    hot = [
      jax.nn.one_hot(v, bins, dtype=jnp.float32).reshape(len(v), -1)
      for v in pair
    ]
    return total + jnp.matmul(hot[0].T, hot[1], precision='highest'), None

  n1, n2 = (v.shape[1] for v in binned)
  start = jnp.zeros((n1 * bins, n2 * bins))
  total, _ = jax.lax.scan(count, start, tuple(map(blocks, binned)))
  joint = total.reshape(n1, bins, n2, bins).transpose(0, 2, 1, 3) / size
  own = joint.sum(3, keepdims=True) * joint.sum(2, keepdims=True)
  ratio = jnp.where(joint > 0, joint, 1) / jnp.where(joint > 0, own, 1)
  found = jnp.sum(joint * jnp.log(ratio), axis=(2, 3))
  guess = {
    'none': 0.0,
    'miller_madow': (bins - 1) ** 2 / (2 * size),
    'official': bins**2 / (2 * size * math.log(2)),
  }
  return found - guess[bias]


def mutual_information(
  x: chex.Array,
  y: chex.Array,
  *,
  num_bins: int = 10,
  binning: str = 'rectified',
  bias: str = 'none',
) -> chex.Array:
  """Estimates the mutual information of two units.

  Args:
    x: f[N], samples of one.
    y: f[N], of the other.
    num_bins: see `information_matrix`.
    binning: see `bin_units`.
    bias: see `information_matrix`.

  Returns:
    f32[] in nats.

  Raises:
    ValueError: as `information_matrix`, or if they have other axes.

  Example:
    >>> x = jnp.arange(100.0)
    >>> found = mutual_information(x, x, num_bins=4, binning='quantile')
    >>> round(found.item(), 4)  # ln 4
    1.3863

  Source: see `information_matrix`.
  """
  for name, value in (('x', x), ('y', y)):
    if jnp.ndim(value) != 1:
      raise ValueError(
        f'{name} must be the samples of one unit, shape [N]; got '
        f'{jnp.shape(value)}: see information_matrix.'
      )
  matrix = information_matrix(
    jnp.asarray(x)[:, None],
    jnp.asarray(y)[:, None],
    num_bins=num_bins,
    binning=binning,
    bias=bias,
  )
  return matrix[0, 0]
