# SPDX-License-Identifier: Apache-2.0
"""When clients talk, by spec."""

import jax
import numpy as np
from absl.testing import absltest, parameterized

from jaxdl import mixing
from jaxdl.mixing import graphs, talks

KEY = jax.random.key(0)
N, ROUNDS = 8, 60


def _matrix(mixer, t):
  return np.asarray(mixer.matrix(t, key=KEY))


class TalksTest(parameterized.TestCase):
  def test_windows_are_dense_and_tile_the_run(self):
    made = talks.make(['windows', 'early', 'late'], 'pull', N, ROUNDS)
    first = {f'window(k={k})': 6 * k for k in range(10)}
    first |= {'early': 0, 'late': 54}
    self.assertEqual(list(made), list(first))
    for name in ('window(k=7)', 'early', 'late'):
      for t in (0, 5, 6, 41, 42, 47, 48, 53, 54):
        dense = np.allclose(_matrix(made[name], t), 1 / N, atol=1e-6)
        self.assertEqual(dense, first[name] <= t < first[name] + 6, (name, t))

  def test_graphs(self):
    ring = talks.make(['gossip'], 'over(directed_ring)', N, ROUNDS)['gossip']
    w = _matrix(ring, 0)
    np.testing.assert_array_equal(np.sort(w, axis=1)[:, -2:], 0.5)
    kept = talks.make(['gossip'], 'pull(rate=2.0, graph=ring)', N, ROUNDS)
    allowed = graphs.ring(N) | np.eye(N, dtype=bool)
    np.testing.assert_allclose(
      _matrix(kept['gossip'], 0), allowed / 3, atol=1e-6
    )

  def test_server_alone_and_now_and_then(self):
    made = talks.make(
      ['server', 'alone', 'soup', 'periodic(period=3)'],
      'matching(rate=0.0)',
      N,
      ROUNDS,
    )
    np.testing.assert_allclose(_matrix(made['server'], 4), 1 / N, atol=1e-6)
    for name in ('alone', 'soup'):
      np.testing.assert_array_equal(_matrix(made[name], 4), np.eye(N))
    for t in range(6):
      want = np.full((N, N), 1 / N) if t % 3 == 2 else np.eye(N)
      got = _matrix(made['periodic(period=3)'], t)
      np.testing.assert_allclose(got, want, atol=1e-6, err_msg=str(t))

  @parameterized.parameters(
    ('truncate(point=0.5)', lambda t: 0 if t < 30 else 2),
    ('linear', lambda t: 2 * t / 59),
  )
  def test_a_rate_may_change(self, schedule, rate):
    talk = 'pull(rate=0.0, dense=2.0)'
    spec = f'gossip(schedule={schedule})'
    mixer = talks.make([spec], talk, N, ROUNDS)[spec]
    for t in (0, 29, 30, 59):
      heard = (_matrix(mixer, t) > 0).sum(axis=1) - 1
      self.assertTrue(np.all(heard >= np.floor(rate(t) - 1e-4)), (t, heard))
      self.assertTrue(np.all(heard <= np.ceil(rate(t) + 1e-4)), (t, heard))

  @parameterized.parameters(
    (['sometimes'], 'pull', "variant='sometimes' is unknown"),
    (['gossip'], 'shout', "gossip='shout' is unknown"),
    (['gossip'], 'pull(rate=-1.0)', 'rate must lie in'),
    (['gossip'], 'pull(dense=-1.0)', 'dense must lie in'),
    (['gossip'], 'pull(window=0.0)', 'window must lie in'),
    (['gossip'], 'over(rate=1.0)', 'topology'),
    (['window(k=2)'], 'pull(window=0.5)', 'k=2 is past the end'),
    (['window(k=-1)'], 'pull', 'k must be at least 0'),
    (['periodic(period=0)'], 'pull', 'period must be at least 1'),
    (['windows', 'window(k=1)'], 'pull', 'variants must differ'),
  )
  def test_says_what_is_wrong(self, variants, talk, message):
    with self.assertRaisesRegex(ValueError, message):
      talks.make(variants, talk, N, ROUNDS)

  def test_one_client_talks_to_nobody(self):
    made = talks.make(['server', 'gossip', 'early'], 'pull', 1, 4)
    for mixer in made.values():
      np.testing.assert_array_equal(_matrix(mixer, 0), [[1.0]])
    self.assertIsInstance(made['server'], mixing.Mixer)


if __name__ == '__main__':
  absltest.main()
