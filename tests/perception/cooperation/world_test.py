# SPDX-License-Identifier: Apache-2.0
"""Worlds, files of scenes, what goes wrong, and measures."""

import pathlib
import struct
import tempfile
import zlib

import jax
import jax.numpy as jnp
import numpy as np
import yaml
from absl.testing import absltest, parameterized
from PIL import Image

from jaxdl.perception import cooperation as coop
from jaxdl.perception.cooperation import worlds

KEY = jax.random.key(0)


def scenes(count=6, **options):
  options = {'grid': 12, 'frames': 3, 'agents': 3, 'radius': 4.0} | options
  world = worlds.roads(**options)
  draw = jax.jit(lambda key: worlds.draw_scenes(world, key, count))
  return world, jax.device_get(draw(KEY))


class RoadsTest(parameterized.TestCase):
  def test_what_agents_see_is_what_is_there(self):
    _, found = scenes(vehicles=(1, 5))
    seen, road, visible = np.moveaxis(found.inputs, -1, 0)
    np.testing.assert_array_equal(seen, found.dynamic * visible)
    np.testing.assert_array_equal(road, (found.static > 0) * visible)
    self.assertTrue((found.static[found.dynamic > 0] > 0).all())
    # One frame for all: everybody has the same truth.
    self.assertTrue((found.dynamic == found.dynamic[:, :, :1]).all())
    # Vehicles have two cells, and may overlap.
    cells = found.dynamic[:, :, 0].sum((2, 3))
    self.assertTrue((cells <= 2 * found.vehicles[:, None]).all())
    self.assertTrue((cells >= 2).all())
    self.assertTrue((found.vehicles >= 1).all() & (found.vehicles <= 5).all())
    self.assertGreater(len(set(found.vehicles.tolist())), 1)
    # The ego stands in the middle and sees a disc.
    i, j = np.mgrid[:12, :12]
    disc = (i - 6) ** 2 + (j - 6) ** 2 <= 16
    np.testing.assert_array_equal(visible[0, 0, 0], disc)

  def test_roads_are_three_wide_and_vehicles_keep_their_pace(self):
    _, found = scenes(vehicles=(1, 1), frames=4)
    for scene in range(6):
      static, dynamic = found.static[scene, 0, 0], found.dynamic[scene, :, 0]
      self.assertEqual((static > 0).sum(), 2 * 3 * 12 - 9)
      self.assertEqual((static == 2).sum(), 2 * 12 - 1)
      np.testing.assert_array_equal(dynamic.sum((1, 2)), 2)
      steps = set()
      for now, then in zip(dynamic[:-1], dynamic[1:], strict=True):
        moves = [
          (axis, by)
          for axis in (0, 1)
          for by in range(-2, 3)
          if (np.roll(now, by, axis) == then).all()
        ]
        self.assertNotEmpty(moves)
        steps.add(frozenset(moves))
      self.assertTrue(frozenset.intersection(*steps))

  def test_the_same_key_is_the_same_world(self):
    one, _ = worlds.bev_world(KEY, 2, grid=8, frames=2, agents=2)
    two, _ = worlds.bev_world(KEY, 2, grid=8, frames=2, agents=2)
    for x, y in zip(jax.tree.leaves(one), jax.tree.leaves(two), strict=True):
      np.testing.assert_array_equal(x, y)
    self.assertFalse((one.inputs[0] == one.inputs[1]).all())

  def test_a_large_radius_sees_all(self):
    _, found = scenes(count=2, radius=20.0)
    np.testing.assert_array_equal(found.inputs[..., 2], 1.0)
    np.testing.assert_array_equal(found.inputs[..., 0], found.dynamic)

  def test_buildings_cast_shadows(self):
    _, plain = scenes(count=8)
    _, walled = scenes(count=8, buildings=6)
    before, after = plain.inputs[..., 2], walled.inputs[..., 2]
    self.assertTrue((after <= before).all())
    self.assertLess(after.mean(), 0.95 * before.mean())
    # Everybody sees at least itself.
    self.assertTrue((after.sum((3, 4)) >= 1).all())

  @parameterized.parameters('quarter', 'continuous')
  def test_frames_of_agents_show_the_same_place(self, poses):
    world, found = scenes(poses=poses, agents=2, vehicles=(3, 6))
    agree = total = 0
    warp = jax.jit(world.warp)
    for i in range(6):
      pose = found.poses[i, 0]
      there = found.dynamic[i, 0].astype(np.float32)
      got, seen = warp(there[1][None], pose[1], pose[0])
      inside = np.asarray(seen) & (found.static[i, 0, 0] > 0)
      other = np.asarray(got)[0] > 0.5
      if poses == 'quarter':
        both = other == (there[0] > 0)
        # What lies outside of the world of 12 x 12 is nowhere.
        np.testing.assert_array_equal(both[inside], True)
      agree += (other & (there[0] > 0) & inside).sum()
      total += ((there[0] > 0) & inside).sum()
    self.assertGreater(agree / total, 0.6)

  def test_padding_sees_nothing_and_the_ego_is_there(self):
    _, found = scenes(count=12, agents=4, agents_min=1)
    self.assertTrue(found.there[:, 0].all())
    self.assertGreater(len(set(found.there.sum(1).tolist())), 1)
    absent = found.inputs[:, 0][~found.there]
    self.assertEqual(np.abs(absent).sum(), 0)

  @parameterized.parameters(
    ('roads(grid=4)', 'grid must be at least 8; got 4'),
    ('roads(agents=2, agents_min=3)', 'agents_min=3 exceeds agents=2'),
    ('roads(vehicles=(5, 2))', 'the fewest and then the most'),
    ('roads(poses=free)', "poses='free'"),
    ('roads(radius=0)', r'radius must lie in \(0.0, inf\)'),
    ('roads(crossing=left)', "crossing='left'"),
    ('opv2v', 'give --data_dir'),
    ('road', "Did you mean 'roads'"),
  )
  def test_wrong_worlds_are_refused(self, spec, message):
    with self.assertRaisesRegex(ValueError, message):
      worlds.make_world(spec)


