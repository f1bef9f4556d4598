# SPDX-License-Identifier: Apache-2.0
"""Read-outs that are corrected as examples come in: recursive least squares."""

from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp

from jaxdl.core import checks
from jaxdl.networks.features import _arrays as arrays


def _dot(a, b):
  return jnp.matmul(a, b, precision='highest')


class Streamed(NamedTuple):
  """A read-out of all examples so far.

  Attributes:
    inverse: f[M, M], (H^T H + ridge I)^-1.
    readout: f[o, M].
    count: f[], weight of the examples.
  """

  inverse: chex.Array
  readout: chex.Array
  count: chex.Array


def start_stream(
  num_features: int, num_outputs: int, *, ridge: chex.Numeric
) -> Streamed:
  """Returns the read-out of no examples, zero.

  Args:
    num_features: M.
    num_outputs: o.
    ridge: mu > 0.

  Returns:
    A state for `stream`, in JAX's default precision.

  Raises:
    ValueError: if a number is out of range.
  """
  checks.integer(num_features, name='num_features', low=1)
  checks.integer(num_outputs, name='num_outputs', low=1)
  checks.number(ridge, name='ridge', low=0.0, open_low=True)
  eye = jnp.eye(num_features)
  return Streamed(
    eye / jnp.asarray(ridge, eye.dtype),
    jnp.zeros((num_outputs, num_features)),
    jnp.zeros(()),
  )


def stream(
  state: Streamed,
  h: chex.Array,
  y: chex.Array,
  *,
  weights: chex.Array | None = None,
  forgetting: chex.Numeric = 1.0,
) -> Streamed:
  """Corrects a read-out by some more examples.

  Without forgetting it is the ridge read-out of all examples so far, in
  whatever portions they came. In float32 rounding adds up over thousands of
  updates; sums (`readout_statistics`) stay exact, but are solved at O(M^3).

  Args:
    state: from `start_stream` or `stream`.
    h: f[B, M] features, cast to the precision of the state.
    y: f[B, o] targets.
    weights: f[B] or bool[B] >= 0; false rows have no effect, whatever they
      contain.
    forgetting: what weight all examples so far (and the ridge) keep, in
      (0, 1].

  Returns:
    The new state; made for `lax.scan`.

  Raises:
    ValueError: if shapes disagree, forgetting is out of range, a concrete
      weight is negative, or a concrete row that counts is not finite.
    TypeError: if what is given holds no real numbers.

  Cost: O(B M^2 + B^3), against O(M^3) for a fit anew.

  Example:
    >>> h, y = jnp.eye(2), jnp.array([[2.0], [6.0]])
    >>> state = stream(start_stream(2, 1, ridge=1.0), h[:1], y[:1])
    >>> jnp.round(stream(state, h[1:], y[1:]).readout[0]).tolist()
    [1.0, 3.0]
  """
  checks.number(forgetting, name='forgetting', low=0.0, high=1.0, open_low=True)
  num_outputs, num_features = state.readout.shape
  h, y = arrays.real(h, name='h'), arrays.real(y, name='y')
  if h.ndim != 2 or y.ndim != 2 or h.shape[0] != y.shape[0]:
    raise ValueError(
      f'h and y must be [B, M] and [B, o]; got {h.shape} and {y.shape}.'
    )
  if h.shape[1] != num_features or y.shape[1] != num_outputs:
    raise ValueError(
      f'the stream has M={num_features} features and o={num_outputs} outputs; '
      f'got h of shape {h.shape} and y of shape {y.shape}.'
    )
  weights = arrays.example_weights(weights, h.shape[0])
  arrays.check_kept(weights, h=h, y=y)
  h, y = (jnp.asarray(v, state.inverse.dtype) for v in (h, y))
  count = jnp.asarray(h.shape[0], h.dtype)
  if weights is not None:
    root = jnp.sqrt(weights.astype(h.dtype))[:, None]
    kept = lambda v: jnp.where(
      jnp.broadcast_to(root > 0, v.shape), root * v, jnp.zeros_like(v)
    )
    h, y, count = kept(h), kept(y), jnp.sum(weights.astype(h.dtype))
  forgetting = jnp.asarray(forgetting, h.dtype)
  moved = _dot(state.inverse, h.T)
  inner = _dot(h, moved) + forgetting * jnp.eye(h.shape[0], dtype=h.dtype)
  gain = jax.scipy.linalg.solve(inner, moved.T, assume_a='pos')
  missed = y - _dot(h, state.readout.T)
  inverse = (state.inverse - _dot(moved, gain)) / forgetting
  return Streamed(
    (inverse + inverse.T) / 2,
    state.readout + _dot(missed.T, gain),
    forgetting * state.count + count,
  )
