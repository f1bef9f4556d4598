# SPDX-License-Identifier: Apache-2.0
"""Clipping, noise, private means, adaptive norms: values, forms, errors."""

import math

import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized

from jaxdl import privacy
from jaxdl.core import clients, keys

KEY = jax.random.key(0)
SPECS = {
  'central': 'central(clip=1.5, noise_multiplier=0.7)',
  'adaptive': 'adaptive(noise_multiplier=0.7, initial_clip=1.5)',
  'local': 'local(clip=1.5, noise_multiplier=0.7)',
}


def tree(seed=0, scale=1.0, dtype='float32'):
  rng = np.random.default_rng(seed)
  return {
    'w': jnp.asarray(scale * rng.normal(size=(3, 4)), dtype),
    'b': jnp.asarray(scale * rng.normal(size=5), dtype),
    'c': jnp.asarray(scale * rng.normal(), dtype),
  }


def flat(x):
  return np.concatenate(
    [np.asarray(a, np.float64).ravel() for a in jax.tree.leaves(x)]
  )


class ClipTest(parameterized.TestCase):
  def test_worked_values(self):
    cut, inside = privacy.clip_update(jnp.array([3.0, 4.0]), clip=1.0)
    np.testing.assert_allclose(cut, [0.6, 0.8], rtol=1e-6)
    self.assertEqual(inside, 0)
    for x in ([0.3, -0.4], [0.0, 1.0], [0.0, 0.0]):
      cut, inside = privacy.clip_update(jnp.array(x), clip=1.0)
      np.testing.assert_array_equal(cut, np.float32(x))
      self.assertEqual(inside, 1)

  def test_norm_is_that_of_the_whole_tree(self):
    x = tree()
    cut, _ = privacy.clip_update(x, clip=0.5)
    want = flat(x) * 0.5 / np.linalg.norm(flat(x))
    np.testing.assert_allclose(flat(cut), want, rtol=1e-6)

  @parameterized.parameters('float32', 'bfloat16', 'float16')
  def test_rounding_does_not_leave_the_ball(self, dtype):
    clip = jax.jit(privacy.clip_update, static_argnames='clip')
    low = np.inf
    for seed in range(20):
      cut, inside = clip(tree(seed, 3.0, dtype), clip=0.3)
      norm = np.linalg.norm(flat(cut))
      self.assertEqual(inside, 0)
      self.assertLessEqual(norm, 0.3 * (1 + 1e-6))
      self.assertEqual(cut['w'].dtype, dtype)
      low = min(low, norm)
    self.assertGreater(low, 0.3 * (1 - 2 * float(jnp.finfo(dtype).eps)))

  @parameterized.parameters(1e-30, 1e30, 3e38)
  def test_any_finite_size(self, scale):
    x = jnp.array([0.6, -0.8, 1.0, 1.0]) * scale
    cut, inside = privacy.clip_update(x, clip=2.0)
    y = np.asarray(x, np.float64)
    want = y * min(1, 2 / np.linalg.norm(y))
    np.testing.assert_allclose(cut, want, rtol=1e-6)
    self.assertEqual(inside, scale < 1)

  @parameterized.parameters(math.nan, math.inf, -math.inf)
  def test_not_finite_counts_as_zero(self, bad):
    x = tree() | {'b': jnp.array([1.0, bad])}
    cut, inside = privacy.clip_update(x, clip=1.0)
    np.testing.assert_array_equal(flat(cut), 0)
    self.assertEqual(inside, 1)

  def test_gradient_at_zero_is_a_number(self):
    loss = lambda x: privacy.clip_update(x, clip=1.0)[0].sum()
    np.testing.assert_array_equal(jax.grad(loss)(jnp.zeros(3)), np.ones(3))

  def test_double_precision(self):
    with jax.enable_x64(True):
      x = jnp.asarray(np.array([3.0, 4.0]))
      cut, _ = privacy.clip_update(x, clip=1.0)
      np.testing.assert_allclose(cut, [0.6, 0.8], rtol=1e-15)


