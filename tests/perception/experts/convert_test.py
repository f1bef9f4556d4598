# SPDX-License-Identifier: Apache-2.0
"""Experts in place of the layers of networks that know nothing of them."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from absl.testing import absltest, parameterized
from flax import nnx

from jaxdl import networks
from jaxdl.core import types
from jaxdl.perception import experts

SMALL = 'moe(4, top_k=2)'


class _Glu(nn.Module):
  @nn.compact
  def __call__(self, x):
    gate = nn.silu(nn.Dense(8, use_bias=False, name='gate')(x))
    return x + nn.Dense(5, name='down')(gate * nn.Dense(8, name='up')(x))


class _Softmax(nn.Module):
  @nn.compact
  def __call__(self, x):
    h = nn.softmax(nn.Dense(8, name='first')(x))
    return nn.Dense(5, name='second')(h)


class _Scaled(nn.Module):
  """A slope per unit, as PReLU has."""

  @nn.compact
  def __call__(self, x):
    h = nn.Dense(8, name='first')(x)
    h = jnp.maximum(h, 0) * self.param('slope', nn.initializers.ones, (1, 8))
    return nn.Dense(5, name='second')(h)


class _Read(nn.Module):
  """Hidden values that are an output as well."""

  @nn.compact
  def __call__(self, x):
    h = nn.relu(nn.Dense(8, name='first')(x))
    return nn.Dense(5, name='second')(h), h


class _Twice(nn.Module):
  @nn.compact
  def __call__(self, x):
    first, second = nn.Dense(8, name='first'), nn.Dense(5, name='second')
    step = lambda v: second(nn.relu(first(v)))
    return step(step(x))


class _Dropped(nn.Module):
  @nn.compact
  def __call__(self, x, train=False):
    h = nn.relu(nn.Dense(8, name='first')(x))
    h = nn.Dropout(0.5, deterministic=not train)(h)
    return nn.Dense(5, name='second')(h)


class _Checkpointed(nn.Module):
  @nn.compact
  def __call__(self, x):
    return nn.remat(_Dropped)(name='block')(x)


def _pure():
  """Functions and arrays, nothing else."""

  def init(key, x):
    first, second = jax.random.split(key)
    return {
      'a': jax.random.normal(first, (x.shape[-1], 8)),
      'c': jax.random.normal(second, (8, 2)),
    }

  return types.Network(init, lambda p, x: jnp.tanh(x @ p['a']) @ p['c'])


def inputs(num=7, width=5):
  rng = np.random.default_rng(0)
  return jnp.asarray(rng.normal(size=(num, width)), jnp.float32)


@functools.cache
def converted(name, spec=SMALL):
  network, x = NETWORKS[name]
  network = networks.as_network(network)
  params = network.init(jax.random.key(0), x)
  moe = experts.dense_to_moe(
    network, params, x, key=jax.random.key(1), experts=spec
  )
  return network, params, moe, x


NETWORKS = {
  'mlp': (networks.mlp((8, 4), 3), inputs()),
  'gelu': (networks.mlp(8, 3, activation='gelu', flatten=False), inputs()),
  'residual': (networks.residual_mlp(3, channels=8), inputs()),
  'glu': (_Glu(), inputs()),
  'nnx': (
    networks.from_nnx(
      lambda rngs: nnx.Sequential(
        nnx.Linear(5, 8, rngs=rngs), nnx.relu, nnx.Linear(8, 2, rngs=rngs)
      )
    ),
    inputs(),
  ),
  'pure': (_pure(), inputs()),
  'checkpointed': (_Checkpointed(), inputs()),
  'transformer': (
    networks.transformer_lm(
      16, width=8, depth=2, num_heads=2, max_length=8, dropout=0.5
    ),
    jnp.asarray(np.random.default_rng(0).integers(0, 16, (3, 6))),
  ),
}
LAYERS = {
  'mlp': ('0',),
  'gelu': ('0',),
  'residual': ('blocks/0/0', 'blocks/1/0'),
  'glu': ('gate',),
  'nnx': ('layers/0',),
  'pure': ('a',),
  'checkpointed': ('block/first',),
  'transformer': ('block_0/perceptron_in', 'block_1/perceptron_in'),
}


class ConversionTest(parameterized.TestCase):
  @parameterized.parameters(*NETWORKS)
  def test_outputs_stay(self, name):
    network, params, moe, x = converted(name)
    self.assertEqual(moe.layers, LAYERS[name])
    y, routed = jax.jit(lambda p, x: experts.observe(moe.network.apply, p, x))(
      moe.params, x
    )
    np.testing.assert_allclose(y, network.apply(params, x), atol=1e-5)
    self.assertEqual(tuple(routed), moe.layers)
    for r in routed.values():
      self.assertEqual(experts.same_replica_share(r.idx, num_slices=2), 1.0)

  def test_gradients_of_what_stays_stay(self):
    network, params, moe, x = converted('transformer')
    loss = lambda net: lambda p: jnp.sum(jnp.sin(net.apply(p, x)))
    want = jax.jit(jax.grad(loss(network)))(params)
    got = jax.jit(jax.grad(loss(moe.network)))(moe.params)
    kept = jax.tree.map(
      lambda old, new: None if new is None else old,
      want,
      got['network'],
      is_leaf=lambda v: v is None,
    )
    jax.tree.map(
      functools.partial(np.testing.assert_allclose, atol=1e-4),
      got['network'],
      kept,
    )
    for leaf in jax.tree.leaves(got['experts']):
      self.assertTrue(np.isfinite(leaf).all())
    # Slices of all copies add up to the gradient of the layer.
    slopes = got['experts']['block_0/perceptron_in']['in']['kernel']
    layer = want['params']['block_0']['perceptron_in']['kernel']
    whole = slopes.reshape(2, 2, 8, 16).sum(0).swapaxes(0, 1).reshape(8, 32)
    np.testing.assert_allclose(whole, layer, atol=1e-4)

  def test_other_lengths_and_dropout(self):
    network, params, moe, _ = converted('transformer')
    x = jnp.zeros((2, 4), jnp.int32)
    key = jax.random.key(3)
    # Dropout outside of the layers draws what it drew.
    for options in ({}, {'train': True, 'key': key}):
      np.testing.assert_allclose(
        moe.network.apply(moe.params, x, **options),
        network.apply(params, x, **options),
        atol=1e-5,
      )

  def test_dropout_inside_of_a_layer(self):
    x = inputs(400)
    network = networks.as_network(_Dropped())
    params = network.init(jax.random.key(0), x)
    moe = experts.dense_to_moe(
      network, params, x, key=jax.random.key(1), experts=SMALL
    )
    run = jax.jit(
      lambda key: moe.network.apply(moe.params, x, train=True, key=key)
    )
    mean = np.mean(
      [run(k) for k in jax.random.split(jax.random.key(2), 200)], 0
    )
    want = network.apply(params, x)
    self.assertGreater(float(jnp.abs(run(jax.random.key(0)) - want).max()), 0.1)
    np.testing.assert_allclose(mean, want, atol=0.6)
    self.assertLess(float(np.abs(mean - want).mean()), 0.06)

  def test_a_mixture_from_the_start(self):
    network, x = networks.mlp(8, 3), inputs()
    whole = experts.with_experts(network, 'moe(4, top_k=1, num_slices=1)')
    params = whole.init(jax.random.key(0), x)
    self.assertEqual(params['experts']['0']['in']['kernel'].shape, (4, 5, 8))
    y = whole.apply(params, x)
    # Each expert is a whole layer.
    dense = network.init(jax.random.split(jax.random.key(0))[0], x)
    np.testing.assert_allclose(y, network.apply(dense, x), atol=1e-5)

  def test_two_whole_layers_of_each_token(self):
    _, _, moe, x = converted('mlp', 'moe(4, top_k=2, num_slices=1)')
    _, (first, second, last), _, _ = converted('mlp')
    # Copies are equal yet, and their gates add up to 2.
    h = np.maximum(x @ first['kernel'] + first['bias'][None], 0)
    h = 2 * (h @ second['kernel'] + second['bias'][None])
    want = np.maximum(h, 0) @ last['kernel'] + last['bias'][None]
    np.testing.assert_allclose(
      moe.network.apply(moe.params, x), want, atol=1e-5
    )

  def test_random_experts_are_other_experts(self):
    _, _, moe, x = converted('mlp', 'moe(4, top_k=2, start=random)')
    network, params, _, _ = converted('mlp')
    gap = moe.network.apply(moe.params, x) - network.apply(params, x)
    self.assertGreater(float(jnp.abs(gap).max()), 0.05)

  def test_models_side_by_side(self):
    _, _, moe, x = converted('mlp')
    both = jax.tree.map(lambda v: jnp.stack([v, 2 * v]), moe.params)
    y = jax.jit(jax.vmap(moe.network.apply, in_axes=(0, None)))(both, x)
    np.testing.assert_allclose(
      y[0], moe.network.apply(moe.params, x), atol=1e-5
    )
    twice = jax.tree.map(lambda v: 2 * v, moe.params)
    np.testing.assert_allclose(y[1], moe.network.apply(twice, x), atol=1e-4)

  def test_who_looks_from_outside_sees_what_is_seen_inside(self):
    _, _, moe, x = converted('mlp')
    inner = lambda: experts.observe(moe.network.apply, moe.params, x)[1]
    found, routed = experts.observe(inner)
    self.assertEqual(list(routed), ['0'])
    np.testing.assert_array_equal(found['0'].idx, routed['0'].idx)
    both = lambda: (inner(), inner())
    self.assertEqual(list(experts.observe(both)[1]), ['0', '0:1'])


class RefusalTest(parameterized.TestCase):
  @parameterized.parameters(
    (_Softmax(), None, r'across the hidden axis \(reduce_max\)'),
    (_Softmax(), 'first', r"layers='first': the activation acts across"),
    (_Scaled(), 'first', r'reads params/slope, which differ from unit to unit'),
    (_Read(), 'first', 'hidden values are read elsewhere, too'),
    (_Twice(), None, 'params/first/bias is used more than once'),
    (networks.mlp((8, 4), 3), '7', r"layers='7' names .* found are 0, 1"),
    (networks.mlp((8, 4), 3), '*', r"layers '0' and '1' share 1"),
    (networks.mlp((9, 4), 3), '0', r'h=9 must be divisible by top_k=2'),
    (networks.mlp((8,), 3), (), 'layers is empty: name some of 0'),
    (networks.logistic_regression(3), None, 'has no feed-forward pair'),
  )
  def test_layers_that_cannot_be(self, network, layers, message):
    network, x = networks.as_network(network), inputs()
    params = network.init(jax.random.key(0), x)
    with self.assertRaisesRegex(ValueError, message):
      experts.dense_to_moe(
        network, params, x, key=jax.random.key(0), layers=layers, experts=SMALL
      )

  def test_converting_twice(self):
    _, _, moe, x = converted('mlp')
    with self.assertRaisesRegex(ValueError, 'params has experts already'):
      experts.dense_to_moe(moe.network, moe.params, x, key=jax.random.key(0))

  def test_statistics(self):
    network = networks.resnet18(3, norm='batch')
    shapes = jax.eval_shape(
      network.init, jax.random.key(0), jnp.ones((1, 32, 32, 3))
    )
    with self.assertRaisesRegex(ValueError, 'keeps running statistics'):
      experts.dense_to_moe(
        network, shapes, jnp.ones((1, 32, 32, 3)), key=jax.random.key(0)
      )

  def test_dense_parameters(self):
    _, params, moe, x = converted('mlp')
    with self.assertRaisesRegex(TypeError, "must be {'network', 'experts'}"):
      moe.network.apply(params, x)

  @parameterized.parameters(
    ('moe(5, top_k=2)', 'num_experts=5 must be a multiple of top_k=2'),
    ('moe(2, top_k=3)', 'top_k=3 must be at most num_experts=2'),
    ('moe(4, gate=soft)', "'soft'"),
    ('moe(4, router=zero)', "'zero'"),
    ('moe(4, start=zero)', "'zero'"),
    ('mixture(4)', "experts='mixture"),
  )
  def test_mixtures(self, spec, message):
    with self.assertRaisesRegex(ValueError, message):
      experts.with_experts(networks.mlp(8, 2), spec)


class TrainingTest(parameterized.TestCase):
  def task(self):
    network, params, moe, x = converted('mlp')
    del network, params
    task = networks.classification(moe.network, x[:1], num_classes=3)
    return experts.balanced_task(task, coefficient=0.5), moe, x

  def test_the_balance_is_a_part_of_the_loss(self):
    task, moe, x = self.task()
    plain = networks.classification(moe.network, x[:1], num_classes=3)
    mask = jnp.array([1, 1, 0, 1, 1, 0, 1], bool)
    batch = {'inputs': x, 'labels': jnp.arange(7) % 3, 'mask': mask}
    _, routed = experts.observe(moe.network.apply, moe.params, x[mask])
    want = plain.loss(moe.params, batch) + 0.5 * routed['0'].load_balance
    np.testing.assert_allclose(task.loss(moe.params, batch), want, rtol=1e-5)
    np.testing.assert_allclose(
      task.evaluate(moe.params, batch)['load_balance'],
      routed['0'].load_balance,
      rtol=1e-5,
    )
    slope = jax.grad(task.loss)(moe.params, batch)['experts']['0']['router']
    self.assertGreater(float(jnp.abs(slope).max()), 0)

  def test_frozen_parameters_stay_bit_by_bit(self):
    task, moe, x = self.task()
    batch = {'inputs': x, 'labels': jnp.arange(7) % 3}
    mask = experts.trainable_mask(moe.params, ('experts', 'not experts/*/out'))
    optimizer = optax.multi_transform(
      {True: optax.adamw(0.1), False: optax.set_to_zero()}, mask
    )

    @jax.jit
    def step(params, state):
      slope = jax.grad(task.loss)(params, batch)
      change, state = optimizer.update(slope, state, params)
      return optax.apply_updates(params, change), state

    params, state = moe.params, optimizer.init(moe.params)
    for _ in range(3):
      params, state = step(params, state)
    moved = jax.tree.map(
      lambda old, new: bool((old != new).any()), moe.params, params
    )
    self.assertEqual(moved, mask)
    self.assertIn(True, jax.tree.leaves(mask))

  def test_a_part_is_a_model_of_its_own(self):
    task, moe, x = self.task()
    batch = {'inputs': x, 'labels': jnp.arange(7) % 3}
    part = experts.trainable_task(task, moe.params, 'experts')
    params = part.init(jax.random.key(9))
    self.assertEmpty(jax.tree.leaves(params['network']))
    self.assertEqual(part.loss(params, batch), task.loss(moe.params, batch))
    slope = jax.grad(part.loss)(params, batch)
    self.assertEqual(jax.tree.structure(slope), jax.tree.structure(params))
    whole = experts.put_trainable(moe.params, params)
    jax.tree.map(np.testing.assert_array_equal, whole, moe.params)

  def test_says_what_does_not_fit(self):
    task, moe, x = self.task()
    with self.assertRaisesRegex(
      ValueError, "patterns='head' names no parameter: .* experts/0/in/bias"
    ):
      experts.trainable_mask(moe.params, 'head')
    plain = networks.classification(networks.mlp(4, 3), x, num_classes=3)
    bare = experts.balanced_task(plain)
    batch = {'inputs': x, 'labels': jnp.arange(7) % 3}
    with self.assertRaisesRegex(ValueError, 'task has no experts'):
      bare.loss(plain.init(jax.random.key(0)), batch)
    with self.assertRaisesRegex(ValueError, 'coefficient must lie in'):
      experts.balanced_task(plain, coefficient=-1.0)


if __name__ == '__main__':
  absltest.main()
