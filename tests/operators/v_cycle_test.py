# SPDX-License-Identifier: Apache-2.0
"""V-cycles against classical multigrid, whose numbers are known."""

import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized

from jaxdl import operators
from jaxdl.networks import functional
from jaxdl.operators import _v_cycle

# Compiled, and cached from one test run to the next.
cycle = jax.jit(
  operators.v_cycle,
  static_argnames=(
    'padding',
    'transfer',
    'coarsening',
    'periodic_prolongation',
    'method',
  ),
)


def stencil(values):
  return {'kernel': jnp.asarray(values)[..., None, None]}


def delta(scale):
  return stencil(scale * np.outer([0, 1, 0], [0, 1, 0]))


def laplacian(n):
  """-Laplace + 1 on the periodic unit square with n points per axis."""
  cross = np.array([[0, -1, 0], [-1, 4, -1], [0, -1, 0]], np.float64) * n**2
  cross[1, 1] += 1
  return stencil(cross)


def transfers():
  return {
    'R': stencil(np.outer([1, 2, 1], [1, 2, 1]) / 16),
    # Bilinear, centered on fine cell 2 i.
    'P': stencil(np.outer([0.5, 1, 0.5, 0], [0.5, 1, 0.5, 0])),
    'Pi': stencil(np.zeros((3, 3))),
  }


def drawn(grid, key=0, **options):
  defaults = {
    'in_channels': 2,
    'channels': 3,
    'iterations': ((1, 0), (1, 1), (2, 0)),
  }
  leaves = _v_cycle.v_cycle_leaves(grid, **(defaults | options))
  return functional.draw(jax.random.key(key), leaves, 'float32')


def dense(apply, n):
  """The matrix of a linear map on one-channel n x n grids."""
  eye = jnp.eye(n * n).reshape(n * n, n, n, 1)
  return np.asarray(apply(eye)).reshape(n * n, n * n).T


