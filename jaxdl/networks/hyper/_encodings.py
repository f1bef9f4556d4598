# SPDX-License-Identifier: Apache-2.0
"""What a hypernetwork sees of its input."""

from collections.abc import Mapping
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
from absl import logging

from jaxdl.core import checks, registry

# Where values outside of [0, 1] look like others inside.
_BOUNDED = ('cos_sin',)


def _none(gamma: chex.Array) -> chex.Array:
  """The input as it is."""
  return gamma


def _cos_sin(gamma: chex.Array) -> chex.Array:
  """Cosines, then sines, of a quarter of a turn: of norm sqrt(D) throughout."""
  angle = gamma * (np.pi / 2)
  return jnp.concatenate([jnp.cos(angle), jnp.sin(angle)], axis=-1)


def _complement(gamma: chex.Array) -> chex.Array:
  """The input and what it lacks to one; its norm is not constant."""
  return jnp.concatenate([gamma, 1 - gamma], axis=-1)


def _standardize(
  gamma: chex.Array, *, mean: float = 0.5, std: float = 12**-0.5
) -> chex.Array:
  """Takes off a mean and divides by a deviation, those of U[0, 1]."""
  checks.number(mean, name='mean')
  checks.number(std, name='std', low=0.0, open_low=True)
  return (gamma - mean) / std


def _unit_norm(gamma: chex.Array) -> chex.Array:
  """Of norm one; zero stays zero. Of one dimension nothing but its sign is."""
  square = jnp.sum(jnp.square(gamma), axis=-1, keepdims=True)
  safe = jnp.where(square > 0, square, 1)
  return gamma / jnp.sqrt(safe)


def _fourier(
  gamma: chex.Array,
  *,
  num_features: int = 16,
  scale: float = 2.0,
  seed: int = 0,
) -> chex.Array:
  """Cosines, then sines, of random projections, divided to norm sqrt(D)."""
  checks.integer(num_features, name='num_features', low=1)
  checks.number(scale, name='scale', low=0.0, open_low=True)
  size = gamma.shape[-1]
  drawn = np.random.default_rng(checks.integer(seed, name='seed', low=0))
  turns = scale * drawn.normal(size=(size, num_features))
  angle = gamma @ jnp.asarray(turns, gamma.dtype)
  both = jnp.concatenate([jnp.cos(angle), jnp.sin(angle)], axis=-1)
  return both * (size / num_features) ** 0.5


ENCODINGS = registry.Registry(
  'encoding',
  {
    'complement': _complement,
    'cos_sin': _cos_sin,
    'fourier': _fourier,
    'none': _none,
    'standardize': _standardize,
    'unit_norm': _unit_norm,
  },
  given=('gamma',),
)


def encode(gamma: Any, encoding: str = 'cos_sin') -> chex.Array:
  """Encodes inputs of a hypernetwork.

  'cos_sin' is [cos(pi gamma / 2), sin(pi gamma / 2)], all cosines first, of
  norm sqrt(D) whatever gamma is: the scale of the weights that are made of it
  does not swing. It is one to one on [0, 1]; values outside keep the norm but
  alias (3 looks like -1), so rescale known ranges first, squash unbounded ones,
  and take the logarithm of scales.

  Args:
    gamma: f[..., D], or a dict of such arrays with equal leading axes, which
      are first concatenated in the order of their names. Integers are cast,
      which is logged once.
    encoding: a part of `ENCODINGS`: 'cos_sin', 'none', 'complement'
      ([gamma, 1 - gamma], not of constant norm), and what is compared with
      them: 'standardize', 'unit_norm', 'fourier(num_features=16)' (static).

  Returns:
    f[..., E]: E = 2 D for 'cos_sin' and 'complement', twice the features of
    'fourier', otherwise D.

  Raises:
    ValueError: if the encoding is unknown or there is no last axis.
    TypeError: if gamma is neither real numbers nor a dict of them.

  Example:
    >>> encode(jnp.array([0.0, 1.0])).round(5).tolist()
    [1.0, -0.0, 0.0, 1.0]

  Source: Gonzalez Ortiz, Guttag & Dalca 2024
    (https://arxiv.org/abs/2304.07645), input encoding.
  """
  part = ENCODINGS.part(encoding)
  arrays = {k: _floating(x, k) for k, x in named(gamma).items()}
  rows(arrays)
  whole = jnp.concatenate([arrays[k] for k in sorted(arrays)], axis=-1)
  return ENCODINGS.bound(part, whole)


def encoded_size(gamma: Any, encoding: str) -> int:
  """Length E of what `encode` makes; nothing is computed.

  Args:
    gamma: arrays or shapes.
    encoding: see `encode`.

  Returns:
    E.
  """
  shapes = {
    k: x if hasattr(x, 'dtype') else _floating(x, k)
    for k, x in named(gamma).items()
  }
  return jax.eval_shape(lambda x: encode(x, encoding), shapes).shape[-1]


