# SPDX-License-Identifier: Apache-2.0
"""Episodes, made-up alphabets, and few-shot sets of image files."""

import pathlib
import tempfile

import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized
from PIL import Image

from jaxdl import data
from jaxdl.data import episodes

LABELS = np.random.default_rng(0).permutation(np.repeat(np.arange(5), 6))
SIZES = {'ways': 3, 'shots': 2, 'queries': 4}


class EpisodeTest(parameterized.TestCase):
  def test_different_classes_and_disjoint_examples(self):
    table = data.index_classes(LABELS, 5)
    draw = jax.jit(
      jax.vmap(
        lambda key: episodes.sample_episode(
          key, table, capacity=6, num_turns=4, **SIZES
        )
      )
    )
    found = jax.device_get(draw(jax.random.split(jax.random.key(0), 400)))
    self.assertEqual(found.support.shape, (400, 3, 2))
    both = np.concatenate([found.support, found.query], axis=2)
    for classes, ids in zip(found.classes, both, strict=True):
      self.assertLen(set(classes.tolist()), 3)
      self.assertLen(set(ids.ravel().tolist()), 18)
      np.testing.assert_array_equal(LABELS[ids], classes[:, None] + 0 * ids)
    # Every class, example and turn comes up about equally often.
    for values, size in ((found.classes, 5), (found.support, 30)):
      share = np.bincount(values.ravel(), minlength=size) / values.size
      np.testing.assert_allclose(share, 1 / size, rtol=0.35)
    share = np.bincount(found.turns.ravel()) / found.turns.size
    np.testing.assert_allclose(share, 0.25, rtol=0.2)

  def test_uneven_classes_hold_what_they_have(self):
    labels = np.array([0, 0, 1, 1, 1, 1])
    table = data.index_classes(labels, 2)
    draw = lambda key: episodes.sample_episode(
      key, table, ways=2, shots=1, queries=1, capacity=4
    )
    found = jax.vmap(draw)(jax.random.split(jax.random.key(0), 50))
    ids = np.concatenate([found.support, found.query], axis=2)
    for classes, own in zip(found.classes, ids, strict=True):
      np.testing.assert_array_equal(labels[own], classes[:, None] + 0 * own)
      self.assertLen(set(own.ravel().tolist()), 4)

  def test_images_are_turned_by_class(self):
    images = np.random.default_rng(0).normal(size=(30, 4, 4, 1))
    ids = jnp.arange(6).reshape(3, 2)
    turns = jnp.array([0, 1, 3])
    episode = episodes.Episode(jnp.arange(3), ids, ids + 6, turns)
    taken = episodes.take_episode(jnp.asarray(images), episode)
    for k, turn in enumerate(turns.tolist()):
      for i in range(2):
        for name, place in (('support', 2 * k + i), ('query', 6 + 2 * k + i)):
          np.testing.assert_allclose(
            taken[name][k, i], np.rot90(images[place], turn), rtol=1e-6
          )
    flat = episodes.take_episode(jnp.asarray(images.reshape(30, 16)), episode)
    self.assertEqual(flat['support'].shape, (3, 2, 16))

  def test_numbers_of_shots_are_drawn_for_each_episode(self):
    table = data.index_classes(LABELS, 5)
    sizes = SIZES | {'shots': 4, 'queries': 2}

    def draw(key, **more):
      return episodes.sample_episode(key, table, capacity=6, **sizes, **more)

    keys = jax.random.split(jax.random.key(0), 600)
    found = jax.vmap(lambda key: draw(key, fewest_shots=2))(keys)
    self.assertEqual(found.mask.shape, (600, 3, 4))
    number = np.asarray(found.mask.sum(axis=-1))
    # One for all classes of an episode, the first ones, all as likely.
    self.assertTrue((number == number[:, :1]).all())
    np.testing.assert_array_equal(found.mask, np.arange(4) < number[..., None])
    share = np.bincount(number[:, 0], minlength=5) / 600
    np.testing.assert_allclose(share, [0, 0, *[1 / 3] * 3], atol=0.06)
    # What is drawn besides does not depend on it.
    plain = jax.vmap(draw)(keys)
    self.assertIsNone(plain.mask)
    for name in ('classes', 'support', 'query', 'turns'):
      np.testing.assert_array_equal(getattr(plain, name), getattr(found, name))
    one = jax.tree.map(lambda x: x[0], found)
    taken = episodes.take_episode(jnp.zeros((30, 2)), one)
    np.testing.assert_array_equal(taken['support_mask'], one.mask)

  @parameterized.parameters(
    ([20] * 7 + [6], {}, 'class 7 has 6 examples, episode needs 10'),
    ([20] * 4, {}, 'ways=5 exceeds the 4 classes'),
    ([20] * 5, {'shots': 0}, 'shots must be at least 1'),
  )
  def test_too_little_for_an_episode(self, counts, change, message):
    sizes = {'ways': 5, 'shots': 5, 'queries': 5} | change
    with self.assertRaisesRegex(ValueError, message):
      episodes.check_episode(counts, **sizes)

  def test_capacity_must_hold_an_episode(self):
    table = data.index_classes(LABELS, 5)
    with self.assertRaisesRegex(ValueError, 'capacity must be at least 6'):
      episodes.sample_episode(jax.random.key(0), table, capacity=5, **SIZES)
    with self.assertRaisesRegex(ValueError, 'fewest_shots must be at most 2'):
      episodes.sample_episode(
        jax.random.key(0), table, capacity=6, fewest_shots=3, **SIZES
      )
    with self.assertRaisesRegex(ValueError, r'square images .*got \(2, 3\)'):
      episodes.check_turns(np.zeros((2, 3)), 4)
    with self.assertRaisesRegex(ValueError, 'ways must be at most 5; got 6'):
      episodes.sample_episode(
        jax.random.key(0), table, capacity=6, **(SIZES | {'ways': 6})
      )