def write_folder(root, scenarios=2, agents=2, frames=4, size=16):
  """A small folder of files; agent a drives right, a meters per frame."""
  rng = np.random.default_rng(0)
  for s in range(scenarios):
    for a in range(agents):
      folder = root / f'scene_{s}' / str(100 + a)
      folder.mkdir(parents=True)
      for t in range(frames):
        stamp = f'{2 * t:06d}'
        pose = [10.0 + a * t, -3.0, 1.0, 0.0, -90.0 * a, 0.0]
        text = yaml.safe_dump({'lidar_pose': pose, 'vehicles': {}})
        (folder / f'{stamp}.yaml').write_text(text)
        for kind in ('dynamic', 'static', 'visibility'):
          pixels = 255 * (rng.random((size, size)) < 0.3)
          image = Image.fromarray(pixels.astype(np.uint8))
          image.save(folder / f'{stamp}_bev_{kind}.png')


def chunk(name, content):
  """A part of a PNG file."""
  end = struct.pack('>I', zlib.crc32(name + content))
  return struct.pack('>I', len(content)) + name + content + end


class FilesTest(parameterized.TestCase):
  def setUp(self):
    super().setUp()
    folder = self.enter_context(tempfile.TemporaryDirectory())
    self.root = pathlib.Path(folder)

  def test_scenes_are_what_the_files_say(self):
    write_folder(self.root)
    places = worlds.find_scenarios(self.root, agents_max=3)
    self.assertEqual([p.frames[1] for p in places], ['000002', '000002'])
    found = worlds.read_scenes(
      places, grid=8, frames=2, agents_max=3, meters=16.0
    )
    self.assertEqual(found.inputs.shape, (4, 2, 3, 8, 8, 3))
    self.assertEqual(found.there.tolist(), [[True, True, False]] * 4)
    path = self.root / 'scene_0' / '101' / '000002_bev_dynamic.png'
    pixels = np.asarray(Image.open(path)) > 0
    cells = pixels.reshape(8, 2, 8, 2).any(axis=(1, 3))
    np.testing.assert_array_equal(found.dynamic[0, 1, 1], np.rot90(cells, -1))
    seen, road, visible = np.moveaxis(found.inputs, -1, 0)
    np.testing.assert_array_equal(seen, found.dynamic * visible)
    np.testing.assert_array_equal(road, (found.static > 0) * visible)
    # Meters become cells of 2 m, from where the ego was; yaw turns over.
    np.testing.assert_allclose(
      found.poses[1, 1, 1], [3 / 2, 0.0, np.pi / 2], atol=1e-5
    )

  def test_a_world_of_files_is_trained_and_tested_on(self):
    write_folder(self.root)
    world = worlds.make_world(
      'opv2v(grid=8, frames=2, agents=2, meters=16.0)', data_dir=self.root
    )
    train = worlds.draw_scenes(world, KEY, 20)
    test = worlds.draw_scenes(world, KEY, 20, test=True)
    sums = lambda s: {float(x) for x in s.inputs.sum((1, 2, 3, 4, 5))}
    self.assertLen(sums(train), 2)
    self.assertLen(sums(test), 2)
    self.assertEmpty(sums(train) & sums(test))

  def test_broken_folders_are_named(self):
    with self.assertRaisesRegex(ValueError, 'has no scenario'):
      worlds.find_scenarios(self.root, agents_max=2)
    with self.assertRaisesRegex(ValueError, 'is no folder'):
      worlds.find_scenarios(self.root / 'none', agents_max=2)
    write_folder(self.root, scenarios=1, agents=3, frames=1)
    with self.assertRaisesRegex(ValueError, '3 agents, more than agents_max=2'):
      worlds.find_scenarios(self.root, agents_max=2)
    places = worlds.find_scenarios(self.root, agents_max=3)
    read = lambda grid=8, frames=1: worlds.read_scenes(
      places, grid=grid, frames=frames, agents_max=3
    )
    with self.assertRaisesRegex(
      ValueError, 'frames=2 frames; the most, 1, has .*scene_0'
    ):
      read(frames=2)
    with self.assertRaisesRegex(ValueError, 'a multiple of grid=5'):
      read(grid=5)
    pose = self.root / 'scene_0' / '100' / '000000.yaml'
    for text, message in (
      ('lidar_pose: [1, 2, 3]', 'six numbers'),
      ('lidar_pose: [1, 2, 3, 4, .nan, 6]', 'six numbers'),
      ('lidar_pose: [1.0e+300, 2, 3, 4, 5, 6]', 'six numbers of at most 1e'),
      (f'lidar_pose: [{10**400}, 2, 3, 4, 5, 6]', 'six numbers'),
      ('!!python/object/apply:os.getcwd []', 'is no YAML'),
      ('a: !!int ""', r'000000.yaml is no YAML'),
      ('a: !!bool "x"', r'000000.yaml is no YAML'),
      ('a: !!timestamp "x"', r'000000.yaml is no YAML'),
      ('a: [', 'is no YAML'),
      ('', 'six numbers'),
    ):
      pose.write_text(text)
      with self.assertRaisesRegex(ValueError, message):
        read()
    pose.write_text('lidar_pose: [1, 2, 3, 4, 5, 6]')
    image = self.root / 'scene_0' / '102' / '000000_bev_static.png'
    image.write_bytes(b'no image')
    with self.assertRaisesRegex(ValueError, 'is no PNG'):
      read()
    # A header of 60,000 x 60,000 pixels, and a chunk that is too short.
    for size, more in ((60_000, b''), (8, chunk(b'gAMA', b'k'))):
      head = struct.pack('>IIBBBBB', size, size, 8, 0, 0, 0, 0)
      parts = [b'\x89PNG\r\n\x1a\n', chunk(b'IHDR', head), more]
      parts += [chunk(b'IDAT', zlib.compress(bytes(72))), chunk(b'IEND', b'')]
      image.write_bytes(b''.join(parts))
      with self.assertRaisesRegex(ValueError, '000000_bev_static.png is no'):
        read()
    image.unlink()
    with self.assertRaisesRegex(ValueError, 'cannot be read: No such file'):
      read()
    with self.assertRaisesRegex(ValueError, "heading='left'"):
      worlds.read_labels(image, 8, heading='left')
    with self.assertRaisesRegex(ValueError, 'grid must be at least 1; got 0'):
      worlds.read_labels(image, 0)

  @parameterized.parameters(
    ('L', 1, True),
    ('1', 1, True),
    ('RGB', (0, 0, 1), True),
    ('RGBA', (0, 0, 0, 255), False),
    ('I;16', 1, True),
    ('I;16', 256, True),
  )
  def test_any_color_but_black_is_set(self, mode, color, there):
    path = self.root / 'labels.png'
    Image.new(mode, (4, 4), color).save(path)
    found = worlds.read_labels(path, 2)
    np.testing.assert_array_equal(found, np.full((2, 2), there))

  def test_frames_are_in_the_order_of_their_numbers(self):
    for agent in ('7', '-1', 'x', '\N{SUPERSCRIPT TWO}'):
      folder = self.root / 'scene' / agent
      folder.mkdir(parents=True)
      for stamp in ('10', '9', '100', '007'):
        (folder / f'{stamp}.yaml').touch()
    (found,) = worlds.find_scenarios(self.root, agents_max=2)
    self.assertEqual(found.frames, ('007', '9', '10', '100'))
    self.assertEqual([a.name for a in found.agents], ['7', '-1'])


