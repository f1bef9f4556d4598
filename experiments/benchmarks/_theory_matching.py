# SPDX-License-Identifier: Apache-2.0
"""Matching of units: moments in one pass, and sparse maps in one program.

`streaming` takes moments of several wide layers from samples that are drawn as
they are needed, so that memory is seen not to depend on their number; `sparse`
fits maps under seven penalties at once, against scikit-learn's Lasso in a loop.
Both check their numbers before they are timed, and return rows of tables of
`_timing`.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments.benchmarks import _timing
from jaxdl.theory import matching

PENALTIES = (1e-3, 3e-3, 1e-2, 3e-2, 1e-1, 3e-1, 1.0)


def _stream(num_networks, num_units, batch_size):
  """A program that takes moments of T batches, given by their numbers."""

  def activations(number):
    key = jax.random.fold_in(jax.random.key(0), number)
    shared_key, own_key = jax.random.split(key)
    shared = jax.random.normal(shared_key, (batch_size, 1))
    own = jax.random.normal(own_key, (num_networks, batch_size, num_units))
    # Large beside their spread, as units of a rectifier are.
    return tuple(100.0 + shared + own[k] for k in range(num_networks))

  def run(numbers):
    moments = matching.stream_moments(activations, numbers)
    return matching.correlation(moments, 0, num_networks - 1).matrix, moments

  return jax.jit(run)


def streaming(
  *,
  num_networks: int = 4,
  num_units: int = 4096,
  batch_size: int = 128,
  num_batches: int = 6,
) -> list[dict[str, str]]:
  """Moments of all pairs of networks in one pass.

  Args:
    num_networks: K.
    num_units: n of each.
    batch_size: samples that are at hand together.
    num_batches: T of the longer run, > 2.

  Returns:
    Rows of `_timing.fact`: error of a correlation that is 1/2, memory of a run
    of T batches beside that of two, and seconds per batch.

  Raises:
    ValueError: if correlations are off by more than chance.
  """
  run = _stream(num_networks, num_units, batch_size)
  memory = {}
  # A scan of one batch would be no loop.
  for count in (2, num_batches):
    numbers = jax.ShapeDtypeStruct((count,), jnp.int32)
    memory[count] = (
      run.lower(numbers).compile().memory_analysis().temp_size_in_bytes
    )
  numbers = jnp.arange(num_batches)
  matrix, moments = jax.block_until_ready(run(numbers))
  samples = num_batches * batch_size
  error = abs(float(matrix.mean()) - 0.5)
  if int(moments.count) != samples or error > 4 / np.sqrt(samples):
    raise ValueError(f'correlations are off by {error}: not timed.')
  times = _timing.measure({'moments': lambda: run(numbers)[0]}, rounds=2)
  what = f'{num_networks} x {num_units} units, {samples} samples'
  return [
    _timing.fact(f'{what}: error of correlations of 1/2', error, '', below=0.1),
    _timing.fact(
      f'{what}: memory beside that of {2 * batch_size} samples',
      memory[num_batches] / memory[2],
      'x',
      below=1.01,
    ),
    _timing.fact(
      f'{what}: seconds per {batch_size} samples',
      times.ms('moments') / 1e3 / num_batches,
      's',
      below=10.0,
    ),
  ]


def _examples(num_samples, num_inputs, num_targets):
  """Rectified units of two networks on the same latent numbers."""
  rng = np.random.default_rng(0)
  latent = rng.normal(size=(num_samples, 32))
  x, y = (
    np.maximum(latent @ rng.normal(size=(32, n)) / np.sqrt(32), 0)
    + 0.1 * rng.normal(size=(num_samples, n))
    for n in (num_inputs, num_targets)
  )
  scale = lambda v: (v - v.mean(0)) / v.std(0)
  return scale(x), scale(y)


def sparse(
  *,
  num_samples: int = 4000,
  num_inputs: int = 96,
  num_targets: int = 96,
  rounds: int = 3,
) -> list[dict[str, str]]:
  """Sparse maps under seven penalties: one program, and a loop of Lassos.

  Both in float64, on standardized units of which some are nearly collinear.

  Args:
    num_samples: N.
    num_inputs: units of one network (conv1 of the paper has 96).
    num_targets: units of the other.
    rounds: turns of both.

  Returns:
    A row of `_timing.Claim`, at least 5 times as fast.

  Raises:
    ValueError: if weights differ by more than 1e-4.
  """
  with jax.enable_x64(True):
    return _sparse(num_samples, num_inputs, num_targets, rounds)


def _sparse(num_samples, num_inputs, num_targets, rounds):
  from sklearn import linear_model

  x, y = _examples(num_samples, num_inputs, num_targets)
  penalties = jnp.asarray(PENALTIES)

  @jax.jit
  def fit(x, y):
    moments = matching.activation_moments(x, y)
    one = lambda p: matching.fit_sparse_map(moments, p).weights
    return jax.vmap(one)(penalties)

  def loop() -> list[Any]:
    found = []
    for penalty in PENALTIES:
      peer = linear_model.Lasso(alpha=penalty, tol=1e-7, max_iter=10**5)
      found.append(peer.fit(x, y).coef_.T)
    return found

  gap = float(np.abs(np.asarray(fit(x, y)) - np.stack(loop())).max())
  if gap > 1e-4:
    raise ValueError(f'weights differ by {gap}: not timed.')
  contenders = {'jaxdl, one program': lambda: fit(x, y), 'sklearn, loop': loop}
  times = _timing.measure(contenders, rounds=rounds)
  claim = _timing.Claim('jaxdl, one program', 'sklearn, loop', faster=5.0)
  return [claim.row(times)]
