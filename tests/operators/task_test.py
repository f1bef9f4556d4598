# SPDX-License-Identifier: Apache-2.0
"""Operator learning through the interface of every algorithm."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
from absl.testing import absltest, parameterized
from flax import nnx

from jaxdl import operators

KEY = jax.random.key(0)


def normal(seed, *shape):
  return jnp.asarray(np.random.default_rng(seed).normal(size=shape), 'float32')


class OperatorTaskTest(parameterized.TestCase):
  def grid_batch(self):
    return {'inputs': normal(0, 4, 8, 1), 'targets': normal(1, 4, 8, 1)}

  @parameterized.parameters('relative_l2', 'mse', 'relative_h1_spectral')
  def test_loss_is_the_mean_over_samples(self, name):
    batch = self.grid_batch()
    net = operators.cnn(channels=2, num_layers=2)
    task = operators.operator_task(net, batch, loss=name)
    params = task.init(KEY)
    out = net.apply(params, batch['inputs'])
    want = operators.LOSSES[name](out, batch['targets']).mean()
    self.assertAlmostEqual(
      float(task.loss(params, batch)), float(want), places=5
    )
    metrics = task.evaluate(params, batch)
    self.assertAlmostEqual(float(metrics['loss']), float(want), places=5)
    self.assertAlmostEqual(
      float(metrics['relative_l2']),
      float(operators.relative_l2(out, batch['targets']).mean()),
      places=5,
    )

  def test_masked_rows_have_no_effect_even_if_nan(self):
    batch = self.grid_batch()
    task = operators.operator_task(
      operators.cnn(channels=2, num_layers=2), batch
    )
    params = task.init(KEY)
    mask = jnp.array([True, False, True, True])
    broken = jax.tree.map(lambda x: x.at[1].set(jnp.nan), batch)
    kept = jax.tree.map(lambda x: x[jnp.array([0, 2, 3])], batch)
    run = jax.jit(jax.value_and_grad(task.loss))
    got, want = run(params, broken | {'mask': mask}), run(params, kept)
    jax.tree.map(
      lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), got, want
    )
    nobody = run(params, broken | {'mask': jnp.zeros(4, bool)})
    jax.tree.map(lambda x: np.testing.assert_array_equal(x, 0.0), nobody)

  def test_three_ways_to_give_points(self):
    u, y = normal(0, 4, 6), normal(1, 5, 2)
    net = operators.deeponet((4, 3), (3,))
    table = {'sensors': u, 'targets': normal(2, 4, 5)}
    shared = operators.operator_task(net, table, points=y, loss='mse')
    params = shared.init(KEY)
    own_batch = table | {'points': jnp.broadcast_to(y[None], (4, 5, 2))}
    own = operators.operator_task(net, own_batch, loss='mse')
    pairs_batch = {
      'sensors': jnp.repeat(u, 5, 0),
      'points': jnp.tile(y, (4, 1)),
      'targets': table['targets'].reshape(-1),
    }
    pairs = operators.operator_task(net, pairs_batch, loss='mse')
    shapes = [
      jax.tree.map(jnp.shape, t.init(KEY)) for t in (shared, own, pairs)
    ]
    self.assertEqual(shapes[0], shapes[1])
    self.assertEqual(shapes[0], shapes[2])
    want = shared.loss(params, table)
    np.testing.assert_allclose(own.loss(params, own_batch), want, rtol=1e-5)
    np.testing.assert_allclose(pairs.loss(params, pairs_batch), want, rtol=1e-5)

  @parameterized.parameters(
    'mlp(4)', 'residual_mlp(4)', 'seq2seq(channels=4)', 'stacked_deeponet'
  )
  def test_point_models_share_batches(self, name):
    batch = {
      'sensors': normal(0, 4, 6),
      'points': normal(1, 4, 5, 1),
      'targets': normal(2, 4, 5),
    }
    net = operators.make_model(name)
    task = operators.operator_task(net, batch)
    loss = jax.jit(task.loss)(task.init(KEY), batch)
    self.assertTrue(bool(jnp.isfinite(loss)))

  def test_example_may_be_shapes_only(self):
    shape = lambda *s: jax.ShapeDtypeStruct(s, 'float32')
    example = {'inputs': shape(64, 8, 1), 'targets': shape(64, 8, 1)}
    task = operators.operator_task(operators.cnn(channels=2), example)
    self.assertEqual(task.init(KEY)[0]['kernel'].shape, (3, 1, 2))

  def test_learns_the_antiderivative(self):
    # u = a + b t, s = a t + b t^2 / 2.
    t = jnp.linspace(0, 1, 9)
    c = normal(0, 64, 2)
    s = c[:, :1] * t[None] + c[:, 1:] * t[None] ** 2 / 2
    batch = {'sensors': c[:, :1] + c[:, 1:] * t[None], 'targets': s}
    net = operators.deeponet((16, 16), (16, 16), activation='tanh')
    task = operators.operator_task(net, batch, points=t[:, None], loss='mse')
    optimizer = optax.adam(optax.cosine_decay_schedule(0.02, 1000))

    @jax.jit
    def train(params):
      def step(carry, _):
        params, state = carry
        grads = jax.grad(task.loss)(params, batch)
        updates, state = optimizer.update(grads, state)
        return (optax.apply_updates(params, updates), state), None

      carry = (params, optimizer.init(params))
      return jax.lax.scan(step, carry, None, length=1000)[0][0]

    metrics = jax.jit(task.evaluate)(train(task.init(KEY)), batch)
    # 99.9 % of the variance.
    self.assertLess(float(metrics['mse']), 1e-3 * float((s**2).mean()))

  def test_clients_train_under_vmap(self):
    batch = jax.tree.map(lambda x: jnp.stack([x, 2 * x]), self.grid_batch())
    net = operators.mgno(
      channels=2, num_layers=1, iterations='10,10', method='patches'
    )
    one = jax.tree.map(lambda x: x[0], batch)
    task = operators.operator_task(net, one)
    params = jax.vmap(task.init)(jax.random.split(KEY, 2))
    grads = jax.jit(jax.vmap(jax.grad(task.loss)))(params, batch)
    grad = jax.jit(jax.grad(task.loss))
    for i in range(2):
      row = lambda tree, i=i: jax.tree.map(lambda x: x[i], tree)
      want = grad(row(params), row(batch))
      jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5),
        row(grads),
        want,
      )

  def test_rows_spread_over_devices_give_the_same_step_once_compiled(self):
    batch = {'inputs': normal(0, 8, 8, 1), 'targets': normal(1, 8, 8, 1)}
    net = operators.mgno(channels=2, num_layers=1, iterations='10,10')
    task = operators.operator_task(net, batch)
    params = task.init(KEY)
    traces = []

    @jax.jit
    def step(params, batch):
      traces.append(1)
      return jax.value_and_grad(task.loss)(params, batch)

    want = step(params, batch)
    step(params, jax.tree.map(lambda x: 2 * x, batch))
    self.assertLen(traces, 1)
    mesh = jax.make_mesh(
      (8,), ('rows',), axis_types=(jax.sharding.AxisType.Auto,)
    )
    rows = jax.NamedSharding(mesh, jax.P('rows'))
    got = step(params, jax.device_put(batch, rows))
    jax.tree.map(
      lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), got, want
    )

  def test_a_module_of_another_library_with_points(self):
    class Features(nnx.Module):
      def __init__(self, rngs):
        self.branch = nnx.Linear(3, 2, rngs=rngs)
        self.trunk = nnx.Linear(1, 2, rngs=rngs)

      def __call__(self, sensors, points):
        return self.branch(sensors) @ self.trunk(points).T

    module = Features(nnx.Rngs(0))
    batch = {'sensors': normal(0, 4, 3), 'targets': normal(1, 4, 5)}
    points = normal(2, 5, 1)
    task = operators.operator_task(module, batch, loss='mse', points=points)
    gap = np.asarray(module(batch['sensors'], points) - batch['targets'])
    np.testing.assert_allclose(
      task.loss(task.init(KEY), batch), (gap**2).mean(), rtol=1e-5
    )
    with self.assertRaisesRegex(ValueError, r'\(4, 7\) and \(5, 1\), but this'):
      task.loss(task.init(KEY), batch | {'sensors': normal(0, 4, 7)})

  def test_says_what_to_change(self):
    batch = self.grid_batch()
    net = operators.cnn(channels=2, num_layers=2)
    with self.assertRaisesRegex(ValueError, "loss='l2' is unknown"):
      operators.operator_task(net, batch, loss='l2')
    with self.assertRaisesRegex(ValueError, "needs 'targets' and 'inputs'"):
      operators.operator_task(net, {'inputs': batch['inputs']})
    task = operators.operator_task(net, batch)
    wrong = batch | {'targets': batch['targets'][:, :4]}
    with self.assertRaisesRegex(ValueError, 'the network gives'):
      task.loss(task.init(KEY), wrong)
    mean = lambda p, y: ((p - y) ** 2).mean()
    task = operators.operator_task(net, batch, loss=mean)
    with self.assertRaisesRegex(ValueError, 'one number per sample'):
      task.loss(task.init(KEY), batch)
    with self.assertRaisesRegex(TypeError, "got 'mse': write"):
      operators.operator_task(net, batch, metrics='mse')
    with self.assertRaisesRegex(
      ValueError, r'shape \(5,\): write points\[:, N'
    ):
      operators.operator_task(net, batch, points=np.linspace(0, 1, 5))
    with self.assertRaisesRegex(ValueError, "metrics='foo' is unknown"):
      operators.operator_task(net, batch, metrics=('foo',))
    task = operators.operator_task(net, batch)
    with self.assertRaisesRegex(ValueError, r"batch\['mask'\] must have one"):
      task.loss(task.init(KEY), batch | {'mask': np.ones(1, bool)})


if __name__ == '__main__':
  absltest.main()
