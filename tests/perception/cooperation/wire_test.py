# SPDX-License-Identifier: Apache-2.0
"""Bits, prices, compression, links that fail."""

import zlib

import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized

from jaxdl import compression, mixing
from jaxdl.core import registry
from jaxdl.perception import cooperation as coop
from jaxdl.perception.cooperation import wire

KEY = jax.random.key(0)
FULL = {'channels': 128, 'height': 32, 'width': 32}


class BandwidthTest(parameterized.TestCase):
  def test_the_papers_rates(self):
    full = wire.bandwidth_bits(jnp.ones(128), **FULL)
    self.assertEqual(float(full), 4_194_304)
    self.assertEqual(wire.mbps(full), 41.94304)
    mebi = 10 * float(full) / 2**20  # The paper's 40 Mbps.
    self.assertEqual(mebi, 40.0)
    self.assertAlmostEqual(0.279 * mebi, 11.16)
    self.assertAlmostEqual(0.04 * mebi, 1.6)

  def test_large_maps_have_more_bits_than_32_bit_numbers(self):
    size = {'channels': 128, 'height': 1024, 'width': 1024}
    bits = wire.bandwidth_bits(jnp.ones(128), **size)
    self.assertEqual(float(bits), 2.0**32)
    bits = wire.bandwidth_bits(jnp.zeros(128), **size, header_bits=1 << 40)
    self.assertEqual(float(bits), 2.0**40)

  def test_requests_and_headers_count(self):
    mask = jnp.zeros(128).at[:32].set(1.0)
    more = {'num_senders': 4, 'request': True, 'header_bits': 100}
    bits = wire.bandwidth_bits(mask, **FULL, **more)
    self.assertEqual(float(bits), 32 * 32 * 32 * 32 + 128 / 4 + 100)
    cells = jnp.zeros((3, 1, 32, 32)).at[1, 0, :2].set(1.0)
    senders = jnp.array([False, True, True])
    bits = wire.bandwidth_bits(cells, **FULL, request=True, senders=senders)
    self.assertEqual(float(bits), 64 * 128 * 32 / 2 + 32 * 32)

  def test_nobody_sends_nothing(self):
    self.assertEqual(float(wire.sent_share(jnp.ones(3), jnp.zeros(1, bool))), 0)
    rows = jnp.ones((3, 1, 1, 1)).at[2].set(0.0)
    senders = jnp.array([False, True, True])
    self.assertEqual(float(wire.sent_share(rows, senders)), 0.5)
    slope = jax.grad(lambda m: wire.sent_share(m, senders))(jnp.ones(4))
    np.testing.assert_allclose(slope, 0.25)

  def test_a_report(self):
    bits = np.array([[4e5, 1e5, 1e5], [4e5, 0.0, 2e5]])
    found = wire.bandwidth_report(bits, hz=10.0)
    self.assertAlmostEqual(found['mean'], 2.0)
    np.testing.assert_allclose(found['per_frame'], [4.0, 0.5, 1.5])
    np.testing.assert_allclose(
      found['variance'], [np.var([4, 1, 1]), np.var([4, 0, 2])]
    )

  @parameterized.parameters(
    (20, 50.0, 0.0),
    (21, 50.0, 0.001),
    (29, 50.0, 0.001),
    (30, 50.0, 0.00141421),
    (35, 50.0, 0.0011),
    (47, 50.0, 0.0012),
    (60, 100.0, 0.002),
  )
  def test_the_schedule_of_the_price(self, epoch, percent, want):
    got = wire.lambda_schedule(epoch, percent)
    self.assertAlmostEqual(float(got), want, places=7)

  def test_prices(self):
    linear = wire.PENALTIES.make('linear(weight=0.1, target=4.0)')
    hinge = wire.PENALTIES.make('hinge(weight=0.1, target=4.0)')
    grown = wire.PENALTIES.make('schedule(steps_per_epoch=10)')
    self.assertAlmostEqual(float(linear(14.0, 0)), 1.0, places=6)
    self.assertAlmostEqual(float(linear(2.0, 0)), -0.2, places=6)
    self.assertEqual(float(hinge(2.0, 0)), 0.0)
    self.assertEqual(jax.grad(hinge)(2.0, 0), 0.0)
    self.assertEqual(jax.grad(linear)(2.0, 0), jax.grad(linear)(50.0, 0))
    self.assertEqual(float(grown(14.0, jnp.array(199))), 0.0)
    self.assertAlmostEqual(float(grown(14.0, jnp.array(200))), 0.01, places=6)

  def test_masks_of_other_maps_are_refused(self):
    sizes = {'channels': 4, 'height': 2, 'width': 2}
    for shape in ((3,), (2, 4), (1, 3, 1, 1), (2, 4, 3, 1)):
      with self.assertRaisesRegex(ValueError, 'does not fit 4 channels'):
        wire.bandwidth_bits(jnp.ones(shape), **sizes)
    cells = wire.bandwidth_bits(jnp.ones((3, 1, 2, 2)), **sizes)
    self.assertEqual(float(cells), 16 * 32)

  def test_numbers_out_of_range_are_refused(self):
    for call, message in (
      (lambda: wire.lambda_schedule(30, 5.0, base=-1.0), 'lambda0 must lie in'),
      (
        lambda: wire.PENALTIES.make('linear(target=101)'),
        r'target must lie in \[0.0, 100.0\]; got 101',
      ),
      (lambda: wire.PENALTIES.make('linear(weight=-1)'), 'weight must lie in'),
      (lambda: wire.bandwidth_report([1.0]), 'a row per scene'),
      (lambda: wire.mbps(1.0, hz=0.0), 'hz must lie in'),
      (
        lambda: wire.bandwidth_bits(jnp.ones(1), **FULL, bits=0),
        'bits must be at least 1',
      ),
    ):
      with self.assertRaisesRegex(ValueError, message):
        call()