class NoiseTest(parameterized.TestCase):
  def test_deviation(self):
    size = 40_000
    noise = privacy.add_noise(jnp.zeros(size), stddev=2.5, key=KEY)
    got = np.asarray(noise, np.float64)
    self.assertLess(abs(got.mean()), 4 * 2.5 / size**0.5)
    self.assertLess(abs(got.std() - 2.5), 4 * 2.5 / (2 * size) ** 0.5)

  def test_leaves_and_rounds_have_noise_of_their_own(self):
    zeros = {'a': jnp.zeros(400), 'b': jnp.zeros(400)}
    rows = [
      x
      for seed in (0, 1)
      for x in jax.tree.leaves(
        privacy.add_noise(zeros, stddev=1.0, key=jax.random.key(seed))
      )
    ]
    shared = np.corrcoef(np.stack(rows)) - np.eye(4)
    self.assertLess(np.abs(shared).max(), 5 / 400**0.5)

  def test_narrow_leaves_are_rounded_after(self):
    x = jnp.full(1000, 256.0, jnp.bfloat16)
    got = privacy.add_noise(x, stddev=0.9, key=KEY)
    noise = privacy.add_noise(jnp.zeros(1000), stddev=0.9, key=KEY)
    np.testing.assert_array_equal(got, (256.0 + noise).astype(jnp.bfloat16))
    self.assertEqual(got.dtype, jnp.bfloat16)

  def test_of_nothing(self):
    self.assertEqual(privacy.add_noise({}, stddev=1.0, key=KEY), {})


class CentralTest(parameterized.TestCase):
  def test_the_denominator_is_fixed(self):
    dp = privacy.make_mechanism(
      'central(clip=1.0, noise_multiplier=0.0)', num_expected=8
    )
    state = dp.init()
    rows = [tree(seed, 3.0) for seed in range(3)]
    sent = [dp.client(x, state)[0] for x in rows]
    total = jax.tree.map(lambda *xs: sum(xs), *sent)
    update, after = dp.release(total, jnp.zeros(()), state)
    want = sum(flat(x) / np.linalg.norm(flat(x)) for x in rows) / 8
    np.testing.assert_allclose(flat(update), want, rtol=2e-6)
    self.assertEqual(after, state)

  def test_noise_is_that_of_the_sum(self):
    dp = privacy.make_mechanism(
      'central(clip=0.5, noise_multiplier=1.2)', num_expected=10
    )
    size = 40_000
    update, _ = dp.release(jnp.zeros(size), jnp.zeros(()), dp.init(), key=KEY)
    want = 1.2 * 0.5 / 10
    std = np.asarray(update, np.float64).std()
    self.assertLess(abs(std - want), 4 * want / (2 * size) ** 0.5)

  def test_facts(self):
    dp = privacy.make_mechanism(SPECS['central'], num_expected=12.5)
    self.assertEqual(
      (dp.name, dp.num_expected, dp.noise_multiplier, dp.clip, dp.is_central),
      ('central', 12.5, 0.7, 1.5, True),
    )
    self.assertIs(privacy.make_mechanism(dp, num_expected=3), dp)


