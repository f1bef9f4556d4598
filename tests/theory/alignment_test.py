# SPDX-License-Identifier: Apache-2.0
"""Models brought into one order before they are merged."""

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized

from jaxdl import mixing, networks
from jaxdl.decentralized import merging
from jaxdl.theory import matching


class _Normalized(nn.Module):
  """Convolutions with batch normalization, then dense layers."""

  @nn.compact
  def __call__(self, x, *, train=False, mask=None):
    x = networks.Conv(4, 3, padding=1)(x, train=train)
    x = networks.tap(nn.relu(networks.BatchNorm()(x, mask=mask)), 'conv')
    x = networks.max_pool(x).reshape(len(x), -1)
    x = networks.tap(nn.relu(networks.Dense(5)(x)), 'dense')
    return networks.Dense(2)(x)


def _randomized(params, seed=0):
  """No leaf is what it starts as, and none negative where that matters."""
  rng = np.random.default_rng(seed)
  move = lambda x: x + jnp.asarray(rng.uniform(0.1, 0.4, x.shape), x.dtype)
  return jax.tree.map(move, params)


def _setting(kind):
  if kind == 'mlp':
    network, shape = networks.mlp((6, 5), 3), (64, 4)
  else:
    network, shape = networks.from_linen(_Normalized()), (64, 4, 4, 2)
  x = np.random.default_rng(1).normal(size=shape).astype(np.float32)
  params = network.init(jax.random.key(0), x)
  # Kernels as they are drawn: shifted ones would make units alike.
  moved = _randomized(params)
  keep = lambda a, b: a if a.ndim > 1 else b
  return network, jnp.asarray(x), jax.tree.map(keep, params, moved)


class ChainTest(parameterized.TestCase):
  def test_finds_kernels_biases_and_statistics(self):
    network, x, _ = _setting('cnn')
    first, second = matching.layer_chain(network, x[:1]).layers
    self.assertEqual((first.name, first.num_units), ('conv_1', 4))
    self.assertCountEqual(
      first.outgoing,
      [
        "['params']['Conv_0']['kernel']",
        "['params']['Conv_0']['bias']",
        *(f"['params']['BatchNorm_0']['{n}']" for n in ('bias', 'scale')),
        *(f"['statistics']['BatchNorm_0']['{n}']" for n in ('mean', 'var')),
      ],
    )
    self.assertEqual(first.incoming, "['params']['Dense_0']['kernel']")
    self.assertEqual((second.name, second.num_units), ('dense_1', 5))

  @parameterized.parameters('mlp', 'cnn')
  def test_units_change_places_and_the_function_does_not(self, kind):
    network, x, params = _setting(kind)
    chain = matching.layer_chain(network, x[:1])
    rng = np.random.default_rng(3)
    turns = [rng.permutation(n) for n in chain.sizes]
    other = jax.jit(lambda p: matching.permute_units(chain, p, turns))(params)
    np.testing.assert_allclose(
      network.apply(other, x), network.apply(params, x), atol=1e-5
    )
    names = [layer.name for layer in chain.layers]
    before = networks.activations(network, params, x, layers=names)
    after = networks.activations(network, other, x, layers=names)
    for name, turn in zip(names, turns, strict=True):
      np.testing.assert_allclose(
        after[name], before[name][..., turn], atol=1e-5
      )

  def test_modules_without_names_go_by_their_paths(self):
    module = nn.Sequential([nn.Dense(3), nn.relu, nn.Dense(2)])
    chain = matching.layer_chain(module, jnp.ones((1, 4)))
    self.assertEqual([layer.name for layer in chain.layers], ['layers_0'])

  def test_refuses_what_is_no_chain(self):
    with self.assertRaisesRegex(ValueError, 'no chain of layers'):
      matching.layer_chain(
        networks.residual_mlp(2, channels=4, num_layers=1), jnp.ones((1, 4))
      )
    with self.assertRaisesRegex(ValueError, 'no chain of layers'):
      network = networks.make_network('resnet18(width=2)', (4, 4, 1), 3)
      matching.layer_chain(network, jnp.ones((1, 4, 4, 1)))
    chain = matching.layer_chain(networks.mlp((), 3), jnp.ones((1, 4)))
    self.assertEqual(chain.layers, ())
    network, x, params = _setting('mlp')
    with self.assertRaisesRegex(ValueError, 'permutations must have shapes'):
      matching.permute_units(
        matching.layer_chain(network, x[:1]), params, [np.arange(6)]
      )


