# SPDX-License-Identifier: Apache-2.0
"""Groups, energies and lazy learning against float64 NumPy and closed forms."""

import functools
import itertools
import pathlib
import tempfile

import jax
import jax.numpy as jnp
import numpy as np
import scipy.linalg
from absl.testing import absltest, parameterized

from jaxdl.theory import grokking

QUATERNION = {  # 2 x 2 matrices of the quaternions 1, i, j, k.
  1: np.eye(2),
  'i': np.array([[1j, 0], [0, -1j]]),
  'j': np.array([[0, 1], [-1, 0]]),
  'k': np.array([[0, 1j], [1j, 0]]),
}


def table_of(matrices):
  """The table of a set of matrices."""

  def place(product):
    gaps = [np.abs(product - m).max() for m in matrices]
    return int(np.argmin(gaps))

  return np.array([[place(a @ b) for b in matrices] for a in matrices])


def quaternion_table():
  return table_of([s * m for m in QUATERNION.values() for s in (1, -1)])


def one_hot(labels, order):
  return np.eye(order)[labels]


@functools.cache
def full(group):
  """Inputs X, centered labels and raw data of a full table, in float64."""
  table = grokking.make_table(group)
  order = len(table)
  inputs, labels = grokking.group_dataset(table)
  x = np.concatenate([one_hot(inputs[:, i], order) for i in (0, 1)], axis=1)
  y = one_hot(labels, order)
  return table, inputs, labels, x, y - y.mean(axis=0)


def energy(w, group):
  """½ |Ỹ^T (X w)²|²."""
  *_, x, y = full(group)
  return 0.5 * np.square(y.T @ np.square(x @ w)).sum()


def random_features(n=12, k=7, m=5, seed=0):
  rng = np.random.default_rng(seed)
  f, y = rng.normal(size=(n, k)), one_hot(rng.integers(0, m, n), m)
  center = np.eye(n) - 1 / n
  return f, y, rng.normal(size=(k, m)), center


