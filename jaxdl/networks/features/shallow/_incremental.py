# SPDX-License-Identifier: Apache-2.0
"""Random nets that grow: a unit at a time, or only units that help."""

from collections.abc import Sequence
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np

from jaxdl.core import checks, keys
from jaxdl.networks import functional
from jaxdl.networks.features import (
  _arrays as arrays,
  _readouts as readouts,
)
from jaxdl.networks.features.shallow import _hidden as hidden_lib


def _dot(a, b):
  return jnp.matmul(a, b, precision='highest')


def incremental_readout(
  h: chex.Array, y: chex.Array
) -> tuple[chex.Array, chex.Array]:
  """Fits features one after the other, none of them again (IRVFL).

  Feature h gets c = <e, h> / |h|^2 of the residual e that those before it left,
  and e becomes e - c h. A feature that is zero gets c = 0.

  Args:
    h: f[N, n], features in their order; integers are cast.
    y: f[N, o].

  Returns:
    W f[o, n], and |e|^2 of every output after 0, 1, ..., n features, f[n + 1,
    o]; it never grows, and step i lowers it by <e, h_i>^2 / |h_i|^2.

  Raises:
    ValueError: if shapes disagree, there are no examples, or concrete ones are
      not finite.
    TypeError: if what is given holds no real numbers.

  Cost: O(N n o), one `lax.scan`.

  Example:
    >>> w, errors = incremental_readout(jnp.eye(2), jnp.array([[3.0], [4.0]]))
    >>> w.tolist(), errors[:, 0].tolist()
    ([[3.0, 4.0]], [25.0, 16.0, 0.0])

  Source: Li & Wang 2017, incremental RVFL networks.
  """
  h, y = arrays.real(h, name='h'), arrays.real(y, name='y')
  shapes = f'got {h.shape} and {y.shape}.'
  if h.ndim != 2 or y.ndim != 2 or h.shape[0] != y.shape[0]:
    raise ValueError(f'h and y must be [N, n] and [N, o]; {shapes}')
  if not h.shape[0]:
    raise ValueError(f'h and y must hold N >= 1 examples; {shapes}')
  arrays.check_kept(None, h=h, y=y)
  h, y = (jnp.asarray(v, jnp.result_type(h, y)) for v in (h, y))

  def step(error, column):
    square = _dot(column, column)
    some = square > 0
    c = jnp.where(
      some, _dot(error.T, column) / jnp.where(some, square, 1), jnp.zeros(())
    ).astype(error.dtype)
    error = error - column[:, None] * c[None]
    return error, (c, jnp.sum(error * error, axis=0))

  _, (c, left) = jax.lax.scan(step, y, h.T)
  start = jnp.sum(y * y, axis=0)[None]
  return c.T, jnp.concatenate([start, left])


class Configured(NamedTuple):
  """A net that was grown by `stochastic_configuration`.

  Attributes:
    hidden: n units.
    readout: f[o, n], zero for units that were not accepted.
    accepted: bool[n].
    scales: f[n], of the range that each unit came from.
    errors: f[n + 1], |e|^2 after 0, 1, ..., n units, all weights refitted.
  """

  hidden: hidden_lib.Hidden
  readout: chex.Array
  accepted: chex.Array
  scales: chex.Array
  errors: chex.Array