class ClassicalTest(parameterized.TestCase):
  @parameterized.parameters((8, 3, 513, 25.6), (16, 4, 2049, 26.1))
  def test_additive_multilevel_condition_number_is_bounded(
    self, n, num_levels, plain, preconditioned
  ):
    with jax.enable_x64(True):
      params = []
      for l in range(num_levels):
        size = n >> l
        step = {'S': delta(1 / (4 * size**2 + 1)), 'A': laplacian(size)}
        params.append({'pre': [step], 'post': [], **transfers()})
      apply = lambda f: cycle(params, f, padding='circular')
      b = dense(apply, n)
      a = dense(lambda f: _same(f, laplacian(n)), n)
    np.testing.assert_allclose(b, b.T, atol=1e-15)
    root = np.linalg.cholesky(b)
    eigenvalues = np.linalg.eigvalsh(root.T @ a @ root)
    self.assertAlmostEqual(np.linalg.cond(a), plain, delta=1e-6)
    condition = eigenvalues[-1] / eigenvalues[0]
    self.assertAlmostEqual(condition, preconditioned, delta=0.06)

  def test_additive_multilevel_is_the_sum_over_levels(self):
    with jax.enable_x64(True):
      rng = np.random.default_rng(0)
      n, num_levels = 8, 3
      params, down = [], [np.eye(n * n)]
      want = np.zeros((n * n, n * n))
      for _ in range(num_levels):
        s, r = rng.normal(size=(2, 3, 3))
        p = rng.normal(size=(4, 4))
        level = {
          'pre': [{'S': stencil(s), 'A': stencil(rng.normal(size=(3, 3)))}],
          'post': [],
          'R': stencil(r),
          'P': stencil(p),
          'Pi': stencil(np.zeros((3, 3))),
        }
        params.append(level)
      up = [np.eye(n * n)]
      for l in range(num_levels):
        size = n >> l
        s = dense(lambda f, l=l: _same(f, params[l]['pre'][0]['S']), size)
        want += up[-1] @ s @ down[-1]
        if l < num_levels - 1:
          eye = jnp.eye(size**2).reshape(-1, size, size, 1)
          r = _coarsen(eye, params[l]['R']).reshape(size**2, -1).T
          eye = jnp.eye(size**2 // 4).reshape(-1, size // 2, size // 2, 1)
          p = functional.upsample(eye, params[l]['P']['kernel'], periodic=True)
          up.append(up[-1] @ np.asarray(p).reshape(size**2 // 4, -1).T)
          down.append(np.asarray(r) @ down[-1])
      apply = lambda f: cycle(params, f, padding='circular')
      np.testing.assert_allclose(dense(apply, n), want, atol=1e-12)

  @parameterized.parameters((16, 1, 0.35), (32, 1, 0.35), (32, 2, 0.1775))
  def test_error_factor_does_not_depend_on_the_grid(self, n, sweeps, factor):
    with jax.enable_x64(True):
      params = []
      size = n
      while size >= 4:
        step = {'S': delta(0.8 / (4 * size**2 + 1)), 'A': laplacian(size)}
        last = size == 4
        level = {
          'pre': [step] * (200 if last else sweeps),
          'post': [] if last else [step] * sweeps,
        }
        if not last:
          level |= transfers() | {'A': laplacian(size)}
        params.append(level)
        size //= 2
      rng = np.random.default_rng(0)
      e = jnp.asarray(rng.normal(size=(1, n, n, 1)))
      sizes = []
      # Not compiled: the coarsest level alone is 200 unrolled steps.
      for _ in range(9):
        residual = _same(e, laplacian(n))
        e = e - operators.v_cycle(
          params, residual, padding='circular', transfer='residual'
        )
        sizes.append(float(jnp.linalg.norm(e)))
    self.assertAlmostEqual(sizes[-1] / sizes[-2], factor, delta=0.01)


@jax.jit
def _same(f, s):
  return functional.convolve(f, s['kernel'], width=1, padding='circular')


def _coarsen(f, s):
  return np.asarray(
    functional.convolve(f, s['kernel'], stride=2, width=1, padding='circular')
  )


class AlgebraTest(parameterized.TestCase):
  @parameterized.parameters(
    ((8, 12), 'zeros', 'plain'),
    ((9, 7), 'reflect', 'residual'),
    ((8,), 'circular', 'residual'),
    ((8, 8, 4), 'replicate', 'plain'),
  )
  def test_is_linear(self, grid, padding, transfer):
    params = drawn(grid, transfer=transfer)
    f, g = jax.random.normal(jax.random.key(1), (2, 2, *grid, 2))
    # One program for all: rows of a batch do not interact.
    batch = jnp.concatenate([f, g, 2.0 * f - 3.0 * g, 0.0 * f])
    out = cycle(params, batch, padding=padding, transfer=transfer)
    self.assertEqual(out.shape, (8, *grid, 3))
    a, b, c, zero = out.reshape(4, 2, *grid, 3)
    np.testing.assert_allclose(c, 2.0 * a - 3.0 * b, atol=2e-5)
    np.testing.assert_array_equal(zero, 0.0)

  def test_methods_agree(self):
    params = drawn((8, 9), transfer='residual')
    f = jax.random.normal(jax.random.key(1), (2, 8, 9, 2))
    for padding in ('circular', 'reflect'):
      options = {'padding': padding, 'transfer': 'residual'}
      np.testing.assert_allclose(
        cycle(params, f, method='patches', **options),
        cycle(params, f, **options),
        atol=1e-5,
      )

  def test_periodic_cycle_commutes_with_coarse_shifts_only(self):
    params = drawn((16,))
    f = jax.random.normal(jax.random.key(1), (1, 16, 2))
    apply = lambda f: cycle(params, f, padding='circular')
    out = apply(f)
    np.testing.assert_allclose(
      apply(jnp.roll(f, 4, 1)), jnp.roll(out, 4, 1), atol=1e-5
    )
    gap = apply(jnp.roll(f, 1, 1)) - jnp.roll(out, 1, 1)
    self.assertGreater(float(jnp.abs(gap).max()), 1e-2)
    # The authors' prolongation does not wrap: then not even those.
    apply = lambda f: cycle(
      params, f, padding='circular', periodic_prolongation=False
    )
    gap = apply(jnp.roll(f, 4, 1)) - jnp.roll(apply(f), 4, 1)
    self.assertGreater(float(jnp.abs(gap).max()), 1e-3)

  def test_one_level_is_what_the_formula_says(self):
    f = jax.random.normal(jax.random.key(0), (2, 6, 6, 1))
    s1, s2, a2 = (
      stencil(x)
      for x in np.random.default_rng(0).normal(size=(3, 3, 3)).astype('float32')
    )
    one = [{'pre': [{'S': delta(1.0)}], 'post': []}]
    np.testing.assert_allclose(cycle(one, f), f, atol=1e-6)
    two = [{'pre': [{'S': s1}, {'S': s2, 'A': a2}], 'post': []}]
    conv = lambda x, s: functional.convolve(x, s['kernel'], width=1)
    u = conv(f, s1)
    want = u + conv(f - conv(u, a2), s2)
    np.testing.assert_allclose(cycle(two, f), want, atol=1e-5)

  def test_plain_equals_residual_transfer_where_nothing_is_known_yet(self):
    params = drawn(
      (8, 8), transfer='residual', iterations=((1, 1), (1, 1), (2, 0))
    )
    zero = lambda s: jax.tree.map(jnp.zeros_like, s)
    for l, level in enumerate(params[:-1]):
      params[l]['Pi'] = zero(level['Pi'])
      for step in level['pre']:
        step['S'] = zero(step['S'])
    f = jax.random.normal(jax.random.key(1), (1, 8, 8, 2))
    plain = cycle(params, f)
    np.testing.assert_allclose(
      plain, cycle(params, f, transfer='residual'), atol=1e-6
    )
    self.assertGreater(float(jnp.abs(plain).max()), 1e-3)

  def test_vmap_over_parameters_equals_a_loop(self):
    keys = range(3)
    each = [drawn((8, 6), key=k) for k in keys]
    stacked = jax.tree.map(lambda *x: jnp.stack(x), *each)
    f = jax.random.normal(jax.random.key(1), (3, 2, 8, 6, 2))
    for method in ('conv', 'patches'):
      apply = lambda p, f, m=method: cycle(p, f, method=m)
      got = jax.jit(jax.vmap(apply))(stacked, f)
      want = jnp.stack([apply(p, x) for p, x in zip(each, f, strict=True)])
      np.testing.assert_allclose(got, want, atol=1e-5)

  def test_keeps_the_dtype(self):
    params = drawn((4,), iterations=((1, 0), (1, 0)))
    params = jax.tree.map(lambda x: x.astype('bfloat16'), params)
    out = cycle(params, jnp.ones((1, 4, 2), 'bfloat16'))
    self.assertEqual(out.dtype, jnp.bfloat16)


class IterationsTest(parameterized.TestCase):
  def test_reads_digits_pairs_and_integers(self):
    want = ((1, 0), (1, 1), (2, 0))
    for given in (
      '10 11 20',
      '10,11,20',
      ['10', '11', '20'],
      [(1, 0), [1, 1], 2],
    ):
      self.assertEqual(operators.parse_iterations(given), want)

  @parameterized.parameters(
    ('', 'is empty'),
    ('101', 'two digits per level'),
    ('01,20', 'no pre-smoothing'),
    ([(1, 0, 0)], 'pairs'),
    ([(1, -1)], 'at least 0'),
  )
  def test_refuses(self, given, message):
    with self.assertRaisesRegex(ValueError, message):
      operators.parse_iterations(given)


if __name__ == '__main__':
  absltest.main()
