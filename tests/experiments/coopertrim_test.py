# SPDX-License-Identifier: Apache-2.0
"""The binary of cooperative perception, and its problem."""

import functools
import pathlib
import tempfile
import unittest.mock

import jax
import numpy as np
from absl.testing import absltest, parameterized

from experiments import coopertrim
from jaxdl import plots
from jaxdl.plots import _birds_eye as birds_eye_lib
from jaxdl.problems import cooperation as problems

SMALL = {
  'world': 'roads(grid=8, frames=3, agents=3, vehicles=(1, 4))',
  'network': 'conv(channels=4, num_layers=1)',
  'selectors': ('coopertrim',),
  'rivals': ('none', 'full', 'random'),
  'budgets': (0.5,),
  'num_rounds': 2,
  'steps': 2,
  'eval_every': 1,
  'batch_size': 2,
  'num_tests': 6,
  'schedule': 'schedule(warm_up=2)',
  'seeds': (0, 1),
}


def config_of(**options):
  return coopertrim.Config(**{**SMALL, **options})


@functools.cache
def result():
  return coopertrim.run(config_of())


def rows_of(split, **labels):
  return [
    r
    for r in result().rows
    if r['split'] == split and all(r[k] == v for k, v in labels.items())
  ]


class RunTest(parameterized.TestCase):
  def test_rows_say_what_models_do(self):
    last = rows_of('test', step=2)
    own = rows_of('rivals', selector='its own')
    self.assertLen(last, 2)
    for a, b in zip(last, own, strict=True):
      self.assertEqual((a['iou'], a['mbps']), (b['iou'], b['mbps']))
      self.assertEqual(a['iteration'], 4.0)
    for full in rows_of('rivals', selector='full'):
      # 4 x 8 x 8 entries of 32 bits at 10 Hz.
      self.assertAlmostEqual(full['mbps'], 4 * 8 * 8 * 32 * 10 / 1e6)
      self.assertEqual(full['percent'], 100.0)
    for none in rows_of('rivals', selector='none'):
      self.assertEqual((none['mbps'], none['percent']), (0.0, 0.0))
    for a, b in zip(own, rows_of('rivals', selector='random'), strict=True):
      self.assertAlmostEqual(a['percent'], b['percent'], delta=12.6)

  def test_budgets_are_heeded(self):
    rows = rows_of('budget', budget=0.5)
    self.assertEqual({r['selector'] for r in rows}, {'its own', 'random'})
    self.assertEqual({r['percent'] for r in rows}, {50.0})

  def test_masks_and_maps(self):
    asked = rows_of('mask')
    self.assertLen(asked, 6 * 3 * 4)
    first = [r['asked'] for r in asked if r['frame'] % 3 == 0]
    self.assertEqual(set(first), {1.0})
    kinds = {r['kind'] for r in rows_of('map')}
    self.assertEqual(
      kinds, {'truth', 'seen', 'road', 'alone', 'full', 'trimmed'}
    )

  def test_pictures(self):
    with tempfile.TemporaryDirectory() as folder:
      drawn = coopertrim.draw(config_of(), result().rows, pathlib.Path(folder))
      self.assertEqual(
        {p.stem for p in drawn},
        {'iou', 'percent', 'trade_off', 'mask_0', 'birds_eye'},
      )

  def test_maps_say_who_tells_them(self):
    titles = []
    keep = birds_eye_lib._panel

    def panel(axes, cells, palette, title):
      titles.append(title)
      keep(axes, cells, palette, title)

    with (
      tempfile.TemporaryDirectory() as folder,
      unittest.mock.patch.object(birds_eye_lib, '_panel', panel),
    ):
      plots.birds_eye(result().rows, pathlib.Path(folder) / 'map.png')
    self.assertEqual(titles, ['what is there', 'alone', 'full', 'trimmed'])

  def test_other_selectors_keep_the_price_and_the_exploration(self):
    problem = problems.bev_segmentation(
      SMALL['world'],
      network='conv(channels=2, num_layers=1)',
      penalty='linear(weight=10.0, target=0.0)',
      explore=1.0,
      num_tests=1,
    )
    other = problem.for_selector('coopertrim')
    batch = problem.cohort(jax.random.key(0), None, 1).data
    batch = jax.tree.map(lambda x: x[0], batch)
    params = problem.model.init(jax.random.key(1))
    want = problem.task.loss(params, batch)
    self.assertGreater(float(want), 900.0)  # All is sent, at 10 a percent.
    self.assertEqual(float(other.task.loss(params, batch)), float(want))

  def test_messages_of_those_who_are_not_heard_are_not_packed(self):
    problem = problems.bev_segmentation(
      'roads(grid=8, frames=2, agents=5)',
      network='conv(channels=2, num_layers=1)',
      selector='full',
      compress='lossless(factor=9)',
      links='over(topology=ring)',
      num_tests=1,
    )
    params = jax.tree.map(
      lambda x: x[None], problem.model.init(jax.random.key(1))
    )
    ((model, seen),) = problem.test_with(params)
    maps = model.encoder.apply(
      jax.tree.map(lambda x: x[0], params['encoder']), problem.tests[0].inputs
    )[0]
    sizes = [
      [model.codec.size(np.asarray(x).ravel()) for x in row] for row in maps
    ]
    bits = 8 * np.mean(sizes)  # Everybody has two neighbors.
    found = problem.scores_with(params)['mbps'][0]
    self.assertAlmostEqual(found, bits * 10 / 1e6, places=6)
    self.assertEqual(seen.senders.max(), 2)

  def test_links_that_all_fail_leave_everybody_alone(self):
    params = jax.tree.map(np.asarray, result().state['coopertrim'].params)
    make = functools.partial(
      problems.bev_segmentation,
      SMALL['world'],
      network=SMALL['network'],
      num_tests=6,
      seeds=(0, 1),
    )
    lost = make(links='over(topology=complete, loss=1.0)')
    found = lost.scores_with(params)
    self.assertEqual(found['mbps'].tolist(), [0.0, 0.0])
    whole = make(links='over(topology=complete)', compress='qsgd')
    sent = whole.scores_with(params, 'full')
    # A norm of 32 bits, and 8 for each of 64 entries, for 4 channels.
    np.testing.assert_allclose(sent['mbps'], 4 * (32 + 64 * 8) * 10 / 1e6)
    packed = make(compress='lossy(factor=16)').scores_with(params, 'full')
    self.assertLess(packed['mbps'].max(), 0.25 * 4 * 8 * 8 * 32 * 10 / 1e6)
    self.assertGreater(packed['mbps'].min(), 0.0)