def stochastic_configuration(
  key: chex.PRNGKey,
  x: chex.Array,
  y: chex.Array,
  *,
  num_hidden: int,
  scales: Sequence[float] = (1.0, 5.0, 10.0, 50.0, 100.0),
  num_candidates: int = 20,
  tolerances: Sequence[float] = (0.9, 0.99, 0.999, 0.9999, 0.99999),
  activation: functional.Activation = 'tanh',
  ridge: chex.Numeric = 0.0,
) -> Configured:
  """Grows a net by units that lower the error enough (SCN).

  For unit L, `num_candidates` are drawn at every scale, a and b uniform on
  [-lambda, lambda]. A candidate h is accepted if, summed over the outputs,
  <e, h>^2 / |h|^2 >= (1 - r - m) |e|^2 with m = (1 - r) / (L + 1); the first
  tolerance r, and of it the first scale, that has one gives its best one. Then
  all output weights are fitted again (by an orthonormal basis that grows, so a
  step costs no more than its candidates). Where none is accepted, or it adds
  nothing but rounding, the unit stays out and others are drawn for the next.

  Args:
    key: consumed.
    x: f[N, d].
    y: f[N, o]; of half precision it is fitted in float32.
    num_hidden: n steps (static), at most as many units.
    scales: lambda, in the order in which they are tried (static).
    num_candidates: T_max >= 1, of each scale (static).
    tolerances: r in (0, 1), growing: the larger, the less is asked (static).
    activation: s.
    ridge: of the output weights at the end; growing does not know it.

  Returns:
    `Configured`.

  Raises:
    ValueError: if a number is out of range, shapes disagree, or concrete data
      are not finite.
    TypeError: if data hold no real numbers, or scales or tolerances are no
      sequence.

  Cost: O(n N (S T d + n)) for S scales, one `lax.scan`.

  Example:
    >>> x = jnp.linspace(-1.0, 1.0, 30)[:, None]
    >>> grown = stochastic_configuration(
    ...   jax.random.key(0), x, jnp.sin(5.0 * x), num_hidden=8, ridge=1e-6
    ... )
    >>> bool((jnp.diff(grown.errors) <= 0).all())
    True

  Source: Wang & Li 2017 (https://arxiv.org/abs/1702.04459), SC-III.
  """
  keys.check_key(key)
  checks.integer(num_hidden, name='num_hidden', low=1)
  checks.integer(num_candidates, name='num_candidates', low=1)
  checks.number(ridge, name='ridge', low=0.0)
  for name, values in (('scales', scales), ('tolerances', tolerances)):
    if isinstance(values, str) or not hasattr(values, '__len__'):
      raise TypeError(
        f'{name} must be a sequence of numbers; got {checks.described(values)}.'
      )
  scales, tolerances = tuple(scales), tuple(tolerances)
  for name, values, high in (
    ('scales', scales, None),
    ('tolerances', tolerances, 1.0),
  ):
    if not values:
      raise ValueError(f'{name} is empty: name at least one.')
    for value in values:
      checks.number(
        value, name=name, low=0.0, high=high, open_low=True, open_high=True
      )
  if list(tolerances) != sorted(tolerances):
    raise ValueError(f'tolerances must grow; got {tolerances}.')
  x, y = arrays.real(x, name='x'), arrays.real(y, name='y')
  if x.ndim != 2 or y.ndim != 2 or x.shape[0] != y.shape[0] or not x.shape[0]:
    raise ValueError(
      f'x and y must be [N, d] and [N, o], N >= 1; got {x.shape} and {y.shape}.'
    )
  act = functional.activation(activation)
  arrays.check_kept(None, x=x, y=y)
  dtype, (rows, dim) = arrays.solvable(x, y), x.shape
  x, y = jnp.asarray(x, dtype), jnp.asarray(y, dtype)
  ranges = jnp.asarray(scales, dtype)
  r = jnp.asarray(tolerances, dtype)

  def candidates(key):
    """Weights [S, T, d], biases [S, T] and features [S, T, N]."""
    drawn = jax.random.uniform(
      key, (num_candidates, dim + 1), dtype, minval=-1.0, maxval=1.0
    )
    both = ranges[:, None, None] * drawn[None]
    a, b = both[..., :-1], both[..., -1]
    z = _dot(a, x.T)
    return a, b, act(z - jnp.broadcast_to(b[..., None], z.shape))

  def step(carry, count):
    basis, error = carry
    a, b, h = candidates(jax.random.fold_in(key, count))
    square = jnp.sum(h * h, axis=-1)
    along = jnp.sum(jnp.square(_dot(h, error)), axis=-1)
    gain = along / jnp.where(square > 0, square, 1)
    total = jnp.sum(error * error)
    length = (count + 1).astype(dtype)
    asked = (1 - r) * (length / (length + 1)) * total
    enough = gain.max(axis=1)[None] >= asked[:, None]
    first = jnp.argmax(enough.reshape(-1))
    which = first % len(scales)
    best = jnp.argmax(gain[which])
    column = h[which, best]
    new = column
    for _ in range(2):  # Twice is enough to be orthogonal to rounding.
      new = new - _dot(basis.T, _dot(basis, new))
    norm = jnp.sqrt(_dot(new, new))
    floor = rows * float(np.finfo(dtype).eps) * jnp.sqrt(square[which, best])
    taken = enough.any() & (norm > floor) & (total > 0)
    new = jnp.where(taken, new / jnp.where(taken, norm, 1), 0)
    basis = basis.at[count].set(new)
    error = error - new[:, None] * _dot(new, error)[None]
    out = (a[which, best], b[which, best], taken, ranges[which])
    return (basis, error), (*out, jnp.sum(error * error))

  empty = jnp.zeros((num_hidden, rows), dtype)
  _, (a, b, taken, chosen, left) = jax.lax.scan(
    step, (empty, y), jnp.arange(num_hidden)
  )
  hidden = hidden_lib.Hidden(a, b)
  h = hidden_lib.hidden_features(x, hidden, activation)
  h = jnp.where(jnp.broadcast_to(taken, h.shape), h, 0)
  readout = readouts.fit_readout(h, y, ridge=ridge, method='svd')
  readout = jnp.where(jnp.broadcast_to(taken, readout.shape), readout, 0)
  start = jnp.sum(y * y)[None]
  return Configured(
    hidden, readout, taken, chosen, jnp.concatenate([start, left])
  )
