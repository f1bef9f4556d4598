# SPDX-License-Identifier: Apache-2.0
"""Times the path that `mixing.from_matrix` chooses against its rivals.

Prints one line per topology and size: the chosen structure, its milliseconds,
and the ratios dense / chosen and NumPy / chosen (larger is better for us).

Example: python -m experiments.benchmarks.mixing --num_parameters=10000
"""

import time
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from absl import app, flags

from jaxdl import mixing

FLAGS = flags.FLAGS
flags.DEFINE_list('sizes', ['32', '256', '1024'], 'Numbers of clients.')
flags.DEFINE_integer('num_parameters', 10_000, 'Model size D.')
flags.DEFINE_integer(
  'repeats', 8, 'Timed calls at N = 256; the fastest counts.'
)
flags.DEFINE_list(
  'topologies',
  ['ring', 'exponential', 'random_regular', 'one_peer_exponential', 'base'],
  'Names of jaxdl.mixing.TOPOLOGIES.',
)


def fastest_ms(fns: dict[str, Callable[[], object]], repeats: int):
  """Best of interleaved runs, so that all see the same machine."""
  best = dict.fromkeys(fns, float('inf'))
  for fn in fns.values():
    fn()
  for _ in range(repeats):
    for name, fn in fns.items():
      start = time.perf_counter()
      fn()
      best[name] = min(best[name], 1e3 * (time.perf_counter() - start))
  return best


def measure(topology: str, n: int, d: int, repeats: int) -> dict[str, object]:
  """One row of the table."""
  mixer = mixing.make_mixer(topology, n)
  dense = mixing.make_mixer(topology, n, structure='dense')
  x = jax.random.normal(jax.random.key(0), (n, d))
  host, matrix = np.asarray(x), np.asarray(mixer.matrix(0))
  round = jnp.asarray(0)
  chosen_step, dense_step = jax.jit(mixer.apply), jax.jit(dense.apply)
  best = fastest_ms(
    {
      'chosen': lambda: jax.block_until_ready(chosen_step(x, round)),
      'dense': lambda: jax.block_until_ready(dense_step(x, round)),
      'numpy': lambda: matrix @ host,
    },
    repeats,
  )
  return {
    'topology': topology,
    'N': n,
    'structure': mixer.structure,
    'ms': round_to(best['chosen'], 3),
    'dense/chosen': round_to(best['dense'] / best['chosen'], 2),
    'numpy/chosen': round_to(best['numpy'] / best['chosen'], 2),
  }


def round_to(value: float, digits: int) -> float:
  return float(f'{value:.{digits}f}')


def main(argv):
  del argv
  print(f'{jax.default_backend()}, D = {FLAGS.num_parameters}')
  for n in map(int, FLAGS.sizes):
    # Short programs need more calls before the fastest one is stable.
    repeats = max(FLAGS.repeats * 256 // n, 4)
    for topology in FLAGS.topologies:
      row = measure(topology, n, FLAGS.num_parameters, repeats)
      print('  '.join(f'{k}={v}' for k, v in row.items()), flush=True)


if __name__ == '__main__':
  app.run(main)