class ConfigTest(parameterized.TestCase):
  @parameterized.parameters(
    ({'selectors': ('coopertrim', 'coopertrim')}, 'selectors must differ'),
    ({'selectors': ('coopertrim(q=101)',)}, r'--selectors=.*q must lie in'),
    ({'rivals': ('nobody',)}, "'nobody'"),
    ({'fusion': 'windowed(window=3)'}, 'window=3 does not divide'),
    ({'links': 'over(topology=hypercube)'}, 'hypercube'),
    ({'links': 'over(loss=2)'}, 'loss must lie in'),
    ({'noises': ('pose',)}, 'noise pose has no effect on poses=identity'),
    ({'noises': ('loss', 'loss(0.2)')}, 'loss twice'),
    ({'world': 'opv2v'}, 'give --data_dir'),
    ({'penalty': 'linear(target=101)'}, 'target must lie in'),
    ({'penalty': 'linear(weight=-1)'}, 'weight must lie in'),
    ({'compress': 'lossy(factor=0.5)'}, 'factor must lie in'),
    ({'schedule': 'schedule(explore=1.5)'}, 'explore must lie in'),
    ({'budgets': (1.5,)}, 'budgets must lie in'),
    ({'link': 'link(bits=0)'}, 'bits must be at least 1'),
  )
  def test_impossible_settings_are_refused_at_once(self, options, message):
    with self.assertRaisesRegex(ValueError, message):
      config_of(**options)

  def test_smoke_is_small(self):
    config = coopertrim.Config().smoked()
    self.assertEqual(config, config.smoked())
    self.assertEqual(
      config.world,
      'roads(grid=8, frames=3, agents=2, agents_min=2, vehicles=(1, 3))',
    )
    self.assertEqual((config.num_rounds, config.steps), (3, 2))

  @parameterized.parameters(
    (
      {'world': 'roads(poses=continuous, agents_min=3)', 'noises': ('pose',)},
      'roads(poses=continuous, agents_min=2, grid=8, frames=3, agents=2, '
      'vehicles=(1, 3))',
      'max',
    ),
    (
      {
        'world': 'opv2v(frames=6)',
        'data_dir': '.',
        'fusion': 'windowed(window=8, heads=8, num_layers=3)',
      },
      'roads(grid=8, frames=3, agents=2, agents_min=2, vehicles=(1, 3))',
      'windowed(window=4, heads=2, num_layers=3)',
    ),
  )
  def test_smoke_keeps_what_belongs_together(self, knobs, world, fusion):
    small = coopertrim.Config(**knobs).smoked()
    self.assertEqual(small, small.smoked())
    self.assertEqual((small.world, small.fusion), (world, fusion))


if __name__ == '__main__':
  absltest.main()
