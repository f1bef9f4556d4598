# SPDX-License-Identifier: Apache-2.0
"""A part of the benchmark of theories: sweeps of an associative memory."""

import functools

import jax
import numpy as np

from experiments.benchmarks import _timing
from jaxdl.theory import associative

NUM_PATTERNS = 5
DILUTION = 0.3
NUM_BLOCKS = 100
# Sweeps in a program, which the way into it is divided by.
NUM_SWEEPS = 5
# Milliseconds for a sweep of 10^6 neurons: 100 in a second.
TARGET_MS = 10.0


def _numpy_sweep(patterns, state, temperature, rng):
  """A sweep through overlaps, block by block; what a loop would do."""
  num_patterns, n = patterns.shape
  width = n // NUM_BLOCKS
  overlaps = patterns @ state
  scale = 2 / (n * (1 - DILUTION) * temperature) if temperature else None
  for g in rng.permutation(NUM_BLOCKS):
    own = slice(g * width, (g + 1) * width)
    v, s = patterns[:, own], state[own]
    f = (overlaps @ v) * s - np.square(v).sum(axis=0)
    if scale is None:
      turns = f < 0
    else:
      coins = rng.random(width, np.float32)
      turns = coins * (1 + np.exp(np.float32(scale) * f)) < 1
    change = np.where(turns, -2 * s, 0)
    overlaps = overlaps + v @ change
    state[own] = s + change
  return state


def glauber_sweeps(*, quick: bool = False) -> list[str]:
  """Sweeps through overlaps, against NumPy and the reading of all vectors.

  Args:
    quick: whether the network is small.

  Returns:
    Sections of Markdown.
  """
  n, rounds = (10**4, 3) if quick else (10**6, 7)
  key = jax.random.key(0)
  patterns = associative.sample_patterns(
    key, NUM_PATTERNS, n, dilution=DILUTION
  )
  memory = associative.storing_memory(patterns, dilution=DILUTION)
  state = associative.hierarchical_state(key, patterns)
  host = np.asarray(patterns, np.float32)
  out = []
  for temperature in (0.0, 0.1):
    run = jax.jit(
      lambda key, s, t=temperature: associative.glauber(
        key, s, memory, t, num_sweeps=NUM_SWEEPS, num_blocks=NUM_BLOCKS
      )[0]
    )
    rng = np.random.default_rng(0)
    held = np.array(state, np.float32)

    def loop(t=temperature, rng=rng, held=held):
      return _numpy_sweep(host, held, t, rng)

    fns = {'sweeps': lambda run=run: run(key, state), 'NumPy': loop}
    if temperature:
      coins = jax.jit(lambda key: jax.random.bits(key, (n,)).sum())
      fns['their coins alone'] = functools.partial(coins, key)
    times = _timing.measure(fns, rounds=rounds)
    each = times.ms('sweeps') / NUM_SWEEPS
    rows = [
      _timing.fact('a sweep takes', each, 'ms', below=TARGET_MS),
      _timing.fact('sweeps in a second', 1e3 / each, ''),
      _timing.fact('a sweep in NumPy takes', times.ms('NumPy'), 'ms'),
    ]
    if temperature:
      rows.append(
        _timing.fact('its coins take', times.ms('their coins alone'), 'ms')
      )
    ends = [run(key, state), loop()]
    m = [float(np.abs(host @ np.asarray(s, float)).max()) / n for s in ends]
    if abs(m[0] - m[1]) > 0.02:
      raise ValueError(f'largest overlaps are {m}: not timed.')
    out.append(
      f'### Glauber dynamics of {n} neurons, {NUM_PATTERNS} patterns, T = '
      f'{temperature}\n\n{_timing.table(rows)}\n\nThe largest overlap is '
      f'{m[0]:.3f}, of NumPy {m[1]:.3f}.'
    )
  return out