class RobustnessTest(parameterized.TestCase):
  def test_positions_move_and_yaws_do_not(self):
    poses = jnp.tile(jnp.array([1.0, 2.0, 0.5]), (500, 1))
    found = coop.noisy_poses(poses, meters=0.4, key=KEY)
    off = np.asarray(found - poses)
    self.assertLessEqual(np.abs(off[:, :2]).max(), 0.4 + 1e-6)
    np.testing.assert_allclose(off[:, :2].std(0), 0.4 / 3**0.5, rtol=0.1)
    np.testing.assert_array_equal(off[:, 2], 0.0)
    same = coop.noisy_poses(np.asarray(poses), meters=0.4, key=KEY)
    np.testing.assert_array_equal(same, found)
    with self.assertRaisesRegex(TypeError, 'poses must be floating point'):
      coop.noisy_poses(jnp.zeros((2, 3), int), meters=0.4, key=KEY)

  def test_late_frames_and_lost_entries(self):
    frames = {'x': jnp.arange(5)}
    self.assertEqual(coop.delayed(frames, 3)['x'].tolist(), [0, 0, 0, 0, 1])
    self.assertIs(coop.delayed(frames, 0), frames)
    lost = coop.lose(jnp.ones((100, 100)), rate=0.2, key=KEY)
    self.assertAlmostEqual(float((lost == 0).mean()), 0.2, delta=0.02)
    self.assertEqual(set(np.unique(lost)), {0.0, 1.0})
    for call, message in (
      (lambda: coop.make_conditions(('delay', 'delay(2)')), 'delay twice'),
      (lambda: coop.make_conditions(('loss(2)',)), 'rate must lie in'),
      (lambda: coop.make_conditions(('delay(-1)',)), 'frames must be at least'),
      (lambda: coop.make_conditions(('rain',)), "'rain'"),
    ):
      with self.assertRaisesRegex(ValueError, message):
        call()


