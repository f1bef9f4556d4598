# SPDX-License-Identifier: Apache-2.0
"""Versions of jaxlib that compute wrong numbers are named, with the remedy."""

import importlib
import subprocess
import sys
from unittest import mock

import jaxlib
from absl.testing import absltest, parameterized

from jaxdl import _versions, core


class VersionsTest(parameterized.TestCase):
  @parameterized.parameters('0.10.2', '0.11.0')
  def test_warns_once_when_a_package_is_imported(self, version):
    with (
      mock.patch.object(jaxlib, '__version__', version),
      self.assertLogs('absl', 'WARNING') as logs,
    ):
      importlib.reload(core)
    self.assertLen(logs.output, 1)
    for words in (
      f'jaxlib {version}',
      'install 0.10.1, or 0.11.1',
      'XLA_FLAGS=--xla_cpu_experimental_ynn_fusion_type=',
    ):
      self.assertIn(words, logs.output[0])

  @parameterized.parameters('0.10.1', '0.11.1', '0.12.0.1')
  def test_is_silent_about_others(self, version):
    with self.assertNoLogs('absl', 'WARNING'):
      self.assertFalse(_versions.warn_if_unsound(version, ''))

  def test_is_silent_where_the_fusion_is_off(self):
    off = '--xla_cpu_experimental_ynn_fusion_type='
    with self.assertNoLogs('absl', 'WARNING'):
      self.assertFalse(_versions.warn_if_unsound('0.10.2', f'--x {off}'))
    with self.assertLogs('absl', 'WARNING'):
      self.assertTrue(_versions.warn_if_unsound('0.10.2', f'{off}4'))

  def test_the_top_package_imports_neither_jax_nor_absl(self):
    code = (
      'import sys, jaxdl; '
      "sys.exit(bool({'jax', 'jaxlib', 'absl'} & sys.modules.keys()))"
    )
    subprocess.run([sys.executable, '-c', code], check=True)


if __name__ == '__main__':
  absltest.main()
