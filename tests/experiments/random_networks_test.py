# SPDX-License-Identifier: Apache-2.0
"""The binary of random nets."""

import functools
import pathlib
import tempfile

import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized

from experiments import random_networks
from jaxdl import problems
from jaxdl.networks.features import ridgelets, shallow

SINE = 'sine(complexity=2, num_points=60)'


def _config(**options):
  return random_networks.Config(
    **{
      'targets': (SINE,),
      'scales': (1.0, 10.0),
      'num_hidden': (8, 40),
      'num_rounds': 2,
      'seeds': (3, 4),
    }
    | options
  )


@functools.cache
def _run():
  return random_networks.run(_config(methods=('batch', 'mlp(num_steps=5)')))


class RandomNetworksTest(parameterized.TestCase):
  def test_rows_are_means_over_draws(self):
    rows = [r for r in _run().rows if r['variant'] == 'batch']
    place = {'scale': 10.0, 'num_hidden': 8, 'seed': 4}
    own = [r for r in rows if all(r.get(k) == v for k, v in place.items())]
    self.assertEqual([r['step'] for r in own], [1, 2])
    x = np.linspace(-1, 1, 60)[:, None]
    test_x = np.linspace(-1, 1, 120)[:, None]
    f = lambda x: np.sin(4 * np.pi * x)
    errors, norms = [], []
    for round in (1, 2):
      key = jax.random.fold_in(jax.random.key(4), round)
      with jax.enable_x64(True):
        hidden = shallow.sample_hidden(
          jax.random.fold_in(key, 0), 8, 1, scale=10.0
        )
        a, b = map(np.asarray, hidden)
      h, t = (np.tanh(v @ a.T - b) / 8**0.5 for v in (x, test_x))
      c = np.linalg.solve(h.T @ h + 1e-6 * np.eye(8), h.T @ f(x))
      errors.append(np.sqrt(np.mean((t @ c - f(test_x)) ** 2)))
      norms.append(np.linalg.norm(c))
    np.testing.assert_allclose(own[0]['rmse'], errors[0], rtol=1e-5)
    np.testing.assert_allclose(own[1]['rmse'], np.mean(errors), rtol=1e-5)
    np.testing.assert_allclose(own[1]['norm'], np.mean(norms), rtol=1e-4)
    np.testing.assert_allclose(
      own[1]['rmse_sd'], np.std(errors, ddof=1), rtol=1e-4
    )

  def test_small_weights_have_a_floor(self):
    rows = _run().rows
    floors = {r['scale']: r for r in rows if r['split'] == 'floor'}
    self.assertGreater(floors[1.0]['train_rmse'], 0.6)
    self.assertLess(floors[10.0]['train_rmse'], 1e-3)
    nets = [
      r['train_rmse']
      for r in rows
      if r['variant'] == 'batch' and r.get('scale') == 1.0
    ]
    np.testing.assert_allclose(nets, floors[1.0]['train_rmse'], rtol=0.05)
    data = problems.random_nets.make_target(SINE)
    nodes = ridgelets.quadrature_nodes(40, scale=1.0)
    want = ridgelets.budgeted_floor(
      ridgelets.limit_kernel(nodes), data.x, data.y, ridge=1e-6
    )
    np.testing.assert_allclose(floors[1.0]['train_rmse'], want.rmse, rtol=1e-4)
    # What is trained has no scale.
    trained = [r for r in rows if r['variant'].startswith('mlp')]
    self.assertLen(trained, 2 * 2 * 2)
    self.assertNotIn('scale', trained[0])

  def test_draws_what_it_says(self):
    result = _run()
    columns, cells = result.experiment.table(result.rows)
    self.assertEqual(columns[:4], ['variant', 'target', 'scale', 'num_hidden'])
    self.assertLen(cells, 2 * 2 + 2)
    with tempfile.TemporaryDirectory() as folder:
      drawn = result.experiment.plots[0](result.rows, pathlib.Path(folder))
      self.assertEqual({p.stem for p in drawn}, {'widths', 'rmse', 'norm'})

  def test_classes_are_counted_and_targets_compared(self):
    config = _config(
      targets=('dataset(name=wine)', 'step(num_points=30)'),
      methods=('batch', 'kernel(num_nodes=8)'),
      num_hidden=(30,),
      num_rounds=1,
      seeds=(0,),
      floor=False,
    )
    result = random_networks.run(config)
    wine = [r for r in result.rows if 'wine' in r['target']]
    best = max(r['accuracy'] for r in wine if r['variant'] == 'batch')
    self.assertGreater(best, 0.9)
    self.assertNotIn('accuracy', result.rows[-1])
    self.assertEqual({r['split'] for r in result.rows}, {'test'})
    with tempfile.TemporaryDirectory() as folder:
      drawn = result.experiment.plots[0](result.rows, pathlib.Path(folder))
      self.assertIn('accuracy_1', {p.stem for p in drawn})
      self.assertIn('targets', {p.stem for p in drawn})

  def test_smoke_is_small(self):
    config = random_networks.Config(
      targets=('digits', 'diabetes'), num_rounds=50
    ).smoked()
    self.assertEqual(config, config.smoked())
    self.assertEqual(config.targets, ('digits',))
    self.assertEqual((config.num_rounds, config.num_hidden), (3, (10, 30)))

  @parameterized.parameters(
    ({'scales': (0.0,)}, r'scales must lie in \(0'),
    ({'scales': ()}, 'scales is empty'),
    ({'num_hidden': (0,)}, 'num_hidden must be at least 1'),
    ({'num_hidden': (3, 3)}, 'num_hidden must differ'),
    ({'ridge': -1.0}, 'ridge must lie'),
    ({'bias_range': 0.0}, 'bias_range must lie'),
    ({'activation': 'tanhh'}, "activation='tanhh' is unknown.*'tanh'"),
    ({'dist': 'normal'}, "dist='normal' is unknown"),
    ({'methods': ('pinv',)}, "methods='pinv' is unknown"),
    ({'methods': ('scn(candidates=3)',)}, "no option 'candidates'"),
    ({'targets': ('cosine',)}, "targets='cosine' is unknown"),
    (
      {'targets': ('sine(complexity=0)',)},
      r'^--targets=sine\(complexity=0\): .*complexity must lie in \(0',
    ),
    ({'targets': ('csv',)}, r'write csv\(path=...\)'),
    ({'targets': ("csv(path='/no/such')",)}, "path='/no/such' cannot be read"),
  )
  def test_impossible_settings_are_refused_at_once(self, options, message):
    with self.assertRaisesRegex(ValueError, message):
      _config(**options)

  @parameterized.parameters(
    (
      {'methods': ('scn(num_candidates=0)',)},
      'num_candidates must be at least',
    ),
    ({'methods': ('batch(readout=qr)',)}, "method='qr' is unknown"),
    ({'methods': ('kernel',), 'ridge': 0.0}, 'kernel needs ridge > 0'),
  )
  def test_methods_are_tried_before_anything_runs(self, options, message):
    with self.assertRaisesRegex(ValueError, message):
      random_networks.build(_config(**options))