class MeasuresTest(parameterized.TestCase):
  def test_intersection_over_union(self):
    line = lambda *cells: jnp.zeros((1, 6), bool).at[0, list(cells)].set(True)
    self.assertEqual(float(coop.iou(line(1, 2, 3), line(2, 3, 4))), 0.5)
    empty = jnp.zeros((2, 3), bool)
    self.assertEqual(float(coop.iou(empty, empty)), 1.0)
    self.assertEqual(float(coop.iou(empty, ~empty)), 0.0)

  def test_loss_is_that_of_numpy(self):
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(4, 3, 5, 6)).astype(np.float32)
    target = rng.integers(0, 3, (4, 5, 6))
    weights, mask = np.array([1.0, 2.0, 5.0]), rng.random((4, 5, 6)) < 0.7
    wide = logits.astype(float)
    log_p = wide - np.log(np.exp(wide).sum(1, keepdims=True))
    picked = -np.take_along_axis(log_p, target[:, None], 1)[:, 0]
    w = weights[target]
    got = coop.seg_loss(logits, target, weights)
    np.testing.assert_allclose(got, (w * picked).sum() / w.sum(), rtol=1e-5)
    got = coop.seg_loss(logits, target, weights, mask=mask)
    want = (w * picked)[mask].sum() / w[mask].sum()
    np.testing.assert_allclose(got, want, rtol=1e-5)
    # What is no class does not count, as if masked.
    for other in (-1, 3, 255):
      void = np.where(mask, target, other)
      got = coop.seg_loss(logits, void, weights)
      np.testing.assert_allclose(got, want, rtol=1e-5)
    with self.assertRaisesRegex(
      ValueError, r'target must have shape \(4, 5, 6'
    ):
      coop.seg_loss(logits, target[:, :1], weights)
    none = coop.seg_loss(logits, target, weights, mask=np.zeros_like(mask))
    self.assertEqual(float(none), 0.0)
    with self.assertRaisesRegex(ValueError, 'one entry per class, 3; got 2'):
      coop.seg_loss(logits, target, (1.0, 2.0))
    with self.assertRaisesRegex(ValueError, 'weights must lie in'):
      coop.seg_loss(logits, target, (1.0, -2.0, 0.0))

  def test_adaptivity(self):
    rng = np.random.default_rng(0)
    percent, vehicles = rng.random((7, 4)), rng.integers(2, 12, 7)
    found = coop.adaptivity(percent, vehicles)
    self.assertAlmostEqual(found['percent_std'], percent.std())
    want = np.corrcoef(percent.mean(1), vehicles)[0, 1]
    self.assertAlmostEqual(found['percent_vehicles'], want)
    static = coop.adaptivity(np.full((7, 4), 31.25), vehicles)
    self.assertEqual(static, {'percent_std': 0.0, 'percent_vehicles': 0.0})
    with self.assertRaisesRegex(ValueError, 'each of the 3 scenes'):
      coop.adaptivity(percent, vehicles[:3])


if __name__ == '__main__':
  absltest.main()
