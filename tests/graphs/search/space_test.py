# SPDX-License-Identifier: Apache-2.0
"""Spaces of architectures: sizes, tables, tokens, text."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized

from jaxdl import graphs
from jaxdl.graphs import search

FULL = search.SearchSpace()
SMALL = search.make_space('agnn(hidden=(2, 5), heads=(1, 3))')


class SpaceTest(parameterized.TestCase):
  def test_sizes(self):
    self.assertEqual(FULL.size(1), 14_112)
    self.assertEqual(FULL.size(2), 199_148_544)
    self.assertEqual(FULL.sizes, (7, 7, 6, 3, 2, 8))
    self.assertEqual(FULL.num_tokens, 33)
    five = search.make_space('graphnas')
    self.assertEqual(five.size(1), 9_408)
    self.assertEqual(five.num_classes, 5)

  def test_tables_and_layers_are_inverse(self):
    for space in (FULL, search.make_space('graphnas')):
      tables = np.asarray(
        search.random_tables(jax.random.key(0), space, 3, (9,))
      )
      for table in tables:
        layers = space.decode(table)
        np.testing.assert_array_equal(space.encode(layers), table)
        again = search.parse_architecture(search.write_architecture(layers))
        self.assertEqual(again, layers)

  def test_draws_are_uniform(self):
    tables = search.random_tables(jax.random.key(0), FULL, 2, (5000,))
    for c, size in enumerate(FULL.sizes):
      counts = np.bincount(np.asarray(tables)[..., c].ravel(), minlength=size)
      self.assertLen(counts, size)
      expected = 10_000 / size
      chi_sq = ((counts - expected) ** 2 / expected).sum()
      # The 99.9% point of 7 degrees of freedom.
      self.assertLess(chi_sq, 24.3)

  def test_numbers_are_those_of_the_layer(self):
    layers = (
      search.Layer(5, 'cos', 3, 'max', 'mlp', 'relu6'),
      search.Layer(2, 'gene_linear', 1, 'mean', 'identity', 'tanh'),
    )
    found = jax.device_get(SMALL.choices(jnp.asarray(SMALL.encode(layers))))
    self.assertEqual(found.width.tolist(), [5, 2])
    self.assertEqual(found.heads.tolist(), [3, 1])
    names = list(graphs.LAYER_ACTIVATIONS)
    for i, layer in enumerate(layers):
      self.assertEqual(graphs.ATTENTIONS[found.attention[i]], layer.attention)
      self.assertEqual(graphs.AGGREGATES[found.aggregate[i]], layer.aggregate)
      self.assertEqual(graphs.COMBINES[found.combine[i]], layer.combine)
      self.assertEqual(names[found.activation[i]], layer.activation)

  def test_an_aggregate_of_five_classes_is_a_sum_and_dense_layers(self):
    space = search.make_space('graphnas')
    for i, name in enumerate(('sum', 'mean', 'max', 'mlp')):
      table = np.zeros((1, 5), np.int32)
      table[0, space.names.index('aggregate')] = i
      found = space.choices(jnp.asarray(table))
      self.assertEqual(int(found.combine[0]), int(name == 'mlp'))
      self.assertEqual(int(found.aggregate[0]), (0, 1, 2, 0)[i])
      self.assertEqual(space.decode(table)[0].aggregate, name)
    # From the larger space, in its words.
    layer = search.Layer(16, 'gat', 4, 'sum', 'mlp')
    self.assertEqual(space.decode(space.encode([layer]))[0].aggregate, 'mlp')

  def test_the_last_width_makes_no_other_architecture(self):
    table = np.array([[3, 2, 1, 0, 1, 5], [4, 2, 1, 0, 1, 5]])
    found = search.canonical(FULL, table)
    self.assertEqual(found[:, 0].tolist(), [3, 0])
    np.testing.assert_array_equal(found[:, 1:], table[:, 1:])


class TokensTest(parameterized.TestCase):
  def test_a_class_is_left_out(self):
    table = jnp.array([[1, 2, 3, 0, 1, 7], [6, 5, 4, 2, 0, 3]])
    first = np.cumsum((0, 7, 7, 6, 3, 2))
    for place in range(6):
      got = search.sub_architecture(FULL, table, place)
      self.assertLen(got, 10)
      want = [
        first[c] + int(table[i, c])
        for i, c in itertools.product(range(2), range(6))
        if c != place
      ]
      self.assertEqual(got.tolist(), want)
      # Blind for the class itself.
      other = table.at[:, place].set(0)
      again = search.sub_architecture(FULL, other, jnp.asarray(place))
      self.assertEqual(again.tolist(), want)

  def test_values_have_tokens_of_their_own(self):
    seen = set()
    for c, size in enumerate(FULL.sizes):
      for value in range(size):
        table = jnp.zeros((1, 6), jnp.int32).at[0, c].set(value)
        tokens = search.sub_architecture(FULL, table, (c + 1) % 6).tolist()
        seen |= {(c, value, tokens[c - ((c + 1) % 6 < c)])}
    self.assertLen({token for *_, token in seen}, 33)


class BadInputTest(parameterized.TestCase):
  @parameterized.parameters(
    ('agnn(attention=gatt)', "attention='gatt' is unknown.*'gene_linear'"),
    ('agnn(aggregate=mlp)', "aggregate='mlp' is unknown"),
    ('agnn(activation=(relu, relu))', 'activation=.* has a value twice'),
    ('agnn(hidden=(0, 4))', 'hidden must be at least 1; got 0'),
    ('agnn(heads=())', 'heads is empty'),
    ('agnn(combine=max)', "combine='max' is unknown"),
    ('darts', "space='darts' is unknown"),
  )
  def test_spaces(self, spec, message):
    with self.assertRaisesRegex(ValueError, message):
      search.make_space(spec)

  def test_unknown_values_list_the_valid_ones(self):
    with self.assertRaisesRegex(
      ValueError, r'layers\[1\].heads=5 is unknown: choose one of 1, 3'
    ):
      SMALL.encode([search.Layer(2, heads=3), search.Layer(2, heads=5)])
    with self.assertRaisesRegex(ValueError, 'layers must be at least 1'):
      SMALL.encode([])

  @parameterized.parameters(
    ({'hidden': 4}, 'hidden must be a tuple of values; got 4: .*write \\(4,'),
    ({'attention': 'gat'}, "attention must be a tuple .*write \\('gat',"),
    ({'heads': None}, 'heads must be a tuple of values; got None'),
    ({'heads': (1.0,)}, 'heads must be an integer; got 1.0'),
  )
  def test_values_that_are_no_tuples(self, options, message):
    with self.assertRaisesRegex(TypeError, message):
      search.SearchSpace(**options)

  @parameterized.parameters(
    (search.Layer(2), TypeError, 'must be a sequence of Layers; got a'),
    ('layer(2)', TypeError, r'for text parse_architecture\(text\)'),
    ([3], TypeError, r'layers\[0\] must be a Layer; got 3'),
    ([{'width': 2}], ValueError, r"layers\[0\]='width' is unknown"),
    ([search.Layer(2, 'gat', True)], TypeError, r'\[0\].heads must be an int'),
    ([search.Layer(2.0)], TypeError, r'layers\[0\].hidden must be an integer'),
  )
  def test_what_is_no_layer(self, layers, error, message):
    with self.assertRaisesRegex(error, message):
      SMALL.encode(layers)

  def test_what_a_mapping_leaves_out_is_usual(self):
    given = {'hidden': 64, 'heads': 2}
    want = FULL.encode([search.Layer(64, heads=2)])
    np.testing.assert_array_equal(FULL.encode([given]), want)

  def test_five_classes_have_dense_layers_after_sums_only(self):
    space = search.make_space('graphnas')
    with self.assertRaisesRegex(
      ValueError, "combine='mlp' with aggregate='mean' is not in this space"
    ):
      space.encode([search.Layer(16, 'gat', 4, 'mean', 'mlp')])
    with self.assertRaisesRegex(ValueError, "combine='max' is unknown"):
      space.encode([search.Layer(16, 'gat', 4, 'mean', 'max')])

  def test_batches_of_tables(self):
    with self.assertRaisesRegex(ValueError, r'\[\.\.\., layers, 6\].*\(1, 3\)'):
      search.canonical(FULL, [[0, 0, 0]])
    with self.assertRaisesRegex(ValueError, r'table\[1, 0, 2\]=6 is no heads'):
      search.canonical(FULL, np.array([[[0] * 6], [[0, 0, 6, 0, 0, 0]]]))
    with self.assertRaisesRegex(TypeError, 'must hold integers'):
      search.canonical(FULL, np.full((2, 6), 0.7))
    with self.assertRaisesRegex(TypeError, 'shape must be a tuple.*got 5'):
      search.random_tables(jax.random.key(0), FULL, 2, 5)

  def test_tokens_of_what_is_no_table(self):
    for table in (jnp.zeros((2, 5), jnp.int32), np.full((2, 6), 9)):
      with self.assertRaisesRegex(ValueError, 'table'):
        search.sub_architecture(FULL, table, 0)
    with self.assertRaisesRegex(ValueError, 'place must be at most 5; got 6'):
      search.sub_architecture(FULL, jnp.zeros((2, 6), jnp.int32), 6)

  @parameterized.parameters(
    ([[0, 0, 0, 0, 0, 8]], ValueError, r'table\[0, 5\]=8 is no activation'),
    ([[0, 0]], ValueError, 'must have shape'),
    ([[0.5] * 6], TypeError, 'must hold integers'),
  )
  def test_tables(self, table, error, message):
    with self.assertRaisesRegex(error, message):
      SMALL.decode(table)

  @parameterized.parameters(
    ('layer(8, gat', ValueError, 'cannot be read'),
    ('block(8)', ValueError, "layer='block\\(8\\)' has 'block'"),
    ('layer(head=3)', ValueError, "no option 'head'.*Did you mean 'heads'"),
    (3, TypeError, 'architecture must be text'),
    ('layer(8, gatt)', ValueError, "attention='gatt' is unknown.*'gat'"),
    ('layer(8, gat, 0)', ValueError, 'heads must be at least 1; got 0'),
    ('layer(8.5)', ValueError, 'hidden must be an integer; got 8.5'),
    ('layer(activation=soft)', ValueError, "activation='soft' is unknown"),
  )
  def test_text(self, text, error, message):
    with self.assertRaisesRegex(error, message):
      search.parse_architecture(text)

  def test_only_layers_are_written(self):
    with self.assertRaisesRegex(TypeError, r'layers\[0\] must be a Layer'):
      search.write_architecture(['a'])

  @parameterized.parameters(0, -1)
  def test_layers(self, layers):
    with self.assertRaisesRegex(ValueError, 'num_layers must be at least 1'):
      search.random_tables(jax.random.key(0), FULL, layers)
    with self.assertRaisesRegex(ValueError, 'num_layers must be at least 1'):
      search.Children(FULL, layers, 3, 2)


if __name__ == '__main__':
  absltest.main()
