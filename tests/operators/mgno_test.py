# SPDX-License-Identifier: Apache-2.0
"""Multigrid networks: sizes, variants, errors."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
from absl.testing import absltest, parameterized

from jaxdl import operators
from jaxdl.operators import flows


def count(params):
  return sum(x.size for x in jax.tree.leaves(params))


def shapes(net, *inputs):
  zeros = [jax.ShapeDtypeStruct(x, 'float32') for x in inputs]
  return jax.eval_shape(net.init, jax.random.key(0), *zeros)


class CountTest(parameterized.TestCase):
  @parameterized.parameters(
    (24, 4, '10,10,10,10,10,20', 1, 64, 572_661),
    (24, 4, '10 10 10 10 10 20', 3, 64, 578_685),
    (8, 3, '10,10,10,20', 1, 32, 29_067),
    (16, 3, '40', 1, 32, 33_856),
  )
  def test_published_and_derived_counts(
    self, c, num_layers, iterations, c_in, n, want
  ):
    net = operators.mgno(
      channels=c, num_layers=num_layers, iterations=iterations
    )
    self.assertEqual(count(shapes(net, (1, n, n, c_in))), want)

  def test_count_follows_the_formula(self):
    c, cf, levels = 5, 2, ((1, 2), (2, 1), (3, 0))
    net = operators.mgno(
      channels=c, num_layers=1, iterations=levels, skip=False
    )
    params = shapes(net, (1, 8, 8, cf))['layers'][0]['cycle']
    smoothings = 9
    want = 9 * c * cf * (2 * smoothings - 1)
    want += 2 * (9 * c * c + 9 * cf * cf + 16 * c * c)
    self.assertEqual(count(params), want)

  def test_odd_sizes_take_kernels_of_three(self):
    net = operators.mgno(channels=2, num_layers=1)
    params = shapes(net, (1, 211, 211, 1))['layers'][0]['cycle']
    sizes = [level['P']['kernel'].shape[0] for level in params[:-1]]
    self.assertEqual(sizes, [3, 4, 3, 3, 4])

  def test_kernels_start_in_the_documented_range(self):
    net = operators.mgno(channels=6, num_layers=1, iterations='10,20')
    params = net.init(jax.random.key(0), jnp.zeros((1, 8, 8, 3)))
    level = params['layers'][0]['cycle'][0]
    for name, fan in (('R', 27), ('Pi', 54), ('P', 96)):
      largest = float(jnp.abs(level[name]['kernel']).max())
      self.assertBetween(largest * np.sqrt(fan), 0.9, 1.0)


class VariantTest(parameterized.TestCase):
  def test_one_set_of_parameters_serves_two_resolutions(self):
    net = operators.mgno(channels=3, num_layers=2, iterations='10,10,20')
    params = net.init(jax.random.key(0), jnp.zeros((1, 8, 8, 1)))
    apply = jax.jit(net.apply)
    for n in (8, 16):
      self.assertEqual(
        apply(params, jnp.ones((2, n, n, 1))).shape, (2, n, n, 1)
      )

  @parameterized.parameters(((16,), 2), ((8, 12), 3), ((4, 8, 6), 1))
  def test_any_rank_and_several_outputs(self, grid, out):
    net = operators.mgno(
      channels=2,
      num_layers=1,
      iterations='10,11',
      out_channels=out,
      padding='reflect',
      transfer='residual',
    )
    f = jax.random.normal(jax.random.key(1), (2, *grid, 2))
    params = net.init(jax.random.key(0), f)
    self.assertEqual(jax.jit(net.apply)(params, f).shape, (2, *grid, out))

  def test_linear_network_is_the_skip_plus_cycle_plus_head(self):
    net = operators.mgno(
      channels=3, num_layers=1, iterations='10,20', activation='identity'
    )
    f = jax.random.normal(jax.random.key(1), (2, 8, 8, 2))
    params = net.init(jax.random.key(0), f)
    layer = params['layers'][0]
    u = operators.v_cycle(layer['cycle'], f)
    u = (
      u + f @ layer['skip']['kernel'] + layer['skip']['bias'][None, None, None]
    )
    np.testing.assert_allclose(
      jax.jit(net.apply)(params, f), u @ params['head']['kernel'], atol=1e-5
    )

  def test_navier_stokes_stepper(self):
    net = operators.mgno_navier_stokes(
      channels=3, num_layers=2, iterations='11,11'
    )
    w = jax.random.normal(jax.random.key(1), (2, 8, 8, 1))
    params = net.init(jax.random.key(0), w)
    self.assertNotIn('skip', params['layers'][0])
    cycle = params['layers'][0]['cycle']
    self.assertIn('bias', cycle[0]['pre'][0]['S'])
    self.assertNotIn('bias', cycle[0]['P'])
    self.assertEqual(cycle[0]['norm']['scale'].shape, (8, 8, 3))
    apply = jax.jit(net.apply)
    one = apply(params, w)
    silent = params | {'head': jax.tree.map(jnp.zeros_like, params['head'])}
    np.testing.assert_array_equal(apply(silent, w), w)
    path = jax.jit(lambda p, w: flows.rollout(net, p, w, 3))(params, w)
    self.assertEqual(path.shape, (3, 2, 8, 8, 1))
    np.testing.assert_allclose(path[0], one, atol=1e-5)
    np.testing.assert_allclose(path[2], apply(params, path[1]), atol=1e-4)
    with self.assertRaisesRegex(ValueError, 'tied to one resolution'):
      net.apply(params, jnp.ones((1, 16, 16, 1)))

  def test_normalized_sums_have_mean_zero_and_variance_one(self):
    net = operators.mgno_navier_stokes(
      channels=3,
      num_layers=1,
      iterations='10,10',
      activation='identity',
      residual_output=False,
    )
    w = jax.random.normal(jax.random.key(1), (2, 8, 8, 1))
    params = net.init(jax.random.key(0), w)
    cycle = params['layers'][0]['cycle']
    u = jax.jit(lambda p, w: operators.v_cycle(p, w, padding='circular'))(
      cycle, w
    )
    np.testing.assert_allclose(u.mean((1, 2, 3)), 0.0, atol=1e-5)
    np.testing.assert_allclose(u.var((1, 2, 3)), 1.0, atol=1e-3)

  def test_helmholtz_network_grows_and_normalizes(self):
    net = operators.mgno_helmholtz(channels=2, num_layers=2)
    params = shapes(net, (1, 101, 101, 1))
    cycle = params['layers'][1]['cycle']
    sizes = [level['P']['kernel'].shape for level in cycle[:-1]]
    self.assertEqual(
      sizes, [(3, 3, 4, 2), (4, 4, 6, 4), (4, 4, 8, 6), (3, 3, 10, 8)]
    )
    self.assertEqual(cycle[2]['pre'][0]['S']['kernel'].shape, (3, 3, 6, 6))
    self.assertEqual(params['layers'][0]['norm']['scale'].shape, (101, 101, 2))
    self.assertEqual(params['head'][1]['pre'][0]['S']['kernel'].shape[-1], 2)
    out = jax.eval_shape(
      net.apply, params, jax.ShapeDtypeStruct((3, 101, 101, 1), 'float32')
    )
    self.assertEqual(out.shape, (3, 101, 101, 1))

  def test_trains_on_a_global_map(self):
    # The mean over a periodic grid: out of reach for a few local stencils.
    f = jax.random.normal(jax.random.key(1), (16, 16, 1))
    y = jnp.broadcast_to(f.mean(1, keepdims=True), f.shape)
    net = operators.mgno(
      channels=4, num_layers=1, iterations='10,10,20', padding='circular'
    )
    params = net.init(jax.random.key(0), f)
    loss = lambda p: jnp.square(net.apply(p, f) - y).mean()
    optimizer = optax.adam(0.02)

    @jax.jit
    def train(params):
      def step(carry, _):
        params, state = carry
        value, grads = jax.value_and_grad(loss)(params)
        updates, state = optimizer.update(grads, state)
        return (optax.apply_updates(params, updates), state), value

      carry = (params, optimizer.init(params))
      return jax.lax.scan(step, carry, None, length=150)[1]

    values = train(params)
    self.assertLess(float(values[-1]), 0.2 * float(values[0]))


class ErrorTest(parameterized.TestCase):
  def test_says_what_to_change(self):
    with self.assertRaisesRegex(ValueError, '4x4 cannot be coarsened 5 times'):
      shapes(operators.mgno(channels=2), (1, 4, 4, 1))
    net = operators.mgno(channels=2, num_layers=1, iterations='10,10,20')
    params = jax.eval_shape(net.init, _KEY, jnp.zeros((1, 8, 8, 1)))
    with self.assertRaisesRegex(ValueError, 'odd and even sizes differ'):
      jax.eval_shape(net.apply, params, jnp.zeros((1, 8, 6, 1)))
    with self.assertRaisesRegex(ValueError, '3 channels but the kernel'):
      jax.eval_shape(net.apply, params, jnp.zeros((1, 8, 8, 3)))
    with self.assertRaisesRegex(ValueError, 'one to three grid axes'):
      jax.eval_shape(net.init, _KEY, jnp.zeros((8, 8)))
    with self.assertRaisesRegex(ValueError, "norm='batch' is unknown"):
      operators.mgno(channels=2, norm='batch')
    with self.assertRaisesRegex(ValueError, 'residual_output adds 2 input'):
      flow = operators.mgno_navier_stokes(channels=2)
      jax.eval_shape(flow.init, _KEY, jnp.zeros((1, 32, 2)))
    with self.assertRaisesRegex(ValueError, 'needs a stencil'):
      cycle = functools.partial(operators.v_cycle, transfer='residual')
      jax.eval_shape(
        cycle, params['layers'][0]['cycle'], jnp.zeros((1, 8, 8, 1))
      )
    reflect = operators.mgno(
      channels=2, num_layers=1, iterations='10,10', padding='reflect'
    )
    small = jax.eval_shape(reflect.init, _KEY, jnp.zeros((1, 2, 1)))
    with self.assertRaisesRegex(ValueError, 'reflect padding'):
      jax.eval_shape(reflect.apply, small, jnp.zeros((1, 2, 1)))


_KEY = jax.random.key(0)


if __name__ == '__main__':
  absltest.main()