def check_encoding(encoding: str) -> None:
  """Refuses an unknown encoding, or options of it that are out of range.

  Args:
    encoding: see `encode`.

  Raises:
    ValueError: with what is wrong.
  """
  encoded_size(jax.ShapeDtypeStruct((1,), jnp.float32), encoding)


def mean_square(gamma: Any, encoding: str) -> float:
  """Mean square of an entry of the encoding of uniform inputs.

  Args:
    gamma: arrays or shapes of [..., D], of any number of names.
    encoding: see `encode`.

  Returns:
    The mean over entries and 4096 inputs drawn from U[0, 1].
  """
  drawn = np.random.default_rng(0)
  sample = {
    name: drawn.random((4096, x.shape[-1]), np.float32)
    for name, x in named(gamma).items()
  }
  with jax.ensure_compile_time_eval():
    return float(jnp.mean(jnp.square(encode(sample, encoding))))


def named(gamma: Any) -> dict[str, Any]:
  """Inputs by name; one that has none is called gamma."""
  if not isinstance(gamma, Mapping):
    return {'gamma': gamma}
  if not gamma:
    raise ValueError('gamma has no inputs: give at least one by name.')
  return dict(gamma)


def rows(gamma: Any) -> tuple[int, ...]:
  """Leading axes that all inputs share."""
  found = {k: np.shape(x)[:-1] for k, x in named(gamma).items()}
  if len(set(found.values())) > 1:
    raise ValueError(
      f'gamma has inputs of different leading axes, {found}: give all of them '
      'one row, or a row per example.'
    )
  return next(iter(found.values()))


def check_gamma(gamma: Any, encoding: str, wanted: int) -> None:
  """Refuses inputs that a hypernetwork does not take.

  Args:
    gamma: see `encode`. Values are looked at where they are concrete; traced
      ones pass, NaN then makes NaN weights.
    encoding: see `encode`.
    wanted: length E of the encoding that the hypernetwork was made for.

  Raises:
    ValueError: if the last axis is of another length, an entry is not finite,
      or lies outside of [0, 1] where that aliases.
  """
  size = encoded_size(gamma, encoding)
  shapes = {k: np.shape(x) for k, x in named(gamma).items()}
  if size != wanted:
    shape = shapes.get('gamma', shapes)
    raise ValueError(
      f'gamma has shape {shape}, whose encoding {encoding} has {size} entries, '
      f'but the hypernetwork was made for {wanted}: give [..., D] with the D '
      'of init.'
    )
  if ENCODINGS.part(encoding).name in _BOUNDED:
    check_unit(gamma, ': rescale, values outside [0, 1] alias')
    return
  for name, x in named(gamma).items():
    if isinstance(x, (jax.core.Tracer, jax.ShapeDtypeStruct)):
      continue
    values = np.asarray(x, np.float64)
    _refuse(name, values, ~np.isfinite(values), 'must be finite', '')


def check_unit(gamma: Any, why: str = ': rescale') -> None:
  """Refuses concrete inputs outside of [0, 1]; traced ones pass.

  Args:
    gamma: see `encode`.
    why: end of the message.

  Raises:
    ValueError: if an entry is not finite, or lies outside.
  """
  for name, x in named(gamma).items():
    if isinstance(x, (jax.core.Tracer, jax.ShapeDtypeStruct)):
      continue
    values = np.asarray(x, np.float64)
    _refuse(name, values, ~np.isfinite(values), 'must be finite', '')
    outside = (values < 0) | (values > 1)
    _refuse(name, values, outside, 'must lie in [0, 1]', why)


def _refuse(name, values, bad, rule, why):
  if bad.any():
    place = tuple(int(i) for i in np.argwhere(bad)[0])
    at = ', '.join(map(str, place))
    raise ValueError(f'{name}[{at}] {rule}; got {values[place]:g}{why}.')


def _floating(x: Any, name: str) -> chex.Array:
  """An array [..., D] of floating point."""
  if not hasattr(x, 'dtype'):
    x = checks.host_array(x, name=name)
  if not jnp.issubdtype(x.dtype, jnp.floating):
    if not jnp.issubdtype(x.dtype, jnp.integer):
      raise TypeError(
        f'{name} must be floating point; got an array of {x.dtype}.'
      )
    logging.log_first_n(
      logging.WARNING,
      '%s has integers (%s), which are cast to floating point.',
      1,
      name,
      x.dtype,
    )
    x = jnp.asarray(x, jnp.result_type(float))
  if not x.ndim or not x.shape[-1]:
    raise ValueError(
      f'{name} must have a last axis of D >= 1 entries; got shape '
      f'{tuple(x.shape)}: write [0.5] for a single number.'
    )
  return jnp.asarray(x)
