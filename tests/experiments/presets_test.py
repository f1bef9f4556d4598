# SPDX-License-Identifier: Apache-2.0
"""Every preset is accepted by its binary and says what it reproduces."""

import importlib
import pathlib

from absl import flags
from absl.testing import absltest, parameterized

from jaxdl.experiment import _flags

FOLDER = pathlib.Path(__file__).parents[2] / 'experiments'
PRESETS = sorted((FOLDER / 'presets').glob('*/*.flags'))


class PresetsTest(parameterized.TestCase):
  @parameterized.named_parameters(
    (f'{p.parent.name}_{p.stem}', p) for p in PRESETS
  )
  def test_is_accepted(self, preset):
    lines = preset.read_text().splitlines()
    self.assertStartsWith(lines[0], '# ')
    module = importlib.import_module(f'experiments.{preset.parent.name}')
    values = flags.FlagValues()
    _flags.define_flags(module.Config, values)
    values(['binary', *(x for x in lines if x and not x.startswith('#'))])
    try:
      _flags.from_flags(module.Config, values)
    except ValueError as error:
      # Files are not at hand, so the folder only has to be named.
      if 'give --data_dir' not in str(error):
        raise
      values['data_dir'].value = '.'
      _flags.from_flags(module.Config, values)

  def test_every_folder_belongs_to_a_binary(self):
    for folder in (FOLDER / 'presets').iterdir():
      self.assertTrue((FOLDER / f'{folder.name}.py').exists(), folder.name)


if __name__ == '__main__':
  absltest.main()
