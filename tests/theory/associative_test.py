# SPDX-License-Identifier: Apache-2.0
"""Patterns, networks and dynamics against loops in float64 and enumeration."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized

from jaxdl.core import clients
from jaxdl.theory import associative as lib

K, N, D = 3, 160, 0.4
# Shapes of large samples: their programs are shared.
WIDE, MANY = 40_000, 100_000

# One program each, not one for every operation.
draw_patterns = jax.jit(lib.sample_patterns, static_argnums=(1, 2))
draw_examples = jax.jit(lib.sample_examples, static_argnums=2)
draw_sums = jax.jit(lib.sample_example_sums, static_argnums=2)
draw_mean = jax.jit(lib.sample_example_mean, static_argnums=2)
draw_state = jax.jit(lib.random_state, static_argnums=1)
hierarchy = jax.jit(lib.hierarchical_state)
aligned, losses, energy = map(jax.jit, (lib.overlaps, lib.losses, lib.energy))
fields = jax.jit(lib.local_fields, static_argnames='self_coupling')
couplings = jax.jit(lib.hebbian_couplings, static_argnames='self_coupling')


@functools.cache
def _xi(k=K, n=N, d=D, seed=0):
  return draw_patterns(jax.random.key(seed), k, n, d)


@functools.cache
def _examples(m=5, r=0.6):
  return draw_examples(jax.random.key(1), _xi(), m, r)


def _spins(n=N, seed=2):
  return draw_state(jax.random.key(seed), n)


def _networks():
  """Every kind of network on the same patterns, and its vectors and gain."""
  xi = np.asarray(_xi(), float)
  eta = np.asarray(_examples(), float)
  rho = (1 - 0.36) / (5 * 0.36)
  mean = eta.mean(1) / 0.6
  data = {'dilution': D, 'quality': 0.6}
  return {
    'storing': (lib.storing_memory(_xi(), dilution=D), xi, 1 / (1 - D)),
    'supervised': (
      lib.supervised_memory(_examples(), **data),
      *(mean, 1 / ((1 - D) * (1 + rho))),
    ),
    'averages': (
      lib.supervised_memory(
        jnp.asarray(mean, jnp.float32), num_examples=5, **data
      ),
      *(mean, 1 / ((1 - D) * (1 + rho))),
    ),
    'unsupervised': (
      lib.unsupervised_memory(_examples(), **data),
      eta.reshape(-1, N),
      1 / ((1 - D) * (1 + rho) * 0.36 * 5),
    ),
  }


def _couplings(vectors, gain):
  """J of the definition, in float64."""
  return gain / vectors.shape[1] * vectors.T @ vectors


def _follow(matrix, s, num_blocks):
  """One sweep at zero temperature in order, a matrix and loops."""
  matrix = matrix * (1 - np.eye(len(s)))
  s = s.astype(float).copy()
  width = len(s) // num_blocks
  for g in range(num_blocks):
    own = slice(g * width, (g + 1) * width)
    h = matrix[own] @ s
    s[own] = np.where(np.abs(h) < 1e-9, s[own], np.sign(h))
  return s


class DataTest(parameterized.TestCase):
  def test_patterns_have_their_law(self):
    xi = np.asarray(_xi(2, WIDE, 0.3))
    for value, want in ((0, 0.3), (1, 0.35), (-1, 0.35)):
      np.testing.assert_allclose((xi == value).mean(), want, atol=0.01)
    self.assertLess(abs(np.corrcoef(xi)[0, 1]), 0.02)
    self.assertEqual(xi.dtype, np.int8)

  def test_more_dilution_blanks_more_and_changes_nothing_else(self):
    few, many = (np.asarray(_xi(2, WIDE, d)) for d in (0.2, 0.7))
    self.assertTrue(((many == few) | (many == 0)).all())

  def test_examples_keep_blanks_and_their_quality(self):
    xi = _xi(2, WIDE)
    eta = draw_examples(jax.random.key(1), xi, 5, 0.6)
    xi, eta = np.asarray(xi), np.asarray(eta)
    self.assertEqual(eta.shape, (2, 5, WIDE))
    self.assertTrue((np.abs(eta) == np.abs(xi)[:, None]).all())
    kept = (eta == xi[:, None])[np.abs(eta) == 1].mean()
    np.testing.assert_allclose(kept, 0.8, atol=4e-3)

  def test_perfect_examples_are_the_patterns(self):
    # Oracle 5.
    eta = draw_examples(jax.random.key(1), _xi(), 1, 1.0)
    np.testing.assert_array_equal(eta[:, 0], _xi())
    xi = _xi(1, MANY)
    mean = draw_mean(jax.random.key(1), xi, 7, 1.0)
    np.testing.assert_array_equal(mean, xi)

  @parameterized.parameters((4, 0.5), (130, 0.1))
  def test_sums_have_the_binomial_law(self, m, r):
    import scipy.stats

    n = MANY
    sums = draw_sums(jax.random.key(3), jnp.ones((1, n), jnp.int8), m, r)
    self.assertEqual(sums.dtype, jnp.int8 if m < 128 else jnp.int16)
    values, counts = np.unique(
      (np.asarray(sums[0], int) + m) // 2, False, False, True
    )
    self.assertTrue(((np.asarray(sums) + m) % 2 == 0).all())
    law = scipy.stats.binom(m, (1 + r) / 2).pmf(np.arange(m + 1)) * n
    seen = np.zeros(m + 1)
    seen[values] = counts
    big = law >= 5
    pearson = ((seen - law)[big] ** 2 / law[big]).sum()
    self.assertGreater(scipy.stats.chi2(big.sum() - 1).sf(pearson), 1e-3)
    self.assertLess(seen[~big].sum(), 5 * law[~big].sum() + 5)

  def test_dataset_entropy_is_the_variance_of_averages(self):
    # Oracle 9.
    self.assertAlmostEqual(lib.dataset_entropy(0.4, 10), 0.525)
    self.assertAlmostEqual(lib.dataset_entropy(0.5, 4), 0.75)
    xi = jnp.ones((1, MANY), jnp.int8)
    mean = draw_mean(jax.random.key(0), xi, 10, 0.4)
    np.testing.assert_allclose(mean.mean(), 1.0, atol=0.02)
    np.testing.assert_allclose(mean.var(), 0.525, atol=0.02)

  def test_losses_multiply_to_the_overlap(self):
    # Oracle 8, exact for any state.
    xi, s = np.asarray(_xi(), int), np.asarray(_spins(), int)
    plus, minus = map(np.asarray, losses(_xi(), _spins()))
    want = [((xi - t * s) ** 2).sum(1) / (2 * N) for t in (1, -1)]
    np.testing.assert_allclose([plus, minus], want, rtol=1e-6)
    blank = (xi == 0).mean(1)
    m = (xi * s).mean(1)
    np.testing.assert_allclose(
      plus.astype(float) * minus, ((2 - blank) / 2) ** 2 - m**2, rtol=1e-6
    )
    h = energy(lib.storing_memory(_xi(), dilution=D), _spins())
    lost = (((2 - blank) / 2) ** 2 - plus.astype(float) * minus).sum()
    np.testing.assert_allclose(h, -N / (2 * (1 - D)) * lost, rtol=1e-4)

  def test_the_hierarchical_state_has_its_overlaps(self):
    # Oracle 1.
    xi = _xi(3, 200_000, 0.5, 4)
    s = hierarchy(jax.random.key(0), xi)
    np.testing.assert_allclose(aligned(xi, s), [0.5, 0.25, 0.125], atol=6e-3)

  def test_overlaps_do_not_overflow(self):
    xi = jnp.ones((1, 70_000), jnp.int8)
    self.assertEqual(aligned(xi, xi[0])[0], 1.0)


class NetworkTest(parameterized.TestCase):
  @parameterized.parameters('storing', 'supervised', 'averages', 'unsupervised')
  def test_energy_and_fields_are_those_of_all_pairs(self, name):
    # Oracle 7: the diagonal is a constant.
    network, vectors, gain = _networks()[name]
    matrix, s = _couplings(vectors, gain), np.asarray(_spins(), float)
    bare = matrix * (1 - np.eye(N))
    want = -0.5 * s @ bare @ s
    got = energy(network, _spins()) + 0.5 * np.trace(matrix)
    np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-3)
    coupled = couplings(network)
    np.testing.assert_allclose(coupled.matrix, bare, atol=1e-6)
    np.testing.assert_allclose(
      energy(coupled, _spins()), want, rtol=1e-4, atol=1e-3
    )
    for own in (False, True):
      np.testing.assert_allclose(
        fields(network, _spins(), self_coupling=own),
        (matrix if own else bare) @ s,
        atol=1e-5,
      )
    np.testing.assert_allclose(fields(coupled, _spins()), bare @ s, atol=1e-5)
    whole = couplings(network, self_coupling=True)
    np.testing.assert_allclose(whole.matrix, matrix, atol=1e-6)

  def test_turning_a_neuron_costs_twice_its_field(self):
    network = _networks()['supervised'][0]
    coupled = couplings(network)
    s = _spins()
    turned = s.at[7].set(-s[7])
    cost = energy(coupled, turned) - energy(coupled, s)
    h = fields(network, s)[7]
    np.testing.assert_allclose(cost, 2 * s[7] * h, atol=2e-4)

  def test_sums_and_examples_are_one_network(self):
    sums = jnp.sum(_examples(), axis=1, dtype=jnp.int8)
    data = {'dilution': D, 'quality': 0.6}
    one = lib.supervised_memory(_examples(), **data)
    two = lib.supervised_memory(sums, num_examples=5, **data)
    jax.tree.map(np.testing.assert_array_equal, one, two)

  def test_perfect_examples_make_the_network_that_stores(self):
    # Oracle 5.
    want = fields(lib.storing_memory(_xi(), dilution=D), _spins())
    eta = draw_examples(jax.random.key(1), _xi(), 4, 1.0)
    for make in (lib.supervised_memory, lib.unsupervised_memory):
      network = make(eta, dilution=D, quality=1.0)
      got = fields(network, _spins())
      np.testing.assert_allclose(got, want, atol=1e-6)

  def test_diluted_bonds(self):
    whole = lib.Couplings(jnp.ones((60, 60)))
    cut = np.asarray(
      lib.dilute_couplings(jax.random.key(0), whole, 0.25).matrix
    )
    np.testing.assert_array_equal(cut, cut.T)
    self.assertEqual(set(np.unique(cut)), {0.0, 4.0})
    np.testing.assert_allclose((cut > 0).mean(), 0.25, atol=0.03)


class DynamicsTest(parameterized.TestCase):
  @parameterized.parameters(
    *(('storing', 160), ('supervised', 20), ('averages', 160)),
    ('unsupervised', 20),
  )
  def test_zero_temperature_is_that_of_loops(self, name, num_blocks):
    network, vectors, gain = _networks()[name]
    want = np.asarray(_spins(), float)
    matrix, sweeps = _couplings(vectors, gain), 0
    while True:
      before, want = want, _follow(matrix, want, num_blocks)
      sweeps += 1
      if (before == want).all():
        break
    got = lib.zero_temperature(_spins(), network, num_blocks=num_blocks)
    np.testing.assert_array_equal(got.state, want)
    self.assertEqual(int(got.num_sweeps), sweeps)
    self.assertTrue(got.converged)

  @parameterized.parameters((100, 2000, 'int32'), (3, 2000, 'float32'))
  def test_large_sums_are_exact(self, m, n, kind):
    # Each neuron with its field to the unit: P M² N is 2e7, above 2^24.
    from jaxdl.theory.associative import _memory

    xi = _xi(1, n, 0.3)
    sums = draw_sums(jax.random.key(2), xi, m, 0.3)
    network = lib.supervised_memory(
      sums, dilution=0.3, quality=0.3, num_examples=m
    )
    self.assertEqual(_memory.field_dtype(network), kind)
    s = np.asarray(_spins(n), np.int64)
    v = np.asarray(sums, np.int64)[0]
    want = v * (v @ s) - v**2 * s
    got = _memory.raw_fields(
      network.vectors, jnp.array([v @ s]), jnp.asarray(s, kind)
    )
    np.testing.assert_array_equal(np.asarray(got, np.int64), want * s)
    settled = lib.zero_temperature(
      jnp.asarray(s), network, num_blocks=n // 100, max_sweeps=1
    )
    # Row by row, integers alone.
    for g in range(n // 100):
      own = slice(100 * g, 100 * g + 100)
      h = v[own] * (v @ s) - v[own] ** 2 * s[own]
      s[own] = np.where(h == 0, s[own], np.sign(h))
    np.testing.assert_array_equal(settled.state, s)

  def test_ties_keep_what_they_have(self):
    # Two patterns that disagree, alike; the last neuron is blank in both.
    xi = jnp.array([[1, 1, 1, 1, 0], [-1, 1, -1, 1, 0]], jnp.int8)
    s = jnp.array([1, 1, -1, 1, -1], jnp.int8)
    network = lib.storing_memory(xi, dilution=0.0)
    np.testing.assert_array_equal(aligned(xi, s) * 5, [2, 2])
    got = lib.zero_temperature(s, network, num_blocks=5)
    cold = lib.glauber_sweep(jax.random.key(0), s, network, 0.0, num_blocks=5)
    want = _follow(_couplings(np.asarray(xi, float), 1.0), np.asarray(s), 5)
    np.testing.assert_array_equal(got.state, want)
    np.testing.assert_array_equal(cold[-1], -1)

  def test_all_at_once_may_go_round(self):
    network = lib.Couplings(jnp.array([[0.0, -1.0], [-1.0, 0.0]]))
    one = lib.zero_temperature(
      jnp.array([1, 1]), network, num_blocks=1, max_sweeps=9
    )
    self.assertFalse(one.converged)
    self.assertEqual(int(one.num_sweeps), 9)
    two = lib.zero_temperature(jnp.array([1, 1]), network, num_blocks=2)
    self.assertTrue(two.converged)
    self.assertEqual(two.state.tolist(), [-1, 1])

  @parameterized.parameters('memory', 'couplings')
  def test_one_by_one_samples_the_boltzmann_law(self, kind):
    n, t = 6, 0.9
    xi = np.array([[1, 1, -1, 0, 1, 0], [0, 1, 1, -1, 0, 0]])
    matrix = _couplings(xi.astype(float), 1 / 0.6) * (1 - np.eye(n))
    network = lib.storing_memory(jnp.asarray(xi, jnp.int8), dilution=0.4)
    if kind == 'couplings':
      network = couplings(network)
    states = np.array(list(itertools.product((-1, 1), repeat=n)))
    law = np.exp(0.5 * np.einsum('si,ij,sj->s', states, matrix, states) / t)
    law /= law.sum()

    @jax.jit
    @jax.vmap
    def chain(key):
      start, run = jax.random.split(key)
      code = lambda s: jnp.sum((s > 0) * 2 ** jnp.arange(n)[::-1])
      return lib.glauber(
        *(run, draw_state(start, n), network, t),
        num_sweeps=60,
        num_blocks=n,
        measure=code,
      )[1]

    codes = chain(jax.random.split(jax.random.key(0), 1000))[:, 20::4]
    seen = np.bincount(np.asarray(codes).ravel(), minlength=2**n)
    seen = seen / seen.sum()
    # 10000 nearly independent states: expected distance about .03.
    self.assertLess(0.5 * np.abs(seen - law).sum(), 0.05)
    wrong = np.exp(np.log(law) * 0.8)
    self.assertGreater(0.5 * np.abs(seen - wrong / wrong.sum()).sum(), 0.06)

  def test_gauge(self):
    # Oracle 6: neurons flipped with all their entries, to the bit.
    flips = np.where(np.random.default_rng(0).random(N) < 0.5, -1, 1)
    flips = jnp.asarray(flips, jnp.int8)
    run = jax.jit(
      lambda xi, s: lib.glauber(
        *(jax.random.key(5), s, lib.storing_memory(xi, dilution=D), 0.3),
        num_sweeps=4,
        num_blocks=20,
        measure=lambda s: aligned(xi, s),
      )
    )
    s, m = run(_xi(), _spins())
    other, same = run(_xi() * flips[None], _spins() * flips)
    np.testing.assert_array_equal(other, s * flips)
    np.testing.assert_array_equal(same, m)
    found = [
      energy(lib.storing_memory(xi, dilution=D), x)
      for xi, x in ((_xi(), s), (_xi() * flips[None], other))
    ]
    self.assertEqual(*found)
    negative, m_negative = run(_xi(), -_spins())
    np.testing.assert_array_equal(negative, -s)
    np.testing.assert_array_equal(m_negative, -m)

  def test_any_number_of_devices_to_the_bit(self):
    mesh = clients.clients_mesh(8)
    network = _networks()['supervised'][0]

    def run(mesh):
      return jax.jit(
        lambda s: lib.glauber(
          *(jax.random.key(5), s, network, 0.3),
          num_sweeps=3,
          num_blocks=10,
          mesh=mesh,
          measure=lambda s: aligned(_xi(), s),
        )
      )

    for got, want in zip(run(mesh)(_spins()), run(None)(_spins()), strict=True):
      np.testing.assert_array_equal(got, want)
    cold = lambda mesh: jax.jit(
      lambda s: lib.zero_temperature(
        s, network, num_blocks=10, mesh=mesh, key=jax.random.key(0)
      )
    )(_spins())
    jax.tree.map(np.testing.assert_array_equal, cold(mesh), cold(None))

  def test_devices_share_the_sums_of_a_block_alone(self):
    mesh = clients.clients_mesh(8)
    network = _networks()['storing'][0]
    program = jax.jit(
      lambda s: lib.zero_temperature(s, network, num_blocks=10, mesh=mesh)
    )
    text = str(jax.make_jaxpr(program)(_spins()))
    self.assertEqual(text.count('psum'), 1)
    self.assertNotIn('all_gather', text)

  def test_many_temperatures_at_once(self):
    network = _networks()['storing'][0]
    run = lambda t: lib.glauber_sweep(
      jax.random.key(3), _spins(), network, t, num_blocks=10
    )
    hot = jnp.array([0.0, 0.2, 1.5])
    got = jax.jit(jax.vmap(run))(hot)
    one = jax.jit(run)
    for t, state in zip(hot, got, strict=True):
      np.testing.assert_array_equal(state, one(t))

  def test_couplings_run_like_the_vectors(self):
    network = _networks()['storing'][0]
    coupled = couplings(network)
    run = jax.jit(
      lambda network, t: lib.glauber(
        *(jax.random.key(3), _spins(), network, t), num_sweeps=2, num_blocks=20
      )[0]
    )
    for t in (0.0, 0.4):
      np.testing.assert_array_equal(run(network, t), run(coupled, t))

  def test_nothing_is_retrieved_above_the_critical_temperature(self):
    # Oracle 11.
    n = 10_000
    xi = _xi(2, WIDE, 0.3)[:, :n]
    s = hierarchy(jax.random.key(0), xi)
    _, m = lib.glauber(
      *(jax.random.key(1), s, lib.storing_memory(xi, dilution=0.3), 2.0),
      num_sweeps=20,
      measure=lambda s: aligned(xi, s),
    )
    # Variance of m at T > 1: (1 - d) T / (T - 1) / N.
    size = np.sqrt(0.7 * 2 / n)
    self.assertLess(np.abs(m[10:]).max(), 5 * size)

  def test_one_step_from_examples(self):
    # Oracle 12, with normal averages and with binomial ones.
    import scipy.special

    n, r, m = MANY, 0.2, 41
    rho = float(lib.dataset_entropy(r, m))
    want = scipy.special.erf(1 / np.sqrt(2 * rho))
    xi = jnp.ones((1, n), jnp.int8)
    z = np.random.default_rng(0).normal(size=(1, n))
    normal = jnp.asarray(1 + np.sqrt(rho) * z, jnp.float32)
    sums = draw_sums(jax.random.key(1), xi, m, r)
    for examples in (normal, sums):
      network = lib.supervised_memory(
        examples, dilution=0.0, quality=r, num_examples=m
      )
      got = lib.zero_temperature(xi[0], network, num_blocks=1, max_sweeps=1)
      # Three standard errors, and half a step of the binomial law.
      np.testing.assert_allclose(got.state.mean(), want, atol=6e-3)


class BadInputTest(parameterized.TestCase):
  @parameterized.parameters(
    (
      lambda: _drawn(d=1.0),
      r'dilution must lie in \[0, 1\); got 1: .*all blank',
    ),
    (lambda: _drawn(d=-0.1), r'dilution must lie in \[0.0, 1.0\); got -0.1\.'),
    (
      lambda: lib.sample_patterns(jax.random.key(0), 2, 5, jnp.ones(())),
      r'dilution must lie in \[0, 1\); got 1: .*all blank',
    ),
    (
      lambda: lib.supervised_memory(
        jnp.full((1, 4), jnp.nan), dilution=D, quality=0.5, num_examples=3
      ),
      'examples must lie in .* got nan',
    ),
    (
      lambda: lib.retrieval(
        'storing', [lib.Setting(2, 0.5, 0.1)], jax.random.key(0), num_neurons=8
      ),
      r'keys must be \[S\], one for each sample, .* got shape \(\)',
    ),
    (lambda: _drawn(k=0), 'num_patterns must be at least 1; got 0'),
    (
      lambda: lib.sample_examples(jax.random.key(0), _xi(), 5, 0.0),
      r'quality must lie in \(0.0, 1.0\]; got 0.0',
    ),
    (
      lambda: lib.sample_example_mean(jax.random.key(0), _xi(), 5, 1.1),
      r'quality must lie in \(0.0, 1.0\]; got 1.1',
    ),
    (
      lambda: lib.sample_examples(jax.random.key(0), _xi(), 0, 0.5),
      'num_examples must be at least 1; got 0',
    ),
    (
      lambda: lib.storing_memory(2 * _xi(), dilution=D),
      'patterns must have entries -1, 0 or 1; got -?2',
    ),
    (
      lambda: lib.storing_memory(_xi()[0], dilution=D),
      r'patterns must have shape \[K, N\].*got \(160,\)',
    ),
    (
      lambda: lib.overlaps(_xi(), jnp.zeros(N, jnp.int8)),
      'state must have entries -1 or 1; got 0',
    ),
    (
      lambda: lib.overlaps(_xi(), _spins(5)),
      r'state must have an entry per neuron, shape \(160,\); got \(5,\)',
    ),
    (
      lambda: lib.supervised_memory(
        _examples(), dilution=D, quality=0.5, num_examples=6
      ),
      'num_examples=6 but examples of shape .* are M = 5',
    ),
    (
      lambda: lib.supervised_memory(_xi(), dilution=D, quality=0.5),
      'num_examples is needed: .* are sums of M examples',
    ),
    (
      lambda: lib.supervised_memory(
        9 * _xi(), dilution=D, quality=0.5, num_examples=6
      ),
      'sums of num_examples=6 entries .*; got one of 9',
    ),
    (
      lambda: lib.supervised_memory(_xi()[0], dilution=D, quality=0.5),
      r'examples must have shape \[K, M, N\], or \[K, N\]',
    ),
    (
      lambda: lib.unsupervised_memory(_xi(), dilution=D, quality=0.5),
      'are sums or averages: without a teacher .* the examples themselves',
    ),
    (
      lambda: lib.unsupervised_memory(3 * _examples(), dilution=D, quality=0.5),
      'examples must have entries -1, 0 or 1',
    ),
    (
      lambda: _sweep(temperature=-0.1),
      r'temperature must lie in \[0.0, inf\); got -0.1',
    ),
    (
      lambda: _sweep(num_blocks=7),
      'num_blocks=7 must divide the N = 160 neurons: .* num_blocks=8',
    ),
    (
      lambda: _sweep(num_blocks=40, mesh=clients.clients_mesh(8)),
      'blocks of 4 neurons, which do not split over 8 devices.* 320 divides',
    ),
    (
      lambda: lib.hebbian_couplings(
        lib.storing_memory(jnp.ones((1, 30_000), jnp.int8), dilution=0.0)
      ),
      'N = 30000 neurons have .* couplings: take at most 20000',
    ),
    (
      lambda: lib.dilute_couplings(
        jax.random.key(0), lib.Couplings(jnp.eye(2)), 0.0
      ),
      'keep must lie in',
    ),
    (
      lambda: lib.noisy_state(jax.random.key(0), _spins(), 1.5),
      'flip must lie in',
    ),
    (
      lambda: lib.pure_state(jax.random.key(0), _xi(), 3),
      'index must be at most 2; got 3',
    ),
    (
      lambda: _sweep(
        network=lib.Couplings(jnp.eye(N)), mesh=clients.clients_mesh(2)
      ),
      'mesh is for a Memory',
    ),
  )
  def test_says_what_is_wrong(self, call, message):
    with self.assertRaisesRegex(ValueError, message):
      call()

  @parameterized.parameters(
    (lambda: lib.storing_memory([[1, 0]], dilution=D), 'patterns'),
    (lambda: lib.hierarchical_state(jax.random.key(0), [[1, 0]]), 'patterns'),
    (lambda: lib.overlaps([[1, 0]], jnp.ones(2)), 'patterns'),
    (lambda: lib.losses(_xi(), [1] * N), 'state'),
    (lambda: lib.noisy_state(jax.random.key(0), [1], 0.1), 'state'),
    (
      lambda: lib.supervised_memory([[[1]]], dilution=D, quality=0.5),
      'examples',
    ),
    (
      lambda: lib.unsupervised_memory([[[1]]], dilution=D, quality=0.5),
      'examples',
    ),
  )
  def test_lists_are_no_arrays(self, call, name):
    with self.assertRaisesRegex(TypeError, f'{name} must be an array; got a l'):
      call()

  @parameterized.parameters(
    (lambda: lib.energy(_xi(), _spins()), 'a Memory or Couplings'),
    (lambda: lib.local_fields(None, _spins()), 'a Memory or Couplings; got No'),
    (lambda: _sweep(network=(1,)), 'a Memory or Couplings; got a tuple'),
    (lambda: lib.zero_temperature(_spins(), _xi()), 'a Memory or Couplings'),
    (lambda: lib.hebbian_couplings(_xi()), 'a Memory; got an array'),
    (
      lambda: lib.dilute_couplings(
        jax.random.key(0), _networks()['storing'][0], 0.5
      ),
      'a Couplings; got a Memory: make one by hebbian_couplings',
    ),
  )
  def test_patterns_are_no_network(self, call, message):
    with self.assertRaisesRegex(TypeError, f'network must be {message}'):
      call()

  def test_whole_numbers_and_functions(self):
    with self.assertRaisesRegex(TypeError, 'index must be an integer; got 0.5'):
      lib.pure_state(jax.random.key(0), _xi(), 0.5)
    with self.assertRaisesRegex(TypeError, 'measure must be a function'):
      lib.glauber(
        *(jax.random.key(0), _spins(), _networks()['storing'][0], 0.1),
        num_sweeps=1,
        measure=3,
      )
    with self.assertRaisesRegex(TypeError, 'sweeps must be a sequence of text'):
      lib.make_settings(lib.Setting(2, 0.5, 0.1), 'dilution((0.1, 0.2))')

  def test_legacy_keys_are_refused(self):
    with self.assertRaisesRegex(TypeError, 'typed key'):
      lib.random_state(jnp.zeros(2, jnp.uint32), 3)


def _drawn(k=2, d=0.5):
  return lib.sample_patterns(jax.random.key(0), k, 5, d)


def _sweep(network=None, temperature=0.1, **options):
  network = network or lib.storing_memory(_xi(), dilution=D)
  return lib.glauber_sweep(
    jax.random.key(0), _spins(), network, temperature, **options
  )


if __name__ == '__main__':
  absltest.main()