class AdaptiveTest(parameterized.TestCase):
  def test_split_budget(self):
    z, sigma = 1.3, 0.9
    zd = privacy.update_noise_multiplier(z, count_noise=sigma)
    self.assertAlmostEqual(zd, (z**-2 - (2 * sigma) ** -2) ** -0.5, places=12)
    # Squared sensitivities over variances add up.
    self.assertAlmostEqual(1 / zd**2 + 1 / (2 * sigma) ** 2, 1 / z**2)
    self.assertEqual(privacy.update_noise_multiplier(0.0, count_noise=0.0), 0.0)
    tiny = privacy.update_noise_multiplier(1e-200, count_noise=1.0)
    self.assertAlmostEqual(tiny / 1e-200, 1.0)

  def test_noise_on_updates_and_counts(self):
    m, z = 40, 0.8
    dp = privacy.make_mechanism(
      f'adaptive(noise_multiplier={z}, initial_clip=2.0, learning_rate=0.3)',
      num_expected=m,
    )
    size, rounds = 4000, 500
    release = lambda k: dp.release(
      jnp.zeros(size), jnp.float32(30), dp.init(), key=k
    )
    update, _ = release(KEY)
    zd = (z**-2 - (2 * m / 20) ** -2) ** -0.5
    want = zd * 2.0 / m
    std = np.asarray(update, np.float64).std()
    self.assertLess(abs(std - want), 4 * want / (2 * size) ** 0.5)
    clips = jax.jit(jax.vmap(lambda k: release(k)[1].clip))(
      jax.random.split(KEY, rounds)
    )
    share = 0.5 - np.log(np.asarray(clips, np.float64) / 2) / 0.3
    sigma = m / 20 / m
    self.assertLess(abs(share.mean() - 0.75), 4 * sigma / rounds**0.5)
    self.assertLess(abs(share.std() - sigma), 4 * sigma / (2 * rounds) ** 0.5)

  def test_follows_a_quantile(self):
    n = 20
    norms = np.geomspace(0.01, 10, n)
    directions = np.random.default_rng(1).normal(size=(n, 6))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    rows = jnp.asarray(norms[:, None] * directions, jnp.float32)
    dp = privacy.make_mechanism(
      'adaptive(noise_multiplier=0.0, quantile=0.7, count_noise=0.0)',
      num_expected=n,
    )

    @jax.jit
    def run(state):
      def step(state, _):
        sent, aux = jax.vmap(lambda x: dp.client(x, state))(rows)
        _, state = dp.release(sent.sum(0), aux.sum(), state)
        return state, state.clip

      return jax.lax.scan(step, state, None, length=300)[1]

    got = np.asarray(run(dp.init()), np.float64)
    clip, want = 0.1, []
    for _ in range(300):
      clip *= math.exp(-0.2 * ((norms <= clip).mean() - 0.7))
      want.append(clip)
    np.testing.assert_allclose(got[:5], want[:5], rtol=1e-5)
    self.assertBetween(got[-1], norms[12], norms[14])
    np.testing.assert_allclose(got[-1], want[-1], rtol=0.05)


class LocalTest(absltest.TestCase):
  def test_clients_add_noise(self):
    dp = privacy.make_mechanism(
      'local(clip=0.5, noise_multiplier=2.0)', num_expected=4
    )
    self.assertIsNone(dp.release)
    self.assertFalse(dp.is_central)
    size, n = 5000, 4
    send = jax.vmap(lambda x, k: dp.client(x, dp.init(), key=k))
    rows = jnp.full((n, size), 1.0)
    sent, aux = send(rows, keys.client_keys(KEY, jnp.arange(n)))
    noise = np.asarray(sent, np.float64) - 0.5 / size**0.5
    self.assertLess(abs(noise.std() - 1.0), 4 / (2 * n * size) ** 0.5)
    shared = np.corrcoef(noise) - np.eye(n)
    self.assertLess(np.abs(shared).max(), 5 / size**0.5)
    np.testing.assert_array_equal(aux, np.zeros(n))


class ContractTest(parameterized.TestCase):
  def test_every_one_is_here(self):
    self.assertEqual(set(SPECS), set(privacy.MECHANISMS))

  @parameterized.product(name=tuple(SPECS), dtype=['float32', 'bfloat16'])
  def test_form_and_batches(self, name, dtype):
    dp = privacy.make_mechanism(SPECS[name], num_expected=100)
    state = dp.init()
    rows = jax.tree.map(
      lambda *xs: jnp.stack(xs), *(tree(s, 2.0, dtype) for s in range(3))
    )
    own = keys.client_keys(KEY, jnp.arange(3))
    send = lambda x, k: dp.client(x, state, key=k)
    program = jax.jit(jax.vmap(send))
    sent, aux = program(rows, own)
    program(rows, own)
    self.assertEqual(program._cache_size(), 1)
    self.assertEqual((aux.shape, aux.dtype), ((3,), jnp.float32))
    one, _ = send(jax.tree.map(lambda x: x[1], rows), own[1])
    again, _ = clients.Clients(3, chunk=1).map(send)(rows, own)
    tol = 1e-2 if dtype == 'bfloat16' else 2e-6
    for leaf in rows:
      self.assertEqual(sent[leaf].dtype, dtype)
      self.assertEqual(sent[leaf].shape, rows[leaf].shape)
      for other in (one[leaf], again[leaf][1]):
        np.testing.assert_allclose(
          sent[leaf][1].astype('float32'), other, rtol=tol, atol=tol
        )
    if dp.release is None:
      return
    total = jax.tree.map(lambda x: x.sum(0), sent)
    update, after = jax.jit(dp.release)(total, aux.sum(), state, key=KEY)
    self.assertEqual(jax.tree.map(jnp.shape, after), ((),))
    self.assertEqual(after.clip.dtype, state.clip.dtype)
    for leaf in rows:
      self.assertEqual(update[leaf].dtype, dtype)
      self.assertTrue(bool(jnp.isfinite(update[leaf]).all()))

  @parameterized.parameters(*SPECS)
  def test_needs_a_key(self, name):
    dp = privacy.make_mechanism(SPECS[name], num_expected=100)
    with self.assertRaisesRegex(TypeError, 'key is required'):
      if dp.is_central:
        dp.release(jnp.zeros(3), jnp.zeros(()), dp.init(), key=None)
      else:
        dp.client(jnp.zeros(3), dp.init())


