# SPDX-License-Identifier: Apache-2.0
"""Every flag of a binary reaches its configuration, and there are few.

What is read of the configuration is looked at in `binaries_test`.
"""

import importlib
import pathlib
import subprocess
import sys

import binaries
from absl import flags
from absl.testing import absltest, parameterized

from jaxdl.experiment import _flags

ROOT = pathlib.Path(__file__).parents[2]
BINARIES = binaries.NAMES
MOST_FLAGS = 30
MOST_LINES = 250


def shown(name):
  """The knobs of a binary that are flags."""
  module = importlib.import_module(f'experiments.{name}')
  return _flags._shown(module.Config)


class KnobsTest(parameterized.TestCase):
  @parameterized.parameters(*BINARIES)
  def test_a_flag_reaches_the_configuration(self, name):
    binary = importlib.import_module(f'experiments.{name}')
    for field, kind in shown(name):
      for text in others(field, kind):
        values = flags.FlagValues()
        _flags.define_flags(binary.Config, values)
        try:
          values([name, f'--{field.name}={text}'])
          config = _flags.from_flags(binary.Config, values)
        except (ValueError, TypeError, flags.Error) as error:
          # Refused beside the defaults of the others, and by its name.
          self.assertIn(field.name, str(error).replace('--', ''))
          continue
        self.assertNotEqual(getattr(config, field.name), field.default)

  @parameterized.parameters(*BINARIES)
  def test_flags_and_lines_are_few(self, name):
    self.assertLessEqual(len(shown(name)), MOST_FLAGS)
    lines = (ROOT / 'experiments' / f'{name}.py').read_text().splitlines()
    self.assertLessEqual(len(lines), MOST_LINES)


def others(field, kind):
  """Texts of a flag that mean something else than its default."""
  knob, default = field.metadata['knob'], field.default
  first = default[0] if kind.many and default else default
  if kind.base is bool:
    return [str(not default).lower()]
  if knob.choices is not None:
    return [str(c) for c in knob.choices if c not in (first, default)][:1]
  if knob.registry is not None:
    lines = [line for line in knob.registry.lines() if line[-1] not in '+@']
    names = [line.split('(')[0].lstrip('@') for line in lines]
    return [n for n in names if not str(first).startswith(n)][:1]
  if kind.base is str:
    return []
  number = 1 if first in (None, ()) else first
  return [str(number + 1) if kind.base is int else str(number / 2 or 0.5)]


_STARTS_NOTHING = """
import dataclasses, importlib
from absl import flags
from jax._src import xla_bridge
from jaxdl.experiment import _flags
for name in {names}:
  config = importlib.import_module('experiments.' + name).Config
  values = flags.FlagValues()
  _flags.define_flags(config, values)
  values([name])
  given = _flags.from_flags(config, values)
  for changes in {changes}.get(name, ()):
    dataclasses.replace(given, **changes)
  assert not xla_bridge.backends_are_initialized(), name
"""
# Knobs that make other things.
_CHANGES = {
  name: [{'game': spec} for spec in games]
  for name, games in {
    'commformer': ('simple_spread', 'traffic_junction', 'switch_riddle'),
    'hammer': ('simple_spread', 'iterated_dilemma', 'predator_prey'),
    'marl_baselines': ('simple_spread', 'traffic_junction', 'switch_riddle'),
  }.items()
}


class DevicesTest(parameterized.TestCase):
  def test_configurations_use_no_device(self):
    # Or --devices and --process would come too late.
    subprocess.run(
      [
        sys.executable,
        '-c',
        _STARTS_NOTHING.format(names=BINARIES, changes=_CHANGES),
      ],
      check=True,
      cwd=ROOT,
    )


if __name__ == '__main__':
  absltest.main()
