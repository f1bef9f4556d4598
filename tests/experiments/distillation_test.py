# SPDX-License-Identifier: Apache-2.0
"""The binary of online distillation."""

import pathlib
import tempfile

import numpy as np
from absl.testing import absltest, parameterized

from experiments import distillation
from jaxdl import attacks, problems

SMALL = {
  'methods': ('bd_kd', 'offline_kd'),
  'dataset': 'wine',
  'students': ('mlp(3)',),
  'teachers': ('mlp(8)',),
  'num_rounds': 3,
  'steps_per_round': 4,
  'eval_every': 1,
  'batch_size': 16,
}


def _config(**options):
  return distillation.Config(**{**SMALL, **options})


class DistillationTest(parameterized.TestCase):
  def test_seeds_are_apart_and_figures_belong_together(self):
    common = {'methods': ('bd_kd',), 'validation': 0.3, 'num_bins': 5}
    config = _config(seeds=(0, 3), **common)
    rows = distillation.run(config).rows
    test = [r for r in rows if r['split'] == 'test']
    self.assertLen(test, 2 * 4)
    alone = distillation.run(_config(seeds=(3,), **common))
    for row in alone.rows:
      (twin,) = [
        r
        for r in rows
        if all(
          r.get(k) == row.get(k)
          for k in ('split', 'variant', 'seed', 'step', 'bin', 'network')
        )
      ]
      for name, value in row.items():
        if isinstance(value, float) and name != 'temperature':
          np.testing.assert_allclose(twin[name], value, atol=2e-3, err_msg=name)
    last = [r for r in test if r['step'] == 3]
    bins = [r for r in rows if r['split'] == 'reliability']
    for row in last:
      for name in ('student', 'teacher'):
        own = [
          r
          for r in bins
          if r['network'] == name
          and (r['seed'], r['variant']) == (row['seed'], row['variant'])
        ]
        ece = sum(
          r['share'] * abs(r['accuracy'] - r['confidence']) for r in own
        )
        prefix = '' if name == 'student' else 'teacher_'
        self.assertAlmostEqual(ece, row[f'{prefix}ece'], places=5)
        hits = sum(r['share'] * r['accuracy'] for r in own)
        self.assertAlmostEqual(hits, row[f'{prefix}accuracy'], places=5)
      # Where a temperature is fitted, predictions stay.
      self.assertGreater(row['temperature'], 0)
      self.assertBetween(row['scaled_ece'], 0, 1)
    folder = pathlib.Path(self.enter_context(tempfile.TemporaryDirectory()))
    names = {p.name for p in distillation.draw(config, rows, folder)}
    self.assertIn('student_reliability.png', names)
    self.assertIn('teacher_ece.png', names)
    columns, cells = distillation.table(rows)
    self.assertIn('teacher_ece', columns)
    self.assertLen(cells, 1)

  def test_an_offline_teacher_is_there_from_the_start(self):
    rows = distillation.run(_config(num_rounds=2, steps_per_round=30)).rows
    found = {(r['variant'], r['step']): r for r in rows if r['split'] == 'test'}
    trained = [found['offline_kd', t]['teacher_accuracy'] for t in (0, 2)]
    self.assertEqual(*trained)
    start = found['bd_kd', 0]['teacher_accuracy']
    self.assertGreater(trained[0], start + 0.2)

  def test_several_students_and_no_teacher(self):
    rows = distillation.run(
      _config(
        methods=('kdcl',),
        students=('mlp(3)', 'logistic_regression'),
        teachers=(),
        num_rounds=1,
        steps_per_round=1,
      )
    ).rows
    last = [r for r in rows if (r['split'], r['step']) == ('test', 1)]
    self.assertIn('student2_ece', last[0])
    self.assertNotIn('teacher_ece', last[0])

  @parameterized.parameters(
    ({'methods': ()}, 'methods is empty'),
    ({'methods': ('dml', 'dml')}, 'methods must differ'),
    ({'methods': ('bd_kd(nu=2)',)}, "has no option 'nu'"),
    ({'methods': ('bd_kd(weights=hard(nu=0))',)}, 'nu must lie in'),
    ({'methods': ('dml(temperature=-1)',)}, 'temperature must lie in'),
    ({'teachers': ()}, 'offline_kd needs a teacher'),
    ({'students': ()}, 'students is empty'),
    ({'students': ('mpl',)}, "students='mpl' is unknown"),
    ({'label_noise': 1.0}, 'label_noise must lie in'),
    ({'num_bins': 0}, 'num_bins must be at least 1'),
    ({'dataset': 'mnist'}, 'give --data_dir'),
    ({'data_dir': 'x'}, 'data_dir=x has no effect'),
  )
  def test_impossible_settings_are_refused_at_once(self, options, message):
    with self.assertRaisesRegex(ValueError, message):
      _config(**options)


class LabelNoiseTest(parameterized.TestCase):
  def test_a_share_is_replaced_by_uniform_draws(self):
    labels = np.repeat(np.arange(5), 400)
    rng = np.random.default_rng(0)
    got = attacks.noisy_labels(rng, labels, 5, share=0.5)
    changed = got != labels
    self.assertAlmostEqual(changed.mean(), 0.5 * 4 / 5, delta=0.03)
    np.testing.assert_allclose(np.bincount(got) / 2000, 0.2, atol=0.03)
    same = attacks.noisy_labels(rng, labels, 5, share=0.0)
    np.testing.assert_array_equal(same, labels)

  def test_seeds_have_wrong_labels_of_their_own(self):
    make = lambda seeds, noise: np.asarray(
      problems.distillation('wine', label_noise=noise, seeds=seeds).data[
        'held'
      ]['labels']
    )[:, 0]
    clean, noisy = make((0, 1), 0.0), make((0, 1), 0.4)
    # Of those that are replaced two thirds are wrong, of three classes.
    np.testing.assert_allclose((clean != noisy).mean(1), 0.4 * 2 / 3, atol=0.1)
    self.assertTrue((noisy[0] != noisy[1]).any())
    np.testing.assert_array_equal(noisy[1], make((1,), 0.4)[0])

  @parameterized.parameters(
    ({'share': 1.5}, ValueError, 'share must lie in'),
    ({'num_classes': 1}, ValueError, r'labels must lie in \[0, 1\)'),
    ({'rng': 3}, TypeError, 'rng must be a numpy Generator'),
    ({'labels': np.ones(3)}, TypeError, 'labels must be integers'),
  )
  def test_says_what_is_wrong(self, options, error, message):
    options = {
      'rng': np.random.default_rng(0),
      'labels': np.arange(3),
      'num_classes': 3,
      'share': 0.5,
      **options,
    }
    args = [options.pop(k) for k in ('rng', 'labels', 'num_classes')]
    with self.assertRaisesRegex(error, message):
      attacks.noisy_labels(*args, **options)

  def test_problems_say_what_is_wrong(self):
    make = problems.distillation
    with self.assertRaisesRegex(ValueError, 'students is empty'):
      make('wine', students=())
    with self.assertRaisesRegex(TypeError, 'must be sequences of networks'):
      make('wine', students='mlp')
    with self.assertRaisesRegex(ValueError, 'validation must lie in'):
      make('wine', validation=1.0)
    with self.assertRaisesRegex(ValueError, 'has no logits'):
      problem = problems.quadratics()
      problems.reliability_rows(problem.task, None, None, seeds=(0,))


if __name__ == '__main__':
  absltest.main()