class TargetsTest(parameterized.TestCase):
  def test_curves(self):
    x = np.linspace(-1, 1, 50)[:, None]
    for spec, want in (
      ('sine(3)', np.sin(6 * np.pi * x)),
      ('gaussian(4)', np.exp(-8 * x**2)),
      ('chirp(2)', np.sin(np.pi * (1 + x) ** 2)),
      ('step(1.3)', np.sign(np.sin(2.6 * np.pi * x))),
    ):
      text = spec.replace(')', ', num_points=50)')
      target = problems.random_nets.make_target(text)
      np.testing.assert_array_equal(target.x, x)
      np.testing.assert_allclose(target.y, want, atol=1e-12)
      self.assertEqual(target.test_y.shape, (100, 1))
    plane = problems.random_nets.make_target(
      'sine(1, dim=2, noise=0.5)', seed=3
    )
    clean = np.prod(np.sin(2 * np.pi * plane.x), axis=1)
    self.assertAlmostEqual(np.std(plane.y[:, 0] - clean), 0.5, delta=0.06)
    np.testing.assert_allclose(
      plane.test_y[:, 0], np.prod(np.sin(2 * np.pi * plane.test_x), axis=1)
    )

  def test_files(self):
    path = pathlib.Path(self.enter_context(tempfile.TemporaryDirectory())) / 'x'
    table = np.random.default_rng(0).normal(size=(12, 3))
    table[:, 1] = 2 * table[:, 0] - table[:, 2] + 5
    np.savetxt(path, table, delimiter=';', header='a;b;c', comments='')
    spec = f"csv(path='{path}', target=1, delimiter=';')"
    target = problems.random_nets.make_target(spec, seed=1)
    self.assertEqual((target.x.shape, target.test_y.shape), ((9, 2), (3, 1)))
    np.testing.assert_allclose(target.x.std(axis=0), 1.0)
    # Linear still, and of the same slopes for what was held out.
    c = np.linalg.lstsq(target.x, target.y, rcond=None)[0]
    np.testing.assert_allclose(target.test_x @ c, target.test_y, atol=1e-9)
    for text, message in (
      ('1,2\n3,x\n', r"x'?:2: '3,x' holds what is no number"),
      ('1,2\n3,4,5\n', ':2: 3 columns where others have 2'),
      ('1,2\n', 'has 1 lines of numbers and 2 columns'),
      ('1,2\n3,4\n5,nan\n6,7\n', 'holds NaN'),
    ):
      path.write_text(text)
      with self.assertRaisesRegex(ValueError, message):
        problems.random_nets.make_target(f"csv(path='{path}')")
    path.write_text('1,2\n3,4\n5,6\n7,8\n')
    with self.assertRaisesRegex(ValueError, 'target=2 is no column of 2'):
      problems.random_nets.make_target(f"csv(path='{path}', target=2)")
    with self.assertRaisesRegex(ValueError, 'test_fraction must lie'):
      problems.random_nets.make_target(f"csv(path='{path}', test_fraction=1.0)")

  def test_data_sets(self):
    digits = problems.random_nets.make_target('digits')
    self.assertEqual((digits.x.min(), digits.x.max()), (0.0, 1.0))
    self.assertEqual(digits.num_classes, 10)
    np.testing.assert_array_equal(digits.y.sum(axis=1), 1.0)
    diabetes = problems.random_nets.make_target('diabetes')
    np.testing.assert_allclose(diabetes.x.std(axis=0), 1.0)
    np.testing.assert_allclose(diabetes.y.std(), 1.0)
    for name, message in (('mnist', 'read from files'), ('nope', 'is unknown')):
      with self.assertRaisesRegex(ValueError, message):
        problems.random_nets.make_target(f'dataset(name={name})')

  def test_jax_keeps_its_precision(self):
    _run()
    self.assertEqual(jnp.zeros(()).dtype, jnp.float32)


if __name__ == '__main__':
  absltest.main()
