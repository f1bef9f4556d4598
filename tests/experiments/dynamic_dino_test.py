# SPDX-License-Identifier: Apache-2.0
"""The binary of detectors with experts."""

import functools
import pathlib
import tempfile
import unittest.mock

import jax
import numpy as np
from absl.testing import absltest, parameterized

from experiments import dynamic_dino as binary
from jaxdl.experiment import runner

SMALL = {
  'source': 'shapes(image_size=16)',
  'network': 'grounding(width=8, num_queries=4, decoder_layers=1, num_heads=2, '
  'hidden=8, channels=4, strides=(4, 2))',
  'pretraining': 'adam(steps=2)',
  'variants': ('dense_tuned', 'moe(4, top_k=2)'),
  'num_rounds': 1,
  'steps': 1,
  'eval_every': 1,
  'batch_size': 2,
  'num_test': 7,
}
FOLDER = tempfile.TemporaryDirectory()


def tearDownModule():
  FOLDER.cleanup()


def _config(**options):
  return binary.Config(**{**SMALL, **options})


@functools.cache
def _run():
  config = _config()
  store = runner.Store(FOLDER.name, seconds=0)
  return config, runner.run(binary.build(config), config, store=store)


def _tests(rows, step):
  return {
    r['variant']: r for r in rows if r['split'] == 'test' and r['step'] == step
  }


class DynamicDinoTest(parameterized.TestCase):
  def test_all_variants_start_as_the_dense_detector(self):
    _, result = _run()
    start = _tests(result.rows, 0)
    dense, moe = (start[v] for v in SMALL['variants'])
    for name, value in dense.items():
      if not isinstance(value, str):
        np.testing.assert_allclose(moe[name], value, rtol=1e-4, err_msg=name)
    self.assertEqual(moe['same_replica_0'], 1.0)
    end = _tests(result.rows, 1)
    self.assertNotEqual(end['dense_tuned']['loss'], dense['loss'])

  def test_rows_of_pre_training_and_pictures(self):
    config, result = _run()
    splits = {r['split'] for r in result.rows}
    self.assertContainsSubset(
      {'test', 'train', 'pretraining', 'boxes', 'experts', 'curves'}, splits
    )
    shares = [r for r in result.rows if r['split'] == 'experts']
    self.assertLen(shares, 16)
    rows = {}
    for r in shares:
      rows[r['expert']] = rows.get(r['expert'], 0.0) + r['share']
    # k - 1 for every expert in use.
    self.assertContainsSubset(
      {round(total, 5) for total in rows.values()}, {0.0, 1.0}
    )
    with tempfile.TemporaryDirectory() as folder:
      drawn = binary.draw(config, result.rows, pathlib.Path(folder))
      names = {p.stem for p in drawn}
    self.assertContainsSubset({'boxes', 'experts_0', 'partners'}, names)
    columns, cells = result.experiment.table(result.rows)
    self.assertEqual([len(c) for c in cells], [len(columns)] * 2)

  def test_a_run_is_where_another_starts(self):
    _, result = _run()
    config = _config(
      pretraining=f'run("{FOLDER.name}")',
      variants=('dense_tuned',),
      num_rounds=0,
      seeds=(0, 5),
    )
    rows = binary.run(config).rows
    want = _tests(result.rows, 1)['dense_tuned']['loss']
    found = [r['loss'] for r in rows if r['split'] == 'test']
    np.testing.assert_allclose(found, [want, want], rtol=1e-5)
    other = _config(
      pretraining=f'run("{FOLDER.name}", variant="moe(4, top_k=2)")'
    )
    with self.assertRaisesRegex(ValueError, 'has no .*its variants are'):
      binary.build(other)

  @parameterized.parameters(
    ({'variants': ('moe(5, top_k=2)',)}, r'--variants=moe\(5, top_k=2\): '),
    ({'variants': ('moe(2, top_k=4)',)}, r'--variants=moe\(2, top_k=4\): '),
    ({'variants': ('moe', 'moe()')}, 'variants must differ'),
    ({'variants': ('moe(gate=hard)',)}, "'hard' is unknown|gate='hard'"),
    ({'source': 'shapes(num_novel=20)'}, 'num_novel must be at most 12'),
    ({'network': 'grounding(width=6)'}, 'width=6 must be a multiple of 4'),
    ({'pretraining': 'run("nowhere")'}, 'nowhere holds no checkpoint'),
    ({'pretraining': 'adam(steps=-1)'}, 'steps must be at least 0'),
    ({'trainable': ()}, 'trainable is empty'),
    ({'aux_coef': -1.0}, 'aux_coef must be at least 0|aux_coef must lie'),
  )
  def test_impossible_settings_are_refused_at_once(self, options, message):
    with self.assertRaisesRegex(ValueError, message):
      _config(**options)

  def test_what_is_built_names_the_flag(self):
    with self.assertRaisesRegex(ValueError, r'names no parameter'):
      jax.block_until_ready(
        binary.build(
          _config(trainable=('*mlp*',), pretraining='adam(steps=0)')
        ).init()
      )

  @parameterized.parameters(
    ({'trainable': ('*mlp*',)}, r"trainable='\*mlp\*' is unknown: it names no"),
    ({'variants': ('moe(9, top_k=3)',)}, 'must be divisible by top_k=3'),
  )
  def test_nothing_is_trained_for_what_cannot_be(self, options, message):
    never = unittest.mock.patch.object(
      binary.problem_lib, 'pretrained', side_effect=AssertionError
    )
    with never, self.assertRaisesRegex(ValueError, message):
      binary.build(_config(**options))

  def test_smoke_is_small(self):
    config = binary.Config().smoked()
    self.assertEqual(config, config.smoked())
    self.assertEqual(config.source, 'shapes(image_size=16)')


if __name__ == '__main__':
  absltest.main()
