# SPDX-License-Identifier: Apache-2.0
"""Running one client's function for all: same numbers in every mode."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized

from jaxdl.core import clients, types

N, D = 16, 3
MODES = {
  'default': {},
  'loop': {'chunk': 1},
  'chunk_that_does_not_divide': {'chunk': 5},
  'one_vmap': {'chunk': N},
  'eight_devices': {'mesh': 8},
  'two_devices_by_chunks': {'mesh': 2, 'chunk': 3},
}


def _options(mode):
  options = dict(MODES[mode])
  if 'mesh' in options:
    options['mesh'] = clients.clients_mesh(options['mesh'])
  return options


def _data(n=N, seed=0):
  draw = np.random.default_rng(seed)
  return {
    'x': draw.normal(size=(n, 4, D)).astype(np.float32),
    'y': draw.normal(size=(n, 4)).astype(np.float32),
  }


def _params():
  return {'w': jnp.linspace(-1.0, 1.0, D), 'b': jnp.float32(0.3)}


def _loss(params, data):
  error = jnp.tanh(data['x'] @ params['w'] + params['b']) - data['y']
  return jnp.mean(error**2)


def _local(params, data):
  """Trains inside: one gradient step of this client alone."""
  grads = jax.grad(_loss)(params, data)
  return jax.tree.map(lambda p, g: p - 0.1 * g, params, grads)


def _close(got, want, tol=1e-6):
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, rtol=tol, atol=tol), got, want
  )


def _named(modes=MODES):
  return [(m, m) for m in modes]


class MapTest(parameterized.TestCase):
  @parameterized.named_parameters(_named())
  def test_gradient_inside_is_the_clients_own(self, mode):
    run = clients.map_clients(_local, in_axes=(None, 0), **_options(mode))
    got = jax.jit(run)(_params(), _data())
    want = jax.vmap(_local, in_axes=(None, 0))(_params(), _data())
    _close(got, want)

  @parameterized.named_parameters(_named())
  def test_gradient_outside_sums_over_clients(self, mode):
    run = clients.map_clients(_loss, in_axes=(None, 0), **_options(mode))
    weights = jnp.linspace(0.0, 1.0, N)
    total = lambda p, losses_of: jnp.dot(weights, losses_of(p, _data()))
    got = jax.jit(jax.grad(lambda p: total(p, run)))(_params())
    want = jax.grad(lambda p: total(p, jax.vmap(_loss, in_axes=(None, 0))))(
      _params()
    )
    _close(got, want)

  @parameterized.named_parameters(_named())
  def test_typed_keys_and_integers_pass(self, mode):
    keys = jax.random.split(jax.random.key(0), N)
    fn = lambda key, i: (jax.random.normal(key, (2,)) * i, i + 1)
    run = clients.map_clients(fn, **_options(mode))
    got = jax.jit(run)(keys, jnp.arange(N))
    _close(got, jax.vmap(fn)(keys, jnp.arange(N)))

  @parameterized.parameters(1, 3, 8, 11)
  def test_any_number_of_clients_on_eight_devices(self, n):
    run = clients.map_clients(
      _local, in_axes=(None, 0), mesh=clients.clients_mesh(8)
    )
    got = jax.jit(run)(_params(), _data(n))
    want = jax.vmap(_local, in_axes=(None, 0))(_params(), _data(n))
    self.assertEqual(got['w'].shape, (n, D))
    _close(got, want)

  def test_rows_are_bitwise_equal_on_any_number_of_devices(self):
    outs = [
      jax.jit(
        clients.map_clients(
          _local, in_axes=(None, 0), mesh=clients.clients_mesh(k), chunk=1
        )
      )(_params(), _data())
      for k in (1, 2, 4, 8)
    ]
    for out in outs[1:]:
      jax.tree.map(np.testing.assert_array_equal, out, outs[0])

  def test_bad_axes(self):
    run = lambda axes: clients.map_clients(lambda *a: a[0], in_axes=axes)
    with self.assertRaisesRegex(ValueError, 'has 1 entries for 2 arguments'):
      run((0,))(jnp.ones(3), jnp.ones(3))
    with self.assertRaisesRegex(ValueError, r'may hold 0 and None only'):
      run((0, 1))(jnp.ones(3), jnp.ones(3))
    with self.assertRaisesRegex(ValueError, 'leaves no client axis'):
      run(None)(jnp.ones(3))
    with self.assertRaisesRegex(ValueError, r'args\[1\] has 4 clients'):
      run(0)(jnp.ones(3), jnp.ones(4))
    with self.assertRaisesRegex(ValueError, 'chunk must be at least 1'):
      clients.map_clients(_loss, chunk=0)

  def test_bad_meshes(self):
    for call in (
      lambda mesh: clients.map_clients(_loss, mesh=mesh),
      lambda mesh: clients.fold_clients(_loss, mesh=mesh),
      lambda mesh: clients.shard_clients(jnp.ones(8), mesh),
      lambda mesh: clients.replicate(jnp.ones(8), mesh),
    ):
      with self.assertRaisesRegex(TypeError, r'got 8: call .*clients_mesh\('):
        call(8)
      with self.assertRaisesRegex(
        ValueError, r"axis 'clients'; got \('data',\)"
      ):
        call(jax.make_mesh((1,), ('data',)))


def _convolve(x):
  # The kernel is the client's own.
  return _convolve_with(x, x[None, None, :3])


def _convolve_with(x, kernel):
  return jax.lax.conv_general_dilated(x[None, None], kernel, (1,), 'SAME')


class DefaultTest(absltest.TestCase):
  """On CPU: convolutions and large working sets go one by one."""

  def _rule(self, fn, *args):
    return clients.default_chunk(fn, (0,) * len(args), args)

  def test_small_dense_functions_are_vmapped(self):
    self.assertIsNone(self._rule(jnp.sum, jnp.ones((N, 8))))

  def test_convolutions_loop(self):
    x = jnp.ones((N, 8))
    self.assertEqual(self._rule(_convolve, x), 1)
    # However deep they hide.
    self.assertEqual(self._rule(jax.jit(_convolve), x), 1)
    self.assertEqual(
      self._rule(lambda x: jax.grad(lambda x: jnp.sum(_convolve(x)))(x), x), 1
    )
    scanned = lambda x: jax.lax.scan(
      lambda c, _: (_convolve(c)[0, 0], None), x, None, length=2
    )[0]
    self.assertEqual(self._rule(scanned, x), 1)
    branched = lambda x: jax.lax.cond(
      x[0] > 0, lambda x: _convolve(x)[0, 0], lambda x: x, x
    )
    self.assertEqual(self._rule(branched, x), 1)

  def test_convolutions_with_shared_weights_are_vmapped(self):
    x, kernel = jnp.ones((N, 8)), jnp.ones((1, 1, 3))
    self.assertIsNone(
      clients.default_chunk(_convolve_with, (0, None), (x, kernel))
    )
    # Their gradients are every client's own, and grouped.
    gradient = jax.grad(lambda x, k: jnp.sum(_convolve_with(x, k) ** 2), 1)
    self.assertEqual(clients.default_chunk(gradient, (0, None), (x, kernel)), 1)

  def test_large_working_sets_loop(self):
    size = clients.LOOP_BYTES // 4
    self.assertEqual(self._rule(lambda x: x, jnp.ones((2, size + 1))), 1)
    self.assertIsNone(self._rule(jnp.sum, jnp.ones((2, size - 1))))

  def test_activations_count_and_results_do_not(self):
    x = jnp.ones((N, 8))
    wide = clients.LOOP_BYTES // 32
    self.assertEqual(self._rule(lambda x: jnp.sum(jnp.tile(x, wide)), x), 1)
    self.assertIsNone(self._rule(lambda x: jnp.tile(x, wide), x))
    self.assertIsNone(self._rule(lambda x: jnp.sum(jnp.tile(x, 8)), x))


class FoldTest(parameterized.TestCase):
  @parameterized.named_parameters(_named())
  def test_weighted_sum_of_rows(self, mode):
    weights = np.random.default_rng(1).random(N).astype(np.float32)
    run = clients.fold_clients(_local, in_axes=(None, 0), **_options(mode))
    got = jax.jit(run)(weights, _params(), _data())
    rows = jax.vmap(_local, in_axes=(None, 0))(_params(), _data())
    want = jax.tree.map(
      lambda r: np.tensordot(weights, np.asarray(r, np.float64), 1), rows
    )
    _close(got, want, 1e-5)

  @parameterized.named_parameters(_named())
  def test_small_results_are_kept_per_client(self, mode):
    fn = lambda p, d: (_local(p, d), {'loss': _loss(p, d)})
    for n in (N, 13) if 'mesh' in MODES[mode] else (N,):
      run = clients.fold_clients(
        fn, in_axes=(None, 0), has_aux=True, **_options(mode)
      )
      weights = jnp.ones(n) / n
      _, aux = jax.jit(run)(weights, _params(), _data(n))
      want = jax.vmap(_loss, in_axes=(None, 0))(_params(), _data(n))
      _close(aux['loss'], want)

  @parameterized.named_parameters(_named())
  def test_gradient_through_the_sum(self, mode):
    weights = jnp.linspace(0.0, 1.0, N)
    run = clients.fold_clients(_loss, in_axes=(None, 0), **_options(mode))
    got = jax.jit(jax.grad(lambda p: run(weights, p, _data())))(_params())
    want = jax.grad(
      lambda p: jnp.dot(weights, jax.vmap(_loss, in_axes=(None, 0))(p, _data()))
    )(_params())
    _close(got, want, 1e-5)

  @parameterized.named_parameters(
    _named(['default', 'loop', 'chunk_that_does_not_divide', 'eight_devices'])
  )
  def test_clients_without_weight_add_nothing(self, mode):
    x = np.ones((N, 2), np.float32)
    x[3], x[7] = np.nan, np.inf
    weights = np.ones(N, np.float32)
    weights[[3, 7]] = 0.0
    for reduction in ('psum', 'gathered'):
      run = clients.fold_clients(
        lambda x: 2 * x, reduction=reduction, **_options(mode)
      )
      np.testing.assert_array_equal(jax.jit(run)(weights, x), [28.0, 28.0])
    np.testing.assert_array_equal(jax.jit(run)(0 * weights, x), [0.0, 0.0])

  def test_gathered_sums_are_bitwise_equal_on_any_number_of_devices(self):
    weights = np.random.default_rng(2).random(N).astype(np.float32)
    sums = {}
    for reduction in ('gathered', 'psum'):
      sums[reduction] = [
        jax.jit(
          clients.fold_clients(
            _local,
            in_axes=(None, 0),
            mesh=clients.clients_mesh(k),
            chunk=1,
            reduction=reduction,
          )
        )(weights, _params(), _data())
        for k in (1, 2, 4, 8)
      ]
    for out in sums['gathered'][1:]:
      jax.tree.map(np.testing.assert_array_equal, out, sums['gathered'][0])
    for out in sums['psum']:  # Only close.
      _close(out, sums['gathered'][0], 1e-5)

  def test_bfloat16_rows_are_added_in_float32(self):
    x = jnp.concatenate([jnp.full((1, 1), 256.0), jnp.full((15, 1), 0.5)])
    for options in ({'chunk': 1}, {'chunk': 4}, {'mesh': 8}):
      if 'mesh' in options:
        options = {'mesh': clients.clients_mesh(8)}
      run = clients.fold_clients(lambda x: x, **options)
      got = jax.jit(run)(jnp.ones(N), x.astype(jnp.bfloat16))
      self.assertEqual(got.dtype, jnp.bfloat16)
      self.assertEqual(float(got[0]), float(jnp.bfloat16(263.5)))

  def test_no_rows_are_kept(self):
    """The compiled sum holds a few rows, not all of them."""
    n, size = 64, 4096
    run = jax.jit(clients.fold_clients(lambda x: jnp.full((size,), x), chunk=2))
    compiled = run.lower(jnp.ones(n), jnp.ones(n)).compile()
    self.assertLess(
      compiled.memory_analysis().temp_size_in_bytes, n * size * 4 / 4
    )

  def test_bad_arguments(self):
    run = clients.fold_clients(lambda x: x)
    with self.assertRaisesRegex(ValueError, r'weights must have shape \[3\]'):
      run(jnp.ones(2), jnp.ones((3, 1)))
    with self.assertRaisesRegex(ValueError, "reduction='mean' is unknown"):
      clients.fold_clients(lambda x: x, reduction='mean')


class ClientsTest(parameterized.TestCase):
  @parameterized.named_parameters(_named())
  def test_it_runs_as_the_two_functions_do(self, mode):
    own = clients.Clients(N, **_options(mode))
    weights = np.random.default_rng(3).random(N).astype(np.float32)
    aux = lambda p, d: (_local(p, d), _loss(p, d))

    def both(weights, params, data):
      options = {'in_axes': (None, 0)} | _options(mode)
      want = (
        clients.map_clients(_local, **options)(params, data),
        clients.fold_clients(aux, has_aux=True, **options)(
          weights, params, data
        ),
      )
      got = (
        own.map(_local, in_axes=(None, 0))(params, data),
        own.fold(aux, in_axes=(None, 0), has_aux=True)(weights, params, data),
      )
      return got, want

    got, want = jax.jit(both)(weights, _params(), _data())
    jax.tree.map(np.testing.assert_array_equal, got, want)

  def test_gathered_results_are_bitwise_equal_on_any_number_of_devices(self):
    weights = np.random.default_rng(2).random(N).astype(np.float32)

    def run(own, weights, params, data):
      rows = own.map(_local, in_axes=(None, 0))(params, own.shard(data))
      mean = jnp.tensordot(weights, own.gather(rows)['w'], 1)
      return (
        rows,
        mean,
        own.fold(_local, in_axes=(None, 0))(weights, params, data),
      )

    run = jax.jit(run, static_argnums=0)
    found = [
      run(
        clients.Clients(N, mesh=mesh, reduction='gathered'),
        weights,
        _params(),
        _data(),
      )
      for mesh in (None, clients.clients_mesh(1), clients.clients_mesh(8))
    ]
    for other in found[1:]:
      jax.tree.map(np.testing.assert_array_equal, other, found[0])

  def test_it_is_static(self):
    count = 0

    def run(own, x):
      nonlocal count
      count += 1
      return own.map(jnp.sin)(x)

    run = jax.jit(run, static_argnums=0)
    mesh = clients.clients_mesh(2)
    for own in (
      clients.Clients(4, mesh=mesh),
      clients.Clients(np.int64(4), mesh=clients.clients_mesh(2)),
      clients.Clients(5, mesh=mesh).replace(num_clients=4),
    ):
      run(own, jnp.arange(4.0))
      self.assertEqual(own, clients.Clients(4, mesh=mesh))
      self.assertIs(type(own.num_clients), int)
    self.assertEqual(count, 1)
    self.assertLen({clients.Clients(4), clients.Clients(4, chunk=1)}, 2)
    with self.assertRaises(dataclasses.FrozenInstanceError):
      own.chunk = 3

  def test_placement(self):
    x = {'x': jnp.arange(8.0)}
    alone, spread = (
      clients.Clients(8),
      clients.Clients(8, mesh=clients.clients_mesh(4)),
    )
    for method in ('gather', 'replicate', 'shard'):
      self.assertIs(getattr(alone, method)(x), x)
    split = spread.shard(x)
    self.assertEqual(split['x'].sharding.shard_shape((8,)), (2,))
    self.assertTrue(spread.replicate(split)['x'].sharding.is_fully_replicated)
    self.assertIs(spread.gather(split), split)
    gathered = spread.replace(reduction='gathered').gather(split)
    self.assertTrue(gathered['x'].sharding.is_fully_replicated)

  def test_cohorts(self):
    own = clients.Clients(3)

    def cohort(n):
      return types.Cohort(
        client_ids=jnp.arange(n),
        data=jnp.zeros((n, 1)),
        mask=jnp.ones(n, bool),
        weights=jnp.ones(n),
      )

    own.check(cohort(3))
    with self.assertRaisesRegex(
      ValueError, '4 clients but num_clients=3 .*order'
    ):
      own.check(cohort(4))
    with self.assertRaisesRegex(ValueError, 'the ring has a place for each'):
      own.check(cohort(4), why='the ring has a place for each')
    with self.assertRaises(TypeError):
      own.check(jnp.ones(3))

  def test_numbers_will_do(self):
    own = clients.Clients(3, chunk=1)
    self.assertIs(clients.as_clients(own), own)
    self.assertEqual(clients.as_clients(3), clients.Clients(3))
    self.assertEqual(clients.as_clients(np.int32(3)), clients.Clients(3))
    for value in (3.0, '3', None, True, jnp.ones(3), [3]):
      with self.assertRaisesRegex(
        TypeError, r'^n must be a number of clients or core\.clients\.Clients;'
      ):
        clients.as_clients(value, name='n')
    with self.assertRaisesRegex(
      ValueError, 'clients must be at least 1; got 0'
    ):
      clients.as_clients(0)

  @parameterized.parameters(
    ((0,), {}, ValueError, 'num_clients must be at least 1; got 0'),
    ((2.0,), {}, TypeError, 'num_clients must be an integer; got 2.0'),
    ((True,), {}, TypeError, 'num_clients must be an integer'),
    ((2,), {'chunk': 0}, ValueError, 'chunk must be at least 1; got 0'),
    ((2,), {'mesh': 8}, TypeError, r'got 8: call .*clients_mesh\('),
    ((2,), {'reduction': 'sum'}, ValueError, "reduction='sum' is unknown"),
  )
  def test_says_what_to_change(self, args, options, error, message):
    with self.assertRaisesRegex(error, message):
      clients.Clients(*args, **options)
    with self.assertRaisesRegex(error, message):
      clients.Clients(2).replace(
        **(dict(zip(['num_clients'], args, strict=True)) | options)
      )


class MeshTest(absltest.TestCase):
  def test_axis_is_automatic(self):
    mesh = clients.clients_mesh()
    self.assertEqual(dict(mesh.shape), {'clients': 8})
    # Contracting the sharded axis must not need an annotation.
    x = clients.shard_clients(jnp.ones((8, 2)), mesh)
    np.testing.assert_array_equal(jnp.tensordot(jnp.ones(8), x, 1), [8, 8])

  def test_sharding_and_copying(self):
    mesh = clients.clients_mesh(4)
    x = jnp.arange(8.0)
    split = clients.shard_clients({'x': x}, mesh)['x']
    self.assertEqual(split.sharding.shard_shape(x.shape), (2,))
    inside = jax.jit(lambda x: clients.shard_clients(x, mesh) + 1)(x)
    self.assertEqual(inside.sharding.shard_shape(x.shape), (2,))
    whole = clients.replicate(split, mesh)
    self.assertTrue(whole.sharding.is_fully_replicated)
    np.testing.assert_array_equal(whole, x)
    self.assertIs(clients.shard_clients(x, None), x)
    self.assertIs(clients.replicate(x, None), x)

  def test_messages(self):
    with self.assertRaisesRegex(ValueError, 'num_devices=9 but only 8'):
      clients.clients_mesh(9)
    with self.assertRaisesRegex(ValueError, 'num_devices must be at least 1'):
      clients.clients_mesh(0)
    with self.assertRaisesRegex(ValueError, 'pad the cohort to 16'):
      clients.shard_clients(jnp.ones(13), clients.clients_mesh(8))


if __name__ == '__main__':
  absltest.main()
