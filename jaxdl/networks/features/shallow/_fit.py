# SPDX-License-Identifier: Apache-2.0
"""Read-outs of a random net: fitted at once, predicted with."""

import chex
import jax
import jax.numpy as jnp

from jaxdl.core import checks
from jaxdl.networks import functional
from jaxdl.networks.features import (
  _arrays as arrays,
  _readouts as readouts,
)
from jaxdl.networks.features.shallow import _hidden as hidden_lib


def targets(y: chex.Array, num_classes: int = 0) -> chex.Array:
  """Puts targets into columns; classes become one-hot.

  Args:
    y: f[N], f[N, o], or i32[N] classes if there are any.
    num_classes: K; 0 for numbers.

  Returns:
    f[N, o].

  Raises:
    ValueError: if the shape is another, or a concrete class is out of range.
    TypeError: if they hold no real numbers.

  Example:
    >>> targets(jnp.array([0, 2]), 3).tolist()
    [[1.0, 0.0, 0.0], [0.0, 0.0, 1.0]]
  """
  checks.integer(num_classes, name='num_classes', low=0)
  y = arrays.real(y, name='y')
  if y.ndim not in (1, 2) or (num_classes and y.ndim != 1):
    wanted = '[N]' if num_classes else '[N] or [N, o]'
    raise ValueError(f'y must have shape {wanted}; got {y.shape}.')
  if not num_classes:
    return y[:, None] if y.ndim == 1 else y
  if not isinstance(y, jax.core.Tracer):
    known = (y >= 0) & (y < num_classes) & (y % 1 == 0)
    if not known.all():
      raise ValueError(
        f'y must hold classes 0 to {num_classes - 1}; got {y.min():g} to '
        f'{y.max():g}.'
      )
  return jax.nn.one_hot(jnp.asarray(y, jnp.int32), num_classes)


def fit(
  hidden: hidden_lib.Hidden,
  x: chex.Array,
  y: chex.Array,
  *,
  ridge: chex.Numeric,
  activation: functional.Activation = 'tanh',
  direct: bool = False,
  num_classes: int = 0,
  method: str = 'svd',
  weights: chex.Array | None = None,
) -> chex.Array:
  """Fits the output weights c of a random net, a convex problem.

  c minimizes |H c - y|^2 + ridge |c|^2 with H of `hidden_features`. With
  `ridge=0` this is an extreme learning machine, with `direct=True` an RVFL
  net. Report |c| with every error: where the weights are bounded, a small error
  is bought with a huge c.

  Precision is that of the inputs. Below errors of 1e-3 float32 features hide
  what is asked here: make everything under `jax.enable_x64(True)`.

  Args:
    hidden: n units, from `sample_hidden`.
    x: f[N, d].
    y: f[N], f[N, o], or i32[N] classes, which are fitted as one-hot.
    ridge: mu >= 0.
    activation: see `hidden_features`.
    direct: see `hidden_features`.
    num_classes: K; 0 for numbers.
    method: see `fit_readout`.
    weights: f[N] or bool[N], see `fit_readout`.

  Returns:
    c^T f[o, M], M = n, or n + d + 1 with direct links.

  Raises:
    ValueError: if shapes disagree, there are no data, a number is out of
      range, or concrete data are not finite.
    TypeError: if data hold no real numbers.

  Example:
    >>> hidden = sample_hidden(jax.random.key(0), 200, 1, scale=10.0)
    >>> x = jnp.linspace(-1.0, 1.0, 40)[:, None]
    >>> c = fit(hidden, x, jnp.sin(6.28 * x[:, 0]), ridge=1e-6)
    >>> error = predict(hidden, c, x)[:, 0] - jnp.sin(6.28 * x[:, 0])
    >>> bool(jnp.abs(error).max() < 0.02)
    True

  Source: Li et al. 2023 (https://arxiv.org/abs/2008.08427).
  """
  checks.number(ridge, name='ridge', low=0.0)
  x, y = arrays.real(x, name='x'), arrays.real(y, name='y')
  if x.ndim != 2 or x.shape[0] == 0 or x.shape[0] != y.shape[0]:
    raise ValueError(
      f'x and y must hold N >= 1 examples, x of shape [N, d]; got {x.shape} '
      f'and {y.shape}.'
    )
  weights = arrays.example_weights(weights, x.shape[0])
  if weights is not None and num_classes and y.ndim == 1:
    y = jnp.where(weights > 0, y, 0)  # Whatever they contain.
  y = targets(y, num_classes)
  arrays.check_kept(weights, x=x, y=y)
  h = hidden_lib.hidden_features(x, hidden, activation, direct=direct)
  hidden_lib.warn_of_saturation(x, hidden, activation)
  return readouts.fit_readout(
    h, y.astype(h.dtype), ridge=ridge, method=method, weights=weights
  )


def predict(
  hidden: hidden_lib.Hidden,
  readout: chex.Array,
  x: chex.Array,
  *,
  activation: functional.Activation = 'tanh',
  direct: bool = False,
) -> chex.Array:
  """Computes what a random net says; the class is the largest output.

  Args:
    hidden: n units.
    readout: f[o, M] from `fit` and the like.
    x: f[..., d].
    activation: as it was fitted.
    direct: as it was fitted.

  Returns:
    f[..., o].

  Raises:
    ValueError: if lengths differ.
  """
  h = hidden_lib.hidden_features(x, hidden, activation, direct=direct)
  readout = arrays.real(readout, name='readout')
  if readout.ndim != 2 or readout.shape[1] != h.shape[-1]:
    raise ValueError(
      f'readout must have shape [o, {h.shape[-1]}]; got {readout.shape}.'
    )
  return jnp.matmul(h, readout.T, precision='highest')
