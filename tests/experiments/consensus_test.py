# SPDX-License-Identifier: Apache-2.0
import functools
import pathlib
import tempfile

import numpy as np
from absl.testing import absltest, parameterized

from experiments import consensus
from jaxdl import mixing
from jaxdl.mixing import graphs

SEND, UNIFORM = 'star(weights=send)', 'star(weights=uniform)'


def _config(**options):
  return consensus.Config(
    **{
      'num_clients': 8,
      'num_rounds': 6,
      'dimension': 3,
      'topologies': ('ring', 'one_peer_hypercube'),
    }
    | options
  )


@functools.cache
def _rows():
  """One run for all that is asked below."""
  topologies = ('ring', 'one_peer_hypercube', SEND, UNIFORM)
  return consensus.run(
    _config(topologies=topologies, start='one_hot', num_rounds=40)
  ).rows


def _of(rows, topology, metric, split='test'):
  return np.array(
    [
      r[metric]
      for r in rows
      if r['variant'] == topology and r['split'] == split
    ]
  )


class ConsensusTest(parameterized.TestCase):
  def test_distances_are_those_of_float64(self):
    w = (
      np.eye(8) / 3
      + np.roll(np.eye(8), 1, 0) / 3
      + np.roll(np.eye(8), -1, 0) / 3
    )
    x = np.eye(8)[:, 0]
    want = []
    for _ in range(7):
      want.append(((x - x.mean()) ** 2).sum() / (1 - 1 / 8))
      x = w @ x
    rows = _rows()
    got = _of(rows, 'ring', 'consensus')[:7]
    np.testing.assert_allclose(got, want, rtol=1e-5)
    self.assertListEqual(
      _of(rows, 'ring', 'messages').tolist(), [2.0 * t for t in range(41)]
    )

  def test_the_hypercube_is_exact_after_its_period(self):
    values = _of(_rows(), 'one_peer_hypercube', 'consensus')
    self.assertGreater(values[2], 0.05)
    self.assertLess(values[3:].max(), 1e-12)
    errors = _of(_rows(), 'one_peer_hypercube', 'error')
    self.assertLess(errors[3:].max(), 1e-12)

  def test_push_sum_keeps_the_mean_and_uniform_weights_do_not(self):
    rows = _rows()
    self.assertLess(_of(rows, SEND, 'error')[-1], 1e-8)
    self.assertGreater(_of(rows, UNIFORM, 'error')[-1], 1e-2)
    self.assertLess(_of(rows, UNIFORM, 'consensus')[-1], 1e-8)

  def test_spectrum_has_the_closed_forms(self):
    rows = _rows()
    rho = (1 + 2 * np.cos(2 * np.pi / 8)) / 3
    got = _of(rows, 'ring', 'factor', 'spectrum')
    np.testing.assert_allclose(got, [rho], atol=1e-6)
    np.testing.assert_allclose(
      _of(rows, 'ring', 'smallest_eigenvalue', 'spectrum'), [-1 / 3], atol=1e-6
    )
    self.assertEqual(
      _of(rows, 'one_peer_hypercube', 'rounds_to_1e-6', 'spectrum')[0], 3.0
    )
    columns, cells = consensus.table(rows)
    self.assertLen(cells, 4)
    self.assertLen(cells[0], len(columns))

  def test_a_random_factor_is_near_the_formula(self):
    found = mixing.spectrum(mixing.make_mixer('random_matching', 6))
    # E|(W - J)x|² = (1 - n / (2 (n - 1)))|x|², estimated from 256 draws.
    self.assertAlmostEqual(found['factor'] ** 2, 1 - 6 / 10, delta=0.08)
    self.assertEqual(found['messages'], 1.0)

  def test_counts_messages(self):
    for topology, want in (
      ('ring', [2.0]),
      ('alone', [0.0]),
      ('complete', [2 * 5 / 6]),
      ('star', [10 / 6]),
      ('one_peer_exponential', [1.0, 1.0, 1.0]),
      ('epidemic_local', [4.0]),
    ):
      got = mixing.messages(mixing.make_mixer(topology, 6))
      np.testing.assert_allclose(got, want, rtol=1e-6)

  @parameterized.parameters(
    ({'topologies': ('hypercube',), 'num_clients': 6}, 'power of two.*base'),
    ({'topologies': ('ring', 'nope')}, "topologies='nope' is unknown"),
    (
      {'topologies': ('ring(weights=nope)',)},
      r'^--topologies=ring\(weights=nope\) --num_clients=8: .*is unknown',
    ),
    ({'topologies': ('ring', 'ring')}, 'topologies must differ'),
    ({'topologies': ()}, 'topologies is empty'),
    ({'topologies': ('ring(degree=3)',)}, "ring has no option 'degree'"),
    (
      {'topologies': ('random_regular(degree=3)',), 'num_clients': 7},
      'product must be even',
    ),
    (
      {'topologies': ('erdos_renyi(probability=0.01)',)},
      'no connected graph',
    ),
    ({'topologies': ('file',)}, r'write file\(path=...\)'),
    (
      {'topologies': ('random_digraph',)},
      r'random_digraph\(weights=send\) where',
    ),
  )
  def test_says_what_to_change(self, options, message):
    with self.assertRaisesRegex(ValueError, message):
      _config(**options)

  def test_reads_graphs_and_refuses_disconnected_ones(self):
    path = pathlib.Path(tempfile.mkdtemp()) / 'links.txt'
    path.write_text('# a line\n0 1\n1 2\n2 3\n')
    topology = f'file({str(path)!r})'
    config = _config(num_clients=4, topologies=(topology, 'path'))
    np.testing.assert_array_equal(
      mixing.make_graph(topology, 4), graphs.path(4)
    )
    np.testing.assert_array_equal(
      *(mixing.matrices(config.mixer(t)) for t in config.topologies)
    )
    path.write_text('0 1\n2 3\n')
    with self.assertRaisesRegex(ValueError, '2 components.*add links'):
      _config(num_clients=4, topologies=(topology,))
    path.write_text('0 1\n1 4\n')
    with self.assertRaisesRegex(ValueError, ":2: '1 4' is no link.*0 to 3"):
      _config(num_clients=4, topologies=(topology,))


if __name__ == '__main__':
  absltest.main()
