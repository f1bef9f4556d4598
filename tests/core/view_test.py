# SPDX-License-Identifier: Apache-2.0
"""Views against the vectors that they stand for."""

import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized
from reference import aggregators as reference

from jaxdl.core import clients, view as view_lib

N, D, M = 6, 5, 4


def _rows(seed=0):
  return np.random.default_rng(seed).normal(1.0, 1.0, (N, D)).astype(np.float32)


def _matrix(seed=1, rows=M, columns=N):
  return np.random.default_rng(seed).normal(size=(rows, columns))


_view = jax.jit(view_lib.view)
_mix = jax.jit(lambda view, matrix: view.mix(matrix))


@jax.jit
def _read(view, weights):
  return {
    'products': view.products(),
    'sq_norms': view.sq_norms(),
    'norms': view.norms(),
    'sq_distances': view.sq_distances(),
    'rows': view.materialize(),
    'middle': view.centered_products(),
    'valid': view.valid,
    'sum': view.combine(weights),
    'unit': view.unit,
  }


def _sum_of_norms(x):
  view = view_lib.view(x)
  return jnp.sum(view.norms()) * view.unit


class ViewTest(parameterized.TestCase):
  def _check(self, view, rows, tol=2e-4):
    """Every reading of a view agrees with explicit vectors."""
    rows = np.asarray(rows, np.float64)
    close = lambda a, b: np.testing.assert_allclose(a, b, rtol=tol, atol=tol)
    self.assertEqual(view.size, len(rows))
    weights = np.linspace(-1, 1, len(rows), dtype=np.float32)
    got = _read(view, weights)
    unit = float(got['unit'])
    close(got['products'] * unit**2, rows @ rows.T)
    close(got['sq_norms'] * unit**2, (rows**2).sum(axis=1))
    close(got['norms'] * unit, np.linalg.norm(rows, axis=1))
    close(got['sq_distances'] * unit**2, reference.pairwise_sq(rows))
    close(got['rows'], rows)
    # Only differences count, around whatever point.
    middle = np.asarray(got['middle'], np.float64) * unit**2
    gap = middle[0, 0] + middle[1, 1] - 2 * middle[0, 1]
    close(gap, ((rows[0] - rows[1]) ** 2).sum())
    close(got['sum'], weights @ rows)

  def test_rows_themselves(self):
    self._check(_view(_rows()), _rows())

  def test_combinations_and_combinations_of_those(self):
    rows, first, second = _rows(), _matrix(), _matrix(2, 3, M)
    view = _mix(_view(rows), first.astype(np.float32))
    self._check(view, first @ rows)
    view = _mix(view, second.astype(np.float32))
    self._check(view, second @ first @ rows, 2e-3)
    pulled = np.asarray(view.pull(jnp.eye(3)))
    np.testing.assert_allclose(pulled, second @ first, atol=1e-4)

  def test_around_an_anchor(self):
    rows, anchor = _rows(), np.linspace(-3, 3, D).astype(np.float32)
    view = _view(rows, anchor=anchor)
    self.assertTrue(view.anchored)
    self._check(view, rows)
    point = np.zeros(N + 1, np.float32)
    point[-1] = 1.0  # The anchor in terms of the frame.
    np.testing.assert_allclose(
      jax.jit(lambda v, p: v.sq_distances_to(p) * v.unit**2)(view, point),
      ((rows - anchor) ** 2).sum(axis=1),
      rtol=1e-4,
    )

  def test_a_broken_row_spoils_only_what_uses_it(self):
    rows = _rows()
    rows[2, 0] = np.inf
    matrix = np.zeros((3, N), np.float32)
    matrix[0, :2] = 0.5
    matrix[1, 2:4] = 0.5
    matrix[2, 5] = 1.0
    weights = np.array([1.0, 0.0, 1.0], np.float32)
    got = _read(_mix(_view(rows), matrix), weights)
    np.testing.assert_array_equal(got['valid'], [True, False, True])
    self.assertEqual(float(got['norms'][1]), np.inf)
    np.testing.assert_array_equal(
      np.isinf(got['sq_distances']),
      [[False, True, False], [True, False, True], [False, True, False]],
    )
    np.testing.assert_allclose(
      got['sum'],
      rows[:2].mean(axis=0) + rows[5],
      rtol=1e-5,
    )

  def test_padding_is_not_valid(self):
    mask = np.array([True] * 4 + [False] * 2)
    view = _view(_rows(), mask=mask)
    self.assertEqual(int(view.count), 4)
    np.testing.assert_array_equal(view.valid, mask)
    mixed = view.mix(jnp.eye(N)[:3], present=jnp.ones(3, bool))
    self.assertEqual(int(mixed.count), 3)
    np.testing.assert_array_equal(view.mix(jnp.eye(N)).present, mask)

  def test_gradient_of_a_zero_norm(self):
    rows = jnp.asarray(_rows()).at[1].set(0.0)
    grad = jax.jit(jax.grad(lambda x: _sum_of_norms(x)))(rows)
    self.assertTrue(np.isfinite(grad).all())
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    want = np.where(lengths > 0, rows / np.maximum(lengths, 1e-9), 0)
    np.testing.assert_allclose(grad, want, rtol=1e-3, atol=1e-3)

  def test_mixtures_beside_a_huge_row(self):
    """What two mixtures share drops out of their distance exactly."""
    rows = _rows()
    rows[0] = 1e9
    rows[1:] = np.float32([1.0, 2.0, 3.0, 4.0, 5.0])[:, None]
    matrix = np.zeros((3, N), np.float32)
    matrix[0, 1:4] = matrix[1, 2:5] = matrix[2, 3:6] = 1 / 3
    got = _read(_mix(_view(rows), matrix), np.zeros(3, np.float32))
    want = reference.pairwise_sq(matrix.astype(np.float64) @ rows)
    np.testing.assert_allclose(
      got['sq_distances'] * float(got['unit']) ** 2, want, rtol=1e-4
    )

  def test_short_vectors_beside_a_long_center(self):
    rows = _rows() + 10
    rows[2] *= 1e-6
    got = _read(_view(rows), np.zeros(N, np.float32))
    unit = float(got['unit'])
    np.testing.assert_allclose(
      got['norms'] * unit, np.linalg.norm(np.float64(rows), axis=1), rtol=1e-5
    )

  def test_a_view_is_returned_as_it_is(self):
    view = _view(_rows())
    self.assertIs(view_lib.view(view), view)
    with self.assertRaisesRegex(ValueError, 'anchor comes with a view'):
      view_lib.view(view, anchor=np.zeros(D))