class GlyphsTest(parameterized.TestCase):
  def test_shapes_ranges_and_order(self):
    drawn = data.load_dataset('glyphs(num_classes=5)', seed=1)
    self.assertEqual(drawn.train_inputs.shape, (75, 28, 28, 1))
    self.assertEqual(drawn.test_inputs.shape, (25, 28, 28, 1))
    self.assertEqual(drawn.train_inputs.dtype, np.float32)
    np.testing.assert_array_equal(drawn.train_labels, np.repeat(range(5), 15))
    self.assertBetween(float(drawn.train_inputs.min()), 0.0, 1e-3)
    self.assertBetween(float(drawn.train_inputs.max()), 0.9, 1.0)

  def test_a_stroke_is_where_it_should_be(self):
    # No noise but the shift: the pen's profile about a known curve.
    rng = np.random.default_rng(0)
    drawn = episodes.glyphs(
      rng, num_classes=1, jitter=0.0, rotation=0.0, train_per_class=400
    )
    again = np.random.default_rng(0)
    strokes = again.integers(2, 5, 1)[0]
    control = again.uniform(4.0, 24.0, (1, 4, 3, 2))[0, :strokes]
    t = np.linspace(0, 1, 200)[:, None]
    curve = np.concatenate(
      [(1 - t) ** 2 * a + 2 * t * (1 - t) * b + t**2 * c for a, b, c in control]
    )
    grid = np.stack(np.meshgrid(range(28), range(28)), -1).reshape(-1, 2)
    # Scale, shear and shift are centered: their mean is about the curve's.
    center = (curve.mean(axis=0) - 14) + 14
    mean = drawn.train_inputs.mean(axis=0).reshape(-1)
    found = (mean[:, None] * grid).sum(axis=0) / mean.sum()
    np.testing.assert_allclose(found, center, atol=1.0)

  def test_classes_differ_more_than_examples(self):
    drawn = data.load_dataset('glyphs(num_classes=6)')
    x = drawn.train_inputs.reshape(6, 15, -1)
    within = x.var(axis=1).sum(axis=-1).mean()
    between = x.mean(axis=1).var(axis=0).sum()
    self.assertGreater(between, 0.5 * within)

  def test_same_generator_same_glyphs(self):
    a, b, c = (
      episodes.glyphs(np.random.default_rng(s), num_classes=2)
      for s in (0, 0, 1)
    )
    np.testing.assert_array_equal(a.train_inputs, b.train_inputs)
    self.assertFalse(np.array_equal(a.train_inputs, c.train_inputs))

  @parameterized.parameters(
    ('glyphs(num_classes=0)', 'num_classes must be at least 1'),
    ('glyphs(pen=0.0)', 'pen must lie in'),
    ('glyphs(size=2)', 'size must be at least 4'),
  )
  def test_bad_input(self, spec, message):
    with self.assertRaisesRegex(ValueError, message):
      data.load_dataset(spec)


class ImageCase(parameterized.TestCase):
  def setUp(self):
    super().setUp()
    folder = tempfile.TemporaryDirectory()
    self.addCleanup(folder.cleanup)
    self.dir = pathlib.Path(folder.name)

  def write(self, name, pixels):
    path = self.dir / name
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