class GroupsTest(parameterized.TestCase):
  def test_permutations_compose_as_matrices_do(self):
    matrices = [np.eye(3)[:, list(p)] for p in itertools.permutations(range(3))]
    np.testing.assert_array_equal(
      grokking.symmetric_table(3), table_of(matrices)
    )

  def test_symmetries_of_a_polygon_compose_as_matrices_do(self):
    n = 5
    turn = lambda k: np.array([[np.cos(k), -np.sin(k)], [np.sin(k), np.cos(k)]])
    angles = 2 * np.pi * np.arange(n) / n
    matrices = [turn(a) for a in angles]
    matrices += [turn(a) @ np.diag([1, -1]) for a in angles]
    np.testing.assert_array_equal(
      grokking.dihedral_table(n), table_of(matrices)
    )

  @parameterized.parameters(
    'cyclic(7)', 'product((2, 3, 4))', 'symmetric(4)', 'dihedral(6)'
  )
  def test_tables_are_groups_with_inverses(self, group):
    table = grokking.make_table(group)
    grokking.validate_group_table(table)
    one, back = grokking.identity(table), grokking.inverses(table)
    every = np.arange(len(table))
    np.testing.assert_array_equal(table[every, back], one)
    np.testing.assert_array_equal(table[back, every], one)

  def test_products_are_pairs(self):
    got = grokking.product_table(
      grokking.cyclic_table(3), grokking.symmetric_table(3)
    )
    a, b = np.divmod(np.arange(18), 6)
    first = (a[:, None] + a) % 3
    second = grokking.symmetric_table(3)[b[:, None], b]
    np.testing.assert_array_equal(got, 6 * first + second)
    np.testing.assert_array_equal(
      grokking.make_table('product((3, 5))'),
      grokking.product_table(
        grokking.cyclic_table(3), grokking.cyclic_table(5)
      ),
    )

  def test_polynomial(self):
    got = grokking.polynomial_table(7)
    want = [[(x * x + x * y + y * y) % 7 for y in range(7)] for x in range(7)]
    np.testing.assert_array_equal(got, want)
    self.assertFalse(grokking.is_group(got))

  def test_reads_a_file(self):
    with tempfile.TemporaryDirectory() as folder:
      path = pathlib.Path(folder) / 'table.npy'
      np.save(path, quaternion_table())
      np.testing.assert_array_equal(
        grokking.make_table(f'file({str(path)!r})'), quaternion_table()
      )
      np.save(path, np.ones((4, 4), int))
      with self.assertRaisesRegex(ValueError, 'path is no Latin square'):
        grokking.make_table(f'file({str(path)!r})')

  @parameterized.parameters(
    ([[0, 1, 2], [1, 0, 2], [2, 1, 0]], 'no Latin square: column 1 has 1'),
    ([[0, 1, 1], [1, 2, 0], [2, 0, 1]], 'no Latin square: row 0 has 1 twice'),
    ([[0, 2, 1], [2, 1, 0], [1, 0, 2]], 'has no identity'),
    ([[0, 1], [1, 0]], 'must have 3 to 1024 elements; got 2'),
    ([[0, 1, 2], [1, 2, 0]], r'must be square, \[M, M\]; got shape \(2, 3\)'),
    ([[0, 1, 2], [1, 2, 3], [2, 0, 1]], 'numbers from 0 to 2; got 0 to 3'),
    (
      [
        [0, 1, 2, 3, 4],
        [1, 0, 3, 4, 2],
        [2, 3, 4, 0, 1],
        [3, 4, 1, 2, 0],
        [4, 2, 0, 1, 3],
      ],
      r'not associative: \(1 1\) 2 is 2, 1 \(1 2\) is 4',
    ),
  )
  def test_what_is_no_group_is_refused(self, table, message):
    with self.assertRaisesRegex(ValueError, message):
      grokking.validate_group_table(table)

  @parameterized.parameters(
    (grokking.cyclic_table, 2, 'order must be at least 3; got 2'),
    (grokking.polynomial_table, 2, 'modulus must be at least 3; got 2'),
    (grokking.symmetric_table, 7, 'degree must be at most 6; got 7'),
    (grokking.make_table, 'cyclic(2)', r'cyclic\(2\).*at least 3; got 2'),
    (grokking.make_table, 'klein', 'group=.klein. is unknown'),
    (grokking.make_table, 'product((2, 1))', 'orders must be at least 2'),
  )
  def test_small_and_unknown_groups_are_refused(self, make, value, message):
    with self.assertRaisesRegex(ValueError, message):
      make(value)

  def test_floats_are_no_table(self):
    with self.assertRaisesRegex(TypeError, 'must hold whole numbers'):
      grokking.validate_group_table(np.eye(3))


