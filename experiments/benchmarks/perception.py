# SPDX-License-Identifier: Apache-2.0
"""Times mixtures of experts and cooperative perception.

Example: python -m experiments.benchmarks.perception --parts=experts --quick
"""

from absl import app, flags

from experiments.benchmarks import (
  _perception_cooperation,
  _perception_experts,
  _timing,
)
from jaxdl.core import checks

FLAGS = flags.FLAGS
flags.DEFINE_bool('quick', False, 'Small sizes, 3 rounds.')
flags.DEFINE_bool('write', False, 'Write the section of RESULTS.md.')
flags.DEFINE_integer('rounds', 9, 'Turns of every contender.')
flags.DEFINE_list(
  'parts', ['all'], "What to measure: names in PARTS, or 'all'."
)


def experts() -> list[str]:
  """A layer of experts against the dense layer that it was cut from."""
  found = _perception_experts.rows(
    rounds=3 if FLAGS.quick else FLAGS.rounds, quick=FLAGS.quick
  )
  title = '### Experts at equal active parameters: 16, 2 each, 900 queries'
  return [f'{title}\n\n{_timing.table(found)}']


def cooperation() -> list[str]:
  """Frames of cooperating vehicles, and the price of selecting."""
  lines = _perception_cooperation.cooperative_frames(quick=FLAGS.quick)
  return ['### Frames of cooperation\n\n' + '\n'.join(lines)]


# Parts by name: functions that return Markdown and read `FLAGS`.
PARTS = {'experts': experts, 'cooperation': cooperation}


def main(argv):
  del argv
  names = list(PARTS) if FLAGS.parts == ['all'] else FLAGS.parts
  for name in names:
    checks.choice(name, PARTS, name='parts')
  loads, text = [_timing.load()], []
  for name in names:
    found = PARTS[name]()
    for piece in found:
      print(f'\n{piece}', flush=True)
    text += found
    loads.append(_timing.load())
  _timing.report('perception', text, loads, write=FLAGS.write)


if __name__ == '__main__':
  app.run(main)
