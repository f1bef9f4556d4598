# SPDX-License-Identifier: Apache-2.0
"""Times the path that `mixing.from_matrix` chooses against its rivals.

Prints one line per topology and size: the chosen structure, its milliseconds,
and the ratios dense / chosen and NumPy / chosen (larger is better for us).

Example: python -m experiments.benchmarks.mixing --num_parameters=10000
"""

import jax
import jax.numpy as jnp
import numpy as np
from absl import app, flags

from experiments.benchmarks import _timing
from jaxdl import mixing

FLAGS = flags.FLAGS
flags.DEFINE_bool('write', False, 'Write the section of RESULTS.md.')
flags.DEFINE_list('sizes', ['32', '256', '1024'], 'Numbers of clients.')
flags.DEFINE_integer('num_parameters', 10_000, 'Model size D.')
flags.DEFINE_integer('repeats', 8, 'Timed calls at N = 256; the median counts.')
flags.DEFINE_list(
  'topologies',
  ['ring', 'exponential', 'random_regular', 'one_peer_exponential', 'base'],
  'Names of jaxdl.mixing.TOPOLOGIES.',
)


def measure(topology: str, n: int, d: int, repeats: int) -> dict[str, object]:
  """One row of the table."""
  mixer = mixing.make_mixer(topology, n)
  dense = mixing.make_mixer(topology, n, structure='dense')
  x = jax.random.normal(jax.random.key(0), (n, d))
  host, matrix = np.asarray(x), np.asarray(mixer.matrix(0))
  round = jnp.asarray(0)
  chosen_step, dense_step = jax.jit(mixer.apply), jax.jit(dense.apply)
  times = _timing.measure(
    {
      'chosen': lambda: jax.block_until_ready(chosen_step(x, round)),
      'dense': lambda: jax.block_until_ready(dense_step(x, round)),
      'numpy': lambda: matrix @ host,
    },
    rounds=repeats,
  )
  return {
    'topology': topology,
    'N': n,
    'structure': mixer.structure,
    'ms': _timing.digits(times.ms('chosen')),
    'dense/chosen': _timing.digits(times.ratio('dense', 'chosen')),
    'numpy/chosen': _timing.digits(times.ratio('numpy', 'chosen')),
  }


def main(argv):
  del argv
  loads, rows = [_timing.load()], []
  for n in map(int, FLAGS.sizes):
    # Short programs need more calls before their median is stable.
    repeats = max(FLAGS.repeats * 256 // n, 4)
    for topology in FLAGS.topologies:
      row = measure(topology, n, FLAGS.num_parameters, repeats)
      print('  '.join(f'{k}={v}' for k, v in row.items()), flush=True)
      rows.append(row)
    loads.append(_timing.load())
  title = f'### One mixing step, D = {FLAGS.num_parameters}'
  text = f'{title}\n\n{_timing.table(rows)}'
  _timing.report('mixing', [text], loads, write=FLAGS.write)


if __name__ == '__main__':
  app.run(main)