class OmniglotTest(ImageCase):
  def write_all(self, size=12):
    rng = np.random.default_rng(0)
    self.images = {}
    for part, alphabet, character in (
      ('images_evaluation', 'Zulu', 'character01'),
      ('images_background', 'Greek', 'character02'),
      ('images_background', 'Greek', 'character01'),
    ):
      for i in range(3):
        pixels = 255 * rng.integers(0, 2, (size, size)).astype(np.uint8)
        name = f'{part}/{alphabet}/{character}/{i:04d}.png'
        self.write(name, pixels)
        self.images[name] = pixels

  def test_reads_what_was_written(self):
    self.write_all()
    spec = 'omniglot(size=12, test_per_class=1)'
    got = data.load_dataset(spec, self.dir)
    self.assertEqual(got.train_inputs.shape, (6, 12, 12, 1))
    self.assertEqual(got.train_labels.tolist(), [0, 0, 1, 1, 2, 2])
    self.assertEqual((got.num_classes, got.name), (3, 'omniglot'))
    names = sorted(self.images)  # Background comes first, by its name.
    train = [n for n in names if '0002' not in n]
    for image, name in zip(got.train_inputs, train, strict=True):
      np.testing.assert_array_equal(image[..., 0], 1 - self.images[name] / 255)

  def test_scales_down_by_averaging(self):
    self.write_all()
    got = data.files.load_omniglot(self.dir, size=6, test_per_class=1)
    name = sorted(self.images)[0]
    small = self.images[name].reshape(6, 2, 6, 2).mean((1, 3)) / 255
    np.testing.assert_allclose(
      got.train_inputs[0, ..., 0], 1 - small, atol=1 / 250
    )

  def test_bad_files(self):
    load = data.files.load_omniglot
    with self.assertRaisesRegex(
      FileNotFoundError, 'images_background.*nothing'
    ):
      load(self.dir)
    with self.assertRaisesRegex(FileNotFoundError, 'expected a folder'):
      load(self.dir / 'nowhere')
    self.write_all()
    with self.assertRaisesRegex(
      data.FileError, 'expected more than test_per_class=3 images, got 3'
    ):
      load(self.dir, test_per_class=3)
    with self.assertRaisesRegex(data.FileError, 'take .* bytes, more than 99'):
      load(self.dir, test_per_class=1, max_bytes=99)
    (self.dir / 'images_background/Greek/character03').mkdir()
    with self.assertRaisesRegex(data.FileError, r'expected images \*.png, got'):
      load(self.dir, test_per_class=1)
    broken = self.dir / 'images_background/Greek/character03'
    for i in range(2):
      (broken / f'{i}.png').write_bytes(b'\x89PNG but not really')
    with self.assertRaisesRegex(data.FileError, 'not a readable image file'):
      load(self.dir, test_per_class=1)


class MiniImagenetTest(ImageCase):
  def write_all(self):
    rng = np.random.default_rng(0)
    self.images = {}
    for split, labels in (('train', 'bca'), ('test', 'de')):
      lines = ['filename,label']
      for i in range(3):
        for label in labels:
          name = f'{label}{i}.png'
          pixels = rng.integers(0, 256, (5, 5, 3), np.uint8)
          self.write(f'images/{name}', pixels)
          self.images[name] = pixels
          lines.append(f'{name},{label}')
      (self.dir / f'{split}.csv').write_text('\n'.join(lines) + '\n')

  def test_reads_what_was_written(self):
    self.write_all()
    got = data.load_dataset('mini_imagenet(size=5, test_per_class=1)', self.dir)
    self.assertEqual(got.train_inputs.shape, (10, 5, 5, 3))
    self.assertEqual(got.test_labels.tolist(), [0, 1, 2, 3, 4])
    # By table, then by first appearance.
    for k, label in enumerate('bcade'):
      np.testing.assert_allclose(
        got.test_inputs[k], self.images[f'{label}2.png'] / 255.0, rtol=1e-6
      )
      np.testing.assert_allclose(
        got.train_inputs[2 * k], self.images[f'{label}0.png'] / 255.0, rtol=1e-6
      )

  def test_bad_files(self):
    load = data.files.load_mini_imagenet
    with self.assertRaisesRegex(FileNotFoundError, 'train.csv'):
      load(self.dir)
    table = self.dir / 'train.csv'
    for text, message in (
      ('', "the column 'filename', got the columns of an empty table"),
      ('filename,klass\n', "the column 'label', got the columns filename, kl"),
      ('filename,label\n', 'at least one line, got none'),
      ('filename,label\na.png\n', 'line 2: expected 2 columns, got 1'),
      ('filename,label\n../a.png,x\n', 'names of files without folders'),
    ):
      table.write_text(text)
      with self.assertRaisesRegex(data.FileError, message):
        load(self.dir)
    table.write_bytes(b'\xff\xfe\x00')
    with self.assertRaisesRegex(data.FileError, 'not a readable CSV file'):
      load(self.dir)
    for name in ('a' * 300 + '.png', 'a\0b.png'):
      table.write_text(f'filename,label\n{name},x\nb.png,x\n')
      with self.assertRaisesRegex(
        data.FileError, r'expected a file, got an error of the system \('
      ) as caught:
        load(self.dir, test_per_class=1)
      self.assertLess(len(str(caught.exception)), 300)
      self.assertNotIn('\0', str(caught.exception))
    table.write_text('filename,label\na.png,x\nb.png,x\n')
    with self.assertRaisesRegex(FileNotFoundError, 'a.png: expected a file'):
      load(self.dir, test_per_class=1)


if __name__ == '__main__':
  absltest.main()
