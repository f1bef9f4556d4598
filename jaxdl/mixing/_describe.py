# SPDX-License-Identifier: Apache-2.0
"""What a mixer does: its matrices, its messages, how fast it mixes."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np

from jaxdl.mixing import _mixers, spectra

# Products of float32 matrices that miss the average by less are exact.
_EXACT = 1e-6
_MAX_SPECTRUM = 1024


def matrices(
  mixer: _mixers.Mixer, *, num_draws: int = 64, seed: int = 0
) -> np.ndarray:
  """The matrices of one period, or draws of a random mixer.

  Args:
    mixer: any mixer.
    num_draws: draws of a random one.
    seed: of the draws.

  Returns:
    f32[T, N, N].
  """
  if mixer.period is not None:
    return np.stack([np.asarray(mixer.matrix(t)) for t in range(mixer.period)])
  key = jax.random.key(seed)
  draw = jax.jit(
    lambda rounds: jax.lax.map(lambda t: mixer.matrix(t, key=key), rounds)
  )
  return np.asarray(draw(jnp.arange(num_draws)))


def messages(mixer: _mixers.Mixer, *, num_draws: int = 64) -> np.ndarray:
  """Counts the messages that a client sends on average in a round.

  One message is one model over one link. A round in which everybody gets the
  plain mean counts as a ring all-reduce, 2 (N - 1) / N models per client.

  Args:
    mixer: any mixer.
    num_draws: rounds over which random mixers are averaged.

  Returns:
    float64[T] for a period of T rounds, float64[1] for random mixers.

  Example:
    >>> from jaxdl import mixing
    >>> messages(mixing.make_mixer('ring', 8)).tolist()
    [2.0]
    >>> messages(mixing.make_mixer('complete', 8)).tolist()
    [1.75]
  """
  found = matrices(mixer, num_draws=num_draws)
  n = found.shape[-1]
  links = (found != 0) & ~np.eye(n, dtype=bool)
  counts = links.sum(axis=(1, 2)) / n
  if n > 1:
    everybody = np.all(np.abs(found - 1 / n) < 1e-6, axis=(1, 2))
    counts = np.where(everybody, all_reduce(n), counts)
  return counts if mixer.period is not None else counts.mean(keepdims=True)


def all_reduce(num_clients: int) -> float:
  """Models that each client sends in a ring all-reduce.

  Args:
    num_clients: N.

  Returns:
    2 (N - 1) / N.
  """
  return 2 * (num_clients - 1) / num_clients


def spectrum(mixer: _mixers.Mixer, *, num_draws: int = 256) -> dict[str, float]:
  """Says how fast a mixer brings clients together.

  Args:
    mixer: any mixer.
    num_draws: draws by which random mixers are estimated.

  Returns:
    Numbers by name: `messages` per client and round; `period` in rounds (0 if
    random); up to N = 1024 also `factor`, by which a round shrinks the distance
    to consensus, `gap` = 1 - factor, and `rounds_to_1e-6`, after which any
    start has shrunk by that much. The factor is ρ of a doubly stochastic
    matrix, the second eigenvalue of another one, the geometric mean over a
    period of a schedule (0 if the average is exact) and the root of the
    worst-case expected square for a random mixer. A fixed symmetric matrix also
    has `smallest_eigenvalue`.
  """
  sent = messages(mixer)
  out = {'messages': float(sent.mean()), 'period': float(mixer.period or 0)}
  found = np.float64(matrices(mixer, num_draws=num_draws))
  n = found.shape[-1]
  if n > _MAX_SPECTRUM:
    return out
  if mixer.period is None:
    factor = math.sqrt(max(spectra.mean_square_factor(found), 0.0))
  elif mixer.period > 1:
    product = functools.reduce(lambda done, w: w @ done, found)
    factor = spectra.consensus_factor(product)
    factor = 0.0 if factor < _EXACT else factor ** (1 / mixer.period)
  elif mixer.stochastic == 'double':
    factor = spectra.consensus_factor(found[0])
    if np.allclose(found[0], found[0].T, atol=1e-6):
      out['smallest_eigenvalue'] = spectra.smallest_eigenvalue(found[0])
  else:
    factor = spectra.second_eigenvalue(found[0])
  factor = 0.0 if factor < _EXACT else factor
  out['factor'], out['gap'] = factor, 1.0 - factor
  if factor == 0.0:
    out['rounds_to_1e-6'] = float(mixer.period or 1)
  elif factor < 1.0 - 1e-9:
    out['rounds_to_1e-6'] = float(math.ceil(math.log(1e-6) / math.log(factor)))
  else:
    out['rounds_to_1e-6'] = math.inf
  return out
