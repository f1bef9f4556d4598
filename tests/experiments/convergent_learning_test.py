# SPDX-License-Identifier: Apache-2.0
"""The convergent-learning binary, and the measures it takes."""

import functools
import pathlib
import tempfile

import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized

from experiments import convergent_learning
from jaxdl import networks
from jaxdl.problems import units
from jaxdl.theory import matching

SMALL = {
  'architectures': ('mlp((6, 5))',),
  'num_clients': 3,
  'num_rounds': 2,
  'eval_every': 1,
  'local_steps': 2,
  'batch_size': 8,
  'num_examples': 64,
  'measures': (
    'correlation',
    'information(num_bins=4)',
    'sparse((0.0, 0.1, 9.0), num_iters=50)',
    'clusters(num_clusters=2)',
    'similarity(kinds=(cka, cca, procrustes))',
    'profile',
    'matrix(max_units=4)',
  ),
}


def _config(**options):
  return convergent_learning.Config(**{**SMALL, **options})


@functools.cache
def _result():
  return convergent_learning.run(_config())


def _rows(split, **labels):
  return [
    r
    for r in _result().rows
    if r['split'] == split and labels.items() <= r.items()
  ]


class ConvergentLearningTest(parameterized.TestCase):
  def test_correlations_are_those_of_the_networks_themselves(self):
    config = _config()
    problem = config.problem(network=config.architectures[0])
    params = jax.tree.map(
      lambda x: np.asarray(x)[0],
      _result().state[config.architectures[0]].params,
    )
    inputs = np.asarray(problem.test['inputs'])[
      np.asarray(problem.test['mask'])
    ]
    found = [
      networks.activations(
        problem.network, jax.tree.map(lambda x, k=k: x[k], params), inputs
      )['dense_2']
      for k in range(3)
    ]
    semi, matched = [], []
    for i, j in ((0, 1), (0, 2), (1, 2)):
      x, y = (np.asarray(found[k], float) for k in (i, j))
      with np.errstate(invalid='ignore', divide='ignore'):
        c = np.nan_to_num(np.corrcoef(x.T, y.T)[:5, 5:])
      alive = x.std(axis=0) > 0
      from scipy import optimize

      row, col = optimize.linear_sum_assignment(c, maximize=True)
      semi.append(c.max(axis=1)[alive].mean())
      matched.append(c[row, col][alive].mean())
    (row,) = _rows('correlation', step=2, layer='dense_2', match='correlation')
    np.testing.assert_allclose(row['semi'], np.mean(semi), rtol=1e-4)
    np.testing.assert_allclose(row['matched'], np.mean(matched), rtol=1e-4)

  def test_everything_is_measured_at_both_ends(self):
    both = {'dense_1', 'dense_2'}
    for split in matching.MEASURES:
      rows = _rows(split)
      self.assertEqual({r['layer'] for r in rows}, both, split)
      steps = {0, 1, 2} if split == 'correlation' else {0, 2}
      self.assertEqual({r['step'] for r in rows}, steps, split)
    for row in _rows('correlation', match='correlation'):
      self.assertGreaterEqual(row['semi'], row['matched'])
    kinds = {r['match'] for r in _rows('correlation', step=2)}
    self.assertEqual(kinds, {'correlation', 'permuted', 'shuffled'})
    for row in _rows('information'):
      self.assertBetween(row['semi'], row['matched'], np.log(4))
    for row in _rows('sparse', penalty=9.0):
      self.assertEqual(row['num_used'], 0)
    for row in _rows('similarity'):
      for name in ('cka', 'cca', 'procrustes'):
        self.assertBetween(row[name], 0, 1)
    for layer, size in (('dense_1', 6), ('dense_2', 5)):
      found = _rows('clusters', step=2, layer=layer)
      self.assertLen(found, 2)
      self.assertLessEqual(
        sum(r['size_x'] + r['size_y'] for r in found), 2 * size
      )
      best = [r['best'] for r in _rows('profile', step=2, layer=layer)]
      self.assertEqual(best, sorted(best, reverse=True))
      first = _rows('matrix', step=2, layer=layer, unit=0)[0]
      self.assertAlmostEqual(
        first['unit_0'],
        max(r['partner'] for r in _rows('profile', step=2, layer=layer)),
        places=5,
      )

  def test_a_useless_map_predicts_the_mean_of_what_it_was_fitted_on(self):
    config = _config()
    problem = config.problem(
      network=config.architectures[0], batch_shape=(2, 8)
    )
    tests = units.UnitTests(
      problem=problem, measures=('sparse(9.0)',), num_examples=64
    )
    params = jax.vmap(lambda key: problem.task.init(key))(
      jax.random.split(jax.random.key(0), 3)
    )
    rows = tests.rows(jax.tree.map(lambda x: x[None], params))
    mask = np.asarray(problem.test['mask'])
    fit = np.asarray(tests._training[0]).reshape(-1, 64)
    self.assertBetween(len(fit), 60, 64)
    want = []
    for i, j in ((0, 1), (0, 2), (1, 2)):
      del i  # The mean of a target needs no input.
      a, b = (
        np.asarray(
          networks.activations(
            problem.network, jax.tree.map(lambda x, j=j: x[j], params), x
          )['dense_1'],
          float,
        )
        for x in (fit, np.asarray(problem.test['inputs'])[mask])
      )
      live = a.std(axis=0) > 0
      gap = (b - a.mean(axis=0))[:, live] / a.std(axis=0)[live]
      want.append(0.5 * (gap**2).mean())
    got = next(r for r in rows if r['layer'] == 'dense_1')
    np.testing.assert_allclose(got['half_mse'], np.mean(want), rtol=1e-3)

  def test_pictures_and_the_table(self):
    config = _config()
    with tempfile.TemporaryDirectory() as folder:
      paths = convergent_learning.draw(
        config, _result().rows, pathlib.Path(folder)
      )
      self.assertEqual(
        {p.stem for p in paths},
        {
          *('match', 'baselines', 'sparse', 'inputs', 'profile'),
          *('matrix_dense_1', 'matrix_dense_2'),
        },
      )
      self.assertGreater(min(p.stat().st_size for p in paths), 5000)
    columns, cells = units.table(_result().rows)
    self.assertLen(cells, 2)
    want = _rows('correlation', step=2, layer='dense_1', match='correlation')
    got = cells[0][columns.index('matched')]
    self.assertAlmostEqual(got, want[0]['matched'])

  def test_convolutions_of_equal_start_and_no_training_are_equal(self):
    config = _config(
      dataset='digits(flatten=False)',
      architectures=('frl_lenet(width=2)',),
      num_clients=2,
      num_rounds=0,
      same_start=True,
      layers='conv_*',
      measures=('correlation', 'information(num_bins=4)'),
    )
    rows = convergent_learning.run(config).rows
    found = [r for r in rows if r.get('match') == 'correlation']
    self.assertEqual([r['layer'] for r in found], ['conv_1', 'conv_2'])
    for row in found:
      self.assertAlmostEqual(row['matched'], 1.0, places=4)

  @parameterized.parameters(
    ({'num_clients': 1}, 'num_clients must be at least 2'),
    ({'architectures': ('mlp', 'mlp')}, 'architectures must differ'),
    ({'architectures': ()}, 'architectures is empty'),
    ({'measures': ('correlations',)}, "measures='correlations' is unknown"),
    ({'measures': ('sparse(penalty=1)',)}, "sparse has no option 'penalty'"),
    ({'num_examples': 1}, 'num_examples must be at least 2'),
  )
  def test_impossible_settings_are_refused_at_once(self, options, message):
    with self.assertRaisesRegex(ValueError, message):
      _config(**options)

  def test_says_which_layers_there_are(self):
    config = _config(layers='dense_9')
    with self.assertRaisesRegex(ValueError, "layers='dense_9' is unknown"):
      convergent_learning.run(config)

  def test_says_which_layer_is_dead(self):
    moments = matching.activation_moments(np.ones((9, 2)), jnp.ones((9, 2)))
    layer = matching.Layers('dense_3', moments, moments)
    with self.assertRaisesRegex(ValueError, 'dense_3: no unit has non-zero'):
      matching.measure_layers([layer], key=jax.random.key(0))


if __name__ == '__main__':
  absltest.main()
