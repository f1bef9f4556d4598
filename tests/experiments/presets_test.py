# SPDX-License-Identifier: Apache-2.0
"""Every preset is accepted by a binary and says what it reproduces."""

import importlib
import pathlib

from absl import flags
from absl.testing import absltest, parameterized

from jaxdl.experiment import _flags

ROOT = pathlib.Path(__file__).parents[2] / 'experiments'
PRESETS = sorted((ROOT / 'presets').glob('*.flags'))
BINARIES = sorted(
  p.stem for p in ROOT.glob('*.py') if 'runner.main(Config' in p.read_text()
)


def _parse(binary, preset):
  """The configuration that a binary makes of a preset."""
  module = importlib.import_module(f'experiments.{binary}')
  values = flags.FlagValues()
  _flags.define_flags(module.Config, values)
  arguments = [
    line
    for line in preset.read_text().splitlines()
    if line and not line.startswith('#')
  ]
  values(['binary', *arguments])
  # Files are not at hand, so the folder only has to be named.
  if 'data_dir' in values and not values['data_dir'].value:
    values['data_dir'].value = '.'
  return _flags.from_flags(module.Config, values)


class PresetsTest(parameterized.TestCase):
  @parameterized.named_parameters((p.stem, p) for p in PRESETS)
  def test_is_accepted(self, preset):
    first = preset.read_text().splitlines()[0]
    self.assertStartsWith(first, '# ')
    refusals = []
    for binary in BINARIES:
      try:
        _parse(binary, preset)
        return
      except (flags.Error, ValueError) as error:
        refusals.append(f'{binary}: {error}')
    self.fail('\n'.join(refusals))


if __name__ == '__main__':
  absltest.main()
