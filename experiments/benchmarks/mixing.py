# SPDX-License-Identifier: Apache-2.0
"""Times the path that `mixing.from_matrix` chooses against its rivals.

Two parts: one mixing step on the chosen path, as a dense product and in NumPy,
for several topologies; time and memory of a step as N grows to 4096, drawn on
two logarithmic axes.

Example: python -m experiments.benchmarks.mixing --write
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from absl import app, flags

from experiments.benchmarks import _timing
from jaxdl import mixing, plots
from jaxdl.core import registry

FLAGS = flags.FLAGS
flags.DEFINE_bool('write', False, 'Write plots and the section of RESULTS.md.')
flags.DEFINE_bool('quick', False, 'The smallest sizes alone.')
flags.DEFINE_list('sizes', ['32', '256', '1024'], 'Numbers of clients.')
flags.DEFINE_integer('num_parameters', 10_000, 'Model size D.')
flags.DEFINE_integer(
  'repeats', 12, 'Timed calls at N = 256; the median counts.'
)
flags.DEFINE_list(
  'topologies',
  ['ring', 'exponential', 'random_regular', 'one_peer_exponential', 'base'],
  'Names of jaxdl.mixing.TOPOLOGIES.',
)
flags.DEFINE_list(
  'scaling_sizes',
  ['16', '64', '256', '1024', '4096'],
  'Numbers of clients of the second part.',
)
flags.DEFINE_integer('scaling_parameters', 1000, 'Model size of that.')

CIRCULANT = ('ring', 'exponential', 'one_peer_exponential')


class Step(NamedTuple):
  """One mixing step in three forms.

  Attributes:
    structure: of the chosen path.
    fns: calls, by contender.
    memory: peak bytes of the programs, by contender.
  """

  structure: str
  fns: dict[str, Any]
  memory: dict[str, int]


def make_step(topology: str, n: int, d: int) -> Step:
  """Builds the contenders of one topology.

  Args:
    topology: a key of `mixing.TOPOLOGIES`.
    n: clients.
    d: numbers per client.

  Returns:
    The contenders, after a check that they agree.
  """
  mixer = mixing.make_mixer(topology, n)
  dense = mixing.make_mixer(registry.changed(topology, structure='dense'), n)
  x = jax.random.normal(jax.random.key(0), (n, d))
  host, matrix = np.asarray(x), np.asarray(mixer.matrix(0))
  args = (x, jnp.asarray(0))
  programs = {'chosen': jax.jit(mixer.apply), 'dense': jax.jit(dense.apply)}
  want = matrix @ host
  for name, program in programs.items():
    gap = float(np.max(np.abs(np.asarray(program(*args)) - want)))
    if gap > 1e-4:
      raise ValueError(f'{name} of {topology} is off by {gap}: not compared.')
  return Step(
    mixer.structure,
    {name: lambda f=f: f(*args) for name, f in programs.items()}
    | {'numpy': lambda: matrix @ host},
    {
      'chosen': _timing.memory(mixer.apply, *args)['peak'],
      'dense': _timing.memory(dense.apply, *args)['peak'],
      'numpy': matrix.nbytes + 2 * host.nbytes,
    },
  )


def against_rivals() -> tuple[str, list[float]]:
  """The table of the first part, and loads."""
  d, cells, loads = FLAGS.num_parameters, [], []
  for n in map(int, FLAGS.sizes[:1] if FLAGS.quick else FLAGS.sizes):
    # Short programs need more calls before their median is stable.
    repeats = int(np.clip(FLAGS.repeats * 256 // n, 5, 200))
    for topology in FLAGS.topologies:
      step = make_step(topology, n, d)
      times = _timing.measure(step.fns, rounds=repeats)
      gain = times.ratio('dense', 'chosen')
      least = 2.0 if topology in CIRCULANT and n >= 256 else 1 / 1.2
      cells.append(
        {
          'topology': topology,
          'N': n,
          'path': step.structure,
          'ms': _timing.digits(times.ms('chosen')),
          'dense ms': _timing.digits(times.ms('dense')),
          'NumPy ms': _timing.digits(times.ms('numpy')),
          'dense / ours': _timing.digits(gain),
          'NumPy / ours': _timing.digits(times.ratio('numpy', 'chosen')),
          'target': f'dense / ours >= {least:.2g}',
          'held': 'yes' if gain >= least else '**no**',
        }
      )
      print('  '.join(f'{k}={v}' for k, v in cells[-1].items()), flush=True)
    loads.append(_timing.load())
  title = f'### One mixing step, D = {d}'
  note = (
    'NumPy multiplies by the dense matrix. Where the chosen path is the dense '
    'product, both sides run the same program and their ratio is noise.'
  )
  return f'{title}\n\n{note}\n\n{_timing.table(cells)}', loads


def against_size() -> tuple[str, list[float]]:
  """The table of the second part, and loads; draws it with --write."""
  d, rows, cells, loads = FLAGS.scaling_parameters, [], [], []
  sizes = FLAGS.scaling_sizes
  for n in map(int, sizes[:1] if FLAGS.quick else sizes):
    for topology in ('ring', 'exponential', 'random_regular'):
      step = make_step(topology, n, d)
      names = ('chosen',) if topology != 'ring' else tuple(step.fns)
      times = _timing.measure(
        {name: step.fns[name] for name in names}, rounds=15 if n < 1024 else 5
      )
      for name in names:
        label = {
          'chosen': topology,
          'dense': 'dense product',
          'numpy': 'NumPy, dense product',
        }[name]
        ms, mb = times.ms(name), step.memory[name] / 1e6
        rows.append(
          {
            'step': 0,
            'split': 'test',
            'seed': 0,
            'rule': label,
            'num_clients': n,
            'ms': ms,
            'megabytes': mb,
          }
        )
        cells.append(
          {
            'N': n,
            'what': label,
            'path': step.structure if name == 'chosen' else 'dense',
            'ms': _timing.digits(ms),
            'peak MB': _timing.digits(mb),
          }
        )
        print(cells[-1], flush=True)
    loads.append(_timing.load())
  if FLAGS.write:
    draw(rows, _timing.PLOTS, d)
  text = (
    f'### One mixing step against N, D = {d}\n\nMemory is that of arguments, '
    'result, temporaries and weights '
    '(![time](plots/mixing_ms.png) ![memory](plots/mixing_megabytes.png)).'
  )
  return f'{text}\n\n{_timing.table(cells)}', loads


def draw(rows, directory, d: int) -> None:
  """Draws time and memory against N.

  Args:
    rows: one per contender and size.
    directory: where the pictures go.
    d: numbers per client.
  """
  for metric, ylabel in (
    ('ms', 'Milliseconds per step'),
    ('megabytes', 'Peak memory (MB)'),
  ):
    plots.log_log(
      rows,
      directory / f'mixing_{metric}.png',
      metric,
      x='num_clients',
      xlabel='Clients',
      ylabel=ylabel,
      title=f'One mixing step, {d} numbers per client',
    )


def main(argv):
  del argv
  first, loads = against_rivals()
  second, more = against_size()
  _timing.report('mixing', [first, second], loads + more, write=FLAGS.write)


if __name__ == '__main__':
  app.run(main)