class IrrepsTest(parameterized.TestCase):
  def test_characters_of_permutations(self):
    found = grokking.irreps(grokking.symmetric_table(4))
    self.assertEqual(found.dimensions.tolist(), [1, 1, 2, 3, 3])
    self.assertEqual(found.kinds.tolist(), [0] * 5)
    elements = list(itertools.permutations(range(4)))
    fixed = np.array([sum(p[i] == i for i in range(4)) for p in elements])
    signs = np.array([np.linalg.det(np.eye(4)[list(p)]) for p in elements])
    np.testing.assert_allclose(found.characters[1], signs, atol=1e-9)
    # The standard representation is the permutations without the constant.
    three = found.characters[3:].real
    want = np.stack([fixed - 1, signs * (fixed - 1)])
    gaps = [np.abs(three - want[list(o)]).max() for o in ((0, 1), (1, 0))]
    self.assertLess(min(gaps), 1e-9)

  def test_quaternions_have_a_quaternionic_irrep(self):
    found = grokking.irreps(quaternion_table())
    self.assertEqual(found.dimensions.tolist(), [1, 1, 1, 1, 2])
    self.assertEqual(found.kinds.tolist(), [0, 0, 0, 0, 2])
    self.assertEqual(found.maxima[1:4].tolist(), [4.0] * 3)
    self.assertTrue(np.isnan(found.maxima[[0, 4]]).all())

  @parameterized.parameters('cyclic(7)', 'symmetric(4)', 'product((3, 4))')
  def test_projectors_split_all_functions(self, group):
    table = grokking.make_table(group)
    found = grokking.irreps(table)
    parts = found.projectors
    np.testing.assert_allclose(parts.sum(axis=0), np.eye(len(table)), atol=1e-9)
    for k, l in itertools.product(range(len(parts)), repeat=2):
      want = parts[k] if k == l else 0 * parts[k]
      np.testing.assert_allclose(parts[k] @ parts[l], want, atol=1e-9)
    ranks = found.dimensions**2 * np.where(found.kinds == 1, 2, 1)
    np.testing.assert_allclose(np.trace(parts, axis1=1, axis2=2), ranks)

  def test_cyclic_groups_have_frequencies(self):
    m = 7
    found = grokking.irreps(grokking.cyclic_table(m))
    self.assertEqual(found.kinds.tolist(), [0, 1, 1, 1])
    np.testing.assert_allclose(found.maxima[1:], m / 4)
    np.testing.assert_allclose(found.projectors[0], np.full((m, m), 1 / m))
    u = np.random.default_rng(0).normal(size=m)
    waves = np.fft.fft(u)
    want = []
    for k in (1, 2, 3):
      kept = np.zeros(m, complex)
      kept[[k, -k]] = waves[[k, -k]]
      want.append(np.fft.ifft(kept).real)
    got = found.projectors[1:] @ u
    by = lambda rows: sorted(rows.tolist())
    np.testing.assert_allclose(by(got), by(np.array(want)), atol=1e-9)


