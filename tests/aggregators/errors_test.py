# SPDX-License-Identifier: Apache-2.0
"""Bad input is refused before compilation: argument, rule, value, remedy."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized

from jaxdl import aggregators
from jaxdl.core import view as view_lib

X = np.ones((10, 3), np.float32)
TAKES_F = (
  'meamed', 'phocas', 'krum', 'multi_krum', 'bulyan', 'mda', 'smea', 'caf',
  'cge', 'nnm', 'arc',
)  # fmt: skip


def _key():
  return jax.random.key(0)


class ToleranceTest(parameterized.TestCase):
  @parameterized.parameters(
    ('meamed', 5, r'meamed needs n >= 2f\+1 \(n=10, f=5\)'),
    ('phocas', 5, r'phocas needs n >= 2f\+1 \(n=10, f=5\)'),
    ('krum', 4, r'krum needs n >= 2f\+3 \(n=10, f=4\)'),
    ('multi_krum', 4, r'multi_krum needs n >= 2f\+3 \(n=10, f=4\)'),
    ('bulyan', 2, r'bulyan needs n >= 4f\+3 \(n=10, f=2\)'),
    ('mda', 5, r'mda needs n >= 2f\+1 \(n=10, f=5\)'),
    ('smea', 5, r'smea needs n >= 2f\+1 \(n=10, f=5\)'),
    ('caf', 5, r'caf needs n >= 2f\+1 \(n=10, f=5\)'),
    ('cge', 5, r'cge needs n >= 2f\+1 \(n=10, f=5\)'),
    ('nnm', 5, r'nnm needs n >= 2f\+1 \(n=10, f=5\)'),
    ('arc', 5, r'arc needs n >= 2f\+1 \(n=10, f=5\)'),
  )
  def test_too_many_adversaries(self, name, f, message):
    rule = getattr(aggregators, name)
    with self.assertRaisesRegex(ValueError, message):
      rule(X, num_byzantine=f)
    # Also while tracing, and one fewer is possible.
    with self.assertRaisesRegex(ValueError, message):
      jax.eval_shape(functools.partial(rule, num_byzantine=f), X)
    jax.eval_shape(functools.partial(rule, num_byzantine=f - 1), X)

  def test_rules_with_more_arguments(self):
    with self.assertRaisesRegex(ValueError, r'dnc needs .* \(n=10, f=5\)'):
      aggregators.dnc(X, key=_key(), num_byzantine=5)
    with self.assertRaisesRegex(ValueError, r'nearest .* \(n=10, f=5\)'):
      aggregators.nearest_neighbor_averaging(X, pivot=0, num_byzantine=5)
    with self.assertRaisesRegex(ValueError, r'num_trimmed=5 .* N = 10'):
      aggregators.trimmed_mean(X, num_trimmed=5)

  @parameterized.parameters(*TAKES_F)
  def test_negative_number(self, name):
    with self.assertRaisesRegex(
      ValueError, 'num_byzantine must be at least 0; got -1'
    ):
      getattr(aggregators, name)(X, num_byzantine=-1)

  @parameterized.product(name=TAKES_F, value=[1.0, 0.2, True, '1', None])
  def test_not_an_integer(self, name, value):
    with self.assertRaisesRegex(
      TypeError, 'num_byzantine must be an integer; got'
    ):
      getattr(aggregators, name)(X, num_byzantine=value)

  @parameterized.parameters(
    (True, TypeError, 'num_trimmed must be an integer; got True'),
    (1.5, TypeError, 'num_trimmed must be an integer; got 1.5'),
    (-1, ValueError, 'num_trimmed must be at least 0; got -1'),
  )
  def test_trimming(self, value, error, message):
    with self.assertRaisesRegex(error, message):
      aggregators.trimmed_mean(X, num_trimmed=value)

  def test_numpy_integers_are_integers(self):
    got = aggregators.trimmed_mean(X, num_trimmed=np.int64(1))
    np.testing.assert_array_equal(got, np.ones(3))


RULES_ALONE = {
  'mean': aggregators.mean,
  'median': aggregators.median,
  'krum': functools.partial(aggregators.krum, num_byzantine=0),
  'bulyan': functools.partial(aggregators.bulyan, num_byzantine=0),
  'geometric_median': aggregators.geometric_median,
  'nnm': functools.partial(aggregators.nnm, num_byzantine=0),
  'flag': aggregators.flag_aggregator,
  'centered_clipping': functools.partial(
    aggregators.centered_clipping, clip_radius=1.0
  ),
}


class TreeTest(parameterized.TestCase):
  @parameterized.named_parameters((n, r) for n, r in RULES_ALONE.items())
  def test_trees_that_are_not_stacked(self, rule):
    with self.assertRaisesRegex(ValueError, 'updates has no leaves'):
      rule({})
    with self.assertRaisesRegex(ValueError, r"updates\['b'\] has 2 clients"):
      rule({'a': jnp.ones((3, 2)), 'b': jnp.ones((2, 2))})
    with self.assertRaisesRegex(ValueError, r"updates\['a'\] is a scalar"):
      rule({'a': jnp.ones(())})
    with self.assertRaisesRegex(ValueError, r'updates has no clients'):
      rule(jnp.ones((0, 2)))

  @parameterized.named_parameters((n, r) for n, r in RULES_ALONE.items())
  def test_integers_are_not_averaged(self, rule):
    with self.assertRaisesRegex(
      TypeError, r"updates\['w'\] must be floating point; got int32"
    ):
      rule({'w': jnp.ones((3, 2), jnp.int32)})

  @parameterized.parameters('median', 'krum', 'mean')
  def test_masks(self, name):
    rule = RULES_ALONE[name]
    with self.assertRaisesRegex(ValueError, r'mask must have shape \[10\]'):
      rule(X, mask=np.ones(9, bool))
    with self.assertRaisesRegex(TypeError, 'mask must be boolean; got int32'):
      rule(X, mask=np.ones(10, np.int32))
    with self.assertRaisesRegex(ValueError, 'mask comes with a view'):
      rule(view_lib.view(X), mask=np.ones(10, bool))

  @parameterized.parameters('mda', 'smea')
  def test_subset_rules_take_no_mask(self, name):
    rule = functools.partial(getattr(aggregators, name), num_byzantine=1)
    with self.assertRaisesRegex(ValueError, f'{name} .* mask must be None'):
      rule(X, mask=np.ones(10, bool))
    view = view_lib.view(X, mask=np.ones(10, bool))
    with self.assertRaisesRegex(ValueError, f'{name} .* mask must be None'):
      rule(view)

  @parameterized.parameters('mda', 'smea')
  def test_too_many_subsets(self, name):
    rule = functools.partial(getattr(aggregators, name), num_byzantine=15)
    with self.assertRaisesRegex(
      ValueError,
      rf'{name} would try 300540195 subsets \(n=31, f=15\), more than 1000000',
    ):
      rule(np.ones((31, 2), np.float32))


class OptionTest(parameterized.TestCase):
  @parameterized.parameters(0.0, -1.0, float('nan'))
  def test_radius(self, value):
    for call in (
      lambda: aggregators.centered_clipping(X, clip_radius=value),
      lambda: aggregators.centered_clipping_aggregator(clip_radius=value),
      lambda: aggregators.clipping(X, clip_radius=value),
    ):
      with self.assertRaisesRegex(
        ValueError, r'clip_radius must lie in \(0.0, inf\]; got'
      ):
        call()

  def test_bucket_size(self):
    run = functools.partial(aggregators.bucketing, X, key=_key())
    with self.assertRaisesRegex(ValueError, 'bucket_size .* least 1; got 0'):
      run(bucket_size=0)
    with self.assertRaisesRegex(ValueError, 'bucket_size .* most 10; got 11'):
      run(bucket_size=11)
    with self.assertRaisesRegex(TypeError, 'bucket_size must be an integer'):
      run(bucket_size=2.0)

  def test_keys(self):
    run = functools.partial(aggregators.bucketing, X)
    with self.assertRaisesRegex(TypeError, 'key is required'):
      run(key=None)
    with self.assertRaisesRegex(TypeError, 'typed key'):
      run(key=jnp.zeros(2, jnp.uint32))
    with self.assertRaisesRegex(ValueError, 'rbg generator'):
      run(key=jax.random.key(0, impl='rbg'))

  @parameterized.parameters(
    (aggregators.median, {'kind': 'upper'}, r"kind='upper' is unknown"),
    (aggregators.krum, {'num_byzantine': 1, 'num_neighbors': 'n'},
     r"num_neighbors='n' is unknown"),
    (aggregators.multi_krum, {'num_byzantine': 1, 'num_selected': 0},
     'num_selected must be at least 1; got 0'),
    (aggregators.multi_krum, {'num_byzantine': 1, 'num_selected': 11},
     'num_selected must be at most 10; got 11'),
    (aggregators.caf, {'num_byzantine': 1, 'peak': 'top'},
     r"peak='top' is unknown"),
    (aggregators.geometric_median, {'nu': 0.0}, r'nu must lie in \(0.0, inf'),
    (aggregators.geometric_median, {'num_iters': 0}, 'num_iters must be at'),
    (aggregators.geometric_median, {'start': 'x'}, r"start='x' is unknown"),
    (aggregators.centered_clipping, {'clip_radius': 1.0, 'num_iters': 0},
     'num_iters must be at least 1'),
    (aggregators.flag_aggregator, {'num_components': 0},
     'num_components must be at least 1; got 0'),
    (aggregators.flag_aggregator, {'num_components': 11},
     'num_components must be at most 10; got 11'),
    (aggregators.flag_aggregator, {'reg': -1.0}, r'reg must lie in \[0.0'),
    (aggregators.flag_aggregator, {'eps': 0.0}, r'eps must lie in \(0.0'),
    (aggregators.flag_aggregator, {'num_iters': 0}, 'num_iters must be at'),
    (aggregators.flag_aggregator, {'scale': 'sum'}, r"scale='sum' is unknown"),
    (aggregators.flag_aggregator, {'pair_mode': 'x'}, "pair_mode='x' is unk"),
    (aggregators.flag_aggregator, {'rescale': 'x'}, "rescale='x' is unknown"),
    (aggregators.nearest_neighbor_averaging,
     {'pivot': 10, 'num_byzantine': 1}, 'pivot must be at most 9; got 10'),
    (aggregators.dnc, {'num_byzantine': 1, 'key': None}, 'key is required'),
    (aggregators.mean, {'weights': np.ones(3)}, r'weights must have shape \[10'
     r'\]; got \(3,\)'),
    (aggregators.fltrust, {'trusted': np.ones(4, np.float32)},
     r'must look like one update'),
    (aggregators.centered_clipping,
     {'centre': {'w': np.ones(3)}, 'clip_radius': 1.0}, 'another structure'),
  )  # fmt: skip
  def test_message(self, rule, options, message):
    with self.assertRaisesRegex((ValueError, TypeError), message):
      rule(X, **options)

  def test_signguard_and_dnc_ranges(self):
    with self.assertRaisesRegex(ValueError, r'sample_fraction must lie in'):
      aggregators.signguard(X, key=_key(), sample_fraction=1.5)
    with self.assertRaisesRegex(ValueError, r'filter_factor must lie in'):
      aggregators.dnc(X, key=_key(), num_byzantine=1, filter_factor=0.0)

  @parameterized.parameters(-0.1, 1.0)
  def test_momentum(self, decay):
    rule = aggregators.stateless(aggregators.median)
    with self.assertRaisesRegex(ValueError, r'decay must lie in \[0.0, 1.0\)'):
      aggregators.server_momentum(rule, decay=decay)


if __name__ == '__main__':
  absltest.main()
