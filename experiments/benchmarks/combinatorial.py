# SPDX-License-Identifier: Apache-2.0
"""Times policies that divide and conquer, and tells how good their tours are.

Example: python -m experiments.benchmarks.combinatorial --parts=stage --quick
"""

from absl import app, flags

from experiments.benchmarks import (
  _combinatorial_gaps,
  _combinatorial_policies,
  _combinatorial_stage,
  _timing,
)
from jaxdl.core import checks

FLAGS = flags.FLAGS
flags.DEFINE_bool('quick', False, 'Small sizes, few rounds.')
flags.DEFINE_bool('write', False, 'Write the section of RESULTS.md.')
flags.DEFINE_string(
  'torch', '', 'Python of an environment with PyTorch, for the part torch.'
)
flags.DEFINE_list(
  'parts', ['all'], "What to measure: names in PARTS, or 'all'."
)


def torch_stage() -> list[str]:
  """The same stage in PyTorch."""
  if not FLAGS.torch:
    return []
  return _combinatorial_stage.against_torch(FLAGS.torch, quick=FLAGS.quick)


def _part(function):
  return lambda: function(quick=FLAGS.quick)


# Parts by name: functions that return Markdown and read `FLAGS`.
PARTS = {
  'stage': _part(_combinatorial_stage.stage_time),
  'torch': torch_stage,
  'memory': _part(_combinatorial_policies.heat_memory),
  'heat': _part(_combinatorial_policies.heat_time),
  'attention_free': _part(_combinatorial_policies.attention_free),
  'large': _part(_combinatorial_gaps.large),
  'gaps': _part(_combinatorial_gaps.gaps),
}


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
  _timing.report('combinatorial', text, loads, write=FLAGS.write)


if __name__ == '__main__':
  app.run(main)
