# SPDX-License-Identifier: Apache-2.0
"""Battles of JaxMARL, where it is installed."""

import importlib.util

import jax
from absl.testing import absltest

from jaxdl import agents

HAS_PEER = importlib.util.find_spec('jaxmarl') is not None


class SmaxTest(absltest.TestCase):
  def test_says_what_to_install(self):
    if HAS_PEER:
      self.skipTest('jaxmarl is installed')
    with self.assertRaisesRegex(ImportError, 'smax needs jaxmarl'):
      agents.games.smax()

  def test_three_marines(self):
    if not HAS_PEER:
      self.skipTest('jaxmarl is not installed')
    env = agents.games.smax(scenario='3m')
    self.assertEqual((env.num_agents, env.num_actions), (3, 8))
    seen, _ = jax.eval_shape(env.reset, jax.random.key(0))
    self.assertEqual(seen.own.shape, (3, env.own_size))
    self.assertEqual(seen.available.shape, (3, 8))
    self.assertEqual(seen.alive.shape, (3,))
    with self.assertRaisesRegex(ValueError, "scenario='4m' is unknown"):
      agents.games.smax(scenario='4m')


if __name__ == '__main__':
  absltest.main()
