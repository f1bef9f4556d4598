# SPDX-License-Identifier: Apache-2.0
"""Tuning with experts: the start is exact, what is frozen stays, files too."""

import functools
import json
import pathlib
import tempfile

import jax
import jax.numpy as jnp
import numpy as np
import optax
from absl.testing import absltest, parameterized
from PIL import Image

from jaxdl.core import types
from jaxdl.perception import detection, experts
from jaxdl.problems import detection as problem_lib

TINY = (
  'grounding(width=8, num_queries=4, decoder_layers=1, num_heads=2, hidden=8, '
  'channels=4, strides=(4, 2))'
)
SOURCE = 'shapes(image_size=16)'


@functools.cache
def made():
  """A problem, its dense start, and a variant of experts after two steps."""
  problem = problem_lib.scenes(
    SOURCE, network=TINY, batch_size=2, num_test=6, eval_batch_size=4
  )
  params = jax.vmap(problem.task.init)(jax.random.key(3)[None])
  problem = problem_lib.with_start(problem, params)
  own, make = problem_lib.variant(
    problem, 'moe(4, top_k=2)', optimizer=optax.adam(0.01), aux_coef=0.5
  )
  first = lambda tree: jax.tree.map(lambda x: x[0], tree)
  algorithm = make(first(problem.data))
  key = jax.random.key(0)

  @jax.jit
  def step(state, i):
    cohort = own.cohort(key, {}, i)
    return algorithm.step(state, cohort, key=key)

  begun = jax.jit(algorithm.init)(key)
  state, losses = begun, []
  for i in (1, 2):
    state, metrics = step(state, i)
    losses.append(metrics['loss'])
  return problem, own, first(params), begun.params, state.params, losses


class TuningTest(parameterized.TestCase):
  def test_precision_is_the_same_at_conversion(self):
    problem, own, dense, start, _, _ = made()
    stack = lambda tree: jax.tree.map(lambda x: x[None], tree)
    want = problem.evaluate(stack(dense))
    got = own.evaluate(stack(start))
    for name, value in want.items():
      np.testing.assert_allclose(got[name], value, rtol=1e-5, err_msg=name)
    # All experts of a query are those of one replica.
    self.assertEqual(got['same_replica_0'][0], 1.0)
    self.assertEqual(got['partners_0'][0], 1.0)
    self.assertGreaterEqual(got['balance'][0], 1.0)
    self.assertNotIn('balance', want)

  def test_frozen_parameters_stay_bit_by_bit(self):
    _, _, _, start, after, losses = made()
    self.assertTrue(np.isfinite(losses).all())
    mask = experts.trainable_mask(start, problem_lib.TRAINABLE)
    moved = jax.tree.map(
      lambda a, b: bool((np.asarray(a) != np.asarray(b)).any()), start, after
    )
    names = [
      jax.tree_util.keystr(path, simple=True, separator='/')
      for path, _ in jax.tree_util.tree_leaves_with_path(start)
    ]
    changed = {
      n for n, m in zip(names, jax.tree.leaves(moved), strict=True) if m
    }
    tuned = {n for n, m in zip(names, jax.tree.leaves(mask), strict=True) if m}
    self.assertContainsSubset(changed, tuned)
    # All that is tuned moves but what no softmax notices.
    still = {n for n in tuned - changed if not n.endswith('key/bias')}
    self.assertEqual(still, set())
    for part in ('backbone', 'text_encoder', 'self_attention'):
      self.assertTrue(any(part in n for n in names))
      self.assertFalse(any(part in n for n in changed))

  def test_the_loss_asks_for_balance(self):
    problem, own, _, start, _, losses = made()
    first = jax.tree.map(lambda x: x[0], problem.data)
    batch = own.cohort(jax.random.key(0), first, 1).data
    batch = jax.tree.map(lambda x: x[0], batch)
    plain = detection.grounding(own.network, own.test.example)

    @jax.jit
    def both(params):
      value, routed = experts.observe(plain.loss, params, batch)
      return value, [r.load_balance for r in routed.values()]

    value, balance = both(start)
    np.testing.assert_allclose(losses[0], value + 0.5 * sum(balance), rtol=1e-5)

  def test_a_pattern_without_a_parameter_is_named(self):
    task = types.Task(
      lambda key: {'a': jnp.ones(1)}, lambda *_, **__: 0.0, None
    )
    algorithm = detection.tuning(
      task, optimizer=optax.sgd(0.1), trainable='head'
    )
    with self.assertRaisesRegex(ValueError, "'head' names no parameter"):
      algorithm.init(jax.random.key(0))

  def test_a_layer_that_is_not_there_is_named(self):
    problem = made()[0]
    network = experts.with_experts(problem.network, layers='*/mlp')
    with self.assertRaisesRegex(ValueError, 'decoder/layer_0/ffn/in'):
      problem_lib.with_detector(problem, network)

  def test_scenes_are_those_of_the_round_alone(self):
    problem, data = made()[0], {}
    other = problem_lib.scenes(
      SOURCE, network=TINY, batch_size=3, num_test=6, num_clients=2
    )
    a, b = (
      jax.jit(p.cohort)(jax.random.key(5), data, 4).data['boxes']
      for p in (problem, other)
    )
    np.testing.assert_array_equal(a[0], b[0, :2])
    self.assertEqual(b.shape[:2], (2, 3))

  @parameterized.parameters(
    ({'source': 'shapes(image_size=4)'}, 'image_size must be at least 8'),
    ({'source': 'photos'}, "source='photos' is unknown"),
    ({'num_test': 0}, 'num_test must be at least 1'),
    ({'num_clients': 0}, 'num_clients must be at least 1'),
    ({'network': 'grounding(num_queries=99)'}, 'exceeds the 16 tokens'),
  )
  def test_bad_options_are_refused(self, options, message):
    with self.assertRaisesRegex(ValueError, message):
      problem_lib.scenes(
        **{'source': SOURCE, 'num_test': 2, 'network': TINY} | options
      )

  def test_a_run_that_is_not_there(self):
    with self.assertRaisesRegex(ValueError, 'nowhere holds no checkpoint'):
      problem_lib.PRETRAININGS.make('run("nowhere")')


