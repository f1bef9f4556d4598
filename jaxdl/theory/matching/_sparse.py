# SPDX-License-Identifier: Apache-2.0
"""Predicting the units of one network from few units of another."""

from collections.abc import Sequence
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np

from jaxdl.core import checks
from jaxdl.theory.matching import _moments


class SparseMap(NamedTuple):
  """A linear map from the units of one network to those of another.

  Attributes:
    weights: f[n1, n2], exact zeros where an input is not used.
    bias: f[n2].
    half_mse: f[n2], half the mean squared error of each target where it was
      fitted; 0.5 is predicting the mean of a standardized one.
    num_used: i32[n2], inputs that each target uses.
  """

  weights: chex.Array
  bias: chex.Array
  half_mse: chex.Array
  num_used: chex.Array


def standardized(
  moments: _moments.Moments, like: _moments.Moments | None = None
) -> _moments.Moments:
  """Scales units to mean zero and standard deviation one.

  Args:
    moments: of one or more networks.
    like: moments whose means and deviations are taken, so that held-out
      samples are scaled as those that were fitted; its own if None.

  Returns:
    `Moments` of the scaled units; those that do not vary become zero.

  Example:
    >>> x = jnp.array([[1.0, 7.0], [3.0, 7.0]])
    >>> found = standardized(_moments.activation_moments(x))
    >>> found.between(0, 0).tolist()
    [[1.0, 0.0], [0.0, 0.0]]
  """
  like = moments if like is None else like
  gains = []
  for k in range(len(like.mean)):
    scale, alive = _moments.spread(like, k, 1e-8)
    gains.append(jnp.where(alive, 1 / jnp.where(alive, scale, 1), 0))
  mean = tuple(
    (m - center) * g
    for m, center, g in zip(moments.mean, like.mean, gains, strict=True)
  )
  cov = tuple(
    tuple(x * gains[k][:, None] * gains[k + i][None] for i, x in enumerate(row))
    for k, row in enumerate(moments.cov)
  )
  return _moments.Moments(moments.count, mean, cov)


def _finished(moments, weights):
  """The map of some weights, with what follows from them."""
  mean_x, mean_y = moments.mean
  bias = mean_y - jnp.matmul(mean_x, weights, precision='highest')
  found = SparseMap(
    weights,
    bias,
    jnp.zeros_like(bias),
    jnp.sum(weights != 0, axis=0, dtype=jnp.int32),
  )
  return found._replace(half_mse=map_error(found, moments))


def map_error(fitted: SparseMap, moments: _moments.Moments) -> chex.Array:
  """Half the mean squared error of each target, from moments alone.

  Args:
    fitted: the map.
    moments: of inputs and targets, in this order, of any samples: those held
      out, too, which then never have to be at hand together.

  Returns:
    f[n2].

  Example:
    >>> x = jnp.array([[1.0], [2.0]])
    >>> moments = _moments.activation_moments(x, 2 * x)
    >>> map_error(dense_map(moments), moments).round(4).tolist()
    [0.0]
  """
  w = fitted.weights
  dot = lambda a, b: jnp.matmul(a, b, precision='highest')
  # Of what is left: variance and squared mean.
  explained = jnp.sum(w * (dot(moments.between(0, 0), w)), axis=0)
  shared = jnp.sum(w * moments.between(0, 1), axis=0)
  variance = jnp.diagonal(moments.between(1, 1)) - 2 * shared + explained
  mean = moments.mean[1] - dot(moments.mean[0], w) - fitted.bias
  return 0.5 * (jnp.maximum(variance, 0) + jnp.square(mean))


