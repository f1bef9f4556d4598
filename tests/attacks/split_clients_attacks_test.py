# SPDX-License-Identifier: Apache-2.0
"""Honest clients split over devices: the result is that of the whole set."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized

from jaxdl import attacks
from jaxdl.core import clients

AXIS = 'honest'


def _honest():
  rng = np.random.default_rng(0)
  return {
    'w': jnp.asarray(rng.normal(0.3, 1.0, (8, 3, 2)), jnp.float32),
    'b': jnp.asarray(rng.normal(0.3, 1.0, (8, 3)), jnp.float32),
  }


def _damage(honest, sent, axis_name):
  """Distance of everyone's clipped mean, which needs every client."""

  def leaf(x, y):
    total = jnp.sum(jnp.tanh(x), axis=0)
    if axis_name is not None:
      total = jax.lax.psum(total, axis_name)
    return jnp.sum((total + jnp.sum(jnp.tanh(y) / (1 + y**2), axis=0)) ** 2)

  return leaf(honest['w'], sent['w']) + leaf(honest['b'], sent['b'])


CASES = [
  (attacks.sign_flip, {}),
  (attacks.scaled_sign_flip, {}),
  (attacks.alie, {'scale': None}),
  (attacks.min_max, {'direction': 'std'}),
  (attacks.min_max, {'direction': 'unit'}),
  (attacks.min_sum, {'bound': 'max'}),
  (attacks.min_sum, {'bound': 'min'}),
  (attacks.anti_cge, {}),
  (attacks.mimic, {'client_id': 5}),
  (attacks.fang, {'key': jax.random.key(0)}),
  (attacks.optimized_alie, {'damage': _damage}),
  (attacks.optimized_ipm, {'damage': _damage, 'search': 'grid'}),
]


def _attack(fn, options, axis_name):
  options = dict(options)
  damage = options.pop('damage', None)

  def run(honest):
    if damage is not None:
      options['damage'] = lambda sent: damage(honest, sent, axis_name)
    return fn(honest, num_byzantine=2, axis_name=axis_name, **options)

  return run


class SplitClientsTest(parameterized.TestCase):
  @parameterized.parameters(*CASES)
  def test_shard_map_equals_whole(self, fn, options):
    honest = _honest()
    want = jax.jit(_attack(fn, options, None))(honest)
    mesh = jax.make_mesh(
      (4,),
      (AXIS,),
      axis_types=(jax.sharding.AxisType.Auto,),
      devices=jax.devices()[:4],
    )
    got = jax.jit(
      jax.shard_map(
        _attack(fn, options, AXIS),
        mesh=mesh,
        in_specs=jax.P(AXIS),
        out_specs=jax.P(AXIS),
        check_vma=False,
      )
    )(honest)
    for leaf in want:
      # Every device holds the same two rows.
      np.testing.assert_allclose(
        got[leaf], np.concatenate([want[leaf]] * 4), atol=3e-6
      )

  @parameterized.parameters(attacks.alie, attacks.min_max)
  def test_global_arrays_equal_whole(self, fn):
    honest = _honest()
    attack = jax.jit(functools.partial(fn, num_byzantine=2))
    got = attack(clients.shard_clients(honest, clients.clients_mesh(8)))
    for leaf, want in attack(honest).items():
      np.testing.assert_allclose(got[leaf], want, atol=3e-6)

  def test_vmapped_axis_equals_whole(self):
    honest = _honest()
    attack = functools.partial(
      attacks.min_max, num_byzantine=2, direction='sign'
    )
    split = jax.vmap(functools.partial(attack, axis_name=AXIS), axis_name=AXIS)
    got = jax.jit(split)(
      jax.tree.map(lambda x: x.reshape(2, 4, *x.shape[1:]), honest)
    )
    for leaf, want in jax.jit(attack)(honest).items():
      np.testing.assert_allclose(got[leaf][1], want, atol=3e-6)

  def test_learned_mimic_equals_whole(self):
    rng = np.random.default_rng(1)
    rounds = rng.normal(size=(5, 8, 6)) + 2 * rng.normal(size=(1, 8, 6))
    options = {'num_byzantine': 1, 'num_warmup': 3}
    whole = attacks.mimic_heuristic(**options)
    once = jax.jit(whole.apply)
    split = attacks.mimic_heuristic(**options, axis_name=AXIS)
    apply = jax.jit(
      jax.vmap(split.apply, in_axes=(0, None), out_axes=0, axis_name=AXIS)
    )
    state = other = whole.init(jnp.zeros(6))
    for honest in rounds.astype(np.float32):
      want, state = once(jnp.asarray(honest), state)
      got, other = apply(jnp.asarray(honest.reshape(4, 2, 6)), other)
      other = jax.tree.map(lambda x: x[0], other)
      for row in got:
        np.testing.assert_array_equal(row, want)
      np.testing.assert_allclose(other.direction, state.direction, atol=1e-6)

  def test_by_name_with_an_axis(self):
    attack = attacks.make_attack(
      'alie', num_clients=10, num_byzantine=2, axis_name=AXIS
    )
    honest = _honest()['b']
    sent, _ = jax.vmap(lambda x: attack.apply(x, (), own=None), axis_name=AXIS)(
      honest.reshape(4, 2, 3)
    )
    want = attacks.alie(honest, num_byzantine=2)
    np.testing.assert_allclose(sent[3], want, atol=1e-6)


if __name__ == '__main__':
  absltest.main()