class EnergyTest(parameterized.TestCase):
  def test_gradient_is_what_back_propagation_gives(self):
    _, inputs, labels, x, y = full('cyclic(5)')
    rng = np.random.default_rng(0)
    # A part of the table, so that classes are uneven.
    part = rng.permutation(25)[:15]
    x, y = x[part], one_hot(labels[part], 5)
    y = y - y.mean(axis=0)
    w = rng.normal(size=10)
    for name, fn, slope in (
      ('square', np.square, lambda h: 2 * h),
      ('tanh', np.tanh, lambda h: 1 - np.tanh(h) ** 2),
    ):
      h = x @ w
      want = x.T @ (slope(h) * (y @ (y.T @ fn(h))))
      got = jax.grad(grokking.node_energy)(
        jnp.asarray(w, jnp.float32), inputs[part], labels[part], activation=name
      )
      np.testing.assert_allclose(got, want, rtol=2e-4, atol=1e-4)

  @parameterized.parameters(
    ('cyclic(5)', {1.25}),
    ('cyclic(7)', {1.75}),
    ('cyclic(11)', {2.75}),
    ('cyclic(6)', {1.5, 3.0}),
    ('symmetric(3)', {1.5, 3.0}),
    ('dihedral(5)', {2.5, 5.0}),
  )
  def test_every_start_ends_at_a_maximum_of_one_irrep(self, group, values):
    table, inputs, labels, *_ = full(group)
    order = len(table)
    found = grokking.irreps(table)
    self.assertEqual(set(found.maxima[1:].tolist()), values)
    w, energies = grokking.energy_ascent(
      jax.random.key(1), inputs, labels, order=order, num_starts=32,
      num_steps=1500,
    )  # fmt: skip
    w, energies = np.float64(w), np.float64(energies)
    np.testing.assert_allclose(
      energies, [energy(one, group) for one in w], rtol=1e-4
    )
    powers = grokking.irrep_powers(jnp.asarray(w.T), found.projectors)
    own = np.argmax(powers, axis=1)
    np.testing.assert_allclose(np.max(powers, axis=1), 1.0, atol=2e-3)
    np.testing.assert_allclose(energies, found.maxima[own], rtol=2e-3)
    np.testing.assert_allclose((w[:, :order] ** 2).sum(axis=1), 0.5, atol=2e-3)
    if group.startswith('cyclic'):
      spectra = grokking.energy_spectrum(jnp.asarray(w[:, :order]))
      np.testing.assert_allclose(np.max(spectra, axis=1), 1.0, atol=2e-3)

  def test_phases_of_a_wave_are_free(self):
    m, t = 7, np.arange(7)
    _, inputs, labels, *_ = full('cyclic(7)')
    for k, a, b in ((1, 0.3, 2.0), (2, -1.0, 0.7), (3, 0.0, 1.1)):
      u, v = (np.cos(2 * np.pi * k * t / m + s) for s in (a, b))
      w = np.concatenate([u, v])
      w = w / np.linalg.norm(w)
      self.assertAlmostEqual(energy(w, 'cyclic(7)'), 1.75, places=9)
      got = grokking.node_energy(jnp.asarray(w, jnp.float32), inputs, labels)
      self.assertAlmostEqual(float(got), 1.75, places=4)

  def test_one_and_two_elements(self):
    _, inputs, labels, *_ = full('cyclic(7)')
    single = jnp.zeros(14).at[3].set(1.0)
    self.assertAlmostEqual(
      float(grokking.node_energy(single, inputs, labels)), 0.0, places=5
    )
    pair = jnp.zeros(14).at[jnp.array([3, 9])].set(0.5**0.5)
    self.assertAlmostEqual(
      float(grokking.node_energy(pair, inputs, labels)), 3 / 7, places=5
    )

  def test_energies_of_irreps_add_up(self):
    table, inputs, labels, *_ = full('symmetric(3)')
    parts = jnp.asarray(grokking.irreps(table).projectors, jnp.float32)
    w = jnp.asarray(np.random.default_rng(3).normal(size=12), jnp.float32)
    part = lambda s: float(
      grokking.restricted_energy(w, parts, s, inputs, labels)
    )
    whole = energy(np.float64(w), 'symmetric(3)')
    self.assertAlmostEqual(part((1,)) + part((2,)), whole, delta=1e-4 * whole)
    self.assertEqual(part(()), 0.0)
    self.assertAlmostEqual(part((0,)), 0.0, delta=1e-4 * whole)
    with self.assertRaisesRegex(ValueError, 'irreps must be at most 2; got 3'):
      part((3,))
    with self.assertRaisesRegex(ValueError, 'irreps must differ'):
      part((1, 1))

  def test_a_full_table_leaves_a_linear_node_nothing(self):
    # X^T Ỹ Ỹ^T X vanishes on weights of mean zero.
    _, inputs, labels, x, y = full('cyclic(5)')
    rng = np.random.default_rng(0)
    u, v = rng.normal(size=(2, 5))
    w = np.concatenate([u - u.mean(), v - v.mean()])
    self.assertLess(np.abs(x.T @ y @ y.T @ x @ w).max(), 1e-12)
    got = grokking.node_energy(
      jnp.asarray(w, jnp.float32), inputs, labels, activation='identity'
    )
    self.assertLess(float(got), 1e-8)

  def test_spectrum_of_any_function(self):
    for m in (6, 7):
      u = np.random.default_rng(m).normal(size=m)
      power = np.abs(np.fft.rfft(u)) ** 2
      power[1 : (m + 1) // 2] *= 2
      got = grokking.energy_spectrum(jnp.asarray(u, jnp.float32))
      np.testing.assert_allclose(got, power / power.sum(), rtol=1e-4)
    self.assertEqual(grokking.energy_spectrum(jnp.zeros(5)).tolist(), [0.0] * 3)

  def test_purity_leaves_the_constant_out(self):
    powers = jnp.array([[0.9, 0.1, 0.0], [0.0, 0.05, 0.95]])
    pure, learned = grokking.learned_irreps(powers)
    self.assertAlmostEqual(float(pure), 0.525, places=6)
    self.assertEqual(learned.tolist(), [False, False, True])

  def test_one_product_alone(self):
    p = np.array([0.5, 0.2, 0.3])
    for name in ('square', 'relu_squared', 'identity', 'tanh', 'silu'):
      s = np.float64(grokking.memorizing_weights(p, activation=name))
      self.assertAlmostEqual(np.square(s).sum(), 2.0, places=4)
      fn = {
        'square': np.square,
        'relu_squared': lambda x: np.maximum(x, 0) ** 2,
        'identity': lambda x: x,
        'tanh': np.tanh,
        'silu': lambda x: x / (1 + np.exp(-x)),
      }[name]
      # Nobody on the sphere does better.
      others = np.random.default_rng(0).normal(size=(20000, 3))
      others *= 2**0.5 / np.linalg.norm(others, axis=1, keepdims=True)
      best = (fn(others) @ p).max()
      self.assertGreater(fn(s) @ p, best - 1e-5, name)
      self.assertLess(fn(s) @ p, best + 2e-3, name)
    with self.assertRaisesRegex(ValueError, 'rises and falls'):
      grokking.memorizing_weights(p, activation=lambda x: x**2 + x + 3 * x**4)
    with self.assertRaisesRegex(ValueError, 'shares must be positive'):
      grokking.memorizing_weights([0.5, 0.0])

  def test_wrong_sizes_are_refused(self):
    _, inputs, labels, *_ = full('cyclic(5)')
    with self.assertRaisesRegex(ValueError, r'of one node; got shape \(3,\)'):
      grokking.node_energy(jnp.zeros(3), inputs, labels)
    for name, value in (
      ('order', 2), ('num_starts', 0), ('num_steps', -1), ('step_size', 0.0)
    ):  # fmt: skip
      with self.assertRaisesRegex(ValueError, name):
        grokking.energy_ascent(
          jax.random.key(0), inputs, labels, **{'order': 5, name: value}
        )
    with self.assertRaisesRegex(ValueError, 'bottom must have 10 rows'):
      grokking.irrep_powers(jnp.zeros((8, 2)), jnp.zeros((2, 5, 5)))


class LazyTest(parameterized.TestCase):
  def setUp(self):
    super().setUp()
    self.enter_context(jax.enable_x64(True))

  @parameterized.parameters((12, 7), (7, 12))
  def test_gradient_at_the_ridge_solution(self, n, k):
    f, y, _, center = random_features(n, k)
    ft, yt, eta = center @ f, center @ y, 0.3
    a = ft.T @ ft + eta * np.eye(k)
    v = np.linalg.solve(a, ft.T @ yt)
    np.testing.assert_allclose(grokking.ridge_readout(f, y, eta), v, atol=1e-10)
    want = (
      eta
      * np.linalg.inv(ft @ ft.T + eta * np.eye(n))
      @ yt @ yt.T @ ft
      @ np.linalg.inv(a)
    )  # fmt: skip
    at_solution = grokking.backprop_gradient(f, v, y)
    np.testing.assert_allclose(at_solution, want, atol=1e-9)
    np.testing.assert_allclose(
      grokking.ridge_backprop(f, y, eta), want, atol=1e-10
    )

  def test_backprop_is_minus_the_gradient_of_the_loss(self):
    f, y, v, _ = random_features()
    labels = y.argmax(axis=1)
    slope = jax.grad(
      lambda f: grokking.sample_centered_mse(f @ v, jnp.asarray(labels))
    )(jnp.asarray(f))
    np.testing.assert_allclose(
      grokking.backprop_gradient(f, v, y), -slope, atol=1e-12
    )

  @parameterized.parameters((0.3, 12, 7), (0.0, 12, 7), (0.0, 5, 7))
  def test_trajectory_solves_the_flow(self, eta, n, k):
    f, y, v0, center = random_features(n, k)
    ft = center @ f
    # The flow V' = b - A V, as one exponential of a larger matrix.
    a, b = ft.T @ ft + eta * np.eye(k), ft.T @ y
    for t in (0.0, 0.05, 2.0):
      block = np.zeros((k + 5, k + 5))
      block[:k, :k], block[:k, k:] = -a * t, b * t
      grown = scipy.linalg.expm(block)
      want = grown[:k, :k] @ v0 + grown[:k, k:]
      got = grokking.lazy_trajectory(f, y, v0, eta, t)
      np.testing.assert_allclose(got, want, atol=1e-9)

  def test_at_the_start_the_gradient_is_linear_in_time(self):
    f, y, _, center = random_features()
    # A small top layer.
    v0 = 1e-6 * np.random.default_rng(1).normal(size=(7, 5))
    ft, yt = center @ f, center @ y
    want = yt @ yt.T @ ft
    t = 1e-5
    v = grokking.lazy_trajectory(f, y, v0, 0.1, t)
    got = (grokking.backprop_gradient(f, v, y) - yt @ v0.T) / t
    np.testing.assert_allclose(got, want, atol=2e-3)

  def test_without_decay_the_least_norm_is_taken(self):
    f, y, _, center = random_features(5, 7)
    want = np.linalg.pinv(center @ f) @ (center @ y)
    np.testing.assert_allclose(
      grokking.ridge_readout(f, y, 0.0), want, atol=1e-9
    )
    raw = grokking.ridge_readout(f, y - 0.2, 0.5, is_centered=False)
    np.testing.assert_allclose(
      raw, np.linalg.solve(f.T @ f + 0.5 * np.eye(7), f.T @ (y - 0.2))
    )

  def test_bad_numbers_are_refused(self):
    f, y, v, _ = random_features()
    for call in (
      lambda: grokking.ridge_readout(f, y, -1.0),
      lambda: grokking.ridge_backprop(f, y, 0.0),
      lambda: grokking.lazy_trajectory(f, y, v, -1.0, 1.0),
      lambda: grokking.repulsion_matrix(f, 0.0),
    ):
      with self.assertRaisesRegex(ValueError, 'eta must lie in'):
        call()
    with self.assertRaisesRegex(ValueError, '12 samples but targets 11'):
      grokking.ridge_readout(f, y[1:], 1.0)
    with self.assertRaisesRegex(ValueError, 'must be matrices'):
      grokking.backprop_gradient(f[0], v, y)


class InteractionsTest(parameterized.TestCase):
  @parameterized.parameters((12, 7), (6, 9))
  def test_entries_of_the_inverse_are_the_formula(self, n, k):
    f, *_, center = random_features(n, k)
    ft, eta = center @ f, 0.2
    b = grokking.repulsion_matrix(f, eta)
    np.testing.assert_allclose(
      b, np.linalg.inv(ft.T @ ft + eta * np.eye(k)), atol=1e-9
    )
    for j, l in ((0, 1), (2, 5), (6, 3)):
      r = np.delete(ft, (j, l), axis=1)
      p = np.eye(n) - r @ np.linalg.inv(r.T @ r + eta * np.eye(k - 2)) @ r.T
      inner = lambda a, c, p=p: ft[:, a] @ p @ ft[:, c]
      both = (eta + inner(j, j)) * (eta + inner(l, l)) - inner(j, l) ** 2
      self.assertAlmostEqual(b[j, l], -inner(j, l) / both, places=9)

  def test_similar_features_repel_each_other(self):
    rng = np.random.default_rng(0)
    base = rng.normal(size=(40, 5))
    # Every feature twice, up to noise.
    f = np.concatenate([base, base + 0.1 * rng.normal(size=(40, 5))], axis=1)
    self.assertEqual(grokking.repelled_share(f, 0.1, num_pairs=5), 1.0)
    b = grokking.repulsion_matrix(f, 0.1)
    share = np.mean(b[np.triu_indices(10, 1)] < 0)
    self.assertEqual(grokking.repelled_share(f, 0.1, num_pairs=999), share)
    self.assertLess(share, 1.0)
    self.assertTrue(np.isnan(grokking.repelled_share(f[:, :1], 0.1)))

  def test_diagnostics_are_those_of_numpy(self):
    f, *_, center = random_features(9, 6)
    found = grokking.gram_diagnostics(jnp.asarray(f, jnp.float32))
    sizes = lambda g: (
      np.abs(np.diag(g)).mean(),
      np.abs(g[~np.eye(len(g), dtype=bool)]).mean(),
    )
    gram = f @ f.T
    design = np.stack([np.eye(9).ravel(), np.ones(81)], axis=1)
    fit, *_ = np.linalg.lstsq(design, gram.ravel(), rcond=None)
    gap = np.linalg.norm(gram.ravel() - design @ fit) / np.linalg.norm(gram)
    want = (*sizes((center @ f).T @ f), *sizes(center @ gram), gap)
    np.testing.assert_allclose(found, want, rtol=1e-4)
    with self.assertRaisesRegex(ValueError, 'n, K >= 2; got shape'):
      grokking.gram_diagnostics(jnp.ones((5, 1)))

  @parameterized.parameters((), (1,), (1, 3), (1, 2, 3))
  def test_what_a_network_of_some_irreps_leaves_over(self, *learned):
    m = 7
    table, _, labels, x, y = full('cyclic(7)')
    found = grokking.irreps(table)
    rng = np.random.default_rng(0)
    nodes = [np.ones(2 * m)]
    for k in learned:
      for _ in range(14):
        w = rng.normal(size=(2, m)) @ found.projectors[k]
        nodes.append(w.reshape(-1))
    f = np.square(x @ np.array(nodes).T)
    f = f - f.mean(axis=0)
    v, *_ = np.linalg.lstsq(f, y, rcond=1e-9)
    got = grokking.residual(table, found, learned)
    np.testing.assert_allclose(got, y - f @ v, atol=1e-8)
    # By characters: (1 / M) Σ d_k χ_k(h^-1 h').
    left = [k for k in (1, 2, 3) if k not in learned]
    between = (np.arange(m) - labels[:, None]) % m
    chars = 2 * found.characters[left].real.sum(axis=0)
    np.testing.assert_allclose(got, chars[between] / m, atol=1e-9)

  def test_all_irreps_leave_nothing(self):
    table = grokking.symmetric_table(3)
    rest = grokking.residual(table, grokking.irreps(table), (1, 2))
    self.assertLess(np.abs(rest).max(), 1e-12)


class BoundsTest(parameterized.TestCase):
  def test_equal_coupons_are_harmonic(self):
    for size in (1, 4, 40):
      want = size * (1 / np.arange(1, size + 1)).sum()
      got = grokking.coupon_bound(np.ones(size))
      self.assertAlmostEqual(got, want, delta=1e-6 * want)

  def test_unequal_coupons_by_inclusion_and_exclusion(self):
    mu, a = np.array([1.0, 2.0, 5.0, 0.5]), 1.5
    p = mu**a / (mu**a).sum()
    total = 0.0
    for size in range(1, 5):
      for some in itertools.combinations(range(4), size):
        total += (-1) ** (size + 1) / p[list(some)].sum()
    want = 2**-a * total + (1 - 2**-a) * 4
    self.assertAlmostEqual(grokking.coupon_bound(mu, a), want, places=5)

  def test_bad_strengths_are_refused(self):
    with self.assertRaisesRegex(ValueError, 'strengths must be positive'):
      grokking.coupon_bound([1.0, 0.0])
    with self.assertRaisesRegex(ValueError, r'f\[L\], L >= 1'):
      grokking.coupon_bound([])
    with self.assertRaisesRegex(ValueError, 'a must lie in'):
      grokking.coupon_bound([1.0], -1.0)

  def test_critical_ratio(self):
    got = grokking.critical_ratio(127, max_dimension=3, shift=0.01)
    want = 2.7482 * np.log(127) / 127 * 1.5 + 0.01
    self.assertAlmostEqual(got, want, places=12)
    self.assertEqual(
      grokking.critical_ratio(24, 1.0, max_dimension=2),
      np.log(24) / 24,
    )
    with self.assertRaisesRegex(ValueError, 'order must be at least 3'):
      grokking.critical_ratio(2)
    with self.assertRaisesRegex(ValueError, 'constant must lie in'):
      grokking.critical_ratio(5, 0.0)


if __name__ == '__main__':
  absltest.main()
