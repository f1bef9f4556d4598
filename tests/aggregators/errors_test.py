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
  'repeated_krum', 'cge', 'nnm', 'arc',
)  # fmt: skip


def _key():
  return jax.random.key(0)


class ToleranceTest(parameterized.TestCase):
  @parameterized.parameters(
    ('meamed', 5, r'meamed needs n >= 2f\+1 \(n=10, f=5\)'),
    ('phocas', 5, r'phocas needs n >= 2f\+1 \(n=10, f=5\)'),
    ('krum', 4, r'krum needs n >= 2f\+3 \(n=10, f=4\)'),
    ('multi_krum', 4, r'multi_krum needs n >= 2f\+3 \(n=10, f=4\)'),
    ('repeated_krum', 5, r'repeated_krum needs n >= 2f\+1 \(n=10, f=5\)'),
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

  def test_rules_that_are_not_told(self):
    """The registry knows what they need; nobody else has f."""
    make = functools.partial(aggregators.make_aggregator, num_clients=4)
    for name in (
      'median', 'geometric_median', 'flag', 'signguard', 'centered_clipping'
    ):  # fmt: skip
      with self.assertRaisesRegex(
        ValueError, rf'{name} needs n >= 2f\+1 \(n=4, f=2\): lower num_byz'
      ):
        make(name, num_byzantine=2)
    make('median', num_byzantine=1)
    make('mean', num_byzantine=4)
    with self.assertRaisesRegex(ValueError, 'num_byzantine must be at most 4'):
      make('mean', num_byzantine=5)
    with self.assertRaisesRegex(ValueError, r'median .* \(n=2, f=1\)'):
      make('bucketing+median', num_byzantine=1)
    with self.assertRaisesRegex(TypeError, 'rule must be text'):
      make(('nnm', 'median'))

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


@functools.cache
def _seen():
  return view_lib.view(X, anchor=X[0])


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

  @parameterized.named_parameters((n, r) for n, r in RULES_ALONE.items())
  def test_axis_names(self, rule):
    with self.assertRaisesRegex(
      ValueError, "axis_name='clients' is not mapped here"
    ):
      rule(X, axis_name='clients')
    with self.assertRaisesRegex(
      ValueError, "axis_name='clients' is not mapped here"
    ):
      rule(X, axis_name='clients', mask=np.ones(10, bool))
    view = _seen()
    if isinstance(rule, functools.partial) and 'clip_radius' in rule.keywords:
      rule = functools.partial(rule, center=X[0])
    with self.assertRaisesRegex(ValueError, 'axis_name comes with a view'):
      rule(view, axis_name='clients')

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
    (aggregators.geometric_median, {'nu': np.inf},
     r'nu must lie in \(0.0, inf\); got inf'),
    (aggregators.flag_aggregator, {'reg': np.inf},
     r'reg must lie in \[0.0, inf\); got inf'),
    (aggregators.flag_aggregator, {'eps': np.inf},
     r'eps must lie in \(0.0, inf\); got inf'),
    (aggregators.flag_aggregator, {'normalize': 'no'},
     r"normalize='no' is unknown: choose one of True, False"),
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
     {'center': {'w': np.ones(3)}, 'clip_radius': 1.0}, 'another structure'),
  )  # fmt: skip
  def test_message(self, rule, options, message):
    with self.assertRaisesRegex((ValueError, TypeError), message):
      rule(X, **options)

  def test_signguard_and_dnc_ranges(self):
    guard = functools.partial(aggregators.signguard, X, key=_key())
    with self.assertRaisesRegex(ValueError, r'sample_fraction must lie in'):
      guard(sample_fraction=1.5)
    for low, high in ((3.0, 1.0), (1.0, 1.0)):
      with self.assertRaisesRegex(
        ValueError, f'norm_low={low} is not below norm_high={high}: nobody'
      ):
        guard(norm_low=low, norm_high=high)
    divide = functools.partial(aggregators.dnc, X, key=_key(), num_byzantine=1)
    for value in (0.0, np.inf, np.nan):
      with self.assertRaisesRegex(
        ValueError, rf'filter_factor must lie in \(0.0, inf\); got {value}'
      ):
        divide(filter_factor=value)
    with self.assertRaisesRegex(TypeError, 'filter_factor is static but'):
      jax.eval_shape(lambda c: divide(filter_factor=c), 1.0)
    with self.assertRaisesRegex(TypeError, 'sample_fraction is static but'):
      jax.eval_shape(lambda c: guard(sample_fraction=c), 0.5)

  def test_pivots(self):
    run = functools.partial(
      aggregators.nearest_neighbor_averaging, X, num_byzantine=1
    )
    for value in (10, np.int64(10), np.array(10), jnp.int32(10)):
      with self.assertRaisesRegex(ValueError, 'pivot must be at most 9; got 1'):
        run(pivot=value)
    for value in (-1, np.int8(-1)):
      with self.assertRaisesRegex(
        ValueError, 'pivot must be at least 0; got -'
      ):
        run(pivot=value)
    for value, got in (
      (None, 'None'), (1.0, '1.0'), (True, 'True'), ('a', "the text 'a'"),
      (np.arange(2), r'an array of shape \(2,\) of int'),
    ):  # fmt: skip
      with self.assertRaisesRegex(
        TypeError, f'pivot must be the row number .*; got {got}.* use nnm'
      ):
        run(pivot=value)
    with self.assertRaisesRegex(TypeError, r'shape \(\) of float32'):
      jax.eval_shape(lambda p: run(pivot=p), 1.0)
    jax.eval_shape(lambda p: run(pivot=p), 1)
    jax.eval_shape(lambda: run(pivot=np.int64(9)))

  @parameterized.named_parameters(
    ('negative', -1.0, 'client 2 has -1.0'),
    ('nan', np.nan, 'client 2 has nan'),
    ('infinite', np.inf, 'client 2 has inf'),
  )
  def test_importances(self, value, message):
    weights = np.ones(10)
    weights[2] = value
    read = lambda x, weights: aggregators.weights_of(
      functools.partial(aggregators.mean, weights=weights), x
    )
    for rule in (aggregators.mean, read):
      for given in (weights, list(weights), jnp.asarray(weights)):
        with self.assertRaisesRegex(
          ValueError, f'weights must be finite and at least 0; {message}'
        ):
          rule(X, weights=given)
      # Nobody can look at these.
      jax.eval_shape(lambda w, rule=rule: rule(X, weights=w), weights)
    present = np.arange(10) != 2
    got = aggregators.mean(X, weights=weights, mask=present)
    np.testing.assert_allclose(got, 1.0, rtol=1e-6)
    with self.assertRaisesRegex(TypeError, 'real numbers; got complex'):
      aggregators.mean(X, weights=np.ones(10, complex))

  def test_what_a_rule_does_not_take(self):
    for rule in (
      functools.partial(aggregators.krum, num_byzantine=1),
      aggregators.foolsgold(num_clients=10),
      aggregators.centered_clipping_aggregator(clip_radius=1.0),
      aggregators.make_aggregator('nnm+mean', num_clients=10),
      aggregators.make_aggregator('nnm+centered_clipping', num_clients=10),
      aggregators.stateless(aggregators.median),
    ):
      server = aggregators.as_aggregator(rule)
      with self.assertRaisesRegex(ValueError, '^weights: .* leave '):
        server.apply(X, server.init(X[0]), weights=np.ones(10))
    alone = aggregators.stateless(lambda updates: updates[0])
    for name, value in (('mask', np.ones(10, bool)), ('axis_name', 'clients')):
      with self.assertRaisesRegex(ValueError, f'^{name}: <lambda> does not'):
        alone.apply(X, (), **{name: value})
    with self.assertRaisesRegex(TypeError, "argument 'num_component'"):
      aggregators.flag_state(X, num_component=1)
    with self.assertRaisesRegex(ValueError, 'trusted is None: fltrust needs'):
      aggregators.fltrust(X, None)
    with self.assertRaisesRegex(ValueError, 'trusted is None: fltrust needs'):
      aggregators.weights_of(
        functools.partial(aggregators.fltrust, trusted=None), X
      )

  def test_keys_of_chains(self):
    rules = (
      aggregators.chain(aggregators.bucketing, aggregators.median),
      functools.partial(aggregators.dnc, num_byzantine=1),
    )
    for rule, name in zip(rules, ('bucketing', 'dnc'), strict=True):
      with self.assertRaisesRegex(
        TypeError, rf'{name} needs a key.* add key=jax.random.key\(seed\)'
      ):
        aggregators.stateless(rule).apply(X, ())
      jax.eval_shape(lambda r=rule: r(X, key=_key()))
    server = aggregators.make_aggregator('bucketing+median', num_clients=10)
    for call in (server.apply, server.explain):
      with self.assertRaisesRegex(TypeError, 'bucketing needs a key'):
        call(X, ())

  def test_rules_of_numpy(self):
    median = functools.partial(np.median, axis=0)
    nnm = functools.partial(aggregators.nnm, num_byzantine=1)
    for rule in (median, aggregators.chain(nnm, median)):
      server = aggregators.as_aggregator(rule)
      with self.assertRaisesRegex(
        TypeError, 'np.median makes NumPy arrays .* use jnp.median'
      ):
        jax.eval_shape(lambda x, s=server: s.apply(x, ())[0], X)
    own = aggregators.chain(lambda x: np.sort(x, axis=0), aggregators.median)
    with self.assertRaisesRegex(TypeError, '<lambda> makes NumPy .* use jnp'):
      jax.eval_shape(own, X)

  @parameterized.parameters(-0.1, 1.0)
  def test_momentum(self, decay):
    rule = aggregators.stateless(aggregators.median)
    with self.assertRaisesRegex(ValueError, r'decay must lie in \[0.0, 1.0\)'):
      aggregators.server_momentum(rule, decay=decay)


if __name__ == '__main__':
  absltest.main()
