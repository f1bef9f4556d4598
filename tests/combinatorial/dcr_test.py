# SPDX-License-Identifier: Apache-2.0
import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
from absl.testing import absltest, parameterized

from jaxdl import combinatorial
from jaxdl.core import types

TSP = combinatorial.make_problem('tsp')
POLICIES = combinatorial.make_policies(
  TSP, divider='agnn(width=4, depth=1)', conqueror='icam(width=4, depth=1)'
)
SMALL = {'size': 4, 'num_samples': 3, 'num_rollouts': 4}
INSTANCES = jax.vmap(lambda key: TSP.generate(key, 8))(
  jax.random.split(jax.random.key(0), 4)
)
KEY = jax.random.key(7)


def cohort(mask=(True, True), instances=INSTANCES):
  n = len(mask)
  data = jax.tree.map(lambda x: x.reshape(n, -1, *x.shape[1:]), instances)
  return types.Cohort(
    client_ids=jnp.arange(n),
    data=data,
    mask=jnp.array(mask),
    weights=jnp.full((n,), 1.0 / n),
  )


@functools.cache
def trained(optimizer='adam', **options):
  """The algorithm, its start, its step, and what a step makes of it."""
  episode = combinatorial.make_episode(TSP, POLICIES, **(SMALL | options))
  algorithm = combinatorial.dcr(
    episode, optimizer=getattr(optax, optimizer)(0.01)
  )
  state = algorithm.init(jax.random.key(1))
  step = jax.jit(algorithm.step)
  return episode, state, step, step(state, cohort(), key=KEY)


def moved(a, b):
  gaps = jax.tree.map(lambda x, y: float(jnp.abs(x - y).max()), a, b)
  return max(jax.tree.leaves(gaps))


class DcrTest(parameterized.TestCase):
  def test_both_policies_learn_and_it_says_what_came_of_it(self):
    _, state, _, (after, metrics) = trained()
    for name in ('divider', 'conqueror'):
      self.assertGreater(
        moved(state.params[name], after.params[name]), 1e-3, name
      )
    self.assertLess(metrics['conquered'], metrics['divided'])
    self.assertEqual(
      set(metrics),
      {'divided', 'conquered', 'gain', 'conqueror_loss', 'divider_loss'},
    )
    # Two updates after two stages.
    self.assertEqual(int(after.conqueror[0].count), 2)
    self.assertEqual(int(after.divider[0].count), 1)
    # Two pieces and two stages share what the tour gets shorter by.
    np.testing.assert_allclose(
      metrics['divided'] - metrics['conquered'], 4 * metrics['gain'], rtol=1e-4
    )

  @parameterized.parameters('divider', 'conqueror')
  def test_one_alone_learns(self, learn):
    _, state, _, (after, _) = trained(learn=learn)
    for name in ('divider', 'conqueror'):
      change = moved(state.params[name], after.params[name])
      self.assertEqual(change > 0, name == learn)

  def test_updates_are_those_of_the_loss(self):
    episode, state, _, (after, _) = trained('sgd', num_stages=1)
    batch = {'points': INSTANCES['points']}
    grads = jax.jit(
      jax.grad(lambda p: combinatorial.surrogate(episode, p, batch, key=KEY))
    )(state.params)
    want = jax.tree.map(lambda p, g: p - 0.01 * g, state.params, grads)
    self.assertLess(moved(after.params, want), 1e-6)
    self.assertGreater(moved(state.params, want), 1e-5)

  def test_separate_training_pays_for_the_division_alone(self):
    joint, separate = (
      trained('sgd', num_stages=1, joint=joint)[-1][0].params
      for joint in (True, False)
    )
    self.assertGreater(moved(joint['divider'], separate['divider']), 0)
    self.assertEqual(moved(joint['conqueror'], separate['conqueror']), 0)

  def test_clients_out_of_the_mask_have_no_effect(self):
    _, state, step, _ = trained()
    other = INSTANCES['points'].at[2:].set(0.5)
    one, two = (
      step(state, cohort((True, False), {'points': points}), key=KEY)
      for points in (INSTANCES['points'], other)
    )
    self.assertEqual(moved(one[0].params, two[0].params), 0)
    np.testing.assert_allclose(one[1]['conquered'], two[1]['conquered'])

  def test_examples_out_of_the_mask_have_no_effect(self):
    episode, state, _, _ = trained('sgd', num_stages=1)
    mask = jnp.array([True, True, False, False])
    loss = jax.jit(
      lambda points: combinatorial.surrogate(
        episode, state.params, {'points': points, 'mask': mask}, key=KEY
      )
    )
    first = INSTANCES['points']
    self.assertEqual(loss(first), loss(first.at[2:].set(0.5)))

  def test_running_statistics_are_recorded(self):
    policies = combinatorial.make_policies(
      TSP,
      divider='agnn(width=4, depth=1, norm=running)',
      conqueror='icam(width=4, depth=1)',
    )
    episode = combinatorial.make_episode(
      TSP, policies, **SMALL, num_stages=1, learn='divider'
    )
    algorithm = combinatorial.dcr(episode, optimizer=optax.sgd(0.0))
    state = algorithm.init(jax.random.key(1))
    after, _ = jax.jit(algorithm.step)(state, cohort(), key=KEY)
    before, now = (s.params['divider'] for s in (state, after))
    self.assertEqual(moved(before['params'], now['params']), 0)
    rest = lambda tree: {k: v for k, v in tree.items() if k != 'params'}
    self.assertGreater(moved(rest(before), rest(now)), 0)


class BadInputTest(parameterized.TestCase):
  @parameterized.parameters(
    ({'num_samples': 1}, 'num_samples=1 leaves the divider no baseline'),
    ({'num_rollouts': 5}, 'num_rollouts=5 must be even'),
    ({'size': 2}, 'size must'),
    ({'num_stages': 0}, 'num_stages must'),
    ({'learn': 'all'}, "learn='all' is unknown: choose one of 'both'"),
    ({'every': 0}, 'every must'),
  )
  def test_refuses(self, options, message):
    with self.assertRaisesRegex(ValueError, message):
      combinatorial.make_episode(TSP, POLICIES, **(SMALL | options))

  def test_one_rollout_is_no_baseline(self):
    atsp = combinatorial.make_problem('atsp')
    with self.assertRaisesRegex(ValueError, 'the conqueror no baseline'):
      combinatorial.make_episode(atsp, POLICIES, num_rollouts=1)

  def test_wants_an_optimizer(self):
    episode = combinatorial.make_episode(TSP, POLICIES, **SMALL)
    with self.assertRaisesRegex(TypeError, 'optimizer'):
      combinatorial.dcr(episode, optimizer=0.1)


if __name__ == '__main__':
  absltest.main()