def fit_sparse_map(
  moments: _moments.Moments,
  penalty: chex.Numeric,
  *,
  num_iters: int = 5000,
  tol: float = 1e-7,
) -> SparseMap:
  """Fits a map with a penalty on the absolute values of its weights.

  Minimizes 1/(2N) Σ |y - b - x W|² + λ Σ |W| by accelerated proximal steps
  (FISTA) with restarts, which set weights to zero exactly. Only covariances are
  needed, so samples may have streamed past. Steps have length one over the
  largest eigenvalue; units that do not vary are not used.

  Args:
    moments: of inputs and targets, in this order.
    penalty: λ >= 0, static or traced; `vmap` over it fits a path in one
      program. Zero is reached slowly: see `dense_map`.
    num_iters: steps at most (static).
    tol: stop where no weight moves by more than this times the largest one in a
      step (static).

  Returns:
    `SparseMap`; all zero from λ = max |E (x - mean) y| on.

  Raises:
    ValueError: if the penalty is negative or there are not two networks.

  Cost: O(n1² n2) per step, in the number of units, not of samples.

  Example:
    >>> x = jnp.array([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]])
    >>> y = x @ jnp.array([[2.0], [0.25]])
    >>> found = fit_sparse_map(_moments.activation_moments(x, y), 0.5)
    >>> found.weights[:, 0].tolist()  # each nearer to zero by 0.5
    [1.5, 0.0]

  Source: Li et al. 2015 (https://arxiv.org/abs/1511.07543), section 3.2; Beck &
  Teboulle 2009; O'Donoghue & Candès 2015 for restarts.
  """
  check_pair(moments)
  checks.number(penalty, name='penalty', low=0.0)
  steps = checks.integer(num_iters, name='num_iters', low=1)
  checks.number(tol, name='tol', low=0.0)
  gram, target = moments.between(0, 0), moments.between(0, 1)
  # Of one matrix only, however many penalties there are.
  largest = 1.0001 * jnp.linalg.eigvalsh(gram)[-1]
  step = jnp.where(largest > 0, 1 / jnp.where(largest > 0, largest, 1), 0)
  threshold = penalty * step

  def move(state):
    w, ahead, t, _, count = state
    slope = jnp.matmul(gram, ahead, precision='highest') - target
    moved = ahead - step * slope
    new = jnp.sign(moved) * jnp.maximum(jnp.abs(moved) - threshold, 0)
    # A target whose steps turn back starts anew.
    turned = jnp.sum((ahead - new) * (new - w), axis=0) > 0
    t = jnp.where(turned, 1.0, t)
    after = (1 + jnp.sqrt(1 + 4 * jnp.square(t))) / 2
    push = jnp.where(turned, 0.0, (t - 1) / after)
    change = jnp.max(jnp.abs(new - w)) > tol * jnp.max(jnp.abs(new))
    return new, new + push[None] * (new - w), after, change, count + 1

  start = jnp.zeros_like(target)
  state = (
    start,
    start,
    jnp.ones((target.shape[1],), target.dtype),
    jnp.array(True),
    0,
  )
  state = jax.lax.while_loop(lambda s: s[3] & (s[4] < steps), move, state)
  return _finished(moments, state[0])


def dense_map(moments: _moments.Moments, *, tol: float = 1e-6) -> SparseMap:
  """Fits a map by least squares: a penalty of zero.

  Of all that fit equally well it is the smallest, as where units are dead or
  copies of one another.

  Args:
    moments: of inputs and targets, in this order.
    tol: eigenvalues of the inputs' covariance up to this times the largest
      count as zero (static).

  Returns:
    `SparseMap`.

  Raises:
    ValueError: if there are not two networks.

  Cost: O(n1³).

  Example:
    >>> x = jnp.array([[0.0, 0.0], [1.0, 1.0]])
    >>> found = dense_map(_moments.activation_moments(x, x[:, :1]))
    >>> found.weights.round(4).tolist()
    [[0.5], [0.5]]
  """
  check_pair(moments)
  checks.number(tol, name='tol', low=0.0)
  values, vectors = jnp.linalg.eigh(moments.between(0, 0))
  keep = values > tol * jnp.max(values)
  inverse = jnp.where(keep, 1 / jnp.where(keep, values, 1), 0)
  dot = lambda a, b: jnp.matmul(a, b, precision='highest')
  inner = dot(vectors.T, moments.between(0, 1)) * inverse[:, None]
  return _finished(moments, dot(vectors, inner))


def check_pair(moments: _moments.Moments) -> None:
  """Raises unless they are of two networks."""
  if len(moments.mean) != 2:
    raise ValueError(
      'moments must be of two networks, inputs and targets; got '
      f'{len(moments.mean)}: take moments.pair(first, second).'
    )


def sparse_map(
  x: chex.Array,
  y: chex.Array,
  penalty: chex.Numeric,
  *,
  num_iters: int = 5000,
  tol: float = 1e-7,
) -> SparseMap:
  """As `fit_sparse_map`, of samples at hand.

  Args:
    x: f[..., n1], inputs; a convolution gets one map for all positions.
    y: f[..., n2], targets on the same samples.
    penalty: λ >= 0.
    num_iters: steps at most (static).
    tol: see `fit_sparse_map`.

  Returns:
    `SparseMap`.

  Raises:
    ValueError: as `fit_sparse_map` and `activation_moments`.

  Example:
    >>> x = jnp.array([[1.0], [2.0], [3.0]])
    >>> found = sparse_map(x, 2 * x + 1, 0.0)
    >>> found.weights.round(4).tolist(), found.bias.round(4).tolist()
    ([[2.0]], [1.0])
  """
  moments = _moments.activation_moments(x, y)
  return fit_sparse_map(moments, penalty, num_iters=num_iters, tol=tol)