class CompressionTest(parameterized.TestCase):
  @parameterized.parameters((1, 256), (4, 128), (16, 64), (32, 45), (65536, 2))
  def test_levels(self, factor, levels):
    self.assertEqual(wire.num_levels(factor), levels)
    x = np.random.default_rng(0).normal(size=(3, 8, 8)).astype(np.float32)
    y = np.asarray(wire.quantize(x, factor))
    self.assertLessEqual(len(np.unique(y)), levels)
    self.assertEqual((y.min(), y.max()), (x.min(), x.max()))
    most = np.ptp(x.astype(float)) / (2 * (levels - 1))
    self.assertLessEqual(np.abs(y.astype(float) - x).max(), most * (1 + 1e-5))
    np.testing.assert_array_equal(wire.quantize(y, factor), y)

  def test_equal_entries_and_none_stay(self):
    x = jnp.full((2, 3), 0.1)
    np.testing.assert_array_equal(wire.quantize(x, 4), x)
    self.assertEqual(wire.quantize(jnp.zeros((0, 3)), 4).shape, (0, 3))
    self.assertEqual(wire.compress_size(np.zeros((0, 3)), 4, 'lossless'), 0)
    self.assertEqual(wire.compress_size(np.zeros((0, 3)), 4, 'lossy'), 0)

  def test_lossless_comes_back_and_lossy_is_smaller(self):
    x = np.random.default_rng(0).normal(size=(4, 16, 16)).astype(np.float32)
    data = wire.compress(x, 3, 'lossless')
    self.assertEqual(data, zlib.compress(x.tobytes(), 3))
    np.testing.assert_array_equal(wire.decompress(data, x.shape), x)
    sizes = [wire.compress_size(x, f, 'lossy') for f in (1, 32, 1024)]
    self.assertLess(sizes[0], x.nbytes // 3)
    self.assertTrue(sizes[0] > sizes[1] > sizes[2])

  def test_bad_input_is_refused(self):
    x = np.ones(4, np.float32)
    bomb = zlib.compress(b'0' * 1_000_000)
    packed = wire.compress(x, 1, 'lossless')
    for call, message in (
      (lambda: wire.num_levels(0.5), r'factor must lie in \[1.0, inf\)'),
      (lambda: wire.quantize(x, 0.5), 'factor must lie in'),
      (lambda: wire.compress(x, 0.5, 'lossy'), 'factor must lie in'),
      (lambda: wire.compress(x, 1, 'lossly'), "mode='lossly'"),
      (lambda: wire.compress(x * np.nan, 1, 'lossy'), 'x must lie in'),
      (lambda: wire.decompress(bomb, (4,)), 'another number of bytes than'),
      (lambda: wire.decompress(b'garbage', (4,)), 'data is damaged: Error'),
      (lambda: wire.decompress(packed[:5], (4,)), 'another number of bytes'),
      (lambda: wire.decompress(packed[:-2], (4,)), 'damaged: it ends too e'),
      (lambda: wire.decompress(packed + b'x', (4,)), 'damaged: it ends too'),
      (lambda: wire.decompress(packed[:-1] + b'x', (4,)), 'is damaged: Error'),
      (lambda: wire.make_codec('lossy(factor=0.5)'), 'factor must lie in'),
      (lambda: wire.make_codec('gzip'), "'gzip'"),
    ):
      with self.assertRaisesRegex(ValueError, message):
        call()
    with self.assertRaisesRegex(TypeError, 'compressor must be a Compressor'):
      wire.compressed(3)


# Of those that need a file or a certain number of agents.
NUMBER = {'hypercube': 4, 'one_peer_hypercube': 4, 'hyper_hypercube': 4}
SPECS = {
  'matcha': 'matcha(degree=3)',
  'random_digraph': 'random_digraph(weights=uniform)',
}
TOPOLOGIES = [name for name in mixing.TOPOLOGIES if name != 'file']


class LinksTest(parameterized.TestCase):
  @parameterized.parameters(*TOPOLOGIES)
  def test_links_are_those_of_the_mixer(self, name):
    spec = SPECS.get(name, name)
    mixer = mixing.make_mixer(spec, NUMBER.get(name, 6))
    n = mixer.matrix(0, key=KEY).shape[0]
    network = jax.jit(wire.lossy_links(spec, n))
    for t in (0, 1, 3):
      w = network(t, KEY)
      key = jax.random.split(KEY)[0]
      np.testing.assert_allclose(w, mixer.matrix(t, key=key), atol=1e-6)
    lossy = wire.lossy_links(spec, n, loss=0.5)(1, KEY)
    np.testing.assert_allclose(lossy.sum(axis=1), w.sum(axis=1), atol=1e-5)

  def test_messages_are_lost_as_often_as_said(self):
    network = jax.jit(wire.lossy_links('complete', 8, loss=0.3))
    found = np.stack([network(t, KEY) for t in range(60)])
    off = ~np.eye(8, dtype=bool)
    self.assertAlmostEqual((found[:, off] == 0).mean(), 0.3, delta=0.03)
    self.assertFalse((found[0] == found[1]).all())
    np.testing.assert_allclose(found.sum(axis=2), 1.0, atol=1e-5)
    silent = wire.lossy_links('ring', 5, offline=1.0)(0, KEY)
    np.testing.assert_allclose(silent, np.eye(5), atol=1e-6)

  def test_fusing_by_the_mean_is_a_step_of_gossip(self):
    maps = jax.random.normal(KEY, (5, 2, 3, 3))
    for spec in (
      'ring(weights=lazy_metropolis)',
      'star',
      'one_peer_exponential',
    ):
      w = wire.lossy_links(spec, 5)(1, KEY)
      want = mixing.make_mixer(spec, 5).apply(maps, 1)
      rows = jnp.broadcast_to(w[:, :, None, None], (5, 5, 3, 3))
      got = jax.vmap(lambda row: coop.fuse_mean(maps, row))(rows)
      np.testing.assert_allclose(got, want, atol=1e-6)

  @parameterized.parameters(*compression.COMPRESSORS)
  def test_bits_are_those_of_the_compressor(self, name):
    codec = wire.make_codec(name)
    channel = jax.random.normal(KEY, (4, 4))
    own = compression.make_compressor(name)
    self.assertEqual(codec.bits((4, 4), 32), own.bits(channel))
    sent = codec.transform(KEY, channel)
    np.testing.assert_allclose(sent, own.compress(KEY, channel), atol=1e-6)
    slope = jax.grad(lambda x: codec.transform(KEY, x).sum())(channel)
    np.testing.assert_array_equal(slope, jnp.ones((4, 4)))

  def test_all_of_zlib_and_of_compressors_are_there(self):
    self.assertEqual(
      set(wire.CODECS),
      {'none', 'lossless', 'lossy', *compression.COMPRESSORS},
    )
    self.assertEqual(
      set(wire.CODECS.options('top_k')),
      set(compression.COMPRESSORS.options('top_k')),
    )
    self.assertIsInstance(wire.CODECS, registry.Registry)

  def test_wrong_links_are_refused(self):
    for call, message in (
      (lambda: wire.make_links('over(topology=rng)', 4), "'rng'"),
      (
        lambda: wire.make_links('over(loss=1.5)', 4),
        r'loss must lie in \[0.0, 1.0\]; got 1.5',
      ),
      (lambda: wire.make_links('over(offline=-1)', 4), 'offline must lie in'),
      (
        lambda: wire.lossy_links('ring(weights=send)', 4, offline=0.5),
        "needs rows that sum to one; got 'column'",
      ),
      (
        lambda: wire.lossy_links(mixing.make_mixer('ring', 5), 4)(0, KEY),
        'the mixer is for 5 agents',
      ),
    ):
      with self.assertRaisesRegex(ValueError, message):
        call()


if __name__ == '__main__':
  absltest.main()