class FilesTest(parameterized.TestCase):
  def test_images_from_files_are_learned_from(self):
    folder = pathlib.Path(self.enter_context(tempfile.TemporaryDirectory()))
    rng = np.random.default_rng(0)
    entries = []
    for i in range(3):
      pixels = rng.integers(0, 255, (12, 20, 3), dtype=np.uint8)
      Image.fromarray(pixels).save(folder / f'{i}.png')
      entries.append(
        {'id': i, 'file_name': f'{i}.png', 'width': 20, 'height': 12}
      )
    boxes = [[2, 2, 6, 6], [10, 1, 8, 10], [0, 0, 20, 12]]
    content = {
      'images': entries,
      'categories': [{'id': 1, 'name': 'cat'}, {'id': 2, 'name': 'big dog'}],
      'annotations': [
        {'image_id': i, 'category_id': 1, 'bbox': box}
        for i, box in enumerate(boxes)
      ],
    }
    paths = [folder / name for name in ('train.json', 'test.json')]
    paths[0].write_text(json.dumps(content))
    content['annotations'][2]['category_id'] = 2
    paths[1].write_text(json.dumps(content))
    source = detection.coco(
      train=paths[0],
      train_images=folder,
      test=paths[1],
      test_images=folder,
      image_size=16,
      num_phrases=2,
    )
    groups = {k: v.tolist() for k, v in source.groups.items()}
    self.assertEqual(groups['base'], [True, False])
    self.assertEqual(groups['novel'], [False, True])
    problem = problem_lib.scenes(
      source, network=TINY, batch_size=2, num_test=9, seeds=(0, 1)
    )
    keys = jnp.stack([jax.random.key(i) for i in (0, 1)])
    fed = problem.fetch(keys, 3)
    self.assertEqual(fed['inputs'].shape, (2, 1, 2, 16, 16, 3))
    again = problem.fetch(keys[1:], 3)
    np.testing.assert_array_equal(fed['inputs'][1], again['inputs'][0])
    batch = jax.tree.map(lambda x: x[0, 0], fed)
    params = problem.task.init(jax.random.key(0))
    loss = jax.eval_shape(problem.task.loss, params, batch)
    self.assertEqual(loss.shape, ())
    # Truth is in the pixels of the files.
    test = problem.test.images
    self.assertEqual(test.truth.boxes.tolist(), boxes)
    self.assertEqual(test.sizes.tolist(), [[20, 12]] * 3)
    found = detection.detect(problem.network, params, test)
    self.assertEqual(set(found.images), {0, 1, 2})
    with self.assertRaisesRegex(ValueError, 'files are of one client'):
      problem_lib.scenes(source, network=TINY, num_clients=2)

  def test_other_categories_are_refused(self):
    folder = pathlib.Path(self.enter_context(tempfile.TemporaryDirectory()))
    Image.new('RGB', (8, 8)).save(folder / 'a.png')
    image = {'id': 1, 'file_name': 'a.png', 'width': 8, 'height': 8}
    for name in ('cat', 'dog'):
      content = {
        'images': [image],
        'categories': [{'id': 1, 'name': name}],
        'annotations': [],
      }
      (folder / f'{name}.json').write_text(json.dumps(content))
    with self.assertRaisesRegex(ValueError, 'must list the same categories'):
      detection.coco(
        train=folder / 'cat.json',
        train_images=folder,
        test=folder / 'dog.json',
        test_images=folder,
      )


if __name__ == '__main__':
  absltest.main()