class ErrorsTest(parameterized.TestCase):
  @parameterized.parameters(
    ('gauss', 10, "mechanism='gauss' is unknown: choose one of 'central'"),
    ('central(clip=0.0)', 10, r'clip must lie in \(0.0, inf\); got 0.0'),
    ('central(clip=-1.0)', 10, 'clip must lie .* got -1.0'),
    ('central(clip=inf)', 10, 'clip must lie .* got inf'),
    ('local(clip=nan)', 10, 'clip must lie .* got nan'),
    ('central(noise_multiplier=-0.1)', 10, r'noise_multiplier must lie in \[0'),
    ('local(noise_multiplier=-0.1)', 10, 'noise_multiplier .* got -0.1'),
    ('adaptive(noise_multiplier=-1)', 10, 'noise_multiplier .* got -1'),
    ('adaptive(initial_clip=0.0)', 40, 'initial_clip must lie .* got 0.0'),
    ('adaptive(quantile=1.5)', 40, r'quantile must lie in \[0.0, 1.0\]'),
    ('adaptive(learning_rate=-1.0)', 40, 'learning_rate must lie'),
    ('adaptive(count_noise=-1.0)', 40, 'count_noise must lie'),
    (
      'adaptive(noise_multiplier=1.0)',
      10,
      'noise_multiplier=1.0 is impossible with count_noise=0.5: counting alone '
      'costs more, need count_noise > noise_multiplier / 2',
    ),
    ('central(weighting=examples)', 10, "has no option 'weighting'"),
    ('central', 0, r'num_expected must lie in \(0.0, inf\); got 0'),
    ('local', -3.0, 'num_expected must lie .* got -3'),
  )
  def test_says_what_to_change(self, spec, m, message):
    with self.assertRaisesRegex(ValueError, message):
      privacy.make_mechanism(spec, num_expected=m)

  def test_denominators_are_no_counts(self):
    def round_of(mask):
      return privacy.make_mechanism('central', num_expected=mask.sum()).init()

    with self.assertRaisesRegex(TypeError, 'num_expected is static .* fixed'):
      jax.jit(round_of)(jnp.ones(3))

  def test_shares_are_equal(self):
    with self.assertRaisesRegex(
      ValueError, "weighting='examples' is not private: .*='uniform'"
    ):
      privacy.check_weighting('examples')

  def test_functions_look_too(self):
    with self.assertRaisesRegex(ValueError, 'clip must lie'):
      privacy.clip_update(jnp.ones(2), clip=0.0)
    with self.assertRaisesRegex(ValueError, 'no leaves'):
      privacy.clip_update({}, clip=1.0)
    with self.assertRaisesRegex(TypeError, r"update\['n'\] must be floating"):
      privacy.clip_update({'n': jnp.arange(2)}, clip=1.0)
    with self.assertRaisesRegex(ValueError, 'stddev must lie'):
      privacy.add_noise(jnp.ones(2), stddev=-1.0, key=KEY)


if __name__ == '__main__':
  absltest.main()
