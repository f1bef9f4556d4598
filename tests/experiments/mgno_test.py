# SPDX-License-Identifier: Apache-2.0
"""The binary of multigrid neural operators."""

import pathlib
import tempfile

import jax
import jax.numpy as jnp
import numpy as np
import scipy.io
from absl.testing import absltest, parameterized

from experiments import (
  _classical_multigrid as classical,
  _mgno_flows as flows,
  mgno,
)
from experiments.claims import mgno as claims
from jaxdl.core import types
from jaxdl.experiment import operator_learning as learning

TINY = {
  'problem': 'poisson',
  'resolution': 8,
  'channels': 2,
  'num_layers': 1,
  'iterations': '10,20',
  'num_train': 8,
  'num_test': 4,
  'batch_size': 4,
  'num_rounds': 2,
  'num_samples': 1,
}


def problem(inputs, targets):
  """Trajectories of one seed, two batches of test functions."""
  cut = lambda x: jnp.asarray(x)[None].reshape(1, 2, -1, *x.shape[1:])
  mask = jnp.ones((1, 2, len(inputs) // 2), bool).at[0, 1, -1].set(False)
  return learning.Problem(
    train={'inputs': jnp.asarray(inputs)[None], 'targets': targets[None]},
    tests={'': {'inputs': cut(inputs), 'targets': cut(targets), 'mask': mask}},
    points=None,
    samples={'inputs': inputs, 'targets': targets, 'arguments': (inputs,)},
    periodic=True,
  )


class RunTest(parameterized.TestCase):
  def test_levels_are_added_one_by_one_and_drawn(self):
    config = mgno.Config(
      **TINY, sweep='levels', model_options=('mgno.activation=identity',)
    )
    result = mgno.run(config)
    last = learning.last_rows(result.rows)
    self.assertEqual([r['variant'] for r in last], ['1 level', '2 levels'])
    self.assertEqual([r['levels'] for r in last], [1, 2])
    # 9 c cf (N_S + N_A) + (J - 1) (9 c c + 9 cf cf + 16 c c) and, for 1x1
    # maps with c = 2, cf = 1: skip with bias, head.
    for row, steps, transfers in zip(last, (2, 3), (0, 1), strict=True):
      want = 18 * (2 * steps - 1) + transfers * (36 + 9 + 64) + 2 + 2 + 2
      self.assertEqual(row['parameters'], want)
    for row in last:
      for name in ('relative_l2', mgno.H1, 'loss'):
        self.assertTrue(np.isfinite(row[name]))
    with tempfile.TemporaryDirectory() as folder:
      (draw,) = result.experiment.plots
      paths = draw(result.rows, pathlib.Path(folder))
      self.assertEqual(
        {p.stem for p in paths},
        {'relative_l2', mgno.H1, 'functions', 'levels', 'spectrum'},
      )

  def test_an_epoch_passes_over_the_functions_once(self):
    experiment = mgno.build(mgno.Config(**TINY, models=('cnn',)))
    # Batches per round show in the schedule: 2 rounds of 2 steps.
    (draw,) = experiment.plots
    self.assertEqual(draw.args[0].num_steps, 4)

  def test_the_same_network_and_loss_is_trained_once(self):
    config = mgno.Config(loss='relative_l2')
    labels = [label for label, *_ in mgno.plan(config, 'zeros')]
    self.assertEqual(labels, ['mgno', 'fno'])
    self.assertEqual(mgno.specification(config, 'fno@mse'), ('fno', 'mse'))

  def test_defaults_have_the_sizes_of_the_comparison(self):
    config = mgno.Config(models=('mgno', 'single_level', 'fno', 'cnn'))
    found = {
      label: mgno.num_parameters(name, options, ((32, 32),), 1)
      for label, name, options in mgno.plan(config, 'zeros')
    }
    self.assertEqual(
      found,
      {'mgno': 29_067, 'single_level': 33_856, 'fno': 149_921, 'cnn': 21_289},
    )

  def test_published_size_is_a_claim(self):
    held, figure = claims.parameter_count(())
    self.assertTrue(held, figure)

  def test_smoke(self):
    config = mgno.Config().smoked()
    self.assertEqual(config, config.smoked())

  @parameterized.parameters(
    ({'models': ()}, 'models is empty'),
    ({'models': ('mgno', 'mgno')}, 'models must differ'),
    ({'models': ('gno',)}, "models='gno' is unknown"),
    ({'models': ('mgno@l3',)}, "has 'l3', which is unknown"),
    ({'iterations': ''}, 'iterations is empty'),
    ({'iterations': '10,101'}, 'two digits per level'),
    ({'iterations': '01,20'}, 'no pre-smoothing'),
    (
      {'resolution': 4, 'iterations': '10,10,10,10,20'},
      '4x4 cannot be coarsened 4 times',
    ),
    ({'eval_resolutions': (9,)}, 'odd and even sizes differ'),
    (
      {'resolution': 4, 'iterations': '10,10,10', 'padding': 'reflect'},
      'reflect padding by 1 needs at least 2 cells',
    ),
    (
      {'models': ('mgno_navier_stokes',), 'eval_resolutions': (16,)},
      'tied to one resolution',
    ),
    (
      {'target_normalizer': 'point', 'eval_resolutions': (16,)},
      'normalizer=point is tied to one grid',
    ),
    ({'model_options': ('fno=3',)}, 'model.option=value'),
    ({'model_options': ('fno.depth=3',)}, "has 'depth', which is unknown"),
    ({'data_path': 'a.mat', 'eval_resolutions': (16,)}, 'needs generated'),
  )
  def test_impossible_settings_are_refused_at_once(self, options, message):
    with self.assertRaisesRegex(ValueError, message):
      mgno.Config(**{**TINY, **options})


class FlowTest(parameterized.TestCase):
  def test_pairs_are_successive_states(self):
    rng = np.random.default_rng(0)
    path = rng.normal(size=(4, 3, 3, 4)).astype('float32')
    cut = flows.one_step(problem(path[..., :1], path[..., 1:]), 2)
    want = [
      (path[i, ..., t], path[i, ..., t + 1]) for t in range(2) for i in range(4)
    ]
    for name, place in (('inputs', 0), ('targets', 1)):
      np.testing.assert_array_equal(
        cut.train[name][0, ..., 0], np.stack([pair[place] for pair in want])
      )
      # The same pairs, in batches of two; the last trajectory is padding.
      np.testing.assert_array_equal(
        cut.tests[''][name].reshape(1, 8, 3, 3), cut.train[name][..., 0]
      )
    np.testing.assert_array_equal(
      cut.tests['']['mask'].reshape(2, 4), [[True, True, True, False]] * 2
    )

  def test_rollout_of_the_exact_step_has_no_error(self):
    start = np.random.default_rng(0).normal(size=(4, 3, 3, 1))
    start = start.astype('float32')
    targets = start * np.array([2.0, 4.0, 8.0], 'float32')
    given = problem(start, targets)
    double = types.Network(lambda key, w: (), lambda params, w: params * w)
    rows = flows.rollouts(
      {'exact': learning.Variant(lambda c: double, given)},
      given,
      seeds=(5,),
      num_times=3,
    )({'exact': jnp.full((1,), 2.0)}, 7)
    found = {(r['variant'], r['time']): r['relative_l2'] for r in rows}
    for t in (1, 2, 3):
      self.assertEqual(found['exact', t], 0.0)
      self.assertAlmostEqual(found['no change', t], 1 - 0.5**t, places=6)
    self.assertEqual({(r['step'], r['seed']) for r in rows}, {(7, 5)})

  def test_a_stored_flow_is_periodic_and_starts_at_its_input(self):
    rng = np.random.default_rng(0)
    fields = {
      'a': rng.normal(size=(3, 8, 8)),
      'u': rng.normal(size=(3, 8, 8, 5)),
    }
    with tempfile.TemporaryDirectory() as folder:
      path = str(pathlib.Path(folder) / 'flow.mat')
      scipy.io.savemat(path, fields)
      config = mgno.Config(
        **TINY | {'num_train': 2, 'num_test': 1},
        models=('mgno_navier_stokes', 'single_level'),
        data_path=path,
        file_format='navier_stokes',
        num_transitions=3,
      )
      loaded = mgno.load(config)
    self.assertTrue(loaded.periodic)
    cut = flows.one_step(loaded, 3)
    self.assertEqual(cut.train['inputs'].shape, (1, 6, 8, 8, 1))
    np.testing.assert_allclose(
      cut.train['inputs'][0, :2, ..., 0], fields['a'][:2], rtol=1e-6
    )
    # With no parameters left a network steps to where it is.
    variants = mgno.make_variants(config, cut)
    for v in variants.values():
      network = v.network(jax.tree.map(lambda x: x[0], v.constants))
      w = cut.example()['inputs'][:1]
      params = jax.eval_shape(network.init, jax.random.key(0), w)
      zeros = jax.tree.map(lambda x: jnp.zeros(x.shape), params)
      identity = jax.jit(network.apply)(zeros, w)
      inner = v.constants['inputs'].encode(w[None])[0]
      np.testing.assert_allclose(
        identity, v.constants['outputs'].decode(inner[None])[0], atol=1e-5
      )


class ClassicalTest(parameterized.TestCase):
  def test_conditions(self):
    alone, both = classical.condition_numbers(8, 3)
    self.assertAlmostEqual(alone, 513, delta=1e-6)
    self.assertAlmostEqual(both, 25.6, delta=0.06)


if __name__ == '__main__':
  absltest.main()
