# SPDX-License-Identifier: Apache-2.0
"""Graphs and matrices as mixers, and what is said about other things."""

import networkx
import numpy as np
import scipy.sparse
from absl.testing import absltest, parameterized

from jaxdl import mixing
from jaxdl.mixing import graphs, spectra

PATH = np.array([[2, 1, 0], [1, 1, 1], [0, 1, 2]]) / 3  # Metropolis weights.
LINKS = np.array([[0, 1, 0], [1, 0, 1], [0, 1, 0]])
ONE_WAY = networkx.DiGraph([(0, 1), (1, 2), (2, 0), (0, 2)])


class AsMixerTest(parameterized.TestCase):
  @parameterized.named_parameters(
    ('graph', networkx.path_graph(3), PATH),
    ('links', LINKS.astype(bool), PATH),
    ('zeros_and_ones', LINKS, PATH),
    ('zeros_and_ones_as_floats', LINKS.astype(float), PATH),
    ('sparse', scipy.sparse.csr_array(LINKS), PATH),
    ('matrix', PATH, PATH),
    ('lists', PATH.tolist(), PATH),
    ('nobody_talks', np.eye(3), np.eye(3)),
    ('schedule', np.stack([PATH, np.eye(3)]), PATH),
  )
  def test_matrix(self, value, want):
    got = mixing.as_mixer(value).matrix(0)
    np.testing.assert_allclose(got, want, atol=1e-6)

  def test_for_push_sum(self):
    want = np.array([[1, 0, 1.5], [1, 1.5, 0], [1, 1.5, 1.5]]) / 3
    for value in (ONE_WAY, want):
      mixer = mixing.as_mixer(value, stochastic='column')
      self.assertEqual(mixer.stochastic, 'column')
      np.testing.assert_allclose(mixer.matrix(0), want, atol=1e-6)

  def test_keeps_mixers(self):
    mixer = mixing.make_mixer('ring', 4)
    self.assertIs(mixing.as_mixer('ring', 4), mixer)
    self.assertIs(mixing.as_mixer(mixer), mixer)

  @parameterized.parameters(
    (
      TypeError,
      'ring',
      r"the text 'ring': call mixing.make_mixer\('ring', num",
    ),
    (
      TypeError,
      graphs.ring,
      'the function ring: call it .* mixing.from_functi',
    ),
    (TypeError, [networkx.path_graph(3)] * 2, 'must be one graph; got a list'),
    (TypeError, None, 'got None: see mixing.make_mixer'),
    (TypeError, {'a': 1}, 'got a dict of length 1'),
    (ValueError, np.ones((3, 4)), r'must be square.* got shape \(3, 4\)'),
    (ValueError, np.roll(np.eye(3), 1, 0), 'may be a graph or a mixing matrix'),
    (ValueError, 3 * PATH, 'row 0 sums to 3'),
    (ValueError, ONE_WAY, 'metropolis needs an undirected graph'),
  )
  def test_says_what_to_pass(self, kind, value, message):
    with self.assertRaisesRegex(kind, message):
      mixing.as_mixer(value)

  @parameterized.parameters(
    (mixing.from_matrix, 'ring', r"the text 'ring': call mixing.make_mixer\("),
    (
      mixing.from_matrix,
      networkx.path_graph(2),
      'mixing.metropolis.graph. for inst',
    ),
    (mixing.from_matrix, [['1']], 'matrix must hold real numbers; got text'),
    (
      spectra.consensus_factor,
      mixing.make_mixer('ring', 3),
      r'mixer.matrix\(ro',
    ),
    (mixing.metropolis, 'ring', 'graph must be a networkx graph or an array'),
    (mixing.metropolis, None, 'graph must hold real numbers; got None'),
  )
  def test_matrices_say_what_to_pass(self, fn, value, message):
    with self.assertRaisesRegex(TypeError, message):
      fn(value)


if __name__ == '__main__':
  absltest.main()