class AlignTest(parameterized.TestCase):
  @parameterized.product(
    kind=['mlp', 'cnn'], by=['activations', 'weights(num_sweeps=4)']
  )
  def test_undoes_a_permutation(self, kind, by):
    network, x, params = _setting(kind)
    chain = matching.layer_chain(network, x[:1])
    rng = np.random.default_rng(4)
    turns = [rng.permutation(n) for n in chain.sizes]
    other = matching.permute_units(chain, params, turns)
    run = lambda p, r: matching.align(network, p, r, x, by=by, chain=chain)
    for fn in (run, jax.jit(run)):
      found = fn(other, params)
      for got, turn in zip(found.permutations, turns, strict=True):
        np.testing.assert_array_equal(got, np.argsort(turn))
      for a, b in zip(
        jax.tree.leaves(found.params), jax.tree.leaves(params), strict=True
      ):
        np.testing.assert_array_equal(a, b)

  def test_many_models_are_merged_as_one(self):
    network, x, params = _setting('mlp')
    chain = matching.layer_chain(network, x[:1])
    rng = np.random.default_rng(5)
    many = [
      matching.permute_units(
        chain, params, [rng.permutation(n) for n in chain.sizes]
      )
      for _ in range(3)
    ]
    stacked = merging.stack_models([params, *many])
    want = np.asarray(network.apply(params, x))
    plain = network.apply(mixing.merge(stacked), x)
    self.assertGreater(float(np.abs(plain - want).max()), 0.1)
    run = jax.jit(
      lambda s: merging.align_models(network, s, x, passes=2, chain=chain)
    )
    merged = network.apply(mixing.merge(run(stacked)), x)
    np.testing.assert_allclose(merged, want, atol=1e-5)

  def test_dead_and_broken_models_do_no_harm(self):
    network, x, params = _setting('mlp')
    chain = matching.layer_chain(network, x[:1])
    dead = jax.tree.map(lambda v: v * 0, params)
    broken = jax.tree.map(lambda v: v * np.nan, params)
    stacked = merging.stack_models([params, dead, broken])
    for by in ('activations', 'weights'):
      run = jax.jit(
        lambda s, by=by: merging.align_models(network, s, x, by=by, chain=chain)
      )
      found = run(stacked)
      for a, b in zip(
        jax.tree.leaves(found), jax.tree.leaves(stacked), strict=True
      ):
        np.testing.assert_array_equal(a[:2], b[:2])

  def test_bad_input(self):
    network, x, params = _setting('mlp')
    with self.assertRaisesRegex(ValueError, "by='names' is unknown"):
      matching.align(network, params, params, x, by='names')
    with self.assertRaisesRegex(ValueError, 'chain must be given'):
      matching.align(network, params, params, by='weights')
    chain = matching.layer_chain(network, x[:1])
    with self.assertRaisesRegex(ValueError, 'by=activations needs inputs'):
      matching.align(network, params, params, chain=chain)
    with self.assertRaisesRegex(ValueError, 'num_sweeps must be at least 1'):
      matching.align(network, params, params, x, by='weights(0)')
    with self.assertRaisesRegex(ValueError, 'passes must be at least 1'):
      merging.align_models(network, merging.stack_models([params]), x, passes=0)
    unnamed = [dataclasses.replace(x, name='') for x in chain.layers]
    with self.assertRaisesRegex(ValueError, r'that of \[0\].* has none'):
      matching.align(
        network, params, params, x, chain=matching.Chain(tuple(unnamed))
      )


if __name__ == '__main__':
  absltest.main()