class SharesTest(parameterized.TestCase):
  # Sizes that split over the devices, that do not, and fewer than devices.
  @parameterized.parameters(16, 13, 3)
  def test_clients_for_coordinates_and_back(self, size):
    mesh = clients.clients_mesh(8)
    x = np.random.default_rng(0).normal(size=(16, size)).astype(np.float32)
    tree = {'w': x, 'b': x[:, 0]}
    vector = jax.tree.map(lambda y: y[0], tree)

    def local(tree, vector):
      shards = view_lib.coordinate_shards(tree, 'clients')
      own = view_lib.own_coordinates(vector, 'clients')
      total = jax.tree.map(lambda s, o: jnp.sum(s, axis=0) + o, shards, own)
      return view_lib.from_coordinate_shards(total, tree, 'clients')

    run = jax.shard_map(
      local,
      mesh=mesh,
      in_specs=(jax.P('clients'), jax.P()),
      out_specs=jax.P(),
      check_vma=False,
    )
    got = jax.jit(run)(tree, vector)
    jax.tree.map(
      lambda g, y: np.testing.assert_allclose(
        g, y.sum(axis=0) + y[0], rtol=1e-4, atol=1e-5
      ),
      got,
      tree,
    )

  def test_frame_and_combination_of_spread_clients(self):
    mesh = clients.clients_mesh(8)
    x = np.random.default_rng(1).normal(size=(16, 11)).astype(np.float32)
    x[3, 0] = np.nan
    weights = np.linspace(0, 1, 16, dtype=np.float32)

    def local(x):
      view = view_lib.view(x, axis_name='clients')
      distances = view.sq_distances() * view.unit**2
      return distances, view.combine(weights), view.finite

    run = jax.shard_map(
      local, mesh=mesh, in_specs=jax.P('clients'), out_specs=jax.P(),
      check_vma=False,
    )  # fmt: skip
    distances, total, finite = jax.jit(run)(x)
    np.testing.assert_allclose(distances, reference.pairwise_sq(x), atol=1e-4)
    keep = np.arange(16) != 3
    np.testing.assert_array_equal(finite, keep)
    np.testing.assert_allclose(total, weights[keep] @ x[keep], atol=1e-4)

  def test_bfloat16_is_rounded_once_over_devices(self):
    mesh = clients.clients_mesh(8)
    x = jnp.concatenate([jnp.full((2, 1), 256.0), jnp.full((14, 1), 0.5)])
    x = x.astype(jnp.bfloat16)
    run = jax.shard_map(
      lambda x: view_lib.view(x, axis_name='clients').combine(jnp.ones(16)),
      mesh=mesh, in_specs=jax.P('clients'), out_specs=jax.P(),
      check_vma=False,
    )  # fmt: skip
    got = jax.jit(run)(x)
    self.assertEqual(got.dtype, jnp.bfloat16)
    self.assertEqual(float(got[0]), float(jnp.bfloat16(519.0)))


if __name__ == '__main__':
  absltest.main()