def predict_map(fitted: SparseMap, x: chex.Array) -> chex.Array:
  """Predicts targets.

  Args:
    fitted: the map.
    x: f[..., n1].

  Returns:
    f[..., n2].

  Example:
    >>> fitted = SparseMap(jnp.eye(2), jnp.ones(2), jnp.zeros(2), jnp.ones(2))
    >>> predict_map(fitted, jnp.zeros((3, 2))).tolist()[0]
    [1.0, 1.0]
  """
  n = fitted.weights.shape[0]
  if not jnp.ndim(x) or jnp.shape(x)[-1] != n:
    raise ValueError(
      f'x must be f[..., {n}], of the {n} units that the map takes; got shape '
      f'{jnp.shape(x)}.'
    )
  out = jnp.matmul(x, fitted.weights, precision='highest')
  return out + fitted.bias.reshape((1,) * (out.ndim - 1) + (-1,))


class SparsePath(NamedTuple):
  """What a penalty costs, and saves.

  Attributes:
    penalty: float64[L].
    half_mse: float64[L], mean over targets, on held-out samples if there are
      some.
    num_used: float64[L], mean inputs per target.
  """

  penalty: np.ndarray
  half_mse: np.ndarray
  num_used: np.ndarray


def sparse_path(
  moments: _moments.Moments,
  penalties: Sequence[float],
  *,
  held_out: _moments.Moments | None = None,
  num_iters: int = 5000,
) -> SparsePath:
  """Fits standardized targets under several penalties, in one program.

  Args:
    moments: of inputs and targets, in this order; standardized here, so that
      0.5 is predicting the mean. Targets that do not vary do not count.
    penalties: each >= 0; zero is least squares.
    held_out: moments of other samples, on which errors are measured.
    num_iters: see `fit_sparse_map`.

  Returns:
    `SparsePath`, on the host.

  Raises:
    ValueError: if a penalty is negative or there is none.

  Example:
    >>> x = jax.random.normal(jax.random.key(0), (50, 3))
    >>> moments = _moments.activation_moments(x, x @ jnp.ones((3, 1)))
    >>> found = sparse_path(moments, (0.0, 9.0))
    >>> found.half_mse.round(3).tolist(), found.num_used.tolist()
    ([0.0, 0.5], [3.0, 0.0])

  Source: Li et al. 2015 (https://arxiv.org/abs/1511.07543), table 1.
  """
  if not len(penalties):
    raise ValueError('penalties is empty: give at least one, as (0.01,).')
  for penalty in penalties:
    checks.number(penalty, name='penalties', low=0.0)
  tested = moments if held_out is None else held_out
  found = [[jnp.shape(x) for x in m.mean] for m in (moments, tested)]
  if found[0] != found[1]:
    raise ValueError(
      'held_out must be of the same units as moments; means have shapes '
      f'{found[1]} and {found[0]}.'
    )
  own = standardized(moments)
  error, used = _path(
    own,
    standardized(tested, moments),
    jnp.asarray(penalties, own.count.dtype),
    num_iters,
    any(p == 0 for p in penalties),
  )
  return SparsePath(*(np.asarray(x, float) for x in (penalties, error, used)))


def _path_of(moments, held_out, penalties, num_iters, dense):
  targets = (jnp.diagonal(moments.between(1, 1)) > 0).astype(penalties.dtype)
  fit = lambda p: fit_sparse_map(moments, p, num_iters=num_iters)
  found = jax.vmap(fit)(penalties)
  if dense:
    pick = lambda d, s: jnp.where(
      (penalties == 0).reshape(-1, *(1,) * d.ndim), d[None], s
    )
    found = jax.tree.map(pick, dense_map(moments), found)
  error = jax.vmap(lambda f: map_error(f, held_out))(found)
  mean = lambda x: (
    jnp.sum(x * targets[None], 1) / jnp.maximum(jnp.sum(targets), 1)
  )
  return mean(error), mean(found.num_used.astype(error.dtype))


_path = jax.jit(_path_of, static_argnums=(3, 4))
